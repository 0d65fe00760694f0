// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies after each instruction of a lock or unlock while others wait for the same mutex,
// or after it was woken in its own wait. Living waiters must get through at once (G2, G8): they
// sleep without the backstop, so a wake that nobody gave fails the test.
#include "arena/lease.h"
#include "src/deadlock.h"
#include "tests/crash/crash.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

// ---- unlock --------------------------------------------------------------------------------------

static bool three_sleepers(struct crash_scene *scene)
{
	for (int i = 0; i < 3; i++)
		crash_add_waiter(scene);
	return true;
}

static void queue_and_hold(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
	crash_must(scene, crash_lock(scene), "lock");
}

static void hand_over(struct crash_scene *scene)
{
	crash_await_asleep(scene, scene->victim);
	crash_add_waiter(scene);
	crash_add_waiter(scene);
	crash_director_unlocks(scene);
}

// ---- lock, while the director holds it -----------------------------------------------------------

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

static void director_unlocks_then_verify(struct crash_scene *scene)
{
	crash_director_unlocks(scene);
	crash_verify(scene);
}

// The dead one's slot has a new tenant, who wants nothing of the mutex, before another comes.
static void new_tenant_then_verify(struct crash_scene *scene)
{
	lh_lease *leases[CRASH_LEASES] = { NULL }, *tenant = NULL;
	size_t count = 0;

	waitpid(scene->victim, NULL, 0);
	while (count < CRASH_LEASES && lh_lease_acquire(scene->arena, NULL, &leases[count]) == 0)
		count++;
	for (size_t i = 0; i < count; i++) {
		if (leases[i]->index == scene->shared->slot)
			tenant = leases[i];
		else
			lh_lease_release(leases[i]);
	}
	CRASH_CHECK(scene, tenant, "G6: the slot is not to be had");
	crash_add_waiter(scene);
	crash_director_unlocks(scene);
	crash_collect_waiters(scene);
	crash_must(scene, lh_lease_release(tenant), "release");
	crash_verify(scene);
}

// It holds the mutex, as a handle does that its thread alone will release, and waits for it with
// another lease: a cycle of its thread alone, told at once.
static lh_lease *second;

static void holding_with_another_lease(struct crash_scene *scene)
{
	crash_holding(scene);
	lease_set_session(scene->mine, process_session());
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &second), "another lease");
}

// The same, but that another thread might let go of what it holds, if there were one: so its wait
// says that it is alone.
static void holding_unsaid_with_another_lease(struct crash_scene *scene)
{
	crash_holding(scene);
	lease_set_session(scene->mine, deadlock_session(false));
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &second), "another lease");
	patience_step_clock(LH_MS(10)); // it looks whether it is alone at once
}

static int lock_for_oneself(struct crash_scene *scene)
{
	lh_grant grant;
	const int error = lh_mutex_lock(&scene->mutex, second, LH_FOREVER, &grant);

	return error == -EDEADLK ? crash_unlock(scene) : error ? error : -EBADMSG;
}

static void told_and_unlocked(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	CRASH_CHECK(scene, scene->shared->result == 0, "G8: its lock or unlock said %d",
		    scene->shared->result);
	crash_observe(scene);
	crash_collect_waiters(scene);
	kill(scene->victim, SIGKILL);
}

static void check_mutex_and_empty(struct crash_scene *scene)
{
	crash_check_mutex(scene);
	crash_check_empty(scene);
}

static void another_comes(struct crash_scene *scene)
{
	crash_add_waiter(scene);
}

static void another_comes_and_unlock(struct crash_scene *scene)
{
	crash_add_waiter(scene);
	crash_director_unlocks(scene);
}

// ---- the woken -----------------------------------------------------------------------------------

static bool woken_by_unlock(struct crash_scene *scene)
{
	if (!crash_victim_asleep_before_two(scene))
		return false;
	crash_director_unlocks(scene);
	return stepper_leave_call(&scene->stepper);
}

// What the victim looks at is to stand still: the other has left, or the holder has gone.
static bool woken_behind_another(struct crash_scene *scene)
{
	return crash_one_sleeper(scene) && woken_by_unlock(scene) &&
	       waitpid(scene->shared->waiters[0].pid, NULL, 0) > 0;
}

