// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/parties.h"

#include "arena/lease.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct parties parties;

int parties_run(const struct crash_operation *operations, size_t count)
{
	parties.list = mmap(NULL, MOST_PARTIES * sizeof(*parties.list), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (parties.list == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	return crash_run(operations, count);
}

struct barrier_object *parties_object(void)
{
	return (struct barrier_object *)(uintptr_t)parties.barrier.private_[1];
}

// ---- stages -------------------------------------------------------------------------------------

static void place(struct crash_scene *scene, uint32_t wanted, unsigned on_death)
{
	const struct lh_barrier_options options = { .parties = wanted,
						    .on_death = on_death,
						    .name = "barrier" };

	crash_stage(scene);
	memset(parties.list, 0, MOST_PARTIES * sizeof(*parties.list));
	parties.sleepers = 0;
	parties.count = wanted;
	parties.shrinks = on_death == LH_BARRIER_SHRINK;
	crash_must(scene, lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &parties.barrier),
		   "barrier");
	scene->placements = 2;
}

void parties_break(struct crash_scene *scene)
{
	place(scene, 2, LH_BARRIER_BREAK);
}

void parties_shrink(struct crash_scene *scene)
{
	place(scene, 2, LH_BARRIER_SHRINK);
}

void parties_break_three(struct crash_scene *scene)
{
	place(scene, 3, LH_BARRIER_BREAK);
}

void parties_shrink_three(struct crash_scene *scene)
{
	place(scene, 3, LH_BARRIER_SHRINK);
}

void parties_break_four(struct crash_scene *scene)
{
	place(scene, 4, LH_BARRIER_BREAK);
}

void parties_shrink_four(struct crash_scene *scene)
{
	place(scene, 4, LH_BARRIER_SHRINK);
}

// ---- other parties ------------------------------------------------------------------------------

// As src/barrier_wait.c does, but that it does not come to its wake.
__attribute__((noreturn)) static void complete_and_die(const struct party *party)
{
	struct barrier_object *object = parties_object();
	const uint64_t word = atomic_load(&object->word);

	for (uint32_t i = 0; i < parties.count; i++) {
		const uint64_t seen = atomic_load(&object->places[i]);

		if (place_owner(seen) == party->slot + 1)
			atomic_store(
				&object->places[i],
				place_next(seen, place_owner(seen) |
							 place_arrival(barrier_phase(word) + 1)));
	}
	atomic_store(&object->word, word + BARRIER_PHASE_ONE);
	raise(SIGKILL);
	_exit(1);
}

static void start_party(struct crash_scene *scene, uint32_t number)
{
	struct party *party = &parties.list[number];
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid) {
		party->pid = pid;
		return;
	}
	patience_begin(&scene->shared->patience);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "party's lease");
	crash_must(scene, lh_barrier_join(&parties.barrier, lease), "party's join");
	party->slot = lease->index;
	atomic_store(&party->joined, 1);
	while (!atomic_load(&party->go))
		sched_yield();
	if (atomic_load(&party->go) == PARTY_COMPLETES_AND_DIES)
		complete_and_die(party);
	party->result = lh_barrier_wait(&parties.barrier, lease, LH_FOREVER, &party->grant);
	if (party->sleeps) // a victim that watches its life sees no end of it, or always does
		raise(SIGSTOP);
	crash_must(scene, lh_lease_release(lease), "party's release");
	atomic_store(&party->done, 1);
	_exit(0);
}

static void await_joined(uint32_t number)
{
	while (!atomic_load(&parties.list[number].joined))
		sched_yield();
}

void parties_add(struct crash_scene *scene, uint32_t number)
{
	start_party(scene, number);
	await_joined(number);
}

void parties_put_to_sleep(struct crash_scene *scene, uint32_t number)
{
	parties.list[number].sleeps = true;
	atomic_store(&parties.list[number].go, PARTY_WAITS);
	crash_await_asleep(scene, parties.list[number].pid);
	parties.sleepers++;
}

void parties_end(struct crash_scene *scene, uint32_t number, bool by_itself)
{
	struct party *party = &parties.list[number];

	if (by_itself)
		atomic_store(&party->go, PARTY_COMPLETES_AND_DIES);
	else
		kill(party->pid, SIGKILL);
	waitpid(party->pid, NULL, 0);
	scene->dead_slot = party->slot + 1;
}

bool parties_one_sleeps(struct crash_scene *scene)
{
	parties_add(scene, 0);
	parties_put_to_sleep(scene, 0);
	return true;
}

// ---- the victim ---------------------------------------------------------------------------------

void parties_joined(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, lh_barrier_join(&parties.barrier, scene->mine), "join");
}

int parties_wait(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_barrier_wait(&parties.barrier, scene->mine, LH_FOREVER, &grant);
}

// ---- what must come of it -----------------------------------------------------------------------

struct parties_outlook parties_look(const struct crash_scene *scene)
{
	const uint64_t word = atomic_load(&parties_object()->word);
	struct parties_outlook outlook = { .complete = barrier_phase(word) != 0,
					   .broken = (word & BARRIER_BROKEN) != 0 };

