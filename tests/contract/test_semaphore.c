// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Semaphores: each error that semaphore.h lists, and what it promises.
//
//	lh_semaphore_footprint, _at  -EINVAL, -EEXIST        placements_…; the rest: test_places.c
//	lh_semaphore_acquire  -EBUSY, -ETIMEDOUT             what_is_not_free_…
//	                      -ECANCELED, -EINTR             test_semaphore_waits.c
//	                      -ESTALE                        test_semaphore_waits.c
//	                      -ENOLCK                        a_semaphore_is_one_hold_…
//	                      -EOVERFLOW                     a_baton_whose_tokens_are_used_up_…
//	                      -EPERM, -EINVAL                another_threads_lease_…, bad_arguments_…
//	                      -EBADMSG                       damaged_words_…
//	lh_semaphore_release  -EPERM, -ESTALE, -EINVAL       releasing_more_…, a_lost_lease_…, bad_…
//	lh_semaphore_slots, _available, _resize              slots_…, a_resize_…, bad_arguments_…
#include "tests/contract/semaphore.h"

#include "src/word.h"

// ---- placing -------------------------------------------------------------------------------------

static void placements_of_equal_permits_and_name_are_the_same_semaphore(void **state)
{
	const struct scene *scene = *state;
	const struct lh_semaphore_options five = { .permits = 5, .name = "pool" };
	const struct lh_semaphore_options six = { .permits = 6, .name = "pool" };
	struct lh_semaphore_options bad[] = { { .permits = 0 },
					      { .permits = 65536 },
					      { .permits = UINT32_MAX },
					      { .permits = 1, .reserved = { 0, 0, 0, 1 } },
					      { .permits = 1, .reserved = { 1 } } };
	struct lh_placement_info info;
	lh_semaphore again;
	uint64_t cursor = 0;

	assert_int_equal(lh_semaphore_footprint(&five), 192);
	assert_int_equal(lh_semaphore_footprint(&(struct lh_semaphore_options){ .permits = 9 }),
			 256);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(lh_semaphore_footprint(&bad[i]), 0);
		assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &bad[i], &again),
				 -EINVAL);
	}
	assert_int_equal(lh_semaphore_footprint(NULL), 0);
	is_invalid(lh_semaphore_at(scene->arena, LH_ANYWHERE, NULL, &again));
	is_invalid(lh_semaphore_at(NULL, LH_ANYWHERE, &five, &again));
	is_invalid(lh_semaphore_at(scene->arena, LH_ANYWHERE, &five, NULL));
	is_invalid(lh_semaphore_at(scene->arena, 1, &five, &again));
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &five, &semaphore), 0);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &six, &again), -EEXIST);
	// "a later resize changes nothing here"
	assert_int_equal(lh_semaphore_resize(&semaphore, 2), 0);
	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &five, &again), 0);
	assert_int_equal(lh_semaphore_offset(&again), lh_semaphore_offset(&semaphore));
	assert_int_equal(lh_semaphore_available(&again), 2);
	assert_int_equal(lh_next_placement(scene->arena, &cursor, &info), 0);
	assert_int_equal(info.kind, LH_KIND_SEMAPHORE);
	assert_int_equal(info.count, 5);
	assert_int_equal(info.offset, lh_semaphore_offset(&semaphore));
	assert_int_equal(lh_remove(scene->arena, info.offset), 0);
}

static void the_largest_semaphore_has_65535_permits(void **state)
{
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &(struct lh_arena_options){ .size = 1 << 20 });
	lh_lease *lease = scene_lease(arena);

	place(arena, 65535);
	assert_int_equal(take(lease, 65535), 0);
	assert_int_equal(take(lease, 1), -EBUSY);
	assert_available(0);
	assert_int_equal(give(lease, 65534), 0);
	assert_int_equal(held(lease), 1);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_all_free(scene, 65535);
}

