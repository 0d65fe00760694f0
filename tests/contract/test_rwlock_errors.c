// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Reader-writer locks: each error that rwlock.h lists.
//
//	-EBUSY, -ETIMEDOUT   test_rwlock.c: a_writer_keeps_everybody_out_…, readers_keep_writers_out_…
//	-ECANCELED           a_fired_token_…, a_cancelled_writer_…
//	-EINTR               an_interruptible_…
//	-EDEADLK             test_rwlock.c: what_conflicts_with_itself_…, upgrades; cycles: test_rwlock_loss.c
//	-EOWNERDEAD, -ESTALE test_rwlock_loss.c
//	-ENOLCK              a_full_hold_table_…
//	-EOVERFLOW           counters_that_are_used_up_…
//	-EPERM               what_is_not_held_…, another_threads_lease_…
//	-EINVAL              handles_and_leases_…
//	-EBADMSG             a_damaged_header_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/hold.h"
#include "src/rwlock.h"

#include <pthread.h>
#include <signal.h>

static lh_rwlock place(lh_arena *arena, const struct lh_rwlock_options *options)
{
	lh_rwlock rwlock = { { 0 } };

	assert_int_equal(lh_rwlock_at(arena, LH_ANYWHERE, options, &rwlock), 0);
	return rwlock;
}

static lh_rwlock at(const struct worker_stage *stage, uint64_t offset)
{
	lh_rwlock rwlock;

	need(lh_rwlock_at(stage->arena, offset, NULL, &rwlock) == 0);
	return rwlock;
}

static int read_lock(struct worker_stage *stage, uint64_t offset)
{
	const lh_rwlock rwlock = at(stage, offset);

	return lh_rwlock_read_lock(&rwlock, stage->lease, LH_FOREVER, &stage->grant);
}

// ---- ended waits ---------------------------------------------------------------------------------

struct waiting {
	const lh_rwlock *rwlock;
	lh_arena *arena;
	lh_cancel *cancel;
	unsigned flags;
	int (*call)(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
		    lh_grant *grant);
	bool reads_first;
	_Atomic uint64_t number; // of its lease
	_Atomic bool done;
	int result, after;
};

static void *wait_in_thread(void *context)
{
	struct waiting *waiting = context;
	const struct lh_lease_options options = { .flags = waiting->flags };
	lh_lease *lease = NULL;

	need(lh_lease_acquire(waiting->arena, &options, &lease) == 0);
	if (waiting->reads_first)
		need(lh_rwlock_read_lock(waiting->rwlock, lease, LH_NOW, NULL) == 0);
	need(lh_lease_set_cancel(lease, waiting->cancel) == 0);
	waiting->number = lh_lease_id(lease);
	waiting->result = waiting->call(waiting->rwlock, lease, LH_FOREVER, NULL);
	waiting->done = true;
	waiting->after = lh_rwlock_unlock(waiting->rwlock, lease);
	need(lh_lease_release(lease) == 0);
	return NULL;
}

static pthread_t start_waiting(struct waiting *waiting)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wait_in_thread, waiting), 0);
	while (!waiting->number)
		scene_pause();
	scene_await_wait(waiting->arena, waiting->number, true);
	return thread;
}

// G10: a writer waiting for readers or for a writer, a reader, and an upgrade, which still reads.
static void a_cancelled_wait_holds_what_it_held_before(void **state)
{
	const struct scene *scene = *state;

	for (int i = 0; i < 4; i++) {
		const lh_rwlock rwlock = place(scene->arena, NULL);
		lh_lease *holder = scene_lease(scene->arena);
		struct waiting waiting = { .rwlock = &rwlock,
					   .arena = scene->arena,
					   .call = i == 0   ? lh_rwlock_read_lock
						   : i == 3 ? lh_rwlock_upgrade
							    : lh_rwlock_write_lock,
					   .reads_first = i == 3 };
		lh_cancel *cancel = NULL;
		pthread_t thread;

		assert_int_equal(lh_cancel_create(&cancel), 0);
		waiting.cancel = cancel;
		assert_int_equal(i < 2 ? lh_rwlock_write_lock(&rwlock, holder, LH_NOW, NULL)
				       : lh_rwlock_read_lock(&rwlock, holder, LH_NOW, NULL),
				 0);
		thread = start_waiting(&waiting);
		lh_cancel_fire(cancel);
		pthread_join(thread, NULL);
		assert_int_equal(waiting.result, -ECANCELED);
		assert_int_equal(waiting.after, i == 3 ? 0 : -EPERM);
		assert_int_equal(lh_rwlock_unlock(&rwlock, holder), 0);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, holder, LH_NOW, NULL), 0);
		assert_int_equal(lh_lease_release(holder), 0);
		lh_cancel_destroy(cancel);
	}
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// A cancelled writer, with readers queued behind it.
static void a_cancelled_writer_lets_the_queued_readers_in(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct worker *queued = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *reader = scene_lease(scene->arena);
	struct waiting waiting = { .rwlock = &rwlock,
				   .arena = scene->arena,
				   .call = lh_rwlock_write_lock };
	lh_cancel *cancel = NULL;
	pthread_t thread;

	assert_int_equal(lh_cancel_create(&cancel), 0);
	waiting.cancel = cancel;
	assert_int_equal(lh_rwlock_read_lock(&rwlock, reader, LH_NOW, NULL), 0);
	thread = start_waiting(&waiting);
	worker_tell(queued, read_lock, lh_rwlock_offset(&rwlock));
	scene_await_wait(scene->arena, worker_lease(queued), true);
	lh_cancel_fire(cancel);
	assert_int_equal(worker_hear(queued), 0);
	pthread_join(thread, NULL);
	assert_int_equal(waiting.result, -ECANCELED);
	assert_int_equal(worker_end(queued), 0);
	assert_int_equal(lh_lease_release(reader), 0);
	lh_cancel_destroy(cancel);
}

