// SPDX-License-Identifier: Apache-2.0
// leasehold.hpp: the standard's guards work, exceptions say what they should, and what C++ adds
// (drafts that roll back when something throws, results as bool) does what it says.
// ctest: TIMEOUT 120
// ctest: NOT_UNDER valgrind it lacks futex_waitv, and killed children report what they held
#include "cxx.hpp"

#include <cstdio>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;

static void the_standards_guards_lock_and_unlock(const leasehold::arena &arena)
{
	leasehold::mutex one(arena, "one"), other(arena, "other");
	leasehold::shared_mutex shared(arena, "shared");
	const leasehold::lease lease(arena);
	leasehold::mutex rival = one.with(lease);

	{
		std::scoped_lock both(one, other);

		NEED(!rival.try_lock());
		NEED(!rival.try_lock_for(1ms));
		NEED(!rival.try_lock_until(std::chrono::system_clock::now() + 1ms));
	}
	{
		std::unique_lock<leasehold::mutex> held(one, std::defer_lock);

		NEED(held.try_lock_for(10s));
		held.unlock();
		NEED(rival.try_lock());
		rival.unlock();
	}
	{
		leasehold::shared_mutex writer = shared.with(lease);
		std::shared_lock<leasehold::shared_mutex> reading(shared);

		NEED(writer.try_lock_shared());
		writer.unlock_shared();
		NEED(!writer.try_lock_for(1ms));
	}
	std::unique_lock<leasehold::shared_mutex> writing(shared);
}

// G12
static void lock_throws_owner_died_and_holds_nothing(const leasehold::arena &arena)
{
	leasehold::mutex mutex(arena, "damaged", sizeof(long));

	die_doing([&] { mutex.lock(); });
	NEED(thrown_by<leasehold::owner_died>([&] { mutex.lock(); }) == -EOWNERDEAD);
	NEED(thrown_by<leasehold::owner_died>([&] { (void)mutex.try_lock(); }) == -EOWNERDEAD);
	{
		leasehold::guard held(mutex);

		NEED(held.owner_died() && held.token() > 1 && held.grant().previous != 0);
		*mutex.data<long>() = 7;
		held.consistent();
	}
	std::lock_guard<leasehold::mutex> held(mutex);
	NEED(*mutex.data<long>() == 7);
}

static void a_shared_guard_tells_damage_and_upgrades(const leasehold::arena &arena)
{
	leasehold::shared_mutex mutex(arena, "damaged shared");

	die_doing([&] { mutex.lock(); });
	NEED(thrown_by<leasehold::owner_died>([&] { mutex.lock_shared(); }) == -EOWNERDEAD);
	{
		leasehold::shared_guard reading(mutex);

		NEED(reading.owner_died());
		reading.upgrade();
		reading.consistent();
	}
	leasehold::unique_guard writing(mutex);
	NEED(!writing.owner_died());
	writing.downgrade();
	NEED(mutex.try_lock_shared());
	mutex.unlock_shared();
	writing.unlock();
}

static void an_error_has_code_words_and_detail(const leasehold::arena &arena)
{
	bool opened = true;

	try {
		leasehold::arena none("leasehold-no-such-arena", 0);
	} catch (const leasehold::error &error) {
		opened = false;
		NEED(error.result() == -ENOENT);
		NEED(error.code() == std::errc::no_such_file_or_directory);
		NEED(error.detail().find("leasehold-no-such-arena") != std::string::npos);
		NEED(std::string(error.what()).find(lh_strerror(-ENOENT)) != std::string::npos);
	}
	NEED(!opened);
	leasehold::mutex mutex(arena, "not held");
	NEED(thrown_by<leasehold::error>([&] { mutex.unlock(); }) == -EPERM);
}

static void a_condition_variable_hands_over(const leasehold::arena &arena)
{
	leasehold::mutex mutex(arena, "turns", sizeof(int));
	leasehold::condition_variable changed(arena, "turns changed");
	std::thread other([&] {
		{
			leasehold::guard held(mutex);

			changed.wait(held, [&] { return *mutex.data<int>() == 1; });
			*mutex.data<int>() = 2;
		}
		changed.notify_all();
	});

	{
		leasehold::guard held(mutex);

		*mutex.data<int>() = 1;
		changed.notify_one();
		NEED(changed.wait_for(held, 60s, [&] { return *mutex.data<int>() == 2; }));
		NEED(changed.wait_for(held, 1ms) == std::cv_status::timeout);
	}
	other.join();
}

