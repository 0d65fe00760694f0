// SPDX-License-Identifier: Apache-2.0
//
// Watches: one lease at a time is the sender, and a lost one is succeeded. What is told of wrong
// use, damage and values that are too large is in test_watch.c.
//
//	lh_watch_claim      -EBUSY             a_second_sender_is_busy_…
//	                    -ESTALE            a_lost_sender_is_told_…
//	                    -ENOLCK            a_sender_takes_one_of_its_leases_holds
//	                    -EOVERFLOW         a_watch_whose_tokens_are_used_up_…
//	lh_watch_send       -EBUSY             living_lost_senders_on_every_spare_slot_…
//	                    -ESTALE            a_stopped_sender_past_its_ttl_…
//	lh_watch_close      -EPERM             only_the_sender_closes
#include "tests/contract/watch.h"

#include "arena/lease.h"

#include <signal.h>

// G1
static void a_second_sender_is_busy_until_the_first_closes(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *one = scene_lease(scene->arena), *other = scene_lease(scene->arena);
	struct lh_hold_info hold;
	uint64_t cursor = 0, value = 1;

	assert_int_equal(lh_watch_claim(&watch, one), 0);
	assert_int_equal(lh_watch_claim(&watch, one), 0);
	assert_int_equal(lh_watch_claim(&watch, other), -EBUSY);
	assert_int_equal(lh_watch_send(&watch, other, &value, 8), -EBUSY);
	assert_int_equal(lh_next_hold(scene->arena, &cursor, &hold), 0);
	assert_int_equal(hold.lease, lh_lease_id(one));
	assert_int_equal(hold.kind, LH_KIND_WATCH);
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(hold.offset, lh_watch_offset(&watch));
	assert_int_equal(lh_next_hold(scene->arena, &cursor, &hold), -ENOENT);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(lh_remove(scene->arena, lh_watch_offset(&watch)), -EBUSY);
	assert_int_equal(lh_watch_close(&watch, one), 0);
	assert_int_equal(lh_watch_send(&watch, other, &value, 8), 0);
	assert_int_equal(lh_watch_send(&watch, one, &value, 8), -EBUSY);
	assert_int_equal(lh_lease_release(other), 0); // closes
	assert_int_equal(lh_watch_claim(&watch, one), 0);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_remove(scene->arena, lh_watch_offset(&watch)), 0);
}

static void only_the_sender_closes(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *one = scene_lease(scene->arena), *other = scene_lease(scene->arena);

	assert_int_equal(lh_watch_close(&watch, one), -EPERM);
	assert_int_equal(lh_watch_claim(&watch, one), 0);
	assert_int_equal(lh_watch_close(&watch, other), -EPERM);
	assert_int_equal(lh_watch_close(&watch, one), 0);
	assert_int_equal(lh_watch_close(&watch, one), -EPERM);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

// G3, G4
static void a_lost_sender_is_told_and_succeeded(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lost = scene_lease_for(scene->arena, LH_SEC(1000));
	lh_lease *next = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	uint64_t value = 9;

	send(&watch, lost, 1);
	reads(&receiver, 1, 1);
	assert_int_equal(lh_lease_renew(lost, LH_MS(5)), 0);
	assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), -EPIPE); // at the expiry
	assert_true(lh_now() >= lease_expiry(lost));
	assert_int_equal(lh_watch_claim(&watch, next), 0);
	assert_int_equal(lh_watch_send(&watch, lost, &value, 8), -ESTALE);
	assert_int_equal(lh_watch_claim(&watch, lost), -ESTALE);
	assert_int_equal(lh_watch_close(&watch, lost), -ESTALE);
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), -EBUSY);
	send(&watch, next, 2);
	reads(&receiver, 2, 2);
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	send(&watch, next, 3);
	reads(&receiver, 3, 3);
	assert_int_equal(lh_lease_release(next), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static int stop_and_send(struct worker_stage *stage, uint64_t handle)
{
	const lh_watch *watch = (const lh_watch *)(uintptr_t)handle;
	uint64_t value = 1;

	need(lh_watch_send(watch, stage->lease, &value, sizeof(value)) == 0);
	raise(SIGSTOP);
	value = 2;
	return lh_watch_send(watch, stage->lease, &value, sizeof(value));
}

// G4. Nobody wanted what it had, so nobody has latched its loss.
static void a_stopped_sender_past_its_ttl_that_resumes_publishes_nothing(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_SEC(1000) };
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	struct worker *sender = worker_start(WORKER_PROCESS, scene->arena, &timed);
	const uint64_t id = worker_lease(sender);
	lh_watch_receiver receiver = subscribe(&watch);
	struct lh_lease_info info;
	int status;

	worker_tell(sender, stop_and_send, (uintptr_t)&watch);
	assert_int_equal(waitpid(worker_pid(sender), &status, WUNTRACED), worker_pid(sender));
	assert_true(WIFSTOPPED(status));
	assert_true(scene_look(scene->arena, id, &info));
	assert_int_equal(
		lease_slot_renew(scene->arena, info.slot, lease_id_incarnation(id), LH_MS(1)), 0);
	reads(&receiver, 1, 1);
	scene_await_state(scene->arena, id, LH_LEASE_EXPIRED);
	kill(worker_pid(sender), SIGCONT);
	assert_int_equal(worker_hear(sender), -ESTALE);
	reads(&receiver, 1, 1);
	assert_int_equal(worker_end(sender), -ESTALE);
}

