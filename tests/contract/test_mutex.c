// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Locking, unlocking, declaring consistent: each error that mutex.h lists, and what it promises.
//
//	lh_mutex_lock        -EBUSY, -ETIMEDOUT   a_held_mutex_…
//	                     -ECANCELED           a_fired_token_…, a_token_that_fires_…
//	                     -EINTR               an_interruptible_lease_…
//	                     -EDEADLK             locking_twice_…; cycles: test_deadlock.c
//	                     -EOWNERDEAD          test_mutex_damage.c
//	                     -ESTALE              test_lease_loss.c, test_fork.c
//	                     -ENOLCK              a_lease_holds_exactly_max_holds
//	                     -EOVERFLOW           a_mutex_whose_tokens_are_used_up_…
//	                     -EPERM               another_threads_lease_…
//	                     -EINVAL              an_all_zero_handle_…, a_lease_of_another_arena_…
//	                     -EBADMSG             test_arena_damage.c
//	lh_mutex_unlock      -EPERM, -EINVAL      what_is_not_held_…, an_all_zero_handle_…
//	lh_mutex_consistent  -EPERM, -EINVAL      the same
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "src/mutex.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static lh_mutex place(lh_arena *arena, const struct lh_mutex_options *options)
{
	lh_mutex mutex = { { 0 } };

	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, options, &mutex), 0);
	return mutex;
}

// ---- held by another -----------------------------------------------------------------------------

// G1, G10
static void a_held_mutex_is_busy_or_times_out_and_nothing_else_is_held(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	lh_grant grant = { .token = 77 };
	struct lh_lease_info info;
	uint64_t begin;

	scene_lock(&mutex, holder);
	assert_int_equal(lh_mutex_lock(&mutex, other, LH_NOW, &grant), -EBUSY);
	assert_int_equal(lh_mutex_lock(&mutex, other, lh_deadline_after(0), &grant), -ETIMEDOUT);
	assert_int_equal(lh_mutex_lock(&mutex, other, (lh_deadline){ 1 }, &grant), -ETIMEDOUT);
	begin = lh_now();
	assert_int_equal(lh_mutex_lock(&mutex, other, lh_deadline_after(LH_MS(3)), &grant),
			 -ETIMEDOUT);
	assert_true(lh_now() >= begin + LH_MS(3));
	assert_int_equal(grant.token, 77);
	assert_true(lh_mutex_held(&mutex, holder));
	assert_false(lh_mutex_held(&mutex, other));
	assert_true(scene_look(scene->arena, lh_lease_id(other), &info));
	assert_int_equal(info.holds, 0);
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "Any other deadline that has passed also tries once."
static void a_free_mutex_is_taken_whatever_the_deadline(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const lh_deadline deadlines[] = { LH_NOW,
					  LH_FOREVER,
					  { 1 },
					  { UINT64_MAX - 1 },
					  lh_deadline_after(0),
					  lh_deadline_after(UINT64_MAX) };
	lh_lease *lease = scene_lease(scene->arena);

	for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
		assert_int_equal(lh_mutex_lock(&mutex, lease, deadlines[i], NULL), 0);
		assert_true(lh_mutex_held(&mutex, lease));
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
		assert_false(lh_mutex_held(&mutex, lease));
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

// Huge deadlines neither wrap nor pass.
static void a_huge_deadline_waits_until_the_grant(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const uint64_t deadlines[] = { UINT64_MAX, UINT64_MAX - 1, INT64_MAX,
				       (uint64_t)INT64_MAX + 1 };

	for (size_t i = 0; i < 4; i++) {
		struct worker *holder = worker_start(WORKER_PROCESS, scene->arena, NULL);
		lh_lease *lease = scene_lease(scene->arena);

		assert_int_equal(worker_do(holder, worker_lock, lh_mutex_offset(&mutex)), 0);
		worker_tell(holder, worker_unlock_when_waited, lh_lease_id(lease));
		assert_int_equal(lh_mutex_lock(&mutex, lease, (lh_deadline){ deadlines[i] }, NULL),
				 0);
		assert_int_equal(worker_hear(holder), 0);
		assert_int_equal(worker_end(holder), 0);
		assert_int_equal(lh_lease_release(lease), 0);
	}
}

// "Self-conflict (-EDEADLK) is told before -EBUSY."
static void locking_twice_is_a_deadlock_whatever_the_deadline(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);

	for (int round = 0; round < 2; round++) {
		lh_lease *lease = scene_lease_with(scene->arena, round ? &timed : NULL);

		scene_lock(&mutex, lease);
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -EDEADLK);
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -EDEADLK);
		assert_int_equal(lh_mutex_lock(&mutex, lease, lh_deadline_after(0), NULL),
				 -EDEADLK);
		assert_true(lh_mutex_held(&mutex, lease));
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
		assert_int_equal(lh_mutex_unlock(&mutex, lease), -EPERM);
		assert_int_equal(lh_lease_release(lease), 0);
	}
}

