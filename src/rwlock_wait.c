// SPDX-License-Identifier: Apache-2.0
//
// How a lock call of a reader-writer lock waits. docs/protocol/rwlock.md has the table of steps
// with the outcome of a crash at each; tests/model/rwlock.pml is the model.
//
// Whoever is kept out by a writer, reader or not, sleeps on {the word, that writer's life}, after
// marking the word; a writer that lets go wakes all of them. A writer that owns the word waits for
// one reader after the other, on {that lease's departures, its life}. Nobody else has to act for
// either to go on, so nobody else's life matters.
#include "src/rwlock_wait.h"

#include "arena/error.h"
#include "arena/owner.h"
#include "arena/sys/fence.h"
#include "arena/sys/futex.h"
#include "src/deadlock.h"

// Who looks all the time takes the word's cache line away from who has the lock, and if it
// succeeds, the two go on at the pace at which the line travels. So a waiter pauses between looks,
// for twice as long each time, and then sleeps.
#define LOOKS 2
#define PAUSES_BEFORE_LOOK 64

// A lock that changed hands so often between the first look and the last is let go before anybody
// can fall asleep on its word: a mark would only cost the owner a wake. The waiter naps instead.
#define HOT_GRANTS 4
#define NAP_NS UINT64_C(100000)

static uint32_t own_heir(const struct rwlock_waiter *waiter)
{
	if (waiter->attempt->heir)
		return waiter->attempt->heir;
	return (waiter->attempt->lease->index + 1) | (waiter->reads ? HEIR_READS : 0);
}

static bool is_passed_over(const struct rwlock_waiter *waiter)
{
	return waiter->began_ns && clock_now() - waiter->began_ns >= WORD_PASSED_OVER_NS;
}

static bool is_deaf_to(const struct rwlock_attempt *attempt, uint64_t word)
{
	return (word & WORD_DIED) && !attempt->grant && !attempt->no_repair;
}

// Whether it is worth while to look again soon (then it was paused) instead of sleeping.
bool rwlock_hold_off(struct rwlock_waiter *waiter)
{
	if (waiter->looks >= LOOKS || process_cpus() <= 1)
		return false;
	for (int i = 0; i < PAUSES_BEFORE_LOOK << waiter->looks; i++)
		primitive_pause();
	waiter->looks++;
	return true;
}

// ---------------------------------------------------------------------------------------------
// The heir

// The first writer to wait; or a reader that was passed over, in its stead.
static void name_heir(struct rwlock_waiter *waiter)
{
	struct object_header *header = rwlock_waiter_header(waiter);
	uint32_t heir = atomic_load_explicit(&header->heir, memory_order_relaxed);

	if (waiter->reads ? (heir & HEIR_READS) || !is_passed_over(waiter) : heir != 0)
		return;
	atomic_compare_exchange_strong(&header->heir, &heir, own_heir(waiter));
}

void rwlock_resign(const struct rwlock_waiter *waiter, bool wake)
{
	rwlock_drop_heir(waiter->attempt->arena, waiter->attempt->object, own_heir(waiter), wake);
}

// Until when a free lock is left to the heir: 4 ms from the release on, or for as long as a pending
// one said when it found readers there; 0: not at all.
static uint64_t reservation(const struct rwlock_object *object, uint32_t heir)
{
	const uint64_t now = clock_now();
	const uint64_t since = atomic_load_explicit(&object->header.reserved_ns,
						    memory_order_relaxed);
	const uint64_t until = heir & HEIR_PENDING ? atomic_load_explicit(&object->pending_until,
									  memory_order_relaxed)
						   : 0;

	if (until > now && until - now <= RWLOCK_PENDING_NS)
		return until;
	return since <= now && now < since + WORD_RESERVATION_NS ? since + WORD_RESERVATION_NS : 0;
}

// Whether it comes first: writers before readers; but before a writer only who was passed over, or
// all writing would go at the pace of sleepers; and nobody before a reader that was passed over.
static bool comes_first(const struct rwlock_waiter *waiter, uint32_t heir)
{
	if (waiter->reads)
		return !(heir & HEIR_READS) && !is_passed_over(waiter);
	return clock_now() -
		       rwlock_heir_since(waiter->attempt->arena, waiter->attempt->object, heir) >=
	       WORD_PASSED_OVER_NS;
}

