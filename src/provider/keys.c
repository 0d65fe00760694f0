// SPDX-License-Identifier: Apache-2.0
#include "src/provider/keys.h"

#include "arena/error.h"

#include <leasehold/locks.h>

#define ENTRIES_NAME "named locks"
#define TABLE_NAME "named locks: table"
#define KEYS_LEAST 16u
#define ENTRIES_PER_BLOCK 16u
#define MAX_TRIES_TO_RETIRE 8 // of an entry with other permits, each overtaken by another's change
#define LINKS_MOST 64  // tries to link a draft, each overtaken, before the key is looked for anew
#define ROUNDS_NOW 64u // of a call that may not wait, each overtaken by others
#define ROUNDS_MOST 100000u // of any: damage

_Static_assert(LH_KEY_MAX <= KEY_BLOCK_WORDS * sizeof(uint64_t), "a key fits into a block");

// ---------------------------------------------------------------------------------------------
// Placing

// Three quarters of the user's space, so that there is room for a user's own things.
static uint32_t entries_for(const struct lh_arena *arena)
{
	const uint64_t space = (arena->user_end - arena->user_offset) / 4 * 3;
	const uint64_t each = sizeof(struct key_entry) +
			      (KEY_BUCKETS_PER_ENTRY + 1) * sizeof(shared_u64) +
			      sizeof(struct key_block) / ENTRIES_PER_BLOCK;
	const uint64_t count = space / each;

	return count > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)count;
}

static void prepare_entries(void *bytes, const struct placement *placement)
{
	struct key_entry *entries = bytes;

	for (uint32_t i = 0; i < placement->count; i++) {
		primitive_prepare_header(&entries[i].lock.header, placement);
		entries[i].lock.header.index = i;
	}
}

static int place(struct lh_arena *arena, const struct placement *wanted,
		 void (*prepare)(void *bytes, const struct placement *placement),
		 uint64_t *ret_offset)
{
	const int error = placement_at(arena, wanted, prepare, ret_offset, NULL);

	if (error == -ENOSPC || error == -EEXIST)
		return error_detail(error, "no room in the arena for a table of named locks");
	return error;
}

int keys_open(struct lh_arena *arena, struct keys *ret_keys)
{
	struct keys keys = { .arena = arena, .entry_count = entries_for(arena) };
	const uint64_t heads = primitive_lines((uint64_t)keys.entry_count * KEY_BUCKETS_PER_ENTRY *
					       sizeof(shared_u64));
	const uint64_t floors = primitive_lines(keys.entry_count * sizeof(shared_u64));
	struct placement entries = { .offset = LH_ANYWHERE,
				     .size = keys.entry_count * sizeof(struct key_entry),
				     .data_size = sizeof(struct key_entry) -
						  sizeof(struct rwlock_object),
				     .kind = LH_KIND_RWLOCK,
				     .count = keys.entry_count,
				     .name = ENTRIES_NAME };
	struct placement table = { .offset = LH_ANYWHERE,
				   .kind = LH_KIND_REGION,
				   .name = TABLE_NAME };
	uint64_t offset;
	int error;

	if (keys.entry_count < KEYS_LEAST)
		return error_detail(-ENOSPC, "the arena is too small for named locks");
	keys.block_count = (keys.entry_count + ENTRIES_PER_BLOCK - 1) / ENTRIES_PER_BLOCK;
	table.size = sizeof(struct key_table) + heads + floors +
		     keys.block_count * sizeof(struct key_block);
	error = place(arena, &entries, prepare_entries, &offset);
	if (error)
		return error;
	keys.entries = (struct key_entry *)(arena->base + offset);
	error = place(arena, &table, NULL, &offset);
	if (error)
		return error;
	keys.table = (struct key_table *)(arena->base + offset);
	keys.heads = (shared_u64 *)(keys.table + 1);
	keys.floors = keys.heads + heads / sizeof(shared_u64);
	keys.blocks = (struct key_block *)((uint8_t *)keys.floors + floors);
	*ret_keys = keys;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Beginning one

static uint64_t user_bit(const struct lh_lease *lease)
{
	return UINT64_C(1) << lease->index % 64;
}

static __attribute__((cold)) int no_holds(const struct keys *keys)
{
	return error_detail(-ENOLCK,
			    "a lease of this arena has at most %u keys at once: acquire fewer, or "
			    "create the arena with more max_holds (lh_arena_open) first",
			    keys->arena->max_holds);
}

// The record by which the lease refers to the entry. NULL: it has max_holds.
static struct hold_record *record_entry(const struct keys *keys, struct lh_lease *lease,
					struct key_entry *entry)
{
	const uint64_t word = rwlock_record(keys_granule(keys, entry), LH_HOLD_INTENT, 1);

	// Before the record: who looks for records looks for bits first.
	if (!(atomic_load_explicit(&entry->users, memory_order_relaxed) & user_bit(lease)))
		atomic_fetch_or(&entry->users, user_bit(lease));
	return hold_insert(lease, word);
}

// An entry taken for a new tenancy, which is not linked yet.
struct draft {
	struct key_entry *entry;
	struct hold_record *record;
	uint64_t tenancy; // USED, no tries
};

// FREE → USED, under a record. -EAGAIN: another was faster.
static int take_entry(const struct keys *keys, struct lh_lease *lease, struct key_entry *entry,
		      struct draft *ret_draft)
{
	uint64_t state = atomic_load(&entry->state);
	struct hold_record *record;

	if (key_phase(state) != KEY_FREE)
		return -EAGAIN;
	record = record_entry(keys, lease, entry);
	if (!record)
		return no_holds(keys);
	*ret_draft = (struct draft){ entry, record,
				     key_state(KEY_USED, (state + 1) & KEY_TENANCY_MASK) };
	// A crash before: a record of the dead; after: an entry of nobody's, that is not linked.
	if (atomic_compare_exchange_strong(&entry->state, &state, ret_draft->tenancy))
		return 0;
	hold_clear(record);
	return -EAGAIN;
}

// Looks at each entry once, and at those that tell of damage only if there is no other.
static int draft_entry(const struct keys *keys, struct lh_lease *lease, struct draft *ret_draft)
{
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < keys->entry_count; i++) {
			const uint64_t hand = atomic_fetch_add(&keys->table->hand, 1);
			struct key_entry *entry = &keys->entries[hand % keys->entry_count];
			int error;

			if (!keys_retire(keys, entry, pass))
				continue;
			error = take_entry(keys, lease, entry, ret_draft);
			if (error != -EAGAIN)
				return error;
		}
	}
	return error_detail(-ENOSPC, "all %u keys of the arena are in use", keys->entry_count);
}

