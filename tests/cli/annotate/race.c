// SPDX-License-Identifier: Apache-2.0
// Two threads share plain data, under a primitive or, as "race", beside it: race PRIMITIVE [race].
// What they do under it is ordered, so a race detector has nothing to say; beside it, it has.
#include "../check.h"

#include <leasehold/leasehold.h>
#ifdef INLINED
#include <leasehold/inline.h>
#define FORM(name) lh_inline_##name
#else
#define FORM(name) lh_##name
#endif

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 300

static lh_arena *arena;
static lh_mutex mutex;
static lh_rwlock rwlock;
static lh_semaphore semaphore;
static lh_barrier barrier;
static lh_condvar condvar;
static lh_once once;
static lh_cell cell;
static lh_watch watch;
static lh_cancel *tokens[ROUNDS];
static long shared, beside, written[ROUNDS];
static int turn;

// Steps of the other thread that this one has to come after, without any order that a race detector
// would see: Helgrind takes a read-modify-write for reading.
static _Atomic int steps;

static void take_step(void)
{
	atomic_fetch_add_explicit(&steps, 1, memory_order_relaxed);
}

static void await_step(int number)
{
	while (atomic_fetch_add_explicit(&steps, 0, memory_order_relaxed) < number)
		sched_yield();
}

static void by_mutex(lh_lease *lease, int locks, int mine)
{
	(void)mine;
	CHECK(!locks || FORM(mutex_lock)(&mutex, lease, LH_FOREVER, NULL) == 0);
	shared++;
	CHECK(!locks || FORM(mutex_unlock)(&mutex, lease) == 0);
}

// With "race" both write as readers.
static void by_rwlock(lh_lease *lease, int locks, int mine)
{
	(void)mine;
	if (locks) {
		CHECK(lh_rwlock_write_lock(&rwlock, lease, LH_FOREVER, NULL) == 0);
		shared++;
		CHECK(FORM(rwlock_unlock)(&rwlock, lease) == 0);
	}
	CHECK(FORM(rwlock_read_lock)(&rwlock, lease, LH_FOREVER, NULL) == 0);
	if (!locks || shared < 0)
		shared++;
	CHECK(FORM(rwlock_unlock)(&rwlock, lease) == 0);
}

static void by_semaphore(lh_lease *lease, int locks, int mine)
{
	(void)mine;
	CHECK(!locks || FORM(semaphore_acquire)(&semaphore, lease, 1, LH_FOREVER) == 0);
	shared++;
	CHECK(!locks || FORM(semaphore_release)(&semaphore, lease, 1) == 0);
}

// Each writes in its own phase.
static void by_barrier(lh_lease *lease, int locks, int mine)
{
	if (!locks || mine == 0)
		shared++;
	CHECK(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL) == 0);
	if (mine == 1)
		shared++;
	CHECK(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL) == 0);
}

// In turns.
static void by_condvar(lh_lease *lease, int locks, int mine)
{
	if (!locks)
		shared++;
	CHECK(FORM(mutex_lock)(&mutex, lease, LH_FOREVER, NULL) == 0);
	while (turn != mine)
		CHECK(lh_condvar_wait(&condvar, &mutex, lease, LH_FOREVER, NULL) == 0);
	turn = 1 - mine;
	shared++;
	CHECK(lh_condvar_broadcast(&condvar) == 0);
	CHECK(FORM(mutex_unlock)(&mutex, lease) == 0);
}

static int initialise(void *data, void *context)
{
	memset(data, 1, 64);
	*(long *)context = 1;
	return 0;
}

static void by_once(lh_lease *lease, int locks, int mine)
{
	(void)mine;
	CHECK(FORM(once_call)(&once, lease, initialise, &shared, LH_FOREVER) == 0);
	CHECK(shared == 1);
	CHECK(((const char *)lh_once_data(&once))[63] == 1);
	if (!locks)
		beside++;
}

