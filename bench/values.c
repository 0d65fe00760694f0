// SPDX-License-Identifier: Apache-2.0
#include "values.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "further.h"
#include "recovers.h"

#define ARENAS 8

void values_failed(int result, const char *what)
{
	process_die("%s: %s (%s)", what, lh_strerror(result), lh_error_detail());
}

// Open arenas: a name goes with its arena, since there are no new leases on an unlinked one.
static struct {
	lh_arena *arena;
	char name[SCRATCH_NAME];
	pid_t further;
} arenas[ARENAS];

lh_arena *values_arena(size_t size)
{
	const struct lh_arena_options options = { .size = size };
	size_t i = 0;

	while (i < ARENAS && arenas[i].arena)
		i++;
	if (i == ARENAS)
		process_die("too many arenas");
	scratch_name(arenas[i].name);
	values_must(lh_arena_open(arenas[i].name, LH_CREATE | LH_EXCL, &options, &arenas[i].arena),
		    "lh_arena_open");
	arenas[i].further = further_start(arenas[i].name);
	return arenas[i].arena;
}

void values_end(lh_arena *arena)
{
	for (size_t i = 0; i < ARENAS; i++) {
		if (arenas[i].arena != arena)
			continue;
		further_end(arenas[i].further);
		scratch_unlink(arenas[i].name);
		values_must(lh_arena_close(arena), "lh_arena_close");
		arenas[i].arena = NULL;
	}
}

lh_lease *values_lease(lh_arena *arena)
{
	lh_lease *lease;

	values_must(lh_lease_acquire(arena, NULL, &lease), "lh_lease_acquire");
	return lease;
}

void values_time(const struct run *run, const char *purpose, double seconds,
		 const struct timed *timed, size_t columns, struct samples *samples)
{
	struct rounds rounds = rounds_begin(run, purpose, columns, seconds);

	while (rounds_next(&rounds)) {
		samples_set_loop(samples, rounds.round, measure_empty_loop(timed[0].count));
		for (size_t i = 0; i < columns; i++) {
			const size_t column = rounds.order[i];
			const struct timed *one = &timed[column];
			const uint64_t start = measure_now();

			one->loop(one->context, one->count);
			samples_set(samples, rounds.round, column,
				    (double)(measure_now() - start) / (double)one->count);
		}
	}
	samples_subtract_loop(samples, 0, rounds.done);
}

// ---- killed --------------------------------------------------------------------------------------

struct scene {
	const struct succession *succession;
	gate held;
	uint64_t succeeded;
};

static struct scene *stage; // of a process that holds

void values_stay(void)
{
	if (!stage)
		recovers_stay();
	gate_set(&stage->held, 1);
	gate_await_order(&stage->held, 1);
	process_die("a holder was not killed");
}

static void hold(void *context)
{
	stage = context;
	stage->succession->hold(stage->succession->context);
	values_stay();
}

static void succeed(void *context)
{
	struct scene *scene = context;

	(void)scene->succession->succeed(scene->succession->context);
	scene->succeeded = measure_now();
}

static double kill_once(struct scene *scene, struct random *random)
{
	uint64_t start;
	pid_t holder, waiter;

	atomic_store(&scene->held, 0);
	scene->succession->create(scene->succession->context);
	holder = process_start(hold, scene);
	gate_await(&scene->held, 1);
	waiter = process_start(succeed, scene);
	process_await_asleep(waiter, "a successor");
	measure_settle(random);
	start = measure_now();
	if (kill(holder, SIGKILL) != 0)
		process_die_errno(errno, "kill");
	process_finish(waiter);
	process_bury(holder);
	return (double)(scene->succeeded - start);
}

void values_kill(struct run *run, const char *case_name, double seconds,
		 const struct succession *successions, size_t count)
{
	struct scene *scene = process_shared_memory(sizeof(*scene));
	struct samples *samples = samples_create(count);
	struct random random = random_stream(run->seed, "settle");
	struct rounds rounds = rounds_begin(run, case_name, count, seconds);

	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < count; i++) {
			scene->succession = &successions[rounds.order[i]];
			samples_set(samples, rounds.round, rounds.order[i],
				    kill_once(scene, &random));
		}
	}
	for (size_t column = 1; column < count; column++) {
		const struct comparison comparison = { .case_name = case_name,
						       .what = "SIGKILL to successor",
						       .peer = successions[column].name,
						       .reference = successions[0].name,
						       .unit = "ns",
						       .latency = true,
						       .target = { TARGET_RATIO_AT_MOST, 1.2 } };

		report_compare(run->report, &comparison, samples, column, 0);
	}
	samples_destroy(samples);
}

// ---- who recovers: a succession as a peer ---------------------------------------------------------

struct line {
	struct peer peer; // first, so that a lock's peer is it
	const struct succession *succession;
};

static const struct succession *succession_of(const struct lock *lock)
{
	return ((const struct line *)lock->peer)->succession;
}

static void line_create(struct lock *lock)
{
	succession_of(lock)->create(succession_of(lock)->context);
}

static int line_hold(struct lock *lock)
{
	succession_of(lock)->hold(succession_of(lock)->context);
	return 0;
}

static int line_take(struct lock *lock)
{
	return succession_of(lock)->succeed(succession_of(lock)->context);
}

// Its processes have nothing of their own that outlasts them.
static void line_nothing(struct lock *lock)
{
	(void)lock;
}

void values_recover(struct run *run, const struct bench_case *self, double seconds,
		    const struct succession *successions, size_t count, const struct peer *peer)
{
	struct line lines[VALUES_MOST];
	const struct peer *peers[VALUES_MOST + 2] = { &peer_pthread_robust };
	struct peer_set set = { .peers = peers, .count = 1 };

	for (size_t i = 0; i < count && i < VALUES_MOST; i++) {
		lines[i] = (struct line){ .peer = { .name = successions[i].name,
						    .also = successions[i].also,
						    .create = line_create,
						    .destroy = line_nothing,
						    .attach = line_nothing,
						    .detach = line_nothing,
						    .hold = line_hold,
						    .lock = line_take,
						    .unlock = line_nothing },
					  .succession = &successions[i] };
		peers[set.count++] = &lines[i].peer;
	}
	if (peer)
		peers[set.count++] = peer;
	compare_recovery(run, self, &set, seconds);
}

// ---- the reference -------------------------------------------------------------------------------

// First called in the program: those it forks share it.
static pthread_mutex_t *robust(void)
{
	static pthread_mutex_t *mutex;

	if (!mutex)
		mutex = process_shared_memory(sizeof(*mutex));
	return mutex;
}

static void robust_create(void *context)
{
	pthread_mutexattr_t attributes;

	(void)context;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(robust(), &attributes);
	pthread_mutexattr_destroy(&attributes);
}

static void robust_hold(void *context)
{
	(void)context;
	if (pthread_mutex_lock(robust()) != 0)
		process_die("pthread_mutex_lock");
}

static int robust_succeed(void *context)
{
	(void)context;
	if (pthread_mutex_lock(robust()) != EOWNERDEAD)
		process_die("a robust mutex did not tell of its holder's death");
	pthread_mutex_consistent(robust());
	pthread_mutex_unlock(robust());
	return PEER_OWNER_DIED;
}

const struct succession values_robust = { .name = "pthread robust",
					  .create = robust_create,
					  .hold = robust_hold,
					  .succeed = robust_succeed };
