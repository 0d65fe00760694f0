// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Once: each error that once.h lists, and what it promises. Initialisers that fail, die or hang:
// test_once_failure.c.
//
//	lh_once_at    -EINVAL, -EEXIST          what_it_is_made_with_is_checked
//	              others                    test_places.c
//	lh_once_call  init's                    test_once_failure.c
//	              -EBUSY, -ETIMEDOUT        while_another_initialises_…
//	              -ECANCELED                a_token_ends_the_wait_…
//	              -EINTR                    a_signal_ends_the_wait_…
//	              -EDEADLK                  recursion_…, a_cycle_through_an_initialiser_…
//	              -ESTALE                   a_child_forked_…, test_once_failure.c
//	              -ENOLCK, -EPERM, -EINVAL  calls_that_cannot_be_made_are_refused
//	              -EROFS                    a_read_only_arena_…
//	              -EOVERFLOW, -EBADMSG      a_damaged_word_is_told
//	              -ENOMEM                   test_once_failure.c
#include "tests/contract/once.h"

#include "src/word.h"

#include <pthread.h>
#include <signal.h>

// ---- the rule ------------------------------------------------------------------------------------

static void what_it_is_made_with_is_checked(void **state)
{
	const struct scene *scene = *state;
	struct lh_once_options options = { .data_size = 65, .name = "once" };
	lh_once other = { { 0 } };
	lh_arena *arena = scene->arena;

	assert_int_equal(lh_once_footprint(NULL), 64);
	assert_int_equal(lh_once_footprint(&options), 64 + 4 * 128);
	assert_int_equal(lh_once_at(arena, LH_ANYWHERE, &options, &once), 0);
	assert_int_equal(lh_once_at(arena, LH_ANYWHERE, &options, &other), 0);
	assert_int_equal(lh_once_offset(&other), lh_once_offset(&once));
	options.data_size = 66;
	assert_int_equal(lh_once_at(arena, LH_ANYWHERE, &options, &other), -EEXIST);
	options.data_size = SIZE_MAX;
	assert_int_equal(lh_once_footprint(&options), 0);
	is_invalid(lh_once_at(arena, LH_ANYWHERE, &options, &other));
	options = (struct lh_once_options){ .reserved = { 1 } };
	is_invalid(lh_once_at(arena, LH_ANYWHERE, &options, &other));
	is_invalid(lh_once_at(NULL, LH_ANYWHERE, NULL, &other));
	is_invalid(lh_once_at(arena, LH_ANYWHERE, NULL, NULL));
	assert_int_equal(lh_once_offset(&(lh_once){ { 0 } }), 0);
	assert_int_equal(lh_remove(arena, lh_once_offset(&once)), 0);
}

