// SPDX-License-Identifier: Apache-2.0
//
// Opening, closing and unlinking: each error that arena.h lists, and what it promises of them.
//
//	lh_arena_open    -EINVAL  name empty, too long, unusable     names_that_cannot_be_…
//	                 -EINVAL  unknown flag, LH_EXCL alone, NULL  bad_arguments_of_open_…
//	                 -EINVAL  options out of range, reserved     bad_options_of_open_…
//	                 -ENOENT  none there                         opening_what_is_not_there_…
//	                 -EEXIST  one there and LH_EXCL              an_exclusive_creation_…
//	                 -EROFS   LH_READ_ONLY with nothing there    a_read_only_opener_creates_nothing
//	                 -ENOTSUP not on tmpfs                       a_path_off_tmpfs_is_…
//	                 -ENOSPC  no room                            an_arena_larger_than_…
//	                 -EMFILE                                     without_descriptors_…
//	                 -ENOMEM                                     without_address_space_…
//	                 -EACCES, modes, owners, flags of arenas     test_arena_object.c
//	                 -EBADMSG, -EPROTONOSUPPORT                  test_arena_bytes.c
//	                 -EUSERS  65536 processes                    not provoked: takes as many
//	                 -ENFILE  the host's table                   not provoked: it is everybody's
//	lh_arena_close   -EBUSY, -EINVAL                             closing_…
//	lh_arena_unlink  -ENOENT, -EINVAL; -EACCES: _object.c        unlinking_…
//	                 leases on it: -ESTALE                       an_unlinked_arena_…, what_another_process_…, an_arena_whose_…
//	lh_arena_first_offset, _end_offset, _range                   the_users_space_…
#include "tests/support/scene.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static void names_that_cannot_be_an_arenas_are_invalid(void **state)
{
	char long_name[NAME_MAX + 2];
	char long_path[PATH_MAX + 2];
	char long_component[NAME_MAX + 16];
	lh_arena *arena = NULL;

	(void)state;
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	memset(long_path, '/', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	snprintf(long_component, sizeof(long_component), "/dev/shm/%s", long_name);
	const char *const names[] = { NULL, "",        "/",       ".",           "..",
				      "/.", long_name, long_path, long_component };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(lh_arena_open(names[i], LH_CREATE, NULL, &arena), -EINVAL);
		assert_int_equal(lh_arena_open(names[i], LH_CREATE | LH_EXCL, NULL, &arena),
				 -EINVAL);
		assert_int_equal(lh_arena_open(names[i], 0, NULL, &arena), -EINVAL);
		assert_int_equal(lh_arena_unlink(names[i]), -EINVAL);
		assert_null(arena);
	}
}

static void the_longest_name_works(void **state)
{
	struct scene *scene = *state;
	char name[NAME_MAX + 1];

	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	memcpy(name, scene->name, strlen(scene->name));
	assert_int_equal(lh_arena_open(name, LH_CREATE | LH_EXCL, NULL, &scene->arena), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
}

static void bad_arguments_of_open_are_invalid(void **state)
{
	const struct scene *scene = *state;
	lh_arena *arena = NULL;

	assert_int_equal(lh_arena_open(scene->name, LH_CREATE, NULL, NULL), -EINVAL);
	for (unsigned bit = 16; bit; bit <<= 1)
		assert_int_equal(lh_arena_open(scene->name, LH_CREATE | (int)bit, NULL, &arena),
				 -EINVAL);
	assert_int_equal(lh_arena_open(scene->name, LH_EXCL, NULL, &arena), -EINVAL);
	assert_null(arena);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -ENOENT);
}

