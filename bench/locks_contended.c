// SPDX-License-Identifier: Apache-2.0
//
// locks_contended.c: several processes want one key, and hold it for a short or for a long time:
// what a grant takes, and the processor time that all of them use for it beside what they do while
// they hold it.
#include "locks.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "measure.h"
#include "process.h"
#include "report.h"
#include "scratch.h"

enum { FLOCK, KEY, PEERS };

static const char *const names[PEERS] = { "flock", "a key" };

static const struct {
	const char *name;
	uint64_t ns;
} holds[] = { { "0.2 us", 200 }, { "5 us", 5000 }, { "20 us", 20000 }, { "500 us", 500000 } };

enum { HOLDS = sizeof(holds) / sizeof(holds[0]), MOST = 8 };

struct seat {
	_Alignas(64) gate orders;
	gate done;
	uint64_t count;
	double cpu_ns;
};

struct table {
	struct seat seats[MOST];
	gate stop;
	int peer; // PEERS: the end
	uint64_t hold_ns;
	_Atomic uint32_t inside;
	_Atomic uint64_t violations;
};

struct pool {
	struct table *table;
	uint32_t size, next;
	pid_t pids[MOST];
	char name[SCRATCH_NAME], file_name[SCRATCH_NAME];
	lh_locks *locks;
	int file;
};

static double cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

// Alone: as long as the clock says, whatever the processor does meanwhile.
static void stay(struct table *table)
{
	const uint64_t until = measure_now() + table->hold_ns;

	if (atomic_fetch_add(&table->inside, 1))
		table->violations++;
	while (measure_now() < until)
		;
	atomic_fetch_sub(&table->inside, 1);
}

static uint64_t contend(struct pool *pool)
{
	struct table *table = pool->table;
	uint64_t count = 0;
	lh_handle *handle = NULL;

	for (; !atomic_load_explicit(&table->stop, memory_order_relaxed); count++) {
		const uint64_t until = measure_now() + table->hold_ns;

		if (table->peer == FLOCK
			    ? flock(pool->file, LOCK_EX)
			    : lh_acquire(pool->locks, "key", LH_FOREVER, NULL, &handle))
			process_die("%s", lh_error_detail());
		stay(table);
		if (table->peer == FLOCK ? flock(pool->file, LOCK_UN) : lh_handle_release(handle))
			process_die("%s", lh_error_detail());
		while (measure_now() < until) // as long without it as with it, unless it has waited
			;
	}
	return count;
}

static void take_seat(void *context)
{
	struct pool *pool = context;
	struct seat *seat = &pool->table->seats[pool->next];
	char url[SCRATCH_NAME + 8];
	uint32_t orders = 0;

	snprintf(url, sizeof(url), "shm://%s", pool->name);
	pool->file = shm_open(pool->file_name, O_RDWR | O_CLOEXEC, 0);
	if (pool->file < 0 || lh_locks_open(url, &pool->locks))
		process_die("cannot be opened: %s", lh_error_detail());
	gate_add(&seat->done, 1);
	for (;;) {
		orders = gate_await_order(&seat->orders, orders);
		if (pool->table->peer == PEERS)
			break;
		const double start = cpu_now();

		seat->count = contend(pool);
		seat->cpu_ns = cpu_now() - start;
		gate_add(&seat->done, 1);
	}
	if (lh_locks_close(pool->locks))
		process_die("%s", lh_error_detail());
}

