// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector's show, list, procs, dot, metrics and arenas say what there is, with a process
// that was killed, one that is stopped and one that waits in sight.
// ctest: TIER full only a change of lease-inspector would change it
// ctest: TIMEOUT 120

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/cli/inspector_test.h"
#include "tests/support/actor.h"
#include "tests/support/tier.h"

static char arena[64];

static int new_arena(void **state)
{
	static unsigned number;

	(void)state;
	snprintf(arena, sizeof(arena), "inspector-verbs-%d-%u", (int)getpid(), number++);
	return 0;
}

static int end_arena(void **state)
{
	actors_end(state);
	lh_arena_unlink(arena);
	return 0;
}

// Looks are repeated until that many wait for the object; the test's time limit bounds that. Their
// ids are in the order of the document.
static json_t *show_with_waiters(const char *object, size_t waiters)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	char words[160];

	snprintf(words, sizeof(words), "%s %s", arena, object);
	for (;;) {
		json_t *document = inspect(0, "show", words);

		if (json_array_size(json_object_get(document, "waiters")) == waiters)
			return document;
		json_decref(document);
		nanosleep(&pause, NULL);
	}
}

static json_t *first(const json_t *document, const char *list)
{
	return json_array_get(json_object_get(document, list), 0);
}

// ---- show ---------------------------------------------------------------------------------------

static void show_tells_holder_waiters_in_order_and_token(void **state)
{
	struct actor *holder = actor_start(
		arena, &(struct actor_options){ .label = "h", .command = "holding" });
	struct actor *second = actor_start(arena, NULL);
	struct actor *third = actor_start(arena, NULL);

	(void)state;
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 2), 0);
	actor_tell(third, ACTOR_LOCK, 2);
	json_decref(show_with_waiters("table[2]", 1));
	actor_tell(second, ACTOR_LOCK, 2);
	json_t *document = show_with_waiters("table[2]", 2);
	const json_t *object = json_object_get(document, "object");
	const json_t *has = first(document, "holders");
	const json_t *waiter = first(document, "waiters");

	assert_string_equal(text_of(object, "object"), "table[2]");
	assert_string_equal(text_of(object, "kind"), "mutex");
	assert_string_equal(text_of(object, "state"), "held");
	assert_int_equal(number_of(object, "index"), 2);
	assert_int_equal(number_of(object, "token"), 1);
	assert_int_equal(number_of(object, "data_size"), ACTOR_DATA_SIZE);
	assert_int_equal(number_of(has, "lease"), actor_lease(holder));
	assert_int_equal(number_of(has, "pid"), actor_pid(holder));
	assert_string_equal(text_of(has, "command"), "holding");
	assert_string_equal(text_of(has, "label"), "h");
	assert_string_equal(text_of(has, "mode"), "exclusive");
	assert_int_equal(number_of(waiter, "lease"), actor_lease(third));
	assert_true(
		number_of(waiter, "waited_ns") >=
		number_of(json_array_get(json_object_get(document, "waiters"), 1), "waited_ns"));

	// The same by its offset, of the element and of the array.
	char offset[128];
	snprintf(offset, sizeof(offset), "%s %lld", arena, (long long)number_of(object, "offset"));
	json_t *same = inspect(0, "show", offset);

	assert_string_equal(text_of(json_object_get(same, "object"), "object"), "table[2]");
	json_decref(same);
	snprintf(offset, sizeof(offset), "%s mutex@%lld[2]", arena,
		 (long long)number_of(object, "placement"));
	same = inspect(0, "show", offset);
	assert_string_equal(text_of(json_object_get(same, "object"), "object"), "table[2]");
	json_decref(same);
	json_decref(document);
}

