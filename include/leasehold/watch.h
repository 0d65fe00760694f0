// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_WATCH_H
#define LEASEHOLD_WATCH_H

/*
 * Watches: one sender's newest value, for any number of receivers.
 *
 * A send replaces the value; who is slow sees the newest one and none of those between. Receivers
 * take no lease, write nothing shared, may have the arena open for reading only, and do not slow
 * each other or the sender down. Values are from 0 bytes to max_size; none is ever seen torn or
 * half written, whoever dies where.
 *
 * At most one lease is the sender. When it is lost, by its death or its expiry, what it sent last
 * stays; receivers are told -EPIPE, once they have seen that; and the next lease that claims or
 * sends is the sender. A sender that was only stopped and goes on after its expiry publishes
 * nothing any more.
 *
 * A value is written into one of several slots and published by one compare-and-swap of the word
 * that names both sender and slot. A replaced sender that still runs keeps the one slot that it was
 * writing, if it was: when such senders sit on all slots but the newest value's, a send is -EBUSY
 * until one of them ends or releases its lease. Reading is wait-free in practice: it begins anew
 * only if all other slots were published while it copied (with the default 4: three sends in the
 * time of one copy). A read that was so overtaken a thousand times in a row gives -EBADMSG.
 *
 * Versions count the values sent, from 1, and never go back. A receiver sleeps through 2^13
 * publications in the instant between its look and its sleep as through none, and looks again at
 * its backstop, after 4 to 250 ms.
 *
 * An lh_watch is a handle as mutex.h describes them: a 32-byte value, immutable, shared at will. An
 * lh_watch_receiver, 64 bytes, remembers what it has seen, so it is used by one thread at a time;
 * it may be copied, and the copy goes on from there. Both are without destructor.
 *
 * The idea of one newest value with receivers that remember is Tokio's sync::watch; slots with
 * sequence numbers are Lamport's ("Concurrent reading and writing", CACM 1977) and the seqlocks of
 * Linux, as Boehm wrote them for C11 ("Can seqlocks get along with programming language memory
 * models?", MSPC 2012).
 *
 * Example: a configuration that others follow.
 *
 *	#include <errno.h>
 *	#include <leasehold/watch.h>
 *
 *	struct limits { long rate, burst; };
 *
 *	int open_limits(lh_arena *arena, lh_watch *watch)
 *	{
 *		const struct lh_watch_options options = {
 *			.max_size = sizeof(struct limits), .name = "limits"
 *		};
 *
 *		return lh_watch_at(arena, LH_ANYWHERE, &options, watch);
 *	}
 *
 *	int set_limits(const lh_watch *watch, lh_lease *lease, struct limits limits)
 *	{
 *		return lh_watch_send(watch, lease, &limits, sizeof(limits));
 *	}
 *
 *	int follow_limits(const lh_watch *watch, void (*apply)(const struct limits *limits))
 *	{
 *		lh_watch_receiver receiver;
 *		struct limits limits;
 *		int error = lh_watch_subscribe(watch, &receiver);
 *
 *		while (!error) {
 *			error = lh_watch_read(&receiver, &limits, sizeof(limits), NULL, NULL);
 *			if (!error)
 *				apply(&limits);
 *			if (!error || error == -ENODATA)
 *				error = lh_watch_changed(&receiver, LH_FOREVER);
 *		}
 *		return error;
 *	}
 */

#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/cancel.h>
#include <leasehold/lease.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_watch {
	uint64_t private_[4];
} lh_watch;

typedef struct lh_watch_receiver {
	uint64_t private_[8];
} lh_watch_receiver;

LH_STATIC_ASSERT(sizeof(lh_watch) == 32, "lh_watch is part of the ABI");
LH_STATIC_ASSERT(sizeof(lh_watch_receiver) == 64, "lh_watch_receiver is part of the ABI");

struct lh_watch_options {
	size_t max_size;      /* bytes of the largest value, at least 1 */
	uint32_t slots;       /* 2 to 16; 0: 4 */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_watch_options) == 56,
		 "lh_watch_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: a 64-byte header, and for each slot 64
 * bytes and, if max_size is above 8, max_size rounded up. 0 if the options (NULL: all zero) are
 * invalid: max_size must be said.
 * Signal: safe.
 */
LH_API size_t lh_watch_footprint(const struct lh_watch_options *options);

/*
 * Creates the watch at offset (or LH_ANYWHERE), without value and sender, or attaches to the equal
 * one there: same name, max_size and slots. In a read-only arena it only attaches.
 * Errors: as lh_mutex_at; -EINVAL also: max_size is 0, slots is 1 or above 16.
 * Order: the creator's zeroes are visible to all who attach (acquire).
 * Crash: placed or not; a half-made placement is finished or undone by the next call that meets it.
 * Signal: unsafe.
 */
LH_API int lh_watch_at(lh_arena *arena, uint64_t offset, const struct lh_watch_options *options,
		       lh_watch *ret_watch);

