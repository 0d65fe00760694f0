// SPDX-License-Identifier: Apache-2.0
//
// Named locks in an arena: what the table of keys keeps, gives to others and never forgets. The URL
// is the test's own.
#include "tests/contract/locks.h"

#include "arena/arena.h"
#include "src/provider/keys.h"

enum { FEW = 64 }; // entries of a small arena are some more

// Room for few keys.
static void open_small(void)
{
	locks_begin("?size=48K&leases=256");
}

static lh_arena *open_arena(void)
{
	lh_arena *arena;

	assert_int_equal(lh_arena_open(locks_scene.arena, 0, NULL, &arena), 0);
	return arena;
}

static uint32_t capacity(void)
{
	lh_arena *arena = open_arena();
	struct keys keys;
	uint32_t count;

	assert_int_equal(keys_open(arena, &keys), 0);
	count = keys.entry_count;
	assert_int_equal(lh_arena_close(arena), 0);
	return count;
}

static lh_handle *hold_number_as(const char *prefix, uint32_t number,
				 const struct lh_acquire_options *options)
{
	char key[40];

	snprintf(key, sizeof(key), "%s %u", prefix, number);
	return hold(key, options);
}

static lh_handle *hold_number(const char *prefix, uint32_t number)
{
	return hold_number_as(prefix, number, NULL);
}

// Takes and lets go so many keys that all that nobody refers to have given their room.
static void churn(const char *prefix, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		let_go(hold_number(prefix, i));
}

// Held exclusively, then shared: of the shared only records tell.
static void as_many_keys_at_once_as_there_is_room_for(void **state)
{
	const struct lh_acquire_options shared = { .mode = LH_SHARED };
	lh_handle *handles[512] = { NULL }, *handle;
	uint32_t count;

	(void)state;
	open_small();
	count = capacity();
	assert_in_range(count, FEW, 250);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < count; i++)
			handles[i] = hold_number_as(round ? "other" : "one", i,
						    round ? &shared : NULL);
		assert_int_equal(lh_acquire(locks_scene.locks, "more", LH_NOW, NULL, &handle),
				 -ENOSPC);
		assert_non_null(strstr(lh_error_detail(), "in use"));
		let_go(handles[0]);
		handle = hold("more", NULL); // in the room of that one
		let_go(handle);
		for (uint32_t i = 1; i < count; i++)
			let_go(handles[i]);
	}
	close_all();
}

static void as_many_long_keys_at_once_as_there_is_room_for(void **state)
{
	static char key[500];
	lh_handle *handles[64], *handle;
	uint32_t count;

	(void)state;
	open_small();
	count = (capacity() + 15) / 16;
	assert_in_range(count, 2, 60);
	memset(key, 'k', sizeof(key) - 1);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < count; i++) {
			key[200] = (char)('0' + i);
			key[300] = (char)('0' + round);
			handles[i] = hold(key, NULL);
		}
		key[400] = 'm';
		assert_int_equal(lh_acquire(locks_scene.locks, key, LH_NOW, NULL, &handle),
				 -ENOSPC);
		key[400] = 'k';
		assert_int_equal(attempt(key, NULL), -EBUSY);
		let_go(hold("short", NULL));
		for (uint32_t i = 0; i < count; i++)
			let_go(handles[i]);
	}
	close_all();
}

// G5: a key that comes back has a higher token, though its entry was others' meanwhile.
static void tokens_rise_over_the_loss_of_an_entry(void **state)
{
	uint64_t highest = 0;
	uint32_t count;

	(void)state;
	open_small();
	count = capacity();
	for (int i = 0; i < 5; i++) { // above all others' tokens
		lh_handle *handle;

		for (int j = 0; j < 20; j++)
			let_go(hold("key", NULL));
		handle = hold("key", NULL);
		assert_true(lh_handle_token(handle) > highest + 19);
		highest = lh_handle_token(handle);
		let_go(handle);
		churn(i % 2 ? "odd" : "even", count * 2);
	}
	close_all();
}

