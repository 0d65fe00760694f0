// SPDX-License-Identifier: Apache-2.0
//
// semaphore.c: lease-bench semaphore: the mutex's cases for semaphores of one permit.
#include "mutex.h"
#include "peer.h"
#include "recovers.h"

// The last one without contention only.
static const struct peer *const pair_peers[] = { &peer_posix_semaphore, &peer_lease_semaphore,
						 &peer_lease_semaphore_ttl, &peer_undo_semaphore,
						 &peer_lease_semaphore_inlined };

static const struct peer_set pairs = {
	.peers = pair_peers,
	.count = 5,
	.rows = { { 1, 0, { TARGET_RATIO_AT_MOST, 0.80 } },
		  { 4, 0, { TARGET_RATIO_AT_MOST, 0.80 } },
		  { 2, 0, { TARGET_NONE, 0 } },
		  { 3, 0, { TARGET_NONE, 0 } } },
	.row_count = 4,
};

static const struct peer_set contenders = { .peers = pair_peers, .count = 4 };

static const struct peer *const kill_peers[] = { &peer_pthread_robust, &peer_lease_semaphore,
						 &peer_lease_semaphore_ttl, &peer_undo_semaphore };

static const struct peer_set kills = { .peers = kill_peers, .count = 4 };

static void uncontended(struct run *run, const struct bench_case *self, double seconds)
{
	compare_pairs(run, self, &pairs, seconds);
}

static void contended(struct run *run, const struct bench_case *self, double seconds)
{
	compare_contended(run, self, &contenders, seconds);
}

static void oversubscribed(struct run *run, const struct bench_case *self, double seconds)
{
	compare_oversubscribed(run, self, &contenders, seconds);
}

static void handover(struct run *run, const struct bench_case *self, double seconds)
{
	compare_handover(run, self, &contenders, seconds);
}

static void killed(struct run *run, const struct bench_case *self, double seconds)
{
	compare_kills(run, self, &kills, seconds);
}

static void recovers(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer *const peers[] = { &peer_pthread_robust, &peer_lease_semaphore,
						    &peer_lease_semaphore_ttl,
						    &peer_posix_semaphore, &peer_undo_semaphore };
	static const struct peer_set set = { .peers = peers,
					     .count = sizeof(peers) / sizeof(peers[0]) };

	compare_recovery(run, self, &set, seconds);
}

static void fairness(struct run *run, const struct bench_case *self, double seconds)
{
	compare_fairness(run, self, &contenders, seconds);
}

static const struct slowed_case slowed[] = {
	{ "uncontended", &pairs },
	{ "contended", &contenders },
	{ "oversubscribed", &contenders },
	{ "fairness", &contenders },
	{ 0 },
};

static const struct bench_case cases[] = {
	{ "uncontended", "acquire + release of one permit by one process, by call and inlined", 2,
	  uncontended },
	{ "contended", "grants at 2, 4, 16 and 64 processes, with and without a pause between", 8,
	  contended },
	{ "oversubscribed", "grants with more processes than CPUs, by hold and pause", 6,
	  oversubscribed },
	{ "handover", "release to the grant of a process that sleeps for it", 2, handover },
	{ "kill", "SIGKILL of a holder, an heir or a woken waiter, to the next grant", 5, killed },
	{ "fairness", "how grants are shared out, and the longest wait of 2 processes", 4,
	  fairness },
	{ "recovers", "whether the death of a holder lets the next one in, and tells it", 2,
	  recovers },
	{ 0 },
};

const struct subcommand semaphore_subcommand = {
	.name = "semaphore",
	.summary = "lh_semaphore of one permit against sem_t; killed, against robust mutexes",
	.cases = cases,
	.contests = compare_contests,
	.slowed = slowed,
};
