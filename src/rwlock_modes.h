// SPDX-License-Identifier: Apache-2.0
//
// rwlock_modes.h: what an entry of named locks (src/provider/keys.h) can do beyond a reader-writer
// lock: intention modes (rwlock_modes.c) and permits (rwlock_permits.c). docs/protocol/modes.md has
// the table of steps with the outcome of a crash at each; tests/model/modes.pml is the model.
//
// Who holds in which mode is said by the hold records alone, as of readers; for these, too, the map
// has the bit. Which two exclude each other: rwlock_conflicts. LH_HOLD_EXCLUSIVE is the lock's
// writing, and waits for the others' records; LH_HOLD_INTENT_SHARED is its reading, and lets no
// owner of the word keep it out but one that writes or wants to. The other two exclude each other,
// and none excludes its like: they come in groups. The word says which group may enter by
// publishing a record and looking at the word, as readers do; the other one has to own the word,
// wait for the records of the first, publish, and make the word say so as it lets the word go.
//
// Entries are always fenced, so bit 15 of the word is theirs:
//
//	15      INTENTS  those with LH_HOLD_INTENT_EXCLUSIVE may enter; clear: those with
//	                 LH_HOLD_SHARED. Changed only by an owner of the word that has seen no record of
//	                 the other group, in the CAS that lets it go. Wrong in either way: fatal, who
//	                 enters does not wait for the other group.
//
// A record INTENT of an entry says in its count what is wanted (LH_HOLD_…); it says so before its
// lease owns the word. Wrongly EXCLUSIVE (as keys.c writes it): an intention to read waits for
// nothing. Wrongly another: fatal, it is granted beside a writer.
//
// A record PERMIT has the permit's number for a count. It is written, and the permit of a lost
// lease found free, by owners of the word alone.
#ifndef SRC_RWLOCK_MODES_H
#define SRC_RWLOCK_MODES_H

#include "src/rwlock.h"

#include <leasehold/inspect.h>

#define RWLOCK_INTENTS RWLOCK_FENCED
#define RWLOCK_MODE(mode) (1u << (mode))
// The modes that others may have at the same time.
#define RWLOCK_SIDE_BY_SIDE                                                                        \
	(RWLOCK_MODE(LH_HOLD_SHARED) | RWLOCK_MODE(LH_HOLD_INTENT_SHARED) |                        \
	 RWLOCK_MODE(LH_HOLD_INTENT_EXCLUSIVE) | RWLOCK_MODE(LH_HOLD_PERMIT))

// The modes of others that exclude it, as far as they have records while its own lease owns the
// word: then nobody else writes.
static inline uint32_t rwlock_conflicts(uint32_t mode)
{
	switch (mode) {
	case LH_HOLD_EXCLUSIVE:
		return RWLOCK_MODE(LH_HOLD_SHARED) | RWLOCK_MODE(LH_HOLD_INTENT_SHARED) |
		       RWLOCK_MODE(LH_HOLD_INTENT_EXCLUSIVE);
	case LH_HOLD_SHARED:
		return RWLOCK_MODE(LH_HOLD_INTENT_EXCLUSIVE);
	case LH_HOLD_INTENT_EXCLUSIVE:
		return RWLOCK_MODE(LH_HOLD_SHARED);
	case LH_HOLD_PERMIT:
		return RWLOCK_MODE(LH_HOLD_PERMIT);
	default:
		return 0;
	}
}

// What the lease of a record wants, or has; LH_HOLD_EXCLUSIVE if there is none.
static inline uint32_t rwlock_purpose(uint64_t record)
{
	if (!record)
		return LH_HOLD_EXCLUSIVE;
	return hold_word_mode(record) == LH_HOLD_INTENT ? hold_word_count(record)
							: hold_word_mode(record);
}

// What the table of whoever has the slot says of the object; LH_HOLD_INTENT also if nothing. Loads
// as in hold_find_of.
static inline uint32_t rwlock_mode_seen(const struct lh_arena *arena, uint32_t slot,
					uint32_t granule)
{
	const struct hold_record *record = hold_find_of(arena, slot, LH_KIND_RWLOCK, granule);
	const uint64_t word = record ? atomic_load(&record->object) : 0;

	return hold_names(word, LH_KIND_RWLOCK, granule) ? hold_word_mode(word) : LH_HOLD_INTENT;
}

// Of how many permits an entry is a semaphore; 0: it is a lock.
static inline uint32_t rwlock_permits(const struct rwlock_object *object)
{
	return (uint32_t)atomic_load_explicit(&object->header.permits, memory_order_relaxed);
}

// Acquires an entry that attempt->record, INTENT, refers to. 0: granted; else the record says
// INTENT again.
int rwlock_acquire_mode(struct rwlock_attempt *attempt, uint32_t mode);
// A permit: its number to *ret_permit, below rwlock_permits(attempt->object).
int rwlock_acquire_permit(struct rwlock_attempt *attempt, uint32_t *ret_permit);

// After -EBUSY: whether the word is owned by one who wants it for a moment only (then the processor
// was given away): `tries` bounds how often.
bool rwlock_passes(const struct rwlock_attempt *attempt, int *tries);

// Ends a hold that is not EXCLUSIVE: clears the record, and tells those who wait for that.
void rwlock_end_hold(struct lh_lease *lease, struct rwlock_object *object,
		     struct hold_record *record);
// Lets go of whatever the record of an entry says. 0; -ESTALE; -EPERM: nothing.
int rwlock_release_mode(struct lh_lease *lease, struct rwlock_object *object,
			struct hold_record *record);

#endif
