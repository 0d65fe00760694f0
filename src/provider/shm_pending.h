// SPDX-License-Identifier: Apache-2.0
//
// shm_pending.h: how acquires of named locks in an arena wait without a thread of their own: what
// src/provider.h calls listen, is_free and leave.
#ifndef SRC_PROVIDER_SHM_PENDING_H
#define SRC_PROVIDER_SHM_PENDING_H

#include "arena/wait.h"
#include "src/locks.h"
#include "src/provider/keys.h"

// Of a set; zeroed at first.
struct shm_pending {
	struct lh_lease
		*lease; // the helper thread's, which holds nothing: others poke it. NULL: none yet
};

int shm_pending_ready(struct shm_pending *pending, struct lh_arena *arena);
int shm_pending_listen(struct shm_pending *pending, struct lh_arena *arena, struct wait *wait,
		       uint64_t *ret_news);
bool shm_pending_is_free(struct shm_pending *pending, const struct keys *keys,
			 struct provider_queue *queue, struct wait *wait);
void shm_pending_leave(struct shm_pending *pending, struct provider_queue *queue);
void shm_pending_close(struct shm_pending *pending);

// How a mode is held.
static inline uint32_t shm_hold_mode(enum lh_mode mode)
{
	switch (mode) {
	case LH_SHARED:
		return LH_HOLD_SHARED;
	case LH_INTENT_SHARED:
		return LH_HOLD_INTENT_SHARED;
	case LH_INTENT_EXCLUSIVE:
		return LH_HOLD_INTENT_EXCLUSIVE;
	default:
		return LH_HOLD_EXCLUSIVE;
	}
}

// As whom a try on the queue's behalf acquires: rwlock_attempt.heir. queue may be NULL.
uint32_t shm_pending_heir(const struct provider_queue *queue);

#endif
