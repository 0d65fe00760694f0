// SPDX-License-Identifier: Apache-2.0
#include "arena/placement_index.h"

#include "arena/sys/clock.h"

#include <stdlib.h>

// Misses that are looked up in the directory itself. Only what is being placed at this moment, or
// damage (G9), is not in the index.
#define MOST_MISSES 64
// A miss is taken for true as long as the index is younger than this many times what it took to
// make: so that making it is never most of what is done.
#define BELIEVED_FOR 4

struct place {
	uint64_t offset, end;
	uint32_t entry;
};

// `busy` is a lock that nobody waits for: who does not get it searches the directory. So a child
// that is forked while somebody has it, has only a slow way.
struct placement_index {
	atomic_flag busy;
	struct place
		*places; // by offset, without overlaps; the rest is constant without `busy`, too
	uint32_t count;
	uint32_t misses;
	uint64_t made_ns, took_ns;
};

struct placement_index *placement_index_make(void)
{
	struct placement_index *index = calloc(1, sizeof(*index));

	if (index)
		atomic_flag_clear(&index->busy);
	return index;
}

void placement_index_free(struct placement_index *index)
{
	if (index)
		free(index->places);
	free(index);
}

static bool is_inside(const struct placement *placement, uint64_t offset)
{
	return offset >= placement->offset && offset - placement->offset < placement->size;
}

static bool search(const struct lh_arena *arena, uint64_t offset, struct placement_copy *ret_copy)
{
	const uint32_t bound = placement_bound(arena);

	for (uint32_t i = 0; i < bound; i++) {
		const struct directory_entry *entry = &arena->entries[i];
		const uint64_t begin = atomic_load_explicit(&entry->offset, memory_order_relaxed);

		// A look at two words first: a copy takes ten times as long.
		if (offset < begin ||
		    offset - begin >= atomic_load_explicit(&entry->size, memory_order_relaxed))
			continue;
		if (placement_read(arena, i, ret_copy) && is_inside(&ret_copy->placement, offset))
			return true;
	}
	return false;
}

static int by_offset(const void *left, const void *right)
{
	const struct place *one = left, *other = right;

	return (one->offset > other->offset) - (one->offset < other->offset);
}

// Whether there is one.
static bool make(const struct lh_arena *arena, struct placement_index *index)
{
	const uint64_t from = clock_now();
	const uint32_t bound = placement_bound(arena);
	struct place *places = malloc((bound + 1ul) * sizeof(*places));
	struct placement_copy copy;
	uint32_t count = 0, kept = 0;

	if (!places)
		return false;
	for (uint32_t i = 0; i < bound; i++) {
		if (placement_read(arena, i, &copy))
			places[count++] = (struct place){ copy.placement.offset,
							  copy.placement.offset +
								  copy.placement.size,
							  i };
	}
	qsort(places, count, sizeof(*places), by_offset);
	for (uint32_t i = 0; i < count; i++) {
		if (!kept || places[i].offset >= places[kept - 1].end)
			places[kept++] = places[i];
	}
	free(index->places);
	index->places = places;
	index->count = kept;
	index->misses = 0;
	index->made_ns = clock_now();
	index->took_ns = index->made_ns - from;
	return true;
}

// The copy that it gives is of now: the index only says where to look.
static bool look_up(const struct lh_arena *arena, const struct placement_index *index,
		    uint64_t offset, struct placement_copy *ret_copy)
{
	uint32_t first = 0, end = index->count;

	while (first < end) {
		const uint32_t middle = first + (end - first) / 2;

		if (index->places[middle].end <= offset)
			first = middle + 1;
		else
			end = middle;
	}
	return first < index->count && index->places[first].offset <= offset &&
	       placement_read(arena, index->places[first].entry, ret_copy) &&
	       is_inside(&ret_copy->placement, offset);
}

static bool look(const struct lh_arena *arena, struct placement_index *index, uint64_t offset,
		 struct placement_copy *ret_copy)
{
	if (look_up(arena, index, offset, ret_copy))
		return true;
	if (!index->places || clock_now() - index->made_ns >= BELIEVED_FOR * index->took_ns)
		return make(arena, index) ? look_up(arena, index, offset, ret_copy)
					  : search(arena, offset, ret_copy);
	return index->misses++ < MOST_MISSES && search(arena, offset, ret_copy);
}

bool placement_of(const struct lh_arena *arena, uint64_t offset, struct placement_copy *ret_copy)
{
	struct placement_index *index = arena->index;
	bool found;

	if (atomic_flag_test_and_set_explicit(&index->busy, memory_order_acquire))
		return search(arena, offset, ret_copy);
	found = look(arena, index, offset, ret_copy);
	atomic_flag_clear_explicit(&index->busy, memory_order_release);
	return found;
}
