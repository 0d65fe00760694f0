// SPDX-License-Identifier: Apache-2.0
//
// The order that everything here keeps: the object's word, then the lease's state, then the
// owner's liveness; then the exact state by CAS. What is read later never makes a value that was
// read earlier more lost than it was.
#include "arena/reap.h"

#include "arena/event.h"
#include "arena/hold.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/sys/futex.h"

#include <errno.h>
#include <unistd.h>

bool lease_still_lost(const struct lh_arena *arena, const struct lost_lease *lost)
{
	return atomic_load_explicit(&arena->leases[lost->slot].state, memory_order_acquire) ==
	       lost->state;
}

// Fills *ret_lost for the exact state word; false if the slot has moved on meanwhile.
static bool read_lost(const struct lh_arena *arena, uint32_t slot, uint64_t state,
		      struct lost_lease *ret_lost)
{
	const struct lease_slot *lease = &arena->leases[slot];
	struct lost_lease lost = {
		.slot = slot,
		.state = state,
		.id = atomic_load_explicit(&lease->id, memory_order_acquire),
		.owner = atomic_load_explicit(&lease->owner, memory_order_acquire),
	};

	if (!lease_still_lost(arena, &lost))
		return false;
	*ret_lost = lost;
	return true;
}

// Dying takes a while, during which every taker looks and kills again; one tells.
static bool kill_is_told(const struct lh_arena *arena, uint64_t lease)
{
	struct lh_event_info event;
	uint64_t cursor = 0;

	while (lh_next_event(arena, &cursor, &event) == 0) {
		if (event.kind == LH_EVENT_KILLED && event.lease == lease)
			return true;
	}
	return false;
}

// Whether it is this lease that its owner still has.
static bool is_still_owned(const struct lh_arena *arena, const struct lost_lease *lost)
{
	return lease_still_lost(arena, lost) &&
	       atomic_load(&arena->leases[lost->slot].owner) == lost->owner;
}

// The owner consented to be killed once its lease has expired. Whether it has ended. Finding the
// process takes a while, in which it may have released the lease: then it is not killed. Between
// that look and the signal it may still do so, and is killed for a lease that it has just given
// back; the pidfd keeps it to the process that was the lease's owner.
static bool kill_owner(struct lh_arena *arena, const struct lost_lease *lost)
{
	PROCESS_NO_CANCEL;
	struct identity identity;
	int pidfd;

	if (owner_ended(arena, lost->owner))
		return true;
	if (!owner_identity(arena, lost->owner, &identity))
		return owner_ended(arena, lost->owner);
	pidfd = identity_open(&identity);
	if (pidfd < 0)
		return owner_ended(arena, lost->owner); // not ours to signal: its end is waited for
	if (!identity_gone(pidfd) && !owner_ended(arena, lost->owner) &&
	    is_still_owned(arena, lost) && identity_kill(pidfd) == 0 &&
	    !kill_is_told(arena, lost->id))
		event_record(arena, LH_EVENT_KILLED, lost, 0, 0);
	close(pidfd);
	return owner_ended(arena, lost->owner);
}

// Before read_lost: only if that finds the same state afterwards, these are this tenant's.
static bool kills_on_expiry(const struct lease_slot *lease)
{
	return atomic_load_explicit(&lease->flags, memory_order_acquire) & LH_LEASE_KILL_ON_EXPIRY;
}

// CAS of the exact word; true if this call made the change.
static bool latch(struct lh_arena *arena, uint32_t slot, uint64_t from, enum lease_state to)
{
	return atomic_compare_exchange_strong(&arena->leases[slot].state, &from,
					      lease_word_with(from, to));
}

static enum verdict judge_once(struct lh_arena *arena, uint32_t slot, bool wanted,
			       struct lost_lease *ret_lost)
{
	struct lease_slot *lease = &arena->leases[slot];
	const uint64_t state = atomic_load_explicit(&lease->state, memory_order_acquire);
	const uint64_t owner = atomic_load_explicit(&lease->owner, memory_order_acquire);
	enum owner_life life = OWNER_LIVES;
	struct lost_lease lost;
	bool kills;

