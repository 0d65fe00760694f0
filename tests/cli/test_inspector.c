// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector shows what there is: live, held, waited for, lost, deadlocked.
// ctest: TIMEOUT 120

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/cli/inspector_test.h"
#include "tests/support/actor.h"

static char arena[64];

static int new_arena(void **state)
{
	static unsigned number;

	(void)state;
	snprintf(arena, sizeof(arena), "inspector-test-%d-%u", (int)getpid(), number++);
	return 0;
}

static int end_arena(void **state)
{
	actors_end(state);
	lh_arena_unlink(arena);
	return 0;
}

// Looks are repeated until the lease waits or does not; the test's time limit bounds that.
static void await_wait(const struct actor *actor, bool waiting)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (;;) {
		json_t *leases = inspect(0, "leases", arena);
		const json_t *lease = entry_numbered(leases, "leases", "id", actor_lease(actor));
		const bool waits = number_of(lease, "waits_for") > 0;

		json_decref(leases);
		if (waits == waiting)
			return;
		nanosleep(&pause, NULL);
	}
}

// The same; the pauses only keep the looks from taking the whole processor.
static void await_check(int code)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	while (exit_of("check", arena) != code)
		nanosleep(&pause, NULL);
}

// ---- list ---------------------------------------------------------------------------------------

static void list_shows_the_arenas(void **state)
{
	struct actor *actor = actor_start(arena, NULL);

	(void)state;
	actor_do(actor, ACTOR_LOCK, 1);
	json_t *arenas = inspect(0, "list", "");
	const json_t *entry = entry_named(arenas, "arenas", "name", arena);

	assert_non_null(entry);
	assert_int_equal(number_of(entry, "size"), 1 << 20);
	assert_int_equal(number_of(entry, "placements"), 1);
	assert_int_equal(number_of(entry, "leases"), 1);
	assert_int_equal(number_of(entry, "lost"), 0);
	assert_int_equal(number_of(entry, "holds"), 1);
	assert_int_equal(number_of(entry, "waiting"), 0);
	assert_string_equal(text_of(entry, "check"), "clean");
	assert_string_equal(text_of(entry, "mode"), "0600");
	json_decref(arenas);
}

static const char *first_word(const json_t *entry, const char *key)
{
	const char *word = json_string_value(json_array_get(json_object_get(entry, key), 0));

	return word ? word : "";
}

static void list_shows_placements_and_their_holders(void **state)
{
	const struct actor_options named = { .label = "other", .command = "also" };
	struct actor *actor = actor_start(arena, NULL);
	struct actor *other = actor_start(arena, &named);
	const struct lh_mutex_options element = { .data_size = ACTOR_DATA_SIZE };
	char words[80];

	(void)state;
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 2), 0);
	assert_int_equal(actor_do(actor, ACTOR_REGION, 1000), 0);
	actor_tell(other, ACTOR_LOCK, 2);
	await_wait(other, true);
	json_t *places = inspect(0, "list", arena);
	const json_t *table = entry_named(places, "placements", "name", ACTOR_TABLE);
	const json_t *region = entry_named(places, "placements", "kind", "region");
	const json_t *holder = json_array_get(json_object_get(table, "holders"), 0);

	assert_int_equal(json_array_size(json_object_get(places, "placements")), 2);
	assert_string_equal(text_of(table, "kind"), "mutex");
	assert_string_equal(text_of(table, "state"), "held");
	assert_string_equal(text_of(table, "mode"), "exclusive");
	assert_int_equal(number_of(table, "pid"), actor_pid(actor));
	assert_true(number_of(table, "longest_wait_ns") > 0);
	assert_int_equal(number_of(table, "count"), ACTOR_MUTEXES);
	assert_int_equal(number_of(table, "data_size"), ACTOR_DATA_SIZE);
	assert_int_equal(number_of(table, "size"), ACTOR_MUTEXES * lh_mutex_footprint(&element));
	assert_int_equal(number_of(table, "waiters"), 1);
	assert_int_equal(json_array_size(json_object_get(table, "holders")), 1);
	assert_int_equal(number_of(holder, "lease"), actor_lease(actor));
	assert_int_equal(number_of(holder, "pid"), actor_pid(actor));
	assert_int_equal(number_of(holder, "index"), 2);
	assert_string_equal(text_of(holder, "mode"), "exclusive");
	assert_true(number_of(holder, "token") >= 1);
	assert_int_equal(number_of(region, "size"), 1024);
	assert_int_equal(number_of(region, "lease"), actor_lease(actor));
	assert_string_equal(first_word(table, "flags"), "array");
	assert_string_equal(first_word(region, "flags"), "leased");
	assert_true(json_is_null(json_object_get(table, "held_ns"))); // no clock was read for it
	json_decref(places);

	// Who has waited read one.
	assert_int_equal(actor_do(actor, ACTOR_UNLOCK, 2), 0);
	assert_int_equal(actor_result(other), 0);
	snprintf(words, sizeof(words), "%s --all", arena);
	places = inspect(0, "list", words);
	table = entry_named(places, "placements", "name", ACTOR_TABLE "[2]");
	assert_true(number_of(table, "held_ns") > 0);
	assert_string_equal(text_of(table, "label"), "other");
	assert_string_equal(text_of(table, "command"), "also");
	assert_int_equal(number_of(table, "pid"), actor_pid(other));
	assert_int_equal(number_of(table, "waiters"), 0);
	assert_true(json_is_null(json_object_get(table, "longest_wait_ns")));
	assert_int_equal(number_of(table, "token"), 2);
	json_decref(places);

	// And who follows the dead is told, as is who looks.
	actor_kill(other);
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 2), 0);
	places = inspect(0, "list", words);
	table = entry_named(places, "placements", "name", ACTOR_TABLE "[2]");
	assert_string_equal(first_word(table, "flags"), "damaged");
	assert_int_equal(number_of(table, "token"), 3);
	json_decref(places);
}

