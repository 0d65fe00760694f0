// SPDX-License-Identifier: Apache-2.0
//
// event.h: the ring of recoveries.
#ifndef ARENA_EVENT_H
#define ARENA_EVENT_H

#include "arena/kind.h"

// Records what happened to a lost lease's holding at `offset` (0: to the lease itself).
void event_record(struct lh_arena *arena, enum lh_event_kind kind, const struct lost_lease *lost,
		  uint64_t offset, uint64_t token);

#endif