static void bad_options_of_open_are_invalid(void **state)
{
	const struct scene *scene = *state;
	struct lh_arena_options bad[16] = { { .size = 0 } };
	lh_arena *arena = NULL;
	size_t count = 0;

	for (size_t i = 0; i < 4; i++)
		bad[count++].reserved[i] = UINT64_C(1) << (i * 20);
	bad[count++].max_leases = 8193;
	bad[count++].max_leases = UINT32_MAX;
	bad[count++].max_holds = 1025;
	bad[count++].max_holds = UINT32_MAX;
	bad[count++].flags = 16;
	bad[count++].flags = 1u << 31;
	bad[count++].mode = 01600;
	bad[count++].mode = (mode_t)-1;
	bad[count++].size = SIZE_MAX;
	bad[count++].size = SIZE_MAX - 4096;
	for (size_t i = 0; i < count; i++)
		assert_int_equal(lh_arena_open(scene->name, LH_CREATE, &bad[i], &arena), -EINVAL);
	assert_null(arena);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -ENOENT);
}

static void opening_what_is_not_there_is_enoent(void **state)
{
	const struct scene *scene = *state;
	lh_arena *arena = NULL;

	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -ENOENT);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena), -ENOENT);
	assert_int_equal(lh_arena_open("/dev/shm/no/such/directory", 0, NULL, &arena), -ENOENT);
	assert_int_equal(lh_arena_open("/dev/shm/no/such/directory", LH_CREATE, NULL, &arena),
			 -ENOENT);
	assert_null(arena);
	assert_string_not_equal(lh_error_detail(), "");
}

static void an_exclusive_creation_of_what_is_there_is_eexist(void **state)
{
	const struct scene *scene = *state;
	lh_arena *arena = NULL;

	assert_int_equal(lh_arena_open(scene->name, LH_CREATE | LH_EXCL, NULL, &arena), -EEXIST);
	assert_null(arena);
	assert_int_equal(lh_arena_open(scene->name, LH_CREATE, NULL, &arena), 0);
	assert_int_equal(lh_arena_close(arena), 0);
}

// "opens what is there, whatever its options"
static void creating_without_excl_opens_what_is_there(void **state)
{
	struct scene *scene = *state;
	const struct lh_arena_options small = { .size = 4096, .max_leases = 3, .max_holds = 5 };
	const struct lh_arena_options large = { .size = 1 << 22, .max_leases = 100 };
	lh_arena *arena = scene_open(scene, &small);
	lh_arena *again = NULL;

	assert_int_equal(lh_arena_open(scene->name, LH_CREATE, &large, &again), 0);
	assert_int_equal(lh_arena_end_offset(again) - lh_arena_first_offset(again), 4096);
	assert_int_equal(lh_arena_first_offset(arena), lh_arena_first_offset(again));
	assert_int_equal(lh_arena_close(again), 0);
	assert_non_null(lh_arena_range(arena, lh_arena_first_offset(arena), 4096));
}

static void a_name_and_the_same_name_after_a_slash_are_one_arena(void **state)
{
	const struct scene *scene = *state;
	char slashed[80];
	char path[96];
	lh_arena *arena = NULL;
	uint64_t offset, found;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 100, "mark", &offset), 0);
	snprintf(slashed, sizeof(slashed), "/%s", scene->name);
	snprintf(path, sizeof(path), "/dev/shm/%s", scene->name);
	assert_int_equal(lh_arena_open(slashed, 0, NULL, &arena), 0);
	assert_int_equal(lh_find(arena, "mark", &found), 0);
	assert_int_equal(found, offset);
	assert_int_equal(lh_arena_close(arena), 0);
	assert_int_equal(lh_arena_open(path, 0, NULL, &arena), 0);
	assert_int_equal(lh_find(arena, "mark", &found), 0);
	assert_int_equal(lh_arena_close(arena), 0);
}

static void a_read_only_opener_creates_nothing(void **state)
{
	const struct scene *scene = *state;
	lh_arena *arena = NULL;

	assert_int_equal(lh_arena_open(scene->name, LH_CREATE | LH_READ_ONLY, NULL, &arena),
			 -EROFS);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -ENOENT);
	assert_null(arena);
}

