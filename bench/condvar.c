// SPDX-License-Identifier: Apache-2.0
//
// condvar.c: lease-bench condvar. Two process-shared condition variables, each with the mutex of
// its own kind, used alike by processes that are ordered about over gates.
//
//	ping-pong	two processes hand a turn to and fro, each waiting for it: a hand-over
//	broadcast	n wait; one wakes all: until the last of them has had the mutex
//	morphing	what it could save to move the woken to the mutex's queue (wait morphing): the same
//			from the start in that queue; woken after the unlock; and how often each waiter sleeps
//			until it has the mutex
//	signal		a signal that nobody waits for
//	kill		in condvar_kill.c
//	recovers	in condvar_recovers.c
#include "condvar.h"

#include <errno.h>
#include <leasehold/leasehold.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "further.h"
#include "measure.h"
#include "process.h"
#include "report.h"
#include "scratch.h"

#define MOST_MEMBERS 17

enum { LEASE, PTHREAD, PEERS };

static const char *const names[PEERS] = { "leasehold", "pthread" };

enum order {
	ORDER_NONE,
	ORDER_PING,
	ORDER_WAIT,
	ORDER_BROADCAST,
	ORDER_BROADCAST_LATE, // once the mutex is free
	ORDER_LOCK,           // and hold
	ORDER_QUEUE,
	ORDER_UNLOCK,
	ORDER_SIGNAL,
	ORDER_QUIT
};

struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	_Alignas(64) volatile uint32_t turn; // protected by the mutex
	volatile uint32_t wanted;            // what turn has to become for those who wait
	_Alignas(64) gate orders[MOST_MEMBERS];
	gate done;    // counts members
	gate waiting; // counts those who are about to wait, with the mutex
	enum order order[MOST_MEMBERS];
	uint32_t repeats;
	uint64_t began, ended[MOST_MEMBERS];
	uint64_t slept[MOST_MEMBERS]; // how often, between wait and mutex
};

// One pair of condition variable and mutex, and the processes that use it.
struct crew {
	int peer;
	uint32_t members, self;
	struct shared *shared;
	pid_t pids[MOST_MEMBERS];
	char name[SCRATCH_NAME];
	pid_t further; // or 0
	lh_arena *arena;
	lh_lease *lease;
	lh_mutex mutex;
	lh_condvar condvar;
};

static void must(int error, const char *what)
{
	if (error)
		process_die_errno(error, what);
}

// ---- the peers -----------------------------------------------------------------------------------

static void create(struct crew *crew)
{
	pthread_mutexattr_t mutex;
	pthread_condattr_t cond;

	scratch_name(crew->name);
	if (crew->peer == LEASE)
		crew->further = further_start(crew->name);
	must(pthread_mutexattr_init(&mutex), "mutexattr");
	must(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED), "mutexattr");
	must(pthread_mutex_init(&crew->shared->mutex, &mutex), "mutex");
	must(pthread_condattr_init(&cond), "condattr");
	must(pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED), "condattr");
	must(pthread_cond_init(&crew->shared->cond, &cond), "cond");
}

static void attach(struct crew *crew)
{
	const struct lh_mutex_options mutex = { .name = "mutex" };
	const struct lh_condvar_options condvar = { .name = "condvar" };

	if (crew->peer != LEASE)
		return;
	must(lh_arena_open(crew->name, LH_CREATE, NULL, &crew->arena), "arena");
	must(lh_lease_acquire(crew->arena, NULL, &crew->lease), "lease");
	must(lh_mutex_at(crew->arena, LH_ANYWHERE, &mutex, &crew->mutex), "mutex");
	must(lh_condvar_at(crew->arena, LH_ANYWHERE, &condvar, &crew->condvar), "condvar");
}

static void detach(struct crew *crew)
{
	if (crew->peer != LEASE)
		return;
	must(lh_lease_release(crew->lease), "release");
	must(lh_arena_close(crew->arena), "close");
}

static void lock(struct crew *crew)
{
	lh_grant grant;

	must(crew->peer == LEASE ? lh_mutex_lock(&crew->mutex, crew->lease, LH_FOREVER, &grant)
				 : pthread_mutex_lock(&crew->shared->mutex),
	     "lock");
}

static void unlock(struct crew *crew)
{
	must(crew->peer == LEASE ? lh_mutex_unlock(&crew->mutex, crew->lease)
				 : pthread_mutex_unlock(&crew->shared->mutex),
	     "unlock");
}

