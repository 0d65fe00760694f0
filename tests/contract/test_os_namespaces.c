// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER valgrind it knows no pidfd_send_signal, by which the lapsed are killed
//
// Containers: pid namespaces in which different processes have the same numbers, and time
// namespaces in which CLOCK_MONOTONIC says something else.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/stage.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const struct lh_lease_options plain = { .label = "plain" };

// Takes mutex 0 under a lease of the kind in `options` and says its numbers; then ends when told.
static void hold(const struct line *line, void *options)
{
	struct stage stage = stage_open(NULL, 0);

	stage_lease(&stage, (const struct lh_lease_options *)options);
	line_say(line, stage_lock(&stage, 0));
	line_say(line, getpid());
	line_say(line, syscall(SYS_gettid));
	line_hear(line);
}

// Waits for mutex 0 without deadline; says the grant's flags and that it was let go.
static void want(const struct line *line, void *options)
{
	struct stage stage = stage_open(NULL, 0);

	stage_lease(&stage, (const struct lh_lease_options *)options);
	line_say(line, getpid());
	line_say(line, stage_lock(&stage, 0));
	need_equal(lh_mutex_consistent(&stage.mutexes[0], stage.lease), 0);
	stage_unlock(&stage, 0);
	stage_close(&stage);
}

