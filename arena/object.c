// SPDX-License-Identifier: Apache-2.0
//
// Attach locks are open-file-description locks (fcntl(2), F_OFD_SETLK) on bytes far behind the
// object's end: the kernel drops them when the last descriptor of that open file is closed, which
// the end of its process does. A mapping keeps its open file too, and a forked child has the
// mapping: so the locks are on an open file that is not mapped (object_reopen).
#include "arena/object.h"

#include "arena/error.h"
#include "arena/process.h"
#include "arena/sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define ATTACH_BASE (INT64_C(1) << 60)
#define ATTACH_BYTES 0x7fffffffu
#define ATTACH_TRIES 65536u
#define ATTACH_READERS ATTACH_BYTES // one byte for all read-only users, locked shared
#define ATTACH_GATE (ATTACH_BYTES + 1)
#define GATE_DEADLINE_NS (10 * CLOCK_NS_PER_S)
#define GATE_LOOK_NS CLOCK_NS_PER_MS // a file lock wakes nobody in time: it is asked for again

int object_path(const char *name, char path[PATH_MAX])
{
	const char *base = name && name[0] == '/' ? name + 1 : name;
	int length;

	if (!name || !*base)
		return error_detail(-EINVAL, "the arena's name is empty");
	if (strchr(base, '/'))
		length = snprintf(path, PATH_MAX, "%s", name);
	else if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0 || strlen(base) > NAME_MAX)
		return error_detail(-EINVAL, "arena %.40s…: not a name", base);
	else
		length = snprintf(path, PATH_MAX, "/dev/shm/%s", base);
	if (length >= PATH_MAX)
		return error_detail(-EINVAL, "arena %.40s…: its name is too long", name);
	return 0;
}

int object_error(int number)
{
	switch (number) {
	case EPERM:
		return -EACCES;
	case ENAMETOOLONG:
		return -EINVAL;
	case ENOTDIR:
		return -ENOENT;
	default:
		return -number;
	}
}

static int check_file_system(int fd, const char *path)
{
	struct statfs status;

	if (fstatfs(fd, &status) != 0)
		return error_detail(-errno, "%s", path);
	if (status.f_type != TMPFS_MAGIC && status.f_type != HUGETLBFS_MAGIC)
		return error_detail(-ENOTSUP, "%s: not on tmpfs", path);
	return 0;
}

static int check_object(int fd, const char *path, int flags, struct stat *status)
{
	if (fstat(fd, status) != 0)
		return error_detail(-errno, "%s", path);
	if (!S_ISREG(status->st_mode))
		return error_detail(-EBADMSG, "%s: not a file", path);
	if (status->st_uid != geteuid() && status->st_uid != 0 && !(flags & LH_ANY_OWNER))
		return error_detail(-EACCES,
				    "%s: it belongs to user %u, not to you: LH_ANY_OWNER "
				    "accepts it",
				    path, status->st_uid);
	return check_file_system(fd, path);
}

int object_above_stdio(int fd)
{
	int above, number;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	number = errno;
	close(fd);
	errno = number;
	return above;
}

