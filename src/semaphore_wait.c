// SPDX-License-Identifier: Apache-2.0
//
// How an acquire goes when it is not just one free permit. docs/protocol/semaphore.md has the table
// of steps with the outcome of a crash at each; tests/model/semaphore.pml is the model.
//
// One permit is tried for at once. Whoever fails, or wants several, queues for the baton as for a
// mutex (src/mutex_wait.c has the queue, and who is armed on whose life in it). The baton's holder
// takes what is free, bit by bit, keeps it, and sleeps on {signal, limit, the life of each holder
// of a permit}. So a permit that comes back, by release, death or expiry, finds exactly one to
// tell, and somebody behind is armed on that one's life. Others may take single permits past it for
// a millisecond; then it closes the gate, and all queue.
//
// Who wants more than the present limit waits aside, without the baton, for a resize.
#include "src/semaphore.h"

#include "arena/event.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/sys/fence.h"
#include "arena/wait.h"
#include "src/deadlock.h"
#include "src/mutex.h"

#include <errno.h>
#include <string.h>

#define SPINS 100
#define MAX_ROUNDS_STUCK 10000 // owners that are no lease any more and stay: damage
#define BITS 64u

// The baton's holder at work.
struct collector {
	const struct semaphore_attempt *attempt;
	uint32_t got;
	bool asleep_before; // has published its wait
	bool gate_closed;
	int stuck_rounds;
	uint64_t began_ns; // of the sleeping
	struct wait wait;
	uint64_t seen[(1u << LEASE_SLOT_BITS) / BITS];      // lease slots judged in this round
	uint64_t taken[(LAYOUT_MAX_PERMITS + BITS) / BITS]; // which words, in this call
};

static bool test_and_set(uint64_t *bits, uint32_t index)
{
	const uint64_t bit = UINT64_C(1) << index % BITS;
	const bool was = (bits[index / BITS] & bit) != 0;

	bits[index / BITS] |= bit;
	return was;
}

static bool is_now(const struct semaphore_attempt *attempt)
{
	return attempt->deadline.ns == 0;
}

static uint64_t owner_at(const struct semaphore_attempt *attempt, uint32_t index)
{
	return atomic_load(&attempt->semaphore->owners[index]);
}

static bool has_baton(const struct semaphore_attempt *attempt)
{
	return word_owner(atomic_load(&attempt->semaphore->header.word)) == attempt->lease->name;
}

// ---------------------------------------------------------------------------------------------
// Collecting

static void give_all_back(struct collector *collector)
{
	const struct semaphore_attempt *attempt = collector->attempt;

	for (uint32_t i = 0; i < attempt->permits && collector->got; i++) {
		if (!(collector->taken[i / BITS] & UINT64_C(1) << i % BITS))
			continue;
		semaphore_give_back(attempt->semaphore, i, attempt->lease->id);
		collector->got--;
	}
	memset(collector->taken, 0, (attempt->permits / BITS + 1) * sizeof(uint64_t));
}

static void take_what_is_free(struct collector *collector, uint32_t limit)
{
	const struct semaphore_attempt *attempt = collector->attempt;
	const uint32_t place = semaphore_place(attempt->lease, limit);

	for (uint32_t i = 0; i < limit && collector->got < attempt->wanted; i++) {
		const uint32_t index = place + i < limit ? place + i : place + i - limit;

		if (owner_at(attempt, index) ||
		    !semaphore_take(attempt->semaphore, index, attempt->lease->id))
			continue;
		test_and_set(collector->taken, index);
		collector->got++;
	}
}

static bool are_free(const struct semaphore_attempt *attempt, uint32_t limit)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < limit && count < attempt->wanted; i++)
		count += owner_at(attempt, i) == 0;
	return count == attempt->wanted;
}

// All that is wanted has been taken. 0: granted; -EAGAIN: the limit has moved, look again; -EBUSY:
// others hold permits beyond it, wait for them.
static int confirm(struct collector *collector, uint32_t limit)
{
	const struct semaphore_attempt *attempt = collector->attempt;

	if (semaphore_within(attempt->semaphore, attempt->permits, limit))
		// If the lease was lost meanwhile, reapers may have passed over the semaphore.
		return lease_check(attempt->lease);
	if (atomic_load(&attempt->semaphore->limit) == limit)
		return -EBUSY;
	give_all_back(collector);
	return -EAGAIN;
}

