// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process whose lease has a TTL is stopped (SIGSTOP) after each instruction of an operation. Its
// lease expires, a successor takes what it held, and it goes on (SIGCONT). It must be told of its
// loss by everything it does from then on, and change nothing (G1, G3, G4, G5).
//
// One answer may be older than the loss: a call that was stopped after its last look at the lease
// has been granted and says 0. The next call says -ESTALE. How often is printed.
#include "tests/crash/crash.h"

#include "arena/lease.h"
#include "arena/placement.h"
#include "src/word.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { AT_RELEASE = 9, RESULTS = 10 };
static const char *const calls[RESULTS] = { "lock",   "unlock",         "consistent",
					    "renew",  "region acquire", "region release",
					    "held",   "valid",          "remaining",
					    "release" };

// ---- the victim, afterwards ----------------------------------------------------------------------

// Each of these is to be -ESTALE; the three that answer otherwise are turned into it.
static void try_everything(struct crash_scene *scene)
{
	int *results = scene->shared->results;
	lh_lease *lease = scene->mine;
	uint64_t offset = lh_arena_first_offset(scene->arena);
	lh_grant grant;

	results[0] = lh_mutex_lock(&scene->mutex, lease, LH_NOW, &grant);
	results[1] = lh_mutex_unlock(&scene->mutex, lease);
	results[2] = lh_mutex_consistent(&scene->mutex, lease);
	results[3] = lh_lease_renew(lease, LH_SEC(1000));
	results[4] = lh_region_acquire(lease, 64, &offset);
	results[5] = lh_region_release(lease, scene->shared->offset);
	results[6] = lh_mutex_held(&scene->mutex, lease) ? 0 : -ESTALE;
	results[7] = lh_lease_valid(lease) ? 0 : -ESTALE;
	results[8] = lh_lease_remaining(lease) ? 0 : -ESTALE;
	results[AT_RELEASE] = lh_lease_release(lease);
}

static void release_alone(struct crash_scene *scene)
{
	for (int i = 0; i < RESULTS; i++)
		scene->shared->results[i] = -ESTALE;
}

// ---- what its operation must have answered -------------------------------------------------------

enum answer { ANSWER_STALE, ANSWER_EITHER, ANSWER_DONE };

static bool has_region(const struct crash_scene *scene)
{
	struct lh_placement_info placement;
	uint64_t cursor = 0;

	while (lh_next_placement(scene->arena, &cursor, &placement) == 0) {
		if (placement.lease == scene->shared->lease && placement.state == 0)
			return true;
	}
	return false;
}

// By what it had reached when it was stopped.
static enum answer expected_answer(const struct crash_scene *scene, uint64_t state)
{
	int (*const act)(struct crash_scene * scene) = scene->operation->act;

	if (act == crash_lock)
		return scene->held ? ANSWER_EITHER : ANSWER_STALE;
	if (act == crash_unlock)
		return scene->held ? ANSWER_STALE : ANSWER_DONE;
	if (act == crash_consistent)
		return scene->word & WORD_DIED ? ANSWER_STALE : ANSWER_EITHER;
	if (act == crash_renew)
		return lease_word_expiry(state) > lh_now() + LH_SEC(3000) ? ANSWER_DONE
									  : ANSWER_STALE;
	if (act == crash_region_acquire)
		return has_region(scene) ? ANSWER_EITHER : ANSWER_STALE;
	if (act == crash_region_release) // what it gives back is still its own
		return has_region(scene) ? ANSWER_EITHER : ANSWER_DONE;
	return lease_word_state(state) == LEASE_FREE ? ANSWER_DONE : ANSWER_STALE;
}

// ---- the director --------------------------------------------------------------------------------

// The slot of a lost lease whose owner runs is nobody else's, all others are to be had
// but those of `others`.
static void check_quarantine(struct crash_scene *scene, int others)
{
	const bool occupied = atomic_load(&crash_slot(scene)->owner) != 0;
	lh_lease *leases[CRASH_LEASES];
	const int expected = CRASH_LEASES - 1 - occupied - others;
	int count = 0, error;

	while ((error = lh_lease_acquire(scene->arena, NULL, &leases[count])) == 0 &&
	       count < CRASH_LEASES - 1)
		count++;
	CRASH_CHECK(scene, error == -ENOLCK && count == expected,
		    "%d leases were to be had, then %d", count, error);
	while (count)
		lh_lease_release(leases[--count]);
}

