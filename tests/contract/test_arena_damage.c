// SPDX-License-Identifier: Apache-2.0
//
// Tables and objects that hold what the library does not write, in an arena that is open: G9 and the
// -EBADMSG of
//
//	lh_region_at, lh_find, lh_remove, lh_region_acquire   damage_in_the_directory_…
//	lh_mutex_at                                           the same, a_mutex_of_another_kind_…
//	lh_mutex_lock, _unlock, _consistent                   a_mutex_of_another_kind_…,
//	                                                      a_mutex_owned_by_no_slot_…,
//	                                                      a_mutex_owned_by_a_free_slot_…,
//	                                                      a_hold_that_was_erased_…
//	lh_lease_acquire                                      damaged_slots_…, damaged_owners_…
//	lh_lease_release                                      releasing_what_is_damaged_…
//	lh_region_release                                     a_region_whose_entry_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/lease.h"
#include "src/word.h"

#include <fcntl.h>

static struct object_header *header_of(const struct scene *scene, const lh_mutex *mutex)
{
	return arena_object(scene->arena, (uint32_t)(lh_mutex_offset(mutex) / 64));
}

// The only finding is damage, and looking at it goes on.
static void must_be_corrupt(const struct scene *scene)
{
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
}

// ---- the directory -------------------------------------------------------------------------------

static void expect_bad_directory(const struct scene *scene)
{
	const uint64_t first = lh_arena_first_offset(scene->arena);
	struct lh_placement_info place;
	lh_lease *lease = scene_lease(scene->arena);
	lh_mutex mutex;
	uint64_t offset = 7, cursor = 0;

	assert_int_equal(lh_region_at(scene->arena, first + 8192, 64, NULL, &offset), -EBADMSG);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "new", &offset), -EBADMSG);
	assert_int_equal(lh_mutex_at(scene->arena, first + 8192, NULL, &mutex), -EBADMSG);
	assert_int_equal(lh_find(scene->arena, "absent", &offset), -EBADMSG);
	assert_int_equal(lh_find(scene->arena, "damaged", &offset), -EBADMSG);
	assert_int_equal(lh_remove(scene->arena, first + 8192), -EBADMSG);
	assert_int_equal(lh_region_acquire(lease, 64, &offset), -EBADMSG);
	assert_int_equal(offset, 7);
	// What is whole is found all the same.
	assert_int_equal(lh_find(scene->arena, "whole", &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "whole", &offset), 0);
	while (lh_next_placement(scene->arena, &cursor, &place) == 0)
		assert_string_equal(place.name, "whole");
	must_be_corrupt(scene);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void damage_in_the_directory_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "damaged", &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "whole", &offset), 0);
	struct directory_entry *entry = &scene->arena->entries[0];
	const uint64_t state_word = atomic_load(&entry->state);
	const uint64_t at = atomic_load(&entry->offset);
	const uint64_t bad_offsets[] = { 0,          64,
					 at + 1,     lh_arena_end_offset(scene->arena),
					 UINT64_MAX, UINT64_MAX - 63 };
	const uint64_t bad_sizes[] = { 0, 1, 63, UINT64_MAX, UINT64_MAX - 63, 1 << 21 };

	for (size_t i = 0; i < sizeof(bad_offsets) / sizeof(bad_offsets[0]); i++) {
		atomic_store(&entry->offset, bad_offsets[i]);
		expect_bad_directory(scene);
	}
	atomic_store(&entry->offset, at);
	for (size_t i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++) {
		atomic_store(&entry->size, bad_sizes[i]);
		expect_bad_directory(scene);
	}
	atomic_store(&entry->size, 64);
	for (uint64_t phase = ENTRY_READY + 1; phase < 8; phase++) {
		atomic_store(&entry->state, (state_word & (UINT64_MAX >> 3)) | phase << 61);
		expect_bad_directory(scene);
	}
	atomic_store(&entry->state, state_word);
	assert_int_equal(lh_find(scene->arena, "damaged", &offset), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "number of entries in use" beyond what there are: nobody reads further.
static void an_entry_bound_beyond_the_directory_does_no_harm(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	atomic_store(&scene->arena->header->entry_bound, UINT32_MAX);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, "one", &offset), 0);
	assert_int_equal(lh_find(scene->arena, "one", &offset), 0);
	assert_int_equal(lh_find(scene->arena, "two", &offset), -ENOENT);
}

static void an_event_count_beyond_the_ring_does_no_harm(void **state)
{
	const struct scene *scene = *state;
	struct lh_event_info event;
	uint64_t cursor = 0;

	atomic_store(&scene->arena->header->event_head, UINT64_MAX - 3);
	assert_int_equal(lh_next_event(scene->arena, &cursor, &event), -ENOENT);
}

static void overlapping_entries_are_found_by_the_check(void **state)
{
	const struct scene *scene = *state;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 128, "one", &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 128, "two", &offset), 0);
	atomic_store(&scene->arena->entries[1].offset, offset - 64);
	must_be_corrupt(scene);
}

// ---- mutexes -------------------------------------------------------------------------------------

