// SPDX-License-Identifier: Apache-2.0
//
// error.h: lh_error_detail is of this thread's last failure. Here each public function that can fail
// fails after another failure that has left a detail: what is told then is of the second one, or
// nothing; and -EINVAL says which argument, as its text promises. That none of the functions is
// missing here is checked against the headers.
// ctest: ALSO inline

#include <dirent.h>
#include <regex.h>
#include <sched.h>

#include "tests/contract/details.h"

// What is placed, and who is there: `own` holds nothing, `other` holds all that can be held, `lost` is
// lost, `foreign` is of another arena.
static lh_arena *arena, *reader, *elsewhere;
static lh_lease *own, *other, *lost, *foreign;
static lh_mutex mutex, no_mutex;
static lh_rwlock rwlock, no_rwlock;
static lh_semaphore semaphore, no_semaphore;
static lh_barrier barrier, no_barrier;
static lh_condvar condvar, no_condvar;
static lh_once once, no_once;
static lh_watch watch, no_watch;
static lh_watch_receiver receiver, no_receiver;
static lh_cell cell, no_cell;

static int set_nothing(void *data, void *context)
{
	(void)data;
	(void)context;
	return 0;
}

static int fail_to_set(void *data, void *context)
{
	(void)data;
	(void)context;
	return -ENODATA;
}

static int nobody(lh_handle *handle, void *context)
{
	(void)handle;
	(void)context;
	return 0;
}

static lh_lease *lease_of(lh_arena *of, uint64_t ttl_ns)
{
	const struct lh_lease_options options = { .ttl_ns = ttl_ns };
	lh_lease *lease;

	assert_int_equal(lh_lease_acquire(of, &options, &lease), 0);
	return lease;
}

static void place(void)
{
	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex), 0);
	assert_int_equal(lh_rwlock_at(arena, LH_ANYWHERE, NULL, &rwlock), 0);
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE,
					 &(struct lh_semaphore_options){ .permits = 1 },
					 &semaphore),
			 0);
	assert_int_equal(lh_barrier_at(arena, LH_ANYWHERE,
				       &(struct lh_barrier_options){ .parties = 1 }, &barrier),
			 0);
	assert_int_equal(lh_condvar_at(arena, LH_ANYWHERE, NULL, &condvar), 0);
	assert_int_equal(lh_once_at(arena, LH_ANYWHERE, NULL, &once), 0);
	assert_int_equal(lh_watch_at(arena, LH_ANYWHERE,
				     &(struct lh_watch_options){ .max_size = 8 }, &watch),
			 0);
	assert_int_equal(
		lh_cell_at(arena, LH_ANYWHERE, &(struct lh_cell_options){ .size = 8 }, &cell), 0);
	assert_int_equal(lh_watch_subscribe(&watch, &receiver), 0);
}

static void hold_all(lh_lease *lease)
{
	lh_grant grant;
	void *draft;

	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, &grant), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, &grant), 0);
	assert_int_equal(lh_semaphore_acquire(&semaphore, lease, 1, LH_NOW), 0);
	assert_int_equal(lh_barrier_join(&barrier, lease), 0);
	assert_int_equal(lh_watch_claim(&watch, lease), 0);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, &grant), 0);
}

static char foreign_name[80];

static int begin(void **state)
{
	const struct scene *scene;

	if (scene_begin(state))
		return -1;
	scene = *state;
	arena = scene->arena;
	snprintf(foreign_name, sizeof(foreign_name), "%s-foreign", scene->name);
	if (lh_arena_open(foreign_name, LH_CREATE, NULL, &elsewhere) ||
	    lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader))
		return -1;
	place();
	foreign = lease_of(elsewhere, 0);
	own = lease_of(arena, 0);
	other = lease_of(arena, 0);
	lost = lease_of(arena, LH_MS(1));
	hold_all(other);
	while (lh_lease_valid(lost))
		sched_yield();
	return 0;
}

// Some have been released already, or are of no one any more.
static int end(void **state)
{
	lh_lease **const leases[] = { &own, &other, &lost, &foreign };

	for (size_t i = 0; i < sizeof(leases) / sizeof(leases[0]); i++) {
		if (*leases[i])
			lh_lease_release(*leases[i]);
		*leases[i] = NULL;
	}
	lh_arena_close(elsewhere);
	lh_arena_close(reader);
	lh_arena_unlink(foreign_name);
	return scene_end(state);
}

