// SPDX-License-Identifier: Apache-2.0
//
// Barriers: who belongs, and what becomes of the place of one who is lost. docs/protocol/barrier.md
// has the table of steps; tests/model/barrier.pml is the model.
#include "src/barrier.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/owner.h"
#include "arena/sys/futex.h"
#include "src/kinds.h"

#include <errno.h>
#include <stdio.h>

#define HANDLE_SHRINKS (UINT64_C(1) << 32) // the handle's own word, [3]: beside the parties

// ---------------------------------------------------------------------------------------------
// Placing

static int check_options(const struct lh_barrier_options *options)
{
	if (!options)
		return error_detail(-EINVAL,
				    "barrier options: NULL, but there are no default parties");
	if (primitive_check_options(LH_KIND_BARRIER, options->reserved, 0, 0, options->name))
		return -EINVAL;
	if (options->parties < 1 || options->parties > LAYOUT_MAX_PARTIES)
		return error_detail(-EINVAL, "barrier options: %u parties of 1 to %u",
				    options->parties, LAYOUT_MAX_PARTIES);
	if (options->on_death != LH_BARRIER_BREAK && options->on_death != LH_BARRIER_SHRINK)
		return error_detail(-EINVAL, "barrier options: on_death is %u", options->on_death);
	return 0;
}

static uint64_t size_of(uint32_t parties)
{
	return LAYOUT_LINE + primitive_lines(parties * sizeof(shared_u64));
}

size_t lh_barrier_footprint(const struct lh_barrier_options *options)
{
	return check_options(options) ? 0 : (size_t)size_of(options->parties);
}

static void prepare(void *bytes, const struct placement *placement)
{
	struct barrier_object *object = bytes;

	object->kind = placement->kind;
	object->flags = placement->flags;
	object->parties = placement->parameter;
}

int lh_barrier_at(lh_arena *arena, uint64_t offset, const struct lh_barrier_options *options,
		  lh_barrier *ret_barrier)
{
	struct placement wanted = { .offset = offset, .kind = LH_KIND_BARRIER };
	lh_barrier barrier;
	int error;

	if (!arena || !ret_barrier)
		return error_detail(-EINVAL, "arena or ret_barrier is NULL");
	error = check_options(options);
	if (error)
		return error;
	wanted.size = size_of(options->parties);
	wanted.flags = options->on_death;
	wanted.parameter = options->parties;
	wanted.name = options->name;
	error = primitive_at(arena, &wanted, prepare, barrier.private_);
	if (error)
		return error;
	barrier.private_[3] = options->parties |
			      (options->on_death == LH_BARRIER_SHRINK ? HANDLE_SHRINKS : 0);
	*ret_barrier = barrier;
	return 0;
}

uint64_t lh_barrier_offset(const lh_barrier *barrier)
{
	return barrier ? primitive_offset(barrier->private_) : 0;
}

struct barrier barrier_of(const lh_barrier *barrier)
{
	return (struct barrier){
		.arena = primitive_arena(barrier->private_),
		.object = (struct barrier_object *)primitive_header(barrier->private_),
		.granule = primitive_granule(barrier->private_),
		.parties = (uint32_t)barrier->private_[3],
		.shrinks = (barrier->private_[3] & HANDLE_SHRINKS) != 0,
	};
}

// By what the arena says alone. False: no barrier, or one whose places would lie outside.
static bool barrier_at(const struct lh_arena *arena, uint32_t granule, struct barrier *ret_barrier)
{
	struct object_header *header = arena_object(arena, granule);
	struct barrier_object *object = (struct barrier_object *)header;

	if (!header || header->kind != LH_KIND_BARRIER)
		return false;
	*ret_barrier = (struct barrier){ .arena = (struct lh_arena *)(uintptr_t)arena,
					 .object = object,
					 .granule = granule,
					 .parties = object->parties,
					 .shrinks = object->flags == LH_BARRIER_SHRINK };
	return ret_barrier->parties >= 1 && ret_barrier->parties <= LAYOUT_MAX_PARTIES &&
	       arena_user_offset(arena, granule, size_of(ret_barrier->parties)) != 0;
}

