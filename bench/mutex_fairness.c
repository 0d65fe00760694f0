// SPDX-License-Identifier: Apache-2.0
//
// mutex_fairness.c: how the grants of a slice are shared out. With two processes, who waits could
// run if there are two CPUs: there the longest wait tells how long the lock lets a process be
// passed over. A slice ends every wait, so none is longer than a slice.
#include "mutex.h"

#include <math.h>
#include <stdio.h>

#include "contest.h"
#include "fairness.h"
#include "report.h"

enum { WAIT, PASSED, FIGURES };

static const struct {
	const char *name, *unit;
} figures[FIGURES] = {
	[WAIT] = { "longest wait in a slice", "ns" },
	[PASSED] = { "most grants to others + 1", "grants" },
};

static void look(const struct pool *pool, double values[FIGURES])
{
	double wait = 0, passed = 0;

	for (uint32_t i = 0; i < pool->size; i++) {
		const struct seat *seat = &pool->contest->seats[i];

		wait = fmax(wait, (double)seat->max_wait_ns);
		passed = fmax(passed, (double)seat->max_passed);
	}
	values[WAIT] = wait;
	values[PASSED] = 1 + passed; // where that may be none
}

struct sharing {
	struct run *run;
	const struct bench_case *self;
	const struct peer_set *set;
	struct samples *samples[FIGURES];
	struct fairness fairness;
};

static void report(const struct sharing *sharing, uint32_t size)
{
	const struct peer_set *set = sharing->set;
	char processes[32], what[64];

	snprintf(processes, sizeof(processes), "%u processes", size);
	for (size_t column = 1; column < set->count; column++) {
		struct comparison comparison = {
			.case_name = sharing->self->name,
			.what = what,
			.peer = set->peers[column]->name,
			.reference = set->peers[0]->name,
		};

		// With more processes than CPUs a wait is as much the scheduler's.
		for (int i = 0; i < FIGURES && size == 2; i++) {
			snprintf(what, sizeof(what), "%s, %s", processes, figures[i].name);
			comparison.unit = figures[i].unit;
			report_compare(sharing->run->report, &comparison, sharing->samples[i],
				       column, 0);
		}
		comparison.what = processes;
		fairness_report(&sharing->fairness, sharing->run->report, &comparison, column, 0);
	}
}

static void compare_size(struct sharing *sharing, uint32_t size, uint64_t ns, double seconds)
{
	const struct peer_set *set = sharing->set;
	const struct contest_terms terms = { .timed = true };
	char purpose[32];

	snprintf(purpose, sizeof(purpose), "%s %u", sharing->self->name, size);
	sharing->fairness = fairness_create(set->count);
	for (int i = 0; i < FIGURES; i++)
		sharing->samples[i] = samples_create(set->count);
	struct rounds rounds = rounds_begin(sharing->run, purpose, set->count, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < set->count; i++) {
			const size_t column = rounds.order[i];
			double values[FIGURES];
			struct pool pool;

			pool_start(&pool, set->peers[column], size, sharing->run->seed);
			pool_slice(&pool, ns, &terms);
			look(&pool, values);
			pool_end(&pool, sharing->run);
			for (int j = 0; j < FIGURES; j++)
				samples_set(sharing->samples[j], rounds.round, column, values[j]);
			fairness_set(&sharing->fairness, rounds.round, column, pool.shares, size);
		}
	}
	report(sharing, size);
	for (int i = 0; i < FIGURES; i++)
		samples_destroy(sharing->samples[i]);
	fairness_destroy(&sharing->fairness);
}

void compare_fairness(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds)
{
	static const uint32_t sizes[] = { 2, 4, 16, CONTEST_MOST };
	// Starting as many as the last two are takes most of the time: a quick run has none of it.
	const size_t count = run->quick ? 2 : sizeof(sizes) / sizeof(sizes[0]);
	const uint64_t ns = run->quick ? 20000000 : 200000000;
	struct sharing sharing = { .run = run, .self = self, .set = set };

	for (size_t i = 0; i < count; i++)
		compare_size(&sharing, sizes[i], ns, seconds / (double)count);
	report_note(run->report, "fairness: slices of %.0f ms, which end every wait.",
		    (double)ns / 1e6);
}

// ---- the mutex's ---------------------------------------------------------------------------------
static const struct peer *const peers[] = { &peer_pthread_robust, &peer_lease, &peer_lease_ttl,
					    &peer_pthread_plain };
const struct peer_set mutex_sharers = { .peers = peers, .count = sizeof(peers) / sizeof(peers[0]) };

void mutex_fairness(struct run *run, const struct bench_case *self, double seconds)
{
	compare_fairness(run, self, &mutex_sharers, seconds);
}
