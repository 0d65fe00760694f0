// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector says what is wrong with what it is given: words on the command line, objects that
// are no arenas, damaged arenas (G9), arenas of somebody else.
// ctest: TIMEOUT 600
// ctest: TIER full only a change of lease-inspector would change it

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "arena/layout.h"
#include "tests/cli/inspector_test.h"
#include "tests/support/actor.h"
#include "tests/support/tier.h"

#define SHM "/dev/shm/"

// Each with what stands behind the arena's name. Those that change an arena only say what they
// would do.
static const struct {
	const char *verb, *rest;
} verbs[] = {
	{ "list", "" },
	{ "list", "--all" },
	{ "leases", "" },
	{ "tree", "" },
	{ "history", "" },
	{ "check", "" },
	{ "procs", "" },
	{ "show", "table" },
	{ "show", "table[1]" },
	{ "dot", "" },
	{ "metrics", "" },
	{ "top", "--count 1" },
	{ "break", "table[1] --dry-run" },
	{ "gc", "--dry-run" },
	{ "rm", "--dry-run" },
	{ "rm", "table --dry-run --force" },
};
enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static bool is_check(size_t verb)
{
	return strcmp(verbs[verb].verb, "check") == 0;
}

static char prefix[64]; /* of all that the tests put into /dev/shm */
static char name[80];   /* the object under test */
static char path[96];
static char
	hostile[128]; /* another object, with bytes in its name that mean something to terminals */
static uint64_t seed;

static uint64_t random_number(void)
{
	// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators")
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static int begin(void **state)
{
	static unsigned number;

	(void)state;
	snprintf(name, sizeof(name), "%s-%u", prefix, number++);
	snprintf(path, sizeof(path), SHM "%s", name);
	return 0;
}

static int end(void **state)
{
	actors_end(state);
	unlink(path);
	unlink(hostile);
	return 0;
}

static void put(const char *file, const void *bytes, size_t size)
{
	const int descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (descriptor < 0 || write(descriptor, bytes, size) != (ssize_t)size)
		fail_msg("cannot write %s: %s", file, strerror(errno));
	close(descriptor);
}

// A copy of an arena in which a mutex and memory are held, by one who is dead in the meantime.
static unsigned char *copy_of_arena(size_t *ret_size)
{
	struct actor *actor = actor_start(name, &(struct actor_options){ .label = "late" });
	struct stat status = { .st_size = 0 };

	assert_int_equal(actor_do(actor, ACTOR_LOCK, 1), 0);
	assert_int_equal(actor_do(actor, ACTOR_REGION, 100), 0);
	actor_kill(actor);
	assert_int_equal(exit_of("check", name), LH_CHECK_STALE);
	const int descriptor = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(fstat(descriptor, &status), 0);
	unsigned char *bytes = (unsigned char *)calloc(1, (size_t)status.st_size);

	assert_non_null(bytes);
	assert_int_equal(read(descriptor, bytes, (size_t)status.st_size), status.st_size);
	close(descriptor);
	*ret_size = (size_t)status.st_size;
	return bytes;
}

// Every verb ends with an error that says what to do, and check calls the object corrupt.
static void expect_no_arena(void)
{
	for (size_t i = 0; i < VERBS; i++) {
		int code;
		struct output output = inspector(&code, "%s %s %s", verbs[i].verb, name,
						 verbs[i].rest);

		if (is_check(i)) {
			assert_int_equal(code, LH_CHECK_CORRUPT);
			assert_non_null(strstr(output.out, "corrupt"));
		} else {
			assert_int_equal(code, 2);
			assert_string_equal(output.out, "");
			assert_non_null(strstr(output.error, name));
			assert_non_null(strstr(output.error, "lease-inspector check"));
		}
		output_free(&output);
	}
	json_t *check = inspect(LH_CHECK_CORRUPT, "check", name);

	assert_string_equal(text_of(check, "result"), "corrupt");
	assert_int_equal(json_array_size(json_object_get(check, "findings")), 1);
	json_decref(check);
}

// ---- objects that are no arenas -----------------------------------------------------------------

static void random_and_zero_bytes_are_no_arena(void **state)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 512, 4095, 4096, 1 << 16 };
	unsigned char *bytes = (unsigned char *)calloc(1, 1 << 16);

	(void)state;
	assert_non_null(bytes);
	for (int fill = 0; fill < 2; fill++) {
		for (size_t i = 0; fill && i < 1 << 16; i++)
			bytes[i] = (unsigned char)random_number();
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			put(path, bytes, sizes[i]);
			expect_no_arena();
		}
	}
	free(bytes);
}

