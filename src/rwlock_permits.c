// SPDX-License-Identifier: Apache-2.0
//
// Permits of named locks. Who wants one owns the word first, so those who want one queue for it as
// for the lock. Its owner counts the permits from the records of living leases, and takes the
// lowest that is free by a record of its own; or sleeps, still owning the word, on {departures of
// the entry, the life of each lease that has one}. So none is lost with whoever had it, and nobody
// counts up or down.
#include "src/rwlock_modes.h"

#include "arena/owner.h"
#include "src/rwlock_wait.h"

#include <string.h>

#define BITS 64u
#define MAX_HOLDERS (1u << LEASE_SLOT_BITS) // no arena has more leases

// Whether what the lease in a slot holds is its own: it is not lost, or agreed to be killed and
// seen dead before anybody else is granted it.
static bool keeps_holds(const struct lease_slot *lease)
{
	const enum lease_state state = lease_word_state(atomic_load(&lease->state));

	return state == LEASE_LIVE || (state == LEASE_EXPIRED &&
				       (atomic_load_explicit(&lease->flags, memory_order_relaxed) &
					LH_LEASE_KILL_ON_EXPIRY));
}

// The record of such a lease says that it has permit n: n + 1; else 0.
static uint32_t permit_of(const struct rwlock_attempt *attempt, uint32_t slot)
{
	const struct hold_record *record = hold_find_of(attempt->arena, slot, LH_KIND_RWLOCK,
							attempt->granule);
	const uint64_t word = record ? atomic_load(&record->object) : 0;

	if (!hold_names(word, LH_KIND_RWLOCK, attempt->granule) ||
	    hold_word_mode(word) != LH_HOLD_PERMIT || !keeps_holds(&attempt->arena->leases[slot]))
		return 0;
	return hold_word_count(word) + 1;
}

// The first slot from `slot` on whose lease may have a permit; lease_count: none.
static uint32_t next_user(const struct rwlock_attempt *attempt, uint32_t slot)
{
	while (slot < attempt->arena->lease_count) {
		const uint64_t bits = atomic_load(rwlock_map_word(attempt->object, slot)) >>
				      slot % BITS;

		if (bits)
			return slot + (uint32_t)__builtin_ctzll(bits);
		slot += BITS - slot % BITS;
	}
	return attempt->arena->lease_count;
}

#define for_each_user(slot, attempt)                                                               \
	for (uint32_t slot = next_user((attempt), 0); slot < (attempt)->arena->lease_count;        \
	     slot = next_user((attempt), slot + 1))

// For the owner of the word: the lowest permit that nobody has; -1: there is none.
static int64_t free_permit(const struct rwlock_attempt *attempt)
{
	const uint32_t permits = rwlock_permits(attempt->object);
	uint64_t taken[MAX_HOLDERS / BITS + 1] = { 0 };
	uint32_t lowest = 0;

	for_each_user(slot, attempt)
	{
		const uint32_t permit = permit_of(attempt, slot);

		if (permit && permit <= MAX_HOLDERS)
			taken[(permit - 1) / BITS] |= UINT64_C(1) << (permit - 1) % BITS;
	}
	while (taken[lowest / BITS] >> lowest % BITS & 1)
		lowest++;
	return lowest < permits ? (int64_t)lowest : -1;
}

// ---------------------------------------------------------------------------------------------
// Waiting for one

static int clear_up(const struct rwlock_attempt *attempt, const struct lost_lease *lost)
{
	owner_wake_if_ended(attempt->arena, lost->owner);
	reap_lease(attempt->arena, lost);
	return -EAGAIN;
}

// Judges a lease that has a permit. 0: it has, and `wait` (may be NULL) is armed on its end;
// -EAGAIN: it was lost, or has changed.
static int judge(const struct rwlock_attempt *attempt, uint32_t slot, struct wait *wait)
{
	struct lost_lease lost;

	switch (lease_judge(attempt->arena, slot, &lost)) {
	case VERDICT_LOST:
		return clear_up(attempt, &lost);
	case VERDICT_GONE:
		return -EAGAIN;
	case VERDICT_DYING:
		if (wait)
			wait_not_after(wait, clock_now() + WAIT_POLL_NS);
		break;
	case VERDICT_HELD:
		break;
	}
	return !wait || wait_on_lease(wait, slot) ? 0 : -EAGAIN;
}

