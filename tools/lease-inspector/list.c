// SPDX-License-Identifier: Apache-2.0
//
// list.c: the verb list, which shows the arenas there are or what is placed in one.

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "inspector.h"

#define SHM_DIRECTORY "/dev/shm"

// ---- list: arenas -------------------------------------------------------------------------------

enum {
	ARENA_NAME,
	ARENA_SIZE,
	ARENA_PLACEMENTS,
	ARENA_LEASES,
	ARENA_LOST,
	ARENA_HOLDS,
	ARENA_WAITING,
	ARENA_CHECK,
	ARENA_MODE,
	ARENA_USER,
	ARENA_ERROR,
	ARENA_COLUMNS
};

static const struct column arena_columns[ARENA_COLUMNS] = {
	[ARENA_NAME] = { "NAME", "name", 0 },
	[ARENA_SIZE] = { "SIZE", "size", SCOLS_FL_RIGHT },
	[ARENA_PLACEMENTS] = { "PLACEMENTS", "placements", SCOLS_FL_RIGHT },
	[ARENA_LEASES] = { "LEASES", "leases", SCOLS_FL_RIGHT },
	[ARENA_LOST] = { "LOST", "lost", SCOLS_FL_RIGHT },
	[ARENA_HOLDS] = { "HOLDS", "holds", SCOLS_FL_RIGHT },
	[ARENA_WAITING] = { "WAITING", "waiting", SCOLS_FL_RIGHT },
	[ARENA_CHECK] = { "CHECK", "check", 0 },
	[ARENA_MODE] = { "MODE", "mode", 0 },
	[ARENA_USER] = { "USER", "user", 0 },
	[ARENA_ERROR] = { NULL, "error", 0 },
};

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

static void show_arena(const struct row *row, const struct view *view)
{
	size_t lost = 0;
	size_t held = 0;

	for (size_t i = 0; i < view->lease_count; i++)
		lost += view->leases[i].state == LH_LEASE_EXPIRED ||
			view->leases[i].state == LH_LEASE_DEAD;
	for (size_t i = 0; i < view->hold_count; i++)
		held += view_is_held(&view->holds[i]);
	row_size(row, ARENA_SIZE,
		 lh_arena_end_offset(view->arena) - lh_arena_first_offset(view->arena));
	row_number(row, ARENA_PLACEMENTS, view->placement_count);
	row_number(row, ARENA_LEASES, view->lease_count);
	row_number(row, ARENA_LOST, lost);
	row_number(row, ARENA_HOLDS, held);
	row_number(row, ARENA_WAITING, view->waiter_count);
	row_text(row, ARENA_CHECK, check_name(lh_arena_check(view->arena, NULL, NULL)));
}

// Returns whether the object called name was left out: it cannot be opened as an arena.
static bool list_object(const struct options *options, struct table *table, const char *name)
{
	struct stat status;
	struct view view;

	if (!is_regular(name, &status))
		return false;
	const int error = view_open(&view, options, name);

	if (error && !options->all)
		return error != -ENOENT;
	const struct row row = table_row(table, NULL);

	row_text(&row, ARENA_NAME, name);
	show_owner(&row, &status);
	if (!error) {
		show_arena(&row, &view);
		view_close(&view);
		return false;
	}
	char *reason = inspector_reason(error);

	row_size(&row, ARENA_SIZE, (uint64_t)status.st_size);
	row_text(&row, ARENA_ERROR, reason);
	row_cell(&row, ARENA_CHECK, reason, NULL);
	free(reason);
	return false;
}

