// SPDX-License-Identifier: Apache-2.0
//
// arenas.c: the verb arenas, which shows the arenas there are.

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "inspector.h"

#define SHM_DIRECTORY "/dev/shm"

enum {
	ARENA_NAME,
	ARENA_SIZE,
	ARENA_PLACEMENTS,
	ARENA_LEASES,
	ARENA_LOST,
	ARENA_HOLDS,
	ARENA_WAITING,
	ARENA_CHECK,
	ARENA_LAYOUT,
	ARENA_PROCESSES,
	ARENA_MODE,
	ARENA_USER,
	ARENA_ERROR,
	ARENA_COLUMNS
};

static const struct column columns[ARENA_COLUMNS] = {
	[ARENA_NAME] = { "NAME", "name", 0 },
	[ARENA_SIZE] = { "SIZE", "size", SCOLS_FL_RIGHT },
	[ARENA_PLACEMENTS] = { "OBJECTS", "placements", SCOLS_FL_RIGHT },
	[ARENA_LEASES] = { "LEASES", "leases", SCOLS_FL_RIGHT },
	[ARENA_LOST] = { "LOST", "lost", SCOLS_FL_RIGHT },
	[ARENA_HOLDS] = { "HOLDS", "holds", SCOLS_FL_RIGHT },
	[ARENA_WAITING] = { "WAITING", "waiting", SCOLS_FL_RIGHT },
	[ARENA_CHECK] = { "CHECK", "check", 0 },
	[ARENA_LAYOUT] = { "LAYOUT", "layout", 0 },
	[ARENA_PROCESSES] = { "PROCESSES", "processes", SCOLS_FL_RIGHT },
	[ARENA_MODE] = { "MODE", "mode", 0 },
	[ARENA_USER] = { "USER", "user", 0 },
	[ARENA_ERROR] = { NULL, "error", 0 },
};

const struct columns arenas_columns = { columns, ARENA_COLUMNS };

static bool is_regular(const char *name, struct stat *ret_status)
{
	char path[sizeof(SHM_DIRECTORY) + 1 + NAME_MAX];

	snprintf(path, sizeof(path), SHM_DIRECTORY "/%s", name);
	return lstat(path, ret_status) == 0 && S_ISREG(ret_status->st_mode);
}

static int candidate(const struct dirent *entry)
{
	struct stat status;

	return is_regular(entry->d_name, &status);
}

static void show_owner(const struct row *row, const struct stat *status)
{
	const struct passwd *user = getpwuid(status->st_uid);
	char text[16];

	snprintf(text, sizeof(text), "%04o", (unsigned)(status->st_mode & 07777));
	row_text(row, ARENA_MODE, text);
	if (user) {
		row_text(row, ARENA_USER, user->pw_name);
	} else {
		snprintf(text, sizeof(text), "%u", (unsigned)status->st_uid);
		row_text(row, ARENA_USER, text);
	}
}

static void show_arena(const struct row *row, const struct view *view, int check)
{
	size_t lost = 0;
	size_t held = 0;

	for (size_t i = 0; i < view->lease_count; i++)
		lost += view_is_lost(&view->leases[i]);
	for (size_t i = 0; i < view->hold_count; i++)
		held += view_is_held(&view->holds[i]);
	row_size(row, ARENA_SIZE,
		 lh_arena_end_offset(view->arena) - lh_arena_first_offset(view->arena));
	row_number(row, ARENA_PLACEMENTS, view->placement_count);
	row_number(row, ARENA_LEASES, view->lease_count);
	row_number(row, ARENA_LOST, lost);
	row_number(row, ARENA_HOLDS, held);
	row_number(row, ARENA_WAITING, view->waiter_count);
	row_text(row, ARENA_LAYOUT, "ok");
	row_text(row, ARENA_CHECK, check_name(check));
}

// Returns whether the object called name was left out: it cannot be opened as an arena.
static bool list_object(const struct options *options, struct table *table, const char *name,
			const struct attachments *attachments)
{
	struct stat status;
	struct view view;

	if (!is_regular(name, &status))
		return false;
	int error = view_open(&view, options, name);
	int check = 0;

	if (!error) {
		check = lh_arena_check(view.arena, NULL, NULL);
		error = guarded_check(view.arena);
		if (error)
			view_close(&view);
	}
	if (error && !options->all)
		return error != -ENOENT;
	const struct row row = table_row(table, NULL);

	const struct span open = attachments_of(attachments, name);

	row_text(&row, ARENA_NAME, name);
	show_owner(&row, &status);
	row_number(&row, ARENA_PROCESSES, open.end - open.first);
	if (!error) {
		show_arena(&row, &view, check);
		view_close(&view);
		return false;
	}
	char *reason = inspector_reason(error);

	row_size(&row, ARENA_SIZE, (uint64_t)status.st_size);
	row_text(&row, ARENA_ERROR, reason);
	row_text(&row, ARENA_LAYOUT, error == -EPROTONOSUPPORT ? "other" : "none");
	row_cell(&row, ARENA_CHECK, reason, NULL);
	free(reason);
	return false;
}

int arenas_scan(struct dirent ***ret_entries)
{
	const int count = scandir(SHM_DIRECTORY, ret_entries, candidate, alphasort);

	if (count >= 0)
		return count;
	inspector_say("cannot read " SHM_DIRECTORY ": %s", strerror(errno));
	inspector_say("Arenas elsewhere can be named by their path: lease-inspector list PATH");
	return -1;
}

int verb_arenas(const struct options *options, const char *arena)
{
	struct attachments attachments;
	struct dirent **entries;
	struct table table;
	size_t left_out = 0;
	const int count = arenas_scan(&entries);

	(void)arena;
	if (count < 0)
		return EXIT_ERROR;
	attachments_load(&attachments);
	table_start(&table, options, columns, ARENA_COLUMNS);
	for (int i = 0; i < count; i++) {
		left_out += list_object(options, &table, entries[i]->d_name, &attachments);
		free(entries[i]);
	}
	free(entries);
	attachments_free(&attachments);
	table_print(&table, "arenas", document_start(options, NULL, lh_now()),
		    "no arenas in " SHM_DIRECTORY);
	if (left_out) {
		fflush(stdout);
		inspector_say("%zu other object%s in " SHM_DIRECTORY
			      "; --all names them and says why they are left out",
			      left_out, left_out == 1 ? "" : "s");
	}
	return EXIT_FINE;
}
