// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_MUTEX_H
#define LEASEHOLD_MUTEX_H

/*
 * Mutexes: one lease at a time.
 *
 * A mutex is held by a lease, not by a thread, and is not recursive. When the holder is lost, by
 * its death or its expiry, the next one is granted the mutex with LH_GRANT_OWNER_DIED, and so is
 * everyone after it until lh_mutex_consistent (the contract of pthread_mutex_consistent(3), but
 * unlocking without it does not make the mutex unusable). Every grant has a token, grant.h. Grants
 * are in no strict order of arrival, but who has waited for a millisecond is next (one waiter a
 * millisecond, as long as it comes within four). Nothing is done about priority inversion.
 *
 * A mutex may carry data: data_size bytes, zeroed when created, 64-byte aligned, beside its word.
 * With count > 0 one placement holds an array of count mutexes, each with data of its own: a
 * table of records, locked one by one.
 *
 * An lh_mutex is a handle: a 32-byte value, never changed once made, to be copied and shared
 * between threads at will; without destructor; usable in a forked child; void once the arena is
 * closed. An all-zero one gives -EINVAL.
 *
 * The waiting is futex-based (the word's states follow Drepper's "Futexes Are Tricky"); the unlock
 * of a lease without TTL is a plain store, made safe for sleepers by membarrier(2).
 *
 * Example: a balance that survives the death of its writers.
 *
 *	#include <errno.h>
 *	#include <leasehold/mutex.h>
 *
 *	struct balance { long amount, shadow; };
 *
 *	int deposit(lh_arena *arena, lh_lease *lease, long amount)
 *	{
 *		const struct lh_mutex_options options = {
 *			.data_size = sizeof(struct balance), .name = "balance"
 *		};
 *		lh_mutex mutex;
 *		lh_grant grant;
 *		int error = lh_mutex_at(arena, LH_ANYWHERE, &options, &mutex);
 *
 *		if (!error)
 *			error = lh_mutex_lock(&mutex, lease, LH_FOREVER, &grant);
 *		if (error)
 *			return error;
 *		struct balance *balance = (struct balance *)lh_mutex_data(&mutex);
 *		if (grant.flags & LH_GRANT_OWNER_DIED) {
 *			balance->shadow = balance->amount;
 *			lh_mutex_consistent(&mutex, lease);
 *		}
 *		balance->shadow += amount;
 *		balance->amount = balance->shadow;
 *		return lh_mutex_unlock(&mutex, lease);
 *	}
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/grant.h>
#include <leasehold/lease.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_mutex {
	uint64_t private_[4];
} lh_mutex;

LH_STATIC_ASSERT(sizeof(lh_mutex) == 32, "lh_mutex is part of the ABI");

struct lh_mutex_options {
	size_t data_size;     /* bytes of data, of each element if an array; 0: none */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint32_t count;       /* elements; 0: a single mutex */
	unsigned flags;       /* LH_NO_REPAIR or 0 */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_mutex_options) == 56,
		 "lh_mutex_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: for each element a 64-byte header and
 * its data, rounded up. NULL: the default, a single mutex without data. 0 if the options are
 * invalid or the size does not fit in a size_t.
 * Signal: safe.
 */
LH_API size_t lh_mutex_footprint(const struct lh_mutex_options *options);

/*
 * Creates the mutex at offset (or LH_ANYWHERE), unlocked, or attaches to the equal one there: same
 * name, data_size, count and flags. The handle is of element 0. In a read-only arena it only
 * attaches.
 * Errors:
 *   -EINVAL   offset not a multiple of 64 or outside the user's space; unknown flag; reserved not
 *             0; name empty or too long; the footprint would overflow
 *   -EEXIST   a different or overlapping placement is there, or the name is taken by another
 *   -ENOSPC   no gap, or no directory entry, is left for it
 *   -EROFS    the arena is read-only and there is nothing to attach to
 *   -EBUSY    the arena is read-only, and the placement is only just being made
 *   -ETIMEDOUT  another process is stopped in the middle of making this placement, or one in its
 *             way
 *   -ENOLCK   too many threads without a lease are placing at this moment
 *   -ENOMEM   no memory
 *   -EBADMSG  the directory or the mutex's header is damaged
 * Order: the creator's zeroes are visible to all who attach (acquire).
 * Crash: placed or not; a half-made placement is finished or undone by the next call that meets it.
 * Signal: unsafe.
 */
