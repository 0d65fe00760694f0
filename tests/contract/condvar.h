// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the condvar's contract share.
#ifndef TESTS_CONTRACT_CONDVAR_H
#define TESTS_CONTRACT_CONDVAR_H

#include "tests/support/scene.h"
#include "tests/support/worker.h"

static lh_condvar condvar; // of the running test; forked workers inherit them
static lh_mutex mutex;
static lh_lease *own; // of the test itself

static inline void place(const struct scene *scene)
{
	assert_int_equal(lh_condvar_at(scene->arena, LH_ANYWHERE, NULL, &condvar), 0);
	mutex = scene_mutex(scene->arena);
	own = scene_lease(scene->arena);
}

static inline int set(void **state)
{
	const int error = scene_begin(state);

	if (!error)
		place(*state);
	return error;
}

static inline int strike(void **state)
{
	const struct scene *scene = *state;

	assert_int_equal(lh_lease_release(own), 0);
	assert_true(scene_check(scene->arena, LH_CHECK_STALE) <= LH_CHECK_STALE);
	return scene_end(state);
}

#define SET_TEST(function) cmocka_unit_test_setup_teardown(function, set, strike)

// ---- steps of workers ----------------------------------------------------------------------------

static inline int wait_until(struct worker_stage *stage, lh_deadline deadline, lh_grant *grant)
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

static inline int step_wait(struct worker_stage *stage, uint64_t unused)
{
	(void)unused;
	return wait_until(stage, LH_FOREVER, &stage->grant);
}

// ---- acts of the test ----------------------------------------------------------------------------

static inline void lock(void)
{
	lh_grant grant;

	assert_int_equal(lh_mutex_lock(&mutex, own, LH_FOREVER, &grant), 0);
	if (grant.flags & LH_GRANT_OWNER_DIED)
		assert_int_equal(lh_mutex_consistent(&mutex, own), 0);
}

static inline void unlock(void)
{
	assert_int_equal(lh_mutex_unlock(&mutex, own), 0);
}

static inline bool waits_for(const struct scene *scene, const struct worker *worker,
			     uint64_t offset)
{
	struct lh_lease_info info;

	assert_true(scene_look(scene->arena, worker_lease(worker), &info));
	return info.waits_for == offset;
}

static inline void await_waiting_for(const struct scene *scene, const struct worker *worker,
				     uint64_t offset)
{
	while (!waits_for(scene, worker, offset))
		scene_pause();
}

// It waits for the condition variable, no more for the mutex, and has let that go.
static inline void await_waiting(const struct scene *scene, const struct worker *worker)
{
	await_waiting_for(scene, worker, lh_condvar_offset(&condvar));
	lock();
	unlock();
}

static inline struct worker *start_waiting(const struct scene *scene, enum worker_kind kind)
{
	struct worker *worker = worker_start(kind, scene->arena, NULL);

	worker_tell(worker, step_wait, 0);
	await_waiting(scene, worker);
	return worker;
}

#endif
