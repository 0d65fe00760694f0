// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector's break, gc and rm look before they act: an arena that has come by the name in
// between is left alone, which may have leases of the same ids.
// ctest: TIMEOUT 120
// ctest: NOT_UNDER valgrind it does not let a program be stopped at its system calls

#include <fcntl.h>

#include "tests/cli/overtaken.h"
#include "tests/support/actor.h"

static char arena[64];
static struct actor *old_one, *new_one;

static int new_arena(void **state)
{
	static unsigned number;

	(void)state;
	snprintf(arena, sizeof(arena), "inspector-replaced-%d-%u", (int)getpid(), number++);
	return 0;
}

static int end_arena(void **state)
{
	actors_end(state);
	lh_arena_unlink(arena);
	return 0;
}

// An arena of that name, in which the same is held.
static struct actor *make_arena(const struct actor_options *options)
{
	struct actor *actor = actor_start(arena, options);

	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	return actor;
}

static void replace_arena(const void *options)
{
	assert_int_equal(lh_arena_unlink(arena), 0);
	new_one = make_arena((const struct actor_options *)options);
}

// ---- stopping it --------------------------------------------------------------------------------

static bool opens_for_writing(pid_t pid, const system_call *call)
{
	return call->entry.nr == SYS_openat && (call->entry.args[2] & O_ACCMODE) == O_RDWR &&
	       call_names(pid, call, 1, arena);
}

static bool has_killed(pid_t pid, const system_call *call)
{
	(void)pid;
	return call->entry.nr == SYS_pidfd_send_signal && call->entry.args[1] == SIGKILL;
}

// Has the arena replaced before the first system call that is `wanted`.
static struct output overtaken(bool (*wanted)(pid_t pid, const system_call *call),
			       const struct actor_options *options, const char *verb,
			       const char *rest)
{
	char arguments[160];

	snprintf(arguments, sizeof(arguments), "%s %s %s", verb, arena, rest);
	return inspector_overtaken(arguments, wanted, replace_arena, options);
}

// It says why it did nothing, and the new arena and who holds something there are as they were.
static void expect_left_alone(struct output *output)
{
	if (!WIFEXITED(output->status) || WEXITSTATUS(output->status) != 2)
		fail_msg("status %#x: %s%s", output->status, output->out, output->error);
	assert_non_null(strstr(output->error, "another arena has come by this name"));
	output_free(output);
	json_t *history = inspect(0, "history", arena);

	assert_int_equal(json_array_size(json_object_get(history, "events")), 0);
	json_decref(history);
	assert_int_equal(actor_do(new_one, ACTOR_UNLOCK, 0), 0);
}

// ---- what is overtaken --------------------------------------------------------------------------

static void break_leaves_a_successor_alone(void **state)
{
	const struct actor_options timed = { .ttl_ns = LH_SEC(3600) };

	(void)state;
	old_one = make_arena(&timed);
	struct output output = overtaken(opens_for_writing, &timed, "break", "table[0] --force");

	expect_left_alone(&output);
	assert_int_equal(actor_do(old_one, ACTOR_UNLOCK, 0), 0);
}

static void gc_leaves_a_successor_alone(void **state)
{
	(void)state;
	old_one = make_arena(NULL);
	struct output output = overtaken(opens_for_writing, NULL, "gc", "");

	expect_left_alone(&output);
	assert_int_equal(actor_do(old_one, ACTOR_UNLOCK, 0), 0);
}

static void rm_leaves_a_successor_alone(void **state)
{
	static const char *const rests[] = { "--force", "table --force" };

	(void)state;
	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++) {
		old_one = make_arena(NULL);
		struct output output = overtaken(opens_for_writing, NULL, "rm", rests[i]);

		expect_left_alone(&output);
		assert_int_equal(actor_do(old_one, ACTOR_UNLOCK, 0), 0);
		assert_int_equal(lh_arena_unlink(arena), 0);
	}
}

// Waiting for the end of who is killed takes its time, in which the name may pass on, too.
static void rm_leaves_one_alone_that_came_while_it_killed(void **state)
{
	(void)state;
	old_one = make_arena(NULL);
	struct output output = overtaken(has_killed, NULL, "rm", "--force");

	expect_left_alone(&output);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_arena, end_arena)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(break_leaves_a_successor_alone),
		TEST(gc_leaves_a_successor_alone),
		TEST(rm_leaves_a_successor_alone),
		TEST(rm_leaves_one_alone_that_came_while_it_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
