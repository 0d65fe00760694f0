// SPDX-License-Identifier: Apache-2.0
#include "arena/wait.h"

#include "arena/cancel.h"
#include "arena/owner.h"
#include "arena/reap.h"

#include <errno.h>
#include <sched.h>

// ---------------------------------------------------------------------------------------------
// Patience

#define PATIENCE_NS UINT64_C(10000)        // of a thread whose last was rewarded
#define PATIENCE_TRIAL_NS UINT64_C(100000) // else: as long as an idle processor may take to wake
#define PATIENCE_LATE_NS UINT64_C(300000)  // a reward that others held up for so long came late
#define PATIENCE_MOST_SKIPPED 256u
// Of a wait for several, who take turns on the same processors meanwhile.
#define PATIENCE_SEVERAL_NS UINT64_C(300000)
#define PATIENCE_SEVERAL_LATE_NS UINT64_C(3000000)
#define PATIENCE_SEVERAL_MOST_SKIPPED 64u
#define PATIENCE_LATE_SKIPPED 4096u

// What the calling thread's patience was worth of late.
static __thread struct {
	uint32_t interval; // waits without it after a failure; 0: the last was rewarded
	uint32_t skipped;  // so many of them are still to come
} experience __attribute__((tls_model("initial-exec")));

static bool skip_next(uint32_t count)
{
	experience.interval = count;
	experience.skipped = count;
	return false;
}

bool wait_patiently(const struct lh_lease *lease, const _Atomic uint32_t *address,
		    uint32_t expected, bool for_several)
{
	const uint64_t began = clock_now();
	const uint64_t allowed = for_several           ? PATIENCE_SEVERAL_NS
				 : experience.interval ? PATIENCE_TRIAL_NS
						       : PATIENCE_NS;
	const uint64_t late = for_several ? PATIENCE_SEVERAL_LATE_NS : PATIENCE_LATE_NS;
	const uint32_t most = for_several ? PATIENCE_SEVERAL_MOST_SKIPPED : PATIENCE_MOST_SKIPPED;
	uint64_t before, now = began;

	if (lease && (lease->flags & LH_LEASE_INTERRUPTIBLE))
		return false;
	if (experience.skipped) {
		experience.skipped--;
		return false;
	}
	do {
		before = now;
		sched_yield();
		now = clock_now();
		if (atomic_load_explicit(address, memory_order_acquire) != expected) {
			experience.interval = 0;
			if (now - before >= late)
				skip_next(PATIENCE_LATE_SKIPPED);
			return true;
		}
	} while (now - began < allowed);
	return skip_next(experience.interval < most ? experience.interval * 2 + 1 : most);
}

// ---------------------------------------------------------------------------------------------

void wait_begin(struct wait *wait, struct lh_arena *arena, struct lh_lease *lease,
		lh_deadline deadline)
{
	wait->arena = arena;
	wait->lease = lease;
	wait->cancel = lease ? lease->cancel : NULL;
	wait->deadline = deadline;
	wait->backstop_ns = WAIT_BACKSTOP_FIRST_NS;
	wait->backstop_passed = false; // it may be told of a deadlock instead of sleeping
	wait->is_edge = lease != NULL;
	wait->interruptible = lease && (lease->flags & LH_LEASE_INTERRUPTIBLE);
	if (lease)
		lease->waits_for_ever = deadline.ns == LH_FOREVER.ns && !lease->cancel &&
					!wait->interruptible;
	wait_round(wait);
}

void wait_round(struct wait *wait)
{
	wait->count = 0;
	wait->owner_count = 0;
	wait->ending = 0;
	wait->until_ns = FUTEX_NEVER;
	wait->edge = wait->lease
			     ? atomic_load_explicit(&wait->lease->slot->edge, memory_order_relaxed)
			     : 0;
}

void wait_on(struct wait *wait, const _Atomic uint32_t *address, uint32_t expected)
{
	// One too many is left to the backstop.
	if (wait_has_room(wait))
		wait->words[wait->count++] = (struct futex_word){ address, expected, false };
}

void wait_on_private(struct wait *wait, const _Atomic uint32_t *address, uint32_t expected)
{
	if (wait_has_room(wait))
		wait->words[wait->count++] = (struct futex_word){ address, expected, true };
}

