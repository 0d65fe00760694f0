// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
//
// Named locks: handles and what becomes of them, and errors. Runs on any provider
// (tests/contract/locks.h).
#include "tests/contract/locks.h"

#include <signal.h>

#include "tests/support/tier.h"

static const struct lh_acquire_options shared = { .mode = LH_SHARED };
static const struct lh_acquire_options brief = { .ttl_ns = LH_MS(20) };

// ---- loss ----------------------------------------------------------------------------------------

// G3, G4: "release after loss and after another's acquisition harmless; extend after loss -ESTALE
// and not revived".
static void a_lost_handle_stays_lost_and_disturbs_nobody(void **state)
{
	locks_need(LH_CAP_TTL, "TTL");
	for (int taken = 0; taken < 2; taken++) {
		lh_handle *lost = hold("key", &brief), *next = NULL;

		(void)state;
		assert_true(lh_handle_remaining(lost) <= LH_MS(21));
		if (taken) // by who waits until the TTL has passed
			next = hold("key", NULL);
		else
			await_end(lost);
		assert_false(lh_handle_valid(lost));
		assert_int_equal(lh_handle_remaining(lost), 0);
		assert_int_equal(lh_handle_extend(lost, LH_SEC(10)), -ESTALE);
		assert_false(lh_handle_valid(lost));
		assert_int_equal(lh_handle_consistent(lost), -ESTALE);
		if (!taken)
			next = hold("key", NULL);
		assert_int_equal(lh_handle_flags(next), LH_GRANT_OWNER_DIED);
		assert_true(lh_handle_token(next) > lh_handle_token(lost));
		assert_int_equal(lh_handle_release(lost), -ESTALE);
		assert_true(lh_handle_valid(next));
		assert_int_equal(attempt("key", &shared), -EBUSY);
		assert_int_equal(lh_handle_consistent(next), 0);
		let_go(next);
	}
	close_all();
}

static void a_handle_is_extended_and_never_shortened(void **state)
{
	const struct lh_acquire_options options = { .ttl_ns = LH_SEC(100) };
	lh_handle *handle, *renewed;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	handle = hold("key", &options);
	renewed = hold("other", NULL);
	assert_int_equal(lh_handle_extend(handle, LH_SEC(1)), 0);
	assert_true(lh_handle_remaining(handle) > LH_SEC(50));
	assert_int_equal(lh_handle_extend(handle, LH_SEC(1000)), 0);
	assert_true(lh_handle_remaining(handle) > LH_SEC(900));
	assert_int_equal(lh_handle_extend(handle, 0), -EINVAL);
	assert_int_equal(lh_handle_extend(NULL, 1), -EINVAL);
	assert_int_equal(lh_handle_extend(renewed, LH_SEC(1000)), 0);
	assert_true(lh_handle_remaining(renewed) > LH_SEC(900));
	let_go(handle);
	let_go(renewed);
	renewed = hold("other", NULL); // "0: 30 s", whatever the one before was extended to
	assert_true(lh_handle_remaining(renewed) < LH_SEC(31));
	let_go(renewed);
	close_all();
}

// Whether a handle is kept for thrice its TTL. Not, if nobody was run to renew it for so long.
static bool is_kept(uint64_t ttl_ns)
{
	const struct lh_acquire_options options = { .ttl_ns = ttl_ns,
						    .flags = LH_LEASE_AUTO_RENEW };
	lh_handle *handle = hold("key", &options);
	const uint64_t until = lh_now() + 3 * ttl_ns + LH_MS(50);
	int taken;

	while (lh_now() < until && lh_handle_valid(handle))
		usleep(1000);
	taken = attempt("key", NULL);
	if (lh_handle_release(handle) == 0) {
		assert_int_equal(taken, -EBUSY);
		assert_int_equal(attempt("key", NULL), 0);
		return true;
	}
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_consistent(handle), 0);
	let_go(handle);
	return false;
}

static void renewal_keeps_a_handle_for_longer_than_its_ttl(void **state)
{
	uint64_t ttl_ns = tier_pick(LH_MS(300), LH_MS(500), LH_SEC(1));

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	while (!is_kept(ttl_ns))
		ttl_ns *= 2;
	close_all();
}

