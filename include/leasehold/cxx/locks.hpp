// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CXX_LOCKS_HPP
#define LEASEHOLD_CXX_LOCKS_HPP

/* Named locks: leasehold.hpp has the overview. */

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <leasehold/cxx/error.hpp>
#include <leasehold/locks.h>

namespace leasehold
{

// What was acquired, released with the object.
class handle
{
      public:
	explicit handle(lh_handle *acquired = nullptr) noexcept : handle_(acquired) {}
	handle(handle &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
	handle &operator=(handle &&other) noexcept
	{
		lh_handle_release(std::exchange(handle_, std::exchange(other.handle_, nullptr)));
		return *this;
	}
	~handle()
	{
		lh_handle_release(handle_);
	}
	// Throws lease_lost if it had been lost; it is gone all the same.
	void release()
	{
		check(lh_handle_release(std::exchange(handle_, nullptr)));
	}
	explicit operator bool() const noexcept
	{
		return handle_ != nullptr;
	}
	bool valid() const noexcept
	{
		return lh_handle_valid(handle_);
	}
	bool owner_died() const noexcept
	{
		return lh_handle_flags(handle_) & LH_GRANT_OWNER_DIED;
	}
	uint64_t token() const noexcept
	{
		return lh_handle_token(handle_);
	}
	int slot() const
	{
		const int slot = lh_handle_slot(handle_);

		check(slot);
		return slot;
	}
	void consistent()
	{
		check(lh_handle_consistent(handle_));
	}
	template <class Rep, class Period>
	void extend(const std::chrono::duration<Rep, Period> &ttl)
	{
		check(lh_handle_extend(handle_, detail::nanoseconds(ttl)));
	}
	int loss_fd()
	{
		const int fd = lh_handle_loss_fd(handle_);

		check(fd);
		return fd;
	}
	lh_handle *get() const noexcept
	{
		return handle_;
	}

      private:
	lh_handle *handle_;
};

class locks
{
      public:
	explicit locks(const std::string &url)
	{
		check(lh_locks_open(url.c_str(), &locks_));
	}
	locks(locks &&other) noexcept : locks_(std::exchange(other.locks_, nullptr)) {}
	locks &operator=(locks &&other) noexcept
	{
		std::swap(locks_, other.locks_);
		return *this;
	}
	// While handles are out it stays open until the process ends.
	~locks()
	{
		lh_locks_close(locks_);
	}
	unsigned capabilities() const noexcept
	{
		return lh_locks_capabilities(locks_);
	}
	handle acquire(std::string_view key, lh_deadline deadline = LH_FOREVER,
		       const lh_acquire_options &options = {})
	{
		lh_handle *acquired;

		check(lh_acquire_key(locks_, key.data(), key.size(), deadline, &options,
				     &acquired));
		return handle(acquired);
	}
	// An empty handle if somebody else has it.
	handle try_acquire(std::string_view key, const lh_acquire_options &options = {})
	{
		lh_handle *acquired = nullptr;

		detail::got(lh_acquire_key(locks_, key.data(), key.size(), LH_NOW, &options,
					   &acquired));
		return handle(acquired);
	}
	handle acquire_all(const std::vector<std::string> &keys, lh_deadline deadline = LH_FOREVER,
			   const lh_acquire_options &options = {})
	{
		std::vector<const char *> names;
		lh_handle *acquired;

		for (const std::string &key : keys)
			names.push_back(key.c_str());
		check(lh_acquire_all(locks_, names.data(), names.size(), deadline, &options,
				     &acquired));
		return handle(acquired);
	}
	handle acquire_path(const std::string &path, lh_deadline deadline = LH_FOREVER,
			    const lh_acquire_options &options = {})
	{
		lh_handle *acquired;

		check(lh_acquire_path(locks_, path.c_str(), deadline, &options, &acquired));
		return handle(acquired);
	}
	lh_locks *get() const noexcept
	{
		return locks_;
	}

      private:
	lh_locks *locks_ = nullptr;
};

} // namespace leasehold

#endif
