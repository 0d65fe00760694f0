// SPDX-License-Identifier: Apache-2.0
//
// Memory for the user: placed regions, and regions held under a lease.
//
// Of a leased region a crash leaves: before the hold record, a CLAIM of a dead placer, which
// anybody clears; after it, a record whose entry (its index is in the record) is freed by the
// reaper if it names the lease; after READY the same.
#include "arena/error.h"
#include "arena/hold.h"
#include "arena/event.h"
#include "arena/kind.h"
#include "arena/object.h"
#include "arena/placement.h"
#include "arena/process.h"
#include "arena/reap.h"

#include <errno.h>
#include <string.h>

int lh_region_at(lh_arena *arena, uint64_t offset, size_t size, const char *name,
		 uint64_t *ret_offset)
{
	const struct placement wanted = {
		.offset = offset,
		.size = (size + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE,
		.data_size = size,
		.kind = LH_KIND_REGION,
		.name = name,
	};

	if (!arena || !ret_offset)
		return error_detail(-EINVAL, "arena or ret_offset is NULL");
	if (size == 0)
		return error_detail(-EINVAL, "a region of no bytes");
	if (wanted.size < size)
		return error_detail(-ENOSPC, "a region of %zu bytes", size);
	return placement_at(arena, &wanted, NULL, ret_offset, NULL);
}

int lh_find(const lh_arena *arena, const char *name, uint64_t *ret_offset)
{
	struct placement_copy copy;
	int error;

	if (!arena || !name || !ret_offset)
		return error_detail(-EINVAL, "arena, name or ret_offset is NULL");
	error = placement_check_name(name);
	if (error)
		return error;
	for (uint32_t i = 0; i < placement_bound(arena); i++) {
		if (!placement_read(arena, i, &copy)) {
			if (placement_damaged(arena, i))
				error = placement_damage(i);
		} else if (placement_phase(copy.state) == ENTRY_READY &&
			   strcmp(copy.name, name) == 0) {
			*ret_offset = copy.placement.offset;
			return 0;
		}
	}
	return error ? error : error_detail(-ENOENT, "no placement is named \"%s\"", name);
}

static bool is_busy(const struct lh_arena *arena, const struct placement *placement)
{
	const struct kind_ops *ops = kind_ops(placement->kind);
	const uint64_t now = clock_now();
	uint64_t stride;
	uint32_t count;

	if (placement->lease)
		return true;
	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		const uint64_t wanted = (atomic_load(&arena->leases[slot].edge) >>
					 EDGE_WANTED_SHIFT) *
					LAYOUT_LINE;

		// What a free slot wanted is its last tenant's.
		if (lease_state_seen(arena, slot, now) == LH_LEASE_LIVE &&
		    wanted >= placement->offset && wanted - placement->offset < placement->size)
			return true;
	}
	if (!ops || !ops->busy)
		return false;
	count = kind_elements(ops, placement->size, placement->data_size, placement->count,
			      &stride);
	for (uint32_t i = 0; i < count; i++) {
		if (ops->busy(arena, arena_granule(placement->offset + i * stride)))
			return true;
	}
	return false;
}

static int remove_at(struct lh_arena *arena, uint64_t offset)
{
	struct placement_copy copy;
	int error = 0;

	if (arena_shared(arena))
		return error_detail(-EBUSY, "another process, or a read-only handle, has it open");
	reap_all(arena);
	for (uint32_t i = 0; i < placement_bound(arena); i++) {
		if (!placement_read(arena, i, &copy)) {
			if (placement_damaged(arena, i))
				error = placement_damage(i);
			continue;
		}
		if (copy.placement.offset != offset || placement_phase(copy.state) != ENTRY_READY)
			continue;
		if (is_busy(arena, &copy.placement))
			return error_detail(-EBUSY, "%s \"%s\" is held or waited for",
					    lh_kind_name(copy.placement.kind), copy.name);
		if (placement_remove(arena, i, copy.state) == 0)
			return 0;
	}
	return error ? error
		     : error_detail(-ENOENT, "no placement begins at %llu",
				    (unsigned long long)offset);
}

// Keeps others from attaching and removing meanwhile: 0 or -EBUSY. The gate is a lock of the open
// file, so it keeps out no other thread of this process; what a parent's thread had begun before a
// fork is of no concern to the child.
static int enter_alone(struct lh_arena *arena)
{
	const uint64_t self = process_generation();
	uint64_t before = atomic_load(&arena->alone);
	int error;

	if (before == self || !atomic_compare_exchange_strong(&arena->alone, &before, self))
		return error_detail(-EBUSY, "another thread is removing a placement");
	error = object_enter_gate(arena->fd, true);
	if (error)
		atomic_store(&arena->alone, 0);
	return error;
}

