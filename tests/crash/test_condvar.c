// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies after each instruction of a wait, a signal, a broadcast or the clearing up behind
// another that had died with a signal, or is stopped there and loses its lease, while others wait
// (G8). The oracle, outside of the arena: as many signals as there are waiters left, less the one
// that the victim may have taken along alive, get all of them through, and they sleep without the
// backstop, so a wake that nobody gave fails the test.
#include "arena/lease.h"
#include "arena/reap.h"
#include "tests/crash/crash.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static lh_condvar condvar; // of the scene; inherited by all it forks

static void place(struct crash_scene *scene)
{
	crash_must(scene, lh_condvar_at(scene->arena, LH_ANYWHERE, NULL, &condvar), "condvar");
	scene->placements = 2;
}

static void stage(struct crash_scene *scene)
{
	crash_stage(scene);
	place(scene);
}

// ---- those who wait ------------------------------------------------------------------------------

// A waiter of the harness that waits for a signal first. Its grant is the one of the wait.
__attribute__((noreturn)) static void wait_and_tell(struct crash_scene *scene,
						    struct crash_waiter *waiter)
{
	lh_lease *lease;
	lh_grant grant;

	patience_begin(&scene->shared->patience);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
	crash_must(scene, lh_mutex_lock(&scene->mutex, lease, LH_FOREVER, &grant), "lock");
	waiter->result = lh_condvar_wait(&condvar, &scene->mutex, lease, LH_FOREVER,
					 &waiter->grant);
	waiter->granted_ns = lh_now();
	crash_must(scene, lh_mutex_consistent(&scene->mutex, lease), "consistent");
	crash_must(scene, lh_mutex_unlock(&scene->mutex, lease), "unlock");
	crash_must(scene, lh_lease_release(lease), "waiter's release");
	atomic_store(&waiter->done, 1);
	_exit(0);
}

static void add_waiter(struct crash_scene *scene)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count++];
	const pid_t pid = crash_fork(scene);

	if (pid == 0)
		wait_and_tell(scene, waiter);
	waiter->pid = pid;
	crash_await_asleep(scene, pid);
}

static void send(struct crash_scene *scene)
{
	crash_must(scene, lh_condvar_signal(&condvar), "signal");
}

static void collect(struct crash_scene *scene)
{
	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done), "waiter %zu died", i);
		CRASH_CHECK(scene, waiter->result == 0, "waiter %zu: wait said %d", i,
			    waiter->result);
		crash_note_recovery(scene, waiter->granted_ns);
		CRASH_CHECK(scene, waiter->grant.token, "waiter %zu has no token", i);
	}
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G8: %u times nobody woke a sleeper",
		    atomic_load(&scene->shared->patience.lost_wakes));
}

// Whoever had the mutex last has declared it consistent, if there were waiters.
static void check_the_rest(struct crash_scene *scene)
{
	lh_grant grant;
	int result;

	crash_reap_children(scene);
	result = lh_mutex_lock(&scene->mutex, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
			       &grant);
	CRASH_CHECK(scene, result == 0, "the mutex is not to be had: %d", result);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	crash_must(scene, lh_mutex_consistent(&scene->mutex, scene->lease), "consistent");
	result = lh_condvar_wait(&condvar, &scene->mutex, scene->lease, lh_deadline_after(0),
				 &grant);
	CRASH_CHECK(scene, result == -ETIMEDOUT || result == 0, "a new wait said %d", result);
	crash_must(scene, lh_mutex_unlock(&scene->mutex, scene->lease), "unlock");
	crash_check_empty(scene);
}

// ---- killed in a wait ----------------------------------------------------------------------------

static int wait_for_signal(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_condvar_wait(&condvar, &scene->mutex, scene->mine, LH_FOREVER, &grant);
}

static void patient_and_holding(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_holding(scene);
}

static bool one_waits(struct crash_scene *scene)
{
	(void)scene;
	return true;
}

// Others waited before the victim: they get what is sent, whatever becomes of it.
static void stage_with_one_waiting(struct crash_scene *scene)
{
	stage(scene);
	add_waiter(scene);
}

