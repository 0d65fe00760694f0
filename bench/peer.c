// SPDX-License-Identifier: Apache-2.0
#include "peer.h"

#include <string.h>

#include "peer_loops.h"

void peer_create(struct lock *lock, const struct peer *peer)
{
	memset(lock, 0, sizeof(*lock));
	lock->peer = peer;
	peer->create(lock);
}

uint64_t peer_think_steps(void)
{
	const int repeats = 2000;
	struct contender contender = { .think_steps = 1000 };
	double best = 0;

	// The fastest of several: the slower ones were interrupted.
	for (int i = 0; i < 9; i++) {
		contender.random = random_stream(1, "think");
		const uint64_t start = measure_now();

		for (int j = 0; j < repeats; j++)
			loop_think(&contender);
		const double ns = (double)(measure_now() - start) / repeats;
		if (best == 0 || ns < best)
			best = ns;
	}
	return (uint64_t)((double)contender.think_steps * PEER_THINK_NS / best) + 1;
}
