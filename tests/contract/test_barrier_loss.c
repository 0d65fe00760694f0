// SPDX-License-Identifier: Apache-2.0
//
// Barriers that lose a party: who is told, and when the phase is complete without it.
//
//	lh_barrier_join   -EOWNERDEAD  a_party_that_dies_before_…
//	                  -ESTALE      a_party_whose_lease_expired_…
//	lh_barrier_wait   -EOWNERDEAD  a_party_that_dies_…
//	                  -ESTALE      a_party_whose_lease_expired_…, a_lease_that_expires_…
//	lh_barrier_leave  -ESTALE      a_party_whose_lease_expired_…
//	lh_barrier_reset  0            a_party_that_dies_before_…, a_reset_evicts_…, who_waited_…
#include "tests/contract/barrier.h"

#include <signal.h>

static bool is_broken(void)
{
	return atomic_load(&object()->word) & BARRIER_BROKEN;
}

// ---- losing a party ------------------------------------------------------------------------------

// LH_BARRIER_BREAK; "mends a broken one, evicts lost parties"
static void a_party_that_dies_before_its_arrival_breaks_the_barrier_until_reset(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third, *fourth;

	place(scene, 3, LH_BARRIER_BREAK);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, join, 0), 0);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(third);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	assert_int_equal(worker_hear(second), -EOWNERDEAD);
	assert_int_equal(worker_do(first, wait_until, UINT64_MAX), -EOWNERDEAD);
	assert_int_equal(worker_do(first, join, 0), 0); // two places are not the lost one's
	assert_int_equal(worker_do(second, join, 0), 0);
	fourth = start(scene, NULL);
	assert_int_equal(worker_do(fourth, join, 0), -EOWNERDEAD);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(lh_barrier_reset(&barrier), 0);
	assert_int_equal(worker_do(first, wait_until, 0), -EBUSY); // the place is waited for
	tell_to_wait(first);
	tell_to_wait(second);
	assert_int_equal(worker_do(fourth, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_grant(first).token, 1);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(fourth), 0);
}

// "whether it had arrived or not"
static void a_party_that_dies_after_its_arrival_breaks_the_barrier_at_once(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene, 3, LH_BARRIER_BREAK);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(first);
	assert_int_equal(worker_hear(second), -EOWNERDEAD);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, wait_until, UINT64_MAX), -EOWNERDEAD);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
}

// Whoever arrives last looks at all lives itself.
static void the_last_to_arrive_meets_the_death_of_one_that_had_arrived(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		place(scene, 2, policy);
		first = start_waiting(scene, NULL);
		second = start(scene, NULL);
		worker_kill(first);
		assert_int_equal(worker_do(second, wait_until, UINT64_MAX),
				 policy == LH_BARRIER_BREAK ? -EOWNERDEAD : 0);
		assert_int_equal(worker_end(second), 0);
	}
}

// LH_BARRIER_SHRINK: "party dropped"; those who wait are woken by the death alone.
static void without_a_dead_party_the_phase_is_complete_if_all_others_wait(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;
	uint32_t leaders;

	place(scene, 3, LH_BARRIER_SHRINK);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, join, 0), 0);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(third);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_grant(first).token, 1);
	leaders = worker_grant(first).flags + worker_grant(second).flags;
	assert_int_equal(leaders, LH_GRANT_LEADER);
	assert_false(is_broken());
	// From now on two are enough, and a third can join in its place.
	tell_to_wait(first);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, join, 0), 0);
	tell_to_wait(first);
	scene_await_wait(scene->arena, worker_lease(first), true);
	assert_int_equal(worker_do(second, wait_until, 0), -EBUSY); // it is waited for
	tell_to_wait(second);
	assert_int_equal(worker_do(third, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_grant(third).token, 3);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_party_that_dies_after_its_arrival_is_dropped_and_still_not_waited_for(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene, 3, LH_BARRIER_SHRINK);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(first);
	scene_await_wait(scene->arena, worker_lease(second), true);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(members(scene), 2);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
}

// G10: after a failed wait the place is what it was: one that phases do without.
static void a_wait_that_ends_early_leaves_a_dropped_place_dropped(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene, 2, LH_BARRIER_SHRINK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(worker_do(first, wait_until, 0), 0);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, wait_until, 0), -EBUSY);
	assert_int_equal(worker_do(first, wait_until, 0), 0);
	assert_int_equal(worker_do(third, join, 0), 0);
	assert_int_equal(worker_do(first, wait_until, 0), -EBUSY);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(third), 0);
}