static void signal_and_collect(struct crash_scene *scene)
{
	waitpid(scene->victim, NULL, __WALL); // dead: nothing is for it
	for (size_t i = 0; i < scene->waiter_count; i++)
		send(scene);
	collect(scene);
	check_the_rest(scene);
}

// The victim waits first, then two others; it is signalled and steps on from there. With its death
// the signal is another's: one more gets both through.
static bool signalled_before_two(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene);
	add_waiter(scene);
	send(scene);
	return stepper_leave_call(&scene->stepper);
}

static void one_more_signal(struct crash_scene *scene)
{
	waitpid(scene->victim, NULL, __WALL);
	if (scene->held) {
		// It had the mutex again, and perhaps had used its signal.
		send(scene);
	}
	send(scene);
	collect(scene);
	check_the_rest(scene);
}

// While the mutex is held by the director: it queues for it, marked.
static bool signalled_and_queued(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene);
	add_waiter(scene);
	crash_director_locks(scene);
	send(scene);
	return stepper_leave_call(&scene->stepper);
}

static void director_unlocks_then_one_more(struct crash_scene *scene)
{
	crash_director_unlocks(scene);
	one_more_signal(scene);
}

// ---- killed while it clears up behind another ----------------------------------------------------

// Another waits first, before there is a victim. It is the scene's holder, though it holds nothing.
static void wait_for_death(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	atomic_store(&scene->shared->go, 1);
	crash_must(scene, lh_condvar_wait(&condvar, &scene->mutex, scene->mine, LH_FOREVER, NULL),
		   "wait");
}

static void stage_with_one_to_die(struct crash_scene *scene)
{
	stage(scene);
	crash_start_holder(scene, wait_for_death);
	crash_await_asleep(scene, scene->holder);
}

static void stop(pid_t pid)
{
	kill(pid, SIGSTOP);
	waitpid(pid, NULL, WUNTRACED);
}

// It gets the signal, and dies before it can do anything about it.
static bool the_signalled_one_dies(struct crash_scene *scene)
{
	stop(scene->holder);
	send(scene);
	return crash_holder_dies(scene);
}

// The victim waits behind it and is the one that watches it; two others wait behind the victim.
static bool woken_by_its_death(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene);
	add_waiter(scene);
	return the_signalled_one_dies(scene) && stepper_leave_call(&scene->stepper);
}

// The victim reaps it as one who wants its slot would. The waiter that watches it stands still so
// long.
static bool dies_unseen(struct crash_scene *scene)
{
	add_waiter(scene);
	add_waiter(scene);
	stop(scene->shared->waiters[0].pid);
	return the_signalled_one_dies(scene);
}

static int reap_it(struct crash_scene *scene)
{
	reap_slot(scene->arena, scene->dead_slot - 1);
	return 0;
}

// The dead one's signal is for one of the two.
static void continue_then_one_more(struct crash_scene *scene)
{
	waitpid(scene->victim, NULL, __WALL);
	kill(scene->shared->waiters[0].pid, SIGCONT);
	send(scene);
	collect(scene);
	check_the_rest(scene);
}

// ---- killed while it signals ---------------------------------------------------------------------

static int signal_once(struct crash_scene *scene)
{
	(void)scene;
	return lh_condvar_signal(&condvar);
}

static int broadcast(struct crash_scene *scene)
{
	(void)scene;
	return lh_condvar_broadcast(&condvar);
}

static bool two_wait(struct crash_scene *scene)
{
	add_waiter(scene);
	add_waiter(scene);
	return true;
}

// What the dead one sent or half-sent comes on top.
static void signals_go_on(struct crash_scene *scene)
{
	waitpid(scene->victim, NULL, __WALL);
	for (size_t i = 0; i < scene->waiter_count; i++)
		send(scene);
	send(scene); // finds only the marked, if any, and wakes them again
	collect(scene);
	check_the_rest(scene);
}

// ---- behind one who marked and did not wake ------------------------------------------------------

static bool anyone_is_marked(const struct crash_scene *scene)
{
	for (uint32_t slot = 0; slot < scene->arena->lease_count; slot++) {
		if (atomic_load(&scene->arena->leases[slot].condition) & CONDITION_MARK)
			return true;
	}
	return false;
}

