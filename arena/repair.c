// SPDX-License-Identifier: Apache-2.0
//
// What an operator does to an arena (leasehold/repair.h). Nothing here is a protocol of its own: a
// lease is latched and reaped as by any taker, with two differences. A lease with a TTL is latched
// EXPIRED before its time (lease_expire); and who sleeps until that time is woken, since it would look
// no sooner.
#include "arena/error.h"
#include "arena/event.h"
#include "arena/owner.h"
#include "arena/placement.h"
#include "arena/reap.h"
#include "arena/sys/identity.h"

#include <leasehold/inspect.h>
#include <leasehold/repair.h>

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS                                                                                    \
	CLOCK_NS_PER_MS // the end of a process lease's owner wakes nobody: it is asked for again

static int check_writable(const lh_arena *arena)
{
	if (!arena)
		return error_detail(-EINVAL, "arena is NULL");
	return arena->read_only ? error_detail(-EROFS, "the arena was opened read-only") : 0;
}

// SIGKILL to the owner's process, and its end.
static int kill_owner_and_wait(const struct lh_arena *arena, uint64_t owner, lh_deadline deadline)
{
	PROCESS_NO_CANCEL;
	struct identity identity;
	int pidfd, error;

	if (!owner_identity(arena, owner, &identity))
		return 0; // passed on, so it has ended: the judge says so
	pidfd = identity_open(&identity);
	if (pidfd == -ESRCH)
		return 0;
	if (pidfd < 0)
		return error_detail(-EACCES, "process %d%s", (int)identity.pid,
				    pidfd == -EXDEV ? " is in another pid namespace" : "");
	error = identity.pid == process_pid() ? -EDEADLK : identity_kill(pidfd);
	if (error == 0 && !identity_await(pidfd, deadline.ns))
		error = -ETIMEDOUT;
	close(pidfd);
	if (error == 0 || error == -ESRCH)
		return 0;
	return error_detail(error == -EPERM ? -EACCES : error, "process %d", (int)identity.pid);
}

// Makes it lost. The state is looked at once: whatever it becomes afterwards is the judge's.
static int end_by_force(struct lh_arena *arena, const struct lost_lease *lease,
			lh_deadline deadline)
{
	const uint64_t state = atomic_load(&arena->leases[lease->slot].state);

	if (owner_ended(arena, lease->owner) || lease_word_state(state) != LEASE_LIVE ||
	    lease_word_expiry(state) != UINT64_MAX) {
		lease_expire(arena, lease->slot, lease->id);
		return 0;
	}
	return kill_owner_and_wait(arena, lease->owner, deadline);
}

static bool is_over(const struct lh_arena *arena, const struct lost_lease *lease)
{
	const struct lease_slot *slot = &arena->leases[lease->slot];

	return atomic_load(&slot->owner) != lease->owner || atomic_load(&slot->id) != lease->id;
}

// Frees what the lease holds once it is seen to be lost; waits for that only if it `may_wait`.
static int clear_up(struct lh_arena *arena, const struct lost_lease *lease, bool may_wait,
		    lh_deadline deadline)
{
	PROCESS_NO_CANCEL; // nanosleep(2) is a cancellation point
	struct lost_lease lost;

	while (!is_over(arena, lease)) {
		switch (may_wait ? lease_judge(arena, lease->slot, &lost)
				 : lease_judge_gently(arena, lease->slot, &lost)) {
		case VERDICT_LOST:
			if (lost.id != lease->id)
				return 0;
			reap_lease(arena, &lost);
			owner_wake_all(arena, lost.owner);
			return 0;
		case VERDICT_GONE:
			if (reap_slot(arena, lease->slot))
				return 0;
			break;
		case VERDICT_HELD:
			return error_detail(-EBUSY, "lease %llu is live",
					    (unsigned long long)lease->id);
		case VERDICT_DYING:
			if (!may_wait)
				return error_detail(-EBUSY, "the owner of lease %llu has not ended",
						    (unsigned long long)lease->id);
			break;
		}
		if (clock_now() >= deadline.ns)
			return error_detail(-ETIMEDOUT, "the owner of lease %llu has not ended",
					    (unsigned long long)lease->id);
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
	return 0;
}

// Whether it holds the object at offset now, or something in the placement there. Bounded by the arena's
// tables, whatever they say.
static bool is_held_by(const struct lh_arena *arena, const struct lost_lease *lease,
		       uint64_t offset)
{
	struct lh_hold_info hold;
	uint64_t cursor = (uint64_t)lease->slot * arena->holds_per_lease;

	while (lh_next_hold(arena, &cursor, &hold) == 0 && hold.slot == lease->slot) {
		if (hold.lease == lease->id && hold.mode != LH_HOLD_INTENT &&
		    (hold.offset == offset || hold.placement == offset))
			return true;
	}
	return false;
}

int lh_lease_break(lh_arena *arena, uint64_t lease, uint64_t offset, int flags,
		   lh_deadline deadline)
{
	const uint32_t slot = (uint32_t)(lease & ((1u << LEASE_SLOT_BITS) - 1));
	struct lost_lease broken = { .slot = slot, .id = lease };
	int error = check_writable(arena);

	if (!error && (flags & ~LH_BREAK_FORCE))
		error = error_detail(-EINVAL, "flags 0x%x", (unsigned)flags);
	if (error)
		return error;
	if (slot < arena->lease_count)
		broken.owner = atomic_load(&arena->leases[slot].owner);
	if (!broken.owner || is_over(arena, &broken))
		return error_detail(-ENOENT, "lease %llu", (unsigned long long)lease);
	if (offset && !is_held_by(arena, &broken, offset))
		return error_detail(-ENOENT, "lease %llu holds nothing at %llu",
				    (unsigned long long)lease, (unsigned long long)offset);
	if (flags & LH_BREAK_FORCE)
		error = end_by_force(arena, &broken, deadline);
	if (!error)
		error = clear_up(arena, &broken, flags & LH_BREAK_FORCE, deadline);
	if (!error)
		event_record(arena, LH_EVENT_BROKEN, &broken, offset, 0);
	return error;
}

int lh_sweep(lh_arena *arena, uint32_t *ret_freed, uint32_t *ret_left)
{
	const int error = check_writable(arena);
	uint32_t freed = 0, left = 0;

	if (error)
		return error;
	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		const uint32_t seen = lease_state_seen(arena, slot, clock_now());

		if (seen != LH_LEASE_DEAD && seen != LH_LEASE_EXPIRED)
			continue;
		if (reap_slot(arena, slot))
			freed++;
		else if (lease_state_seen(arena, slot, clock_now()) != LH_LEASE_LIVE)
			left++;
	}
	freed += placement_sweep(arena);
	if (freed)
		event_record(arena, LH_EVENT_SWEPT, &(struct lost_lease){ .slot = 0 }, 0, 0);
	if (ret_freed)
		*ret_freed = freed;
	if (ret_left)
		*ret_left = left;
	return 0;
}

int lh_note_removal(lh_arena *arena, uint64_t offset)
{
	const int error = check_writable(arena);

	if (!error)
		event_record(arena, LH_EVENT_REMOVED, &(struct lost_lease){ .slot = 0 }, offset, 0);
	return error;
}
