// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Reading, writing, upgrading, downgrading: who gets in, and who comes first. Errors:
// test_rwlock_errors.c; what is lost: test_rwlock_loss.c.
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "src/rwlock.h"

#include <signal.h>

static lh_rwlock place(lh_arena *arena, const struct lh_rwlock_options *options)
{
	lh_rwlock rwlock = { { 0 } };

	assert_int_equal(lh_rwlock_at(arena, LH_ANYWHERE, options, &rwlock), 0);
	return rwlock;
}

// ---- steps of workers: the argument is the offset of a lock of the default options ---------------

static lh_rwlock at(const struct worker_stage *stage, uint64_t offset)
{
	lh_rwlock rwlock;

	need(lh_rwlock_at(stage->arena, offset, NULL, &rwlock) == 0);
	return rwlock;
}

static int read_lock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_read_lock(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

static int read_now(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_read_lock(&rwlock, stage->lease, LH_NOW, &stage->grant);
}

static int write_lock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_write_lock(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

static int write_briefly(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_write_lock(&rwlock, stage->lease, lh_deadline_after(LH_MS(3)),
				    &stage->grant);
}

static int upgrade(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_upgrade(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

static int unlock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_unlock(&rwlock, stage->lease);
}

// ---- placing -------------------------------------------------------------------------------------

static void options_are_checked_and_the_same_lock_is_attached_to(void **state)
{
	const struct scene *scene = *state;
	const struct lh_rwlock_options named = { .name = "rates", .data_size = 100 };
	const struct lh_rwlock_options other = { .name = "rates", .data_size = 101 };
	const struct lh_rwlock_options flagged = { .flags = 2 };
	const struct lh_rwlock_options reserved = { .reserved = { 0, 0, 0, 1 } };
	const struct lh_rwlock_options huge = { .data_size = SIZE_MAX };
	lh_rwlock rwlock = place(scene->arena, &named), same, plain;

	assert_int_equal(lh_rwlock_footprint(NULL), sizeof(struct rwlock_object));
	assert_int_equal(lh_rwlock_footprint(&named), sizeof(struct rwlock_object) + 128);
	assert_int_equal(lh_rwlock_footprint(&flagged), 0);
	assert_int_equal(lh_rwlock_footprint(&reserved), 0);
	assert_int_equal(lh_rwlock_footprint(&huge), 0);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, &flagged, &same), -EINVAL);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, &reserved, &same), -EINVAL);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, &huge, &same), -EINVAL);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, &other, &same), -EEXIST);
	assert_int_equal(lh_rwlock_at(NULL, LH_ANYWHERE, &named, &same), -EINVAL);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, &named, NULL), -EINVAL);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, &named, &same), 0);
	assert_int_equal(lh_rwlock_offset(&same), lh_rwlock_offset(&rwlock));
	assert_ptr_equal(lh_rwlock_data(&same), lh_rwlock_data(&rwlock));
	assert_int_equal((uintptr_t)lh_rwlock_data(&same) % 64, 0);
	memset(lh_rwlock_data(&rwlock), 1, named.data_size);
	plain = place(scene->arena, NULL);
	assert_null(lh_rwlock_data(&plain));
	assert_null(lh_rwlock_data(NULL));
	assert_int_equal(lh_rwlock_offset(NULL), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_lock_that_is_held_or_wanted_cannot_be_removed(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_remove(scene->arena, lh_rwlock_offset(&rwlock)), -EBUSY);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_remove(scene->arena, lh_rwlock_offset(&rwlock)), -EBUSY);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(lh_remove(scene->arena, lh_rwlock_offset(&rwlock)), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// ---- held by others ------------------------------------------------------------------------------

// G1, G10
static void a_writer_keeps_everybody_out_and_nothing_else_is_held(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *writer = scene_lease(scene->arena), *other = scene_lease(scene->arena);
	lh_grant grant = { .token = 77 };
	struct lh_lease_info info;
	uint64_t begin = lh_now();

	assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, &grant), -EBUSY);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, other, LH_NOW, &grant), -EBUSY);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, lh_deadline_after(LH_MS(2)), &grant),
			 -ETIMEDOUT);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, other, lh_deadline_after(LH_MS(2)), &grant),
			 -ETIMEDOUT);
	assert_true(lh_now() >= begin + LH_MS(4));
	assert_int_equal(grant.token, 77);
	assert_true(scene_look(scene->arena, lh_lease_id(other), &info));
	assert_int_equal(info.holds, 0);
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, other), -EPERM);
	assert_int_equal(lh_rwlock_unlock(&rwlock, writer), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_release(writer), 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// G1, G10
static void readers_keep_writers_out_and_let_each_other_in(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *readers[3], *writer = scene_lease(scene->arena);
	lh_grant grant;

	for (int round = 0; round < 40; round++) { // biased and fenced, and from one to the other
		for (int i = 0; i < 3; i++) {
			readers[i] = scene_lease(scene->arena);
			assert_int_equal(lh_rwlock_read_lock(&rwlock, readers[i], LH_NOW, &grant),
					 0);
			assert_int_equal(grant.flags, 0);
			assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL),
					 -EBUSY);
		}
		assert_int_equal(
			lh_rwlock_write_lock(&rwlock, writer, lh_deadline_after(1000), NULL),
			-ETIMEDOUT);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL),
					 -EBUSY);
			if (i == round % 3)
				assert_int_equal(lh_rwlock_unlock(&rwlock, readers[i]), 0);
			assert_int_equal(lh_lease_release(readers[i]), 0);
		}
		assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, &grant), 0);
		assert_int_equal(lh_rwlock_unlock(&rwlock, writer), 0);
	}
	assert_int_equal(lh_lease_release(writer), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// Leases' slots share the bits of the map.
static void a_reader_in_any_slot_is_seen(void **state)
{
	enum { LEASES = 1100 };
	const struct lh_arena_options options = { .max_leases = LEASES, .max_holds = 8 };
	lh_arena *arena = scene_open(*state, &options);
	const lh_rwlock rwlock = place(arena, NULL);
	static lh_lease *leases[LEASES];

	for (int i = 0; i < LEASES; i++)
		leases[i] = scene_lease(arena);
	for (int i = 1; i < LEASES; i++) {
		assert_int_equal(lh_rwlock_read_lock(&rwlock, leases[i], LH_NOW, NULL), 0);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, leases[0], LH_NOW, NULL), -EBUSY);
		assert_int_equal(lh_rwlock_unlock(&rwlock, leases[i]), 0);
	}
	assert_int_equal(lh_rwlock_write_lock(&rwlock, leases[0], LH_NOW, NULL), 0);
	for (int i = 0; i < LEASES; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
}

