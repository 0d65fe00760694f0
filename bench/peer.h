// SPDX-License-Identifier: Apache-2.0
//
// peer.h: what can be locked, and the loops that every peer runs. A new peer is a struct peer in a
// file peer_<family>.c, with the loops of peer_loops.h compiled for it.
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <leasehold/leasehold.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "measure.h"
#include "process.h"
#include "report.h"
#include "scratch.h"

#define PEER_WORDS 4         // that a critical section increments
#define PEER_OWNER_DIED 1    // what a lock call tells besides 0
#define PEER_THINK_NS 1000.0 // mean length of a pause

struct peer;

// One lock, as one process sees it: made by create in the program, copied by fork.
struct lock {
	const struct peer *peer;
	volatile uint64_t *words; // PEER_WORDS, protected by it, in the cache line after it
	pthread_mutex_t *mutex;   // peer_pthread.c
	size_t size;
	char object_name[SCRATCH_NAME]; // peer_lease.c
	lh_arena *arena;
	lh_lease *lease;
	lh_mutex handle;
	lh_semaphore permits; // peer_semaphore.c
	struct shared *shared;
	int undo;
};

// One of several processes that want the same lock.
struct contender {
	const gate *stop;
	_Atomic uint64_t *count; // locked and unlocked so often; written by this contender alone
	uint64_t think_steps;    // mean length of the pause after each unlock; 0: none
	struct random random;
	uint64_t violations;  // times that it found what only a second holder can have left
	uint64_t max_wait_ns; // filled by contend_timed alone
	uint64_t max_passed;  // grants to others while it waited for one
};

struct peer {
	const char *name;
	const char *about;
	bool ends_with_holder;             // the death of a holder lets the next one in
	bool silent;                       // and does not tell it
	void (*create)(struct lock *lock); // in the program, for processes forked later
	void (*destroy)(struct lock *lock);
	void (*attach)(struct lock *lock); // in each process, before it locks
	void (*detach)(struct lock *lock);
	int (*lock)(struct lock *lock); // 0 or PEER_OWNER_DIED (already declared consistent)
	void (*unlock)(struct lock *lock);
	void (*pairs)(struct lock *lock, uint64_t pairs); // so many of lock + unlock
	void (*contend)(struct lock *lock, struct contender *contender);
	void (*contend_timed)(struct lock *lock, struct contender *contender);
};

extern const struct peer peer_pthread_plain;
extern const struct peer peer_pthread_robust;
extern const struct peer peer_pthread_robust_pi;
extern const struct peer peer_lease;
extern const struct peer peer_lease_ttl;
extern const struct peer peer_lease_inlined;
extern const struct peer peer_posix_semaphore;
extern const struct peer peer_undo_semaphore;
extern const struct peer peer_lease_semaphore;
extern const struct peer peer_lease_semaphore_ttl;
extern const struct peer peer_lease_semaphore_inlined;

// What a case compares. Contended and killed, all are compared with the first, and the second is the
// library's; rows are those of the pair.
struct peer_set {
	const struct peer *const *peers;
	size_t count;
	struct {
		size_t peer, reference;
		struct target target;
	} rows[MEASURE_COLUMNS];
	size_t row_count;
};

void peer_create(struct lock *lock, const struct peer *peer);
// How often one process has to turn the crank to think for PEER_THINK_NS.
uint64_t peer_think_steps(void);

#endif