// Who drafts writes; beside it, before it drafts.
static void by_cell(lh_lease *lease, int locks, int mine)
{
	long value;
	void *draft;

	(void)mine;
	if (!locks)
		shared++;
	CHECK(lh_cell_begin(&cell, lease, LH_FOREVER, &draft, NULL) == 0);
	if (locks)
		shared++;
	++*(long *)draft;
	CHECK(lh_cell_commit(&cell, lease) == 0);
	CHECK(lh_cell_read(&cell, &value, NULL) == 0 && value > 0);
}

// One sends what it wrote beforehand, which the other looks at after it has read; or, before.
static void by_watch(lh_lease *lease, int locks, int mine)
{
	static lh_watch_receiver receiver;
	static long sent, read;
	long value = 0;

	if (mine == 0) {
		written[sent] = sent + 1;
		sent++;
		CHECK(lh_watch_send(&watch, lease, &sent, sizeof(sent)) == 0);
		return;
	}
	if (read == 0)
		CHECK(lh_watch_subscribe(&watch, &receiver) == 0);
	CHECK(locks || written[read] <= read + 1);
	while (value <= read) {
		const int result = lh_watch_read(&receiver, &value, sizeof(value), NULL, NULL);

		CHECK(result == 0 || result == -ENODATA);
		if (value <= read)
			sched_yield();
	}
	CHECK(written[read] == read + 1);
	read++;
}

// What a lease's release lets go is not unlocked by a call of its own.
static void by_release(lh_lease *lease, int locks, int mine)
{
	const struct lh_lease_options options = { .label = mine ? "one" : "another" };
	lh_lease *brief;

	(void)lease;
	CHECK(lh_lease_acquire(arena, &options, &brief) == 0);
	CHECK(!locks || FORM(mutex_lock)(&mutex, brief, LH_FOREVER, NULL) == 0);
	shared++;
	CHECK(lh_lease_release(brief) == 0);
}

// Leaves room for one region of 64 bytes.
static void fill(void)
{
	uint64_t last, other;
	lh_lease *lease;

	CHECK(lh_thread_lease(arena, &lease) == 0);
	CHECK(lh_region_acquire(lease, 64, &last) == 0);
	for (size_t size = 1 << 20; size >= 64; size /= 2) {
		while (lh_region_at(arena, LH_ANYWHERE, size, NULL, &other) == 0)
			;
	}
	CHECK(lh_lease_release(lease) == 0);
}

// Memory that one gives back is the other's next; or, is written to after that.
static void by_region(lh_lease *lease, int locks, int mine)
{
	uint64_t offset;
	long *memory;
	int result;

	(void)mine;
	while ((result = lh_region_acquire(lease, 64, &offset)) == -ENOSPC)
		sched_yield();
	CHECK(result == 0);
	memory = lh_arena_range(arena, offset, 64);
	if (locks)
		++*memory;
	CHECK(lh_region_release(lease, offset) == 0);
	if (!locks)
		++*memory;
}

// One writes and fires, the other reads once it is cancelled; or, before.
static void by_cancel(lh_lease *lease, int locks, int mine)
{
	static long fired, cancelled;
	int result;

	if (mine == 0) {
		written[fired] = 1;
		lh_cancel_fire(tokens[fired++]);
		return;
	}
	CHECK(lh_lease_set_cancel(lease, tokens[cancelled]) == 0);
	CHECK(locks || written[cancelled] >= 0);
	while ((result = lh_mutex_lock(&mutex, lease, LH_NOW, NULL)) == 0)
		CHECK(lh_mutex_unlock(&mutex, lease) == 0);
	CHECK(result == -ECANCELED);
	CHECK(written[cancelled++] == 1);
	CHECK(lh_lease_set_cancel(lease, NULL) == 0);
}

