// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies after each instruction, or in each state, of clearing up behind another that had
// died: a third one must then find all of it undone or all of it done (G1, G2, G6, G12).
#include "tests/crash/crash.h"

#include "arena/lease.h"
#include "arena/placement.h"

#include <sys/wait.h>

// ---- a dead owner with a mutex and leased memory -------------------------------------------------

static void more_holds(struct crash_scene *scene)
{
	uint64_t offset;

	crash_must(scene, lh_region_acquire(scene->mine, LAYOUT_LINE, &offset), "leased memory");
	crash_must(scene, lh_region_acquire(scene->mine, 100, &offset), "leased memory");
}

static void stage_holder(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_start_holder(scene, more_holds);
}

// The dead one had a damaged mutex, declared nothing, and lost it again.
static void stage_second_holder(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_dead_holder(scene, NULL);
	crash_start_holder(scene, more_holds);
}

// ---- all lease slots and owner entries are dead --------------------------------------------------

static void stage_full(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_dead_holder(scene, more_holds);
	for (uint32_t i = 2; i < CRASH_LEASES; i++) {
		atomic_store(&scene->arena->owner_hint, i); // not the entry of the one before
		crash_dead_idler(scene);
	}
	// The victim begins at the first of their slots and owner entries.
	atomic_store(&scene->arena->owner_hint, 1);
	atomic_store(&scene->arena->lease_hint, 1);
}

static void stage_full_of_leases(struct crash_scene *scene)
{
	stage_full(scene);
	atomic_store(&scene->arena->owner_hint, 2 * CRASH_LEASES);
}

static int acquire(struct crash_scene *scene)
{
	const int error = lh_lease_acquire(scene->arena, NULL, &scene->mine);

	if (!error) {
		scene->shared->slot = scene->mine->index;
		scene->shared->lease = lh_lease_id(scene->mine);
	}
	return error;
}

// ---- half-made placements of the dead ------------------------------------------------------------

// Its CLAIM stays.
static void begin_placing(struct crash_scene *scene)
{
	const struct placement wanted = { .offset = LH_ANYWHERE,
					  .size = 2ul * LAYOUT_LINE,
					  .data_size = 100,
					  .kind = LH_KIND_REGION,
					  .lease = lh_lease_id(scene->mine) };
	struct placement_claim claim;

	crash_must(scene, placement_claim(scene->arena, &wanted, &claim), "claim");
}

static void stage_claimed(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_start_holder(scene, begin_placing);
}

static const struct crash_operation operations[] = {
	{ .name = "lock, its owner has died",
	  .shows = "G1 G2 G5 G6 G12",
	  .every = true,
	  .thin = { 40, 4, 1 },
	  .stage = stage_holder,
	  .begin = crash_holder_dies,
	  .prepare = crash_with_lease,
	  .act = crash_lock,
	  .verify = crash_verify },
	{ .name = "lock, its second owner has died",
	  .shows = "G1 G2 G5 G6 G12",
	  .thin = { 4, 1, 1 },
	  .stage = stage_second_holder,
	  .begin = crash_holder_dies,
	  .prepare = crash_with_lease,
	  .act = crash_lock_and_unlock,
	  .verify = crash_verify },
	{ .name = "lock, its owner has died, by a lease with a TTL",
	  .shows = "G1 G2 G5 G6 G12",
	  .thin = { 4, 1, 1 },
	  .stage = stage_holder,
	  .begin = crash_holder_dies,
	  .prepare = crash_with_ttl,
	  .act = crash_lock_and_unlock,
	  .verify = crash_verify },
	{ .name = "lock refused, its owner has died",
	  .shows = "G2 G6 G12",
	  .thin = { 4, 1, 1 },
	  .stage = stage_holder,
	  .begin = crash_holder_dies,
	  .prepare = crash_with_lease,
	  .act = crash_lock_deaf,
	  .verify = crash_verify },
	{ .name = "lease acquire, its owner entry is a dead one's",
	  .shows = "G2 G6 G12",
	  .thin = { 4, 1, 1 },
	  .stage = stage_full,
	  .act = acquire,
	  .verify = crash_verify },
	{ .name = "lease acquire, all slots are dead ones'",
	  .shows = "G2 G6 G12",
	  .thin = { 4, 1, 1 },
	  .stage = stage_full_of_leases,
	  .act = acquire,
	  .verify = crash_verify },
	{ .name = "region acquire, a dead one's claim is there",
	  .shows = "G2 G6",
	  .thin = { 4, 1, 1 },
	  .stage = stage_claimed,
	  .begin = crash_holder_dies,
	  .prepare = crash_with_lease,
	  .act = crash_region_acquire,
	  .verify = crash_verify },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
