// SPDX-License-Identifier: Apache-2.0
// One of each, held or waited for, for a debugger that stops in `look`. scene ARENA
#include "../check.h"

#include <leasehold/leasehold.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

lh_arena *arena;
lh_lease *lease, *timed, *other;
lh_mutex mutex, unplaced;
lh_rwlock rwlock;
lh_semaphore semaphore;
lh_barrier barrier;
lh_once once;
lh_cell cell;
pid_t self;

static void *wait_for_mutex(void *context)
{
	lh_cancel *cancel = context;

	CHECK(lh_lease_acquire(arena, NULL, &other) == 0);
	CHECK(lh_lease_set_cancel(other, cancel) == 0);
	(void)lh_mutex_lock(&mutex, other, LH_FOREVER, NULL);
	CHECK(lh_lease_release(other) == 0);
	return NULL;
}

static void await_waiter(void)
{
	struct lh_lease_info info;
	uint64_t cursor;

	for (;;) {
		for (cursor = 0; lh_next_lease(arena, &cursor, &info) == 0;) {
			if (info.waits_for == lh_mutex_offset(&mutex))
				return;
		}
	}
}

__attribute__((noinline)) void look(const lh_mutex *held)
{
	__asm__ volatile("" : : "r"(held) : "memory");
}

int main(int argc, char **argv)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_SEC(3600), .label = "gdb" };
	const struct lh_semaphore_options three = { .permits = 3 };
	const struct lh_barrier_options two = { .parties = 2 };
	const struct lh_cell_options small = { .size = 8 };
	lh_cancel *cancel;
	pthread_t thread;

	CHECK(argc == 2);
	self = getpid();
	CHECK(lh_arena_open(argv[1], LH_CREATE | LH_EXCL, NULL, &arena) == 0);
	CHECK(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex) == 0);
	CHECK(lh_rwlock_at(arena, LH_ANYWHERE, NULL, &rwlock) == 0);
	CHECK(lh_semaphore_at(arena, LH_ANYWHERE, &three, &semaphore) == 0);
	CHECK(lh_barrier_at(arena, LH_ANYWHERE, &two, &barrier) == 0);
	CHECK(lh_once_at(arena, LH_ANYWHERE, NULL, &once) == 0);
	CHECK(lh_cell_at(arena, LH_ANYWHERE, &small, &cell) == 0);
	CHECK(lh_thread_lease(arena, &lease) == 0);
	CHECK(lh_lease_acquire(arena, &brief, &timed) == 0);
	CHECK(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL) == 0);
	CHECK(lh_rwlock_write_lock(&rwlock, timed, LH_FOREVER, NULL) == 0);
	CHECK(lh_cancel_create(&cancel) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_mutex, cancel) == 0);
	await_waiter();
	look(&mutex);
	lh_cancel_fire(cancel);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(lh_lease_release(timed) == 0);
	CHECK(lh_lease_release(lease) == 0);
	CHECK(lh_arena_close(arena) == 0);
	return lh_arena_unlink(argv[1]) != 0;
}
