// SPDX-License-Identifier: Apache-2.0
//
// history.c: the verb history, which shows what had to be recovered.

#include <stdio.h>

#include "inspector.h"

enum {
	EVENT_SEQUENCE,
	EVENT_TIME,
	EVENT_KIND,
	EVENT_LEASE,
	EVENT_PID,
	EVENT_TID,
	EVENT_COMMAND,
	EVENT_OBJECT,
	EVENT_TOKEN,
	EVENT_BY,
	EVENT_OFFSET,
	EVENT_COLUMNS
};

static const struct column columns[EVENT_COLUMNS] = {
	[EVENT_SEQUENCE] = { "EVENT", "sequence", SCOLS_FL_RIGHT },
	[EVENT_TIME] = { "TIME", "time_ns", 0 },
	[EVENT_KIND] = { "KIND", "kind", 0 },
	[EVENT_LEASE] = { "LEASE", "lease", SCOLS_FL_RIGHT },
	[EVENT_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[EVENT_TID] = { "TID", "tid", SCOLS_FL_RIGHT },
	[EVENT_COMMAND] = { "COMMAND", "command", 0 },
	[EVENT_OBJECT] = { "OBJECT", "object", 0 },
	[EVENT_TOKEN] = { "TOKEN", "token", SCOLS_FL_RIGHT },
	[EVENT_BY] = { "BY", "by_pid", SCOLS_FL_RIGHT },
	[EVENT_OFFSET] = { NULL, "offset", 0 },
};

const struct columns history_columns = { columns, EVENT_COLUMNS };

void history_row(struct table *table, const struct view *view, const struct lh_event_info *event)
{
	const struct row row = table_row(table, NULL);
	char name[VIEW_OBJECT_NAME];

	row_number(&row, EVENT_SEQUENCE, event->sequence);
	row_moment(&row, EVENT_TIME, event->time_ns);
	row_text(&row, EVENT_KIND, lh_event_kind_name(event->kind));
	if (event->lease || row.json)
		row_number(&row, EVENT_LEASE, event->lease);
	if (event->pid || row.json)
		row_number(&row, EVENT_PID, (uint32_t)event->pid);
	if (event->tid || row.json)
		row_number(&row, EVENT_TID, (uint32_t)event->tid);
	row_text(&row, EVENT_COMMAND, event->command);
	if (event->offset)
		row_text(&row, EVENT_OBJECT, view_object_name(view, event->offset, name));
	if (event->token)
		row_number(&row, EVENT_TOKEN, event->token);
	row_number(&row, EVENT_BY, (uint32_t)event->by_pid);
	row_number(&row, EVENT_OFFSET, event->offset);
}

void history_start(struct table *table, const struct options *options)
{
	table_start(table, options, columns, EVENT_COLUMNS);
}

int verb_history(const struct options *options, const char *arena)
{
	struct lh_event_info event;
	struct table table;
	struct view view;
	uint64_t cursor = 0;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	history_start(&table, options);
	while (lh_next_event(view.arena, &cursor, &event) == 0)
		history_row(&table, &view, &event);
	table_show(&table, &view, "events", "nothing had to be recovered so far");
	return view_end(&view);
}
