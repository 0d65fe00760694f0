// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files: a process is killed just before and just after each system call of acquire
// and release, since nothing but system calls changes what others see. What it leaves is what the
// tables of docs/protocol/files.md say.
#include "tests/contract/locks.h"

#include <limits.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "src/provider/file.h"
#include "tests/support/tier.h"

enum { MOST_STOPS = 2000 };

// How far the one that is killed has come.
static struct progress {
	_Atomic int granted, repaired, releasing, released;
	_Atomic uint64_t token;
} * progress;

static char key[32];

struct operation {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
	void (*check)(void);
	unsigned stops;          // 0: to its end
	void (*meanwhile)(void); // when it falls asleep for the first time; NULL: nothing
	bool slow; // not killed at each point, but at some: which, depends on the tier
};

static const struct lh_acquire_options shared = { .mode = LH_SHARED };
static const struct lh_acquire_options permits = { .max_holders = 2 };

// ---- what is killed ------------------------------------------------------------------------------

static lh_handle *take(const struct lh_acquire_options *options)
{
	lh_handle *handle = hold(key, options);

	atomic_store(&progress->token, lh_handle_token(handle));
	atomic_store(&progress->granted, 1);
	return handle;
}

static void give_back(lh_handle *handle)
{
	atomic_store(&progress->releasing, 1);
	let_go(handle);
	atomic_store(&progress->released, 1);
}

static void run_exclusive(void)
{
	give_back(take(NULL));
}

static void run_repair(void)
{
	lh_handle *handle = take(NULL);

	need_equal(lh_handle_consistent(handle), 0);
	atomic_store(&progress->repaired, 1);
	give_back(handle);
}

static void run_shared(void)
{
	give_back(take(&shared));
}

static void run_permit(void)
{
	give_back(take(&permits));
}

static void run_all(void)
{
	const char *const keys[] = { key, "second" };
	lh_handle *handle;

	need_equal(lh_acquire_all(locks_scene.locks, keys, 2, LH_FOREVER, NULL, &handle), 0);
	atomic_store(&progress->granted, 1);
	give_back(handle);
}

// ---- before and after ----------------------------------------------------------------------------

static void prepare_nothing(void) {}

static void prepare_key(void)
{
	let_go(hold(key, NULL));
}

static void prepare_damage(void)
{
	locks_die_holding(key, NULL);
}

// G2, G5, G12
static bool is_told(const char *name)
{
	lh_handle *handle = hold(name, NULL);
	const bool told = (lh_handle_flags(handle) & LH_GRANT_OWNER_DIED) != 0;

	need(lh_handle_token(handle) > atomic_load(&progress->token));
	need_equal(lh_handle_consistent(handle), 0);
	let_go(handle);
	need_equal(attempt(name, &shared), 0);
	return told;
}

static void check_exclusive(void)
{
	const bool told = is_told(key);

	if (progress->granted && !progress->releasing)
		need(told);
	if (progress->released)
		need(!told);
}

static void check_repair(void)
{
	const bool told = is_told(key);

	if (!progress->granted || !progress->releasing)
		need(told); // not repaired, or lost once more
	if (progress->released)
		need(!told);
}

static void check_shared(void)
{
	need(!is_told(key));
}

static void check_permit(void)
{
	lh_handle *one = hold(key, &permits), *other = hold(key, &permits);

	need_equal(attempt(key, &permits), -EBUSY);
	let_go(one);
	let_go(other);
	need(!is_told(key)); // and none is needed: it may be a lock again
}

// G12: permits are of no concern to what the lock protects.
static void check_damaged_permit(void)
{
	lh_handle *permit = hold(key, &permits);

	need(lh_handle_token(permit) > atomic_load(&progress->token)); // G5
	let_go(permit);
	need(is_told(key));
}

static void check_all(void)
{
	check_exclusive();
	atomic_store(&progress->token, 0);
	if (is_told("second"))
		need(!progress->released);
}

// ---- one that waits, and one behind it -----------------------------------------------------------

static lh_handle *in_the_way;
static struct peer behind;

static void wait_behind(const struct line *line, void *context)
{
	lh_handle *handle;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	handle = hold(key, NULL);
	line_say(line, lh_handle_flags(handle));
	let_go(handle);
	close_all();
}

static void prepare_wait(void)
{
	in_the_way = hold(key, NULL);
}

// G8
static void check_wait(void)
{
	behind = peer_start(wait_behind, NULL);
	line_hear(&behind.line);
	let_go(in_the_way);
	need_equal(line_hear(&behind.line), 0); // nobody but a waiter has died
	peer_join(&behind);
}

