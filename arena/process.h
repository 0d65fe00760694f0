// SPDX-License-Identifier: Apache-2.0
//
// process.h: what the library knows of its own process and threads. Nothing here is shared.
#ifndef ARENA_PROCESS_H
#define ARENA_PROCESS_H

#include "arena/sys/clock.h"
#include "arena/sys/identity.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct lh_arena;
struct lh_lease;

// One arena's share of a thread, as itself or for its process: its owner entry there and its own
// lease.
struct thread_arena {
	struct lh_arena *arena;
	uint64_t serial; // of that arena: a later one may have its address
	uint32_t kind;   // enum owner_kind: the keeper thread may be both
	struct thread_arena *next;
	uint32_t owner;      // entry index, valid while references > 0
	uint32_t references; // leases, and placements under way
	uint64_t generation;
	struct lh_lease *thread_lease;
	// copy of the liveness mutex as it was left by locking it, compared before unlocking (G9)
	uint8_t liveness_copy[64];
};

struct thread_state {
	const _Atomic uint64_t *guard; // see process_guard_none; NULL: none was left
	uint64_t fork_generation;      // of the process that filled this in; 0: never
	struct identity identity;
	struct thread_arena *arenas;
	struct lh_lease *leases; // of this thread, linked by thread_next
	bool robust;             // its robust list was seen to be the kernel's too
};

// Fills the process's state on first use; 0 or a negative errno.
int process_start(void);

// Counts forks in this process's ancestry; never 0 once process_start has succeeded. A child, by
// whatever call it was made, sees 0 on a page wiped by fork and counts on.
uint64_t process_generation(void);
// The page itself, for the check on hot paths: equals process_generation() or is 0.
extern const _Atomic uint64_t *process_mark __attribute__((visibility("hidden")));

const struct clock_identity *process_clock(void);
// A hash table of so many buckets (a power of two) for good, all use of which is under one mutex of
// the caller's; NULL: no memory.
struct cds_lfht *process_make_table(unsigned long buckets);

unsigned process_cpus(void);
// The rest of the scope is no cancellation point: for calls that open files, wait for the library's
// own thread or hold a process-local mutex. pthread_cancel takes effect after them.
static inline int process_hold_cancel(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static inline void process_allow_cancel(const int *before)
{
	pthread_setcancelstate(*before, NULL);
}

#define PROCESS_NO_CANCEL                                                                          \
	const int cancel_state                                                                     \
		__attribute__((cleanup(process_allow_cancel), unused)) = process_hold_cancel()

// A number that only the calling thread has, of all threads of this host: drawn at random when it
// first asks, and anew in a forked child. Never 0; the bits of SESSION_FLAGS are 0.
uint64_t process_session(void);

pid_t process_pid(void); // without a system call once the thread is known

// The calling thread's state with its identity read; 0, or a negative errno when /proc cannot be
// read (detail set).
int process_thread(struct thread_state **ret_thread);

#pragma GCC visibility push(hidden)

extern __thread struct thread_state process_thread_state;

// Guards: words on a page that fork wipes, one for each thread that has leases, holding that
// thread's name. Whether a lease's calls come from its thread, in its process, is one comparison
// of the name with the guard that the lease points to. No thread is named 0.
extern const _Atomic uint64_t process_guard_none;

#pragma GCC visibility pop

// A thread of the library's own: its signals are blocked, so that the program's handlers run on the
// program's. 0 or a negative errno.
int process_start_thread(pthread_t *ret_thread, void *(*function)(void *argument), void *argument);

// What names the calling thread: different in each living thread of a process.
static inline uintptr_t process_thread_name(void)
{
#if defined(__x86_64__)
	uintptr_t pointer; // to the thread's control block, in which it stands itself

	__asm__("mov %%fs:0, %0" : "=r"(pointer));
	return pointer;
#else
	return (uintptr_t)&process_thread_state;
#endif
}

// process_thread_name() == name, in one instruction where that can be had.
static inline bool process_thread_is(uintptr_t name)
{
#if defined(__x86_64__)
	bool same;

	__asm__("cmp %%fs:0, %1" : "=@cce"(same) : "r"(name));
	return same;
#else
	return process_thread_name() == name;
#endif
}

#endif
