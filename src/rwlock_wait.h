// SPDX-License-Identifier: Apache-2.0
//
// rwlock_wait.h: what the calls that wait for a reader-writer lock have in common: how to pass its
// word or to own it, how to wait for others' records while owning it, and how to sleep.
// rwlock_wait.c has them, and the lock's own two calls; rwlock_modes.c and rwlock_permits.c those
// of named locks.
#ifndef SRC_RWLOCK_WAIT_H
#define SRC_RWLOCK_WAIT_H

#include "arena/wait.h"
#include "src/rwlock_modes.h"

struct rwlock_waiter {
	const struct rwlock_attempt *attempt;
	struct wait wait;
	bool reads;        // comes after those who want the lock for themselves alone
	uint64_t began_ns; // of the wait; 0: has not slept yet
	int looks;
	uint64_t first_token; // of the word, when it was looked at first
	struct primitive_stuck stuck;
};

static inline struct object_header *rwlock_waiter_header(const struct rwlock_waiter *waiter)
{
	return &waiter->attempt->object->header;
}

struct rwlock_waiter rwlock_waiter_of(const struct rwlock_attempt *attempt, bool reads);
// The call's result: what is refused to a lease that was lost meanwhile is refused because of that.
int rwlock_waiter_end(const struct rwlock_waiter *waiter, int result);

// Whether somebody, owner or heir, keeps the caller out. 0: nobody does, as far as `word` tells;
// -EAGAIN: look again, it may have slept; else the call's error.
int rwlock_pass_word(struct rwlock_waiter *waiter, uint64_t word);
// 0: the word is the caller's, as *ret_word; -EAGAIN: look again; else the call's error.
int rwlock_claim(struct rwlock_waiter *waiter, uint64_t *ret_word);
// For who owns the word: until nobody's record is in its way (attempt->awaited). 0, or the call's
// error.
int rwlock_await(struct rwlock_waiter *waiter);
// It has the word, or leaves: it is not the heir any more.
void rwlock_resign(const struct rwlock_waiter *waiter, bool wake);

// Whether it is worth while to look again soon (then it was paused) instead of sleeping.
bool rwlock_hold_off(struct rwlock_waiter *waiter);
// A round of the wait (arena/wait.h); the first one publishes what is waited for.
void rwlock_begin_round(struct rwlock_waiter *waiter);
// Sleeps on what was added. 0: look again; else the call's error.
int rwlock_sleep(struct rwlock_waiter *waiter);

#endif
