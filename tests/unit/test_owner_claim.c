// SPDX-License-Identifier: Apache-2.0
//
// owner.c: a claimer of an owner entry that is overtaken between looking at its mutex and locking
// it. The stops stand in for pthread_mutex_trylock and nanosleep (CMakeLists.txt: --wrap).
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/keeper.h"
#include "arena/owner.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

static struct {
	lh_arena *arena;
	struct worker *rival;
	bool overtake, kill_then; // what is done at the next stop
	uint32_t entry;           // where
	uint64_t mutex;           // its offset
} stop;

// ---- the rival: a process lease, and then no keeper any more ------------------------------------------

static _Atomic bool keeper_ended;
static lh_lease *of_process;

static void end_this_thread(void *unused)
{
	(void)unused;
	atomic_store(&keeper_ended, true);
	syscall(SYS_exit, 0);
}

static bool is_locked(const struct lh_arena *arena, uint64_t owner)
{
	uint32_t word;

	return owner_word(arena, owner, &word) != NULL;
}

static int hold_without_keeper(struct worker_stage *stage, uint64_t entry)
{
	static const struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };
	static const struct lh_lease_options brief = { .ttl_ns = LH_MS(1) };
	lh_lease *lost;
	lh_mutex mutex;

	atomic_store(&stage->arena->owner_hint, (uint32_t)entry);
	need(lh_lease_acquire(stage->arena, &process, &of_process) == 0);
	need(of_process->share->owner == entry);
	need(lh_mutex_at(stage->arena, stop.mutex, NULL, &mutex) == 0);
	need(lh_mutex_lock(&mutex, of_process, LH_NOW, NULL) == 0);
	need(lh_lease_acquire(stage->arena, &brief, &lost) == 0);
	need(lh_lease_on_loss(lost, end_this_thread, NULL) == 0);
	while (!atomic_load(&keeper_ended) || is_locked(stage->arena, of_process->owner))
		sched_yield();
	return 0;
}

// ---- the stops ---------------------------------------------------------------------------------------

int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	if (stop.overtake) {
		stop.overtake = false;
		stop.entry = (uint32_t)((struct owner_entry *)mutex - stop.arena->owners);
		need(&stop.arena->owners[stop.entry].liveness == mutex);
		need(worker_do(stop.rival, hold_without_keeper, stop.entry) == 0);
	}
	return __real_pthread_mutex_trylock(mutex);
}

int __real_nanosleep(const struct timespec *duration, struct timespec *left);
int __wrap_nanosleep(const struct timespec *duration, struct timespec *left);

int __wrap_nanosleep(const struct timespec *duration, struct timespec *left)
{
	if (stop.kill_then) {
		stop.kill_then = false;
		worker_kill(stop.rival);
		return 0;
	}
	return __real_nanosleep(duration, left);
}

static lh_lease *overtaken(const struct scene *scene, const lh_mutex *mutex, bool kill_then)
{
	lh_lease *lease;

	stop.arena = scene->arena;
	stop.mutex = lh_mutex_offset(mutex);
	stop.rival = worker_start(WORKER_PROCESS, scene->arena, NULL);
	stop.overtake = true;
	stop.kill_then = kill_then;
	lease = scene_lease(scene->arena);
	assert_false(stop.overtake);
	assert_false(stop.kill_then);
	return lease;
}

// G1, LH_LEASE_PROCESS: "the process is the owner": it holds what it has until its own end.
static void an_entry_is_not_claimed_from_a_process_that_goes_on_without_its_keeper(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = overtaken(scene, &mutex, false);

	assert_int_not_equal(lease->share->owner, stop.entry);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -EBUSY);
	worker_kill(stop.rival);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G2: once it has ended, the entry is the claimer's.
static void an_entry_is_claimed_once_the_process_has_ended(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = overtaken(scene, &mutex, true);

	assert_int_equal(lease->share->owner, stop.entry);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
}

// In which entry.
static int hold_and_say(struct worker_stage *stage, uint64_t mutex_offset)
{
	lh_mutex mutex;

	need(lh_mutex_at(stage->arena, mutex_offset, NULL, &mutex) == 0);
	need(lh_mutex_lock(&mutex, stage->lease, LH_NOW, NULL) == 0);
	return (int)stage->lease->share->owner;
}

static struct {
	const struct scene *scene;
	lh_mutex mutex;
	uint32_t entry;
} restarted;

static void *take_the_entry(void *unused)
{
	lh_arena *arena = restarted.scene->arena;
	lh_lease *lease;

	(void)unused;
	atomic_store(&arena->owners[restarted.entry].tid, (uint32_t)gettid());
	atomic_store(&arena->owner_hint, restarted.entry);
	lease = scene_lease(arena);
	need(lease->share->owner == restarted.entry);
	need(!atomic_load(&arena->pinned));
	need(scene_lock(&restarted.mutex, lease).flags == LH_GRANT_OWNER_DIED);
	need(lh_lease_release(lease) == 0);
	return NULL;
}

// In a container that is started again everybody has the numbers of those who died in it. The dead one's
// entry is claimed at once, and not left locked up to the claimer's end.
static void the_entry_of_a_dead_thread_of_the_claimers_number_is_claimed(void **state)
{
	struct worker *worker;
	pthread_t thread;

	restarted.scene = *state;
	restarted.mutex = scene_mutex(restarted.scene->arena);
	worker = worker_start(WORKER_PROCESS, restarted.scene->arena, NULL);
	restarted.entry = (uint32_t)worker_do(worker, hold_and_say,
					      lh_mutex_offset(&restarted.mutex));
	worker_kill(worker);
	assert_int_equal(pthread_create(&thread, NULL, take_the_entry, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(an_entry_is_not_claimed_from_a_process_that_goes_on_without_its_keeper),
		SCENE_TEST(an_entry_is_claimed_once_the_process_has_ended),
		SCENE_TEST(the_entry_of_a_dead_thread_of_the_claimers_number_is_claimed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
