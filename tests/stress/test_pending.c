// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Acquires without a thread begin, are cancelled, time out and are granted at random, among such as
// wait in their call, in processes that are killed and stopped: nobody shares what is another's,
// tokens rise, each that is left alone is granted, and when all is over no lease and no key is
// held.
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
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

enum { WORKERS = 5, KEYS = 12, AT_ONCE = 24, OTHERS = 1000 };

// Of each key, outside of the arena; written under its lock.
struct watched {
	uint64_t token;
	_Atomic uint64_t inside; // who, from just after the grant to just before the release
};

static struct tally {
	struct watched keys[KEYS];
	_Atomic uint64_t grants, reads, calls, cancelled, late, too_late, told;
} * tally;

static char url[96], name[64];

struct attempt {
	lh_pending *pending; // NULL: none
	uint32_t key;
	bool reads, times_out;
};

static const char *key_of(uint32_t number, char text[16])
{
	snprintf(text, 16, "key %u", number);
	return text;
}

static void write_key(uint32_t number, lh_handle *handle, uint64_t self)
{
	struct watched *watched = &tally->keys[number];
	const bool told = (lh_handle_flags(handle) & LH_GRANT_OWNER_DIED) != 0;

	need(lh_handle_token(handle) > watched->token); // G5
	watched->token = lh_handle_token(handle);
	need(told || atomic_load(&watched->inside) == 0); // G12
	atomic_store(&watched->inside, self);
	if (told) {
		need_equal(lh_handle_consistent(handle), 0);
		tally->told++;
	}
	sched_yield();
	need_equal((int64_t)atomic_load(&watched->inside), (int64_t)self); // G1
	atomic_store(&watched->inside, 0);
	tally->grants++;
}

static void read_key(uint32_t number, lh_handle *handle)
{
	const struct watched *watched = &tally->keys[number];
	const bool told = (lh_handle_flags(handle) & LH_GRANT_OWNER_DIED) != 0;
	const uint64_t inside = atomic_load(&watched->inside);

	need(told || inside == 0);
	sched_yield();
	need_equal((int64_t)atomic_load(&watched->inside), (int64_t)inside); // G1
	tally->reads++;
}

static void use(uint32_t number, bool reads, lh_handle *handle, uint64_t self)
{
	if (reads)
		read_key(number, handle);
	else
		write_key(number, handle, self);
	need_equal(lh_handle_release(handle), 0);
}

static void begin(struct attempt *attempt, lh_locks *locks, unsigned *seed)
{
	struct lh_acquire_options options = { .mode = LH_EXCLUSIVE };
	lh_deadline deadline = LH_FOREVER;
	char key[16];

	attempt->key = storm_random(seed, KEYS);
	attempt->reads = storm_random(seed, 4) == 0;
	attempt->times_out = storm_random(seed, 8) == 0;
	options.mode = attempt->reads ? LH_SHARED : LH_EXCLUSIVE;
	if (attempt->times_out)
		deadline = lh_deadline_after(storm_random(seed, 500000));
	need_equal(lh_acquire_start(locks, key_of(attempt->key, key), deadline, &options,
				    &attempt->pending),
		   0);
	if (storm_random(seed, 2))
		need(lh_pending_fd(attempt->pending) >= 0);
}

static void look_at(struct attempt *attempt, unsigned *seed, uint64_t self)
{
	const bool cancels = storm_random(seed, 16) == 0;
	lh_handle *handle;
	int result;

	if (cancels)
		need_equal(lh_pending_cancel(attempt->pending), 0);
	result = lh_pending_finish(attempt->pending, &handle);
	if (result == -EINPROGRESS) {
		need(!cancels);
		return;
	}
	attempt->pending = NULL;
	if (!result) {
		tally->too_late += cancels;
		use(attempt->key, attempt->reads, handle, self);
	} else if (result == -ECANCELED) {
		need(cancels);
		tally->cancelled++;
	} else {
		need_equal(result, -ETIMEDOUT);
		need(attempt->times_out);
		tally->late++;
	}
}

