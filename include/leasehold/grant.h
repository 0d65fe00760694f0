// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_GRANT_H
#define LEASEHOLD_GRANT_H

/*
 * Grants: what a lock call tells along with "you hold it".
 *
 * Token: the number of this grant. Of two exclusive grants of one primitive the later has the
 * higher token, whatever died in between, because the token changes in the same atomic step as the
 * owner. A resource outside the arena that remembers the highest token it has seen can therefore
 * refuse a holder that was stopped, lost its lease and came back. The idea is Chubby's sequencer
 * (Burrows, OSDI 2006), known as fencing token since Kleppmann's "How to do distributed locking"
 * (2016). Read grants carry the token of the newest write grant; overlapping readers may see
 * different ones, so fence with write grants only.
 *
 * LH_GRANT_OWNER_DIED: a holder was lost (it died or its lease expired) while it held the thing
 * exclusively, so the data may be half-changed. Repair it, then declare it consistent; until
 * somebody does, every grant says so again. Every ret_grant may be NULL, but NULL cannot be told:
 * a grant that would carry the flag is then refused with -EOWNERDEAD and nothing is held, unless
 * the primitive was made with LH_NO_REPAIR.
 *
 * Example: a resource's side of fencing.
 *
 *	#include <leasehold/grant.h>
 *	#include <stdio.h>
 *
 *	static uint64_t highest_seen;
 *
 *	int append_record(FILE *file, uint64_t token, const char *text)
 *	{
 *		int error = lh_fence_check(&highest_seen, token);
 *
 *		if (error)
 *			return error;
 *		return fprintf(file, "%s\n", text) < 0 ? -1 : 0;
 *	}
 */

#include <stdint.h>

#include <leasehold/api.h>

LH_BEGIN_DECLS

/* lh_grant.flags */
enum {
	LH_GRANT_OWNER_DIED = 1, /* an exclusive holder was lost, its damage not yet repaired */
	LH_GRANT_LEADER = 2      /* barriers: the one party of the phase that was chosen */
};

/* Flags of the primitives' options. */
enum {
	LH_NO_REPAIR = 1 /* nothing under it can be left half-changed: never LH_GRANT_OWNER_DIED */
};

typedef struct lh_grant {
	uint64_t token;       /* at least 1 in an exclusive grant */
	uint64_t previous;    /* with LH_GRANT_OWNER_DIED: lh_lease_id of the lost lease; else 0 */
	uint32_t flags;       /* LH_GRANT_… */
	uint32_t reserved[3]; /* written as 0 */
} lh_grant;

LH_STATIC_ASSERT(sizeof(lh_grant) == 32, "lh_grant is part of the ABI");

/*
 * Atomically: 0, and *highest raised to token, if no higher token was seen there; else -ESTALE and
 * *highest unchanged. The same token passes any number of times. highest starts at 0, is 8-byte
 * aligned, may lie in shared memory, belongs to one resource under one primitive, and is changed
 * by nothing but this call.
 * Checking is not excluding: a higher token may come right after 0. Whoever needs the check and the
 * write that follows to be one step makes them so, as a database does in one transaction.
 * Errors: -ESTALE; -EINVAL: highest is NULL or misaligned.
 * Order: acquire and release on *highest.
 * Crash: raised or not.
 * Signal: safe.
 */
LH_API LH_NODISCARD int lh_fence_check(uint64_t *highest, uint64_t token);

LH_END_DECLS

#define LH_DECLARED_GRANT
#include <leasehold/annotate.h>

#endif
