// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
//
// Named locks: who is granted them, and when; and keys. Runs on any provider (tests/contract/locks.h).
#include "tests/contract/locks.h"

#include <pthread.h>

#include "tests/support/tier.h"

static const struct lh_acquire_options shared = { .mode = LH_SHARED };

// ---- exclusion -----------------------------------------------------------------------------------

enum { CONTENDERS = 100, ROUNDS = 10 };
// Quick: valgrind's tier, where a hundred that wake every 2 ms (it has no futex_waitv) leave the
// one inside no time to leave.
#define QUICK_CONTENDERS 25

struct counters {
	uint64_t first, second; // without atomics: under the lock
	uint64_t token;
};

static void contend(const struct line *line, void *context)
{
	struct counters *counters = (struct counters *)context;

	line_say(line, 1);
	line_hear(line); // all at once
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	for (int i = 0; i < ROUNDS; i++) {
		lh_handle *handle = hold("the door", NULL);

		need(counters->first == counters->second);
		need(lh_handle_token(handle) > counters->token); // G5
		counters->token = lh_handle_token(handle);
		counters->first++;
		if (i % 4 == 0)
			sched_yield();
		counters->second++;
		need(counters->first == counters->second);
		let_go(handle);
	}
	close_all();
}

// G1, G5
static void of_a_hundred_contenders_one_is_inside(void **state)
{
	struct counters *counters = locks_share(sizeof(*counters));
	const uint64_t contenders = tier_pick(QUICK_CONTENDERS, CONTENDERS, CONTENDERS);
	struct peer peers[CONTENDERS];

	(void)state;
	for (uint64_t i = 0; i < contenders; i++)
		peers[i] = peer_start(contend, counters);
	for (uint64_t i = 0; i < contenders; i++)
		line_hear(&peers[i].line);
	for (uint64_t i = 0; i < contenders; i++)
		line_say(&peers[i].line, 1);
	for (uint64_t i = 0; i < contenders; i++)
		peer_join(&peers[i]);
	assert_int_equal(counters->first, contenders * ROUNDS);
	close_all();
}

// ---- waiting -------------------------------------------------------------------------------------

static void who_may_not_wait_is_busy_and_who_waits_too_long_times_out(void **state)
{
	lh_handle *handle = hold("key", NULL), *other = NULL;
	const uint64_t before = lh_now();

	(void)state;
	assert_int_equal(attempt("key", NULL), -EBUSY);
	assert_int_equal(attempt("key", &shared), -EBUSY);
	assert_non_null(strstr(lh_error_detail(), "key"));
	assert_int_equal(
		lh_acquire(locks_scene.locks, "key", lh_deadline_after(LH_MS(20)), NULL, &other),
		-ETIMEDOUT);
	assert_true(lh_now() >= before + LH_MS(20));
	assert_null(other);
	let_go(handle);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

static void *fire(void *cancel)
{
	sched_yield();
	lh_cancel_fire((lh_cancel *)cancel);
	return NULL;
}

// G10
static void a_cancel_ends_the_wait_and_nothing_else(void **state)
{
	struct lh_acquire_options options = { .mode = LH_EXCLUSIVE };
	lh_handle *handle = hold("key", NULL), *other;
	pthread_t thread;

	(void)state;
	assert_int_equal(lh_cancel_create(&options.cancel), 0);
	assert_int_equal(pthread_create(&thread, NULL, fire, options.cancel), 0);
	assert_int_equal(lh_acquire(locks_scene.locks, "key", LH_FOREVER, &options, &other),
			 -ECANCELED);
	pthread_join(thread, NULL);
	// It has latched: even a free key is not looked at.
	assert_int_equal(lh_acquire(locks_scene.locks, "other", LH_FOREVER, &options, &other),
			 -ECANCELED);
	assert_int_equal(attempt("other", NULL), 0);
	let_go(handle);
	lh_cancel_destroy(options.cancel);
	close_all();
}

struct waiter {
	const struct lh_acquire_options *options;
	_Atomic int started;
	int result;
	lh_handle *handle;
};

static void *wait_for_key(void *context)
{
	struct waiter *waiter = context;

	atomic_store(&waiter->started, 1);
	waiter->result = lh_acquire(locks_scene.locks, "key", LH_FOREVER, waiter->options,
				    &waiter->handle);
	return NULL;
}

// "from the grant on": who waits for longer than the TTL does not lose the lock in the queue.
static void the_ttl_begins_with_the_grant(void **state)
{
	const struct lh_acquire_options brief = { .ttl_ns = LH_MS(100) };
	struct waiter waiter = { .options = &brief };
	const uint64_t until = lh_now() + LH_MS(250);
	lh_handle *handle;
	pthread_t thread;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	handle = hold("key", NULL);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_key, &waiter), 0);
	while (!atomic_load(&waiter.started) || lh_now() < until)
		sched_yield();
	let_go(handle);
	pthread_join(thread, NULL);
	assert_int_equal(waiter.result, 0);
	await_end(waiter.handle); // and then it is not renewed
	assert_true(lh_now() >= until + LH_MS(100));
	assert_int_equal(lh_handle_release(waiter.handle), -ESTALE);
	close_all();
}

