// SPDX-License-Identifier: Apache-2.0
//
// rwlock_recovers.c: whether the death of a writer, or of a reader ("..., read"), lets the next
// writer in. The names are those of locks_names, whose rows tell it too.
#include <stdlib.h>

#include "recovers.h"
#include "rwlock.h"

static void create(struct lock *lock)
{
	lock->locks = calloc(1, sizeof(*lock->locks));
	if (!lock->locks)
		process_die("out of memory");
	locks_create(lock->locks);
}

static void destroy(struct lock *lock)
{
	locks_destroy(lock->locks);
	free(lock->locks);
}

static void attach(struct lock *lock)
{
	locks_attach(lock->locks, 0, false);
}

static void detach(struct lock *lock)
{
	locks_detach(lock->locks);
}

// locks_enter ends the run when it is told of a death, which is what is looked for here.
static int write_lease(struct lock *lock)
{
	struct locks *locks = lock->locks;
	lh_grant grant;

	locks_check(lh_rwlock_write_lock(&locks->handle, locks->lease, LH_FOREVER, &grant),
		    "lh_rwlock_write_lock");
	if (!(grant.flags & LH_GRANT_OWNER_DIED))
		return 0;
	locks_check(lh_rwlock_consistent(&locks->handle, locks->lease), "lh_rwlock_consistent");
	return PEER_OWNER_DIED;
}

#define CALLS(kind)                                                                                \
	static int read_##kind(struct lock *lock)                                                  \
	{                                                                                          \
		locks_enter(lock->locks, kind, false);                                             \
		return 0;                                                                          \
	}                                                                                          \
	static void leave_##kind(struct lock *lock)                                                \
	{                                                                                          \
		locks_leave(lock->locks, kind, true);                                              \
	}

CALLS(PLAIN)
CALLS(LEASE)

static int write_plain(struct lock *lock)
{
	locks_enter(lock->locks, PLAIN, true);
	return 0;
}

#define PEER(title, kind, write, how)                                                              \
	{                                                                                          \
		.name = (title), .create = create, .destroy = destroy, .attach = attach,           \
		.detach = detach, .lock = (write), .unlock = leave_##kind, .hold = (how)           \
	}

static const struct peer plain_writer = PEER("pthread_rwlock", PLAIN, write_plain, NULL);
static const struct peer plain_reader = PEER("pthread_rwlock, read", PLAIN, write_plain,
					     read_PLAIN);
static const struct peer lease_writer = PEER("lh_rwlock", LEASE, write_lease, NULL);
static const struct peer lease_reader = PEER("lh_rwlock, read", LEASE, write_lease, read_LEASE);

#ifdef LEASE_BENCH_BOOST
CALLS(SHARABLE)

static int write_sharable(struct lock *lock)
{
	locks_enter(lock->locks, SHARABLE, true);
	return 0;
}

static const struct peer sharable_writer = PEER("Boost sharable mutex", SHARABLE, write_sharable,
						NULL);
static const struct peer sharable_reader = PEER("Boost sharable mutex, read", SHARABLE,
						write_sharable, read_SHARABLE);
#endif

void rwlock_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer *const peers[] = {
		&peer_pthread_robust, &lease_writer,    &lease_reader, &plain_writer, &plain_reader,
#ifdef LEASE_BENCH_BOOST
		&sharable_writer,     &sharable_reader,
#endif
	};
	static const struct peer_set set = { .peers = peers,
					     .count = sizeof(peers) / sizeof(peers[0]) };

	compare_recovery(run, self, &set, seconds);
}
