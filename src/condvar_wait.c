// SPDX-License-Identifier: Apache-2.0
//
// How a call waits for a condvar. docs/protocol/condvar.md has the table of steps with the outcome
// of a crash at each.
//
// Signals go to the lowest ticket first, so whoever has one and dies has sleepers behind it, if
// there are any to hand it on to. Each of them watches those before it: down to the first that
// sleeps itself, and so watches on. Who stops sleeping says so (AWAKE) and makes those behind it
// look anew.
#include "src/condvar.h"

#include "arena/error.h"
#include "arena/owner.h"
#include "arena/wait.h"
#include "src/deadlock.h"
#include "src/mutex.h"

#include <errno.h>

#define MOST_WATCHED ((FUTEX_WORDS - 3) / 2) // beside one's own words: two for each

struct watched {
	uint32_t slot;
	uint64_t condition;
	uint32_t departures;
	uint32_t distance; // tickets before us; 0: not known yet
	bool sleeps;       // and watches those before it
};

// Who was before it. They only become fewer: who comes later gets a higher ticket.
struct look {
	struct watched watched[MOST_WATCHED]; // the nearest first
	size_t count;
	bool knows_all; // there were no more
};

struct waiter {
	struct condvar condvar;
	struct lh_lease *lease;
	struct hold_record *record;
	struct hold_record *mutex_record;
	uint64_t condition; // as it sleeps on it
	uint32_t ticket;
	struct look look; // the last whole one
	struct wait wait;
};

// ---------------------------------------------------------------------------------------------
// Queueing

// A lease is seen before it has its ticket: of two that come at once, the one with the higher
// ticket sees the other.
static void queue(struct waiter *waiter)
{
	struct lease_slot *slot = waiter->lease->slot;
	shared_u64 *word = &waiter->condvar.header->word;
	const uint32_t group = waiter->lease->index / condvar_group_size(waiter->condvar.arena);
	const uint64_t old = atomic_load_explicit(&slot->condition, memory_order_relaxed);
	const uint64_t condition = (uint64_t)waiter->condvar.granule << CONDITION_WANTED_SHIFT |
				   ((old + CONDITION_SEQUENCE_STEP) & CONDITION_SEQUENCE_MASK);
	uint64_t arrived, before = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store(&slot->condition, condition);
	do {
		arrived = (before + CONDVAR_ARRIVAL) | UINT64_C(1) << group;
	} while (!atomic_compare_exchange_weak(word, &before, arrived));
	waiter->ticket = (uint32_t)(arrived >> CONDVAR_TICKET_SHIFT);
	waiter->condition = condition | CONDITION_QUEUED;
	atomic_store_explicit(&slot->ticket, waiter->ticket, memory_order_relaxed);
	// Nobody but us writes it before this.
	atomic_store(&slot->condition, waiter->condition);
	// Who is seen to wait is in the queue.
	deadlock_publish(waiter->lease, waiter->condvar.granule);
}

// ---------------------------------------------------------------------------------------------
// Watching

// Fills it for one who waits; false: it need not be watched.
static bool is_before(const struct waiter *waiter, uint32_t index, struct watched *ret_watched)
{
	const struct lease_slot *slot = &waiter->condvar.arena->leases[index];
	const uint32_t departures = atomic_load(&slot->departures); // before what it tells of
	const uint64_t condition = atomic_load(&slot->condition);
	const bool queued = (condition & CONDITION_QUEUED) != 0;
	const uint32_t distance = waiter->ticket -
				  atomic_load_explicit(&slot->ticket, memory_order_relaxed);

	if (!condvar_is_wanted(&waiter->condvar, condition) || (queued && (int32_t)distance <= 0))
		return false;
	*ret_watched = (struct watched){ .slot = index,
					 .condition = condition,
					 .departures = departures,
					 .distance = queued ? distance : 0,
					 .sleeps = queued && !(condition & CONDITION_AWAKE) };
	return true;
}

// Keeps the nearest ones, in order.
static void keep(struct watched *list, size_t *count, const struct watched *one)
{
	size_t at = *count;

	while (at > 0 && list[at - 1].distance > one->distance) {
		if (at < MOST_WATCHED)
			list[at] = list[at - 1];
		at--;
	}
	if (at < MOST_WATCHED)
		list[at] = *one;
	if (*count < MOST_WATCHED)
		++*count;
}

static bool arm(struct waiter *waiter, const struct watched *watched)
{
	wait_on(&waiter->wait, &waiter->condvar.arena->leases[watched->slot].departures,
		watched->departures);
	return wait_on_lease(&waiter->wait, watched->slot);
}

// Whom the lost leave behind hear of it: their signals go on, and their slots are freed. The signal
// first: a reaper does not know that it need not wake us for it.
static bool clear_up(struct waiter *waiter, const struct condvar_walk *walk)
{
	struct lh_arena *arena = waiter->condvar.arena;
	struct lost_lease lost;

	if (lease_state_seen(arena, walk->slot, clock_now()) == LH_LEASE_LIVE)
		return false;
	// Renewed meanwhile, it is not lost. Who is to be killed for what it holds is not reaped
	// before its end, but this is no holding.
	if (lease_judge_gently(arena, walk->slot, &lost) != VERDICT_HELD) {
		condvar_hand_on(&waiter->condvar, walk->slot, walk->condition,
				waiter->lease->index);
		reap_slot(arena, walk->slot);
	}
	return true;
}

