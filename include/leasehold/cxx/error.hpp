// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CXX_ERROR_HPP
#define LEASEHOLD_CXX_ERROR_HPP

/* Exceptions, and results as bool: leasehold.hpp has the overview. */

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>
#include <type_traits>

#include <leasehold/error.h>
#include <leasehold/time.h>

namespace leasehold
{

class error : public std::system_error
{
      public:
	explicit error(int result)
		: std::system_error(-result, std::generic_category(), text(result)),
		  detail_(lh_error_detail())
	{
	}
	// As the C functions return it: a negative errno.
	int result() const noexcept
	{
		return -code().value();
	}
	// lh_error_detail() of the call that failed.
	const std::string &detail() const noexcept
	{
		return detail_;
	}

      private:
	static std::string text(int result)
	{
		std::string words = lh_strerror(result);

		if (*lh_error_detail())
			words.append(" (").append(lh_error_detail()).append(")");
		return words;
	}

	std::string detail_;
};

// The holder before was lost and nobody has declared the data consistent since; nothing is held.
class owner_died : public error
{
      public:
	using error::error;
};

// The lease or handle is lost.
class lease_lost : public error
{
      public:
	using error::error;
};

[[noreturn]] inline void raise(int result)
{
	if (result == -EOWNERDEAD)
		throw owner_died(result);
	if (result == -ESTALE)
		throw lease_lost(result);
	throw error(result);
}

inline void check(int result)
{
	if (result < 0)
		raise(result);
}

namespace detail
{

// Whether it is held; false: it would have had to wait for longer.
inline bool got(int result)
{
	if (result == -EBUSY || result == -ETIMEDOUT)
		return false;
	check(result);
	return true;
}

// In ns; 0 for what is negative or no number, UINT64_MAX for what is beyond a hundred years.
template <class Rep, class Period>
uint64_t nanoseconds(const std::chrono::duration<Rep, Period> &duration)
{
	using namespace std::chrono;

	if (!(duration > duration.zero()))
		return 0;
	// In floating point: any other unit may be too small for the longest of this one.
	if (std::chrono::duration<long double>(duration) >= hours(24 * 365 * 100))
		return UINT64_MAX;
	return static_cast<uint64_t>(ceil<std::chrono::nanoseconds>(duration).count());
}

template <class Rep, class Period>
lh_deadline after(const std::chrono::duration<Rep, Period> &duration)
{
	return lh_deadline_after(nanoseconds(duration));
}

// Calls attempt(deadline) until the clock, whichever it is and however it is set, has reached
// `until`.
template <class Clock, class Duration, class Attempt>
int until(const std::chrono::time_point<Clock, Duration> &until, Attempt attempt)
{
	int result;

	do {
		const auto now = Clock::now();

		result = attempt(until > now ? after(until - now) : lh_deadline_after(0));
	} while (result == -ETIMEDOUT && Clock::now() < until);
	return result;
}

template <class T> void require_plain()
{
	static_assert(std::is_trivially_copyable_v<T>,
		      "what lies in shared memory is copied byte by byte");
	static_assert(alignof(T) <= 64, "values are aligned to 64 bytes");
}

inline const char *name_or_null(const std::string &name)
{
	return name.empty() ? nullptr : name.c_str();
}

} // namespace detail

} // namespace leasehold

#endif
