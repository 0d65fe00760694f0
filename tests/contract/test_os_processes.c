// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER valgrind it writes cores of its own, among its reports
//
// Processes in trouble: under a storm of signals, killed with all their threads, dumping core; and
// those that unload the library.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/stage.h"
#include "tests/support/tier.h"

static struct stage stage;

static void open_stage(void)
{
	stage = stage_open(NULL, 0);
	stage_lease(&stage, NULL);
}

static void close_stage(void)
{
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

static void mend(int index)
{
	need_equal(lh_mutex_consistent(&stage.mutexes[index], stage.lease), 0);
	stage_unlock(&stage, index);
}

// ---- signals -------------------------------------------------------------------------------------

static atomic_int handled;

static void handle(int number)
{
	(void)number;
	handled++;
}

static void hold_long(const struct line *line, void *unused)
{
	struct stage own = stage_open(NULL, 0);

	(void)unused;
	stage_lease(&own, NULL);
	line_say(line, stage_lock(&own, 0));
	line_hear(line);
	stage_unlock(&own, 0);
	stage_close(&own);
}

static pid_t storm(void)
{
	const pid_t self = getpid();
	const pid_t child = fork();

	need(child >= 0);
	if (child == 0) {
		while (kill(self, SIGUSR1) == 0)
			;
		_exit(0);
	}
	return child;
}

static void end_storm(pid_t child)
{
	need(kill(child, SIGKILL) == 0);
	while (waitpid(child, NULL, 0) != child)
		need_equal(errno, EINTR);
}

// G10: signals, restarting or not, end no wait of an ordinary lease, move no deadline, lose no
// wake.
static void a_storm_of_signals_changes_no_wait(void **state)
{
	static const int flags[] = { 0, SA_RESTART };

	(void)state;
	for (int i = 0; i < 2; i++) {
		const struct sigaction action = { .sa_handler = handle, .sa_flags = flags[i] };
		struct peer holder;
		pid_t child;
		uint64_t end;

		open_stage();
		need(sigaction(SIGUSR1, &action, NULL) == 0);
		holder = peer_start(hold_long, NULL);
		need_equal(line_hear(&holder.line), 0);
		handled = 0;
		child = storm();
		end = lh_now() + LH_MS(100);
		need_equal(
			lh_mutex_lock(&stage.mutexes[0], stage.lease, (lh_deadline){ end }, NULL),
			-ETIMEDOUT);
		need(lh_now() >= end);
		while (handled < 1000)
			sched_yield();
		line_say(&holder.line, 0); // which releases it, some time
		need_equal(stage_lock(&stage, 0), 0);
		stage_unlock(&stage, 0);
		end_storm(child);
		peer_join(&holder);
		close_stage();
	}
}

// ---- threads that hold and wait ------------------------------------------------------------------

static void *hold_and_wait(void *index_pointer)
{
	const int index = *(int *)index_pointer;
	struct stage own = stage;

	stage_lease(&own, NULL);
	for (unsigned seed = (unsigned)index;;) {
		// In ascending order, so that there is no cycle.
		const int first = rand_r(&seed) % (STAGE_MUTEXES - 1);
		const int second = first + 1 + rand_r(&seed) % (STAGE_MUTEXES - 1 - first);

		stage_lock(&own, first);
		stage_lock(&own, second);
		sched_yield();
		need_equal(lh_mutex_consistent(&own.mutexes[first], own.lease), 0);
		need_equal(lh_mutex_consistent(&own.mutexes[second], own.lease), 0);
		stage_unlock(&own, second);
		stage_unlock(&own, first);
	}
	return NULL;
}

static void be_busy(const struct line *line, void *unused)
{
	enum { THREADS = 6 };
	pthread_t threads[THREADS];
	int numbers[THREADS];

	(void)unused;
	stage = stage_open(NULL, 0);
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = getpid() + i;
		need_equal(pthread_create(&threads[i], NULL, hold_and_wait, &numbers[i]), 0);
	}
	line_say(line, 0);
	line_hear(line);
	_exit(0);
}

static void spin(uint64_t ns)
{
	const uint64_t until = lh_now() + ns;

	while (lh_now() < until)
		sched_yield();
}

// G2: a process whose threads hold and wait for each other's locks is killed at a random moment;
// two such processes at a time. Whatever the kernel's wakes fell on, the survivor gets every lock.
static void a_killed_process_with_holders_and_waiters_strands_nobody(void **state)
{
	unsigned seed = (unsigned)lh_now();
	uint64_t worst = 0;

	(void)state;
	open_stage();
	printf("LEASEHOLD_SEED=%u\n", seed);
	for (uint64_t round = tier_pick(40, 150, 1500); round; round--) {
		struct peer peers[2] = { peer_start(be_busy, NULL), peer_start(be_busy, NULL) };
		uint64_t begin;

		line_hear(&peers[0].line);
		line_hear(&peers[1].line);
		spin(LH_MS(1) + (uint64_t)rand_r(&seed) % LH_MS(5));
		peer_kill(&peers[0]);
		begin = lh_now();
		for (int i = 0; i < STAGE_MUTEXES; i++) {
			stage_lock(&stage, i);
			mend(i);
		}
		if (lh_now() - begin > worst)
			worst = lh_now() - begin;
		kill(peers[1].pid, SIGKILL);
		for (int i = 0; i < STAGE_MUTEXES; i++) {
			stage_lock(&stage, i);
			mend(i);
		}
		peer_wait(&peers[1]);
		need_equal(lh_arena_check(stage.arena, NULL, NULL) & ~LH_CHECK_STALE, 0);
	}
	printf("all %d locks after a kill, at worst %.2f ms\n", STAGE_MUTEXES, (double)worst / 1e6);
	close_stage();
}