static void wait_here(struct crew *crew)
{
	lh_grant grant;

	must(crew->peer == LEASE ? lh_condvar_wait(&crew->condvar, &crew->mutex, crew->lease,
						   LH_FOREVER, &grant)
				 : pthread_cond_wait(&crew->shared->cond, &crew->shared->mutex),
	     "wait");
}

static void signal_one(struct crew *crew)
{
	must(crew->peer == LEASE ? lh_condvar_signal(&crew->condvar)
				 : pthread_cond_signal(&crew->shared->cond),
	     "signal");
}

static void broadcast(struct crew *crew)
{
	must(crew->peer == LEASE ? lh_condvar_broadcast(&crew->condvar)
				 : pthread_cond_broadcast(&crew->shared->cond),
	     "broadcast");
}

// ---- in a member ---------------------------------------------------------------------------------

static void ping(struct crew *crew)
{
	struct shared *shared = crew->shared;

	lock(crew);
	for (uint32_t i = 0; i < shared->repeats; i++) {
		while (shared->turn != crew->self)
			wait_here(crew);
		shared->turn = !crew->self;
		signal_one(crew);
	}
	unlock(crew);
}

// Voluntary switches: a yield of the processor is none.
static uint64_t sleeps(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		process_die_errno(errno, "getrusage");
	return (uint64_t)usage.ru_nvcsw;
}

static void wait_once(struct crew *crew)
{
	struct shared *shared = crew->shared;
	uint64_t before;

	lock(crew);
	gate_add(&shared->waiting, 1);
	before = sleeps();
	while (shared->turn != shared->wanted)
		wait_here(crew);
	shared->ended[crew->self] = measure_now();
	shared->slept[crew->self] = sleeps() - before;
	unlock(crew);
}

// As one that a broadcast would have moved there.
static void queue_once(struct crew *crew)
{
	gate_add(&crew->shared->waiting, 1);
	lock(crew);
	crew->shared->ended[crew->self] = measure_now();
	unlock(crew);
}

static void wake_all(struct crew *crew)
{
	lock(crew);
	crew->shared->turn = crew->shared->wanted;
	crew->shared->began = measure_now();
	broadcast(crew);
	unlock(crew);
}

static void wake_all_late(struct crew *crew)
{
	lock(crew);
	crew->shared->turn = crew->shared->wanted;
	crew->shared->began = measure_now();
	unlock(crew);
	broadcast(crew);
}

static void signal_nobody(struct crew *crew)
{
	crew->shared->began = measure_now();
	for (uint32_t i = 0; i < crew->shared->repeats; i++)
		signal_one(crew);
	crew->shared->ended[crew->self] = measure_now();
}

static void obey(void *context)
{
	struct crew *crew = context;
	struct shared *shared = crew->shared;
	uint32_t orders = atomic_load(&shared->orders[crew->self]);

	attach(crew);
	gate_add(&shared->done, 1);
	for (;;) {
		orders = gate_await_order(&shared->orders[crew->self], orders);
		switch (shared->order[crew->self]) {
		case ORDER_PING:
			ping(crew);
			break;
		case ORDER_WAIT:
			wait_once(crew);
			break;
		case ORDER_BROADCAST:
			wake_all(crew);
			break;
		case ORDER_BROADCAST_LATE:
			wake_all_late(crew);
			break;
		case ORDER_LOCK:
			lock(crew);
			break;
		case ORDER_QUEUE:
			queue_once(crew);
			break;
		case ORDER_UNLOCK:
			shared->began = measure_now();
			unlock(crew);
			break;
		case ORDER_SIGNAL:
			signal_nobody(crew);
			break;
		case ORDER_NONE:
			break;
		case ORDER_QUIT:
			detach(crew);
			return;
		}
		gate_add(&shared->done, 1);
	}
}

// ---- in the program ------------------------------------------------------------------------------

static void crew_start(struct crew *crew, int peer, uint32_t members)
{
	memset(crew, 0, sizeof(*crew));
	crew->peer = peer;
	crew->members = members;
	crew->shared = process_shared_memory(sizeof(*crew->shared));
	create(crew);
	for (crew->self = 0; crew->self < members; crew->self++) {
		crew->pids[crew->self] = process_start(obey, crew);
		gate_await(&crew->shared->done, crew->self + 1);
	}
	atomic_store(&crew->shared->done, 0);
}