// ---------------------------------------------------------------------------------------------
// Who holds the others

// A word names a lease that is no more, or none: nobody will ever give that permit back. It is
// damage.
static int heal(const struct semaphore_attempt *attempt, uint32_t index, uint64_t owner)
{
	if (semaphore_slot_of(owner) >= attempt->arena->lease_count)
		return -EBADMSG;
	semaphore_give_back(attempt->semaphore, index, owner);
	return -EAGAIN;
}

static int clear_up(const struct semaphore_attempt *attempt, const struct lost_lease *lost,
		    uint32_t index, uint64_t owner)
{
	owner_wake_if_ended(attempt->arena, lost->owner);
	reap_lease(attempt->arena, lost);
	// Its table was damaged if it does not name what the word says it has.
	if (owner_at(attempt, index) == owner && lost->id == owner)
		semaphore_reap(attempt->arena, lost, attempt->own_record);
	return -EAGAIN;
}

// Judges the owner of a word. 0: held, and the wait is armed on it; -EAGAIN: it was lost, and what
// it held is free, or it has changed; -EBADMSG.
static int judge(struct collector *collector, uint32_t index, uint64_t owner)
{
	const struct semaphore_attempt *attempt = collector->attempt;
	const uint32_t slot = semaphore_slot_of(owner);
	struct lost_lease lost;
	const struct lease_slot *lease;

	if (slot >= attempt->arena->lease_count)
		return -EBADMSG;
	lease = &attempt->arena->leases[slot];
	if (atomic_load(&lease->id) != owner)
		return owner_at(attempt, index) == owner ? heal(attempt, index, owner) : -EAGAIN;
	if (test_and_set(collector->seen, slot))
		return 0;
	switch (lease_judge(attempt->arena, slot, &lost)) {
	case VERDICT_LOST:
		return clear_up(attempt, &lost, index, owner);
	case VERDICT_GONE:
		return ++collector->stuck_rounds < MAX_ROUNDS_STUCK ? -EAGAIN : -EBADMSG;
	case VERDICT_DYING:
		wait_not_after(&collector->wait, clock_now() + WAIT_POLL_NS);
		break;
	case VERDICT_HELD:
		break;
	}
	return wait_on_lease(&collector->wait, slot) ? 0 : -EAGAIN;
}

// All holders but oneself. 0: every one is alive, and the wait armed; -EAGAIN: look again;
// -EBADMSG.
//
// A word that is free by now is a reason to look again, in this same walk: its last holder may have
// died before it told, and nobody is armed on the life of one whose name is not there.
static int judge_all(struct collector *collector, uint32_t limit)
{
	const struct semaphore_attempt *attempt = collector->attempt;
	uint32_t held = 0;
	bool any_free = false;
	int result = 0;

	memset(collector->seen, 0, (attempt->arena->lease_count / BITS + 1) * sizeof(uint64_t));
	for (uint32_t i = 0; i < attempt->permits; i++) {
		const uint64_t owner = owner_at(attempt, i);
		int error = 0;

		any_free |= !owner && i < limit;
		held += owner != 0;
		if (owner && owner != attempt->lease->id)
			error = judge(collector, i, owner);
		if (error == -EBADMSG)
			return error;
		if (error)
			result = error;
	}
	if (!is_now(attempt) && (collector->got < attempt->wanted ? any_free : held <= limit))
		return -EAGAIN;
	return result;
}

// ---------------------------------------------------------------------------------------------
// With the baton

static void begin_wait(struct collector *collector)
{
	const struct semaphore_attempt *attempt = collector->attempt;

	collector->began_ns = clock_now();
	deadlock_publish(attempt->lease, attempt->granule);
	// From here on whoever gives back without a fence sees that somebody has the baton; what
	// was given back before that is seen by the next look.
	if (!attempt->arena->plain_fences)
		fence_heavy(); // pairs with fence_light in lh_semaphore_release
}

// One who has waited for long enough is passed by nobody any more. Only the baton's holder writes
// its own id: a stalled one that has lost the baton finds the word changed.
static void close_gate(struct collector *collector)
{
	const struct semaphore_attempt *attempt = collector->attempt;
	const uint64_t ends = collector->began_ns + WORD_PASSED_OVER_NS;
	uint64_t before = atomic_load(&attempt->semaphore->gate);

	if (collector->gate_closed)
		return;
	if (clock_now() < ends) {
		wait_not_after(&collector->wait, ends);
		return;
	}
	if (has_baton(attempt))
		collector->gate_closed = atomic_compare_exchange_strong(
			&attempt->semaphore->gate, &before, attempt->lease->id);
}

