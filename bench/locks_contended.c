// SPDX-License-Identifier: Apache-2.0
//
// locks_contended.c: several processes want one key, and hold it for a short or for a long time:
// what a grant takes, the processor time that all of them use for it beside what they do while they
// hold it, and how the grants are shared out.
#include "locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <leasehold/leasehold.h>

#include "crowd.h"
#include "fairness.h"
#include "measure.h"
#include "report.h"
#include "scratch.h"

enum { FLOCK, KEY, PEERS };

static const char *const names[PEERS] = { "flock", "a key" };

static const struct {
	const char *name;
	uint64_t ns;
} holds[] = { { "0.2 us", 200 }, { "5 us", 5000 }, { "20 us", 20000 }, { "500 us", 500000 } };

enum { HOLDS = sizeof(holds) / sizeof(holds[0]) };

// What they want, as one process sees it.
struct wanted {
	char name[SCRATCH_NAME], file_name[SCRATCH_NAME];
	lh_locks *locks;
	int file;
	_Atomic uint32_t *inside; // shared
};

static void attach(void *context, uint32_t process)
{
	struct wanted *wanted = context;
	char url[SCRATCH_NAME + 8];

	(void)process;
	snprintf(url, sizeof(url), "shm://%s", wanted->name);
	wanted->file = shm_open(wanted->file_name, O_RDWR | O_CLOEXEC, 0);
	if (wanted->file < 0 || lh_locks_open(url, &wanted->locks))
		process_die("cannot be opened: %s", lh_error_detail());
}

static void detach(void *context)
{
	const struct wanted *wanted = context;

	if (lh_locks_close(wanted->locks))
		process_die("%s", lh_error_detail());
}

// Alone: as long as the clock says, whatever the processor does meanwhile.
static void stay(struct wanted *wanted, uint64_t ns, _Atomic uint64_t *violations)
{
	const uint64_t until = measure_now() + ns;

	if (atomic_fetch_add(wanted->inside, 1))
		atomic_fetch_add(violations, 1);
	while (measure_now() < until)
		;
	atomic_fetch_sub(wanted->inside, 1);
}

// The terms: how long it is held.
static uint64_t contend(void *context, const struct crowd_order *order, const gate *stop,
			_Atomic uint64_t *violations)
{
	struct wanted *wanted = context;
	uint64_t count = 0;
	lh_handle *handle = NULL;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); count++) {
		const uint64_t until = measure_now() + order->terms;

		if (order->kind == FLOCK
			    ? flock(wanted->file, LOCK_EX)
			    : lh_acquire(wanted->locks, "key", LH_FOREVER, NULL, &handle))
			process_die("%s", lh_error_detail());
		stay(wanted, order->terms, violations);
		if (order->kind == FLOCK ? flock(wanted->file, LOCK_UN) : lh_handle_release(handle))
			process_die("%s", lh_error_detail());
		while (measure_now() < until) // as long without it as with it, unless it has waited
			;
	}
	return count;
}

static const struct crowd_work work = {
	.name = "locks", .attach = attach, .contend = contend, .detach = detach
};

static void wanted_create(struct wanted *wanted)
{
	*wanted = (struct wanted){ .inside = process_shared_memory(sizeof(*wanted->inside)) };
	scratch_name(wanted->name);
	scratch_name(wanted->file_name); // in memory, as what peer_file.c locks
	wanted->file = shm_open(wanted->file_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (wanted->file < 0)
		process_die_errno(errno, wanted->file_name);
}

static void wanted_destroy(struct wanted *wanted)
{
	munmap(wanted->inside, sizeof(*wanted->inside));
	close(wanted->file);
	scratch_unlink(wanted->file_name);
	scratch_unlink(wanted->name);
}

static void compare(struct run *run, const struct bench_case *self, struct crowd *crowd,
		    uint32_t size, size_t hold, double seconds)
{
	struct crowd_order order = { .terms = holds[hold].ns,
				     .active = size,
				     .ns = run->quick ? 5000000 : 40000000 };
	struct samples *wall = samples_create(PEERS), *cpu = samples_create(PEERS);
	struct fairness fairness = fairness_create(PEERS);
	struct comparison comparison = { .case_name = self->name,
					 .peer = names[KEY],
					 .reference = names[FLOCK],
					 .unit = "ns/grant",
					 .throughput = true };
	char what[64];

	snprintf(what, sizeof(what), "%u processes, %s", size, holds[hold].name);
	struct rounds rounds = rounds_begin(run, what, PEERS, seconds);
	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < PEERS; i++) {
			const size_t peer = rounds.order[i];

			order.kind = (int)peer;
			const struct crowd_slice slice = crowd_slice(crowd, &order);

			samples_set(wall, rounds.round, peer, slice.wall);
			samples_set(cpu, rounds.round, peer, slice.cpu);
			fairness_set(&fairness, rounds.round, peer, crowd->shares, size);
		}
	}
	comparison.what = what;
	report_compare(run->report, &comparison, wall, KEY, FLOCK);
	fairness_report(&fairness, run->report, &comparison, KEY, FLOCK);
	snprintf(what, sizeof(what), "%u, %s: processor time", size, holds[hold].name);
	comparison.unit = "ns";
	comparison.throughput = false;
	report_compare(run->report, &comparison, cpu, KEY, FLOCK);
	fairness_destroy(&fairness);
	samples_destroy(wall);
	samples_destroy(cpu);
}

void locks_contended(struct run *run, const struct bench_case *self, double seconds)
{
	static const uint32_t sizes[] = { 2, 4, CROWD_MOST };
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
	struct wanted wanted;
	struct crowd crowd;

	wanted_create(&wanted);
	crowd_start(&crowd, &work, &wanted, CROWD_MOST);
	for (size_t i = 0; i < SIZES; i++) {
		for (size_t hold = 0; hold < HOLDS; hold++)
			compare(run, self, &crowd, sizes[i], hold, seconds / (SIZES * HOLDS));
	}
	crowd_end(&crowd, run);
	wanted_destroy(&wanted);
	report_note(run->report,
		    "contended: each process stays outside for as long as inside, if it "
		    "has not waited meanwhile; its work is part of the processor time.");
}
