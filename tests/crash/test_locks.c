// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// Who makes, finds or takes over a key's entry, or gives up making it, dies, or is stopped while
// others do all that, after each instruction. No key ever has two entries, no entry is lost, tokens rise, and damage is told
// exactly if the victim held the lock.
#include "tests/crash/crash.h"

#include "src/provider/keys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { ENTRIES = 4, SPACE = 16384 };

static struct keys keys; // few entries of the table: the same in all processes of a scene
static const char *const others[ENTRIES] = { "other 0", "other 1", "other 2", "other 3" };
static char long_key[200], long_other[200];
static uint64_t highest; // token that the key has had
static bool was_held;    // by the victim, when it was killed
static bool any_news;    // damaged entries made room: others of their bucket may be called damaged

static const char *key(const struct crash_scene *scene)
{
	return scene->kept ? long_key : "key";
}

// ---- acts ----------------------------------------------------------------------------------------

// A lease takes the key's lock, or a try: its record.
static int take(lh_lease *lease, const char *name, lh_deadline deadline, lh_grant *grant,
		struct hold_record **ret_record)
{
	struct rwlock_attempt attempt = {
		.arena = keys.arena, .lease = lease, .deadline = deadline, .grant = grant
	};
	int error = keys_refer(&keys, lease, name, strlen(name), 0, deadline, &attempt.record);

	if (error)
		return error;
	attempt.granule = hold_word_granule(atomic_load(&attempt.record->object));
	attempt.object = rwlock_object(keys.arena, attempt.granule);
	error = rwlock_acquire_write(&attempt);
	if (error)
		hold_clear(attempt.record);
	else
		*ret_record = attempt.record;
	return error;
}

static int drop(lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load(&record->object);

	return rwlock_unlock(lease, rwlock_object(keys.arena, hold_word_granule(word)), record);
}

static int take_and_drop(lh_lease *lease, const char *name)
{
	struct hold_record *record;
	lh_grant grant;
	int error = take(lease, name, LH_NOW, &grant, &record);

	return error ? error : drop(lease, record);
}

static struct key_entry *entry_of(const struct hold_record *record)
{
	return (struct key_entry *)(keys.arena->base +
				    (uint64_t)hold_word_granule(atomic_load(&record->object)) *
					    LAYOUT_LINE);
}

// Whether what the record names is the key's own.
static bool is_of(const struct hold_record *record, const char *name)
{
	const struct key_entry *entry = entry_of(record);
	const uint32_t block = atomic_load(&entry->block);
	const shared_u64 *bytes = block ? keys.blocks[block - 1].bytes : entry->bytes;

	return atomic_load(&entry->size) == strlen(name) &&
	       memcmp((const void *)bytes, name, strlen(name)) == 0;
}

static bool refers_to_nothing(const lh_lease *lease)
{
	const struct lh_arena *arena = lease->arena;
	const size_t first = (size_t)lease->index * arena->holds_per_lease;

	for (uint32_t i = 0; i < arena->holds_per_lease; i++) {
		if (atomic_load(&arena->holds[first + i].object))
			return false;
	}
	return true;
}

// The victim's: it tells that it had the lock (results[1]).
static int act(struct crash_scene *scene)
{
	struct hold_record *record;
	lh_grant grant;
	int error = take(scene->mine, key(scene), LH_NOW, &grant, &record);

	if (error)
		return refers_to_nothing(scene->mine) ? error : -EBADMSG;
	scene->shared->results[1] = 1;
	if (!is_of(record, key(scene)))
		return -EBADMSG;
	error = drop(scene->mine, record);
	return refers_to_nothing(scene->mine) ? error : -EBADMSG;
}

// ---- stages --------------------------------------------------------------------------------------

static void stage(struct crash_scene *scene)
{
	crash_stage(scene);
	crash_must(scene, keys_open(scene->arena, &keys), "keys");
	keys.entry_count = ENTRIES;
	keys.block_count = 1;
	scene->placements = 3;
	scene->kept = 0;
	highest = 0;
	any_news = false;
	memset(long_key, 'k', sizeof(long_key) - 1);
	memset(long_other, 'k', sizeof(long_other) - 2);
}

