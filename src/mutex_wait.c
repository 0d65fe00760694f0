// SPDX-License-Identifier: Apache-2.0
//
// How a lock call waits. docs/protocol.md has the table of steps with the outcome of a crash at
// each; tests/model/mutex.pml is the model.
//
// Waiters stand in a chain: each exchanges itself into last_waiter once and sleeps behind the one
// that was there, on {its turn, its owner's life}; a holder or waiter that had queued counts its
// turn up when it lets go. Who finds nobody before it is a head: it sleeps on {the word, the
// owner's life}, after marking the word. So whoever must act next, someone is armed on its life,
// and a release wakes only heads (all of them, normally one or none) and one successor. (Waking
// one on the word and arming on predecessors, the simpler plan, strands the others when the last
// of the chain is woken and dies: docs/decisions/0002.)
//
// A follower whose predecessor stands still for a backstop becomes a head itself, so that a stopped
// waiter holds up nobody for longer.
#include "src/mutex.h"

#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/reap.h"
#include "arena/sys/fence.h"
#include "arena/wait.h"
#include "src/deadlock.h"

#include <errno.h>

#define SPINS 100

struct waiter {
	const struct mutex_attempt *attempt;
	struct wait wait;
	bool queued;
	bool is_head;      // for the rest of the call
	bool follows;      // slept behind another last
	uint32_t pred;     // queue entry of the one before
	uint64_t began_ns; // of the wait; 0: has not slept yet
	int spins;
	struct primitive_stuck stuck;
};

static uint32_t my_name(const struct mutex_attempt *attempt)
{
	return attempt->lease->index + 1;
}

// ---------------------------------------------------------------------------------------------
// Reservation for a head that was passed over

// Whether a free lock is to be left to another; then its lease's slot + 1, else 0.
static uint32_t reserved_for(const struct mutex_attempt *attempt, uint64_t *ret_until)
{
	struct object_header *header = attempt->header;
	uint32_t heir = atomic_load_explicit(&header->heir, memory_order_acquire);
	const uint64_t since = atomic_load_explicit(&header->reserved_ns, memory_order_relaxed);
	const uint64_t now = heir ? clock_now() : 0;

	if (!heir || heir == my_name(attempt))
		return 0;
	*ret_until = since + WORD_RESERVATION_NS;
	// It must be waiting here, alive, and not for longer than it takes to come.
	if (heir <= attempt->arena->lease_count && now < *ret_until && since <= now &&
	    atomic_load(&attempt->arena->leases[heir - 1].edge) >> EDGE_WANTED_SHIFT ==
		    attempt->granule &&
	    lease_state_seen(attempt->arena, heir - 1, now) == LH_LEASE_LIVE)
		return heir;
	atomic_compare_exchange_strong(&header->heir, &heir, 0);
	return 0;
}

// At most one reservation a millisecond, or all locking would go at the pace of sleepers.
static void claim_reservation(const struct waiter *waiter)
{
	const struct mutex_attempt *attempt = waiter->attempt;
	struct object_header *header = attempt->header;
	const uint64_t now = clock_now();
	const uint64_t last = atomic_load_explicit(&header->reserved_ns, memory_order_relaxed);
	uint32_t none = 0;

	if (now - waiter->began_ns < WORD_PASSED_OVER_NS ||
	    (last <= now && now - last < WORD_PASSED_OVER_NS) ||
	    atomic_load_explicit(&header->heir, memory_order_relaxed))
		return;
	atomic_store_explicit(&header->reserved_ns, now, memory_order_relaxed);
	atomic_compare_exchange_strong(&header->heir, &none, my_name(attempt));
}

// ---------------------------------------------------------------------------------------------
// Granted, or not

