// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Keys that come and go in a table that is too small for all of them, while the processes that use
// them are killed and stopped: nobody shares what is another's, tokens rise, who died holding is
// told, and when all is over every entry is to be had again.
#include <errno.h>
#include <inttypes.h>
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
#include "src/provider/keys.h"
#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 6, WATCHED = 48, OTHERS = 100000, AT_ONCE = 50 };

// Of each watched key, outside of the arena; written under its lock.
struct watched {
	uint64_t token;
	_Atomic uint64_t inside; // who, from just after the grant to just before the release
};

static struct tally {
	struct watched keys[WATCHED];
	_Atomic uint64_t grants, reads, others, busy, full, told;
	// The other keys take turns, so that in a long run each of them comes.
	_Atomic uint64_t next, came, enough;
	_Atomic bool has_come[OTHERS];
} * tally;

// How many different keys must have come and gone before it is over.
static uint64_t keys_wanted(void)
{
	return tier_pick(OTHERS / 20, OTHERS, OTHERS);
}

static char url[96], name[64];

// Now and then for long, so that the killed and the stopped are often inside.
static void stay_a_while(unsigned *seed)
{
	const uint64_t until = storm_random(seed, 4) ? 0 : lh_now() + storm_random(seed, 100000);

	while (lh_now() < until)
		;
}

static void write_key(struct watched *watched, lh_handle *handle, uint64_t self, unsigned *seed)
{
	const bool told = (lh_handle_flags(handle) & LH_GRANT_OWNER_DIED) != 0;

	need(lh_handle_token(handle) > watched->token); // G5
	watched->token = lh_handle_token(handle);
	need(told || atomic_load(&watched->inside) == 0); // G12
	atomic_store(&watched->inside, self);
	if (told) {
		need_equal(lh_handle_consistent(handle), 0);
		tally->told++;
	}
	tally->grants++;
	stay_a_while(seed);
	need_equal((int64_t)atomic_load(&watched->inside), (int64_t)self); // G1
	atomic_store(&watched->inside, 0);
}

static void read_key(const struct watched *watched, lh_handle *handle, unsigned *seed)
{
	const bool told = (lh_handle_flags(handle) & LH_GRANT_OWNER_DIED) != 0;
	const uint64_t inside = atomic_load(&watched->inside);

	need(told || inside == 0);
	need(lh_handle_token(handle) >= watched->token);
	stay_a_while(seed);
	need_equal((int64_t)atomic_load(&watched->inside), (int64_t)inside); // G1
	tally->reads++;
}

static int acquire(lh_locks *locks, unsigned *seed, const char *key, bool reads,
		   lh_handle **ret_handle)
{
	const struct lh_acquire_options options = { .mode = reads ? LH_SHARED : LH_EXCLUSIVE };
	const lh_deadline deadline = storm_random(seed, 3) ? LH_FOREVER : LH_NOW;
	const int error = lh_acquire(locks, key, deadline, &options, ret_handle);

	if (error == -EBUSY)
		tally->busy++;
	else if (error == -ENOSPC)
		tally->full++;
	else
		need_equal(error, 0);
	return error;
}

static void count_other(uint32_t number)
{
	tally->others++;
	if (!atomic_exchange(&tally->has_come[number], true))
		tally->came++;
	if (tally->told && tally->came >= keys_wanted())
		tally->enough = 1;
}

static void use_some_key(lh_locks *locks, unsigned *seed, uint64_t self)
{
	const bool watched = storm_random(seed, 2), reads = storm_random(seed, 3) == 0;
	const uint32_t number = watched ? storm_random(seed, WATCHED)
					: (uint32_t)(tally->next++ % OTHERS);
	lh_handle *handle;
	char key[200];

	snprintf(key, sizeof(key), "%s %u%*s", watched ? "watched" : "other", number,
		 number % 8 ? 0 : 120, "");
	if (acquire(locks, seed, key, reads, &handle))
		return;
	if (!watched)
		count_other(number);
	else if (reads)
		read_key(&tally->keys[number], handle, seed);
	else
		write_key(&tally->keys[number], handle, self, seed);
	need_equal(lh_handle_release(handle), 0);
}

static void use_keys(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	const uint64_t self = (uint64_t)getpid();
	lh_locks *locks;

	(void)line;
	need_equal(lh_locks_open(url, &locks), 0);
	for (;;)
		use_some_key(locks, &worker.seed, self);
}

// G6: each entry can be had by another key, all of them at once.
static void all_entries_are_to_be_had(lh_arena *arena)
{
	lh_handle *handles[64], *one_more;
	uint32_t taken = 0, groups = 0;
	struct keys keys;
	lh_locks *locks;

	need_equal(keys_open(arena, &keys), 0);
	need_equal(lh_locks_open(url, &locks), 0);
	while (taken < keys.entry_count) {
		const uint32_t left = keys.entry_count - taken;
		const uint32_t count = left < AT_ONCE ? left : AT_ONCE;
		char text[AT_ONCE][24];
		const char *list[AT_ONCE];

		for (uint32_t i = 0; i < count; i++) {
			snprintf(text[i], sizeof(text[i]), "last %u", taken + i);
			list[i] = text[i];
		}
		need(groups < 64);
		need_equal(lh_acquire_all(locks, list, count, LH_NOW, NULL, &handles[groups++]), 0);
		taken += count;
	}
	need_equal(lh_acquire(locks, "one more", LH_NOW, NULL, &one_more), -ENOSPC);
	while (groups)
		need_equal(lh_handle_release(handles[--groups]), 0);
	need_equal(lh_locks_close(locks), 0);
}

static void print_finding(void *context, int severity, uint64_t offset, const char *text)
{
	(void)context;
	if (severity >= LH_CHECK_DEADLOCK)
		fprintf(stderr, "check: %d at %" PRIu64 ": %s\n", severity, offset, text);
}

// G1, G2, G5, G6, G8, G12
static void keys_come_and_go_under_kills(void **state)
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
	watch("keys under kills", 800);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	need(tally != MAP_FAILED);
	snprintf(name, sizeof(name), "leasehold-keys-%d", (int)getpid());
	snprintf(url, sizeof(url), "shm://%s?size=64K&leases=128", name);
	need_equal(lh_locks_open(url, &locks), 0);
	need_equal(lh_arena_open(name, 0, NULL, &arena), 0);
	deeds = storm_run_until(&storm, &seed, tier_pick(LH_MS(600), LH_SEC(4), LH_SEC(15)),
				&tally->enough);
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants %" PRIu64 " (%" PRIu64
	       " told of damage), reads %" PRIu64 ", %" PRIu64 " other keys %" PRIu64
	       " times, busy %" PRIu64 ", full %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->grants, tally->told, tally->reads, tally->came,
	       tally->others, tally->busy, tally->full);
	need(deeds.kills > 0 && tally->grants > 0 && tally->reads > 0 && tally->told > 0 &&
	     tally->came >= keys_wanted());
	need_equal(reap_all(arena).left, 0);
	all_entries_are_to_be_had(arena);
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
		cmocka_unit_test_setup_teardown(keys_come_and_go_under_kills, watch_begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
