// SPDX-License-Identifier: Apache-2.0
//
// Waiting and signalling: each error that condvar.h lists, and what it promises.
//
//	lh_condvar_wait   -EBUSY                     a_wait_that_may_not_wait_…
//	                  -ETIMEDOUT, -ECANCELED,    a_wait_that_times_out_…, a_cancelled_…, an_inter…
//	                  -EINTR
//	                  -ENOLCK                    a_lease_without_room_…
//	                  -EPERM                     a_mutex_that_is_not_held_…
//	                  -ESTALE                    a_lease_that_expires_…
//	                  -EDEADLK, -EOVERFLOW       a_re_lock_that_…
//	                  -EINVAL                    what_is_of_no_or_another_arena_…
//	                  -EBADMSG                   a_damaged_header_…
//	signal, broadcast -EINVAL, -EROFS, -EBADMSG  the same, a_read_only_arena_…
//	lh_condvar_at     all                        placing_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "src/word.h"

#include <signal.h>

static lh_condvar condvar; // of the running test; forked workers inherit them
static lh_mutex mutex;
static lh_lease *own; // of the test itself

static void place(const struct scene *scene)
{
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, NULL, &condvar), 0);
	mutex = scene_mutex(scene->arena);
	own = scene_lease(scene->arena);
}

static int set(void **state)
{
	const int error = scene_begin(state);

	if (!error)
		place(*state);
	return error;
}

static int strike(void **state)
{
	const struct scene *scene = *state;

	assert_int_equal(lh_lease_release(own), 0);
	assert_true(scene_check(scene->arena, LH_CHECK_STALE) <= LH_CHECK_STALE);
	return scene_end(state);
}

#define SET_TEST(function) cmocka_unit_test_setup_teardown(function, set, strike)

// ---- steps of workers ----------------------------------------------------------------------------

static int wait_until(struct worker_stage *stage, lh_deadline deadline, lh_grant *grant)
{
	lh_grant first;
	int error = lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, &first);

	if (error)
		return error;
	error = lh_condvar_wait(&condvar, &mutex, stage->lease, deadline, grant);
	need(lh_mutex_held(&mutex, stage->lease) == (error != -ESTALE));
	if (error != -ESTALE)
		need(lh_mutex_unlock(&mutex, stage->lease) == 0);
	if (grant && error != -ESTALE)
		need(grant->token > first.token); // G5
	return error;
}

static int step_wait(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return wait_until(stage, LH_FOREVER, &stage->grant);
}

static int step_wait_blindly(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return wait_until(stage, LH_FOREVER, NULL);
}

static int step_wait_until(struct worker_stage *stage, uint64_t ns)
{
	return wait_until(stage, (lh_deadline){ ns }, &stage->grant);
}

// Holds the mutex still when it answers.
static int step_wait_and_hold(struct worker_stage *stage, uint64_t unused)
{
	lh_grant grant;

	(void)unused;
	need(lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, &grant) == 0);
	return lh_condvar_wait(&condvar, &mutex, stage->lease, LH_FOREVER, &stage->grant);
}

static int step_release_mutex(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return lh_mutex_unlock(&mutex, stage->lease);
}

// ---- acts of the test ----------------------------------------------------------------------------

static void lock(void)
{
	lh_grant grant;

	assert_int_equal(lh_mutex_lock(&mutex, own, LH_FOREVER, &grant), 0);
	if (grant.flags & LH_GRANT_OWNER_DIED)
		assert_int_equal(lh_mutex_consistent(&mutex, own), 0);
}

static void unlock(void)
{
	assert_int_equal(lh_mutex_unlock(&mutex, own), 0);
}

// It waits, and has let the mutex go.
static void await_waiting(const struct scene *scene, const struct worker *worker)
{
	scene_await_wait(scene->arena, worker_lease(worker), true);
	lock();
	unlock();
}

static struct worker *start_waiting(const struct scene *scene, enum worker_kind kind)
{
	struct worker *worker = worker_start(kind, scene->arena, NULL);

	worker_tell(worker, step_wait, 0);
	await_waiting(scene, worker);
	return worker;
}

static bool waits_for(const struct scene *scene, const struct worker *worker, uint64_t offset)
{
	struct lh_lease_info info;

	assert_true(scene_look(scene->arena, worker_lease(worker), &info));
	return info.waits_for == offset;
}

