// SPDX-License-Identifier: Apache-2.0
//
// The cell: a value that anybody reads without a lock, and that one lease at a time drafts anew.
// The words and the slots are in slots.h. A draft is private memory of the lease's handle, so a
// lost drafter leaves nothing to repair.
#include "arena/error.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"
#include "src/deadlock.h"
#include "src/kinds.h"
#include "src/slots.h"

#include <leasehold/cell.h>

#include <errno.h>
#include <stdlib.h>

// ---------------------------------------------------------------------------------------------
// The handle

static struct slots_options options_of(const struct lh_cell_options *options)
{
	static const struct lh_cell_options defaults;
	const struct lh_cell_options *chosen = options ? options : &defaults;

	return (struct slots_options){ .kind = LH_KIND_CELL,
				       .slots = chosen->slots,
				       .size = chosen->size,
				       .name = chosen->name,
				       .reserved = chosen->reserved };
}

size_t lh_cell_footprint(const struct lh_cell_options *options)
{
	const struct slots_options wanted = options_of(options);

	return (size_t)slots_footprint(&wanted);
}

int lh_cell_at(lh_arena *arena, uint64_t offset, const struct lh_cell_options *options,
	       lh_cell *ret_cell)
{
	const struct slots_options wanted = options_of(options);

	return slots_at(arena, offset, &wanted, ret_cell ? ret_cell->private_ : NULL);
}

uint64_t lh_cell_offset(const lh_cell *cell)
{
	return cell ? primitive_offset(cell->private_) : 0;
}

// Apart, so that the usual way needs no memory of its own.
static __attribute__((noinline)) int read_again(const lh_cell *cell, void *buffer,
						uint64_t *ret_version)
{
	const struct slots slots = slots_of(cell->private_);
	struct slots_look look;
	const int error = slots_read(&slots, true, buffer, SIZE_MAX, &look);

	if (!error && ret_version)
		*ret_version = look.version;
	return error;
}