// G12, as a reader sees it: what the dead left is damaged, whoever held it, until it is declared
// good.
static void show_tells_damage_and_what_was_recovered(void **state)
{
	struct actor *holder = actor_start(arena, NULL);
	struct actor *heir = actor_start(arena, NULL);
	char words[96];

	(void)state;
	snprintf(words, sizeof(words), "%s table[1]", arena);
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 1), 0);
	const pid_t dead = actor_pid(holder);
	actor_kill(holder);
	json_t *document = inspect(0, "show", words);

	assert_string_equal(text_of(json_object_get(document, "object"), "state"), "lost");
	assert_string_equal(text_of(first(document, "holders"), "process_state"), "gone");
	json_decref(document);
	assert_int_equal(actor_do(heir, ACTOR_LOCK, 1), 0);
	assert_int_equal(actor_do(heir, ACTOR_UNLOCK, 1), 0);
	document = inspect(0, "show", words);
	assert_string_equal(text_of(json_object_get(document, "object"), "state"), "free");
	assert_string_equal(json_string_value(first(json_object_get(document, "object"), "flags")),
			    "damaged");
	assert_int_equal(number_of(json_object_get(document, "object"), "token"), 2);
	assert_int_equal(number_of(first(document, "events"), "pid"), dead);
	assert_string_equal(text_of(first(document, "events"), "kind"), "owner-died");
	json_decref(document);
}

static void what_is_not_there_is_no_match(void **state)
{
	static const char *const objects[] = { "nothing", "table[4]",  "table[",    "table[]",
					       "1",       "999999999", "mutex@1",   "table[-1]",
					       "@",       "[0]",       "table[0x]", "''" };
	char words[96];
	int code;

	(void)state;
	actor_start(arena, NULL);
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		snprintf(words, sizeof(words), "%s %s", arena, objects[i]);
		assert_int_equal(exit_of("show", words), 1);
	}
	struct output output = inspector(&code, "show %s table[3]", arena);

	assert_int_equal(code, 0);
	assert_non_null(strstr(output.out, "table[3]"));
	output_free(&output);
}

// ---- list ---------------------------------------------------------------------------------------

static void list_has_the_columns_that_are_asked_for(void **state)
{
	struct actor *actor = actor_start(arena, &(struct actor_options){ .label = "l" });
	int code;

	(void)state;
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	struct output output = inspector(&code, "list %s", arena);

	for (const char *const *word =
		     (const char *const[]){ "NAME", "TYPE", "OFFSET", "STATE", "MODE", "PID",
					    "COMMAND", "LABEL", "HELD", "WAITERS", "WAITED",
					    "TOKEN", "FLAGS", NULL };
	     *word; word++)
		assert_non_null(strstr(output.out, *word));
	assert_null(strstr(output.out, "SIZE"));
	output_free(&output);
	output = inspector(&code, "list %s -o +size,NAME", arena);
	assert_non_null(strstr(output.out, "FLAGS"));
	assert_non_null(strstr(output.out, " SIZE"));
	output_free(&output);
	output = inspector(&code, "list %s --noheadings --raw -o mode,name,label", arena);
	assert_string_equal(output.out, "exclusive table l\n");
	output_free(&output);
	output = inspector(&code, "list %s --json -o name,pid", arena);
	json_t *document = json_loads(output.out, 0, NULL);
	const json_t *row = first(document, "placements");

	assert_int_equal(json_object_size(row), 2);
	assert_int_equal(number_of(row, "pid"), actor_pid(actor));
	json_decref(document);
	output_free(&output);
	output = inspector(&code, "list %s --all --json", arena);
	document = json_loads(output.out, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(document, "placements")),
			 1 + ACTOR_MUTEXES);
	assert_string_equal(
		text_of(entry_named(document, "placements", "name", "table[0]"), "state"), "held");
	assert_string_equal(
		text_of(entry_named(document, "placements", "name", "table[1]"), "state"), "free");
	json_decref(document);
	output_free(&output);
}

