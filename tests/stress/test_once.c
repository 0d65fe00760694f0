// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Processes that initialise one object after the other, fail at random, and are killed, stopped
// until their leases have expired, and started anew. A ledger outside of the arena keeps the first
// value that anybody saw of each: everybody sees that one, whole, for ever.
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

#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 5, WORDS = 32, OBJECTS = 400 };

static struct ledger {
	_Atomic uint64_t values[OBJECTS]; // as first seen; 0: not yet
	_Atomic uint64_t attempts, failed, late, serial;
} * ledger;

static uint64_t end_ns, begin_ns;

static lh_once place(const struct stage *stage, unsigned number)
{
	char name[32];
	const struct lh_once_options options = { .data_size = WORDS * sizeof(uint64_t),
						 .name = name };
	lh_once once;

	snprintf(name, sizeof(name), "once %u", number);
	need_equal(lh_once_at(stage->arena, LH_ANYWHERE, &options, &once), 0);
	return once;
}

struct job {
	uint64_t value;
	bool fails, dawdles;
};

static int fill(void *data, void *context)
{
	const struct job *job = context;
	uint64_t *words = data;

	atomic_fetch_add(&ledger->attempts, 1);
	for (int i = 0; i < WORDS; i++) {
		need(words[i] == 0);
		words[i] = job->value;
		if (job->dawdles)
			sched_yield();
	}
	return job->fails ? -ENXIO : 0;
}

// G7: whole, and the value that everybody sees.
static void check(const lh_once *once, unsigned number)
{
	const uint64_t *words = lh_once_data(once);
	uint64_t none = 0;

	need(words != NULL && words[0] != 0);
	for (int i = 1; i < WORDS; i++)
		need(words[i] == words[0]);
	atomic_compare_exchange_strong(&ledger->values[number], &none, words[0]);
	need(atomic_load(&ledger->values[number]) == words[0]);
}

// All are at about the same objects at the same time.
static unsigned object_of_the_moment(unsigned *seed)
{
	const uint64_t passed = lh_now() - begin_ns, all = end_ns - begin_ns;
	const unsigned present = (unsigned)(passed >= all ? OBJECTS - 1 : passed * OBJECTS / all);

	return storm_random(seed, 4) ? present : storm_random(seed, present + 1);
}

static void call_at_random(const struct line *line, void *context)
{
	static const struct lh_lease_options brief = { .ttl_ns = LH_MS(3) };
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);

	(void)line;
	for (;;) {
		const unsigned number = object_of_the_moment(&worker.seed);
		const lh_once once = place(&stage, number);
		struct job job = { .value = atomic_fetch_add(&ledger->serial, 1) + 1,
				   .fails = storm_random(&worker.seed, 3) == 0,
				   .dawdles = storm_random(&worker.seed, 2) == 0 };
		int result;

		stage_lease(&stage, storm_random(&worker.seed, 2) ? &brief : NULL);
		result = lh_once_call(&once, stage.lease, fill, &job,
				      storm_random(&worker.seed, 4) ? LH_FOREVER : LH_NOW);
		if (result == 0)
			check(&once, number);
		else
			need(result == -ENXIO || result == -EBUSY || result == -ESTALE);
		if (result == -ENXIO)
			atomic_fetch_add(&ledger->failed, 1);
		if (result == -ESTALE)
			atomic_fetch_add(&ledger->late, 1);
		lh_lease_release(stage.lease);
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G1, G2, G3, G4, G7, G8.
static void everybody_sees_one_whole_value_of_each(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	unsigned seed = storm_seed();
	struct storm storm = { .body = call_at_random,
			       .workers = WORKERS,
			       .kills = true,
			       .stops = true,
			       .stop_ns = LH_MS(8),
			       .pause_ns = LH_MS(4),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;
	unsigned done = 0;

	(void)state;
	watch("killing and stopping", 800);
	begin_ns = lh_now();
	end_ns = begin_ns + tier_pick(LH_MS(800), LH_SEC(5), LH_SEC(15));
	deeds = storm_run(&storm, &seed, end_ns);
	stage_lease(&stage, NULL);
	for (unsigned i = 0; i < OBJECTS; i++) {
		const lh_once once = place(&stage, i);
		struct job job = { .value = UINT64_MAX };

		done += atomic_load(&ledger->values[i]) != 0;
		need_equal(lh_once_call(&once, stage.lease, fill, &job, LH_FOREVER), 0);
		check(&once, i);
	}
	printf("kills %" PRIu64 ", stops %" PRIu64 ", objects %u, attempts %" PRIu64
	       ", failed %" PRIu64 ", too late %" PRIu64 "\n",
	       deeds.kills, deeds.stops, done, ledger->attempts, ledger->failed, ledger->late);
	need(deeds.kills > 0 && done > 0 && ledger->failed > 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(everybody_sees_one_whole_value_of_each),
	};

	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (ledger == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
