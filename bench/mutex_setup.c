// SPDX-License-Identifier: Apache-2.0
//
// mutex_setup.c: what comes before the first lock: leases and arenas; and whether anything grows
// with what an arena holds.
#include "mutex.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer.h"
#include "report.h"

static void check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

static void check_errno(bool good, const char *what)
{
	if (!good)
		process_die_errno(errno, what);
}

// ns per acquire + release, `count` times.
static double time_leases(lh_arena *arena, const struct lh_lease_options *options, int count)
{
	const uint64_t start = measure_now();

	for (int i = 0; i < count; i++) {
		lh_lease *lease;
		int error = lh_lease_acquire(arena, options, &lease);

		if (!error)
			error = lh_lease_release(lease);
		if (__builtin_expect(error != 0, 0))
			check(error, "lease acquire and release");
	}
	return (double)(measure_now() - start) / count;
}

// ns per open + close, `count` times.
static double time_opens(const char *name, int count)
{
	const uint64_t start = measure_now();

	for (int i = 0; i < count; i++) {
		lh_arena *arena;

		check(lh_arena_open(name, 0, NULL, &arena), "lh_arena_open");
		check(lh_arena_close(arena), "lh_arena_close");
	}
	return (double)(measure_now() - start) / count;
}

// ---- lease acquire + release ---------------------------------------------------------------------
enum { PAIR, FIRST, FURTHER, FURTHER_TTL, LEASE_COLUMNS };

struct lease_case {
	const struct run *run;
	const char *purpose;
	double seconds;
	struct lock robust;
	char arena_name[SCRATCH_NAME];
	struct samples *samples;
};

static double time_further_leases(lh_arena *arena, const struct lh_lease_options *options,
				  int count)
{
	lh_lease *lease;

	check(lh_lease_acquire(arena, NULL, &lease), "lh_lease_acquire");
	const double ns = time_leases(arena, options, count);
	check(lh_lease_release(lease), "lh_lease_release");
	return ns;
}

static double lease_slice(struct lease_case *case_, lh_arena *arena, size_t column, int count)
{
	static const struct lh_lease_options with_ttl = { .ttl_ns = LH_SEC(10) };
	const uint64_t start = measure_now();

	switch (column) {
	case FIRST:
		return time_leases(arena, NULL, count);
	case FURTHER:
		return time_further_leases(arena, NULL, count);
	case FURTHER_TTL:
		return time_further_leases(arena, &with_ttl, count);
	default:
		case_->robust.peer->pairs(&case_->robust, (uint64_t)count);
		return (double)(measure_now() - start) / count;
	}
}

static void measure_lease(void *context)
{
	struct lease_case *case_ = context;
	const int count = case_->run->quick ? 50 : 500;
	lh_arena *arena;

	check(lh_arena_open(case_->arena_name, LH_CREATE | LH_EXCL, NULL, &arena), "lh_arena_open");
	case_->robust.peer->attach(&case_->robust);
	struct rounds rounds = rounds_begin(case_->run, case_->purpose, LEASE_COLUMNS,
					    case_->seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < LEASE_COLUMNS; i++)
			samples_set(case_->samples, rounds.round, rounds.order[i],
				    lease_slice(case_, arena, rounds.order[i], count));
	}
	case_->robust.peer->detach(&case_->robust);
	check(lh_arena_close(arena), "lh_arena_close");
}

void mutex_lease(struct run *run, const struct bench_case *self, double seconds)
{
	static const char *const what[LEASE_COLUMNS] = {
		[FIRST] = "acquire + release, the thread's first lease",
		[FURTHER] = "acquire + release, a further lease",
		[FURTHER_TTL] = "acquire + release, a further lease with TTL",
	};
	struct lease_case case_ = { .run = run, .purpose = self->name, .seconds = seconds };

	case_.samples = samples_create(LEASE_COLUMNS);
	scratch_name(case_.arena_name);
	peer_create(&case_.robust, &peer_pthread_robust);
	process_run(measure_lease, &case_);
	for (size_t column = FIRST; column < LEASE_COLUMNS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what[column],
			.peer = peer_lease.name,
			.reference = "pthread-robust pair",
			.unit = "ns",
			.target = { TARGET_ABSOLUTE_AT_MOST, 1000 },
		};

		report_compare(run->report, &comparison, case_.samples, column, PAIR);
	}
	case_.robust.peer->destroy(&case_.robust);
	scratch_unlink(case_.arena_name);
	samples_destroy(case_.samples);
}

