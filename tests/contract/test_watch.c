// SPDX-License-Identifier: Apache-2.0
//
// Watches: what watch.h promises of placing, values and receivers, and each error that it lists.
//
//	lh_watch_at         -EINVAL, -EEXIST   options_are_checked_…, placing_again_…
//	lh_watch_claim, lh_watch_send, lh_watch_close
//	                    -EPERM, -EINVAL    wrong_arguments_…
//	                    -EBADMSG           damage_is_told_…
//	                    what else they say: test_watch_sender.c
//	lh_watch_send       -EMSGSIZE          a_value_that_is_too_large_…
//	lh_watch_read       -ENODATA, -EMSGSIZE  before_the_first_send_…, a_buffer_that_is_too_small_…
//	lh_watch_changed    -EPIPE             the_unseen_value_comes_first_and_then_the_end
//	                    -EBUSY, -ETIMEDOUT nothing_new_is_busy_or_times_out
//	                    -ECANCELED         a_fired_token_…
//	lh_watch_subscribe, lh_watch_set_cancel, lh_watch_read, lh_watch_changed
//	                    -EINVAL            wrong_arguments_…
//	                    -EBADMSG           damage_is_told_… (of each call)
#include "tests/contract/watch.h"

#include <pthread.h>

// ---- placing -------------------------------------------------------------------------------------

static void options_are_checked_and_have_defaults(void **state)
{
	const struct scene *scene = *state;
	const struct lh_watch_options wrong[] = {
		{ .max_size = 0 },
		{ .max_size = 8, .slots = 1 },
		{ .max_size = 8, .slots = SLOTS_MOST + 1 },
		{ .max_size = SIZE_MAX },
		{ .max_size = 8, .reserved = { 0, 0, 0, 1 } },
		{ .max_size = 8, .name = "" },
	};
	struct lh_watch_options options = { .max_size = 8 };
	struct lh_placement_info info;
	lh_watch watch = { { 0 } };
	uint64_t cursor = 0;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(lh_watch_footprint(&wrong[i]), 0);
		assert_int_equal(lh_watch_at(scene->arena, LH_ANYWHERE, &wrong[i], &watch),
				 -EINVAL);
	}
	assert_int_equal(lh_watch_footprint(NULL), 0);
	assert_int_equal(lh_watch_at(scene->arena, LH_ANYWHERE, NULL, &watch), -EINVAL);
	assert_int_equal(lh_watch_at(scene->arena, LH_ANYWHERE, &options, NULL), -EINVAL);
	assert_int_equal(lh_watch_at(NULL, LH_ANYWHERE, &options, &watch), -EINVAL);
	assert_int_equal(watch.private_[0], 0);
	assert_int_equal(lh_watch_footprint(&options), 64 + 4 * 64);
	options.max_size = 9;
	options.slots = 2;
	assert_int_equal(lh_watch_footprint(&options), 64 + 2 * 128);
	watch = place_with(scene->arena, 9, 2, "w");
	assert_int_equal(lh_next_placement(scene->arena, &cursor, &info), 0);
	assert_int_equal(info.kind, LH_KIND_WATCH);
	assert_int_equal(info.size, 64 + 2 * 128);
	assert_int_equal(info.data_size, 9);
	assert_int_equal(info.count, 2);
	assert_int_equal(info.offset, lh_watch_offset(&watch));
	assert_int_equal(lh_watch_offset(NULL), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// "Attaches to the equal one there: same name, max_size and slots", defaults resolved.
static void placing_again_attaches_and_differing_is_refused(void **state)
{
	const struct scene *scene = *state;
	const lh_watch first = place_with(scene->arena, 100, 0, "w");
	const lh_watch same = place_with(scene->arena, 100, 4, "w");
	struct lh_watch_options options = { .max_size = 101, .name = "w" };
	lh_watch watch;

	assert_memory_equal(&first, &same, sizeof(first));
	assert_int_equal(lh_watch_at(scene->arena, LH_ANYWHERE, &options, &watch), -EEXIST);
	options = (struct lh_watch_options){ .max_size = 100, .slots = 5, .name = "w" };
	assert_int_equal(lh_watch_at(scene->arena, LH_ANYWHERE, &options, &watch), -EEXIST);
}

// ---- values --------------------------------------------------------------------------------------

static void before_the_first_send_there_is_no_data(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	size_t size = 77;
	uint64_t value, version = 78;

	assert_int_equal(lh_watch_read(&receiver, &value, 8, &size, &version), -ENODATA);
	assert_int_equal(size, 77);
	assert_int_equal(version, 78);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBUSY);
}

