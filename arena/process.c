// SPDX-License-Identifier: Apache-2.0
#include "arena/process.h"

#include "arena/arena.h"
#include "arena/error.h"
#include "arena/keeper.h"
#include "arena/lease.h"
#include "arena/owner.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <urcu/flavor.h>
#include <urcu/rculfhash.h>

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
static int hooks_error;
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool started;
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

	lease_thread_exits(thread);
	owner_thread_exits(thread);
	drop_guard(thread->guard);
	thread->guard = NULL;
	thread->fork_generation = 0; // whoever uses the library in a later destructor begins anew
}

static void no_section(void) {}

// liburcu's hash tables demand a read section of the flavour that they were made with, so that no
// node or bucket that is being looked at goes. Here every call, of readers too, is under a mutex of
// the caller's, held over a fork; buckets neither come nor go. So the section of this flavour is the
// mutex, and no thread is known to liburcu: one that it knows takes its registry's lock when it
// ends, and a fork at that moment would leave it locked in the child. (Its fork handlers are no
// help: they are for whoever uses it first-hand to call, once in a process.)
static const struct rcu_flavor_struct under_a_mutex = { .read_lock = no_section,
							.read_unlock = no_section };

struct cds_lfht *process_make_table(unsigned long buckets)
{
	return cds_lfht_new_flavor(buckets, buckets, 0, 0, &under_a_mutex, NULL);
}

static void before_fork(void)
{
	pthread_mutex_lock(&start_lock);
	arena_before_fork();
	keeper_before_fork();
}

static void after_fork_in_parent(void)
{
	keeper_after_fork_in_parent();
	arena_after_fork_in_parent();
	pthread_mutex_unlock(&start_lock);
}

static void after_fork_in_child(void)
{
	start_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	process_generation();
	clock_namespace(&clock_identity.time_namespace);
	keeper_after_fork();
	arena_after_fork();
}

static void set_hooks(void)
{
	hooks_error = -pthread_key_create(&thread_key, thread_exits);
	if (!hooks_error)
		hooks_error = -pthread_atfork(before_fork, after_fork_in_parent,
					      after_fork_in_child);
}

// What /proc does not have is what this system does not have.
static int proc_error(int error, const char *what)
{
	return error_detail(error == -ENOENT ? -ENOTSUP : error, "/proc does not tell %s", what);
}

static int make_mark(void)
{
	const size_t size = WIPED_WORDS * sizeof(*mark);
	void *memory;
	int error;

	if (mark)
		return 0;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return error_detail(-errno, "no memory");
	if (madvise(memory, size, MADV_WIPEONFORK) != 0) {
		error = error_detail(-ENOTSUP, "no page that fork wipes (MADV_WIPEONFORK)");
		munmap(memory, size);
		return error;
	}
	mark = memory;
	atomic_store(&guards_used[0], 1); // the mark
	process_mark = mark;
	return 0;
}

static int start(void)
{
	const long online = sysconf(_SC_NPROCESSORS_ONLN);
	int error;

	cpus = online > 0 ? (unsigned)online : 1;
	error = clock_identify(&clock_identity);
	if (error)
		return proc_error(error, "the boot id and the clock");
	error = owner_probe_mutex();
	if (!error)
		error = make_mark();
	if (!error)
		process_generation();
	return error;
}

// A failure may be of the moment (no descriptor left): the next call tries again.
int process_start(void)
{
	int error = 0;

	pthread_once(&once, set_hooks);
	if (hooks_error)
		return error_detail(hooks_error, "no room for fork and thread exit handlers");
	if (atomic_load_explicit(&started, memory_order_acquire))
		return 0;
	pthread_mutex_lock(&start_lock);
	if (!started)
		error = start();
	if (!error)
		started = true;
	pthread_mutex_unlock(&start_lock);
	return error;
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

uint64_t process_session(void)
{
	static __thread struct {
		uint64_t number, generation;
	} session __attribute__((tls_model("initial-exec")));
	const uint64_t generation = process_generation();

	if (session.number && session.generation == generation)
		return session.number;
	PROCESS_NO_CANCEL; // getrandom(2) is a cancellation point
	session.generation = generation;
	do {
		session.number = identity_draw() & ~SESSION_FLAGS;
	} while (!session.number);
	return session.number;
}

const struct clock_identity *process_clock(void)
{
	return &clock_identity;
}

unsigned process_cpus(void)
{
	return cpus;
}

static int identify(struct thread_state *thread, uint64_t generation)
{
	PROCESS_NO_CANCEL;
	int error = identity_of_self(&thread->identity);

	if (error)
		return proc_error(error, "this thread's start time");
	error = -pthread_setspecific(thread_key, thread);
	if (error)
		return error_detail(error, "no memory");
	// What was inherited over fork is void: the entries belong to the parent's thread.
	if (thread->fork_generation) {
		lease_thread_forked(thread);
		owner_thread_forked(thread);
	}
	thread->guard = take_guard();
	thread->robust = false;
	thread->fork_generation = generation;
	return 0;
}

int process_thread(struct thread_state **ret_thread)
{
	struct thread_state *thread = &process_thread_state;
	const uint64_t generation = process_generation();

	*ret_thread = thread;
	if (thread->fork_generation == generation && generation)
		return 0;
	return identify(thread, generation);
}

pid_t process_pid(void)
{
	const struct thread_state *thread = &process_thread_state;

	return thread->fork_generation && thread->fork_generation == process_generation()
		       ? thread->identity.pid
		       : getpid();
}

int process_start_thread(pthread_t *ret_thread, void *(*function)(void *argument), void *argument)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(ret_thread, NULL, function, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}
