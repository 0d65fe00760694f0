// SPDX-License-Identifier: Apache-2.0
//
// lh_…_at of every kind: what all of them say alike, each asked for itself.
//
//	-EINVAL   a_place_outside_is_invalid; options: each kind's own test
//	-EEXIST   another_kind_there_or_of_that_name_is_eexist; options that differ: each kind's own test
//	-ENOSPC   without_room_nothing_is_placed
//	-EROFS    a_reader_attaches_and_creates_nothing
//	-EBADMSG  a_header_of_another_kind_is_damage
//	-EBUSY    what_is_being_made_is_busy_for_a_reader
//	-ETIMEDOUT (after ten seconds), -ENOLCK, -ENOMEM: not provoked
#include "tests/support/scene.h"

#include "src/primitive.h"

static int place_mutex(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_mutex_options options = { .name = name };

	return lh_mutex_at(arena, offset, &options, (lh_mutex *)(void *)handle);
}

static int place_rwlock(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_rwlock_options options = { .name = name };

	return lh_rwlock_at(arena, offset, &options, (lh_rwlock *)(void *)handle);
}

static int place_semaphore(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_semaphore_options options = { .permits = 3, .name = name };

	return lh_semaphore_at(arena, offset, &options, (lh_semaphore *)(void *)handle);
}

static int place_barrier(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_barrier_options options = { .parties = 3, .name = name };

	return lh_barrier_at(arena, offset, &options, (lh_barrier *)(void *)handle);
}

static int place_condvar(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_condvar_options options = { .name = name };

	return lh_condvar_at(arena, offset, &options, (lh_condvar *)(void *)handle);
}

static int place_once(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_once_options options = { .name = name };

	return lh_once_at(arena, offset, &options, (lh_once *)(void *)handle);
}

static int place_watch(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_watch_options options = { .max_size = 8, .name = name };

	return lh_watch_at(arena, offset, &options, (lh_watch *)(void *)handle);
}

static int place_cell(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4])
{
	const struct lh_cell_options options = { .size = 8, .name = name };

	return lh_cell_at(arena, offset, &options, (lh_cell *)(void *)handle);
}

typedef int place_function(lh_arena *arena, uint64_t offset, const char *name, uint64_t handle[4]);

static place_function *const kinds[] = { place_mutex,   place_rwlock,  place_semaphore,
					 place_barrier, place_condvar, place_once,
					 place_watch,   place_cell };

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), UNTOUCHED = 7 };

// In each test below: the error, and the handle is as it was ("untouched on failure").
static void assert_refused(place_function *place, lh_arena *arena, uint64_t offset,
			   const char *name, int error)
{
	uint64_t handle[4] = { UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED };

	assert_int_equal(place(arena, offset, name, handle), error);
	for (int i = 0; i < 4; i++)
		assert_int_equal(handle[i], UNTOUCHED);
}

static void a_place_outside_is_invalid(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	const uint64_t end = lh_arena_end_offset(scene->arena);
	const uint64_t bad[] = { 0, first - 64, first + 1, end, UINT64_MAX - 63 };

	for (size_t i = 0; i < KINDS; i++) {
		for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++)
			assert_refused(kinds[i], scene->arena, bad[j], NULL, -EINVAL);
	}
}

static void another_kind_there_or_of_that_name_is_eexist(void **state)
{
	const struct scene *scene = *state;
	uint64_t handle[4];

	for (size_t i = 0; i < KINDS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "kind%zu", i);
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, name, handle), 0);
		for (size_t j = 0; j < KINDS; j++) {
			if (j == i)
				continue;
			assert_refused(kinds[j], scene->arena, LH_ANYWHERE, name, -EEXIST);
			assert_refused(kinds[j], scene->arena, primitive_offset(handle), name,
				       -EEXIST);
		}
	}
}

static void without_room_nothing_is_placed(void **state)
{
	const struct lh_arena_options options = { .size = 4096 };
	lh_arena *arena = scene_open(*state, &options);
	uint64_t offset;

	while (lh_region_at(arena, LH_ANYWHERE, 64, NULL, &offset) == 0)
		;
	for (size_t i = 0; i < KINDS; i++)
		assert_refused(kinds[i], arena, LH_ANYWHERE, "none", -ENOSPC);
	assert_int_equal(lh_find(arena, "none", &offset), -ENOENT);
}

static void a_reader_attaches_and_creates_nothing(void **state)
{
	const struct scene *scene = *state;
	uint64_t handle[4], seen[4], offset;
	lh_arena *reader;

	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	for (size_t i = 0; i < KINDS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "kind%zu", i);
		assert_refused(kinds[i], reader, LH_ANYWHERE, name, -EROFS);
		assert_int_equal(lh_find(scene->arena, name, &offset), -ENOENT);
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, name, handle), 0);
		assert_int_equal(kinds[i](reader, LH_ANYWHERE, name, seen), 0);
		assert_int_equal(primitive_offset(seen), primitive_offset(handle));
	}
	assert_int_equal(lh_arena_close(reader), 0);
}

// The placement's entry says that it is in the making.
static void what_is_being_made_is_busy_for_a_reader(void **state)
{
	const struct scene *scene = *state;
	uint64_t handle[4];
	lh_arena *reader;

	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	for (size_t i = 0; i < KINDS; i++) {
		shared_u64 *entry = &scene->arena->entries[i].state;
		uint64_t ready;
		char name[8];

		snprintf(name, sizeof(name), "kind%zu", i);
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, name, handle), 0);
		ready = atomic_load(entry);
		assert_int_equal(ready >> ENTRY_PHASE_SHIFT, ENTRY_READY);
		atomic_store(entry, ready ^ (uint64_t)(ENTRY_READY ^ ENTRY_INIT)
						    << ENTRY_PHASE_SHIFT);
		assert_refused(kinds[i], reader, LH_ANYWHERE, name, -EBUSY);
		atomic_store(entry, ready);
		assert_int_equal(kinds[i](reader, LH_ANYWHERE, name, handle), 0);
	}
	assert_int_equal(lh_arena_close(reader), 0);
}

// G9
static void a_header_of_another_kind_is_damage(void **state)
{
	const struct scene *scene = *state;
	uint64_t handle[4];

	for (size_t i = 0; i < KINDS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "kind%zu", i);
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, name, handle), 0);
		primitive_header(handle)->kind += 1;
		assert_refused(kinds[i], scene->arena, LH_ANYWHERE, name, -EBADMSG);
		primitive_header(handle)->kind -= 1;
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, name, handle), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_place_outside_is_invalid),
		SCENE_TEST(another_kind_there_or_of_that_name_is_eexist),
		SCENE_TEST_CLOSED(without_room_nothing_is_placed),
		SCENE_TEST(a_reader_attaches_and_creates_nothing),
		SCENE_TEST(what_is_being_made_is_busy_for_a_reader),
		SCENE_TEST(a_header_of_another_kind_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
