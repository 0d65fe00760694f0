// SPDX-License-Identifier: Apache-2.0
//
// wait.h: the one way to sleep.
//
// A round: wait_round, then wait_on and wait_on_lease for whatever may make the caller look again,
// then wait_sleep. The wait adds by itself the lease's poke word (unless told that it is no edge),
// its cancel token and its expiry, the caller's deadline, and a backstop that starts short and
// doubles: should a wake be lost with those who died, the sleeper looks again all the same.
#ifndef ARENA_WAIT_H
#define ARENA_WAIT_H

#include "arena/lease.h"
#include "arena/sys/futex.h"

#define WAIT_BACKSTOP_FIRST_NS (4 * CLOCK_NS_PER_MS)
#define WAIT_BACKSTOP_FOLLOWER_NS (32 * CLOCK_NS_PER_MS) /* first, of those not next in line */
#define WAIT_BACKSTOP_LAST_NS (250 * CLOCK_NS_PER_MS)
#define WAIT_POLL_NS CLOCK_NS_PER_MS /* for what has no word to sleep on */

struct wait {
	struct lh_arena *arena;
	struct lh_lease *lease;   // NULL: a wait without one
	struct lh_cancel *cancel; // the lease's; who waits without one may set another. NULL: none
	lh_deadline deadline;
	uint64_t backstop_ns;
	bool backstop_passed; // it ended the last sleep
	bool interruptible;   // a signal handler ends it
	bool is_edge; // the deadlock check may poke the lease: what it waits for has an owner
	uint64_t until_ns;
	uint64_t edge; // the lease's edge as published: its poke word
	size_t count;
	struct futex_word words[FUTEX_WORDS];
	uint64_t ending; // an owner without a word whose process is not gone yet; 0: none
	size_t owner_count;
	uint64_t owners[FUTEX_WORDS]; // whose liveness words are among them
};

void wait_begin(struct wait *wait, struct lh_arena *arena, struct lh_lease *lease,
		lh_deadline deadline);
void wait_round(struct wait *wait);
void wait_on(struct wait *wait, const _Atomic uint32_t *address, uint32_t expected);
// The same for a word of this process alone.
void wait_on_private(struct wait *wait, const _Atomic uint32_t *address, uint32_t expected);
// Whether another word fits. One too many is left to the backstop.
static inline bool wait_has_room(const struct wait *wait)
{
	return wait->count < FUTEX_WORDS - 2;
}
// Sleep on an owner's life. A process that is ending has no word: the sleep is on its end, which is
// near, and the words are looked at each millisecond. False: it has ended, look again instead of
// sleeping. Whether a process has ended is not asked here, since it takes eleven system calls and the
// caller has asked: it judges the owner in each round. Of an end since then the sleep tells at once.
bool wait_on_owner(struct wait *wait, uint64_t ref);
// The same for whoever has a lease slot, and to look again when that lease may have expired; what
// its reaper will read is brought in, now that nobody waits for this process.
bool wait_on_lease(struct wait *wait, uint32_t slot);
// Whether that was done in this round.
bool wait_is_on_owner(const struct wait *wait, uint64_t ref);
void wait_not_after(struct wait *wait, uint64_t ns);

// Before a first sleep: gives the processor away (sched_yield) for some microseconds while the word
// is as expected, if that was worth it of late; docs/decisions/0012. True: it has changed, look
// again. False says nothing. Waits on no life and looks at no deadline: whoever calls it goes on to
// a round. Not with an interruptible lease, whose signal would go unnoticed. lease may be NULL.
// `for_several`: more than two others have to come before the word changes: for longer, and a yield
// that lasts as long as their turns is not held against it.
bool wait_patiently(const struct lh_lease *lease, const _Atomic uint32_t *address,
		    uint32_t expected, bool for_several);

// Sleeps. 0: look again; -ETIMEDOUT: the deadline; -ECANCELED; -EINTR (interruptible leases only);
// -ESTALE: the lease was lost meanwhile; -EBADMSG: the object was truncated. If an owner slept on
// has ended, all others who sleep on it have been woken: the kernel woke one.
int wait_sleep(struct wait *wait);

// The same in two parts, for who looks before it tells: it has to tell before the next round, and
// before its call returns, and somebody has to be armed on its own life until then.
int wait_sleep_untold(struct wait *wait);
void wait_tell(const struct wait *wait);

#endif
