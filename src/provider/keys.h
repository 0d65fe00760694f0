// SPDX-License-Identifier: Apache-2.0
//
// keys.h: the hash table of named locks in an arena: which entry is a key's, as long as anybody
// refers to it. docs/protocol/locks.md has the table of steps with the outcome of a crash at each.
//
// An entry is a reader-writer lock with a key. Who refers to it, to take it, to hold it or to wait,
// is said by the hold records of leases alone: a record of the lock, whatever its mode. An entry
// without one may be given to another key. So nobody counts, and what dies is cleared up behind by
// what clears up behind any lease.
//
// state, 64 bits:
//
//	63..62  phase     FREE:     nobody's, in no bucket.
//	                  USED:     a key's; whether it is linked yet is only known to who drafts it.
//	                  RETIRING: somebody looks for records. Who refers makes it USED again.
//	                  RETIRED:  there were none: it leaves its bucket, whoever sees to it.
//	61..32  tries     + 1 whenever it becomes USED from RETIRING: who looked before that must not
//	                  retire it afterwards. Not counted up: fatal.
//	31..0   tenancy   + 1 whenever it becomes USED from FREE. Who has found a key here and finds
//	                  another tenancy looks for the key anew.
//
// head and next, 64 bits:
//
//	63..33  tag       + 1 with every change: who stalled with an old word changes nothing.
//	32      MARK      of next: the entry leaves its bucket; nothing is linked behind it any more.
//	31..0   entry + 1, 0: none
//
// owner of a block, 64 bits: 63..32 tenancy, 31..0 entry + 1 (0: never used). Free unless that
// entry is in that tenancy and not FREE.
#ifndef SRC_PROVIDER_KEYS_H
#define SRC_PROVIDER_KEYS_H

#include "src/hash.h"
#include "src/rwlock_modes.h"

#include <string.h>

#define KEY_PHASE_SHIFT 62
#define KEY_TRY_ONE (UINT64_C(1) << 32)
#define KEY_TRIES_MASK (((UINT64_C(1) << 30) - 1) << 32)
#define KEY_TENANCY_MASK UINT64_C(0xffffffff)
enum key_phase { KEY_FREE = 0, KEY_USED = 1, KEY_RETIRING = 2, KEY_RETIRED = 3 };

#define KEY_LINK_MASK UINT64_C(0xffffffff)
#define KEY_LINK_MARK (UINT64_C(1) << 32)
#define KEY_LINK_TAG_ONE (UINT64_C(1) << 33)

// A table, as a process sees it: constant once opened.
struct keys {
	struct lh_arena *arena;
	struct key_entry *entries;
	struct key_table *table;
	shared_u64 *heads, *floors;
	struct key_block *blocks;
	uint32_t entry_count, block_count;
};

// A key as it is looked for.
struct key_wanted {
	const uint8_t *bytes;
	size_t size;
	uint64_t hash; // hash_bytes of them
	uint32_t permits;
};

// Places the table in the arena, or attaches to it. 0 or a negative errno.
int keys_open(struct lh_arena *arena, struct keys *ret_keys);

// Makes the lease refer to the key's entry, which is found or made: *ret_record says INTENT, and
// until it is cleared the entry stays the key's. It has so many permits; 0: it is a lock. 0;
// -ENOLCK: the lease has max_holds; -ENOSPC: each entry (or, for a long key, each block) is
// referred to; -EINVAL: somebody refers to it as to one with other permits; -EBADMSG. Who is
// overtaken by others' changes goes round until the deadline (-ETIMEDOUT; LH_NOW: -EBUSY, after so
// many rounds as no living others make one go) or the lease's cancel token (-ECANCELED) ends it.
int keys_refer_wanted(const struct keys *keys, struct lh_lease *lease,
		      const struct key_wanted *wanted, lh_deadline deadline,
		      struct hold_record **ret_record);

static inline int keys_refer(const struct keys *keys, struct lh_lease *lease, const void *key,
			     size_t size, uint32_t permits, lh_deadline deadline,
			     struct hold_record **ret_record)
{
	const struct key_wanted wanted = { key, size, hash_bytes(key, size), permits };

