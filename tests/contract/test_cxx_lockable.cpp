// SPDX-License-Identifier: Apache-2.0
// leasehold.hpp: mutex and shared_mutex are what the standard means by Lockable, TimedLockable and
// the shared ones; its guards and algorithms work with them; what throws holds nothing.
// ctest: TIMEOUT 120
// ctest: NOT_UNDER valgrind it lacks futex_waitv, and killed children report what they held
#include "cxx.hpp"

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <ratio>
#include <shared_mutex>
#include <thread>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;
using wall = std::chrono::system_clock;

// ---------------------------------------------------------------------------------------------
// The named requirements, in the types that they demand ([thread.req.lockable] and, of the standard's
// own, [thread.sharedtimedmutex.requirements]).

template <class... Types> using to_void = void;

#define IS(name, ...)                                                                              \
	template <class T, class = void> constexpr bool name = false;                              \
	template <class T> constexpr bool name<T, to_void<std::enable_if_t<(__VA_ARGS__)>>> = true
#define GIVES(type, expression) std::is_same_v<type, decltype(std::declval<T &>().expression)>

IS(basic_lockable, GIVES(void, lock()) && GIVES(void, unlock()));
IS(lockable, basic_lockable<T> &&GIVES(bool, try_lock()));
IS(timed_lockable, lockable<T> &&GIVES(bool, try_lock_for(1ms)) &&
			   GIVES(bool, try_lock_until(steady::now())) &&
			   GIVES(bool, try_lock_until(wall::now())));
IS(shared_lockable,
   GIVES(void, lock_shared()) && GIVES(void, unlock_shared()) && GIVES(bool, try_lock_shared()));
IS(shared_timed_lockable, shared_lockable<T> &&GIVES(bool, try_lock_shared_for(1h)) &&
				  GIVES(bool, try_lock_shared_until(steady::now())) &&
				  GIVES(bool, try_lock_shared_until(wall::now())));

static_assert(timed_lockable<leasehold::mutex> && !shared_lockable<leasehold::mutex>);
static_assert(timed_lockable<leasehold::shared_mutex>);
static_assert(shared_timed_lockable<leasehold::shared_mutex>);
static_assert(timed_lockable<std::timed_mutex> && !timed_lockable<std::mutex> &&
		      shared_timed_lockable<std::shared_timed_mutex>,
	      "the tests above take the standard's types for what they are");

// Guards carry a lock, so they are moved, and never copied.
template <class Guard>
constexpr bool moves_only = std::is_nothrow_move_constructible_v<Guard> &&
			    !std::is_copy_constructible_v<Guard>;
static_assert(moves_only<leasehold::guard> && moves_only<leasehold::unique_guard> &&
	      moves_only<leasehold::shared_guard> && moves_only<leasehold::handle>);
static_assert(std::is_base_of_v<std::system_error, leasehold::error> &&
	      std::is_base_of_v<leasehold::error, leasehold::owner_died> &&
	      std::is_base_of_v<leasehold::error, leasehold::lease_lost>);
static_assert(std::is_nothrow_copy_constructible_v<leasehold::mutex>,
	      "primitives are values, to be copied");

// ---------------------------------------------------------------------------------------------

static void two_in_either_order_do_not_deadlock(const leasehold::arena &arena)
{
	leasehold::mutex one(arena, "one"), other(arena, "other");
	leasehold::shared_mutex third(arena, "third");
	long count = 0;
	auto work = [&](bool forth) {
		for (int i = 0; i < 500; i++) {
			if (forth) {
				std::scoped_lock all(one, other, third);
				count++;
			} else {
				std::scoped_lock all(third, other, one);
				count++;
			}
		}
	};
	std::thread forth(work, true), back(work, false);

	forth.join();
	back.join();
	NEED(count == 1000);
}

static void std_lock_leaves_nothing_when_one_throws(const leasehold::arena &arena)
{
	leasehold::mutex sound(arena, "sound"), damaged(arena, "damaged of two");

	die_doing([&] { damaged.lock(); });
	NEED(thrown_by<leasehold::owner_died>([&] { std::scoped_lock both(sound, damaged); }) ==
	     -EOWNERDEAD);
	NEED(thrown_by<leasehold::owner_died>([&] { std::scoped_lock both(damaged, sound); }) ==
	     -EOWNERDEAD);
	NEED(!sound.held() && !damaged.held());
	NEED(holds_elsewhere([&] { return sound.try_lock(); }));
}

