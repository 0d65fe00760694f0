// SPDX-License-Identifier: Apache-2.0
//
// mutex_wait.c: an heir that gives up wakes those who sleep for its sake, whatever others do just
// then. The stops stand in for calls that it makes (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"

#include "arena/sys/futex.h"
#include "src/deadlock.h"
#include "src/mutex.h"

static struct {
	const lh_mutex *mutex;
	struct object_header *header;
	lh_lease *holder, *other; // other: it comes when the heir is seen to wait no more
	unsigned sleeps;          // of the heir
	uint64_t slept_on;        // the word, by one that sleeps for the heir's sake
	uint64_t woken_by;        // the word as it is at the wake of that one; 0: there was none
} stop;

static uint64_t now; // stands still but where it is set

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);

uint64_t __wrap_clock_now(void)
{
	return now ? now : (now = __real_clock_now());
}

int __real_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

// After the first sleep it has waited for long, and becomes the heir; during the second the mutex
// is let go of, another falls asleep, and the heir's time is up.
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	(void)words, (void)count, (void)until_ns;
	if (stop.sleeps++) {
		assert_int_equal(lh_mutex_unlock(stop.mutex, stop.holder), 0);
		stop.slept_on = atomic_fetch_or(&stop.header->word, WORD_MARK | WORD_DIED);
		stop.slept_on |= WORD_MARK | WORD_DIED;
	}
	now += 2 * WORD_PASSED_OVER_NS;
	return -ETIMEDOUT;
}

int __real_futex_wake(const _Atomic uint32_t *address, int count);
int __wrap_futex_wake(const _Atomic uint32_t *address, int count);

int __wrap_futex_wake(const _Atomic uint32_t *address, int count)
{
	if (stop.slept_on && address == futex_low_half(&stop.header->word))
		stop.woken_by = atomic_load(&stop.header->word);
	return __real_futex_wake(address, count);
}

void __real_deadlock_clear(struct lh_lease *lease);
void __wrap_deadlock_clear(struct lh_lease *lease);

// One that would not hear of the damage, and so takes nothing.
void __wrap_deadlock_clear(struct lh_lease *lease)
{
	__real_deadlock_clear(lease);
	assert_int_equal(lh_mutex_lock(stop.mutex, stop.other, LH_NOW, NULL), -EOWNERDEAD);
}

static void give_up(const struct scene *scene)
{
	lh_lease *heir = scene_lease(scene->arena);
	lh_mutex mutex;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, NULL, &mutex), 0);
	stop.mutex = &mutex;
	stop.header = arena_object(scene->arena, arena_granule(lh_mutex_offset(&mutex)));
	stop.holder = scene_lease(scene->arena);
	stop.other = scene_lease(scene->arena);
	stop.sleeps = 0;
	stop.slept_on = stop.woken_by = 0;
	assert_int_equal(lh_mutex_lock(&mutex, stop.holder, LH_NOW, NULL), 0);
	assert_int_equal(
		lh_mutex_lock(&mutex, heir, lh_deadline_after(4 * WORD_PASSED_OVER_NS), NULL),
		-ETIMEDOUT);
	assert_int_equal(stop.sleeps, 2);
	assert_int_equal(lh_lease_release(heir), 0);
	assert_int_equal(lh_lease_release(stop.holder), 0);
	assert_int_equal(lh_lease_release(stop.other), 0);
}

// G8: nor does the word tell of it only after the wake, which would be too late for who is about to
// sleep. MARK may be of one that sleeps for the next heir's sake: should this one die before the
// wake, that one's release is what wakes it.
static void an_heir_that_gives_up_changes_the_word_and_leaves_its_mark(void **state)
{
	give_up(*state);
	assert_int_not_equal((uint32_t)stop.woken_by, (uint32_t)stop.slept_on);
	assert_true(stop.woken_by & WORD_MARK);
}

// G8: who finds an heir that does not wait takes its name away.
static void an_heir_that_gives_up_wakes_though_another_sees_it_gone(void **state)
{
	give_up(*state);
	assert_int_not_equal(stop.woken_by, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(an_heir_that_gives_up_changes_the_word_and_leaves_its_mark),
		SCENE_TEST(an_heir_that_gives_up_wakes_though_another_sees_it_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
