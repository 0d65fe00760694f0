// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_SEMAPHORE_H
#define LEASEHOLD_SEMAPHORE_H

/*
 * Semaphores: a pool of owned permits.
 *
 * A permit is held by a lease, and whoever acquired it releases it: this is no signal that one
 * process posts and another waits for. When a holder is lost, by its death or its expiry, exactly
 * the permits that it held are free again, wherever it was, and whoever waits is woken. Nothing is
 * told of that: permits protect no data.
 *
 * A lease may acquire several permits, at once or one after the other; several at once are granted
 * all or none. Each permit has a number, from 0, and has one holder at a time, so that permits can
 * stand for things: lh_semaphore_slots tells which ones a lease holds.
 *
 * Order of grants: one free permit is taken at once, past those who wait, unless one of them has
 * waited for a millisecond. Then all others queue behind that one, whatever it wants: so a request
 * for many is not starved by those for one. Who wants more than the present limit waits for a
 * resize and holds up nobody. Waiting for permits is no edge in the search for deadlocks.
 *
 * How many may be held can be changed at run time (lh_semaphore_resize), between 0 and the permits
 * it was made with. Lowering it takes nothing from anybody.
 *
 * An lh_semaphore is a handle, as lh_mutex is (mutex.h): a value of 32 bytes, to be copied and
 * shared at will.
 *
 * The owned permits are this library's answer to what "robust" cannot mean for a count; queueing
 * for several at once follows the fair semaphores of Tokio. Up to some 120 leases that hold permits
 * are watched by whoever waits: if there are more, the death of one of the others is noticed at the
 * next look, 250 ms later at most.
 *
 * Example: at most four of all processes convert at the same time, each with a device of its own.
 *
 *	#include <leasehold/semaphore.h>
 *
 *	int convert(lh_arena *arena, lh_lease *lease, int (*run)(uint32_t device))
 *	{
 *		const struct lh_semaphore_options options = { .permits = 4, .name = "devices" };
 *		lh_semaphore devices;
 *		uint32_t device;
 *		int result;
 *		int error = lh_semaphore_at(arena, LH_ANYWHERE, &options, &devices);
 *
 *		if (!error)
 *			error = lh_semaphore_acquire(&devices, lease, 1, lh_deadline_after(LH_SEC(10)));
 *		if (error)
 *			return error;
 *		result = lh_semaphore_slots(&devices, lease, &device, 1);
 *		if (result > 0)
 *			result = run(device);
 *		error = lh_semaphore_release(&devices, lease, 1);
 *		return error ? error : result;
 *	}
 */

#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/lease.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_semaphore {
	uint64_t private_[4];
} lh_semaphore;

LH_STATIC_ASSERT(sizeof(lh_semaphore) == 32, "lh_semaphore is part of the ABI");

struct lh_semaphore_options {
	uint32_t permits;     /* 1 to 65535 */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_semaphore_options) == 48,
		 "lh_semaphore_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: 128, and 8 for each permit. 0 if the
 * options are invalid; there is no default for permits, so NULL is.
 * Signal: safe.
 */
LH_API size_t lh_semaphore_footprint(const struct lh_semaphore_options *options);

/*
 * Creates the semaphore at offset (or LH_ANYWHERE), with all permits free, or attaches to the equal
 * one there: same name and permits, as created; a resize since then changes nothing here. In a
 * read-only arena it only attaches.
 * Errors: -EINVAL: permits not 1 to 65535, options NULL, and the rest as lh_mutex_at, whose other
 * errors these are too: -EEXIST, -ENOSPC, -EROFS, -EBUSY, -ETIMEDOUT, -ENOLCK, -ENOMEM, -EBADMSG.
 * Order: the creator's words are visible to all who attach (acquire).
 * Crash: placed or not; a half-made placement is finished or undone by the next call that meets it.
 * Signal: unsafe.
 */
LH_API int lh_semaphore_at(lh_arena *arena, uint64_t offset,
			   const struct lh_semaphore_options *options, lh_semaphore *ret_semaphore);

