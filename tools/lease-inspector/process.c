// SPDX-License-Identifier: Apache-2.0
//
// process.c: what /proc knows of the processes that use arenas.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inspector.h"

// ---- one process --------------------------------------------------------------------------------

// The whole of a small file below /proc, NUL-terminated. False: it cannot be read.
static bool read_small(const char *path, char *buffer, size_t capacity)
{
	const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t size = descriptor < 0 ? -1 : read(descriptor, buffer, capacity - 1);

	if (descriptor >= 0)
		close(descriptor);
	buffer[size > 0 ? size : 0] = '\0';
	return size > 0;
}

bool process_has_keeper(pid_t pid)
{
	char path[64];
	const struct dirent *entry;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);

	while (tasks && !found && (entry = readdir(tasks))) {
		char file[sizeof(path) + NAME_MAX + 8];
		char command[32];

		snprintf(file, sizeof(file), "%s/%s/comm", path, entry->d_name);
		found = read_small(file, command, sizeof(command)) &&
			strcmp(command, "lh-keeper\n") == 0;
	}
	if (tasks)
		closedir(tasks);
	return found;
}

bool process_read(pid_t pid, uint64_t start_time, struct process *ret_process)
{
	struct process process = { .pid = pid };
	char path[64], line[1024];
	int threads;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!read_small(path, line, sizeof(line)))
		return false;
	// "pid (command) state …": a command may have parentheses, nothing after it has.
	char *begin = strchr(line, '(');
	char *end = strrchr(line, ')');

	if (!begin || !end || end < begin ||
	    sscanf(end + 1,
		   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d "
		   "%" SCNu64,
		   &process.state, &threads, &process.start_time) != 3)
		return false;
	if (start_time && process.start_time != start_time)
		return false;
	*end = '\0';
	snprintf(process.command, sizeof(process.command), "%.15s", begin + 1);
	process.threads = (unsigned)threads;
	*ret_process = process;
	return true;
}

const char *process_state(const struct process *process)
{
	switch (process->state) {
	case 0:
	case 'X':
		return "gone";
	case 'R':
		return "running";
	case 'S':
	case 'I':
		return "sleeping";
	case 'D':
		return "disk-sleep";
	case 'T':
	case 't':
		return "stopped";
	case 'Z':
		return "zombie";
	default:
		return "?";
	}
}

bool process_is_elsewhere(const struct lh_lease_info *lease)
{
	static uint64_t own;
	struct stat status;

	if (!own && stat("/proc/self/ns/pid", &status) == 0)
		own = status.st_ino;
	return lease->pid_namespace && own && lease->pid_namespace != own;
}

const char *process_state_of(const struct lh_lease_info *lease)
{
	struct process process;

	if (process_is_elsewhere(lease))
		return "?";
	return process_read(lease->pid, lease->start_time, &process) ? process_state(&process)
								     : "gone";
}

// ---- who has what open --------------------------------------------------------------------------

static int order_attachments(const void *a, const void *b)
{
	const struct attachment *x = (const struct attachment *)a;
	const struct attachment *y = (const struct attachment *)b;

	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

static void add_open_files(struct attachments *attachments, pid_t pid, size_t *capacity)
{
	char path[64];
	const struct dirent *entry;
	struct stat status;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *files = opendir(path);

	if (!files) {
		attachments->partial |= errno == EACCES || errno == EPERM;
		return;
	}
	while ((entry = readdir(files))) {
		if (entry->d_name[0] == '.' ||
		    fstatat(dirfd(files), entry->d_name, &status, 0) != 0 ||
		    !S_ISREG(status.st_mode))
			continue;
		attachments->items = (struct attachment *)inspector_room(
			attachments->items, attachments->count, 1, capacity,
			sizeof(*attachments->items));
		attachments->items[attachments->count++] = (struct attachment){
			.device = status.st_dev, .inode = status.st_ino, .pid = pid
		};
	}
	closedir(files);
}

// The descriptors that the library keeps are two for each process: each process counts once.
static void drop_doubles(struct attachments *attachments)
{
	size_t kept = 0;

	for (size_t i = 0; i < attachments->count; i++)
		if (!kept ||
		    order_attachments(&attachments->items[kept - 1], &attachments->items[i]) != 0)
			attachments->items[kept++] = attachments->items[i];
	attachments->count = kept;
}

void attachments_load(struct attachments *attachments)
{
	const struct dirent *entry;
	size_t capacity = 0;
	DIR *processes = opendir("/proc");

	*attachments = (struct attachments){ .partial = !processes };
	while (processes && (entry = readdir(processes))) {
		const long pid = strtol(entry->d_name, NULL, 10);

		if (pid > 0 && pid != getpid())
			add_open_files(attachments, (pid_t)pid, &capacity);
	}
	if (processes)
		closedir(processes);
	if (attachments->count > 1)
		qsort(attachments->items, attachments->count, sizeof(*attachments->items),
		      order_attachments);
	drop_doubles(attachments);
}

void attachments_free(struct attachments *attachments)
{
	free(attachments->items);
}

// As lh_arena_open reads names.
static bool stat_arena(const char *arena, struct stat *ret_status)
{
	const char *base = arena[0] == '/' ? arena + 1 : arena;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s", strchr(base, '/') ? "" : "/dev/shm/",
		 strchr(base, '/') ? arena : base);
	return stat(path, ret_status) == 0;
}

uint64_t inspector_inode(const char *arena)
{
	struct stat status;

	return stat_arena(arena, &status) ? status.st_ino : 0;
}

struct span attachments_of(const struct attachments *attachments, const char *arena)
{
	struct stat status;
	struct span span = { 0, 0 };

	if (!stat_arena(arena, &status))
		return span;
	while (span.first < attachments->count &&
	       (attachments->items[span.first].device != status.st_dev ||
		attachments->items[span.first].inode != status.st_ino))
		span.first++;
	span.end = span.first;
	while (span.end < attachments->count &&
	       attachments->items[span.end].device == status.st_dev &&
	       attachments->items[span.end].inode == status.st_ino)
		span.end++;
	return span;
}
