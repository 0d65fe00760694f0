// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/crash.h"
#include "tests/crash/crash_ask.h"

#include "arena/hold.h"
#include "arena/sys/futex.h"
#include "src/word.h"
#include "tests/support/tier.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

enum { MAX_POINTS = 1 << 16, MAX_RECOVERIES = 1 << 16, MAX_TRIES = 5, MAX_FAILURES = 8 };
enum {
	DIRECTOR_PASSED = 0,
	DIRECTOR_FAILED = 1,
	DIRECTOR_MISSED = 3,
	DIRECTOR_STOOD_STILL = 4,
};

#define BACKSTOP_NS UINT64_C(3500000)

// Shared by the test and its directors.
struct session {
	struct crash_shared shared;
	size_t point_count;
	uint64_t instructions;
	uint32_t counted;
	char what_counted[64];
	uint32_t recovery_count;
	uint64_t recoveries[MAX_RECOVERIES];
	struct stepper_point points[MAX_POINTS];
};

static struct session *session;
static uint64_t last_serial;

// ---- failing -------------------------------------------------------------------------------------

static uint64_t load_address(void)
{
	extern const ElfW(Ehdr) __ehdr_start;

	return (uintptr_t)&__ehdr_start;
}

void crash_fail(struct crash_scene *scene, const char *format, ...)
{
	va_list arguments;

	scene->failed = true;
	fprintf(stderr,
		"FAILED: %s, variant %u, %llu (after %u system calls and %u instructions, at "
		"%#llx): ",
		scene->operation->name, scene->variant, (unsigned long long)scene->serial,
		scene->stepper.at.calls, scene->stepper.at.instructions,
		(unsigned long long)(scene->stepper.at.address - load_address()));
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
}

void crash_must(struct crash_scene *scene, int result, const char *what)
{
	if (result >= 0)
		return;
	crash_fail(scene, "%s: %s (%s)", what, strerror(-result), lh_error_detail());
	_exit(DIRECTOR_FAILED);
}

// ---- setting the stage ---------------------------------------------------------------------------

pid_t crash_fork(struct crash_scene *scene)
{
	const pid_t pid = fork();

	if (pid < 0)
		crash_must(scene, -errno, "fork");
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

void crash_open(struct crash_scene *scene)
{
	const size_t space = scene->operation->space;
	const struct lh_arena_options options = { .size = space ? space : 4096,
						  .max_leases = CRASH_LEASES,
						  .max_holds = CRASH_HOLDS };
	const struct lh_mutex_options mutex = { .data_size = CRASH_DATA, .name = "scene" };

	crash_must(scene, lh_arena_open(scene->name, LH_CREATE, &options, &scene->arena), "open");
	// The search for a free slot starts where the pid says; here always at the first.
	atomic_store(&scene->arena->lease_hint, 0);
	atomic_store(&scene->arena->owner_hint, 0);
	crash_must(scene, lh_mutex_at(scene->arena, LH_ANYWHERE, &mutex, &scene->mutex), "mutex");
}

void crash_stage(struct crash_scene *scene)
{
	crash_open(scene);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &scene->lease), "lease");
	// A mutex that was never locked goes the long way the first time.
	crash_must(scene, lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, NULL), "lock");
	crash_must(scene, lh_mutex_unlock(&scene->mutex, scene->lease), "unlock");
}

__attribute__((noreturn)) static void wait_for_mutex(struct crash_scene *scene,
						     struct crash_waiter *waiter)
{
	const lh_mutex *mutex = waiter->other ? &scene->other : &scene->mutex;
	_Atomic uint64_t *data = lh_mutex_data(mutex);
	lh_lease *lease;

	if (!scene->operation->impatient)
		patience_begin(&scene->shared->patience);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
	waiter->result = lh_mutex_lock(mutex, lease, LH_FOREVER, &waiter->grant);
	waiter->granted_ns = lh_now();
	if (waiter->result == 0) {
		waiter->intruded = atomic_exchange(data, (uint64_t)getpid()) != 0 &&
				   !(waiter->grant.flags & LH_GRANT_OWNER_DIED);
		sched_yield();
		waiter->intruded |= atomic_load(data) != (uint64_t)getpid();
		atomic_store(data, 0);
		lh_mutex_consistent(mutex, lease);
		waiter->result = lh_mutex_unlock(mutex, lease);
	}
	crash_must(scene, lh_lease_release(lease), "waiter's release");
	atomic_store(&waiter->done, 1);
	_exit(0);
}

void crash_await_asleep(struct crash_scene *scene, pid_t thread)
{
	siginfo_t info;

	(void)scene;
	while (!stepper_sleeps_in(thread, SYS_futex_waitv)) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)thread, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
		    info.si_pid)
			return;
		sched_yield();
	}
}

