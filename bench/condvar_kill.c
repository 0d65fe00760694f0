// SPDX-License-Identifier: Apache-2.0
//
// condvar_kill.c: from SIGKILL of a signalled waiter to the next waiter's return.
//
// One waits, n more wait behind it. The first is stopped (SIGSTOP), so that it does nothing about
// the signal that it is sent then, and killed: its signal is another's. pthread's waiters would
// sleep for ever, so the reference is a robust mutex: one holds it, n sleep in the lock call, the
// holder is stopped and killed likewise. Measured is from just before kill(2) to the first return,
// with the mutex, in another process, read there. All sleep for a while before it; see
// measure_settle.
#include "condvar.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "further.h"
#include "peer.h"
#include "report.h"

#define MOST_WAITERS 4
#define MOST_MEMBERS (MOST_WAITERS + 2)
#define TRIALS 8 // with one crew

enum { ROBUST, LEASE, COLUMNS };
enum { VICTIM, FIRST_WAITER };

enum order { ORDER_NONE, ORDER_BE_KILLED, ORDER_WAIT, ORDER_SIGNAL, ORDER_BROADCAST, ORDER_QUIT };
enum state { STATE_IDLE = 1, STATE_ABOUT_TO_SLEEP };
enum returned { RETURNED_NONE, RETURNED_ONE, RETURNED_AND_NOTED };

struct member {
	gate orders; // counts them; `order` is the present one
	gate state;
	enum order order;
} __attribute__((aligned(64)));

struct shared {
	struct member members[MOST_MEMBERS];
	gate returned; // enum returned: the first in this trial
	uint64_t returned_ns;
};

// The victim, the waiters, and last who signals.
struct crew {
	int column;
	uint32_t waiters, self;
	struct shared *shared;
	pid_t pids[MOST_MEMBERS];
	struct lock robust;
	char name[SCRATCH_NAME];
	pid_t further; // or 0
	lh_arena *arena;
	lh_lease *lease;
	lh_mutex mutex;
	lh_condvar condvar;
};

static void check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

// ---- in a member ---------------------------------------------------------------------------------
static void attach(struct crew *crew)
{
	const struct lh_mutex_options mutex = { .name = "mutex" };
	const struct lh_condvar_options condvar = { .name = "condvar" };

	if (crew->column == ROBUST) {
		peer_pthread_robust.attach(&crew->robust);
		return;
	}
	check(lh_arena_open(crew->name, LH_CREATE, NULL, &crew->arena), "lh_arena_open");
	check(lh_lease_acquire(crew->arena, NULL, &crew->lease), "lh_lease_acquire");
	check(lh_mutex_at(crew->arena, LH_ANYWHERE, &mutex, &crew->mutex), "lh_mutex_at");
	check(lh_condvar_at(crew->arena, LH_ANYWHERE, &condvar, &crew->condvar), "lh_condvar_at");
}

static void detach(struct crew *crew)
{
	if (crew->column == ROBUST)
		peer_pthread_robust.detach(&crew->robust);
	else
		check(lh_lease_release(crew->lease), "lh_lease_release");
}

// Whether it is the first that returns.
static bool note_return(struct shared *shared, uint64_t now)
{
	uint32_t none = RETURNED_NONE;

	if (!atomic_compare_exchange_strong(&shared->returned, &none, RETURNED_ONE))
		return false;
	shared->returned_ns = now;
	gate_set(&shared->returned, RETURNED_AND_NOTED);
	return true;
}

static void wait_for_signal(struct crew *crew, struct member *self)
{
	lh_grant grant;

	check(lh_mutex_lock(&crew->mutex, crew->lease, LH_FOREVER, &grant), "lh_mutex_lock");
	gate_set(&self->state, STATE_ABOUT_TO_SLEEP);
	check(lh_condvar_wait(&crew->condvar, &crew->mutex, crew->lease, LH_FOREVER, &grant),
	      "lh_condvar_wait");
	note_return(crew->shared, measure_now());
	check(lh_mutex_unlock(&crew->mutex, crew->lease), "lh_mutex_unlock");
}

static void wait_for_robust(struct crew *crew, struct member *self)
{
	gate_set(&self->state, STATE_ABOUT_TO_SLEEP);
	const int told = peer_pthread_robust.lock(&crew->robust);

	if (note_return(crew->shared, measure_now()) != (told == PEER_OWNER_DIED))
		process_die("the robust mutex did not tell of the death");
	peer_pthread_robust.unlock(&crew->robust);
}

_Noreturn static void hold_robust(struct crew *crew, struct member *self)
{
	peer_pthread_robust.lock(&crew->robust);
	gate_set(&self->state, STATE_ABOUT_TO_SLEEP);
	for (;;)
		pause();
}

static void carry_out(struct crew *crew, struct member *self)
{
	switch (self->order) {
	case ORDER_BE_KILLED:
		if (crew->column == ROBUST)
			hold_robust(crew, self);
		wait_for_signal(crew, self);
		process_die("the one that is to be killed was not");
	case ORDER_WAIT:
		if (crew->column == ROBUST)
			wait_for_robust(crew, self);
		else
			wait_for_signal(crew, self);
		break;
	case ORDER_SIGNAL:
		if (crew->column == LEASE)
			check(lh_condvar_signal(&crew->condvar), "lh_condvar_signal");
		break;
	case ORDER_BROADCAST:
		if (crew->column == LEASE)
			check(lh_condvar_broadcast(&crew->condvar), "lh_condvar_broadcast");
		break;
	case ORDER_NONE:
	case ORDER_QUIT:
		break;
	}
}

