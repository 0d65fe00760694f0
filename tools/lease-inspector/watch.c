// SPDX-License-Identifier: Apache-2.0
//
// watch.c: the verb watch, which prints events as they come, and what it shares with top: looking
// again and again until a signal comes or nobody reads.

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inspector.h"

// ---- again and again ----------------------------------------------------------------------------

static volatile sig_atomic_t told_to_end;
static int write_error; // errno of the write that failed first

static void note_signal(int number)
{
	(void)number;
	told_to_end = 1;
}

// Whether SIGINT and SIGTERM come in, or wait.
static void let_signals(int how)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigprocmask(how, &ours, NULL);
}

void pace_begin(void)
{
	// Without SA_RESTART: a write that sleeps because nobody reads ends with EINTR.
	const struct sigaction action = { .sa_handler = note_signal };

	let_signals(SIG_BLOCK);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void pace_print_begin(void)
{
	let_signals(SIG_UNBLOCK);
}

bool pace_printed(bool written)
{
	if (written && !ferror(stdout))
		return true;
	if (!write_error)
		write_error = errno;
	return false;
}

bool pace_print_end(void)
{
	struct pollfd output = { .fd = STDOUT_FILENO, .events = POLLOUT };

	// What has failed is not tried again, nor what would sleep after the signal.
	if (!write_error && !(told_to_end && poll(&output, 1, 0) == 0))
		pace_printed(fflush(stdout) == 0);
	let_signals(SIG_BLOCK);
	return !write_error && !told_to_end;
}

bool pace_wait(double seconds, int input)
{
	struct timespec rest = { .tv_sec = (time_t)seconds,
				 .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };
	struct pollfd files[] = {
		{ .fd = STDOUT_FILENO }, // for the reader's end alone
		{ .fd = input, .events = POLLIN },
	};
	sigset_t none;

	sigemptyset(&none);
	if (told_to_end)
		return false;
	const int ready = ppoll(files, 2, &rest, &none);

	return !told_to_end && !(ready > 0 && files[0].revents & (POLLERR | POLLHUP | POLLNVAL));
}

int pace_end(void)
{
	const bool error = write_error && write_error != EPIPE && !told_to_end;

	if (error) // the main program, which has written nothing else, need not
		inspector_say("cannot write the output: %s", strerror(write_error));
	__fpurge(stdout);
	clearerr(stdout);
	return error ? EXIT_ERROR : EXIT_FINE;
}

// ---- events -------------------------------------------------------------------------------------

struct watch {
	const struct options *options;
	const char *arena;
	uint64_t inode; /* of the arena whose events are read */
	uint64_t cursor;
	uint64_t left; /* events; UINT64_MAX: without end */
};

// False: it was not written.
static bool print_event(const struct watch *watch, const struct view *view,
			const struct lh_event_info *event)
{
	json_t *line = (json_t *)inspector_need(json_object());
	char name[VIEW_OBJECT_NAME];

	value_set(line, "version", json_integer(JSON_VERSION));
	value_set(line, "arena", value_text(watch->arena));
	value_set(line, "sequence", value_number(event->sequence));
	value_set(line, "time_ns", value_number(event->time_ns));
	value_set(line, "kind", value_text(lh_event_kind_name(event->kind)));
	value_set(line, "lease", value_number(event->lease));
	value_set(line, "pid", value_number((uint32_t)event->pid));
	value_set(line, "tid", value_number((uint32_t)event->tid));
	value_set(line, "command", value_text(event->command));
	value_set(line, "offset", value_number(event->offset));
	value_set(line, "object",
		  event->offset ? value_text(view_object_name(view, event->offset, name))
				: json_null());
	value_set(line, "token", value_number(event->token));
	value_set(line, "by_pid", value_number((uint32_t)event->by_pid));
	const bool written = pace_printed(
		json_dumpf(line, stdout, JSON_ENSURE_ASCII | JSON_COMPACT) == 0 &&
		putchar('\n') != EOF);

	json_decref(line);
	return written;
}

// What has come since the last look, or nothing of what is there already if this is the first.
static void print_new(struct watch *watch, const struct view *view, bool first)
{
	struct lh_event_info event;

	while (watch->left && lh_next_event(view->arena, &watch->cursor, &event) == 0) {
		if (first && !watch->options->all)
			continue;
		if (!print_event(watch, view, &event))
			break;
		if (watch->left != UINT64_MAX)
			watch->left--;
	}
}

// The arena is opened for each look, so that it can be removed and a placement in it too.
static int look(struct watch *watch, bool first, bool *ret_written)
{
	struct view view;
	int error = view_open(&view, watch->options, watch->arena);

	if (error)
		return error;
	if (view.inode != watch->inode && !first)
		watch->cursor = 0; // a successor: all its events are new
	watch->inode = view.inode;
	pace_print_begin();
	print_new(watch, &view, first);
	*ret_written = pace_print_end();
	error = guarded_check(view.arena);
	view_close(&view);
	return error;
}

int verb_watch(const struct options *options, const char *arena)
{
	struct watch watch = { .options = options,
			       .arena = arena,
			       .left = options->count ? options->count : UINT64_MAX };
	bool first = true, written = true;

	pace_begin();
	do {
		const int error = look(&watch, first, &written);

		if (error)
			return inspector_complain(arena, error);
		first = false;
	} while (written && watch.left && pace_wait(options->delay > 0 ? options->delay : 0.1, -1));
	return pace_end();
}
