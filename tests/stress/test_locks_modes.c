// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Keys in all modes, paths and permits, while those who have them are killed and stopped. What each
// holds stands in memory outside of the arena from just after the grant to just before the release:
// who is granted finds nothing there that excludes it, but what the dead left.
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "arena/reap.h"
#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 6, PERMITS = 2, MODES = 4 };
enum { TOP, LEFT, RIGHT, POOL, EITHER, KEYS };

static const char *const names[KEYS] = { "top", "top/left", "top/right", "pool", "either" };

// {pid, what: LH_… + 1, or WITH_PERMIT + which; 0: nothing}
enum { WHAT_BITS = 8, WITH_PERMIT = 16 };

static struct tally {
	_Atomic uint64_t holds[KEYS][WORKERS];
	_Atomic uint64_t modes[MODES], paths, permits, beside, busy, other_kind;
	_Atomic uint64_t tokens[KEYS]; // of the last exclusive grant
} * tally;

static char url[96], name[64];

static const bool go_together[MODES][MODES] = {
	[LH_SHARED] = { [LH_SHARED] = true, [LH_INTENT_SHARED] = true },
	[LH_INTENT_SHARED] = { [LH_SHARED] = true,
			       [LH_INTENT_SHARED] = true,
			       [LH_INTENT_EXCLUSIVE] = true },
	[LH_INTENT_EXCLUSIVE] = { [LH_INTENT_SHARED] = true, [LH_INTENT_EXCLUSIVE] = true },
};

static bool excludes(uint64_t one, uint64_t other)
{
	one &= (1u << WHAT_BITS) - 1;
	other &= (1u << WHAT_BITS) - 1;
	if (!one || !other)
		return false;
	if (one >= WITH_PERMIT || other >= WITH_PERMIT)
		return one == other || one < WITH_PERMIT || other < WITH_PERMIT;
	return !go_together[one - 1][other - 1];
}

// Whether the process is over, or as good as that.
static bool is_over(uint64_t pid)
{
	char path[48], state = 'X';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			state = 'X';
		fclose(file);
	}
	return state == 'Z' || state == 'X';
}

// G1: whose hold excludes ours must be dead. One that lives would take its name away itself.
static void look_at(_Atomic uint64_t *hold, uint64_t own)
{
	const uint64_t seen = atomic_load(hold);

	if (seen % (1u << WHAT_BITS) && !excludes(seen, own))
		atomic_fetch_add(&tally->beside, 1);
	if (!excludes(seen, own))
		return;
	while (!is_over(seen >> WHAT_BITS)) {
		const uint64_t now = atomic_load(hold);

		need(now == seen || now >> WHAT_BITS != seen >> WHAT_BITS);
		if (now != seen)
			return; // its successor
		sched_yield();
	}
}

static void note(int key, int self, uint64_t what)
{
	const uint64_t own = (uint64_t)getpid() << WHAT_BITS | what;

	atomic_store(&tally->holds[key][self], own);
	for (int i = 0; i < WORKERS; i++) {
		if (i != self)
			look_at(&tally->holds[key][i], own);
	}
}

static void stay_a_while(unsigned *seed)
{
	const uint64_t until = storm_random(seed, 4) ? 0 : lh_now() + storm_random(seed, 100000);

	while (lh_now() < until)
		;
}

static void check_token(int key, lh_handle *handle)
{
	need(lh_handle_token(handle) > atomic_load(&tally->tokens[key])); // G5
	atomic_store(&tally->tokens[key], lh_handle_token(handle));
	if (lh_handle_flags(handle))
		need_equal(lh_handle_consistent(handle), 0);
}

static void release(int key, int self, lh_handle *handle)
{
	atomic_store(&tally->holds[key][self], (uint64_t)getpid() << WHAT_BITS);
	if (key == LEFT || key == RIGHT)
		atomic_store(&tally->holds[TOP][self], (uint64_t)getpid() << WHAT_BITS);
	need_equal(lh_handle_release(handle), 0);
}

static bool may_go_on(int error)
{
	if (error == -EBUSY)
		tally->busy++;
	else
		need_equal(error, 0);
	return !error;
}

static void use_mode(lh_locks *locks, struct storm_worker *worker, lh_deadline deadline)
{
	const int key = (int)storm_random(&worker->seed, 3);
	const enum lh_mode mode = (enum lh_mode)storm_random(&worker->seed, MODES);
	const struct lh_acquire_options options = { .mode = mode };
	const bool path = storm_random(&worker->seed, 2);
	lh_handle *handle;

	if (!may_go_on(path ? lh_acquire_path(locks, names[key], deadline, &options, &handle)
			    : lh_acquire(locks, names[key], deadline, &options, &handle)))
		return;
	if (path && key != TOP) {
		note(TOP, worker->number,
		     1 + (mode == LH_SHARED || mode == LH_INTENT_SHARED ? LH_INTENT_SHARED
									: LH_INTENT_EXCLUSIVE));
		tally->paths++;
	}
	note(key, worker->number, mode + 1ul);
	if (mode == LH_EXCLUSIVE)
		check_token(key, handle);
	tally->modes[mode]++;
	stay_a_while(&worker->seed);
	release(key, worker->number, handle);
}

