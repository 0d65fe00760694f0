// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_RWLOCK_H
#define LEASEHOLD_RWLOCK_H

/*
 * Reader-writer locks: any number of leases read, or one writes.
 *
 * It is for what is read far more often than written. A reader notes in its own lease that it reads
 * and writes nothing that another reader writes, so readers do not slow each other down, however
 * many there are. A writer pays for that: it has a fence executed on all processors (membarrier(2))
 * before it looks who reads. The lock notices when that costs too much, and has readers pay for the
 * fence for a while (the idea of a bias that is revoked is BRAVO's: Dice and Kogan, USENIX ATC
 * 2019; that readers publish themselves where only writers look is known as big-reader lock).
 *
 * A reader that is lost delays nobody and leaves no damage. After a writer that was lost every
 * grant, to read or to write, has LH_GRANT_OWNER_DIED, until a writer calls lh_rwlock_consistent; a
 * writer that was lost while it still waited has changed nothing, and nobody is told.
 *
 * Who comes first: a writer that waits for readers lets no new ones in. Of those who wait for a
 * writer, the first writer among them is next once it has waited for a millisecond, and a reader
 * once it has; until then who comes and need not wait goes past them (or each hand-over would cost
 * what it takes to wake a process), but never a reader with LH_NOW past a writer. Neither is kept
 * out for ever by the other. Nothing is done about priority inversion.
 *
 * Read locks nest: a lease that reads may lock again, past a waiting writer too, and unlocks as
 * often. Writing does not nest, and a lease that reads gets to write by lh_rwlock_upgrade alone.
 *
 * An lh_rwlock is a handle like lh_mutex (mutex.h), and data may lie beside the lock as there.
 *
 * Example: a table of rates, looked up all the time, changed seldom.
 *
 *	#include <leasehold/rwlock.h>
 *
 *	struct rates { double buy, sell; };
 *
 *	static int at(lh_arena *arena, lh_rwlock *ret_rwlock)
 *	{
 *		const struct lh_rwlock_options options = {
 *			.data_size = sizeof(struct rates), .name = "rates"
 *		};
 *
 *		return lh_rwlock_at(arena, LH_ANYWHERE, &options, ret_rwlock);
 *	}
 *
 *	int spread(lh_arena *arena, lh_lease *lease, double *ret_spread)
 *	{
 *		lh_rwlock rwlock;
 *		int error = at(arena, &rwlock);
 *
 *		if (!error) // NULL: half-changed rates are -EOWNERDEAD
 *			error = lh_rwlock_read_lock(&rwlock, lease, LH_FOREVER, NULL);
 *		if (error)
 *			return error;
 *		const struct rates *rates = (const struct rates *)lh_rwlock_data(&rwlock);
 *		*ret_spread = rates->sell - rates->buy;
 *		return lh_rwlock_unlock(&rwlock, lease);
 *	}
 *
 *	int set(lh_arena *arena, lh_lease *lease, double buy, double sell)
 *	{
 *		lh_rwlock rwlock;
 *		lh_grant grant;
 *		int error = at(arena, &rwlock);
 *
 *		if (!error)
 *			error = lh_rwlock_write_lock(&rwlock, lease, LH_FOREVER, &grant);
 *		if (error)
 *			return error;
 *		struct rates *rates = (struct rates *)lh_rwlock_data(&rwlock);
 *		rates->buy = buy;
 *		rates->sell = sell;
 *		if (grant.flags & LH_GRANT_OWNER_DIED) // both are new: nothing is half-changed
 *			lh_rwlock_consistent(&rwlock, lease);
 *		return lh_rwlock_unlock(&rwlock, lease);
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

typedef struct lh_rwlock {
	uint64_t private_[4];
} lh_rwlock;

LH_STATIC_ASSERT(sizeof(lh_rwlock) == 32, "lh_rwlock is part of the ABI");

struct lh_rwlock_options {
	size_t data_size;     /* bytes of data; 0: none */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	unsigned flags;       /* LH_NO_REPAIR or 0 */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_rwlock_options) == 56,
		 "lh_rwlock_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: three lines and the data, rounded up.
 * NULL: the default, without data. 0 if the options are invalid or the size does not fit in a
 * size_t. Signal: safe.
 */
LH_API size_t lh_rwlock_footprint(const struct lh_rwlock_options *options);

/*
 * Creates the lock at offset (or LH_ANYWHERE), with nobody inside, or attaches to the equal one
 * there: same name, data_size and flags. In a read-only arena it only attaches. Errors, order,
 * crash, signal: as lh_mutex_at.
 */
LH_API int lh_rwlock_at(lh_arena *arena, uint64_t offset, const struct lh_rwlock_options *options,
			lh_rwlock *ret_rwlock);

/* Offset of this lock; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_rwlock_offset(const lh_rwlock *rwlock);

/*
 * The lock's data, 64-byte aligned, zeroed when created: for readers to read, for the writer to
 * write. NULL if it was made without, or for an all-zero handle.
 * Signal: safe.
 */
LH_API void *lh_rwlock_data(const lh_rwlock *rwlock);

