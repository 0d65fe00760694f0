// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_GUARD_H
#define LEASEHOLD_GUARD_H

/*
 * Guards: a mutex that unlocks itself at the end of the scope.
 *
 * For the compilers that have the cleanup attribute (GCC, clang). The guard unlocks when its scope
 * is left by running off its end or by return, break, continue or goto; also when an exception or
 * pthread_cancel unwinds it, if the code was compiled with -fexceptions. Not by longjmp, exit or
 * _exit: then the mutex stays held until the lease ends. It never unlocks what it did not lock.
 *
 * A guard may fail to lock: look at its error before the data. The result of the unlock at the end
 * of the scope is lost; where it matters that the lease was still good (a TTL), call
 * lh_mutex_guard_unlock and look.
 *
 * Example:
 *
 *	#include <leasehold/guard.h>
 *
 *	int next_number(const lh_mutex *mutex, lh_lease *lease, long *ret_number)
 *	{
 *		LH_MUTEX_GUARD(guard, mutex, lease, LH_FOREVER, NULL);
 *
 *		if (guard.error)
 *			return guard.error;
 *		long *number = (long *)lh_mutex_data(mutex);
 *		if (*number < 0)
 *			return -1;
 *		*ret_number = ++*number;
 *		return lh_mutex_guard_unlock(&guard);
 *	}
 */

#include <errno.h>
#include <stddef.h>

#include <leasehold/api.h>
#include <leasehold/grant.h>
#include <leasehold/lease.h>
#include <leasehold/mutex.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

struct lh_mutex_guard {
	const lh_mutex *mutex; /* what the guard holds; NULL: nothing */
	lh_lease *lease;
	int error; /* what lh_mutex_lock returned: 0, or why the guard never held */
};

/*
 * lh_mutex_lock, with its result in the guard's error; mutex must stay where it is for as long as
 * the guard is used. Without LH_MUTEX_GUARD nothing unlocks it but lh_mutex_guard_unlock.
 * Order, crash, signal: as lh_mutex_lock.
 */
static inline struct lh_mutex_guard lh_mutex_guard_lock(const lh_mutex *mutex, lh_lease *lease,
							lh_deadline deadline, lh_grant *ret_grant)
{
	struct lh_mutex_guard guard = { NULL, lease, 0 };

	guard.error = lh_mutex_lock(mutex, lease, deadline, ret_grant);
	if (guard.error == 0)
		guard.mutex = mutex;
	return guard;
}

/*
 * Unlocks before the end of the scope; the guard then holds nothing, whatever this returns.
 * Returns lh_mutex_unlock's result, -ESTALE if the lease was lost; -EPERM if the guard holds
 * nothing.
 * Order, crash, signal: as lh_mutex_unlock.
 */
static inline int lh_mutex_guard_unlock(struct lh_mutex_guard *guard)
{
	const lh_mutex *mutex = guard->mutex;

	guard->mutex = NULL;
	return mutex ? lh_mutex_unlock(mutex, guard->lease) : -EPERM;
}

/* What LH_MUTEX_GUARD runs at the end of the scope: unlocks if the guard holds. */
static inline void lh_mutex_guard_end(struct lh_mutex_guard *guard)
{
	if (guard->mutex)
		(void)lh_mutex_guard_unlock(guard);
}

/*
 * Declares name, a struct lh_mutex_guard that tries to lock the mutex here and unlocks it at the
 * end of the scope. The other arguments are lh_mutex_lock's, each evaluated once. A declaration, so
 * it cannot be the body of an if or a case label; goto and switch may not jump past it into its
 * scope.
 */
#define LH_MUTEX_GUARD(name, mutex, lease, deadline, ret_grant)                                    \
	__attribute__((cleanup(lh_mutex_guard_end))) struct lh_mutex_guard                         \
		name = lh_mutex_guard_lock((mutex), (lease), (deadline), (ret_grant))

LH_END_DECLS

#endif
