// SPDX-License-Identifier: Apache-2.0
//
// docs/protocol/slots.md has the table of steps with the outcome of a crash at each;
// tests/model/slots.pml is the model of both.
#include "src/slots.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/owner.h"
#include "arena/sys/futex.h"

#include <string.h>

// A try fails only if all other slots were published between its begin and its end.
#define MAX_TRIES 1000

// ---------------------------------------------------------------------------------------------
// Placing

static uint32_t slot_count(const struct slots_options *options)
{
	return options->slots ? options->slots : SLOTS_DEFAULT;
}

static int check_options(const struct slots_options *options)
{
	const uint32_t count = slot_count(options);
	const char *kind = lh_kind_name(options->kind);

	if (primitive_check_options(options->kind, options->reserved, 0, 0, options->name))
		return -EINVAL;
	if (options->size == 0 || options->size > LAYOUT_MAX_SIZE)
		return error_detail(-EINVAL, "%s options: values of %llu bytes", kind,
				    (unsigned long long)options->size);
	if (count < SLOTS_LEAST || count > SLOTS_MOST)
		return error_detail(-EINVAL, "%s options: %u slots; at least %u, at most %u", kind,
				    count, SLOTS_LEAST, SLOTS_MOST);
	return 0;
}

uint64_t slots_footprint(const struct slots_options *options)
{
	uint64_t footprint;

	if (check_options(options))
		return 0;
	footprint = LAYOUT_LINE + slot_count(options) * slots_stride_of(options->size);
	return footprint > SIZE_MAX ? 0 : footprint;
}

int slots_at(struct lh_arena *arena, uint64_t offset, const struct slots_options *options,
	     uint64_t ret_handle[4])
{
	const struct placement wanted = { .offset = offset,
					  .size = slots_footprint(options),
					  .data_size = options->size,
					  .kind = options->kind,
					  .parameter = slot_count(options),
					  .name = options->name };
	int error;

	if (!arena || !ret_handle)
		return error_detail(-EINVAL, "arena or ret_%s is NULL",
				    lh_kind_name(options->kind));
	if (!wanted.size)
		return -EINVAL;
	error = primitive_at(arena, &wanted, NULL, ret_handle);
	if (!error)
		ret_handle[3] = (uint64_t)wanted.parameter << SLOTS_COUNT_SHIFT | options->size;
	return error;
}

// ---------------------------------------------------------------------------------------------
// Reading

int slots_version(const struct slots *slots, uint64_t *ret_version)
{
	struct slots_look look;
	int error = -EAGAIN;

	for (int i = 0; error == -EAGAIN && i < MAX_TRIES; i++)
		error = slots_look(slots, &look);
	if (!error)
		*ret_version = look.version;
	return error == -EAGAIN ? -EBADMSG : error;
}

int slots_read(const struct slots *slots, bool is_cell, void *buffer, size_t capacity,
	       struct slots_look *ret_look)
{
	int error = -EAGAIN;

	for (int i = 0; error == -EAGAIN && i < MAX_TRIES; i++)
		error = slots_try_read(slots, is_cell, buffer, capacity, ret_look);
	return error == -EAGAIN ? -EBADMSG : error;
}

// ---------------------------------------------------------------------------------------------
// Writing

// Whether the lease whose tag this is has let go of the slot for good: its owner has ended, or has
// released it (an owner in the middle of a call cannot).
static bool writer_is_gone(const struct lh_arena *arena, uint64_t tag)
{
	const uint32_t index = (uint32_t)(tag >> 1) & ((1u << LEASE_SLOT_BITS) - 1);
	const struct lease_slot *lease;
	enum lease_state state;

	if (index >= arena->lease_count)
		return true; // not what the library writes
	lease = &arena->leases[index];
	if (slots_tag_of(atomic_load_explicit(&lease->id, memory_order_acquire)) != tag)
		return true;
	state = lease_word_state(atomic_load_explicit(&lease->state, memory_order_acquire));
	return state == LEASE_FREE || state == LEASE_DEAD ||
	       owner_ended(arena, atomic_load_explicit(&lease->owner, memory_order_acquire));
}

static bool may_be_tagged(const struct slots *slots, uint64_t sequence, uint64_t own_tag)
{
	return !(sequence & 1) || sequence == own_tag || writer_is_gone(slots->arena, sequence);
}

static bool is_same_but_mark(uint64_t one, uint64_t other)
{
	return ((one ^ other) & ~SLOTS_MARK) == 0;
}

