// SPDX-License-Identifier: Apache-2.0
//
// geometry.h: where the tables of an arena lie, computed in one place for creator and opener.
#ifndef ARENA_GEOMETRY_H
#define ARENA_GEOMETRY_H

#include "arena/arena.h"

// The flags that an arena can have been created with.
#define GEOMETRY_FLAGS                                                                             \
	(LH_ARENA_HUGE_PAGES | LH_ARENA_LOCKED | LH_ARENA_NUMA_INTERLEAVE | LH_ARENA_PLAIN_FENCES)

// Fills a header for these options (already checked and defaulted); 0 or -EINVAL if too large.
int geometry_plan(const struct lh_arena_options *options, struct arena_header *ret_header);

// Whether the header, a private copy, is one that geometry_plan makes; the object has `size`
// bytes. 0, -EPROTONOSUPPORT or -EBADMSG, with a detail.
int geometry_check(const struct arena_header *header, uint64_t size);

// The same of the header that stands in the object; *ret_header is that copy.
int geometry_read(int fd, uint64_t size, struct arena_header *ret_header);

// Sets the arena's private copy of it; base is mapped.
void geometry_apply(struct lh_arena *arena, const struct arena_header *header);

#endif
