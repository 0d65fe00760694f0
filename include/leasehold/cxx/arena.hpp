// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CXX_ARENA_HPP
#define LEASEHOLD_CXX_ARENA_HPP

/* Arenas, leases, and what all primitives have in common: leasehold.hpp has the overview. */

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include <leasehold/arena.h>
#include <leasehold/cxx/error.hpp>
#include <leasehold/lease.h>

namespace leasehold
{

class arena
{
      public:
	explicit arena(const std::string &name, int flags = LH_CREATE,
		       const lh_arena_options &options = {})
	{
		check(lh_arena_open(name.c_str(), flags, &options, &arena_));
	}
	arena(arena &&other) noexcept : arena_(std::exchange(other.arena_, nullptr)) {}
	arena &operator=(arena &&other) noexcept
	{
		std::swap(arena_, other.arena_);
		return *this;
	}
	// While this process has leases on it, thread_lease's included, it stays open, and mapped,
	// until the process ends: see close.
	~arena()
	{
		if (arena_)
			lh_arena_close(arena_);
	}
	// Throws error (-EBUSY) while this process has leases on it.
	void close()
	{
		check(lh_arena_close(arena_));
		arena_ = nullptr;
	}
	static void unlink(const std::string &name)
	{
		check(lh_arena_unlink(name.c_str()));
	}
	lh_arena *get() const noexcept
	{
		return arena_;
	}
	// The calling thread's lease, made by its first call.
	lh_lease *thread_lease() const
	{
		lh_lease *lease;

		check(lh_thread_lease(arena_, &lease));
		return lease;
	}
	// An orderly end of it, as at the thread's end but without damage told; the next call makes
	// a new one.
	void release_thread_lease() const
	{
		check(lh_lease_release(thread_lease()));
	}

      private:
	lh_arena *arena_ = nullptr;
};

// A lease of one's own, released with the object.
class lease
{
      public:
	explicit lease(const arena &arena, const lh_lease_options &options = {})
	{
		check(lh_lease_acquire(arena.get(), &options, &lease_));
	}
	lease(lease &&other) noexcept : lease_(std::exchange(other.lease_, nullptr)) {}
	lease &operator=(lease &&other) noexcept
	{
		std::swap(lease_, other.lease_);
		return *this;
	}
	~lease()
	{
		lh_lease_release(lease_);
	}
	// Throws lease_lost if it had been lost; it is gone all the same.
	void release()
	{
		check(lh_lease_release(std::exchange(lease_, nullptr)));
	}
	template <class Rep, class Period> void renew(const std::chrono::duration<Rep, Period> &ttl)
	{
		check(lh_lease_renew(lease_, detail::nanoseconds(ttl)));
	}
	bool valid() const noexcept
	{
		return lh_lease_valid(lease_);
	}
	// 0 once lost; nanoseconds::max() without a TTL.
	std::chrono::nanoseconds remaining() const noexcept
	{
		const uint64_t left = lh_lease_remaining(lease_);

		return left > INT64_MAX ? std::chrono::nanoseconds::max()
					: std::chrono::nanoseconds(left);
	}
	uint64_t id() const noexcept
	{
		return lh_lease_id(lease_);
	}
	lh_lease *get() const noexcept
	{
		return lease_;
	}

      private:
	lh_lease *lease_ = nullptr;
};

namespace detail
{

// What all primitives have: a C handle, and the lease by which it is used.
template <class Handle> class primitive
{
      public:
	const Handle *get() const noexcept
	{
		return &handle_;
	}
	// The given lease, or the calling thread's.
	lh_lease *lease() const
	{
		lh_lease *own = lease_;

		if (!own)
			check(lh_thread_lease(arena_, &own));
		return own;
	}

      protected:
	explicit primitive(const arena &arena) : arena_(arena.get()) {}
	template <class Self> static Self bound(Self self, const leasehold::lease &lease)
	{
		self.lease_ = lease.get();
		return self;
	}

	Handle handle_{};
	lh_arena *arena_;
	lh_lease *lease_ = nullptr;
};

} // namespace detail

} // namespace leasehold

#endif
