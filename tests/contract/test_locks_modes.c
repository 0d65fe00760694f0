// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
//
// Named locks: the modes beside each other, and paths. Runs on any provider
// (tests/contract/locks.h); what one cannot do is skipped.
#include "tests/contract/locks.h"

#include <pthread.h>

enum { MODES = 4 };

static const struct lh_acquire_options in_mode[MODES] = {
	[LH_EXCLUSIVE] = { .mode = LH_EXCLUSIVE },
	[LH_SHARED] = { .mode = LH_SHARED },
	[LH_INTENT_SHARED] = { .mode = LH_INTENT_SHARED },
	[LH_INTENT_EXCLUSIVE] = { .mode = LH_INTENT_EXCLUSIVE },
};

// The standard matrix (Gray et al., "Granularity of Locks", 1976).
static const bool go_together[MODES][MODES] = {
	[LH_SHARED] = { [LH_SHARED] = true, [LH_INTENT_SHARED] = true },
	[LH_INTENT_SHARED] = { [LH_SHARED] = true,
			       [LH_INTENT_SHARED] = true,
			       [LH_INTENT_EXCLUSIVE] = true },
	[LH_INTENT_EXCLUSIVE] = { [LH_INTENT_SHARED] = true, [LH_INTENT_EXCLUSIVE] = true },
};

static bool lacks(unsigned capability)
{
	if (lh_locks_capabilities(locks_scene.locks) & capability)
		return false;
	close_all();
	return true;
}

// ---- modes ---------------------------------------------------------------------------------------

static void of_sixteen_pairs_of_modes_those_of_the_matrix_go_together(void **state)
{
	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	for (int round = 0; round < 2; round++) { // each after each other, whatever came before
		for (int held = 0; held < MODES; held++) {
			for (int wanted = 0; wanted < MODES; wanted++) {
				lh_handle *handle = hold("key", &in_mode[held]);

				assert_int_equal(attempt("key", &in_mode[wanted]),
						 go_together[held][wanted] ? 0 : -EBUSY);
				let_go(handle);
			}
		}
	}
	close_all();
}

static void a_third_is_refused_whoever_of_the_two_is_in_its_way(void **state)
{
	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	for (int one = LH_SHARED; one < MODES; one++) {
		for (int other = LH_SHARED; other < MODES; other++) {
			lh_handle *first, *second;

			if (!go_together[one][other])
				continue;
			first = hold("key", &in_mode[one]);
			second = hold("key", &in_mode[other]);
			for (int wanted = 0; wanted < MODES; wanted++)
				assert_int_equal(attempt("key", &in_mode[wanted]),
						 go_together[one][wanted] &&
								 go_together[other][wanted]
							 ? 0
							 : -EBUSY);
			let_go(first);
			assert_int_equal(attempt("key", NULL), -EBUSY);
			let_go(second);
			assert_int_equal(attempt("key", NULL), 0);
		}
	}
	close_all();
}

// Holds the key in the one mode that is told, again and again.
struct churn {
	const char *key;
	_Atomic uint32_t inside[MODES];
};

static void use_in_mode(const struct line *line, void *context)
{
	struct churn *churn = context;
	const int mode = (int)line_hear(line);

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	for (;;) {
		lh_handle *handle = hold(churn->key, &in_mode[mode]);

		atomic_fetch_add(&churn->inside[mode], 1);
		for (int other = 0; other < MODES; other++) // G1
			need(go_together[mode][other] ||
			     atomic_load(&churn->inside[other]) == (other == mode));
		sched_yield();
		atomic_fetch_sub(&churn->inside[mode], 1);
		let_go(handle);
	}
}

// Two of each other mode overlap for ever: whoever comes gets in all the same.
static void no_mode_is_starved_by_the_others(void **state)
{
	struct churn *churn;

	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	churn = locks_share(sizeof(*churn));
	churn->key = "key";
	for (int mode = 0; mode < MODES; mode++) {
		struct peer peers[2 * MODES];
		int count = 0;

		for (int other = 0; other < MODES; other++) {
			for (int i = 0; other != mode && i < 2; i++) {
				peers[count] = peer_start(use_in_mode, churn);
				line_say(&peers[count].line, other);
				line_hear(&peers[count++].line);
			}
		}
		for (int i = 0; i < 20; i++) {
			lh_handle *handle = hold("key", &in_mode[mode]);

			for (int other = 0; other < MODES; other++)
				assert_true(go_together[mode][other] ||
					    atomic_load(&churn->inside[other]) == 0);
			let_go(handle);
		}
		while (count)
			peer_kill(&peers[--count]);
		memset(churn->inside, 0, sizeof(churn->inside));
	}
	close_all();
}