// `either` is a lock and a semaphore in turn, as it comes.
static void use_permit(lh_locks *locks, struct storm_worker *worker, lh_deadline deadline)
{
	const int key = storm_random(&worker->seed, 3) ? POOL : EITHER;
	const bool locks_it = key == EITHER && storm_random(&worker->seed, 2);
	const struct lh_acquire_options options = { .max_holders = locks_it ? 0 : PERMITS };
	lh_handle *handle;
	const int error = lh_acquire(locks, names[key], deadline, &options, &handle);

	if (key == EITHER && error == -EINVAL) {
		tally->other_kind++;
		return;
	}
	if (!may_go_on(error))
		return;
	if (locks_it) {
		note(key, worker->number, LH_EXCLUSIVE + 1);
		check_token(key, handle);
	} else {
		need(lh_handle_slot(handle) >= 0 && lh_handle_slot(handle) < PERMITS); // G6
		note(key, worker->number, (uint64_t)WITH_PERMIT + (unsigned)lh_handle_slot(handle));
		tally->permits++;
	}
	stay_a_while(&worker->seed);
	release(key, worker->number, handle);
}

static void use_keys(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	lh_locks *locks;

	(void)line;
	need(worker.number >= 0 && worker.number < WORKERS);
	for (int key = 0; key < KEYS; key++)
		atomic_store(&tally->holds[key][worker.number], (uint64_t)getpid() << WHAT_BITS);
	need_equal(lh_locks_open(url, &locks), 0);
	for (;;) {
		const lh_deadline deadline = storm_random(&worker.seed, 3) ? LH_FOREVER : LH_NOW;

		if (storm_random(&worker.seed, 3))
			use_mode(locks, &worker, deadline);
		else
			use_permit(locks, &worker, deadline);
	}
}

static void print_finding(void *context, int severity, uint64_t offset, const char *text)
{
	(void)context;
	if (severity >= LH_CHECK_DEADLOCK)
		fprintf(stderr, "check: %d at %" PRIu64 ": %s\n", severity, offset, text);
}

// G2, G6: all of it is to be had again.
static void everything_is_free(lh_locks *locks)
{
	const struct lh_acquire_options permits = { .max_holders = PERMITS };
	lh_handle *handle, *handles[PERMITS];

	for (int key = 0; key < KEYS; key++) {
		need_equal(lh_acquire(locks, names[key], LH_NOW, NULL, &handle), 0);
		need_equal(lh_handle_release(handle), 0);
	}
	for (int i = 0; i < PERMITS; i++)
		need_equal(lh_acquire(locks, "pool", LH_NOW, &permits, &handles[i]), 0);
	need_equal(lh_acquire(locks, "pool", LH_NOW, &permits, &handle), -EBUSY);
	for (int i = 0; i < PERMITS; i++)
		need_equal(lh_handle_release(handles[i]), 0);
}

// G1, G2, G5, G6, G8
static void modes_and_permits_under_kills(void **state)
{
	unsigned seed = storm_seed();
	const struct storm storm = { .body = use_keys,
				     .workers = WORKERS,
				     .kills = true,
				     .stops = true,
				     .stop_ns = LH_MS(8),
				     .pause_ns = LH_MS(5) };
	struct storm_deeds deeds;
	lh_arena *arena;
	lh_locks *locks;

	(void)state;
	watch("modes under kills", 800);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	need(tally != MAP_FAILED);
	snprintf(name, sizeof(name), "leasehold-modes-%d", (int)getpid());
	snprintf(url, sizeof(url), "shm://%s?size=64K&leases=128", name);
	need_equal(lh_locks_open(url, &locks), 0);
	need_equal(lh_arena_open(name, 0, NULL, &arena), 0);
	deeds = storm_run(&storm, &seed, lh_now() + tier_pick(LH_MS(600), LH_SEC(4), LH_SEC(15)));
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants exclusive %" PRIu64 ", shared %" PRIu64
	       ", intention shared %" PRIu64 ", exclusive %" PRIu64 ", paths %" PRIu64
	       ", permits %" PRIu64 ", others beside %" PRIu64 ", busy %" PRIu64
	       ", the other kind %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->modes[LH_EXCLUSIVE], tally->modes[LH_SHARED],
	       tally->modes[LH_INTENT_SHARED], tally->modes[LH_INTENT_EXCLUSIVE], tally->paths,
	       tally->permits, tally->beside, tally->busy, tally->other_kind);
	for (int mode = 0; mode < MODES; mode++)
		need(tally->modes[mode] > 0);
	need(deeds.kills > 0 && tally->paths > 0 && tally->permits > 0 && tally->beside > 0);
	need_equal(reap_all(arena).left, 0);
	everything_is_free(locks);
	need(lh_arena_check(arena, print_finding, NULL) < LH_CHECK_DEADLOCK);
	need_equal(lh_locks_close(locks), 0);
	need_equal(lh_arena_close(arena), 0);
	need_equal(lh_arena_unlink(name), 0);
}

static int end(void **state)
{
	lh_arena_unlink(name);
	return watch_end(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(modes_and_permits_under_kills, watch_begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