// "never repeats": read before and after the key's entry was others', and the key written there.
static void versions_never_come_back_over_the_loss_of_an_entry(void **state)
{
	uint64_t version = 0, last = 0;
	uint32_t count;

	(void)state;
	open_small();
	count = capacity();
	for (int i = 0; i < 5; i++) {
		for (int j = 0; j < 20; j++) {
			let_go(hold("key", NULL));
			need_equal(lh_key_version(locks_scene.locks, "key", &version), 0);
			assert_true(version > last);
			last = version;
		}
		churn(i % 2 ? "odd" : "even", count * 2);
		need_equal(lh_key_version(locks_scene.locks, "key", &version), 0);
		assert_true(version >= last && version % 2 == 0); // it has no entry now
		last = version;
	}
	close_all();
}

// An entry is not taken from who holds it in any way.
static void keys_held_in_any_mode_keep_their_entries(void **state)
{
	static const struct lh_acquire_options ways[] = { { .mode = LH_EXCLUSIVE },
							  { .mode = LH_SHARED },
							  { .mode = LH_INTENT_SHARED },
							  { .mode = LH_INTENT_EXCLUSIVE },
							  { .max_holders = 1 } };
	enum { WAYS = sizeof(ways) / sizeof(ways[0]) };
	lh_handle *handles[WAYS];

	(void)state;
	open_small();
	for (uint32_t i = 0; i < WAYS; i++)
		handles[i] = hold_number_as("kept", i, &ways[i]);
	churn("other", capacity() * 3);
	for (uint32_t i = 0; i < WAYS; i++) {
		char key[40];

		snprintf(key, sizeof(key), "kept %u", i);
		assert_int_equal(attempt(key, NULL), ways[i].max_holders ? -EINVAL : -EBUSY);
		let_go(handles[i]);
		assert_int_equal(attempt(key, NULL), 0);
	}
	close_all();
}

// inspect.h: each way of holding has a word of its own; who waits for a key only wants it.
static void the_inspector_sees_how_a_key_is_held(void **state)
{
	static const struct {
		struct lh_acquire_options options;
		const char *word;
	} ways[] = {
		{ { .mode = LH_EXCLUSIVE }, "exclusive" },
		{ { .mode = LH_SHARED }, "shared" },
		{ { .mode = LH_INTENT_SHARED }, "intent-shared" },
		{ { .mode = LH_INTENT_EXCLUSIVE }, "intent-exclusive" },
		{ { .max_holders = 5 }, "permit" },
	};
	struct lh_hold_info hold_info;
	lh_arena *arena;

	(void)state;
	open_small();
	arena = open_arena();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		lh_handle *handle = hold("key", &ways[i].options);
		uint64_t cursor = 0;

		assert_int_equal(lh_next_hold(arena, &cursor, &hold_info), 0);
		assert_string_equal(lh_hold_mode_name(hold_info.mode), ways[i].word);
		assert_int_equal(hold_info.count, 1);
		assert_int_equal(lh_next_hold(arena, &cursor, &hold_info), -ENOENT);
		assert_int_equal(lh_arena_check(arena, NULL, NULL), LH_CHECK_CLEAN);
		let_go(handle);
	}
	assert_int_equal(lh_arena_close(arena), 0);
	close_all();
}

// G12: who was lost is told however many keys came and went since.
static void damage_outlives_other_keys(void **state)
{
	lh_handle *handle;

	(void)state;
	open_small();
	locks_die_holding("key", NULL);
	churn("other", capacity() * 3);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_handle_consistent(handle), 0);
	let_go(handle);
	churn("other", capacity() * 3);
	handle = hold("key", NULL);
	assert_int_equal(lh_handle_flags(handle), 0);
	let_go(handle);
	close_all();
}

struct many {
	uint32_t count;
};

static void hold_many_and_stay(const struct line *line, void *context)
{
	const struct many *many = context;

	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	for (uint32_t i = 0; i < many->count; i++)
		hold_number("lost", i);
	line_say(line, 1);
	line_hear(line);
}