// ---- leases -------------------------------------------------------------------------------------

static void leases_shows_owner_expiry_and_wait(void **state)
{
	const struct actor_options timed = { .label = "timed",
					     .command = "sleepy",
					     .ttl_ns = LH_SEC(3600),
					     .flags = LH_LEASE_KILL_ON_EXPIRY };
	struct actor *holder = actor_start(arena, NULL);
	struct actor *waiter = actor_start(arena, &timed);

	(void)state;
	actor_do(holder, ACTOR_LOCK, 3);
	actor_tell(waiter, ACTOR_LOCK, 3);
	await_wait(waiter, true);
	json_t *leases = inspect(0, "leases", arena);
	const json_t *held = entry_numbered(leases, "leases", "id", actor_lease(holder));
	const json_t *waits = entry_numbered(leases, "leases", "id", actor_lease(waiter));

	assert_int_equal(json_array_size(json_object_get(leases, "leases")), 2);
	assert_string_equal(text_of(held, "state"), "live");
	assert_int_equal(number_of(held, "pid"), actor_pid(holder));
	assert_int_equal(number_of(held, "tid"), actor_pid(holder));
	assert_string_equal(text_of(held, "label"), "");
	assert_true(json_is_null(json_object_get(held, "expires_ns")));
	assert_true(json_is_null(json_object_get(held, "waits_for_name")));
	assert_int_equal(number_of(held, "holds"), 1);
	assert_string_equal(text_of(waits, "label"), "timed");
	assert_string_equal(text_of(waits, "command"), "sleepy");
	assert_string_equal(text_of(waits, "waits_for_name"), ACTOR_TABLE "[3]");
	assert_true(number_of(waits, "waits_since_ns") > 0);
	assert_true(number_of(waits, "remaining_ns") > 0);
	assert_true(number_of(waits, "remaining_ns") <= (json_int_t)(LH_SEC(3600) + LH_MS(1)));
	assert_string_equal(json_string_value(json_array_get(json_object_get(waits, "flags"), 0)),
			    "kill-on-expiry");
	assert_true(json_is_false(json_object_get(waits, "other_pid_namespace")));
	json_decref(leases);
}

static void an_expired_lease_is_shown_as_such(void **state)
{
	const struct actor_options timed = { .ttl_ns = LH_MS(5) };
	struct actor *actor = actor_start(arena, &timed);

	(void)state;
	await_check(LH_CHECK_STALE);
	json_t *leases = inspect(0, "leases", arena);
	const json_t *lease = entry_numbered(leases, "leases", "id", actor_lease(actor));

	assert_string_equal(text_of(lease, "state"), "expired");
	assert_int_equal(number_of(lease, "remaining_ns"), 0);
	json_decref(leases);
	assert_int_equal(actor_do(actor, ACTOR_RELEASE, 0), -ESTALE);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
}

// ---- tree ---------------------------------------------------------------------------------------

