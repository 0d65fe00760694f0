// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 300
//
// -EDEADLK of lh_mutex_lock: "waiting closed a cycle of leases waiting for each other; of each cycle
// exactly one is told", and nobody ever without a cycle.
#include "tests/support/scene.h"
#include "tests/support/tier.h"
#include "tests/support/worker.h"

#include <poll.h>

enum { MOST = 8 };

static lh_mutex place_array(lh_arena *arena)
{
	const struct lh_mutex_options options = { .count = MOST, .name = "array" };
	lh_mutex array;

	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, &options, &array), 0);
	return array;
}

static int element(struct worker_stage *stage, uint64_t index, lh_mutex *ret_mutex)
{
	const struct lh_mutex_options options = { .count = MOST, .name = "array" };
	lh_mutex array;
	const int error = lh_mutex_at(stage->arena, LH_ANYWHERE, &options, &array);

	return error ? error : lh_mutex_element(&array, (uint32_t)index, ret_mutex);
}

static int lock_element(struct worker_stage *stage, uint64_t index)
{
	lh_mutex mutex;
	const int error = element(stage, index, &mutex);

	return error ? error : lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, &stage->grant);
}

// At a moment (low three bits: the element), so that several close a cycle in the same instant.
static int lock_element_at(struct worker_stage *stage, uint64_t moment)
{
	while (lh_now() < moment)
		;
	return lock_element(stage, moment % MOST);
}

static int lock_element_in_time(struct worker_stage *stage, uint64_t index)
{
	lh_mutex mutex;
	const int error = element(stage, index, &mutex);

	return error ? error
		     : lh_mutex_lock(&mutex, stage->lease, lh_deadline_after(LH_MS(2)),
				     &stage->grant);
}

static int unlock_element(struct worker_stage *stage, uint64_t index)
{
	lh_mutex mutex;
	const int error = element(stage, index, &mutex);

	return error ? error : lh_mutex_unlock(&mutex, stage->lease);
}

// The first of them that answers.
static int await_answer(struct worker *const workers[], const bool waits[], int count)
{
	struct pollfd looks[MOST];

	for (int i = 0; i < count; i++)
		looks[i] = (struct pollfd){ .fd = waits[i] ? worker_descriptor(workers[i]) : -1,
					    .events = POLLIN };
	assert_true(poll(looks, (nfds_t)count, -1) >= 1);
	for (int i = 0; i < count; i++) {
		if (looks[i].revents)
			return i;
	}
	fail_msg("poll told of an answer, and there is none");
	abort(); // unreached, which analysers do not know
}

// Worker i holds mutex i and asks for the next; whoever is told gives way, and all others are
// granted theirs one after the other.
static int close_cycle(struct worker *const workers[], int count, int first)
{
	bool waits[MOST];
	int victims = 0;

	for (int i = 0; i < count; i++)
		assert_int_equal(worker_do(workers[i], lock_element, (uint64_t)i), 0);
	const uint64_t moment = (lh_now() + LH_MS(1) / 4) / MOST * MOST;

	for (int i = 0; i < count; i++) {
		const int turn = (i * 5 + first) % count; // 5 is prime to 2, 3 and 8
		const uint64_t next = (uint64_t)((turn + 1) % count);

		if (first % 2)
			worker_tell(workers[turn], lock_element, next);
		else
			worker_tell(workers[turn], lock_element_at, moment + next);
		waits[turn] = true;
	}
	for (int left = count; left; left--) {
		const int i = await_answer(workers, waits, count);
		const int result = worker_hear(workers[i]);

		waits[i] = false;
		assert_true(result == 0 || result == -EDEADLK);
		assert_true(result == -EDEADLK || victims > 0);
		victims += result == -EDEADLK;
		// "the lease holds just what it held before": its own is to be unlocked.
		if (result == 0)
			assert_int_equal(
				worker_do(workers[i], unlock_element, (uint64_t)((i + 1) % count)),
				0);
		assert_int_equal(worker_do(workers[i], unlock_element, (uint64_t)i), 0);
	}
	return victims;
}

