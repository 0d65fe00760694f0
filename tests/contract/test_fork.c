// SPDX-License-Identifier: Apache-2.0
//
// What a forked child may do, and what its parent's leases are to it: "arena usable, lease void,
// release of an inherited lease harmless"; the -ESTALE of every call with an inherited lease.
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include <pthread.h>
#include <signal.h>

struct inherited {
	const struct scene *scene;
	lh_mutex mutex;
	lh_lease *lease;
	uint64_t region;
};

static void nothing(void *context)
{
	(void)context;
}

static int use_inherited(void *context)
{
	struct inherited *inherited = context;
	lh_lease *lease = inherited->lease;
	lh_grant grant;
	uint64_t offset;

	need(!lh_lease_valid(lease));
	need(lh_lease_remaining(lease) == 0);
	need(lh_lease_id(lease) > 0);
	need(lh_lease_renew(lease, LH_SEC(1)) == -ESTALE);
	need(lh_lease_on_loss(lease, nothing, NULL) == -ESTALE);
	need(lh_lease_loss_fd(lease) == -ESTALE);
	need(lh_lease_set_cancel(lease, NULL) == -ESTALE);
	need(lh_region_acquire(lease, 64, &offset) == -ESTALE);
	need(lh_region_release(lease, inherited->region) == -ESTALE);
	need(lh_mutex_lock(&inherited->mutex, lease, LH_NOW, &grant) == -ESTALE);
	need(lh_mutex_unlock(&inherited->mutex, lease) == -ESTALE);
	need(lh_mutex_consistent(&inherited->mutex, lease) == -ESTALE);
	need(!lh_mutex_held(&inherited->mutex, lease));
	need(lh_lease_release(lease) == -ESTALE);
	return 0;
}

