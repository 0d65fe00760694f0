// SPDX-License-Identifier: Apache-2.0
//
// Waiting and signalling: whom a signal wakes, and placing. Waits that end without a signal, and
// what may go wrong: test_condvar_errors.c.
//
//	signal, broadcast -EROFS             a_read_only_arena_…
//	                  -EINVAL, -EBADMSG  test_condvar_errors.c
//	lh_condvar_at     all                placing_…, a_read_only_arena_…
#include "tests/contract/condvar.h"

#include <signal.h>

#include "tests/support/tier.h"

static int step_wait_until(struct worker_stage *stage, uint64_t ns)
{
	return wait_until(stage, (lh_deadline){ ns }, &stage->grant);
}

// ---- signals -------------------------------------------------------------------------------------

// "Wakes one waiter, the longest waiting, if there is any"
static void a_signal_wakes_the_one_that_has_waited_longest(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[3];

	for (int i = 0; i < 3; i++)
		workers[i] = start_waiting(scene, i % 2 ? WORKER_THREAD : WORKER_PROCESS);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(lh_condvar_signal(&condvar), 0);
		assert_int_equal(worker_hear(workers[i]), 0);
		for (int j = i + 1; j < 3; j++) {
			assert_false(worker_answered(workers[j]));
			assert_true(waits_for(scene, workers[j], lh_condvar_offset(&condvar)));
		}
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(worker_end(workers[i]), 0);
}

// "A signal is not stored"
static void a_signal_without_waiters_is_not_stored(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(lh_condvar_signal(&condvar), 0);
		assert_int_equal(lh_condvar_broadcast(&condvar), 0);
	}
	lock();
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, lh_deadline_after(LH_MS(2)), NULL),
			 -ETIMEDOUT);
	// Nor behind one who has waited.
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, lh_deadline_after(LH_MS(2)), NULL),
			 -ETIMEDOUT);
	unlock();
	worker = start_waiting(scene, WORKER_PROCESS);
	assert_false(worker_answered(worker));
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(worker_end(worker), 0);
}

// "A signal that came in time is told by 0, even if the deadline passed since."
static void a_signal_beats_a_deadline_that_passes_while_the_mutex_is_locked_again(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	const uint64_t deadline = lh_now() + LH_SEC(1);

	worker_tell(worker, step_wait_until, deadline);
	await_waiting(scene, worker);
	lock();
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	while (lh_now() < deadline + LH_MS(5))
		scene_pause();
	unlock();
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(worker_end(worker), 0);
}

// G8: a dead waiter takes no signal with it.
static void a_signalled_waiter_that_is_killed_hands_its_signal_on(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 10; round++) {
		struct worker *first = start_waiting(scene, WORKER_PROCESS);
		struct worker *second = start_waiting(scene, WORKER_PROCESS);
		struct worker *third = start_waiting(scene, WORKER_PROCESS);

		lock();
		assert_int_equal(lh_condvar_signal(&condvar), 0);
		await_waiting_for(scene, first,
				  lh_mutex_offset(&mutex)); // awake, and queues for it
		worker_kill(first);
		await_waiting_for(scene, second, lh_mutex_offset(&mutex));
		unlock();
		assert_int_equal(worker_hear(second), 0);
		assert_int_equal(lh_condvar_signal(&condvar), 0);
		assert_int_equal(worker_hear(third), 0);
		assert_int_equal(worker_end(second), 0);
		assert_int_equal(worker_end(third), 0);
	}
}

// G8: nor one that was told to go on together with another, and died first.
static void of_two_signalled_the_first_dies_and_a_third_gets_its_signal(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 10; round++) {
		struct worker *workers[3];

		for (int i = 0; i < 3; i++)
			workers[i] = start_waiting(scene, WORKER_PROCESS);
		lock();
		for (int i = 0; i < 2; i++) {
			assert_int_equal(lh_condvar_signal(&condvar), 0);
			await_waiting_for(scene, workers[i], lh_mutex_offset(&mutex));
		}
		worker_kill(workers[0]);
		await_waiting_for(scene, workers[2], lh_mutex_offset(&mutex));
		unlock();
		for (int i = 1; i < 3; i++) {
			assert_int_equal(worker_hear(workers[i]), 0);
			assert_int_equal(worker_end(workers[i]), 0);
		}
	}
}

