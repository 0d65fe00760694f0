// SPDX-License-Identifier: Apache-2.0
//
// Every waiter publishes one edge, {object, sequence, poked}, and then walks: from the object to
// the lease that owns it, from that lease's edge to the next object, and so on. A cycle counts only
// if a second walk finds every owner and edge as the first did: each edge's sequence is fresh with
// every wait, so all of them then stood at the same moment, between the walks. (The double collect
// of Afek et al., "Atomic Snapshots of Shared Memory", JACM 1993.)
//
// What a lease holds that does not wait itself may have to wait all the same: for the thread that
// will let go of it, if that waits with another lease. A lease says so by its session, and a thread
// waits with one lease at a time, so the walk goes on at that one. Both walks read the owner, then
// its session, then the edge of the one that waits, which was stored in the opposite order: session
// before holding, session before waiting. So if both read the same, the thread waited all the time
// between, hence let go of nothing, and whatever else may have had the owner's lease meanwhile had
// its own session there before it owned anything, and was noticed.
//
// Of what a thread holds without having said that it will let go of it, another thread may let go.
// If there is none, nobody does while it waits. So a wait looks, once it lasts, whether its thread
// is the only one of the process, and if so says that in its session, which stays true as long as
// it waits: nobody is there to start another thread. What was stored before a wait's edge says
// nothing of it, and what is read after the same edge twice is of that wait. Whoever stores it
// walks afterwards, as who publishes does.
//
// Whoever sees a cycle, one victim results: the member with the highest slot. Who is not the victim
// pokes it, by CAS of its exact edge, and waits on. Of a cycle's members at least the one that
// published last sees it; sequential consistency of publication and walk makes that so.
#include "src/deadlock.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/keeper.h"
#include "arena/kind.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/reap.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"

#include <errno.h>
#include <stdlib.h>

// Hops from a lease to another of its session, in one walk; each may look at all slots. Cycles with
// more of them are not found.
#define MOST_HOPS 64

// How often a wait looks through all slots: cycles last, and most waits do not. Less than the
// shortest backstop, so that a wait that nothing wakes looks each time.
#define SEARCH_EVERY_NS (WAIT_BACKSTOP_FIRST_NS / 2)

// Whether any wait of the process has a use for being the only thread's.
static _Atomic bool is_unsaid;

uint64_t deadlock_session(bool said)
{
	if (said)
		return process_session();
	if (!atomic_load_explicit(&is_unsaid, memory_order_relaxed))
		atomic_store(&is_unsaid, true);
	return process_session() | SESSION_UNSAID;
}

void deadlock_publish(struct lh_lease *lease, uint32_t granule)
{
	struct lease_slot *slot = lease->slot;
	const uint64_t old = atomic_load_explicit(&slot->edge, memory_order_relaxed);
	const uint64_t sequence = (old + EDGE_SEQUENCE_STEP) & EDGE_SEQUENCE_MASK;
	const uint64_t session = process_session();

	lease->searched_ns = clock_now();
	atomic_store_explicit(&slot->waiting_since, lease->searched_ns, memory_order_relaxed);
	if (session != lease->session)
		atomic_store_explicit(&slot->session, session, memory_order_relaxed);
	atomic_store(&slot->edge, (uint64_t)granule << EDGE_WANTED_SHIFT | sequence);
	atomic_thread_fence(memory_order_seq_cst);
	probe_wait_start(lease, granule);
}

void deadlock_clear(struct lh_lease *lease)
{
	struct lease_slot *slot = lease->slot;
	const uint64_t old = atomic_load_explicit(&slot->edge, memory_order_relaxed);

	atomic_store_explicit(&slot->edge, old & EDGE_SEQUENCE_MASK, memory_order_release);
	if (atomic_load_explicit(&slot->session, memory_order_relaxed) != lease->session)
		atomic_store_explicit(&slot->session, lease->session, memory_order_relaxed);
	if (old >> EDGE_WANTED_SHIFT)
		probe_wait_end(lease, (uint32_t)(old >> EDGE_WANTED_SHIFT));
}

struct step {
	uint32_t slot;
	uint64_t edge;
};

