// SPDX-License-Identifier: Apache-2.0
//
// word.h: the words of an object that one lease at a time owns (struct object_header).
//
// word, 64 bits, of which the low half is the futex that heads of the queue sleep on:
//
//	63..18  token     + 1 with every grant, in the same CAS, and when a mutex's heir gives up. A
//	                  token set back would defeat fencing: fatal. It is never reused: an exhausted
//	                  one refuses the grant.
//	17      QUEUED    the owner has queued for it: others may sleep on its turn, and releasing
//	                  counts the turn up. Wrongly set: one needless wake. Wrongly clear: fatal, the
//	                  one behind sleeps on (until its backstop).
//	16      DIED      an owner was lost and nobody has declared the data consistent since. Wrongly
//	                  set: a needless repair. Wrongly clear: fatal.
//	15      PLAIN     the owner releases by a plain store and looks at `waiters` afterwards: only
//	                  who raises `waiters`, has every process fenced and then still finds the
//	                  very same word may sleep. Wrongly clear: fatal, a mark set by CAS is lost.
//	14      MARK      somebody may sleep on the word: releasing wakes all of them. Wrongly set: one
//	                  needless system call. Wrongly clear: fatal like QUEUED.
//	13..0   owner     lease slot + 1, 0: free
//
// waiters, 64 bits: one more than the highest token of an owner that somebody may sleep on though
// it is PLAIN, with all bits below the token set, so that it compares with whole words. Raised by
// who is about to sleep; never lowered: clearing it strands sleepers, whoever does it and whenever
// (tests/model/mutex.pml). Wrongly high: needless system calls. Wrongly low: fatal.
//
// heir, 32 bits: lease slot + 1 of a waiter that was passed over for too long: others leave a free
// lock to it for WORD_RESERVATION_NS. A hint: checked against what that lease waits for.
//
// last_waiter, 32 bits:  31..14 low bits of the turn of  13..0 lease slot + 1, 0: nobody.
#ifndef SRC_WORD_H
#define SRC_WORD_H

#include "arena/layout.h"

#define WORD_OWNER_MASK UINT64_C(0x3fff)
#define WORD_MARK (UINT64_C(1) << 14)
#define WORD_PLAIN (UINT64_C(1) << 15)
#define WORD_DIED (UINT64_C(1) << 16)
#define WORD_QUEUED (UINT64_C(1) << 17)
#define WORD_TOKEN_SHIFT 18
#define WORD_TOKEN_ONE (UINT64_C(1) << WORD_TOKEN_SHIFT)
#define WORD_TOKEN_MAX (UINT64_MAX >> WORD_TOKEN_SHIFT)

#define WORD_BELOW_TOKEN (WORD_TOKEN_ONE - 1)

#define QUEUE_SLOT_BITS 14
#define QUEUE_SLOT_MASK ((1u << QUEUE_SLOT_BITS) - 1)

#define WORD_PASSED_OVER_NS UINT64_C(1000000) // a head that waits longer than this is next
#define WORD_RESERVATION_NS UINT64_C(4000000) // how long others leave the lock to it

_Static_assert(LEASE_SLOT_BITS == 14 && QUEUE_SLOT_BITS == 14, "an owner is a lease slot + 1");

static inline uint32_t word_owner(uint64_t word)
{
	return (uint32_t)(word & WORD_OWNER_MASK); // slot + 1
}

static inline uint64_t word_token(uint64_t word)
{
	return word >> WORD_TOKEN_SHIFT;
}

// What the word becomes by a release: token and damage stay.
static inline uint64_t word_freed(uint64_t word)
{
	return word & ~(WORD_OWNER_MASK | WORD_MARK | WORD_PLAIN | WORD_QUEUED);
}

// What `waiters` is raised to by who sleeps on an owned word: below whatever follows the next
// grant.
static inline uint64_t waiters_for(uint64_t word)
{
	return (word | WORD_BELOW_TOKEN) + WORD_TOKEN_ONE;
}

// Whether somebody may sleep on the PLAIN owner that released its word to this.
static inline bool word_has_sleepers(uint64_t freed, uint64_t waiters)
{
	return freed + WORD_TOKEN_ONE <= waiters;
}

// Whether a word may be taken PLAIN, as this: nobody slept on the last owner (whom another PLAIN
// one would make pay for a membarrier again), and the token is far from its end. The comparison is
// signed: words whose token has the top bit are below any `waiters`, which never has it.
static inline bool word_may_be_plain(uint64_t taken, uint64_t waiters)
{
	return (int64_t)taken > (int64_t)waiters;
}

static inline uint32_t queue_entry(uint32_t slot, uint32_t turn)
{
	return turn << QUEUE_SLOT_BITS | (slot + 1);
}

#endif
