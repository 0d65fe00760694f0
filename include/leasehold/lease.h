// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_LEASE_H
#define LEASEHOLD_LEASE_H

/*
 * Leases: the right under which anything in an arena is held.
 *
 * A lease belongs to an owner, a thread or (LH_LEASE_PROCESS) a process, and ends with it: when the
 * owner ends in any way, exec and SIGKILL included, the kernel marks its robust futex
 * (Documentation/locking/robust-futexes.rst), whatever the lease held is released and those who
 * wait for it wake at once. No heartbeat is involved. A process lease ends when the whole process
 * is gone.
 *
 * A lease may also have a TTL, in the sense of Gray and Cheriton's "Leases" (SOSP 1989): unless it
 * is renewed in time, what it holds goes to whoever asks. Expiry is not one nanosecond early
 * (times are rounded up to whole milliseconds), but may be late: a lease is lost at the moment that
 * somebody observes that its expiry has passed: a taker, the library's own thread, lh_lease_valid,
 * lh_lease_remaining, lh_lease_renew, or any call of its own that waits. Locking and unlocking
 * without waiting reads no clock.
 *
 * Loss is final. From then on every call with the lease says -ESTALE and changes nothing; what is
 * left to do is lh_lease_release. (A caller that is suspended after the last look that a call takes
 * at its lease, and meanwhile loses it, is still told 0 by that one call; the next says -ESTALE,
 * and a grant's token is lower than its successor's.) Leased memory and the like of a lost owner
 * that still runs are not given to others before that call or its end.
 *
 * What a TTL cannot do: stop a holder that was merely suspended from writing to plain shared memory
 * when it wakes. Data in the arena wants a lease without TTL, or LH_LEASE_KILL_ON_EXPIRY, by which
 * the owner agrees to be killed, and seen dead, before another is granted what it held. Resources
 * elsewhere want the grant's token (grant.h).
 *
 * Threads: a thread lease is used and released only by the thread that acquired it (another gets
 * -EPERM); a process lease by any thread, one at a time. lh_lease_valid, lh_lease_remaining and
 * lh_lease_id may be called by any thread at any time before the release. After fork the child's
 * copies are lost leases: -ESTALE, and releasing them frees private memory only.
 *
 * Deadlock: of leases that wait for each other in a cycle one is told -EDEADLK. Leases of one
 * thread are as good as those of several: that one waits holds up what another holds only for
 * handles of named locks that say so (locks.h, LH_ACQUIRE_THIS_THREAD).
 *
 * Signal handlers: what the headers call safe in them is so with a lease that the interrupted code
 * is not using at that moment; so a handler that locks wants a lease of its own, acquired
 * beforehand.
 *
 * Example: work for as long as the lease is ours.
 *
 *	#include <leasehold/lease.h>
 *	#include <leasehold/time.h>
 *
 *	int work(lh_arena *arena, void (*step)(void))
 *	{
 *		const struct lh_lease_options options = { .ttl_ns = LH_SEC(5), .label = "worker" };
 *		lh_lease *lease;
 *		int error = lh_lease_acquire(arena, &options, &lease);
 *
 *		if (error)
 *			return error;
 *		for (int round = 0; round < 100 && !error; round++) {
 *			step();
 *			error = lh_lease_renew(lease, LH_SEC(5));
 *		}
 *		const int lost = lh_lease_release(lease);
 *		return error ? error : lost;
 *	}
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/cancel.h>

LH_BEGIN_DECLS

typedef struct lh_lease lh_lease;

/* lh_lease_options.flags */
enum {
	LH_LEASE_AUTO_RENEW = 1,     /* the library renews it while the process lives, even if the
				      * owning thread hangs: bound that with max_renewals */
	LH_LEASE_PROCESS = 2,        /* the process is the owner, not the calling thread */
	LH_LEASE_KILL_ON_EXPIRY = 4, /* once expired, whoever wants what it holds kills the process
				      * (SIGKILL by pidfd), sees the owner dead, thread or process, and
				      * is granted it; who may not kill waits for that end. Releasing
				      * an expired lease saves the process from all but a taker
				      * that had looked just before */
	LH_LEASE_INTERRUPTIBLE = 8 /* a signal handler that runs while a call sleeps ends its wait:
				      * -EINTR; one that was installed with SA_RESTART does not, nor
				      * one that runs between two sleeps, for some microseconds four
				      * times a second (without futex_waitv, each 2 ms). A handler
				      * that must end it calls lh_cancel_fire */
};