static void succeed(struct crash_scene *scene, uint64_t expiry, bool busy)
{
	lh_grant grant = { .token = 0 };
	int error = lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, &grant);

	CRASH_CHECK(scene, error == (busy ? -EBUSY : 0) || lh_now() >= expiry,
		    "G3: before its expiry the lock was %s", error ? "busy" : "granted");
	// Asking again and again must not get it earlier than sleeping does.
	while (error == -EBUSY && (scene->variant & CRASH_IMPATIENTLY))
		error = lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, &grant);
	if (error == -EBUSY)
		error = lh_mutex_lock(&scene->mutex, scene->lease,
				      lh_deadline_after(CRASH_DEADLINE_NS), &grant);
	CRASH_CHECK(scene, error == 0, "the successor got %d", error);
	CRASH_CHECK(scene, !busy || lh_now() >= expiry, "G3: granted before the expiry");
	CRASH_CHECK(scene, (grant.flags != 0) == scene->damage, "G12: flags %u, the word was %#llx",
		    grant.flags, (unsigned long long)scene->word);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	scene->token = grant.token;
}

static void check_answers(struct crash_scene *scene, enum answer expected)
{
	const struct crash_shared *shared = scene->shared;
	const int result = shared->result;

	CRASH_CHECK(scene, atomic_load(&shared->finished), "the resumed one died");
	CRASH_CHECK(scene,
		    (result == 0 && expected != ANSWER_STALE) ||
			    (result == -ESTALE && expected != ANSWER_DONE),
		    "G4: its operation said %d", result);
	for (int i = 0; i < RESULTS; i++)
		CRASH_CHECK(scene, shared->results[i] == -ESTALE, "G4: then %s said %d", calls[i],
			    shared->results[i]);
	if (result == 0 && expected == ANSWER_EITHER)
		crash_count(scene, "answers older than the loss");
}

// Those who wait behind the stopped one, or come now: nobody stands still for it. Whether one of
// them has taken the mutex from it. (Others may have had it before.)
static bool let_others_through(struct crash_scene *scene, uint64_t expiry)
{
	const uint64_t token = word_token(scene->word);
	bool taken = false;

	if (lh_mutex_held(&scene->mutex, scene->lease)) {
		crash_add_waiter(scene);
		crash_director_unlocks(scene);
	}
	crash_collect_waiters(scene);
	for (size_t i = 0; scene->held && i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		if (waiter->grant.token < token)
			continue;
		CRASH_CHECK(scene, waiter->granted_ns >= expiry,
			    "G3: waiter %zu was granted before the expiry", i);
		taken = true;
	}
	return taken;
}

// Half of the time the successor still holds the mutex when the other goes on, half of the time it
// has left it free.
static void stop_and_succeed(struct crash_scene *scene)
{
	struct object_header *header = crash_header(scene);
	_Atomic uint64_t *data = lh_mutex_data(&scene->mutex);
	const bool held = !(scene->variant & CRASH_LEFT_FREE);
	enum answer expected;
	bool taken = false;
	uint64_t expiry, word;

	crash_stop(scene);
	expected = expected_answer(scene, atomic_load(&crash_slot(scene)->state));
	expiry = crash_shorten(scene);
	if (scene->operation->impatient)
		taken = let_others_through(scene, expiry);
	succeed(scene, expiry, scene->held && !taken);
	crash_await_loss(scene);
	check_quarantine(scene, 0);
	atomic_store(data, 4711);
	if (!held) {
		lh_mutex_consistent(&scene->mutex, scene->lease);
		crash_director_unlocks(scene);
		scene->damage = false;
	}
	word = atomic_load(&header->word);
	crash_resume(scene);
	check_answers(scene, expected);
	CRASH_CHECK(scene, atomic_load(data) == 4711, "G4: the successor's data was changed");
	if (held) {
		CRASH_CHECK(scene, ((atomic_load(&header->word) ^ word) & ~WORD_MARK) == 0,
			    "G4: the successor's word was changed from %#llx to %#llx",
			    (unsigned long long)word,
			    (unsigned long long)atomic_load(&header->word));
		CRASH_CHECK(scene, lh_mutex_held(&scene->mutex, scene->lease),
			    "G1: the successor lost the mutex");
		crash_director_unlocks(scene);
	}
	scene->lost_lease = scene->held ? scene->shared->lease : scene->lost_lease;
}

