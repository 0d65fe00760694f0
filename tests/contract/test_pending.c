// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
//
// Asynchronous acquire of named locks. Runs on any provider (tests/contract/locks.h).
#include "tests/contract/locks.h"

#include <dirent.h>
#include <sys/resource.h>

static const struct lh_acquire_options shared = { .mode = LH_SHARED };

static lh_pending *start_until(const char *key, lh_deadline deadline,
			       const struct lh_acquire_options *options)
{
	lh_pending *pending = NULL;

	need_equal(lh_acquire_start(locks_scene.locks, key, deadline, options, &pending), 0);
	return pending;
}

static lh_pending *start(const char *key)
{
	return start_until(key, LH_FOREVER, NULL);
}

static bool is_readable(const lh_pending *pending, int timeout)
{
	struct pollfd poll_fd = { .fd = lh_pending_fd(pending), .events = POLLIN };

	need(poll_fd.fd >= 0);
	return poll(&poll_fd, 1, timeout) == 1 && poll_fd.revents == POLLIN;
}

static int finish(lh_pending *pending, lh_handle **ret_handle)
{
	return lh_pending_finish(pending, ret_handle);
}

static int await(lh_pending *pending, lh_handle **ret_handle)
{
	need(is_readable(pending, -1));
	return finish(pending, ret_handle);
}

static lh_handle *await_grant(lh_pending *pending)
{
	lh_handle *handle = NULL;

	need_equal(await(pending, &handle), 0);
	return handle;
}

// ---- one ----------------------------------------------------------------------------------------------

// On this host; a server's answer comes when it comes.
static void what_is_free_is_granted_at_once_and_without_a_thread(void **state)
{
	lh_handle *handle = NULL;
	lh_pending *pending = start("key");
	int result;

	(void)state;
	assert_true(is_readable(pending, locks_scene.is_remote ? -1 : 0));
	assert_int_equal(finish(pending, &handle), 0);
	assert_true(lh_handle_valid(handle));
	assert_int_equal(attempt("key", NULL), -EBUSY);
	let_go(handle);
	handle = NULL;
	pending = start("key"); // nobody asks for a descriptor
	do {
		result = finish(pending, &handle);
	} while (locks_scene.is_remote && result == -EINPROGRESS);
	assert_int_equal(result, 0);
	let_go(handle);
	close_all();
}

// G2: readable exactly when it is finished, which a release brings about.
static void the_descriptor_is_readable_once_it_is_granted(void **state)
{
	lh_handle *handle = hold("key", NULL), *next = NULL;
	const uint64_t token = lh_handle_token(handle);
	lh_pending *pending = start("key");

	(void)state;
	assert_int_equal(lh_pending_fd(pending), lh_pending_fd(pending));
	assert_false(is_readable(pending, 20));
	assert_int_equal(finish(pending, &next), -EINPROGRESS);
	assert_null(next);
	let_go(handle);
	next = await_grant(pending);
	assert_true(lh_handle_token(next) > token); // G5
	assert_int_equal(lh_handle_flags(next), 0);
	assert_int_equal(attempt("key", NULL), -EBUSY);
	let_go(next);
	close_all();
}

static void who_may_not_wait_is_busy_and_who_waits_too_long_times_out(void **state)
{
	lh_handle *handle = hold("key", NULL), *other = NULL;
	const uint64_t before = lh_now();
	lh_pending *first = start_until("key", lh_deadline_after(LH_MS(20)), NULL), *second;

	(void)state;
	second = start_until("key", LH_NOW, NULL);
	assert_int_equal(await(second, &other), -EBUSY);
	assert_int_equal(finish(first, &other), -EINPROGRESS);
	assert_int_equal(await(first, &other), -ETIMEDOUT);
	assert_true(lh_now() >= before + LH_MS(20));
	assert_non_null(strstr(lh_error_detail(), "key"));
	assert_null(other);
	let_go(handle);
	second = start_until("key", LH_NOW, NULL);
	let_go(await_grant(second));
	close_all();
}

