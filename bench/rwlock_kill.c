// SPDX-License-Identifier: Apache-2.0
//
// rwlock_kill.c: from SIGKILL of a writer or reader to the next grant.
#include "rwlock.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "further.h"
#include "peer.h"
#include "report.h"

enum { ROBUST, WRITER_READER, WRITER_WRITER, READER_WRITER, KILL_COLUMNS };

struct kill_case {
	int column;
	struct locks locks;
	struct lock robust;
	struct {
		gate held, waits;
		_Atomic uint64_t granted;
		bool told;
	} * shared;
};

static void hold_for_ever(void *context)
{
	struct kill_case *case_ = context;

	if (case_->column == ROBUST) {
		case_->robust.peer->attach(&case_->robust);
		(void)case_->robust.peer->lock(&case_->robust);
	} else {
		locks_attach(&case_->locks, 0, false);
		locks_enter(&case_->locks, LEASE, case_->column != READER_WRITER);
	}
	gate_set(&case_->shared->held, 1);
	for (;;)
		measure_sleep_until(UINT64_MAX / 2);
}

static void wait_for_it(void *context)
{
	struct kill_case *case_ = context;
	lh_grant grant = { .flags = 0 };

	if (case_->column == ROBUST) {
		case_->robust.peer->attach(&case_->robust);
		gate_set(&case_->shared->waits, 1);
		case_->shared->told = case_->robust.peer->lock(&case_->robust) == PEER_OWNER_DIED;
		atomic_store(&case_->shared->granted, measure_now());
		case_->robust.peer->unlock(&case_->robust);
		case_->robust.peer->detach(&case_->robust);
		return;
	}
	locks_attach(&case_->locks, 0, false);
	gate_set(&case_->shared->waits, 1);
	locks_check(case_->column == WRITER_READER
			    ? lh_rwlock_read_lock(&case_->locks.handle, case_->locks.lease,
						  LH_FOREVER, &grant)
			    : lh_rwlock_write_lock(&case_->locks.handle, case_->locks.lease,
						   LH_FOREVER, &grant),
		    "lock");
	atomic_store(&case_->shared->granted, measure_now());
	case_->shared->told = (grant.flags != 0) == (case_->column != READER_WRITER);
	locks_leave(&case_->locks, LEASE, case_->column != WRITER_READER);
	locks_detach(&case_->locks);
}

static double kill_once(struct run *run, int column)
{
	struct kill_case case_ = { .column = column,
				   .shared = process_shared_memory(sizeof(*case_.shared)) };
	pid_t holder, waiter, further = 0;
	uint64_t killed;
	double took;

	if (column == ROBUST) {
		peer_create(&case_.robust, &peer_pthread_robust);
	} else {
		locks_create(&case_.locks);
		further = further_start(case_.locks.object_name);
	}
	holder = process_start(hold_for_ever, &case_);
	gate_await(&case_.shared->held, 1);
	waiter = process_start(wait_for_it, &case_);
	gate_await(&case_.shared->waits, 1);
	process_await_asleep(waiter, "rwlock");
	killed = measure_now();
	kill(holder, SIGKILL);
	process_finish(waiter);
	process_bury(holder);
	took = (double)(atomic_load(&case_.shared->granted) - killed);
	if (!case_.shared->told) {
		fprintf(stderr,
			"lease-bench: rwlock: the grant after a kill told the wrong thing\n");
		run->failed = true;
	}
	if (column == ROBUST) {
		case_.robust.peer->destroy(&case_.robust);
	} else {
		further_end(further);
		locks_destroy(&case_.locks);
	}
	munmap(case_.shared, sizeof(*case_.shared));
	return took;
}

void rwlock_kill(struct run *run, const struct bench_case *self, double seconds)
{
	static const char *const whats[KILL_COLUMNS] = {
		[WRITER_READER] = "a writer; a reader waits",
		[WRITER_WRITER] = "a writer; a writer waits",
		[READER_WRITER] = "a reader; a writer waits",
	};
	struct samples *samples = samples_create(KILL_COLUMNS);
	struct rounds rounds = rounds_begin(run, self->name, KILL_COLUMNS, seconds);

	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < KILL_COLUMNS; i++)
			samples_set(samples, rounds.round, rounds.order[i],
				    kill_once(run, (int)rounds.order[i]));
	}
	for (size_t column = ROBUST + 1; column < KILL_COLUMNS; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = whats[column],
			.peer = locks_names[LEASE],
			.reference = peer_pthread_robust.name,
			.unit = "ns",
			.latency = true,
			.target = { TARGET_RATIO_AT_MOST, 1.2 },
		};

		report_compare(run->report, &comparison, samples, column, ROBUST);
	}
	report_note(run->report, "kill: a pthread_rwlock is never granted again.");
	samples_destroy(samples);
}
