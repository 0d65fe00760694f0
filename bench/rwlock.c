// SPDX-License-Identifier: Apache-2.0
//
// rwlock.c: lease-bench rwlock. Its peer is pthread_rwlock_t, process-shared, of glibc's default kind
// (which prefers readers); after a kill, where that never recovers, the robust pthread mutex.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"
#include "peer.h"
#include "report.h"

#define LAYOUTS 16
#define LAYOUT_ROUNDS (MEASURE_ROUNDS / LAYOUTS)
#define STACK_SHIFT 4096
#define FURTHER_LEASES 100
#define MANY_LEASES 500
#define MOST 8

enum { PLAIN, LEASE, KINDS };
static const char *const names[KINDS] = { "pthread_rwlock", "lh_rwlock" };

// Both locks, as one process sees them.
struct locks {
	pthread_rwlock_t *plain;
	char object_name[SCRATCH_NAME];
	lh_arena *arena;
	lh_lease *lease;
	lh_lease *further[MANY_LEASES];
	size_t further_count;
	lh_rwlock handle;
};

static void check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

static const struct lh_rwlock_options options = { .name = "bench",
						  .data_size = PEER_WORDS * sizeof(uint64_t) };

static void make_arena(void *context)
{
	const struct lh_arena_options arena_options = { .max_leases = 1024 };
	struct locks *locks = context;

	check(lh_arena_open(locks->object_name, LH_CREATE | LH_EXCL, &arena_options, &locks->arena),
	      "lh_arena_open");
	check(lh_rwlock_at(locks->arena, LH_ANYWHERE, &options, &locks->handle), "lh_rwlock_at");
	check(lh_arena_close(locks->arena), "lh_arena_close");
}

static void create(struct locks *locks)
{
	pthread_rwlockattr_t attributes;

	*locks = (struct locks){ .plain = process_shared_memory(4096) };
	scratch_name(locks->object_name);
	process_run(make_arena, locks);
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (pthread_rwlock_init(locks->plain, &attributes) != 0)
		process_die("pthread_rwlock_init");
}

static void destroy(struct locks *locks)
{
	scratch_unlink(locks->object_name);
	munmap(locks->plain, 4096);
}

// In each process that measures. Of the further leases each has read once if `read`.
static void attach(struct locks *locks, size_t further, bool read)
{
	check(lh_arena_open(locks->object_name, 0, NULL, &locks->arena), "lh_arena_open");
	check(lh_rwlock_at(locks->arena, LH_ANYWHERE, &options, &locks->handle), "lh_rwlock_at");
	check(lh_lease_acquire(locks->arena, NULL, &locks->lease), "lh_lease_acquire");
	for (size_t i = 0; i < further; i++) {
		check(lh_lease_acquire(locks->arena, NULL, &locks->further[i]), "lh_lease_acquire");
		if (!read)
			continue;
		check(lh_rwlock_read_lock(&locks->handle, locks->further[i], LH_FOREVER, NULL),
		      "lh_rwlock_read_lock");
		check(lh_rwlock_unlock(&locks->handle, locks->further[i]), "lh_rwlock_unlock");
	}
	locks->further_count = further;
}

static void detach(struct locks *locks)
{
	for (size_t i = 0; i < locks->further_count; i++)
		check(lh_lease_release(locks->further[i]), "lh_lease_release");
	check(lh_lease_release(locks->lease), "lh_lease_release");
	check(lh_arena_close(locks->arena), "lh_arena_close");
}

// ---- one lock call and its unlock ----------------------------------------------------------------
#define INLINE static inline __attribute__((always_inline))

INLINE void enter(struct locks *locks, int kind, bool writes)
{
	lh_grant grant;
	int error;

	if (kind == PLAIN)
		error = writes ? pthread_rwlock_wrlock(locks->plain)
			       : pthread_rwlock_rdlock(locks->plain);
	else
		error = writes ? lh_rwlock_write_lock(&locks->handle, locks->lease, LH_FOREVER,
						      &grant)
			       : lh_rwlock_read_lock(&locks->handle, locks->lease, LH_FOREVER,
						     &grant);
	if (__builtin_expect(error != 0 || (kind == LEASE && grant.flags), 0))
		process_die("%s: lock: %d", names[kind], error);
}

INLINE void leave(struct locks *locks, int kind)
{
	const int error = kind == PLAIN ? pthread_rwlock_unlock(locks->plain)
					: lh_rwlock_unlock(&locks->handle, locks->lease);

	if (__builtin_expect(error != 0, 0))
		process_die("%s: unlock: %d", names[kind], error);
}

