// SPDX-License-Identifier: Apache-2.0
//
// inspect.h against states that are known.
//
//	lh_next_placement, _lease, _hold, _event  -ENOENT, -EINVAL   walks_end_…, null_…
//	lh_arena_check                            -EINVAL, severities
//	lh_kind_name and its kin                  "?" for any other number
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include <signal.h>
#include <sys/stat.h>

// The arena as a read-only process sees it must be the same.
static lh_arena *reader(const struct scene *scene)
{
	lh_arena *arena = NULL;

	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &arena), 0);
	return arena;
}

static bool next_hold_of(const lh_arena *arena, uint64_t lease, struct lh_hold_info *ret_info)
{
	uint64_t cursor = 0;

	while (lh_next_hold(arena, &cursor, ret_info) == 0) {
		if (ret_info->lease == lease)
			return true;
	}
	return false;
}

static void null_arguments_are_invalid(void **state)
{
	const struct scene *scene = *state;
	struct lh_placement_info place;
	struct lh_lease_info lease;
	struct lh_hold_info hold;
	struct lh_event_info event;
	uint64_t cursor = 0;

	assert_int_equal(lh_next_placement(NULL, &cursor, &place), -EINVAL);
	assert_int_equal(lh_next_placement(scene->arena, NULL, &place), -EINVAL);
	assert_int_equal(lh_next_placement(scene->arena, &cursor, NULL), -EINVAL);
	assert_int_equal(lh_next_lease(NULL, &cursor, &lease), -EINVAL);
	assert_int_equal(lh_next_lease(scene->arena, NULL, &lease), -EINVAL);
	assert_int_equal(lh_next_lease(scene->arena, &cursor, NULL), -EINVAL);
	assert_int_equal(lh_next_hold(NULL, &cursor, &hold), -EINVAL);
	assert_int_equal(lh_next_hold(scene->arena, NULL, &hold), -EINVAL);
	assert_int_equal(lh_next_hold(scene->arena, &cursor, NULL), -EINVAL);
	assert_int_equal(lh_next_event(NULL, &cursor, &event), -EINVAL);
	assert_int_equal(lh_next_event(scene->arena, NULL, &event), -EINVAL);
	assert_int_equal(lh_next_event(scene->arena, &cursor, NULL), -EINVAL);
	assert_int_equal(lh_arena_check(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(lh_arena_check(scene->arena, NULL, NULL), LH_CHECK_CLEAN);
}

static void walks_end_with_enoent_whatever_the_cursor(void **state)
{
	const struct scene *scene = *state;
	const uint64_t cursors[] = { 0, 1 << 20, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX };
	struct lh_placement_info place = { .offset = 77 };
	struct lh_lease_info lease = { .id = 77 };
	struct lh_hold_info hold = { .lease = 77 };
	struct lh_event_info event = { .sequence = 77 };

	for (size_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
		uint64_t at[4] = { cursors[i], cursors[i], cursors[i], cursors[i] };

		for (int again = 0; again < 2; again++) {
			assert_int_equal(lh_next_placement(scene->arena, &at[0], &place), -ENOENT);
			assert_int_equal(lh_next_lease(scene->arena, &at[1], &lease), -ENOENT);
			assert_int_equal(lh_next_hold(scene->arena, &at[2], &hold), -ENOENT);
			assert_int_equal(lh_next_event(scene->arena, &at[3], &event), -ENOENT);
		}
	}
	assert_int_equal(place.offset & lease.id & hold.lease & event.sequence, 77);
}

static void names_of_numbers(void **state)
{
	const char *const kinds[] = { "none",    "region",  "mutex", "rwlock", "semaphore",
				      "barrier", "condvar", "once",  "watch",  "cell" };

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		assert_string_equal(lh_kind_name(i), kinds[i]);
	assert_string_equal(lh_lease_state_name(LH_LEASE_LIVE), "live");
	assert_string_equal(lh_lease_state_name(LH_LEASE_EXPIRED), "expired");
	assert_string_equal(lh_lease_state_name(LH_LEASE_DEAD), "dead");
	assert_string_equal(lh_hold_mode_name(LH_HOLD_EXCLUSIVE), "exclusive");
	assert_string_equal(lh_hold_mode_name(LH_HOLD_INTENT), "intent");
	assert_string_equal(lh_hold_mode_name(LH_HOLD_INTENT_SHARED), "intent-shared");
	assert_string_equal(lh_hold_mode_name(LH_HOLD_INTENT_EXCLUSIVE), "intent-exclusive");
	assert_string_equal(lh_hold_mode_name(LH_HOLD_PERMIT), "permit");
	assert_string_equal(lh_event_kind_name(LH_EVENT_OWNER_DIED), "owner-died");
	assert_string_equal(lh_event_kind_name(LH_EVENT_CORRUPT), "corrupt");
	assert_string_equal(lh_event_kind_name(LH_EVENT_REMOVED), "removed");
	const char *const unknown[] = { lh_kind_name(10),
					lh_kind_name(UINT32_MAX),
					lh_lease_state_name(0),
					lh_lease_state_name(5),
					lh_lease_state_name(UINT32_MAX),
					lh_hold_mode_name(LH_HOLD_PERMIT + 1),
					lh_event_kind_name(0),
					lh_event_kind_name(LH_EVENT_REMOVED + 1),
					lh_event_kind_name(UINT32_MAX) };

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_string_equal(unknown[i], "?");
}

static void placements_are_shown_as_created(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = {
		.name = "table\n\x80", .data_size = 100, .count = 7, .flags = LH_NO_REPAIR
	};
	lh_arena *arena = reader(scene);
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_placement_info place;
	uint64_t cursor = 0, region, leased;
	lh_mutex mutex;
	int seen = 0;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &mutex), 0);
	assert_int_equal(lh_region_at(scene->arena, LH_ANYWHERE, 1000, NULL, &region), 0);
	assert_int_equal(lh_region_acquire(lease, 65, &leased), 0);
	while (lh_next_placement(arena, &cursor, &place) == 0) {
		assert_int_equal(place.state, 0);
		for (int i = 0; i < 8; i++)
			assert_int_equal(place.reserved[i], 0);
		if (place.offset == lh_mutex_offset(&mutex)) {
			assert_int_equal(place.kind, LH_KIND_MUTEX);
			assert_int_equal(place.size, lh_mutex_footprint(&options));
			assert_int_equal(place.count, 7);
			assert_int_equal(place.data_size, 100);
			assert_int_equal(place.flags, LH_NO_REPAIR);
			assert_int_equal(place.lease, 0);
			assert_string_equal(place.name, "table??");
			seen |= 1;
		} else if (place.offset == region) {
			assert_int_equal(place.kind, LH_KIND_REGION);
			assert_int_equal(place.size, 1024);
			assert_int_equal(place.lease, 0);
			assert_string_equal(place.name, "");
			seen |= 2;
		} else {
			assert_int_equal(place.offset, leased);
			assert_int_equal(place.kind, LH_KIND_REGION);
			assert_int_equal(place.size, 128);
			assert_int_equal(place.lease, lh_lease_id(lease));
			seen |= 4;
		}
	}
	assert_int_equal(seen, 7);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(arena), 0);
}