// ---- a slow death --------------------------------------------------------------------------------

static void dump_core(const struct line *line, void *unused)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	const size_t size = 64 << 20;
	struct stage own = stage_open(NULL, 0);
	char *ballast = (char *)malloc(size);

	(void)unused;
	need(chdir("/dev/shm") == 0 && setrlimit(RLIMIT_CORE, &unlimited) == 0);
	need(ballast != NULL);
	for (size_t i = 0; i < size; i += 4096)
		ballast[i] = (char)i;
	stage_lease(&own, NULL);
	line_say(line, stage_lock(&own, 0));
	line_hear(line);
	abort();
}

// G2: a core dump delays the death, and so the grant, but no more.
static void a_holder_that_dumps_core_is_released(void **state)
{
	struct peer peer;
	int status;
	char core[64];

	(void)state;
	open_stage();
	peer = peer_start(dump_core, NULL);
	need_equal(line_hear(&peer.line), 0);
	snprintf(core, sizeof(core), "/dev/shm/core.%d", (int)peer.pid);
	line_say(&peer.line, 0);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	mend(0);
	status = peer_wait(&peer);
	need(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	print_message("a core was %s\n", WCOREDUMP(status) ? "written" : "not written here");
	unlink(core);
	unlink("/dev/shm/core");
	close_stage();
}

// ---- dlclose -------------------------------------------------------------------------------------

struct library {
	int (*open)(const char *, int, const struct lh_arena_options *, lh_arena **);
	int (*lease)(lh_arena *, const struct lh_lease_options *, lh_lease **);
	int (*thread_lease)(lh_arena *, lh_lease **);
	int (*loss_fd)(lh_lease *);
};

enum { LOADS = 3 };
static lh_lease *kept[LOADS];
static int kept_count;
static int (*release)(lh_lease *);

static void *load(struct library *library)
{
	const char *build = getenv("LEASEHOLD_BUILD");
	char path[4096];
	void *handle;

	if (!build)
		return NULL;
	snprintf(path, sizeof(path), "%s/libleasehold.so", build);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	need(handle != NULL);
	library->open = (__typeof__(library->open))dlsym(handle, "lh_arena_open");
	library->lease = (__typeof__(library->lease))dlsym(handle, "lh_lease_acquire");
	library->thread_lease = (__typeof__(library->thread_lease))dlsym(handle, "lh_thread_lease");
	library->loss_fd = (__typeof__(library->loss_fd))dlsym(handle, "lh_lease_loss_fd");
	release = (__typeof__(release))dlsym(handle, "lh_lease_release");
	need(release && library->open && library->lease && library->thread_lease &&
	     library->loss_fd);
	return handle;
}

static void *use_and_unload(void *line_pointer)
{
	const struct line *line = (const struct line *)line_pointer;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(60),
						  .flags = LH_LEASE_AUTO_RENEW };
	struct library library;
	void *handle = load(&library);
	lh_arena *arena;
	lh_lease *lease;

	need(handle != NULL);
	need_equal(library.open(stage_name(), 0, NULL, &arena), 0);
	need_equal(library.lease(arena, &options, &lease), 0); // its keeper thread runs now
	need(library.loss_fd(lease) >= 0);
	kept[kept_count++] = lease;
	need_equal(library.thread_lease(arena, &lease), 0);
	need_equal(dlclose(handle), 0);
	line_say(line, 0);
	return NULL; // the library's hook for the end of threads runs after this
}

static void load_and_unload(const struct line *line, void *unused)
{
	pthread_t thread;

	(void)unused;
	for (int i = 0; i < LOADS; i++) {
		need_equal(pthread_create(&thread, NULL, use_and_unload, (void *)line), 0);
		need_equal(pthread_join(thread, NULL), 0);
	}
	// The code is there still; the leases ended with their threads.
	for (int i = 0; i < LOADS; i++)
		need_equal(release(kept[i]), -ESTALE);
	const pid_t child = fork(); // the library's hooks for that are there too
	int status;

	need(child >= 0);
	if (child == 0)
		_exit(0);
	need(waitpid(child, &status, 0) == child && status == 0);
	line_say(line, 0);
	line_hear(line);
}

// The library is linked -z nodelete: its thread and its hooks outlive any dlclose.
static void dlclose_under_a_running_keeper_is_harmless(void **state)
{
	struct peer peer;

	(void)state;
	if (!getenv("LEASEHOLD_BUILD")) {
		print_message("SKIP: test_os_processes: LEASEHOLD_BUILD is not set: no library to "
			      "load\n");
		skip();
	}
	open_stage();
	peer = peer_start(load_and_unload, NULL);
	for (int i = 0; i < LOADS + 1; i++)
		line_hear(&peer.line);
	line_say(&peer.line, 0);
	peer_join(&peer);
	close_stage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(a_storm_of_signals_changes_no_wait),
		STAGED(a_killed_process_with_holders_and_waiters_strands_nobody),
		STAGED(a_holder_that_dumps_core_is_released),
		STAGED(dlclose_under_a_running_keeper_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