static void open_gate(const struct semaphore_attempt *attempt)
{
	uint64_t closed_by = attempt->lease->id;

	atomic_compare_exchange_strong(&attempt->semaphore->gate, &closed_by, 0);
}

// From here on whoever gives back makes a system call to wake us. False: somebody has told us since
// `signal` was loaded.
static bool fall_asleep(struct semaphore *semaphore, uint32_t *signal)
{
	const uint32_t asleep = (*signal & ~SEMAPHORE_SIGNAL_SAYS) | SEMAPHORE_SIGNAL_ASLEEP;

	if (*signal != asleep &&
	    !atomic_compare_exchange_strong(&semaphore->signal, signal, asleep))
		return false;
	*signal = asleep;
	return true;
}

// Not enough is free. 0 or -EAGAIN: look again.
static int wait_for_more(struct collector *collector, uint32_t signal, uint32_t limit)
{
	const struct semaphore_attempt *attempt = collector->attempt;
	int error;

	if (!collector->asleep_before && !is_now(attempt)) {
		collector->asleep_before = true;
		wait_begin(&collector->wait, attempt->arena, attempt->lease, attempt->deadline);
		begin_wait(collector);
		return -EAGAIN;
	}
	if (!is_now(attempt) && !fall_asleep(attempt->semaphore, &signal))
		return -EAGAIN;
	wait_round(&collector->wait);
	wait_on(&collector->wait, &attempt->semaphore->signal, signal);
	wait_on(&collector->wait, &attempt->semaphore->limit, limit);
	error = judge_all(collector, limit);
	if (error)
		return error;
	if (is_now(attempt))
		return -EBUSY;
	close_gate(collector);
	return wait_sleep(&collector->wait);
}

// One look. 0: granted; -EAGAIN: look again; -ERANGE: the limit is below what is wanted; else the
// call's error.
static int look(struct collector *collector)
{
	const struct semaphore_attempt *attempt = collector->attempt;
	struct semaphore *semaphore = attempt->semaphore;
	// Before the words: what is given back after them changes it.
	const uint32_t signal = atomic_load(&semaphore->signal);
	const uint32_t limit = atomic_load(&semaphore->limit);
	int error;

	if (limit > attempt->permits)
		return -EBADMSG;
	if (attempt->wanted > limit)
		return -ERANGE;
	// Who does not wait leaves alone what is not enough.
	if (!is_now(attempt) || collector->got || are_free(attempt, limit))
		take_what_is_free(collector, limit);
	if (collector->got == attempt->wanted) {
		error = confirm(collector, limit);
		if (error != -EBUSY)
			return error;
	}
	error = wait_for_more(collector, signal, limit);
	return error ? error : -EAGAIN;
}

static __attribute__((noinline)) int collect(const struct semaphore_attempt *attempt)
{
	struct collector collector; // field by field: it is large
	uint64_t stale = atomic_load(&attempt->semaphore->gate);
	int error;

	collector.attempt = attempt;
	collector.got = 0;
	collector.asleep_before = false;
	collector.gate_closed = false;
	collector.stuck_rounds = 0;
	memset(collector.taken, 0, (attempt->permits / BITS + 1) * sizeof(uint64_t));
	if (is_now(attempt))
		wait_begin(&collector.wait, attempt->arena, attempt->lease, attempt->deadline);
	// An earlier holder of the baton left the gate closed: it was lost.
	if (stale)
		atomic_compare_exchange_strong(&attempt->semaphore->gate, &stale, 0);
	do {
		error = look(&collector);
	} while (error == -EAGAIN);
	if (error)
		give_all_back(&collector);
	if (collector.asleep_before) {
		deadlock_clear(attempt->lease);
		if (!error)
			probe_grant(attempt->lease, attempt->granule, 0);
	}
	open_gate(attempt);
	return error;
}

// ---------------------------------------------------------------------------------------------
// In turn

