// SPDX-License-Identifier: Apache-2.0
//
// arena.h: this process's view of a mapped arena. Everything but `base`'s target is private memory
// and, after opening, constant unless said otherwise.
#ifndef ARENA_ARENA_H
#define ARENA_ARENA_H

#include "arena/layout.h"

#include <leasehold/arena.h>
#include <leasehold/inspect.h>

#include <sys/types.h>
#include <urcu/rculfhash.h>

#define GRANULE_NONE 0u

struct lh_arena {
	uint8_t *base;
	uint64_t size;
	struct arena_header *header;
	struct owner_entry *owners;
	struct lease_slot *leases;
	struct hold_record *holds;
	struct directory_entry *entries;
	struct event_record *events;
	uint64_t user_offset, user_end;
	uint32_t owner_count, lease_count, holds_per_lease, entry_count, event_count;
	uint32_t max_holds;  // what one lease may hold; holds_per_lease rounds it up
	uint32_t hold_lines; // of a hold table, a power of two
	bool plain_fences, read_only;

	int fd;                      // close-on-exec
	uint32_t attach;             // the byte that this process has locked
	_Atomic uint64_t alone;      // process_generation() while a thread has the gate for itself
	_Atomic uint32_t lease_hint; // where to look for a free slot first
	_Atomic uint32_t owner_hint;
	_Atomic uint64_t *process_leases; // by slot: owner_ref of a lease of this process, 0: none

	struct placement_index *index; // for those who look (arena/placement_index.h)
	_Atomic uint64_t named_ns;     // when it still had its name (arena_check_name)
	_Atomic bool pinned; // a liveness mutex could not be unlocked: libc's list leads into it
	int child_fd; // while this process forks: the child's own, with its attach byte; -1: none
	uint32_t child_attach;
	uint64_t serial;     // different in each lh_arena this process ever had
	uint32_t references; // opens; protected by the registry's mutex, like the rest
	dev_t device;
	ino_t inode;
	struct cds_lfht_node node;
};

static inline uint32_t arena_granule(uint64_t offset)
{
	return (uint32_t)(offset / LAYOUT_LINE);
}

// The offset that a granule read from shared memory names if [it, it + size) lies in the user's
// space, else 0.
static inline uint64_t arena_user_offset(const struct lh_arena *arena, uint32_t granule,
					 uint64_t size)
{
	const uint64_t offset = (uint64_t)granule * LAYOUT_LINE;

	if (offset < arena->user_offset || offset >= arena->user_end ||
	    arena->user_end - offset < size)
		return 0;
	return offset;
}

static inline struct object_header *arena_object(const struct lh_arena *arena, uint32_t granule)
{
	const uint64_t offset = arena_user_offset(arena, granule, LAYOUT_LINE);

	return offset ? (struct object_header *)(arena->base + offset) : NULL;
}

static inline struct hold_record *arena_hold_table(const struct lh_arena *arena, uint32_t slot)
{
	return arena->holds + (size_t)slot * arena->holds_per_lease;
}

// Whether another open file than ours has the attach byte `attach` locked: its process lives.
bool arena_attached(const struct lh_arena *arena, uint32_t attach);
// Whether any other process has the arena open.
bool arena_shared(const struct lh_arena *arena);
// 0, or -ESTALE once it has no name any more: at once after lh_arena_unlink, and a millisecond
// after another unlink(2). The kernel is asked no more often than that (docs/decisions/0019).
int arena_check_name(struct lh_arena *arena, uint64_t now);
// 0, or -EPROTONOSUPPORT in a child that was forked into another time namespace.
int arena_check_clock(const struct lh_arena *arena);

void arena_before_fork(void);
void arena_after_fork_in_parent(void);
void arena_after_fork(void);

#endif
