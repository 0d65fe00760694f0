// SPDX-License-Identifier: Apache-2.0
//
// How a wait for a reader-writer lock, in whatever mode, begins and ends. rwlock_wait.c has what
// lies between.
#include "src/rwlock_wait.h"

#include "arena/probe.h"
#include "src/deadlock.h"

struct rwlock_waiter rwlock_waiter_of(const struct rwlock_attempt *attempt, bool reads)
{
	struct rwlock_waiter waiter; // field by field: most calls never wait, and `wait` is large

	waiter.attempt = attempt;
	waiter.reads = reads;
	waiter.began_ns = 0;
	waiter.looks = 0;
	waiter.first_token = 0;
	waiter.stuck = (struct primitive_stuck){ 0, 0 };
	return waiter;
}

// The call's result: what is refused to a lease that was lost meanwhile is refused because of that.
int rwlock_waiter_end(const struct rwlock_waiter *waiter, int result)
{
	struct lh_lease *lease = waiter->attempt->lease;

	if (waiter->began_ns || (waiter->attempt->heir && !result))
		rwlock_resign(waiter, true); // a writer has done so already: it has the word
	if (waiter->began_ns) {
		deadlock_clear(lease);
		if (!result)
			probe_grant(
				lease, waiter->attempt->granule,
				word_token(atomic_load_explicit(&rwlock_waiter_header(waiter)->word,
								memory_order_relaxed)));
	}
	return result && !lease_is_live(lease) ? -ESTALE : result;
}
