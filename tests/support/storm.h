// SPDX-License-Identifier: Apache-2.0
//
// storm.h: what the stress tests share: a seed, a time to run for, and processes that are killed,
// stopped and started anew at random.
#ifndef TESTS_SUPPORT_STORM_H
#define TESTS_SUPPORT_STORM_H

#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tests/support/stage.h"

// LEASEHOLD_SEED, or one of the moment; prints it.
unsigned storm_seed(void);
// When to end: some seconds from now, by the tier.
uint64_t storm_end(void);
// A number below `bound`.
uint32_t storm_random(unsigned *seed, uint32_t bound);

struct storm {
	peer_body *body; /* gets a struct storm_worker */
	int workers;
	bool kills;
	bool stops;   /* stop and continue them, for at most stop_ns */
	bool may_die; /* of SIGKILL by others than the storm; then another is started */
	uint64_t stop_ns;
	uint64_t pause_ns;           /* at most, between two deeds */
	void (*each)(void *context); /* called between deeds; may be NULL */
	void *context;
};

struct storm_worker {
	unsigned seed;
	int number;
};

struct storm_deeds {
	uint64_t kills, stops;
	uint64_t died; /* killed by others */
};

// Keeps `workers` processes running until `end`, and until one was killed and one stopped, if that is
// asked for: on a busy machine the time may not suffice. Then kills those that are left.
struct storm_deeds storm_run(const struct storm *storm, unsigned *seed, uint64_t end);

// For `duration` ns, and again until *wanted is not 0: what a storm is to show may need a kill at
// the right moment. The test's watchdog bounds it.
struct storm_deeds storm_run_until(const struct storm *storm, unsigned *seed, uint64_t duration,
				   const _Atomic uint64_t *wanted);

#endif