static void a_lease_is_shown_with_its_owner_and_expiry(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000),
						  .flags = LH_LEASE_INTERRUPTIBLE,
						  .label = "the label\t" };
	lh_arena *arena = reader(scene);
	struct stat status;
	const uint64_t before = lh_now();
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	const uint64_t after = lh_now();
	struct lh_lease_info info;

	assert_true(scene_look(arena, lh_lease_id(lease), &info));
	assert_int_equal(info.state, LH_LEASE_LIVE);
	assert_int_equal(info.flags, LH_LEASE_INTERRUPTIBLE);
	assert_int_equal(info.pid, getpid());
	assert_int_equal(info.tid, gettid());
	assert_int_equal(info.holds, 0);
	assert_int_equal(stat("/proc/self/ns/pid", &status), 0);
	assert_int_equal(info.pid_namespace, status.st_ino);
	assert_true(info.start_time > 0);
	assert_true(info.acquired_ns >= before && info.acquired_ns <= after);
	assert_true(info.expires_ns >= before + LH_SEC(1000));
	assert_true(info.expires_ns <= after + LH_SEC(1000) + LH_MS(1));
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(info.waits_since_ns, 0);
	assert_string_equal(info.label, "the label?");
	assert_true(strlen(info.command) > 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_false(scene_look(arena, info.id, &info));
	assert_int_equal(lh_arena_close(arena), 0);
}