static void *wait_in_vain(void *context)
{
	struct waiter *waiter = context;

	atomic_store(&waiter->started, 1);
	waiter->result = lh_acquire(locks_scene.locks, "key", lh_deadline_after(LH_MS(100)), NULL,
				    &waiter->handle);
	for (;;) {
		pthread_testcancel();
		sched_yield();
	}
	return NULL;
}

// "no call of the library is a cancellation point" (docs/architecture.md): else what is locked
// meanwhile would stay so up to the process's end.
static void a_cancelled_thread_ends_after_its_wait_and_leaves_nothing(void **state)
{
	struct waiter waiter = { .result = 1 };
	lh_handle *handle = hold("key", NULL);
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wait_in_vain, &waiter), 0);
	while (!atomic_load(&waiter.started))
		sched_yield();
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(waiter.result, -ETIMEDOUT);
	let_go(handle);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

// ---- loss ----------------------------------------------------------------------------------------

// G2, G5, G12
static void what_the_dead_held_is_granted_and_told_until_it_is_repaired(void **state)
{
	lh_handle *handle;
	uint64_t token = 0;

	(void)state;
	for (int round = 0; round < 3; round++) {
		const uint64_t dead = locks_die_holding("key", NULL);

		assert_true(dead > token);
		handle = hold("key", NULL);
		assert_true(lh_handle_token(handle) > dead);
		assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
		let_go(handle); // not repaired
		handle = hold("key", &shared);
		assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
		assert_int_equal(lh_handle_consistent(handle), -EPERM);
		let_go(handle);
		handle = hold("key", NULL);
		assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
		assert_int_equal(lh_handle_consistent(handle), 0);
		token = lh_handle_token(handle);
		let_go(handle);
		handle = hold("key", NULL);
		assert_int_equal(lh_handle_flags(handle), 0);
		let_go(handle);
	}
	// A reader that dies damages nothing.
	locks_die_holding("key", &shared);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), 0);
	let_go(handle);
	close_all();
}

static void wait_and_say(const struct line *line, void *context)
{
	lh_handle *handle;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	handle = hold("key", NULL);
	line_say(line, lh_handle_flags(handle));
	let_go(handle);
	close_all();
}

// G2, G8: those who wait when the holder dies are granted one after the other.
static void who_waits_for_the_dead_goes_on(void **state)
{
	struct locks_holding holding = { "key", NULL };
	struct peer holder = peer_start(locks_hold_and_stay, &holding), waiters[4];

	(void)state;
	assert_true(line_hear(&holder.line) > 0);
	for (int i = 0; i < 4; i++) {
		waiters[i] = peer_start(wait_and_say, NULL);
		assert_int_equal(line_hear(&waiters[i].line), 1);
	}
	peer_kill(&waiters[0]); // asleep by now, or about to be
	peer_kill(&holder);
	for (int i = 1; i < 4; i++) {
		assert_int_equal(line_hear(&waiters[i].line), LH_GRANT_OWNER_DIED);
		peer_join(&waiters[i]);
	}
	close_all();
}

// ---- shared and exclusive ------------------------------------------------------------------------

static void the_shared_exclude_the_exclusive_alone(void **state)
{
	lh_handle *writer = hold("key", NULL), *readers[3];
	const uint64_t token = lh_handle_token(writer);

	(void)state;
	let_go(writer);
	for (int i = 0; i < 3; i++) {
		readers[i] = hold("key", &shared);
		// A writer that gave up may have moved it.
		assert_true(i ? lh_handle_token(readers[i]) >= token
			      : lh_handle_token(readers[i]) == token);
		assert_int_equal(attempt("key", NULL), -EBUSY);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(attempt("key", NULL), -EBUSY);
		let_go(readers[i]);
	}
	writer = hold("key", NULL);
	assert_true(lh_handle_token(writer) > token);
	assert_int_equal(attempt("key", &shared), -EBUSY);
	let_go(writer);
	close_all();
}

static void read_on(const struct line *line, void *context)
{
	_Atomic uint32_t *inside = context;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	for (;;) {
		lh_handle *handle = hold("key", &shared);

		atomic_fetch_add(inside, 1);
		sched_yield();
		atomic_fetch_sub(inside, 1);
		let_go(handle);
	}
}