INLINE void pairs_of(struct locks *locks, int kind, bool writes, uint64_t pairs)
{
	for (uint64_t i = 0; i < pairs; i++) {
		enter(locks, kind, writes);
		leave(locks, kind);
	}
}

static void pairs(struct locks *locks, int kind, bool writes, uint64_t count)
{
	if (kind == PLAIN)
		writes ? pairs_of(locks, PLAIN, true, count) : pairs_of(locks, PLAIN, false, count);
	else
		writes ? pairs_of(locks, LEASE, true, count) : pairs_of(locks, LEASE, false, count);
}

// ---- read, write: without contention -------------------------------------------------------------
// As in mutex.c: several processes, each with locks and a stack of its own.
struct pair_case {
	const struct run *run;
	const char *purpose;
	double seconds;
	struct random random;
	size_t layout, further;
	bool writes, others_read;
	struct locks locks, few; // few: without further leases
	struct samples *samples;
};

enum { FEW = KINDS, PAIR_COLUMNS };

static void time_pairs(struct pair_case *case_)
{
	const uint64_t count = case_->run->quick ? 1000 : 10000;
	char purpose[64];

	snprintf(purpose, sizeof(purpose), "%s %zu", case_->purpose, case_->layout);
	struct rounds rounds = rounds_begin(case_->run, purpose, PAIR_COLUMNS,
					    case_->seconds / LAYOUTS);
	while (rounds_next(&rounds) && rounds.round < LAYOUT_ROUNDS) {
		for (size_t i = 0; i < PAIR_COLUMNS; i++) {
			const size_t column = rounds.order[i];
			struct locks *locks = column == FEW ? &case_->few : &case_->locks;
			const uint64_t start = measure_now();

			pairs(locks, column == PLAIN ? PLAIN : LEASE, case_->writes, count);
			samples_set(case_->samples, case_->layout * LAYOUT_ROUNDS + rounds.round,
				    column, (double)(measure_now() - start) / (double)count);
		}
	}
}

static void measure_layout(void *context)
{
	struct pair_case *case_ = context;
	void *shift = __builtin_alloca(1 + random_below(&case_->random, STACK_SHIFT));

	__asm__ volatile("" : : "r"(shift) : "memory"); // it is used, for all the compiler knows
	attach(&case_->locks, case_->further, case_->others_read);
	attach(&case_->few, 0, false);
	time_pairs(case_);
	detach(&case_->few);
	detach(&case_->locks);
}

static void compare_pairs(struct run *run, const struct bench_case *self, double seconds,
			  struct pair_case case_, struct target target, struct target growth)
{
	static const char alone[] = "lh_rwlock, alone";
	char what[64];

	snprintf(what, sizeof(what), "%s + unlock, %zu leases more%s",
		 case_.writes ? "write" : "read", case_.further,
		 case_.others_read ? ", which read" : "");
	case_.run = run;
	case_.purpose = what;
	case_.seconds = seconds;
	case_.random = random_stream(run->seed, what);
	case_.samples = samples_create(PAIR_COLUMNS);
	for (case_.layout = 0; case_.layout < LAYOUTS; case_.layout++) {
		create(&case_.locks);
		create(&case_.few);
		process_run(measure_layout, &case_);
		(void)random_next(&case_.random); // the child drew from a copy
		destroy(&case_.few);
		destroy(&case_.locks);
	}
	for (int row = 0; row < 2; row++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = names[LEASE],
			.reference = row ? alone : names[PLAIN],
			.unit = "ns",
			.group = LAYOUT_ROUNDS,
			.target = row ? growth : target,
		};

		report_compare(run->report, &comparison, case_.samples, LEASE, row ? FEW : PLAIN);
	}
	samples_destroy(case_.samples);
}

static void measure_read(struct run *run, const struct bench_case *self, double seconds)
{
	const struct pair_case reads = { .further = FURTHER_LEASES, .others_read = true };

	compare_pairs(run, self, seconds, reads, (struct target){ TARGET_RATIO_AT_MOST, 0.30 },
		      (struct target){ TARGET_NONE, 0 });
}

static void measure_write(struct run *run, const struct bench_case *self, double seconds)
{
	const struct pair_case alone = { .writes = true, .further = MANY_LEASES };
	const struct pair_case after = { .writes = true,
					 .further = FURTHER_LEASES,
					 .others_read = true };

	compare_pairs(run, self, seconds / 2, alone, (struct target){ TARGET_RATIO_AT_MOST, 1.1 },
		      (struct target){ TARGET_RATIO_AT_MOST, 1.1 });
	compare_pairs(run, self, seconds / 2, after, (struct target){ TARGET_NONE, 0 },
		      (struct target){ TARGET_NONE, 0 });
}