	for (uint32_t i = 0; i < parties.count; i++) {
		const uint64_t seen = atomic_load(&parties_object()->places[i]);
		const uint32_t owner = place_owner(seen);
		const bool is_victims = owner == scene->shared->slot + 1;
		const bool is_dead = owner && owner == scene->dead_slot;

		if ((is_victims || is_dead) && !(seen & PLACE_JOINING))
			outlook.lost = true;
		else if ((owner == 0 || is_victims) && !(seen & PLACE_SHRUNK))
			outlook.missing++;
	}
	return outlook;
}

void parties_kill(struct crash_scene *scene)
{
	parties.outlook = parties_look(scene);
	crash_kill(scene);
}

void parties_arrive(struct crash_scene *scene, int expected)
{
	lh_grant grant = { .token = 0 };
	int result;

	patience_begin(&scene->shared->patience);
	result = lh_barrier_wait(&parties.barrier, scene->lease,
				 lh_deadline_after(CRASH_DEADLINE_NS), &grant);
	patience_begin(NULL);
	CRASH_CHECK(scene, result == expected, "G2: the director's wait said %d instead of %d",
		    result, expected);
	if (scene->lease)
		lh_barrier_leave(&parties.barrier, scene->lease);
}

void parties_check_sleepers(struct crash_scene *scene, int expected)
{
	uint32_t leaders = 0;

	patience_due(&scene->shared->patience);
	for (uint32_t i = 0; i < parties.sleepers; i++) {
		const struct party *sleeper = &parties.list[i];

		waitpid(sleeper->pid, NULL, WUNTRACED);
		kill(sleeper->pid, SIGCONT);
		waitpid(sleeper->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&sleeper->done), "sleeper %u died", i);
		CRASH_CHECK(scene, sleeper->result == expected, "sleeper %u got %d instead of %d",
			    i, sleeper->result, expected);
		CRASH_CHECK(scene, sleeper->result || sleeper->grant.token == 1,
			    "its phase was %llu", (unsigned long long)sleeper->grant.token);
		leaders += (sleeper->grant.flags & LH_GRANT_LEADER) != 0;
	}
	CRASH_CHECK(scene, !parties.outlook.complete || leaders == parties.sleeper_leads,
		    "%u of the sleepers lead", leaders);
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: %u times nobody woke a sleeper (the word is %#llx)",
		    atomic_load(&scene->shared->patience.lost_wakes),
		    (unsigned long long)atomic_load(&parties_object()->word));
}

void parties_check_whole(struct crash_scene *scene)
{
	int result = lh_barrier_reset(&parties.barrier);
	lh_grant grant;

	CRASH_CHECK(scene, result == 0, "reset: %d", result);
	memset(parties.list, 0, MOST_PARTIES * sizeof(*parties.list));
	result = lh_barrier_join(&parties.barrier, scene->lease);
	CRASH_CHECK(scene, result == 0, "join: %d", result);
	for (uint32_t i = 1; i < parties.count; i++) {
		parties_add(scene, i);
		atomic_store(&parties.list[i].go, PARTY_WAITS);
	}
	result = lh_barrier_wait(&parties.barrier, scene->lease,
				 lh_deadline_after(CRASH_DEADLINE_NS), &grant);
	CRASH_CHECK(scene, result == 0, "G6: a phase of all: %d", result);
	result = lh_barrier_leave(&parties.barrier, scene->lease);
	CRASH_CHECK(scene, result == 0, "leave: %d", result);
	for (uint32_t i = 1; i < parties.count; i++) {
		waitpid(parties.list[i].pid, NULL, 0);
		CRASH_CHECK(scene, parties.list[i].done && parties.list[i].result == 0,
			    "G6: party %u of a phase of all: %d", i, parties.list[i].result);
	}
}

static void conclude(struct crash_scene *scene)
{
	const bool breaks = !parties.shrinks && parties.outlook.lost;
	int expected = 0;

	if (!parties.outlook.complete && (breaks || parties.outlook.broken))
		expected = -EOWNERDEAD;
	// Somebody is missing yet: all but that is settled. (Those who sleep sleep on.)
	if (!expected && !parties.outlook.complete && parties.outlook.missing) {
		waitpid(scene->victim, NULL, __WALL); // until then its place is taken
		parties_arrive(scene, 0);
	}
	parties_check_sleepers(scene, expected);
}

void parties_verify_alone(struct crash_scene *scene)
{
	crash_reap_children(scene);
	parties_check_whole(scene);
	crash_check_empty(scene);
}

void parties_verify(struct crash_scene *scene)
{
	conclude(scene);
	parties_verify_alone(scene);
}

// ---- nobody dies: a wake is due that no death makes ---------------------------------------------

void parties_let_go(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	parties.outlook = parties_look(scene);
	CRASH_CHECK(scene, parties.outlook.complete || scene->dead_slot,
		    "the phase is not complete");
	parties_check_sleepers(scene, parties.outlook.complete ? 0 : -EOWNERDEAD);
	crash_kill(scene);
}
