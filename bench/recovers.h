// SPDX-License-Identifier: Apache-2.0
//
// recovers.h: whether the death of a holder lets the next one in, seen by killing holders.
#ifndef BENCH_RECOVERS_H
#define BENCH_RECOVERS_H

#include "peer.h"

// For tests, on a machine that does other things: a peer of that name, which must last, is waited
// for a minute before it is said to hang. False: that is too many.
bool recovers_be_patient(const char *peer);
// Rows of the time from SIGKILL to the next grant, where there was one, against peer 0, which
// recovers; and for the whole report, what each peer did.
void compare_recovery(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds);

// For a peer's `hold` that does not return: that it holds, as far as a taker can tell; and the same,
// until the process is killed.
void recovers_held(void);
_Noreturn void recovers_stay(void);

#endif
