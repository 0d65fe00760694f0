// SPDX-License-Identifier: Apache-2.0
//
// time.h, error.h and grant.h: what needs no arena.
//
//	lh_deadline_after  saturates; 0 is not LH_NOW
//	lh_fence_check     -ESTALE below what was seen; -EINVAL NULL, misaligned
//	lh_strerror        a text for every error of the contract, and for every number
#include "tests/support/scene.h"

#include <pthread.h>
#include <time.h>

static const lh_deadline of_static_duration = LH_DEADLINE_INIT(12);

static void durations_and_constants_are_nanoseconds(void **state)
{
	(void)state;
	assert_int_equal(LH_MS(1), 1000000);
	assert_int_equal(LH_SEC(1), 1000000000);
	assert_int_equal(LH_SEC(5000000000), UINT64_C(5000000000000000000));
	assert_int_equal(LH_NOW.ns, 0);
	assert_true(LH_FOREVER.ns == UINT64_MAX);
	assert_int_equal(of_static_duration.ns, 12);
}

static void now_is_the_monotonic_clock(void **state)
{
	struct timespec before, after;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	const uint64_t now = lh_now();

	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(now >= LH_SEC(before.tv_sec) + (uint64_t)before.tv_nsec);
	assert_true(now <= LH_SEC(after.tv_sec) + (uint64_t)after.tv_nsec);
}

static void a_deadline_is_so_far_from_now(void **state)
{
	(void)state;
	const uint64_t before = lh_now();
	const lh_deadline deadline = lh_deadline_after(LH_SEC(3));

	assert_true(deadline.ns >= before + LH_SEC(3));
	assert_true(deadline.ns <= lh_now() + LH_SEC(3));
}

static void a_deadline_beyond_the_clock_is_forever(void **state)
{
	(void)state;
	assert_true(lh_deadline_after(UINT64_MAX).ns == UINT64_MAX);
	assert_true(lh_deadline_after(UINT64_MAX - 1).ns == UINT64_MAX);
	assert_true(lh_deadline_after(UINT64_MAX - lh_now() / 2).ns == UINT64_MAX);
}

// "A duration of 0 is a deadline that passes at once (-ETIMEDOUT), not LH_NOW (-EBUSY)."
static void no_duration_is_not_lh_now(void **state)
{
	(void)state;
	assert_true(lh_deadline_after(0).ns > 0);
	assert_true(lh_deadline_after(0).ns <= lh_now());
}

// ---- lh_fence_check: G5 --------------------------------------------------------------------------

static void a_fence_lets_rising_and_equal_tokens_pass(void **state)
{
	uint64_t highest = 0;

	(void)state;
	assert_int_equal(lh_fence_check(&highest, 1), 0);
	assert_int_equal(lh_fence_check(&highest, 7), 0);
	assert_int_equal(lh_fence_check(&highest, 7), 0);
	assert_int_equal(highest, 7);
	assert_int_equal(lh_fence_check(&highest, UINT64_MAX), 0);
	assert_true(highest == UINT64_MAX);
}

static void a_fence_refuses_a_lower_token_and_stays(void **state)
{
	uint64_t highest = 7;

	(void)state;
	assert_int_equal(lh_fence_check(&highest, 6), -ESTALE);
	assert_int_equal(lh_fence_check(&highest, 0), -ESTALE);
	assert_int_equal(highest, 7);
}

static void a_fence_that_is_null_or_misaligned_is_invalid(void **state)
{
	uint64_t words[2] = { 0, 0 };

	(void)state;
	assert_int_equal(lh_fence_check(NULL, 1), -EINVAL);
	for (uintptr_t shift = 1; shift < 8; shift++)
		assert_int_equal(lh_fence_check((uint64_t *)((uintptr_t)words + shift), 1),
				 -EINVAL);
	assert_int_equal(words[0] | words[1], 0);
}

struct climber {
	uint64_t *highest;
	uint64_t first;
	uint64_t passed; /* the highest token that passed */
	bool fell;       /* an accepted token was below one accepted before */
};

static void *climb(void *context)
{
	struct climber *climber = context;

	for (uint64_t token = climber->first; token < 100000; token += 2) {
		if (lh_fence_check(climber->highest, token) == 0)
			climber->passed = token;
		else
			climber->fell |= __atomic_load_n(climber->highest, __ATOMIC_RELAXED) <=
					 token;
	}
	return NULL;
}

