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

bool fence_heavy(void)
{
	const int saved = errno;
	bool done;

	atomic_thread_fence(memory_order_seq_cst);
	// A filter that came after registration may refuse it now: MEMBARRIER_CMD_GLOBAL is the
	// slow form.
	done = membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0 ||
	       membarrier(MEMBARRIER_CMD_GLOBAL) == 0;
	errno = saved;
	return done;
}