static void stage_found(struct crash_scene *scene)
{
	stage(scene);
	crash_must(scene, take_and_drop(scene->lease, "other 0"), "other");
	crash_must(scene, take_and_drop(scene->lease, "key"), "key");
	crash_must(scene, take_and_drop(scene->lease, "other 1"), "other");
	highest = 1;
}

// Each entry is another key's, which nobody refers to; the key had one before.
static void stage_full(struct crash_scene *scene)
{
	stage(scene);
	for (int i = 0; i < 9; i++)
		crash_must(scene, take_and_drop(scene->lease, "key"), "key");
	highest = 9;
	for (int i = 0; i < ENTRIES; i++)
		crash_must(scene, take_and_drop(scene->lease, others[i]), "other");
}

static void stage_long(struct crash_scene *scene)
{
	stage(scene);
	scene->kept = 1;
	crash_must(scene, take_and_drop(scene->lease, long_other), "long");
	for (int i = 0; i + 1 < ENTRIES; i++)
		crash_must(scene, take_and_drop(scene->lease, others[i]), "other");
}

// All entries are those of a process that died holding them.
static void hold_all(struct crash_scene *scene)
{
	struct hold_record *record;
	lh_grant grant;

	for (int i = 0; i < ENTRIES; i++)
		crash_must(scene, take(scene->mine, others[i], LH_NOW, &grant, &record), "hold");
}

static void stage_lost(struct crash_scene *scene)
{
	stage(scene);
	any_news = true;
	crash_dead_holder(scene, hold_all);
}

// ---- a draft that comes to nothing ---------------------------------------------------------------

// The entry that the victim has taken for the key and not linked yet; NULL: it has none.
static struct key_entry *draft_of_victim(const struct crash_scene *scene)
{
	for (uint32_t i = 0; i < ENTRIES; i++) {
		struct key_entry *entry = &keys.entries[i];

		if (key_phase(atomic_load(&entry->state)) == KEY_USED &&
		    hold_find_of(keys.arena, scene->shared->slot, LH_KIND_RWLOCK,
				 keys_granule(&keys, entry)))
			return entry;
	}
	return NULL;
}

// The victim has an entry for the key; then another makes the key one, faster. One who looked for
// room died meanwhile, and has left the draft RETIRING.
static bool begin_overtaken(struct crash_scene *scene)
{
	struct key_entry *draft;
	uint64_t state;

	while (!(draft = draft_of_victim(scene))) {
		if (stepper_step(&scene->stepper) != STEPPER_MORE)
			return false;
	}
	crash_must(scene, take_and_drop(scene->lease, "key"), "key");
	highest = 1;
	state = atomic_load(&draft->state);
	return atomic_compare_exchange_strong(&draft->state, &state,
					      key_state(KEY_RETIRING, state));
}

static struct hold_record *block_taken;

// Another long key has the one block, and is referred to.
static void stage_no_block(struct crash_scene *scene)
{
	stage(scene);
	scene->kept = 1;
	crash_must(scene,
		   keys_refer(&keys, scene->lease, long_other, strlen(long_other), 0, LH_NOW,
			      &block_taken),
		   "long");
}

// ---- what must come of it ------------------------------------------------------------------------

// Each bucket has a list, and an entry is in one at most.
static void check_lists(struct crash_scene *scene)
{
	uint32_t linked[ENTRIES] = { 0 };

	for (uint32_t bucket = 0; bucket < ENTRIES * KEY_BUCKETS_PER_ENTRY; bucket++) {
		uint64_t link = atomic_load(&keys.heads[bucket]);

		for (int steps = 0; link & KEY_LINK_MASK; steps++) {
			const uint32_t at = (uint32_t)(link & KEY_LINK_MASK) - 1;

			if (at >= ENTRIES || steps > ENTRIES) {
				crash_fail(scene, "bucket %u is no list", bucket);
				return;
			}
			linked[at]++;
			link = atomic_load(&keys.entries[at].next);
		}
	}
	for (uint32_t i = 0; i < ENTRIES; i++)
		CRASH_CHECK(scene, linked[i] <= 1, "entry %u is in %u lists", i, linked[i]);
}

