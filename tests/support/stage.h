// SPDX-License-Identifier: Apache-2.0
//
// stage.h: an arena with an array of mutexes, as most tests of processes want it.
#ifndef TESTS_SUPPORT_STAGE_H
#define TESTS_SUPPORT_STAGE_H

#include <stdint.h>

#include <leasehold/leasehold.h>

#include "tests/support/peer.h"

enum { STAGE_MUTEXES = 8 };

// What stands in the data of each mutex: two counters without atomics, both written under the lock.
struct stage_data {
	uint64_t first;
	uint64_t second;
	uint64_t token; /* of the last holder */
};

struct stage {
	lh_arena *arena;
	lh_lease *lease; /* NULL until stage_lease */
	lh_mutex mutexes[STAGE_MUTEXES];
};

// A name that no other run uses; the same at each call of one program (peers included).
const char *stage_name(void);

// Opens (creates) the arena stage_name() and its mutexes; or the one at `path` if that is not NULL.
// flags: LH_ARENA_…, for its creation.
struct stage stage_open(const char *path, unsigned flags);
// Gives the stage a lease of the calling thread; options may be NULL.
void stage_lease(struct stage *stage, const struct lh_lease_options *options);
// Locks mutex `index`: the grant's flags. Waits without deadline.
unsigned stage_lock(struct stage *stage, int index);
void stage_unlock(struct stage *stage, int index);
struct stage_data *stage_data(const struct stage *stage, int index);

// Returns once `count` leases wait for mutex `index`, going by what the inspector is told.
void stage_await_waiters(const struct stage *stage, int index, unsigned count);

// Requires that lh_arena_check finds neither damage nor a deadlock, at any moment.
void stage_is_sound(const struct stage *stage);
// Reaps what the dead left and requires that lh_arena_check then finds nothing; no lease, hold or
// leased memory but those of this process is left.
void stage_is_clean(const struct stage *stage);
// Releases the lease, if there is one, and closes the arena.
void stage_close(struct stage *stage);
void stage_unlink(void);

// For cmocka: watch_end, and takes away what a failed test has left.
int stage_end(void **state);
#define STAGED(test) cmocka_unit_test_setup_teardown(test, watch_begin, stage_end)

#endif
