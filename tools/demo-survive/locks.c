// SPDX-License-Identifier: Apache-2.0
//
// locks.c: the four locks, each used as its manual says.
#include "survive.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int robust_lock(struct contender *contender, bool *ret_owner_died)
{
	const int error = pthread_mutex_lock(&contender->shared->robust);

	*ret_owner_died = error == EOWNERDEAD;
	return *ret_owner_died ? pthread_mutex_consistent(&contender->shared->robust) : error;
}

static int robust_unlock(struct contender *contender)
{
	return pthread_mutex_unlock(&contender->shared->robust);
}

static int semaphore_lock(struct contender *contender, bool *ret_owner_died)
{
	*ret_owner_died = false;
	return sem_wait(&contender->shared->semaphore) == 0 ? 0 : errno;
}

static int semaphore_unlock(struct contender *contender)
{
	return sem_post(&contender->shared->semaphore) == 0 ? 0 : errno;
}

static int rwlock_lock(struct contender *contender, bool *ret_owner_died)
{
	*ret_owner_died = false;
	return pthread_rwlock_wrlock(&contender->shared->rwlock);
}

static int rwlock_unlock(struct contender *contender)
{
	return pthread_rwlock_unlock(&contender->shared->rwlock);
}

static int leasehold_lock(struct contender *contender, bool *ret_owner_died)
{
	lh_grant grant;
	const int error = lh_mutex_lock(&contender->mutex, contender->lease, LH_FOREVER, &grant);

	if (error)
		return error;
	*ret_owner_died = grant.flags & LH_GRANT_OWNER_DIED;
	return *ret_owner_died ? lh_mutex_consistent(&contender->mutex, contender->lease) : 0;
}

static int leasehold_unlock(struct contender *contender)
{
	return lh_mutex_unlock(&contender->mutex, contender->lease);
}

const struct lock_kind lock_kinds[LANES] = {
	{ "pthread robust mutex", robust_lock, robust_unlock },
	{ "sem_t", semaphore_lock, semaphore_unlock },
	{ "pthread_rwlock", rwlock_lock, rwlock_unlock },
	[LEASEHOLD_LANE] = { "Leasehold mutex", leasehold_lock, leasehold_unlock },
};

// Those of the C library. Leasehold's mutex lies in its arena.
bool create_locks(struct shared *shared)
{
	pthread_mutexattr_t mutex_attributes;
	pthread_rwlockattr_t rwlock_attributes;
	int error = pthread_mutexattr_init(&mutex_attributes);

	if (!error)
		error = pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED);
	if (!error)
		error = pthread_mutexattr_setrobust(&mutex_attributes, PTHREAD_MUTEX_ROBUST);
	if (!error)
		error = pthread_mutex_init(&shared->robust, &mutex_attributes);
	if (!error && sem_init(&shared->semaphore, 1, 1) != 0)
		error = errno;
	if (!error)
		error = pthread_rwlockattr_init(&rwlock_attributes);
	if (!error)
		error = pthread_rwlockattr_setpshared(&rwlock_attributes, PTHREAD_PROCESS_SHARED);
	if (!error)
		error = pthread_rwlock_init(&shared->rwlock, &rwlock_attributes);
	if (error)
		fprintf(stderr, "demo-survive: cannot make the locks: %s\n", strerror(error));
	return !error;
}