static void await_waiting_for(const struct scene *scene, const struct worker *worker,
			      uint64_t offset)
{
	while (!waits_for(scene, worker, offset))
		scene_pause();
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

// "Who waits is whoever let its mutex go": a stopped one has its signal; the next signal is another's.
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
static void a_broadcast_wakes_all_that_live_of_a_hundred_of_whom_half_are_killed(void **state)
{
	enum { WAITERS = 100 };
	const struct scene *scene = *state;
	struct worker *workers[WAITERS];

	for (int i = 0; i < WAITERS; i++) {
		workers[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
		worker_tell(workers[i], step_wait, 0);
	}
	for (int i = 0; i < WAITERS; i++)
		await_waiting(scene, workers[i]);
	for (int i = 0; i < WAITERS; i += 4) // asleep
		worker_kill(workers[i]);
	lock();
	assert_int_equal(lh_condvar_broadcast(&condvar), 0);
	for (int i = 2; i < WAITERS; i += 4) // woken, or not yet
		worker_kill(workers[i]);
	unlock();
	for (int i = 1; i < WAITERS; i += 2)
		assert_int_equal(worker_hear(workers[i]), 0);
	for (int i = 1; i < WAITERS; i += 2)
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

// ---- waits that end without a signal -------------------------------------------------------------

// "-EBUSY: deadline is LH_NOW: the mutex was not let go"
static void a_wait_that_may_not_wait_is_busy_and_keeps_the_mutex(void **state)
{
	lh_grant before, grant = { .token = 77 };

	(void)state;
	before = scene_lock(&mutex, own);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_NOW, &grant), -EBUSY);
	assert_int_equal(grant.token, 77);
	assert_true(lh_mutex_held(&mutex, own));
	unlock();
	assert_int_equal(scene_lock(&mutex, own).token, before.token + 1);
	unlock();
}

// "Errors with the mutex held … -ETIMEDOUT"; ret_grant "is filled".
static void a_wait_that_times_out_holds_the_mutex_again(void **state)
{
	const lh_deadline deadlines[] = { { 1 },
					  lh_deadline_after(0),
					  lh_deadline_after(LH_MS(3)) };
	const struct scene *scene = *state;

	for (int i = 0; i < 3; i++) {
		const lh_grant before = scene_lock(&mutex, own);
		lh_grant grant = { .token = 0 };

		assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, deadlines[i], &grant),
				 -ETIMEDOUT);
		assert_true(lh_now() >= deadlines[i].ns);
		assert_true(grant.token > before.token);
		assert_int_equal(grant.flags, 0);
		assert_true(lh_mutex_held(&mutex, own));
		unlock();
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static lh_cancel *cancel;

static int step_set_cancel(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return lh_lease_set_cancel(stage->lease, cancel);
}

static int step_unset_cancel(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return lh_lease_set_cancel(stage->lease, NULL);
}

// G10: "The re-lock ignores deadline, cancel token and signal handlers".
static void a_cancelled_wait_holds_the_mutex_again(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = worker_start(WORKER_THREAD, scene->arena, NULL);

	assert_int_equal(lh_cancel_create(&cancel), 0);
	assert_int_equal(worker_do(worker, step_set_cancel, 0), 0);
	worker_tell(worker, step_wait_and_hold, 0);
	await_waiting(scene, worker);
	lock();
	lh_cancel_fire(cancel);
	await_waiting_for(scene, worker, lh_mutex_offset(&mutex));
	assert_false(worker_answered(worker));
	unlock();
	assert_int_equal(worker_hear(worker), -ECANCELED);
	assert_true(worker_grant(worker).token > 0);
	assert_int_equal(lh_mutex_lock(&mutex, own, LH_NOW, NULL), -EBUSY);
	assert_int_equal(worker_do(worker, step_release_mutex, 0), 0);
	assert_int_equal(worker_do(worker, step_unset_cancel, 0), 0);
	assert_int_equal(worker_end(worker), 0);
	// Fired before: the mutex was not let go.
	const lh_grant before = scene_lock(&mutex, own);

	assert_int_equal(lh_lease_set_cancel(own, cancel), 0);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL), -ECANCELED);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_NOW, NULL), -ECANCELED);
	assert_true(lh_mutex_held(&mutex, own));
	assert_int_equal(lh_lease_set_cancel(own, NULL), 0);
	unlock();
	assert_int_equal(scene_lock(&mutex, own).token, before.token + 1);
	unlock();
	lh_cancel_destroy(cancel);
}

static void do_nothing(int number)
{
	(void)number;
}

