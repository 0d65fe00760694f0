// SPDX-License-Identifier: Apache-2.0
//
// What leasehold/inline.h knows of the library: that it is so, and the ways out of its functions.
// All of it is part of the binary interface (docs/decisions/0009-inlined-paths.md).
#include "src/mutex.h"
#include "src/once.h"
#include "src/rwlock.h"
#include "src/semaphore.h"

#include <leasehold/inline.h>

// One after the other, so that a size that differs shows too.
#define SAME_PLACE(field)                                                                          \
	_Static_assert(offsetof(struct lh_lease, field) ==                                         \
			       offsetof(struct lh_inline_lease, field),                            \
		       "leasehold/inline.h has `" #field "` elsewhere")

SAME_PLACE(guard);
SAME_PLACE(arena);
SAME_PLACE(holds);
SAME_PLACE(index);
SAME_PLACE(line_mask);
SAME_PLACE(name);
SAME_PLACE(readers_bit);
SAME_PLACE(readers_offset);
SAME_PLACE(scatter);
SAME_PLACE(id);

// What leasehold/annotate.h knows.
_Static_assert(offsetof(struct lh_lease, arena) == LH_ANNOTATE_LEASE_ARENA * sizeof(uint64_t),
	       "leasehold/annotate.h has the arena elsewhere");
_Static_assert(offsetof(struct lh_lease, name) == LH_ANNOTATE_LEASE_NAME * sizeof(uint64_t),
	       "leasehold/annotate.h has the name elsewhere");
_Static_assert(LH_ANNOTATE_OWNER == WORD_OWNER_MASK, "the owner of a rwlock");

_Static_assert(offsetof(struct object_header, word) == 0, "what a handle points to is the word");

#if LH_INLINE_FAST
_Static_assert(LH_INLINE_OWNER == WORD_OWNER_MASK, "the owner");
_Static_assert(LH_INLINE_PLAIN == WORD_PLAIN, "that a store frees it");
_Static_assert(LH_INLINE_DIED == WORD_DIED, "damage");
_Static_assert(LH_INLINE_NOT_FREE == (WORD_OWNER_MASK | WORD_MARK | WORD_DIED), "a free word");
_Static_assert((WORD_BELOW_TOKEN & ~WORD_DIED) ==
		       (WORD_OWNER_MASK | WORD_MARK | WORD_PLAIN | WORD_QUEUED),
	       "what a release takes out of a word");
_Static_assert(LH_INLINE_TOKEN_SHIFT == WORD_TOKEN_SHIFT, "the token");
_Static_assert(LH_INLINE_BELOW_TOKEN == WORD_BELOW_TOKEN, "the bits below it");
_Static_assert(LH_INLINE_ONCE_DONE == ONCE_DONE, "what says that a once is done");
_Static_assert(LH_INLINE_WAITERS == offsetof(struct object_header, waiters), "the waiters");
_Static_assert(LH_INLINE_HEIR == offsetof(struct rwlock_object, header.heir), "the heir");
_Static_assert(LH_INLINE_READERS == offsetof(struct rwlock_object, readers), "the map of readers");
_Static_assert(LH_INLINE_LIMIT == offsetof(struct semaphore, limit), "the limit");
_Static_assert(LH_INLINE_GATE == offsetof(struct semaphore, gate), "the gate");
_Static_assert(LH_INLINE_PERMITS == offsetof(struct semaphore, owners), "the permits");
_Static_assert(LH_INLINE_LINE_SHIFT == RWLOCK_HANDLE_LINE_SHIFT, "the line in the handle");
_Static_assert(LH_INLINE_FACTOR == FIBONACCI && LH_INLINE_FACTOR_SHIFT == HOLD_LINE_SHIFT,
	       "the line that is computed");
#endif

int lh_inline_mutex_unlock_rest(const lh_mutex *mutex, lh_lease *lease)
{
	return mutex_finish_plain(mutex_header(mutex), hold_first(lease, mutex_granule(mutex)));
}

int lh_inline_semaphore_acquire_rest(const lh_semaphore *semaphore, lh_lease *lease,
				     lh_deadline deadline, bool taken)
{
	struct hold_record *record = hold_first(lease, primitive_granule(semaphore->private_));

	return taken ? semaphore_acquire_again(semaphore, lease, 1, deadline, record)
		     : semaphore_acquire_elsewhere(semaphore, lease, 1, deadline, record);
}

int lh_inline_semaphore_release_rest(const lh_semaphore *semaphore, lh_lease *lease)
{
	return semaphore_finish_plain((struct semaphore *)primitive_header(semaphore->private_),
				      lease,
				      hold_first(lease, primitive_granule(semaphore->private_)));
}

int lh_inline_rwlock_read_rest(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
			       lh_grant *ret_grant)
{
	return rwlock_read_fenced(rwlock, lease, deadline, ret_grant);
}

int lh_inline_rwlock_unlock_rest(const lh_rwlock *rwlock, lh_lease *lease)
{
	(void)rwlock;
	return rwlock_tell_writer(lease);
}
