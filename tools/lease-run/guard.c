// SPDX-License-Identifier: Apache-2.0
//
// The guard: a process that holds the lock, and sees to it that the command ends before it does.
//
// Whichever comes first:
//
//	happens                waiting for the lock            the command runs
//	the lock is held       let the command go              -
//	the front ends         give up                         kill the command, wait, die holding
//	the command ends       give up, tell the signal        release, tell its exit code
//	the lock is lost       -                               as --on-lost says; tell it
//	the leash ends         give up                         kill the command (= the front)
//	a signal comes         to the command                  to the command
//
// To die holding, instead of releasing, has the next holder told that the one before was lost
// (LEASE_OWNER_DIED): so it does if the command was killed, and may have left things half done.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_run.h"

#define LOOK_MS 50 // how often the holder is looked for, until it is found

struct guard {
	const struct options *options;
	struct front front;
	pid_t child; // the command; 0: the front becomes it
	int command; // pidfd
	int go;      // where the command is let go; -1 if that is the front
	struct leash leash;
	struct lock *lock;
	int lock_fd; // of the acquisition, then of the loss
	bool held;   // the lock, and the command runs
	bool lost;
	bool forced;       // the command was made to end, by us
	bool front_gone;   // while it was not the command
	uint64_t kill_at;  // lh_now; UINT64_MAX: never
	bool holder_known; // or nobody asks
};

// ---- telling the front --------------------------------------------------------------------------

// `fd` >= 0 goes along.
static void report(const struct guard *guard, const struct report *report, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec content = { .iov_base = (void *)report, .iov_len = sizeof(*report) };
	struct msghdr message = { .msg_iov = &content, .msg_iovlen = 1 };

	if (fd >= 0) {
		control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fd)),
						   .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	// A front that has ended is noticed elsewhere.
	sendmsg(guard->front.socket, &message, MSG_NOSIGNAL);
}

static noreturn void end(struct guard *guard, enum report_kind kind, int value)
{
	const struct report last = { .kind = kind, .value = value };

	leash_take_off(&guard->leash);
	report(guard, &last, -1);
	_exit(0);
}

// ---- the command --------------------------------------------------------------------------------

// Has it end by the signal, stopped or not.
static void force(struct guard *guard, int signal)
{
	// From here on its children become ours when it ends, and can be ended, too.
	if (guard->child)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	guard->forced = true;
	pidfd_send_signal(guard->command, signal, NULL, 0);
	pidfd_send_signal(guard->command, SIGCONT, NULL, 0);
}

static void lose(struct guard *guard)
{
	const struct options *options = guard->options;
	char name[SHOWN_TEXT], command[SHOWN_TEXT];
	const char *what = options->on_lost == ON_LOST_IGNORE ? "it goes on without"
			   : options->on_lost == ON_LOST_KILL ? "it is killed"
							      : "it is terminated";

	guard->lost = true;
	guard->lock_fd = -1;
	say("%s was lost while %s ran; %s", shown(options->name, name),
	    shown(options->command[0], command), what);
	if (options->on_lost == ON_LOST_KILL) {
		force(guard, SIGKILL);
	} else if (options->on_lost == ON_LOST_TERM) {
		force(guard, SIGTERM);
		guard->kill_at = lh_deadline_after(options->kill_after_ns).ns;
	}
}

// The child's status as an exit code; *ret_signal: what killed it, or 0.
static int reap(struct guard *guard, int *ret_signal)
{
	int status = 0;

	while (waitpid(guard->child, &status, 0) < 0 && errno == EINTR)
		;
	if (guard->forced)
		command_kill_rest();
	*ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return *ret_signal ? EXIT_SIGNAL + *ret_signal : WEXITSTATUS(status);
}

static noreturn void finish(struct guard *guard)
{
	int signal = 0, code = 0;

	// With --no-fork nobody here learns how it ended.
	if (guard->child)
		code = reap(guard, &signal);
	if (!guard->held)
		end(guard, signal ? REPORT_SIGNAL : REPORT_EXIT, signal ? signal : code);
	if (guard->front_gone || signal || (guard->forced && !guard->child)) {
		guard->lost |= !lock_is_held(guard->lock);
	} else if (!lock_release(guard->lock, guard->child && code == 0) && !guard->lost) {
		char name[SHOWN_TEXT];

		say("%s was lost while the command ran", shown(guard->options->name, name));
		guard->lost = true;
	}
	if (guard->lost && guard->options->on_lost != ON_LOST_IGNORE)
		code = EXIT_LOST;
	end(guard, REPORT_EXIT, code);
}

// ---- what happens -------------------------------------------------------------------------------

// The command is not going to run: ends the acquisition and what waits for it.
static noreturn void give_up(struct guard *guard)
{
	struct lock_facts facts;
	int code;

	lock_cancel(guard->lock);
	if (lock_result(guard->lock, &facts, &code))
		lock_release(guard->lock, false);
	if (!guard->child)
		end(guard, REPORT_EXIT, EXIT_LOCK);
	force(guard, SIGKILL); // it may be stopped
	finish(guard);
}