// G12: each call that cannot tell damage throws, with nothing held: another process is granted it, and
// is told.
static void what_throws_owner_died_is_free_for_others(const leasehold::arena &arena)
{
	leasehold::mutex mutex(arena, "damaged");
	leasehold::shared_mutex shared(arena, "damaged shared");
	const auto deadline = lh_deadline_after(LH_SEC(60));
	const std::function<void()> of_mutex[] = {
		[&] { mutex.lock(); },
		[&] { (void)mutex.try_lock(); },
		[&] { (void)mutex.try_lock_for(1s); },
		[&] { (void)mutex.try_lock_until(wall::now() + 1s); },
		[&] { std::unique_lock<leasehold::mutex> held(mutex); },
		[&] { std::lock_guard<leasehold::mutex> held(mutex); },
	};
	const std::function<void()> of_shared[] = {
		[&] { shared.lock(); },
		[&] { (void)shared.try_lock(); },
		[&] { (void)shared.try_lock_for(1s); },
		[&] { shared.lock_shared(); },
		[&] { (void)shared.try_lock_shared(); },
		[&] { (void)shared.try_lock_shared_until(steady::now() + 1s); },
		[&] { std::shared_lock<leasehold::shared_mutex> held(shared); },
	};

	die_doing([&] { mutex.lock(); });
	die_doing([&] { shared.lock(); });
	for (const auto &call : of_mutex) {
		NEED(thrown_by<leasehold::owner_died>(call) == -EOWNERDEAD);
		NEED(!mutex.held());
		NEED(holds_elsewhere(
			[&] { return leasehold::guard(mutex, deadline).owner_died(); }));
	}
	for (const auto &call : of_shared) {
		NEED(thrown_by<leasehold::owner_died>(call) == -EOWNERDEAD);
		NEED(holds_elsewhere(
			[&] { return leasehold::unique_guard(shared, deadline).owner_died(); }));
	}
	leasehold::guard(mutex).consistent();
	std::unique_lock<leasehold::mutex>(mutex).unlock();
}

template <class Mutex, class Guard>
static void carries_its_grant(const leasehold::arena &arena, const char *name)
{
	Mutex mutex(arena, name);
	const leasehold::lease lease(arena);
	uint64_t token;

	{
		Guard held(mutex);

		token = held.token();
		NEED(token >= 1 && held.grant().token == token && !held.owner_died());
		Guard moved(std::move(held));
		NEED(moved.token() == token);
		NEED(!mutex.with(lease).try_lock());
	} // unlocked once
	Guard next(mutex);
	NEED(next.token() > token); // G5
	next.unlock();
	NEED(mutex.with(lease).try_lock());
	NEED(thrown_by<leasehold::error>([&] { Guard late(mutex, LH_NOW); }) == -EBUSY);
	mutex.with(lease).unlock();
}

// With a free lock; with one that another lease has, which is never granted in the past.
template <class Take> static void the_past_is_one_try(Take take, bool granted)
{
	using doubles = std::chrono::duration<double>;

	NEED(take(0s) == granted);
	NEED(take(-1s) == granted);
	NEED(take(std::chrono::nanoseconds::min()) == granted);
	NEED(take(std::chrono::hours::min()) == granted);
	NEED(take(doubles(-1e300)) == granted);
	NEED(take(doubles(std::numeric_limits<double>::quiet_NaN())) == granted);
	NEED(take(wall::time_point::min()) == granted);
	NEED(take(steady::time_point::min()) == granted);
	NEED(take(wall::now() - 1h) == granted);
	NEED(take(steady::now() - 1ns) == granted);
}

// A time that overflows would be over at once.
template <class Take> static void the_far_future_is_waited_for(Take take)
{
	using doubles = std::chrono::duration<double>;
	using years = std::chrono::duration<int64_t, std::ratio<31556952>>;

	NEED(take(std::chrono::nanoseconds::max()));
	NEED(take(std::chrono::hours::max()));
	NEED(take(years::max()));
	NEED(take(doubles(std::numeric_limits<double>::infinity())));
	NEED(take(doubles(1e300)));
	NEED(take(wall::time_point::max()));
	NEED(take(steady::time_point::max()));
}

static bool somebody_waits(const leasehold::arena &arena)
{
	lh_lease_info info;
	uint64_t cursor = 0;

	while (lh_next_lease(arena.get(), &cursor, &info) == 0) {
		if (info.waits_since_ns)
			return true;
	}
	return false;
}