// Who is before us. False: something has changed, look again.
static bool look(struct waiter *waiter)
{
	struct condvar_walk walk = condvar_walk_begin(&waiter->condvar);
	struct look look = { .count = 0 };
	struct watched one;
	size_t found = 0;

	while (condvar_walk_next(&waiter->condvar, &walk)) {
		if (walk.slot == waiter->lease->index)
			continue;
		if (clear_up(waiter, &walk))
			return false;
		if (!is_before(waiter, walk.slot, &one))
			continue;
		keep(look.watched, &look.count, &one);
		found++;
	}
	look.knows_all = found == look.count;
	waiter->look = look;
	return true;
}

// Arms on those before us, down to the first that sleeps. False: something has changed, look again.
static bool watch(struct waiter *waiter)
{
	if (!look(waiter))
		return false;
	for (size_t i = 0; i < waiter->look.count; i++) {
		if (!arm(waiter, &waiter->look.watched[i]))
			return false;
		if (waiter->look.watched[i].sleeps)
			return true;
	}
	return true;
}

// Whether those behind it have to watch somebody else, now that it watches nobody any more.
static bool is_relied_on(const struct waiter *waiter)
{
	for (size_t i = 0; i < waiter->look.count; i++) {
		const struct watched *one = &waiter->look.watched[i];
		const struct lease_slot *slot = &waiter->condvar.arena->leases[one->slot];

		if (condvar_is_same_wait(atomic_load(&slot->condition), one->condition))
			return true;
	}
	return !waiter->look.knows_all;
}

static void stop_watching(const struct waiter *waiter)
{
	struct lease_slot *slot = waiter->lease->slot;

	atomic_fetch_or(&slot->condition, CONDITION_AWAKE);
	if (!is_relied_on(waiter))
		return;
	atomic_fetch_add(&slot->departures, 1);
	futex_wake(&slot->departures, FUTEX_ALL);
}

// Until there is a mark. An error that ends the wait does not make a mark undone.
static int sleep_until_marked(struct waiter *waiter, lh_deadline deadline)
{
	struct lease_slot *slot = waiter->lease->slot;
	int error;

	wait_begin(&waiter->wait, waiter->condvar.arena, waiter->lease, deadline);
	waiter->wait.is_edge = false;
	// Different for each, lest all look at once.
	waiter->wait.backstop_ns = WAIT_BACKSTOP_FOLLOWER_NS +
				   waiter->lease->index % 32 * CLOCK_NS_PER_MS;
	wait_patiently(waiter->lease, futex_low_half(&slot->condition), (uint32_t)waiter->condition,
		       false);
	for (;;) {
		wait_round(&waiter->wait);
		if (atomic_load(&slot->condition) != waiter->condition)
			return lease_check(waiter->lease);
		wait_on(&waiter->wait, futex_low_half(&slot->condition),
			(uint32_t)waiter->condition);
		if (!watch(waiter))
			continue;
		error = wait_sleep(&waiter->wait);
		if (error)
			return error;
	}
}

// ---------------------------------------------------------------------------------------------

static int check_call(const lh_condvar *condvar, const lh_mutex *mutex, const lh_lease *lease)
{
	int error;

	if (!condvar || !mutex)
		return error_text(-EINVAL, "condvar or mutex is NULL");
	error = primitive_check_call(condvar->private_, LH_KIND_CONDVAR, lease);
	if (!error)
		error = primitive_check_call(mutex->private_, LH_KIND_MUTEX, lease);
	if (!error)
		error = lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE;
	return error ? error : mutex_check_held(mutex, lease);
}

// The mutex is held again, or cannot be: the wait is over. Whether a signal was for it.
static bool leave(struct waiter *waiter, bool held)
{
	shared_u64 *condition = &waiter->lease->slot->condition;
	const uint64_t last = atomic_load(condition);
	bool marked = false;

	if (held)
		marked = (atomic_exchange(condition, last & CONDITION_SEQUENCE_MASK) &
			  CONDITION_MARK) != 0;
	else
		condvar_hand_on(&waiter->condvar, waiter->lease->index, last, waiter->lease->index);
	hold_clear(waiter->record);
	return marked;
}

// The mutex is held, the record written.
static int wait_for_signal(struct waiter *waiter, const lh_mutex *mutex, lh_deadline deadline,
			   lh_grant *ret_grant)
{
	lh_grant grant;
	int error, lost;

	queue(waiter);
	lost = mutex_let_go(waiter->lease, mutex_header(mutex));
	error = lost ? lost : sleep_until_marked(waiter, deadline);
	stop_watching(waiter);
	deadlock_clear(waiter->lease);
	if (!lost && (error == -ESTALE || error == -EBADMSG)) {
		hold_clear(waiter->mutex_record);
		lost = error;
	} else if (!lost) {
		lost = mutex_retake(mutex, waiter->lease, waiter->mutex_record, &grant);
	}
	if (leave(waiter, !lost))
		error = 0;
	if (lost)
		return lost;
	if (ret_grant)
		*ret_grant = grant;
	return error;
}

int lh_condvar_wait(const lh_condvar *condvar, const lh_mutex *mutex, lh_lease *lease,
		    lh_deadline deadline, lh_grant *ret_grant)
{
	struct waiter waiter;
	const int error = check_call(condvar, mutex, lease);

	if (error)
		return error;
	if (deadline.ns == 0)
		return -EBUSY;
	waiter.condvar = condvar_of(condvar);
	waiter.lease = lease;
	waiter.look.count = 0;
	waiter.look.knows_all = false; // until it has looked
	waiter.mutex_record = hold_find(lease, LH_KIND_MUTEX, mutex_granule(mutex));
	if (!waiter.mutex_record)
		return -EBADMSG;
	waiter.record = hold_insert(lease, condvar->private_[2]);
	if (!waiter.record)
		return -ENOLCK;
	return wait_for_signal(&waiter, mutex, deadline, ret_grant);
}
