// SPDX-License-Identifier: Apache-2.0
//
// The library's own thread: whose leases it keeps, and what it must not touch.
//
//	LH_LEASE_PROCESS      a_process_lease_is_not_tied_to_what_a_callback_holds,
//	                      its_failures_are_told_to_who_asked
//	LH_LEASE_AUTO_RENEW   a_renewal_by_the_library_never_shortens
//	lh_lease_on_loss      what_an_ended_thread_left_…
//	lh_lease_loss_fd      the_descriptor_of_an_ended_threads_…
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/stage.h"

static const struct lh_lease_options brief = { .ttl_ns = 1000000 };
static const struct lh_lease_options of_process = { .flags = LH_LEASE_PROCESS };
static _Atomic int told;

static void await_told(int count)
{
	while (atomic_load(&told) < count)
		sched_yield();
}

// ---- a callback that takes a lease ---------------------------------------------------------------

static void take_thread_lease(void *arena)
{
	lh_lease *lease;

	need_equal(lh_thread_lease((lh_arena *)arena, &lease), 0);
	told++;
}

static void end_this_thread(void *unused)
{
	(void)unused;
	told++;
	syscall(SYS_exit, 0);
}

// The keeper thread has a lease of its own, and ends while the process lives on.
static void hold_by_process(const struct line *line, void *unused)
{
	struct stage stage = stage_open(NULL, 0);
	lh_lease *lost[2];

	(void)unused;
	need_equal(lh_lease_acquire(stage.arena, &brief, &lost[0]), 0);
	need_equal(lh_lease_on_loss(lost[0], take_thread_lease, stage.arena), 0);
	await_told(1);
	stage_lease(&stage, &of_process);
	line_say(line, stage_lock(&stage, 0));
	need_equal(lh_lease_acquire(stage.arena, &brief, &lost[1]), 0);
	need_equal(lh_lease_on_loss(lost[1], end_this_thread, NULL), 0);
	await_told(2);
	line_say(line, 0);
	line_hear(line);
}

// G1
static void a_process_lease_is_not_tied_to_what_a_callback_holds(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder = peer_start(hold_by_process, NULL);
	lh_grant grant;

	(void)state;
	stage_lease(&stage, NULL);
	need_equal(line_hear(&holder.line), 0);
	need_equal(line_hear(&holder.line), 0);
	need_equal(
		lh_mutex_lock(&stage.mutexes[0], stage.lease, lh_deadline_after(LH_MS(50)), &grant),
		-ETIMEDOUT);
	peer_kill(&holder);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	stage_close(&stage);
	stage_unlink();
}

// ---- duties that outlive their thread and arena --------------------------------------------------

static void note(void *unused)
{
	(void)unused;
	told++;
}

struct left {
	lh_arena *arena;
	lh_lease *lease;
};

static void *leave_a_lease(void *left_pointer)
{
	struct left *left = left_pointer;
	const struct lh_lease_options renewed = { .ttl_ns = LH_SEC(60),
						  .flags = LH_LEASE_AUTO_RENEW };

	need_equal(lh_lease_acquire(left->arena, &renewed, &left->lease), 0);
	need_equal(lh_lease_on_loss(left->lease, note, NULL), 0);
	return NULL;
}

static void what_an_ended_thread_left_is_not_looked_at_once_its_arena_is_closed(void **state)
{
	const struct lh_lease_options renewed = { .ttl_ns = LH_SEC(60),
						  .flags = LH_LEASE_AUTO_RENEW };
	struct stage stage = stage_open(NULL, 0);
	struct left left;
	pthread_t thread;

	(void)state;
	told = 0;
	need_equal(lh_arena_open("/leasehold-keeper", LH_CREATE, NULL, &left.arena), 0);
	need(pthread_create(&thread, NULL, leave_a_lease, &left) == 0);
	need(pthread_join(thread, NULL) == 0);
	await_told(1);
	need_equal(lh_arena_close(left.arena), 0);
	// Each of these has the keeper look at all that it has to do.
	stage_lease(&stage, &renewed);
	for (int i = 0; i < 100; i++)
		need_equal(lh_lease_renew(stage.lease, LH_SEC(60)), 0);
	stage_close(&stage);
	need_equal(lh_lease_release(left.lease), -ESTALE);
	stage_unlink();
	need_equal(lh_arena_unlink("/leasehold-keeper"), 0);
}

