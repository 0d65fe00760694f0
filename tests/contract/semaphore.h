// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the semaphore's contract share.
#ifndef TESTS_CONTRACT_SEMAPHORE_H
#define TESTS_CONTRACT_SEMAPHORE_H

#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "arena/lease.h"

static lh_semaphore semaphore; // the running test's; workers inherit or share it

static inline void place(lh_arena *arena, uint32_t permits)
{
	const struct lh_semaphore_options options = { .permits = permits };

	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &semaphore), 0);
}

static inline int held(const lh_lease *lease)
{
	return lh_semaphore_slots(&semaphore, lease, NULL, 0);
}

static inline int take(lh_lease *lease, uint32_t permits)
{
	return lh_semaphore_acquire(&semaphore, lease, permits, LH_NOW);
}

static inline int give(lh_lease *lease, uint32_t permits)
{
	return lh_semaphore_release(&semaphore, lease, permits);
}

static inline void assert_available(int64_t permits)
{
	assert_int_equal(lh_semaphore_available(&semaphore), permits);
}

static inline struct semaphore *words(void)
{
	return (struct semaphore *)(uintptr_t)semaphore.private_[1];
}

// ---- steps of workers ----------------------------------------------------------------------------

static inline int step_acquire(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_acquire(&semaphore, stage->lease, (uint32_t)permits, LH_FOREVER);
}

static inline int step_try(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_acquire(&semaphore, stage->lease, (uint32_t)permits, LH_NOW);
}

static inline int step_briefly(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_acquire(&semaphore, stage->lease, (uint32_t)permits,
				    lh_deadline_after(LH_MS(5)));
}

static inline int step_release(struct worker_stage *stage, uint64_t permits)
{
	return lh_semaphore_release(&semaphore, stage->lease, (uint32_t)permits);
}

static inline int step_held(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return lh_semaphore_slots(&semaphore, stage->lease, NULL, 0);
}

static inline struct worker *start(const struct scene *scene,
				   const struct lh_lease_options *options)
{
	return worker_start(WORKER_PROCESS, scene->arena, options);
}

// One that has asked for so many and sleeps.
static inline struct worker *start_waiting(const struct scene *scene,
					   const struct lh_lease_options *options, uint32_t permits)
{
	struct worker *worker = start(scene, options);

	worker_tell(worker, step_acquire, permits);
	scene_await_wait(scene->arena, worker_lease(worker), true);
	return worker;
}

static inline void assert_all_free(const struct scene *scene, uint32_t permits)
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

#endif
