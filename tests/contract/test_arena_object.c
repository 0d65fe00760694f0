// SPDX-License-Identifier: Apache-2.0
//
// The object behind an arena: owner, group, mode, and what the flags ask of the kernel.
//
//	lh_arena_open    -EACCES  no permission; another's object without LH_ANY_OWNER; group
//	                 -ENOTSUP LH_ARENA_… that the kernel refuses
//	                 -EBADMSG a FIFO, a directory, a symbolic link of that name
//	lh_arena_unlink  -EACCES  another's object
#include "tests/support/scene.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { SOMEBODY = 54321, SOMEBODY_ELSE = 54322 };

static void path_of(const struct scene *scene, char path[128])
{
	snprintf(path, 128, "/dev/shm/%s", scene->name);
}

static mode_t mode_of(const struct scene *scene)
{
	struct stat status;
	char path[128];

	path_of(scene, path);
	assert_int_equal(stat(path, &status), 0);
	return status.st_mode & 07777;
}

static void must_be_root(void)
{
	if (geteuid() != 0)
		skip();
}

// Runs body as another user.
static int (*as_user_body)(void *context);
static uid_t as_user_uid;

static int as_user(void *context)
{
	need(setgroups(0, NULL) == 0 && setgid(as_user_uid) == 0 && setuid(as_user_uid) == 0);
	return as_user_body(context);
}

static void run_as(uid_t uid, int (*body)(void *context), void *context)
{
	as_user_body = body;
	as_user_uid = uid;
	assert_exited(scene_child(as_user, context), 0);
}

// ---- mode and group ------------------------------------------------------------------------------

static void the_default_mode_is_0600(void **state)
{
	assert_int_equal(mode_of(*state), 0600);
}

// "set exactly, whatever the umask"
static void the_mode_is_set_exactly_whatever_the_umask(void **state)
{
	const mode_t modes[] = { 0666, 0640, 0777, 0400, 0007 };
	struct scene *scene = *state;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		const struct lh_arena_options options = { .mode = modes[i] };
		const mode_t before = umask(0177);

		scene_open(scene, &options);
		umask(before);
		assert_int_equal(mode_of(scene), modes[i]);
		assert_int_equal(lh_arena_close(scene->arena), 0);
		scene->arena = NULL;
		assert_int_equal(lh_arena_unlink(scene->name), 0);
	}
}

static void the_group_is_set(void **state)
{
	const struct lh_arena_options options = { .group = SOMEBODY, .mode = 0660 };
	struct stat status;
	char path[128];

	must_be_root();
	scene_open(*state, &options);
	path_of(*state, path);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_gid, SOMEBODY);
}

static int create_for_another_group(void *context)
{
	const struct lh_arena_options options = { .group = SOMEBODY_ELSE };
	const struct scene *scene = context;
	lh_arena *arena = NULL;

	need(lh_arena_open(scene->name, LH_CREATE, &options, &arena) == -EACCES);
	need(lh_arena_open(scene->name, 0, NULL, &arena) == -ENOENT);
	need(!arena);
	return 0;
}

static void a_group_one_is_not_in_is_eacces(void **state)
{
	must_be_root();
	run_as(SOMEBODY, create_for_another_group, *state);
}

// ---- other users ---------------------------------------------------------------------------------

static int may_not_open(void *context)
{
	const struct scene *scene = context;
	lh_arena *arena = NULL;

	need(lh_arena_open(scene->name, 0, NULL, &arena) == -EACCES);
	need(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena) == -EACCES);
	need(lh_arena_open(scene->name, LH_ANY_OWNER, NULL, &arena) == -EACCES);
	need(lh_arena_unlink(scene->name) == -EACCES);
	need(!arena);
	return 0;
}

static void without_permission_open_is_eacces(void **state)
{
	must_be_root();
	run_as(SOMEBODY, may_not_open, *state);
}

static int may_read_only(void *context)
{
	const struct scene *scene = context;
	lh_arena *arena = NULL;

	need(lh_arena_open(scene->name, 0, NULL, &arena) == -EACCES);
	need(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena) == 0);
	need(lh_arena_close(arena) == 0);
	return 0;
}

// Root's objects need no LH_ANY_OWNER; who may only read opens read-only.
static void a_reader_opens_roots_arena_read_only(void **state)
{
	const struct lh_arena_options options = { .mode = 0644 };

	must_be_root();
	scene_open(*state, &options);
	run_as(SOMEBODY, may_read_only, *state);
}

static int create_for_all(void *context)
{
	const struct lh_arena_options options = { .mode = 0666 };
	const struct scene *scene = context;
	lh_arena *arena = NULL;

	need(lh_arena_open(scene->name, LH_CREATE | LH_EXCL, &options, &arena) == 0);
	return 0;
}

