// SPDX-License-Identifier: Apache-2.0
//
// How a party waits. docs/protocol/barrier.md has the steps with the outcome of a crash at each.
//
// Whoever arrives last completes the phase; but any waiter may, and looks whenever something has
// changed. Each sleeps on {the barrier's word, lives of other members}. Parties stand in a ring by
// their places: a sleeper watches those after it, up to and including the first that has arrived,
// which watches on from there (docs/decisions/0011). So every member's life is watched by the
// nearest sleeper before it, and most sleepers watch one. Who is told of a member's end wakes all.
#include "src/barrier.h"

#include "arena/error.h"
#include "arena/owner.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"
#include "src/deadlock.h"

#include <errno.h>

struct waiter {
	struct barrier barrier;
	struct lh_lease *lease;
	lh_deadline deadline;
	uint32_t place; // its index
	uint64_t phase; // the one that it waits for
	uint64_t own;   // its place since it arrived
	bool leader;
	bool waits;    // has slept; others see what it waits for
	bool sees_all; // looks at every life: a backstop has passed, or it will not sleep
	bool was_patient;
	bool told; // of a member's end, and has not told the others yet
	struct primitive_stuck stuck;
	struct wait wait;
};

static uint64_t load_place(const struct waiter *waiter, uint32_t place)
{
	return atomic_load(&waiter->barrier.object->places[place]);
}

// ---------------------------------------------------------------------------------------------
// Looking

// A place was LOST while a reset mended the others: that breaks the barrier again.
static int break_again(const struct barrier *barrier, uint64_t word)
{
	atomic_compare_exchange_strong(&barrier->object->word, &word, word | BARRIER_BROKEN);
	barrier_wake(barrier);
	return -EAGAIN;
}

// 1: every place has arrived, is the waiter's own, or is done without; 0: not; or -EAGAIN.
static int have_all_arrived(const struct waiter *waiter, uint64_t word)
{
	const struct barrier *barrier = &waiter->barrier;

	for (uint32_t k = 1; k < barrier->parties; k++) {
		const uint64_t seen = load_place(waiter, (waiter->place + k) % barrier->parties);

		if (seen & PLACE_LOST)
			return break_again(barrier, word);
		if (place_owner(seen) ? !place_has_arrived(seen, waiter->phase)
				      : !(seen & PLACE_SHRUNK))
			return 0;
	}
	return 1;
}

// Judges every other member. 0: all live (or are sure to die: *until); -EAGAIN, -EBADMSG.
static int judge_all(struct waiter *waiter, uint64_t *until)
{
	const struct barrier *barrier = &waiter->barrier;

	for (uint32_t k = 1; k < barrier->parties; k++) {
		const uint32_t place = (waiter->place + k) % barrier->parties;
		const uint64_t seen = load_place(waiter, place);
		const int error = place_owner(seen) ? barrier_judge(barrier, place, seen,
								    &waiter->stuck, until)
						    : 0;

		if (error)
			return error;
	}
	return 0;
}

static void raise_to(shared_u64 *highest, uint64_t phase)
{
	uint64_t seen = atomic_load(highest);

	while (seen < phase && !atomic_compare_exchange_weak(highest, &seen, phase))
		;
}

// The waiter's phase is complete: who sleeps for it is woken, once, and those who sleep for the next
// one by now are left alone. Pairs with sleep_on: who has not yet said that it sleeps finds another
// word than it would sleep on.
static void wake_sleepers(const struct waiter *waiter)
{
	struct barrier_object *object = waiter->barrier.object;

	if (atomic_load(&object->slept) < waiter->phase ||
	    atomic_load(&object->woken) >= waiter->phase)
		return;
	barrier_wake(&waiter->barrier);
	raise_to(&object->woken, waiter->phase);
}