static void a_mutex_of_another_kind_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .name = "mutex" };
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease = scene_lease_with(scene->arena, &timed);
	lh_mutex mutex, again;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &mutex), 0);
	header_of(scene, &mutex)->kind = LH_KIND_CELL;
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &again), -EBADMSG);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -EBADMSG);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), -EBADMSG);
	assert_int_equal(lh_mutex_consistent(&mutex, lease), -EBADMSG);
	assert_false(lh_mutex_held(&mutex, lease));
	must_be_corrupt(scene);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_mutex_owned_by_no_slot_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_grant grant = { .token = 77 };

	atomic_store(&header_of(scene, &mutex)->word, 5000 | WORD_TOKEN_ONE);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, &grant), -EBADMSG);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, &grant), -EBADMSG);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), -EPERM);
	assert_int_equal(grant.token, 77);
	must_be_corrupt(scene);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_mutex_owned_by_a_free_slot_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_lease_info info;

	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	atomic_store(&header_of(scene, &mutex)->word,
		     ((info.slot + 100) % 512 + 1) | WORD_TOKEN_ONE);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_false(lh_mutex_held(&mutex, lease));
	must_be_corrupt(scene);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void erase_holds(const struct scene *scene, const lh_lease *lease)
{
	struct lh_lease_info info;

	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	for (uint32_t i = 0; i < scene->arena->holds_per_lease; i++)
		atomic_store(&arena_hold_table(scene->arena, info.slot)[i].object, 0);
}

static void a_hold_that_was_erased_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);

	scene_lock(&mutex, lease);
	erase_holds(scene, lease);
	must_be_corrupt(scene);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), -EBADMSG);
	atomic_store(&header_of(scene, &mutex)->word, WORD_TOKEN_ONE);
	assert_int_equal(lh_lease_release(lease), 0);
}

// Hints of those who wait: whatever they say, nobody is let in who must not be, or left asleep.
static void damaged_hints_of_waiters_do_no_harm(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct object_header *header = header_of(scene, &mutex);
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);

	for (uint64_t i = 0; i < 64; i++) {
		const uint64_t garbage = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);

		atomic_store(&header->last_waiter, (uint32_t)garbage);
		atomic_store(&header->waiters, garbage);
		atomic_store(&header->heir, (uint32_t)(garbage >> 16));
		atomic_store(&header->lost_lease, garbage);
		atomic_store(&header->reserved_ns, garbage);
		scene_lock(&mutex, lease);
		assert_int_equal(lh_mutex_lock(&mutex, other, lh_deadline_after(LH_MS(1)), NULL),
				 -ETIMEDOUT);
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
		assert_int_equal(scene_lock(&mutex, other).flags, 0);
		assert_int_equal(lh_mutex_unlock(&mutex, other), 0);
	}
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// ---- leases and owners ---------------------------------------------------------------------------

static void damaged_slots_give_no_leases(void **state)
{
	const struct scene *scene = *state;
	const uint64_t bad[] = { (uint64_t)LEASE_FREE << 62 | LEASE_TTL_BIT,
				 (uint64_t)1 << 62 | 5,
				 (uint64_t)2 << 62 | 5,
				 (uint64_t)3 << 62 | 5,
				 UINT64_MAX,
				 UINT64_MAX >> 2 };
	lh_lease *lease = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (uint32_t slot = 0; slot < scene->arena->lease_count; slot++)
			atomic_store(&scene->arena->leases[slot].state, bad[i]);
		assert_int_equal(lh_lease_acquire(scene->arena, NULL, &lease), -EBADMSG);
		assert_int_equal(lh_thread_lease(scene->arena, &lease), -EBADMSG);
		assert_null(lease);
		lh_arena_check(scene->arena, NULL, NULL);
	}
	for (uint32_t slot = 0; slot < scene->arena->lease_count; slot++)
		atomic_store(&scene->arena->leases[slot].state, 0);
	assert_int_equal(lh_lease_release(scene_lease(scene->arena)), 0);
}

static void damaged_owners_give_no_leases(void **state)
{
	const struct scene *scene = *state;
	uint8_t before[sizeof(pthread_mutex_t)];
	lh_lease *lease = NULL;
	lh_mutex mutex;

	memcpy(before, &scene->arena->owners[0].liveness, sizeof(before));
	for (uint32_t i = 0; i < scene->arena->owner_count; i++)
		((uint8_t *)&scene->arena->owners[i].liveness)[16] ^= 0x7f; // its type
	assert_int_equal(lh_lease_acquire(scene->arena, NULL, &lease), -EBADMSG);
	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, NULL, &mutex), -EBADMSG);
	assert_null(lease);
	for (uint32_t i = 0; i < scene->arena->owner_count; i++)
		memcpy(&scene->arena->owners[i].liveness, before, sizeof(before));
	assert_int_equal(lh_lease_release(scene_lease(scene->arena)), 0);
}

