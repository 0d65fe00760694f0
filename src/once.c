// SPDX-License-Identifier: Apache-2.0
//
// Once. docs/protocol/once.md has the table of steps; tests/model/once.pml is the model.
//
// word, 64 bits, of which the low half is the futex that waiters sleep on:
//
//	63..18  token     + 1 with every attempt, in the CAS that takes it. A stopped initialiser's CAS
//	                  from an earlier attempt's word fails. Set back: fatal.
//	17..16  slot      of the value, when done
//	15      DONE      the value is there, for ever. Wrongly set: fatal, zeroes or half a value are
//	                  read. Wrongly clear: it is made again.
//	13..0   owner     lease slot + 1 of who runs the initialiser; 0: nobody
//
// The value is made in private memory and copied into a slot that is the initialiser's alone: it
// has tagged the slot with its lease's id, and looked at the word after that. A tag counts for as
// long as that lease is not over, and a lost lease of an owner that runs is not over: it may be in
// the middle of its copy.
//
// All waiters sleep on the word and are armed on the owner's life; whoever changes the word wakes
// all. (A herd, once in the life of an object: no chain as for the mutex.)
#include "src/once.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"
#include "src/deadlock.h"
#include "src/kinds.h"
#include "src/word.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ONCE_SLOT_SHIFT 16
#define ONCE_BELOW_TOKEN (WORD_TOKEN_ONE - 1)

_Static_assert(ONCE_SLOTS == 1u << (WORD_TOKEN_SHIFT - ONCE_SLOT_SHIFT), "a slot fits its bits");

// The handle's own word, [3]: data_size
static inline struct once_object *object_of(const lh_once *once)
{
	return (struct once_object *)(uintptr_t)once->private_[1];
}

static inline bool is_done(const lh_once *once)
{
	// Pairs with the release of the CAS in commit().
	return (atomic_load_explicit(&object_of(once)->word, memory_order_acquire) & ONCE_DONE) !=
	       0;
}

static uint8_t *slot_of(struct once_object *object, uint64_t data_size, uint32_t slot)
{
	return (uint8_t *)(object + 1) + slot * primitive_lines(data_size);
}

// ---------------------------------------------------------------------------------------------
// Placing

static uint64_t stride_of(uint64_t data_size)
{
	return LAYOUT_LINE + ONCE_SLOTS * primitive_lines(data_size);
}

static int check_options(const struct lh_once_options *options)
{
	if (primitive_check_options(LH_KIND_ONCE, options->reserved, 0, 0, options->name))
		return -EINVAL;
	if (options->data_size > LAYOUT_MAX_SIZE || stride_of(options->data_size) > SIZE_MAX)
		return error_detail(-EINVAL, "once options: %zu bytes", options->data_size);
	return 0;
}

size_t lh_once_footprint(const struct lh_once_options *options)
{
	static const struct lh_once_options defaults;
	const struct lh_once_options *chosen = options ? options : &defaults;

	return check_options(chosen) ? 0 : (size_t)stride_of(chosen->data_size);
}

int lh_once_at(lh_arena *arena, uint64_t offset, const struct lh_once_options *options,
	       lh_once *ret_once)
{
	static const struct lh_once_options defaults;
	const struct lh_once_options *chosen = options ? options : &defaults;
	const struct placement wanted = { .offset = offset,
					  .size = stride_of(chosen->data_size),
					  .data_size = chosen->data_size,
					  .kind = LH_KIND_ONCE,
					  .name = chosen->name };
	lh_once once;
	int error;

	if (!arena || !ret_once)
		return error_detail(-EINVAL, "arena or ret_once is NULL");
	error = check_options(chosen);
	if (!error)
		error = primitive_at(arena, &wanted, NULL, once.private_);
	if (error)
		return error;
	once.private_[3] = chosen->data_size;
	*ret_once = once;
	return 0;
}

uint64_t lh_once_offset(const lh_once *once)
{
	return once ? primitive_offset(once->private_) : 0;
}

hot_path bool lh_once_done(const lh_once *once)
{
	return likely(once && once->private_[0]) && is_done(once);
}