// "A thread may have any number of leases; they exclude each other."
static void two_leases_of_one_thread_exclude_each_other(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *one = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);

	scene_lock(&mutex, one);
	assert_int_equal(lh_mutex_lock(&mutex, other, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_mutex_unlock(&mutex, other), -EPERM);
	assert_int_equal(lh_mutex_consistent(&mutex, other), -EPERM);
	assert_true(lh_mutex_held(&mutex, one));
	assert_int_equal(lh_mutex_unlock(&mutex, one), 0);
	scene_lock(&mutex, other);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// ---- ended waits ---------------------------------------------------------------------------------

// "gives -ECANCELED before it looks at its object, whatever its deadline, LH_NOW included"
static void a_fired_token_ends_every_call_before_it_looks(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex held = scene_mutex(scene->arena);
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_cancel *cancel = NULL;

	assert_int_equal(lh_cancel_create(&cancel), 0);
	assert_int_equal(lh_lease_set_cancel(lease, cancel), 0);
	scene_lock(&held, lease);
	lh_cancel_fire(cancel);
	lh_cancel_fire(cancel);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -ECANCELED);
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -ECANCELED);
		assert_int_equal(lh_mutex_lock(&mutex, lease, lh_deadline_after(0), NULL),
				 -ECANCELED);
	}
	assert_true(lh_mutex_held(&held, lease));
	assert_true(lh_lease_valid(lease));
	assert_int_equal(lh_mutex_unlock(&held, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	lh_cancel_destroy(cancel);
}

struct waiting {
	const lh_mutex *mutex;
	lh_lease *lease;
	lh_arena *arena;
	lh_cancel *cancel;
	unsigned flags;
	_Atomic uint64_t number; /* of its lease */
	_Atomic bool done;
	int result;
	lh_grant grant;
};

static void *wait_for_mutex(void *context)
{
	struct waiting *waiting = context;
	const struct lh_lease_options options = { .flags = waiting->flags };
	lh_lease *lease = NULL;

	need(lh_lease_acquire(waiting->arena, &options, &lease) == 0);
	need(lh_lease_set_cancel(lease, waiting->cancel) == 0);
	waiting->number = lh_lease_id(lease);
	waiting->grant.token = 77;
	waiting->result = lh_mutex_lock(waiting->mutex, lease, LH_FOREVER, &waiting->grant);
	waiting->done = true;
	need(lh_lease_valid(lease));
	need(lh_lease_release(lease) == 0);
	return NULL;
}

static pthread_t start_waiting(struct waiting *waiting)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wait_for_mutex, waiting), 0);
	while (!waiting->number)
		scene_pause();
	scene_await_wait(waiting->arena, waiting->number, true);
	return thread;
}