// From a free word to the one that says it is ours. PLAIN is for those who can be lost only by
// ending, and (for speed alone) not where somebody slept on the last owner: sleeping on a PLAIN
// one costs a membarrier.
static uint64_t taken_word(const struct waiter *waiter, uint64_t word)
{
	const struct mutex_attempt *attempt = waiter->attempt;
	const uint64_t waiters = atomic_load_explicit(&attempt->header->waiters,
						      memory_order_relaxed);
	const uint64_t taken = word + WORD_TOKEN_ONE + my_name(attempt);

	if (waiter->queued)
		return taken | WORD_QUEUED;
	if ((word & WORD_MARK) || !word_may_be_plain(taken, waiters) || attempt->lease->ttl_ns ||
	    attempt->arena->plain_fences || attempt->no_plain)
		return taken;
	return taken | WORD_PLAIN;
}

// The word is ours. What others see of the wait goes; the lease is looked at once more: if it was
// lost meanwhile, reapers may have passed over the object, so this call frees it itself.
static int granted(const struct waiter *waiter, uint64_t word)
{
	const struct mutex_attempt *attempt = waiter->attempt;
	struct object_header *header = attempt->header;
	const bool waited = waiter->began_ns != 0;
	uint32_t heir = my_name(attempt);

	if (waited) {
		deadlock_clear(attempt->lease);
		atomic_compare_exchange_strong(&header->heir, &heir, 0);
	}
	if (waited ? lease_check(attempt->lease) != 0 : !lease_is_live(attempt->lease)) {
		mutex_free(attempt->arena, header, attempt->lease);
		return -ESTALE;
	}
	if (waited)
		hold_note_grant(attempt->lease, attempt->granule, word_token(word));
	if (waited && header->kind == LH_KIND_MUTEX) // not the baton of another kind
		probe_grant(attempt->lease, attempt->granule, word_token(word));
	primitive_fill_grant(attempt->grant, header, word);
	return 0;
}

// A free lock is left to nobody any more. Who is about to sleep because it was finds the word
// changed, by its token: MARK stays, as it may be of one that sleeps for a later heir's sake, whom
// that one's release has to wake if we die before we do.
static void call_others(struct object_header *header)
{
	uint64_t word = atomic_load(&header->word);

	if (!word_owner(word) && (word & WORD_MARK) && word_token(word) < WORD_TOKEN_MAX)
		atomic_compare_exchange_strong(&header->word, &word, word + WORD_TOKEN_ONE);
	futex_wake(futex_low_half(&header->word), FUTEX_ALL);
}

// While others see it wait: who finds an heir that does not takes the name away, and calls nobody.
static void resign(const struct mutex_attempt *attempt)
{
	uint32_t heir = my_name(attempt);

	if (atomic_compare_exchange_strong(&attempt->header->heir, &heir, 0))
		call_others(attempt->header);
}

static void give_up(const struct waiter *waiter)
{
	const struct mutex_attempt *attempt = waiter->attempt;

	resign(attempt);
	if (waiter->began_ns)
		deadlock_clear(attempt->lease);
	if (waiter->queued)
		mutex_pass_turn(attempt->arena, attempt->header, attempt->lease->index);
}

// ---------------------------------------------------------------------------------------------
// Sleeping

static void enqueue(struct waiter *waiter)
{
	const struct mutex_attempt *attempt = waiter->attempt;
	const uint32_t turn = atomic_load(&attempt->lease->slot->turn);

	waiter->pred = atomic_exchange(&attempt->header->last_waiter,
				       queue_entry(attempt->lease->index, turn));
	waiter->queued = true;
	waiter->is_head = (waiter->pred & QUEUE_SLOT_MASK) == my_name(attempt);
}

// Arms on the one before. False: it has passed its turn, or was lost (then it has been reaped).
static bool sleep_behind(struct waiter *waiter)
{
	struct lh_arena *arena = waiter->attempt->arena;
	const uint32_t name = waiter->pred & QUEUE_SLOT_MASK;
	struct lease_slot *slot;
	uint32_t turn;
	uint64_t owner, expiry;

	if (name == 0 || name > arena->lease_count)
		return false;
	slot = &arena->leases[name - 1];
	owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
	turn = atomic_load(&slot->turn); // after the exchange: see mutex_pass_turn
	if (queue_entry(name - 1, turn) != waiter->pred)
		return false;
	expiry = lease_word_expiry(atomic_load_explicit(&slot->state, memory_order_acquire));
	if (owner_ended(arena, owner) || clock_now() >= expiry) {
		reap_slot(arena, name - 1);
		return false;
	}
	wait_on(&waiter->wait, &slot->turn, turn);
	return wait_on_lease(&waiter->wait, name - 1);
}

