// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// An initialiser dies, or is stopped until its lease has expired, after each instruction of its
// call; so does one who waits for it, and one who clears up behind it. Exactly one value is
// committed, whole and for ever, and nobody who waits is left asleep.
#include "tests/crash/crash.h"

#include "arena/lease.h"
#include "arena/reap.h"
#include "src/word.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 12, BY_VICTIM = 1, BY_HOLDER, BY_WAITER, BY_DIRECTOR };

struct value {
	uint64_t words[WORDS];
};

static struct outside { // what processes do, told outside of the arena
	_Atomic uint32_t in_init;
	_Atomic uint32_t done, proceed;
	pid_t waiter;
	int result;
} * outside;

static lh_once once;
static bool was_done;

static struct once_object *object(void)
{
	return (struct once_object *)(uintptr_t)once.private_[1];
}

static int fill(void *data, void *context)
{
	struct value *value = data;

	for (int i = 0; i < WORDS; i++)
		value->words[i] = (uintptr_t)context;
	return 0;
}

static int fail(void *data, void *context)
{
	fill(data, context);
	return -ENXIO;
}

__attribute__((noreturn)) static int hang(void *data, void *context)
{
	(void)data, (void)context;
	atomic_store(&outside->in_init, 1);
	for (;;)
		pause();
}

static int call_by(struct crash_scene *scene, lh_lease *lease, uintptr_t number)
{
	(void)scene;
	return lh_once_call(&once, lease, fill, (void *)number, LH_FOREVER);
}

static int call(struct crash_scene *scene)
{
	return call_by(scene, scene->mine, BY_VICTIM);
}

static int call_and_fail(struct crash_scene *scene)
{
	return lh_once_call(&once, scene->mine, fail, (void *)BY_VICTIM, LH_FOREVER);
}

// ---- stages --------------------------------------------------------------------------------------

static void stage(struct crash_scene *scene)
{
	const struct lh_once_options options = { .data_size = sizeof(struct value),
						 .name = "once" };

	crash_stage(scene);
	memset(outside, 0, sizeof(*outside));
	crash_must(scene, lh_once_at(scene->arena, LH_ANYWHERE, &options, &once), "once");
	scene->placements = 2;
}

// Another process is in its initialiser, and stays there.
static void stage_hung(struct crash_scene *scene)
{
	lh_lease *lease;

	stage(scene);
	scene->holder = crash_fork(scene);
	if (scene->holder == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_once_call(&once, lease, hang, NULL, LH_FOREVER), "call");
	}
	while (!atomic_load(&outside->in_init))
		sched_yield();
}

static void end_holder(struct crash_scene *scene)
{
	kill(scene->holder, SIGKILL);
	crash_bury(scene, scene->holder);
	scene->holder = 0;
}

// Its initialiser fails when it is told to.
static int fail_when_told(void *data, void *context)
{
	atomic_store(&outside->in_init, 1);
	while (!atomic_load(&outside->proceed))
		sched_yield();
	return fail(data, context);
}

static void stage_to_fail(struct crash_scene *scene)
{
	lh_lease *lease;

	stage(scene);
	scene->holder = crash_fork(scene);
	if (scene->holder == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		outside->result = lh_once_call(&once, lease, fail_when_told, NULL, LH_FOREVER);
		crash_must(scene, lh_lease_release(lease), "release");
		_exit(0);
	}
	while (!atomic_load(&outside->in_init))
		sched_yield();
}

static void stage_dead(struct crash_scene *scene)
{
	stage_hung(scene);
	end_holder(scene);
}

static void add_waiter(struct crash_scene *scene)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		patience_begin(&scene->shared->patience);
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
		outside->result = call_by(scene, lease, BY_WAITER);
		crash_must(scene, lh_lease_release(lease), "waiter's release");
		atomic_store(&outside->done, 1);
		_exit(0);
	}
	outside->waiter = pid;
	crash_await_asleep(scene, pid);
}

// ---- what must come of it ------------------------------------------------------------------------

static bool is_whole(const struct value *value)
{
	for (int i = 1; value && i < WORDS; i++) {
		if (value->words[i] != value->words[0])
			return false;
	}
	return value != NULL;
}

static uint64_t value_now(struct crash_scene *scene)
{
	const struct value *value = lh_once_data(&once);

	CRASH_CHECK(scene, lh_once_done(&once) && is_whole(value), "G7: the value is not whole");
	return value ? value->words[0] : 0;
}

static void check_waiter(struct crash_scene *scene)
{
	if (!outside->waiter)
		return;
	patience_due(&scene->shared->patience);
	waitpid(outside->waiter, NULL, 0);
	CRASH_CHECK(scene, atomic_load(&outside->done) && outside->result == 0,
		    "the waiter died or got %d", outside->result);
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: nobody woke the waiter (the word is %#llx)",
		    (unsigned long long)atomic_load(&object()->word));
}

