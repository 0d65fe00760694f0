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
//	-ETIMEDOUT  a_stopped_placer_is_waited_for_in_vain
//	-ENOLCK   without_an_owner_entry_only_who_has_a_lease_places
//	-ENOMEM   without_memory_nothing_is_placed
//
// For the last three there are stand-ins for malloc and calloc, and for lh_deadline_after, from which
// the call has the ten seconds that it waits for another placer (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "src/primitive.h"

#include <pthread.h>
#include <signal.h>

static bool no_memory, impatient;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
lh_deadline __real_lh_deadline_after(uint64_t ns);
lh_deadline __wrap_lh_deadline_after(uint64_t ns);

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory ? NULL : __real_calloc(count, size);
}

lh_deadline __wrap_lh_deadline_after(uint64_t ns)
{
	return __real_lh_deadline_after(impatient ? ns / 1000 : ns);
}

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

static const char *const names[KINDS] = { "kind0", "kind1", "kind2", "kind3",
					  "kind4", "kind5", "kind6", "kind7" };

// What makes an entry that is READY one in the making, and back.
#define HALFWAY ((uint64_t)(ENTRY_READY ^ ENTRY_INIT) << ENTRY_PHASE_SHIFT)

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
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
		for (size_t j = 0; j < KINDS; j++) {
			if (j == i)
				continue;
			assert_refused(kinds[j], scene->arena, LH_ANYWHERE, names[i], -EEXIST);
			assert_refused(kinds[j], scene->arena, primitive_offset(handle), names[i],
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
		assert_refused(kinds[i], reader, LH_ANYWHERE, names[i], -EROFS);
		assert_int_equal(lh_find(scene->arena, names[i], &offset), -ENOENT);
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
		assert_int_equal(kinds[i](reader, LH_ANYWHERE, names[i], seen), 0);
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

		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
		assert_int_equal(atomic_load(entry) >> ENTRY_PHASE_SHIFT, ENTRY_READY);
		atomic_fetch_xor(entry, HALFWAY);
		assert_refused(kinds[i], reader, LH_ANYWHERE, names[i], -EBUSY);
		atomic_fetch_xor(entry, HALFWAY);
		assert_int_equal(kinds[i](reader, LH_ANYWHERE, names[i], handle), 0);
	}
	assert_int_equal(lh_arena_close(reader), 0);
}

// G9
static void a_header_of_another_kind_is_damage(void **state)
{
	const struct scene *scene = *state;
	uint64_t handle[4];

	for (size_t i = 0; i < KINDS; i++) {
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
		primitive_header(handle)->kind += 1;
		assert_refused(kinds[i], scene->arena, LH_ANYWHERE, names[i], -EBADMSG);
		primitive_header(handle)->kind -= 1;
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
	}
}

// ---- another placer that does not go on -----------------------------------------------------------

// All of them are in the making, by one whose lease shows that it lives.
static int place_halfway(struct worker_stage *stage, uint64_t unused)
{
	uint64_t handle[4];

	(void)unused;
	for (size_t i = 0; i < KINDS; i++) {
		need(kinds[i](stage->arena, LH_ANYWHERE, names[i], handle) == 0);
		atomic_fetch_xor(&stage->arena->entries[i].state, HALFWAY);
	}
	return 0;
}

static void assert_found(const lh_arena *arena, const char *name, const uint64_t handle[4])
{
	uint64_t offset;

	assert_int_equal(lh_find(arena, name, &offset), 0);
	assert_int_equal(offset, primitive_offset(handle));
}

// "a half-made placement is finished or undone by the next call that meets it", once it is not another's
static void a_stopped_placer_is_waited_for_in_vain(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	uint64_t handle[4], offset;

	assert_int_equal(worker_do(worker, place_halfway, 0), 0);
	assert_int_equal(kill(worker_pid(worker), SIGSTOP), 0);
	impatient = true;
	for (size_t i = 0; i < KINDS; i++) {
		const uint64_t there = atomic_load(&scene->arena->entries[i].offset);

		assert_refused(kinds[i], scene->arena, LH_ANYWHERE, names[i], -ETIMEDOUT);
		assert_non_null(strstr(lh_error_detail(), "is being made"));
		assert_refused(kinds[i], scene->arena, there, NULL, -ETIMEDOUT);
		assert_int_equal(lh_find(scene->arena, names[i], &offset), -ENOENT);
	}
	impatient = false;
	worker_kill(worker);
	for (size_t i = 0; i < KINDS; i++) {
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
		assert_found(scene->arena, names[i], handle);
	}
}

