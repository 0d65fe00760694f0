// SPDX-License-Identifier: Apache-2.0
#ifndef ARENA_CANCEL_H
#define ARENA_CANCEL_H

#include <leasehold/cancel.h>

#include <stdatomic.h>
#include <stdint.h>

struct lh_cancel {
	_Atomic uint32_t fired; // 0, then 1 for ever; the futex that waits sleep on
};

#endif
