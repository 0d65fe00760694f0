// SPDX-License-Identifier: Apache-2.0
//
// Cells: each error that cell.h lists.
//
//	lh_cell_at      -EINVAL, -EEXIST   options_are_checked
//	lh_cell_begin   -EBUSY, -ETIMEDOUT a_second_drafter_…
//	                -ECANCELED         a_fired_token_…
//	                -EINTR             an_interruptible_lease_…
//	                -EDEADLK           beginning_twice_…; test_cell.c: a_cycle_through_a_cell_…
//	                -ESTALE            test_cell.c: a_commit_after_loss_…, a_lease_that_expires_in_the_queue_…
//	                -ENOLCK            a_draft_takes_one_of_its_leases_holds
//	                -ENOMEM            without_memory_…
//	                -EOVERFLOW         a_cell_whose_tokens_are_used_up_…
//	                -EPERM, -EINVAL    wrong_arguments_are_told
//	                -EBADMSG           damage_is_told_and_harms_nobody
//	lh_cell_commit  -EPERM, -EBUSY     without_a_draft_…, living_lost_writers_on_every_spare_slot_…
//	                -ESTALE            test_cell.c: a_commit_after_loss_…
//	lh_cell_abort   -EPERM             without_a_draft_…
//	                -ESTALE            test_cell.c: a_commit_after_loss_…, a_forked_child_…
#include "tests/contract/cell.h"

#include "arena/arena.h"
#include "src/slots.h"

#include <signal.h>
#include <sys/resource.h>

// ---- placing -------------------------------------------------------------------------------------

static void options_are_checked(void **state)
{
	const struct scene *scene = *state;
	const struct lh_cell_options wrong[] = { { .size = 0 },
						 { .size = 8, .slots = 1 },
						 { .size = 8, .slots = SLOTS_MOST + 1 },
						 { .size = SIZE_MAX },
						 { .size = 8, .reserved = { 1 } } };
	struct lh_cell_options options = { .size = 8, .name = "c" };
	lh_cell cell, again;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(lh_cell_footprint(&wrong[i]), 0);
		is_invalid(lh_cell_at(scene->arena, LH_ANYWHERE, &wrong[i], &cell));
	}
	is_invalid(lh_cell_at(scene->arena, LH_ANYWHERE, NULL, &cell));
	is_invalid(lh_cell_at(scene->arena, LH_ANYWHERE, &options, NULL));
	assert_int_equal(lh_cell_footprint(&options), 64 + 4 * 64);
	assert_int_equal(lh_cell_at(scene->arena, LH_ANYWHERE, &options, &cell), 0);
	options.slots = 4;
	assert_int_equal(lh_cell_at(scene->arena, LH_ANYWHERE, &options, &again), 0);
	assert_memory_equal(&cell, &again, sizeof(cell));
	assert_true(lh_cell_offset(&cell) >= lh_arena_first_offset(scene->arena));
	assert_int_equal(lh_cell_offset(NULL), 0);
	options.size = 9;
	assert_int_equal(lh_cell_at(scene->arena, LH_ANYWHERE, &options, &again), -EEXIST);
}

// ---- drafting ------------------------------------------------------------------------------------