// G9, as a reader sees it: a damaged element hides none of the others.
static void a_damaged_element_is_shown_and_the_next_ones_too(void **state)
{
	struct lh_placement_info place;
	struct lh_object_info element;
	uint64_t cursor = 0;
	lh_arena *writer;
	char words[96];

	(void)state;
	actor_start(arena, NULL);
	assert_int_equal(lh_arena_open(arena, 0, NULL, &writer), 0);
	do
		assert_int_equal(lh_next_placement(writer, &cursor, &place), 0);
	while (strcmp(place.name, "table") != 0);
	for (uint32_t index = 2; index >= 1; index--) { // then the second, which tells their size
		assert_int_equal(lh_inspect_object(writer, &place, index, &element), 0);
		memset(lh_arena_range(writer, element.offset, 64), 0xff, 64);
		snprintf(words, sizeof(words), "%s --all", arena);
		json_t *list = inspect(0, "list", words);

		assert_int_equal(json_array_size(json_object_get(list, "placements")),
				 1 + ACTOR_MUTEXES);
		assert_int_equal(
			number_of(json_array_get(json_object_get(list, "placements"), 1 + index),
				  "offset"),
			element.offset);
		snprintf(words, sizeof(words), "table[%u]", index);
		assert_string_equal(
			text_of(entry_named(list, "placements", "name", words), "state"),
			"corrupt");
		assert_string_equal(
			text_of(entry_named(list, "placements", "name", "table[3]"), "state"),
			"free");
		json_decref(list);
		snprintf(words, sizeof(words), "%s table[%u]", arena, index);
		json_t *shown = inspect(0, "show", words);

		assert_string_equal(text_of(json_object_get(shown, "object"), "state"), "corrupt");
		json_decref(shown);
	}
	assert_int_equal(lh_arena_close(writer), 0);
}

// In a terminal: see test_inspector_top.sh.
static void colours_do_not_go_into_a_pipe_unless_asked_for(void **state)
{
	struct actor *actor = actor_start(arena, NULL);
	int code;

	(void)state;
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	struct output output = inspector(&code, "leases %s", arena);

	assert_null(strchr(output.out, '\033'));
	output_free(&output);
	output = inspector(&code, "leases %s --color=always", arena);
	assert_non_null(strchr(output.out, '\033'));
	output_free(&output);
}

// ---- procs --------------------------------------------------------------------------------------

static void procs_tells_the_killed_the_stopped_and_the_waiting_apart(void **state)
{
	struct actor *killed = actor_start(arena, NULL);
	struct actor *stopped = actor_start(arena, &(struct actor_options){ .command = "stands" });
	struct actor *waiting = actor_start(arena, NULL);
	const struct timespec pause = { .tv_nsec = 1000000 };
	const pid_t dead = actor_pid(killed);
	json_t *document = NULL;

	(void)state;
	assert_int_equal(actor_do(killed, ACTOR_LOCK, 0), 0);
	assert_int_equal(actor_do(stopped, ACTOR_LOCK, 1), 0);
	actor_tell(waiting, ACTOR_LOCK, 1);
	actor_kill(killed);
	kill(actor_pid(stopped), SIGSTOP);
	for (;;) {
		document = inspect(0, "procs", arena);
		const json_t *waits = entry_numbered(document, "processes", "pid",
						     (uint64_t)actor_pid(waiting));
		const json_t *stands = entry_numbered(document, "processes", "pid",
						      (uint64_t)actor_pid(stopped));

		if (number_of(waits, "waits") == 1 &&
		    strcmp(text_of(stands, "state"), "stopped") == 0)
			break;
		json_decref(document);
		nanosleep(&pause, NULL);
	}
	const json_t *gone = entry_numbered(document, "processes", "pid", (uint64_t)dead);
	const json_t *waits = entry_numbered(document, "processes", "pid",
					     (uint64_t)actor_pid(waiting));
	const json_t *stands = entry_numbered(document, "processes", "pid",
					      (uint64_t)actor_pid(stopped));

	assert_string_equal(text_of(gone, "state"), "gone");
	assert_true(json_is_false(json_object_get(gone, "open")));
	assert_int_equal(number_of(gone, "lost"), 1);
	assert_string_equal(text_of(stands, "command"), "stands");
	assert_true(json_is_true(json_object_get(stands, "open")));
	assert_int_equal(number_of(stands, "holds"), 1);
	assert_true(number_of(waits, "longest_wait_ns") > 0);
	assert_true(json_is_true(json_object_get(waits, "open")));
	assert_true(json_is_false(json_object_get(waits, "keeper")));
	json_decref(document);
	kill(actor_pid(stopped), SIGCONT);
}

