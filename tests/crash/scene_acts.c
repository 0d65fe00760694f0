// SPDX-License-Identifier: Apache-2.0
//
// What victims, holders and the director do in more than one test.
#include "tests/crash/scene.h"

#include "arena/lease.h"

#include <signal.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

void scene_acquire(struct scene *scene, uint64_t ttl_ns)
{
	const struct lh_lease_options options = { .ttl_ns = ttl_ns };

	scene_must(scene, lh_lease_acquire(scene->arena, &options, &scene->mine), "victim's lease");
	scene->shared->lease = lh_lease_id(scene->mine);
	scene->shared->slot = scene->mine->index;
}

void scene_with_lease(struct scene *scene)
{
	scene_acquire(scene, 0);
}

void scene_with_ttl(struct scene *scene)
{
	scene_acquire(scene, LH_SEC(1000));
}

static void lock_now(struct scene *scene, lh_lease *lease)
{
	lh_grant grant;

	scene_must(scene, lh_mutex_lock(&scene->mutex, lease, LH_NOW, &grant), "lock");
}

void scene_holding(struct scene *scene)
{
	scene_with_lease(scene);
	lock_now(scene, scene->mine);
}

void scene_holding_with_ttl(struct scene *scene)
{
	scene_with_ttl(scene);
	lock_now(scene, scene->mine);
}

int scene_lock(struct scene *scene)
{
	lh_grant grant;

	return lh_mutex_lock(&scene->mutex, scene->mine, LH_FOREVER, &grant);
}

int scene_unlock(struct scene *scene)
{
	return lh_mutex_unlock(&scene->mutex, scene->mine);
}

int scene_lock_and_unlock(struct scene *scene)
{
	const int error = scene_lock(scene);

	return error ? error : scene_unlock(scene);
}

void scene_director_locks(struct scene *scene)
{
	lock_now(scene, scene->lease);
}

void scene_director_unlocks(struct scene *scene)
{
	scene_must(scene, lh_mutex_unlock(&scene->mutex, scene->lease), "unlock");
}

void scene_start_holder(struct scene *scene, void (*prepare)(struct scene *scene))
{
	const pid_t pid = scene_fork(scene);

	if (pid == 0) {
		scene_holding(scene);
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

void scene_kill_holder(struct scene *scene)
{
	kill(scene->holder, SIGKILL);
}

void scene_dead_holder(struct scene *scene, void (*prepare)(struct scene *scene))
{
	scene_start_holder(scene, prepare);
	scene_kill_holder(scene);
	waitpid(scene->holder, NULL, 0);
	scene->holder = 0;
}

void scene_dead_idler(struct scene *scene)
{
	const pid_t pid = scene_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		scene_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
}
