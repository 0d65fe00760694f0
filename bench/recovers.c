// SPDX-License-Identifier: Apache-2.0
//
// recovers.c: one process holds, another wants it; the holder is killed. If the other has not got
// it DEADLINE later, it is said to hang: a longer wait would have to be believed just as well. A
// peer that hung twice (once in a quick run) and was never granted is killed no more, since each
// costs the deadline.
#include "recovers.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define DEADLINE_NS UINT64_C(1000000000)
#define PATIENT_NS UINT64_C(60000000000)

static const char *patient[MEASURE_COLUMNS];

static struct scene *stage; // of a process that holds

struct scene {
	struct lock lock;
	struct {
		gate held, wants, granted;
		uint64_t granted_ns;
		bool told;
	} * shared;
};

struct tally {
	size_t kills, grants, told;
};

void recovers_held(void)
{
	gate_set(&stage->shared->held, 1);
}

void recovers_stay(void)
{
	recovers_held();
	gate_await_order(&stage->shared->held, 1);
	process_die("a holder was not killed");
}

static void hold(void *context)
{
	struct scene *scene = context;
	const struct peer *peer = scene->lock.peer;

	stage = scene;
	peer->attach(&scene->lock);
	(void)(peer->hold ? peer->hold : peer->lock)(&scene->lock);
	recovers_stay();
}

static void take(void *context)
{
	struct scene *scene = context;
	const struct peer *peer = scene->lock.peer;

	peer->attach(&scene->lock);
	gate_set(&scene->shared->wants, 1);
	scene->shared->told = peer->lock(&scene->lock) == PEER_OWNER_DIED;
	scene->shared->granted_ns = measure_now();
	gate_set(&scene->shared->granted, 1);
	peer->unlock(&scene->lock);
	peer->detach(&scene->lock);
}

// Whoever spins never sleeps: that it wants the lock is all that can be known of it.
static void await_taker(const struct scene *scene, pid_t taker, struct random *random)
{
	gate_await(&scene->shared->wants, 1);
	if (!scene->lock.peer->spins)
		process_await_asleep(taker, scene->lock.peer->name);
	measure_settle(random);
}

bool recovers_be_patient(const char *peer)
{
	for (size_t i = 0; i < MEASURE_COLUMNS; i++) {
		if (!patient[i]) {
			patient[i] = peer;
			return true;
		}
	}
	return false;
}

static uint64_t deadline_ns(const char *peer)
{
	for (size_t i = 0; i < MEASURE_COLUMNS && patient[i]; i++) {
		if (strcmp(patient[i], peer) == 0)
			return PATIENT_NS;
	}
	return DEADLINE_NS;
}

// ns to the grant; negative if there was none.
static double kill_once(const struct peer *peer, struct tally *tally, struct random *random)
{
	struct scene scene = { .shared = process_shared_memory(sizeof(*scene.shared)) };
	double ns = -1;

	peer_create(&scene.lock, peer);
	const pid_t holder = process_start(hold, &scene);
	gate_await(&scene.shared->held, 1);
	const pid_t taker = process_start(take, &scene);
	await_taker(&scene, taker, random);

	const uint64_t killed = measure_now();
	if (kill(holder, SIGKILL) != 0)
		process_die_errno(errno, "kill");
	if (peer->killed)
		peer->killed(&scene.lock);
	const bool granted = gate_await_until(&scene.shared->granted, 0,
					      killed + deadline_ns(peer->name));
	process_bury(holder);
	tally->kills++;
	if (granted) {
		process_finish(taker);
		tally->grants++;
		tally->told += scene.shared->told;
		ns = (double)(scene.shared->granted_ns - killed);
	} else {
		kill(taker, SIGKILL);
		process_bury_if_killed(taker);
	}
	peer->destroy(&scene.lock);
	munmap(scene.shared, sizeof(*scene.shared));
	return ns;
}

static const char *verdict(const struct tally *tally)
{
	if (tally->grants == 0)
		return "hangs";
	if (tally->grants < tally->kills)
		return "not always";
	return tally->told == tally->grants ? "told" : tally->told ? "not always told" : "untold";
}

void compare_recovery(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds)
{
	struct samples *samples = samples_create(set->count);
	struct tally tallies[MEASURE_COLUMNS] = { 0 };
	struct random random = random_stream(run->seed, "settle");
	struct rounds rounds = rounds_begin(run, self->name, set->count, seconds);

	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < set->count; i++) {
			const size_t column = rounds.order[i];
			struct tally *tally = &tallies[column];

			if (tally->kills == (run->quick ? 1 : 2) && tally->grants == 0)
				continue;
			const double ns = kill_once(set->peers[column], tally, &random);
			if (ns >= 0)
				samples_set(samples, rounds.round, column, ns);
		}
	}
	for (size_t column = 0; column < set->count; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "SIGKILL of a holder to the next grant",
			.peer = set->peers[column]->name,
			.reference = set->peers[0]->name,
			.unit = "ns",
			.latency = true,
		};

		report_recovery(run->report, comparison.peer, verdict(&tallies[column]));
		for (const char *const *also = set->peers[column]->also; also && *also; also++)
			report_recovery(run->report, *also, verdict(&tallies[column]));
		report_compare(run->report, &comparison, samples, column, 0);
	}
	report_note(
		run->report,
		"recovers: \"hangs\" had no grant %.0f s after the kill, \"told\" was told of the "
		"death by its grant.",
		(double)DEADLINE_NS / 1e9);
	samples_destroy(samples);
}
