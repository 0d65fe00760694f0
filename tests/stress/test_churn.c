// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Leases, leased memory and placements that come and go at random while their processes are killed
// and stopped: none of it is lost, none is given to two.
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/storm.h"

enum { WORKERS = 6, REGIONS = 6, NAMES = 12 };

struct tally {
	_Atomic uint64_t leases, regions, placements, refused;
};

static struct tally *tally_of(const struct stage *stage)
{
	uint64_t offset;

	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, sizeof(struct tally), "tally", &offset),
		   0);
	return (struct tally *)lh_arena_range(stage->arena, offset, sizeof(struct tally));
}

struct held {
	uint64_t offset;
	size_t size; // in words; 0: none
};

// G6: zeroed, and nobody else's until it is given back.
static void take(const struct stage *stage, struct tally *tally, struct held *held, unsigned *seed)
{
	const size_t size = 1 + storm_random(seed, 2000);
	uint64_t *words;
	int error;

	error = lh_region_acquire(stage->lease, size * sizeof(*words), &held->offset);
	if (error) {
		need(error == -ENOSPC || error == -ENOLCK);
		tally->refused++;
		return;
	}
	words = (uint64_t *)lh_arena_range(stage->arena, held->offset, size * sizeof(*words));
	need(words != NULL);
	for (size_t i = 0; i < size; i++) {
		need_equal((int64_t)words[i], 0);
		words[i] = lh_lease_id(stage->lease);
	}
	held->size = size;
	tally->regions++;
}

static void give_back(const struct stage *stage, struct held *held)
{
	const uint64_t *words = (const uint64_t *)lh_arena_range(stage->arena, held->offset,
								 held->size * sizeof(*words));

	for (size_t i = 0; i < held->size; i++)
		need_equal((int64_t)words[i], (int64_t)lh_lease_id(stage->lease));
	need_equal(lh_region_release(stage->lease, held->offset), 0);
	need_equal(lh_region_release(stage->lease, held->offset), -EPERM);
	held->size = 0;
}

// Placing the same things over and over, at places of the library's choice: all agree on where.
static void place(const struct stage *stage, struct tally *tally, unsigned *seed)
{
	const uint32_t number = storm_random(seed, NAMES);
	const struct lh_mutex_options mutex = { .name = "counted", .data_size = 40 };
	uint64_t first, second;
	lh_mutex handle;
	char name[16];

	snprintf(name, sizeof(name), "region %u", number);
	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, 100 + number, name, &first), 0);
	need_equal(lh_find(stage->arena, name, &second), 0);
	need_equal((int64_t)first, (int64_t)second);
	need_equal(lh_region_at(stage->arena, first, 100 + number, name, &second), 0);
	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, 500, name, &second), -EEXIST);
	need_equal(lh_mutex_at(stage->arena, LH_ANYWHERE, &mutex, &handle), 0);
	need_equal(lh_mutex_at(stage->arena, first, NULL, &handle), -EEXIST);
	tally->placements++;
}

static void live_a_lease(struct stage *stage, struct tally *tally, unsigned *seed)
{
	static const struct lh_lease_options kinds[] = {
		{ .label = "plain" },
		{ .label = "process", .flags = LH_LEASE_PROCESS },
		{ .label = "ttl", .ttl_ns = LH_SEC(3600) },
		{ .label = "renewed", .ttl_ns = LH_SEC(3600), .flags = LH_LEASE_AUTO_RENEW },
	};
	struct held held[REGIONS] = { { .size = 0 } };

	stage_lease(stage, &kinds[storm_random(seed, 4)]);
	tally->leases++;
	for (uint32_t step = storm_random(seed, 20); step; step--) {
		struct held *chosen = &held[storm_random(seed, REGIONS)];

		if (chosen->size)
			give_back(stage, chosen);
		else
			take(stage, tally, chosen, seed);
		if (storm_random(seed, 10) == 0)
			place(stage, tally, seed);
	}
	for (int i = 0; i < REGIONS; i++) {
		if (held[i].size && storm_random(seed, 2))
			give_back(stage, &held[i]);
	}
	need_equal(lh_lease_release(stage->lease), 0); // the rest goes with it
	stage->lease = NULL;
}

static void churn(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);

	(void)line;
	for (;;)
		live_a_lease(&stage, tally, &worker.seed);
}

// What a dead placer left is cleared by who comes to that entry: this comes to all.
static void clear_directory(struct stage *stage)
{
	uint64_t offset;

	stage_lease(stage, NULL);
	for (int i = 0; i < NAMES + WORKERS * REGIONS + 4; i++)
		need_equal(lh_region_acquire(stage->lease, 64, &offset), 0);
	need_equal(lh_lease_release(stage->lease), 0);
	stage->lease = NULL;
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G2, G6.
static void leases_and_regions_of_the_killed_come_back(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	unsigned seed = storm_seed();
	struct storm storm = { .body = churn,
			       .workers = WORKERS,
			       .kills = true,
			       .stops = true,
			       .stop_ns = LH_MS(8),
			       .pause_ns = LH_MS(5),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;

	(void)state;
	watch("churning", 800);
	deeds = storm_run(&storm, &seed, storm_end());
	printf("kills %" PRIu64 ", stops %" PRIu64 ", leases %" PRIu64 ", regions %" PRIu64
	       ", placements %" PRIu64 ", refused %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->leases, tally->regions, tally->placements,
	       tally->refused);
	clear_directory(&stage);
	need(deeds.kills > 0 && tally->leases > 0 && tally->regions > 0 && tally->placements > 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(leases_and_regions_of_the_killed_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
