// SPDX-License-Identifier: Apache-2.0
//
// The one list of what can stand in an arena.
#include "src/kinds.h"

static const struct kind_ops *const table[] = {
	[LH_KIND_REGION] = &region_ops,   [LH_KIND_MUTEX] = &mutex_ops,
	[LH_KIND_RWLOCK] = &rwlock_ops,   [LH_KIND_SEMAPHORE] = &semaphore_ops,
	[LH_KIND_BARRIER] = &barrier_ops, [LH_KIND_ONCE] = &once_ops,
	[LH_KIND_CONDVAR] = &condvar_ops, [LH_KIND_WATCH] = &watch_ops,
	[LH_KIND_CELL] = &cell_ops,
};

const struct kind_ops *kind_ops(uint32_t kind)
{
	return kind < sizeof(table) / sizeof(table[0]) ? table[kind] : NULL;
}
