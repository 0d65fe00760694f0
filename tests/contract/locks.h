// SPDX-License-Identifier: Apache-2.0
//
// locks.h: what the contract of named locks is tested on. The suite takes its URL from the
// environment, LEASEHOLD_LOCKS_URL. Where that is a scheme alone ("shm://", which is the default,
// "file://" or "test://"), each test has an arena, a directory or a lock server of its own.
#ifndef TESTS_CONTRACT_LOCKS_H
#define TESTS_CONTRACT_LOCKS_H

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/lock_server.h"
#include "tests/support/peer.h"

struct locks_scene {
	char arena[64];      // "": none of its own
	char directory[100]; // likewise
	char url[256];
	char server[120]; // where it listens
	struct peer server_peer;
	bool is_remote; // others answer, so that nothing is granted before a call returns
	lh_locks *locks;
};

static struct locks_scene locks_scene;

static inline void locks_make_arena(const char *query)
{
	static int serial;

	snprintf(locks_scene.arena, sizeof(locks_scene.arena), "leasehold-locks-%d-%d",
		 (int)getpid(), serial++);
	snprintf(locks_scene.url, sizeof(locks_scene.url), "shm://%s%s", locks_scene.arena, query);
}

// In `parent`, which is on the file system to be tried.
static inline void locks_make_directory(const char *parent, const char *query)
{
	snprintf(locks_scene.directory, sizeof(locks_scene.directory), "%s/leasehold-locks-XXXXXX",
		 parent);
	need(mkdtemp(locks_scene.directory) != NULL);
	snprintf(locks_scene.url, sizeof(locks_scene.url), "file://%s%s", locks_scene.directory,
		 query);
}

static inline void locks_make_server(void)
{
	locks_make_directory("/tmp", "");
	snprintf(locks_scene.server, sizeof(locks_scene.server), "%s/socket",
		 locks_scene.directory);
	snprintf(locks_scene.url, sizeof(locks_scene.url), "test://%s", locks_scene.server);
	locks_scene.server_peer = lock_server_start(locks_scene.server);
}

static inline bool ends_in(const char *text, const char *end)
{
	return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

// With a query: an arena of the test's own; it follows its name in the URL.
static inline void locks_begin(const char *query)
{
	const char *given = getenv("LEASEHOLD_LOCKS_URL");

	locks_scene.arena[0] = locks_scene.directory[0] = '\0';
	if (query || !given || strcmp(given, "shm://") == 0)
		locks_make_arena(query ? query : "");
	else if (strcmp(given, "file://") == 0)
		locks_make_directory("/tmp", "");
	else if (strcmp(given, "test://") == 0)
		locks_make_server();
	else
		snprintf(locks_scene.url, sizeof(locks_scene.url), "%s", given);
	locks_scene.is_remote = strncmp(locks_scene.url, "shm:", 4) != 0 &&
				strncmp(locks_scene.url, "file:", 5) != 0;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
}

static inline int locks_setup(void **state)
{
	const int result = watch_begin(state);

	locks_begin(NULL);
	return result;
}

static inline int locks_remove(const char *path, const struct stat *status, int kind,
			       struct FTW *walk)
{
	(void)status, (void)kind, (void)walk;
	return remove(path);
}

static inline int locks_teardown(void **state)
{
	const int result = watch_end(state); // before its places go, those who use them

	if (locks_scene.arena[0])
		lh_arena_unlink(locks_scene.arena);
	if (locks_scene.directory[0])
		nftw(locks_scene.directory, locks_remove, 16, FTW_DEPTH | FTW_PHYS);
	locks_scene.locks = NULL;
	return result;
}

static inline void close_all(void)
{
	need_equal(lh_locks_close(locks_scene.locks), 0);
}

// Ends the test where the provider cannot do what it is about.
static inline void locks_need(unsigned capability, const char *name)
{
	if (lh_locks_capabilities(locks_scene.locks) & capability)
		return;
	printf("SKIP: %.4s…: the provider has no %s\n", locks_scene.url, name);
	close_all();
	skip();
}

#define LOCKS_TEST(test) cmocka_unit_test_setup_teardown(test, locks_setup, locks_teardown)
#define LOCKS_TEST_CLOSED(test) cmocka_unit_test_setup_teardown(test, watch_begin, locks_teardown)

static inline lh_handle *hold(const char *key, const struct lh_acquire_options *options)
{
	lh_handle *handle = NULL;

	need_equal(lh_acquire(locks_scene.locks, key, LH_FOREVER, options, &handle), 0);
	return handle;
}

static inline int attempt(const char *key, const struct lh_acquire_options *options)
{
	lh_handle *handle;
	const int error = lh_acquire(locks_scene.locks, key, LH_NOW, options, &handle);

	if (!error)
		need_equal(lh_handle_release(handle), 0);
	return error;
}

static inline void let_go(lh_handle *handle)
{
	need_equal(lh_handle_release(handle), 0);
}

// Until the handle's TTL has passed; looks without latching it.
static inline void await_end(const lh_handle *handle)
{
	while (lh_handle_valid(handle))
		sched_yield();
}

// Memory that a test's processes share, zeroed.
static inline void *locks_share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	need(memory != MAP_FAILED);
	return memory;
}

// For peers, which open the URL anew: holds the key named by `context`, says its token, and stays.
struct locks_holding {
	const char *key;
	const struct lh_acquire_options *options;
};

static inline void locks_hold_and_stay(const struct line *line, void *context)
{
	const struct locks_holding *holding = (const struct locks_holding *)context;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, (int64_t)lh_handle_token(hold(holding->key, holding->options)));
	line_hear(line);
}

// A process that held the key and was killed: its token.
static inline uint64_t locks_die_holding(const char *key, const struct lh_acquire_options *options)
{
	struct locks_holding holding = { key, options };
	struct peer peer = peer_start(locks_hold_and_stay, &holding);
	const int64_t token = line_hear(&peer.line);

	peer_kill(&peer);
	return (uint64_t)token;
}

#endif
