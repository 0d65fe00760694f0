// SPDX-License-Identifier: Apache-2.0
//
// cell.c: lease-bench cell.
//
//	read	lh_cell_read against memcpy under a process-shared pthread mutex or rwlock
//	write	begin, fill, commit against memcpy under the same, locked for writing. The locks'
//		writers leave half a value when they die; a cell's do not
//	kill	SIGKILL of who drafts, until another process drafts
//	recovers	whether another drafts then
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "values.h"

static void cell_read(struct run *run, const struct bench_case *self, double seconds);
static void cell_write(struct run *run, const struct bench_case *self, double seconds);
static void cell_kill(struct run *run, const struct bench_case *self, double seconds);
static void cell_recovers(struct run *run, const struct bench_case *self, double seconds);

static const struct bench_case cases[] = {
	{ "read", "read against a locked memcpy, 64 B to 64 KiB", 2, cell_read },
	{ "write", "begin, fill and commit against a locked memcpy", 2, cell_write },
	{ "kill", "SIGKILL of who drafts, to the next draft", 2, cell_kill },
	{ "recovers", "whether the death of who drafts lets the next one draft, and tells it", 1,
	  cell_recovers },
	{ 0 },
};

const struct subcommand cell_subcommand = {
	.name = "cell",
	.summary = "lh_cell against memcpy under pthread mutex and rwlock",
	.cases = cases,
};

static lh_cell place(lh_arena *arena, size_t size)
{
	const struct lh_cell_options options = { .size = size };
	lh_cell cell;

	values_must(lh_cell_at(arena, LH_ANYWHERE, &options, &cell), "lh_cell_at");
	return cell;
}

// ---- read and write ------------------------------------------------------------------------------

enum { MUTEX, RWLOCK, CELL, COLUMNS };

static const char *const names[COLUMNS] = { "pthread mutex", "pthread rwlock", "lh_cell" };

struct locks {
	pthread_mutex_t mutex;
	_Alignas(64) pthread_rwlock_t rwlock;
	_Alignas(64) uint8_t bytes[];
};

struct copying {
	const struct run *run;
	const char *purpose;
	bool writes;
	size_t size;
	double seconds;
	struct samples *samples;
	lh_arena *arena;
	struct locks *locks;
	void *own;
	lh_cell cell;
	lh_lease *lease;
	void *(*volatile copy)(void *, const void *, size_t);
};

static void copy_once(struct copying *copying)
{
	if (copying->writes)
		copying->copy(copying->locks->bytes, copying->own, copying->size);
	else
		copying->copy(copying->own, copying->locks->bytes, copying->size);
}

static void mutex_loop(void *context, uint64_t count)
{
	struct copying *copying = context;

	for (; count; count--) {
		pthread_mutex_lock(&copying->locks->mutex);
		copy_once(copying);
		pthread_mutex_unlock(&copying->locks->mutex);
	}
}

static void rwlock_loop(void *context, uint64_t count)
{
	struct copying *copying = context;

	for (; count; count--) {
		if (copying->writes)
			pthread_rwlock_wrlock(&copying->locks->rwlock);
		else
			pthread_rwlock_rdlock(&copying->locks->rwlock);
		copy_once(copying);
		pthread_rwlock_unlock(&copying->locks->rwlock);
	}
}

static void cell_loop(void *context, uint64_t count)
{
	struct copying *copying = context;

	for (; count && !copying->writes; count--)
		values_must(lh_cell_read(&copying->cell, copying->own, NULL), "lh_cell_read");
	for (; count; count--) {
		void *draft;

		values_must(lh_cell_begin(&copying->cell, copying->lease, LH_FOREVER, &draft, NULL),
			    "lh_cell_begin");
		copying->copy(draft, copying->own, copying->size);
		values_must(lh_cell_commit(&copying->cell, copying->lease), "lh_cell_commit");
	}
}

