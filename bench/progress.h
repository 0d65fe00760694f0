// SPDX-License-Identifier: Apache-2.0
//
// progress.h: how far a long run is, on standard error, if that is a terminal.
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include <stddef.h>

// A run of so many seconds begins.
void progress_begin(double seconds);
// The case that is measured from now on.
void progress_case(const char *name, size_t number, size_t count);
// To be called every now and then, in any process of the run: at most twice a second it says
// something.
void progress_tick(void);
// Takes back what was said.
void progress_end(void);

#endif