// What one walk does and finds.
struct walk {
	const struct lh_arena *arena;
	struct step first;
	uint64_t now;
	bool poked_too; // who is poked counts as well
	bool searches;  // sessions of others are looked for in all slots
	uint32_t hops;
	uint64_t digest;    // differs if any owner, session or edge does (64-bit FNV-1a)
	struct step victim; // the member with the highest slot
	bool cycle;         // back at the first
	bool alone;         // with nobody else in it
};

static void digest(struct walk *walk, uint64_t value)
{
	walk->digest = (walk->digest ^ value) * UINT64_C(1099511628211);
}

static bool is_waiting(struct step step)
{
	return (step.edge >> EDGE_WANTED_SHIFT) != 0;
}

static struct step step_at(const struct lh_arena *arena, uint32_t slot)
{
	return (struct step){ slot, atomic_load(&arena->leases[slot].edge) };
}

static bool is_live(const struct walk *walk, uint32_t slot)
{
	return lease_state_seen(walk->arena, slot, walk->now) == LH_LEASE_LIVE;
}

// Whether the thread that waits with the session `waits` is who will let go of what has the session
// `holds`.
static bool will_let_go(uint64_t waits, uint64_t holds)
{
	return ((waits ^ holds) & ~SESSION_FLAGS) == 0 &&
	       (!(holds & SESSION_UNSAID) || (waits & SESSION_ALONE));
}

// The lease in `owner` does not wait. Its thread may, with another: that one is where the walk goes
// on.
static bool follow_session(struct walk *walk, uint32_t owner, struct step *ret_next)
{
	const struct lh_arena *arena = walk->arena;
	const uint64_t session = atomic_load(&arena->leases[owner].session);

	if (!session || !is_live(walk, owner))
		return false;
	digest(walk, owner);
	digest(walk, session);
	if (will_let_go(atomic_load(&arena->leases[walk->first.slot].session), session)) {
		*ret_next = step_at(arena, walk->first.slot);
		return true;
	}
	if (!walk->searches || walk->hops++ >= MOST_HOPS)
		return false;
	// A process's leases lie near each other.
	for (uint32_t i = 1; i < arena->lease_count; i++) {
		const uint32_t at = (owner + i) % arena->lease_count;

		// First the edge: the session that is read after it is of that wait, or of a later
		// one, which the second walk notices.
		*ret_next = step_at(arena, at);
		if (is_waiting(*ret_next) &&
		    will_let_go(atomic_load(&arena->leases[at].session), session) &&
		    is_live(walk, at))
			return true;
	}
	return false;
}

// One member further: who owns what `step`'s lease waits for, and what that one waits for. False:
// the chain ends here.
static bool follow(struct walk *walk, const struct step *step, struct step *ret_next)
{
	const struct lh_arena *arena = walk->arena;
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
	*ret_next = step_at(arena, (uint32_t)owner);
	return is_waiting(*ret_next) || follow_session(walk, (uint32_t)owner, ret_next);
}

static void walk_on(struct walk *walk)
{
	struct step step = walk->first;
	uint32_t before = step.slot;

	walk->digest = UINT64_C(14695981039346656037);
	walk->victim = step;
	walk->now = clock_now();
	walk->hops = 0;
	walk->cycle = false;
	for (uint32_t i = 0; i <= walk->arena->lease_count; i++) {
		// A member that is lost lets go by being reaped: no deadlock.
		// One that is poked already is about to give up: to waiters that is no cycle.
		if (!follow(walk, &step, &step) || (!walk->poked_too && (step.edge & EDGE_POKED)) ||
		    !is_live(walk, step.slot))
			return;
		digest(walk, step.slot);
		digest(walk, step.edge);
		if (step.slot > walk->victim.slot)
			walk->victim = step;
		if (step.slot == walk->first.slot) {
			walk->cycle = step.edge == walk->first.edge;
			walk->alone = i == 0;
			return;
		}
		if (step.slot == before) // it waits for its own thread, and we for it
			return;
		before = step.slot;
	}
	// a cycle further on, without the first: its own members see it
}

