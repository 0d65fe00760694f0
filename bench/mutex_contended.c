// SPDX-License-Identifier: Apache-2.0
//
// mutex_contended.c: several processes want one lock.
//
// Each peer has, in each round, a pool of fresh processes: where the scheduler once put a set of
// processes sticks to it, and would otherwise tint all rounds alike (two equal peers differed by
// half). A slice starts all of a pool; once every one of them runs, grants are counted between two
// readings of the clock, however late the program is scheduled to make them, and the pool is
// stopped. At its end the words that the lock protects must agree with the grants counted.
#include "mutex.h"

#include <math.h>
#include <stdio.h>
#include <sys/mman.h>

#include "peer.h"
#include "report.h"

#define MOST 64
#define GIVE_UP_NS UINT64_C(30000000000)

struct seat {
	_Atomic uint64_t count;
	uint64_t violations, max_wait_ns, max_passed; // written by the seat between two slices
} __attribute__((aligned(64)));

struct contest {
	gate go;      // number of the slice; 0: not yet
	gate arrived; // processes that saw `go`
	gate parked;  // processes that wait for the next one
	uint64_t think_steps;
	bool timed, quit;
	gate stop __attribute__((aligned(64)));
	struct seat seats[MOST];
};

struct pool {
	struct lock lock;
	struct contest *contest;
	uint32_t size, next; // processes; the one that is being forked
	uint64_t seed;
	uint32_t slices;
	pid_t pids[MOST];
};

// Nobody else holds the lock any more: every word must have been incremented once per grant.
static void check_words(struct pool *pool, struct seat *seat)
{
	uint64_t grants = 0;

	for (uint32_t i = 0; i < pool->size; i++)
		grants += atomic_load(&pool->contest->seats[i].count);
	(void)pool->lock.peer->lock(&pool->lock);
	for (int i = 0; i < PEER_WORDS; i++) {
		if (pool->lock.words[i] != grants)
			seat->violations++;
	}
	pool->lock.peer->unlock(&pool->lock);
}

static void contend(void *context)
{
	struct pool *pool = context;
	struct contest *contest = pool->contest;
	struct seat *seat = &contest->seats[pool->next];
	const struct peer *peer = pool->lock.peer;
	struct contender contender = { .stop = &contest->stop, .count = &seat->count };
	uint32_t slice = 0;

	contender.random = random_stream(pool->seed + pool->next, "contender");
	peer->attach(&pool->lock);
	for (;;) {
		gate_add(&contest->parked, 1);
		slice = gate_await_order(&contest->go, slice);
		if (contest->quit)
			break;
		contender.think_steps = contest->think_steps;
		contender.max_wait_ns = contender.max_passed = 0;
		gate_add(&contest->arrived, 1);
		if (contest->timed)
			peer->contend_timed(&pool->lock, &contender);
		else
			peer->contend(&pool->lock, &contender);
		seat->violations = contender.violations;
		seat->max_wait_ns = contender.max_wait_ns;
		seat->max_passed = contender.max_passed;
	}
	if (pool->next == 0)
		check_words(pool, seat);
	peer->detach(&pool->lock);
}

static void pool_start(struct pool *pool, const struct peer *peer, uint32_t size, uint64_t seed)
{
	peer_create(&pool->lock, peer);
	pool->contest = process_shared_memory(sizeof(*pool->contest));
	pool->size = size;
	pool->seed = seed;
	pool->slices = 0;
	for (pool->next = 0; pool->next < size; pool->next++)
		pool->pids[pool->next] = process_start(contend, pool);
	gate_await(&pool->contest->parked, size);
}

static uint64_t pool_grants(const struct pool *pool)
{
	uint64_t grants = 0;

	for (uint32_t i = 0; i < pool->size; i++)
		grants += atomic_load(&pool->contest->seats[i].count);
	return grants;
}

// Lets the pool contend for `ns`, or until there was a grant; ns per grant.
static double pool_slice(struct pool *pool, uint64_t ns, uint64_t think_steps, bool timed)
{
	struct contest *contest = pool->contest;
	uint64_t end, grants;

	contest->think_steps = think_steps;
	contest->timed = timed;
	atomic_store(&contest->stop, 0);
	atomic_store(&contest->arrived, 0);
	atomic_store(&contest->parked, 0);
	gate_set(&contest->go, ++pool->slices);
	gate_await(&contest->arrived, pool->size);

	const uint64_t start = measure_now();
	const uint64_t first = pool_grants(pool);
	do {
		measure_sleep_until(measure_now() + ns);
		grants = pool_grants(pool) - first;
		end = measure_now();
		if (end - start > GIVE_UP_NS)
			process_die("%s: %u processes and no grant in half a minute",
				    pool->lock.peer->name, pool->size);
	} while (grants == 0);
	atomic_store(&contest->stop, 1);
	gate_await(&contest->parked, pool->size);
	return (double)(end - start) / (double)grants;
}