static void an_interrupted_wait_holds_the_mutex_again(void **state)
{
	const struct lh_lease_options options = { .flags = LH_LEASE_INTERRUPTIBLE };
	const struct sigaction action = { .sa_handler = do_nothing };
	const struct scene *scene = *state;
	struct worker *worker;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	worker = worker_start(WORKER_PROCESS, scene->arena, &options);
	worker_tell(worker, step_wait_and_hold, 0);
	await_waiting(scene, worker);
	lock();
	while (!waits_for(scene, worker, lh_mutex_offset(&mutex))) {
		kill(worker_pid(worker), SIGUSR1); // it may still be on its way to its sleep
		scene_pause();
	}
	for (int i = 0; i < 20; i++) { // of no effect on the re-lock
		kill(worker_pid(worker), SIGUSR1);
		scene_pause();
	}
	assert_false(worker_answered(worker));
	unlock();
	assert_int_equal(worker_hear(worker), -EINTR);
	assert_int_equal(lh_mutex_lock(&mutex, own, LH_NOW, NULL), -EBUSY);
	assert_int_equal(worker_do(worker, step_release_mutex, 0), 0);
	assert_int_equal(worker_end(worker), 0);
}

// ---- damage --------------------------------------------------------------------------------------

static int step_lock(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, &stage->grant);
}

// G12: "the wait returns with the mutex held all the same, and ret_grant tells"
static void an_owner_that_died_meanwhile_is_told_by_the_grant(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	struct worker *holder = worker_start(WORKER_PROCESS, scene->arena, NULL);
	const uint64_t lost = worker_lease(holder);

	worker_tell(worker, step_wait, 0);
	await_waiting(scene, worker);
	assert_int_equal(worker_do(holder, step_lock, 0), 0);
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	worker_kill(holder);
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(worker_grant(worker).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(worker_grant(worker).previous, lost);
	assert_int_equal(worker_end(worker), 0);
}

// The same with -ETIMEDOUT: "damage is told by ret_grant alone".
static void damage_is_told_to_a_wait_that_times_out(void **state)
{
	const struct scene *scene = *state;
	struct worker *holder = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_grant grant;

	assert_int_equal(worker_do(holder, step_lock, 0), 0);
	worker_kill(holder);
	assert_int_equal(lh_mutex_lock(&mutex, own, LH_FOREVER, &grant), 0);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	grant = (lh_grant){ .token = 0 };
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, lh_deadline_after(0), &grant),
			 -ETIMEDOUT);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_mutex_consistent(&mutex, own), 0);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, lh_deadline_after(0), &grant),
			 -ETIMEDOUT);
	assert_int_equal(grant.flags, 0);
	unlock();
}

// G12: "With NULL nothing is told, and the next lock that asks is."
static void an_owner_that_died_meanwhile_is_told_to_the_next_lock_if_nobody_listened(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	struct worker *holder = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_grant grant;

	worker_tell(worker, step_wait_blindly, 0);
	await_waiting(scene, worker);
	assert_int_equal(worker_do(holder, step_lock, 0), 0);
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	worker_kill(holder);
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(lh_mutex_lock(&mutex, own, LH_FOREVER, NULL), -EOWNERDEAD);
	assert_int_equal(lh_mutex_lock(&mutex, own, LH_FOREVER, &grant), 0);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	unlock();
	assert_int_equal(worker_end(worker), 0);
}

// ---- loss ----------------------------------------------------------------------------------------

// G3, G4: asleep, and with a signal on its way to the mutex.
static void a_lease_that_expires_while_it_waits_does_not_hold(void **state)
{
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;

	for (int signalled = 0; signalled < 2; signalled++) {
		struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, &options);
		struct worker *other;
		struct lease_slot *slot;
		uint64_t word;
		struct lh_lease_info info;

		worker_tell(worker, step_wait, 0);
		await_waiting(scene, worker);
		other = start_waiting(scene, WORKER_PROCESS);
		lock();
		if (signalled) {
			assert_int_equal(lh_condvar_signal(&condvar), 0);
			await_waiting_for(scene, worker, lh_mutex_offset(&mutex));
		}
		assert_true(scene_look(scene->arena, worker_lease(worker), &info));
		slot = &scene->arena->leases[info.slot];
		word = atomic_load(&slot->state);
		// It expires now, as somebody would latch it then.
		atomic_store(&slot->state, (word & ~(UINT64_C(3) << LEASE_STATE_SHIFT)) |
						   (uint64_t)LEASE_EXPIRED << LEASE_STATE_SHIFT);
		assert_int_equal(worker_hear(worker), -ESTALE);
		if (signalled) // G8: the signal was not lost with it
			await_waiting_for(scene, other, lh_mutex_offset(&mutex));
		else
			assert_int_equal(lh_condvar_signal(&condvar), 0);
		unlock();
		assert_int_equal(worker_hear(other), 0);
		assert_int_equal(worker_end(worker), -ESTALE);
		assert_int_equal(worker_end(other), 0);
	}
}

