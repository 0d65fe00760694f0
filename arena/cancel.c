// SPDX-License-Identifier: Apache-2.0
#include "arena/cancel.h"

#include "arena/error.h"
#include "arena/object.h"
#include "arena/sys/futex.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int lh_cancel_create(lh_cancel **ret_cancel)
{
	lh_cancel *cancel;

	if (!ret_cancel)
		return error_detail(-EINVAL, "ret_cancel is NULL");
	cancel = calloc(1, sizeof(*cancel));
	if (!cancel)
		return error_detail(-ENOMEM, "no memory");
	*ret_cancel = cancel;
	return 0;
}

// Async-signal-safe.
static void tell(int event)
{
	const uint64_t one = 1;
	const int saved = errno;

	if (event && write(event - 1, &one, sizeof(one)) < 0)
		errno = 0; // it is full, so readable all the same
	errno = saved;
}

void lh_cancel_fire(lh_cancel *cancel)
{
	if (!cancel)
		return;
	atomic_store(&cancel->fired, 1); // sc: pairs with cancel_descriptor's load
	futex_wake_private(&cancel->fired, FUTEX_ALL);
	tell(atomic_load(&cancel->event));
}

int cancel_descriptor(struct lh_cancel *cancel)
{
	int event = atomic_load(&cancel->event), own;

	if (event)
		return event - 1;
	own = object_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (own < 0)
		return error_detail(-errno, "no descriptor for the cancel token");
	if (!atomic_compare_exchange_strong(&cancel->event, &event, own + 1)) {
		close(own);
		return event - 1;
	}
	// Either we see that it was fired, or who fires sees the descriptor.
	if (atomic_load(&cancel->fired))
		tell(own + 1);
	return own;
}

void cancel_consume(const struct lh_cancel *cancel)
{
	uint64_t count;

	if (read(atomic_load(&cancel->event) - 1, &count, sizeof(count)) < 0)
		return; // there was nothing
	// A true shot is for all who sleep on it.
	if (atomic_load(&cancel->fired))
		tell(atomic_load(&cancel->event));
}

void lh_cancel_destroy(lh_cancel *cancel)
{
	if (cancel && cancel->event)
		close(cancel->event - 1);
	free(cancel);
}
