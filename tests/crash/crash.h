// SPDX-License-Identifier: Apache-2.0
//
// crash.h: one operation, tried with a crash after each of its instructions.
//
// For each point a *director* process is forked from the same pristine parent. It makes an arena of
// its own, sets the stage, forks the *victim*, steps it to the point, kills it there, and then is
// the next user: it checks what it is granted and what is left. A first director only records the
// points.
//
// A victim that does not come by the recorded point is tried again, and if that helps nothing the
// operation is recorded anew; a point that stays out of reach is a failure.
#ifndef TESTS_CRASH_CRASH_H
#define TESTS_CRASH_CRASH_H

#include "arena/arena.h"
#include "tests/crash/patience.h"
#include "tests/crash/stepper.h"

#include <leasehold/leasehold.h>

enum { CRASH_LEASES = 6, CRASH_HOLDS = 8, CRASH_WAITERS = 3, CRASH_DATA = 64 };

// What comes after the crash: the next user wants the lost one's slot first, or what it held; it
// first does not listen to news of damage; it leaves free what it took, before the stopped one goes
// on.
enum {
	CRASH_SLOTS_FIRST = 1,
	CRASH_DEAF_FIRST = 2,
	CRASH_LEFT_FREE = 1,
	CRASH_IMPATIENTLY = 2, /* the successor of a stopped one does not sleep */
	CRASH_VARIANTS = 2,    /* that are tried in turn; the other bits by chance */
};

#define CRASH_DEADLINE_NS LH_SEC(10) /* a watchdog too: nothing may take so long */

// A process that locks the scene's mutex, says what it was granted, and unlocks it.
struct crash_waiter {
	pid_t pid;
	_Atomic uint32_t done;
	int result;
	lh_grant grant;
	uint64_t granted_ns;
	bool other;    /* it wants scene->other */
	bool intruded; /* the data changed while it held the lock */
};

// Memory that all processes of a scene share.
struct crash_shared {
	uint64_t lease; /* the victim's, and its slot */
	uint32_t slot;
	uint64_t offset; /* of what the victim acquired */
	int result;      /* of its operation */
	int results[16]; /* of what it did afterwards */
	_Atomic uint32_t finished;
	struct patience patience;
	_Atomic uint32_t go;
	_Atomic pid_t thread; /* of a victim that is a thread */
	struct crash_waiter waiters[CRASH_WAITERS];
};

struct crash_scene {
	const struct crash_operation *operation;
	char name[64];
	lh_arena *arena; /* the director's; inherited by all it forks */
	lh_mutex mutex;  /* with CRASH_DATA bytes */
	lh_mutex other;  /* of crash_stage_two */
	lh_lease *lease; /* the director's */
	lh_lease *mine;  /* the victim's, in the victim */
	struct crash_shared *shared;
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
	uint32_t dead_slot;  /* + 1, of crash_dead_holder; 0: none */
	uint64_t dead_lease;
	uint64_t serial;      /* of the run */
	uint32_t variant;     /* CRASH_…: what comes after the crash */
	enum stepper_way way; /* how the stepper goes to the point */
	bool failed;
};

