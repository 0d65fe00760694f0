// SPDX-License-Identifier: Apache-2.0
//
// peer_loops.h: the loops that are measured. They are inlined into each peer's own functions with
// its calls as constants, so that no peer pays for a call through a pointer.
#ifndef BENCH_PEER_LOOPS_H
#define BENCH_PEER_LOOPS_H

#include "peer.h"

typedef int lock_call(struct lock *lock);
typedef void unlock_call(struct lock *lock);

#define LOOP static inline __attribute__((always_inline))

// Time spent in vain while the lock is held; the clock's own reading comes on top.
LOOP void loop_handicap(const struct lock *lock)
{
	const uint64_t until = measure_now() + lock->handicap_ns;

	while (measure_now() < until)
		;
}

LOOP void loop_pairs(struct lock *lock, uint64_t pairs, lock_call *enter, unlock_call *leave)
{
	for (; __builtin_expect(lock->handicap_ns && pairs, 0); pairs--) {
		(void)enter(lock);
		loop_handicap(lock);
		leave(lock);
	}
	for (uint64_t i = 0; i < pairs; i++) {
		(void)enter(lock);
		leave(lock);
	}
}

// Work that touches nothing shared, of a length between nothing and twice the mean, so that
// contenders do not fall into step.
LOOP void loop_work(struct contender *contender, uint64_t mean_steps)
{
	const uint64_t steps = random_below(&contender->random, 2 * mean_steps);
	uint64_t x = contender->random.state | 1;

	for (uint64_t i = 0; i < steps; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	__asm__ volatile("" : : "r"(x)); // the compiler may not drop the work
}

// Each word must be as the last holder left it: equal to the others. Two holders at once leave
// words that differ or, in the end, fewer increments than there were grants.
LOOP void loop_critical_section(struct lock *lock, struct contender *contender)
{
	const uint64_t value = lock->words[0];

	for (int i = 0; i < PEER_WORDS; i++) {
		if (lock->words[i] != value)
			contender->violations++;
		lock->words[i] = value + 1;
	}
	if (contender->hold_steps)
		loop_work(contender, contender->hold_steps);
	if (__builtin_expect(lock->handicap_ns != 0, 0))
		loop_handicap(lock);
}

LOOP void loop_contend(struct lock *lock, struct contender *contender, lock_call *enter,
		       unlock_call *leave)
{
	uint64_t count = atomic_load_explicit(contender->count, memory_order_relaxed);

	while (!atomic_load_explicit(contender->stop, memory_order_relaxed)) {
		if (enter(lock) != 0)
			contender->violations++; // nobody died here
		loop_critical_section(lock, contender);
		leave(lock);
		atomic_store_explicit(contender->count, ++count, memory_order_relaxed);
		if (contender->think_steps)
			loop_work(contender, contender->think_steps);
	}
}

// The same with a clock read before and after the lock call, and without pauses.
LOOP void loop_contend_timed(struct lock *lock, struct contender *contender, lock_call *enter,
			     unlock_call *leave)
{
	uint64_t count = atomic_load_explicit(contender->count, memory_order_relaxed);

	while (!atomic_load_explicit(contender->stop, memory_order_relaxed)) {
		const uint64_t grants = lock->words[0];
		const uint64_t asked = measure_now();

		if (enter(lock) != 0)
			contender->violations++;
		const uint64_t waited = measure_now() - asked;
		const uint64_t passed = lock->words[0] - grants;
		loop_critical_section(lock, contender);
		leave(lock);
		atomic_store_explicit(contender->count, ++count, memory_order_relaxed);
		if (waited > contender->max_wait_ns)
			contender->max_wait_ns = waited;
		if (passed > contender->max_passed)
			contender->max_passed = passed;
	}
}

// The three functions of a peer whose calls are `enter` and `leave`.
#define PEER_LOOPS(peer, enter, leave)                                                             \
	static void peer##_pairs(struct lock *lock, uint64_t pairs)                                \
	{                                                                                          \
		loop_pairs(lock, pairs, enter, leave);                                             \
	}                                                                                          \
	static void peer##_contend(struct lock *lock, struct contender *contender)                 \
	{                                                                                          \
		loop_contend(lock, contender, enter, leave);                                       \
	}                                                                                          \
	static void peer##_contend_timed(struct lock *lock, struct contender *contender)           \
	{                                                                                          \
		loop_contend_timed(lock, contender, enter, leave);                                 \
	}

#endif