static void add_waiter(struct crash_scene *scene, bool other)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count++];
	pid_t pid;

	waiter->other = other;
	pid = crash_fork(scene);
	if (pid == 0)
		wait_for_mutex(scene, waiter);
	waiter->pid = pid;
	crash_await_asleep(scene, pid);
}

void crash_add_waiter(struct crash_scene *scene)
{
	add_waiter(scene, false);
}

void crash_add_other_waiter(struct crash_scene *scene)
{
	add_waiter(scene, true);
}

// ---- the victim ----------------------------------------------------------------------------------

static void perform(struct crash_scene *scene)
{
	const struct crash_operation *operation = scene->operation;
	int result;

	stepper_trace_me();
	if (operation->prepare)
		operation->prepare(scene);
	stepper_mark();
	result = operation->act(scene);
	stepper_mark();
	scene->shared->result = result;
	if (operation->after)
		operation->after(scene);
	atomic_store(&scene->shared->finished, 1);
	_exit(0);
}

static void *perform_and_end(void *crash_pointer)
{
	struct crash_scene *scene = crash_pointer;

	stepper_trace_me();
	atomic_store(&scene->shared->thread, gettid());
	scene->operation->prepare(scene);
	stepper_mark();
	return NULL;
}

static void start_victim(struct crash_scene *scene)
{
	pthread_t thread;

	scene->victim = crash_fork(scene);
	if (scene->victim)
		return;
	if (!scene->operation->thread)
		perform(scene);
	pthread_create(&thread, NULL, perform_and_end, scene);
	pthread_join(thread, NULL);
	pause();
}

// ---- directing -----------------------------------------------------------------------------------

static bool victim_is_ready(struct crash_scene *scene)
{
	pid_t thread = scene->victim;

	if (scene->operation->thread) {
		while (!(thread = atomic_load(&scene->shared->thread)))
			sched_yield();
	}
	return stepper_begin(&scene->stepper, thread,
			     scene->operation->sleeps ? SYS_futex_waitv : -1) &&
	       (!scene->operation->begin || scene->operation->begin(scene));
}

static struct stepper_watch watch_of(const struct crash_scene *scene)
{
	if (!scene->arena)
		return (struct stepper_watch){ .size = 0 };
	return (struct stepper_watch){ scene->arena->base, scene->arena->size };
}

static void record(struct crash_scene *scene)
{
	const struct crash_operation *operation = scene->operation;

	if (crash_wants_where()) {
		crash_walk(&scene->stepper, load_address());
		return;
	}
	session->point_count = stepper_record(&scene->stepper, watch_of(scene), operation->every,
					      session->points, MAX_POINTS, &session->instructions);
	if (!session->point_count)
		crash_fail(scene, "more than %d points", MAX_POINTS);
	if (operation->at_most && session->instructions > operation->at_most)
		crash_fail(scene, "it went the long way: %llu instructions",
			   (unsigned long long)session->instructions);
}

// What the director is at, for its watchdog.
static const char *volatile stage_of_direction;

static void bark(int signal)
{
	static const char stood_still[] = "it stood still, and its arena stays, while it ";
	const char *const what = stage_of_direction;

	(void)signal;
	(void)!write(STDERR_FILENO, stood_still, sizeof(stood_still) - 1);
	(void)!write(STDERR_FILENO, what, strlen(what));
	(void)!write(STDERR_FILENO, "\n", 1);
	_exit(DIRECTOR_STOOD_STILL);
}

static void now(const char *what)
{
	stage_of_direction = what;
	alarm(STEPPER_WATCHDOG_S);
}

static void strike(struct crash_scene *scene)
{
	const struct crash_operation *operation = scene->operation;

	now("struck and verified");
	if (operation->at_point)
		operation->at_point(scene);
	if (operation->strike)
		operation->strike(scene);
	else
		crash_kill(scene);
	operation->verify(scene);
}

// point NULL: records.
__attribute__((noreturn)) static void direct(struct crash_scene *scene,
					     const struct stepper_point *point)
{
	struct stepper_point goal = point ? *point : (struct stepper_point){ .calls = 0 };
	int result = DIRECTOR_PASSED;

	signal(SIGALRM, bark);
	now("set the stage");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (scene->operation->stage)
		scene->operation->stage(scene);
	else if (!scene->operation->no_arena)
		crash_stage(scene);
	start_victim(scene);
	if (scene->operation->meet)
		scene->operation->meet(scene);
	now("stepped");
	if (point && scene->operation->impatient)
		goal.address = goal.arrivals = 0;
	if (!victim_is_ready(scene))
		result = DIRECTOR_MISSED;
	else if (point && !scene->operation->repeat[0] &&
		 !stepper_go(&scene->stepper, &goal, watch_of(scene), scene->way))
		result = DIRECTOR_MISSED;
	else if (point)
		strike(scene);
	else
		record(scene);
	if (scene->victim > 0)
		kill(scene->victim, SIGKILL);
	if (scene->holder > 0)
		kill(scene->holder, SIGKILL);
	lh_arena_unlink(scene->name);
	_exit(scene->failed ? DIRECTOR_FAILED : result);
}

