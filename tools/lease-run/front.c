// SPDX-License-Identifier: Apache-2.0
//
// The front: the process that the caller started, sees, and sends signals to.

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_run.h"

struct connection {
	int socket; // to the guard
	pid_t guard;
	int command; // pidfd; -1: not known yet
	bool held;
};

// ---- starting -----------------------------------------------------------------------------------

// A guard for this process. With `orphan` it is nobody's child of ours. 0, or an exit code.
static int start_guard(const struct options *options, bool orphan, struct connection *connection)
{
	struct front front = { .pid = getpid() };
	int pair[2];

	connection->command = -1;
	front.pidfd = pidfd_open(front.pid, 0);
	if (front.pidfd < 0)
		return say_system("pidfd_open");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return say_system("socketpair");
	connection->guard = fork();
	if (connection->guard < 0)
		return say_system("fork");
	if (connection->guard == 0) {
		front.socket = pair[1];
		close(pair[0]);
		if (orphan && fork() != 0) // if it fails the front reads the connection's end
			_exit(0);
		guard_main(options, &front);
	}
	close(pair[1]);
	close(front.pidfd);
	connection->socket = pair[0];
	return 0;
}

static void reap_guard(const struct connection *connection)
{
	while (waitpid(connection->guard, NULL, 0) < 0 && errno == EINTR)
		;
}

// The next report. Whether there is one: not after the guard's end.
static bool receive(struct connection *connection, struct report *ret_report)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec content = { .iov_base = ret_report, .iov_len = sizeof(*ret_report) };
	struct msghdr message = { .msg_iov = &content,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t size;

	do
		size = recvmsg(connection->socket, &message, MSG_CMSG_CLOEXEC);
	while (size < 0 && errno == EINTR);
	if (size != sizeof(*ret_report))
		return false;
	if (message.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(&connection->command, CMSG_DATA(&control.header), sizeof(int));
	return true;
}

// ---- --no-fork ----------------------------------------------------------------------------------

int front_become(struct options *options)
{
	struct connection connection = { .socket = -1, .command = -1 };
	struct report report;
	const int error = start_guard(options, true, &connection);

	if (error)
		return error;
	reap_guard(&connection); // its parent, that is
	if (!receive(&connection, &report)) {
		say("the guard could not be started");
		return EXIT_SYSTEM;
	}
	if (report.kind != REPORT_HELD)
		return report.value;
	return command_execute(options, &report.facts);
}

// ---- signals ------------------------------------------------------------------------------------

// Those that are passed on, unless the caller has us ignore them. The signals that stop jobs which
// use the terminal (SIGTTIN, SIGTTOU) reach the command as they reach us.
static void block_signals(sigset_t *ret_set)
{
	static const int signals[] = { SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGUSR1,
				       SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH };

	sigemptyset(ret_set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction action;

		if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(ret_set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, ret_set, NULL);
}

// Does what the signal does to a process that does not mind it.
static void suffer(int signal)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t alone, before;

	sigemptyset(&alone);
	sigaddset(&alone, signal);
	sigaction(signal, &plain, NULL);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &alone, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void pass_signal(int signals, const struct connection *connection)
{
	struct signalfd_siginfo info;
	int signal;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	signal = (int)info.ssi_signo;
	// Those of the terminal went to its whole foreground group, so to the command, too.
	if (info.ssi_code != SI_KERNEL)
		send(connection->socket, &signal, sizeof(signal), MSG_NOSIGNAL);
	// Who waits for us is told that the job is stopped. The guard is not: the lock is renewed.
	if (signal == SIGTSTP)
		suffer(signal);
}

// ---- waiting ------------------------------------------------------------------------------------

// The guard was killed. So was the command, by the kernel; but one that has gained rights by an
// exec is not.
static int survive_guard(const struct options *options, const struct connection *connection)
{
	struct pollfd entry = { .fd = connection->command, .events = POLLIN };
	char name[SHOWN_TEXT];

	if (connection->command >= 0) {
		pidfd_send_signal(connection->command, SIGKILL, NULL, 0);
		while (poll(&entry, 1, -1) < 0 && errno == EINTR)
			;
	}
	if (!connection->held) {
		say("the guard was killed before the lock was acquired; nothing has been run");
		return EXIT_SYSTEM;
	}
	say("%s was lost: the guard was killed, and with it the command",
	    shown(options->name, name));
	return EXIT_LOST;
}

static int end_as_told(const struct connection *connection, const struct report *report)
{
	// When we end the lock is free.
	reap_guard(connection);
	if (report->kind == REPORT_EXIT)
		return report->value;
	suffer(report->value);
	return EXIT_SIGNAL + report->value; // one that does not kill
}

int front_run(struct options *options)
{
	struct connection connection = { .socket = -1, .command = -1 };
	struct pollfd entries[2];
	struct report report;
	sigset_t set;
	int error;

	block_signals(&set);
	entries[0] = (struct pollfd){ .fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN };
	if (entries[0].fd < 0)
		return say_system("signalfd");
	error = start_guard(options, false, &connection);
	if (error)
		return error;
	entries[1] = (struct pollfd){ .fd = connection.socket, .events = POLLIN };
	for (;;) {
		if (poll(entries, 2, -1) < 0)
			continue;
		if (entries[0].revents)
			pass_signal(entries[0].fd, &connection);
		if (!entries[1].revents)
			continue;
		if (!receive(&connection, &report)) {
			reap_guard(&connection);
			return survive_guard(options, &connection);
		}
		if (report.kind == REPORT_HELD)
			connection.held = true;
		else if (report.kind != REPORT_COMMAND)
			return end_as_told(&connection, &report);
	}
}
