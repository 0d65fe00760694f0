// SPDX-License-Identifier: Apache-2.0
//
// What the arena asks of reader-writer locks (arena/kind.h).
#include "src/rwlock_modes.h"

#include "arena/event.h"
#include "arena/sys/futex.h"

// Whoever waits for the lost reader, or slept on the word that it may have freed, looks again.
static void wake_others(struct lh_arena *arena, struct rwlock_object *object, uint32_t slot)
{
	uint32_t heir = atomic_load(&object->header.heir);

	if ((heir & WORD_OWNER_MASK) == slot + 1) // nobody need leave anything to it any more
		atomic_compare_exchange_strong(&object->header.heir, &heir, 0);
	futex_wake(futex_low_half(&object->header.word), FUTEX_ALL);
	rwlock_bump(&arena->leases[slot].departures);
	if (rwlock_permits(object))
		rwlock_bump(&object->departures);
	rwlock_poke(arena, object);
}

bool rwlock_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint32_t granule = hold_word_granule(record);
	const bool died = lease_word_state(lost->state) == LEASE_DEAD;
	const bool wrote = hold_word_mode(record) == LH_HOLD_EXCLUSIVE;
	struct rwlock_object *object = rwlock_object(arena, granule);
	uint64_t previous, word, freed;

	if (!object) {
		event_record(arena, LH_EVENT_CORRUPT, lost, (uint64_t)granule * LAYOUT_LINE,
			     record);
		return false;
	}
	do {
		// The order, and why: mutex_reap.
		previous = atomic_load(&object->header.lost_lease);
		word = atomic_load(&object->header.word);
		if (word_owner(word) != lost->slot + 1 || !lease_still_lost(arena, lost)) {
			wake_others(arena, object, lost->slot);
			return false;
		}
		freed = word & ~(WORD_OWNER_MASK | WORD_MARK);
		if (wrote)
			atomic_compare_exchange_strong(&object->header.lost_lease, &previous,
						       lost->id);
		if (wrote && !(object->header.flags & LH_NO_REPAIR))
			freed |= WORD_DIED;
		// theirs → none; DIED if its record says that it wrote. One that only waited for
		// readers has changed nothing.
	} while (!atomic_compare_exchange_strong(&object->header.word, &word, freed));
	wake_others(arena, object, lost->slot);
	if (wrote)
		event_record(arena, died ? LH_EVENT_OWNER_DIED : LH_EVENT_EXPIRED, lost,
			     (uint64_t)granule * LAYOUT_LINE, word_token(word));
	return false;
}

// For lh_lease_release: what the record names is unlocked as by its user, however often it reads.
static int release(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load_explicit(&record->object, memory_order_relaxed);
	struct rwlock_object *object = rwlock_object(lease->arena, hold_word_granule(word));

	if (!object)
		return -EBADMSG;
	if (hold_word_mode(word) == LH_HOLD_EXCLUSIVE)
		return rwlock_unlock(lease, object, record);
	rwlock_end_hold(lease, object, record);
	return 0;
}

static int64_t owner(const struct lh_arena *arena, uint32_t granule)
{
	const struct rwlock_object *object = rwlock_object(arena, granule);

	return object ? (int64_t)word_owner(atomic_load(&object->header.word)) - 1 : -1;
}

// What one's own table says of the lock, as far as a record of it is of the present tenant.
static uint64_t record_seen(const struct lh_arena *arena, uint32_t slot, uint32_t granule)
{
	const struct hold_record *record;

	// Most have none, which is seen with less than who they are.
	if (!hold_find_of(arena, slot, LH_KIND_RWLOCK, granule) ||
	    lease_state_seen(arena, slot, clock_now()) != LH_LEASE_LIVE)
		return 0;
	record = hold_find_of(arena, slot, LH_KIND_RWLOCK, granule);
	return record ? atomic_load(&record->object) : 0;
}

// Who waits for the lock does not read it, though its record may say so while it looks at the word.
static bool waits_here(const struct lh_arena *arena, uint32_t slot, uint32_t granule)
{
	return atomic_load(&arena->leases[slot].edge) >> EDGE_WANTED_SHIFT == granule;
}

// The modes that the owner of the word, whose record this is, waits for. Of permits it waits for
// any: nobody in particular, unless there is only one.
static uint32_t modes_awaited(const struct rwlock_object *object, uint64_t record)
{
	if (hold_word_mode(record) != LH_HOLD_INTENT)
		return RWLOCK_MODE(LH_HOLD_SHARED); // a reader that wants to write
	if (hold_word_count(record) == LH_HOLD_PERMIT && rwlock_permits(object) != 1)
		return 0;
	return rwlock_conflicts(hold_word_count(record));
}

// The first one in the owner's way, in the order in which it waits for them.
static int64_t awaited(const struct lh_arena *arena, uint32_t granule, uint32_t slot)
{
	struct rwlock_object *object = rwlock_object(arena, granule);
	const uint32_t modes = object ? modes_awaited(object, record_seen(arena, slot, granule))
				      : 0;

	for (uint32_t i = 0; modes && i < RWLOCK_MAP_BITS; i++) {
		if (!(atomic_load(rwlock_map_word(object, i)) & rwlock_map_bit(i)))
			continue;
		for (uint32_t at = i; at < arena->lease_count; at += RWLOCK_MAP_BITS) {
			if (at != slot &&
			    modes >> hold_word_mode(record_seen(arena, at, granule)) & 1 &&
			    !waits_here(arena, at, granule))
				return at;
		}
	}
	return -1;
}

// Asleep since another owner wrote: docs/protocol/modes.md.
static bool passes(const struct lh_arena *arena, uint32_t granule, uint32_t owner_slot,
		   uint32_t slot)
{
	return rwlock_purpose(record_seen(arena, slot, granule)) == LH_HOLD_INTENT_SHARED &&
	       rwlock_purpose(record_seen(arena, owner_slot, granule)) != LH_HOLD_EXCLUSIVE;
}

static void view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		 struct hold_view *ret_view)
{
	const uint32_t granule = hold_word_granule(record);
	const struct rwlock_object *object = rwlock_object(arena, granule);
	const uint64_t word = object ? atomic_load(&object->header.word) : 0;
	uint32_t mode = hold_word_mode(record), count = hold_word_count(record);

	if (mode == LH_HOLD_EXCLUSIVE
		    ? word_owner(word) != slot + 1
		    : !(RWLOCK_SIDE_BY_SIDE >> mode & 1) ||
			      (word_owner(word) != slot + 1 && waits_here(arena, slot, granule)))
		mode = LH_HOLD_INTENT;
	if (mode == LH_HOLD_INTENT || mode == LH_HOLD_PERMIT)
		count = 1; // which is what is wanted, or which permit it is
	*ret_view = (struct hold_view){ .token = word_token(word),
					.mode = mode,
					.count = count,
					.damaged = (word & WORD_DIED) != 0 };
}

static bool look(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info)
{
	if (!rwlock_object(arena, granule))
		return false;
	primitive_look(arena, granule, sizeof(struct rwlock_object), info);
	return true;
}

static bool busy(const struct lh_arena *arena, uint32_t granule)
{
	if (owner(arena, granule) >= 0)
		return true;
	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		if (record_seen(arena, slot, granule))
			return true;
	}
	return false;
}

const struct kind_ops rwlock_ops = {
	.reap = rwlock_reap,
	.release = release,
	.owner = owner,
	.awaited = awaited,
	.passes = passes,
	.view = view,
	.look = look,
	.busy = busy,
	.stride = rwlock_stride,
};
