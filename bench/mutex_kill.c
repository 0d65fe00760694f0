// SPDX-License-Identifier: Apache-2.0
//
// mutex_kill.c: from SIGKILL to the next grant.
//
// A crew (crew.h) is brought into the same situation for every peer:
//
//	first holder	one holds, n sleep in the lock call; the holder is killed.
//	heir		one holds, n + 1 sleep; it unlocks and stays; whoever was granted the lock then
//			holds it; once the others sleep again, that heir is killed.
//	woken waiter	one holds, n + 1 sleep; it unlocks and at once kills the one that slept first,
//			whom the unlock has woken. A trial in which another was granted the lock before
//			the kill does not count, and is reported.
//
// Measured is from just before kill(2) to the first return of a lock call in another process, read
// there; both clocks are CLOCK_MONOTONIC. "Asleep" is what the kernel says of the process while it
// is in the lock call. The killed one is blocked, not running, when it holds. Every wait is checked
// to end, and the grant after a dead holder to say so.
#include "mutex.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "crew.h"
#include "report.h"

#define MOST_WAITERS 16
#define TRIALS 8 // of each kind with one crew
#define QUICK_TRIALS 1

_Static_assert(MOST_WAITERS + 2 <= CREW_SEATS, "a crew has seats for all");

struct kill_case {
	struct run *run;
	const struct bench_case *self;
	const struct peer_set *set;
	uint32_t waiters;
	size_t trials;
	struct random random;
};

struct outcome {
	uint64_t granted; // earliest
	bool told;        // that grant said that the holder had died
};

// Waits until each of the members 1 to members - 1, but the dead one, was granted the lock.
static struct outcome crew_first_grant(struct crew *crew, uint32_t members, uint32_t dead)
{
	struct outcome first = { .granted = UINT64_MAX };

	for (uint32_t i = 1; i < members; i++) {
		const struct member *member = &crew->shared->members[i];

		if (i == dead)
			continue;
		gate_await(&crew->shared->members[i].state, STATE_IDLE);
		if (member->granted < first.granted)
			first = (struct outcome){ member->granted, member->told };
	}
	return first;
}

static void expect_told(struct kill_case *case_, const struct crew *crew, bool told)
{
	if (told || crew->lock.peer->silent)
		return;
	fprintf(stderr, "lease-bench: %s: the grant after a dead holder did not say so\n",
		crew->lock.peer->name);
	case_->run->failed = true;
}

static double kill_and_time(struct kill_case *case_, struct crew *crew, uint32_t members,
			    uint32_t victim)
{
	measure_settle(&case_->random);
	const uint64_t start = measure_now();
	if (kill(crew->pids[victim], SIGKILL) != 0)
		process_die_errno(errno, "kill");
	const struct outcome first = crew_first_grant(crew, members, victim);
	process_bury(crew->pids[victim]);
	expect_told(case_, crew, first.told);
	return (double)(first.granted - start);
}

static double trial_first_holder(struct kill_case *case_, struct crew *crew)
{
	const uint32_t members = case_->waiters + 1;

	crew_queue_up(crew, members, ORDER_LOCK_AND_PASS);
	const double ns = kill_and_time(case_, crew, members, 0);
	crew_hire(crew, 0);
	return ns;
}

static double trial_heir(struct kill_case *case_, struct crew *crew)
{
	const uint32_t members = case_->waiters + 2;

	atomic_store(&crew->shared->heir, 0);
	crew_queue_up(crew, members, ORDER_LOCK_AND_PASS);
	atomic_store(&crew->shared->heirs_wanted, 1);
	crew_order(crew, 0, ORDER_UNLOCK);
	const uint32_t heir = gate_await_change(&crew->shared->heir, 0) - 1;

	for (uint32_t i = 1; i < members; i++) {
		if (i != heir)
			crew_await_asleep(crew, i);
	}
	const double ns = kill_and_time(case_, crew, members, heir);
	gate_await(&crew->shared->members[0].state, STATE_IDLE);
	crew_hire(crew, heir);
	return ns;
}

// Returns 0 for a trial that does not count.
static double trial_woken(struct kill_case *case_, struct crew *crew)
{
	const uint32_t members = case_->waiters + 2;

	crew_queue_up(crew, members, ORDER_LOCK_AND_HOLD);
	crew->shared->target = crew->pids[1];
	measure_settle(&case_->random);
	crew_order(crew, 0, ORDER_UNLOCK_AND_KILL);
	gate_await(&crew->shared->members[0].state, STATE_IDLE);
	const struct outcome first = crew_first_grant(crew, members, 1);
	process_bury(crew->pids[1]);
	crew_hire(crew, 1);
	return first.granted > crew->shared->killed ? (double)(first.granted - crew->shared->killed)
						    : 0;
}

