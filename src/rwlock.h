// SPDX-License-Identifier: Apache-2.0
//
// rwlock.h: the words of a reader-writer lock, and what rwlock.c (the handle, the fast paths,
// letting go and reaping) and rwlock_wait.c (how its lock calls wait) know of each other.
//
// Who reads is said by the hold records of the leases alone: a record SHARED of a lease that is not
// lost. A reader stores it and then looks at the word; a writer puts its name into the word and
// then looks at the records. Between the two steps of each there has to be a full fence. Biased,
// the writer has it executed by all (membarrier) and readers have none; fenced, each has its own.
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
// heir, 32 bits: who is let in before others once it has waited for a millisecond: lease slot + 1,
// and HEIR_READS if it is a reader (who had waited for as long when it named itself) and not a
// writer (the first to wait). A hint: checked against what that lease waits for. reserved_ns: when
// a free lock was last left to an heir. Both wrong in any way: harmless. HEIR_PENDING: the lease is
// that of a helper thread, on behalf of an acquire that waits without a thread (rwlock_pending.c).
//
// pending, 64 bits: whom to poke, beside waking who sleeps on the word, when a MARKed one is let
// go, or somebody departs from it:
//
//	56      MANY    more than have room: every lease is poked
//	55..0   four names, each a lease slot + 1; 0: none
//
// A record's mode: INTENT: wants to read or to write. SHARED: reads, `count` times; or has it
// published and is about to look at the word. EXCLUSIVE: writes. An upgrading lease owns the word
// and reads.
#ifndef SRC_RWLOCK_H
#define SRC_RWLOCK_H

#include "arena/reap.h"
#include "src/primitive.h"

#include <leasehold/rwlock.h>

#define RWLOCK_FENCED (UINT64_C(1) << 15)
#define RWLOCK_WANTED (UINT64_C(1) << 17)
#define HEIR_READS (1u << 14)
#define HEIR_PENDING (1u << 15)

#define PENDING_NAMES 4u
#define PENDING_NAME_BITS 14u
#define PENDING_MANY (UINT64_C(1) << 56)

#define RWLOCK_HANDLE_LINE_SHIFT 32 // in a handle's last word

// The bias stays off for so many times what its last revocation took (Dice and Kogan, "BRAVO",
// 2019), and longer where it does not last: rwlock_bias_off.
#define RWLOCK_BIAS_OFF 9
#define RWLOCK_BIAS_OFF_MAX_NS UINT64_C(10000000)

