// SPDX-License-Identifier: Apache-2.0
//
// semaphore.c: who has taken a permit by the short way, and sees only then that the limit was
// lowered meanwhile, gives it back and tells those who wait: the backstop, which would have them
// look all the same, is taken from them (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"

#include "arena/hold.h"
#include "arena/sys/futex.h"
#include "src/semaphore.h"

static lh_semaphore semaphore;
static lh_arena *arena;
static _Atomic int sleeps; // begun, or about to begin

int __real_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	(void)until_ns;
	atomic_fetch_add(&sleeps, 1);
	return __real_futex_wait_many(words, count, FUTEX_NEVER);
}

static void *take_in_turn(void *unused)
{
	lh_lease *lease = scene_lease(arena);

	(void)unused;
	need(lh_semaphore_acquire(&semaphore, lease, 1, LH_FOREVER) == 0);
	need(lh_lease_release(lease) == 0);
	return NULL;
}

// G6, G8
static void a_permit_given_back_because_the_limit_was_lowered_wakes_who_waits(void **state)
{
	const struct lh_semaphore_options options = { .permits = 2 };
	const struct scene *scene = *state;
	pthread_t waiter;

	arena = scene->arena;
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &semaphore), 0);
	lh_lease *one = scene_lease(arena), *late = scene_lease(arena);
	assert_int_equal(lh_semaphore_acquire(&semaphore, one, 1, LH_NOW), 0);
	assert_int_equal(lh_semaphore_acquire(&semaphore, late, 1, LH_NOW), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 1), 0);
	assert_int_equal(pthread_create(&waiter, NULL, take_in_turn, NULL), 0);
	while (!atomic_load(&sleeps))
		sched_yield();
	const int before = atomic_load(&sleeps);
	assert_int_equal(lh_semaphore_release(&semaphore, one, 1), 0);
	while (atomic_load(&sleeps) == before)
		sched_yield();
	// It goes on where it sees that the limit is another.
	struct hold_record *record = hold_find(late, LH_KIND_SEMAPHORE,
					       arena_granule(lh_semaphore_offset(&semaphore)));
	const int error = semaphore_acquire_again(&semaphore, late, 1, LH_NOW, record);
	assert_true(error == -EBUSY || error == 0);
	if (!error) // before the waiter has come, or after
		assert_int_equal(lh_semaphore_release(&semaphore, late, 1), 0);
	assert_int_equal(pthread_join(waiter, NULL), 0);
	assert_int_equal(lh_semaphore_available(&semaphore), 1);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(late), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_permit_given_back_because_the_limit_was_lowered_wakes_who_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
