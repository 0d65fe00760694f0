// SPDX-License-Identifier: Apache-2.0
//
// locks.c: lease-bench locks: a named lock of an arena, and one in files, against flock(2) on an
// open file, and what the number of keys costs, beside what it costs any table (mutex_table.h).
// locks_pending.c: acquires that wait without a thread.
#include "locks.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "layouts.h"
#include "mutex.h"
#include "mutex_table.h"
#include "peer.h"
#include "process.h"
#include "recovers.h"
#include "report.h"
#include "scratch.h"

static void measure_pairs(struct run *run, const struct bench_case *self, double seconds);

// What is compared as locks are, by the mutex's cases.
static const struct peer *const kill_peers[] = { &peer_pthread_robust, &peer_key, &peer_key_file,
						 &peer_flock, &peer_ofd };
static const struct peer *const sharer_peers[] = { &peer_flock, &peer_key, &peer_key_file,
						   &peer_ofd };

#define SET_OF(list)                                                                               \
	{                                                                                          \
		.peers = (list), .count = sizeof(list) / sizeof((list)[0])                         \
	}

static const struct peer_set killed_set = SET_OF(kill_peers), sharers = SET_OF(sharer_peers);

static void killed(struct run *run, const struct bench_case *self, double seconds)
{
	compare_kills(run, self, &killed_set, seconds);
}

static void recovers(struct run *run, const struct bench_case *self, double seconds)
{
	compare_recovery(run, self, &killed_set, seconds);
}

static void handover(struct run *run, const struct bench_case *self, double seconds)
{
	compare_handover(run, self, &sharers, seconds);
}

static void oversubscribed(struct run *run, const struct bench_case *self, double seconds)
{
	compare_oversubscribed(run, self, &sharers, seconds);
}

static void fairness(struct run *run, const struct bench_case *self, double seconds)
{
	compare_fairness(run, self, &sharers, seconds);
}

static const struct bench_case cases[] = {
	{ "pair", "acquire and release of a key, uncontended", 1, measure_pairs },
	{ "contended", "several processes want one key, for a short or a long time", 1,
	  locks_contended },
	{ "pending", "a thousand acquires that wait without a thread, on one helper thread", 1,
	  locks_pending },
	{ "handover", "release to the grant of a process that sleeps for it", 1, handover },
	{ "oversubscribed", "grants with more processes than CPUs, by hold and pause", 2,
	  oversubscribed },
	{ "fairness", "how grants are shared out, and the longest wait of 2 processes", 2,
	  fairness },
	{ "kill", "SIGKILL of a holder, an heir or a woken waiter, to the next grant", 2, killed },
	{ "recovers", "whether the death of a holder lets the next one in, and tells it", 1,
	  recovers },
	{ 0 },
};

const struct subcommand locks_subcommand = {
	.name = "locks",
	.summary = "named locks against flock and open file description locks",
	.cases = cases,
};

// FILES: of ten keys in a directory, each acquire with an open file of its own.
// TEN: of a table of ten keys; TEN_OF_MANY: of the same ten, in a table of KEYS; MANY: of all of
// them, at random. TEN_BARE, MANY_BARE: of KEYS pthread mutexes, found by the same keys.
enum { FLOCK, OFD, TEN, TEN_OF_MANY, MANY, FILES, TEN_BARE, MANY_BARE, COLUMNS };

static const char *const names[COLUMNS] = { "flock",
					    "fcntl-ofd",
					    "10 keys",
					    "10 of 100000 keys",
					    "100000 keys",
					    "10 files",
					    "10 of 100000 pthread",
					    "100000 pthread" };

enum { FEW = 10, KEYS = 100000 };

#define LAYOUTS 8
#define QUICK_LAYOUTS 1 // each makes all the keys anew

struct pairs {
	struct random random;
	char small[SCRATCH_NAME], large[SCRATCH_NAME];
	lh_locks *few, *many, *files;
	char directory[32]; // of the files
	char (*keys)[MUTEX_TABLE_KEY];
	struct mutex_table *bare;
	struct lock opened; // its file alone
};

static void pair(struct pairs *pairs, lh_locks *locks, uint64_t number)
{
	lh_handle *handle;

	if (lh_acquire(locks, pairs->keys[number], LH_FOREVER, NULL, &handle) ||
	    lh_handle_release(handle))
		process_die("%s", lh_error_detail());
}

static void bare_pair(struct pairs *pairs, uint64_t number)
{
	pthread_mutex_t *mutex = mutex_table_find(pairs->bare, pairs->keys[number]);
	const int error = pthread_mutex_lock(mutex);

	if (error || pthread_mutex_unlock(mutex))
		process_die("a mutex of the table cannot be locked and unlocked");
}

