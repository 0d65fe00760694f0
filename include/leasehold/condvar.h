// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CONDVAR_H
#define LEASEHOLD_CONDVAR_H

/*
 * Condition variables: waiting, with a mutex, until somebody signals.
 *
 * As with pthread_cond_wait(3) the caller holds a mutex, looks at what the mutex protects, and if
 * that is not yet as it wants it, lets the mutex go and sleeps, in one step for all who signal
 * under the mutex. A signal is not stored: without a waiter it does nothing. A wait may return
 * without one, so look again, in a loop.
 *
 * What is different: whoever dies, as a waiter or as one who signals, neither hangs the others nor
 * takes a signal along. A signal wakes the one who has waited longest and lives; if that one dies
 * before it holds the mutex again, the signal goes to the next, some 0.1 ms later. Signalling takes
 * no lease and no lock: any process that has the arena open for writing may, holding the mutex or
 * not, and in a signal handler too. It takes a time that grows with the number of waiters. Waiters
 * at one time may use different mutexes, each its own; a broadcast is for all of them. Each waiting
 * lease is a waiter of its own, so one process may wait several times.
 *
 * The mutex may have been lost by another holder meanwhile, or its data be damaged since long: the
 * wait returns with the mutex held all the same, and ret_grant tells, as it does of a lock. With
 * NULL nothing is told, and the next lock that asks is.
 *
 * An lh_condvar is a handle like an lh_mutex (mutex.h): 32 bytes, never changed, void once the
 * arena is closed. An all-zero one gives -EINVAL.
 *
 * Sources: Birrell, "An Introduction to Programming with Threads" (1989), for the semantics; nsync
 * for a queue of named waiters instead of a count.
 *
 * Example: take an item from a stock that others fill.
 *
 *	#include <leasehold/condvar.h>
 *
 *	struct stock { long items; };
 *
 *	int take(lh_arena *arena, lh_lease *lease)
 *	{
 *		const struct lh_mutex_options stock_options = {
 *			.data_size = sizeof(struct stock), .name = "stock"
 *		};
 *		const struct lh_condvar_options filled_options = { .name = "filled" };
 *		lh_mutex mutex;
 *		lh_condvar filled;
 *		lh_grant grant;
 *		int error = lh_mutex_at(arena, LH_ANYWHERE, &stock_options, &mutex);
 *
 *		if (!error)
 *			error = lh_condvar_at(arena, LH_ANYWHERE, &filled_options, &filled);
 *		if (!error)
 *			error = lh_mutex_lock(&mutex, lease, LH_FOREVER, &grant);
 *		if (error)
 *			return error;
 *		struct stock *stock = (struct stock *)lh_mutex_data(&mutex);
 *		while (!error && stock->items == 0)
 *			error = lh_condvar_wait(&filled, &mutex, lease, LH_FOREVER, &grant);
 *		if (error)
 *			return error;
 *		if (grant.flags & LH_GRANT_OWNER_DIED)
 *			lh_mutex_consistent(&mutex, lease); // one number: never half-changed
 *		stock->items--;
 *		return lh_mutex_unlock(&mutex, lease);
 *	}
 */

#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/grant.h>
#include <leasehold/lease.h>
#include <leasehold/mutex.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_condvar {
	uint64_t private_[4];
} lh_condvar;

LH_STATIC_ASSERT(sizeof(lh_condvar) == 32, "lh_condvar is part of the ABI");

struct lh_condvar_options {
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_condvar_options) == 40,
		 "lh_condvar_options is part of the ABI");

/*
 * The bytes that a condition variable takes: 64. NULL: the default options. 0 if they are invalid.
 * Signal: safe.
 */
LH_API size_t lh_condvar_footprint(const struct lh_condvar_options *options);

