// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CXX_MUTEX_HPP
#define LEASEHOLD_CXX_MUTEX_HPP

/* mutex, shared_mutex and their guards, condition_variable: leasehold.hpp has the overview. */

#include <chrono>
#include <condition_variable>
#include <string>
#include <utility>

#include <leasehold/condvar.h>
#include <leasehold/cxx/arena.hpp>
#include <leasehold/grant.h>
#include <leasehold/mutex.h>
#include <leasehold/rwlock.h>

namespace leasehold
{

// Lockable and TimedLockable, so that std::unique_lock and std::scoped_lock take it. lock() and its like throw owner_died, with nothing held, after a holder
// was lost.
class mutex : public detail::primitive<lh_mutex>
{
      public:
	mutex(const arena &arena, const std::string &name, size_t data_size = 0, unsigned flags = 0,
	      uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_mutex_options options{};

		options.name = detail::name_or_null(name);
		options.data_size = data_size;
		options.flags = flags;
		check(lh_mutex_at(arena.get(), offset, &options, &handle_));
	}
	mutex(const arena &arena, const lh_mutex &handle) : primitive(arena)
	{
		handle_ = handle;
	}
	mutex with(const leasehold::lease &lease) const
	{
		return bound(*this, lease);
	}
	void lock()
	{
		check(lh_mutex_lock(&handle_, lease(), LH_FOREVER, nullptr));
	}
	bool try_lock()
	{
		return detail::got(lh_mutex_lock(&handle_, lease(), LH_NOW, nullptr));
	}
	template <class Rep, class Period>
	bool try_lock_for(const std::chrono::duration<Rep, Period> &duration)
	{
		return detail::got(
			lh_mutex_lock(&handle_, lease(), detail::after(duration), nullptr));
	}
	template <class Clock, class Duration>
	bool try_lock_until(const std::chrono::time_point<Clock, Duration> &time)
	{
		return detail::got(detail::until(time, [this](lh_deadline deadline) {
			return lh_mutex_lock(&handle_, lease(), deadline, nullptr);
		}));
	}
	void unlock()
	{
		check(lh_mutex_unlock(&handle_, lease()));
	}
	// Whether it is held by the lease that this object locks by.
	bool held() const
	{
		return lh_mutex_held(&handle_, lease());
	}
	template <class T> T *data() const
	{
		detail::require_plain<T>();
		return static_cast<T *>(lh_mutex_data(&handle_));
	}
};

// Lockable, TimedLockable, SharedLockable, SharedTimedLockable. Reading throws owner_died as well.
class shared_mutex : public detail::primitive<lh_rwlock>
{
      public:
	shared_mutex(const arena &arena, const std::string &name, size_t data_size = 0,
		     unsigned flags = 0, uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_rwlock_options options{};

		options.name = detail::name_or_null(name);
		options.data_size = data_size;
		options.flags = flags;
		check(lh_rwlock_at(arena.get(), offset, &options, &handle_));
	}
	shared_mutex with(const leasehold::lease &lease) const
	{
		return bound(*this, lease);
	}
	void lock()
	{
		check(lh_rwlock_write_lock(&handle_, lease(), LH_FOREVER, nullptr));
	}
	bool try_lock()
	{
		return detail::got(lh_rwlock_write_lock(&handle_, lease(), LH_NOW, nullptr));
	}
	template <class Rep, class Period>
	bool try_lock_for(const std::chrono::duration<Rep, Period> &duration)
	{
		return detail::got(
			lh_rwlock_write_lock(&handle_, lease(), detail::after(duration), nullptr));
	}
	template <class Clock, class Duration>
	bool try_lock_until(const std::chrono::time_point<Clock, Duration> &time)
	{
		return detail::got(detail::until(time, [this](lh_deadline deadline) {
			return lh_rwlock_write_lock(&handle_, lease(), deadline, nullptr);
		}));
	}
	void unlock()
	{
		check(lh_rwlock_unlock(&handle_, lease()));
	}
	void lock_shared()
	{
		check(lh_rwlock_read_lock(&handle_, lease(), LH_FOREVER, nullptr));
	}
	bool try_lock_shared()
	{
		return detail::got(lh_rwlock_read_lock(&handle_, lease(), LH_NOW, nullptr));
	}
	template <class Rep, class Period>
	bool try_lock_shared_for(const std::chrono::duration<Rep, Period> &duration)
	{
		return detail::got(
			lh_rwlock_read_lock(&handle_, lease(), detail::after(duration), nullptr));
	}
	template <class Clock, class Duration>
	bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration> &time)
	{
		return detail::got(detail::until(time, [this](lh_deadline deadline) {
			return lh_rwlock_read_lock(&handle_, lease(), deadline, nullptr);
		}));
	}
	void unlock_shared()
	{
		check(lh_rwlock_unlock(&handle_, lease()));
	}
	template <class T> T *data() const
	{
		detail::require_plain<T>();
		return static_cast<T *>(lh_rwlock_data(&handle_));
	}
};

