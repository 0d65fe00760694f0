// SPDX-License-Identifier: Apache-2.0
//
// measure.h: rounds in random order, and what their figures say.
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"

#define MEASURE_COLUMNS 16
#define MEASURE_ROUNDS 4096

// ---- random numbers: for the order of peers and the length of pauses, nothing that needs secrets
struct random {
	uint64_t state;
};

// The stream of the run's seed that belongs to `purpose`, so that a case run alone draws the same.
struct random random_stream(uint64_t seed, const char *purpose);
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t limit);

// ---- time
uint64_t measure_now(void); // CLOCK_MONOTONIC, ns
void measure_sleep_until(uint64_t ns);
// Before a kill or a hand-over, so that all are asleep alike. Right after a process fell asleep its
// CPU is still warm, which favours whoever falls asleep last or lightest (two equal peers differed
// by half); milliseconds later that is over. This orders nothing: the waiters were seen asleep
// already.
void measure_settle(struct random *random);
// ns for each turn of a loop with an empty body.
double measure_empty_loop(uint64_t turns);

// ---- samples: rounds x columns, in memory shared with the processes that measure
struct samples;

struct samples *samples_create(size_t columns);
void samples_destroy(struct samples *samples);
void samples_set(struct samples *samples, size_t round, size_t column, double value);
size_t samples_rounds(const struct samples *samples);
// What the loop itself took in that round, with an empty body.
void samples_set_loop(struct samples *samples, size_t round, double ns);
// Of so many rounds, set with both: each figure without the median of what the loop took. What is
// left is at least MEASURE_LEAST_NS, as the processor may run a body beside its loop.
#define MEASURE_LEAST_NS 0.05
void samples_subtract_loop(struct samples *samples, size_t first, size_t count);
// What was subtracted in that round; NaN if nothing was.
double samples_loop(const struct samples *samples, size_t round);
// NaN where nothing was set.
double samples_get(const struct samples *samples, size_t round, size_t column);

// ---- rounds
struct rounds {
	size_t round;                  // the present one, from 0
	size_t order[MEASURE_COLUMNS]; // columns, in this round's order
	size_t columns;
	size_t least;
	size_t done;
	uint64_t until;
	struct random random;
};

struct rounds rounds_begin(const struct run *run, const char *purpose, size_t columns,
			   double seconds);
// Starts the next round, in a new order; false once the time is over and enough were made.
bool rounds_next(struct rounds *rounds);

// ---- statistics
struct estimate {
	size_t count;
	double median;
	double low, high; // of the median: 95 % by order statistics; min and max if count < 6
	double min, max;
	double p90, p99, p999; // percentiles, by nearest rank: of few values, the greatest
};

// Of the values that are not NaN; all NaN if there are none.
struct estimate measure_estimate(const double *values, size_t count);

#endif