static void each_cycle_has_one_victim(const struct scene *scene, enum worker_kind kind, int count,
				      uint64_t rounds)
{
	struct worker *workers[MOST];

	place_array(scene->arena);
	for (int i = 0; i < count; i++)
		workers[i] = worker_start(kind, scene->arena, NULL);
	for (uint64_t round = 0; round < rounds; round++) {
		assert_int_equal(close_cycle(workers, count, (int)(round % (uint64_t)count)), 1);
		assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	}
	if (rounds < 100) // the ring still has them all
		assert_int_equal(scene_events(scene->arena, LH_EVENT_DEADLOCK, 0), rounds);
	for (int i = 0; i < count; i++)
		assert_int_equal(worker_end(workers[i]), 0);
}

static void a_cycle_of_two_processes_has_one_victim(void **state)
{
	each_cycle_has_one_victim(*state, WORKER_PROCESS, 2, tier_pick(90, 90, 1000));
}

static void a_cycle_of_three_processes_has_one_victim(void **state)
{
	each_cycle_has_one_victim(*state, WORKER_PROCESS, 3, tier_pick(50, 90, 1000));
}

static void a_cycle_of_eight_processes_has_one_victim(void **state)
{
	each_cycle_has_one_victim(*state, WORKER_PROCESS, 8, tier_pick(30, 90, 500));
}

static void a_cycle_of_two_threads_has_one_victim(void **state)
{
	each_cycle_has_one_victim(*state, WORKER_THREAD, 2, tier_pick(90, 90, 1000));
}

static void a_cycle_of_three_threads_has_one_victim(void **state)
{
	each_cycle_has_one_victim(*state, WORKER_THREAD, 3, tier_pick(50, 90, 1000));
}

static void a_cycle_of_eight_threads_has_one_victim(void **state)
{
	each_cycle_has_one_victim(*state, WORKER_THREAD, 8, tier_pick(30, 90, 500));
}

// Two leases of one thread: the wait that closes the cycle is its own, at once.
static void a_thread_that_waits_for_its_own_other_lease_is_no_cycle_of_leases(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *one = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);

	scene_lock(&mutex, one);
	assert_int_equal(lh_mutex_lock(&mutex, other, lh_deadline_after(LH_MS(5)), NULL),
			 -ETIMEDOUT);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// Waiters who are no member of it stay: only the cycle is broken.