bool rwlock_is_heir(const struct rwlock_attempt *attempt, uint32_t heir)
{
	const uint32_t name = heir & (uint32_t)WORD_OWNER_MASK;

	return name && name <= attempt->arena->lease_count &&
	       (rwlock_is_pending_heir(attempt->arena, attempt->object, heir) ||
		atomic_load(&attempt->arena->leases[name - 1].edge) >> EDGE_WANTED_SHIFT ==
			attempt->granule) &&
	       lease_state_seen(attempt->arena, name - 1, clock_now()) == LH_LEASE_LIVE;
}

// Whom a free lock is to be left to, as slot + 1; else 0.
static uint32_t awaited_heir(const struct rwlock_waiter *waiter, uint64_t *ret_until)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	struct object_header *header = rwlock_waiter_header(waiter);
	uint32_t heir = atomic_load_explicit(&header->heir, memory_order_acquire);
	const uint32_t name = heir & (uint32_t)WORD_OWNER_MASK;

	if (!heir || heir == own_heir(waiter) || attempt->upgrade)
		return 0;
	if (rwlock_is_heir(attempt, heir)) {
		if (!comes_first(waiter, heir))
			return 0;
		*ret_until = reservation(attempt->object, heir); // no longer than it takes to come
		if (*ret_until)
			return name;
	}
	atomic_compare_exchange_strong(&header->heir, &heir, 0);
	return 0;
}

// For a reader that does not wait: whether a writer does, for however short a time.
static bool is_writer_next(const struct rwlock_waiter *waiter)
{
	struct object_header *header = rwlock_waiter_header(waiter);
	uint32_t heir = atomic_load(&header->heir);

	if (!heir || heir == own_heir(waiter))
		return false;
	if (rwlock_is_heir(waiter->attempt, heir))
		return !(heir & HEIR_READS);
	atomic_compare_exchange_strong(&header->heir, &heir, 0);
	return false;
}

// ---------------------------------------------------------------------------------------------
// Sleeping

void rwlock_begin_round(struct rwlock_waiter *waiter)
{
	const struct rwlock_attempt *attempt = waiter->attempt;

	if (!waiter->began_ns) {
		waiter->began_ns = clock_now();
		wait_begin(&waiter->wait, attempt->arena, attempt->lease, attempt->deadline);
		deadlock_publish(attempt->lease, attempt->granule);
	}
	wait_round(&waiter->wait);
}

int rwlock_sleep(struct rwlock_waiter *waiter)
{
	// One is waited for at a time, so it is in each cycle that this wait is in. If its process is
	// ending it lets go at its end, whatever it waits for: however long that takes, a cycle lasts no
	// longer than the wait for that one alone.
	int error = waiter->wait.ending ? 0 : deadlock_check(waiter->attempt->lease);

	if (!error)
		error = wait_sleep(&waiter->wait);
	waiter->looks = waiter->wait.backstop_passed ? LOOKS : 0;
	return error;
}

// On what was added and the life of `slot`'s owner; `poll_until`: until then, unless it is a process
// that is ending, which is watched. 0: look again.
static int sleep_with(struct rwlock_waiter *waiter, uint32_t slot, uint64_t poll_until)
{
	if (!wait_on_lease(&waiter->wait, slot))
		return 0;
	if (!waiter->wait.ending)
		wait_not_after(&waiter->wait, poll_until);
	return rwlock_sleep(waiter);
}

