// SPDX-License-Identifier: Apache-2.0
//
// Named locks in an event loop of libuv: a pending acquire is a uv_poll_t on its descriptor.
//
//	cc -o pending-libuv pending-libuv.c -lleasehold -luv
//	./pending-libuv shm://example
#include <leasehold/leasehold.h>

#include <stdio.h>
#include <string.h>
#include <uv.h>

enum { JOBS = 3 };

struct job {
	uv_poll_t poll;
	const char *name;
	lh_pending *pending;
};

static lh_handle *other; // who has the lock at first
static int failures;

static void check(const char *what, int error)
{
	if (!error)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, strerror(-error), lh_error_detail());
	failures++;
}

// The loop has let go of the descriptor: only now may lh_pending_finish close it.
static void run(uv_handle_t *closed)
{
	struct job *job = closed->data;
	lh_handle *handle;
	const int error = lh_pending_finish(job->pending, &handle);

	check(job->name, error);
	if (error)
		return;
	printf("%s runs\n", job->name);
	check(job->name, lh_handle_release(handle));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)events;
	check("poll", status);
	uv_close((uv_handle_t *)poll, run);
}

static void on_timer(uv_timer_t *timer)
{
	printf("the lock is let go\n");
	check("release", lh_handle_release(other));
	uv_close((uv_handle_t *)timer, NULL);
}

int main(int argc, char **argv)
{
	static struct job jobs[JOBS] = { { .name = "first" },
					 { .name = "second" },
					 { .name = "third" } };
	uv_loop_t *loop = uv_default_loop();
	uv_timer_t timer;
	lh_locks *locks;
	int error;

	if (argc < 2)
		return 2;
	error = lh_locks_open(argv[1], &locks);
	if (!error)
		error = lh_acquire(locks, "door", LH_NOW, NULL, &other);
	check(argv[1], error);
	if (error)
		return 1;
	for (int i = 0; i < JOBS; i++) {
		check("start", lh_acquire_start(locks, "door", lh_deadline_after(LH_SEC(10)), NULL,
						&jobs[i].pending));
		check("poll", uv_poll_init(loop, &jobs[i].poll, lh_pending_fd(jobs[i].pending)));
		jobs[i].poll.data = &jobs[i];
		check("poll", uv_poll_start(&jobs[i].poll, UV_READABLE, on_readable));
	}
	uv_timer_init(loop, &timer);
	uv_timer_start(&timer, on_timer, 20, 0);
	check("loop", uv_run(loop, UV_RUN_DEFAULT));
	check("loop", uv_loop_close(loop));
	check("close", lh_locks_close(locks));
	return failures ? 1 : 0;
}