// Those behind an expired waiter learn of it from whoever clears up: no backstop is needed.
static void stop_and_clear_up(struct crash_scene *scene)
{
	crash_stop(scene);
	crash_add_waiter(scene);
	crash_shorten(scene);
	crash_await_loss(scene);
	check_quarantine(scene, 1);
	crash_director_unlocks(scene);
	crash_collect_waiters(scene);
	crash_resume(scene);
	check_answers(scene, ANSWER_STALE);
}

static void with_a_region(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, lh_region_acquire(scene->mine, 100, &scene->shared->offset), "region");
}

static void holding_a_region_too(struct crash_scene *scene)
{
	crash_holding_with_ttl(scene);
	crash_must(scene, lh_region_acquire(scene->mine, 100, &scene->shared->offset), "region");
}

static bool woken_before_two(struct crash_scene *scene)
{
	if (!crash_victim_asleep_before_two(scene))
		return false;
	crash_director_unlocks(scene);
	return stepper_leave_call(&scene->stepper);
}

static bool woken_by_backstop(struct crash_scene *scene)
{
	return crash_victim_asleep_before_two(scene) && stepper_leave_call(&scene->stepper);
}

// ---- acquiring ------------------------------------------------------------------------------------

static lh_lease *first; // the victim's thread is known: nothing is read of /proc

static void with_another_lease(struct crash_scene *scene)
{
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &first), "lease");
	scene->shared->slot = first->index;
	patience_step_clock(LH_MS(2)); // the arena's name is asked for, at most each millisecond
}

static int acquire_with_ttl(struct crash_scene *scene)
{
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000), .label = "a label" };

	return lh_lease_acquire(scene->arena, &options, &scene->mine);
}

static void try_if_acquired(struct crash_scene *scene)
{
	if (scene->shared->result == 0)
		try_everything(scene);
	lh_lease_release(first);
}

// The slot that the victim has taken besides its first one; -1: none.
static int slot_taken(const struct crash_scene *scene)
{
	for (uint32_t i = 0; i < scene->arena->lease_count; i++) {
		if (i != scene->lease->index && i != scene->shared->slot &&
		    atomic_load(&scene->arena->leases[i].owner))
			return (int)i;
	}
	return -1;
}

static void check_acquired(struct crash_scene *scene, bool taken, bool lost)
{
	const struct crash_shared *shared = scene->shared;
	const int expected = lost ? -ESTALE : 0;
	const int told[] = { 0, 1, 3, 7, 8, AT_RELEASE }; // what the unlost may do

	CRASH_CHECK(scene, atomic_load(&shared->finished), "the resumed one died");
	CRASH_CHECK(scene, shared->result == (taken ? 0 : -ENOLCK),
		    "G6: acquire said %d, a slot was %s", shared->result,
		    taken ? "taken" : "not taken");
	for (size_t i = 0; taken && i < sizeof(told) / sizeof(told[0]); i++)
		CRASH_CHECK(scene, shared->results[told[i]] == expected, "G4: then %s said %d",
			    calls[told[i]], shared->results[told[i]]);
}

