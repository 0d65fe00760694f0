// SPDX-License-Identifier: Apache-2.0
//
// Acquires of named locks that wait without a thread: the helper thread of their process has one
// lease, and sleeps on the departures of that lease alone, whatever it waits for. Here it makes
// sure that whoever lets go of a lock counts them up. docs/protocol/pending.md has the table of
// steps with the outcome of a crash at each.
//
// Who is named in `pending` is poked by whoever lets go of a MARKed word, and by whoever departs
// from one. So the helper puts its name there, then marks the word: who lets go by a CAS of the
// marked word sees the name. A reader that departs has no CAS of the word; there the helper pays
// for the fence between MARK and its look at the reader's record.
#include "src/rwlock_modes.h"

#include "arena/sys/fence.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"

#define NAME_MASK ((UINT64_C(1) << PENDING_NAME_BITS) - 1)

static uint32_t name_at(uint64_t names, uint32_t place)
{
	return (uint32_t)(names >> place * PENDING_NAME_BITS & NAME_MASK);
}

static uint64_t with_name(uint64_t names, uint32_t place, uint64_t name)
{
	return (names & ~(NAME_MASK << place * PENDING_NAME_BITS)) |
	       name << place * PENDING_NAME_BITS;
}

// ---------------------------------------------------------------------------------------------
// Poking

void rwlock_bump(shared_u32 *departures)
{
	uint32_t count = atomic_load(departures);

	while (!atomic_compare_exchange_weak(departures, &count,
					     (count & ~DEPARTURES_AWAITED) + DEPARTURES_ONE))
		;
	if (count & DEPARTURES_AWAITED)
		futex_wake(departures, FUTEX_ALL);
}

static void poke(struct lease_slot *slot, uint64_t bit)
{
	// Before the departures: who finds these unchanged has the bit from the look before that.
	atomic_fetch_or(&slot->poked, bit);
	rwlock_bump(&slot->departures);
}

// Counted up, not looked at: a helper says that it sleeps there before it looks at locks, so of its
// look and what the caller has done to the lock, one comes after the other.
void rwlock_poke(struct lh_arena *arena, struct rwlock_object *object)
{
	const uint64_t names = atomic_load(&object->pending);
	const uint32_t granule = arena_granule((uint64_t)((const uint8_t *)object - arena->base));
	const uint64_t bit = UINT64_C(1) << rwlock_poked_place(granule);

	if (!names)
		return;
	for (uint32_t i = 0; i < PENDING_NAMES; i++) {
		const uint32_t name = name_at(names, i);

		if (name && name <= arena->lease_count)
			poke(&arena->leases[name - 1], bit);
	}
	for (uint32_t slot = 0; (names & PENDING_MANY) && slot < arena->lease_count; slot++) {
		if (lease_word_state(atomic_load(&arena->leases[slot].state)) != LEASE_FREE)
			poke(&arena->leases[slot], bit);
	}
}

// ---------------------------------------------------------------------------------------------
// Names

// A place for a name: one that nobody has, or whose lease is over. PENDING_NAMES: there is none.
static uint32_t place_for(const struct lh_arena *arena, uint64_t names)
{
	for (uint32_t i = 0; i < PENDING_NAMES; i++) {
		if (!name_at(names, i))
			return i;
	}
	for (uint32_t i = 0; i < PENDING_NAMES; i++) {
		const uint32_t name = name_at(names, i);

		if (name > arena->lease_count ||
		    lease_state_seen(arena, name - 1, clock_now()) != LH_LEASE_LIVE)
			return i;
	}
	return PENDING_NAMES;
}

static bool has_name(uint64_t names, uint64_t name)
{
	for (uint32_t i = 0; i < PENDING_NAMES; i++) {
		if (name_at(names, i) == name)
			return true;
	}
	return false;
}

static void enter_name(const struct rwlock_pending *pending)
{
	shared_u64 *at = &pending->attempt.object->pending;
	const uint64_t name = pending->attempt.lease->name;
	uint64_t names = atomic_load(at), entered;

	// + ours, or in place of one that is over. A crash after it: a name to be poked for nothing.
	do {
		const uint32_t place = place_for(pending->attempt.arena, names);

		if (has_name(names, name) || (names & PENDING_MANY))
			return;
		entered = place < PENDING_NAMES ? with_name(names, place, name)
						: names | PENDING_MANY;
	} while (!atomic_compare_exchange_weak(at, &names, entered));
}

static void leave_name(const struct rwlock_pending *pending)
{
	shared_u64 *at = &pending->attempt.object->pending;
	uint64_t names = atomic_load(at);

	for (uint32_t i = 0; i < PENDING_NAMES; i++) {
		// − ours
		while (name_at(names, i) == pending->attempt.lease->name &&
		       !atomic_compare_exchange_weak(at, &names, with_name(names, i, 0)))
			;
	}
}