// Not linked: nobody else refers to it.
static void give_up(const struct draft *draft)
{
	uint64_t state = atomic_load(&draft->entry->state);

	// USED or RETIRING → FREE. A crash before: an entry of nobody's.
	while (!atomic_compare_exchange_weak(&draft->entry->state, &state,
					     key_state(KEY_FREE, draft->tenancy)))
		;
	hold_clear(draft->record);
}

// The entry whose block it is; NULL: the block is free.
static struct key_entry *block_user(const struct keys *keys, uint64_t owner)
{
	const uint32_t number = (uint32_t)owner;
	struct key_entry *entry;
	uint64_t state;

	if (!number || number > keys->entry_count)
		return NULL;
	entry = &keys->entries[number - 1];
	state = atomic_load(&entry->state);
	return key_phase(state) != KEY_FREE && (state & KEY_TENANCY_MASK) == owner >> 32 ? entry
											 : NULL;
}

// A block for the draft's key: *ret_block is its number + 1.
static int take_block(const struct keys *keys, const struct draft *draft, uint32_t *ret_block)
{
	const uint32_t index = keys_index(keys, draft->entry);
	const uint64_t own = (draft->tenancy & KEY_TENANCY_MASK) << 32 | (index + 1);

	for (int pass = 0; pass < 3; pass++) {
		for (uint32_t i = 0; i < keys->block_count; i++) {
			const uint32_t at = (index / ENTRIES_PER_BLOCK + i) % keys->block_count;
			uint64_t owner = atomic_load(&keys->blocks[at].owner);
			struct key_entry *user = block_user(keys, owner);

			if (user && (!pass || !keys_retire(keys, user, pass == 2)))
				continue;
			// A tenancy that is over, or none → ours. A crash after it: ours is over.
			if (atomic_compare_exchange_strong(&keys->blocks[at].owner, &owner, own)) {
				*ret_block = at + 1;
				return 0;
			}
		}
	}
	return error_detail(-ENOSPC, "all %u long keys of the arena are in use", keys->block_count);
}