static void a_path_off_tmpfs_is_not_supported(void **state)
{
	struct statfs status;
	lh_arena *arena = NULL;

	(void)state;
	assert_int_equal(
		lh_arena_open("/proc/self/status", LH_READ_ONLY | LH_ANY_OWNER, NULL, &arena),
		-ENOTSUP);
	assert_int_equal(statfs(".", &status), 0);
	if (status.f_type != TMPFS_MAGIC)
		assert_int_equal(lh_arena_open("./lh-test", LH_CREATE, NULL, &arena), -ENOTSUP);
	assert_null(arena);
}

static void an_arena_larger_than_the_memory_is_enospc(void **state)
{
	const struct scene *scene = *state;
	const struct lh_arena_options huge = { .size = (size_t)1 << 37 };
	lh_arena *arena = NULL;

	assert_int_equal(lh_arena_open(scene->name, LH_CREATE, &huge, &arena), -ENOSPC);
	assert_null(arena);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -ENOENT);
}

static int open_without(void *context)
{
	const struct scene *scene = context;
	lh_arena *arena = NULL;
	struct rlimit limit;

	need(lh_arena_open(scene->name, LH_CREATE, NULL, &arena) == 0);
	need(lh_arena_close(arena) == 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 0;
	need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	arena = NULL;
	need(lh_arena_open(scene->name, 0, NULL, &arena) == -EMFILE);
	need(lh_arena_open("lh-test-other", LH_CREATE, NULL, &arena) == -EMFILE);
	need(!arena);
	return 0;
}

static void without_descriptors_open_is_emfile(void **state)
{
	assert_exited(scene_child(open_without, *state), 0);
}

// Not under a sanitizer: its shadow is larger than any such limit.
#if !SANITIZED
static int open_beyond_address_space(void *context)
{
	const struct scene *scene = context;
	const struct lh_arena_options options = { .size = 256 << 20 };
	const struct rlimit limit = { 128 << 20, 128 << 20 };
	lh_arena *arena = NULL;

	need(lh_arena_open(scene->name, LH_CREATE, NULL, &arena) == 0);
	need(lh_arena_close(arena) == 0);
	need(lh_arena_unlink(scene->name) == 0);
	need(setrlimit(RLIMIT_AS, &limit) == 0);
	arena = NULL;
	need(lh_arena_open(scene->name, LH_CREATE, &options, &arena) == -ENOMEM);
	need(!arena && lh_arena_open(scene->name, 0, NULL, &arena) == -ENOENT);
	return 0;
}

static void without_address_space_open_is_enomem(void **state)
{
	assert_exited(scene_child(open_beyond_address_space, *state), 0);
}
#endif

static void closing_null_is_invalid(void **state)
{
	(void)state;
	assert_int_equal(lh_arena_close(NULL), -EINVAL);
}

static void closing_with_leases_is_busy_and_changes_nothing(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *own = NULL;
	const lh_mutex mutex = scene_mutex(scene->arena);

	assert_int_equal(lh_thread_lease(scene->arena, &own), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_arena_close(scene->arena), -EBUSY);
	assert_true(lh_mutex_held(&mutex, lease));
	assert_true(lh_lease_valid(lease) && lh_lease_valid(own));
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(scene->arena), -EBUSY);
	assert_int_equal(lh_lease_release(own), 0);
}

// "lost ones that were not released included"
static void closing_with_a_lost_lease_is_busy(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(1) };
	lh_lease *lease = scene_lease_with(scene->arena, &brief);

	while (lh_lease_valid(lease))
		scene_pause();
	assert_int_equal(lh_arena_close(scene->arena), -EBUSY);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
}

// "Each open wants its own lh_arena_close."
static void the_arena_stays_open_until_its_last_close(void **state)
{
	const struct scene *scene = *state;
	lh_arena *again = NULL;
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &again), 0);
	assert_int_equal(lh_arena_close(again), 0);
	assert_non_null(lh_arena_range(scene->arena, lh_arena_first_offset(scene->arena), 1));
	assert_true(lh_lease_valid(lease));
	assert_int_equal(lh_lease_release(lease), 0);
}