static void loop(void *context, size_t column, uint64_t calls)
{
	struct pairs *pairs = context;

	switch (column) {
	case FLOCK:
		peer_flock.pairs(&pairs->opened, calls);
		break;
	case OFD:
		peer_ofd.pairs(&pairs->opened, calls);
		break;
	case TEN:
	case TEN_OF_MANY:
		for (uint64_t i = 0; i < calls; i++)
			pair(pairs, column == TEN ? pairs->few : pairs->many, i % FEW);
		break;
	case FILES:
		for (uint64_t i = 0; i < calls; i++)
			pair(pairs, pairs->files, i % FEW);
		break;
	case TEN_BARE:
		for (uint64_t i = 0; i < calls; i++)
			bare_pair(pairs, i % FEW);
		break;
	case MANY_BARE:
		for (uint64_t i = 0; i < calls; i++)
			bare_pair(pairs, random_below(&pairs->random, KEYS));
		break;
	default:
		for (uint64_t i = 0; i < calls; i++)
			pair(pairs, pairs->many, random_below(&pairs->random, KEYS));
	}
}

static void attach(void *context)
{
	struct pairs *pairs = context;
	char url[SCRATCH_NAME + 40], path[] = "/tmp/lease-bench-XXXXXX";

	pairs->keys = malloc(sizeof(*pairs->keys) * KEYS);
	pairs->opened.file = mkstemp(path);
	if (!pairs->keys || pairs->opened.file < 0 || unlink(path))
		process_die("no memory, or no file in /tmp");
	for (unsigned i = 0; i < KEYS; i++)
		snprintf(pairs->keys[i], sizeof(pairs->keys[i]), "key %u", i);
	pairs->bare = mutex_table_create(pairs->keys, KEYS);
	snprintf(url, sizeof(url), "shm://%s", pairs->small);
	if (lh_locks_open(url, &pairs->few))
		process_die("%s", lh_error_detail());
	snprintf(url, sizeof(url), "shm://%s?size=64M", pairs->large);
	if (lh_locks_open(url, &pairs->many))
		process_die("%s", lh_error_detail());
	snprintf(pairs->directory, sizeof(pairs->directory), "/tmp/lease-bench-XXXXXX");
	if (!mkdtemp(pairs->directory))
		process_die("no directory in /tmp");
	snprintf(url, sizeof(url), "file://%s", pairs->directory);
	if (lh_locks_open(url, &pairs->files))
		process_die("%s", lh_error_detail());
	for (unsigned i = 0; i < KEYS; i++)
		pair(pairs, pairs->many, i);
	for (unsigned i = 0; i < FEW; i++) {
		pair(pairs, pairs->few, i);
		pair(pairs, pairs->files, i);
	}
}

static void remove_files(void *context)
{
	const struct pairs *pairs = context;
	char path[64];

	for (unsigned i = 0; i < FEW; i++) {
		snprintf(path, sizeof(path), "%s/key%%20%u.lock", pairs->directory, i);
		unlink(path);
	}
	rmdir(pairs->directory);
}

static void create(void *context)
{
	struct pairs *pairs = context;

	scratch_name(pairs->small);
	scratch_name(pairs->large);
	(void)random_next(&pairs->random); // each process draws from a copy
}

static void destroy(void *context)
{
	struct pairs *pairs = context;

	scratch_unlink(pairs->small);
	scratch_unlink(pairs->large);
}

static void measure_pairs(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct {
		size_t peer, reference;
		double most;
	} rows[] = {
		{ TEN, FLOCK, 0.5 }, { TEN_OF_MANY, TEN, 1.1 }, { MANY, TEN, 1.1 },
		{ FILES, FLOCK, 0 }, { TEN, OFD, 0 },           { FILES, OFD, 0 },
		{ OFD, FLOCK, 0 },   { MANY, MANY_BARE, 0 },    { MANY_BARE, TEN_BARE, 0 },
	};
	struct pairs pairs = { .random = random_stream(run->seed, self->name) };
	struct layouts layouts = {
		.run = run,
		.purpose = self->name,
		.seconds = seconds,
		.columns = COLUMNS,
		.count = run->quick ? QUICK_LAYOUTS : LAYOUTS,
		.calls = run->quick ? 500 : 5000,
		.context = &pairs,
		.create = create,
		.destroy = destroy,
		.attach = attach,
		.detach = remove_files,
		.loop = loop,
	};

	layouts_measure(&layouts);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "acquire and release",
			.peer = names[rows[i].peer],
			.reference = names[rows[i].reference],
			.unit = "ns",
			.group = layouts.group,
			.target = { rows[i].most > 0 ? TARGET_RATIO_AT_MOST : TARGET_NONE,
				    rows[i].most },
		};

		report_compare(run->report, &comparison, layouts.samples, rows[i].peer,
			       rows[i].reference);
	}
	samples_destroy(layouts.samples);
}