// On the word: `blocker` (slot + 1) owns it, to be looked at again at `poll_until`, or is its heir
// until `until`.
static int sleep_on_word(struct rwlock_waiter *waiter, uint64_t word, uint32_t blocker,
			 uint64_t poll_until, uint64_t until)
{
	struct object_header *header = rwlock_waiter_header(waiter);

	rwlock_begin_round(waiter);
	name_heir(waiter);
	if (!(word & WORD_MARK) &&
	    !atomic_compare_exchange_strong(&header->word, &word, word | WORD_MARK))
		return 0;
	word |= WORD_MARK;
	// Once more, now that an heir which resigns changes the marked word.
	if (!word_owner(word) && (atomic_load(&header->heir) & WORD_OWNER_MASK) != blocker)
		return 0;
	wait_not_after(&waiter->wait, until);
	wait_on(&waiter->wait, futex_low_half(&header->word), (uint32_t)word);
	return sleep_with(waiter, blocker - 1, poll_until);
}

// Whether the lock went from writer to writer while the caller looked, for less than a millisecond.
static bool is_hot(const struct rwlock_waiter *waiter, uint64_t word)
{
	return waiter->looks == LOOKS && word_owner(word) &&
	       word_token(word) - waiter->first_token >= HOT_GRANTS && !is_passed_over(waiter);
}

// On the life of the owner alone, unmarked: for so short a time that nobody need wake it.
static int nap(struct rwlock_waiter *waiter, uint32_t blocker)
{
	rwlock_begin_round(waiter);
	name_heir(waiter);
	wait_not_after(&waiter->wait, clock_now() + NAP_NS);
	wait_not_after(&waiter->wait, waiter->began_ns + WORD_PASSED_OVER_NS); // then it is next
	return sleep_with(waiter, blocker - 1, UINT64_MAX);
}

// ---------------------------------------------------------------------------------------------
// The word

// Judges the writer. 0: it has the lock, wait; -EAGAIN: it was lost and the lock freed, or the word
// has changed; -EBADMSG: the word names nobody.
static int judge_writer(struct rwlock_waiter *waiter, uint64_t word, uint64_t *ret_until)
{
	const struct rwlock_attempt *attempt = waiter->attempt;

	if (word_owner(word) == attempt->lease->name)
		return -EBADMSG;
	return primitive_judge_owner(attempt->arena, rwlock_waiter_header(waiter), word,
				     rwlock_record(attempt->granule, LH_HOLD_EXCLUSIVE, 1),
				     waiter->began_ns != 0, &waiter->stuck, ret_until);
}

// Whether somebody, writer or heir, keeps the caller out. 0: nobody does, as far as `word` tells;
// -EAGAIN: look again; else the call's error.
int rwlock_pass_word(struct rwlock_waiter *waiter, uint64_t word)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	uint64_t until = UINT64_MAX,
		 poll_until = UINT64_MAX; // sooner: what is dying has its end near
	uint32_t blocker = word_owner(word);
	int error;

	if (blocker) {
		error = judge_writer(waiter, word, &poll_until);
		if (error)
			return error;
		if (attempt->upgrade && poll_until == UINT64_MAX)
			return -EDEADLK; // it waits for us
	} else if (waiter->reads && attempt->deadline.ns == 0 && is_writer_next(waiter)) {
		return -EBUSY;
	} else if (word & RWLOCK_WANTED) {
		blocker = awaited_heir(waiter, &until);
		if (!blocker && waiter->reads) // nobody, or not before us: the fast path again
			atomic_compare_exchange_strong(&rwlock_waiter_header(waiter)->word, &word,
						       word & ~RWLOCK_WANTED);
	}
	if (!blocker)
		return 0;
	if (attempt->deadline.ns == 0)
		return -EBUSY;
	if (waiter->looks == 0)
		waiter->first_token = word_token(word);
	if (poll_until == UINT64_MAX && rwlock_hold_off(waiter))
		return -EAGAIN;
	if (poll_until == UINT64_MAX && is_hot(waiter, word))
		error = nap(waiter, blocker);
	else
		error = sleep_on_word(waiter, word, blocker, poll_until, until);
	return error ? error : -EAGAIN;
}

// ---------------------------------------------------------------------------------------------
// Reading

