// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CANCEL_H
#define LEASEHOLD_CANCEL_H

/*
 * Cancel tokens: end the waits of one or many leases from another thread or a signal handler.
 *
 * A token belongs to this process. lh_lease_set_cancel (lease.h) ties a lease to it; one token may
 * serve any number of leases. Once fired it stays fired: a lease tied to it cannot begin a wait
 * either, so there is no gap between looking and sleeping in which a request to stop gets lost.
 *
 * Example: SIGTERM ends a wait that has no deadline.
 *
 *	#include <leasehold/lease.h>
 *	#include <signal.h>
 *
 *	static lh_cancel *stop;
 *
 *	static void on_term(int signal_number)
 *	{
 *		(void)signal_number;
 *		lh_cancel_fire(stop);
 *	}
 *
 *	int make_stoppable(lh_lease *lease)
 *	{
 *		int error = lh_cancel_create(&stop);
 *
 *		if (error)
 *			return error;
 *		signal(SIGTERM, on_term);
 *		return lh_lease_set_cancel(lease, stop);
 *	}
 */

#include <leasehold/api.h>

LH_BEGIN_DECLS

typedef struct lh_cancel lh_cancel;

/*
 * Makes an unfired token, to be given back by lh_cancel_destroy.
 * Errors: -ENOMEM; -EINVAL: ret_cancel is NULL.
 * Signal: unsafe.
 */
LH_API int lh_cancel_create(lh_cancel **ret_cancel);

/*
 * Fires the token for good. From now on, every call that takes a deadline and a lease tied to this
 * token gives -ECANCELED before it looks at its object, whatever its deadline, LH_NOW included;
 * those asleep wake and give it too, unless their grant came first. Firing again does nothing; nor
 * does NULL. Unlocking and releasing take no deadline and work as ever.
 * Order: what the caller wrote before is visible to whoever gets -ECANCELED (release).
 * Signal: safe; it is meant for handlers.
 */
LH_API void lh_cancel_fire(lh_cancel *cancel);

/*
 * Frees the token; NULL does nothing. No lease may be tied to it any more: each was released or
 * given another token (or NULL), and no fire is under way in another thread or a handler.
 * Signal: unsafe.
 */
LH_API void lh_cancel_destroy(lh_cancel *cancel);

LH_END_DECLS

#define LH_DECLARED_CANCEL
#include <leasehold/annotate.h>

#endif
