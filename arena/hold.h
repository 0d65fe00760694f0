// SPDX-License-Identifier: Apache-2.0
//
// hold.h: a lease's hold table. Before a lease touches an object's word it records the intent here,
// and clears the record when it has let go (and woken whom it had to wake): so whatever a dead
// lease can have left behind is named by its own table.
//
// A record is one per lease and object. Its place is searched from the line that the object's
// granule hashes to, onwards by lines; `probe_lines` of the slot bounds the search, so that
// clearing a record breaks none. Only the lease's user inserts.
#ifndef ARENA_HOLD_H
#define ARENA_HOLD_H

#include "arena/lease.h"

static inline uint64_t hold_word(uint32_t kind, uint32_t mode, uint32_t count, uint32_t granule)
{
	return (uint64_t)kind << HOLD_KIND_SHIFT | (uint64_t)mode << HOLD_MODE_SHIFT |
	       (uint64_t)count << HOLD_COUNT_SHIFT | granule;
}

static inline uint32_t hold_word_kind(uint64_t word)
{
	return (uint32_t)(word >> HOLD_KIND_SHIFT);
}

static inline uint32_t hold_word_mode(uint64_t word)
{
	return (uint32_t)(word >> HOLD_MODE_SHIFT) & 0xf;
}

static inline uint32_t hold_word_count(uint64_t word)
{
	return (uint32_t)((word >> HOLD_COUNT_SHIFT) & HOLD_COUNT_MASK);
}

static inline uint32_t hold_word_granule(uint64_t word)
{
	return (uint32_t)word;
}

// The line that a granule's search starts at, as a byte offset in a table of (mask + 64) bytes.
#define HOLD_LINE_SHIFT 18
static inline uint32_t hold_line(uint32_t granule, uint32_t line_mask)
{
	return ((granule * FIBONACCI) >> HOLD_LINE_SHIFT) & line_mask;
}

// The first record there: where hot paths look, and nowhere else.
static inline struct hold_record *hold_first(const struct lh_lease *lease, uint32_t granule)
{
	return (struct hold_record *)((uintptr_t)lease->holds +
				      hold_line(granule, lease->line_mask));
}

// Writes an empty record. The store is ordered before any later read-modify-write of the object
// (which must be at least release).
static inline void hold_write(struct hold_record *record, uint64_t word)
{
	atomic_store_explicit(&record->object, word, memory_order_release);
}

// Names an exclusive grant of the lock at a granule: tokens do not come back. Two may have one key:
// of no matter to those who only look.
static inline uint32_t hold_grant_key(uint32_t granule, uint64_t token)
{
	return granule * FIBONACCI + (uint32_t)token;
}

// Notes when it was granted, for lh_next_hold: after a wait, where reading a clock costs little.
void hold_note_grant(struct lh_lease *lease, uint32_t granule, uint64_t token);

// Records `word` in an empty record; NULL: the lease has max_holds.
struct hold_record *hold_insert(struct lh_lease *lease, uint64_t word);

static inline bool hold_names(uint64_t word, uint32_t kind, uint32_t granule)
{
	return hold_word_granule(word) == granule && hold_word_kind(word) == kind;
}

// The record of an object of this kind in the table of whoever has the slot, or NULL. Sequentially
// consistent loads: of one who stores a record, has a full fence executed and looks at a word, and
// one who changes that word and looks here, at least one sees the other.
struct hold_record *hold_find_of(const struct lh_arena *arena, uint32_t slot, uint32_t kind,
				 uint32_t granule);

static inline struct hold_record *hold_find(const struct lh_lease *lease, uint32_t kind,
					    uint32_t granule)
{
	return hold_find_of(lease->arena, lease->index, kind, granule);
}

// Whether one of the records in a line is `word` (which has 0 for a count), with whatever count.
// A writer looks at a line of every lease that ever read, and most say nothing of the kind: first
// whether all of the word's bits are there at all.
static inline bool hold_line_says(const struct hold_record *line, uint64_t word)
{
	uint64_t bits = 0;
	bool says = false;

#pragma GCC unroll 8
	for (uint32_t i = 0; i < HOLDS_PER_LINE; i++)
		bits |= atomic_load(&line[i].object);
	if ((bits & word) != word)
		return false;
	for (uint32_t i = 0; i < HOLDS_PER_LINE; i++)
		says |= (atomic_load(&line[i].object) & ~(HOLD_COUNT_MASK << HOLD_COUNT_SHIFT)) ==
			word;
	return says;
}

// Whether the table of whoever has the slot says so, beyond the first line; and at all. Loads as in
// hold_find_of.
bool hold_says_further(const struct lh_arena *arena, uint32_t slot, uint64_t word);

static inline bool hold_says(const struct lh_arena *arena, uint32_t slot, uint64_t word)
{
	const uint32_t mask = (arena->hold_lines - 1) * LAYOUT_LINE;
	const uint32_t first = hold_line(hold_word_granule(word), mask);

	return hold_line_says(arena_hold_table(arena, slot) + first / sizeof(struct hold_record),
			      word) ||
	       (atomic_load(&arena->leases[slot].probe_lines) > 1 &&
		hold_says_further(arena, slot, word));
}

// Ordered after all that its user did to the object.
static inline void hold_clear(struct hold_record *record)
{
	atomic_store_explicit(&record->object, 0, memory_order_release);
}

#endif
