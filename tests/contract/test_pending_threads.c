// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
// ctest: LABELS threads
//
// Asynchronous acquire of named locks by several threads of one process, on any provider
// (tests/contract/locks.h).
#include "tests/contract/locks.h"

#include <pthread.h>

static lh_pending *start(const char *key)
{
	lh_pending *pending = NULL;

	need_equal(lh_acquire_start(locks_scene.locks, key, LH_FOREVER, NULL, &pending), 0);
	return pending;
}

static lh_handle *await_grant(lh_pending *pending)
{
	struct pollfd poll_fd = { .fd = lh_pending_fd(pending), .events = POLLIN };
	lh_handle *handle = NULL;

	need_equal(poll(&poll_fd, 1, -1), 1);
	need_equal(lh_pending_finish(pending, &handle), 0);
	return handle;
}

struct race {
	lh_locks *locks;
	_Atomic uint32_t turn; // counts what was granted to those who wait in their calls
	_Atomic int stop;
};

// Takes and releases as fast as it can.
static void *come_and_go(void *context)
{
	struct race *race = context;

	while (!atomic_load(&race->stop)) {
		lh_handle *handle;

		need_equal(lh_acquire(race->locks, "key", LH_FOREVER, NULL, &handle), 0);
		if (atomic_fetch_add(&race->turn, 1) % 3 == 0)
			sched_yield();
		need_equal(lh_handle_release(handle), 0);
	}
	return NULL;
}

// G1, G6: what was granted is finished with it, or is not granted: the other one's next lock call
// would wait for ever for a grant that leaked.
static void a_cancel_that_races_the_grant_loses_nothing(void **state)
{
	const uint64_t until = lh_now() + LH_SEC(2);
	struct race race = { .locks = locks_scene.locks };
	unsigned grants = 0, cancels = 0, seed = 1;
	lh_handle *handle;
	pthread_t thread;

	(void)state;
	need_equal(pthread_create(&thread, NULL, come_and_go, &race), 0);
	while (lh_now() < until || !grants || !cancels) {
		lh_pending *pending = start("key");
		// From less than it takes to start to more than a grant takes.
		const uint64_t moment = lh_now() + rand_r(&seed) % (1u << rand_r(&seed) % 18);
		int result;

		while (lh_now() < moment)
			;
		need_equal(lh_pending_cancel(pending), 0);
		result = lh_pending_finish(pending, &handle);
		if (!result) {
			grants++;
			let_go(handle);
		} else {
			need_equal(result, -ECANCELED);
			cancels++;
		}
	}
	atomic_store(&race.stop, 1);
	pthread_join(thread, NULL);
	printf("granted %u, cancelled %u\n", grants, cancels);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

// Each of the two kinds goes on, whatever the others do.
static void who_waits_here_and_who_waits_in_a_call_take_turns(void **state)
{
	struct race race = { .locks = locks_scene.locks };
	pthread_t thread[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		need_equal(pthread_create(&thread[i], NULL, come_and_go, &race), 0);
	for (int i = 0; i < 30; i++) {
		lh_handle *handle = await_grant(start("key"));
		const uint32_t before = atomic_load(&race.turn);

		let_go(handle);
		while (atomic_load(&race.turn) == before)
			sched_yield();
	}
	atomic_store(&race.stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	close_all();
}

enum { THREADS = 4, ROUNDS = 300, KEYS = 3 };

static const char *const keys[KEYS] = { "a", "b", "c" };

struct counted {
	uint64_t number[KEYS]; // without atomics: under the locks
	_Atomic uint64_t granted[KEYS];
};

static void *start_and_finish(void *context)
{
	struct counted *counted = context;
	unsigned seed = (unsigned)(uintptr_t)&seed;

	for (int i = 0; i < ROUNDS; i++) {
		lh_pending *pending[KEYS];
		lh_handle *handle;

		for (int j = 0; j < KEYS; j++) {
			pending[j] = start(keys[j]);
			if (rand_r(&seed) % 4 == 0)
				need_equal(lh_pending_cancel(pending[j]), 0);
		}
		for (int j = 0; j < KEYS; j++) {
			struct pollfd poll_fd = { .fd = lh_pending_fd(pending[j]),
						  .events = POLLIN };

			need_equal(poll(&poll_fd, 1, -1), 1);
			if (lh_pending_finish(pending[j], &handle))
				continue;
			counted->number[j]++;
			atomic_fetch_add(&counted->granted[j], 1);
			let_go(handle);
		}
	}
	return NULL;
}

// G1; all take the keys in one order, so nobody waits in a cycle.
static void threads_share_the_helper(void **state)
{
	struct counted counted = { .number = { 0 } };
	pthread_t thread[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		need_equal(pthread_create(&thread[i], NULL, start_and_finish, &counted), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < KEYS; i++) {
		assert_true(counted.number[i] > 0);
		assert_int_equal(counted.number[i], atomic_load(&counted.granted[i]));
		assert_int_equal(attempt(keys[i], NULL), 0);
	}
	close_all();
}

// ---- in a callback -------------------------------------------------------------------------------

struct called_back {
	_Atomic int started, released, done;
};

// On the thread that renews leases and gives threads of the library theirs.
static void start_and_cancel(void *context)
{
	static const struct lh_acquire_options labelled = { .label = "waits" };
	struct called_back *back = context;
	lh_pending *pending = NULL;
	lh_handle *handle = NULL;
	uint64_t until;

	need_equal(lh_acquire_start(locks_scene.locks, "key", LH_FOREVER, &labelled, &pending), 0);
	atomic_store(&back->started, 1);
	while (!atomic_load(&back->released))
		sched_yield();
	for (until = lh_now() + LH_MS(2); lh_now() < until;)
		sched_yield(); // the helper thread may have begun to take the key by now
	need_equal(lh_pending_cancel(pending), 0);
	if (lh_pending_finish(pending, &handle) == 0)
		let_go(handle);
	atomic_store(&back->done, 1);
}

// "May be called in an on_loss callback": though it is that thread which the helper needs.
static void a_callback_may_start_and_cancel(void **state)
{
	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	for (int i = 0; i < 20; i++) {
		struct called_back back = { 0 };
		const struct lh_acquire_options brief = { .ttl_ns = LH_MS(3),
							  .on_loss = start_and_cancel,
							  .context = &back };
		lh_handle *holder = hold("key", NULL), *lost = hold("another", &brief);

		while (!atomic_load(&back.started))
			sched_yield();
		let_go(holder);
		atomic_store(&back.released, 1);
		while (!atomic_load(&back.done))
			sched_yield();
		need_equal(lh_handle_release(lost), -ESTALE);
	}
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(a_cancel_that_races_the_grant_loses_nothing),
		LOCKS_TEST(who_waits_here_and_who_waits_in_a_call_take_turns),
		LOCKS_TEST(threads_share_the_helper),
		LOCKS_TEST(a_callback_may_start_and_cancel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
