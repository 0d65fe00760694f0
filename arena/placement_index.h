// SPDX-License-Identifier: Apache-2.0
//
// placement_index.h: which placement an offset lies in, for those who ask it of many: a sorted copy
// of the directory in private memory, which is taken again when it has grown old.
#ifndef ARENA_PLACEMENT_INDEX_H
#define ARENA_PLACEMENT_INDEX_H

#include "arena/placement.h"

struct placement_index;

// NULL: no memory.
struct placement_index *placement_index_make(void);
void placement_index_free(struct placement_index *index);

// The placement that has the object at `offset`, half-placed ones included; false: none. May be
// called by any thread at any time. Of what is placed while others look it may say none, for
// microseconds to milliseconds, once it has had to look for more that is nowhere than anybody has.
bool placement_of(const struct lh_arena *arena, uint64_t offset, struct placement_copy *ret_copy);

#endif
