// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// Every primitive at once, used at random by processes that are killed, and stopped for longer than
// their leases last. What each did and when is logged outside of the arena (history.h), and after
// each round looked through: no two in a lock, no permit too many, no version torn, lost or older
// than one already seen (so the histories are linearizable), no phase of a barrier early, one value
// of a once.
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "arena/reap.h"
#include "tests/support/history.h"
#include "tests/support/storm.h"
#include "tests/support/tier.h"

enum { WORKERS = 6, PERMITS = 5, PARTIES = 3, MANY = 1000, CELL_WORDS = 40, WATCH_WORDS = 200 };
#define TTL_NS LH_MS(15)
#define ROUND_NS LH_MS(800)

enum object { MUTEX, QUEUE, RWLOCK, SEMAPHORE, BARRIER, ONCE, SMALL_WATCH, WATCH, CELL, OBJECTS };

// What a watch or cell carries: a version of the test's own, and words that follow from it.
struct value {
	uint64_t version, words[];
};

static struct history *history;

struct worker {
	unsigned seed;
	int number;
	lh_arena *arena;
	lh_lease *lease;
	bool expires; /* the lease has a TTL */
	lh_mutex mutex, queue;
	lh_condvar filled;
	lh_rwlock rwlock;
	lh_semaphore semaphore;
	lh_barrier barrier;
	lh_once once;
	lh_watch small, watch;
	lh_watch_receiver of_small, of_watch;
	lh_cell cell;
};

static void place_locks(struct worker *worker)
{
	const struct lh_mutex_options mutex = { .name = "mutex", .data_size = 8 };
	const struct lh_mutex_options queue = { .name = "queue", .data_size = 8 };
	const struct lh_condvar_options filled = { .name = "filled" };
	const struct lh_rwlock_options rwlock = { .name = "rwlock" };
	const struct lh_semaphore_options semaphore = { .name = "permits", .permits = PERMITS };
	const struct lh_barrier_options barrier = { .name = "barrier",
						    .parties = PARTIES,
						    .on_death = LH_BARRIER_SHRINK };

	need_equal(lh_mutex_at(worker->arena, LH_ANYWHERE, &mutex, &worker->mutex), 0);
	need_equal(lh_mutex_at(worker->arena, LH_ANYWHERE, &queue, &worker->queue), 0);
	need_equal(lh_condvar_at(worker->arena, LH_ANYWHERE, &filled, &worker->filled), 0);
	need_equal(lh_rwlock_at(worker->arena, LH_ANYWHERE, &rwlock, &worker->rwlock), 0);
	need_equal(lh_semaphore_at(worker->arena, LH_ANYWHERE, &semaphore, &worker->semaphore), 0);
	need_equal(lh_barrier_at(worker->arena, LH_ANYWHERE, &barrier, &worker->barrier), 0);
}

static void place_values(struct worker *worker)
{
	const struct lh_once_options once = { .name = "once", .data_size = 8 };
	const struct lh_watch_options small = { .name = "small", .max_size = 8 };
	const struct lh_watch_options watch = { .name = "watch",
						.max_size = sizeof(uint64_t[WATCH_WORDS]) };
	const struct lh_cell_options cell = { .name = "cell",
					      .size = sizeof(uint64_t[CELL_WORDS]) };

	need_equal(lh_once_at(worker->arena, LH_ANYWHERE, &once, &worker->once), 0);
	need_equal(lh_watch_at(worker->arena, LH_ANYWHERE, &small, &worker->small), 0);
	need_equal(lh_watch_at(worker->arena, LH_ANYWHERE, &watch, &worker->watch), 0);
	need_equal(lh_cell_at(worker->arena, LH_ANYWHERE, &cell, &worker->cell), 0);
	need_equal(lh_watch_subscribe(&worker->small, &worker->of_small), 0);
	need_equal(lh_watch_subscribe(&worker->watch, &worker->of_watch), 0);
}

static lh_deadline some_deadline(struct worker *worker)
{
	switch (storm_random(&worker->seed, 3)) {
	case 0:
		return LH_NOW;
	case 1:
		return lh_deadline_after(1 + storm_random(&worker->seed, 300000));
	default:
		return lh_deadline_after(LH_MS(20));
	}
}

