// SPDX-License-Identifier: Apache-2.0
//
// mutex_handover.c: from just before an unlock until a process that sleeps in the lock call has it,
// read there. Some milliseconds lie between two, so that the waiter sleeps soundly: measure_settle
// says why.
#include "mutex.h"

#include "crew.h"
#include "report.h"

#define TRIALS 16 // with one crew

static double trial(struct crew *crew, struct random *random)
{
	const struct member *members = crew->shared->members;

	crew_queue_up(crew, 2, ORDER_LOCK_AND_PASS);
	measure_settle(random);
	crew_order(crew, 0, ORDER_UNLOCK);
	gate_await(&crew->shared->members[0].state, STATE_IDLE);
	gate_await(&crew->shared->members[1].state, STATE_IDLE);
	return (double)(members[1].granted - members[0].unlocked);
}

void compare_handover(struct run *run, const struct bench_case *self, const struct peer_set *set,
		      double seconds)
{
	struct samples *samples = samples_create(set->count);
	struct random random = random_stream(run->seed, "settle");
	struct rounds rounds = rounds_begin(run, self->name, set->count, seconds);

	while (rounds_next(&rounds) && (rounds.round + 1) * TRIALS <= MEASURE_ROUNDS) {
		for (size_t i = 0; i < set->count; i++) {
			const size_t column = rounds.order[i];
			struct crew crew;

			crew_start(&crew, set->peers[column], 2);
			for (size_t j = 0; j < TRIALS; j++)
				samples_set(samples, rounds.round * TRIALS + j, column,
					    trial(&crew, &random));
			crew_end(&crew);
		}
	}
	for (size_t column = 1; column < set->count; column++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "unlock to the grant of a sleeper",
			.peer = set->peers[column]->name,
			.reference = set->peers[0]->name,
			.unit = "ns",
			.latency = true,
			.group = TRIALS,
		};

		report_compare(run->report, &comparison, samples, column, 0);
	}
	samples_destroy(samples);
}

void mutex_handover(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer *const peers[] = { &peer_pthread_robust,    &peer_lease,
						    &peer_lease_ttl,         &peer_pthread_plain,
						    &peer_pthread_robust_pi, PEERS_FURTHER };
	static const struct peer_set set = { .peers = peers,
					     .count = sizeof(peers) / sizeof(peers[0]) };

	compare_handover(run, self, &set, seconds);
}
