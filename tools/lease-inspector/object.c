// SPDX-License-Identifier: Apache-2.0
//
// object.c: one object of a picture: what it is, who has it, who wants it.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inspector.h"

bool object_is_array(const struct view *view, const struct lh_placement_info *place)
{
	return view_stride(view, place) > 0;
}

struct object object_of(const struct view *view, const struct lh_placement_info *place)
{
	struct object object = { .place = place };

	if (view_overlaps(view, place)) {
		object.error = place->kind == LH_KIND_REGION ? 0 : -EBADMSG;
		object.info = (struct lh_object_info){ .offset = place->offset,
						       .kind = place->kind };
		return object;
	}
	object.whole = object_is_array(view, place);
	if (object.whole)
		object.info = (struct lh_object_info){ .offset = place->offset,
						       .kind = place->kind };
	else
		object.error = lh_inspect_object(view->arena, place, 0, &object.info);
	if (object.error)
		object.info = (struct lh_object_info){ .offset = place->offset,
						       .kind = place->kind };
	object.holders = view_holders_within(view, place->offset, place->offset + place->size);
	object.waiters = view_waiters_within(view, place->offset, place->offset + place->size);
	return object;
}

bool object_element(const struct view *view, const struct lh_placement_info *place, uint32_t index,
		    struct object *ret_object)
{
	struct object object = { .place = place };

	if (!object_is_array(view, place)) {
		*ret_object = object_of(view, place);
		return index == 0;
	}
	object.error = lh_inspect_object(view->arena, place, index, &object.info);
	if (object.error == -ENOENT)
		return false;
	if (object.error)
		object.info = (struct lh_object_info){
			.offset = place->offset + index * view_stride(view, place),
			.kind = place->kind,
			.index = index,
		};
	object.holders = view_holders(view, object.info.offset);
	object.waiters = view_waiters(view, object.info.offset);
	*ret_object = object;
	return true;
}

// ---- finding ------------------------------------------------------------------------------------

static bool element_at(const struct view *view, uint64_t offset, struct object *ret_object)
{
	const struct lh_placement_info *place = view_placement(view, offset);

	if (!place)
		return false;
	const uint64_t stride = view_stride(view, place), inside = offset - place->offset;
	const bool found = object_element(view, place, stride ? (uint32_t)(inside / stride) : 0,
					  ret_object);

	ret_object->part = inside > 0;
	return found;
}

static bool read_number(const char *text, uint64_t *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 0);
	return !errno && !*end;
}

static const struct lh_placement_info *placement_named(const struct view *view, const char *name,
						       size_t size)
{
	for (size_t i = 0; i < view->placement_count; i++)
		if (size && strlen(view->placements[i].name) == size &&
		    memcmp(view->placements[i].name, name, size) == 0)
			return &view->placements[i];
	return NULL;
}

bool object_find(const struct view *view, const char *text, struct object *ret_object)
{
	const size_t size = strlen(text);
	const char *bracket = size && text[size - 1] == ']' ? strrchr(text, '[') : NULL;
	const size_t base_size = bracket ? (size_t)(bracket - text) : size;
	const struct lh_placement_info *place = placement_named(view, text, size);
	uint64_t number = 0, index = 0;
	bool good = true;

	if (place) { // a name may have brackets itself
		*ret_object = object_of(view, place);
		return true;
	}
	char *base = (char *)inspector_need(strndup(text, base_size));
	char *inside = (char *)inspector_need(
		strndup(bracket ? bracket + 1 : "0", bracket ? size - base_size - 2 : 1));
	const char *at = strrchr(base, '@');

	place = bracket ? placement_named(view, base, base_size) : NULL;
	if (!place) {
		good = read_number(at ? at + 1 : base, &number);
		place = good ? view_placement(view, number) : NULL;
	}
	good = good && place && read_number(inside, &index) && index < UINT32_MAX;
	free(base);
	free(inside);
	if (!good)
		return false;
	if (!bracket)
		return element_at(view, number, ret_object);
	const bool found = object_element(view, place, (uint32_t)index, ret_object);

	ret_object->part = object_is_array(view, place);
	return found;
}

// ---- questions ----------------------------------------------------------------------------------

const struct lh_hold_info *object_holder(const struct view *view, const struct object *object)
{
	for (size_t i = object->holders.first; i < object->holders.end; i++)
		if (view_is_held(view->by_object[i]))
			return view->by_object[i];
	return NULL;
}