	return keys_refer_wanted(keys, lease, &wanted, deadline, ret_record);
}

// lh_key_version. 0; -EBADMSG.
int keys_version(const struct keys *keys, const void *key, size_t size, uint64_t *ret_version);

static inline enum key_phase key_phase(uint64_t state)
{
	return (enum key_phase)(state >> KEY_PHASE_SHIFT);
}

static inline uint64_t key_state(enum key_phase phase, uint64_t rest)
{
	return (uint64_t)phase << KEY_PHASE_SHIFT | (rest & (KEY_TRIES_MASK | KEY_TENANCY_MASK));
}

// ---- what keys.c (placing, referring, making) and keys_list.c (finding, retiring) know of each other

// What a walk along a bucket finds.
struct key_found {
	uint64_t head;           // when the walk began
	struct key_entry *entry; // NULL: the key has none
	uint64_t state;          // the entry's, when it had the key;
	uint32_t permits;        // and these
};

static inline shared_u64 *keys_head(const struct keys *keys, uint64_t hash)
{
	return &keys->heads[(hash >> 32) * keys->entry_count * KEY_BUCKETS_PER_ENTRY >> 32];
}

static inline shared_u64 *keys_floor(const struct keys *keys, uint64_t hash)
{
	return &keys->floors[(hash >> 32) * keys->entry_count >> 32];
}

// In a large table no cache has the two lines of an entry that are wanted. They come together, or
// one takes as long as the other once more.
static inline void keys_fetch(const struct key_entry *entry)
{
	__builtin_prefetch((const void *)&entry->next);
	__builtin_prefetch((const void *)&entry->lock.header, 1);
}

// The same for a key that will be looked for: its bucket; and then, after whatever else there was to
// do, the entry that the bucket begins with. They are on their way meanwhile.
static inline void keys_expect(const struct keys *keys, uint64_t hash)
{
	__builtin_prefetch((const void *)keys_head(keys, hash));
}

static inline void keys_expect_entry(const struct keys *keys, uint64_t hash)
{
	const uint64_t link = atomic_load_explicit(keys_head(keys, hash), memory_order_relaxed);
	const uint32_t number = (uint32_t)(link & KEY_LINK_MASK);

	if (number && number <= keys->entry_count)
		keys_fetch(&keys->entries[number - 1]);
}

static inline uint32_t keys_index(const struct keys *keys, const struct key_entry *entry)
{
	return (uint32_t)(entry - keys->entries);
}

static inline uint32_t keys_granule(const struct keys *keys, const struct key_entry *entry)
{
	return arena_granule((uint64_t)((const uint8_t *)entry - keys->arena->base));
}

// Eight bytes of a key, beyond its end zeroes.
static inline uint64_t key_word(const struct key_wanted *wanted, size_t index)
{
	const size_t left = wanted->size - index * sizeof(uint64_t);
	uint64_t word = 0;

	memcpy(&word, wanted->bytes + index * sizeof(word),
	       left < sizeof(word) ? left : sizeof(word));
	return word;
}

static inline size_t key_words(size_t size)
{
	return (size + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

// A link to where `link` leads, in place of `before`.
static inline uint64_t key_link(uint64_t before, uint64_t link)
{
	return (before & ~(KEY_LINK_TAG_ONE - 1)) + KEY_LINK_TAG_ONE + (link & KEY_LINK_MASK);
}

// Walks along the bucket of `hash`, taking out what is marked: *ret_found says whose entry `wanted`
// is; wanted NULL: to its end. 0; -EAGAIN: overtaken too often; -EBADMSG.
int keys_walk(const struct keys *keys, uint64_t hash, const struct key_wanted *wanted,
	      struct key_found *ret_found);

// Ends the entry's tenancy if nobody refers to it; if it is damaged only with `damaged_too`.
// Whether it is free.
bool keys_retire(const struct keys *keys, struct key_entry *entry, bool damaged_too);

#endif
