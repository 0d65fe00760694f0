// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Named locks taken in any order, by threads whose handles' leases go from one to another, while
// their processes are killed and stopped: whoever closes a cycle is told and gives way, all others
// go on; and those who take their keys in one order, in the same arena and by the same leases, are
// never told.
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 4, THREADS = 2, KEYS = 5, AT_ONCE = 3 };

static struct tally {
	_Atomic uint64_t inside[2][KEYS]; // who, of each key; of the dead until they are told of
	_Atomic uint64_t grants, told;
} * tally;

static const struct lh_acquire_options this_thread = { .flags = LH_ACQUIRE_THIS_THREAD };
static char url[96], name[64];

struct user {
	lh_locks *locks;
	unsigned seed;
	bool ordered;
	uint64_t rounds, self;
	pthread_t thread;
};

static int acquire(struct user *user, uint32_t key, lh_handle **ret_handle)
{
	char text[24];
	int error;

	snprintf(text, sizeof(text), "%s %u", user->ordered ? "ordered" : "any", key);
	error = lh_acquire(user->locks, text, LH_FOREVER, &this_thread, ret_handle);
	if (error == -EDEADLK) {
		need(!user->ordered); // a cycle where there cannot be one
		tally->told++;
		return error;
	}
	need_equal(error, 0);
	_Atomic uint64_t *const inside = &tally->inside[user->ordered][key];
	const bool lost = (lh_handle_flags(*ret_handle) & LH_GRANT_OWNER_DIED) != 0;

	need(lost || atomic_load(inside) == 0); // G1
	atomic_store(inside, user->self);
	if (lost)
		need_equal(lh_handle_consistent(*ret_handle), 0);
	tally->grants++;
	return 0;
}

// Some keys, in one order or in any, and all are let go of.
static void use_some(struct user *user)
{
	lh_handle *handles[AT_ONCE];
	uint32_t keys[AT_ONCE], count = 0;
	uint32_t key = storm_random(&user->seed, user->ordered ? 2 : KEYS);

	while (count < AT_ONCE && acquire(user, key, &handles[count]) == 0) {
		keys[count++] = key;
		if (storm_random(&user->seed, 4) == 0)
			sched_yield();
		// 1, then 2 further on: no key twice, and rings of all lengths.
		key = user->ordered ? key + 1 : (key + (count == 1 ? 1 : 2)) % KEYS;
	}
	while (count) {
		atomic_store(&tally->inside[user->ordered][keys[--count]], 0);
		need_equal(lh_handle_release(handles[count]), 0);
	}
}

static void *use_keys(void *context)
{
	struct user *user = context;

	for (uint64_t i = 0; i < user->rounds; i++)
		use_some(user);
	return NULL;
}

static void run_threads(unsigned seed, uint64_t rounds)
{
	struct user users[THREADS];
	lh_locks *locks;

	need_equal(lh_locks_open(url, &locks), 0);
	for (int i = 0; i < THREADS; i++) {
		users[i] = (struct user){ .locks = locks,
					  .seed = seed + (unsigned)i,
					  .ordered = i == 0,
					  .rounds = rounds,
					  .self = (uint64_t)getpid() * THREADS + (uint64_t)i };
		need_equal(pthread_create(&users[i].thread, NULL, use_keys, &users[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(users[i].thread, NULL);
	need_equal(lh_locks_close(locks), 0);
}

static void for_ever(const struct line *line, void *context)
{
	(void)line;
	run_threads(((struct storm_worker *)context)->seed, UINT64_MAX);
}

static void for_some_rounds(const struct line *line, void *context)
{
	line_hear(line);
	run_threads(*(unsigned *)context, tier_pick(300, 2000, 4000));
}

// G1, G2, G8, and -EDEADLK: "of each cycle one", and nobody else.
static void who_closes_a_cycle_gives_way_and_all_go_on(void **state)
{
	unsigned seed = storm_seed();
	const struct storm storm = { .body = for_ever,
				     .workers = WORKERS,
				     .kills = true,
				     .stops = true,
				     .stop_ns = LH_MS(8),
				     .pause_ns = LH_MS(20) };
	struct storm_deeds deeds;
	struct peer peers[WORKERS];
	uint64_t told;

	(void)state;
	watch("deadlocks under kills", 800);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	need(tally != MAP_FAILED);
	snprintf(name, sizeof(name), "leasehold-cycles-%d", (int)getpid());
	snprintf(url, sizeof(url), "shm://%s?leases=128", name);
	deeds = storm_run_until(&storm, &seed, tier_pick(LH_MS(800), LH_SEC(4), LH_SEC(15)),
				&tally->told);
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants %" PRIu64 ", deadlocks %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->grants, tally->told);
	need(deeds.kills > 0 && tally->grants > 0 && tally->told > 0);
	// Nobody is killed any more: each gets through all its rounds, or the watchdog tells.
	told = tally->told;
	for (int i = 0; i < WORKERS; i++) {
		seed++;
		peers[i] = peer_start(for_some_rounds, &seed);
	}
	for (int i = 0; i < WORKERS; i++)
		line_say(&peers[i].line, 1);
	for (int i = 0; i < WORKERS; i++)
		peer_join(&peers[i]);
	printf("without kills: grants %" PRIu64 ", deadlocks %" PRIu64 "\n", tally->grants,
	       tally->told - told);
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
		cmocka_unit_test_setup_teardown(who_closes_a_cycle_gives_way_and_all_go_on,
						watch_begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
