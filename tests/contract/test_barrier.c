// SPDX-License-Identifier: Apache-2.0
//
// Barriers: each error that barrier.h lists, and what it promises.
//
//	lh_barrier_at     -EINVAL, -EEXIST             what_it_is_made_with_is_checked
//	                  others                       as lh_mutex_at: test_mutex_place.c
//	lh_barrier_join   -EUSERS                      one_party_too_many_…
//	                  -EOWNERDEAD                  a_party_that_dies_before_…
//	                  -ESTALE                      a_party_whose_lease_expired_…
//	                  -ENOLCK, -EPERM, -EINVAL     calls_that_cannot_be_made_are_refused
//	                  -EBADMSG                     damage_is_told
//	lh_barrier_wait   -EBUSY, -ETIMEDOUT           a_wait_that_ends_early_…
//	                  -ECANCELED                   a_fired_token_…
//	                  -EINTR                       a_signal_withdraws_an_interruptible_party
//	                  -EOWNERDEAD                  a_party_that_dies_…
//	                  -EOVERFLOW                   phases_that_are_used_up_are_told
//	                  the rest                     as lh_barrier_join
//	lh_barrier_leave  -EPERM, -EINVAL              calls_that_cannot_be_made_are_refused
//	lh_barrier_reset  -EROFS, -EINVAL              the same
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "arena/lease.h"
#include "src/barrier.h"

#include <pthread.h>
#include <signal.h>

static lh_barrier barrier; /* the test's: workers are forked later, or are its threads */

static void place(const struct scene *scene, uint32_t parties, unsigned on_death)
{
	const struct lh_barrier_options options = { .parties = parties, .on_death = on_death };

	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &barrier), 0);
}

static struct barrier_object *object(void)
{
	return (struct barrier_object *)(uintptr_t)barrier.private_[1];
}

static int join(struct worker_stage *stage, uint64_t none)
{
	(void)none;
	return lh_barrier_join(&barrier, stage->lease);
}

static int leave(struct worker_stage *stage, uint64_t none)
{
	(void)none;
	return lh_barrier_leave(&barrier, stage->lease);
}

// until: ns on the clock; 0: LH_NOW
static int wait_until(struct worker_stage *stage, uint64_t until)
{
	return lh_barrier_wait(&barrier, stage->lease, (lh_deadline){ until }, &stage->grant);
}

static void tell_to_wait(struct worker *worker)
{
	worker_tell(worker, wait_until, UINT64_MAX);
}

static struct worker *start(const struct scene *scene, const struct lh_lease_options *options)
{
	return worker_start(WORKER_PROCESS, scene->arena, options);
}

// A worker that waits, asleep, at the barrier.
static struct worker *start_waiting(const struct scene *scene,
				    const struct lh_lease_options *options)
{
	struct worker *worker = start(scene, options);

	tell_to_wait(worker);
	scene_await_wait(scene->arena, worker_lease(worker), true);
	return worker;
}

// As the library's own thread may at any moment, it renews the worker's lease: to end very soon.
static void shorten(const struct scene *scene, const struct worker *worker)
{
	const uint64_t lease = worker_lease(worker);
	struct lease_slot *slot = &scene->arena->leases[lease & ((1u << LEASE_SLOT_BITS) - 1)];

	assert_int_equal(lease_slot_renew(slot, lease_id_incarnation(lease), LH_MS(1)), 0);
}

static uint32_t members(const struct scene *scene)
{
	struct lh_hold_info hold;
	uint64_t cursor = 0;
	uint32_t count = 0;

	while (lh_next_hold(scene->arena, &cursor, &hold) == 0)
		count += hold.kind == LH_KIND_BARRIER && hold.mode == LH_HOLD_SHARED;
	return count;
}

static bool is_broken(void)
{
	return atomic_load(&object()->word) & BARRIER_BROKEN;
}

// ---- the rule ------------------------------------------------------------------------------------