int slots_tag(const struct slots *slots, const struct lh_lease *lease, uint64_t word,
	      uint32_t *ret_slot)
{
	const uint64_t tag = slots_tag_of(lh_lease_id(lease));

	for (uint32_t i = 1; i < slots->count; i++) {
		const uint32_t index = (slots_word_slot(word) + i) % slots->count;
		shared_u64 *sequence = &slots_slot(slots, index)->sequence;
		uint64_t before = atomic_load_explicit(sequence, memory_order_acquire);
		uint64_t mine = tag;

		if (!may_be_tagged(slots, before, tag))
			continue;
		// {even, or a tag of the dead} → mine. A crash before: nothing; after: the next
		// writer takes it from the dead.
		if (!atomic_compare_exchange_strong(sequence, &before, tag))
			continue;
		// Only now is it sure that nobody publishes this slot: if the word is still ours,
		// no other can have begun before we tagged.
		if (is_same_but_mark(atomic_load(&slots->header->word), word)) {
			*ret_slot = index;
			return 0;
		}
		// Replaced meanwhile, and this may be the newest value: nothing was written to it.
		atomic_compare_exchange_strong(sequence, &mine, before);
		return -EAGAIN;
	}
	return is_same_but_mark(atomic_load(&slots->header->word), word) ? -EBUSY : -EAGAIN;
}

bool slots_any_free(const struct slots *slots, uint64_t word)
{
	for (uint32_t i = 1; i < slots->count; i++) {
		const uint32_t index = (slots_word_slot(word) + i) % slots->count;

		if (may_be_tagged(slots, atomic_load(&slots_slot(slots, index)->sequence), 1))
			return true;
	}
	return false;
}

void slots_write(const struct slots *slots, uint64_t word, uint32_t slot, uint64_t token,
		 const void *value, size_t size)
{
	const uint64_t version = atomic_load_explicit(
		&slots_slot(slots, slots_word_slot(word))->version, memory_order_relaxed);
	struct value_slot *target = slots_slot(slots, slot);

	atomic_thread_fence(memory_order_release); // pairs with the acquire fence of readers
	atomic_store_explicit(&target->version, version + 1, memory_order_relaxed);
	atomic_store_explicit(&target->size, size, memory_order_relaxed);
	if (slots->max_size > SLOTS_SMALL) {
		copy_to_shared(target + 1, value, size);
	} else {
		uint64_t small = 0;

		if (size)
			memcpy(&small, value, size);
		atomic_store_explicit(&target->small, small, memory_order_relaxed);
	}
	// A crash before: tagged by the dead. After: as good as never used.
	atomic_store_explicit(&target->sequence, token << 1, memory_order_release);
}

// ---------------------------------------------------------------------------------------------
// Who may publish

void slots_wake(const struct slots *slots)
{
	futex_wake(futex_low_half(&slots->header->word), FUTEX_ALL);
}

// The lease's → nobody's. False: it is not the lease's.
static bool give_back(const struct slots *slots, const struct lh_lease *lease)
{
	uint64_t word = atomic_load_explicit(&slots->header->word, memory_order_relaxed);

	do {
		if (slots_word_owner(word) != lease->name)
			return false;
	} while (
		!atomic_compare_exchange_weak(&slots->header->word, &word, slots_word_freed(word)));
	// Of a cell, MARK tells whether somebody sleeps; receivers of a watch always may.
	if (slots->header->kind == LH_KIND_WATCH || (word & SLOTS_MARK))
		slots_wake(slots);
	return true;
}

int slots_take(const struct slots *slots, struct lh_lease *lease, uint64_t word, uint64_t *ret_word)
{
	const uint64_t taken = slots_word_freed(word) + SLOTS_TOKEN_ONE + lease->name;
	struct hold_record *record;

	if (slots_word_token(word) == SLOTS_TOKEN_MAX)
		return -EOVERFLOW;
	record = hold_insert(lease, slots->record);
	if (!record)
		return -ENOLCK;
	// {0, t} → {ours, t + 1}. A crash before: an intent; after: a lost owner.
	if (!atomic_compare_exchange_strong(&slots->header->word, &word, taken)) {
		hold_clear(record);
		return -EAGAIN;
	}
	// Lost meanwhile: reapers may have passed over the object.
	if (lease_check(lease)) {
		give_back(slots, lease);
		hold_clear(record);
		return -ESTALE;
	}
	*ret_word = taken;
	return 0;
}

int slots_let_go(const struct slots *slots, struct lh_lease *lease, struct hold_record *record)
{
	int error = lease_check(lease);

	if (!error && !give_back(slots, lease))
		error = primitive_not_held(lease);
	if (!error && record)
		hold_clear(record);
	return error;
}

// ---------------------------------------------------------------------------------------------
// What the arena asks