size_t object_holder_count(const struct view *view, const struct object *object)
{
	size_t count = 0;

	for (size_t i = object->holders.first; i < object->holders.end; i++)
		count += view_is_held(view->by_object[i]);
	return count;
}

static bool any_is_lost(const struct view *view, const struct object *object)
{
	for (size_t i = object->holders.first; i < object->holders.end; i++) {
		const struct lh_hold_info *hold = view->by_object[i];
		const struct lh_lease_info *lease = view_lease(view, hold->lease);

		if (view_is_held(hold) && lease && view_is_lost(lease))
			return true;
	}
	return false;
}

const char *hold_mode(const struct lh_hold_info *hold)
{
	if (hold->kind == LH_KIND_SEMAPHORE && hold->mode == LH_HOLD_EXCLUSIVE)
		return lh_hold_mode_name(LH_HOLD_PERMIT);
	if (hold->kind == LH_KIND_BARRIER && hold->mode == LH_HOLD_SHARED)
		return "party";
	return lh_hold_mode_name(hold->mode);
}

static const char *state_unheld(const struct object *object)
{
	if (object->info.flags & LH_OBJECT_DONE)
		return "done";
	if (object->info.kind == LH_KIND_CONDVAR)
		return object->waiters.end > object->waiters.first ? "awaited" : "idle";
	if (object->info.kind == LH_KIND_WATCH && object->info.token) // else never claimed
		return "closed";
	return object->info.kind == LH_KIND_REGION ? "placed" : "free";
}

const char *object_state(const struct view *view, const struct object *object)
{
	const struct lh_hold_info *holder = object_holder(view, object);

	if (object->place->state)
		return object->place->state == LH_PLACEMENT_PLACING ? "placing" : "abandoned";
	if (object->error)
		return "corrupt";
	if (object->info.flags & LH_OBJECT_BROKEN)
		return "broken";
	if (!holder)
		return state_unheld(object);
	if (any_is_lost(view, object))
		return "lost";
	if (object->info.kind == LH_KIND_WATCH)
		return "open";
	if (object->info.kind == LH_KIND_ONCE)
		return "running";
	if (object->info.kind == LH_KIND_BARRIER)
		return "joined";
	if (object->info.kind == LH_KIND_SEMAPHORE && object->info.used >= object->info.limit)
		return "full";
	return holder->mode == LH_HOLD_EXCLUSIVE || holder->mode == LH_HOLD_REGION ? "held"
										   : "shared";
}

// What one element says: nothing at all if that is damage. False: there is no such one.
static bool next_element(const struct view *view, const struct object *object, uint32_t index,
			 struct lh_object_info *ret_info)
{
	const int error = lh_inspect_object(view->arena, object->place, index, ret_info);

	if (error)
		*ret_info = (struct lh_object_info){ .index = index };
	return error == 0 || error == -EBADMSG;
}

uint64_t object_token(const struct view *view, const struct object *object)
{
	struct lh_object_info info;
	uint64_t sum = 0;

	if (!object->whole)
		return object->info.token;
	for (uint32_t i = 0; next_element(view, object, i, &info); i++)
		sum += info.token;
	return sum;
}

uint64_t object_longest_wait(const struct view *view, const struct object *object)
{
	uint64_t longest = 0;

	for (size_t i = object->waiters.first; i < object->waiters.end; i++) {
		const uint64_t waited = view_since(view, view->waiters[i]->waits_since_ns);

		if (waited > longest)
			longest = waited;
	}
	return longest;
}

bool object_is_damaged(const struct view *view, const struct object *object)
{
	struct lh_object_info info;

	if (!object->whole)
		return object->info.flags & LH_OBJECT_DAMAGED;
	for (uint32_t i = 0; next_element(view, object, i, &info); i++)
		if (info.flags & LH_OBJECT_DAMAGED)
			return true;
	return false;
}

void object_flags(const struct view *view, const struct object *object,
		  void (*add)(void *context, const char *word), void *context)
{
	if (object_is_damaged(view, object))
		add(context, "damaged");
	if (object->place->flags & LH_NO_REPAIR && object->place->kind != LH_KIND_BARRIER)
		add(context, "no-repair");
	if (object->place->flags & LH_BARRIER_SHRINK && object->place->kind == LH_KIND_BARRIER)
		add(context, "shrinks");
	if (object->whole)
		add(context, "array");
	if (object->place->lease)
		add(context, "leased");
}