// G1, G10
static void a_second_drafter_is_busy_or_times_out(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *one = scene_lease(scene->arena), *other = scene_lease(scene->arena);
	lh_grant grant = { .token = 77 };
	struct lh_lease_info info;
	void *draft = &grant;

	begin(&cell, one);
	assert_int_equal(lh_cell_begin(&cell, other, LH_NOW, &draft, &grant), -EBUSY);
	assert_int_equal(lh_cell_begin(&cell, other, lh_deadline_after(LH_MS(3)), &draft, &grant),
			 -ETIMEDOUT);
	assert_ptr_equal(draft, &grant);
	assert_int_equal(grant.token, 77);
	assert_true(scene_look(scene->arena, lh_lease_id(other), &info));
	assert_int_equal(info.holds, 0);
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(lh_remove(scene->arena, lh_cell_offset(&cell)), -EBUSY);
	assert_int_equal(lh_cell_abort(&cell, one), 0);
	assert_int_equal(lh_cell_begin(&cell, other, LH_NOW, &draft, &grant), 0);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

static void beginning_twice_is_a_deadlock_whatever_the_deadline(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	void *draft;

	begin(&cell, lease)->first = 0;
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), -EDEADLK);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_FOREVER, &draft, NULL), -EDEADLK);
	assert_int_equal(lh_cell_commit(&cell, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void without_a_draft_there_is_nothing_to_commit_or_abort(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *one = scene_lease(scene->arena), *other = scene_lease(scene->arena);

	assert_int_equal(lh_cell_commit(&cell, one), -EPERM);
	assert_int_equal(lh_cell_abort(&cell, one), -EPERM);
	begin(&cell, one)->first = 0;
	assert_int_equal(lh_cell_commit(&cell, other), -EPERM);
	assert_int_equal(lh_cell_abort(&cell, other), -EPERM);
	assert_int_equal(lh_cell_commit(&cell, one), 0);
	assert_int_equal(lh_cell_commit(&cell, one), -EPERM);
	assert_int_equal(lh_lease_release(one), 0);
	assert_int_equal(lh_lease_release(other), 0);
}

static void living_lost_writers_on_every_spare_slot_make_it_busy(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place_with(scene->arena, sizeof(struct value), 2, NULL);
	const struct slots slots = slots_of(cell.private_);
	lh_lease *lost = scene_lease_for(scene->arena, LH_SEC(1000));
	lh_lease *lease = scene_lease(scene->arena);
	struct value_slot *spare;
	uint64_t tag;
	uint32_t slot;
	void *draft;

	begin(&cell, lost)->first = 1;
	assert_int_equal(slots_tag(&slots, lost, atomic_load(&slots.header->word), &slot), 0);
	assert_int_equal(slot, 1);
	scene_let_expire(lost);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_FOREVER, &draft, NULL), -EBUSY);
	reads(&cell, 0, 0);
	// It comes to sit there only after the other has begun.
	spare = (struct value_slot *)((uint8_t *)(slots.header + 1) + 128);
	tag = atomic_exchange(&spare->sequence, 0);
	*begin(&cell, lease) = (struct value){ 8, ~8ul };
	atomic_store(&spare->sequence, tag);
	assert_int_equal(lh_cell_commit(&cell, lease), -EBUSY);
	assert_int_equal(lh_lease_release(lost), -ESTALE);
	assert_int_equal(lh_cell_commit(&cell, lease), 0);
	reads(&cell, 8, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_draft_takes_one_of_its_leases_holds(void **state)
{
	const struct lh_arena_options options = { .max_holds = 1 };
	struct scene *scene = *state;
	lh_arena *arena = scene_open(scene, &options);
	const lh_cell one = place(arena), other = place(arena);
	lh_lease *lease = scene_lease(arena);
	void *draft;

	begin(&one, lease)->first = 0;
	assert_int_equal(lh_cell_begin(&other, lease, LH_NOW, &draft, NULL), -ENOLCK);
	assert_int_equal(lh_cell_commit(&one, lease), 0);
	begin(&other, lease)->first = 0;
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_cell_whose_tokens_are_used_up_can_be_read_and_removed(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct object_header *header = slots_of(cell.private_).header;
	void *draft;

	write_cell(&cell, lease, 3);
	atomic_store(&header->word,
		     atomic_load(&header->word) | SLOTS_TOKEN_MAX << SLOTS_TOKEN_SHIFT);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), -EOVERFLOW);
	reads(&cell, 3, 1);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_remove(scene->arena, lh_cell_offset(&cell)), 0);
}

static int begin_in_little_memory(void *context)
{
	const struct rlimit little = { 1 << 20, 1 << 20 };
	lh_arena *arena = context;
	lh_lease *lease;
	lh_cell cell;
	void *draft;
	const struct lh_cell_options options = { .size = 8 << 20, .slots = 2 };

	need(lh_lease_acquire(arena, NULL, &lease) == 0);
	need(lh_cell_at(arena, LH_ANYWHERE, &options, &cell) == 0);
	need(setrlimit(RLIMIT_AS, &little) == 0);
	need(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL) == -ENOMEM);
	need(lh_cell_commit(&cell, lease) == -EPERM);
	return lh_lease_release(lease);
}

static void without_memory_for_a_draft_nothing_is_held(void **state)
{
	const struct lh_arena_options options = { .size = 20 << 20 };
	struct scene *scene = *state;

	scene_open(scene, &options);
	if (SANITIZED) {
		print_message("SKIP: contract.cell_errors: no memory limit under a sanitizer\n");
		return;
	}
	assert_exited(scene_child(begin_in_little_memory, scene->arena), 0);
}

// ---- waiting -------------------------------------------------------------------------------------

static void a_fired_token_ends_the_wait(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_cancel *cancel;
	void *draft;

	assert_int_equal(lh_cancel_create(&cancel), 0);
	assert_int_equal(lh_lease_set_cancel(lease, cancel), 0);
	lh_cancel_fire(cancel);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), -ECANCELED);
	assert_int_equal(lh_lease_set_cancel(lease, NULL), 0);
	begin(&cell, lease)->first = 0;
	assert_int_equal(lh_lease_release(lease), 0);
	lh_cancel_destroy(cancel);
}

static void ignore(int number)
{
	(void)number;
}

