// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_BARRIER_H
#define LEASEHOLD_BARRIER_H

/*
 * Barriers: so many parties wait until all of them have come.
 *
 * A barrier has a fixed number of places. A lease joins one, and is then a party until it leaves,
 * is released or lost. Phases are counted from 1: a phase is complete when every place is joined
 * and its party has arrived, that is, waits. A place that was left is waited for, until somebody
 * joins it again.
 *
 * When a party is lost, by its death or its expiry, before the phase is complete, whether it had
 * arrived or not, all who wait are woken and
 *
 *	LH_BARRIER_BREAK	the barrier is broken: waits say -EOWNERDEAD, until lh_barrier_reset.
 *				So that all know that a share of the work is missing.
 *	LH_BARRIER_SHRINK	the party is dropped: phases do without it, until another lease joins in
 *				its place.
 *
 * The wake does not wait for any time-out: it is the kernel's, some 0.1 ms; when several die at
 * once, and with more than 120 parties of which few wait, at most 250 ms.
 *
 * An lh_barrier is a handle: a 32-byte value, never changed once made, to be copied and shared
 * between threads at will; without destructor; usable in a forked child; void once the arena is
 * closed. An all-zero one gives -EINVAL. A lease is used by one thread at a time: threads that
 * are to be parties have a lease each.
 *
 * One word for each party instead of a counter follows the flags of Hensgen, Finkel and Manber,
 * "Two Algorithms for Barrier Synchronization" (1988): a counter cannot be repaired after a death.
 *
 * Example: one step of a computation, by as many processes as there are.
 *
 *	#include <errno.h>
 *	#include <leasehold/barrier.h>
 *
 *	int finish_step(lh_arena *arena, lh_lease *lease, uint32_t processes, int *ret_is_leader)
 *	{
 *		const struct lh_barrier_options options = {
 *			.parties = processes, .on_death = LH_BARRIER_SHRINK, .name = "step"
 *		};
 *		lh_barrier barrier;
 *		lh_grant grant;
 *		int error = lh_barrier_at(arena, LH_ANYWHERE, &options, &barrier);
 *
 *		if (!error)
 *			error = lh_barrier_wait(&barrier, lease, lh_deadline_after(LH_SEC(60)), &grant);
 *		if (error)
 *			return error;
 *		*ret_is_leader = (grant.flags & LH_GRANT_LEADER) != 0;
 *		return 0;
 *	}
 */

#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/grant.h>
#include <leasehold/lease.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_barrier {
	uint64_t private_[4];
} lh_barrier;

LH_STATIC_ASSERT(sizeof(lh_barrier) == 32, "lh_barrier is part of the ABI");

/* lh_barrier_options.on_death: what the loss of a party does. */
enum {
	LH_BARRIER_BREAK = 0, /* the barrier is broken until it is reset */
	LH_BARRIER_SHRINK = 1 /* it goes on without that party */
};

struct lh_barrier_options {
	uint32_t parties;     /* 1 to 8192 */
	unsigned on_death;    /* LH_BARRIER_BREAK or LH_BARRIER_SHRINK */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_barrier_options) == 48,
		 "lh_barrier_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: a header and 8 bytes for each party. 0
 * if the options are invalid; there is no default, so NULL is. Signal: safe.
 */
LH_API size_t lh_barrier_footprint(const struct lh_barrier_options *options);

/*
 * Creates the barrier at offset (or LH_ANYWHERE), with no party and no phase complete, or attaches
 * to the equal one there: same name, parties and on_death. In a read-only arena it only attaches.
 * Errors: as lh_mutex_at; -EINVAL also: options is NULL, parties 0 or more than 8192, an unknown
 * on_death. Order, crash, signal: as lh_mutex_at.
 */
LH_API int lh_barrier_at(lh_arena *arena, uint64_t offset, const struct lh_barrier_options *options,
			 lh_barrier *ret_barrier);

/* Its offset; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_barrier_offset(const lh_barrier *barrier);

/*
 * Makes the lease a party; 0 at once if it is one. A place that nobody has joined yet or that was
 * left comes before one whose party was dropped; from then on phases wait for it. Errors; except
 * after -ESTALE, the lease holds just what it held before:
 *   -EUSERS     all parties have joined
 *   -EOWNERDEAD the barrier is broken, and all places that are left are those of lost parties
 *   -ESTALE     the lease is lost
 *   -ENOLCK     the lease has max_holds holds
 *   -EPERM      another thread's lease
 *   -EINVAL     an all-zero handle, or a lease of another arena
 *   -EBADMSG    the barrier or the arena's tables are damaged
 * Order: none. Crash: a party that was lost, or none. Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_barrier_join(const lh_barrier *barrier, lh_lease *lease);

/*
 * Arrives, and waits until all parties have: 0 means that the phase is complete. Joins first, if
 * the lease is no party yet (and leaves again if it then fails). ret_grant (may be NULL) tells the
 * phase as its token, and LH_GRANT_LEADER to one party of each phase, or to none, if that one is
 * lost before it returns. A wait whose phase was completed returns 0, even if its deadline has
 * passed or the barrier has broken since; only the loss of the caller's own lease goes before that.
 * Errors; except after -ESTALE, the lease holds just what it held before, its arrival is taken
 * back, and the phase waits for it still:
 *   -EBUSY      deadline is LH_NOW, and others have not arrived
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  the lease's cancel token was fired, before this call or during it
 *   -EINTR      a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -EOWNERDEAD the barrier is broken, or broke during the wait (and may have been reset since)
 *   -EUSERS, -ENOLCK  the lease is no party, and cannot join
 *   -ESTALE     the lease is lost
 *   -EOVERFLOW  2^43 phases are complete: it can be removed, not used
 *   -EPERM      another thread's lease
 *   -EINVAL     an all-zero handle, or a lease of another arena
 *   -EBADMSG    the barrier or the arena's tables are damaged
 * Order: acquire and release: what each party wrote before its wait is visible to all after it.
 * Crash: a lost party, see above. Signal: safe with LH_NOW for a lease that is a party, else
 * unsafe.
 */
LH_API LH_NODISCARD int lh_barrier_wait(const lh_barrier *barrier, lh_lease *lease,
					lh_deadline deadline, lh_grant *ret_grant);

/*
 * Gives the place up; others can join it. Releasing the lease does the same. Phases are not
 * complete until somebody has. Errors: -EPERM: the lease is no party, or another thread's; -ESTALE;
 * -EINVAL, -EBADMSG: as lh_barrier_join. Order: none. Crash: a lost party, or none. Signal: safe.
 */
LH_API int lh_barrier_leave(const lh_barrier *barrier, lh_lease *lease);

/*
 * Mends a broken barrier: lost parties are evicted, and their places can be joined again; parties
 * that live stay, and those that waited when it broke are told -EOWNERDEAD all the same. The phase
 * goes on from where it was, with nobody arrived. Of one that is not broken only lost parties are
 * evicted (with LH_BARRIER_SHRINK: dropped). Any process may call it, with or without being a
 * party. Errors: -EINVAL: an all-zero handle; -EROFS: the arena is read-only; -EBADMSG. Order:
 * none. Crash: broken still, or mended. Signal: unsafe.
 */
LH_API int lh_barrier_reset(const lh_barrier *barrier);

LH_END_DECLS

#define LH_DECLARED_BARRIER
#include <leasehold/annotate.h>

#endif