const void *lh_once_data(const lh_once *once)
{
	uint64_t word;

	if (!once || !once->private_[0] || !once->private_[3])
		return NULL;
	word = atomic_load_explicit(&object_of(once)->word, memory_order_acquire);
	if (!(word & ONCE_DONE))
		return NULL;
	return slot_of(object_of(once), once->private_[3],
		       (uint32_t)(word >> ONCE_SLOT_SHIFT) % ONCE_SLOTS);
}

// ---------------------------------------------------------------------------------------------
// A call that finds it not done

struct attempt {
	struct lh_arena *arena;
	struct once_object *object;
	uint32_t granule;
	uint64_t data_size;
	struct lh_lease *lease;
	uint64_t own_record;
	lh_deadline deadline;
	uint64_t word; // as it is while the initialiser runs
	struct wait wait;
	bool waits; // has slept; others see what it waits for
	struct primitive_stuck stuck;
};

static void wake(struct once_object *object)
{
	futex_wake(futex_low_half(&object->word), FUTEX_ALL);
}

static void begin_round(struct attempt *attempt)
{
	if (!attempt->waits) {
		attempt->waits = true;
		wait_begin(&attempt->wait, attempt->arena, attempt->lease, attempt->deadline);
		deadlock_publish(attempt->lease, attempt->granule);
	}
	wait_round(&attempt->wait);
}

static void end_wait(struct attempt *attempt)
{
	if (attempt->waits)
		deadlock_clear(attempt->lease);
	attempt->waits = false;
}

// running → absent, by its owner. False: it has been taken from it.
static bool give_back(const struct attempt *attempt)
{
	uint64_t word = attempt->word;
	const bool mine = atomic_compare_exchange_strong(&attempt->object->word, &word,
							 word & ~ONCE_BELOW_TOKEN);

	if (mine)
		wake(attempt->object);
	return mine;
}

// Whether nobody can write the slot under this tag any more.
static bool tag_is_over(const struct lh_arena *arena, uint64_t tag)
{
	const uint32_t slot = (uint32_t)(tag & ((1u << LEASE_SLOT_BITS) - 1));
	const struct lease_slot *lease = &arena->leases[slot];
	enum lease_state state;

	if (tag == 0 || slot >= arena->lease_count || atomic_load(&lease->id) != tag)
		return true; // ids never come back
	state = lease_word_state(atomic_load(&lease->state));
	return state == LEASE_FREE || state == LEASE_DEAD ||
	       owner_ended(arena, atomic_load(&lease->owner));
}

// A slot that may be written, tagged if `tag`; -1: none.
static int find_slot(const struct attempt *attempt, bool tag)
{
	const uint64_t own = attempt->lease->id;

	for (uint32_t i = 0; i < ONCE_SLOTS; i++) {
		shared_u64 *place = &attempt->object->tags[i];
		uint64_t seen = atomic_load(place);

		if (seen == own || (tag_is_over(attempt->arena, seen) &&
				    (!tag || atomic_compare_exchange_strong(place, &seen, own))))
			return (int)i;
	}
	return -1;
}

// The same, once there is one: while the word is its own, it waits for the end of those lost leases
// that have tagged all of them. Their release wakes nobody; the backstop sees it.
static int await_slot(struct attempt *attempt, bool tag)
{
	int slot, error;

	if (!attempt->data_size)
		return 0;
	while ((slot = find_slot(attempt, tag)) < 0) {
		bool ended = false;

		if (attempt->deadline.ns == 0)
			return -EBUSY;
		begin_round(attempt);
		for (uint32_t i = 0; i < ONCE_SLOTS; i++) {
			const uint64_t seen = atomic_load(&attempt->object->tags[i]);
			const uint32_t owner = (uint32_t)(seen & ((1u << LEASE_SLOT_BITS) - 1));

			ended |= owner >= attempt->arena->lease_count ||
				 !wait_on_owner(&attempt->wait,
						atomic_load(&attempt->arena->leases[owner].owner));
		}
		error = ended ? 0 : wait_sleep(&attempt->wait);
		if (error) {
			end_wait(attempt);
			return error;
		}
	}
	end_wait(attempt);
	return slot;
}