// G2: of those who do not hold exclusively nothing is left, and nothing to be told.
static void what_the_dead_held_in_any_mode_is_granted_in_any_other(void **state)
{
	(void)state;
	if (lacks(LH_CAP_INTENT) || lacks(LH_CAP_DEATH_RELEASES))
		skip();
	for (int held = LH_SHARED; held < MODES; held++) {
		for (int wanted = 0; wanted < MODES; wanted++) {
			lh_handle *handle;

			locks_die_holding("key", &in_mode[held]);
			handle = hold("key", &in_mode[wanted]);
			assert_int_equal(lh_handle_flags(handle), 0);
			let_go(handle);
		}
	}
	locks_die_holding("key", NULL); // G12
	for (int wanted = LH_SHARED; wanted < MODES; wanted++) {
		lh_handle *handle = hold("key", &in_mode[wanted]);

		assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
		assert_int_equal(lh_handle_consistent(handle), -EPERM);
		let_go(handle);
	}
	close_all();
}

struct mode_wait {
	int mode;
	_Atomic int started;
	int result;
};

static void *wait_in_mode(void *context)
{
	struct mode_wait *wait = context;
	lh_handle *handle;

	atomic_store(&wait->started, 1);
	wait->result = lh_acquire(locks_scene.locks, "key", LH_FOREVER, &in_mode[wait->mode],
				  &handle);
	if (!wait->result)
		let_go(handle);
	return NULL;
}

// G2, G8: each conflict is waited for, and over with the other's death.
static void who_waits_for_the_dead_in_any_mode_goes_on(void **state)
{
	(void)state;
	if (lacks(LH_CAP_INTENT) || lacks(LH_CAP_DEATH_RELEASES))
		skip();
	for (int held = 0; held < MODES; held++) {
		for (int wanted = 0; wanted < MODES; wanted++) {
			struct locks_holding holding = { "key", &in_mode[held] };
			struct mode_wait wait = { .mode = wanted };
			struct peer peer;
			pthread_t thread;

			if (go_together[held][wanted])
				continue;
			peer = peer_start(locks_hold_and_stay, &holding);
			line_hear(&peer.line);
			assert_int_equal(pthread_create(&thread, NULL, wait_in_mode, &wait), 0);
			while (!atomic_load(&wait.started))
				sched_yield();
			peer_kill(&peer);
			pthread_join(thread, NULL);
			assert_int_equal(wait.result, 0);
		}
	}
	close_all();
}

static void who_waits_too_long_in_any_mode_leaves_nothing(void **state)
{
	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	for (int held = 0; held < MODES; held++) {
		for (int wanted = 0; wanted < MODES; wanted++) {
			lh_handle *handle = hold("key", &in_mode[held]), *other = NULL;

			if (!go_together[held][wanted])
				assert_int_equal(lh_acquire(locks_scene.locks, "key",
							    lh_deadline_after(LH_MS(3)),
							    &in_mode[wanted], &other),
						 -ETIMEDOUT);
			assert_null(other);
			for (int mode = 0; mode < MODES; mode++)
				assert_int_equal(attempt("key", &in_mode[mode]),
						 go_together[held][mode] ? 0 : -EBUSY);
			let_go(handle);
			assert_int_equal(attempt("key", NULL), 0);
		}
	}
	close_all();
}

static void all_keys_are_taken_in_the_mode_that_was_asked_for(void **state)
{
	static const char *const keys[] = { "a", "b" };
	lh_handle *handle;

	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	for (int held = 0; held < MODES; held++) {
		assert_int_equal(
			lh_acquire_all(locks_scene.locks, keys, 2, LH_NOW, &in_mode[held], &handle),
			0);
		for (int wanted = 0; wanted < MODES; wanted++) {
			for (int i = 0; i < 2; i++)
				assert_int_equal(attempt(keys[i], &in_mode[wanted]),
						 go_together[held][wanted] ? 0 : -EBUSY);
		}
		let_go(handle);
	}
	close_all();
}

