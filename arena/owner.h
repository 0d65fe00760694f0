// SPDX-License-Identifier: Apache-2.0
//
// owner.h: who lives. An owner entry is locked for as long as its thread has leases in the arena;
// layout.h says how its end is told.
#ifndef ARENA_OWNER_H
#define ARENA_OWNER_H

#include "arena/arena.h"
#include "arena/process.h"
#include "arena/sys/futex.h"

// Checks once, on a mutex of its own, what owners rely on beyond POSIX: where the futex word is,
// that it holds the TID, and that a preset FUTEX_WAITERS survives and is honoured. 0 or -ENOTSUP.
int owner_probe_mutex(void);

// Prepares an entry in an arena under creation.
int owner_entry_init(struct owner_entry *entry);

// The calling thread's entry in this arena, claimed if it has none; counted.
// 0; -ENOLCK: all entries are in use; -EBADMSG; or an error of process_thread.
int owner_acquire(struct lh_arena *arena, enum owner_kind kind, struct thread_arena **ret_share);
// Gives one count back; with the last one the entry is free. 0, or -EBADMSG if the mutex is damaged
// (then it stays locked until the thread ends).
int owner_release(struct thread_arena *share);

static inline uint64_t owner_of_share(const struct thread_arena *share)
{
	return owner_ref(share->owner, share->generation);
}

enum owner_life {
	OWNER_LIVES,
	OWNER_ENDS, // of a process: its keeper's word is dead, but the process is not gone yet
	OWNER_HAS_ENDED,
};

// What is known of the owner named so. An invalid reference has ended. Of a process whose word is
// dead some ten system calls tell: who wants to know more than one thing asks once.
enum owner_life owner_life(const struct lh_arena *arena, uint64_t ref);

static inline bool owner_ended(const struct lh_arena *arena, uint64_t ref)
{
	return owner_life(arena, ref) == OWNER_HAS_ENDED;
}

// The same without a system call: a process whose word is dead, gone or not.
bool owner_may_be_ending(const struct lh_arena *arena, uint64_t ref);

// Sleeps until that process is gone, a word is not as expected any more (seen within a millisecond),
// or the moment (ns of CLOCK_MONOTONIC) has come: look again. False, at once: it cannot be watched
// from here.
bool owner_await_end(const struct lh_arena *arena, uint64_t ref, uint64_t until_ns,
		     const struct futex_word *words, size_t count);

// The futex word to sleep on for this owner's end and the value it has while alive; NULL if it has
// ended.
const _Atomic uint32_t *owner_word(const struct lh_arena *arena, uint64_t ref,
				   uint32_t *ret_expected);
// Wakes all who sleep on its word if that says that its owner ended: the kernel wakes only one.
void owner_wake_if_ended(const struct lh_arena *arena, uint64_t ref);
// Wakes all who sleep on it, whatever it says.
void owner_wake_all(const struct lh_arena *arena, uint64_t ref);

// Copies who it is; false if the entry has passed to another owner.
bool owner_identity(const struct lh_arena *arena, uint64_t ref, struct identity *ret_identity);

// The thread's share of an arena, made if `create`; NULL if there is none or no memory.
struct thread_arena *owner_share(struct thread_state *thread, struct lh_arena *arena,
				 enum owner_kind kind, bool create);
void owner_thread_exits(struct thread_state *thread);
void owner_thread_forked(struct thread_state *thread);

#endif
