// SPDX-License-Identifier: Apache-2.0
//
// recovers.h: whether the death of a holder lets the next one in, seen by killing holders.
#ifndef BENCH_RECOVERS_H
#define BENCH_RECOVERS_H

#include "peer.h"

// Rows of the time from SIGKILL to the next grant, where there was one, against peer 0, which recovers;
// and for the whole report, what each peer did.
void compare_recovery(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds);

#endif