static bool woken_by_death(struct crash_scene *scene)
{
	if (!crash_victim_asleep_before_two(scene))
		return false;
	crash_kill_holder(scene);
	waitpid(scene->holder, NULL, 0);
	scene->holder = 0;
	return stepper_leave_call(&scene->stepper);
}

// Its deadline passes, or it is refused for not listening; those behind it must not notice.
static int lock_soon(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_mutex_lock(&scene->mutex, scene->mine, (lh_deadline){ scene->shared->offset },
			     &grant);
}

static bool woken_by_deadline(struct crash_scene *scene)
{
	do {
		if (!stepper_go_to_call(&scene->stepper, SYS_futex_waitv))
			return false;
		if (!scene->waiter_count) {
			// The first sleep: those behind it come now. (They sleep on its turn.)
			stepper_enter_call(&scene->stepper);
			crash_await_asleep(scene, scene->victim);
			crash_add_waiter(scene);
			crash_add_waiter(scene);
		} else {
			stepper_enter_call(&scene->stepper);
		}
		if (!stepper_leave_call(&scene->stepper))
			return false;
	} while (lh_now() < scene->shared->offset);
	return true;
}

static void note_deadline(struct crash_scene *scene)
{
	crash_with_lease(scene);
	scene->shared->offset = lh_now() + LH_MS(30);
}

// ---- one death, two that sleep on it -------------------------------------------------------------

static void hold_both(struct crash_scene *scene)
{
	lh_grant grant;

	crash_holding(scene);
	crash_must(scene, lh_mutex_lock(&scene->other, scene->mine, LH_NOW, &grant), "lock");
}

static bool one_sleeper_on_each(struct crash_scene *scene)
{
	crash_add_waiter(scene);
	crash_add_other_waiter(scene);
	return true;
}

// ---- those who leave the queue and live on -------------------------------------------------------

static void stay(struct crash_scene *scene)
{
	atomic_store(&scene->shared->finished, 1);
	for (;;)
		pause();
}

static void let_it_leave(struct crash_scene *scene)
{
	crash_observe(scene);
	stepper_detach(&scene->stepper, 0);
	while (!atomic_load(&scene->shared->finished))
		sched_yield();
}

static void verify_beside_it(struct crash_scene *scene)
{
	if (lh_mutex_held(&scene->mutex, scene->lease))
		crash_director_unlocks(scene);
	crash_collect_waiters(scene);
	crash_check_mutex(scene);
	crash_kill(scene);
	crash_check_empty(scene);
}

