// SPDX-License-Identifier: Apache-2.0
//
// clock.h: CLOCK_MONOTONIC, and what must agree between processes that compare its stamps.
#ifndef ARENA_SYS_CLOCK_H
#define ARENA_SYS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_MS UINT64_C(1000000)
#define CLOCK_NS_PER_S UINT64_C(1000000000)

// Nanoseconds of CLOCK_MONOTONIC. Async-signal-safe.
uint64_t clock_now(void);

static inline struct timespec clock_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / CLOCK_NS_PER_S),
				  .tv_nsec = (long)(ns % CLOCK_NS_PER_S) };
}

// What the stamps in an arena mean: the boot, and the time namespace's offset.
struct clock_identity {
	uint8_t boot_id[16];
	uint64_t time_namespace; // inode of /proc/self/ns/time; 0: the kernel has none
};

// The calling process's time namespace; 0 or a negative errno. A forked child may have another.
int clock_namespace(uint64_t *ret_namespace);
// Reads /proc; 0 or a negative errno.
int clock_identify(struct clock_identity *ret_identity);

#endif