static bool confirmed_cycle(struct walk *walk)
{
	uint64_t before;

	walk_on(walk);
	if (!walk->cycle)
		return false;
	before = walk->digest;
	atomic_thread_fence(memory_order_seq_cst);
	walk_on(walk);
	return walk->cycle && walk->digest == before;
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

// Whether it is time to look through all slots again.
static bool is_search_due(struct lh_lease *lease)
{
	const uint64_t now = clock_now();

	if (now - lease->searched_ns < SEARCH_EVERY_NS)
		return false;
	lease->searched_ns = now;
	return true;
}

// Says of the wait that its thread is alone, if it is and that was not said before.
static void consider_alone(struct lh_lease *lease)
{
	const uint64_t session = atomic_load_explicit(&lease->slot->session, memory_order_relaxed);

	if ((session & SESSION_ALONE) || !atomic_load(&is_unsaid) || !keeper_caller_is_alone())
		return;
	atomic_store(&lease->slot->session, session | SESSION_ALONE);
	atomic_thread_fence(memory_order_seq_cst);
}

int deadlock_check(struct lh_lease *lease)
{
	struct lh_arena *arena = lease->arena;
	struct walk walk = { .arena = arena,
			     .first = step_at(arena, lease->index),
			     .searches = is_search_due(lease) };
	const uint32_t granule = (uint32_t)(walk.first.edge >> EDGE_WANTED_SHIFT);

	if (walk.first.edge & EDGE_POKED) {
		record(arena, lease->index, granule);
		return -EDEADLK;
	}
	if (walk.searches)
		consider_alone(lease);
	// A thread that waits for itself alone, but not for ever, holds up nobody who would be
	// told.
	if (!confirmed_cycle(&walk) || (walk.alone && !lease->waits_for_ever))
		return 0;
	if (walk.victim.slot == lease->index) {
		record(arena, lease->index, granule);
		return -EDEADLK;
	}
	// The victim's edge as it stood in the cycle: if it has left, nothing happens.
	if (atomic_compare_exchange_strong(&arena->leases[walk.victim.slot].edge, &walk.victim.edge,
					   walk.victim.edge | EDGE_POKED))
		futex_wake(futex_low_half(&arena->leases[walk.victim.slot].edge), FUTEX_ALL);
	return 0;
}

static bool is_cycle_of(const struct lh_arena *arena, uint32_t slot)
{
	struct walk walk = {
		.arena = arena, .first = step_at(arena, slot), .poked_too = true, .searches = true
	};

	return is_waiting(walk.first) && confirmed_cycle(&walk);
}

// For each lease, whom a look went on to: who waits for one waits for one, so each is gone on from
// but once, and the cycles have no member in common.
struct map {
	const struct lh_arena *arena;
	uint32_t *reached_by; // which look came here first, from 1; 0: none
	uint32_t *next;
	bool *members;
};

static void look_from(struct map *map, uint32_t slot)
{
	struct walk walk = { .arena = map->arena,
			     .first = step_at(map->arena, slot),
			     .now = clock_now(),
			     .searches = true };
	struct step step = walk.first;
	const uint32_t look = slot + 1;

	if (!is_waiting(step))
		return;
	while (!map->reached_by[step.slot]) {
		const uint32_t at = step.slot;

		map->reached_by[at] = look;
		walk.hops = 0;
		if (!follow(&walk, &step, &step))
			return;
		map->next[at] = step.slot;
	}
	if (map->reached_by[step.slot] != look || !is_cycle_of(map->arena, step.slot))
		return;
	for (uint32_t at = step.slot; !map->members[at]; at = map->next[at])
		map->members[at] = true;
}

bool *deadlock_members(const struct lh_arena *arena)
{
	struct map map = { .arena = arena,
			   .reached_by = calloc(arena->lease_count, sizeof(uint32_t)),
			   .next = calloc(arena->lease_count, sizeof(uint32_t)),
			   .members = calloc(arena->lease_count, sizeof(bool)) };

	if (map.reached_by && map.next && map.members) {
		for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
			if (!map.reached_by[slot])
				look_from(&map, slot);
		}
	} else {
		free(map.members);
		map.members = NULL;
	}
	free(map.reached_by);
	free(map.next);
	return map.members;
}
