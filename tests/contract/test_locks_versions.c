// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO url file
// ctest: ALSO url test, not under address: it forks beside threads, as its allocator cannot
//
// Named locks: versions for optimistic readers. Runs on any provider (tests/contract/locks.h); what
// one cannot do is skipped.
#include "tests/contract/locks.h"

enum { MODES = 4 };

static const struct lh_acquire_options in_mode[MODES] = {
	[LH_EXCLUSIVE] = { .mode = LH_EXCLUSIVE },
	[LH_SHARED] = { .mode = LH_SHARED },
	[LH_INTENT_SHARED] = { .mode = LH_INTENT_SHARED },
	[LH_INTENT_EXCLUSIVE] = { .mode = LH_INTENT_EXCLUSIVE },
};

static bool lacks(unsigned capability)
{
	if (lh_locks_capabilities(locks_scene.locks) & capability)
		return false;
	close_all();
	return true;
}

static uint64_t version_of(const char *key)
{
	uint64_t version = 0;

	need_equal(lh_key_version(locks_scene.locks, key, &version), 0);
	return version;
}

// Whether the provider has versions; else the set is closed.
static bool has_versions(void)
{
	uint64_t version;
	const int error = lh_key_version(locks_scene.locks, "key", &version);

	if (!error)
		return true;
	assert_int_equal(error, -ENOTSUP);
	close_all();
	return false;
}

static void a_version_is_odd_while_the_key_is_held_exclusively_and_then_another(void **state)
{
	uint64_t last;

	(void)state;
	if (!has_versions())
		skip();
	last = version_of("key"); // that nobody has ever used
	assert_int_equal(last % 2, 0);
	assert_int_equal(version_of("key"), last);
	for (int i = 0; i < 3; i++) {
		lh_handle *handle = hold("key", NULL);
		const uint64_t held = version_of("key");

		assert_int_equal(held % 2, 1);
		assert_true(held > last);
		assert_int_equal(version_of("key"), held);
		let_go(handle);
		last = version_of("key");
		assert_int_equal(last % 2, 0);
		assert_true(last > held);
	}
	close_all();
}

static void who_only_reads_or_waits_leaves_an_even_version(void **state)
{
	lh_handle *handle;
	uint64_t before;

	(void)state;
	if (!has_versions())
		skip();
	let_go(hold("key", NULL));
	for (int mode = LH_SHARED; mode < MODES; mode++) {
		if (mode != LH_SHARED &&
		    !(lh_locks_capabilities(locks_scene.locks) & LH_CAP_INTENT))
			continue;
		handle = hold("key", &in_mode[mode]);
		before = version_of("key");
		assert_int_equal(before % 2, 0);
		assert_int_equal(attempt("key", NULL),
				 -EBUSY); // it may have changed: one wanted it
		assert_int_equal(version_of("key") % 2, 0);
		let_go(handle);
		assert_int_equal(version_of("key") % 2, 0);
	}
	close_all();
}

static void a_version_rises_over_the_holders_death(void **state)
{
	uint64_t before, after;

	(void)state;
	if (!has_versions() || lacks(LH_CAP_DEATH_RELEASES))
		skip();
	before = version_of("key");
	locks_die_holding("key", NULL);
	after = version_of("key"); // G2: without anybody's acquiring it
	assert_int_equal(after % 2, 0);
	assert_true(after > before);
	close_all();
}

struct pages { // outside of the lock's memory
	_Atomic uint64_t first, second;
};

static void write_pages(const struct line *line, void *context)
{
	struct pages *pages = context;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	line_say(line, 1);
	for (;;) {
		lh_handle *handle = hold("pages", NULL);

		atomic_fetch_add_explicit(&pages->first, 1, memory_order_relaxed);
		sched_yield();
		atomic_fetch_add_explicit(&pages->second, 1, memory_order_relaxed);
		let_go(handle);
	}
}

// "get an even version, read, and get the version again"
static void what_is_read_between_two_equal_even_versions_is_whole(void **state)
{
	struct pages *pages;
	struct peer peers[2];
	uint64_t last = 0;
	int whole = 0;

	(void)state;
	if (!has_versions())
		skip();
	pages = locks_share(sizeof(*pages));
	for (int i = 0; i < 2; i++) {
		peers[i] = peer_start(write_pages, pages);
		line_hear(&peers[i].line);
	}
	while (whole < 2000) {
		const uint64_t before = version_of("pages");
		const uint64_t second = atomic_load_explicit(&pages->second, memory_order_relaxed);
		const uint64_t first = atomic_load_explicit(&pages->first, memory_order_relaxed);

		assert_true(before >= last); // of one reader's
		last = before;
		if (before % 2 || version_of("pages") != before)
			continue;
		assert_int_equal(first, second);
		whole++;
	}
	for (int i = 0; i < 2; i++)
		peer_kill(&peers[i]);
	close_all();
}

static void a_version_that_makes_no_sense_is_refused(void **state)
{
	char name[LH_KEY_MAX + 2];
	uint64_t version = 7;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(lh_key_version(NULL, "key", &version), -EINVAL);
	assert_int_equal(lh_key_version(locks_scene.locks, NULL, &version), -EINVAL);
	assert_int_equal(lh_key_version(locks_scene.locks, "key", NULL), -EINVAL);
	assert_int_equal(lh_key_version(locks_scene.locks, name, &version), -EMSGSIZE);
	assert_int_equal(version, 7);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(a_version_is_odd_while_the_key_is_held_exclusively_and_then_another),
		LOCKS_TEST(who_only_reads_or_waits_leaves_an_even_version),
		LOCKS_TEST(a_version_rises_over_the_holders_death),
		LOCKS_TEST(what_is_read_between_two_equal_even_versions_is_whole),
		LOCKS_TEST(a_version_that_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
