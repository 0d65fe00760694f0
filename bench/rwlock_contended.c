// SPDX-License-Identifier: Apache-2.0
//
// rwlock_contended.c: several processes: readers beside each other, and readers among writers.
#include "rwlock.h"

#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "peer.h"
#include "report.h"

#define MOST 8

struct seat {
	_Alignas(64) gate orders;
	gate done;
	uint64_t count;
	double cpu_ns;
};

struct table {
	struct seat seats[MOST];
	gate stop;
	int kind;
	unsigned percent; // of reads
	_Atomic uint64_t violations;
};

struct pool {
	struct locks locks;
	struct table *table;
	uint32_t size, next;
	pid_t pids[MOST];
	struct random random;
};

static double cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

// A writer increments the words, a reader compares them: neither may meet a writer.
INLINE uint64_t mix(struct pool *pool, int kind, volatile uint64_t *words)
{
	struct table *table = pool->table;
	uint64_t count = 0;

	while (!atomic_load_explicit(&table->stop, memory_order_relaxed)) {
		const bool writes = random_below(&pool->random, 100) >= table->percent;
		uint64_t value;

		locks_enter(&pool->locks, kind, writes);
		value = words[0];
		for (int i = 0; i < PEER_WORDS; i++) {
			if (words[i] != value)
				table->violations++;
			if (writes)
				words[i] = value + 1;
		}
		locks_leave(&pool->locks, kind, writes);
		count++;
	}
	return count;
}

static void take_seat(void *context)
{
	struct pool *pool = context;
	struct seat *seat = &pool->table->seats[pool->next];
	uint32_t orders = 0;

	locks_attach(&pool->locks, 0, false);
	volatile uint64_t *words[KINDS] = {
		[PLAIN] = (volatile uint64_t *)(pool->locks.plain + 1) + 8,
		[LEASE] = lh_rwlock_data(&pool->locks.handle),
		// behind the mutex as the others' are
		[SHARABLE] = (volatile uint64_t *)pool->locks.sharable + 64,
	};
	gate_add(&seat->done, 1);
	for (;;) {
		orders = gate_await_order(&seat->orders, orders);
		if (pool->table->kind == KINDS)
			break;
		const double start = cpu_now();

		if (pool->table->kind == PLAIN)
			seat->count = mix(pool, PLAIN, words[PLAIN]);
		else if (pool->table->kind == LEASE)
			seat->count = mix(pool, LEASE, words[LEASE]);
		else
			seat->count = mix(pool, SHARABLE, words[SHARABLE]);
		seat->cpu_ns = cpu_now() - start;
		gate_add(&seat->done, 1);
	}
	locks_detach(&pool->locks);
}

static void pool_start(struct pool *pool, const struct run *run, uint32_t size)
{
	*pool = (struct pool){ .size = size, .table = process_shared_memory(sizeof(struct table)) };
	locks_create(&pool->locks);
	for (uint32_t i = 0; i < size; i++) {
		pool->next = i;
		pool->random = random_stream(run->seed + i, "rwlock");
		pool->pids[i] = process_start(take_seat, pool);
		gate_await(&pool->table->seats[i].done, 1);
	}
}

static void order(struct pool *pool, uint32_t active, int kind, unsigned percent)
{
	pool->table->kind = kind;
	pool->table->percent = percent;
	atomic_store(&pool->table->stop, 0);
	for (uint32_t i = 0; i < active; i++)
		gate_add(&pool->table->seats[i].orders, 1);
}

struct slice {
	double wall; // ns for each grant, of all together
	double cpu;  // ns of one process for each of its grants
};

static struct slice pool_slice(struct pool *pool, uint32_t active, int kind, unsigned percent,
			       uint64_t ns)
{
	uint32_t done[MOST];
	const uint64_t start = measure_now();
	uint64_t count = 0;
	double cpu = 0;

	for (uint32_t i = 0; i < active; i++)
		done[i] = atomic_load(&pool->table->seats[i].done);
	order(pool, active, kind, percent);
	measure_sleep_until(start + ns);
	atomic_store(&pool->table->stop, 1);
	const uint64_t took = measure_now() - start;

	for (uint32_t i = 0; i < active; i++) {
		gate_await(&pool->table->seats[i].done, done[i] + 1);
		count += pool->table->seats[i].count;
		cpu += pool->table->seats[i].cpu_ns;
	}
	return (struct slice){ (double)took / (double)count, cpu / (double)count };
}

