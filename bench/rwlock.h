// SPDX-License-Identifier: Apache-2.0
//
// rwlock.h: the cases of `lease-bench rwlock`, each in the file named, and the locks they all take.
#ifndef BENCH_RWLOCK_H
#define BENCH_RWLOCK_H

#include <pthread.h>

#include <leasehold/inline.h>
#include <leasehold/leasehold.h>

#include "bench.h"
#include "process.h"
#include "scratch.h"

// rwlock.c
void rwlock_read(struct run *run, const struct bench_case *self, double seconds);
void rwlock_write(struct run *run, const struct bench_case *self, double seconds);
// rwlock_contended.c
void rwlock_readers(struct run *run, const struct bench_case *self, double seconds);
void rwlock_mix(struct run *run, const struct bench_case *self, double seconds);
// rwlock_kill.c
void rwlock_kill(struct run *run, const struct bench_case *self, double seconds);

// rwlock_recovers.c
void rwlock_recovers(struct run *run, const struct bench_case *self, double seconds);

// ---- rwlock.c: the locks
#define MANY_LEASES 500

enum { PLAIN, LEASE, INLINED, SHARABLE, KINDS };
extern const char *const locks_names[KINDS];

// Boost.Interprocess's interprocess_sharable_mutex, in a page of shared memory:
// rwlock_sharable.cpp, built if its header is there (LEASE_BENCH_BOOST).
#ifdef LEASE_BENCH_BOOST
void sharable_create(void *at, size_t size);
void sharable_lock(void *at, bool writes);
void sharable_unlock(void *at, bool writes);
#endif

// All locks, as one process sees them.
struct locks {
	pthread_rwlock_t *plain;
	void *sharable;
	char object_name[SCRATCH_NAME];
	lh_arena *arena;
	lh_lease *lease;
	lh_lease *further[MANY_LEASES];
	size_t further_count;
	lh_rwlock handle;
};

void locks_create(struct locks *locks);
void locks_destroy(struct locks *locks);
// In each process that measures. Of the further leases each has read once if `read`.
void locks_attach(struct locks *locks, size_t further, bool read);
void locks_detach(struct locks *locks);
// Ends the process if `error` is one.
void locks_check(int error, const char *what);

// ---- one lock call and its unlock
#define INLINE static inline __attribute__((always_inline))

INLINE void locks_enter(struct locks *locks, int kind, bool writes)
{
	lh_grant grant;
	int error = 0;

	if (kind == PLAIN)
		error = writes ? pthread_rwlock_wrlock(locks->plain)
			       : pthread_rwlock_rdlock(locks->plain);
#ifdef LEASE_BENCH_BOOST
	else if (kind == SHARABLE)
		sharable_lock(locks->sharable, writes);
#endif
	else if (writes)
		error = lh_rwlock_write_lock(&locks->handle, locks->lease, LH_FOREVER, &grant);
	else if (kind == INLINED)
		error = lh_inline_rwlock_read_lock(&locks->handle, locks->lease, LH_FOREVER,
						   &grant);
	else
		error = lh_rwlock_read_lock(&locks->handle, locks->lease, LH_FOREVER, &grant);
	if (__builtin_expect(error != 0 || ((kind == LEASE || kind == INLINED) && grant.flags), 0))
		process_die("%s: lock: %d", locks_names[kind], error);
}

INLINE void locks_leave(struct locks *locks, int kind, bool writes)
{
	int error = 0;

	(void)writes;
	if (kind == PLAIN)
		error = pthread_rwlock_unlock(locks->plain);
#ifdef LEASE_BENCH_BOOST
	else if (kind == SHARABLE)
		sharable_unlock(locks->sharable, writes);
#endif
	else if (kind == INLINED)
		error = lh_inline_rwlock_unlock(&locks->handle, locks->lease);
	else
		error = lh_rwlock_unlock(&locks->handle, locks->lease);
	if (__builtin_expect(error != 0, 0))
		process_die("%s: unlock: %d", locks_names[kind], error);
}

#endif
