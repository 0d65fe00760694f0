// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_ANNOTATE_H
#define LEASEHOLD_ANNOTATE_H

/*
 * So that race detectors understand the locks. ThreadSanitizer, Helgrind and DRD take plain data
 * under a lock for racing unless they know that whoever is granted it comes after whoever let it
 * go; the library is not compiled for any of them, so it cannot tell them. This header has the
 * program itself tell, in the calls that it makes:
 *
 *	cc -fsanitize=thread …                  nothing else to do: the headers see it
 *	cc -DLH_ANNOTATE_VALGRIND …             for valgrind --tool=helgrind or drd; wants valgrind's headers,
 *	                                        costs a dozen instructions a call, and nothing without the macro
 *	cc -DLH_NO_ANNOTATIONS …                not even with -fsanitize=thread
 *
 * The headers of the primitives include it. Otherwise it declares nothing. Where it is at work,
 * lh_mutex_lock and the others below are macros, too, with the same contract; the address of such a
 * function, and what a file compiled otherwise calls, is without annotation. leasehold/inline.h
 * then calls, and inlines nothing. It is the threads of one process that are told of each other, as
 * these tools see one alone.
 *
 * What is told is the order (a release happens before the grants that follow), not who holds what:
 * a lock can be lost with its owner, or passed on by a lease of a process, which tools would report
 * as misuse. So they find races, but no inversions of the order of locks; lease-inspector finds
 * cycles of waiting. Readers of a rwlock are ordered after writers, and writers after both, but no
 * reader after another. What a lost lease lets go, which nobody waits for, is no order: what its
 * holder wrote after the loss is reported.
 *
 * Not told, as nothing is missing: the …_consistent calls, since whoever does not learn of the damage
 * any more comes after the unlock of the one who declared it. Nor is placing and finding (…_at,
 * lh_find): tell threads of objects by what starts them, or by a lock.
 *
 * libleasehold itself, not compiled for ThreadSanitizer, calls memcpy and the like, which that
 * sees: run with TSAN_OPTIONS=suppressions=…/share/leasehold/tsan.supp.
 *
 * Example: two threads add; with -fsanitize=thread nothing is reported, and a race is without the
 * lock.
 *
 *	int add(const lh_mutex *mutex, lh_lease *lease, long *total)
 *	{
 *		int error = lh_mutex_lock(mutex, lease, LH_FOREVER, NULL);
 *
 *		if (error)
 *			return error;
 *		++*total;
 *		return lh_mutex_unlock(mutex, lease);
 *	}
 */

#ifndef LH_NO_ANNOTATIONS
#ifdef __SANITIZE_THREAD__
#define LH_ANNOTATES_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LH_ANNOTATES_THREAD 1
#endif
#endif
#ifdef LH_ANNOTATE_VALGRIND
#define LH_ANNOTATES_VALGRIND 1
#endif
#endif

#if defined(LH_ANNOTATES_THREAD) || defined(LH_ANNOTATES_VALGRIND)
#define LH_ANNOTATES 1
#else
#define LH_ANNOTATES 0
#endif

/* Private, compared by src/inline.c with what the library has: words of a lease, and of a word its owner. */
#define LH_ANNOTATE_LEASE_ARENA 1
#define LH_ANNOTATE_LEASE_NAME 4
#define LH_ANNOTATE_OWNER 0x3fffu

#if LH_ANNOTATES

#include <errno.h>
#include <leasehold/api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef LH_ANNOTATES_THREAD
#include <sanitizer/tsan_interface.h>
#endif
#ifdef LH_ANNOTATES_VALGRIND
#include <valgrind/drd.h>
#include <valgrind/helgrind.h> /* DRD takes its two requests, too, that order something */
#endif

LH_BEGIN_DECLS

#define LH_ANNOTATE static inline __attribute__((unused))

