// SPDX-License-Identifier: Apache-2.0
//
// notify.h: sleeping until something happens to a file (inotify(7)).
#ifndef ARENA_SYS_NOTIFY_H
#define ARENA_SYS_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

#define NOTIFY_NONE (-1)

// A notifier: a close-on-exec descriptor for one sleeper at a time. Or a negative errno: each user
// may have few of them (-EMFILE).
int notify_open(void);

// From now on the notifier tells of the open file: that an open file of it that could write was
// closed, by whatever end of its process (the kernel says so just before it drops the locks of that
// open file); that it lost its name or has another; that somebody rang. Not of writes. Returns the
// watch for notify_unwatch, or a negative errno.
int notify_watch(int notifier, int fd);
void notify_unwatch(int notifier, int watch);
// Tells all who watch the file. It changes the file's times, which nobody minds.
void notify_ring(int fd);

#define NOTIFY_OTHERS 64u

// Sleeps until the notifier, which may be NOTIFY_NONE, tells something, one of at most
// NOTIFY_OTHERS other descriptors is readable (negative ones never are), or `until_ns`
// (CLOCK_MONOTONIC) has come. 1: something happened; 0: the time, or a signal. May be spurious.
int notify_sleep(int notifier, const int *others, size_t count, uint64_t until_ns);
// What was told since the last call: at most NOTIFY_WATCHES watches, of which some may have ended,
// and one several times. NOTIFY_NONE among them: something was lost, it may be any. Returns how
// many; 0: that is all for now.
#define NOTIFY_WATCHES 64u
// How often to call it before looking at what it is about: others may use the files faster than we
// read of it. What is left ends the next sleep.
#define NOTIFY_READS 16
size_t notify_read(int notifier, int watches[NOTIFY_WATCHES]);

#endif
