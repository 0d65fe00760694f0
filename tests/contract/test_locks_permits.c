// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
//
// Named locks: semaphores by key. Runs on any provider (tests/contract/locks.h) that has them.
#include "tests/contract/locks.h"

#include <pthread.h>

enum { PERMITS = 3 };

static const struct lh_acquire_options permits = { .max_holders = PERMITS };
static const struct lh_acquire_options shared = { .mode = LH_SHARED };

static bool lacks(unsigned capability)
{
	if ((lh_locks_capabilities(locks_scene.locks) & capability) == capability)
		return false;
	close_all();
	return true;
}

static void as_many_as_max_holders_hold_and_each_its_own_slot(void **state)
{
	lh_handle *handles[PERMITS];
	unsigned slots = 0;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE))
		skip();
	for (int i = 0; i < PERMITS; i++) {
		handles[i] = hold("pool", &permits);
		assert_in_range(lh_handle_slot(handles[i]), 0, PERMITS - 1);
		slots |= 1u << lh_handle_slot(handles[i]);
	}
	assert_int_equal(slots, (1u << PERMITS) - 1);
	assert_int_equal(attempt("pool", &permits), -EBUSY);
	for (int i = 0; i < PERMITS; i++) { // whichever comes back is the one to be had
		const int slot = lh_handle_slot(handles[i]);

		let_go(handles[i]);
		handles[i] = hold("pool", &permits);
		assert_int_equal(lh_handle_slot(handles[i]), slot);
		assert_int_equal(attempt("pool", &permits), -EBUSY);
	}
	for (int i = 0; i < PERMITS; i++)
		let_go(handles[i]);
	close_all();
}

static void only_a_semaphores_handle_has_a_slot(void **state)
{
	lh_handle *handle = hold("key", NULL);

	(void)state;
	assert_int_equal(lh_handle_slot(NULL), -EINVAL);
	assert_int_equal(lh_handle_slot(handle), -ENOTSUP);
	assert_non_null(strstr(lh_error_detail(), "permit")); // not what failed before
	let_go(handle);
	close_all();
}

// ---- contention ----------------------------------------------------------------------------------

enum { CONTENDERS = 12, ROUNDS = 200 };

struct pool {
	_Atomic uint32_t inside, most, slots[PERMITS];
};

static void contend(const struct line *line, void *context)
{
	struct pool *pool = context;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	line_hear(line);
	for (int i = 0; i < ROUNDS; i++) {
		lh_handle *handle = hold("pool", &permits);
		const int slot = lh_handle_slot(handle);
		const uint32_t inside = atomic_fetch_add(&pool->inside, 1) + 1;

		need(inside <= PERMITS);
		need(slot >= 0 && slot < PERMITS);
		need_equal(atomic_fetch_add(&pool->slots[slot], 1), 0);
		if (inside > atomic_load(&pool->most))
			atomic_store(&pool->most, inside);
		sched_yield();
		atomic_fetch_sub(&pool->slots[slot], 1);
		atomic_fetch_sub(&pool->inside, 1);
		let_go(handle);
	}
	close_all();
}

// G6
static void a_semaphore_is_never_above_its_limit_and_reaches_it(void **state)
{
	struct pool *pool;
	struct peer peers[CONTENDERS];

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE))
		skip();
	pool = locks_share(sizeof(*pool));
	for (int i = 0; i < CONTENDERS; i++) {
		peers[i] = peer_start(contend, pool);
		line_hear(&peers[i].line);
	}
	for (int i = 0; i < CONTENDERS; i++)
		line_say(&peers[i].line, 1);
	for (int i = 0; i < CONTENDERS; i++)
		peer_join(&peers[i]);
	assert_int_equal(atomic_load(&pool->most), PERMITS);
	close_all();
}

// ---- waiting and death ---------------------------------------------------------------------------

// G10
static void who_waits_too_long_for_a_permit_takes_none(void **state)
{
	lh_handle *handles[PERMITS], *other = NULL;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE))
		skip();
	for (int i = 0; i < PERMITS; i++)
		handles[i] = hold("pool", &permits);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lh_acquire(locks_scene.locks, "pool", lh_deadline_after(LH_MS(5)),
					    &permits, &other),
				 -ETIMEDOUT);
	assert_null(other);
	let_go(handles[0]);
	handles[0] = hold("pool", &permits);
	for (int i = 0; i < PERMITS; i++)
		let_go(handles[i]);
	for (int i = 0; i < PERMITS; i++)
		handles[i] = hold("pool", &permits);
	for (int i = 0; i < PERMITS; i++)
		let_go(handles[i]);
	close_all();
}