static const struct crash_operation operations[] = {
	{ .name = "unlock, one sleeps",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .prepare = crash_holding,
	  .act = crash_unlock,
	  .begin = crash_one_sleeper,
	  .verify = crash_verify },
	{ .name = "unlock, three sleep",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 3, 1, 1 },
	  .prepare = crash_holding,
	  .act = crash_unlock,
	  .begin = three_sleepers,
	  .verify = crash_verify },
	{ .name = "unlock, lease with a TTL, one sleeps",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .prepare = crash_holding_with_ttl,
	  .act = crash_unlock,
	  .begin = crash_one_sleeper,
	  .verify = crash_verify },
	{ .name = "unlock by one who had queued, two behind it",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .stage = crash_stage_held,
	  .prepare = queue_and_hold,
	  .act = crash_unlock,
	  .meet = hand_over,
	  .verify = crash_verify },
	{ .name = "unlock, holding another, one sleeps on each",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .stage = crash_stage_two,
	  .prepare = hold_both,
	  .act = crash_unlock,
	  .begin = one_sleeper_on_each,
	  .verify = crash_verify },
	{ .name = "lock up to its sleep, one sleeps",
	  .shows = "G1 G8",
	  .every = true,
	  .thin = { 60, 20, 4 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock,
	  .begin = crash_one_sleeper,
	  .sleeps = true,
	  .verify = director_unlocks_then_verify },
	{ .name = "lock up to its sleep, one sleeps, another comes meanwhile",
	  .shows = "G1 G8",
	  .every = true,
	  .thin = { 60, 20, 4 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock,
	  .begin = crash_one_sleeper,
	  .at_point = another_comes,
	  .sleeps = true,
	  .verify = director_unlocks_then_verify },
	{ .name = "lock up to its sleep, another comes and the holder unlocks meanwhile",
	  .shows = "G1 G8",
	  .every = true,
	  .thin = { 60, 20, 4 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock,
	  .begin = crash_one_sleeper,
	  .at_point = another_comes_and_unlock,
	  .sleeps = true,
	  .verify = crash_verify },
	{ .name = "lock up to its sleep, its slot is used again, another comes",
	  .shows = "G1 G8",
	  .every = true,
	  .thin = { 200, 60, 10 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock,
	  .sleeps = true,
	  .verify = new_tenant_then_verify },
	{ .name = "lock that closes a cycle of its thread alone, one sleeps",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = crash_stage,
	  .prepare = holding_with_another_lease,
	  .act = lock_for_oneself,
	  .begin = crash_one_sleeper,
	  .impatient = true, // by the time, a walk searches or not
	  .verify = crash_verify },
	{ .name = "lock that closes a cycle of the only thread there is, one sleeps",
	  .shows = "G1 G2 G5 G8 G12",
	  .stage = crash_stage,
	  .prepare = holding_unsaid_with_another_lease,
	  .act = lock_for_oneself,
	  .begin = crash_one_sleeper,
	  .verify = crash_verify },
	{ CRASH_SURVIVED("told of a cycle of the only thread there is, nobody dies, one sleeps",
			 crash_stage, holding_unsaid_with_another_lease, lock_for_oneself),
	  .begin = crash_one_sleeper, .strike = told_and_unlocked,
	  .verify = check_mutex_and_empty },
	{ .name = "asleep, two behind it",
	  .shows = "G8",
	  .repeat = { 10, 50, 200 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock,
	  .begin = crash_victim_asleep_before_two,
	  .verify = director_unlocks_then_verify },
	{ .name = "woken by an unlock, lock and unlock, two behind it",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 20, 6, 2 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock_and_unlock,
	  .begin = woken_by_unlock,
	  .verify = crash_verify },
	{ .name = "woken behind another waiter, lock and unlock, two behind it",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 20, 6, 2 },
	  .stage = crash_stage_held,
	  .prepare = patient,
	  .act = crash_lock_and_unlock,
	  .begin = woken_behind_another,
	  .verify = crash_verify },
	{ .name = "woken by the holder's death, lock and unlock, two behind it",
	  .shows = "G1 G2 G5 G8 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = crash_stage_holder,
	  .prepare = patient,
	  .act = crash_lock_and_unlock,
	  .begin = woken_by_death,
	  .verify = crash_verify },
	{ .name = "woken by the holder's death and refused, two behind it",
	  .shows = "G2 G8 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = crash_stage_holder,
	  .prepare = patient,
	  .act = crash_lock_deaf,
	  .begin = woken_by_death,
	  .verify = crash_verify },
	{ .name = "woken by its deadline, two behind it",
	  .shows = "G8 G10",
	  .every = true,
	  .thin = { 20, 6, 2 },
	  .stage = crash_stage_held,
	  .prepare = note_deadline,
	  .act = lock_soon,
	  .begin = woken_by_deadline,
	  .verify = director_unlocks_then_verify },
	{ .name = "given up at its deadline, two behind it",
	  .shows = "G8 G10",
	  .repeat = { 3, 20, 100 },
	  .stage = crash_stage_held,
	  .prepare = note_deadline,
	  .act = lock_soon,
	  .after = stay,
	  .begin = woken_by_deadline,
	  .strike = let_it_leave,
	  .verify = verify_beside_it },
	{ .name = "refused after the holder's death, two behind it",
	  .shows = "G8 G12",
	  .repeat = { 3, 20, 100 },
	  .stage = crash_stage_holder,
	  .prepare = patient,
	  .act = crash_lock_deaf,
	  .after = stay,
	  .begin = woken_by_death,
	  .strike = let_it_leave,
	  .verify = verify_beside_it },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
