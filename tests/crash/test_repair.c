// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// Who ends a lease by hand, or clears up behind the lost, dies after each instruction, or is
// stopped while the lease's slot gets another tenant. A lease is either still good, with all it
// holds, or lost, and then the next user is granted that and told of damage (G2, G4, G6, G12).
#include "tests/crash/crash.h"

#include "arena/lease.h"

#include <leasehold/repair.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static lh_lease *broken; // the director's, with a TTL that is far from over

// ---- acts ----------------------------------------------------------------------------------------

static int break_it(struct crash_scene *scene)
{
	return lh_lease_break(scene->arena, scene->dead_lease, lh_mutex_offset(&scene->mutex),
			      LH_BREAK_FORCE, LH_FOREVER);
}

static int break_the_dead(struct crash_scene *scene)
{
	return lh_lease_break(scene->arena, scene->dead_lease, 0, 0, LH_NOW);
}

static int sweep(struct crash_scene *scene)
{
	return lh_sweep(scene->arena, NULL, NULL);
}

// ---- stages --------------------------------------------------------------------------------------

static lh_lease *acquire_with_ttl(struct crash_scene *scene)
{
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease;

	crash_must(scene, lh_lease_acquire(scene->arena, &options, &lease), "lease");
	return lease;
}

// The lease that is ended is what the harness calls a dead holder's, though its owner lives.
static void stage_held(struct crash_scene *scene)
{
	lh_grant grant;
	uint64_t offset;

	crash_stage(scene);
	broken = acquire_with_ttl(scene);
	crash_must(scene, lh_mutex_lock(&scene->mutex, broken, LH_NOW, &grant), "lock");
	crash_must(scene, lh_region_acquire(broken, 100, &offset), "region");
	scene->dead_slot = broken->index + 1;
	scene->dead_lease = lh_lease_id(broken);
	scene->token = grant.token;
}

static void more_holds(struct crash_scene *scene)
{
	uint64_t offset;

	crash_must(scene, lh_region_acquire(scene->mine, 100, &offset), "leased memory");
}

static void stage_holder(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_start_holder(scene, more_holds);
}

// It wants the mutex, and stands still until the victim is dead.
static bool begin_with_a_sleeper(struct crash_scene *scene)
{
	crash_add_waiter(scene);
	kill(scene->shared->waiters[0].pid, SIGSTOP);
	waitpid(scene->shared->waiters[0].pid, NULL, WUNTRACED);
	return true;
}

// ---- what must come of it ------------------------------------------------------------------------

static bool is_expired(const struct crash_scene *scene)
{
	const uint64_t state = atomic_load(&scene->arena->leases[scene->dead_slot - 1].state);

	return lease_word_state(state) == LEASE_EXPIRED;
}

// Its owner goes on. Not expired, it has what it had; else it is told.
static void let_owner_go_on(struct crash_scene *scene, bool expired)
{
	const int late = expired ? -ESTALE : 0;
	int result = lh_mutex_unlock(&scene->mutex, broken);

	CRASH_CHECK(scene, result == late, "%s: its unlock said %d", expired ? "G4" : "G3", result);
	result = lh_lease_release(broken);
	CRASH_CHECK(scene, result == late, "%s: its release said %d", expired ? "G4" : "G3",
		    result);
}

static void kill_breaker(struct crash_scene *scene)
{
	scene->kept = is_expired(scene);
	crash_kill(scene);
	for (size_t i = 0; i < scene->waiter_count; i++)
		kill(scene->shared->waiters[i].pid, SIGCONT);
	if (!scene->kept)
		scene->damage = false;
}

static void verify_broken(struct crash_scene *scene)
{
	if (!scene->kept || (scene->variant & CRASH_SLOTS_FIRST)) {
		let_owner_go_on(scene, scene->kept);
		broken = NULL;
	}
	crash_collect_waiters(scene);
	crash_check_mutex(scene);
	if (broken)
		let_owner_go_on(scene, true);
	crash_check_empty(scene);
}