// ---- arena open + close --------------------------------------------------------------------------
enum { BARE, AGAIN, ARENA_COLUMNS };

struct arena_case {
	const struct run *run;
	const char *purpose;
	double seconds;
	char name[SCRATCH_NAME];
	struct samples *samples;
	bool threads; // another thread runs when the arena is opened again
	size_t round; // of measure_first_open
};

static void make_arena(void *context)
{
	const struct arena_case *case_ = context;
	lh_arena *arena;

	check(lh_arena_open(case_->name, LH_CREATE | LH_EXCL, NULL, &arena), "lh_arena_open");
	check(lh_arena_close(arena), "lh_arena_close");
}

// The least that opening the same object can take.
static double time_bare_opens(const char *name, int count)
{
	const uint64_t start = measure_now();

	for (int i = 0; i < count; i++) {
		struct stat about;
		const int file = shm_open(name, O_RDWR | O_CLOEXEC, 0);

		check_errno(file >= 0 && fstat(file, &about) == 0, "shm_open");
		const size_t size = (size_t)about.st_size;
		volatile char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file,
					     0);
		check_errno(memory != MAP_FAILED, "mmap");
		(void)memory[0]; // its header has to be looked at
		munmap((void *)memory, size);
		close(file);
	}
	return (double)(measure_now() - start) / count;
}

static void *idle(void *gate_to_end)
{
	gate_await_order(gate_to_end, 0);
	return NULL;
}

static void measure_opens(void *context)
{
	struct arena_case *case_ = context;
	const int count = case_->run->quick ? 5 : 20;
	gate end = 0;
	pthread_t thread;

	(void)time_opens(case_->name, 1); // registers the process
	if (case_->threads && pthread_create(&thread, NULL, idle, &end) != 0)
		process_die("pthread_create");
	struct rounds rounds = rounds_begin(case_->run, case_->purpose, ARENA_COLUMNS,
					    case_->seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < ARENA_COLUMNS; i++)
			samples_set(case_->samples, rounds.round, rounds.order[i],
				    rounds.order[i] == AGAIN ? time_opens(case_->name, count)
							     : time_bare_opens(case_->name, count));
	}
	if (case_->threads) {
		gate_set(&end, 1);
		pthread_join(thread, NULL);
	}
}

// In a process that has opened none before.
static void measure_first_open(void *context)
{
	struct arena_case *case_ = context;

	samples_set(case_->samples, case_->round, BARE, time_bare_opens(case_->name, 1));
	samples_set(case_->samples, case_->round, AGAIN, time_opens(case_->name, 1));
}

static void compare_opens(struct arena_case *case_, struct run *run, const char *what,
			  double target)
{
	const struct comparison comparison = {
		.case_name = case_->purpose,
		.what = what,
		.peer = peer_lease.name,
		.reference = "shm_open + mmap",
		.unit = "ns",
		.target = { target > 0 ? TARGET_ABSOLUTE_AT_MOST : TARGET_NONE, target },
	};

	report_compare(run->report, &comparison, case_->samples, AGAIN, BARE);
	samples_destroy(case_->samples);
	case_->samples = samples_create(ARENA_COLUMNS);
}