// G5: "a read grant carries the last writer's token"; it moves even when a writer gives up.
static void tokens_rise_with_each_writer_and_readers_are_told_the_newest(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *one = scene_lease(scene->arena), *other = scene_lease(scene->arena);
	lh_grant grant, read;
	uint64_t last = 0;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(lh_rwlock_write_lock(&rwlock, i % 2 ? one : other, LH_NOW, &grant),
				 0);
		assert_true(grant.token > last);
		last = grant.token;
		assert_int_equal(lh_rwlock_unlock(&rwlock, i % 2 ? one : other), 0);
		assert_int_equal(lh_rwlock_read_lock(&rwlock, one, LH_NOW, &read), 0);
		assert_int_equal(read.token, last);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, other, LH_NOW, NULL), -EBUSY);
		assert_int_equal(lh_rwlock_unlock(&rwlock, one), 0);
	}
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// "Self-conflict (-EDEADLK) is told before -EBUSY."
static void what_conflicts_with_itself_is_a_deadlock_whatever_the_deadline(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const lh_deadline deadlines[] = { LH_NOW, LH_FOREVER, { 1 } };
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);

	for (int round = 0; round < 2; round++) {
		lh_lease *lease = scene_lease_with(scene->arena, round ? &timed : NULL);

		for (int i = 0; i < 3; i++) {
			const lh_deadline when = deadlines[i];

			assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, when, NULL), 0);
			assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, when, NULL),
					 -EDEADLK);
			assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, when, NULL), -EDEADLK);
			assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, when, NULL), -EPERM);
			assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
			assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, when, NULL), 0);
			assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, when, NULL),
					 -EDEADLK);
			assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
			assert_int_equal(lh_rwlock_unlock(&rwlock, lease), -EPERM);
		}
		assert_int_equal(lh_lease_release(lease), 0);
	}
}