static struct locks *make_locks(size_t size)
{
	struct locks *locks = process_shared_memory(sizeof(*locks) + size);
	pthread_mutexattr_t mutex;
	pthread_rwlockattr_t rwlock;

	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&locks->mutex, &mutex);
	pthread_mutexattr_destroy(&mutex);
	pthread_rwlockattr_init(&rwlock);
	pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED);
	pthread_rwlock_init(&locks->rwlock, &rwlock);
	pthread_rwlockattr_destroy(&rwlock);
	return locks;
}

static void measure_copying(void *context)
{
	struct copying *copying = context;
	const uint64_t bytes = copying->run->quick ? 1 << 20 : 1 << 24;
	const uint64_t most = copying->run->quick ? 2000 : 20000;
	const uint64_t count = bytes / copying->size < most ? bytes / copying->size : most;
	const struct timed timed[COLUMNS] = { { names[MUTEX], mutex_loop, copying, count },
					      { names[RWLOCK], rwlock_loop, copying, count },
					      { names[CELL], cell_loop, copying, count } };

	copying->locks = make_locks(copying->size);
	copying->own = calloc(1, copying->size);
	if (!copying->own)
		process_die_errno(errno, "calloc");
	copying->cell = place(copying->arena, copying->size);
	copying->lease = values_lease(copying->arena);
	copying->copy = memcpy;
	memset(copying->locks->bytes, 1, copying->size);
	values_time(copying->run, copying->purpose, copying->seconds, timed, COLUMNS,
		    copying->samples);
}

static void compare(struct run *run, const struct bench_case *self, double seconds, bool writes)
{
	static const size_t sizes[] = { 64, 4096, 65536 };

	for (size_t i = 0; i < 3; i++) {
		struct copying copying = { .run = run,
					   .purpose = self->name,
					   .writes = writes,
					   .size = sizes[i],
					   .seconds = seconds / 3 };
		char what[32];

		copying.samples = samples_create(COLUMNS);
		copying.arena = values_arena(16 * copying.size + 65536);
		process_run(measure_copying, &copying);
		values_end(copying.arena);
		snprintf(what, sizeof(what), "%zu bytes", sizes[i]);
		for (size_t column = 0; column < CELL; column++) {
			const struct comparison comparison = { .case_name = self->name,
							       .what = what,
							       .peer = names[CELL],
							       .reference = names[column],
							       .unit = "ns" };

			report_compare(run->report, &comparison, copying.samples, CELL, column);
		}
		samples_destroy(copying.samples);
	}
}

static void cell_read(struct run *run, const struct bench_case *self, double seconds)
{
	compare(run, self, seconds, false);
}

static void cell_write(struct run *run, const struct bench_case *self, double seconds)
{
	compare(run, self, seconds, true);
}

// ---- kill ----------------------------------------------------------------------------------------

struct drafter {
	lh_arena *arena;
	lh_cell cell;
};

static void create_nothing(void *context)
{
	(void)context;
}

static int succeed(void *context)
{
	struct drafter *drafter = context;
	lh_grant grant;
	void *bytes;

	values_must(lh_cell_begin(&drafter->cell, values_lease(drafter->arena), LH_FOREVER, &bytes,
				  &grant),
		    "lh_cell_begin");
	return grant.flags & LH_GRANT_OWNER_DIED ? PEER_OWNER_DIED : 0;
}

static void draft(void *context)
{
	(void)succeed(context);
}

#define DRAFTER(drafter)                                                                           \
	{                                                                                          \
		.name = names[CELL], .create = create_nothing, .hold = draft, .succeed = succeed,  \
		.context = (drafter)                                                               \
	}

static void cell_kill(struct run *run, const struct bench_case *self, double seconds)
{
	struct drafter drafter = { .arena = values_arena(65536) };
	const struct succession successions[] = { values_robust, DRAFTER(&drafter) };

	drafter.cell = place(drafter.arena, 64);
	values_kill(run, self->name, seconds, successions, 2);
	values_end(drafter.arena);
}

static void cell_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	struct drafter drafter = { .arena = values_arena(65536) };
	const struct succession succession = DRAFTER(&drafter);

	drafter.cell = place(drafter.arena, 64);
	values_recover(run, self, seconds, &succession, 1, &peer_pthread_plain);
	values_end(drafter.arena);
}
