// SPDX-License-Identifier: Apache-2.0
//
// Placing takes no lock: a placer that is stopped or killed anywhere holds nobody up, except those
// who want the very same placement while it is being made ready.
//
//	FREE  → DRAFT  CAS   the entry is the placer's; it writes the fields
//	DRAFT → CLAIM  CAS   from here on rivals see it
//	                     … full fence; look at all other entries: one that overlaps (or has the
//	                     name) and is INIT or READY wins: back out. One in CLAIM is revoked …
//	CLAIM → FREE   CAS   … by whoever wants the same bytes or name, or by the placer
//	CLAIM → INIT   CAS   fails if it was revoked: begin again. From here on it is exclusive
//	INIT  → READY  CAS   the bytes are ready
//	READY → FREE   CAS   lh_remove; the end of a leased region
//	* → FREE       CAS   of DRAFT, CLAIM and INIT by anybody, once the placer has ended
//
// Of two overlapping claims each sees the other, or one sees the other settled: both are published
// before either looks. So at most one gets to INIT. Each state word carries its placer and a
// sequence that grows with every FREE, so that a stalled revoker's CAS fails.
#include "arena/placement.h"

#include "arena/error.h"
#include "arena/owner.h"
#include "arena/reap.h"
#include "arena/wait.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define PLACING_DEADLINE_NS (10 * CLOCK_NS_PER_S)
#define RIVAL_YIELDS 64

// ---------------------------------------------------------------------------------------------
// The state word

static uint64_t with_phase(uint64_t state, enum entry_phase phase)
{
	return (state & ~(UINT64_C(7) << ENTRY_PHASE_SHIFT)) | (uint64_t)phase << ENTRY_PHASE_SHIFT;
}

static uint64_t draft_word(uint64_t free_word, const struct thread_arena *placer)
{
	return (free_word & ENTRY_SEQUENCE_MASK) | (uint64_t)placer->owner << ENTRY_OWNER_SHIFT |
	       (placer->generation & ENTRY_GENERATION_MASK) << ENTRY_GENERATION_SHIFT |
	       (uint64_t)ENTRY_DRAFT << ENTRY_PHASE_SHIFT;
}

static uint64_t free_word(uint64_t state)
{
	return (state + 1) & ENTRY_SEQUENCE_MASK;
}

static bool change(struct lh_arena *arena, uint32_t entry, uint64_t from, uint64_t to)
{
	return atomic_compare_exchange_strong(&arena->entries[entry].state, &from, to);
}

// The placer's reference; its generation is completed from the owner entry's present one.
static uint64_t placer_of(const struct lh_arena *arena, uint64_t state)
{
	const uint32_t index = (uint32_t)((state >> ENTRY_OWNER_SHIFT) & ENTRY_OWNER_MASK);
	uint64_t generation;

	if (index >= arena->owner_count)
		return 0;
	generation = atomic_load(&arena->owners[index].generation);
	if (((state >> ENTRY_GENERATION_SHIFT) ^ generation) & ENTRY_GENERATION_MASK)
		return 0; // another owner's by now
	return owner_ref(index, generation);
}

bool placement_abandoned(const struct lh_arena *arena, uint64_t state)
{
	return owner_ended(arena, placer_of(arena, state));
}

uint32_t placement_bound(const struct lh_arena *arena)
{
	const uint32_t bound = atomic_load_explicit(&arena->header->entry_bound,
						    memory_order_acquire);

	return bound < arena->entry_count ? bound : arena->entry_count;
}

bool placement_read(const struct lh_arena *arena, uint32_t entry, struct placement_copy *ret_copy)
{
	const struct directory_entry *source = &arena->entries[entry];
	struct placement_copy copy = { .state = atomic_load_explicit(&source->state,
								     memory_order_acquire) };

	if (placement_phase(copy.state) < ENTRY_CLAIM || placement_phase(copy.state) > ENTRY_READY)
		return false;
	copy.placement = (struct placement){
		.offset = atomic_load_explicit(&source->offset, memory_order_relaxed),
		.size = atomic_load_explicit(&source->size, memory_order_relaxed),
		.data_size = atomic_load_explicit(&source->data_size, memory_order_relaxed),
		.kind = atomic_load_explicit(&source->kind, memory_order_relaxed),
		.count = atomic_load_explicit(&source->count, memory_order_relaxed),
		.flags = atomic_load_explicit(&source->flags, memory_order_relaxed),
		.parameter = atomic_load_explicit(&source->parameter, memory_order_relaxed),
		.lease = atomic_load_explicit(&source->lease, memory_order_relaxed),
	};
	for (size_t i = 0; i < LAYOUT_NAME_SIZE / 8; i++) {
		const uint64_t part = atomic_load_explicit(&source->name[i], memory_order_relaxed);

		memcpy(copy.name + i * 8, &part, 8);
	}
	copy.name[LAYOUT_NAME_SIZE - 1] = '\0';
	atomic_thread_fence(memory_order_acquire);
	if (free_word(atomic_load_explicit(&source->state, memory_order_relaxed)) !=
	    free_word(copy.state))
		return false; // freed meanwhile
	*ret_copy = copy;
	ret_copy->placement.name = ret_copy->name;
	return copy.placement.offset % LAYOUT_LINE == 0 && copy.placement.size &&
	       copy.placement.size % LAYOUT_LINE == 0 &&
	       lh_arena_range(arena, copy.placement.offset, copy.placement.size);
}