static void what_it_is_made_with_is_checked(void **state)
{
	const struct scene *scene = *state;
	struct lh_barrier_options options = { .parties = 9, .name = "barrier" };
	struct lh_placement_info info;
	lh_barrier other;
	uint64_t cursor = 0;

	assert_int_equal(lh_barrier_footprint(&options), 64 + 128);
	assert_int_equal(lh_barrier_footprint(NULL), 0);
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &barrier), 0);
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &other), 0);
	assert_int_equal(lh_barrier_offset(&barrier), lh_barrier_offset(&other));
	assert_int_equal(lh_next_placement(scene->arena, &cursor, &info), 0);
	assert_int_equal(info.kind, LH_KIND_BARRIER);
	assert_int_equal(info.count, 9);
	options.parties = 8;
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &other), -EEXIST);
	options.parties = 9;
	options.on_death = LH_BARRIER_SHRINK;
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, &other), -EEXIST);
	options.name = NULL;
	for (int i = 0; i < 4; i++) {
		struct lh_barrier_options wrong = options;

		wrong.parties = i == 0 ? 0 : i == 1 ? LAYOUT_MAX_PARTIES + 1 : 2;
		wrong.on_death = i == 2 ? 2 : LH_BARRIER_BREAK;
		wrong.reserved[3] = i == 3;
		assert_int_equal(lh_barrier_footprint(&wrong), 0);
		assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &wrong, &other), -EINVAL);
	}
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, NULL, &other), -EINVAL);
	assert_int_equal(lh_barrier_at(NULL, LH_ANYWHERE, &options, &other), -EINVAL);
	assert_int_equal(lh_barrier_at(scene->arena, LH_ANYWHERE, &options, NULL), -EINVAL);
	assert_int_equal(lh_remove(scene->arena, lh_barrier_offset(&barrier)), 0);
}

// "token: the phase, from 1; one LH_GRANT_LEADER a phase"
static void a_barrier_of_one_never_waits(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;
	lh_grant grant;

	place(scene, 1, LH_BARRIER_BREAK);
	lease = scene_lease(scene->arena);
	for (uint64_t phase = 1; phase <= 1000; phase++) {
		assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, &grant), 0);
		assert_int_equal(grant.token, phase);
		assert_int_equal(grant.flags, LH_GRANT_LEADER);
	}
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(members(scene), 0);
}

static void each_phase_has_one_number_and_one_leader(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[5];

	place(scene, 5, LH_BARRIER_BREAK);
	for (int i = 0; i < 5; i++)
		workers[i] = worker_start(i % 2 ? WORKER_THREAD : WORKER_PROCESS, scene->arena,
					  NULL);
	for (uint64_t phase = 1; phase <= 20; phase++) {
		uint32_t leaders = 0;

		for (int i = 0; i < 5; i++)
			tell_to_wait(workers[i]);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(worker_hear(workers[i]), 0);
			assert_int_equal(worker_grant(workers[i]).token, phase);
			leaders += worker_grant(workers[i]).flags == LH_GRANT_LEADER;
		}
		assert_int_equal(leaders, 1);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(worker_end(workers[i]), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// ---- who belongs ---------------------------------------------------------------------------------

// "-EUSERS when all parties have joined"
static void one_party_too_many_is_refused(void **state)
{
	const struct scene *scene = *state;
	lh_lease *leases[3];

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		place(scene, 2, policy);
		for (int i = 0; i < 3; i++)
			leases[i] = scene_lease(scene->arena);
		assert_int_equal(lh_barrier_join(&barrier, leases[0]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[0]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[1]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[2]), -EUSERS);
		assert_int_equal(lh_barrier_wait(&barrier, leases[2], LH_FOREVER, NULL), -EUSERS);
		assert_int_equal(members(scene), 2);
		assert_int_equal(lh_remove(scene->arena, lh_barrier_offset(&barrier)), -EBUSY);
		assert_int_equal(lh_lease_release(leases[0]), 0);
		assert_int_equal(lh_barrier_join(&barrier, leases[2]), 0);
		assert_int_equal(lh_lease_release(leases[1]), 0);
		assert_int_equal(lh_lease_release(leases[2]), 0);
		assert_int_equal(members(scene), 0);
		assert_int_equal(lh_remove(scene->arena, lh_barrier_offset(&barrier)), 0);
	}
}

// "the place can be joined again"; until then it is waited for. G6
static void a_place_that_was_left_is_waited_for_and_can_be_joined_again(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		place(scene, 2, policy);
		first = start(scene, NULL);
		second = start(scene, NULL);
		assert_int_equal(worker_do(first, join, 0), 0);
		assert_int_equal(worker_do(second, join, 0), 0);
		assert_int_equal(worker_do(second, leave, 0), 0);
		assert_int_equal(worker_do(second, leave, 0), -EPERM);
		assert_int_equal(worker_do(first, wait_until, 0), -EBUSY);
		tell_to_wait(first);
		scene_await_wait(scene->arena, worker_lease(first), true);
		third = start(scene, NULL);
		assert_int_equal(worker_do(third, wait_until, UINT64_MAX), 0);
		assert_int_equal(worker_hear(first), 0);
		assert_int_equal(worker_grant(first).token, 1);
		assert_int_equal(worker_do(second, join, 0), -EUSERS);
		assert_int_equal(worker_do(third, leave, 0), 0);
		assert_int_equal(worker_do(second, join, 0), 0);
		assert_int_equal(worker_end(first), 0);
		assert_int_equal(worker_end(second), 0);
		assert_int_equal(worker_end(third), 0);
	}
}