// ---- arenas and leases --------------------------------------------------------------------------

static void of_arenas(void **state)
{
	const struct scene *scene = *state;
	const struct lh_arena_options reserved = { .reserved = { 1 } };
	const struct lh_arena_options huge = { .size = SIZE_MAX };
	lh_arena *opened;
	uint64_t offset;

	FAILS(lh_arena_open, NULL, 0, NULL, &opened);
	FAILS(lh_arena_open, scene->name, 0, NULL, NULL);
	FAILS(lh_arena_open, scene->name, 1 << 20, NULL, &opened);
	FAILS(lh_arena_open, "lh-no-such-arena", 0, NULL, &opened);
	FAILS(lh_arena_open, scene->name, LH_CREATE | LH_EXCL, NULL, &opened);
	FAILS(lh_arena_open, "lh-no-such-arena", LH_CREATE, &reserved, &opened);
	FAILS(lh_arena_open, "lh-no-such-arena", LH_CREATE, &huge, &opened);
	FAILS(lh_arena_close, NULL);
	FAILS(lh_arena_close, arena);
	FAILS(lh_arena_unlink, NULL);
	FAILS(lh_arena_unlink, "lh-no-such-arena");
	FAILS(lh_region_at, NULL, LH_ANYWHERE, 64, "one", &offset);
	FAILS(lh_region_at, arena, LH_ANYWHERE, 0, "one", &offset);
	FAILS(lh_region_at, arena, 3, 64, "one", &offset);
	FAILS(lh_region_at, arena, LH_ANYWHERE, 1ul << 40, "one", &offset);
	FAILS(lh_region_at, arena, lh_mutex_offset(&mutex), 64, "one", &offset);
	FAILS(lh_region_at, reader, LH_ANYWHERE, 64, "one", &offset);
	FAILS(lh_find, NULL, "one", &offset);
	FAILS(lh_find, arena, "one", &offset);
	FAILS(lh_find, arena, NULL, &offset);
	FAILS(lh_remove, NULL, 64);
	FAILS(lh_remove, arena, 64);
	FAILS(lh_remove, arena, lh_mutex_offset(&mutex));
	FAILS(lh_remove, reader, lh_mutex_offset(&mutex));
	FAILS(lh_sweep, NULL, NULL, NULL);
	FAILS(lh_sweep, reader, NULL, NULL);
	FAILS(lh_note_removal, NULL, 0);
	FAILS(lh_note_removal, reader, 0);
	FAILS(lh_lease_break, NULL, 1, 0, 0, LH_NOW);
	FAILS(lh_lease_break, arena, 0, 0, 0, LH_NOW);
	FAILS(lh_lease_break, arena, UINT64_MAX, 0, 0, LH_NOW);
	FAILS(lh_lease_break, arena, lh_lease_id(other), 0, 0, LH_NOW);
	FAILS(lh_lease_break, reader, lh_lease_id(other), 0, 0, LH_NOW);
}

static void of_looks(void **state)
{
	struct lh_placement_info placement = { .kind = 99 };
	struct lh_lease_info lease;
	struct lh_hold_info hold;
	struct lh_event_info event;
	struct lh_object_info object;
	uint64_t end = UINT64_MAX;

	(void)state;
	FAILS(lh_next_placement, arena, NULL, &placement);
	FAILS(lh_next_placement, arena, &end, &placement);
	FAILS(lh_next_lease, arena, NULL, &lease);
	FAILS(lh_next_lease, arena, &end, &lease);
	FAILS(lh_next_hold, arena, NULL, &hold);
	FAILS(lh_next_hold, arena, &end, &hold);
	FAILS(lh_next_event, arena, NULL, &event);
	FAILS(lh_next_event, arena, &end, &event);
	FAILS(lh_inspect_object, NULL, &placement, 0, &object);
	FAILS(lh_inspect_object, arena, &placement, 0, &object);
	FAILS(lh_arena_check, NULL, NULL, NULL);
}