static void a_truncated_arena_is_corrupt(void **state)
{
	size_t size;
	unsigned char *bytes = copy_of_arena(&size);

	(void)state;
	for (size_t cut = 1; cut < size; cut *= 8) {
		put(path, bytes, size - cut);
		expect_no_arena();
	}
	free(bytes);
}

static void another_layout_is_told_apart_from_damage(void **state)
{
	struct arena_header header;
	size_t size;
	unsigned char *bytes = copy_of_arena(&size);
	int code;

	(void)state;
	memcpy(&header, bytes, sizeof(header));
	header.version++;
	memcpy(bytes, &header, sizeof(header));
	put(path, bytes, size);
	for (size_t i = 0; i < VERBS; i++) {
		struct output output = inspector(&code, "%s %s %s", verbs[i].verb, name,
						 verbs[i].rest);

		assert_int_equal(code, 2);
		assert_non_null(strstr(output.error, lh_strerror(-EPROTONOSUPPORT)));
		assert_non_null(strstr(output.error, "version that made it"));
		output_free(&output);
	}
	free(bytes);
}

static void a_pipe_is_refused_and_not_waited_for(void **state)
{
	int code;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	for (size_t i = 0; i < VERBS; i++)
		assert_int_not_equal(exit_of(verbs[i].verb, name), 0);
	struct output output = inspector(&code, "list --all");

	assert_int_equal(code, 0);
	assert_null(strstr(output.out, name));
	output_free(&output);
}

static void list_names_what_it_leaves_out(void **state)
{
	int code;

	(void)state;
	put(hostile, "no arena", 8);
	struct output plain = inspector(&code, "list");

	assert_int_equal(code, 0);
	assert_null(strstr(plain.out, prefix));
	assert_non_null(strstr(plain.error, "--all"));
	struct output all = inspector(&code, "list --all");

	assert_int_equal(code, 0);
	assert_null(strchr(all.out, '\033'));
	assert_null(strchr(all.out, '\xff'));
	assert_non_null(strstr(all.out, "\\x1b[31m\\x5c\\xff"));
	json_t *document = inspect(0, "list", "--all");
	const json_t *entry;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(document, "arenas"), i, entry)
	{
		if (!strstr(text_of(entry, "name"), prefix))
			continue;
		found = true;
		assert_string_not_equal(text_of(entry, "error"), "");
		assert_true(json_is_null(json_object_get(entry, "leases")));
	}
	assert_true(found);
	json_decref(document);
	output_free(&plain);
	output_free(&all);
}

// ---- damage -------------------------------------------------------------------------------------

// G9: whatever stands in an arena, every verb ends by exiting, and what it prints is JSON.
static void no_damage_crashes_or_hangs(void **state)
{
	const uint64_t rounds = tier_pick(6, 30, 60);
	size_t size;
	unsigned char *bytes = copy_of_arena(&size);
	unsigned char *damaged = (unsigned char *)malloc(size);
	uint64_t corrupt = 0;

	(void)state;
	assert_non_null(damaged);
	for (uint64_t round = 0; round < rounds; round++) {
		const uint64_t flips = UINT64_C(1) << random_number() % 15;

		memcpy(damaged, bytes, size);
		// Behind the header's constants, or nothing but the open would be tried.
		for (uint64_t flip = 0; flip < flips; flip++)
			damaged[256 + random_number() % (size - 256)] = (unsigned char)
				random_number();
		put(path, damaged, size);
		for (size_t i = 0; i < VERBS; i++) {
			int code;
			struct output output = inspector(&code, "%s %s --json %s", verbs[i].verb,
							 name, verbs[i].rest);
			json_t *document = json_loads(output.out, 0, NULL);

			// What is no table is no JSON either.
			if (code != 1 && code != 2 && !document &&
			    !strstr("dot metrics top", verbs[i].verb))
				fail_msg("%s: exit %d, no JSON: %s", verbs[i].verb, code,
					 output.out);
			corrupt += code == LH_CHECK_CORRUPT;
			json_decref(document);
			output_free(&output);
		}
	}
	print_message("%" PRIu64 " of %" PRIu64 " damaged arenas called corrupt\n", corrupt,
		      rounds);
	assert_true(corrupt > 0);
	free(damaged);
	free(bytes);
}