// ---- who comes first -----------------------------------------------------------------------------

// A waiting writer blocks new readers; one that reads may read again past it.
static void a_waiting_writer_blocks_new_readers_but_not_nested_ones(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const uint64_t offset = lh_rwlock_offset(&rwlock);
	struct worker *writer = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *reader = scene_lease(scene->arena), *other = scene_lease(scene->arena);

	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
	worker_tell(writer, write_lock, offset);
	scene_await_wait(scene->arena, worker_lease(writer), true);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, lh_deadline_after(LH_MS(2)), NULL),
			 -ETIMEDOUT);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_FOREVER, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lh_rwlock_unlock(&rwlock, reader), 0);
		assert_false(worker_answered(writer));
	}
	assert_int_equal(lh_rwlock_unlock(&rwlock, reader), 0);
	assert_int_equal(worker_hear(writer), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), -EBUSY);
	assert_int_equal(worker_end(writer), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_release(reader), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// Whether it gives up by its deadline or is killed; G8: and those behind it go on.
static void a_waiting_writer_that_gives_up_or_is_killed_lets_the_queued_readers_in(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 4; round++) {
		const lh_rwlock rwlock = place(scene->arena, NULL);
		const uint64_t offset = lh_rwlock_offset(&rwlock);
		const bool kill = round % 2;
		struct worker *writer = worker_start(WORKER_PROCESS, scene->arena, NULL);
		struct worker *queued = worker_start(WORKER_PROCESS, scene->arena, NULL);
		lh_lease *reader = scene_lease(scene->arena);

		assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
		worker_tell(writer, kill ? write_lock : write_briefly, offset);
		if (kill) {
			scene_await_wait(scene->arena, worker_lease(writer), true);
			worker_tell(queued, read_lock, offset);
			scene_await_wait(scene->arena, worker_lease(queued), true);
			worker_kill(writer);
		} else {
			worker_tell(queued, read_lock, offset);
			assert_int_equal(worker_hear(writer), -ETIMEDOUT);
			assert_int_equal(worker_end(writer), 0);
		}
		assert_int_equal(worker_hear(queued), 0);
		assert_int_equal(worker_grant(queued).flags, 0); // it had changed nothing
		assert_int_equal(worker_end(queued), 0);
		assert_int_equal(lh_lease_release(reader), 0);
		assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	}
}

// Of those who wait for a writer, a writer comes first.
static void a_writer_that_waits_for_a_writer_comes_before_new_readers(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const uint64_t offset = lh_rwlock_offset(&rwlock);
	struct rwlock_object *object = rwlock_object(scene->arena, arena_granule(offset));
	struct worker *second = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *first = scene_lease(scene->arena), *reader = scene_lease(scene->arena);

	assert_int_equal(lh_rwlock_write_lock(&rwlock, first, LH_NOW, NULL), 0);
	worker_tell(second, write_lock, offset);
	scene_await_wait(scene->arena, worker_lease(second), true);
	assert_int_equal(kill(worker_pid(second), SIGSTOP), 0); // as if it were slow
	// As if another had been let in first less than a millisecond ago: the lock is not kept for
	// it, but who would not wait for it either does not pass it.
	atomic_store(&object->header.reserved_ns, lh_now());
	assert_int_equal(lh_rwlock_unlock(&rwlock, first), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), -EBUSY);
		atomic_fetch_and(&object->header.word, ~RWLOCK_FENCED); // as a reader may
	}
	// But not for ever.
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_FOREVER, NULL), 0);
	assert_int_equal(kill(worker_pid(second), SIGCONT), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, reader), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(lh_lease_release(first), 0);
	assert_int_equal(lh_lease_release(reader), 0);
}

