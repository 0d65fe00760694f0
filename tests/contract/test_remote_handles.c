// SPDX-License-Identifier: Apache-2.0
// ctest: LABELS threads
//
// Handles of named locks on a server: renewing together, and loss, by the local clock alone
// (docs/protocol/remote.md).
#include "tests/contract/remote.h"

#include <signal.h>

static void count(void *context)
{
	atomic_fetch_add((_Atomic int *)context, 1);
}

// ---- renewing ------------------------------------------------------------------------------------

// "renewals on one server travel together"
static void renewals_of_a_thousand_handles_go_in_few_messages(void **state)
{
	enum { MANY = 1000, ROUNDS = 2 };
	static const struct lh_acquire_options options = { .ttl_ns = LH_SEC(60),
							   .flags = LH_LEASE_AUTO_RENEW,
							   .renew_every_ns = LH_SEC(1) };
	static lh_handle *handles[MANY];
	struct packet_counts counts;
	char key[24];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		handles[i] = hold(key, &options);
	}
	do {
		usleep(10000);
		counts = server_counts();
	} while (counts.renewed_items < (uint64_t)MANY * ROUNDS);
	printf("%" PRIu64 " renewals in %" PRIu64 " messages\n", counts.renewed_items,
	       counts.renew_packets);
	assert_true(counts.renew_packets * 20 <= counts.renewed_items);
	for (int i = 0; i < MANY; i++) {
		assert_true(lh_handle_remaining(handles[i]) > LH_SEC(30));
		let_go(handles[i]);
	}
	close_both();
}

static const char *const three[] = { "a", "b", "key" };

static void *wait_for_three(void *context)
{
	struct waiter *waiter = context;

	waiter->result = lh_acquire_all(locks_scene.locks, three, 3, waiter->deadline,
					waiter->options, &waiter->handle);
	return NULL;
}

// "one handle": what is had is renewed while the others are waited for, and then it is one TTL.
static void several_keys_are_renewed_and_lost_together(void **state)
{
	static const struct lh_acquire_options renewed = { .ttl_ns = LH_MS(1000),
							   .flags = LH_LEASE_AUTO_RENEW,
							   .renew_every_ns = LH_MS(100) };
	static const struct lh_acquire_options brief = { .ttl_ns = LH_MS(600) };
	struct waiter waiter = { .deadline = LH_FOREVER, .options = &brief };
	lh_handle *handle = hold_elsewhere("key");
	uint64_t until;

	(void)state;
	start_waiter(&waiter, wait_for_three);
	await_line("key", 1);
	until = lh_now() + LH_MS(1000);
	while (lh_now() < until)
		usleep(1000);
	until = lh_now();
	let_go(handle);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.result, 0);
	await_end(waiter.handle); // it was renewed no more
	assert_true(lh_now() >= until + brief.ttl_ns);
	for (int i = 0; i < 3; i++)
		let_go(hold_elsewhere(three[i]));
	assert_int_equal(lh_handle_release(waiter.handle), -ESTALE);

	waiter.options = &renewed;
	wait_for_three(&waiter);
	assert_int_equal(waiter.result, 0);
	until = lh_now() + LH_MS(1200);
	while (lh_now() < until) {
		assert_true(lh_handle_valid(waiter.handle));
		usleep(1000);
	}
	let_go(waiter.handle);
	close_both();
}

// No later than it is.
static uint64_t end_of(const lh_handle *handle)
{
	const uint64_t now = lh_now();

	return now + lh_handle_remaining(handle);
}

// No earlier.
static uint64_t latest_end_of(const lh_handle *handle)
{
	const uint64_t left = lh_handle_remaining(handle);

	return lh_now() + left;
}

// G3: "loss latches at a local deadline counted from the *start* of the request that renewed it".
static void a_slow_renewal_counts_from_its_start(void **state)
{
	static const struct lh_acquire_options options = { .ttl_ns = LH_SEC(20),
							   .flags = LH_LEASE_AUTO_RENEW,
							   .renew_every_ns = LH_MS(200),
							   .max_renewals = 1 };
	lh_handle *handle;
	uint64_t end, renewed_ns;

	(void)state;
	hold_back(LOCK_SERVER_OP(PACKET_RENEW));
	handle = hold("key", &options);
	end = latest_end_of(handle);
	while (!server_counts().renew_packets)
		usleep(1000);
	renewed_ns = server_counts().renewed_ns;
	while (lh_now() < renewed_ns + LH_MS(500))
		usleep(1000);
	assert_true(end_of(handle) <= end); // nothing before the answer
	hold_back(0);
	while (end_of(handle) <= end)
		usleep(100);
	assert_true(end_of(handle) <= renewed_ns + options.ttl_ns);
	let_go(handle);
	close_both();
}