// The entry is the draft's alone, but for those who look for records and stragglers of old
// tenancies.
static int write_entry(const struct keys *keys, const struct lh_lease *lease,
		       const struct draft *draft, const struct key_wanted *wanted)
{
	struct key_entry *entry = draft->entry;
	const size_t words = key_words(wanted->size);
	shared_u64 *bytes = entry->bytes;
	uint32_t block = 0;
	int error = 0;

	if (words > KEY_INLINE_WORDS)
		error = take_block(keys, draft, &block);
	if (error)
		return error;
	if (block)
		bytes = keys->blocks[block - 1].bytes;
	for (size_t i = 0; i < words; i++)
		atomic_store_explicit(&bytes[i], key_word(wanted, i), memory_order_relaxed);
	atomic_store_explicit(&entry->block, block, memory_order_relaxed);
	atomic_store_explicit(&entry->size, (uint32_t)wanted->size, memory_order_relaxed);
	atomic_store_explicit(&entry->hash, wanted->hash, memory_order_relaxed);
	atomic_store_explicit(&entry->users, user_bit(lease), memory_order_relaxed);
	for (size_t i = 0; i < RWLOCK_MAP_WORDS; i++)
		atomic_store_explicit(&entry->lock.readers[i], 0, memory_order_relaxed);
	atomic_store_explicit(rwlock_reader_words(&entry->lock), 0, memory_order_relaxed);
	// Who still waits for the key that was here looks for it anew: a reader may have let go of
	// it without being in time for its word.
	rwlock_poke(keys->arena, &entry->lock);
	atomic_store_explicit(&entry->lock.pending, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->lock.header.heir, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->lock.header.permits, wanted->permits, memory_order_relaxed);
	return 0;
}

// Puts the draft in front of its bucket, whose head was `head` when a walk that did not find the
// key began. False: the head has changed.
static bool link_entry(const struct keys *keys, const struct draft *draft, uint64_t hash,
		       uint64_t head)
{
	struct key_entry *entry = draft->entry;
	const uint64_t floor = atomic_load(keys_floor(keys, hash));
	const uint64_t word = atomic_load(&entry->lock.header.word);
	const uint64_t token = word_token(word) > word_token(floor) ? word_token(word)
								    : word_token(floor);

	// Entries have no bias; readers may enter (src/rwlock_modes.h).
	atomic_store_explicit(&entry->lock.header.word,
			      token << WORD_TOKEN_SHIFT | (floor & WORD_DIED),
			      memory_order_relaxed);
	atomic_store_explicit(
		&entry->next,
		key_link(atomic_load_explicit(&entry->next, memory_order_relaxed) & ~KEY_LINK_MARK,
			 head),
		memory_order_relaxed);
	// A crash before: an entry of nobody's, not linked; after: a key's that nobody refers to.
	return atomic_compare_exchange_strong(keys_head(keys, hash), &head,
					      key_link(head, keys_index(keys, entry) + 1ul));
}

// The key had no entry. -EAGAIN: by now it has.
static int make(const struct keys *keys, struct lh_lease *lease, const struct key_wanted *wanted,
		struct hold_record **ret_record)
{
	struct draft draft;
	struct key_found found;
	int error = draft_entry(keys, lease, &draft);

	if (error)
		return error;
	error = write_entry(keys, lease, &draft, wanted);
	for (int i = 0; !error; i++) {
		if (i == LINKS_MOST) {
			error = -EAGAIN;
			break;
		}
		error = keys_walk(keys, wanted->hash, wanted, &found);
		if (!error && found.entry)
			error = -EAGAIN;
		if (!error && link_entry(keys, &draft, wanted->hash, found.head)) {
			*ret_record = draft.record;
			return 0;
		}
	}
	give_up(&draft);
	return error;
}

// ---------------------------------------------------------------------------------------------

// The entry had the key. Under a record it keeps it. -EAGAIN: it has not any more.
static int confirm(const struct keys *keys, struct lh_lease *lease, const struct key_found *found,
		   struct hold_record **ret_record)
{
	struct key_entry *entry = found->entry;
	struct hold_record *record = record_entry(keys, lease, entry);
	uint64_t state;

	if (!record)
		return no_holds(keys);
	atomic_thread_fence(memory_order_seq_cst); // pairs with that in retire_used
	state = atomic_load(&entry->state);
	// RETIRING → USED: whoever looks for records may have passed ours by.
	while (!((state ^ found->state) & KEY_TENANCY_MASK) && key_phase(state) == KEY_RETIRING) {
		if (atomic_compare_exchange_weak(&entry->state, &state,
						 key_state(KEY_USED, state + KEY_TRY_ONE)))
			state = key_state(KEY_USED, state);
	}
	if (!((state ^ found->state) & KEY_TENANCY_MASK) && key_phase(state) == KEY_USED) {
		*ret_record = record;
		return 0;
	}
	hold_clear(record);
	return -EAGAIN;
}

