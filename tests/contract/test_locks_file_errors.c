// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files: what is no lock file, or none that can be used, is refused with the reason.
#include "tests/contract/locks_file.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

// ---- what is there ------------------------------------------------------------------------------

static void put(const char *name, const void *bytes, size_t size)
{
	const int fd = open(path_of(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	need(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	close(fd);
}

static void what_is_no_lock_file_is_refused(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char *const keys[] = {
		"directory", "link", "fifo", "socket", "text", "short"
	};

	(void)state;
	assert_int_equal(mkdir(path_of("directory.lock"), 0700), 0);
	assert_int_equal(symlink("/etc/passwd", path_of("link.lock")), 0);
	assert_int_equal(mkfifo(path_of("fifo.lock"), 0600), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s", path_of("socket.lock"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	put("text.lock", "some text\n", 10);
	let_go(hold("short", NULL));
	assert_int_equal(truncate(path_of("short.lock"), 600), 0);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		assert_int_equal(refusal(keys[i]), -EBADMSG);
		assert_non_null(strstr(lh_error_detail(), keys[i]));
	}
	put("empty.lock", "", 0); // made beforehand, or by a host that crashed
	assert_int_equal(attempt("empty", NULL), 0);
	close_all();
}

// G9
static void whatever_the_bytes_are_calls_end(void **state)
{
	static uint8_t good[3072], bytes[3072];
	int fd, refused = 0;

	(void)state;
	let_go(hold("key", NULL));
	fd = open(path_of("key.lock"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, good, sizeof(good)), sizeof(good));
	close(fd);
	for (unsigned seed = 0; seed < 400; seed++) {
		const size_t size = seed % 3 ? sizeof(bytes) : (size_t)seed * 7 % sizeof(bytes);
		lh_handle *handle;
		uint64_t version;
		int error;

		srand(seed);
		memcpy(bytes, good, sizeof(bytes));
		for (unsigned i = 0; i < seed % 40; i++)
			bytes[(size_t)rand() % (seed % 2 ? sizeof(bytes) : 1100)] = (uint8_t)rand();
		put("key.lock", bytes, size);
		error = lh_acquire(locks_scene.locks, "key", LH_NOW, NULL, &handle);
		assert_true(error == 0 || error == -EBADMSG || error == -EOVERFLOW ||
			    error == -EINVAL);
		refused += error != 0;
		if (!error) // while it is held
			assert_int_equal(lh_key_version(locks_scene.locks, "key", &version), 0);
		error = error ? 0 : lh_handle_release(handle);
		assert_int_equal(error, 0);
		error = lh_key_version(locks_scene.locks, "key", &version);
		assert_true(error == 0 || error == -EBADMSG);
		assert_int_equal(unlink(path_of("key.lock")), 0);
	}
	assert_true(refused > 100);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

// ---- errors --------------------------------------------------------------------------------------

static void a_url_that_is_wrong_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *url;
		int error;
		const char *word;
	} wrong[] = {
		{ "file://", -EINVAL, "absolute" },
		{ "file://tmp", -EINVAL, "tmp" },
		{ "file://elsewhere/tmp", -EINVAL, "elsewhere" },
		{ "file:///tmp?mode", -EINVAL, "mode" },
		{ "file:///tmp?mode=", -EINVAL, "mode=" },
		{ "file:///tmp?mode=0999", -EINVAL, "0999" },
		{ "file:///tmp?mode=01777", -EINVAL, "01777" },
		{ "file:///tmp?mode=0600&", -EINVAL, "0600&" },
		{ "file:///tmp?size=1", -EINVAL, "size" },
		{ "file:///tmp/%zz", -EINVAL, "%zz" },
		{ "file:///tmp/%00", -EINVAL, "%00" },
		{ "file:///tmp/%4", -EINVAL, "%4" },
		{ "file:///nowhere/at/all", -ENOENT, "/nowhere/at" },
		{ "file:///etc/passwd", -ENOENT, "not a directory" },
		{ "file:///tm%70/..%2fnowhere", -ENOENT, "/tmp/../nowhere" },
	};
	lh_locks *locks = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(lh_locks_open(wrong[i].url, &locks), wrong[i].error);
		assert_non_null(strstr(lh_error_detail(), wrong[i].word));
		assert_null(locks);
	}
	close_all();
}

static void try_without_permission(const struct line *line, void *context)
{
	lh_locks *locks;

	(void)context;
	(void)line;
	if (geteuid() == 0)
		need(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	need_equal(refusal("key"), -EACCES); // a file that is another user's
	need(strstr(lh_error_detail(), "key.lock") != NULL);
	need_equal(refusal("new"), -EACCES); // a directory that takes no files
	need(strstr(lh_error_detail(), locks_scene.directory) != NULL);
	need_equal(lh_locks_open("file:///root", &locks), -EACCES);
	need(strstr(lh_error_detail(), "/root") != NULL);
}

static void who_lacks_permission_is_told(void **state)
{
	struct peer peer;

	(void)state;
	if (geteuid() != 0) {
		printf("SKIP: only root can become a user without permission\n");
		close_all();
		skip();
	}
	let_go(hold("key", NULL));
	assert_int_equal(chmod(locks_scene.directory, 0755), 0);
	peer = peer_start(try_without_permission, NULL);
	peer_join(&peer);
	close_all();
}

static void try_read_only(const struct line *line, void *context)
{
	lh_locks *locks;

	(void)context;
	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", locks_scene.directory, "tmpfs", 0, NULL) != 0) {
		line_say(line, 0);
		return;
	}
	line_say(line, 1);
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	need(mount("none", locks_scene.directory, "none", MS_REMOUNT | MS_RDONLY, NULL) == 0);
	need_equal(refusal("key"), -EROFS);
	need(strstr(lh_error_detail(), locks_scene.directory) != NULL);
	need_equal(lh_locks_open(locks_scene.url, &locks), -EROFS);
	need(strstr(lh_error_detail(), locks_scene.directory) != NULL);
}

static void a_read_only_file_system_is_told(void **state)
{
	struct peer peer = peer_start(try_read_only, NULL);
	const bool can = line_hear(&peer.line) != 0;

	(void)state;
	peer_join(&peer);
	close_all();
	if (!can) {
		printf("SKIP: mount(2) is refused here\n");
		skip();
	}
}

// With so many descriptors left as the context says. None: the lock file cannot be opened. One: it
// can, and then nothing more: not the directory, which is to be synced.
static void be_short_of_descriptors(const struct line *line, void *context)
{
	const int left = *(const int *)context;
	struct rlimit limit;
	int fd;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	let_go(hold("other", NULL));
	fd = dup(0);
	close(fd);
	need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = (rlim_t)fd + (rlim_t)left; // valgrind lets nobody lower the other
	need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	need_equal(refusal("key"), -EMFILE);
	need(left || strstr(lh_error_detail(), "key.lock") != NULL);
	line_say(line, 1);
}

static void too_many_open_files_are_told(void **state)
{
	int left = 0;
	struct peer peer = peer_start(be_short_of_descriptors, &left);

	(void)state;
	line_hear(&peer.line);
	peer_join(&peer);
	close_all();
}

// Tears the newest record, which is where the file now differs from `before`.
static void tear_record(const char *path, const uint8_t *before, size_t size)
{
	uint8_t now[3072];
	const int fd = open(path, O_RDWR | O_CLOEXEC);

	need(fd >= 0 && size <= sizeof(now) && pread(fd, now, size, 0) == (ssize_t)size);
	for (size_t i = 0; i < size; i++) {
		if (now[i] == before[i])
			continue;
		now[i] ^= 0xff;
		need(pwrite(fd, &now[i], 1, (off_t)i) == 1);
		break;
	}
	close(fd);
}

// G12
static void a_grant_that_fails_leaves_the_damage_to_be_told_of(void **state)
{
	static uint8_t before[3072];
	struct peer peer;
	lh_handle *handle;
	int fd, left = 1;

	(void)state;
	let_go(hold("key", NULL));
	fd = open(path_of("key.lock"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, before, sizeof(before)), sizeof(before));
	close(fd);
	locks_die_holding("key", NULL);
	tear_record(path_of("key.lock"), before, sizeof(before));
	peer = peer_start(be_short_of_descriptors, &left);
	line_hear(&peer.line);
	peer_join(&peer);
	handle = hold("key", NULL);
	assert_true(lh_handle_flags(handle) & LH_GRANT_OWNER_DIED);
	let_go(handle);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_TEST(what_is_no_lock_file_is_refused),
		FILE_TEST(whatever_the_bytes_are_calls_end),
		FILE_TEST(a_url_that_is_wrong_is_refused_with_the_reason),
		FILE_TEST(who_lacks_permission_is_told),
		FILE_TEST(a_read_only_file_system_is_told),
		FILE_TEST(too_many_open_files_are_told),
		FILE_TEST(a_grant_that_fails_leaves_the_damage_to_be_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
