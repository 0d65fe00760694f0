// SPDX-License-Identifier: Apache-2.0
#include <leasehold/grant.h>

#include "arena/error.h"

#include <errno.h>
#include <stddef.h>

int lh_fence_check(uint64_t *highest, uint64_t token)
{
	uint64_t seen;

	if (!highest || (uintptr_t)highest % sizeof(*highest))
		return error_text(-EINVAL, "highest is NULL or not aligned to 8 bytes");
	seen = __atomic_load_n(highest, __ATOMIC_ACQUIRE);
	while (seen < token) {
		if (__atomic_compare_exchange_n(highest, &seen, token, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return 0;
	}
	return seen == token ? 0 : error_text(-ESTALE, "a higher token was seen before");
}