// G2
static void a_dead_sender_is_succeeded_and_receivers_are_told(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);

	for (int kind = 0; kind < 2; kind++) {
		struct worker *sender = worker_start(kind ? WORKER_PROCESS : WORKER_THREAD,
						     scene->arena, NULL);
		lh_watch_receiver receiver = subscribe(&watch);

		assert_int_equal(worker_do(sender, send_and_stay, (uintptr_t)&watch), 0);
		assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), 0);
		reads(&receiver, 4711, 1 + 2 * kind);
		assert_int_equal(lh_watch_claim(&watch, lease), -EBUSY);
		worker_kill(sender);
		assert_int_equal(lh_watch_changed(&receiver, LH_FOREVER), -EPIPE);
		reads(&receiver, 4711, 1 + 2 * kind);
		send(&watch, lease, 1);
		reads(&receiver, 1, 2 + 2 * kind);
		assert_int_equal(lh_watch_close(&watch, lease), 0);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

static int half_write(struct worker_stage *stage, uint64_t handle)
{
	const lh_watch *watch = (const lh_watch *)(uintptr_t)handle;
	struct slots slots;
	uint32_t slot;
	uint64_t word;

	need(lh_watch_claim(watch, stage->lease) == 0);
	slots = slots_of(watch->private_);
	word = atomic_load(&slots.header->word);
	need(slots_tag(&slots, stage->lease, word, &slot) == 0);
	memset(slot_of(watch, slot) + 1, 0xff, SIZE / 2);
	return 0;
}

// G7
static void a_dead_senders_half_written_slot_is_never_seen(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	struct worker *sender;

	send(&watch, lease, 1);
	assert_int_equal(lh_watch_close(&watch, lease), 0);
	sender = worker_start(WORKER_PROCESS, scene->arena, NULL);
	assert_int_equal(worker_do(sender, half_write, (uintptr_t)&watch), 0);
	reads(&receiver, 1, 1);
	worker_kill(sender);
	reads(&receiver, 1, 1);
	for (uint64_t i = 2; i < 12; i++) { // past every slot, the dead one's too
		send(&watch, lease, i);
		reads(&receiver, i, i);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

// A replaced sender may stop just after it has tagged the slot that has become the newest value's, and
// before it looks at the word again. It has written nothing there: all read on.
static void a_late_tag_on_the_newest_value_keeps_nobody_from_reading_it(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	const struct slots slots = slots_of(watch.private_);
	lh_lease *lease = scene_lease(scene->arena), *late = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);

	send(&watch, lease, 1);
	atomic_store(&slot_of(&watch, slots_word_slot(atomic_load(&slots.header->word)))->sequence,
		     slots_tag_of(lh_lease_id(late)));
	assert_int_equal(lh_watch_changed(&receiver, LH_NOW), 0);
	reads(&receiver, 1, 1);
	for (uint64_t i = 2; i < 8; i++) { // past that slot
		send(&watch, lease, i);
		reads(&receiver, i, i);
	}
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_lease_release(late), 0);
}

// Tags of a lease that is over, whose lease slot has a tenant that lives, keep no slot.
static void tags_of_a_lease_that_is_no_more_are_taken(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena), *gone = scene_lease(scene->arena);
	const uint32_t slot = gone->index;
	const uint64_t tag = slots_tag_of(lh_lease_id(gone));

	assert_int_equal(lh_lease_release(gone), 0);
	gone = scene_lease(scene->arena);
	assert_int_equal(gone->index, slot);
	for (uint32_t i = 0; i < 4; i++)
		atomic_store(&slot_of(&watch, i)->sequence, tag);
	for (uint64_t i = 1; i < 6; i++)
		send(&watch, lease, i);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_remove(scene->arena, lh_watch_offset(&watch)), 0);
	assert_int_equal(lh_lease_release(gone), 0);
}

