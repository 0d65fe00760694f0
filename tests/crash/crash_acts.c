// SPDX-License-Identifier: Apache-2.0
//
// What victims, holders and the director do in more than one test.
#include "tests/crash/crash.h"

#include "arena/lease.h"

#include <signal.h>
#include <sched.h>
#include <sys/wait.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

void crash_acquire(struct crash_scene *scene, uint64_t ttl_ns)
{
	const struct lh_lease_options options = { .ttl_ns = ttl_ns };

	crash_must(scene, lh_lease_acquire(scene->arena, &options, &scene->mine), "victim's lease");
	scene->shared->lease = lh_lease_id(scene->mine);
	scene->shared->slot = scene->mine->index;
}

void crash_with_lease(struct crash_scene *scene)
{
	crash_acquire(scene, 0);
}

void crash_with_ttl(struct crash_scene *scene)
{
	crash_acquire(scene, LH_SEC(1000));
}

static void lock_now(struct crash_scene *scene, lh_lease *lease)
{
	lh_grant grant;

	crash_must(scene, lh_mutex_lock(&scene->mutex, lease, LH_NOW, &grant), "lock");
}

void crash_holding(struct crash_scene *scene)
{
	crash_with_lease(scene);
	lock_now(scene, scene->mine);
}

void crash_holding_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	lock_now(scene, scene->mine);
}

int crash_lock(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_mutex_lock(&scene->mutex, scene->mine, LH_FOREVER, &grant);
}

int crash_unlock(struct crash_scene *scene)
{
	return lh_mutex_unlock(&scene->mutex, scene->mine);
}

int crash_lock_and_unlock(struct crash_scene *scene)
{
	const int error = crash_lock(scene);

	return error ? error : crash_unlock(scene);
}

void crash_director_locks(struct crash_scene *scene)
{
	lock_now(scene, scene->lease);
}

void crash_director_unlocks(struct crash_scene *scene)
{
	crash_must(scene, lh_mutex_unlock(&scene->mutex, scene->lease), "unlock");
}

void crash_start_holder(struct crash_scene *scene, void (*prepare)(struct crash_scene *scene))
{
	const pid_t pid = crash_fork(scene);

	if (pid == 0) {
		crash_holding(scene);
		if (prepare)
			prepare(scene);
		atomic_store(&scene->shared->go, 1);
		for (;;)
			pause();
	}
	while (!atomic_exchange(&scene->shared->go, 0))
		sched_yield();
	scene->holder = pid;
	scene->dead_slot = scene->shared->slot + 1;
	scene->dead_lease = scene->shared->lease;
	scene->shared->lease = 0;
}

void crash_kill_holder(struct crash_scene *scene)
{
	kill(scene->holder, SIGKILL);
}

void crash_dead_holder(struct crash_scene *scene, void (*prepare)(struct crash_scene *scene))
{
	crash_start_holder(scene, prepare);
	crash_kill_holder(scene);
	waitpid(scene->holder, NULL, 0);
	scene->holder = 0;
}

void crash_bury(struct crash_scene *scene, pid_t pid)
{
	waitpid(pid, NULL, 0);
	atomic_fetch_add(&scene->arena->owner_hint, 1);
}

void crash_dead_idler(struct crash_scene *scene)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
}

bool crash_victim_asleep(struct crash_scene *scene)
{
	if (!stepper_go_to_call(&scene->stepper, SYS_futex_waitv))
		return false;
	stepper_enter_call(&scene->stepper);
	crash_await_asleep(scene, scene->victim);
	return true;
}

bool crash_victim_asleep_before_two(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	crash_add_waiter(scene);
	crash_add_waiter(scene);
	return true;
}

void crash_stage_held(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_director_locks(scene);
}

void crash_stage_holder(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_start_holder(scene, NULL);
}

void crash_stage_damaged(struct crash_scene *scene)
{
	lh_grant grant;

	crash_stage(scene);
	crash_dead_holder(scene, NULL);
	crash_must(scene, lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, &grant), "lock");
	crash_must(scene, lh_mutex_unlock(&scene->mutex, scene->lease), "unlock");
}

void crash_stage_used(struct crash_scene *scene)
{
	uint64_t offset;

	crash_stage(scene);
	crash_must(scene, lh_region_acquire(scene->lease, 3072, &offset), "region");
	memset(lh_arena_range(scene->arena, offset, 3072), 0x5a, 3072);
	crash_must(scene, lh_region_release(scene->lease, offset), "region");
}

bool crash_one_sleeper(struct crash_scene *scene)
{
	crash_add_waiter(scene);
	return true;
}

bool crash_holder_dies(struct crash_scene *scene)
{
	crash_kill_holder(scene);
	waitpid(scene->holder, NULL, 0);
	scene->holder = 0;
	return true;
}

int crash_lock_deaf(struct crash_scene *scene)
{
	return lh_mutex_lock(&scene->mutex, scene->mine, LH_FOREVER, NULL);
}

int crash_consistent(struct crash_scene *scene)
{
	return lh_mutex_consistent(&scene->mutex, scene->mine);
}

int crash_renew(struct crash_scene *scene)
{
	return lh_lease_renew(scene->mine, LH_SEC(5000));
}

int crash_release(struct crash_scene *scene)
{
	return lh_lease_release(scene->mine);
}

int crash_region_acquire(struct crash_scene *scene)
{
	return lh_region_acquire(scene->mine, 100, &scene->shared->offset);
}

int crash_region_release(struct crash_scene *scene)
{
	return lh_region_release(scene->mine, scene->shared->offset);
}

void crash_stage_two(struct crash_scene *scene)
{
	const struct lh_mutex_options options = { .data_size = CRASH_DATA, .name = "other" };

	crash_stage(scene);
	scene->placements = 2;
	crash_must(scene, lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &scene->other), "mutex");
}

// ---- nobody dies ---------------------------------------------------------------------------------

void crash_say_and_stay(struct crash_scene *scene)
{
	atomic_store(&scene->shared->go, 1);
	for (;;)
		pause();
}

void crash_let_go_on(struct crash_scene *scene)
{
	stepper_detach(&scene->stepper, 0);
	while (!atomic_load(&scene->shared->go))
		sched_yield();
}

// ---- stopping and going on -----------------------------------------------------------------------

struct lease_slot *crash_slot(const struct crash_scene *scene)
{
	return &scene->arena->leases[scene->shared->slot];
}

void crash_stop(struct crash_scene *scene)
{
	int status;

	crash_observe(scene);
	stepper_detach(&scene->stepper, SIGSTOP);
	CRASH_CHECK(scene,
		    waitpid(scene->victim, &status, WUNTRACED) == scene->victim &&
			    WIFSTOPPED(status),
		    "it did not stop");
}

uint64_t crash_shorten(struct crash_scene *scene)
{
	lease_slot_renew(scene->arena, scene->shared->slot,
			 lease_id_incarnation(scene->shared->lease), LH_MS(CRASH_LAST_MS));
	return lease_word_expiry(atomic_load(&crash_slot(scene)->state));
}

void crash_await_loss(struct crash_scene *scene)
{
	while (lease_slot_remaining(scene->arena, scene->shared->slot,
				    lease_id_incarnation(scene->shared->lease)))
		;
}

void crash_resume(struct crash_scene *scene)
{
	int status;

	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, 0);
}
