// SPDX-License-Identifier: Apache-2.0
//
// repair.h, and lh_inspect_object of inspect.h.
//
//	lh_lease_break      -ENOENT -EBUSY -EDEADLK -EROFS -EINVAL; LIVE with and without TTL, lost
//	lh_sweep            counts, -EROFS -EINVAL; kills nobody
//	lh_note_removal     -EROFS -EINVAL
//	lh_inspect_object   -ENOENT -EBADMSG -EINVAL; of every kind
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/lease.h"
#include "arena/owner.h"

#include <signal.h>

static bool has_event(const lh_arena *arena, uint32_t kind, uint64_t lease)
{
	struct lh_event_info event;
	uint64_t cursor = 0;

	while (lh_next_event(arena, &cursor, &event) == 0) {
		if (event.kind == kind && event.lease == lease)
			return true;
	}
	return false;
}

static lh_mutex new_mutex(lh_arena *arena)
{
	lh_mutex mutex;

	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex), 0);
	return mutex;
}

static void what_cannot_be_done_is_refused(void **state)
{
	const struct lh_lease_options killed = { .ttl_ns = LH_SEC(3600),
						 .flags = LH_LEASE_KILL_ON_EXPIRY };
	lh_lease *own_killed;
	const struct scene *scene = *state;
	lh_lease *own = scene_lease(scene->arena);
	lh_arena *reader;

	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	assert_int_equal(lh_lease_break(NULL, 1, 0, 0, LH_NOW), -EINVAL);
	assert_int_equal(lh_lease_break(scene->arena, lh_lease_id(own), 0, 2, LH_NOW), -EINVAL);
	assert_int_equal(lh_lease_break(reader, lh_lease_id(own), 0, 0, LH_NOW), -EROFS);
	assert_int_equal(lh_lease_break(scene->arena, 0, 0, 0, LH_NOW), -ENOENT);
	assert_int_equal(lh_lease_break(scene->arena, UINT64_MAX, 0, 0, LH_NOW), -ENOENT);
	assert_int_equal(lh_lease_break(scene->arena, lh_lease_id(own) + (1 << 14), 0,
					LH_BREAK_FORCE, LH_NOW),
			 -ENOENT);
	assert_int_equal(lh_lease_break(scene->arena, lh_lease_id(own), 0, 0, LH_FOREVER), -EBUSY);
	assert_int_equal(
		lh_lease_break(scene->arena, lh_lease_id(own), 0, LH_BREAK_FORCE, LH_FOREVER),
		-EDEADLK);
	assert_true(lh_lease_valid(own));
	if (lh_lease_acquire(scene->arena, &killed, &own_killed) ==
	    0) { // else it cannot be had here
		assert_int_equal(lh_lease_break(scene->arena, lh_lease_id(own_killed), 0,
						LH_BREAK_FORCE, LH_FOREVER),
				 -EDEADLK);
		assert_true(lh_lease_valid(own_killed));
		assert_int_equal(lh_lease_release(own_killed), 0);
	}
	assert_int_equal(lh_sweep(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(lh_sweep(reader, NULL, NULL), -EROFS);
	assert_int_equal(lh_note_removal(NULL, 0), -EINVAL);
	assert_int_equal(lh_note_removal(reader, 0), -EROFS);
	assert_int_equal(lh_arena_close(reader), 0);
	assert_int_equal(lh_lease_release(own), 0);
}

// -EACCES: "another user's, or in another pid namespace": of the same number there, too, as the first
// processes of two containers are.
static void who_has_this_number_in_another_namespace_is_another(void **state)
{
	const struct scene *scene = *state;
	lh_lease *own = scene_lease(scene->arena);
	struct owner_entry *entry = &scene->arena->owners[owner_ref_index(own->owner)];

	atomic_fetch_add(&entry->pid_namespace, 1);
	assert_int_equal(
		lh_lease_break(scene->arena, lh_lease_id(own), 0, LH_BREAK_FORCE, LH_FOREVER),
		-EACCES);
	atomic_fetch_sub(&entry->pid_namespace, 1);
	assert_true(lh_lease_valid(own));
	assert_int_equal(lh_lease_release(own), 0);
}

// G4: broken is lost, for ever, and what it held is another's (G1), who is told (G12).
static void a_lease_with_a_ttl_is_lost_at_once_and_its_owner_lives(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(3600) };
	const lh_mutex mutex = new_mutex(scene->arena);
	lh_lease *lost, *heir = scene_lease(scene->arena);
	lh_grant grant;

	assert_int_equal(lh_lease_acquire(scene->arena, &timed, &lost), 0);
	const uint64_t id = lh_lease_id(lost);

	assert_int_equal(lh_mutex_lock(&mutex, lost, LH_NOW, NULL), 0);
	assert_int_equal(
		lh_lease_break(scene->arena, id, lh_mutex_offset(&mutex), LH_BREAK_FORCE, LH_NOW),
		0);
	assert_false(lh_lease_valid(lost));
	assert_int_equal(lh_lease_renew(lost, LH_SEC(1)), -ESTALE);
	assert_int_equal(lh_mutex_lock(&mutex, heir, LH_NOW, &grant), 0);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.previous, id);
	assert_int_equal(lh_mutex_unlock(&mutex, lost), -ESTALE);
	assert_true(has_event(scene->arena, LH_EVENT_BROKEN, id));
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	assert_int_equal(lh_lease_break(scene->arena, id, 0, LH_BREAK_FORCE, LH_NOW), -ENOENT);
	assert_int_equal(lh_lease_release(heir), 0);
}