struct permit_wait {
	_Atomic int started;
	int slot;
};

static void *wait_for_permit(void *context)
{
	struct permit_wait *wait = context;
	lh_handle *handle;

	atomic_store(&wait->started, 1);
	handle = hold("pool", &permits);
	wait->slot = lh_handle_slot(handle);
	let_go(handle);
	return NULL;
}

// G2, G6
static void a_dead_holders_permit_comes_back(void **state)
{
	struct locks_holding holding = { "pool", &permits };

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE | LH_CAP_DEATH_RELEASES))
		skip();
	for (int i = 0; i < 2 * PERMITS; i++)
		locks_die_holding("pool", &permits);
	for (int dies = 0; dies < PERMITS; dies++) { // and to who waits for it
		struct permit_wait wait = { .slot = -1 };
		struct peer peers[PERMITS];
		pthread_t thread;

		for (int i = 0; i < PERMITS; i++) {
			peers[i] = peer_start(locks_hold_and_stay, &holding);
			line_hear(&peers[i].line);
		}
		assert_int_equal(attempt("pool", &permits), -EBUSY);
		assert_int_equal(pthread_create(&thread, NULL, wait_for_permit, &wait), 0);
		while (!atomic_load(&wait.started))
			sched_yield();
		peer_kill(&peers[dies]);
		pthread_join(thread, NULL);
		assert_int_equal(wait.slot, dies); // they came in this order
		for (int i = 0; i < PERMITS; i++) {
			if (i != dies)
				peer_kill(&peers[i]);
		}
	}
	close_all();
}

// G3, G4
static void an_expired_holders_permit_is_anothers(void **state)
{
	const struct lh_acquire_options brief = { .ttl_ns = LH_MS(20), .max_holders = 1 };
	const struct lh_acquire_options one = { .max_holders = 1 };
	lh_handle *handle, *other;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE | LH_CAP_TTL))
		skip();
	handle = hold("one", &brief);
	other = hold("one", &one); // waits for the expiry
	assert_false(lh_handle_valid(handle));
	assert_int_equal(lh_handle_slot(other), 0);
	assert_int_equal(lh_handle_release(handle), -ESTALE);
	assert_int_equal(attempt("one", &one), -EBUSY);
	let_go(other);
	close_all();
}

// ---- all users say the same ----------------------------------------------------------------------

static const struct lh_acquire_options only = { .max_holders = 1 };

static void hold_beyond_its_time(const struct line *line, void *context)
{
	const struct lh_acquire_options consenting = { .ttl_ns = LH_MS(50),
						       .flags = LH_LEASE_KILL_ON_EXPIRY,
						       .max_holders = 1 };
	lh_handle *handle;
	int error;

	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	error = lh_acquire(locks_scene.locks, "pool", LH_FOREVER, &consenting, &handle);
	while (!error && lh_handle_valid(handle)) // the last one latches the loss
		;
	line_say(line, error);
	line_hear(line);
}

// "consents to be SIGKILLed and seen dead before anyone is granted what it held": whoever latched
// the loss.
static void a_holder_that_consented_is_dead_before_the_next_has_its_permit(void **state)
{
	struct peer peer;
	int64_t error;
	int status;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE | LH_CAP_TTL))
		skip();
	peer = peer_start(hold_beyond_its_time, NULL);
	error = line_hear(&peer.line);
	if (error == -ENOTSUP) {
		printf("SKIP: pidfd_send_signal(2) is refused here\n");
		line_say(&peer.line, 1);
		peer_join(&peer);
		close_all();
		skip();
	}
	assert_int_equal(error, 0);
	let_go(hold("pool", &only));
	kill(peer.pid, SIGTERM); // if nobody has killed it
	status = peer_wait(&peer);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close_all();
}