// Ends in an orderly way what cannot be logged any more: the round's storm kills it at last.
static struct history_entry *log_entry(struct worker *worker, struct history_entry entry)
{
	struct history_entry *place = history_add(history, worker->number, entry);

	while (!place)
		pause();
	return place;
}

// A call may fail like this at any time. -ESTALE: the lease is replaced.
static bool is_ordinary(struct worker *worker, int error)
{
	if (error == -ESTALE) {
		need(worker->expires);
		lh_lease_release(worker->lease);
		worker->lease = NULL;
	}
	return error == -ESTALE || error == -EBUSY || error == -ETIMEDOUT;
}

static struct history_entry *begin_hold(struct worker *worker, enum object object, bool writes,
					uint64_t amount, uint64_t token)
{
	return log_entry(worker, (struct history_entry){ .begin_ns = lh_now(),
							 .value = token,
							 .amount = amount,
							 .object = object,
							 .writes = writes });
}

// Whose lease cannot expire can vouch for each moment; others only for the whole, once they have
// let go.
static void stay_inside(struct worker *worker, struct history_entry *hold)
{
	for (uint32_t i = storm_random(&worker->seed, 30); i > 0; i--) {
		const uint64_t now = lh_now();

		if (!worker->expires)
			hold->end_ns = now;
	}
}

// `now`: just before the call that let go, which returned `result`.
static void end_hold(struct worker *worker, struct history_entry *hold, uint64_t now, int result)
{
	if (result == 0)
		hold->end_ns = now;
	else
		need(is_ordinary(worker, result));
}

// ---- mutex and condition variable ----------------------------------------------------------------

static struct history_entry *enter_mutex(struct worker *worker, const lh_mutex *mutex,
					 enum object object, const lh_grant *grant)
{
	struct history_entry *hold = begin_hold(worker, object, true, 1, grant->token);
	const int error = grant->flags & LH_GRANT_OWNER_DIED
				  ? lh_mutex_consistent(mutex, worker->lease)
				  : 0;

	need(error == 0 || (worker->expires && error == -ESTALE));
	return hold;
}

static void use_mutex(struct worker *worker)
{
	struct history_entry *hold;
	lh_grant grant;
	int error = lh_mutex_lock(&worker->mutex, worker->lease, some_deadline(worker), &grant);
	uint64_t now;

	if (error) {
		need(is_ordinary(worker, error));
		return;
	}
	hold = enter_mutex(worker, &worker->mutex, MUTEX, &grant);
	stay_inside(worker, hold);
	now = lh_now();
	error = lh_mutex_unlock(&worker->mutex, worker->lease);
	end_hold(worker, hold, now, error);
}

// Waits give the mutex up: one hold before, another after. Whoever does not wait signals.
static void use_condvar(struct worker *worker)
{
	struct history_entry *hold;
	lh_grant grant;
	int error = lh_mutex_lock(&worker->queue, worker->lease, some_deadline(worker), &grant);
	uint64_t now;

	if (error) {
		need(is_ordinary(worker, error));
		return;
	}
	hold = enter_mutex(worker, &worker->queue, QUEUE, &grant);
	if (storm_random(&worker->seed, 2)) {
		now = lh_now();
		error = lh_condvar_wait(&worker->filled, &worker->queue, worker->lease,
					some_deadline(worker), &grant);
		if (error == -ESTALE) {
			is_ordinary(worker, error);
			return;
		}
		need(error == 0 || is_ordinary(worker, error));
		if (error != -EBUSY) { // then it did not give the mutex up
			hold->end_ns = now;
			hold = enter_mutex(worker, &worker->queue, QUEUE, &grant);
		}
	} else {
		need_equal(storm_random(&worker->seed, 4) ? lh_condvar_signal(&worker->filled)
							  : lh_condvar_broadcast(&worker->filled),
			   0);
	}
	stay_inside(worker, hold);
	now = lh_now();
	error = lh_mutex_unlock(&worker->queue, worker->lease);
	end_hold(worker, hold, now, error);
}

// ---- reader-writer lock and semaphore ------------------------------------------------------------

