// SPDX-License-Identifier: Apache-2.0
// ctest: LABELS threads
//
// Named locks on a server: what the library does for all providers of such (docs/protocol/remote.md),
// with the tests' own server, which counts and keeps answers back as it is told. Who waits: one
// request for each key.
#include "tests/contract/remote.h"

// ---- one line ------------------------------------------------------------------------------------

enum { WAITERS = 20 };

struct counted {
	uint64_t number; // without atomics: under the lock
};

static void *wait_and_count(void *context)
{
	struct waiter *waiter = context;
	struct counted *counted = waiter->context;

	wait_for_key(waiter);
	need_equal(waiter->result, 0);
	counted->number++;
	let_go(waiter->handle);
	return NULL;
}

// "waiters of one process for one remote key queue locally with one request outstanding"; G1.
static void threads_that_want_a_key_are_one_request(void **state)
{
	struct counted counted = { .number = 0 };
	struct waiter waiters[WAITERS];
	lh_handle *handle = hold_elsewhere("key");

	(void)state;
	for (int i = 0; i < WAITERS; i++) {
		waiters[i] = (struct waiter){ .deadline = LH_FOREVER, .context = &counted };
		start_waiter(&waiters[i], wait_and_count);
	}
	await_line("key", WAITERS);
	await_asked(2); // the holder's, and theirs
	assert_int_equal(server_counts().waiting, 1);
	let_go(handle);
	for (int i = 0; i < WAITERS; i++)
		pthread_join(waiters[i].thread, NULL);
	assert_int_equal(counted.number, WAITERS);
	assert_int_equal(server_counts().asked, 1 + WAITERS);
	assert_int_equal(server_counts().asked_at_once, 1);
	assert_int_equal(server_counts().held, 0);
	close_both();
}

static void a_call_and_a_pending_acquire_stand_in_one_line(void **state)
{
	struct waiter waiters[2] = { { .deadline = LH_FOREVER }, { .deadline = LH_FOREVER } };
	lh_handle *handle = hold_elsewhere("key"), *other;
	uint64_t last = lh_handle_token(handle);
	lh_pending *pending[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		start_waiter(&waiters[i], wait_for_key);
		await_line("key", 2 * i + 1);
		pending[i] = start("key");
		await_line("key", 2 * i + 2);
	}
	let_go(handle);
	for (int i = 0; i < 2; i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].result, 0);
		assert_int_equal(lh_handle_token(waiters[i].handle), ++last);
		assert_int_equal(lh_pending_finish(pending[i], &other), -EINPROGRESS);
		let_go(waiters[i].handle);
		other = await_grant(pending[i]);
		assert_int_equal(lh_handle_token(other), ++last);
		let_go(other);
	}
	close_both();
}

// ---- leaving -------------------------------------------------------------------------------------

// G10: its own deadline, whatever the server does; and the request is the next one's.
static void who_times_out_leaves_the_request_to_the_next(void **state)
{
	lh_handle *handle = hold_elsewhere("key");
	struct waiter first = { .deadline = lh_deadline_after(LH_SEC(2)) };
	struct waiter next = { .deadline = LH_FOREVER };

	(void)state;
	start_waiter(&first, wait_for_key);
	await_line("key", 1);
	await_asked(2);
	start_waiter(&next, wait_for_key);
	await_line("key", 2);
	pthread_join(first.thread, NULL);
	assert_int_equal(first.result, -ETIMEDOUT);
	assert_true(lh_now() >= first.deadline.ns);
	await_line("key", 1);
	let_go(handle);
	pthread_join(next.thread, NULL);
	assert_int_equal(next.result, 0);
	assert_int_equal(server_counts().asked, 2);
	assert_int_equal(server_counts().withdrawn, 0);
	let_go(next.handle);
	close_both();
}

