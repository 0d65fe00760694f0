// SPDX-License-Identifier: Apache-2.0
//
// What must be true after a crash.
#include "tests/crash/crash.h"

#include "arena/hold.h"
#include "arena/placement.h"
#include "src/slots.h"
#include "src/word.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

struct object_header *crash_header(const struct crash_scene *scene)
{
	return arena_object(scene->arena, arena_granule(lh_mutex_offset(&scene->mutex)));
}

void crash_observe(struct crash_scene *scene)
{
	const uint32_t victim = scene->shared->lease ? scene->shared->slot + 1 : 0;
	const uint32_t director = scene->lease ? scene->lease->index + 1 : 0;
	uint64_t word;

	// A living waiter that has it declares it consistent and lets it go.
	do {
		word = atomic_load(&crash_header(scene)->word);
	} while (word_owner(word) && word_owner(word) != victim && word_owner(word) != director &&
		 word_owner(word) != scene->dead_slot);
	scene->word = word;
	scene->held = victim && word_owner(word) == victim;
	scene->damage = scene->held || (word & WORD_DIED) ||
			(scene->dead_slot && word_owner(word) == scene->dead_slot);
	scene->lost_lease = scene->held ? scene->shared->lease : scene->dead_lease;
	scene->token = word_token(word);
}

void crash_kill(struct crash_scene *scene)
{
	if (scene->arena)
		crash_observe(scene);
	scene->killed_ns = lh_now();
	kill(scene->victim, SIGKILL);
}

void crash_reap_children(struct crash_scene *scene)
{
	const pid_t thread = scene->stepper.thread;

	// The traced thread first: its process does not end before that has been noted.
	if (thread && thread != scene->victim)
		waitpid(thread, NULL, __WALL);
	if (scene->victim)
		waitpid(scene->victim, NULL, __WALL);
	for (size_t i = 0; i < scene->waiter_count; i++)
		waitpid(scene->shared->waiters[i].pid, NULL, 0);
	if (scene->holder) {
		kill(scene->holder, SIGKILL);
		waitpid(scene->holder, NULL, 0);
		scene->holder = 0;
	}
}

// ---- waiters -------------------------------------------------------------------------------------

// The one with the lowest token above `token`; NULL: none.
static const struct crash_waiter *next_grant(const struct crash_scene *scene, uint64_t token)
{
	const struct crash_waiter *next = NULL;

	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		if (!waiter->other && waiter->grant.token > token &&
		    (!next || waiter->grant.token < next->grant.token))
			next = waiter;
	}
	return next;
}

void crash_collect_waiters(struct crash_scene *scene)
{
	const struct crash_waiter *waiter;
	uint32_t in_order = 0;

	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		waiter = &scene->shared->waiters[i];
		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done), "waiter %zu died", i);
		CRASH_CHECK(scene, waiter->result == 0, "waiter %zu: lock or unlock said %d", i,
			    waiter->result);
		CRASH_CHECK(scene, !waiter->intruded, "G1: waiter %zu was not alone", i);
		crash_note_recovery(scene, waiter->granted_ns);
		CRASH_CHECK(scene, !waiter->other || (waiter->grant.flags & LH_GRANT_OWNER_DIED),
			    "G12: waiter %zu was not told of damage", i);
		// Granted before the kill: not after the victim's own grant.
		if (waiter->other || waiter->grant.token <= scene->token)
			in_order++;
	}
	while ((waiter = next_grant(scene, scene->token)) != NULL) {
		const bool told = (waiter->grant.flags & LH_GRANT_OWNER_DIED) != 0;

		CRASH_CHECK(scene, told == scene->damage,
			    "G12: a waiter was %s of damage, the word was %#llx",
			    told ? "told" : "not told", (unsigned long long)scene->word);
		CRASH_CHECK(scene, !told || waiter->grant.previous == scene->lost_lease,
			    "the lost lease is called %llu instead of %llu",
			    (unsigned long long)waiter->grant.previous,
			    (unsigned long long)scene->lost_lease);
		scene->damage = false;
		scene->token = waiter->grant.token;
		in_order++;
	}
	CRASH_CHECK(scene, in_order == scene->waiter_count, "G5: two grants have the same token");
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: %u times nobody woke a sleeper (the word was %#llx)",
		    atomic_load(&scene->shared->patience.lost_wakes),
		    (unsigned long long)scene->word);
}

// ---- the mutex -----------------------------------------------------------------------------------

void crash_check_mutex(struct crash_scene *scene)
{
	lh_grant grant = { .token = 0 };
	int result = 0;

	patience_due(&scene->shared->patience);
	patience_begin(&scene->shared->patience);
	if (scene->damage && (scene->variant & CRASH_DEAF_FIRST)) {
		result = lh_mutex_lock(&scene->mutex, scene->lease,
				       lh_deadline_after(CRASH_DEADLINE_NS), NULL);
		CRASH_CHECK(scene, result == -EOWNERDEAD, "G12: who does not listen got %d",
			    result);
	}
	result = lh_mutex_lock(&scene->mutex, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
			       &grant);
	if (!scene->waiter_count)
		crash_note_recovery(scene, lh_now());
	CRASH_CHECK(scene, result == 0, "the next user was not granted the mutex: %d, word %#llx",
		    result, (unsigned long long)atomic_load(&crash_header(scene)->word));
	CRASH_CHECK(scene, ((grant.flags & LH_GRANT_OWNER_DIED) != 0) == scene->damage,
		    "G12: the next user was %s of damage, the word was %#llx",
		    grant.flags ? "told" : "not told", (unsigned long long)scene->word);
	CRASH_CHECK(scene, !grant.flags || grant.previous == scene->lost_lease,
		    "the lost lease is called %llu instead of %llu",
		    (unsigned long long)grant.previous, (unsigned long long)scene->lost_lease);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	scene->token = grant.token;
	result = lh_mutex_unlock(&scene->mutex, scene->lease);
	CRASH_CHECK(scene, result == 0, "unlock: %d", result);
	// Damage stays told until it is declared repaired, and not a grant longer.
	result = lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, &grant);
	CRASH_CHECK(scene, result == 0 && (grant.flags != 0) == scene->damage,
		    "G12: lock again: %d, flags %u", result, grant.flags);
	result = lh_mutex_consistent(&scene->mutex, scene->lease);
	CRASH_CHECK(scene, result == 0, "consistent: %d", result);
	result = lh_mutex_unlock(&scene->mutex, scene->lease);
	CRASH_CHECK(scene, result == 0, "unlock: %d", result);
	result = lh_mutex_lock(&scene->mutex, scene->lease, LH_NOW, NULL);
	CRASH_CHECK(scene, result == 0, "G12: lock after repair: %d", result);
	result = lh_mutex_unlock(&scene->mutex, scene->lease);
	CRASH_CHECK(scene, result == 0, "unlock: %d", result);
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2: nobody woke the next user (the word was %#llx)",
		    (unsigned long long)scene->word);
	patience_begin(NULL);
}

