// SPDX-License-Identifier: Apache-2.0
#ifndef SRC_KINDS_H
#define SRC_KINDS_H

#include "arena/kind.h"

extern const struct kind_ops mutex_ops; // src/mutex.c
extern const struct kind_ops watch_ops; // src/watch.c
extern const struct kind_ops cell_ops;  // src/cell.c

#endif
