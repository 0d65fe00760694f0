// SPDX-License-Identifier: Apache-2.0
//
// Barriers: each error that barrier.h lists, and who belongs, waits and withdraws. Lost
// parties: test_barrier_loss.c.
//
//	lh_barrier_at     -EINVAL, -EEXIST             what_it_is_made_with_is_checked
//	                  others                       test_places.c
//	lh_barrier_join   -EUSERS                      one_party_too_many_…
//	                  -EOWNERDEAD, -ESTALE         test_barrier_loss.c
//	                  -ENOLCK, -EPERM, -EINVAL     calls_that_cannot_be_made_are_refused
//	                  -EBADMSG                     damage_is_told
//	lh_barrier_wait   -EBUSY, -ETIMEDOUT           a_wait_that_ends_early_…
//	                  -ECANCELED                   a_fired_token_…
//	                  -EINTR                       a_signal_withdraws_an_interruptible_party
//	                  -EOWNERDEAD                  a_party_that_joined_…, test_barrier_loss.c
//	                  -EOVERFLOW                   phases_that_are_used_up_are_told
//	                  the rest                     as lh_barrier_join
//	lh_barrier_leave  -EPERM, -EINVAL              calls_that_cannot_be_made_are_refused
//	                  -ESTALE                      test_barrier_loss.c
//	lh_barrier_reset  -EROFS, -EINVAL              calls_that_cannot_be_made_are_refused
//	                  -EBADMSG                     damage_is_told
#include "tests/contract/barrier.h"

#include "arena/layout.h"

#include <pthread.h>
#include <signal.h>

// ---- the rule ------------------------------------------------------------------------------------

static void what_it_is_made_with_is_checked(void **state)
{
	const struct scene *scene = *state;
	struct lh_barrier_options options = { .parties = 9, .name = "barrier" };
	struct lh_placement_info info;
	lh_barrier other;
	uint64_t cursor = 0;

	assert_int_equal(lh_barrier_footprint(&options), 64 + 128);
	assert_int_equal(lh_barrier_footprint(NULL), 0);
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &barrier), 0);
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &other), 0);
	assert_int_equal(lh_barrier_offset(&barrier), lh_barrier_offset(&other));
	assert_int_equal(lh_next_placement(scene->arena, &cursor, &info), 0);
	assert_int_equal(info.kind, LH_KIND_BARRIER);
	assert_int_equal(info.count, 9);
	options.parties = 8;
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &other), -EEXIST);
	options.parties = 9;
	options.on_death = LH_BARRIER_SHRINK;
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &other), -EEXIST);
	options.name = NULL;
	for (int i = 0; i < 4; i++) {
		struct lh_barrier_options wrong = options;

		wrong.parties = i == 0 ? 0 : i == 1 ? LAYOUT_MAX_PARTIES + 1 : 2;
		wrong.on_death = i == 2 ? 2 : LH_BARRIER_BREAK;
		wrong.reserved[3] = i == 3;
		assert_int_equal(lh_barrier_footprint(&wrong), 0);
		is_invalid(lh_barrier_at(scene->arena, LH_ANYWHERE, &wrong, &other));
	}
	is_invalid(lh_barrier_at(scene->arena, LH_ANYWHERE, NULL, &other));
	is_invalid(lh_barrier_at(NULL, LH_ANYWHERE, &options, &other));
	is_invalid(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, NULL));
	assert_int_equal(lh_remove(scene->arena, lh_barrier_offset(&barrier)), 0);
}

// "token: the phase, from 1; one LH_GRANT_LEADER a phase"
static void a_barrier_of_one_never_waits(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;
	lh_grant grant;

	place(scene, 1, LH_BARRIER_BREAK);
	lease = scene_lease(scene->arena);
	for (uint64_t phase = 1; phase <= 1000; phase++) {
		assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, &grant), 0);
		assert_int_equal(grant.token, phase);
		assert_int_equal(grant.flags, LH_GRANT_LEADER);
	}
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(members(scene), 0);
}

