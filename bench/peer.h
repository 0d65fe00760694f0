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
	uint64_t handicap_ns;     // spent in vain while it is held: --handicap
	char object_name[SCRATCH_NAME];
	struct peer_area *area; // peer_area_attach
	lh_arena *arena;        // peer_arena_attach
	pid_t further;          // who has the further leases, or 0
	lh_lease *lease;
	lh_mutex handle;
	lh_semaphore permits; // peer_semaphore.c
	int undo;
	int file;            // peer_file.c
	struct locks *locks; // rwlock_recovers.c
	lh_locks *named;     // peer_key.c
	lh_handle *grant;
	char where[SCRATCH_NAME];
};

// Where the locks lie that are no more than memory: a POSIX shared memory object as large as an
// arena, which each process opens itself, as it would an arena: how memory is mapped shows in how
// long a process takes to die. What the lock protects is in the next cache line, as in an arena.
#define PEER_LINE 64

struct peer_area {
	_Alignas(PEER_LINE) unsigned char lock[PEER_LINE];
	_Alignas(PEER_LINE) volatile uint64_t words[PEER_WORDS];
};

// One of several processes that want the same lock.
struct contender {
	const gate *stop;
	_Atomic uint64_t *count; // locked and unlocked so often; written by this contender alone
	uint64_t think_steps;    // mean length of the pause after each unlock; 0: none
	uint64_t hold_steps;     // and of the time that each grant is kept
	struct random random;
	uint64_t violations;  // times that it found what only a second holder can have left
	uint64_t max_wait_ns; // filled by contend_timed alone
	uint64_t max_passed;  // grants to others while it waited for one
};

struct peer {
	const char *name;
	const char *about;
	bool silent;                       // a holder's death is not told to the next
	bool spins;                        // whoever waits never sleeps
	uint64_t ttl_ns;                   // peer_arena_attach
	bool crowded;                      // peer_arena_create: with further leases in the arena
	void (*place)(struct lock *lock);  // the same: the primitive and the words, in lock->arena
	void (*create)(struct lock *lock); // in the program, for processes forked later
	void (*destroy)(struct lock *lock);
	void (*attach)(struct lock *lock); // in each process, before it locks
	void (*detach)(struct lock *lock);
	// For recovers.c: how it is held by whom is killed (NULL: as by lock), what the program does
	// right after the kill (NULL: nothing), and the names, then NULL, that other cases' rows have
	// for what recovers likewise.
	int (*hold)(struct lock *lock);
	void (*killed)(struct lock *lock);
	const char *const *also;
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
extern const struct peer peer_flock;
extern const struct peer peer_ofd;
extern const struct peer peer_key;
extern const struct peer peer_key_file;
extern const struct peer peer_nothing;

// What a mutex is compared with besides pthread's and its own forms, as far as it was there when
// this was built.
#ifdef LEASE_BENCH_BOOST
extern const struct peer peer_boost;
#define PEER_BOOST &peer_boost,
#else
#define PEER_BOOST
#endif
#ifdef LEASE_BENCH_CK
extern const struct peer peer_ck;
#define PEER_CK &peer_ck,
#else
#define PEER_CK
#endif
#define PEERS_FURTHER PEER_BOOST PEER_CK &peer_undo_semaphore, &peer_flock, &peer_ofd

// What a case compares. Contended and killed, all are compared with the first, and the second is
// the library's; rows are those of the pair.
struct peer_set {
	const struct peer *const *peers;
	size_t count;
	struct {
		size_t peer, reference;
		struct target target;
	} rows[MEASURE_COLUMNS];
	size_t row_count;
	size_t further; // peers from here on have a row against the first row's reference; 0: none
};

// Ends the run if a call of the library gave an error.
void peer_check(int error, const char *what);
void peer_create(struct lock *lock, const struct peer *peer);

// For `create`: a new area, mapped until it is unmapped. The others are a peer's functions as they
// are.
struct peer_area *peer_area_create(struct lock *lock);
void peer_area_unmap(struct peer_area *area);
void peer_area_destroy(struct lock *lock);
void peer_area_attach(struct lock *lock);
void peer_area_detach(struct lock *lock);

// The same for what lies in an arena. Each process opens it by its name and acquires its own lease,
// as programs do that know nothing of each other.
void peer_arena_create(struct lock *lock);
void peer_arena_destroy(struct lock *lock);
void peer_arena_attach(struct lock *lock);
void peer_arena_detach(struct lock *lock);

// Everything locked from now on that is named so is held `ns` longer: to see that a ratio shows it.
void peer_set_handicap(const char *name, uint64_t ns);
// Whether a lock of that name was made since, or no handicap is set.
bool peer_handicap_applied(void);
// How often one process has to turn the crank to work for so long.
uint64_t peer_steps(double ns_wanted);

#endif
