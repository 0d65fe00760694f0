// SPDX-License-Identifier: Apache-2.0
//
// wait.h: the patience before a sleep.
#include "tests/support/scene.h"

#include "arena/wait.h"

#include <pthread.h>
#include <sched.h>

static void patience_ends_though_nothing_changes(void **state)
{
	_Atomic uint32_t word = 7;

	(void)state;
	for (int i = 0; i < 5000; i++)
		assert_false(wait_patiently(NULL, &word, 7, i % 2 == 0));
}

struct echo {
	_Atomic uint32_t there, back;
};

static void *answer(void *context)
{
	struct echo *echo = context;
	uint32_t seen = 0;

	while (seen != UINT32_MAX) {
		const uint32_t there = atomic_load(&echo->there);

		if (there == seen)
			sched_yield();
		atomic_store(&echo->back, there);
		seen = there;
	}
	return NULL;
}

// However often it was in vain: 5000 times above, in this very thread.
static void patience_is_tried_again_and_tells_a_change(void **state)
{
	struct echo echo = { 0, 0 };
	unsigned rewarded = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, answer, &echo), 0);
	for (uint32_t i = 1; rewarded < 100; i++) {
		atomic_store(&echo.there, i);
		while (atomic_load(&echo.back) != i) {
			if (wait_patiently(NULL, &echo.back, i - 1, false)) {
				assert_int_equal(atomic_load(&echo.back), i);
				rewarded++;
			}
		}
	}
	atomic_store(&echo.there, UINT32_MAX);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patience_ends_though_nothing_changes),
		cmocka_unit_test(patience_is_tried_again_and_tells_a_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
