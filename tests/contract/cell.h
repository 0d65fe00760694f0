// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the cell's contract share.
#ifndef TESTS_CONTRACT_CELL_H
#define TESTS_CONTRACT_CELL_H

#include "tests/support/scene.h"
#include "tests/support/worker.h"

struct value {
	uint64_t first, second;
};

static inline lh_cell place_with(lh_arena *arena, size_t size, uint32_t slots, const char *name)
{
	const struct lh_cell_options options = { .size = size, .slots = slots, .name = name };
	lh_cell cell = { { 0 } };

	assert_int_equal(lh_cell_at(arena, LH_ANYWHERE, &options, &cell), 0);
	return cell;
}

static inline lh_cell place(lh_arena *arena)
{
	return place_with(arena, sizeof(struct value), 0, NULL);
}

static inline struct value *begin(const lh_cell *cell, lh_lease *lease)
{
	void *draft = NULL;

	assert_int_equal(lh_cell_begin(cell, lease, LH_NOW, &draft, NULL), 0);
	assert_non_null(draft);
	return draft;
}

static inline void write_cell(const lh_cell *cell, lh_lease *lease, uint64_t value)
{
	*begin(cell, lease) = (struct value){ value, ~value };
	assert_int_equal(lh_cell_commit(cell, lease), 0);
}

static inline void reads(const lh_cell *cell, uint64_t value, uint64_t version)
{
	struct value seen = { 1, 1 };
	uint64_t seen_version = UINT64_MAX;

	assert_int_equal(lh_cell_read(cell, &seen, &seen_version), 0);
	assert_int_equal(seen.first, value);
	assert_int_equal(seen.second, version ? ~value : 0);
	assert_int_equal(seen_version, version);
}

#endif