static void check_value(struct crash_scene *scene)
{
	uint64_t expected = was_done ? BY_VICTIM : outside->waiter ? BY_WAITER : BY_DIRECTOR;
	int result;

	patience_begin(&scene->shared->patience);
	result = call_by(scene, scene->lease, BY_DIRECTOR);
	patience_begin(NULL);
	CRASH_CHECK(scene, result == 0, "the next call: %d", result);
	// The waiter may have come after the kill, but not before the director.
	CRASH_CHECK(scene, value_now(scene) == expected, "the value is %llu's, not %llu's",
		    (unsigned long long)value_now(scene), (unsigned long long)expected);
	CRASH_CHECK(scene, word_owner(atomic_load(&object()->word)) == 0, "G1: an owner is left");
}

static void kill_victim(struct crash_scene *scene)
{
	was_done = lh_once_done(&once);
	crash_kill(scene);
}

static void verify(struct crash_scene *scene)
{
	check_waiter(scene);
	check_value(scene);
	crash_check_empty(scene);
}

// ---- an initialiser that is left without returning -------------------------------------------------

static jmp_buf left;

static int leave(void *data, void *context)
{
	(void)data;
	(void)context;
	longjmp(left, 1);
}

static void has_left(struct crash_scene *scene)
{
	crash_with_lease(scene);
	if (!setjmp(left))
		crash_must(scene, lh_once_call(&once, scene->mine, leave, NULL, LH_FOREVER),
			   "call");
}

// ---- with a waiter behind ------------------------------------------------------------------------

// Others come while the victim stands there: where it runs its initialiser they sleep.
static void kill_before_waiter(struct crash_scene *scene)
{
	add_waiter(scene);
	was_done = lh_once_done(&once) && value_now(scene) == BY_VICTIM;
	crash_kill(scene);
}

// The victim waits, another behind it; then the initialiser dies.
static void kill_waiting(struct crash_scene *scene)
{
	add_waiter(scene);
	was_done = false;
	crash_kill(scene);
	end_holder(scene);
}

// ---- woken ---------------------------------------------------------------------------------------

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

// The victim sleeps, another behind it, when the attempt ends. The other stands still until the
// victim stands at the point: of two who are awake either may be first, and of a death the kernel
// tells one. (Should that one die before it has told the others, they look at their backstop:
// docs/decisions/0005-two-deaths-at-once.md.)
static bool asleep_before_another(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene);
	kill(outside->waiter, SIGSTOP);
	waitpid(outside->waiter, NULL, WUNTRACED);
	return true;
}

static bool woken_by_failure(struct crash_scene *scene)
{
	if (!asleep_before_another(scene))
		return false;
	atomic_store(&outside->proceed, 1);
	waitpid(scene->holder, NULL, 0);
	scene->holder = 0;
	CRASH_CHECK(scene, outside->result == -ENXIO, "the failed one got %d", outside->result);
	return stepper_leave_call(&scene->stepper);
}

static bool woken_by_death(struct crash_scene *scene)
{
	if (!asleep_before_another(scene))
		return false;
	end_holder(scene);
	return stepper_leave_call(&scene->stepper);
}

// Where the victim runs its initialiser by now the other sleeps on its life; else it is through.
static void kill_before_woken(struct crash_scene *scene)
{
	kill(outside->waiter, SIGCONT);
	crash_await_asleep(scene, outside->waiter);
	was_done = lh_once_done(&once) && value_now(scene) == BY_VICTIM;
	crash_kill(scene);
}

// ---- stopped -------------------------------------------------------------------------------------

static void after_stop(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_once_call(&once, scene->mine, fill, (void *)BY_VICTIM,
						 LH_NOW);
	scene->shared->results[1] = lh_lease_release(scene->mine);
}

static void stop_and_succeed(struct crash_scene *scene)
{
	const uint64_t incarnation = lease_id_incarnation(scene->shared->lease);
	int status, result;
	uint64_t word;

	stepper_detach(&scene->stepper, SIGSTOP);
	CRASH_CHECK(scene,
		    waitpid(scene->victim, &status, WUNTRACED) == scene->victim &&
			    WIFSTOPPED(status),
		    "it did not stop");
	was_done = lh_once_done(&once);
	lease_slot_renew(scene->arena, scene->shared->slot, incarnation, LH_MS(1));
	while (lease_slot_remaining(scene->arena, scene->shared->slot, incarnation))
		;
	check_value(scene);
	word = atomic_load(&object()->word);
	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, 0);
	result = scene->shared->result;
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, atomic_load(&object()->word) == word,
		    "G4: the resumed one changed the word");
	CRASH_CHECK(scene, result == -ESTALE || (result == 0 && was_done),
		    "G4: its operation said %d", result);
	if (result == 0)
		crash_count(scene, "answers older than the loss");
	for (int i = 0; i < 2; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: then call %d said %d",
			    i, scene->shared->results[i]);
	check_value(scene);
}