// "When such senders sit on all slots but the newest value's, a send is -EBUSY until one of them
// ends or releases its lease."
static void living_lost_senders_on_every_spare_slot_make_a_send_busy(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena), *lost[3];
	lh_watch_receiver receiver = subscribe(&watch);
	uint64_t value = 2;

	send(&watch, lease, 1); // in slot 1
	assert_int_equal(lh_watch_close(&watch, lease), 0);
	for (uint32_t i = 0; i < 3; i++) {
		const struct slots slots = slots_of(watch.private_);
		uint32_t slot;

		lost[i] = scene_lease_for(scene->arena, LH_SEC(1000));
		assert_int_equal(lh_watch_claim(&watch, lost[i]), 0);
		assert_int_equal(
			slots_tag(&slots, lost[i], atomic_load(&slots.header->word), &slot), 0);
		scene_let_expire(lost[i]);
	}
	assert_int_equal(lh_watch_send(&watch, lease, &value, 8), -EBUSY);
	reads(&receiver, 1, 1);
	assert_int_equal(lh_watch_close(&watch, lease),
			 -EPERM); // it holds what it held before: G10
	assert_int_equal(lh_remove(scene->arena, lh_watch_offset(&watch)), -EBUSY);
	assert_int_equal(lh_lease_release(lost[1]), -ESTALE);
	send(&watch, lease, 2);
	reads(&receiver, 2, 2);
	send(&watch, lease, 3); // what was the newest value's slot is spare by now
	reads(&receiver, 3, 3);
	assert_int_equal(lh_lease_release(lost[0]), -ESTALE);
	assert_int_equal(lh_lease_release(lost[2]), -ESTALE);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_sender_takes_one_of_its_leases_holds(void **state)
{
	const struct lh_arena_options options = { .max_holds = 2 };
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &options);
	lh_watch watches[3];
	lh_lease *lease = scene_lease(arena);

	for (int i = 0; i < 3; i++)
		watches[i] = place(arena);
	assert_int_equal(lh_watch_claim(&watches[0], lease), 0);
	send(&watches[1], lease, 1);
	assert_int_equal(lh_watch_claim(&watches[2], lease), -ENOLCK);
	assert_int_equal(lh_watch_send(&watches[2], lease, "", 1), -ENOLCK);
	assert_int_equal(lh_watch_close(&watches[0], lease), 0);
	send(&watches[2], lease, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_watch_whose_tokens_are_used_up_can_be_read_and_removed(void **state)
{
	const struct scene *scene = *state;
	const lh_watch watch = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_watch_receiver receiver = subscribe(&watch);
	struct object_header *header = slots_of(watch.private_).header;
	uint64_t word, value = 2;

	send(&watch, lease, 1);
	word = atomic_load(&header->word);
	atomic_store(&header->word, word | SLOTS_TOKEN_MAX << SLOTS_TOKEN_SHIFT);
	assert_int_equal(lh_watch_send(&watch, lease, &value, 8), -EOVERFLOW);
	assert_int_equal(lh_watch_close(&watch, lease), 0);
	assert_int_equal(lh_watch_claim(&watch, lease), -EOVERFLOW);
	reads(&receiver, 1, 1);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_remove(scene->arena, lh_watch_offset(&watch)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_second_sender_is_busy_until_the_first_closes),
		SCENE_TEST(only_the_sender_closes),
		SCENE_TEST(a_lost_sender_is_told_and_succeeded),
		SCENE_TEST(a_stopped_sender_past_its_ttl_that_resumes_publishes_nothing),
		SCENE_TEST(a_dead_sender_is_succeeded_and_receivers_are_told),
		SCENE_TEST(a_dead_senders_half_written_slot_is_never_seen),
		SCENE_TEST(a_late_tag_on_the_newest_value_keeps_nobody_from_reading_it),
		SCENE_TEST(tags_of_a_lease_that_is_no_more_are_taken),
		SCENE_TEST(living_lost_senders_on_every_spare_slot_make_a_send_busy),
		SCENE_TEST_CLOSED(a_sender_takes_one_of_its_leases_holds),
		SCENE_TEST(a_watch_whose_tokens_are_used_up_can_be_read_and_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
