// SPDX-License-Identifier: Apache-2.0
//
// condvar.h: the case of `lease-bench condvar` that has a file of its own.
#ifndef BENCH_CONDVAR_H
#define BENCH_CONDVAR_H

#include "bench.h"

// condvar_kill.c
void condvar_kill(struct run *run, const struct bench_case *self, double seconds);

#endif
