// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/exercise.h"

#include "src/provider/keys.h"

#include <signal.h>
#include <sys/prctl.h>

enum { TIME_LIMIT_S = 100, MOST_STEPS = 1 << 20 };

const struct lh_arena_options exercise_options = { .size = 98304,
						   .max_leases = EXERCISE_MAX_LEASES,
						   .max_holds = EXERCISE_MAX_HOLDS };

static const struct lh_mutex_options array_options = { .name = EXERCISE_ARRAY,
						       .data_size = 72,
						       .count = EXERCISE_MUTEXES };

static const struct lh_semaphore_options pool_options = { .name = "pool", .permits = 20 };
static const struct lh_condvar_options condvar_options = { .name = "condvar" };

uint64_t exercise_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t exercise_seed(void)
{
	const char *given = getenv("LEASEHOLD_SEED");
	const uint64_t seed = given ? strtoull(given, NULL, 0) : lh_now();

	print_message("LEASEHOLD_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

enum { VALUE_SIZE = 100 };

static const struct lh_rwlock_options rwlock_options = { .name = "rwlock", .data_size = 72 };
static const struct lh_watch_options watch_options = { .name = "watch", .max_size = VALUE_SIZE };
static const struct lh_cell_options cell_options = { .name = "cell", .size = VALUE_SIZE };
static const struct lh_barrier_options barrier_options = { .parties = 3,
							   .on_death = LH_BARRIER_SHRINK,
							   .name = "barrier" };
static const struct lh_once_options once_options = { .data_size = 100, .name = "once" };

static const char *const keys_used[] = { "key", "another key", "" };
static char long_key[300];

// The table of named locks, with keys in it.
static void place_keys(lh_arena *arena)
{
	struct hold_record *record;
	struct keys keys;
	lh_lease *lease;

	memset(long_key, 'k', sizeof(long_key) - 1);
	assert_int_equal(keys_open(arena, &keys), 0);
	assert_int_equal(lh_lease_acquire(arena, NULL, &lease), 0);
	for (int i = 0; i < 20; i++) {
		// one long one, and "k", "kk", … beside
		const char *key = i < 3 ? keys_used[i] : long_key;
		const size_t size = i < 3     ? strlen(key)
				    : i == 19 ? sizeof(long_key) - 1
					      : (size_t)i;

		assert_int_equal(keys_refer(&keys, lease, key, size, 0, LH_NOW, &record), 0);
		hold_clear(record);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

void exercise_place(lh_arena *arena)
{
	lh_rwlock rwlock;
	lh_semaphore pool;
	lh_condvar condvar;
	lh_watch watch;
	lh_cell cell;
	lh_mutex mutex;
	lh_barrier barrier;
	lh_once once;
	uint64_t offset;

	place_keys(arena);
	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, &array_options, &mutex), 0);
	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex), 0);
	assert_int_equal(lh_rwlock_at(arena, LH_ANYWHERE, &rwlock_options, &rwlock), 0);
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &pool_options, &pool), 0);
	assert_int_equal(lh_condvar_at(arena, LH_ANYWHERE, &condvar_options, &condvar), 0);
	assert_int_equal(lh_region_at(arena, LH_ANYWHERE, 1000, EXERCISE_REGION, &offset), 0);
	assert_int_equal(lh_watch_at(arena, LH_ANYWHERE, &watch_options, &watch), 0);
	assert_int_equal(lh_cell_at(arena, LH_ANYWHERE, &cell_options, &cell), 0);
	assert_int_equal(lh_barrier_at(arena, LH_ANYWHERE, &barrier_options, &barrier), 0);
	assert_int_equal(lh_once_at(arena, LH_ANYWHERE, &once_options, &once), 0);
}

bool exercise_element(lh_arena *arena, uint32_t index, lh_mutex *ret_mutex)
{
	lh_mutex array;

	return lh_mutex_at(arena, LH_ANYWHERE, &array_options, &array) == 0 &&
	       lh_mutex_element(&array, index, ret_mutex) == 0;
}

// ---- looking -------------------------------------------------------------------------------------

static void be_string(const char *text, size_t size)
{
	need(memchr(text, '\0', size) != NULL);
	for (; *text; text++)
		need(*text >= ' ' && *text <= '~');
}

static void look_at_placements(lh_arena *arena)
{
	struct lh_placement_info place;
	uint64_t cursor = 0;
	int steps = 0;

	while (lh_next_placement(arena, &cursor, &place) == 0) {
		need(++steps < MOST_STEPS);
		be_string(place.name, sizeof(place.name));
		be_string(lh_kind_name(place.kind), 32);
		need(lh_arena_range(arena, place.offset, place.size) != NULL);
	}
}

