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
static long shared, beside, written[ROUNDS];
static int turn;

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

static const struct {
	const char *name;
	void (*step)(lh_lease *lease, int locks, int mine);
} kinds[] = {
	{ "mutex", by_mutex },     { "rwlock", by_rwlock },   { "semaphore", by_semaphore },
	{ "barrier", by_barrier }, { "condvar", by_condvar }, { "once", by_once },
	{ "cell", by_cell },       { "watch", by_watch },     { "release", by_release },
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
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, run, i ? &threads[0] : NULL) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(lh_arena_close(arena) == 0);
	return lh_arena_unlink(name) != 0;
}
