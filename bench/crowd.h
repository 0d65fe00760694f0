// SPDX-License-Identifier: Apache-2.0
//
// crowd.h: a few processes that want one lock, of whatever kind, for a slice at a time: their
// grants, how long these took, by the clock and of the processors' time, and how many each had. A
// contest (contest.h) does so for what is a struct peer.
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <sys/types.h>

#include "bench.h"
#include "process.h"

#define CROWD_MOST 8

// What is done in a slice: the first two mean what the work says.
struct crowd_order {
	int kind; // of lock
	uint64_t terms;
	uint32_t active; // of the processes
	uint64_t ns;     // for so long
};

struct crowd_work {
	const char *name;                                // of the sub-command
	void (*attach)(void *context, uint32_t process); // in each, once
	// Locks and unlocks until *stop, as often as it returns; counts who met whom they should not.
	uint64_t (*contend)(void *context, const struct crowd_order *order, const gate *stop,
			    _Atomic uint64_t *violations);
	void (*detach)(void *context);
};

struct crowd {
	const struct crowd_work *work;
	void *context; // copied by fork
	struct crowd_table *table;
	uint32_t size, next; // processes; the one that is being forked
	pid_t pids[CROWD_MOST];
	uint64_t shares[CROWD_MOST]; // grants of each in the last slice
};

struct crowd_slice {
	double wall; // ns for each grant, of all together; both NaN if there was none
	double cpu;  // ns of all for each grant
};

void crowd_start(struct crowd *crowd, const struct crowd_work *work, void *context, uint32_t size);
struct crowd_slice crowd_slice(struct crowd *crowd, const struct crowd_order *order);
void crowd_end(struct crowd *crowd, struct run *run);

#endif
