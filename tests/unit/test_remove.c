// SPDX-License-Identifier: Apache-2.0
//
// region.c, arena.c: whom lh_remove keeps out while it looks whether it is alone. The stop stands in
// for reap_all, which it calls then, and for the nanosleep of who waits to get in (CMakeLists.txt:
// --wrap).
#include "tests/support/scene.h"

#include "arena/reap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static struct {
	const struct scene *scene;
	void (*act)(void); // in lh_remove, once
	uint64_t other;    // offset of another placement
	int result;        // of removing it, from another thread
	pthread_t opener;
	lh_arena *reader;
	_Atomic bool waits, opened;
} stop;

uint32_t __real_reap_all(struct lh_arena *arena);
uint32_t __wrap_reap_all(struct lh_arena *arena);

uint32_t __wrap_reap_all(struct lh_arena *arena)
{
	void (*const act)(void) = stop.act;

	stop.act = NULL;
	if (act)
		act();
	return __real_reap_all(arena);
}

int __real_nanosleep(const struct timespec *duration, struct timespec *left);
int __wrap_nanosleep(const struct timespec *duration, struct timespec *left);

int __wrap_nanosleep(const struct timespec *duration, struct timespec *left)
{
	atomic_store(&stop.waits, true);
	return __real_nanosleep(duration, left);
}

static void remove_one_meanwhile(const struct scene *scene, void (*act)(void))
{
	uint64_t offset;

	stop.scene = scene;
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &offset), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 64, NULL, &stop.other), 0);
	stop.act = act;
	assert_int_equal(lh_remove(scene->arena, offset), 0);
}

static int remove_other(void *unused)
{
	(void)unused;
	stop.result = lh_remove(stop.scene->arena, stop.other);
	return 0;
}

static void another_thread_removes(void)
{
	scene_thread(remove_other, NULL);
}

// lh_remove, -EBUSY: it is alone while it looks and removes, among threads too.
static void two_threads_do_not_remove_at_once(void **state)
{
	const struct scene *scene = *state;

	remove_one_meanwhile(scene, another_thread_removes);
	assert_int_equal(stop.result, -EBUSY);
	assert_int_equal(lh_remove(scene->arena, stop.other), 0);
}

static int remove_in_child(void *context)
{
	const struct scene *scene = context;

	// The parent, whose thread has the gate, has the arena open: but for that it would be free.
	need(lh_remove(scene->arena, stop.other) == -EBUSY);
	need(atomic_load(&scene->arena->alone) == 0);
	return 0;
}

static void another_process_is_forked(void)
{
	assert_exited(scene_child(remove_in_child, (void *)stop.scene), 0);
}

// fork.h: what another thread was about to do is not left undone in the child.
static void a_child_of_that_moment_is_not_kept_out_for_ever(void **state)
{
	remove_one_meanwhile(*state, another_process_is_forked);
}

static void *open_to_read(void *unused)
{
	(void)unused;
	need(lh_arena_open(stop.scene->name, LH_READ_ONLY, NULL, &stop.reader) == 0);
	atomic_store(&stop.opened, true);
	return NULL;
}

static void a_reader_comes(void)
{
	atomic_store(&stop.waits, false);
	assert_int_equal(pthread_create(&stop.opener, NULL, open_to_read, NULL), 0);
	while (!atomic_load(&stop.waits) && !atomic_load(&stop.opened))
		scene_pause();
	assert_false(atomic_load(&stop.opened));
}

// lh_remove, -EBUSY: "another process, or this one read-only, has the arena open"; so who comes to
// read does not come in between looking and removing.
static void a_reader_that_comes_meanwhile_waits(void **state)
{
	remove_one_meanwhile(*state, a_reader_comes);
	assert_int_equal(pthread_join(stop.opener, NULL), 0);
	assert_int_equal(lh_arena_close(stop.reader), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(two_threads_do_not_remove_at_once),
		SCENE_TEST(a_child_of_that_moment_is_not_kept_out_for_ever),
		SCENE_TEST(a_reader_that_comes_meanwhile_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
