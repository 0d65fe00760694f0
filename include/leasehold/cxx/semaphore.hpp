// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CXX_SEMAPHORE_HPP
#define LEASEHOLD_CXX_SEMAPHORE_HPP

/* semaphore and barrier: leasehold.hpp has the overview. */

#include <chrono>
#include <cstdint>
#include <string>

#include <leasehold/barrier.h>
#include <leasehold/cxx/arena.hpp>
#include <leasehold/semaphore.h>

namespace leasehold
{

// Named as std::counting_semaphore is, but permits are owned: whoever acquired releases.
class semaphore : public detail::primitive<lh_semaphore>
{
      public:
	semaphore(const arena &arena, const std::string &name, uint32_t permits,
		  uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_semaphore_options options{};

		options.name = detail::name_or_null(name);
		options.permits = permits;
		check(lh_semaphore_at(arena.get(), offset, &options, &handle_));
	}
	semaphore with(const leasehold::lease &lease) const
	{
		return bound(*this, lease);
	}
	void acquire(uint32_t permits = 1)
	{
		check(lh_semaphore_acquire(&handle_, lease(), permits, LH_FOREVER));
	}
	bool try_acquire(uint32_t permits = 1)
	{
		return detail::got(lh_semaphore_acquire(&handle_, lease(), permits, LH_NOW));
	}
	template <class Rep, class Period>
	bool try_acquire_for(const std::chrono::duration<Rep, Period> &duration,
			     uint32_t permits = 1)
	{
		return detail::got(
			lh_semaphore_acquire(&handle_, lease(), permits, detail::after(duration)));
	}
	template <class Clock, class Duration>
	bool try_acquire_until(const std::chrono::time_point<Clock, Duration> &time,
			       uint32_t permits = 1)
	{
		return detail::got(detail::until(time, [this, permits](lh_deadline deadline) {
			return lh_semaphore_acquire(&handle_, lease(), permits, deadline);
		}));
	}
	void release(uint32_t permits = 1)
	{
		check(lh_semaphore_release(&handle_, lease(), permits));
	}
	int64_t available() const noexcept
	{
		return lh_semaphore_available(&handle_);
	}
	void resize(uint32_t permits)
	{
		check(lh_semaphore_resize(&handle_, permits));
	}
};

class barrier : public detail::primitive<lh_barrier>
{
      public:
	barrier(const arena &arena, const std::string &name, uint32_t parties,
		unsigned on_death = LH_BARRIER_BREAK, uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_barrier_options options{};

		options.name = detail::name_or_null(name);
		options.parties = parties;
		options.on_death = on_death;
		check(lh_barrier_at(arena.get(), offset, &options, &handle_));
	}
	barrier with(const leasehold::lease &lease) const
	{
		return bound(*this, lease);
	}
	void join()
	{
		check(lh_barrier_join(&handle_, lease()));
	}
	// The grant's token is the phase; LH_GRANT_LEADER is told to one party. Throws owner_died
	// while the barrier is broken.
	lh_grant arrive_and_wait(lh_deadline deadline = LH_FOREVER)
	{
		lh_grant grant{};

		check(lh_barrier_wait(&handle_, lease(), deadline, &grant));
		return grant;
	}
	void leave()
	{
		check(lh_barrier_leave(&handle_, lease()));
	}
	void reset()
	{
		check(lh_barrier_reset(&handle_));
	}
};

} // namespace leasehold

#endif
