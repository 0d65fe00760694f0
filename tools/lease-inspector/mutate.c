// SPDX-License-Identifier: Apache-2.0
//
// mutate.c: the verbs that change an arena: break, gc and rm. Each looks first, read-only, decides what is
// to be done and whether it may be, and opens the arena for writing only to do it.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inspector.h"

enum {
	ACT_ACTION,
	ACT_LEASE,
	ACT_PID,
	ACT_COMMAND,
	ACT_STATE,
	ACT_OBJECT,
	ACT_RESULT,
	ACT_COLUMNS
};

static const struct column columns[ACT_COLUMNS] = {
	[ACT_ACTION] = { "ACTION", "action", 0 },
	[ACT_LEASE] = { "LEASE", "lease", SCOLS_FL_RIGHT },
	[ACT_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[ACT_COMMAND] = { "COMMAND", "command", 0 },
	[ACT_STATE] = { "STATE", "state", 0 },
	[ACT_OBJECT] = { "OBJECT", "object", 0 },
	[ACT_RESULT] = { "RESULT", "result", 0 },
};

struct act {
	const struct options *options;
	const char *name; /* of the arena */
	const struct view *view;
	lh_arena *arena; /* open for writing; NULL: nothing is done yet, or ever */
	struct table table;
	const struct lh_lease_info **leases; /* to be ended */
	size_t lease_count;
	uint64_t offset; /* of the object for whose sake; 0: the arena */
	bool failed;
};

// ---- telling ------------------------------------------------------------------------------------

// error > 0: it was not done, nor tried.
static void tell(struct act *act, const char *action, const struct lh_lease_info *lease, int error)
{
	const struct row row = table_row(&act->table, NULL);
	char name[VIEW_OBJECT_NAME];

	row_text(&row, ACT_ACTION, action);
	if (lease) {
		row_number(&row, ACT_LEASE, lease->id);
		row_number(&row, ACT_PID, (uint32_t)lease->pid);
		row_text(&row, ACT_COMMAND, lease->command);
		row_text(&row, ACT_STATE, lh_lease_state_name(lease->state));
	}
	if (act->offset)
		row_text(&row, ACT_OBJECT, view_object_name(act->view, act->offset, name));
	if (error >= 0) {
		row_text(&row, ACT_RESULT, error ? "would be done" : "done");
		return;
	}
	char *reason = inspector_reason(error);

	row_text(&row, ACT_RESULT, reason);
	free(reason);
	act->failed = true;
}

static void act_start(struct act *act, const struct options *options, const struct view *view)
{
	*act = (struct act){ .options = options, .name = view->name, .view = view };
	act->leases = (const struct lh_lease_info **)inspector_need(
		calloc(view->lease_count + view->hold_count + 1, sizeof(void *)));
	table_start(&act->table, options, columns, ACT_COLUMNS);
}

static int act_end(struct act *act)
{
	json_t *document = document_start(act->options, act->name, act->view->now_ns);

	if (document)
		value_set(document, "dry_run", json_boolean(act->options->dry_run));
	table_print(&act->table, "actions", document, NULL);
	free(act->leases);
	if (act->arena)
		lh_arena_close(act->arena);
	return act->failed ? EXIT_ERROR : EXIT_FINE;
}

// Opens the arena for writing, unless nothing is to be done. 0 or the library's error.
static int act_open(struct act *act)
{
	if (act->options->dry_run)
		return 0;
	return lh_arena_open(act->name, act->options->open_flags & ~LH_READ_ONLY, NULL,
			     &act->arena);
}

// ---- leases that are in the way -----------------------------------------------------------------

static void add_lease(struct act *act, const struct lh_lease_info *lease)
{
	for (size_t i = 0; lease && i < act->lease_count; i++)
		if (act->leases[i] == lease)
			return;
	if (lease)
		act->leases[act->lease_count++] = lease;
}

static void add_holders(struct act *act, const struct object *object)
{
	for (size_t i = object->holders.first; i < object->holders.end; i++)
		if (view_is_held(act->view->by_object[i]))
			add_lease(act, view_lease(act->view, act->view->by_object[i]->lease));
}

// Whether its owner may still do something with what the lease holds.
static bool is_in_use(const struct lh_lease_info *lease)
{
	return lease->state == LH_LEASE_LIVE || lease->state == LH_LEASE_STARTING ||
	       (lease->state == LH_LEASE_EXPIRED && lease->flags & LH_LEASE_KILL_ON_EXPIRY);
}

static const char *action_for(const struct lh_lease_info *lease)
{
	if (!is_in_use(lease))
		return "clear";
	if (lease->expires_ns == UINT64_MAX || lease->flags & LH_LEASE_KILL_ON_EXPIRY)
		return "kill";
	return "expire";
}

// Whether owners live and --force was not given; says so.
static bool refused(const struct act *act)
{
	bool any = false;

	for (size_t i = 0; i < act->lease_count && !act->options->force; i++) {
		const struct lh_lease_info *lease = act->leases[i];

		if (!is_in_use(lease))
			continue;
		any = true;
		inspector_say("lease %" PRIu64 " is in use by process %" PRId32 " (%s, %s)",
			      lease->id, lease->pid, lease->command, process_state_of(lease));
	}
	if (any)
		inspector_say("--force ends leases of living owners; --dry-run --force says how.");
	return any;
}

// Ends them all, or says what would be done.
static void end_leases(struct act *act)
{
	const int flags = act->options->force ? LH_BREAK_FORCE : 0;

	for (size_t i = 0; i < act->lease_count; i++) {
		const lh_deadline deadline = lh_deadline_after(
			(uint64_t)(act->options->timeout * 1e9));
		int error = 1;

		if (act->arena)
			error = lh_lease_break(act->arena, act->leases[i]->id, act->offset, flags,
					       deadline);
		// Gone meanwhile: it holds nothing any more.
		tell(act, action_for(act->leases[i]), act->leases[i], error == -ENOENT ? 0 : error);
	}
}

// ---- break --------------------------------------------------------------------------------------

static int break_object(const struct options *options, const struct view *view,
			const struct object *object)
{
	struct act act;

	act_start(&act, options, view);
	act.offset = object->info.offset;
	add_holders(&act, object);
	if (act.lease_count == 0) {
		inspector_say("nobody holds %s", options->object);
		act_end(&act);
		return EXIT_NO_MATCH;
	}
	act.failed = refused(&act);
	const int error = act.failed ? 0 : act_open(&act);

	if (error)
		act.failed = inspector_complain(act.name, error);
	else if (!act.failed)
		end_leases(&act);
	return act_end(&act);
}

int verb_break(const struct options *options, const char *arena)
{
	struct object object;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	const int result = object_find(&view, options->object, &object)
				   ? break_object(options, &view, &object)
				   : inspector_no_object(arena, options->object);

	view_close(&view);
	return result;
}

// ---- gc -----------------------------------------------------------------------------------------

static void sweep(struct act *act)
{
	uint32_t freed = 0, left = 0;
	const int error = lh_sweep(act->arena, &freed, &left);

	if (error)
		act->failed = inspector_complain(act->name, error);
	else if (left)
		inspector_say("%" PRIu32 " freed; %" PRIu32 " stay with owners that run and have "
			      "not released them",
			      freed, left);
}

int verb_gc(const struct options *options, const char *arena)
{
	struct act act;
	struct view view;
	int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	act_start(&act, options, &view);
	error = act_open(&act);
	if (error)
		act.failed = inspector_complain(arena, error);
	else if (act.arena)
		sweep(&act);
	for (size_t i = 0; i < view.lease_count && !act.failed; i++)
		if (view.leases[i].state == LH_LEASE_DEAD ||
		    view.leases[i].state == LH_LEASE_EXPIRED)
			tell(&act, "clear", &view.leases[i], options->dry_run);
	for (size_t i = 0; i < view.placement_count && !act.failed; i++) {
		act.offset = view.placements[i].offset;
		if (view.placements[i].state == 2)
			tell(&act, "take-back", NULL, options->dry_run);
	}
	const int result = act_end(&act);

	view_close(&view);
	return result;
}

// ---- rm -----------------------------------------------------------------------------------------

// lh_remove wants to be alone, so the picture's own open has to be closed first.
static int remove_object(struct act *act)
{
	const int error = lh_remove(act->arena, act->offset);

	if (error == 0)
		lh_note_removal(act->arena, act->offset);
	else if (error == -EBUSY)
		inspector_say("`lease-inspector procs %s` shows who has it open", act->name);
	return error;
}

static int remove_arena(const struct act *act)
{
	const int error = lh_arena_unlink(act->name);

	if (error == 0)
		lh_note_removal(act->arena, 0);
	return error;
}

static void remove_it(struct act *act)
{
	int error = act_open(act);

	if (error) {
		act->failed = inspector_complain(act->name, error);
		return;
	}
	end_leases(act);
	if (act->failed)
		return;
	if (!act->arena)
		error = 1;
	else
		error = act->offset ? remove_object(act) : remove_arena(act);
	tell(act, "remove", NULL, error);
}

// What cannot be opened as an arena.
static int remove_unopened(const struct options *options, const char *arena, int error)
{
	if (!options->force || options->object ||
	    (error != -EBADMSG && error != -EPROTONOSUPPORT)) {
		const int result = inspector_complain(arena, error);

		if (error == -EBADMSG || error == -EPROTONOSUPPORT)
			inspector_say("rm --force removes it all the same.");
		return result;
	}
	error = options->dry_run ? 0 : lh_arena_unlink(arena);
	return error ? inspector_complain(arena, error) : EXIT_FINE;
}

int verb_rm(const struct options *options, const char *arena)
{
	struct object object;
	struct act act;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return remove_unopened(options, arena, error);
	if (options->object && !object_find(&view, options->object, &object)) {
		view_close(&view);
		return inspector_no_object(arena, options->object);
	}
	act_start(&act, options, &view);
	if (options->object) {
		act.offset = object.place->offset;
		object = object_of(&view, object.place); // all of it, not one element
		add_holders(&act, &object);
	} else {
		for (size_t i = 0; i < view.lease_count; i++)
			if (is_in_use(&view.leases[i]))
				add_lease(&act, &view.leases[i]);
	}
	act.failed = refused(&act);
	view_release(&view);
	if (!act.failed)
		remove_it(&act);
	const int result = act_end(&act);

	view_forget(&view);
	return result;
}
