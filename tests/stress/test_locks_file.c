// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Named locks in files while the processes that use them are killed and stopped: nobody shares what
// is another's, tokens rise, who died holding is told, and no permit is lost.
#include "tests/contract/locks.h"

#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 6, KEYS = 6, PERMITS = 3 };

// Of each key, outside of the files; written under its lock.
struct watched {
	uint64_t token;
	_Atomic uint64_t inside; // who, from just after the grant to just before the release
};

static struct tally {
	struct watched keys[KEYS];
	_Atomic uint64_t slots[PERMITS]; // the process that has it
	_Atomic uint64_t grants, reads, permits, busy, late, told;
} * tally;

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

// G6: no two have the same permit.
static void use_permit(lh_handle *handle, uint64_t self, unsigned *seed)
{
	const int slot = lh_handle_slot(handle);

	need(slot >= 0 && slot < PERMITS);
	atomic_store(&tally->slots[slot], self);
	stay_a_while(seed);
	need_equal((int64_t)atomic_load(&tally->slots[slot]), (int64_t)self);
	tally->permits++;
}

static void use_some_key(unsigned *seed, uint64_t self)
{
	const uint32_t number = storm_random(seed, KEYS), what = storm_random(seed, 4);
	const struct lh_acquire_options options = { .mode = what == 0 ? LH_SHARED : LH_EXCLUSIVE,
						    .max_holders = what == 1 ? PERMITS : 0 };
	const lh_deadline deadlines[] = { LH_NOW, LH_FOREVER, LH_FOREVER,
					  lh_deadline_after(LH_MS(2)) };
	lh_handle *handle;
	char key[24];
	int error;

	snprintf(key, sizeof(key), what == 1 ? "pool" : "key %u", number);
	error = lh_acquire(locks_scene.locks, key, deadlines[storm_random(seed, 4)], &options,
			   &handle);
	if (error) {
		need(error == -EBUSY || error == -ETIMEDOUT);
		(*(error == -EBUSY ? &tally->busy : &tally->late))++;
		return;
	}
	if (what == 1)
		use_permit(handle, self, seed);
	else if (what == 0)
		read_key(&tally->keys[number], handle, seed);
	else
		write_key(&tally->keys[number], handle, self, seed);
	need_equal(lh_handle_release(handle), 0);
}

static void use_keys(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	const uint64_t self = (uint64_t)getpid();

	(void)line;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	for (;;)
		use_some_key(&worker.seed, self);
}

// G1, G2, G5, G6, G8, G12
static void files_under_kills(void **state)
{
	const struct lh_acquire_options options = { .max_holders = PERMITS };
	unsigned seed = storm_seed();
	const struct storm storm = { .body = use_keys,
				     .workers = WORKERS,
				     .kills = true,
				     .stops = true,
				     .stop_ns = LH_MS(8),
				     .pause_ns = LH_MS(5) };
	struct storm_deeds deeds;
	lh_handle *handles[PERMITS];

	(void)state;
	watch("files under kills", 800);
	tally = locks_share(sizeof(*tally));
	deeds = storm_run_until(&storm, &seed, tier_pick(LH_MS(600), LH_SEC(4), LH_SEC(15)),
				&tally->told);
	printf("kills %" PRIu64 ", stops %" PRIu64 ", grants %" PRIu64 " (%" PRIu64
	       " told of damage), reads %" PRIu64 ", permits %" PRIu64 ", busy %" PRIu64
	       ", late %" PRIu64 "\n",
	       deeds.kills, deeds.stops, tally->grants, tally->told, tally->reads, tally->permits,
	       tally->busy, tally->late);
	need(deeds.kills > 0 && tally->grants > 0 && tally->reads > 0 && tally->permits > 0 &&
	     tally->told > 0);
	for (unsigned i = 0; i < KEYS; i++) {
		char key[24];

		snprintf(key, sizeof(key), "key %u", i);
		let_go(hold(key, NULL));
	}
	for (int i = 0; i < PERMITS; i++)
		handles[i] = hold("pool", &options);
	need_equal(attempt("pool", &options), -EBUSY);
	for (int i = 0; i < PERMITS; i++)
		let_go(handles[i]);
	close_all();
}

static int begin(void **state)
{
	const int result = watch_begin(state);

	locks_make_directory("/dev/shm", "");
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	return result;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_under_kills, begin, locks_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
