// SPDX-License-Identifier: Apache-2.0
//
// slots.h: values that many read while one replaces them: what a watch and a cell have in common.
//
// An object has a word and several slots (layout.h). The word names the lease that may publish and
// the slot that has the newest value. A new value is written into another slot, which the writer
// has tagged with its lease's id before, and published by one CAS of the word. So
//
//  - a value that the word names is never written to: who reads and finds the same word afterwards
//    has read it whole;
//  - a writer that ends half-way leaves a tagged slot that no word names;
//  - a writer that was only stopped, and replaced, may write on for as long as it runs: nobody else
//    uses the slot it has tagged until its owner has ended or has released the lease.
//
// word, 64 bits, of which the low half is the futex that waiters sleep on:
//
//	63..19  token   + 1 with every grant and, of a watch, with every publication, in the same CAS.
//	                It is never used again: what stalled with an old word changes nothing. A token
//	                set back would be fatal.
//	18..15  slot    that has the newest value. A wrong one shows a value that was never committed,
//	                or is being written: fatal.
//	14      MARK    of a cell: somebody may sleep on the word, letting go wakes all. Wrongly set: a
//	                needless system call. Wrongly clear: a sleeper looks at its backstop.
//	13..0   owner   lease slot + 1 of who may publish, 0: nobody. A wrong one is fatal.
//
// A value's sequence is even and its own; the second look (the same word again) makes it the named
// one's. While it stays so, the slot has not been written to either, even if the word has moved on.
#ifndef SRC_SLOTS_H
#define SRC_SLOTS_H

#include "arena/reap.h"
#include "src/copy.h"
#include "arena/error.h"
#include "src/primitive.h"

#include <errno.h>

#define SLOTS_OWNER_MASK UINT64_C(0x3fff)
#define SLOTS_MARK (UINT64_C(1) << 14)
#define SLOTS_SLOT_SHIFT 15
#define SLOTS_SLOT_MASK UINT64_C(0xf)
#define SLOTS_TOKEN_SHIFT 19
#define SLOTS_TOKEN_ONE (UINT64_C(1) << SLOTS_TOKEN_SHIFT)
#define SLOTS_TOKEN_MAX (UINT64_MAX >> SLOTS_TOKEN_SHIFT)

#define SLOTS_LEAST 2u
#define SLOTS_DEFAULT 4u
#define SLOTS_MOST 16u

static inline uint32_t slots_word_owner(uint64_t word)
{
	return (uint32_t)(word & SLOTS_OWNER_MASK);
}

static inline uint32_t slots_word_slot(uint64_t word)
{
	return (uint32_t)(word >> SLOTS_SLOT_SHIFT & SLOTS_SLOT_MASK);
}

static inline uint64_t slots_word_token(uint64_t word)
{
	return word >> SLOTS_TOKEN_SHIFT;
}

static inline uint64_t slots_word_freed(uint64_t word)
{
	return word & ~(SLOTS_OWNER_MASK | SLOTS_MARK);
}

static inline uint64_t slots_word_with_slot(uint64_t word, uint32_t slot)
{
	return (word & ~(SLOTS_SLOT_MASK << SLOTS_SLOT_SHIFT)) | (uint64_t)slot << SLOTS_SLOT_SHIFT;
}

// What a slot says while its lease's user writes to it.
static inline uint64_t slots_tag_of(uint64_t lease_id)
{
	return lease_id << 1 | 1;
}

#define SLOTS_SMALL sizeof(uint64_t) // values that are one atomic word in the slot's own line

// Bytes from one slot to the next.
static inline uint64_t slots_stride_of(uint64_t max_size)
{
	return LAYOUT_LINE + (max_size > SLOTS_SMALL ? primitive_lines(max_size) : 0);
}

// An object, as a handle describes it: [0] to [2] as in primitive.h, [3] slots << 56 | largest size.
struct slots {
	struct lh_arena *arena;
	struct object_header *header;
	uint64_t record; // what a lease that may publish writes down
	uint32_t granule;
	uint32_t count;
	uint64_t max_size;
	uint64_t stride;
};

#define SLOTS_COUNT_SHIFT 56
#define SLOTS_SIZE_MASK ((UINT64_C(1) << SLOTS_COUNT_SHIFT) - 1)

static inline struct slots slots_of(const uint64_t handle[4])
{
	return (struct slots){ .arena = primitive_arena(handle),
			       .header = primitive_header(handle),
			       .record = handle[2],
			       .granule = primitive_granule(handle),
			       .count = (uint32_t)(handle[3] >> SLOTS_COUNT_SHIFT),
			       .max_size = handle[3] & SLOTS_SIZE_MASK,
			       .stride = slots_stride_of(handle[3] & SLOTS_SIZE_MASK) };
}

static inline struct value_slot *slots_slot(const struct slots *slots, uint32_t index)
{
	return (struct value_slot *)((uint8_t *)(slots->header + 1) + index * slots->stride);
}

// What an object is to be.
struct slots_options {
	uint32_t kind;  // LH_KIND_WATCH or LH_KIND_CELL
	uint32_t slots; // 0: the default
	uint64_t size;  // of the largest value
	const char *name;
	const uint64_t *reserved; // 4, which are 0
};

// The bytes it takes; 0: the options are invalid, which is noted for lh_error_detail.
uint64_t slots_footprint(const struct slots_options *options);
// Creates or attaches, as primitive_at, and writes the whole handle. NULL for `arena` or
// `ret_handle` and invalid options are -EINVAL.
int slots_at(struct lh_arena *arena, uint64_t offset, const struct slots_options *options,
	     uint64_t ret_handle[4]);

// ---- reading. Writes nothing shared; async-signal-safe.

