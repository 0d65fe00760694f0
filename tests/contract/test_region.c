// SPDX-License-Identifier: Apache-2.0
//
// Leased memory: each error that lease.h lists for it, and G2 for it.
//
//	lh_region_acquire  -ENOSPC                   leased_memory_beyond_…, a_full_directory_…
//	                   -ENOLCK                   test_mutex.c, a_lease_holds_exactly_max_holds
//	                   -ESTALE, -EINVAL          a_lost_lease_…, a_region_of_nothing_…
//	                   -EPERM                    test_lease.c
//	                   -EBADMSG                  test_arena_damage.c
//	lh_region_release  -EPERM, -ESTALE, -EINVAL  what_is_not_held_…, a_lost_lease_…, test_lease.c
//	                   -EBADMSG                  test_arena_damage.c
#include "tests/support/scene.h"
#include "tests/support/worker.h"

static int count_regions(const struct scene *scene, uint64_t lease)
{
	struct lh_placement_info place;
	uint64_t cursor = 0;
	int count = 0;

	while (lh_next_placement(scene->arena, &cursor, &place) == 0)
		count += place.kind == LH_KIND_REGION && place.lease == lease;
	return count;
}

static bool is_zero(const struct scene *scene, uint64_t offset, size_t size)
{
	const unsigned char *bytes = lh_arena_range(scene->arena, offset, size);

	for (size_t i = 0; i < size; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static void leased_memory_is_zeroed_separate_and_given_back(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t offsets[5], used;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++) {
			assert_int_equal(lh_region_acquire(lease, 1000, &offsets[i]), 0);
			assert_int_equal(offsets[i] % 64, 0);
			assert_true(is_zero(scene, offsets[i], 1024));
			memset(lh_arena_range(scene->arena, offsets[i], 1000), 0xee, 1000);
		}
		assert_int_equal(count_regions(scene, lh_lease_id(lease)), 5);
		used = offsets[0];
		for (int i = 0; i < 5; i++)
			assert_int_equal(lh_region_release(lease, offsets[i]), 0);
		assert_int_equal(count_regions(scene, lh_lease_id(lease)), 0);
	}
	assert_int_equal(lh_region_acquire(lease, 64, &offsets[0]), 0);
	assert_int_equal(offsets[0], used); // the same memory again, not more of it
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_region_of_nothing_or_for_nobody_is_invalid(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t offset = 7;

	assert_int_equal(lh_region_acquire(lease, 0, &offset), -EINVAL);
	assert_int_equal(lh_region_acquire(lease, 64, NULL), -EINVAL);
	assert_int_equal(lh_region_acquire(NULL, 64, &offset), -EINVAL);
	assert_int_equal(offset, 7);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void leased_memory_beyond_the_arena_is_enospc(void **state)
{
	const struct scene *scene = *state;
	const size_t sizes[] = { (1 << 20) + 1, SIZE_MAX, SIZE_MAX - 63, SIZE_MAX / 2 };
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_lease_info info;
	uint64_t offset = 7;

	for (int i = 0; i < 4; i++)
		assert_int_equal(lh_region_acquire(lease, sizes[i], &offset), -ENOSPC);
	assert_int_equal(offset, 7);
	assert_int_equal(lh_region_acquire(lease, 1 << 20, &offset), 0);
	assert_int_equal(lh_region_acquire(lease, 1, &offset), -ENOSPC);
	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	assert_int_equal(info.holds, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_full_directory_is_enospc(void **state)
{
	const struct lh_arena_options options = { .size = 65536, .max_holds = 1024 };
	lh_arena *arena = scene_open(*state, &options);
	lh_lease *lease = scene_lease(arena);
	uint64_t offset;
	int count = 0, error;

	while ((error = lh_region_acquire(lease, 64, &offset)) == 0)
		count++;
	assert_int_equal(error, -ENOSPC);
	assert_true(count >= 128 && count < 1024);
	assert_int_equal(lh_region_release(lease, offset), 0);
	assert_int_equal(lh_region_acquire(lease, 64, &offset), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_check(arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void what_is_not_held_is_eperm(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	uint64_t placed, offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "placed", &placed), 0);
	assert_int_equal(lh_region_acquire(lease, 128, &offset), 0);
	const uint64_t bad[] = { placed,
				 offset + 64,
				 offset + 1,
				 0,
				 64,
				 UINT64_MAX,
				 lh_arena_end_offset(scene->arena) };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(lh_region_release(lease, bad[i]), -EPERM);
	assert_int_equal(lh_region_release(other, offset), -EPERM);
	assert_int_equal(lh_region_release(lease, offset), 0);
	assert_int_equal(lh_region_release(lease, offset), -EPERM);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// Leased memory is nobody's to place on or to remove.
static void leased_memory_is_not_placed_on(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t offset, other;
	lh_mutex mutex;

	assert_int_equal(lh_region_acquire(lease, 100, &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, offset, 100, NULL, &other), -EEXIST);
	assert_int_equal(lh_mutex_at(scene->arena, offset + 64, NULL, &mutex), -EEXIST);
	assert_int_equal(lh_remove(scene->arena, offset), -EBUSY);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_region_at(scene->arena, offset, 100, NULL, &other), 0);
}

// G2
static void the_memory_of_the_dead_is_given_back(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 20; round++) {
		struct worker *worker = worker_start(round % 2 ? WORKER_THREAD : WORKER_PROCESS,
						     scene->arena, NULL);
		lh_lease *lease;
		uint64_t offset;

		// All there is: the next round needs it back.
		assert_int_equal(worker_do(worker, worker_region, 1 << 20), 0);
		assert_int_equal(count_regions(scene, worker_lease(worker)), 1);
		worker_kill(worker);
		lease = scene_lease(scene->arena);
		assert_int_equal(lh_region_acquire(lease, 1 << 20, &offset), 0);
		assert_int_equal(lh_lease_release(lease), 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_REGION_RETURNED, 0), 20);
}

// G2: at an offset of one's own, too
static void the_memory_of_the_dead_is_placed_on(void **state)
{
	const struct scene *scene = *state;
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	uint64_t offset, placed;

	assert_int_equal(worker_do(worker, worker_region, 1 << 20), 0);
	offset = worker_value(worker);
	assert_int_equal(lh_region_at(scene->arena, offset, 64, NULL, &placed), -EEXIST);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &placed), -ENOSPC);
	worker_kill(worker);
	assert_int_equal(lh_region_at(scene->arena, offset, 64, NULL, &placed), 0);
	worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	assert_int_equal(worker_do(worker, worker_region, (1 << 20) - 64), 0);
	worker_kill(worker);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &placed), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "after an expiry only at lh_lease_release or the owner's end": its late stores must go there
static void the_memory_of_an_expired_lease_stays_until_its_release(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease_for(scene->arena, LH_SEC(1000));
	lh_lease *taker = scene_lease(scene->arena);
	uint64_t offset, other;

	assert_int_equal(lh_region_acquire(lease, 1 << 19, &offset), 0);
	scene_let_expire(lease);
	assert_int_equal(lh_region_acquire(lease, 64, &other), -ESTALE);
	assert_int_equal(lh_region_release(lease, offset), -ESTALE);
	assert_int_equal(lh_region_acquire(taker, 1 << 20, &other), -ENOSPC);
	assert_int_equal(count_regions(scene, lh_lease_id(lease)), 1);
	memset(lh_arena_range(scene->arena, offset, 1 << 19), 0xaa, 1 << 19);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
	assert_int_equal(lh_region_acquire(taker, 1 << 20, &other), 0);
	assert_true(is_zero(scene, other, 1 << 20));
	assert_int_equal(lh_lease_release(taker), 0);
}

static void the_memory_of_an_expired_lease_stays_until_its_owners_end(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, &timed);
	lh_lease *taker = scene_lease(scene->arena);
	uint64_t other;

	assert_int_equal(worker_do(worker, worker_region, 1 << 19), 0);
	worker_shorten(worker);
	scene_await_state(scene->arena, worker_lease(worker), LH_LEASE_EXPIRED);
	assert_int_equal(lh_region_acquire(taker, 1 << 20, &other), -ENOSPC);
	worker_kill(worker);
	assert_int_equal(lh_region_acquire(taker, 1 << 20, &other), 0);
	assert_int_equal(lh_lease_release(taker), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(leased_memory_is_zeroed_separate_and_given_back),
		SCENE_TEST(a_region_of_nothing_or_for_nobody_is_invalid),
		SCENE_TEST(leased_memory_beyond_the_arena_is_enospc),
		SCENE_TEST_CLOSED(a_full_directory_is_enospc),
		SCENE_TEST(what_is_not_held_is_eperm),
		SCENE_TEST(leased_memory_is_not_placed_on),
		SCENE_TEST(the_memory_of_the_dead_is_given_back),
		SCENE_TEST(the_memory_of_the_dead_is_placed_on),
		SCENE_TEST(the_memory_of_an_expired_lease_stays_until_its_release),
		SCENE_TEST(the_memory_of_an_expired_lease_stays_until_its_owners_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