void wait_not_after(struct wait *wait, uint64_t ns)
{
	if (ns < wait->until_ns)
		wait->until_ns = ns;
}

bool wait_on_owner(struct wait *wait, uint64_t ref)
{
	uint32_t expected;
	const _Atomic uint32_t *word = owner_word(wait->arena, ref, &expected);

	if (wait_is_on_owner(wait, ref))
		return true;
	if (word) {
		wait_on(wait, word, expected);
		if (wait->owner_count < FUTEX_WORDS)
			wait->owners[wait->owner_count++] = ref;
		return true;
	}
	if (!owner_may_be_ending(wait->arena, ref))
		return false;
	if (wait->ending) // one is watched
		wait_not_after(wait, clock_now() + WAIT_POLL_NS);
	else
		wait->ending = ref;
	return true;
}

bool wait_on_lease(struct wait *wait, uint32_t slot)
{
	const struct lease_slot *lease = &wait->arena->leases[slot];

	wait_not_after(wait, lease_word_look_at(
				     atomic_load_explicit(&lease->state, memory_order_acquire)));
	reap_foresee(wait->arena, slot);
	return wait_on_owner(wait, atomic_load_explicit(&lease->owner, memory_order_acquire));
}

bool wait_is_on_owner(const struct wait *wait, uint64_t ref)
{
	if (ref && ref == wait->ending)
		return true;
	for (size_t i = 0; i < wait->owner_count; i++) {
		if (wait->owners[i] == ref)
			return true;
	}
	return false;
}

static void add_own_words(struct wait *wait)
{
	struct lh_lease *lease = wait->lease;

	if (wait->cancel)
		wait->words[wait->count++] = (struct futex_word){ &wait->cancel->fired, 0, true };
	if (!lease)
		return;
	if (wait->is_edge)
		wait->words[wait->count++] = (struct futex_word){
			futex_low_half(&lease->slot->edge), (uint32_t)wait->edge, false
		};
	wait_not_after(wait, lease_expiry(lease));
}

static int outcome(const struct wait *wait, int slept)
{
	int error = 0;

	if (slept == -EFAULT)
		return -EBADMSG;
	if (wait->cancel && atomic_load_explicit(&wait->cancel->fired, memory_order_acquire))
		return -ECANCELED;
	if (wait->lease)
		error = lease_check(wait->lease);
	if (error)
		return error;
	if (slept == -EINTR && wait->interruptible)
		return -EINTR;
	if (wait->deadline.ns != UINT64_MAX && clock_now() >= wait->deadline.ns)
		return -ETIMEDOUT;
	return 0;
}

void wait_tell(const struct wait *wait)
{
	for (size_t i = 0; i < wait->owner_count; i++)
		owner_wake_if_ended(wait->arena, wait->owners[i]);
}

static int sleep_now(struct wait *wait)
{
	// A handler that runs just as a sleep ends by itself is not noticed: then it ends seldom.
	const uint64_t backstop = clock_now() +
				  (wait->interruptible ? WAIT_BACKSTOP_LAST_NS : wait->backstop_ns);
	int slept;

	wait->backstop_passed = false;
	add_own_words(wait);
	wait_not_after(wait, wait->deadline.ns);
	wait_not_after(wait, backstop);
	// No futex tells of a process's end. Meanwhile a word that changes is seen a little later.
	if (wait->ending && !wait->interruptible &&
	    owner_await_end(wait->arena, wait->ending, wait->until_ns, wait->words, wait->count))
		return 0;
	if (wait->ending)
		wait_not_after(wait, clock_now() + WAIT_POLL_NS);
	slept = futex_wait_many(wait->words, wait->count, wait->until_ns);
	if (slept == -EAGAIN)
		experience.skipped = 0; // it came in less time than falling asleep takes
	wait->backstop_passed = slept == -ETIMEDOUT && wait->until_ns == backstop;
	if (wait->backstop_passed) {
		wait->backstop_ns *= 2;
		if (wait->backstop_ns > WAIT_BACKSTOP_LAST_NS)
			wait->backstop_ns = WAIT_BACKSTOP_LAST_NS;
	}
	return slept;
}

int wait_sleep_untold(struct wait *wait)
{
	return outcome(wait, sleep_now(wait));
}

int wait_sleep(struct wait *wait)
{
	const int slept = sleep_now(wait);

	wait_tell(wait);
	return outcome(wait, slept);
}
