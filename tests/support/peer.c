// SPDX-License-Identifier: Apache-2.0
#include "tests/support/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_PEERS = 256, WATCH_SECONDS = 120 };

static bool is_peer;
static pid_t running[MAX_PEERS];
static const char *watched = "a test";

// ---- requirements --------------------------------------------------------------------------------

void need_failed(const char *text, const char *file, int line)
{
	if (!is_peer)
		_assert_true(0, text, file, line); // goes to the next test
	fprintf(stderr, "%s:%d: in process %d: not so: %s (errno: %s)\n", file, line, (int)getpid(),
		text, strerror(errno));
	fflush(NULL);
	_exit(PEER_FAILED);
}

void need_equal_from(int64_t value, int64_t expected, const char *text, const char *file, int line)
{
	char message[300];

	if (value == expected)
		return;
	snprintf(message, sizeof(message), "%s is %" PRId64 ", not %" PRId64, text, value,
		 expected);
	need_failed(message, file, line);
}

void skip_all(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("SKIP: ");
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
	exit(77);
}

// ---- watchdog ------------------------------------------------------------------------------------

static void on_alarm(int number)
{
	static const char text[] = " did not end in time\n";

	(void)number;
	if (write(STDERR_FILENO, watched, strlen(watched)) < 0 ||
	    write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(2);
	_exit(1);
}

void watch(const char *what, unsigned seconds)
{
	watched = what;
	signal(SIGALRM, on_alarm);
	alarm(seconds);
}

int watch_begin(void **state)
{
	(void)state;
	watch("a test", WATCH_SECONDS);
	return 0;
}

int watch_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < MAX_PEERS; i++) {
		if (!running[i])
			continue;
		kill(running[i], SIGKILL);
		waitpid(running[i], NULL, 0);
		running[i] = 0;
	}
	alarm(0);
	return 0;
}

// ---- peers ---------------------------------------------------------------------------------------

static void note(pid_t pid, pid_t replacement)
{
	for (size_t i = 0; i < MAX_PEERS; i++) {
		if (running[i] == pid) {
			running[i] = replacement;
			return;
		}
	}
	need_failed("room for another peer", __FILE__, __LINE__);
}

__attribute__((noreturn)) static void be_peer(peer_body *body, void *context,
					      const struct line *line)
{
	static const int signals[] = { SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };

	is_peer = true;
	memset(running, 0, sizeof(running));
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_DFL); // cmocka's handlers jump into its runner
	body(line, context);
	fflush(NULL);
	// Not exit: what its parent's other threads had, and atexit handlers, are none of a peer's.
	_exit(0);
}

struct peer peer_start(peer_body *body, void *context)
{
	struct peer peer;
	int down[2], up[2];

	need(pipe2(down, O_CLOEXEC) == 0);
	need(pipe2(up, O_CLOEXEC) == 0);
	fflush(NULL);
	peer.pid = fork();
	need(peer.pid >= 0);
	if (peer.pid == 0) {
		const struct line line = { .out = up[1], .in = down[0] };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(up[0]);
		close(down[1]);
		be_peer(body, context, &line);
	}
	close(up[1]);
	close(down[0]);
	peer.line = (struct line){ .out = down[1], .in = up[0] };
	note(0, peer.pid);
	return peer;
}

struct peer peer_start_in_pid_namespace(peer_body *body, void *context)
{
	const int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	struct peer peer;

	need(own >= 0);
	need(unshare(CLONE_NEWPID) == 0);
	peer = peer_start(body, context);
	need(setns(own, CLONE_NEWPID) == 0);
	close(own);
	return peer;
}

int peer_wait(struct peer *peer)
{
	int status;

	while (waitpid(peer->pid, &status, 0) != peer->pid)
		need(errno == EINTR);
	note(peer->pid, 0);
	peer->pid = 0;
	close(peer->line.in);
	close(peer->line.out);
	return status;
}

void peer_kill(struct peer *peer)
{
	kill(peer->pid, SIGKILL);
	peer_wait(peer);
}

void peer_join(struct peer *peer)
{
	const int status = peer_wait(peer);

	need(WIFEXITED(status));
	need_equal(WEXITSTATUS(status), 0);
}

// ---- lines ---------------------------------------------------------------------------------------

void line_say(const struct line *line, int64_t number)
{
	need(write(line->out, &number, sizeof(number)) == sizeof(number));
}

int64_t line_hear(const struct line *line)
{
	int64_t number = 0;
	ssize_t size;

	do {
		size = read(line->in, &number, sizeof(number));
	} while (size < 0 && errno == EINTR);
	if (size == 0 && is_peer)
		_exit(PEER_FAILED); // the test has ended; it says itself why
	need(size == sizeof(number));
	return number;
}

bool line_can_hear(const struct line *line)
{
	struct pollfd entry = { .fd = line->in, .events = POLLIN };

	return poll(&entry, 1, 0) == 1;
}
