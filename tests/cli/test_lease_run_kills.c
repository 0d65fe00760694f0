// SPDX-License-Identifier: Apache-2.0
//
// lease-run, its guard and its leash killed at any instant: no command runs beside another, none is
// left behind. (lease-run(1), WHAT ENDS WHAT; G1, G2, G5.)
//
// The command is this program: `test_lease_run_kills work FILE` runs for a moment and sees whether
// it is alone, `test_lease_run_kills stay` stays.
// ctest: TIMEOUT 900

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <stdnoreturn.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/cli/inspector_test.h"
#include "tests/support/tier.h"

#define DRIVERS 4
#define WATCHDOG_S 120 // of a driver, and of a wait for an end

// What the commands tell each other.
struct board {
	_Atomic uint64_t highest; // token of the command that began last
	_Atomic uint64_t runs, late, beside, overlaps;
};

static char self[512], lease_run[512], arena[64], url[80], board_path[128];
static struct board *board;
static uint64_t seed;

static uint64_t random_below(uint64_t *state, uint64_t bound)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % bound;
}

static struct board *map_board(const char *path, int *ret_fd)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *map;

	if (fd < 0 || ftruncate(fd, sizeof(struct board)) != 0)
		return NULL;
	map = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*ret_fd = fd;
	return map == MAP_FAILED ? NULL : map;
}

// ---- the commands -------------------------------------------------------------------------------

// A command that has been killed may not have left the kernel yet when the next one begins, but it
// does nothing any more: after a higher token stands on the board no lower one is found to run. And
// one whose front was killed has ended altogether before: the kernel has let go its flock.
static int work(const char *path)
{
	const char *text = getenv("LEASE_TOKEN");
	const uint64_t token = text ? strtoull(text, NULL, 10) : 0;
	const uint64_t until = lh_now() + LH_MS(1) / 4 * (token % 8);
	uint64_t highest;
	int fd;

	board = map_board(path, &fd);
	if (!board)
		return 1;
	highest = atomic_exchange(&board->highest, token);
	if (highest >= token)
		atomic_fetch_add(&board->late, 1);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		atomic_fetch_add(&board->overlaps, 1);
	do {
		if (atomic_load(&board->highest) != token)
			atomic_fetch_add(&board->beside, 1);
	} while (lh_now() < until);
	atomic_fetch_add(&board->runs, 1);
	return 0;
}

// ---- starting and killing -----------------------------------------------------------------------

// exec's lease-run, in a child.
static void become(const char *options, const char *const command[])
{
	const char *arguments[16] = { lease_run, "--url", url };
	size_t count = 3;

	if (*options)
		arguments[count++] = options;
	arguments[count++] = "kills";
	arguments[count++] = "--";
	for (size_t i = 0; command[i]; i++)
		arguments[count++] = command[i];
	execv(lease_run, (char *const *)arguments);
	_exit(99);
}

static pid_t start(const char *options, const char *const command[])
{
	const pid_t pid = fork();

	if (pid == 0)
		become(options, command);
	return pid;
}

// The guard of that lease-run, from the label of its lease; 0: it has none, or not yet.
static pid_t guard_of(const lh_arena *looked_at, pid_t front)
{
	struct lh_lease_info lease;
	uint64_t cursor = 0;
	char label[32];

	snprintf(label, sizeof(label), "lease-run %d ", (int)front);
	while (lh_next_lease(looked_at, &cursor, &lease) == 0) {
		if (strncmp(lease.label, label, strlen(label)) == 0 && lease.state == LH_LEASE_LIVE)
			return lease.pid;
	}
	return 0;
}

