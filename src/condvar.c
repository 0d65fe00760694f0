// SPDX-License-Identifier: Apache-2.0
#include "src/condvar.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/sys/futex.h"
#include "src/kinds.h"

#include <errno.h>

// ---------------------------------------------------------------------------------------------
// The handle

static int check_options(const struct lh_condvar_options *options)
{
	return primitive_check_options(LH_KIND_CONDVAR, options->reserved, 0, 0, options->name);
}

static uint64_t stride_of(uint64_t data_size)
{
	(void)data_size;
	return LAYOUT_LINE;
}

size_t lh_condvar_footprint(const struct lh_condvar_options *options)
{
	return options && check_options(options) ? 0 : LAYOUT_LINE;
}

int lh_condvar_at(lh_arena *arena, uint64_t offset, const struct lh_condvar_options *options,
		  lh_condvar *ret_condvar)
{
	static const struct lh_condvar_options defaults;
	const struct lh_condvar_options *chosen = options ? options : &defaults;
	const struct placement wanted = {
		.offset = offset, .size = LAYOUT_LINE, .kind = LH_KIND_CONDVAR, .name = chosen->name
	};
	lh_condvar condvar = { { 0 } };
	int error;

	if (!arena || !ret_condvar)
		return error_detail(-EINVAL, "arena or ret_condvar is NULL");
	error = check_options(chosen);
	if (!error)
		error = primitive_at(arena, &wanted, NULL, condvar.private_);
	if (!error)
		*ret_condvar = condvar;
	return error;
}

uint64_t lh_condvar_offset(const lh_condvar *condvar)
{
	return condvar ? primitive_offset(condvar->private_) : 0;
}

// ---------------------------------------------------------------------------------------------
// Who waits

struct condvar_walk condvar_walk_begin(const struct condvar *condvar)
{
	return (struct condvar_walk){ .word = atomic_load(&condvar->header->word) };
}

bool condvar_walk_next(const struct condvar *condvar, struct condvar_walk *walk)
{
	const uint32_t size = condvar_group_size(condvar->arena);

	while (walk->next < condvar->arena->lease_count) {
		const uint32_t group = walk->next / size;

		if (!(walk->word >> group & 1)) {
			walk->next = (group + 1) * size;
			continue;
		}
		walk->slot = walk->next++;
		walk->condition = atomic_load(&condvar->arena->leases[walk->slot].condition);
		if (condvar_is_wanted(condvar, walk->condition)) {
			walk->seen |= 1u << group;
			return true;
		}
	}
	return false;
}

// A walk that has come to its end found nobody in some groups: unless somebody arrived meanwhile,
// they need not be looked through again.
static void forget_empty_groups(const struct condvar *condvar, const struct condvar_walk *walk)
{
	uint64_t word = walk->word;
	const uint64_t kept = word & ~(CONDVAR_GROUPS_MASK & ~(uint64_t)walk->seen);

	if (kept != word)
		atomic_compare_exchange_strong(&condvar->header->word, &word, kept);
}

static struct lease_slot *slot_of(const struct condvar *condvar, uint32_t slot)
{
	return &condvar->arena->leases[slot];
}

static bool is_live(const struct condvar *condvar, uint32_t slot, uint64_t now)
{
	return lease_state_seen(condvar->arena, slot, now) == LH_LEASE_LIVE;
}

static void wake(const struct condvar *condvar, uint32_t slot)
{
	futex_wake(futex_low_half(&slot_of(condvar, slot)->condition), FUTEX_ALL);
}

// unmarked → marked, of that one wait. A crash before: nothing was sent. After: it is marked, and
// looks at its backstop or when the next signal finds it.
static bool mark(const struct condvar *condvar, uint32_t slot, uint64_t condition, uint32_t caller)
{
	if (!atomic_compare_exchange_strong(&slot_of(condvar, slot)->condition, &condition,
					    condition | CONDITION_MARK))
		return false;
	if (!(condition & CONDITION_AWAKE) && slot != caller)
		wake(condvar, slot);
	return true;
}

// ---------------------------------------------------------------------------------------------
// Signalling

struct choice {
	bool found;
	uint32_t slot;
	uint64_t condition;
	uint32_t ticket;
};

// One who sleeps before one who has stopped to, then the lower ticket.
static bool is_better(const struct choice *choice, uint64_t condition, uint32_t ticket)
{
	const bool sleeps = !(condition & CONDITION_AWAKE);

	if (!choice->found)
		return true;
	if (sleeps != !(choice->condition & CONDITION_AWAKE))
		return sleeps;
	return (int32_t)(ticket - choice->ticket) < 0;
}

static struct choice choose(const struct condvar *condvar, struct condvar_walk *walk, uint64_t now)
{
	struct choice choice = { .found = false };

	while (condvar_walk_next(condvar, walk)) {
		const uint32_t ticket = atomic_load_explicit(&slot_of(condvar, walk->slot)->ticket,
							     memory_order_relaxed);

		if ((walk->condition & (CONDITION_QUEUED | CONDITION_MARK)) != CONDITION_QUEUED)
			continue;
		if (is_better(&choice, walk->condition, ticket) &&
		    is_live(condvar, walk->slot, now))
			choice = (struct choice){ true, walk->slot, walk->condition, ticket };
	}
	return choice;
}