// G12, and "a crash leaks none": a table full of damaged keys that nobody asks for makes room for
// others; the damaged ones are told of all the same.
static void damaged_keys_make_room_and_are_not_forgotten(void **state)
{
	struct many many;
	struct peer peer;
	lh_handle *handle;

	(void)state;
	open_small();
	many.count = capacity();
	peer = peer_start(hold_many_and_stay, &many);
	assert_int_equal(line_hear(&peer.line), 1);
	peer_kill(&peer);
	churn("other", many.count * 2);
	for (uint32_t i = 0; i < many.count; i++) {
		handle = hold_number("lost", i);
		assert_int_equal(lh_handle_flags(handle), LH_GRANT_OWNER_DIED);
		assert_int_equal(lh_handle_consistent(handle), 0);
		let_go(handle);
	}
	close_all();
}

// "no more than the arena's max_holds"
static void more_keys_than_a_lease_has_holds_are_refused(void **state)
{
	static char text[65][8];
	const char *keys[65];
	lh_handle *handle;

	(void)state;
	locks_begin("");
	for (int i = 0; i < 65; i++) {
		snprintf(text[i], sizeof(text[i]), "key %d", i);
		keys[i] = text[i];
	}
	assert_int_equal(lh_acquire_all(locks_scene.locks, keys, 65, LH_NOW, NULL, &handle),
			 -ENOLCK);
	assert_non_null(strstr(lh_error_detail(), "64"));
	assert_non_null(strstr(lh_error_detail(), "lh_arena_open")); // the URL cannot set it
	for (int i = 0; i < 65; i++)
		assert_int_equal(attempt(keys[i], NULL), 0);
	assert_int_equal(lh_acquire_all(locks_scene.locks, keys, 64, LH_NOW, NULL, &handle), 0);
	let_go(handle);
	close_all();
}

// A second arena of the name would be another place for the same keys.
static void nothing_is_acquired_once_the_arena_has_lost_its_name(void **state)
{
	lh_handle *handle, *other;

	(void)state;
	locks_begin("");
	handle = hold("key", NULL);
	let_go(hold("other", NULL)); // a lease is kept
	assert_int_equal(lh_arena_unlink(locks_scene.arena), 0);
	assert_int_equal(lh_acquire(locks_scene.locks, "other", LH_NOW, NULL, &other), -ESTALE);
	assert_true(lh_handle_valid(handle));
	let_go(handle);
	close_all();
}

static void the_url_says_what_the_arena_is_to_be(void **state)
{
	lh_arena *arena;
	uint32_t few;

	(void)state;
	open_small();
	few = capacity();
	arena = open_arena();
	assert_int_equal(arena->lease_count, 256);
	assert_int_equal(arena->user_end - arena->user_offset, 48 << 10);
	assert_int_equal(lh_arena_close(arena), 0);
	close_all();
	assert_int_equal(lh_arena_unlink(locks_scene.arena), 0);
	locks_begin("?leases=7&size=1M");
	assert_true(capacity() > few * 10);
	arena = open_arena();
	assert_int_equal(arena->lease_count, 7);
	assert_int_equal(lh_arena_close(arena), 0);
	close_all();
}

// "opened only with owner=any"
static void another_users_arena_wants_to_be_asked_for(void **state)
{
	char path[96], url[96];
	lh_locks *locks;

	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: not root: no object can be given to another user\n");
		skip();
	}
	locks_begin("?mode=0660");
	close_all();
	snprintf(path, sizeof(path), "/dev/shm/%s", locks_scene.arena);
	assert_int_equal(chown(path, 65534, 65534), 0);
	snprintf(url, sizeof(url), "shm://%s?mode=0660", locks_scene.arena);
	assert_int_equal(lh_locks_open(url, &locks), -EACCES);
	assert_non_null(strstr(lh_error_detail(), locks_scene.arena));
	snprintf(url, sizeof(url), "shm://%s?owner=any", locks_scene.arena);
	assert_int_equal(lh_locks_open(url, &locks), 0);
	assert_int_equal(lh_locks_close(locks), 0);
	snprintf(url, sizeof(url), "shm://%s?owner=some", locks_scene.arena);
	assert_int_equal(lh_locks_open(url, &locks), -EINVAL);
}