static void pool_end(struct pool *pool, struct run *run)
{
	uint64_t violations = 0;

	pool->contest->quit = true;
	gate_set(&pool->contest->go, ++pool->slices);
	for (uint32_t i = 0; i < pool->size; i++) {
		process_finish(pool->pids[i]);
		violations += pool->contest->seats[i].violations;
	}
	if (violations) {
		fprintf(stderr, "lease-bench: %s: %u processes violated the exclusion %llu times\n",
			pool->lock.peer->name, pool->size, (unsigned long long)violations);
		run->failed = true;
	}
	munmap(pool->contest, sizeof(*pool->contest));
	pool->lock.peer->destroy(&pool->lock);
}

// ---- throughput ----------------------------------------------------------------------------------
enum { ROBUST, PLAIN, LEASE, LEASE_TTL, COLUMNS };

static const struct peer *const peers[COLUMNS] = {
	[ROBUST] = &peer_pthread_robust,
	[PLAIN] = &peer_pthread_plain,
	[LEASE] = &peer_lease,
	[LEASE_TTL] = &peer_lease_ttl,
};

enum { WITHOUT_PAUSES, WITH_PAUSES, MODES };

static void report_throughput(struct run *run, const struct bench_case *self,
			      const struct peer_set *set, uint32_t size, int mode,
			      const struct samples *samples)
{
	char what[64];

	snprintf(what, sizeof(what), "%u processes%s", size, mode == WITH_PAUSES ? ", pauses" : "");
	for (size_t column = 1; column < set->count; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = set->peers[column]->name,
			.reference = set->peers[0]->name,
			.unit = "ns/grant",
			.throughput = true,
			.target = { set->peers[column] == &peer_lease ||
						    set->peers[column] == &peer_lease_semaphore
					    ? TARGET_RATIO_AT_LEAST
					    : TARGET_NONE,
				    1 },
		};

		report_compare(run->report, &comparison, samples, column, 0);
	}
}

static void compare_throughput(struct run *run, const struct bench_case *self,
			       const struct peer_set *set, uint32_t size, double seconds)
{
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	const uint64_t think_steps[MODES] = { [WITH_PAUSES] = peer_steps(PEER_THINK_NS) };
	struct samples *samples[MODES];
	char purpose[64];

	snprintf(purpose, sizeof(purpose), "%s %u", self->name, size);
	for (int mode = 0; mode < MODES; mode++)
		samples[mode] = samples_create(set->count);
	struct rounds rounds = rounds_begin(run, purpose, set->count, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < set->count; i++) {
			const size_t column = rounds.order[i];
			struct pool pool;

			pool_start(&pool, set->peers[column], size, run->seed);
			for (int mode = 0; mode < MODES; mode++)
				samples_set(samples[mode], rounds.round, column,
					    pool_slice(&pool, ns, think_steps[mode], false));
			pool_end(&pool, run);
		}
	}
	for (int mode = 0; mode < MODES; mode++) {
		report_throughput(run, self, set, size, mode, samples[mode]);
		samples_destroy(samples[mode]);
	}
}

void compare_contended(struct run *run, const struct bench_case *self, const struct peer_set *set,
		       double seconds)
{
	static const uint32_t sizes[] = { 2, 4, 16, MOST };
	const size_t count = sizeof(sizes) / sizeof(sizes[0]);

	for (size_t i = 0; i < count; i++)
		compare_throughput(run, self, set, sizes[i], seconds / (double)count);
	report_note(run->report,
		    "contended: a grant increments %d words; pauses take %.0f ns on average.",
		    PEER_WORDS, PEER_THINK_NS);
}

void mutex_contended(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer_set set = { .peers = peers, .count = COLUMNS };

	compare_contended(run, self, &set, seconds);
}

// ---- fairness ------------------------------------------------------------------------------------
// Two processes and two CPUs at least, so that whoever waits could run: what remains is how long
// the lock lets a process be passed over. A slice ends every wait, so none is longer than a slice.
void mutex_fairness(struct run *run, const struct bench_case *self, double seconds)
{
	const uint64_t ns = run->quick ? 20000000 : 200000000;
	struct samples *waits = samples_create(COLUMNS);
	struct samples *passed = samples_create(COLUMNS);
	struct rounds rounds = rounds_begin(run, self->name, COLUMNS, seconds);

	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];
			struct pool pool;

			pool_start(&pool, peers[column], 2, run->seed);
			pool_slice(&pool, ns, 0, true);
			const struct seat *seats = pool.contest->seats;
			samples_set(
				waits, rounds.round, column,
				fmax((double)seats[0].max_wait_ns, (double)seats[1].max_wait_ns));
			// One more than it was, so that a ratio can be taken of it.
			samples_set(
				passed, rounds.round, column,
				1 + fmax((double)seats[0].max_passed, (double)seats[1].max_passed));
			pool_end(&pool, run);
		}
	}
	for (size_t column = PLAIN; column < COLUMNS; column++) {
		struct comparison comparison = {
			.case_name = self->name,
			.what = "longest wait in a slice",
			.peer = peers[column]->name,
			.reference = peers[ROBUST]->name,
			.unit = "ns",
		};

		report_compare(run->report, &comparison, waits, column, ROBUST);
		comparison.what = "most grants to the other + 1";
		comparison.unit = "grants";
		report_compare(run->report, &comparison, passed, column, ROBUST);
	}
	samples_destroy(waits);
	samples_destroy(passed);
	report_note(run->report, "fairness: slices of %.0f ms, which end every wait.",
		    (double)ns / 1e6);
}
