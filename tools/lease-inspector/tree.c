// SPDX-License-Identifier: Apache-2.0
//
// tree.c: the verb tree, which shows who waits for whom.
//
// Below a lease stands what it holds, below that who waits for it, and so on. So the top level are
// those who wait for nobody: they decide when the rest goes on. A lease that several others keep
// waiting is drawn out below the first of them and named below the others. Leases that wait for
// each other in a cycle have no top; the first of them is put there.
//
// Who waits for more of what it has some of already, permits, does not wait for itself; and a party
// that has arrived at its barrier keeps nobody waiting there.
//
// What a lease holds may have to wait for its thread, which waits with another lease. That one's
// holdings stand below it, too, as if they were one: the lease itself is drawn there.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspector.h"

// Deeper branches are cut off and continued at the top level.
#define MAX_DEPTH 24
// Those who wait for what several hold are named below the first, and below the others only if they
// are no more than these.
#define MOST_NAMED_AGAIN 4

struct tree {
	const struct options *options;
	const struct view *view;
	struct table table;
	struct cycles cycles;
	bool *drawn; /* these per lease of the view */
	bool *postponed;
	bool *named; /* per waiter of the view, the first of each object: they were, below a holder */
	size_t *queue; /* the postponed, in the order in which they were */
	size_t queue_first, queue_end;
};

// ---- as a tree ----------------------------------------------------------------------------------

enum { TREE_WHAT, TREE_PID, TREE_STATE, TREE_MODE, TREE_TOKEN, TREE_FOR, TREE_NOTE, TREE_COLUMNS };

static const struct column columns[TREE_COLUMNS] = {
	[TREE_WHAT] = { "LEASES AND WHAT THEY HOLD", NULL, SCOLS_FL_TREE },
	[TREE_PID] = { "PID", NULL, SCOLS_FL_RIGHT },
	[TREE_STATE] = { "STATE", NULL, 0 },
	[TREE_MODE] = { "MODE", NULL, 0 },
	[TREE_TOKEN] = { "TOKEN", NULL, SCOLS_FL_RIGHT },
	[TREE_FOR] = { "FOR", NULL, SCOLS_FL_RIGHT },
	[TREE_NOTE] = { "NOTE", NULL, 0 },
};

const struct columns tree_columns = { columns, TREE_COLUMNS };

static void draw_lease(struct tree *tree, const struct row *parent, size_t index, unsigned depth);

// Those who wait for the object, but for the lease `but` (0: all of them).
static void draw_waiters(struct tree *tree, const struct row *parent, uint64_t offset, uint64_t but,
			 unsigned depth)
{
	const struct view *view = tree->view;
	const struct span waiters = view_waiters(view, offset);

	for (size_t i = waiters.first; i < waiters.end; i++)
		if (view->waiters[i]->id != but)
			draw_lease(tree, parent, (size_t)(view->waiters[i] - view->leases), depth);
}

static void draw_waiters_of(struct tree *tree, const struct row *parent,
			    const struct lh_hold_info *hold, unsigned depth)
{
	const struct span waiters = view_waiters(tree->view, hold->offset);
	const size_t count = waiters.end - waiters.first;
	char text[48];

	if (count > MOST_NAMED_AGAIN && tree->named[waiters.first]) {
		const struct row row = table_row(&tree->table, parent);

		snprintf(text, sizeof(text), "%zu who wait for it", count);
		row_text(&row, TREE_WHAT, text);
		row_text(&row, TREE_NOTE, "named above");
		return;
	}
	if (count)
		tree->named[waiters.first] = true;
	draw_waiters(tree, parent, hold->offset, hold->lease, depth);
}

static void draw_hold(struct tree *tree, const struct row *parent, const struct lh_hold_info *hold,
		      unsigned depth)
{
	const struct row row = table_row(&tree->table, parent);
	char name[VIEW_OBJECT_NAME];

	row_text(&row, TREE_WHAT, view_object_name(tree->view, hold->offset, name));
	row_text(&row, TREE_MODE, hold_mode(hold));
	if (hold->token)
		row_number(&row, TREE_TOKEN, hold->token);
	if (hold->since_ns)
		row_duration(&row, TREE_FOR, view_since(tree->view, hold->since_ns));
	if (hold->damaged)
		row_text(&row, TREE_NOTE, "damaged");
	if (!view_has_arrived(tree->view, hold))
		draw_waiters_of(tree, &row, hold, depth);
}