// "Who waits is whoever let its mutex go": a stopped one has its signal; the next signal is
// another's.
static void a_stopped_waiter_holds_up_only_its_own_signal(void **state)
{
	const struct scene *scene = *state;
	struct worker *stopped = start_waiting(scene, WORKER_PROCESS);
	struct worker *other = start_waiting(scene, WORKER_PROCESS);

	kill(worker_pid(stopped), SIGSTOP);
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	assert_false(worker_answered(other));
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	assert_int_equal(worker_hear(other), 0);
	assert_false(worker_answered(stopped));
	kill(worker_pid(stopped), SIGCONT);
	assert_int_equal(worker_hear(stopped), 0);
	assert_int_equal(worker_end(stopped), 0);
	assert_int_equal(worker_end(other), 0);
}

// G8: all that live.
static void a_broadcast_wakes_all_that_live_of_many_of_whom_half_are_killed(void **state)
{
	// Where a wait is a poll, as under valgrind, a hundred take minutes to get the mutex in
	// turn.
	const int count = (int)tier_pick(24, 100, 100);
	const struct scene *scene = *state;
	struct worker *workers[100];

	for (int i = 0; i < count; i++) {
		workers[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
		worker_tell(workers[i], step_wait, 0);
	}
	for (int i = 0; i < count; i++)
		await_waiting(scene, workers[i]);
	for (int i = 0; i < count; i += 4) // asleep
		worker_kill(workers[i]);
	lock();
	assert_int_equal(lh_condvar_broadcast(&condvar), 0);
	for (int i = 2; i < count; i += 4) // woken, or not yet
		worker_kill(workers[i]);
	unlock();
	for (int i = 1; i < count; i += 2)
		assert_int_equal(worker_hear(workers[i]), 0);
	for (int i = 1; i < count; i += 2)
		assert_int_equal(worker_end(workers[i]), 0);
}

static volatile sig_atomic_t handled;

static void signal_in_handler(int number)
{
	(void)number;
	handled = lh_condvar_signal(&condvar) == 0;
}

// "Signal: safe", and "no lease is needed": in a process that never had one, in a handler.
static int signal_from_a_handler(void *unused)
{
	const struct sigaction action = { .sa_handler = signal_in_handler };

	(void)unused;
	need(sigaction(SIGUSR1, &action, NULL) == 0);
	need(raise(SIGUSR1) == 0 && handled);
	return 0;
}

static void a_handler_of_a_process_without_lease_may_signal(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = start_waiting(scene, WORKER_PROCESS);

	assert_exited(scene_child(signal_from_a_handler, NULL), 0);
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(worker_end(worker), 0);
}

// ---- several mutexes, several leases -------------------------------------------------------------

static int step_wait_elsewhere(struct worker_stage *stage, uint64_t offset)
{
	lh_mutex elsewhere;
	int error = lh_mutex_at(stage->arena, offset, NULL, &elsewhere);

	need(!error && lh_mutex_lock(&elsewhere, stage->lease, LH_FOREVER, &stage->grant) == 0);
	error = lh_condvar_wait(&condvar, &elsewhere, stage->lease, LH_FOREVER, &stage->grant);
	need(lh_mutex_unlock(&elsewhere, stage->lease) == 0);
	return error;
}

// "Waiters at one time may use different mutexes, each its own; a broadcast is for all of them."
static void waiters_with_different_mutexes_do_not_hold_up_each_other(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex elsewhere = scene_mutex(scene->arena);
	struct worker *here = start_waiting(scene, WORKER_PROCESS);
	struct worker *there = worker_start(WORKER_PROCESS, scene->arena, NULL);

	for (int round = 0; round < 2; round++) {
		worker_tell(there, step_wait_elsewhere, lh_mutex_offset(&elsewhere));
		scene_await_wait(scene->arena, worker_lease(there), true);
		scene_lock(&elsewhere, own);
		assert_int_equal(lh_mutex_unlock(&elsewhere, own), 0);
		lock(); // nobody gets through here
		if (round) {
			assert_int_equal(lh_condvar_broadcast(&condvar), 0);
		} else {
			assert_int_equal(lh_condvar_signal(&condvar), 0);
			assert_int_equal(lh_condvar_signal(&condvar), 0);
		}
		assert_int_equal(worker_hear(there), 0);
		assert_false(worker_answered(here));
		unlock();
		assert_int_equal(worker_hear(here), 0);
		if (!round) {
			worker_tell(here, step_wait, 0);
			await_waiting(scene, here);
		}
	}
	assert_int_equal(worker_end(here), 0);
	assert_int_equal(worker_end(there), 0);
}

// "Each waiting lease is a waiter of its own, so one process may wait several times."
static void one_process_waits_with_several_leases(void **state)
{
	const struct scene *scene = *state;
	struct worker *threads[4];

	for (int i = 0; i < 4; i++)
		threads[i] = start_waiting(scene, WORKER_THREAD);
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	assert_int_equal(worker_hear(threads[0]), 0);
	assert_int_equal(lh_condvar_broadcast(&condvar), 0);
	for (int i = 1; i < 4; i++)
		assert_int_equal(worker_hear(threads[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(worker_end(threads[i]), 0);
}

// ---- placing and looking -------------------------------------------------------------------------

static void placing_creates_or_attaches_and_refuses_what_differs(void **state)
{
	const struct lh_condvar_options named = { .name = "filled" };
	const struct lh_condvar_options reserved = { .reserved = { 0, 0, 0, 1 } };
	const struct scene *scene = *state;
	lh_condvar first, again = { { 7 } };
	uint64_t found = 0;

	assert_int_equal(lh_condvar_footprint(NULL), 64);
	assert_int_equal(lh_condvar_footprint(&named), 64);
	assert_int_equal(lh_condvar_footprint(&reserved), 0);
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, &named, &first), 0);
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, &named, &again), 0);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_int_equal(lh_find(scene->arena, "filled", &found), 0);
	assert_int_equal(found, lh_condvar_offset(&first));
	assert_int_equal(lh_condvar_at(scene->arena, found, &named, &again), 0);
	again = (lh_condvar){ { 7 } };
	assert_int_equal(lh_condvar_at(scene->arena, found, NULL, &again), -EEXIST);
	assert_int_equal(lh_condvar_at(scene->arena, lh_mutex_offset(&mutex), NULL, &again),
			 -EEXIST);
	assert_int_equal(lh_condvar_at(scene->arena, found + 1, NULL, &again), -EINVAL);
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, &reserved, &again), -EINVAL);
	assert_int_equal(lh_condvar_at(NULL, LH_ANYWHERE, NULL, &again), -EINVAL);
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, NULL, NULL), -EINVAL);
	assert_int_equal(again.private_[0], 7);
}