// Who joins while others sleep is watched by them from then on (G2): nothing but its death wakes them.
static void a_party_that_joined_while_others_slept_is_watched(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start_waiting(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	assert_int_equal(worker_end(first), 0);
}

// ---- withdrawing ---------------------------------------------------------------------------------

// "a time-out or a cancel withdraws the arrival"; G10: who joined by waiting is no party afterwards.
static void a_wait_that_ends_early_is_withdrawn_and_the_party_still_needed(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, wait_until, 0), -EBUSY);
	assert_int_equal(worker_do(first, wait_until, 1), -ETIMEDOUT);
	assert_int_equal(worker_do(first, wait_until, lh_deadline_after(LH_MS(3)).ns), -ETIMEDOUT);
	assert_int_equal(members(scene), 0);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(first, wait_until, lh_deadline_after(LH_MS(3)).ns), -ETIMEDOUT);
	assert_int_equal(members(scene), 1);
	// The other's wait is not complete by that arrival.
	assert_int_equal(worker_do(second, wait_until, 0), -EBUSY);
	tell_to_wait(second);
	scene_await_wait(scene->arena, worker_lease(second), true);
	assert_int_equal(worker_do(first, wait_until, 0), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_grant(second).token, 1);
	assert_int_equal(worker_grant(first).flags, LH_GRANT_LEADER);
	assert_int_equal(worker_grant(second).flags, 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

struct waiting {
	const struct scene *scene;
	lh_cancel *cancel;
	unsigned flags;
	_Atomic uint64_t number; /* of its lease */
	int result;
};

static void *wait_at_barrier(void *context)
{
	struct waiting *waiting = context;
	const struct lh_lease_options options = { .flags = waiting->flags };
	lh_lease *lease = NULL;

	need(lh_lease_acquire(waiting->scene->arena, &options, &lease) == 0);
	need(lh_lease_set_cancel(lease, waiting->cancel) == 0);
	need(lh_barrier_join(&barrier, lease) == 0);
	waiting->number = lh_lease_id(lease);
	waiting->result = lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL);
	if (waiting->cancel)
		need(lh_barrier_wait(&barrier, lease, LH_NOW, NULL) == -ECANCELED);
	else
		need(lh_barrier_wait(&barrier, lease, LH_NOW, NULL) == -EBUSY);
	need(members(waiting->scene) == 1);
	need(lh_lease_release(lease) == 0);
	return NULL;
}

static pthread_t start_thread(struct waiting *waiting)
{
	pthread_t thread;

	place(waiting->scene, 2, LH_BARRIER_SHRINK);
	assert_int_equal(pthread_create(&thread, NULL, wait_at_barrier, waiting), 0);
	while (!waiting->number)
		scene_pause();
	scene_await_wait(waiting->scene->arena, waiting->number, true);
	return thread;
}

static void a_fired_token_withdraws_and_ends_every_wait_after(void **state)
{
	struct waiting waiting = { .scene = *state };
	pthread_t thread;

	assert_int_equal(lh_cancel_create(&waiting.cancel), 0);
	thread = start_thread(&waiting);
	lh_cancel_fire(waiting.cancel);
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -ECANCELED);
	lh_cancel_destroy(waiting.cancel);
}

static void ignore(int signal)
{
	(void)signal;
}

static void a_signal_withdraws_an_interruptible_party(void **state)
{
	struct waiting waiting = { .scene = *state, .flags = LH_LEASE_INTERRUPTIBLE };
	const struct sigaction action = { .sa_handler = ignore };
	pthread_t thread;
	struct lh_lease_info info;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	thread = start_thread(&waiting);
	// It may not sleep yet: a signal that comes too early is followed by another.
	while (scene_look(waiting.scene->arena, waiting.number, &info) && info.waits_for) {
		pthread_kill(thread, SIGUSR1);
		scene_pause();
	}
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -EINTR);
}

// ---- losing a party ------------------------------------------------------------------------------

