// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A party dies, or is stopped until its lease has expired, after each instruction of join, wait,
// leave and reset, while another sleeps at the barrier.
//
// What must come of it, parties.h says; and afterwards the barrier must work for as many as it was
// made for.
#include "tests/crash/parties.h"

#include "arena/lease.h"
#include "arena/reap.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- others --------------------------------------------------------------------------------------

// Two do: the victim's life is watched by the second alone, whose life the first watches.
static bool two_sleepers(struct crash_scene *scene)
{
	parties_add(scene, 0);
	parties_add(scene, 1);
	parties_put_to_sleep(scene, 1);
	parties_put_to_sleep(scene, 0);
	return true;
}

// ---- the victim ----------------------------------------------------------------------------------

static void joined_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, lh_barrier_join(&parties.barrier, scene->mine), "join");
}

static int join(struct crash_scene *scene)
{
	return lh_barrier_join(&parties.barrier, scene->mine);
}

static int leave(struct crash_scene *scene)
{
	return lh_barrier_leave(&parties.barrier, scene->mine);
}

static int wait_now(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_barrier_wait(&parties.barrier, scene->mine, LH_NOW, &grant);
}

static int reset(struct crash_scene *scene)
{
	(void)scene;
	return lh_barrier_reset(&parties.barrier);
}

// ---- stopped -------------------------------------------------------------------------------------

static void after_stop(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_barrier_wait(&parties.barrier, scene->mine, LH_NOW, NULL);
	scene->shared->results[1] = lh_barrier_join(&parties.barrier, scene->mine);
	scene->shared->results[2] = lh_barrier_leave(&parties.barrier, scene->mine);
	scene->shared->results[3] = lh_lease_release(scene->mine);
}

// What a late one must not change: all but the epoch and the places' sequences.
static void snapshot(uint64_t words[MOST_PARTIES + 1])
{
	words[0] = atomic_load(&parties_object()->word) & ~BARRIER_EPOCH_MASK;
	for (uint32_t i = 0; i < parties.count; i++)
		words[i + 1] = atomic_load(&parties_object()->places[i]) & ~PLACE_SEQUENCE_MASK;
}

// By what it had reached when it was stopped. Its answer may be older than the loss: it was stopped
// after its last look at its lease.
static bool may_say_done(const struct crash_scene *scene)
{
	if (scene->operation->act == join)
		return parties.outlook.lost; // a member
	return parties.outlook.complete || scene->operation->act != parties_wait;
}

static void stop_and_expire(struct crash_scene *scene)
{
	const uint64_t incarnation = lease_id_incarnation(scene->shared->lease);
	uint64_t before[MOST_PARTIES + 1] = { 0 }, after[MOST_PARTIES + 1] = { 0 };
	int status, result;

	stepper_detach(&scene->stepper, SIGSTOP);
	CRASH_CHECK(scene,
		    waitpid(scene->victim, &status, WUNTRACED) == scene->victim &&
			    WIFSTOPPED(status),
		    "it did not stop");
	parties.outlook = parties_look(scene);
	// Those asleep know the expiry as it was; who looks next knows the new one, and wakes them.
	lease_slot_renew(scene->arena, scene->shared->slot, incarnation, LH_MS(1));
	while (lease_slot_remaining(scene->arena, scene->shared->slot, incarnation))
		;
	if (!parties.outlook.complete && (parties.outlook.lost || parties.outlook.missing)) {
		const bool breaks = parties.outlook.broken ||
				    (!parties.shrinks && parties.outlook.lost);

		if (breaks || parties.outlook.missing)
			parties_arrive(scene, breaks ? -EOWNERDEAD : 0);
		else
			reap_slot(scene->arena, scene->shared->slot);
	}
	if (parties.outlook.complete) // the wake may not have been made: its loss makes up for it
		reap_slot(scene->arena, scene->shared->slot);
	parties_check_sleepers(scene, !parties.outlook.complete &&
						      (parties.outlook.broken ||
						       (!parties.shrinks && parties.outlook.lost))
					      ? -EOWNERDEAD
					      : 0);
	reap_slot(scene->arena, scene->shared->slot);
	snapshot(before);
	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, 0);
	snapshot(after);
	CRASH_CHECK(scene, memcmp(before, after, sizeof(before)) == 0,
		    "G4: the resumed one changed the barrier");
	result = scene->shared->result;
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, result == -ESTALE || (result == 0 && may_say_done(scene)),
		    "G4: its operation said %d", result);
	if (result == 0)
		crash_count(scene, "answers older than the loss");
	for (int i = 0; i < 4; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: then call %d said %d",
			    i, scene->shared->results[i]);
}

// ---- a reset, and clearing up, that are cut short ------------------------------------------------

static void dead_party(struct crash_scene *scene)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_barrier_join(&parties.barrier, lease), "join");
		scene->shared->slot = lease->index;
		raise(SIGKILL);
	}
	crash_bury(scene, pid);
	scene->dead_slot = scene->shared->slot + 1;
}

