// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Reader-writer locks whose holders are lost: what is told, who waits for whom, and cycles.
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "src/rwlock.h"

static const struct lh_rwlock_options no_repair = { .flags = LH_NO_REPAIR };

static lh_rwlock place(lh_arena *arena, const struct lh_rwlock_options *options)
{
	lh_rwlock rwlock = { { 0 } };

	assert_int_equal(lh_rwlock_at(arena, LH_ANYWHERE, options, &rwlock), 0);
	return rwlock;
}

static lh_rwlock at(const struct worker_stage *stage, uint64_t offset)
{
	lh_rwlock rwlock;

	if (lh_rwlock_at(stage->arena, offset, NULL, &rwlock) != 0)
		need(lh_rwlock_at(stage->arena, offset, &no_repair, &rwlock) == 0);
	return rwlock;
}

static int read_lock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_read_lock(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

static int write_lock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_write_lock(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

static int upgrade(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_upgrade(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

static int downgrade(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_downgrade(&rwlock, stage->lease);
}

static int unlock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_unlock(&rwlock, stage->lease);
}

static struct worker *holder(lh_arena *arena, const struct lh_lease_options *options,
			     worker_step step, const lh_rwlock *rwlock)
{
	struct worker *worker = worker_start(WORKER_PROCESS, arena, options);

	assert_int_equal(worker_do(worker, step, lh_rwlock_offset(rwlock)), 0);
	return worker;
}

// ---- death ---------------------------------------------------------------------------------------

// G2, G12
static void a_lost_writer_is_told_to_all_until_a_writer_repairs(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct worker *writer = holder(scene->arena, NULL, write_lock, &rwlock);
	const uint64_t lost = worker_lease(writer);
	const uint64_t token = worker_grant(writer).token;
	lh_lease *one = scene_lease(scene->arena), *other = scene_lease(scene->arena);
	lh_grant grant;

	worker_kill(writer);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, one, LH_NOW, NULL), -EOWNERDEAD);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, one, LH_NOW, NULL), -EOWNERDEAD);
	assert_int_equal(lh_rwlock_unlock(&rwlock, one), -EPERM);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lh_rwlock_read_lock(&rwlock, i ? one : other, LH_NOW, &grant), 0);
		assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
		assert_int_equal(grant.previous, lost);
		assert_int_equal(grant.token, token);
	}
	assert_int_equal(lh_rwlock_read_lock(&rwlock, one, LH_NOW, NULL), -EOWNERDEAD); // nested
	assert_int_equal(lh_rwlock_upgrade(&rwlock, one, LH_NOW, NULL), -EOWNERDEAD);
	assert_int_equal(lh_rwlock_consistent(&rwlock, one), -EPERM);
	assert_int_equal(lh_rwlock_unlock(&rwlock, other), 0);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, one, LH_NOW, &grant), 0);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.previous, lost);
	assert_true(grant.token > token);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, one), 0); // not repaired
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, &grant), 0);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_rwlock_unlock(&rwlock, other), 0);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, one, LH_NOW, &grant), 0);
	assert_int_equal(lh_rwlock_consistent(&rwlock, one), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, one), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, other, LH_NOW, NULL), 0);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_OWNER_DIED, lost),
			 2); // lease and lock
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

