// SPDX-License-Identifier: Apache-2.0
//
// system.h: what the figures were taken on, and who else was at work there.
#ifndef BENCH_SYSTEM_H
#define BENCH_SYSTEM_H

#include <stdbool.h>

struct system_info {
	char host[65];
	char cpu_model[96];
	char governor[32]; // of the first CPU; "unknown" where the kernel does not say
	char pinning[512]; // what --pin came to
	bool awake;        // --awake
	char kernel[208];  // uname
	char libc[64];
	int cpus;        // that this process may run on
	bool membarrier; // MEMBARRIER_CMD_GLOBAL_EXPEDITED and its registration
	bool futex_waitv;
	double load_average; // of the last minute, before the run
};

struct system_info system_look(void);

// Starts to account for the CPU time that other programs use.
void system_watch_others(void);
// The share of all CPU time since then that others used, 0 to 1; negative if unknown. The
// children of the run must have been waited for.
double system_others(void);

#endif