// ---- all points ----------------------------------------------------------------------------------

static int run_director(const struct crash_operation *operation, const struct stepper_point *point,
			uint32_t variant, enum stepper_way way)
{
	struct crash_scene scene = {
		.operation = operation, .variant = variant, .way = way, .shared = &session->shared
	};
	pid_t pid;
	int status;

	memset(&session->shared, 0, sizeof(session->shared));
	scene.serial = ++last_serial;
	snprintf(scene.name, sizeof(scene.name), "/leasehold-crash-%d-%llu", getpid(),
		 (unsigned long long)scene.serial);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		direct(&scene, point);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		exit(1);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) != DIRECTOR_STOOD_STILL) {
		lh_arena_unlink(scene.name);
		return WEXITSTATUS(status);
	}
	if (point)
		scene.stepper.at = *point;
	crash_fail(&scene, "%s; its arena is %s",
		   WIFEXITED(status) ? "it stood still" : strsignal(WTERMSIG(status)), scene.name);
	return DIRECTOR_FAILED;
}

static int compare(const void *left, const void *right)
{
	const uint64_t one = *(const uint64_t *)left, other = *(const uint64_t *)right;

	return (one > other) - (one < other);
}

static double ms_of(uint64_t ns)
{
	return (double)ns / 1e6;
}

static void print_recoveries(void)
{
	uint64_t *times = session->recoveries;
	const uint32_t count = session->recovery_count;
	uint32_t late = 0;

	if (!count)
		return;
	qsort(times, count, sizeof(*times), compare);
	while (late < count && times[count - 1 - late] >= BACKSTOP_NS)
		late++;
	printf("; granted on after %.2f ms (median), %.2f (99 %%), %.2f (longest); %u after 3.5 ms "
	       "or more",
	       ms_of(times[count / 2]), ms_of(times[count - 1 - count / 100]),
	       ms_of(times[count - 1]), late);
}

struct tally {
	uint32_t tried, failed, missed, recorded;
};

// Whether a point is among those that this tier tries: all that are turning, and one of each
// `step`.
static bool is_chosen(const struct crash_operation *operation, size_t point, uint32_t step,
		      size_t *chosen, unsigned *seed)
{
	if (point % step == 0)
		*chosen = point + (size_t)rand_r(seed) % step;
	return point == *chosen || (operation->every && session->points[point].turning);
}

static int try_point(const struct crash_operation *operation, size_t point, uint32_t variant,
		     struct tally *tally)
{
	// What changes has not been recorded, if each step is a point, as often as the others.
	const enum stepper_way ways[] = { STEPPER_BY_RUNNING, STEPPER_BY_STEPS,
					  operation->every ? STEPPER_BY_STEPS
							   : STEPPER_BY_CHANGES };
	int result, tries = 0;

	do {
		result = run_director(operation, &session->points[point], variant, ways[tries % 3]);
		tally->missed += result == DIRECTOR_MISSED;
	} while (result == DIRECTOR_MISSED && ++tries < MAX_TRIES);
	return result;
}

// A try at a point, counted. False: it stays out of reach.
static bool count_try(const struct crash_operation *operation, size_t point, uint32_t variant,
		      struct tally *tally)
{
	const int result = try_point(operation, point, variant % 4, tally);

	if (result == DIRECTOR_MISSED)
		return false;
	tally->tried++;
	tally->failed += result != DIRECTOR_PASSED;
	return true;
}

// One pass over the points. False: one stays out of reach; record anew.
static bool try_points(const struct crash_operation *operation, uint32_t step, unsigned *seed,
		       struct tally *tally)
{
	size_t chosen = 0;

	for (size_t i = 0; i < session->point_count && tally->failed < MAX_FAILURES; i++) {
		const bool turning = session->points[i].turning || operation->repeat[0];
		const int rounds = turning && !tier_pick(1, 0, 0) ? CRASH_VARIANTS : 1;
		uint32_t variant = (uint32_t)rand_r(seed);

		if (!is_chosen(operation, i, step, &chosen, seed))
			continue;
		for (int round = 0; round < rounds; round++, variant++) {
			if (!count_try(operation, i, variant, tally))
				return false;
		}
	}
	return true;
}

