// SPDX-License-Identifier: Apache-2.0
//
// Looking without touching. Every entry is copied, checked and, where it is guarded by a word,
// taken only if that word has not changed meanwhile.
#include "arena/error.h"
#include "arena/hold.h"
#include "arena/kind.h"
#include "arena/owner.h"
#include "arena/placement_index.h"
#include "arena/reap.h"

#include <leasehold/inspect.h>

#include <errno.h>
#include <string.h>

static void copy_text(char *target, const void *source, size_t size)
{
	const char *from = source;

	memset(target, 0, size);
	for (size_t i = 0; i + 1 < size && from[i]; i++)
		target[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
}

int lh_next_placement(const lh_arena *arena, uint64_t *cursor, struct lh_placement_info *ret_info)
{
	struct placement_copy copy;

	if (!arena || !cursor || !ret_info)
		return error_detail(-EINVAL, "arena, cursor or ret_info is NULL");
	error_note_nothing();
	while (*cursor < placement_bound(arena)) {
		if (!placement_read(arena, (uint32_t)(*cursor)++, &copy))
			continue;
		*ret_info = (struct lh_placement_info){
			.offset = copy.placement.offset,
			.size = copy.placement.size,
			.kind = copy.placement.kind,
			.count = copy.placement.count ? copy.placement.count
						      : copy.placement.parameter,
			.data_size = copy.placement.data_size,
			.lease = copy.placement.lease,
			.flags = copy.placement.flags,
		};
		if (placement_phase(copy.state) < ENTRY_READY)
			ret_info->state = placement_abandoned(arena, copy.state)
						  ? LH_PLACEMENT_ABANDONED
						  : LH_PLACEMENT_PLACING;
		copy_text(ret_info->name, copy.name, sizeof(ret_info->name));
		return 0;
	}
	return -ENOENT;
}

// The id of the lease that an object's word names; 0: none, or no lease slot.
static uint64_t owner_id(const struct lh_arena *arena, const struct kind_ops *ops, uint32_t granule)
{
	const int64_t slot = ops->owner ? ops->owner(arena, granule) : -1;

	return slot >= 0 && slot < (int64_t)arena->lease_count
		       ? atomic_load_explicit(&arena->leases[slot].id, memory_order_relaxed)
		       : 0;
}

// Where the object number `index` begins: 0, -ENOENT, -EBADMSG.
static int find_object(const struct lh_arena *arena, const struct kind_ops *ops,
		       const struct lh_placement_info *placement, uint32_t index,
		       uint32_t *ret_granule)
{
	uint64_t stride, offset;
	const uint32_t count = kind_elements(ops, placement->size, placement->data_size,
					     placement->count, &stride);

	if (placement->state || index >= (stride ? count : 1))
		return -ENOENT;
	offset = placement->offset + index * stride;
	if (offset % LAYOUT_LINE || offset / LAYOUT_LINE > UINT32_MAX ||
	    !arena_user_offset(arena, (uint32_t)(offset / LAYOUT_LINE), LAYOUT_LINE))
		return -EBADMSG;
	*ret_granule = (uint32_t)(offset / LAYOUT_LINE);
	return 0;
}

int lh_inspect_object(const lh_arena *arena, const struct lh_placement_info *placement,
		      uint32_t index, struct lh_object_info *ret_info)
{
	const struct kind_ops *ops = placement ? kind_ops(placement->kind) : NULL;
	struct lh_object_info info;
	uint32_t granule;
	int error;

	if (!arena || !placement || !ret_info)
		return error_detail(-EINVAL, "arena, placement or ret_info is NULL");
	error_note_nothing();
	if (!ops)
		return -EBADMSG;
	error = find_object(arena, ops, placement, index, &granule);
	if (error)
		return error;
	info = (struct lh_object_info){ .offset = (uint64_t)granule * LAYOUT_LINE,
					.kind = placement->kind,
					.index = index,
					.data_size = placement->data_size };
	if (ops == &region_ops) {
		info.data_offset = info.offset;
		info.owner = placement->lease;
	} else {
		if (arena_object(arena, granule)->kind != placement->kind ||
		    (ops->look && !ops->look(arena, granule, &info)))
			return -EBADMSG;
		info.owner = owner_id(arena, ops, granule);
	}
	if (!info.data_offset || !lh_arena_range(arena, info.data_offset, info.data_size))
		info.data_offset = info.data_size = 0;
	*ret_info = info;
	return 0;
}

// A slot that is free, or only being set up: its table is what a dead tenant left.
static bool is_unoccupied(const struct lh_arena *arena, uint32_t slot)
{
	return lease_word_state(atomic_load(&arena->leases[slot].state)) == LEASE_FREE;
}

static uint32_t count_holds(const struct lh_arena *arena, uint32_t slot)
{
	const struct hold_record *records = arena_hold_table(arena, slot);
	uint32_t count = 0;

	if (is_unoccupied(arena, slot))
		return 0;
	for (uint32_t i = 0; i < arena->holds_per_lease; i++)
		count += atomic_load_explicit(&records[i].object, memory_order_relaxed) != 0;
	return count;
}

// The thread that waits with the lease, or else the one that is to let go of what it holds: of what
// any may let go of while there are others, the one that waits and is alone.
static uint64_t session_seen(const struct lh_arena *arena, uint32_t slot)
{
	const uint64_t session = atomic_load(&arena->leases[slot].session);
	const uint64_t waits = (session & ~SESSION_FLAGS) | SESSION_ALONE;

	if (!(session & SESSION_UNSAID))
		return session & ~SESSION_FLAGS;
	for (uint32_t i = 0; i < arena->lease_count; i++) {
		if (atomic_load(&arena->leases[i].session) == waits)
			return session & ~SESSION_FLAGS;
	}
	return 0;
}

static bool read_lease(const struct lh_arena *arena, uint32_t slot, uint64_t now,
		       struct lh_lease_info *info)
{
	const struct lease_slot *lease = &arena->leases[slot];
	const uint64_t owner = atomic_load_explicit(&lease->owner, memory_order_acquire);
	const uint64_t word = atomic_load_explicit(&lease->state, memory_order_acquire);
	const uint32_t state = lease_state_seen(arena, slot, now);
	struct identity identity = { .pid = 0 };
	uint64_t edge;

	if (state == 0)
		return false;
	owner_identity(arena, owner, &identity);
	edge = atomic_load(&lease->edge) >> EDGE_WANTED_SHIFT;
	*info = (struct lh_lease_info){
		.id = atomic_load_explicit(&lease->id, memory_order_relaxed),
		.slot = slot,
		.state = state,
		.flags = atomic_load_explicit(&lease->flags, memory_order_relaxed),
		.pid = identity.pid,
		.tid = identity.tid,
		.holds = count_holds(arena, slot),
		.pid_namespace = identity.pid_namespace,
		.start_time = identity.start_time,
		.acquired_ns = atomic_load_explicit(&lease->acquired_ns, memory_order_relaxed),
		.expires_ns = lease_word_expiry(word),
		.session = session_seen(arena, slot),
		.waits_for = arena_user_offset(arena, (uint32_t)edge, LAYOUT_LINE),
	};
	if (info->flags & LH_LEASE_PROCESS)
		info->tid = info->pid;
	if (info->waits_for)
		info->waits_since_ns = atomic_load_explicit(&lease->waiting_since,
							    memory_order_relaxed);
	copy_text(info->command, identity.command, sizeof(info->command));
	copy_text(info->label, lease->label, sizeof(info->label));
	// Still the same tenant? (A renewal or a latch changes the word, not the owner and id.)
	return atomic_load(&lease->owner) == owner && atomic_load(&lease->id) == info->id;
}

int lh_next_lease(const lh_arena *arena, uint64_t *cursor, struct lh_lease_info *ret_info)
{
	struct lh_lease_info info;
	uint64_t now;

	if (!arena || !cursor || !ret_info)
		return error_detail(-EINVAL, "arena, cursor or ret_info is NULL");
	error_note_nothing();
	now = clock_now();
	while (*cursor < arena->lease_count) {
		if (!read_lease(arena, (uint32_t)(*cursor)++, now, &info))
			continue;
		*ret_info = info;
		return 0;
	}
	return -ENOENT;
}

// The placement that an object belongs to, and its index there.
static void find_placement(const struct lh_arena *arena, struct lh_hold_info *info)
{
	struct placement_copy copy;
	const struct kind_ops *ops;

	if (!placement_of(arena, info->offset, &copy))
		return;
	ops = kind_ops(copy.placement.kind);
	info->placement = copy.placement.offset;
	if (ops && ops->stride && ops->stride(copy.placement.data_size))
		info->index = (uint32_t)((info->offset - copy.placement.offset) /
					 ops->stride(copy.placement.data_size));
}

// When the exclusive grant with the hold's token was had; 0: nobody read a clock then.
static uint64_t granted_at(const struct lease_slot *lease, const struct lh_hold_info *info)
{
	const uint32_t granule = (uint32_t)(info->offset / LAYOUT_LINE);
	const uint32_t key = hold_grant_key(granule, info->token);
	uint64_t ns;

	if (info->mode != LH_HOLD_EXCLUSIVE || !info->token ||
	    atomic_load_explicit(&lease->granted, memory_order_acquire) != key)
		return 0;
	ns = atomic_load_explicit(&lease->granted_ns, memory_order_acquire);
	return atomic_load_explicit(&lease->granted, memory_order_relaxed) == key ? ns : 0;
}

static bool read_hold(const struct lh_arena *arena, uint64_t position, struct lh_hold_info *info)
{
	const uint32_t slot = (uint32_t)(position / arena->holds_per_lease);
	const struct lease_slot *lease = &arena->leases[slot];
	const uint64_t id = atomic_load_explicit(&lease->id, memory_order_acquire);
	const uint64_t word = atomic_load_explicit(&arena->holds[position].object,
						   memory_order_acquire);
	const struct kind_ops *ops = kind_ops(hold_word_kind(word));
	struct hold_view view;

	if (!word || !ops || !arena_user_offset(arena, hold_word_granule(word), LAYOUT_LINE))
		return false;
	// A second record of an object says nothing new: of a semaphore there may be one, more are
	// damage.
	if (hold_find_of(arena, slot, hold_word_kind(word), hold_word_granule(word)) !=
	    &arena->holds[position])
		return false;
	ops->view(arena, slot, word, &view);
	*info = (struct lh_hold_info){
		.lease = id,
		.slot = slot,
		.kind = hold_word_kind(word),
		.mode = view.mode,
		.count = view.count                               ? view.count
			 : hold_word_kind(word) == LH_KIND_REGION ? 1
								  : hold_word_count(word),
		.offset = (uint64_t)hold_word_granule(word) * LAYOUT_LINE,
		.token = view.token,
		.damaged = view.damaged,
	};
	info->since_ns = granted_at(lease, info);
	find_placement(arena, info);
	return atomic_load(&lease->id) == id && atomic_load(&arena->holds[position].object) == word;
}

int lh_next_hold(const lh_arena *arena, uint64_t *cursor, struct lh_hold_info *ret_info)
{
	struct lh_hold_info info;

	if (!arena || !cursor || !ret_info)
		return error_detail(-EINVAL, "arena, cursor or ret_info is NULL");
	error_note_nothing();
	while (*cursor < (uint64_t)arena->lease_count * arena->holds_per_lease) {
		const uint64_t position = *cursor;

		if (position % arena->holds_per_lease == 0 &&
		    is_unoccupied(arena, (uint32_t)(position / arena->holds_per_lease))) {
			*cursor += arena->holds_per_lease;
			continue;
		}
		(*cursor)++;
		if (!read_hold(arena, position, &info))
			continue;
		*ret_info = info;
		return 0;
	}
	return -ENOENT;
}

static bool read_event(const struct lh_arena *arena, uint64_t number, struct lh_event_info *info)
{
	const struct event_record *event = &arena->events[number % arena->event_count];
	uint64_t command[2] = { 0 };

	if (atomic_load_explicit(&event->sequence, memory_order_acquire) != number + 1)
		return false;
	*info = (struct lh_event_info){
		.sequence = number + 1,
		.time_ns = atomic_load_explicit(&event->time_ns, memory_order_relaxed),
		.kind = atomic_load_explicit(&event->kind, memory_order_relaxed),
		.pid = (int32_t)atomic_load_explicit(&event->pid, memory_order_relaxed),
		.tid = (int32_t)atomic_load_explicit(&event->tid, memory_order_relaxed),
		.by_pid = (int32_t)atomic_load_explicit(&event->by_pid, memory_order_relaxed),
		.lease = atomic_load_explicit(&event->lease, memory_order_relaxed),
		.offset = atomic_load_explicit(&event->offset, memory_order_relaxed),
		.token = atomic_load_explicit(&event->token, memory_order_relaxed),
	};
	for (int i = 0; i < 2; i++)
		command[i] = atomic_load_explicit(&event->command[i], memory_order_relaxed);
	copy_text(info->command, command, sizeof(info->command));
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&event->sequence, memory_order_relaxed) == number + 1;
}

