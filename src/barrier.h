// SPDX-License-Identifier: Apache-2.0
//
// barrier.h: the words of a barrier, and what barrier.c (handle, membership, reset, clearing up)
// and barrier_wait.c (how parties wait) know of each other.
//
// word, 64 bits, of which the low half is the futex that waiters sleep on:
//
//	63..21  phase   how many phases are complete. + 1 by the CAS that completes one, of a word that
//	                was loaded before all places were seen to have arrived. Wrongly high: fatal.
//	20..1   epoch   + 1 with whatever makes an earlier look at the places void: an arrival withdrawn,
//	                a place joined, dropped, mended. Not counted up: fatal, a phase completes early.
//	0       BROKEN  a member was lost; until reset. Wrongly set: waits say -EOWNERDEAD.
//
// place, 64 bits, one for each party:
//
//	63..26  sequence  + 1 with every change, so that a CAS of the exact word is one of that moment
//	25..18  phase     low bits of the phase arrived at, with ARRIVED
//	17      ARRIVED   its owner waits for that phase, or did. Wrongly set: fatal. A member misses no
//	                  phase, so eight bits tell all that can stand there apart.
//	16      LOST      its member was lost: the barrier breaks, if it is not broken yet, until reset
//	15      SHRUNK    its member was lost, and phases do without it
//	14      JOINING   its owner is no member yet: lost, it leaves the place as it was
//	13..0   owner     lease slot + 1, 0: nobody
//
// A place of nobody that is not SHRUNK is waited for: somebody has to join and arrive.
#ifndef SRC_BARRIER_H
#define SRC_BARRIER_H

#include "src/primitive.h"

#include <leasehold/barrier.h>

#define BARRIER_BROKEN UINT64_C(1)
#define BARRIER_EPOCH_ONE UINT64_C(2)
#define BARRIER_PHASE_SHIFT 21
#define BARRIER_PHASE_ONE (UINT64_C(1) << BARRIER_PHASE_SHIFT)
#define BARRIER_PHASE_MAX (UINT64_MAX >> BARRIER_PHASE_SHIFT)
#define BARRIER_EPOCH_MASK (BARRIER_PHASE_ONE - BARRIER_EPOCH_ONE)

#define PLACE_OWNER_MASK UINT64_C(0x3fff)
#define PLACE_JOINING (UINT64_C(1) << 14)
#define PLACE_SHRUNK (UINT64_C(1) << 15)
#define PLACE_LOST (UINT64_C(1) << 16)
#define PLACE_ARRIVED (UINT64_C(1) << 17)
#define PLACE_PHASE_SHIFT 18
#define PLACE_PHASE_MASK UINT64_C(0xff)
#define PLACE_SEQUENCE_ONE (UINT64_C(1) << 26)
#define PLACE_SEQUENCE_MASK (~(PLACE_SEQUENCE_ONE - 1))

// A barrier as this process may use it.
struct barrier {
	struct lh_arena *arena;
	struct barrier_object *object;
	uint32_t granule;
	uint32_t parties;
	bool shrinks;
};

static inline uint64_t barrier_phase(uint64_t word)
{
	return word >> BARRIER_PHASE_SHIFT;
}

static inline uint64_t barrier_next_epoch(uint64_t word)
{
	return (word & ~BARRIER_EPOCH_MASK) | ((word + BARRIER_EPOCH_ONE) & BARRIER_EPOCH_MASK);
}

static inline uint32_t place_owner(uint64_t place)
{
	return (uint32_t)(place & PLACE_OWNER_MASK); // slot + 1
}

// What a place becomes: `low` with the next sequence.
static inline uint64_t place_next(uint64_t place, uint64_t low)
{
	return (place & PLACE_SEQUENCE_MASK) + PLACE_SEQUENCE_ONE + low;
}

static inline uint64_t place_arrival(uint64_t phase)
{
	return PLACE_ARRIVED | (phase & PLACE_PHASE_MASK) << PLACE_PHASE_SHIFT;
}

static inline bool place_has_arrived(uint64_t place, uint64_t phase)
{
	const uint64_t bits = PLACE_ARRIVED | PLACE_PHASE_MASK << PLACE_PHASE_SHIFT;

	return (place & bits) == place_arrival(phase);
}

struct barrier barrier_of(const lh_barrier *barrier);

// Wakes all who wait at the barrier.
void barrier_wake(const struct barrier *barrier);

// Epoch + 1, and all look again. Nothing if it is broken: reset does that.
void barrier_bump(const struct barrier *barrier);

// The member's place, or -1.
int64_t barrier_find(const struct barrier *barrier, uint32_t name);

// Takes its place from a lost lease: breaks the barrier, or drops the party.
void barrier_drop(const struct barrier *barrier, uint32_t place, const struct lost_lease *lost);

// Judges the owner of a place that was read as `seen`, and clears up behind it if it is lost.
// primitive_judge's results, but never PRIMITIVE_LOST: then -EAGAIN.
int barrier_judge(const struct barrier *barrier, uint32_t place, uint64_t seen,
		  struct primitive_stuck *stuck, uint64_t *until);

// A place that a lease has joined.
struct barrier_place {
	uint32_t index;
	uint64_t was; // PLACE_SHRUNK: phases did without it before; else 0
};

// Joins: 0, -EUSERS, -EOWNERDEAD, -ENOLCK, -ESTALE, -EBADMSG. `record` is what its hold says.
int barrier_join(const struct barrier *barrier, struct lh_lease *lease, uint64_t record,
		 struct barrier_place *ret_place);

// Gives the place up; it is waited for, or as it `was`. 0 or -ESTALE. The hold's record is cleared.
int barrier_leave(const struct barrier *barrier, struct lh_lease *lease,
		  const struct barrier_place *place);

#endif