// G4: "-ESTALE: the lease is lost"; and of a fork's copy.
static int wait_with_the_parents_lease(void *unused)
{
	(void)unused;
	return lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL) == -ESTALE ? 0 : 1;
}

static void an_inherited_lease_is_stale(void **state)
{
	(void)state;
	lock();
	assert_exited(scene_child(wait_with_the_parents_lease, NULL), 0);
	unlock();
}

// ---- what cannot be waited with ------------------------------------------------------------------

static int wait_with_anothers_lease(void *unused)
{
	(void)unused;
	return lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL);
}

static void a_mutex_that_is_not_held_is_eperm(void **state)
{
	const struct scene *scene = *state;
	lh_lease *other = scene_lease(scene->arena);

	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL), -EPERM);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_NOW, NULL), -EPERM);
	lock();
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, other, LH_FOREVER, NULL), -EPERM);
	assert_int_equal(scene_thread(wait_with_anothers_lease, NULL), -EPERM);
	assert_true(lh_mutex_held(&mutex, own));
	unlock();
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL), -EPERM);
	assert_int_equal(lh_lease_release(other), 0);
}

static void what_is_of_no_or_another_arena_is_invalid(void **state)
{
	const struct scene *scene = *state;
	const lh_condvar none = { { 0 } };
	const lh_mutex no_mutex = { { 0 } };
	lh_arena *other = NULL;
	lh_condvar others;
	char name[80];

	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE | LH_EXCL, NULL, &other), 0);
	lh_lease *lease = scene_lease(other);
	const lh_mutex elsewhere = scene_mutex(other);

	assert_int_equal(lh_condvar_at(other, LH_ANYWHERE, NULL, &others), 0);
	lock();
	scene_lock(&elsewhere, lease);
	assert_int_equal(lh_condvar_wait(&condvar, &elsewhere, own, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&condvar, &elsewhere, lease, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&others, &mutex, own, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, lease, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&none, &mutex, own, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(NULL, &mutex, own, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&condvar, &no_mutex, own, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&condvar, NULL, own, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, NULL, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_condvar_signal(&none), -EINVAL);
	assert_int_equal(lh_condvar_signal(NULL), -EINVAL);
	assert_int_equal(lh_condvar_broadcast(&none), -EINVAL);
	assert_int_equal(lh_condvar_broadcast(NULL), -EINVAL);
	assert_int_equal(lh_condvar_offset(&none), 0);
	assert_int_equal(lh_condvar_offset(NULL), 0);
	assert_true(lh_mutex_held(&mutex, own));
	unlock();
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
}

// "-ENOLCK: the lease has max_holds holds: the mutex was not let go"
static void a_lease_without_room_for_the_wait_keeps_the_mutex(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	lock();
	while (lh_region_acquire(own, 64, &offset) == 0)
		;
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL), -ENOLCK);
	assert_true(lh_mutex_held(&mutex, own));
	// With one to spare it waits, and has room to lock the mutex again.
	assert_int_equal(lh_region_release(own, offset), 0);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, lh_deadline_after(0), NULL),
			 -ETIMEDOUT);
	assert_true(lh_mutex_held(&mutex, own));
	unlock();
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static struct object_header *header_of(const struct scene *scene, uint64_t offset)
{
	return arena_object(scene->arena, arena_granule(offset));
}

// G9
static void a_damaged_header_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	struct object_header *header = header_of(scene, lh_condvar_offset(&condvar));

	lock();
	header->kind = LH_KIND_MUTEX;
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(lh_condvar_signal(&condvar), -EBADMSG);
	assert_int_equal(lh_condvar_broadcast(&condvar), -EBADMSG);
	header->kind = LH_KIND_CONDVAR;
	header_of(scene, lh_mutex_offset(&mutex))->kind = LH_KIND_CONDVAR;
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, LH_FOREVER, NULL), -EBADMSG);
	header_of(scene, lh_mutex_offset(&mutex))->kind = LH_KIND_MUTEX;
	unlock();
}

// G9: no word of it makes a signal or a wait hang, or lets a lease be passed over.
static void any_word_is_harmless(void **state)
{
	const uint64_t words[] = { UINT64_MAX, UINT64_C(0xffffffff), UINT64_C(0xffffffff00000000),
				   UINT64_C(0x7fffffff80000001) };
	const struct scene *scene = *state;
	struct object_header *header = header_of(scene, lh_condvar_offset(&condvar));

	for (int i = 0; i < 4; i++) {
		struct worker *worker;

		atomic_store(&header->word, words[i]);
		assert_int_equal(lh_condvar_signal(&condvar), 0);
		atomic_store(&header->word, words[i]);
		assert_int_equal(lh_condvar_broadcast(&condvar), 0);
		atomic_store(&header->word, words[i]);
		worker = start_waiting(scene, WORKER_PROCESS);
		assert_int_equal(lh_condvar_signal(&condvar), 0);
		assert_int_equal(worker_hear(worker), 0);
		assert_int_equal(worker_end(worker), 0);
	}
}

