// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Semaphores: who waits, who is next, what a wait that ends leaves, and resizes. The errors of
// semaphore.h that test_semaphore.c does not provoke: -ECANCELED, -EINTR, -ESTALE.
#include "tests/contract/semaphore.h"

#include <pthread.h>
#include <signal.h>

// ---- waits that end without a grant --------------------------------------------------------------

// "cancel/time-out of a partial accumulation gives back all" (G6, G10)
static void a_wait_that_times_out_gives_back_all_that_it_had_collected(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct worker *worker = start(scene, NULL);

	place(scene->arena, 4);
	worker_end(worker);
	worker = start(scene, NULL);
	assert_int_equal(take(holder, 1), 0);
	assert_int_equal(worker_do(worker, step_try, 1), 0);
	assert_int_equal(worker_do(worker, step_briefly, 3), -ETIMEDOUT);
	assert_int_equal(worker_do(worker, step_held, 0), 1);
	assert_available(2);
	assert_int_equal(take(holder, 2), 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(worker_end(worker), 0);
	assert_all_free(scene, 4);
}

struct waiting {
	lh_arena *arena;
	lh_cancel *cancel;
	unsigned flags;
	uint32_t permits;
	_Atomic uint64_t number; /* of its lease */
	_Atomic bool done;
	int result;
};

static void *wait_for_permits(void *context)
{
	struct waiting *waiting = context;
	const struct lh_lease_options options = { .flags = waiting->flags };
	lh_lease *lease = NULL;

	need(lh_lease_acquire(waiting->arena, &options, &lease) == 0);
	need(lh_lease_set_cancel(lease, waiting->cancel) == 0);
	waiting->number = lh_lease_id(lease);
	waiting->result = lh_semaphore_acquire(&semaphore, lease, waiting->permits, LH_FOREVER);
	waiting->done = true;
	need(held(lease) == (waiting->result ? 0 : (int)waiting->permits));
	need(lh_lease_release(lease) == 0);
	return NULL;
}

static pthread_t start_thread(struct waiting *waiting)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wait_for_permits, waiting), 0);
	while (!waiting->number)
		scene_pause();
	scene_await_wait(waiting->arena, waiting->number, true);
	return thread;
}

// The first has collected two and sleeps, the second queues behind it, the third waits aside. (G10)
static void a_wait_that_is_cancelled_gives_back_all_that_it_had_collected(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct waiting waiting[3];
	lh_cancel *cancel = NULL;
	pthread_t threads[3];

	place(scene->arena, 5);
	assert_int_equal(take(holder, 2), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 4), 0);
	assert_int_equal(lh_cancel_create(&cancel), 0);
	for (uint32_t i = 0; i < 3; i++) {
		waiting[i] = (struct waiting){ .arena = scene->arena,
					       .cancel = cancel,
					       .permits = 3 + i };
		threads[i] = start_thread(&waiting[i]);
	}
	lh_cancel_fire(cancel);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(waiting[i].result, -ECANCELED);
	}
	assert_available(2);
	// "before it looks at its object, whatever its deadline"
	assert_int_equal(lh_lease_set_cancel(holder, cancel), 0);
	assert_int_equal(take(holder, 1), -ECANCELED);
	assert_int_equal(take(holder, 0), -ECANCELED);
	assert_int_equal(give(holder, 2), 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 5), 0);
	assert_all_free(scene, 5);
	lh_cancel_destroy(cancel);
}

static void handle(int number)
{
	(void)number;
}

static void an_interrupted_wait_of_an_interruptible_lease_ends(void **state)
{
	const struct sigaction action = { .sa_handler = handle };
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct waiting waiting = { .arena = scene->arena,
				   .flags = LH_LEASE_INTERRUPTIBLE,
				   .permits = 2 };
	pthread_t thread;

	place(scene->arena, 2);
	assert_int_equal(take(holder, 1), 0);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	thread = start_thread(&waiting);
	while (!waiting.done) { // it may still be on its way to its sleep
		pthread_kill(thread, SIGUSR1);
		scene_pause();
	}
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -EINTR);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_all_free(scene, 2);
}

// ---- who is next ---------------------------------------------------------------------------------