static void who_waits_outside_of_the_cycle_is_not_told(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[2];
	struct worker *outside[3];

	place_array(scene->arena);
	for (int i = 0; i < 3; i++)
		outside[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
	for (int i = 0; i < 2; i++) {
		workers[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
		assert_int_equal(worker_do(workers[i], lock_element, (uint64_t)i), 0);
	}
	assert_int_equal(worker_do(outside[0], lock_element, 5), 0);
	for (int i = 0; i < 3; i++) {
		worker_tell(outside[i], lock_element, i < 2 ? (uint64_t)i : 5);
		scene_await_wait(scene->arena, worker_lease(outside[i]), true);
	}
	worker_tell(workers[0], lock_element, 1);
	scene_await_wait(scene->arena, worker_lease(workers[0]), true);
	worker_tell(workers[1], lock_element, 0);
	const bool waits[2] = { true, true };
	const int victim = await_answer(workers, waits, 2);

	assert_int_equal(worker_hear(workers[victim]), -EDEADLK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(worker_answered(outside[i]), 0);
	assert_int_equal(worker_end(workers[victim]), 0);
	// From here on each is granted what it waits for, in some order, and lets all go.
	struct worker *rest[4] = { outside[0], outside[1], outside[2], workers[!victim] };
	bool left[4] = { true, true, true, true };

	for (int i = 0; i < 4; i++) {
		const int next = await_answer(rest, left, 4);

		assert_int_equal(worker_hear(rest[next]), 0);
		assert_int_equal(worker_end(rest[next]), 0);
		left[next] = false;
	}
	assert_int_equal(scene_events(scene->arena, LH_EVENT_DEADLOCK, 0), 1);
}

// A member that leaves by its deadline ends the cycle too: then nobody else may be told late.
static void a_cycle_that_ended_by_itself_has_at_most_one_victim(void **state)
{
	const struct scene *scene = *state;
	const uint64_t rounds = tier_pick(60, 200, 1000);
	struct worker *workers[2];

	place_array(scene->arena);
	for (int i = 0; i < 2; i++)
		workers[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
	for (uint64_t round = 0; round < rounds; round++) {
		int results[2];

		for (int i = 0; i < 2; i++)
			assert_int_equal(worker_do(workers[i], lock_element, (uint64_t)i), 0);
		for (int i = 0; i < 2; i++)
			worker_tell(workers[i], lock_element_in_time, (uint64_t)!i);
		for (int i = 0; i < 2; i++)
			results[i] = worker_hear(workers[i]);
		for (int i = 0; i < 2; i++) {
			assert_true(results[i] == -EDEADLK || results[i] == -ETIMEDOUT);
			assert_int_equal(worker_do(workers[i], unlock_element, (uint64_t)i), 0);
		}
		assert_false(results[0] == -EDEADLK && results[1] == -EDEADLK);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(worker_end(workers[i]), 0);
}

// Random sets, always in rising order, so there never is a cycle; deadlines come and go.
static int storm(struct worker_stage *stage, uint64_t seed_and_rounds)
{
	uint64_t random = seed_and_rounds;
	int told = 0;

	for (uint64_t round = seed_and_rounds >> 8; round; round--) {
		bool held[MOST] = { false };

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		for (uint64_t i = 0; i < MOST; i++) {
			int result;

			if (!(random >> (32 + i) & 1))
				continue;
			result = random >> (48 + i) & 1 ? lock_element(stage, i)
							: lock_element_in_time(stage, i);
			held[i] = result == 0;
			told += result != 0 && result != -ETIMEDOUT;
		}
		for (uint64_t i = 0; i < MOST; i++) {
			if (held[i] && unlock_element(stage, i) != 0)
				told++;
		}
	}
	return told;
}

static void nobody_is_told_without_a_cycle(const struct scene *scene, enum worker_kind kind)
{
	const uint64_t rounds = tier_pick(400, 3000, 20000);
	struct worker *workers[6];

	place_array(scene->arena);
	for (int i = 0; i < 6; i++)
		workers[i] = worker_start(kind, scene->arena, NULL);
	for (uint64_t i = 0; i < 6; i++)
		worker_tell(workers[i], storm, rounds << 8 | (i + 1));
	for (int i = 0; i < 6; i++)
		assert_int_equal(worker_hear(workers[i]), 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(worker_end(workers[i]), 0);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_DEADLOCK, 0), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void no_process_is_told_without_a_cycle(void **state)
{
	nobody_is_told_without_a_cycle(*state, WORKER_PROCESS);
}

static void no_thread_is_told_without_a_cycle(void **state)
{
	nobody_is_told_without_a_cycle(*state, WORKER_THREAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_cycle_of_two_processes_has_one_victim),
		SCENE_TEST(a_cycle_of_three_processes_has_one_victim),
		SCENE_TEST(a_cycle_of_eight_processes_has_one_victim),
		SCENE_TEST(a_cycle_of_two_threads_has_one_victim),
		SCENE_TEST(a_cycle_of_three_threads_has_one_victim),
		SCENE_TEST(a_cycle_of_eight_threads_has_one_victim),
		SCENE_TEST(a_thread_that_waits_for_its_own_other_lease_is_no_cycle_of_leases),
		SCENE_TEST(who_waits_outside_of_the_cycle_is_not_told),
		SCENE_TEST(a_cycle_that_ended_by_itself_has_at_most_one_victim),
		SCENE_TEST(no_process_is_told_without_a_cycle),
		SCENE_TEST(no_thread_is_told_without_a_cycle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
