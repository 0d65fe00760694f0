// SPDX-License-Identifier: Apache-2.0
//
// watch.c: the verb watch, which prints events as they come, and what it shares with top: looking again
// and again until a signal comes or nobody reads.

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

static void note_signal(int number)
{
	(void)number;
	told_to_end = 1;
}

void pace_begin(void)
{
	const struct sigaction action = { .sa_handler = note_signal };
	sigset_t blocked;

	// They come in while pace_wait sleeps and at no other time, so none is missed in between.
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
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
	const int ready = ppoll(files, 2, &rest, &none);

	return !told_to_end && !(ready > 0 && files[0].revents & (POLLERR | POLLHUP | POLLNVAL));
}

int pace_end(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_FINE;
	if (errno != EPIPE)
		return EXIT_ERROR; // which the main program tells
	__fpurge(stdout);
	clearerr(stdout);
	return EXIT_FINE;
}

// ---- events -------------------------------------------------------------------------------------

struct watch {
	const struct options *options;
	const char *arena;
	uint64_t inode; /* of the arena whose events are read */
	uint64_t cursor;
	uint64_t left; /* events; UINT64_MAX: without end */
};

static void print_event(const struct watch *watch, const struct view *view,
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
	if (json_dumpf(line, stdout, JSON_ENSURE_ASCII | JSON_COMPACT) == 0)
		putchar('\n');
	json_decref(line);
}

// What has come since the last look, or nothing of what is there already if this is the first.
static void print_new(struct watch *watch, const struct view *view, bool first)
{
	struct lh_event_info event;

	while (watch->left && lh_next_event(view->arena, &watch->cursor, &event) == 0) {
		if (first && !watch->options->all)
			continue;
		print_event(watch, view, &event);
		if (watch->left != UINT64_MAX)
			watch->left--;
	}
}

// The arena is opened for each look, so that it can be removed and a placement in it too.
static int look(struct watch *watch, bool first)
{
	struct view view;
	const uint64_t inode = inspector_inode(watch->arena);
	const int error = view_open(&view, watch->options, watch->arena);

	if (error)
		return error;
	if (inode != watch->inode && !first)
		watch->cursor = 0; // a successor: all its events are new
	watch->inode = inode;
	print_new(watch, &view, first);
	view_close(&view);
	return 0;
}

int verb_watch(const struct options *options, const char *arena)
{
	struct watch watch = { .options = options,
			       .arena = arena,
			       .left = options->count ? options->count : UINT64_MAX };
	bool first = true;

	pace_begin();
	do {
		const int error = look(&watch, first);

		if (error)
			return inspector_complain(arena, error);
		first = false;
		if (fflush(stdout) != 0)
			break;
	} while (watch.left && pace_wait(options->delay > 0 ? options->delay : 0.1, -1));
	return pace_end();
}
