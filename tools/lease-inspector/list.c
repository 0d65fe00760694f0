// SPDX-License-Identifier: Apache-2.0
//
// list.c: the verb list, which shows what is placed in an arena.

#include <inttypes.h>
#include <stdio.h>

#include "inspector.h"

enum {
	PLACE_NAME,
	PLACE_KIND,
	PLACE_OFFSET,
	PLACE_STATE,
	PLACE_MODE,
	PLACE_PID,
	PLACE_COMMAND,
	PLACE_LABEL,
	PLACE_HELD,
	PLACE_WAITERS,
	PLACE_WAITED,
	PLACE_TOKEN,
	PLACE_FLAGS,
	PLACE_SIZE,
	PLACE_COUNT,
	PLACE_DATA,
	PLACE_HOLDERS,
	PLACE_USED,
	PLACE_LIMIT,
	PLACE_VERSION,
	PLACE_PROCESS,
	PLACE_INDEX,
	PLACE_LEASE,
	PLACE_COLUMNS
};

static const struct column columns[PLACE_COLUMNS] = {
	[PLACE_NAME] = { "NAME", "name", 0 },
	[PLACE_KIND] = { "TYPE", "kind", 0 },
	[PLACE_OFFSET] = { "OFFSET", "offset", SCOLS_FL_RIGHT },
	[PLACE_STATE] = { "STATE", "state", 0 },
	[PLACE_MODE] = { "MODE", "mode", 0 },
	[PLACE_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[PLACE_COMMAND] = { "COMMAND", "command", 0 },
	[PLACE_LABEL] = { "LABEL", "label", 0 },
	[PLACE_HELD] = { "HELD", "held_ns", SCOLS_FL_RIGHT },
	[PLACE_WAITERS] = { "WAITERS", "waiters", SCOLS_FL_RIGHT },
	[PLACE_WAITED] = { "WAITED", "longest_wait_ns", SCOLS_FL_RIGHT },
	[PLACE_TOKEN] = { "TOKEN", "token", SCOLS_FL_RIGHT },
	[PLACE_FLAGS] = { "FLAGS", "flags", 0 },
	[PLACE_SIZE] = { "SIZE", "size", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_COUNT] = { "COUNT", "count", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_DATA] = { "DATA", "data_size", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_HOLDERS] = { "HOLDERS", "holders", COLUMN_EXTRA },
	[PLACE_USED] = { "USED", "used", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_LIMIT] = { "LIMIT", "limit", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_VERSION] = { "VERSION", "version", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_PROCESS] = { "PROCESS", "process_state", COLUMN_EXTRA },
	[PLACE_INDEX] = { "INDEX", "index", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PLACE_LEASE] = { NULL, "lease", 0 },
};

const struct columns list_columns = { columns, PLACE_COLUMNS };

// ---- holders ------------------------------------------------------------------------------------

json_t *holder_value(const struct view *view, const struct lh_hold_info *hold)
{
	const struct lh_lease_info *lease = view_lease(view, hold->lease);
	json_t *value = (json_t *)inspector_need(json_object());

	value_set(value, "lease", value_number(hold->lease));
	value_set(value, "pid", lease ? json_integer(lease->pid) : json_null());
	value_set(value, "command", lease ? value_text(lease->command) : json_null());
	value_set(value, "label", lease ? value_text(lease->label) : json_null());
	value_set(value, "offset", value_number(hold->offset));
	value_set(value, "index", value_number(hold->index));
	value_set(value, "mode", value_text(hold_mode(hold)));
	value_set(value, "count", value_number(hold->count));
	value_set(value, "token", value_number(hold->token));
	value_set(value, "held_ns",
		  hold->since_ns ? value_number(view_since(view, hold->since_ns)) : json_null());
	value_set(value, "damaged", json_boolean(hold->damaged));
	return value;
}

// All who hold it: lease ids, "+5" for five more than there is room for.
static void show_holders(const struct row *row, const struct view *view,
			 const struct object *object)
{
	enum { SHOWN = 4 };
	json_t *values = row->json ? (json_t *)inspector_need(json_array()) : NULL;
	char text[SHOWN * 24 + 24] = "";
	size_t used = 0;
	size_t count = 0;

	for (size_t i = object->holders.first; i < object->holders.end; i++) {
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

// The first of them, with how many more there are, or how much of what there is to have is taken.
static void show_holder(const struct row *row, const struct view *view, const struct object *object)
{
	const struct lh_hold_info *hold = object_holder(view, object);
	const struct lh_lease_info *lease = hold ? view_lease(view, hold->lease) : NULL;
	const size_t count = hold ? object_holder_count(view, object) : 0;
	char text[64];

	if (!hold)
		return;
	if (object->info.limit)
		snprintf(text, sizeof(text), "%s %" PRIu32 "/%" PRIu32, hold_mode(hold),
			 object->info.used, object->info.limit);
	else
		snprintf(text, sizeof(text), count > 1 ? "%s x%zu" : "%s", hold_mode(hold), count);
	row_cell(row, PLACE_MODE, text, row->json ? value_text(hold_mode(hold)) : NULL);
	if (hold->since_ns)
		row_duration(row, PLACE_HELD, view_since(view, hold->since_ns));
	if (!lease)
		return;
	row_number(row, PLACE_PID, (uint32_t)lease->pid);
	row_text(row, PLACE_COMMAND, lease->command);
	row_text(row, PLACE_LABEL, lease->label);
	if (row_shows(row, PLACE_PROCESS))
		row_text(row, PLACE_PROCESS, process_state_of(lease));
}

// ---- objects ------------------------------------------------------------------------------------

static void show_place(const struct row *row, const struct object *object)
{
	const struct lh_placement_info *place = object->place;

	row_text(row, PLACE_KIND, lh_kind_name(place->kind));
	row_number(row, PLACE_OFFSET, object->info.offset);
	row_size(row, PLACE_SIZE, place->size);
	if (place->count || row->json)
		row_number(row, PLACE_COUNT, place->count);
	row_size(row, PLACE_DATA, place->data_size);
	row_number(row, PLACE_LEASE, place->lease);
	if (object->whole || object->error)
		return;
	row_number(row, PLACE_INDEX, object->info.index);
	if (object->info.token || row->json)
		row_number(row, PLACE_TOKEN, object->info.token);
	if (object->info.version || row->json)
		row_number(row, PLACE_VERSION, object->info.version);
	if (object->info.limit) {
		row_number(row, PLACE_USED, object->info.used);
		row_number(row, PLACE_LIMIT, object->info.limit);
	}
}

void show_flag_words(const struct row *row, size_t column, const struct view *view,
		     const struct object *object)
{
	struct words words;

	words_start(&words, row);
	object_flags(view, object, words_add, &words);
	words_end(&words, column);
}

static void show_object(struct table *table, const struct view *view, const struct object *object)
{
	const struct row row = table_row(table, NULL);
	const uint64_t longest = object_longest_wait(view, object);
	char name[VIEW_OBJECT_NAME];

	// An element of an array is "table[3]", the array "table"; what has no name has none.
	row_text(&row, PLACE_NAME,
		 object->whole || !object->place->name[0]
			 ? object->place->name
			 : view_object_name(view, object->info.offset, name));
	show_place(&row, object);
	row_text(&row, PLACE_STATE, object_state(view, object));
	show_holder(&row, view, object);
	show_holders(&row, view, object);
	row_number(&row, PLACE_WAITERS, object->waiters.end - object->waiters.first);
	if (object->waiters.end > object->waiters.first)
		row_duration(&row, PLACE_WAITED, longest);
	show_flag_words(&row, PLACE_FLAGS, view, object);
}

static int list_placements(const struct options *options, const char *arena)
{
	struct table table;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	table_start(&table, options, columns, PLACE_COLUMNS);
	for (size_t i = 0; i < view.placement_count; i++) {
		struct object object = object_of(&view, &view.placements[i]);
		const bool elements = options->all && object.whole;

		show_object(&table, &view, &object);
		for (uint32_t element = 0;
		     elements && object_element(&view, &view.placements[i], element, &object);
		     element++)
			show_object(&table, &view, &object);
	}
	table_show(&table, &view, "placements", "nothing is placed");
	return view_end(&view);
}

int verb_list(const struct options *options, const char *arena)
{
	return arena ? list_placements(options, arena) : verb_arenas(options, NULL);
}