bool placement_damaged(const struct lh_arena *arena, uint32_t entry)
{
	const shared_u64 *state = &arena->entries[entry].state;
	const uint64_t seen = atomic_load_explicit(state, memory_order_acquire);
	struct placement_copy copy;

	return placement_phase(seen) >= ENTRY_CLAIM && !placement_read(arena, entry, &copy) &&
	       atomic_load_explicit(state, memory_order_relaxed) == seen;
}

int placement_damage(uint32_t entry)
{
	return error_detail(-EBADMSG, "directory entry %u is damaged", entry);
}

static void write_fields(struct directory_entry *entry, const struct placement *wanted,
			 uint64_t offset)
{
	uint64_t name[LAYOUT_NAME_SIZE / 8] = { 0 };

	if (wanted->name)
		memcpy(name, wanted->name, strlen(wanted->name));
	atomic_store_explicit(&entry->offset, offset, memory_order_relaxed);
	atomic_store_explicit(&entry->size, wanted->size, memory_order_relaxed);
	atomic_store_explicit(&entry->data_size, wanted->data_size, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, wanted->kind, memory_order_relaxed);
	atomic_store_explicit(&entry->count, wanted->count, memory_order_relaxed);
	atomic_store_explicit(&entry->flags, wanted->flags, memory_order_relaxed);
	atomic_store_explicit(&entry->parameter, wanted->parameter, memory_order_relaxed);
	atomic_store_explicit(&entry->lease, wanted->lease, memory_order_relaxed);
	for (size_t i = 0; i < LAYOUT_NAME_SIZE / 8; i++)
		atomic_store_explicit(&entry->name[i], name[i], memory_order_relaxed);
}

// ---------------------------------------------------------------------------------------------
// Looking for what is there

static bool same_name(const struct placement *one, const char *name)
{
	return name && *name && one->name && strcmp(one->name, name) == 0;
}

static bool overlaps(const struct placement *one, uint64_t offset, uint64_t size)
{
	return one->offset < offset + size && offset < one->offset + one->size;
}

static bool rivals(const struct placement *there, const struct placement *wanted)
{
	return same_name(there, wanted->name) ||
	       (wanted->offset != LH_ANYWHERE && overlaps(there, wanted->offset, wanted->size));
}

static bool is_equal(const struct placement *there, const struct placement *wanted)
{
	return (wanted->offset == LH_ANYWHERE || there->offset == wanted->offset) &&
	       there->size == wanted->size && there->data_size == wanted->data_size &&
	       there->kind == wanted->kind && there->count == wanted->count &&
	       there->flags == wanted->flags && there->parameter == wanted->parameter &&
	       there->lease == 0 && wanted->lease == 0 &&
	       strcmp(there->name, wanted->name ? wanted->name : "") == 0;
}

// Frees what a dead placer left. Whether the entry is free now.
static bool clear_abandoned(struct lh_arena *arena, uint32_t entry)
{
	const uint64_t state = atomic_load(&arena->entries[entry].state);
	const enum entry_phase phase = placement_phase(state);

	if (phase == ENTRY_FREE)
		return true;
	if (phase >= ENTRY_READY || !placement_abandoned(arena, state))
		return false;
	return change(arena, entry, state, free_word(state));
}

uint32_t placement_sweep(struct lh_arena *arena)
{
	uint32_t freed = 0;

	for (uint32_t i = 0; i < placement_bound(arena); i++) {
		if (placement_phase(atomic_load(&arena->entries[i].state)) != ENTRY_FREE)
			freed += clear_abandoned(arena, i);
	}
	return freed;
}

