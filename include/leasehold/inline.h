// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_INLINE_H
#define LEASEHOLD_INLINE_H

/*
 * The shortest paths without a call: reading under a reader-writer lock, and asking whether a once is
 * done. Each function here does what the one of rwlock.h or once.h does that has its name without the
 * `inline_`, errors, order, crash and all, and calls that one whenever there is more to do than the
 * usual: a writer about, a lease with a TTL, a first read. The two forms may be mixed at will.
 *
 * leasehold.h does not include this header, for it has a price. What is inlined is compiled into the
 * program: the places of a few fields (below) and the meaning of their bits. They belong to the
 * library's binary interface like the structs of the other headers: they change only with the soname
 * (libleasehold.so.0), so a program runs with any library that the loader gives it. A correction of what
 * is inlined here reaches a program when it is compiled again, though.
 *
 * Fast on x86-64, compiled by gcc or clang, as C11 or C++. Elsewhere LH_INLINE_FAST is 0, and these
 * functions are calls of the others.
 *
 * Example: a look at a rate, many million times a second.
 *
 *	#include <leasehold/inline.h>
 *
 *	int look(const lh_rwlock *rwlock, lh_lease *lease, double *ret_rate)
 *	{
 *		int error = lh_inline_rwlock_read_lock(rwlock, lease, LH_FOREVER, NULL);
 *
 *		if (error)
 *			return error;
 *		*ret_rate = *(const double *)lh_rwlock_data(rwlock);
 *		return lh_inline_rwlock_unlock(rwlock, lease);
 *	}
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/once.h>
#include <leasehold/rwlock.h>

#if defined(__x86_64__) && defined(__LP64__) && defined(__GCC_ASM_FLAG_OUTPUTS__)
#define LH_INLINE_FAST 1
#else
#define LH_INLINE_FAST 0
#endif

LH_BEGIN_DECLS

/*
 * What a lease begins with: private, for the functions below. `guard` points to a word that names the
 * thread that may take the short ways with this lease, as the thread's control block does at %fs:0.
 */
struct lh_inline_lease {
	const uint64_t *guard;
	const void *arena;
	unsigned char *holds;
	uint32_t index;
	uint32_t line_mask;
	uint64_t name;
	uint64_t readers_bit;
	uint32_t readers_offset;
};

/*
 * How lh_inline_rwlock_read_lock goes on when it has written the record and then finds a writer, or a lock
 * that is not biased; and lh_inline_rwlock_unlock when it has cleared it and finds a writer. Not to be
 * called by anybody else.
 */
LH_API LH_NODISCARD int lh_inline_rwlock_read_rest(const lh_rwlock *rwlock, lh_lease *lease,
						   lh_deadline deadline, lh_grant *ret_grant);
LH_API int lh_inline_rwlock_unlock_rest(const lh_rwlock *rwlock, lh_lease *lease);

#if LH_INLINE_FAST

/* Private. src/inline.c compares them with what the library itself uses. */
#define LH_INLINE_LINE_SHIFT 32 /* in a last word: bytes to its line of hold tables */
#define LH_INLINE_HEIR 20       /* offsets in a lock: who waits to write, the map */
#define LH_INLINE_READERS 64
#define LH_INLINE_TOKEN_SHIFT 18
#define LH_INLINE_BELOW_TOKEN UINT64_C(0x3ffff)
#define LH_INLINE_WRITER UINT64_C(0x3fff)
#define LH_INLINE_ONCE_DONE UINT64_C(0x8000)

#define LH_INLINE_LIKELY(condition) __builtin_expect(!!(condition), 1)

/* Whether the lease may take the short ways in this thread and, of this process, on this arena. */
static inline bool lh_inline_is_simple(const uint64_t *handle, const lh_lease *lease)
{
	const struct lh_inline_lease *begin = (const struct lh_inline_lease *)(const void *)lease;
	const uint64_t name = __atomic_load_n(begin->guard, __ATOMIC_RELAXED);
	bool same;

	__asm__("cmpq %%fs:0, %1" : "=@cce"(same) : "r"(name));
	return LH_INLINE_LIKELY(same) && LH_INLINE_LIKELY((uintptr_t)begin->arena == handle[0]);
}

/* Where the lease notes that it holds the lock, if nothing else is in the way. */
static inline uint64_t *lh_inline_record(const lh_rwlock *rwlock, const lh_lease *lease)
{
	const struct lh_inline_lease *begin = (const struct lh_inline_lease *)(const void *)lease;
	const uint32_t line = (uint32_t)(rwlock->private_[3] >> LH_INLINE_LINE_SHIFT);

	return (uint64_t *)(void *)(begin->holds + (line & begin->line_mask));
}

