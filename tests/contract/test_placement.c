// SPDX-License-Identifier: Apache-2.0
//
// Regions and the directory: each error that arena.h lists for them, and what it promises.
//
//	lh_region_at  -EINVAL   offset misaligned or outside, size 0, name  bad_places_…, bad_names_…
//	              -EEXIST   different, overlapping, name taken          a_different_…, an_overlap_…
//	              -ENOSPC   no gap; no directory entry                  a_full_arena_…, a_full_directory_…
//	              -EROFS    read-only with nothing to attach to         a_read_only_opener_…
//	              -EBADMSG  damaged directory                           test_arena_damage.c
//	lh_find       -ENOENT, -EINVAL                                      what_is_not_there_…, bad_names_…
//	              -EBADMSG                                              test_arena_damage.c
//	lh_remove     -ENOENT, -EBUSY, -EROFS, -EINVAL                      removing_…
//	              -EBADMSG                                              test_arena_damage.c
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include <signal.h>

static char longest_name[48];
static char too_long_name[49];

static void bad_places_are_invalid(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	const uint64_t end = lh_arena_end_offset(scene->arena);
	const uint64_t bad[] = { 0,
				 64,
				 first + 1,
				 first + 32,
				 first - 64,
				 end,
				 end + 64,
				 end - 64,
				 UINT64_MAX - 1,
				 UINT64_MAX - 63,
				 (UINT64_MAX - 127) & ~UINT64_C(63) };
	uint64_t offset = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(lh_region_at(scene->arena, bad[i], 65, NULL, &offset), -EINVAL);
	assert_int_equal(lh_region_at(scene->arena, first, 0, NULL, &offset), -EINVAL);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 0, "empty", &offset), -EINVAL);
	assert_int_equal(lh_region_at(scene->arena, first, (1 << 20) + 1, NULL, &offset), -EINVAL);
	assert_int_equal(lh_region_at(NULL, first, 64, NULL, &offset), -EINVAL);
	assert_int_equal(lh_region_at(scene->arena, first, 64, NULL, NULL), -EINVAL);
	assert_int_equal(offset, 7);
}

static void bad_names_are_invalid(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset = 7;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "", &offset), -EINVAL);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, too_long_name, &offset),
			 -EINVAL);
	assert_int_equal(lh_find(scene->arena, "", &offset), -EINVAL);
	assert_int_equal(lh_find(scene->arena, too_long_name, &offset), -EINVAL);
	assert_int_equal(lh_find(scene->arena, NULL, &offset), -EINVAL);
	assert_int_equal(lh_find(NULL, "name", &offset), -EINVAL);
	assert_int_equal(lh_find(scene->arena, "name", NULL), -EINVAL);
	assert_int_equal(offset, 7);
}

static void the_longest_name_is_found_and_differs_from_its_prefix(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset, found;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, longest_name, &offset), 0);
	assert_int_equal(lh_find(scene->arena, longest_name, &found), 0);
	assert_int_equal(found, offset);
	assert_int_equal(lh_find(scene->arena, longest_name + 1, &found), -ENOENT);
}

// "Creates … or attaches to the equal one there"
static void an_equal_region_is_attached_to_and_keeps_its_bytes(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	uint64_t offset, again;

	assert_int_equal(lh_region_at(scene->arena, first + 128, 100, "one", &offset), 0);
	assert_int_equal(offset, first + 128);
	memset(lh_arena_range(scene->arena, offset, 100), 7, 100);
	assert_int_equal(lh_region_at(scene->arena, first + 128, 100, "one", &again), 0);
	assert_int_equal(again, offset);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 100, "one", &again), 0);
	assert_int_equal(again, offset);
	assert_int_equal(*(char *)lh_arena_range(scene->arena, offset, 1), 7);
}

static void a_different_region_there_is_eexist(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	const struct lh_mutex_options mutex_options = { .name = "one" };
	uint64_t offset, same = 7;
	lh_mutex mutex;

	assert_int_equal(lh_region_at(scene->arena, first, 100, "one", &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, first, 100, "two", &same), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first, 100, NULL, &same), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first, 101, "one", &same), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first, 64, "one", &same), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 101, "one", &same), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first + 4096, 100, "one", &same), -EEXIST);
	assert_int_equal(lh_mutex_at(scene->arena, first, &mutex_options, &mutex), -EEXIST);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &mutex_options, &mutex), -EEXIST);
	assert_int_equal(same, 7);
	assert_non_null(strstr(lh_error_detail(), "one"));
}

