// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files, waited for without a thread: the place in line, and the descriptors that it
// has.
#include "tests/contract/locks_file.h"

#include <fcntl.h>
#include <signal.h>

#include "src/provider/file.h"

static lh_pending *start(const char *key)
{
	lh_pending *pending = NULL;

	need_equal(lh_acquire_start(locks_scene.locks, key, LH_FOREVER, NULL, &pending), 0);
	return pending;
}

static lh_handle *await_grant(lh_pending *pending)
{
	struct pollfd poll_fd = { .fd = lh_pending_fd(pending), .events = POLLIN };
	lh_handle *handle = NULL;

	need_equal(poll(&poll_fd, 1, -1), 1);
	need_equal(lh_pending_finish(pending, &handle), 0);
	return handle;
}

static bool has_turn(const char *key)
{
	const struct provider_key wanted = { .bytes = key, .size = strlen(key) };
	struct lock_file file;
	int error;

	need_equal(lock_file_open(&file, locks_scene.directory, 0600, &wanted), 0);
	error = bytes_see_turn(&file);
	lock_file_close(&file);
	need(error == 0 || error == -EAGAIN);
	return error == -EAGAIN;
}

static void await_turn(const char *key)
{
	while (!has_turn(key))
		sched_yield();
}

// Whether anybody looks and takes: that takes some microseconds, but for who is stopped in it.
static bool is_entered(const char *key)
{
	const struct provider_key wanted = { .bytes = key, .size = strlen(key) };
	struct lock_file file;
	int error;

	need_equal(lock_file_open(&file, locks_scene.directory, 0600, &wanted), 0);
	error = bytes_enter(&file, LH_FOREVER);
	if (!error)
		bytes_leave(&file);
	lock_file_close(&file);
	return error != 0;
}

// With its place in line, but not where it would hold up everybody who wants to look: as files have no
// leases, those could but wait until it goes on (docs/protocol/files.md).
static void stop_in_line(const struct peer *peer, const char *key)
{
	for (;;) {
		int status;

		need_equal(kill(peer->pid, SIGSTOP), 0);
		need_equal(waitpid(peer->pid, &status, WUNTRACED), peer->pid);
		if (!is_entered(key))
			return;
		need_equal(kill(peer->pid, SIGCONT), 0);
	}
}

// ---- the place in line ---------------------------------------------------------------------------

static void wait_in_line(const struct line *line, void *context)
{
	lh_pending *pending;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	pending = start("key");
	line_say(line, 1);
	line_hear(line);
	let_go(await_grant(pending));
	close_all();
	line_say(line, 1);
}

// "it counts like any other": first in line it is before those who do not wait; and if it is
// stopped there, it keeps nobody out for ever.
static void what_is_first_in_line_is_before_newcomers(void **state)
{
	lh_handle *handle = hold("key", NULL);
	struct peer peer = peer_start(wait_in_line, NULL);

	(void)state;
	line_hear(&peer.line);
	await_turn("key");
	stop_in_line(&peer, "key");
	let_go(handle);
	assert_int_equal(attempt("key", NULL), -EBUSY);
	assert_int_equal(attempt("key", &(struct lh_acquire_options){ .mode = LH_SHARED }), -EBUSY);
	let_go(hold("key", NULL));
	assert_int_equal(kill(peer.pid, SIGCONT), 0);
	line_say(&peer.line, 1);
	line_hear(&peer.line);
	peer_join(&peer);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

// "when it returns, the acquire is finished": its place is given back by then, too.
static void what_was_cancelled_is_in_nobodys_way(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		lh_handle *handle = hold("key", NULL), *other;
		lh_pending *pending = start("key");

		await_turn("key");
		assert_int_equal(lh_pending_cancel(pending), 0);
		assert_false(has_turn("key"));
		assert_int_equal(lh_pending_finish(pending, &other), -ECANCELED);
		let_go(handle);
		assert_int_equal(attempt("key", NULL), 0);
	}
	close_all();
}

// "who waits goes over to the new file"
static void what_waits_goes_over_to_a_new_file(void **state)
{
	lh_handle *handle = hold("key", NULL), *next;
	lh_pending *pending = start("key");
	char from[400];

	(void)state;
	await_turn("key");
	snprintf(from, sizeof(from), "%s", path_of("key.lock"));
	assert_int_equal(rename(from, path_of("gone")), 0);
	next = await_grant(pending);
	assert_true(lh_handle_valid(next));
	assert_int_equal(access(from, F_OK), 0);
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	let_go(next);
	close_all();
}

