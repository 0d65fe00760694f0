// SPDX-License-Identifier: Apache-2.0
//
// once.c: an initialiser that was succeeded while it stood still, just before its copy, writes
// nothing into the slot of the value that was committed meanwhile. Its successor's lease may be
// over by then, and so its tag: what keeps the late one out is its look at the word after it has
// tagged. The stop stands in for lease_check's last call before that (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"

#include "arena/lease.h"

enum { WORDS = 40 };

static struct {
	lh_arena *arena;
	lh_once once;
	lh_lease *late; // NULL: it does not stand still any more
} stop;

static int fill(void *data, void *context)
{
	for (size_t i = 0; i < WORDS; i++)
		((uint64_t *)data)[i] = (uintptr_t)context;
	return 0;
}

// Another thread's: one of its own thread would be told -EDEADLK.
static int call_and_end(void *unused)
{
	lh_lease *lease;

	(void)unused;
	need(lh_lease_acquire(stop.arena, NULL, &lease) == 0);
	need(lh_once_call(&stop.once, lease, fill, (void *)2, LH_FOREVER) == 0);
	return lh_lease_release(lease);
}

// The late one's TTL runs out; another initialises, and its lease ends.
static void succeed(lh_lease *late)
{
	assert_int_equal(lease_slot_renew(stop.arena, late->index,
					  lease_id_incarnation(lh_lease_id(late)), 1),
			 0);
	assert_int_equal(scene_thread(call_and_end, NULL), 0);
}

int __real_lease_check(const struct lh_lease *lease);
int __wrap_lease_check(const struct lh_lease *lease);

int __wrap_lease_check(const struct lh_lease *lease)
{
	const int error = __real_lease_check(lease);
	lh_lease *late = stop.late;

	if (late && lease == late) {
		stop.late = NULL;
		succeed(late);
	}
	return error;
}

// G4, G7
static void a_late_initialiser_leaves_the_committed_value_as_it_is(void **state)
{
	const struct lh_once_options options = { .data_size = WORDS * sizeof(uint64_t) };
	const struct scene *scene = *state;
	const uint64_t *value;

	stop.arena = scene->arena;
	assert_int_equal(lh_once_at(scene->arena, LH_ANYWHERE, &options, &stop.once), 0);
	lh_lease *late = scene_lease_for(scene->arena, LH_SEC(1000));

	stop.late = late;
	assert_int_equal(lh_once_call(&stop.once, late, fill, (void *)1, LH_FOREVER), -ESTALE);
	assert_null(stop.late);
	value = lh_once_data(&stop.once);
	assert_non_null(value);
	for (size_t i = 0; i < WORDS; i++)
		assert_int_equal(value[i], 2);
	assert_int_equal(lh_lease_release(late), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_late_initialiser_leaves_the_committed_value_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