static void each_phase_has_one_number_and_one_leader(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[5];

	place(scene, 5, LH_BARRIER_BREAK);
	for (int i = 0; i < 5; i++)
		workers[i] = worker_start(i % 2 ? WORKER_THREAD : WORKER_PROCESS, scene->arena,
					  NULL);
	for (uint64_t phase = 1; phase <= 20; phase++) {
		uint32_t leaders = 0;

		for (int i = 0; i < 5; i++)
			tell_to_wait(workers[i]);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(worker_hear(workers[i]), 0);
			assert_int_equal(worker_grant(workers[i]).token, phase);
			leaders += worker_grant(workers[i]).flags == LH_GRANT_LEADER;
		}
		assert_int_equal(leaders, 1);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(worker_end(workers[i]), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// A completion makes no system call unless somebody has said that it sleeps: who is seen to wait
// has. And who has woken him says so, lest all who learn of the phase do it again.
static void who_sleeps_has_said_so_before_and_who_wakes_it_afterwards(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	for (uint64_t phase = 1; phase <= 50; phase++) {
		tell_to_wait(first);
		scene_await_wait(scene->arena, worker_lease(first), true);
		assert_int_equal(atomic_load(&object()->slept), phase);
		assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
		assert_int_equal(worker_hear(first), 0);
		assert_int_equal(atomic_load(&object()->woken), phase);
	}
	atomic_store(&object()->slept, UINT64_MAX); // damage: needless wakes
	tell_to_wait(first);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	atomic_store(&object()->woken, UINT64_MAX); // damage: a backstop more
	tell_to_wait(first);
	scene_await_wait(scene->arena, worker_lease(first), true);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

// ---- who belongs ---------------------------------------------------------------------------------

// "-EUSERS when all parties have joined"
static void one_party_too_many_is_refused(void **state)
{
	const struct scene *scene = *state;
	lh_lease *leases[3];

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		place(scene, 2, policy);
		for (int i = 0; i < 3; i++)
			leases[i] = scene_lease(scene->arena);
		assert_int_equal(lh_barrier_join(&barrier, leases[0]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[0]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[1]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[2]), -EUSERS);
		assert_int_equal(lh_barrier_wait(&barrier, leases[2], LH_FOREVER, NULL), -EUSERS);
		assert_int_equal(members(scene), 2);
		assert_int_equal(lh_remove(scene->arena, lh_barrier_offset(&barrier)), -EBUSY);
		assert_int_equal(lh_lease_release(leases[0]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[2]), 0);
		assert_int_equal(lh_lease_release(leases[1]), 0);
		assert_int_equal(lh_lease_release(leases[2]), 0);
		assert_int_equal(members(scene), 0);
		assert_int_equal(lh_remove(scene->arena, lh_barrier_offset(&barrier)), 0);
	}
}

// "the place can be joined again"; until then it is waited for. G6
static void a_place_that_was_left_is_waited_for_and_can_be_joined_again(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		place(scene, 2, policy);
		first = start(scene, NULL);
		second = start(scene, NULL);
		assert_int_equal(worker_do(first, join, 0), 0);
		assert_int_equal(worker_do(second, join, 0), 0);
		assert_int_equal(worker_do(second, leave, 0), 0);
		assert_int_equal(worker_do(second, leave, 0), -EPERM);
		assert_int_equal(worker_do(first, wait_until, 0), -EBUSY);
		tell_to_wait(first);
		scene_await_wait(scene->arena, worker_lease(first), true);
		third = start(scene, NULL);
		assert_int_equal(worker_do(third, wait_until, UINT64_MAX), 0);
		assert_int_equal(worker_hear(first), 0);
		assert_int_equal(worker_grant(first).token, 1);
		assert_int_equal(worker_do(second, join, 0), -EUSERS);
		assert_int_equal(worker_do(third, leave, 0), 0);
		assert_int_equal(worker_do(second, join, 0), 0);
		assert_int_equal(worker_end(first), 0);
		assert_int_equal(worker_end(second), 0);
		assert_int_equal(worker_end(third), 0);
	}
}

// Who joins while others sleep is watched by them from then on (G2): nothing but its death wakes
// them.
static void a_party_that_joined_while_others_slept_is_watched(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start_waiting(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	assert_int_equal(worker_end(first), 0);
}

// ---- withdrawing ---------------------------------------------------------------------------------

// "a time-out or a cancel withdraws the arrival"; G10: who joined by waiting is no party
// afterwards.
static void a_wait_that_ends_early_is_withdrawn_and_the_party_still_needed(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, wait_until, 0), -EBUSY);
	assert_int_equal(worker_do(first, wait_until, 1), -ETIMEDOUT);
	assert_int_equal(worker_do(first, wait_until, lh_deadline_after(LH_MS(3)).ns), -ETIMEDOUT);
	assert_int_equal(members(scene), 0);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(first, wait_until, lh_deadline_after(LH_MS(3)).ns), -ETIMEDOUT);
	assert_int_equal(members(scene), 1);
	// The other's wait is not complete by that arrival.
	assert_int_equal(worker_do(second, wait_until, 0), -EBUSY);
	tell_to_wait(second);
	scene_await_wait(scene->arena, worker_lease(second), true);
	assert_int_equal(worker_do(first, wait_until, 0), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_grant(second).token, 1);
	assert_int_equal(worker_grant(first).flags, LH_GRANT_LEADER);
	assert_int_equal(worker_grant(second).flags, 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

struct waiting {
	const struct scene *scene;
	lh_cancel *cancel;
	unsigned flags;
	_Atomic uint64_t number; /* of its lease */
	int result;
};

static void *wait_at_barrier(void *context)
{
	struct waiting *waiting = context;
	const struct lh_lease_options options = { .flags = waiting->flags };
	lh_lease *lease = NULL;

	need(lh_lease_acquire(waiting->scene->arena, &options, &lease) == 0);
	need(lh_lease_set_cancel(lease, waiting->cancel) == 0);
	need(lh_barrier_join(&barrier, lease) == 0);
	waiting->number = lh_lease_id(lease);
	waiting->result = lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL);
	if (waiting->cancel)
		need(lh_barrier_wait(&barrier, lease, LH_NOW, NULL) == -ECANCELED);
	else
		need(lh_barrier_wait(&barrier, lease, LH_NOW, NULL) == -EBUSY);
	need(members(waiting->scene) == 1);
	need(lh_lease_release(lease) == 0);
	return NULL;
}