static void leave(struct lh_arena *arena)
{
	object_leave_gate(arena->fd);
	atomic_store(&arena->alone, 0);
}

int lh_remove(lh_arena *arena, uint64_t offset)
{
	int error;

	if (!arena)
		return error_detail(-EINVAL, "arena is NULL");
	if (arena->read_only)
		return error_detail(-EROFS, "the arena was opened read-only");
	error = enter_alone(arena);
	if (error)
		return error;
	error = remove_at(arena, offset);
	leave(arena);
	return error;
}

// ---------------------------------------------------------------------------------------------
// Leased regions

static uint64_t region_record(uint32_t entry, uint64_t offset)
{
	return hold_word(LH_KIND_REGION, LH_HOLD_REGION, entry, arena_granule(offset));
}

// One attempt; -EAGAIN: a rival was faster.
static int acquire_once(struct lh_lease *lease, size_t size, uint64_t *ret_offset)
{
	const struct placement wanted = {
		.offset = LH_ANYWHERE,
		.size = (size + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE,
		.data_size = size,
		.kind = LH_KIND_REGION,
		.lease = lh_lease_id(lease),
	};
	struct lh_arena *arena = lease->arena;
	struct placement_claim claim;
	struct hold_record *record;
	int error = placement_claim(arena, &wanted, &claim);

	if (error)
		return error;
	record = hold_insert(lease, region_record(claim.entry, claim.offset));
	if (!record) {
		placement_settle(arena, &claim, false);
		return error_detail(-ENOLCK, "the lease has %u holds", arena->max_holds);
	}
	error = placement_settle(arena, &claim, true);
	if (!error) {
		memset(arena->base + claim.offset, 0, wanted.size);
		error = lease_check(lease);
		if (error == 0) {
			*ret_offset = claim.offset;
			return 0;
		}
		return error; // lost: it comes back with the lease
	}
	hold_clear(record);
	return error;
}

int lh_region_acquire(lh_lease *lease, size_t size, uint64_t *ret_offset)
{
	int error = lease_check(lease);
	bool reaped = false;

	if (error)
		return error_detail(error, "lease");
	if (!ret_offset || size == 0)
		return error_detail(-EINVAL, "ret_offset is NULL or size is 0");
	if (size > lease->arena->user_end - lease->arena->user_offset)
		return error_detail(
			-ENOSPC, "%zu bytes: the arena has %llu", size,
			(unsigned long long)(lease->arena->user_end - lease->arena->user_offset));
	do {
		error = acquire_once(lease, size, ret_offset);
		if (error == -ENOSPC && !reaped) {
			reap_all(lease->arena); // leased memory of the dead comes back
			reaped = true;
			error = -EAGAIN;
		}
	} while (error == -EAGAIN);
	return error;
}

// READY → FREE, then the record; between the two a reaper finds nothing to free. -EPERM: not held.
static int return_region(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load_explicit(&record->object, memory_order_relaxed);
	const bool freed = placement_return(lease->arena, hold_word_count(word),
					    lh_lease_id(lease));

	hold_clear(record);
	return freed ? 0 : -EBADMSG;
}

int lh_region_release(lh_lease *lease, uint64_t offset)
{
	const int error = lease_check(lease);
	struct hold_record *record;

	if (error)
		return error_detail(error, "lease");
	if (offset % LAYOUT_LINE || !lh_arena_range(lease->arena, offset, LAYOUT_LINE))
		return error_detail(-EPERM, "no leased region begins at %llu",
				    (unsigned long long)offset);
	record = hold_find(lease, LH_KIND_REGION, arena_granule(offset));
	if (!record)
		return error_detail(-EPERM, "this lease has no region at %llu",
				    (unsigned long long)offset);
	return return_region(lease, record);
}

// Of an EXPIRED lease the memory stays: its owner may still write to it.
static bool reap_region(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint64_t offset = arena_user_offset(arena, hold_word_granule(record), LAYOUT_LINE);

	if (lease_word_state(lost->state) != LEASE_DEAD || !lease_still_lost(arena, lost))
		return false;
	if (placement_return(arena, hold_word_count(record), lost->id))
		event_record(arena, LH_EVENT_REGION_RETURNED, lost, offset, 0);
	return false;
}

static void view_region(const struct lh_arena *arena, uint32_t slot, uint64_t record,
			struct hold_view *ret_view)
{
	(void)arena;
	(void)slot;
	(void)record;
	*ret_view = (struct hold_view){ .mode = LH_HOLD_REGION };
}

const struct kind_ops region_ops = {
	.reap = reap_region,
	.release = return_region,
	.view = view_region,
};
