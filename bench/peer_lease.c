// SPDX-License-Identifier: Apache-2.0
//
// peer_lease.c: lh_mutex under a lease without TTL, by call and inlined, and under one with a TTL. Each
// process opens the arena by its name and acquires its own lease, as programs do that know nothing of
// each other.
#include <leasehold/inline.h>

#include "peer_loops.h"

// Long enough never to be renewed while a case runs; what is compared is the path that can expire.
#define TTL LH_SEC(3600)

static const struct lh_mutex_options options = {
	.data_size = PEER_WORDS * sizeof(uint64_t),
	.name = "bench",
};

static void check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

static void make_arena(void *context)
{
	struct lock *lock = context;

	check(lh_arena_open(lock->object_name, LH_CREATE | LH_EXCL, NULL, &lock->arena),
	      "lh_arena_open");
	check(lh_mutex_at(lock->arena, LH_ANYWHERE, &options, &lock->handle), "lh_mutex_at");
	check(lh_arena_close(lock->arena), "lh_arena_close");
}

static void create(struct lock *lock)
{
	scratch_name(lock->object_name);
	process_run(make_arena, lock);
}

static void destroy(struct lock *lock)
{
	scratch_unlink(lock->object_name);
}

static void attach(struct lock *lock, const struct lh_lease_options *lease_options)
{
	check(lh_arena_open(lock->object_name, 0, NULL, &lock->arena), "lh_arena_open");
	check(lh_mutex_at(lock->arena, LH_ANYWHERE, &options, &lock->handle), "lh_mutex_at");
	check(lh_lease_acquire(lock->arena, lease_options, &lock->lease), "lh_lease_acquire");
	lock->words = lh_mutex_data(&lock->handle);
}

static void attach_without_ttl(struct lock *lock)
{
	attach(lock, NULL);
}

static void attach_with_ttl(struct lock *lock)
{
	const struct lh_lease_options lease_options = { .ttl_ns = TTL };

	attach(lock, &lease_options);
}

static void detach(struct lock *lock)
{
	check(lh_lease_release(lock->lease), "lh_lease_release");
	check(lh_arena_close(lock->arena), "lh_arena_close");
}

static __attribute__((noinline, cold)) int told(struct lock *lock, int error)
{
	check(error, "lh_mutex_lock");
	check(lh_mutex_consistent(&lock->handle, lock->lease), "lh_mutex_consistent");
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
		check(error, "lh_mutex_unlock");
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

#define LEASE_PEER .ends_with_holder = true, .create = create, .destroy = destroy, .detach = detach
#define LEASE_CALLS                                                                                \
	LEASE_PEER, .lock = enter, .unlock = leave, .pairs = lease_pairs,                          \
		    .contend = lease_contend, .contend_timed = lease_contend_timed

const struct peer peer_lease = {
	.name = "leasehold",
	.about = "lh_mutex, lease without TTL",
	.attach = attach_without_ttl,
	LEASE_CALLS,
};

const struct peer peer_lease_ttl = {
	.name = "leasehold-ttl",
	.about = "lh_mutex, lease with a TTL",
	.attach = attach_with_ttl,
	LEASE_CALLS,
};

const struct peer peer_lease_inlined = {
	.name = "leasehold-inline",
	.about = "lh_mutex, lease without TTL, by lh_inline_mutex_lock and _unlock",
	.attach = attach_without_ttl,
	LEASE_PEER,
	.lock = enter_inlined,
	.unlock = leave_inlined,
	.pairs = inlined_pairs,
	.contend = inlined_contend,
	.contend_timed = inlined_contend_timed,
};