static void use_rwlock(struct worker *worker)
{
	const bool writes = storm_random(&worker->seed, 4) == 0;
	const lh_deadline deadline = some_deadline(worker);
	struct history_entry *hold;
	lh_grant grant;
	int error = writes ? lh_rwlock_write_lock(&worker->rwlock, worker->lease, deadline, &grant)
			   : lh_rwlock_read_lock(&worker->rwlock, worker->lease, deadline, &grant);
	uint64_t now;

	if (error) {
		need(is_ordinary(worker, error));
		return;
	}
	hold = begin_hold(worker, RWLOCK, writes, writes ? MANY : 1, grant.token);
	if (writes && (grant.flags & LH_GRANT_OWNER_DIED))
		error = lh_rwlock_consistent(&worker->rwlock, worker->lease);
	need(error == 0 || (worker->expires && error == -ESTALE));
	stay_inside(worker, hold);
	now = lh_now();
	error = lh_rwlock_unlock(&worker->rwlock, worker->lease);
	end_hold(worker, hold, now, error);
}

static void use_semaphore(struct worker *worker)
{
	const uint32_t permits = 1 + storm_random(&worker->seed, PERMITS);
	struct history_entry *hold;
	int error = lh_semaphore_acquire(&worker->semaphore, worker->lease, permits,
					 some_deadline(worker));
	uint64_t now;

	if (error) {
		need(is_ordinary(worker, error));
		return;
	}
	hold = begin_hold(worker, SEMAPHORE, false, permits, 0);
	stay_inside(worker, hold);
	now = lh_now();
	error = lh_semaphore_release(&worker->semaphore, worker->lease, permits);
	end_hold(worker, hold, now, error);
}

// ---- barrier and once ----------------------------------------------------------------------------

static void use_barrier(struct worker *worker)
{
	const uint64_t began = lh_now();
	lh_grant grant;
	int error = lh_barrier_wait(&worker->barrier, worker->lease, some_deadline(worker), &grant);

	if (error == 0)
		log_entry(worker, (struct history_entry){ .begin_ns = began,
							  .end_ns = lh_now(),
							  .value = grant.token,
							  .object = BARRIER });
	need(error == 0 || error == -EUSERS || is_ordinary(worker, error));
	if (worker->lease && storm_random(&worker->seed, 3) == 0) { // a place for somebody else
		error = lh_barrier_leave(&worker->barrier, worker->lease);
		need(error == 0 || error == -EPERM || is_ordinary(worker, error));
	}
}

static int initialise(void *data, void *worker_pointer)
{
	struct worker *worker = worker_pointer;

	*(uint64_t *)data = (uint64_t)storm_random(&worker->seed, 1 << 30) + 1;
	return storm_random(&worker->seed, 4) ? -EAGAIN : 0;
}

static void use_once(struct worker *worker)
{
	const uint64_t began = lh_now();
	int error = lh_once_call(&worker->once, worker->lease, initialise, worker,
				 some_deadline(worker));

	if (error == 0) {
		const uint64_t *value = lh_once_data(&worker->once);

		need(value && *value && lh_once_done(&worker->once));
		log_entry(worker, (struct history_entry){ .begin_ns = began,
							  .end_ns = lh_now(),
							  .value = 1,
							  .amount = *value,
							  .object = ONCE });
	}
	need(error == 0 || error == -EAGAIN || is_ordinary(worker, error));
}

// ---- watch and cell ------------------------------------------------------------------------------