static void an_overlap_is_eexist_and_neighbours_are_not(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, first + 256, 128, NULL, &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, first + 192, 65, NULL, &offset), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first + 320, 64, NULL, &offset), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first, 4096, NULL, &offset), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first + 256, 64, NULL, &offset), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, first + 192, 64, NULL, &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, first + 384, 1, NULL, &offset), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "without a name each call makes a new one"
static void nameless_regions_anywhere_are_each_a_new_one(void **state)
{
	const struct scene *scene = *state;
	uint64_t offsets[20];

	for (int i = 0; i < 20; i++) {
		assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 100, NULL, &offsets[i]),
				 0);
		for (int j = 0; j < i; j++)
			assert_true(offsets[i] + 100 <= offsets[j] ||
				    offsets[j] + 100 <= offsets[i]);
	}
}

static void a_new_region_is_zeroed_though_its_bytes_were_used(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	unsigned char *bytes;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, first, 1000, NULL, &offset), 0);
	memset(lh_arena_range(scene->arena, first, 1000), 0xff, 1000);
	assert_int_equal(lh_remove(scene->arena, first), 0);
	assert_int_equal(lh_region_at(scene->arena, first, 900, "again", &offset), 0);
	bytes = lh_arena_range(scene->arena, first, 900);
	for (int i = 0; i < 900; i++)
		assert_int_equal(bytes[i], 0);
}

static void a_full_arena_is_enospc(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, (1 << 20) + 1, NULL, &offset),
			 -ENOSPC);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, SIZE_MAX, NULL, &offset), -ENOSPC);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, SIZE_MAX - 63, NULL, &offset),
			 -ENOSPC);
	assert_int_equal(lh_region_at(scene->arena, first + 64, 64, NULL, &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, (1 << 20) - 64, NULL, &offset),
			 -ENOSPC);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, (1 << 20) - 128, NULL, &offset),
			 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &offset), 0);
	assert_int_equal(offset, first);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 1, NULL, &offset), -ENOSPC);
}

static void a_full_directory_is_enospc_until_something_is_removed(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	uint64_t offset, count = 0;
	int error;

	do {
		error = lh_region_at(scene->arena, first + count * 64, 64, NULL, &offset);
		count += error == 0;
	} while (!error);
	assert_int_equal(error, -ENOSPC);
	assert_true(count >= 128 && count < (1 << 20) / 64);
	assert_int_equal(lh_remove(scene->arena, first + 320), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "last", &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &offset), -ENOSPC);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void what_is_not_there_is_enoent(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset = 7;

	assert_int_equal(lh_find(scene->arena, "absent", &offset), -ENOENT);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &offset), 0);
	offset = 7;
	assert_int_equal(lh_find(scene->arena, "absent", &offset), -ENOENT);
	assert_int_equal(offset, 7);
}

static void find_finds_every_kind(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .name = "mutex", .count = 3 };
	uint64_t region, found;
	lh_mutex mutex;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "region", &region), 0);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &mutex), 0);
	assert_int_equal(lh_find(scene->arena, "mutex", &found), 0);
	assert_int_equal(found, lh_mutex_offset(&mutex));
	assert_int_equal(lh_find(scene->arena, "region", &found), 0);
	assert_int_equal(found, region);
}

// "A read-only arena attaches to what is there and never creates."
static void a_read_only_opener_attaches_and_creates_nothing(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .name = "mutex" };
	lh_arena *reader = NULL;
	lh_lease *lease = NULL;
	lh_mutex mutex, same;
	uint64_t offset, found;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "region", &offset), 0);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &mutex), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	assert_int_equal(lh_region_at(reader, LH_ANYWHERE, 64, "region", &found), 0);
	assert_int_equal(found, offset);
	assert_int_equal(lh_mutex_at(reader, LH_ANYWHERE, &options, &same), 0);
	assert_int_equal(lh_mutex_offset(&same), lh_mutex_offset(&mutex));
	assert_int_equal(lh_region_at(reader, LH_ANYWHERE, 64, "other", &found), -EROFS);
	assert_int_equal(lh_region_at(reader, LH_ANYWHERE, 64, NULL, &found), -EROFS);
	assert_int_equal(lh_region_at(reader, LH_ANYWHERE, 65, "region", &found), -EEXIST);
	assert_int_equal(lh_mutex_at(reader, LH_ANYWHERE, NULL, &same), -EROFS);
	assert_int_equal(lh_remove(reader, offset), -EROFS);
	assert_int_equal(lh_lease_acquire(reader, NULL, &lease), -EROFS);
	assert_int_equal(lh_thread_lease(reader, &lease), -EROFS);
	assert_null(lease);
	assert_int_equal(lh_arena_close(reader), 0);
}

