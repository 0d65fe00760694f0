// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Parties that wait, give up, leave and join at random while others of them are killed, stopped and
// started anew. A ledger outside of the arena says which parties have been told of a phase and do
// not wait for the next yet: nobody may be told of that before they do, unless they died. And it
// counts the leaders of each phase. Nobody is stranded.
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

enum { WORKERS = 5, PHASES = 1 << 22 };

static struct ledger {
	_Atomic uint32_t leaders[PHASES];
	_Atomic uint64_t phases, broken, given_up;
	// Of each worker: who it is, and the phase that it was told of, while it does not wait;
	// else 0.
	struct {
		_Atomic pid_t pid;
		_Atomic uint64_t rests_after;
	} parties[WORKERS];
} * ledger;

static lh_barrier place(const struct stage *stage, unsigned on_death)
{
	const struct lh_barrier_options options = { .parties = WORKERS,
						    .on_death = on_death,
						    .name = on_death ? "shrinks" : "breaks" };
	lh_barrier barrier;

	need_equal(lh_barrier_at(stage->arena, LH_ANYWHERE, &options, &barrier), 0);
	return barrier;
}

// Not one that is ending: its death is told before it is gone (PF_EXITING of proc(5)'s flags).
#define EXITING 4u
static bool runs(pid_t pid)
{
	char path[64], state = 'X';
	unsigned flags = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		state = 'X';
	fclose(file);
	return state != 'Z' && state != 'X' && !(flags & EXITING);
}

// A party that was told of an earlier phase and has not gone on to wait since cannot have arrived.
static void check_early(uint64_t phase)
{
	for (int i = 0; i < WORKERS; i++) {
		const uint64_t rests = atomic_load(&ledger->parties[i].rests_after);
		const pid_t pid = atomic_load(&ledger->parties[i].pid);

		if (rests == 0 || rests >= phase || !runs(pid))
			continue;
		// It runs: so it did when it was missed, if it is the same and has not gone on.
		need(atomic_load(&ledger->parties[i].rests_after) != rests ||
		     atomic_load(&ledger->parties[i].pid) != pid);
	}
}

static void note_phase(int number, const lh_grant *grant)
{
	need(grant->token > 0 && grant->token < PHASES);
	check_early(grant->token);
	if (grant->flags & LH_GRANT_LEADER)
		need_equal(atomic_fetch_add(&ledger->leaders[grant->token], 1), 0);
	atomic_fetch_add(&ledger->phases, 1);
	atomic_store(&ledger->parties[number].rests_after, grant->token);
}

static unsigned policy;

static lh_deadline some_deadline(unsigned *seed)
{
	switch (storm_random(seed, 6)) {
	case 0:
		return LH_NOW;
	case 1:
		return lh_deadline_after(storm_random(seed, 1000000));
	default:
		return LH_FOREVER;
	}
}

static void wait_at_random(const struct line *line, void *context)
{
	struct storm_worker worker = *(struct storm_worker *)context;
	struct stage stage = stage_open(NULL, 0);
	const lh_barrier barrier = place(&stage, policy);
	lh_grant grant;
	int result;

	(void)line;
	atomic_store(&ledger->parties[worker.number].rests_after, 0);
	atomic_store(&ledger->parties[worker.number].pid, getpid());
	for (;;) {
		if (!stage.lease)
			stage_lease(&stage, NULL);
		if (storm_random(&worker.seed, 8) == 0)
			sched_yield();
		atomic_store(&ledger->parties[worker.number].rests_after, 0);
		result = lh_barrier_wait(&barrier, stage.lease, some_deadline(&worker.seed),
					 &grant);
		if (result == 0) {
			note_phase(worker.number, &grant);
		} else if (result == -EOWNERDEAD) {
			atomic_fetch_add(&ledger->broken, 1);
			need_equal(lh_barrier_reset(&barrier), 0);
		} else {
			need(result == -EBUSY || result == -ETIMEDOUT || result == -EUSERS);
			atomic_fetch_add(&ledger->given_up, 1);
		}
		if (storm_random(&worker.seed, 100) == 0) {
			atomic_store(&ledger->parties[worker.number].rests_after, 0);
			need_equal(lh_lease_release(stage.lease), 0);
			stage.lease = NULL;
		}
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G2, G6, G8.
static void run(unsigned on_death)
{
	struct stage stage = stage_open(NULL, 0);
	unsigned seed = storm_seed();
	struct storm storm = { .body = wait_at_random,
			       .workers = WORKERS,
			       .kills = true,
			       .stops = true,
			       .stop_ns = LH_MS(4),
			       .pause_ns = LH_MS(8),
			       .each = look,
			       .context = &stage };
	struct storm_deeds deeds;

	policy = on_death;
	memset(ledger, 0, sizeof(*ledger));
	watch("killing and stopping", 800);
	deeds = storm_run(&storm, &seed, lh_now() + tier_pick(LH_MS(800), LH_SEC(5), LH_SEC(15)));
	printf("kills %" PRIu64 ", stops %" PRIu64 ", phases told %" PRIu64 ", broken %" PRIu64
	       ", given up %" PRIu64 "\n",
	       deeds.kills, deeds.stops, ledger->phases, ledger->broken, ledger->given_up);
	need(deeds.kills > 0 && ledger->phases > 0);
	need((ledger->broken > 0) == (on_death == LH_BARRIER_BREAK));
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

static void a_barrier_that_breaks_is_mended_and_loses_nobody(void **state)
{
	(void)state;
	run(LH_BARRIER_BREAK);
}

static void a_barrier_that_shrinks_goes_on(void **state)
{
	(void)state;
	run(LH_BARRIER_SHRINK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(a_barrier_that_breaks_is_mended_and_loses_nobody),
		STAGED(a_barrier_that_shrinks_goes_on),
	};

	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (ledger == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