// 0, or why a handle cannot be used: -EINVAL, -EBADMSG.
static inline int slots_check(const uint64_t handle[4], uint32_t kind)
{
	if (!likely(handle[0]))
		return error_text(-EINVAL, "the handle is all-zero: it was never placed");
	if (!likely(primitive_header(handle)->kind == kind)) {
		error_note_nothing();
		return -EBADMSG;
	}
	return 0;
}

// What the word names, and what that slot says, of one moment.
struct slots_look {
	uint64_t word;
	const struct value_slot *slot;
	uint64_t sequence, version, size;
};

// 0; -EAGAIN: the word has changed meanwhile; -EBADMSG.
static inline int slots_look(const struct slots *slots, struct slots_look *look)
{
	const struct object_header *header = slots->header;

	// Pairs with the publishing CAS.
	look->word = atomic_load_explicit(&header->word, memory_order_acquire);
	if (slots_word_slot(look->word) >= slots->count)
		return -EBADMSG;
	look->slot = slots_slot(slots, slots_word_slot(look->word));
	look->sequence = atomic_load_explicit(&look->slot->sequence, memory_order_acquire);
	look->version = atomic_load_explicit(&look->slot->version, memory_order_relaxed);
	look->size = atomic_load_explicit(&look->slot->size, memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	// The second look: without it the slot may be a later value's that nobody published.
	return atomic_load_explicit(&header->word, memory_order_relaxed) == look->word ? 0
										       : -EAGAIN;
}

// Whether the slot has not been written to since the look. What was copied before is then whole.
static inline bool slots_is_unchanged(const struct slots *slots, const struct slots_look *look)
{
	// Pairs with the release fence in slots_write: who has read a byte of a later value sees
	// the odd sequence, and the word that let it be written.
	atomic_thread_fence(memory_order_acquire);
	if (!(look->sequence & 1) &&
	    atomic_load_explicit(&look->slot->sequence, memory_order_relaxed) == look->sequence)
		return true;
	return atomic_load_explicit(&slots->header->word, memory_order_relaxed) == look->word;
}

static inline void slots_copy_out(const struct slots *slots, const struct value_slot *slot,
				  void *buffer, size_t size)
{
	uint64_t small;

	if (slots->max_size > SLOTS_SMALL) {
		copy_from_shared(buffer, slot + 1, size);
		return;
	}
	small = atomic_load_explicit(&slot->small, memory_order_relaxed);
	if (size == sizeof(small))
		memcpy(buffer, &small, sizeof(small));
	else
		memcpy(buffer, &small, size);
}

// One try to copy the newest value: of a cell all bytes, of a watch as many as were sent. 0: *ret_look
// says what it was; -EAGAIN: overtaken; -ENODATA: a watch that nothing was ever sent to; -EMSGSIZE;
// -EBADMSG.
static inline int slots_try_read(const struct slots *slots, bool is_cell, void *buffer,
				 size_t capacity, struct slots_look *ret_look)
{
	const int error = slots_look(slots, ret_look);

	if (error)
		return error;
	if (is_cell)
		ret_look->size = slots->max_size;
	else if (ret_look->version == 0)
		return -ENODATA;
	if (ret_look->size > slots->max_size)
		return -EBADMSG;
	if (ret_look->size > capacity)
		return -EMSGSIZE;
	slots_copy_out(slots, ret_look->slot, buffer, ret_look->size);
	return slots_is_unchanged(slots, ret_look) ? 0 : -EAGAIN;
}

// The same, tried again for as long as it was overtaken, within reason (then -EBADMSG).
int slots_read(const struct slots *slots, bool is_cell, void *buffer, size_t capacity,
	       struct slots_look *ret_look);
// The newest value's version. 0; -EBADMSG.
int slots_version(const struct slots *slots, uint64_t *ret_version);

// ---- who may publish

// The word is nobody's: makes it the lease's, with the next token, and writes the record. 0;
// -EAGAIN: the word has changed; -ENOLCK; -EOVERFLOW; -ESTALE: the lease was lost meanwhile.
int slots_take(const struct slots *slots, struct lh_lease *lease, uint64_t word,
	       uint64_t *ret_word);
// Judges who `word` names: primitive_judge_owner.
static inline int slots_judge(const struct slots *slots, uint64_t word, bool told,
			      struct primitive_stuck *stuck, uint64_t *until)
{
	return primitive_judge_owner(slots->arena, slots->header, word, slots->record, told, stuck,
				     until);
}
// Lets go, wakes, clears the record (may be NULL). 0; -EPERM: not the lease's; -ESTALE.
int slots_let_go(const struct slots *slots, struct lh_lease *lease, struct hold_record *record);

// ---- writing, by who owns `word`

// 0: the slot may be written to; -EBUSY: no slot is free of lost writers that live; -EAGAIN: the
// word is not the lease's any more.
int slots_tag(const struct slots *slots, const struct lh_lease *lease, uint64_t word,
	      uint32_t *ret_slot);
// Whether slots_tag would find one.
bool slots_any_free(const struct slots *slots, uint64_t word);
// Writes the value that follows the one `word` names, and makes the sequence even: `token`'s.
void slots_write(const struct slots *slots, uint64_t word, uint32_t slot, uint64_t token,
		 const void *value, size_t size);
void slots_wake(const struct slots *slots);

// ---- what the arena asks (kind.h)

bool slots_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);
int slots_release(struct lh_lease *lease, struct hold_record *record);
int64_t slots_owner(const struct lh_arena *arena, uint32_t granule);
void slots_view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		struct hold_view *ret_view);
bool slots_show(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info);
bool slots_busy(const struct lh_arena *arena, uint32_t granule);

#endif