// LH_BARRIER_BREAK; "mends a broken one, evicts lost parties"
static void a_party_that_dies_before_its_arrival_breaks_the_barrier_until_reset(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third, *fourth;

	place(scene, 3, LH_BARRIER_BREAK);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, join, 0), 0);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(third);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	assert_int_equal(worker_hear(second), -EOWNERDEAD);
	assert_int_equal(worker_do(first, wait_until, UINT64_MAX), -EOWNERDEAD);
	assert_int_equal(worker_do(first, join, 0), 0); // two places are not the lost one's
	assert_int_equal(worker_do(second, join, 0), 0);
	fourth = start(scene, NULL);
	assert_int_equal(worker_do(fourth, join, 0), -EOWNERDEAD);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(lh_barrier_reset(&barrier), 0);
	assert_int_equal(worker_do(first, wait_until, 0), -EBUSY); // the place is waited for
	tell_to_wait(first);
	tell_to_wait(second);
	assert_int_equal(worker_do(fourth, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_grant(first).token, 1);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(fourth), 0);
}

// "whether it had arrived or not"
static void a_party_that_dies_after_its_arrival_breaks_the_barrier_at_once(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene, 3, LH_BARRIER_BREAK);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(first);
	assert_int_equal(worker_hear(second), -EOWNERDEAD);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, wait_until, UINT64_MAX), -EOWNERDEAD);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
}

// Whoever arrives last looks at all lives itself.
static void the_last_to_arrive_meets_the_death_of_one_that_had_arrived(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		place(scene, 2, policy);
		first = start_waiting(scene, NULL);
		second = start(scene, NULL);
		worker_kill(first);
		assert_int_equal(worker_do(second, wait_until, UINT64_MAX),
				 policy == LH_BARRIER_BREAK ? -EOWNERDEAD : 0);
		assert_int_equal(worker_end(second), 0);
	}
}

// LH_BARRIER_SHRINK: "party dropped"; those who wait are woken by the death alone.
static void without_a_dead_party_the_phase_is_complete_if_all_others_wait(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;
	uint32_t leaders;

	place(scene, 3, LH_BARRIER_SHRINK);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, join, 0), 0);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(third);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_grant(first).token, 1);
	leaders = worker_grant(first).flags + worker_grant(second).flags;
	assert_int_equal(leaders, LH_GRANT_LEADER);
	assert_false(is_broken());
	// From now on two are enough, and a third can join in its place.
	tell_to_wait(first);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, join, 0), 0);
	tell_to_wait(first);
	scene_await_wait(scene->arena, worker_lease(first), true);
	assert_int_equal(worker_do(second, wait_until, 0), -EBUSY); // it is waited for
	tell_to_wait(second);
	assert_int_equal(worker_do(third, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_grant(third).token, 3);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_party_that_dies_after_its_arrival_is_dropped_and_still_not_waited_for(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene, 3, LH_BARRIER_SHRINK);
	first = start_waiting(scene, NULL);
	second = start_waiting(scene, NULL);
	worker_kill(first);
	scene_await_wait(scene->arena, worker_lease(second), true);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(second), 0);
	assert_int_equal(members(scene), 2);
	assert_int_equal(worker_end(second), 0);
	assert_int_equal(worker_end(third), 0);
}

// G10: after a failed wait the place is what it was: one that phases do without.
static void a_wait_that_ends_early_leaves_a_dropped_place_dropped(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	place(scene, 2, LH_BARRIER_SHRINK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(worker_do(first, wait_until, 0), 0);
	third = start(scene, NULL);
	assert_int_equal(worker_do(third, wait_until, 0), -EBUSY);
	assert_int_equal(worker_do(first, wait_until, 0), 0);
	assert_int_equal(worker_do(third, join, 0), 0);
	assert_int_equal(worker_do(first, wait_until, 0), -EBUSY);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(third), 0);
}

// G2: trying again and again notices a death as sleeping does.
static void who_never_sleeps_learns_of_a_death_too(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 3, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(worker_do(first, wait_until, 0), -EOWNERDEAD);
	assert_int_equal(worker_end(first), 0);
}