static void of_leases(void **state)
{
	const struct lh_lease_options reserved = { .reserved = { 1 } };
	const struct lh_lease_options flags = { .flags = 1 << 20 };
	lh_lease *lease;
	uint64_t offset;

	(void)state;
	FAILS(lh_lease_acquire, NULL, NULL, &lease);
	FAILS(lh_lease_acquire, arena, NULL, NULL);
	FAILS(lh_lease_acquire, arena, &reserved, &lease);
	FAILS(lh_lease_acquire, arena, &flags, &lease);
	FAILS(lh_lease_acquire, reader, NULL, &lease);
	FAILS(lh_thread_lease, NULL, &lease);
	FAILS(lh_thread_lease, reader, &lease);
	FAILS(lh_lease_renew, NULL, LH_SEC(1));
	FAILS(lh_lease_renew, own, LH_SEC(1));
	FAILS(lh_lease_renew, lost, LH_SEC(1));
	FAILS(lh_lease_on_loss, NULL, NULL, NULL);
	FAILS(lh_lease_loss_fd, NULL);
	FAILS(lh_lease_set_cancel, NULL, NULL);
	FAILS(lh_region_acquire, NULL, 64, &offset);
	FAILS(lh_region_acquire, own, 0, &offset);
	FAILS(lh_region_acquire, own, 1ul << 40, &offset);
	FAILS(lh_region_acquire, lost, 64, &offset);
	FAILS(lh_region_release, NULL, 64);
	FAILS(lh_region_release, own, 64);
	FAILS(lh_region_release, lost, 64);
	FAILS(lh_lease_release, lost);
	lost = NULL;
	FAILS(lh_cancel_create, NULL);
	FAILS(lh_fence_check, NULL, 1);
	uint64_t highest = 2;
	FAILS(lh_fence_check, &highest, 1);
}

// ---- primitives ---------------------------------------------------------------------------------

static void of_mutexes(void **state)
{
	const struct lh_mutex_options reserved = { .reserved = { 1 } }, more = { .count = 2 };
	lh_mutex element;
	lh_grant grant;

	(void)state;
	IS_ZERO(lh_mutex_footprint, &reserved);
	FAILS(lh_mutex_at, NULL, LH_ANYWHERE, NULL, &element);
	FAILS(lh_mutex_at, arena, LH_ANYWHERE, &reserved, &element);
	FAILS(lh_mutex_at, arena, lh_mutex_offset(&mutex), &more, &element);
	FAILS(lh_mutex_at, reader, LH_ANYWHERE, &more, &element);
	FAILS(lh_mutex_element, &mutex, 1, &element);
	FAILS(lh_mutex_element, &no_mutex, 0, &element);
	FAILS(lh_mutex_lock, &no_mutex, own, LH_NOW, &grant);
	FAILS(lh_mutex_lock, &mutex, NULL, LH_NOW, &grant);
	FAILS(lh_mutex_lock, &mutex, foreign, LH_NOW, &grant);
	FAILS(lh_mutex_lock, &mutex, own, LH_NOW, &grant);
	FAILS(lh_mutex_lock, &mutex, own, lh_deadline_after(1), &grant);
	FAILS(lh_mutex_lock, &mutex, other, LH_NOW, &grant);
	FAILS(lh_mutex_lock, &mutex, lost, LH_NOW, &grant);
	FAILS(lh_mutex_unlock, &no_mutex, own);
	FAILS(lh_mutex_unlock, &mutex, NULL);
	FAILS(lh_mutex_unlock, &mutex, own);
	FAILS(lh_mutex_unlock, &mutex, lost);
	FAILS(lh_mutex_consistent, &no_mutex, own);
	FAILS(lh_mutex_consistent, &mutex, own);
	FAILS(lh_mutex_consistent, &mutex, lost);
}

