// SPDX-License-Identifier: Apache-2.0
//
// patience.h: waits without the backstop, so that a wake that got lost is seen for certain.
//
// A sleeper looks again by itself after a few milliseconds, which would hide that nobody woke it:
// on a busy machine no stopwatch tells the two apart. The linker puts patience in place of the
// library's futex_wait_many (--wrap): in a process that says so, a sleep lasts until a wake or
// until PATIENCE_NS after all wakes were due, and each time that it comes to the latter is counted:
// also if what it sleeps on has changed meanwhile. Not for waits with a deadline or a TTL.
#ifndef TESTS_CRASH_PATIENCE_H
#define TESTS_CRASH_PATIENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PATIENCE_NS UINT64_C(3000000000)

struct patience {
	_Atomic uint64_t
		due_ns; // when the last of those died or let go who are waited for; 0: not yet
	_Atomic uint32_t lost_wakes;
};

// From now on in this process; NULL: no more.
void patience_begin(struct patience *patience);
// Whoever sleeps now should have been woken. The first call counts.
void patience_due(struct patience *patience);

// Has the library's clock stand still in this process, or go on: single steps take so long that on
// a busy machine a time limit of the library's is met at one time and missed at another.
void patience_stop_clock(bool stop);
// Has it go on by so much with each reading: what it does every so often, it does each time.
void patience_step_clock(uint64_t step_ns);

#endif
