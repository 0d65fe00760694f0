// SPDX-License-Identifier: Apache-2.0
#include "src/rwlock_modes.h"

#include "src/rwlock_wait.h"

#include <sched.h>

#define LOOKS_AT_PASSING 1000 // of one who does not wait: at those who own the word for a moment

static uint64_t word_of(const struct rwlock_attempt *attempt)
{
	return atomic_load_explicit(&attempt->object->header.word, memory_order_acquire);
}

static void write_record(const struct rwlock_attempt *attempt, uint32_t mode, uint32_t count)
{
	hold_write(attempt->record, rwlock_record(attempt->granule, mode, count));
}

// ---------------------------------------------------------------------------------------------
// Who owns the word

// What the owner of the word wants, or has: LH_HOLD_…; LH_HOLD_EXCLUSIVE if that is not known.
static uint32_t purpose_of(const struct rwlock_attempt *attempt, uint32_t owner)
{
	const struct hold_record *record;
	uint64_t word;

	if (owner > attempt->arena->lease_count)
		return LH_HOLD_EXCLUSIVE;
	record = hold_find_of(attempt->arena, owner - 1, LH_KIND_RWLOCK, attempt->granule);
	word = record ? atomic_load(&record->object) : 0;
	if (!hold_names(word, LH_KIND_RWLOCK, attempt->granule))
		return LH_HOLD_EXCLUSIVE;
	return rwlock_purpose(word);
}

// Whether the owner of the word lets this mode pass. An intention to read conflicts with writing
// alone. Who owns the word now and wants to write later says so in its record first, claims, and
// then looks at records: at the caller's, which is there by then.
static bool lets_pass(const struct rwlock_attempt *attempt, uint64_t word, uint32_t mode)
{
	return mode == LH_HOLD_INTENT_SHARED && word_owner(word) &&
	       purpose_of(attempt, word_owner(word)) != LH_HOLD_EXCLUSIVE;
}

bool rwlock_passes(const struct rwlock_attempt *attempt, int *tries)
{
	const uint32_t owner = word_owner(word_of(attempt));

	if (*tries >= LOOKS_AT_PASSING || !owner || owner > attempt->arena->lease_count ||
	    purpose_of(attempt, owner) == LH_HOLD_EXCLUSIVE ||
	    atomic_load(&attempt->arena->leases[owner - 1].edge) >> EDGE_WANTED_SHIFT ==
		    attempt->granule)
		return false;
	++*tries;
	sched_yield();
	return true;
}

// ---------------------------------------------------------------------------------------------
// Entering

static uint64_t group_of(uint32_t mode)
{
	return mode == LH_HOLD_INTENT_EXCLUSIVE ? RWLOCK_INTENTS : 0;
}

// Whether its record and a look at the word are enough.
static bool may_enter(uint64_t word, uint32_t mode)
{
	return mode == LH_HOLD_INTENT_SHARED || (word & RWLOCK_INTENTS) == group_of(mode);
}

static int check_lease(const struct rwlock_waiter *waiter)
{
	const struct lh_lease *lease = waiter->attempt->lease;

	if (waiter->began_ns ? lease_check(waiter->attempt->lease) != 0 : !lease_is_live(lease))
		return -ESTALE;
	return 0;
}

static void take_back(const struct rwlock_attempt *attempt, uint32_t mode)
{
	write_record(attempt, LH_HOLD_INTENT, mode);
	rwlock_depart(attempt->arena, attempt->object, attempt->lease->index);
}

// The record is published. The own state last, as in reading.
static int enter(const struct rwlock_waiter *waiter, uint32_t mode)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	uint64_t word;
	int error;

	atomic_thread_fence(memory_order_seq_cst); // pairs with the CAS in claim
	word = word_of(attempt);
	if ((word_owner(word) && !lets_pass(attempt, word, mode)) || !may_enter(word, mode))
		return -EAGAIN;
	error = check_lease(waiter);
	if (!error)
		primitive_fill_grant(attempt->grant, &attempt->object->header, word);
	return error;
}

// The other group may enter: the word is owned until nobody of it is left.
static int change_group(struct rwlock_waiter *waiter, uint32_t mode)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	uint64_t word;
	int error = rwlock_claim(waiter, &word);

	if (error)
		return error;
	rwlock_resign(waiter, false);
	error = rwlock_await(waiter);
	if (error) {
		rwlock_free(attempt->object, attempt->lease);
		return error;
	}
	write_record(attempt, mode, 1);
	atomic_thread_fence(memory_order_seq_cst);
	// ours → none, and the group is ours: or we were lost, and others may have entered. A crash
	// before: an owner that only waited; after: a lost one of a group, who is no damage.
	error = rwlock_free_with(attempt->object, attempt->lease, RWLOCK_INTENTS, group_of(mode));
	if (!error)
		error = check_lease(waiter);
	if (error)
		take_back(attempt, mode);
	else
		primitive_fill_grant(attempt->grant, &attempt->object->header, word);
	return error;
}

static int look(struct rwlock_waiter *waiter, uint32_t mode)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	const uint64_t word = word_of(attempt);
	int error = lets_pass(attempt, word, mode) ? 0 : rwlock_pass_word(waiter, word);

	if (error)
		return error;
	if (!may_enter(word, mode))
		return change_group(waiter, mode);
	write_record(attempt, mode, 1);
	error = enter(waiter, mode);
	if (error)
		take_back(attempt, mode);
	return error;
}

int rwlock_acquire_mode(struct rwlock_attempt *attempt, uint32_t mode)
{
	struct rwlock_waiter waiter;
	int error, tries = 0;

	attempt->awaited = rwlock_conflicts(mode);
	if (mode == LH_HOLD_EXCLUSIVE)
		return rwlock_acquire_write(attempt);
	write_record(attempt, LH_HOLD_INTENT, mode);
	rwlock_enter_map(attempt->object, attempt->lease->index);
	waiter = rwlock_waiter_of(attempt, true);
	do {
		error = look(&waiter, mode);
	} while (error == -EAGAIN || (error == -EBUSY && rwlock_passes(attempt, &tries)));
	return rwlock_waiter_end(&waiter, error);
}

// ---------------------------------------------------------------------------------------------
// Letting go

void rwlock_end_hold(struct lh_lease *lease, struct rwlock_object *object,
		     struct hold_record *record)
{
	const uint32_t mode = hold_word_mode(
		atomic_load_explicit(&record->object, memory_order_relaxed));
	uint64_t word;

	hold_clear(record);
	if (mode == LH_HOLD_PERMIT) {
		atomic_thread_fence(memory_order_seq_cst); // pairs with the CAS in claim
		word = atomic_load(&object->header.word);
		if (word_owner(word))
			rwlock_bump(&object->departures);
		if (word & WORD_MARK)
			rwlock_poke(lease->arena, object);
	} else if (RWLOCK_SIDE_BY_SIDE >> mode & 1) {
		rwlock_depart(lease->arena, object, lease->index);
	}
}

int rwlock_release_mode(struct lh_lease *lease, struct rwlock_object *object,
			struct hold_record *record)
{
	const uint32_t mode = hold_word_mode(
		atomic_load_explicit(&record->object, memory_order_relaxed));

	if (!(RWLOCK_SIDE_BY_SIDE >> mode & 1))
		return rwlock_unlock(lease, object, record);
	rwlock_end_hold(lease, object, record);
	return lease_is_live(lease) ? 0 : -ESTALE;
}