// ---------------------------------------------------------------------------------------------
// The heir

// Of waiters that are threads as well.
void rwlock_drop_heir(struct lh_arena *arena, struct rwlock_object *object, uint32_t heir,
		      bool wake)
{
	uint64_t word;

	if (atomic_load_explicit(&object->header.heir, memory_order_relaxed) != heir ||
	    !atomic_compare_exchange_strong(&object->header.heir, &heir, 0) || !wake)
		return;
	// Who is about to sleep for the heir's sake finds the word changed, and for good: it cannot get
	// WANTED back by others' marks. MARK stays until all are awake, or a crash in between would
	// leave those who are asleep to an owner that does not wake them.
	word = atomic_load(&object->header.word);
	if (!word_owner(word) && (word & RWLOCK_WANTED) &&
	    atomic_compare_exchange_strong(&object->header.word, &word, word & ~RWLOCK_WANTED))
		word &= ~RWLOCK_WANTED;
	futex_wake(futex_low_half(&object->header.word), FUTEX_ALL);
	// Nobody falls asleep on a free word without WANTED.
	if ((word & (WORD_OWNER_MASK | WORD_MARK | RWLOCK_WANTED)) == WORD_MARK)
		atomic_compare_exchange_strong(&object->header.word, &word, word & ~WORD_MARK);
	rwlock_poke(arena, object); // last: whose MARK this was marks again
}

bool rwlock_is_pending_heir(const struct lh_arena *arena, const struct rwlock_object *object,
			    uint32_t heir)
{
	const uint32_t slot = (heir & (uint32_t)WORD_OWNER_MASK) - 1;
	const uint64_t id = atomic_load(&object->pending_heir);

	// Its lease names no object that it waits for; but a later tenant of its slot has another
	// id.
	return (heir & HEIR_PENDING) && id == atomic_load(&arena->leases[slot].id) &&
	       (id & ((UINT64_C(1) << LEASE_SLOT_BITS) - 1)) == slot;
}

static void write_heir(const struct rwlock_pending *pending)
{
	struct rwlock_object *object = pending->attempt.object;

	atomic_store(&object->pending_since, pending->since_ns);
	atomic_store(&object->pending_heir, pending->attempt.lease->id);
}

// As a waiter in a call of its own does it (name_heir in rwlock_wait.c). Whether it is the heir.
static bool name_heir(const struct rwlock_pending *pending)
{
	struct rwlock_object *object = pending->attempt.object;
	uint32_t heir = atomic_load_explicit(&object->header.heir, memory_order_relaxed);

	if (heir == pending->attempt.heir) { // on behalf of another, maybe
		write_heir(pending);
		return true;
	}
	if (pending->reads
		    ? (heir & HEIR_READS) || clock_now() - pending->since_ns < WORD_PASSED_OVER_NS
		    : heir != 0)
		return false;
	write_heir(pending);
	return atomic_compare_exchange_strong(&object->header.heir, &heir, pending->attempt.heir);
}

// Whether a lock that nobody has is left to another, whom *pending says.
static bool find_heir(struct rwlock_pending *pending, uint64_t word)
{
	const uint32_t heir = atomic_load(&pending->attempt.object->header.heir);

	if (heir == pending->attempt.heir || (heir & HEIR_READS) ||
	    !(pending->reads || (word & RWLOCK_WANTED)) || !rwlock_is_heir(&pending->attempt, heir))
		return false;
	pending->by = BLOCKED_BY_HEIR;
	pending->heir = heir;
	pending->blocker = heir & (uint32_t)WORD_OWNER_MASK;
	pending->until_ns = clock_now() + WORD_RESERVATION_NS;
	return true;
}

// ---------------------------------------------------------------------------------------------
// Who is in the way

static bool is_live_tenant(const struct rwlock_pending *pending, uint32_t slot)
{
	return lease_state_seen(pending->attempt.arena, slot, clock_now()) == LH_LEASE_LIVE;
}

// Whether the slot's record of the lock says a mode that excludes what is wanted.
static bool is_reading(const struct rwlock_pending *pending, uint32_t slot)
{
	return 1u << rwlock_mode_seen(pending->attempt.arena, slot, pending->attempt.granule) &
	       pending->modes;
}

// Whether the owner of the word wants nothing that an intention to read has to wait for.
static bool lets_pass(const struct rwlock_pending *pending, uint32_t owner)
{
	const struct hold_record *record;

	if (!pending->passes)
		return false;
	record = hold_find_of(pending->attempt.arena, owner - 1, LH_KIND_RWLOCK,
			      pending->attempt.granule);
	return record && rwlock_purpose(atomic_load(&record->object)) != LH_HOLD_EXCLUSIVE;
}

