// SPDX-License-Identifier: Apache-2.0
#include "arena/hold.h"

// Line `step` of the search that starts at the granule's own.
static struct hold_record *line_at(const struct lh_lease *lease, uint32_t granule, uint32_t step)
{
	const uint32_t offset = (hold_line(granule, lease->line_mask) + step * LAYOUT_LINE) &
				lease->line_mask;

	return (struct hold_record *)((uintptr_t)lease->holds + offset);
}

// Tables are rounded up to powers of two; max_holds is exact.
static bool is_full(const struct lh_lease *lease)
{
	const struct lh_arena *arena = lease->arena;
	uint32_t used = 0;

	if (arena->max_holds == arena->holds_per_lease)
		return false; // then a table without an empty record says so
	for (uint32_t i = 0; i < arena->holds_per_lease; i++)
		used += atomic_load_explicit(&lease->holds[i].object, memory_order_relaxed) != 0;
	return used >= arena->max_holds;
}

struct hold_record *hold_insert(struct lh_lease *lease, uint64_t word)
{
	shared_u32 *probe_lines = &lease->slot->probe_lines;

	if (is_full(lease))
		return NULL;
	for (uint32_t step = 0; step < lease->arena->hold_lines; step++) {
		struct hold_record *record = line_at(lease, hold_word_granule(word), step);

		for (uint32_t i = 0; i < HOLDS_PER_LINE; i++, record++) {
			if (atomic_load_explicit(&record->object, memory_order_relaxed) != 0)
				continue;
			// before the record, so that whoever finds the object held finds the record
			if (atomic_load_explicit(probe_lines, memory_order_relaxed) < step + 1)
				atomic_store_explicit(probe_lines, step + 1, memory_order_release);
			hold_write(record, word);
			return record;
		}
	}
	return NULL;
}

static struct hold_record *record_at(const struct lh_arena *arena, uint32_t slot, uint32_t line,
				     uint32_t index)
{
	return arena_hold_table(arena, slot) + (size_t)line * HOLDS_PER_LINE + index;
}

// How many lines a search in the table of whoever has the slot goes on for, whatever the bytes say.
static uint32_t search_bound(const struct lh_arena *arena, uint32_t slot)
{
	const uint32_t bound = atomic_load(&arena->leases[slot].probe_lines);

	return bound > arena->hold_lines ? arena->hold_lines : bound ? bound : 1;
}

struct hold_record *hold_find_of(const struct lh_arena *arena, uint32_t slot, uint32_t kind,
				 uint32_t granule)
{
	const uint32_t mask = (arena->hold_lines - 1) * LAYOUT_LINE;
	const uint32_t first = hold_line(granule, mask) / LAYOUT_LINE;
	const uint32_t bound = search_bound(arena, slot);

	for (uint32_t step = 0; step < bound; step++) {
		const uint32_t line = (first + step) & (arena->hold_lines - 1);

		for (uint32_t i = 0; i < HOLDS_PER_LINE; i++) {
			struct hold_record *record = record_at(arena, slot, line, i);

			if (hold_names(atomic_load(&record->object), kind, granule))
				return record;
		}
	}
	return NULL;
}

bool hold_says_further(const struct lh_arena *arena, uint32_t slot, uint64_t word)
{
	const uint32_t mask = (arena->hold_lines - 1) * LAYOUT_LINE;
	const uint32_t first = hold_line(hold_word_granule(word), mask) / LAYOUT_LINE;
	const uint32_t bound = search_bound(arena, slot);

	for (uint32_t step = 1; step < bound; step++) {
		if (hold_line_says(
			    record_at(arena, slot, (first + step) & (arena->hold_lines - 1), 0),
			    word))
			return true;
	}
	return false;
}

void hold_note_grant(struct lh_lease *lease, uint32_t granule, uint64_t token)
{
	struct lease_slot *slot = lease->slot;

	atomic_store_explicit(&slot->granted, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->granted_ns, clock_now(), memory_order_release);
	atomic_store_explicit(&slot->granted, hold_grant_key(granule, token), memory_order_release);
}
