// SPDX-License-Identifier: Apache-2.0
#include "further.h"

#include <signal.h>
#include <sys/mman.h>

#include "peer.h"
#include "process.h"

struct tenant {
	const char *name;
	gate *settled;
};

void further_acquire(lh_arena *arena, lh_lease **leases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		peer_check(lh_lease_acquire(arena, NULL, &leases[i]), "lh_lease_acquire");
}

void further_release(lh_lease **leases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		peer_check(lh_lease_release(leases[i]), "lh_lease_release");
}

static void stay(void *context)
{
	struct tenant *tenant = context;
	lh_lease *leases[FURTHER_LEASES];
	lh_arena *arena;

	peer_check(lh_arena_open(tenant->name, LH_CREATE, NULL, &arena), "lh_arena_open");
	further_acquire(arena, leases, FURTHER_LEASES);
	gate_set(tenant->settled, 1);
	gate_await_order(tenant->settled, 1);
}

pid_t further_start(const char *name)
{
	struct tenant tenant = { .name = name,
				 .settled = process_shared_memory(sizeof(*tenant.settled)) };
	const pid_t pid = process_start_aside(stay, &tenant);

	gate_await(tenant.settled, 1);
	munmap(tenant.settled, sizeof(*tenant.settled)); // its own mapping stays
	return pid;
}

void further_end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	process_bury(pid);
}
