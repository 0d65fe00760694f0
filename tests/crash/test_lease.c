// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies in each state of acquiring, renewing and releasing a lease, acquiring and
// releasing leased memory, and in a thread's end.
#include "tests/crash/crash.h"

#include "arena/lease.h"

#include <string.h>

static void tell(struct crash_scene *scene)
{
	scene->shared->slot = scene->mine->index;
	scene->shared->lease = lh_lease_id(scene->mine);
}

static int acquire(struct crash_scene *scene)
{
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000), .label = "a label" };

	return lh_lease_acquire(scene->arena, &options, &scene->mine);
}

// The identity of the thread, read once for all its leases, is known: no /proc.
static void with_another_lease(struct crash_scene *scene)
{
	lh_lease *other;

	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &other), "lease");
	// The next one asks for the arena's name, whatever the time.
	atomic_store(&scene->arena->named_ns, 0);
}

static int thread_lease(struct crash_scene *scene)
{
	return lh_thread_lease(scene->arena, &scene->mine);
}

static void with_a_region(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, lh_region_acquire(scene->mine, 100, &scene->shared->offset), "region");
}

static void with_much(struct crash_scene *scene)
{
	uint64_t offset;

	crash_holding(scene);
	crash_must(scene, lh_region_acquire(scene->mine, 100, &offset), "region");
	crash_must(scene, lh_region_acquire(scene->mine, 200, &offset), "region");
}

static void with_a_lost_lease(struct crash_scene *scene)
{
	crash_holding_with_ttl(scene);
	crash_shorten(scene);
	crash_await_loss(scene);
}

// Whoever takes the mutex next is told of it, and not of a dead one.
static bool lost_it_before(struct crash_scene *scene)
{
	scene->dead_lease = scene->shared->lease;
	return true;
}

static void thread_with_much(struct crash_scene *scene)
{
	uint64_t offset;

	crash_must(scene, lh_thread_lease(scene->arena, &scene->mine), "lease");
	tell(scene);
	crash_must(scene, crash_lock(scene), "lock");
	crash_must(scene, lh_region_acquire(scene->mine, 100, &offset), "region");
}

// The thread ends in peace; its process lives on.
static void let_it_end(struct crash_scene *scene)
{
	crash_observe(scene);
	stepper_detach(&scene->stepper, 0);
	scene->killed_ns = lh_now();
}

static void verify_then_kill(struct crash_scene *scene)
{
	crash_collect_waiters(scene);
	crash_check_mutex(scene);
	crash_kill(scene);
	crash_check_empty(scene);
}

static const struct crash_operation operations[] = {
	{ .name = "lease acquire, the thread's first",
	  .shows = "G2 G6",
	  .thin = { 4, 1, 1 },
	  .act = acquire,
	  .verify = crash_verify },
	{ .name = "lease acquire, another one",
	  .shows = "G2 G6",
	  .prepare = with_another_lease,
	  .act = acquire,
	  .verify = crash_verify },
	{ .name = "thread lease",
	  .shows = "G2 G6",
	  .thin = { 4, 1, 1 },
	  .act = thread_lease,
	  .verify = crash_verify },
	{ .name = "lease renew",
	  .shows = "G2",
	  .every = true,
	  .thin = { 8, 2, 1 },
	  .prepare = crash_holding_with_ttl,
	  .act = crash_renew,
	  .verify = crash_verify },
	{ .name = "lease release",
	  .shows = "G2 G6",
	  .every = true,
	  .thin = { 40, 8, 1 },
	  .prepare = crash_with_lease,
	  .act = crash_release,
	  .verify = crash_verify },
	{ .name = "lease release, the lease is lost",
	  .shows = "G2 G4 G6",
	  .every = true,
	  .thin = { 60, 10, 2 },
	  .prepare = with_a_lost_lease,
	  .begin = lost_it_before,
	  .act = crash_release,
	  .verify = crash_verify },
	{ .name = "lease release, with a mutex and leased memory, one sleeps",
	  .shows = "G1 G2 G5 G6 G8 G12",
	  .stage = crash_stage_used,
	  .prepare = with_much,
	  .act = crash_release,
	  .begin = crash_one_sleeper,
	  .verify = crash_verify },
	{ .name = "region acquire",
	  .shows = "G2 G6",
	  .stage = crash_stage_used,
	  .prepare = crash_with_lease,
	  .act = crash_region_acquire,
	  .verify = crash_verify },
	{ .name = "region release",
	  .shows = "G2 G6",
	  .every = true,
	  .thin = { 16, 4, 1 },
	  .stage = crash_stage_used,
	  .prepare = with_a_region,
	  .act = crash_region_release,
	  .verify = crash_verify },
	{ .name = "thread exit, with a mutex and leased memory, one sleeps",
	  .shows = "G1 G2 G5 G6 G8 G12",
	  .thread = true,
	  .prepare = thread_with_much,
	  .begin = crash_one_sleeper,
	  .verify = crash_verify },
	{ .name = "thread exit, its process lives on",
	  .shows = "G1 G2 G5 G6 G8 G12",
	  .repeat = { 10, 50, 100 },
	  .thread = true,
	  .prepare = thread_with_much,
	  .begin = crash_one_sleeper,
	  .strike = let_it_end,
	  .verify = verify_then_kill },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