	if (lease_word_state(state) == LEASE_FREE)
		return VERDICT_GONE;
	if (lease_word_state(state) != LEASE_DEAD)
		life = owner_life(arena, owner);
	if (life == OWNER_HAS_ENDED) {
		if (latch(arena, slot, state, LEASE_DEAD) &&
		    read_lost(arena, slot, lease_word_with(state, LEASE_DEAD), &lost))
			event_record(arena, LH_EVENT_OWNER_DIED, &lost, 0, 0);
		return VERDICT_GONE;
	}
	if (lease_word_state(state) == LEASE_LIVE) {
		if (lease_word_expiry(state) == UINT64_MAX ||
		    clock_now() < lease_word_expiry(state))
			return life == OWNER_ENDS ? VERDICT_DYING : VERDICT_HELD;
		if (latch(arena, slot, state, LEASE_EXPIRED) &&
		    read_lost(arena, slot, lease_word_with(state, LEASE_EXPIRED), &lost)) {
			event_record(arena, LH_EVENT_EXPIRED, &lost, 0, 0);
			probe_expiry(arena, slot, state);
		}
		return VERDICT_GONE;
	}
	kills = lease_word_state(state) == LEASE_EXPIRED && kills_on_expiry(lease);
	if (!read_lost(arena, slot, state, &lost))
		return VERDICT_GONE;
	if (!kills) {
		*ret_lost = lost;
		return VERDICT_LOST;
	}
	// Once it has ended: DEAD is latched next time.
	return wanted && kill_owner(arena, &lost) ? VERDICT_GONE : VERDICT_DYING;
}

// A latch changes the word; then it is judged anew, at most FREE → LIVE → EXPIRED → DEAD. Who wants
// nothing of what it holds kills nobody for it.
static enum verdict judge(struct lh_arena *arena, uint32_t slot, bool wanted,
			  struct lost_lease *ret_lost)
{
	enum verdict verdict = VERDICT_GONE;

	for (int round = 0; round < 4 && verdict == VERDICT_GONE; round++)
		verdict = judge_once(arena, slot, wanted, ret_lost);
	return verdict;
}

enum verdict lease_judge(struct lh_arena *arena, uint32_t slot, struct lost_lease *ret_lost)
{
	return judge(arena, slot, true, ret_lost);
}

enum verdict lease_judge_gently(struct lh_arena *arena, uint32_t slot, struct lost_lease *ret_lost)
{
	return judge(arena, slot, false, ret_lost);
}

void lease_expire(struct lh_arena *arena, uint32_t slot, uint64_t id)
{
	struct lease_slot *lease = &arena->leases[slot];
	struct lost_lease lost;
	uint64_t state;

	do { // again only after a renewal, which is seldom
		state = atomic_load(&lease->state);
		// The id after the state: if it is the next tenant's, the state is not any more.
		if (lease_word_state(state) != LEASE_LIVE ||
		    lease_word_expiry(state) == UINT64_MAX || atomic_load(&lease->id) != id)
			return;
	} while (!latch(arena, slot, state, LEASE_EXPIRED));
	if (read_lost(arena, slot, lease_word_with(state, LEASE_EXPIRED), &lost))
		event_record(arena, LH_EVENT_EXPIRED, &lost, 0, 0);
}

uint32_t lease_state_seen(const struct lh_arena *arena, uint32_t slot, uint64_t now)
{
	const struct lease_slot *lease = &arena->leases[slot];
	const uint64_t state = atomic_load_explicit(&lease->state, memory_order_acquire);
	const uint64_t owner = atomic_load_explicit(&lease->owner, memory_order_acquire);

	if (lease_word_state(state) == LEASE_FREE) {
		if (owner == 0)
			return 0;
		return owner_ended(arena, owner) ? LH_LEASE_DEAD : LH_LEASE_STARTING;
	}
	if (lease_word_state(state) == LEASE_DEAD || owner_ended(arena, owner))
		return LH_LEASE_DEAD;
	if (lease_word_state(state) == LEASE_EXPIRED || now >= lease_word_expiry(state))
		return LH_LEASE_EXPIRED;
	return LH_LEASE_LIVE;
}

// ---------------------------------------------------------------------------------------------

// Reapers free objects, by CAS of exact words; they never write records. A reaper that was stopped
// between looking at the slot's state and clearing a record could otherwise clear the next
// tenant's, which may be the very same word. The table of a freed slot is wiped by who claims it
// next.

// Whether somebody may have queued behind the lease for this object.
static bool reap_record(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const struct kind_ops *ops = kind_ops(hold_word_kind(record));

	if (ops && arena_user_offset(arena, hold_word_granule(record), LAYOUT_LINE))
		return ops->reap(arena, lost, record);
	event_record(arena, LH_EVENT_CORRUPT, lost, 0, record);
	return true;
}