// All other slots are somebody's when it goes on: it has the one that it had taken, or none. If
// that was a lease by then it is lost.
static void stop_and_crowd(struct crash_scene *scene)
{
	lh_lease *leases[CRASH_LEASES];
	uint32_t victims_first = scene->shared->slot;
	bool lost = false;
	int slot, count = 0;

	crash_stop(scene);
	slot = slot_taken(scene);
	if (slot >= 0) {
		scene->shared->slot = (uint32_t)slot;
		lost = lease_word_state(atomic_load(&crash_slot(scene)->state)) == LEASE_LIVE;
	}
	if (lost) {
		scene->shared->lease = atomic_load(&crash_slot(scene)->id);
		crash_shorten(scene);
		crash_await_loss(scene);
		CRASH_CHECK(scene,
			    lease_word_state(atomic_load(&crash_slot(scene)->state)) ==
				    LEASE_EXPIRED,
			    "G3: it is not lost");
	}
	while (count < CRASH_LEASES && lh_lease_acquire(scene->arena, NULL, &leases[count]) == 0)
		count++;
	CRASH_CHECK(scene, count == CRASH_LEASES - (slot >= 0 ? 3 : 2),
		    "G6: %d leases were to be had beside slot %d", count, slot);
	scene->shared->slot = victims_first;
	crash_resume(scene);
	check_acquired(scene, slot >= 0, lost);
	while (count)
		lh_lease_release(leases[--count]);
}

#define STOPPED(shown, called)                                                                     \
	.name = (shown), .shows = "G1 G3 G4 G5", .every = true, .act = (called),                   \
	.after = try_everything, .strike = stop_and_succeed, .verify = crash_verify

static const struct crash_operation operations[] = {
	{ STOPPED("stopped in lock", crash_lock), .thin = { 8, 2, 1 }, .prepare = crash_with_ttl },
	{ STOPPED("stopped in lock, its owner has died", crash_lock), .thin = { 100, 20, 3 },
	  .stage = crash_stage_holder, .prepare = crash_with_ttl, .begin = crash_holder_dies },
	{ STOPPED("stopped in lock up to its sleep, others before and behind it", crash_lock),
	  .thin = { 200, 40, 6 }, .impatient = true, .sleeps = true, .stage = crash_stage_held,
	  .prepare = crash_with_ttl, .begin = crash_one_sleeper },
	{ .name = "stopped in lock up to its sleep, cleared up, another behind it",
	  .shows = "G3 G4 G8",
	  .every = true,
	  .thin = { 200, 40, 6 },
	  .sleeps = true,
	  .stage = crash_stage_held,
	  .prepare = crash_with_ttl,
	  .act = crash_lock,
	  .after = try_everything,
	  .strike = stop_and_clear_up,
	  .verify = crash_verify },
	{ STOPPED("stopped when woken by an unlock, two behind it", crash_lock),
	  .thin = { 30, 6, 1 }, .impatient = true, .stage = crash_stage_held,
	  .prepare = crash_with_ttl, .begin = woken_before_two },
	{ STOPPED("stopped when woken by nobody, two behind it", crash_lock), .thin = { 20, 4, 1 },
	  .impatient = true, .sleeps = true, .stage = crash_stage_held, .prepare = crash_with_ttl,
	  .begin = woken_by_backstop },
	{ STOPPED("stopped in unlock", crash_unlock), .thin = { 8, 2, 1 },
	  .prepare = crash_holding_with_ttl },
	{ STOPPED("stopped in consistent", crash_consistent), .thin = { 4, 2, 1 },
	  .stage = crash_stage_damaged, .prepare = crash_holding_with_ttl },
	{ STOPPED("stopped in renew", crash_renew), .thin = { 8, 2, 1 },
	  .prepare = crash_holding_with_ttl },
	{ STOPPED("stopped in region acquire", crash_region_acquire), .thin = { 80, 16, 2 },
	  .prepare = crash_holding_with_ttl },
	{ STOPPED("stopped in region release", crash_region_release), .thin = { 20, 4, 1 },
	  .prepare = with_a_region },
	{ .name = "stopped in lease acquire with a TTL",
	  .shows = "G3 G4 G6",
	  .every = true,
	  .thin = { 20, 4, 1 },
	  .prepare = with_another_lease,
	  .act = acquire_with_ttl,
	  .after = try_if_acquired,
	  .strike = stop_and_crowd,
	  .verify = crash_verify },
	{ .name = "stopped in lease release, with a mutex and leased memory",
	  .shows = "G1 G3 G4 G5 G6",
	  .every = true,
	  .thin = { 50, 10, 2 },
	  .prepare = holding_a_region_too,
	  .act = crash_release,
	  .after = release_alone,
	  .strike = stop_and_succeed,
	  .verify = crash_verify },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
