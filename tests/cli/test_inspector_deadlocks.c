// SPDX-License-Identifier: Apache-2.0
//
// What tree, dot and check call a deadlock: those who wait for each other where nobody can go on
// whatever all the others let go of (docs/debugging.md), and nothing else. Of a semaphore somebody
// waits for permits, whoever lets go of them.
// ctest: TIMEOUT 120

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "tests/cli/inspector_test.h"

enum { MUTEXES = 2, PERMITS = 3, ACTORS = 4 };

static char name[64];
static lh_arena *arena;
static lh_mutex mutexes[MUTEXES];
static lh_semaphore semaphore;
static lh_barrier barrier;

// What an actor has, and then waits for: permits, mutexes by their numbers (-1: none), the barrier.
struct part {
	uint32_t permits;
	int mutex;
	bool joins;
	uint32_t wants_permits;
	int wants_mutex;
	bool arrives;
};

static struct actor {
	struct part part;
	lh_lease *lease;
	lh_cancel *cancel;
	uint64_t id;
	pthread_t thread;
	bool started;
	int result;
} actors[ACTORS];

static void *wait_for_it(void *argument)
{
	struct actor *actor = (struct actor *)argument;
	const struct part *part = &actor->part;

	if (part->wants_permits)
		actor->result = lh_semaphore_acquire(&semaphore, actor->lease, part->wants_permits,
						     LH_FOREVER);
	else if (part->wants_mutex >= 0)
		actor->result = lh_mutex_lock(&mutexes[part->wants_mutex], actor->lease, LH_FOREVER,
					      NULL);
	else if (part->arrives)
		actor->result = lh_barrier_wait(&barrier, actor->lease, LH_FOREVER, NULL);
	return NULL;
}

static struct part idle(void)
{
	return (struct part){ .mutex = -1, .wants_mutex = -1 };
}

// Its leases are the process's, so that any thread may wait with them.
static void take(struct actor *actor, struct part part)
{
	const struct lh_lease_options options = { .flags = LH_LEASE_PROCESS };

	*actor = (struct actor){ .part = part };
	assert_int_equal(lh_cancel_create(&actor->cancel), 0);
	assert_int_equal(lh_lease_acquire(arena, &options, &actor->lease), 0);
	lh_lease_set_cancel(actor->lease, actor->cancel);
	actor->id = lh_lease_id(actor->lease);
	if (part.permits)
		assert_int_equal(
			lh_semaphore_acquire(&semaphore, actor->lease, part.permits, LH_NOW), 0);
	if (part.mutex >= 0)
		assert_int_equal(lh_mutex_lock(&mutexes[part.mutex], actor->lease, LH_NOW, NULL),
				 0);
	if (part.joins)
		assert_int_equal(lh_barrier_join(&barrier, actor->lease), 0);
}

static bool is_waiting(uint64_t id)
{
	struct lh_lease_info info;
	uint64_t cursor = 0;

	while (lh_next_lease(arena, &cursor, &info) == 0)
		if (info.id == id)
			return info.waits_for != 0;
	return false;
}

// All take what they have; then all who want something wait for it, in this order.
static void play(const struct part *parts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		take(&actors[i], parts[i]);
	for (size_t i = 0; i < count; i++) {
		if (!parts[i].wants_permits && parts[i].wants_mutex < 0 && !parts[i].arrives)
			continue;
		assert_int_equal(pthread_create(&actors[i].thread, NULL, wait_for_it, &actors[i]),
				 0);
		actors[i].started = true;
		while (!is_waiting(actors[i].id))
			sched_yield();
	}
}

// All stop waiting.
static int end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ACTORS; i++)
		if (actors[i].started)
			lh_cancel_fire(actors[i].cancel);
	for (size_t i = 0; i < ACTORS; i++) {
		if (actors[i].started)
			pthread_join(actors[i].thread, NULL);
		if (actors[i].lease)
			lh_lease_release(actors[i].lease);
		if (actors[i].cancel)
			lh_cancel_destroy(actors[i].cancel);
		actors[i] = (struct actor){ .part = idle() };
	}
	lh_arena_close(arena);
	lh_arena_unlink(name);
	return 0;
}

static int begin(void **state)
{
	static unsigned number;
	const struct lh_semaphore_options permits = { .permits = PERMITS, .name = "permits" };
	const struct lh_barrier_options parties = { .parties = 2, .name = "parties" };
	const struct lh_mutex_options locks = { .count = MUTEXES, .name = "locks" };

	(void)state;
	snprintf(name, sizeof(name), "lh-deadlocks-%d-%u", (int)getpid(), number++);
	if (lh_arena_open(name, LH_CREATE | LH_EXCL, NULL, &arena) ||
	    lh_semaphore_at(arena, LH_ANYWHERE, &permits, &semaphore) ||
	    lh_barrier_at(arena, LH_ANYWHERE, &parties, &barrier) ||
	    lh_mutex_at(arena, LH_ANYWHERE, &locks, &mutexes[0]) ||
	    lh_mutex_element(&mutexes[0], 1, &mutexes[1]))
		return -1;
	return 0;
}

