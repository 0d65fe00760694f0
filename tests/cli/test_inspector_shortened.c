// SPDX-License-Identifier: Apache-2.0
//
// An arena that somebody shortens while lease-inspector looks at it is damage like any other (G9):
// every verb says so and exits, none dies of SIGBUS, and those that look at several show the others.
// ctest: TIER full only a change of lease-inspector would change it
// ctest: TIMEOUT 300
// ctest: NOT_UNDER valgrind it does not let a program be stopped at its system calls

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "tests/cli/overtaken.h"
#include "tests/support/actor.h"
#include "tests/support/tier.h"

static char arena[64], other[80], path[96];
static const char *const reason = "it was shortened while it was looked at";

// When it is to be shortened: it has been opened so (O_RDONLY, O_RDWR) for the `look`-th time, which
// is `looks` so far, and its name is looked up once more.
static int access_wanted;
static unsigned look, looks;

// What is left of it when it is shortened.
enum length { NOTHING, ONE_PAGE, THE_TABLES, ALL_BUT_LAST, LENGTHS };
static off_t lengths[LENGTHS];

// A mutex that nobody holds, in a page of its own: only who looks at objects looks at that.
static int place_last(void)
{
	const struct lh_mutex_options options = { .name = "last" };
	lh_arena *opened;
	lh_mutex last;

	if (lh_arena_open(arena, 0, NULL, &opened) != 0)
		return -1;
	lengths[ONE_PAGE] = 4096;
	lengths[THE_TABLES] = (off_t)lh_arena_first_offset(opened);
	lengths[ALL_BUT_LAST] = (off_t)lh_arena_end_offset(opened) - 4096;
	const int error = lh_mutex_at(opened, (uint64_t)lengths[ALL_BUT_LAST], &options, &last);

	return error | lh_arena_close(opened);
}

static int new_arenas(void **state)
{
	static unsigned number;

	snprintf(arena, sizeof(arena), "inspector-shortened-%d-%u", (int)getpid(), number++);
	snprintf(other, sizeof(other), "%s-other", arena);
	snprintf(path, sizeof(path), "/dev/shm/%s", arena);
	for (const char *name = arena; name; name = name == arena ? other : NULL)
		if (actor_do(actor_start(name, &(struct actor_options){ .ttl_ns = LH_SEC(3600) }),
			     ACTOR_LOCK, 1) != 0)
			return -1;
	*state = NULL;
	return place_last();
}

static int end_arenas(void **state)
{
	actors_end(state);
	lh_arena_unlink(arena);
	lh_arena_unlink(other);
	return 0;
}

static bool looks_name_up(pid_t pid, const system_call *call)
{
	const uint64_t *arguments = call->entry.args;

	if (call->entry.nr == SYS_openat && (arguments[2] & O_ACCMODE) == (unsigned)access_wanted &&
	    call_names(pid, call, 1, arena))
		looks++;
#ifdef SYS_newfstatat
	if (call->entry.nr == SYS_newfstatat && looks == look)
		return call_names(pid, call, 1, arena);
#endif
#ifdef SYS_statx
	if (call->entry.nr == SYS_statx && looks == look)
		return call_names(pid, call, 1, arena);
#endif
#ifdef SYS_stat
	if (call->entry.nr == SYS_stat && looks == look)
		return call_names(pid, call, 0, arena);
#endif
	return false;
}

// It maps what it only looks at for reading only.
static void expect_no_writable_mapping(pid_t pid)
{
	char line[512];
	bool mapped = false;

	snprintf(line, sizeof(line), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(line, "re");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strstr(line, path) || strcmp(strstr(line, path), path) != 0)
			continue;
		mapped = true;
		if (!strstr(line, " r--s "))
			fail_msg("mapped for more than reading: %s", line);
	}
	fclose(maps);
	assert_true(mapped);
}

static void shorten(const void *size)
{
	assert_int_equal(truncate(path, *(const off_t *)size), 0);
}

static bool is_opened(pid_t pid, const system_call *call)
{
	if (!looks_name_up(pid, call))
		return false;
	if (access_wanted == O_RDONLY)
		expect_no_writable_mapping(pid);
	return true;
}