// G10
static void who_is_cancelled_leaves_and_the_last_withdraws_the_request(void **state)
{
	struct lh_acquire_options options = { .mode = LH_EXCLUSIVE };
	lh_handle *handle = hold_elsewhere("key");
	struct waiter waiters[3];

	(void)state;
	assert_int_equal(lh_cancel_create(&options.cancel), 0);
	for (unsigned i = 0; i < 3; i++) {
		waiters[i] = (struct waiter){ .deadline = LH_FOREVER, .options = &options };
		start_waiter(&waiters[i], wait_for_key);
	}
	await_line("key", 3);
	await_asked(2);
	lh_cancel_fire(options.cancel);
	for (int i = 0; i < 3; i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].result, -ECANCELED);
	}
	lh_cancel_destroy(options.cancel);
	while (server_counts().waiting)
		sched_yield();
	assert_int_equal(server_counts().asked, 2);
	let_go(handle);
	assert_int_equal(attempt("key", NULL), 0);
	close_both();
}

// Who comes next wants it otherwise: the request of who has left is of no use.
static void a_request_for_something_else_is_withdrawn(void **state)
{
	static const struct lh_acquire_options shared = { .mode = LH_SHARED };
	lh_handle *handle = hold_elsewhere("key");
	struct waiter first = { .deadline = lh_deadline_after(LH_SEC(2)) };
	struct waiter next = { .deadline = LH_FOREVER, .options = &shared };

	(void)state;
	start_waiter(&first, wait_for_key);
	await_line("key", 1);
	start_waiter(&next, wait_for_key);
	await_line("key", 2);
	pthread_join(first.thread, NULL);
	assert_int_equal(first.result, -ETIMEDOUT);
	await_asked(3);
	let_go(handle);
	pthread_join(next.thread, NULL);
	assert_int_equal(next.result, 0);
	handle = hold_shared_elsewhere("key");
	let_go(handle);
	let_go(next.handle);
	assert_int_equal(server_counts().withdrawn, 1);
	assert_int_equal(server_counts().held, 0);
	close_both();
}

// ---- answers that come late ----------------------------------------------------------------------

// G6: what was granted to a request whose waiter has left is the next one's.
static void a_late_grant_is_given_to_the_next(void **state)
{
	struct waiter first = { .deadline = lh_deadline_after(LH_SEC(2)) };
	struct waiter next = { .deadline = LH_FOREVER };

	(void)state;
	hold_back(LOCK_SERVER_OP(PACKET_ASK));
	start_waiter(&first, wait_for_key);
	await_line("key", 1);
	start_waiter(&next, wait_for_key);
	await_line("key", 2);
	pthread_join(first.thread, NULL);
	assert_int_equal(first.result, -ETIMEDOUT);
	await_granted(1);
	hold_back(0);
	pthread_join(next.thread, NULL);
	assert_int_equal(next.result, 0);
	assert_int_equal(lh_handle_token(next.handle), 1);
	let_go(next.handle);
	assert_int_equal(server_counts().granted, 1);
	close_both();
}

// G6: and with nobody left it is given back, be its answer there or not.
static void a_late_grant_that_nobody_wants_is_given_back(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 20; i++) {
		struct waiter waiter = { .deadline = lh_deadline_after(LH_MS(1) * i) };

		hold_back(LOCK_SERVER_OP(PACKET_ASK));
		start_waiter(&waiter, wait_for_key);
		if (i % 2) // the answer comes about when the deadline does
			usleep(900 * (useconds_t)i);
		while (i % 2 == 0 && lh_now() < waiter.deadline.ns + LH_MS(5))
			usleep(500);
		hold_back(0);
		pthread_join(waiter.thread, NULL);
		if (waiter.result == 0)
			let_go(waiter.handle);
		else
			assert_int_equal(waiter.result, -ETIMEDOUT);
		while (server_counts().held || server_counts().waiting)
			sched_yield();
		let_go(hold_elsewhere("key"));
	}
	close_both();
}