// ---- descriptors ---------------------------------------------------------------------------------

enum { MOST_DESCRIPTORS = 64 };

// As a daemon does it: closes all that it has from its parent, and opens its own. Then it ends with
// the locks, of which it has copies. How many of its own are not what they were.
static int become_daemon(lh_handle *handle, lh_pending *pending)
{
	struct stat before[MOST_DESCRIPTORS], now;
	lh_handle *none;
	int lost = 0;

	for (int fd = 3; fd < MOST_DESCRIPTORS; fd++)
		close(fd);
	for (int fd = 3; fd < MOST_DESCRIPTORS; fd++) {
		char path[] = "/tmp/leasehold-own-XXXXXX";

		need_equal(mkstemp(path), fd);
		need_equal(unlink(path), 0);
		need_equal(fstat(fd, &before[fd]), 0);
	}
	if (pending)
		need_equal(lh_pending_finish(pending, &none), -ESTALE);
	need_equal(lh_handle_release(handle), -ESTALE);
	close_all();
	for (int fd = 3; fd < MOST_DESCRIPTORS; fd++)
		lost += fstat(fd, &now) != 0 || now.st_ino != before[fd].st_ino;
	return lost;
}

static void fork_a_daemon(lh_handle *handle, lh_pending *pending)
{
	const pid_t pid = fork();
	int status;

	need(pid >= 0);
	if (pid == 0)
		_exit(become_daemon(handle, pending));
	need_equal(waitpid(pid, &status, 0), pid);
	need(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

// The child has copies of the notifiers that its parent keeps: it ends with them at the fork, not
// later, when their numbers may be others'.
static void a_forked_daemon_closes_nothing_of_its_own(void **state)
{
	lh_handle *handle = hold("key", NULL), *other;
	lh_pending *pending;

	(void)state;
	assert_int_equal(
		lh_acquire(locks_scene.locks, "key", lh_deadline_after(LH_MS(2)), NULL, &other),
		-ETIMEDOUT); // leaves a notifier for the next
	fork_a_daemon(handle, NULL);
	pending = start("key");
	await_turn("key");
	fork_a_daemon(handle, pending);
	let_go(handle);
	let_go(await_grant(pending));
	close_all();
}

static unsigned notifiers(void)
{
	unsigned count = 0;

	for (int fd = 3; fd < MOST_DESCRIPTORS; fd++) {
		char path[40], target[64];
		ssize_t size;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		size = readlink(path, target, sizeof(target) - 1);
		target[size > 0 ? size : 0] = '\0';
		count += strcmp(target, "anon_inode:inotify") == 0;
	}
	return count;
}

static void count_and_wait(const struct line *line, void *context)
{
	lh_pending *pending;

	need_equal(notifiers(), *(const unsigned *)context);
	pending = start("key"); // by a helper, and a notifier, of its own
	await_turn("key");
	line_say(line, 1);
	let_go(await_grant(pending));
	line_say(line, 1);
}

// A forked child keeps no notifier of its parent's, whose events nobody would read; and waits by
// its own.
static void a_forked_child_has_no_notifier_of_its_parents(void **state)
{
	unsigned before = notifiers();
	lh_handle *handle = hold("key", NULL), *other = hold("other", NULL);
	lh_pending *pending = start("other");
	struct peer peer;

	(void)state;
	assert_int_equal(lh_acquire(locks_scene.locks, "key", lh_deadline_after(LH_MS(2)), NULL,
				    &(lh_handle *){ NULL }),
			 -ETIMEDOUT);
	await_turn("other");
	assert_int_equal(notifiers(), before + 2);
	peer = peer_start(count_and_wait, &before);
	line_hear(&peer.line);
	let_go(handle);
	line_hear(&peer.line);
	peer_join(&peer);
	let_go(other);
	let_go(await_grant(pending));
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_TEST(what_is_first_in_line_is_before_newcomers),
		FILE_TEST(what_was_cancelled_is_in_nobodys_way),
		FILE_TEST(what_waits_goes_over_to_a_new_file),
		FILE_TEST(a_forked_daemon_closes_nothing_of_its_own),
		FILE_TEST(a_forked_child_has_no_notifier_of_its_parents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
