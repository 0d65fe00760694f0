// SPDX-License-Identifier: Apache-2.0
//
// Semaphores: each error that semaphore.h lists, and what it promises.
//
//	lh_semaphore_footprint, _at  -EINVAL, -EEXIST        placements_…; the rest: test_mutex_place.c
//	lh_semaphore_acquire  -EBUSY, -ETIMEDOUT             what_is_not_free_…
//	                      -ECANCELED, -EINTR             a_wait_that_is_cancelled_…, an_interrupted_…
//	                      -ESTALE                        a_lost_lease_…, a_lease_that_expires_…
//	                      -ENOLCK                        a_semaphore_is_one_hold_…
//	                      -EOVERFLOW                     a_baton_whose_tokens_are_used_up_…
//	                      -EPERM, -EINVAL                another_threads_lease_…, bad_arguments_…
//	                      -EBADMSG                       damaged_words_…
//	lh_semaphore_release  -EPERM, -ESTALE, -EINVAL       releasing_more_…, a_lost_lease_…, bad_…
//	lh_semaphore_slots, _available, _resize              slots_…, a_resize_…, bad_arguments_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "arena/lease.h"
#include "src/word.h"

#include <pthread.h>
#include <signal.h>

static lh_semaphore semaphore; // the running test's; workers inherit or share it

static void place(lh_arena *arena, uint32_t permits)
{
	const struct lh_semaphore_options options = { .permits = permits };

	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &semaphore), 0);
}

static int held(const lh_lease *lease)
{
	return lh_semaphore_slots(&semaphore, lease, NULL, 0);
}

static int take(lh_lease *lease, uint32_t permits)
{
	return lh_semaphore_acquire(&semaphore, lease, permits, LH_NOW);
}

static int give(lh_lease *lease, uint32_t permits)
{
	return lh_semaphore_release(&semaphore, lease, permits);
}

static void assert_available(int64_t permits)
{
	assert_int_equal(lh_semaphore_available(&semaphore), permits);
}

static struct semaphore *words(void)
{
	return (struct semaphore *)(uintptr_t)semaphore.private_[1];
}

// ---- steps of workers ----------------------------------------------------------------------------

static int step_acquire(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_acquire(&semaphore, stage->lease, (uint32_t)permits, LH_FOREVER);
}

static int step_try(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_acquire(&semaphore, stage->lease, (uint32_t)permits, LH_NOW);
}

static int step_briefly(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_acquire(&semaphore, stage->lease, (uint32_t)permits,
				    lh_deadline_after(LH_MS(5)));
}

static int step_release(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_release(&semaphore, stage->lease, (uint32_t)permits);
}

static int step_held(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return lh_semaphore_slots(&semaphore, stage->lease, NULL, 0);
}

static struct worker *start(const struct scene *scene, const struct lh_lease_options *options)
{
	return worker_start(WORKER_PROCESS, scene->arena, options);
}

// One that has asked for so many and sleeps.
static struct worker *start_waiting(const struct scene *scene,
				    const struct lh_lease_options *options, uint32_t permits)
{
	struct worker *worker = start(scene, options);

	worker_tell(worker, step_acquire, permits);
	scene_await_wait(scene->arena, worker_lease(worker), true);
	return worker;
}