static void a_fired_token_ends_every_call_before_it_looks(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);
	lh_cancel *cancel = NULL;

	assert_int_equal(lh_cancel_create(&cancel), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_set_cancel(lease, cancel), 0);
	lh_cancel_fire(cancel);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), -ECANCELED);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL), -ECANCELED);
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, NULL), -ECANCELED);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	lh_cancel_destroy(cancel);
}

static void handle(int number)
{
	(void)number;
}

static void an_interruptible_lease_is_interrupted(void **state)
{
	const struct sigaction action = { .sa_handler = handle };
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 0; i < 3; i++) {
		lh_lease *holder = scene_lease(scene->arena);
		struct waiting waiting = { .rwlock = &rwlock,
					   .arena = scene->arena,
					   .flags = LH_LEASE_INTERRUPTIBLE,
					   .call = i == 0   ? lh_rwlock_read_lock
						   : i == 1 ? lh_rwlock_write_lock
							    : lh_rwlock_upgrade,
					   .reads_first = i == 2 };
		pthread_t thread;

		assert_int_equal(i == 0 ? lh_rwlock_write_lock(&rwlock, holder, LH_NOW, NULL)
					: lh_rwlock_read_lock(&rwlock, holder, LH_NOW, NULL),
				 0);
		thread = start_waiting(&waiting);
		while (!waiting.done) { // it may still be on its way to its sleep
			pthread_kill(thread, SIGUSR1);
			scene_pause();
		}
		pthread_join(thread, NULL);
		assert_int_equal(waiting.result, -EINTR);
		assert_int_equal(waiting.after, i == 2 ? 0 : -EPERM); // it still reads
		assert_int_equal(lh_lease_release(holder), 0);
	}
}

// ---- arguments and limits ------------------------------------------------------------------------