// One writes and raises, the other reads once it is refused; or, before.
static void by_fence(lh_lease *lease, int locks, int mine)
{
	static uint64_t highest;
	static long raised, refused;

	(void)lease;
	if (mine == 0) {
		written[raised++] = 1;
		CHECK(lh_fence_check(&highest, (uint64_t)raised + 1) == 0);
		return;
	}
	CHECK(locks || written[refused] >= 0);
	while (lh_fence_check(&highest, (uint64_t)refused + 1) == 0)
		sched_yield();
	CHECK(written[refused++] == 1);
}

// To be the sender is as good as a lock.
static void by_claim(lh_lease *lease, int locks, int mine)
{
	int result;

	(void)mine;
	if (!locks)
		shared++;
	while ((result = lh_watch_claim(&watch, lease)) == -EBUSY)
		sched_yield();
	CHECK(result == 0);
	if (locks)
		shared++;
	CHECK(lh_watch_close(&watch, lease) == 0);
}

// That there is a new value, or none to come, is enough to look at what was done before; or, before.
static void by_changed(lh_lease *lease, int locks, int mine)
{
	static lh_watch_receiver receiver;
	static long sent, seen, round, closing;

	if (mine == 0) {
		await_step(1); // it has subscribed: there will be a change
		written[sent++] = 1;
		CHECK(lh_watch_send(&watch, lease, &sent, sizeof(sent)) == 0);
		if (sent == ROUNDS) {
			await_step(2); // it has seen that: only the end tells of what follows
			closing = 1;
			CHECK(lh_watch_close(&watch, lease) == 0);
		}
		return;
	}
	if (round == 0) {
		CHECK(lh_watch_subscribe(&watch, &receiver) == 0);
		take_step();
	}
	CHECK(locks || written[round] >= 0);
	if (seen <= round++) {
		CHECK(lh_watch_changed(&receiver, LH_FOREVER) == 0);
		CHECK(written[seen] == 1);
		CHECK(lh_watch_read(&receiver, &seen, sizeof(seen), NULL, NULL) == 0);
	}
	if (round == ROUNDS) {
		take_step();
		CHECK(lh_watch_changed(&receiver, LH_FOREVER) == -EPIPE);
		CHECK(closing == 1);
	}
}

#define LOSSES 20

static lh_lease *brief_lease(void)
{
	const struct lh_lease_options options = { .ttl_ns = LH_MS(20), .label = "brief" };
	lh_lease *brief;

	CHECK(lh_lease_acquire(arena, &options, &brief) == 0);
	return brief;
}

// The other's part in a round of the two below, between two steps of the one who loses its lease.
static void succeed(lh_lease *lease, int round)
{
	lh_grant grant;

	await_step(2 * round - 1);
	CHECK(lh_mutex_lock(&mutex, lease, LH_FOREVER, &grant) == 0);
	shared++;
	CHECK(lh_mutex_consistent(&mutex, lease) == 0);
	CHECK(lh_mutex_unlock(&mutex, lease) == 0);
	take_step();
}

// One loses its lease while it holds the mutex, and is succeeded; or, writes and unlocks all the same.
static void by_loss(lh_lease *lease, int locks, int mine)
{
	static int rounds[2];
	const int round = ++rounds[mine];
	lh_lease *brief;
	lh_grant grant;
	int result;

	if (round > LOSSES)
		return;
	if (mine == 0) {
		succeed(lease, round);
		return;
	}
	brief = brief_lease();
	result = lh_mutex_lock(&mutex, brief, LH_FOREVER, &grant);
	CHECK(result == 0 || result == -ESTALE);
	while (lh_lease_valid(brief))
		;
	if (!locks)
		shared++;
	CHECK(lh_mutex_unlock(&mutex, brief) == -ESTALE);
	take_step();
	await_step(2 * round);
	CHECK(lh_lease_release(brief) == -ESTALE);
}

