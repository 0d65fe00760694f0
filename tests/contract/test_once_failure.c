// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Once, whose initialiser fails, dies or hangs: whose turn it is then, and what a late one may do.
//
//	lh_once_call  init's              a_failed_initialiser_…
//	              -EINVAL             a_positive_result_…
//	              -ENOMEM             without_memory_…
//	              -EBUSY, -ETIMEDOUT  while_all_slots_…
//	              -ESTALE             a_hung_initialiser_is_succeeded_…
#include "tests/contract/once.h"

#include "src/word.h"

#include <sys/resource.h>

static int fill_and_fail(void *data, void *context)
{
	fill(data, context);
	return -ENXIO;
}

static int say_seven(void *data, void *context)
{
	fill(data, context);
	return 7;
}

static int hang_then_fail_body(void *data, void *context)
{
	hang(data, context);
	return -ENXIO;
}

static int call_and_hang_then_fail(struct worker_stage *stage, uint64_t number)
{
	return lh_once_call(&once, stage->lease, hang_then_fail_body, (void *)(uintptr_t)number,
			    LH_FOREVER);
}

// ---- failing -------------------------------------------------------------------------------------

// "its negative result goes to its caller alone and the next caller tries"
static void a_failed_initialiser_passes_on_to_the_next_caller(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;
	struct lh_lease_info info;

	place(scene);
	lease = scene_lease(scene->arena);
	assert_int_equal(lh_once_call(&once, lease, fill_and_fail, (void *)1, LH_FOREVER), -ENXIO);
	assert_false(lh_once_done(&once));
	assert_null(lh_once_data(&once));
	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	assert_int_equal(info.holds, 0);
	assert_int_equal(lh_once_call(&once, lease, fill, (void *)2, LH_FOREVER), 0);
	assert_value(2);
	assert_int_equal(lh_once_call(&once, lease, fill_and_fail, (void *)3, LH_FOREVER), 0);
	assert_int_equal(shared->runs, 2);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_positive_result_is_invalid_and_commits_nothing(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;

	place(scene);
	lease = scene_lease(scene->arena);
	is_invalid(lh_once_call(&once, lease, say_seven, NULL, LH_FOREVER));
	assert_false(lh_once_done(&once));
	assert_int_equal(lh_lease_release(lease), 0);
}

// A failure wakes those who wait: one of them tries, the others get its value.
static void a_failed_initialiser_hands_over_to_who_waits(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene);
	first = worker_start(WORKER_PROCESS, scene->arena, NULL);
	second = worker_start(WORKER_PROCESS, scene->arena, NULL);
	third = worker_start(WORKER_THREAD, scene->arena, NULL);
	worker_tell(first, call_and_hang_then_fail, 1);
	await_inside(1);
	worker_tell(second, call, 2);
	worker_tell(third, call, 2);
	scene_await_wait(scene->arena, worker_lease(second), true);
	scene_await_wait(scene->arena, worker_lease(third), true);
	atomic_store(&shared->go, 1);
	assert_int_equal(worker_hear(first), -ENXIO);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_hear(third), 0);
	assert_value(2);
	assert_int_equal(shared->runs, 2);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
}

// G2, G8
static void a_dead_initialiser_hands_over_to_who_waits(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene);
	first = worker_start(WORKER_PROCESS, scene->arena, NULL);
	second = worker_start(WORKER_PROCESS, scene->arena, NULL);
	third = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(first, call_and_hang, 1);
	await_inside(1);
	worker_tell(second, call, 2);
	worker_tell(third, call, 2);
	scene_await_wait(scene->arena, worker_lease(second), true);
	scene_await_wait(scene->arena, worker_lease(third), true);
	worker_kill(first);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_hear(third), 0);
	assert_value(2);
	assert_int_equal(shared->runs, 1);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// G3, G4: "a stopped initialiser that wakes later changes nothing"
