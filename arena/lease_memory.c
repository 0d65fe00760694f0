// SPDX-License-Identifier: Apache-2.0
#include "arena/lease.h"

#include <stdlib.h>

struct lease_memory *lease_memory_make(uint64_t size)
{
	const size_t whole = (sizeof(struct lease_memory) + size + 63) / 64 * 64;

	return aligned_alloc(_Alignof(struct lease_memory), whole);
}

void lease_memory_link(struct lh_lease *lease, struct lease_memory *memory)
{
	memory->next = lease->memory;
	lease->memory = memory;
}

struct lease_memory *lease_memory_find(const struct lh_lease *lease, uint32_t granule)
{
	struct lease_memory *memory = lease->memory;

	while (memory && memory->granule != granule)
		memory = memory->next;
	return memory;
}

void lease_memory_drop(struct lh_lease *lease, struct lease_memory *memory)
{
	struct lease_memory **link = &lease->memory;

	while (*link != memory)
		link = &(*link)->next;
	*link = memory->next;
	free(memory);
}
