// SPDX-License-Identifier: Apache-2.0
//
// process.c: what must not be locked at the moment of a fork.
#include "tests/support/scene.h"

// liburcu's: what it knows of the calling thread, NULL for nothing.
extern __thread struct urcu_bp_reader *urcu_bp_reader;

static void call_nobody(void *unused)
{
	(void)unused;
}

// fork.h: a child may go on with the arena. A thread that liburcu knows takes a lock of its registry
// when it ends, and leaves it locked in a child that is forked at that moment; the first thread to
// be made known there would wait for ever. So the library's tables make no thread known.
static void no_thread_is_made_known_to_liburcu(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease = scene_lease_with(scene->arena, &timed);
	lh_arena *again;

	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &again), 0);
	assert_int_equal(lh_lease_on_loss(lease, call_nobody, NULL), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(again), 0);
	assert_null(urcu_bp_reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(no_thread_is_made_known_to_liburcu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
