// SPDX-License-Identifier: Apache-2.0
//
// What the arena asks of a semaphore (kind.h): clearing up behind the lost, and showing it.
#include "src/semaphore.h"

#include "arena/event.h"
#include "src/kinds.h"
#include "src/mutex.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

// The semaphore that a record names, if it is one and lies in the user's space with all its words,
// of which it says how many there are.
static struct semaphore *semaphore_at(const struct lh_arena *arena, uint32_t granule,
				      uint32_t *ret_permits)
{
	struct semaphore *semaphore;
	uint32_t permits;

	if (!arena_user_offset(arena, granule, sizeof(*semaphore)))
		return NULL;
	semaphore = (struct semaphore *)arena_object(arena, granule);
	permits = atomic_load_explicit(&semaphore->permits, memory_order_relaxed);
	if (semaphore->header.kind != LH_KIND_SEMAPHORE || !permits ||
	    permits > LAYOUT_MAX_PERMITS ||
	    !arena_user_offset(arena, granule, semaphore_size(permits)))
		return NULL;
	*ret_permits = permits;
	return semaphore;
}

bool semaphore_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint32_t granule = hold_word_granule(record);
	const bool died = lease_word_state(lost->state) == LEASE_DEAD;
	uint32_t permits, freed = 0;
	struct semaphore *semaphore = semaphore_at(arena, granule, &permits);
	uint64_t id = lost->id, word = WORD_QUEUED;
	bool had_baton;

	if (!semaphore) {
		event_record(arena, LH_EVENT_CORRUPT, lost, (uint64_t)granule * LAYOUT_LINE,
			     record);
		return true;
	}
	// theirs → free: the id says whose, and that one is lost for good.
	for (uint32_t i = 0; i < permits; i++) {
		if (atomic_load(&semaphore->owners[i]) == lost->id)
			freed += semaphore_give_back(semaphore, i, lost->id);
	}
	atomic_compare_exchange_strong(&semaphore->gate, &id, 0);
	had_baton = mutex_reap_word(arena, &semaphore->header, lost, 0, &word);
	// Also if nothing was its own any more: it may have died between freeing and waking.
	semaphore_wake_again(semaphore);
	if (freed || had_baton)
		event_record(arena, died ? LH_EVENT_OWNER_DIED : LH_EVENT_EXPIRED, lost,
			     (uint64_t)granule * LAYOUT_LINE, 0);
	return (word & WORD_QUEUED) != 0;
}

// For lh_lease_release: what it holds is given back, an intent is forgotten.
static int release(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load_explicit(&record->object, memory_order_relaxed);
	uint32_t permits;
	struct semaphore *semaphore = semaphore_at(lease->arena, hold_word_granule(word), &permits);
	int error;

	if (!semaphore)
		return -EBADMSG;
	if (!lease_is_live(lease))
		return -ESTALE;
	error = semaphore_give_back_some(semaphore, permits, lease,
					 semaphore_count(semaphore, permits, lease->id));
	semaphore_tell(semaphore, lease);
	if (!error)
		hold_clear(record);
	return error;
}

static void view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		 struct hold_view *ret_view)
{
	uint32_t permits;
	const struct semaphore *semaphore = semaphore_at(arena, hold_word_granule(record),
							 &permits);
	const uint64_t id = atomic_load(&arena->leases[slot].id);
	const uint32_t count = semaphore ? semaphore_count(semaphore, permits, id) : 0;

	// Of an acquire that has none as yet the record says how many it wants.
	*ret_view = (struct hold_view){ .mode = count ? LH_HOLD_EXCLUSIVE : LH_HOLD_INTENT,
					.count = count };
}

static bool look(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info)
{
	uint32_t permits;
	const struct semaphore *semaphore = semaphore_at(arena, granule, &permits);

	if (!semaphore)
		return false;
	info->limit = atomic_load_explicit(&semaphore->limit, memory_order_relaxed);
	info->used = permits - semaphore_count(semaphore, permits, 0);
	return true;
}

