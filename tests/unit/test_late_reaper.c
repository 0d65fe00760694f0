// SPDX-License-Identifier: Apache-2.0
//
// Every kind's reap (arena/kind.h): a reaper that stood still between its verdict and its work, until
// the lost lease's slot had another tenant, takes nothing from that one. (G1, G6)
#include "tests/support/scene.h"

#include "arena/hold.h"
#include "arena/kind.h"
#include "arena/reap.h"
#include "src/primitive.h"

static struct lost_lease lost; // what the late reaper knows
static lh_lease *tenant;       // who has its slot now
static lh_arena *arena;

static void stage(const struct scene *scene)
{
	lh_lease *gone = scene_lease(scene->arena);

	arena = scene->arena;
	lost = (struct lost_lease){ .slot = gone->index,
				    .state = atomic_load(&gone->slot->state),
				    .id = lh_lease_id(gone),
				    .owner = gone->owner };
	assert_int_equal(lh_lease_release(gone), 0);
	tenant = scene_lease(arena);
	assert_int_equal(tenant->index, lost.slot);
}

static void reap_late(const uint64_t handle[4])
{
	const uint32_t kind = primitive_header(handle)->kind;
	const struct hold_record *record = hold_find(tenant, kind, primitive_granule(handle));

	need(record != NULL);
	kind_ops(kind)->reap(arena, &lost, atomic_load(&record->object));
}

static void a_mutex_stays_locked(void **state)
{
	lh_mutex mutex;

	stage(*state);
	mutex = scene_mutex(arena);
	scene_lock(&mutex, tenant);
	reap_late(mutex.private_);
	assert_int_equal(lh_mutex_unlock(&mutex, tenant), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

static void a_writer_stays_one(void **state)
{
	lh_rwlock rwlock;

	stage(*state);
	assert_int_equal(lh_rwlock_at(arena, LH_ANYWHERE, NULL, &rwlock), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, tenant, LH_NOW, NULL), 0);
	reap_late(rwlock.private_);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, tenant), 0);
	reap_late(rwlock.private_);
	assert_int_equal(lh_rwlock_unlock(&rwlock, tenant), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

static void permits_stay_held(void **state)
{
	const struct lh_semaphore_options options = { .permits = 2 };
	lh_semaphore semaphore;

	stage(*state);
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &semaphore), 0);
	assert_int_equal(lh_semaphore_acquire(&semaphore, tenant, 2, LH_NOW), 0);
	reap_late(semaphore.private_);
	assert_int_equal(lh_semaphore_release(&semaphore, tenant, 2), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

static void a_party_stays_one_and_nothing_is_broken(void **state)
{
	const struct lh_barrier_options options = { .parties = 2 };
	lh_barrier barrier;

	stage(*state);
	assert_int_equal(lh_barrier_at(arena, LH_ANYWHERE, &options, &barrier), 0);
	assert_int_equal(lh_barrier_join(&barrier, tenant), 0);
	reap_late(barrier.private_);
	assert_int_equal(lh_barrier_wait(&barrier, tenant, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_barrier_leave(&barrier, tenant), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

static lh_once once;

static int reap_inside(void *data, void *unused)
{
	(void)data;
	(void)unused;
	reap_late(once.private_);
	return 0;
}

static void an_initialiser_goes_on(void **state)
{
	stage(*state);
	assert_int_equal(lh_once_at(arena, LH_ANYWHERE, NULL, &once), 0);
	assert_int_equal(lh_once_call(&once, tenant, reap_inside, NULL, LH_NOW), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

static void a_sender_stays_one(void **state)
{
	const struct lh_watch_options options = { .max_size = 8 };
	lh_watch watch;

	stage(*state);
	assert_int_equal(lh_watch_at(arena, LH_ANYWHERE, &options, &watch), 0);
	assert_int_equal(lh_watch_claim(&watch, tenant), 0);
	reap_late(watch.private_);
	assert_int_equal(lh_watch_close(&watch, tenant), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

static void a_draft_can_be_committed(void **state)
{
	const struct lh_cell_options options = { .size = 8 };
	lh_cell cell;
	void *draft;

	stage(*state);
	assert_int_equal(lh_cell_at(arena, LH_ANYWHERE, &options, &cell), 0);
	assert_int_equal(lh_cell_begin(&cell, tenant, LH_NOW, &draft, NULL), 0);
	reap_late(cell.private_);
	assert_int_equal(lh_cell_commit(&cell, tenant), 0);
	assert_int_equal(lh_lease_release(tenant), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_mutex_stays_locked),
		SCENE_TEST(a_writer_stays_one),
		SCENE_TEST(permits_stay_held),
		SCENE_TEST(a_party_stays_one_and_nothing_is_broken),
		SCENE_TEST(an_initialiser_goes_on),
		SCENE_TEST(a_sender_stays_one),
		SCENE_TEST(a_draft_can_be_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
