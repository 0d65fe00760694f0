// SPDX-License-Identifier: Apache-2.0
//
// scene.h: one operation, tried with a crash after each of its instructions.
//
// For each point a *director* process is forked from the same pristine parent. It makes an arena of
// its own, sets the stage, forks the *victim*, steps it to the point, kills it there, and then is the
// next user: it checks what it is granted and what is left. A first director only records the points.
//
// A victim that does not come by the recorded point is tried again, and if that helps nothing the
// operation is recorded anew; a point that stays out of reach is a failure.
#ifndef TESTS_CRASH_SCENE_H
#define TESTS_CRASH_SCENE_H

#include "arena/arena.h"
#include "tests/crash/stepper.h"

#include <leasehold/leasehold.h>

enum { SCENE_LEASES = 6, SCENE_HOLDS = 4, SCENE_WAITERS = 3, SCENE_DATA = 64 };

#define SCENE_WATCHDOG_S 20
#define SCENE_DEADLINE_NS LH_SEC(10) /* a watchdog too: nothing may take so long */

// A process that locks the scene's mutex, says what it was granted, and unlocks it.
struct scene_waiter {
	pid_t pid;
	_Atomic uint32_t done;
	int result;
	lh_grant grant;
	uint64_t granted_ns;
	bool intruded; /* the data changed while it held the lock */
};

// Memory that all processes of a scene share.
struct scene_shared {
	uint64_t lease; /* the victim's, and its slot */
	uint32_t slot;
	uint64_t offset; /* of what the victim acquired */
	int result;      /* of its operation */
	int results[16]; /* of what it did afterwards */
	_Atomic uint32_t finished;
	_Atomic uint32_t lost_wakes;
	_Atomic uint32_t go;
	_Atomic pid_t thread; /* of a victim that is a thread */
	struct scene_waiter waiters[SCENE_WAITERS];
};

struct scene {
	const struct scene_operation *operation;
	char name[64];
	lh_arena *arena; /* the director's; inherited by all it forks */
	lh_mutex mutex;  /* with SCENE_DATA bytes */
	lh_lease *lease; /* the director's */
	lh_lease *mine;  /* the victim's, in the victim */
	struct scene_shared *shared;
	struct stepper stepper;
	pid_t victim, holder;
	size_t waiter_count;
	uint32_t placements; /* that were there before the victim */
	uint64_t kept;       /* for the operation's own use */
	// as the victim left it, read before its end
	uint64_t word;
	bool held;
	uint64_t killed_ns;
	// for the next grants
	bool damage;         /* the next one has to be told of damage */
	uint64_t lost_lease; /* whose */
	uint64_t token;      /* the highest granted so far */
	uint32_t dead_slot;  /* + 1, of scene_dead_holder; 0: none */
	uint64_t dead_lease;
	uint64_t serial; /* of the point */
	bool failed;
};

struct scene_operation {
	const char *name;
	const char *shows; /* guarantees */
	bool every;        /* after each instruction, not only where the state changes */
	// How many of the points are tried: every n-th, in the tiers quick, full and ci. 0: 1.
	uint32_t thin[3];
	// In the director, before there is a victim. NULL: scene_stage.
	void (*stage)(struct scene *scene);
	// In the victim: before the mark; the operation itself; after it, if it lives.
	void (*prepare)(struct scene *scene);
	int (*act)(struct scene *scene);
	void (*after)(struct scene *scene);
	// In the director, when the victim is at its mark: true if it is where stepping begins.
	bool (*begin)(struct scene *scene);
	// In the director, when the victim stands at the point.
	void (*at_point)(struct scene *scene);
	// Instead of the kill.
	void (*strike)(struct scene *scene);
	// In the director, afterwards.
	void (*verify)(struct scene *scene);
	bool no_arena; /* the victim is to create it: nothing is opened before */
	bool thread;   /* the victim is a thread, which ends after its mark */
	bool sleeps;   /* stepping ends before the victim's first sleep */
	// No stepping: the victim is struck where `begin` left it, so many times. 0: stepping.
	uint32_t repeat[3];
	// In the director, once the victim has been started: until this returns it is not waited for.
	void (*meet)(struct scene *scene);
};

// Tries all the operations, prints a line for each; the number of failed points.
int scene_run(const struct scene_operation *operations, size_t count);

// ---- for stages

// A child that dies with the director.
pid_t scene_fork(struct scene *scene);
// Opens the scene's arena, places its mutex, and acquires the director's lease.
void scene_stage(struct scene *scene);
void scene_open(struct scene *scene);
// A process that locks the mutex, and perhaps more (`prepare`, its lease as scene->mine); its death.
void scene_start_holder(struct scene *scene, void (*prepare)(struct scene *scene));
void scene_kill_holder(struct scene *scene);
// Both, and the holder is gone.
void scene_dead_holder(struct scene *scene, void (*prepare)(struct scene *scene));
// A process that only has a lease, and dies.
void scene_dead_idler(struct scene *scene);
void scene_director_locks(struct scene *scene);
void scene_director_unlocks(struct scene *scene);
// Another waiter, once it sleeps in its lock call or is done.
void scene_add_waiter(struct scene *scene);
// Until the thread sleeps on futexes, or has ended.
void scene_await_asleep(struct scene *scene, pid_t thread);

// ---- for victims

// Acquires scene->mine and tells its number; ttl_ns 0: none.
void scene_acquire(struct scene *scene, uint64_t ttl_ns);
void scene_must(struct scene *scene, int result, const char *what);
// For `prepare`: with a lease; with one that has a TTL; and holding the mutex.
void scene_with_lease(struct scene *scene);
void scene_with_ttl(struct scene *scene);
void scene_holding(struct scene *scene);
void scene_holding_with_ttl(struct scene *scene);
// For `act`.
int scene_lock(struct scene *scene);
int scene_unlock(struct scene *scene);
int scene_lock_and_unlock(struct scene *scene);

// ---- for verifying

// Fails the point, with a message that names it.
void scene_fail(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define SCENE_CHECK(scene, condition, ...)                                                         \
	do {                                                                                       \
		if (!(condition))                                                                  \
			scene_fail((scene), __VA_ARGS__);                                          \
	} while (0)

struct object_header *scene_header(const struct scene *scene);
// Reads the mutex's word and whether the victim holds it, while it is stopped.
void scene_observe(struct scene *scene);
// Notes how long after the kill somebody was granted the mutex.
void scene_note_recovery(const struct scene *scene, uint64_t granted_ns);
// Until the victim and all waiters have ended.
void scene_reap_children(struct scene *scene);
void scene_kill(struct scene *scene);
// All waiters got through, each told what it had to be; none needed a backstop.
void scene_collect_waiters(struct scene *scene);
// The mutex is to be had at once, with damage told exactly if the victim held it, and higher token.
void scene_check_mutex(struct scene *scene);
// Nobody and nothing is left: every slot is to be had, the audit is clean, no lease, hold, leased
// region or waiter remains. Ends the director's own lease.
void scene_check_empty(struct scene *scene);
// scene_collect_waiters, scene_check_mutex, scene_check_empty.
void scene_verify(struct scene *scene);

#endif
