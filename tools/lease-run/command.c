// SPDX-License-Identifier: Apache-2.0
//
// The command: what happens in its process before it begins, and how all that it has begun is
// ended.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_run.h"

// Each of the variables is always set, so that none of an outer lease-run is left; where there is
// nothing to say it is empty.
static int set_environment(const struct options *options, const struct lock_facts *facts)
{
	char token[24], slot[16] = "";

	snprintf(token, sizeof(token), "%llu", (unsigned long long)facts->token);
	if (facts->slot >= 0)
		snprintf(slot, sizeof(slot), "%d", facts->slot);
	if (setenv("LEASE_NAME", options->name, 1) != 0 || setenv("LEASE_TOKEN", token, 1) != 0 ||
	    setenv("LEASE_SLOT", slot, 1) != 0 || setenv("LEASE_URL", options->shown_url, 1) != 0 ||
	    setenv("LEASE_OWNER_DIED", facts->owner_died ? "1" : "", 1) != 0)
		return say_system("cannot set the command's environment");
	return 0;
}

int command_execute(const struct options *options, const struct lock_facts *facts)
{
	const int error = set_environment(options, facts);
	char buffer[SHOWN_TEXT];

	if (error)
		return error;
	sigaction(SIGCHLD, &options->child_action, NULL);
	sigprocmask(SIG_SETMASK, &options->mask, NULL);
	execvp(options->command[0], options->command);
	if (errno == ENOENT) {
		say("%s: there is no such command, or not its interpreter",
		    shown(options->command[0], buffer));
		return EXIT_NOT_FOUND;
	}
	say("%s: cannot be executed: %s", shown(options->command[0], buffer), strerror(errno));
	return EXIT_CANNOT_EXECUTE;
}

noreturn void command_main(const struct options *options, pid_t guard, int go)
{
	struct lock_facts facts;
	ssize_t size;

	// A guard that ended before this call is noticed by the next. The kernel forgets the call
	// if the command gains rights by an exec; the front is there for that.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		_exit(say_system("prctl"));
	if (getppid() != guard)
		_exit(EXIT_LOST);
	// While the lock is waited for, the caller's signals do what they do to any process.
	sigprocmask(SIG_SETMASK, &options->mask, NULL);
	do
		size = read(go, &facts, sizeof(facts));
	while (size < 0 && errno == EINTR);
	if (size != sizeof(facts)) // the lock is not to be had
		_exit(EXIT_LOCK);
	_exit(command_execute(options, &facts));
}

// ---- ending what is left ------------------------------------------------------------------------

// Sends SIGKILL to each child. Whether they could be listed.
static bool kill_children(void)
{
	char path[64];
	FILE *list;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "re");
	if (!list)
		return false;
	// None of these numbers can be another process's: nobody but us reaps them.
	while (fscanf(list, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	fclose(list);
	return true;
}

void command_kill_rest(void)
{
	pid_t ended;

	// With each that has ended its children become ours (PR_SET_CHILD_SUBREAPER).
	do {
		if (!kill_children())
			return;
		ended = waitpid(-1, NULL, 0);
	} while (ended > 0 || errno == EINTR);
}