static int list_arenas(const struct options *options)
{
	struct dirent **entries;
	struct table table;
	size_t left_out = 0;
	const int count = scandir(SHM_DIRECTORY, &entries, candidate, alphasort);

	if (count < 0) {
		inspector_say("cannot read " SHM_DIRECTORY ": %s", strerror(errno));
		inspector_say(
			"Arenas elsewhere can be named by their path: lease-inspector list PATH");
		return EXIT_ERROR;
	}
	table_start(&table, options, arena_columns, ARENA_COLUMNS);
	for (int i = 0; i < count; i++) {
		left_out += list_object(options, &table, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
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

// ---- list: placements ---------------------------------------------------------------------------

enum {
	PLACE_OFFSET,
	PLACE_SIZE,
	PLACE_KIND,
	PLACE_NAME,
	PLACE_COUNT,
	PLACE_DATA,
	PLACE_STATE,
	PLACE_HOLDERS,
	PLACE_WAITERS,
	PLACE_FLAGS,
	PLACE_LEASE,
	PLACE_COLUMNS
};

static const struct column place_columns[PLACE_COLUMNS] = {
	[PLACE_OFFSET] = { "OFFSET", "offset", SCOLS_FL_RIGHT },
	[PLACE_SIZE] = { "SIZE", "size", SCOLS_FL_RIGHT },
	[PLACE_KIND] = { "KIND", "kind", 0 },
	[PLACE_NAME] = { "NAME", "name", 0 },
	[PLACE_COUNT] = { "COUNT", "count", SCOLS_FL_RIGHT },
	[PLACE_DATA] = { "DATA", "data_size", SCOLS_FL_RIGHT },
	[PLACE_STATE] = { "STATE", "state", 0 },
	[PLACE_HOLDERS] = { "HOLDERS", "holders", 0 },
	[PLACE_WAITERS] = { "WAITERS", "waiters", SCOLS_FL_RIGHT },
	[PLACE_FLAGS] = { NULL, "flags", 0 },
	[PLACE_LEASE] = { NULL, "lease", 0 },
};

static const char *placement_state(uint32_t state)
{
	static const char *const names[] = { "ready", "placing", "abandoned" };

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

static json_t *holder_value(const struct view *view, const struct lh_hold_info *hold)
{
	const struct lh_lease_info *lease = view_lease(view, hold->lease);
	json_t *value = (json_t *)inspector_need(json_object());

	value_set(value, "lease", value_number(hold->lease));
	if (lease)
		value_set(value, "pid", json_integer(lease->pid));
	value_set(value, "offset", value_number(hold->offset));
	value_set(value, "index", value_number(hold->index));
	value_set(value, "mode", value_text(lh_hold_mode_name(hold->mode)));
	value_set(value, "count", value_number(hold->count));
	value_set(value, "token", value_number(hold->token));
	value_set(value, "damaged", json_boolean(hold->damaged));
	return value;
}

// Who holds parts of the placement: lease ids, "+5" for five more than there is room for.
static void show_holders(const struct row *row, const struct view *view,
			 const struct lh_placement_info *place)
{
	enum { SHOWN = 4 };
	const struct span span = view_holders_within(view, place->offset,
						     place->offset + place->size);
	json_t *values = row->object ? (json_t *)inspector_need(json_array()) : NULL;
	char text[SHOWN * 24 + 24] = "";
	size_t used = 0;
	size_t count = 0;

	for (size_t i = span.first; i < span.end; i++) {
		const struct lh_hold_info *hold = view->by_object[i];

		if (!view_is_held(hold))
			continue;
		if (values)
			value_append(values, holder_value(view, hold));
		if (count++ < SHOWN)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%" PRIu64,
						 used ? "," : "", hold->lease);
	}
	if (count > SHOWN)
		snprintf(text + used, sizeof(text) - used, ",+%zu", count - SHOWN);
	row_cell(row, PLACE_HOLDERS, text, values);
}

static void show_placement(struct table *table, const struct view *view,
			   const struct lh_placement_info *place)
{
	const struct row row = table_row(table, NULL);
	const struct span waiters = view_waiters_within(view, place->offset,
							place->offset + place->size);

	row_number(&row, PLACE_OFFSET, place->offset);
	row_size(&row, PLACE_SIZE, place->size);
	row_text(&row, PLACE_KIND, lh_kind_name(place->kind));
	row_text(&row, PLACE_NAME, place->name);
	if (place->count || row.object)
		row_number(&row, PLACE_COUNT, place->count);
	row_size(&row, PLACE_DATA, place->data_size);
	row_text(&row, PLACE_STATE, placement_state(place->state));
	show_holders(&row, view, place);
	row_number(&row, PLACE_WAITERS, waiters.end - waiters.first);
	row_number(&row, PLACE_FLAGS, place->flags);
	row_number(&row, PLACE_LEASE, place->lease);
}

static int list_placements(const struct options *options, const char *arena)
{
	struct table table;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	table_start(&table, options, place_columns, PLACE_COLUMNS);
	for (size_t i = 0; i < view.placement_count; i++)
		show_placement(&table, &view, &view.placements[i]);
	table_print(&table, "placements", document_start(options, arena, view.now_ns),
		    "nothing is placed");
	view_close(&view);
	return EXIT_FINE;
}

int verb_list(const struct options *options, const char *arena)
{
	return arena ? list_placements(options, arena) : list_arenas(options);
}