// Somebody waits, and who signals it dies between its mark and the wake.
static bool signaller_dies_before_its_wake(struct crash_scene *scene)
{
	struct stepper first;
	bool marked = false;
	pid_t pid;

	add_waiter(scene);
	pid = crash_fork(scene);
	if (pid == 0) {
		stepper_trace_me();
		stepper_mark();
		lh_condvar_signal(&condvar);
		stepper_mark();
		_exit(0);
	}
	if (!stepper_begin(&first, pid, -1))
		return false;
	while (!marked && stepper_step(&first) == STEPPER_MORE)
		marked = anyone_is_marked(scene);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
	return marked;
}

// ---- nobody dies: a wake is due that no death and no further signal makes ------------------------

static bool one_more_waits(struct crash_scene *scene)
{
	add_waiter(scene);
	return true;
}

static void let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	collect(scene);
	kill(scene->victim, SIGKILL);
}

// ---- stopped, and expired ------------------------------------------------------------------------

static void holding_with_ttl(struct crash_scene *scene)
{
	crash_holding_with_ttl(scene);
}

// The victim stands still, signalled; its lease runs out; the others need one signal less.
static void stop_and_expire(struct crash_scene *scene)
{
	struct lease_slot *slot = &scene->arena->leases[scene->shared->slot];
	uint64_t word, soon;
	int status;

	crash_observe(scene);
	stepper_detach(&scene->stepper, SIGSTOP);
	waitpid(scene->victim, &status, WUNTRACED);
	word = atomic_load(&slot->state);
	if (!(word & LEASE_TTL_BIT) || lease_word_state(word) != LEASE_LIVE) {
		crash_fail(scene, "the victim's lease is %#llx", (unsigned long long)word);
		return;
	}
	soon = (lh_now() + LH_MS(2)) / 1000000;
	atomic_store(&slot->state,
		     lease_word_live_until(lease_id_incarnation(scene->shared->lease), soon));
	while (lh_now() < (soon + 1) * 1000000)
		sched_yield();
	// Who watches it sleeps until an expiry far away; another one has come by.
	reap_slot(scene->arena, scene->shared->slot);
}

// It stands still before it sleeps, one waiting before it; another comes behind it, or takes the
// mutex that it held yet. No signal is for it, whether it has been cleared up behind or not.
static void stop_unsignalled(struct crash_scene *scene)
{
	crash_observe(scene);
	stepper_detach(&scene->stepper, SIGSTOP);
	waitpid(scene->victim, NULL, WUNTRACED);
	if (!scene->held) // else it would sleep until the expiry as it was
		add_waiter(scene);
	crash_shorten(scene);
	crash_await_loss(scene);
	if (!(scene->variant & CRASH_LEFT_FREE))
		reap_slot(scene->arena, scene->shared->slot);
	if (scene->held)
		add_waiter(scene);
}

static size_t queued_beside_victim(const struct crash_scene *scene)
{
	size_t count = 0;

	for (uint32_t i = 0; i < scene->arena->lease_count; i++)
		count += i != scene->shared->slot &&
			 (atomic_load(&scene->arena->leases[i].condition) & CONDITION_QUEUED);
	return count;
}

static void signal_others_then_resume(struct crash_scene *scene)
{
	while (queued_beside_victim(scene) < scene->waiter_count)
		sched_yield();
	for (size_t i = 0; i < scene->waiter_count; i++)
		send(scene);
	collect(scene);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == -ESTALE, "G4: its wait said %d",
		    scene->shared->result);
	for (int i = 0; i < 2; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: then call %d said %d",
			    i, scene->shared->results[i]);
	check_the_rest(scene);
}

static void resume_and_check(struct crash_scene *scene)
{
	const bool held = scene->held;
	int status;

	send(scene);
	if (held) // it may have used its own
		send(scene);
	collect(scene);
	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, __WALL);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == -ESTALE || scene->shared->result == 0,
		    "G4: its wait said %d", scene->shared->result);
	CRASH_CHECK(scene, scene->shared->results[0] == -ESTALE, "G4: then its lock said %d",
		    scene->shared->results[0]);
	check_the_rest(scene);
}

