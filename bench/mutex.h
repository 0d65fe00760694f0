// SPDX-License-Identifier: Apache-2.0
//
// mutex.h: the cases of `lease-bench mutex`, each in the file named.
#ifndef BENCH_MUTEX_H
#define BENCH_MUTEX_H

#include "bench.h"

// The cases that other primitives have too, for their peers.
struct peer_set;
void compare_pairs(struct run *run, const struct bench_case *self, const struct peer_set *set,
		   double seconds);
void compare_contended(struct run *run, const struct bench_case *self, const struct peer_set *set,
		       double seconds);
void compare_oversubscribed(struct run *run, const struct bench_case *self,
			    const struct peer_set *set, double seconds);
void compare_fairness(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds);
// The names of contended and oversubscribed, then NULL.
extern const char *const compare_contests[];
void compare_handover(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds);
void compare_kills(struct run *run, const struct bench_case *self, const struct peer_set *set,
		   double seconds);

// mutex.c
void mutex_uncontended(struct run *run, const struct bench_case *self, double seconds);
void mutex_recovers(struct run *run, const struct bench_case *self, double seconds);
void mutex_header(struct run *run, const struct bench_case *self, double seconds);
// mutex_contended.c
void mutex_contended(struct run *run, const struct bench_case *self, double seconds);
void mutex_oversubscribed(struct run *run, const struct bench_case *self, double seconds);
extern const struct peer_set mutex_contenders;
// mutex_fairness.c
void mutex_fairness(struct run *run, const struct bench_case *self, double seconds);
extern const struct peer_set mutex_sharers;
// mutex_handover.c
void mutex_handover(struct run *run, const struct bench_case *self, double seconds);
// mutex_kill.c
void mutex_kill(struct run *run, const struct bench_case *self, double seconds);
// mutex_objects.c
void mutex_objects(struct run *run, const struct bench_case *self, double seconds);
// mutex_setup.c
void mutex_lease(struct run *run, const struct bench_case *self, double seconds);
void mutex_arena(struct run *run, const struct bench_case *self, double seconds);
void mutex_growth(struct run *run, const struct bench_case *self, double seconds);

#endif
