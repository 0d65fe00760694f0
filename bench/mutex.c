// SPDX-License-Identifier: Apache-2.0
//
// mutex.c: lease-bench mutex; the cases without contention.
#include "mutex.h"

#include <stdio.h>

#include "peer.h"
#include "report.h"

static const struct bench_case cases[] = {
	{ "uncontended", "lock + unlock by one process, by call and inlined", 2,
	  mutex_uncontended },
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
enum { PLAIN, ROBUST, ROBUST_PI, LEASE, LEASE_TTL, INLINED, COLUMNS };

static const struct peer *const peers[COLUMNS] = {
	[PLAIN] = &peer_pthread_plain,         [ROBUST] = &peer_pthread_robust,
	[ROBUST_PI] = &peer_pthread_robust_pi, [LEASE] = &peer_lease,
	[LEASE_TTL] = &peer_lease_ttl,         [INLINED] = &peer_lease_inlined,
};

// How fast so short a loop runs depends by some percent on where its data and stack happen to lie
// (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", 2009). So there
// are several processes with locks of their own and a stack moved at random; each gives one ratio.
#define LAYOUTS 16
#define LAYOUT_ROUNDS (MEASURE_ROUNDS / LAYOUTS)
#define STACK_SHIFT 4096

struct uncontended {
	const struct run *run;
	const char *purpose;
	double seconds;
	struct random random;
	size_t layout;
	const struct peer_set *set;
	struct lock locks[MEASURE_COLUMNS];
	struct samples *samples;
};

static void time_pairs(struct uncontended *case_)
{
	const uint64_t pairs = case_->run->quick ? 1000 : 10000;
	char purpose[64];

	snprintf(purpose, sizeof(purpose), "%s %zu", case_->purpose, case_->layout);
	struct rounds rounds = rounds_begin(case_->run, purpose, case_->set->count, case_->seconds);
	while (rounds_next(&rounds) && rounds.round < LAYOUT_ROUNDS) {
		for (size_t i = 0; i < case_->set->count; i++) {
			const size_t column = rounds.order[i];
			const uint64_t start = measure_now();

			case_->set->peers[column]->pairs(&case_->locks[column], pairs);
			samples_set(case_->samples, case_->layout * LAYOUT_ROUNDS + rounds.round,
				    column, (double)(measure_now() - start) / (double)pairs);
		}
	}
}

// One process holds all of them, so that they share its luck with cores.
static void measure_layout(void *context)
{
	struct uncontended *case_ = context;
	void *shift = __builtin_alloca(1 + random_below(&case_->random, STACK_SHIFT));

	__asm__ volatile("" : : "r"(shift) : "memory"); // it is used, for all the compiler knows
	for (size_t i = 0; i < case_->set->count; i++)
		case_->set->peers[i]->attach(&case_->locks[i]);
	time_pairs(case_);
	for (size_t i = 0; i < case_->set->count; i++)
		case_->set->peers[i]->detach(&case_->locks[i]);
}

static void measure_uncontended(struct uncontended *case_)
{
	for (case_->layout = 0; case_->layout < LAYOUTS; case_->layout++) {
		for (size_t i = 0; i < case_->set->count; i++)
			peer_create(&case_->locks[i], case_->set->peers[i]);
		process_run(measure_layout, case_);
		(void)random_next(&case_->random); // the child drew from a copy
		for (size_t i = 0; i < case_->set->count; i++)
			case_->set->peers[i]->destroy(&case_->locks[i]);
	}
}

void compare_pairs(struct run *run, const struct bench_case *self, const struct peer_set *set,
		   double seconds)
{
	struct uncontended case_ = { .run = run,
				     .purpose = self->name,
				     .seconds = seconds / LAYOUTS,
				     .random = random_stream(run->seed, self->name),
				     .set = set };

	case_.samples = samples_create(set->count);
	measure_uncontended(&case_);
	for (size_t i = 0; i < set->row_count; i++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "lock + unlock",
			.peer = set->peers[set->rows[i].peer]->name,
			.reference = set->peers[set->rows[i].reference]->name,
			.unit = "ns",
			.group = LAYOUT_ROUNDS,
			.target = set->rows[i].target,
		};

		report_compare(run->report, &comparison, case_.samples, set->rows[i].peer,
			       set->rows[i].reference);
	}
	samples_destroy(case_.samples);
}

void mutex_uncontended(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer_set set = {
		.peers = peers,
		.count = COLUMNS,
		.rows = { { LEASE, ROBUST, { TARGET_RATIO_AT_MOST, 0.70 } },
			  { LEASE, PLAIN, { TARGET_RATIO_AT_MOST, 0.95 } },
			  { INLINED, ROBUST, { TARGET_RATIO_AT_MOST, 0.70 } },
			  { INLINED, PLAIN, { TARGET_RATIO_AT_MOST, 0.95 } },
			  { LEASE_TTL, ROBUST, { TARGET_NONE, 0 } },
			  { LEASE_TTL, PLAIN, { TARGET_NONE, 0 } },
			  { PLAIN, ROBUST, { TARGET_NONE, 0 } },
			  { ROBUST_PI, ROBUST, { TARGET_NONE, 0 } } },
		.row_count = 8,
	};

	compare_pairs(run, self, &set, seconds);
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