// G2: trying again and again notices a death as sleeping does.
static void who_never_sleeps_learns_of_a_death_too(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 3, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(worker_do(first, wait_until, 0), -EOWNERDEAD);
	assert_int_equal(worker_end(first), 0);
}

// G3, G4: an expiry is a loss like a death.
static void a_party_whose_lease_expired_is_lost(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		const int expected = policy == LH_BARRIER_BREAK ? -EOWNERDEAD : 0;

		place(scene, 3, policy);
		third = start(scene, &timed);
		assert_int_equal(worker_do(third, join, 0), 0);
		first = start_waiting(scene, NULL);
		second = start_waiting(scene, NULL);
		worker_shorten(third);
		assert_int_equal(worker_hear(first), expected);
		assert_int_equal(worker_hear(second), expected);
		assert_int_equal(worker_do(third, wait_until, 0), -ESTALE);
		assert_int_equal(worker_do(third, join, 0), -ESTALE);
		assert_int_equal(worker_do(third, leave, 0), -ESTALE);
		assert_int_equal(worker_end(third), -ESTALE);
		assert_int_equal(worker_end(first), 0);
		assert_int_equal(worker_end(second), 0);
	}
}

// A lease that expires while it waits gets -ESTALE; the others are told as of any loss.
static void a_lease_that_expires_at_the_barrier_is_told_and_is_lost(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 3, LH_BARRIER_BREAK);
	first = start_waiting(scene, &timed);
	second = start_waiting(scene, NULL);
	worker_shorten(first);
	assert_int_equal(worker_hear(first), -ESTALE);
	assert_int_equal(worker_hear(second), -EOWNERDEAD);
	assert_int_equal(worker_end(first), -ESTALE);
	assert_int_equal(worker_end(second), 0);
}

// "Of one that is not broken only lost parties are evicted."
static void a_reset_evicts_whom_nobody_has_missed_yet(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(lh_barrier_reset(&barrier), 0);
	assert_false(is_broken());
	second = start(scene, NULL);
	tell_to_wait(first);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

// "those that waited when it broke are told -EOWNERDEAD all the same"
static void who_waited_when_it_broke_is_told_though_it_was_reset_before_it_looked(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	second = start(scene, NULL);
	assert_int_equal(worker_do(second, join, 0), 0);
	first = start_waiting(scene, NULL);
	assert_int_equal(kill(worker_pid(first), SIGSTOP), 0);
	worker_kill(second);
	second = start(scene, NULL);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), -EOWNERDEAD);
	assert_true(is_broken());
	assert_int_equal(lh_barrier_reset(&barrier), 0);
	assert_false(is_broken());
	assert_int_equal(kill(worker_pid(first), SIGCONT), 0);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

// All members are watched where few wait and many are missing.
static void one_waiter_watches_all_who_are_missing(void **state)
{
	enum { PARTIES = 24 };
	const struct scene *scene = *state;
	struct worker *workers[PARTIES], *first;

	place(scene, PARTIES, LH_BARRIER_BREAK);
	for (int i = 0; i < PARTIES - 1; i++) {
		workers[i] = start(scene, NULL);
		assert_int_equal(worker_do(workers[i], join, 0), 0);
	}
	first = start_waiting(scene, NULL);
	worker_kill(workers[PARTIES / 2]);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	for (int i = 0; i < PARTIES - 1; i++) {
		if (i != PARTIES / 2)
			assert_int_equal(worker_end(workers[i]), 0);
	}
	assert_int_equal(worker_end(first), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_party_that_dies_before_its_arrival_breaks_the_barrier_until_reset),
		SCENE_TEST(a_party_that_dies_after_its_arrival_breaks_the_barrier_at_once),
		SCENE_TEST(the_last_to_arrive_meets_the_death_of_one_that_had_arrived),
		SCENE_TEST(without_a_dead_party_the_phase_is_complete_if_all_others_wait),
		SCENE_TEST(a_party_that_dies_after_its_arrival_is_dropped_and_still_not_waited_for),
		SCENE_TEST(a_wait_that_ends_early_leaves_a_dropped_place_dropped),
		SCENE_TEST(who_never_sleeps_learns_of_a_death_too),
		SCENE_TEST(a_party_whose_lease_expired_is_lost),
		SCENE_TEST(a_lease_that_expires_at_the_barrier_is_told_and_is_lost),
		SCENE_TEST(a_reset_evicts_whom_nobody_has_missed_yet),
		SCENE_TEST(who_waited_when_it_broke_is_told_though_it_was_reset_before_it_looked),
		SCENE_TEST(one_waiter_watches_all_who_are_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