// The record is published: is the lock free of writers, and the lease still good? In this order: a
// lease that was found good before could be lost, and its record ignored by a writer, by the time
// that the word is looked at.
static int enter(struct rwlock_waiter *waiter)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	const shared_u64 *at = &rwlock_waiter_header(waiter)->word;
	uint64_t word;

	fence_light(); // pairs with fence_heavy in revoke_bias
	word = atomic_load_explicit(at, memory_order_acquire);
	if ((word & (WORD_OWNER_MASK | RWLOCK_FENCED)) || attempt->arena->plain_fences) {
		atomic_thread_fence(memory_order_seq_cst); // pairs with the CAS in claim
		word = atomic_load_explicit(at, memory_order_acquire);
	}
	if (word_owner(word))
		return -EAGAIN;
	if (is_deaf_to(attempt, word))
		return -EOWNERDEAD;
	if (waiter->began_ns ? lease_check(attempt->lease) != 0 : !lease_is_live(attempt->lease))
		return -ESTALE;
	primitive_fill_grant(attempt->grant, &attempt->object->header, word);
	rwlock_consider_bias(attempt->arena, attempt->object, word);
	return 0;
}

static int look_to_read(struct rwlock_waiter *waiter)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	const uint64_t word = atomic_load_explicit(&rwlock_waiter_header(waiter)->word,
						   memory_order_acquire);
	int error = rwlock_pass_word(waiter, word);

	if (error)
		return error;
	if (is_deaf_to(attempt, word))
		return -EOWNERDEAD;
	hold_write(attempt->record, rwlock_record(attempt->granule, LH_HOLD_SHARED, 1));
	error = enter(waiter);
	if (error) {
		hold_write(attempt->record, rwlock_record(attempt->granule, LH_HOLD_INTENT, 1));
		rwlock_depart(attempt->arena, attempt->object, attempt->lease->index);
	}
	return error;
}

int rwlock_acquire_read(const struct rwlock_attempt *attempt)
{
	struct rwlock_waiter waiter = rwlock_waiter_of(attempt, true);
	int error;

	do {
		error = look_to_read(&waiter);
	} while (error == -EAGAIN);
	return rwlock_waiter_end(&waiter, error);
}

// ---------------------------------------------------------------------------------------------
// Writing: the word first, then the readers that are left

// Whether another waits to write: then an upgrade would have the two wait for each other.
static bool is_another_next(const struct rwlock_waiter *waiter)
{
	const uint32_t heir = atomic_load(&rwlock_waiter_header(waiter)->heir);

	return heir != own_heir(waiter) && !(heir & HEIR_READS) &&
	       rwlock_is_heir(waiter->attempt, heir);
}

// 0: the word is ours, as *ret_word; -EAGAIN: look again.
int rwlock_claim(struct rwlock_waiter *waiter, uint64_t *ret_word)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	uint64_t word = atomic_load_explicit(&rwlock_waiter_header(waiter)->word,
					     memory_order_acquire);
	const int error = rwlock_pass_word(waiter, word);

	if (error)
		return error;
	if (attempt->upgrade && is_another_next(waiter))
		return -EDEADLK;
	if (is_deaf_to(attempt, word))
		return -EOWNERDEAD;
	if (word_token(word) == WORD_TOKEN_MAX)
		return -EOVERFLOW;
	*ret_word = (word & ~RWLOCK_WANTED) + WORD_TOKEN_ONE + attempt->lease->name;
	// none → ours, token + 1. A crash before or after: one that only waited.
	return atomic_compare_exchange_strong(&rwlock_waiter_header(waiter)->word, &word, *ret_word)
		       ? 0
		       : -EAGAIN;
}

// Has the fence that readers saved executed for them, then takes the bias away: not before, or one
// who came after our death would trust in fences that there were not. -ENOTSUP: a filter refuses it.
static int revoke_bias(const struct rwlock_attempt *attempt, uint64_t word)
{
	struct object_header *header = &attempt->object->header;
	const uint64_t before = clock_now();
	uint64_t now;

	if (!fence_heavy()) // pairs with fence_light in reading and departing
		return error_detail(-ENOTSUP, "membarrier is refused since the arena was opened, "
					      "and the lock is biased to readers");
	now = clock_now();
	rwlock_bias_off(attempt->object, before, now);
	// ours, biased → ours, fenced. Others add MARK, or reap us.
	while (word_owner(word) == attempt->lease->name && !(word & RWLOCK_FENCED) &&
	       !atomic_compare_exchange_weak(&header->word, &word, word | RWLOCK_FENCED))
		;
	return 0;
}

