// SPDX-License-Identifier: Apache-2.0
//
// top_model.c: looks at an arena again and again, and reckons rates from one look to the next.

#include <stdlib.h>
#include <string.h>

#include "top.h"

static void remember(struct series *series, double value)
{
	if (series->count == TOP_HISTORY) {
		memmove(series->values, series->values + 1,
			(TOP_HISTORY - 1) * sizeof(series->values[0]));
		series->count--;
	}
	series->values[series->count++] = value;
}

// ---- objects ------------------------------------------------------------------------------------

// What was known of the object; tracks are by offset, as placements are, and *at goes along with
// them.
static const struct track *track_before(const struct top_model *model, size_t *at,
					const struct lh_placement_info *place)
{
	while (*at < model->track_count && model->tracks[*at].offset < place->offset)
		++*at;
	return *at < model->track_count && model->tracks[*at].offset == place->offset &&
			       model->tracks[*at].kind == place->kind
		       ? &model->tracks[*at]
		       : NULL;
}

static void fill_object(struct top_object *row, const struct view *view,
			const struct object *object)
{
	const struct lh_hold_info *holder = object_holder(view, object);
	const struct lh_lease_info *lease = holder ? view_lease(view, holder->lease) : NULL;

	if (object->whole)
		view_place_name(object->place, row->name);
	else
		view_object_name(view, object->info.offset, row->name);
	row->kind = lh_kind_name(object->place->kind);
	row->state = object_state(view, object);
	row->holders = object_holder_count(view, object);
	row->waiters = object->waiters.end - object->waiters.first;
	row->waited_ns = object_longest_wait(view, object);
	row->damaged = object_is_damaged(view, object);
	if (holder && holder->since_ns)
		row->held_ns = view_since(view, holder->since_ns);
	if (!lease)
		return;
	row->pid = lease->pid;
	memcpy(row->command, lease->command, sizeof(row->command));
}

// New tracks and rows of all objects; returns grants in a second of all together.
static double look_at_objects(struct top_model *model, const struct view *view, double seconds)
{
	struct track *tracks = (struct track *)inspector_need(
		calloc(view->placement_count + 1, sizeof(struct track)));
	size_t count = 0, at = 0;
	double all = 0;

	model->objects = (struct top_object *)inspector_need(
		calloc(view->placement_count + 1, sizeof(struct top_object)));
	for (size_t i = 0; i < view->placement_count; i++) {
		const struct lh_placement_info *place = &view->placements[i];
		const struct track *before = track_before(model, &at, place);
		struct track *track = &tracks[count];

		if (place->kind == LH_KIND_REGION || (i && place->offset == place[-1].offset))
			continue;
		const struct object object = object_of(view, place);

		if (before)
			*track = *before;
		track->offset = place->offset;
		track->kind = place->kind;
		track->token = object_token(view, &object);
		struct top_object *row = &model->objects[count++];

		if (before && seconds > 0 && track->token >= before->token)
			row->rate = (double)(track->token - before->token) / seconds;
		remember(&track->rates, row->rate);
		row->rates = &track->rates;
		all += row->rate;
		fill_object(row, view, &object);
	}
	free(model->tracks);
	model->tracks = tracks;
	model->track_count = model->object_count = count;
	return all;
}

// ---- leases -------------------------------------------------------------------------------------

static void count_lease(struct top_model *model, const struct view *view,
			const struct lh_lease_info *lease)
{
	model->leases_live += lease->state == LH_LEASE_LIVE;
	model->leases_expired += lease->state == LH_LEASE_EXPIRED;
	model->leases_dead += lease->state == LH_LEASE_DEAD;
	if (lease->waits_for && view_since(view, lease->waits_since_ns) > model->longest_wait)
		model->longest_wait = view_since(view, lease->waits_since_ns);
}

static void look_at_leases(struct top_model *model, const struct view *view)
{
	model->leases = (struct top_lease *)inspector_need(
		calloc(view->lease_count + 1, sizeof(struct top_lease)));
	for (size_t i = 0; i < view->lease_count; i++) {
		const struct lh_lease_info *lease = &view->leases[i];
		const char *process = process_state_of(lease);

		count_lease(model, view, lease);
		if (!lease->waits_for && lease->state == LH_LEASE_LIVE &&
		    strcmp(process, "stopped") != 0 && strcmp(process, "zombie") != 0)
			continue;
		struct top_lease *row = &model->leases[model->lease_count++];

		row->id = lease->id;
		row->pid = lease->pid;
		row->state = lh_lease_state_name(lease->state);
		row->process = process;
		memcpy(row->command, lease->command, sizeof(row->command));
		memcpy(row->label, lease->label, sizeof(row->label));
		row->holds = view_held_by(view, lease->id);
		if (!lease->waits_for)
			continue;
		view_object_name(view, lease->waits_for, row->waits_for);
		row->waited_ns = view_since(view, lease->waits_since_ns);
	}
}

// ---- a look -------------------------------------------------------------------------------------

// How many events have come since the last look.
static double count_events(struct top_model *model, const struct view *view)
{
	struct lh_event_info event;
	uint64_t cursor = 0, newest = 0;

	while (lh_next_event(view->arena, &cursor, &event) == 0)
		newest = event.sequence;
	const double count = model->looked_ns && newest > model->newest_event
				     ? (double)(newest - model->newest_event)
				     : 0;

	model->newest_event = newest;
	return count;
}

static void count_holds(struct top_model *model, const struct view *view)
{
	struct attachments attachments;

	attachments_load(&attachments);
	const struct span open = attachments_of(&attachments, model->arena);

	model->processes = open.end - open.first;
	attachments_free(&attachments);
	for (size_t i = 0; i < view->hold_count; i++)
		model->holds += view_is_held(&view->holds[i]);
	model->waiters = view->waiter_count;
}

static void forget_look(struct top_model *model)
{
	free(model->objects);
	free(model->leases);
	model->objects = NULL;
	model->leases = NULL;
	model->object_count = model->lease_count = 0;
	model->processes = model->holds = model->waiters = 0;
	model->leases_live = model->leases_expired = model->leases_dead = 0;
	model->longest_wait = 0;
}

int top_look(struct top_model *model)
{
	struct view view;
	const int error = view_open(&view, model->options, model->arena);

	if (error)
		return error;
	if (view.inode != model->inode) { // the first look, or a successor of the same name
		model->track_count = 0;
		model->looked_ns = 0;
		model->inode = view.inode;
	}
	const double seconds = model->looked_ns ? (double)(view.now_ns - model->looked_ns) / 1e9
						: 0;

	forget_look(model);
	const double grants = look_at_objects(model, &view, seconds);
	const double events = count_events(model, &view);

	look_at_leases(model, &view);
	count_holds(model, &view);
	remember(&model->grants, grants);
	remember(&model->waiting, (double)model->waiters);
	remember(&model->recoveries, seconds > 0 ? events / seconds : 0);
	model->looked_ns = view.now_ns;
	const int after = guarded_check(view.arena);

	view_close(&view);
	return after;
}

void top_forget(struct top_model *model)
{
	forget_look(model);
	free(model->tracks);
}