// ---------------------------------------------------------------------------------------------
// What the others see of a change

void barrier_wake(const struct barrier *barrier)
{
	futex_wake(futex_low_half(&barrier->object->word), FUTEX_ALL);
}

void barrier_bump(const struct barrier *barrier)
{
	uint64_t word = atomic_load(&barrier->object->word);

	while (!(word & BARRIER_BROKEN) &&
	       !atomic_compare_exchange_weak(&barrier->object->word, &word,
					     barrier_next_epoch(word)))
		;
	barrier_wake(barrier);
}

// ---------------------------------------------------------------------------------------------
// The lost

void barrier_drop(const struct barrier *barrier, uint32_t place, const struct lost_lease *lost)
{
	shared_u64 *at = &barrier->object->places[place];
	const bool died = lease_word_state(lost->state) == LEASE_DEAD;
	uint64_t word, seen, next;

	for (;;) {
		// Order: the word, the place, that the lease is still lost; then both by CAS of
		// what was read. So a reset, which changes the epoch last, is never undone.
		word = atomic_load(&barrier->object->word);
		seen = atomic_load(at);
		if (place_owner(seen) != lost->slot + 1 || !lease_still_lost(barrier->arena, lost))
			break;
		if (seen & PLACE_JOINING)
			next = place_next(seen, seen & PLACE_SHRUNK);
		else
			next = place_next(seen, barrier->shrinks ? PLACE_SHRUNK : PLACE_LOST);
		if ((next & PLACE_LOST) && !(word & BARRIER_BROKEN) &&
		    !atomic_compare_exchange_strong(&barrier->object->word, &word,
						    word | BARRIER_BROKEN))
			continue;
		if (!atomic_compare_exchange_strong(at, &seen, next))
			continue;
		event_record(barrier->arena, died ? LH_EVENT_OWNER_DIED : LH_EVENT_EXPIRED, lost,
			     (uint64_t)barrier->granule * LAYOUT_LINE, barrier_phase(word));
		break;
	}
	barrier_bump(barrier);
}

int barrier_judge(const struct barrier *barrier, uint32_t place, uint64_t seen,
		  struct primitive_stuck *stuck, uint64_t *until)
{
	struct lost_lease lost;
	const int result = primitive_judge(barrier->arena, place_owner(seen) - 1, seen, stuck,
					   &lost, until);

	if (result != PRIMITIVE_LOST)
		return result;
	// The place first: what the lease's table says may be damaged; and who is woken then finds
	// it done.
	barrier_drop(barrier, place, &lost);
	owner_wake_if_ended(barrier->arena, lost.owner);
	reap_lease(barrier->arena, &lost);
	return -EAGAIN;
}

// ---------------------------------------------------------------------------------------------
// Membership

int64_t barrier_find(const struct barrier *barrier, uint32_t name)
{
	for (uint32_t i = 0; i < barrier->parties; i++) {
		if (place_owner(atomic_load_explicit(&barrier->object->places[i],
						     memory_order_relaxed)) == name)
			return i;
	}
	return -1;
}

