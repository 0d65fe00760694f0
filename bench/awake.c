// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "awake.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>

#include "process.h"

static pid_t pids[CPU_SETSIZE];
static size_t count;

static _Noreturn void compute(void *context)
{
	const struct sched_param lowest = { .sched_priority = 0 };
	const size_t cpu = *(const size_t *)context;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
		process_die_errno(errno, "sched_setaffinity");
	if (sched_setscheduler(0, SCHED_IDLE, &lowest) != 0)
		process_die_errno(errno, "sched_setscheduler");
	for (;;) // without a pause, of which a host may take many for a reason to run another guest
		__asm__ volatile("");
}

void awake_begin(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		process_die_errno(errno, "sched_getaffinity");
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &allowed))
			pids[count++] = process_start_aside(compute, &cpu);
	}
}

void awake_end(void)
{
	while (count > 0) {
		(void)kill(pids[--count], SIGKILL);
		process_bury(pids[count]);
	}
}
