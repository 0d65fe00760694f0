// SPDX-License-Identifier: Apache-2.0
// ctest: ALSO inline
//
// Who was passed over: a free lock is left to it, for a while. tests/model/heir.pml has the steps.
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "src/mutex.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

static void stop(const struct worker *worker)
{
	int status;

	assert_int_equal(kill(worker_pid(worker), SIGSTOP), 0);
	assert_int_equal(waitpid(worker_pid(worker), &status, WUNTRACED), worker_pid(worker));
	assert_true(WIFSTOPPED(status));
}

// Lets the worker see that it was passed over once more, until it asks for the lock to be left to
// it; it cannot take it, since it stands still whenever the lock is free.
static void pass_over_until_it_asks(const lh_mutex *mutex, lh_lease *lease,
				    const struct worker *waiter, const struct object_header *header)
{
	for (;;) {
		const uint64_t begin = lh_now();

		assert_int_equal(kill(worker_pid(waiter), SIGCONT), 0);
		while (!atomic_load(&header->heir) && lh_now() - begin < LH_MS(2))
			sched_yield();
		stop(waiter);
		if (atomic_load(&header->heir))
			return;
		assert_int_equal(lh_mutex_unlock(mutex, lease), 0);
		assert_int_equal(lh_mutex_lock(mutex, lease, LH_NOW, NULL), 0);
	}
}

// "Passing over is bounded": a free lock is left to who was passed over for long, for a while.
static void a_free_lock_is_left_to_who_was_passed_over(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	const struct object_header *header = lh_arena_range(scene->arena, lh_mutex_offset(&mutex),
							    sizeof(*header));
	struct worker *waiter = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);
	uint64_t since;
	int error;

	scene_lock(&mutex, lease);
	worker_tell(waiter, worker_lock, lh_mutex_offset(&mutex));
	scene_await_wait(scene->arena, worker_lease(waiter), true);
	do {
		pass_over_until_it_asks(&mutex, lease, waiter, header);
		since = atomic_load(&header->reserved_ns);
		assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
		error = lh_mutex_lock(&mutex, lease, LH_NOW, NULL);
		// Taken, if this test was so slow that the while was over.
		assert_true(error == -EBUSY || lh_now() - since >= WORD_RESERVATION_NS);
	} while (!error);
	assert_int_equal(error, -EBUSY);
	assert_false(worker_answered(waiter));
	// It stands still: then it is passed over all the same, and gets the lock next time.
	scene_lock(&mutex, lease);
	assert_true(lh_now() - since >= WORD_RESERVATION_NS);
	assert_int_equal(kill(worker_pid(waiter), SIGCONT), 0);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(worker_hear(waiter), 0);
	assert_int_equal(worker_do(waiter, worker_unlock, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(worker_end(waiter), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_free_lock_is_left_to_who_was_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
