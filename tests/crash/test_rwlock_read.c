// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: ALSO inline
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// What a reader of a reader-writer lock does that has another form in leasehold/inline.h: it dies
// after each instruction, and those who wait for it are told of its leaving.
#include "tests/crash/rwlock_scene.h"

static void has_read(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, rwlock_scene_read(scene->mine, LH_NOW), "read");
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->mine), "unlock");
}

static void reads(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, rwlock_scene_read(scene->mine, LH_NOW), "read");
}

static int act_read(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_rwlock_read_lock(&rwlock_scene_lock, scene->mine, LH_FOREVER, &grant);
}

static int act_unlock(struct crash_scene *scene)
{
	return lh_rwlock_unlock(&rwlock_scene_lock, scene->mine);
}

static bool begin_writer(struct crash_scene *scene)
{
	rwlock_scene_add(scene, true);
	return true;
}

#define KILLED(shown, staged, prepared, called)                                                    \
	.name = (shown), .shows = "G1 G2 G5 G12", .every = true, .stage = (staged),                \
	.prepare = (prepared), .act = (called), .strike = rwlock_scene_kill,                       \
	.verify = rwlock_scene_verify

static const struct crash_operation operations[] = {
	{ KILLED("first read", rwlock_stage_biased, crash_with_lease, act_read),
	  .thin = { 120, 18, 2 } },
	{ KILLED("read, biased", rwlock_stage_biased, has_read, act_read), .thin = { 16, 3, 2 },
	  .at_most = 120 },
	{ KILLED("read again", rwlock_stage_fenced, reads, act_read), .thin = { 32, 6, 2 } },
	{ KILLED("read, fenced", rwlock_stage_fenced, has_read, act_read), .thin = { 32, 6, 2 } },
	{ KILLED("end of reading, biased", rwlock_stage_biased, reads, act_unlock),
	  .thin = { 16, 3, 2 }, .at_most = 120 },
	{ KILLED("end of reading, a writer and a reader wait", rwlock_stage_biased, reads,
		 act_unlock),
	  .begin = rwlock_scene_add_both, .thin = { 48, 9, 2 } },
	{ KILLED("lease release of a reader, a writer and a reader wait", rwlock_stage_biased,
		 reads, crash_release),
	  .begin = rwlock_scene_add_both, .thin = { 160, 24, 2 } },
	{ CRASH_SURVIVED("end of reading, nobody dies, a writer waits", rwlock_stage_biased, reads,
			 act_unlock),
	  .begin = begin_writer, .strike = rwlock_scene_let_go_on, .verify = rwlock_scene_verify },
	{ CRASH_SURVIVED("end of reading, nobody dies, two wait", rwlock_stage_fenced, reads,
			 act_unlock),
	  .begin = rwlock_scene_add_both, .strike = rwlock_scene_let_go_on,
	  .verify = rwlock_scene_verify },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