static void tree_puts_waiters_below_what_is_held(void **state)
{
	struct actor *first = actor_start(arena, &(struct actor_options){ .label = "first" });
	struct actor *second = actor_start(arena, &(struct actor_options){ .label = "second" });
	struct actor *third = actor_start(arena, &(struct actor_options){ .label = "third" });
	struct actor *idle = actor_start(arena, &(struct actor_options){ .label = "idle" });
	int code;

	(void)state;
	actor_do(third, ACTOR_LOCK, 0);
	actor_do(second, ACTOR_LOCK, 1);
	actor_tell(second, ACTOR_LOCK, 0);
	await_wait(second, true);
	actor_tell(first, ACTOR_LOCK, 1);
	await_wait(first, true);

	json_t *tree = inspect(0, "tree", arena);
	const json_t *middle = entry_numbered(tree, "leases", "id", actor_lease(second));
	const json_t *hold = json_array_get(json_object_get(middle, "holds"), 0);

	assert_null(entry_numbered(tree, "leases", "id", actor_lease(idle)));
	assert_int_equal(first_number(hold, "waiters"), actor_lease(first));
	assert_int_equal(first_number(json_object_get(middle, "waits_for"), "holders"),
			 actor_lease(third));
	assert_true(json_is_false(json_object_get(middle, "deadlock")));
	json_decref(tree);

	struct output output = inspector(&code, "tree %s", arena);
	const char *top = strstr(output.out, "\"third\"");
	const char *below = top ? strstr(top, "\"second\"") : NULL;

	assert_int_equal(code, 0);
	assert_non_null(below);
	assert_non_null(strstr(below, "\"first\""));
	assert_null(strstr(output.out, "\"idle\""));
	assert_null(strstr(output.out, "DEADLOCK"));
	output_free(&output);
	output = inspector(&code, "tree %s --all", arena);
	assert_non_null(strstr(output.out, "\"idle\""));
	output_free(&output);
}

// The victim of a deadlock, the lease with the highest slot, is told when it runs. While it is
// stopped it cannot be, so the cycle stands until it goes on.
static void a_cycle_with_a_stopped_victim_is_a_deadlock(void **state)
{
	struct actor *a = actor_start(arena, NULL);
	struct actor *b = actor_start(arena, NULL);
	json_t *leases = inspect(0, "leases", arena);
	const json_int_t slot_a = number_of(entry_numbered(leases, "leases", "id", actor_lease(a)),
					    "slot");
	const json_int_t slot_b = number_of(entry_numbered(leases, "leases", "id", actor_lease(b)),
					    "slot");
	struct actor *victim = slot_a > slot_b ? a : b;
	struct actor *other = victim == a ? b : a;
	int code;

	(void)state;
	json_decref(leases);
	actor_do(victim, ACTOR_LOCK, 0);
	actor_do(other, ACTOR_LOCK, 1);
	actor_tell(victim, ACTOR_LOCK, 1);
	await_wait(victim, true);
	kill(actor_pid(victim), SIGSTOP);
	actor_tell(other, ACTOR_LOCK, 0);
	await_check(LH_CHECK_DEADLOCK);

	json_t *check = inspect(LH_CHECK_DEADLOCK, "check", arena);

	assert_string_equal(text_of(check, "result"), "deadlock");
	assert_non_null(entry_named(check, "findings", "severity", "deadlock"));
	json_decref(check);
	json_t *tree = inspect(0, "tree", arena);
	const json_t *lease;
	size_t i;

	json_array_foreach(json_object_get(tree, "leases"), i, lease)
		assert_true(json_is_true(json_object_get(lease, "deadlock")));
	assert_int_equal(i, 2);
	json_decref(tree);
	struct output output = inspector(&code, "tree %s", arena);

	assert_non_null(strstr(output.out, "DEADLOCK: the cycle closes"));
	output_free(&output);

	kill(actor_pid(victim), SIGCONT);
	assert_int_equal(actor_result(victim), -EDEADLK);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	assert_int_equal(actor_do(victim, ACTOR_UNLOCK, 0), 0);
	assert_int_equal(actor_result(other), 0);
	json_t *history = inspect(0, "history", arena);
	const json_t *event = entry_named(history, "events", "kind", "deadlock");

	assert_int_equal(number_of(event, "lease"), actor_lease(victim));
	json_decref(history);
}

