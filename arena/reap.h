// SPDX-License-Identifier: Apache-2.0
//
// reap.h: judging a lease, latching its loss, and clearing up behind it.
#ifndef ARENA_REAP_H
#define ARENA_REAP_H

#include "arena/kind.h"

#include <leasehold/inspect.h>

enum verdict {
	VERDICT_HELD,  // its owner has it, and it has not expired
	VERDICT_LOST,  // latched EXPIRED or DEAD: what it names may be taken
	VERDICT_DYING, // lost, but what it holds may be taken only at its owner's end, which is sure
	// (killed on expiry; a process that is ending): ask again soon
	VERDICT_GONE, // the slot is free or another's by now: look at the object again
};

// Judges the lease in a slot that an object's word names, latching a loss. The word must have been
// read before.
enum verdict lease_judge(struct lh_arena *arena, uint32_t slot, struct lost_lease *ret_lost);

// The same for who wants nothing of what it holds, and so kills nobody for it.
enum verdict lease_judge_gently(struct lh_arena *arena, uint32_t slot, struct lost_lease *ret_lost);
// Latches the lease with that id EXPIRED though its time is not up, if it is live and has a TTL.
void lease_expire(struct lh_arena *arena, uint32_t slot, uint64_t id);

// The same without writing anything: what lh_next_lease shows (enum lh_lease_state); 0: free.
uint32_t lease_state_seen(const struct lh_arena *arena, uint32_t slot, uint64_t now);

// Whether that is the state of a lost lease.
static inline bool lease_seen_lost(uint32_t seen)
{
	return seen == LH_LEASE_DEAD || seen == LH_LEASE_EXPIRED;
}

// Whether the lost lease still has the word that it was judged by.
bool lease_still_lost(const struct lh_arena *arena, const struct lost_lease *lost);

// Has the pages of which the reaper of this lease reads or writes a part that no other call does,
// mapped in this process. Each that it has not touched yet is a page fault, at a death, while
// others wait; to who is about to sleep that costs nothing.
void reap_foresee(const struct lh_arena *arena, uint32_t slot);

// Frees all it holds; if it is DEAD, its slot too. Idempotent; any number of reapers may run, die
// and be overtaken.
void reap_lease(struct lh_arena *arena, const struct lost_lease *lost);

// Judges and reaps every lease of an owner that has ended.
void reap_owner(struct lh_arena *arena, uint64_t ref);

// Judges and reaps whatever occupies a slot; whether the slot is free afterwards.
bool reap_slot(struct lh_arena *arena, uint32_t slot);

// Judges and reaps every slot.
struct reaped {
	uint32_t freed; // slots of lost leases that are free now
	uint32_t left;  // those that are not: of owners that run
};
struct reaped reap_all(struct lh_arena *arena);

#endif