/* Private: what has been done so far comes before what follows any later lh_annotate_after(point). */
LH_ANNOTATE void lh_annotate_before(uint64_t point)
{
	if (!point)
		return;
#ifdef LH_ANNOTATES_THREAD
	__tsan_release((void *)(uintptr_t)point);
#endif
#ifdef LH_ANNOTATES_VALGRIND
	ANNOTATE_HAPPENS_BEFORE((uintptr_t)point);
#endif
}

LH_ANNOTATE void lh_annotate_after(uint64_t point)
{
	if (!point)
		return;
#ifdef LH_ANNOTATES_THREAD
	__tsan_acquire((void *)(uintptr_t)point);
#endif
#ifdef LH_ANNOTATES_VALGRIND
	ANNOTATE_HAPPENS_AFTER((uintptr_t)point);
#endif
}

/* Private: memory that the library uses by atomics; valgrind's tools know none and take it for racing. */
LH_ANNOTATE void lh_annotate_overlook(uint64_t address, size_t size)
{
#ifdef LH_ANNOTATES_VALGRIND
	VALGRIND_HG_DISABLE_CHECKING((uintptr_t)address, size);
	VALGRIND_DO_CLIENT_REQUEST_STMT(VG_USERREQ__DRD_START_SUPPRESSION, (uintptr_t)address, size,
					0, 0, 0);
#else
	(void)address;
	(void)size;
#endif
}

/*
 * Private: the points of an object are its own two first words (readers have let go: the second),
 * and two words of the arena's private memory: for what goes with a lease when that is released, and
 * for leased memory. A handle's first two words say where these are (src/inline.c compares them), as
 * the second of a lease does. Cancel tokens, and named locks, have one point for all of them.
 */
#define LH_ANNOTATE_OBJECT(handle) ((handle) ? (handle)->private_[1] : 0)
#define LH_ANNOTATE_READERS(handle)                                                                \
	((handle) && (handle)->private_[1] ? (handle)->private_[1] + 8 : 0)
#define LH_ANNOTATE_ARENA(handle) ((handle) ? (handle)->private_[0] : 0)
#define LH_ANNOTATE_MEMORY(arena) ((arena) ? (arena) + 8 : 0)

/* Private: a word of the lease's beginning; 0 without a lease. */
LH_ANNOTATE uint64_t lh_annotate_of_lease(const void *lease, int word)
{
	return lease ? ((const uint64_t *)lease)[word] : 0;
}

LH_END_DECLS

#endif /* LH_ANNOTATES */

#endif /* LEASEHOLD_ANNOTATE_H */

/*
 * Included at the end of each of the headers below, this adds what belongs to that one: those
 * headers include each other.
 */
#if LH_ANNOTATES
LH_BEGIN_DECLS

#if defined(LH_DECLARED_CANCEL) && !defined(LH_ANNOTATES_CANCEL)
#define LH_ANNOTATES_CANCEL
#define LH_ANNOTATE_CANCEL ((uint64_t)(uintptr_t)lh_cancel_fire)

/* Private: the result of a call that, if 0, has taken the object. Who is cancelled has read a token. */
LH_ANNOTATE int lh_annotate_taken(int result, uint64_t object, uint64_t arena)
{
	if (result == 0) {
		lh_annotate_after(object);
		lh_annotate_after(arena);
	} else if (result == -ECANCELED) {
		lh_annotate_after(LH_ANNOTATE_CANCEL);
	}
	return result;
}

LH_ANNOTATE void lh_annotated_cancel_fire(lh_cancel *cancel)
{
	lh_annotate_before(LH_ANNOTATE_CANCEL);
	lh_cancel_fire(cancel);
}

#define lh_cancel_fire(...) lh_annotated_cancel_fire(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_GRANT) && !defined(LH_ANNOTATES_GRANT)
#define LH_ANNOTATES_GRANT

/* A token that is refused is too late for anything to come after it. */
LH_NODISCARD LH_ANNOTATE int lh_annotated_fence_check(uint64_t *highest, uint64_t token)
{
	const uint64_t point = (uint64_t)(uintptr_t)highest;
	int result;

	if (point && point % sizeof(*highest) == 0) {
		lh_annotate_overlook(point, sizeof(*highest));
		if (__atomic_load_n(highest, __ATOMIC_RELAXED) <= token)
			lh_annotate_before(point);
	}
	result = lh_fence_check(highest, token);
	if (result != -EINVAL)
		lh_annotate_after(point);
	return result;
}

