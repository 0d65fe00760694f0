// SPDX-License-Identifier: Apache-2.0
//
// patience.h: waits without the backstop, so that a wake that got lost is seen for certain.
//
// A sleeper looks again by itself after a few milliseconds, which would hide that nobody woke it: on
// a busy machine no stopwatch tells the two apart. The linker puts patience in place of the library's
// futex_wait_many (--wrap): in a process that says so, a sleep lasts until a wake or PATIENCE_NS,
// and each time that it comes to the latter is counted. Not for waits with a deadline or a TTL.
#ifndef TESTS_CRASH_PATIENCE_H
#define TESTS_CRASH_PATIENCE_H

#include <stdatomic.h>
#include <stdint.h>

#define PATIENCE_NS UINT64_C(1500000000)

// From now on in this process; 0: no more. Lost wakes are counted in *lost.
void patience_begin(_Atomic uint32_t *lost);

#endif