void mutex_arena(struct run *run, const struct bench_case *self, double seconds)
{
	struct arena_case case_ = { .run = run, .purpose = self->name, .seconds = seconds / 3 };

	case_.samples = samples_create(ARENA_COLUMNS);
	scratch_name(case_.name);
	process_run(make_arena, &case_);

	process_run(measure_opens, &case_);
	compare_opens(&case_, run, "open + close, not the process's first", 200000);
	case_.threads = true;
	process_run(measure_opens, &case_);
	compare_opens(&case_, run, "open + close, not the first, 2 threads", 200000);

	struct rounds rounds = rounds_begin(run, self->name, 1, seconds / 3);
	while (rounds_next(&rounds)) {
		case_.round = rounds.round;
		process_run(measure_first_open, &case_);
	}
	compare_opens(&case_, run, "open + close, the process's first", 0);
	scratch_unlink(case_.name);
	samples_destroy(case_.samples);
}

// ---- growth --------------------------------------------------------------------------------------
// Two arenas of the same size: in one a single mutex and lease, in the other an array of 10,000 and
// 500 leases, half of them another process's, of which each holds a mutex.
#define MANY_MUTEXES 10000
#define MANY_LEASES 500
#define ELSEWHERE (MANY_LEASES / 2)
// Nothing may grow with either; the slack is for caches, which serve a larger set worse.
#define GROWTH 1.1

enum { FEW, MANY, KINDS };
enum { PAIR_FEW, PAIR_MANY, LEASE_FEW, LEASE_MANY, INSIDE_COLUMNS };

struct growth_case {
	const struct run *run;
	const char *purpose;
	double seconds;
	char names[KINDS][SCRATCH_NAME];
	struct samples *inside, *opens;
	gate *held, *end; // leases of the holders; 1: they may go
};

static struct lh_mutex_options growth_options(int kind)
{
	return (struct lh_mutex_options){ .name = "array",
					  .count = kind == MANY ? MANY_MUTEXES : 1 };
}

static void make_growth_arenas(void *context)
{
	const struct growth_case *case_ = context;
	const struct lh_mutex_options largest = growth_options(MANY);
	const struct lh_arena_options options = { .size = 2 * lh_mutex_footprint(&largest),
						  .max_leases = MANY_LEASES + 12 };

	for (int kind = 0; kind < KINDS; kind++) {
		const struct lh_mutex_options array = growth_options(kind);
		lh_arena *arena;
		lh_mutex mutex;

		check(lh_arena_open(case_->names[kind], LH_CREATE | LH_EXCL, &options, &arena),
		      "lh_arena_open");
		check(lh_mutex_at(arena, LH_ANYWHERE, &array, &mutex), "lh_mutex_at");
		check(lh_arena_close(arena), "lh_arena_close");
	}
}

static lh_mutex open_growth(const struct growth_case *case_, int kind, lh_arena **ret_arena)
{
	const struct lh_mutex_options array = growth_options(kind);
	lh_mutex mutex;

	check(lh_arena_open(case_->names[kind], 0, NULL, ret_arena), "lh_arena_open");
	check(lh_mutex_at(*ret_arena, LH_ANYWHERE, &array, &mutex), "lh_mutex_at");
	return mutex;
}

// So many leases, each of which holds a mutex; they end with the process.
static void hold_leases(lh_arena *arena, const lh_mutex *array, uint32_t leases, uint32_t from)
{
	for (uint32_t i = 0; i < leases; i++) {
		lh_lease *lease;
		lh_mutex mutex;

		check(lh_lease_acquire(arena, NULL, &lease), "lh_lease_acquire");
		check(lh_mutex_element(array, from + i, &mutex), "lh_mutex_element");
		check(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), "lh_mutex_lock");
	}
}

static void hold_elsewhere(void *context)
{
	struct growth_case *case_ = context;
	const uint32_t from = atomic_load(case_->held);
	lh_arena *arena;
	const lh_mutex array = open_growth(case_, MANY, &arena);

	hold_leases(arena, &array, ELSEWHERE, from);
	gate_add(case_->held, ELSEWHERE);
	gate_await_order(case_->end, 0);
}

