// SPDX-License-Identifier: Apache-2.0
#include "tests/support/tier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t tier_pick(uint64_t quick, uint64_t full, uint64_t ci)
{
	const char *tier = getenv("LEASEHOLD_TIER");

	if (tier == NULL || strcmp(tier, "full") == 0)
		return full;
	if (strcmp(tier, "quick") == 0)
		return quick;
	if (strcmp(tier, "ci") == 0)
		return ci;
	fprintf(stderr, "LEASEHOLD_TIER is \"%s\": quick, full and ci are known\n", tier);
	exit(EXIT_FAILURE);
}
