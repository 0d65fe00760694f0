// SPDX-License-Identifier: Apache-2.0
//
// condvar.h: what condvar.c (the handle, signalling, clearing up) and condvar_wait.c (the wait)
// know of each other. docs/protocol/condvar.md has the steps, tests/model/condvar.pml is the model.
//
// Who waits says so in its own lease: `condition` names the condvar, `ticket` its place. A signal
// marks the waiter with the lowest ticket, by CAS of its exact `condition`, and wakes it: so there
// is nothing that a dead waiter could take along but a mark in its own lease, which whoever clears
// up behind it hands on. The mark stays until the mutex is held again. A waiter watches the lives
// of those before it: the nearest one that still sleeps, and whoever is between and no longer does.
//
// The object's word, 64 bits:
//
//	63..32  arrivals  counts waits; the ticket of the last one. Compared by signed difference, so
//	                  the order is lost if one wait outlasts 2^31 others.
//	31..0   groups    bit n: somebody may wait whose lease slot is in the n-th of 32 equal parts of
//	                  the lease table. Wrongly set: needless looks. Wrongly clear: fatal. Cleared
//	                  only by CAS of a word that was read before the group was looked through, so
//	                  that an arrival since then makes it fail.
#ifndef SRC_CONDVAR_H
#define SRC_CONDVAR_H

#include "arena/reap.h"
#include "src/primitive.h"

#include <leasehold/condvar.h>

#define CONDVAR_GROUPS 32u
#define CONDVAR_GROUPS_MASK UINT64_C(0xffffffff)
#define CONDVAR_ARRIVAL (UINT64_C(1) << 32)
#define CONDVAR_TICKET_SHIFT 32
#define CONDVAR_NOBODY UINT32_MAX

// One condvar in one arena.
struct condvar {
	struct lh_arena *arena;
	struct object_header *header;
	uint32_t granule;
};

// A walk over those who wait for it.
struct condvar_walk {
	uint64_t word;      // of the object, read before all else
	uint32_t next;      // slot
	uint32_t slot;      // the present one
	uint64_t condition; // and what it says
	uint32_t seen;      // groups in which somebody waits
};

static inline struct condvar condvar_of(const lh_condvar *condvar)
{
	return (struct condvar){ .arena = primitive_arena(condvar->private_),
				 .header = primitive_header(condvar->private_),
				 .granule = primitive_granule(condvar->private_) };
}

static inline uint32_t condvar_group_size(const struct lh_arena *arena)
{
	return (arena->lease_count + CONDVAR_GROUPS - 1) / CONDVAR_GROUPS;
}

static inline bool condvar_is_wanted(const struct condvar *condvar, uint64_t condition)
{
	return condition >> CONDITION_WANTED_SHIFT == condvar->granule;
}

static inline bool condvar_is_same_wait(uint64_t one, uint64_t other)
{
	const uint64_t flags = CONDITION_MARK | CONDITION_AWAKE | CONDITION_QUEUED;

	return (one & ~flags) == (other & ~flags);
}

struct condvar_walk condvar_walk_begin(const struct condvar *condvar);
bool condvar_walk_next(const struct condvar *condvar, struct condvar_walk *walk);

// The lease in the slot has been lost, or its user leaves without the mutex: ends its wait, and
// hands a signal that was for it on. `condition` was read before that was known. `caller`: the slot
// of a lease whose user calls this, and so need not be woken if the signal is now its own;
// CONDVAR_NOBODY: no such lease.
void condvar_hand_on(const struct condvar *condvar, uint32_t slot, uint64_t condition,
		     uint32_t caller);

#endif