// Copies the value into a slot and publishes it. 0; -ESTALE: lost, and nothing is changed; or as
// await_slot.
static int commit(struct attempt *attempt, const void *data)
{
	uint64_t word = attempt->word;
	const int slot = await_slot(attempt, true);

	if (slot < 0)
		return slot;
	// Looked at after the tag: whoever takes the attempt from us from here on passes this slot
	// over.
	if (atomic_load(&attempt->object->word) != word)
		return -ESTALE;
	if (data)
		memcpy(slot_of(attempt->object, attempt->data_size, (uint32_t)slot), data,
		       attempt->data_size);
	// running → done, from the very word that we took. Release pairs with is_done.
	if (!atomic_compare_exchange_strong(&attempt->object->word, &word,
					    (word & ~ONCE_BELOW_TOKEN) | ONCE_DONE |
						    (uint64_t)slot << ONCE_SLOT_SHIFT))
		return -ESTALE;
	wake(attempt->object);
	return 0;
}

static int initialise_with(struct attempt *attempt, void *data,
			   int (*init)(void *data, void *context), void *context, bool *ret_foreign)
{
	int result = await_slot(attempt, false); // before there is something to be thrown away

	if (result < 0)
		return result;
	result = init(data, context);
	// In a child that was forked meanwhile all this is the parent's.
	*ret_foreign = lease_check_caller(attempt->lease) != 0;
	if (*ret_foreign || lease_check(attempt->lease) != 0)
		return -ESTALE;
	if (result)
		return result < 0 ? result : error_text(-EINVAL, "init returned a positive number");
	return commit(attempt, data);
}

// The word is our own: runs the initialiser. 0: done. The word is not ours any more afterwards.
static int initialise(struct attempt *attempt, int (*init)(void *data, void *context),
		      void *context, bool *ret_foreign)
{
	const uint64_t size = primitive_lines(attempt->data_size);
	void *data = NULL;
	int error = 0;

	if (size) {
		data = aligned_alloc(LAYOUT_LINE, size);
		if (data)
			memset(data, 0, size);
		else
			error = -ENOMEM;
	}
	if (!error)
		error = initialise_with(attempt, data, init, context, ret_foreign);
	free(data);
	if (error && !*ret_foreign && !give_back(attempt))
		error = -ESTALE;
	return error;
}

// ---------------------------------------------------------------------------------------------
// Waiting for its turn

// absent → running, token + 1. 0: ours; -EAGAIN: it has changed; -ESTALE.
static int try_take(struct attempt *attempt, uint64_t word)
{
	const uint64_t taken = word + WORD_TOKEN_ONE + attempt->lease->name;
	const bool waited = attempt->waits;

	if (word_token(word) == WORD_TOKEN_MAX)
		return -EOVERFLOW;
	if (word & ONCE_BELOW_TOKEN)
		return -EBADMSG;
	if (!atomic_compare_exchange_strong(&attempt->object->word, &word, taken))
		return -EAGAIN;
	attempt->word = taken;
	end_wait(attempt);
	if (waited ? lease_check(attempt->lease) != 0 : !lease_is_live(attempt->lease)) {
		give_back(attempt);
		return -ESTALE;
	}
	if (waited)
		probe_grant(attempt->lease, attempt->granule, word_token(taken));
	return 0;
}

// Whether the one who runs the initialiser is the caller's own thread, with another lease.
static bool is_own_thread(const struct attempt *attempt, uint32_t slot)
{
	return slot < attempt->arena->lease_count && attempt->lease->owner_thread &&
	       atomic_load(&attempt->arena->leases[slot].owner) == attempt->lease->owner &&
	       word_owner(atomic_load(&attempt->object->word)) == slot + 1;
}

static bool reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);