static void another_limit_is_invalid_while_the_key_is_in_use(void **state)
{
	const struct lh_acquire_options more = { .max_holders = PERMITS + 1 };
	const struct lh_acquire_options beyond = { .max_holders = 1u << 31 };
	lh_handle *handle, *other = NULL;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE))
		skip();
	handle = hold("pool", &permits);
	assert_int_equal(attempt("pool", &beyond), -EINVAL);
	assert_non_null(strstr(lh_error_detail(), "2147483648")); // no int has such slots
	assert_int_equal(attempt("pool", &more), -EINVAL);
	assert_non_null(strstr(lh_error_detail(), "max_holders"));
	assert_int_equal(attempt("pool", NULL), -EINVAL);
	assert_int_equal(attempt("pool", &shared), -EINVAL);
	assert_int_equal(lh_acquire(locks_scene.locks, "pool", LH_FOREVER, &more, &other), -EINVAL);
	assert_int_equal(attempt("pool", &permits), 0);
	let_go(handle);
	assert_int_equal(attempt("pool", &more), 0); // nobody uses it any more
	handle = hold("pool", NULL);
	assert_int_equal(attempt("pool", &permits), -EINVAL);
	assert_int_equal(lh_handle_slot(handle), -ENOTSUP);
	let_go(handle);
	handle = hold("pool", &shared);
	assert_int_equal(attempt("pool", &permits), -EINVAL);
	let_go(handle);
	assert_null(other);
	assert_int_equal(attempt("pool", &permits), 0);
	close_all();
}

// G5: whatever the key has been meanwhile.
// G12: who has a permit could not declare it consistent.
static void what_was_lost_of_the_lock_is_no_matter_of_its_permits(void **state)
{
	lh_handle *handle;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE | LH_CAP_DEATH_RELEASES))
		skip();
	locks_die_holding("key", NULL);
	assert_int_equal(attempt("key", NULL), 0); // and leaves it damaged
	handle = hold("key", &permits);
	assert_int_equal(lh_handle_flags(handle), 0);
	let_go(handle);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_handle_consistent(handle), 0);
	let_go(handle);
	close_all();
}

// G5: those of permits, too, whether their holders have gone, have died, or are there still.
static void tokens_rise_over_a_keys_time_as_a_semaphore(void **state)
{
	uint64_t last = 0;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE | LH_CAP_FENCING))
		skip();
	for (int i = 0; i < 10; i++) {
		lh_handle *handle = hold("pool", NULL), *other;

		assert_true(lh_handle_token(handle) > last);
		last = lh_handle_token(handle);
		let_go(handle);
		handle = hold("pool", &permits);
		assert_true(lh_handle_token(handle) > last);
		other = hold("pool", &permits);
		assert_true(lh_handle_token(other) > lh_handle_token(handle));
		last = lh_handle_token(other);
		let_go(handle);
		let_go(other);
		if (i % 2)
			continue;
		assert_true(locks_die_holding("pool", &permits) > last);
		last++;
	}
	close_all();
}

static void several_semaphores_are_held_by_one_handle(void **state)
{
	static const char *const keys[] = { "right", "left" };
	lh_handle *handle, *single;

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE))
		skip();
	single = hold("left", &permits);
	assert_int_equal(lh_acquire_all(locks_scene.locks, keys, 2, LH_NOW, &permits, &handle), 0);
	assert_int_not_equal(lh_handle_slot(handle), lh_handle_slot(single)); // of the list's last
	let_go(single);
	let_go(handle);
	close_all();
}

static void permits_have_no_mode(void **state)
{
	const struct lh_acquire_options both = { .mode = LH_SHARED, .max_holders = PERMITS };

	(void)state;
	if (lacks(LH_CAP_SEMAPHORE | LH_CAP_SHARED))
		skip();
	assert_int_equal(attempt("pool", &both), -EINVAL);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(as_many_as_max_holders_hold_and_each_its_own_slot),
		LOCKS_TEST(only_a_semaphores_handle_has_a_slot),
		LOCKS_TEST(a_semaphore_is_never_above_its_limit_and_reaches_it),
		LOCKS_TEST(who_waits_too_long_for_a_permit_takes_none),
		LOCKS_TEST(a_dead_holders_permit_comes_back),
		LOCKS_TEST(an_expired_holders_permit_is_anothers),
		LOCKS_TEST(a_holder_that_consented_is_dead_before_the_next_has_its_permit),
		LOCKS_TEST(another_limit_is_invalid_while_the_key_is_in_use),
		LOCKS_TEST(what_was_lost_of_the_lock_is_no_matter_of_its_permits),
		LOCKS_TEST(tokens_rise_over_a_keys_time_as_a_semaphore),
		LOCKS_TEST(several_semaphores_are_held_by_one_handle),
		LOCKS_TEST(permits_have_no_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