static void pool_end(struct pool *pool, struct run *run)
{
	order(pool, pool->size, KINDS, 0);
	for (uint32_t i = 0; i < pool->size; i++)
		process_finish(pool->pids[i]);
	if (pool->table->violations) {
		fprintf(stderr, "lease-bench: rwlock: the exclusion was violated %llu times\n",
			(unsigned long long)pool->table->violations);
		run->failed = true;
	}
	munmap(pool->table, sizeof(*pool->table));
	locks_destroy(&pool->locks);
}

// A reader's cost may not grow with the number of others: CPU time, since there are fewer
// processors.
void rwlock_readers(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t sizes[] = { 1, 2, 4, MOST };
	enum { OF_EACH = 2, SIZES = sizeof(sizes) / sizeof(sizes[0]), COLUMNS = OF_EACH * SIZES };
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	struct samples *samples = samples_create(COLUMNS);
	struct pool pool;

	pool_start(&pool, run, MOST);
	struct rounds rounds = rounds_begin(run, self->name, COLUMNS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];

			samples_set(samples, rounds.round, column,
				    pool_slice(&pool, sizes[column / OF_EACH],
					       (int)(column % OF_EACH), 100, ns)
					    .cpu);
		}
	}
	pool_end(&pool, run);
	for (size_t size = 0; size < SIZES; size++) {
		char what[64];

		snprintf(what, sizeof(what), "CPU of a read, %u processes", sizes[size]);
		for (int row = size ? 0 : 1; row < 2; row++) {
			const struct comparison comparison = {
				.case_name = self->name,
				.what = what,
				.peer = locks_names[LEASE],
				.reference = row ? locks_names[PLAIN] : "lh_rwlock, one process",
				.unit = "ns",
				.target = { row ? TARGET_NONE : TARGET_RATIO_AT_MOST, 1.1 },
			};

			report_compare(run->report, &comparison, samples, size * OF_EACH + LEASE,
				       row ? size * OF_EACH + PLAIN : LEASE);
		}
	}
	samples_destroy(samples);
}

void rwlock_mix(struct run *run, const struct bench_case *self, double seconds)
{
	static const unsigned percents[] = { 99, 90, 50 };
	static const uint32_t sizes[] = { 2, 4 };
#ifdef LEASE_BENCH_BOOST
	static const int kinds[] = { PLAIN, LEASE, SHARABLE };
#else
	static const int kinds[] = { PLAIN, LEASE };
#endif
	enum { COLUMNS = sizeof(kinds) / sizeof(kinds[0]), OWN = 1 };
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	struct pool pool;

	pool_start(&pool, run, 4);
	for (size_t i = 0; i < 6; i++) {
		const unsigned percent = percents[i % 3];
		struct samples *samples = samples_create(COLUMNS);
		char what[64];

		snprintf(what, sizeof(what), "%u %% reads, %u processes", percent, sizes[i / 3]);
		struct rounds rounds = rounds_begin(run, what, COLUMNS, seconds / 6);
		while (rounds_next(&rounds)) {
			for (size_t k = 0; k < COLUMNS; k++)
				samples_set(samples, rounds.round, rounds.order[k],
					    pool_slice(&pool, sizes[i / 3], kinds[rounds.order[k]],
						       percent, ns)
						    .wall);
		}
		for (size_t k = 0; k < COLUMNS; k++) {
			const struct comparison comparison = {
				.case_name = self->name,
				.what = what,
				.peer = locks_names[LEASE],
				.reference = locks_names[kinds[k]],
				.unit = "ns/grant",
				.throughput = true,
				.target = { TARGET_RATIO_AT_LEAST, 1 },
			};

			if (k != OWN)
				report_compare(run->report, &comparison, samples, OWN, k);
		}
		samples_destroy(samples);
	}
	pool_end(&pool, run);
#ifndef LEASE_BENCH_BOOST
	report_note(run->report,
		    "mix: without Boost.Interprocess, which was not there when this was built");
#endif
}