/*
 * Creates the condition variable at offset (or LH_ANYWHERE), without waiters, or attaches to the
 * one of the same name there. In a read-only arena it only attaches. Errors:
 *   -EINVAL   offset not a multiple of 64 or outside the user's space; reserved not 0; name empty or
 *             too long
 *   -EEXIST   a different or overlapping placement is there, or the name is taken by another
 *   -ENOSPC   no gap, or no directory entry, is left for it
 *   -EROFS    the arena is read-only and there is nothing to attach to
 *   -EBUSY    the arena is read-only, and the placement is only just being made
 *   -ETIMEDOUT  another process is stopped in the middle of making this placement, or one in its
 *             way
 *   -ENOLCK   too many threads without a lease are placing at this moment
 *   -ENOMEM   no memory
 *   -EBADMSG  the directory or the condition variable's header is damaged
 * Order: the creator's zeroes are visible to all who attach (acquire).
 * Crash: placed or not; a half-made placement is finished or undone by the next call that meets it.
 * Signal: unsafe.
 */
LH_API int lh_condvar_at(lh_arena *arena, uint64_t offset, const struct lh_condvar_options *options,
			 lh_condvar *ret_condvar);

/* Offset of this condition variable; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_condvar_offset(const lh_condvar *condvar);

/*
 * Lets the mutex go, which the lease holds, sleeps until a signal, deadline, cancel or
 * interruption, and locks the mutex again. The re-lock ignores deadline, cancel token and signal
 * handlers, and may wait as long as lh_mutex_lock with LH_FOREVER. A signal that came in time is
 * told by 0, even if the deadline passed since. 0 may also come without a signal.
 *
 * ret_grant (may be NULL) is of the new grant of the mutex: token, damage and, with damage, the
 * lost lease's id. It is filled on -ETIMEDOUT, -ECANCELED and -EINTR too, if the mutex was let go.
 * Errors with the mutex held, as before or again:
 *   -EBUSY      deadline is LH_NOW: the mutex was not let go
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  the lease's cancel token was fired; before this call: the mutex, if the lease has it,
 *               was not let go
 *   -EINTR      a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -ENOLCK     the lease has max_holds holds: the mutex was not let go
 *   -EINVAL     an all-zero handle, a lease of another arena, or a mutex of another: nothing was done
 * Errors without it:
 *   -EPERM      the lease does not hold the mutex, or is another thread's
 *   -ESTALE     the lease is lost, or was lost meanwhile
 *   -EDEADLK    locking the mutex again closed a cycle of leases waiting for each other (of locks that
 *               the lease holds besides); of each cycle exactly one is told
 *   -EOVERFLOW  the mutex's tokens are used up
 *   -EBADMSG    the condition variable, the mutex or the arena's tables are damaged
 * Order: release of the mutex, then acquire of it, as by lh_mutex_unlock and lh_mutex_lock.
 * Crash: before the mutex is let go a lost holder; then a waiter that leaves nothing and strands
 * nobody, whose signal, if it had one, goes to another; from the new grant on a lost holder, whose
 * signal may wake another as well.
 * Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_condvar_wait(const lh_condvar *condvar, const lh_mutex *mutex,
					lh_lease *lease, lh_deadline deadline, lh_grant *ret_grant);

/*
 * Wakes one waiter, the longest waiting, if there is any; lh_condvar_broadcast wakes all there are.
 * Who waits is whoever let its mutex go in lh_condvar_wait before this call. No lease is needed and
 * the mutex need not be held. Neither call waits for anybody.
 * Errors: -EINVAL: an all-zero handle; -EROFS: the arena was opened read-only; -EBADMSG: as
 * lh_condvar_wait.
 * Order: none of its own: what the waiter is to see is written under the mutex.
 * Crash: sent or not, of a broadcast to some or all. A waiter that was chosen and not yet woken is
 * woken by the next signal, or looks by itself within 250 ms.
 * Signal: safe.
 */
LH_API int lh_condvar_signal(const lh_condvar *condvar);
LH_API int lh_condvar_broadcast(const lh_condvar *condvar);

LH_END_DECLS

#define LH_DECLARED_CONDVAR
#include <leasehold/annotate.h>

#endif
