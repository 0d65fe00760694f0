// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_INLINE_H
#define LEASEHOLD_INLINE_H

/*
 * The shortest paths without a call: a free mutex and a free permit, reading under a reader-writer
 * lock, and asking whether a once is done. Each function here does what the one does that has its
 * name without the `inline_` (mutex.h, semaphore.h, rwlock.h, once.h), errors, order, crash and
 * all, and calls that one whenever there is more to do than the usual: others who want the same, a
 * lease with a TTL, a first read. The two forms may be mixed at will.
 *
 * leasehold.h does not include this header, for it has a price. What is inlined is compiled into
 * the program: the places of a few fields (below) and the meaning of their bits. They belong to the
 * library's binary interface like the structs of the other headers: they change only with the
 * soname (libleasehold.so.0), so a program runs with any library that the loader gives it. A
 * correction of what is inlined here reaches a program when it is compiled again, though.
 *
 * Fast on x86-64, compiled by gcc or clang, as C11 or C++. Elsewhere, and where annotate.h is at
 * work, LH_INLINE_FAST is 0, and these names are the others.
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

#include <leasehold/annotate.h>
#include <leasehold/api.h>
#include <leasehold/mutex.h>
#include <leasehold/once.h>
#include <leasehold/rwlock.h>
#include <leasehold/semaphore.h>

#if defined(__x86_64__) && defined(__LP64__) && defined(__GCC_ASM_FLAG_OUTPUTS__) && !LH_ANNOTATES
#define LH_INLINE_FAST 1
#else
#define LH_INLINE_FAST 0
#endif

LH_BEGIN_DECLS

/*
 * What a lease begins with: private, for the functions below. `guard` points to a word that names
 * the thread that may take the short ways with this lease, as the thread's control block does at
 * %fs:0.
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
	uint32_t scatter;
	uint64_t id;
};

/*
 * How the functions below go on where a call from the start would not do: whoever waits may have
 * slept on what was written, or is to be woken for it. Not to be called by anybody else.
 */
/* The mutex is free, others may sleep on it, and the record is still there. */
LH_API int lh_inline_mutex_unlock_rest(const lh_mutex *mutex, lh_lease *lease);
/* The record says one permit. `taken`: the lease has it, but the limit is another by now; or else its
 * place has another owner. */
LH_API LH_NODISCARD int lh_inline_semaphore_acquire_rest(const lh_semaphore *semaphore,
							 lh_lease *lease, lh_deadline deadline,
							 bool taken);
/* The permit is free, others may sleep for it, and the record is still there. */
LH_API int lh_inline_semaphore_release_rest(const lh_semaphore *semaphore, lh_lease *lease);
/* The record is there: a writer, or the lock is not biased. The record is cleared: a writer. */
LH_API LH_NODISCARD int lh_inline_rwlock_read_rest(const lh_rwlock *rwlock, lh_lease *lease,
						   lh_deadline deadline, lh_grant *ret_grant);
LH_API int lh_inline_rwlock_unlock_rest(const lh_rwlock *rwlock, lh_lease *lease);

#if LH_INLINE_FAST

/* Private. src/inline.c compares them with what the library itself uses. */

/* Words that name their owner: of mutexes and locks. */
#define LH_INLINE_OWNER UINT64_C(0x3fff)
#define LH_INLINE_PLAIN UINT64_C(0x8000)
#define LH_INLINE_DIED UINT64_C(0x10000)
#define LH_INLINE_NOT_FREE UINT64_C(0x17fff)
#define LH_INLINE_BELOW_TOKEN UINT64_C(0x3ffff)
#define LH_INLINE_TOKEN_SHIFT 18
#define LH_INLINE_TOKEN_ONE (UINT64_C(1) << LH_INLINE_TOKEN_SHIFT)
#define LH_INLINE_ONCE_DONE UINT64_C(0x8000)

/* Offsets: in a mutex, in a lock, in a semaphore. */
#define LH_INLINE_WAITERS 8
#define LH_INLINE_HEIR 20
#define LH_INLINE_READERS 64
#define LH_INLINE_LIMIT 68
#define LH_INLINE_GATE 80
#define LH_INLINE_PERMITS 128

/* Bytes to an object's line of hold tables: in a lock's last word, else by a product. */
#define LH_INLINE_LINE_SHIFT 32
#define LH_INLINE_FACTOR 2654435769u
#define LH_INLINE_FACTOR_SHIFT 18

#define LH_INLINE static inline __attribute__((always_inline))
#define LH_INLINE_LIKELY(condition) __builtin_expect(!!(condition), 1)