struct crash_operation {
	const char *name;
	const char *shows; /* guarantees */
	bool every;        /* after each instruction, not only where the state changes */
	// How many of the points are tried: one in n, chosen by chance, in the tiers quick, full
	// and ci; 0: all; fewer where that would take longer than the tier has (crash.c:step_for).
	// With `every`, those where the state changes are tried always, and in each variant of what
	// comes after the crash.
	uint32_t thin[3];
	// In the director, before there is a victim. NULL: crash_stage.
	void (*stage)(struct crash_scene *scene);
	// In the victim: before the mark; the operation itself; after it, if it lives.
	void (*prepare)(struct crash_scene *scene);
	int (*act)(struct crash_scene *scene);
	void (*after)(struct crash_scene *scene);
	// In the director, when the victim is at its mark: true if it is where stepping begins.
	bool (*begin)(struct crash_scene *scene);
	// In the director, when the victim stands at the point.
	void (*at_point)(struct crash_scene *scene);
	// Instead of the kill.
	void (*strike)(struct crash_scene *scene);
	// In the director, afterwards.
	void (*verify)(struct crash_scene *scene);
	// How many instructions it can take if it goes the short way, which is what is to be tried.
	// 0: any
	uint32_t at_most;
	bool not_quick; /* left out in the tier quick */
	bool no_arena;  /* the victim is to create it: nothing is opened before */
	bool thread;    /* the victim is a thread, which ends after its mark */
	size_t space;   /* bytes of the user's in the arena; 0: 4096 */
	// The backstop works as in life: for waiters behind a stopped one. They run beside the
	// victim, so a point is where it is after so many instructions, whichever way it went.
	bool impatient;
	bool sleeps; /* stepping ends before the victim's first sleep */
	// No stepping: the victim is struck where `begin` left it, so many times. 0: stepping.
	uint32_t repeat[3];
	// In the director, once the victim has been started: until this returns it is not waited
	// for.
	void (*meet)(struct crash_scene *scene);
};

// Tries all the operations and prints a line for each. The test's exit status.
int crash_run(const struct crash_operation *operations, size_t count);

// ---- for stages

// A child that dies with the director.
pid_t crash_fork(struct crash_scene *scene);
// Opens the scene's arena, places its mutex, and acquires the director's lease.
void crash_stage(struct crash_scene *scene);
// The same, and the mutex was damaged; the director holds it; another process holds it, who can be
// killed; the user's space is not zero.
void crash_stage_damaged(struct crash_scene *scene);
void crash_stage_held(struct crash_scene *scene);
void crash_stage_two(struct crash_scene *scene); /* with another mutex */
void crash_stage_holder(struct crash_scene *scene);
void crash_stage_used(struct crash_scene *scene);
void crash_open(struct crash_scene *scene);
// A process that locks the mutex, and perhaps more (`prepare`, its lease as scene->mine); its
// death.
void crash_start_holder(struct crash_scene *scene, void (*prepare)(struct crash_scene *scene));
void crash_kill_holder(struct crash_scene *scene);
// Both, and the holder is gone.
void crash_dead_holder(struct crash_scene *scene, void (*prepare)(struct crash_scene *scene));
// Waits for the end of one that has died with a lease. Whoever acquires a lease next takes another
// owner entry: taking the dead one's would clear up behind it.
void crash_bury(struct crash_scene *scene, pid_t pid);
// A process that only has a lease, and dies.
void crash_dead_idler(struct crash_scene *scene);
void crash_director_locks(struct crash_scene *scene);
void crash_director_unlocks(struct crash_scene *scene);
// Another waiter, once it sleeps in its lock call or is done.
void crash_add_waiter(struct crash_scene *scene);
// One who waits for scene->other, which the victim holds and does not let go.
void crash_add_other_waiter(struct crash_scene *scene);
// Until the thread sleeps on futexes, or has ended.
void crash_await_asleep(struct crash_scene *scene, pid_t thread);

// ---- for victims