// G10
static void a_fired_token_ends_all_that_wait_by_it(void **state)
{
	struct lh_acquire_options options = { .mode = LH_EXCLUSIVE };
	lh_handle *handle = hold("key", NULL), *other = NULL;
	lh_pending *pending[3], *stays;

	(void)state;
	assert_int_equal(lh_cancel_create(&options.cancel), 0);
	pending[0] = start_until("key", LH_FOREVER, &options);
	stays = start("key");
	pending[1] = start_until("key", LH_FOREVER, &options);
	assert_false(is_readable(pending[1], 10));
	lh_cancel_fire(options.cancel);
	pending[2] = start_until("other", LH_FOREVER, &options); // though it is free
	for (int i = 0; i < 3; i++)
		assert_int_equal(await(pending[i], &other), -ECANCELED);
	assert_null(other);
	assert_int_equal(finish(stays, &other), -EINPROGRESS);
	let_go(handle);
	let_go(await_grant(stays));
	lh_cancel_destroy(options.cancel);
	close_all();
}

// "has to stay until the pending acquire is finished": no longer, though another goes on waiting.
// Under valgrind, which has no futex_waitv, a look at a token that is gone is an error.
static void a_token_may_be_destroyed_once_its_acquire_is_finished(void **state)
{
	lh_handle *stays, *handle, *other;

	(void)state;
	stays = hold("stays", NULL);
	lh_pending *waits = start("stays");

	for (int i = 0; i < 40; i++) {
		struct lh_acquire_options options = { .mode = LH_EXCLUSIVE };
		lh_pending *pending;

		assert_int_equal(lh_cancel_create(&options.cancel), 0);
		handle = hold("key", NULL);
		pending = start_until("key", LH_FOREVER, &options);
		if (i % 2) {
			let_go(handle);
			let_go(await_grant(pending));
		} else {
			assert_int_equal(lh_pending_cancel(pending), 0);
			assert_int_equal(finish(pending, &other), -ECANCELED);
			let_go(handle);
		}
		lh_cancel_destroy(options.cancel);
		let_go(hold("key", NULL)); // news, maybe, for a helper that still sleeps on it
	}
	let_go(stays);
	let_go(await_grant(waits));
	close_all();
}

static void a_cancel_gives_up_the_wait_and_hands_over_what_was_granted(void **state)
{
	lh_handle *handle = hold("key", NULL), *other = NULL;
	lh_pending *pending = start("key");

	(void)state;
	assert_int_equal(lh_pending_cancel(pending), 0);
	assert_true(is_readable(pending, 0));
	assert_int_equal(finish(pending, &other), -ECANCELED);
	assert_null(other);
	pending = start("key");
	let_go(handle);
	assert_true(is_readable(pending, -1));
	assert_int_equal(lh_pending_cancel(pending), 0);
	assert_int_equal(lh_pending_cancel(pending), 0);
	assert_int_equal(finish(pending, &other), 0);
	assert_int_equal(attempt("key", NULL), -EBUSY);
	let_go(other);
	assert_int_equal(attempt("key", NULL), 0);
	close_all();
}

static void what_is_invalid_is_refused(void **state)
{
	const struct lh_acquire_options reserved = { .reserved = { 1 } };
	static char long_key[LH_KEY_MAX + 2];
	lh_pending *pending;
	lh_handle *handle;

	(void)state;
	memset(long_key, 'k', LH_KEY_MAX + 1);
	assert_int_equal(lh_acquire_start(NULL, "key", LH_NOW, NULL, &pending), -EINVAL);
	assert_int_equal(lh_acquire_start(locks_scene.locks, NULL, LH_NOW, NULL, &pending),
			 -EINVAL);
	assert_int_equal(lh_acquire_start(locks_scene.locks, "key", LH_NOW, NULL, NULL), -EINVAL);
	assert_int_equal(lh_acquire_start(locks_scene.locks, "key", LH_NOW, &reserved, &pending),
			 -EINVAL);
	assert_int_equal(lh_acquire_start(locks_scene.locks, long_key, LH_NOW, NULL, &pending),
			 -EMSGSIZE);
	assert_int_equal(lh_pending_fd(NULL), -EINVAL);
	assert_int_equal(lh_pending_finish(NULL, &handle), -EINVAL);
	assert_int_equal(lh_pending_cancel(NULL), -EINVAL);
	long_key[LH_KEY_MAX] = '\0';
	let_go(await_grant(start(long_key)));
	let_go(await_grant(start("")));
	close_all();
}

