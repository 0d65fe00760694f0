// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "process.h"
#include "progress.h"

// ---- random numbers ------------------------------------------------------------------------------
// splitmix64 (Steele, Lea and Flood, 2014).
uint64_t random_next(struct random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t random_below(struct random *random, uint64_t limit)
{
	return limit ? random_next(random) % limit : 0;
}

struct random random_stream(uint64_t seed, const char *purpose)
{
	struct random random = { .state = seed };

	for (; *purpose; purpose++)
		random.state = random_next(&random) ^ (unsigned char)*purpose;
	return random;
}

// ---- time ----------------------------------------------------------------------------------------
uint64_t measure_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void measure_sleep_until(uint64_t ns)
{
	const struct timespec until = { .tv_sec = (time_t)(ns / UINT64_C(1000000000)),
					.tv_nsec = (long)(ns % UINT64_C(1000000000)) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

void measure_settle(struct random *random)
{
	const uint64_t least = 1500000;

	measure_sleep_until(measure_now() + least + random_below(random, least));
}

double measure_empty_loop(uint64_t turns)
{
	const uint64_t start = measure_now();

	for (uint64_t i = 0; i < turns; i++)
		__asm__ volatile("" : : : "memory");
	return (double)(measure_now() - start) / (double)turns;
}

// ---- samples -------------------------------------------------------------------------------------
struct samples {
	size_t columns;
	size_t rounds;
	double values[]; // of each round: the columns, and the empty loop
};

static size_t samples_size(size_t columns)
{
	return sizeof(struct samples) + (columns + 1) * MEASURE_ROUNDS * sizeof(double);
}

struct samples *samples_create(size_t columns)
{
	struct samples *samples = process_shared_memory(samples_size(columns));

	samples->columns = columns;
	for (size_t i = 0; i < (columns + 1) * MEASURE_ROUNDS; i++)
		samples->values[i] = NAN;
	return samples;
}

void samples_destroy(struct samples *samples)
{
	munmap(samples, samples_size(samples->columns));
}

static double *value_at(struct samples *samples, size_t round, size_t column)
{
	return &samples->values[round * (samples->columns + 1) + column];
}

void samples_set(struct samples *samples, size_t round, size_t column, double value)
{
	*value_at(samples, round, column) = value;
	if (samples->rounds <= round)
		samples->rounds = round + 1;
}

void samples_set_loop(struct samples *samples, size_t round, double ns)
{
	samples_set(samples, round, samples->columns, ns);
}

void samples_subtract_loop(struct samples *samples, size_t first, size_t count)
{
	double *loops = calloc(count + 1, sizeof(*loops));

	if (!loops)
		process_die("out of memory");
	for (size_t i = 0; i < count; i++)
		loops[i] = samples_loop(samples, first + i);
	const double loop = measure_estimate(loops, count).median;
	free(loops);
	for (size_t i = 0; i < count; i++) {
		samples_set_loop(samples, first + i, loop);
		for (size_t column = 0; column < samples->columns; column++) {
			double *value = value_at(samples, first + i, column);

			*value = fmax(*value - loop, MEASURE_LEAST_NS);
		}
	}
}

double samples_loop(const struct samples *samples, size_t round)
{
	return samples_get(samples, round, samples->columns);
}

size_t samples_rounds(const struct samples *samples)
{
	return samples->rounds;
}

double samples_get(const struct samples *samples, size_t round, size_t column)
{
	return samples->values[round * (samples->columns + 1) + column];
}

// ---- rounds --------------------------------------------------------------------------------------
struct rounds rounds_begin(const struct run *run, const char *purpose, size_t columns,
			   double seconds)
{
	struct rounds rounds = {
		.columns = columns,
		.least = run->quick ? 3 : 11,
		.until = measure_now() + (uint64_t)(seconds * 1e9),
		.random = random_stream(run->seed, purpose),
	};

	for (size_t i = 0; i < columns; i++)
		rounds.order[i] = i;
	return rounds;
}

bool rounds_next(struct rounds *rounds)
{
	progress_tick();
	if (rounds->done >= MEASURE_ROUNDS ||
	    (rounds->done >= rounds->least && measure_now() >= rounds->until))
		return false;
	// Fisher and Yates.
	for (size_t i = rounds->columns; i > 1; i--) {
		const size_t other = (size_t)random_below(&rounds->random, i);
		const size_t last = rounds->order[i - 1];

		rounds->order[i - 1] = rounds->order[other];
		rounds->order[other] = last;
	}
	rounds->round = rounds->done++;
	return true;
}

// ---- statistics ----------------------------------------------------------------------------------
static int compare(const void *left, const void *right)
{
	const double a = *(const double *)left;
	const double b = *(const double *)right;

	return (a > b) - (a < b);
}

// The largest k for which the k-th smallest and k-th largest of n values enclose the median of what
// they were drawn from with at least 95 %: that fewer than k of n fall below it has the probability
// P(Binomial(n, 1/2) < k), which must not exceed 2.5 %. 0 if there is none. No assumption is made
// about how the values are distributed.
static size_t enclosing_rank(size_t n)
{
	double below = 0;

	for (size_t k = 0; k < n; k++) {
		below += exp(lgamma((double)n + 1) - lgamma((double)k + 1) -
			     lgamma((double)(n - k) + 1) - (double)n * log(2));
		if (below > 0.025)
			return k;
	}
	return 0;
}

static double percentile(const double *sorted, size_t n, double share)
{
	const size_t rank = (size_t)ceil(share * (double)n);

	return sorted[rank ? rank - 1 : 0];
}

struct estimate measure_estimate(const double *values, size_t count)
{
	struct estimate estimate = { 0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN };
	double *sorted = calloc(count ? count : 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted)
		process_die("out of memory");
	for (size_t i = 0; i < count; i++) {
		if (!isnan(values[i]))
			sorted[n++] = values[i];
	}
	if (n > 0) {
		qsort(sorted, n, sizeof(*sorted), compare);
		const size_t rank = enclosing_rank(n);

		estimate.count = n;
		estimate.median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
		estimate.min = sorted[0];
		estimate.max = sorted[n - 1];
		estimate.p90 = percentile(sorted, n, 0.9);
		estimate.p99 = percentile(sorted, n, 0.99);
		estimate.p999 = percentile(sorted, n, 0.999);
		estimate.low = rank ? sorted[rank - 1] : sorted[0];
		estimate.high = rank ? sorted[n - rank] : sorted[n - 1];
	}
	free(sorted);
	return estimate;
}