static void a_process_lease_is_shown_as_its_processs(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .flags = LH_LEASE_PROCESS };
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	struct lh_lease_info info;

	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	assert_int_equal(info.pid, getpid());
	assert_int_equal(info.tid, getpid());
	assert_true(info.expires_ns == UINT64_MAX);
	assert_string_equal(info.label, "");
	assert_int_equal(lh_lease_release(lease), 0);
}

static void holds_are_shown_with_element_token_and_damage(void **state)
{
	const struct scene *scene = *state;
	const struct lh_mutex_options options = { .count = 5, .data_size = 64 };
	lh_arena *arena = reader(scene);
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_hold_info hold;
	lh_mutex array, element;
	uint64_t region;

	assert_int_equal(lh_mutex_at(scene->arena, LH_ANYWHERE, &options, &array), 0);
	assert_int_equal(lh_mutex_element(&array, 3, &element), 0);
	scene_lock(&element, lease);
	assert_int_equal(lh_mutex_unlock(&element, lease), 0);
	scene_lock(&element, lease);
	assert_true(next_hold_of(arena, lh_lease_id(lease), &hold));
	assert_int_equal(hold.kind, LH_KIND_MUTEX);
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(hold.count, 1);
	assert_int_equal(hold.offset, lh_mutex_offset(&element));
	assert_int_equal(hold.placement, lh_mutex_offset(&array));
	assert_int_equal(hold.index, 3);
	assert_int_equal(hold.token, 2);
	assert_int_equal(hold.damaged, 0);
	assert_int_equal(lh_mutex_unlock(&element, lease), 0);
	assert_false(next_hold_of(arena, lh_lease_id(lease), &hold));
	assert_int_equal(lh_region_acquire(lease, 64, &region), 0);
	assert_true(next_hold_of(arena, lh_lease_id(lease), &hold));
	assert_int_equal(hold.kind, LH_KIND_REGION);
	assert_int_equal(hold.mode, LH_HOLD_REGION);
	assert_int_equal(hold.offset, region);
	assert_int_equal(hold.placement, region);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(arena), 0);
}