// G3, G4: an expiry is a loss like a death.
static void a_party_whose_lease_expired_is_lost(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	struct worker *first, *second, *third;

	for (unsigned policy = LH_BARRIER_BREAK; policy <= LH_BARRIER_SHRINK; policy++) {
		const int expected = policy == LH_BARRIER_BREAK ? -EOWNERDEAD : 0;

		place(scene, 3, policy);
		third = start(scene, &timed);
		assert_int_equal(worker_do(third, join, 0), 0);
		first = start_waiting(scene, NULL);
		second = start_waiting(scene, NULL);
		shorten(scene, third);
		assert_int_equal(worker_hear(first), expected);
		assert_int_equal(worker_hear(second), expected);
		assert_int_equal(worker_do(third, wait_until, 0), -ESTALE);
		assert_int_equal(worker_do(third, join, 0), -ESTALE);
		assert_int_equal(worker_do(third, leave, 0), -ESTALE);
		assert_int_equal(worker_end(third), -ESTALE);
		assert_int_equal(worker_end(first), 0);
		assert_int_equal(worker_end(second), 0);
	}
}

// A lease that expires while it waits gets -ESTALE; the others are told as of any loss.
static void a_lease_that_expires_at_the_barrier_is_told_and_is_lost(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 3, LH_BARRIER_BREAK);
	first = start_waiting(scene, &timed);
	second = start_waiting(scene, NULL);
	shorten(scene, first);
	assert_int_equal(worker_hear(first), -ESTALE);
	assert_int_equal(worker_hear(second), -EOWNERDEAD);
	assert_int_equal(worker_end(first), -ESTALE);
	assert_int_equal(worker_end(second), 0);
}

// "Of one that is not broken only lost parties are evicted."
static void a_reset_evicts_whom_nobody_has_missed_yet(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	first = start(scene, NULL);
	second = start(scene, NULL);
	assert_int_equal(worker_do(first, join, 0), 0);
	assert_int_equal(worker_do(second, join, 0), 0);
	worker_kill(second);
	assert_int_equal(lh_barrier_reset(&barrier), 0);
	assert_false(is_broken());
	second = start(scene, NULL);
	tell_to_wait(first);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), 0);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

// "those that waited when it broke are told -EOWNERDEAD all the same"
static void who_waited_when_it_broke_is_told_though_it_was_reset_before_it_looked(void **state)
{
	const struct scene *scene = *state;
	struct worker *first, *second;

	place(scene, 2, LH_BARRIER_BREAK);
	second = start(scene, NULL);
	assert_int_equal(worker_do(second, join, 0), 0);
	first = start_waiting(scene, NULL);
	assert_int_equal(kill(worker_pid(first), SIGSTOP), 0);
	worker_kill(second);
	second = start(scene, NULL);
	assert_int_equal(worker_do(second, wait_until, UINT64_MAX), -EOWNERDEAD);
	assert_true(is_broken());
	assert_int_equal(lh_barrier_reset(&barrier), 0);
	assert_false(is_broken());
	assert_int_equal(kill(worker_pid(first), SIGCONT), 0);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(worker_end(second), 0);
}

// All members are watched where few wait and many are missing.
static void one_waiter_watches_all_who_are_missing(void **state)
{
	enum { PARTIES = 24 };
	const struct scene *scene = *state;
	struct worker *workers[PARTIES], *first;

	place(scene, PARTIES, LH_BARRIER_BREAK);
	for (int i = 0; i < PARTIES - 1; i++) {
		workers[i] = start(scene, NULL);
		assert_int_equal(worker_do(workers[i], join, 0), 0);
	}
	first = start_waiting(scene, NULL);
	worker_kill(workers[PARTIES / 2]);
	assert_int_equal(worker_hear(first), -EOWNERDEAD);
	for (int i = 0; i < PARTIES - 1; i++) {
		if (i != PARTIES / 2)
			assert_int_equal(worker_end(workers[i]), 0);
	}
	assert_int_equal(worker_end(first), 0);
}

// ---- refused -------------------------------------------------------------------------------------

static int call_foreign(void *context)
{
	return lh_barrier_join(&barrier, context) == -EPERM &&
			       lh_barrier_wait(&barrier, context, LH_NOW, NULL) == -EPERM &&
			       lh_barrier_leave(&barrier, context) == -EPERM
		       ? 0
		       : 1;
}