// Atomic: of two that raise it at once neither is lost, and none is refused below what was seen.
static void a_fence_is_raised_by_several_at_once(void **state)
{
	uint64_t highest = 0;
	struct climber climbers[2] = { { &highest, 1, 0, false }, { &highest, 2, 0, false } };
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, climb, &climbers[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(highest, climbers[0].passed > climbers[1].passed ? climbers[0].passed
									  : climbers[1].passed);
	assert_int_equal(highest, 99999);
	assert_false(climbers[0].fell || climbers[1].fell);
}

// ---- lh_strerror, lh_error_detail, lh_version ----------------------------------------------------

static void every_error_of_the_contract_has_words_of_its_own(void **state)
{
	const int errors[] = { EBUSY,   ETIMEDOUT, ECANCELED, EINTR,    ESTALE,  EOWNERDEAD,
			       EPERM,   EDEADLK,   ENOLCK,    EBADMSG,  EEXIST,  EPROTONOSUPPORT,
			       ENOENT,  ENOSPC,    EACCES,    EROFS,    EINVAL,  ENOTCONN,
			       ENOTSUP, ENOMEM,    EOVERFLOW, EMSGSIZE, ENODATA, EUSERS,
			       EPIPE,   EMFILE,    ENFILE,    EAGAIN,   0,       EINPROGRESS };
	const size_t count = sizeof(errors) / sizeof(errors[0]);
	const char *const unknown = lh_strerror(-4095);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		assert_string_not_equal(lh_strerror(-errors[i]), unknown);
		assert_string_not_equal(lh_strerror(-errors[i]), "");
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(lh_strerror(-errors[i]), lh_strerror(-errors[j]));
	}
}

static void every_number_has_a_text(void **state)
{
	const int numbers[] = { INT32_MIN, INT32_MAX, -1, 1, -100000, 100000 };

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		assert_non_null(lh_strerror(numbers[i]));
		assert_string_not_equal(lh_strerror(numbers[i]), "");
	}
}

static void *look_at_detail(void *context)
{
	*(bool *)context = strcmp(lh_error_detail(), "") == 0;
	return NULL;
}

// "this thread's last failed call"; "a successful call leaves it as it is"
static void the_detail_names_what_failed_and_is_the_threads_own(void **state)
{
	lh_arena *arena = NULL;
	lh_cancel *cancel = NULL;
	pthread_t thread;
	bool empty = false;

	(void)state;
	assert_int_equal(lh_arena_open("lh-test-absent", 0, NULL, &arena), -ENOENT);
	assert_non_null(strstr(lh_error_detail(), "lh-test-absent"));
	assert_int_equal(lh_cancel_create(&cancel), 0);
	assert_non_null(strstr(lh_error_detail(), "lh-test-absent"));
	lh_cancel_destroy(cancel);
	assert_int_equal(pthread_create(&thread, NULL, look_at_detail, &empty), 0);
	pthread_join(thread, NULL);
	assert_true(empty);
}

static void the_version_has_three_numbers(void **state)
{
	int major, minor, patch;
	char more;

	(void)state;
	assert_int_equal(sscanf(lh_version(), "%d.%d.%d%c", &major, &minor, &patch, &more), 3);
	assert_true(lh_layout_version() >= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_and_constants_are_nanoseconds),
		cmocka_unit_test(now_is_the_monotonic_clock),
		cmocka_unit_test(a_deadline_is_so_far_from_now),
		cmocka_unit_test(a_deadline_beyond_the_clock_is_forever),
		cmocka_unit_test(no_duration_is_not_lh_now),
		cmocka_unit_test(a_fence_lets_rising_and_equal_tokens_pass),
		cmocka_unit_test(a_fence_refuses_a_lower_token_and_stays),
		cmocka_unit_test(a_fence_that_is_null_or_misaligned_is_invalid),
		cmocka_unit_test(a_fence_is_raised_by_several_at_once),
		cmocka_unit_test(every_error_of_the_contract_has_words_of_its_own),
		cmocka_unit_test(every_number_has_a_text),
		cmocka_unit_test(the_detail_names_what_failed_and_is_the_threads_own),
		cmocka_unit_test(the_version_has_three_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