static void pool_start(struct pool *pool, uint32_t size)
{
	*pool = (struct pool){ .size = size, .table = process_shared_memory(sizeof(struct table)) };
	scratch_name(pool->name);
	scratch_name(pool->file_name); // in memory, as what peer_file.c locks
	pool->file = shm_open(pool->file_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (pool->file < 0)
		process_die_errno(errno, pool->file_name);
	for (pool->next = 0; pool->next < size; pool->next++) {
		pool->pids[pool->next] = process_start(take_seat, pool);
		gate_await(&pool->table->seats[pool->next].done, 1);
	}
}

static void order(struct pool *pool, uint32_t active, int peer, uint64_t hold_ns)
{
	pool->table->peer = peer;
	pool->table->hold_ns = hold_ns;
	atomic_store(&pool->table->stop, 0);
	for (uint32_t i = 0; i < active; i++)
		gate_add(&pool->table->seats[i].orders, 1);
}

struct slice {
	double wall; // ns for each grant, of all together; both NaN if there was none
	double cpu;  // ns of all for each grant
};

static struct slice pool_slice(struct pool *pool, uint32_t active, int peer, uint64_t hold_ns,
			       uint64_t ns)
{
	uint32_t done[MOST];
	const uint64_t start = measure_now();
	uint64_t count = 0, took;
	double cpu = 0;

	for (uint32_t i = 0; i < active; i++)
		done[i] = atomic_load(&pool->table->seats[i].done);
	order(pool, active, peer, hold_ns);
	measure_sleep_until(start + ns);
	atomic_store(&pool->table->stop, 1);
	took = measure_now() - start;
	for (uint32_t i = 0; i < active; i++) {
		gate_await(&pool->table->seats[i].done, done[i] + 1);
		count += pool->table->seats[i].count;
		cpu += pool->table->seats[i].cpu_ns;
	}
	if (count == 0)
		return (struct slice){ NAN, NAN };
	return (struct slice){ (double)took / (double)count, cpu / (double)count };
}

static void pool_end(struct pool *pool, struct run *run)
{
	order(pool, pool->size, PEERS, 0);
	for (uint32_t i = 0; i < pool->size; i++)
		process_finish(pool->pids[i]);
	if (pool->table->violations) {
		fprintf(stderr, "lease-bench: locks: the exclusion was violated %llu times\n",
			(unsigned long long)pool->table->violations);
		run->failed = true;
	}
	munmap(pool->table, sizeof(*pool->table));
	close(pool->file);
	scratch_unlink(pool->file_name);
	scratch_unlink(pool->name);
}

static void compare(struct run *run, const struct bench_case *self, struct pool *pool,
		    uint32_t size, size_t hold, double seconds)
{
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	struct samples *wall = samples_create(PEERS), *cpu = samples_create(PEERS);
	struct comparison comparison = { .case_name = self->name,
					 .peer = names[KEY],
					 .reference = names[FLOCK],
					 .unit = "ns/grant",
					 .throughput = true };
	char what[64];

	snprintf(what, sizeof(what), "%u processes, %s", size, holds[hold].name);
	struct rounds rounds = rounds_begin(run, what, PEERS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < PEERS; i++) {
			const size_t peer = rounds.order[i];
			const struct slice slice = pool_slice(pool, size, (int)peer, holds[hold].ns,
							      ns);

			samples_set(wall, rounds.round, peer, slice.wall);
			samples_set(cpu, rounds.round, peer, slice.cpu);
		}
	}
	comparison.what = what;
	report_compare(run->report, &comparison, wall, KEY, FLOCK);
	snprintf(what, sizeof(what), "%u, %s: processor time", size, holds[hold].name);
	comparison.unit = "ns";
	comparison.throughput = false;
	report_compare(run->report, &comparison, cpu, KEY, FLOCK);
	samples_destroy(wall);
	samples_destroy(cpu);
}

void locks_contended(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t sizes[] = { 2, 4, MOST };
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
	struct pool pool;

	pool_start(&pool, MOST);
	for (size_t i = 0; i < SIZES; i++) {
		for (size_t hold = 0; hold < HOLDS; hold++)
			compare(run, self, &pool, sizes[i], hold, seconds / (SIZES * HOLDS));
	}
	pool_end(&pool, run);
	report_note(run->report,
		    "contended: each process stays outside for as long as inside, if it "
		    "has not waited meanwhile; its work is part of the processor time.");
}
