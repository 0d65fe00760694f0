// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_ERROR_H
#define LEASEHOLD_ERROR_H

/*
 * What went wrong, in words; and which library this is.
 *
 * A negative errno says which of a few dozen things happened. lh_strerror explains it as this
 * library means it (strerror(3) calls -ESTALE a stale file handle; here it is a lost lease), and
 * lh_error_detail says which name, path, offset or owner it was about.
 *
 * Example:
 *
 *	#include <leasehold/error.h>
 *	#include <stdio.h>
 *
 *	int complain(int error)
 *	{
 *		fprintf(stderr, "leasehold %s, layout %u: %s (%s)\n", lh_version(),
 *			(unsigned)lh_layout_version(), lh_strerror(error), lh_error_detail());
 *		return error;
 *	}
 */

#include <stdint.h>

#include <leasehold/api.h>

LH_BEGIN_DECLS

/*
 * What an error returned by this library means and what to do about it: one English sentence, never
 * NULL, constant, never to be freed. Takes the negative value as returned; 0 and numbers that the
 * library does not return have a text too.
 * Signal: safe.
 */
LH_API const char *lh_strerror(int error);

/*
 * What this thread's last failed call was about. Never NULL; "" if nothing failed yet or there was
 * nothing to add. Valid until the thread's next call or its end; a successful call may leave it as
 * it is or clear it, so look only after a failure. Signal: unsafe (a handler may find it half
 * written by the call that it interrupted).
 */
LH_API const char *lh_error_detail(void);

/* The library's version as "major.minor.patch". Never NULL, constant. Signal: safe. */
LH_API const char *lh_version(void);

/*
 * The version of the bytes in an arena. Two builds share arenas only if it is equal in both; it
 * changes only together with the soname. Signal: safe.
 */
LH_API uint32_t lh_layout_version(void);

LH_END_DECLS

#endif