static void check_key(struct crash_scene *scene, bool damaged)
{
	struct hold_record *record;
	lh_grant grant;
	int result = take(scene->lease, key(scene), LH_NOW, &grant, &record);

	CRASH_CHECK(scene, result == 0, "G2: the next user got %d (%s)", result, lh_error_detail());
	if (result)
		return;
	CRASH_CHECK(scene, grant.token > highest, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)highest);
	CRASH_CHECK(scene, any_news || ((grant.flags & LH_GRANT_OWNER_DIED) != 0) == damaged,
		    "G12: %s of damage", grant.flags ? "told" : "not told");
	CRASH_CHECK(scene, is_of(record, key(scene)), "the entry is another key's");
	highest = grant.token;
	result = drop(scene->lease, record);
	CRASH_CHECK(scene, result == 0, "unlock: %d", result);
}

// G6: so many keys as there are entries are to be had at once: each its own, and no more.
static void check_room(struct crash_scene *scene)
{
	struct hold_record *records[ENTRIES], *record;
	int result;

	for (int i = 0; i < ENTRIES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "room %d", i);
		result = keys_refer(&keys, scene->lease, name, strlen(name), 0, LH_NOW,
				    &records[i]);
		CRASH_CHECK(scene, result == 0, "G6: key %d of %d: %d (%s)", i, ENTRIES, result,
			    lh_error_detail());
		if (result)
			return;
		for (int j = 0; j < i; j++)
			CRASH_CHECK(scene, entry_of(records[i]) != entry_of(records[j]),
				    "two keys have one entry");
	}
	result = keys_refer(&keys, scene->lease, "one more", 8, 0, LH_NOW, &record);
	CRASH_CHECK(scene, result == -ENOSPC, "a key beyond the last entry: %d", result);
	check_lists(scene);
	for (int i = 0; i < ENTRIES; i++)
		hold_clear(records[i]);
	result = take_and_drop(scene->lease, long_key); // the one block
	CRASH_CHECK(scene, result == 0, "G6: the block: %d (%s)", result, lh_error_detail());
}

static bool holds(const struct crash_scene *scene)
{
	for (uint32_t i = 0; i < ENTRIES; i++) {
		const struct key_entry *entry = &keys.entries[i];
		const struct hold_record *record = hold_find_of(
			keys.arena, scene->shared->slot, LH_KIND_RWLOCK,
			arena_granule((uint64_t)((const uint8_t *)entry - keys.arena->base)));

		if (record && hold_word_mode(atomic_load(&record->object)) == LH_HOLD_EXCLUSIVE &&
		    word_owner(atomic_load(&entry->lock.header.word)) == scene->shared->slot + 1)
			return true;
	}
	return false;
}

static void kill_victim(struct crash_scene *scene)
{
	was_held = holds(scene);
	crash_kill(scene);
}

static void verify(struct crash_scene *scene)
{
	crash_reap_children(scene);
	check_lists(scene);
	if (scene->variant & CRASH_SLOTS_FIRST)
		check_room(scene);
	check_key(scene, was_held);
	check_lists(scene);
	check_room(scene);
	crash_check_empty(scene);
}

static void verify_refused(struct crash_scene *scene)
{
	CRASH_CHECK(scene, !scene->shared->results[1], "it was granted a key without room for it");
	hold_clear(block_taken);
	verify(scene);
}

// ---- stopped -------------------------------------------------------------------------------------