// ---- no owner entry -------------------------------------------------------------------------------

static int place_one(struct worker_stage *stage, uint64_t kind)
{
	uint64_t handle[4];

	return kinds[kind](stage->arena, LH_ANYWHERE, names[kind], handle);
}

// As many threads as there are entries would lock one each; here one locks all that are left.
static void without_an_owner_entry_only_who_has_a_lease_places(void **state)
{
	const struct lh_arena_options options = { .max_leases = 1 };
	lh_arena *arena = scene_open(*state, &options);
	struct worker *worker = worker_start(WORKER_THREAD, arena, NULL);
	bool locked[1 + LAYOUT_EXTRA_OWNERS];
	uint64_t handle[4], offset;
	size_t left = 0;

	assert_int_equal(arena->owner_count, sizeof(locked));
	for (size_t i = 0; i < sizeof(locked); i++) {
		locked[i] = pthread_mutex_trylock(&arena->owners[i].liveness) == 0;
		left += locked[i];
	}
	assert_int_equal(left, LAYOUT_EXTRA_OWNERS);
	for (size_t i = 0; i < KINDS; i++) {
		assert_refused(kinds[i], arena, LH_ANYWHERE, names[i], -ENOLCK);
		assert_non_null(strstr(lh_error_detail(), "owner entries"));
		assert_refused(kinds[i], arena, lh_arena_end_offset(arena) - 4096, names[i],
			       -ENOLCK);
		assert_int_equal(lh_find(arena, names[i], &offset), -ENOENT);
		assert_int_equal(worker_do(worker, place_one, i), 0);
		// Who attaches needs none.
		assert_int_equal(kinds[i](arena, LH_ANYWHERE, names[i], handle), 0);
		assert_found(arena, names[i], handle);
	}
	for (size_t i = 0; i < sizeof(locked); i++) {
		if (locked[i])
			pthread_mutex_unlock(&arena->owners[i].liveness);
	}
	for (size_t i = 0; i < KINDS; i++)
		assert_int_equal(kinds[i](arena, LH_ANYWHERE, NULL, handle), 0);
	assert_int_equal(worker_end(worker), 0);
}

// ---- no memory ------------------------------------------------------------------------------------

// A new thread's: what an older one has allocated for the arena is kept for later.
static int place_without_memory(void *context)
{
	lh_arena *arena = context;

	no_memory = true;
	for (size_t i = 0; i < KINDS; i++) {
		const uint64_t offsets[] = { LH_ANYWHERE, lh_arena_first_offset(arena) };

		for (size_t j = 0; j < sizeof(offsets) / sizeof(offsets[0]); j++) {
			uint64_t handle[4] = { UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED };

			need(kinds[i](arena, offsets[j], names[i], handle) == -ENOMEM);
			need(strcmp(lh_error_detail(), "no memory") == 0);
			for (int k = 0; k < 4; k++)
				need(handle[k] == UNTOUCHED);
		}
	}
	no_memory = false;
	return 0;
}

static void without_memory_nothing_is_placed(void **state)
{
	const struct scene *scene = *state;
	uint64_t handle[4], offset;

	assert_int_equal(scene_thread(place_without_memory, scene->arena), 0);
	for (size_t i = 0; i < KINDS; i++)
		assert_int_equal(lh_find(scene->arena, names[i], &offset), -ENOENT);
	for (size_t i = 0; i < KINDS; i++) {
		assert_int_equal(kinds[i](scene->arena, LH_ANYWHERE, names[i], handle), 0);
		assert_found(scene->arena, names[i], handle);
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
		SCENE_TEST(a_stopped_placer_is_waited_for_in_vain),
		SCENE_TEST_CLOSED(without_an_owner_entry_only_who_has_a_lease_places),
		SCENE_TEST(without_memory_nothing_is_placed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