// A lock call under way.
struct rwlock_attempt {
	struct lh_arena *arena;
	struct rwlock_object *object;
	uint32_t granule;
	bool no_repair;
	bool upgrade; // the record says SHARED, and says so again if the call fails
	// Of an entry of named locks: the modes, as bits 1 << LH_HOLD_…, that are waited for by the
	// owner of the word. 0: a lock of its own, whose writers wait for readers.
	uint32_t awaited;
	struct lh_lease *lease;
	struct hold_record *record;
	lh_deadline deadline;
	lh_grant *grant; // NULL: who wants no news of damage is not granted it
	uint32_t heir;   // on whose behalf, as the lock's `heir` says it; 0: the lease's own
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
// record is as it was before the call. Reading: the record says INTENT. Writing: INTENT, or SHARED
// to upgrade.
int rwlock_acquire_read(const struct rwlock_attempt *attempt);
int rwlock_acquire_write(const struct rwlock_attempt *attempt);
// Whether the heir lives and waits for this lock.
bool rwlock_is_heir(const struct rwlock_attempt *attempt, uint32_t heir);
// The heir, if it is still that one, is none any more; `wake`: who left the lock to it looks again.
void rwlock_drop_heir(struct lh_arena *arena, struct rwlock_object *object, uint32_t heir,
		      bool wake);
// Whether anybody reads but the lease in slot `self`, who owns the word.
bool rwlock_is_read(const struct lh_arena *arena, struct rwlock_object *object, uint32_t granule,
		    uint32_t self);
// The rest of it for who owns the word already.
int rwlock_complete_write(const struct rwlock_attempt *attempt, uint64_t word);

// How lh_rwlock_read_lock goes on, for a lease on the short way whose record, the first in its
// line, says SHARED, when the word says more than "biased, nobody writes".
int rwlock_read_fenced(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
		       lh_grant *grant);
// How lh_rwlock_unlock goes on for such a one, whose record is cleared, when the word names a
// writer. 0.
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

// Frees the word from the lease that owns it, changing also the bits `off` and then `on`, and wakes
// who sleeps on it. 0; -ESTALE: it does not.
int rwlock_free_with(struct rwlock_object *object, const struct lh_lease *lease, uint64_t off,
		     uint64_t on);

static inline int rwlock_free(struct rwlock_object *object, const struct lh_lease *lease)
{
	return rwlock_free_with(object, lease, 0, 0);
}

// Lets go of what the record says, once. 0; -ESTALE; -EPERM: nothing.
int rwlock_unlock(struct lh_lease *lease, struct rwlock_object *object, struct hold_record *record);

// ---- acquires that wait without a thread of their own (rwlock_pending.c)

// For how long at most a lock that is read is left to a pending writer, before it says so again.
#define RWLOCK_PENDING_NS (100 * CLOCK_NS_PER_MS)

// One of them, or the first of several for the same lock.
struct rwlock_pending {
	struct rwlock_attempt attempt; // lease: the helper thread's; heir: rwlock_pending_heir
	bool reads;
	bool passes;    // an intention to read: only owners of the word who want it all exclude it
	uint32_t modes; // of others' records, as bits 1 << LH_HOLD_…, that exclude it
	uint64_t since_ns; // of the wait
	// What was in its way when rwlock_pend looked, and nothing was done by anybody about it
	// since:
	uint64_t word;
	uint32_t blocker; // lease slot + 1; 0: unknown, look again at `until_ns`
	enum { BLOCKED_BY_WRITER, BLOCKED_BY_READER, BLOCKED_BY_HEIR } by;
	uint32_t heir;     // that is the blocker
	uint64_t until_ns; // when to look again in any case; 0: at once
};

// How `heir` names a pending acquire of a helper thread.
uint32_t rwlock_pending_heir(const struct lh_lease *lease, bool reads);
// 0: somebody has the lock or comes before us, as *pending says now, and if that ends, or the lock
// is given to another key, the departures of the helper's lease are counted up; but the end of the
// blocker's owner and until_ns are for the caller to wait for. -EAGAIN: nobody, as far as can be
// seen: try. `refused`: that was tried, and busy.
int rwlock_pend(struct rwlock_pending *pending, bool refused);
// Whether what it found is still so.
bool rwlock_pend_stands(const struct rwlock_pending *pending);
// It waits no more, if it ever did.
void rwlock_pend_end(struct rwlock_pending *pending);

// Whether an heir whose name is valid is a pending acquire's, and waits for this lock.
bool rwlock_is_pending_heir(const struct lh_arena *arena, const struct rwlock_object *object,
			    uint32_t heir);
// The bit of a lock in `poked` of a helper's lease, and its place there.
static inline uint32_t rwlock_poked_place(uint32_t granule)
{
	return granule * UINT32_C(2654435769) >> 26;
}

// The lock was let go, or somebody reads it no more.
void rwlock_poke(struct lh_arena *arena, struct rwlock_object *object);

// Since when an heir whose name is valid waits.
static inline uint64_t rwlock_heir_since(const struct lh_arena *arena,
					 const struct rwlock_object *object, uint32_t heir)
{
	const uint32_t slot = (heir & (uint32_t)WORD_OWNER_MASK) - 1;

	return atomic_load_explicit(heir & HEIR_PENDING ? &object->pending_since
							: &arena->leases[slot].waiting_since,
				    memory_order_relaxed);
}

uint64_t rwlock_stride(uint64_t data_size);

// kind.h says what it does.
bool rwlock_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);

#endif
