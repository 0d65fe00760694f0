// SPDX-License-Identifier: Apache-2.0
//
// values.h: what `lease-bench watch`, `cell` and `once` have in common: rounds of timed loops in one
// process, and how long after a SIGKILL the next one is in.
#ifndef BENCH_VALUES_H
#define BENCH_VALUES_H

#include <leasehold/leasehold.h>

#include "peer.h"
#include "process.h"
#include "report.h"
#include "scratch.h"

// Ends the run if a call of the library failed.
_Noreturn void values_failed(int result, const char *what);
static inline void values_must(int result, const char *what)
{
	if (result)
		values_failed(result, what);
}

// A new arena with further leases in it (further.h), for the processes that are forked from now on, and its end. In the program itself.
lh_arena *values_arena(size_t size);
void values_end(lh_arena *arena);
lh_lease *values_lease(lh_arena *arena);

// One thing that is timed; `loop` does it `count` times. Its figure is ns for one.
struct timed {
	const char *name;
	void (*loop)(void *context, uint64_t count);
	void *context;
	uint64_t count;
};

// Times each in every round, in an order drawn anew.
void values_time(const struct run *run, const char *purpose, double seconds,
		 const struct timed *timed, size_t columns, struct samples *samples);

// Who holds something until it is killed, and who sleeps for it: in processes of their own.
struct succession {
	const char *name;
	void (*create)(void *context); // in the program
	void (*hold)(void *context);   // returns when it holds, or calls values_stay
	// Sleeps until the holder is dead, and returns with what it had: 0, or PEER_OWNER_DIED if that
	// told of the death.
	int (*succeed)(void *context);
	void *context;
	const char *const *also; // as a peer's
};

// Rows that compare each with the first.
void values_kill(struct run *run, const char *case_name, double seconds,
		 const struct succession *successions, size_t count);

#define VALUES_MOST 3
// What each does when its holder is killed, and what `peer` does unless it is NULL.
void values_recover(struct run *run, const struct bench_case *self, double seconds,
		    const struct succession *successions, size_t count, const struct peer *peer);

// In `hold`: it is held, until the process is killed.
_Noreturn void values_stay(void);

// The reference of all: a robust pthread mutex.
extern const struct succession values_robust;

#endif
