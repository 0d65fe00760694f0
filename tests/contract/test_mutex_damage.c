// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// What the next holder is told after a loss: G2, G5, G12.
//
//	lh_mutex_lock  -EOWNERDEAD  who_cannot_be_told_is_not_granted
#include "tests/support/scene.h"
#include "tests/support/tier.h"
#include "tests/support/worker.h"

static int worker_lock_without_repair(struct worker_stage *stage, uint64_t offset)
{
	const struct lh_mutex_options options = { .name = "n", .flags = LH_NO_REPAIR };
	lh_mutex mutex;
	const int error = lh_mutex_at(stage->arena, offset, &options, &mutex);

	return error ? error : lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, NULL);
}

static int worker_write(struct worker_stage *stage, uint64_t offset)
{
	*(uint64_t *)lh_arena_range(stage->arena, offset, 8) = offset;
	return 0;
}

// A worker that held the mutex and has ended; its lease's number.
static uint64_t lose(const struct scene *scene, enum worker_kind kind, uint64_t offset)
{
	struct worker *worker = worker_start(kind, scene->arena, NULL);
	const uint64_t lease = worker_lease(worker);

	assert_int_equal(worker_do(worker, worker_lock, offset), 0);
	worker_kill(worker);
	return lease;
}

static void the_end_of_a_holder_is_told(const struct scene *scene, enum worker_kind kind)
{
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	const uint64_t lost = lose(scene, kind, lh_mutex_offset(&mutex));
	lh_grant grant = { .token = 0 };

	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, &grant), 0);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.previous, lost);
	assert_int_equal(grant.token, 2);
	assert_true(lh_mutex_held(&mutex, lease));
	assert_int_equal(scene_events(scene->arena, LH_EVENT_OWNER_DIED, lost), 2);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_killed_process_is_told(void **state)
{
	the_end_of_a_holder_is_told(*state, WORKER_PROCESS);
}

static void an_ended_thread_is_told(void **state)
{
	the_end_of_a_holder_is_told(*state, WORKER_THREAD);
}

// "Every grant says so again until somebody declares it consistent."
static void damage_is_told_until_it_is_declared_consistent(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *leases[2] = { scene_lease(scene->arena), scene_lease(scene->arena) };
	const uint64_t lost = lose(scene, WORKER_PROCESS, lh_mutex_offset(&mutex));

	for (uint64_t i = 0; i < 6; i++) {
		const lh_grant grant = scene_lock(&mutex, leases[i % 2]);

		assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
		assert_int_equal(grant.previous, lost);
		assert_int_equal(grant.token, i + 2);
		if (i == 5)
			assert_int_equal(lh_mutex_consistent(&mutex, leases[i % 2]), 0);
		assert_int_equal(lh_mutex_consistent(&mutex, leases[(i + 1) % 2]), -EPERM);
		assert_int_equal(lh_mutex_unlock(&mutex, leases[i % 2]), 0);
	}
	for (int i = 0; i < 2; i++) {
		const lh_grant grant = scene_lock(&mutex, leases[i]);

		assert_int_equal(grant.flags, 0);
		assert_int_equal(grant.previous, 0);
		assert_int_equal(lh_mutex_consistent(&mutex, leases[i]), 0); // "does nothing"
		assert_int_equal(lh_lease_release(leases[i]), 0);
	}
}

static void a_repairer_that_dies_leaves_damage_and_the_newest_lost_lease(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t last = 0;

	for (int round = 0; round < 4; round++)
		last = lose(scene, round % 2 ? WORKER_THREAD : WORKER_PROCESS,
			    lh_mutex_offset(&mutex));
	const lh_grant grant = scene_lock(&mutex, lease);

	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.previous, last);
	assert_int_equal(grant.token, 5);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void who_died_after_declaring_is_told_again(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);

	lose(scene, WORKER_PROCESS, lh_mutex_offset(&mutex));
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);

	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(worker_do(worker, worker_consistent, lh_mutex_offset(&mutex)), 0);
	worker_kill(worker);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void who_died_after_unlocking_left_no_damage(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(worker_do(worker, worker_unlock, lh_mutex_offset(&mutex)), 0);
	worker_kill(worker);
	assert_int_equal(scene_lock(&mutex, lease).flags, 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// "a grant that would carry the flag is then refused with -EOWNERDEAD and nothing is held"
static void who_cannot_be_told_is_not_granted(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_lease_info info;

	lose(scene, WORKER_PROCESS, lh_mutex_offset(&mutex));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -EOWNERDEAD);
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -EOWNERDEAD);
		assert_false(lh_mutex_held(&mutex, lease));
	}
	assert_int_equal(lh_mutex_unlock(&mutex, lease), -EPERM);
	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	assert_int_equal(info.holds, 0);
	const lh_grant grant = scene_lock(&mutex, lease);

	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.token, 2); // a refusal takes no token
	assert_int_equal(lh_mutex_consistent(&mutex, lease), 0);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// Refused sleepers strand nobody: who can be told is granted it. G8
