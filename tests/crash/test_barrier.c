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
// What must come of it follows from the words as the victim left them: the phase was complete, or
// the barrier breaks or shrinks, or somebody is missing, whom the director then is. The sleeper
// must be woken in each case (no backstop), and afterwards the barrier must work for as many as it
// was made for.
#include "tests/crash/crash.h"

#include "arena/lease.h"
#include "arena/reap.h"
#include "src/barrier.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PARTIES = 3 };

struct party {
	pid_t pid;
	_Atomic uint32_t joined, go, done;
	int result;
	lh_grant grant;
};

static struct party *parties; // shared; the first of them sleep
static uint32_t sleepers;
static lh_barrier barrier;
static uint32_t count;
static bool shrinks;

static struct barrier_object *object(void)
{
	return (struct barrier_object *)(uintptr_t)barrier.private_[1];
}

// ---- stages --------------------------------------------------------------------------------------

static void place(struct crash_scene *scene, uint32_t wanted, unsigned on_death)
{
	const struct lh_barrier_options options = { .parties = wanted,
						    .on_death = on_death,
						    .name = "barrier" };

	crash_stage(scene);
	memset(parties, 0, MOST_PARTIES * sizeof(*parties));
	sleepers = 0;
	count = wanted;
	shrinks = on_death == LH_BARRIER_SHRINK;
	crash_must(scene, lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &barrier), "barrier");
	scene->placements = 2;
}

static void stage_break(struct crash_scene *scene)
{
	place(scene, 2, LH_BARRIER_BREAK);
}

static void stage_shrink(struct crash_scene *scene)
{
	place(scene, 2, LH_BARRIER_SHRINK);
}

static void stage_break_three(struct crash_scene *scene)
{
	place(scene, 3, LH_BARRIER_BREAK);
}

static void stage_shrink_three(struct crash_scene *scene)
{
	place(scene, 3, LH_BARRIER_SHRINK);
}

static void start_party(struct crash_scene *scene, uint32_t number)
{
	struct party *party = &parties[number];
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid) {
		party->pid = pid;
		return;
	}
	patience_begin(&scene->shared->patience);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "party's lease");
	crash_must(scene, lh_barrier_join(&barrier, lease), "party's join");
	atomic_store(&party->joined, 1);
	while (!atomic_load(&party->go))
		sched_yield();
	party->result = lh_barrier_wait(&barrier, lease, LH_FOREVER, &party->grant);
	crash_must(scene, lh_lease_release(lease), "party's release");
	atomic_store(&party->done, 1);
	_exit(0);
}

static void await_joined(uint32_t number)
{
	while (!atomic_load(&parties[number].joined))
		sched_yield();
}

static void join_party(struct crash_scene *scene, uint32_t number)
{
	start_party(scene, number);
	await_joined(number);
}

static void put_to_sleep(struct crash_scene *scene, uint32_t number)
{
	atomic_store(&parties[number].go, 1);
	crash_await_asleep(scene, parties[number].pid);
	sleepers++;
}

// In the director, when the victim is at its mark: another party sleeps.
static bool one_sleeper(struct crash_scene *scene)
{
	join_party(scene, 0);
	put_to_sleep(scene, 0);
	return true;
}

// Two do: the victim's life is watched by the second alone, whose life the first watches.
static bool two_sleepers(struct crash_scene *scene)
{
	join_party(scene, 0);
	join_party(scene, 1);
	put_to_sleep(scene, 1);
	put_to_sleep(scene, 0);
	return true;
}

// ---- the victim ----------------------------------------------------------------------------------

static void joined(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, lh_barrier_join(&barrier, scene->mine), "join");
}

static void joined_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, lh_barrier_join(&barrier, scene->mine), "join");
}

static int join(struct crash_scene *scene)
{
	return lh_barrier_join(&barrier, scene->mine);
}

static int leave(struct crash_scene *scene)
{
	return lh_barrier_leave(&barrier, scene->mine);
}

static int wait_now(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_barrier_wait(&barrier, scene->mine, LH_NOW, &grant);
}

static int wait_long(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_barrier_wait(&barrier, scene->mine, LH_FOREVER, &grant);
}

static int reset(struct crash_scene *scene)
{
	(void)scene;
	return lh_barrier_reset(&barrier);
}

// ---- what must come of it ------------------------------------------------------------------------

struct outlook {
	bool complete, broken, lost;
	uint32_t missing; // places that somebody has to join
};