// Readers that overlap for ever: a writer gets in all the same, and is alone.
static void a_writer_is_not_starved(void **state)
{
	_Atomic uint32_t *inside = locks_share(sizeof(*inside));
	struct peer readers[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		readers[i] = peer_start(read_on, inside);
		line_hear(&readers[i].line);
	}
	for (int i = 0; i < 50; i++) {
		lh_handle *handle = hold("key", NULL);

		assert_int_equal(atomic_load(inside), 0);
		let_go(handle);
	}
	for (int i = 0; i < 4; i++)
		peer_kill(&readers[i]);
	close_all();
}

// ---- several keys --------------------------------------------------------------------------------

static void all_or_nothing(void **state)
{
	static const char *const keys[] = { "c", "a", "b" };
	static const struct lh_acquire_options in_order = { .flags = LH_ACQUIRE_IN_ORDER };
	lh_handle *handle, *other = NULL;

	(void)state;
	for (int i = 0; i < 3; i++) { // blocked on each in turn, so on the last, too
		handle = hold(keys[i], NULL);
		assert_int_equal(lh_acquire_all(locks_scene.locks, keys, 3, LH_NOW,
						i == 2 ? &in_order : NULL, &other),
				 -EBUSY);
		assert_int_equal(lh_acquire_all(locks_scene.locks, keys, 3,
						lh_deadline_after(LH_MS(5)), NULL, &other),
				 -ETIMEDOUT);
		assert_null(other);
		for (int j = 0; j < 3; j++)
			assert_int_equal(attempt(keys[j], NULL), j == i ? -EBUSY : 0);
		let_go(handle);
	}
	assert_int_equal(lh_acquire_all(locks_scene.locks, keys, 3, LH_NOW, NULL, &handle), 0);
	for (int j = 0; j < 3; j++)
		assert_int_equal(attempt(keys[j], &shared), -EBUSY);
	// The token of the last in the list: what "b" has next is one more.
	other = NULL;
	const uint64_t token = lh_handle_token(handle);
	let_go(handle);
	handle = hold("b", NULL);
	assert_int_equal(lh_handle_token(handle), token + 1);
	let_go(handle);
	for (int j = 0; j < 3; j++)
		assert_int_equal(attempt(keys[j], NULL), 0);
	close_all();
}

static void no_keys_or_the_same_twice_is_invalid(void **state)
{
	static const char *const twice[] = { "a", "b", "a" }, *const missing[] = { "a", NULL };
	lh_handle *handle;

	(void)state;
	assert_int_equal(lh_acquire_all(locks_scene.locks, twice, 3, LH_NOW, NULL, &handle),
			 -EINVAL);
	assert_non_null(strstr(lh_error_detail(), "\"a\""));
	assert_int_equal(lh_acquire_all(locks_scene.locks, twice, 0, LH_NOW, NULL, &handle),
			 -EINVAL);
	assert_int_equal(lh_acquire_all(locks_scene.locks, missing, 2, LH_NOW, NULL, &handle),
			 -EINVAL);
	assert_int_equal(attempt("a", NULL), 0);
	close_all();
}

static void take_both(const struct line *line, void *context)
{
	static const char *const orders[2][2] = { { "left", "right" }, { "right", "left" } };
	const int which = *(const int *)context;
	lh_handle *handle;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	line_hear(line);
	for (int i = 0; i < 100; i++) {
		need_equal(lh_acquire_all(locks_scene.locks, orders[which], 2, LH_FOREVER, NULL,
					  &handle),
			   0);
		let_go(handle);
	}
	close_all();
}

static void opposite_orders_do_not_deadlock(void **state)
{
	struct peer peers[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		int which = i % 2;

		peers[i] = peer_start(take_both, &which);
		line_hear(&peers[i].line);
	}
	for (int i = 0; i < 4; i++)
		line_say(&peers[i].line, 1);
	for (int i = 0; i < 4; i++)
		peer_join(&peers[i]);
	close_all();
}

static void take_all(const struct line *line, void *context)
{
	static const char *const keys[] = { "right", "left" };
	const struct lh_acquire_options *options = context;
	lh_handle *handle;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	need_equal(lh_acquire_all(locks_scene.locks, keys, 2, LH_FOREVER, options, &handle), 0);
	let_go(handle);
	close_all();
}

// Who waits for "left" has taken "right" before only if it asked for that order.
static void the_order_is_canonical_unless_another_is_asked_for(void **state)
{
	struct lh_acquire_options in_order = { .flags = LH_ACQUIRE_IN_ORDER };
	lh_handle *left = hold("left", NULL);
	struct peer peer = peer_start(take_all, NULL);
	uint64_t until;

	(void)state;
	line_hear(&peer.line);
	until = lh_now() + LH_MS(30);
	while (lh_now() < until)
		assert_int_equal(attempt("right", NULL), 0);
	let_go(left);
	peer_join(&peer);
	left = hold("left", NULL);
	peer = peer_start(take_all, &in_order);
	line_hear(&peer.line);
	while (attempt("right", NULL) == 0)
		sched_yield();
	assert_int_equal(attempt("right", NULL), -EBUSY);
	let_go(left);
	peer_join(&peer);
	close_all();
}