// ---- one that waits, is granted, and lets one in beside itself -------------------------------------

static void prepare_shared_wait(void)
{
	in_the_way = hold(key, NULL);
}

static void read_beside(const struct line *line, void *context)
{
	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	line_say(line, lh_handle_flags(hold(key, &shared)));
	line_hear(line); // stays inside
}

// It is first in line, and asleep; another comes behind it, and the key is let go.
static void begin_reading(void)
{
	behind = peer_start(read_beside, NULL);
	line_hear(&behind.line);
	let_go(in_the_way);
	in_the_way = NULL;
}

// G8: who waits behind it gets in, whether it was let in or not.
static void check_shared_wait(void)
{
	if (in_the_way) // it was killed before it slept
		begin_reading();
	need_equal(line_hear(&behind.line), 0); // nobody but a reader has died
	peer_kill(&behind);
	need_equal(attempt(key, NULL), 0);
}

// ---- one that passes another, who is stopped first in line --------------------------------------------

static struct peer stopped;

static bool is_awaited(void)
{
	const struct provider_key wanted = { .bytes = key, .size = strlen(key) };
	struct lock_file file;
	int error;

	need_equal(lock_file_open(&file, locks_scene.directory, 0600, &wanted), 0);
	error = bytes_see_turn(&file);
	lock_file_close(&file);
	return error == -EAGAIN;
}

static void prepare_stopped(void)
{
	int status;

	in_the_way = hold(key, NULL);
	stopped = peer_start(wait_behind, NULL);
	line_hear(&stopped.line);
	while (!is_awaited())
		sched_yield();
	need(kill(stopped.pid, SIGSTOP) == 0);
	need(waitpid(stopped.pid, &status, WUNTRACED) == stopped.pid);
	let_go(in_the_way);
}

// G8: the stopped one is first when it goes on, and the next comes after it.
static void check_stopped(void)
{
	const bool held = atomic_load(&progress->granted) && !atomic_load(&progress->releasing);
	const bool freed = atomic_load(&progress->released);
	int64_t flags;

	need(kill(stopped.pid, SIGCONT) == 0);
	flags = line_hear(&stopped.line);
	need(!held || flags == LH_GRANT_OWNER_DIED);
	need(!freed || flags == 0);
	peer_join(&stopped);
	let_go(hold(key, NULL));
}

static const struct operation operations[] = {
	{ .name = "exclusive, a new key",
	  .prepare = prepare_nothing,
	  .run = run_exclusive,
	  .check = check_exclusive },
	{ .name = "exclusive",
	  .prepare = prepare_key,
	  .run = run_exclusive,
	  .check = check_exclusive },
	{ .name = "exclusive, repaired",
	  .prepare = prepare_damage,
	  .run = run_repair,
	  .check = check_repair },
	{ .name = "shared, a new key",
	  .prepare = prepare_nothing,
	  .run = run_shared,
	  .check = check_shared },
	{ .name = "shared", .prepare = prepare_key, .run = run_shared, .check = check_shared },
	{ .name = "permit of what was a lock",
	  .prepare = prepare_key,
	  .run = run_permit,
	  .check = check_permit },
	{ .name = "permit of a damaged key",
	  .prepare = prepare_damage,
	  .run = run_permit,
	  .check = check_damaged_permit },
	{ .name = "two keys", .prepare = prepare_key, .run = run_all, .check = check_all },
	{ .name = "wait",
	  .prepare = prepare_wait,
	  .run = run_exclusive,
	  .check = check_wait,
	  .stops = 80 },
	{ .name = "shared wait, then granted, one behind it",
	  .prepare = prepare_shared_wait,
	  .run = run_shared,
	  .check = check_shared_wait,
	  .meanwhile = begin_reading },
	{ .name = "pass one who is stopped",
	  .prepare = prepare_stopped,
	  .run = run_exclusive,
	  .check = check_stopped,
	  .slow = true },
};

// ---- the harness ---------------------------------------------------------------------------------

__attribute__((noreturn)) static void be_killed(const struct operation *operation)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(1);
	raise(SIGSTOP);
	operation->run();
	_exit(0);
}

static bool falls_asleep(pid_t pid)
{
	struct __ptrace_syscall_info info;

	return ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 &&
	       info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_ppoll;
}

