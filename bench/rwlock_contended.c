// SPDX-License-Identifier: Apache-2.0
//
// rwlock_contended.c: several processes: readers beside each other, and readers among writers.
#include "rwlock.h"

#include <stdio.h>

#include "crowd.h"
#include "fairness.h"
#include "further.h"
#include "peer.h"
#include "report.h"

// What they want, as one process sees it.
struct wanted {
	struct locks locks;
	pid_t further; // who has the further leases
	uint64_t seed;
	struct random random;
};

static void attach(void *context, uint32_t process)
{
	struct wanted *wanted = context;

	wanted->random = random_stream(wanted->seed + process, "rwlock");
	locks_attach(&wanted->locks, 0, false);
}

static void detach(void *context)
{
	struct wanted *wanted = context;

	locks_detach(&wanted->locks);
}

// A writer increments the words, a reader compares them: neither may meet a writer. The terms: how
// many of a hundred read.
INLINE uint64_t mix(struct wanted *wanted, int kind, volatile uint64_t *words, uint64_t percent,
		    const gate *stop, _Atomic uint64_t *violations)
{
	uint64_t count = 0;

	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		const bool writes = random_below(&wanted->random, 100) >= percent;
		uint64_t value;

		locks_enter(&wanted->locks, kind, writes);
		value = words[0];
		for (int i = 0; i < PEER_WORDS; i++) {
			if (words[i] != value)
				atomic_fetch_add(violations, 1);
			if (writes)
				words[i] = value + 1;
		}
		locks_leave(&wanted->locks, kind, writes);
		count++;
	}
	return count;
}

static uint64_t contend(void *context, const struct crowd_order *order, const gate *stop,
			_Atomic uint64_t *violations)
{
	struct wanted *wanted = context;
	volatile uint64_t *plain = (volatile uint64_t *)(wanted->locks.plain + 1) + 8;
	volatile uint64_t *lease = lh_rwlock_data(&wanted->locks.handle);
	// behind the mutex as the others' are
	volatile uint64_t *sharable = (volatile uint64_t *)wanted->locks.sharable + 64;

	if (order->kind == PLAIN)
		return mix(wanted, PLAIN, plain, order->terms, stop, violations);
	if (order->kind == LEASE)
		return mix(wanted, LEASE, lease, order->terms, stop, violations);
	return mix(wanted, SHARABLE, sharable, order->terms, stop, violations);
}

static const struct crowd_work work = {
	.name = "rwlock", .attach = attach, .contend = contend, .detach = detach
};

static void start(struct crowd *crowd, struct wanted *wanted, const struct run *run, uint32_t size)
{
	*wanted = (struct wanted){ .seed = run->seed };
	locks_create(&wanted->locks);
	wanted->further = further_start(wanted->locks.object_name);
	crowd_start(crowd, &work, wanted, size);
}

static void end(struct crowd *crowd, struct run *run)
{
	struct wanted *wanted = crowd->context;

	crowd_end(crowd, run);
	further_end(wanted->further);
	locks_destroy(&wanted->locks);
}

// A reader's cost may not grow with the number of others: CPU time, since there are fewer
// processors.
void rwlock_readers(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t sizes[] = { 1, 2, 4, CROWD_MOST };
	enum { OF_EACH = 2, SIZES = sizeof(sizes) / sizeof(sizes[0]), COLUMNS = OF_EACH * SIZES };
	const uint64_t ns = run->quick ? 5000000 : 40000000;
	struct samples *samples = samples_create(COLUMNS);
	struct wanted wanted;
	struct crowd crowd;

	start(&crowd, &wanted, run, CROWD_MOST);
	struct rounds rounds = rounds_begin(run, self->name, COLUMNS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];

			const struct crowd_order order = { .kind = (int)(column % OF_EACH),
							   .terms = 100,
							   .active = sizes[column / OF_EACH],
							   .ns = ns };

			samples_set(samples, rounds.round, column, crowd_slice(&crowd, &order).cpu);
		}
	}
	end(&crowd, run);
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

#ifdef LEASE_BENCH_BOOST
static const int kinds[] = { PLAIN, LEASE, SHARABLE };
#else
static const int kinds[] = { PLAIN, LEASE };
#endif
enum { MIX_COLUMNS = sizeof(kinds) / sizeof(kinds[0]), OWN = 1 };

static void compare_mix(struct run *run, const struct bench_case *self, struct crowd *crowd,
			unsigned percent, uint32_t size, double seconds)
{
	struct crowd_order order = { .terms = percent,
				     .active = size,
				     .ns = run->quick ? 5000000 : 40000000 };
	struct samples *samples = samples_create(MIX_COLUMNS);
	struct fairness fairness = fairness_create(MIX_COLUMNS);
	char what[64];

	snprintf(what, sizeof(what), "%u %% reads, %u processes", percent, size);
	struct rounds rounds = rounds_begin(run, what, MIX_COLUMNS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t k = 0; k < MIX_COLUMNS; k++) {
			const size_t column = rounds.order[k];

			order.kind = kinds[column];
			samples_set(samples, rounds.round, column, crowd_slice(crowd, &order).wall);
			fairness_set(&fairness, rounds.round, column, crowd->shares, size);
		}
	}
	for (size_t k = 0; k < MIX_COLUMNS; k++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = locks_names[LEASE],
			.reference = locks_names[kinds[k]],
			.unit = "ns/grant",
			.throughput = true,
			.target = { TARGET_RATIO_AT_LEAST, 1 },
		};

		if (k == OWN)
			continue;
		report_compare(run->report, &comparison, samples, OWN, k);
		fairness_report(&fairness, run->report, &comparison, OWN, k);
	}
	fairness_destroy(&fairness);
	samples_destroy(samples);
}

void rwlock_mix(struct run *run, const struct bench_case *self, double seconds)
{
	static const unsigned percents[] = { 99, 90, 50 };
	static const uint32_t sizes[] = { 2, 4 };
	struct wanted wanted;
	struct crowd crowd;

	start(&crowd, &wanted, run, 4);
	for (size_t i = 0; i < 6; i++)
		compare_mix(run, self, &crowd, percents[i % 3], sizes[i / 3], seconds / 6);
	end(&crowd, run);
#ifndef LEASE_BENCH_BOOST
	report_note(run->report,
		    "mix: without Boost.Interprocess, which was not there when this was built");
#endif
}