// By the words as the victim left them: it stands, or has ended, and nobody has cleared up.
static struct outlook look(const struct crash_scene *scene)
{
	const uint64_t word = atomic_load(&object()->word);
	struct outlook outlook = { .complete = barrier_phase(word) != 0,
				   .broken = (word & BARRIER_BROKEN) != 0 };

	for (uint32_t i = 0; i < count; i++) {
		const uint64_t seen = atomic_load(&object()->places[i]);
		const bool is_victims = place_owner(seen) == scene->shared->slot + 1;

		if (is_victims && !(seen & PLACE_JOINING))
			outlook.lost = true;
		else if ((place_owner(seen) == 0 || is_victims) && !(seen & PLACE_SHRUNK))
			outlook.missing++;
	}
	return outlook;
}

static struct outlook outlook;

static void kill_victim(struct crash_scene *scene)
{
	outlook = look(scene);
	crash_kill(scene);
}

static void director_arrives(struct crash_scene *scene, int expected)
{
	lh_grant grant = { .token = 0 };
	int result;

	patience_begin(&scene->shared->patience);
	result = lh_barrier_wait(&barrier, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
				 &grant);
	patience_begin(NULL);
	CRASH_CHECK(scene, result == expected, "G2: the director's wait said %d instead of %d",
		    result, expected);
	if (scene->lease)
		lh_barrier_leave(&barrier, scene->lease);
}

static void check_sleepers(struct crash_scene *scene, int expected)
{
	patience_due(&scene->shared->patience);
	for (uint32_t i = 0; i < sleepers; i++) {
		const struct party *sleeper = &parties[i];

		waitpid(sleeper->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&sleeper->done), "sleeper %u died", i);
		CRASH_CHECK(scene, sleeper->result == expected, "sleeper %u got %d instead of %d",
			    i, sleeper->result, expected);
		CRASH_CHECK(scene, sleeper->result || sleeper->grant.token == 1,
			    "its phase was %llu", (unsigned long long)sleeper->grant.token);
		CRASH_CHECK(scene, !outlook.complete || sleeper->grant.flags == 0, "two leaders");
	}
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: %u times nobody woke a sleeper (the word is %#llx)",
		    atomic_load(&scene->shared->patience.lost_wakes),
		    (unsigned long long)atomic_load(&object()->word));
}

// G6: it works for as many as it was made for.
static void check_whole(struct crash_scene *scene)
{
	int result = lh_barrier_reset(&barrier);
	lh_grant grant;

	CRASH_CHECK(scene, result == 0, "reset: %d", result);
	memset(parties, 0, MOST_PARTIES * sizeof(*parties));
	result = lh_barrier_join(&barrier, scene->lease);
	CRASH_CHECK(scene, result == 0, "join: %d", result);
	for (uint32_t i = 1; i < count; i++) {
		join_party(scene, i);
		atomic_store(&parties[i].go, 1);
	}
	result = lh_barrier_wait(&barrier, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
				 &grant);
	CRASH_CHECK(scene, result == 0, "G6: a phase of all: %d", result);
	result = lh_barrier_leave(&barrier, scene->lease);
	CRASH_CHECK(scene, result == 0, "leave: %d", result);
	for (uint32_t i = 1; i < count; i++) {
		waitpid(parties[i].pid, NULL, 0);
		CRASH_CHECK(scene, parties[i].done && parties[i].result == 0,
			    "G6: party %u of a phase of all: %d", i, parties[i].result);
	}
}

static void conclude(struct crash_scene *scene)
{
	const bool breaks = !shrinks && outlook.lost;
	int expected = 0;

	if (!outlook.complete && (breaks || outlook.broken))
		expected = -EOWNERDEAD;
	// Somebody is missing yet: all but that is settled. (Those who sleep sleep on.)
	if (!expected && !outlook.complete && outlook.missing) {
		waitpid(scene->victim, NULL, __WALL); // until then its place is taken
		director_arrives(scene, 0);
	}
	check_sleepers(scene, expected);
}

static void verify(struct crash_scene *scene)
{
	conclude(scene);
	crash_reap_children(scene);
	check_whole(scene);
	crash_check_empty(scene);
}

// ---- stopped -------------------------------------------------------------------------------------

static void after_stop(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_barrier_wait(&barrier, scene->mine, LH_NOW, NULL);
	scene->shared->results[1] = lh_barrier_join(&barrier, scene->mine);
	scene->shared->results[2] = lh_barrier_leave(&barrier, scene->mine);
	scene->shared->results[3] = lh_lease_release(scene->mine);
}