// Until the limit is high enough.
static int wait_aside(const struct semaphore_attempt *attempt)
{
	shared_u32 *limit = &attempt->semaphore->limit;
	uint32_t now = atomic_load(limit);
	struct wait wait;
	int error = 0;

	if (now >= attempt->wanted)
		return 0;
	if (is_now(attempt))
		return -EBUSY;
	wait_begin(&wait, attempt->arena, attempt->lease, attempt->deadline);
	deadlock_publish(attempt->lease, attempt->granule);
	while (!error && (now = atomic_load(limit)) < attempt->wanted) {
		wait_round(&wait);
		wait_on(&wait, limit, now);
		error = wait_sleep(&wait);
	}
	deadlock_clear(attempt->lease);
	return error;
}

static int acquire_in_turn(const struct semaphore_attempt *attempt)
{
	const struct mutex_attempt baton = { .arena = attempt->arena,
					     .header = &attempt->semaphore->header,
					     .granule = attempt->granule,
					     .no_repair = true,
					     .lease = attempt->lease,
					     .record = attempt->record,
					     .own_record = attempt->own_record,
					     .deadline = attempt->deadline,
					     .no_plain = true,
					     .keep_record = true };
	int error;

	do {
		error = wait_aside(attempt);
		if (!error && !has_baton(attempt))
			error = mutex_acquire(&baton);
		if (error)
			return error;
		error = collect(attempt);
		// Of one permit in all, who has it is the one to wait for: those behind stay
		// asleep.
		if (error || attempt->permits > 1)
			mutex_free(attempt->arena, baton.header, attempt->lease);
	} while (error == -ERANGE);
	return error;
}

// ---------------------------------------------------------------------------------------------
// One permit, past the queue

// 0; -EAGAIN: none was to be had; -ESTALE; -EBADMSG.
static int try_single(const struct semaphore_attempt *attempt)
{
	struct semaphore *semaphore = attempt->semaphore;
	const uint32_t limit = atomic_load(&semaphore->limit);
	const uint32_t place = semaphore_place(attempt->lease, limit);
	int error;

	if (limit > attempt->permits)
		return -EBADMSG;
	for (uint32_t i = 0; i < limit; i++) {
		const uint32_t index = place + i < limit ? place + i : place + i - limit;

		if (owner_at(attempt, index) ||
		    !semaphore_take(semaphore, index, attempt->lease->id))
			continue;
		error = -EAGAIN;
		if (semaphore_within(semaphore, attempt->permits, limit))
			error = lease_is_live(attempt->lease) ? 0 : -ESTALE;
		if (error) {
			semaphore_give_back(semaphore, index, attempt->lease->id);
			semaphore_wake(semaphore);
		}
		return error;
	}
	return -EAGAIN;
}

static bool is_open(const struct semaphore_attempt *attempt)
{
	return !atomic_load_explicit(&attempt->semaphore->gate, memory_order_relaxed);
}

// A permit may come back sooner than one can fall asleep.
static int spin_for_single(const struct semaphore_attempt *attempt)
{
	int error = try_single(attempt);

	if (is_now(attempt) || process_cpus() < 2)
		return error;
	for (int spins = 0; error == -EAGAIN && spins < SPINS && is_open(attempt); spins++) {
		const uint32_t index = (semaphore_place(attempt->lease, attempt->permits) +
					(uint32_t)spins) %
				       attempt->permits;

		primitive_pause();
		if (!atomic_load_explicit(&attempt->semaphore->owners[index], memory_order_relaxed))
			error = try_single(attempt);
	}
	return error;
}

// Without the baton and without waiting: frees what the lost hold. 0: there was nothing.
static __attribute__((noinline)) int clear_lost(const struct semaphore_attempt *attempt)
{
	struct collector collector;

	collector.attempt = attempt;
	collector.got = 0;
	collector.stuck_rounds = 0;
	wait_begin(&collector.wait, attempt->arena, attempt->lease, attempt->deadline);
	return judge_all(&collector, 0);
}

int semaphore_acquire(const struct semaphore_attempt *attempt)
{
	int error, rounds = 0;

	if (attempt->wanted > 1 || !is_open(attempt))
		return acquire_in_turn(attempt);
	error = spin_for_single(attempt);
	while (error == -EAGAIN && is_now(attempt) && rounds++ < MAX_ROUNDS_STUCK) {
		error = clear_lost(attempt);
		if (!error)
			return -EBUSY;
		if (error == -EAGAIN)
			error = try_single(attempt);
	}
	return error == -EAGAIN ? acquire_in_turn(attempt) : error;
}
