// SPDX-License-Identifier: Apache-2.0
//
// condvar.h: the cases of `lease-bench condvar` that have a file of their own.
#ifndef BENCH_CONDVAR_H
#define BENCH_CONDVAR_H

#include "bench.h"

// condvar_kill.c
void condvar_kill(struct run *run, const struct bench_case *self, double seconds);
// condvar_recovers.c
void condvar_recovers(struct run *run, const struct bench_case *self, double seconds);

#endif