// G1, G2: the liveness words of both hold TID 1, and still each stands for its own thread.
static void of_two_holders_with_equal_tids_the_dead_one_alone_is_released(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder, waiter;

	(void)state;
	holder = peer_start_in_pid_namespace(hold, (void *)&plain);
	need_equal(line_hear(&holder.line), 0);
	need_equal(line_hear(&holder.line), 1);
	need_equal(line_hear(&holder.line), 1);
	waiter = peer_start_in_pid_namespace(want, (void *)&plain);
	need_equal(line_hear(&waiter.line), 1);
	stage_await_waiters(&stage, 0, 1);

	// A third with the same numbers comes and goes, and changes nothing for them.
	struct peer other = peer_start_in_pid_namespace(want, (void *)&plain);

	need_equal(line_hear(&other.line), 1);
	stage_await_waiters(&stage, 0, 2);
	peer_kill(&other);
	need(!line_can_hear(&waiter.line));

	peer_kill(&holder);
	need_equal(line_hear(&waiter.line), LH_GRANT_OWNER_DIED);
	peer_join(&waiter);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// G2: the other way round, a waiter with the holder's TID dies; the holder is not taken for dead.
static void a_holder_does_not_die_with_a_waiter_of_equal_tid(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder, waiter;

	(void)state;
	stage_lease(&stage, NULL);
	holder = peer_start_in_pid_namespace(hold, (void *)&plain);
	need_equal(line_hear(&holder.line), 0);
	waiter = peer_start_in_pid_namespace(want, (void *)&plain);
	need_equal(line_hear(&waiter.line), 1);
	stage_await_waiters(&stage, 0, 1);
	peer_kill(&waiter);
	need_equal(lh_mutex_lock(&stage.mutexes[0], stage.lease, LH_NOW, NULL), -EBUSY);
	need_equal(
		lh_mutex_lock(&stage.mutexes[0], stage.lease, lh_deadline_after(LH_MS(20)), NULL),
		-ETIMEDOUT);
	peer_kill(&holder);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	stage_unlock(&stage, 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// Kill on expiry, G1: who cannot name the holder's process cannot kill it, and does not take a
// process that has its number here for it. It waits until the holder is dead.
static void a_taker_in_another_pid_namespace_waits_for_the_death_it_cannot_cause(void **state)
{
	static struct lh_lease_options expiring = { .ttl_ns = 1000000,
						    .flags = LH_LEASE_KILL_ON_EXPIRY };
	struct stage stage = stage_open(NULL, 0);
	struct peer holder, taker;

	(void)state;
	holder = peer_start_in_pid_namespace(hold, &expiring);
	line_hear(&holder.line);
	need_equal(line_hear(&holder.line), 1);
	need_equal(line_hear(&holder.line), 1);
	taker = peer_start_in_pid_namespace(want, (void *)&plain);
	need_equal(line_hear(&taker.line), 1);
	stage_await_waiters(&stage, 0, 1);
	// The taker's own deadline holds meanwhile; so does ours, from a third namespace.
	stage_lease(&stage, NULL);
	need_equal(
		lh_mutex_lock(&stage.mutexes[0], stage.lease, lh_deadline_after(LH_MS(30)), NULL),
		-ETIMEDOUT);
	need(!line_can_hear(&taker.line));
	line_say(&holder.line, 0); // it still runs: orderly end of the process, lock in hand
	peer_join(&holder);
	need_equal(line_hear(&taker.line), LH_GRANT_OWNER_DIED);
	peer_join(&taker);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

static void expire_and_hang(const struct line *line, void *unused)
{
	static struct lh_lease_options expiring = { .ttl_ns = 1000000,
						    .flags = LH_LEASE_KILL_ON_EXPIRY };
	struct stage stage = stage_open(NULL, 0);

	(void)unused;
	stage_lease(&stage, &expiring);
	line_say(line, stage_lock(&stage, 0));
	for (;;)
		pause();
}

static void kill_within_one_namespace(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder;

	(void)unused;
	need_equal(getpid(), 1);
	holder = peer_start(expire_and_hang, NULL);
	need_equal(line_hear(&holder.line), 0);
	stage_lease(&stage, NULL);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	stage_unlock(&stage, 0);
	need_equal(peer_wait(&holder), SIGKILL);
	stage_close(&stage);
	line_say(line, 0);
}

// Kill on expiry in a container that still sees the host's /proc (unshare --pid without
// --mount-proc): the numbers there are others than kill's.
static void kill_on_expiry_works_below_a_proc_of_another_pid_namespace(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer container;

	(void)state;
	container = peer_start_in_pid_namespace(kill_within_one_namespace, NULL);
	need_equal(line_hear(&container.line), 0);
	peer_join(&container);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// G2 of process leases: from another pid namespace the attach lock tells the process's end; a
// forked child that lives on, with a lock of its own, does not keep it.
static void hold_by_process_with_a_child(const struct line *line, void *unused)
{
	static const struct lh_lease_options options = { .flags = LH_LEASE_PROCESS };
	struct stage stage = stage_open(NULL, 0);

	(void)unused;
	stage_lease(&stage, &options);
	line_say(line, stage_lock(&stage, 0));
	const pid_t child = fork();

	need(child >= 0);
	if (child == 0) {
		for (;;)
			pause();
	}
	line_say(line, child);
	line_hear(line);
	_exit(0);
}

static void a_process_lease_of_another_pid_namespace_ends_with_its_process(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder, waiter;

	(void)state;
	// The holder is an ordinary process here, so that its child outlives it; those who judge it
	// live in namespaces of their own.
	holder = peer_start(hold_by_process_with_a_child, NULL);
	need_equal(line_hear(&holder.line), 0);
	const pid_t child = (pid_t)line_hear(&holder.line);

	waiter = peer_start_in_pid_namespace(want, (void *)&plain);
	need_equal(line_hear(&waiter.line), 1);
	stage_await_waiters(&stage, 0, 1);
	need(!line_can_hear(&waiter.line));
	peer_kill(&holder);
	need_equal(line_hear(&waiter.line), LH_GRANT_OWNER_DIED);
	peer_join(&waiter);
	need(kill(child, SIGKILL) == 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

static void end_this_thread(void *unused)
{
	(void)unused;
	syscall(SYS_exit, 0);
}

// A process whose keeper thread has ended while the process lives on: the callback of a lost lease
// runs there.
static void hold_by_process_without_keeper(const struct line *line, void *unused)
{
	static const struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };
	static const struct lh_lease_options brief = { .ttl_ns = 1000000 };
	struct stage stage = stage_open(NULL, 0);
	lh_lease *lost;

	(void)unused;
	stage_lease(&stage, &process);
	line_say(line, stage_lock(&stage, 0));
	need_equal(lh_lease_acquire(stage.arena, &brief, &lost), 0);
	need_equal(lh_lease_on_loss(lost, end_this_thread, NULL), 0);
	line_hear(line);
}

static void await_single_thread(pid_t pid)
{
	char path[64];
	struct stat status;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	do {
		sched_yield();
		need(stat(path, &status) == 0);
	} while (status.st_nlink != 3); // ".", ".." and one thread's
}

// G1: a process's lease stays its own while any of it lives, in whichever namespace that is asked.
static void a_process_lease_outlives_its_keeper_thread(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder, far, near;

	(void)state;
	stage_lease(&stage, NULL);
	holder = peer_start(hold_by_process_without_keeper, NULL);
	need_equal(line_hear(&holder.line), 0);
	far = peer_start_in_pid_namespace(want, (void *)&plain);
	need_equal(line_hear(&far.line), 1);
	near = peer_start(want, (void *)&plain);
	line_hear(&near.line);
	stage_await_waiters(&stage, 0, 2);
	await_single_thread(holder.pid);
	need_equal(
		lh_mutex_lock(&stage.mutexes[0], stage.lease, lh_deadline_after(LH_MS(20)), NULL),
		-ETIMEDOUT);
	need(!line_can_hear(&far.line) && !line_can_hear(&near.line));
	peer_kill(&holder);
	line_hear(&far.line);
	line_hear(&near.line);
	peer_join(&far);
	peer_join(&near);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// ---- time namespaces -----------------------------------------------------------------------------

// What the program does as `test_os_namespaces open|open-without-proc NAME ERROR`: a process that
// never used the library before.
static int open_is_refused(const char *name, int error)
{
	static const int flags[] = { 0, LH_READ_ONLY, LH_CREATE };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		lh_arena *arena = NULL;

		if (lh_arena_open(name, flags[i], NULL, &arena) != error || arena ||
		    strlen(lh_error_detail()) == 0) {
			fprintf(stderr, "flags %d: not %d: %s\n", flags[i], error,
				lh_error_detail());
			return 1;
		}
	}
	return 0;
}

static void exec_self(const char *verb, int error)
{
	char path[4096], number[16];
	const ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);

	need(size > 0);
	path[size] = '\0';
	snprintf(number, sizeof(number), "%d", error);
	execl(path, path, verb, stage_name(), number, (char *)NULL);
	need_failed("execl", __FILE__, __LINE__);
}

static void open_refused(const struct line *line, void *unused)
{
	(void)line;
	(void)unused;
	exec_self("open", -EPROTONOSUPPORT);
}

// The inherited arena is refused too, when it comes to leases: each one's expiry is a moment.
static void lease_refused(const struct line *line, void *stage_pointer)
{
	const struct stage *stage = (const struct stage *)stage_pointer;
	lh_lease *lease = NULL;
	lh_arena *arena = NULL;

	line_say(line, lh_lease_acquire(stage->arena, NULL, &lease));
	line_say(line, lh_arena_open(stage_name(), 0, NULL, &arena));
	need(lease == NULL && arena == NULL);
}

static void enter_time_namespace(const struct line *line, void *stage)
{
	static const char text[] = "monotonic 1000 0\n";
	struct peer inside;
	int fd;

	if (unshare(CLONE_NEWTIME) != 0) {
		line_say(line, errno);
		return;
	}
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	need(fd >= 0);
	need(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	line_say(line, 0);
	inside = peer_start(open_refused, NULL);
	peer_join(&inside);
	inside = peer_start(lease_refused, stage);
	line_say(line, line_hear(&inside.line));
	line_say(line, line_hear(&inside.line));
	peer_join(&inside);
}

// -EPROTONOSUPPORT: an expiry stamp would mean another moment there.
static void an_arena_is_refused_where_the_monotonic_clock_is_shifted(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer peer = peer_start(enter_time_namespace, &stage);

	(void)state;
	if (line_hear(&peer.line) != 0) {
		peer_join(&peer);
		stage_close(&stage);
		stage_unlink();
		print_message("SKIP: test_os_namespaces: no time namespaces here\n");
		skip();
	}
	need_equal(line_hear(&peer.line), -EPROTONOSUPPORT);
	need_equal(line_hear(&peer.line), -EPROTONOSUPPORT);
	peer_join(&peer);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// ---- no /proc ------------------------------------------------------------------------------------

static void hide_proc(void)
{
	need(unshare(CLONE_NEWNS) == 0);
	need(mount("none", "/proc", "none", MS_PRIVATE, NULL) == 0); // works in a chroot too
	need(mount("none", "/proc", "tmpfs", MS_RDONLY, "") == 0);
}

static void open_without_proc(const struct line *line, void *unused)
{
	(void)line;
	(void)unused;
	exec_self("open-without-proc", -ENOTSUP);
}

static void lose_proc(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);
	lh_lease *another = NULL;

	(void)unused;
	hide_proc();
	line_say(line, lh_lease_acquire(stage.arena, NULL, &another));
	need(another == NULL);
	need(strlen(lh_error_detail()) > 0);
	need_equal(lh_arena_close(stage.arena), 0);
}

static void lose_proc_with_a_lease(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);

	(void)unused;
	stage_lease(&stage, NULL);
	hide_proc();
	// All that a lease does works on: dead holders, of processes too, are told by other means.
	line_say(line, 0);
	line_hear(line);
	line_say(line, stage_lock(&stage, 0));
	line_say(line, stage_lock(&stage, 1));
	stage_close(&stage);
}

// -ENOTSUP and a reason, no crash: the boot, clock and start times are told by /proc alone.
static void without_proc_opening_says_so(void **state)
{
	struct peer peer = peer_start(open_without_proc, NULL);

	(void)state;
	peer_join(&peer);
	need_equal(lh_arena_unlink(stage_name()), -ENOENT);
}

static void who_loses_proc_is_told_and_keeps_what_it_has(void **state)
{
	static struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };
	struct stage stage = stage_open(NULL, 0);
	struct peer peer = peer_start(lose_proc, NULL);
	struct peer holder;

	(void)state;
	need_equal(line_hear(&peer.line), -ENOTSUP);
	peer_join(&peer);
	stage_is_clean(&stage);

	peer = peer_start(lose_proc_with_a_lease, NULL);
	need_equal(line_hear(&peer.line), 0);
	holder = peer_start(hold, &process);
	need_equal(line_hear(&holder.line), 0);
	line_say(&peer.line, 0);
	stage_await_waiters(&stage, 0, 1);
	peer_kill(&holder);
	need_equal(line_hear(&peer.line), LH_GRANT_OWNER_DIED);
	need_equal(line_hear(&peer.line), 0);
	peer_join(&peer);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(int count, char **words)
{
	const struct CMUnitTest tests[] = {
		STAGED(of_two_holders_with_equal_tids_the_dead_one_alone_is_released),
		STAGED(a_holder_does_not_die_with_a_waiter_of_equal_tid),
		STAGED(a_taker_in_another_pid_namespace_waits_for_the_death_it_cannot_cause),
		STAGED(kill_on_expiry_works_below_a_proc_of_another_pid_namespace),
		STAGED(a_process_lease_of_another_pid_namespace_ends_with_its_process),
		STAGED(a_process_lease_outlives_its_keeper_thread),
		STAGED(an_arena_is_refused_where_the_monotonic_clock_is_shifted),
		STAGED(without_proc_opening_says_so),
		STAGED(who_loses_proc_is_told_and_keeps_what_it_has),
	};

	if (count == 4) {
		if (strcmp(words[1], "open-without-proc") == 0)
			hide_proc();
		_exit(open_is_refused(words[2], atoi(words[3]))); // sanitizers want /proc at exit
	}
	if (geteuid() != 0)
		skip_all("test_os_namespaces: namespaces want root");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