// While it stands there, another takes the key, and then every entry that can be had for other
// keys.
static void stop_and_go_on(struct crash_scene *scene)
{
	struct hold_record *record = NULL, *records[ENTRIES];
	lh_grant grant;
	bool held, begun;
	int result, taken = 0;

	crash_stop(scene);
	held = holds(scene);
	begun = held || scene->shared->results[1];
	result = take(scene->lease, key(scene), LH_NOW, &grant, &record);
	// The word is a writer's before it holds the lock.
	CRASH_CHECK(scene, result == 0 || result == -EBUSY, "beside the stopped one: %d (%s)",
		    result, lh_error_detail());
	CRASH_CHECK(scene, result != 0 || !held, "G1: two hold the key");
	if (result == 0) {
		CRASH_CHECK(scene, grant.token > highest, "G5: token %llu after %llu",
			    (unsigned long long)grant.token, (unsigned long long)highest);
		highest = grant.token;
		if (scene->variant & CRASH_LEFT_FREE) {
			CRASH_CHECK(scene, drop(scene->lease, record) == 0, "unlock");
			record = NULL;
		}
	}
	for (int i = 0; i < ENTRIES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "room %d", i);
		if (keys_refer(&keys, scene->lease, name, strlen(name), 0, LH_NOW,
			       &records[taken]) == 0)
			taken++;
	}
	// The stopped one refers to one or two, the director to one.
	CRASH_CHECK(scene, taken >= ENTRIES - 3, "G6: %d of %d entries to be had", taken, ENTRIES);
	check_lists(scene);
	for (int i = 0; i < taken; i++)
		hold_clear(records[i]);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene,
		    scene->shared->result == 0 ||
			    (scene->shared->result == -EBUSY && result == 0 && record),
		    "the resumed one got %d, the other %d", scene->shared->result, result);
	CRASH_CHECK(scene, begun || result != 0 || !record || scene->shared->result == -EBUSY,
		    "G1: both were granted the key");
	if (result == 0 && record)
		CRASH_CHECK(scene, drop(scene->lease, record) == 0, "unlock");
	was_held = false;
}

static void after_stop(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_lease_release(scene->mine);
}

static void verify_stopped(struct crash_scene *scene)
{
	check_key(scene, false);
	check_room(scene);
	crash_check_empty(scene);
}

#define KILLED(shown, staged)                                                                      \
	.name = (shown), .shows = "G1 G2 G5 G6 G12", .every = true, .space = SPACE,                \
	.stage = (staged), .prepare = crash_with_lease, .act = act, .strike = kill_victim,         \
	.verify = verify
#define STOPPED(shown, staged)                                                                     \
	.name = (shown), .shows = "G1 G5 G6", .every = true, .space = SPACE, .stage = (staged),    \
	.prepare = crash_with_lease, .act = act, .after = after_stop, .strike = stop_and_go_on,    \
	.verify = verify_stopped

static const struct crash_operation operations[] = {
	{ KILLED("a new key", stage), .thin = { 300, 42, 11 } },
	{ KILLED("a key that is there", stage_found), .thin = { 300, 40, 10 } },
	{ KILLED("a key in the room of another", stage_full), .thin = { 400, 50, 14 } },
	{ KILLED("a long key in the room of another", stage_long), .thin = { 1, 110, 28 },
	  .not_quick = true },
	{ KILLED("a key in the room of the dead", stage_lost), .thin = { 1, 75, 20 },
	  .not_quick = true },
	{ KILLED("a new key that another makes first", stage), .begin = begin_overtaken,
	  .thin = { 300, 42, 11 } },
	{ .name = "a long key without room for it",
	  .shows = "G6",
	  .every = true,
	  .space = SPACE,
	  .stage = stage_no_block,
	  .prepare = crash_with_lease,
	  .act = act,
	  .strike = kill_victim,
	  .verify = verify_refused,
	  .thin = { 1, 42, 11 },
	  .not_quick = true },
	{ STOPPED("stopped before a new key", stage), .thin = { 300, 42, 11 } },
	{ STOPPED("stopped before a key that is there", stage_found), .thin = { 1, 40, 10 },
	  .not_quick = true },
	{ STOPPED("stopped before the room of another", stage_full), .thin = { 400, 50, 14 } },
	{ STOPPED("stopped before a new key that another makes first", stage),
	  .begin = begin_overtaken, .thin = { 300, 42, 11 } },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
