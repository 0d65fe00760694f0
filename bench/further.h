// SPDX-License-Identifier: Apache-2.0
//
// further.h: leases in an arena besides those that are measured: a process that lives beside others
// is seldom alone in its arena, and what a primitive does must not cost more for each.
#ifndef BENCH_FURTHER_H
#define BENCH_FURTHER_H

#include <sys/types.h>

#include <leasehold/leasehold.h>

#define FURTHER_LEASES 100

// So many, of the calling process; and their end.
void further_acquire(lh_arena *arena, lh_lease **leases, size_t count);
void further_release(lh_lease **leases, size_t count);

// FURTHER_LEASES in the arena of that name, which is made if it is not there, of a process that does
// nothing else until its end: so they end with none of those that are killed. In the program itself;
// it has them on return.
pid_t further_start(const char *name);
void further_end(pid_t pid);

#endif
