// SPDX-License-Identifier: Apache-2.0
#include "arena/process.h"

#include "arena/arena.h"
#include "arena/error.h"
#include "arena/keeper.h"
#include "arena/lease.h"
#include "arena/owner.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__thread struct thread_state process_thread_state;

static const _Atomic uint64_t unmarked;
const _Atomic uint64_t *process_mark = &unmarked;

const _Atomic uint64_t process_guard_none;

// Words on pages that fork wipes: the first is the mark, the others are guards.
#define WIPED_WORDS 32768u
static _Atomic uint64_t *mark;
static _Atomic uint64_t guards_used[WIPED_WORDS / 64];
static _Atomic uint64_t last_generation; // survives fork: what the mark was counted from
static struct clock_identity clock_identity;
static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int start_error;
static unsigned cpus;

// A forked child takes a new one: what it inherited must stay wiped.
static const _Atomic uint64_t *take_guard(void)
{
	for (uint32_t i = 0; i < WIPED_WORDS / 64; i++) {
		uint64_t used = atomic_load_explicit(&guards_used[i], memory_order_relaxed);

		while (~used) {
			const uint32_t bit = (uint32_t)__builtin_ctzll(~used);

			if (!atomic_compare_exchange_weak(&guards_used[i], &used,
							  used | UINT64_C(1) << bit))
				continue;
			atomic_store_explicit(&mark[i * 64 + bit], process_thread_name(),
					      memory_order_relaxed);
			return &mark[i * 64 + bit];
		}
	}
	return NULL;
}

static void drop_guard(const _Atomic uint64_t *guard)
{
	const size_t index = guard ? (size_t)(guard - mark) : 0;

	if (!guard)
		return;
	atomic_store_explicit(&mark[index], 0, memory_order_relaxed);
	atomic_fetch_and(&guards_used[index / 64], ~(UINT64_C(1) << index % 64));
}

static void thread_exits(void *state)
{
	struct thread_state *thread = state;

	thread->exiting = true;
	lease_thread_exits(thread);
	owner_thread_exits(thread);
	drop_guard(thread->guard);
	thread->guard = NULL;
}

static void before_fork(void)
{
	arena_before_fork();
	keeper_before_fork();
	urcu_bp_before_fork();
}

static void after_fork_in_parent(void)
{
	urcu_bp_after_fork_parent();
	keeper_after_fork_in_parent();
	arena_after_fork_in_parent();
}

static void after_fork_in_child(void)
{
	urcu_bp_after_fork_child();
	process_generation();
	keeper_after_fork();
	arena_after_fork();
}

static void start(void)
{
	const long online = sysconf(_SC_NPROCESSORS_ONLN);
	const size_t size = WIPED_WORDS * sizeof(*mark);
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cpus = online > 0 ? (unsigned)online : 1;
	if (memory == MAP_FAILED || madvise(memory, size, MADV_WIPEONFORK) != 0) {
		start_error = error_detail(-errno, "no page that fork wipes (MADV_WIPEONFORK)");
		return;
	}
	start_error = clock_identify(&clock_identity);
	if (start_error) {
		error_detail(start_error, "/proc does not tell the boot id and clock");
		return;
	}
	start_error = owner_probe_mutex();
	if (start_error)
		return;
	start_error = -pthread_key_create(&thread_key, thread_exits);
	if (!start_error)
		start_error = -pthread_atfork(before_fork, after_fork_in_parent,
					      after_fork_in_child);
	if (start_error)
		return;
	mark = memory;
	atomic_store(&guards_used[0], 1); // the mark
	process_mark = mark;
	process_generation();
}

int process_start(void)
{
	pthread_once(&once, start);
	return start_error;
}

uint64_t process_generation(void)
{
	uint64_t seen;

	if (!mark)
		return 0;
	seen = atomic_load_explicit(mark, memory_order_relaxed);
	if (seen)
		return seen;
	// A new process: one thread runs in it. (Threads that a raw clone's child made before its
	// first call race here to the same number.)
	seen = atomic_load(&last_generation) + 1;
	atomic_store_explicit(mark, seen, memory_order_relaxed);
	atomic_store(&last_generation, seen);
	return seen;
}

const struct clock_identity *process_clock(void)
{
	return &clock_identity;
}

unsigned process_cpus(void)
{
	return cpus;
}

struct thread_state *process_thread(void)
{
	struct thread_state *thread = &process_thread_state;
	const uint64_t generation = process_generation();
	int error;

	if (thread->fork_generation == generation && generation)
		return thread;
	error = identity_of_self(&thread->identity);
	if (!error)
		error = -pthread_setspecific(thread_key, thread);
	if (error) {
		error_detail(error, "/proc does not tell this thread's start time");
		return NULL;
	}
	// What was inherited over fork is void: the entries belong to the parent's thread.
	if (thread->fork_generation) {
		lease_thread_forked(thread);
		owner_thread_forked(thread);
	}
	thread->guard = take_guard();
	thread->fork_generation = generation;
	return thread;
}
