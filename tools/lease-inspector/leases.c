// SPDX-License-Identifier: Apache-2.0
//
// leases.c: the verb leases, which shows who may hold things, until when and what it waits for.

#include <inttypes.h>
#include <stdio.h>

#include "inspector.h"

enum {
	LEASE_ID,
	LEASE_STATE,
	LEASE_PID,
	LEASE_TID,
	LEASE_PROCESS,
	LEASE_COMMAND,
	LEASE_LABEL,
	LEASE_EXPIRES_IN,
	LEASE_HOLDS,
	LEASE_WAITS_FOR,
	LEASE_WAITED,
	LEASE_FLAGS,
	LEASE_RECORDS,
	LEASE_EXPIRES,
	LEASE_ACQUIRED,
	LEASE_OTHER_NAMESPACE,
	LEASE_SLOT,
	LEASE_NAMESPACE,
	LEASE_START_TIME,
	LEASE_OFFSET,
	LEASE_SINCE,
	LEASE_COLUMNS
};

static const struct column columns[LEASE_COLUMNS] = {
	[LEASE_ID] = { "LEASE", "id", SCOLS_FL_RIGHT },
	[LEASE_STATE] = { "STATE", "state", 0 },
	[LEASE_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[LEASE_TID] = { "TID", "tid", SCOLS_FL_RIGHT },
	[LEASE_PROCESS] = { "PROCESS", "process_state", 0 },
	[LEASE_COMMAND] = { "COMMAND", "command", 0 },
	[LEASE_LABEL] = { "LABEL", "label", 0 },
	[LEASE_EXPIRES_IN] = { "EXPIRES", "remaining_ns", SCOLS_FL_RIGHT },
	[LEASE_HOLDS] = { "HOLDS", "held", SCOLS_FL_RIGHT },
	[LEASE_WAITS_FOR] = { "WAITS-FOR", "waits_for_name", 0 },
	[LEASE_WAITED] = { "WAITED", "waited_ns", SCOLS_FL_RIGHT },
	[LEASE_FLAGS] = { "FLAGS", "flags", 0 },
	[LEASE_RECORDS] = { "RECORDS", "holds", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[LEASE_EXPIRES] = { NULL, "expires_ns", 0 },
	[LEASE_ACQUIRED] = { NULL, "acquired_ns", 0 },
	[LEASE_OTHER_NAMESPACE] = { NULL, "other_pid_namespace", 0 },
	[LEASE_SLOT] = { NULL, "slot", 0 },
	[LEASE_NAMESPACE] = { NULL, "pid_namespace", 0 },
	[LEASE_START_TIME] = { NULL, "start_time", 0 },
	[LEASE_OFFSET] = { NULL, "waits_for", 0 },
	[LEASE_SINCE] = { NULL, "waits_since_ns", 0 },
};

const struct columns leases_columns = { columns, LEASE_COLUMNS };

// Words for the flags, and, in the table, "other-pidns".
static void show_flags(const struct row *row, const struct lh_lease_info *lease, bool other)
{
	static const struct {
		uint32_t flag;
		const char *word;
	} known[] = {
		{ LH_LEASE_AUTO_RENEW, "auto-renew" },
		{ LH_LEASE_PROCESS, "process" },
		{ LH_LEASE_KILL_ON_EXPIRY, "kill-on-expiry" },
		{ LH_LEASE_INTERRUPTIBLE, "interruptible" },
	};
	struct words words;
	uint32_t rest = lease->flags;

	words_start(&words, row);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (lease->flags & known[i].flag)
			words_add(&words, known[i].word);
		rest &= ~known[i].flag;
	}
	if (rest) {
		char unknown[16];

		snprintf(unknown, sizeof(unknown), "0x%" PRIx32, rest);
		words_add(&words, unknown);
	}
	if (other && !row->json)
		words_add(&words, "other-pidns");
	words_end(&words, LEASE_FLAGS);
	row_cell(row, LEASE_OTHER_NAMESPACE, NULL, row->json ? json_boolean(other) : NULL);
}

static void show_lease(struct table *table, const struct view *view,
		       const struct lh_lease_info *lease)
{
	const struct row row = table_row(table, NULL);
	const bool other = process_is_elsewhere(lease);
	char name[VIEW_OBJECT_NAME];

	row_number(&row, LEASE_ID, lease->id);
	row_text(&row, LEASE_STATE, lh_lease_state_name(lease->state));
	row_number(&row, LEASE_PID, (uint32_t)lease->pid);
	row_number(&row, LEASE_TID, (uint32_t)lease->tid);
	row_text(&row, LEASE_PROCESS, process_state_of(lease));
	row_text(&row, LEASE_COMMAND, lease->command);
	row_text(&row, LEASE_LABEL, lease->label);
	row_duration(&row, LEASE_EXPIRES_IN, view_remaining(view, lease));
	row_number(&row, LEASE_HOLDS, view_held_by(view, lease->id));
	row_number(&row, LEASE_RECORDS, lease->holds);
	if (lease->waits_for) {
		row_text(&row, LEASE_WAITS_FOR, view_object_name(view, lease->waits_for, name));
		row_duration(&row, LEASE_WAITED, view_since(view, lease->waits_since_ns));
	}
	show_flags(&row, lease, other);
	row_duration(&row, LEASE_EXPIRES, lease->expires_ns);
	row_moment(&row, LEASE_ACQUIRED, lease->acquired_ns);
	row_number(&row, LEASE_SLOT, lease->slot);
	row_number(&row, LEASE_NAMESPACE, lease->pid_namespace);
	row_number(&row, LEASE_START_TIME, lease->start_time);
	row_number(&row, LEASE_OFFSET, lease->waits_for);
	row_moment(&row, LEASE_SINCE, lease->waits_since_ns);
}

int verb_leases(const struct options *options, const char *arena)
{
	struct table table;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	table_start(&table, options, columns, LEASE_COLUMNS);
	for (size_t i = 0; i < view.lease_count; i++)
		show_lease(&table, &view, &view.leases[i]);
	table_show(&table, &view, "leases", "no leases");
	return view_end(&view);
}
