// SPDX-License-Identifier: Apache-2.0
// ctest: LABELS threads
//
// Providers of named locks that are loaded: which file it is, and what is said of one that is not
// there or cannot be used (locks.h, lh_locks_open; docs/providers/writing.md).
#include "tests/contract/locks.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/sendfile.h>

static const char *built; // where the tests' providers are

static void refuse(const char *url, int error, const char *word)
{
	lh_locks *locks = NULL;

	assert_int_equal(lh_locks_open(url, &locks), error);
	if (!strstr(lh_error_detail(), word))
		fail_msg("\"%s\" is not in \"%s\"", word, lh_error_detail());
	assert_null(locks);
}

static void what_is_not_there_is_not_supported_and_the_detail_says_what_was_looked_for(void **state)
{
	char path[300];

	(void)state;
	snprintf(path, sizeof(path), "%.200s/leasehold-provider-absent.so", built);
	refuse("absent://somewhere", -ENOTSUP, path);
	refuse("absent://somewhere", -ENOTSUP, "LEASEHOLD_PROVIDERS");
	refuse("a+b-c.d4://somewhere", -ENOTSUP, "leasehold-provider-a+b-c.d4.so");
	// Elsewhere if nobody says where: beside the library, or where it would be installed.
	need_equal(unsetenv("LEASEHOLD_PROVIDERS"), 0);
	refuse("test://somewhere", -ENOTSUP, "/leasehold/providers/leasehold-provider-test.so");
	need_equal(setenv("LEASEHOLD_PROVIDERS", built, 1), 0);
}

// RFC 3986: no path gets into the file's name.
static void what_is_no_scheme_is_invalid(void **state)
{
	static const char *const wrong[] = {
		"://x",          "/://x",
		"../test://x",   "./test://x",
		"a/../test://x", ".://x",
		"..://x",        "1a://x",
		"+://x",         "a b://x",
		"a%2f://x",      "a\n://x",
		"\xc3\xa4://x",  "abcdefghijklmnopqrstuvwxyzabcdefg://x"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuse(wrong[i], -EINVAL, "scheme");
}

static void what_cannot_be_used_is_refused_with_the_reason(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) { // no try spoils the next
		refuse("empty://x", -ELIBBAD, "leasehold_provider");
		refuse("later://x", -ELIBBAD, "interface");
		refuse("larger://x", -ELIBBAD, "interface");
	}
}

static void copy_provider(const char *to)
{
	char path[300];
	int source, copy;

	snprintf(path, sizeof(path), "%.200s/leasehold-provider-test.so", built);
	source = open(path, O_RDONLY | O_CLOEXEC);
	copy = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	need(source >= 0 && copy >= 0);
	while (sendfile(copy, source, NULL, 1 << 20) > 0)
		;
	close(source);
	close(copy);
}

static void a_file_that_is_something_else_is_refused(void **state)
{
	char path[200];
	FILE *file;

	(void)state;
	locks_make_directory("/tmp", "");
	need_equal(setenv("LEASEHOLD_PROVIDERS", locks_scene.directory, 1), 0);
	snprintf(path, sizeof(path), "%s/leasehold-provider-text.so", locks_scene.directory);
	file = fopen(path, "we");
	need(file && fputs("no shared object\n", file) > 0 && fclose(file) == 0);
	refuse("text://x", -ELIBBAD, "leasehold-provider-text.so");
	snprintf(path, sizeof(path), "%s/leasehold-provider-alias.so", locks_scene.directory);
	copy_provider(path);
	refuse("alias://x", -ELIBBAD, "provider of test://");
	snprintf(path, sizeof(path), "%s/leasehold-provider-dir.so", locks_scene.directory);
	need_equal(mkdir(path, 0700), 0);
	refuse("dir://x", -ELIBBAD, "leasehold-provider-dir.so");
	need_equal(setenv("LEASEHOLD_PROVIDERS", built, 1), 0);
}

// What its own open says is what lh_locks_open says.
static void a_server_that_is_not_there_is_not_connected(void **state)
{
	(void)state;
	refuse("test:///nowhere/at/all", -ENOTCONN, "/nowhere/at/all");
	assert_string_not_equal(lh_strerror(-ELIBBAD), lh_strerror(-ENOTCONN));
}

static void *open_and_use(void *gate)
{
	lh_locks *locks;
	lh_handle *handle;

	pthread_barrier_wait(gate);
	need_equal(lh_locks_open(locks_scene.url, &locks), 0);
	need_equal(lh_acquire(locks, "key", LH_FOREVER, NULL, &handle), 0);
	need_equal(lh_handle_release(handle), 0);
	need_equal(lh_locks_close(locks), 0);
	return NULL;
}

static unsigned times_mapped(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned count = 0;
	char line[400];

	need(maps != NULL);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long offset = 1;

		if (strstr(line, "leasehold-provider-test.so") &&
		    sscanf(line, "%*x-%*x %*s %lx", &offset) == 1 && offset == 0)
			count++;
	}
	fclose(maps);
	return count;
}

// In a peer: the first time in its process.
static void open_at_once(const struct line *line, void *context)
{
	enum { THREADS = 8 };
	pthread_t threads[THREADS];
	pthread_barrier_t gate;

	(void)line, (void)context;
	need_equal(times_mapped(), 0);
	need_equal(pthread_barrier_init(&gate, NULL, THREADS), 0);
	for (int i = 0; i < THREADS; i++)
		need_equal(pthread_create(&threads[i], NULL, open_and_use, &gate), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	need_equal(times_mapped(), 1); // for ever
}

static void threads_that_open_at_once_load_it_once_and_it_stays(void **state)
{
	struct peer peer;

	(void)state;
	locks_make_server();
	peer = peer_start(open_at_once, NULL);
	peer_join(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// The first: before the provider is loaded for others.
		LOCKS_TEST_CLOSED(threads_that_open_at_once_load_it_once_and_it_stays),
		LOCKS_TEST_CLOSED(
			what_is_not_there_is_not_supported_and_the_detail_says_what_was_looked_for),
		LOCKS_TEST_CLOSED(what_is_no_scheme_is_invalid),
		LOCKS_TEST_CLOSED(what_cannot_be_used_is_refused_with_the_reason),
		LOCKS_TEST_CLOSED(a_file_that_is_something_else_is_refused),
		LOCKS_TEST_CLOSED(a_server_that_is_not_there_is_not_connected),
	};

	built = getenv("LEASEHOLD_PROVIDERS");
	if (!built)
		skip_all("LEASEHOLD_PROVIDERS does not say where the tests' providers are");
	built = strdup(built);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