static void of_rwlocks(void **state)
{
	const struct lh_rwlock_options reserved = { .reserved = { 1 } };
	lh_rwlock placed;
	lh_grant grant;

	(void)state;
	IS_ZERO(lh_rwlock_footprint, &reserved);
	FAILS(lh_rwlock_at, NULL, LH_ANYWHERE, NULL, &placed);
	FAILS(lh_rwlock_at, arena, LH_ANYWHERE, &reserved, &placed);
	FAILS(lh_rwlock_at, arena, lh_mutex_offset(&mutex), NULL, &placed);
	FAILS(lh_rwlock_read_lock, &no_rwlock, own, LH_NOW, &grant);
	FAILS(lh_rwlock_read_lock, &rwlock, NULL, LH_NOW, &grant);
	FAILS(lh_rwlock_read_lock, &rwlock, foreign, LH_NOW, &grant);
	FAILS(lh_rwlock_read_lock, &rwlock, own, LH_NOW, &grant);
	FAILS(lh_rwlock_read_lock, &rwlock, own, lh_deadline_after(1), &grant);
	FAILS(lh_rwlock_read_lock, &rwlock, other, LH_NOW, &grant);
	FAILS(lh_rwlock_read_lock, &rwlock, lost, LH_NOW, &grant);
	FAILS(lh_rwlock_write_lock, &no_rwlock, own, LH_NOW, &grant);
	FAILS(lh_rwlock_write_lock, &rwlock, NULL, LH_NOW, &grant);
	FAILS(lh_rwlock_write_lock, &rwlock, own, LH_NOW, &grant);
	FAILS(lh_rwlock_write_lock, &rwlock, own, lh_deadline_after(1), &grant);
	FAILS(lh_rwlock_write_lock, &rwlock, other, LH_NOW, &grant);
	FAILS(lh_rwlock_write_lock, &rwlock, lost, LH_NOW, &grant);
	FAILS(lh_rwlock_upgrade, &no_rwlock, own, LH_NOW, &grant);
	FAILS(lh_rwlock_upgrade, &rwlock, own, LH_NOW, &grant);
	FAILS(lh_rwlock_upgrade, &rwlock, lost, LH_NOW, &grant);
	FAILS(lh_rwlock_downgrade, &no_rwlock, own);
	FAILS(lh_rwlock_downgrade, &rwlock, own);
	FAILS(lh_rwlock_downgrade, &rwlock, lost);
	FAILS(lh_rwlock_unlock, &no_rwlock, own);
	FAILS(lh_rwlock_unlock, &rwlock, NULL);
	FAILS(lh_rwlock_unlock, &rwlock, own);
	FAILS(lh_rwlock_unlock, &rwlock, lost);
	FAILS(lh_rwlock_consistent, &no_rwlock, own);
	FAILS(lh_rwlock_consistent, &rwlock, own);
}

static void of_semaphores(void **state)
{
	const struct lh_semaphore_options none = { .permits = 0 };
	lh_semaphore placed;
	uint32_t slots[1];

	(void)state;
	IS_ZERO(lh_semaphore_footprint, &none);
	FAILS(lh_semaphore_at, NULL, LH_ANYWHERE, &none, &placed);
	FAILS(lh_semaphore_at, arena, LH_ANYWHERE, &none, &placed);
	FAILS(lh_semaphore_acquire, &no_semaphore, own, 1, LH_NOW);
	FAILS(lh_semaphore_acquire, &semaphore, NULL, 1, LH_NOW);
	FAILS(lh_semaphore_acquire, &semaphore, foreign, 1, LH_NOW);
	FAILS(lh_semaphore_acquire, &semaphore, own, 2, LH_NOW);
	FAILS(lh_semaphore_acquire, &semaphore, own, 1, LH_NOW);
	FAILS(lh_semaphore_acquire, &semaphore, own, 1, lh_deadline_after(1));
	FAILS(lh_semaphore_acquire, &semaphore, lost, 1, LH_NOW);
	FAILS(lh_semaphore_release, &no_semaphore, own, 1);
	FAILS(lh_semaphore_release, &semaphore, NULL, 1);
	FAILS(lh_semaphore_release, &semaphore, own, 1);
	FAILS(lh_semaphore_release, &semaphore, other, 2);
	FAILS(lh_semaphore_release, &semaphore, lost, 1);
	FAILS(lh_semaphore_slots, &no_semaphore, own, slots, 1);
	FAILS(lh_semaphore_slots, &semaphore, NULL, slots, 1);
	FAILS(lh_semaphore_slots, &semaphore, lost, slots, 1);
	FAILS(lh_semaphore_resize, &no_semaphore, 1);
	FAILS(lh_semaphore_resize, &semaphore, 2);
}

