// SPDX-License-Identifier: Apache-2.0
//
// lease.h: a lease as its user's process knows it, and the words of its slot.
#ifndef ARENA_LEASE_H
#define ARENA_LEASE_H

#include "arena/arena.h"
#include "arena/process.h"

#include <leasehold/lease.h>
#include <leasehold/time.h>

// Fibonacci hashing: the high bits of multiples of 2^32 / golden ratio lie far from each other
// (Knuth, TAOCP 3, 6.4). It is odd, so the low bits of neighbouring multiples all differ.
#define FIBONACCI 2654435769u

struct lh_lease {
	// Read by hot paths, those of programs that include leasehold/inline.h too: src/inline.c.
	const _Atomic uint64_t
		*guard; // its thread's if its calls may take the fast paths: a thread
			// lease without TTL or cancel token, in an arena without
			// oddities; else process_guard_none
	struct lh_arena *arena;
	struct hold_record *holds;
	uint32_t index;          // of the slot
	uint32_t line_mask;      // hold_line
	uint64_t name;           // index + 1: how words name it as their owner
	uint64_t readers_bit;    // of reader-writer locks' maps: its bit,
	uint32_t readers_offset; // in the word there, in bytes
	uint32_t scatter;        // index * FIBONACCI: where searches for permits begin
	uint64_t id;             // how words name it that outlive it
	// The rest.
	uint64_t fork_generation; // 0 once its thread has ended
	struct lease_slot *slot;
	uint64_t incarnation;   // as in the id
	uintptr_t owner_thread; // 0: a process lease
	uint64_t owner;         // owner_ref
	uint64_t ttl_ns;        // as acquired; 0: none
	unsigned flags;
	struct lh_cancel *cancel;
	struct thread_arena *share; // whose entry it counts in: its thread's, or the keeper's
	struct lh_lease *thread_next;
	struct lh_lease **thread_link;
	bool is_thread_lease;     // made by lh_thread_lease
	struct keeper_duty *duty; // keeper.c
	uint64_t session;         // of who lets go of what it holds: struct lease_slot
	uint64_t searched_ns; // when its present wait last looked through all slots (deadlock.c)
	bool waits_for_ever;  // its present wait has neither a deadline nor a cancel token
	struct lease_memory *memory;
};

// Private memory that goes with a lease's handle (a cell's draft), in a forked child too. Used like
// the lease, by one thread at a time.
struct lease_memory {
	struct lease_memory *next;
	uint32_t granule; // of the object that it is for
	uint64_t token;   // of the grant
	_Alignas(64) uint8_t bytes[];
};

// Not linked to the lease yet; NULL: no memory.
struct lease_memory *lease_memory_make(uint64_t size);
void lease_memory_link(struct lh_lease *lease, struct lease_memory *memory);
struct lease_memory *lease_memory_find(const struct lh_lease *lease, uint32_t granule);
void lease_memory_drop(struct lh_lease *lease, struct lease_memory *memory);

// -ESTALE, -EPERM or 0: may the calling thread use it, as far as private memory tells.
int lease_check_caller(const struct lh_lease *lease);
// The same and -ESTALE if it has been lost, latching an expiry that has passed.
int lease_check(const struct lh_lease *lease);
// Latched state alone: reads no clock.
bool lease_is_live(const struct lh_lease *lease);
// -ECANCELED if its token has fired.
int lease_check_cancel(const struct lh_lease *lease);
// ns; FUTEX_NEVER without TTL.
uint64_t lease_expiry(const struct lh_lease *lease);

// The time left of this incarnation, after latching an expiry that has passed: 0 once lost.
uint64_t lease_slot_remaining(const struct lh_arena *arena, uint32_t slot, uint64_t incarnation);
// 0, -ESTALE, or -EINVAL for a TTL beyond what the word can say. Async-signal-safe.
int lease_slot_renew(const struct lh_arena *arena, uint32_t slot, uint64_t incarnation,
		     uint64_t ttl_ns);

// Who lets go of what it will hold. Before it holds anything.
static inline void lease_set_session(struct lh_lease *lease, uint64_t session)
{
	lease->session = session;
	atomic_store_explicit(&lease->slot->session, session, memory_order_relaxed);
}

// ---- the state word

static inline enum lease_state lease_word_state(uint64_t word)
{
	return (enum lease_state)(word >> LEASE_STATE_SHIFT);
}

static inline uint64_t lease_word_with(uint64_t word, enum lease_state state)
{
	return (word & ~(UINT64_C(3) << LEASE_STATE_SHIFT)) | (uint64_t)state << LEASE_STATE_SHIFT;
}

// Whether the word is of this incarnation, as far as it has bits for it.
static inline bool lease_word_is(uint64_t word, uint64_t incarnation)
{
	if (word & LEASE_TTL_BIT)
		return ((word ^ incarnation) & LEASE_SHORT_MASK) == 0;
	return (word & LEASE_LONG_MASK) == incarnation;
}

// When it expires, in ns; UINT64_MAX without TTL.
static inline uint64_t lease_word_expiry(uint64_t word)
{
	if (!(word & LEASE_TTL_BIT))
		return UINT64_MAX;
	return ((word >> LEASE_EXPIRY_SHIFT) & LEASE_EXPIRY_MAX) * CLOCK_NS_PER_MS;
}

// When who waits for its holder has to look again: once the loss is latched, no expiry tells more.
static inline uint64_t lease_word_look_at(uint64_t word)
{
	return lease_word_state(word) == LEASE_LIVE ? lease_word_expiry(word) : UINT64_MAX;
}

static inline uint64_t lease_word_live(uint64_t incarnation)
{
	return (uint64_t)LEASE_LIVE << LEASE_STATE_SHIFT | incarnation;
}

// expiry_ms at most LEASE_EXPIRY_MAX
static inline uint64_t lease_word_live_until(uint64_t incarnation, uint64_t expiry_ms)
{
	return (uint64_t)LEASE_LIVE << LEASE_STATE_SHIFT | LEASE_TTL_BIT |
	       expiry_ms << LEASE_EXPIRY_SHIFT | (incarnation & LEASE_SHORT_MASK);
}

static inline uint64_t lease_id(uint64_t incarnation, uint32_t slot)
{
	return incarnation << LEASE_SLOT_BITS | slot;
}

static inline uint64_t lease_id_incarnation(uint64_t id)
{
	return id >> LEASE_SLOT_BITS;
}

void lease_thread_exits(struct thread_state *thread);
void lease_thread_forked(struct thread_state *thread);

#endif
