// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_ONCE_H
#define LEASEHOLD_ONCE_H

/*
 * Once: what is initialised by one process and used by all.
 *
 * The first lh_once_call runs the initialiser, others wait for it; from then on every call returns
 * 0 at once. The initialiser fills data_size bytes of its own process's memory, zeroed and 64-byte
 * aligned; when it returns 0 they are copied into the arena and never change again: readers take no
 * lock and write nothing. (So pointers into that memory are of no use afterwards.)
 *
 * An initialiser that fails, dies, or hangs until its lease's TTL has expired commits nothing: the
 * next caller, or one who waits already, runs its own. One that was only stopped, and wakes when
 * another has succeeded it, changes nothing: its call says -ESTALE. So exactly one initialiser's
 * value is ever seen, whole. What it does elsewhere than in its data is its own affair: it may be
 * done more than once.
 *
 * An lh_once is a handle: a 32-byte value, never changed once made, to be copied and shared
 * between threads at will; without destructor; usable in a forked child; void once the arena is
 * closed. An all-zero one gives -EINVAL.
 *
 * The name and the fast path (one load once it is done) are pthread_once(3)'s.
 *
 * Example: a table that is costly to compute.
 *
 *	#include <errno.h>
 *	#include <leasehold/once.h>
 *
 *	struct squares { unsigned of[1000]; };
 *
 *	static int compute(void *data, void *context)
 *	{
 *		struct squares *squares = (struct squares *)data;
 *
 *		(void)context;
 *		for (unsigned i = 0; i < 1000; i++)
 *			squares->of[i] = i * i;
 *		return 0;
 *	}
 *
 *	int get_squares(lh_arena *arena, lh_lease *lease, const struct squares **ret_squares)
 *	{
 *		const struct lh_once_options options = {
 *			.data_size = sizeof(struct squares), .name = "squares"
 *		};
 *		lh_once once;
 *		int error = lh_once_at(arena, LH_ANYWHERE, &options, &once);
 *
 *		if (!error)
 *			error = lh_once_call(&once, lease, compute, NULL, LH_FOREVER);
 *		if (!error)
 *			*ret_squares = (const struct squares *)lh_once_data(&once);
 *		return error;
 *	}
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/lease.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_once {
	uint64_t private_[4];
} lh_once;

LH_STATIC_ASSERT(sizeof(lh_once) == 32, "lh_once is part of the ABI");

struct lh_once_options {
	size_t data_size;     /* bytes of the value; 0: none */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_once_options) == 48,
		 "lh_once_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: a header and four times the data,
 * rounded up. NULL: the default, without data. 0 if the options are invalid or the size does not
 * fit in a size_t. Signal: safe.
 */
LH_API size_t lh_once_footprint(const struct lh_once_options *options);

/*
 * Creates it at offset (or LH_ANYWHERE), not done, or attaches to the equal one there: same name
 * and data_size. In a read-only arena it only attaches. Errors, order, crash, signal: as
 * lh_mutex_at.
 */
LH_API int lh_once_at(lh_arena *arena, uint64_t offset, const struct lh_once_options *options,
		      lh_once *ret_once);

/* Its offset; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_once_offset(const lh_once *once);

/*
 * 0: initialised, by whomever. Runs init(data, context) if nobody has and nobody else is about to;
 * data is NULL without data_size. init returns 0 to commit, or a negative errno, which is this
 * call's result and no other's; a positive number counts as -EINVAL. init must return: the lease
 * runs it until it does, is released or lost. It may use the lease, for other things than this
 * call. Errors; except after -ESTALE, the lease holds just what it held before:
 *   (init's)    init returned this
 *   -EBUSY      deadline is LH_NOW, and another runs the initialiser; or as below
 *   -ETIMEDOUT  the deadline passed while another ran it, or while all four copies of the data were
 *               kept from use by lost leases whose owners still run and may be in the middle of
 *               their copying. (The deadline does not bound init.)
 *   -ECANCELED  the lease's cancel token was fired, before this call or during the wait
 *   -EINTR      a signal handler ran during the wait, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -EDEADLK    called by init itself, with the same lease or another of the same thread; or this
 *               wait closed a cycle of leases waiting for each other: told to exactly one of them
 *   -ESTALE     the lease is lost, or was when init had returned: nothing is committed
 *   -ENOLCK     the lease has max_holds holds
 *   -ENOMEM     no memory for the data
 *   -EOVERFLOW  2^46 attempts have been made
 *   -EPERM      another thread's lease
 *   -EROFS      the arena is read-only, lease is NULL as nobody can have one there, and it is not done
 *   -EINVAL     an all-zero handle; a lease of another arena; lease is NULL, and the arena not
 *               read-only; init is NULL, and it is not done; init returned a positive number
 *   -EBADMSG    the object or the arena's tables are damaged
 * Order: acquire; what init wrote, to its data and elsewhere, is visible to whoever gets 0.
 * Crash: nothing is committed, and the next one runs; or all is.
 * Signal: safe once it is done, else unsafe.
 */
LH_API LH_NODISCARD int lh_once_call(const lh_once *once, lh_lease *lease,
				     int (*init)(void *data, void *context), void *context,
				     lh_deadline deadline);

/*
 * Whether it is initialised. False for an all-zero handle.
 * Order: acquire, as lh_once_call. Signal: safe.
 */
LH_API bool lh_once_done(const lh_once *once);

/*
 * The committed value, to be read only, valid while the arena is open; NULL until it is done,
 * without data_size, or for an all-zero handle. Order: acquire, as lh_once_call. Signal: safe.
 */
LH_API const void *lh_once_data(const lh_once *once);

LH_END_DECLS

#define LH_DECLARED_ONCE
#include <leasehold/annotate.h>

#endif
