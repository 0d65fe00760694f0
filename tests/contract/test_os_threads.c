// SPDX-License-Identifier: Apache-2.0
//
// Threads that end while they hold or wait, by returning and by pthread_cancel.
#include <errno.h>
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

#include "tests/support/stage.h"
#include "tests/support/tier.h"

static struct stage stage;

static void open_stage(void)
{
	stage = stage_open(NULL, 0);
	stage_lease(&stage, NULL);
}

static void close_stage(void)
{
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

static void mend(int index)
{
	need_equal(lh_mutex_consistent(&stage.mutexes[index], stage.lease), 0);
	stage_unlock(&stage, index);
}

// ---- the end of a thread -------------------------------------------------------------------------

static void *end_holding(void *own_lease)
{
	lh_lease *lease;
	lh_grant grant;

	if (own_lease)
		need_equal(lh_lease_acquire(stage.arena, NULL, &lease), 0);
	else
		need_equal(lh_thread_lease(stage.arena, &lease), 0);
	need_equal(lh_mutex_lock(&stage.mutexes[0], lease, LH_FOREVER, &grant), 0);
	return own_lease ? lease : NULL;
}

// G2, G12: "exclusive holdings left at thread exit count as died"; the process goes on.
static void a_thread_that_ends_holding_counts_as_died(void **state)
{
	pthread_t thread;
	void *lease;

	(void)state;
	open_stage();
	for (int own = 0; own < 2; own++) {
		need_equal(pthread_create(&thread, NULL, end_holding, own ? &stage : NULL), 0);
		need_equal(stage_lock(&stage, 1), 0); // meanwhile, of no matter
		stage_unlock(&stage, 1);
		need_equal(pthread_join(thread, &lease), 0);
		need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
		mend(0);
		if (lease) // its handle is still there, to be given back
			need_equal(lh_lease_release((lh_lease *)lease), -ESTALE);
	}
	close_stage();
}

static void *outlive_main(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static void end_main_thread(const struct line *line, void *unused)
{
	struct stage own = stage_open(NULL, 0);
	pthread_t thread;

	(void)unused;
	stage_lease(&own, NULL);
	line_say(line, stage_lock(&own, 0));
	need_equal(pthread_create(&thread, NULL, outlive_main, NULL), 0);
	line_hear(line);
	pthread_exit(NULL);
}

// G2: of the main thread too, whose number is the process's, which lives.
static void a_main_thread_that_ends_before_the_others_counts_as_died(void **state)
{
	struct peer peer;

	(void)state;
	open_stage();
	peer = peer_start(end_main_thread, NULL);
	need_equal(line_hear(&peer.line), 0);
	line_say(&peer.line, 0);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	mend(0);
	need_equal(kill(peer.pid, 0), 0);
	need_equal(waitpid(peer.pid, NULL, WNOHANG), 0);
	peer_kill(&peer);
	close_stage();
}

// ---- pthread_cancel ------------------------------------------------------------------------------

struct cancelled {
	int type;
	atomic_int granted;
	atomic_bool ready;
};

static void *lock_until_cancelled(void *context)
{
	struct cancelled *self = (struct cancelled *)context;
	lh_lease *lease;
	lh_grant grant;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	need_equal(lh_thread_lease(stage.arena, &lease), 0);
	pthread_setcanceltype(self->type, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	self->ready = true;
	need_equal(lh_mutex_lock(&stage.mutexes[0], lease, LH_FOREVER, &grant), 0);
	self->granted = 1;
	for (;;)
		pthread_testcancel();
	return NULL;
}

// A lock call is no cancellation point: the thread is cancelled once it has returned, and what it
// was granted counts as died (G2). No wake is lost with it (G8).
static void a_deferred_cancel_waits_for_the_lock_calls_end(void **state)
{
	struct cancelled context = { .type = PTHREAD_CANCEL_DEFERRED };
	struct cancelled behind = { .type = PTHREAD_CANCEL_DEFERRED };
	pthread_t thread, second;
	void *result;

	(void)state;
	open_stage();
	need_equal(stage_lock(&stage, 0), 0);
	need_equal(pthread_create(&thread, NULL, lock_until_cancelled, &context), 0);
	stage_await_waiters(&stage, 0, 1);
	need_equal(pthread_create(&second, NULL, lock_until_cancelled, &behind), 0);
	stage_await_waiters(&stage, 0, 2);
	need_equal(pthread_cancel(thread), 0);
	need_equal(pthread_cancel(second), 0);
	need_equal(context.granted + behind.granted, 0);
	stage_unlock(&stage, 0);
	need_equal(pthread_join(thread, &result), 0);
	need(result == PTHREAD_CANCELED);
	need_equal(pthread_join(second, &result), 0);
	need(result == PTHREAD_CANCELED);
	need_equal(context.granted + behind.granted, 2);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	mend(0);
	close_stage();
}

// Asynchronous cancellation of a thread that sleeps: its end is told like any other, it leaves no
// mark behind, and who queued behind it is not stranded (G8).
static void an_asynchronous_cancel_of_a_sleeper_strands_nobody(void **state)
{
	struct cancelled context = { .type = PTHREAD_CANCEL_ASYNCHRONOUS };
	struct cancelled behind = { .type = PTHREAD_CANCEL_DEFERRED };
	pthread_t thread, second;
	void *result;

	(void)state;
	open_stage();
	need_equal(stage_lock(&stage, 0), 0);
	need_equal(pthread_create(&thread, NULL, lock_until_cancelled, &context), 0);
	stage_await_waiters(&stage, 0, 1);
	need_equal(pthread_create(&second, NULL, lock_until_cancelled, &behind), 0);
	stage_await_waiters(&stage, 0, 2);
	need_equal(pthread_cancel(thread), 0);
	need_equal(pthread_join(thread, &result), 0);
	need(result == PTHREAD_CANCELED);
	need_equal(context.granted, 0);
	stage_unlock(&stage, 0);
	while (!behind.granted)
		sched_yield();
	need_equal(pthread_cancel(second), 0);
	need_equal(pthread_join(second, &result), 0);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	mend(0);
	close_stage();
}

static void *lock_and_unlock(void *context)
{
	struct cancelled *self = (struct cancelled *)context;
	lh_lease *lease;
	lh_grant grant;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	need_equal(lh_thread_lease(stage.arena, &lease), 0);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	self->ready = true;
	for (;;) {
		if (lh_mutex_lock(&stage.mutexes[0], lease, LH_FOREVER, &grant) != 0 ||
		    lh_mutex_consistent(&stage.mutexes[0], lease) != 0 ||
		    lh_mutex_unlock(&stage.mutexes[0], lease) != 0)
			abort();
	}
	return NULL;
}

// The same at any instruction of lock and unlock.
static void an_asynchronous_cancel_anywhere_leaves_a_usable_mutex(void **state)
{
	void *result;

	(void)state;
	open_stage();
	for (uint64_t round = tier_pick(100, 400, 4000); round; round--) {
		struct cancelled contexts[3] = { { .ready = false } };
		pthread_t threads[3];

		for (int i = 0; i < 3; i++)
			need_equal(pthread_create(&threads[i], NULL, lock_and_unlock, &contexts[i]),
				   0);
		for (int i = 0; i < 3; i++) {
			while (!contexts[i].ready)
				sched_yield();
			stage_lock(&stage, 0);
			mend(0);
			need_equal(pthread_cancel(threads[i]), 0);
		}
		for (int i = 0; i < 3; i++) {
			need_equal(pthread_join(threads[i], &result), 0);
			need(result == PTHREAD_CANCELED);
		}
		stage_lock(&stage, 0);
		mend(0);
	}
	close_stage();
}

static void *call_everything(void *context)
{
	struct cancelled *self = (struct cancelled *)context;
	const struct lh_lease_options kinds[] = {
		{ .label = "thread" },
		{ .label = "process", .flags = LH_LEASE_PROCESS },
		{ .label = "ttl", .ttl_ns = LH_SEC(60), .flags = LH_LEASE_AUTO_RENEW },
	};
	uint64_t offset;

	while (!self->ready) // no cancellation point; the cancel is pending from here on
		sched_yield();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct stage own = stage_open(NULL, 0);

		stage_lease(&own, &kinds[i]);
		need(lh_lease_loss_fd(own.lease) >= 0);
		need_equal(lh_mutex_lock(&own.mutexes[3], own.lease, LH_FOREVER, NULL), 0);
		need_equal(lh_region_acquire(own.lease, 64, &offset), 0);
		// Contended, for a time: the owner's process is looked at.
		need_equal(lh_mutex_lock(&own.mutexes[0], own.lease, lh_deadline_after(LH_MS(5)),
					 NULL),
			   -ETIMEDOUT);
		stage_unlock(&own, 3);
		stage_close(&own);
	}
	self->granted = 1;
	for (;;)
		pthread_testcancel();
	return NULL;
}

static void end_this_thread(void *unused)
{
	(void)unused;
	syscall(SYS_exit, 0);
}

static void hold_by_process_without_keeper(const struct line *line, void *unused)
{
	static const struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };
	static const struct lh_lease_options brief = { .ttl_ns = LH_MS(1) };
	struct stage own = stage_open(NULL, 0);
	lh_lease *lost;

	(void)unused;
	stage_lease(&own, &process);
	need_equal(stage_lock(&own, 0), 0);
	need_equal(lh_lease_acquire(own.arena, &brief, &lost), 0);
	need_equal(lh_lease_on_loss(lost, end_this_thread, NULL), 0);
	line_say(line, 0);
	line_hear(line);
}

// No call is a cancellation point, so none can be left half-way with a lock of the library's own.
static void a_pending_cancel_takes_effect_in_no_call(void **state)
{
	struct cancelled context = { .ready = false };
	struct peer holder;
	pthread_t thread;
	void *result;

	(void)state;
	open_stage();
	holder = peer_start(hold_by_process_without_keeper, NULL);
	need_equal(line_hear(&holder.line), 0);
	need_equal(pthread_create(&thread, NULL, call_everything, &context), 0);
	need_equal(pthread_cancel(thread), 0);
	context.ready = true;
	need_equal(pthread_join(thread, &result), 0);
	need(result == PTHREAD_CANCELED);
	need_equal(context.granted, 1);
	peer_kill(&holder);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	mend(0);
	close_stage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(a_thread_that_ends_holding_counts_as_died),
		STAGED(a_main_thread_that_ends_before_the_others_counts_as_died),
		STAGED(a_deferred_cancel_waits_for_the_lock_calls_end),
		STAGED(an_asynchronous_cancel_of_a_sleeper_strands_nobody),
		STAGED(an_asynchronous_cancel_anywhere_leaves_a_usable_mutex),
		STAGED(a_pending_cancel_takes_effect_in_no_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
