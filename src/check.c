// SPDX-License-Identifier: Apache-2.0
//
// lh_arena_check: the audit of a whole arena. Read-only; judges by the same functions as everybody.
//
// What it takes is bounded by the arena's size, not by what stands in it (G9): objects are looked
// for in placements that overlap no other, each looks at no more than its placement's bytes, who
// waits for whom is followed once for each lease, and what is damaged is looked at closely a bounded
// number of times.
#include "arena/error.h"
#include "arena/geometry.h"
#include "arena/hold.h"
#include "arena/kind.h"
#include "arena/owner.h"
#include "arena/placement.h"
#include "arena/reap.h"
#include "src/deadlock.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct audit {
	const struct lh_arena *arena;
	void (*report)(void *context, int severity, uint64_t offset, const char *text);
	void *context;
	int worst;
	uint32_t corrupt; // findings so far
};

// More damage than this is not looked for: each finding takes looking again, some a hundred times.
#define MOST_CORRUPT 1000
#define LOOKS 100 // for what may be changing all the time

static void find(struct audit *audit, int severity, uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void find(struct audit *audit, int severity, uint64_t offset, const char *format, ...)
{
	char text[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (severity > audit->worst)
		audit->worst = severity;
	if (severity == LH_CHECK_CORRUPT && audit->corrupt++ >= MOST_CORRUPT) {
		if (audit->corrupt > MOST_CORRUPT + 1)
			return;
		snprintf(text, sizeof(text), "more than %u findings: no more is looked for",
			 MOST_CORRUPT);
	}
	if (audit->report)
		audit->report(audit->context, severity, offset, text);
}

static bool has_enough(const struct audit *audit)
{
	return audit->corrupt > MOST_CORRUPT;
}

static uint64_t place(const struct audit *audit, const void *address)
{
	return (uint64_t)((const uint8_t *)address - audit->arena->base);
}

// Two looks at the same word, so that what is changing is not taken for damaged.
static bool settled(const shared_u64 *word, uint64_t value)
{
	return atomic_load_explicit(word, memory_order_acquire) == value;
}

static void audit_entry(struct audit *audit, uint32_t index)
{
	const struct directory_entry *entry = &audit->arena->entries[index];
	const uint64_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
	const enum entry_phase phase = placement_phase(state);
	struct placement_copy copy;

	if (phase == ENTRY_FREE)
		return;
	if (phase > ENTRY_READY) {
		find(audit, LH_CHECK_CORRUPT, place(audit, entry), "directory entry %u: phase %u",
		     index, phase);
		return;
	}
	if (phase < ENTRY_READY && placement_abandoned(audit->arena, state) &&
	    settled(&entry->state, state))
		find(audit, LH_CHECK_STALE, place(audit, entry),
		     "directory entry %u: left half-placed by the dead", index);
	if (phase == ENTRY_DRAFT)
		return;
	if (!placement_read(audit->arena, index, &copy) && settled(&entry->state, state))
		find(audit, LH_CHECK_CORRUPT, place(audit, entry),
		     "directory entry %u: outside of the user's space", index);
	else if (settled(&entry->state, state) &&
		 (copy.placement.kind == LH_KIND_NONE || copy.placement.kind > LH_KIND_CELL))
		find(audit, LH_CHECK_CORRUPT, place(audit, entry), "directory entry %u: kind %u",
		     index, copy.placement.kind);
}

static uint64_t token_of(const struct audit *audit, const struct kind_ops *ops, uint32_t slot,
			 uint32_t kind, uint32_t granule)
{
	struct hold_view view;

	ops->view(audit->arena, slot, hold_word(kind, LH_HOLD_EXCLUSIVE, 1, granule), &view);
	return view.token;
}

// The record is there throughout a grant. A change of the token, too, is a sign that the object was
// let go and taken meanwhile, so that no record need have been there.
static bool is_recorded(const struct audit *audit, const struct kind_ops *ops, uint32_t slot,
			uint32_t kind, uint32_t granule)
{
	const struct lh_arena *arena = audit->arena;
	const uint64_t token = token_of(audit, ops, slot, kind, granule);

	if (ops->owner(arena, granule) != slot || hold_find_of(arena, slot, kind, granule))
		return true;
	return ops->owner(arena, granule) != slot ||
	       token_of(audit, ops, slot, kind, granule) != token;
}

static bool pass_on(void *context, int severity, uint64_t offset, const char *text)
{
	find(context, severity, offset, "%s", text);
	return !has_enough(context);
}

// An object's owner must be a lease that records it. `size`: the bytes that are the object's.
static void audit_object(struct audit *audit, const struct kind_ops *ops, uint32_t kind,
			 uint32_t granule, uint64_t size)
{
	const struct lh_arena *arena = audit->arena;
	const struct object_header *header = arena_object(arena, granule);
	const uint64_t offset = (uint64_t)granule * LAYOUT_LINE;
	int64_t owner;

	if (!header)
		return;
	if (header->kind != kind) {
		find(audit, LH_CHECK_CORRUPT, offset, "%s: its header says kind %u",
		     lh_kind_name(kind), header->kind);
		return;
	}
	if (ops->audit)
		ops->audit(arena, granule, size, pass_on, audit);
	owner = ops->owner ? ops->owner(arena, granule) : -1;
	if (owner < 0)
		return;
	if (owner >= (int64_t)arena->lease_count)
		find(audit, LH_CHECK_CORRUPT, offset, "%s: owned by lease slot %lld of %u",
		     lh_kind_name(kind), (long long)owner, arena->lease_count);
	else if (!is_recorded(audit, ops, (uint32_t)owner, kind, granule))
		find(audit, LH_CHECK_CORRUPT, offset,
		     "%s: owned by slot %lld, which does not record it", lh_kind_name(kind),
		     (long long)owner);
}

static void audit_placement(struct audit *audit, uint32_t index)
{
	const struct kind_ops *ops;
	struct placement_copy copy;
	uint64_t stride;
	uint32_t count;

	if (!placement_read(audit->arena, index, &copy) ||
	    placement_phase(copy.state) < ENTRY_READY)
		return;
	ops = kind_ops(copy.placement.kind);
	if (!ops || copy.placement.kind == LH_KIND_REGION) // which has no header
		return;
	count = kind_elements(ops, copy.placement.size, copy.placement.data_size,
			      copy.placement.count, &stride);
	if (copy.placement.count > count &&
	    settled(&audit->arena->entries[index].state, copy.state))
		find(audit, LH_CHECK_CORRUPT, place(audit, &audit->arena->entries[index]),
		     "directory entry %u: %u elements in %llu bytes", index, copy.placement.count,
		     (unsigned long long)copy.placement.size);
	for (uint32_t i = 0; i < count && !has_enough(audit); i++)
		audit_object(audit, ops, copy.placement.kind,
			     arena_granule(copy.placement.offset + i * stride),
			     count > 1 ? stride : copy.placement.size);
}

struct span {
	uint32_t entry;
	uint64_t state, offset, end;
};

static int by_offset(const void *left, const void *right)
{
	const struct span *one = left, *other = right;

	return (one->offset > other->offset) - (one->offset < other->offset);
}

// Sorted by offset, an overlap is one with the furthest end so far. What overlaps with what came
// before is not looked into: it is what an object there says, or it is not.
static void audit_placements(struct audit *audit)
{
	const struct lh_arena *arena = audit->arena;
	const uint32_t bound = placement_bound(arena); // it may grow meanwhile
	struct span *spans = malloc((bound + 1ul) * sizeof(*spans));
	struct placement_copy copy;
	uint32_t count = 0, furthest = 0;

	if (!spans) {
		find(audit, LH_CHECK_CORRUPT, 0, "no memory to look for overlaps");
		return;
	}
	for (uint32_t i = 0; i < bound && !has_enough(audit); i++) {
		audit_entry(audit, i);
		if (placement_read(arena, i, &copy) && placement_phase(copy.state) == ENTRY_READY)
			spans[count++] = (struct span){ i, copy.state, copy.placement.offset,
							copy.placement.offset +
								copy.placement.size };
	}
	qsort(spans, count, sizeof(*spans), by_offset);
	for (uint32_t i = 0; i < count && !has_enough(audit); i++) {
		const struct span *one = &spans[i], *other = &spans[furthest];

		if (i == 0 || one->offset >= other->end)
			audit_placement(audit, one->entry);
		else if (settled(&arena->entries[one->entry].state, one->state) &&
			 settled(&arena->entries[other->entry].state, other->state))
			find(audit, LH_CHECK_CORRUPT, one->offset,
			     "directory entries %u and %u overlap", other->entry, one->entry);
		if (one->end > other->end)
			furthest = i;
	}
	free(spans);
}

// Where everybody else would find it, or another of the same, as a semaphore may have; however often
// one looks: its user may clear it and write it somewhere else between two looks.
static bool is_findable(const struct audit *audit, uint32_t slot, const struct hold_record *record,
			uint64_t word)
{
	for (int i = 0; i < LOOKS; i++) {
		if (hold_find_of(audit->arena, slot, hold_word_kind(word),
				 hold_word_granule(word)) ||
		    !settled(&record->object, word))
			return true;
		sched_yield();
	}
	return false;
}

static void audit_holds(struct audit *audit, uint32_t slot)
{
	const struct hold_record *records = arena_hold_table(audit->arena, slot);

	for (uint32_t i = 0; i < audit->arena->holds_per_lease && !has_enough(audit); i++) {
		const uint64_t word = atomic_load(&records[i].object);

		if (!word)
			continue;
		if (kind_ops(hold_word_kind(word)) &&
		    arena_user_offset(audit->arena, hold_word_granule(word), LAYOUT_LINE)) {
			if (!is_findable(audit, slot, &records[i], word) &&
			    lease_word_state(atomic_load(&audit->arena->leases[slot].state)) !=
				    LEASE_FREE)
				find(audit, LH_CHECK_CORRUPT, place(audit, &records[i]),
				     "hold record %u of lease slot %u stands where it is not "
				     "looked for",
				     i, slot);
			continue;
		}
		if (settled(&records[i].object, word))
			find(audit, LH_CHECK_CORRUPT, place(audit, &records[i]),
			     "hold record %u of lease slot %u names nothing", i, slot);
	}
}

static void audit_condition(struct audit *audit, uint32_t slot)
{
	const shared_u64 *word = &audit->arena->leases[slot].condition;
	const uint64_t condition = atomic_load(word);
	const uint32_t granule = (uint32_t)(condition >> CONDITION_WANTED_SHIFT);
	const struct object_header *header = arena_object(audit->arena, granule);

	if (granule && (!header || header->kind != LH_KIND_CONDVAR) && settled(word, condition))
		find(audit, LH_CHECK_CORRUPT, place(audit, word),
		     "lease slot %u waits for a condvar at %llu, where there is none", slot,
		     (unsigned long long)granule * LAYOUT_LINE);
}

static void audit_lease(struct audit *audit, uint32_t slot, bool deadlocked)
{
	const struct lh_arena *arena = audit->arena;
	const struct lease_slot *lease = &arena->leases[slot];
	const uint64_t owner = atomic_load(&lease->owner);
	const uint64_t word = atomic_load(&lease->state);
	const uint32_t state = lease_state_seen(arena, slot, clock_now());

	if (state == 0) { // its table may hold what a dead tenant left: the next one wipes it
		if ((word & LEASE_TTL_BIT) && settled(&lease->state, word))
			find(audit, LH_CHECK_CORRUPT, place(audit, lease),
			     "lease slot %u: free with a TTL", slot);
		return;
	}
	if (owner_ref_index(owner) >= arena->owner_count)
		find(audit, LH_CHECK_CORRUPT, place(audit, lease), "lease slot %u: owner entry %u",
		     slot, owner_ref_index(owner));
	else if (lease_seen_lost(state) && settled(&lease->owner, owner) &&
		 settled(&lease->state, word))
		find(audit, LH_CHECK_STALE, place(audit, lease),
		     "lease %llu in slot %u: %s, not yet cleared",
		     (unsigned long long)atomic_load(&lease->id), slot, lh_lease_state_name(state));
	audit_holds(audit, slot);
	audit_condition(audit, slot);
	if (deadlocked)
		find(audit, LH_CHECK_DEADLOCK, place(audit, lease),
		     "lease slot %u waits in a cycle", slot);
}

// What the next opener would be refused for. False if the object is shorter than it was: what is
// beyond its end is a fault to whoever looks there.
static bool audit_header(struct audit *audit)
{
	const struct lh_arena *const arena = audit->arena;
	struct arena_header header;
	struct stat status;
	int error;

	if (fstat(arena->fd, &status) != 0)
		return true;
	error = geometry_read(arena->fd, (uint64_t)status.st_size, &header);
	if (error && arena_check_clock(arena) == 0) // else it is this process that has changed
		find(audit, LH_CHECK_CORRUPT, 0, "the header: %s", lh_error_detail());
	return (uint64_t)status.st_size >= arena->size;
}

static void audit_leases(struct audit *audit)
{
	const struct lh_arena *arena = audit->arena;
	bool *deadlocked = deadlock_members(arena);

	if (!deadlocked)
		find(audit, LH_CHECK_CORRUPT, 0, "no memory to look for cycles");
	for (uint32_t slot = 0; slot < arena->lease_count; slot++)
		audit_lease(audit, slot, deadlocked && deadlocked[slot]);
	free(deadlocked);
}

int lh_arena_check(const lh_arena *arena,
		   void (*report)(void *context, int severity, uint64_t offset, const char *text),
		   void *context)
{
	struct audit audit = { .arena = arena, .report = report, .context = context };
	uint32_t bound;

	if (!arena)
		return error_detail(-EINVAL, "arena is NULL");
	if (!audit_header(&audit))
		return audit.worst;
	bound = atomic_load(&arena->header->entry_bound);
	if (bound > arena->entry_count)
		find(&audit, LH_CHECK_CORRUPT, offsetof(struct arena_header, entry_bound),
		     "%u directory entries in use of %u", bound, arena->entry_count);
	audit_placements(&audit);
	audit_leases(&audit);
	return audit.worst;
}