// What a late one must not change: all but the epoch and the places' sequences.
static void snapshot(uint64_t words[MOST_PARTIES + 1])
{
	words[0] = atomic_load(&object()->word) & ~BARRIER_EPOCH_MASK;
	for (uint32_t i = 0; i < count; i++)
		words[i + 1] = atomic_load(&object()->places[i]) & ~PLACE_SEQUENCE_MASK;
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
	outlook = look(scene);
	// Those asleep know the expiry as it was; who looks next knows the new one, and wakes them.
	lease_slot_renew(scene->arena, scene->shared->slot, incarnation, LH_MS(1));
	while (lease_slot_remaining(scene->arena, scene->shared->slot, incarnation))
		;
	if (!outlook.complete && (outlook.lost || outlook.missing)) {
		const bool breaks = outlook.broken || (!shrinks && outlook.lost);

		if (breaks || outlook.missing)
			director_arrives(scene, breaks ? -EOWNERDEAD : 0);
		else
			reap_slot(scene->arena, scene->shared->slot);
	}
	if (outlook.complete) // the wake may not have been made: its loss makes up for it
		reap_slot(scene->arena, scene->shared->slot);
	check_sleepers(scene, !outlook.complete && (outlook.broken || (!shrinks && outlook.lost))
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
	// An answer may be older than the loss: it was stopped after its last look at its lease.
	CRASH_CHECK(scene,
		    result == -ESTALE || (result == 0 &&
					  (outlook.complete || scene->operation->act != wait_long)),
		    "G4: its operation said %d", result);
	if (result == 0)
		crash_count(scene, "answers older than the loss");
	for (int i = 0; i < 4; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: then call %d said %d",
			    i, scene->shared->results[i]);
}

static void verify_stopped(struct crash_scene *scene)
{
	crash_reap_children(scene);
	check_whole(scene);
	crash_check_empty(scene);
}

// ---- nobody dies: a wake is due that no death makes ------------------------------------------------

static void stay(struct crash_scene *scene)
{
	atomic_store(&scene->shared->go, 1);
	for (;;)
		pause();
}

static void let_go(struct crash_scene *scene)
{
	stepper_detach(&scene->stepper, 0);
	while (!atomic_load(&scene->shared->go))
		sched_yield();
	outlook = look(scene);
	CRASH_CHECK(scene, outlook.complete, "the phase is not complete");
	check_sleepers(scene, 0);
	crash_kill(scene);
}

// ---- a reset, and clearing up, that are cut short ------------------------------------------------

static void dead_party(struct crash_scene *scene)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_barrier_join(&barrier, lease), "join");
		scene->shared->slot = lease->index;
		raise(SIGKILL);
	}
	crash_bury(scene, pid);
	scene->dead_slot = scene->shared->slot + 1;
}

static void stage_broken(struct crash_scene *scene)
{
	stage_break(scene);
	dead_party(scene);
	CRASH_CHECK(scene, lh_barrier_wait(&barrier, scene->lease, LH_FOREVER, NULL) == -EOWNERDEAD,
		    "it is not broken");
}

static int reap_it(struct crash_scene *scene)
{
	reap_slot(scene->arena, scene->dead_slot - 1);
	return 0;
}

static void stage_dead_break(struct crash_scene *scene)
{
	stage_break(scene);
	dead_party(scene);
}

static void stage_dead_shrink(struct crash_scene *scene)
{
	stage_shrink(scene);
	dead_party(scene);
}

static void verify_alone(struct crash_scene *scene)
{
	crash_reap_children(scene);
	check_whole(scene);
	crash_check_empty(scene);
}

// Whatever became of the one that met it: the dead party is told of, or done without, while the
// place that was not joined yet is waited for.
static void verify_death(struct crash_scene *scene)
{
	int expected = shrinks ? 0 : -EOWNERDEAD, result;

	crash_reap_children(scene);
	result = lh_barrier_wait(&barrier, scene->lease, LH_NOW, NULL);
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t seen = atomic_load(&object()->places[i]);

		if (shrinks && !place_owner(seen) && !(seen & PLACE_SHRUNK))
			expected = -EBUSY;
	}
	CRASH_CHECK(scene, result == expected, "G2: the next wait said %d instead of %d", result,
		    expected);
	if (result == 0)
		lh_barrier_leave(&barrier, scene->lease);
	verify_alone(scene);
}

