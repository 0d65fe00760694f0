// SPDX-License-Identifier: Apache-2.0
// The public headers in C++, linked: prints the library's version.
#include <leasehold/leasehold.h>

#include <cerrno>
#include <cstdio>

int main()
{
	lh_mutex nothing{};
	lh_deadline never = LH_FOREVER;

	// An all-zero handle is refused, whatever the deadline.
	if (lh_mutex_lock(&nothing, nullptr, LH_NOW, nullptr) != -EINVAL ||
	    lh_mutex_lock(&nothing, nullptr, never, nullptr) != -EINVAL)
		return 1;
	std::puts(lh_version());
	return 0;
}