static void let_go(struct guard *guard)
{
	struct report held = { .kind = REPORT_HELD };
	int code, signal;

	if (!lock_result(guard->lock, &held.facts, &code)) {
		if (guard->child) {
			force(guard, SIGKILL); // it may be stopped
			reap(guard, &signal);
		}
		end(guard, REPORT_EXIT, code);
	}
	guard->held = true;
	guard->holder_known = true;
	guard->lock_fd = lock_loss_fd(guard->lock);
	report(guard, &held, -1);
	if (guard->child) {
		// If it has been killed, its end is told by its pidfd.
		(void)!write(guard->go, &held.facts, sizeof(held.facts));
		close(guard->go);
	}
}

// Passes a signal on.
static void pass(struct guard *guard)
{
	int signal;
	const ssize_t size = recv(guard->front.socket, &signal, sizeof(signal), MSG_DONTWAIT);

	if (size == sizeof(signal))
		pidfd_send_signal(guard->command, signal, NULL, 0);
	else if (size == 0) // the front has ended, or has become the command
		guard->front.socket = -1;
}

static void handle_front_end(struct guard *guard)
{
	guard->front_gone = true;
	guard->front.pidfd = -1;
	if (!guard->held)
		give_up(guard);
	force(guard, SIGKILL);
}

static int time_left(const struct guard *guard)
{
	const uint64_t now = lh_now();
	uint64_t left;

	if (!guard->holder_known)
		return LOOK_MS;
	if (guard->kill_at == UINT64_MAX)
		return -1;
	if (guard->kill_at <= now)
		return 0;
	left = (guard->kill_at - now) / LH_MS(1) + 1;
	return left < INT_MAX ? (int)left : INT_MAX;
}

static noreturn void watch(struct guard *guard)
{
	enum { SOCKET, FRONT, COMMAND, LOCK, LEASH, ENTRIES };

	for (;;) {
		struct pollfd entries[ENTRIES] = {
			[SOCKET] = { .fd = guard->front.socket, .events = POLLIN },
			[FRONT] = { .fd = guard->child ? guard->front.pidfd : -1,
				    .events = POLLIN },
			[COMMAND] = { .fd = guard->command, .events = POLLIN },
			[LOCK] = { .fd = guard->lock_fd, .events = POLLIN },
			[LEASH] = { .fd = guard->leash.fd }, // POLLERR needs no asking
		};

		if (poll(entries, ENTRIES, time_left(guard)) < 0 && errno != EINTR)
			continue;
		if (entries[COMMAND].revents && !guard->held)
			give_up(guard);
		if (entries[COMMAND].revents)
			finish(guard);
		if (entries[FRONT].revents)
			handle_front_end(guard);
		if (entries[LEASH].revents) {
			if (!guard->held)
				give_up(guard);
			leash_take_off(&guard->leash);
			force(guard, SIGKILL);
		}
		if (entries[LOCK].revents && guard->held)
			lose(guard);
		else if (entries[LOCK].revents)
			let_go(guard);
		if (entries[SOCKET].revents)
			pass(guard);
		if (!guard->holder_known)
			guard->holder_known = holder_say(guard->options);
		if (lh_now() >= guard->kill_at) {
			guard->kill_at = UINT64_MAX;
			force(guard, SIGKILL);
		}
	}
}

// ---- beginning ----------------------------------------------------------------------------------

// The command's process, waiting to be let go. 0, or an exit code when it has said why.
static int start_command(struct guard *guard)
{
	const struct report started = { .kind = REPORT_COMMAND };
	const pid_t self = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return say_system("pipe");
	guard->child = fork();
	if (guard->child < 0)
		return say_system("fork");
	if (guard->child == 0) {
		close(ends[1]);
		command_main(guard->options, self, ends[0]);
	}
	close(ends[0]);
	guard->go = ends[1];
	guard->command = pidfd_open(guard->child, 0);
	if (guard->command < 0)
		return say_system("pidfd_open");
	report(guard, &started, guard->command);
	return 0;
}

// What the caller may notice being open, or be disturbed by, is closed: all but stderr and what
// this process needs.
static void leave_the_caller(const struct guard *guard)
{
	const int kept[] = { guard->front.pidfd, guard->front.socket, guard->command, guard->go,
			     guard->leash.fd };
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned from = STDERR_FILENO + 1, next;

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	do {
		next = UINT_MAX;
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
			if (kept[i] >= (int)from && (unsigned)kept[i] < next)
				next = (unsigned)kept[i];
		}
		if (next > from)
			close_range(from, next == UINT_MAX ? UINT_MAX : next - 1, 0);
		from = next + 1;
	} while (next != UINT_MAX);
}

noreturn void guard_main(const struct options *options, const struct front *front)
{
	struct guard guard = { .options = options,
			       .front = *front,
			       .go = -1,
			       .leash = { .fd = -1 },
			       .kill_at = UINT64_MAX,
			       .holder_known = !options->verbose };
	sigset_t all;
	int error;

	// No signal is for this process: what it is to do it learns by descriptors.
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (options->no_fork) {
		guard.command = front->pidfd;
		setsid();
		leave_the_caller(&guard); // before the leash, which has what this process has
		error = leash_put(&guard.leash, front);
	} else {
		error = start_command(&guard); // in the front's session
		setsid();
		leave_the_caller(&guard);
	}
	prctl(PR_SET_NAME, PROGRAM "-guard");
	if (error)
		end(&guard, REPORT_EXIT, error);
	guard.lock = lock_start(options, front->pid);
	if (!guard.lock)
		end(&guard, REPORT_EXIT, EXIT_SYSTEM);
	guard.lock_fd = lock_fd(guard.lock);
	watch(&guard);
}