// A place to join: one that is waited for, before one that phases do without. -EAGAIN: lost ones
// were cleared away, by us or by another; look again.
static int choose(const struct barrier *barrier, struct primitive_stuck *stuck, uint32_t *ret_place,
		  uint64_t *ret_seen)
{
	bool lost = false, shrunk = false;
	uint64_t until = UINT64_MAX;

	for (uint32_t i = 0; i < barrier->parties; i++) {
		const uint64_t seen = atomic_load(&barrier->object->places[i]);

		lost |= (seen & PLACE_LOST) != 0;
		if (place_owner(seen) || (seen & PLACE_LOST) || (shrunk && (seen & PLACE_SHRUNK)))
			continue;
		*ret_place = i;
		*ret_seen = seen;
		shrunk = (seen & PLACE_SHRUNK) != 0;
		if (!shrunk)
			return 0;
	}
	if (shrunk)
		return 0;
	for (uint32_t i = 0; i < barrier->parties; i++) {
		const uint64_t seen = atomic_load(&barrier->object->places[i]);
		int error;

		// Left, or cleared of a lost one by another, since it was looked at.
		if (!place_owner(seen) && !(seen & PLACE_LOST))
			return -EAGAIN;
		lost |= (seen & PLACE_LOST) != 0;
		error = place_owner(seen) ? barrier_judge(barrier, i, seen, stuck, &until) : 0;
		if (error)
			return error;
	}
	return lost ? -EOWNERDEAD : -EUSERS;
}

// JOINING first: when the place becomes a member's, all who sleep have been woken to watch its
// life.
static int take_place(const struct barrier *barrier, const struct lh_lease *lease,
		      struct barrier_place *ret_place)
{
	struct primitive_stuck stuck = { 0 };
	uint64_t seen, mine;
	shared_u64 *at;
	int error;

	do {
		do {
			error = choose(barrier, &stuck, &ret_place->index, &seen);
		} while (error == -EAGAIN);
		if (error)
			return error;
		at = &barrier->object->places[ret_place->index];
		ret_place->was = seen & PLACE_SHRUNK;
		mine = place_next(seen, lease->name | PLACE_JOINING | ret_place->was);
	} while (!atomic_compare_exchange_strong(at, &seen, mine));
	barrier_bump(barrier);
	// Lost before this: those who cleared up may have passed the place over. Later: they have
	// not.
	if (!lease_is_live(lease)) {
		if (atomic_compare_exchange_strong(at, &mine, place_next(mine, ret_place->was)))
			barrier_bump(barrier);
		return -ESTALE;
	}
	if (!atomic_compare_exchange_strong(at, &mine, place_next(mine, lease->name)))
		return -ESTALE;
	return 0;
}

int barrier_join(const struct barrier *barrier, struct lh_lease *lease, uint64_t record,
		 struct barrier_place *ret_place)
{
	struct hold_record *hold = hold_insert(lease, record);
	int error;

	if (!hold)
		return -ENOLCK;
	error = lease_is_live(lease) ? take_place(barrier, lease, ret_place) : -ESTALE;
	if (error)
		hold_clear(hold);
	return error;
}

int barrier_leave(const struct barrier *barrier, struct lh_lease *lease,
		  const struct barrier_place *place)
{
	shared_u64 *at = &barrier->object->places[place->index];
	struct hold_record *hold = hold_find(lease, LH_KIND_BARRIER, barrier->granule);
	uint64_t seen = atomic_load(at);

	// ours → nobody's.
	do {
		if (place_owner(seen) != lease->name)
			return -ESTALE;
	} while (!atomic_compare_exchange_weak(at, &seen, place_next(seen, place->was)));
	if (place->was) // phases do without it again; else nobody waits for that change
		barrier_bump(barrier);
	if (hold)
		hold_clear(hold);
	return 0;
}

static int check_call(const lh_barrier *barrier, const lh_lease *lease)
{
	const int error = barrier ? primitive_check_call(barrier->private_, LH_KIND_BARRIER, lease)
				  : error_text(-EINVAL, "the handle is NULL");

	if (error)
		return error;
	return lease_is_live(lease) ? 0 : -ESTALE;
}

int lh_barrier_join(const lh_barrier *barrier, lh_lease *lease)
{
	struct barrier call;
	struct barrier_place place;
	int error = check_call(barrier, lease);

	if (error)
		return error;
	call = barrier_of(barrier);
	if (barrier_find(&call, lease->index + 1) >= 0)
		return 0;
	error = barrier_join(&call, lease, barrier->private_[2], &place);
	return lease_is_live(lease) ? error : -ESTALE;
}

