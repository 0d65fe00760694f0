// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER valgrind it answers futex_waitv itself, before any filter
//
// System calls refused by a seccomp filter, as a container's or an old kernel's would be:
// futex_waitv and membarrier, with ENOSYS and with EPERM, from the start or from some moment on.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "arena/sys/clock.h"
#include "arena/sys/futex.h"
#include "tests/support/stage.h"
#include "tests/support/tier.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct refusal {
	long call;
	int error;
};

static const struct refusal no_waitv_nosys = { SYS_futex_waitv, ENOSYS };
static const struct refusal no_waitv_perm = { SYS_futex_waitv, EPERM };
static const struct refusal no_barrier_nosys = { SYS_membarrier, ENOSYS };
static const struct refusal no_barrier_perm = { SYS_membarrier, EPERM };

static void refuse(const struct refusal *what)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)what->call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)what->error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	need(syscall(what->call, 0, 0, 0, 0, 0) == -1 && errno == what->error);
}

// ---- what must work under whatever filter ----------------------------------------------------------

static void hold(const struct line *line, void *stage_pointer)
{
	struct stage *stage = (struct stage *)stage_pointer;

	stage_lease(stage, NULL);
	line_say(line, stage_lock(stage, 0));
	line_hear(line);
	stage_unlock(stage, 0);
	line_hear(line);
}

// G2: a dead holder's lock is granted. Prints what docs say of the recovery time there.
static void recover(struct stage *stage, const char *what)
{
	enum { ROUNDS = 15, MIDDLE = ROUNDS / 2 };
	uint64_t times[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		struct peer holder = peer_start(hold, stage);
		struct peer killer;
		uint64_t killed;

		need_equal(line_hear(&holder.line), 0);
		fflush(NULL);
		killer.pid = fork();
		need(killer.pid >= 0);
		if (killer.pid == 0) {
			stage_await_waiters(stage, 0, 1);
			stage_data(stage, 0)->token = lh_now();
			kill(holder.pid, SIGKILL);
			_exit(0);
		}
		need_equal(stage_lock(stage, 0), LH_GRANT_OWNER_DIED);
		times[round] = lh_now();
		killed = stage_data(stage, 0)->token;
		times[round] = times[round] > killed ? times[round] - killed : 0;
		need_equal(lh_mutex_consistent(&stage->mutexes[0], stage->lease), 0);
		stage_unlock(stage, 0);
		need(waitpid(killer.pid, NULL, 0) == killer.pid);
		peer_wait(&holder);
	}
	for (int i = 0; i < ROUNDS; i++) // sorted by insertion
		for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
			const uint64_t time = times[j];

			times[j] = times[j - 1];
			times[j - 1] = time;
		}
	printf("recovery after SIGKILL, %s: median %.2f ms, worst of %d %.2f ms\n", what,
	       (double)times[MIDDLE] / 1e6, ROUNDS, (double)times[ROUNDS - 1] / 1e6);
}

static void count(const struct line *line, void *stage_pointer)
{
	struct stage *stage = (struct stage *)stage_pointer;
	lh_grant grant;

	stage_lease(stage, NULL);
	line_hear(line);
	for (uint64_t i = tier_pick(2000, 5000, 50000); i; i--) {
		need_equal(lh_mutex_lock(&stage->mutexes[1], stage->lease, LH_FOREVER, &grant), 0);
		need_equal(grant.flags, 0);
		need_equal(stage_data(stage, 1)->first++, stage_data(stage, 1)->second++);
		need(grant.token > stage_data(stage, 1)->token);
		stage_data(stage, 1)->token = grant.token;
		stage_unlock(stage, 1);
	}
}

// G1, G5, G8: contended by four.
static void contend(struct stage *stage)
{
	struct peer peers[4];
	const uint64_t before = stage_data(stage, 1)->first;

	for (int i = 0; i < 4; i++)
		peers[i] = peer_start(count, stage);
	for (int i = 0; i < 4; i++)
		line_say(&peers[i].line, 0);
	for (int i = 0; i < 4; i++)
		peer_join(&peers[i]);
	need_equal(stage_data(stage, 1)->first, before + 4 * tier_pick(2000, 5000, 50000));
}