// "freed, and left to be repaired by the owner's end"
static int release_damaged(struct worker_stage *stage, uint64_t offset)
{
	lh_mutex mutex;
	int error = lh_mutex_at(stage->arena, offset, NULL, &mutex);

	if (!error)
		error = lh_mutex_lock(&mutex, stage->lease, LH_NOW, NULL);
	if (error)
		return error;
	arena_object(stage->arena, (uint32_t)(offset / 64))->kind = LH_KIND_CELL;
	error = lh_lease_release(stage->lease);
	stage->lease = NULL;
	arena_object(stage->arena, (uint32_t)(offset / 64))->kind = LH_KIND_MUTEX;
	return error;
}

static void releasing_what_is_damaged_is_ebadmsg_and_its_end_repairs_it(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(worker_do(worker, release_damaged, lh_mutex_offset(&mutex)), -EBADMSG);
	worker_kill(worker);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_region_whose_entry_is_anothers_is_ebadmsg(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t offset;

	assert_int_equal(lh_region_acquire(lease, 100, &offset), 0);
	atomic_store(&scene->arena->entries[0].lease, 4711);
	assert_int_equal(lh_region_release(lease, offset), -EBADMSG);
	assert_int_equal(lh_lease_release(lease), 0);
}

// libc's list of the thread's robust mutexes leads into the arena: the memory stays where it is.
static int close_with_a_damaged_entry(void *context)
{
	const struct scene *scene = context;
	lh_lease *lease = NULL, *other = NULL;
	lh_arena *second = NULL;
	char name[80];

	snprintf(name, sizeof(name), "%s-second", scene->name);
	need(lh_arena_open(name, LH_CREATE, NULL, &second) == 0);
	need(lh_thread_lease(scene->arena, &lease) == 0);
	scene->arena->owners[lease->share->owner].liveness.__data.__kind ^= 0x4000;
	need(lh_lease_release(lease) == -EBADMSG);
	need(lh_arena_close(scene->arena) == 0);
	need(lh_thread_lease(second, &other) == 0);
	need(lh_lease_release(other) == 0);
	need(lh_arena_close(second) == 0 && lh_arena_unlink(name) == 0);
	return 0;
}

static void a_liveness_mutex_that_cannot_be_unlocked_stays_mapped(void **state)
{
	assert_exited(scene_child(close_with_a_damaged_entry, *state), 0);
}

static void an_array_of_more_than_its_bytes_is_found_and_removed(void **state)
{
	const struct scene *scene = *state;
	lh_mutex mutex;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE,
				     &(struct lh_mutex_options){ .name = "array", .count = 3 },
				     &mutex),
			 0);
	atomic_store(&scene->arena->entries[0].count, UINT32_MAX);
	atomic_store(&scene->arena->entries[0].data_size, (uint64_t)-127);
	must_be_corrupt(scene);
	assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// ---- the header ----------------------------------------------------------------------------------

static void overwrite(const struct scene *scene, const char *bytes, size_t size)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/dev/shm/%s", scene->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	close(fd);
}

// lh_arena_check: "Audits the whole arena: header, …". Who has it open is told before who opens it next.
static void an_overwritten_header_is_found_by_the_check(void **state)
{
	struct scene *scene = *state;
	const struct arena_header good = *(const struct arena_header *)scene->arena->base;

	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	overwrite(scene, "not the magic number", 20);
	must_be_corrupt(scene);
	overwrite(scene, (const char *)&good, sizeof(good));
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_truncated_arena_is_found_by_the_check(void **state)
{
	struct scene *scene = *state;
	const off_t size = (off_t)scene->arena->size;

	assert_int_equal(ftruncate(scene->arena->fd, 4096), 0);
	must_be_corrupt(scene);
	assert_int_equal(ftruncate(scene->arena->fd, size), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(damage_in_the_directory_is_ebadmsg),
		SCENE_TEST(an_entry_bound_beyond_the_directory_does_no_harm),
		SCENE_TEST(an_event_count_beyond_the_ring_does_no_harm),
		SCENE_TEST(overlapping_entries_are_found_by_the_check),
		SCENE_TEST(a_mutex_of_another_kind_is_ebadmsg),
		SCENE_TEST(a_mutex_owned_by_no_slot_is_ebadmsg),
		SCENE_TEST(a_mutex_owned_by_a_free_slot_is_ebadmsg),
		SCENE_TEST(a_hold_that_was_erased_is_ebadmsg),
		SCENE_TEST(damaged_hints_of_waiters_do_no_harm),
		SCENE_TEST(damaged_slots_give_no_leases),
		SCENE_TEST(damaged_owners_give_no_leases),
		SCENE_TEST(releasing_what_is_damaged_is_ebadmsg_and_its_end_repairs_it),
		SCENE_TEST(a_region_whose_entry_is_anothers_is_ebadmsg),
		SCENE_TEST(a_liveness_mutex_that_cannot_be_unlocked_stays_mapped),
		SCENE_TEST(an_overwritten_header_is_found_by_the_check),
		SCENE_TEST(a_truncated_arena_is_found_by_the_check),
		SCENE_TEST(an_array_of_more_than_its_bytes_is_found_and_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
