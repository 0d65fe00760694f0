// SPDX-License-Identifier: Apache-2.0
//
// peer_pthread.c: process-shared pthread mutexes: plain, robust, robust with priority inheritance.
// They lie in a POSIX shared memory object as large as an arena, which each process opens itself:
// how memory is mapped shows in how long a process takes to die.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer_loops.h"

#define CACHE_LINE 64
#define SIZE ((size_t)1 << 20)

struct shared {
	pthread_mutex_t mutex;
	// As in an arena: what the lock protects is in the next cache line.
	volatile uint64_t words[PEER_WORDS] __attribute__((aligned(CACHE_LINE)));
};

_Static_assert(sizeof(pthread_mutex_t) <= CACHE_LINE, "the words begin one line after the mutex");

// Maps the object as lh_arena_open maps an arena.
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

static void create(struct lock *lock, int robustness, int protocol)
{
	pthread_mutexattr_t attributes;

	scratch_name(lock->object_name);
	struct shared *shared = map(lock, O_CREAT | O_EXCL);
	pthread_mutexattr_init(&attributes);
	int error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (!error)
		error = pthread_mutexattr_setrobust(&attributes, robustness);
	if (!error)
		error = pthread_mutexattr_setprotocol(&attributes, protocol);
	if (!error)
		error = pthread_mutex_init(&shared->mutex, &attributes);
	if (error)
		process_die_errno(error, "pthread_mutex_init");
	pthread_mutexattr_destroy(&attributes);
	munmap(shared, SIZE);
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

static void destroy(struct lock *lock)
{
	scratch_unlink(lock->object_name);
}

static void attach(struct lock *lock)
{
	struct shared *shared = map(lock, 0);

	lock->mutex = &shared->mutex;
	lock->words = shared->words;
}

static void detach(struct lock *lock)
{
	munmap(lock->mutex, SIZE);
}

static __attribute__((noinline, cold)) int told(struct lock *lock, int error)
{
	if (error == EOWNERDEAD)
		error = pthread_mutex_consistent(lock->mutex);
	if (error)
		process_die_errno(error, "pthread_mutex_lock");
	return PEER_OWNER_DIED;
}

static inline int enter(struct lock *lock)
{
	const int error = pthread_mutex_lock(lock->mutex);

	return __builtin_expect(error == 0, 1) ? 0 : told(lock, error);
}

static inline void leave(struct lock *lock)
{
	const int error = pthread_mutex_unlock(lock->mutex);

	if (__builtin_expect(error != 0, 0))
		process_die_errno(error, "pthread_mutex_unlock");
}

PEER_LOOPS(pthread, enter, leave)

#define PTHREAD_CALLS                                                                              \
	.destroy = destroy, .attach = attach, .detach = detach, .lock = enter, .unlock = leave,    \
	.pairs = pthread_pairs, .contend = pthread_contend, .contend_timed = pthread_contend_timed

const struct peer peer_pthread_plain = {
	.name = "pthread",
	.about = "pthread_mutex_t, process-shared",
	.create = create_plain,
	PTHREAD_CALLS,
};

const struct peer peer_pthread_robust = {
	.name = "pthread-robust",
	.about = "pthread_mutex_t, process-shared and robust",
	.ends_with_holder = true,
	.create = create_robust,
	PTHREAD_CALLS,
};

const struct peer peer_pthread_robust_pi = {
	.name = "pthread-pi",
	.about = "pthread_mutex_t, process-shared, robust, with priority inheritance",
	.ends_with_holder = true,
	.create = create_robust_pi,
	PTHREAD_CALLS,
};
