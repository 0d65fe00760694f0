// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies after each instruction of lock, unlock and consistent, with nobody else about; the
// inlined unlock, which goes on in the library then, with one asleep too.
#include "tests/crash/crash.h"

#include <leasehold/inline.h>

static void stage_new(struct crash_scene *scene)
{
	crash_open(scene);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &scene->lease), "lease");
}

static int lock_inlined(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_inline_mutex_lock(&scene->mutex, scene->mine, LH_FOREVER, &grant);
}

static int unlock_inlined(struct crash_scene *scene)
{
	return lh_inline_mutex_unlock(&scene->mutex, scene->mine);
}

// Who sleeps is woken by the unlock alone: its owner's end comes later.
static void let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	crash_observe(scene);
	crash_collect_waiters(scene);
	scene->waiter_count = 0;
	crash_kill(scene);
}

static const struct crash_operation operations[] = {
	{ .name = "first lock",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .stage = stage_new,
	  .prepare = crash_with_lease,
	  .act = crash_lock,
	  .verify = crash_verify },
	{ .name = "lock",
	  .at_most = 100,
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .prepare = crash_with_lease,
	  .act = crash_lock,
	  .verify = crash_verify },
	{ .name = "lock, inlined",
	  .at_most = 60,
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .prepare = crash_with_lease,
	  .act = lock_inlined,
	  .verify = crash_verify },
	{ .name = "lock, lease with a TTL",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .prepare = crash_with_ttl,
	  .act = crash_lock,
	  .verify = crash_verify },
	{ .name = "unlock",
	  .at_most = 100,
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .prepare = crash_holding,
	  .act = crash_unlock,
	  .verify = crash_verify },
	{ .name = "unlock, inlined",
	  .at_most = 60,
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .prepare = crash_holding,
	  .act = unlock_inlined,
	  .verify = crash_verify },
	{ .name = "unlock, inlined, one sleeps",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .prepare = crash_holding,
	  .act = unlock_inlined,
	  .begin = crash_one_sleeper,
	  .verify = crash_verify },
	{ CRASH_SURVIVED("unlock, nobody dies, one sleeps", crash_stage, crash_holding,
			 crash_unlock),
	  .begin = crash_one_sleeper, .strike = let_go_on, .verify = crash_verify },
	{ CRASH_SURVIVED("unlock, inlined, nobody dies, one sleeps", crash_stage, crash_holding,
			 unlock_inlined),
	  .begin = crash_one_sleeper, .strike = let_go_on, .verify = crash_verify },
	{ .name = "unlock, lease with a TTL",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .prepare = crash_holding_with_ttl,
	  .act = crash_unlock,
	  .verify = crash_verify },
	{ .name = "lock of a damaged mutex",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .stage = crash_stage_damaged,
	  .prepare = crash_with_lease,
	  .act = crash_lock,
	  .verify = crash_verify },
	{ .name = "consistent",
	  .shows = "G12",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .stage = crash_stage_damaged,
	  .prepare = crash_holding,
	  .act = crash_consistent,
	  .verify = crash_verify },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