// "from the grant on": nor does what waits hold up the set.
static void the_set_is_busy_until_all_are_finished(void **state)
{
	lh_handle *handle = hold("key", NULL), *other;
	lh_pending *pending = start("key");

	(void)state;
	let_go(handle);
	assert_true(is_readable(pending, -1));
	assert_int_equal(lh_locks_close(locks_scene.locks), -EBUSY);
	assert_int_equal(finish(pending, &other), 0);
	assert_int_equal(lh_locks_close(locks_scene.locks), -EBUSY);
	let_go(other);
	close_all();
}

static void a_ttl_begins_with_the_grant_and_the_label_is_a_copy(void **state)
{
	if (!(lh_locks_capabilities(locks_scene.locks) & LH_CAP_TTL)) {
		close_all();
		skip();
	}
	char label[] = "label of it";
	const struct lh_acquire_options brief = { .ttl_ns = LH_MS(50), .label = label };
	lh_handle *handle = hold("key", NULL), *next;
	lh_pending *pending = start_until("key", LH_FOREVER, &brief);
	const uint64_t until = lh_now() + LH_MS(120);

	(void)state;
	memset(label, 'x', sizeof(label) - 1);
	while (lh_now() < until)
		sched_yield();
	let_go(handle);
	next = await_grant(pending);
	await_end(next);
	assert_true(lh_now() >= until + LH_MS(50));
	assert_int_equal(lh_handle_release(next), -ESTALE);
	close_all();
}

// ---- others' deeds ---------------------------------------------------------------------------------------

// G2, G12: nobody releases, so nobody pokes; and it does not expire before the test does.
static void the_death_of_the_holder_is_noticed(void **state)
{
	const bool ttl = lh_locks_capabilities(locks_scene.locks) & LH_CAP_TTL;
	const uint64_t long_ns = ttl ? LH_SEC(36000) : 0;
	const struct lh_acquire_options modes[] = { { .ttl_ns = long_ns },
						    { .mode = LH_SHARED, .ttl_ns = long_ns } };

	(void)state;
	for (size_t i = 0; i < 2; i++) { // a reader in the way of a writer, too
		struct locks_holding holding = { "key", &modes[i] };
		struct peer peer = peer_start(locks_hold_and_stay, &holding);
		lh_pending *pending;
		lh_handle *handle;

		line_hear(&peer.line);
		pending = start("key");
		assert_false(is_readable(pending, 20));
		peer_kill(&peer);
		handle = await_grant(pending);
		assert_int_equal(lh_handle_flags(handle), i ? 0 : LH_GRANT_OWNER_DIED);
		assert_int_equal(lh_handle_consistent(handle), 0);
		let_go(handle);
	}
	close_all();
}

static void the_expiry_of_the_holder_is_noticed(void **state)
{
	if (!(lh_locks_capabilities(locks_scene.locks) & LH_CAP_TTL)) {
		close_all();
		skip();
	}
	const struct lh_acquire_options brief = { .ttl_ns = LH_MS(60) };
	lh_handle *handle = hold("key", &brief), *next;

	(void)state;
	next = await_grant(start("key"));
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	let_go(next);
	close_all();
}

static void open_and_wait(const struct line *line, void *context)
{
	lh_pending *pending[8];

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	for (int i = 0; i < 8; i++)
		pending[i] = start(i % 2 ? "key" : "other");
	need(!is_readable(pending[7], 1));
	line_say(line, 1);
	line_hear(line);
}

// G6, G8: those who wait are in nobody's way when they are no more.
static void a_process_that_waited_leaves_nothing(void **state)
{
	lh_handle *one = hold("key", NULL), *two = hold("other", NULL);
	struct peer peer = peer_start(open_and_wait, NULL);
	lh_pending *pending;

	(void)state;
	line_hear(&peer.line);
	pending = start("key");
	peer_kill(&peer);
	let_go(one);
	let_go(await_grant(pending));
	assert_int_equal(attempt("other", NULL), -EBUSY);
	let_go(two);
	assert_int_equal(attempt("key", NULL), 0);
	assert_int_equal(attempt("other", NULL), 0);
	close_all();
}