int lh_next_event(const lh_arena *arena, uint64_t *cursor, struct lh_event_info *ret_info)
{
	struct lh_event_info info;
	uint64_t head;

	if (!arena || !cursor || !ret_info)
		return error_detail(-EINVAL, "arena, cursor or ret_info is NULL");
	error_note_nothing();
	head = atomic_load_explicit(&arena->header->event_head, memory_order_acquire);
	if (head > arena->event_count && *cursor < head - arena->event_count)
		*cursor = head - arena->event_count;
	while (*cursor < head) {
		if (!read_event(arena, (*cursor)++, &info))
			continue;
		*ret_info = info;
		return 0;
	}
	return -ENOENT;
}

#define NAME_OF(names, number)                                                                     \
	((number) < sizeof(names) / sizeof((names)[0]) && (names)[number] ? (names)[number] : "?")

const char *lh_kind_name(uint32_t kind)
{
	static const char *const names[] = { "none",    "region",  "mutex", "rwlock", "semaphore",
					     "barrier", "condvar", "once",  "watch",  "cell" };

	return NAME_OF(names, kind);
}

const char *lh_lease_state_name(uint32_t state)
{
	static const char *const names[] = { NULL, "live", "expired", "dead", "starting" };

	return NAME_OF(names, state);
}

const char *lh_hold_mode_name(uint32_t mode)
{
	static const char *const names[] = { "intent", "exclusive",     "shared",
					     "region", "intent-shared", "intent-exclusive",
					     "permit" };

	return NAME_OF(names, mode);
}

const char *lh_event_kind_name(uint32_t kind)
{
	static const char *const names[] = { NULL,       "owner-died", "expired", "region-returned",
					     "deadlock", "killed",     "corrupt", "broken",
					     "swept",    "removed" };

	return NAME_OF(names, kind);
}