// ---- the case ------------------------------------------------------------------------------------
enum { ROBUST, LEASE, LEASE_TTL, COLUMNS };

static const struct peer *const peers[COLUMNS] = {
	[ROBUST] = &peer_pthread_robust,
	[LEASE] = &peer_lease,
	[LEASE_TTL] = &peer_lease_ttl,
};

static const struct {
	const char *name;
	double (*trial)(struct kill_case *case_, struct crew *crew);
} victims[] = {
	{ "first holder", trial_first_holder },
	{ "heir", trial_heir },
	{ "woken waiter", trial_woken },
};

#define VICTIMS (sizeof(victims) / sizeof(victims[0]))

static void report_kill(struct kill_case *case_, size_t victim, const struct samples *samples,
			const size_t early[MEASURE_COLUMNS])
{
	char what[64];

	snprintf(what, sizeof(what), "%s, %u waiter%s", victims[victim].name, case_->waiters,
		 case_->waiters == 1 ? "" : "s");
	for (size_t column = 0; column < case_->set->count; column++) {
		const struct comparison comparison = {
			.case_name = case_->self->name,
			.what = what,
			.peer = case_->set->peers[column]->name,
			.reference = case_->set->peers[0]->name,
			.unit = "ns",
			.latency = true,
			.group = case_->trials,
			.target = { TARGET_RATIO_AT_MOST, 1.2 },
		};

		if (early[column])
			report_note(case_->run->report,
				    "kill: %s, %s: %zu of %zu trials do not count: another was "
				    "granted the lock before the kill.",
				    what, case_->set->peers[column]->name, early[column],
				    samples_rounds(samples));
		if (column != 0)
			report_compare(case_->run->report, &comparison, samples, column, 0);
	}
}

// A crew of fresh processes for each peer and round; see mutex_contended.c for the reason.
static void measure_crew(struct kill_case *case_, size_t column, size_t round,
			 struct samples *samples[VICTIMS], size_t early[VICTIMS][MEASURE_COLUMNS])
{
	struct crew crew;

	crew_start(&crew, case_->set->peers[column], case_->waiters + 2);
	for (size_t victim = 0; victim < VICTIMS; victim++) {
		for (size_t trial = 0; trial < case_->trials; trial++) {
			const double ns = victims[victim].trial(case_, &crew);

			samples_set(samples[victim], round * case_->trials + trial, column,
				    ns > 0 ? ns : NAN);
			early[victim][column] += !(ns > 0);
		}
	}
	crew_end(&crew);
}

static void compare(struct kill_case *case_, double seconds)
{
	struct samples *samples[VICTIMS];
	size_t early[VICTIMS][MEASURE_COLUMNS] = { 0 };
	char purpose[64];

	snprintf(purpose, sizeof(purpose), "%s %u", case_->self->name, case_->waiters);
	for (size_t victim = 0; victim < VICTIMS; victim++)
		samples[victim] = samples_create(case_->set->count);
	struct rounds rounds = rounds_begin(case_->run, purpose, case_->set->count, seconds);
	while (rounds_next(&rounds) && (rounds.round + 1) * case_->trials <= MEASURE_ROUNDS) {
		for (size_t i = 0; i < case_->set->count; i++)
			measure_crew(case_, rounds.order[i], rounds.round, samples, early);
	}
	for (size_t victim = 0; victim < VICTIMS; victim++) {
		report_kill(case_, victim, samples[victim], early[victim]);
		samples_destroy(samples[victim]);
	}
}

void compare_kills(struct run *run, const struct bench_case *self, const struct peer_set *set,
		   double seconds)
{
	static const uint32_t waiters[] = { 1, 4, MOST_WAITERS };
	// Most of the time goes into making so many processes anew: a quick run has none of it.
	const size_t count = run->quick ? 2 : sizeof(waiters) / sizeof(waiters[0]);
	const size_t trials = run->quick ? QUICK_TRIALS : TRIALS;

	for (size_t i = 0; i < count; i++) {
		struct kill_case case_ = { .run = run,
					   .self = self,
					   .set = set,
					   .waiters = waiters[i],
					   .trials = trials };

		case_.random = random_stream(run->seed, "settle");
		compare(&case_, seconds / (double)count);
	}
	report_note(run->report,
		    "kill: a round's figure is the median of %zu kill%s; extremes are of single "
		    "ones.",
		    trials, trials == 1 ? "" : "s");
}

void mutex_kill(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer_set set = { .peers = peers, .count = COLUMNS };

	compare_kills(run, self, &set, seconds);
}