// G4: though the server has renewed it. A release meanwhile does not wait for the answer.
static void an_answer_after_the_end_revives_nothing(void **state)
{
	static const struct lh_acquire_options often = { .ttl_ns = LH_SEC(20),
							 .flags = LH_LEASE_AUTO_RENEW,
							 .renew_every_ns = LH_MS(10) };
	static const struct lh_acquire_options renewed = { .ttl_ns = LH_MS(600),
							   .flags = LH_LEASE_AUTO_RENEW };
	_Atomic int calls = 0;
	struct lh_acquire_options options = renewed;
	struct pollfd descriptor = { .events = POLLIN };
	lh_handle *handle, *released;
	uint64_t packets;

	(void)state;
	options.on_loss = count;
	options.context = &calls;
	hold_back(LOCK_SERVER_OP(PACKET_RENEW));
	released = hold("other", &renewed);
	handle = hold("key", &options);
	descriptor.fd = lh_handle_loss_fd(handle);
	assert_true(descriptor.fd >= 0);
	while (!server_counts().renew_packets)
		usleep(1000);
	(void)lh_handle_release(released);
	assert_int_equal(poll(&descriptor, 1, -1), 1);
	assert_false(lh_handle_valid(handle));
	released = hold("other", &often);
	packets = server_counts().renew_packets;
	hold_back(0);
	while (server_counts().renew_packets == packets) // the answer before has been read then
		usleep(100);
	assert_false(lh_handle_valid(handle));
	assert_int_equal(lh_handle_extend(handle, LH_SEC(10)), -ESTALE);
	assert_false(lh_handle_valid(handle));
	while (atomic_load(&calls) == 0)
		sched_yield();
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	handle = hold_elsewhere("key");
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED); // G12
	let_go(handle);
	let_go(released);
	assert_int_equal(atomic_load(&calls), 1);
	close_both();
}

// "a release ends the renewals": also of one that is out.
static void what_was_released_is_the_next_ones_though_its_renewal_is_out(void **state)
{
	static const struct lh_acquire_options options = { .ttl_ns = LH_SEC(20),
							   .flags = LH_LEASE_AUTO_RENEW,
							   .renew_every_ns = LH_MS(20) };
	lh_handle *handle, *next;

	(void)state;
	hold_back(LOCK_SERVER_OP(PACKET_RENEW));
	handle = hold("key", &options);
	while (!server_counts().renew_packets)
		usleep(1000);
	let_go(handle);
	next = hold_elsewhere("key");
	assert_int_equal(lh_handle_flags(next), 0);
	hold_back(0);
	let_go(hold("other", NULL));
	assert_true(lh_handle_valid(next));
	let_go(next);
	close_both();
}

// ---- the server is gone --------------------------------------------------------------------------

static void without_a_server_a_handle_is_lost_at_its_own_end(void **state)
{
	_Atomic int calls = 0;
	const struct lh_acquire_options options = { .ttl_ns = LH_MS(500),
						    .flags = LH_LEASE_AUTO_RENEW,
						    .on_loss = count,
						    .context = &calls };
	lh_handle *handle = hold("key", &options), *held = hold_elsewhere("other");
	struct pollfd descriptor = { .fd = lh_handle_loss_fd(handle), .events = POLLIN };
	lh_pending *pending = start("other");
	struct waiter waiter = { .deadline = LH_FOREVER };
	uint64_t end;
	int result;

	(void)state;
	start_waiter(&waiter, wait_for_key);
	await_line("key", 1);
	await_line("other", 1);
	await_asked(4);
	peer_kill(&locks_scene.server_peer);
	end = end_of(handle);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.result, -ENOTCONN);
	assert_non_null(strstr(lh_strerror(waiter.result), "provider"));
	do {
		result = lh_pending_finish(pending, &held);
	} while (result == -EINPROGRESS);
	assert_int_equal(result, -ENOTCONN);
	assert_int_equal(poll(&descriptor, 1, -1), 1);
	assert_true(lh_now() >= end); // G3: not one nanosecond earlier
	while (atomic_load(&calls) == 0)
		sched_yield();
	assert_false(lh_handle_valid(handle));
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	assert_int_equal(attempt("key", NULL), -ENOTCONN);
	assert_int_equal(atomic_load(&calls), 1);
	assert_int_equal(lh_handle_release(held), -ENOTCONN);
	close_both();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REMOTE_TEST(renewals_of_a_thousand_handles_go_in_few_messages),
		REMOTE_TEST(several_keys_are_renewed_and_lost_together),
		REMOTE_TEST(a_slow_renewal_counts_from_its_start),
		REMOTE_TEST(an_answer_after_the_end_revives_nothing),
		REMOTE_TEST(what_was_released_is_the_next_ones_though_its_renewal_is_out),
		REMOTE_TEST(without_a_server_a_handle_is_lost_at_its_own_end),
	};

	return remote_run(tests);
}