static struct object_header *header_of(const struct lh_arena *arena, uint64_t record)
{
	struct object_header *header = arena_object(arena, hold_word_granule(record));

	return header && header->kind == hold_word_kind(record) ? header : NULL;
}

bool slots_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint64_t offset = (uint64_t)hold_word_granule(record) * LAYOUT_LINE;
	const bool died = lease_word_state(lost->state) == LEASE_DEAD;
	struct object_header *header = header_of(arena, record);
	uint64_t word;

	if (!header) {
		event_record(arena, LH_EVENT_CORRUPT, lost, offset, record);
		return false;
	}
	word = atomic_load(&header->word);
	while (slots_word_owner(word) == lost->slot + 1 && lease_still_lost(arena, lost)) {
		// theirs → nobody's, by the exact word that was read before it was seen to be still
		// lost. What it had published stays; what it was writing is in no word.
		if (!atomic_compare_exchange_strong(&header->word, &word, slots_word_freed(word)))
			continue;
		event_record(arena, died ? LH_EVENT_OWNER_DIED : LH_EVENT_EXPIRED, lost, offset,
			     slots_word_token(word));
		break;
	}
	// Also for what it may have published or freed without living to wake.
	futex_wake(futex_low_half(&header->word), FUTEX_ALL);
	return false;
}

int slots_release(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load_explicit(&record->object, memory_order_relaxed);
	const struct slots slots = { .arena = lease->arena,
				     .header = header_of(lease->arena, word) };
	int error;

	if (!slots.header)
		return -EBADMSG;
	error = slots_let_go(&slots, lease, record);
	if (error != -EPERM)
		return error;
	hold_clear(record); // an intent
	return 0;
}

int64_t slots_owner(const struct lh_arena *arena, uint32_t granule)
{
	const struct object_header *header = arena_object(arena, granule);

	return header ? (int64_t)slots_word_owner(atomic_load(&header->word)) - 1 : -1;
}

void slots_view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		struct hold_view *ret_view)
{
	const struct object_header *header = arena_object(arena, hold_word_granule(record));
	const uint64_t word = header ? atomic_load(&header->word) : 0;

	*ret_view = (struct hold_view){
		.token = slots_word_token(word),
		.mode = slots_word_owner(word) == slot + 1 ? LH_HOLD_EXCLUSIVE : LH_HOLD_INTENT,
	};
}

bool slots_show(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info)
{
	struct object_header *header = arena_object(arena, granule);
	struct slots slots = { .header = header,
			       .count = header->parameter,
			       .max_size = header->data_size };
	struct slots_look look = { .word = 0 };

	slots.stride = slots_stride_of(slots.max_size <= LAYOUT_MAX_SIZE ? slots.max_size : 0);
	if (slots.count > SLOTS_MOST || slots.max_size > LAYOUT_MAX_SIZE ||
	    !arena_user_offset(arena, granule, LAYOUT_LINE + slots.count * slots.stride))
		return false;
	for (int i = 0; i < 3 && slots_look(&slots, &look) == -EAGAIN; i++) // glimpses will do
		;
	info->token = slots_word_token(look.word);
	info->lost = atomic_load_explicit(&header->lost_lease, memory_order_relaxed);
	if (!look.slot)
		return false;
	info->version = look.version;
	info->data_size = look.version ? look.size : 0;
	if (look.version)
		info->data_offset = (uint64_t)((const uint8_t *)look.slot - arena->base) +
				    (slots.max_size > SLOTS_SMALL
					     ? sizeof(struct value_slot)
					     : offsetof(struct value_slot, small));
	return info->data_size <= slots.max_size;
}

bool slots_busy(const struct lh_arena *arena, uint32_t granule)
{
	struct object_header *header = arena_object(arena, granule);
	struct slots slots = { .header = header,
			       .count = header ? header->parameter : 0,
			       .max_size = header ? header->data_size : 0 };

	if (!header)
		return false;
	if (slots_word_owner(atomic_load(&header->word)))
		return true;
	// A writer that was replaced and still runs would write into whatever stands here next.
	if (slots.count > SLOTS_MOST || slots.max_size > LAYOUT_MAX_SIZE ||
	    !arena_user_offset(arena, granule,
			       LAYOUT_LINE + slots.count * slots_stride_of(slots.max_size)))
		return false; // damaged
	slots.stride = slots_stride_of(slots.max_size);
	for (uint32_t i = 0; i < slots.count; i++) {
		const uint64_t sequence = atomic_load(&slots_slot(&slots, i)->sequence);

		if ((sequence & 1) && !writer_is_gone(arena, sequence))
			return true;
	}
	return false;
}
