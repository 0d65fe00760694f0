// SPDX-License-Identifier: Apache-2.0
//
// Cells: what cell.h promises of values, drafts and those who wait to draft; its errors are shown
// in test_cell_errors.c, save
//
//	lh_cell_begin   -EDEADLK           a_cycle_through_a_cell_…
//	                -ESTALE            a_commit_after_loss_changes_nothing, a_lease_that_expires_in_the_queue_…
//	lh_cell_commit, lh_cell_abort
//	                -ESTALE            a_commit_after_loss_changes_nothing, a_forked_child_…
#include "tests/contract/cell.h"

// ---- placing and reading -------------------------------------------------------------------------

static void it_starts_as_zero_bytes_of_version_0(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);

	reads(&cell, 0, 0);
}

// G7. Each byte counts.
static void values_of_any_size_come_back_whole(void **state)
{
	static const size_t sizes[] = { 1, 7, 8, 9, 63, 64, 65, 1000, 4097, 100000 };
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const lh_cell cell = place_with(scene->arena, sizes[i], 2, NULL);
		uint8_t *got = malloc(sizes[i] + 1);

		assert_non_null(got);
		for (unsigned round = 0; round < 5; round++) {
			uint64_t version;
			void *draft;

			assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), 0);
			for (size_t at = 0; at < sizes[i]; at++) {
				uint8_t *byte = (uint8_t *)draft + at;

				assert_int_equal(*byte, round ? (uint8_t)(at + round - 1) : 0);
				*byte = (uint8_t)(at + round);
			}
			assert_int_equal(lh_cell_commit(&cell, lease), 0);
			got[sizes[i]] = 0xee;
			assert_int_equal(lh_cell_read(&cell, got, &version), 0);
			assert_int_equal(version, round + 1);
			assert_int_equal(got[sizes[i]], 0xee);
			for (size_t at = 0; at < sizes[i]; at++)
				assert_int_equal(got[at], (uint8_t)(at + round));
		}
		free(got);
		assert_int_equal(lh_remove(scene->arena, lh_cell_offset(&cell)), 0);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_draft_is_private_until_it_is_committed(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct value *draft = begin(&cell, lease);
	struct lh_hold_info hold;
	uint64_t cursor = 0;

	*draft = (struct value){ 5, ~5ul };
	reads(&cell, 0, 0);
	assert_int_equal(lh_next_hold(scene->arena, &cursor, &hold), 0);
	assert_int_equal(hold.kind, LH_KIND_CELL);
	assert_int_equal(hold.mode, LH_HOLD_EXCLUSIVE);
	assert_int_equal(hold.token, 1);
	assert_int_equal(lh_cell_commit(&cell, lease), 0);
	reads(&cell, 5, 1);
	draft = begin(&cell, lease);
	assert_int_equal(draft->first, 5);
	draft->first = 6;
	assert_int_equal(lh_cell_abort(&cell, lease), 0);
	reads(&cell, 5, 1);
	write_cell(&cell, lease, 7);
	reads(&cell, 7, 2);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_lease_released_with_an_open_draft_rolls_back(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena), *next;

	write_cell(&cell, lease, 1);
	begin(&cell, lease)->first = 2;
	assert_int_equal(lh_lease_release(lease), 0);
	reads(&cell, 1, 1);
	next = scene_lease(scene->arena);
	write_cell(&cell, next, 3);
	reads(&cell, 3, 2);
	assert_int_equal(lh_lease_release(next), 0);
}

static int release_in_child(void *context)
{
	void **both = context;
	struct value value;

	need(lh_cell_commit(both[0], both[1]) == -ESTALE);
	need(lh_cell_abort(both[0], both[1]) == -ESTALE);
	need(lh_lease_release(both[1]) == -ESTALE);
	need(lh_cell_read(both[0], &value, NULL) == 0);
	return 0;
}