// ---- keys ----------------------------------------------------------------------------------------

static void keys_that_differ_are_different_locks(void **state)
{
	static char long_one[1000], long_other[1000], longest[LH_KEY_MAX + 1];
	static const struct {
		const void *bytes;
		size_t size;
	} keys[] = {
		{ "", 0 },
		{ "\0", 1 },
		{ "\0\0", 2 },
		{ "a", 1 },
		{ "A", 1 },
		{ "a\0", 2 },
		{ "a\0b", 3 },
		{ "../a", 4 },
		{ "a/", 2 },
		{ "%61", 3 },
		{ "\xff\xfe", 2 },
		{ long_one, 1000 },
		{ long_other, 1000 },
		{ longest, LH_KEY_MAX },
		{ long_one, 88 },
		{ long_one, 89 },
		{ long_one, 8 },
	};
	enum { COUNT = sizeof(keys) / sizeof(keys[0]) };
	lh_handle *handles[COUNT], *other;

	(void)state;
	memset(long_one, 'x', sizeof(long_one));
	memset(long_other, 'x', sizeof(long_other));
	long_other[999] = 'y';
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(lh_acquire_key(locks_scene.locks, keys[i].bytes, keys[i].size,
						LH_NOW, NULL, &handles[i]),
				 0);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(lh_acquire_key(locks_scene.locks, keys[i].bytes, keys[i].size,
						LH_NOW, NULL, &other),
				 -EBUSY);
	for (int i = 0; i < COUNT; i++)
		let_go(handles[i]);
	assert_int_equal(
		lh_acquire_key(locks_scene.locks, longest, LH_KEY_MAX + 1, LH_NOW, NULL, &other),
		-EMSGSIZE);
	assert_int_equal(lh_acquire_key(locks_scene.locks, NULL, 1, LH_NOW, NULL, &other), -EINVAL);
	assert_int_equal(lh_acquire_key(locks_scene.locks, NULL, 0, LH_NOW, NULL, &other), 0);
	let_go(other);
	close_all();
}

static void joined_keys_differ_where_their_parts_do(void **state)
{
	static const char *const lists[][3] = { { "a", "bc" },  { "ab", "c" },  { "abc", "" },
						{ "", "abc" },  { "a,", "bc" }, { "a", ",bc" },
						{ "1:a,", "" }, { "1:a", "," } };
	enum { COUNT = sizeof(lists) / sizeof(lists[0]) };
	char joined[COUNT][64], small[9];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		const ssize_t size = lh_key_join(joined[i], sizeof(joined[i]), lists[i], 2);

		assert_int_equal(size, strlen(joined[i]));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(joined[i], joined[j]);
	}
	// Exactly "1:a,2:bc," and its NUL.
	assert_int_equal(lh_key_join(small, sizeof(small), lists[0], 2), -EMSGSIZE);
	assert_int_equal(lh_key_join(joined[0], 10, lists[0], 2), 9);
	assert_int_equal(lh_key_join(joined[0], 64, lists[0], 1), 4);
	assert_int_equal(lh_key_join(joined[0], 64, lists[0], 0), 0);
	assert_int_equal(lh_key_join(NULL, 64, lists[0], 2), -EINVAL);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(of_a_hundred_contenders_one_is_inside),
		LOCKS_TEST(who_may_not_wait_is_busy_and_who_waits_too_long_times_out),
		LOCKS_TEST(a_cancel_ends_the_wait_and_nothing_else),
		LOCKS_TEST(the_ttl_begins_with_the_grant),
		LOCKS_TEST(a_cancelled_thread_ends_after_its_wait_and_leaves_nothing),
		LOCKS_TEST(what_the_dead_held_is_granted_and_told_until_it_is_repaired),
		LOCKS_TEST(who_waits_for_the_dead_goes_on),
		LOCKS_TEST(the_shared_exclude_the_exclusive_alone),
		LOCKS_TEST(a_writer_is_not_starved),
		LOCKS_TEST(all_or_nothing),
		LOCKS_TEST(no_keys_or_the_same_twice_is_invalid),
		LOCKS_TEST(opposite_orders_do_not_deadlock),
		LOCKS_TEST(the_order_is_canonical_unless_another_is_asked_for),
		LOCKS_TEST(keys_that_differ_are_different_locks),
		LOCKS_TEST(joined_keys_differ_where_their_parts_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