static void let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	scene->kept = true;
	scene->damage = true;
	scene->lost_lease = scene->dead_lease;
	CRASH_CHECK(scene, scene->shared->result == 0, "its call said %d", scene->shared->result);
	CRASH_CHECK(scene, is_expired(scene), "G3: the lease is not lost");
	crash_collect_waiters(scene);
	kill(scene->victim, SIGKILL);
}

static void verify_all(struct crash_scene *scene)
{
	crash_check_mutex(scene);
	let_owner_go_on(scene, true);
	crash_check_empty(scene);
}

// ---- stopped -------------------------------------------------------------------------------------

// The owner releases its lease, and the next tenant of its slot locks the same mutex: that one is
// not ended by who meant the other.
static void stop_and_succeed(struct crash_scene *scene)
{
	lh_lease *leases[CRASH_LEASES] = { NULL }, *tenant = NULL;
	bool expired;
	lh_grant grant;
	int result;

	crash_stop(scene);
	expired = is_expired(scene);
	let_owner_go_on(scene, expired);
	for (int i = 0; i + 1 < CRASH_LEASES && !tenant; i++) {
		leases[i] = acquire_with_ttl(scene);
		if (leases[i]->index + 1 == scene->dead_slot)
			tenant = leases[i];
	}
	CRASH_CHECK(scene, tenant, "G6: the slot is not to be had");
	if (!tenant)
		return;
	result = lh_mutex_lock(&scene->mutex, tenant, LH_NOW, &grant);
	CRASH_CHECK(scene, result == 0 && (grant.flags != 0) == expired,
		    "G2, G12: the next one got %d, flags %u", result, grant.flags);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == 0 || scene->shared->result == -ENOENT,
		    "the resumed one got %d", scene->shared->result);
	CRASH_CHECK(scene, lh_lease_valid(tenant) && lh_mutex_held(&scene->mutex, tenant),
		    "G3: the slot's next tenant was ended");
	lh_mutex_consistent(&scene->mutex, tenant);
	result = lh_mutex_unlock(&scene->mutex, tenant);
	CRASH_CHECK(scene, result == 0, "G3: the next tenant's unlock said %d", result);
	for (int i = 0; i < CRASH_LEASES; i++) {
		result = leases[i] ? lh_lease_release(leases[i]) : 0;
		CRASH_CHECK(scene, result == 0, "release: %d", result);
	}
	scene->dead_slot = 0;
	crash_observe(scene);
}

static void verify_stopped(struct crash_scene *scene)
{
	crash_check_mutex(scene);
	crash_check_empty(scene);
}

static const struct crash_operation operations[] = {
	{ .name = "break",
	  .shows = "G2 G3 G4 G6 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_held,
	  .act = break_it,
	  .strike = kill_breaker,
	  .verify = verify_broken },
	{ .name = "break, one sleeps",
	  .shows = "G2 G3 G4 G6 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_held,
	  .act = break_it,
	  .begin = begin_with_a_sleeper,
	  .strike = kill_breaker,
	  .impatient = true, // if the victim woke nobody, it sleeps until its backstop
	  .verify = verify_broken },
	{ CRASH_SURVIVED("break, nobody dies, one sleeps", stage_held, NULL, break_it),
	  .begin = crash_one_sleeper, .strike = let_go_on, .verify = verify_all },
	{ .name = "stopped in break, its slot has another tenant",
	  .shows = "G1 G3 G4 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_held,
	  .act = break_it,
	  .strike = stop_and_succeed,
	  .verify = verify_stopped },
	{ .name = "break of a dead one's lease",
	  .shows = "G2 G6 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_holder,
	  .begin = crash_holder_dies,
	  .act = break_the_dead,
	  .verify = crash_verify },
	{ .name = "sweep, one has died",
	  .shows = "G2 G6 G12",
	  .every = true,
	  .thin = { 60, 16, 4 },
	  .stage = stage_holder,
	  .begin = crash_holder_dies,
	  .act = sweep,
	  .verify = crash_verify },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