// Which of the actors tree calls deadlocked, as bits; dot colours as many boxes, and check says
// deadlock if there are any, of those who wait for what the library does not watch.
static void expect_deadlocked(unsigned expected, unsigned findings)
{
	json_t *tree = inspect(0, "tree", name);
	json_t *check = inspect(expected ? LH_CHECK_DEADLOCK : LH_CHECK_CLEAN, "check", name);
	unsigned found = 0, boxes = 0;
	int code;
	struct output dot = inspector(&code, "dot %s", name);
	struct output drawn = inspector(&code, "tree %s", name);

	for (size_t i = 0; i < ACTORS; i++) {
		const json_t *entry = actors[i].lease
					      ? entry_numbered(tree, "leases", "id", actors[i].id)
					      : NULL;

		if (json_is_true(json_object_get(entry, "deadlock")))
			found |= 1u << i;
	}
	for (const char *at = dot.out; (at = strstr(at, "fontcolor=red")); at++)
		boxes++;
	if (found != expected)
		fail_msg("deadlocked: %#x, not %#x\n%s", found, expected, drawn.out);
	assert_int_equal(boxes, __builtin_popcount(expected));
	assert_int_equal(strstr(drawn.out, "DEADLOCK") != NULL, expected != 0);
	assert_int_equal(json_array_size(json_object_get(check, "findings")), findings);
	output_free(&dot);
	output_free(&drawn);
	json_decref(tree);
	json_decref(check);
}

// One of the holders is in the cycle, but any holder's permit will do.
static void a_cycle_through_permits_that_another_may_give_back_is_none(void **state)
{
	struct part parts[] = { idle(), idle(), idle() };

	(void)state;
	parts[0].permits = 2;
	parts[0].wants_mutex = 0;
	parts[1].mutex = 0;
	parts[1].wants_permits = 1;
	parts[2].permits = 1;
	play(parts, 3);
	expect_deadlocked(0, 0);
}

// All holders wait for who waits for permits, and one for the same without being waited for.
static void a_cycle_through_all_permits_is_a_deadlock(void **state)
{
	struct part parts[] = { idle(), idle(), idle(), idle() };

	(void)state;
	parts[0].permits = 2;
	parts[0].wants_mutex = 0;
	parts[1].mutex = 0;
	parts[1].wants_permits = 1;
	parts[2].permits = 1;
	parts[2].wants_mutex = 0;
	parts[3].wants_mutex = 0;
	play(parts, 4);
	expect_deadlocked(7, 1);
}

// What the other may give back is not enough.
static void a_cycle_through_more_permits_than_others_have_is_a_deadlock(void **state)
{
	struct part parts[] = { idle(), idle(), idle() };

	(void)state;
	parts[0].permits = 1;
	parts[0].wants_mutex = 0;
	parts[1].mutex = 0;
	parts[1].wants_permits = 3;
	parts[2].permits = 2;
	play(parts, 3);
	expect_deadlocked(3, 1);
}

// The same, of two: with the one that is free, which it takes at once.
static void a_cycle_through_no_more_permits_than_others_have_is_none(void **state)
{
	struct part parts[] = { idle(), idle(), idle() };

	(void)state;
	parts[0].permits = 1;
	parts[0].wants_mutex = 0;
	parts[1].mutex = 0;
	parts[1].wants_permits = 2;
	parts[2].permits = 1;
	play(parts, 3);
	expect_deadlocked(0, 0);
}

// Who can give them back waits himself, for somebody who does not.
static void who_waits_for_somebody_who_can_go_on_can_go_on(void **state)
{
	struct part parts[] = { idle(), idle(), idle(), idle() };

	(void)state;
	parts[0].permits = 2;
	parts[0].wants_mutex = 0;
	parts[1].mutex = 0;
	parts[1].wants_permits = 1;
	parts[2].permits = 1;
	parts[2].wants_mutex = 1;
	parts[3].mutex = 1;
	play(parts, 4);
	expect_deadlocked(0, 0);
}

// A limit below what is asked for is waited for, not a holder.
static void who_asks_for_more_than_the_limit_waits_for_a_resize(void **state)
{
	struct part parts[] = { idle(), idle() };

	(void)state;
	assert_int_equal(lh_semaphore_resize(&semaphore, 2), 0);
	parts[0].permits = 1;
	parts[0].wants_mutex = 0;
	parts[1].mutex = 0;
	parts[1].wants_permits = 3;
	play(parts, 2);
	expect_deadlocked(0, 0);
}

// Of a barrier's parties all must come.
static void a_cycle_through_a_barrier_is_a_deadlock(void **state)
{
	struct part parts[] = { idle(), idle() };

	(void)state;
	parts[0].joins = true;
	parts[0].wants_mutex = 0;
	parts[1].joins = true;
	parts[1].mutex = 0;
	parts[1].arrives = true;
	play(parts, 2);
	expect_deadlocked(3, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_cycle_through_permits_that_another_may_give_back_is_none, begin, end),
		cmocka_unit_test_setup_teardown(a_cycle_through_all_permits_is_a_deadlock, begin,
						end),
		cmocka_unit_test_setup_teardown(
			a_cycle_through_more_permits_than_others_have_is_a_deadlock, begin, end),
		cmocka_unit_test_setup_teardown(
			a_cycle_through_no_more_permits_than_others_have_is_none, begin, end),
		cmocka_unit_test_setup_teardown(who_waits_for_somebody_who_can_go_on_can_go_on,
						begin, end),
		cmocka_unit_test_setup_teardown(who_asks_for_more_than_the_limit_waits_for_a_resize,
						begin, end),
		cmocka_unit_test_setup_teardown(a_cycle_through_a_barrier_is_a_deadlock, begin,
						end),
	};

	return cmocka_run_group_tests_name("deadlocks", tests, NULL, NULL);
}