static void *leave_a_thread_lease(void *left_pointer)
{
	const struct left *left = left_pointer;
	lh_lease *lease;
	int *fd = malloc(sizeof(*fd));

	need(fd != NULL);
	need_equal(lh_thread_lease(left->arena, &lease), 0);
	*fd = lh_lease_loss_fd(lease);
	need(*fd >= 0);
	return fd;
}

// "becomes and stays readable once the lease is lost … lh_arena_close closes that of an
// lh_thread_lease whose thread ended"
static void the_descriptor_of_an_ended_threads_lease_goes_with_the_arena(void **state)
{
	struct left left;
	struct pollfd look = { .events = POLLIN };
	pthread_t thread;
	void *fd;

	(void)state;
	need_equal(lh_arena_open("/leasehold-keeper", LH_CREATE, NULL, &left.arena), 0);
	need(pthread_create(&thread, NULL, leave_a_thread_lease, &left) == 0);
	need(pthread_join(thread, &fd) == 0);
	look.fd = *(int *)fd;
	free(fd);
	need_equal(poll(&look, 1, -1), 1);
	need_equal(look.revents, POLLIN);
	need_equal(lh_arena_close(left.arena), 0);
	need_equal(fcntl(look.fd, F_GETFD), -1);
	need_equal(lh_arena_unlink("/leasehold-keeper"), 0);
}

// ---- renewal -------------------------------------------------------------------------------------

static void a_renewal_by_the_library_never_shortens(void **state)
{
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(30),
						  .flags = LH_LEASE_AUTO_RENEW,
						  .renew_every_ns = LH_MS(1) };
	struct stage stage = stage_open(NULL, 0);
	uint64_t until;

	(void)state;
	stage_lease(&stage, &options);
	need_equal(lh_lease_renew(stage.lease, LH_SEC(6000)), 0);
	until = lh_now() + LH_MS(20); // time for many renewals
	while (lh_now() < until)
		need(lh_lease_remaining(stage.lease) > LH_SEC(5000));
	stage_close(&stage);
	stage_unlink();
}

static void its_failures_are_told_to_who_asked(void **state)
{
	const struct lh_arena_options tiny = { .max_leases = 1 };
	lh_arena *arena;
	lh_lease *lease, *other;

	(void)state;
	need_equal(lh_arena_open("/leasehold-keeper", LH_CREATE, &tiny, &arena), 0);
	need_equal(lh_thread_lease(arena, &lease), 0);
	need_equal(lh_region_release(lease, 123), -EPERM);
	need_equal(lh_lease_acquire(arena, &of_process, &other), -ENOLCK);
	need(strstr(lh_error_detail(), "leases are in use") != NULL);
	need_equal(lh_lease_release(lease), 0);
	need_equal(lh_arena_close(arena), 0);
	need_equal(lh_arena_unlink("/leasehold-keeper"), 0);
}

static void a_failure_has_no_detail_of_an_earlier_one(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	lh_mutex other;

	(void)state;
	stage_lease(&stage, NULL);
	need_equal(stage_lock(&stage, 0), 0);
	need_equal(lh_region_release(stage.lease, 123), -EPERM);
	need(lh_error_detail()[0] != 0);
	need_equal(lh_mutex_lock(&stage.mutexes[0], stage.lease, LH_NOW, NULL), -EDEADLK);
	need_equal(lh_error_detail()[0], 0);
	need_equal(lh_region_release(stage.lease, 123), -EPERM);
	need_equal(lh_lease_renew(stage.lease, LH_SEC(1)), -EINVAL);
	need(strstr(lh_error_detail(), "no TTL") != NULL);
	need_equal(lh_region_release(stage.lease, 123), -EPERM);
	need_equal(lh_mutex_element(&stage.mutexes[0], 1000, &other), -EINVAL);
	need(strstr(lh_error_detail(), "beyond the array") != NULL);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(a_process_lease_is_not_tied_to_what_a_callback_holds),
		STAGED(what_an_ended_thread_left_is_not_looked_at_once_its_arena_is_closed),
		STAGED(the_descriptor_of_an_ended_threads_lease_goes_with_the_arena),
		STAGED(a_renewal_by_the_library_never_shortens),
		STAGED(its_failures_are_told_to_who_asked),
		STAGED(a_failure_has_no_detail_of_an_earlier_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