// A release ends the renewals, though the lease may be kept for others: the next handle is lost at
// its own TTL.
static void what_was_released_is_renewed_no_more(void **state)
{
	const struct lh_acquire_options renewed = { .ttl_ns = LH_SEC(1000),
						    .flags = LH_LEASE_AUTO_RENEW,
						    .renew_every_ns = LH_MS(5) };
	lh_handle *handle;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	for (int i = 0; i < 3; i++) {
		let_go(hold("key", &renewed));
		let_go(hold("key", NULL));
		handle = hold("key", &brief);
		await_end(handle);
		assert_int_equal(lh_handle_release(handle), -ESTALE);
		handle = hold("key", NULL);
		assert_int_equal(lh_handle_consistent(handle), 0);
		let_go(handle);
	}
	close_all();
}

// How often the handle's end moves before it is lost, `most` at most: never more often than it is
// renewed.
static unsigned count_renewals(const lh_handle *handle, uint64_t renew_every_ns, unsigned most)
{
	uint64_t end = lh_now() + lh_handle_remaining(handle);
	unsigned renewals = 0;

	while (renewals < most && lh_handle_valid(handle)) {
		const uint64_t before = lh_now(), left = lh_handle_remaining(handle);

		// Not what the clock's steps and a moment between two looks make of the same end.
		if (left && before + left > end + renew_every_ns / 2) {
			renewals++;
			end = before + left;
		}
		usleep(500);
	}
	return renewals;
}

// As many and no more; fewer only if nobody was run to renew it in time.
static void as_many_renewals_as_were_allowed(void **state)
{
	struct lh_acquire_options options = { .ttl_ns = LH_MS(60),
					      .flags = LH_LEASE_AUTO_RENEW,
					      .renew_every_ns = LH_MS(20),
					      .max_renewals = 2 };
	unsigned renewals;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	do {
		const uint64_t before = lh_now();
		lh_handle *handle = hold("key", &options);

		renewals = count_renewals(handle, options.renew_every_ns, options.max_renewals + 1);
		assert_in_range(renewals, 0, options.max_renewals);
		assert_true(lh_now() >= before + options.ttl_ns);
		assert_int_equal(lh_handle_release(handle), -ESTALE);
		assert_true(options.ttl_ns < LH_SEC(20));
		options.ttl_ns *= 2;
		options.renew_every_ns *= 2;
	} while (renewals < options.max_renewals);
	close_all();
}

static void count(void *context)
{
	atomic_fetch_add((_Atomic int *)context, 1);
}

static void loss_is_told_once_and_also_to_who_asks_late(void **state)
{
	_Atomic int calls = 0, never = 0;
	struct lh_acquire_options options = { .ttl_ns = LH_MS(20),
					      .on_loss = count,
					      .context = &calls };
	struct pollfd descriptor = { .events = POLLIN };
	lh_handle *handle;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	handle = hold("key", &options);
	while (atomic_load(&calls) == 0)
		sched_yield();
	assert_false(lh_handle_valid(handle));
	descriptor.fd = lh_handle_loss_fd(handle); // asked for after the loss
	assert_true(descriptor.fd >= 0);
	assert_int_equal(poll(&descriptor, 1, -1), 1);
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	assert_int_equal(atomic_load(&calls), 1);
	// Not of a handle that is released in time; whoever has its lease next.
	options = (struct lh_acquire_options){ .on_loss = count, .context = &never };
	handle = hold("other", &options);
	descriptor.fd = lh_handle_loss_fd(handle);
	assert_int_equal(poll(&descriptor, 1, 0), 0);
	let_go(handle);
	handle = hold("other", &brief);
	await_end(handle);
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	assert_int_equal(atomic_load(&never), 0);
	close_all();
}

// ---- lh_with -------------------------------------------------------------------------------------

static int body(lh_handle *handle, void *context)
{
	if (context) // its TTL is short
		await_end(handle);
	else
		assert_int_equal(attempt("key", NULL), -EBUSY);
	return 7;
}

