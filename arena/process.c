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

static _Atomic uint64_t *mark;           // on a page that fork wipes
static _Atomic uint64_t last_generation; // survives fork: what the mark was counted from
static struct clock_identity clock_identity;
static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int start_error;
static unsigned cpus;

static void thread_exits(void *state)
{
	struct thread_state *thread = state;

	thread->exiting = true;
	lease_thread_exits(thread);
	owner_thread_exits(thread);
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
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cpus = online > 0 ? (unsigned)online : 1;
	if (memory == MAP_FAILED || madvise(memory, page, MADV_WIPEONFORK) != 0) {
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
	thread->fork_generation = generation;
	return thread;
}