static void assert_all_free(const struct scene *scene, uint32_t permits)
{
	lh_lease *lease = scene_lease(scene->arena);

	assert_available(permits);
	assert_int_equal(take(lease, permits), 0);
	assert_int_equal(held(lease), permits);
	assert_available(0);
	assert_int_equal(give(lease, permits), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	// Of those who were killed asleep a lease may be left, which nobody has wanted yet.
	assert_in_range(scene_check(scene->arena, LH_CHECK_STALE), LH_CHECK_CLEAN, LH_CHECK_STALE);
}

// ---- placing -------------------------------------------------------------------------------------

static void placements_of_equal_permits_and_name_are_the_same_semaphore(void **state)
{
	const struct scene *scene = *state;
	const struct lh_semaphore_options five = { .permits = 5, .name = "pool" };
	const struct lh_semaphore_options six = { .permits = 6, .name = "pool" };
	struct lh_semaphore_options bad[] = { { .permits = 0 },
					      { .permits = 65536 },
					      { .permits = UINT32_MAX },
					      { .permits = 1, .reserved = { 0, 0, 0, 1 } },
					      { .permits = 1, .reserved = { 1 } } };
	struct lh_placement_info info;
	lh_semaphore again;
	uint64_t cursor = 0;

	assert_int_equal(lh_semaphore_footprint(&five), 192);
	assert_int_equal(lh_semaphore_footprint(&(struct lh_semaphore_options){ .permits = 9 }),
			 256);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(lh_semaphore_footprint(&bad[i]), 0);
		assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &bad[i], &again),
				 -EINVAL);
	}
	assert_int_equal(lh_semaphore_footprint(NULL), 0);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, NULL, &again), -EINVAL);
	assert_int_equal(lh_semaphore_at(NULL, LH_ANYWHERE, &five, &again), -EINVAL);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &five, NULL), -EINVAL);
	assert_int_equal(lh_semaphore_at(scene->arena, 1, &five, &again), -EINVAL);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &five, &semaphore), 0);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &six, &again), -EEXIST);
	// "a later resize changes nothing here"
	assert_int_equal(lh_semaphore_resize(&semaphore, 2), 0);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &five, &again), 0);
	assert_int_equal(lh_semaphore_offset(&again), lh_semaphore_offset(&semaphore));
	assert_int_equal(lh_semaphore_available(&again), 2);
	assert_int_equal(lh_next_placement(scene->arena, &cursor, &info), 0);
	assert_int_equal(info.kind, LH_KIND_SEMAPHORE);
	assert_int_equal(info.count, 5);
	assert_int_equal(info.offset, lh_semaphore_offset(&semaphore));
	assert_int_equal(lh_remove(scene->arena, info.offset), 0);
}

static void the_largest_semaphore_has_65535_permits(void **state)
{
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &(struct lh_arena_options){ .size = 1 << 20 });
	lh_lease *lease = scene_lease(arena);

	place(arena, 65535);
	assert_int_equal(take(lease, 65535), 0);
	assert_int_equal(take(lease, 1), -EBUSY);
	assert_available(0);
	assert_int_equal(give(lease, 65534), 0);
	assert_int_equal(held(lease), 1);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_all_free(scene, 65535);
}