int lh_cell_read(const lh_cell *cell, void *buffer, uint64_t *ret_version)
{
	struct slots_look look;
	struct slots slots;
	int error = cell && buffer ? slots_check(cell->private_, LH_KIND_CELL)
				   : error_text(-EINVAL, "cell or buffer is NULL");

	if (error)
		return error;
	slots = slots_of(cell->private_);
	error = slots_try_read(&slots, true, buffer, SIZE_MAX, &look);
	if (error == -EAGAIN)
		return read_again(cell, buffer, ret_version);
	if (error) {
		error_note_nothing();
		return error;
	}
	if (ret_version)
		*ret_version = look.version;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Begin

static int check_call(const lh_cell *cell, const struct lh_lease *lease)
{
	return cell ? primitive_check_call(cell->private_, LH_KIND_CELL, lease)
		    : error_text(-EINVAL, "the handle is NULL");
}

struct drafter {
	struct slots slots;
	struct lh_lease *lease;
	lh_deadline deadline;
	struct wait wait;
	bool waits; // an edge is published
	struct primitive_stuck stuck;
};

// Sleeps until the owner may have let go. 0 or -EAGAIN: look again.
static int sleep_on(struct drafter *drafter, uint64_t word, uint64_t until)
{
	const struct slots *slots = &drafter->slots;
	int error;

	if (!drafter->waits) {
		wait_begin(&drafter->wait, slots->arena, drafter->lease, drafter->deadline);
		deadlock_publish(drafter->lease, slots->granule);
		drafter->waits = true;
	}
	wait_round(&drafter->wait);
	// theirs → theirs, MARK. Before it a crash leaves nothing, after it a needless wake.
	if (!(word & SLOTS_MARK) &&
	    !atomic_compare_exchange_strong(&slots->header->word, &word, word | SLOTS_MARK))
		return -EAGAIN;
	wait_on(&drafter->wait, futex_low_half(&slots->header->word),
		(uint32_t)(word | SLOTS_MARK));
	wait_not_after(&drafter->wait, until);
	if (!wait_on_lease(&drafter->wait, slots_word_owner(word) - 1))
		return -EAGAIN;
	error = deadlock_check(drafter->lease);
	return error ? error : wait_sleep(&drafter->wait);
}

// One look. 0: the lease may publish, *ret_word says so; -EAGAIN: look again.
static int look(struct drafter *drafter, uint64_t *ret_word)
{
	const struct slots *slots = &drafter->slots;
	const uint64_t word = atomic_load_explicit(&slots->header->word, memory_order_acquire);
	uint64_t until = UINT64_MAX;
	int error;

	if (slots_word_slot(word) >= slots->count)
		return -EBADMSG;
	if (!slots_word_owner(word))
		return slots_any_free(slots, word)
			       ? slots_take(slots, drafter->lease, word, ret_word)
			       : -EBUSY;
	error = slots_judge(slots, word, drafter->waits, &drafter->stuck, &until);
	if (error)
		return error;
	if (drafter->deadline.ns == 0)
		return -EBUSY;
	error = sleep_on(drafter, word, until);
	return error ? error : -EAGAIN;
}

// Waits as the deadline allows. 0: the lease may publish.
static int acquire(struct drafter *drafter, uint64_t *ret_word)
{
	int error;

	do {
		error = look(drafter, ret_word);
	} while (error == -EAGAIN);
	if (drafter->waits) {
		deadlock_clear(drafter->lease);
		if (!error)
			probe_grant(drafter->lease, drafter->slots.granule,
				    slots_word_token(*ret_word));
	}
	return error;
}

static int begin(struct drafter *drafter, struct lease_memory *draft, void **ret_draft,
		 lh_grant *ret_grant)
{
	const struct slots *slots = &drafter->slots;
	struct slots_look look;
	uint64_t word;
	int error = acquire(drafter, &word);

	if (error)
		return error;
	draft->granule = slots->granule;
	draft->token = slots_word_token(word);
	error = slots_read(slots, true, draft->bytes, SIZE_MAX, &look);
	if (error) {
		slots_let_go(slots, drafter->lease,
			     hold_find(drafter->lease, LH_KIND_CELL, slots->granule));
		return error;
	}
	lease_memory_link(drafter->lease, draft);
	*ret_draft = draft->bytes;
	if (ret_grant)
		*ret_grant = (lh_grant){ .token = draft->token };
	return 0;
}

int lh_cell_begin(const lh_cell *cell, lh_lease *lease, lh_deadline deadline, void **ret_draft,
		  lh_grant *ret_grant)
{
	struct drafter drafter; // field by field: `wait` is large
	struct lease_memory *draft;
	int error = check_call(cell, lease);

	if (error)
		return error;
	if (!ret_draft)
		return error_text(-EINVAL, "ret_draft is NULL");
	error = lease_check(lease);
	if (!error)
		error = lease_check_cancel(lease);
	if (error)
		return error;
	drafter.slots = slots_of(cell->private_);
	drafter.lease = lease;
	drafter.deadline = deadline;
	drafter.waits = false;
	drafter.stuck = (struct primitive_stuck){ 0 };
	if (slots_word_owner(atomic_load(&drafter.slots.header->word)) == lease->name)
		return -EDEADLK;
	draft = lease_memory_make(drafter.slots.max_size);
	if (!draft)
		return -ENOMEM;
	error = begin(&drafter, draft, ret_draft, ret_grant);
	if (error)
		free(draft);
	return error == -EBUSY && lease_check(lease) ? -ESTALE : error;
}

// ---------------------------------------------------------------------------------------------
// Commit, abort

static bool is_granted(uint64_t word, const struct lh_lease *lease,
		       const struct lease_memory *draft)
{
	return slots_word_owner(word) == lease->name && slots_word_token(word) == draft->token;
}

// {me, t, old slot} → {0, t, new slot}, whatever MARK. The token is in the word: a commit after a
// loss finds another. -EAGAIN: it did.
static int publish(const struct slots *slots, const struct lh_lease *lease,
		   const struct lease_memory *draft, uint64_t word, uint32_t slot)
{
	while (!atomic_compare_exchange_strong(
		&slots->header->word, &word, slots_word_with_slot(slots_word_freed(word), slot))) {
		if (!is_granted(word, lease, draft))
			return -EAGAIN;
	}
	if (word & SLOTS_MARK)
		slots_wake(slots);
	return 0;
}

// -EAGAIN: the word is not the lease's any more; nothing was published.
static int commit(const struct slots *slots, const struct lh_lease *lease,
		  const struct lease_memory *draft)
{
	const uint64_t word = atomic_load_explicit(&slots->header->word, memory_order_acquire);
	uint32_t slot;
	int error;

	if (!is_granted(word, lease, draft))
		return -EAGAIN;
	if (slots_word_slot(word) >= slots->count)
		return -EBADMSG;
	error = slots_tag(slots, lease, word, &slot);
	if (error)
		return error;
	slots_write(slots, word, slot, draft->token, draft->bytes, slots->max_size);
	// It may have been stopped for long in the middle: an expiry that has passed is latched.
	error = lease_check(lease);
	return error ? error : publish(slots, lease, draft, word, slot);
}

int lh_cell_commit(const lh_cell *cell, lh_lease *lease)
{
	struct hold_record *record;
	struct lease_memory *draft;
	struct slots slots;
	int error = check_call(cell, lease);

	if (!error)
		error = lease_check(lease);
	if (error)
		return error;
	slots = slots_of(cell->private_);
	draft = lease_memory_find(lease, slots.granule);
	if (!draft)
		return -EPERM;
	error = commit(&slots, lease, draft);
	if (error == -EAGAIN) // not ours any more: lost, or the bytes are not what they were
		error = lease_check(lease) ? -ESTALE : -EBADMSG;
	if (error)
		return error;
	record = hold_find(lease, LH_KIND_CELL, slots.granule);
	if (record)
		hold_clear(record);
	lease_memory_drop(lease, draft);
	return 0;
}

int lh_cell_abort(const lh_cell *cell, lh_lease *lease)
{
	struct lease_memory *draft;
	struct slots slots;
	int error = check_call(cell, lease);

	if (error)
		return error;
	slots = slots_of(cell->private_);
	draft = lease_memory_find(lease, slots.granule);
	if (draft)
		lease_memory_drop(lease, draft);
	return slots_let_go(&slots, lease, hold_find(lease, LH_KIND_CELL, slots.granule));
}

const struct kind_ops cell_ops = {
	.reap = slots_reap,
	.release = slots_release,
	.owner = slots_owner,
	.view = slots_view,
	.look = slots_show,
	.busy = slots_busy,
};