static void permits_and_parties(const leasehold::arena &arena)
{
	leasehold::semaphore semaphore(arena, "permits", 2);
	leasehold::barrier barrier(arena, "parties", 2);
	lh_grant grants[2];

	semaphore.acquire(2);
	const leasehold::lease lease(arena);
	NEED(!semaphore.with(lease).try_acquire_for(1ms));
	NEED(semaphore.available() == 0);
	semaphore.release(2);
	die_doing([&] { semaphore.acquire(2); });
	NEED(semaphore.try_acquire_for(60s, 2)); // G6
	semaphore.release(2);

	std::thread other([&] { grants[1] = barrier.arrive_and_wait(); });
	grants[0] = barrier.arrive_and_wait();
	other.join();
	NEED(grants[0].token == 1 && grants[1].token == 1);
	NEED((grants[0].flags ^ grants[1].flags) == LH_GRANT_LEADER);
}

static void
what_a_maker_throws_goes_to_its_caller_and_the_next_one_tries(const leasehold::arena &arena)
{
	leasehold::once<long> once(arena, "once");
	bool caught = false;

	try {
		once.call([](long &) { throw std::runtime_error("no"); });
	} catch (const std::runtime_error &) {
		caught = true;
	}
	NEED(caught && !once.value());
	NEED(once.call([](long &value) { value = 5; }) == 5);
	NEED(once.call([](long &value) { value = 6; }) == 5);
}

static void a_watch_tells_the_newest_and_then_its_end(const leasehold::arena &arena)
{
	leasehold::watch<long> watch(arena, "watch");
	auto receiver = watch.subscribe();

	NEED(!receiver.read());
	watch.send(1);
	watch.send(2);
	NEED(receiver.next() == 2);
	watch.close();
	NEED(!receiver.next());
	NEED(receiver.read() == 2);
}

// G7
static void a_draft_is_rolled_back_when_something_throws(const leasehold::arena &arena)
{
	leasehold::cell<long> cell(arena, "cell");
	bool caught = false;

	cell.update([](long &value) { value = 1; });
	try {
		cell.update([](long &value) {
			value = 2;
			throw std::runtime_error("no");
		});
	} catch (const std::runtime_error &) {
		caught = true;
	}
	NEED(caught && cell.read() == 1);

	lh_lease_options brief{};
	brief.ttl_ns = LH_MS(1);
	const leasehold::lease lease(arena, brief);
	NEED(thrown_by<leasehold::lease_lost>([&] {
		     cell.with(lease).update([&](long &value) {
			     value = 3;
			     while (lease.valid())
				     std::this_thread::yield();
		     });
	     }) == -ESTALE);
	NEED(cell.read() == 1);
	NEED(lease.remaining() == 0ns);
}

static void named_locks(const std::string &name)
{
	const std::string url = "shm://" + name;
	{
		leasehold::locks locks(url);

		die_doing([&] {
			leasehold::locks own(url);

			new leasehold::handle(own.acquire("job"));
		});
		leasehold::handle handle = locks.acquire("job");
		NEED(handle.owner_died() && handle.valid() && handle.token() > 1);
		NEED(!locks.try_acquire("job"));
		handle.consistent();
		handle.release();
		NEED(!locks.try_acquire("job").owner_died());
		NEED(locks.acquire_all({ "a", "b" }));
	}
	leasehold::arena::unlink(name);
}

int main()
{
	const std::string name = "leasehold-cxx-" + std::to_string(getpid());
	leasehold::arena arena(name, LH_CREATE | LH_EXCL);

	the_standards_guards_lock_and_unlock(arena);
	lock_throws_owner_died_and_holds_nothing(arena);
	a_shared_guard_tells_damage_and_upgrades(arena);
	an_error_has_code_words_and_detail(arena);
	a_condition_variable_hands_over(arena);
	permits_and_parties(arena);
	what_a_maker_throws_goes_to_its_caller_and_the_next_one_tries(arena);
	a_watch_tells_the_newest_and_then_its_end(arena);
	a_draft_is_rolled_back_when_something_throws(arena);
	arena.release_thread_lease();
	arena.close();
	leasehold::arena::unlink(name);
	named_locks(name);
	std::puts("passed");
	return 0;
}
