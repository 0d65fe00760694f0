// SPDX-License-Identifier: Apache-2.0
//
// tier.h: how much a test may take.
//
// The environment variable LEASEHOLD_TIER says who waits for the whole suite: a contributor between
// two edits (quick: two minutes), before a push (full, the default: ten) or CI (ci: forty). A test
// shows the same things in each, on fewer or more points, rounds or seeds, or on a share that the seed
// chooses; one that is not in a tier at all says so (ctest: TIER, in tests/CMakeLists.txt).
#ifndef TESTS_SUPPORT_TIER_H
#define TESTS_SUPPORT_TIER_H

#include <stdint.h>

// Of three amounts, the present tier's. A LEASEHOLD_TIER that is none of the three ends the program
// with a message, so that a misspelt tier is no silently shorter run.
uint64_t tier_pick(uint64_t quick, uint64_t full, uint64_t ci);

#endif
