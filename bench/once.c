// SPDX-License-Identifier: Apache-2.0
//
// once.c: lease-bench once: a call that finds it done, against pthread_once, which is one load of one
// word of its own process.
#include "bench.h"

#include <pthread.h>

#include <leasehold/inline.h>
#include <leasehold/leasehold.h>

#include "measure.h"
#include "process.h"
#include "report.h"
#include "scratch.h"

static void measure_done(struct run *run, const struct bench_case *self, double seconds);

static const struct bench_case cases[] = {
	{ "done", "a call that finds it done", 1, measure_done },
	{ 0 },
};

const struct subcommand once_subcommand = {
	.name = "once",
	.summary = "lh_once against pthread_once",
	.cases = cases,
};

enum { PTHREAD, CALL, DONE, INLINE_CALL, INLINE_DONE, COLUMNS };

static const char *const names[COLUMNS] = {
	"pthread_once",        "lh_once_call",        "lh_once_done",
	"lh_inline_once_call", "lh_inline_once_done",
};

// Where data and stack lie matters to so short a loop: see mutex.c.
#define LAYOUTS 16
#define LAYOUT_ROUNDS (MEASURE_ROUNDS / LAYOUTS)

struct done {
	const struct run *run;
	const char *purpose;
	double seconds;
	struct random random;
	size_t layout;
	struct samples *samples;
	char name[SCRATCH_NAME];
	lh_lease *lease;
	lh_once once;
};

static pthread_once_t control = PTHREAD_ONCE_INIT;

static void initialise(void) {}

static int fill(void *data, void *context)
{
	(void)data, (void)context;
	return 0;
}

static void call(struct done *done, size_t column, uint64_t calls)
{
	int failed = 0;

	switch (column) {
	case PTHREAD:
		for (uint64_t i = 0; i < calls; i++)
			failed |= pthread_once(&control, initialise);
		break;
	case CALL:
		for (uint64_t i = 0; i < calls; i++)
			failed |= lh_once_call(&done->once, done->lease, fill, NULL, LH_FOREVER);
		break;
	case DONE:
		for (uint64_t i = 0; i < calls; i++)
			failed |= !lh_once_done(&done->once);
		break;
	case INLINE_CALL:
		for (uint64_t i = 0; i < calls; i++)
			failed |= lh_inline_once_call(&done->once, done->lease, fill, NULL,
						      LH_FOREVER);
		break;
	default:
		for (uint64_t i = 0; i < calls; i++)
			failed |= !lh_inline_once_done(&done->once);
	}
	if (failed)
		process_die("%s failed", names[column]);
}

static void measure_layout(void *context)
{
	struct done *done = context;
	void *shift = __builtin_alloca(1 + random_below(&done->random, 4096));
	const struct lh_once_options options = { .data_size = 64, .name = "bench" };
	const uint64_t calls = done->run->quick ? 1000 : 20000;
	lh_arena *arena;

	__asm__ volatile("" : : "r"(shift) : "memory");
	if (lh_arena_open(done->name, LH_CREATE, NULL, &arena) ||
	    lh_once_at(arena, LH_ANYWHERE, &options, &done->once) ||
	    lh_thread_lease(arena, &done->lease))
		process_die("%s", lh_error_detail());
	call(done, PTHREAD, 1);
	call(done, CALL, 1);
	struct rounds rounds = rounds_begin(done->run, done->purpose, COLUMNS, done->seconds);
	while (rounds_next(&rounds) && rounds.round < LAYOUT_ROUNDS) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];
			const uint64_t start = measure_now();

			call(done, column, calls);
			samples_set(done->samples, done->layout * LAYOUT_ROUNDS + rounds.round,
				    column, (double)(measure_now() - start) / (double)calls);
		}
	}
}

static void measure_done(struct run *run, const struct bench_case *self, double seconds)
{
	struct done done = { .run = run,
			     .purpose = self->name,
			     .seconds = seconds / LAYOUTS,
			     .random = random_stream(run->seed, self->name) };

	done.samples = samples_create(COLUMNS);
	for (done.layout = 0; done.layout < LAYOUTS; done.layout++) {
		scratch_name(done.name);
		process_run(measure_layout, &done);
		(void)random_next(&done.random);
		scratch_unlink(done.name);
	}
	for (size_t column = CALL; column < COLUMNS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "one call",
			.peer = names[column],
			.reference = names[PTHREAD],
			.unit = "ns",
			.group = LAYOUT_ROUNDS,
			.target = { TARGET_RATIO_AT_MOST, column < INLINE_CALL ? 1.1 : 0.5 }
		};

		report_compare(run->report, &comparison, done.samples, column, PTHREAD);
	}
	samples_destroy(done.samples);
}