// ---- paths ---------------------------------------------------------------------------------------

static lh_handle *walk_down(const char *path, enum lh_mode mode)
{
	lh_handle *handle = NULL;

	need_equal(lh_acquire_path(locks_scene.locks, path, LH_FOREVER, &in_mode[mode], &handle),
		   0);
	return handle;
}

static int attempt_path(const char *path, enum lh_mode mode)
{
	lh_handle *handle;
	const int error = lh_acquire_path(locks_scene.locks, path, LH_NOW, &in_mode[mode], &handle);

	if (!error)
		let_go(handle);
	return error;
}

static void above_a_path_are_intentions_and_its_end_is_as_wanted(void **state)
{
	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	for (int mode = 0; mode < MODES; mode++) {
		const bool reads = mode == LH_SHARED || mode == LH_INTENT_SHARED;
		const enum lh_mode above = reads ? LH_INTENT_SHARED : LH_INTENT_EXCLUSIVE;
		lh_handle *handle = walk_down("bucket/dir/object", (enum lh_mode)mode);

		for (int wanted = 0; wanted < MODES; wanted++) {
			const int above_result = go_together[above][wanted] ? 0 : -EBUSY;

			assert_int_equal(attempt("bucket", &in_mode[wanted]), above_result);
			assert_int_equal(attempt("bucket/dir", &in_mode[wanted]), above_result);
			assert_int_equal(attempt("bucket/dir/object", &in_mode[wanted]),
					 go_together[mode][wanted] ? 0 : -EBUSY);
		}
		assert_int_equal(attempt("bucket/", NULL), 0); // a key like any other
		let_go(handle);
	}
	assert_int_equal(attempt("bucket", NULL), 0);
	close_all();
}

static void beside_a_path_are_others_and_over_it_is_nobody(void **state)
{
	lh_handle *handle;

	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	handle = walk_down("bucket/one", LH_EXCLUSIVE);
	assert_int_equal(attempt_path("bucket/other", LH_EXCLUSIVE), 0);
	assert_int_equal(attempt_path("bucket/one", LH_SHARED), -EBUSY);
	assert_int_equal(attempt_path("bucket/one/below", LH_SHARED), -EBUSY);
	assert_int_equal(attempt_path("bucket", LH_SHARED), -EBUSY);
	assert_int_equal(attempt_path("elsewhere", LH_EXCLUSIVE), 0);
	let_go(handle);
	handle = walk_down("bucket", LH_EXCLUSIVE); // one component: a plain key
	assert_int_equal(attempt_path("bucket/one", LH_INTENT_SHARED), -EBUSY);
	assert_int_equal(attempt("bucket", &in_mode[LH_INTENT_SHARED]), -EBUSY);
	let_go(handle);
	handle = walk_down("bucket", LH_SHARED);
	assert_int_equal(attempt_path("bucket/one", LH_SHARED), 0);
	assert_int_equal(attempt_path("bucket/one", LH_EXCLUSIVE), -EBUSY);
	// It failed at its first key, and holds none.
	assert_int_equal(attempt("bucket/one", NULL), 0);
	let_go(handle);
	close_all();
}

static void a_path_blocked_at_its_end_leaves_nothing_held(void **state)
{
	lh_handle *handle, *other = NULL;

	(void)state;
	if (lacks(LH_CAP_INTENT))
		skip();
	handle = hold("bucket/dir/object", &in_mode[LH_SHARED]);
	assert_int_equal(attempt_path("bucket/dir/object", LH_EXCLUSIVE), -EBUSY);
	assert_int_equal(lh_acquire_path(locks_scene.locks, "bucket/dir/object",
					 lh_deadline_after(LH_MS(5)), NULL, &other),
			 -ETIMEDOUT);
	assert_null(other);
	assert_int_equal(attempt("bucket", NULL), 0);
	assert_int_equal(attempt("bucket/dir", NULL), 0);
	let_go(handle);
	close_all();
}

