// SPDX-License-Identifier: Apache-2.0
//
// What leasehold/inline.h knows of the library: that it is so, and the ways out of its functions. All of it
// is part of the binary interface (docs/decisions/0009-inlined-paths.md).
#include "src/once.h"
#include "src/rwlock.h"

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

_Static_assert(offsetof(struct object_header, word) == 0, "what a handle points to is the word");

#if LH_INLINE_FAST
_Static_assert(LH_INLINE_HEIR == offsetof(struct rwlock_object, header.heir), "the heir");
_Static_assert(LH_INLINE_READERS == offsetof(struct rwlock_object, readers), "the map of readers");
_Static_assert(LH_INLINE_LINE_SHIFT == RWLOCK_HANDLE_LINE_SHIFT, "the line in the handle");
_Static_assert(LH_INLINE_TOKEN_SHIFT == WORD_TOKEN_SHIFT, "the token");
_Static_assert(LH_INLINE_BELOW_TOKEN == WORD_BELOW_TOKEN, "the bits below it");
_Static_assert(LH_INLINE_WRITER == WORD_OWNER_MASK, "the writer");
_Static_assert(LH_INLINE_ONCE_DONE == ONCE_DONE, "what says that a once is done");
#endif

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