// "0: initialised, by whomever"; G7
static void the_first_call_initialises_and_all_others_find_it_done(void **state)
{
	const struct scene *scene = *state;
	struct worker *workers[4];

	place(scene);
	assert_false(lh_once_done(&once));
	assert_null(lh_once_data(&once));
	for (int i = 0; i < 4; i++)
		workers[i] = worker_start(i % 2 ? WORKER_THREAD : WORKER_PROCESS, scene->arena,
					  NULL);
	for (uint64_t i = 0; i < 4; i++)
		worker_tell(workers[i], call, 7);
	for (int i = 0; i < 4; i++)
		assert_int_equal(worker_hear(workers[i]), 0);
	assert_int_equal(shared->runs, 1);
	assert_value(7);
	for (int i = 0; i < 4; i++)
		assert_int_equal(worker_end(workers[i]), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static int note(void *data, void *context)
{
	*(bool *)context = data == NULL;
	return 0;
}

static void without_data_init_gets_none_and_there_is_none(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	bool noted = false;

	assert_int_equal(lh_once_at(scene->arena, LH_ANYWHERE, NULL, &once), 0);
	assert_int_equal(lh_once_call(&once, lease, note, &noted, LH_NOW), 0);
	assert_true(noted);
	assert_true(lh_once_done(&once));
	assert_null(lh_once_data(&once));
	assert_int_equal(lh_lease_release(lease), 0);
}

// G11. "Usable on a read-only arena when done"; "-EROFS"
static void a_read_only_arena_has_it_once_it_is_done(void **state)
{
	struct scene *scene = *state;
	const struct lh_once_options named = { .data_size = sizeof(struct value), .name = "named" };
	lh_arena *reader = NULL;
	lh_lease *lease;
	lh_once there;

	place(scene);
	assert_int_equal(lh_once_at(scene->arena, LH_ANYWHERE, &named, &once), 0);
	assert_int_equal(lh_arena_open(scene->name, LH_READ_ONLY, NULL, &reader), 0);
	assert_int_equal(lh_once_at(reader, LH_ANYWHERE, &named, &there), 0);
	assert_false(lh_once_done(&there));
	assert_null(lh_once_data(&there));
	assert_int_equal(lh_once_call(&there, NULL, fill, NULL, LH_FOREVER), -EROFS);
	lease = scene_lease(scene->arena);
	assert_int_equal(lh_once_call(&once, lease, fill, (void *)5, LH_NOW), 0);
	assert_true(lh_once_done(&there));
	assert_int_equal(lh_once_call(&there, NULL, fill, NULL, LH_FOREVER), 0);
	assert_int_equal(((const struct value *)lh_once_data(&there))->words[39], 5);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_arena_close(reader), 0);
}

// ---- waiting -------------------------------------------------------------------------------------

// G10
static void while_another_initialises_the_call_is_busy_or_times_out(void **state)
{
	const struct scene *scene = *state;
	struct worker *first;
	struct lh_lease_info info;
	lh_lease *lease;

	place(scene);
	lease = scene_lease(scene->arena);
	first = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(first, call_and_hang, 1);
	await_inside(1);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_NOW), -EBUSY);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, lh_deadline_after(LH_MS(2))),
			 -ETIMEDOUT);
	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	assert_int_equal(info.holds, 0);
	assert_int_equal(info.waits_for, 0);
	assert_int_equal(lh_remove(scene->arena, lh_once_offset(&once)), -EBUSY);
	atomic_store(&shared->go, 1);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(lh_once_call(&once, lease, NULL, NULL, LH_NOW), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

struct canceller {
	lh_arena *arena;
	uint64_t lease;
	lh_cancel *cancel;
};

static void *cancel_once_it_waits(void *context)
{
	const struct canceller *canceller = context;

	scene_await_wait(canceller->arena, canceller->lease, true);
	lh_cancel_fire(canceller->cancel);
	return NULL;
}

static void a_token_ends_the_wait_and_every_call_after(void **state)
{
	const struct scene *scene = *state;
	struct canceller canceller = { .arena = scene->arena };
	struct worker *first;
	pthread_t thread;
	lh_lease *lease;

	place(scene);
	lease = scene_lease(scene->arena);
	assert_int_equal(lh_cancel_create(&canceller.cancel), 0);
	assert_int_equal(lh_lease_set_cancel(lease, canceller.cancel), 0);
	canceller.lease = lh_lease_id(lease);
	first = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(first, call_and_hang, 1);
	await_inside(1);
	assert_int_equal(pthread_create(&thread, NULL, cancel_once_it_waits, &canceller), 0);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -ECANCELED);
	pthread_join(thread, NULL);
	atomic_store(&shared->go, 1);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_NOW), -ECANCELED);
	assert_int_equal(worker_end(first), 0);
	assert_int_equal(lh_lease_release(lease), 0);
	lh_cancel_destroy(canceller.cancel);
}

static void on_signal(int number)
{
	(void)number;
}

struct signaller {
	lh_arena *arena;
	uint64_t lease;
	pthread_t waiter;
	_Atomic bool done;
};

static void *signal_once_it_waits(void *context)
{
	struct signaller *signaller = context;

	scene_await_wait(signaller->arena, signaller->lease, true);
	while (!atomic_load(&signaller->done)) { // it may still be on its way to its sleep
		pthread_kill(signaller->waiter, SIGUSR1);
		scene_pause();
	}
	return NULL;
}

