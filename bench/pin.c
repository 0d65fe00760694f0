// SPDX-License-Identifier: Apache-2.0
#include "pin.h"

#include <dlfcn.h>
#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>

#include "process.h"

#define MOST 1024

static struct {
	__typeof__(&hwloc_topology_init) init;
	__typeof__(&hwloc_topology_load) load;
	__typeof__(&hwloc_topology_destroy) destroy;
	__typeof__(&hwloc_topology_is_thissystem) is_this_system;
	__typeof__(&hwloc_get_type_depth) type_depth;
	__typeof__(&hwloc_get_nbobjs_by_depth) count_at;
	__typeof__(&hwloc_get_obj_by_depth) object_at;
} hwloc;

static struct {
	unsigned cpus[MOST]; // the kernel's numbers, in order
	size_t count;
	bool applies;
} chosen;

static void load(void)
{
	void *library = dlopen("libhwloc.so.15", RTLD_NOW | RTLD_LOCAL);

	if (!library)
		process_die("--pin wants hwloc: %s", dlerror());
#define FIND(field, name) (hwloc.field = (__typeof__(hwloc.field))dlsym(library, #name)) != NULL
	if (!(FIND(init, hwloc_topology_init) && FIND(load, hwloc_topology_load) &&
	      FIND(destroy, hwloc_topology_destroy) &&
	      FIND(is_this_system, hwloc_topology_is_thissystem) &&
	      FIND(type_depth, hwloc_get_type_depth) && FIND(count_at, hwloc_get_nbobjs_by_depth) &&
	      FIND(object_at, hwloc_get_obj_by_depth)))
		process_die("--pin: libhwloc.so.15 lacks a function");
#undef FIND
}

// Those that this process may run on; all of a topology that is not this machine's.
static size_t list_units(hwloc_topology_t topology, bool here, hwloc_obj_t units[MOST])
{
	const int depth = hwloc.type_depth(topology, HWLOC_OBJ_PU);
	const unsigned all = hwloc.count_at(topology, depth);
	cpu_set_t allowed;
	size_t count = 0;

	if (here && sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		process_die_errno(errno, "sched_getaffinity");
	for (unsigned i = 0; i < all && count < MOST; i++) {
		const hwloc_obj_t unit = hwloc.object_at(topology, depth, i);

		if (!here || (unit->os_index < CPU_SETSIZE && CPU_ISSET(unit->os_index, &allowed)))
			units[count++] = unit;
	}
	return count;
}

// Levels up to what both are part of: more, the farther they are from each other.
static int distance(hwloc_obj_t one, hwloc_obj_t other)
{
	const int depth = one->depth;

	while (one != other) {
		one = one->parent;
		other = other->parent;
	}
	return depth - one->depth;
}

// `nearest` is the distance of a unit to the nearest of those taken, `sum` that to all of them.
static bool better(enum pin pin, const int nearest[2], const int sum[2])
{
	if (pin == PIN_FAR)
		return nearest[0] != nearest[1] ? nearest[0] > nearest[1] : sum[0] > sum[1];
	return nearest[0] != nearest[1] ? nearest[0] < nearest[1] : sum[0] < sum[1];
}

static void order_units(enum pin pin, hwloc_obj_t units[MOST], size_t count)
{
	static int nearest[MOST], sum[MOST];
	static bool taken[MOST];
	size_t next = 0;

	for (size_t i = 0; i < count; i++)
		nearest[i] = INT32_MAX;
	for (chosen.count = 0; chosen.count < count; chosen.count++) {
		chosen.cpus[chosen.count] = units[next]->os_index;
		taken[next] = true;
		for (size_t i = 0; i < count; i++) {
			const int away = distance(units[i], units[next]);

			nearest[i] = away < nearest[i] ? away : nearest[i];
			sum[i] += away;
		}
		size_t best = count;
		for (size_t i = 0; i < count; i++) {
			if (taken[i])
				continue;
			if (best == count || better(pin, (int[]){ nearest[i], nearest[best] },
						    (int[]){ sum[i], sum[best] }))
				best = i;
		}
		next = best;
	}
}

static void say(enum pin pin, char *text, size_t size)
{
	size_t length = (size_t)snprintf(text, size, "%s%s: CPUs", pin == PIN_NEAR ? "near" : "far",
					 chosen.applies ? ""
							: " (not this machine's, not applied)");

	for (size_t i = 0; i < chosen.count && length + 16 < size; i++)
		length += (size_t)snprintf(text + length, size - length, " %u", chosen.cpus[i]);
}

void pin_choose(enum pin pin, char *text, size_t size)
{
	static hwloc_obj_t units[MOST];
	hwloc_topology_t topology;

	snprintf(text, size, "none");
	if (pin == PIN_NONE)
		return;
	load();
	if (hwloc.init(&topology) != 0 || hwloc.load(topology) != 0)
		process_die("--pin: hwloc cannot tell the topology");
	chosen.applies = hwloc.is_this_system(topology) != 0;
	const size_t count = list_units(topology, chosen.applies, units);
	if (count == 0)
		process_die("--pin: hwloc knows no CPU that this process may run on");
	order_units(pin, units, count);
	hwloc.destroy(topology);
	say(pin, text, size);
}

void pin_apply(size_t place)
{
	cpu_set_t cpus;

	if (!chosen.applies || chosen.count == 0)
		return;
	CPU_ZERO(&cpus);
	CPU_SET(chosen.cpus[place % chosen.count], &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
		process_die_errno(errno, "sched_setaffinity");
}
