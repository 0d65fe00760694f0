// SPDX-License-Identifier: Apache-2.0
//
// locks.h: the cases of `lease-bench locks` that have a file of their own.
#ifndef BENCH_LOCKS_H
#define BENCH_LOCKS_H

#include "bench.h"

// locks_contended.c
void locks_contended(struct run *run, const struct bench_case *self, double seconds);
// locks_pending.c
void locks_pending(struct run *run, const struct bench_case *self, double seconds);

#endif
