// SPDX-License-Identifier: Apache-2.0
//
// Every waiter publishes one edge, {object, sequence, poked}, and then walks: from the object to
// the lease that owns it, from that lease's edge to the next object, and so on. A cycle counts only
// if a second walk finds every owner and edge as the first did: each edge's sequence is fresh with
// every wait, so all of them then stood at the same moment, between the walks. (The double collect
// of Afek et al., "Atomic Snapshots of Shared Memory", JACM 1993.)
//
// Whoever sees a cycle, one victim results: the member with the highest slot. Who is not the victim
// pokes it, by CAS of its exact edge, and waits on. Of a cycle's members at least the one that
// published last sees it; sequential consistency of publication and walk makes that so.
#include "src/deadlock.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/kind.h"
#include "arena/owner.h"
#include "arena/reap.h"
#include "arena/sys/futex.h"
#include "arena/sys/clock.h"

#include <errno.h>

void deadlock_publish(struct lh_lease *lease, uint32_t granule)
{
	struct lease_slot *slot = lease->slot;
	const uint64_t old = atomic_load_explicit(&slot->edge, memory_order_relaxed);
	const uint64_t sequence = (old + EDGE_SEQUENCE_STEP) & EDGE_SEQUENCE_MASK;

	atomic_store_explicit(&slot->waiting_since, clock_now(), memory_order_relaxed);
	atomic_store(&slot->edge, (uint64_t)granule << EDGE_WANTED_SHIFT | sequence);
	atomic_thread_fence(memory_order_seq_cst);
}

void deadlock_clear(struct lh_lease *lease)
{
	const uint64_t old = atomic_load_explicit(&lease->slot->edge, memory_order_relaxed);

	atomic_store_explicit(&lease->slot->edge, old & EDGE_SEQUENCE_MASK, memory_order_release);
}

struct step {
	uint32_t slot;
	uint64_t edge;
};

// One member further: who owns what `step`'s lease waits for, and what that one waits for. False:
// the chain ends here.
static bool follow(const struct lh_arena *arena, const struct step *step, struct step *ret_next)
{
	const uint32_t granule = (uint32_t)(step->edge >> EDGE_WANTED_SHIFT);
	const struct object_header *header = arena_object(arena, granule);
	const struct kind_ops *ops = header ? kind_ops(header->kind) : NULL;
	int64_t owner;

	if (!ops || !ops->owner)
		return false;
	owner = ops->owner(arena, granule);
	if (owner == step->slot && ops->awaited)
		owner = ops->awaited(arena, granule, step->slot);
	// One that has been granted what it wanted a moment ago has its edge still.
	if (owner < 0 || owner >= (int64_t)arena->lease_count || owner == step->slot)
		return false;
	if (ops->passes && ops->passes(arena, granule, (uint32_t)owner, step->slot))
		return false;
	ret_next->slot = (uint32_t)owner;
	ret_next->edge = atomic_load(&arena->leases[owner].edge);
	return (ret_next->edge >> EDGE_WANTED_SHIFT) != 0;
}

// What one walk found.
struct collect {
	bool cycle;         // back at the first
	uint64_t digest;    // differs if any owner or edge does (64-bit FNV-1a)
	struct step victim; // the member with the highest slot
};

static struct collect walk(const struct lh_arena *arena, struct step first, bool poked_too)
{
	const uint64_t now = clock_now();
	struct collect seen = { false, UINT64_C(14695981039346656037), first };
	struct step step = first;

	for (uint32_t i = 0; i <= arena->lease_count; i++) {
		// A member that is lost lets go by being reaped: no deadlock.
		// One that is poked already is about to give up: to waiters that is no cycle.
		if (!follow(arena, &step, &step) || (!poked_too && (step.edge & EDGE_POKED)) ||
		    lease_state_seen(arena, step.slot, now) != LH_LEASE_LIVE)
			return seen;
		seen.digest = (seen.digest ^ step.slot) * UINT64_C(1099511628211);
		seen.digest = (seen.digest ^ step.edge) * UINT64_C(1099511628211);
		if (step.slot > seen.victim.slot)
			seen.victim = step;
		if (step.slot == first.slot) {
			seen.cycle = step.edge == first.edge;
			return seen;
		}
	}
	return seen; // a cycle further on, without the first: its own members see it
}

static bool confirmed_cycle(const struct lh_arena *arena, struct step first, bool poked_too,
			    struct step *ret_victim)
{
	const struct collect before = walk(arena, first, poked_too);
	struct collect after;

	if (!before.cycle)
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	after = walk(arena, first, poked_too);
	*ret_victim = after.victim;
	return after.cycle && after.digest == before.digest;
}

static void record(struct lh_arena *arena, uint32_t slot, uint32_t granule)
{
	const struct lost_lease member = {
		.slot = slot,
		.id = atomic_load(&arena->leases[slot].id),
		.owner = atomic_load(&arena->leases[slot].owner),
	};

	event_record(arena, LH_EVENT_DEADLOCK, &member, (uint64_t)granule * LAYOUT_LINE, 0);
}

int deadlock_check(struct lh_lease *lease)
{
	struct lh_arena *arena = lease->arena;
	const struct step first = { lease->index, atomic_load(&lease->slot->edge) };
	const uint32_t granule = (uint32_t)(first.edge >> EDGE_WANTED_SHIFT);
	struct step victim;

	if (first.edge & EDGE_POKED) {
		record(arena, lease->index, granule);
		return -EDEADLK;
	}
	if (!confirmed_cycle(arena, first, false, &victim))
		return 0;
	if (victim.slot == lease->index) {
		record(arena, lease->index, granule);
		return -EDEADLK;
	}
	// The victim's edge as it stood in the cycle: if it has left, nothing happens.
	if (atomic_compare_exchange_strong(&arena->leases[victim.slot].edge, &victim.edge,
					   victim.edge | EDGE_POKED))
		futex_wake(futex_low_half(&arena->leases[victim.slot].edge), FUTEX_ALL);
	return 0;
}

bool deadlock_seen(const struct lh_arena *arena, uint32_t slot)
{
	const struct step first = { slot, atomic_load(&arena->leases[slot].edge) };
	struct step victim;

	return (first.edge >> EDGE_WANTED_SHIFT) != 0 &&
	       confirmed_cycle(arena, first, true, &victim);
}
