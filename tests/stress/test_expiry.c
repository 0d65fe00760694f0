// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Leases with a TTL whose owners are stopped and continued at random, so that they are lost at any
// point of any call, and their owners find out later.
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

enum { WORKERS = 5, MUTEXES = 3 };

struct tally {
	uint64_t highest[STAGE_MUTEXES];         // lh_fence_check's
	_Atomic uint64_t expires[STAGE_MUTEXES]; // no earlier than this, of the lease in `holder`
	_Atomic uint64_t holder[STAGE_MUTEXES];
	_Atomic uint64_t grants, lost, taken, renewed;
};

static struct tally *tally_of(const struct stage *stage)
{
	uint64_t offset;

	need_equal(lh_region_at(stage->arena, LH_ANYWHERE, sizeof(struct tally), "tally", &offset),
		   0);
	return (struct tally *)lh_arena_range(stage->arena, offset, sizeof(struct tally));
}

// G4: nothing can be done with it any more, and nothing revives it.
static void is_lost_for_good(struct stage *stage, struct tally *tally, int index)
{
	lh_grant grant;

	need(!lh_lease_valid(stage->lease));
	need_equal((int64_t)lh_lease_remaining(stage->lease), 0);
	need_equal(lh_lease_renew(stage->lease, LH_SEC(1)), -ESTALE);
	need(!lh_mutex_held(&stage->mutexes[index], stage->lease));
	need_equal(lh_mutex_unlock(&stage->mutexes[index], stage->lease), -ESTALE);
	need_equal(lh_mutex_consistent(&stage->mutexes[index], stage->lease), -ESTALE);
	need_equal(lh_mutex_lock(&stage->mutexes[index], stage->lease, LH_FOREVER, &grant),
		   -ESTALE);
	need_equal(lh_lease_release(stage->lease), -ESTALE);
	stage->lease = NULL;
	tally->lost++;
}

static void renew(struct stage *stage, struct tally *tally, int index, unsigned *seed)
{
	const uint64_t ttl = LH_MS(2) + storm_random(seed, 10000000);
	const uint64_t end = lh_now() + ttl;

	// Shorter than before it may be too; then `expires` must say so before.
	if (tally->holder[index] == lh_lease_id(stage->lease) && tally->expires[index] > end)
		tally->expires[index] = end;
	if (lh_lease_renew(stage->lease, ttl) != 0)
		return;
	tally->renewed++;
}

static void look_at_grant(struct stage *stage, struct tally *tally, int index,
			  const lh_grant *grant)
{
	const uint64_t expires = tally->expires[index], holder = tally->holder[index];

	if (grant->flags & LH_GRANT_OWNER_DIED) {
		tally->taken++;
		// G3: nobody was killed here, so it was taken for having expired: not before that.
		if (holder == grant->previous && lh_lease_valid(stage->lease))
			need(lh_now() >= expires);
		need(lh_mutex_consistent(&stage->mutexes[index], stage->lease) == 0 ||
		     !lh_lease_valid(stage->lease));
	}
}

static void work_inside(struct stage *stage, struct tally *tally, int index, const lh_grant *grant,
			unsigned *seed)
{
	int error;

	// G5 and G1: a newer grant was seen, so this lease is lost. What a stopped holder does
	// later is fenced off by that: resources go by the token.
	if (lh_fence_check(&tally->highest[index], grant->token) != 0) {
		need(!lh_lease_valid(stage->lease));
		is_lost_for_good(stage, tally, index);
		return;
	}
	for (uint32_t spins = storm_random(seed, 2000); spins; spins--)
		atomic_signal_fence(memory_order_seq_cst);
	if (storm_random(seed, 3) == 0)
		renew(stage, tally, index, seed);
	// G1: nobody was granted it since, or this lease is lost. (A plain word that says who is
	// inside could be written late by one that was stopped: tokens alone are raised exactly.)
	if (__atomic_load_n(&tally->highest[index], __ATOMIC_ACQUIRE) != grant->token)
		need(!lh_lease_valid(stage->lease));
	tally->holder[index] = 0; // what `expires` says is of this grant alone
	error = lh_mutex_unlock(&stage->mutexes[index], stage->lease);
	need(error == 0 || error == -ESTALE);
	if (error)
		is_lost_for_good(stage, tally, index);
}