static uint32_t *high_half(shared_u64 *word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (uint32_t *)word + 1;
#else
	return (uint32_t *)word;
#endif
}

// The same placement is being made ready: wait for that, or for its placer's end.
static int wait_for_placer(struct lh_arena *arena, uint32_t entry, uint64_t state,
			   lh_deadline deadline)
{
	const uint64_t placer = placer_of(arena, state);
	struct wait wait;

	wait_begin(&wait, arena, NULL, deadline);
	wait_on(&wait, (const _Atomic uint32_t *)high_half(&arena->entries[entry].state),
		(uint32_t)(state >> 32));
	return wait_on_owner(&wait, placer) ? wait_sleep(&wait) : 0;
}

// What stands in the way of `wanted`: 0 and *ret_entry: an equal one that is ready; -EEXIST:
// something else; -EBADMSG: nothing readable, but a damaged entry; -ENOENT: nothing. Waits for
// equal ones in the making.
static int find_existing(struct lh_arena *arena, const struct placement *wanted,
			 struct placement_copy *copy, uint32_t *ret_entry, lh_deadline deadline)
{
	int nothing = -ENOENT;

	for (uint32_t i = 0; i < placement_bound(arena); i++) {
		int error;

		if (!placement_read(arena, i, copy)) {
			if (placement_damaged(arena, i))
				nothing = placement_damage(i);
			continue;
		}
		if (!rivals(&copy->placement, wanted) ||
		    placement_phase(copy->state) == ENTRY_CLAIM)
			continue;
		if (placement_phase(copy->state) == ENTRY_INIT && !arena->read_only) {
			if (clear_abandoned(arena, i))
				continue;
			error = wait_for_placer(arena, i, copy->state, deadline);
			if (error)
				return error_detail(error, "the placement at %llu is being made",
						    (unsigned long long)copy->placement.offset);
			i--; // look at it again
			continue;
		}
		if (placement_phase(copy->state) == ENTRY_INIT) // read-only: cannot help or wait
			return error_detail(-EBUSY, "the placement at %llu is being made",
					    (unsigned long long)copy->placement.offset);
		if (!is_equal(&copy->placement, wanted))
			return error_detail(-EEXIST, "at %llu stands %s \"%s\" of %llu bytes",
					    (unsigned long long)copy->placement.offset,
					    lh_kind_name(copy->placement.kind), copy->name,
					    (unsigned long long)copy->placement.size);
		*ret_entry = i;
		return 0;
	}
	return nothing;
}

// ---------------------------------------------------------------------------------------------
// Choosing a place

struct span {
	uint64_t offset, size;
};

static int by_offset(const void *left, const void *right)
{
	const struct span *one = left, *other = right;

	return (one->offset > other->offset) - (one->offset < other->offset);
}

// First fit among what stands there now. -ENOSPC, -ENOMEM, -EBADMSG.
static int choose_offset(struct lh_arena *arena, uint64_t size, uint64_t *ret_offset)
{
	const uint32_t bound = placement_bound(arena);
	struct span *spans = malloc((bound + 1) * sizeof(*spans));
	struct placement_copy copy;
	uint64_t offset = arena->user_offset;
	uint32_t count = 0;

	if (!spans)
		return error_detail(-ENOMEM, "no memory");
	for (uint32_t i = 0; i < bound; i++) {
		if (placement_damaged(arena, i)) {
			free(spans);
			return placement_damage(i);
		}
		if (placement_read(arena, i, &copy) &&
		    !(placement_phase(copy.state) < ENTRY_READY && clear_abandoned(arena, i)))
			spans[count++] = (struct span){ copy.placement.offset,
							copy.placement.size };
	}
	qsort(spans, count, sizeof(*spans), by_offset);
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t end = spans[i].offset + spans[i].size;

		if (spans[i].offset >= offset && spans[i].offset - offset >= size)
			break;
		offset = end > offset ? end : offset;
	}
	free(spans);
	if (offset > arena->user_end || arena->user_end - offset < size)
		return error_detail(-ENOSPC, "no gap of %llu bytes", (unsigned long long)size);
	*ret_offset = offset;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Claiming

static void raise_bound(struct lh_arena *arena, uint32_t bound)
{
	uint32_t seen = atomic_load(&arena->header->entry_bound);

	while (seen < bound &&
	       !atomic_compare_exchange_weak(&arena->header->entry_bound, &seen, bound))
		;
}