// ---- several processes ---------------------------------------------------------------------------
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

		enter(&pool->locks, kind, writes);
		value = words[0];
		for (int i = 0; i < PEER_WORDS; i++) {
			if (words[i] != value)
				table->violations++;
			if (writes)
				words[i] = value + 1;
		}
		leave(&pool->locks, kind);
		count++;
	}
	return count;
}

static void take_seat(void *context)
{
	struct pool *pool = context;
	struct seat *seat = &pool->table->seats[pool->next];
	uint32_t orders = 0;

	attach(&pool->locks, 0, false);
	volatile uint64_t *words[KINDS] = {
		[PLAIN] = (volatile uint64_t *)(pool->locks.plain + 1) + 8,
		[LEASE] = lh_rwlock_data(&pool->locks.handle),
	};
	gate_add(&seat->done, 1);
	for (;;) {
		orders = gate_await_order(&seat->orders, orders);
		if (pool->table->kind == KINDS)
			break;
		const double start = cpu_now();

		seat->count = pool->table->kind == PLAIN ? mix(pool, PLAIN, words[PLAIN])
							 : mix(pool, LEASE, words[LEASE]);
		seat->cpu_ns = cpu_now() - start;
		gate_add(&seat->done, 1);
	}
	detach(&pool->locks);
}

static void pool_start(struct pool *pool, const struct run *run, uint32_t size)
{
	*pool = (struct pool){ .size = size, .table = process_shared_memory(sizeof(struct table)) };
	create(&pool->locks);
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
	destroy(&pool->locks);
}

// A reader's cost may not grow with the number of others: CPU time, since there are fewer processors.
static void measure_readers(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t sizes[] = { 1, 2, 4, MOST };
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), COLUMNS = KINDS * SIZES };
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	struct samples *samples = samples_create(COLUMNS);
	struct pool pool;

	pool_start(&pool, run, MOST);
	struct rounds rounds = rounds_begin(run, self->name, COLUMNS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];

			samples_set(samples, rounds.round, column,
				    pool_slice(&pool, sizes[column / KINDS], (int)(column % KINDS),
					       100, ns)
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
				.peer = names[LEASE],
				.reference = row ? names[PLAIN] : "lh_rwlock, one process",
				.unit = "ns",
				.target = { row ? TARGET_NONE : TARGET_RATIO_AT_MOST, 1.1 },
			};

			report_compare(run->report, &comparison, samples, size * KINDS + LEASE,
				       row ? size * KINDS + PLAIN : LEASE);
		}
	}
	samples_destroy(samples);
}

static void measure_mix(struct run *run, const struct bench_case *self, double seconds)
{
	static const unsigned percents[] = { 99, 90, 50 };
	static const uint32_t sizes[] = { 2, 4 };
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	struct pool pool;

	pool_start(&pool, run, 4);
	for (size_t i = 0; i < 6; i++) {
		const unsigned percent = percents[i % 3];
		struct samples *samples = samples_create(KINDS);
		char what[64];

		snprintf(what, sizeof(what), "%u %% reads, %u processes", percent, sizes[i / 3]);
		struct rounds rounds = rounds_begin(run, what, KINDS, seconds / 6);
		while (rounds_next(&rounds)) {
			for (size_t k = 0; k < KINDS; k++)
				samples_set(samples, rounds.round, rounds.order[k],
					    pool_slice(&pool, sizes[i / 3], (int)rounds.order[k],
						       percent, ns)
						    .wall);
		}
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = names[LEASE],
			.reference = names[PLAIN],
			.unit = "ns/grant",
			.throughput = true,
		};
		report_compare(run->report, &comparison, samples, LEASE, PLAIN);
		samples_destroy(samples);
	}
	pool_end(&pool, run);
}

// ---- kill ----------------------------------------------------------------------------------------
enum { ROBUST, WRITER_READER, WRITER_WRITER, READER_WRITER, KILL_COLUMNS };

struct kill_case {
	int column;
	struct locks locks;
	struct lock robust;
	struct {
		gate held, waits;
		_Atomic uint64_t granted;
		bool told;
	} * shared;
};

