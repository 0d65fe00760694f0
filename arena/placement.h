// SPDX-License-Identifier: Apache-2.0
//
// placement.h: what stands where in the user's space.
#ifndef ARENA_PLACEMENT_H
#define ARENA_PLACEMENT_H

#include "arena/arena.h"
#include "arena/owner.h"

struct placement {
	uint64_t offset; // LH_ANYWHERE: the library's choice
	uint64_t size;   // a multiple of LAYOUT_LINE
	uint64_t data_size;
	uint32_t kind, count, flags, parameter;
	uint64_t lease;   // leased regions: the lease's id
	const char *name; // NULL: none
};

// Creates the placement or attaches to the equal one (not for leased ones). `prepare` makes the
// zeroed bytes ready, before anybody can find them; NULL: zeroes will do. The offset goes to
// *ret_offset, the entry's index to *ret_entry (may be NULL).
int placement_at(struct lh_arena *arena, const struct placement *wanted,
		 void (*prepare)(void *bytes, const struct placement *placement),
		 uint64_t *ret_offset, uint32_t *ret_entry);

// A leased region's two steps, so that its hold record can be written between them: its entry is
// claimed (CLAIM, revocable, naming the lease); then it is made READY, or given up. -EAGAIN: a
// rival took the place, begin again.
struct placement_claim {
	uint32_t entry;
	uint64_t state;
	uint64_t offset;
	struct thread_arena *placer;
};
int placement_claim(struct lh_arena *arena, const struct placement *wanted,
		    struct placement_claim *ret_claim);
int placement_settle(struct lh_arena *arena, const struct placement_claim *claim, bool confirm);

// READY → FREE of the exact state; -EAGAIN: it has changed.
int placement_remove(struct lh_arena *arena, uint32_t entry, uint64_t state);

// Frees the entry if it is a leased region of this lease. Whether it did.
bool placement_return(struct lh_arena *arena, uint32_t entry, uint64_t lease);
// The entry of a region of this lease that begins at offset, or -1.
int64_t placement_of_lease(const struct lh_arena *arena, uint64_t offset, uint64_t lease);

// A copy of a directory entry, consistent in itself. False: the entry is free, in draft, changing,
// or not what the library writes.
struct placement_copy {
	uint64_t state;
	struct placement placement; // its name points into `name`
	char name[LAYOUT_NAME_SIZE];
};
bool placement_read(const struct lh_arena *arena, uint32_t entry, struct placement_copy *ret_copy);
// Whether that is because the library does not write such an entry; placement_damage: the error.
bool placement_damaged(const struct lh_arena *arena, uint32_t entry);
int placement_damage(uint32_t entry);
// 0, or -EINVAL: empty or too long.
int placement_check_name(const char *name);
static inline enum entry_phase placement_phase(uint64_t state)
{
	return (enum entry_phase)(state >> ENTRY_PHASE_SHIFT);
}
// Frees what dead placers left half-made; how many entries.
uint32_t placement_sweep(struct lh_arena *arena);
// How many entries have ever been used.
uint32_t placement_bound(const struct lh_arena *arena);
// Whether who was placing it has ended.
bool placement_abandoned(const struct lh_arena *arena, uint64_t state);

#endif