static void a_held_semaphore_is_not_removed(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	place(scene->arena, 2);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(lh_remove(scene->arena, lh_semaphore_offset(&semaphore)), -EBUSY);
	assert_int_equal(give(lease, 1), 0);
	assert_int_equal(lh_remove(scene->arena, lh_semaphore_offset(&semaphore)), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// ---- what is there -------------------------------------------------------------------------------

static void acquires_of_one_lease_add_up(void **state)
{
	const struct scene *scene = *state;
	lh_lease *one = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	struct lh_hold_info hold;
	uint64_t cursor = 0;

	place(scene->arena, 5);
	assert_int_equal(take(one, 0), 0); // "0 permits: 0 at once"
	assert_int_equal(held(one), 0);
	assert_int_equal(take(one, 1), 0);
	assert_int_equal(take(one, 2), 0);
	assert_int_equal(take(one, 1), 0);
	assert_int_equal(held(one), 4);
	assert_available(1);
	assert_int_equal(take(other, 2), -EBUSY);
	assert_int_equal(held(other), 0);
	assert_int_equal(take(other, 1), 0);
	assert_available(0);
	assert_int_equal(lh_next_hold(scene->arena, &cursor, &hold), 0);
	assert_int_equal(hold.lease, lh_lease_id(one));
	assert_int_equal(hold.kind, LH_KIND_SEMAPHORE);
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(hold.count, 4);
	assert_int_equal(hold.offset, lh_semaphore_offset(&semaphore));
	assert_int_equal(give(one, 3), 0);
	assert_int_equal(held(one), 1);
	assert_int_equal(give(one, 0), 0);
	assert_int_equal(give(one, 1), 0);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0); // gives its permit back
	assert_all_free(scene, 5);
}

static void slots_are_the_numbers_of_the_permits_held(void **state)
{
	const struct scene *scene = *state;
	lh_lease *leases[3];
	uint32_t slots[8], seen = 0;

	place(scene->arena, 6);
	for (int i = 0; i < 3; i++) {
		leases[i] = scene_lease(scene->arena);
		assert_int_equal(take(leases[i], 2), 0);
		slots[1] = slots[2] = 77;
		assert_int_equal(lh_semaphore_slots(&semaphore, leases[i], slots, 1), 2);
		assert_int_equal(slots[1], 77);
		assert_int_equal(lh_semaphore_slots(&semaphore, leases[i], slots, 8), 2);
		assert_int_equal(slots[2], 77);
		assert_true(slots[0] < slots[1] && slots[1] < 6);
		assert_false(seen & (1u << slots[0] | 1u << slots[1]));
		seen |= 1u << slots[0] | 1u << slots[1];
	}
	assert_int_equal(seen, 63);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
	assert_all_free(scene, 6);
}

// "-EPERM and nothing released if it holds fewer"
static void releasing_more_than_held_releases_none(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;

	place(scene->arena, 4);
	for (int round = 0; round < 2; round++) {
		lh_lease *lease = scene_lease_with(scene->arena, round ? &timed : NULL);
		lh_lease *other = scene_lease(scene->arena);

		assert_int_equal(give(lease, 1), -EPERM);
		assert_int_equal(take(lease, 2), 0);
		assert_int_equal(take(other, 1), 0);
		assert_int_equal(give(lease, 3), -EPERM);
		assert_int_equal(give(lease, UINT32_MAX), -EPERM);
		assert_int_equal(held(lease), 2);
		assert_int_equal(held(other), 1);
		assert_available(1);
		assert_int_equal(give(lease, 1), 0);
		assert_int_equal(give(lease, 2), -EPERM);
		assert_int_equal(give(lease, 1), 0);
		assert_int_equal(give(lease, 1), -EPERM);
		assert_int_equal(lh_lease_release(lease), 0);
		assert_int_equal(lh_lease_release(other), 0);
	}
	assert_all_free(scene, 4);
}

// G10
static void what_is_not_free_is_busy_or_times_out_and_nothing_is_held(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	struct lh_lease_info info;
	uint64_t begin;

	place(scene->arena, 3);
	assert_int_equal(take(holder, 2), 0);
	assert_int_equal(take(other, 1), 0);
	for (uint32_t wanted = 1; wanted <= 3; wanted++) {
		assert_int_equal(take(other, wanted), -EBUSY);
		assert_int_equal(
			lh_semaphore_acquire(&semaphore, other, wanted, lh_deadline_after(0)),
			-ETIMEDOUT);
		begin = lh_now();
		assert_int_equal(lh_semaphore_acquire(&semaphore, other, wanted,
						      lh_deadline_after(LH_MS(3))),
				 -ETIMEDOUT);
		assert_true(lh_now() >= begin + LH_MS(3));
		assert_int_equal(held(other), 1);
		assert_available(0);
	}
	assert_true(scene_look(scene->arena, lh_lease_id(other), &info));
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(give(holder, 1), 0);
	// "Any other deadline that has passed also tries once."
	assert_int_equal(lh_semaphore_acquire(&semaphore, other, 1, (lh_deadline){ 1 }), 0);
	assert_int_equal(held(other), 2);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_all_free(scene, 3);
}

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
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(20) };
	const struct scene *scene = *state;
	lh_lease *lost = scene_lease_with(scene->arena, &brief);
	lh_lease *next = scene_lease(scene->arena);

	place(scene->arena, 2);
	assert_int_equal(take(lost, 2), 0);
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

