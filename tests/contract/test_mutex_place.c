// SPDX-License-Identifier: Apache-2.0
//
// Placing mutexes and arrays of them, their data and handles.
//
//	lh_mutex_footprint  0 for what is invalid              footprints_…
//	lh_mutex_at         -EINVAL                            bad_options_…, bad_places_…
//	                    -EEXIST                            another_mutex_there_…
//	                    -ENOSPC                            a_mutex_larger_than_…
//	                    -EROFS                             test_placement.c
//	                    -EBADMSG                           test_arena_damage.c
//	lh_mutex_element    -EINVAL                            elements_…; all-zero: test_mutex.c
//	lh_mutex_offset, _data                                 elements_…, data_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

static void footprints_are_a_header_and_rounded_data_for_each_element(void **state)
{
	const struct {
		size_t data_size;
		uint32_t count;
		size_t expected;
	} cases[] = { { 0, 0, 64 },    { 1, 0, 128 },       { 64, 0, 128 },
		      { 65, 0, 192 },  { 0, 1, 64 },        { 0, 10, 640 },
		      { 100, 3, 576 }, { 8, 1000, 128000 }, { 1 << 20, 0, (1 << 20) + 64 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct lh_mutex_options options = { .data_size = cases[i].data_size,
							  .count = cases[i].count };

		assert_int_equal(lh_mutex_footprint(&options), cases[i].expected);
	}
	assert_int_equal(lh_mutex_footprint(NULL), 64);
}

static const size_t huge[] = { SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 64, SIZE_MAX - 128,
			       SIZE_MAX / 2 };

static void bad_options_have_no_footprint_and_are_invalid(void **state)
{
	const struct scene *scene = *state;
	const char too_long[] = "123456789012345678901234567890123456789012345678";
	struct lh_mutex_options bad[24] = { { .count = 0 } };
	lh_mutex mutex = { { 7 } };
	size_t count = 0;

	for (size_t i = 0; i < 4; i++)
		bad[count++].reserved[i] = 1;
	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		bad[count++].data_size = huge[i];
		bad[count++] = (struct lh_mutex_options){ .data_size = huge[i],
							  .count = UINT32_MAX };
	}
	bad[count++].flags = 2;
	bad[count++].flags = 1u << 31;
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(lh_mutex_footprint(&bad[i]), 0);
		assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &bad[i], &mutex), -EINVAL);
	}
	bad[0] = (struct lh_mutex_options){ .name = "" };
	bad[1] = (struct lh_mutex_options){ .name = too_long };
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(lh_mutex_footprint(&bad[i]), 0);
		assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &bad[i], &mutex), -EINVAL);
	}
	assert_int_equal(lh_mutex_at(NULL, LH_ANYWHERE, NULL, &mutex), -EINVAL);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, NULL, NULL), -EINVAL);
	assert_int_equal(mutex.private_[0], 7);
}

static void bad_places_are_invalid(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	const uint64_t end = lh_arena_end_offset(scene->arena);
	const uint64_t bad[] = { 0,   64,      first - 64,     first + 1,      first + 63,
				 end, end - 1, UINT64_MAX - 1, UINT64_MAX - 63 };
	const struct lh_mutex_options two = { .count = 2 };
	lh_mutex mutex = { { 7 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(lh_mutex_at(scene->arena, bad[i], NULL, &mutex), -EINVAL);
	assert_int_equal(lh_mutex_at(scene->arena, end - 64, &two, &mutex), -EINVAL);
	assert_int_equal(mutex.private_[0], 7);
	assert_int_equal(lh_mutex_at(scene->arena, end - 64, NULL, &mutex), 0);
}

static void a_mutex_larger_than_the_arena_is_enospc(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options large = { .data_size = 1 << 20 };
	const struct lh_mutex_options many = { .count = (1 << 20) / 64 + 1 };
	const struct lh_mutex_options most = { .count = INT32_MAX };
	lh_mutex mutex = { { 7 } };

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &large, &mutex), -ENOSPC);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &many, &mutex), -ENOSPC);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &most, &mutex), -ENOSPC);
	assert_int_equal(mutex.private_[0], 7);
}

