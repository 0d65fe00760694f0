// SPDX-License-Identifier: Apache-2.0
//
// peer_pthread.c: process-shared pthread mutexes: plain, robust, robust with priority inheritance.
#include <errno.h>

#include "peer_loops.h"

_Static_assert(sizeof(pthread_mutex_t) <= PEER_LINE, "the words begin one line after the mutex");

static inline pthread_mutex_t *mutex_in(struct peer_area *area)
{
	return (pthread_mutex_t *)area->lock;
}

static void create(struct lock *lock, int robustness, int protocol)
{
	pthread_mutexattr_t attributes;

	struct peer_area *area = peer_area_create(lock);
	pthread_mutexattr_init(&attributes);
	int error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (!error)
		error = pthread_mutexattr_setrobust(&attributes, robustness);
	if (!error)
		error = pthread_mutexattr_setprotocol(&attributes, protocol);
	if (!error)
		error = pthread_mutex_init(mutex_in(area), &attributes);
	if (error)
		process_die_errno(error, "pthread_mutex_init");
	pthread_mutexattr_destroy(&attributes);
	peer_area_unmap(area);
}

static void create_plain(struct lock *lock)
{
	create(lock, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
}

static void create_robust(struct lock *lock)
{
	create(lock, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
}

static void create_robust_pi(struct lock *lock)
{
	create(lock, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT);
}

static __attribute__((noinline, cold)) int told(struct lock *lock, int error)
{
	if (error == EOWNERDEAD)
		error = pthread_mutex_consistent(mutex_in(lock->area));
	if (error)
		process_die_errno(error, "pthread_mutex_lock");
	return PEER_OWNER_DIED;
}

static inline int enter(struct lock *lock)
{
	const int error = pthread_mutex_lock(mutex_in(lock->area));

	return __builtin_expect(error == 0, 1) ? 0 : told(lock, error);
}

static inline void leave(struct lock *lock)
{
	const int error = pthread_mutex_unlock(mutex_in(lock->area));

	if (__builtin_expect(error != 0, 0))
		process_die_errno(error, "pthread_mutex_unlock");
}

PEER_LOOPS(pthread, enter, leave)

#define PTHREAD_CALLS                                                                              \
	.destroy = peer_area_destroy, .attach = peer_area_attach, .detach = peer_area_detach,      \
	.lock = enter, .unlock = leave, .pairs = pthread_pairs, .contend = pthread_contend,        \
	.contend_timed = pthread_contend_timed

const struct peer peer_pthread_plain = {
	.name = "pthread",
	.about = "pthread_mutex_t, process-shared",
	.create = create_plain,
	PTHREAD_CALLS,
};

const struct peer peer_pthread_robust = {
	.name = "pthread-robust",
	.about = "pthread_mutex_t, process-shared and robust",
	.create = create_robust,
	PTHREAD_CALLS,
};

const struct peer peer_pthread_robust_pi = {
	.name = "pthread-pi",
	.about = "pthread_mutex_t, process-shared, robust, with priority inheritance",
	.create = create_robust_pi,
	PTHREAD_CALLS,
};