static void raise_waiters(struct object_header *header, uint64_t to)
{
	uint64_t waiters = atomic_load(&header->waiters);

	// Signed: in the last half of all tokens no owner is PLAIN and nothing happens. (Nor for
	// the one grant between the halves, whose sleepers have their backstop.)
	while ((int64_t)waiters < (int64_t)to &&
	       !atomic_compare_exchange_weak(&header->waiters, &waiters, to))
		;
}

// Makes the word wake us: by MARK, or past a PLAIN owner by `waiters`. False: the word has changed.
static bool mark(const struct mutex_attempt *attempt, uint64_t *word)
{
	struct object_header *header = attempt->header;

	if (*word & WORD_PLAIN) {
		raise_waiters(header, waiters_for(*word));
		fence_heavy(); // pairs with fence_light in unlock
		return atomic_load_explicit(&header->word, memory_order_relaxed) == *word;
	}
	if (*word & WORD_MARK)
		return true;
	if (!atomic_compare_exchange_strong(&header->word, word, *word | WORD_MARK))
		return false;
	*word |= WORD_MARK;
	return true;
}

// As a head: on the word and on the life of `blocker` (slot + 1), who owns it or is its heir.
static bool sleep_at_head(struct waiter *waiter, uint64_t word, uint32_t blocker)
{
	const struct mutex_attempt *attempt = waiter->attempt;

	waiter->is_head = true;
	if (!mark(attempt, &word))
		return false;
	// Once more, now that an heir which gives up changes the marked word: see call_others.
	if (!word_owner(word) && atomic_load(&attempt->header->heir) != blocker)
		return false;
	claim_reservation(waiter);
	if (atomic_load_explicit(&attempt->header->heir, memory_order_relaxed) ==
	    my_name(attempt)) {
		if (!word_owner(word))
			return false; // free, and left to us
		// Nobody takes it past us by a fast path, which asks `waiters` alone.
		raise_waiters(attempt->header, waiters_for(word));
	}
	wait_on(&waiter->wait, futex_low_half(&attempt->header->word), (uint32_t)word);
	return wait_on_lease(&waiter->wait, blocker - 1);
}

// A follower is told by its predecessor; its backstop is for when that one is stopped, or died
// together with another. So it may be longer, and different for each, lest all look at once.
static void set_backstop(struct waiter *waiter, bool follows)
{
	const uint64_t first = follows ? WAIT_BACKSTOP_FOLLOWER_NS + waiter->attempt->lease->index %
									     32 * CLOCK_NS_PER_MS
				       : WAIT_BACKSTOP_FIRST_NS;

	if (waiter->follows != follows || waiter->wait.backstop_ns < first)
		waiter->wait.backstop_ns = first;
	waiter->follows = follows;
}