static void an_equal_mutex_is_attached_to(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .name = "m", .data_size = 100, .count = 3 };
	lh_lease *lease = scene_lease(scene->arena);
	lh_mutex mutex, again, anywhere;

	assert_int_equal(lh_mutex_at(scene->arena, lh_arena_first_offset(scene->arena) + 640,
				     &options, &mutex),
			 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_mutex_at(scene->arena, lh_mutex_offset(&mutex), &options, &again), 0);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &anywhere), 0);
	assert_true(lh_mutex_held(&again, lease));
	assert_true(lh_mutex_held(&anywhere, lease));
	assert_int_equal(lh_mutex_unlock(&again, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// "a single mutex is an array of one": whichever of the two was there first
static void a_single_mutex_and_an_array_of_one_attach_to_each_other(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options one = { .count = 1 };
	lh_mutex single, array, again;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, NULL, &single), 0);
	assert_int_equal(lh_mutex_at(scene->arena, lh_mutex_offset(&single), &one, &again), 0);
	assert_int_equal(lh_mutex_at(scene->arena, lh_mutex_offset(&single) + 64, &one, &array), 0);
	assert_int_equal(lh_mutex_at(scene->arena, lh_mutex_offset(&array), NULL, &again), 0);
	assert_int_equal(lh_mutex_element(&again, 0, &single), 0);
	assert_int_equal(lh_mutex_element(&again, 1, &single), -EINVAL);
}

// "same name, data_size, count and flags"
static void another_mutex_there_is_eexist(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .name = "m", .data_size = 100, .count = 3 };
	struct lh_mutex_options other[6];
	lh_mutex mutex, none = { { 7 } };
	uint64_t offset;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &mutex), 0);
	for (int i = 0; i < 6; i++)
		other[i] = options;
	other[0].name = "n";
	other[1].name = NULL;
	other[2].data_size = 101; // of the same footprint
	other[3].count = 2;
	other[4].count = 4;
	other[5].flags = LH_NO_REPAIR;
	for (int i = 0; i < 6; i++) {
		assert_int_equal(
			lh_mutex_at(scene->arena, lh_mutex_offset(&mutex), &other[i], &none),
			-EEXIST);
		if (i >= 2)
			assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &other[i], &none),
					 -EEXIST);
	}
	assert_int_equal(lh_mutex_at(scene->arena, lh_mutex_offset(&mutex) + 64, NULL, &none),
			 -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, lh_mutex_offset(&mutex), 576, "m", &offset),
			 -EEXIST);
	assert_int_equal(none.private_[0], 7);
}

// "0 resolved to its default": an array of one is a single mutex
static void elements_are_as_many_as_were_placed(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .count = 5, .data_size = 100 };
	lh_lease *leases[5];
	lh_mutex array, element, same;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &array), 0);
	for (uint32_t i = 0; i < 5; i++) {
		leases[i] = scene_lease(scene->arena);
		assert_int_equal(lh_mutex_element(&array, i, &element), 0);
		assert_int_equal(lh_mutex_offset(&element),
				 lh_mutex_offset(&array) + UINT64_C(192) * i);
		assert_ptr_equal(lh_mutex_data(&element),
				 (char *)lh_mutex_data(&array) + UINT64_C(192) * i);
		assert_int_equal(scene_lock(&element, leases[i]).token, 1);
		// "whichever of its elements that is"
		assert_int_equal(lh_mutex_element(&element, 4 - i, &same), 0);
		assert_int_equal(lh_mutex_offset(&same),
				 lh_mutex_offset(&array) + UINT64_C(192) * (4 - i));
		assert_int_equal(lh_mutex_element(&element, 5, &same), -EINVAL);
		assert_int_equal(lh_mutex_element(&element, UINT32_MAX, &same), -EINVAL);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
	array = scene_mutex(scene->arena);
	assert_int_equal(lh_mutex_element(&array, 0, &same), 0);
	assert_int_equal(lh_mutex_offset(&same), lh_mutex_offset(&array));
	assert_int_equal(lh_mutex_element(&array, 1, &same), -EINVAL);
}

