// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Processes that send to watches, write to cells and read both, while others of them are killed,
// stopped past their leases' expiry and continued.
//
// Every value is made of its version: who sends or drafts reads the version before, and while it is
// the one that may publish nobody else's comes between. So a value that is torn, that was lost or
// overwritten, or that one who was replaced has published, does not fit its version. Beside the
// arena, in memory of the test's own, stands how far each object is known to have come.
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 6, KINDS = 3, LARGEST = 20000 };

static const size_t sizes[KINDS] = { 8, 205, LARGEST }; // each is copied in another way
static const char *const watch_names[KINDS] = { "watch 0", "watch 1", "watch 2" };
static const char *const cell_names[KINDS] = { "cell 0", "cell 1", "cell 2" };

// Not in the arena.
struct oracle {
	_Atomic uint64_t watch_floor[KINDS], cell_floor[KINDS]; // versions that were published
	_Atomic uint64_t sent, committed, reads, lost, ends, refused;
};

static struct oracle *oracle;

struct player {
	struct stage stage;
	unsigned seed;
	lh_watch watches[KINDS];
	lh_watch_receiver receivers[KINDS];
	lh_cell cells[KINDS];
	uint64_t last_watch[KINDS], last_cell[KINDS];
	uint8_t value[LARGEST], other[LARGEST];
};

static void fill(uint8_t *value, size_t size, uint64_t version)
{
	if (version == 0) { // a cell's first
		memset(value, 0, size);
		return;
	}
	for (size_t i = 0; i < size; i++)
		value[i] = (uint8_t)(version >> 8 * (i % 4)) ^ (uint8_t)(i / 8 * 37);
}

static void raise_to(_Atomic uint64_t *floor, uint64_t version)
{
	uint64_t before = atomic_load(floor);

	while (before < version && !atomic_compare_exchange_weak(floor, &before, version))
		;
}

static void place(struct player *player)
{
	for (int i = 0; i < KINDS; i++) {
		const struct lh_watch_options watch = { .max_size = sizes[i],
							.name = watch_names[i] };
		const struct lh_cell_options cell = { .size = sizes[i], .name = cell_names[i] };

		need_equal(
			lh_watch_at(player->stage.arena, LH_ANYWHERE, &watch, &player->watches[i]),
			0);
		need_equal(lh_watch_subscribe(&player->watches[i], &player->receivers[i]), 0);
		need_equal(lh_cell_at(player->stage.arena, LH_ANYWHERE, &cell, &player->cells[i]),
			   0);
	}
}

static void forget_lease(struct player *player, int result)
{
	need_equal(result, -ESTALE);
	need_equal(lh_lease_release(player->stage.lease), -ESTALE);
	player->stage.lease = NULL;
	oracle->lost++;
}

// ---- reading -------------------------------------------------------------------------------------

// G7
static void is_right(struct player *player, size_t size, uint64_t version, uint64_t floor,
		     uint64_t *last)
{
	fill(player->other, size, version);
	need(memcmp(player->value, player->other, size) == 0);
	need(version >= floor);
	need(version >= *last);
	*last = version;
	oracle->reads++;
}

static uint64_t read_watch(struct player *player, int i)
{
	const uint64_t floor = atomic_load(&oracle->watch_floor[i]);
	uint64_t version = 0;
	size_t size = 0;
	const int error = lh_watch_read(&player->receivers[i], player->value, LARGEST, &size,
					&version);

	if (error == -ENODATA) {
		need_equal((int64_t)floor, 0);
		return 0;
	}
	need_equal(error, 0);
	need_equal((int64_t)size, (int64_t)sizes[i]);
	is_right(player, size, version, floor, &player->last_watch[i]);
	return version;
}

static void read_cell(struct player *player, int i)
{
	const uint64_t floor = atomic_load(&oracle->cell_floor[i]);
	uint64_t version;

	need_equal(lh_cell_read(&player->cells[i], player->value, &version), 0);
	is_right(player, sizes[i], version, floor, &player->last_cell[i]);
}

static void await_change(struct player *player, int i)
{
	const int error = lh_watch_changed(&player->receivers[i], lh_deadline_after(LH_MS(3)));

	need(error == 0 || error == -EPIPE || error == -ETIMEDOUT);
	oracle->ends += error == -EPIPE;
	if (error == 0)
		read_watch(player, i);
}

// ---- publishing ----------------------------------------------------------------------------------

