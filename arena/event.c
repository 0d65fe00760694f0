// SPDX-License-Identifier: Apache-2.0
#include "arena/event.h"

#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/sys/clock.h"

#include <string.h>

#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

// Protocol: claim a number; sequence = 0; fields; sequence = number + 1 (release). A writer that a
// faster one overtakes by a whole ring mixes fields at worst: this is a log, not a truth.
void event_record(struct lh_arena *arena, enum lh_event_kind kind, const struct lost_lease *lost,
		  uint64_t offset, uint64_t token)
{
	const uint64_t number = atomic_fetch_add(&arena->header->event_head, 1);
	struct event_record *event = &arena->events[number % arena->event_count];
	struct identity identity = { .pid = 0 };
	uint64_t command[2];

	owner_identity(arena, lost->owner, &identity);
	memcpy(command, identity.command, sizeof(command));
	STORE(event->sequence, 0);
	atomic_thread_fence(memory_order_release);
	STORE(event->time_ns, clock_now());
	STORE(event->lease, lost->id);
	STORE(event->offset, offset);
	STORE(event->token, token);
	STORE(event->kind, (uint32_t)kind);
	STORE(event->pid, (uint32_t)identity.pid);
	STORE(event->tid, (uint32_t)identity.tid);
	STORE(event->by_pid, (uint32_t)process_pid());
	STORE(event->command[0], command[0]);
	STORE(event->command[1], command[1]);
	atomic_store_explicit(&event->sequence, number + 1, memory_order_release);
	if (kind == LH_EVENT_OWNER_DIED || kind == LH_EVENT_EXPIRED)
		PROBE5(reap, arena, offset, lost->slot, token, lost->id);
}
