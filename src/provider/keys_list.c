// SPDX-License-Identifier: Apache-2.0
//
// Buckets are lists after Michael, "High Performance Dynamic Lock-Free Hash Tables and List-Based
// Sets" (SPAA 2002), with tags; new entries go to the front, so that a head which has not changed
// since the walk began proves that nobody has linked the key meanwhile.
#include "src/provider/keys.h"

#include "arena/error.h"

#define MAX_WALKS 16 // of one call, each overtaken by another's change

// Whether the entry has the key, as far as its tenancy has not changed meanwhile.
static bool has_key(const struct keys *keys, const struct key_entry *entry,
		    const struct key_wanted *wanted)
{
	const uint32_t block = atomic_load_explicit(&entry->block, memory_order_relaxed);
	const size_t words = key_words(wanted->size);
	const shared_u64 *bytes = entry->bytes;

	if (atomic_load_explicit(&entry->size, memory_order_relaxed) != wanted->size ||
	    block > keys->block_count || (block == 0) != (words <= KEY_INLINE_WORDS))
		return false;
	if (block)
		bytes = keys->blocks[block - 1].bytes;
	for (size_t i = 0; i < words; i++) {
		if (atomic_load_explicit(&bytes[i], memory_order_relaxed) != key_word(wanted, i))
			return false;
	}
	return true;
}

static int finish(const struct keys *keys, struct key_entry *entry, uint64_t state);

// Whether the key is this entry's, whose state was `state` while it was linked: 0, as *found says;
// -EAGAIN: its old tenancy had to be ended first; -EBADMSG.
static int look_at(const struct keys *keys, struct key_entry *entry, uint64_t state,
		   const struct key_wanted *wanted, struct key_found *found)
{
	uint32_t permits;

	if (!has_key(keys, entry, wanted))
		return 0;
	permits = rwlock_permits(&entry->lock);
	atomic_thread_fence(memory_order_acquire); // the key was read before the state is again
	if ((atomic_load(&entry->state) ^ state) & KEY_TENANCY_MASK)
		return -EAGAIN;
	if (key_phase(state) == KEY_RETIRED)
		return finish(keys, entry, state) == -EBADMSG ? -EBADMSG : -EAGAIN;
	if (key_phase(state) != KEY_FREE) {
		found->entry = entry;
		found->state = state;
		found->permits = permits;
	}
	return 0;
}

// One walk along the bucket of `hash`, taking out what is marked; wanted NULL: to its end.
// 0; -EAGAIN: overtaken; -EBADMSG.
static int walk(const struct keys *keys, uint64_t hash, const struct key_wanted *wanted,
		struct key_found *ret_found)
{
	shared_u64 *const head = keys_head(keys, hash);
	shared_u64 *at = head;
	uint64_t link = atomic_load(at);

	*ret_found = (struct key_found){ .head = link };
	for (uint32_t steps = 0; link & KEY_LINK_MASK; steps++) {
		const uint32_t number = (uint32_t)(link & KEY_LINK_MASK);
		struct key_entry *entry = &keys->entries[number - 1];
		uint64_t next, state;

		if (number > keys->entry_count || steps > keys->entry_count)
			return error_detail(-EBADMSG, "the table of named locks is damaged");
		keys_fetch(entry);
		next = atomic_load(&entry->next);
		state = atomic_load(&entry->state);
		// If the link still stands, both were read of an entry that was linked here.
		if (atomic_load(at) != link)
			return -EAGAIN;
		if (next & KEY_LINK_MARK) {
			const uint64_t out = key_link(link, next);

			if (!atomic_compare_exchange_strong(at, &link, out))
				return -EAGAIN;
			if (at == head)
				ret_found->head = out;
			link = out;
			continue;
		}
		if (wanted && atomic_load_explicit(&entry->hash, memory_order_relaxed) == hash) {
			const int error = look_at(keys, entry, state, wanted, ret_found);

			if (error || ret_found->entry)
				return error;
		}
		at = &entry->next;
		link = next;
	}
	return 0;
}

int keys_walk(const struct keys *keys, uint64_t hash, const struct key_wanted *wanted,
	      struct key_found *ret_found)
{
	for (int i = 0; i < MAX_WALKS; i++) {
		const int error = walk(keys, hash, wanted, ret_found);

		if (error != -EAGAIN)
			return error;
	}
	return -EAGAIN;
}

// ---------------------------------------------------------------------------------------------
// Ending a tenancy