static void of_barriers(void **state)
{
	const struct lh_barrier_options none = { .parties = 0 };
	lh_barrier placed;
	lh_grant grant;

	(void)state;
	IS_ZERO(lh_barrier_footprint, &none);
	FAILS(lh_barrier_at, NULL, LH_ANYWHERE, &none, &placed);
	FAILS(lh_barrier_at, arena, LH_ANYWHERE, &none, &placed);
	FAILS(lh_barrier_join, &no_barrier, own);
	FAILS(lh_barrier_join, &barrier, NULL);
	FAILS(lh_barrier_join, &barrier, own);
	FAILS(lh_barrier_join, &barrier, lost);
	FAILS(lh_barrier_wait, &no_barrier, own, LH_NOW, &grant);
	FAILS(lh_barrier_wait, &barrier, NULL, LH_NOW, &grant);
	FAILS(lh_barrier_wait, &barrier, own, LH_NOW, &grant);
	FAILS(lh_barrier_wait, &barrier, lost, LH_NOW, &grant);
	FAILS(lh_barrier_leave, &no_barrier, own);
	FAILS(lh_barrier_leave, &barrier, NULL);
	FAILS(lh_barrier_leave, &barrier, own);
	FAILS(lh_barrier_leave, &barrier, lost);
	FAILS(lh_barrier_reset, &no_barrier);
}

static void of_condvars(void **state)
{
	const struct lh_condvar_options reserved = { .reserved = { 1 } };
	lh_condvar placed;
	lh_grant grant;

	(void)state;
	IS_ZERO(lh_condvar_footprint, &reserved);
	FAILS(lh_condvar_at, NULL, LH_ANYWHERE, NULL, &placed);
	FAILS(lh_condvar_at, arena, LH_ANYWHERE, &reserved, &placed);
	FAILS(lh_condvar_wait, &no_condvar, &mutex, other, LH_NOW, &grant);
	FAILS(lh_condvar_wait, &condvar, &no_mutex, other, LH_NOW, &grant);
	FAILS(lh_condvar_wait, &condvar, &mutex, NULL, LH_NOW, &grant);
	FAILS(lh_condvar_wait, &condvar, &mutex, own, LH_NOW, &grant);
	FAILS(lh_condvar_wait, &condvar, &mutex, lost, LH_NOW, &grant);
	FAILS(lh_condvar_wait, &condvar, &mutex, other, LH_NOW, &grant);
	FAILS(lh_condvar_wait, &condvar, &mutex, other, lh_deadline_after(1), &grant);
	FAILS(lh_condvar_signal, &no_condvar);
	FAILS(lh_condvar_broadcast, &no_condvar);
}

static void of_onces(void **state)
{
	const struct lh_once_options reserved = { .reserved = { 1 } };
	lh_once placed;

	(void)state;
	IS_ZERO(lh_once_footprint, &reserved);
	FAILS(lh_once_at, NULL, LH_ANYWHERE, NULL, &placed);
	FAILS(lh_once_at, arena, LH_ANYWHERE, &reserved, &placed);
	FAILS(lh_once_call, &no_once, own, set_nothing, NULL, LH_NOW);
	FAILS(lh_once_call, &once, NULL, set_nothing, NULL, LH_NOW);
	FAILS(lh_once_call, &once, own, NULL, NULL, LH_NOW);
	FAILS(lh_once_call, &once, lost, set_nothing, NULL, LH_NOW);
	FAILS(lh_once_call, &once, own, fail_to_set, NULL, LH_NOW);
}