static void fire(int number)
{
	(void)number;
}

// G10: a deadline, a cancel token and a signal end a wait; a hand-over too.
static void wait_in_every_way(struct stage *stage)
{
	static const struct lh_lease_options interruptible = { .flags = LH_LEASE_INTERRUPTIBLE };
	struct peer holder = peer_start(hold, stage);
	const struct sigaction action = { .sa_handler = fire };
	const uint64_t begin = lh_now();
	lh_cancel *cancel;
	lh_lease *lease;

	need_equal(line_hear(&holder.line), 0);
	need_equal(lh_mutex_lock(&stage->mutexes[0], stage->lease, LH_NOW, NULL), -EBUSY);
	need_equal(
		lh_mutex_lock(&stage->mutexes[0], stage->lease, lh_deadline_after(LH_MS(30)), NULL),
		-ETIMEDOUT);
	need(lh_now() - begin >= LH_MS(30));

	need_equal(lh_cancel_create(&cancel), 0);
	need_equal(lh_lease_acquire(stage->arena, &interruptible, &lease), 0);
	need_equal(lh_lease_set_cancel(lease, cancel), 0);
	need(sigaction(SIGUSR1, &action, NULL) == 0); // without SA_RESTART
	const pid_t self = getpid();
	const pid_t other = fork();

	if (other == 0) {
		stage_await_waiters(stage, 0, 1);
		for (;;) { // until it takes: the first may come before the sleep
			kill(self, SIGUSR1);
			sched_yield();
		}
	}
	need_equal(lh_mutex_lock(&stage->mutexes[0], lease, LH_FOREVER, NULL), -EINTR);
	need(kill(other, SIGKILL) == 0);
	while (waitpid(other, NULL, 0) != other) // its last signals may still come
		need(errno == EINTR);
	lh_cancel_fire(cancel);
	need_equal(lh_mutex_lock(&stage->mutexes[0], lease, LH_FOREVER, NULL), -ECANCELED);
	need_equal(lh_lease_release(lease), 0);
	lh_cancel_destroy(cancel);

	line_say(&holder.line, 0);
	need_equal(stage_lock(stage, 0), 0);
	stage_unlock(stage, 0);
	line_say(&holder.line, 0);
	peer_join(&holder);
}

static void expire(struct stage *stage)
{
	static const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease;

	need_equal(lh_lease_acquire(stage->arena, &timed, &lease), 0);
	need_equal(lh_mutex_lock(&stage->mutexes[2], lease, LH_NOW, NULL), 0);
	need_equal(lh_lease_renew(lease, LH_MS(20)), 0);
	const uint64_t left = lh_lease_remaining(lease);
	const uint64_t begin = lh_now();

	need_equal(stage_lock(stage, 2), LH_GRANT_OWNER_DIED); // G3
	need(lh_now() - begin >= left - LH_MS(2) || left == 0);
	need_equal(lh_mutex_unlock(&stage->mutexes[2], lease), -ESTALE); // G4
	need_equal(lh_lease_release(lease), -ESTALE);
	need_equal(lh_mutex_consistent(&stage->mutexes[2], stage->lease), 0);
	stage_unlock(stage, 2);
}

static void do_all(struct stage *stage, const char *what)
{
	stage_lease(stage, NULL);
	wait_in_every_way(stage);
	expire(stage);
	contend(stage);
	recover(stage, what);
	stage_is_clean(stage);
	stage_close(stage);
	stage_unlink();
}

// ---- futex_waitv ---------------------------------------------------------------------------------

static void live_without_waitv(const struct line *line, void *context)
{
	const struct refusal *what = (const struct refusal *)context;
	struct stage stage;

	(void)line;
	refuse(what);
	need(!futex_many_available());
	stage = stage_open(NULL, 0);
	do_all(&stage, what->error == EPERM ? "futex_waitv refused with EPERM"
					    : "futex_waitv refused with ENOSYS");
}