// G3: nor does anybody get one that is over by the time it is told of.
static void a_grant_that_ended_before_it_was_told_is_asked_for_anew(void **state)
{
	static const struct lh_acquire_options brief = { .ttl_ns = LH_MS(200) };
	struct waiter waiter = { .deadline = LH_FOREVER, .options = &brief };
	uint64_t before;

	(void)state;
	hold_back(LOCK_SERVER_OP(PACKET_ASK));
	start_waiter(&waiter, wait_for_key);
	await_granted(1);
	while (server_counts().held)
		usleep(1000);
	before = lh_now();
	hold_back(0);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.result, 0);
	assert_true(lh_handle_token(waiter.handle) >= 2);
	await_end(waiter.handle);
	assert_true(lh_now() >= before + brief.ttl_ns - brief.ttl_ns / 8);
	assert_int_equal(lh_handle_release(waiter.handle), -ESTALE);
	close_both();
}

// "from the grant on": of a TTL at most an eighth has gone by, however long the wait.
static void the_ttl_is_nearly_whole_however_long_the_wait(void **state)
{
	static const struct lh_acquire_options options = { .ttl_ns = LH_SEC(2) };
	struct waiter waiter = { .deadline = LH_FOREVER, .options = &options };
	lh_handle *handle = hold_elsewhere("key");
	uint64_t before, remaining;

	(void)state;
	start_waiter(&waiter, wait_for_key);
	await_line("key", 1);
	await_asked(2);
	before = lh_now();
	while (lh_now() < before + options.ttl_ns / 2)
		usleep(1000);
	before = lh_now();
	let_go(handle);
	pthread_join(waiter.thread, NULL);
	remaining = lh_handle_remaining(waiter.handle);
	assert_true(lh_now() + remaining >= before + options.ttl_ns - options.ttl_ns / 8);
	assert_int_equal(server_counts().asked, 2);
	let_go(waiter.handle);
	close_both();
}

// ---- who may not wait ----------------------------------------------------------------------------

static void who_may_not_wait_waits_for_the_answer_alone(void **state)
{
	static const struct lh_acquire_options shared = { .mode = LH_SHARED };
	struct waiter waiters[3];
	lh_handle *handle;

	(void)state;
	hold_back(LOCK_SERVER_OP(PACKET_ASK));
	for (unsigned i = 0; i < 3; i++) { // none is refused for being behind another of them
		waiters[i] = (struct waiter){ .deadline = LH_NOW, .options = &shared };
		start_waiter(&waiters[i], wait_for_key);
		await_line("key", i + 1);
	}
	hold_back(0);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].result, 0);
	}
	for (unsigned i = 0; i < 3; i++)
		let_go(waiters[i].handle);
	// But for being behind one who waits.
	handle = hold_elsewhere("key");
	waiters[0] = (struct waiter){ .deadline = LH_FOREVER };
	start_waiter(&waiters[0], wait_for_key);
	await_line("key", 1);
	assert_int_equal(attempt("key", NULL), -EBUSY);
	assert_int_equal(attempt("key", &shared), -EBUSY);
	let_go(handle);
	pthread_join(waiters[0].thread, NULL);
	let_go(waiters[0].handle);
	close_both();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REMOTE_TEST(threads_that_want_a_key_are_one_request),
		REMOTE_TEST(a_call_and_a_pending_acquire_stand_in_one_line),
		REMOTE_TEST(who_times_out_leaves_the_request_to_the_next),
		REMOTE_TEST(who_is_cancelled_leaves_and_the_last_withdraws_the_request),
		REMOTE_TEST(a_request_for_something_else_is_withdrawn),
		REMOTE_TEST(a_late_grant_is_given_to_the_next),
		REMOTE_TEST(a_late_grant_that_nobody_wants_is_given_back),
		REMOTE_TEST(a_grant_that_ended_before_it_was_told_is_asked_for_anew),
		REMOTE_TEST(the_ttl_is_nearly_whole_however_long_the_wait),
		REMOTE_TEST(who_may_not_wait_waits_for_the_answer_alone),
	};

	return remote_run(tests);
}