int object_open(const char *path, int flags, struct stat *ret_status)
{
	const int mode = flags & LH_READ_ONLY ? O_RDONLY : O_RDWR;
	// O_NONBLOCK: a FIFO of that name must not hang us.
	const int fd = object_above_stdio(open(path, mode | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	int error;

	if (fd < 0) {
		error = errno == ELOOP || errno == EISDIR || errno == ENXIO ? -EBADMSG
									    : object_error(errno);
		return error_detail(error, "%s: %s", path, strerror(errno));
	}
	error = check_object(fd, path, flags, ret_status);
	if (!error)
		return fd;
	close(fd);
	return error;
}

static int open_unnamed(const char *path)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const size_t length = (size_t)(slash - path);
	int fd;

	memcpy(directory, path, length);
	directory[length] = '\0';
	fd = object_above_stdio(
		open(length ? directory : "/", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	if (fd >= 0)
		return fd;
	return error_detail(errno == EOPNOTSUPP || errno == EISDIR ? -ENOTSUP : object_error(errno),
			    "%s: cannot create files there: %s", directory, strerror(errno));
}

static int prepare(int fd, const char *path, uint64_t size, const struct lh_arena_options *options)
{
	struct rlimit limit;
	int result = check_file_system(fd, path);

	if (result)
		return result;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && size > limit.rlim_cur) // else SIGXFSZ
		return error_detail(-ENOSPC, "%s: RLIMIT_FSIZE is below %llu bytes", path,
				    (unsigned long long)size);
	if (options->group && fchown(fd, (uid_t)-1, options->group) != 0)
		return error_detail(object_error(errno), "%s: cannot give it group %u", path,
				    options->group);
	if (fchmod(fd, options->mode ? options->mode : 0600) != 0)
		return error_detail(-errno, "%s: cannot set its mode", path);
	return 0;
}

int object_create(const char *path, uint64_t size, const struct lh_arena_options *options)
{
	const int fd = open_unnamed(path);
	int error;

	if (fd < 0)
		return fd;
	error = prepare(fd, path, size, options);
	if (!error)
		return fd;
	close(fd);
	return error;
}

int object_reserve(int fd, const char *path, uint64_t size)
{
	int result;

	do {
		result = fallocate(fd, 0, 0, (off_t)size);
	} while (result != 0 && errno == EINTR);
	if (result == 0)
		return 0;
	return error_detail(errno == EFBIG || errno == ENOMEM ? -ENOSPC : -errno,
			    "%s: no room for %llu bytes", path, (unsigned long long)size);
}

int object_link(int fd, const char *path)
{
	char self[64];

	// By descriptor where the kernel permits it, which needs no /proc; else by /proc, which
	// needs no capability.
	if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno == EEXIST)
		return error_detail(-EEXIST, "%s", path);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	return error_detail(object_error(errno), "%s: cannot be named: %s", path, strerror(errno));
}

// ---------------------------------------------------------------------------------------------

int object_reopen(int fd, bool read_only)
{
	char self[64];
	int own;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	own = object_above_stdio(open(self, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
	return own < 0 ? error_detail(-errno, "no open file for the attach lock: %s",
				      strerror(errno))
		       : own;
}

static struct flock byte_lock(short type, uint32_t first, uint32_t count)
{
	return (struct flock){ .l_type = type,
			       .l_whence = SEEK_SET,
			       .l_start = (off_t)(ATTACH_BASE + first),
			       .l_len = count };
}

// Where to begin looking for a free byte. One that was given back tells the end of a process lease,
// so it must not be another's soon, and not that of the same process after an exec.
static uint32_t fresh_byte(void)
{
	const uint64_t mixed = (clock_now() ^ (uint64_t)getpid() << 40) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(mixed >> 32) % ATTACH_BYTES;
}

int object_attach(int fd, bool read_only, uint32_t *ret_attach)
{
	const uint32_t first = fresh_byte();

	if (read_only) {
		struct flock lock = byte_lock(F_RDLCK, ATTACH_READERS, 1);

		if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
			return error_detail(-errno, "no attach lock");
		*ret_attach = ATTACH_READERS;
		return 0;
	}
	for (uint32_t i = 0; i < ATTACH_TRIES; i++) {
		struct flock lock = byte_lock(F_WRLCK, (first + i) % ATTACH_BYTES, 1);

		if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
			*ret_attach = (first + i) % ATTACH_BYTES;
			return 0;
		}
		if (errno != EAGAIN && errno != EACCES)
			return error_detail(-errno, "no attach lock");
	}
	return error_detail(-EUSERS, "%u processes have the arena open", ATTACH_TRIES);
}

int object_enter_gate(int fd, bool alone)
{
	const uint64_t deadline = clock_now() + GATE_DEADLINE_NS;
	struct flock lock = byte_lock(alone ? F_WRLCK : F_RDLCK, ATTACH_GATE, 1);

	while (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
		if (errno != EAGAIN && errno != EACCES)
			return error_detail(-errno, "no attach lock");
		if (alone || clock_now() > deadline)
			return error_detail(-EBUSY, "another process is removing a placement, or "
						    "opening the arena");
		PROCESS_NO_CANCEL; // nanosleep(2) is a cancellation point
		nanosleep(&(struct timespec){ .tv_nsec = GATE_LOOK_NS }, NULL);
	}
	return 0;
}

void object_leave_gate(int fd)
{
	struct flock lock = byte_lock(F_UNLCK, ATTACH_GATE, 1);

	fcntl(fd, F_OFD_SETLK, &lock);
}

static bool locked_elsewhere(int fd, uint32_t first, uint32_t count)
{
	struct flock lock = byte_lock(F_WRLCK, first, count);

	// What cannot be asked counts as locked: nobody is taken for dead by mistake.
	return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

bool object_attached(int fd, uint32_t attach)
{
	return attach > ATTACH_READERS || locked_elsewhere(fd, attach, 1);
}

bool object_shared(int fd)
{
	return locked_elsewhere(fd, 0, ATTACH_READERS + 1);
}
