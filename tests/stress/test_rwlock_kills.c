// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Processes that read, write, upgrade and downgrade at random while others of them are killed,
// stopped past their expiry and started anew.
//
// The data are two counters without atomics, raised one after the other by writers, and compared by
// readers. Beside the lock each process says in memory of its own, not under a lease, who is
// inside: a reader or writer that finds a writer there who has not been lost has met it (G1).
// Processes whose leases have a TTL are stopped for longer than it, and so lose what they hold in
// the middle of it; they say so by not writing plain memory: only those without a TTL write.
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
#include "tests/support/tier.h"

enum { WORKERS = 6, LOCKS = 2 };

struct data {
	uint64_t first, second;
	uint64_t token;
};

struct tally {
	_Atomic uint64_t reads, writes, upgrades, refused, deaths, losses;
	_Atomic uint64_t inside[LOCKS]; // the lease that writes, between its grant and its unlock
};

static const struct lh_rwlock_options options[LOCKS] = {
	{ .name = "one", .data_size = sizeof(struct data) },
	{ .name = "other", .data_size = sizeof(struct data) },
};

static lh_rwlock lock_of(const struct stage *stage, int index)
{
	lh_rwlock rwlock;

	need_equal(lh_rwlock_at(stage->arena, LH_ANYWHERE, &options[index], &rwlock), 0);
	return rwlock;
}

static struct tally *tally_of(const struct stage *stage)
{
	uint64_t offset;

	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, sizeof(struct tally), "tally", &offset),
		   0);
	return (struct tally *)lh_arena_range(stage->arena, offset, sizeof(struct tally));
}

static void write_inside(const struct stage *stage, struct tally *tally, int index,
			 const lh_grant *grant)
{
	const lh_rwlock rwlock = lock_of(stage, index);
	struct data *data = lh_rwlock_data(&rwlock);
	const uint64_t before = tally->inside[index];

	need(grant->token > data->token); // G5
	data->token = grant->token;
	// G12: whoever was inside and is not any more has died there; only then was there damage,
	// save of one who died between its grant and its first mark, or its last and the unlock.
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
		need_equal(lh_rwlock_consistent(&rwlock, stage->lease), 0);
	data->first++;
	atomic_signal_fence(memory_order_seq_cst); // the two are written one after the other
	data->second++;
	need_equal((int64_t)tally->inside[index], (int64_t)lh_lease_id(stage->lease)); // G1
	tally->inside[index] = 0;
	tally->writes++;
}

// What a reader sees does not change while it reads, and is whole unless it was told.
static void read_inside(const struct stage *stage, struct tally *tally, int index,
			const lh_grant *grant, bool has_ttl)
{
	const lh_rwlock rwlock = lock_of(stage, index);
	const volatile struct data *data = lh_rwlock_data(&rwlock);
	const uint64_t first = data->first, second = data->second, inside = tally->inside[index];
	const bool same = data->first == first && data->second == second;

	// With a TTL what was read counts only if the lease is good afterwards.
	if (has_ttl && !lh_lease_valid(stage->lease)) {
		tally->losses++;
		return;
	}
	need(same);                                                    // G1
	need(first == second || (grant->flags & LH_GRANT_OWNER_DIED)); // G12
	need(inside == 0 || (grant->flags & LH_GRANT_OWNER_DIED));     // G1
	tally->reads++;
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

static void act(struct stage *stage, struct tally *tally, int index, unsigned *seed, bool has_ttl)
{
	const lh_rwlock rwlock = lock_of(stage, index);
	const bool writes = !has_ttl && storm_random(seed, 4) == 0;
	lh_grant grant;
	int error = writes ? lh_rwlock_write_lock(&rwlock, stage->lease, some_deadline(seed),
						  &grant)
			   : lh_rwlock_read_lock(&rwlock, stage->lease, some_deadline(seed),
						 &grant);

	if (error) {
		need(error == -EBUSY || error == -ETIMEDOUT || (error == -ESTALE && has_ttl));
		tally->refused++;
		return;
	}
	if (writes)
		write_inside(stage, tally, index, &grant);
	else
		read_inside(stage, tally, index, &grant, has_ttl);
	if (writes && storm_random(seed, 3) == 0) {
		need_equal(lh_rwlock_downgrade(&rwlock, stage->lease), 0);
		grant.flags = 0;
		read_inside(stage, tally, index, &grant, false);
	} else if (!writes && !has_ttl && storm_random(seed, 4) == 0) {
		error = lh_rwlock_upgrade(&rwlock, stage->lease, some_deadline(seed), &grant);
		if (error == 0)
			write_inside(stage, tally, index, &grant);
		need(error == 0 || error == -EBUSY || error == -ETIMEDOUT || error == -EDEADLK);
		tally->upgrades += error == 0;
	}
	error = lh_rwlock_unlock(&rwlock, stage->lease);
	need(error == 0 || (error == -ESTALE && has_ttl));
}

static void act_at_random(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	bool has_ttl = false;

	(void)line;
	for (;;) {
		if (!stage.lease) {
			const struct lh_lease_options timed = { .ttl_ns = LH_MS(4) };

			has_ttl = storm_random(&worker.seed, 3) == 0;
			stage_lease(&stage, has_ttl ? &timed : NULL);
		}
		act(&stage, tally, (int)storm_random(&worker.seed, LOCKS), &worker.seed, has_ttl);
		if (storm_random(&worker.seed, 50) == 0 ||
		    (has_ttl && !lh_lease_valid(stage.lease))) {
			const int error = lh_lease_release(stage.lease);

			need(error == 0 || (error == -ESTALE && has_ttl));
			stage.lease = NULL;
		}
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G1, G2, G3, G5, G8, G12.
static void killed_and_stopped_readers_and_writers_lose_nothing(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	unsigned seed = storm_seed();
	struct storm storm = { .body = act_at_random,
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
	deeds = storm_run(&storm, &seed, lh_now() + tier_pick(LH_SEC(1), LH_SEC(6), LH_SEC(20)));

	// No stranding: whatever is held by the dead is to be had.
	stage_lease(&stage, NULL);
	for (int i = 0; i < LOCKS; i++) {
		const lh_rwlock rwlock = lock_of(&stage, i);
		lh_grant grant;

		need_equal(lh_rwlock_write_lock(&rwlock, stage.lease, LH_FOREVER, &grant), 0);
		write_inside(&stage, tally, i, &grant);
		need_equal(lh_rwlock_unlock(&rwlock, stage.lease), 0);
	}
	printf("kills %" PRIu64 ", stops %" PRIu64 ", reads %" PRIu64 ", writes %" PRIu64
	       ", upgrades %" PRIu64 ", deaths told %" PRIu64 ", losses %" PRIu64
	       ", refused %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->reads, tally->writes, tally->upgrades,
	       tally->deaths, tally->losses, tally->refused);
	need(deeds.kills > 0 && tally->reads > 0 && tally->writes > 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(killed_and_stopped_readers_and_writers_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