static void three_sends_and_a_slow_receiver_make_one_wake_and_the_newest_value(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);

	for (uint64_t i = 1; i <= 3; i++)
		send(&watch, lease, i * 11);
	assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), 0);
	reads(&receiver, 33, 3);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBUSY);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_send_without_receivers_stores(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver;

	send(&watch, lease, 5);
	assert_int_equal(lh_lease_release(lease), 0);
	receiver = subscribe(&watch); // what is there now counts as seen
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EPIPE);
	reads(&receiver, 5, 1);
}

static void the_unseen_value_comes_first_and_then_the_end(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);

	send(&watch, lease, 1);
	assert_int_equal(lh_watch_close(&watch, lease), 0);
	assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), 0);
	assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), 0); // it does not mark
	reads(&receiver, 1, 1);
	assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), -EPIPE);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EPIPE);
	reads(&receiver, 1, 1);
	assert_int_equal(lh_watch_claim(&watch, lease), 0); // "a new claim reopens"
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBUSY);
	send(&watch, lease, 2);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), 0);
	reads(&receiver, 2, 2);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G7. Each byte counts, at each size where another way of copying begins.
static void values_of_any_size_come_back_whole(void **state)
{
	static const size_t sizes[] = {
		0,   1,   7,    8,    9,    15,   16,   63,           64,
		65,  127, 128,  1000, 2047, 2048, 2049, 100000,       1 << 20,
		255, 256, 4095, 4096, 4097, 3,    5,    (1 << 20) - 1
	};
	const struct lh_arena_options options = { .size = 6 << 20 };
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &options);
	const lh_watch watch = place_with(arena, 1 << 20, 0, NULL);
	const lh_watch small = place_with(arena, 8, 0, NULL);
	lh_watch_receiver receiver = subscribe(&watch), small_receiver = subscribe(&small);
	lh_lease *lease = scene_lease(arena);
	uint8_t *sent = malloc((1 << 20) + 1), *got = malloc((1 << 20) + 1);

	assert_non_null(sent);
	assert_non_null(got);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = 0;

		for (size_t at = 0; at <= sizes[i]; at++)
			sent[at] = (uint8_t)(at * 7 + i + at / 251);
		memset(got, 0xee, (1 << 20) + 1);
		// from and to addresses that are multiples of nothing
		assert_int_equal(lh_watch_send(&watch, lease, sent + 1, sizes[i]), 0);
		assert_int_equal(lh_watch_read(&receiver, got + 1, sizes[i], &size, NULL), 0);
		assert_int_equal(size, sizes[i]);
		assert_memory_equal(sent + 1, got + 1, size);
		assert_int_equal(got[0], 0xee);
		if (size < 1 << 20)
			assert_int_equal(got[size + 1], 0xee);
		if (size > 8)
			continue;
		memset(got, 0xee, 16);
		assert_int_equal(lh_watch_send(&small, lease, sent, sizes[i]), 0);
		assert_int_equal(lh_watch_read(&small_receiver, got, 16, &size, NULL), 0);
		assert_int_equal(size, sizes[i]);
		assert_memory_equal(sent, got, size);
		assert_int_equal(got[size], 0xee);
	}
	free(sent);
	free(got);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void sixteen_mebibytes_fit(void **state)
{
	const struct lh_arena_options options = { .size = (32 << 20) + 4096 };
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &options);
	const size_t size = 16 << 20;
	const lh_watch watch = place_with(arena, size, 2, NULL);
	lh_watch_receiver receiver = subscribe(&watch);
	lh_lease *lease = scene_lease(arena);
	uint8_t *sent = malloc(size), *got = calloc(1, size);

	assert_non_null(sent);
	assert_non_null(got);
	memset(sent, 0x5a, size);
	assert_int_equal(lh_watch_send(&watch, lease, sent, size), 0);
	assert_int_equal(lh_watch_read(&receiver, got, size, NULL, NULL), 0);
	assert_memory_equal(sent, got, size);
	free(sent);
	free(got);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_value_that_is_too_large_is_not_sent(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	lh_lease *lease = scene_lease(scene->arena);
	uint8_t value[SIZE + 1] = { 1 };

	assert_int_equal(lh_watch_send(&watch, lease, value, SIZE + 1), -EMSGSIZE);
	assert_string_equal(lh_error_detail(), "201 bytes, the watch takes 200");
	assert_int_equal(lh_watch_send(&watch, lease, NULL, 1), -EINVAL);
	assert_non_null(strstr(lh_error_detail(), "value"));
	assert_int_equal(lh_watch_read(&receiver, value, SIZE, NULL, NULL), -ENODATA);
	assert_string_equal(lh_error_detail(), ""); // not what failed before
	assert_int_equal(lh_watch_send(&watch, lease, value, SIZE), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_buffer_that_is_too_small_leaves_the_value_unseen(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	lh_lease *lease = scene_lease(scene->arena);
	size_t size = 77;
	char small[7];

	send(&watch, lease, 9);
	assert_int_equal(lh_watch_read(&receiver, small, sizeof(small), &size, NULL), -EMSGSIZE);
	assert_non_null(strstr(lh_error_detail(), "capacity"));
	assert_int_equal(lh_watch_read(&receiver, NULL, 0, &size, NULL), -EMSGSIZE);
	assert_int_equal(size, 77);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), 0);
	reads(&receiver, 9, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

// A copy of a receiver goes on from where it was copied; two receivers see for themselves.
static void receivers_remember_each_for_itself(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver one = subscribe(&watch), copy;

	send(&watch, lease, 1);
	copy = one;
	reads(&one, 1, 1);
	assert_int_equal(lh_watch_changed(&one, LH_NOW), -EBUSY);
	assert_int_equal(lh_watch_changed(&copy, LH_NOW), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// ---- waiting -------------------------------------------------------------------------------------

// G10
static void nothing_new_is_busy_or_times_out(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);

	for (int round = 0; round < 2; round++) { // without a sender, and with one
		uint64_t begin = lh_now();

		assert_int_equal(lh_watch_claim(NULL, lease), -EINVAL); // leaves a detail
		assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBUSY);
		assert_string_equal(lh_error_detail(), "");
		assert_int_equal(lh_watch_claim(NULL, lease), -EINVAL);
		assert_int_equal(lh_watch_changed(&receiver, (lh_deadline){ 1 }), -ETIMEDOUT);
		assert_string_equal(lh_error_detail(), "");
		assert_int_equal(lh_watch_changed(&receiver, lh_deadline_after(LH_MS(3))),
				 -ETIMEDOUT);
		assert_true(lh_now() >= begin + LH_MS(3));
		assert_int_equal(lh_watch_claim(&watch, lease), 0);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

struct waiting {
	lh_watch_receiver receiver;
	uint64_t value;
	lh_cancel *cancel;
};

static int wait_and_read(void *context)
{
	struct waiting *waiting = context;
	const int error = lh_watch_changed(&waiting->receiver, LH_FOREVER);

	return error ? error : lh_watch_read(&waiting->receiver, &waiting->value, 8, NULL, NULL);
}

static void *fire_soon(void *cancel)
{
	scene_pause();
	lh_cancel_fire(cancel);
	return NULL;
}

static void a_fired_token_ends_the_wait_and_forbids_the_next(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	struct waiting waiting = { .receiver = subscribe(&watch) };
	lh_lease *lease = scene_lease(scene->arena);
	pthread_t thread;

	assert_int_equal(lh_cancel_create(&waiting.cancel), 0);
	assert_int_equal(lh_watch_set_cancel(&waiting.receiver, waiting.cancel), 0);
	assert_int_equal(pthread_create(&thread, NULL, fire_soon, waiting.cancel), 0);
	assert_int_equal(lh_watch_changed(&waiting.receiver, LH_FOREVER), -ECANCELED);
	pthread_join(thread, NULL);
	send(&watch, lease, 1);
	assert_int_equal(lh_watch_changed(&waiting.receiver, LH_FOREVER), -ECANCELED);
	assert_int_equal(lh_watch_changed(&waiting.receiver, LH_NOW), -ECANCELED);
	reads(&waiting.receiver, 1, 1); // reading has no deadline
	assert_int_equal(lh_watch_set_cancel(&waiting.receiver, NULL), 0);
	assert_int_equal(lh_watch_changed(&waiting.receiver, LH_NOW), -EBUSY);
	lh_cancel_destroy(waiting.cancel);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int wait_read_only(struct worker_stage *stage, uint64_t name)
{
	const struct lh_watch_options options = { .max_size = SIZE, .name = "w" };
	lh_watch_receiver receiver;
	uint64_t value = 0;
	lh_arena *arena;
	lh_watch watch;
	int error;

	need(lh_arena_open((const char *)(uintptr_t)name, LH_READ_ONLY, NULL, &arena) == 0);
	need(lh_watch_at(arena, LH_ANYWHERE, &options, &watch) == 0);
	need(lh_watch_subscribe(&watch, &receiver) == 0);
	need(lh_watch_read(&receiver, &value, sizeof(value), NULL, NULL) == 0);
	while (value < 3) {
		need(lh_watch_changed(&receiver, LH_FOREVER) == 0);
		need(lh_watch_read(&receiver, &value, sizeof(value), NULL, NULL) == 0);
	}
	error = lh_watch_changed(&receiver, LH_FOREVER);
	stage->value = value;
	need(lh_arena_close(arena) == 0);
	return error;
}

// G11: they can write nothing.
static void read_only_openers_read_and_wait_and_are_told_the_end(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place_with(scene->arena, SIZE, 0, "w");

	for (int way = 0; way < 3; way++) {
		struct worker *reader = worker_start(WORKER_PROCESS, scene->arena, NULL);
		struct worker *sender = worker_start(WORKER_PROCESS, scene->arena, NULL);
		lh_lease *lease = scene_lease_for(scene->arena, LH_SEC(1000));

		if (way < 2) {
			send(&watch, lease, 1);
			worker_tell(reader, wait_read_only, (uintptr_t)scene->name);
			send(&watch, lease, 2);
			send(&watch, lease, 3);
			assert_int_equal(way == 0 ? lh_watch_close(&watch, lease)
						  : lh_lease_renew(lease, LH_MS(30)),
					 0);
		} else {
			assert_int_equal(worker_do(sender, send_and_stay, (uintptr_t)&watch), 0);
			worker_tell(reader, wait_read_only, (uintptr_t)scene->name);
			worker_kill(sender);
		}
		assert_int_equal(worker_hear(reader), -EPIPE);
		assert_int_equal(worker_value(reader), way < 2 ? 3 : 4711);
		assert_int_equal(worker_end(reader), 0);
		if (way < 2)
			worker_end(sender);
		lh_lease_release(lease);
	}
}

static void a_receiver_that_sleeps_is_woken_by_a_send_from_another_process(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	struct worker *sender = worker_start(WORKER_PROCESS, scene->arena, NULL);
	struct waiting waiting = { .receiver = subscribe(&watch) };

	worker_tell(sender, send_and_stay, (uintptr_t)&watch);
	assert_int_equal(scene_thread(wait_and_read, &waiting), 0);
	assert_int_equal(waiting.value, 4711);
	assert_int_equal(worker_hear(sender), 0);
	assert_int_equal(worker_end(sender), 0);
	assert_int_equal(scene_thread(wait_and_read, &waiting), -EPIPE);
}

// ---- wrong use -----------------------------------------------------------------------------------

static int claim_for_another_thread(void *context)
{
	void **both = context;

	return lh_watch_claim(both[0], both[1]) == -EPERM &&
			       lh_watch_close(both[0], both[1]) == -EPERM &&
			       lh_watch_send(both[0], both[1], "", 1) == -EPERM
		       ? 0
		       : -1;
}

static void wrong_arguments_are_told(void **state)
{
	const struct lh_arena_options options = { .size = 4096 };
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena), zero = { { 0 } };
	lh_watch_receiver receiver = subscribe(&watch), none = { { 0 } };
	lh_lease *lease = scene_lease(scene->arena), *foreign;
	char name[80];
	lh_arena *other;
	void *both[2] = { (void *)(uintptr_t)&watch, lease };

	is_invalid(lh_watch_claim(NULL, lease));
	is_invalid(lh_watch_claim(&zero, lease));
	is_invalid(lh_watch_claim(&watch, NULL));
	is_invalid(lh_watch_send(&zero, lease, "", 1));
	is_invalid(lh_watch_close(&zero, lease));
	is_invalid(lh_watch_subscribe(&zero, &receiver));
	is_invalid(lh_watch_subscribe(NULL, &receiver));
	is_invalid(lh_watch_subscribe(&watch, NULL));
	is_invalid(lh_watch_set_cancel(&none, NULL));
	is_invalid(lh_watch_set_cancel(NULL, NULL));
	is_invalid(lh_watch_read(&none, name, 1, NULL, NULL));
	is_invalid(lh_watch_read(NULL, name, 1, NULL, NULL));
	is_invalid(lh_watch_read(&receiver, NULL, 1, NULL, NULL));
	is_invalid(lh_watch_changed(&none, LH_NOW));
	is_invalid(lh_watch_changed(NULL, LH_NOW));
	assert_int_equal(scene_thread(claim_for_another_thread, both), 0);
	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, &options, &other), 0);
	foreign = scene_lease(other);
	is_invalid(lh_watch_claim(&watch, foreign));
	assert_int_equal(lh_lease_release(foreign), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void damage_is_told_and_harms_nobody(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	struct object_header *header = slots_of(watch.private_).header;
	char value[SIZE];
	uint64_t good;

	send(&watch, lease, 1);
	good = atomic_load(&header->word);
	atomic_store(&header->word, slots_word_with_slot(good, 4)); // of 0 to 3
	assert_int_equal(lh_watch_read(&receiver, value, SIZE, NULL, NULL), -EBADMSG);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBADMSG);
	assert_int_equal(lh_watch_send(&watch, lease, value, 1), -EBADMSG);
	atomic_store(&header->word, slots_word_freed(good) | 513); // of 512 leases
	assert_int_equal(lh_watch_claim(&watch, lease), -EBADMSG);
	const uint32_t nobody = slots_word_owner(good) % 512 + 1; // the slot after the lease's
	atomic_store(&header->word, slots_word_freed(good) | nobody);
	assert_int_equal(lh_watch_claim(&watch, lease), -EBADMSG);
	assert_int_equal(lh_watch_read(&receiver, value, SIZE, NULL, NULL), 0);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBADMSG);
	atomic_store(&header->word, good);
	atomic_store(&slot_of(&watch, slots_word_slot(good))->size, SIZE + 1);
	assert_int_equal(lh_watch_read(&receiver, value, SIZE, NULL, NULL), -EBADMSG);
	header->kind = LH_KIND_CELL;
	assert_int_equal(lh_watch_read(&receiver, value, SIZE, NULL, NULL), -EBADMSG);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBADMSG);
	assert_int_equal(lh_watch_subscribe(&watch, &receiver), -EBADMSG);
	assert_int_equal(lh_watch_set_cancel(&receiver, NULL), -EBADMSG);
	assert_int_equal(lh_watch_close(&watch, lease), -EBADMSG);
	assert_int_equal(lh_watch_send(&watch, lease, value, 1), -EBADMSG);
	assert_int_equal(lh_lease_release(lease), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
}

static int be_a_child(void *context)
{
	void **both = context;
	uint64_t value = 0;
	lh_watch_receiver receiver;

	need(lh_watch_send(both[0], both[1], "", 1) == -ESTALE);
	need(lh_watch_subscribe(both[0], &receiver) == 0);
	need(lh_watch_read(&receiver, &value, 8, NULL, NULL) == 0);
	return value == 6 ? 0 : 1;
}

static void handles_stay_usable_in_a_forked_child_and_leases_do_not(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	void *both[2] = { (void *)(uintptr_t)&watch, lease };

	send(&watch, lease, 6);
	assert_exited(scene_child(be_a_child, both), 0);
	send(&watch, lease, 7);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(options_are_checked_and_have_defaults),
		SCENE_TEST(placing_again_attaches_and_differing_is_refused),
		SCENE_TEST(before_the_first_send_there_is_no_data),
		SCENE_TEST(three_sends_and_a_slow_receiver_make_one_wake_and_the_newest_value),
		SCENE_TEST(a_send_without_receivers_stores),
		SCENE_TEST(the_unseen_value_comes_first_and_then_the_end),
		SCENE_TEST_CLOSED(values_of_any_size_come_back_whole),
		SCENE_TEST_CLOSED(sixteen_mebibytes_fit),
		SCENE_TEST(a_value_that_is_too_large_is_not_sent),
		SCENE_TEST(a_buffer_that_is_too_small_leaves_the_value_unseen),
		SCENE_TEST(receivers_remember_each_for_itself),
		SCENE_TEST(nothing_new_is_busy_or_times_out),
		SCENE_TEST(a_fired_token_ends_the_wait_and_forbids_the_next),
		SCENE_TEST(read_only_openers_read_and_wait_and_are_told_the_end),
		SCENE_TEST(a_receiver_that_sleeps_is_woken_by_a_send_from_another_process),
		SCENE_TEST(wrong_arguments_are_told),
		SCENE_TEST(damage_is_told_and_harms_nobody),
		SCENE_TEST(handles_stay_usable_in_a_forked_child_and_leases_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