static int begin_interrupted(struct worker_stage *stage, uint64_t cell)
{
	const struct sigaction action = { .sa_handler = ignore };
	void *draft;

	need(sigaction(SIGUSR1, &action, NULL) == 0);
	return lh_cell_begin((const lh_cell *)(uintptr_t)cell, stage->lease, LH_FOREVER, &draft,
			     NULL);
}

static void an_interruptible_lease_is_interrupted(void **state)
{
	const struct lh_lease_options options = { .flags = LH_LEASE_INTERRUPTIBLE };
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct worker *other = worker_start(WORKER_PROCESS, scene->arena, &options);

	begin(&cell, lease)->first = 0;
	worker_tell(other, begin_interrupted, (uintptr_t)&cell);
	scene_await_wait(scene->arena, worker_lease(other), true);
	while (!worker_answered(other)) {
		kill(worker_pid(other), SIGUSR1);
		scene_pause();
	}
	assert_int_equal(worker_hear(other), -EINTR);
	assert_int_equal(worker_end(other), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// ---- wrong use -----------------------------------------------------------------------------------

static int use_from_another_thread(void *context)
{
	void **both = context, *draft;

	return lh_cell_begin(both[0], both[1], LH_NOW, &draft, NULL) == -EPERM &&
			       lh_cell_commit(both[0], both[1]) == -EPERM &&
			       lh_cell_abort(both[0], both[1]) == -EPERM
		       ? 0
		       : -1;
}

static void wrong_arguments_are_told(void **state)
{
	const struct lh_arena_options options = { .size = 4096 };
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena), zero = { { 0 } };
	lh_lease *lease = scene_lease(scene->arena), *foreign;
	void *both[2] = { (void *)(uintptr_t)&cell, lease };
	struct value value;
	char name[80];
	lh_arena *other;
	void *draft;

	is_invalid(lh_cell_read(NULL, &value, NULL));
	is_invalid(lh_cell_read(&zero, &value, NULL));
	is_invalid(lh_cell_read(&cell, NULL, NULL));
	is_invalid(lh_cell_begin(&zero, lease, LH_NOW, &draft, NULL));
	is_invalid(lh_cell_begin(&cell, NULL, LH_NOW, &draft, NULL));
	is_invalid(lh_cell_begin(&cell, lease, LH_NOW, NULL, NULL));
	is_invalid(lh_cell_commit(&zero, lease));
	is_invalid(lh_cell_abort(NULL, lease));
	assert_int_equal(scene_thread(use_from_another_thread, both), 0);
	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, &options, &other), 0);
	foreign = scene_lease(other);
	is_invalid(lh_cell_begin(&cell, foreign, LH_NOW, &draft, NULL));
	assert_int_equal(lh_lease_release(foreign), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void damage_is_told_and_harms_nobody(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct object_header *header = slots_of(cell.private_).header;
	struct value value;
	uint64_t good;
	void *draft;

	write_cell(&cell, lease, 1);
	good = atomic_load(&header->word);
	atomic_store(&header->word, slots_word_with_slot(good, 4)); // of 0 to 3
	assert_int_equal(lh_cell_read(&cell, &value, NULL), -EBADMSG);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), -EBADMSG);
	atomic_store(&header->word, good | 513); // of 512 leases
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&header->word, good);
	begin(&cell, lease)->first = 2;
	atomic_store(&header->word, good); // it is not the drafter's any more
	assert_int_equal(lh_cell_commit(&cell, lease), -EBADMSG);
	header->kind = LH_KIND_WATCH;
	assert_int_equal(lh_cell_read(&cell, &value, NULL), -EBADMSG);
	assert_int_equal(lh_cell_commit(&cell, lease), -EBADMSG);
	assert_int_equal(lh_cell_abort(&cell, lease), -EBADMSG);
	assert_int_equal(lh_lease_release(lease), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// first: what later tests' threads have had of memory is not the limit's any more
		SCENE_TEST_CLOSED(without_memory_for_a_draft_nothing_is_held),
		SCENE_TEST(options_are_checked),
		SCENE_TEST(a_second_drafter_is_busy_or_times_out),
		SCENE_TEST(beginning_twice_is_a_deadlock_whatever_the_deadline),
		SCENE_TEST(without_a_draft_there_is_nothing_to_commit_or_abort),
		SCENE_TEST(living_lost_writers_on_every_spare_slot_make_it_busy),
		SCENE_TEST_CLOSED(a_draft_takes_one_of_its_leases_holds),
		SCENE_TEST(a_cell_whose_tokens_are_used_up_can_be_read_and_removed),
		SCENE_TEST(a_fired_token_ends_the_wait),
		SCENE_TEST(an_interruptible_lease_is_interrupted),
		SCENE_TEST(wrong_arguments_are_told),
		SCENE_TEST(damage_is_told_and_harms_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
