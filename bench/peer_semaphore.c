// SPDX-License-Identifier: Apache-2.0
//
// peer_semaphore.c: semaphores of one permit, so that they can be compared as locks: sem_t, lh_semaphore
// under a lease without TTL, by call and inlined, and with one, and a System V semaphore with SEM_UNDO.
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <unistd.h>

#include <leasehold/inline.h>

#include "peer_loops.h"

#define SIZE ((size_t)1 << 20) // as large as an arena: peer_pthread.c says why
#define TTL LH_SEC(3600)

struct shared {
	sem_t semaphore __attribute__((aligned(64)));
	volatile uint64_t words[PEER_WORDS] __attribute__((aligned(64)));
};

static const struct lh_semaphore_options options = { .permits = 1, .name = "bench" };

static void check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

static struct shared *map(struct lock *lock, int flags)
{
	const int file = shm_open(lock->object_name, O_RDWR | O_CLOEXEC | flags, 0600);

	if (file < 0 || (flags && ftruncate(file, SIZE) != 0))
		process_die_errno(errno, lock->object_name);
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		process_die_errno(errno, "mmap");
	close(file);
	return memory;
}

static void destroy(struct lock *lock)
{
	scratch_unlink(lock->object_name);
}

// ---- sem_t ---------------------------------------------------------------------------------------
static void create_posix(struct lock *lock)
{
	scratch_name(lock->object_name);
	struct shared *shared = map(lock, O_CREAT | O_EXCL);
	if (sem_init(&shared->semaphore, 1, 1) != 0)
		process_die_errno(errno, "sem_init");
	munmap(shared, SIZE);
}

static void attach_shared(struct lock *lock)
{
	lock->shared = map(lock, 0);
	lock->words = lock->shared->words;
}

static void detach_shared(struct lock *lock)
{
	munmap(lock->shared, SIZE);
}

static inline int enter_posix(struct lock *lock)
{
	if (__builtin_expect(sem_wait(&lock->shared->semaphore) != 0, 0))
		process_die_errno(errno, "sem_wait");
	return 0;
}

static inline void leave_posix(struct lock *lock)
{
	if (__builtin_expect(sem_post(&lock->shared->semaphore) != 0, 0))
		process_die_errno(errno, "sem_post");
}

PEER_LOOPS(posix, enter_posix, leave_posix)

const struct peer peer_posix_semaphore = {
	.name = "sem_t",
	.about = "sem_t, process-shared",
	.create = create_posix,
	.destroy = destroy,
	.attach = attach_shared,
	.detach = detach_shared,
	.lock = enter_posix,
	.unlock = leave_posix,
	.pairs = posix_pairs,
	.contend = posix_contend,
	.contend_timed = posix_contend_timed,
};

// ---- System V ------------------------------------------------------------------------------------
static void create_undo(struct lock *lock)
{
	create_posix(lock); // for the words
	lock->undo = semget(IPC_PRIVATE, 1, 0600);
	if (lock->undo < 0 || semctl(lock->undo, 0, SETVAL, 1) != 0)
		process_die_errno(errno, "semget");
}

static void destroy_undo(struct lock *lock)
{
	semctl(lock->undo, 0, IPC_RMID);
	destroy(lock);
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
	.ends_with_holder = true,
	.silent = true,
	.create = create_undo,
	.destroy = destroy_undo,
	.attach = attach_shared,
	.detach = detach_shared,
	.lock = enter_undo,
	.unlock = leave_undo,
	.pairs = undo_pairs,
	.contend = undo_contend,
	.contend_timed = undo_contend_timed,
};

// ---- lh_semaphore --------------------------------------------------------------------------------
static void place(struct lock *lock, int flags)
{
	uint64_t offset;

	check(lh_arena_open(lock->object_name, flags, NULL, &lock->arena), "lh_arena_open");
	check(lh_semaphore_at(lock->arena, LH_ANYWHERE, &options, &lock->permits),
	      "lh_semaphore_at");
	check(lh_region_at(lock->arena, LH_ANYWHERE, 64, "words", &offset), "lh_region_at");
	lock->words = lh_arena_range(lock->arena, offset, PEER_WORDS * sizeof(uint64_t));
}

static void make_arena(void *context)
{
	struct lock *lock = context;

	place(lock, LH_CREATE | LH_EXCL);
	check(lh_arena_close(lock->arena), "lh_arena_close");
}

static void create_lease(struct lock *lock)
{
	scratch_name(lock->object_name);
	process_run(make_arena, lock);
}

static void attach_lease(struct lock *lock)
{
	place(lock, 0);
	check(lh_lease_acquire(lock->arena, NULL, &lock->lease), "lh_lease_acquire");
}

static void attach_ttl(struct lock *lock)
{
	place(lock, 0);
	check(lh_lease_acquire(lock->arena, &(struct lh_lease_options){ .ttl_ns = TTL },
			       &lock->lease),
	      "lh_lease_acquire");
}

static void detach_lease(struct lock *lock)
{
	check(lh_lease_release(lock->lease), "lh_lease_release");
	check(lh_arena_close(lock->arena), "lh_arena_close");
}

LOOP int acquire_with(struct lock *lock, bool inlined)
{
	const int error = inlined ? lh_inline_semaphore_acquire(&lock->permits, lock->lease, 1,
								LH_FOREVER)
				  : lh_semaphore_acquire(&lock->permits, lock->lease, 1,
							 LH_FOREVER);

	if (__builtin_expect(error != 0, 0))
		check(error, "lh_semaphore_acquire");
	return 0;
}

LOOP void release_with(struct lock *lock, bool inlined)
{
	const int error = inlined ? lh_inline_semaphore_release(&lock->permits, lock->lease, 1)
				  : lh_semaphore_release(&lock->permits, lock->lease, 1);

	if (__builtin_expect(error != 0, 0))
		check(error, "lh_semaphore_release");
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
	.ends_with_holder = true, .silent = true, .create = create_lease, .destroy = destroy,      \
	.detach = detach_lease
#define LEASE_CALLS                                                                                \
	LEASE_PEER, .lock = enter_lease, .unlock = leave_lease, .pairs = lease_pairs,              \
		    .contend = lease_contend, .contend_timed = lease_contend_timed

const struct peer peer_lease_semaphore = {
	.name = "leasehold",
	.about = "lh_semaphore, lease without TTL",
	.attach = attach_lease,
	LEASE_CALLS,
};

const struct peer peer_lease_semaphore_ttl = {
	.name = "leasehold-ttl",
	.about = "lh_semaphore, lease with a TTL",
	.attach = attach_ttl,
	LEASE_CALLS,
};

const struct peer peer_lease_semaphore_inlined = {
	.name = "leasehold-inline",
	.about = "lh_semaphore, lease without TTL, by lh_inline_semaphore_acquire and _release",
	.attach = attach_lease,
	LEASE_PEER,
	.lock = enter_inlined,
	.unlock = leave_inlined,
	.pairs = inlined_pairs,
	.contend = inlined_contend,
	.contend_timed = inlined_contend_timed,
};