static void with_a_lock_held_the_body_runs(void **state)
{
	lh_handle *handle;
	int lost = 1;

	(void)state;
	assert_int_equal(lh_with(locks_scene.locks, "key", LH_NOW, NULL, body, NULL), 7);
	if (lh_locks_capabilities(locks_scene.locks) & LH_CAP_TTL)
		assert_int_equal(lh_with(locks_scene.locks, "key", LH_NOW, &brief, body, &lost),
				 -ESTALE);
	assert_int_equal(attempt("key", NULL), 0);
	handle = hold("key", NULL);
	assert_int_equal(lh_with(locks_scene.locks, "key", LH_NOW, NULL, body, NULL), -EBUSY);
	assert_int_equal(lh_with(locks_scene.locks, "key", LH_NOW, NULL, NULL, NULL), -EINVAL);
	let_go(handle);
	close_all();
}

// ---- errors --------------------------------------------------------------------------------------

static void options_that_make_no_sense_are_refused(void **state)
{
	const struct lh_acquire_options wrong[] = {
		{ .reserved = { 0, 0, 1 } },
		{ .flags = 1u << 20 },
		{ .flags = LH_ACQUIRE_IN_ORDER }, // of one key
		{ .mode = (enum lh_mode)7 },
		{ .label = "a label of more than thirty-one bytes" },
		{ .ttl_ns = LH_SEC(1), .renew_every_ns = 1 },
		{ .ttl_ns = LH_SEC(1), .max_renewals = 1 },
		{ .ttl_ns = LH_SEC(1), .flags = LH_LEASE_AUTO_RENEW, .renew_every_ns = LH_SEC(1) },
		{ .renew_every_ns = LH_SEC(30) },
		{ .ttl_ns = UINT64_MAX },
	};
	const bool has_ttl = (lh_locks_capabilities(locks_scene.locks) & LH_CAP_TTL) != 0;
	lh_handle *handle;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const bool wants_ttl = wrong[i].ttl_ns || wrong[i].renew_every_ns;

		assert_int_equal(lh_acquire(locks_scene.locks, "key", LH_NOW, &wrong[i], &handle),
				 wants_ttl && !has_ttl ? -ENOTSUP : -EINVAL);
		assert_true(lh_error_detail()[0] != '\0');
	}
	assert_int_equal(lh_acquire(NULL, "key", LH_NOW, NULL, &handle), -EINVAL);
	assert_int_equal(lh_acquire(locks_scene.locks, NULL, LH_NOW, NULL, &handle), -EINVAL);
	assert_int_equal(lh_acquire(locks_scene.locks, "key", LH_NOW, NULL, NULL), -EINVAL);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

// "no silent weakening"
static void what_the_provider_cannot_do_is_refused(void **state)
{
	static const struct {
		unsigned capability;
		struct lh_acquire_options options;
	} wants[] = {
		{ LH_CAP_SHARED, { .mode = LH_SHARED } },
		{ LH_CAP_SEMAPHORE, { .max_holders = 1 } },
		{ LH_CAP_TTL, { .ttl_ns = LH_SEC(60) } },
		{ LH_CAP_TTL, { .max_renewals = 1 } },
		{ LH_CAP_TTL, { .renew_every_ns = LH_SEC(1) } },
		{ LH_CAP_INTENT, { .mode = LH_INTENT_SHARED } },
		{ LH_CAP_INTENT, { .mode = LH_INTENT_EXCLUSIVE } },
	};
	const unsigned capabilities = lh_locks_capabilities(locks_scene.locks);
	lh_handle *handle;

	(void)state;
	for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
		const bool can = (capabilities & wants[i].capability) != 0;

		assert_int_equal(
			lh_acquire(locks_scene.locks, "key", LH_NOW, &wants[i].options, &handle),
			can ? 0 : -ENOTSUP);
		if (can)
			assert_int_equal(lh_handle_release(handle), 0);
		else
			assert_true(lh_error_detail()[0] != '\0');
		if (!can && wants[i].capability == LH_CAP_TTL)
			assert_non_null(strstr(lh_error_detail(), "ttl_ns"));
	}
	close_all();
}