// Nobody waits at the barrier and finds the lost one there: who gets its lease slot must not have
// its place as well.
static void verify_slots_first(struct crash_scene *scene)
{
	crash_reap_children(scene);
	crash_use_all_slots(scene, 1);
	for (uint32_t i = 0; i < count; i++)
		CRASH_CHECK(scene, place_owner(atomic_load(&object()->places[i])) == 0,
			    "G6: place %u is still the lost one's", i);
	verify_alone(scene);
}

// ---- all -----------------------------------------------------------------------------------------

#define KILLED(shown, staged, prepared, called)                                                    \
	.name = (shown), .shows = "G2 G6 G8", .every = true, .stage = (staged),                    \
	.prepare = (prepared), .act = (called), .strike = kill_victim, .verify = verify
#define ALONE(shown, prepared, called)                                                             \
	.name = (shown), .shows = "G2 G6", .every = true, .stage = stage_shrink,                   \
	.prepare = (prepared), .act = (called), .verify = verify_slots_first
#define STOPPED(shown, staged, called)                                                             \
	.name = (shown), .shows = "G3 G4 G6", .every = true, .stage = (staged),                    \
	.prepare = joined_with_ttl, .act = (called), .begin = one_sleeper, .after = after_stop,    \
	.strike = stop_and_expire, .verify = verify_stopped

static const struct crash_operation operations[] = {
	{ KILLED("wait as the last of two, break", stage_break, joined, wait_long),
	  .begin = one_sleeper, .thin = { 60, 10, 2 } },
	{ KILLED("wait as the last of two, shrink", stage_shrink, joined, wait_long),
	  .begin = one_sleeper, .thin = { 60, 10, 2 } },
	{ .name = "wait as the last of two, and stay",
	  .shows = "G8",
	  .repeat = { 2, 5, 20 },
	  .stage = stage_break,
	  .prepare = joined,
	  .act = wait_long,
	  .after = stay,
	  .begin = one_sleeper,
	  .strike = let_go,
	  .verify = verify_alone },
	{ KILLED("a wait that withdraws, break", stage_break_three, joined, wait_now),
	  .begin = one_sleeper, .thin = { 60, 10, 2 } },
	{ KILLED("a wait that withdraws, shrink", stage_shrink_three, joined, wait_now),
	  .begin = one_sleeper, .thin = { 60, 10, 2 } },
	{ KILLED("wait up to its sleep, break", stage_break_three, joined, wait_long),
	  .begin = one_sleeper, .sleeps = true, .thin = { 200, 40, 8 } },
	{ KILLED("wait up to its sleep, shrink", stage_shrink_three, joined, wait_long),
	  .begin = one_sleeper, .sleeps = true, .thin = { 200, 40, 8 } },
	{ KILLED("wait as the last of three, break", stage_break_three, joined, wait_long),
	  .begin = two_sleepers, .thin = { 60, 10, 2 } },
	{ KILLED("wait as the last of three, shrink", stage_shrink_three, joined, wait_long),
	  .begin = two_sleepers, .thin = { 60, 10, 2 } },
	{ KILLED("join, break", stage_break, crash_with_lease, join), .begin = one_sleeper,
	  .thin = { 60, 10, 2 } },
	{ KILLED("join, shrink", stage_shrink, crash_with_lease, join), .begin = one_sleeper,
	  .thin = { 60, 10, 2 } },
	{ KILLED("leave, break", stage_break, joined, leave), .begin = one_sleeper,
	  .thin = { 30, 5, 1 } },
	{ KILLED("leave, shrink", stage_shrink, joined, leave), .begin = one_sleeper,
	  .thin = { 30, 5, 1 } },
	{ ALONE("join, nobody waits", crash_with_lease, join), .thin = { 40, 8, 2 } },
	{ ALONE("leave, nobody waits", joined, leave), .thin = { 30, 5, 1 } },
	{ .name = "reset",
	  .shows = "G6",
	  .every = true,
	  .thin = { 40, 8, 1 },
	  .stage = stage_broken,
	  .prepare = crash_with_lease,
	  .act = reset,
	  .verify = verify_alone },
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
	{ STOPPED("stopped in wait, break", stage_break, wait_long), .thin = { 60, 10, 2 } },
	{ STOPPED("stopped in wait, shrink", stage_shrink, wait_long), .thin = { 60, 10, 2 } },
	{ STOPPED("stopped in leave, break", stage_break, leave), .thin = { 30, 5, 1 } },
	{ STOPPED("stopped in leave, shrink", stage_shrink, leave), .thin = { 30, 5, 1 } },
};

int main(void)
{
	parties = mmap(NULL, MOST_PARTIES * sizeof(*parties), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (parties == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
