// SPDX-License-Identifier: Apache-2.0
//
// object.h: the file that an arena is: its name, its creation, its attach locks.
#ifndef ARENA_OBJECT_H
#define ARENA_OBJECT_H

#include "arena/layout.h"

#include <leasehold/arena.h>

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

// What this library calls the errno of a path or an object: -EACCES for EPERM, and so on.
int object_error(int number);
// A new descriptor, or one like it in its place, that is not 0, 1 or 2: what a program without standard
// output says there would be written into the arena. -1 with errno: as was given, or none is left.
int object_above_stdio(int fd);
// The path of an arena's name; 0 or -EINVAL.
int object_path(const char *name, char path[PATH_MAX]);

// Opens what is there. A descriptor, or a negative errno.
int object_open(const char *path, int flags, struct stat *ret_status);

// An unnamed, empty file beside `path`, where `size` bytes are allowed. A descriptor, or a negative errno.
int object_create(const char *path, uint64_t size, const struct lh_arena_options *options);
// Reserves its bytes, where no page is yet. 0 or -ENOSPC or another negative errno.
int object_reserve(int fd, const char *path, uint64_t size);
// Gives it its name. 0 or -EEXIST or another negative errno.
int object_link(int fd, const char *path);

// A descriptor of another open file of the same object, which nobody else has and no mapping keeps;
// or a negative errno.
int object_reopen(int fd, bool read_only);
// Locks a byte of the attach range for this open file: any, or (read-only) the readers' one.
// 0 with its number; -EUSERS.
int object_attach(int fd, bool read_only, uint32_t *ret_attach);
// The gate: openers pass it, shared, while they attach; lh_remove holds it alone, so that nobody
// attaches between its look at who is there and what it does. 0, -EBUSY (not waited for when alone
// is asked; else after a deadline).
int object_enter_gate(int fd, bool alone);
void object_leave_gate(int fd);
// Whether another open file has this byte, or any byte, locked.
bool object_attached(int fd, uint32_t attach);
bool object_shared(int fd);

#endif