// ---- what is refused -----------------------------------------------------------------------------

static int use_anothers(void *lease)
{
	need(lh_semaphore_release(&semaphore, lease, 1) == -EPERM);
	need(lh_semaphore_slots(&semaphore, lease, NULL, 0) == -EPERM);
	return lh_semaphore_acquire(&semaphore, lease, 1, LH_NOW);
}

static void another_threads_lease_is_eperm(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	place(scene->arena, 2);
	assert_int_equal(scene_thread(use_anothers, lease), -EPERM);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(scene_thread(use_anothers, lease), -EPERM);
	assert_int_equal(held(lease), 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void bad_arguments_are_invalid(void **state)
{
	const struct scene *scene = *state;
	const lh_semaphore zero = { { 0 } };
	const lh_semaphore *const bad[] = { &zero, NULL };
	lh_lease *lease = scene_lease(scene->arena);
	lh_arena *other = NULL;
	char name[80];

	place(scene->arena, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lh_semaphore_acquire(bad[i], lease, 1, LH_NOW), -EINVAL);
		assert_int_equal(lh_semaphore_acquire(bad[i], lease, 0, LH_NOW), -EINVAL);
		assert_int_equal(lh_semaphore_release(bad[i], lease, 1), -EINVAL);
		assert_int_equal(lh_semaphore_slots(bad[i], lease, NULL, 0), -EINVAL);
		assert_int_equal(lh_semaphore_available(bad[i]), -EINVAL);
		assert_int_equal(lh_semaphore_resize(bad[i], 1), -EINVAL);
		assert_int_equal(lh_semaphore_offset(bad[i]), 0);
	}
	assert_int_equal(take(NULL, 1), -EINVAL);
	assert_int_equal(give(NULL, 1), -EINVAL);
	assert_int_equal(held(NULL), -EINVAL);
	assert_int_equal(take(lease, 3), -EINVAL);
	assert_int_equal(take(lease, UINT32_MAX), -EINVAL);
	assert_int_equal(lh_semaphore_slots(&semaphore, lease, NULL, 1), -EINVAL);
	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, NULL, &other), 0);
	lh_lease *foreign = scene_lease(other);

	assert_int_equal(take(foreign, 1), -EINVAL);
	assert_int_equal(give(foreign, 1), -EINVAL);
	assert_int_equal(held(foreign), -EINVAL);
	assert_int_equal(lh_lease_release(foreign), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_all_free(scene, 2);
}