static int write_through(void *context)
{
	const struct scene *scene = context;
	lh_arena *reader = NULL;
	uint64_t offset;

	need(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader) == 0);
	need(lh_find(reader, "region", &offset) == 0);
	alarm(0);
	signal(SIGSEGV, SIG_DFL);
	*(volatile char *)lh_arena_range(reader, offset, 1) = 1;
	return 0;
}

// "In a read-only arena writing through the pointer is a fault."
static void writing_through_a_read_only_arena_is_a_fault(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "region", &offset), 0);
	const int status = scene_child(write_through, *state);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	assert_int_equal(*(char *)lh_arena_range(scene->arena, offset, 1), 0);
}

// ---- lh_remove -----------------------------------------------------------------------------------

static void removing_what_is_not_there_is_enoent(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	uint64_t offset;

	assert_int_equal(lh_remove(NULL, first), -EINVAL);
	assert_int_equal(lh_remove(scene->arena, first), -ENOENT);
	assert_int_equal(lh_region_at(scene->arena, first, 128, "region", &offset), 0);
	assert_int_equal(lh_remove(scene->arena, first + 64), -ENOENT);
	assert_int_equal(lh_remove(scene->arena, 0), -ENOENT);
	assert_int_equal(lh_remove(scene->arena, UINT64_MAX), -ENOENT);
	assert_int_equal(lh_remove(scene->arena, first), 0);
	assert_int_equal(lh_remove(scene->arena, first), -ENOENT);
	assert_int_equal(lh_find(scene->arena, "region", &offset), -ENOENT);
}

static void removing_what_is_held_is_busy(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .count = 3 };
	lh_lease *lease = scene_lease(scene->arena);
	lh_mutex array, last;
	uint64_t region;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &array), 0);
	assert_int_equal(lh_mutex_element(&array, 2, &last), 0);
	scene_lock(&last, lease);
	assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&array)), -EBUSY);
	assert_true(lh_mutex_held(&last, lease));
	assert_int_equal(lh_mutex_unlock(&last, lease), 0);
	assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&array)), 0);
	assert_int_equal(lh_region_acquire(lease, 64, &region), 0);
	assert_int_equal(lh_remove(scene->arena, region), -EBUSY);
	assert_int_equal(lh_region_release(lease, region), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void removing_while_another_process_has_it_open_is_busy(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "region", &offset), 0);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);

	assert_int_equal(lh_remove(scene->arena, offset), -EBUSY);
	worker_kill(worker);
	assert_int_equal(lh_remove(scene->arena, offset), 0);
}

static int read_only_worker(struct worker_stage *stage, uint64_t name)
{
	lh_arena *reader = NULL;
	int error = lh_lease_release(stage->lease);

	stage->lease = NULL;
	if (!error)
		error = lh_arena_close(stage->arena);
	return error ? error : lh_arena_open((const char *)name, LH_READ_ONLY, NULL, &reader);
}

// A read-only opener may be reading it.
static void removing_while_another_process_reads_it_is_busy(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "region", &offset), 0);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);

	assert_int_equal(worker_do(worker, read_only_worker, (uintptr_t)scene->name), 0);
	assert_int_equal(lh_remove(scene->arena, offset), -EBUSY);
	worker_kill(worker);
	assert_int_equal(lh_remove(scene->arena, offset), 0);
}

int main(void)
{
	memset(longest_name, 'n', sizeof(longest_name) - 1);
	memset(too_long_name, 'n', sizeof(too_long_name) - 1);
	const struct CMUnitTest tests[] = {
		SCENE_TEST(bad_places_are_invalid),
		SCENE_TEST(bad_names_are_invalid),
		SCENE_TEST(the_longest_name_is_found_and_differs_from_its_prefix),
		SCENE_TEST(an_equal_region_is_attached_to_and_keeps_its_bytes),
		SCENE_TEST(a_different_region_there_is_eexist),
		SCENE_TEST(an_overlap_is_eexist_and_neighbours_are_not),
		SCENE_TEST(nameless_regions_anywhere_are_each_a_new_one),
		SCENE_TEST(a_new_region_is_zeroed_though_its_bytes_were_used),
		SCENE_TEST(a_full_arena_is_enospc),
		SCENE_TEST(a_full_directory_is_enospc_until_something_is_removed),
		SCENE_TEST(what_is_not_there_is_enoent),
		SCENE_TEST(find_finds_every_kind),
		SCENE_TEST(a_read_only_opener_attaches_and_creates_nothing),
		SCENE_TEST(writing_through_a_read_only_arena_is_a_fault),
		SCENE_TEST(removing_what_is_not_there_is_enoent),
		SCENE_TEST(removing_what_is_held_is_busy),
		SCENE_TEST(removing_while_another_process_has_it_open_is_busy),
		SCENE_TEST(removing_while_another_process_reads_it_is_busy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
