// SPDX-License-Identifier: Apache-2.0
//
// barrier.c: lease-bench barrier.
//
// round: so many processes go through the same number of rounds, and nothing else; the time of one
// round by the clock of one of them. A pool of processes for each peer and each repetition.
//
// kill: all but one party sleep at the barrier; the missing one, blocked, is killed. Measured is
// from just before kill(2) to the first return of a wait, which tells of it, read there. A pthread
// barrier has nothing to compare: its waiters sleep for ever. What pthread has for a death is the
// robust mutex, so the reference is one waiter that is granted a robust mutex whose holder is
// killed.
//
// recovers: whether a wait returns when the missing party is killed.
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "further.h"
#include "peer.h"
#include "process.h"
#include "recovers.h"
#include "report.h"
#include "scratch.h"

static void measure_rounds(struct run *run, const struct bench_case *self, double seconds);
static void measure_kill(struct run *run, const struct bench_case *self, double seconds);
static void measure_recovers(struct run *run, const struct bench_case *self, double seconds);

static const struct bench_case cases[] = {
	{ "round", "a round of 2, 4 and 8 processes", 6, measure_rounds },
	{ "kill", "SIGKILL of the missing party, to the first return of a wait", 2, measure_kill },
	{ "recovers", "whether the death of the missing party lets a wait return, and tells it", 1,
	  measure_recovers },
	{ 0 },
};

const struct subcommand barrier_subcommand = {
	.name = "barrier",
	.summary = "lh_barrier against process-shared pthread barriers",
	.cases = cases,
};

enum { PTHREAD, LEASE, COLUMNS, MOST_PARTIES = 8 };

static const char *const names[COLUMNS] = { "pthread barrier", "lh_barrier" };

struct pool_shared {
	gate ready, go, parked;
	uint64_t rounds;
	double ns; // of one round, by the first party
	bool quit;
	pthread_barrier_t barrier;
	uint64_t returned_ns; // measure_kill
	gate returned;
};

struct pool {
	int column;
	uint32_t parties, next;
	struct pool_shared *shared;
	char name[SCRATCH_NAME];
	pid_t further; // or 0
	pid_t pids[MOST_PARTIES];
	lh_arena *arena;
	lh_lease *lease;
	lh_barrier barrier;
};

static void check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

static void join(struct pool *pool)
{
	const struct lh_barrier_options options = { .parties = pool->parties, .name = "bench" };

	check(lh_arena_open(pool->name, LH_CREATE, NULL, &pool->arena), "lh_arena_open");
	check(lh_barrier_at(pool->arena, LH_ANYWHERE, &options, &pool->barrier), "lh_barrier_at");
	check(lh_lease_acquire(pool->arena, NULL, &pool->lease), "lh_lease_acquire");
	check(lh_barrier_join(&pool->barrier, pool->lease), "lh_barrier_join");
}

static void go_round(struct pool *pool, uint64_t rounds)
{
	lh_grant grant;

	if (pool->column == PTHREAD) {
		for (uint64_t i = 0; i < rounds; i++)
			pthread_barrier_wait(&pool->shared->barrier);
		return;
	}
	for (uint64_t i = 0; i < rounds; i++)
		check(lh_barrier_wait(&pool->barrier, pool->lease, LH_FOREVER, &grant),
		      "lh_barrier_wait");
}

static void take_part(void *context)
{
	struct pool *pool = context;
	struct pool_shared *shared = pool->shared;
	uint32_t slice = 0;

	if (pool->column == LEASE)
		join(pool);
	for (;;) {
		gate_add(&shared->ready, 1);
		slice = gate_await_order(&shared->go, slice);
		if (shared->quit)
			break;
		go_round(pool, 1); // all have come
		const uint64_t start = measure_now();
		go_round(pool, shared->rounds);
		if (pool->next == 0)
			shared->ns = (double)(measure_now() - start) / (double)shared->rounds;
		gate_add(&shared->parked, 1);
	}
	if (pool->column == LEASE)
		check(lh_lease_release(pool->lease), "lh_lease_release");
}

static void pool_create(struct pool *pool, int column, uint32_t parties)
{
	pthread_barrierattr_t attributes;

	*pool = (struct pool){ .column = column, .parties = parties };
	pool->shared = process_shared_memory(sizeof(*pool->shared));
	scratch_name(pool->name);
	if (column == LEASE)
		pool->further = further_start(pool->name);
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&pool->shared->barrier, &attributes, parties);
}

static void pool_destroy(struct pool *pool)
{
	if (pool->further)
		further_end(pool->further);
	munmap(pool->shared, sizeof(*pool->shared));
	scratch_unlink(pool->name);
}

