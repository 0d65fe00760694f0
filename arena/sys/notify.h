// SPDX-License-Identifier: Apache-2.0
//
// notify.h: sleeping until something happens to a file (inotify(7)).
#ifndef ARENA_SYS_NOTIFY_H
#define ARENA_SYS_NOTIFY_H

#include <stdint.h>

#define NOTIFY_NONE (-1)

// A notifier: a close-on-exec descriptor for one sleeper at a time. Or a negative errno: each user may
// have few of them (-EMFILE).
int notify_open(void);

// From now on the notifier tells of the open file: that an open file of it that could write was closed,
// by whatever end of its process (the kernel says so just before it drops the locks of that open
// file); that it lost its name or has another; that somebody rang. Not of writes. Returns the watch for
// notify_unwatch, or a negative errno.
int notify_watch(int notifier, int fd);
void notify_unwatch(int notifier, int watch);
// Tells all who watch the file. It changes the file's times, which nobody minds.
void notify_ring(int fd);

// Sleeps until the notifier tells something, `other` is readable, or `until_ns` (CLOCK_MONOTONIC) has
// come; either may be NOTIFY_NONE. What was told is consumed. 1: something happened; 0: the time, or
// a signal. May be spurious.
int notify_sleep(int notifier, int other, uint64_t until_ns);

#endif