static void crew_order(struct crew *crew, uint32_t member, enum order order)
{
	crew->shared->order[member] = order;
	gate_add(&crew->shared->orders[member], 1);
}

static void crew_await(struct crew *crew, uint32_t members)
{
	gate_await(&crew->shared->done, members);
	atomic_store(&crew->shared->done, 0);
}

static void crew_end(struct crew *crew)
{
	for (uint32_t i = 0; i < crew->members; i++) {
		crew_order(crew, i, ORDER_QUIT);
		process_finish(crew->pids[i]);
	}
	munmap(crew->shared, sizeof(*crew->shared));
	if (crew->further)
		further_end(crew->further);
	if (crew->peer == LEASE)
		scratch_unlink(crew->name);
}

static double time_ping(const struct run *run, struct crew *crew)
{
	struct shared *shared = crew->shared;

	shared->repeats = run->quick ? 100 : 500;
	shared->turn = 0;
	const uint64_t start = measure_now();
	crew_order(crew, 0, ORDER_PING);
	crew_order(crew, 1, ORDER_PING);
	crew_await(crew, 2);
	return (double)(measure_now() - start) / (2.0 * shared->repeats);
}

// All but member 0 sleep as ordered; then it does as ordered. Until the last of them has had the mutex.
static double time_release(struct crew *crew, enum order wait, enum order release)
{
	struct shared *shared = crew->shared;
	const uint32_t waiters = crew->members - 1;
	uint64_t last = 0;

	for (uint32_t i = 1; i <= waiters; i++)
		crew_order(crew, i, wait);
	gate_await(&shared->waiting, waiters);
	for (uint32_t i = 1; i <= waiters; i++)
		process_await_asleep(crew->pids[i], "condvar");
	atomic_store(&shared->waiting, 0);
	crew_order(crew, 0, release);
	crew_await(crew, waiters + 1);
	for (uint32_t i = 1; i <= waiters; i++)
		last = shared->ended[i] > last ? shared->ended[i] : last;
	return (double)(last - shared->began);
}

static double time_broadcast(const struct run *run, struct crew *crew)
{
	(void)run;
	crew->shared->wanted = crew->shared->turn + 1;
	return time_release(crew, ORDER_WAIT, ORDER_BROADCAST);
}

static double time_queue(const struct run *run, struct crew *crew)
{
	(void)run;
	crew_order(crew, 0, ORDER_LOCK);
	crew_await(crew, 1);
	return time_release(crew, ORDER_QUEUE, ORDER_UNLOCK);
}

static double time_signal(const struct run *run, struct crew *crew)
{
	crew->shared->repeats = run->quick ? 1000 : 10000;
	crew_order(crew, 0, ORDER_SIGNAL);
	crew_await(crew, 1);
	return (double)(crew->shared->ended[0] - crew->shared->began) / crew->shared->repeats;
}

static void compare(struct run *run, const struct bench_case *self, double seconds,
		    const struct comparison *wanted, uint32_t members,
		    double (*time)(const struct run *run, struct crew *crew))
{
	struct samples *samples = samples_create(PEERS);
	struct comparison comparison = *wanted;
	struct crew crews[PEERS];

	comparison.case_name = self->name;
	comparison.peer = names[LEASE];
	comparison.reference = names[PTHREAD];
	comparison.unit = "ns";
	for (int i = 0; i < PEERS; i++)
		crew_start(&crews[i], i, members);
	struct rounds rounds = rounds_begin(run, comparison.what, PEERS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < PEERS; i++)
			samples_set(samples, rounds.round, rounds.order[i],
				    time(run, &crews[rounds.order[i]]));
	}
	for (int i = 0; i < PEERS; i++)
		crew_end(&crews[i]);
	report_compare(run->report, &comparison, samples, LEASE, PTHREAD);
	samples_destroy(samples);
}

static void measure_ping_pong(struct run *run, const struct bench_case *self, double seconds)
{
	const struct comparison comparison = { .what = "hand-over",
					       .target = { TARGET_RATIO_AT_MOST, 1.1 } };

	compare(run, self, seconds, &comparison, 2, time_ping);
}

static void measure_broadcast(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t waiters[] = { 1, 4, 16 };

	for (size_t i = 0; i < 3; i++) {
		char what[32];
		const struct comparison comparison = { .what = what };

		snprintf(what, sizeof(what), "%u waiters", waiters[i]);
		compare(run, self, seconds / 3, &comparison, waiters[i] + 1, time_broadcast);
	}
}

