// SPDX-License-Identifier: Apache-2.0
//
// peer_key.c: a named lock: a key of an arena, and of a directory of files. Each process opens the
// set of locks itself.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "peer_loops.h"

#define KEY "key"

static void create_shm(struct lock *lock)
{
	peer_area_unmap(peer_area_create(lock)); // for the words
	scratch_name(lock->where);
}

static void destroy_shm(struct lock *lock)
{
	scratch_unlink(lock->where);
	peer_area_destroy(lock);
}

static void create_file(struct lock *lock)
{
	peer_area_unmap(peer_area_create(lock));
	snprintf(lock->where, sizeof(lock->where), "/dev/shm/lease-bench-XXXXXX");
	if (!mkdtemp(lock->where))
		process_die("no directory in /dev/shm");
}

static void destroy_file(struct lock *lock)
{
	char path[SCRATCH_NAME + sizeof(KEY) + 8];

	snprintf(path, sizeof(path), "%s/" KEY ".lock", lock->where);
	unlink(path);
	rmdir(lock->where);
	peer_area_destroy(lock);
}

static void attach(struct lock *lock, const char *scheme)
{
	char url[SCRATCH_NAME + 8];

	peer_area_attach(lock);
	snprintf(url, sizeof(url), "%s://%s", scheme, lock->where);
	peer_check(lh_locks_open(url, &lock->named), "lh_locks_open");
}

static void attach_shm(struct lock *lock)
{
	attach(lock, "shm");
}

static void attach_file(struct lock *lock)
{
	attach(lock, "file");
}

static void detach(struct lock *lock)
{
	peer_check(lh_locks_close(lock->named), "lh_locks_close");
	peer_area_detach(lock);
}

static __attribute__((noinline, cold)) int told(struct lock *lock, int error)
{
	peer_check(error, "lh_acquire");
	peer_check(lh_handle_consistent(lock->grant), "lh_handle_consistent");
	return PEER_OWNER_DIED;
}

static inline int enter(struct lock *lock)
{
	const int error = lh_acquire(lock->named, KEY, LH_FOREVER, NULL, &lock->grant);

	if (__builtin_expect(error == 0 && !(lh_handle_flags(lock->grant) & LH_GRANT_OWNER_DIED),
			     1))
		return 0;
	return told(lock, error);
}

static inline void leave(struct lock *lock)
{
	const int error = lh_handle_release(lock->grant);

	if (__builtin_expect(error != 0, 0))
		peer_check(error, "lh_handle_release");
}

PEER_LOOPS(key, enter, leave)

#define KEY_PEER                                                                                   \
	.detach = detach, .lock = enter, .unlock = leave, .pairs = key_pairs,                      \
	.contend = key_contend, .contend_timed = key_contend_timed

static const char *const also_key[] = { "10 keys", "10 of 100000 keys", "100000 keys", NULL };
static const char *const also_file[] = { "10 files", NULL };

const struct peer peer_key = {
	.name = "a key",
	.about = "lh_acquire, shm://",
	.create = create_shm,
	.destroy = destroy_shm,
	.attach = attach_shm,
	.also = also_key,
	KEY_PEER,
};

const struct peer peer_key_file = {
	.name = "a file's key",
	.about = "lh_acquire, file://",
	.create = create_file,
	.destroy = destroy_file,
	.attach = attach_file,
	.also = also_file,
	KEY_PEER,
};