// What the two of this host can do is written down (docs/locks.md), and each test that skips what a
// provider lacks relies on it.
static void capabilities_are_those_that_the_documents_name(void **state)
{
	const unsigned both = LH_CAP_SHARED | LH_CAP_SEMAPHORE | LH_CAP_FENCING | LH_CAP_INTENT |
			      LH_CAP_DEATH_RELEASES;
	const unsigned capabilities = lh_locks_capabilities(locks_scene.locks);

	(void)state;
	if (strncmp(locks_scene.url, "shm:", 4) == 0)
		assert_int_equal(capabilities, both | LH_CAP_TTL | LH_CAP_DEADLOCK);
	else if (strncmp(locks_scene.url, "file:", 5) == 0)
		assert_int_equal(capabilities, both);
	else
		assert_true(capabilities & LH_CAP_SHARED);
	close_all();
}

static void a_url_that_is_wrong_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *url;
		int error;
		const char *word;
	} wrong[] = {
		{ "", -EINVAL, "URL" },
		{ "jobs", -EINVAL, "jobs" },
		{ "shm:/jobs", -EINVAL, "shm:/jobs" },
		{ "nothing://jobs", -ENOTSUP, "nothing" },
		{ "sh://jobs", -ENOTSUP, "sh" },
		{ "shm://", -EINVAL, "name" },
		{ "shm://jobs?size", -EINVAL, "size" },
		{ "shm://jobs?size=", -EINVAL, "size=" },
		{ "shm://jobs?size=-1", -EINVAL, "-1" },
		{ "shm://jobs?size=12x", -EINVAL, "12x" },
		{ "shm://jobs?mode=0999", -EINVAL, "0999" },
		{ "shm://jobs?color=red", -EINVAL, "color" },
		{ "shm://jobs?size=1M&", -EINVAL, "" },
		{ "shm:///nowhere/at/all", -ENOENT, "/nowhere/at" },
	};
	lh_locks *locks = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(lh_locks_open(wrong[i].url, &locks), wrong[i].error);
		assert_non_null(strstr(lh_error_detail(), wrong[i].word));
		assert_null(locks);
	}
	assert_int_equal(lh_locks_open(NULL, &locks), -EINVAL);
	assert_int_equal(lh_locks_open("shm://jobs", NULL), -EINVAL);
}

static void what_is_in_use_is_not_closed(void **state)
{
	lh_handle *handle = hold("key", NULL);

	(void)state;
	assert_true(lh_locks_capabilities(locks_scene.locks) & LH_CAP_SHARED);
	assert_int_equal(lh_locks_capabilities(NULL), 0);
	assert_int_equal(lh_locks_close(locks_scene.locks), -EBUSY);
	let_go(handle);
	assert_int_equal(lh_locks_close(locks_scene.locks), 0);
	assert_int_equal(lh_locks_close(NULL), 0);
	assert_int_equal(lh_handle_release(NULL), 0);
	assert_false(lh_handle_valid(NULL));
	assert_int_equal(lh_handle_token(NULL) + lh_handle_flags(NULL) + lh_handle_remaining(NULL),
			 0);
}

// ---- fork ----------------------------------------------------------------------------------------

static void use_inherited(const struct line *line, void *context)
{
	lh_handle *handle = context;

	(void)line;
	need(!lh_handle_valid(handle));
	need_equal(lh_handle_extend(handle, LH_SEC(1)), -ESTALE);
	need_equal(lh_handle_release(handle), -ESTALE);
	need_equal(attempt("key", NULL), -EBUSY); // the parent's
	need_equal(attempt("other", NULL), 0);
	let_go(hold("other", NULL));
	need_equal(lh_locks_close(locks_scene.locks), 0);
}

static void a_forked_child_has_none_of_its_parents_handles(void **state)
{
	lh_handle *handle = hold("key", NULL);
	struct peer peer;

	(void)state;
	let_go(hold("other", NULL)); // its lease is kept, and inherited
	peer = peer_start(use_inherited, handle);
	peer_join(&peer);
	assert_true(lh_handle_valid(handle));
	assert_int_equal(attempt("key", NULL), -EBUSY);
	let_go(handle);
	close_all();
}

// ---- the holder's process -------------------------------------------------------------------------