// Sleeps until something has changed. 0: look again.
static int sleep_on(struct waiter *waiter, uint64_t word, uint32_t blocker, uint64_t until_ns)
{
	struct lh_lease *lease = waiter->attempt->lease;
	bool follows;
	int error;

	// Before anybody can see that this lease waits: who is seen to wait first is first in the
	// queue.
	if (!waiter->queued)
		enqueue(waiter);
	if (!waiter->began_ns) {
		waiter->began_ns = clock_now();
		wait_begin(&waiter->wait, waiter->attempt->arena, lease, waiter->attempt->deadline);
		if (waiter->attempt->steadfast) {
			waiter->wait.cancel = NULL;
			waiter->wait.interruptible = false;
		}
		deadlock_publish(lease, waiter->attempt->granule);
	}
	wait_round(&waiter->wait);
	wait_not_after(&waiter->wait, until_ns);
	follows = !waiter->is_head && sleep_behind(waiter);
	if (!follows && !sleep_at_head(waiter, word, blocker))
		return 0;
	set_backstop(waiter, follows);
	error = deadlock_check(lease);
	if (error)
		return error;
	error = wait_sleep(&waiter->wait);
	// A backstop passed, and the lock has moved without the one before us: look for oneself.
	if (!error && waiter->wait.backstop_passed &&
	    word_token(atomic_load_explicit(&waiter->attempt->header->word,
					    memory_order_relaxed)) != word_token(word))
		waiter->is_head = true;
	waiter->spins = waiter->wait.backstop_passed ? SPINS : 0;
	return error;
}

// ---------------------------------------------------------------------------------------------

// The word is free and nobody else's heir waits. 0: granted; -EAGAIN: it has changed.
static int try_take(const struct waiter *waiter, uint64_t word)
{
	const struct mutex_attempt *attempt = waiter->attempt;
	const uint64_t taken = taken_word(waiter, word);

	if ((word & WORD_DIED) && !attempt->grant && !attempt->no_repair)
		return -EOWNERDEAD;
	if (word_token(word) == WORD_TOKEN_MAX)
		return -EOVERFLOW;
	// free → ours, token + 1. A crash before: our record is an intent; after: we held it.
	if (!atomic_compare_exchange_strong_explicit(&attempt->header->word, &word, taken,
						     memory_order_acq_rel, memory_order_relaxed))
		return -EAGAIN;
	return granted(waiter, taken);
}

// Judges the owner. 0: held, wait; -EAGAIN: it was lost and its lock freed, or the word has
// changed; -EBADMSG: the word names nobody.
static int judge_owner(struct waiter *waiter, uint64_t word, uint64_t *ret_until)
{
	const struct mutex_attempt *attempt = waiter->attempt;

	return primitive_judge_owner(attempt->arena, attempt->header, word, attempt->own_record,
				     waiter->began_ns != 0, &waiter->stuck, ret_until);
}

// One look at the word. 0: granted; -EAGAIN: look again; else the call's error.
static int look(struct waiter *waiter)
{
	const struct mutex_attempt *attempt = waiter->attempt;
	const uint64_t word = atomic_load_explicit(&attempt->header->word, memory_order_acquire);
	uint64_t until = UINT64_MAX;
	uint32_t blocker = word_owner(word);
	int error;

	if (blocker == my_name(attempt))
		return -EDEADLK; // taken by a signal handler meanwhile
	if (!blocker) {
		blocker = reserved_for(attempt, &until);
		if (!blocker)
			return try_take(waiter, word);
	} else {
		error = judge_owner(waiter, word, &until);
		if (error)
			return error;
	}
	if (attempt->deadline.ns == 0)
		return -EBUSY;
	if (waiter->spins < SPINS && process_cpus() > 1) {
		while (waiter->spins++ < SPINS &&
		       atomic_load_explicit(&attempt->header->word, memory_order_relaxed) == word)
			primitive_pause();
		return -EAGAIN;
	}
	error = sleep_on(waiter, word, blocker, until);
	return error ? error : -EAGAIN;
}

int mutex_acquire(const struct mutex_attempt *attempt)
{
	struct waiter waiter; // field by field: most calls never wait, and `wait` is large
	int error;

	waiter.attempt = attempt;
	waiter.queued = false;
	waiter.is_head = false;
	waiter.follows = false;
	waiter.began_ns = 0;
	waiter.spins = 0;
	waiter.stuck = (struct primitive_stuck){ 0, 0 };
	do {
		error = look(&waiter);
	} while (error == -EAGAIN);
	if (error) {
		give_up(&waiter);
		if (!attempt->keep_record)
			hold_clear(attempt->record);
	}
	return error;
}
