// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CELL_H
#define LEASEHOLD_CELL_H

/*
 * Cells: a value that anybody reads without waiting, and that one lease at a time replaces as a
 * whole.
 *
 * A writer begins a draft, private memory with a copy of the value, changes it at leisure, and
 * commits it: from one moment to the next readers see the new value. Whatever happens to the writer
 * before that, death or expiry at any instruction, the last committed value stays, whole; there is
 * nothing to repair and no damage to tell, and LH_GRANT_OWNER_DIED is never set. A writer that was
 * only stopped, and lost its lease, finds its commit refused with nothing changed. So a cell is
 * the place for data in the arena that a lease with a TTL protects.
 *
 * Reading takes no lease and no lock, writes nothing shared, and works in a read-only arena. It is
 * wait-free in practice: it begins anew only if all other slots were committed while it copied
 * (with the default 4: three commits in the time of one copy). A read that was so overtaken a
 * thousand times in a row gives -EBADMSG.
 *
 * A writer that was replaced in the middle of its commit and still runs keeps the one slot that it was
 * writing: when such writers sit on all slots but the value's, lh_cell_begin and lh_cell_commit are
 * -EBUSY until one of them ends or releases its lease.
 *
 * An lh_cell is a handle as mutex.h describes them. How slots are published, and by whom that was
 * thought of: watch.h. Replacing a whole value instead of repairing it in place is the shadow copy
 * of database recovery (Lorie, "Physical integrity in a large segmented database", TODS 1977).
 *
 * Example: two accounts whose sum is the same at every moment.
 *
 *	#include <leasehold/cell.h>
 *
 *	struct accounts { long mine, yours; };
 *
 *	int open_accounts(lh_arena *arena, lh_cell *cell)
 *	{
 *		const struct lh_cell_options options = {
 *			.size = sizeof(struct accounts), .name = "accounts"
 *		};
 *
 *		return lh_cell_at(arena, LH_ANYWHERE, &options, cell);
 *	}
 *
 *	int transfer(const lh_cell *cell, lh_lease *lease, long amount)
 *	{
 *		void *draft;
 *		int error = lh_cell_begin(cell, lease, LH_FOREVER, &draft, NULL);
 *
 *		if (error)
 *			return error;
 *		struct accounts *accounts = (struct accounts *)draft;
 *		accounts->mine -= amount;
 *		accounts->yours += amount;
 *		return lh_cell_commit(cell, lease);
 *	}
 *
 *	long sum(const lh_cell *cell)
 *	{
 *		struct accounts accounts;
 *
 *		if (lh_cell_read(cell, &accounts, NULL) != 0)
 *			return 0;
 *		return accounts.mine + accounts.yours;
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

typedef struct lh_cell {
	uint64_t private_[4];
} lh_cell;

LH_STATIC_ASSERT(sizeof(lh_cell) == 32, "lh_cell is part of the ABI");

struct lh_cell_options {
	size_t size;          /* bytes of the value, at least 1 */
	uint32_t slots;       /* 2 to 16; 0: 4 */
	const char *name;     /* of the placement, at most 47 bytes; NULL: none */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_cell_options) == 56,
		 "lh_cell_options is part of the ABI");

/*
 * The bytes that such a placement takes, a multiple of 64: a 64-byte header, and for each slot 64
 * bytes and, if size is above 8, size rounded up. 0 if the options (NULL: all zero) are invalid:
 * size must be said. Signal: safe.
 */
LH_API size_t lh_cell_footprint(const struct lh_cell_options *options);

/*
 * Creates the cell at offset (or LH_ANYWHERE), its value zero bytes and its version 0, or attaches
 * to the equal one there: same name, size and slots. In a read-only arena it only attaches. Errors:
 * as lh_mutex_at; -EINVAL also: size is 0, slots is 1 or above 16. Order: the creator's zeroes are
 * visible to all who attach (acquire). Crash: placed or not; a half-made placement is finished or
 * undone by the next call that meets it. Signal: unsafe.
 */
LH_API int lh_cell_at(lh_arena *arena, uint64_t offset, const struct lh_cell_options *options,
		      lh_cell *ret_cell);

/* Offset of this cell; 0 for an all-zero handle. Signal: safe. */
LH_API uint64_t lh_cell_offset(const lh_cell *cell);

/*
 * Copies the last committed value, all size bytes, into the buffer. ret_version (may be NULL)
 * counts the commits up to it. On failure the buffer may have been written to. Errors: -EINVAL:
 * NULL, or an all-zero handle; -EBADMSG: the cell is damaged. Order: acquire; what was written
 * before the commit is visible. Signal: safe.
 */
LH_API int lh_cell_read(const lh_cell *cell, void *buffer, uint64_t *ret_version);

/*
 * Makes the lease the one that drafts, waiting until deadline for another to be done, and gives it
 * a draft: private memory, 64-byte aligned, with a copy of the value; nobody but the holder changes
 * the value until it is committed. It is valid until a commit that succeeds, abort, or the lease's
 * release, also when the lease was lost meanwhile. ret_grant (may be NULL) tells the token, which
 * increases with every begin; never damage. Errors; except after -ESTALE, the lease holds just what
 * it held before:
 *   -EBUSY      deadline is LH_NOW, and another lease drafts; or lost writers that still run sit on
 *               every spare slot, whatever the deadline
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  the lease's cancel token was fired, before this call or during it
 *   -EINTR      a signal handler ran, and the lease is LH_LEASE_INTERRUPTIBLE
 *   -EDEADLK    the lease drafts this cell already (told before -EBUSY), or this wait closed a cycle
 *               of leases waiting for each other
 *   -ESTALE     the lease is lost
 *   -ENOLCK     the lease has max_holds holds
 *   -ENOMEM     no memory for the draft
 *   -EOVERFLOW  the cell's 2^45 tokens are used up; it can be read and removed
 *   -EPERM      another thread's lease
 *   -EINVAL     an all-zero handle, a lease of another arena, ret_draft is NULL
 *   -EBADMSG    the cell or the arena's tables are damaged
 * Order: acquire; it pairs with the commit or abort before it.
 * Crash: a caller that dies before the grant leaves nothing and strands nobody; after it, the next
 * one is let in, the value as it was.
 * Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_cell_begin(const lh_cell *cell, lh_lease *lease, lh_deadline deadline,
				      void **ret_draft, lh_grant *ret_grant);

/*
 * Makes the draft the value, version + 1, frees it, and lets the next one begin.
 * Errors; after each of them the value is as it was:
 *   -ESTALE   the lease is lost; the draft stays readable until the lease's release
 *   -EPERM    the lease has no draft of this cell, or another thread's lease
 *   -EBUSY    lost writers that still run sit on every spare slot; the draft stays, commit again later
 *   -EINVAL, -EBADMSG: as lh_cell_begin
 * Order: release; it pairs with the acquire of lh_cell_read and lh_cell_begin.
 * Crash: committed, or nothing has changed and the next one is let in.
 * Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_cell_commit(const lh_cell *cell, lh_lease *lease);

/*
 * Gives the draft up: it is freed, the value stays, the next one may begin. lh_lease_release does
 * the same. Errors: -EPERM: the lease has no draft of this cell, or another thread's lease;
 * -ESTALE: the lease is lost, the draft is freed all the same; -EINVAL, -EBADMSG: as lh_cell_begin.
 * Order: release. Crash: as if aborted. Signal: unsafe.
 */
LH_API int lh_cell_abort(const lh_cell *cell, lh_lease *lease);

LH_END_DECLS

#define LH_DECLARED_CELL
#include <leasehold/annotate.h>

#endif
