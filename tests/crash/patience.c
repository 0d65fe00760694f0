// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/patience.h"

#include "arena/sys/clock.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"

#include <errno.h>

static _Atomic uint32_t *lost_wakes;

void patience_begin(_Atomic uint32_t *lost)
{
	lost_wakes = lost;
}

int __real_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	int result;

	// A poll, for what has no word to sleep on, stays one.
	if (!lost_wakes || until_ns <= clock_now() + WAIT_POLL_NS)
		return __real_futex_wait_many(words, count, until_ns);
	result = __real_futex_wait_many(words, count, clock_now() + PATIENCE_NS);
	if (result == -ETIMEDOUT)
		atomic_fetch_add(lost_wakes, 1);
	return result;
}