// Small ones take and release without a pause; the big one gets through all the same.
static void a_big_request_is_not_starved_by_small_ones(void **state)
{
	const struct scene *scene = *state;
	lh_lease *leases[4];
	struct worker *big;
	uint64_t rounds = 0;

	place(scene->arena, 4);
	for (int i = 0; i < 4; i++) {
		leases[i] = scene_lease(scene->arena);
		assert_int_equal(take(leases[i], 1), 0);
	}
	big = start_waiting(scene, NULL, 4);
	// "unless one of them has waited for a millisecond": then nobody is let past it
	while (atomic_load(&words()->gate) != worker_lease(big))
		scene_pause();
	assert_int_equal(give(leases[0], 1), 0);
	assert_int_equal(take(leases[0], 1), -EBUSY);
	// At each moment at least one of the small ones holds, unless they are kept out.
	while (!worker_answered(big)) {
		lh_lease *lease = leases[rounds++ % 4];

		if (held(lease) == 1)
			assert_int_equal(give(lease, 1), 0);
		else
			(void)!take(lease, 1);
		if (held(lease) == 0 && lh_semaphore_available(&semaphore) > 0)
			(void)!take(lease, 1);
	}
	assert_int_equal(worker_hear(big), 0);
	assert_int_equal(worker_do(big, step_held, 0), 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
	assert_int_equal(worker_end(big), 0);
	assert_all_free(scene, 4);
}

// All or nothing: two who want all of it never wait for each other.
static void two_big_requests_do_not_wait_for_each_other(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[2];

	place(scene->arena, 2);
	for (int i = 0; i < 2; i++)
		workers[i] = start(scene, NULL);
	for (int round = 0; round < 300; round++) {
		for (int i = 0; i < 2; i++)
			worker_tell(workers[i], step_acquire, 2);
		for (int served = 0; served < 2; served++) {
			while (!worker_answered(workers[0]) && !worker_answered(workers[1]))
				scene_pause();
			struct worker *first = workers[worker_answered(workers[0]) ? 0 : 1];

			assert_int_equal(worker_hear(first), 0);
			assert_int_equal(worker_do(first, step_release, 2), 0);
		}
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(worker_end(workers[i]), 0);
	assert_all_free(scene, 2);
}

// G6, G8
static void a_middle_waiter_that_dies_does_not_let_the_third_in_early(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct worker *first, *middle, *third;

	place(scene->arena, 3);
	assert_int_equal(take(holder, 3), 0);
	first = start_waiting(scene, NULL, 2);
	middle = start_waiting(scene, NULL, 2);
	third = start_waiting(scene, NULL, 2);
	worker_kill(middle);
	assert_int_equal(give(holder, 1), 0);
	assert_int_equal(lh_semaphore_available(&semaphore) > 1, 0);
	assert_false(worker_answered(first));
	assert_false(worker_answered(third));
	assert_int_equal(give(holder, 1), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(give(holder, 1), 0); // one is free: not enough for the third
	assert_int_equal(worker_do(first, step_held, 0), 2);
	assert_false(worker_answered(third));
	assert_int_equal(worker_do(first, step_release, 1), 0);
	assert_int_equal(worker_hear(third), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(third), 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_all_free(scene, 3);
}

// G2, G8: one that has collected two of three dies; the next gets them.
static void a_dead_baton_holder_passes_on(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct worker *first, *second;

	place(scene->arena, 3);
	assert_int_equal(take(holder, 1), 0);
	first = start_waiting(scene, NULL, 3);
	while (lh_semaphore_available(&semaphore) != 0) // it has them when it sleeps
		scene_pause();
	second = start_waiting(scene, NULL, 2);
	worker_kill(first);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_do(second, step_held, 0), 2);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_all_free(scene, 3);
}

// The one of them that answers first; nobody else has. It is taken off the list.
static struct worker *next_answer(struct worker *workers[], int *count)
{
	for (int i = 0;; i = (i + 1) % *count) {
		struct worker *first = workers[i];

		if (!worker_answered(first)) {
			scene_pause();
			continue;
		}
		assert_int_equal(worker_hear(first), 0);
		workers[i] = workers[--*count];
		for (int other = 0; other < *count; other++)
			assert_false(worker_answered(workers[other]));
		return first;
	}
}

// Of one permit in all who waited for it keeps the baton: a second request of its own waits like
// anybody's (G10), and whoever queued behind gets the permit when it is released (G8), or its lease
// is, or it dies (G2). In which order is nobody's promise: a follower that sees the lock move past
// the one before it looks for itself.
static void who_waited_for_the_only_permit_passes_it_on(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct worker *waiting[3], *first, *last;
	int count = 3;

	place(scene->arena, 1);
	assert_int_equal(take(holder, 1), 0);
	first = start_waiting(scene, NULL, 1); // with the baton
	for (int i = 0; i < count; i++)
		waiting[i] = start_waiting(scene, NULL, 1);
	assert_int_equal(give(holder, 1), 0);
	assert_int_equal(worker_hear(first), 0);
	for (int i = 0; i < count; i++)
		assert_false(worker_answered(waiting[i]));
	assert_int_equal(worker_do(first, step_try, 1), -EBUSY);
	assert_int_equal(worker_do(first, step_release, 1), 0);
	assert_int_equal(worker_end(next_answer(waiting, &count)), 0);
	worker_kill(next_answer(waiting, &count));
	last = next_answer(waiting, &count);
	assert_int_equal(worker_do(last, step_briefly, 1), -ETIMEDOUT);
	assert_int_equal(worker_do(last, step_held, 0), 1);
	assert_int_equal(worker_do(last, step_release, 1), 0);
	assert_int_equal(worker_end(last), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_all_free(scene, 1);
}

// G2, G6
static void a_dead_holders_permits_come_back_at_once(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	struct worker *holder, *waiter;

	place(scene->arena, 3);
	holder = start(scene, NULL);
	assert_int_equal(worker_do(holder, step_try, 2), 0);
	waiter = start_waiting(scene, NULL, 3);
	worker_kill(holder);
	assert_int_equal(worker_hear(waiter), 0);
	assert_int_equal(worker_do(waiter, step_release, 3), 0);
	holder = start(scene, NULL);
	assert_int_equal(worker_do(holder, step_try, 3), 0);
	worker_kill(holder);
	assert_available(3);
	assert_int_equal(take(lease, 1), 0); // LH_NOW clears up too
	assert_int_equal(take(lease, 2), 0);
	assert_true(scene_events(scene->arena, LH_EVENT_OWNER_DIED, 0) >= 2);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(worker_end(waiter), 0);
	assert_all_free(scene, 3);
}

// ---- expiry --------------------------------------------------------------------------------------

// G3, G4
static void a_lost_lease_has_no_permits_and_every_call_says_so(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lost = scene_lease_for(scene->arena, LH_SEC(1000));
	lh_lease *next = scene_lease(scene->arena);

	place(scene->arena, 2);
	assert_int_equal(take(lost, 2), 0);
	assert_int_equal(lh_lease_renew(lost, LH_MS(20)), 0);
	const uint64_t expiry = lh_now() + lh_lease_remaining(lost);

	assert_int_equal(lh_semaphore_acquire(&semaphore, next, 2, LH_FOREVER), 0);
	assert_true(lh_now() + LH_MS(1) >= expiry);
	assert_int_equal(give(lost, 1), -ESTALE);
	assert_int_equal(take(lost, 1), -ESTALE);
	assert_int_equal(take(lost, 0), -ESTALE);
	assert_int_equal(lh_semaphore_slots(&semaphore, lost, NULL, 0), -ESTALE);
	assert_int_equal(held(next), 2);
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	assert_int_equal(held(next), 2);
	assert_int_equal(lh_lease_release(next), 0);
	assert_all_free(scene, 2);
}

// "a lease whose TTL ran out while it queued gets -ESTALE", and nothing is lost. (G4, G6)
static void a_lease_that_expires_while_it_queues_gets_estale_and_nothing_is_lost(void **state)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(30) };
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct worker *collects, *queues;

	place(scene->arena, 3);
	assert_int_equal(take(holder, 1), 0);
	collects = start(scene, &brief);
	queues = start(scene, &brief);
	worker_tell(collects, step_acquire, 3);
	worker_tell(queues, step_acquire, 3);
	assert_int_equal(worker_hear(collects), -ESTALE);
	assert_int_equal(worker_hear(queues), -ESTALE);
	assert_available(2);
	assert_int_equal(take(holder, 2), 0);
	assert_int_equal(worker_do(collects, step_try, 1), -ESTALE);
	assert_int_equal(worker_end(collects), -ESTALE);
	assert_int_equal(worker_end(queues), -ESTALE);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_all_free(scene, 3);
}

// ---- resizing ------------------------------------------------------------------------------------

static void a_resize_below_what_is_held_revokes_nothing(void **state)
{
	const struct scene *scene = *state;
	lh_lease *one = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);

	place(scene->arena, 5);
	assert_int_equal(take(one, 3), 0);
	assert_int_equal(take(other, 1), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 6), -EINVAL);
	assert_int_equal(lh_semaphore_resize(&semaphore, UINT32_MAX), -EINVAL);
	assert_available(1);
	assert_int_equal(lh_semaphore_resize(&semaphore, 1), 0);
	assert_available(-3);
	assert_int_equal(held(one), 3);
	assert_int_equal(held(other), 1);
	assert_int_equal(take(other, 1), -EBUSY);
	// "more than were created: -EINVAL; more than the present limit waits"
	assert_int_equal(take(other, 6), -EINVAL);
	assert_int_equal(take(other, 2), -EBUSY);
	assert_int_equal(lh_semaphore_acquire(&semaphore, other, 2, lh_deadline_after(LH_MS(2))),
			 -ETIMEDOUT);
	assert_int_equal(give(one, 3), 0);
	assert_available(0);
	assert_int_equal(take(one, 1), -EBUSY); // wherever the other's permit is
	assert_int_equal(give(other, 1), 0);
	assert_int_equal(take(one, 1), 0);
	uint32_t slot = 77;

	assert_int_equal(lh_semaphore_slots(&semaphore, one, &slot, 1), 1);
	assert_int_equal(slot, 0); // below the limit
	assert_int_equal(lh_semaphore_resize(&semaphore, 0), 0);
	assert_available(-1);
	assert_int_equal(give(one, 1), 0);
	assert_int_equal(take(one, 1), -EBUSY);
	assert_int_equal(lh_semaphore_resize(&semaphore, 5), 0);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_all_free(scene, 5);
}