static void an_arena_without_room_is_refused(void **state)
{
	struct lh_arena_options options = { .size = 1024 };
	uint64_t offset;
	lh_arena *arena;
	lh_locks *locks;

	(void)state;
	for (int i = 0; i < 2; i++) {
		locks_begin("");
		close_all();
		assert_int_equal(lh_arena_unlink(locks_scene.arena), 0);
		assert_int_equal(lh_arena_open(locks_scene.arena, LH_CREATE, &options, &arena), 0);
		if (i)
			assert_int_equal(
				lh_region_at(arena, LH_ANYWHERE, options.size / 2, NULL, &offset),
				0);
		assert_int_equal(lh_locks_open(locks_scene.url, &locks), -ENOSPC);
		assert_true(lh_error_detail()[0] != '\0');
		assert_int_equal(lh_arena_close(arena), 0);
		assert_int_equal(lh_arena_unlink(locks_scene.arena), 0);
		options.size = 1 << 20;
	}
}

// G9: whatever the table's bytes say, calls end, and within the mapping.
static void a_damaged_table_is_told_or_survived(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 40; seed++) {
		lh_arena *arena;
		struct keys keys;
		uint8_t *from;
		size_t size;

		open_small();
		churn("key", 100);
		arena = open_arena();
		assert_int_equal(keys_open(arena, &keys), 0);
		from = seed % 2 ? (uint8_t *)keys.table : (uint8_t *)keys.entries;
		size = keys.entry_count * (seed % 2 ? KEY_BUCKETS_PER_ENTRY * sizeof(shared_u64)
						    : sizeof(struct key_entry));
		srand(seed);
		for (size_t i = 0; i < size / 100; i++)
			from[(size_t)rand() % size] = (uint8_t)rand();
		for (uint32_t i = 0; i < 20; i++) {
			char key[20];
			lh_handle *handle;
			int error;

			snprintf(key, sizeof(key), "key %u", i);
			error = lh_acquire(locks_scene.locks, key, LH_NOW, NULL, &handle);
			if (!error)
				lh_handle_release(handle);
			else
				assert_true(error == -EBUSY || error == -EBADMSG ||
					    error == -ENOSPC || error == -EOVERFLOW);
		}
		assert_int_equal(lh_arena_close(arena), 0);
		lh_locks_close(locks_scene.locks);
		assert_int_equal(lh_arena_unlink(locks_scene.arena), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST_CLOSED(as_many_keys_at_once_as_there_is_room_for),
		LOCKS_TEST_CLOSED(as_many_long_keys_at_once_as_there_is_room_for),
		LOCKS_TEST_CLOSED(tokens_rise_over_the_loss_of_an_entry),
		LOCKS_TEST_CLOSED(versions_never_come_back_over_the_loss_of_an_entry),
		LOCKS_TEST_CLOSED(keys_held_in_any_mode_keep_their_entries),
		LOCKS_TEST_CLOSED(the_inspector_sees_how_a_key_is_held),
		LOCKS_TEST_CLOSED(damage_outlives_other_keys),
		LOCKS_TEST_CLOSED(damaged_keys_make_room_and_are_not_forgotten),
		LOCKS_TEST_CLOSED(more_keys_than_a_lease_has_holds_are_refused),
		LOCKS_TEST_CLOSED(nothing_is_acquired_once_the_arena_has_lost_its_name),
		LOCKS_TEST_CLOSED(the_url_says_what_the_arena_is_to_be),
		LOCKS_TEST_CLOSED(another_users_arena_wants_to_be_asked_for),
		LOCKS_TEST_CLOSED(an_arena_without_room_is_refused),
		LOCKS_TEST_CLOSED(a_damaged_table_is_told_or_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