// ---- owners -------------------------------------------------------------------------------------

static void an_arena_of_somebody_else_wants_any_owner(void **state)
{
	int code;

	(void)state;
	if (geteuid() != 0) {
		puts("SKIP: only root can give an object away");
		skip();
	}
	actor_start(name, NULL);
	assert_int_equal(chown(path, 65533, 65533), 0);
	for (size_t i = 0; i < VERBS; i++) {
		struct output output = inspector(&code, "%s %s %s", verbs[i].verb, name,
						 verbs[i].rest);

		assert_int_equal(code, 2);
		assert_non_null(strstr(output.error, "--any-owner"));
		output_free(&output);
		output = inspector(&code, "--any-owner %s %s %s", verbs[i].verb, name,
				   verbs[i].rest);
		// Nobody holds the mutex; and the one lease there is has a living owner.
		assert_int_equal(code, strcmp(verbs[i].verb, "break") == 0 ? 1
				       : strcmp(verbs[i].verb, "rm") == 0 &&
						       !strstr(verbs[i].rest, "force")
					       ? 2
					       : 0);
		output_free(&output);
	}
}

static void expect_unreadable(const struct output *output, const char *label)
{
	char sample[256];

	snprintf(sample, sizeof(sample), "\nleasehold_unreadable{arena=\"%s\"} 1\n", label);
	assert_non_null(strstr(output->out, sample));
}

// The others are counted all the same; names are anybody's.
static void metrics_counts_what_can_be_read_and_names_the_rest(void **state)
{
	char live[96], sample[160], label[192];
	int code;

	(void)state;
	snprintf(live, sizeof(live), "%s-live", prefix);
	actor_start(live, NULL);
	put(path, "no arena", 8);
	put(hostile, "no arena", 8);
	struct output output = inspector(&code, "metrics");
	const size_t size = strlen(output.out);

	lh_arena_unlink(live);
	assert_int_equal(code, 0);
	assert_string_equal(output.error, "");
	assert_true(size > 6 && strcmp(output.out + size - 6, "# EOF\n") == 0);
	snprintf(sample, sizeof(sample), "\nleasehold_leases{arena=\"%s\",state=\"live\"} 1\n",
		 live);
	assert_non_null(strstr(output.out, sample));
	expect_unreadable(&output, name);
	snprintf(label, sizeof(label), "%s\\\\x1b[31m\\\\x5c\\\\xff", prefix);
	expect_unreadable(&output, label);
	assert_null(strchr(output.out, '\033'));
	output_free(&output);
}

static void metrics_names_arenas_of_somebody_else(void **state)
{
	char sample[160];
	int code;

	(void)state;
	if (geteuid() != 0) {
		puts("SKIP: only root can give an object away");
		skip();
	}
	snprintf(sample, sizeof(sample), "\nleasehold_holds{arena=\"%s\"} 0\n", name);
	actor_start(name, NULL);
	assert_int_equal(chown(path, 65533, 65533), 0);
	struct output output = inspector(&code, "metrics");

	assert_int_equal(code, 0);
	expect_unreadable(&output, name);
	assert_null(strstr(output.out, sample));
	output_free(&output);
	output = inspector(&code, "metrics --any-owner");
	assert_int_equal(code, 0);
	assert_non_null(strstr(output.out, sample));
	output_free(&output);
}

// ---- the command line ---------------------------------------------------------------------------

