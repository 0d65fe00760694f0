// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies after each instruction of lock, unlock and consistent, with nobody else about.
#include "tests/crash/scene.h"

static int consistent(struct scene *scene)
{
	return lh_mutex_consistent(&scene->mutex, scene->mine);
}

static void stage_damaged(struct scene *scene)
{
	lh_grant grant;

	scene_stage(scene);
	scene_dead_holder(scene, NULL);
	scene_must(scene, lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, &grant), "lock");
	scene_must(scene, lh_mutex_unlock(&scene->mutex, scene->lease), "unlock");
}

static void stage_new(struct scene *scene)
{
	scene_open(scene);
	scene_must(scene, lh_lease_acquire(scene->arena, NULL, &scene->lease), "lease");
}

static const struct scene_operation operations[] = {
	{ .name = "first lock",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .stage = stage_new,
	  .prepare = scene_with_lease,
	  .act = scene_lock,
	  .verify = scene_verify },
	{ .name = "lock",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .prepare = scene_with_lease,
	  .act = scene_lock,
	  .verify = scene_verify },
	{ .name = "lock, lease with a TTL",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .prepare = scene_with_ttl,
	  .act = scene_lock,
	  .verify = scene_verify },
	{ .name = "unlock",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .prepare = scene_holding,
	  .act = scene_unlock,
	  .verify = scene_verify },
	{ .name = "unlock, lease with a TTL",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .prepare = scene_holding_with_ttl,
	  .act = scene_unlock,
	  .verify = scene_verify },
	{ .name = "lock of a damaged mutex",
	  .shows = "G1 G2 G5 G12",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .stage = stage_damaged,
	  .prepare = scene_with_lease,
	  .act = scene_lock,
	  .verify = scene_verify },
	{ .name = "consistent",
	  .shows = "G12",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .stage = stage_damaged,
	  .prepare = scene_holding,
	  .act = consistent,
	  .verify = scene_verify },
};

int main(void)
{
	return scene_run(operations, sizeof(operations) / sizeof(operations[0]));
}