// G1: whoever has it next has it after the owner's end, though that one stands still.
static void a_lease_without_ttl_is_lost_with_its_owners_life(void **state)
{
	scene_wants_kill_on_expiry();
	const struct scene *scene = *state;
	const lh_mutex mutex = new_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	const uint64_t id = worker_lease(worker);
	const pid_t pid = worker_pid(worker);
	lh_lease *heir = scene_lease(scene->arena);
	siginfo_t end = { .si_pid = 0 };
	lh_grant grant;

	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	kill(pid, SIGSTOP);
	assert_int_equal(lh_lease_break(scene->arena, id, 0, 0, LH_NOW), -EBUSY);
	assert_int_equal(lh_mutex_lock(&mutex, heir, LH_NOW, &grant), -EBUSY);
	assert_int_equal(lh_lease_break(scene->arena, id, 0, LH_BREAK_FORCE, LH_FOREVER), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT), 0);
	assert_int_equal(end.si_pid, pid);
	assert_int_equal(end.si_status, SIGKILL);
	assert_int_equal(lh_mutex_lock(&mutex, heir, LH_NOW, &grant), 0);
	assert_int_equal(grant.previous, id);
	assert_true(has_event(scene->arena, LH_EVENT_BROKEN, id));
	assert_int_equal(lh_lease_release(heir), 0);
	worker_kill(worker); // it is dead: its memory only
}