static void a_read_only_arena_shows_and_does_not_resize(void **state)
{
	const struct lh_semaphore_options options = { .permits = 3, .name = "pool" };
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_arena *arena = NULL;
	lh_semaphore seen;

	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &options, &semaphore), 0);
	assert_int_equal(take(lease, 2), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena), 0);
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &seen), 0);
	assert_int_equal(lh_semaphore_available(&seen), 1);
	assert_int_equal(lh_semaphore_resize(&seen, 1), -EROFS);
	assert_int_equal(lh_arena_close(arena), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_semaphore_is_one_hold_however_many_permits(void **state)
{
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &(struct lh_arena_options){ .max_holds = 1 });
	lh_lease *lease = scene_lease(arena);
	lh_semaphore first;

	place(arena, 3);
	first = semaphore;
	place(arena, 3);
	assert_int_equal(lh_semaphore_acquire(&first, lease, 1, LH_NOW), 0);
	assert_int_equal(lh_semaphore_acquire(&first, lease, 2, LH_NOW), 0);
	assert_int_equal(take(lease, 1), -ENOLCK);
	assert_int_equal(take(lease, 2), -ENOLCK);
	assert_available(3);
	assert_int_equal(lh_semaphore_release(&first, lease, 3), 0);
	assert_int_equal(take(lease, 2), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_baton_whose_tokens_are_used_up_overflows(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	place(scene->arena, 2);
	atomic_store(&words()->header.word, WORD_TOKEN_MAX << WORD_TOKEN_SHIFT);
	assert_int_equal(take(lease, 2), -EOVERFLOW);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(give(lease, 2), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void damaged_words_are_told_or_mended(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *gone = scene_lease(scene->arena);
	const uint64_t id = lh_lease_id(gone);

	place(scene->arena, 2);
	assert_int_equal(lh_lease_release(gone), 0);
	gone = scene_lease(scene->arena); // its slot's next tenant
	atomic_store(&words()->owners[0], id);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	assert_available(2);
	assert_int_equal(take(lease, 2), 0); // a lease that is no more holds nothing
	assert_int_equal(give(lease, 2), 0);
	atomic_store(&words()->owners[1], 0x3fff);
	assert_int_equal(take(lease, 2), -EBADMSG);
	assert_int_equal(held(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&words()->owners[1], 0);
	atomic_store(&words()->limit, 3);
	assert_int_equal(take(lease, 1), -EBADMSG);
	assert_int_equal(take(lease, 2), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&words()->limit, 2);
	// closed by nobody: the next one opens it
	atomic_store(&words()->gate, 12345);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(atomic_load(&words()->gate), 0);
	assert_int_equal(give(lease, 1), 0);
	words()->header.kind = LH_KIND_MUTEX;
	assert_int_equal(take(lease, 1), 0); // the short way looks at nothing but words
	assert_int_equal(take(lease, 1), -EBADMSG);
	assert_int_equal(lh_semaphore_available(&semaphore), -EBADMSG);
	assert_int_equal(lh_semaphore_resize(&semaphore, 1), -EBADMSG);
	assert_int_equal(held(lease), -EBADMSG);
	words()->header.kind = LH_KIND_SEMAPHORE;
	assert_int_equal(give(lease, 1), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(gone), 0);
	assert_all_free(scene, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(placements_of_equal_permits_and_name_are_the_same_semaphore),
		SCENE_TEST_CLOSED(the_largest_semaphore_has_65535_permits),
		SCENE_TEST(a_held_semaphore_is_not_removed),
		SCENE_TEST(acquires_of_one_lease_add_up),
		SCENE_TEST(slots_are_the_numbers_of_the_permits_held),
		SCENE_TEST(releasing_more_than_held_releases_none),
		SCENE_TEST(what_is_not_free_is_busy_or_times_out_and_nothing_is_held),
		SCENE_TEST(a_wait_that_times_out_gives_back_all_that_it_had_collected),
		SCENE_TEST(a_wait_that_is_cancelled_gives_back_all_that_it_had_collected),
		SCENE_TEST(an_interrupted_wait_of_an_interruptible_lease_ends),
		SCENE_TEST(a_big_request_is_not_starved_by_small_ones),
		SCENE_TEST(two_big_requests_do_not_wait_for_each_other),
		SCENE_TEST(a_middle_waiter_that_dies_does_not_let_the_third_in_early),
		SCENE_TEST(a_dead_baton_holder_passes_on),
		SCENE_TEST(a_dead_holders_permits_come_back_at_once),
		SCENE_TEST(a_lost_lease_has_no_permits_and_every_call_says_so),
		SCENE_TEST(a_lease_that_expires_while_it_queues_gets_estale_and_nothing_is_lost),
		SCENE_TEST(a_resize_below_what_is_held_revokes_nothing),
		SCENE_TEST(after_a_shrink_no_more_than_the_limit_are_granted),
		SCENE_TEST(a_raised_limit_lets_waiters_in),
		SCENE_TEST(a_lowered_limit_sends_a_collector_aside),
		SCENE_TEST(another_threads_lease_is_eperm),
		SCENE_TEST(bad_arguments_are_invalid),
		SCENE_TEST(a_read_only_arena_shows_and_does_not_resize),
		SCENE_TEST_CLOSED(a_semaphore_is_one_hold_however_many_permits),
		SCENE_TEST(a_baton_whose_tokens_are_used_up_overflows),
		SCENE_TEST(damaged_words_are_told_or_mended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