// Holds the key; once told to, says what it thinks of its handle.
static void hold_and_look(const struct line *line, void *context)
{
	const struct lh_acquire_options *options = context;
	lh_handle *handle;
	int error;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	error = lh_acquire(locks_scene.locks, "key", LH_FOREVER, options, &handle);
	line_say(line, error);
	if (error)
		return;
	line_hear(line);
	line_say(line, lh_handle_valid(handle));
	line_say(line, lh_handle_extend(handle, LH_SEC(10)));
	line_say(line, lh_handle_release(handle));
	close_all();
}

// G3, G4: its own thread renews nothing while it is stopped, and revives nothing afterwards: "a
// slow renewal is fenced at the TTL".
static void a_holder_stopped_past_its_ttl_has_lost_the_key(void **state)
{
	struct lh_acquire_options options = { .ttl_ns = LH_MS(50), .flags = LH_LEASE_AUTO_RENEW };
	lh_handle *handle;
	struct peer peer;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	peer = peer_start(hold_and_look, &options);
	assert_int_equal(line_hear(&peer.line), 0);
	assert_int_equal(kill(peer.pid, SIGSTOP), 0);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	assert_int_equal(kill(peer.pid, SIGCONT), 0);
	line_say(&peer.line, 1);
	assert_int_equal(line_hear(&peer.line), false);
	assert_int_equal(line_hear(&peer.line), -ESTALE);
	assert_int_equal(line_hear(&peer.line), -ESTALE);
	peer_join(&peer);
	assert_true(lh_handle_valid(handle));
	assert_int_equal(attempt("key", &shared), -EBUSY);
	let_go(handle);
	close_all();
}

// "consents to be SIGKILLed and seen dead before anyone is granted what it held"
static void a_holder_that_consented_is_dead_before_the_next_is_granted(void **state)
{
	struct lh_acquire_options options = {
		.ttl_ns = LH_MS(50), .flags = LH_LEASE_AUTO_RENEW | LH_LEASE_KILL_ON_EXPIRY
	};
	struct peer peer;
	int64_t error;
	int status;

	(void)state;
	locks_need(LH_CAP_TTL, "TTL");
	peer = peer_start(hold_and_look, &options);
	error = line_hear(&peer.line);
	if (error == -ENOTSUP) {
		printf("SKIP: the provider kills nobody, or pidfd_send_signal(2) is refused "
		       "here\n");
		peer_join(&peer);
		close_all();
		skip();
	}
	assert_int_equal(error, 0);
	assert_int_equal(kill(peer.pid, SIGSTOP), 0);
	let_go(hold("key", NULL));
	status = peer_wait(&peer);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close_all();
}

static void hold_and_exec(const struct line *line, void *context)
{
	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	hold("key", NULL);
	line_say(line, 1);
	execl("/bin/sleep", "sleep", "1000", NULL);
}

// G2
static void exec_releases(void **state)
{
	struct peer peer = peer_start(hold_and_exec, NULL);
	lh_handle *handle;

	(void)state;
	assert_int_equal(line_hear(&peer.line), 1);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	let_go(handle);
	peer_kill(&peer);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(a_lost_handle_stays_lost_and_disturbs_nobody),
		LOCKS_TEST(a_handle_is_extended_and_never_shortened),
		LOCKS_TEST(renewal_keeps_a_handle_for_longer_than_its_ttl),
		LOCKS_TEST(what_was_released_is_renewed_no_more),
		LOCKS_TEST(as_many_renewals_as_were_allowed),
		LOCKS_TEST(loss_is_told_once_and_also_to_who_asks_late),
		LOCKS_TEST(with_a_lock_held_the_body_runs),
		LOCKS_TEST(options_that_make_no_sense_are_refused),
		LOCKS_TEST(capabilities_are_those_that_the_documents_name),
		LOCKS_TEST(what_the_provider_cannot_do_is_refused),
		LOCKS_TEST_CLOSED(a_url_that_is_wrong_is_refused_with_the_reason),
		LOCKS_TEST(what_is_in_use_is_not_closed),
		LOCKS_TEST(a_forked_child_has_none_of_its_parents_handles),
		LOCKS_TEST(a_holder_stopped_past_its_ttl_has_lost_the_key),
		LOCKS_TEST(a_holder_that_consented_is_dead_before_the_next_is_granted),
		LOCKS_TEST(exec_releases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
