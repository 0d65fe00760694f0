// SPDX-License-Identifier: Apache-2.0
#include "scratch.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

#define NAMES 16
// Where glibc has POSIX shared memory.
static const char directory[] = "/dev/shm/";

// Paths in use, or "". A handler that runs while one is written finds it empty or whole: its first
// byte is written last and cleared first.
static char paths[NAMES][sizeof(directory) + SCRATCH_NAME];
static pid_t program;

// Async-signal-safe.
static void unlink_all(void)
{
	// Children that call exit have a copy of this; the names are not theirs.
	if (getpid() != program)
		return;
	for (int i = 0; i < NAMES; i++) {
		if (paths[i][0])
			unlink(paths[i]);
	}
}

static void unlink_and_die(int signal_number)
{
	unlink_all();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

void scratch_name(char name[static SCRATCH_NAME])
{
	static unsigned count;
	int slot = 0;

	if (count == 0) {
		program = getpid();
		atexit(unlink_all);
		signal(SIGINT, unlink_and_die);
		signal(SIGTERM, unlink_and_die);
	}
	while (slot < NAMES && paths[slot][0])
		slot++;
	if (slot == NAMES)
		process_die("too many scratch arenas");
	snprintf(name, SCRATCH_NAME, "lease-bench.%d.%u", (int)program, count++);
	snprintf(paths[slot] + 1, sizeof(paths[slot]) - 1, "%s%s", directory + 1, name);
	atomic_signal_fence(memory_order_seq_cst);
	paths[slot][0] = directory[0];
}

void scratch_unlink(const char *name)
{
	for (int i = 0; i < NAMES; i++) {
		if (!paths[i][0] || strcmp(paths[i] + strlen(directory), name) != 0)
			continue;
		unlink(paths[i]);
		paths[i][0] = '\0';
	}
}