// The row of a lease, without what is below it.
static struct row draw_name(struct tree *tree, const struct row *parent,
			    const struct lh_lease_info *lease, const char *note)
{
	const struct row row = table_row(&tree->table, parent);
	char text[96];

	snprintf(text, sizeof(text),
		 lease->label[0] ? "lease %" PRIu64 " %s \"%s\"" : "lease %" PRIu64 " %s",
		 lease->id, lease->command, lease->label);
	row_text(&row, TREE_WHAT, text);
	row_number(&row, TREE_PID, (uint32_t)lease->pid);
	row_text(&row, TREE_STATE, lh_lease_state_name(lease->state));
	if (lease->waits_for) {
		row_text(&row, TREE_MODE, "waits");
		row_duration(&row, TREE_FOR, view_since(tree->view, lease->waits_since_ns));
	}
	row_text(&row, TREE_NOTE, note);
	return row;
}

static void draw_lease(struct tree *tree, const struct row *parent, size_t index, unsigned depth)
{
	const struct view *view = tree->view;
	const struct lh_lease_info *lease = &view->leases[index];
	const struct span holds = view_holds_of(view, lease->id);
	const bool deadlocked = tree->cycles.deadlocked[index];

	if (tree->drawn[index]) {
		draw_name(tree, parent, lease,
			  deadlocked ? "DEADLOCK: the cycle closes" : "see above");
		return;
	}
	if (depth >= MAX_DEPTH) {
		draw_name(tree, parent, lease, "continued below");
		if (!tree->postponed[index])
			tree->queue[tree->queue_end++] = index;
		tree->postponed[index] = true;
		return;
	}
	const struct row row = draw_name(tree, parent, lease,
					 deadlocked               ? "DEADLOCK"
					 : tree->postponed[index] ? "continued from above"
								  : "");

	tree->drawn[index] = true;
	for (size_t i = holds.first; i < holds.end; i++)
		if (view_is_held(&view->holds[i]))
			draw_hold(tree, &row, &view->holds[i], depth + 1);
	for (size_t i = 0; lease->waits_for && i < view->lease_count; i++)
		if (tree->cycles.waits_with[i] == index && view_held_by(view, view->leases[i].id))
			draw_lease(tree, &row, i, depth + 1);
}

// What was cut off so far, at the top level.
static void draw_postponed(struct tree *tree)
{
	while (tree->queue_first < tree->queue_end) {
		const size_t index = tree->queue[tree->queue_first++];

		if (!tree->drawn[index])
			draw_lease(tree, NULL, index, 0);
	}
}

static bool somebody_holds(const struct view *view, uint64_t offset)
{
	const struct span holders = view_holders(view, offset);

	for (size_t i = holders.first; i < holders.end; i++)
		if (view_is_held(view->by_object[i]) && view_lease(view, view->by_object[i]->lease))
			return true;
	return false;
}

// Those who wait for what nobody holds: a hand-over is under way, or it is a condvar.
static void draw_ownerless(struct tree *tree)
{
	const struct view *view = tree->view;
	char name[VIEW_OBJECT_NAME];

	for (size_t i = 0; i < view->waiter_count;) {
		const uint64_t offset = view->waiters[i]->waits_for;

		if (!somebody_holds(view, offset)) {
			const struct lh_placement_info *place = view_placement(view, offset);
			const struct row row = table_row(&tree->table, NULL);

			row_text(&row, TREE_WHAT, view_object_name(view, offset, name));
			row_text(&row, TREE_NOTE,
				 place && place->kind == LH_KIND_CONDVAR ? "to be signalled"
									 : "nobody holds it");
			draw_waiters(tree, &row, offset, 0, 1);
			draw_postponed(tree);
		}
		i = view_waiters(view, offset).end;
	}
}

static void draw_tree(struct tree *tree)
{
	enum { FREE_TO_GO_ON, DEADLOCKED, THE_REST, PASSES };
	const struct view *view = tree->view;

	table_start(&tree->table, tree->options, columns, TREE_COLUMNS);
	for (int pass = FREE_TO_GO_ON; pass < PASSES; pass++) {
		for (size_t i = 0; i < view->lease_count; i++) {
			const bool waits = view->leases[i].waits_for != 0 ||
					   tree->cycles.waits_with[i] != CYCLES_NONE;
			const bool shown = view->leases[i].waits_for || tree->options->all ||
					   view_held_by(view, view->leases[i].id);

			if (tree->drawn[i] || !shown || (pass == FREE_TO_GO_ON && waits) ||
			    (pass == DEADLOCKED && !tree->cycles.deadlocked[i]))
				continue;
			draw_lease(tree, NULL, i, 0);
			draw_postponed(tree);
		}
		if (pass == FREE_TO_GO_ON)
			draw_ownerless(tree);
	}
	table_show(&tree->table, view, NULL, "nobody holds or waits for anything");
}

// ---- as JSON: the same graph, flat --------------------------------------------------------------