static void rest(uint64_t ns)
{
	const struct timespec time = { .tv_nsec = (long)ns };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

// Makes sure that there is an arena to look into.
static void make_arena(void)
{
	lh_locks *locks;

	assert_int_equal(lh_locks_open(url, &locks), 0);
	assert_int_equal(lh_locks_close(locks), 0);
}

// ---- storms -------------------------------------------------------------------------------------

// Starts lease-runs and kills two in three of them, or of their guards.
static void drive(uint64_t number, uint64_t rounds, const char *options, bool guards)
{
	const char *const command[] = { self, "work", board_path, NULL };
	uint64_t state = seed + number * 0x9e3779b97f4a7c15u;
	lh_arena *looked_at;

	alarm(WATCHDOG_S);
	if (lh_arena_open(arena, LH_READ_ONLY, NULL, &looked_at) != 0)
		_exit(98);
	for (uint64_t round = 0; round < rounds; round++) {
		const pid_t pid = start(options, command);
		const uint64_t choice = random_below(&state, 3);

		rest(random_below(&state, LH_MS(25)));
		if (choice == 1 && guards) {
			const pid_t guard = guard_of(looked_at, pid);

			if (guard)
				kill(guard, SIGKILL);
		} else if (choice > 0) {
			kill(pid, SIGKILL);
		}
		if (waitpid(pid, NULL, 0) != pid)
			_exit(97);
	}
	_exit(0);
}

static void storm(const char *options, bool guards)
{
	const uint64_t rounds = tier_pick(15, 80, 120);
	pid_t drivers[DRIVERS];
	lh_handle *handle;
	lh_locks *locks;
	int status;

	make_arena();
	memset(board, 0, sizeof(*board));
	for (uint64_t i = 0; i < DRIVERS; i++) {
		drivers[i] = fork();
		if (drivers[i] == 0)
			drive(i + 1, rounds, options, guards);
	}
	for (size_t i = 0; i < DRIVERS; i++) {
		assert_int_equal(waitpid(drivers[i], &status, 0), drivers[i]);
		assert_int_equal(status, 0);
	}
	// Whoever was killed last leaves the lock to us.
	assert_int_equal(lh_locks_open(url, &locks), 0);
	assert_int_equal(lh_acquire(locks, "kills", LH_FOREVER, NULL, &handle), 0);
	assert_int_equal(lh_handle_release(handle), 0);
	assert_int_equal(lh_locks_close(locks), 0);
	print_message("%llu of %llu ran to their end\n", (unsigned long long)board->runs,
		      (unsigned long long)rounds * DRIVERS);
	assert_true(board->runs > 0);
	assert_int_equal(board->late, 0);
	assert_int_equal(board->beside, 0);
	if (!guards)
		assert_int_equal(board->overlaps, 0);
}

static void no_command_runs_beside_another_when_lease_runs_are_killed(void **state)
{
	(void)state;
	storm("", false);
}

static void no_command_runs_beside_another_when_guards_are_killed(void **state)
{
	(void)state;
	storm("", true);
}

static void no_command_runs_beside_another_when_commands_without_fork_are_killed(void **state)
{
	(void)state;
	storm("-F", false);
}

static void no_command_runs_beside_another_when_guards_without_fork_are_killed(void **state)
{
	(void)state;
	storm("-F", true);
}

// ---- ends ---------------------------------------------------------------------------------------

// Of a pipe that the command and all it starts keep open, the end: when all of them have ended.
static int start_with_pipe(const char *options, const char *const command[], pid_t *ret_pid)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	*ret_pid = fork();
	assert_true(*ret_pid >= 0);
	if (*ret_pid == 0) {
		fcntl(ends[1], F_SETFD, 0);
		become(options, command);
	}
	close(ends[1]);
	return ends[0];
}

// Waits until all that hold the pipe have ended. Whether a command had begun.
static bool wait_for_end(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };
	bool begun = false;
	char byte;
	ssize_t size;

	for (;;) {
		if (poll(&entry, 1, WATCHDOG_S * 1000) != 1)
			fail_msg("somebody lives on");
		size = read(fd, &byte, 1);
		if (size <= 0)
			break;
		begun = true;
	}
	close(fd);
	return begun;
}

// Says that it has begun, by a byte on each descriptor that is a pipe, and stays.
static noreturn void stay(void)
{
	for (int fd = 3; fd < 64; fd++)
		(void)!write(fd, "b", 1);
	for (;;)
		pause();
}

