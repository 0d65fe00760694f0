// SPDX-License-Identifier: Apache-2.0
#include "system.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "measure.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static bool membarrier_works(void)
{
	const long wanted = MEMBARRIER_CMD_GLOBAL_EXPEDITED |
			    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
	const long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return known >= 0 && (known & wanted) == wanted;
}

// A call without words is refused as such by a kernel that has the call.
static bool futex_waitv_works(void)
{
	return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == EINVAL;
}

// The first line of the file that begins with `key` and, after it, a colon; all of the line without
// a key. "unknown" if there is none.
static void read_line(const char *path, const char *key, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[256];

	snprintf(text, size, "unknown");
	while (file && fgets(line, sizeof(line), file)) {
		const char *value = key ? strchr(line, ':') : line;

		if (key && (strncmp(line, key, strlen(key)) != 0 || !value))
			continue;
		value += strspn(value, ": \t");
		snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
		break;
	}
	if (file)
		fclose(file);
}

struct system_info system_look(void)
{
	struct system_info info = { .membarrier = membarrier_works(),
				    .futex_waitv = futex_waitv_works() };
	struct utsname name;
	cpu_set_t cpus;

	if (uname(&name) == 0) {
		snprintf(info.host, sizeof(info.host), "%s", name.nodename);
		snprintf(info.kernel, sizeof(info.kernel), "%s %s %s", name.sysname, name.release,
			 name.machine);
	}
	read_line("/proc/cpuinfo", "model name", info.cpu_model, sizeof(info.cpu_model));
	read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", NULL, info.governor,
		  sizeof(info.governor));
	snprintf(info.pinning, sizeof(info.pinning), "none");
	snprintf(info.libc, sizeof(info.libc), "glibc %s", gnu_get_libc_version());
	info.cpus = sched_getaffinity(0, sizeof(cpus), &cpus) == 0
			    ? CPU_COUNT(&cpus)
			    : (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (getloadavg(&info.load_average, 1) != 1)
		info.load_average = -1;
	return info;
}

// ---- others --------------------------------------------------------------------------------------
static struct {
	uint64_t busy, since_ns;
	double own_seconds;
} start;

// Clock ticks that all CPUs of the machine spent with work, since boot: proc(5), /proc/stat.
static uint64_t busy_ticks(void)
{
	FILE *file = fopen("/proc/stat", "re");
	unsigned long long user, nice, system, idle, wait, irq, softirq, steal;

	if (!file)
		return 0;
	const int fields = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice,
				  &system, &idle, &wait, &irq, &softirq, &steal);
	fclose(file);
	return fields == 8 ? user + nice + system + irq + softirq + steal : 0;
}

static double own_seconds(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec + children.ru_utime.tv_sec +
			children.ru_stime.tv_sec) +
	       (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec + children.ru_utime.tv_usec +
			children.ru_stime.tv_usec) /
		       1e6;
}

void system_watch_others(void)
{
	start.busy = busy_ticks();
	start.own_seconds = own_seconds();
	start.since_ns = measure_now();
}

double system_others(void)
{
	const uint64_t busy = busy_ticks();
	const double seconds = (double)(measure_now() - start.since_ns) / 1e9;
	const double capacity = seconds * (double)sysconf(_SC_NPROCESSORS_ONLN);
	const double others = (double)(busy - start.busy) / (double)sysconf(_SC_CLK_TCK) -
			      (own_seconds() - start.own_seconds);

	if (start.busy == 0 || busy == 0 || capacity <= 0)
		return -1;
	return others > 0 ? others / capacity : 0;
}