// Nobody is left to be marked. Who was marked by one that died or was stopped before it woke him
// must not sleep on.
static void wake_the_marked(const struct condvar *condvar)
{
	struct condvar_walk walk = condvar_walk_begin(condvar);

	while (condvar_walk_next(condvar, &walk)) {
		if ((walk.condition & (CONDITION_MARK | CONDITION_AWAKE)) == CONDITION_MARK)
			wake(condvar, walk.slot);
	}
}

// A signal to one who waits, if anybody does. caller: see condvar_hand_on.
static void signal_one(const struct condvar *condvar, uint32_t caller)
{
	for (;;) {
		struct condvar_walk walk = condvar_walk_begin(condvar);
		struct choice choice;

		if (!(walk.word & CONDVAR_GROUPS_MASK))
			return;
		choice = choose(condvar, &walk, clock_now());
		if (!choice.found) {
			forget_empty_groups(condvar, &walk);
			if (walk.seen)
				wake_the_marked(condvar);
			return;
		}
		// Else it was marked by another, or has left: there may be the next one.
		if (mark(condvar, choice.slot, choice.condition, caller))
			return;
	}
}

static int check_call(const lh_condvar *condvar)
{
	const int error = condvar ? primitive_check_handle(condvar->private_, LH_KIND_CONDVAR)
				  : error_text(-EINVAL, "the handle is NULL");

	if (error)
		return error;
	return primitive_arena(condvar->private_)->read_only ? -EROFS : 0;
}

int lh_condvar_signal(const lh_condvar *condvar)
{
	const int error = check_call(condvar);
	struct condvar it;

	if (error)
		return error;
	it = condvar_of(condvar);
	signal_one(&it, CONDVAR_NOBODY);
	return 0;
}

// All who wait now: one pass. An attempt that fails is made again while it is the same wait.
static void mark_all(const struct condvar *condvar, struct condvar_walk *walk, uint64_t now)
{
	while (condvar_walk_next(condvar, walk)) {
		uint64_t condition = walk->condition;

		if (!is_live(condvar, walk->slot, now))
			continue;
		while (condvar_is_same_wait(condition, walk->condition) &&
		       (condition & (CONDITION_QUEUED | CONDITION_MARK)) == CONDITION_QUEUED &&
		       !mark(condvar, walk->slot, condition, CONDVAR_NOBODY))
			condition = atomic_load(&slot_of(condvar, walk->slot)->condition);
		if ((condition & (CONDITION_MARK | CONDITION_AWAKE)) == CONDITION_MARK)
			wake(condvar, walk->slot); // marked by one who may not have woken it
	}
}

int lh_condvar_broadcast(const lh_condvar *condvar)
{
	const int error = check_call(condvar);
	struct condvar_walk walk;
	struct condvar it;

	if (error)
		return error;
	it = condvar_of(condvar);
	walk = condvar_walk_begin(&it);
	if (!(walk.word & CONDVAR_GROUPS_MASK))
		return 0;
	mark_all(&it, &walk, clock_now());
	forget_empty_groups(&it, &walk);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Clearing up

void condvar_hand_on(const struct condvar *condvar, uint32_t slot, uint64_t condition,
		     uint32_t caller)
{
	shared_u64 *word = &slot_of(condvar, slot)->condition;
	uint64_t present = atomic_load(word);

	// The other first, then the mark of the lost one: a crash between hands it on twice. A mark
	// that comes meanwhile makes the CAS fail.
	while (condvar_is_wanted(condvar, present) && condvar_is_same_wait(present, condition)) {
		if (present & CONDITION_MARK)
			signal_one(condvar, caller);
		if (atomic_compare_exchange_strong(word, &present,
						   present & CONDITION_SEQUENCE_MASK))
			return;
	}
}

static bool reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint32_t granule = hold_word_granule(record);
	const struct condvar condvar = { arena, arena_object(arena, granule), granule };
	const uint64_t condition = atomic_load(&arena->leases[lost->slot].condition);

	if (!condvar.header || condvar.header->kind != LH_KIND_CONDVAR)
		event_record(arena, LH_EVENT_CORRUPT, lost, (uint64_t)granule * LAYOUT_LINE,
			     record);
	else if (lease_still_lost(arena, lost))
		condvar_hand_on(&condvar, lost->slot, condition, CONDVAR_NOBODY);
	return false; // who watches it does so by its life and expiry
}

// A wait that was left by no return (longjmp, asynchronous cancellation).
static int release(struct lh_lease *lease, struct hold_record *record)
{
	const uint32_t granule = hold_word_granule(
		atomic_load_explicit(&record->object, memory_order_relaxed));
	const struct condvar condvar = { lease->arena, arena_object(lease->arena, granule),
					 granule };

	if (!condvar.header || condvar.header->kind != LH_KIND_CONDVAR)
		return -EBADMSG;
	condvar_hand_on(&condvar, lease->index, atomic_load(&lease->slot->condition), lease->index);
	hold_clear(record);
	return 0;
}

static void view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		 struct hold_view *ret_view)
{
	(void)arena;
	(void)slot;
	(void)record;
	*ret_view = (struct hold_view){ .mode = LH_HOLD_INTENT };
}

static bool busy(const struct lh_arena *arena, uint32_t granule)
{
	const uint64_t now = clock_now();

	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		if (atomic_load(&arena->leases[slot].condition) >> CONDITION_WANTED_SHIFT ==
			    granule &&
		    lease_state_seen(arena, slot, now) != 0)
			return true;
	}
	return false;
}

const struct kind_ops condvar_ops = {
	.reap = reap,
	.release = release,
	.view = view,
	.busy = busy,
	.stride = stride_of,
};
