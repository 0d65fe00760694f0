// SPDX-License-Identifier: Apache-2.0
//
// guard.h: the guard unlocks when its scope is left, only what it locked.
//
//	lh_mutex_guard_lock    lh_mutex_lock's result in .error   a_guard_that_could_not_lock_…
//	lh_mutex_guard_unlock  -EPERM; -ESTALE                    unlocking_early_…, a_lost_lease_…
#include "tests/support/scene.h"

static int leave(const lh_mutex *mutex, lh_lease *lease, int way)
{
	int rounds = 0;

	for (; rounds < 2; rounds++) {
		LH_MUTEX_GUARD(guard, mutex, lease, LH_NOW, NULL);

		assert_int_equal(guard.error, 0);
		assert_true(lh_mutex_held(mutex, lease));
		if (way == 0)
			return rounds;
		if (way == 1)
			break;
		if (way == 2)
			continue;
		if (way == 3)
			goto out;
	}
	assert_false(lh_mutex_held(mutex, lease));
out:
	return rounds;
}

// "left by running off its end or by return, break, continue or goto"
static void a_guard_unlocks_however_its_scope_is_left(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);

	for (int way = 0; way < 5; way++) {
		leave(&mutex, lease, way);
		assert_false(lh_mutex_held(&mutex, lease));
	}
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// "It never unlocks what it did not lock."
static void a_guard_that_could_not_lock_leaves_the_mutex_alone(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);

	scene_lock(&mutex, lease);
	{
		LH_MUTEX_GUARD(guard, &mutex, lease, LH_NOW, NULL);
		LH_MUTEX_GUARD(busy, &mutex, other, LH_NOW, NULL);

		assert_int_equal(guard.error, -EDEADLK);
		assert_int_equal(busy.error, -EBUSY);
		assert_int_equal(lh_mutex_guard_unlock(&guard), -EPERM);
		assert_int_equal(lh_mutex_guard_unlock(&busy), -EPERM);
		assert_true(lh_mutex_held(&mutex, lease));
	}
	assert_true(lh_mutex_held(&mutex, lease));
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

static void unlocking_early_is_the_only_unlock(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	lh_grant grant = { .token = 0 };

	{
		LH_MUTEX_GUARD(guard, &mutex, lease, LH_NOW, &grant);

		assert_int_equal(grant.token, 1);
		assert_int_equal(lh_mutex_guard_unlock(&guard), 0);
		assert_false(lh_mutex_held(&mutex, lease));
		assert_int_equal(lh_mutex_guard_unlock(&guard), -EPERM);
		scene_lock(&mutex, lease); // held again, not by the guard
	}
	assert_true(lh_mutex_held(&mutex, lease));
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

static void a_lost_lease_is_told_by_the_early_unlock(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease_for(scene->arena, LH_SEC(1000));

	{
		LH_MUTEX_GUARD(guard, &mutex, lease, LH_NOW, NULL);

		assert_int_equal(guard.error, 0);
		scene_let_expire(lease);
		assert_false(lh_lease_valid(lease));
		assert_int_equal(lh_mutex_guard_unlock(&guard), -ESTALE);
	}
	assert_int_equal(lh_lease_release(lease), -ESTALE);
}

// "each evaluated once"
static void the_arguments_are_evaluated_once(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const lh_mutex *mutexes[2] = { &mutex, NULL };
	lh_lease *leases[2] = { scene_lease(scene->arena), NULL };
	int i = 0, j = 0;

	{
		LH_MUTEX_GUARD(guard, mutexes[i++], leases[j++], LH_NOW, NULL);
		assert_int_equal(guard.error, 0);
	}
	assert_int_equal(i, 1);
	assert_int_equal(j, 1);
	assert_int_equal(lh_lease_release(leases[0]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_guard_unlocks_however_its_scope_is_left),
		SCENE_TEST(a_guard_that_could_not_lock_leaves_the_mutex_alone),
		SCENE_TEST(unlocking_early_is_the_only_unlock),
		SCENE_TEST(a_lost_lease_is_told_by_the_early_unlock),
		SCENE_TEST(the_arguments_are_evaluated_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