LH_INLINE const struct lh_inline_lease *lh_inline_begin(const lh_lease *lease)
{
	return (const struct lh_inline_lease *)(const void *)lease;
}

/* Whether the lease may take the short ways in this thread and, of this process, on this arena. */
LH_INLINE bool lh_inline_is_simple(const uint64_t *handle, const lh_lease *lease)
{
	const uint64_t name = __atomic_load_n(lh_inline_begin(lease)->guard, __ATOMIC_RELAXED);
	bool same;

	__asm__("cmpq %%fs:0, %1" : "=@cce"(same) : "r"(name));
	return LH_INLINE_LIKELY(same) &&
	       LH_INLINE_LIKELY((uintptr_t)lh_inline_begin(lease)->arena == handle[0]);
}

/* The words of the object, `offset` bytes after its first. */
LH_INLINE uint64_t *lh_inline_word(const uint64_t *handle, uintptr_t offset)
{
	return (uint64_t *)((uintptr_t)handle[1] + offset);
}

LH_INLINE uint64_t lh_inline_load(const uint64_t *word, uintptr_t offset)
{
	return __atomic_load_n((const uint64_t *)((uintptr_t)word + offset), __ATOMIC_RELAXED);
}

LH_INLINE uint32_t lh_inline_load_half(const uint64_t *word, uintptr_t offset)
{
	return __atomic_load_n((const uint32_t *)((uintptr_t)word + offset), __ATOMIC_RELAXED);
}

/* Where the lease notes that it holds the object of that line, if nothing else is in the way. */
LH_INLINE uint64_t *lh_inline_record_at(const lh_lease *lease, uint32_t line)
{
	return (uint64_t *)(void *)(lh_inline_begin(lease)->holds +
				    (line & lh_inline_begin(lease)->line_mask));
}

LH_INLINE uint64_t *lh_inline_record(const uint64_t *handle, const lh_lease *lease)
{
	return lh_inline_record_at(lease, ((uint32_t)handle[2] * LH_INLINE_FACTOR) >>
						  LH_INLINE_FACTOR_SHIFT);
}

LH_INLINE bool lh_inline_says(const uint64_t *word, uint64_t what)
{
	return LH_INLINE_LIKELY(__atomic_load_n(word, __ATOMIC_RELAXED) == what);
}

/*
 * Release: a record is written before the read-modify-write of the object that it is for (which is
 * a release too), and cleared after all that its lease did there.
 */
LH_INLINE void lh_inline_store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/*
 * Between a store and the look whether somebody is to be told of it: the compiler keeps the order,
 * and whoever is about to sleep has all processors pass a full fence (membarrier(2)) before it
 * looks again.
 */
LH_INLINE void lh_inline_fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

LH_INLINE void lh_inline_fill_grant(lh_grant *grant, uint64_t word)
{
	if (!grant)
		return;
	grant->token = word >> LH_INLINE_TOKEN_SHIFT;
	grant->previous = 0;
	grant->flags = 0;
	grant->reserved[0] = grant->reserved[1] = grant->reserved[2] = 0;
}

/* As lh_mutex_lock. */
LH_NODISCARD LH_INLINE int lh_inline_mutex_lock(const lh_mutex *mutex, lh_lease *lease,
						lh_deadline deadline, lh_grant *ret_grant)
{
	uint64_t *word, *record;
	uint64_t value, taken, held;

	if (!LH_INLINE_LIKELY(mutex && lease) || !lh_inline_is_simple(mutex->private_, lease))
		return lh_mutex_lock(mutex, lease, deadline, ret_grant);
	word = lh_inline_word(mutex->private_, 0);
	record = lh_inline_record(mutex->private_, lease);
	held = mutex->private_[2];
	value = lh_inline_load(word, 0);
	taken = value + LH_INLINE_TOKEN_ONE + LH_INLINE_PLAIN + lh_inline_begin(lease)->name;
	if (!LH_INLINE_LIKELY(!(value & LH_INLINE_NOT_FREE)) ||
	    !LH_INLINE_LIKELY((int64_t)value > (int64_t)lh_inline_load(word, LH_INLINE_WAITERS)) ||
	    !lh_inline_says(record, 0))
		return lh_mutex_lock(mutex, lease, deadline, ret_grant);
	lh_inline_store(record, held);
	if (!LH_INLINE_LIKELY(__atomic_compare_exchange_n(word, &value, taken, false,
							  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))) {
		lh_inline_store(record, 0); /* an intent, of which nothing came */
		return lh_mutex_lock(mutex, lease, deadline, ret_grant);
	}
	lh_inline_fill_grant(ret_grant, taken);
	return 0;
}

