// SPDX-License-Identifier: Apache-2.0
#include "src/primitive.h"

#include "arena/error.h"
#include "arena/wait.h"

#include <errno.h>

int primitive_check_options(uint32_t kind, const uint64_t reserved[4], unsigned flags,
			    unsigned known, const char *name)
{
	for (size_t i = 0; i < 4; i++) {
		if (reserved[i])
			return error_detail(-EINVAL, "%s options: reserved is not 0",
					    lh_kind_name(kind));
	}
	if (flags & ~known)
		return error_detail(-EINVAL, "%s options: unknown flags 0x%x", lh_kind_name(kind),
				    flags);
	return name ? placement_check_name(name) : 0;
}

void primitive_prepare_header(struct object_header *header, const struct placement *placement)
{
	header->kind = placement->kind;
	header->data_size = placement->data_size;
	header->flags = placement->flags;
	header->parameter = placement->parameter;
}

static void prepare_single(void *bytes, const struct placement *placement)
{
	primitive_prepare_header(bytes, placement);
}

void primitive_handle(const struct lh_arena *arena, uint32_t kind, uint32_t granule,
		      uint64_t ret_handle[4])
{
	ret_handle[0] = (uintptr_t)arena;
	ret_handle[1] = (uintptr_t)arena_object(arena, granule);
	ret_handle[2] = hold_word(kind, LH_HOLD_EXCLUSIVE, 1, granule);
}

int primitive_at(struct lh_arena *arena, const struct placement *wanted,
		 void (*prepare)(void *bytes, const struct placement *placement),
		 uint64_t ret_handle[4])
{
	uint64_t at;
	const int error = placement_at(arena, wanted, prepare ? prepare : prepare_single, &at,
				       NULL);

	if (error)
		return error;
	if (arena_object(arena, arena_granule(at))->kind != wanted->kind)
		return error_detail(-EBADMSG, "at %llu stands no %s, though the directory says so",
				    (unsigned long long)at, lh_kind_name(wanted->kind));
	primitive_handle(arena, wanted->kind, arena_granule(at), ret_handle);
	return 0;
}

int primitive_check_handle(const uint64_t handle[4], uint32_t kind)
{
	error_note_nothing();
	if (!handle[0])
		return error_text(-EINVAL, "the handle is all-zero: it was never placed");
	return primitive_header(handle)->kind == kind ? 0 : -EBADMSG;
}

int primitive_check_call(const uint64_t handle[4], uint32_t kind, const struct lh_lease *lease)
{
	int error;

	error_note_nothing();
	if (!handle[0])
		return error_text(-EINVAL, "the handle is all-zero: it was never placed");
	if (!lease)
		return error_text(-EINVAL, "lease is NULL");
	error = lease_check_caller(lease);
	if (error)
		return error;
	if ((uintptr_t)lease->arena != handle[0])
		return error_text(-EINVAL, "the lease is one of another arena, or of another "
					   "lh_arena of this one, than the handle");
	return primitive_header(handle)->kind == kind ? 0 : -EBADMSG;
}

#define MAX_ROUNDS_UNCHANGED 10000 // a word that names a free slot and stays: damage

int primitive_judge(struct lh_arena *arena, uint32_t slot, uint64_t word,
		    struct primitive_stuck *stuck, struct lost_lease *ret_lost, uint64_t *until)
{
	uint64_t poll;

	if (slot >= arena->lease_count)
		return -EBADMSG;
	switch (lease_judge(arena, slot, ret_lost)) {
	case VERDICT_LOST:
		return PRIMITIVE_LOST;
	case VERDICT_GONE:
		if (word != stuck->word)
			stuck->rounds = 0;
		stuck->word = word;
		return ++stuck->rounds < MAX_ROUNDS_UNCHANGED ? -EAGAIN : -EBADMSG;
	case VERDICT_DYING:
		poll = clock_now() + WAIT_POLL_NS;
		if (poll < *until)
			*until = poll;
		return 0;
	case VERDICT_HELD:
		break;
	}
	return 0;
}

int primitive_judge_owner(struct lh_arena *arena, const struct object_header *header, uint64_t word,
			  uint64_t record, bool told, struct primitive_stuck *stuck,
			  uint64_t *until)
{
	struct lost_lease lost;
	const int result = primitive_judge(arena, word_owner(word) - 1, word, stuck, &lost, until);

	if (result != PRIMITIVE_LOST)
		return result;
	if (!told)
		owner_wake_if_ended(arena, lost.owner);
	reap_lease(arena, &lost);
	// Its table was damaged if it does not name what the word says it has.
	if (atomic_load(&header->word) == word)
		kind_ops(hold_word_kind(record))->reap(arena, &lost, record);
	return -EAGAIN;
}

void primitive_look(const struct lh_arena *arena, uint32_t granule, uint64_t header_size,
		    struct lh_object_info *info)
{
	const struct object_header *header = arena_object(arena, granule);
	const uint64_t word = atomic_load(&header->word);

	info->token = word_token(word);
	info->lost = atomic_load_explicit(&header->lost_lease, memory_order_relaxed);
	info->flags = word & WORD_DIED ? LH_OBJECT_DAMAGED : 0;
	info->data_offset = info->data_size ? info->offset + header_size : 0;
}