static void of_values(void **state)
{
	const struct lh_watch_options no_size = { .max_size = 0 };
	const struct lh_cell_options no_bytes = { .size = 0 };
	char value[16] = "";
	lh_watch placed;
	lh_cell placed_cell;
	lh_grant grant;
	size_t size;
	uint64_t version;
	void *draft;

	(void)state;
	IS_ZERO(lh_watch_footprint, &no_size);
	FAILS(lh_watch_at, NULL, LH_ANYWHERE, &no_size, &placed);
	FAILS(lh_watch_at, arena, LH_ANYWHERE, &no_size, &placed);
	FAILS(lh_watch_claim, &no_watch, own);
	FAILS(lh_watch_claim, &watch, NULL);
	FAILS(lh_watch_claim, &watch, own);
	FAILS(lh_watch_claim, &watch, lost);
	FAILS(lh_watch_send, &no_watch, own, value, 1);
	FAILS(lh_watch_send, &watch, own, value, 1);
	FAILS(lh_watch_send, &watch, other, value, 16);
	FAILS(lh_watch_send, &watch, other, NULL, 1);
	FAILS(lh_watch_send, &watch, lost, value, 1);
	FAILS(lh_watch_close, &no_watch, own);
	FAILS(lh_watch_close, &watch, own);
	FAILS(lh_watch_close, &watch, lost);
	FAILS(lh_watch_subscribe, &no_watch, &no_receiver);
	FAILS(lh_watch_subscribe, &watch, NULL);
	FAILS(lh_watch_set_cancel, &no_receiver, NULL);
	FAILS(lh_watch_read, &no_receiver, value, sizeof(value), &size, &version);
	FAILS(lh_watch_read, &receiver, value, sizeof(value), &size, &version);
	FAILS(lh_watch_changed, &no_receiver, LH_NOW);
	FAILS(lh_watch_changed, &receiver, LH_NOW);
	FAILS(lh_watch_changed, &receiver, lh_deadline_after(1));
	IS_ZERO(lh_cell_footprint, &no_bytes);
	FAILS(lh_cell_at, NULL, LH_ANYWHERE, &no_bytes, &placed_cell);
	FAILS(lh_cell_at, arena, LH_ANYWHERE, &no_bytes, &placed_cell);
	FAILS(lh_cell_read, &no_cell, value, &version);
	FAILS(lh_cell_read, &cell, NULL, &version);
	FAILS(lh_cell_begin, &no_cell, own, LH_NOW, &draft, &grant);
	FAILS(lh_cell_begin, &cell, own, LH_NOW, &draft, &grant);
	FAILS(lh_cell_begin, &cell, own, lh_deadline_after(1), &draft, &grant);
	FAILS(lh_cell_begin, &cell, other, LH_NOW, &draft, &grant);
	FAILS(lh_cell_begin, &cell, lost, LH_NOW, &draft, &grant);
	FAILS(lh_cell_commit, &no_cell, own);
	FAILS(lh_cell_commit, &cell, own);
	FAILS(lh_cell_commit, &cell, lost);
	FAILS(lh_cell_abort, &no_cell, own);
	FAILS(lh_cell_abort, &cell, own);
	FAILS(lh_cell_abort, &cell, lost);
}

// ---- named locks --------------------------------------------------------------------------------

static void of_locks(void **state)
{
	const struct scene *scene = *state;
	const struct lh_acquire_options reserved = { .reserved = { 1 } };
	const char *const twice[] = { "one", "one" }, *const parts[] = { "part" };
	lh_handle *handle, *held, *not_this;
	lh_pending *pending;
	lh_locks *locks;
	char url[160], small[1];
	uint64_t version;

	FAILS(lh_locks_open, NULL, &locks);
	FAILS(lh_locks_open, "nonsense", &locks);
	FAILS(lh_locks_open, "shm://", &locks);
	FAILS(lh_locks_open, "shm://arena?size=x", &locks);
	FAILS(lh_locks_open, "file:///no/such/directory", &locks);
	FAILS(lh_locks_open, "nosuchscheme://x", &locks);
	snprintf(url, sizeof(url), "shm://%s-locks", scene->name);
	assert_int_equal(lh_locks_open(url, &locks), 0);
	assert_int_equal(lh_acquire(locks, "one", LH_NOW, NULL, &held), 0);
	FAILS(lh_locks_close, locks);
	FAILS(lh_acquire, NULL, "one", LH_NOW, NULL, &handle);
	FAILS(lh_acquire, locks, NULL, LH_NOW, NULL, &handle);
	FAILS(lh_acquire, locks, "one", LH_NOW, &reserved, &handle);
	FAILS(lh_acquire, locks, "one", LH_NOW, NULL, &handle);
	FAILS(lh_acquire, locks, "one", lh_deadline_after(1), NULL, &handle);
	FAILS(lh_acquire_key, locks, NULL, 1, LH_NOW, NULL, &handle);
	FAILS(lh_acquire_key, locks, "one", 3, LH_NOW, NULL, &handle);
	FAILS(lh_acquire_all, locks, twice, 2, LH_NOW, NULL, &handle);
	FAILS(lh_acquire_all, locks, twice, 0, LH_NOW, NULL, &handle);
	FAILS(lh_acquire_all, locks, twice, 1, LH_NOW, NULL, &handle);
	FAILS(lh_acquire_path, locks, NULL, LH_NOW, NULL, &handle);
	FAILS(lh_acquire_path, locks, "one/two", LH_NOW, NULL, &handle);
	FAILS(lh_with, locks, "one", LH_NOW, NULL, NULL, NULL);
	FAILS(lh_with, locks, "one", LH_NOW, NULL, nobody, NULL);
	FAILS(lh_handle_extend, NULL, LH_SEC(1));
	FAILS(lh_handle_extend, held, 0);
	FAILS(lh_handle_consistent, NULL);
	FAILS(lh_handle_slot, NULL);
	FAILS(lh_handle_slot, held);
	FAILS(lh_handle_loss_fd, NULL);
	FAILS(lh_key_join, NULL, 8, parts, 1);
	FAILS(lh_key_join, small, sizeof(small), parts, 1);
	FAILS(lh_key_version, NULL, "one", &version);
	FAILS(lh_key_version, locks, NULL, &version);
	FAILS(lh_acquire_start, NULL, "one", LH_NOW, NULL, &pending);
	FAILS(lh_acquire_start, locks, NULL, LH_NOW, NULL, &pending);
	const struct lh_acquire_options brief = { .ttl_ns = LH_MS(1) };
	lh_handle *gone;

	assert_int_equal(lh_acquire(locks, "brief", LH_NOW, &brief, &gone), 0);
	while (lh_handle_valid(gone))
		sched_yield();
	FAILS(lh_handle_extend, gone, LH_SEC(1));
	FAILS(lh_handle_consistent, gone);
	FAILS(lh_handle_release, gone);
	assert_int_equal(lh_acquire_start(locks, "one", LH_FOREVER, NULL, &pending), 0);
	FAILS(lh_pending_finish, NULL, &not_this);
	FAILS(lh_pending_finish, pending, &not_this);
	FAILS(lh_pending_fd, NULL);
	FAILS(lh_pending_cancel, NULL);
	assert_int_equal(lh_pending_cancel(pending), 0);
	while (lh_pending_finish(pending, &not_this) == -EINPROGRESS)
		sched_yield();
	assert_int_equal(lh_handle_release(held), 0);
	assert_int_equal(lh_locks_close(locks), 0);
	snprintf(url, sizeof(url), "%s-locks", scene->name);
	lh_arena_unlink(url);
}

