// SPDX-License-Identifier: Apache-2.0
//
// Cells: each error that cell.h lists, and what it promises.
//
//	lh_cell_at      -EINVAL, -EEXIST   options_are_checked
//	lh_cell_begin   -EBUSY, -ETIMEDOUT a_second_drafter_…
//	                -ECANCELED         a_fired_token_…
//	                -EINTR             an_interruptible_lease_…
//	                -EDEADLK           beginning_twice_…, a_cycle_through_a_cell_…
//	                -ESTALE            a_commit_after_loss_changes_nothing, a_lease_that_expires_in_the_queue_…
//	                -ENOLCK            a_draft_takes_one_of_its_leases_holds
//	                -ENOMEM            without_memory_…
//	                -EOVERFLOW         a_cell_whose_tokens_are_used_up_…
//	                -EPERM, -EINVAL    wrong_arguments_are_told
//	                -EBADMSG           damage_is_told_and_harms_nobody
//	lh_cell_commit  -EPERM, -EBUSY     without_a_draft_…, living_lost_writers_on_every_spare_slot_…
//	lh_cell_abort   -EPERM             without_a_draft_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "arena/lease.h"
#include "src/slots.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

struct value {
	uint64_t first, second;
};

static lh_cell place_with(lh_arena *arena, size_t size, uint32_t slots, const char *name)
{
	const struct lh_cell_options options = { .size = size, .slots = slots, .name = name };
	lh_cell cell = { { 0 } };

	assert_int_equal(lh_cell_at(arena, LH_ANYWHERE, &options, &cell), 0);
	return cell;
}

static lh_cell place(lh_arena *arena)
{
	return place_with(arena, sizeof(struct value), 0, NULL);
}

static struct value *begin(const lh_cell *cell, lh_lease *lease)
{
	void *draft = NULL;

	assert_int_equal(lh_cell_begin(cell, lease, LH_NOW, &draft, NULL), 0);
	assert_non_null(draft);
	return draft;
}

static void write_cell(const lh_cell *cell, lh_lease *lease, uint64_t value)
{
	*begin(cell, lease) = (struct value){ value, ~value };
	assert_int_equal(lh_cell_commit(cell, lease), 0);
}

static void reads(const lh_cell *cell, uint64_t value, uint64_t version)
{
	struct value seen = { 1, 1 };
	uint64_t seen_version = UINT64_MAX;

	assert_int_equal(lh_cell_read(cell, &seen, &seen_version), 0);
	assert_int_equal(seen.first, value);
	assert_int_equal(seen.second, version ? ~value : 0);
	assert_int_equal(seen_version, version);
}

static lh_lease *lease_for(lh_arena *arena, uint64_t ttl_ns)
{
	const struct lh_lease_options options = { .ttl_ns = ttl_ns };

	return scene_lease_with(arena, &options);
}

static void let_expire(const struct lh_lease *lease)
{
	while (lh_now() < lease_expiry(lease))
		scene_pause();
}

// ---- placing and reading -------------------------------------------------------------------------

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
		assert_int_equal(lh_cell_at(scene->arena, LH_ANYWHERE, &wrong[i], &cell), -EINVAL);
	}
	assert_int_equal(lh_cell_at(scene->arena, LH_ANYWHERE, NULL, &cell), -EINVAL);
	assert_int_equal(lh_cell_at(scene->arena, LH_ANYWHERE, &options, NULL), -EINVAL);
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
		lh_lease *lost = lease_for(scene->arena, LH_MS(5));
		lh_lease *next = scene_lease(scene->arena);
		struct value *draft = begin(&cell, lost);
		lh_grant grant;
		void *other;

		*draft = (struct value){ 99, 99 };
		let_expire(lost);
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

static void living_lost_writers_on_every_spare_slot_make_it_busy(void **state)
{
	const struct scene *scene = *state;
	const lh_cell cell = place_with(scene->arena, sizeof(struct value), 2, NULL);
	const struct slots slots = slots_of(cell.private_);
	lh_lease *lost = lease_for(scene->arena, LH_MS(3)), *lease = scene_lease(scene->arena);
	struct value_slot *spare;
	uint64_t tag;
	uint32_t slot;
	void *draft;

	begin(&cell, lost)->first = 1;
	assert_int_equal(slots_tag(&slots, lost, atomic_load(&slots.header->word), &slot), 0);
	assert_int_equal(slot, 1);
	let_expire(lost);
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
	if (SCENE_SANITIZED) {
		print_message("SKIP: contract.cell: no memory limit under a sanitizer\n");
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

	assert_int_equal(lh_cell_read(NULL, &value, NULL), -EINVAL);
	assert_int_equal(lh_cell_read(&zero, &value, NULL), -EINVAL);
	assert_int_equal(lh_cell_read(&cell, NULL, NULL), -EINVAL);
	assert_int_equal(lh_cell_begin(&zero, lease, LH_NOW, &draft, NULL), -EINVAL);
	assert_int_equal(lh_cell_begin(&cell, NULL, LH_NOW, &draft, NULL), -EINVAL);
	assert_int_equal(lh_cell_begin(&cell, lease, LH_NOW, NULL, NULL), -EINVAL);
	assert_int_equal(lh_cell_commit(&zero, lease), -EINVAL);
	assert_int_equal(lh_cell_abort(NULL, lease), -EINVAL);
	assert_int_equal(scene_thread(use_from_another_thread, both), 0);
	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, &options, &other), 0);
	foreign = scene_lease(other);
	assert_int_equal(lh_cell_begin(&cell, foreign, LH_NOW, &draft, NULL), -EINVAL);
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
		SCENE_TEST(it_starts_as_zero_bytes_of_version_0),
		SCENE_TEST(values_of_any_size_come_back_whole),
		SCENE_TEST(a_draft_is_private_until_it_is_committed),
		SCENE_TEST(a_lease_released_with_an_open_draft_rolls_back),
		SCENE_TEST(a_forked_child_frees_its_copy_of_a_draft_and_changes_nothing),
		SCENE_TEST(a_second_drafter_is_busy_or_times_out),
		SCENE_TEST(tokens_rise_with_every_begin),
		SCENE_TEST(beginning_twice_is_a_deadlock_whatever_the_deadline),
		SCENE_TEST(a_cycle_through_a_cell_is_told_to_one),
		SCENE_TEST(waiters_get_through_one_by_one_and_no_update_is_lost),
		SCENE_TEST(a_commit_after_loss_changes_nothing),
		SCENE_TEST(a_lease_that_expires_in_the_queue_is_not_granted),
		SCENE_TEST(without_a_draft_there_is_nothing_to_commit_or_abort),
		SCENE_TEST(a_lease_drafts_several_cells_at_once),
		SCENE_TEST(living_lost_writers_on_every_spare_slot_make_it_busy),
		SCENE_TEST_CLOSED(a_draft_takes_one_of_its_leases_holds),
		SCENE_TEST(a_cell_whose_tokens_are_used_up_can_be_read_and_removed),
		SCENE_TEST(a_fired_token_ends_the_wait),
		SCENE_TEST(an_interruptible_lease_is_interrupted),
		SCENE_TEST(read_only_openers_read),
		SCENE_TEST(wrong_arguments_are_told),
		SCENE_TEST(damage_is_told_and_harms_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
