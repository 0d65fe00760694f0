// SPDX-License-Identifier: Apache-2.0
//
// show.c: the verb show, which tells everything that is known of one object.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspector.h"

// ---- the object ---------------------------------------------------------------------------------

enum { FACT_NAME, FACT_VALUE, FACT_COLUMNS };

static const struct column fact_columns[FACT_COLUMNS] = {
	[FACT_NAME] = { "FIELD", NULL, 0 },
	[FACT_VALUE] = { "VALUE", NULL, 0 },
};

struct facts {
	struct table table;
	json_t *object; /* NULL without --json */
};

static void add_text(struct facts *facts, const char *key, const char *shown, json_t *value)
{
	if (facts->object) {
		value_set(facts->object, key, value ? value : value_text(shown));
		return;
	}
	json_decref(value);
	const struct row row = table_row(&facts->table, NULL);

	row_text(&row, FACT_NAME, key);
	row_text(&row, FACT_VALUE, shown);
}

static void add_number(struct facts *facts, const char *key, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	add_text(facts, key, text, facts->object ? value_number(number) : NULL);
}

static void add_word(void *context, const char *word)
{
	struct facts *facts = (struct facts *)context;

	if (facts->object)
		value_append(json_object_get(facts->object, "flags"), value_text(word));
	else
		add_text(facts, "flag", word, NULL);
}

// The first bytes of its data, as they are at this moment.
static void add_data(struct facts *facts, const struct view *view, const struct object *object)
{
	enum { SHOWN = 32 };
	char text[2 * SHOWN + SHOWN / 4 + 8];
	size_t used = 0;
	const uint64_t size = object->info.data_size < SHOWN ? object->info.data_size : SHOWN;
	const unsigned char *bytes = (const unsigned char *)lh_arena_range(
		view->arena, object->info.data_offset, size);

	add_number(facts, "data_size", object->place->data_size);
	if (!object->info.data_offset || !size || !bytes)
		return;
	add_number(facts, "data_offset", object->info.data_offset);
	for (size_t i = 0; i < size; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 i && i % 4 == 0 ? " %02x" : "%02x",
					 *(const volatile unsigned char *)&bytes[i]);
	if (object->info.data_size > SHOWN)
		snprintf(text + used, sizeof(text) - used, " ...");
	add_text(facts, "data", text, NULL);
}

static void add_facts(struct facts *facts, const struct view *view, const struct object *object)
{
	const struct lh_placement_info *place = object->place;
	char name[VIEW_OBJECT_NAME];

	add_text(facts, "object", view_object_name(view, object->info.offset, name), NULL);
	add_text(facts, "kind", lh_kind_name(place->kind), NULL);
	add_text(facts, "state", object_state(view, object), NULL);
	add_number(facts, "offset", object->info.offset);
	add_number(facts, "placement", place->offset);
	add_number(facts, "size", place->size);
	add_number(facts, "count", place->count);
	if (!object->whole)
		add_number(facts, "index", object->info.index);
	add_number(facts, "token", object->info.token);
	if (object->info.limit) {
		add_number(facts, "used", object->info.used);
		add_number(facts, "limit", object->info.limit);
	}
	if (place->kind == LH_KIND_WATCH || place->kind == LH_KIND_CELL)
		add_number(facts, "version", object->info.version);
	if (object->info.lost)
		add_number(facts, "last_lost_lease", object->info.lost);
	add_data(facts, view, object);
	if (facts->object)
		value_set(facts->object, "flags", (json_t *)inspector_need(json_array()));
	object_flags(view, object, add_word, facts);
}

// ---- who has it, who wants it -------------------------------------------------------------------

enum {
	HOLDER_LEASE,
	HOLDER_STATE,
	HOLDER_PID,
	HOLDER_PROCESS,
	HOLDER_COMMAND,
	HOLDER_LABEL,
	HOLDER_MODE,
	HOLDER_COUNT,
	HOLDER_TOKEN,
	HOLDER_FOR,
	HOLDER_OFFSET,
	HOLDER_COLUMNS
};