#define lh_fence_check(...) lh_annotated_fence_check(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_LEASE) && !defined(LH_ANNOTATES_LEASE)
#define LH_ANNOTATES_LEASE

/* Private: what the lease lets go of comes before what follows, unless others may have it already. */
LH_ANNOTATE void lh_annotate_let_go(const lh_lease *lease, uint64_t point)
{
	if (lh_lease_valid(lease))
		lh_annotate_before(point);
}

/* Lets go of whatever the lease holds; of memory, also of a lost one's. */
LH_ANNOTATE int lh_annotated_lease_release(lh_lease *lease)
{
	const uint64_t arena = lh_annotate_of_lease(lease, LH_ANNOTATE_LEASE_ARENA);

	lh_annotate_let_go(lease, arena);
	lh_annotate_before(LH_ANNOTATE_MEMORY(arena));
	return lh_lease_release(lease);
}

LH_ANNOTATE int lh_annotated_region_acquire(lh_lease *lease, size_t size, uint64_t *ret_offset)
{
	const uint64_t arena = lh_annotate_of_lease(lease, LH_ANNOTATE_LEASE_ARENA);

	return lh_annotate_taken(lh_region_acquire(lease, size, ret_offset),
				 LH_ANNOTATE_MEMORY(arena), 0);
}

LH_ANNOTATE int lh_annotated_region_release(lh_lease *lease, uint64_t offset)
{
	lh_annotate_before(
		LH_ANNOTATE_MEMORY(lh_annotate_of_lease(lease, LH_ANNOTATE_LEASE_ARENA)));
	return lh_region_release(lease, offset);
}

#define lh_lease_release(...) lh_annotated_lease_release(__VA_ARGS__)
#define lh_region_acquire(...) lh_annotated_region_acquire(__VA_ARGS__)
#define lh_region_release(...) lh_annotated_region_release(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_MUTEX) && !defined(LH_ANNOTATES_MUTEX)
#define LH_ANNOTATES_MUTEX

LH_NODISCARD LH_ANNOTATE int lh_annotated_mutex_lock(const lh_mutex *mutex, lh_lease *lease,
						     lh_deadline deadline, lh_grant *ret_grant)
{
	return lh_annotate_taken(lh_mutex_lock(mutex, lease, deadline, ret_grant),
				 LH_ANNOTATE_OBJECT(mutex), LH_ANNOTATE_ARENA(mutex));
}

LH_ANNOTATE int lh_annotated_mutex_unlock(const lh_mutex *mutex, lh_lease *lease)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(mutex));
	return lh_mutex_unlock(mutex, lease);
}

#define lh_mutex_lock(...) lh_annotated_mutex_lock(__VA_ARGS__)
#define lh_mutex_unlock(...) lh_annotated_mutex_unlock(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_CONDVAR) && !defined(LH_ANNOTATES_CONDVAR)
#define LH_ANNOTATES_CONDVAR

LH_NODISCARD LH_ANNOTATE int lh_annotated_condvar_wait(const lh_condvar *condvar,
						       const lh_mutex *mutex, lh_lease *lease,
						       lh_deadline deadline, lh_grant *ret_grant)
{
	int result;

	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(mutex));
	result = lh_condvar_wait(condvar, mutex, lease, deadline, ret_grant);
	if (lh_mutex_held(mutex, lease)) /* with a time-out and the like, too; not if it was lost */
		(void)lh_annotate_taken(0, LH_ANNOTATE_OBJECT(mutex), LH_ANNOTATE_ARENA(mutex));
	return lh_annotate_taken(result, 0, 0);
}

#define lh_condvar_wait(...) lh_annotated_condvar_wait(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_RWLOCK) && !defined(LH_ANNOTATES_RWLOCK)
#define LH_ANNOTATES_RWLOCK