/* Offset of this watch; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_watch_offset(const lh_watch *watch);

/*
 * Makes the lease the watch's sender; it is, if it was already. Never waits. A lost sender is
 * succeeded at once, one that consented to be killed (LH_LEASE_KILL_ON_EXPIRY) once it has ended.
 * The value stays as it is. Wakes receivers, so that they heed the new sender's life.
 * Errors; except after -ESTALE, the lease holds just what it held before:
 *   -EBUSY     another lease is the sender
 *   -ESTALE    the lease is lost
 *   -ENOLCK    the lease has max_holds holds
 *   -EOVERFLOW the watch's 2^45 grants and publications are used up; it can be removed
 *   -EPERM     another thread's lease
 *   -EINVAL    an all-zero handle, or a lease of another arena
 *   -EBADMSG   the watch or the arena's tables are damaged
 * Order: acquire; what the sender before wrote is visible.
 * Crash: a caller that dies before the claim leaves nothing; after it, it is a lost sender.
 * Signal: unsafe.
 */
LH_API int lh_watch_claim(const lh_watch *watch, lh_lease *lease);

/*
 * Publishes size bytes as the newest value, and wakes all receivers; claims first if the lease is
 * not the sender yet. The value is stored whether or not anybody receives. Errors; after each of
 * them nothing was published:
 *   -EMSGSIZE  size is above max_size
 *   -EBUSY     another lease is the sender; or lost senders that still run sit on every spare slot
 *   -EINVAL    value is NULL and size is not 0; or as lh_watch_claim
 *   -ESTALE, -ENOLCK, -EOVERFLOW, -EPERM, -EBADMSG: as lh_watch_claim
 * Order: release; it pairs with the acquire of lh_watch_read and lh_watch_changed.
 * Crash: the value was published, and receivers wake, or nothing has changed.
 * Signal: unsafe.
 */
LH_API int lh_watch_send(const lh_watch *watch, lh_lease *lease, const void *value, size_t size);

/*
 * The lease is not the sender any more, in good order: receivers that have seen the newest value are
 * told -EPIPE. lh_lease_release does the same. The value stays.
 * Errors: -EPERM: the lease is not the sender, or another thread's lease; -ESTALE: the lease is lost;
 * -EINVAL, -EBADMSG: as lh_watch_claim.
 * Order: release.
 * Crash: closed, or a lost sender.
 * Signal: unsafe.
 */
LH_API int lh_watch_close(const lh_watch *watch, lh_lease *lease);

/*
 * A new receiver. What is there now counts as seen: lh_watch_changed tells of what is sent after.
 * (lh_watch_read gives it all the same.) Needs no lease.
 * Errors: -EINVAL: NULL, or an all-zero handle; -EBADMSG: the watch is damaged.
 * Signal: safe.
 */
LH_API int lh_watch_subscribe(const lh_watch *watch, lh_watch_receiver *ret_receiver);

/*
 * Ties the receiver to a cancel token, NULL to none: from the moment it is fired lh_watch_changed
 * gives -ECANCELED.
 * Errors: -EINVAL: NULL, or an all-zero receiver; -EBADMSG: the watch is damaged.
 * Signal: safe.
 */
LH_API int lh_watch_set_cancel(lh_watch_receiver *receiver, lh_cancel *cancel);

/*
 * Copies the newest value, also after the sender closed or was lost, and marks it as seen. ret_size
 * and ret_version may be NULL. On failure the buffer may have been written to.
 * Errors:
 *   -ENODATA   nothing was ever sent
 *   -EMSGSIZE  the value is larger than capacity; it is not marked
 *   -EINVAL    NULL, or an all-zero receiver; buffer is NULL and capacity is not 0
 *   -EBADMSG   the watch is damaged
 * Order: acquire; what the sender wrote before it sent this is visible.
 * Signal: safe, with a receiver of its own.
 */
LH_API int lh_watch_read(lh_watch_receiver *receiver, void *buffer, size_t capacity,
			 size_t *ret_size, uint64_t *ret_version);

/*
 * Waits for a value that this receiver has not seen; it does not mark it. 0: there is one. Without
 * a sender so far it waits for the first. Errors:
 *   -EPIPE     no unseen value, and the sender closed, died, or its lease expired. A new sender
 *              reopens: ask again
 *   -EBUSY     deadline is LH_NOW, and there is neither
 *   -ETIMEDOUT the deadline passed
 *   -ECANCELED the receiver's token was fired, before this call or during it; told before all else
 *   -EINVAL    NULL, or an all-zero receiver
 *   -EBADMSG   the watch or the arena's tables are damaged
 * Order: acquire.
 * Crash: strands nobody. (In an arena open for writing it may clear up behind a lost sender.)
 * Signal: unsafe.
 */
LH_API int lh_watch_changed(lh_watch_receiver *receiver, lh_deadline deadline);

LH_END_DECLS

#define LH_DECLARED_WATCH
#include <leasehold/annotate.h>

#endif