// Whether the record in a slot is in the caller's way: of a lock of its own that says that it
// reads, of an entry of named locks that says one of the modes.
static inline bool is_in_way(const struct lh_arena *arena, uint32_t slot, uint32_t granule,
			     uint32_t modes)
{
	return modes ? modes >> rwlock_mode_seen(arena, slot, granule) & 1
		     : hold_says(arena, slot, rwlock_record(granule, LH_HOLD_SHARED, 0));
}

static bool is_reading(const struct rwlock_attempt *attempt, uint32_t slot)
{
	return is_in_way(attempt->arena, slot, attempt->granule, attempt->awaited);
}

// Judges a lease whose record says that it reads. 0: it does, wait; -EAGAIN: look again; -ENOENT:
// it is lost, or there is none, and its record counts for nothing.
static int judge_reader(const struct rwlock_waiter *waiter, uint32_t slot, uint64_t *ret_until)
{
	struct lh_arena *arena = waiter->attempt->arena;
	const uint64_t before = atomic_load(&arena->leases[slot].state);
	struct lost_lease lost;

	switch (lease_judge(arena, slot, &lost)) {
	case VERDICT_LOST:
		// Once for each loss: an expired lease keeps its records for as long as its owner
		// likes.
		if (lease_word_state(lost.state) == LEASE_DEAD ||
		    lease_word_state(before) == LEASE_LIVE) {
			owner_wake_if_ended(arena, lost.owner);
			reap_lease(arena, &lost);
		}
		return -ENOENT;
	case VERDICT_GONE:
		return lease_word_state(atomic_load(&arena->leases[slot].state)) == LEASE_FREE
			       ? -ENOENT
			       : -EAGAIN;
	case VERDICT_DYING:
		*ret_until = clock_now() + WAIT_POLL_NS;
		break;
	case VERDICT_HELD:
		break;
	}
	return is_reading(waiter->attempt, slot) ? 0 : -ENOENT; // the tenant judged, not one before
}

static int sleep_on_reader(struct rwlock_waiter *waiter, uint32_t slot, uint32_t departures,
			   uint64_t until)
{
	struct lease_slot *lease = &waiter->attempt->arena->leases[slot];

	rwlock_begin_round(waiter);
	if (!(departures & DEPARTURES_AWAITED) &&
	    !atomic_compare_exchange_strong(&lease->departures, &departures,
					    departures | DEPARTURES_AWAITED))
		return 0;
	// A reader that has unlocked has no fence between the end of its record and its look for a
	// writer: it may have missed us though its record is still on its way.
	if (!waiter->attempt->arena->plain_fences) {
		fence_heavy(); // pairs with fence_light in departing
		if (!is_reading(waiter->attempt, slot))
			return 0;
	}
	// Whom its end wakes looks at these next: their pages are fetched before it sleeps
	// (docs/decisions/0024-kills-are-timed-pinned.md).
	for (uint32_t other = slot % RWLOCK_MAP_BITS; other < waiter->attempt->arena->lease_count;
	     other += RWLOCK_MAP_BITS)
		(void)is_reading(waiter->attempt, other);
	wait_on(&waiter->wait, &lease->departures, departures | DEPARTURES_AWAITED);
	return sleep_with(waiter, slot, until);
}

// Until this one reads no more. The word keeps new ones out.
static int await_reader(struct rwlock_waiter *waiter, uint32_t slot)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	int error = 0;

	while (!error) {
		const uint32_t departures = atomic_load(&attempt->arena->leases[slot].departures);
		uint64_t until = UINT64_MAX;

		if (!is_reading(attempt, slot))
			return 0;
		error = judge_reader(waiter, slot, &until);
		if (error == -ENOENT)
			return 0;
		if (!error && attempt->deadline.ns == 0)
			return -EBUSY;
		if (!error && (until != UINT64_MAX || !rwlock_hold_off(waiter)))
			error = sleep_on_reader(waiter, slot, departures, until);
		if (error == -EAGAIN)
			error = 0;
	}
	return error;
}

