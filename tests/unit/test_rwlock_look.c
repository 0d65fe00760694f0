// SPDX-License-Identifier: Apache-2.0
//
// rwlock_wait.c: a reader that has unlocked, and looked for a writer before there was one to be
// seen, wakes nobody. So a writer that is about to sleep for a reader's sake looks at its record
// once more, after the fence that made its end visible. The fence stands in for the time at which
// that comes (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"

#include "arena/hold.h"
#include "arena/sys/fence.h"
#include "arena/sys/futex.h"
#include "src/rwlock.h"

static struct {
	struct hold_record *record; // of the reader that is about to have unlocked
	shared_u32 *departures;     // where the writer says that it will sleep
	unsigned sleeps;            // that it began
} stop;

bool __real_fence_heavy(void);
bool __wrap_fence_heavy(void);

bool __wrap_fence_heavy(void)
{
	if (stop.record && (atomic_load(stop.departures) & DEPARTURES_AWAITED)) {
		hold_clear(stop.record);
		stop.record = NULL;
	}
	return __real_fence_heavy();
}

int __real_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	stop.sleeps++;
	return __real_futex_wait_many(words, count, until_ns);
}

// G8: by a writer, and by a reader that becomes one.
static void a_writer_does_not_sleep_for_a_reader_that_has_unlocked(void **state)
{
	const struct scene *scene = *state;

	for (int upgrades = 0; upgrades < 2; upgrades++) {
		lh_lease *reader = scene_lease(scene->arena), *writer = scene_lease(scene->arena);
		lh_rwlock rwlock;

		if (scene->arena->plain_fences)
			skip();
		assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, NULL, &rwlock), 0);
		assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
		if (upgrades)
			assert_int_equal(lh_rwlock_read_lock(&rwlock, writer, LH_NOW, NULL), 0);
		stop.sleeps = 0;
		stop.departures = &scene->arena->leases[reader->index].departures;
		stop.record = hold_find(reader, LH_KIND_RWLOCK,
					arena_granule(lh_rwlock_offset(&rwlock)));
		assert_non_null(stop.record);
		if (upgrades)
			assert_int_equal(lh_rwlock_upgrade(&rwlock, writer, LH_FOREVER, NULL), 0);
		else
			assert_int_equal(lh_rwlock_write_lock(&rwlock, writer, LH_FOREVER, NULL),
					 0);
		assert_null(stop.record);
		assert_int_equal(stop.sleeps, 0);
		assert_int_equal(lh_lease_release(writer), 0);
		assert_int_equal(lh_lease_release(reader), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_writer_does_not_sleep_for_a_reader_that_has_unlocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
