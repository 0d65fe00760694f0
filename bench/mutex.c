// SPDX-License-Identifier: Apache-2.0
//
// mutex.c: lease-bench mutex; the cases without contention.
#include "mutex.h"

#include "peer.h"
#include "report.h"

static const struct bench_case cases[] = {
	{ "uncontended", "lock + unlock by one process", 2, mutex_uncontended },
	{ "contended", "grants at 2, 4, 16 and 64 processes, with and without a pause between", 8,
	  mutex_contended },
	{ "kill", "SIGKILL of a holder, an heir or a woken waiter, to the next grant", 5,
	  mutex_kill },
	{ "lease", "lease acquire + release", 1, mutex_lease },
	{ "arena", "arena open + close", 1, mutex_arena },
	{ "fairness", "longest wait while the other of 2 processes goes on", 2, mutex_fairness },
	{ "growth", "the same with 10,000 mutexes and 500 leases as with one of each", 2,
	  mutex_growth },
	{ "header", "bytes of a mutex", 0.01, mutex_header },
	{ 0 },
};

const struct subcommand mutex_subcommand = {
	.name = "mutex",
	.summary = "lh_mutex against process-shared pthread mutexes",
	.cases = cases,
};

// ---- uncontended ---------------------------------------------------------------------------------
enum { PLAIN, ROBUST, ROBUST_PI, LEASE, LEASE_TTL, COLUMNS };

static const struct peer *const peers[COLUMNS] = {
	[PLAIN] = &peer_pthread_plain,         [ROBUST] = &peer_pthread_robust,
	[ROBUST_PI] = &peer_pthread_robust_pi, [LEASE] = &peer_lease,
	[LEASE_TTL] = &peer_lease_ttl,
};

struct uncontended {
	const struct run *run;
	const char *purpose;
	double seconds;
	struct lock locks[COLUMNS];
	struct samples *samples;
};

// One process holds all five, so that they share its luck with memory and cores.
static void measure_uncontended(void *context)
{
	struct uncontended *case_ = context;
	const uint64_t pairs = case_->run->quick ? 1000 : 10000;

	for (size_t i = 0; i < COLUMNS; i++)
		peers[i]->attach(&case_->locks[i]);
	struct rounds rounds = rounds_begin(case_->run, case_->purpose, COLUMNS, case_->seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];
			const uint64_t start = measure_now();

			peers[column]->pairs(&case_->locks[column], pairs);
			samples_set(case_->samples, rounds.round, column,
				    (double)(measure_now() - start) / (double)pairs);
		}
	}
	for (size_t i = COLUMNS; i > 0; i--)
		peers[i - 1]->detach(&case_->locks[i - 1]);
}

void mutex_uncontended(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct {
		size_t peer, reference;
		struct target target;
	} rows[] = {
		{ LEASE, ROBUST, { TARGET_RATIO_AT_MOST, 0.70 } },
		{ LEASE, PLAIN, { TARGET_RATIO_AT_MOST, 0.95 } },
		{ LEASE_TTL, ROBUST, { TARGET_NONE, 0 } },
		{ LEASE_TTL, PLAIN, { TARGET_NONE, 0 } },
		{ PLAIN, ROBUST, { TARGET_NONE, 0 } },
		{ ROBUST_PI, ROBUST, { TARGET_NONE, 0 } },
	};
	struct uncontended case_ = { .run = run, .purpose = self->name, .seconds = seconds };

	case_.samples = samples_create(COLUMNS);
	for (size_t i = 0; i < COLUMNS; i++)
		peer_create(&case_.locks[i], peers[i]);
	process_run(measure_uncontended, &case_);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "lock + unlock",
			.peer = peers[rows[i].peer]->name,
			.reference = peers[rows[i].reference]->name,
			.unit = "ns",
			.target = rows[i].target,
		};

		report_compare(run->report, &comparison, case_.samples, rows[i].peer,
			       rows[i].reference);
	}
	for (size_t i = 0; i < COLUMNS; i++)
		peers[i]->destroy(&case_.locks[i]);
	samples_destroy(case_.samples);
}

// ---- header --------------------------------------------------------------------------------------
// No measurement, but a promise of the same kind: a mutex takes one cache line.
void mutex_header(struct run *run, const struct bench_case *self, double seconds)
{
	const struct comparison comparison = {
		.case_name = self->name,
		.what = "size without data",
		.peer = peer_lease.name,
		.reference = peer_pthread_robust.name,
		.unit = "bytes",
		.target = { TARGET_ABSOLUTE_AT_MOST, 64 },
	};
	struct samples *samples = samples_create(2);

	(void)seconds;
	samples_set(samples, 0, 0, (double)lh_mutex_footprint(NULL));
	samples_set(samples, 0, 1, (double)sizeof(pthread_mutex_t));
	report_compare(run->report, &comparison, samples, 0, 1);
	samples_destroy(samples);
}