static bool busy(const struct lh_arena *arena, uint32_t granule)
{
	uint32_t permits;
	const struct semaphore *semaphore = semaphore_at(arena, granule, &permits);

	return semaphore && (word_owner(atomic_load(&semaphore->header.word)) ||
			     semaphore_count(semaphore, permits, 0) != permits);
}

// ---- the audit -----------------------------------------------------------------------------------

#define AUDIT_LOOKS 100

static bool is_recorded(const struct lh_arena *arena, uint32_t slot, uint32_t granule)
{
	return hold_find_of(arena, slot, LH_KIND_SEMAPHORE, granule) != NULL;
}

// Not recorded, however often one looks. The record is there whenever the word says so; but a lease
// may give back and take again between two looks at the word, and nothing in it tells.
static bool is_unrecorded(const struct lh_arena *arena, const struct semaphore *semaphore,
			  uint32_t index, uint64_t owner, uint32_t granule)
{
	for (int i = 0; i < AUDIT_LOOKS; i++) {
		if (is_recorded(arena, semaphore_slot_of(owner), granule) ||
		    atomic_load(&semaphore->owners[index]) != owner)
			return false;
		sched_yield();
	}
	return true;
}

// A word's owner must be a lease that records the semaphore. NULL: it is, or is changing.
static const char *flaw_of(const struct lh_arena *arena, const struct semaphore *semaphore,
			   uint32_t index, uint32_t granule)
{
	const uint64_t owner = atomic_load(&semaphore->owners[index]);
	const uint32_t slot = semaphore_slot_of(owner);
	const char *flaw = NULL;

	if (!owner)
		return NULL;
	if (slot >= arena->lease_count)
		flaw = "no lease slot";
	else if (atomic_load(&arena->leases[slot].id) != owner)
		flaw = "a lease that is gone";
	else if (is_unrecorded(arena, semaphore, index, owner, granule))
		flaw = "a lease that does not record it";
	return atomic_load(&semaphore->owners[index]) == owner ? flaw : NULL;
}

static void audit(const struct lh_arena *arena, uint32_t granule, uint64_t size,
		  bool (*report)(void *context, int severity, uint64_t offset, const char *text),
		  void *context)
{
	uint32_t permits;
	const struct semaphore *semaphore = semaphore_at(arena, granule, &permits);
	const uint64_t offset = (uint64_t)granule * LAYOUT_LINE;
	uint64_t baton;
	char text[120];

	if (!semaphore || semaphore_size(permits) > size) {
		report(context, LH_CHECK_CORRUPT, offset, "semaphore: its permits lie outside");
		return;
	}
	if (atomic_load(&semaphore->limit) > permits)
		report(context, LH_CHECK_CORRUPT, offset, "semaphore: its limit is too high");
	baton = atomic_load(&semaphore->header.word);
	if (word_owner(baton) > arena->lease_count)
		report(context, LH_CHECK_CORRUPT, offset, "semaphore: no lease slot has its baton");
	else if (word_owner(baton) && !is_recorded(arena, word_owner(baton) - 1, granule) &&
		 atomic_load(&semaphore->header.word) == baton)
		report(context, LH_CHECK_CORRUPT, offset,
		       "semaphore: the holder of its baton does not record it");
	for (uint32_t i = 0; i < permits; i++) {
		const char *flaw = flaw_of(arena, semaphore, i, granule);

		if (!flaw)
			continue;
		snprintf(text, sizeof(text), "semaphore: permit %u is held by %s", i, flaw);
		if (!report(context, LH_CHECK_CORRUPT, offset, text))
			return;
	}
}

const struct kind_ops semaphore_ops = {
	.reap = semaphore_reap,
	.release = release,
	.view = view,
	.look = look,
	.busy = busy,
	.audit = audit,
};