// G10
static void a_signal_ends_the_wait_of_an_interruptible_lease(void **state)
{
	const struct lh_lease_options interruptible = { .flags = LH_LEASE_INTERRUPTIBLE };
	const struct sigaction action = { .sa_handler = on_signal };
	const struct scene *scene = *state;
	struct signaller signaller = { .arena = scene->arena, .waiter = pthread_self() };
	struct worker *first;
	pthread_t thread;
	lh_lease *lease;

	place(scene);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(lh_lease_acquire(scene->arena, &interruptible, &lease), 0);
	signaller.lease = lh_lease_id(lease);
	first = worker_start(WORKER_PROCESS, scene->arena, NULL);
	worker_tell(first, call_and_hang, 1);
	await_inside(1);
	assert_int_equal(pthread_create(&thread, NULL, signal_once_it_waits, &signaller), 0);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -EINTR);
	atomic_store(&signaller.done, true);
	pthread_join(thread, NULL);
	atomic_store(&shared->go, 1);
	assert_int_equal(worker_hear(first), 0);
	assert_int_equal(worker_end(first), 0);
	assert_value(1);
	assert_int_equal(lh_lease_release(lease), 0);
}

struct recursion {
	lh_lease *lease, *other;
	int results[3];
};

static int recur(void *data, void *context)
{
	struct recursion *recursion = context;

	recursion->results[0] = lh_once_call(&once, recursion->lease, fill, NULL, LH_FOREVER);
	recursion->results[1] = lh_once_call(&once, recursion->lease, fill, NULL, LH_NOW);
	recursion->results[2] = lh_once_call(&once, recursion->other, fill, NULL, LH_FOREVER);
	return fill(data, (void *)4);
}

// "recursion -EDEADLK": told before -EBUSY; and the initialiser can go on.
static void recursion_is_a_deadlock_with_any_lease_of_the_thread(void **state)
{
	const struct scene *scene = *state;
	struct recursion recursion = { .lease = NULL };

	place(scene);
	recursion.lease = scene_lease(scene->arena);
	recursion.other = scene_lease(scene->arena);
	assert_int_equal(lh_once_call(&once, recursion.lease, recur, &recursion, LH_FOREVER), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(recursion.results[i], -EDEADLK);
	assert_value(4);
	assert_int_equal(lh_lease_release(recursion.lease), 0);
	assert_int_equal(lh_lease_release(recursion.other), 0);
}

static lh_mutex door;

static int lock_in_init_body(void *data, void *context)
{
	struct worker_stage *stage = context;
	lh_grant grant;
	int error;

	(void)data;
	atomic_fetch_add(&shared->inside, 1);
	error = lh_mutex_lock(&door, stage->lease, LH_FOREVER, &grant);
	return error ? error : lh_mutex_unlock(&door, stage->lease);
}

static int lock_in_init(struct worker_stage *stage, uint64_t argument)
{
	(void)argument;
	return lh_once_call(&once, stage->lease, lock_in_init_body, stage, LH_FOREVER);
}

// A wait for an initialiser is an edge: it has one owner, who must let go.
static void a_cycle_through_an_initialiser_has_exactly_one_victim(void **state)
{
	const struct scene *scene = *state;
	struct worker *initialiser, *holder;
	int first, second;

	place(scene);
	door = scene_mutex(scene->arena);
	initialiser = worker_start(WORKER_PROCESS, scene->arena, NULL);
	holder = worker_start(WORKER_PROCESS, scene->arena, NULL);
	assert_int_equal(worker_do(holder, worker_lock, lh_mutex_offset(&door)), 0);
	worker_tell(initialiser, lock_in_init, 0);
	await_inside(1);
	worker_tell(holder, call, 6);
	// The victim is the holder, who has the higher slot, or else the lock in the initialiser:
	// then its failure passes the initialising on to the holder.
	second = worker_hear(holder);
	assert_true(second == -EDEADLK || second == 0);
	assert_int_equal(worker_do(holder, worker_unlock, lh_mutex_offset(&door)), 0);
	first = worker_hear(initialiser);
	assert_true((first == -EDEADLK) == (second == 0));
	assert_true(first == 0 || first == -EDEADLK);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_DEADLOCK, 0), 1);
	assert_int_equal(worker_end(initialiser), 0);
	assert_int_equal(worker_end(holder), 0);
}