namespace detail
{

struct of_mutex {
	using handle = lh_mutex;
	static int lock(const handle *at, lh_lease *lease, lh_deadline deadline, lh_grant *grant)
	{
		return lh_mutex_lock(at, lease, deadline, grant);
	}
	static int unlock(const handle *at, lh_lease *lease)
	{
		return lh_mutex_unlock(at, lease);
	}
	static int consistent(const handle *at, lh_lease *lease)
	{
		return lh_mutex_consistent(at, lease);
	}
};

struct of_writer {
	using handle = lh_rwlock;
	static int lock(const handle *at, lh_lease *lease, lh_deadline deadline, lh_grant *grant)
	{
		return lh_rwlock_write_lock(at, lease, deadline, grant);
	}
	static int unlock(const handle *at, lh_lease *lease)
	{
		return lh_rwlock_unlock(at, lease);
	}
	static int consistent(const handle *at, lh_lease *lease)
	{
		return lh_rwlock_consistent(at, lease);
	}
};

struct of_reader : of_writer {
	static int lock(const handle *at, lh_lease *lease, lh_deadline deadline, lh_grant *grant)
	{
		return lh_rwlock_read_lock(at, lease, deadline, grant);
	}
};

template <class Of> class holding
{
      public:
	holding(holding &&other) noexcept
		: handle_(other.handle_), lease_(std::exchange(other.lease_, nullptr)),
		  grant_(other.grant_)
	{
	}
	holding(const holding &) = delete;
	holding &operator=(const holding &) = delete;
	~holding()
	{
		if (lease_)
			Of::unlock(&handle_, lease_);
	}
	bool owner_died() const noexcept
	{
		return grant_.flags & LH_GRANT_OWNER_DIED;
	}
	uint64_t token() const noexcept
	{
		return grant_.token;
	}
	const lh_grant &grant() const noexcept
	{
		return grant_;
	}
	// Throws lease_lost if the lease was lost meanwhile; it holds nothing after that.
	void unlock()
	{
		check(Of::unlock(&handle_, std::exchange(lease_, nullptr)));
	}
	void consistent()
	{
		check(Of::consistent(&handle_, lease_));
	}

      protected:
	holding(const typename Of::handle *handle, lh_lease *lease, lh_deadline deadline)
		: handle_(*handle)
	{
		check(Of::lock(handle, lease, deadline, &grant_));
		lease_ = lease;
	}

	typename Of::handle handle_;
	lh_lease *lease_ = nullptr; // null: nothing is held
	lh_grant grant_{};
};

} // namespace detail

// Holds the mutex for as long as it lives, and tells the grant. It takes a damaged one: ask
// owner_died. Throws error (-ETIMEDOUT, -EBUSY, …) where the lock was not granted.
class guard : public detail::holding<detail::of_mutex>
{
      public:
	explicit guard(const mutex &mutex, lh_deadline deadline = LH_FOREVER)
		: holding(mutex.get(), mutex.lease(), deadline)
	{
	}