static void a_forked_child_frees_its_copy_of_a_draft_and_changes_nothing(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	void *both[2] = { (void *)(uintptr_t)&cell, lease };

	*begin(&cell, lease) = (struct value){ 4, ~4ul };
	assert_exited(scene_child(release_in_child, both), 0);
	assert_int_equal(lh_cell_commit(&cell, lease), 0);
	reads(&cell, 4, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int read_in_read_only_arena(void *name)
{
	const struct lh_cell_options options = { .size = sizeof(struct value), .name = "c" };
	struct value value;
	uint64_t version;
	lh_arena *arena;
	lh_cell cell;

	need(lh_arena_open(name, LH_READ_ONLY, NULL, &arena) == 0);
	need(lh_cell_at(arena, LH_ANYWHERE, &options, &cell) == 0);
	need(lh_cell_read(&cell, &value, &version) == 0);
	need(value.first == 6 && version == 1);
	return lh_arena_close(arena);
}

// G11
static void read_only_openers_read(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place_with(scene->arena, sizeof(struct value), 0, "c");
	lh_lease *lease = scene_lease(scene->arena);

	write_cell(&cell, lease, 6);
	begin(&cell, lease)->first = 7;
	assert_exited(scene_child(read_in_read_only_arena, (void *)(uintptr_t)scene->name), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

// ---- drafting ------------------------------------------------------------------------------------

// G5
static void tokens_rise_with_every_begin(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t last = 0;
	lh_grant grant;
	void *draft;

	for (int i = 0; i < 10; i++) {
		assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, &draft, &grant), 0);
		assert_true(grant.token > last);
		assert_int_equal(grant.flags, 0);
		assert_int_equal(grant.previous, 0);
		last = grant.token;
		assert_int_equal(i % 2 ? lh_cell_commit(&cell, lease) : lh_cell_abort(&cell, lease),
				 0);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

static int begin_waiting(struct worker_stage *stage, uint64_t cell)
{
	struct value *value;
	void *draft;
	const int error = lh_cell_begin((const lh_cell *)(uintptr_t)cell, stage->lease, LH_FOREVER,
					&draft, &stage->grant);

	if (!error) {
		value = draft;
		stage->value = value->first;
		value->first++;
		value->second = ~value->first;
	}
	return error;
}

static int commit_it(struct worker_stage *stage, uint64_t cell)
{
	return lh_cell_commit((const lh_cell *)(uintptr_t)cell, stage->lease);
}

// The other holds the mutex and wants the cell; this one the other way round.
static void a_cycle_through_a_cell_is_told_to_one(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *other = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);
	int mine;

	assert_int_equal(worker_do(other, worker_lock, lh_mutex_offset(&mutex)), 0);
	begin(&cell, lease)->first = 0;
	worker_tell(other, begin_waiting, (uintptr_t)&cell);
	mine = lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL);
	if (mine == -EDEADLK) {
		assert_int_equal(lh_cell_abort(&cell, lease), 0);
		assert_int_equal(worker_hear(other), 0);
		assert_int_equal(worker_end(other), 0);
	} else {
		fail_msg("the other gave up without letting go, this one got %d", mine);
	}
	assert_int_equal(lh_lease_release(lease), 0);
}

// G8
static void waiters_get_through_one_by_one_and_no_update_is_lost(void **state)
{
	enum { WORKERS = 5 };
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct worker *workers[WORKERS];
	bool done[WORKERS] = { false };
	uint64_t committed = 0;

	begin(&cell, lease);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = worker_start(i % 2 ? WORKER_PROCESS : WORKER_THREAD, scene->arena,
					  NULL);
		worker_tell(workers[i], begin_waiting, (uintptr_t)&cell);
		scene_await_wait(scene->arena, worker_lease(workers[i]), true);
	}
	assert_int_equal(lh_cell_abort(&cell, lease), 0);
	for (int count = 0; count < WORKERS; count++) {
		int next = -1;

		while (next < 0) { // they are let in in any order
			for (int i = 0; i < WORKERS; i++) {
				if (!done[i] && worker_answered(workers[i]))
					next = i;
			}
			scene_pause();
		}
		done[next] = true;
		assert_int_equal(worker_hear(workers[next]), 0);
		assert_int_equal(worker_value(workers[next]), committed);
		reads(&cell, committed, committed);
		if (count == 2) { // dies with its draft: the next one goes on from the value
			worker_kill(workers[next]);
			continue;
		}
		assert_int_equal(worker_do(workers[next], commit_it, (uintptr_t)&cell), 0);
		assert_int_equal(worker_end(workers[next]), 0);
		committed++;
	}
	reads(&cell, WORKERS - 1, WORKERS - 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G4, G5, G7. Whether somebody has succeeded it or not.
static void a_commit_after_loss_changes_nothing(void **state)
{
	const struct scene *scene = *state;

	for (int succeeded = 0; succeeded < 2; succeeded++) {
		const lh_cell cell = place(scene->arena);
		lh_lease *lost = scene_lease_for(scene->arena, LH_SEC(1000));
		lh_lease *next = scene_lease(scene->arena);
		struct value *draft = begin(&cell, lost);
		lh_grant grant;
		void *other;

		*draft = (struct value){ 99, 99 };
		scene_let_expire(lost);
		if (succeeded) {
			assert_int_equal(lh_cell_begin(&cell, next, LH_FOREVER, &other, &grant), 0);
			assert_int_equal(grant.flags, 0); // nothing to repair, ever
			*(struct value *)other = (struct value){ 2, ~2ul };
			assert_int_equal(lh_cell_commit(&cell, lost), -ESTALE);
			reads(&cell, 0, 0);
			assert_int_equal(lh_cell_commit(&cell, next), 0);
		}
		assert_int_equal(lh_cell_commit(&cell, lost), -ESTALE);
		reads(&cell, succeeded ? 2 : 0, (uint64_t)succeeded);
		assert_int_equal(draft->first, 99); // still readable
		assert_int_equal(lh_cell_begin(&cell, lost, LH_NOW, &other, NULL), -ESTALE);
		if (succeeded)
			assert_int_equal(lh_cell_abort(&cell, lost), -ESTALE);
		assert_int_equal(lh_lease_release(lost), -ESTALE);
		write_cell(&cell, next, 3);
		reads(&cell, 3, (uint64_t)succeeded + 1);
		assert_int_equal(lh_lease_release(next), 0);
	}
}

static int begin_with_little_time(struct worker_stage *stage, uint64_t cell)
{
	void *draft;

	return lh_cell_begin((const lh_cell *)(uintptr_t)cell, stage->lease, LH_FOREVER, &draft,
			     NULL);
}

static void a_lease_that_expires_in_the_queue_is_not_granted(void **state)
{
	const struct lh_lease_options timed = { .ttl_ns = LH_MS(20) };
	const struct scene *scene = *state;
	const lh_cell cell = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct worker *late = worker_start(WORKER_PROCESS, scene->arena, &timed);

	begin(&cell, lease)->first = 0;
	assert_int_equal(worker_do(late, begin_with_little_time, (uintptr_t)&cell), -ESTALE);
	assert_int_equal(lh_cell_commit(&cell, lease), 0);
	assert_int_equal(worker_end(late), -ESTALE);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_lease_drafts_several_cells_at_once(void **state)
{
	const struct scene *scene = *state;
	const lh_cell one = place(scene->arena), other = place(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	struct value *first = begin(&one, lease), *second = begin(&other, lease);

	*first = (struct value){ 1, ~1ul };
	*second = (struct value){ 2, ~2ul };
	assert_int_equal(lh_cell_commit(&one, lease), 0);
	assert_int_equal(lh_cell_commit(&other, lease), 0);
	reads(&one, 1, 1);
	reads(&other, 2, 1);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(it_starts_as_zero_bytes_of_version_0),
		SCENE_TEST(values_of_any_size_come_back_whole),
		SCENE_TEST(a_draft_is_private_until_it_is_committed),
		SCENE_TEST(a_lease_released_with_an_open_draft_rolls_back),
		SCENE_TEST(a_forked_child_frees_its_copy_of_a_draft_and_changes_nothing),
		SCENE_TEST(read_only_openers_read),
		SCENE_TEST(tokens_rise_with_every_begin),
		SCENE_TEST(a_cycle_through_a_cell_is_told_to_one),
		SCENE_TEST(waiters_get_through_one_by_one_and_no_update_is_lost),
		SCENE_TEST(a_commit_after_loss_changes_nothing),
		SCENE_TEST(a_lease_that_expires_in_the_queue_is_not_granted),
		SCENE_TEST(a_lease_drafts_several_cells_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
