// SPDX-License-Identifier: Apache-2.0
//
// survive.h: what the files of demo-survive share.
#ifndef DEMO_SURVIVE_SURVIVE_H
#define DEMO_SURVIVE_SURVIVE_H

#include <leasehold/leasehold.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { LANES = 4, LEASEHOLD_LANE = LANES - 1, PROCESSES = 3 };

// One lock and the processes that take turns with it; in memory that all share.
struct lane {
	_Atomic uint64_t turns;     // that all its processes have had
	_Atomic bool kill_wanted;   // whoever is granted the lock next holds it until it is killed
	_Atomic pid_t victim;       // who that is, 0: nobody yet; by itself, holding the lock
	_Atomic uint64_t killed_ns; // just before the kill; by the parent
	_Atomic uint64_t
		next_grant_ns; // of the first grant after the victim's; by who was granted it
	_Atomic bool told;     // and whether that one was told of the death
};

struct shared {
	_Atomic uint32_t ready; // processes that are about to take their first turn
	pid_t parent;
	pthread_mutex_t robust;
	sem_t semaphore;
	pthread_rwlock_t rwlock;
	struct lane lane[LANES];
};

// A process's view of its lock.
struct contender {
	struct shared *shared;
	lh_arena *arena;
	lh_mutex mutex;
	lh_lease *lease; // of Leasehold's processes
};

// How a lock is used; each returns 0 or an error as the lock's own calls do.
struct lock_kind {
	const char *name;
	int (*lock)(struct contender *contender,
		    bool *ret_owner_died); // and repairs what is damaged
	int (*unlock)(struct contender *contender);
};

// locks.c
extern const struct lock_kind lock_kinds[LANES];
bool create_locks(struct shared *shared);

// display.c
void display_start(void);
// What a glimpse shows of each lane: a bar for its turns a second, and what became of it.
void display(const struct shared *shared);
double display_rate(unsigned lane); // turns a second, over the latest glimpses

#endif