static void a_refused_waiter_passes_the_wake_on(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *holder = worker_start(WORKER_PROCESS, scene->arena, NULL);
	struct worker *waiters[4];

	assert_int_equal(worker_do(holder, worker_lock, lh_mutex_offset(&mutex)), 0);
	for (int i = 0; i < 4; i++) {
		waiters[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
		worker_tell(waiters[i], i < 3 ? worker_lock_blindly : worker_lock,
			    lh_mutex_offset(&mutex));
		scene_await_wait(scene->arena, worker_lease(waiters[i]), true);
	}
	worker_kill(holder);
	// Grants are in no order: the one that is granted it may be the first.
	for (int left = 4; left;) {
		for (int i = 0; i < 4; i++) {
			if (!waiters[i] || !worker_answered(waiters[i]))
				continue;
			assert_int_equal(worker_hear(waiters[i]), i < 3 ? -EOWNERDEAD : 0);
			if (i == 3)
				assert_int_equal(worker_grant(waiters[i]).flags,
						 LH_GRANT_OWNER_DIED);
			assert_int_equal(worker_end(waiters[i]), 0);
			waiters[i] = NULL;
			left--;
		}
		scene_pause();
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// LH_NO_REPAIR: "nothing under it can be left half-changed: never LH_GRANT_OWNER_DIED"
static void a_mutex_without_repair_never_tells(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .name = "n", .flags = LH_NO_REPAIR };
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);
	lh_grant grant = { .token = 0 };
	lh_mutex mutex;

	for (int round = 0; round < 3; round++) {
		assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &mutex), 0);
		assert_int_equal(
			worker_do(worker, worker_lock_without_repair, lh_mutex_offset(&mutex)), 0);
		worker_kill(worker);
		worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, round ? &grant : NULL), 0);
		assert_int_equal(grant.flags, 0);
		assert_int_equal(grant.previous, 0);
		assert_int_equal(grant.token,
				 round ? 2 * round + 2 : 0); // G5: it rises all the same
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	}
	assert_int_equal(worker_end(worker), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_true(scene_events(scene->arena, LH_EVENT_OWNER_DIED, 0) > 0);
}

// The data as the dead left it is seen: "what a lost holder wrote up to its end is visible".
static void the_next_holder_sees_what_the_dead_wrote(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 8, "word", &offset), 0);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);

	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(worker_do(worker, worker_write, offset), 0);
	worker_kill(worker);
	scene_lock(&mutex, lease);
	assert_int_equal(*(uint64_t *)lh_arena_range(scene->arena, offset, 8), offset);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G5 and G12 under fire: one kills holders at random; each grant's token is above all before, each
// death while holding is told exactly once if declared consistent at once.
static void tokens_rise_and_deaths_are_counted_over_many_kills(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const uint64_t rounds = tier_pick(60, 300, 1000);
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t highest = 0, token = 0;
	unsigned random = 1;

	for (uint64_t round = 0; round < rounds; round++) {
		struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
		const bool holds = (random = random * 1103515245 + 12345) & 0x10000;
		lh_grant grant;

		assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
		token = worker_grant(worker).token;
		assert_int_equal(lh_fence_check(&highest, token), 0);
		assert_int_equal(worker_grant(worker).flags, 0);
		if (!holds)
			assert_int_equal(worker_do(worker, worker_unlock, lh_mutex_offset(&mutex)),
					 0);
		worker_kill(worker);
		grant = scene_lock(&mutex, lease);
		assert_int_equal(grant.flags, holds ? LH_GRANT_OWNER_DIED : 0);
		assert_true(grant.token > token);
		assert_int_equal(lh_fence_check(&highest, grant.token), 0);
		assert_int_equal(lh_mutex_consistent(&mutex, lease), 0);
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	}
	is_invalid(lh_fence_check(NULL, token));
	assert_int_equal(lh_cancel_create(NULL), -EINVAL); // leaves a detail
	assert_int_equal(lh_fence_check(&highest, token), -ESTALE);
	assert_non_null(strstr(lh_error_detail(), "token"));
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_killed_process_is_told),
		SCENE_TEST(an_ended_thread_is_told),
		SCENE_TEST(damage_is_told_until_it_is_declared_consistent),
		SCENE_TEST(a_repairer_that_dies_leaves_damage_and_the_newest_lost_lease),
		SCENE_TEST(who_died_after_declaring_is_told_again),
		SCENE_TEST(who_died_after_unlocking_left_no_damage),
		SCENE_TEST(who_cannot_be_told_is_not_granted),
		SCENE_TEST(a_refused_waiter_passes_the_wake_on),
		SCENE_TEST(a_mutex_without_repair_never_tells),
		SCENE_TEST(the_next_holder_sees_what_the_dead_wrote),
		SCENE_TEST(tokens_rise_and_deaths_are_counted_over_many_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