static void a_hung_initialiser_is_succeeded_and_the_late_one_changes_nothing(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	struct worker *late[5], *next;

	// More of them than there are slots: who hangs in its initialiser keeps none.
	place(scene);
	for (uint32_t i = 0; i < 5; i++) {
		late[i] = worker_start(WORKER_PROCESS, scene->arena, &timed);
		worker_tell(late[i], call_and_hang, i);
		await_inside(i + 1);
		worker_shorten(late[i]);
		scene_await_state(scene->arena, worker_lease(late[i]), LH_LEASE_EXPIRED);
	}
	next = worker_start(WORKER_PROCESS, scene->arena, NULL);
	assert_int_equal(worker_do(next, call, 9), 0);
	assert_value(9);
	atomic_store(&shared->go, 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(worker_hear(late[i]), -ESTALE);
		assert_value(9);
		assert_int_equal(worker_end(late[i]), -ESTALE);
	}
	assert_int_equal(worker_end(next), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// G3: who waits takes over at the expiry.
static void a_hung_initialiser_hands_over_to_who_waits(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	struct worker *late, *next;

	place(scene);
	late = worker_start(WORKER_PROCESS, scene->arena, &timed);
	worker_tell(late, call_and_hang, 1);
	await_inside(1);
	next = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(next, call, 2);
	scene_await_wait(scene->arena, worker_lease(next), true);
	worker_shorten(late);
	assert_int_equal(worker_hear(next), 0);
	assert_value(2);
	worker_kill(late);
	assert_int_equal(worker_end(next), 0);
}

// A lost lease whose owner runs, and may be copying, keeps the slot that it has tagged.
static void while_all_slots_are_tagged_by_the_lost_the_next_waits_for_one_of_them(void **state)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(1) };
	const struct scene *scene = *state;
	struct worker *lost[ONCE_SLOTS], *next;
	lh_lease *lease;

	place(scene);
	lease = scene_lease(scene->arena);
	for (uint32_t i = 0; i < ONCE_SLOTS; i++) {
		lost[i] = worker_start(WORKER_PROCESS, scene->arena, &brief);
		atomic_store(&object()->tags[i], worker_lease(lost[i]));
		scene_await_state(scene->arena, worker_lease(lost[i]), LH_LEASE_EXPIRED);
	}
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_NOW), -EBUSY);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, lh_deadline_after(LH_MS(2))),
			 -ETIMEDOUT);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, lh_deadline_after(0)), -ETIMEDOUT);
	assert_int_equal(shared->runs, 0);
	next = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(next, call, 3);
	scene_await_wait(scene->arena, worker_lease(next), true);
	worker_kill(lost[2]);
	assert_int_equal(worker_hear(next), 0);
	assert_value(3);
	assert_int_equal(atomic_load(&object()->tags[2]), worker_lease(next));
	assert_int_equal(worker_end(next), 0);
	worker_kill(lost[0]);
	worker_kill(lost[1]);
	worker_kill(lost[3]);
	assert_int_equal(lh_lease_release(lease), 0);
}

// Its late stores are to go there, and not into what is placed there next.
static void what_a_lost_initialiser_may_still_write_to_is_not_removed(void **state)
{
	const struct scene *scene = *state;
	lh_lease *late, *lease;

	place(scene);
	late = scene_lease_for(scene->arena, LH_MS(1));
	lease = scene_lease(scene->arena);
	atomic_store(&object()->tags[1], lh_lease_id(late));
	scene_await_state(scene->arena, lh_lease_id(late), LH_LEASE_EXPIRED);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_NOW), 0);
	assert_int_equal(lh_remove(scene->arena, lh_once_offset(&once)), -EBUSY);
	assert_int_equal(lh_lease_release(late), -ESTALE);
	assert_int_equal(lh_remove(scene->arena, lh_once_offset(&once)), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int call_in_little_memory(void *context)
{
	const struct lh_once_options large = { .data_size = 8 << 20 };
	const struct rlimit little = { 1 << 20, 1 << 20 };
	lh_lease *lease;

	need(lh_lease_acquire(context, NULL, &lease) == 0);
	need(lh_once_at(context, LH_ANYWHERE, &large, &once) == 0);
	need(setrlimit(RLIMIT_AS, &little) == 0);
	need(lh_once_call(&once, lease, fill_and_fail, NULL, LH_NOW) == -ENOMEM);
	need(!lh_once_done(&once));
	need(atomic_load(&object()->word) >> WORD_TOKEN_SHIFT == 1); // it had taken it
	need(!word_owner(atomic_load(&object()->word)));             // and gave it back
	return lh_lease_release(lease);
}

// G10
static void without_memory_for_the_data_the_next_caller_runs_it(void **state)
{
	const struct lh_arena_options options = { .size = 33 << 20 };
	struct scene *scene = *state;

	scene_open(scene, &options);
	if (SANITIZED) {
		print_message("SKIP: contract.once_failure: no memory limit under a sanitizer\n");
		return;
	}
	assert_exited(scene_child(call_in_little_memory, scene->arena), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// before there are threads, whose heaps have room that the limit does not count
		SCENE_TEST_CLOSED(without_memory_for_the_data_the_next_caller_runs_it),
		SCENE_TEST(a_failed_initialiser_passes_on_to_the_next_caller),
		SCENE_TEST(a_positive_result_is_invalid_and_commits_nothing),
		SCENE_TEST(a_failed_initialiser_hands_over_to_who_waits),
		SCENE_TEST(a_dead_initialiser_hands_over_to_who_waits),
		SCENE_TEST(a_hung_initialiser_is_succeeded_and_the_late_one_changes_nothing),
		SCENE_TEST(a_hung_initialiser_hands_over_to_who_waits),
		SCENE_TEST(what_a_lost_initialiser_may_still_write_to_is_not_removed),
		SCENE_TEST(while_all_slots_are_tagged_by_the_lost_the_next_waits_for_one_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
