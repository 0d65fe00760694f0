// SPDX-License-Identifier: Apache-2.0
//
// Named locks in an event loop of epoll(7): three jobs want the same lock, which somebody else has
// at first; the loop never waits in a lock call.
//
//	cc -o pending-epoll pending-epoll.c -lleasehold
//	./pending-epoll shm://example
#include <leasehold/leasehold.h>

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { JOBS = 3 };

struct job {
	const char *name;
	lh_pending *pending;
};

static int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s (%s)\n", what, strerror(-error), lh_error_detail());
	return 1;
}

static int watch(int loop, int fd, void *data)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = data } };

	return fd < 0 ? fd : epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

// The job's descriptor was readable. Its end takes the descriptor out of the loop.
static int run(struct job *job)
{
	lh_handle *handle;
	const int error = lh_pending_finish(job->pending, &handle);

	if (error)
		return fail(job->name, error);
	printf("%s runs\n", job->name);
	return lh_handle_release(handle);
}

int main(int argc, char **argv)
{
	struct job jobs[JOBS] = { { "first", NULL }, { "second", NULL }, { "third", NULL } };
	const struct itimerspec soon = { .it_value = { .tv_nsec = 20000000 } };
	const int loop = epoll_create1(EPOLL_CLOEXEC);
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	lh_handle *other;
	lh_locks *locks;
	int error, left = JOBS;

	if (argc < 2 || loop < 0 || timer < 0)
		return 2;
	error = lh_locks_open(argv[1], &locks);
	if (!error)
		error = lh_acquire(locks, "door", LH_NOW, NULL, &other);
	if (error)
		return fail(argv[1], error);
	for (int i = 0; i < JOBS; i++) {
		error = lh_acquire_start(locks, "door", lh_deadline_after(LH_SEC(10)), NULL,
					 &jobs[i].pending);
		if (error || watch(loop, lh_pending_fd(jobs[i].pending), &jobs[i]))
			return fail(jobs[i].name, error);
	}
	if (timerfd_settime(timer, 0, &soon, NULL) || watch(loop, timer, NULL))
		return 2;
	while (left) {
		struct epoll_event event;

		if (epoll_wait(loop, &event, 1, -1) != 1)
			continue;
		if (event.data.ptr) {
			error = run(event.data.ptr);
			left--;
		} else {
			printf("the lock is let go\n");
			close(timer);
			error = lh_handle_release(other);
		}
		if (error)
			return 1;
	}
	close(loop);
	return lh_locks_close(locks) ? 1 : 0;
}
