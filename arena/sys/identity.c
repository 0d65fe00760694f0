// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/identity.h"

#include "arena/sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Reads a whole small file of /proc; 0 or a negative errno.
static int read_small(const char *path, char *buffer, size_t capacity)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size;
	int error;

	if (fd < 0)
		return -errno;
	size = read(fd, buffer, capacity - 1);
	error = size < 0 ? -errno : 0;
	close(fd);
	if (error)
		return error;
	buffer[size] = '\0';
	return 0;
}

// Fields of a stat file: proc(5).
#define FIELD_THREADS 20
#define FIELD_START_TIME 22

// Counted after the command's last parenthesis, which may contain anything.
static int parse_field(const char *text, int wanted, uint64_t *ret_value)
{
	const char *field = strrchr(text, ')');

	if (!field)
		return -EIO;
	field++; // now before field 3
	for (int number = 3; number <= wanted; number++) {
		field = strchr(field, ' ');
		if (!field)
			return -EIO;
		field++;
	}
	*ret_value = strtoull(field, NULL, 10);
	return 0;
}

static int field_at(const char *path, int wanted, uint64_t *ret_value)
{
	char text[1024];
	const int error = read_small(path, text, sizeof(text));

	return error ? error : parse_field(text, wanted, ret_value);
}

static int start_time_at(const char *path, uint64_t *ret_start_time)
{
	return field_at(path, FIELD_START_TIME, ret_start_time);
}

uint32_t identity_thread_count(void)
{
	uint64_t count;

	return field_at("/proc/self/stat", FIELD_THREADS, &count) || count > UINT32_MAX
		       ? 0
		       : (uint32_t)count;
}

uint64_t identity_draw(void)
{
	uint64_t bits;

	if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) == (ssize_t)sizeof(bits))
		return bits;
	return clock_now() * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)syscall(SYS_gettid) << 40;
}

int identity_start_time(pid_t pid, uint64_t *ret_start_time)
{
	char path[64];
	int error;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	error = start_time_at(path, ret_start_time);
	return error == -ENOENT ? -ESRCH : error;
}

int identity_of_self(struct identity *ret_identity)
{
	struct identity self = { .pid = getpid(), .tid = (pid_t)syscall(SYS_gettid) };
	struct stat status;
	char command[32];
	int error = start_time_at("/proc/self/stat", &self.start_time);

	if (!error)
		error = start_time_at("/proc/thread-self/stat", &self.thread_start_time);
	if (!error && stat("/proc/self/ns/pid", &status) != 0)
		error = -errno;
	if (!error)
		error = read_small("/proc/thread-self/comm", command, sizeof(command));
	if (error)
		return error;
	self.pid_namespace = status.st_ino;
	command[strcspn(command, "\n")] = '\0';
	snprintf(self.command, sizeof(self.command), "%.15s", command);
	*ret_identity = self;
	return 0;
}

bool identity_has_robust_list(void)
{
	const void *head = NULL;
	size_t size = 0;

	return syscall(SYS_get_robust_list, 0, &head, &size) != 0 || head != NULL;
}

// The number that /proc knows the process by. It is another than ours where /proc was mounted in
// another pid namespace, as in a container that was given none of its own. -ESRCH: dead and waited
// for; -EXDEV: not seen from there.
static int pid_in_proc(int pidfd, pid_t *ret_pid)
{
	char path[64], text[512];
	const char *field;
	int error;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	error = read_small(path, text, sizeof(text));
	if (error)
		return error;
	field = strstr(text, "\nPid:");
	if (!field)
		return -EIO;
	*ret_pid = (pid_t)strtol(field + strlen("\nPid:"), NULL, 10);
	return *ret_pid > 0 ? 0 : *ret_pid < 0 ? -ESRCH : -EXDEV;
}

void identity_process_command(char command[16])
{
	char name[32];

	if (read_small("/proc/self/comm", name, sizeof(name)) != 0)
		return;
	name[strcspn(name, "\n")] = '\0';
	snprintf(command, 16, "%.15s", name);
}

int identity_open(const struct identity *identity)
{
	struct stat status;
	uint64_t start_time;
	int pidfd, error;
	pid_t pid;

	if (stat("/proc/self/ns/pid", &status) != 0)
		return -errno;
	if (status.st_ino != identity->pid_namespace)
		return -EXDEV;
	if (identity->pid <= 0) // a group, to kill(2): whatever the bytes say, never that
		return -ESRCH;
	pidfd = (int)syscall(SYS_pidfd_open, identity->pid, 0);
	if (pidfd < 0)
		return -errno;
	// The descriptor is open: from here the number cannot pass to another process unnoticed.
	error = pid_in_proc(pidfd, &pid);
	if (!error)
		error = identity_start_time(pid, &start_time);
	if (error == -ESRCH && !identity_gone(pidfd))
		error = -EACCES; // hidden (proc(5), hidepid), not gone
	if (!error && start_time != identity->start_time)
		error = -ESRCH;
	if (error) {
		close(pidfd);
		return error;
	}
	return pidfd;
}

int identity_kill(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0 ? 0 : -errno;
}

bool identity_gone(int pidfd)
{
	struct pollfd entry = { .fd = pidfd, .events = POLLIN };

	return poll(&entry, 1, 0) == 1;
}

bool identity_await(int pidfd, uint64_t deadline_ns)
{
	struct pollfd entry = { .fd = pidfd, .events = POLLIN };
	struct timespec rest;
	uint64_t now;

	while (!identity_gone(pidfd)) {
		now = clock_now();
		if (now >= deadline_ns)
			return false;
		rest = clock_timespec(deadline_ns - now);
		if (ppoll(&entry, 1, &rest, NULL) < 0 && errno != EINTR)
			return false;
	}
	return true;
}

bool identity_can_kill(void)
{
	return syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) != 0 && errno == EBADF;
}
