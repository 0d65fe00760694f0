// SPDX-License-Identifier: Apache-2.0
//
// inline.h: for tests that are compiled a second time ("ctest: ALSO inline"), before all else: what
// they call is the form of it that is inlined.
#ifndef TESTS_SUPPORT_INLINE_H
#define TESTS_SUPPORT_INLINE_H

#include <leasehold/inline.h>

#define lh_mutex_lock lh_inline_mutex_lock
#define lh_mutex_unlock lh_inline_mutex_unlock
#define lh_semaphore_acquire lh_inline_semaphore_acquire
#define lh_semaphore_release lh_inline_semaphore_release
#define lh_rwlock_read_lock lh_inline_rwlock_read_lock
#define lh_rwlock_unlock lh_inline_rwlock_unlock
#define lh_once_call lh_inline_once_call
#define lh_once_done lh_inline_once_done

#endif
