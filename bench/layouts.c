// SPDX-License-Identifier: Apache-2.0
#include "layouts.h"

#include <stdio.h>

#include "process.h"

#define STACK_SHIFT 4096
#define WARM_UP 16 // calls before the clock is read

// ns for a call; without a clock, code and data that the other loops have driven from the caches,
// which would be the more of a figure the shorter the loop.
static double time_loop(struct layouts *layouts, size_t column)
{
	(void)measure_now();
	layouts->loop(layouts->context, column, WARM_UP);
	const uint64_t start = measure_now();

	layouts->loop(layouts->context, column, layouts->calls);
	return (double)(measure_now() - start) / (double)layouts->calls;
}

static void measure_rounds(struct layouts *layouts)
{
	char purpose[96];

	snprintf(purpose, sizeof(purpose), "%s %zu", layouts->purpose, layouts->at);
	struct rounds rounds = rounds_begin(layouts->run, purpose, layouts->columns,
					    layouts->seconds / (double)layouts->count);
	const size_t first = layouts->at * layouts->group;
	size_t done = 0;

	for (; rounds_next(&rounds) && done < layouts->group; done++) {
		(void)measure_empty_loop(WARM_UP);
		samples_set_loop(layouts->samples, first + done,
				 measure_empty_loop(layouts->calls));
		for (size_t i = 0; i < layouts->columns; i++) {
			samples_set(layouts->samples, first + done, rounds.order[i],
				    time_loop(layouts, rounds.order[i]));
		}
	}
	samples_subtract_loop(layouts->samples, first, done);
}

// One process runs all loops, so that they share its luck with cores.
static void measure_layout(void *context)
{
	struct layouts *layouts = context;
	void *shift = __builtin_alloca(1 + random_below(&layouts->random, STACK_SHIFT));

	__asm__ volatile("" : : "r"(shift) : "memory"); // it is used, for all the compiler knows
	layouts->attach(layouts->context);
	measure_rounds(layouts);
	if (layouts->detach)
		layouts->detach(layouts->context);
}

void layouts_measure(struct layouts *layouts)
{
	layouts->group = MEASURE_ROUNDS / layouts->count;
	layouts->samples = samples_create(layouts->columns);
	layouts->random = random_stream(layouts->run->seed, layouts->purpose);
	for (layouts->at = 0; layouts->at < layouts->count; layouts->at++) {
		layouts->create(layouts->context);
		process_run(measure_layout, layouts);
		(void)random_next(&layouts->random); // the child drew from a copy
		layouts->destroy(layouts->context);
	}
}