// Another runs it. -EAGAIN: look again.
static int wait_for_owner(struct attempt *attempt, uint64_t word)
{
	const uint32_t slot = word_owner(word) - 1;
	struct lh_arena *arena = attempt->arena;
	uint64_t until = UINT64_MAX;
	struct lost_lease lost;
	int error;

	if (is_own_thread(attempt, slot))
		return -EDEADLK;
	error = primitive_judge(arena, slot, word, &attempt->stuck, &lost, &until);
	if (error == PRIMITIVE_LOST) {
		owner_wake_if_ended(arena, lost.owner);
		reap_lease(arena, &lost);
		// Its table was damaged if it does not name what the word says it has.
		if (atomic_load(&attempt->object->word) == word)
			reap(arena, &lost, attempt->own_record);
		return -EAGAIN;
	}
	if (error)
		return error;
	if (attempt->deadline.ns == 0)
		return -EBUSY;
	begin_round(attempt);
	wait_not_after(&attempt->wait, until);
	wait_on(&attempt->wait, futex_low_half(&attempt->object->word), (uint32_t)word);
	if (!wait_on_lease(&attempt->wait, slot))
		return -EAGAIN;
	error = deadlock_check(attempt->lease);
	if (!error)
		error = wait_sleep(&attempt->wait);
	return error ? error : -EAGAIN;
}

// 0: it is ours to run, or done (then *ret_done); else the call's error.
static int await_turn(struct attempt *attempt, bool *ret_done)
{
	int error;

	do {
		const uint64_t word = atomic_load(&attempt->object->word);

		if (word & ONCE_DONE) {
			*ret_done = true;
			// a lease that was lost in the queue is told so
			if (attempt->waits)
				return lease_check(attempt->lease);
			return lease_is_live(attempt->lease) ? 0 : -ESTALE;
		}
		error = word_owner(word) ? wait_for_owner(attempt, word) : try_take(attempt, word);
	} while (error == -EAGAIN);
	return error;
}

static int call_slow(const lh_once *once, lh_lease *lease, int (*init)(void *data, void *context),
		     void *context, lh_deadline deadline)
{
	struct attempt attempt;
	struct hold_record *record;
	bool done = false, foreign = false;
	int error = primitive_check_call(once->private_, LH_KIND_ONCE, lease);

	if (error)
		return error;
	done = is_done(once);
	error = lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE; // looked at last
	if (error || done)
		return error;
	if (!init)
		return error_text(-EINVAL, "init is NULL, and it is not done yet");
	if (word_owner(atomic_load(&object_of(once)->word)) == lease->name)
		return -EDEADLK;
	record = hold_insert(lease, once->private_[2]);
	if (!record)
		return -ENOLCK;
	attempt.arena = primitive_arena(once->private_);
	attempt.object = object_of(once);
	attempt.granule = primitive_granule(once->private_);
	attempt.data_size = once->private_[3];
	attempt.lease = lease;
	attempt.own_record = once->private_[2];
	attempt.deadline = deadline;
	attempt.waits = false;
	attempt.stuck = (struct primitive_stuck){ 0 };
	error = await_turn(&attempt, &done);
	end_wait(&attempt);
	if (!error && !done)
		error = initialise(&attempt, init, context, &foreign);
	if (!foreign)
		hold_clear(record);
	return error;
}

hot_path int lh_once_call(const lh_once *once, lh_lease *lease,
			  int (*init)(void *data, void *context), void *context,
			  lh_deadline deadline)
{
	int error;

	if (likely(once) && likely(lease) && primitive_is_simple(once->private_, lease) &&
	    likely(is_done(once)))
		return 0;
	if (!once)
		return error_text(-EINVAL, "the handle is NULL");
	if (lease)
		return call_slow(once, lease, init, context, deadline);
	// Who can only read has no lease.
	error = primitive_check_handle(once->private_, LH_KIND_ONCE);
	if (!error && !primitive_arena(once->private_)->read_only)
		error = error_text(-EINVAL, "lease is NULL, and the arena is not read-only");
	if (!error && !is_done(once))
		error = -EROFS;
	return error;
}

// ---------------------------------------------------------------------------------------------
// What the arena asks (kind.h)

static struct once_object *at(const struct lh_arena *arena, uint32_t granule)
{
	struct object_header *header = arena_object(arena, granule);

	return header && header->kind == LH_KIND_ONCE ? (struct once_object *)header : NULL;
}