// As another user of the table does it: in its call, and for keys that take others' room.
static void call(lh_locks *locks, unsigned *seed, uint64_t self)
{
	const bool other = storm_random(seed, 2);
	const uint32_t number = storm_random(seed, other ? OTHERS : KEYS);
	lh_handle *handle;
	char key[24];

	snprintf(key, sizeof(key), "%s%u", other ? "other " : "key ", number);
	// Not for ever: what this process has been granted and not finished may be in the way.
	if (lh_acquire(locks, key, lh_deadline_after(storm_random(seed, 2000000)), NULL, &handle))
		return;
	tally->calls++;
	if (other)
		need_equal(lh_handle_release(handle), 0);
	else
		use(number, false, handle, self);
}

static void work(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	const uint64_t self = (uint64_t)getpid();
	struct attempt attempts[AT_ONCE] = { 0 };
	lh_locks *locks;

	(void)line;
	need_equal(lh_locks_open(url, &locks), 0);
	for (;;) {
		struct attempt *attempt = &attempts[storm_random(&worker.seed, AT_ONCE)];

		if (attempt->pending)
			look_at(attempt, &worker.seed, self);
		else
			begin(attempt, locks, &worker.seed);
		if (storm_random(&worker.seed, 16) == 0)
			call(locks, &worker.seed, self);
	}
}

static void print_finding(void *context, int severity, uint64_t offset, const char *text)
{
	(void)context;
	if (severity > LH_CHECK_CLEAN)
		fprintf(stderr, "check: %d at %" PRIu64 ": %s\n", severity, offset, text);
}

// G6: all of them are free, and none of the dead has left a lease.
static void nothing_is_left(lh_arena *arena)
{
	struct lh_lease_info lease;
	uint64_t cursor = 0;
	lh_locks *locks;

	need_equal(reap_all(arena).left, 0);
	need_equal(lh_next_lease(arena, &cursor, &lease), -ENOENT);
	need_equal(lh_locks_open(url, &locks), 0);
	for (uint32_t i = 0; i < KEYS; i++) {
		lh_handle *handle;
		char key[16];

		need_equal(lh_acquire(locks, key_of(i, key), LH_NOW, NULL, &handle), 0);
		need_equal(lh_handle_release(handle), 0);
	}
	need_equal(lh_locks_close(locks), 0);
	need_equal(lh_arena_check(arena, print_finding, NULL), LH_CHECK_CLEAN);
}

// G1, G2, G5, G6, G8, G12
static void what_waits_without_a_thread_is_granted_or_given_up_under_kills(void **state)
{
	unsigned seed = storm_seed();
	const struct storm storm = { .body = work,
				     .workers = WORKERS,
				     .kills = true,
				     .stops = true,
				     .stop_ns = LH_MS(8),
				     .pause_ns = LH_MS(5) };
	struct storm_deeds deeds;
	lh_arena *arena;
	lh_locks *locks;

	(void)state;
	watch("pending acquires under kills", 800);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	need(tally != MAP_FAILED);
	snprintf(name, sizeof(name), "leasehold-pending-%d", (int)getpid());
	snprintf(url, sizeof(url), "shm://%s?size=64K&leases=256", name);
	need_equal(lh_locks_open(url, &locks), 0);
	need_equal(lh_arena_open(name, 0, NULL, &arena), 0);
	deeds = storm_run(&storm, &seed, lh_now() + tier_pick(LH_MS(800), LH_SEC(4), LH_SEC(15)));
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants %" PRIu64 " (%" PRIu64
	       " told of damage), reads %" PRIu64 ", in calls %" PRIu64 ", cancelled %" PRIu64
	       " (%" PRIu64 " too late), timed out %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->grants, tally->told, tally->reads, tally->calls,
	       tally->cancelled, tally->too_late, tally->late);
	need(deeds.kills > 0 && tally->grants > 0 && tally->reads > 0 && tally->calls > 0 &&
	     tally->cancelled > 0 && tally->late > 0);
	need_equal(lh_locks_close(locks), 0);
	nothing_is_left(arena);
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
		cmocka_unit_test_setup_teardown(
			what_waits_without_a_thread_is_granted_or_given_up_under_kills, watch_begin,
			end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