/* As lh_mutex_unlock. */
LH_INLINE int lh_inline_mutex_unlock(const lh_mutex *mutex, lh_lease *lease)
{
	uint64_t *word, *record;
	uint64_t value;

	if (!LH_INLINE_LIKELY(mutex && lease) || !lh_inline_is_simple(mutex->private_, lease))
		return lh_mutex_unlock(mutex, lease);
	word = lh_inline_word(mutex->private_, 0);
	record = lh_inline_record(mutex->private_, lease);
	value = lh_inline_load(word, 0);
	if (!LH_INLINE_LIKELY((value & (LH_INLINE_OWNER | LH_INLINE_PLAIN)) ==
			      (lh_inline_begin(lease)->name | LH_INLINE_PLAIN)) ||
	    !lh_inline_says(record, mutex->private_[2]))
		return lh_mutex_unlock(mutex, lease);
	value &= ~LH_INLINE_BELOW_TOKEN | LH_INLINE_DIED;
	lh_inline_store(word, value);
	lh_inline_fence();
	if (!LH_INLINE_LIKELY(value + LH_INLINE_TOKEN_ONE >
			      lh_inline_load(word, LH_INLINE_WAITERS)))
		return lh_inline_mutex_unlock_rest(mutex, lease);
	lh_inline_store(record, 0);
	return 0;
}

/* The word of the permit that the lease looks for first. */
LH_INLINE uint64_t *lh_inline_permit(const lh_semaphore *semaphore, const lh_lease *lease)
{
	const uint32_t place = lh_inline_begin(lease)->scatter &
			       (uint32_t)(semaphore->private_[3] >> 32);

	return lh_inline_word(semaphore->private_, LH_INLINE_PERMITS) + place;
}

/* As lh_semaphore_acquire; of other than one permit it is that call. */
LH_NODISCARD LH_INLINE int lh_inline_semaphore_acquire(const lh_semaphore *semaphore,
						       lh_lease *lease, uint32_t permits,
						       lh_deadline deadline)
{
	uint64_t *word, *record, *permit;
	uint64_t id, none = 0;
	uint32_t limit;

	if (!LH_INLINE_LIKELY(semaphore && lease && permits == 1) ||
	    !lh_inline_is_simple(semaphore->private_, lease))
		return lh_semaphore_acquire(semaphore, lease, permits, deadline);
	word = lh_inline_word(semaphore->private_, 0);
	record = lh_inline_record(semaphore->private_, lease);
	permit = lh_inline_permit(semaphore, lease);
	id = lh_inline_begin(lease)->id;
	limit = (uint32_t)semaphore->private_[3];
	if (!LH_INLINE_LIKELY(lh_inline_load_half(word, LH_INLINE_LIMIT) == limit) ||
	    !LH_INLINE_LIKELY(!lh_inline_load(word, LH_INLINE_GATE)) || !lh_inline_says(record, 0))
		return lh_semaphore_acquire(semaphore, lease, permits, deadline);
	lh_inline_store(record, semaphore->private_[2]);
	if (!LH_INLINE_LIKELY(__atomic_compare_exchange_n(permit, &none, id, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)))
		return lh_inline_semaphore_acquire_rest(semaphore, lease, deadline, false);
	if (!LH_INLINE_LIKELY(__atomic_load_n((const uint32_t *)((uintptr_t)word + LH_INLINE_LIMIT),
					      __ATOMIC_SEQ_CST) == limit))
		return lh_inline_semaphore_acquire_rest(semaphore, lease, deadline, true);
	return 0;
}

/* As lh_semaphore_release; of other than one permit it is that call. */
LH_INLINE int lh_inline_semaphore_release(const lh_semaphore *semaphore, lh_lease *lease,
					  uint32_t permits)
{
	uint64_t *word, *record, *permit;

	if (!LH_INLINE_LIKELY(semaphore && lease && permits == 1) ||
	    !lh_inline_is_simple(semaphore->private_, lease))
		return lh_semaphore_release(semaphore, lease, permits);
	word = lh_inline_word(semaphore->private_, 0);
	record = lh_inline_record(semaphore->private_, lease);
	permit = lh_inline_permit(semaphore, lease);
	if (!lh_inline_says(record, semaphore->private_[2]) ||
	    !lh_inline_says(permit, lh_inline_begin(lease)->id))
		return lh_semaphore_release(semaphore, lease, permits);
	lh_inline_store(permit, 0);
	lh_inline_fence();
	if (!LH_INLINE_LIKELY(!(lh_inline_load(word, 0) & LH_INLINE_OWNER)))
		return lh_inline_semaphore_release_rest(semaphore, lease);
	lh_inline_store(record, 0);
	return 0;
}

