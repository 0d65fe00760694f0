// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector's break, gc and rm: they refuse living owners, say what they would do without doing it,
// end what they are told to end, and leave an event.
// ctest: TIMEOUT 120

#include <inttypes.h>
#include <signal.h>
#include <time.h>

#include "tests/cli/inspector_test.h"
#include "tests/support/actor.h"

static char arena[64];

static int new_arena(void **state)
{
	static unsigned number;

	(void)state;
	snprintf(arena, sizeof(arena), "inspector-repair-%d-%u", (int)getpid(), number++);
	return 0;
}

static int end_arena(void **state)
{
	actors_end(state);
	lh_arena_unlink(arena);
	return 0;
}

static const char *words(const char *rest)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s %s", arena, rest);
	return text;
}

static bool has_event(const char *kind, uint64_t lease)
{
	json_t *history = inspect(0, "history", arena);
	const json_t *event = entry_named(history, "events", "kind", kind);
	const bool found = event && (!lease || (uint64_t)number_of(event, "lease") == lease);

	json_decref(history);
	return found;
}

static char state_of(pid_t pid)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");

	if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (file)
		fclose(file);
	return state;
}

static void await_waiter(const struct actor *actor)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (bool waits = false; !waits; nanosleep(&pause, NULL)) {
		json_t *leases = inspect(0, "leases", arena);

		waits = number_of(entry_numbered(leases, "leases", "id", actor_lease(actor)),
				  "waits_for") > 0;
		json_decref(leases);
	}
}

// ---- break --------------------------------------------------------------------------------------

static void break_refuses_a_living_owner_and_changes_nothing(void **state)
{
	struct actor *holder = actor_start(arena, &(struct actor_options){ .command = "hangs" });
	int code;

	(void)state;
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 0), 0);
	struct output output = inspector(&code, "break %s table[0]", arena);

	assert_int_equal(code, 2);
	assert_non_null(strstr(output.error, "hangs"));
	assert_non_null(strstr(output.error, "--force"));
	output_free(&output);
	assert_int_equal(exit_of("break", words("table[1]")), 1); // nobody holds it
	output = inspector(&code, "break %s table[0] --force --dry-run", arena);
	assert_int_equal(code, 0);
	assert_non_null(strstr(output.out, "kill"));
	assert_non_null(strstr(output.out, "would be done"));
	output_free(&output);
	assert_int_equal(actor_do(holder, ACTOR_UNLOCK, 0), 0);
	assert_false(has_event("broken", 0));
}

// G4: a TTL lease is lost from then on, its owner lives and is told; G12: the next is told, too.
static void force_makes_a_lease_with_a_ttl_expire_at_once(void **state)
{
	const struct actor_options timed = { .ttl_ns = LH_SEC(3600) };
	struct actor *holder = actor_start(arena, &timed);
	struct actor *waiter = actor_start(arena, NULL);
	const uint64_t lost = actor_lease(holder);

	(void)state;
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 0), 0);
	actor_tell(waiter, ACTOR_LOCK, 0);
	await_waiter(waiter);
	json_t *document = inspect(0, "break", words("table[0] --force"));
	const json_t *action = json_array_get(json_object_get(document, "actions"), 0);

	assert_string_equal(text_of(action, "action"), "expire");
	assert_string_equal(text_of(action, "result"), "done");
	assert_int_equal(number_of(action, "pid"), actor_pid(holder));
	json_decref(document);
	assert_int_equal(actor_result(waiter), 0); // it does not sleep until the hour is over
	assert_int_equal(actor_do(holder, ACTOR_UNLOCK, 0), -ESTALE);
	assert_true(has_event("expired", lost));
	assert_true(has_event("broken", lost));
	document = inspect(0, "show", words("table[0]"));
	assert_string_equal(
		json_string_value(json_array_get(
			json_object_get(json_object_get(document, "object"), "flags"), 0)),
		"damaged");
	json_decref(document);
	assert_int_equal(actor_do(waiter, ACTOR_CONSISTENT, 0), 0);
}

// G1: without TTL nobody else has it before the owner is dead, a stopped one too.
static void force_kills_an_owner_without_ttl(void **state)
{
	struct actor *holder = actor_start(arena, NULL);
	struct actor *waiter = actor_start(arena, NULL);
	const uint64_t lost = actor_lease(holder);
	const pid_t pid = actor_pid(holder);

	(void)state;
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 0), 0);
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 1), 0);
	actor_tell(waiter, ACTOR_LOCK, 0);
	await_waiter(waiter);
	kill(pid, SIGSTOP);
	json_t *document = inspect(0, "break", words("table[0] --force"));
	const json_t *action = json_array_get(json_object_get(document, "actions"), 0);

	assert_string_equal(text_of(action, "action"), "kill");
	assert_string_equal(text_of(action, "result"), "done");
	json_decref(document);
	assert_int_equal(state_of(pid), 'Z'); // dead, and only not waited for by us
	assert_int_equal(actor_result(waiter), 0);
	assert_int_equal(actor_do(waiter, ACTOR_LOCK, 1), 0); // all else that it held is free, too
	assert_true(has_event("broken", lost));
}

static void break_clears_up_behind_the_dead_without_force(void **state)
{
	struct actor *holder = actor_start(arena, NULL);
	const uint64_t lost = actor_lease(holder);

	(void)state;
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 0), 0);
	actor_kill(holder);
	assert_int_equal(exit_of("check", arena), LH_CHECK_STALE);
	assert_int_equal(exit_of("break", words("table[0] --dry-run")), 0);
	assert_int_equal(exit_of("check", arena), LH_CHECK_STALE);
	assert_int_equal(exit_of("break", words("table[0]")), 0);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	assert_true(has_event("broken", lost));
}

