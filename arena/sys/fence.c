// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/fence.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

int fence_register(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0 ? 0 : -ENOTSUP;
}

void fence_heavy(void)
{
	const int saved = errno;

	atomic_thread_fence(memory_order_seq_cst);
	// A filter that came after registration may refuse it now: MEMBARRIER_CMD_GLOBAL is the
	// slow form, and with that refused too nothing is left but to say so to nobody: the caller
	// sleeps with a backstop.
	if (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0)
		membarrier(MEMBARRIER_CMD_GLOBAL);
	errno = saved;
}
