// SPDX-License-Identifier: Apache-2.0
//
// lease.c, reap.c: the end of a lost lease whose owner lives and goes on, stopped where it matters:
// between the steps of one thread another of its process, or a reaper, comes by. The stops stand in
// for calls that these files make of others (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/keeper.h"
#include "arena/reap.h"
#include "arena/sys/identity.h"

#include <pthread.h>
#include <stdatomic.h>

// What is done at a stop; NULL: nothing. Each is taken away before it is run.
struct stop {
	void (*_Atomic act)(void *context);
	void *context;
};

static struct stop before_reaping, after_reaping, in_claim, in_keeper_run, before_kill;

static void stop_here(struct stop *stop)
{
	void (*act)(void *context) = atomic_exchange(&stop->act, NULL);

	if (act)
		act(stop->context);
}

static void plant(struct stop *stop, void (*act)(void *context), void *context)
{
	stop->context = context;
	atomic_store(&stop->act, act);
}

void __real_reap_lease(struct lh_arena *arena, const struct lost_lease *lost);
void __wrap_reap_lease(struct lh_arena *arena, const struct lost_lease *lost);

void __wrap_reap_lease(struct lh_arena *arena, const struct lost_lease *lost)
{
	stop_here(&before_reaping);
	__real_reap_lease(arena, lost);
	stop_here(&after_reaping);
}

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);

// A claimer reads the clock after it has the slot, and before it is LIVE.
uint64_t __wrap_clock_now(void)
{
	if (keeper_is_caller())
		stop_here(&in_claim);
	return __real_clock_now();
}

int __real_keeper_run(int (*function)(void *argument), void *argument);
int __wrap_keeper_run(int (*function)(void *argument), void *argument);

int __wrap_keeper_run(int (*function)(void *argument), void *argument)
{
	stop_here(&in_keeper_run);
	return __real_keeper_run(function, argument);
}

int __real_identity_open(const struct identity *identity);
int __wrap_identity_open(const struct identity *identity);

int __wrap_identity_open(const struct identity *identity)
{
	const int pidfd = __real_identity_open(identity);

	stop_here(&before_kill);
	return pidfd;
}

// ---- one process, two threads ----------------------------------------------------------------------

static const struct lh_lease_options brief = { .ttl_ns = LH_MS(1), .flags = LH_LEASE_PROCESS };
static const struct lh_lease_options lasting = { .flags = LH_LEASE_PROCESS };

struct rival {
	lh_arena *arena;
	lh_lease *lease;
	pthread_t thread;
	_Atomic int claims, may_go_on; // where it stands
};

static void stand_in_claim(void *context)
{
	struct rival *rival = context;

	atomic_store(&rival->claims, 1);
	while (!atomic_load(&rival->may_go_on))
		scene_pause();
}

static void *acquire(void *context)
{
	struct rival *rival = context;

	need(lh_lease_acquire(rival->arena, &lasting, &rival->lease) == 0);
	return NULL;
}

static void rival_goes_on(void *context)
{
	struct rival *rival = context;

	atomic_store(&rival->may_go_on, 1);
}

// Until the burial has ended: what comes then wants the keeper's thread, where the rival stands.
static void rival_claims(void *context)
{
	struct rival *rival = context;

	plant(&in_claim, stand_in_claim, rival);
	need(pthread_create(&rival->thread, NULL, acquire, rival) == 0);
	while (!atomic_load(&rival->claims))
		scene_pause();
	plant(&in_keeper_run, rival_goes_on, rival);
}

static lh_lease *expired(lh_arena *arena)
{
	lh_lease *lease = scene_lease_with(arena, &brief);

	while (lh_lease_valid(lease))
		scene_pause();
	return lease;
}