static void a_held_semaphore_is_not_removed(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	place(scene->arena, 2);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(lh_remove(scene->arena, lh_semaphore_offset(&semaphore)), -EBUSY);
	assert_int_equal(give(lease, 1), 0);
	assert_int_equal(lh_remove(scene->arena, lh_semaphore_offset(&semaphore)), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// ---- what is there -------------------------------------------------------------------------------

static void acquires_of_one_lease_add_up(void **state)
{
	const struct scene *scene = *state;
	lh_lease *one = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	struct lh_hold_info hold;
	uint64_t cursor = 0;

	place(scene->arena, 5);
	assert_int_equal(take(one, 0), 0); // "0 permits: 0 at once"
	assert_int_equal(held(one), 0);
	assert_int_equal(take(one, 1), 0);
	assert_int_equal(take(one, 2), 0);
	assert_int_equal(take(one, 1), 0);
	assert_int_equal(held(one), 4);
	assert_available(1);
	assert_int_equal(take(other, 2), -EBUSY);
	assert_int_equal(held(other), 0);
	assert_int_equal(take(other, 1), 0);
	assert_available(0);
	assert_int_equal(lh_next_hold(scene->arena, &cursor, &hold), 0);
	assert_int_equal(hold.lease, lh_lease_id(one));
	assert_int_equal(hold.kind, LH_KIND_SEMAPHORE);
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(hold.count, 4);
	assert_int_equal(hold.offset, lh_semaphore_offset(&semaphore));
	assert_int_equal(give(one, 3), 0);
	assert_int_equal(held(one), 1);
	assert_int_equal(give(one, 0), 0);
	assert_int_equal(give(one, 1), 0);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0); // gives its permit back
	assert_all_free(scene, 5);
}

static void slots_are_the_numbers_of_the_permits_held(void **state)
{
	const struct scene *scene = *state;
	lh_lease *leases[3];
	uint32_t slots[8], seen = 0;

	place(scene->arena, 6);
	for (int i = 0; i < 3; i++) {
		leases[i] = scene_lease(scene->arena);
		assert_int_equal(take(leases[i], 2), 0);
		slots[1] = slots[2] = 77;
		assert_int_equal(lh_semaphore_slots(&semaphore, leases[i], slots, 1), 2);
		assert_int_equal(slots[1], 77);
		assert_int_equal(lh_semaphore_slots(&semaphore, leases[i], slots, 8), 2);
		assert_int_equal(slots[2], 77);
		assert_true(slots[0] < slots[1] && slots[1] < 6);
		assert_false(seen & (1u << slots[0] | 1u << slots[1]));
		seen |= 1u << slots[0] | 1u << slots[1];
	}
	assert_int_equal(seen, 63);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
	assert_all_free(scene, 6);
}

// "-EPERM and nothing released if it holds fewer"
static void releasing_more_than_held_releases_none(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;

	place(scene->arena, 4);
	for (int round = 0; round < 2; round++) {
		lh_lease *lease = scene_lease_with(scene->arena, round ? &timed : NULL);
		lh_lease *other = scene_lease(scene->arena);

		assert_int_equal(give(lease, 1), -EPERM);
		assert_int_equal(take(lease, 2), 0);
		assert_int_equal(take(other, 1), 0);
		assert_int_equal(give(lease, 3), -EPERM);
		assert_int_equal(give(lease, UINT32_MAX), -EPERM);
		assert_int_equal(held(lease), 2);
		assert_int_equal(held(other), 1);
		assert_available(1);
		assert_int_equal(give(lease, 1), 0);
		assert_int_equal(give(lease, 2), -EPERM);
		assert_int_equal(give(lease, 1), 0);
		assert_int_equal(give(lease, 1), -EPERM);
		assert_int_equal(lh_lease_release(lease), 0);
		assert_int_equal(lh_lease_release(other), 0);
	}
	assert_all_free(scene, 4);
}

// G10
static void what_is_not_free_is_busy_or_times_out_and_nothing_is_held(void **state)
{
	const struct scene *scene = *state;
	lh_lease *holder = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	struct lh_lease_info info;
	uint64_t begin;

	place(scene->arena, 3);
	assert_int_equal(take(holder, 2), 0);
	assert_int_equal(take(other, 1), 0);
	for (uint32_t wanted = 1; wanted <= 3; wanted++) {
		assert_int_equal(take(other, wanted), -EBUSY);
		assert_int_equal(
			lh_semaphore_acquire(&semaphore, other, wanted, lh_deadline_after(0)),
			-ETIMEDOUT);
		begin = lh_now();
		assert_int_equal(lh_semaphore_acquire(&semaphore, other, wanted,
						      lh_deadline_after(LH_MS(3))),
				 -ETIMEDOUT);
		assert_true(lh_now() >= begin + LH_MS(3));
		assert_int_equal(held(other), 1);
		assert_available(0);
	}
	assert_true(scene_look(scene->arena, lh_lease_id(other), &info));
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(give(holder, 1), 0);
	// "Any other deadline that has passed also tries once."
	assert_int_equal(lh_semaphore_acquire(&semaphore, other, 1, (lh_deadline){ 1 }), 0);
	assert_int_equal(held(other), 2);
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_all_free(scene, 3);
}

// ---- what is refused -----------------------------------------------------------------------------

static int use_anothers(void *lease)
{
	need(lh_semaphore_release(&semaphore, lease, 1) == -EPERM);
	need(lh_semaphore_slots(&semaphore, lease, NULL, 0) == -EPERM);
	return lh_semaphore_acquire(&semaphore, lease, 1, LH_NOW);
}

static void another_threads_lease_is_eperm(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	place(scene->arena, 2);
	assert_int_equal(scene_thread(use_anothers, lease), -EPERM);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(scene_thread(use_anothers, lease), -EPERM);
	assert_int_equal(held(lease), 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void bad_arguments_are_invalid(void **state)
{
	const struct scene *scene = *state;
	const lh_semaphore zero = { { 0 } };
	const lh_semaphore *const bad[] = { &zero, NULL };
	lh_lease *lease = scene_lease(scene->arena);
	lh_arena *other = NULL;
	char name[80];

	place(scene->arena, 2);
	for (int i = 0; i < 2; i++) {
		is_invalid(lh_semaphore_acquire(bad[i], lease, 1, LH_NOW));
		is_invalid(lh_semaphore_acquire(bad[i], lease, 0, LH_NOW));
		is_invalid(lh_semaphore_release(bad[i], lease, 1));
		is_invalid(lh_semaphore_slots(bad[i], lease, NULL, 0));
		is_invalid(lh_semaphore_available(bad[i]));
		is_invalid(lh_semaphore_resize(bad[i], 1));
		assert_int_equal(lh_semaphore_offset(bad[i]), 0);
	}
	is_invalid(take(NULL, 1));
	is_invalid(give(NULL, 1));
	is_invalid(held(NULL));
	is_invalid(take(lease, 3));
	is_invalid(take(lease, UINT32_MAX));
	is_invalid(lh_semaphore_slots(&semaphore, lease, NULL, 1));
	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, NULL, &other), 0);
	lh_lease *foreign = scene_lease(other);

	is_invalid(take(foreign, 1));
	is_invalid(give(foreign, 1));
	is_invalid(held(foreign));
	assert_int_equal(lh_lease_release(foreign), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_all_free(scene, 2);
}

static void a_read_only_arena_shows_and_does_not_resize(void **state)
{
	const struct lh_semaphore_options options = { .permits = 3, .name = "pool" };
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_arena *arena = NULL;
	lh_semaphore seen;

	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &options, &semaphore), 0);
	assert_int_equal(take(lease, 2), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena), 0);
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &seen), 0);
	assert_int_equal(lh_semaphore_available(&seen), 1);
	assert_int_equal(lh_semaphore_resize(&seen, 1), -EROFS);
	assert_int_equal(lh_arena_close(arena), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_semaphore_is_one_hold_however_many_permits(void **state)
{
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &(struct lh_arena_options){ .max_holds = 1 });
	lh_lease *lease = scene_lease(arena);
	lh_semaphore first;

	place(arena, 3);
	first = semaphore;
	place(arena, 3);
	assert_int_equal(lh_semaphore_acquire(&first, lease, 1, LH_NOW), 0);
	assert_int_equal(lh_semaphore_acquire(&first, lease, 2, LH_NOW), 0);
	assert_int_equal(take(lease, 1), -ENOLCK);
	assert_int_equal(take(lease, 2), -ENOLCK);
	assert_available(3);
	assert_int_equal(lh_semaphore_release(&first, lease, 3), 0);
	assert_int_equal(take(lease, 2), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G6. A hold that is not of the semaphore stood where its record would be: the next permit has one
// there.
static void all_records_of_a_semaphore_end_with_its_permits(void **state)
{
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &(struct lh_arena_options){ .max_holds = 8 });
	lh_lease *lease = scene_lease(arena);
	struct lh_hold_info info;
	uint64_t cursor;
	lh_mutex mutex;

	place(arena, 3);
	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex), 0);
	for (int round = 0; round < 10; round++) {
		assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), 0);
		assert_int_equal(take(lease, 1), 0);
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
		assert_int_equal(take(lease, 1), 0);
		assert_int_equal(give(lease, 2), 0);
		cursor = 0;
		assert_int_equal(lh_next_hold(arena, &cursor, &info), -ENOENT);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_baton_whose_tokens_are_used_up_overflows(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	place(scene->arena, 2);
	atomic_store(&words()->header.word, WORD_TOKEN_MAX << WORD_TOKEN_SHIFT);
	assert_int_equal(take(lease, 2), -EOVERFLOW);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(give(lease, 2), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void damaged_words_are_told_or_mended(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *gone = scene_lease(scene->arena);
	const uint64_t id = lh_lease_id(gone);

	place(scene->arena, 2);
	assert_int_equal(lh_lease_release(gone), 0);
	gone = scene_lease(scene->arena); // its slot's next tenant
	atomic_store(&words()->owners[0], id);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	assert_available(2);
	assert_int_equal(take(lease, 2), 0); // a lease that is no more holds nothing
	assert_int_equal(give(lease, 2), 0);
	atomic_store(&words()->owners[1], 0x3fff);
	assert_int_equal(take(lease, 2), -EBADMSG);
	assert_int_equal(held(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&words()->owners[1], 0);
	atomic_store(&words()->limit, 3);
	assert_int_equal(take(lease, 1), -EBADMSG);
	assert_int_equal(take(lease, 2), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&words()->limit, 2);
	// closed by nobody: the next one opens it
	atomic_store(&words()->gate, 12345);
	assert_int_equal(take(lease, 1), 0);
	assert_int_equal(atomic_load(&words()->gate), 0);
	assert_int_equal(give(lease, 1), 0);
	words()->header.kind = LH_KIND_MUTEX;
	assert_int_equal(take(lease, 1), 0); // the short way looks at nothing but words
	assert_int_equal(take(lease, 1), -EBADMSG);
	assert_int_equal(lh_semaphore_available(&semaphore), -EBADMSG);
	assert_int_equal(lh_semaphore_resize(&semaphore, 1), -EBADMSG);
	assert_int_equal(held(lease), -EBADMSG);
	assert_int_equal(give(lease, 2), -EBADMSG);
	words()->header.kind = LH_KIND_SEMAPHORE;
	assert_int_equal(give(lease, 1), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(gone), 0);
	assert_all_free(scene, 2);
}

// G6, G9: the holder's own table is what a reaper goes by; if that was damaged, the words are.
static void a_permit_that_its_dead_holder_does_not_record_comes_back(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_lease_info info;
	struct worker *worker;

	place(scene->arena, 2);
	worker = start(scene, NULL);
	assert_int_equal(worker_do(worker, step_try, 1), 0);
	assert_true(scene_look(scene->arena, worker_lease(worker), &info));
	for (uint32_t i = 0; i < scene->arena->holds_per_lease; i++)
		atomic_store(&arena_hold_table(scene->arena, info.slot)[i].object, 0);
	worker_kill(worker);
	assert_int_equal(take(lease, 2), 0);
	assert_int_equal(give(lease, 2), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_all_free(scene, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(placements_of_equal_permits_and_name_are_the_same_semaphore),
		SCENE_TEST_CLOSED(the_largest_semaphore_has_65535_permits),
		SCENE_TEST(a_held_semaphore_is_not_removed),
		SCENE_TEST(acquires_of_one_lease_add_up),
		SCENE_TEST(slots_are_the_numbers_of_the_permits_held),
		SCENE_TEST(releasing_more_than_held_releases_none),
		SCENE_TEST(what_is_not_free_is_busy_or_times_out_and_nothing_is_held),
		SCENE_TEST(another_threads_lease_is_eperm),
		SCENE_TEST(bad_arguments_are_invalid),
		SCENE_TEST(a_read_only_arena_shows_and_does_not_resize),
		SCENE_TEST_CLOSED(a_semaphore_is_one_hold_however_many_permits),
		SCENE_TEST_CLOSED(all_records_of_a_semaphore_end_with_its_permits),
		SCENE_TEST(a_baton_whose_tokens_are_used_up_overflows),
		SCENE_TEST(damaged_words_are_told_or_mended),
		SCENE_TEST(a_permit_that_its_dead_holder_does_not_record_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