static int meet_anothers(void *context)
{
	const struct scene *scene = context;
	lh_arena *arena = NULL;
	lh_lease *lease = NULL;

	need(lh_arena_open(scene->name, 0, NULL, &arena) == -EACCES);
	need(lh_arena_open(scene->name, LH_CREATE, NULL, &arena) == -EACCES);
	need(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena) == -EACCES);
	need(!arena);
	need(lh_arena_open(scene->name, LH_ANY_OWNER, NULL, &arena) == 0);
	need(lh_lease_acquire(arena, NULL, &lease) == 0);
	need(lh_lease_release(lease) == 0);
	need(lh_arena_close(arena) == 0);
	need(lh_arena_open(scene->name, LH_ANY_OWNER | LH_READ_ONLY, NULL, &arena) == 0);
	need(lh_arena_close(arena) == 0);
	need(lh_arena_unlink(scene->name) == -EACCES);
	return 0;
}

// "An object owned by neither the caller nor root is refused (-EACCES) without LH_ANY_OWNER."
static void another_users_arena_is_refused_unless_asked_for(void **state)
{
	must_be_root();
	run_as(SOMEBODY, create_for_all, *state);
	run_as(SOMEBODY_ELSE, meet_anothers, *state);
}

// ---- what is no file -----------------------------------------------------------------------------

static void what_is_no_file_is_no_arena(void **state)
{
	const struct scene *scene = *state;
	lh_arena *arena = NULL;
	char path[128];

	path_of(scene, path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -EBADMSG);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena), -EBADMSG);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -EBADMSG);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena), -EBADMSG);
	assert_int_equal(lh_arena_unlink(scene->name), -EACCES);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -EBADMSG);
	assert_int_equal(lh_arena_open(scene->name, LH_CREATE, NULL, &arena), -EBADMSG);
	assert_null(arena);
}

// ---- flags ---------------------------------------------------------------------------------------

static bool works(const struct scene *scene, unsigned flags)
{
	const struct lh_arena_options options = { .flags = flags };
	lh_arena *arena = NULL;
	lh_lease *lease;
	lh_mutex mutex;
	const int error = lh_arena_open(scene->name, LH_CREATE | LH_EXCL, &options, &arena);

	if (error) {
		assert_int_equal(error, -ENOTSUP);
		assert_null(arena);
		assert_int_equal(lh_arena_open(scene->name, 0, NULL, &arena), -ENOENT);
		return false;
	}
	mutex = scene_mutex(arena);
	lease = scene_lease(arena);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(arena), 0);
	assert_int_equal(lh_arena_unlink(scene->name), 0);
	return true;
}

// "what the kernel refuses is -ENOTSUP"
static void every_flag_works_or_is_not_supported(void **state)
{
	for (unsigned flags = 1; flags < 16; flags++)
		works(*state, flags);
	assert_true(works(*state, LH_ARENA_PLAIN_FENCES));
}

// Sanitizers make mlock do nothing.
#if !SANITIZED
static long locked_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmLck: %ld", &kib);
	fclose(file);
	return kib;
}

static void a_locked_arena_is_locked_in_each_process(void **state)
{
	const struct lh_arena_options options = { .flags = LH_ARENA_LOCKED };
	struct scene *scene = *state;
	const long before = locked_kib();

	if (!works(scene, LH_ARENA_LOCKED))
		skip();
	scene_open(scene, &options);
	assert_true(locked_kib() >= before + 1024);
}

static int open_locked(void *context)
{
	const struct lh_arena_options options = { .flags = LH_ARENA_LOCKED };
	const struct rlimit limit = { 65536, 65536 };
	const struct scene *scene = context;
	lh_arena *arena = NULL;

	need(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	need(lh_arena_open(scene->name, LH_CREATE, &options, &arena) == -ENOTSUP);
	need(lh_arena_open(scene->name, 0, NULL, &arena) == -ENOENT);
	need(!arena);
	return 0;
}

static void beyond_the_limit_of_locked_memory_is_not_supported(void **state)
{
	must_be_root();
	run_as(SOMEBODY, open_locked, *state);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(the_default_mode_is_0600),
		SCENE_TEST_CLOSED(the_mode_is_set_exactly_whatever_the_umask),
		SCENE_TEST_CLOSED(the_group_is_set),
		SCENE_TEST_CLOSED(a_group_one_is_not_in_is_eacces),
		SCENE_TEST(without_permission_open_is_eacces),
		SCENE_TEST_CLOSED(a_reader_opens_roots_arena_read_only),
		SCENE_TEST_CLOSED(another_users_arena_is_refused_unless_asked_for),
		SCENE_TEST_CLOSED(what_is_no_file_is_no_arena),
		SCENE_TEST_CLOSED(every_flag_works_or_is_not_supported),
#if !SANITIZED
		SCENE_TEST_CLOSED(a_locked_arena_is_locked_in_each_process),
		SCENE_TEST_CLOSED(beyond_the_limit_of_locked_memory_is_not_supported),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