// Whatever the numbers of the permits that are held beyond the limit, the sum counts.
static void after_a_shrink_no_more_than_the_limit_are_granted(void **state)
{
	const struct scene *scene = *state;
	lh_lease *leases[8];

	place(scene->arena, 8);
	for (int i = 0; i < 8; i++) {
		leases[i] = scene_lease(scene->arena);
		assert_int_equal(take(leases[i], 1), 0);
	}
	assert_int_equal(lh_semaphore_resize(&semaphore, 4), 0);
	assert_available(-4);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(take(leases[7], 1), -EBUSY);
		assert_int_equal(take(leases[7], 2), -EBUSY);
		assert_int_equal(give(leases[i], 1), 0);
	}
	assert_available(0);
	assert_int_equal(take(leases[0], 1), -EBUSY);
	assert_int_equal(take(leases[0], 2), -EBUSY);
	assert_int_equal(give(leases[4], 1), 0);
	assert_int_equal(take(leases[0], 2), -EBUSY);
	assert_int_equal(take(leases[0], 1), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 8), 0);
	assert_all_free(scene, 8);
}

static void a_raised_limit_lets_waiters_in(void **state)
{
	const struct scene *scene = *state;
	struct worker *one, *two;

	place(scene->arena, 4);
	assert_int_equal(lh_semaphore_resize(&semaphore, 1), 0);
	one = start(scene, NULL);
	assert_int_equal(worker_do(one, step_try, 1), 0);
	two = start_waiting(scene, NULL, 3); // aside: it holds up nobody
	assert_int_equal(worker_do(one, step_release, 1), 0);
	assert_int_equal(worker_do(one, step_try, 1), 0);
	worker_tell(one, step_acquire, 1); // with the baton
	scene_await_wait(scene->arena, worker_lease(one), true);
	assert_int_equal(lh_semaphore_resize(&semaphore, 2), 0);
	assert_int_equal(worker_hear(one), 0);
	assert_false(worker_answered(two));
	assert_int_equal(worker_do(one, step_release, 1), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 4), 0);
	assert_int_equal(worker_hear(two), 0);
	assert_available(0);
	assert_int_equal(worker_end(one), 0);
	assert_int_equal(worker_end(two), 0);
	assert_all_free(scene, 4);
}