static void send_some(struct player *player, int i)
{
	uint64_t version;
	int error = lh_watch_claim(&player->watches[i], player->stage.lease);

	if (error == -EBUSY) {
		oracle->refused++;
		return;
	}
	version = error ? 0 : read_watch(player, i);
	for (uint32_t count = 1 + storm_random(&player->seed, 20); !error && count; count--) {
		fill(player->value, sizes[i], ++version);
		error = lh_watch_send(&player->watches[i], player->stage.lease, player->value,
				      sizes[i]);
		if (error == -EBUSY) { // zombies on every spare slot; it is the sender all the same
			version--;
			error = 0;
			oracle->refused++;
		} else if (!error) {
			raise_to(&oracle->watch_floor[i], version);
			oracle->sent++;
		}
	}
	if (!error && storm_random(&player->seed, 2))
		error = lh_watch_close(&player->watches[i], player->stage.lease);
	if (error)
		forget_lease(player, error);
}

static void write_cell(struct player *player, int i)
{
	lh_grant grant;
	uint64_t version;
	void *draft;
	int error = lh_cell_begin(&player->cells[i], player->stage.lease,
				  lh_deadline_after(storm_random(&player->seed, 3000000)), &draft,
				  &grant);

	if (error == -ETIMEDOUT || error == -EBUSY) {
		oracle->refused++;
		return;
	}
	if (!error) {
		need_equal((int64_t)grant.flags, 0);
		// The value cannot change unless this lease is lost.
		need_equal(lh_cell_read(&player->cells[i], player->value, &version), 0);
		fill(draft, sizes[i], version + 1);
		error = storm_random(&player->seed, 8)
				? lh_cell_commit(&player->cells[i], player->stage.lease)
				: 1;
		if (error == 1 || error == -EBUSY) {
			error = lh_cell_abort(&player->cells[i], player->stage.lease);
		} else if (!error) {
			raise_to(&oracle->cell_floor[i], version + 1);
			oracle->committed++;
		}
	}
	if (error)
		forget_lease(player, error);
}

static void play(const struct line *line, void *context)
{
	static struct player player;
	const struct storm_worker worker = *(struct storm_worker *)context;

	(void)line;
	player = (struct player){ .seed = worker.seed, .stage = stage_open(NULL, 0) };
	place(&player);
	for (;;) {
		const struct lh_lease_options timed = {
			.ttl_ns = LH_MS(2) + storm_random(&player.seed, 6000000)
		};
		const int i = (int)storm_random(&player.seed, KINDS);

		if (!player.stage.lease)
			stage_lease(&player.stage, storm_random(&player.seed, 3) ? &timed : NULL);
		switch (storm_random(&player.seed, 5)) {
		case 0:
			send_some(&player, i);
			break;
		case 1:
			write_cell(&player, i);
			break;
		case 2:
			await_change(&player, i);
			break;
		case 3:
			read_watch(&player, i);
			break;
		default:
			read_cell(&player, i);
		}
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

// G1, G2, G3, G4, G5, G7, G8.
static void no_value_is_torn_lost_or_published_by_the_replaced(void **state)
{
	static struct player player;
	unsigned seed = storm_seed();
	struct storm storm = { .body = play,
			       .workers = WORKERS,
			       .kills = true,
			       .stops = true,
			       .stop_ns = LH_MS(12),
			       .pause_ns = LH_MS(4),
			       .each = look };
	struct storm_deeds deeds;

	(void)state;
	watch("killing and stopping", 800);
	oracle = mmap(NULL, sizeof(*oracle), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	need(oracle != MAP_FAILED);
	player = (struct player){ .seed = seed, .stage = stage_open(NULL, 0) };
	place(&player);
	storm.context = &player.stage;
	deeds = storm_run(&storm, &seed, lh_now() + tier_pick(LH_MS(800), LH_SEC(5), LH_SEC(15)));

	stage_lease(&player.stage, NULL);
	for (int i = 0; i < KINDS; i++) { // nobody is left: all is to be had, and goes on
		send_some(&player, i);
		read_watch(&player, i);
		write_cell(&player, i);
		read_cell(&player, i);
	}
	printf("kills %" PRIu64 ", stops %" PRIu64 ", sent %" PRIu64 ", committed %" PRIu64
	       ", reads %" PRIu64 ", leases lost %" PRIu64 ", senders' ends %" PRIu64
	       ", refused %" PRIu64 "\n",
	       deeds.kills, deeds.stops, oracle->sent, oracle->committed, oracle->reads,
	       oracle->lost, oracle->ends, oracle->refused);
	need(deeds.kills > 0 && oracle->sent > 0 && oracle->committed > 0 && oracle->reads > 0);
	need_equal(lh_lease_release(player.stage.lease), 0);
	player.stage.lease = NULL;
	stage_is_clean(&player.stage);
	stage_close(&player.stage);
	stage_unlink();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(no_value_is_torn_lost_or_published_by_the_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
