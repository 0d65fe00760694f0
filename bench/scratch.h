// SPDX-License-Identifier: Apache-2.0
//
// scratch.h: shared memory objects that live no longer than the run.
#ifndef BENCH_SCRATCH_H
#define BENCH_SCRATCH_H

#define SCRATCH_NAME 48

// A name for an arena, or any POSIX shared memory, that nobody has. It is unlinked when the program
// ends, by SIGINT or SIGTERM too. To be called in the program itself, not in a child.
void scratch_name(char name[static SCRATCH_NAME]);
// Unlinks it earlier.
void scratch_unlink(const char *name);

#endif
