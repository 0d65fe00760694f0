// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 300
// ctest: ALSO inline
// ctest: RUN_SERIAL TRUE
// ctest: NOT_UNDER valgrind runs one thread at a time
// ctest: NOT_UNDER address the window is too small for instrumented code
// ctest: NOT_UNDER thread the window is too small for instrumented code
//
// The fence that a biased reader does not have. A reader and a writer try with LH_NOW from a common
// start, the lock biased anew each time: they are never both granted (G1). With the writer's
// membarrier taken out they soon are, which shows that the test can see it: else it says that it
// cannot.
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/rwlock.h"
#include "tests/support/scene.h"
#include "tests/support/tier.h"

// How long double grants are looked for; and in how many trials at least, before it is a failure that
// there are none. Fewer than that in the time: the two did not run at the same time.
#define WITHOUT_NS LH_SEC(60)
#define WITHOUT_TRIALS UINT64_C(200000)
enum { DIRTY_LINES = 24, LONGEST_DELAY = 1000000 };

static _Atomic bool membarrier_is_out;

bool __real_fence_heavy(void);
bool __wrap_fence_heavy(void);

bool __wrap_fence_heavy(void)
{
	if (!atomic_load(&membarrier_is_out))
		return __real_fence_heavy();
	atomic_thread_fence(memory_order_seq_cst); // what a writer would have without it
	return true;
}

struct pair {
	lh_arena *arena;
	lh_rwlock rwlock;
	_Alignas(64) _Atomic uint64_t begin; // counts trials
	_Alignas(64) _Atomic uint64_t reader_done;
	_Atomic bool reads;
	_Atomic bool stop;
	_Atomic int reader_delay; // of the trial that begins next
	// Written by both: the reader's stores to them miss, and its record waits behind them in
	// its store buffer.
	struct {
		_Alignas(64) volatile uint64_t word;
	} dirty[DIRTY_LINES];
};

// Not to go on without the other processor: it spins, but gives way where there is only one.
static void await(_Atomic uint64_t *word, uint64_t value, const _Atomic bool *stop)
{
	for (unsigned i = 1; atomic_load(word) != value && !atomic_load(stop); i++) {
		if (i % 4096 == 0)
			sched_yield();
	}
}

static void spin(int turns)
{
	for (volatile int i = 0; i < turns; i++)
		;
}

static void *read_at_each_start(void *context)
{
	struct pair *pair = context;
	lh_lease *lease;

	need(lh_lease_acquire(pair->arena, NULL, &lease) == 0);
	for (uint64_t trial = 1;; trial++) {
		int error;

		await(&pair->begin, trial, &pair->stop);
		if (atomic_load(&pair->stop))
			break;
		spin(atomic_load(&pair->reader_delay));
		for (int i = 0; i < DIRTY_LINES; i++)
			pair->dirty[i].word = trial;
		error = lh_rwlock_read_lock(&pair->rwlock, lease, LH_NOW, NULL);
		atomic_store(&pair->reads, error == 0);
		atomic_store(&pair->reader_done, trial);
		await(&pair->begin, trial + UINT64_C(1000000000000), &pair->stop);
		if (atomic_load(&pair->stop))
			break;
		if (error == 0)
			need(lh_rwlock_unlock(&pair->rwlock, lease) == 0);
		atomic_store(&pair->reader_done, trial + UINT64_C(1000000000000));
	}
	need(lh_lease_release(lease) == 0);
	return NULL;
}

struct outcome {
	uint64_t trials, both, reads, writes;
};

static void restore_bias(const struct pair *pair)
{
	struct rwlock_object *object = rwlock_object(
		pair->arena, (uint32_t)(lh_rwlock_offset(&pair->rwlock) / 64));

	atomic_fetch_and(&object->header.word, ~RWLOCK_FENCED);
}