static json_t *waiters_value(const struct view *view, uint64_t offset)
{
	const struct span waiters = view_waiters(view, offset);
	json_t *value = (json_t *)inspector_need(json_array());

	for (size_t i = waiters.first; i < waiters.end; i++)
		value_append(value, value_number(view->waiters[i]->id));
	return value;
}

static json_t *holders_value(const struct view *view, uint64_t offset)
{
	const struct span holders = view_holders(view, offset);
	json_t *value = (json_t *)inspector_need(json_array());

	for (size_t i = holders.first; i < holders.end; i++)
		if (view_is_held(view->by_object[i]))
			value_append(value, value_number(view->by_object[i]->lease));
	return value;
}

static json_t *object_value(const struct view *view, uint64_t offset)
{
	json_t *value = (json_t *)inspector_need(json_object());
	char name[VIEW_OBJECT_NAME];

	value_set(value, "offset", value_number(offset));
	value_set(value, "object", value_text(view_object_name(view, offset, name)));
	return value;
}

static json_t *hold_value(const struct view *view, const struct lh_hold_info *hold)
{
	json_t *value = object_value(view, hold->offset);

	value_set(value, "kind", value_text(lh_kind_name(hold->kind)));
	value_set(value, "mode", value_text(hold_mode(hold)));
	value_set(value, "count", value_number(hold->count));
	value_set(value, "token", value_number(hold->token));
	value_set(value, "since_ns", hold->since_ns ? value_number(hold->since_ns) : json_null());
	value_set(value, "damaged", json_boolean(hold->damaged));
	value_set(value, "waiters", waiters_value(view, hold->offset));
	return value;
}

static json_t *lease_value(const struct tree *tree, size_t index)
{
	const struct view *view = tree->view;
	const struct lh_lease_info *lease = &view->leases[index];
	const struct span holds = view_holds_of(view, lease->id);
	json_t *value = (json_t *)inspector_need(json_object());
	json_t *list = (json_t *)inspector_need(json_array());
	json_t *wait = json_null();

	for (size_t i = holds.first; i < holds.end; i++)
		if (view_is_held(&view->holds[i]))
			value_append(list, hold_value(view, &view->holds[i]));
	if (lease->waits_for) {
		wait = object_value(view, lease->waits_for);
		value_set(wait, "since_ns", value_number(lease->waits_since_ns));
		value_set(wait, "holders", holders_value(view, lease->waits_for));
	}
	value_set(value, "id", value_number(lease->id));
	value_set(value, "pid", json_integer(lease->pid));
	value_set(value, "tid", json_integer(lease->tid));
	value_set(value, "command", value_text(lease->command));
	value_set(value, "label", value_text(lease->label));
	value_set(value, "state", value_text(lh_lease_state_name(lease->state)));
	value_set(value, "deadlock", json_boolean(tree->cycles.deadlocked[index]));
	value_set(value, "holds", list);
	value_set(value, "waits_for", wait);
	value_set(value, "thread_waits_with",
		  tree->cycles.waits_with[index] == CYCLES_NONE
			  ? json_null()
			  : value_number(view->leases[tree->cycles.waits_with[index]].id));
	return value;
}

static void print_graph(const struct tree *tree)
{
	const struct view *view = tree->view;
	struct document *document = document_start(tree->options, view->name, view->now_ns);
	struct text leases = { .size = 0 };

	for (size_t i = 0; i < view->lease_count; i++) {
		if (!tree->options->all && !view->leases[i].waits_for &&
		    !view_held_by(view, view->leases[i].id))
			continue;
		json_t *value = lease_value(tree, i);

		rows_add(&leases, tree->options, value);
		json_decref(value);
	}
	document_array(document, "leases", &leases);
	document_print(document);
}

int verb_tree(const struct options *options, const char *arena)
{
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	struct tree tree = { .options = options, .view = &view };

	tree.drawn = (bool *)inspector_need(calloc(view.lease_count + 1, sizeof(bool)));
	tree.postponed = (bool *)inspector_need(calloc(view.lease_count + 1, sizeof(bool)));
	tree.named = (bool *)inspector_need(calloc(view.waiter_count + 1, sizeof(bool)));
	tree.queue = (size_t *)inspector_need(calloc(view.lease_count + 1, sizeof(size_t)));
	cycles_find(&view, &tree.cycles);
	if (guarded_check(view.arena))
		; // view_end says so
	else if (options->json)
		print_graph(&tree);
	else
		draw_tree(&tree);
	cycles_free(&tree.cycles);
	free(tree.drawn);
	free(tree.postponed);
	free(tree.named);
	free(tree.queue);
	return view_end(&view);
}
