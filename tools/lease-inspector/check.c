// SPDX-License-Identifier: Apache-2.0
//
// check.c: the verb check, which audits an arena.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inspector.h"

enum { CHECK_SEVERITY, CHECK_OFFSET, CHECK_OBJECT, CHECK_TEXT, CHECK_COLUMNS };

static const struct column columns[CHECK_COLUMNS] = {
	[CHECK_SEVERITY] = { "FINDING", "severity", 0 },
	[CHECK_OFFSET] = { "OFFSET", "offset", SCOLS_FL_RIGHT },
	[CHECK_OBJECT] = { "OBJECT", "object", 0 },
	[CHECK_TEXT] = { "TEXT", "text", 0 },
};

const struct columns check_columns = { columns, CHECK_COLUMNS };

struct findings {
	struct table table;
	const struct view *view; /* NULL: the arena cannot be opened */
	int worst;
};

const char *check_name(int severity)
{
	switch (severity) {
	case LH_CHECK_CLEAN:
		return "clean";
	case LH_CHECK_STALE:
		return "stale";
	case LH_CHECK_DEADLOCK:
		return "deadlock";
	case LH_CHECK_CORRUPT:
		return "corrupt";
	default:
		return "?";
	}
}

static const char *what_next(int severity)
{
	switch (severity) {
	case LH_CHECK_STALE:
		return "Nothing needs doing: whoever next wants what the lost lease holds clears "
		       "it\n"
		       "away, or `gc` now. `leases` shows whose it was.";
	case LH_CHECK_DEADLOCK:
		return "One of those who wait for locks is told -EDEADLK as soon as it runs. If "
		       "this\n"
		       "lasts, find the one that is stopped with `tree`, and continue or end it. "
		       "Of those\n"
		       "who wait for permits or at a barrier nobody is told: end one of them.";
	case LH_CHECK_CORRUPT:
		return "It is no arena, or something other than the library wrote to it. If it is "
		       "meant\n"
		       "to be one: end the processes that use it, and remove it with\n"
		       "`rm --force`; they make a new one.";
	default:
		return NULL;
	}
}

static void add_finding(void *context, int severity, uint64_t offset, const char *text)
{
	struct findings *findings = (struct findings *)context;
	const struct row row = table_row(&findings->table, NULL);
	char name[VIEW_OBJECT_NAME];

	if (severity > findings->worst)
		findings->worst = severity;
	row_text(&row, CHECK_SEVERITY, check_name(severity));
	row_number(&row, CHECK_OFFSET, offset);
	if (findings->view && view_is_placed(findings->view, offset))
		row_text(&row, CHECK_OBJECT, view_object_name(findings->view, offset, name));
	row_text(&row, CHECK_TEXT, text);
}

// The library looks for cycles of those who wait for one owner, which it breaks. Here are the rest.
static void add_unwatched_deadlocks(struct findings *findings)
{
	const struct view *view = findings->view;
	char name[VIEW_OBJECT_NAME], text[160];
	struct cycles cycles;

	cycles_find(view, &cycles);
	for (size_t i = 0; i < view->lease_count; i++) {
		const struct lh_lease_info *lease = &view->leases[i];

		if (!cycles.deadlocked[i] || !cycles_is_unwatched(view, lease->waits_for))
			continue;
		snprintf(text, sizeof(text),
			 "lease %" PRIu64 " waits in a cycle through %s, which nobody breaks",
			 lease->id, view_object_name(view, lease->waits_for, name));
		add_finding(findings, LH_CHECK_DEADLOCK, lease->waits_for, text);
	}
	cycles_free(&cycles);
}

static void print_findings(struct findings *findings, const char *arena)
{
	const struct options *options = findings->table.options;
	struct document *document = document_start(options, arena, lh_now());
	const char *advice = what_next(findings->worst);

	if (document) {
		value_set(document->members, "result", value_text(check_name(findings->worst)));
		value_set(document->members, "exit", json_integer(findings->worst));
	}
	table_print(&findings->table, "findings", document, NULL);
	if (document)
		return;
	char *escaped = escape_text(arena);

	printf("%s: %s\n", escaped, check_name(findings->worst));
	if (advice)
		puts(advice);
	free(escaped);
}

int verb_check(const struct options *options, const char *arena)
{
	struct findings findings = { .view = NULL };
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error && error != -EBADMSG)
		return inspector_complain(arena, error);
	table_start(&findings.table, options, columns, CHECK_COLUMNS);
	if (error) {
		// The error's own words send the reader to this very check.
		const char *detail = inspector_detail();

		add_finding(&findings, LH_CHECK_CORRUPT, 0, *detail ? detail : lh_strerror(error));
	} else {
		findings.view = &view;
		const int result = lh_arena_check(view.arena, add_finding, &findings);

		if (result > findings.worst)
			findings.worst = result;
		add_unwatched_deadlocks(&findings);
		if (guarded_check(view.arena))
			add_finding(&findings, LH_CHECK_CORRUPT, 0, inspector_detail());
		view_close(&view);
		findings.view = NULL;
	}
	print_findings(&findings, arena);
	return findings.worst;
}
