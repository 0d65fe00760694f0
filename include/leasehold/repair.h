// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_REPAIR_H
#define LEASEHOLD_REPAIR_H

/*
 * Putting an arena right by hand: ending a lease that is in the way, clearing up behind the lost.
 *
 * Programs need none of this: whoever wants what a lost lease holds clears up behind it. It is for
 * operators, who see with inspect.h that somebody hangs and decide that it has hung for long enough;
 * lease-inspector's break, gc and rm are these calls. Each leaves an event in the arena's ring, which
 * names the process that called.
 *
 * Whether a lease may be ended by hand is a matter of what its owner relies on. One with a TTL has to
 * expect its loss at any moment and is told by its state, so it can be made to expire before its time.
 * One without TTL lets go by a plain store that nobody can stop: nothing but its owner's end makes it
 * safe to give what it holds to others. So it is killed, and seen dead, first.
 *
 * Example: end the lease that holds a mutex, whoever has it.
 *
 *	#include <leasehold/inspect.h>
 *	#include <leasehold/repair.h>
 *
 *	int break_first(lh_arena *arena, uint64_t offset)
 *	{
 *		struct lh_hold_info hold;
 *		uint64_t cursor = 0;
 *
 *		while (lh_next_hold(arena, &cursor, &hold) == 0)
 *			if (hold.offset == offset && hold.mode != LH_HOLD_INTENT)
 *				return lh_lease_break(arena, hold.lease, offset, LH_BREAK_FORCE,
 *						      lh_deadline_after(LH_SEC(5)));
 *		return 0;
 *	}
 */

#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

/* lh_lease_break */
enum { LH_BREAK_FORCE = 1 }; /* even if its owner lives */

/*
 * Ends the lease with that id and frees all it holds, as by its owner's death: what it held alone is
 * granted next with LH_GRANT_OWNER_DIED. Without LH_BREAK_FORCE only a lease that is lost already.
 * With it, one with a TTL becomes EXPIRED at once; then, if it has LH_LEASE_KILL_ON_EXPIRY, and in any
 * case without a TTL, its owner's whole process is SIGKILLed, and waited for until it has ended or the
 * deadline passes: nothing is freed before. offset is that of the object, or of the placement, for
 * whose sake it is done, or 0: it is noted in the event (LH_EVENT_BROKEN), and a lease that does not hold
 * it, or anything in the placement, at the time of the call is left alone. Whoever lets go of it between
 * that look and the end is ended all the same.
 * Errors:
 *   -ENOENT     there is no such lease any more, or it does not hold what is at offset (any more)
 *   -EBUSY      its owner lives, or is not known to have ended, and LH_BREAK_FORCE was not given
 *   -ETIMEDOUT  killed, but not dead yet: it hangs in the kernel or dumps core; ask again
 *   -EACCES     the process may not be signalled: another user's, or in another pid namespace
 *   -EDEADLK    its owner would have to be killed, and that is this process: release it
 *   -ENOTSUP, -EMFILE, -ENFILE, -ENOMEM   no pidfd is to be had, without which nobody is killed
 *   -EROFS      the arena was opened read-only
 *   -EINVAL     arena is NULL; an unknown flag
 * Order: acquires what the lost owner wrote before it ended.
 * Crash: the lease is as it was, or lost and cleared up behind by whoever comes next.
 * Signal: unsafe.
 */
LH_API int lh_lease_break(lh_arena *arena, uint64_t lease, uint64_t offset, int flags,
			  lh_deadline deadline);

/*
 * Clears up behind every lost lease and takes back half-made placements of the dead. *ret_freed says
 * how many leases and placements that were; *ret_left how many lost leases stay because their owners
 * run and have not released them yet. Either may be NULL. Kills nobody. If anything was freed, that
 * is an event (LH_EVENT_SWEPT).
 * Errors: -EROFS: the arena was opened read-only; -EINVAL: arena is NULL.
 * Order: as lh_lease_break. Crash: some are cleared up behind; whoever comes next goes on.
 * Signal: unsafe.
 */
LH_API int lh_sweep(lh_arena *arena, uint32_t *ret_freed, uint32_t *ret_left);

/*
 * Notes in the arena's ring (LH_EVENT_REMOVED) that the placement at offset, or with offset 0 the
 * arena's name, has been removed by hand. Removes nothing: it is called after lh_remove or
 * lh_arena_unlink, which do.
 * Errors: -EROFS: the arena was opened read-only; -EINVAL: arena is NULL.
 * Crash: noted or not. Signal: unsafe.
 */
LH_API int lh_note_removal(lh_arena *arena, uint64_t offset);

LH_END_DECLS

#endif