static void pool_start(struct pool *pool, int column, uint32_t parties)
{
	pool_create(pool, column, parties);
	for (pool->next = 0; pool->next < parties; pool->next++)
		pool->pids[pool->next] = process_start(take_part, pool);
	gate_await(&pool->shared->ready, parties);
}

static double pool_slice(struct pool *pool, uint64_t rounds)
{
	struct pool_shared *shared = pool->shared;

	shared->rounds = rounds;
	atomic_store(&shared->ready, 0);
	atomic_store(&shared->parked, 0);
	gate_add(&shared->go, 1);
	gate_await(&shared->parked, pool->parties);
	gate_await(&shared->ready, pool->parties);
	return shared->ns;
}

static void pool_end(struct pool *pool)
{
	pool->shared->quit = true;
	gate_add(&pool->shared->go, 1);
	for (uint32_t i = 0; i < pool->parties; i++)
		process_finish(pool->pids[i]);
	pool_destroy(pool);
}

#define SLICES 4 // with one pool

static void compare_rounds(struct run *run, const struct bench_case *self, uint32_t parties,
			   double seconds)
{
	const uint64_t rounds_each = run->quick ? 100 : 2000 / parties;
	struct samples *samples = samples_create(COLUMNS);
	char what[32];

	snprintf(what, sizeof(what), "%u parties", parties);
	struct rounds rounds = rounds_begin(run, what, COLUMNS, seconds);
	while (rounds_next(&rounds) && (rounds.round + 1) * SLICES <= MEASURE_ROUNDS) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];
			struct pool pool;

			pool_start(&pool, (int)column, parties);
			for (size_t slice = 0; slice < SLICES; slice++)
				samples_set(samples, rounds.round * SLICES + slice, column,
					    pool_slice(&pool, rounds_each));
			pool_end(&pool);
		}
	}
	const struct comparison comparison = { .case_name = self->name,
					       .what = what,
					       .peer = names[LEASE],
					       .reference = names[PTHREAD],
					       .unit = "ns",
					       .group = SLICES,
					       .target = { TARGET_RATIO_AT_MOST, 1.0 } };
	report_compare(run->report, &comparison, samples, LEASE, PTHREAD);
	samples_destroy(samples);
}

static void measure_rounds(struct run *run, const struct bench_case *self, double seconds)
{
	for (uint32_t parties = 2; parties <= MOST_PARTIES; parties *= 2)
		compare_rounds(run, self, parties, seconds / 3);
}

// ---- kill ----------------------------------------------------------------------------------------
static void note_return(struct pool *pool)
{
	uint32_t none = 0;

	if (atomic_compare_exchange_strong(&pool->shared->returned, &none, 2)) {
		pool->shared->returned_ns = measure_now();
		gate_set(&pool->shared->returned, 1);
	}
}

static void wait_for_dead(void *context)
{
	struct pool *pool = context;
	lh_grant grant;

	join(pool);
	gate_add(&pool->shared->ready, 1);
	if (pool->next == 0) { // the one that is missing
		for (;;)
			pause();
	}
	if (lh_barrier_wait(&pool->barrier, pool->lease, LH_FOREVER, &grant) != -EOWNERDEAD)
		process_die("lh_barrier_wait did not tell of the death");
	note_return(pool);
	check(lh_lease_release(pool->lease), "lh_lease_release");
}

static double kill_party(struct pool *pool, uint32_t parties)
{
	pool_create(pool, LEASE, parties);
	for (pool->next = 0; pool->next < parties; pool->next++)
		pool->pids[pool->next] = process_start(wait_for_dead, pool);
	gate_await(&pool->shared->ready, parties);
	for (uint32_t i = 0; i < parties; i++)
		process_await_asleep(pool->pids[i], "barrier");
	measure_sleep_until(measure_now() + 2000000); // see settle in mutex_kill.c
	const uint64_t start = measure_now();
	kill(pool->pids[0], SIGKILL);
	gate_await(&pool->shared->returned, 1);
	const double ns = (double)(pool->shared->returned_ns - start);
	process_bury(pool->pids[0]);
	for (uint32_t i = 1; i < parties; i++)
		process_finish(pool->pids[i]);
	pool_destroy(pool);
	return ns;
}

struct robust {
	struct lock lock;
	struct pool_shared *shared;
	bool holds;
};