LH_API int lh_mutex_at(lh_arena *arena, uint64_t offset, const struct lh_mutex_options *options,
		       lh_mutex *ret_mutex);

/*
 * The handle of element index (from 0) of the array that a handle belongs to, whichever of its
 * elements that is. A single mutex is an array of one here.
 * Errors: -EINVAL: no such element; an all-zero handle.
 * Signal: safe.
 */
LH_API int lh_mutex_element(const lh_mutex *array, uint32_t index, lh_mutex *ret_mutex);

/* Offset of this mutex (of an element: its own); 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_mutex_offset(const lh_mutex *mutex);

/*
 * This mutex's data, for holders to use; NULL if it was made without, or for an all-zero handle.
 * Signal: safe.
 */
LH_API void *lh_mutex_data(const lh_mutex *mutex);

/*
 * Locks the mutex for the lease: 0 means held. Waits until deadline (time.h). The lease is looked
 * at again at the moment of the grant: if its TTL ran out in the queue it gets -ESTALE, not the
 * lock. ret_grant (may be NULL) tells token, damage and, with damage, the lost lease's id.
 * Errors; except after -ESTALE, the lease holds just what it held before:
 *   -EBUSY      deadline is LH_NOW, and another lease holds it, or a waiter that was passed over for
 *               a millisecond is about to get it
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  the lease's cancel token was fired, before this call or during it
 *   -EINTR      a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -EDEADLK    the lease holds it already (told before -EBUSY), or this wait closed a cycle of
 *               leases waiting for each other; of each cycle exactly one is told
 *   -EOWNERDEAD ret_grant is NULL, and the grant would carry LH_GRANT_OWNER_DIED
 *   -ESTALE     the lease is lost
 *   -ENOLCK     the lease has max_holds holds
 *   -EOVERFLOW  the mutex's tokens are used up; it can be removed, not locked
 *   -EPERM      another thread's lease
 *   -EINVAL     an all-zero handle, or a lease of another arena
 *   -EBADMSG    the mutex or the arena's tables are damaged
 * Order: acquire; it pairs with the release of the unlock before it, and what a lost holder wrote
 * up to its end is visible as well.
 * Crash: a caller that dies before the grant leaves nothing and strands nobody; after it, it is a
 * lost holder.
 * Signal: safe with LH_NOW, else unsafe.
 */
LH_API LH_NODISCARD int lh_mutex_lock(const lh_mutex *mutex, lh_lease *lease, lh_deadline deadline,
				      lh_grant *ret_grant);

/*
 * Unlocks the mutex and wakes who should be next. Damage that was not declared consistent stays
 * told.
 * Errors: -ESTALE: the lease is lost, and whoever holds the mutex now is left alone; -EPERM: this
 * lease does not hold it, or another thread's lease; -EINVAL, -EBADMSG: as lh_mutex_lock.
 * Order: release.
 * Crash: held by the dead, or free with the waiters woken by whoever reaps the lease.
 * Signal: safe.
 */
LH_API int lh_mutex_unlock(const lh_mutex *mutex, lh_lease *lease);

/*
 * Declares the data under the held mutex repaired: later grants do not tell the damage any more.
 * Does nothing if there is none.
 * Errors: -EPERM: this lease does not hold it, or another thread's lease; -ESTALE; -EINVAL,
 * -EBADMSG: as lh_mutex_lock.
 * Order: what was written before it is visible to all who see no damage (release).
 * Crash: the next grant tells the damage, for the caller died holding.
 * Signal: safe.
 */
LH_API int lh_mutex_consistent(const lh_mutex *mutex, lh_lease *lease);

/*
 * Whether the lease holds the mutex; false once it is lost (as far as that was observed: no clock
 * is read), and on any invalid argument.
 * Signal: safe.
 */
LH_API bool lh_mutex_held(const lh_mutex *mutex, const lh_lease *lease);

LH_END_DECLS

#define LH_DECLARED_MUTEX
#include <leasehold/annotate.h>

#endif