// ---- nothing left --------------------------------------------------------------------------------

static void report(void *context, int severity, uint64_t offset, const char *text)
{
	crash_fail(context, "audit: severity %d at %llu: %s", severity, (unsigned long long)offset,
		   text);
}

void crash_use_all_slots(struct crash_scene *scene, size_t mine)
{
	const size_t count = CRASH_LEASES - mine;
	lh_lease *leases[CRASH_LEASES] = { NULL };
	uint64_t offset;
	int result;

	for (size_t i = 0; i < count; i++) {
		result = lh_lease_acquire(scene->arena, NULL, &leases[i]);
		CRASH_CHECK(scene, result == 0, "G6: lease %zu of %zu: %d (%s)", i, count, result,
			    lh_error_detail());
		if (result)
			leases[i] = NULL;
		else
			CRASH_CHECK(scene, !lh_mutex_held(&scene->mutex, leases[i]),
				    "G1: a new lease in slot %u holds the mutex", leases[i]->index);
	}
	result = lh_region_acquire(leases[0], LAYOUT_LINE, &offset);
	CRASH_CHECK(scene, result == 0, "G6: leased memory: %d (%s)", result, lh_error_detail());
	lh_arena_check(scene->arena, report, scene);
	for (size_t i = 0; i < count; i++) {
		result = lh_lease_release(leases[i]);
		CRASH_CHECK(scene, result == 0, "release of lease %zu: %d", i, result);
	}
}

void crash_check_values(struct crash_scene *scene, const uint64_t *handle)
{
	const struct slots slots = slots_of(handle);

	for (uint32_t i = 0; i < slots.count; i++)
		CRASH_CHECK(scene, !(atomic_load(&slots_slot(&slots, i)->sequence) & 1),
			    "G6: slot %u of the values is still tagged", i);
}

static void check_tables(struct crash_scene *scene)
{
	const struct object_header *header = crash_header(scene);
	struct lh_placement_info placement;
	struct lh_lease_info lease;
	struct lh_hold_info hold;
	uint64_t cursor = 0, word = atomic_load(&header->word);
	uint32_t placements = 0;

	while (lh_next_lease(scene->arena, &cursor, &lease) == 0)
		crash_fail(scene, "lease slot %u is left, %s", lease.slot,
			   lh_lease_state_name(lease.state));
	cursor = 0;
	while (lh_next_hold(scene->arena, &cursor, &hold) == 0)
		crash_fail(scene, "a hold of lease slot %u is left", hold.slot);
	for (uint32_t i = 0; i < scene->arena->lease_count * scene->arena->holds_per_lease; i++)
		CRASH_CHECK(scene, atomic_load(&scene->arena->holds[i].object) == 0,
			    "hold record %u is left", i);
	cursor = 0;
	while (lh_next_placement(scene->arena, &cursor, &placement) == 0) {
		placements++;
		CRASH_CHECK(scene, placement.state == 0 && placement.lease == 0,
			    "G6: placement at %llu is left: state %u, of lease %llu",
			    (unsigned long long)placement.offset, placement.state,
			    (unsigned long long)placement.lease);
	}
	CRASH_CHECK(scene, placements == scene->placements, "%u placements instead of %u",
		    placements, scene->placements);
	CRASH_CHECK(scene, word == word_freed(word) && !atomic_load(&header->heir),
		    "G8: the mutex's word is %#llx, its heir %u", (unsigned long long)word,
		    atomic_load(&header->heir));
}

void crash_check_empty(struct crash_scene *scene)
{
	int result;

	crash_reap_children(scene);
	result = lh_arena_check(scene->arena, NULL, NULL);
	CRASH_CHECK(scene, result == LH_CHECK_CLEAN || result == LH_CHECK_STALE,
		    "audit before clearing up: %d", result);
	if (scene->lease) {
		result = lh_lease_release(scene->lease);
		CRASH_CHECK(scene, result == 0, "release: %d", result);
		scene->lease = NULL;
	}
	crash_use_all_slots(scene, 0);
	lh_arena_check(scene->arena, report, scene);
	if (!scene->placements)
		scene->placements = 1;
	check_tables(scene);
}

void crash_verify(struct crash_scene *scene)
{
	crash_collect_waiters(scene);
	if (scene->variant & CRASH_SLOTS_FIRST) {
		crash_reap_children(scene);
		crash_use_all_slots(scene, 1);
	}
	crash_check_mutex(scene);
	crash_check_empty(scene);
}