// ---- refused -------------------------------------------------------------------------------------

static int call_foreign(void *context)
{
	return lh_once_call(&once, context, fill, NULL, LH_NOW) == -EPERM ? 0 : 1;
}

static void calls_that_cannot_be_made_are_refused(void **state)
{
	struct scene *scene = *state;
	const struct lh_arena_options options = { .max_holds = 1 };
	const lh_once none = { { 0 } };
	lh_arena *arena = scene_open(scene, &options);
	lh_lease *lease = scene_lease(arena);
	lh_mutex mutex = scene_mutex(arena);

	place(scene);
	is_invalid(lh_once_call(NULL, lease, fill, NULL, LH_NOW));
	is_invalid(lh_once_call(&none, lease, fill, NULL, LH_NOW));
	is_invalid(lh_once_call(&none, NULL, fill, NULL, LH_NOW));
	is_invalid(lh_once_call(&once, NULL, fill, NULL, LH_NOW));
	is_invalid(lh_once_call(&once, lease, NULL, NULL, LH_NOW));
	assert_false(lh_once_done(&none));
	assert_false(lh_once_done(NULL));
	assert_null(lh_once_data(&none));
	assert_null(lh_once_data(NULL));
	assert_int_equal(scene_thread(call_foreign, lease), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_NOW), -ENOLCK);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_NOW), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int fork_in_init(void *data, void *context)
{
	const pid_t pid = fork();
	int status;

	fill(data, context);
	if (pid == 0)
		return 0;
	waitpid(pid, &status, 0);
	need(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	need(!lh_once_done(&once));
	return 0;
}

// "a child's copy of a lease is void"
static void a_child_forked_by_the_initialiser_commits_nothing(void **state)
{
	const struct scene *scene = *state;
	const pid_t parent = getpid();
	lh_lease *lease;
	int result;

	place(scene);
	lease = scene_lease(scene->arena);
	result = lh_once_call(&once, lease, fork_in_init, (void *)8, LH_FOREVER);
	if (getpid() != parent)
		_exit(result == -ESTALE ? 0 : 1);
	assert_int_equal(result, 0);
	assert_value(8);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G9
static void a_damaged_word_is_told(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease;

	place(scene);
	lease = scene_lease(scene->arena);
	atomic_store(&object()->word, WORD_OWNER_MASK); // no such slot
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&object()->word, 300); // nobody's slot
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -EBADMSG);
	atomic_store(&object()->word, WORD_MARK); // a bit that is not used
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -EBADMSG);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CORRUPT), LH_CHECK_CORRUPT);
	atomic_store(&object()->word, WORD_TOKEN_MAX << WORD_TOKEN_SHIFT);
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -EOVERFLOW);
	object()->kind = LH_KIND_MUTEX;
	assert_int_equal(lh_once_call(&once, lease, fill, NULL, LH_FOREVER), -EBADMSG);
	assert_int_equal(shared->runs, 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(what_it_is_made_with_is_checked),
		SCENE_TEST(the_first_call_initialises_and_all_others_find_it_done),
		SCENE_TEST(without_data_init_gets_none_and_there_is_none),
		SCENE_TEST(a_read_only_arena_has_it_once_it_is_done),
		SCENE_TEST(while_another_initialises_the_call_is_busy_or_times_out),
		SCENE_TEST(a_token_ends_the_wait_and_every_call_after),
		SCENE_TEST(a_signal_ends_the_wait_of_an_interruptible_lease),
		SCENE_TEST(recursion_is_a_deadlock_with_any_lease_of_the_thread),
		SCENE_TEST(a_cycle_through_an_initialiser_has_exactly_one_victim),
		SCENE_TEST_CLOSED(calls_that_cannot_be_made_are_refused),
		SCENE_TEST(a_child_forked_by_the_initialiser_commits_nothing),
		SCENE_TEST(a_damaged_word_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