// -ENOENT for one that has let go of the object meanwhile, for whose sake it would have been ended: it is
// neither expired nor killed, though it holds something else. The placement's offset means all its elements.
static void only_who_still_holds_the_object_is_ended(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(3600) };
	const struct lh_mutex_options array_options = { .count = 3 };
	const lh_mutex first = new_mutex(scene->arena), second = new_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_mutex array, element;
	lh_lease *lease;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &array_options, &array), 0);
	assert_int_equal(lh_mutex_element(&array, 2, &element), 0);
	assert_int_equal(lh_lease_acquire(scene->arena, &timed, &lease), 0);
	const uint64_t id = lh_lease_id(lease), offset = lh_mutex_offset(&first);

	assert_int_equal(lh_mutex_lock(&first, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_mutex_lock(&second, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_mutex_unlock(&first, lease), 0);
	assert_int_equal(lh_lease_break(scene->arena, id, offset, LH_BREAK_FORCE, LH_NOW), -ENOENT);
	assert_int_equal(lh_lease_break(scene->arena, worker_lease(worker), offset, LH_BREAK_FORCE,
					LH_FOREVER),
			 -ENOENT);
	assert_int_equal(worker_do(worker, worker_lock, offset), 0); // it lives
	assert_true(lh_lease_valid(lease));
	assert_false(has_event(scene->arena, LH_EVENT_BROKEN, id));
	assert_int_equal(lh_mutex_lock(&element, lease, LH_NOW, NULL), 0);
	assert_int_equal(
		lh_lease_break(scene->arena, id, lh_mutex_offset(&array), LH_BREAK_FORCE, LH_NOW),
		0);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
	worker_kill(worker);
}

static void a_sweep_frees_the_dead_and_counts_the_late(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options timed = { .ttl_ns = LH_MS(1) };
	struct worker *dead = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *late, *live = scene_lease(scene->arena);
	uint32_t freed = 7, left = 7;

	assert_int_equal(lh_lease_acquire(scene->arena, &timed, &late), 0);
	kill(worker_pid(dead), SIGKILL);
	while (lh_arena_check(scene->arena, NULL, NULL) != LH_CHECK_STALE || lh_lease_valid(late))
		scene_pause();
	do { // the check may have seen the late one before the other was dead
		assert_int_equal(lh_sweep(scene->arena, &freed, &left), 0);
		scene_pause();
	} while (freed == 0);
	assert_int_equal(freed, 1);
	assert_int_equal(left, 1);
	assert_true(has_event(scene->arena, LH_EVENT_SWEPT, 0));
	assert_int_equal(lh_sweep(scene->arena, &freed, NULL), 0);
	assert_int_equal(freed, 0);
	assert_true(lh_lease_valid(live));
	assert_int_equal(lh_lease_release(late), -ESTALE);
	assert_int_equal(lh_lease_release(live), 0);
	worker_kill(dead); // it is: its memory only
}

static void a_removal_is_noted(void **state)
{
	const struct scene *scene = *state;

	assert_int_equal(lh_note_removal(scene->arena, 4096), 0);
	assert_true(has_event(scene->arena, LH_EVENT_REMOVED, 0));
}

// ---- lh_inspect_object --------------------------------------------------------------------------

static struct lh_placement_info placement_at(const lh_arena *arena, uint64_t offset)
{
	struct lh_placement_info place;
	uint64_t cursor = 0;

	while (lh_next_placement(arena, &cursor, &place) == 0) {
		if (place.offset == offset)
			return place;
	}
	fail_msg("nothing is placed there");
	return place;
}

static struct lh_object_info object_at(const lh_arena *arena, uint64_t offset)
{
	const struct lh_placement_info place = placement_at(arena, offset);
	struct lh_object_info info;

	assert_int_equal(lh_inspect_object(arena, &place, 0, &info), 0);
	assert_int_equal(info.offset, offset);
	return info;
}

static void an_element_is_found_and_what_is_none_is_not(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .count = 3, .data_size = 10 };
	struct lh_placement_info place;
	struct lh_object_info info;
	lh_mutex array, second;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &array), 0);
	assert_int_equal(lh_mutex_element(&array, 1, &second), 0);
	place = placement_at(scene->arena, lh_mutex_offset(&array));
	assert_int_equal(lh_inspect_object(scene->arena, &place, 1, &info), 0);
	assert_int_equal(info.offset, lh_mutex_offset(&second));
	assert_int_equal(info.index, 1);
	assert_ptr_equal(lh_arena_range(scene->arena, info.data_offset, info.data_size),
			 lh_mutex_data(&second));
	assert_int_equal(lh_inspect_object(scene->arena, &place, 3, &info), -ENOENT);
	assert_int_equal(lh_inspect_object(NULL, &place, 0, &info), -EINVAL);
	assert_int_equal(lh_inspect_object(scene->arena, NULL, 0, &info), -EINVAL);
	assert_int_equal(lh_inspect_object(scene->arena, &place, 0, NULL), -EINVAL);
	place.kind = LH_KIND_RWLOCK;
	assert_int_equal(lh_inspect_object(scene->arena, &place, 0, &info), -EBADMSG);
	place.kind = 99;
	assert_int_equal(lh_inspect_object(scene->arena, &place, 0, &info), -EBADMSG);
	place.kind = LH_KIND_MUTEX;
	place.offset = UINT64_MAX - 63; // G9: whatever it is told
	assert_int_equal(lh_inspect_object(scene->arena, &place, 0, &info), -EBADMSG);
	place.offset = 0;
	assert_int_equal(lh_inspect_object(scene->arena, &place, 0, &info), -EBADMSG);
}

static int init_once(void *data, void *context)
{
	memcpy(data, context, 4);
	return 0;
}

