// SPDX-License-Identifier: Apache-2.0
#include "tests/support/worker.h"

#include "tests/support/scene.h"

#include "arena/arena.h"
#include "arena/lease.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

struct worker {
	enum worker_kind kind;
	pthread_t thread;
	pid_t pid;
	int tell, hear;   /* the test's ends of two pipes */
	int obey, report; /* the worker's ends */
	lh_arena *arena;
	const struct lh_lease_options *options; /* until its lease is acquired */
	uint64_t lease;
	lh_lease *left;           /* what a thread did not release */
	struct worker_stage last; /* as of the last answer */
};

struct message {
	worker_step step; /* NULL: end without releasing */
	uint64_t argument;
};

struct answer {
	int64_t result;
	lh_grant grant;
	uint64_t value;
};

// ---- the worker ----------------------------------------------------------------------------------

static bool answer(const struct worker *worker, const struct worker_stage *stage, int result)
{
	const struct answer text = { result, stage->grant, stage->value };

	return write(worker->report, &text, sizeof(text)) == (ssize_t)sizeof(text);
}

static void work(struct worker *worker)
{
	struct worker_stage stage = { .arena = worker->arena };
	struct message message;
	const int error = lh_lease_acquire(stage.arena, worker->options, &stage.lease);

	stage.value = error ? 0 : lh_lease_id(stage.lease);
	if (!answer(worker, &stage, error))
		return;
	while (read(worker->obey, &message, sizeof(message)) == (ssize_t)sizeof(message) &&
	       message.step) {
		const int result = message.step(&stage, message.argument);

		if (!answer(worker, &stage, result))
			return;
	}
	worker->left = stage.lease;
}

static void *run_thread(void *argument)
{
	work(argument);
	return NULL;
}

// ---- the test ------------------------------------------------------------------------------------

static void start_process(struct worker *worker)
{
	const pid_t parent = getpid();

	fflush(NULL);
	worker->pid = fork();
	if (worker->pid < 0)
		fail_msg("fork: %s", strerror(errno));
	if (worker->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(98);
	close(worker->tell);
	close(worker->hear);
	work(worker);
	_exit(0);
}

struct worker *worker_start(enum worker_kind kind, lh_arena *arena,
			    const struct lh_lease_options *options)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int down[2] = { -1, -1 };
	int up[2] = { -1, -1 };
	int result;

	if (!worker || pipe(down) || pipe(up)) {
		fail_msg("no room for another worker");
		abort(); // unreached, which analysers do not know
	}
	*worker = (struct worker){ .kind = kind,
				   .tell = down[1],
				   .hear = up[0],
				   .obey = down[0],
				   .report = up[1],
				   .arena = arena,
				   .options = options };
	if (kind == WORKER_PROCESS) {
		start_process(worker);
		close(worker->obey);
		close(worker->report);
	} else if (pthread_create(&worker->thread, NULL, run_thread, worker)) {
		fail_msg("no thread");
	}
	result = worker_hear(worker);
	if (result)
		fail_msg("worker: %s", lh_strerror(result));
	worker->lease = worker->last.value;
	return worker;
}

pid_t worker_pid(const struct worker *worker)
{
	return worker->pid;
}

uint64_t worker_lease(const struct worker *worker)
{
	return worker->lease;
}

void worker_tell(struct worker *worker, worker_step step, uint64_t argument)
{
	const struct message message = { step, argument };

	if (write(worker->tell, &message, sizeof(message)) != (ssize_t)sizeof(message))
		fail_msg("worker does not listen");
}

int worker_hear(struct worker *worker)
{
	struct answer text;

	if (read(worker->hear, &text, sizeof(text)) != (ssize_t)sizeof(text))
		fail_msg("worker %d ended instead of answering", (int)worker->pid);
	worker->last.grant = text.grant;
	worker->last.value = text.value;
	return (int)text.result;
}

