// SPDX-License-Identifier: Apache-2.0
// lease-bench is fair (docs/benchmarks.md): what an empty loop took is subtracted from every peer's
// figures alike, from nothing else, and never leaves less than nothing. Figures are given here, not
// measured.
#include "bench/measure.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "bench/process.h"
#include "bench/progress.h"

enum { NOTHING, PEER, COLUMNS, ROUNDS = 3 };

// What measure.c wants of process.c and progress.c, without processes and a terminal.
void process_die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	abort();
}

void *process_shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

void progress_tick(void) {}

static struct samples *measured(void)
{
	static const double loops[ROUNDS] = { 4, 2, 3 };
	struct samples *samples = samples_create(COLUMNS);

	for (size_t round = 0; round < ROUNDS; round++) {
		samples_set_loop(samples, round, loops[round]);
		samples_set(samples, round, NOTHING, 3);
		samples_set(samples, round, PEER, 10 + (double)round);
	}
	return samples;
}

// The median, 3, so that one slow loop does not flatter a round's peers.
static void the_loop_is_subtracted_from_all_peers_alike(void **state)
{
	struct samples *samples = measured();

	(void)state;
	samples_subtract_loop(samples, 0, ROUNDS);
	for (size_t round = 0; round < ROUNDS; round++) {
		assert_true(samples_loop(samples, round) == 3);
		assert_true(samples_get(samples, round, PEER) == 7 + (double)round);
		assert_true(samples_get(samples, round, NOTHING) == MEASURE_LEAST_NS);
	}
	samples_destroy(samples);
}

static void rounds_of_another_process_keep_their_figures(void **state)
{
	struct samples *samples = measured();

	(void)state;
	samples_subtract_loop(samples, 1, 1); // whose loop took 2
	assert_true(samples_get(samples, 0, PEER) == 10);
	assert_true(samples_get(samples, 1, PEER) == 9);
	assert_true(samples_get(samples, 1, NOTHING) == 1);
	assert_true(samples_get(samples, 2, PEER) == 12);
	samples_destroy(samples);
}

static void a_slice_without_a_figure_is_no_part_of_the_median(void **state)
{
	const double values[] = { 3, NAN, 1, 2, NAN };
	const struct estimate estimate = measure_estimate(values, 5),
			      none = measure_estimate(values + 1, 1);

	(void)state;
	assert_int_equal(estimate.count, 3);
	assert_true(estimate.median == 2);
	assert_true(isnan(none.median));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_loop_is_subtracted_from_all_peers_alike),
		cmocka_unit_test(rounds_of_another_process_keep_their_figures),
		cmocka_unit_test(a_slice_without_a_figure_is_no_part_of_the_median),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
