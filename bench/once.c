// SPDX-License-Identifier: Apache-2.0
//
// once.c: lease-bench once:
//
//	done	a call that finds it done, against pthread_once, which is one load of one word of its
//		own process
//	kill	SIGKILL of who initialises, until another process's initialiser runs
//	recovers	whether it runs then; and with a pthread_once_t in shared memory, though that
//			is promised to be of use within one process only
#include "bench.h"

#include <pthread.h>

#include <leasehold/inline.h>
#include <leasehold/leasehold.h>

#include "further.h"
#include "layouts.h"
#include "process.h"
#include "report.h"
#include "scratch.h"
#include "values.h"

static void measure_done(struct run *run, const struct bench_case *self, double seconds);
static void measure_kill(struct run *run, const struct bench_case *self, double seconds);
static void measure_recovers(struct run *run, const struct bench_case *self, double seconds);

static const struct bench_case cases[] = {
	{ "done", "a call that finds it done", 1, measure_done },
	{ "kill", "SIGKILL of who initialises, to the next initialiser", 2, measure_kill },
	{ "recovers", "whether the death of who initialises lets the next one, and tells it", 1,
	  measure_recovers },
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

#define LAYOUTS 16

struct done {
	char name[SCRATCH_NAME];
	pid_t further;
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

static void call(void *context, size_t column, uint64_t calls)
{
	struct done *done = context;
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

static void create(void *context)
{
	struct done *done = context;

	scratch_name(done->name);
	done->further = further_start(done->name);
}

static void destroy(void *context)
{
	struct done *done = context;

	further_end(done->further);
	scratch_unlink(done->name);
}

static void attach(void *context)
{
	struct done *done = context;
	const struct lh_once_options options = { .data_size = 64, .name = "bench" };
	lh_arena *arena;

	if (lh_arena_open(done->name, LH_CREATE, NULL, &arena) ||
	    lh_once_at(arena, LH_ANYWHERE, &options, &done->once) ||
	    lh_thread_lease(arena, &done->lease))
		process_die("%s", lh_error_detail());
	call(done, PTHREAD, 1);
	call(done, CALL, 1);
}

static void measure_done(struct run *run, const struct bench_case *self, double seconds)
{
	struct done done = { 0 };
	struct layouts layouts = {
		.run = run,
		.purpose = self->name,
		.seconds = seconds,
		.columns = COLUMNS,
		.count = LAYOUTS,
		.calls = run->quick ? 1000 : 20000,
		.context = &done,
		.create = create,
		.destroy = destroy,
		.attach = attach,
		.loop = call,
	};

	layouts_measure(&layouts);
	for (size_t column = CALL; column < COLUMNS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "one call",
			.peer = names[column],
			.reference = names[PTHREAD],
			.unit = "ns",
			.group = layouts.group,
			.target = { TARGET_RATIO_AT_MOST, column < INLINE_CALL ? 1.1 : 0.5 }
		};

		report_compare(run->report, &comparison, layouts.samples, column, PTHREAD);
	}
	samples_destroy(layouts.samples);
}

// ---- kill ----------------------------------------------------------------------------------------

struct initialiser {
	lh_arena *arena;
	lh_once once;
};

// A new one each time: after the last trial it is done.
static void place_anew(void *context)
{
	const struct lh_once_options options = { .data_size = 64, .name = "bench" };
	struct initialiser *initialiser = context;

	if (initialiser->arena)
		values_end(initialiser->arena);
	initialiser->arena = values_arena(65536);
	values_must(lh_once_at(initialiser->arena, LH_ANYWHERE, &options, &initialiser->once),
		    "lh_once_at");
}

static int never_finish(void *data, void *context)
{
	(void)data, (void)context;
	values_stay();
}

static void initialise_by(const struct initialiser *initialiser,
			  int (*function)(void *data, void *context))
{
	values_must(lh_once_call(&initialiser->once, values_lease(initialiser->arena), function,
				 NULL, LH_FOREVER),
		    "lh_once_call");
}

static void begin(void *context)
{
	initialise_by(context, never_finish);
}

// Nothing tells the next one: it initialises as the first would have.
static int finish(void *context)
{
	initialise_by(context, fill);
	return 0;
}

// Of what a call, however made, waits for.
static const char *const also[] = { "lh_once_call", "lh_once_done", "lh_inline_once_call",
				    "lh_inline_once_done", NULL };

#define INITIALISER(initialiser)                                                                   \
	{                                                                                          \
		.name = "lh_once", .create = place_anew, .hold = begin, .succeed = finish,         \
		.context = (initialiser), .also = also                                             \
	}

static void measure_kill(struct run *run, const struct bench_case *self, double seconds)
{
	struct initialiser initialiser = { 0 };
	const struct succession successions[] = { values_robust, INITIALISER(&initialiser) };

	values_kill(run, self->name, seconds, successions, 2);
	values_end(initialiser.arena);
}

// ---- recovers ------------------------------------------------------------------------------------

static pthread_once_t *shared_control;

static void control_anew(void *context)
{
	(void)context;
	if (!shared_control)
		shared_control = process_shared_memory(sizeof(*shared_control));
	*shared_control = (pthread_once_t)PTHREAD_ONCE_INIT;
}

static void begin_control(void *context)
{
	(void)context;
	(void)pthread_once(shared_control, values_stay);
}

static int finish_control(void *context)
{
	(void)context;
	return pthread_once(shared_control, initialise);
}

static void measure_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	struct initialiser initialiser = { 0 };
	const struct succession successions[] = { INITIALISER(&initialiser),
						  { .name = names[PTHREAD],
						    .create = control_anew,
						    .hold = begin_control,
						    .succeed = finish_control } };

	values_recover(run, self, seconds, successions, 2, NULL);
	values_end(initialiser.arena);
}