static void what_was_placed_outlives_the_last_close(void **state)
{
	struct scene *scene = *state;
	uint64_t offset, found;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 8, "kept", &offset), 0);
	*(uint64_t *)lh_arena_range(scene->arena, offset, 8) = 4711;
	assert_int_equal(lh_arena_close(scene->arena), 0);
	scene->arena = NULL;
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &scene->arena), 0);
	assert_int_equal(lh_find(scene->arena, "kept", &found), 0);
	assert_int_equal(found, offset);
	assert_int_equal(*(uint64_t *)lh_arena_range(scene->arena, offset, 8), 4711);
}

static void unlinking_what_is_not_there_is_enoent(void **state)
{
	const struct scene *scene = *state;

	assert_int_equal(lh_arena_unlink(scene->name), -ENOENT);
	assert_int_equal(lh_arena_unlink("/dev/shm/no/such/directory"), -ENOENT);
}

// "Those who have it open go on using and releasing what they have, but get no new lease on it."
static void an_unlinked_arena_gives_no_new_leases_and_goes_on_releasing(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *none = NULL;
	uint64_t offset;

	scene_lock(&mutex, lease);
	assert_int_equal(lh_region_acquire(lease, 100, &offset), 0);
	assert_int_equal(lh_arena_unlink(scene->name), 0);
	assert_int_equal(lh_lease_acquire(scene->arena, NULL, &none), -ESTALE);
	assert_int_equal(lh_thread_lease(scene->arena, &none), -ESTALE);
	assert_null(none);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_region_release(lease, offset), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void what_another_process_has_unlinked_gives_no_new_leases_at_once(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease, *none = NULL;
	int there[2], back[2], status;
	char told;

	assert_int_equal(pipe(there), 0);
	assert_int_equal(pipe(back), 0);
	const pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		_exit(read(there[0], &told, 1) != 1 || lh_arena_unlink(scene->name) != 0 ||
		      write(back[1], "u", 1) != 1);
	lease = scene_lease(scene->arena); // the kernel has just been asked
	assert_int_equal(write(there[1], "u", 1), 1);
	assert_int_equal(read(back[0], &told, 1), 1);
	assert_int_equal(lh_lease_acquire(scene->arena, NULL, &none), -ESTALE);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_exited(status, 0);
	assert_int_equal(lh_lease_release(lease), 0);
	close(there[0]), close(there[1]), close(back[0]), close(back[1]);
}

// "if the name goes by another way […], a millisecond later"
static void an_arena_whose_name_went_otherwise_gives_no_new_leases_soon_after(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	int error = 0;

	assert_int_equal(shm_unlink(scene->name), 0);
	const uint64_t unlinked = lh_now();

	while (!error) {
		const uint64_t before = lh_now();

		assert_int_equal(lh_lease_release(lease), 0);
		error = lh_lease_acquire(scene->arena, NULL, &lease);
		assert_true(error || before - unlinked < LH_MS(1));
	}
	assert_int_equal(error, -ESTALE);
}

// "they cannot meet those who create a new arena of that name"
static void a_new_arena_of_an_unlinked_name_is_another(void **state)
{
	const struct scene *scene = *state;
	lh_arena *other = NULL;
	lh_lease *lease = NULL;
	uint64_t offset;

	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 8, "old", &offset), 0);
	assert_int_equal(lh_arena_unlink(scene->name), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_CREATE | LH_EXCL, NULL, &other), 0);
	assert_ptr_not_equal(other, scene->arena);
	assert_int_equal(lh_find(other, "old", &offset), -ENOENT);
	assert_int_equal(lh_lease_acquire(scene->arena, NULL, &lease), -ESTALE);
	assert_int_equal(lh_lease_acquire(other, NULL, &lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(other), 0);
}