      private:
	friend class condition_variable;
};

// The same for writing under a shared_mutex.
class unique_guard : public detail::holding<detail::of_writer>
{
      public:
	explicit unique_guard(const shared_mutex &mutex, lh_deadline deadline = LH_FOREVER)
		: holding(mutex.get(), mutex.lease(), deadline)
	{
	}
	// From writing to reading, letting no writer in between; unlock ends it.
	void downgrade()
	{
		check(lh_rwlock_downgrade(&handle_, lease_));
	}
};

// The same for reading.
class shared_guard : public detail::holding<detail::of_reader>
{
      public:
	explicit shared_guard(const shared_mutex &mutex, lh_deadline deadline = LH_FOREVER)
		: holding(mutex.get(), mutex.lease(), deadline)
	{
	}
	// From reading to writing; on an exception it reads still, unless that is lease_lost.
	void upgrade(lh_deadline deadline = LH_FOREVER)
	{
		check(lh_rwlock_upgrade(&handle_, lease_, deadline, &grant_));
	}
};

class condition_variable : public detail::primitive<lh_condvar>
{
      public:
	condition_variable(const arena &arena, const std::string &name,
			   uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_condvar_options options{};

		options.name = detail::name_or_null(name);
		check(lh_condvar_at(arena.get(), offset, &options, &handle_));
	}
	void notify_one() const
	{
		check(lh_condvar_signal(&handle_));
	}
	void notify_all() const
	{
		check(lh_condvar_broadcast(&handle_));
	}
	// The guard has the new grant afterwards: owner_died() tells damage done meanwhile.
	void wait(guard &held) const
	{
		wait_once(held, LH_FOREVER);
	}
	template <class Predicate> void wait(guard &held, Predicate predicate) const
	{
		while (!predicate())
			wait_once(held, LH_FOREVER);
	}
	template <class Rep, class Period, class Predicate>
	bool wait_for(guard &held, const std::chrono::duration<Rep, Period> &duration,
		      Predicate predicate) const
	{
		const lh_deadline deadline = detail::after(duration);

		while (!predicate()) {
			if (wait_once(held, deadline) == std::cv_status::timeout)
				return predicate();
		}
		return true;
	}
	template <class Rep, class Period>
	std::cv_status wait_for(guard &held,
				const std::chrono::duration<Rep, Period> &duration) const
	{
		return wait_once(held, detail::after(duration));
	}
	template <class Clock, class Duration, class Predicate>
	bool wait_until(guard &held, const std::chrono::time_point<Clock, Duration> &time,
			Predicate predicate) const
	{
		while (!predicate()) {
			if (wait_until(held, time) == std::cv_status::timeout)
				return predicate();
		}
		return true;
	}
	template <class Clock, class Duration>
	std::cv_status wait_until(guard &held,
				  const std::chrono::time_point<Clock, Duration> &time) const
	{
		return told(held, detail::until(time, [this, &held](lh_deadline deadline) {
				    return wait_result(held, deadline);
			    }));
	}

      private:
	int wait_result(guard &held, lh_deadline deadline) const
	{
		return lh_condvar_wait(&handle_, &held.handle_, held.lease_, deadline,
				       &held.grant_);
	}
	std::cv_status wait_once(guard &held, lh_deadline deadline) const
	{
		return told(held, wait_result(held, deadline));
	}
	std::cv_status told(guard &held, int result) const
	{
		if (result == -ETIMEDOUT || result == -EBUSY)
			return std::cv_status::timeout;
		if (result != 0 && !lh_mutex_held(&held.handle_, held.lease_))
			held.lease_ = nullptr;
		check(result);
		return std::cv_status::no_timeout;
	}
};

} // namespace leasehold

#endif