static void stage_broken(struct crash_scene *scene)
{
	parties_break(scene);
	dead_party(scene);
	CRASH_CHECK(scene,
		    lh_barrier_wait(&parties.barrier, scene->lease, LH_FOREVER, NULL) ==
			    -EOWNERDEAD,
		    "it is not broken");
}

static int reap_it(struct crash_scene *scene)
{
	reap_slot(scene->arena, scene->dead_slot - 1);
	return 0;
}

static void stage_dead_break(struct crash_scene *scene)
{
	parties_break(scene);
	dead_party(scene);
}

static void stage_dead_shrink(struct crash_scene *scene)
{
	parties_shrink(scene);
	dead_party(scene);
}

// The other place is the director's, so there is none but the dead one's.
static void stage_full_break(struct crash_scene *scene)
{
	stage_dead_break(scene);
	crash_must(scene, lh_barrier_join(&parties.barrier, scene->lease), "join");
}

static void stage_full_shrink(struct crash_scene *scene)
{
	stage_dead_shrink(scene);
	crash_must(scene, lh_barrier_join(&parties.barrier, scene->lease), "join");
}

// Another clears up while it stands there. Wherever that is, the barrier is not full: nobody alive
// has the place.
static void clear_up_and_let_join(struct crash_scene *scene)
{
	const int expected = parties.shrinks ? 0 : -EOWNERDEAD;

	reap_it(scene);
	stepper_detach(&scene->stepper, 0);
	waitpid(scene->victim, NULL, 0);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "it died");
	CRASH_CHECK(scene, scene->shared->result == expected, "G6: join said %d instead of %d",
		    scene->shared->result, expected);
}

// Whatever became of the one that met it: the dead party is told of, or done without, while the
// place that was not joined yet is waited for.
static void verify_death(struct crash_scene *scene)
{
	int expected = parties.shrinks ? 0 : -EOWNERDEAD, result;

	crash_reap_children(scene);
	result = lh_barrier_wait(&parties.barrier, scene->lease, LH_NOW, NULL);
	for (uint32_t i = 0; i < parties.count; i++) {
		const uint64_t seen = atomic_load(&parties_object()->places[i]);

		if (parties.shrinks && !place_owner(seen) && !(seen & PLACE_SHRUNK))
			expected = -EBUSY;
	}
	CRASH_CHECK(scene, result == expected, "G2: the next wait said %d instead of %d", result,
		    expected);
	if (result == 0)
		lh_barrier_leave(&parties.barrier, scene->lease);
	parties_verify_alone(scene);
}

// Nobody waits at the barrier and finds the lost one there: who gets its lease slot must not have
// its place as well.
static void verify_slots_first(struct crash_scene *scene)
{
	crash_reap_children(scene);
	crash_use_all_slots(scene, 1);
	for (uint32_t i = 0; i < parties.count; i++)
		CRASH_CHECK(scene, place_owner(atomic_load(&parties_object()->places[i])) == 0,
			    "G6: place %u is still the lost one's", i);
	parties_verify_alone(scene);
}

// ---- all -----------------------------------------------------------------------------------------

#define KILLED(shown, staged, prepared, called)                                                    \
	.name = (shown), .shows = "G2 G6 G8", .every = true, .stage = (staged),                    \
	.prepare = (prepared), .act = (called), .strike = parties_kill, .verify = parties_verify
#define ALONE(shown, prepared, called)                                                             \
	.name = (shown), .shows = "G2 G6", .every = true, .stage = parties_shrink,                 \
	.prepare = (prepared), .act = (called), .verify = verify_slots_first
#define CLEARED(shown, staged)                                                                     \
	.name = (shown), .shows = "G2 G6", .every = true, .stage = (staged),                       \
	.prepare = crash_with_lease, .act = join, .strike = clear_up_and_let_join,                 \
	.verify = parties_verify_alone
#define STOPPED(shown, staged, prepared, called)                                                   \
	.name = (shown), .shows = "G3 G4 G6", .every = true, .stage = (staged),                    \
	.prepare = (prepared), .act = (called), .begin = parties_one_sleeps, .after = after_stop,  \
	.strike = stop_and_expire, .verify = parties_verify_alone