// G1, G2: an owner's reference names it and not the lease. Who buries a lease, and has freed its
// slot, takes nothing from a lease that another thread of the process gets there meanwhile.
static void a_burial_takes_nothing_from_the_owners_next_lease(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct rival rival = { .arena = scene->arena };
	lh_lease *kept = scene_lease_with(scene->arena, &lasting);
	lh_lease *lost = expired(scene->arena);
	lh_lease *other;

	atomic_store(&scene->arena->lease_hint, lost->index);
	plant(&after_reaping, rival_claims, &rival);
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	assert_int_equal(pthread_join(rival.thread, NULL), 0);
	assert_true(atomic_load(&rival.lease->slot->owner) == rival.lease->owner);
	assert_int_equal(lh_mutex_lock(&mutex, rival.lease, LH_NOW, NULL), 0);
	other = scene_lease(scene->arena);
	assert_int_equal(lh_mutex_lock(&mutex, other, LH_NOW, NULL), -EBUSY);
	assert_true(lh_lease_valid(rival.lease));
	assert_int_equal(lh_lease_release(other), 0);
	assert_int_equal(lh_lease_release(rival.lease), 0);
	assert_int_equal(lh_lease_release(kept), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

struct slot_of {
	lh_arena *arena;
	uint32_t slot;
	uint64_t owner; // as it was left
	bool freed, noted;
};

static void reaper_comes_by(void *context)
{
	struct slot_of *slot = context;

	slot->freed = reap_slot(slot->arena, slot->slot);
	slot->owner = atomic_load(&slot->arena->leases[slot->slot].owner);
}

// G1: a reaper may be stopped between freeing a slot and clearing its reference, for as long as it
// takes the owner to end its burial and take the slot again. So it leaves the reference of the
// living alone.
static void a_reaper_leaves_the_slot_of_a_living_owner_to_its_burial(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lost = expired(scene->arena);
	struct slot_of slot = { .arena = scene->arena, .slot = lost->index };
	const uint64_t owner = lost->owner;

	plant(&before_reaping, reaper_comes_by, &slot);
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	assert_false(slot.freed);
	assert_true(slot.owner == owner);
	assert_true(atomic_load(&scene->arena->leases[slot.slot].owner) == 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void look_at_note(void *context)
{
	struct slot_of *slot = context;

	slot->noted = atomic_load(&slot->arena->process_leases[slot->slot]) != 0;
}

// lh_arena_close, -EBUSY: "this process still has leases". Its note of a lease is taken back while
// nobody else can have the slot; later it may be the note of another thread's lease.
static void a_lease_is_not_noted_any_more_once_another_can_have_its_slot(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lost = expired(scene->arena);
	struct slot_of slot = { .arena = scene->arena, .slot = lost->index };

	plant(&before_reaping, look_at_note, &slot);
	assert_true(atomic_load(&scene->arena->process_leases[slot.slot]) != 0);
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	assert_false(slot.noted);
}

// ---- who consented to be killed --------------------------------------------------------------------

static const struct lh_lease_options fatal = { .ttl_ns = LH_SEC(1000),
					       .flags = LH_LEASE_KILL_ON_EXPIRY };

// In the owner's process: under it another lease, so that it goes on as the same owner.
static lh_lease *kept;

static int let_go(struct worker_stage *stage, uint64_t unused)
{
	int result;

	(void)unused;
	need(lh_lease_acquire(stage->arena, NULL, &kept) == 0);
	result = lh_lease_release(stage->lease);
	stage->lease = NULL;
	return result;
}

static int begin_anew(struct worker_stage *stage, uint64_t unused)
{
	const uint32_t slot = stage->lease->index;
	const int result = let_go(stage, unused);

	need(lh_lease_acquire(stage->arena, NULL, &stage->lease) == 0);
	need(stage->lease->index == slot);
	return result;
}

static int release_kept(struct worker_stage *stage, uint64_t unused)
{
	(void)stage;
	(void)unused;
	return lh_lease_release(kept);
}

struct owner {
	struct worker *worker;
	worker_step step;
};

static void owner_goes_on(void *context)
{
	const struct owner *owner = context;

	need(worker_do(owner->worker, owner->step, 0) == -ESTALE);
}

// A taker has found the process to kill, and stands; its owner lets go of the lease, then the taker
// goes on.
static void spare(const struct scene *scene, worker_step step)
{
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct owner owner = { worker_start(WORKER_PROCESS, scene->arena, &fatal), step };
	lh_lease *taker = scene_lease(scene->arena);

	scene_wants_kill_on_expiry();
	assert_int_equal(worker_do(owner.worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	worker_shorten(owner.worker);
	scene_await_state(scene->arena, worker_lease(owner.worker), LH_LEASE_EXPIRED);
	plant(&before_kill, owner_goes_on, &owner);
	scene_lock(&mutex, taker);
	assert_null(atomic_load(&before_kill.act));
	assert_int_equal(worker_do(owner.worker, release_kept, 0), 0);
	assert_int_equal(worker_end(owner.worker), 0);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_KILLED, 0), 0);
	assert_int_equal(lh_lease_release(taker), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// LH_LEASE_KILL_ON_EXPIRY: "whoever wants what it holds kills"; a lease that is over holds nothing.
static void nobody_is_killed_for_a_lease_that_is_over(void **state)
{
	scene_wants_kill_on_expiry();
	spare(*state, let_go);
}

// Of the lease that its owner has instead, in the same slot, neither.
static void nobody_is_killed_for_the_lease_before(void **state)
{
	scene_wants_kill_on_expiry();
	spare(*state, begin_anew);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_burial_takes_nothing_from_the_owners_next_lease),
		SCENE_TEST(a_reaper_leaves_the_slot_of_a_living_owner_to_its_burial),
		SCENE_TEST(a_lease_is_not_noted_any_more_once_another_can_have_its_slot),
		SCENE_TEST(nobody_is_killed_for_a_lease_that_is_over),
		SCENE_TEST(nobody_is_killed_for_the_lease_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
