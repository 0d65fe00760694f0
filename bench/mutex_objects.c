// SPDX-License-Identifier: Apache-2.0
//
// mutex_objects.c: what a lock call costs with 10 to 100,000 mutexes in the arena: of one of them,
// and of any of them, at random. The second grows with what caches and TLB hold: each mutex has a
// line.
#include <stdio.h>
#include <stdlib.h>

#include "layouts.h"
#include "mutex.h"
#include "peer.h"
#include "report.h"

#define COUNTS ((size_t)5)
#define COLUMNS (2 * COUNTS) // one of them, then any of them
#define LAYOUTS 4

static const uint32_t counts[COUNTS] = { 10, 100, 1000, 10000, 100000 };

struct objects {
	char names[COUNTS][SCRATCH_NAME];
	lh_lease *leases[COUNTS];
	lh_mutex *mutexes[COUNTS];
	struct random random;
};

static void create(void *context)
{
	struct objects *objects = context;

	for (size_t i = 0; i < COUNTS; i++)
		scratch_name(objects->names[i]);
}

static void destroy(void *context)
{
	struct objects *objects = context;

	for (size_t i = 0; i < COUNTS; i++)
		scratch_unlink(objects->names[i]);
}

static void attach(void *context)
{
	struct objects *objects = context;

	for (size_t i = 0; i < COUNTS; i++) {
		const struct lh_mutex_options array = { .name = "array", .count = counts[i] };
		const struct lh_arena_options options = { .size = 2 * lh_mutex_footprint(&array) };
		lh_mutex *mutexes = calloc(counts[i], sizeof(*mutexes));
		lh_arena *arena;

		if (!mutexes)
			process_die("out of memory");
		peer_check(lh_arena_open(objects->names[i], LH_CREATE | LH_EXCL, &options, &arena),
			   "lh_arena_open");
		peer_check(lh_mutex_at(arena, LH_ANYWHERE, &array, &mutexes[0]), "lh_mutex_at");
		for (uint32_t j = 1; j < counts[i]; j++)
			peer_check(lh_mutex_element(&mutexes[0], j, &mutexes[j]),
				   "lh_mutex_element");
		peer_check(lh_lease_acquire(arena, NULL, &objects->leases[i]), "lh_lease_acquire");
		objects->mutexes[i] = mutexes;
	}
}

static void loop(void *context, size_t column, uint64_t calls)
{
	struct objects *objects = context;
	const size_t i = column % COUNTS;
	lh_lease *lease = objects->leases[i];

	for (uint64_t call = 0; call < calls; call++) {
		// Drawn for the one too, that both do the same.
		const uint64_t drawn = random_below(&objects->random, counts[i]);
		const lh_mutex
			*mutex = &objects->mutexes[i][column < COUNTS ? counts[i] / 2 : drawn];

		if (lh_mutex_lock(mutex, lease, LH_FOREVER, NULL) || lh_mutex_unlock(mutex, lease))
			process_die("a lock call failed: %s", lh_error_detail());
	}
}

void mutex_objects(struct run *run, const struct bench_case *self, double seconds)
{
	static const char *const names[COUNTS] = { "10", "100", "1,000", "10,000", "100,000" };
	struct objects objects = { .random = random_stream(run->seed, self->name) };
	struct layouts layouts = {
		.run = run,
		.purpose = self->name,
		.seconds = seconds,
		.columns = COLUMNS,
		.count = LAYOUTS,
		.calls = run->quick ? 1000 : 10000,
		.context = &objects,
		.create = create,
		.destroy = destroy,
		.attach = attach,
		.loop = loop,
	};

	layouts_measure(&layouts);
	for (size_t column = 0; column < COLUMNS; column++) {
		const size_t least = column < COUNTS ? 0 : COUNTS;
		const struct comparison comparison = {
			.case_name = self->name,
			.what = column < COUNTS ? "lock + unlock of one of them"
						: "lock + unlock of any of them",
			.peer = names[column % COUNTS],
			.reference = names[0],
			.unit = "ns",
			.group = layouts.group,
		};

		if (column != least)
			report_compare(run->report, &comparison, layouts.samples, column, least);
	}
	samples_destroy(layouts.samples);
}