LH_NODISCARD LH_ANNOTATE int lh_annotated_rwlock_read_lock(const lh_rwlock *rwlock, lh_lease *lease,
							   lh_deadline deadline,
							   lh_grant *ret_grant)
{
	return lh_annotate_taken(lh_rwlock_read_lock(rwlock, lease, deadline, ret_grant),
				 LH_ANNOTATE_OBJECT(rwlock), LH_ANNOTATE_ARENA(rwlock));
}

LH_ANNOTATE int lh_annotate_written(int result, const lh_rwlock *rwlock)
{
	if (result == 0)
		lh_annotate_after(LH_ANNOTATE_READERS(rwlock));
	return lh_annotate_taken(result, LH_ANNOTATE_OBJECT(rwlock), LH_ANNOTATE_ARENA(rwlock));
}

LH_NODISCARD LH_ANNOTATE int lh_annotated_rwlock_write_lock(const lh_rwlock *rwlock,
							    lh_lease *lease, lh_deadline deadline,
							    lh_grant *ret_grant)
{
	return lh_annotate_written(lh_rwlock_write_lock(rwlock, lease, deadline, ret_grant),
				   rwlock);
}

LH_NODISCARD LH_ANNOTATE int lh_annotated_rwlock_upgrade(const lh_rwlock *rwlock, lh_lease *lease,
							 lh_deadline deadline, lh_grant *ret_grant)
{
	return lh_annotate_written(lh_rwlock_upgrade(rwlock, lease, deadline, ret_grant), rwlock);
}

LH_ANNOTATE int lh_annotated_rwlock_downgrade(const lh_rwlock *rwlock, lh_lease *lease)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(rwlock));
	return lh_rwlock_downgrade(rwlock, lease);
}

/* The end of reading comes before later writers alone. */
LH_ANNOTATE int lh_annotated_rwlock_unlock(const lh_rwlock *rwlock, lh_lease *lease)
{
	const uint64_t object = LH_ANNOTATE_OBJECT(rwlock);
	const uint64_t word = object ? __atomic_load_n((const uint64_t *)(uintptr_t)object,
						       __ATOMIC_RELAXED)
				     : 0;

	lh_annotate_let_go(lease,
			   (word & LH_ANNOTATE_OWNER) ==
					   lh_annotate_of_lease(lease, LH_ANNOTATE_LEASE_NAME)
				   ? object
				   : LH_ANNOTATE_READERS(rwlock));
	return lh_rwlock_unlock(rwlock, lease);
}

#define lh_rwlock_read_lock(...) lh_annotated_rwlock_read_lock(__VA_ARGS__)
#define lh_rwlock_write_lock(...) lh_annotated_rwlock_write_lock(__VA_ARGS__)
#define lh_rwlock_upgrade(...) lh_annotated_rwlock_upgrade(__VA_ARGS__)
#define lh_rwlock_downgrade(...) lh_annotated_rwlock_downgrade(__VA_ARGS__)
#define lh_rwlock_unlock(...) lh_annotated_rwlock_unlock(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_SEMAPHORE) && !defined(LH_ANNOTATES_SEMAPHORE)
#define LH_ANNOTATES_SEMAPHORE

LH_NODISCARD LH_ANNOTATE int lh_annotated_semaphore_acquire(const lh_semaphore *semaphore,
							    lh_lease *lease, uint32_t permits,
							    lh_deadline deadline)
{
	return lh_annotate_taken(lh_semaphore_acquire(semaphore, lease, permits, deadline),
				 LH_ANNOTATE_OBJECT(semaphore), LH_ANNOTATE_ARENA(semaphore));
}

LH_ANNOTATE int lh_annotated_semaphore_release(const lh_semaphore *semaphore, lh_lease *lease,
					       uint32_t permits)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(semaphore));
	return lh_semaphore_release(semaphore, lease, permits);
}