// Whole again, with the bytes it had; for what is to be shortened next.
static struct output shortened_to(enum length length, const char *arguments)
{
	struct stat status = { .st_size = 0 };
	const int descriptor = open(path, O_RDWR | O_CLOEXEC);

	assert_int_equal(fstat(descriptor, &status), 0);
	char *bytes = (char *)malloc((size_t)status.st_size);

	assert_non_null(bytes);
	assert_int_equal(pread(descriptor, bytes, (size_t)status.st_size, 0), status.st_size);
	looks = 0;
	const struct output output = inspector_overtaken(arguments, is_opened, shorten,
							 &lengths[length]);

	assert_int_equal(pwrite(descriptor, bytes, (size_t)status.st_size, 0), status.st_size);
	close(descriptor);
	free(bytes);
	return output;
}

static void expect_told(struct output *output, const char *arguments, int code, const char *where)
{
	if (!WIFEXITED(output->status) || WEXITSTATUS(output->status) != code ||
	    !strstr(where, reason))
		fail_msg("%s: status %#x, not exit %d: %s%s", arguments, output->status, code,
			 output->out, output->error);
}

static void a_look_at_it_is_an_error_that_says_so(void **state)
{
	static const struct {
		const char *verb, *rest;
		unsigned look;
		enum length length;
	} verbs[] = {
		{ "list", "", 1, ALL_BUT_LAST },
		{ "list", "--all --json", 1, ALL_BUT_LAST },
		{ "show", "table[1]", 1, ONE_PAGE },
		{ "show", "last --json", 1, ALL_BUT_LAST },
		{ "leases", "--json", 1, NOTHING },
		{ "procs", "", 1, ONE_PAGE },
		{ "tree", "", 1, THE_TABLES },
		{ "tree", "--json", 1, ONE_PAGE },
		{ "dot", "", 1, THE_TABLES },
		{ "history", "", 1, ONE_PAGE },
		{ "metrics", "", 1, ALL_BUT_LAST },
		{ "watch", "--all --count 1", 1, NOTHING },
		{ "top", "--count 1", 1, ALL_BUT_LAST },
		{ "watch", "--delay 0.001", 3, ONE_PAGE },
		{ "top", "--delay 0.001", 3, ALL_BUT_LAST },
		{ "leases", "--watch 0.001", 3, NOTHING },
		{ "break", "last", 1, ALL_BUT_LAST },
		{ "gc", "--dry-run", 1, NOTHING },
		{ "rm", "--dry-run", 1, ONE_PAGE },
		{ "rm", "last --force", 1, ALL_BUT_LAST },
	};

	(void)state;
	access_wanted = O_RDONLY;
	for (size_t v = 0; v < sizeof(verbs) / sizeof(verbs[0]); v++) {
		char arguments[160];

		snprintf(arguments, sizeof(arguments), "%s %s %s", verbs[v].verb, arena,
			 verbs[v].rest);
		look = verbs[v].look;
		struct output output = shortened_to(verbs[v].length, arguments);

		expect_told(&output, arguments, 2, output.error);
		if (look == 1 && *output.out)
			fail_msg("%s shows what it did not see: %s", arguments, output.out);
		output_free(&output);
	}
}

static void check_finds_it_corrupt(void **state)
{
	(void)state;
	access_wanted = O_RDONLY;
	look = 1;
	for (enum length i = NOTHING; i < ALL_BUT_LAST; i++) {
		char arguments[160];

		snprintf(arguments, sizeof(arguments), "check %s --json", arena);
		struct output output = shortened_to(i, arguments);
		json_t *document = json_loads(output.out, 0, NULL);

		expect_told(&output, arguments, LH_CHECK_CORRUPT, output.out);
		assert_string_equal(text_of(document, "result"), "corrupt");
		json_decref(document);
		output_free(&output);
	}
}