/* As lh_rwlock_read_lock. */
LH_NODISCARD LH_INLINE int lh_inline_rwlock_read_lock(const lh_rwlock *rwlock, lh_lease *lease,
						      lh_deadline deadline, lh_grant *ret_grant)
{
	uint64_t *word, *record;
	uint64_t value;

	if (!LH_INLINE_LIKELY(rwlock && lease) || !lh_inline_is_simple(rwlock->private_, lease))
		return lh_rwlock_read_lock(rwlock, lease, deadline, ret_grant);
	word = lh_inline_word(rwlock->private_, 0);
	record = lh_inline_record_at(lease,
				     (uint32_t)(rwlock->private_[3] >> LH_INLINE_LINE_SHIFT));
	if (!lh_inline_says(record, 0) ||
	    !LH_INLINE_LIKELY(lh_inline_load(word, LH_INLINE_READERS +
							   lh_inline_begin(lease)->readers_offset) &
			      lh_inline_begin(lease)->readers_bit))
		return lh_rwlock_read_lock(rwlock, lease, deadline, ret_grant);
	lh_inline_store(record, rwlock->private_[2]);
	lh_inline_fence();
	value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	if (!LH_INLINE_LIKELY(!(value & LH_INLINE_BELOW_TOKEN)) ||
	    (deadline.ns == 0 && lh_inline_load_half(word, LH_INLINE_HEIR)))
		return lh_inline_rwlock_read_rest(rwlock, lease, deadline, ret_grant);
	lh_inline_fill_grant(ret_grant, value);
	return 0;
}

/* As lh_rwlock_unlock; of a writer's lock it is that call. */
LH_INLINE int lh_inline_rwlock_unlock(const lh_rwlock *rwlock, lh_lease *lease)
{
	uint64_t *word, *record;

	if (!LH_INLINE_LIKELY(rwlock && lease) || !lh_inline_is_simple(rwlock->private_, lease))
		return lh_rwlock_unlock(rwlock, lease);
	word = lh_inline_word(rwlock->private_, 0);
	record = lh_inline_record_at(lease,
				     (uint32_t)(rwlock->private_[3] >> LH_INLINE_LINE_SHIFT));
	if (!lh_inline_says(record, rwlock->private_[2]))
		return lh_rwlock_unlock(rwlock, lease);
	lh_inline_store(record, 0);
	lh_inline_fence();
	if (!LH_INLINE_LIKELY(!(lh_inline_load(word, 0) & LH_INLINE_OWNER)))
		return lh_inline_rwlock_unlock_rest(rwlock, lease);
	return 0;
}

/* Whether a once that is placed is done. */
LH_INLINE bool lh_inline_is_done(const lh_once *once)
{
	return LH_INLINE_LIKELY(
		__atomic_load_n(lh_inline_word(once->private_, 0), __ATOMIC_ACQUIRE) &
		LH_INLINE_ONCE_DONE);
}

/* As lh_once_done. */
LH_INLINE bool lh_inline_once_done(const lh_once *once)
{
	return LH_INLINE_LIKELY(once && once->private_[0]) && lh_inline_is_done(once);
}

/* As lh_once_call. */
LH_NODISCARD LH_INLINE int lh_inline_once_call(const lh_once *once, lh_lease *lease,
					       int (*init)(void *data, void *context),
					       void *context, lh_deadline deadline)
{
	if (LH_INLINE_LIKELY(once && lease) && lh_inline_is_simple(once->private_, lease) &&
	    lh_inline_is_done(once))
		return 0;
	return lh_once_call(once, lease, init, context, deadline);
}

#else

#define lh_inline_mutex_lock lh_mutex_lock
#define lh_inline_mutex_unlock lh_mutex_unlock
#define lh_inline_semaphore_acquire lh_semaphore_acquire
#define lh_inline_semaphore_release lh_semaphore_release
#define lh_inline_rwlock_read_lock lh_rwlock_read_lock
#define lh_inline_rwlock_unlock lh_rwlock_unlock
#define lh_inline_once_done lh_once_done
#define lh_inline_once_call lh_once_call

#endif

LH_END_DECLS

#endif
