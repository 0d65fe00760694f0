// SPDX-License-Identifier: Apache-2.0
//
// Locks on bytes of a lock file, far behind its end. Where they are is part of the format.
#include "src/provider/file.h"

#include "arena/error.h"
#include "arena/sys/clock.h"
#include "arena/sys/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#define BASE (INT64_C(1) << 60)

enum byte {
	ENTRY,            // write-locked while one looks and takes: some microseconds
	WAITING,          // read-locked by all who wait
	TURN,             // write-locked by the one who is first of these
	SHARED,           // read-locked by the shared,
	INTENT_EXCLUSIVE, // by those with this intention,
	INTENT_SHARED,    // and with this; all three are write-locked by the exclusive
	PERMITS = 16,     // and from here on one for each permit, write-locked by who has it
};
#define ALL_BYTES (PERMITS + (INT64_C(1) << 32))

#define ENTRY_TRIES 64u // without sleep: of a call with LH_NOW all that there are
#define ENTRY_LOOK_NS CLOCK_NS_PER_MS
#define ENTRY_PATIENCE_NS (100 * CLOCK_NS_PER_MS) // then its holder is stopped, or has no processor

static struct flock range(short type, int64_t first, int64_t count)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = BASE + first, .l_len = count
	};
}

static int failed(const struct lock_file *file)
{
	if (errno == EAGAIN || errno == EACCES)
		return -EAGAIN;
	if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)
		return error_detail(-ENOTSUP, "%.150s: no locks of open files there", file->path);
	return lock_file_error(file, errno, "cannot be locked");
}

static int set(const struct lock_file *file, short type, int64_t first, int64_t count)
{
	struct flock lock = range(type, first, count);

	return fcntl(file->open.fd, F_OFD_SETLK, &lock) == 0 ? 0 : failed(file);
}

static void clear(const struct lock_file *file, int64_t first, int64_t count)
{
	struct flock lock = range(F_UNLCK, first, count);

	fcntl(file->open.fd, F_OFD_SETLK, &lock);
}

// 0: no other has a lock there that would keep out one of `type`.
static int see_as(const struct lock_file *file, short type, int64_t first, int64_t count)
{
	struct flock lock = range(type, first, count);

	if (fcntl(file->open.fd, F_OFD_GETLK, &lock) != 0)
		return failed(file);
	return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

// 0: no other has any lock there.
static int see(const struct lock_file *file, int64_t first, int64_t count)
{
	return see_as(file, F_WRLCK, first, count);
}

// ---------------------------------------------------------------------------------------------

int bytes_enter(const struct lock_file *file, lh_deadline deadline)
{
	uint64_t until = 0;

	for (unsigned i = 1;; i++) {
		const int error = set(file, F_WRLCK, ENTRY, 1);
		uint64_t now;

		if (error != -EAGAIN)
			return error;
		if (i < ENTRY_TRIES) {
			sched_yield();
			continue;
		}
		now = clock_now();
		if (!until)
			until = now + ENTRY_PATIENCE_NS;
		if (now >= until || now >= deadline.ns)
			return error;
		notify_sleep(NOTIFY_NONE, NULL, 0, now + ENTRY_LOOK_NS);
	}
}

void bytes_leave(const struct lock_file *file)
{
	clear(file, ENTRY, 1);
}

int bytes_take_turn(const struct lock_file *file)
{
	return set(file, F_WRLCK, TURN, 1);
}

int bytes_see_turn(const struct lock_file *file)
{
	return see(file, TURN, 1);
}

int bytes_begin_waiting(const struct lock_file *file)
{
	return set(file, F_RDLCK, WAITING, 1);
}

void bytes_end_waiting(const struct lock_file *file)
{
	clear(file, WAITING, TURN - WAITING + 1);
}

int bytes_see_waiting(const struct lock_file *file)
{
	return see(file, WAITING, 1);
}

int bytes_see_users(const struct lock_file *file)
{
	return see(file, WAITING, ALL_BYTES - WAITING);
}

void bytes_give_all_back(const struct lock_file *file)
{
	clear(file, 0, ALL_BYTES);
}

// ---------------------------------------------------------------------------------------------
// Holding

// Locks its own byte, and is kept out by any lock of another. Two such at once could keep out each
// other: so the caller has ENTRY.
static int take_beside(const struct lock_file *file, enum byte own, enum byte other)
{
	int error = set(file, F_RDLCK, own, 1);

	if (error)
		return error;
	error = see(file, other, 1);
	if (error)
		clear(file, own, 1);
	return error;
}

static int take_permit(const struct lock_file *file, struct file_claim *claim)
{
	for (uint32_t i = 0; i < claim->max_holders; i++) {
		const int error = set(file, F_WRLCK, PERMITS + (int64_t)i, 1);

		if (error != -EAGAIN) {
			claim->permit = i;
			return error;
		}
	}
	return -EAGAIN;
}

int bytes_take(const struct lock_file *file, struct file_claim *claim)
{
	switch (claim->mode) {
	case FILE_PERMITS:
		return take_permit(file, claim);
	case LH_SHARED:
		return take_beside(file, SHARED, INTENT_EXCLUSIVE);
	case LH_INTENT_EXCLUSIVE:
		return take_beside(file, INTENT_EXCLUSIVE, SHARED);
	case LH_INTENT_SHARED:
		return set(file, F_RDLCK, INTENT_SHARED, 1);
	default:
		return set(file, F_WRLCK, SHARED, INTENT_SHARED - SHARED + 1);
	}
}

void bytes_give_back(const struct lock_file *file, const struct file_claim *claim)
{
	if (claim->mode == FILE_PERMITS)
		clear(file, PERMITS + (int64_t)claim->permit, 1);
	else
		clear(file, SHARED, INTENT_SHARED - SHARED + 1);
}

int bytes_see_exclusive(const struct lock_file *file)
{
	return see_as(file, F_RDLCK, SHARED, 1);
}

int bytes_see_holders(const struct lock_file *file, const struct file_claim *claim)
{
	int error = -EAGAIN;

	if (claim->mode != FILE_PERMITS)
		return see(file, SHARED, INTENT_SHARED - SHARED + 1);
	for (uint32_t i = 0; i < claim->max_holders && error == -EAGAIN; i++)
		error = see(file, PERMITS + (int64_t)i, 1);
	return error;
}