static int use_read_only(void *context)
{
	const struct scene *scene = context;
	const struct lh_condvar_options other = { .name = "not there" };
	lh_arena *arena = NULL;
	lh_condvar there;

	need(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena) == 0);
	need(lh_condvar_at(arena, lh_condvar_offset(&condvar), NULL, &there) == 0);
	need(lh_condvar_signal(&there) == -EROFS);
	need(lh_condvar_broadcast(&there) == -EROFS);
	need(lh_condvar_at(arena, LH_ANYWHERE, &other, &there) == -EROFS);
	return 0;
}

static void a_read_only_arena_can_be_attached_to_but_not_signalled(void **state)
{
	assert_exited(scene_child(use_read_only, *state), 0);
}

// What the inspector is told of a waiter: it waits for the condvar, and intends to have the mutex.
static void a_waiter_can_be_seen_and_keeps_the_condvar_from_being_removed(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = start_waiting(scene, WORKER_THREAD);
	struct lh_hold_info hold;
	uint64_t cursor = 0;
	int intents = 0;

	assert_true(waits_for(scene, worker, lh_condvar_offset(&condvar)));
	while (lh_next_hold(scene->arena, &cursor, &hold) == 0) {
		if (hold.lease != worker_lease(worker))
			continue;
		assert_int_equal(hold.mode, LH_HOLD_INTENT);
		assert_true(hold.kind == LH_KIND_CONDVAR || hold.kind == LH_KIND_MUTEX);
		intents++;
	}
	assert_int_equal(intents, 2);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(lh_remove(scene->arena, lh_condvar_offset(&condvar)), -EBUSY);
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(worker_end(worker), 0);
	assert_int_equal(lh_remove(scene->arena, lh_condvar_offset(&condvar)), 0);
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, NULL, &condvar), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SET_TEST(a_signal_wakes_the_one_that_has_waited_longest),
		SET_TEST(a_signal_without_waiters_is_not_stored),
		SET_TEST(a_signal_beats_a_deadline_that_passes_while_the_mutex_is_locked_again),
		SET_TEST(a_signalled_waiter_that_is_killed_hands_its_signal_on),
		SET_TEST(of_two_signalled_the_first_dies_and_a_third_gets_its_signal),
		SET_TEST(a_stopped_waiter_holds_up_only_its_own_signal),
		SET_TEST(a_broadcast_wakes_all_that_live_of_many_of_whom_half_are_killed),
		SET_TEST(a_handler_of_a_process_without_lease_may_signal),
		SET_TEST(waiters_with_different_mutexes_do_not_hold_up_each_other),
		SET_TEST(one_process_waits_with_several_leases),
		SET_TEST(placing_creates_or_attaches_and_refuses_what_differs),
		SET_TEST(a_read_only_arena_can_be_attached_to_but_not_signalled),
		SET_TEST(a_waiter_can_be_seen_and_keeps_the_condvar_from_being_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