int lh_barrier_leave(const lh_barrier *barrier, lh_lease *lease)
{
	const int error = check_call(barrier, lease);
	struct barrier call;
	int64_t place;

	if (error)
		return error;
	call = barrier_of(barrier);
	place = barrier_find(&call, lease->index + 1);
	if (place < 0)
		return lease_is_live(lease) ? -EPERM : -ESTALE;
	return barrier_leave(&call, lease, &(struct barrier_place){ .index = (uint32_t)place });
}

// ---------------------------------------------------------------------------------------------
// Reset

// Evicts whoever is lost from one place. 0; -EAGAIN: look again; -EBADMSG.
static int evict(const struct barrier *barrier, uint32_t place, uint64_t seen,
		 struct primitive_stuck *stuck)
{
	uint64_t until = UINT64_MAX;
	struct lost_lease lost;
	int result;

	if (barrier->shrinks)
		return barrier_judge(barrier, place, seen, stuck, &until);
	result = primitive_judge(barrier->arena, place_owner(seen) - 1, seen, stuck, &lost, &until);
	if (result != PRIMITIVE_LOST)
		return result;
	owner_wake_if_ended(barrier->arena, lost.owner);
	// theirs → nobody's, before its table is walked: that would break the barrier.
	if (lease_still_lost(barrier->arena, &lost))
		atomic_compare_exchange_strong(&barrier->object->places[place], &seen,
					       place_next(seen, 0));
	reap_lease(barrier->arena, &lost);
	return -EAGAIN;
}

// Empties a place of what must not outlast a break. As evict.
static int mend_place(const struct barrier *barrier, uint32_t place, struct primitive_stuck *stuck)
{
	shared_u64 *at = &barrier->object->places[place];
	uint64_t seen = atomic_load(at);
	int error;

	if (place_owner(seen)) {
		error = evict(barrier, place, seen, stuck);
		if (error)
			return error;
		// An arrival at the broken phase: its owner finds it gone, whenever it looks.
		if (!(seen & PLACE_ARRIVED) ||
		    !(atomic_load(&barrier->object->word) & BARRIER_BROKEN))
			return 0;
		return atomic_compare_exchange_strong(at, &seen,
						      place_next(seen, place_owner(seen)))
			       ? 0
			       : -EAGAIN;
	}
	if ((seen & PLACE_LOST) && !atomic_compare_exchange_strong(at, &seen, place_next(seen, 0)))
		return -EAGAIN;
	return 0;
}

int lh_barrier_reset(const lh_barrier *barrier)
{
	struct primitive_stuck stuck = { 0 };
	struct barrier call;
	uint64_t word;
	int error = barrier ? primitive_check_handle(barrier->private_, LH_KIND_BARRIER)
			    : error_text(-EINVAL, "the handle is NULL");

	if (error)
		return error;
	call = barrier_of(barrier);
	if (call.arena->read_only)
		return -EROFS;
	word = atomic_load(&call.object->word);
	for (uint32_t i = 0; i < call.parties; i++) {
		do {
			error = mend_place(&call, i, &stuck);
		} while (error == -EAGAIN);
		if (error)
			return error;
	}
	// broken → not, with the next epoch: no break that began before this comes after it.
	if (word & BARRIER_BROKEN)
		atomic_compare_exchange_strong(&call.object->word, &word,
					       barrier_next_epoch(word) & ~BARRIER_BROKEN);
	barrier_bump(&call);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// What the arena asks (kind.h)

static bool reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint32_t granule = hold_word_granule(record);
	struct barrier barrier;

	if (!barrier_at(arena, granule, &barrier)) {
		event_record(arena, LH_EVENT_CORRUPT, lost, (uint64_t)granule * LAYOUT_LINE,
			     record);
		return false;
	}
	for (uint32_t i = 0; i < barrier.parties; i++) {
		if (place_owner(atomic_load(&barrier.object->places[i])) == lost->slot + 1)
			barrier_drop(&barrier, i, lost);
	}
	// It may have died between its change of the word and the wake.
	barrier_wake(&barrier);
	return false;
}

