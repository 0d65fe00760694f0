// SPDX-License-Identifier: Apache-2.0
//
// remote.h: for tests of what the library does with a server: two sets of one server, which is the
// tests' own, and threads that wait.
#ifndef TESTS_CONTRACT_REMOTE_H
#define TESTS_CONTRACT_REMOTE_H

#include "tests/contract/locks.h"

#include <pthread.h>

#include "src/pending.h"

static lh_locks *elsewhere; // as another process would have it

static inline int remote_setup(void **state)
{
	const int result = locks_setup(state);

	need_equal(lh_locks_open(locks_scene.url, &elsewhere), 0);
	return result;
}

#define REMOTE_TEST(test) cmocka_unit_test_setup_teardown(test, remote_setup, locks_teardown)

static inline int remote_run_group(const char *name, const struct CMUnitTest *tests, size_t count)
{
	if (!getenv("LEASEHOLD_PROVIDERS"))
		skip_all("LEASEHOLD_PROVIDERS does not say where the tests' providers are");
	need_equal(setenv("LEASEHOLD_LOCKS_URL", "test://", 1), 0);
	return _cmocka_run_group_tests(name, tests, count, NULL, NULL);
}

#define remote_run(tests) remote_run_group(#tests, tests, sizeof(tests) / sizeof((tests)[0]))

static inline void close_both(void)
{
	close_all();
	need_equal(lh_locks_close(elsewhere), 0);
}

static inline lh_handle *hold_elsewhere(const char *key)
{
	lh_handle *handle = NULL;

	need_equal(lh_acquire(elsewhere, key, LH_FOREVER, NULL, &handle), 0);
	return handle;
}

static inline lh_handle *hold_shared_elsewhere(const char *key)
{
	static const struct lh_acquire_options shared = { .mode = LH_SHARED };
	lh_handle *handle = NULL;

	need_equal(lh_acquire(elsewhere, key, LH_FOREVER, &shared, &handle), 0);
	return handle;
}

// ---- the server ----------------------------------------------------------------------------------

static inline struct packet_counts server_counts(void)
{
	return lock_server_counts(locks_scene.server);
}

static inline void hold_back(uint32_t ops)
{
	lock_server_hold_back(locks_scene.server, ops);
}

static inline void await_asked(uint64_t count)
{
	while (server_counts().asked < count)
		sched_yield();
}

static inline void await_granted(uint64_t count)
{
	while (server_counts().granted < count)
		sched_yield();
}

// ---- those who wait ------------------------------------------------------------------------------

struct waiter {
	lh_deadline deadline;
	const struct lh_acquire_options *options;
	void *context;
	pthread_t thread;
	int result;
	lh_handle *handle;
};

static inline void *wait_for_key(void *context)
{
	struct waiter *waiter = context;

	waiter->result = lh_acquire(locks_scene.locks, "key", waiter->deadline, waiter->options,
				    &waiter->handle);
	return NULL;
}

static inline void start_waiter(struct waiter *waiter, void *(*body)(void *waiter))
{
	need_equal(pthread_create(&waiter->thread, NULL, body, waiter), 0);
}

// How many of this process stand in the line of a key.
static inline unsigned length_of_line(const char *key)
{
	const struct provider_key wanted = { .bytes = key, .size = strlen(key) };
	struct pending_helper *helper = atomic_load(&locks_scene.locks->helper);
	struct cds_list_head *each;
	unsigned length = 0;
	struct queue *queue;

	if (!helper)
		return 0;
	pthread_mutex_lock(&helper->lock);
	queue = pending_find_queue(helper, &wanted);
	if (queue) {
		cds_list_for_each(each, &queue->waiting) length++;
	}
	pthread_mutex_unlock(&helper->lock);
	return length;
}

static inline void await_line(const char *key, unsigned length)
{
	while (length_of_line(key) != length)
		sched_yield();
}

static inline lh_pending *start(const char *key)
{
	lh_pending *pending = NULL;

	need_equal(lh_acquire_start(locks_scene.locks, key, LH_FOREVER, NULL, &pending), 0);
	return pending;
}

static inline lh_handle *await_grant(lh_pending *pending)
{
	struct pollfd poll_fd = { .fd = lh_pending_fd(pending), .events = POLLIN };
	lh_handle *handle = NULL;

	need_equal(poll(&poll_fd, 1, -1), 1);
	need_equal(lh_pending_finish(pending, &handle), 0);
	return handle;
}

#endif