static void look_at_leases(lh_arena *arena)
{
	struct lh_lease_info lease;
	struct lh_hold_info hold;
	struct lh_event_info event;
	uint64_t cursor = 0;
	int steps = 0;

	while (lh_next_lease(arena, &cursor, &lease) == 0) {
		need(++steps < MOST_STEPS);
		be_string(lease.command, sizeof(lease.command));
		be_string(lease.label, sizeof(lease.label));
		need(lease.state >= LH_LEASE_LIVE && lease.state <= LH_LEASE_STARTING);
		need(lease.slot < EXERCISE_MAX_LEASES);
	}
	cursor = 0;
	while (lh_next_hold(arena, &cursor, &hold) == 0) {
		need(++steps < MOST_STEPS);
		need(hold.slot < EXERCISE_MAX_LEASES);
		need(lh_arena_range(arena, hold.offset, 64) != NULL);
	}
	cursor = 0;
	while (lh_next_event(arena, &cursor, &event) == 0) {
		need(++steps < MOST_STEPS);
		be_string(event.command, sizeof(event.command));
	}
}

static void count_finding(void *context, int severity, uint64_t offset, const char *text)
{
	int *worst = context;

	(void)offset;
	need(severity == LH_CHECK_STALE || severity == LH_CHECK_DEADLOCK ||
	     severity == LH_CHECK_CORRUPT);
	be_string(text, 256);
	if (severity > *worst)
		*worst = severity;
}

static void look(lh_arena *arena)
{
	uint64_t offset;
	int worst = 0;

	look_at_placements(arena);
	look_at_leases(arena);
	need(lh_arena_check(arena, count_finding, &worst) == worst);
	lh_find(arena, EXERCISE_REGION, &offset);
	lh_find(arena, EXERCISE_ARRAY, &offset);
}

// ---- using ---------------------------------------------------------------------------------------

// The contract has words for it.
static int accept(int result)
{
	need(strcmp(lh_strerror(result), lh_strerror(-4095)) != 0);
	return result;
}

static void use_rwlock(lh_arena *arena, lh_lease *lease)
{
	lh_rwlock rwlock;
	lh_grant grant;

	if (accept(lh_rwlock_at(arena, LH_ANYWHERE, &rwlock_options, &rwlock)) != 0)
		return;
	accept(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL));
	accept(lh_rwlock_read_lock(&rwlock, lease, lh_deadline_after(LH_MS(1)), &grant));
	accept(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, &grant));
	accept(lh_rwlock_unlock(&rwlock, lease));
	accept(lh_rwlock_upgrade(&rwlock, lease, lh_deadline_after(LH_MS(1)), &grant));
	accept(lh_rwlock_consistent(&rwlock, lease));
	accept(lh_rwlock_downgrade(&rwlock, lease));
	accept(lh_rwlock_unlock(&rwlock, lease));
	accept(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL));
	if (accept(lh_rwlock_write_lock(&rwlock, lease, lh_deadline_after(LH_MS(1)), &grant)) == 0)
		memset(lh_rwlock_data(&rwlock), 1, rwlock_options.data_size);
}

static void use_pool(lh_arena *arena, lh_lease *lease)
{
	lh_semaphore pool;
	uint32_t slots[4];

	if (lh_semaphore_at(arena, LH_ANYWHERE, &pool_options, &pool) != 0)
		return;
	accept(lh_semaphore_acquire(&pool, lease, 1, LH_NOW));
	accept(lh_semaphore_acquire(&pool, lease, 3, LH_NOW));
	accept(lh_semaphore_acquire(&pool, lease, 1, lh_deadline_after(LH_MS(1))));
	accept(lh_semaphore_acquire(&pool, lease, 7, lh_deadline_after(LH_MS(1))));
	lh_semaphore_available(&pool);
	if (lh_semaphore_slots(&pool, lease, slots, 4) < 0)
		accept(lh_semaphore_slots(&pool, lease, slots, 4));
	accept(lh_semaphore_resize(&pool, 8));
	accept(lh_semaphore_acquire(&pool, lease, 9, lh_deadline_after(LH_MS(1))));
	accept(lh_semaphore_release(&pool, lease, 2));
	accept(lh_semaphore_release(&pool, lease, 21));
	accept(lh_semaphore_resize(&pool, 20));
}

static void use_condvar(lh_arena *arena, lh_lease *lease)
{
	lh_condvar condvar;
	lh_mutex mutex;
	lh_grant grant;

	if (accept(lh_condvar_at(arena, LH_ANYWHERE, &condvar_options, &condvar)) ||
	    !exercise_element(arena, 0, &mutex) ||
	    accept(lh_mutex_lock(&mutex, lease, lh_deadline_after(LH_MS(1)), &grant)))
		return;
	accept(lh_condvar_signal(&condvar));
	accept(lh_condvar_wait(&condvar, &mutex, lease, lh_deadline_after(LH_MS(1)), &grant));
	accept(lh_condvar_broadcast(&condvar));
	accept(lh_mutex_unlock(&mutex, lease));
}