static void obey(void *context)
{
	struct crew *crew = context;
	struct member *self = &crew->shared->members[crew->self];
	uint32_t orders = atomic_load(&self->orders);

	attach(crew);
	for (;;) {
		gate_set(&self->state, STATE_IDLE);
		orders = gate_await_order(&self->orders, orders);
		if (self->order == ORDER_QUIT)
			break;
		carry_out(crew, self);
	}
	detach(crew);
}

// ---- in the program ------------------------------------------------------------------------------
static void crew_hire(struct crew *crew, uint32_t member)
{
	gate *state = &crew->shared->members[member].state;

	crew->self = member;
	atomic_store(state, 0);
	crew->pids[member] = process_start(obey, crew);
	gate_await(state, STATE_IDLE);
}

static void crew_start(struct crew *crew, int column, uint32_t waiters)
{
	*crew = (struct crew){ .column = column, .waiters = waiters };
	crew->shared = process_shared_memory(sizeof(*crew->shared));
	if (column == ROBUST) {
		peer_create(&crew->robust, &peer_pthread_robust);
	} else {
		scratch_name(crew->name);
		crew->further = further_start(crew->name);
	}
	for (uint32_t i = 0; i < waiters + 2; i++)
		crew_hire(crew, i);
}

static void crew_order(struct crew *crew, uint32_t member, enum order order)
{
	crew->shared->members[member].order = order;
	gate_add(&crew->shared->members[member].orders, 1);
}

static void crew_end(struct crew *crew)
{
	for (uint32_t i = 0; i < crew->waiters + 2; i++) {
		crew_order(crew, i, ORDER_QUIT);
		process_finish(crew->pids[i]);
	}
	if (crew->column == ROBUST) {
		peer_pthread_robust.destroy(&crew->robust);
	} else {
		further_end(crew->further);
		scratch_unlink(crew->name);
	}
	munmap(crew->shared, sizeof(*crew->shared));
}

static void put_to_sleep(struct crew *crew, uint32_t member, enum order order)
{
	crew_order(crew, member, order);
	gate_await(&crew->shared->members[member].state, STATE_ABOUT_TO_SLEEP);
	process_await_asleep(crew->pids[member], "condvar");
}

static void order_signaller(struct crew *crew, enum order order)
{
	const uint32_t signaller = crew->waiters + 1;

	atomic_store(&crew->shared->members[signaller].state, 0);
	crew_order(crew, signaller, order);
	gate_await(&crew->shared->members[signaller].state, STATE_IDLE);
}

static void stop(pid_t pid)
{
	int status;

	if (kill(pid, SIGSTOP) != 0 || waitpid(pid, &status, WUNTRACED) != pid)
		process_die_errno(errno, "stop");
	if (!WIFSTOPPED(status))
		process_die("a process to be stopped had ended");
}

static double trial(struct crew *crew, struct random *random)
{
	struct shared *shared = crew->shared;

	atomic_store(&shared->returned, RETURNED_NONE);
	put_to_sleep(crew, VICTIM, ORDER_BE_KILLED);
	for (uint32_t i = 0; i < crew->waiters; i++)
		put_to_sleep(crew, FIRST_WAITER + i, ORDER_WAIT);
	stop(crew->pids[VICTIM]);
	order_signaller(crew, ORDER_SIGNAL);
	measure_settle(random);
	if (atomic_load(&shared->returned) != RETURNED_NONE)
		process_die("a waiter returned before the kill");
	const uint64_t start = measure_now();
	if (kill(crew->pids[VICTIM], SIGKILL) != 0)
		process_die_errno(errno, "kill");
	gate_await(&shared->returned, RETURNED_AND_NOTED);
	order_signaller(crew, ORDER_BROADCAST);
	for (uint32_t i = 0; i < crew->waiters; i++)
		gate_await(&shared->members[FIRST_WAITER + i].state, STATE_IDLE);
	process_bury(crew->pids[VICTIM]);
	crew_hire(crew, VICTIM);
	return (double)(shared->returned_ns - start);
}

static void compare(struct run *run, const struct bench_case *self, uint32_t waiters,
		    double seconds)
{
	struct random random = random_stream(run->seed, "settle");
	struct samples *samples = samples_create(COLUMNS);
	char what[32];
	const struct comparison comparison = { .case_name = self->name,
					       .what = what,
					       .peer = "leasehold",
					       .reference = peer_pthread_robust.name,
					       .unit = "ns",
					       .latency = true,
					       .group = TRIALS,
					       .target = { TARGET_RATIO_AT_MOST, 1.2 } };

	snprintf(what, sizeof(what), "%u waiter%s", waiters, waiters == 1 ? "" : "s");
	struct rounds rounds = rounds_begin(run, what, COLUMNS, seconds);
	while (rounds_next(&rounds) && (rounds.round + 1) * TRIALS <= MEASURE_ROUNDS) {
		for (size_t i = 0; i < COLUMNS; i++) {
			const size_t column = rounds.order[i];
			struct crew crew;

			crew_start(&crew, (int)column, waiters);
			for (size_t j = 0; j < TRIALS; j++)
				samples_set(samples, rounds.round * TRIALS + j, column,
					    trial(&crew, &random));
			crew_end(&crew);
		}
	}
	report_compare(run->report, &comparison, samples, LEASE, ROBUST);
	samples_destroy(samples);
}

void condvar_kill(struct run *run, const struct bench_case *self, double seconds)
{
	compare(run, self, 1, seconds / 2);
	compare(run, self, MOST_WAITERS, seconds / 2);
	report_note(
		run->report,
		"kill: a round's figure is the median of %d kills; extremes are of single ones.",
		TRIALS);
}
