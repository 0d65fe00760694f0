// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/topology.h"

#include <dlfcn.h>
#include <errno.h>
#include <hwloc.h>
#include <pthread.h>

static struct {
	__typeof__(&hwloc_topology_init) init;
	__typeof__(&hwloc_topology_load) load;
	__typeof__(&hwloc_topology_get_topology_nodeset) nodes;
	__typeof__(&hwloc_set_area_membind) bind;
	hwloc_topology_t topology;
	int error;
} hwloc;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
	void *library = dlopen("libhwloc.so.15", RTLD_NOW | RTLD_LOCAL);

	hwloc.error = -ENOTSUP;
	if (!library)
		return;
	hwloc.init = (__typeof__(hwloc.init))dlsym(library, "hwloc_topology_init");
	hwloc.load = (__typeof__(hwloc.load))dlsym(library, "hwloc_topology_load");
	hwloc.nodes = (__typeof__(hwloc.nodes))dlsym(library,
						     "hwloc_topology_get_topology_nodeset");
	hwloc.bind = (__typeof__(hwloc.bind))dlsym(library, "hwloc_set_area_membind");
	if (!hwloc.init || !hwloc.load || !hwloc.nodes || !hwloc.bind)
		return;
	if (hwloc.init(&hwloc.topology) == 0 && hwloc.load(hwloc.topology) == 0)
		hwloc.error = 0;
}

int topology_interleave(void *address, size_t size)
{
	pthread_once(&once, load);
	if (hwloc.error)
		return hwloc.error;
	if (hwloc.bind(hwloc.topology, address, size, hwloc.nodes(hwloc.topology),
		       HWLOC_MEMBIND_INTERLEAVE, HWLOC_MEMBIND_BYNODESET) != 0)
		return -ENOTSUP;
	return 0;
}