// `waiter` NULL: -EBUSY if anybody but the lease in `self` reads.
static inline __attribute__((always_inline)) int
await_readers(struct rwlock_waiter *waiter, const struct lh_arena *arena,
	      struct rwlock_object *object, uint32_t granule, uint32_t modes, uint32_t self)
{
	// Sequentially consistent, like the maps and hold_says: after the claim.
	uint32_t words = atomic_load(rwlock_reader_words(object)) % (1u << RWLOCK_MAP_WORDS);

	for (; words; words &= words - 1) {
		const uint32_t word = (uint32_t)__builtin_ctz(words);
		uint64_t bits = atomic_load(&object->readers[word]);

		for (; bits; bits &= bits - 1) {
			uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);

			for (; slot < arena->lease_count; slot += RWLOCK_MAP_BITS) {
				int error;

				if (slot == self || !is_in_way(arena, slot, granule, modes))
					continue;
				error = waiter ? await_reader(waiter, slot) : -EBUSY;
				if (error)
					return error;
			}
		}
	}
	return 0;
}

bool rwlock_is_read(const struct lh_arena *arena, struct rwlock_object *object, uint32_t granule,
		    uint32_t self)
{
	return await_readers(NULL, arena, object, granule, 0, self) != 0;
}

int rwlock_await(struct rwlock_waiter *waiter)
{
	const struct rwlock_attempt *attempt = waiter->attempt;

	return await_readers(waiter, attempt->arena, attempt->object, attempt->granule,
			     attempt->awaited, attempt->lease->index);
}

// Nobody reads: from the record on a crash is damage. Who reaps an expired lease latches the state
// and then reads the record; here it is the other way round, so one of the two sees the other.
static int become_writer(const struct rwlock_waiter *waiter, uint64_t word)
{
	const struct rwlock_attempt *attempt = waiter->attempt;

	hold_write(attempt->record, rwlock_record(attempt->granule, LH_HOLD_EXCLUSIVE, 1));
	if (attempt->lease->ttl_ns)
		atomic_thread_fence(memory_order_seq_cst);
	if (waiter->began_ns ? lease_check(attempt->lease) != 0 : !lease_is_live(attempt->lease))
		return -ESTALE;
	if (waiter->began_ns)
		hold_note_grant(attempt->lease, attempt->granule, word_token(word));
	primitive_fill_grant(attempt->grant, &attempt->object->header, word);
	return 0;
}

static int complete(struct rwlock_waiter *waiter, uint64_t word)
{
	const struct rwlock_attempt *attempt = waiter->attempt;
	int error = 0;

	if (!(word & RWLOCK_FENCED) && !attempt->arena->plain_fences && !attempt->awaited)
		error = revoke_bias(attempt, word);
	if (!error)
		error = rwlock_await(waiter);
	if (!error)
		error = become_writer(waiter, word);
	if (error) { // nothing was written: no damage to be told
		hold_write(attempt->record,
			   rwlock_record(attempt->granule,
					 attempt->upgrade ? LH_HOLD_SHARED : LH_HOLD_INTENT, 1));
		rwlock_free(attempt->object, attempt->lease);
	}
	return error;
}

int rwlock_acquire_write(const struct rwlock_attempt *attempt)
{
	struct rwlock_waiter waiter = rwlock_waiter_of(attempt, false);
	uint64_t word = 0;
	int error;

	do {
		error = rwlock_claim(&waiter, &word);
	} while (error == -EAGAIN);
	if (!error) {
		rwlock_resign(&waiter, false); // no longer before others, but inside
		error = complete(&waiter, word);
	}
	return rwlock_waiter_end(&waiter, error);
}

int rwlock_complete_write(const struct rwlock_attempt *attempt, uint64_t word)
{
	struct rwlock_waiter waiter = rwlock_waiter_of(attempt, false);
	const int error = complete(&waiter, word);

	return rwlock_waiter_end(&waiter, error);
}