static bool reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint64_t offset = (uint64_t)hold_word_granule(record) * LAYOUT_LINE;
	const bool died = lease_word_state(lost->state) == LEASE_DEAD;
	struct once_object *object = at(arena, hold_word_granule(record));
	uint64_t word;

	if (!object) {
		event_record(arena, LH_EVENT_CORRUPT, lost, offset, record);
		return false;
	}
	word = atomic_load(&object->word);
	// theirs → absent, the token kept: the word changes with each attempt, so one CAS is
	// enough.
	if (!(word & ONCE_DONE) && word_owner(word) == lost->slot + 1 &&
	    lease_still_lost(arena, lost) &&
	    atomic_compare_exchange_strong(&object->word, &word, word & ~ONCE_BELOW_TOKEN))
		event_record(arena, died ? LH_EVENT_OWNER_DIED : LH_EVENT_EXPIRED, lost, offset,
			     word_token(word));
	// It may have died between its change of the word and the wake.
	wake(object);
	return false;
}

// For lh_lease_release: an initialiser that never returned is given up, an intent forgotten.
static int release(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t own = atomic_load_explicit(&record->object, memory_order_relaxed);
	struct once_object *object = at(lease->arena, hold_word_granule(own));
	uint64_t word;

	if (!object)
		return -EBADMSG;
	if (!lease_is_live(lease))
		return -ESTALE;
	word = atomic_load(&object->word);
	if (!(word & ONCE_DONE) && word_owner(word) == lease->name) {
		if (!atomic_compare_exchange_strong(&object->word, &word, word & ~ONCE_BELOW_TOKEN))
			return -ESTALE;
		wake(object);
	}
	hold_clear(record);
	return 0;
}

static int64_t owner(const struct lh_arena *arena, uint32_t granule)
{
	const struct once_object *object = at(arena, granule);
	const uint64_t word = object ? atomic_load(&object->word) : 0;

	return word & ONCE_DONE ? -1 : (int64_t)word_owner(word) - 1;
}

static void view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		 struct hold_view *ret_view)
{
	const uint32_t granule = hold_word_granule(record);
	const struct once_object *object = at(arena, granule);

	*ret_view = (struct hold_view){
		.token = object ? word_token(atomic_load(&object->word)) : 0,
		.mode = owner(arena, granule) == slot ? LH_HOLD_EXCLUSIVE : LH_HOLD_INTENT,
	};
}

static bool look(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info)
{
	const struct once_object *object = at(arena, granule);
	const uint64_t word = object ? atomic_load(&object->word) : 0;
	const uint64_t slot = word >> ONCE_SLOT_SHIFT & (ONCE_SLOTS - 1);

	if (!object)
		return false; // removed, or damaged, since its kind was read
	info->token = word_token(word);
	if (!(word & ONCE_DONE))
		return true;
	info->flags = LH_OBJECT_DONE;
	info->data_offset = info->offset + sizeof(struct once_object) +
			    slot * primitive_lines(info->data_size);
	return true;
}

// A slot that a stopped initialiser may still write is no free memory.
static bool busy(const struct lh_arena *arena, uint32_t granule)
{
	const struct once_object *object = at(arena, granule);

	if (!object)
		return false;
	for (uint32_t i = 0; i < ONCE_SLOTS; i++) {
		const uint64_t tag = atomic_load(&object->tags[i]);
		const uint32_t slot = (uint32_t)(tag & ((1u << LEASE_SLOT_BITS) - 1));

		if (!tag_is_over(arena, tag) &&
		    lease_word_state(atomic_load(&arena->leases[slot].state)) == LEASE_EXPIRED)
			return true;
	}
	return owner(arena, granule) >= 0;
}

static void audit(const struct lh_arena *arena, uint32_t granule, uint64_t size,
		  bool (*report)(void *context, int severity, uint64_t offset, const char *text),
		  void *context)
{
	const struct once_object *object = at(arena, granule);
	const uint64_t word = object ? atomic_load(&object->word) : 0;

	(void)size; // a line is what each object has
	if ((word & ONCE_DONE) ? word_owner(word) != 0
			       : ((word & ONCE_BELOW_TOKEN) & ~WORD_OWNER_MASK) != 0)
		report(context, LH_CHECK_CORRUPT, (uint64_t)granule * LAYOUT_LINE,
		       "once: its word is not one that is written");
}

const struct kind_ops once_ops = {
	.reap = reap,
	.release = release,
	.owner = owner,
	.view = view,
	.look = look,
	.busy = busy,
	.stride = stride_of,
	.audit = audit,
};
