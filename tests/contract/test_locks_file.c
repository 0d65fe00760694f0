// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files: names on disk, what the files keep, and what becomes of both. The URL is the
// test's own.
#include "tests/contract/locks.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/provider/file.h"

static const struct lh_acquire_options shared = { .mode = LH_SHARED };

static int begin_in(void **state, const char *parent, const char *query)
{
	const int result = watch_begin(state);

	locks_scene.arena[0] = '\0';
	locks_make_directory(parent, query);
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	return result;
}

static int begin(void **state)
{
	return begin_in(state, "/tmp", "");
}

#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, begin, locks_teardown)

static const char *path_of(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", locks_scene.directory, name);
	return path;
}

static int refusal(const char *key)
{
	lh_handle *handle;
	const int error = lh_acquire(locks_scene.locks, key, LH_NOW, NULL, &handle);

	need(error < 0);
	return error;
}

// ---- names ---------------------------------------------------------------------------------------

// "key to file name by percent-encoding, SHA-256 above 200 bytes"
static void a_key_has_a_file_that_stays(void **state)
{
	static char most[201], more[202], capitals[68], name[210];
	static const struct {
		const char *key, *name;
	} keys[] = {
		{ "", "%.lock" },
		{ "a", "a.lock" },
		{ "A", "%41.lock" },
		{ "%41", "%2541.lock" },
		{ "../a", "%2e.%2fa.lock" },
		{ ".hidden", "%2ehidden.lock" },
		{ "a.b-c_9", "a.b-c_9.lock" },
		{ "\xc3\xa4 b", "%c3%a4%20b.lock" },
		{ most, NULL },
		// sha256sum of 201 times 'x'
		{ more, "%sha256-"
			"84a0678c90937f5dcf9994d5866668da6b995109c8ad845410559b48a4ecafed.lock" },
		{ capitals, NULL },
	};

	(void)state;
	memset(most, 'x', 200);
	memset(more, 'x', 201);
	memset(capitals, 'X', 67); // 201 when encoded
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		let_go(hold(keys[i].key, NULL));
		if (keys[i].name)
			assert_int_equal(access(path_of(keys[i].name), F_OK), 0);
	}
	strcat(strcpy(name, most), ".lock");
	assert_int_equal(access(path_of(name), F_OK), 0);
	close_all();
}