static void what_is_not_held_cannot_be_let_go(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), -EPERM);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, lease), -EPERM);
	assert_int_equal(lh_rwlock_consistent(&rwlock, lease), -EPERM);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_downgrade(&rwlock, lease), -EPERM);
	assert_int_equal(lh_rwlock_consistent(&rwlock, lease), -EPERM); // readers repair nothing
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_consistent(&rwlock, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void expect_from_all(const lh_rwlock *rwlock, lh_lease *lease, int error)
{
	assert_int_equal(lh_rwlock_read_lock(rwlock, lease, LH_NOW, NULL), error);
	assert_int_equal(lh_rwlock_write_lock(rwlock, lease, LH_NOW, NULL), error);
	assert_int_equal(lh_rwlock_upgrade(rwlock, lease, LH_NOW, NULL), error);
	assert_int_equal(lh_rwlock_downgrade(rwlock, lease), error);
	assert_int_equal(lh_rwlock_unlock(rwlock, lease), error);
	assert_int_equal(lh_rwlock_consistent(rwlock, lease), error);
}

static void handles_and_leases_of_elsewhere_are_refused(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	const lh_rwlock nothing = { { 0 } };
	lh_lease *lease = scene_lease(scene->arena), *stranger;
	char name[80];
	lh_arena *other;

	snprintf(name, sizeof(name), "%s-other", scene->name);
	assert_int_equal(lh_arena_open(name, LH_CREATE, NULL, &other), 0);
	stranger = scene_lease(other);
	expect_from_all(&nothing, lease, -EINVAL);
	expect_from_all(NULL, lease, -EINVAL);
	expect_from_all(&rwlock, NULL, -EINVAL);
	expect_from_all(&rwlock, stranger, -EINVAL);
	assert_int_equal(lh_lease_release(stranger), 0);
	assert_int_equal(lh_arena_close(other), 0);
	assert_int_equal(lh_arena_unlink(name), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

struct borrowed {
	const lh_rwlock *rwlock;
	lh_lease *lease;
};

static int use_borrowed(void *context)
{
	const struct borrowed *borrowed = context;

	need(lh_rwlock_read_lock(borrowed->rwlock, borrowed->lease, LH_NOW, NULL) == -EPERM);
	need(lh_rwlock_write_lock(borrowed->rwlock, borrowed->lease, LH_NOW, NULL) == -EPERM);
	need(lh_rwlock_unlock(borrowed->rwlock, borrowed->lease) == -EPERM);
	return 0;
}

static void another_threads_lease_is_refused(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);
	struct borrowed borrowed = { &rwlock, lease };

	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	assert_int_equal(scene_thread(use_borrowed, &borrowed), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_full_hold_table_is_told(void **state)
{
	const struct lh_arena_options options = { .max_holds = 9 };
	lh_arena *arena = scene_open(*state, &options);
	lh_lease *lease = scene_lease(arena);
	lh_rwlock locks[10];

	for (int i = 0; i < 10; i++)
		locks[i] = place(arena, NULL);
	for (int i = 0; i < 9; i++)
		assert_int_equal(lh_rwlock_read_lock(&locks[i], lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_rwlock_read_lock(&locks[9], lease, LH_NOW, NULL), -ENOLCK);
	assert_int_equal(lh_rwlock_write_lock(&locks[9], lease, LH_NOW, NULL), -ENOLCK);
	assert_int_equal(lh_rwlock_read_lock(&locks[0], lease, LH_NOW, NULL), 0);
	for (int i = 0; i < 10; i++) // the first twice
		assert_int_equal(lh_rwlock_unlock(&locks[i % 9], lease), 0);
	assert_int_equal(lh_rwlock_write_lock(&locks[9], lease, LH_NOW, NULL), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void counters_that_are_used_up_refuse(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct rwlock_object *object = rwlock_object(scene->arena,
						     (uint32_t)(lh_rwlock_offset(&rwlock) / 64));
	lh_lease *lease = scene_lease(scene->arena);
	struct hold_record *record;

	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	record = hold_find(lease, LH_KIND_RWLOCK, (uint32_t)(lh_rwlock_offset(&rwlock) / 64));
	hold_write(record, atomic_load(&record->object) | HOLD_COUNT_MASK << HOLD_COUNT_SHIFT);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), -EOVERFLOW);
	assert_int_equal(lh_lease_release(lease), 0);
	for (int round = 0; round < 2; round++) { // biased, fenced
		atomic_store(&object->header.word,
			     WORD_TOKEN_MAX << WORD_TOKEN_SHIFT | (round ? RWLOCK_FENCED : 0));
		lease = scene_lease(scene->arena);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL), -EOVERFLOW);
		assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
		assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, NULL), -EOVERFLOW);
		assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
		assert_int_equal(lh_lease_release(lease), 0);
	}
}

// G9
static void a_damaged_header_or_word_is_told(void **state)
{
	const struct scene *scene = *state;
	const lh_rwlock rwlock = place(scene->arena, NULL);
	struct rwlock_object *object = rwlock_object(scene->arena,
						     (uint32_t)(lh_rwlock_offset(&rwlock) / 64));
	lh_lease *lease = scene_lease(scene->arena);
	const uint64_t names[] = { lh_arena_first_offset(scene->arena) & 0, WORD_OWNER_MASK, 400 };

	for (size_t i = 1; i < 3; i++) {
		atomic_store(&object->header.word, names[i]);
		assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_FOREVER, NULL), -EBADMSG);
		assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_FOREVER, NULL), -EBADMSG);
	}
	atomic_store(&object->header.word, 0);
	for (size_t i = 0; i < RWLOCK_MAP_WORDS; i++)
		atomic_store(&object->readers[i], UINT64_MAX);
	atomic_store(&object->header.heir, UINT32_MAX);
	atomic_store(&object->header.reserved_ns, UINT64_MAX);
	atomic_store(&object->header.word, RWLOCK_WANTED);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_FOREVER, NULL), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_FOREVER, NULL), 0);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), 0);
	object->header.kind = LH_KIND_MUTEX;
	assert_int_equal(lh_rwlock_write_lock(&rwlock, lease, LH_NOW, NULL),
			 0); // the fast path trusts
	assert_int_equal(lh_rwlock_downgrade(&rwlock, lease), -EBADMSG);
	assert_int_equal(lh_rwlock_consistent(&rwlock, lease), -EBADMSG);
	object->header.kind = LH_KIND_RWLOCK;
	assert_int_equal(lh_rwlock_downgrade(&rwlock, lease), 0);
	assert_int_equal(lh_rwlock_read_lock(&rwlock, lease, LH_NOW, NULL), 0);
	object->header.kind = LH_KIND_MUTEX;
	assert_int_equal(lh_rwlock_upgrade(&rwlock, lease, LH_NOW, NULL), -EBADMSG);
	assert_int_equal(lh_rwlock_unlock(&rwlock, lease), -EBADMSG); // nested: the long way
	object->header.kind = LH_KIND_RWLOCK;
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_cancelled_wait_holds_what_it_held_before),
		SCENE_TEST(a_cancelled_writer_lets_the_queued_readers_in),
		SCENE_TEST(a_fired_token_ends_every_call_before_it_looks),
		SCENE_TEST(an_interruptible_lease_is_interrupted),
		SCENE_TEST(what_is_not_held_cannot_be_let_go),
		SCENE_TEST(handles_and_leases_of_elsewhere_are_refused),
		SCENE_TEST(another_threads_lease_is_refused),
		SCENE_TEST_CLOSED(a_full_hold_table_is_told),
		SCENE_TEST(counters_that_are_used_up_refuse),
		SCENE_TEST(a_damaged_header_or_word_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
