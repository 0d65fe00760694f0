// SPDX-License-Identifier: Apache-2.0
//
// history.h, which the stress tests trust: it finds what cannot have happened, and nothing else.
#include "tests/support/scene.h"

#include "tests/support/history.h"

enum { OBJECT = 3 };

static int begin(void **state)
{
	*state = history_create();
	return *state ? 0 : -1;
}

static int end(void **state)
{
	history_destroy(*state);
	return 0;
}

static struct history *of_rule(void *state, enum history_rule rule, uint64_t units)
{
	struct history *history = state;

	history->objects[OBJECT].rule = rule;
	history->objects[OBJECT].units = units;
	history->objects[OBJECT].name = "expected";
	return history;
}

static void add(struct history *history, int worker, bool writes, uint64_t from, uint64_t to,
		uint64_t value, uint64_t amount)
{
	struct history_entry *entry = history_add(history, worker,
						  (struct history_entry){ .begin_ns = from,
									  .value = value,
									  .amount = amount,
									  .object = OBJECT,
									  .writes = writes });

	assert_non_null(entry);
	entry->end_ns = to;
}

// Its author is killed right after it has added it, so nobody sets its end.
static void add_and_die(struct history *history, bool writes, uint64_t from, uint64_t to,
			uint64_t value)
{
	assert_non_null(history_add(history, 0,
				    (struct history_entry){ .begin_ns = from,
							    .end_ns = to,
							    .value = value,
							    .object = OBJECT,
							    .writes = writes }));
}

static bool is_sound(const struct history *history, size_t expected)
{
	size_t count;
	const bool sound = history_check(history, &count);

	assert_int_equal(count, expected);
	return sound;
}

static void an_entry_is_whole_when_it_is_added(void **state)
{
	struct history *history = of_rule(*state, HISTORY_VERSIONS, 0);

	add_and_die(history, true, 10, 20, 1);
	assert_true(is_sound(history, 1));
	history_clear(history);
	of_rule(history, HISTORY_PHASES, 0);
	add_and_die(history, false, 10, 30, 1);
	add(history, 1, false, 20, 30, 1, 0);
	assert_true(is_sound(history, 2));
}

static void holds_that_touch_do_not_overlap(void **state)
{
	struct history *history = of_rule(*state, HISTORY_HOLDS, 1);

	add(history, 0, true, 10, 20, 1, 1);
	add(history, 1, true, 20, 30, 2, 1);
	add(history, 0, true, 31, 40, 3, 1);
	assert_true(is_sound(history, 3));
}

static void two_at_once_in_a_mutex_are_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_HOLDS, 1);

	add(history, 0, true, 10, 20, 1, 1);
	add(history, 1, true, 19, 30, 2, 1);
	assert_false(is_sound(history, 2));
}

static void readers_overlap_and_a_writer_among_them_is_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_HOLDS, 100);

	add(history, 0, false, 10, 20, 0, 1);
	add(history, 1, false, 15, 30, 0, 1);
	assert_true(is_sound(history, 2));
	add(history, 2, true, 29, 35, 1, 100);
	assert_false(is_sound(history, 3));
}

static void a_token_that_does_not_rise_is_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_HOLDS, 1);

	add(history, 0, true, 10, 20, 7, 1);
	add(history, 1, true, 20, 30, 7, 1);
	assert_false(is_sound(history, 2));
}

static void a_hold_that_nobody_vouched_for_counts_for_nothing(void **state)
{
	struct history *history = of_rule(*state, HISTORY_HOLDS, 1);

	add(history, 0, true, 10, 20, 5, 1);
	add(history, 1, true, 15, 15, 4, 1);
	assert_true(is_sound(history, 2));
}

static void a_version_may_be_old_only_while_the_new_one_is_being_written(void **state)
{
	struct history *history = of_rule(*state, HISTORY_VERSIONS, 0);

	add(history, 0, true, 10, 20, 1, 77);
	add(history, 0, true, 30, 40, 2, 78);
	add(history, 1, false, 35, 36, 1, 77);
	add(history, 2, false, 33, 34, 2, 78);
	assert_false(is_sound(history, 4)); // 2 was read before 1 was
	history_clear(history);
	add(history, 0, true, 10, 20, 1, 77);
	add(history, 0, true, 30, 40, 2, 78);
	add(history, 1, false, 35, 37, 1, 77);
	add(history, 2, false, 36, 38, 2, 78);
	assert_true(is_sound(history, 4));
}

static void an_overtaken_version_is_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_VERSIONS, 0);

	add(history, 0, true, 10, 20, 2, 78);
	add(history, 1, false, 21, 25, 1, 77);
	assert_false(is_sound(history, 2));
}

static void a_version_written_twice_is_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_VERSIONS, 0);

	add(history, 0, true, 10, 20, 2, 78);
	add(history, 1, true, 21, 25, 2, 78);
	assert_false(is_sound(history, 2));
}

static void a_version_with_two_contents_is_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_VERSIONS, 0);

	add(history, 0, false, 10, 20, 2, 78);
	add(history, 1, false, 15, 25, 2, 79);
	assert_false(is_sound(history, 2));
}

static void who_returns_before_all_have_arrived_is_found(void **state)
{
	struct history *history = of_rule(*state, HISTORY_PHASES, 0);

	add(history, 0, true, 10, 30, 1, 0);
	add(history, 1, true, 20, 25, 1, 0);
	add(history, 0, true, 31, 50, 2, 0);
	add(history, 1, true, 26, 40, 2, 0);
	assert_true(is_sound(history, 4));
	add(history, 2, true, 41, 60, 2, 0);
	assert_false(is_sound(history, 5));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_entry_is_whole_when_it_is_added),
		TEST(holds_that_touch_do_not_overlap),
		TEST(two_at_once_in_a_mutex_are_found),
		TEST(readers_overlap_and_a_writer_among_them_is_found),
		TEST(a_token_that_does_not_rise_is_found),
		TEST(a_hold_that_nobody_vouched_for_counts_for_nothing),
		TEST(a_version_may_be_old_only_while_the_new_one_is_being_written),
		TEST(an_overtaken_version_is_found),
		TEST(a_version_written_twice_is_found),
		TEST(a_version_with_two_contents_is_found),
		TEST(who_returns_before_all_have_arrived_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