// Of how many points one is tried, beside those that are tried always: as the operation says, or
// fewer if they would take longer than the tier has.
static uint32_t step_for(const struct crash_operation *operation, uint64_t try_ns)
{
	const uint64_t budget_ns = tier_pick(LH_MS(250), LH_MS(500), LH_SEC(1));
	const uint64_t most = budget_ns / (try_ns + 1) + 1;
	const uint32_t *thin = operation->thin;
	const uint64_t wanted = tier_pick(thin[0], thin[1], thin[2]);
	const uint64_t needed = (session->point_count + most - 1) / most;

	if (crash_wants_all())
		return 1;
	return (uint32_t)(needed > wanted ? needed : wanted ? wanted : 1);
}

// Of the points that have just been recorded, first the last, to see how long a try takes.
static bool try_recorded(const struct crash_operation *operation, unsigned *seed,
			 struct tally *tally)
{
	const uint64_t began = lh_now();

	return count_try(operation, session->point_count - 1, (uint32_t)rand_r(seed), tally) &&
	       try_points(operation, step_for(operation, lh_now() - began), seed, tally);
}

static int try_operation(const struct crash_operation *operation, unsigned *seed)
{
	struct tally tally = { .tried = 0 };
	bool complete = false;

	session->recovery_count = 0;
	session->counted = 0;
	if (crash_wants_where()) {
		if (operation->repeat[0])
			return 0; // not stepped
		complete = run_director(operation, NULL, 0, STEPPER_BY_STEPS) == DIRECTOR_PASSED;
		crash_print_where(operation->name);
		return !complete;
	}
	if (operation->repeat[0]) {
		session->instructions = 0;
		session->point_count = tier_pick(operation->repeat[0], operation->repeat[1],
						 operation->repeat[2]);
		memset(session->points, 0, session->point_count * sizeof(*session->points));
		complete = try_points(operation, 1, seed, &tally);
	}
	for (int round = 0; round < MAX_TRIES && !complete && !tally.failed; round++) {
		const int result = run_director(operation, NULL, 0, STEPPER_BY_STEPS);

		tally = (struct tally){ .missed = tally.missed, .recorded = tally.recorded + 1 };
		if (result == DIRECTOR_PASSED)
			complete = try_recorded(operation, seed, &tally);
		tally.failed += result == DIRECTOR_FAILED;
	}
	printf("%s (%s): %llu instructions, %zu points, %u tried", operation->name,
	       operation->shows, (unsigned long long)session->instructions, session->point_count,
	       tally.tried);
	print_recoveries();
	if (session->counted)
		printf("; %u %s", session->counted, session->what_counted);
	if (tally.missed)
		printf("; %u victims went another way and were replaced, recorded %u times",
		       tally.missed, tally.recorded);
	printf(": %s\n", tally.failed || !complete ? "FAILED" : "passed");
	if (!complete && !tally.failed)
		fprintf(stderr, "FAILED: %s: not reproducible\n", operation->name);
	return tally.failed || !complete;
}

int crash_run(const struct crash_operation *operations, size_t count)
{
	const char *given = getenv("LEASEHOLD_SEED");
	const char *only = getenv("LEASEHOLD_OPERATION");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)lh_now();
	const struct crash_choice choice = { operations, count, only, seed };
	int failed = 0;

	if (!crash_can_run())
		return 77;
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) &&
	    personality(ADDR_NO_RANDOMIZE) != -1) {
		char *const arguments[] = { program_invocation_name, NULL };

		execv("/proc/self/exe", arguments);
	}
	setlinebuf(stdout);
	session = mmap(NULL, sizeof(*session), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (session == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	printf("seed: LEASEHOLD_SEED=%u%s\n", seed,
	       tier_pick(1, 0, 0) ? "; quick tier: a fourth of the operations, by the seed" : "");
	for (size_t i = 0; i < count; i++) {
		if (crash_wants(&choice, i))
			failed += try_operation(&operations[i], &seed);
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void crash_note_recovery(const struct crash_scene *scene, uint64_t granted_ns)
{
	if (scene->killed_ns && granted_ns > scene->killed_ns &&
	    session->recovery_count < MAX_RECOVERIES)
		session->recoveries[session->recovery_count++] = granted_ns - scene->killed_ns;
}

void crash_count(struct crash_scene *scene, const char *what)
{
	(void)scene;
	snprintf(session->what_counted, sizeof(session->what_counted), "%s", what);
	session->counted++;
}