static void the_command_line_is_answered(void **state)
{
	static const struct {
		const char *arguments;
		int code;
		const char *out;
		const char *error;
	} lines[] = {
		{ "", 2, NULL, "a verb is missing" },
		{ "frobnicate", 2, NULL, "there is no verb frobnicate" },
		{ "leases", 2, NULL, "an arena is missing" },
		{ "check", 2, NULL, "an arena is missing" },
		{ "show one", 2, NULL, "an object is missing" },
		{ "break one", 2, NULL, "an object is missing" },
		{ "list one two", 2, NULL, "a word too many" },
		{ "arenas one", 2, NULL, "a word too many" },
		{ "rm one two three", 2, NULL, "a word too many" },
		{ "leases --all one", 2, NULL, "--all does not go with leases" },
		{ "list --force one", 2, NULL, "--force does not go with list" },
		{ "gc --timeout 1 one", 2, NULL, "--timeout does not go with gc" },
		{ "show -o NAME one two", 2, NULL, "--output does not go with show" },
		{ "top --watch 1 one", 2, NULL, "--watch does not go with top" },
		{ "break --watch 1 one two", 2, NULL, "--watch does not go with break" },
		{ "list --frobnicate", 2, NULL, "--help" },
		{ "list --watch", 2, NULL, "--help" },
		{ "list --watch 0", 2, NULL, "--watch wants seconds" },
		{ "list --watch 1x", 2, NULL, "--watch wants seconds" },
		{ "list --watch nan", 2, NULL, "--watch wants seconds" },
		{ "top --delay 0 one", 2, NULL, "--delay wants seconds" },
		{ "top --count 0 one", 2, NULL, "--count wants a number" },
		{ "watch --count -1 one", 2, NULL, "--count wants a number" },
		{ "break --timeout x one two", 2, NULL, "--timeout wants seconds" },
		{ "list --color=blue", 2, NULL, "--color wants auto" },
		{ "list one -o NAME,FROB", 2, NULL, "not all there are NAME,FROB" },
		{ "list one -o NAME,,TYPE", 2, NULL, "names the columns" },
		{ "--help", 0, "usage: lease-inspector VERB", NULL },
		{ "list --help", 0, "usage: lease-inspector list", NULL },
		{ "-h leases", 0, "usage: lease-inspector leases", NULL },
		{ "tree -h", 0, "usage: lease-inspector tree", NULL },
		{ "history --help", 0, "usage: lease-inspector history", NULL },
		{ "check --help", 0, "usage: lease-inspector check", NULL },
		{ "top --help", 0, "Keys: q quits", NULL },
		{ "list --help", 0, "and, if asked for: SIZE", NULL },
		{ "--version", 0, "lease-inspector ", NULL },
		{ "leases no-such-arena", 1, NULL, "lease-inspector arenas" },
		{ "check no-such-arena", 1, NULL, "no-such-arena" },
		{ "check --json no-such-arena", 1, NULL, "no-such-arena" },
		{ "metrics no-such-arena", 1, NULL, "no-such-arena" },
		{ "watch no-such-arena", 1, NULL, "no-such-arena" },
		{ "top no-such-arena", 1, NULL, "no-such-arena" },
		{ "rm no-such-arena", 1, NULL, "no-such-arena" },
		{ "rm --force no-such-arena", 1, NULL, "no-such-arena" },
		{ "tree /dev/shm", 2, NULL, "/dev/shm" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int code;
		struct output output = inspector(&code, "%s", lines[i].arguments);

		if (code != lines[i].code ||
		    (lines[i].out ? !strstr(output.out, lines[i].out) : *output.out) ||
		    (lines[i].error ? !strstr(output.error, lines[i].error) : *output.error))
			fail_msg("lease-inspector %s: exit %d: %s%s", lines[i].arguments, code,
				 output.out, output.error);
		output_free(&output);
	}
}

static void a_full_disk_is_an_error(void **state)
{
	(void)state;
	const int status = system("\"$LEASEHOLD_BIN/lease-inspector\" --help >/dev/full "
				  "2>/dev/null");

	assert_int_equal(WEXITSTATUS(status), 2);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(random_and_zero_bytes_are_no_arena),
		TEST(a_truncated_arena_is_corrupt),
		TEST(another_layout_is_told_apart_from_damage),
		TEST(a_pipe_is_refused_and_not_waited_for),
		TEST(list_names_what_it_leaves_out),
		TEST(no_damage_crashes_or_hangs),
		TEST(an_arena_of_somebody_else_wants_any_owner),
		TEST(metrics_counts_what_can_be_read_and_names_the_rest),
		TEST(metrics_names_arenas_of_somebody_else),
		TEST(the_command_line_is_answered),
		TEST(a_full_disk_is_an_error),
	};
	const char *given = getenv("LEASEHOLD_SEED");

	seed = given ? strtoull(given, NULL, 0) : lh_now();
	seed = seed ? seed : 1;
	print_message("LEASEHOLD_SEED=%" PRIu64 "\n", seed);
	snprintf(prefix, sizeof(prefix), "inspector-damage-%d", (int)getpid());
	snprintf(hostile, sizeof(hostile), SHM "%s\033[31m\\\xff", prefix);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