static void lock_and_release(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_mutex_lock(&scene->mutex, scene->mine, LH_NOW, NULL);
	scene->shared->results[1] = lh_lease_release(scene->mine);
}

static const struct crash_operation operations[] = {
	{ .name = "wait up to its sleep, one waits before it",
	  .shows = "G1 G2 G8",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_with_one_waiting,
	  .prepare = patient_and_holding,
	  .act = wait_for_signal,
	  .begin = one_waits,
	  .sleeps = true,
	  .verify = signal_and_collect },
	{ .name = "signalled, two wait behind it",
	  .shows = "G5 G8",
	  .every = true,
	  .thin = { 40, 10, 2 },
	  .stage = stage,
	  .prepare = patient_and_holding,
	  .act = wait_for_signal,
	  .begin = signalled_before_two,
	  .verify = one_more_signal },
	{ .name = "signalled up to its sleep for the mutex, two wait behind it",
	  .shows = "G8",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage,
	  .prepare = patient_and_holding,
	  .act = wait_for_signal,
	  .begin = signalled_and_queued,
	  .sleeps = true,
	  .verify = director_unlocks_then_one_more },
	{ .name = "woken by the death of a signalled one, two wait behind it",
	  .shows = "G2 G8",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_with_one_to_die,
	  .prepare = patient_and_holding,
	  .act = wait_for_signal,
	  .begin = woken_by_its_death,
	  .verify = one_more_signal },
	{ .name = "reap a signalled one, two wait behind it",
	  .shows = "G2 G8",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_with_one_to_die,
	  .prepare = crash_with_lease,
	  .act = reap_it,
	  .begin = dies_unseen,
	  .verify = continue_then_one_more },
	{ .name = "signal, two wait",
	  .shows = "G8",
	  .every = true,
	  .thin = { 40, 10, 2 },
	  .stage = stage,
	  .prepare = crash_with_lease,
	  .act = signal_once,
	  .begin = two_wait,
	  .verify = signals_go_on },
	{ .name = "broadcast, two wait",
	  .shows = "G8",
	  .every = true,
	  .thin = { 40, 10, 2 },
	  .stage = stage,
	  .prepare = crash_with_lease,
	  .act = broadcast,
	  .begin = two_wait,
	  .verify = signals_go_on },
	{ .name = "signal behind one that died before its wake",
	  .shows = "G8",
	  .every = true,
	  .thin = { 40, 10, 2 },
	  .stage = stage,
	  .prepare = crash_with_lease,
	  .act = signal_once,
	  .begin = signaller_dies_before_its_wake,
	  .verify = signals_go_on },
	{ CRASH_SURVIVED("signal, nobody dies, one is marked and was not woken", stage,
			 crash_with_lease, signal_once),
	  .begin = signaller_dies_before_its_wake, .strike = let_go_on, .verify = check_the_rest },
	{ CRASH_SURVIVED("signal, nobody dies, one waits", stage, crash_with_lease, signal_once),
	  .begin = one_more_waits, .strike = let_go_on, .verify = check_the_rest },
	{ CRASH_SURVIVED("broadcast, nobody dies, two wait", stage, crash_with_lease, broadcast),
	  .begin = two_wait, .strike = let_go_on, .verify = check_the_rest },
	{ .name = "stopped when signalled, two wait behind it",
	  .shows = "G3 G4 G8",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage,
	  .prepare = holding_with_ttl,
	  .act = wait_for_signal,
	  .after = lock_and_release,
	  .begin = signalled_before_two,
	  .strike = stop_and_expire,
	  .verify = resume_and_check },
	{ .name = "stopped in wait up to its sleep, one before and one behind it",
	  .shows = "G3 G4 G8",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_with_one_waiting,
	  .prepare = holding_with_ttl,
	  .act = wait_for_signal,
	  .after = lock_and_release,
	  .sleeps = true,
	  .strike = stop_unsignalled,
	  .verify = signal_others_then_resume },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
