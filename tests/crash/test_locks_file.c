// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files: a process is killed just before and just after each system call of acquire and
// release, since nothing but system calls changes what others see. What it leaves is what the tables
// of docs/protocol/files.md say.
#include "tests/contract/locks.h"

#include <signal.h>
#include <sys/ptrace.h>

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
	unsigned stops; // 0: to its end
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

static const struct operation operations[] = {
	{ "exclusive, a new key", prepare_nothing, run_exclusive, check_exclusive, 0 },
	{ "exclusive", prepare_key, run_exclusive, check_exclusive, 0 },
	{ "exclusive, repaired", prepare_damage, run_repair, check_repair, 0 },
	{ "shared, a new key", prepare_nothing, run_shared, check_shared, 0 },
	{ "shared", prepare_key, run_shared, check_shared, 0 },
	{ "permit of what was a lock", prepare_key, run_permit, check_permit, 0 },
	{ "two keys", prepare_key, run_all, check_all, 0 },
	{ "wait", prepare_wait, run_exclusive, check_wait, 80 },
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

// Kills it at its `stops`th entry into or return from a system call. False: it had ended before.
static bool kill_at(const struct operation *operation, unsigned stops)
{
	int status;
	const pid_t pid = fork();

	need(pid >= 0);
	if (pid == 0)
		be_killed(operation);
	need(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	need(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
	for (unsigned i = 0; i < stops; i++) {
		need(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
		need(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status)) {
			need(WIFEXITED(status) && WEXITSTATUS(status) == 0);
			return false;
		}
	}
	kill(pid, SIGKILL);
	need(waitpid(pid, &status, 0) == pid);
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
		bool goes_on = true;
		unsigned stops = 0;

		while (goes_on && stops < most) {
			snprintf(key, sizeof(key), "%zu of %u", i, stops);
			memset(progress, 0, sizeof(*progress));
			operation->prepare();
			goes_on = kill_at(operation, stops++);
			operation->check();
		}
		need(!goes_on || stops == operation->stops);
		printf("%s: killed at %u points\n", operation->name, stops);
	}
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