// While it waits, with another behind it: who is through then has never heard of it.
static void stop_waiting(struct crash_scene *scene)
{
	uint64_t word;

	crash_stop(scene);
	add_waiter(scene);
	crash_shorten(scene);
	crash_await_loss(scene);
	was_done = false;
	end_holder(scene);
	check_waiter(scene);
	check_value(scene);
	word = atomic_load(&object()->word);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, atomic_load(&object()->word) == word,
		    "G4: the resumed one changed the word");
	CRASH_CHECK(scene, scene->shared->result == -ESTALE, "G4: its call said %d",
		    scene->shared->result);
	for (int i = 0; i < 2; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: then call %d said %d",
			    i, scene->shared->results[i]);
	check_value(scene);
}

static void verify_stopped(struct crash_scene *scene)
{
	crash_check_empty(scene);
}

// ---- nobody dies: a wake is due that no death makes ------------------------------------------------

static int call_and_fail_when_told(struct crash_scene *scene)
{
	return lh_once_call(&once, scene->mine, fail_when_told, (void *)BY_VICTIM, LH_FOREVER);
}

static void stay(struct crash_scene *scene)
{
	atomic_store(&scene->shared->go, 1);
	for (;;)
		pause();
}

static void let_go(struct crash_scene *scene)
{
	stepper_detach(&scene->stepper, 0);
	while (!atomic_load(&outside->in_init))
		sched_yield();
	add_waiter(scene);
	atomic_store(&outside->proceed, 1);
	while (!atomic_load(&scene->shared->go))
		sched_yield();
	was_done = false;
	check_waiter(scene);
	crash_kill(scene);
}

#define KILLED(shown, staged, called)                                                              \
	.name = (shown), .shows = "G1 G2 G7 G8", .every = true, .stage = (staged),                 \
	.prepare = crash_with_lease, .act = (called), .verify = verify
#define WOKEN(shown, staged)                                                                       \
	.name = (shown), .shows = "G1 G2 G7 G8", .every = true, .stage = (staged),                 \
	.prepare = patient, .act = call, .strike = kill_before_woken, .verify = verify
#define STOPPED(shown, staged)                                                                     \
	.name = (shown), .shows = "G3 G4 G7", .every = true, .stage = (staged),                    \
	.prepare = crash_with_ttl, .act = call, .after = after_stop, .verify = verify_stopped

static const struct crash_operation operations[] = {
	{ KILLED("call", stage, call), .strike = kill_victim, .thin = { 30, 5, 1 } },
	{ KILLED("call that fails", stage, call_and_fail), .strike = kill_victim,
	  .thin = { 60, 10, 2 } },
	{ KILLED("call, another behind it", stage, call), .strike = kill_before_waiter,
	  .thin = { 60, 10, 2 } },
	{ KILLED("call that fails, another behind it", stage, call_and_fail),
	  .strike = kill_before_waiter, .thin = { 60, 10, 2 } },
	{ KILLED("call that waits, up to its sleep, another behind it", stage_hung, call),
	  .sleeps = true, .strike = kill_waiting, .thin = { 150, 30, 6 } },
	{ WOKEN("call, woken by a failure, another behind it", stage_to_fail),
	  .begin = woken_by_failure, .thin = { 60, 10, 2 } },
	{ WOKEN("call, woken by a death, another behind it", stage_hung), .begin = woken_by_death,
	  .thin = { 100, 20, 4 } },
	{ KILLED("call that clears up behind the dead", stage_dead, call), .strike = kill_victim,
	  .thin = { 100, 20, 4 } },
	{ .name = "lease release, the initialiser was left, another behind it",
	  .shows = "G1 G2 G8",
	  .every = true,
	  .stage = stage,
	  .prepare = has_left,
	  .act = crash_release,
	  .strike = kill_before_waiter,
	  .verify = verify,
	  .thin = { 60, 10, 2 } },
	{ .name = "call that fails, another asleep behind it, and stay",
	  .shows = "G8",
	  .repeat = { 2, 5, 20 },
	  .stage = stage,
	  .prepare = crash_with_lease,
	  .act = call_and_fail_when_told,
	  .after = stay,
	  .strike = let_go,
	  .verify = verify },
	{ STOPPED("stopped in call", stage), .strike = stop_and_succeed, .thin = { 40, 6, 1 } },
	{ STOPPED("stopped in call that waits, up to its sleep, another behind it", stage_hung),
	  .sleeps = true, .strike = stop_waiting, .thin = { 150, 30, 6 } },
};

int main(void)
{
	outside = mmap(NULL, sizeof(*outside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (outside == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
