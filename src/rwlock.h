// SPDX-License-Identifier: Apache-2.0
//
// rwlock.h: the words of a reader-writer lock, and what rwlock.c (the handle, the fast paths, letting
// go and reaping) and rwlock_wait.c (how its lock calls wait) know of each other.
//
// Who reads is said by the hold records of the leases alone: a record SHARED of a lease that is not
// lost. A reader stores it and then looks at the word; a writer puts its name into the word and then
// looks at the records. Between the two steps of each there has to be a full fence. Biased, the
// writer has it executed by all (membarrier) and readers have none; fenced, each has its own.
//
// word, 64 bits, of which the low half is the futex that those sleep on who wait for a writer:
//
//	63..18  token   + 1 with every claim of a writer, in the same CAS. It moves even if that writer
//	                gives up. A token set back would defeat fencing: fatal.
//	17      WANTED  the heir had been passed over when a writer let go: all look at `heir` before
//	                they enter. Wrong in either way: harmless.
//	16      DIED    a writer was lost and nobody has declared the data consistent since. Wrongly
//	                set: a needless repair. Wrongly clear: fatal.
//	15      FENCED  readers pay for the fence; clear: biased, the writer pays. It is set only by a
//	                writer that owns the word and has returned from its membarrier, and cleared only
//	                while there is no writer. Wrongly clear: a needless membarrier. Wrongly set: fatal,
//	                a writer does not see a reader whose record is still in its store buffer.
//	14      MARK    somebody may sleep on the word: letting go wakes all of them. Wrongly set: one
//	                needless system call. Wrongly clear: fatal, they sleep on (until their backstop).
//	13..0   owner   lease slot + 1 of the writer, 0: none. It may still be waiting for readers: it
//	                writes once its own record says EXCLUSIVE.
//
// heir, 32 bits: who is let in before others once it has waited for a millisecond: lease slot + 1, and
// HEIR_READS if it is a reader (who had waited for as long when it named itself) and not a writer (the
// first to wait). A hint: checked against what that lease waits for. reserved_ns: when a free lock was
// last left to an heir. Both wrong in any way: harmless.
//
// A record's mode: INTENT: wants to read or to write. SHARED: reads, `count` times; or has it published
// and is about to look at the word. EXCLUSIVE: writes. An upgrading lease owns the word and reads.
#ifndef SRC_RWLOCK_H
#define SRC_RWLOCK_H

#include "arena/reap.h"
#include "src/primitive.h"

#include <leasehold/rwlock.h>

#define RWLOCK_FENCED (UINT64_C(1) << 15)
#define RWLOCK_WANTED (UINT64_C(1) << 17)
#define HEIR_READS (1u << 14)

#define RWLOCK_HANDLE_LINE_SHIFT 32 // in a handle's last word

// The bias stays off for so many times what its last revocation took (Dice and Kogan, "BRAVO", 2019),
// and longer where it does not last: rwlock_bias_off.
#define RWLOCK_BIAS_OFF 9
#define RWLOCK_BIAS_OFF_MAX_NS UINT64_C(10000000)

// A lock call under way.
struct rwlock_attempt {
	struct lh_arena *arena;
	struct rwlock_object *object;
	uint32_t granule;
	bool no_repair;
	bool upgrade; // the record says SHARED, and says so again if the call fails
	// Of an entry of named locks: the modes, as bits 1 << LH_HOLD_…, that are waited for by the owner
	// of the word. 0: a lock of its own, whose writers wait for readers.
	uint32_t awaited;
	struct lh_lease *lease;
	struct hold_record *record;
	lh_deadline deadline;
	lh_grant *grant; // NULL: who wants no news of damage is not granted it
};

static inline uint64_t rwlock_record(uint32_t granule, uint32_t mode, uint32_t count)
{
	return hold_word(LH_KIND_RWLOCK, mode, count, granule);
}

// NULL: no such object, whatever the bytes say.
static inline struct rwlock_object *rwlock_object(const struct lh_arena *arena, uint32_t granule)
{
	const uint64_t offset = arena_user_offset(arena, granule, sizeof(struct rwlock_object));
	struct rwlock_object *object = offset ? (struct rwlock_object *)(arena->base + offset)
					      : NULL;

	return object && object->header.kind == LH_KIND_RWLOCK ? object : NULL;
}

// The lease's bit in the map of readers.
static inline shared_u64 *rwlock_map_word(struct rwlock_object *object, uint32_t slot)
{
	return &object->readers[slot % RWLOCK_MAP_BITS / 64];
}

static inline uint64_t rwlock_map_bit(uint32_t slot)
{
	return UINT64_C(1) << slot % 64;
}

// Which words of the map have bits, as bits.
static inline shared_u32 *rwlock_reader_words(struct rwlock_object *object)
{
	return &object->header.last_waiter;
}

// Sets it, before the lease's first record SHARED.
void rwlock_enter_map(struct rwlock_object *object, uint32_t slot);

// The lock calls whose record is written: they wait as the deadline allows. 0: granted; else the
// record is as it was before the call. Reading: the record says INTENT. Writing: INTENT, or SHARED to
// upgrade.
int rwlock_acquire_read(const struct rwlock_attempt *attempt);
int rwlock_acquire_write(const struct rwlock_attempt *attempt);
// Whether anybody reads but the lease in slot `self`, who owns the word.
bool rwlock_is_read(const struct lh_arena *arena, struct rwlock_object *object, uint32_t granule,
		    uint32_t self);
// The rest of it for who owns the word already.
int rwlock_complete_write(const struct rwlock_attempt *attempt, uint64_t word);

// How lh_rwlock_read_lock goes on, for a lease on the short way whose record, the first in its line, says
// SHARED, when the word says more than "biased, nobody writes".
int rwlock_read_fenced(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
		       lh_grant *grant);
// How lh_rwlock_unlock goes on for such a one, whose record is cleared, when the word names a writer. 0.
int rwlock_tell_writer(const lh_lease *lease);

// The lease's record does not say SHARED any more: tells a writer that waits for it.
void rwlock_depart(struct lh_arena *arena, struct rwlock_object *object, uint32_t slot);

// Counts departures up, and wakes who sleeps on them.
void rwlock_bump(shared_u32 *departures);

// A read that found no bias: gives the lock its bias back if it was off for long enough.
void rwlock_consider_bias(const struct lh_arena *arena, struct rwlock_object *object,
			  uint64_t word);

// After a revocation: says until when the bias stays off.
void rwlock_bias_off(struct rwlock_object *object, uint64_t revoked_from, uint64_t revoked_at);

// Frees the word from the lease that owns it, changing also the bits `off` and then `on`, and wakes who
// sleeps on it. 0; -ESTALE: it does not.
int rwlock_free_with(struct rwlock_object *object, const struct lh_lease *lease, uint64_t off,
		     uint64_t on);

static inline int rwlock_free(struct rwlock_object *object, const struct lh_lease *lease)
{
	return rwlock_free_with(object, lease, 0, 0);
}

// Lets go of what the record says, once. 0; -ESTALE; -EPERM: nothing.
int rwlock_unlock(struct lh_lease *lease, struct rwlock_object *object, struct hold_record *record);

uint64_t rwlock_stride(uint64_t data_size);

// kind.h says what it does.
bool rwlock_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);

#endif