static int release(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t own = atomic_load_explicit(&record->object, memory_order_relaxed);
	struct barrier barrier;
	int64_t place;

	if (!barrier_at(lease->arena, hold_word_granule(own), &barrier))
		return -EBADMSG;
	if (!lease_is_live(lease))
		return -ESTALE;
	place = barrier_find(&barrier, lease->index + 1);
	if (place >= 0)
		return barrier_leave(&barrier, lease,
				     &(struct barrier_place){ .index = (uint32_t)place });
	hold_clear(record);
	return 0;
}

static void view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		 struct hold_view *ret_view)
{
	struct barrier barrier;
	uint64_t word;

	*ret_view = (struct hold_view){ .mode = LH_HOLD_INTENT };
	if (!barrier_at(arena, hold_word_granule(record), &barrier))
		return;
	word = atomic_load(&barrier.object->word);
	ret_view->token = barrier_phase(word);
	ret_view->damaged = (word & BARRIER_BROKEN) != 0;
	if (barrier_find(&barrier, slot + 1) >= 0)
		ret_view->mode = LH_HOLD_SHARED;
}

static bool look(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info)
{
	struct barrier barrier;
	uint64_t word;

	if (!barrier_at(arena, granule, &barrier))
		return false;
	word = atomic_load(&barrier.object->word);
	info->token = barrier_phase(word);
	info->flags = word & BARRIER_BROKEN ? LH_OBJECT_BROKEN : 0;
	info->limit = barrier.parties;
	for (uint32_t i = 0; i < barrier.parties; i++)
		info->used += place_owner(atomic_load(&barrier.object->places[i])) != 0;
	return true;
}

static bool busy(const struct lh_arena *arena, uint32_t granule)
{
	struct barrier barrier;

	if (!barrier_at(arena, granule, &barrier))
		return false;
	for (uint32_t i = 0; i < barrier.parties; i++) {
		if (place_owner(atomic_load(&barrier.object->places[i])))
			return true;
	}
	return false;
}

// A place's owner must be a lease that records the barrier.
static bool is_recorded(const struct lh_arena *arena, uint32_t slot, uint32_t granule)
{
	return hold_find_of(arena, slot, LH_KIND_BARRIER, granule) != NULL;
}

static void audit(const struct lh_arena *arena, uint32_t granule, uint64_t size,
		  bool (*report)(void *context, int severity, uint64_t offset, const char *text),
		  void *context)
{
	const uint64_t offset = (uint64_t)granule * LAYOUT_LINE;
	struct barrier barrier;
	char text[100];

	if (!barrier_at(arena, granule, &barrier) || size_of(barrier.parties) > size) {
		report(context, LH_CHECK_CORRUPT, offset, "barrier: its places lie outside");
		return;
	}
	for (uint32_t i = 0; i < barrier.parties; i++) {
		const uint64_t seen = atomic_load(&barrier.object->places[i]);
		const uint32_t name = place_owner(seen);

		if (!name ||
		    (name <= arena->lease_count && is_recorded(arena, name - 1, granule)) ||
		    atomic_load(&barrier.object->places[i]) != seen)
			continue;
		snprintf(text, sizeof(text), "barrier: place %u is of lease slot %u, %s", i,
			 name - 1,
			 name > arena->lease_count ? "which there is not"
						   : "which does not record it");
		if (!report(context, LH_CHECK_CORRUPT, offset, text))
			return;
	}
}

const struct kind_ops barrier_ops = {
	.reap = reap,
	.release = release,
	.view = view,
	.look = look,
	.busy = busy,
	.audit = audit,
};
