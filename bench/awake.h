// SPDX-License-Identifier: Apache-2.0
//
// awake.h: keeps the CPUs from idling. How long one takes to come out of idleness depends on how
// long it has been in it, and in a virtual machine on the host: tens of microseconds that are
// nobody's, and not the same for two peers. (cyclictest(8) asks for the same by
// /dev/cpu_dma_latency, which a virtual machine does not have.)
#ifndef BENCH_AWAKE_H
#define BENCH_AWAKE_H

// On each CPU that the program may run on, a process that computes when nothing else would run
// there (SCHED_IDLE), until awake_end: before that the program must not be pinned.
void awake_begin(void);
// Nothing if nothing was begun.
void awake_end(void);

#endif
