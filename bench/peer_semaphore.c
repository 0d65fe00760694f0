// SPDX-License-Identifier: Apache-2.0
//
// peer_semaphore.c: semaphores of one permit, so that they can be compared as locks: sem_t,
// lh_semaphore under a lease without TTL, by call and inlined, and with one, and a System V
// semaphore with SEM_UNDO.
#include <errno.h>
#include <semaphore.h>
#include <sys/sem.h>

#include <leasehold/inline.h>

#include "peer_loops.h"

#define TTL LH_SEC(3600)

static const struct lh_semaphore_options options = { .permits = 1, .name = "bench" };

_Static_assert(sizeof(sem_t) <= PEER_LINE, "the words begin one line after the semaphore");

static inline sem_t *semaphore_in(struct peer_area *area)
{
	return (sem_t *)area->lock;
}

// ---- sem_t ---------------------------------------------------------------------------------------
static void create_posix(struct lock *lock)
{
	struct peer_area *area = peer_area_create(lock);

	if (sem_init(semaphore_in(area), 1, 1) != 0)
		process_die_errno(errno, "sem_init");
	peer_area_unmap(area);
}

static inline int enter_posix(struct lock *lock)
{
	if (__builtin_expect(sem_wait(semaphore_in(lock->area)) != 0, 0))
		process_die_errno(errno, "sem_wait");
	return 0;
}

static inline void leave_posix(struct lock *lock)
{
	if (__builtin_expect(sem_post(semaphore_in(lock->area)) != 0, 0))
		process_die_errno(errno, "sem_post");
}

PEER_LOOPS(posix, enter_posix, leave_posix)

const struct peer peer_posix_semaphore = {
	.name = "sem_t",
	.about = "sem_t, process-shared",
	.create = create_posix,
	.destroy = peer_area_destroy,
	.attach = peer_area_attach,
	.detach = peer_area_detach,
	.lock = enter_posix,
	.unlock = leave_posix,
	.pairs = posix_pairs,
	.contend = posix_contend,
	.contend_timed = posix_contend_timed,
};

// ---- System V ------------------------------------------------------------------------------------
static void create_undo(struct lock *lock)
{
	peer_area_unmap(peer_area_create(lock)); // for the words
	lock->undo = semget(IPC_PRIVATE, 1, 0600);
	if (lock->undo < 0 || semctl(lock->undo, 0, SETVAL, 1) != 0)
		process_die_errno(errno, "semget");
}

static void destroy_undo(struct lock *lock)
{
	semctl(lock->undo, 0, IPC_RMID);
	peer_area_destroy(lock);
}

static inline void change(struct lock *lock, short by)
{
	struct sembuf operation = { .sem_op = by, .sem_flg = SEM_UNDO };

	if (__builtin_expect(semop(lock->undo, &operation, 1) != 0, 0))
		process_die_errno(errno, "semop");
}

static inline int enter_undo(struct lock *lock)
{
	change(lock, -1);
	return 0;
}

static inline void leave_undo(struct lock *lock)
{
	change(lock, 1);
}

PEER_LOOPS(undo, enter_undo, leave_undo)

const struct peer peer_undo_semaphore = {
	.name = "semop-undo",
	.about = "System V semaphore, SEM_UNDO",
	.silent = true,
	.create = create_undo,
	.destroy = destroy_undo,
	.attach = peer_area_attach,
	.detach = peer_area_detach,
	.lock = enter_undo,
	.unlock = leave_undo,
	.pairs = undo_pairs,
	.contend = undo_contend,
	.contend_timed = undo_contend_timed,
};

// ---- lh_semaphore --------------------------------------------------------------------------------
static void place(struct lock *lock)
{
	uint64_t offset;

	peer_check(lh_semaphore_at(lock->arena, LH_ANYWHERE, &options, &lock->permits),
		   "lh_semaphore_at");
	peer_check(lh_region_at(lock->arena, LH_ANYWHERE, PEER_LINE, "words", &offset),
		   "lh_region_at");
	lock->words = lh_arena_range(lock->arena, offset, PEER_WORDS * sizeof(uint64_t));
}

LOOP int acquire_with(struct lock *lock, bool inlined)
{
	const int error = inlined ? lh_inline_semaphore_acquire(&lock->permits, lock->lease, 1,
								LH_FOREVER)
				  : lh_semaphore_acquire(&lock->permits, lock->lease, 1,
							 LH_FOREVER);

	if (__builtin_expect(error != 0, 0))
		peer_check(error, "lh_semaphore_acquire");
	return 0;
}

LOOP void release_with(struct lock *lock, bool inlined)
{
	const int error = inlined ? lh_inline_semaphore_release(&lock->permits, lock->lease, 1)
				  : lh_semaphore_release(&lock->permits, lock->lease, 1);

	if (__builtin_expect(error != 0, 0))
		peer_check(error, "lh_semaphore_release");
}

LOOP int enter_lease(struct lock *lock)
{
	return acquire_with(lock, false);
}

LOOP void leave_lease(struct lock *lock)
{
	release_with(lock, false);
}

LOOP int enter_inlined(struct lock *lock)
{
	return acquire_with(lock, true);
}

LOOP void leave_inlined(struct lock *lock)
{
	release_with(lock, true);
}

PEER_LOOPS(lease, enter_lease, leave_lease)
PEER_LOOPS(inlined, enter_inlined, leave_inlined)

#define LEASE_PEER                                                                                 \
	.silent = true, .crowded = true, .place = place, .create = peer_arena_create,              \
	.destroy = peer_arena_destroy, .attach = peer_arena_attach, .detach = peer_arena_detach
#define LEASE_CALLS                                                                                \
	LEASE_PEER, .lock = enter_lease, .unlock = leave_lease, .pairs = lease_pairs,              \
		    .contend = lease_contend, .contend_timed = lease_contend_timed

const struct peer peer_lease_semaphore = {
	.name = "leasehold",
	.about = "lh_semaphore, lease without TTL",
	LEASE_CALLS,
};

const struct peer peer_lease_semaphore_ttl = {
	.name = "leasehold-ttl",
	.about = "lh_semaphore, lease with a TTL",
	.ttl_ns = TTL,
	LEASE_CALLS,
};

const struct peer peer_lease_semaphore_inlined = {
	.name = "leasehold-inline",
	.about = "lh_semaphore, lease without TTL, by lh_inline_semaphore_acquire and _release",
	LEASE_PEER,
	.lock = enter_inlined,
	.unlock = leave_inlined,
	.pairs = inlined_pairs,
	.contend = inlined_contend,
	.contend_timed = inlined_contend_timed,
};
