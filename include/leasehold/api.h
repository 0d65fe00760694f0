// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_API_H
#define LEASEHOLD_API_H

/*
 * What all public headers share: linkage, and how to read their contracts.
 *
 * Every function returns 0 or a negative errno unless its own text says otherwise. An output named
 * ret_… is written on success only. A pointer that must not be NULL gives -EINVAL where the
 * function returns errors, and a harmless value (NULL, 0, false) where it does not. No function
 * prints, exits or aborts. Strings are bytes; none is interpreted in a locale.
 *
 * Threads: any two calls may run at once, except two that use the same lease (lease.h) and except
 * one that destroys what the other uses (close, release, destroy).
 *
 * The contracts use these marks:
 *   Order   memory order it gives; a call without the mark orders nothing for its caller
 *   Crash   what the caller's death at any instruction inside it leaves behind; a call without the
 *           mark changes nothing in shared memory
 *   Signal  safe: may be called in a signal handler that interrupted anything but a call with the
 *           same lease, so give a handler a lease of its own; unsafe: may not. Safe calls leave
 *           errno as it was.
 *
 * Example, the whole library in one program: the lock is released however the process ends.
 *
 *	#include <leasehold/leasehold.h>
 *	#include <stdio.h>
 *
 *	int main(void)
 *	{
 *		lh_arena *arena;
 *		lh_lease *lease;
 *		lh_mutex mutex;
 *		lh_grant grant;
 *		const struct lh_mutex_options options = {
 *			.data_size = sizeof(long), .name = "total"
 *		};
 *		int error = lh_arena_open("example", LH_CREATE, NULL, &arena);
 *
 *		if (!error)
 *			error = lh_thread_lease(arena, &lease);
 *		if (!error)
 *			error = lh_mutex_at(arena, LH_ANYWHERE, &options, &mutex);
 *		if (!error)
 *			error = lh_mutex_lock(&mutex, lease, lh_deadline_after(LH_SEC(2)), &grant);
 *		if (error) {
 *			fprintf(stderr, "%s (%s)\n", lh_strerror(error), lh_error_detail());
 *			return 1;
 *		}
 *		if (grant.flags & LH_GRANT_OWNER_DIED)
 *			lh_mutex_consistent(&mutex, lease);
 *		printf("%ld\n", ++*(long *)lh_mutex_data(&mutex));
 *		return lh_mutex_unlock(&mutex, lease) != 0;
 *	}
 */

#ifdef __cplusplus
#define LH_BEGIN_DECLS extern "C" {
#define LH_END_DECLS }
#define LH_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define LH_BEGIN_DECLS
#define LH_END_DECLS
#define LH_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* Exported from the shared library, which hides everything else. */
#define LH_API __attribute__((visibility("default")))

/* On calls whose unread result means working without the lock: warns when LH_CHECK_RESULTS is defined. */
#ifdef LH_CHECK_RESULTS
#define LH_NODISCARD __attribute__((warn_unused_result))
#else
#define LH_NODISCARD
#endif

#endif
