// SPDX-License-Identifier: Apache-2.0
//
// mutate.c: the verbs that change an arena: break, gc and rm. Each looks first, read-only, decides
// what is to be done and whether it may be, and opens the arena for writing only to do it.

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
	uint64_t inode;  /* of the arena that the view shows */
	lh_arena *arena; /* open for writing; NULL: nothing is done yet, or ever */
	struct table table;
	const struct lh_lease_info **leases; /* to be ended */
	size_t lease_count;
	uint64_t offset; /* of the object for whose sake; 0: the arena */
	bool failed;
};

// ---- telling ------------------------------------------------------------------------------------

static void tell_result(struct act *act, const char *action, const struct lh_lease_info *lease,
			const char *result)
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
	row_text(&row, ACT_RESULT, result);
}

// error > 0: it was not done, nor tried.
static void tell(struct act *act, const char *action, const struct lh_lease_info *lease, int error)
{
	if (error >= 0) {
		tell_result(act, action, lease, error ? "would be done" : "done");
		return;
	}
	char *reason = inspector_reason(error);

	tell_result(act, action, lease, reason);
	free(reason);
	act->failed = true;
}

static void act_start(struct act *act, const struct options *options, const struct view *view)
{
	*act = (struct act){
		.options = options, .name = view->name, .view = view, .inode = view->inode
	};
	act->leases = (const struct lh_lease_info **)inspector_need(
		calloc(view->lease_count + view->hold_count + 1, sizeof(void *)));
	table_start(&act->table, options, columns, ACT_COLUMNS);
}

// Whether somebody shortened the arena while it was looked at or changed; says so.
static bool is_shortened(const struct act *act)
{
	const int error = guarded_check(act->arena) ? -EBADMSG : guarded_check(act->view->arena);

	if (error)
		inspector_complain(act->name, error);
	return error != 0;
}

static int act_end(struct act *act)
{
	struct document *document = document_start(act->options, act->name, act->view->now_ns);

	if (document)
		value_set(document->members, "dry_run", json_boolean(act->options->dry_run));
	table_print(&act->table, "actions", document, NULL);
	free(act->leases);
	act->failed |= is_shortened(act);
	if (act->arena)
		guarded_close(act->arena);
	return act->failed ? EXIT_ERROR : EXIT_FINE;
}

// Whether the name is still that of the arena looked at: what was decided of its leases is not to
// be done to those of a successor, whose ids may be the same. Says if it is not.
static bool is_replaced(const struct act *act, uint64_t inode)
{
	if (inode && inspector_inode(act->name) == inode)
		return false;
	char *name = escape_text(act->name);

	inspector_say("%s: another arena has come by this name since it was looked at, or none has "
		      "it any more; nothing was done to that",
		      name);
	inspector_say("Look again, and say again what is to be done.");
	free(name);
	return true;
}

// Opens the arena for writing, unless nothing is to be done. False: act.failed, and it has said
// why.
static bool act_open(struct act *act)
{
	if (act->options->dry_run)
		return true;
	const int error = guarded_open(act->name, act->options->open_flags & ~LH_READ_ONLY,
				       &act->arena);

	if (error)
		inspector_complain(act->name, error);
	// An arena that lost its name does not get it again: if it has it now, it had it then.
	act->failed = error || is_replaced(act, act->inode);
	return !act->failed;
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
		if (error == -ENOENT) // it has let go, or has been ended, since it was looked at
			tell_result(act, action_for(act->leases[i]), act->leases[i],
				    "not needed any more");
		else
			tell(act, action_for(act->leases[i]), act->leases[i], error);
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
		if (object->info.flags & LH_OBJECT_BROKEN)
			inspector_say("A broken barrier is mended by its users: lh_barrier_reset.");
		else if (object_is_damaged(view, object))
			inspector_say("What its last holder left is declared good by the next one: "
				      "lh_%s_consistent.",
				      lh_kind_name(object->info.kind));
		act_end(&act);
		return EXIT_NO_MATCH;
	}
	act.failed = refused(&act);
	if (!act.failed && act_open(&act))
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
	const bool found = object_find(&view, options->object, &object);

	if (guarded_check(view.arena))
		return view_end(&view);
	const int result = found ? break_object(options, &view, &object)
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

// What the sweep did to a lost lease: its owner's, who runs, stays.
static void tell_cleared(struct act *act, const struct lh_lease_info *lease)
{
	struct lh_lease_info now;
	uint64_t cursor = 0;

	while (act->arena && lh_next_lease(act->arena, &cursor, &now) == 0) {
		if (now.id == lease->id) {
			tell_result(act, "clear", lease, "stays");
			return;
		}
	}
	tell(act, "clear", lease, act->options->dry_run);
}

int verb_gc(const struct options *options, const char *arena)
{
	struct act act;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	act_start(&act, options, &view);
	if (act_open(&act) && act.arena)
		sweep(&act);
	for (size_t i = 0; i < view.lease_count && !act.failed; i++)
		if (view_is_lost(&view.leases[i]))
			tell_cleared(&act, &view.leases[i]);
	for (size_t i = 0; i < view.placement_count && !act.failed; i++) {
		act.offset = view.placements[i].offset;
		if (view.placements[i].state == LH_PLACEMENT_ABANDONED)
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
	int error = 1;

	if (!act_open(act))
		return;
	end_leases(act);
	// Waiting for the end of who was killed took its time.
	if (act->arena && !act->failed)
		act->failed = is_replaced(act, act->inode);
	if (act->failed || guarded_check(act->arena))
		return;
	if (act->arena)
		error = act->offset ? remove_object(act) : remove_arena(act);
	tell(act, "remove", NULL, error);
}

// What cannot be opened as an arena.
static int remove_unopened(const struct options *options, const char *arena, int error)
{
	const struct view nothing = { .name = arena, .now_ns = lh_now() };
	const bool removable = !options->object && (error == -EBADMSG || error == -EPROTONOSUPPORT);
	struct act act;

	if (!options->force || !removable) {
		const int result = inspector_complain(arena, error);

		if (removable)
			inspector_say("rm --force removes it all the same.");
		return result;
	}
	act_start(&act, options, &nothing);
	error = options->dry_run ? 1 : lh_arena_unlink(arena);
	if (error >= 0)
		tell(&act, "remove", NULL, error);
	else
		act.failed = inspector_complain(arena, error);
	return act_end(&act);
}

// Elements cannot be removed, and who names one does not mean all of them.
static int refuse_part(const struct options *options, const char *arena,
		       const struct object *object)
{
	char name[VIEW_OBJECT_NAME];
	char *part = escape_text(options->object);
	char *in = escape_text(arena);

	inspector_say("%s is a part of %s, which can be removed only as a whole:", part,
		      view_place_name(object->place, name));
	inspector_say("lease-inspector rm %s %s", in, view_place_name(object->place, name));
	free(part);
	free(in);
	return EXIT_ERROR;
}

int verb_rm(const struct options *options, const char *arena)
{
	struct object object;
	struct act act;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return remove_unopened(options, arena, error);
	const bool found = !options->object || object_find(&view, options->object, &object);

	if (guarded_check(view.arena))
		return view_end(&view);
	if (!found) {
		view_close(&view);
		return inspector_no_object(arena, options->object);
	}
	if (options->object && object.part) {
		const int result = refuse_part(options, arena, &object);

		view_close(&view);
		return result;
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