/* As lh_rwlock_read_lock. */
static inline LH_NODISCARD int lh_inline_rwlock_read_lock(const lh_rwlock *rwlock, lh_lease *lease,
							  lh_deadline deadline, lh_grant *ret_grant)
{
	const struct lh_inline_lease *begin = (const struct lh_inline_lease *)(const void *)lease;
	const uint64_t *word;
	uint64_t *record;
	uint64_t value;

	if (!LH_INLINE_LIKELY(rwlock && lease) || !lh_inline_is_simple(rwlock->private_, lease))
		return lh_rwlock_read_lock(rwlock, lease, deadline, ret_grant);
	word = (const uint64_t *)(uintptr_t)rwlock->private_[1];
	record = lh_inline_record(rwlock, lease);
	if (!LH_INLINE_LIKELY(!__atomic_load_n(record, __ATOMIC_RELAXED)) ||
	    !LH_INLINE_LIKELY(
		    __atomic_load_n((const uint64_t *)((uintptr_t)word + LH_INLINE_READERS +
						       begin->readers_offset),
				    __ATOMIC_RELAXED) &
		    begin->readers_bit))
		return lh_rwlock_read_lock(rwlock, lease, deadline, ret_grant);
	__atomic_store_n(record, rwlock->private_[2], __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* a writer has all processors pass a full one */
	value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	if (!LH_INLINE_LIKELY(!(value & LH_INLINE_BELOW_TOKEN)) ||
	    (deadline.ns == 0 &&
	     __atomic_load_n((const uint32_t *)((uintptr_t)word + LH_INLINE_HEIR),
			     __ATOMIC_RELAXED)))
		return lh_inline_rwlock_read_rest(rwlock, lease, deadline, ret_grant);
	if (ret_grant) {
		ret_grant->token = value >> LH_INLINE_TOKEN_SHIFT;
		ret_grant->previous = 0;
		ret_grant->flags = 0;
		ret_grant->reserved[0] = ret_grant->reserved[1] = ret_grant->reserved[2] = 0;
	}
	return 0;
}

/* As lh_rwlock_unlock; of a writer's lock it is that call. */
static inline int lh_inline_rwlock_unlock(const lh_rwlock *rwlock, lh_lease *lease)
{
	uint64_t *record;

	if (!LH_INLINE_LIKELY(rwlock && lease) || !lh_inline_is_simple(rwlock->private_, lease))
		return lh_rwlock_unlock(rwlock, lease);
	record = lh_inline_record(rwlock, lease);
	if (!LH_INLINE_LIKELY(__atomic_load_n(record, __ATOMIC_RELAXED) == rwlock->private_[2]))
		return lh_rwlock_unlock(rwlock, lease);
	__atomic_store_n(record, 0, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* as above */
	if (!LH_INLINE_LIKELY(!(__atomic_load_n((const uint64_t *)(uintptr_t)rwlock->private_[1],
						__ATOMIC_RELAXED) &
				LH_INLINE_WRITER)))
		return lh_inline_rwlock_unlock_rest(rwlock, lease);
	return 0;
}

/* As lh_once_done. */
static inline bool lh_inline_once_done(const lh_once *once)
{
	return LH_INLINE_LIKELY(once && once->private_[0]) &&
	       (__atomic_load_n((const uint64_t *)(uintptr_t)once->private_[1], __ATOMIC_ACQUIRE) &
		LH_INLINE_ONCE_DONE);
}

/* As lh_once_call. */
static inline LH_NODISCARD int lh_inline_once_call(const lh_once *once, lh_lease *lease,
						   int (*init)(void *data, void *context),
						   void *context, lh_deadline deadline)
{
	if (LH_INLINE_LIKELY(once && lease) && lh_inline_is_simple(once->private_, lease) &&
	    LH_INLINE_LIKELY(__atomic_load_n((const uint64_t *)(uintptr_t)once->private_[1],
					     __ATOMIC_ACQUIRE) &
			     LH_INLINE_ONCE_DONE))
		return 0;
	return lh_once_call(once, lease, init, context, deadline);
}

#else

static inline LH_NODISCARD int lh_inline_rwlock_read_lock(const lh_rwlock *rwlock, lh_lease *lease,
							  lh_deadline deadline, lh_grant *ret_grant)
{
	return lh_rwlock_read_lock(rwlock, lease, deadline, ret_grant);
}

static inline int lh_inline_rwlock_unlock(const lh_rwlock *rwlock, lh_lease *lease)
{
	return lh_rwlock_unlock(rwlock, lease);
}

static inline bool lh_inline_once_done(const lh_once *once)
{
	return lh_once_done(once);
}

static inline LH_NODISCARD int lh_inline_once_call(const lh_once *once, lh_lease *lease,
						   int (*init)(void *data, void *context),
						   void *context, lh_deadline deadline)
{
	return lh_once_call(once, lease, init, context, deadline);
}

#endif

LH_END_DECLS

#endif
