// SPDX-License-Identifier: Apache-2.0
//
// actor.h: processes that do with an arena what a test tells them.
//
// An actor is a child process with one lease on the arena and the array of mutexes ACTOR_MUTEXES,
// which the first one places. It does one thing after the other and answers each with its result;
// a lock that has to wait is answered when it was granted. The parent need not open the arena at
// all, so nothing but the actors acts on it.
//
// Failures end in cmocka's fail; actors_end, a teardown function for cmocka, then kills what is
// left. Actors also die with their parent.
#ifndef TESTS_SUPPORT_ACTOR_H
#define TESTS_SUPPORT_ACTOR_H

#include <stdint.h>
#include <sys/types.h>

#define ACTOR_TABLE "table"
enum { ACTOR_MUTEXES = 4, ACTOR_DATA_SIZE = 100 };

enum actor_verb {
	ACTOR_LOCK,       /* mutex number `argument`, however long it takes: the lock's result */
	ACTOR_UNLOCK,     /* mutex number `argument` */
	ACTOR_CONSISTENT, /* mutex number `argument` */
	ACTOR_REGION,     /* leased memory of `argument` bytes */
	ACTOR_RELEASE     /* its lease; nothing after that */
};

struct actor;

struct actor_options {
	const char *label;
	const char *command; /* the process's name; NULL: as it is */
	uint64_t ttl_ns;
	unsigned flags; /* LH_LEASE_… */
};

// A new actor, once it has its lease. options may be NULL.
struct actor *actor_start(const char *arena, const struct actor_options *options);

pid_t actor_pid(const struct actor *actor);
uint64_t actor_lease(const struct actor *actor); /* lh_lease_id */

// Tells it what to do; actor_result waits for the result of that. actor_do does both.
void actor_tell(struct actor *actor, enum actor_verb verb, uint64_t argument);
int actor_result(struct actor *actor);
int actor_do(struct actor *actor, enum actor_verb verb, uint64_t argument);

// SIGKILL, and the end of the process.
void actor_kill(struct actor *actor);

// Kills all there are. Returns 0.
int actors_end(void **state);

#endif
