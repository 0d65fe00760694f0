// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: LABELS threads
//
// Threads of one process that share a mapping and all that the library keeps in private memory: its
// registries and its keeper thread. ThreadSanitizer looks on (check.tsan).
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { THREADS = 5, SHARED = 3 };

static struct stage stage;
static uint64_t end;
static atomic_ullong grants, losses_told, losses_seen, cancels, deadlocks;

// Plain data under the lock, in which ThreadSanitizer sees any overlap.
static struct {
	uint64_t first, second;
	uint64_t token;
} guarded[STAGE_MUTEXES];

static uint64_t duration(void)
{
	return tier_pick(LH_MS(1500), LH_SEC(5), LH_SEC(20));
}

static void work_inside(int index, const lh_grant *grant)
{
	need(grant->token > guarded[index].token); // G5
	guarded[index].token = grant->token;
	need_equal((int64_t)guarded[index].first, (int64_t)guarded[index].second); // G1
	guarded[index].first++;
	guarded[index].second++;
	grants++;
}

static void run(void *(*body)(void *), lh_cancel *cancel)
{
	pthread_t threads[THREADS];

	stage = stage_open(NULL, 0);
	end = lh_now() + duration();
	for (int i = 0; i < THREADS; i++)
		need_equal(pthread_create(&threads[i], NULL, body, cancel), 0);
	for (int i = 0; i < THREADS; i++)
		need_equal(pthread_join(threads[i], NULL), 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

static unsigned thread_seed(void)
{
	static atomic_uint number;

	return (unsigned)lh_now() + number++ * 7919;
}

// ---- locks ---------------------------------------------------------------------------------------

static void *lock_in_any_order(void *unused)
{
	unsigned seed = thread_seed();
	struct stage own = stage;

	(void)unused;
	while (lh_now() < end) {
		const int first = (int)storm_random(&seed, SHARED);
		const int second = (int)storm_random(&seed, SHARED);
		lh_grant grant;
		int error;

		need_equal(lh_thread_lease(own.arena, &own.lease), 0);
		error = lh_mutex_lock(&own.mutexes[first], own.lease, LH_FOREVER, &grant);
		need_equal(error, 0); // nothing is held, so there is no cycle through this one
		work_inside(first, &grant);
		error = lh_mutex_lock(
			&own.mutexes[second], own.lease,
			storm_random(&seed, 2) ? LH_FOREVER : lh_deadline_after(100000), &grant);
		need(error == 0 || error == -EDEADLK || error == -ETIMEDOUT);
		if (error == -EDEADLK)
			deadlocks++;
		if (error == 0) {
			work_inside(second, &grant);
			stage_unlock(&own, second);
		}
		if (storm_random(&seed, 20) == 0)
			need_equal(lh_lease_release(own.lease), 0);
		else
			stage_unlock(&own, first);
	}
	need_equal(lh_thread_lease(own.arena, &own.lease), 0);
	need_equal(lh_lease_release(own.lease), 0);
	return NULL;
}

// G1, G5; deadlocks are broken, or this would not end.
static void threads_exclude_each_other_and_break_their_cycles(void **state)
{
	(void)state;
	watch("locking in any order", 300);
	grants = deadlocks = 0;
	run(lock_in_any_order, NULL);
	printf("grants %llu, deadlocks %llu\n", grants, deadlocks);
	need(grants > 0 && deadlocks > 0);
}

// ---- the keeper ----------------------------------------------------------------------------------

static void told(void *seen)
{
	losses_told++;
	atomic_fetch_add((atomic_int *)seen, 1);
}

// Two leases: one that nobody renews long enough, and one that the library renews.
static void lose_one(struct stage *own, unsigned *seed)
{
	const struct lh_lease_options options = {
		.ttl_ns = LH_MS(1) + storm_random(seed, 3000000),
		.flags = (storm_random(seed, 2) ? LH_LEASE_PROCESS : 0) |
			 (storm_random(seed, 2) ? LH_LEASE_AUTO_RENEW : 0),
	};
	struct lh_lease_options bounded = options;
	atomic_int seen = 0;
	lh_lease *lease;
	bool lost;

	if (options.flags & LH_LEASE_AUTO_RENEW)
		bounded.max_renewals = 1 + storm_random(seed, 3);
	need_equal(lh_lease_acquire(own->arena, &bounded, &lease), 0);
	need_equal(lh_lease_on_loss(lease, told, &seen), 0);
	need(lh_lease_loss_fd(lease) >= 0);
	lost = storm_random(seed, 2);
	while (lost && !seen)
		sched_yield();
	if (lost) {
		need(!lh_lease_valid(lease));
		need_equal(lh_lease_release(lease), -ESTALE);
		need_equal(seen, 1);
		losses_seen++;
	} else {
		const int error = lh_lease_release(lease);
		const int now = seen;

		// Never because of a release, never after it returned.
		need(error == -ESTALE || (error == 0 && now == 0));
		if (storm_random(seed, 8) == 0)
			sched_yield();
		need_equal(seen, now);
	}
}

static void *keep_and_lose(void *cancel)
{
	const struct lh_lease_options renewed = { .ttl_ns = LH_SEC(60),
						  .renew_every_ns = LH_MS(1),
						  .flags = LH_LEASE_AUTO_RENEW | LH_LEASE_PROCESS };
	unsigned seed = thread_seed();
	struct stage own = stage;

	while (lh_now() < end) {
		const int index = (int)storm_random(&seed, SHARED);
		lh_arena *again;
		lh_grant grant;
		int error;

		need_equal(lh_arena_open(stage_name(), 0, NULL, &again), 0);
		need(again == own.arena);
		need_equal(lh_lease_acquire(again, &renewed, &own.lease), 0);
		lose_one(&own, &seed);
		need_equal(lh_lease_set_cancel(own.lease, (lh_cancel *)cancel), 0);
		error = lh_mutex_lock(&own.mutexes[index], own.lease, LH_FOREVER, &grant);
		need(error == 0 || error == -ECANCELED);
		if (error == 0) {
			work_inside(index, &grant);
			stage_unlock(&own, index);
		} else {
			cancels++;
			if (lh_now() + duration() / 2 < end) // not yet: it was fired half-way
				need_failed("cancelled before the token was fired", __FILE__,
					    __LINE__);
		}
		need_equal(lh_lease_release(own.lease), 0);
		need_equal(lh_arena_close(again), 0);
	}
	return NULL;
}

static void *fire_half_way(void *cancel)
{
	const uint64_t when = end - duration() / 2;

	while (lh_now() < when)
		sched_yield();
	lh_cancel_fire((lh_cancel *)cancel);
	return NULL;
}

static void *keep_lose_and_fire(void *cancel)
{
	static atomic_flag taken = ATOMIC_FLAG_INIT;

	return atomic_flag_test_and_set(&taken) ? keep_and_lose(cancel) : fire_half_way(cancel);
}

// G4, G10: renewal, loss callbacks and descriptors, process leases, cancel tokens, opening and
// closing, all at once.
static void the_keeper_serves_all_threads(void **state)
{
	lh_cancel *cancel;

	(void)state;
	watch("keeping", 300);
	grants = losses_told = losses_seen = cancels = 0;
	for (int i = 0; i < STAGE_MUTEXES; i++)
		guarded[i].token = 0; // another arena, so its tokens begin anew
	need_equal(lh_cancel_create(&cancel), 0);
	run(keep_lose_and_fire, cancel);
	lh_cancel_destroy(cancel);
	printf("grants %llu, losses told %llu, seen %llu, cancelled %llu\n", grants, losses_told,
	       losses_seen, cancels);
	need(grants > 0 && losses_seen > 0 && cancels > 0);
}

// ---- threads that come and go --------------------------------------------------------------------

// That a dead thread's writes come before its successor's is the kernel's doing, which
// ThreadSanitizer does not see; hence atomics here.
static void succeed_inside(int index, const lh_grant *grant)
{
	static _Atomic uint64_t visitors[STAGE_MUTEXES];
	static _Atomic uint64_t last[STAGE_MUTEXES];

	need_equal((int64_t)visitors[index]++, 0); // G1
	need(grant->token > last[index]);          // G5
	last[index] = grant->token;
	visitors[index]--;
	grants++;
}

static void *hold_and_end(void *unused)
{
	unsigned seed = thread_seed();
	struct stage own = stage;
	lh_grant grant;
	int index;

	(void)unused;
	need_equal(lh_thread_lease(own.arena, &own.lease), 0);
	index = (int)storm_random(&seed, SHARED);
	need_equal(lh_mutex_lock(&own.mutexes[index], own.lease, LH_FOREVER, &grant), 0);
	succeed_inside(index, &grant);
	if (grant.flags & LH_GRANT_OWNER_DIED) {
		need_equal(lh_mutex_consistent(&own.mutexes[index], own.lease), 0);
		deadlocks++; // counts deaths here
	}
	if (storm_random(&seed, 2))
		stage_unlock(&own, index);
	return NULL; // half of them with the lock
}

static void *start_others(void *unused)
{
	while (lh_now() < end) {
		pthread_t thread;

		need_equal(pthread_create(&thread, NULL, hold_and_end, unused), 0);
		need_equal(pthread_join(thread, NULL), 0);
	}
	return NULL;
}

// G2: within one process too a thread's end releases.
static void threads_that_end_holding_are_succeeded(void **state)
{
	(void)state;
	watch("ending", 300);
	grants = deadlocks = 0;
	run(start_others, NULL);
	printf("grants %llu, deaths told %llu\n", grants, deadlocks);
	need(grants > 0 && deadlocks > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(threads_exclude_each_other_and_break_their_cycles),
		STAGED(the_keeper_serves_all_threads),
		STAGED(threads_that_end_holding_are_succeeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