static void values_are_where_it_says(void **state)
{
	const struct scene *scene = *state;
	const struct lh_once_options once_options = { .data_size = 4 };
	const struct lh_watch_options watch_options = { .max_size = 100 };
	lh_lease *lease = scene_lease(scene->arena);
	char text[] = "abc";
	lh_once once;
	lh_watch watch;

	assert_int_equal(lh_once_at(scene->arena, LH_ANYWHERE, &once_options, &once), 0);
	assert_int_equal(object_at(scene->arena, lh_once_offset(&once)).flags, 0);
	assert_int_equal(lh_once_call(&once, lease, init_once, text, LH_NOW), 0);
	struct lh_object_info info = object_at(scene->arena, lh_once_offset(&once));

	assert_int_equal(info.flags, LH_OBJECT_DONE);
	assert_ptr_equal(lh_arena_range(scene->arena, info.data_offset, 4), lh_once_data(&once));
	assert_int_equal(lh_watch_at(scene->arena, LH_ANYWHERE, &watch_options, &watch), 0);
	assert_int_equal(object_at(scene->arena, lh_watch_offset(&watch)).data_offset, 0);
	assert_int_equal(lh_watch_send(&watch, lease, text, 4), 0);
	assert_int_equal(lh_watch_send(&watch, lease, text, 3), 0);
	info = object_at(scene->arena, lh_watch_offset(&watch));
	assert_int_equal(info.version, 2);
	assert_int_equal(info.data_size, 3);
	assert_int_equal(info.owner, lh_lease_id(lease));
	assert_memory_equal(lh_arena_range(scene->arena, info.data_offset, 3), text, 3);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void permits_and_parties_are_counted(void **state)
{
	const struct scene *scene = *state;
	const struct lh_semaphore_options permits = { .permits = 5 };
	const struct lh_barrier_options parties = { .parties = 1 };
	lh_lease *lease = scene_lease(scene->arena);
	lh_semaphore semaphore;
	lh_barrier barrier;

	assert_int_equal(lh_semaphore_at(scene->arena, LH_ANYWHERE, &permits, &semaphore), 0);
	assert_int_equal(lh_semaphore_acquire(&semaphore, lease, 2, LH_NOW), 0);
	assert_int_equal(lh_semaphore_resize(&semaphore, 4), 0);
	struct lh_object_info info = object_at(scene->arena, lh_semaphore_offset(&semaphore));

	assert_int_equal(info.used, 2);
	assert_int_equal(info.limit, 4);
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &parties, &barrier), 0);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, NULL), 0);
	info = object_at(scene->arena, lh_barrier_offset(&barrier));
	assert_int_equal(info.used, 1);
	assert_int_equal(info.limit, 1);
	assert_int_equal(info.token, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_lock_says_token_owner_and_damage(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(3600) };
	lh_lease *lease;
	lh_rwlock rwlock;

	assert_int_equal(lh_rwlock_at(scene->arena, LH_ANYWHERE, NULL, &rwlock), 0);
	assert_int_equal(lh_lease_acquire(scene->arena, &timed, &lease), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL), 0);
	struct lh_object_info info = object_at(scene->arena, lh_rwlock_offset(&rwlock));
	const uint64_t id = lh_lease_id(lease);

	assert_int_equal(info.owner, id);
	assert_int_equal(info.flags, 0);
	assert_true(info.token >= 1);
	assert_int_equal(lh_lease_break(scene->arena, id, 0, LH_BREAK_FORCE, LH_NOW), 0);
	info = object_at(scene->arena, lh_rwlock_offset(&rwlock));
	assert_int_equal(info.owner, 0);
	assert_int_equal(info.lost, id);
	assert_int_equal(info.flags, LH_OBJECT_DAMAGED);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(what_cannot_be_done_is_refused),
		SCENE_TEST(who_has_this_number_in_another_namespace_is_another),
		SCENE_TEST(a_lease_with_a_ttl_is_lost_at_once_and_its_owner_lives),
		SCENE_TEST(a_lease_without_ttl_is_lost_with_its_owners_life),
		SCENE_TEST(only_who_still_holds_the_object_is_ended),
		SCENE_TEST(a_sweep_frees_the_dead_and_counts_the_late),
		SCENE_TEST(a_removal_is_noted),
		SCENE_TEST(an_element_is_found_and_what_is_none_is_not),
		SCENE_TEST(values_are_where_it_says),
		SCENE_TEST(permits_and_parties_are_counted),
		SCENE_TEST(a_lock_says_token_owner_and_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