static void the_users_space_is_what_was_asked_for(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	const uint64_t end = lh_arena_end_offset(scene->arena);
	unsigned char *base = lh_arena_range(scene->arena, first, 1);

	assert_int_equal(lh_arena_first_offset(NULL), 0);
	assert_int_equal(lh_arena_end_offset(NULL), 0);
	assert_int_equal(end - first, 1 << 20);
	assert_int_equal(first % 64, 0);
	assert_non_null(base);
	memset(base, 0x5a, 1 << 20);
	assert_ptr_equal(lh_arena_range(scene->arena, first, 1 << 20), base);
	assert_ptr_equal(lh_arena_range(scene->arena, end - 1, 1), base + (1 << 20) - 1);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// G9: "Any offset and size may be asked, those read from untrusted bytes too."
static void a_range_that_leaves_the_users_space_is_null(void **state)
{
	const struct scene *scene = *state;
	const uint64_t first = lh_arena_first_offset(scene->arena);
	const uint64_t end = lh_arena_end_offset(scene->arena);
	const struct {
		uint64_t offset;
		size_t size;
	} outside[] = { { 0, 1 },
			{ 0, 0 },
			{ first - 1, 1 },
			{ first - 1, 2 },
			{ first, (1 << 20) + 1 },
			{ end, 1 },
			{ end - 1, 2 },
			{ end + 1, 0 },
			{ first, SIZE_MAX },
			{ end - 1, SIZE_MAX },
			{ UINT64_MAX, 1 },
			{ UINT64_MAX, SIZE_MAX },
			{ UINT64_MAX - 63, 64 } };

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		assert_null(lh_arena_range(scene->arena, outside[i].offset, outside[i].size));
	assert_null(lh_arena_range(NULL, first, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST_CLOSED(names_that_cannot_be_an_arenas_are_invalid),
		SCENE_TEST_CLOSED(the_longest_name_works),
		SCENE_TEST_CLOSED(bad_arguments_of_open_are_invalid),
		SCENE_TEST_CLOSED(bad_options_of_open_are_invalid),
		SCENE_TEST_CLOSED(opening_what_is_not_there_is_enoent),
		SCENE_TEST(an_exclusive_creation_of_what_is_there_is_eexist),
		SCENE_TEST_CLOSED(creating_without_excl_opens_what_is_there),
		SCENE_TEST(a_name_and_the_same_name_after_a_slash_are_one_arena),
		SCENE_TEST_CLOSED(a_read_only_opener_creates_nothing),
		SCENE_TEST_CLOSED(a_path_off_tmpfs_is_not_supported),
		SCENE_TEST_CLOSED(an_arena_larger_than_the_memory_is_enospc),
		SCENE_TEST_CLOSED(without_descriptors_open_is_emfile),
#if !SANITIZED
		SCENE_TEST_CLOSED(without_address_space_open_is_enomem),
#endif
		SCENE_TEST_CLOSED(closing_null_is_invalid),
		SCENE_TEST(closing_with_leases_is_busy_and_changes_nothing),
		SCENE_TEST(closing_with_a_lost_lease_is_busy),
		SCENE_TEST(the_arena_stays_open_until_its_last_close),
		SCENE_TEST(what_was_placed_outlives_the_last_close),
		SCENE_TEST_CLOSED(unlinking_what_is_not_there_is_enoent),
		SCENE_TEST(an_unlinked_arena_gives_no_new_leases_and_goes_on_releasing),
		SCENE_TEST(what_another_process_has_unlinked_gives_no_new_leases_at_once),
		SCENE_TEST(an_arena_whose_name_went_otherwise_gives_no_new_leases_soon_after),
		SCENE_TEST(a_new_arena_of_an_unlinked_name_is_another),
		SCENE_TEST(the_users_space_is_what_was_asked_for),
		SCENE_TEST(a_range_that_leaves_the_users_space_is_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