// "one token may serve any number of leases"; "those asleep wake and give it too"
static void a_token_that_fires_ends_all_waits_tied_to_it(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);
	struct waiting waiting[4];
	lh_cancel *cancel = NULL;
	pthread_t threads[4];

	scene_lock(&mutex, holder);
	assert_int_equal(lh_cancel_create(&cancel), 0);
	for (int i = 0; i < 4; i++) {
		waiting[i] = (struct waiting){ .mutex = &mutex,
					       .arena = scene->arena,
					       .cancel = cancel };
		threads[i] = start_waiting(&waiting[i]);
	}
	lh_cancel_fire(cancel);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(waiting[i].result, -ECANCELED);
		assert_int_equal(waiting[i].grant.token, 77);
	}
	assert_int_equal(lh_mutex_unlock(&mutex, holder), 0);
	scene_lock(&mutex, holder);
	assert_int_equal(lh_lease_release(holder), 0);
	lh_cancel_destroy(cancel);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static volatile sig_atomic_t signals;
static lh_cancel *fired_by_handler;

static void handle(int number)
{
	(void)number;
	signals = signals + 1;
	lh_cancel_fire(fired_by_handler);
}

static void catch_signals(lh_cancel *cancel)
{
	const struct sigaction action = { .sa_handler = handle };

	fired_by_handler = cancel;
	signals = 0;
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
}

// "async-signal-safe": fired from a handler that interrupts the wait itself
static void a_token_fired_in_a_handler_ends_the_wait_it_interrupts(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);
	lh_cancel *cancel = NULL;

	scene_lock(&mutex, holder);
	assert_int_equal(lh_cancel_create(&cancel), 0);
	catch_signals(cancel);
	struct waiting waiting = { .mutex = &mutex, .arena = scene->arena, .cancel = cancel };
	const pthread_t thread = start_waiting(&waiting);

	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -ECANCELED);
	assert_int_equal(lh_lease_release(holder), 0);
	lh_cancel_destroy(cancel);
}

// -EINTR: "a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE"
static void an_interruptible_lease_is_interrupted(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);
	struct waiting waiting = { .mutex = &mutex,
				   .arena = scene->arena,
				   .flags = LH_LEASE_INTERRUPTIBLE };

	scene_lock(&mutex, holder);
	catch_signals(NULL);
	const pthread_t thread = start_waiting(&waiting);

	while (!waiting.done) { // it may still be on its way to its sleep
		pthread_kill(thread, SIGUSR1);
		scene_pause();
	}
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -EINTR);
	assert_int_equal(waiting.grant.token, 77);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// One, and it comes 28 ms after the wait began: just when the sleeps of another lease have ended by
// themselves for the third time (4 + 8 + 16 ms), where it would go unnoticed now and then.
static void one_signal_to_a_sleeper_is_enough(void **state)
{
	const struct scene *scene = *state;

	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS) {
		print_message("SKIP: without futex_waitv a sleep ends each 2 ms (lease.h)\n");
		return;
	}
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);

	scene_lock(&mutex, holder);
	catch_signals(NULL);
	for (int i = 0; i < 20; i++) {
		struct waiting waiting = { .mutex = &mutex,
					   .arena = scene->arena,
					   .flags = LH_LEASE_INTERRUPTIBLE };
		const pthread_t thread = start_waiting(&waiting);
		struct lh_lease_info info;

		assert_true(scene_look(scene->arena, waiting.number, &info));
		while (lh_now() < info.waits_since_ns + LH_MS(28))
			scene_pause();
		pthread_kill(thread, SIGUSR1);
		pthread_join(thread, NULL);
		assert_int_equal(waiting.result, -EINTR);
	}
	assert_int_equal(lh_lease_release(holder), 0);
}

static void another_lease_is_not_interrupted(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);
	struct waiting waiting = { .mutex = &mutex, .arena = scene->arena };

	scene_lock(&mutex, holder);
	catch_signals(NULL);
	const pthread_t thread = start_waiting(&waiting);

	for (int i = 0; i < 20; i++) {
		const int before = signals;

		pthread_kill(thread, SIGUSR1);
		while (signals == before)
			scene_pause();
	}
	scene_await_wait(scene->arena, waiting.number, true);
	assert_int_equal(lh_mutex_unlock(&mutex, holder), 0);
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, 0);
	assert_int_equal(lh_lease_release(holder), 0);
}

// ---- what cannot be locked -----------------------------------------------------------------------