static int judge_all(const struct rwlock_attempt *attempt, struct wait *wait)
{
	int result = 0;

	for_each_user(slot, attempt)
	{
		if (permit_of(attempt, slot) && judge(attempt, slot, wait))
			result = -EAGAIN;
	}
	return result;
}

// All are taken. -EAGAIN: look again; else the call's error. `departures` as it was before the
// look.
static int wait_for_permit(struct rwlock_waiter *waiter, uint32_t departures)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	shared_u32 *at = &attempt->object->departures;
	int error;

	if (attempt->deadline.ns == 0)
		return judge_all(attempt, NULL) ? -EAGAIN : -EBUSY;
	if (rwlock_hold_off(waiter))
		return -EAGAIN;
	rwlock_begin_round(waiter);
	// A crash before or after: one that only waited; a needless wake.
	if (!(departures & DEPARTURES_AWAITED) &&
	    !atomic_compare_exchange_strong(at, &departures, departures | DEPARTURES_AWAITED))
		return -EAGAIN;
	wait_on(&waiter->wait, at, departures | DEPARTURES_AWAITED);
	error = judge_all(attempt, &waiter->wait);
	// Whose record has gone since the look is not armed on, and may have died before it told.
	if (!error && free_permit(attempt) >= 0)
		return -EAGAIN;
	if (!error)
		error = rwlock_sleep(waiter);
	return error ? error : -EAGAIN;
}

// ---------------------------------------------------------------------------------------------

// For the owner of the word. 0: the record says PERMIT; -EAGAIN: look again; else the call's error.
static int take(struct rwlock_waiter *waiter, uint32_t *ret_permit)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	const uint32_t departures = atomic_load(&attempt->object->departures);
	const int64_t permit = free_permit(attempt);

	if (permit < 0)
		return wait_for_permit(waiter, departures);
	*ret_permit = (uint32_t)permit;
	hold_write(attempt->record,
		   rwlock_record(attempt->granule, LH_HOLD_PERMIT, (uint32_t)permit));
	return 0;
}

static int acquire(struct rwlock_waiter *waiter, uint32_t *ret_permit)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	uint64_t word;
	uint32_t permit = 0;
	int error = rwlock_claim(waiter, &word);

	if (error)
		return error;
	rwlock_resign(waiter, false);
	do {
		error = take(waiter, &permit);
	} while (error == -EAGAIN);
	// ours → none: or we were lost, and the permit may be another's. A crash before: a permit
	// of the dead, which counts for nothing; after: the same.
	if (error)
		rwlock_free(attempt->object, attempt->lease);
	else
		error = rwlock_free(attempt->object, attempt->lease);
	if (!error && !lease_is_live(attempt->lease))
		error = -ESTALE;
	if (error) {
		hold_write(attempt->record,
			   rwlock_record(attempt->granule, LH_HOLD_INTENT, LH_HOLD_PERMIT));
		return error;
	}
	primitive_fill_grant(attempt->grant, &attempt->object->header, word);
	*ret_permit = permit;
	return 0;
}

int rwlock_acquire_permit(struct rwlock_attempt *attempt, uint32_t *ret_permit)
{
	struct rwlock_waiter waiter;
	int error, tries = 0;

	attempt->awaited = rwlock_conflicts(LH_HOLD_PERMIT);
	hold_write(attempt->record,
		   rwlock_record(attempt->granule, LH_HOLD_INTENT, LH_HOLD_PERMIT));
	rwlock_enter_map(attempt->object, attempt->lease->index);
	waiter = rwlock_waiter_of(attempt, false);
	do {
		error = acquire(&waiter, ret_permit);
	} while (error == -EAGAIN || (error == -EBUSY && rwlock_passes(attempt, &tries)));
	return rwlock_waiter_end(&waiter, error);
}
