// SPDX-License-Identifier: Apache-2.0
//
// Waits that end without a signal, or with damage or a loss: each error that condvar.h lists, save
// those in test_condvar.c.
//
//	lh_condvar_wait   -EBUSY                   a_wait_that_may_not_wait_…
//	                  -ETIMEDOUT, -ECANCELED,  a_wait_that_times_out_…, a_cancelled_…, an_inter…
//	                  -EINTR
//	                  -ENOLCK                  a_lease_without_room_…
//	                  -EPERM                   a_mutex_that_is_not_held_…
//	                  -ESTALE                  a_lease_that_expires_…, an_inherited_lease_…
//	                  -EDEADLK, -EOVERFLOW     a_re_lock_that_closes_…, a_re_lock_without_…
//	                  -EINVAL                  what_is_of_no_or_another_arena_…
//	                  -EBADMSG                 a_damaged_header_…
//	signal, broadcast -EINVAL                  what_is_of_no_or_another_arena_…
//	                  -EBADMSG                 a_damaged_header_…
#include "tests/contract/condvar.h"

#include "arena/arena.h"
#include "src/word.h"

#include <signal.h>

static int step_wait_blindly(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return wait_until(stage, LH_FOREVER, NULL);
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
	is_invalid(lh_condvar_wait(&condvar, &elsewhere, own, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&condvar, &elsewhere, lease, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&others, &mutex, own, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&condvar, &mutex, lease, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&none, &mutex, own, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(NULL, &mutex, own, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&condvar, &no_mutex, own, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&condvar, NULL, own, LH_NOW, NULL));
	is_invalid(lh_condvar_wait(&condvar, &mutex, NULL, LH_NOW, NULL));
	is_invalid(lh_condvar_signal(&none));
	is_invalid(lh_condvar_signal(NULL));
	is_invalid(lh_condvar_broadcast(&none));
	is_invalid(lh_condvar_broadcast(NULL));
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

// "-EDEADLK: locking the mutex again closed a cycle …; of each cycle exactly one is told"; waiting
// for a signal alone is no edge of it.
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