static int write_on_and_on(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);
	_Atomic uint64_t *stop = lh_arena_range(stage->arena, lh_arena_first_offset(stage->arena),
						64);

	while (!atomic_load(stop)) {
		need(lh_rwlock_write_lock(&rwlock, stage->lease, LH_FOREVER, NULL) == 0);
		need(lh_rwlock_unlock(&rwlock, stage->lease) == 0);
	}
	return 0;
}

static int read_on_and_on(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);
	_Atomic uint64_t *stop = lh_arena_range(stage->arena, lh_arena_first_offset(stage->arena),
						64);

	while (!atomic_load(stop)) {
		need(lh_rwlock_read_lock(&rwlock, stage->lease, LH_FOREVER, NULL) == 0);
		need(lh_rwlock_unlock(&rwlock, stage->lease) == 0);
	}
	return 0;
}

// "Neither is kept out for ever by the other": each gets through while three others never pause.
static void neither_readers_nor_writers_starve(void **state)
{
	const struct scene *scene = *state;

	for (int writes = 0; writes < 2; writes++) {
		uint64_t first;
		struct worker *others[3];
		lh_rwlock rwlock;
		_Atomic uint64_t *stop;
		lh_lease *lease = scene_lease(scene->arena);

		assert_int_equal(lh_region_at(scene->arena, lh_arena_first_offset(scene->arena), 64,
					      "stop", &first),
				 0);
		stop = lh_arena_range(scene->arena, first, 64);
		atomic_store(stop, 0);
		rwlock = place(scene->arena, NULL);
		for (int i = 0; i < 3; i++) {
			others[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
			worker_tell(others[i], writes ? write_on_and_on : read_on_and_on,
				    lh_rwlock_offset(&rwlock));
		}
		for (int i = 0; i < 20; i++) {
			assert_int_equal(
				writes ? lh_rwlock_read_lock(&rwlock, lease, LH_FOREVER, NULL)
				       : lh_rwlock_write_lock(&rwlock, lease, LH_FOREVER, NULL),
				0);
			assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
		}
		atomic_store(stop, 1);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(worker_hear(others[i]), 0);
			assert_int_equal(worker_end(others[i]), 0);
		}
		assert_int_equal(lh_lease_release(lease), 0);
	}
}

// G11: after a lease's first read of it the lock's own lines stay as they are, and so does
// everything of other leases.
static void readers_write_nothing_that_others_read(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const size_t size = sizeof(struct rwlock_object);
	const struct rwlock_object *object = lh_arena_range(scene->arena, lh_rwlock_offset(&rwlock),
							    size);
	lh_lease *leases[2] = { scene_lease(scene->arena), scene_lease(scene->arena) };
	const void *table = arena_hold_table(scene->arena, leases[1]->index);
	const size_t table_size = scene->arena->holds_per_lease * sizeof(struct hold_record);
	struct rwlock_object before;
	void *table_before = malloc(table_size);

	for (int i = 0; i < 2; i++)
		assert_int_equal(lh_rwlock_read_lock(&rwlock, leases[i], LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, leases[0]), 0);
	memcpy(&before, object, size);
	memcpy(table_before, table, table_size);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(lh_rwlock_read_lock(&rwlock, leases[0], LH_NOW, NULL), 0);
		assert_memory_equal(object, &before, size);
		assert_int_equal(lh_rwlock_unlock(&rwlock, leases[0]), 0);
		assert_memory_equal(object, &before, size);
	}
	assert_memory_equal(table, table_before, table_size);
	free(table_before);
	assert_int_equal(lh_rwlock_unlock(&rwlock, leases[1]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
}

// ---- upgrade and downgrade -----------------------------------------------------------------------

static void of_two_that_upgrade_one_is_told_at_once_and_both_still_read(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const uint64_t offset = lh_rwlock_offset(&rwlock);
	struct worker *first = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *second = scene_lease(scene->arena), *writer = scene_lease(scene->arena);

	assert_int_equal(worker_do(first, read_lock, offset), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, second, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, second, LH_NOW, NULL), -EBUSY);
	worker_tell(first, upgrade, offset);
	scene_await_wait(scene->arena, worker_lease(first), true);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, second, LH_FOREVER, NULL), -EDEADLK);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, second, LH_NOW, NULL), -EDEADLK);
	assert_false(worker_answered(first)); // the second still reads
	assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_rwlock_unlock(&rwlock, second), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, second, LH_NOW, NULL), -EBUSY);
	assert_int_equal(worker_do(first, unlock, offset), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(lh_lease_release(second), 0);
	assert_int_equal(lh_lease_release(writer), 0);
}

