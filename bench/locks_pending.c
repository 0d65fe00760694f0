// SPDX-License-Identifier: Apache-2.0
//
// locks_pending.c: from the release of a key until what waits for it without a thread has its
// handle: of one such acquire, of a thousand for one key, and of one for each of a thousand keys,
// all served by one helper thread. The processor time of the whole process is taken over the same
// stretch.
#include "locks.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <leasehold/leasehold.h>

#include "measure.h"
#include "process.h"
#include "report.h"
#include "scratch.h"

enum { ALONE, ONE_KEY, KEYS, COLUMNS };

static const char *const names[COLUMNS] = { "1 pending", "1000 for one key", "1000 keys" };

enum { MANY = 1000, KEY_SIZE = 16 };

struct pendings {
	struct run *run;
	const struct bench_case *self;
	double seconds;
	struct samples *times, *work; // ns for each grant: that passed, that processors worked
	char name[SCRATCH_NAME];
	lh_locks *locks;
	uint32_t count;
	char keys[MANY][KEY_SIZE];
	lh_handle *held[MANY];
	lh_pending *pending[MANY];
};

static void check(int error)
{
	if (error)
		process_die("%s: %s", lh_strerror(error), lh_error_detail());
}

static const char *key_of(struct pendings *pendings, size_t column, uint32_t number)
{
	return pendings->keys[column == KEYS ? number : 0];
}

static void start(struct pendings *pendings, size_t column, uint32_t number)
{
	check(lh_acquire_start(pendings->locks, key_of(pendings, column, number), LH_FOREVER, NULL,
			       &pendings->pending[number]));
	if (lh_pending_fd(pendings->pending[number]) < 0)
		process_die("no descriptor: %s", lh_error_detail());
}

static void set_up(struct pendings *pendings, size_t column)
{
	const uint32_t holds = column == KEYS ? pendings->count : 1;

	for (uint32_t i = 0; i < holds; i++)
		check(lh_acquire(pendings->locks, key_of(pendings, column, i), LH_FOREVER, NULL,
				 &pendings->held[i]));
	for (uint32_t i = 0; i < pendings->count && column != ALONE; i++)
		start(pendings, column, i);
}

// Released, granted, and told: the handle that was waited for.
static lh_handle *hand_over(lh_handle *held, lh_pending *pending)
{
	struct pollfd poll_fd = { .fd = lh_pending_fd(pending), .events = POLLIN };
	lh_handle *granted;

	check(lh_handle_release(held));
	while (poll(&poll_fd, 1, -1) != 1)
		;
	check(lh_pending_finish(pending, &granted));
	return granted;
}

static uint64_t worked(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void measure(struct pendings *pendings, size_t round, size_t column)
{
	uint64_t time = 0, work = 0;

	set_up(pendings, column);
	for (uint32_t i = 0; i < pendings->count; i++) {
		lh_handle **held = &pendings->held[column == KEYS ? i : 0];
		uint64_t began, before;

		if (column == ALONE)
			start(pendings, column, i);
		before = worked();
		began = measure_now();
		*held = hand_over(*held, pendings->pending[i]);
		time += measure_now() - began;
		work += worked() - before;
	}
	for (uint32_t i = 0; i < (column == KEYS ? pendings->count : 1); i++)
		check(lh_handle_release(pendings->held[i]));
	samples_set(pendings->times, round, column, (double)time / pendings->count);
	samples_set(pendings->work, round, column, (double)work / pendings->count);
}

static void measure_rounds(void *context)
{
	struct pendings *pendings = context;
	char url[SCRATCH_NAME + 40];
	struct rounds rounds;

	snprintf(url, sizeof(url), "shm://%s?size=4M&leases=4096", pendings->name);
	check(lh_locks_open(url, &pendings->locks));
	rounds = rounds_begin(pendings->run, pendings->self->name, COLUMNS, pendings->seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < COLUMNS; i++)
			measure(pendings, rounds.round, rounds.order[i]);
	}
	check(lh_locks_close(pendings->locks));
}

// A descriptor for each, and some. As many as there may be.
static uint32_t allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	if (limit.rlim_cur < MANY + 64 && limit.rlim_max >= MANY + 64) {
		limit.rlim_cur = MANY + 64;
		if (setrlimit(RLIMIT_NOFILE, &limit))
			return 0;
	}
	return limit.rlim_cur >= MANY + 64 ? MANY : 0;
}

void locks_pending(struct run *run, const struct bench_case *self, double seconds)
{
	struct pendings *pendings = calloc(1, sizeof(*pendings));

	if (!pendings)
		process_die("no memory");
	pendings->run = run;
	pendings->self = self;
	pendings->seconds = seconds;
	pendings->count = run->quick ? 50 : allow_descriptors();
	if (!pendings->count) {
		report_note(run->report, "pending: not measured, %d descriptors are not allowed.",
			    MANY);
		free(pendings);
		return;
	}
	for (uint32_t i = 0; i < MANY; i++)
		snprintf(pendings->keys[i], KEY_SIZE, "key %u", i);
	pendings->times = samples_create(COLUMNS);
	pendings->work = samples_create(COLUMNS);
	scratch_name(pendings->name);
	process_run(measure_rounds, pendings);
	scratch_unlink(pendings->name);
	for (size_t column = ONE_KEY; column < COLUMNS; column++) {
		struct comparison comparison = { .case_name = self->name,
						 .what = "release to grant",
						 .peer = names[column],
						 .reference = names[ALONE],
						 .unit = "ns" };

		report_compare(run->report, &comparison, pendings->times, column, ALONE);
		comparison.what = "processor time of it";
		report_compare(run->report, &comparison, pendings->work, column, ALONE);
	}
	samples_destroy(pendings->times);
	samples_destroy(pendings->work);
	free(pendings);
}