static void command_ends_with_killed_lease_run_at_any_instant(void **unused)
{
	const char *const command[] = { self, "stay", NULL };
	const uint64_t rounds = tier_pick(20, 100, 200);
	uint64_t state = seed, begun = 0;

	(void)unused;
	for (uint64_t round = 0; round < rounds; round++) {
		pid_t pid;
		char byte;
		const int fd = start_with_pipe("", command, &pid);

		// One in four has begun for sure; the others are anywhere.
		if (round % 4 == 0) {
			assert_int_equal(read(fd, &byte, 1), 1);
			begun++;
			rest(random_below(&state, LH_MS(1)));
		} else {
			rest(random_below(&state, LH_MS(1) * (1 + round % 40)));
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		begun += wait_for_end(fd);
	}
	print_message("%llu of %llu had begun\n", (unsigned long long)begun,
		      (unsigned long long)rounds);
}

static void what_the_command_started_ends_with_a_killed_lease_run(void **state)
{
	const char *const command[] = { "/bin/sh", "-c",
					"\"$0\" stay & (\"$0\" stay & wait) & wait", self, NULL };
	pid_t pid;
	char bytes[2];

	(void)state;
	const int fd = start_with_pipe("", command, &pid);

	// Both of them are there.
	for (size_t got = 0; got < sizeof(bytes);) {
		const ssize_t size = read(fd, bytes + got, sizeof(bytes) - got);

		assert_true(size > 0);
		got += (size_t)size;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	wait_for_end(fd);
}

// Kills the guard once the command has begun; with `both`, lease-run with it, which cannot do
// anything in between. *ret_status: of lease-run.
static void kill_guard(const char *options, bool both, int *ret_status)
{
	const char *const command[] = { self, "stay", NULL };
	lh_arena *looked_at;
	pid_t pid, guard;
	char byte;

	make_arena();
	assert_int_equal(lh_arena_open(arena, LH_READ_ONLY, NULL, &looked_at), 0);
	const int fd = start_with_pipe(options, command, &pid);

	assert_int_equal(read(fd, &byte, 1), 1);
	guard = guard_of(looked_at, pid);
	assert_true(guard > 0);
	if (both)
		kill(pid, SIGSTOP);
	kill(guard, SIGKILL);
	if (both)
		kill(pid, SIGKILL);
	wait_for_end(fd);
	assert_int_equal(waitpid(pid, ret_status, 0), pid);
	lh_arena_close(looked_at);
}

static void command_ends_with_a_killed_guard_and_lease_run_tells(void **state)
{
	int status;

	(void)state;
	kill_guard("", false, &status);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 79);
}

static void command_ends_when_lease_run_and_its_guard_are_killed_at_once(void **state)
{
	int status;

	(void)state;
	kill_guard("", true, &status);
	assert_true(WIFSIGNALED(status));
}

static void command_without_fork_ends_with_a_killed_guard(void **state)
{
	int status;

	(void)state;
	kill_guard("-F", false, &status);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

// The child of that process; there is one.
static pid_t child_of(pid_t parent)
{
	char path[64];
	FILE *list;
	int child = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
	list = fopen(path, "re");
	assert_non_null(list);
	assert_int_equal(fscanf(list, "%d", &child), 1);
	fclose(list);
	return child;
}

static void command_without_fork_ends_with_a_killed_leash(void **state)
{
	const char *const command[] = { self, "stay", NULL };
	lh_arena *looked_at;
	int status;
	pid_t pid;
	char byte;

	(void)state;
	make_arena();
	assert_int_equal(lh_arena_open(arena, LH_READ_ONLY, NULL, &looked_at), 0);
	const int fd = start_with_pipe("-F", command, &pid);

	assert_int_equal(read(fd, &byte, 1), 1);
	kill(child_of(guard_of(looked_at, pid)), SIGKILL);
	wait_for_end(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	lh_arena_close(looked_at);
}

// ---- all of it ----------------------------------------------------------------------------------

static int set_up(void **state)
{
	const char *programs = getenv("LEASEHOLD_BIN");
	const char *given = getenv("LEASEHOLD_SEED");
	int fd;

	(void)state;
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 2654435761u + 1;
	print_message("LEASEHOLD_SEED=%llu\n", (unsigned long long)seed);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -1;
	snprintf(lease_run, sizeof(lease_run), "%s/lease-run", programs ? programs : ".");
	snprintf(arena, sizeof(arena), "lease-run-kills-%d", (int)getpid());
	snprintf(url, sizeof(url), "shm://%s", arena);
	snprintf(board_path, sizeof(board_path), "/dev/shm/%s-board", arena);
	board = map_board(board_path, &fd);
	return board ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(board_path);
	lh_arena_unlink(arena);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_ends_with_killed_lease_run_at_any_instant),
		cmocka_unit_test(what_the_command_started_ends_with_a_killed_lease_run),
		cmocka_unit_test(command_ends_with_a_killed_guard_and_lease_run_tells),
		cmocka_unit_test(command_ends_when_lease_run_and_its_guard_are_killed_at_once),
		cmocka_unit_test(command_without_fork_ends_with_a_killed_guard),
		cmocka_unit_test(command_without_fork_ends_with_a_killed_leash),
		cmocka_unit_test(no_command_runs_beside_another_when_lease_runs_are_killed),
		cmocka_unit_test(no_command_runs_beside_another_when_guards_are_killed),
		cmocka_unit_test(
			no_command_runs_beside_another_when_commands_without_fork_are_killed),
		cmocka_unit_test(
			no_command_runs_beside_another_when_guards_without_fork_are_killed),
	};

	if (argc == 3 && strcmp(argv[1], "work") == 0)
		return work(argv[2]);
	if (argc == 2 && strcmp(argv[1], "stay") == 0)
		stay();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
