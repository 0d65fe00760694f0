// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER valgrind children leave what they inherit, which it takes for leaks
//
// fork, clone(2) past the C library, vfork and exec: what a child has, and what its parent keeps.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/sanitized.h"
#include "tests/support/stage.h"
#include "tests/support/tier.h"

// ---- what is inherited ---------------------------------------------------------------------------

static const struct lh_lease_options kinds[] = {
	{ .label = "plain" },
	{ .label = "ttl", .ttl_ns = LH_SEC(3600) },
	{ .label = "renewed", .ttl_ns = LH_SEC(3600), .flags = LH_LEASE_AUTO_RENEW },
	{ .label = "process", .flags = LH_LEASE_PROCESS },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static atomic_int losses;

static void count_loss(void *unused)
{
	(void)unused;
	losses++;
}

struct family {
	struct stage stage;
	lh_lease *leases[KINDS];
	lh_lease *thread;
	uint64_t region;
};

static struct family make_family(void)
{
	struct family family = { .stage = stage_open(NULL, 0) };

	losses = 0;
	for (int i = 0; i < KINDS; i++) {
		need_equal(lh_lease_acquire(family.stage.arena, &kinds[i], &family.leases[i]), 0);
		need_equal(lh_mutex_lock(&family.stage.mutexes[i], family.leases[i], LH_NOW, NULL),
			   0);
		need(lh_lease_loss_fd(family.leases[i]) >= 0);
		need_equal(lh_lease_on_loss(family.leases[i], count_loss, NULL), 0);
	}
	need_equal(lh_thread_lease(family.stage.arena, &family.thread), 0);
	need_equal(lh_region_acquire(family.leases[0], 100, &family.region), 0);
	return family;
}

static void end_family(struct family *family)
{
	need_equal(losses, 0);
	for (int i = 0; i < KINDS; i++) {
		struct pollfd loss = { .fd = lh_lease_loss_fd(family->leases[i]),
				       .events = POLLIN };

		need_equal(poll(&loss, 1, 0), 0);
		need(lh_lease_valid(family->leases[i]));
		need(lh_mutex_held(&family->stage.mutexes[i], family->leases[i]));
		need_equal(lh_mutex_unlock(&family->stage.mutexes[i], family->leases[i]), 0);
		need_equal(lh_lease_release(family->leases[i]), 0);
	}
	need_equal(lh_lease_release(family->thread), 0);
	stage_is_clean(&family->stage);
	stage_close(&family->stage);
	stage_unlink();
}

static void lease_is_void(const struct family *family, lh_lease *lease, int mutex)
{
	lh_grant grant;

	need(!lh_lease_valid(lease));
	need_equal(lh_lease_remaining(lease), 0);
	need(!lh_mutex_held(&family->stage.mutexes[mutex], lease));
	need_equal(lh_mutex_unlock(&family->stage.mutexes[mutex], lease), -ESTALE);
	need_equal(lh_mutex_consistent(&family->stage.mutexes[mutex], lease), -ESTALE);
	need_equal(lh_mutex_lock(&family->stage.mutexes[7], lease, LH_NOW, &grant), -ESTALE);
	need_equal(lh_mutex_lock(&family->stage.mutexes[7], lease, LH_FOREVER, &grant), -ESTALE);
	need_equal(lh_lease_renew(lease, LH_SEC(1)), -ESTALE);
	need_equal(lh_lease_loss_fd(lease), -ESTALE);
	need_equal(lh_lease_on_loss(lease, count_loss, NULL), -ESTALE);
	need_equal(lh_lease_set_cancel(lease, NULL), -ESTALE);
}

static void be_child(const struct line *line, void *context)
{
	struct family *family = (struct family *)context;
	struct stage *stage = &family->stage;
	const uint64_t parents = lh_lease_id(family->thread);
	uint64_t offset;
	lh_lease *own;

	(void)line;
	for (int i = 0; i < KINDS; i++)
		lease_is_void(family, family->leases[i], i);
	need_equal(lh_region_acquire(family->leases[0], 64, &offset), -ESTALE);
	need_equal(lh_region_release(family->leases[0], family->region), -ESTALE);

	// Arena, handles and regions are usable; the parent's locks are the parent's.
	need_equal(lh_thread_lease(stage->arena, &own), 0);
	need(own != family->thread && lh_lease_id(own) != parents);
	for (int i = 0; i < KINDS; i++)
		need_equal(lh_mutex_lock(&stage->mutexes[i], own, LH_NOW, NULL), -EBUSY);
	need_equal(lh_mutex_lock(&stage->mutexes[7], own, LH_NOW, NULL), 0);
	need(lh_arena_range(stage->arena, family->region, 100) != NULL);

	for (int i = 0; i < KINDS; i++)
		need_equal(lh_lease_release(family->leases[i]), -ESTALE);
	for (int i = 0; i < KINDS; i++)
		need_equal(lh_mutex_lock(&stage->mutexes[i], own, LH_NOW, NULL), -EBUSY);

	// Leases of every kind are to be had, the child's own keeper thread included.
	for (int i = 0; i < KINDS; i++) {
		need_equal(lh_lease_acquire(stage->arena, &kinds[i], &stage->lease), 0);
		need_equal(lh_mutex_lock(&stage->mutexes[6], stage->lease, LH_NOW, NULL), 0);
		need(lh_lease_loss_fd(stage->lease) >= 0);
		need_equal(lh_lease_release(stage->lease), 0);
	}
	need_equal(lh_mutex_unlock(&stage->mutexes[7], own), 0);
	need_equal(lh_lease_release(own), 0);
	need_equal(lh_arena_close(stage->arena), 0);
}

// G4: in a forked child an inherited lease is lost, and nothing that is done with it reaches the
// parent's; arena and handles work.
static void a_forked_child_has_the_arena_and_void_leases(void **state)
{
	struct family family = make_family();
	struct peer child = peer_start(be_child, &family);

	(void)state;
	peer_join(&child);
	child = peer_start(be_child, &family); // no second child sees another thing
	peer_join(&child);
	end_family(&family);
}

// A grandchild's are void too, whether or not the child between them used the library.
static void be_idle_parent(const struct line *line, void *context)
{
	struct peer child = peer_start(be_child, context);

	(void)line;
	peer_join(&child);
}

static void a_grandchild_has_void_leases_too(void **state)
{
	struct family family = make_family();
	struct peer child = peer_start(be_idle_parent, &family);

	(void)state;
	peer_join(&child);
	end_family(&family);
}

// ---- attach locks --------------------------------------------------------------------------------

static void hold_nothing(const struct line *line, void *stage_pointer)
{
	(void)stage_pointer;
	line_say(line, 0);
	line_hear(line);
}

// lh_remove sees a forked child that did nothing but be forked, and sees it go.
static void a_forked_child_counts_as_one_who_has_the_arena_open(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer child;
	uint64_t offset;

	(void)state;
	need_equal(lh_region_at(stage.arena, LH_ANYWHERE, 64, "region", &offset), 0);
	child = peer_start(hold_nothing, &stage);
	line_hear(&child.line);
	need_equal(lh_remove(stage.arena, offset), -EBUSY);
	line_say(&child.line, 0);
	peer_join(&child);
	need_equal(lh_remove(stage.arena, offset), 0);
	stage_close(&stage);
	stage_unlink();
}

static void remove_once_orphaned(const struct line *line, void *pipe_end)
{
	struct stage stage = stage_open(NULL, 0);
	const int *report = (const int *)pipe_end;
	const pid_t parent = getpid();
	uint64_t offset;

	need_equal(lh_region_at(stage.arena, LH_ANYWHERE, 64, "region", &offset), 0);
	if (fork() == 0) {
		int64_t result;

		need_equal(lh_remove(stage.arena, offset), -EBUSY);
		kill(parent, SIGKILL);
		while (getppid() == parent)
			sched_yield();
		result = lh_remove(stage.arena, offset);
		need(write(*report, &result, sizeof(result)) == sizeof(result));
		_exit(0);
	}
	line_hear(line);
}

// Nor does a child keep its parent's attach lock: with the parent dead it is alone.
static void a_dead_parent_is_not_kept_attached_by_its_child(void **state)
{
	struct peer parent;
	int report[2];
	int64_t result;

	(void)state;
	stage_name();
	need(pipe(report) == 0);
	parent = peer_start(remove_once_orphaned, &report[1]);
	need_equal(peer_wait(&parent), SIGKILL);
	need(read(report[0], &result, sizeof(result)) == sizeof(result));
	need_equal(result, 0);
	close(report[0]);
	close(report[1]);
	stage_unlink();
}

// ---- a busy parent -------------------------------------------------------------------------------

static atomic_bool stop;

static void *work(void *stage_pointer)
{
	struct stage stage = *(struct stage *)stage_pointer;

	while (!stop) {
		stage_lease(&stage, &kinds[stage_data(&stage, 0)->first % KINDS]);
		stage_lock(&stage, 0);
		stage_data(&stage, 0)->first++;
		stage_unlock(&stage, 0);
		need_equal(lh_lease_release(stage.lease), 0);
	}
	return NULL;
}

static void work_once(const struct line *line, void *stage_pointer)
{
	struct stage *stage = (struct stage *)stage_pointer;
	lh_arena *again;

	(void)line;
	for (int i = 0; i < KINDS; i++) {
		stage_lease(stage, &kinds[i]);
		stage_lock(stage, 0);
		stage_unlock(stage, 0);
		need_equal(lh_lease_release(stage->lease), 0);
	}
	need_equal(lh_arena_open(stage_name(), 0, NULL, &again), 0);
	need_equal(lh_arena_close(again), 0);
}

// Whatever locks of its own the library held in other threads at that moment.
static void a_child_forked_amid_other_threads_calls_works(void **state)
{
	struct stage stage;
	pthread_t threads[3];

	(void)state;
	if (SANITIZED) {
		print_message("SKIP: test_os_fork: a sanitizer's allocator has locks that a child "
			      "inherits locked\n");
		skip();
	}
	stage = stage_open(NULL, 0);
	stop = false;
	for (int i = 0; i < 3; i++)
		need_equal(pthread_create(&threads[i], NULL, work, &stage), 0);
	for (uint64_t round = tier_pick(10, 40, 300); round; round--) {
		struct peer child = peer_start(work_once, &stage);

		peer_join(&child);
	}
	stop = true;
	for (int i = 0; i < 3; i++)
		need_equal(pthread_join(threads[i], NULL), 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// ---- clone(2) past the C library, vfork ----------------------------------------------------------

// No handler has run in such a child, and libc takes it for its parent. What counts is that nothing
// it does is taken for the parent's doing, and that it gets no lease whose end would go untold.
static void a_raw_clone_has_void_leases_and_gets_none(void **state)
{
	struct family family = make_family();
	int status;

	(void)state;
	const pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0) {
		lh_lease *lease = NULL;

		for (int i = 0; i < KINDS; i++) {
			if (lh_lease_valid(family.leases[i]) ||
			    lh_mutex_unlock(&family.stage.mutexes[i], family.leases[i]) != -ESTALE)
				_exit(1);
		}
		if (lh_lease_acquire(family.stage.arena, NULL, &lease) != -ENOTSUP || lease)
			_exit(2);
		if (lh_lease_release(family.leases[0]) != -ESTALE)
			_exit(3);
		_exit(0);
	}
	need(pid > 0);
	need(waitpid(pid, &status, 0) == pid);
	need_equal(status, 0);
	end_family(&family);
}

static void a_vfork_with_exec_leaves_the_parents_leases_alone(void **state)
{
	struct family family = make_family();
	int status;

	(void)state;
	const pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): tested here

	if (pid == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	need(pid > 0);
	need(waitpid(pid, &status, 0) == pid);
	need_equal(status, 0);
	end_family(&family);
}

// ---- exec ----------------------------------------------------------------------------------------

struct exec_case {
	const struct lh_lease_options *options;
	bool from_thread;
};

static void *become_sleep(void *unused)
{
	(void)unused;
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	need_failed("execl", __FILE__, __LINE__);
	return NULL;
}

static void hold_and_exec(const struct line *line, void *context)
{
	const struct exec_case *which = (const struct exec_case *)context;
	struct stage stage = stage_open(NULL, 0);
	pthread_t thread;

	stage_lease(&stage, which->options);
	line_say(line, stage_lock(&stage, 0));
	line_hear(line);
	if (which->from_thread)
		need_equal(pthread_create(&thread, NULL, become_sleep, NULL), 0);
	else
		become_sleep(NULL);
	for (;;)
		pause();
}

// G2: exec ends the owner, though the process goes on under the same number; and by G12 its data
// are told to be damaged.
static void exec_releases_what_was_held(void **state)
{
	struct stage stage = stage_open(NULL, 0);

	(void)state;
	stage_lease(&stage, NULL);
	for (int i = 0; i < 2 * KINDS; i++) {
		struct exec_case which = { &kinds[i / 2], i % 2 };
		struct peer peer = peer_start(hold_and_exec, &which);

		need_equal(line_hear(&peer.line), 0);
		need_equal(lh_mutex_lock(&stage.mutexes[0], stage.lease, LH_NOW, NULL), -EBUSY);
		line_say(&peer.line, 0);
		need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
		need_equal(kill(peer.pid, 0), 0);
		need_equal(waitpid(peer.pid, NULL, WNOHANG), 0);
		need_equal(lh_mutex_consistent(&stage.mutexes[0], stage.lease), 0);
		stage_unlock(&stage, 0);
		stage_is_clean(&stage);
		peer_kill(&peer);
	}
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(a_forked_child_has_the_arena_and_void_leases),
		STAGED(a_grandchild_has_void_leases_too),
		STAGED(a_forked_child_counts_as_one_who_has_the_arena_open),
		STAGED(a_dead_parent_is_not_kept_attached_by_its_child),
		STAGED(a_child_forked_amid_other_threads_calls_works),
		STAGED(a_raw_clone_has_void_leases_and_gets_none),
		STAGED(a_vfork_with_exec_leaves_the_parents_leases_alone),
		STAGED(exec_releases_what_was_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
