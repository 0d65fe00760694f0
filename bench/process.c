// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "pin.h"

#define LOOK_EVERY_MS 200
#define GIVE_UP_NS UINT64_C(30000000000)

#define PLACES 256

static pid_t program;
static pid_t places[PLACES]; // of children that live: the order in which they are pinned
static gate *died;           // a child said why it could not go on

void process_init(void)
{
	program = getpid();
	died = process_shared_memory(sizeof(*died));
}

_Noreturn static void end(void)
{
	if (getpid() == program)
		exit(1);
	gate_set(died, 1);
	_exit(1);
}

void process_die(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fprintf(stderr, "lease-bench: %s\n", text);
	end();
}

void process_die_errno(int error, const char *what)
{
	process_die("%s: %s", what, strerror(error < 0 ? -error : error));
}

void *process_shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		process_die_errno(errno, "mmap");
	return memory;
}

// ---- children ------------------------------------------------------------------------------------
static pid_t start(void (*body)(void *context), void *context, bool pinned, size_t place)
{
	fflush(NULL);
	const pid_t pid = fork();

	if (pid < 0)
		process_die_errno(errno, "fork");
	if (pid > 0)
		return pid;
	// The second line is for a program that ended before the first took effect.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != program)
		_exit(1);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	if (pinned)
		pin_apply(place);
	body(context);
	_exit(0);
}

pid_t process_start(void (*body)(void *context), void *context)
{
	size_t place = 0;

	while (place < PLACES - 1 && places[place])
		place++;
	return places[place] = start(body, context, true, place);
}

pid_t process_start_aside(void (*body)(void *context), void *context)
{
	return start(body, context, false, 0);
}

static int reap(pid_t pid)
{
	int status;

	for (size_t i = 0; i < PLACES; i++) {
		if (places[i] == pid)
			places[i] = 0;
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			process_die_errno(errno, "waitpid");
	}
	return status;
}

void process_finish(pid_t pid)
{
	const int status = reap(pid);

	if (WIFSIGNALED(status))
		process_die("a measuring process ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		end();
}

void process_run(void (*body)(void *context), void *context)
{
	process_finish(process_start(body, context));
}

void process_bury(pid_t pid)
{
	const int status = reap(pid);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		process_die("a process to be killed had ended by itself");
}

void process_bury_if_killed(pid_t pid)
{
	(void)reap(pid);
}

static bool asleep(pid_t pid)
{
	char path[32], text[256];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		process_die_errno(errno, path);
	const ssize_t size = read(file, text, sizeof(text) - 1);
	close(file);
	text[size > 0 ? size : 0] = '\0';
	// proc(5): "pid (command) state ..."; a command may hold parentheses too.
	const char *end_of_command = strrchr(text, ')');
	return end_of_command && end_of_command[1] == ' ' && end_of_command[2] == 'S';
}

void process_await_asleep(pid_t pid, const char *who)
{
	const uint64_t give_up = measure_now() + GIVE_UP_NS;

	while (!asleep(pid)) {
		sched_yield();
		if (measure_now() > give_up)
			process_die("%s: a waiter does not fall asleep", who);
	}
}

// ---- gates ---------------------------------------------------------------------------------------
static void wake_all(gate *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void gate_set(gate *word, uint32_t value)
{
	atomic_store(word, value);
	wake_all(word);
}

void gate_add(gate *word, uint32_t value)
{
	atomic_fetch_add(word, value);
	wake_all(word);
}

// Ends the run if a child died of anything but the program's own SIGKILL.
static void look_after_children(void)
{
	siginfo_t child = { .si_pid = 0 };

	if (atomic_load(died))
		exit(1);
	if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == 0 && child.si_pid != 0 &&
	    child.si_code != CLD_EXITED && child.si_status != SIGKILL)
		process_die("a measuring process ended by signal %d", child.si_status);
}

static void sleep_on(gate *word, uint32_t value)
{
	const struct timespec slice = { .tv_nsec = LOOK_EVERY_MS * 1000000L };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &slice, NULL, 0);
	if (getpid() == program)
		look_after_children();
}

void gate_await(gate *word, uint32_t value)
{
	const uint64_t give_up = measure_now() + GIVE_UP_NS;
	uint32_t seen;

	while ((seen = atomic_load(word)) != value) {
		sleep_on(word, seen);
		if (measure_now() > give_up)
			process_die("a measurement stands still (%u, not %u)", seen, value);
	}
}

uint32_t gate_await_change(gate *word, uint32_t value)
{
	const uint64_t give_up = measure_now() + GIVE_UP_NS;
	uint32_t seen;

	while ((seen = atomic_load(word)) == value) {
		sleep_on(word, value);
		if (measure_now() > give_up)
			process_die("a measurement stands still (at %u)", value);
	}
	return seen;
}

bool gate_await_until(gate *word, uint32_t value, uint64_t ns)
{
	while (atomic_load(word) == value) {
		if (measure_now() >= ns)
			return false;
		sleep_on(word, value);
	}
	return true;
}

uint32_t gate_await_order(gate *word, uint32_t value)
{
	uint32_t seen;

	while ((seen = atomic_load(word)) == value)
		syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
	return seen;
}