static void raise_floor(shared_u64 *at, uint64_t word)
{
	uint64_t floor = atomic_load(at), raised;

	do {
		const uint64_t token = word_token(word) > word_token(floor) ? word_token(word)
									    : word_token(floor);

		raised = token << WORD_TOKEN_SHIFT | ((word | floor) & WORD_DIED);
		if (raised == floor)
			return;
	} while (!atomic_compare_exchange_weak(at, &floor, raised));
}

// The entry was RETIRED, as `state`: out of its bucket, and FREE. Anybody may do that, and as many
// as like. 0; what keys_walk says if the bucket could not be walked to its end.
static int finish(const struct keys *keys, struct key_entry *entry, uint64_t state)
{
	const uint64_t hash = atomic_load(&entry->hash);
	const uint64_t word = atomic_load(&entry->lock.header.word);
	uint64_t next;
	struct key_found found;
	int error;

	if (atomic_load(&entry->state) != state)
		return 0; // what was read may be another tenancy's
	raise_floor(keys_floor(keys, hash), word);
	do {
		next = atomic_load(&entry->next);
		if (atomic_load(&entry->state) != state)
			return 0; // likewise
	} while (!(next & KEY_LINK_MARK) &&
		 !atomic_compare_exchange_weak(&entry->next, &next,
					       key_link(next, next) | KEY_LINK_MARK));
	// Whoever walks to the end has it behind him or has taken it out.
	error = keys_walk(keys, hash, NULL, &found);
	if (!error)
		atomic_compare_exchange_strong(&entry->state, &state, key_state(KEY_FREE, state));
	return error;
}

// Whether a lease that is not over has a record of the entry. Who is lost is reaped.
static bool is_referred(const struct keys *keys, const struct key_entry *entry)
{
	struct lh_arena *arena = keys->arena;
	const uint32_t granule = keys_granule(keys, entry);
	uint64_t users = atomic_load(&entry->users);

	for (; users; users &= users - 1) {
		for (uint32_t slot = (uint32_t)__builtin_ctzll(users); slot < arena->lease_count;
		     slot += 64) {
			const shared_u64 *state = &arena->leases[slot].state;

			for (int look = 0; look < 2; look++) {
				if (lease_word_state(atomic_load(state)) == LEASE_FREE ||
				    !hold_find_of(arena, slot, LH_KIND_RWLOCK, granule))
					break;
				if (look)
					return true;
				reap_slot(arena, slot);
			}
		}
	}
	return false;
}

// Whether it is not worth while to look for records: it is held by the living, or damaged.
static bool is_taken(const struct keys *keys, const struct key_entry *entry, bool damaged_too)
{
	const uint64_t word = atomic_load(&entry->lock.header.word);
	const uint32_t owner = word_owner(word);

	if (owner)
		return owner > keys->arena->lease_count ||
		       lease_state_seen(keys->arena, owner - 1, clock_now()) == LH_LEASE_LIVE;
	return (word & WORD_DIED) && !damaged_too;
}

// USED or RETIRING, as `state` → RETIRED if nobody refers to it, else USED. Whether it is RETIRED.
static bool retire_used(const struct keys *keys, struct key_entry *entry, uint64_t state,
			bool damaged_too)
{
	const uint64_t retiring = key_state(KEY_RETIRING, state);
	uint64_t from = retiring, word;
	bool unused;

	if (is_taken(keys, entry, damaged_too))
		return false;
	if (state != retiring && !atomic_compare_exchange_strong(&entry->state, &state, retiring))
		return false;
	atomic_thread_fence(memory_order_seq_cst); // pairs with that in confirm
	unused = !is_referred(keys, entry);
	word = atomic_load(&entry->lock.header.word); // after reaping
	unused = unused && !word_owner(word) && (!(word & WORD_DIED) || damaged_too);
	// A crash before: whoever comes next looks again, or refers to it and makes it USED.
	return atomic_compare_exchange_strong(
		       &entry->state, &from,
		       unused ? key_state(KEY_RETIRED, retiring)
			      : key_state(KEY_USED, retiring + KEY_TRY_ONE)) &&
	       unused;
}

bool keys_retire(const struct keys *keys, struct key_entry *entry, bool damaged_too)
{
	uint64_t state = atomic_load(&entry->state);

	if (key_phase(state) == KEY_USED || key_phase(state) == KEY_RETIRING) {
		if (!retire_used(keys, entry, state, damaged_too))
			return false;
		state = key_state(KEY_RETIRED, state);
	}
	if (key_phase(state) == KEY_RETIRED)
		finish(keys, entry, state);
	return key_phase(atomic_load(&entry->state)) == KEY_FREE;
}