// One loses its lease while it waits, and is done; or, looks all the same.
static void by_lost_wait(lh_lease *lease, int locks, int mine)
{
	static int rounds[2];
	const int round = ++rounds[mine];
	lh_lease *brief;
	lh_grant grant;
	int result;

	if (round > LOSSES)
		return;
	if (mine == 0) {
		succeed(lease, round);
		return;
	}
	brief = brief_lease();
	result = lh_mutex_lock(&mutex, brief, LH_FOREVER, &grant);
	take_step();
	while (result == 0)
		result = lh_condvar_wait(&condvar, &mutex, brief, LH_FOREVER, &grant);
	CHECK(result == -ESTALE);
	await_step(2 * round);
	CHECK(locks || shared >= 0);
	CHECK(lh_lease_release(brief) == -ESTALE);
}

static const struct {
	const char *name;
	void (*step)(lh_lease *lease, int locks, int mine);
} kinds[] = {
	{ "mutex", by_mutex },         { "rwlock", by_rwlock },   { "semaphore", by_semaphore },
	{ "barrier", by_barrier },     { "condvar", by_condvar }, { "once", by_once },
	{ "cell", by_cell },           { "watch", by_watch },     { "release", by_release },
	{ "region", by_region },       { "cancel", by_cancel },   { "fence", by_fence },
	{ "claim", by_claim },         { "changed", by_changed }, { "loss", by_loss },
	{ "lost_wait", by_lost_wait },
};
static size_t kind;
static int locks;

// Without any order that a race detector would see.
static void meet(int arrivals)
{
	static _Atomic int arrived;

	atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
	while (atomic_load_explicit(&arrived, memory_order_relaxed) < arrivals)
		sched_yield();
}

static void *run(void *number)
{
	lh_lease *lease;

	CHECK(lh_thread_lease(arena, &lease) == 0);
	meet(2);
	for (int i = 0; i < ROUNDS; i++)
		kinds[kind].step(lease, locks, number != NULL);
	meet(4); // what its end orders comes after all of it
	CHECK(lh_lease_release(lease) == 0);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct lh_semaphore_options one = { .permits = 1 };
	const struct lh_barrier_options two = { .parties = 2 };
	const struct lh_once_options value = { .data_size = 64 };
	const struct lh_cell_options number = { .size = sizeof(long) };
	const struct lh_watch_options numbers = { .max_size = sizeof(long) };
	pthread_t threads[2];
	char name[64];

	while (argc > 1 && kind < sizeof(kinds) / sizeof(*kinds) &&
	       strcmp(argv[1], kinds[kind].name) != 0)
		kind++;
	CHECK(argc > 1 && kind < sizeof(kinds) / sizeof(*kinds));
	locks = argc == 2;
	snprintf(name, sizeof(name), "race-%ld", (long)getpid());
	CHECK(lh_arena_open(name, LH_CREATE | LH_EXCL, NULL, &arena) == 0);
	CHECK(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex) == 0);
	CHECK(lh_rwlock_at(arena, LH_ANYWHERE, NULL, &rwlock) == 0);
	CHECK(lh_semaphore_at(arena, LH_ANYWHERE, &one, &semaphore) == 0);
	CHECK(lh_barrier_at(arena, LH_ANYWHERE, &two, &barrier) == 0);
	CHECK(lh_condvar_at(arena, LH_ANYWHERE, NULL, &condvar) == 0);
	CHECK(lh_once_at(arena, LH_ANYWHERE, &value, &once) == 0);
	CHECK(lh_cell_at(arena, LH_ANYWHERE, &number, &cell) == 0);
	CHECK(lh_watch_at(arena, LH_ANYWHERE, &numbers, &watch) == 0);
	if (kinds[kind].step == by_region)
		fill();
	for (int i = 0; i < ROUNDS; i++)
		CHECK(lh_cancel_create(&tokens[i]) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, run, i ? &threads[0] : NULL) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < ROUNDS; i++)
		lh_cancel_destroy(tokens[i]);
	CHECK(lh_arena_close(arena) == 0);
	return lh_arena_unlink(name) != 0;
}