static void procs_tells_where_the_keeper_runs(void **state)
{
	const struct actor_options process = { .flags = LH_LEASE_PROCESS, .command = "keeps" };
	struct actor *actor = actor_start(arena, &process);

	(void)state;
	json_t *document = inspect(0, "procs", arena);
	const json_t *row = entry_numbered(document, "processes", "pid",
					   (uint64_t)actor_pid(actor));

	assert_true(json_is_true(json_object_get(row, "keeper")));
	assert_string_equal(text_of(row, "command"), "keeps");
	json_decref(document);
	document = inspect(0, "leases", arena);
	assert_string_equal(text_of(first(document, "leases"), "command"), "keeps");
	json_decref(document);
}

// ---- arenas, dot, metrics -----------------------------------------------------------------------

static void arenas_counts_processes(void **state)
{
	(void)state;
	actor_start(arena, NULL);
	actor_start(arena, NULL);
	json_t *document = inspect(0, "arenas", "");
	const json_t *row = entry_named(document, "arenas", "name", arena);

	assert_int_equal(number_of(row, "processes"), 2);
	assert_string_equal(text_of(row, "layout"), "ok");
	assert_string_equal(text_of(row, "check"), "clean");
	json_decref(document);
}

static void dot_draws_waits_and_holds(void **state)
{
	struct actor *holder = actor_start(arena, &(struct actor_options){ .label = "a\"b" });
	struct actor *waiter = actor_start(arena, NULL);
	char edge[96];
	int code;

	(void)state;
	assert_int_equal(actor_do(holder, ACTOR_LOCK, 0), 0);
	actor_tell(waiter, ACTOR_LOCK, 0);
	json_t *document = show_with_waiters("table[0]", 1);
	const json_int_t offset = number_of(json_object_get(document, "object"), "offset");

	json_decref(document);
	struct output output = inspector(&code, "dot %s", arena);

	assert_int_equal(code, 0);
	assert_int_equal(strncmp(output.out, "digraph ", 8), 0);
	snprintf(edge, sizeof(edge), "lease%" PRIu64 " -> object%lld", actor_lease(waiter),
		 (long long)offset);
	assert_non_null(strstr(output.out, edge));
	snprintf(edge, sizeof(edge), "object%lld -> lease%" PRIu64, (long long)offset,
		 actor_lease(holder));
	assert_non_null(strstr(output.out, edge));
	assert_non_null(strstr(output.out, "a\\\"b"));
	output_free(&output);
}

static void metrics_is_open_metrics_and_replaces_its_file(void **state)
{
	struct actor *actor = actor_start(arena, NULL);
	char path[96], sample[160];
	struct stat status;
	int code;

	(void)state;
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	assert_int_equal(actor_do(actor, ACTOR_UNLOCK, 0), 0);
	assert_int_equal(actor_do(actor, ACTOR_LOCK, 0), 0);
	struct output output = inspector(&code, "metrics %s", arena);
	const size_t size = strlen(output.out);

	assert_int_equal(code, 0);
	assert_true(size > 6 && strcmp(output.out + size - 6, "# EOF\n") == 0);
	snprintf(sample, sizeof(sample), "\nleasehold_leases{arena=\"%s\",state=\"live\"} 1\n",
		 arena);
	assert_non_null(strstr(output.out, sample));
	snprintf(sample, sizeof(sample),
		 "\nleasehold_object_grants_total{arena=\"%s\",object=\"table\",offset=\"", arena);
	const char *grants = strstr(output.out, sample);

	assert_non_null(grants);
	assert_int_equal(strncmp(strstr(grants, "\"} "), "\"} 2\n", 5), 0);
	output_free(&output);

	snprintf(path, sizeof(path), "/dev/shm/%s.prom", arena);
	// Who reads the old file reads on in it, and finds the new one whole by its name.
	const int old = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_int_equal(write(old, "old", 3), 3);
	output = inspector(&code, "metrics %s -o %s", arena, path);
	assert_int_equal(code, 0);
	assert_int_equal(pread(old, sample, sizeof(sample), 0), 3);
	assert_int_equal(fstat(old, &status), 0);
	assert_int_equal(status.st_nlink, 0);
	close(old);
	assert_string_equal(output.out, "");
	output_free(&output);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, size);
	assert_int_equal(status.st_mode & 0777, 0644);
	unlink(path);
	output = inspector(&code, "metrics %s -o /nowhere/file", arena);
	assert_int_equal(code, 2);
	assert_non_null(strstr(output.error, "/nowhere/file"));
	output_free(&output);
}

