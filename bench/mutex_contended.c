// SPDX-License-Identifier: Apache-2.0
//
// mutex_contended.c: grants to several processes that want one lock.
//
// Each peer has, in each round, a pool of fresh processes: where the scheduler once put a set of
// processes sticks to it, and would otherwise tint all rounds alike (two equal peers differed by
// half).
#include "mutex.h"

#include <stdio.h>

#include "contest.h"
#include "report.h"

#define TERMS 8

struct contended {
	struct run *run;
	const struct bench_case *self;
	const struct peer_set *set;
	struct contest_terms terms[TERMS]; // all of them with one pool
	size_t term_count;
	uint32_t sizes[RUN_PROCESSES];
	size_t size_count;
};

static void name_terms(char *what, size_t size, uint32_t processes,
		       const struct contest_terms *terms)
{
	int length = snprintf(what, size, "%u processes", processes);

	if (terms->hold_ns > 0)
		length += snprintf(what + length, size - (size_t)length, ", hold %.0f ns",
				   terms->hold_ns);
	if (terms->think_ns > 0)
		snprintf(what + length, size - (size_t)length, ", think %.0f ns", terms->think_ns);
}

// Who spins while the holder may not run waits for the scheduler: no use of it that anybody has.
static bool applies(const struct contended *case_, size_t column, uint32_t size)
{
	return !case_->set->peers[column]->spins || size <= (uint32_t)case_->run->cpus;
}

static void report_throughput(const struct contended *case_, uint32_t size,
			      const struct contest_terms *terms, const struct samples *samples)
{
	const struct peer_set *set = case_->set;
	char what[96];

	name_terms(what, sizeof(what), size, terms);
	for (size_t column = 1; column < set->count; column++) {
		const bool ours = set->peers[column] == &peer_lease ||
				  set->peers[column] == &peer_lease_semaphore;
		const struct comparison comparison = {
			.case_name = case_->self->name,
			.what = what,
			.peer = set->peers[column]->name,
			.reference = set->peers[0]->name,
			.unit = "ns/grant",
			.throughput = true,
			.target = { ours ? TARGET_RATIO_AT_LEAST : TARGET_NONE, 1 },
		};

		if (applies(case_, column, size))
			report_compare(case_->run->report, &comparison, samples, column, 0);
	}
}

static void compare_size(const struct contended *case_, uint32_t size, double seconds)
{
	const uint64_t ns = case_->run->quick ? 5000000 : 40000000;
	const struct peer_set *set = case_->set;
	struct samples *samples[TERMS];
	char purpose[64];

	snprintf(purpose, sizeof(purpose), "%s %u", case_->self->name, size);
	for (size_t i = 0; i < case_->term_count; i++)
		samples[i] = samples_create(set->count);
	struct rounds rounds = rounds_begin(case_->run, purpose, set->count, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < set->count; i++) {
			const size_t column = rounds.order[i];
			struct pool pool;

			if (!applies(case_, column, size))
				continue;
			pool_start(&pool, set->peers[column], size, case_->run->seed);
			for (size_t j = 0; j < case_->term_count; j++)
				samples_set(samples[j], rounds.round, column,
					    pool_slice(&pool, ns, &case_->terms[j]));
			pool_end(&pool, case_->run);
		}
	}
	for (size_t i = 0; i < case_->term_count; i++) {
		report_throughput(case_, size, &case_->terms[i], samples[i]);
		samples_destroy(samples[i]);
	}
}

// What the command line says goes before what the case has by itself.
static void compare(struct contended *case_, double seconds)
{
	const struct run *run = case_->run;

	if (run->process_count) {
		case_->size_count = run->process_count;
		for (size_t i = 0; i < run->process_count; i++)
			case_->sizes[i] = run->processes[i];
	}
	if (run->hold_ns >= 0 || run->think_ns >= 0) {
		case_->term_count = 1;
		case_->terms[0] = (struct contest_terms){
			.hold_ns = run->hold_ns > 0 ? run->hold_ns : 0,
			.think_ns = run->think_ns > 0 ? run->think_ns : 0,
		};
	}
	for (size_t i = 0; i < case_->size_count; i++)
		compare_size(case_, case_->sizes[i], seconds / (double)case_->size_count);
	report_note(
		run->report,
		"%s: a grant increments %d words; holds and pauses are drawn anew each time, with "
		"the mean given.",
		case_->self->name, PEER_WORDS);
}

const char *const compare_contests[] = { "contended", "oversubscribed", NULL };

void compare_contended(struct run *run, const struct bench_case *self, const struct peer_set *set,
		       double seconds)
{
	struct contended case_ = {
		.run = run,
		.self = self,
		.set = set,
		.terms = { { .think_ns = 0 }, { .think_ns = PEER_THINK_NS } },
		.term_count = 2,
		.sizes = { 2, 4, 16, CONTEST_MOST },
		.size_count = run->quick ? 2 : 4, // starting the others takes most of a round
	};

	compare(&case_, seconds);
}

void compare_oversubscribed(struct run *run, const struct bench_case *self,
			    const struct peer_set *set, double seconds)
{
	static const double holds[] = { 0, 1000, 20000 }, thinks[] = { 0, 20000 };
	const uint32_t twice = 2 * (uint32_t)run->cpus;
	struct contended case_ = { .run = run, .self = self, .set = set };

	for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
		for (size_t j = 0; j < sizeof(thinks) / sizeof(thinks[0]); j++)
			case_.terms[case_.term_count++] = (struct contest_terms){
				.hold_ns = holds[i], .think_ns = thinks[j]
			};
	}
	if (twice < CONTEST_MOST)
		case_.sizes[case_.size_count++] = twice;
	if (!run->quick || !case_.size_count) // the most costly of all rounds
		case_.sizes[case_.size_count++] = CONTEST_MOST;
	compare(&case_, seconds);
}

// ---- the mutex's ---------------------------------------------------------------------------------
static const struct peer *const peers[] = { &peer_pthread_robust,    &peer_lease,
					    &peer_lease_ttl,         &peer_pthread_plain,
					    &peer_pthread_robust_pi, PEERS_FURTHER };
const struct peer_set mutex_contenders = { .peers = peers,
					   .count = sizeof(peers) / sizeof(peers[0]) };

void mutex_contended(struct run *run, const struct bench_case *self, double seconds)
{
	compare_contended(run, self, &mutex_contenders, seconds);
}

void mutex_oversubscribed(struct run *run, const struct bench_case *self, double seconds)
{
	compare_oversubscribed(run, self, &mutex_contenders, seconds);
}
