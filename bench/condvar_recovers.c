// SPDX-License-Identifier: Apache-2.0
//
// condvar_recovers.c: whether a condition variable is of use after a waiter's death. The one that
// is to be killed waits first. The next waits twice, and each time one signal is sent to it, once it
// waits: after the kill. If the dead one's place takes a signal, the next one does not return.
#include "condvar.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <leasehold/leasehold.h>

#include "recovers.h"
#include "report.h"

#define WAITS 2

// The present one, as one process sees it.
static struct {
	bool lease;
	struct {
		pthread_mutex_t mutex;
		pthread_cond_t cond;
		gate ready, killed;
		gate waits; // of the next: changed with the mutex held
	} * shared;
	lh_condvar condvar;
	pid_t signaller;
} scene;

static void must(int error, const char *what)
{
	if (error)
		process_die_errno(error, what);
}

static void place(struct lock *lock)
{
	const struct lh_condvar_options condvar = { .name = "condvar" };

	peer_lease.place(lock);
	peer_check(lh_condvar_at(lock->arena, LH_ANYWHERE, &condvar, &scene.condvar),
		   "lh_condvar_at");
}

static void attach(struct lock *lock)
{
	if (scene.lease)
		peer_arena_attach(lock);
}

static void detach(struct lock *lock)
{
	if (scene.lease)
		peer_arena_detach(lock);
}

static void enter(struct lock *lock)
{
	if (scene.lease)
		(void)peer_lease.lock(lock);
	else
		must(pthread_mutex_lock(&scene.shared->mutex), "lock");
}

static void leave(struct lock *lock)
{
	if (scene.lease)
		peer_lease.unlock(lock);
	else
		must(pthread_mutex_unlock(&scene.shared->mutex), "unlock");
}

static void wait_for_signal(struct lock *lock)
{
	lh_grant grant;

	must(scene.lease ? lh_condvar_wait(&scene.condvar, &lock->handle, lock->lease, LH_FOREVER,
					   &grant)
			 : pthread_cond_wait(&scene.shared->cond, &scene.shared->mutex),
	     "wait");
}

// ---- the processes -------------------------------------------------------------------------------

// With the mutex held until it waits: the next one waits after it.
static int be_killed(struct lock *lock)
{
	enter(lock);
	recovers_held();
	wait_for_signal(lock);
	process_die("the one that is to be killed had a signal");
}

static int wait_twice(struct lock *lock)
{
	enter(lock);
	for (int i = 0; i < WAITS; i++) {
		gate_add(&scene.shared->waits, 1);
		wait_for_signal(lock);
	}
	return 0; // nothing tells of the death
}

static void signal_twice(void *context)
{
	struct lock *lock = context;

	attach(lock);
	gate_set(&scene.shared->ready, 1);
	gate_await_order(&scene.shared->killed, 0);
	for (uint32_t i = 1; i <= WAITS; i++) {
		gate_await(&scene.shared->waits, i);
		enter(lock);
		must(scene.lease ? lh_condvar_signal(&scene.condvar)
				 : pthread_cond_signal(&scene.shared->cond),
		     "signal");
		leave(lock);
	}
	detach(lock);
}

// ---- in the program ------------------------------------------------------------------------------

static void create(struct lock *lock, bool lease)
{
	pthread_mutexattr_t mutex;
	pthread_condattr_t cond;

	scene.lease = lease;
	scene.shared = process_shared_memory(sizeof(*scene.shared));
	must(pthread_mutexattr_init(&mutex), "mutexattr");
	must(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED), "mutexattr");
	must(pthread_mutex_init(&scene.shared->mutex, &mutex), "mutex");
	must(pthread_condattr_init(&cond), "condattr");
	must(pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED), "condattr");
	must(pthread_cond_init(&scene.shared->cond, &cond), "cond");
	if (lease)
		peer_arena_create(lock);
	scene.signaller = process_start(signal_twice, lock);
	gate_await(&scene.shared->ready, 1);
}

static void create_lease(struct lock *lock)
{
	create(lock, true);
}

static void create_pthread(struct lock *lock)
{
	create(lock, false);
}

static void killed(struct lock *lock)
{
	(void)lock;
	gate_set(&scene.shared->killed, 1);
}

// Who signals may hang as well as who waits.
static void destroy(struct lock *lock)
{
	kill(scene.signaller, SIGKILL);
	process_bury_if_killed(scene.signaller);
	munmap(scene.shared, sizeof(*scene.shared));
	if (scene.lease)
		peer_arena_destroy(lock);
}

#define PEER(title, how)                                                                           \
	{                                                                                          \
		.name = (title), .crowded = true, .place = place, .create = (how),                 \
		.destroy = destroy, .attach = attach, .detach = detach, .hold = be_killed,         \
		.killed = killed, .lock = wait_twice, .unlock = leave                              \
	}

void condvar_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer lease = PEER("leasehold", create_lease);
	static const struct peer pthread = PEER("pthread", create_pthread);
	static const struct peer *const peers[] = { &peer_pthread_robust, &lease, &pthread };
	static const struct peer_set set = { .peers = peers,
					     .count = sizeof(peers) / sizeof(peers[0]) };

	compare_recovery(run, self, &set, seconds);
	report_note(
		run->report,
		"recovers: a waiter is killed; a grant is the second of two returns of the next "
		"one, each after a signal.");
}