// ---- many ---------------------------------------------------------------------------------------

enum { MANY = 10000 };

static lh_arena *open_large(void)
{
	const struct lh_arena_options options = { .size = (size_t)MANY * 1024 };
	lh_arena *large;

	assert_int_equal(lh_arena_open(arena, LH_CREATE, &options, &large), 0);
	return large;
}

// Mutexes without names, from the first-th to before the end-th.
static void place(lh_arena *large, uint64_t first, uint64_t end)
{
	const struct lh_mutex_options mutex = { .data_size = 0 };
	lh_mutex placed;

	for (uint64_t i = first; i < end; i++)
		assert_int_equal(
			lh_mutex_at(large, lh_arena_first_offset(large) + i * 64, &mutex, &placed),
			0);
}

// Prints how long it took; how long it may take is for whoever reads it.
static void ten_thousand_placements_are_listed(void **state)
{
	static const struct {
		const char *option;
		size_t further; // lines beside those of placements
	} forms[] = { { "", 1 }, { "--raw", 1 }, { "--noheadings", 0 }, { "--json", 7 } };
	lh_arena *large = open_large();
	int code;

	(void)state;
	place(large, 0, MANY);
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const uint64_t begin = lh_now();
		struct output output = inspector(&code, "list %s %s", arena, forms[i].option);
		const uint64_t end = lh_now();
		size_t lines = 0;

		assert_int_equal(code, 0);
		for (const char *at = output.out; (at = strchr(at, '\n')); at++)
			lines++;
		assert_int_equal(lines, MANY + forms[i].further);
		print_message("%d placements, list %s: %.1f ms\n", MANY, forms[i].option,
			      (double)(end - begin) / 1e6);
		output_free(&output);
	}
	assert_int_equal(lh_arena_close(large), 0);
}

// A long table is laid out by another hand than a short one.
static void a_long_table_begins_as_a_short_one_does(void **state)
{
	static const char *const forms[] = {
		"", "--noheadings", "--raw", "--all", "--color=always", "-o flags,offset,name,data"
	};
	const char *const command = "list %s -o +label,SIZE,holders %s";
	enum { FORMS = sizeof(forms) / sizeof(forms[0]) };
	struct output shorter[FORMS];
	lh_arena *large = open_large();
	const struct lh_mutex_options named = { .name = "a name\\" };
	lh_mutex mutex;
	lh_lease *lease;
	int code;

	(void)state;
	place(large, 0, 100);
	assert_int_equal(lh_mutex_at(large, lh_arena_first_offset(large) + 6400, &named, &mutex),
			 0);
	assert_int_equal(
		lh_lease_acquire(large, &(struct lh_lease_options){ .label = "live wire" }, &lease),
		0);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), 0);
	for (size_t i = 0; i < FORMS; i++)
		shorter[i] = inspector(&code, command, arena, forms[i]);
	place(large, 101, 2000);
	for (size_t i = 0; i < FORMS; i++) {
		struct output longer = inspector(&code, command, arena, forms[i]);

		assert_int_equal(code, 0);
		assert_true(strlen(longer.out) > 10 * strlen(shorter[i].out));
		assert_memory_equal(longer.out, shorter[i].out, strlen(shorter[i].out));
		output_free(&longer);
		output_free(&shorter[i]);
	}
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(large), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_arena, end_arena)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(show_tells_holder_waiters_in_order_and_token),
		TEST(show_tells_damage_and_what_was_recovered),
		TEST(what_is_not_there_is_no_match),
		TEST(list_has_the_columns_that_are_asked_for),
		TEST(a_damaged_element_is_shown_and_the_next_ones_too),
		TEST(colours_do_not_go_into_a_pipe_unless_asked_for),
		TEST(procs_tells_the_killed_the_stopped_and_the_waiting_apart),
		TEST(procs_tells_where_the_keeper_runs),
		TEST(arenas_counts_processes),
		TEST(dot_draws_waits_and_holds),
		TEST(metrics_is_open_metrics_and_replaces_its_file),
		TEST(ten_thousand_placements_are_listed),
		TEST(a_long_table_begins_as_a_short_one_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
