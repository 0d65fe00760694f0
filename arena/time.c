// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/clock.h"

#include <leasehold/time.h>

uint64_t lh_now(void)
{
	return clock_now();
}

lh_deadline lh_deadline_after(uint64_t ns)
{
	const uint64_t now = clock_now();

	return (lh_deadline){ ns > UINT64_MAX - now ? UINT64_MAX : now + ns };
}
