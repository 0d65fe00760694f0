// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER address it forks beside threads, as its allocator cannot
//
// Named locks on a server, in a process that forks (docs/protocol/remote.md).
#include "tests/contract/remote.h"

#include <signal.h>

static void hold_and_fork(const struct line *line, void *context)
{
	static const struct lh_acquire_options options = { .ttl_ns = LH_SEC(100000) };
	pid_t child;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	hold("key", &options);
	child = fork();
	if (child == 0) {
		alarm(300); // should the test fail
		for (;;)
			pause();
	}
	line_say(line, child);
	line_hear(line);
}

// G2: the server takes the end of connections for the end of the process.
static void a_forked_child_does_not_keep_its_parents_connections(void **state)
{
	struct peer peer = peer_start(hold_and_fork, NULL);
	const pid_t child = (pid_t)line_hear(&peer.line);
	lh_handle *handle;

	(void)state;
	peer_kill(&peer);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	assert_int_equal(kill(child, SIGKILL), 0); // it lived
	let_go(handle);
	close_both();
}

static void acquire_in_child(const struct line *line, void *context)
{
	(void)context;
	need_equal(attempt("key", NULL), -EBUSY);
	let_go(hold("other", NULL));
	line_say(line, 1);
	need_equal(lh_locks_close(locks_scene.locks), -EBUSY); // the parent's pending acquire
}

// While its parent waits, in a call and without a thread.
static void a_forked_child_has_a_line_of_its_own(void **state)
{
	lh_handle *handle = hold_elsewhere("key");
	struct waiter waiter = { .deadline = LH_FOREVER };
	lh_pending *pending;
	struct peer peer;

	(void)state;
	start_waiter(&waiter, wait_for_key);
	await_line("key", 1);
	pending = start("key");
	await_asked(2);
	peer = peer_start(acquire_in_child, NULL);
	assert_int_equal(line_hear(&peer.line), 1);
	peer_join(&peer);
	let_go(handle);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.result, 0);
	let_go(waiter.handle);
	let_go(await_grant(pending));
	close_both();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REMOTE_TEST(a_forked_child_does_not_keep_its_parents_connections),
		REMOTE_TEST(a_forked_child_has_a_line_of_its_own),
	};

	return remote_run(tests);
}