static void a_wait_is_shown_with_its_object_and_beginning(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	const uint64_t before = lh_now();
	struct lh_lease_info info;
	struct lh_hold_info hold;

	scene_lock(&mutex, lease);
	worker_tell(worker, worker_lock, lh_mutex_offset(&mutex));
	scene_await_wait(scene->arena, worker_lease(worker), true);
	assert_true(scene_look(scene->arena, worker_lease(worker), &info));
	assert_int_equal(info.waits_for, lh_mutex_offset(&mutex));
	assert_true(info.waits_since_ns >= before && info.waits_since_ns <= lh_now());
	assert_true(next_hold_of(scene->arena, worker_lease(worker), &hold));
	assert_int_equal(hold.mode, LH_HOLD_INTENT);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(worker_hear(worker), 0);
	scene_await_wait(scene->arena, worker_lease(worker), false);
	assert_true(next_hold_of(scene->arena, worker_lease(worker), &hold));
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_true(hold.since_ns >= info.waits_since_ns && hold.since_ns <= lh_now());
	// The next grant was not waited for: no clock is read, and the one before does not count.
	assert_int_equal(worker_do(worker, worker_unlock, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	assert_true(next_hold_of(scene->arena, worker_lease(worker), &hold));
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(hold.since_ns, 0);
	assert_int_equal(worker_end(worker), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// "whether or not somebody has latched it yet": judged by the futex, and nothing is latched.
static void a_dead_owner_is_shown_before_anybody_met_it(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_arena *arena = reader(scene);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	const uint64_t lost = worker_lease(worker);
	const pid_t pid = worker_pid(worker);
	lh_lease *lease;
	struct lh_lease_info info;
	struct lh_event_info event;
	struct lh_hold_info hold;
	uint64_t cursor = 0;

	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	worker_kill(worker);
	for (int i = 0; i < 2; i++) {
		assert_true(scene_look(arena, lost, &info));
		assert_int_equal(info.state, LH_LEASE_DEAD);
		assert_int_equal(info.pid, pid);
		assert_int_equal(lh_next_event(arena, &cursor, &event), -ENOENT);
		assert_int_equal(lh_arena_check(arena, NULL, NULL), LH_CHECK_STALE);
	}
	lease = scene_lease(scene->arena);
	scene_lock(&mutex, lease);
	assert_true(next_hold_of(arena, lh_lease_id(lease), &hold));
	assert_int_equal(hold.damaged, 1);
	for (uint64_t sequence = 1; sequence <= 2; sequence++) { // the cursor goes on
		assert_int_equal(lh_next_event(arena, &cursor, &event), 0);
		assert_int_equal(event.sequence, sequence);
		assert_int_equal(event.kind, LH_EVENT_OWNER_DIED);
		assert_int_equal(event.lease, lost);
		assert_int_equal(event.pid, pid);
		assert_int_equal(event.tid, pid);
		assert_int_equal(event.by_pid, getpid());
		assert_true(event.time_ns <= lh_now());
		assert_true(event.offset == 0 || event.offset == lh_mutex_offset(&mutex));
		assert_int_equal(event.token, event.offset ? 1 : 0);
	}
	assert_int_equal(lh_next_event(arena, &cursor, &event), -ENOENT);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_check(arena, NULL, NULL), LH_CHECK_CLEAN);
	assert_int_equal(lh_arena_close(arena), 0);
}

// "The arena keeps a fixed number of the newest"; "gaps: overwritten"
static void old_events_are_overwritten_and_passed_over(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct lh_event_info event;
	uint64_t cursor = 0, last = 0, count = 0;

	for (int i = 0; i < 200; i++) {
		struct worker *worker = worker_start(WORKER_THREAD, scene->arena, NULL);

		assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
		worker_kill(worker);
		scene_lock(&mutex, lease);
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	}
	while (lh_next_event(scene->arena, &cursor, &event) == 0) {
		assert_true(last == 0 || event.sequence == last + 1);
		last = event.sequence;
		count++;
	}
	assert_int_equal(last, 400);
	assert_true(count >= 64 && count < 400);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void report_deadlock(void *context, int severity, uint64_t offset, const char *text)
{
	unsigned *count = context;

	assert_int_equal(severity, LH_CHECK_DEADLOCK);
	assert_true(offset > 0);
	assert_true(strlen(text) > 0);
	(*count)++;
}

// The victim is stopped, so that the cycle stands until it is looked at.
static void a_deadlock_is_found_by_the_check(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutexes[2] = { scene_mutex(scene->arena), scene_mutex(scene->arena) };
	struct worker *workers[2];
	struct lh_lease_info info[2];
	unsigned count = 0;

	for (int i = 0; i < 2; i++) {
		workers[i] = worker_start(WORKER_PROCESS, scene->arena, NULL);
		assert_int_equal(worker_do(workers[i], worker_lock, lh_mutex_offset(&mutexes[i])),
				 0);
		assert_true(scene_look(scene->arena, worker_lease(workers[i]), &info[i]));
	}
	const int victim = info[0].slot > info[1].slot ? 0 : 1; // as deadlock.c says

	worker_tell(workers[victim], worker_lock, lh_mutex_offset(&mutexes[!victim]));
	scene_await_wait(scene->arena, worker_lease(workers[victim]), true);
	kill(worker_pid(workers[victim]), SIGSTOP);
	worker_tell(workers[!victim], worker_lock, lh_mutex_offset(&mutexes[victim]));
	while (lh_arena_check(scene->arena, NULL, NULL) != LH_CHECK_DEADLOCK)
		scene_pause();
	assert_int_equal(lh_arena_check(scene->arena, report_deadlock, &count), LH_CHECK_DEADLOCK);
	assert_true(count > 0);
	kill(worker_pid(workers[victim]), SIGCONT);
	assert_int_equal(worker_hear(workers[victim]), -EDEADLK);
	assert_int_equal(worker_end(workers[victim]), 0);
	assert_int_equal(worker_hear(workers[!victim]), 0);
	assert_int_equal(worker_end(workers[!victim]), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(null_arguments_are_invalid),
		SCENE_TEST(walks_end_with_enoent_whatever_the_cursor),
		SCENE_TEST(names_of_numbers),
		SCENE_TEST(placements_are_shown_as_created),
		SCENE_TEST(a_lease_is_shown_with_its_owner_and_expiry),
		SCENE_TEST(a_process_lease_is_shown_as_its_processs),
		SCENE_TEST(holds_are_shown_with_element_token_and_damage),
		SCENE_TEST(a_wait_is_shown_with_its_object_and_beginning),
		SCENE_TEST(a_dead_owner_is_shown_before_anybody_met_it),
		SCENE_TEST(old_events_are_overwritten_and_passed_over),
		SCENE_TEST(a_deadlock_is_found_by_the_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
