// SPDX-License-Identifier: Apache-2.0
//
// fence.h: the asymmetric fence. The hot side issues nothing but a compiler barrier; the rare side
// makes every running process that registered execute a full fence, by membarrier(2)
// MEMBARRIER_CMD_GLOBAL_EXPEDITED. Where membarrier is refused an arena must be created with
// LH_ARENA_PLAIN_FENCES, and what would be the hot side uses a read-modify-write instead.
#ifndef ARENA_SYS_FENCE_H
#define ARENA_SYS_FENCE_H

#include <stdatomic.h>
#include <stdbool.h>

// Registers this process as one that heavy fences reach; again after fork. 0, or -ENOTSUP.
int fence_register(void);

// Hot side. Pairs with fence_heavy.
static inline void fence_light(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

// Rare side. Pairs with fence_light. False: a filter that came after fence_register refuses it, and
// the hot sides have had no fence. Who only wants to be woken may sleep all the same, with a
// backstop; who would exclude others by it must not go on.
bool fence_heavy(void);

#endif