// `delay`: the writer begins so many turns of a loop after the reader; negative: before it.
static void try_once(struct pair *pair, lh_lease *lease, uint64_t trial, int delay,
		     struct outcome *outcome)
{
	static const _Atomic bool never;
	int error;

	restore_bias(pair);
	for (int i = 0; i < DIRTY_LINES; i++)
		pair->dirty[i].word = 0;
	atomic_store(&pair->reader_delay, -delay);
	atomic_store(&pair->begin, trial);
	spin(delay);
	error = lh_rwlock_write_lock(&pair->rwlock, lease, LH_NOW, NULL);
	need(error == 0 || error == -EBUSY);
	await(&pair->reader_done, trial, &never);
	outcome->trials++;
	outcome->reads += atomic_load(&pair->reads);
	outcome->writes += error == 0;
	outcome->both += error == 0 && atomic_load(&pair->reads);
	if (error == 0)
		need(lh_rwlock_unlock(&pair->rwlock, lease) == 0);
	atomic_store(&pair->begin, trial + UINT64_C(1000000000000));
	await(&pair->reader_done, trial + UINT64_C(1000000000000), &never);
}

// Until so many trials in which either was granted at times (beside others' work one may come first
// for long), or one double grant, or the time.
static struct outcome run(const struct scene *scene, uint64_t trials, uint64_t until_ns)
{
	struct pair *pair = aligned_alloc(64, sizeof(*pair));
	struct outcome outcome = { 0, 0, 0, 0 };
	unsigned seed = (unsigned)lh_now();
	int delay = 100;
	pthread_t thread;
	lh_lease *lease;

	need(pair != NULL);
	memset(pair, 0, sizeof(*pair));
	pair->arena = scene->arena;
	need(lh_rwlock_at(scene->arena, LH_ANYWHERE, NULL, &pair->rwlock) == 0);
	lease = scene_lease(scene->arena);
	assert_int_equal(pthread_create(&thread, NULL, read_at_each_start, pair), 0);
	for (uint64_t trial = 1; (trial <= trials || !outcome.reads || !outcome.writes) &&
				 !outcome.both && lh_now() < until_ns;
	     trial++) {
		const uint64_t writes = outcome.writes;
		const int step = 1 + abs(delay) / 32;

		try_once(pair, lease, trial, delay + rand_r(&seed) % 64, &outcome);
		// Towards where either may come first.
		if (outcome.writes > writes)
			delay += delay < LONGEST_DELAY ? step : 0;
		else
			delay -= delay > -LONGEST_DELAY ? step : 0;
	}
	atomic_store(&pair->stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(lh_lease_release(lease), 0);
	free(pair);
	printf("%llu trials, %llu reads, %llu writes, both at once: %llu\n",
	       (unsigned long long)outcome.trials, (unsigned long long)outcome.reads,
	       (unsigned long long)outcome.writes, (unsigned long long)outcome.both);
	return outcome;
}

// G1
static void a_reader_and_a_writer_are_never_both_granted(void **state)
{
	const struct outcome outcome = run(*state, tier_pick(5000, 20000, 100000), UINT64_MAX);

	assert_int_equal(outcome.both, 0);
	assert_true(outcome.reads > 0 && outcome.writes > 0);
}

static void without_the_membarrier_both_are_granted(void **state)
{
	struct outcome outcome;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		printf("SKIP: one processor: its stores are in order for itself\n");
		return;
	}
	atomic_store(&membarrier_is_out, true);
	outcome = run(*state, UINT64_MAX, lh_now() + WITHOUT_NS);
	atomic_store(&membarrier_is_out, false);
	if (!outcome.both && outcome.trials < WITHOUT_TRIALS) {
		printf("SKIP: stress.rwlock_fence: beside others' work the two seldom run at the "
		       "same time\n");
		return;
	}
	assert_true(outcome.both > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_reader_and_a_writer_are_never_both_granted),
		SCENE_TEST(without_the_membarrier_both_are_granted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