static pthread_t start_thread(struct waiting *waiting)
{
	pthread_t thread;

	place(waiting->scene, 2, LH_BARRIER_SHRINK);
	assert_int_equal(pthread_create(&thread, NULL, wait_at_barrier, waiting), 0);
	while (!waiting->number)
		scene_pause();
	scene_await_wait(waiting->scene->arena, waiting->number, true);
	return thread;
}

static void a_fired_token_withdraws_and_ends_every_wait_after(void **state)
{
	struct waiting waiting = { .scene = *state };
	pthread_t thread;

	assert_int_equal(lh_cancel_create(&waiting.cancel), 0);
	thread = start_thread(&waiting);
	lh_cancel_fire(waiting.cancel);
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -ECANCELED);
	lh_cancel_destroy(waiting.cancel);
}

static void ignore(int signal)
{
	(void)signal;
}

static void a_signal_withdraws_an_interruptible_party(void **state)
{
	struct waiting waiting = { .scene = *state, .flags = LH_LEASE_INTERRUPTIBLE };
	const struct sigaction action = { .sa_handler = ignore };
	pthread_t thread;
	struct lh_lease_info info;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	thread = start_thread(&waiting);
	// It may not sleep yet: a signal that comes too early is followed by another.
	while (scene_look(waiting.scene->arena, waiting.number, &info) && info.waits_for) {
		pthread_kill(thread, SIGUSR1);
		scene_pause();
	}
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -EINTR);
}

// ---- refused -------------------------------------------------------------------------------------

static int call_foreign(void *context)
{
	return lh_barrier_join(&barrier, context) == -EPERM &&
			       lh_barrier_wait(&barrier, context, LH_NOW, NULL) == -EPERM &&
			       lh_barrier_leave(&barrier, context) == -EPERM
		       ? 0
		       : 1;
}