static void times_of_any_clock_and_length(const leasehold::arena &arena)
{
	leasehold::mutex mutex(arena, "timed");
	leasehold::shared_mutex shared(arena, "timed shared");
	const leasehold::lease lease(arena);
	leasehold::mutex rival = mutex.with(lease);
	leasehold::shared_mutex writer = shared.with(lease);
	auto lock = [&](auto time) {
		std::unique_lock<leasehold::mutex> held(mutex, time);
		return held.owns_lock();
	};
	auto read = [&](auto time) {
		std::shared_lock<leasehold::shared_mutex> held(shared, time);
		return held.owns_lock();
	};
	auto write = [&](auto time) {
		std::unique_lock<leasehold::shared_mutex> held(shared, time);
		return held.owns_lock();
	};

	the_past_is_one_try(lock, true);
	the_past_is_one_try(read, true);
	the_past_is_one_try(write, true);
	rival.lock();
	writer.lock();
	the_past_is_one_try(lock, false);
	the_past_is_one_try(read, false);
	the_past_is_one_try(write, false);

	// Not before its time, by the clock that it was given in.
	const auto at = wall::now() + 20ms;
	NEED(!lock(at) && wall::now() >= at);
	const auto then = steady::now() + 20ms;
	NEED(!read(then) && steady::now() >= then);
	const auto began = steady::now();
	NEED(!write(20ms) && steady::now() >= began + 20ms);
	rival.unlock();
	writer.unlock();

	auto held_until_waited_for = [&](auto take, auto &mutex_of_it) {
		return [&, take](auto time) {
			leasehold::lease own(arena);
			auto held = mutex_of_it.with(own);
			std::atomic<bool> done = false;
			bool taken = false;

			held.lock();
			std::thread waiter([&] {
				taken = take(time);
				arena.release_thread_lease();
				done = true;
			});
			while (!done && !somebody_waits(arena))
				std::this_thread::yield();
			held.unlock();
			waiter.join();
			return taken;
		};
	};
	the_far_future_is_waited_for(held_until_waited_for(lock, mutex));
	the_far_future_is_waited_for(held_until_waited_for(read, shared));
	the_far_future_is_waited_for(held_until_waited_for(write, shared));
}

static void a_condition_and_permits_know_clocks(const leasehold::arena &arena)
{
	leasehold::mutex mutex(arena, "turns");
	leasehold::condition_variable changed(arena, "changed");
	leasehold::semaphore semaphore(arena, "permits", 1);
	const leasehold::lease lease(arena);
	leasehold::guard held(mutex);

	for (const auto ahead : { -1h, 0h }) {
		NEED(changed.wait_until(held, wall::now() + ahead) == std::cv_status::timeout);
		NEED(!changed.wait_until(held, steady::now() + ahead, [] { return false; }));
	}
	const auto then = steady::now() + 10ms;
	NEED(!changed.wait_until(held, then, [] { return false; }) && steady::now() >= then);
	NEED(changed.wait_until(held, wall::time_point::max(), [] { return true; }));
	NEED(mutex.held());
	NEED(semaphore.try_acquire_until(wall::time_point::min()));
	NEED(!semaphore.with(lease).try_acquire_until(steady::now() + 1ms));
	semaphore.release();
}

static void a_ttl_is_positive_and_not_for_ever(const leasehold::arena &arena)
{
	lh_lease_options options{};
	options.ttl_ns = LH_SEC(60);
	leasehold::lease lease(arena, options);

	NEED(thrown_by<leasehold::error>([&] { lease.renew(-1s); }) == -EINVAL);
	NEED(thrown_by<leasehold::error>([&] { lease.renew(std::chrono::hours::max()); }) ==
	     -EINVAL);
	lease.renew(std::chrono::duration<double>(90.5));
	NEED(lease.remaining() > 60s);
}

static void an_exception_says_which_and_what(const leasehold::arena &arena)
{
	leasehold::mutex mutex(arena, "twice");
	std::scoped_lock held(mutex);

	try {
		mutex.lock();
		NEED(false);
	} catch (const std::system_error &error) {
		// Who knows the standard alone understands it.
		NEED(error.code() == std::errc::resource_deadlock_would_occur);
		NEED(std::string(error.what()).find(lh_strerror(-EDEADLK)) != std::string::npos);
	}
	NEED(mutex.held());
	try {
		leasehold::mutex other(arena, "twice", 8);
		NEED(false);
	} catch (const leasehold::error &error) {
		NEED(error.result() == -EEXIST);
		NEED(!error.detail().empty());
		NEED(std::string(error.what()).find(error.detail()) != std::string::npos);
	}
}

int main()
{
	const std::string name = "leasehold-cxx-lockable-" + std::to_string(getpid());
	leasehold::arena arena(name, LH_CREATE | LH_EXCL);

	two_in_either_order_do_not_deadlock(arena);
	std_lock_leaves_nothing_when_one_throws(arena);
	what_throws_owner_died_is_free_for_others(arena);
	carries_its_grant<leasehold::mutex, leasehold::guard>(arena, "guarded");
	carries_its_grant<leasehold::shared_mutex, leasehold::unique_guard>(arena, "written");
	times_of_any_clock_and_length(arena);
	a_condition_and_permits_know_clocks(arena);
	a_ttl_is_positive_and_not_for_ever(arena);
	an_exception_says_which_and_what(arena);
	arena.release_thread_lease();
	arena.close();
	leasehold::arena::unlink(name);
	std::puts("passed");
	return 0;
}