static void new_files_have_the_mode_of_the_url(void **state)
{
	const mode_t before = umask(077);
	struct stat status;

	(void)state;
	close_all();
	snprintf(locks_scene.url, sizeof(locks_scene.url), "file://localhost%s?mode=0664",
		 locks_scene.directory);
	assert_int_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	let_go(hold("key", NULL));
	umask(before);
	assert_int_equal(stat(path_of("key.lock"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0664);
	close_all();
}

// "the key stored in the file and compared"
static void another_keys_file_is_refused(void **state)
{
	char from[400];

	(void)state;
	let_go(hold("one", NULL));
	snprintf(from, sizeof(from), "%s", path_of("one.lock"));
	assert_int_equal(rename(from, path_of("other.lock")), 0);
	assert_int_equal(refusal("other"), -EBADMSG);
	assert_non_null(strstr(lh_error_detail(), "another key"));
	assert_int_equal(attempt("one", NULL), 0);
	close_all();
}

// ---- the name leads elsewhere --------------------------------------------------------------------

static void wait_and_say_token(const struct line *line, void *context)
{
	lh_handle *handle;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	handle = hold("key", NULL);
	line_say(line, (int64_t)lh_handle_token(handle));
	lh_handle_release(handle); // lost, where its file is moved once more
	close_all();
}

// "inode rechecked after locking": who waits goes over to the new file, and the old holder is told.
static void a_file_that_was_moved_away_is_left_by_all(void **state)
{
	lh_handle *handle = hold("key", NULL);
	struct peer waiter = peer_start(wait_and_say_token, NULL);
	char from[400];

	(void)state;
	line_hear(&waiter.line);
	snprintf(from, sizeof(from), "%s", path_of("key.lock"));
	assert_int_equal(rename(from, path_of("gone")), 0);
	assert_int_equal(line_hear(&waiter.line), 1); // the first token of a new file
	assert_false(lh_handle_valid(handle));
	assert_int_equal(lh_handle_remaining(handle), 0);
	assert_int_equal(lh_handle_extend(handle, LH_SEC(1)), -ESTALE);
	assert_int_equal(lh_handle_consistent(handle), -ESTALE);
	assert_int_equal(rename(path_of("gone"), from), 0); // it is not revived
	assert_false(lh_handle_valid(handle));
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	peer_join(&waiter);
	close_all();
}

static void count(void *context)
{
	atomic_fetch_add((_Atomic int *)context, 1);
}

// G4
static void the_loss_of_a_file_is_told(void **state)
{
	_Atomic int calls = 0, never = 0;
	struct lh_acquire_options options = { .on_loss = count, .context = &calls };
	lh_handle *handle = hold("key", &options), *other;
	struct pollfd descriptor = { .events = POLLIN };

	(void)state;
	options.context = &never;
	other = hold("other", &options);
	descriptor.fd = lh_handle_loss_fd(handle);
	assert_true(descriptor.fd >= 0);
	assert_int_equal(poll(&descriptor, 1, 0), 0);
	assert_int_equal(unlink(path_of("key.lock")), 0);
	assert_int_equal(poll(&descriptor, 1, -1), 1);
	while (!atomic_load(&calls))
		sched_yield();
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	let_go(other);
	assert_int_equal(calls, 1);
	assert_int_equal(never, 0);
	close_all();
}

static void a_directory_that_is_gone_is_told(void **state)
{
	lh_handle *handle = hold("key", NULL);

	(void)state;
	assert_int_equal(unlink(path_of("key.lock")), 0);
	assert_int_equal(rmdir(locks_scene.directory), 0);
	assert_false(lh_handle_valid(handle));
	assert_int_equal(refusal("other"), -ENOENT);
	assert_non_null(strstr(lh_error_detail(), locks_scene.directory));
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	close_all();
}

// ---- content -------------------------------------------------------------------------------------

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
	static const char *const keys[] = { "directory", "link", "fifo", "socket", "text", "short" };

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

// As a crash of the host, or somebody else, may leave them.
static void change_record(const char *key, bool is_of_other_boot)
{
	const struct provider_key wanted = { .bytes = key, .size = strlen(key) };
	struct file_record record;
	struct lock_file file;

	need_equal(lock_file_open(&file, locks_scene.directory, 0600, &wanted), 0);
	need_equal(file_read(&file, &wanted, &record), 0);
	if (is_of_other_boot) {
		record.boot_id[3] ^= 1;
		need_equal(file_write(&file, &record), 0);
	} else {
		const off_t at = 512 + (off_t)(record.serial % 2 * 512);

		need(pwrite(file.fd, "garbage", 7, at + 3) == 7);
	}
	lock_file_close(&file);
}

// G5: what the last boot's token was nobody knows but that it was below the ceiling.
static void tokens_rise_over_a_crash_of_the_host(void **state)
{
	lh_handle *handle = hold("key", NULL);
	uint64_t token = lh_handle_token(handle);

	(void)state;
	let_go(handle);
	for (int i = 0; i < 3; i++) {
		change_record("key", true);
		handle = hold("key", NULL);
		assert_true(lh_handle_token(handle) > token + FILE_TOKENS_RESERVED / 2);
		assert_int_equal(lh_handle_flags(handle), 0);
		token = lh_handle_token(handle);
		let_go(handle);
		handle = hold("key", NULL);
		assert_int_equal(lh_handle_token(handle), token + 1);
		token++;
		let_go(handle);
	}
	close_all();
}

// G5, G12: the newer record is lost, which may have said anything.
static void a_damaged_record_is_told_and_its_token_passed_over(void **state)
{
	lh_handle *handle = hold("key", NULL);
	const uint64_t token = lh_handle_token(handle);

	(void)state;
	let_go(handle);
	change_record("key", false);
	handle = hold("key", &shared);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	let_go(handle);
	handle = hold("key", NULL);
	assert_true(lh_handle_token(handle) > token);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_handle_consistent(handle), 0);
	let_go(handle);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), 0);
	let_go(handle);
	change_record("key", false);
	change_record("key", false); // and the one before it
	assert_int_equal(refusal("key"), -EBADMSG);
	assert_non_null(strstr(lh_error_detail(), "key.lock"));
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
		const size_t size = seed % 3 ? sizeof(bytes) : seed * 7 % sizeof(bytes);
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
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", locks_scene.directory, "tmpfs", 0, NULL) != 0) {
		line_say(line, 0);
		return;
	}
	line_say(line, 1);
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	need(mount(NULL, locks_scene.directory, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
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

static void use_last_descriptor(const struct line *line, void *context)
{
	struct rlimit limit;
	int fd;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	let_go(hold("other", NULL));
	fd = dup(0);
	close(fd);
	limit = (struct rlimit){ (rlim_t)fd, (rlim_t)fd };
	need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	need_equal(refusal("key"), -EMFILE);
	need(strstr(lh_error_detail(), "key.lock") != NULL);
	line_say(line, 1);
}

static void too_many_open_files_are_told(void **state)
{
	struct peer peer = peer_start(use_last_descriptor, NULL);

	(void)state;
	line_hear(&peer.line);
	peer_join(&peer);
	close_all();
}

// ---- waiting -------------------------------------------------------------------------------------

static void wait_without_notifier(const struct line *line, void *context)
{
	struct rlimit limit;
	int fd;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	fd = dup(0);
	close(fd);
	limit = (struct rlimit){ (rlim_t)fd + 1, (rlim_t)fd + 1 };
	need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	line_say(line, 1);
	let_go(hold("key", NULL));
	line_say(line, 1);
}

// "only the backstop": a waiter that cannot be told looks by itself.
static void who_has_no_notifier_waits_all_the_same(void **state)
{
	lh_handle *handle = hold("key", NULL);
	struct peer waiter = peer_start(wait_without_notifier, NULL);
	const uint64_t until = lh_now() + LH_MS(30);

	(void)state;
	line_hear(&waiter.line);
	while (lh_now() < until)
		assert_false(line_can_hear(&waiter.line));
	let_go(handle);
	line_hear(&waiter.line);
	peer_join(&waiter);
	close_all();
}

// G8, for one that is stopped rather than dead: it is first in line, and keeps nobody out for ever.
static void who_is_stopped_first_in_line_is_passed(void **state)
{
	lh_handle *handle = hold("key", NULL);
	struct peer first = peer_start(wait_and_say_token, NULL);
	uint64_t until;
	int status;

	(void)state;
	line_hear(&first.line);
	until = lh_now() + LH_MS(50); // most often it is in line by then
	while (lh_now() < until)
		sched_yield();
	assert_int_equal(kill(first.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(first.pid, &status, WUNTRACED), first.pid);
	let_go(handle);
	let_go(hold("key", NULL));
	let_go(hold("key", &shared));
	assert_int_equal(kill(first.pid, SIGCONT), 0);
	line_hear(&first.line);
	peer_join(&first);
	close_all();
}

// ---- the holder's process ------------------------------------------------------------------------

static void stay(const struct line *line, void *context)
{
	lh_handle *handle = context;

	need_equal(lh_handle_release(handle), -ESTALE);
	line_say(line, 1);
	for (;;)
		pause();
}

static void hold_and_fork(const struct line *line, void *context)
{
	lh_handle *handle;
	struct peer child;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	handle = hold("key", NULL);
	child = peer_start(stay, handle);
	line_hear(&child.line);
	need_equal(attempt("key", NULL), -EBUSY); // the child has released nothing
	line_say(line, child.pid);
	line_hear(line);
}

// G2: a child's copies of descriptors keep nothing.
static void a_forked_child_does_not_keep_its_dead_parents_key(void **state)
{
	struct peer peer = peer_start(hold_and_fork, NULL);
	lh_handle *handle;

	(void)state;
	assert_true(line_hear(&peer.line) > 0);
	peer_kill(&peer);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	let_go(handle);
	close_all();
}

// "an OFD lock of a stopped process cannot be taken away": it has no TTL, and says so.
static void a_stopped_holder_keeps_the_key(void **state)
{
	struct locks_holding holding = { "key", NULL };
	struct peer peer = peer_start(locks_hold_and_stay, &holding);
	lh_handle *handle;

	(void)state;
	line_hear(&peer.line);
	assert_int_equal(kill(peer.pid, SIGSTOP), 0);
	assert_int_equal(lh_acquire(locks_scene.locks, "key", lh_deadline_after(LH_MS(50)), NULL,
				    &handle),
			 -ETIMEDOUT);
	peer_kill(&peer);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_remaining(handle), UINT64_MAX);
	assert_int_equal(lh_handle_extend(handle, LH_SEC(1)), 0);
	let_go(handle);
	close_all();
}

// ---- file systems --------------------------------------------------------------------------------

static void take_and_die_on(void **state, const char *parent)
{
	lh_handle *handle;
	uint64_t token;

	begin_in(state, parent, "");
	token = locks_die_holding("key", NULL);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_token(handle), token + 1);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	let_go(handle);
	close_all();
	locks_teardown(state);
}

static void on_tmpfs_and_on_another(void **state)
{
	static const char *const parents[] = { "/dev/shm", "/tmp", "/var/tmp" };

	close_all();
	locks_teardown(state);
	for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]); i++)
		take_and_die_on(state, parents[i]);
	locks_scene.directory[0] = '\0';
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_TEST(a_key_has_a_file_that_stays),
		FILE_TEST(new_files_have_the_mode_of_the_url),
		FILE_TEST(another_keys_file_is_refused),
		FILE_TEST(a_file_that_was_moved_away_is_left_by_all),
		FILE_TEST(the_loss_of_a_file_is_told),
		FILE_TEST(a_directory_that_is_gone_is_told),
		FILE_TEST(what_is_no_lock_file_is_refused),
		FILE_TEST(tokens_rise_over_a_crash_of_the_host),
		FILE_TEST(a_damaged_record_is_told_and_its_token_passed_over),
		FILE_TEST(whatever_the_bytes_are_calls_end),
		FILE_TEST(a_url_that_is_wrong_is_refused_with_the_reason),
		FILE_TEST(who_lacks_permission_is_told),
		FILE_TEST(a_read_only_file_system_is_told),
		FILE_TEST(too_many_open_files_are_told),
		FILE_TEST(who_has_no_notifier_waits_all_the_same),
		FILE_TEST(who_is_stopped_first_in_line_is_passed),
		FILE_TEST(a_forked_child_does_not_keep_its_dead_parents_key),
		FILE_TEST(a_stopped_holder_keeps_the_key),
		FILE_TEST(on_tmpfs_and_on_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
