// SPDX-License-Identifier: Apache-2.0
// The public headers in C++17, C's and its own, linked: prints the library's version.
#include <leasehold/leasehold.hpp>

#include <cerrno>
#include <cstdio>
#include <mutex>
#include <string>
#include <unistd.h>

int main()
{
	lh_mutex nothing{};
	// An all-zero handle is refused, whatever the deadline.
	if (lh_mutex_lock(&nothing, nullptr, LH_NOW, nullptr) != -EINVAL ||
	    lh_mutex_lock(&nothing, nullptr, LH_FOREVER, nullptr) != -EINVAL)
		return 1;

	const std::string name = "leasehold-consumer-" + std::to_string(getpid());
	{
		leasehold::arena arena(name);
		leasehold::mutex mutex(arena, "consumer", sizeof(long));
		const std::lock_guard held(mutex);
		++*mutex.data<long>();
	}
	leasehold::arena::unlink(name);
	std::puts(lh_version());
	return 0;
}