static void expire_at_random(const struct line *line, void *context)
{
	static const unsigned kinds[] = { 0, LH_LEASE_PROCESS, LH_LEASE_AUTO_RENEW,
					  LH_LEASE_AUTO_RENEW | LH_LEASE_PROCESS };
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	bool renewed = false; // by the library

	(void)line;
	for (;;) {
		const int index = (int)storm_random(&worker.seed, MUTEXES);
		struct lh_lease_options options = {
			.ttl_ns = LH_MS(2) + storm_random(&worker.seed, 10000000),
			.flags = kinds[storm_random(&worker.seed, 4)],
		};
		uint64_t left, now;
		lh_grant grant;
		int error;

		if (options.flags & LH_LEASE_AUTO_RENEW)
			options.max_renewals = storm_random(&worker.seed, 5);
		if (!stage.lease) {
			stage_lease(&stage, &options);
			renewed = options.flags & LH_LEASE_AUTO_RENEW;
		}
		error = lh_mutex_lock(&stage.mutexes[index], stage.lease,
				      storm_random(&worker.seed, 2) ? LH_FOREVER
								    : lh_deadline_after(LH_MS(1)),
				      &grant);
		if (error == -ETIMEDOUT)
			continue;
		if (error) {
			need_equal(error, -ESTALE);
			is_lost_for_good(&stage, tally, index);
			continue;
		}
		tally->grants++;
		look_at_grant(&stage, tally, index, &grant);
		// The clock first: so what is written is no later than the expiry.
		now = lh_now();
		left = lh_lease_remaining(stage.lease);
		tally->holder[index] = 0;
		tally->expires[index] = left ? now + left : 0;
		// The library's renewals may come with less than was left.
		if (left && !renewed)
			tally->holder[index] = lh_lease_id(stage.lease);
		work_inside(&stage, tally, index, &grant, &worker.seed);
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G1, G3, G4, G5.
static void stopped_owners_lose_in_time_and_for_good(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	unsigned seed = storm_seed();
	struct storm storm = { .body = expire_at_random,
			       .workers = WORKERS,
			       .stops = true,
			       .stop_ns = LH_MS(40),
			       .pause_ns = LH_MS(4),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;

	(void)state;
	watch("expiring", 800);
	deeds = storm_run(&storm, &seed, storm_end());
	printf("stops %" PRIu64 ", grants %" PRIu64 ", lost %" PRIu64 ", taken over %" PRIu64
	       ", renewed %" PRIu64 "\n",
	       deeds.stops, tally->grants, tally->lost, tally->taken, tally->renewed);
	need(deeds.stops > 0 && tally->grants > 0 && tally->lost > 0 && tally->taken > 0);
	stage_lease(&stage, NULL);
	for (int i = 0; i < STAGE_MUTEXES; i++) {
		stage_lock(&stage, i);
		need_equal(lh_mutex_consistent(&stage.mutexes[i], stage.lease), 0);
		stage_unlock(&stage, i);
	}
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// ---- kill on expiry ------------------------------------------------------------------------------

static void consent_to_be_killed(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);

	(void)line;
	for (;;) {
		const struct lh_lease_options options = {
			.ttl_ns = LH_MS(3) + storm_random(&worker.seed, 10000000),
			.flags = LH_LEASE_KILL_ON_EXPIRY |
				 (storm_random(&worker.seed, 2) ? LH_LEASE_PROCESS : 0),
		};
		const int index = (int)storm_random(&worker.seed, MUTEXES);
		struct stage_data *data = stage_data(&stage, index);
		lh_grant grant;

		stage_lease(&stage, &options);
		if (lh_mutex_lock(&stage.mutexes[index], stage.lease, LH_FOREVER, &grant) == 0) {
			tally->grants++;
			need(grant.token > data->token);
			data->token = grant.token;
			if (grant.flags & LH_GRANT_OWNER_DIED) {
				tally->taken++;
				data->second = data->first;
				// -ESTALE if expired already, and then the kill is near.
				if (lh_mutex_consistent(&stage.mutexes[index], stage.lease) != 0)
					need(!lh_lease_valid(stage.lease));
			}
			need_equal((int64_t)data->first, (int64_t)data->second);
			data->first++;
			const uint64_t until = lh_now() + storm_random(&worker.seed, 500000);

			while (lh_now() < until)
				atomic_signal_fence(memory_order_seq_cst);
			data->second++;
		}
		if (lh_lease_release(stage.lease) != 0)
			tally->lost++;
	}
}

// G1, absolutely: plain data in the arena are written by one at a time, though holders are stopped
// beyond their expiry; for they never go on.
static void who_consents_to_be_killed_never_writes_after_its_loss(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct tally *tally = tally_of(&stage);
	unsigned seed = storm_seed();
	struct storm storm = { .body = consent_to_be_killed,
			       .workers = WORKERS,
			       .stops = true,
			       .may_die = true,
			       .stop_ns = LH_MS(40),
			       .pause_ns = LH_MS(4),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;

	(void)state;
	watch("killing on expiry", 800);
	deeds = storm_run(&storm, &seed, storm_end());
	printf("stops %" PRIu64 ", killed on expiry %" PRIu64 ", grants %" PRIu64
	       ", taken over %" PRIu64 ", lost %" PRIu64 "\n",
	       deeds.stops, deeds.died, tally->grants, tally->taken, tally->lost);
	need(deeds.stops > 0 && deeds.died > 0 && tally->grants > 0);
	stage_lease(&stage, NULL);
	for (int i = 0; i < STAGE_MUTEXES; i++) {
		stage_lock(&stage, i);
		need_equal(lh_mutex_consistent(&stage.mutexes[i], stage.lease), 0);
		stage_unlock(&stage, i);
	}
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(stopped_owners_lose_in_time_and_for_good),
		STAGED(who_consents_to_be_killed_never_writes_after_its_loss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
