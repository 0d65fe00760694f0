// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the barrier's contract share.
#ifndef TESTS_CONTRACT_BARRIER_H
#define TESTS_CONTRACT_BARRIER_H

#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "src/barrier.h"

static lh_barrier barrier; /* the test's: workers are forked later, or are its threads */

static inline void place(const struct scene *scene, uint32_t parties, unsigned on_death)
{
	const struct lh_barrier_options options = { .parties = parties, .on_death = on_death };

	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &barrier), 0);
}

static inline struct barrier_object *object(void)
{
	return (struct barrier_object *)(uintptr_t)barrier.private_[1];
}

static inline int join(struct worker_stage *stage, uint64_t none)
{
	(void)none;
	return lh_barrier_join(&barrier, stage->lease);
}

static inline int leave(struct worker_stage *stage, uint64_t none)
{
	(void)none;
	return lh_barrier_leave(&barrier, stage->lease);
}

// until: ns on the clock; 0: LH_NOW
static inline int wait_until(struct worker_stage *stage, uint64_t until)
{
	return lh_barrier_wait(&barrier, stage->lease, (lh_deadline){ until }, &stage->grant);
}

static inline void tell_to_wait(struct worker *worker)
{
	worker_tell(worker, wait_until, UINT64_MAX);
}

static inline struct worker *start(const struct scene *scene,
				   const struct lh_lease_options *options)
{
	return worker_start(WORKER_PROCESS, scene->arena, options);
}

// A worker that waits, asleep, at the barrier.
static inline struct worker *start_waiting(const struct scene *scene,
					   const struct lh_lease_options *options)
{
	struct worker *worker = start(scene, options);

	tell_to_wait(worker);
	scene_await_wait(scene->arena, worker_lease(worker), true);
	return worker;
}

static inline uint32_t members(const struct scene *scene)
{
	struct lh_hold_info hold;
	uint64_t cursor = 0;
	uint32_t count = 0;

	while (lh_next_hold(scene->arena, &cursor, &hold) == 0)
		count += hold.kind == LH_KIND_BARRIER && hold.mode == LH_HOLD_SHARED;
	return count;
}

#endif