static void hold_for_ever(void *context)
{
	struct kill_case *case_ = context;

	if (case_->column == ROBUST) {
		case_->robust.peer->attach(&case_->robust);
		(void)case_->robust.peer->lock(&case_->robust);
	} else {
		attach(&case_->locks, 0, false);
		enter(&case_->locks, LEASE, case_->column != READER_WRITER);
	}
	gate_set(&case_->shared->held, 1);
	for (;;)
		measure_sleep_until(UINT64_MAX / 2);
}

static void wait_for_it(void *context)
{
	struct kill_case *case_ = context;
	lh_grant grant = { .flags = 0 };

	if (case_->column == ROBUST) {
		case_->robust.peer->attach(&case_->robust);
		gate_set(&case_->shared->waits, 1);
		case_->shared->told = case_->robust.peer->lock(&case_->robust) == PEER_OWNER_DIED;
		atomic_store(&case_->shared->granted, measure_now());
		case_->robust.peer->unlock(&case_->robust);
		case_->robust.peer->detach(&case_->robust);
		return;
	}
	attach(&case_->locks, 0, false);
	gate_set(&case_->shared->waits, 1);
	check(case_->column == WRITER_READER
		      ? lh_rwlock_read_lock(&case_->locks.handle, case_->locks.lease, LH_FOREVER,
					    &grant)
		      : lh_rwlock_write_lock(&case_->locks.handle, case_->locks.lease, LH_FOREVER,
					     &grant),
	      "lock");
	atomic_store(&case_->shared->granted, measure_now());
	case_->shared->told = (grant.flags != 0) == (case_->column != READER_WRITER);
	leave(&case_->locks, LEASE);
	detach(&case_->locks);
}

static double kill_once(struct run *run, int column)
{
	struct kill_case case_ = { .column = column,
				   .shared = process_shared_memory(sizeof(*case_.shared)) };
	pid_t holder, waiter;
	uint64_t killed;
	double took;

	if (column == ROBUST)
		peer_create(&case_.robust, &peer_pthread_robust);
	else
		create(&case_.locks);
	holder = process_start(hold_for_ever, &case_);
	gate_await(&case_.shared->held, 1);
	waiter = process_start(wait_for_it, &case_);
	gate_await(&case_.shared->waits, 1);
	while (!process_asleep(waiter))
		sched_yield();
	killed = measure_now();
	kill(holder, SIGKILL);
	process_finish(waiter);
	process_bury(holder);
	took = (double)(atomic_load(&case_.shared->granted) - killed);
	if (!case_.shared->told) {
		fprintf(stderr,
			"lease-bench: rwlock: the grant after a kill told the wrong thing\n");
		run->failed = true;
	}
	if (column == ROBUST)
		case_.robust.peer->destroy(&case_.robust);
	else
		destroy(&case_.locks);
	munmap(case_.shared, sizeof(*case_.shared));
	return took;
}

static void measure_kill(struct run *run, const struct bench_case *self, double seconds)
{
	static const char *const whats[KILL_COLUMNS] = {
		[WRITER_READER] = "a writer; a reader waits",
		[WRITER_WRITER] = "a writer; a writer waits",
		[READER_WRITER] = "a reader; a writer waits",
	};
	struct samples *samples = samples_create(KILL_COLUMNS);
	struct rounds rounds = rounds_begin(run, self->name, KILL_COLUMNS, seconds);

	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < KILL_COLUMNS; i++)
			samples_set(samples, rounds.round, rounds.order[i],
				    kill_once(run, (int)rounds.order[i]));
	}
	for (size_t column = ROBUST + 1; column < KILL_COLUMNS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = whats[column],
			.peer = names[LEASE],
			.reference = peer_pthread_robust.name,
			.unit = "ns",
		};

		report_compare(run->report, &comparison, samples, column, ROBUST);
	}
	report_note(run->report, "kill: a pthread_rwlock is never granted again.");
	samples_destroy(samples);
}

static const struct bench_case cases[] = {
	{ "read", "read lock + unlock by one process, 100 leases more in the arena", 2,
	  measure_read },
	{ "write", "write lock + unlock by one process, 100 and 500 leases more", 3,
	  measure_write },
	{ "readers", "CPU time of a read by 1, 2, 4 and 8 processes at once", 3, measure_readers },
	{ "mix", "grants at 99, 90 and 50 % reads, 2 and 4 processes", 4, measure_mix },
	{ "kill", "SIGKILL of a writer or reader to the next grant", 2, measure_kill },
	{ 0 },
};

const struct subcommand rwlock_subcommand = {
	.name = "rwlock",
	.summary = "lh_rwlock against process-shared pthread_rwlock_t",
	.cases = cases,
};