static void inherit(const struct scene *scene, const struct lh_lease_options *options)
{
	struct inherited inherited = { scene, scene_mutex(scene->arena),
				       scene_lease_with(scene->arena, options), 0 };
	lh_lease *other = scene_lease(scene->arena);

	scene_lock(&inherited.mutex, inherited.lease);
	assert_int_equal(lh_region_acquire(inherited.lease, 64, &inherited.region), 0);
	assert_true(lh_lease_loss_fd(inherited.lease) >= 0);
	memset(lh_arena_range(scene->arena, inherited.region, 64), 0x77, 64);
	assert_exited(scene_child(use_inherited, &inherited), 0);
	// The parent's is as it was.
	assert_true(lh_lease_valid(inherited.lease));
	assert_true(lh_mutex_held(&inherited.mutex, inherited.lease));
	assert_int_equal(lh_mutex_lock(&inherited.mutex, other, LH_NOW, NULL), -EBUSY);
	assert_int_equal(*(char *)lh_arena_range(scene->arena, inherited.region, 1), 0x77);
	assert_int_equal(lh_mutex_unlock(&inherited.mutex, inherited.lease), 0);
	assert_int_equal(lh_lease_release(inherited.lease), 0);
	assert_int_equal(scene_lock(&inherited.mutex, other).flags, 0);
	assert_int_equal(lh_lease_release(other), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void an_inherited_lease_is_void_and_its_release_harmless(void **state)
{
	inherit(*state, NULL);
}

static void an_inherited_lease_with_ttl_is_void(void **state)
{
	inherit(*state, &(struct lh_lease_options){ .ttl_ns = LH_SEC(1000) });
}

static void an_inherited_process_lease_is_void(void **state)
{
	inherit(*state, &(struct lh_lease_options){ .flags = LH_LEASE_PROCESS });
}

static void an_inherited_renewed_lease_is_void(void **state)
{
	inherit(*state,
		&(struct lh_lease_options){ .ttl_ns = LH_SEC(1000),
					    .flags = LH_LEASE_AUTO_RENEW | LH_LEASE_PROCESS });
}

static int use_arena(void *context)
{
	struct inherited *inherited = context;
	lh_arena *arena = inherited->scene->arena;
	const struct lh_lease_options renewed = { .ttl_ns = LH_SEC(1000),
						  .flags = LH_LEASE_AUTO_RENEW };
	const struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };
	lh_lease *lease = NULL, *own = NULL, *again = NULL;
	uint64_t offset;

	// The thread's own lease is a new one; the old pointer may still be looked at.
	need(lh_thread_lease(arena, &own) == 0);
	need(own != inherited->lease);
	need(!lh_lease_valid(inherited->lease));
	need(lh_thread_lease(arena, &again) == 0 && again == own);
	need(lh_mutex_lock(&inherited->mutex, own, LH_NOW, NULL) == -EBUSY);
	need(lh_region_at(arena, LH_ANYWHERE, 64, "child's", &offset) == 0);
	need(lh_lease_acquire(arena, &renewed, &lease) == 0);
	need(lh_lease_release(lease) == 0);
	need(lh_lease_acquire(arena, &process, &lease) == 0);
	need(lh_lease_loss_fd(lease) >= 0);
	need(lh_lease_release(lease) == 0);
	need(lh_lease_release(inherited->lease) == -ESTALE);
	need(lh_arena_close(arena) == -EBUSY);
	need(lh_lease_release(own) == 0);
	need(lh_arena_close(arena) == 0);
	return 0;
}

// "Arenas, handles and regions stay usable in a forked child"
static void a_child_uses_the_arena_and_closes_its_own(void **state)
{
	const struct scene *scene = *state;
	struct inherited inherited = { scene, scene_mutex(scene->arena), NULL, 0 };
	uint64_t offset;

	assert_int_equal(lh_thread_lease(scene->arena, &inherited.lease), 0);
	scene_lock(&inherited.mutex, inherited.lease);
	assert_exited(scene_child(use_arena, &inherited), 0);
	assert_true(lh_mutex_held(&inherited.mutex, inherited.lease));
	assert_int_equal(lh_find(scene->arena, "child's", &offset), 0);
	assert_int_equal(lh_lease_release(inherited.lease), 0);
}

static int wait_in_child(void *context)
{
	struct inherited *inherited = context;
	lh_lease *own = NULL;
	lh_grant grant = { .token = 0 };

	need(lh_thread_lease(inherited->scene->arena, &own) == 0);
	need(lh_mutex_lock(&inherited->mutex, own, LH_FOREVER, &grant) == 0);
	need(grant.flags == LH_GRANT_OWNER_DIED);
	return 0;
}

static int hold_and_fork(void *context)
{
	struct inherited *inherited = context;

	need(lh_thread_lease(inherited->scene->arena, &inherited->lease) == 0);
	need(lh_mutex_lock(&inherited->mutex, inherited->lease, LH_NOW, NULL) == 0);
	const pid_t pid = fork();

	if (pid == 0)
		_exit(wait_in_child(inherited));
	// This process ends holding; the child must be told, though it had copies of everything.
	raise(SIGKILL);
	return 1;
}

// G2: a child keeps nothing of its parent alive.
static void a_childs_copies_do_not_keep_its_parents_leases(void **state)
{
	const struct scene *scene = *state;
	struct inherited inherited = { scene, scene_mutex(scene->arena), NULL, 0 };
	lh_lease *lease = scene_lease(scene->arena);
	const int status = scene_child(hold_and_fork, &inherited);
	lh_grant grant = { .token = 0 };

	assert_true(WIFSIGNALED(status));
	// Two end holding: the parent, and then the child, which was told.
	do {
		if (grant.token)
			assert_int_equal(lh_mutex_unlock(&inherited.mutex, lease), 0);
		grant = scene_lock(&inherited.mutex, lease);
		assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	} while (scene_events(scene->arena, LH_EVENT_OWNER_DIED, 0) < 4);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int fork_again(void *context)
{
	struct inherited *inherited = context;
	lh_lease *own = NULL;

	need(lh_thread_lease(inherited->scene->arena, &own) == 0);
	struct inherited deeper = { inherited->scene, inherited->mutex, own, inherited->region };
	const int status = scene_child(use_inherited, &deeper);

	need(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	need(lh_lease_valid(own));
	need(lh_lease_release(own) == 0);
	return 0;
}

static void a_grandchild_is_a_child(void **state)
{
	const struct scene *scene = *state;
	struct inherited inherited = { scene, scene_mutex(scene->arena), NULL,
				       lh_arena_first_offset(scene->arena) };

	assert_exited(scene_child(fork_again, &inherited), 0);
}

static void *fork_in_thread(void *context)
{
	struct inherited *inherited = context;
	const int status = scene_child(use_inherited, inherited);

	need(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return NULL;
}

// The child of another thread than the lease's: -ESTALE all the same, not -EPERM.
static void another_threads_child_finds_the_lease_void(void **state)
{
	const struct scene *scene = *state;
	struct inherited inherited = { scene, scene_mutex(scene->arena), scene_lease(scene->arena),
				       0 };
	pthread_t thread;

	scene_lock(&inherited.mutex, inherited.lease);
	assert_int_equal(pthread_create(&thread, NULL, fork_in_thread, &inherited), 0);
	pthread_join(thread, NULL);
	assert_true(lh_mutex_held(&inherited.mutex, inherited.lease));
	assert_int_equal(lh_lease_release(inherited.lease), 0);
}

// From the first moment, before the child has run at all.
static void what_a_child_has_open_is_not_removed(void **state)
{
	enum { ROUNDS = 50 };
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);

	for (int i = 0; i < ROUNDS; i++) {
		int ends[2] = { -1, -1 };
		char byte;
		pid_t child;

		assert_int_equal(pipe(ends), 0);
		child = fork();
		if (child == 0) {
			close(ends[1]);
			_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
		}
		close(ends[0]);
		assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&mutex)), -EBUSY);
		close(ends[1]);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	assert_int_equal(lh_remove(scene->arena, lh_mutex_offset(&mutex)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(an_inherited_lease_is_void_and_its_release_harmless),
		SCENE_TEST(an_inherited_lease_with_ttl_is_void),
		SCENE_TEST(an_inherited_process_lease_is_void),
		SCENE_TEST(an_inherited_renewed_lease_is_void),
		SCENE_TEST(a_child_uses_the_arena_and_closes_its_own),
		SCENE_TEST(a_childs_copies_do_not_keep_its_parents_leases),
		SCENE_TEST(a_grandchild_is_a_child),
		SCENE_TEST(another_threads_child_finds_the_lease_void),
		SCENE_TEST(what_a_child_has_open_is_not_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
