// SPDX-License-Identifier: Apache-2.0
//
// primitive.h: what all primitives have in common: their handles, how they are placed, and what
// each call checks first.
//
// A handle is four words: [0] the arena, [1] the object's header, [2] the hold record that a lease
// writes for it (kind, exclusive, granule), [3] what the primitive itself wants to have at hand.
#ifndef SRC_PRIMITIVE_H
#define SRC_PRIMITIVE_H

#include "arena/hold.h"
#include "arena/placement.h"
#include "arena/reap.h"
#include "src/word.h"

#include <leasehold/grant.h>

#include <errno.h>

// Of each condition on a hot path alone, not of several together: then the compiler puts that path
// in one piece, without a jump to be taken on it, which costs where two threads share a core.
#define likely(condition) __builtin_expect(!!(condition), 1)

static inline struct lh_arena *primitive_arena(const uint64_t handle[4])
{
	return (struct lh_arena *)(uintptr_t)handle[0];
}

static inline struct object_header *primitive_header(const uint64_t handle[4])
{
	return (struct object_header *)(uintptr_t)handle[1];
}

static inline uint32_t primitive_granule(const uint64_t handle[4])
{
	return hold_word_granule(handle[2]);
}

static inline uint64_t primitive_offset(const uint64_t handle[4])
{
	return (uint64_t)primitive_granule(handle) * LAYOUT_LINE;
}

// Bytes rounded up to lines; at most LAYOUT_MAX_SIZE of them.
static inline uint64_t primitive_lines(uint64_t bytes)
{
	return (bytes + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE;
}

// Whether the lease's calls may go the short way: the calling thread's, of this process, without
// TTL and cancel token, on the handle's arena.
static inline bool primitive_is_simple(const uint64_t handle[4], const struct lh_lease *lease)
{
	return likely(process_thread_is(
		       atomic_load_explicit(lease->guard, memory_order_relaxed))) &&
	       likely((uintptr_t)lease->arena == handle[0]);
}

// What the grant of an object with such a word tells (token and DIED are where word.h has them).
static inline void primitive_fill_grant(lh_grant *grant, const struct object_header *header,
					uint64_t word)
{
	const bool died = (word & WORD_DIED) != 0;

	if (!grant)
		return;
	*grant = (lh_grant){
		.token = word_token(word),
		.previous = died ? atomic_load_explicit(&header->lost_lease, memory_order_relaxed)
				 : 0,
		.flags = died ? LH_GRANT_OWNER_DIED : 0,
	};
}

// Why a lease does not hold what it says: lost (latched by now, if its lock was taken), or never.
static inline int primitive_not_held(const struct lh_lease *lease)
{
	return lease_is_live(lease) ? -EPERM : -ESTALE;
}

// On functions with a hot path: it begins a cache line, so that what it costs does not depend on
// what stands before it.
#define hot_path __attribute__((aligned(64)))

// Between two looks of a spinning loop.
static inline void primitive_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

// For the options of a primitive of this kind: -EINVAL if `reserved` is not 0, `flags` has others
// than `known`, or a placement cannot have `name` (NULL: none).
int primitive_check_options(uint32_t kind, const uint64_t reserved[4], unsigned flags,
			    unsigned known, const char *name);

// Writes what every header says about its object. For `prepare` functions.
void primitive_prepare_header(struct object_header *header, const struct placement *placement);

// Creates or attaches as placement_at does; [0] to [2] of the handle are written. `prepare` NULL: a
// single header before zeroes.
int primitive_at(struct lh_arena *arena, const struct placement *wanted,
		 void (*prepare)(void *bytes, const struct placement *placement),
		 uint64_t ret_handle[4]);

// The handle of another object of the same kind: [0] to [2].
void primitive_handle(const struct lh_arena *arena, uint32_t kind, uint32_t granule,
		      uint64_t ret_handle[4]);

// For kind_ops.look: what a header with word.h's word tells; data stands `header_size` behind it.
void primitive_look(const struct lh_arena *arena, uint32_t granule, uint64_t header_size,
		    struct lh_object_info *info);

// Whether a call with this handle and lease may go on: 0; -EINVAL (all-zero, no lease, another
// arena's lease); lease_check_caller's -EPERM and -ESTALE; -EBADMSG if the header is not of this
// kind.
int primitive_check_call(const uint64_t handle[4], uint32_t kind, const struct lh_lease *lease);
// The same for calls that need no lease.
int primitive_check_handle(const uint64_t handle[4], uint32_t kind);

// Judges the lease in `slot`, which `word` of an object names. 0: it has what the word says; wait,
// but not beyond *until, which is lowered if nothing wakes when that ends. PRIMITIVE_LOST:
// *ret_lost is to be cleared up behind. -EAGAIN: look at the word again. -EBADMSG: the word names
// nobody. `stuck` is zero before the call's first look.
struct primitive_stuck {
	uint64_t word;
	int rounds;
};
enum { PRIMITIVE_LOST = 1 };
int primitive_judge(struct lh_arena *arena, uint32_t slot, uint64_t word,
		    struct primitive_stuck *stuck, struct lost_lease *ret_lost, uint64_t *until);

// The same for the owner that an object_header's word names; who is lost is cleared up behind:
// -EAGAIN. `record` is what the lost one's table must have of the object. `told`: the caller slept
// on its life, so who else sleeps on it has been woken.
int primitive_judge_owner(struct lh_arena *arena, const struct object_header *header, uint64_t word,
			  uint64_t record, bool told, struct primitive_stuck *stuck,
			  uint64_t *until);

#endif