static const struct crash_operation operations[] = {
	{ KILLED("wait as the last of two, break", parties_break, parties_joined, parties_wait),
	  .begin = parties_one_sleeps, .thin = { 60, 10, 2 } },
	{ KILLED("wait as the last of two, shrink", parties_shrink, parties_joined, parties_wait),
	  .begin = parties_one_sleeps, .thin = { 60, 10, 2 } },
	{ .name = "wait as the last of two, and stay",
	  .shows = "G8",
	  .repeat = { 2, 5, 20 },
	  .stage = parties_break,
	  .prepare = parties_joined,
	  .act = parties_wait,
	  .after = crash_say_and_stay,
	  .begin = parties_one_sleeps,
	  .strike = parties_let_go,
	  .verify = parties_verify_alone },
	{ KILLED("a wait that withdraws, break", parties_break_three, parties_joined, wait_now),
	  .begin = parties_one_sleeps, .thin = { 60, 10, 2 } },
	{ KILLED("a wait that withdraws, shrink", parties_shrink_three, parties_joined, wait_now),
	  .begin = parties_one_sleeps, .thin = { 60, 10, 2 } },
	{ KILLED("wait up to its sleep, break", parties_break_three, parties_joined, parties_wait),
	  .begin = parties_one_sleeps, .sleeps = true, .thin = { 200, 40, 8 } },
	{ KILLED("wait up to its sleep, shrink", parties_shrink_three, parties_joined,
		 parties_wait),
	  .begin = parties_one_sleeps, .sleeps = true, .thin = { 200, 40, 8 } },
	{ KILLED("wait as the last of three, break", parties_break_three, parties_joined,
		 parties_wait),
	  .begin = two_sleepers, .thin = { 60, 10, 2 } },
	{ KILLED("wait as the last of three, shrink", parties_shrink_three, parties_joined,
		 parties_wait),
	  .begin = two_sleepers, .thin = { 60, 10, 2 } },
	{ KILLED("join, break", parties_break, crash_with_lease, join), .begin = parties_one_sleeps,
	  .thin = { 60, 10, 2 } },
	{ KILLED("join, shrink", parties_shrink, crash_with_lease, join),
	  .begin = parties_one_sleeps, .thin = { 60, 10, 2 } },
	{ KILLED("leave, break", parties_break, parties_joined, leave), .begin = parties_one_sleeps,
	  .thin = { 30, 5, 1 } },
	{ KILLED("leave, shrink", parties_shrink, parties_joined, leave),
	  .begin = parties_one_sleeps, .thin = { 30, 5, 1 } },
	{ KILLED("lease release of a party, break", parties_break, parties_joined, crash_release),
	  .begin = parties_one_sleeps, .not_quick = true, .thin = { 120, 20, 3 } },
	{ KILLED("lease release of a party, shrink", parties_shrink, parties_joined, crash_release),
	  .begin = parties_one_sleeps, .not_quick = true, .thin = { 120, 20, 3 } },
	{ ALONE("join, nobody waits", crash_with_lease, join), .thin = { 40, 8, 2 } },
	{ ALONE("leave, nobody waits", parties_joined, leave), .thin = { 30, 5, 1 } },
	{ .name = "reset",
	  .shows = "G6",
	  .every = true,
	  .thin = { 40, 8, 1 },
	  .stage = stage_broken,
	  .prepare = crash_with_lease,
	  .act = reset,
	  .verify = parties_verify_alone },
	{ .name = "a wait that meets a dead party, break",
	  .shows = "G2 G6",
	  .every = true,
	  .thin = { 100, 20, 3 },
	  .stage = stage_dead_break,
	  .prepare = crash_with_lease,
	  .act = wait_now,
	  .verify = verify_death },
	{ .name = "a wait that meets a dead party, shrink",
	  .shows = "G2 G6",
	  .every = true,
	  .thin = { 100, 20, 3 },
	  .stage = stage_dead_shrink,
	  .prepare = crash_with_lease,
	  .act = wait_now,
	  .verify = verify_death },
	{ .name = "reap a dead party, break",
	  .shows = "G2 G6",
	  .every = true,
	  .thin = { 40, 8, 2 },
	  .stage = stage_dead_break,
	  .prepare = crash_with_lease,
	  .act = reap_it,
	  .verify = verify_death },
	{ .name = "reap a dead party, shrink",
	  .shows = "G2 G6",
	  .every = true,
	  .thin = { 40, 8, 2 },
	  .stage = stage_dead_shrink,
	  .prepare = crash_with_lease,
	  .act = reap_it,
	  .verify = verify_death },
	{ CLEARED("join, a dead one's place is cleared meanwhile, break", stage_full_break),
	  .thin = { 40, 8, 2 } },
	{ CLEARED("join, a dead one's place is cleared meanwhile, shrink", stage_full_shrink),
	  .thin = { 40, 8, 2 } },
	{ STOPPED("stopped in wait, break", parties_break, joined_with_ttl, parties_wait),
	  .thin = { 60, 10, 2 } },
	{ STOPPED("stopped in wait, shrink", parties_shrink, joined_with_ttl, parties_wait),
	  .thin = { 60, 10, 2 } },
	{ STOPPED("stopped in leave, break", parties_break, joined_with_ttl, leave),
	  .thin = { 30, 5, 1 } },
	{ STOPPED("stopped in leave, shrink", parties_shrink, joined_with_ttl, leave),
	  .thin = { 30, 5, 1 } },
	{ STOPPED("stopped in join, break", parties_break, crash_with_ttl, join),
	  .thin = { 60, 10, 2 } },
	{ STOPPED("stopped in join, shrink", parties_shrink, crash_with_ttl, join),
	  .not_quick = true, .thin = { 60, 10, 2 } },
};

int main(void)
{
	return parties_run(operations, sizeof(operations) / sizeof(operations[0]));
}