static void without_repair_nobody_is_told(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, &no_repair);
	lh_lease *lease = scene_lease(scene->arena);
	lh_grant grant;

	worker_kill(holder(scene->arena, NULL, write_lock, &rwlock));
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, &grant), 0);
	assert_int_equal(grant.flags, 0);
	assert_int_equal(grant.previous, 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G2: "a dead reader never delays a writer"; and it is no damage, nor is a writer that downgraded.
static void a_dead_reader_delays_nobody_and_leaves_no_damage(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 3; round++) {
		const lh_rwlock rwlock = place(scene->arena, NULL);
		struct worker *reader = holder(scene->arena, NULL,
					       round == 1 ? write_lock : read_lock, &rwlock);
		lh_lease *writer = scene_lease(scene->arena);

		if (round == 1)
			assert_int_equal(worker_do(reader, downgrade, lh_rwlock_offset(&rwlock)),
					 0);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
		worker_kill(reader);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer,
						      round == 2 ? LH_FOREVER : LH_NOW, NULL),
				 0);
		assert_int_equal(lh_lease_release(writer), 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// One dead and one live reader: the writer waits for the live one alone.
static void a_writer_waits_for_the_living_reader_alone(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);

	for (int first = 0; first < 2; first++) {
		struct worker *readers[2],
			*writer = worker_start(WORKER_PROCESS, scene->arena, NULL);

		for (int i = 0; i < 2; i++)
			readers[i] = holder(scene->arena, NULL, read_lock, &rwlock);
		worker_tell(writer, write_lock, lh_rwlock_offset(&rwlock));
		scene_await_wait(scene->arena, worker_lease(writer), true);
		worker_kill(readers[first]);
		assert_false(worker_answered(writer));
		assert_int_equal(worker_do(readers[!first], unlock, lh_rwlock_offset(&rwlock)), 0);
		assert_int_equal(worker_hear(writer), 0);
		assert_int_equal(worker_grant(writer).flags, 0);
		assert_int_equal(worker_end(writer), 0);
		assert_int_equal(worker_end(readers[!first]), 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// G8: everybody asleep behind a writer goes on when it dies.
static void sleepers_behind_a_dead_writer_go_on(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct worker *writer = holder(scene->arena, NULL, write_lock, &rwlock), *others[4];

	for (int i = 0; i < 4; i++) {
		others[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
		worker_tell(others[i], i % 2 ? read_lock : write_lock, lh_rwlock_offset(&rwlock));
		scene_await_wait(scene->arena, worker_lease(others[i]), true);
	}
	worker_kill(writer);
	for (int left = 0xf; left; scene_pause()) { // whoever comes first lets the others in
		for (int i = 0; i < 4; i++) {
			if (!(left & 1 << i) || !worker_answered(others[i]))
				continue;
			assert_int_equal(worker_hear(others[i]), 0);
			assert_int_equal(worker_grant(others[i]).flags, LH_GRANT_OWNER_DIED);
			assert_int_equal(worker_end(others[i]), 0);
			left &= ~(1 << i);
		}
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// ---- expiry --------------------------------------------------------------------------------------

// G3: one reader's expiry never frees another's hold, and neither shortens the other.
static void readers_leases_do_not_shorten_one_another(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);

	for (int order = 0; order < 2; order++) {
		struct worker *first = holder(scene->arena, &timed, read_lock, &rwlock);
		struct worker *second = holder(scene->arena, &timed, read_lock, &rwlock);
		struct worker *expiring = order ? first : second, *staying = order ? second : first;
		lh_lease *writer = scene_lease(scene->arena);

		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
		worker_shorten(expiring);
		scene_await_state(scene->arena, worker_lease(expiring), LH_LEASE_EXPIRED);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
		assert_int_equal(
			lh_rwlock_write_lock(&rwlock, writer, lh_deadline_after(LH_MS(2)), NULL),
			-ETIMEDOUT);
		assert_int_equal(worker_do(expiring, worker_renew, LH_SEC(1)), -ESTALE);
		assert_int_equal(worker_do(expiring, unlock, lh_rwlock_offset(&rwlock)), -ESTALE);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
		assert_int_equal(worker_do(staying, unlock, lh_rwlock_offset(&rwlock)), 0);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), 0);
		assert_int_equal(lh_rwlock_unlock(&rwlock, writer), 0);
		assert_int_equal(worker_end(expiring), -ESTALE);
		assert_int_equal(worker_end(staying), 0);
		assert_int_equal(lh_lease_release(writer), 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// G3, G4: not before the expiry; and a late call changes nothing.
static void what_an_expired_lease_held_is_taken_and_its_late_calls_are_stale(void **state)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(20) };
	const struct scene *scene = *state;

	for (int writes = 0; writes < 2; writes++) {
		const uint64_t earliest = lh_now();
		const lh_rwlock rwlock = place(scene->arena, NULL);
		const uint64_t offset = lh_rwlock_offset(&rwlock);
		struct worker *lost = worker_start(WORKER_PROCESS, scene->arena, &brief);
		lh_lease *next = scene_lease(scene->arena);
		struct lh_lease_info info;
		lh_grant grant;
		int error;

		assert_true(scene_look(scene->arena, worker_lease(lost), &info));
		error = worker_do(lost, writes ? write_lock : read_lock, offset);
		if (error == -ESTALE) { // this machine was that slow
			assert_true(lh_now() >= info.expires_ns);
			assert_int_equal(worker_end(lost), -ESTALE);
			assert_int_equal(lh_lease_release(next), 0);
			continue;
		}
		assert_int_equal(error, 0);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, next, LH_FOREVER, &grant), 0);
		assert_true(lh_now() >= info.expires_ns);
		assert_true(info.expires_ns > earliest);
		assert_int_equal(grant.flags, writes ? LH_GRANT_OWNER_DIED : 0);
		assert_int_equal(grant.previous, writes ? worker_lease(lost) : 0);
		assert_int_equal(worker_do(lost, upgrade, offset), -ESTALE);
		assert_int_equal(worker_do(lost, downgrade, offset), -ESTALE);
		assert_int_equal(worker_do(lost, unlock, offset), -ESTALE);
		assert_int_equal(worker_do(lost, read_lock, offset), -ESTALE);
		assert_int_equal(worker_do(lost, write_lock, offset), -ESTALE);
		assert_int_equal(worker_end(lost), -ESTALE);
		assert_int_equal(lh_rwlock_unlock(&rwlock, next), 0);
		assert_int_equal(lh_lease_release(next), 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "A lease that expires while it queues gets -ESTALE and not the lock": behind a writer, behind
// readers.
static void a_lease_that_expires_while_it_queues_is_stale(void **state)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(30) };
	const struct scene *scene = *state;

	for (int i = 0; i < 3; i++) {
		const lh_rwlock rwlock = place(scene->arena, NULL);
		const uint64_t offset = lh_rwlock_offset(&rwlock);
		lh_lease *blocker = scene_lease(scene->arena), *reader = scene_lease(scene->arena);
		struct worker *queued;

		assert_int_equal(i ? lh_rwlock_write_lock(&rwlock, blocker, LH_NOW, NULL)
				   : lh_rwlock_read_lock(&rwlock, blocker, LH_NOW, NULL),
				 0);
		queued = worker_start(WORKER_PROCESS, scene->arena, &brief);
		worker_tell(queued, i == 2 ? read_lock : write_lock, offset);
		assert_int_equal(worker_hear(queued), -ESTALE);
		if (!i) // it blocks readers no more
			assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
		assert_int_equal(worker_end(queued), -ESTALE);
		assert_int_equal(lh_lease_release(blocker), 0);
		assert_int_equal(lh_lease_release(reader), 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "by which the owner consents to be SIGKILLed and seen dead before anyone is granted what it held"
static void a_reader_that_consented_is_killed_before_the_writer_is_granted(void **state)
{
	const struct lh_lease_options options = { .ttl_ns = LH_MS(30),
						  .flags = LH_LEASE_KILL_ON_EXPIRY };
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct worker *reader;
	lh_lease *writer;
	uint64_t lost;

	scene_wants_kill_on_expiry();
	writer = scene_lease(scene->arena);
	reader = worker_start(WORKER_PROCESS, scene->arena, &options);
	lost = worker_lease(reader);
	if (worker_do(reader, read_lock, lh_rwlock_offset(&rwlock)) == 0) {
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_FOREVER, NULL), 0);
		assert_int_equal(scene_events(scene->arena, LH_EVENT_KILLED, lost), 1);
	}
	worker_kill(reader);
	assert_int_equal(lh_lease_release(writer), 0);
}

// ---- cycles --------------------------------------------------------------------------------------

// A writer waits for a reader, which waits for a mutex that the writer holds: one of the two is
// told, and the other goes on. Both orders of going to sleep; and with an upgrade.
static void a_cycle_through_a_read_hold_is_broken(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 4; round++) {
		const lh_rwlock rwlock = place(scene->arena, NULL);
		const lh_mutex mutex = scene_mutex(scene->arena);
		struct worker *writer = worker_start(WORKER_PROCESS, scene->arena, NULL);
		struct worker *reader = worker_start(WORKER_PROCESS, scene->arena, NULL);
		struct worker *first = round % 2 ? writer : reader;
		struct worker *second = round % 2 ? reader : writer;
		const bool upgrades = round >= 2;
		int results[2];

		assert_int_equal(worker_do(reader, read_lock, lh_rwlock_offset(&rwlock)), 0);
		assert_int_equal(worker_do(writer, worker_lock, lh_mutex_offset(&mutex)), 0);
		if (upgrades)
			assert_int_equal(worker_do(writer, read_lock, lh_rwlock_offset(&rwlock)),
					 0);
		for (int i = 0; i < 2; i++) {
			struct worker *one = i ? second : first;

			worker_tell(one,
				    one == reader ? worker_lock
				    : upgrades    ? upgrade
						  : write_lock,
				    one == reader ? lh_mutex_offset(&mutex)
						  : lh_rwlock_offset(&rwlock));
			if (i == 0)
				scene_await_wait(scene->arena, worker_lease(one), true);
		}
		while (!worker_answered(writer) && !worker_answered(reader))
			scene_pause();
		if (worker_answered(writer)) { // it is the victim: it lets the mutex go
			results[0] = worker_hear(writer);
			assert_int_equal(worker_end(writer), 0);
			results[1] = worker_hear(reader);
			assert_int_equal(worker_end(reader), 0);
		} else {
			results[0] = worker_hear(reader);
			assert_int_equal(worker_end(reader), 0);
			results[1] = worker_hear(writer);
			assert_int_equal(worker_end(writer), 0);
		}
		assert_int_equal(results[0], -EDEADLK);
		assert_int_equal(results[1], 0);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// ---- an arena whose users cannot have membarrier -------------------------------------------------

static void with_plain_fences_the_lock_is_never_biased(void **state)
{
	const struct lh_arena_options options = { .flags = LH_ARENA_PLAIN_FENCES };
	lh_arena *arena = scene_open(*state, &options);
	const lh_rwlock rwlock = place(arena, NULL);
	lh_lease *one = scene_lease(arena), *other = scene_lease(arena);

	for (int i = 0; i < 100; i++) {
		assert_int_equal(lh_rwlock_read_lock(&rwlock, one, LH_NOW, NULL), 0);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, other, LH_NOW, NULL), -EBUSY);
		assert_int_equal(lh_rwlock_upgrade(&rwlock, one, LH_NOW, NULL), 0);
		assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, NULL), -EBUSY);
		assert_int_equal(lh_rwlock_unlock(&rwlock, one), 0);
	}
	worker_kill(holder(arena, NULL, read_lock, &rwlock));
	assert_int_equal(lh_rwlock_write_lock(&rwlock, one, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// ---- the bias ------------------------------------------------------------------------------------

// A bias that a writer takes away again and again is not worth its membarriers: it stays away for
// longer each time. How long the bias lasted is not in this test's hands, so it goes on until it
// has seen that.
static void a_bias_that_does_not_last_stays_off_for_longer_each_time(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const struct rwlock_object *object = rwlock_object(
		scene->arena, arena_granule(lh_rwlock_offset(&rwlock)));
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t before = 0, after = 0;

	for (unsigned longer = 0; longer < 3; longer += after == 2 * before) {
		while (atomic_load(&object->header.word) & RWLOCK_FENCED) {
			assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
			assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
		}
		before = atomic_load(&object->bias_off_ns);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL), 0);
		assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
		assert_true(atomic_load(&object->header.word) & RWLOCK_FENCED);
		after = atomic_load(&object->bias_off_ns);
		assert_in_range(after, 1, RWLOCK_BIAS_OFF_MAX_NS);
		if (after == RWLOCK_BIAS_OFF_MAX_NS)
			break;
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

// "a writer that revokes the bias keeps it off for a multiple of what the revocation cost": however
// often is read until then.
static void a_bias_comes_back_when_its_time_is_over_and_not_before(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct rwlock_object *object = rwlock_object(scene->arena,
						     arena_granule(lh_rwlock_offset(&rwlock)));
	lh_lease *lease = scene_lease(scene->arena);
	const uint64_t before = lh_now();

	if (scene->arena->plain_fences)
		skip();
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_true(atomic_load(&object->header.word) & RWLOCK_FENCED);
	assert_true(atomic_load(&object->bias_off_until) >=
		    before + atomic_load(&object->bias_off_ns));
	for (int round = 0; round < 2; round++) {
		atomic_store(&object->bias_off_until, round ? lh_now() : UINT64_MAX);
		for (int i = 0; i < 100; i++) {
			assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
			assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
		}
		assert_int_equal(!(atomic_load(&object->header.word) & RWLOCK_FENCED), round);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

// What the inspector is told.
static void holds_are_shown_as_what_they_are(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct worker *writer = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *reader = scene_lease(scene->arena);
	struct lh_hold_info hold;
	uint64_t cursor = 0;
	unsigned shared = 0, intent = 0;

	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
	worker_tell(writer, write_lock, lh_rwlock_offset(&rwlock));
	scene_await_wait(scene->arena, worker_lease(writer), true);
	while (lh_next_hold(scene->arena, &cursor, &hold) == 0) {
		assert_int_equal(hold.kind, LH_KIND_RWLOCK);
		assert_int_equal(hold.offset, lh_rwlock_offset(&rwlock));
		if (hold.mode == LH_HOLD_SHARED) {
			assert_int_equal(hold.lease, lh_lease_id(reader));
			assert_int_equal(hold.count, 2);
			shared++;
		} else {
			assert_int_equal(hold.mode, LH_HOLD_INTENT);
			assert_int_equal(hold.lease, worker_lease(writer));
			intent++;
		}
	}
	assert_int_equal(shared, 1);
	assert_int_equal(intent, 1);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(lh_lease_release(reader), 0);
	assert_int_equal(worker_hear(writer), 0);
	cursor = 0;
	assert_int_equal(lh_next_hold(scene->arena, &cursor, &hold), 0);
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(worker_end(writer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_lost_writer_is_told_to_all_until_a_writer_repairs),
		SCENE_TEST(without_repair_nobody_is_told),
		SCENE_TEST(a_dead_reader_delays_nobody_and_leaves_no_damage),
		SCENE_TEST(a_writer_waits_for_the_living_reader_alone),
		SCENE_TEST(sleepers_behind_a_dead_writer_go_on),
		SCENE_TEST(readers_leases_do_not_shorten_one_another),
		SCENE_TEST(what_an_expired_lease_held_is_taken_and_its_late_calls_are_stale),
		SCENE_TEST(a_lease_that_expires_while_it_queues_is_stale),
		SCENE_TEST(a_reader_that_consented_is_killed_before_the_writer_is_granted),
		SCENE_TEST(a_cycle_through_a_read_hold_is_broken),
		SCENE_TEST_CLOSED(with_plain_fences_the_lock_is_never_biased),
		SCENE_TEST(a_bias_that_does_not_last_stays_off_for_longer_each_time),
		SCENE_TEST(a_bias_comes_back_when_its_time_is_over_and_not_before),
		SCENE_TEST(holds_are_shown_as_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
