// SPDX-License-Identifier: Apache-2.0
//
// What an operator does to an arena (leasehold/repair.h). Nothing here is a protocol of its own: a
// lease is latched and reaped as by any taker, with two differences. A lease with a TTL is latched
// EXPIRED before its time (lease_expire); and who sleeps until that time is woken, since it would
// look no sooner.
#include "arena/error.h"
#include "arena/event.h"
#include "arena/owner.h"
#include "arena/placement.h"
#include "arena/reap.h"
#include "arena/sys/identity.h"
#include "arena/wait.h"

#include <leasehold/inspect.h>
#include <leasehold/repair.h>

#include <errno.h>
#include <unistd.h>

static int check_writable(const lh_arena *arena)
{
	if (!arena)
		return error_detail(-EINVAL, "arena is NULL");
	return arena->read_only ? error_detail(-EROFS, "the arena was opened read-only") : 0;
}

// Whether it is there still. A slot that was claimed anew has the last one's id for a moment, but
// not its state.
static bool is_there(const struct lh_arena *arena, const struct lost_lease *lease)
{
	const struct lease_slot *slot = &arena->leases[lease->slot];
	const uint64_t state = atomic_load(&slot->state);

	return lease_word_state(state) != LEASE_FREE &&
	       lease_word_is(state, lease_id_incarnation(lease->id)) &&
	       atomic_load(&slot->owner) == lease->owner && atomic_load(&slot->id) == lease->id;
}

static int not_there(const struct lost_lease *lease)
{
	return error_detail(-ENOENT, "lease %llu is no more", (unsigned long long)lease->id);
}

// What the owner cannot be signalled for, as repair.h has it.
static int signal_error(int error, const struct identity *identity)
{
	if (error == -EPERM || error == -EXDEV)
		error = -EACCES;
	else if (error == -ENOSYS)
		error = -ENOTSUP;
	return error_detail(error, "process %d cannot be killed from here", (int)identity->pid);
}

// SIGKILL to the owner's process, and its end.
static int kill_owner_and_wait(const struct lh_arena *arena, const struct lost_lease *lease,
			       const struct identity *identity, lh_deadline deadline)
{
	PROCESS_NO_CANCEL;
	const int pidfd = identity_open(identity);
	int error = 0;

	if (pidfd == -ESRCH)
		return 0;
	if (pidfd < 0)
		return signal_error(pidfd, identity);
	// Finding the process took a while, in which it may have let go.
	if (!is_there(arena, lease))
		error = not_there(lease);
	else if ((error = identity_kill(pidfd)) != 0 && error != -ESRCH)
		error = signal_error(error, identity);
	else if (!identity_await(pidfd, deadline.ns))
		error = error_detail(-ETIMEDOUT, "process %d has not ended", (int)identity->pid);
	else
		error = 0;
	close(pidfd);
	return error;
}

// Whether nothing but its owner's end makes what it holds safe to take.
static bool ends_with_owner_alone(const struct lh_arena *arena, const struct lost_lease *lease)
{
	const struct lease_slot *slot = &arena->leases[lease->slot];
	const uint64_t state = atomic_load(&slot->state);

	if (lease_word_state(state) == LEASE_DEAD || owner_ended(arena, lease->owner))
		return false;
	return lease_word_expiry(state) == UINT64_MAX ||
	       (atomic_load_explicit(&slot->flags, memory_order_acquire) & LH_LEASE_KILL_ON_EXPIRY);
}

// Numbers alone do not tell: in another pid namespace there is a process of the same number, and
// one that has ended may have had it.
static bool is_this_process(const struct identity *identity)
{
	PROCESS_NO_CANCEL;
	struct identity self;

	if (identity->pid != getpid())
		return false;
	return identity_of_self(&self) != 0 || // cannot be told: better refused than killed
	       (identity->pid_namespace == self.pid_namespace &&
		identity->start_time == self.start_time);
}

// Makes it lost.
static int end_by_force(struct lh_arena *arena, const struct lost_lease *lease,
			lh_deadline deadline)
{
	const bool kills = ends_with_owner_alone(arena, lease);
	struct identity identity;

	// Whose owner cannot be read has passed it on, so has ended: the judge says so.
	if (!kills || !owner_identity(arena, lease->owner, &identity)) {
		lease_expire(arena, lease->slot, lease->id);
		return 0;
	}
	if (!is_there(arena, lease)) // else what was read was of the next
		return not_there(lease);
	if (is_this_process(&identity))
		return error_detail(-EDEADLK, "lease %llu is this process's own",
				    (unsigned long long)lease->id);
	lease_expire(arena, lease->slot, lease->id);
	return kill_owner_and_wait(arena, lease, &identity, deadline);
}

static int not_ended(int error, const struct lost_lease *lease)
{
	return error_detail(error, "the owner of lease %llu has not ended",
			    (unsigned long long)lease->id);
}

// Sleeps on the end of its owner, which is sure: 0: look again; -ETIMEDOUT; -EBADMSG.
static int await_end(struct wait *wait, const struct lost_lease *lease)
{
	int error = 0;

	wait_round(wait);
	if (wait_on_owner(wait, lease->owner))
		error = wait_sleep(wait);
	return error == -ETIMEDOUT ? not_ended(error, lease) : error;
}

// Frees what the lease holds once it is seen to be lost; waits for that only if it was ended by
// force, and then it does not matter who was first.
static int clear_up(struct lh_arena *arena, const struct lost_lease *lease, bool forced,
		    lh_deadline deadline)
{
	struct lost_lease lost;
	struct wait wait;
	int error = 0;

	wait_begin(&wait, arena, NULL, deadline);
	while (!error && is_there(arena, lease)) {
		const enum verdict verdict = forced ? lease_judge(arena, lease->slot, &lost)
						    : lease_judge_gently(arena, lease->slot, &lost);

		if (verdict == VERDICT_LOST && lost.id == lease->id) {
			reap_lease(arena, &lost);
			owner_wake_all(arena, lost.owner);
			return 0;
		}
		if (!is_there(arena, lease)) // what was judged is the slot's next tenant
			break;
		if (verdict == VERDICT_HELD || (verdict == VERDICT_DYING && !forced))
			return not_ended(-EBUSY, lease);
		if (verdict == VERDICT_DYING)
			error = await_end(&wait, lease);
		else if (clock_now() >= deadline.ns)
			error = not_ended(-ETIMEDOUT, lease);
	}
	return error || forced ? error : not_there(lease);
}

// Whether it holds the object at offset now, or something in the placement there. Bounded by the
// arena's tables, whatever they say.
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
	if (!broken.owner || !is_there(arena, &broken))
		return not_there(&broken);
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
	struct reaped reaped;

	if (error)
		return error;
	reaped = reap_all(arena);
	reaped.freed += placement_sweep(arena);
	if (reaped.freed)
		event_record(arena, LH_EVENT_SWEPT, &(struct lost_lease){ .slot = 0 }, 0, 0);
	if (ret_freed)
		*ret_freed = reaped.freed;
	if (ret_left)
		*ret_left = reaped.left;
	return 0;
}

int lh_note_removal(lh_arena *arena, uint64_t offset)
{
	const int error = check_writable(arena);

	if (!error)
		event_record(arena, LH_EVENT_REMOVED, &(struct lost_lease){ .slot = 0 }, offset, 0);
	return error;
}
