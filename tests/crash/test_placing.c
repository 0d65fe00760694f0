// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies in each state of creating an arena and of placing things in it (arena.h: "Crash:
// nothing, or a complete arena"; "placed, or not"; G6: no space is lost).
#include "tests/crash/crash.h"

#include <errno.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- creation ------------------------------------------------------------------------------------

static int create(struct crash_scene *scene)
{
	const struct lh_arena_options options = { .size = 4096,
						  .max_leases = CRASH_LEASES,
						  .max_holds = CRASH_HOLDS };

	return lh_arena_open(scene->name, LH_CREATE, &options, &scene->arena);
}

static void start_library(struct crash_scene *scene)
{
	lh_arena *none;

	CRASH_CHECK(scene, lh_arena_open("/leasehold-crash-none", 0, NULL, &none) == -ENOENT,
		    "an arena that should not be there");
}

// How many objects whose name contains the scene's there are.
static uint32_t objects_named(const struct crash_scene *scene)
{
	DIR *directory = opendir("/dev/shm");
	const struct dirent *entry;
	uint32_t count = 0;

	while (directory && (entry = readdir(directory)) != NULL)
		count += strstr(entry->d_name, scene->name + 1) != NULL;
	if (directory)
		closedir(directory);
	return count;
}

static void note_name(struct crash_scene *scene)
{
	scene->kept = objects_named(scene);
}

// Every owner entry is as the others that nobody has used.
static void check_complete(struct crash_scene *scene)
{
	const struct owner_entry *owners = scene->arena->owners;
	const uint32_t last = scene->arena->owner_count - 1;
	static const uint8_t blank[sizeof(*owners)];

	CRASH_CHECK(scene, memcmp((const uint8_t *)&owners[last], blank, sizeof(blank)) != 0,
		    "owner entry %u was not made ready", last);
	for (uint32_t i = last / 2; i < last; i++)
		CRASH_CHECK(scene,
			    memcmp((const uint8_t *)&owners[i], (const uint8_t *)&owners[last],
				   sizeof(blank)) == 0,
			    "owner entries %u and %u differ", i, last);
}

static void verify_creation(struct crash_scene *scene)
{
	crash_reap_children(scene);
	CRASH_CHECK(scene, objects_named(scene) == scene->kept && scene->kept <= 1,
		    "%u objects are left in /dev/shm, there were %u when it died",
		    objects_named(scene), (uint32_t)scene->kept);
	// Another creates it, or opens a complete one.
	crash_stage(scene);
	check_complete(scene);
	CRASH_CHECK(scene, lh_arena_check(scene->arena, NULL, NULL) == LH_CHECK_CLEAN,
		    "the arena is not clean");
	CRASH_CHECK(scene, objects_named(scene) == 1, "the arena has no name");
	crash_observe(scene);
	crash_check_mutex(scene);
	crash_check_empty(scene);
}

// ---- placing -------------------------------------------------------------------------------------

static const struct lh_mutex_options one = { .name = "new" };
static const struct lh_mutex_options table = { .name = "new", .count = 3, .data_size = 100 };

static int mutex_named(struct crash_scene *scene)
{
	lh_mutex mutex;

	return lh_mutex_at(scene->arena, LH_ANYWHERE, &one, &mutex);
}

static int mutex_array(struct crash_scene *scene)
{
	lh_mutex mutex;

	return lh_mutex_at(scene->arena, LH_ANYWHERE, &table, &mutex);
}

static int mutex_at_offset(struct crash_scene *scene)
{
	lh_mutex mutex;

	return lh_mutex_at(scene->arena, lh_arena_end_offset(scene->arena) - 1024, NULL, &mutex);
}

static int region(struct crash_scene *scene)
{
	return lh_region_at(scene->arena, LH_ANYWHERE, 500, "new", &scene->shared->offset);
}

// The next user runs the same line, then finds it whole and has it alone.
static void verify_placing(struct crash_scene *scene)
{
	uint64_t token = 0;
	lh_mutex mutex;
	lh_grant grant;

	crash_must(scene, scene->operation->act(scene), "the same placement again");
	if (scene->operation->act == region) {
		const uint8_t *bytes = lh_arena_range(scene->arena, scene->shared->offset, 500);

		for (int i = 0; i < 500; i++)
			CRASH_CHECK(scene, bytes[i] == 0, "byte %d of the region is %u", i,
				    bytes[i]);
	} else {
		uint32_t count = 1;

		if (scene->operation->act == mutex_array)
			count = table.count;
		crash_must(scene,
			   scene->operation->act == mutex_at_offset
				   ? lh_mutex_at(scene->arena,
						 lh_arena_end_offset(scene->arena) - 1024, NULL,
						 &mutex)
				   : lh_mutex_at(scene->arena, LH_ANYWHERE,
						 count > 1 ? &table : &one, &mutex),
			   "attach");
		for (uint32_t i = 0; i < count; i++) {
			crash_must(scene, lh_mutex_element(&mutex, i, &mutex), "element");
			crash_must(scene, lh_mutex_lock(&mutex, scene->lease, LH_NOW, &grant),
				   "lock");
			CRASH_CHECK(scene, grant.flags == 0 && grant.token > token,
				    "flags %u, token %llu", grant.flags,
				    (unsigned long long)grant.token);
			crash_must(scene, lh_mutex_unlock(&mutex, scene->lease), "unlock");
		}
	}
	scene->placements = 2;
	crash_verify(scene);
}

// Another who wants something else in the same place gets it, or is told.
static void verify_other(struct crash_scene *scene)
{
	const uint64_t offset = lh_arena_end_offset(scene->arena) - 1024;
	const struct lh_mutex_options other = { .data_size = 64 };
	lh_mutex mutex;
	int result = lh_mutex_at(scene->arena, offset, &other, &mutex);

	CRASH_CHECK(scene, result == 0 || result == -EEXIST, "another placement there: %d", result);
	scene->placements = 2;
	crash_verify(scene);
}

static const struct crash_operation operations[] = {
	{ .name = "arena creation, the process's first",
	  .shows = "a crash leaves nothing or a complete arena",
	  .thin = { 40, 24, 2 },
	  .no_arena = true,
	  .act = create,
	  .at_point = note_name,
	  .verify = verify_creation },
	{ .name = "arena creation",
	  .not_quick = true,
	  .shows = "a crash leaves nothing or a complete arena",
	  .thin = { 40, 24, 2 },
	  .no_arena = true,
	  .prepare = start_library,
	  .act = create,
	  .at_point = note_name,
	  .verify = verify_creation },
	{ .name = "place a mutex",
	  .shows = "G6",
	  .stage = crash_stage_used,
	  .thin = { 4, 1, 1 },
	  .act = mutex_named,
	  .verify = verify_placing },
	{ .name = "place an array of mutexes",
	  .shows = "G6",
	  .stage = crash_stage_used,
	  .thin = { 4, 1, 1 },
	  .act = mutex_array,
	  .verify = verify_placing },
	{ .name = "place a mutex at an offset",
	  .shows = "G6",
	  .stage = crash_stage_used,
	  .thin = { 4, 1, 1 },
	  .act = mutex_at_offset,
	  .verify = verify_placing },
	{ .name = "place a mutex at an offset, the next one wants another",
	  .shows = "G6",
	  .stage = crash_stage_used,
	  .thin = { 4, 1, 1 },
	  .act = mutex_at_offset,
	  .verify = verify_other },
	{ .name = "place a region",
	  .shows = "G6",
	  .stage = crash_stage_used,
	  .thin = { 4, 1, 1 },
	  .act = region,
	  .verify = verify_placing },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
