// SPDX-License-Identifier: Apache-2.0
//
// probe.h: points that tracers see (USDT, <sys/sdt.h>), of the provider `leasehold`;
// docs/debugging.md lists them with their arguments. Each is one nop and a note in the ELF file.
// They stand where somebody waits, is lost or is cleared up behind, and never where a free lock is
// taken or let go (tests/cli/test_probes.sh looks). Without LEASEHOLD_PROBES nothing is left of
// them.
//
// An arena is told by its file's inode: the same in all processes. Times are of CLOCK_MONOTONIC, as
// bpftrace's nsecs, so that nothing here reads a clock.
#ifndef ARENA_PROBE_H
#define ARENA_PROBE_H

#include "arena/lease.h"

#ifdef LEASEHOLD_PROBES
#include <sys/sdt.h>
#define PROBE4(name, arena, second, third, fourth)                                                 \
	DTRACE_PROBE4(leasehold, name, (uint64_t)(arena)->inode, (uint64_t)(second),               \
		      (uint64_t)(third), (uint64_t)(fourth))
#define PROBE5(name, arena, second, third, fourth, fifth)                                          \
	DTRACE_PROBE5(leasehold, name, (uint64_t)(arena)->inode, (uint64_t)(second),               \
		      (uint64_t)(third), (uint64_t)(fourth), (uint64_t)(fifth))
#else
#define PROBE4(name, arena, second, third, fourth)                                                 \
	((void)(arena), (void)(second), (void)(third), (void)(fourth))
#define PROBE5(name, arena, second, third, fourth, fifth)                                          \
	((void)(arena), (void)(second), (void)(third), (void)(fourth), (void)(fifth))
#endif

static inline uint64_t probe_waiting_since(const struct lh_lease *lease)
{
	return atomic_load_explicit(&lease->slot->waiting_since, memory_order_relaxed);
}

// The lease has begun to wait for the object, or has stopped.
static inline void probe_wait_start(const struct lh_lease *lease, uint32_t granule)
{
	PROBE5(wait__start, lease->arena, (uint64_t)granule * LAYOUT_LINE, lease->index, lease->id,
	       probe_waiting_since(lease));
}

static inline void probe_wait_end(const struct lh_lease *lease, uint32_t granule)
{
	PROBE5(wait__end, lease->arena, (uint64_t)granule * LAYOUT_LINE, lease->index, lease->id,
	       probe_waiting_since(lease));
}

// What it has waited for is granted.
static inline void probe_grant(const struct lh_lease *lease, uint32_t granule, uint64_t token)
{
	PROBE5(grant, lease->arena, (uint64_t)granule * LAYOUT_LINE, lease->index, token,
	       probe_waiting_since(lease));
}

// Somebody has seen that the lease's time has passed, and it is lost.
static inline void probe_expiry(const struct lh_arena *arena, uint32_t slot, uint64_t state)
{
	PROBE4(expiry, arena, slot,
	       atomic_load_explicit(&arena->leases[slot].id, memory_order_relaxed),
	       lease_word_expiry(state));
}

// The user of the lease is told that it is lost.
static inline void probe_loss(const struct lh_arena *arena, uint32_t slot, uint64_t id)
{
	PROBE4(loss, arena, slot, id,
	       lease_word_state(
		       atomic_load_explicit(&arena->leases[slot].state, memory_order_relaxed)));
}

#endif
