// SPDX-License-Identifier: Apache-2.0
//
// rwlock_wait.c: who looked at the heir of a free lock just before that one resigned does not sleep
// for its sake. The stops stand in for calls that it makes before and after its mark; what it says
// to the kernel is seen (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"

#include "arena/wait.h"
#include "src/deadlock.h"
#include "src/rwlock.h"

static struct {
	lh_arena *arena;
	struct rwlock_object *object;
	uint32_t heir;
	bool before_mark, after_mark; // it resigns there
	bool marked_again;            // and then another marks the word that it looked at before
	bool wake_unmarked; // those who sleep are woken when the word does not say so any more
	unsigned sleeps;    // that the kernel let begin
} stop;

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);

// Stands still: a reservation lasts for as long as the test does.
uint64_t __wrap_clock_now(void)
{
	static uint64_t now;

	return now ? now : (now = __real_clock_now());
}

static void resign(bool *planted)
{
	uint64_t seen = atomic_load(&stop.object->header.word) & ~WORD_MARK;

	if (!*planted)
		return;
	*planted = false;
	rwlock_drop_heir(stop.arena, stop.object, stop.heir, true);
	if (stop.marked_again)
		atomic_compare_exchange_strong(&stop.object->header.word, &seen, seen | WORD_MARK);
}

int __real_futex_wake(const _Atomic uint32_t *address, int count);
int __wrap_futex_wake(const _Atomic uint32_t *address, int count);

int __wrap_futex_wake(const _Atomic uint32_t *address, int count)
{
	if (stop.object && address == futex_low_half(&stop.object->header.word))
		stop.wake_unmarked = !(atomic_load(&stop.object->header.word) & WORD_MARK);
	return __real_futex_wake(address, count);
}

void __real_wait_begin(struct wait *wait, struct lh_arena *arena, struct lh_lease *lease,
		       lh_deadline deadline);
void __wrap_wait_begin(struct wait *wait, struct lh_arena *arena, struct lh_lease *lease,
		       lh_deadline deadline);

void __wrap_wait_begin(struct wait *wait, struct lh_arena *arena, struct lh_lease *lease,
		       lh_deadline deadline)
{
	resign(&stop.before_mark);
	__real_wait_begin(wait, arena, lease, deadline);
}

bool __real_wait_on_lease(struct wait *wait, uint32_t slot);
bool __wrap_wait_on_lease(struct wait *wait, uint32_t slot);

bool __wrap_wait_on_lease(struct wait *wait, uint32_t slot)
{
	resign(&stop.after_mark);
	return __real_wait_on_lease(wait, slot);
}

int __real_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);
int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

int __wrap_futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	const int slept = __real_futex_wait_many(words, count, until_ns);

	stop.sleeps += slept != -EAGAIN;
	return slept;
}

// A free lock, left to a lease that waits for it to write; then another reads.
static void read_while_the_heir_resigns(const struct scene *scene, bool before_mark)
{
	lh_lease *heir = scene_lease(scene->arena), *reader = scene_lease(scene->arena);
	lh_rwlock rwlock;

	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, NULL, &rwlock), 0);
	const uint32_t granule = arena_granule(lh_rwlock_offset(&rwlock));

	stop.arena = scene->arena;
	stop.object = rwlock_object(scene->arena, granule);
	stop.heir = heir->index + 1;
	stop.sleeps = 0;
	deadlock_publish(heir, granule);
	atomic_store(&stop.object->header.reserved_ns, __wrap_clock_now());
	atomic_store(&stop.object->header.heir, stop.heir);
	atomic_fetch_or(&stop.object->header.word, RWLOCK_WANTED);
	*(before_mark ? &stop.before_mark : &stop.after_mark) = true;
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_FOREVER, NULL), 0);
	assert_false(stop.before_mark || stop.after_mark);
	assert_int_equal(stop.sleeps, 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, reader), 0);
	deadlock_clear(heir);
	assert_int_equal(lh_lease_release(heir), 0);
	assert_int_equal(lh_lease_release(reader), 0);
}

static void it_finds_the_heir_gone_once_it_has_marked(void **state)
{
	read_while_the_heir_resigns(*state, true);
}

static void it_finds_the_word_changed_if_the_heir_goes_later(void **state)
{
	read_while_the_heir_resigns(*state, false);
}

static void it_finds_the_word_changed_though_another_marks_it_again(void **state)
{
	stop.marked_again = true;
	read_while_the_heir_resigns(*state, false);
	stop.marked_again = false;
}

// Else, if it dies in between, they are left to an owner that does not wake them: G2, G8.
static void an_heir_that_resigns_wakes_before_it_takes_the_mark_off(void **state)
{
	stop.wake_unmarked = true;
	read_while_the_heir_resigns(*state, false);
	assert_false(stop.wake_unmarked);
	assert_int_equal(atomic_load(&stop.object->header.word) & WORD_MARK, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(it_finds_the_heir_gone_once_it_has_marked),
		SCENE_TEST(it_finds_the_word_changed_if_the_heir_goes_later),
		SCENE_TEST(it_finds_the_word_changed_though_another_marks_it_again),
		SCENE_TEST(an_heir_that_resigns_wakes_before_it_takes_the_mark_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
