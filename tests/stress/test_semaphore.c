// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Processes that acquire and release one or several permits at random, with deadlines and without,
// with leases that expire and ones that don't, while others of them are killed, stopped and started
// anew and the limit is changed.
//
// The oracle is a word for each permit, outside of what the library writes: whoever was granted a
// permit, which lh_semaphore_slots names, writes its lease's id there by exchange, and finds there
// none, or that of a lease which is lost. (G1, G2, G3, G6, G8)
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "arena/sys/clock.h"
#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 5, PERMITS = 7 };

struct tally {
	_Atomic uint64_t grants, refused, lost, taken_over;
	_Atomic uint64_t inside[PERMITS];
};

static struct tally *tally_of(const struct stage *stage)
{
	uint64_t offset;

	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, sizeof(struct tally), "tally", &offset),
		   0);
	return (struct tally *)lh_arena_range(stage->arena, offset, sizeof(struct tally));
}

static lh_semaphore semaphore_of(const struct stage *stage)
{
	const struct lh_semaphore_options options = { .permits = PERMITS, .name = "pool" };
	lh_semaphore semaphore;

	need_equal(lh_semaphore_at(stage->arena, LH_ANYWHERE, &options, &semaphore), 0);
	return semaphore;
}

// Whether a lease is alive and has not expired.
static bool is_live(const struct stage *stage, uint64_t id)
{
	struct lh_lease_info info;
	uint64_t cursor = 0;

	while (lh_next_lease(stage->arena, &cursor, &info) == 0) {
		if (info.id == id)
			return info.state == LH_LEASE_LIVE;
	}
	return false;
}

static void enter(struct stage *stage, struct tally *tally, const uint32_t *slots, int count)
{
	const uint64_t own = lh_lease_id(stage->lease);

	for (int i = 0; i < count; i++) {
		const uint64_t before = atomic_exchange(&tally->inside[slots[i]], own);

		if (!before || before == own)
			continue;
		// Its holder was lost; or else oneself, while one was looking.
		need(!is_live(stage, before) || !lh_lease_valid(stage->lease));
		tally->taken_over++;
	}
}

static void leave(struct tally *tally, uint64_t own)
{
	for (int i = 0; i < PERMITS; i++) {
		uint64_t id = own;

		atomic_compare_exchange_strong(&tally->inside[i], &id, 0);
	}
}

static lh_deadline some_deadline(unsigned *seed)
{
	switch (storm_random(seed, 4)) {
	case 0:
		return LH_NOW;
	case 1:
		return lh_deadline_after(storm_random(seed, 2000000));
	default:
		return LH_FOREVER;
	}
}

// Acquires once, or twice, and gives all back. A lease that was lost is released.
static void use(struct stage *stage, const lh_semaphore *semaphore, struct tally *tally,
		unsigned *seed)
{
	const uint64_t own = lh_lease_id(stage->lease);
	uint32_t slots[PERMITS];
	int held = 0, error = 0;

	// Not for ever while one holds: two who wait for each other's would, as there is no search.
	for (int round = 0; round < 2 && !error; round++) {
		const uint32_t wanted = 1 + storm_random(seed, storm_random(seed, 2) ? 2 : PERMITS);

		error = lh_semaphore_acquire(semaphore, stage->lease, wanted,
					     round ? LH_NOW : some_deadline(seed));
		if (error == -ESTALE)
			break;
		need(error == 0 || error == -EBUSY || error == -ETIMEDOUT);
		tally->refused += error != 0;
		tally->grants += error == 0;
		held += error ? 0 : (int)wanted;
	}
	if (error != -ESTALE)
		error = lh_semaphore_slots(semaphore, stage->lease, slots, PERMITS);
	if (error >= 0) {
		need_equal(error, held);
		enter(stage, tally, slots, held);
		leave(tally, own);
		need(lh_semaphore_release(semaphore, stage->lease, (uint32_t)held + 1) < 0);
		error = storm_random(seed, 8)
				? lh_semaphore_release(semaphore, stage->lease, (uint32_t)held)
				: 1;
	}
	if (error) { // lost; or an orderly end with permits
		need(error == 1 || error == -ESTALE);
		leave(tally, own);
		tally->lost += lh_lease_release(stage->lease) == -ESTALE;
		stage->lease = NULL;
	}
}

static void work(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	const lh_semaphore semaphore = semaphore_of(&stage);
	struct tally *tally = tally_of(&stage);
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(3) };

	(void)line;
	for (;;) {
		if (!stage.lease)
			stage_lease(&stage, storm_random(&worker.seed, 3) ? NULL : &brief);
		use(&stage, &semaphore, tally, &worker.seed);
	}
}

static void look(void *stage_pointer)
{
	const struct stage *stage = stage_pointer;
	const lh_semaphore semaphore = semaphore_of(stage);
	static unsigned rounds;

	stage_is_sound(stage);
	// Never 0 for long, and full half of the time, so that all can be granted.
	need_equal(lh_semaphore_resize(&semaphore, ++rounds % 2 ? PERMITS : 1 + rounds % PERMITS),
		   0);
}

static void whatever_happens_all_permits_come_back(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	const lh_semaphore semaphore = semaphore_of(&stage);
	struct tally *tally = tally_of(&stage);
	unsigned seed = storm_seed();
	struct storm storm = { .body = work,
			       .workers = WORKERS,
			       .kills = true,
			       .stops = true,
			       .stop_ns = LH_MS(8),
			       .pause_ns = LH_MS(5),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;

	(void)state;
	watch("killing, stopping and resizing", 800);
	deeds = storm_run(&storm, &seed, lh_now() + LH_SEC(tier_pick(1, 6, 20)));
	need_equal(lh_semaphore_resize(&semaphore, PERMITS), 0);
	stage_lease(&stage, NULL);
	need_equal(lh_semaphore_acquire(&semaphore, stage.lease, PERMITS, LH_FOREVER), 0);
	need_equal(lh_semaphore_available(&semaphore), 0);
	need_equal(lh_semaphore_release(&semaphore, stage.lease, PERMITS), 0);
	need_equal(lh_semaphore_available(&semaphore), PERMITS);
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants %" PRIu64 ", refused %" PRIu64
	       ", leases lost %" PRIu64 ", permits of the lost %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->grants, tally->refused, tally->lost,
	       tally->taken_over);
	need(deeds.kills > 0 && tally->grants > 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(whatever_happens_all_permits_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