enum { WOKEN, WOKEN_LATE, QUEUED, WOKEN_PTHREAD, WAYS };

static double time_late(const struct run *run, struct crew *crew)
{
	(void)run;
	crew->shared->wanted = crew->shared->turn + 1;
	return time_release(crew, ORDER_WAIT, ORDER_BROADCAST_LATE);
}

// Sleeps of one waiter, from its wait to the mutex: one is needed.
static double sleeps_of_each(const struct crew *crew)
{
	uint64_t sum = 0;

	for (uint32_t i = 1; i < crew->members; i++)
		sum += crew->shared->slept[i];
	return (double)sum / (double)(crew->members - 1);
}

static void report_morphing(struct run *run, const struct bench_case *self, uint32_t waiters,
			    const struct samples *times, const struct samples *slept)
{
	char what[48];
	struct comparison comparison = { .case_name = self->name, .what = what };

	snprintf(what, sizeof(what), "%u waiters, in the mutex's queue", waiters);
	comparison.peer = "leasehold, queued";
	comparison.reference = names[LEASE];
	comparison.unit = "ns";
	report_compare(run->report, &comparison, times, QUEUED, WOKEN);
	snprintf(what, sizeof(what), "%u waiters, after the unlock", waiters);
	comparison.peer = "leasehold, late";
	report_compare(run->report, &comparison, times, WOKEN_LATE, WOKEN);
	snprintf(what, sizeof(what), "%u waiters, sleeps of each", waiters);
	comparison.peer = names[LEASE];
	comparison.reference = names[PTHREAD];
	comparison.unit = "sleeps";
	report_compare(run->report, &comparison, slept, WOKEN, WOKEN_PTHREAD);
}

static void compare_morphing(struct run *run, const struct bench_case *self, uint32_t waiters,
			     double seconds)
{
	struct samples *times = samples_create(WAYS), *slept = samples_create(WAYS);
	struct crew crews[WAYS];
	static double (*const time[WAYS])(const struct run *run, struct crew *crew) = {
		[WOKEN] = time_broadcast,
		[WOKEN_LATE] = time_late,
		[QUEUED] = time_queue,
		[WOKEN_PTHREAD] = time_broadcast,
	};
	char purpose[32];

	snprintf(purpose, sizeof(purpose), "%s %u", self->name, waiters);
	for (int i = 0; i < WAYS; i++)
		crew_start(&crews[i], i == WOKEN_PTHREAD ? PTHREAD : LEASE, waiters + 1);
	struct rounds rounds = rounds_begin(run, purpose, WAYS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < WAYS; i++) {
			const size_t way = rounds.order[i];

			samples_set(times, rounds.round, way, time[way](run, &crews[way]));
			if (time[way] == time_broadcast)
				samples_set(slept, rounds.round, way, sleeps_of_each(&crews[way]));
		}
	}
	for (int i = 0; i < WAYS; i++)
		crew_end(&crews[i]);
	report_morphing(run, self, waiters, times, slept);
	samples_destroy(times);
	samples_destroy(slept);
}

static void measure_morphing(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t waiters[] = { 1, 4, 16 };

	for (size_t i = 0; i < 3; i++)
		compare_morphing(run, self, waiters[i], seconds / 3);
	report_note(run->report, "morphing: \"queued\" slept for the mutex when it was unlocked: a "
				 "broadcast that moved its waiters there takes no less.");
}

static void measure_signal(struct run *run, const struct bench_case *self, double seconds)
{
	const struct comparison comparison = { .what = "signal, nobody waits" };

	compare(run, self, seconds, &comparison, 1, time_signal);
}

static const struct bench_case cases[] = {
	{ "ping-pong", "two processes hand a turn to and fro", 4, measure_ping_pong },
	{ "broadcast", "1, 4 and 16 waiters, until the last has had the mutex", 4,
	  measure_broadcast },
	{ "morphing", "what moving the woken to the mutex's queue could save of a broadcast", 3,
	  measure_morphing },
	{ "signal", "a signal that nobody waits for", 1, measure_signal },
	{ "kill", "SIGKILL of a signalled waiter, to the return of the next", 3, condvar_kill },
	{ "recovers", "whether signals after a waiter's death reach the next waiter", 1,
	  condvar_recovers },
	{ 0 },
};

const struct subcommand condvar_subcommand = {
	.name = "condvar",
	.summary = "lh_condvar against process-shared pthread condition variables",
	.cases = cases,
};