int worker_do(struct worker *worker, worker_step step, uint64_t argument)
{
	worker_tell(worker, step, argument);
	return worker_hear(worker);
}

lh_grant worker_grant(const struct worker *worker)
{
	return worker->last.grant;
}

uint64_t worker_value(const struct worker *worker)
{
	return worker->last.value;
}

int worker_descriptor(const struct worker *worker)
{
	return worker->hear;
}

int worker_answered(const struct worker *worker)
{
	struct pollfd look = { .fd = worker->hear, .events = POLLIN };

	return poll(&look, 1, 0) == 1;
}

void worker_shorten(const struct worker *worker)
{
	const uint32_t slot = (uint32_t)worker->lease & ((1u << LEASE_SLOT_BITS) - 1);

	assert_int_equal(lease_slot_renew(worker->arena, slot, lease_id_incarnation(worker->lease),
					  LH_MS(1)),
			 0);
}

static void forget(struct worker *worker)
{
	close(worker->tell);
	close(worker->hear);
	if (worker->kind == WORKER_THREAD) {
		close(worker->obey);
		close(worker->report);
	}
	free(worker);
}

void worker_kill(struct worker *worker)
{
	if (worker->kind == WORKER_PROCESS) {
		kill(worker->pid, SIGKILL);
		waitpid(worker->pid, NULL, 0);
	} else {
		worker_tell(worker, NULL, 0);
		pthread_join(worker->thread, NULL);
		lh_lease_release(worker->left); // lost with its thread: its memory only
	}
	forget(worker);
}

static int release(struct worker_stage *stage, uint64_t unused)
{
	const int result = lh_lease_release(stage->lease);

	(void)unused;
	stage->lease = NULL;
	return result;
}

int worker_end(struct worker *worker)
{
	const int result = worker_do(worker, release, 0);

	worker_tell(worker, NULL, 0);
	if (worker->kind == WORKER_PROCESS)
		waitpid(worker->pid, NULL, 0);
	else
		pthread_join(worker->thread, NULL);
	forget(worker);
	return result;
}

// ---- steps ---------------------------------------------------------------------------------------

static int lock_until(struct worker_stage *stage, uint64_t offset, lh_deadline deadline,
		      lh_grant *grant)
{
	lh_mutex mutex;
	const int error = lh_mutex_at(stage->arena, offset, NULL, &mutex);

	return error ? error : lh_mutex_lock(&mutex, stage->lease, deadline, grant);
}

int worker_lock(struct worker_stage *stage, uint64_t offset)
{
	stage->locked = offset;
	return lock_until(stage, offset, LH_FOREVER, &stage->grant);
}

int worker_lock_blindly(struct worker_stage *stage, uint64_t offset)
{
	return lock_until(stage, offset, LH_FOREVER, NULL);
}

int worker_try(struct worker_stage *stage, uint64_t offset)
{
	return lock_until(stage, offset, LH_NOW, &stage->grant);
}

int worker_unlock(struct worker_stage *stage, uint64_t offset)
{
	lh_mutex mutex;
	const int error = lh_mutex_at(stage->arena, offset, NULL, &mutex);

	return error ? error : lh_mutex_unlock(&mutex, stage->lease);
}

int worker_unlock_when_waited(struct worker_stage *stage, uint64_t lease)
{
	scene_await_wait(stage->arena, lease, true);
	return worker_unlock(stage, stage->locked);
}

int worker_consistent(struct worker_stage *stage, uint64_t offset)
{
	lh_mutex mutex;
	const int error = lh_mutex_at(stage->arena, offset, NULL, &mutex);

	return error ? error : lh_mutex_consistent(&mutex, stage->lease);
}

int worker_region(struct worker_stage *stage, uint64_t size)
{
	return lh_region_acquire(stage->lease, size, &stage->value);
}

int worker_renew(struct worker_stage *stage, uint64_t ttl_ns)
{
	return lh_lease_renew(stage->lease, ttl_ns);
}