static void calls_that_cannot_be_made_are_refused(void **state)
{
	struct scene *scene = *state;
	const struct lh_arena_options options = { .max_holds = 1 };
	const struct lh_barrier_options named = { .parties = 1, .name = "named" };
	const lh_barrier none = { { 0 } };
	lh_arena *arena = scene_open(scene, &options), *reader = NULL;
	lh_lease *lease = scene_lease(arena);
	lh_mutex mutex = scene_mutex(arena);
	const lh_barrier *wrong[] = { NULL, &none };

	assert_int_equal(lh_barrier_at(arena, LH_ANYWHERE, &named, &barrier), 0);
	for (int i = 0; i < 2; i++) {
		is_invalid(lh_barrier_join(wrong[i], lease));
		is_invalid(lh_barrier_wait(wrong[i], lease, LH_NOW, NULL));
		is_invalid(lh_barrier_leave(wrong[i], lease));
		is_invalid(lh_barrier_reset(wrong[i]));
		assert_int_equal(lh_barrier_offset(wrong[i]), 0);
	}
	is_invalid(lh_barrier_join(&barrier, NULL));
	is_invalid(lh_barrier_wait(&barrier, NULL, LH_NOW, NULL));
	assert_int_equal(lh_barrier_leave(&barrier, lease), -EPERM);
	assert_int_equal(scene_thread(call_foreign, lease), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_barrier_join(&barrier, lease), -ENOLCK);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -ENOLCK);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	assert_int_equal(lh_barrier_at(reader, LH_ANYWHERE, &named, &barrier), 0);
	assert_int_equal(lh_barrier_reset(&barrier), -EROFS);
	assert_int_equal(lh_arena_close(reader), 0);
}

static void phases_that_are_used_up_are_told(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;
	lh_grant grant;

	place(scene, 1, LH_BARRIER_BREAK);
	lease = scene_lease(scene->arena);
	atomic_store(&object()->word, (BARRIER_PHASE_MAX - 1) << BARRIER_PHASE_SHIFT);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, &grant), 0);
	assert_int_equal(grant.token, BARRIER_PHASE_MAX);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, &grant), -EOVERFLOW);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void damage_is_told(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;

	place(scene, 2, LH_BARRIER_BREAK);
	lease = scene_lease(scene->arena);
	atomic_store(&object()->places[1], PLACE_OWNER_MASK); // no such slot
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(lh_barrier_reset(&barrier), -EBADMSG);
	assert_int_equal(members(scene), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&object()->places[1], 300); // nobody's slot
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&object()->places[1], 0);
	object()->parties = 100000; // the handle knows better; who clears up does not believe it
	assert_int_equal(lh_barrier_join(&barrier, lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	assert_int_equal(lh_lease_release(lease), -EBADMSG);
	object()->kind = LH_KIND_MUTEX;
	lease = scene_lease(scene->arena);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(lh_barrier_join(&barrier, lease), -EBADMSG);
	assert_int_equal(lh_barrier_leave(&barrier, lease), -EBADMSG);
	assert_int_equal(lh_barrier_reset(&barrier), -EBADMSG);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(what_it_is_made_with_is_checked),
		SCENE_TEST(a_barrier_of_one_never_waits),
		SCENE_TEST(each_phase_has_one_number_and_one_leader),
		SCENE_TEST(who_sleeps_has_said_so_before_and_who_wakes_it_afterwards),
		SCENE_TEST(one_party_too_many_is_refused),
		SCENE_TEST(a_place_that_was_left_is_waited_for_and_can_be_joined_again),
		SCENE_TEST(a_party_that_joined_while_others_slept_is_watched),
		SCENE_TEST(a_wait_that_ends_early_is_withdrawn_and_the_party_still_needed),
		SCENE_TEST(a_fired_token_withdraws_and_ends_every_wait_after),
		SCENE_TEST(a_signal_withdraws_an_interruptible_party),
		SCENE_TEST_CLOSED(calls_that_cannot_be_made_are_refused),
		SCENE_TEST(phases_that_are_used_up_are_told),
		SCENE_TEST(damage_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