// ---- a re-lock that fails ------------------------------------------------------------------------

static lh_mutex second;

static int step_hold_second_and_wait(struct worker_stage *stage, uint64_t unused)
{
	int error;

	(void)unused;
	need(lh_mutex_lock(&second, stage->lease, LH_FOREVER, NULL) == 0);
	need(lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, NULL) == 0);
	error = lh_condvar_wait(&condvar, &mutex, stage->lease, LH_FOREVER, &stage->grant);
	need(lh_mutex_held(&mutex, stage->lease) == (error == 0));
	if (!error)
		need(lh_mutex_unlock(&mutex, stage->lease) == 0);
	need(lh_mutex_unlock(&second, stage->lease) == 0);
	return error;
}

// "-EDEADLK: locking the mutex again closed a cycle …; of each cycle exactly one is told"; waiting for a
// signal alone is no edge of it.
static void a_re_lock_that_closes_a_cycle_is_a_deadlock(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker;
	int told, mine;

	second = scene_mutex(scene->arena);
	worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(worker, step_hold_second_and_wait, 0);
	await_waiting(scene, worker);
	lock();
	assert_int_equal(lh_mutex_lock(&second, own, lh_deadline_after(LH_MS(5)), NULL),
			 -ETIMEDOUT);
	assert_int_equal(lh_condvar_signal(&condvar), 0);
	mine = lh_mutex_lock(&second, own, LH_FOREVER, NULL);
	unlock();
	told = worker_hear(worker);
	assert_true((mine == -EDEADLK && told == 0) || (mine == 0 && told == -EDEADLK));
	if (!mine)
		assert_int_equal(lh_mutex_unlock(&second, own), 0);
	assert_int_equal(worker_end(worker), 0);
}

// "-EOVERFLOW: the mutex's tokens are used up", without the mutex.
static void a_re_lock_without_tokens_left_is_told(void **state)
{
	const struct scene *scene = *state;
	struct object_header *header = header_of(scene, lh_mutex_offset(&mutex));

	atomic_store(&header->word, (WORD_TOKEN_MAX - 1) << WORD_TOKEN_SHIFT);
	scene_lock(&mutex, own);
	assert_int_equal(lh_condvar_wait(&condvar, &mutex, own, lh_deadline_after(0), NULL),
			 -EOVERFLOW);
	assert_false(lh_mutex_held(&mutex, own));
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
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
		SET_TEST(a_broadcast_wakes_all_that_live_of_a_hundred_of_whom_half_are_killed),
		SET_TEST(a_handler_of_a_process_without_lease_may_signal),
		SET_TEST(waiters_with_different_mutexes_do_not_hold_up_each_other),
		SET_TEST(one_process_waits_with_several_leases),
		SET_TEST(a_wait_that_may_not_wait_is_busy_and_keeps_the_mutex),
		SET_TEST(a_wait_that_times_out_holds_the_mutex_again),
		SET_TEST(a_cancelled_wait_holds_the_mutex_again),
		SET_TEST(an_interrupted_wait_holds_the_mutex_again),
		SET_TEST(an_owner_that_died_meanwhile_is_told_by_the_grant),
		SET_TEST(damage_is_told_to_a_wait_that_times_out),
		SET_TEST(an_owner_that_died_meanwhile_is_told_to_the_next_lock_if_nobody_listened),
		SET_TEST(a_lease_that_expires_while_it_waits_does_not_hold),
		SET_TEST(an_inherited_lease_is_stale),
		SET_TEST(a_mutex_that_is_not_held_is_eperm),
		SET_TEST(what_is_of_no_or_another_arena_is_invalid),
		SET_TEST(a_lease_without_room_for_the_wait_keeps_the_mutex),
		SET_TEST(a_damaged_header_is_ebadmsg),
		SET_TEST(any_word_is_harmless),
		SET_TEST(a_re_lock_that_closes_a_cycle_is_a_deadlock),
		SET_TEST(a_re_lock_without_tokens_left_is_told),
		SET_TEST(placing_creates_or_attaches_and_refuses_what_differs),
		SET_TEST(a_read_only_arena_can_be_attached_to_but_not_signalled),
		SET_TEST(a_waiter_can_be_seen_and_keeps_the_condvar_from_being_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