// ---- gc -----------------------------------------------------------------------------------------

static void gc_clears_up_and_kills_nobody(void **state)
{
	const struct actor_options timed = { .ttl_ns = LH_MS(5) };
	struct actor *dead = actor_start(arena, NULL);
	struct actor *late = actor_start(arena, &timed);
	struct actor *live = actor_start(arena, NULL);
	const uint64_t gone = actor_lease(dead);

	(void)state;
	assert_int_equal(actor_do(dead, ACTOR_LOCK, 0), 0);
	assert_int_equal(actor_do(live, ACTOR_LOCK, 1), 0);
	while (exit_of("check", arena) != LH_CHECK_STALE)
		;
	actor_kill(dead);
	json_t *document = inspect(0, "gc", words("--dry-run"));

	assert_true(json_array_size(json_object_get(document, "actions")) >= 1);
	assert_true(json_is_true(json_object_get(document, "dry_run")));
	json_decref(document);
	assert_false(has_event("swept", 0));
	document = inspect(0, "gc", arena);
	const json_t *actions = json_object_get(document, "actions");

	assert_string_equal(text_of(entry_numbered(document, "actions", "lease", gone), "result"),
			    "done");
	assert_string_equal(
		text_of(entry_numbered(document, "actions", "lease", actor_lease(late)), "result"),
		"stays");
	assert_int_equal(json_array_size(actions), 2);
	json_decref(document);
	assert_true(has_event("swept", 0));
	json_t *leases = inspect(0, "leases", arena);

	assert_int_equal(json_array_size(json_object_get(leases, "leases")),
			 2); // the late one's too
	json_decref(leases);
	assert_int_equal(actor_do(late, ACTOR_RELEASE, 0), -ESTALE);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	assert_int_equal(actor_do(live, ACTOR_UNLOCK, 1), 0);
}

// ---- rm -----------------------------------------------------------------------------------------

static void rm_removes_an_object_when_nobody_has_the_arena_open(void **state)
{
	struct actor *actor = actor_start(arena, NULL);
	json_t *list = inspect(0, "list", arena);
	const uint64_t array = (uint64_t)number_of(entry_named(list, "placements", "name", "table"),
						   "offset");
	char inside[24];

	(void)state;
	json_decref(list);
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	assert_int_equal(exit_of("rm", words("table")), 2); // held
	assert_int_equal(actor_do(actor, ACTOR_UNLOCK, 0), 0);
	assert_int_equal(exit_of("rm", words("table")), 2); // open
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	actor_kill(actor);
	assert_int_equal(exit_of("rm", words("table --dry-run")), 0);
	assert_int_equal(exit_of("rm", words("table[3]")), 2); // which would be all of it
	assert_int_equal(exit_of("rm", words("table[0] --force")), 2);
	snprintf(inside, sizeof(inside), "%" PRIu64, array + 64);
	assert_int_equal(exit_of("rm", words(inside)), 2);
	assert_int_equal(exit_of("show", words("table")), 0);
	assert_int_equal(exit_of("rm", words("table")), 0);
	assert_int_equal(exit_of("show", words("table")), 1);
	assert_true(has_event("removed", 0));
}

static void rm_removes_an_arena_unless_leases_live(void **state)
{
	struct actor *actor = actor_start(arena, NULL);
	lh_arena *kept;

	(void)state;
	assert_int_equal(lh_arena_open(arena, LH_READ_ONLY, NULL, &kept), 0);
	assert_int_equal(exit_of("rm", arena), 2);
	assert_int_equal(exit_of("rm", words("--force --dry-run")), 0);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	assert_int_equal(exit_of("rm", words("--force")), 0);
	assert_int_equal(state_of(actor_pid(actor)), 'Z');
	assert_int_equal(exit_of("check", arena), 1);

	struct lh_event_info event = { .kind = 0 }, last = { .kind = 0 };
	uint64_t cursor = 0;

	while (lh_next_event(kept, &cursor, &event) == 0)
		last = event;
	assert_int_equal(last.kind, LH_EVENT_REMOVED);
	assert_int_equal(lh_arena_close(kept), 0);
}

static void rm_removes_what_is_no_arena_by_force_alone(void **state)
{
	char path[96];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm/%s", arena);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(exit_of("rm", arena), 2);
	assert_int_equal(access(path, F_OK), 0);
	for (int i = 0; i < 2; i++) {
		json_t *document = inspect(0, "rm", words(i ? "--force" : "--force --dry-run"));
		const json_t *action = json_array_get(json_object_get(document, "actions"), 0);

		assert_string_equal(text_of(action, "action"), "remove");
		assert_string_equal(text_of(action, "result"), i ? "done" : "would be done");
		json_decref(document);
		assert_int_equal(access(path, F_OK), i ? -1 : 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_arena, end_arena)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(break_refuses_a_living_owner_and_changes_nothing),
		TEST(force_makes_a_lease_with_a_ttl_expire_at_once),
		TEST(force_kills_an_owner_without_ttl),
		TEST(break_clears_up_behind_the_dead_without_force),
		TEST(gc_clears_up_and_kills_nobody),
		TEST(rm_removes_an_object_when_nobody_has_the_arena_open),
		TEST(rm_removes_an_arena_unless_leases_live),
		TEST(rm_removes_what_is_no_arena_by_force_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