static void lock_robust(void *context)
{
	struct robust *robust = context;
	struct pool pool = { .shared = robust->shared };

	peer_pthread_robust.attach(&robust->lock);
	if (robust->holds) {
		robust->lock.peer->lock(&robust->lock);
		gate_add(&robust->shared->ready, 1);
		for (;;)
			pause();
	}
	gate_add(&robust->shared->ready, 1);
	if (robust->lock.peer->lock(&robust->lock) != PEER_OWNER_DIED)
		process_die("the robust mutex did not tell of the death");
	note_return(&pool);
	robust->lock.peer->unlock(&robust->lock);
	peer_pthread_robust.detach(&robust->lock);
}

static double kill_robust(void)
{
	struct robust robust = { .shared = process_shared_memory(sizeof(*robust.shared)) };
	pid_t holder, waiter;

	peer_create(&robust.lock, &peer_pthread_robust);
	robust.holds = true;
	holder = process_start(lock_robust, &robust);
	gate_await(&robust.shared->ready, 1);
	robust.holds = false;
	waiter = process_start(lock_robust, &robust);
	gate_await(&robust.shared->ready, 2);
	process_await_asleep(holder, "barrier");
	process_await_asleep(waiter, "barrier");
	measure_sleep_until(measure_now() + 2000000);
	const uint64_t start = measure_now();
	kill(holder, SIGKILL);
	gate_await(&robust.shared->returned, 1);
	const double ns = (double)(robust.shared->returned_ns - start);
	process_bury(holder);
	process_finish(waiter);
	robust.lock.peer->destroy(&robust.lock);
	munmap(robust.shared, sizeof(*robust.shared));
	return ns;
}

static void measure_kill(struct run *run, const struct bench_case *self, double seconds)
{
	enum { ROBUST, TWO, EIGHT, KILLS };
	struct samples *samples = samples_create(KILLS);
	struct rounds rounds = rounds_begin(run, self->name, KILLS, seconds);

	while (rounds_next(&rounds) && rounds.round < MEASURE_ROUNDS) {
		for (size_t i = 0; i < KILLS; i++) {
			const size_t column = rounds.order[i];
			struct pool pool;

			samples_set(samples, rounds.round, column,
				    column == ROBUST ? kill_robust()
						     : kill_party(&pool, column == TWO ? 2 : 8));
		}
	}
	for (size_t column = TWO; column < KILLS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = column == TWO ? "1 waiter" : "7 waiters",
			.peer = names[LEASE],
			.reference = peer_pthread_robust.name,
			.unit = "ns",
			.latency = true,
			.target = { TARGET_RATIO_AT_MOST, 1.2 },
		};

		report_compare(run->report, &comparison, samples, column, ROBUST);
	}
	samples_destroy(samples);
}

// ---- recovers ------------------------------------------------------------------------------------
static struct pool pair; // the present one, of who is to be killed and who waits

static void create_lease(struct lock *lock)
{
	(void)lock;
	pool_create(&pair, LEASE, 2);
}

static void create_pthread(struct lock *lock)
{
	(void)lock;
	pool_create(&pair, PTHREAD, 2);
}

static void destroy(struct lock *lock)
{
	(void)lock;
	pool_destroy(&pair);
}

static void attach(struct lock *lock)
{
	(void)lock;
	if (pair.column == LEASE)
		join(&pair);
}

static void detach(struct lock *lock)
{
	(void)lock;
	if (pair.column == LEASE)
		check(lh_lease_release(pair.lease), "lh_lease_release");
}

static int be_missed(struct lock *lock)
{
	(void)lock;
	return 0;
}

static int wait_with(struct lock *lock)
{
	lh_grant grant;
	int error;

	(void)lock;
	if (pair.column == PTHREAD) {
		pthread_barrier_wait(&pair.shared->barrier);
		return 0;
	}
	error = lh_barrier_wait(&pair.barrier, pair.lease, LH_FOREVER, &grant);
	if (error == -EOWNERDEAD)
		return PEER_OWNER_DIED;
	check(error, "lh_barrier_wait");
	return 0;
}

static void leave(struct lock *lock)
{
	(void)lock;
}

#define PARTIES(title, how)                                                                        \
	{                                                                                          \
		.name = (title), .create = (how), .destroy = destroy, .attach = attach,            \
		.detach = detach, .hold = be_missed, .lock = wait_with, .unlock = leave            \
	}

static void measure_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	const struct peer lease = PARTIES(names[LEASE], create_lease);
	const struct peer pthread = PARTIES(names[PTHREAD], create_pthread);
	const struct peer *const peers[] = { &peer_pthread_robust, &lease, &pthread };
	const struct peer_set set = { .peers = peers, .count = sizeof(peers) / sizeof(peers[0]) };

	compare_recovery(run, self, &set, seconds);
}
