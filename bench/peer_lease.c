// SPDX-License-Identifier: Apache-2.0
//
// peer_lease.c: lh_mutex under a lease without TTL, by call and inlined, and under one with a TTL.
#include <leasehold/inline.h>

#include "peer_loops.h"

// Long enough never to be renewed while a case runs; what is compared is the path that can expire.
#define TTL LH_SEC(3600)

static const struct lh_mutex_options options = {
	.data_size = PEER_WORDS * sizeof(uint64_t),
	.name = "bench",
};

static void place(struct lock *lock)
{
	peer_check(lh_mutex_at(lock->arena, LH_ANYWHERE, &options, &lock->handle), "lh_mutex_at");
	lock->words = lh_mutex_data(&lock->handle);
}

static __attribute__((noinline, cold)) int told(struct lock *lock, int error)
{
	peer_check(error, "lh_mutex_lock");
	peer_check(lh_mutex_consistent(&lock->handle, lock->lease), "lh_mutex_consistent");
	return PEER_OWNER_DIED;
}

// The grant is asked for, as by a program that would repair what a dead holder left; a robust
// pthread mutex tells the same by EOWNERDEAD.
LOOP int lock_with(struct lock *lock, bool inlined)
{
	lh_grant grant;
	const int error = inlined ? lh_inline_mutex_lock(&lock->handle, lock->lease, LH_FOREVER,
							 &grant)
				  : lh_mutex_lock(&lock->handle, lock->lease, LH_FOREVER, &grant);

	if (__builtin_expect(error == 0 && !(grant.flags & LH_GRANT_OWNER_DIED), 1))
		return 0;
	return told(lock, error);
}

LOOP void unlock_with(struct lock *lock, bool inlined)
{
	const int error = inlined ? lh_inline_mutex_unlock(&lock->handle, lock->lease)
				  : lh_mutex_unlock(&lock->handle, lock->lease);

	if (__builtin_expect(error != 0, 0))
		peer_check(error, "lh_mutex_unlock");
}

LOOP int enter(struct lock *lock)
{
	return lock_with(lock, false);
}

LOOP void leave(struct lock *lock)
{
	unlock_with(lock, false);
}

LOOP int enter_inlined(struct lock *lock)
{
	return lock_with(lock, true);
}

LOOP void leave_inlined(struct lock *lock)
{
	unlock_with(lock, true);
}

PEER_LOOPS(lease, enter, leave)
PEER_LOOPS(inlined, enter_inlined, leave_inlined)

#define LEASE_PEER                                                                                 \
	.place = place, .create = peer_arena_create, .destroy = peer_arena_destroy,                \
	.attach = peer_arena_attach, .detach = peer_arena_detach
#define LEASE_CALLS                                                                                \
	LEASE_PEER, .lock = enter, .unlock = leave, .pairs = lease_pairs,                          \
		    .contend = lease_contend, .contend_timed = lease_contend_timed

const struct peer peer_lease = {
	.name = "leasehold",
	.about = "lh_mutex, lease without TTL",
	LEASE_CALLS,
};

const struct peer peer_lease_ttl = {
	.name = "leasehold-ttl",
	.about = "lh_mutex, lease with a TTL",
	.ttl_ns = TTL,
	LEASE_CALLS,
};

const struct peer peer_lease_inlined = {
	.name = "leasehold-inline",
	.about = "lh_mutex, lease without TTL, by lh_inline_mutex_lock and _unlock",
	LEASE_PEER,
	.lock = enter_inlined,
	.unlock = leave_inlined,
	.pairs = inlined_pairs,
	.contend = inlined_contend,
	.contend_timed = inlined_contend_timed,
};