// The key's entry has other permits: it must not be anybody's, and then the key gets another one.
// -EAGAIN: look again; -EINVAL: somebody refers to it.
static int change_permits(const struct keys *keys, const struct key_found *found,
			  const struct key_wanted *wanted, int *tries)
{
	if (keys_retire(keys, found->entry, true) || ++*tries < MAX_TRIES_TO_RETIRE)
		return -EAGAIN;
	if (!found->permits)
		return error_detail(-EINVAL, "the key is in use as a lock, without max_holders");
	return error_detail(-EINVAL, "the key is in use with max_holders %u, not %u",
			    found->permits, wanted->permits);
}

static int refer_once(const struct keys *keys, struct lh_lease *lease,
		      const struct key_wanted *wanted, int *tries, struct hold_record **ret_record)
{
	struct key_found found;
	const int error = keys_walk(keys, wanted->hash, wanted, &found);

	if (error)
		return error;
	if (found.entry && found.permits != wanted->permits)
		return change_permits(keys, &found, wanted, tries);
	return found.entry ? confirm(keys, lease, &found, ret_record)
			   : make(keys, lease, wanted, ret_record);
}

// Overtaken for the `rounds`th time: whether the call goes on. 0, or what ends it.
static int check_patience(const struct lh_lease *lease, lh_deadline deadline, uint32_t rounds)
{
	if (rounds >= ROUNDS_MOST)
		return error_detail(-EBADMSG, "the table of named locks changes without end");
	if (lease_check_cancel(lease))
		return -ECANCELED;
	if (deadline.ns == LH_NOW.ns)
		return rounds < ROUNDS_NOW ? 0 : -EBUSY;
	return clock_now() < deadline.ns ? 0 : -ETIMEDOUT;
}

int keys_refer_wanted(const struct keys *keys, struct lh_lease *lease,
		      const struct key_wanted *wanted, lh_deadline deadline,
		      struct hold_record **ret_record)
{
	int error, tries = 0;

	for (uint32_t rounds = 1;; rounds++) {
		error = refer_once(keys, lease, wanted, &tries, ret_record);
		if (error != -EAGAIN)
			return error;
		error = check_patience(lease, deadline, rounds);
		if (error)
			return error;
	}
}

// ---------------------------------------------------------------------------------------------
// Versions

// Twice the token, of which an owner counts up the last: not yet while it does not write, and by
// one while it does. False: `word` is not the entry's any more. A lost owner is cleared up behind.
static bool version_of(const struct keys *keys, const struct key_entry *entry, uint64_t word,
		       uint64_t *ret_version)
{
	struct lh_arena *arena = keys->arena;
	const uint32_t owner = word_owner(word);
	uint64_t version = 2 * word_token(word);

	if (owner && owner <= arena->lease_count) {
		if (lease_state_seen(arena, owner - 1, clock_now()) != LH_LEASE_LIVE)
			reap_slot(arena, owner - 1);
		version -= rwlock_mode_seen(arena, owner - 1, keys_granule(keys, entry)) ==
					   LH_HOLD_EXCLUSIVE
				   ? 1
				   : 2;
	}
	*ret_version = version;
	return atomic_load(&entry->lock.header.word) == word;
}

int keys_version(const struct keys *keys, const void *key, size_t size, uint64_t *ret_version)
{
	const struct key_wanted wanted = { key, size, hash_bytes(key, size), 0 };
	struct key_found found;

	// What was read before is not read later than the version: pairs with the fence in
	// become_writer, which stands between a record that says EXCLUSIVE and what is written
	// under it.
	atomic_thread_fence(memory_order_acquire);
	for (uint32_t rounds = 0; rounds < ROUNDS_MOST; rounds++) {
		const int error = keys_walk(keys, wanted.hash, &wanted, &found);

		if (error == -EAGAIN)
			continue;
		if (error)
			return error;
		if (!found.entry) {
			// After the walk: an entry that was taken out of the bucket raised this
			// before.
			*ret_version = 2 * word_token(atomic_load(keys_floor(keys, wanted.hash)));
			return 0;
		}
		if (version_of(keys, found.entry, atomic_load(&found.entry->lock.header.word),
			       ret_version) &&
		    !((atomic_load(&found.entry->state) ^ found.state) & KEY_TENANCY_MASK))
			return 0;
	}
	return error_detail(-EBADMSG, "the table of named locks changes without end");
}
