// SPDX-License-Identifier: Apache-2.0
//
// details.h: how test_details.c makes calls fail, and remembers which functions it has seen do so.
#ifndef TESTS_CONTRACT_DETAILS_H
#define TESTS_CONTRACT_DETAILS_H

#include "tests/support/scene.h"

#define STALE "a failure that is over"

static char seen[128][48];
static size_t seen_count;

static void note_seen(const char *function)
{
	for (size_t i = 0; i < seen_count; i++)
		if (strcmp(seen[i], function) == 0)
			return;
	assert_true(seen_count < sizeof(seen) / sizeof(seen[0]));
	snprintf(seen[seen_count++], sizeof(seen[0]), "%s", function);
}

static void leave_a_detail(void)
{
	lh_arena *none;

	assert_true(lh_arena_open(STALE, 0, NULL, &none) < 0);
	assert_non_null(strstr(lh_error_detail(), STALE));
}

static void check_detail(const char *function, const char *call, int64_t result, bool failed)
{
	note_seen(function);
	if (!failed)
		fail_msg("%s: %lld is no failure", call, (long long)result);
	if (strstr(lh_error_detail(), STALE))
		fail_msg("%s: %lld (%s), with an older failure's detail: %s", call,
			 (long long)result, lh_strerror((int)result), lh_error_detail());
	if (result == -EINVAL && !*lh_error_detail())
		fail_msg("%s: -EINVAL without a detail", call);
}

// The call fails.
#define FAILS(function, ...)                                                                       \
	do {                                                                                       \
		leave_a_detail();                                                                  \
		const int64_t result = (int64_t)function(__VA_ARGS__);                             \
		check_detail(#function, #function "(" #__VA_ARGS__ ")", result, result < 0);       \
	} while (0)
// The call returns 0, which means that it has failed.
#define IS_ZERO(function, ...)                                                                     \
	do {                                                                                       \
		leave_a_detail();                                                                  \
		const int64_t result = (int64_t)function(__VA_ARGS__);                             \
		check_detail(#function, #function "(" #__VA_ARGS__ ")", -EINVAL, result == 0);     \
	} while (0)

static bool was_seen(const char *function, size_t size)
{
	for (size_t i = 0; i < seen_count; i++)
		if (strlen(seen[i]) == size && strncmp(seen[i], function, size) == 0)
			return true;
	return false;
}

#endif