static void read_values(lh_arena *arena)
{
	lh_watch_receiver receiver;
	uint8_t value[VALUE_SIZE];
	lh_watch watch;
	lh_cell cell;
	size_t size = 0;

	if (lh_watch_at(arena, LH_ANYWHERE, &watch_options, &watch) == 0 &&
	    accept(lh_watch_subscribe(&watch, &receiver)) == 0) {
		if (accept(lh_watch_read(&receiver, value, sizeof(value), &size, NULL)) == 0)
			need(size <= sizeof(value));
		accept(lh_watch_changed(&receiver, LH_NOW));
		accept(lh_watch_changed(&receiver, lh_deadline_after(LH_MS(1))));
	}
	if (lh_cell_at(arena, LH_ANYWHERE, &cell_options, &cell) == 0)
		accept(lh_cell_read(&cell, value, NULL));
}

static void use_values(lh_arena *arena, lh_lease *lease)
{
	uint8_t value[VALUE_SIZE] = { 1 };
	lh_watch watch;
	lh_cell cell;
	void *draft;

	read_values(arena);
	if (lh_watch_at(arena, LH_ANYWHERE, &watch_options, &watch) == 0) {
		accept(lh_watch_claim(&watch, lease));
		accept(lh_watch_send(&watch, lease, value, sizeof(value)));
		read_values(arena);
		accept(lh_watch_close(&watch, lease));
		accept(lh_watch_send(&watch, lease, value, sizeof(value)));
	}
	if (lh_cell_at(arena, LH_ANYWHERE, &cell_options, &cell) != 0)
		return;
	for (int i = 0; i < 2; i++) {
		if (accept(lh_cell_begin(&cell, lease, lh_deadline_after(LH_MS(1)), &draft,
					 NULL)) != 0)
			continue;
		memset(draft, 2, VALUE_SIZE);
		read_values(arena);
		accept(i ? lh_cell_abort(&cell, lease) : lh_cell_commit(&cell, lease));
	}
	accept(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL));
}

static void use_barrier(lh_arena *arena, lh_lease *lease)
{
	lh_barrier barrier;
	lh_grant grant;

	if (accept(lh_barrier_at(arena, LH_ANYWHERE, &barrier_options, &barrier)) != 0)
		return;
	accept(lh_barrier_wait(&barrier, lease, LH_NOW, NULL));
	accept(lh_barrier_join(&barrier, lease));
	accept(lh_barrier_wait(&barrier, lease, lh_deadline_after(LH_MS(1)), &grant));
	accept(lh_barrier_reset(&barrier));
	accept(lh_barrier_leave(&barrier, lease));
	accept(lh_barrier_join(&barrier, lease));
}

static int fill(void *data, void *context)
{
	(void)context;
	memset(data, 1, once_options.data_size);
	return 0;
}

static void read_once(const lh_once *once)
{
	const uint8_t *data = lh_once_data(once);

	if (lh_once_done(once) && data)
		need(data[0] + data[once_options.data_size - 1] <= 2 * UINT8_MAX);
}

static void use_once(lh_arena *arena, lh_lease *lease)
{
	lh_once once;

	if (accept(lh_once_at(arena, LH_ANYWHERE, &once_options, &once)) != 0)
		return;
	accept(lh_once_call(&once, lease, fill, NULL, LH_NOW));
	accept(lh_once_call(&once, lease, fill, NULL, lh_deadline_after(LH_MS(1))));
	read_once(&once);
}

static void use_keys_of(lh_locks *locks, const char *key)
{
	const struct lh_acquire_options options[] = { { .mode = LH_EXCLUSIVE },
						      { .mode = LH_SHARED },
						      { .ttl_ns = LH_SEC(1000) } };

	for (int i = 0; i < 3; i++) {
		lh_handle *handle, *other = NULL;

		if (accept(lh_acquire(locks, key, i ? lh_deadline_after(LH_MS(1)) : LH_NOW,
				      &options[i], &handle)) != 0)
			continue;
		if (accept(lh_acquire(locks, key, lh_deadline_after(LH_MS(1)), &options[1],
				      &other)) == 0)
			accept(lh_handle_release(other));
		accept(lh_handle_consistent(handle));
		accept(lh_handle_extend(handle, LH_SEC(2000)));
		accept(lh_handle_release(handle));
	}
}

