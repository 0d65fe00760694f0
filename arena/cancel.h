// SPDX-License-Identifier: Apache-2.0
#ifndef ARENA_CANCEL_H
#define ARENA_CANCEL_H

#include <leasehold/cancel.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lh_cancel {
	_Atomic uint32_t fired; // 0, then 1 for ever; the futex that waits sleep on
	_Atomic int event; // an eventfd and 1, for waits that sleep on descriptors; 0: none yet
};

static inline bool cancel_fired(const struct lh_cancel *cancel)
{
	return cancel && atomic_load_explicit(&cancel->fired, memory_order_acquire);
}

// A descriptor of the token's own that is readable once it was fired, or a negative errno.
int cancel_descriptor(struct lh_cancel *cancel);
// It was readable, and the token has not fired: a forked process, with whom it is shared, has fired
// its own.
void cancel_consume(const struct lh_cancel *cancel);

#endif
