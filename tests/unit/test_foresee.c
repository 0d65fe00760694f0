// SPDX-License-Identifier: Apache-2.0
// ctest: NOT_UNDER valgrind leaves out a load whose value is not used
//
// wait.h: who is about to sleep on a lease has mapped what its reaper needs.
#include "tests/support/scene.h"

#include "arena/reap.h"
#include "arena/wait.h"

#include <fcntl.h>

// Whether a page of this process is mapped, by proc(5)'s pagemap.
static bool is_mapped(const volatile void *address)
{
	const uint64_t present = UINT64_C(1) << 63;
	const long page = sysconf(_SC_PAGESIZE);
	const int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	need(file >= 0);
	need(pread(file, &entry, sizeof(entry),
		   (off_t)((uintptr_t)address / (size_t)page * sizeof(entry))) == sizeof(entry));
	close(file);
	return (entry & present) != 0;
}

static int sleep_on_the_lease(void *context)
{
	const struct scene *scene = ((void **)context)[0];
	const uint32_t slot = ((const struct lh_lease *)((void **)context)[1])->index;
	lh_arena *arena;
	struct wait wait;

	need(lh_arena_open(scene->name, 0, NULL, &arena) == 0);
	const volatile void *record = &arena_hold_table(arena, slot)[arena->holds_per_lease - 1];
	const volatile void *event = &arena->events[atomic_load(&arena->header->event_head) %
						    arena->event_count];

	need(!is_mapped(record));
	wait_begin(&wait, arena, NULL, LH_NOW);
	need(wait_on_lease(&wait, slot));
	need(is_mapped(record));
	need(is_mapped(event));
	return 0;
}

// A page fault while others wait for a dead owner's locks lasts longer than all of the reaping.
static void a_sleeper_has_the_pages_of_the_one_it_may_have_to_reap(void **state)
{
	struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	const lh_mutex mutex = scene_mutex(scene->arena);

	scene_lock(&mutex, lease);
	assert_exited(scene_child(sleep_on_the_lease, (void *[]){ scene, lease }), 0);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_sleeper_has_the_pages_of_the_one_it_may_have_to_reap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