// One who is collecting for more than a lowered limit gives back what it has, and holds up nobody.
static void a_lowered_limit_sends_a_collector_aside(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	struct worker *big;

	place(scene->arena, 4);
	assert_int_equal(take(lease, 1), 0);
	big = start_waiting(scene, NULL, 4);
	while (lh_semaphore_available(&semaphore) != 0)
		scene_pause();
	assert_int_equal(lh_semaphore_resize(&semaphore, 3), 0);
	assert_int_equal(lh_semaphore_acquire(&semaphore, lease, 2, LH_FOREVER), 0);
	assert_int_equal(held(lease), 3);
	assert_int_equal(lh_semaphore_resize(&semaphore, 4), 0);
	assert_int_equal(give(lease, 3), 0);
	assert_int_equal(worker_hear(big), 0);
	assert_int_equal(worker_end(big), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_all_free(scene, 4);
}

// Who sleeps says so, who gives back tells it once, and until it sleeps again nobody else need. What
// is wrong there costs a backstop, and no more. (G8)
static void who_sleeps_for_a_permit_is_told_once(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	struct worker *worker;
	uint32_t signal;

	place(scene->arena, 1);
	worker = start(scene, NULL);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(take(holder, 1), 0);
		worker_tell(worker, step_acquire, 1);
		do {
			scene_pause();
			signal = atomic_load(&words()->signal);
		} while ((signal & SEMAPHORE_SIGNAL_SAYS) != SEMAPHORE_SIGNAL_ASLEEP);
		assert_int_equal(give(holder, 1), 0);
		assert_int_equal(worker_hear(worker), 0);
		assert_int_equal(atomic_load(&words()->signal),
				 (signal & ~SEMAPHORE_SIGNAL_SAYS) + SEMAPHORE_SIGNAL_ONE);
		assert_int_equal(worker_do(worker, step_release, 1), 0);
	}
	assert_int_equal(take(holder, 1), 0);
	worker_tell(worker, step_acquire, 1);
	scene_await_wait(scene->arena, worker_lease(worker), true);
	atomic_store(&words()->signal, SEMAPHORE_SIGNAL_AWAKE); // damage: nobody tells it
	assert_int_equal(give(holder, 1), 0);
	assert_int_equal(worker_hear(worker), 0);
	assert_int_equal(worker_end(worker), 0);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_all_free(scene, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_wait_that_times_out_gives_back_all_that_it_had_collected),
		SCENE_TEST(a_wait_that_is_cancelled_gives_back_all_that_it_had_collected),
		SCENE_TEST(an_interrupted_wait_of_an_interruptible_lease_ends),
		SCENE_TEST(a_big_request_is_not_starved_by_small_ones),
		SCENE_TEST(two_big_requests_do_not_wait_for_each_other),
		SCENE_TEST(a_middle_waiter_that_dies_does_not_let_the_third_in_early),
		SCENE_TEST(a_dead_baton_holder_passes_on),
		SCENE_TEST(who_waited_for_the_only_permit_passes_it_on),
		SCENE_TEST(a_dead_holders_permits_come_back_at_once),
		SCENE_TEST(a_lost_lease_has_no_permits_and_every_call_says_so),
		SCENE_TEST(a_lease_that_expires_while_it_queues_gets_estale_and_nothing_is_lost),
		SCENE_TEST(a_resize_below_what_is_held_revokes_nothing),
		SCENE_TEST(after_a_shrink_no_more_than_the_limit_are_granted),
		SCENE_TEST(a_raised_limit_lets_waiters_in),
		SCENE_TEST(a_lowered_limit_sends_a_collector_aside),
		SCENE_TEST(who_sleeps_for_a_permit_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