static void the_shared_are_granted_together(void **state)
{
	lh_handle *writer = hold("key", NULL), *readers[5];
	lh_pending *pending[5], *exclusive;

	(void)state;
	for (int i = 0; i < 5; i++)
		pending[i] = start_until("key", LH_FOREVER, &shared);
	exclusive = start("key");
	let_go(writer);
	for (int i = 0; i < 5; i++)
		readers[i] = await_grant(pending[i]);
	for (int i = 0; i < 5; i++) {
		assert_false(is_readable(exclusive, 1));
		let_go(readers[i]);
	}
	let_go(await_grant(exclusive));
	close_all();
}

// Whatever the mode, or permits: none beside those that exclude it, and granted once they are gone.
static void all_modes_and_permits_wait(void **state)
{
	static const struct lh_acquire_options intents = { .mode = LH_INTENT_EXCLUSIVE },
					       reads = { .mode = LH_INTENT_SHARED },
					       permits = { .max_holders = 2 };
	const unsigned can = lh_locks_capabilities(locks_scene.locks);
	lh_handle *handles[2], *other;
	lh_pending *pending;

	(void)state;
	if (can & LH_CAP_INTENT) {
		handles[0] = hold("key", &shared);
		pending = start_until("key", LH_FOREVER, &intents);
		assert_false(is_readable(pending, 10));
		let_go(handles[0]);
		other = await_grant(pending);
		handles[0] = hold("key", &reads);
		pending = start_until("key", LH_FOREVER, &shared);
		assert_false(is_readable(pending, 10));
		let_go(other);
		let_go(await_grant(pending));
		let_go(handles[0]);
	}
	if (can & LH_CAP_SEMAPHORE) {
		for (int i = 0; i < 2; i++)
			handles[i] = hold("permits", &permits);
		pending = start_until("permits", LH_FOREVER, &permits);
		assert_false(is_readable(pending, 10));
		let_go(handles[1]);
		other = await_grant(pending);
		assert_int_equal(lh_handle_slot(other), 1);
		let_go(other);
		let_go(handles[0]);
	}
	close_all();
}

// ---- many ------------------------------------------------------------------------------------------------

enum { MANY = 1000 };

static unsigned threads(void)
{
	DIR *directory = opendir("/proc/self/task");
	unsigned count = 0;

	need(directory != NULL);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void allow_descriptors(rlim_t count)
{
	struct rlimit limit;

	need_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < count && limit.rlim_max >= count) {
		limit.rlim_cur = count;
		need_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	}
}

static void a_thousand_wait_for_one_key_with_one_thread(void **state)
{
	static lh_pending *pending[MANY];
	lh_handle *handle = hold("key", NULL);
	const unsigned before = threads();

	(void)state;
	watch("a thousand for one key", 300);
	allow_descriptors(MANY + 64);
	for (int i = 0; i < MANY; i++)
		pending[i] = start("key");
	assert_true(threads() <= before + 1);
	let_go(handle);
	for (int i = 0; i < MANY; i++) { // in the order in which they began
		handle = await_grant(pending[i]);
		if (i + 1 < MANY)
			assert_int_equal(finish(pending[i + 1], &(lh_handle *){ NULL }),
					 -EINPROGRESS);
		let_go(handle);
	}
	assert_true(threads() <= before + 1);
	close_all();
}

static void hold_many(const struct line *line, void *context)
{
	static lh_handle *handles[MANY];
	char key[24];

	(void)context;
	allow_descriptors(2 * MANY + 64);
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		handles[i] = hold(key, NULL);
	}
	line_say(line, 1);
	line_hear(line);
	for (int i = 0; i < MANY; i++)
		let_go(handles[i]);
	line_hear(line);
}