// One that stops itself, before it begins the operation.
static pid_t start(const struct operation *operation)
{
	int status;
	const pid_t pid = fork();

	need(pid >= 0);
	if (pid == 0)
		be_killed(operation);
	need(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	need(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
	return pid;
}

// On to its next entry into or return from a system call. False: it has ended.
static bool goes_on(pid_t pid)
{
	int status;

	need(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
	need(waitpid(pid, &status, 0) == pid);
	if (WIFSTOPPED(status))
		return true;
	need(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return false;
}

static void end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	need(waitpid(pid, &status, 0) == pid);
}

// Kills it at its `stops`th entry into or return from a system call. False: it had ended before.
static bool kill_at(const struct operation *operation, unsigned stops)
{
	void (*meanwhile)(void) = operation->meanwhile;
	const pid_t pid = start(operation);

	for (unsigned i = 0; i < stops; i++) {
		if (!goes_on(pid))
			return false;
		if (meanwhile && falls_asleep(pid)) {
			meanwhile();
			meanwhile = NULL;
		}
	}
	end(pid);
	return true;
}

// G1, G2, G5, G8, G12
static void whoever_dies_at_any_call_leaves_what_the_tables_say(void **state)
{
	(void)state;
	progress = locks_share(sizeof(*progress));
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		const struct operation *operation = &operations[i];
		const unsigned most = operation->stops ? operation->stops : MOST_STOPS;
		bool again = true;
		unsigned stops = 0;

		while (again && stops < most) {
			snprintf(key, sizeof(key), "%zu of %u", i, stops);
			memset(progress, 0, sizeof(*progress));
			operation->prepare();
			again = kill_at(operation, stops);
			stops += operation->slow ? (unsigned)tier_pick(61, 13, 3) : 1;
			operation->check();
		}
		need(!again || stops == operation->stops);
		printf("%s: killed at points up to %u\n", operation->name, stops);
	}
	close_all();
}

// ---- one who is stopped while it looks and takes ---------------------------------------------------

// Whether somebody has the key's ENTRY: another open file cannot lock it.
static bool is_entered(void)
{
	const struct provider_key wanted = { .bytes = key, .size = strlen(key) };
	struct lock_file file;
	int error;

	need_equal(lock_file_open(&file, locks_scene.directory, 0600, &wanted), 0);
	error = bytes_enter(&file, LH_NOW);
	lock_file_close(&file);
	return error == -EAGAIN;
}

// How often this thread gave its processor up to wait for something, while it tried once.
static long sleeps_of_a_try(const struct lh_acquire_options *options)
{
	struct rusage before, after;
	lh_handle *handle;

	need(getrusage(RUSAGE_THREAD, &before) == 0);
	need_equal(lh_acquire(locks_scene.locks, key, LH_NOW, options, &handle), -EBUSY);
	need(getrusage(RUSAGE_THREAD, &after) == 0);
	return after.ru_nvcsw - before.ru_nvcsw;
}

// api.md, LH_NOW: whoever would have to wait says -EBUSY, and does not sleep first. What holds the
// caller up here goes on only after that. Opening a file may sleep, but does not each time.
static void nobody_who_tries_once_sleeps_for_one_stopped_in_its_look(void **state)
{
	static const struct lh_acquire_options *const tries[] = { NULL, &shared, &permits };
	const struct operation *operation = &operations[4]; // shared
	lh_handle *handle;
	unsigned stops = 0;
	pid_t pid;

	(void)state;
	progress = locks_share(sizeof(*progress));
	snprintf(key, sizeof(key), "stopped");
	prepare_key();
	pid = start(operation);
	while (!is_entered())
		need(goes_on(pid));
	for (; is_entered(); stops++) {
		for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
			long least = LONG_MAX;

			for (int look = 0; look < 5 && least; look++) {
				const long sleeps = sleeps_of_a_try(tries[i]);

				least = sleeps < least ? sleeps : least;
			}
			assert_int_equal(least, 0);
		}
		need_equal(
			lh_acquire(locks_scene.locks, key, lh_deadline_after(1), &shared, &handle),
			-ETIMEDOUT);
		need(goes_on(pid));
	}
	assert_true(stops > 1);
	end(pid);
	need_equal(attempt(key, NULL), 0);
	close_all();
}

static int begin(void **state)
{
	const int result = watch_begin(state);

	watch("a crash at each call", 500);
	locks_make_directory("/dev/shm", "");
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	return result;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whoever_dies_at_any_call_leaves_what_the_tables_say,
						begin, locks_teardown),
		cmocka_unit_test_setup_teardown(
			nobody_who_tries_once_sleeps_for_one_stopped_in_its_look, begin,
			locks_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
