// SPDX-License-Identifier: Apache-2.0
//
// once.h: what inline.c has to know of once.c, which says what the word's bits mean.
#ifndef SRC_ONCE_H
#define SRC_ONCE_H

#include "src/primitive.h"

#include <leasehold/once.h>

#define ONCE_DONE (UINT64_C(1) << 15)

#endif