#define lh_semaphore_acquire(...) lh_annotated_semaphore_acquire(__VA_ARGS__)
#define lh_semaphore_release(...) lh_annotated_semaphore_release(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_BARRIER) && !defined(LH_ANNOTATES_BARRIER)
#define LH_ANNOTATES_BARRIER

LH_NODISCARD LH_ANNOTATE int lh_annotated_barrier_wait(const lh_barrier *barrier, lh_lease *lease,
						       lh_deadline deadline, lh_grant *ret_grant)
{
	lh_annotate_before(LH_ANNOTATE_OBJECT(barrier));
	return lh_annotate_taken(lh_barrier_wait(barrier, lease, deadline, ret_grant),
				 LH_ANNOTATE_OBJECT(barrier), 0);
}

#define lh_barrier_wait(...) lh_annotated_barrier_wait(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_ONCE) && !defined(LH_ANNOTATES_ONCE)
#define LH_ANNOTATES_ONCE

/*
 * Private: the library copies what an initialiser has made, after that has run, by a memcpy that
 * the detectors see. Valgrind's are told to overlook the bytes, ThreadSanitizer looks away between
 * these two. (The beginning of a try, and that it failed: nothing is taken.)
 */
LH_ANNOTATE void lh_annotate_pause(uint64_t point)
{
#ifdef LH_ANNOTATES_THREAD
	__tsan_mutex_pre_lock((void *)(uintptr_t)point, __tsan_mutex_try_lock);
#else
	(void)point;
#endif
}

LH_ANNOTATE void lh_annotate_resume(uint64_t point)
{
#ifdef LH_ANNOTATES_THREAD
	__tsan_mutex_post_lock((void *)(uintptr_t)point,
			       __tsan_mutex_try_lock | __tsan_mutex_try_lock_failed, 0);
#else
	(void)point;
#endif
}

LH_ANNOTATE int lh_annotated_once_at(lh_arena *arena, uint64_t offset,
				     const struct lh_once_options *options, lh_once *ret_once)
{
	const int result = lh_once_at(arena, offset, options, ret_once);

	if (result == 0)
		lh_annotate_overlook(ret_once->private_[1], lh_once_footprint(options));
	return result;
}

/* Private: an initialiser, and what is told when it has run. */
struct lh_annotate_init {
	int (*init)(void *data, void *context);
	void *context;
	uint64_t object;
};

LH_ANNOTATE int lh_annotate_run(void *data, void *context)
{
	const struct lh_annotate_init *call = (const struct lh_annotate_init *)context;
	int result;

	lh_annotate_resume(call->object);
	result = call->init(data, call->context);
	lh_annotate_before(call->object);
	lh_annotate_pause(call->object);
	return result;
}

LH_NODISCARD LH_ANNOTATE int lh_annotated_once_call(const lh_once *once, lh_lease *lease,
						    int (*init)(void *data, void *context),
						    void *context, lh_deadline deadline)
{
	struct lh_annotate_init call;
	int result;

	call.init = init;
	call.context = context;
	call.object = LH_ANNOTATE_OBJECT(once);
	lh_annotate_pause(call.object);
	result = lh_once_call(once, lease, init ? lh_annotate_run : init, &call, deadline);
	lh_annotate_resume(call.object);
	return lh_annotate_taken(result, call.object, 0);
}

LH_ANNOTATE bool lh_annotated_once_done(const lh_once *once)
{
	const bool done = lh_once_done(once);

	if (done)
		lh_annotate_after(LH_ANNOTATE_OBJECT(once));
	return done;
}

LH_ANNOTATE const void *lh_annotated_once_data(const lh_once *once)
{
	const void *data = lh_once_data(once);

	if (data)
		lh_annotate_after(LH_ANNOTATE_OBJECT(once));
	return data;
}

#define lh_once_at(...) lh_annotated_once_at(__VA_ARGS__)
#define lh_once_call(...) lh_annotated_once_call(__VA_ARGS__)
#define lh_once_done(...) lh_annotated_once_done(__VA_ARGS__)
#define lh_once_data(...) lh_annotated_once_data(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_CELL) && !defined(LH_ANNOTATES_CELL)
#define LH_ANNOTATES_CELL