static void calls_that_cannot_be_made_are_refused(void **state)
{
	struct scene *scene = *state;
	const struct lh_arena_options options = { .max_holds = 1 };
	const struct lh_barrier_options named = { .parties = 1, .name = "named" };
	const lh_barrier none = { { 0 } };
	lh_arena *arena = scene_open(scene, &options), *reader = NULL;
	lh_lease *lease = scene_lease(arena);
	lh_mutex mutex = scene_mutex(arena);
	const lh_barrier *wrong[] = { NULL, &none };

	assert_int_equal(lh_barrier_at(arena, LH_ANYWHERE, &named, &barrier), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lh_barrier_join(wrong[i], lease), -EINVAL);
		assert_int_equal(lh_barrier_wait(wrong[i], lease, LH_NOW, NULL), -EINVAL);
		assert_int_equal(lh_barrier_leave(wrong[i], lease), -EINVAL);
		assert_int_equal(lh_barrier_reset(wrong[i]), -EINVAL);
		assert_int_equal(lh_barrier_offset(wrong[i]), 0);
	}
	assert_int_equal(lh_barrier_join(&barrier, NULL), -EINVAL);
	assert_int_equal(lh_barrier_wait(&barrier, NULL, LH_NOW, NULL), -EINVAL);
	assert_int_equal(lh_barrier_leave(&barrier, lease), -EPERM);
	assert_int_equal(scene_thread(call_foreign, lease), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_barrier_join(&barrier, lease), -ENOLCK);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -ENOLCK);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	assert_int_equal(lh_barrier_at(reader, LH_ANYWHERE, &named, &barrier), 0);
	assert_int_equal(lh_barrier_reset(&barrier), -EROFS);
	assert_int_equal(lh_arena_close(reader), 0);
}

static void phases_that_are_used_up_are_told(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;
	lh_grant grant;

	place(scene, 1, LH_BARRIER_BREAK);
	lease = scene_lease(scene->arena);
	atomic_store(&object()->word, (BARRIER_PHASE_MAX - 1) << BARRIER_PHASE_SHIFT);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, &grant), 0);
	assert_int_equal(grant.token, BARRIER_PHASE_MAX);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_NOW, &grant), -EOVERFLOW);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void damage_is_told(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;

	place(scene, 2, LH_BARRIER_BREAK);
	lease = scene_lease(scene->arena);
	atomic_store(&object()->places[1], PLACE_OWNER_MASK); // no such slot
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(lh_barrier_reset(&barrier), -EBADMSG);
	assert_int_equal(members(scene), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&object()->places[1], 300); // nobody's slot
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&object()->places[1], 0);
	object()->parties = 100000; // the handle knows better; who clears up does not believe it
	assert_int_equal(lh_barrier_join(&barrier, lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	assert_int_equal(lh_lease_release(lease), -EBADMSG);
	object()->kind = LH_KIND_MUTEX;
	lease = scene_lease(scene->arena);
	assert_int_equal(lh_barrier_wait(&barrier, lease, LH_FOREVER, NULL), -EBADMSG);
	assert_int_equal(lh_barrier_reset(&barrier), -EBADMSG);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(what_it_is_made_with_is_checked),
		SCENE_TEST(a_barrier_of_one_never_waits),
		SCENE_TEST(each_phase_has_one_number_and_one_leader),
		SCENE_TEST(one_party_too_many_is_refused),
		SCENE_TEST(a_place_that_was_left_is_waited_for_and_can_be_joined_again),
		SCENE_TEST(a_party_that_joined_while_others_slept_is_watched),
		SCENE_TEST(a_wait_that_ends_early_is_withdrawn_and_the_party_still_needed),
		SCENE_TEST(a_fired_token_withdraws_and_ends_every_wait_after),
		SCENE_TEST(a_signal_withdraws_an_interruptible_party),
		SCENE_TEST(a_party_that_dies_before_its_arrival_breaks_the_barrier_until_reset),
		SCENE_TEST(a_party_that_dies_after_its_arrival_breaks_the_barrier_at_once),
		SCENE_TEST(the_last_to_arrive_meets_the_death_of_one_that_had_arrived),
		SCENE_TEST(without_a_dead_party_the_phase_is_complete_if_all_others_wait),
		SCENE_TEST(a_party_that_dies_after_its_arrival_is_dropped_and_still_not_waited_for),
		SCENE_TEST(a_wait_that_ends_early_leaves_a_dropped_place_dropped),
		SCENE_TEST(who_never_sleeps_learns_of_a_death_too),
		SCENE_TEST(a_party_whose_lease_expired_is_lost),
		SCENE_TEST(a_lease_that_expires_at_the_barrier_is_told_and_is_lost),
		SCENE_TEST(a_reset_evicts_whom_nobody_has_missed_yet),
		SCENE_TEST(who_waited_when_it_broke_is_told_though_it_was_reset_before_it_looked),
		SCENE_TEST(one_waiter_watches_all_who_are_missing),
		SCENE_TEST_CLOSED(calls_that_cannot_be_made_are_refused),
		SCENE_TEST(phases_that_are_used_up_are_told),
		SCENE_TEST(damage_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