// FREE → DRAFT of some entry. -ENOSPC: the directory is full.
static int take_entry(struct lh_arena *arena, const struct thread_arena *placer,
		      uint32_t *ret_entry, uint64_t *ret_state)
{
	for (uint32_t i = 0; i < arena->entry_count; i++) {
		uint64_t state;

		raise_bound(arena, i + 1);
		if (!clear_abandoned(arena, i))
			continue;
		state = atomic_load(&arena->entries[i].state);
		if (placement_phase(state) != ENTRY_FREE ||
		    !change(arena, i, state, draft_word(state, placer)))
			continue;
		*ret_entry = i;
		*ret_state = draft_word(state, placer);
		return 0;
	}
	return error_detail(-ENOSPC, "all %u directory entries are in use", arena->entry_count);
}

// Deals with one other entry. 0: no rival, or revoked; -EAGAIN: it wins.
static int contest(struct lh_arena *arena, uint32_t mine, uint32_t other,
		   const struct placement *wanted)
{
	struct placement_copy copy;

	for (int yields = 0;; yields++) {
		if (!placement_read(arena, other, &copy) || !rivals(&copy.placement, wanted))
			return 0;
		if (clear_abandoned(arena, other))
			return 0;
		if (placement_phase(copy.state) != ENTRY_CLAIM)
			return -EAGAIN;
		// A claim of a lower entry gets a little time to settle, so that two do not revoke
		// each other for ever.
		if (other < mine && yields < RIVAL_YIELDS) {
			sched_yield();
			continue;
		}
		if (change(arena, other, copy.state, free_word(copy.state)))
			return 0;
	}
}

// wanted->offset is definite. On 0 the entry is in CLAIM and no rival was there.
static int claim_at(struct lh_arena *arena, const struct placement *wanted,
		    const struct thread_arena *placer, struct placement_claim *ret_claim)
{
	uint32_t entry = 0;
	uint64_t state = 0;
	int error = take_entry(arena, placer, &entry, &state);

	if (error)
		return error;
	write_fields(&arena->entries[entry], wanted, wanted->offset);
	change(arena, entry, state, with_phase(state, ENTRY_CLAIM));
	state = with_phase(state, ENTRY_CLAIM);
	*ret_claim = (struct placement_claim){ entry, state, wanted->offset, NULL };
	atomic_thread_fence(memory_order_seq_cst); // pairs with the rivals' own
	for (uint32_t i = 0; i < placement_bound(arena); i++) {
		if (i == entry)
			continue;
		error = contest(arena, entry, i, wanted);
		if (error) {
			change(arena, entry, state, free_word(state));
			return error;
		}
	}
	return 0;
}

static void settle(struct lh_arena *arena, uint32_t entry, uint64_t from, uint64_t to)
{
	change(arena, entry, from, to);
	futex_wake((const _Atomic uint32_t *)high_half(&arena->entries[entry].state), FUTEX_ALL);
}

static int make_new(struct lh_arena *arena, const struct placement *wanted,
		    void (*prepare)(void *bytes, const struct placement *placement),
		    struct placement_claim *ret_claim)
{
	struct placement definite = *wanted;
	struct thread_arena *placer;
	uint64_t state;
	void *bytes;
	int released, error;

	*ret_claim = (struct placement_claim){ .entry = 0 };
	if (wanted->offset == LH_ANYWHERE) {
		error = choose_offset(arena, wanted->size, &definite.offset);
		if (error)
			return error;
	}
	error = owner_acquire(arena, OWNER_THREAD, &placer);
	if (error)
		return error;
	error = claim_at(arena, &definite, placer, ret_claim);
	state = with_phase(ret_claim->state, ENTRY_INIT);
	if (!error && !change(arena, ret_claim->entry, ret_claim->state, state))
		error = -EAGAIN; // revoked
	if (!error) {
		bytes = arena->base + definite.offset;
		memset(bytes, 0, definite.size);
		if (prepare)
			prepare(bytes, &definite);
		settle(arena, ret_claim->entry, state, with_phase(state, ENTRY_READY));
	}
	released = owner_release(placer);
	return error ? error : released;
}

int placement_check_name(const char *name)
{
	return *name && strlen(name) < LAYOUT_NAME_SIZE
		       ? 0
		       : error_detail(-EINVAL, "a placement's name has 1 to %u bytes",
				      LAYOUT_NAME_SIZE - 1);
}