static void the_other_arenas_are_shown(void **state)
{
	(void)state;
	access_wanted = O_RDONLY;
	look = 1;
	for (enum length i = NOTHING; i < ALL_BUT_LAST; i++) {
		struct output output = shortened_to(i, "arenas --all --json");
		json_t *document = json_loads(output.out, JSON_REJECT_DUPLICATES, NULL);

		assert_int_equal(output.status, 0);
		assert_non_null(strstr(
			text_of(entry_named(document, "arenas", "name", arena), "error"), reason));
		assert_string_equal(
			text_of(entry_named(document, "arenas", "name", other), "check"), "clean");
		json_decref(document);
		output_free(&output);

		output = shortened_to(i, "arenas --noheadings -o NAME");
		char line[128];

		assert_int_equal(output.status, 0);
		assert_non_null(strstr(output.out, other));
		snprintf(line, sizeof(line), "%s\n", arena);
		assert_null(strstr(output.out, line));
		output_free(&output);

		output = shortened_to(i, "metrics");
		snprintf(line, sizeof(line), "leasehold_unreadable{arena=\"%s\"} 1\n", arena);
		assert_int_equal(output.status, 0);
		assert_non_null(strstr(output.out, line));
		snprintf(line, sizeof(line), "leasehold_holds{arena=\"%s\"} 1\n", other);
		assert_non_null(strstr(output.out, line));
		output_free(&output);
	}
}

// What has been decided is not done: there is nothing left to do it to.
static void a_change_of_it_is_an_error_that_says_so(void **state)
{
	static const struct {
		const char *verb, *rest;
		enum length length;
	} changes[] = {
		{ "break", "table[1] --force", NOTHING },
		{ "break", "table[1] --force", THE_TABLES },
		{ "gc", "", NOTHING },
		{ "rm", "--force", THE_TABLES },
	};

	(void)state;
	access_wanted = O_RDWR;
	look = 1;
	for (size_t c = 0; c < sizeof(changes) / sizeof(changes[0]); c++) {
		char arguments[160];

		snprintf(arguments, sizeof(arguments), "%s %s %s", changes[c].verb, arena,
			 changes[c].rest);
		struct output output = shortened_to(changes[c].length, arguments);

		expect_told(&output, arguments, 2, output.error);
		assert_int_equal(access(path, F_OK), 0);
		output_free(&output);
	}
}

// As the bash completion looks while other programs end: whichever instruction it is at.
static void a_crowd_of_arenas_that_come_and_go_ends_no_look(void **state)
{
	const uint64_t rounds = tier_pick(10, 30, 60);
	struct stat status;
	const pid_t self = getpid();

	(void)state;
	assert_int_equal(stat(path, &status), 0);
	const pid_t vandal = fork();

	if (vandal == 0) {
		const int descriptor = open(path, O_RDWR | O_CLOEXEC);
		char *bytes = (char *)malloc((size_t)status.st_size);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!bytes || getppid() != self ||
		    read(descriptor, bytes, (size_t)status.st_size) != status.st_size)
			_exit(1);
		// Whole for as long as a look takes, more or less.
		for (uint64_t i = 0, whole_since; ftruncate(descriptor, 0) == 0; i++) {
			if (pwrite(descriptor, bytes, (size_t)status.st_size, 0) != status.st_size)
				break;
			for (whole_since = lh_now(); lh_now() - whole_since < i * 7919 % LH_MS(2);)
				;
		}
		_exit(1);
	}
	assert_true(vandal > 0);
	for (uint64_t i = 0; i < rounds; i++) {
		int code;
		struct output output = inspector(&code, "arenas --noheadings -o NAME");

		assert_int_equal(code, 0);
		assert_non_null(strstr(output.out, other));
		output_free(&output);
	}
	kill(vandal, SIGKILL);
	assert_int_equal(waitpid(vandal, NULL, 0), vandal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_arenas, end_arenas)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_look_at_it_is_an_error_that_says_so),
		TEST(check_finds_it_corrupt),
		TEST(the_other_arenas_are_shown),
		TEST(a_change_of_it_is_an_error_that_says_so),
		TEST(a_crowd_of_arenas_that_come_and_go_ends_no_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