struct lh_lease_options {
	uint64_t ttl_ns;         /* from now; 0: no expiry */
	unsigned flags;          /* LH_LEASE_… */
	uint64_t renew_every_ns; /* with LH_LEASE_AUTO_RENEW; 0: a third of the TTL */
	uint32_t max_renewals;   /* with LH_LEASE_AUTO_RENEW; 0: no limit */
	const char *label;       /* at most 31 bytes, copied, for the inspector; NULL: none */
	uint64_t reserved[4];    /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_lease_options) == 72,
		 "lh_lease_options is part of the ABI");

/*
 * Acquires a lease for the calling thread or, with LH_LEASE_PROCESS, this process. options NULL: a
 * thread lease without TTL. A thread may have any number of leases; they exclude each other like
 * those of different threads. Every lease wants lh_lease_release, lost or not.
 * Errors:
 *   -EINVAL   unknown flag; reserved not 0; label too long; TTL beyond 34 years of uptime; without
 *             TTL: LH_LEASE_AUTO_RENEW, LH_LEASE_KILL_ON_EXPIRY or one of the renewal fields;
 *             renew_every_ns not below the TTL
 *   -ENOLCK   the arena has max_leases leases
 *   -ESTALE   the arena was unlinked
 *   -EROFS    the arena is read-only
 *   -ENOTSUP  LH_LEASE_KILL_ON_EXPIRY without pidfd_send_signal(2); no /proc; a process made by
 *             clone(2) past the C library, whose end would not be told
 *   -ENOMEM, -EAGAIN   no memory; the library's thread cannot be started
 *   -EBADMSG  the arena's tables are damaged
 * Crash: no lease; its half-made slot is cleared by whoever meets it.
 * Signal: unsafe.
 */
LH_API int lh_lease_acquire(lh_arena *arena, const struct lh_lease_options *options,
			    lh_lease **ret_lease);

/*
 * The calling thread's own lease on this arena, made by its first call: a thread lease without TTL,
 * the same pointer at each call. Once that is lost (after fork, say) or released the next call
 * makes a new one; the pointer of a lost one stays valid until the thread ends. It is released
 * when the thread ends; locks it then still holds exclusively are granted on as by a holder that
 * died. May also be released by lh_lease_release, as must be done before lh_arena_close.
 * Errors, crash: as lh_lease_acquire.
 * Signal: unsafe.
 */
LH_API int lh_thread_lease(lh_arena *arena, lh_lease **ret_lease);

/*
 * Sets the expiry to ttl_ns from now, be that later or earlier than it was (who sleeps already for
 * what the lease holds notices an earlier one up to 250 ms late). Never revives: renewal
 * and loss are compare-and-swaps of one word, so only one of them happens.
 * Errors: -ESTALE: lost, or found expired here; -EINVAL: the lease has no TTL, ttl_ns is 0 or
 * beyond 34 years of uptime; -EPERM: another thread's lease.
 * Crash: renewed or not; the lease dies with its owner either way.
 * Signal: safe.
 */
LH_API int lh_lease_renew(lh_lease *lease, uint64_t ttl_ns);

/*
 * Whether the lease is not lost now. False from the moment of its expiry on, which this call then
 * latches; false for NULL. True is past when it is returned: it tells nobody that the next write is
 * in time.
 * Order: acquire.
 * Crash: the expiry, if it has passed, is latched or not.
 * Signal: safe.
 */
LH_API bool lh_lease_valid(const lh_lease *lease);

/*
 * Nanoseconds to the expiry; 0 once lost and from the expiry on, which this call then latches;
 * UINT64_MAX without TTL; 0 for NULL.
 * Crash: as lh_lease_valid. Signal: safe.
 */