// Acquires scene->mine and tells its number; ttl_ns 0: none.
void crash_acquire(struct crash_scene *scene, uint64_t ttl_ns);
void crash_must(struct crash_scene *scene, int result, const char *what);
// For `prepare`: with a lease; with one that has a TTL; and holding the mutex.
void crash_with_lease(struct crash_scene *scene);
void crash_with_ttl(struct crash_scene *scene);
void crash_holding(struct crash_scene *scene);
void crash_holding_with_ttl(struct crash_scene *scene);
// For `after`: it says that its call is done, and stays.
void crash_say_and_stay(struct crash_scene *scene);
// For `begin`, in the director: the victim runs on and falls asleep; then perhaps others behind it.
bool crash_victim_asleep(struct crash_scene *scene);
bool crash_one_sleeper(struct crash_scene *scene);
bool crash_holder_dies(struct crash_scene *scene); /* and is gone */
bool crash_victim_asleep_before_two(struct crash_scene *scene);
// For `act`.
int crash_lock(struct crash_scene *scene);
int crash_unlock(struct crash_scene *scene);
int crash_lock_deaf(struct crash_scene *scene); /* does not listen to news of damage */
int crash_lock_and_unlock(struct crash_scene *scene);
int crash_consistent(struct crash_scene *scene);
int crash_renew(struct crash_scene *scene); /* for 5000 s */
int crash_release(struct crash_scene *scene);
int crash_region_acquire(struct crash_scene *scene); /* 100 bytes; the offset to shared->offset */
int crash_region_release(struct crash_scene *scene);

// ---- for operations in which nobody dies

// Not stepped: what the victim wakes is not woken by its death, since it stays. Their strike begins
// with crash_let_go_on: until the victim has said that its call is done.
#define CRASH_SURVIVED(shown, staged, ready, called)                                               \
	.name = (shown), .shows = "G8", .stage = (staged), .prepare = (ready), .act = (called),    \
	.after = crash_say_and_stay, .repeat = { 2, 5, 20 }
void crash_let_go_on(struct crash_scene *scene);

// ---- for strikes that stop instead of killing

#define CRASH_LAST_MS 2 /* what crash_shorten leaves of its lease */

struct lease_slot *crash_slot(const struct crash_scene *scene); /* the victim's */
// SIGSTOP; what it had reached is observed. SIGCONT, and its end.
void crash_stop(struct crash_scene *scene);
void crash_resume(struct crash_scene *scene);
// As the library's own thread may at any moment, it renews the victim's lease: to end very soon.
// When.
uint64_t crash_shorten(struct crash_scene *scene);
// Until the lease is lost and known to be, if nobody wanted what it held.
void crash_await_loss(struct crash_scene *scene);

// ---- for verifying

// Fails the point, with a message that names it.
void crash_fail(struct crash_scene *scene, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
#define CRASH_CHECK(scene, condition, ...)                                                         \
	do {                                                                                       \
		if (!(condition))                                                                  \
			crash_fail((scene), __VA_ARGS__);                                          \
	} while (0)

// Counts something worth printing in the operation's line; the same words throughout an operation.
void crash_count(struct crash_scene *scene, const char *what);
struct object_header *crash_header(const struct crash_scene *scene);
// Reads the mutex's word and whether the victim holds it, while it is stopped.
void crash_observe(struct crash_scene *scene);
// Notes how long after the kill somebody was granted the mutex.
void crash_note_recovery(const struct crash_scene *scene, uint64_t granted_ns);
// Until the victim and all waiters have ended.
void crash_reap_children(struct crash_scene *scene);
void crash_kill(struct crash_scene *scene);
// All waiters got through, each told what it had to be; none needed a backstop.
void crash_collect_waiters(struct crash_scene *scene);
// The mutex is to be had at once, with damage told exactly if the victim held it, and higher token.
void crash_check_mutex(struct crash_scene *scene);
// A user who needs every slot there is, and one who needs the space: they clear what is left.
// `mine` leases the director has already.
void crash_use_all_slots(struct crash_scene *scene, size_t mine);
// No slot of the watch or cell with this handle is kept for a writer that has ended. Each has come
// round.
void crash_check_values(struct crash_scene *scene, const uint64_t *handle);
// Nobody and nothing is left: every slot is to be had, the audit is clean, no lease, hold, leased
// region or waiter remains. Ends the director's own lease.
void crash_check_empty(struct crash_scene *scene);
// crash_collect_waiters, crash_check_mutex, crash_check_empty.
void crash_verify(struct crash_scene *scene);

#endif