static void blocked_by(struct rwlock_pending *pending, uint32_t slot)
{
	pending->blocker = slot + 1;
	pending->until_ns = lease_word_look_at(atomic_load_explicit(
		&pending->attempt.arena->leases[slot].state, memory_order_acquire));
}

// A reader that is not lost, whom *pending says.
static bool find_reader(struct rwlock_pending *pending)
{
	const struct lh_arena *arena = pending->attempt.arena;
	const struct rwlock_object *object = pending->attempt.object;

	for (uint32_t word = 0; word < RWLOCK_MAP_WORDS; word++) {
		uint64_t bits = atomic_load(&object->readers[word]);

		for (; bits; bits &= bits - 1) {
			uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);

			for (; slot < arena->lease_count; slot += RWLOCK_MAP_BITS) {
				if (!is_reading(pending, slot) || !is_live_tenant(pending, slot))
					continue;
				pending->by = BLOCKED_BY_READER;
				blocked_by(pending, slot);
				return true;
			}
		}
	}
	return false;
}

// Whether somebody is in the way, as far as the word and what is read after it tell. An owner that
// is lost is not: a try judges it.
static bool find_blocker(struct rwlock_pending *pending, uint64_t word)
{
	const uint32_t owner = word_owner(word);

	if (owner && owner <= pending->attempt.arena->lease_count && !lets_pass(pending, owner) &&
	    is_live_tenant(pending, owner - 1)) {
		pending->by = BLOCKED_BY_WRITER;
		blocked_by(pending, owner - 1);
		return true;
	}
	if (owner)
		return false;
	return (pending->modes && find_reader(pending)) || find_heir(pending, word);
}

// Marks the word, as `word` was. False: it has changed.
static bool mark(struct rwlock_pending *pending, uint64_t word, bool heir)
{
	struct rwlock_object *object = pending->attempt.object;
	const uint64_t now = clock_now();

	pending->word = word | WORD_MARK;
	if (heir && !word_owner(word)) { // readers: new ones are to stay out, as behind a writer
		atomic_store_explicit(&object->pending_until, now + RWLOCK_PENDING_NS,
				      memory_order_relaxed);
		pending->word |= RWLOCK_WANTED;
		if (now + RWLOCK_PENDING_NS / 2 < pending->until_ns)
			pending->until_ns = now + RWLOCK_PENDING_NS / 2;
	}
	// + MARK (+ WANTED), exact, also if it has them: who lets go by CAS does so after this, and
	// sees the name. A crash after it: a needless look.
	return atomic_compare_exchange_strong(&object->header.word, &word, pending->word);
}

uint32_t rwlock_pending_heir(const struct lh_lease *lease, bool reads)
{
	return (lease->index + 1) | HEIR_PENDING | (reads ? HEIR_READS : 0);
}

int rwlock_pend(struct rwlock_pending *pending, bool refused)
{
	struct rwlock_object *object = pending->attempt.object;
	uint64_t word;
	bool heir;

	do {
		word = atomic_load(&object->header.word);
		pending->blocker = 0;
		pending->by = BLOCKED_BY_WRITER;
		pending->until_ns = clock_now() + WAIT_POLL_NS;
		if (!find_blocker(pending, word) && !refused)
			return -EAGAIN;
		enter_name(pending);
		heir = name_heir(pending);
	} while (!mark(pending, word, heir && pending->by == BLOCKED_BY_READER));
	if (pending->by != BLOCKED_BY_READER)
		return 0;
	// A reader that departs has no fence between the end of its record and its look for MARK.
	if (!pending->attempt.arena->plain_fences)
		fence_heavy(); // pairs with fence_light in rwlock_depart
	return is_reading(pending, pending->blocker - 1) ? 0 : -EAGAIN;
}

bool rwlock_pend_stands(const struct rwlock_pending *pending)
{
	const struct object_header *header = &pending->attempt.object->header;

	if (!pending->until_ns || clock_now() >= pending->until_ns ||
	    atomic_load(&header->word) != pending->word)
		return false;
	if (pending->blocker && pending->by == BLOCKED_BY_READER)
		return is_reading(pending, pending->blocker - 1);
	return pending->by != BLOCKED_BY_HEIR || atomic_load(&header->heir) == pending->heir;
}

void rwlock_pend_end(struct rwlock_pending *pending)
{
	leave_name(pending);
	rwlock_drop_heir(pending->attempt.arena, pending->attempt.object, pending->attempt.heir,
			 true);
}
