// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/notify.h"

#include "arena/sys/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

int notify_open(void)
{
	const int notifier = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	return notifier < 0 ? -errno : notifier;
}

int notify_watch(int notifier, int fd)
{
	char self[40];
	int watch;

	// By descriptor: its name may lead elsewhere by now.
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	watch = inotify_add_watch(notifier, self,
				  IN_CLOSE_WRITE | IN_MOVE_SELF | IN_ATTRIB | IN_DELETE_SELF);
	return watch < 0 ? -errno : watch;
}

void notify_unwatch(int notifier, int watch)
{
	inotify_rm_watch(notifier, watch);
}

void notify_ring(int fd)
{
	futimens(fd, NULL); // who is not told looks again all the same
}

size_t notify_read(int notifier, int watches[NOTIFY_WATCHES])
{
	// Watches of files, not directories: no event has a name.
	struct inotify_event events[NOTIFY_WATCHES];
	const ssize_t size = read(notifier, events, sizeof(events));
	const size_t count = size > 0 ? (size_t)size / sizeof(events[0]) : 0;

	for (size_t i = 0; i < count; i++)
		watches[i] = events[i].mask & IN_Q_OVERFLOW ? NOTIFY_NONE : events[i].wd;
	return count;
}

int notify_sleep(int notifier, const int *others, size_t count, uint64_t until_ns)
{
	struct pollfd entries[1 + NOTIFY_OTHERS] = { { .fd = notifier, .events = POLLIN } };
	const uint64_t now = clock_now();
	const struct timespec left = clock_timespec(until_ns > now ? until_ns - now : 0);

	for (size_t i = 0; i < count; i++)
		entries[1 + i] = (struct pollfd){ .fd = others[i], .events = POLLIN };
	return ppoll(entries, 1 + count, &left, NULL) > 0;
}