/* Offset of the semaphore; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_semaphore_offset(const lh_semaphore *semaphore);

/*
 * Acquires so many permits for the lease, all or none: 0 means held, beside those that it held
 * before. Waits until deadline (time.h). 0 permits: 0 at once, and nothing changes. More than the
 * present limit waits for a resize. The lease is looked at again at the moment of the grant: if its
 * TTL ran out in the queue it gets -ESTALE, no permit.
 * Errors; except after -ESTALE, the lease holds just what it held before:
 *   -EBUSY      deadline is LH_NOW, and so many are not free, or others are before it: one who has
 *               waited for a millisecond, or one who is about to take several
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  the lease's cancel token was fired, before this call or during it
 *   -EINTR      a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -ESTALE     the lease is lost
 *   -ENOLCK     the lease has max_holds holds (a semaphore counts as one)
 *   -EOVERFLOW  there were 2^46 grants to those who wanted several or had to wait: only single
 *               permits that are free can be had any more
 *   -EPERM      another thread's lease
 *   -EINVAL     more permits than were created; an all-zero handle; a lease of another arena
 *   -EBADMSG    the semaphore or the arena's tables are damaged
 * A lease that waits for permits which only it could release waits until its deadline.
 * Order: acquire; it pairs with the releases of those permits.
 * Crash: a caller that dies before the grant leaves nothing, however many it had collected, and
 * strands nobody; after it, it is a lost holder.
 * Signal: safe with LH_NOW (it may take 20 KiB of stack), else unsafe.
 */
LH_API LH_NODISCARD int lh_semaphore_acquire(const lh_semaphore *semaphore, lh_lease *lease,
					     uint32_t permits, lh_deadline deadline);

/*
 * Releases so many of the lease's permits, which of them is the library's choice, and wakes who
 * waits for them. 0 permits: 0. Errors: -EPERM: the lease holds fewer, and none is released; or
 * another thread's lease; -ESTALE: the lease is lost, and whoever holds its permits now is left
 * alone; -EINVAL, -EBADMSG: as lh_semaphore_acquire. Order: release. Crash: those released are
 * free, the others held by the dead; waiters are woken by whoever reaps the lease. Signal: safe.
 */
LH_API int lh_semaphore_release(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits);

/*
 * Which permits the lease holds, in ascending order: their numbers, from 0, go to slots, at most
 * capacity of them. Returns how many it holds, which may be more.
 * Errors: -EINVAL: slots is NULL and capacity is not 0; an all-zero handle; a lease of another
 * arena; -ESTALE: the lease is lost (as far as that was observed); -EPERM: another thread's lease;
 * -EBADMSG.
 * Signal: safe.
 */
LH_API int lh_semaphore_slots(const lh_semaphore *semaphore, const lh_lease *lease, uint32_t *slots,
			      size_t capacity);

/*
 * The limit, less the permits that are held or being collected, at some moment. What lost leases
 * held counts as free. Negative if more are held than the limit, after a resize.
 * Errors: -EINVAL: an all-zero handle; -EBADMSG: damage. (They are below what a semaphore of fewer
 * than that many permits can have.)
 * Order: none. Signal: safe.
 */
LH_API int64_t lh_semaphore_available(const lh_semaphore *semaphore);

/*
 * Sets the limit: how many permits may be held from now on. Above those that are held it lets waiters
 * in; below, it takes nothing back: nobody is granted any until enough were released. New grants are
 * of permits numbered below the limit.
 * Errors: -EINVAL: more than it was created with; an all-zero handle; -EROFS: the arena is read-only;
 * -EBADMSG.
 * Order: what was granted before stays; what is granted after it keeps to the new limit.
 * Crash: done or not; sleepers find out 250 ms later at most.
 * Signal: safe.
 */
LH_API int lh_semaphore_resize(const lh_semaphore *semaphore, uint32_t permits);

LH_END_DECLS

#define LH_DECLARED_SEMAPHORE
#include <leasehold/annotate.h>

#endif
