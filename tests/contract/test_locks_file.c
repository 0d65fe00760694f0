// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files: names on disk, what the files keep, what becomes of both, and who waits for
// them.
#include "tests/contract/locks_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "src/provider/file.h"

static const struct lh_acquire_options shared = { .mode = LH_SHARED };

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
	snprintf(name, sizeof(name), "%s.lock", most);
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

		need(pwrite(file.open.fd, "garbage", 7, at + 3) == 7);
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
	struct locks_holding holding = { "key", NULL };
	struct peer peer = peer_start(locks_hold_and_stay, &holding);
	const uint64_t token = (uint64_t)line_hear(&peer.line);
	lh_handle *handle;

	(void)state;
	change_record("key", false); // what is left is of the time before the grant
	peer_kill(&peer);
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

// ---- waiting -------------------------------------------------------------------------------------

static void wait_without_notifier(const struct line *line, void *context)
{
	struct rlimit limit;
	int fd;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	fd = dup(0);
	close(fd);
	need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = (rlim_t)fd + 1; // valgrind lets nobody lower the other
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

	need(prctl(PR_SET_PDEATHSIG, 0) == 0); // it outlives its parent
	line_say(line, 1);
	line_hear(line);
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
	line_say(&child.line, 1);
	line_hear(&child.line);
	need_equal(attempt("key", NULL), -EBUSY); // the child has released nothing
	line_say(line, child.pid);
	line_hear(line);
}

// G2: a child's copies of descriptors keep nothing.
static void a_forked_child_does_not_keep_its_dead_parents_key(void **state)
{
	struct peer peer = peer_start(hold_and_fork, NULL);
	const pid_t child = (pid_t)line_hear(&peer.line);
	lh_handle *handle;

	(void)state;
	assert_true(child > 0);
	peer_kill(&peer);
	handle = hold("key", NULL);
	assert_int_equal(kill(child, SIGKILL), 0); // it was still there
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
	assert_int_equal(
		lh_acquire(locks_scene.locks, "key", lh_deadline_after(LH_MS(50)), NULL, &handle),
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

	watch_begin(state);
	locks_make_directory(parent, "");
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
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
		FILE_TEST(tokens_rise_over_a_crash_of_the_host),
		FILE_TEST(a_damaged_record_is_told_and_its_token_passed_over),
		FILE_TEST(who_has_no_notifier_waits_all_the_same),
		FILE_TEST(who_is_stopped_first_in_line_is_passed),
		FILE_TEST(a_forked_child_does_not_keep_its_dead_parents_key),
		FILE_TEST(a_stopped_holder_keeps_the_key),
		FILE_TEST(on_tmpfs_and_on_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
