// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER valgrind it has no pidfd_open(2), so nothing is slept on by one
//
// owner.c, wait.c: who waits for a process that is ending asks seldom whether it has ended, and
// sleeps until it has. The stops stand in for looks at a pidfd (CMakeLists.txt: --wrap).
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "arena/owner.h"
#include "arena/reap.h"
#include "arena/sys/identity.h"
#include "tests/support/peer.h"

static char name[64], url[80];
static lh_arena *arena;
static struct peer holder;
static uint64_t owner; // of what it holds

// ---- the holder: a process that goes on without its keeper, as if it were long in ending --------------

static void end_this_thread(void *unused)
{
	(void)unused;
	syscall(SYS_exit, 0);
}

static void hold_without_keeper(const struct line *line, void *unused)
{
	const struct lh_acquire_options brief = { .ttl_ns = LH_MS(1), .on_loss = end_this_thread };
	lh_handle *handle, *lost;
	lh_locks *locks;

	(void)unused;
	need_equal(lh_locks_open(url, &locks), 0);
	need_equal(lh_acquire(locks, "key", LH_FOREVER, NULL, &handle), 0);
	need_equal(lh_acquire(locks, "other", LH_FOREVER, &brief, &lost), 0);
	line_say(line, 1);
	line_hear(line);
	execl("/bin/sleep", "sleep", "1000", NULL);
}

// ---- the stops ---------------------------------------------------------------------------------------

static _Atomic int opens; // by any thread
static int sleeps;
static void (*act)(void); // at the first sleep

int __real_identity_open(const struct identity *identity);
int __wrap_identity_open(const struct identity *identity);

int __wrap_identity_open(const struct identity *identity)
{
	opens++;
	return __real_identity_open(identity);
}

// The clock stands still while something is done at a stop: the sleep is not over by that.
static _Atomic uint64_t stood_ns;

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);

uint64_t __wrap_clock_now(void)
{
	return __real_clock_now() - atomic_load(&stood_ns);
}

bool __real_identity_await(int pidfd, uint64_t deadline_ns);
bool __wrap_identity_await(int pidfd, uint64_t deadline_ns);

bool __wrap_identity_await(int pidfd, uint64_t deadline_ns)
{
	if (sleeps++ == 0) {
		const uint64_t began = __real_clock_now();

		act();
		atomic_fetch_add(&stood_ns, __real_clock_now() - began);
	}
	return __real_identity_await(pidfd, deadline_ns);
}

// ---- what happens meanwhile --------------------------------------------------------------------------

static void kill_it(void)
{
	siginfo_t ended;

	need_equal(kill(holder.pid, SIGKILL), 0);
	need_equal(waitid(P_PID, (id_t)holder.pid, &ended, WEXITED | WNOWAIT), 0);
}

// Its lock on the arena's file goes, and it lives.
static void have_it_exec(void)
{
	const uint32_t byte = atomic_load(&arena->owners[owner_ref_index(owner)].attach);

	line_say(&holder.line, 1);
	while (arena_attached(arena, byte))
		sched_yield();
}

static lh_cancel *cancel;

static void fire(void)
{
	lh_cancel_fire(cancel);
}

// ---- the waiter --------------------------------------------------------------------------------------

static int wait_for_it(void (*meanwhile)(void))
{
	const struct lh_acquire_options options = { .cancel = cancel };
	lh_handle *handle;
	lh_locks *locks;
	int error;

	need_equal(lh_locks_open(url, &locks), 0);
	need_equal(lh_acquire(locks, "another", LH_FOREVER, NULL, &handle), 0);
	need_equal(lh_handle_release(handle), 0); // its lease is kept
	opens = 0;
	sleeps = 0;
	act = meanwhile;
	error = lh_acquire(locks, "key", LH_FOREVER, &options, &handle);
	if (!error) {
		assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
		assert_int_equal(lh_handle_release(handle), 0);
	}
	assert_int_equal(lh_locks_close(locks), 0);
	return error;
}

// Nobody else has a lease then.
static void start_holder(void)
{
	uint32_t word;

	holder = peer_start(hold_without_keeper, NULL);
	need_equal(line_hear(&holder.line), 1);
	owner = 0;
	for (uint32_t i = 0; !owner && i < arena->lease_count; i++)
		owner = atomic_load(&arena->leases[i].owner);
	while (owner_word(arena, owner, &word))
		sched_yield();
}

static int begin(void **state)
{
	lh_locks *locks;

	if (watch_begin(state))
		return -1;
	snprintf(name, sizeof(name), "leasehold-process-end-%d", (int)getpid());
	snprintf(url, sizeof(url), "shm://%s", name);
	need_equal(lh_locks_open(url, &locks), 0);
	need_equal(lh_locks_close(locks), 0);
	need_equal(lh_arena_open(name, 0, NULL, &arena), 0);
	start_holder();
	return 0;
}

// Ends the test where no process can be watched.
static void want_pidfd(void)
{
	const int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd < 0) {
		printf("SKIP: pidfd_open(2) is refused here\n");
		peer_kill(&holder);
		skip();
	}
	close(fd);
}

static int end(void **state)
{
	const int result = watch_end(state);

	need_equal(lh_arena_close(arena), 0);
	need_equal(lh_arena_unlink(name), 0);
	return result;
}

// G2: once by the look, and once for the sleep; its end is told by the file's lock alone. Of a
// process that has no processor for so long that its sleep is over before it begins, anew.
static void who_waits_asks_twice_and_sleeps_until_the_end(void **state)
{
	(void)state;
	want_pidfd();
	for (int i = 0;; i++) {
		assert_int_equal(wait_for_it(kill_it), 0);
		assert_int_equal(sleeps, 1);
		peer_kill(&holder);
		if (opens == 2)
			break;
		assert_true(i < 100);
		assert_int_equal(reap_all(arena).left, 0);
		start_holder();
	}
}

// G2, "exec releases": which a pidfd does not tell.
static void an_exec_is_noticed_while_it_sleeps(void **state)
{
	(void)state;
	want_pidfd();
	assert_int_equal(wait_for_it(have_it_exec), 0);
	assert_int_equal(sleeps, 1);
	peer_kill(&holder);
}

// G10: nor is that a word that the kernel compares.
static void a_cancel_is_noticed_while_it_sleeps(void **state)
{
	(void)state;
	want_pidfd();
	assert_int_equal(lh_cancel_create(&cancel), 0);
	assert_int_equal(wait_for_it(fire), -ECANCELED);
	assert_int_equal(sleeps, 1);
	lh_cancel_destroy(cancel);
	cancel = NULL;
	peer_kill(&holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_waits_asks_twice_and_sleeps_until_the_end,
						begin, end),
		cmocka_unit_test_setup_teardown(an_exec_is_noticed_while_it_sleeps, begin, end),
		cmocka_unit_test_setup_teardown(a_cancel_is_noticed_while_it_sleeps, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