static void an_upgrade_past_a_waiting_writer_or_of_nested_reads_is_a_deadlock(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const uint64_t offset = lh_rwlock_offset(&rwlock);
	struct worker *writer = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_FOREVER, NULL), -EPERM);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_FOREVER, NULL), -EDEADLK);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	worker_tell(writer, write_lock, offset);
	scene_await_wait(scene->arena, worker_lease(writer), true);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_FOREVER, NULL), -EDEADLK);
	assert_false(worker_answered(writer));
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(worker_hear(writer), 0);
	assert_int_equal(worker_end(writer), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void an_upgrade_that_times_out_still_reads(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena), *other = scene_lease(scene->arena);
	lh_lease *writer = scene_lease(scene->arena);
	lh_grant grant;

	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, lh_deadline_after(LH_MS(2)), NULL),
			 -ETIMEDOUT);
	assert_int_equal(lh_rwlock_unlock(&rwlock, other), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, &grant), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, lease), 0);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, lease), -EPERM);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, other, LH_NOW, &grant), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, other), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, writer), 0); // one that never read here
	assert_int_equal(lh_rwlock_write_lock(&rwlock, other, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_int_equal(lh_lease_release(writer), 0);
}

static void a_downgrade_lets_waiting_readers_in(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const uint64_t offset = lh_rwlock_offset(&rwlock);
	struct worker *reader = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *writer = scene_lease(scene->arena);

	assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_NOW, NULL), 0);
	worker_tell(reader, read_lock, offset);
	scene_await_wait(scene->arena, worker_lease(reader), true);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, writer), 0);
	assert_int_equal(worker_hear(reader), 0);
	assert_int_equal(worker_do(reader, read_now, offset), 0);
	assert_int_equal(worker_end(reader), 0);
	assert_int_equal(lh_lease_release(writer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(options_are_checked_and_the_same_lock_is_attached_to),
		SCENE_TEST(a_lock_that_is_held_or_wanted_cannot_be_removed),
		SCENE_TEST(a_writer_keeps_everybody_out_and_nothing_else_is_held),
		SCENE_TEST(readers_keep_writers_out_and_let_each_other_in),
		SCENE_TEST_CLOSED(a_reader_in_any_slot_is_seen),
		SCENE_TEST(tokens_rise_with_each_writer_and_readers_are_told_the_newest),
		SCENE_TEST(what_conflicts_with_itself_is_a_deadlock_whatever_the_deadline),
		SCENE_TEST(a_waiting_writer_blocks_new_readers_but_not_nested_ones),
		SCENE_TEST(a_waiting_writer_that_gives_up_or_is_killed_lets_the_queued_readers_in),
		SCENE_TEST(a_writer_that_waits_for_a_writer_comes_before_new_readers),
		SCENE_TEST(neither_readers_nor_writers_starve),
		SCENE_TEST(readers_write_nothing_that_others_read),
		SCENE_TEST(of_two_that_upgrade_one_is_told_at_once_and_both_still_read),
		SCENE_TEST(an_upgrade_past_a_waiting_writer_or_of_nested_reads_is_a_deadlock),
		SCENE_TEST(an_upgrade_that_times_out_still_reads),
		SCENE_TEST(a_downgrade_lets_waiting_readers_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