// "zeroed when created, 64-byte aligned, beside its word"
static void data_is_zeroed_aligned_and_each_elements_own(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .count = 9, .data_size = 130, .name = "data" };
	lh_lease *lease = scene_lease(scene->arena);
	lh_mutex array, element;

	for (int round = 0; round < 2; round++) { // the second on bytes that were used
		assert_int_equal(lh_mutex_at(scene->arena, lh_arena_first_offset(scene->arena),
					     &options, &array),
				 0);
		for (uint32_t i = 0; i < 9; i++) {
			unsigned char *data;

			assert_int_equal(lh_mutex_element(&array, i, &element), 0);
			data = lh_mutex_data(&element);
			assert_non_null(data);
			assert_int_equal((uintptr_t)data % 64, 0);
			for (int j = 0; j < 130; j++)
				assert_int_equal(data[j], 0);
			memset(data, (int)(0xf0 + i), 130);
		}
		for (uint32_t i = 0; i < 9; i++) {
			assert_int_equal(lh_mutex_element(&array, i, &element), 0);
			assert_int_equal(*(unsigned char *)lh_mutex_data(&element), 0xf0 + i);
			scene_lock(&element, lease);
			assert_int_equal(lh_mutex_unlock(&element, lease), 0);
		}
		assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&array)), 0);
	}
	array = scene_mutex(scene->arena);
	assert_null(lh_mutex_data(&array));
	assert_int_equal(lh_lease_release(lease), 0);
}

// "immutable once made, shareable between threads": a copy is as good.
static void a_copy_of_a_handle_is_as_good(void **state)
{
	const struct scene *scene = *state;
	lh_mutex mutex = scene_mutex(scene->arena);
	const lh_mutex before = mutex;
	lh_lease *lease = scene_lease(scene->arena);

	scene_lock(&mutex, lease);
	assert_memory_equal(&mutex, &before, sizeof(mutex));
	assert_int_equal(lh_mutex_unlock(&before, lease), 0);
	assert_memory_equal(&mutex, &before, sizeof(mutex));
	assert_int_equal(lh_lease_release(lease), 0);
}

static int place_all(struct worker_stage *stage, uint64_t count)
{
	const uint64_t first = lh_arena_first_offset(stage->arena);

	for (uint64_t i = 0; i < count; i++) {
		char name[48];
		const struct lh_mutex_options options = { .name = name, .data_size = 40 };
		lh_mutex mutex;
		int error;

		snprintf(name, sizeof(name), "mutex-%d", (int)i);
		error = lh_mutex_at(stage->arena, i % 2 ? LH_ANYWHERE : first + 65536 + 128 * i,
				    &options, &mutex);
		if (error)
			return error;
		if (*(uint64_t *)lh_mutex_data(&mutex) > 8)
			return -EBADMSG;
	}
	return 0;
}

// "cooperating processes all run the same line": at the same time, one creates, the others attach.
static void many_processes_place_the_same_at_once(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[4];
	struct lh_placement_info place;
	uint64_t cursor = 0;
	int count = 0;

	for (int i = 0; i < 4; i++)
		workers[i] = worker_start(i < 2 ? WORKER_PROCESS : WORKER_THREAD, scene->arena,
					  NULL);
	for (int i = 0; i < 4; i++)
		worker_tell(workers[i], place_all, 60);
	for (int i = 0; i < 4; i++)
		assert_int_equal(worker_hear(workers[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(worker_end(workers[i]), 0);
	while (lh_next_placement(scene->arena, &cursor, &place) == 0) {
		assert_int_equal(place.kind, LH_KIND_MUTEX);
		assert_int_equal(place.state, 0);
		count++;
	}
	assert_int_equal(count, 60);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST_CLOSED(footprints_are_a_header_and_rounded_data_for_each_element),
		SCENE_TEST(bad_options_have_no_footprint_and_are_invalid),
		SCENE_TEST(bad_places_are_invalid),
		SCENE_TEST(a_mutex_larger_than_the_arena_is_enospc),
		SCENE_TEST(an_equal_mutex_is_attached_to),
		SCENE_TEST(a_single_mutex_and_an_array_of_one_attach_to_each_other),
		SCENE_TEST(another_mutex_there_is_eexist),
		SCENE_TEST(elements_are_as_many_as_were_placed),
		SCENE_TEST(data_is_zeroed_aligned_and_each_elements_own),
		SCENE_TEST(a_copy_of_a_handle_is_as_good),
		SCENE_TEST(many_processes_place_the_same_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
