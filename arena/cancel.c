// SPDX-License-Identifier: Apache-2.0
#include "arena/cancel.h"

#include "arena/error.h"
#include "arena/sys/futex.h"

#include <errno.h>
#include <stdlib.h>

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

void lh_cancel_fire(lh_cancel *cancel)
{
	if (!cancel)
		return;
	atomic_store(&cancel->fired, 1);
	futex_wake_private(&cancel->fired, FUTEX_ALL);
}

void lh_cancel_destroy(lh_cancel *cancel)
{
	free(cancel);
}