static double growth_slice(struct lock locks[KINDS], size_t column, bool quick)
{
	struct lock *lock = &locks[column == PAIR_MANY || column == LEASE_MANY ? MANY : FEW];
	const uint64_t pairs = quick ? 1000 : 10000;

	if (column == LEASE_FEW || column == LEASE_MANY)
		return time_leases(lock->arena, NULL, quick ? 50 : 500);
	const uint64_t start = measure_now();
	peer_lease.pairs(lock, pairs);
	return (double)(measure_now() - start) / (double)pairs;
}

static void measure_inside(void *context)
{
	struct growth_case *case_ = context;
	struct lock locks[KINDS] = { 0 };

	for (int kind = 0; kind < KINDS; kind++) {
		struct lock *lock = &locks[kind];
		const lh_mutex array = open_growth(case_, kind, &lock->arena);

		check(lh_lease_acquire(lock->arena, NULL, &lock->lease), "lh_lease_acquire");
		check(lh_mutex_element(&array, kind == MANY ? MANY_MUTEXES / 2 : 0, &lock->handle),
		      "lh_mutex_element");
		if (kind == MANY)
			hold_leases(lock->arena, &array, MANY_LEASES - ELSEWHERE - 1,
				    2 * ELSEWHERE);
	}
	struct rounds rounds = rounds_begin(case_->run, case_->purpose, INSIDE_COLUMNS,
					    case_->seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < INSIDE_COLUMNS; i++)
			samples_set(case_->inside, rounds.round, rounds.order[i],
				    growth_slice(locks, rounds.order[i], case_->run->quick));
	}
}

static void measure_growth_opens(void *context)
{
	struct growth_case *case_ = context;

	for (int kind = 0; kind < KINDS; kind++)
		(void)time_opens(case_->names[kind], 1);
	struct rounds rounds = rounds_begin(case_->run, case_->purpose, KINDS, case_->seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < KINDS; i++)
			samples_set(case_->opens, rounds.round, rounds.order[i],
				    time_opens(case_->names[rounds.order[i]],
					       case_->run->quick ? 5 : 20));
	}
}

static void measure_growth(struct growth_case *case_)
{
	pid_t elsewhere[2];

	process_run(make_growth_arenas, case_);
	elsewhere[0] = process_start(hold_elsewhere, case_);
	gate_await(case_->held, ELSEWHERE);
	process_run(measure_inside, case_);
	// Whoever opens an arena has no lease on it yet: all are other processes'.
	elsewhere[1] = process_start(hold_elsewhere, case_);
	gate_await(case_->held, 2 * ELSEWHERE);
	process_run(measure_growth_opens, case_);
	gate_set(case_->end, 1);
	process_finish(elsewhere[0]);
	process_finish(elsewhere[1]);
}

void mutex_growth(struct run *run, const struct bench_case *self, double seconds)
{
	struct growth_case case_ = { .run = run, .purpose = self->name, .seconds = seconds / 2 };
	gate *gates = process_shared_memory(2 * sizeof(*gates));
	struct comparison comparison = {
		.case_name = self->name,
		.peer = "10,000 and 500",
		.reference = "1 and 1",
		.unit = "ns",
		.target = { TARGET_RATIO_AT_MOST, GROWTH },
	};

	case_.held = &gates[0];
	case_.end = &gates[1];
	case_.inside = samples_create(INSIDE_COLUMNS);
	case_.opens = samples_create(KINDS);
	for (int kind = 0; kind < KINDS; kind++)
		scratch_name(case_.names[kind]);
	measure_growth(&case_);
	comparison.what = "lock + unlock";
	report_compare(run->report, &comparison, case_.inside, PAIR_MANY, PAIR_FEW);
	comparison.what = "lease acquire + release";
	report_compare(run->report, &comparison, case_.inside, LEASE_MANY, LEASE_FEW);
	comparison.what = "arena open + close";
	report_compare(run->report, &comparison, case_.opens, MANY, FEW);
	for (int kind = 0; kind < KINDS; kind++)
		scratch_unlink(case_.names[kind]);
	samples_destroy(case_.inside);
	samples_destroy(case_.opens);
	munmap(gates, 2 * sizeof(*gates));
}
