// SPDX-License-Identifier: Apache-2.0
//
// mutex_fairness.c: how the grants of a slice are shared out. With two processes, who waits could
// run if there are two CPUs: there the longest wait tells how long the lock lets a process be
// passed over. A slice ends every wait, so none is longer than a slice.
#include "mutex.h"

#include <math.h>
#include <stdio.h>

#include "contest.h"
#include "report.h"

enum { ROBUST, LEASE, LEASE_TTL, PLAIN, COLUMNS };

static const struct peer *const peers[COLUMNS] = {
	[ROBUST] = &peer_pthread_robust,
	[LEASE] = &peer_lease,
	[LEASE_TTL] = &peer_lease_ttl,
	[PLAIN] = &peer_pthread_plain,
};

enum { WAIT, PASSED, SPREAD, LEAST_OF_MOST, FIGURES };

static const struct {
	const char *name, *unit;
} figures[FIGURES] = {
	[WAIT] = { "longest wait in a slice", "ns" },
	[PASSED] = { "most grants to others + 1", "grants" },
	[SPREAD] = { "grants each: stddev/mean", "" },
	[LEAST_OF_MOST] = { "grants each: (min + 1)/(max + 1)", "" },
};

// From the shares of a slice and what its seats saw. One more than was counted where that may be
// none.
static void look(const struct pool *pool, double values[FIGURES])
{
	double wait = 0, passed = 0, sum = 0, squares = 0, least = INFINITY, most = 0;

	for (uint32_t i = 0; i < pool->size; i++) {
		const struct seat *seat = &pool->contest->seats[i];
		const double share = (double)pool->shares[i];

		wait = fmax(wait, (double)seat->max_wait_ns);
		passed = fmax(passed, (double)seat->max_passed);
		sum += share;
		squares += share * share;
		least = fmin(least, share);
		most = fmax(most, share);
	}
	const double mean = sum / pool->size;
	values[WAIT] = wait;
	values[PASSED] = 1 + passed;
	values[SPREAD] = sqrt(fmax(squares / pool->size - mean * mean, 0)) / mean;
	values[LEAST_OF_MOST] = (least + 1) / (most + 1);
}

static void report_figure(struct run *run, const struct bench_case *self, uint32_t size, int figure,
			  const struct samples *samples)
{
	char what[64];

	snprintf(what, sizeof(what), "%u processes, %s", size, figures[figure].name);
	for (size_t column = ROBUST + 1; column < COLUMNS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = peers[column]->name,
			.reference = peers[ROBUST]->name,
			.unit = figures[figure].unit,
		};

		report_compare(run->report, &comparison, samples, column, ROBUST);
	}
}

static void compare_size(struct run *run, const struct bench_case *self, uint32_t size, uint64_t ns,
			 double seconds)
{
	const struct contest_terms terms = { .timed = true };
	struct samples *samples[FIGURES];
	char purpose[32];

	snprintf(purpose, sizeof(purpose), "%s %u", self->name, size);
	for (int i = 0; i < FIGURES; i++)
		samples[i] = samples_create(COLUMNS);
	struct rounds rounds = rounds_begin(run, purpose, COLUMNS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++) {
			double values[FIGURES];
			struct pool pool;

			pool_start(&pool, peers[rounds.order[i]], size, run->seed);
			pool_slice(&pool, ns, &terms);
			look(&pool, values);
			pool_end(&pool, run);
			for (int j = 0; j < FIGURES; j++)
				samples_set(samples[j], rounds.round, rounds.order[i], values[j]);
		}
	}
	for (int i = 0; i < FIGURES; i++) {
		// With more processes than CPUs a wait is as much the scheduler's.
		if (size == 2 || i >= SPREAD)
			report_figure(run, self, size, i, samples[i]);
		samples_destroy(samples[i]);
	}
}

void mutex_fairness(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t sizes[] = { 2, 4, 16, CONTEST_MOST };
	const size_t count = sizeof(sizes) / sizeof(sizes[0]);
	const uint64_t ns = run->quick ? 20000000 : 200000000;

	for (size_t i = 0; i < count; i++)
		compare_size(run, self, sizes[i], ns, seconds / (double)count);
	report_note(run->report, "fairness: slices of %.0f ms, which end every wait.",
		    (double)ns / 1e6);
}