// Waits for a handle of its own, with a deadline: so it stands in that cycle for as long.
static void wait_for_oneself(void)
{
	const struct lh_acquire_options options = { .flags = LH_ACQUIRE_THIS_THREAD };
	lh_handle *handle, *other;
	lh_locks *locks;
	char url[80];

	alarm(100);
	snprintf(url, sizeof(url), "shm://%s", arena);
	if (lh_locks_open(url, &locks) == 0 &&
	    lh_acquire(locks, "key", LH_NOW, &options, &handle) == 0)
		(void)!lh_acquire(locks, "key", lh_deadline_after(LH_SEC(90)), NULL, &other);
	_exit(1);
}

// What a handle holds is in a cycle though its lease does not wait: its thread does, with another.
static void a_cycle_by_way_of_a_thread_is_a_deadlock(void **state)
{
	const pid_t child = fork();
	const json_t *lease;
	size_t i, hops = 0;
	int code, status;

	(void)state;
	assert_true(child >= 0);
	if (child == 0)
		wait_for_oneself();
	await_check(LH_CHECK_DEADLOCK);
	json_t *tree = inspect(0, "tree", arena);

	json_array_foreach(json_object_get(tree, "leases"), i, lease)
	{
		assert_true(json_is_true(json_object_get(lease, "deadlock")));
		hops += json_is_integer(json_object_get(lease, "thread_waits_with"));
	}
	assert_int_equal(i, 2);
	assert_int_equal(hops, 1);
	json_decref(tree);
	struct output output = inspector(&code, "tree %s", arena);

	assert_non_null(strstr(output.out, "DEADLOCK: the cycle closes"));
	output_free(&output);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
}

// ---- check, history -----------------------------------------------------------------------------

// G2, as a reader sees it: stale as long as nobody wants anything, clean once somebody did.
static void a_killed_holder_is_stale_until_the_next_grant(void **state)
{
	struct actor *heir = actor_start(arena, NULL);
	struct actor *holder = actor_start(arena, NULL);
	const uint64_t lost = actor_lease(holder);
	const pid_t pid = actor_pid(holder);

	(void)state;
	actor_do(holder, ACTOR_LOCK, 1);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	kill(pid, SIGSTOP);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	actor_kill(holder);

	json_t *check = inspect(LH_CHECK_STALE, "check", arena);

	assert_string_equal(text_of(check, "result"), "stale");
	json_decref(check);
	json_t *leases = inspect(0, "leases", arena);

	assert_string_equal(text_of(entry_numbered(leases, "leases", "id", lost), "state"), "dead");
	json_decref(leases);

	assert_int_equal(actor_do(heir, ACTOR_LOCK, 1), 0);
	// The heir has the lock before it has cleared away everything else that the dead left.
	await_check(LH_CHECK_CLEAN);
	json_t *tree = inspect(0, "tree", arena);
	const json_t *hold = json_array_get(
		json_object_get(entry_numbered(tree, "leases", "id", actor_lease(heir)), "holds"),
		0);

	assert_true(json_is_true(json_object_get(hold, "damaged")));
	json_decref(tree);
	assert_int_equal(actor_do(heir, ACTOR_CONSISTENT, 1), 0);

	json_t *history = inspect(0, "history", arena);
	const json_t *event = entry_named(history, "events", "object", ACTOR_TABLE "[1]");

	assert_string_equal(text_of(event, "kind"), "owner-died");
	assert_int_equal(number_of(event, "pid"), pid);
	assert_int_equal(number_of(event, "lease"), lost);
	assert_int_equal(number_of(event, "by_pid"), actor_pid(heir));
	json_decref(history);
}

// All bytes of it, of which there are *ret_size; to be freed.
static unsigned char *bytes_of_arena(size_t *ret_size)
{
	struct stat status = { .st_size = 0 };
	char path[96];

	snprintf(path, sizeof(path), "/dev/shm/%s", arena);
	const int file = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(fstat(file, &status), 0);
	unsigned char *bytes = (unsigned char *)malloc((size_t)status.st_size);

	assert_non_null(bytes);
	assert_int_equal(read(file, bytes, (size_t)status.st_size), status.st_size);
	close(file);
	*ret_size = (size_t)status.st_size;
	return bytes;
}