static int lock_anothers(void *context)
{
	const struct waiting *waiting = context;

	need(lh_mutex_unlock(waiting->mutex, waiting->lease) == -EPERM);
	need(lh_mutex_consistent(waiting->mutex, waiting->lease) == -EPERM);
	return lh_mutex_lock(waiting->mutex, waiting->lease, LH_NOW, NULL);
}

static void another_threads_lease_is_eperm(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct waiting waiting = { .mutex = &mutex, .lease = scene_lease(scene->arena) };

	assert_int_equal(scene_thread(lock_anothers, &waiting), -EPERM);
	scene_lock(&mutex, waiting.lease);
	assert_int_equal(scene_thread(lock_anothers, &waiting), -EPERM);
	assert_true(lh_mutex_held(&mutex, waiting.lease));
	assert_int_equal(lh_lease_release(waiting.lease), 0);
}

static void what_is_not_held_is_eperm(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(lh_mutex_unlock(&mutex, lease), -EPERM);
	assert_int_equal(lh_mutex_consistent(&mutex, lease), -EPERM);
	assert_false(lh_mutex_held(&mutex, lease));
	assert_int_equal(lh_lease_release(lease), 0);
}

static void an_all_zero_handle_is_invalid(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex zero = { { 0 } };
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_mutex element = { { 7 } };
	const lh_mutex *const bad[] = { &zero, NULL };

	for (int i = 0; i < 2; i++) {
		is_invalid(lh_mutex_lock(bad[i], lease, LH_FOREVER, NULL));
		is_invalid(lh_mutex_lock(bad[i], NULL, LH_FOREVER, NULL));
		is_invalid(lh_mutex_unlock(bad[i], lease));
		is_invalid(lh_mutex_consistent(bad[i], lease));
		assert_false(lh_mutex_held(bad[i], lease));
		is_invalid(lh_mutex_element(bad[i], 0, &element));
		assert_int_equal(lh_mutex_offset(bad[i]), 0);
		assert_null(lh_mutex_data(bad[i]));
	}
	assert_int_equal(element.private_[0], 7);
	is_invalid(lh_mutex_lock(&mutex, NULL, LH_FOREVER, NULL));
	is_invalid(lh_mutex_unlock(&mutex, NULL));
	is_invalid(lh_mutex_consistent(&mutex, NULL));
	assert_false(lh_mutex_held(&mutex, NULL));
	is_invalid(lh_mutex_element(&mutex, 0, NULL));
	assert_int_equal(lh_lease_release(lease), 0);
}

// "A call made with a lease of another arena is -EINVAL."
static void a_lease_of_another_arena_is_invalid(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	char name[80];
	lh_arena *other = NULL;

	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, NULL, &other), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_arena_open(name, LH_CREATE, NULL, &other), 0);
	for (int round = 0; round < 2; round++) {
		lh_lease *lease = scene_lease_with(other, round ? &timed : NULL);
		lh_lease *right = scene_lease(scene->arena);

		is_invalid(lh_mutex_lock(&mutex, lease, LH_NOW, NULL));
		scene_lock(&mutex, right);
		is_invalid(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL));
		is_invalid(lh_mutex_unlock(&mutex, lease));
		is_invalid(lh_mutex_consistent(&mutex, lease));
		assert_false(lh_mutex_held(&mutex, lease));
		assert_true(lh_mutex_held(&mutex, right));
		assert_int_equal(lh_lease_release(right), 0);
		assert_int_equal(lh_lease_release(lease), 0);
	}
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
}