/*
 * Locks for reading: 0 means that the lease reads, once more if it did already. Waits until
 * deadline for a writer to be gone. The lease is looked at last, so that one whose TTL ran out in
 * the queue gets -ESTALE, not the lock. ret_grant (may be NULL) tells the newest writer's token,
 * damage and, with damage, the lost lease's id. Errors; except after -ESTALE, the lease holds just
 * what it held before:
 *   -EBUSY      deadline is LH_NOW, and another lease writes, or waits to write
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  the lease's cancel token was fired, before this call or during it
 *   -EINTR      a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -EDEADLK    the lease writes here (told before -EBUSY), or this wait closed a cycle of leases
 *               waiting for each other
 *   -EOWNERDEAD ret_grant is NULL, and the grant would carry LH_GRANT_OWNER_DIED
 *   -ESTALE     the lease is lost
 *   -ENOLCK     the lease has max_holds holds
 *   -EOVERFLOW  the lease reads here 16777215 times already
 *   -EPERM      another thread's lease
 *   -EINVAL     an all-zero handle, or a lease of another arena
 *   -EBADMSG    the lock or the arena's tables are damaged
 * Order: acquire; what writers wrote before they let go, or a lost one up to its end, is visible.
 * Crash: a reader that ends is gone; nobody waits for it, nothing is damaged.
 * Signal: safe with LH_NOW, else unsafe.
 */
LH_API LH_NODISCARD int lh_rwlock_read_lock(const lh_rwlock *rwlock, lh_lease *lease,
					    lh_deadline deadline, lh_grant *ret_grant);

/*
 * Locks for writing: first the other writers are waited for, then those who read at that moment;
 * new ones stay out. Otherwise as lh_rwlock_read_lock.
 * Errors as lh_rwlock_read_lock, with these differences:
 *   -EBUSY      deadline is LH_NOW, and another lease reads, writes or is about to
 *   -EDEADLK    the lease reads here (lh_rwlock_upgrade is for that) or writes here, told before
 *               -EBUSY; or this wait closed a cycle of leases waiting for each other
 *   -EOVERFLOW  the lock's tokens are used up: it can be read still, or removed, not written
 *   -ENOTSUP    a seccomp filter that came after lh_arena_open refuses membarrier to this process,
 *               and the readers of this lock rely on it: nobody is let in beside them
 * Order: acquire; what readers read before they unlocked is not overwritten by what follows.
 * Crash: a caller that dies before the grant has changed nothing and strands nobody; after it, it
 * is a lost writer. Signal: safe with LH_NOW, else unsafe.
 */
LH_API LH_NODISCARD int lh_rwlock_write_lock(const lh_rwlock *rwlock, lh_lease *lease,
					     lh_deadline deadline, lh_grant *ret_grant);

/*
 * From reading to writing, with no other writer between. The lease reads on all the while, and after
 * any error but -ESTALE it still reads. Two that upgrade at once would wait for each other: one gets
 * -EDEADLK at once.
 * Errors as lh_rwlock_write_lock, with these differences:
 *   -EDEADLK    at once, whatever the deadline: the lease reads more than once, or another lease
 *               writes, or waits to; or this wait closed a cycle
 *   -EPERM      the lease does not read here (nor if it writes), or another thread's lease
 * Order, crash, signal: as lh_rwlock_write_lock.
 */
LH_API LH_NODISCARD int lh_rwlock_upgrade(const lh_rwlock *rwlock, lh_lease *lease,
					  lh_deadline deadline, lh_grant *ret_grant);

/*
 * From writing to reading, with no other writer between; others may read from now on. Damage that was
 * not declared consistent stays told.
 * Errors: -ESTALE: the lease is lost; -EPERM: it does not write here, or another thread's lease;
 * -EINVAL, -EBADMSG: as lh_rwlock_read_lock.
 * Order: release.
 * Crash: a lost reader, with what was written before the call whole; or, early in it, a lost writer.
 * Signal: safe.
 */
LH_API int lh_rwlock_downgrade(const lh_rwlock *rwlock, lh_lease *lease);

/*
 * Ends a write lock, or one of the lease's read locks, and wakes who waits for that.
 * Errors: -ESTALE: the lease is lost, and whoever has the lock now is left alone; -EPERM: it
 * neither reads nor writes here, or another thread's lease; -EINVAL, -EBADMSG: as
 * lh_rwlock_read_lock. Order: release. Crash: held by the dead, or free with the waiters woken by
 * whoever reaps the lease. Signal: safe.
 */
LH_API int lh_rwlock_unlock(const lh_rwlock *rwlock, lh_lease *lease);

/*
 * Declares the data under the lock repaired: later grants do not tell the damage any more. Only who
 * writes can. Does nothing if there is none.
 * Errors: -EPERM: the lease does not write here, or another thread's lease; -ESTALE; -EINVAL,
 * -EBADMSG: as lh_rwlock_read_lock.
 * Order: what was written before it is visible to all who see no damage (release).
 * Crash: the next grant tells the damage, for the caller died writing.
 * Signal: safe.
 */
LH_API int lh_rwlock_consistent(const lh_rwlock *rwlock, lh_lease *lease);

LH_END_DECLS

#define LH_DECLARED_RWLOCK
#include <leasehold/annotate.h>

#endif
