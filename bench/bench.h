// SPDX-License-Identifier: Apache-2.0
//
// bench.h: what a benchmark run is made of, and why its figures are fair.
//
// A run takes the cases of one sub-command. Each case yields rows; each row compares one peer with
// a reference. Nothing is compared over time or between machines:
//
//  - Every round measures all peers of a case once, in an order drawn anew, in slices so short that
//    what else the machine does hits all of them alike. What is reported is the median of the
//    rounds' ratios, with the 95 % interval that the order statistics of those ratios give.
//  - All peers run the same loop (peer_loops.h), compiled once for each with its calls in place, and
//    call a shared library as a program would. The data that a lock protects lies in the cache line
//    after it. A peer that can tell of damage is asked for it and its answer is looked at.
//  - Nothing is pinned unless that is asked for, no priority is raised and no process is warmed up
//    longer than another.
//  - Of loops without contention, what the loop takes with an empty body is measured beside it, in the
//    same process, and subtracted from every figure of that process, whoever's it is. The rest of what
//    is the measuring's own (clock reading, counters, the words that a grant increments) is part of
//    both sides, as the loop is with contention, which draws a ratio towards 1 and never away from it.
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_set;
struct report;

#define RUN_PROCESSES 8 // numbers of processes in one run

struct run {
	bool quick;     // a few rounds of everything, to see that it works
	double seconds; // for all cases together
	uint64_t seed;
	int cpus;                 // that it may run on
	double hold_ns, think_ns; // of contended cases; negative: as the case has them
	uint32_t processes[RUN_PROCESSES];
	size_t process_count; // of contended cases; 0: as the case has them
	struct report *report;
	bool failed; // an exclusion was violated, or a grant did not tell of a death
};

struct bench_case {
	const char *name;
	const char *summary;
	double weight; // its share of the seconds, against the other cases'
	void (*measure)(struct run *run, const struct bench_case *self, double seconds);
};

// A case in which peers are locked as loops of peer_loops.h do, and which peers these are.
struct slowed_case {
	const char *case_name;
	const struct peer_set *set;
};

struct subcommand {
	const char *name;
	const char *summary;
	const struct bench_case *cases; // ends with a name of NULL
	// Names of the cases that --processes, --hold and --think are for, then NULL; NULL: none.
	const char *const *contests;
	const struct slowed_case
		*slowed; // what --handicap is for, to a name of NULL; NULL: nothing
};

extern const struct subcommand barrier_subcommand;
extern const struct subcommand cell_subcommand;
extern const struct subcommand condvar_subcommand;
extern const struct subcommand locks_subcommand;
extern const struct subcommand mutex_subcommand;
extern const struct subcommand once_subcommand;
extern const struct subcommand rwlock_subcommand;
extern const struct subcommand semaphore_subcommand;
extern const struct subcommand watch_subcommand;

#endif