LH_API uint64_t lh_lease_remaining(const lh_lease *lease);

/*
 * The lease's number, at least 1, which no other lease of this arena ever has; 0 for NULL. It is
 * what lh_grant.previous and inspect.h show, and can be asked of a lost lease too.
 * Signal: safe.
 */
LH_API uint64_t lh_lease_id(const lh_lease *lease);

/*
 * Ends the lease and frees it; NULL does nothing. All it holds is unlocked as by its own calls, so
 * nobody sees LH_GRANT_OWNER_DIED for it (damage that was there before stays told), and its leased
 * memory is given back. When it returns, the on_loss callback is not running and never will, and
 * the loss descriptor is closed.
 * Errors:
 *   -ESTALE   it had been lost; freed all the same
 *   -EPERM    another thread's lease; not freed
 *   -EDEADLK  called in its own on_loss callback; not freed
 *   -EBADMSG  what it holds is damaged; freed, and left to be repaired by the owner's end
 * Order: what was written under the lease is visible to those granted it next (release).
 * Crash: what was not yet unlocked counts as held by a dead owner.
 * Signal: unsafe.
 */
LH_API int lh_lease_release(lh_lease *lease);

/*
 * Has callback(context) called once when the lease is lost: on a thread of the library, without
 * waiting for anything if it is lost already. Never because of a release, and never after
 * lh_lease_release returned. A further call replaces the callback while it has not been called;
 * NULL removes it. The callback must be brief, as it delays the library's renewals and those of
 * other leases, must return (not end its thread), and may not release this lease.
 * Errors: -EPERM: another thread's lease; -ENOMEM, -EAGAIN: the library's thread cannot be started;
 * -EINVAL; -ESTALE: inherited over fork.
 * Signal: unsafe.
 */
LH_API int lh_lease_on_loss(lh_lease *lease, void (*callback)(void *context), void *context);

/*
 * A descriptor (eventfd(2), close-on-exec) that becomes and stays readable once the lease is lost,
 * for poll and its kin; the same one at each call. It is the lease's: do not read, write or close
 * it; lh_lease_release closes it, and lh_arena_close that of an lh_thread_lease whose thread ended.
 * Returns the descriptor, or -EPERM: another thread's lease; -EMFILE, -ENFILE, -ENOMEM, -EAGAIN;
 * -EINVAL; -ESTALE: inherited over fork.
 * Signal: unsafe.
 */
LH_API int lh_lease_loss_fd(lh_lease *lease);

/*
 * Ties the lease to a cancel token (cancel.h), in place of the one before; NULL to none. The token
 * must outlive the tie.
 * Errors: -EPERM: another thread's lease; -ESTALE; -EINVAL.
 * Signal: unsafe.
 */
LH_API int lh_lease_set_cancel(lh_lease *lease, lh_cancel *cancel);

/*
 * Takes size bytes (rounded up to 64) of the user's space that no placement covers, zeroed, to be
 * held under the lease: given back when the lease ends in any way, but after an expiry only at
 * lh_lease_release or the owner's end. lh_arena_range makes a pointer of the offset. Counts as one
 * hold.
 * Errors: -ENOSPC: no gap or directory entry is left; -ENOLCK: the lease has max_holds holds;
 * -ESTALE; -EPERM: another thread's lease; -EINVAL: size 0; -EBADMSG.
 * Crash: given back like all that the lease holds; none is leaked.
 * Signal: unsafe.
 */
LH_API int lh_region_acquire(lh_lease *lease, size_t size, uint64_t *ret_offset);

/*
 * Gives back what lh_region_acquire returned.
 * Errors: -EPERM: this lease holds no region that begins at offset, or another thread's lease;
 * -ESTALE; -EINVAL: NULL; -EBADMSG.
 * Order: what was written to it is done before another gets the memory (release).
 * Crash: given back, either by this call or with the lease.
 * Signal: unsafe.
 */
LH_API int lh_region_release(lh_lease *lease, uint64_t offset);

LH_END_DECLS

#define LH_DECLARED_LEASE
#include <leasehold/annotate.h>

#endif
