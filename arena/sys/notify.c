// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/notify.h"

#include "arena/sys/clock.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
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

static void consume(int notifier)
{
	char events[1024];

	while (read(notifier, events, sizeof(events)) > 0)
		;
}

int notify_sleep(int notifier, int other, uint64_t until_ns)
{
	struct pollfd entries[2] = { { .fd = notifier, .events = POLLIN }, // negative: ignored
				     { .fd = other, .events = POLLIN } };
	const uint64_t now = clock_now();
	const struct timespec left = clock_timespec(until_ns > now ? until_ns - now : 0);

	if (ppoll(entries, 2, &left, NULL) <= 0)
		return 0;
	if (entries[0].revents)
		consume(notifier);
	return 1;
}
