// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Processes that lock and unlock at random while others of them are killed, stopped and started
// anew.
//
// Each mutex's data are two counters without atomics, raised one after the other under the lock: a
// holder that was killed between them leaves them unequal, which the next grant must have told.
// Another word says who is inside, so that OWNER_DIED is told exactly when a holder was killed
// there.
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/storm.h"

enum { WORKERS = 6 };

// What all share beside the arena's locks; a region.
struct tally {
	_Atomic uint64_t grants;
	_Atomic uint64_t deaths; // told
	_Atomic uint64_t tries_refused;
	// The lease that holds mutex i, from just after its grant to just before its unlock.
	_Atomic uint64_t inside[STAGE_MUTEXES];
};

static struct tally *tally_of(const struct stage *stage)
{
	uint64_t offset;

	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, sizeof(struct tally), "tally", &offset),
		   0);
	return (struct tally *)lh_arena_range(stage->arena, offset, sizeof(struct tally));
}

static void work_inside(struct stage *stage, struct tally *tally, int index, const lh_grant *grant)
{
	struct stage_data *data = stage_data(stage, index);
	const uint64_t before = tally->inside[index];

	need(grant->token > data->token); // G5
	data->token = grant->token;
	// G12: whoever was inside and is not any more has died there; and only then was there
	// damage, save of one who died between the lock and its first mark, or its last and the
	// unlock.
	if (grant->flags & LH_GRANT_OWNER_DIED) {
		need(grant->previous != 0);
		tally->deaths++;
		data->second = data->first;
	} else {
		need_equal((int64_t)before, 0);
	}
	need_equal((int64_t)data->first, (int64_t)data->second);
	tally->inside[index] = lh_lease_id(stage->lease);
	if (grant->flags & LH_GRANT_OWNER_DIED)
		need_equal(lh_mutex_consistent(&stage->mutexes[index], stage->lease), 0);
	data->first++;
	atomic_signal_fence(memory_order_seq_cst); // the two are written one after the other
	data->second++;
	tally->grants++;
	// G1: nobody else has been here meanwhile.
	need_equal((int64_t)tally->inside[index], (int64_t)lh_lease_id(stage->lease));
	tally->inside[index] = 0;
}

static int lock_somehow(struct stage *stage, int index, unsigned *seed, lh_grant *grant)
{
	switch (storm_random(seed, 4)) {
	case 0:
		return lh_mutex_lock(&stage->mutexes[index], stage->lease, LH_NOW, grant);
	case 1:
		return lh_mutex_lock(&stage->mutexes[index], stage->lease,
				     lh_deadline_after(storm_random(seed, 2000000)), grant);
	default:
		return lh_mutex_lock(&stage->mutexes[index], stage->lease, LH_FOREVER, grant);
	}
}

static void lock_at_random(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);

	(void)line;
	for (;;) {
		const int first = (int)storm_random(&worker.seed, STAGE_MUTEXES);
		const int second = (int)storm_random(&worker.seed, STAGE_MUTEXES);
		lh_grant grant;

		if (!stage.lease)
			stage_lease(&stage, NULL);
		if (lock_somehow(&stage, first, &worker.seed, &grant) != 0) {
			tally->tries_refused++;
			continue;
		}
		work_inside(&stage, tally, first, &grant);
		if (second > first && lock_somehow(&stage, second, &worker.seed, &grant) == 0) {
			work_inside(&stage, tally, second, &grant);
			stage_unlock(&stage, second);
		}
		if (storm_random(&worker.seed, 50) == 0) { // unlocks what is held
			need_equal(lh_lease_release(stage.lease), 0);
			stage.lease = NULL;
		} else {
			stage_unlock(&stage, first);
		}
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G1, G2, G5, G8, G12.
static void killed_and_stopped_processes_lose_nothing(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	unsigned seed = storm_seed();
	struct storm storm = { .body = lock_at_random,
			       .workers = WORKERS,
			       .kills = true,
			       .stops = true,
			       .stop_ns = LH_MS(8),
			       .pause_ns = LH_MS(5),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;

	(void)state;
	watch("killing and stopping", 800);
	deeds = storm_run(&storm, &seed, storm_end());

	// No stranding: whatever is held by the dead is to be had.
	stage_lease(&stage, NULL);
	for (int i = 0; i < STAGE_MUTEXES; i++) {
		lh_grant grant;

		need_equal(lh_mutex_lock(&stage.mutexes[i], stage.lease, LH_FOREVER, &grant), 0);
		work_inside(&stage, tally, i, &grant);
		stage_unlock(&stage, i);
	}
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants %" PRIu64 ", deaths told %" PRIu64
	       ", refused %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->grants, tally->deaths, tally->tries_refused);
	need(deeds.kills > 0 && tally->grants > 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(killed_and_stopped_processes_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