// -ENOLCK: "the lease has max_holds holds", not one more or less, in any order of release
static void a_lease_holds_exactly_max_holds(void **state)
{
	const uint32_t counts[] = { 1, 2, 5, 13, 64, 1000, 1024 };

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		const uint32_t max = counts[c];
		const struct lh_arena_options options = { .max_holds = max, .max_leases = 4 };
		const struct lh_mutex_options array = { .count = max + 1 };
		struct scene *scene = *state;
		lh_arena *arena = scene_open(scene, &options);
		lh_lease *lease = scene_lease(arena);
		const lh_mutex first = place(arena, &array);
		lh_mutex mutex;
		uint64_t offset;

		for (uint32_t i = 0; i <= max; i++) {
			assert_int_equal(lh_mutex_element(&first, i, &mutex), 0);
			assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL),
					 i < max ? 0 : -ENOLCK);
			assert_int_equal(lh_mutex_held(&mutex, lease), i < max);
		}
		assert_int_equal(lh_region_acquire(lease, 64, &offset), -ENOLCK);
		for (uint32_t i = 0; i < max; i += 3) {
			assert_int_equal(lh_mutex_element(&first, i, &mutex), 0);
			assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
			assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), 0);
		}
		assert_int_equal(lh_mutex_element(&first, max, &mutex), 0);
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -ENOLCK);
		assert_int_equal(lh_lease_release(lease), 0);
		assert_int_equal(scene_check(arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
		assert_int_equal(lh_arena_close(arena), 0);
		scene->arena = NULL;
		assert_int_equal(lh_arena_unlink(scene->name), 0);
	}
}

// ---- tokens: G5 ----------------------------------------------------------------------------------

static void tokens_rise_with_every_grant_from_one(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	lh_lease *leases[2] = { scene_lease(scene->arena), scene_lease_with(scene->arena, &timed) };

	for (uint64_t expected = 1; expected < 1000; expected++) {
		const lh_grant grant = scene_lock(&mutex, leases[expected % 2]);

		assert_int_equal(grant.token, expected);
		assert_int_equal(grant.previous | grant.flags | grant.reserved[0] |
					 grant.reserved[1] | grant.reserved[2],
				 0);
		assert_int_equal(lh_mutex_unlock(&mutex, leases[expected % 2]), 0);
	}
	assert_int_equal(lh_lease_release(leases[0]), 0);
	assert_int_equal(lh_lease_release(leases[1]), 0);
}

// -EOVERFLOW: "the mutex's tokens are used up; it can be removed, not locked"
static void a_mutex_whose_tokens_are_used_up_can_only_be_removed(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct object_header *header = arena_object(scene->arena,
						    (uint32_t)(lh_mutex_offset(&mutex) / 64));
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t last = 0;

	// As after so many grants: all but the last two tokens are used.
	atomic_store(&header->word, (WORD_TOKEN_MAX - 2) << WORD_TOKEN_SHIFT);
	for (int i = 0; i < 2; i++) {
		const lh_grant grant = scene_lock(&mutex, lease);

		assert_true(grant.token > last);
		last = grant.token;
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	}
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -EOVERFLOW);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -EOVERFLOW);
	assert_false(lh_mutex_held(&mutex, lease));
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&mutex)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_held_mutex_is_busy_or_times_out_and_nothing_else_is_held),
		SCENE_TEST(a_free_mutex_is_taken_whatever_the_deadline),
		SCENE_TEST(a_huge_deadline_waits_until_the_grant),
		SCENE_TEST(locking_twice_is_a_deadlock_whatever_the_deadline),
		SCENE_TEST(two_leases_of_one_thread_exclude_each_other),
		SCENE_TEST(a_fired_token_ends_every_call_before_it_looks),
		SCENE_TEST(a_token_that_fires_ends_all_waits_tied_to_it),
		SCENE_TEST(a_token_fired_in_a_handler_ends_the_wait_it_interrupts),
		SCENE_TEST(an_interruptible_lease_is_interrupted),
		SCENE_TEST(one_signal_to_a_sleeper_is_enough),
		SCENE_TEST(another_lease_is_not_interrupted),
		SCENE_TEST(another_threads_lease_is_eperm),
		SCENE_TEST(what_is_not_held_is_eperm),
		SCENE_TEST(an_all_zero_handle_is_invalid),
		SCENE_TEST(a_lease_of_another_arena_is_invalid),
		SCENE_TEST_CLOSED(a_lease_holds_exactly_max_holds),
		SCENE_TEST(tokens_rise_with_every_grant_from_one),
		SCENE_TEST(a_mutex_whose_tokens_are_used_up_can_only_be_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
