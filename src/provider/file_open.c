// SPDX-License-Identifier: Apache-2.0
//
// Open lock files. A forked child has copies of their descriptors, and each would keep its parent's
// locks for as long as the child lives. So all are in one list, and the child closes them first:
// before anything else can run in it that closes or opens descriptors. (Closing gives nothing back,
// as the open file is the parent's too.) Notifiers are in the list as well: nobody in the child
// would know whose descriptor has the number of one later.
#include "src/provider/file.h"

#include "arena/error.h"
#include "arena/object.h"
#include "arena/process.h"
#include "arena/sys/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_TRIES 100u /* others may remove and make it as often meanwhile */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static CDS_LIST_HEAD(list);
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int hooks_error;

// The lock is held over an open and its entry into the list, and over leaving it and the close: a
// fork comes before both or after both.
static void before_fork(void)
{
	pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&list_lock);
}

static void after_fork_in_child(void)
{
	struct listed_fd *listed;

	list_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	cds_list_for_each_entry(listed, &list, node) {
		close(listed->fd);
		listed->fd = -1;
	}
	CDS_INIT_LIST_HEAD(&list);
}

static void set_hooks(void)
{
	hooks_error = -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void close_listed(struct listed_fd *listed)
{
	if (listed->fd < 0)
		return;
	pthread_mutex_lock(&list_lock);
	cds_list_del(&listed->node);
	close(listed->fd);
	pthread_mutex_unlock(&list_lock);
	listed->fd = -1;
}

// ---------------------------------------------------------------------------------------------

struct notifier *notifier_open(void)
{
	struct notifier *notifier = malloc(sizeof(*notifier));

	if (!notifier)
		return NULL;
	notifier->generation = process_generation();
	pthread_mutex_lock(&list_lock);
	notifier->open.fd = notify_open();
	if (notifier->open.fd >= 0)
		cds_list_add(&notifier->open.node, &list);
	pthread_mutex_unlock(&list_lock);
	if (notifier->open.fd >= 0)
		return notifier;
	free(notifier);
	return NULL;
}

bool notifier_is_own(const struct notifier *notifier)
{
	return notifier->open.fd >= 0 && notifier->generation == process_generation();
}

void notifier_close(struct notifier *notifier)
{
	if (notifier && notifier->open.fd >= 0) {
		// A process that was made without fork(3) has run no handlers: what its copy is by
		// now it cannot know.
		if (notifier->generation != process_generation())
			return;
		close_listed(&notifier->open);
	}
	free(notifier);
}

// ---------------------------------------------------------------------------------------------

static int error_of(int number)
{
	switch (number) {
	case EDQUOT:
		return -ENOSPC;
	case ELOOP:  // a symbolic link
	case EISDIR: // or what else is no lock file
	case ENXIO:
		return -EBADMSG;
	default:
		return object_error(number);
	}
}

int lock_file_error(const struct lock_file *file, int number, const char *what)
{
	return error_detail(error_of(number), "%.150s: %s: %s", file->path, what, strerror(number));
}

// Unnamed until its mode is right, where the file system has such files. Else whoever opens it
// between the two may lack permission.
static int make(const struct lock_file *file, mode_t mode)
{
	int fd = open(file->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), error = 0;
	const bool unnamed = fd >= 0;

	if (!unnamed)
		fd = open(file->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return errno == EEXIST ? 0 : lock_file_error(file, errno, "cannot be made");
	if (fchmod(fd, mode) != 0)
		error = lock_file_error(file, errno, "cannot be given its mode");
	if (!error && unnamed)
		error = object_link(fd, file->path);
	close(fd);
	return error == -EEXIST ? 0 : error;
}

static int check(struct lock_file *file)
{
	struct stat status;

	if (fstat(file->open.fd, &status) != 0)
		return lock_file_error(file, errno, "cannot be looked at");
	if (!S_ISREG(status.st_mode))
		return error_detail(-EBADMSG, "%.150s: not a file", file->path);
	file->device = status.st_dev;
	file->inode = status.st_ino;
	return 0;
}

// O_NONBLOCK: a FIFO of that name must not hang us.
#define OPEN_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

static int open_listed(struct lock_file *file)
{
	int error = 0;

	pthread_mutex_lock(&list_lock);
	file->open.fd = object_above_stdio(open(file->path, O_RDWR | OPEN_FLAGS));
	if (file->open.fd >= 0)
		cds_list_add(&file->open.node, &list);
	else
		error = -errno;
	pthread_mutex_unlock(&list_lock);
	return error;
}

static int begin(struct lock_file *file, const char *directory, const struct provider_key *key)
{
	char name[FILE_NAME_SIZE];
	const int error = file_name(key, name);

	*file = (struct lock_file){ .open.fd = -1, .directory = directory };
	CDS_INIT_LIST_HEAD(&file->open.node);
	if (error)
		return error;
	if (asprintf(&file->path, "%s/%s", file->directory, name) < 0) {
		file->path = NULL;
		return error_detail(-ENOMEM, "no memory");
	}
	return 0;
}

static int open_or_make(struct lock_file *file, mode_t mode)
{
	for (unsigned i = 0; i < OPEN_TRIES; i++) {
		int error = open_listed(file);

		if (error == -ENOENT) {
			error = make(file, mode);
			if (error)
				return error;
			continue;
		}
		return error ? lock_file_error(file, -error, "cannot be opened") : check(file);
	}
	return error_detail(-EBADMSG, "%.150s: it is removed as often as it is made", file->path);
}

int lock_file_open(struct lock_file *file, const char *directory, mode_t mode,
		   const struct provider_key *key)
{
	PROCESS_NO_CANCEL;
	int error;

	pthread_once(&once, set_hooks);
	error = begin(file, directory, key);
	if (!error && hooks_error)
		error = error_detail(hooks_error, "no room for fork handlers");
	if (!error)
		error = open_or_make(file, mode);
	if (error)
		lock_file_close(file);
	return error;
}

// It takes no locks, so a child may keep a copy: it is in no list.
int lock_file_open_to_read(struct lock_file *file, const char *directory,
			   const struct provider_key *key)
{
	PROCESS_NO_CANCEL;
	int error = begin(file, directory, key);

	if (error)
		return error;
	file->open.fd = open(file->path, O_RDONLY | OPEN_FLAGS);
	if (file->open.fd < 0)
		error = errno == ENOENT ? -ENOENT
					: lock_file_error(file, errno, "cannot be opened");
	else
		error = check(file);
	if (error)
		lock_file_close(file);
	return error;
}

void lock_file_close(struct lock_file *file)
{
	PROCESS_NO_CANCEL;

	close_listed(&file->open);
	free(file->path);
	file->path = NULL;
}

void lock_file_move(struct lock_file *to, struct lock_file *from)
{
	pthread_mutex_lock(&list_lock);
	*to = *from;
	cds_list_replace(&from->open.node, &to->open.node);
	from->open.fd = -1;
	pthread_mutex_unlock(&list_lock);
	from->path = NULL;
}

bool lock_file_is_there(const struct lock_file *file)
{
	struct stat status;

	if (lstat(file->path, &status) != 0) // any other failure tells nothing of the file
		return errno != ENOENT && errno != ENOTDIR;
	return status.st_dev == file->device && status.st_ino == file->inode;
}
