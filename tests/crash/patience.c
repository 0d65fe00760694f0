// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/patience.h"

#include "arena/sys/clock.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"

#include <errno.h>

static struct patience *chosen;
static uint64_t still_ns; // 0: the clock goes on
static uint64_t step_ns;  // else: with each reading by so much

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);

uint64_t __wrap_clock_now(void)
{
	return still_ns ? still_ns += step_ns : __real_clock_now();
}

void patience_stop_clock(bool stop)
{
	still_ns = stop ? __real_clock_now() : 0;
	step_ns = 0;
}

void patience_step_clock(uint64_t step)
{
	still_ns = __real_clock_now();
	step_ns = step;
}

void patience_begin(struct patience *patience)
{
	chosen = patience;
}

void patience_due(struct patience *patience)
{
	uint64_t none = 0;

	atomic_compare_exchange_strong(&patience->due_ns, &none, __real_clock_now());
}

// Whether the wakes were due long ago.
static bool has_run_out(void)
{
	const uint64_t due = atomic_load(&chosen->due_ns);

	return due && __real_clock_now() >= due + PATIENCE_NS;
}

int __real_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

// As the words are by now: the kernel would not sleep on what has changed, and whoever changed it
// may not have woken us yet, or ever. A wake asks for no value.
static int sleep_on_present(const struct futex_word *words, size_t count)
{
	struct futex_word present[FUTEX_WORDS];

	for (size_t i = 0; i < count; i++) {
		present[i] = words[i];
		present[i].expected = atomic_load(words[i].address);
	}
	return __real_futex_wait_many(present, count, __real_clock_now() + PATIENCE_NS);
}

int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	int result;

	// A poll, for what has no word to sleep on, stays one.
	if (!chosen || until_ns <= clock_now() + WAIT_POLL_NS)
		return __real_futex_wait_many(words, count, until_ns);
	result = __real_futex_wait_many(words, count, __real_clock_now() + PATIENCE_NS);
	while (result == -ETIMEDOUT && !has_run_out())
		result = sleep_on_present(words, count);
	if (result == -ETIMEDOUT)
		atomic_fetch_add(&chosen->lost_wakes, 1);
	return result;
}
