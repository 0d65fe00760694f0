// SPDX-License-Identifier: Apache-2.0
//
// rwlock_wait.c: who waits for a lock that goes from writer to writer while it looks naps, and
// leaves the word as it is; who waits for one that stays where it is marks the word, and sleeps
// until it is woken. The number of processors, which is asked for before each look, stands in for the
// other writers (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"

#include "arena/process.h"
#include "arena/sys/clock.h"
#include "arena/sys/futex.h"
#include "src/rwlock.h"

#include <errno.h>

#define NAP_AT_MOST_NS UINT64_C(100000)

static struct {
	lh_rwlock rwlock;
	lh_lease *owner;
	struct object_header *header;
	uint64_t steps;    // of the token before each look
	unsigned sleeps;   // seen
	bool marked;       // at the sleep
	bool on_word;      // it would have ended with a change of the word
	uint64_t asked_ns; // how long the sleep may last
} stop;

unsigned __wrap_process_cpus(void);

unsigned __wrap_process_cpus(void)
{
	if (stop.header)
		atomic_fetch_add(&stop.header->word, stop.steps * WORD_TOKEN_ONE);
	return 2;
}

int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

// Ends by the owner's letting go.
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	const uint64_t now = clock_now();

	stop.sleeps++;
	stop.marked = (atomic_load(&stop.header->word) & WORD_MARK) != 0;
	stop.on_word = false;
	for (size_t i = 0; i < count; i++)
		stop.on_word |= words[i].address == futex_low_half(&stop.header->word);
	stop.asked_ns = until_ns > now ? until_ns - now : 0;
	assert_int_equal(lh_rwlock_unlock(&stop.rwlock, stop.owner), 0);
	return stop.on_word ? 0 : -ETIMEDOUT;
}

static void wait_beside(const struct scene *scene, uint64_t steps, bool reads)
{
	lh_lease *waiter = scene_lease(scene->arena);

	stop.owner = scene_lease(scene->arena);
	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, NULL, &stop.rwlock), 0);
	assert_int_equal(lh_rwlock_write_lock(&stop.rwlock, stop.owner, LH_NOW, NULL), 0);
	stop.header = (struct object_header *)(scene->arena->base + lh_rwlock_offset(&stop.rwlock));
	stop.steps = steps;
	stop.sleeps = 0;
	if (reads)
		assert_int_equal(lh_rwlock_read_lock(&stop.rwlock, waiter, LH_FOREVER, NULL), 0);
	else
		assert_int_equal(lh_rwlock_write_lock(&stop.rwlock, waiter, LH_FOREVER, NULL), 0);
	assert_int_equal(stop.sleeps, 1);
	stop.header = NULL;
	assert_int_equal(lh_rwlock_unlock(&stop.rwlock, waiter), 0);
	assert_int_equal(lh_lease_release(waiter), 0);
	assert_int_equal(lh_lease_release(stop.owner), 0);
}

// G8: nobody has to wake it.
static void who_waits_for_a_lock_that_changes_hands_naps_and_leaves_no_mark(void **state)
{
	for (int reads = 0; reads < 2; reads++) {
		wait_beside(*state, 2, reads);
		assert_false(stop.marked);
		assert_false(stop.on_word);
		assert_true(stop.asked_ns <= NAP_AT_MOST_NS);
	}
}

// G8: and is woken.
static void who_waits_for_a_lock_that_stays_where_it_is_marks_it_and_sleeps_on_it(void **state)
{
	for (int reads = 0; reads < 2; reads++) {
		wait_beside(*state, 1, reads);
		assert_true(stop.marked);
		assert_true(stop.on_word);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(who_waits_for_a_lock_that_changes_hands_naps_and_leaves_no_mark),
		SCENE_TEST(who_waits_for_a_lock_that_stays_where_it_is_marks_it_and_sleeps_on_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