// phase → + 1, of a word loaded before every place was seen to have arrived, and every member to
// live. -EAGAIN: done, or something has changed.
static int complete(struct waiter *waiter, uint64_t word)
{
	const struct barrier *barrier = &waiter->barrier;

	if (!lease_is_live(waiter->lease))
		return -ESTALE;
	if (!atomic_compare_exchange_strong(&barrier->object->word, &word,
					    word + BARRIER_PHASE_ONE))
		return -EAGAIN;
	waiter->leader = true;
	wake_sleepers(waiter);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Sleeping

// Arms on the members after it, up to the first that has arrived. As judge_all.
static int watch_others(struct waiter *waiter, uint64_t word)
{
	const struct barrier *barrier = &waiter->barrier;
	uint64_t until = UINT64_MAX;

	for (uint32_t k = 1; k < barrier->parties && wait_has_room(&waiter->wait); k++) {
		const uint32_t place = (waiter->place + k) % barrier->parties;
		const uint64_t seen = load_place(waiter, place);
		int error;

		if (seen & PLACE_LOST)
			return break_again(barrier, word);
		if (!place_owner(seen))
			continue;
		error = barrier_judge(barrier, place, seen, &waiter->stuck, &until);
		if (error)
			return error;
		if (!wait_on_lease(&waiter->wait, place_owner(seen) - 1))
			return -EAGAIN;
		if (place_has_arrived(seen, waiter->phase))
			break;
	}
	wait_not_after(&waiter->wait, until);
	return 0;
}

static bool was_told(const struct waiter *waiter)
{
	for (size_t i = 0; i < waiter->wait.owner_count; i++) {
		if (owner_ended(waiter->barrier.arena, waiter->wait.owners[i]))
			return true;
	}
	return false;
}

// A member's end is told to one of those who watch it, and that one to all: whoever changed the
// word last may have died before its wake. It looks first, or all would do the same work at once,
// and each would be slower for it. Should it die before this, it is told of by whoever watches it:
// it has arrived, so the nearest sleeper before it does (tests/model/barrier.pml, told).
static void tell(struct waiter *waiter)
{
	if (!waiter->told)
		return;
	waiter->told = false;
	wait_tell(&waiter->wait);
	barrier_wake(&waiter->barrier);
}

static int sleep_on(struct waiter *waiter, uint64_t word, uint64_t until)
{
	const struct barrier *barrier = &waiter->barrier;
	int error;

	tell(waiter);
	// Before the word is compared and slept on: whoever completes the phase after that wakes us.
	raise_to(&barrier->object->slept, waiter->phase);
	if (!waiter->waits) {
		waiter->waits = true;
		wait_begin(&waiter->wait, barrier->arena, waiter->lease, waiter->deadline);
		waiter->wait.is_edge = false;
		deadlock_publish(waiter->lease, barrier->granule);
	}
	wait_round(&waiter->wait);
	wait_not_after(&waiter->wait, until);
	wait_on(&waiter->wait, futex_low_half(&barrier->object->word), (uint32_t)word);
	error = watch_others(waiter, word);
	if (error)
		return error;
	error = wait_sleep_untold(&waiter->wait);
	waiter->told = was_told(waiter);
	waiter->sees_all = waiter->wait.backstop_passed || waiter->told;
	return error ? error : -EAGAIN;
}

// The phase is complete, by another, who may have died before its wake: those who sleep may watch
// its life only through us (tests/model/barrier.pml, NO_PASS). Of two parties none is left to be
// woken.
static int learn(const struct waiter *waiter)
{
	if (waiter->barrier.parties > 2)
		wake_sleepers(waiter);
	return 0;
}

// ---------------------------------------------------------------------------------------------

// One look. 0: the phase is complete; -EAGAIN: look again; else the call's error.
static int look(struct waiter *waiter)
{
	const struct barrier *barrier = &waiter->barrier;
	const uint64_t word = atomic_load(&barrier->object->word);
	uint64_t until = UINT64_MAX;
	int all, error;

	if (barrier_phase(word) >= waiter->phase)
		return learn(waiter);
	if ((word & BARRIER_BROKEN) || load_place(waiter, waiter->place) != waiter->own)
		return -EOWNERDEAD; // or lost: withdraw() tells the two apart
	all = have_all_arrived(waiter, word);
	if (all < 0)
		return all;
	if (all || waiter->sees_all) {
		error = judge_all(waiter, &until);
		if (error)
			return error;
		waiter->sees_all = false;
		if (all && until == UINT64_MAX)
			return complete(waiter, word);
	}
	if (waiter->deadline.ns == 0)
		return -EBUSY;
	if (!waiter->was_patient) {
		waiter->was_patient = true;
		wait_patiently(waiter->lease, futex_low_half(&barrier->object->word),
			       (uint32_t)word, barrier->parties > 3);
		return -EAGAIN;
	}
	return sleep_on(waiter, word, until);
}

// Takes the arrival back, unless the phase is complete: then 0. Else `error`, or -ESTALE.
static int withdraw(const struct waiter *waiter, int error)
{
	const struct barrier *barrier = &waiter->barrier;
	shared_u64 *at = &barrier->object->places[waiter->place];
	uint64_t seen = waiter->own, word;

	// First the place, then the epoch: whoever loads the word after that sees the place.
	if (!atomic_compare_exchange_strong(at, &seen, place_next(seen, waiter->lease->name)) &&
	    place_owner(seen) != waiter->lease->name)
		return -ESTALE;
	word = atomic_load(&barrier->object->word);
	do {
		if (barrier_phase(word) >= waiter->phase)
			return learn(waiter);
	} while (!(word & BARRIER_BROKEN) && // a reset counts the epoch up as well
		 !atomic_compare_exchange_weak(&barrier->object->word, &word,
					       barrier_next_epoch(word)));
	// Those whom it watched on for; and all, should who broke the barrier have died before its
	// wake.
	barrier_wake(barrier);
	return word & BARRIER_BROKEN ? -EOWNERDEAD : error;
}

// ours → ours, arrived at the phase after the one that the word says is complete.
static int arrive(struct waiter *waiter)
{
	const struct barrier *barrier = &waiter->barrier;
	shared_u64 *at = &barrier->object->places[waiter->place];
	const uint64_t word = atomic_load(&barrier->object->word);
	uint64_t seen = atomic_load_explicit(at, memory_order_relaxed);

	if (word & BARRIER_BROKEN)
		return -EOWNERDEAD;
	if (barrier_phase(word) == BARRIER_PHASE_MAX)
		return -EOVERFLOW;
	waiter->phase = barrier_phase(word) + 1;
	do {
		if (place_owner(seen) != waiter->lease->name)
			return -ESTALE;
		waiter->own = place_next(seen, waiter->lease->name | place_arrival(waiter->phase));
	} while (!atomic_compare_exchange_weak(at, &seen, waiter->own));
	return 0;
}

static int await_phase(struct waiter *waiter)
{
	int error = arrive(waiter);

	if (error)
		return error;
	do {
		error = look(waiter);
	} while (error == -EAGAIN);
	if (waiter->waits)
		deadlock_clear(waiter->lease);
	if (error && error != -ESTALE)
		error = withdraw(waiter, error);
	tell(waiter);
	return error;
}

// Its own loss goes before what it did to the barrier.
static int told_first(const struct lh_lease *lease, bool waited, int error)
{
	if (!lease_is_live(lease) || (waited && lease_check(lease) != 0))
		return -ESTALE;
	if (error == -EOWNERDEAD)
		return error_text(error, "the barrier is broken: lh_barrier_reset opens it again");
	return error;
}

int lh_barrier_wait(const lh_barrier *barrier, lh_lease *lease, lh_deadline deadline,
		    lh_grant *ret_grant)
{
	struct waiter waiter; // field by field: `wait` is large
	struct barrier_place joined;
	int64_t place;
	int error = barrier ? primitive_check_call(barrier->private_, LH_KIND_BARRIER, lease)
			    : error_text(-EINVAL, "the handle is NULL");

	if (!error)
		error = lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE;
	if (error)
		return error;
	waiter.barrier = barrier_of(barrier);
	if (atomic_load_explicit(&waiter.barrier.object->word, memory_order_relaxed) &
	    BARRIER_BROKEN)
		return told_first(lease, false, -EOWNERDEAD);
	place = barrier_find(&waiter.barrier, lease->index + 1);
	if (place < 0)
		error = barrier_join(&waiter.barrier, lease, barrier->private_[2], &joined);
	if (error)
		return told_first(lease, false, error);
	waiter.place = place < 0 ? joined.index : (uint32_t)place;
	waiter.lease = lease;
	waiter.deadline = deadline;
	waiter.leader = false;
	waiter.waits = false;
	waiter.sees_all = deadline.ns == 0;
	waiter.was_patient = false;
	waiter.told = false;
	waiter.stuck = (struct primitive_stuck){ 0 };
	error = await_phase(&waiter);
	error = told_first(lease, waiter.waits, error);
	if (error && error != -ESTALE && place < 0)
		barrier_leave(&waiter.barrier, lease, &joined);
	if (!error && ret_grant)
		*ret_grant = (lh_grant){ .token = waiter.phase,
					 .flags = waiter.leader ? LH_GRANT_LEADER : 0 };
	return error;
}