static void use_locks(const char *path)
{
	char url[160];
	lh_locks *locks;
	lh_handle *handle;

	snprintf(url, sizeof(url), "shm://%s", path);
	if (accept(lh_locks_open(url, &locks)) != 0)
		return;
	memset(long_key, 'k', sizeof(long_key) - 1);
	for (size_t i = 0; i < sizeof(keys_used) / sizeof(keys_used[0]); i++)
		use_keys_of(locks, keys_used[i]);
	use_keys_of(locks, long_key);
	for (int i = 0; i < 60; i++) { // more than there are entries: others' are taken back
		char key[16];

		snprintf(key, sizeof(key), "key %d", i);
		if (accept(lh_acquire(locks, key, LH_NOW, NULL, &handle)) == 0)
			accept(lh_handle_release(handle));
	}
	if (accept(lh_acquire_all(locks, keys_used, 3, lh_deadline_after(LH_MS(1)), NULL,
				  &handle)) == 0)
		accept(lh_handle_release(handle));
	accept(lh_locks_close(locks));
}

static void use_lease(lh_arena *arena, lh_lease *lease)
{
	lh_mutex mutex;
	lh_grant grant;
	uint64_t offset;

	for (uint32_t i = 0; i < EXERCISE_MUTEXES; i++) {
		if (!exercise_element(arena, i, &mutex))
			continue;
		accept(lh_mutex_lock(&mutex, lease, LH_NOW, NULL));
		accept(lh_mutex_unlock(&mutex, lease));
		if (accept(lh_mutex_lock(&mutex, lease, lh_deadline_after(LH_MS(1)), &grant)) ==
		    0) {
			memset(lh_mutex_data(&mutex), 1, array_options.data_size);
			accept(lh_mutex_consistent(&mutex, lease));
			lh_mutex_held(&mutex, lease);
			if (i % 2)
				accept(lh_mutex_unlock(&mutex, lease));
		}
	}
	use_rwlock(arena, lease);
	use_pool(arena, lease);
	use_condvar(arena, lease);
	if (accept(lh_region_acquire(lease, 100, &offset)) == 0) {
		memset(lh_arena_range(arena, offset, 100), 1, 100);
		accept(lh_region_release(lease, offset));
	}
	accept(lh_region_acquire(lease, 100, &offset));
	use_values(arena, lease);
	use_barrier(arena, lease);
	use_once(arena, lease);
	accept(lh_lease_renew(lease, LH_SEC(100)));
	lh_lease_remaining(lease);
	look(arena);
}

static void place(lh_arena *arena)
{
	const uint64_t first = lh_arena_first_offset(arena);
	lh_mutex mutex;
	uint64_t offset;

	for (uint64_t at = first; at < first + 4096; at += 512)
		accept(lh_mutex_at(arena, at, NULL, &mutex));
	accept(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex));
	if (accept(lh_region_at(arena, LH_ANYWHERE, 500, "new", &offset)) == 0)
		memset(lh_arena_range(arena, offset, 500), 1, 500);
	accept(lh_remove(arena, first));
	if (lh_find(arena, EXERCISE_REGION, &offset) == 0)
		accept(lh_remove(arena, offset));
}

static void use(lh_arena *arena)
{
	const struct lh_lease_options options[] = { { .label = "fuzz" },
						    { .ttl_ns = LH_SEC(1000) },
						    { .flags = LH_LEASE_PROCESS } };
	lh_lease *leases[3] = { NULL };
	lh_lease *own = NULL;

	if (accept(lh_thread_lease(arena, &own)) == 0)
		use_lease(arena, own);
	for (int i = 0; i < 3; i++) {
		if (accept(lh_lease_acquire(arena, &options[i], &leases[i])) == 0)
			use_lease(arena, leases[i]);
	}
	place(arena);
	for (int i = 0; i < 3; i++)
		accept(lh_lease_release(leases[i]));
	accept(lh_lease_release(own));
}

void exercise(const char *path)
{
	lh_arena *arena = NULL;

	if (accept(lh_arena_open(path, LH_READ_ONLY, NULL, &arena)) == 0) {
		lh_semaphore pool;
		lh_mutex mutex;
		lh_once once;

		look(arena);
		if (lh_once_at(arena, LH_ANYWHERE, &once_options, &once) == 0)
			read_once(&once);
		if (exercise_element(arena, 1, &mutex))
			lh_mutex_data(&mutex);
		if (lh_semaphore_at(arena, LH_ANYWHERE, &pool_options, &pool) == 0)
			lh_semaphore_available(&pool);
		read_values(arena);
		need(lh_arena_close(arena) == 0);
	}
	if (accept(lh_arena_open(path, LH_CREATE, NULL, &arena)) == 0) {
		look(arena);
		use(arena);
		look(arena);
		accept(lh_arena_close(arena));
	}
	use_locks(path);
}

static int run(void *path)
{
	alarm(TIME_LIMIT_S);
	exercise(path);
	return 0;
}

void exercise_in_child(const char *path, uint64_t seed)
{
	const int status = scene_child(run, (void *)(uintptr_t)path);

	if (status)
		fail_msg("LEASEHOLD_SEED=%llu: the child ended with status %#x",
			 (unsigned long long)seed, status);
}
