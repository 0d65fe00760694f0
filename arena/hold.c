// SPDX-License-Identifier: Apache-2.0
#include "arena/hold.h"

static struct hold_record *line_at(const struct lh_lease *lease, uint32_t first, uint32_t step)
{
	const uint32_t lines = 1u << lease->arena->hold_line_bits;

	return lease->holds + (size_t)((first + step) % lines) * HOLDS_PER_LINE;
}

struct hold_record *hold_insert_slow(struct lh_lease *lease, uint64_t word)
{
	const uint32_t lines = 1u << lease->arena->hold_line_bits;
	const uint32_t first = hold_line(lease->arena, hold_word_granule(word));

	if (lease->held >= lease->arena->max_holds)
		return NULL;
	for (uint32_t step = 0; step < lines; step++) {
		struct hold_record *record = line_at(lease, first, step);

		for (uint32_t i = 0; i < HOLDS_PER_LINE; i++, record++) {
			if (atomic_load_explicit(&record->object, memory_order_relaxed) != 0)
				continue;
			// before the record, so that whoever finds the object held finds the record
			if (atomic_load_explicit(&lease->slot->probe_lines, memory_order_relaxed) <
			    step + 1)
				atomic_store_explicit(&lease->slot->probe_lines, step + 1,
						      memory_order_release);
			hold_write(lease, record, word);
			return record;
		}
	}
	return NULL; // overwritten by somebody: fewer are in use than `held` says
}

struct hold_record *hold_find_slow(const struct lh_lease *lease, uint32_t kind, uint32_t granule)
{
	const uint32_t lines = 1u << lease->arena->hold_line_bits;
	const uint32_t first = hold_line(lease->arena, granule);
	uint32_t bound = atomic_load_explicit(&lease->slot->probe_lines, memory_order_relaxed);

	if (bound > lines)
		bound = lines; // whatever the bytes say
	for (uint32_t step = 1; step < bound; step++) {
		struct hold_record *record = line_at(lease, first, step);

		for (uint32_t i = 0; i < HOLDS_PER_LINE; i++, record++) {
			const uint64_t word = atomic_load_explicit(&record->object,
								   memory_order_relaxed);

			if (hold_names(word, kind, granule))
				return record;
		}
	}
	return NULL;
}