static void the_token_of_a_path_is_its_ends(void **state)
{
	lh_handle *handle;
	uint64_t token;

	(void)state;
	if (lacks(LH_CAP_INTENT) || lacks(LH_CAP_FENCING))
		skip();
	let_go(hold("bucket/object", NULL));
	let_go(hold("bucket/object", NULL));
	handle = walk_down("bucket/object", LH_EXCLUSIVE);
	token = lh_handle_token(handle);
	let_go(handle);
	handle = hold("bucket/object", NULL);
	assert_true(lh_handle_token(handle) > token);
	let_go(handle);
	close_all();
}

// G12: who died under "bucket" damaged only the object.
static void a_death_damages_what_was_held_exclusively_alone(void **state)
{
	lh_handle *handle;

	(void)state;
	if (lacks(LH_CAP_INTENT) || lacks(LH_CAP_DEATH_RELEASES))
		skip();
	handle = walk_down("bucket/object", LH_EXCLUSIVE);
	assert_int_equal(lh_handle_consistent(handle), 0); // nothing to tell
	let_go(handle);
	locks_die_holding("bucket/object", NULL);
	handle = walk_down("bucket/object", LH_EXCLUSIVE);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_handle_consistent(handle), 0);
	let_go(handle);
	handle = walk_down("bucket/object", LH_EXCLUSIVE);
	assert_int_equal(lh_handle_flags(handle), 0);
	let_go(handle);
	close_all();
}

static void what_is_no_path_is_refused(void **state)
{
	static const char *const wrong[] = { "", "/", "/a", "a/", "a//b", "//" };
	const struct lh_acquire_options permits = { .max_holders = 2 };
	char name[LH_KEY_MAX + 2];
	lh_handle *handle = NULL;

	(void)state;
	if (lacks(LH_CAP_INTENT | LH_CAP_SEMAPHORE))
		skip();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(attempt_path(wrong[i], LH_EXCLUSIVE), -EINVAL);
	assert_int_equal(lh_acquire_path(locks_scene.locks, NULL, LH_NOW, NULL, &handle), -EINVAL);
	assert_int_equal(lh_acquire_path(NULL, "a/b", LH_NOW, NULL, &handle), -EINVAL);
	assert_int_equal(lh_acquire_path(locks_scene.locks, "a/b", LH_NOW, NULL, NULL), -EINVAL);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(attempt_path(name, LH_EXCLUSIVE), -EMSGSIZE);
	name[LH_KEY_MAX] = '\0';
	assert_int_equal(attempt_path(name, LH_EXCLUSIVE), 0);
	if (lh_locks_capabilities(locks_scene.locks) & LH_CAP_SEMAPHORE)
		assert_int_equal(
			lh_acquire_path(locks_scene.locks, "a/b", LH_NOW, &permits, &handle),
			-EINVAL);
	assert_null(handle);
	assert_int_equal(attempt("a", NULL), 0);
	close_all();
}

// A provider without intention locks has paths of one component.
static void paths_need_intention_locks(void **state)
{
	const bool can = lh_locks_capabilities(locks_scene.locks) & LH_CAP_INTENT;

	(void)state;
	assert_int_equal(attempt_path("a", LH_EXCLUSIVE), 0);
	assert_int_equal(attempt_path("a/b", LH_EXCLUSIVE), can ? 0 : -ENOTSUP);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(of_sixteen_pairs_of_modes_those_of_the_matrix_go_together),
		LOCKS_TEST(a_third_is_refused_whoever_of_the_two_is_in_its_way),
		LOCKS_TEST(no_mode_is_starved_by_the_others),
		LOCKS_TEST(what_the_dead_held_in_any_mode_is_granted_in_any_other),
		LOCKS_TEST(who_waits_for_the_dead_in_any_mode_goes_on),
		LOCKS_TEST(who_waits_too_long_in_any_mode_leaves_nothing),
		LOCKS_TEST(all_keys_are_taken_in_the_mode_that_was_asked_for),
		LOCKS_TEST(above_a_path_are_intentions_and_its_end_is_as_wanted),
		LOCKS_TEST(beside_a_path_are_others_and_over_it_is_nobody),
		LOCKS_TEST(a_path_blocked_at_its_end_leaves_nothing_held),
		LOCKS_TEST(the_token_of_a_path_is_its_ends),
		LOCKS_TEST(a_death_damages_what_was_held_exclusively_alone),
		LOCKS_TEST(what_is_no_path_is_refused),
		LOCKS_TEST(paths_need_intention_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