// ---- none is missing ----------------------------------------------------------------------------

// Of a header's declarations that return an int, a size or a footprint.
static size_t check_header(const char *path)
{
	static const char
		pattern[] = "^LH_API (LH_NODISCARD )?(int|ssize_t|size_t) (lh_[a-z_]+)\\(";
	char line[256];
	regmatch_t found[4];
	regex_t regex;
	size_t count = 0;
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED), 0);
	while (fgets(line, sizeof(line), file)) {
		if (regexec(&regex, line, 4, found, 0))
			continue;
		const char *name = line + found[3].rm_so;
		const size_t size = (size_t)(found[3].rm_eo - found[3].rm_so);

		count++;
		// The rest of an inlined call is that call's.
		if (strncmp(name, "lh_inline_", 10) != 0 && !was_seen(name, size))
			fail_msg("%s: nothing here makes %.*s fail", path, (int)size, name);
	}
	regfree(&regex);
	fclose(file);
	return count;
}

static void no_function_of_the_headers_is_missing(void **state)
{
	DIR *headers = opendir(LEASEHOLD_HEADERS);
	const struct dirent *entry;
	size_t count = 0;

	(void)state;
	assert_non_null(headers);
	while ((entry = readdir(headers))) {
		const size_t size = strlen(entry->d_name);
		char path[512];

		if (size < 3 || strcmp(entry->d_name + size - 2, ".h") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", LEASEHOLD_HEADERS, entry->d_name);
		count += check_header(path);
	}
	closedir(headers);
	print_message("%zu functions\n", count);
	assert_true(count > 80);
}

#define WITH_ALL(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ALL(of_arenas),   WITH_ALL(of_looks),
		WITH_ALL(of_leases),   WITH_ALL(of_mutexes),
		WITH_ALL(of_rwlocks),  WITH_ALL(of_semaphores),
		WITH_ALL(of_barriers), WITH_ALL(of_condvars),
		WITH_ALL(of_onces),    WITH_ALL(of_values),
		WITH_ALL(of_locks),    cmocka_unit_test(no_function_of_the_headers_is_missing),
	};

	return cmocka_run_group_tests_name("details", tests, NULL, NULL);
}
