// SPDX-License-Identifier: Apache-2.0
//
// kind.h: what the arena must be able to do with an object that a lease's hold table names, without
// knowing what it is. Each primitive has one such table; src/kinds.c lists them.
#ifndef ARENA_KIND_H
#define ARENA_KIND_H

#include "arena/arena.h"
#include "arena/lease.h"

struct lh_object_info; // leasehold/inspect.h

struct hold_view {
	uint64_t token;
	uint32_t mode;  // enum lh_hold_mode
	uint32_t count; // how many, if the object knows better than the record; else 0
	bool damaged;
};

// A lost lease, for those who clear up behind it.
struct lost_lease {
	uint32_t slot;
	uint64_t state; // the exact word, EXPIRED or DEAD, under which `id` was read
	uint64_t id;
	uint64_t owner;
};

struct kind_ops {
	// Frees the object from the lost lease if it names it; else wakes whom the lost one, dying
	// between freeing and waking, may have left asleep. Only by CAS from values read before
	// lease_still_lost() said true. Whether others may have queued behind the lease.
	bool (*reap)(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);
	// Unlocks it for its user's lh_lease_release and clears the record. 0; -ESTALE; -EBADMSG.
	int (*release)(struct lh_lease *lease, struct hold_record *record);
	// Slot of the lease that must let go of it before others get it, or -1.
	int64_t (*owner)(const struct lh_arena *arena, uint32_t granule);
	// For deadlock detection, or NULL: of a lease that is that owner already and still waits (a
	// writer for readers), the slot of one that must let go before, or -1. Never one that
	// itself waits for the object and so does not hold it.
	int64_t (*awaited)(const struct lh_arena *arena, uint32_t granule, uint32_t slot);
	// Likewise, or NULL: whether that owner lets pass who waits in `slot`, who has only not
	// noticed yet.
	bool (*passes)(const struct lh_arena *arena, uint32_t granule, uint32_t owner,
		       uint32_t slot);
	// What the record means now.
	void (*view)(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		     struct hold_view *ret_view);
	// What an object says of itself, whoever holds it: token, damage, …, into *info, where its
	// place and data_size stand already. The header's kind has been compared. False: it is
	// damaged. NULL: it says nothing.
	bool (*look)(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info);
	// Whether anybody holds it or waits for it.
	bool (*busy)(const struct lh_arena *arena, uint32_t granule);
	// Bytes from one element of an array to the next. NULL: there are no arrays of it.
	uint64_t (*stride)(uint64_t data_size);
	// The audit of what `owner` does not tell: calls `report` (enum lh_check) for each finding,
	// until it hears that this is enough (false). Looks at no more than `size` bytes, which are
	// the object's placement's: that bounds the work, whatever the object says of itself. NULL:
	// nothing more to see. The header's kind has been compared.
	void (*audit)(const struct lh_arena *arena, uint32_t granule, uint64_t size,
		      bool (*report)(void *context, int severity, uint64_t offset,
				     const char *text),
		      void *context);
};

extern const struct kind_ops region_ops; // region.c

// NULL: no such kind.
const struct kind_ops *kind_ops(uint32_t kind);

// Objects of a placement, each `*ret_stride` bytes after the one before: as many as it says, but
// none beyond its end, whatever the directory says.
static inline uint32_t kind_elements(const struct kind_ops *ops, uint64_t size, uint64_t data_size,
				     uint32_t count, uint64_t *ret_stride)
{
	const uint64_t stride = ops->stride ? ops->stride(data_size) : 0;
	const uint64_t most = stride ? size / stride : 0;

	*ret_stride = stride;
	if (count <= 1 || most <= 1)
		return 1;
	return count < most ? count : (uint32_t)most;
}

#endif
