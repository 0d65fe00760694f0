// SPDX-License-Identifier: Apache-2.0
#ifndef SRC_KINDS_H
#define SRC_KINDS_H

#include "arena/kind.h"

extern const struct kind_ops mutex_ops;     // src/mutex.c
extern const struct kind_ops rwlock_ops;    // src/rwlock.c
extern const struct kind_ops semaphore_ops; // src/semaphore.c
extern const struct kind_ops barrier_ops;   // src/barrier.c
extern const struct kind_ops condvar_ops;   // src/condvar.c
extern const struct kind_ops once_ops;      // src/once.c
extern const struct kind_ops watch_ops;     // src/watch.c
extern const struct kind_ops cell_ops;      // src/cell.c

#endif
