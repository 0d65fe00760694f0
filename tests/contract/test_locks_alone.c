// SPDX-License-Identifier: Apache-2.0
//
// Named locks of a provider with LH_CAP_DEADLOCK: who does not say who will release a handle is
// told of a cycle all the same if its process has nobody else to do it. Runs on any provider
// (tests/contract/locks.h).
#include "tests/contract/locks_members.h"

// "because there is no other thread in the process"
static void of_processes_of_one_thread_one_is_told_whatever_they_said(void **state)
{
	(void)state;
	each_cycle_has_one_victim(4, 0, 4);
}

static void of_some_that_said_and_some_that_did_not_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(4, 0, 2);
}

// Two processes, each with one key and in want of the other's; the first of them has another
// thread.
static void start_crossed(struct member members[2], enum order of_thread)
{
	later = locks_share(sizeof(*later));
	for (int i = 0; i < 2; i++) {
		start(&members[i], false);
		assert_int_equal(have(&members[i], ACQUIRE_UNSAID, (uint32_t)i), 0);
	}
	assert_int_equal(have(&members[0], of_thread, 0), 0);
	for (int i = 0; i < 2; i++)
		tell(&members[i], ACQUIRE_UNSAID, (uint32_t)!i);
	assert_true(nobody_answers(members, 2));
}

// "Else any thread may release it, also while that one waits."
static void what_a_second_thread_may_release_is_no_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	start_crossed(members, RELEASE_LATER);
	atomic_store(later, 1);
	assert_int_equal(hear(&members[1]), 0);
	assert_int_equal(have(&members[1], RELEASE, 1), 0);
	assert_int_equal(hear(&members[0]), 0);
	assert_int_equal(have(&members[1], RELEASE, 0), 0);
	assert_int_equal(have(&members[0], RELEASE, 1), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

static void once_the_second_thread_has_ended_it_is_a_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	start_crossed(members, END_LATER);
	atomic_store(later, 1);
	const int victim = await_any(members, 2);

	assert_int_equal(hear(&members[victim]), -EDEADLK);
	assert_int_equal(have(&members[victim], RELEASE, (uint32_t)victim), 0);
	assert_int_equal(hear(&members[!victim]), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

// "while nobody has asked for an on_loss callback"
static void what_a_callback_may_release_is_no_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	for (int i = 0; i < 2; i++) {
		start(&members[i], false);
		assert_int_equal(have(&members[i], ACQUIRE_UNSAID, (uint32_t)i), 0);
	}
	assert_int_equal(have(&members[0], ACQUIRE_CALLED_BACK, 2), 0);
	for (int i = 0; i < 2; i++)
		tell(&members[i], ACQUIRE_UNSAID, (uint32_t)!i);
	assert_true(nobody_answers(members, 2));
	peer_kill(&members[1].peer);
	assert_int_equal(hear(&members[0]), 0);
	finish(&members[0]);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(of_processes_of_one_thread_one_is_told_whatever_they_said),
		LOCKS_TEST(of_some_that_said_and_some_that_did_not_one_is_told),
		LOCKS_TEST(what_a_second_thread_may_release_is_no_cycle),
		LOCKS_TEST(once_the_second_thread_has_ended_it_is_a_cycle),
		LOCKS_TEST(what_a_callback_may_release_is_no_cycle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
