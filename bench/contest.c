// SPDX-License-Identifier: Apache-2.0
#include "contest.h"

#include <stdio.h>
#include <sys/mman.h>

#define GIVE_UP_NS UINT64_C(30000000000)

// Nobody else holds the lock any more: every word must have been incremented once per grant.
static void check_words(struct pool *pool, struct seat *seat)
{
	uint64_t grants = 0;

	for (uint32_t i = 0; i < pool->size; i++)
		grants += atomic_load(&pool->contest->seats[i].count);
	(void)pool->lock.peer->lock(&pool->lock);
	for (int i = 0; i < PEER_WORDS; i++) {
		if (pool->lock.words[i] != grants)
			seat->violations++;
	}
	pool->lock.peer->unlock(&pool->lock);
}

static void contend(void *context)
{
	struct pool *pool = context;
	struct contest *contest = pool->contest;
	struct seat *seat = &contest->seats[pool->next];
	const struct peer *peer = pool->lock.peer;
	struct contender contender = { .stop = &contest->stop, .count = &seat->count };
	uint32_t slice = 0;

	contender.random = random_stream(pool->seed + pool->next, "contender");
	peer->attach(&pool->lock);
	for (;;) {
		gate_add(&contest->parked, 1);
		slice = gate_await_order(&contest->go, slice);
		if (contest->quit)
			break;
		contender.think_steps = contest->think_steps;
		contender.hold_steps = contest->hold_steps;
		contender.max_wait_ns = contender.max_passed = 0;
		gate_add(&contest->arrived, 1);
		if (contest->timed)
			peer->contend_timed(&pool->lock, &contender);
		else
			peer->contend(&pool->lock, &contender);
		seat->violations = contender.violations;
		seat->max_wait_ns = contender.max_wait_ns;
		seat->max_passed = contender.max_passed;
	}
	if (pool->next == 0)
		check_words(pool, seat);
	peer->detach(&pool->lock);
}

void pool_start(struct pool *pool, const struct peer *peer, uint32_t size, uint64_t seed)
{
	peer_create(&pool->lock, peer);
	pool->contest = process_shared_memory(sizeof(*pool->contest));
	pool->size = size;
	pool->seed = seed;
	pool->slices = 0;
	for (pool->next = 0; pool->next < size; pool->next++)
		pool->pids[pool->next] = process_start(contend, pool);
	gate_await(&pool->contest->parked, size);
}

// All grants until now; those of each in `counts`.
static uint64_t pool_grants(const struct pool *pool, uint64_t counts[CONTEST_MOST])
{
	uint64_t grants = 0;

	for (uint32_t i = 0; i < pool->size; i++)
		grants += counts[i] = atomic_load(&pool->contest->seats[i].count);
	return grants;
}

double pool_slice(struct pool *pool, uint64_t ns, const struct contest_terms *terms)
{
	struct contest *contest = pool->contest;
	uint64_t end, grants, before[CONTEST_MOST];

	contest->hold_steps = peer_steps(terms->hold_ns);
	contest->think_steps = peer_steps(terms->think_ns);
	contest->timed = terms->timed;
	atomic_store(&contest->stop, 0);
	atomic_store(&contest->arrived, 0);
	atomic_store(&contest->parked, 0);
	gate_set(&contest->go, ++pool->slices);
	gate_await(&contest->arrived, pool->size);

	const uint64_t start = measure_now();
	const uint64_t first = pool_grants(pool, before);
	do {
		measure_sleep_until(measure_now() + ns);
		grants = pool_grants(pool, pool->shares) - first;
		end = measure_now();
		if (end - start > GIVE_UP_NS)
			process_die("%s: %u processes and no grant in half a minute",
				    pool->lock.peer->name, pool->size);
	} while (grants == 0);
	for (uint32_t i = 0; i < pool->size; i++)
		pool->shares[i] -= before[i];
	atomic_store(&contest->stop, 1);
	gate_await(&contest->parked, pool->size);
	return (double)(end - start) / (double)grants;
}

void pool_end(struct pool *pool, struct run *run)
{
	uint64_t violations = 0;

	pool->contest->quit = true;
	gate_set(&pool->contest->go, ++pool->slices);
	for (uint32_t i = 0; i < pool->size; i++) {
		process_finish(pool->pids[i]);
		violations += pool->contest->seats[i].violations;
	}
	if (violations) {
		fprintf(stderr, "lease-bench: %s: %u processes violated the exclusion %llu times\n",
			pool->lock.peer->name, pool->size, (unsigned long long)violations);
		run->failed = true;
	}
	munmap(pool->contest, sizeof(*pool->contest));
	pool->lock.peer->destroy(&pool->lock);
}
