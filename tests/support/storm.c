// SPDX-License-Identifier: Apache-2.0
#include "tests/support/storm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/support/tier.h"

enum { MAX_WORKERS = 64 };

unsigned storm_seed(void)
{
	const char *text = getenv("LEASEHOLD_SEED");
	const unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)lh_now();

	printf("LEASEHOLD_SEED=%u\n", seed);
	return seed;
}

uint64_t storm_end(void)
{
	return lh_now() + tier_pick(LH_MS(1500), LH_SEC(8), LH_SEC(14));
}

uint32_t storm_random(unsigned *seed, uint32_t bound)
{
	return (uint32_t)rand_r(seed) % bound;
}

// Paces the deeds; nothing is ordered by it.
static void pass_time(uint64_t ns)
{
	const struct timespec time = { .tv_sec = (time_t)(ns / LH_SEC(1)),
				       .tv_nsec = (long)(ns % LH_SEC(1)) };

	nanosleep(&time, NULL);
}

static void replace(const struct storm *storm, struct peer *peer, int number, unsigned *seed)
{
	struct storm_worker worker = { .seed = (unsigned)rand_r(seed), .number = number };

	*peer = peer_start(storm->body, &worker);
}

static void kill_worker(struct peer *peer)
{
	int status;

	kill(peer->pid, SIGKILL);
	status = peer_wait(peer);
	// One that had ended by itself has found something.
	need(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// One that has ended by itself has found something and said so.
static void look_after(const struct storm *storm, struct peer *peers, unsigned *seed,
		       struct storm_deeds *deeds)
{
	for (int i = 0; i < storm->workers; i++) {
		siginfo_t end = { .si_pid = 0 };

		need(waitid(P_PID, (id_t)peers[i].pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0);
		if (end.si_pid == 0)
			continue;
		need(storm->may_die && end.si_code == CLD_KILLED && end.si_status == SIGKILL);
		peer_wait(&peers[i]);
		deeds->died++;
		replace(storm, &peers[i], i, seed);
	}
}

static void stop_worker(const struct storm *storm, struct peer *peer, unsigned *seed,
			struct storm_deeds *deeds, int number)
{
	kill(peer->pid, SIGSTOP);
	pass_time(storm_random(seed, (uint32_t)storm->stop_ns));
	if (storm->kills && storm_random(seed, 4) == 0) { // it dies without having gone on
		kill_worker(peer);
		deeds->kills++;
		replace(storm, peer, number, seed);
		return;
	}
	kill(peer->pid, SIGCONT);
	deeds->stops++;
}

struct storm_deeds storm_run(const struct storm *storm, unsigned *seed, uint64_t end)
{
	struct peer peers[MAX_WORKERS];
	struct storm_deeds deeds = { 0 };

	need(storm->workers <= MAX_WORKERS);
	for (int i = 0; i < storm->workers; i++)
		replace(storm, &peers[i], i, seed);
	while (lh_now() < end || (storm->kills && !deeds.kills) || (storm->stops && !deeds.stops)) {
		const int chosen = (int)storm_random(seed, (uint32_t)storm->workers);

		pass_time(storm_random(seed, (uint32_t)storm->pause_ns));
		look_after(storm, peers, seed, &deeds);
		if (storm->stops && (!storm->kills || storm_random(seed, 2))) {
			stop_worker(storm, &peers[chosen], seed, &deeds, chosen);
		} else if (storm->kills) {
			kill_worker(&peers[chosen]);
			deeds.kills++;
			replace(storm, &peers[chosen], chosen, seed);
		}
		if (storm->each)
			storm->each(storm->context);
	}
	look_after(storm, peers, seed, &deeds);
	// All stand still before the first is killed, so that none sees another's death.
	for (int i = 0; i < storm->workers; i++) {
		siginfo_t stop = { .si_pid = 0 };

		kill(peers[i].pid, SIGSTOP);
		need(waitid(P_PID, (id_t)peers[i].pid, &stop, WSTOPPED | WEXITED | WNOWAIT) == 0);
	}
	for (int i = 0; i < storm->workers; i++)
		kill_worker(&peers[i]);
	return deeds;
}

struct storm_deeds storm_run_until(const struct storm *storm, unsigned *seed, uint64_t duration,
				   const _Atomic uint64_t *wanted)
{
	struct storm_deeds all = { 0, 0, 0 };

	do {
		const struct storm_deeds deeds = storm_run(storm, seed, lh_now() + duration);

		all.kills += deeds.kills;
		all.stops += deeds.stops;
		all.died += deeds.died;
	} while (atomic_load(wanted) == 0);
	return all;
}