static int check_wanted(const struct lh_arena *arena, const struct placement *wanted)
{
	const int error = wanted->name ? placement_check_name(wanted->name) : 0;

	if (error)
		return error;
	if (wanted->offset == LH_ANYWHERE)
		return wanted->size <= arena->user_end - arena->user_offset
			       ? 0
			       : error_detail(-ENOSPC, "%llu bytes: the arena has %llu",
					      (unsigned long long)wanted->size,
					      (unsigned long long)(arena->user_end -
								   arena->user_offset));
	if (wanted->offset % LAYOUT_LINE)
		return error_detail(-EINVAL, "offset %llu is not a multiple of %u",
				    (unsigned long long)wanted->offset, LAYOUT_LINE);
	if (!lh_arena_range(arena, wanted->offset, wanted->size))
		return error_detail(-EINVAL, "offset %llu, %llu bytes: outside of %llu to %llu",
				    (unsigned long long)wanted->offset,
				    (unsigned long long)wanted->size,
				    (unsigned long long)arena->user_offset,
				    (unsigned long long)arena->user_end);
	return 0;
}

int placement_at(struct lh_arena *arena, const struct placement *wanted,
		 void (*prepare)(void *bytes, const struct placement *placement),
		 uint64_t *ret_offset, uint32_t *ret_entry)
{
	const lh_deadline deadline = lh_deadline_after(PLACING_DEADLINE_NS);
	bool reaped = arena->read_only;
	int error = check_wanted(arena, wanted);

	if (error)
		return error;
	for (;;) {
		struct placement_copy copy;
		struct placement_claim claim = { .entry = 0 };
		uint32_t entry = 0;

		error = find_existing(arena, wanted, &copy, &entry, deadline);
		if (error == -EEXIST && copy.placement.lease && !reaped) {
			reap_all(arena); // it may be leased memory of the dead
			reaped = true;
			continue;
		}
		if (error == 0) {
			*ret_offset = copy.placement.offset;
			if (ret_entry)
				*ret_entry = entry;
			return 0;
		}
		if (error != -ENOENT)
			return error;
		if (arena->read_only)
			return error_detail(-EROFS, "nothing to attach to: a read-only arena "
						    "places nothing");
		error = make_new(arena, wanted, prepare, &claim);
		if (error == -ENOSPC && !reaped) {
			reap_all(arena); // leased memory of the dead comes back
			reaped = true;
			continue;
		}
		if (error == -EAGAIN)
			continue;
		if (error)
			return error;
		*ret_offset = claim.offset;
		if (ret_entry)
			*ret_entry = claim.entry;
		return 0;
	}
}

// ---------------------------------------------------------------------------------------------
// Leased regions

int placement_claim(struct lh_arena *arena, const struct placement *wanted,
		    struct placement_claim *ret_claim)
{
	struct placement definite = *wanted;
	struct thread_arena *placer;
	int error = choose_offset(arena, wanted->size, &definite.offset);

	*ret_claim = (struct placement_claim){ .entry = 0 };
	if (!error)
		error = owner_acquire(arena, OWNER_THREAD, &placer);
	if (error)
		return error;
	error = claim_at(arena, &definite, placer, ret_claim);
	ret_claim->placer = placer;
	if (error)
		owner_release(placer);
	return error;
}

int placement_settle(struct lh_arena *arena, const struct placement_claim *claim, bool confirm)
{
	const uint64_t to = confirm ? with_phase(claim->state, ENTRY_READY)
				    : free_word(claim->state);
	const bool changed = change(arena, claim->entry, claim->state, to);
	const int error = owner_release(claim->placer);

	if (error)
		return error;
	return changed || !confirm ? 0 : -EAGAIN;
}

bool placement_return(struct lh_arena *arena, uint32_t entry, uint64_t lease)
{
	struct placement_copy copy;

	return entry < arena->entry_count && placement_read(arena, entry, &copy) &&
	       copy.placement.lease == lease && lease != 0 &&
	       change(arena, entry, copy.state, free_word(copy.state));
}

int placement_remove(struct lh_arena *arena, uint32_t entry, uint64_t state)
{
	return change(arena, entry, state, free_word(state)) ? 0 : -EAGAIN;
}

int64_t placement_of_lease(const struct lh_arena *arena, uint64_t offset, uint64_t lease)
{
	struct placement_copy copy;

	for (uint32_t i = 0; i < placement_bound(arena); i++) {
		if (placement_read(arena, i, &copy) && copy.placement.lease == lease &&
		    copy.placement.offset == offset)
			return i;
	}
	return -1;
}