static void exclusion_and_recovery_work_without_futex_waitv(void **state)
{
	struct peer peer;

	(void)state;
	watch("without futex_waitv", 300);
	peer = peer_start(live_without_waitv, (void *)&no_waitv_nosys);
	peer_join(&peer);
	peer = peer_start(live_without_waitv, (void *)&no_waitv_perm);
	peer_join(&peer);
}

// The same with it, so that the figures stand side by side.
static void live_unfiltered(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);

	(void)line;
	(void)unused;
	do_all(&stage, futex_many_available() ? "futex_waitv there" : "futex_waitv missing here");
}

static void exclusion_and_recovery_work_with_what_is_there(void **state)
{
	struct peer peer = peer_start(live_unfiltered, NULL);

	(void)state;
	watch("unfiltered", 300);
	peer_join(&peer);
}

// A process that shuts itself in when it has started: what worked before is refused now.
static void shut_in_late(const struct line *line, void *context)
{
	const struct refusal *what = (const struct refusal *)context;
	_Atomic uint32_t word = 0;
	const struct futex_word words[2] = { { &word, 0, true }, { &word, 0, true } };
	struct stage stage = stage_open(NULL, 0);

	(void)line;
	if (futex_many_available())
		need_equal(futex_wait_many(words, 2, lh_now() + 1000), -ETIMEDOUT);
	refuse(what);
	// Sleeps on and comes to the deadline; an error here would have every waiter spin.
	const uint64_t until = lh_now() + LH_MS(10);
	int slept;

	do {
		slept = futex_wait_many(words, 2, until);
		need(slept >= 0 || slept == -ETIMEDOUT || slept == -EINTR);
	} while (slept != -ETIMEDOUT);
	need(lh_now() >= until);
	do_all(&stage, "futex_waitv refused after the start");
}

static void a_filter_that_comes_late_is_noticed(void **state)
{
	struct peer peer;

	(void)state;
	watch("a late filter", 300);
	peer = peer_start(shut_in_late, (void *)&no_waitv_perm);
	peer_join(&peer);
	peer = peer_start(shut_in_late, (void *)&no_waitv_nosys);
	peer_join(&peer);
}

// ---- membarrier ----------------------------------------------------------------------------------

static void open_without_membarrier(const struct line *line, void *context)
{
	lh_arena *arena = NULL;

	(void)line;
	refuse((const struct refusal *)context);
	// Neither creating an ordinary arena nor opening one that others made.
	need_equal(lh_arena_open("leasehold-test-absent", LH_CREATE, NULL, &arena), -ENOTSUP);
	need_equal(lh_arena_unlink("leasehold-test-absent"), -ENOENT);
	need_equal(lh_arena_open(stage_name(), 0, NULL, &arena), -ENOTSUP);
	need_equal(lh_arena_open(stage_name(), LH_CREATE, NULL, &arena), -ENOTSUP);
	need(arena == NULL);
	need(strstr(lh_error_detail(), "membarrier") != NULL);
	// Looking needs no fence.
	need_equal(lh_arena_open(stage_name(), LH_READ_ONLY, NULL, &arena), 0);
	need_equal(lh_arena_check(arena, NULL, NULL), LH_CHECK_CLEAN);
	need_equal(lh_arena_close(arena), 0);
}

static void make_ordinary(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);

	(void)line;
	(void)unused;
	stage_close(&stage);
}

// -ENOTSUP at the open: who cannot be fenced must not share an arena with those who rely on it.
static void an_arena_with_fences_is_refused_without_membarrier(void **state)
{
	struct peer peer;

	(void)state;
	stage_name();
	peer = peer_start(make_ordinary, NULL); // in a process of its own: nothing is inherited
	peer_join(&peer);
	peer = peer_start(open_without_membarrier, (void *)&no_barrier_nosys);
	peer_join(&peer);
	peer = peer_start(open_without_membarrier, (void *)&no_barrier_perm);
	peer_join(&peer);
	stage_unlink();
}

