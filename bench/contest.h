// SPDX-License-Identifier: Apache-2.0
//
// contest.h: several processes want one lock. A slice starts all of a pool; once every one of them
// runs, grants are counted between two readings of the clock, however late the program is scheduled
// to make them, and the pool is stopped. At its end the words that the lock protects must agree
// with the grants counted.
#ifndef BENCH_CONTEST_H
#define BENCH_CONTEST_H

#include "peer.h"

#define CONTEST_MOST 64

struct seat {
	_Atomic uint64_t count;
	uint64_t violations, max_wait_ns, max_passed; // written by the seat between two slices
} __attribute__((aligned(64)));

struct contest {
	gate go;      // number of the slice; 0: not yet
	gate arrived; // processes that saw `go`
	gate parked;  // processes that wait for the next one
	uint64_t hold_steps, think_steps;
	bool timed, quit;
	gate stop __attribute__((aligned(64)));
	struct seat seats[CONTEST_MOST];
};

// A set of processes that want one lock.
struct pool {
	struct lock lock;
	struct contest *contest;
	uint32_t size, next; // processes; the one that is being forked
	uint64_t seed;
	uint32_t slices;
	pid_t pids[CONTEST_MOST];
	uint64_t shares[CONTEST_MOST]; // grants of each in the last slice
};

// How long each grant is kept and each pause lasts, on average; longest waits are timed.
struct contest_terms {
	double hold_ns, think_ns;
	bool timed;
};

void pool_start(struct pool *pool, const struct peer *peer, uint32_t size, uint64_t seed);
// Lets the pool contend for `ns`, or until there was a grant; ns per grant.
double pool_slice(struct pool *pool, uint64_t ns, const struct contest_terms *terms);
void pool_end(struct pool *pool, struct run *run);

#endif