static void a_thousand_wait_for_a_thousand_keys_with_one_thread(void **state)
{
	static lh_pending *pending[MANY];
	unsigned before;
	struct peer peer;
	char key[24];

	(void)state;
	watch("a thousand keys", 300);
	allow_descriptors(2 * MANY + 64);
	peer = peer_start(hold_many, NULL);
	line_hear(&peer.line);
	let_go(hold("another key", NULL)); // the keeper runs
	before = threads();
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		pending[i] = start(key);
	}
	// With a server it has been there for the first already.
	assert_int_equal(threads(), before + (locks_scene.is_remote ? 0 : 1));
	line_say(&peer.line, 1);
	for (int i = 0; i < MANY; i++)
		let_go(await_grant(pending[i]));
	line_say(&peer.line, 1);
	peer_join(&peer);
	close_all();
}

// ---- readers -------------------------------------------------------------------------------------------

static void read_on(const struct line *line, void *context)
{
	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	for (;;) {
		lh_handle *handle = hold("key", &shared);
		const uint64_t until = lh_now() + LH_MS(1);

		while (lh_now() < until)
			sched_yield();
		let_go(handle);
	}
}

// Readers that overlap for ever.
static void a_writer_that_waits_here_is_not_starved(void **state)
{
	struct peer readers[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		readers[i] = peer_start(read_on, NULL);
		line_hear(&readers[i].line);
	}
	for (int i = 0; i < 20; i++)
		let_go(await_grant(start("key")));
	for (int i = 0; i < 4; i++)
		peer_kill(&readers[i]);
	close_all();
}

// ---- fork ------------------------------------------------------------------------------------------------

static void find_them_stale(const struct line *line, void *context)
{
	lh_pending **pending = context, *own;
	lh_handle *handle = NULL;

	need_equal(threads(), 3); // ".", "..", and its own
	need_equal(lh_pending_fd(pending[0]), -ESTALE);
	need_equal(lh_pending_cancel(pending[0]), -ESTALE);
	for (int i = 0; i < 2; i++)
		need_equal(lh_pending_finish(pending[i], &handle), -ESTALE);
	need(!handle);
	own = start("key");
	need(!is_readable(own, 1));
	line_say(line, 1);
	handle = await_grant(own);
	let_go(handle);
	line_say(line, 2);
}

static void a_forked_child_leaves_its_parents_alone_and_has_its_own(void **state)
{
	lh_handle *handle = hold("key", NULL), *other;
	lh_pending *pending[2] = { start("key"), start("other") };
	struct peer peer;

	(void)state;
	assert_false(is_readable(pending[0], 5));
	peer = peer_start(find_them_stale, pending); // copies the array
	assert_int_equal(line_hear(&peer.line), 1);
	assert_int_equal(finish(pending[0], &other), -EINPROGRESS);
	let_go(handle);
	let_go(await_grant(pending[0]));
	assert_int_equal(line_hear(&peer.line), 2);
	peer_join(&peer);
	assert_int_equal(attempt("other", NULL), -EBUSY);
	let_go(await_grant(pending[1]));
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(what_is_free_is_granted_at_once_and_without_a_thread),
		LOCKS_TEST(the_descriptor_is_readable_once_it_is_granted),
		LOCKS_TEST(who_may_not_wait_is_busy_and_who_waits_too_long_times_out),
		LOCKS_TEST(a_fired_token_ends_all_that_wait_by_it),
		LOCKS_TEST(a_token_may_be_destroyed_once_its_acquire_is_finished),
		LOCKS_TEST(a_cancel_gives_up_the_wait_and_hands_over_what_was_granted),
		LOCKS_TEST(what_is_invalid_is_refused),
		LOCKS_TEST(the_set_is_busy_until_all_are_finished),
		LOCKS_TEST(a_ttl_begins_with_the_grant_and_the_label_is_a_copy),
		LOCKS_TEST(the_death_of_the_holder_is_noticed),
		LOCKS_TEST(the_expiry_of_the_holder_is_noticed),
		LOCKS_TEST(a_process_that_waited_leaves_nothing),
		LOCKS_TEST(the_shared_are_granted_together),
		LOCKS_TEST(all_modes_and_permits_wait),
		LOCKS_TEST(a_thousand_wait_for_one_key_with_one_thread),
		LOCKS_TEST(a_thousand_wait_for_a_thousand_keys_with_one_thread),
		LOCKS_TEST(a_writer_that_waits_here_is_not_starved),
		LOCKS_TEST(a_forked_child_leaves_its_parents_alone_and_has_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