static uint64_t word_of(uint64_t version, size_t index)
{
	return (version + index) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(struct value *value, uint64_t version, size_t words)
{
	value->version = version;
	for (size_t i = 1; i < words; i++)
		value->words[i - 1] = word_of(version, i);
}

// G7: of one version, all of it; a value that nobody wrote is all zeroes.
static void need_whole(const struct value *value, size_t words)
{
	for (size_t i = 1; i < words; i++)
		need(value->words[i - 1] == (value->version ? word_of(value->version, i) : 0));
}

static void log_version(struct worker *worker, enum object object, bool writes, uint64_t began,
			uint64_t version, uint64_t amount)
{
	log_entry(worker, (struct history_entry){ .begin_ns = began,
						  .end_ns = lh_now(),
						  .value = version,
						  .amount = amount,
						  .object = object,
						  .writes = writes });
}

// The version of the newest value, which is looked through and logged; 0: none was sent.
static uint64_t read_watch(struct worker *worker, lh_watch_receiver *receiver, enum object object)
{
	uint64_t room[WATCH_WORDS], version;
	const uint64_t began = lh_now();
	size_t size;
	const int error = lh_watch_read(receiver, room, sizeof(room), &size, &version);

	if (error == -ENODATA)
		return 0;
	need_equal(error, 0);
	need(size >= 8 && size % 8 == 0 && version > 0);
	need_whole((struct value *)room, size / 8);
	log_version(worker, object, false, began, room[0], size);
	return room[0];
}

// The sender is alone; so the next version is the newest one's and one. Its size goes with it.
static void use_watch(struct worker *worker, const lh_watch *watch, lh_watch_receiver *receiver,
		      enum object object)
{
	uint64_t room[WATCH_WORDS], version;
	size_t words;
	uint64_t began;
	int error;

	if (storm_random(&worker->seed, 4)) {
		error = lh_watch_changed(receiver, some_deadline(worker));
		need(error == 0 || error == -EBUSY || error == -ETIMEDOUT || error == -EPIPE);
		read_watch(worker, receiver, object);
		return;
	}
	error = lh_watch_claim(watch, worker->lease);
	if (error) {
		need(is_ordinary(worker, error));
		return;
	}
	for (uint32_t sends = storm_random(&worker->seed, 4); sends > 0; sends--) {
		version = read_watch(worker, receiver, object) + 1;
		words = object == SMALL_WATCH ? 1 : 1 + version % WATCH_WORDS;
		fill((struct value *)room, version, words);
		began = lh_now();
		error = lh_watch_send(watch, worker->lease, room, words * 8);
		if (error) {
			need(is_ordinary(worker, error));
			return;
		}
		log_version(worker, object, true, began, version, words * 8);
	}
	error = lh_watch_close(watch, worker->lease);
	need(error == 0 || is_ordinary(worker, error));
}

static void use_cell(struct worker *worker)
{
	uint64_t room[CELL_WORDS], began = lh_now();
	struct value *draft;
	lh_grant grant;
	void *bytes;
	int error;

	if (storm_random(&worker->seed, 3)) {
		need_equal(lh_cell_read(&worker->cell, room, NULL), 0);
		need_whole((struct value *)room, CELL_WORDS);
		log_version(worker, CELL, false, began, room[0], 0);
		return;
	}
	error = lh_cell_begin(&worker->cell, worker->lease, some_deadline(worker), &bytes, &grant);
	if (error) {
		need(is_ordinary(worker, error));
		return;
	}
	draft = bytes;
	need_whole(draft, CELL_WORDS);
	fill(draft, draft->version + 1, CELL_WORDS);
	memcpy(room, draft, sizeof(room[0]));
	began = lh_now();
	error = storm_random(&worker->seed, 5) ? lh_cell_commit(&worker->cell, worker->lease)
					       : lh_cell_abort(&worker->cell, worker->lease) - 1;
	if (error == 0)
		log_version(worker, CELL, true, began, room[0], 0);
	else
		need(error == -1 || error == -ESTALE - 1 || is_ordinary(worker, error));
	if (error == -ESTALE - 1)
		is_ordinary(worker, -ESTALE);
}

// ---- the storm -----------------------------------------------------------------------------------

static void renew_lease(struct worker *worker)
{
	const struct lh_lease_options expiring = { .ttl_ns = TTL_NS };

	if (!worker->lease)
		need_equal(lh_lease_acquire(worker->arena, worker->expires ? &expiring : NULL,
					    &worker->lease),
			   0);
	else if (worker->expires)
		is_ordinary(worker, lh_lease_renew(worker->lease, TTL_NS));
}

static void use_small_watch(struct worker *worker)
{
	use_watch(worker, &worker->small, &worker->of_small, SMALL_WATCH);
}

static void use_large_watch(struct worker *worker)
{
	use_watch(worker, &worker->watch, &worker->of_watch, WATCH);
}

static void (*const uses[OBJECTS])(struct worker *worker) = {
	[MUTEX] = use_mutex,
	[QUEUE] = use_condvar,
	[RWLOCK] = use_rwlock,
	[SEMAPHORE] = use_semaphore,
	[BARRIER] = use_barrier,
	[ONCE] = use_once,
	[SMALL_WATCH] = use_small_watch,
	[WATCH] = use_large_watch,
	[CELL] = use_cell,
};

static void use_all(const struct line *line, void *context)
{
	const struct storm_worker *given = context;
	struct worker worker = { .seed = given->seed, .number = given->number };

	(void)line;
	need_equal(lh_arena_open(stage_name(), 0, NULL, &worker.arena), 0);
	place_locks(&worker);
	place_values(&worker);
	worker.expires = storm_random(&worker.seed, 2);
	for (;;) {
		renew_lease(&worker);
		if (worker.lease)
			uses[storm_random(&worker.seed, OBJECTS)](&worker);
	}
}

static void look(void *stage_pointer)
{
	stage_is_sound((const struct stage *)stage_pointer);
}

static void describe(void)
{
	static const struct {
		enum history_rule rule;
		uint64_t units;
		const char *name;
	} rules[OBJECTS] = {
		[MUTEX] = { HISTORY_HOLDS, 1, "mutex" },
		[QUEUE] = { HISTORY_HOLDS, 1, "mutex of the condvar" },
		[RWLOCK] = { HISTORY_HOLDS, MANY, "rwlock" },
		[SEMAPHORE] = { HISTORY_HOLDS, PERMITS, "semaphore" },
		[BARRIER] = { HISTORY_PHASES, 0, "barrier" },
		[ONCE] = { HISTORY_VERSIONS, 0, "once" },
		[SMALL_WATCH] = { HISTORY_VERSIONS, 0, "small watch" },
		[WATCH] = { HISTORY_VERSIONS, 0, "watch" },
		[CELL] = { HISTORY_VERSIONS, 0, "cell" },
	};

	for (int i = 0; i < OBJECTS; i++) {
		history->objects[i].rule = rules[i].rule;
		history->objects[i].units = rules[i].units;
		history->objects[i].name = rules[i].name;
	}
}

// Nobody is left: everything is to be had at once.
static void need_all_free(struct stage *stage)
{
	struct worker worker = { .arena = stage->arena, .seed = 1 };
	uint32_t permits;

	stage_lease(stage, NULL);
	place_locks(&worker);
	place_values(&worker);
	reap_all(stage->arena);
	for (permits = 0; lh_semaphore_acquire(&worker.semaphore, stage->lease, 1, LH_NOW) == 0;)
		permits++;
	need_equal(permits, PERMITS); // G6
	need_equal(lh_semaphore_release(&worker.semaphore, stage->lease, PERMITS), 0);
	need_equal(lh_lease_release(stage->lease), 0);
	stage->lease = NULL;
	stage_is_clean(stage);
}

// As long as the tier wants, or so many seconds as LEASEHOLD_SECONDS says, for a long run by hand.
static uint64_t duration(void)
{
	const char *seconds = getenv("LEASEHOLD_SECONDS");

	return seconds ? LH_SEC(strtoull(seconds, NULL, 10))
		       : tier_pick(LH_SEC(2), LH_SEC(12), LH_SEC(30));
}

// G1 to G8, G10, G12.
static void all_primitives_under_kills_stops_and_expiries(void **state)
{
	unsigned seed = storm_seed();
	const uint64_t end = lh_now() + duration();
	uint64_t entries = 0, kills = 0, stops = 0, rounds = 0;

	(void)state;
	watch("all primitives at once", (unsigned)(duration() / LH_SEC(1)) + 740);
	history = history_create();
	need(history != NULL);
	describe();
	for (; lh_now() < end; rounds++) {
		struct stage stage = stage_open(NULL, 0);
		const struct storm storm = { .body = use_all,
					     .workers = WORKERS,
					     .kills = true,
					     .stops = true,
					     .stop_ns = 3 * TTL_NS,
					     .pause_ns = LH_MS(8),
					     .each = look,
					     .context = &stage };
		struct storm_deeds deeds;
		size_t count;

		history_clear(history);
		deeds = storm_run(&storm, &seed, lh_now() + ROUND_NS);
		need(history_check(history, &count));
		entries += count;
		kills += deeds.kills;
		stops += deeds.stops;
		need_all_free(&stage);
		stage_close(&stage);
		stage_unlink();
	}
	history_destroy(history);
	printf("rounds %" PRIu64 ", kills %" PRIu64 ", stops %" PRIu64 ", entries %" PRIu64
	       ", violations 0\n",
	       rounds, kills, stops, entries);
	need(kills > 0 && entries > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(all_primitives_under_kills_stops_and_expiries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