LH_NODISCARD LH_ANNOTATE int lh_annotated_cell_begin(const lh_cell *cell, lh_lease *lease,
						     lh_deadline deadline, void **ret_draft,
						     lh_grant *ret_grant)
{
	return lh_annotate_taken(lh_cell_begin(cell, lease, deadline, ret_draft, ret_grant),
				 LH_ANNOTATE_OBJECT(cell), LH_ANNOTATE_ARENA(cell));
}

LH_ANNOTATE int lh_annotated_cell_commit(const lh_cell *cell, lh_lease *lease)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(cell));
	return lh_cell_commit(cell, lease);
}

LH_ANNOTATE int lh_annotated_cell_abort(const lh_cell *cell, lh_lease *lease)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(cell));
	return lh_cell_abort(cell, lease);
}

LH_ANNOTATE int lh_annotated_cell_read(const lh_cell *cell, void *buffer, uint64_t *ret_version)
{
	return lh_annotate_taken(lh_cell_read(cell, buffer, ret_version), LH_ANNOTATE_OBJECT(cell),
				 0);
}

#define lh_cell_begin(...) lh_annotated_cell_begin(__VA_ARGS__)
#define lh_cell_commit(...) lh_annotated_cell_commit(__VA_ARGS__)
#define lh_cell_abort(...) lh_annotated_cell_abort(__VA_ARGS__)
#define lh_cell_read(...) lh_annotated_cell_read(__VA_ARGS__)
#endif

#if defined(LH_DECLARED_WATCH) && !defined(LH_ANNOTATES_WATCH)
#define LH_ANNOTATES_WATCH

LH_ANNOTATE int lh_annotated_watch_claim(const lh_watch *watch, lh_lease *lease)
{
	return lh_annotate_taken(lh_watch_claim(watch, lease), LH_ANNOTATE_OBJECT(watch),
				 LH_ANNOTATE_ARENA(watch));
}

/* It may claim as well. */
LH_ANNOTATE int lh_annotated_watch_send(const lh_watch *watch, lh_lease *lease, const void *value,
					size_t size)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(watch));
	return lh_annotate_taken(lh_watch_send(watch, lease, value, size),
				 LH_ANNOTATE_OBJECT(watch), LH_ANNOTATE_ARENA(watch));
}

LH_ANNOTATE int lh_annotated_watch_close(const lh_watch *watch, lh_lease *lease)
{
	lh_annotate_let_go(lease, LH_ANNOTATE_OBJECT(watch));
	return lh_watch_close(watch, lease);
}

LH_ANNOTATE int lh_annotated_watch_read(lh_watch_receiver *receiver, void *buffer, size_t capacity,
					size_t *ret_size, uint64_t *ret_version)
{
	return lh_annotate_taken(lh_watch_read(receiver, buffer, capacity, ret_size, ret_version),
				 LH_ANNOTATE_OBJECT(receiver), 0);
}

/* That there is a value, and that there will be none, tells of what the sender did. */
LH_ANNOTATE int lh_annotated_watch_changed(lh_watch_receiver *receiver, lh_deadline deadline)
{
	const int result = lh_watch_changed(receiver, deadline);

	(void)lh_annotate_taken(result == -EPIPE ? 0 : result, LH_ANNOTATE_OBJECT(receiver),
				LH_ANNOTATE_ARENA(receiver));
	return result;
}

#define lh_watch_claim(...) lh_annotated_watch_claim(__VA_ARGS__)
#define lh_watch_send(...) lh_annotated_watch_send(__VA_ARGS__)
#define lh_watch_close(...) lh_annotated_watch_close(__VA_ARGS__)
#define lh_watch_read(...) lh_annotated_watch_read(__VA_ARGS__)
#define lh_watch_changed(...) lh_annotated_watch_changed(__VA_ARGS__)
#endif

LH_END_DECLS
#endif