static void live_with_plain_fences(const struct line *line, void *context)
{
	const struct refusal *what = (const struct refusal *)context;
	struct stage stage;

	(void)line;
	refuse(what);
	stage = stage_open(NULL, LH_ARENA_PLAIN_FENCES);
	do_all(&stage, what->error == EPERM ? "membarrier refused with EPERM, plain fences"
					    : "membarrier refused with ENOSYS, plain fences");
}

static void everything_works_with_plain_fences(void **state)
{
	struct peer peer;

	(void)state;
	watch("plain fences", 300);
	peer = peer_start(live_with_plain_fences, (void *)&no_barrier_nosys);
	peer_join(&peer);
	peer = peer_start(live_with_plain_fences, (void *)&no_barrier_perm);
	peer_join(&peer);
}

// A filter that comes after the registration: waiters look again by the backstop.
static void lose_membarrier(const struct line *line, void *context)
{
	struct stage stage = stage_open(NULL, 0);

	(void)line;
	refuse((const struct refusal *)context);
	do_all(&stage, "membarrier refused after the start");
}

static void losing_membarrier_later_strands_nobody(void **state)
{
	struct peer peer;

	(void)state;
	watch("membarrier lost", 300);
	peer = peer_start(lose_membarrier, (void *)&no_barrier_perm);
	peer_join(&peer);
}

// A writer that a filter keeps from fencing the readers of a biased lock: refused, not let in.
static void write_without_membarrier(const struct line *line, void *context)
{
	struct stage stage = stage_open(NULL, 0);
	lh_rwlock rwlock;
	lh_grant grant;

	(void)line;
	stage_lease(&stage, NULL);
	need_equal(lh_rwlock_at(stage.arena, LH_ANYWHERE,
				&(struct lh_rwlock_options){ .name = "biased" }, &rwlock),
		   0);
	refuse((const struct refusal *)context);
	for (int i = 0; i < 2; i++) { // and what the first left is no lock that the second may have
		need_equal(lh_rwlock_write_lock(&rwlock, stage.lease, LH_FOREVER, &grant),
			   -ENOTSUP);
		need(strstr(lh_error_detail(), "membarrier") != NULL);
		need_equal(lh_rwlock_unlock(&rwlock, stage.lease), -EPERM);
	}
	need_equal(lh_rwlock_read_lock(&rwlock, stage.lease, LH_NOW, &grant), 0);
	need_equal(lh_rwlock_upgrade(&rwlock, stage.lease, LH_FOREVER, &grant), -ENOTSUP);
	need_equal(lh_rwlock_unlock(&rwlock, stage.lease), 0); // still read
	stage_close(&stage);
}

static void write_with_membarrier(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);
	lh_rwlock rwlock;
	lh_grant grant;

	(void)line;
	(void)unused;
	stage_lease(&stage, NULL);
	need_equal(lh_rwlock_at(stage.arena, LH_ANYWHERE,
				&(struct lh_rwlock_options){ .name = "biased" }, &rwlock),
		   0);
	need_equal(lh_rwlock_write_lock(&rwlock, stage.lease, LH_NOW, &grant), 0);
	need_equal(grant.flags, 0);
	need_equal(lh_rwlock_unlock(&rwlock, stage.lease), 0);
	stage_is_clean(&stage);
	stage_close(&stage);
}

// G1: by the library's own word, as no test can have a store wait in a processor's buffer at will.
static void losing_membarrier_later_lets_no_writer_in_beside_readers(void **state)
{
	struct peer peer;

	(void)state;
	peer = peer_start(write_without_membarrier, (void *)&no_barrier_perm);
	peer_join(&peer);
	peer = peer_start(write_without_membarrier, (void *)&no_barrier_nosys);
	peer_join(&peer);
	peer = peer_start(write_with_membarrier, NULL);
	peer_join(&peer);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(exclusion_and_recovery_work_with_what_is_there),
		STAGED(exclusion_and_recovery_work_without_futex_waitv),
		STAGED(a_filter_that_comes_late_is_noticed),
		STAGED(an_arena_with_fences_is_refused_without_membarrier),
		STAGED(everything_works_with_plain_fences),
		STAGED(losing_membarrier_later_strands_nobody),
		STAGED(losing_membarrier_later_lets_no_writer_in_beside_readers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
