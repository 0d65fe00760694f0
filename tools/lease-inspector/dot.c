// SPDX-License-Identifier: Apache-2.0
//
// dot.c: the verb dot, which prints who waits for whom in Graphviz's language.

#include <inttypes.h>
#include <stdio.h>

#include "inspector.h"

static const char *style_of(const struct lh_lease_info *lease, bool deadlocked)
{
	if (deadlocked)
		return ", color=red, fontcolor=red";
	return lease->state == LH_LEASE_LIVE ? "" : ", style=dashed";
}

static void print_lease(const struct lh_lease_info *lease, bool deadlocked)
{
	printf("\tlease%" PRIu64 " [shape=box, label=\"lease %" PRIu64 "\\npid %" PRId32 " ",
	       lease->id, lease->id, lease->pid);
	print_quoted(stdout, lease->command);
	if (lease->label[0]) {
		fputs("\\n", stdout);
		print_quoted(stdout, lease->label);
	}
	printf("\\n%s, %s\"%s];\n", lh_lease_state_name(lease->state), process_state_of(lease),
	       style_of(lease, deadlocked));
}

static void print_object(const struct view *view, uint64_t offset)
{
	const struct lh_placement_info *place = view_placement(view, offset);
	char name[VIEW_OBJECT_NAME];

	printf("\tobject%" PRIu64 " [shape=ellipse, label=\"", offset);
	print_quoted(stdout, view_object_name(view, offset, name));
	printf("\\n%s\"];\n", lh_kind_name(place ? place->kind : LH_KIND_NONE));
}

static void print_hold(const struct view *view, const struct cycles *cycles,
		       const struct lh_hold_info *hold)
{
	const struct lh_lease_info *lease = view_lease(view, hold->lease);
	const struct span waiters = view_waiters(view, hold->offset);
	bool red = false;

	if (!lease)
		return;
	for (size_t i = waiters.first; i < waiters.end; i++)
		red |= cycles->deadlocked[view->waiters[i] - view->leases];
	printf("\tobject%" PRIu64 " -> lease%" PRIu64 " [label=\"%s", hold->offset, hold->lease,
	       hold_mode(hold));
	if (hold->token)
		printf("\\ntoken %" PRIu64, hold->token);
	printf("\"%s];\n", red && cycles->deadlocked[lease - view->leases] ? ", color=red" : "");
}

static void print_wait(const struct options *options, const struct view *view,
		       const struct lh_lease_info *lease, bool deadlocked)
{
	char text[DURATION_TEXT];

	printf("\tlease%" PRIu64 " -> object%" PRIu64 " [label=\"waits %s\"%s];\n", lease->id,
	       lease->waits_for,
	       format_duration(options, view_since(view, lease->waits_since_ns), text),
	       deadlocked ? ", color=red" : "");
}

// Objects that somebody holds or waits for, each once: both arrays are sorted by offset.
static void print_objects(const struct view *view)
{
	size_t hold = 0, waiter = 0;
	uint64_t last = 0;

	while (hold < view->hold_count || waiter < view->waiter_count) {
		uint64_t offset = UINT64_MAX;
		bool wanted = true;

		if (hold < view->hold_count)
			offset = view->by_object[hold]->offset;
		if (waiter < view->waiter_count && view->waiters[waiter]->waits_for <= offset)
			offset = view->waiters[waiter++]->waits_for;
		else
			wanted = view_is_held(view->by_object[hold++]);
		if (wanted && offset != last) {
			print_object(view, offset);
			last = offset;
		}
	}
}

static void print_graph(const struct options *options, const struct view *view,
			const struct cycles *cycles)
{
	fputs("digraph \"", stdout);
	print_quoted(stdout, view->name);
	puts("\" {\n\trankdir=LR;");
	for (size_t i = 0; i < view->lease_count; i++) {
		const struct lh_lease_info *lease = &view->leases[i];

		if (options->all || lease->waits_for || view_held_by(view, lease->id))
			print_lease(lease, cycles->deadlocked[i]);
		if (lease->waits_for)
			print_wait(options, view, lease, cycles->deadlocked[i]);
		if (cycles->waits_with[i] != CYCLES_NONE && view_held_by(view, lease->id))
			printf("\tlease%" PRIu64 " -> lease%" PRIu64
			       " [label=\"thread waits\", style=dotted];\n",
			       lease->id, view->leases[cycles->waits_with[i]].id);
	}
	print_objects(view);
	for (size_t i = 0; i < view->hold_count; i++)
		if (view_is_held(&view->holds[i]))
			print_hold(view, cycles, &view->holds[i]);
	puts("}");
}

int verb_dot(const struct options *options, const char *arena)
{
	struct cycles cycles;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	cycles_find(&view, &cycles);
	if (guarded_check(view.arena) == 0)
		print_graph(options, &view, &cycles);
	cycles_free(&cycles);
	return view_end(&view);
}
