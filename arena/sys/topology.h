// SPDX-License-Identifier: Apache-2.0
//
// topology.h: NUMA placement through hwloc, which is loaded when first asked for: its start costs
// milliseconds, and most arenas want none of it.
#ifndef ARENA_SYS_TOPOLOGY_H
#define ARENA_SYS_TOPOLOGY_H

#include <stddef.h>

// Spreads the pages of [address, address + size) over all NUMA nodes. 0 or -ENOTSUP.
int topology_interleave(void *address, size_t size);

#endif