// owner → 0 in a FREE slot, for an owner that has ended; whether this call did it. The reference
// names the owner and not the lease: while it lives it may let go of the slot and take it again
// under the same value, so it clears the reference itself (lease.c:bury), and until then nobody
// claims the slot. What it did before its end shows in a state that is read after that.
static bool clear_reference(struct lh_arena *arena, uint32_t slot, uint64_t owner)
{
	struct lease_slot *lease = &arena->leases[slot];

	return owner_ended(arena, owner) &&
	       lease_word_state(atomic_load(&lease->state)) == LEASE_FREE &&
	       atomic_compare_exchange_strong(&lease->owner, &owner, 0);
}

// DEAD → FREE, by CAS of what was read of this tenant, then its owner's reference.
static void free_slot(struct lh_arena *arena, const struct lost_lease *lost)
{
	uint64_t state = lost->state;

	if (atomic_compare_exchange_strong(&arena->leases[lost->slot].state, &state,
					   lease_id_incarnation(lost->id)))
		clear_reference(arena, lost->slot, lost->owner);
}

// Volatile: the values are not used. The last record: the first ones' lines are its user's.
void reap_foresee(const struct lh_arena *arena, uint32_t slot)
{
	const uint64_t next = atomic_load_explicit(&arena->header->event_head,
						   memory_order_relaxed);
	const volatile shared_u64 *event = &arena->events[next % arena->event_count].sequence;
	const volatile shared_u64
		*record = &arena_hold_table(arena, slot)[arena->holds_per_lease - 1].object;

	(void)atomic_load_explicit(event, memory_order_relaxed);
	(void)atomic_load_explicit(record, memory_order_relaxed);
}

void reap_lease(struct lh_arena *arena, const struct lost_lease *lost)
{
	const struct hold_record *records = arena_hold_table(arena, lost->slot);
	bool queued = false;

	for (uint32_t i = 0; i < arena->holds_per_lease; i++) {
		// Sequentially consistent, not only acquire, which on some processors may be read
		// before the CAS that latched the loss: pairs with the fence in
		// src/rwlock_wait.c:become_writer, whose owner records and then looks at the state.
		const uint64_t record = atomic_load(&records[i].object);

		if (!record)
			continue;
		if (!lease_still_lost(arena, lost))
			return; // overtaken by another reaper, or by its owner's end
		queued |= reap_record(arena, lost, record);
	}
	if (queued) { // those behind it look for themselves from now on
		atomic_fetch_add(&arena->leases[lost->slot].turn, 1);
		futex_wake(&arena->leases[lost->slot].turn, FUTEX_ALL);
	}
	// An EXPIRED lease keeps slot and records: its owner may still be about to take an object.
	// Once it is DEAD this walk has seen all it can ever have taken.
	if (lease_word_state(lost->state) == LEASE_DEAD)
		free_slot(arena, lost);
}

void reap_owner(struct lh_arena *arena, uint64_t ref)
{
	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		if (atomic_load_explicit(&arena->leases[slot].owner, memory_order_acquire) == ref)
			reap_slot(arena, slot);
	}
}

bool reap_slot(struct lh_arena *arena, uint32_t slot)
{
	struct lease_slot *lease = &arena->leases[slot];
	const uint64_t owner = atomic_load_explicit(&lease->owner, memory_order_acquire);
	struct lost_lease lost;

	if (owner == 0)
		return true;
	// Being set up or torn down; by the dead: the slot is nobody's.
	if (lease_word_state(atomic_load(&lease->state)) == LEASE_FREE)
		return clear_reference(arena, slot, owner);
	if (judge(arena, slot, false, &lost) == VERDICT_LOST)
		reap_lease(arena, &lost);
	return atomic_load(&lease->owner) == 0;
}

struct reaped reap_all(struct lh_arena *arena)
{
	const uint64_t now = clock_now();
	struct reaped reaped = { 0 };

	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		if (!lease_seen_lost(lease_state_seen(arena, slot, now)))
			continue;
		if (reap_slot(arena, slot))
			reaped.freed++;
		else if (lease_seen_lost(lease_state_seen(arena, slot, now)))
			reaped.left++;
	}
	return reaped;
}