static const struct column holder_columns[HOLDER_COLUMNS] = {
	[HOLDER_LEASE] = { "HOLDER", "lease", SCOLS_FL_RIGHT },
	[HOLDER_STATE] = { "STATE", "state", 0 },
	[HOLDER_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[HOLDER_PROCESS] = { "PROCESS", "process_state", 0 },
	[HOLDER_COMMAND] = { "COMMAND", "command", 0 },
	[HOLDER_LABEL] = { "LABEL", "label", 0 },
	[HOLDER_MODE] = { "MODE", "mode", 0 },
	[HOLDER_COUNT] = { "COUNT", "count", SCOLS_FL_RIGHT },
	[HOLDER_TOKEN] = { "TOKEN", "token", SCOLS_FL_RIGHT },
	[HOLDER_FOR] = { "HELD", "held_ns", SCOLS_FL_RIGHT },
	[HOLDER_OFFSET] = { NULL, "offset", 0 },
};

static void show_lease(const struct row *row, const struct lh_lease_info *lease)
{
	row_text(row, HOLDER_STATE, lh_lease_state_name(lease->state));
	row_number(row, HOLDER_PID, (uint32_t)lease->pid);
	row_text(row, HOLDER_PROCESS, process_state_of(lease));
	row_text(row, HOLDER_COMMAND, lease->command);
	row_text(row, HOLDER_LABEL, lease->label);
}

static void add_holders(struct table *table, const struct view *view, const struct object *object)
{
	for (size_t i = object->holders.first; i < object->holders.end; i++) {
		const struct lh_hold_info *hold = view->by_object[i];
		const struct lh_lease_info *lease = view_lease(view, hold->lease);

		if (!view_is_held(hold))
			continue;
		const struct row row = table_row(table, NULL);

		row_number(&row, HOLDER_LEASE, hold->lease);
		if (lease)
			show_lease(&row, lease);
		row_text(&row, HOLDER_MODE, hold_mode(hold));
		row_number(&row, HOLDER_COUNT, hold->count);
		if (hold->token)
			row_number(&row, HOLDER_TOKEN, hold->token);
		if (hold->since_ns)
			row_duration(&row, HOLDER_FOR, view_since(view, hold->since_ns));
		row_number(&row, HOLDER_OFFSET, hold->offset);
	}
}

enum {
	WAITER_LEASE = HOLDER_LEASE,
	WAITER_WAITED = HOLDER_MODE,
	WAITER_OFFSET,
	WAITER_COLUMNS,
};

// The first columns are those of holders.
static const struct column waiter_columns[WAITER_COLUMNS] = {
	[WAITER_LEASE] = { "WAITER", "lease", SCOLS_FL_RIGHT },
	[HOLDER_STATE] = { "STATE", "state", 0 },
	[HOLDER_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[HOLDER_PROCESS] = { "PROCESS", "process_state", 0 },
	[HOLDER_COMMAND] = { "COMMAND", "command", 0 },
	[HOLDER_LABEL] = { "LABEL", "label", 0 },
	[WAITER_WAITED] = { "WAITED", "waited_ns", SCOLS_FL_RIGHT },
	[WAITER_OFFSET] = { NULL, "offset", 0 },
};

static void add_waiters(struct table *table, const struct view *view, const struct object *object)
{
	for (size_t i = object->waiters.first; i < object->waiters.end; i++) {
		const struct lh_lease_info *lease = view->waiters[i];
		const struct row row = table_row(table, NULL);

		row_number(&row, WAITER_LEASE, lease->id);
		show_lease(&row, lease);
		row_duration(&row, WAITER_WAITED, view_since(view, lease->waits_since_ns));
		row_number(&row, WAITER_OFFSET, lease->waits_for);
	}
}

// ---- what happened to it ------------------------------------------------------------------------

static void add_events(struct table *table, const struct view *view, const struct object *object)
{
	const uint64_t begin = object->info.offset;
	const uint64_t size = object->whole ? object->place->size : 1;
	struct lh_event_info event;
	uint64_t cursor = 0;

	while (lh_next_event(view->arena, &cursor, &event) == 0)
		if (event.offset >= begin && event.offset - begin < size)
			history_row(table, view, &event);
}

// A blank line in between; none before the first.
static void part(const struct options *options)
{
	if (!options->json)
		putchar('\n');
}

static void show_object(const struct options *options, const struct view *view,
			const struct object *object)
{
	struct options plain = *options;
	struct document *document = document_start(options, view->name, view->now_ns);
	struct facts facts = { .object = document ? (json_t *)inspector_need(json_object())
						  : NULL };
	struct table table;

	plain.no_headings = true;
	if (!document)
		table_start(&facts.table, &plain, fact_columns, FACT_COLUMNS);
	add_facts(&facts, view, object);
	if (document)
		value_set(document->members, "object", facts.object);
	else
		table_finish(&facts.table, NULL, NULL, NULL);
	table_start(&table, options, holder_columns, HOLDER_COLUMNS);
	add_holders(&table, view, object);
	part(options);
	table_finish(&table, "holders", document, "nobody holds it");
	table_start(&table, options, waiter_columns, WAITER_COLUMNS);
	add_waiters(&table, view, object);
	part(options);
	table_finish(&table, "waiters", document, "nobody waits for it");
	history_start(&table, options);
	add_events(&table, view, object);
	part(options);
	table_finish(&table, "events", document, "nothing is remembered of it");
	if (document)
		document_print(document);
}

int verb_show(const struct options *options, const char *arena)
{
	struct object object;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	const bool found = object_find(&view, options->object, &object);

	if (guarded_check(view.arena))
		return view_end(&view);
	if (found)
		show_object(options, &view, &object);
	else
		inspector_no_object(arena, options->object);
	const int result = view_end(&view);

	return found ? result : EXIT_NO_MATCH;
}
