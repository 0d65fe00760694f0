// SPDX-License-Identifier: Apache-2.0
//
// peer_file.c: locks of a file: flock(2), and fcntl(2)'s of an open file description. Each process
// opens the file itself, as the locks belong to what was opened; it lies in memory, where no disk
// slows them.
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer_loops.h"

static void create(struct lock *lock)
{
	peer_area_unmap(peer_area_create(lock));
}

static void attach(struct lock *lock)
{
	peer_area_attach(lock);
	lock->file = shm_open(lock->object_name, O_RDWR | O_CLOEXEC, 0);
	if (lock->file < 0)
		process_die_errno(errno, lock->object_name);
}

static void detach(struct lock *lock)
{
	close(lock->file);
	peer_area_detach(lock);
}

LOOP void change_flock(struct lock *lock, int operation)
{
	if (__builtin_expect(flock(lock->file, operation) != 0, 0))
		process_die_errno(errno, "flock");
}

static inline int enter_flock(struct lock *lock)
{
	change_flock(lock, LOCK_EX);
	return 0;
}

static inline void leave_flock(struct lock *lock)
{
	change_flock(lock, LOCK_UN);
}

LOOP void change_ofd(struct lock *lock, short type)
{
	struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_len = 1 };

	if (__builtin_expect(fcntl(lock->file, F_OFD_SETLKW, &range) != 0, 0))
		process_die_errno(errno, "fcntl");
}

static inline int enter_ofd(struct lock *lock)
{
	change_ofd(lock, F_WRLCK);
	return 0;
}

static inline void leave_ofd(struct lock *lock)
{
	change_ofd(lock, F_UNLCK);
}

PEER_LOOPS(flock, enter_flock, leave_flock)
PEER_LOOPS(ofd, enter_ofd, leave_ofd)

#define FILE_PEER                                                                                  \
	.silent = true, .create = create, .destroy = peer_area_destroy, .attach = attach,          \
	.detach = detach

const struct peer peer_flock = {
	.name = "flock",
	.about = "flock(2)",
	FILE_PEER,
	.lock = enter_flock,
	.unlock = leave_flock,
	.pairs = flock_pairs,
	.contend = flock_contend,
	.contend_timed = flock_contend_timed,
};

const struct peer peer_ofd = {
	.name = "fcntl-ofd",
	.about = "fcntl(2), F_OFD_SETLKW",
	FILE_PEER,
	.lock = enter_ofd,
	.unlock = leave_ofd,
	.pairs = ofd_pairs,
	.contend = ofd_contend,
	.contend_timed = ofd_contend_timed,
};