static void looking_changes_nothing(void **state)
{
	static const char *const verbs[][2] = {
		{ "list", "" },
		{ "leases", "" },
		{ "tree", "" },
		{ "history", "" },
		{ "check", "" },
		{ "procs", "" },
		{ "dot", "" },
		{ "metrics", "" },
		{ "show", "table[0]" },
		{ "top", "--count 2 --delay 0.001" },
		{ "arenas", NULL },
		{ "break", "table[0] --dry-run" },
		{ "gc", "--dry-run" },
		{ "rm", "--dry-run" },
		{ "rm", "table --dry-run" },
		{ "break", "table[0] --dry-run --force" },
	};
	struct actor *actor = actor_start(arena, NULL);
	size_t size, size_after;

	(void)state;
	actor_do(actor, ACTOR_LOCK, 0);
	actor_kill(actor);
	unsigned char *before = bytes_of_arena(&size);

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		char words[96] = "";

		if (verbs[i][1])
			snprintf(words, sizeof(words), "%s %s", arena, verbs[i][1]);
		assert_int_equal(exit_of(verbs[i][0], words),
				 strcmp(verbs[i][0], "check") == 0 ? LH_CHECK_STALE : 0);
		unsigned char *after = bytes_of_arena(&size_after);

		assert_int_equal(size, size_after);
		if (memcmp(before, after, size) != 0)
			fail_msg("%s %s has changed the arena", verbs[i][0], words);
		free(after);
	}
	free(before);
}

// ---- options ------------------------------------------------------------------------------------

static void numbers_are_exact_and_headings_absent_on_demand(void **state)
{
	const struct actor_options timed = { .ttl_ns = LH_SEC(3600) };
	struct actor *actor = actor_start(arena, &timed);
	int code;

	(void)state;
	actor_do(actor, ACTOR_REGION, 4096);
	struct output output = inspector(&code, "list %s --bytes --noheadings -o offset,size,type",
					 arena);

	assert_null(strstr(output.out, "OFFSET"));
	assert_non_null(strstr(output.out, " 4096 region"));
	output_free(&output);
	output = inspector(&code, "list %s -o offset,size,type", arena);
	assert_non_null(strstr(output.out, "OFFSET"));
	assert_non_null(strstr(output.out, " 4.0K region"));
	output_free(&output);
	output = inspector(&code, "leases %s --ns", arena);
	assert_null(strstr(output.out, "59m"));
	output_free(&output);
	output = inspector(&code, "leases %s", arena);
	assert_non_null(strstr(output.out, "59m"));
	output_free(&output);
}

static void watch_looks_again_and_again(void **state)
{
	char command[256];
	char line[4096];

	(void)state;
	actor_start(arena, NULL);
	snprintf(
		command, sizeof(command),
		"exec \"$LEASEHOLD_BIN/lease-inspector\" leases %s --json --watch 0.01 2>/dev/null",
		arena);
	FILE *watch = popen(command, "re");

	assert_non_null(watch);
	for (int i = 0; i < 3; i++) {
		assert_non_null(fgets(line, sizeof(line), watch));
		json_t *document = json_loads(line, 0, NULL);

		assert_int_equal(json_array_size(json_object_get(document, "leases")), 1);
		json_decref(document);
	}
	// It ends, with an error, when there is nothing to look at any more.
	lh_arena_unlink(arena);
	while (fgets(line, sizeof(line), watch))
		;
	assert_int_equal(WEXITSTATUS(pclose(watch)), 1);
}

static void labels_and_commands_cannot_reach_the_terminal(void **state)
{
	const struct actor_options hostile = { .label = "a\033[2Jb", .command = "c\033[31m\x9b" };
	static const char *const verbs[] = { "leases", "tree --all", "leases --json",
					     "procs",  "dot --all",  "top --count 1" };
	int code;

	(void)state;
	actor_start(arena, &hostile);
	for (size_t v = 0; v < sizeof(verbs) / sizeof(verbs[0]); v++) {
		struct output output = inspector(&code, "%s %s", verbs[v], arena);

		assert_int_equal(code, 0);
		assert_null(strchr(output.out, '\033'));
		assert_null(strchr(output.out, '\x9b'));
		output_free(&output);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_arena, end_arena)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(list_shows_the_arenas),
		TEST(list_shows_placements_and_their_holders),
		TEST(leases_shows_owner_expiry_and_wait),
		TEST(an_expired_lease_is_shown_as_such),
		TEST(tree_puts_waiters_below_what_is_held),
		TEST(a_cycle_with_a_stopped_victim_is_a_deadlock),
		TEST(a_cycle_by_way_of_a_thread_is_a_deadlock),
		TEST(a_killed_holder_is_stale_until_the_next_grant),
		TEST(looking_changes_nothing),
		TEST(numbers_are_exact_and_headings_absent_on_demand),
		TEST(watch_looks_again_and_again),
		TEST(labels_and_commands_cannot_reach_the_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
