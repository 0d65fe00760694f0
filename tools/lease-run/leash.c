// SPDX-License-Identifier: Apache-2.0
//
// The leash: what ends the front when the guard ends, though the front is no child of it.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_run.h"

static bool has_ended(int pidfd)
{
	struct pollfd entry = { .fd = pidfd, .events = POLLIN };

	return poll(&entry, 1, 0) > 0;
}

// The process that keeps the reading end open, up to the front's end. It does nothing when the
// guard ends: the kernel does.
static noreturn void hold(const struct front *front, int guard_end)
{
	struct pollfd entry = { .fd = front->pidfd, .events = POLLIN };

	prctl(PR_SET_NAME, PROGRAM "-leash");
	// A guard that has ended by now leaves this as the last writing end.
	close(guard_end);
	close(front->socket);
	while (poll(&entry, 1, -1) < 0 && errno == EINTR)
		;
	_exit(0);
}

int leash_put(struct leash *leash, const struct front *front)
{
	int ends[2], error = 0;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return say_system("pipe");
	// When the last writing end is closed the kernel sends this signal to that process.
	if (fcntl(ends[0], F_SETOWN, front->pid) != 0 || fcntl(ends[0], F_SETSIG, SIGKILL) != 0 ||
	    fcntl(ends[0], F_SETFL, O_ASYNC) != 0) {
		error = EXIT_LOCK;
		if (errno != ESRCH) // the front has ended
			say_system("cannot bind the command to its guard (F_SETSIG)");
	} else if (has_ended(front->pidfd)) { // its number may be another process's now
		error = EXIT_LOCK;
	} else {
		leash->pid = fork();
		if (leash->pid == 0)
			hold(front, ends[1]);
		if (leash->pid < 0)
			error = say_system("fork");
	}
	close(ends[0]);
	leash->fd = ends[1];
	return error;
}

void leash_take_off(struct leash *leash)
{
	if (leash->fd < 0)
		return;
	// Without a reading end the pipe has no owner to tell.
	kill(leash->pid, SIGKILL);
	while (waitpid(leash->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(leash->fd);
	leash->fd = -1;
}
