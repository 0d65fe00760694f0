// SPDX-License-Identifier: Apache-2.0
//
// deadlock.h: who waits for whom, and breaking a cycle of it.
#ifndef SRC_DEADLOCK_H
#define SRC_DEADLOCK_H

#include "arena/lease.h"

// The session of what the calling thread is about to hold. `said`: that it will let go of it, no
// other; else that counts while it is the only thread of its process.
uint64_t deadlock_session(bool said);

// Publishes that the lease waits for the object: a fresh edge. From now on others walk over it.
void deadlock_publish(struct lh_lease *lease, uint32_t granule);
// It waits no more.
void deadlock_clear(struct lh_lease *lease);

// Looks for a cycle through the lease's published edge. -EDEADLK: the lease is the one to give up,
// by its own finding or another's; 0: wait (on the edge too: a poke means look again).
int deadlock_check(struct lh_lease *lease);

// Read-only, for the inspector: for each slot whether its lease waits in a cycle. To be freed; NULL:
// no memory.
bool *deadlock_members(const struct lh_arena *arena);

#endif
