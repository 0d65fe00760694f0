// SPDX-License-Identifier: Apache-2.0
//
// view.c: a picture of an arena, sorted for the questions that the verbs ask of it.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspector.h"

// ---- orders -------------------------------------------------------------------------------------

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int order_placements(const void *a, const void *b)
{
	return order(((const struct lh_placement_info *)a)->offset,
		     ((const struct lh_placement_info *)b)->offset);
}

static int order_leases(const void *a, const void *b)
{
	return order(((const struct lh_lease_info *)a)->id, ((const struct lh_lease_info *)b)->id);
}

static int order_holds(const void *a, const void *b)
{
	const struct lh_hold_info *x = (const struct lh_hold_info *)a;
	const struct lh_hold_info *y = (const struct lh_hold_info *)b;

	return x->lease != y->lease ? order(x->lease, y->lease) : order(x->offset, y->offset);
}

static int order_by_object(const void *a, const void *b)
{
	const struct lh_hold_info *x = *(const struct lh_hold_info *const *)a;
	const struct lh_hold_info *y = *(const struct lh_hold_info *const *)b;

	return x->offset != y->offset ? order(x->offset, y->offset) : order(x->lease, y->lease);
}

static int order_waiters(const void *a, const void *b)
{
	const struct lh_lease_info *x = *(const struct lh_lease_info *const *)a;
	const struct lh_lease_info *y = *(const struct lh_lease_info *const *)b;

	return x->waits_for != y->waits_for ? order(x->waits_for, y->waits_for)
					    : order(x->waits_since_ns, y->waits_since_ns);
}

// What is read is in order mostly, and seeing that takes no memory.
static void sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *))
{
	const char *bytes = (const char *)items;

	for (size_t i = 1; i < count; i++) {
		if (compare(bytes + (i - 1) * size, bytes + i * size) > 0) {
			qsort(items, count, size, compare);
			return;
		}
	}
}

// Of sorted items that are the same to `compare`, as no two are but in a damaged arena, the first.
// Returns how many these are.
static size_t keep_one_of_each(void *items, size_t count, size_t size,
			       int (*compare)(const void *, const void *))
{
	char *bytes = (char *)items;
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept && compare(bytes + (kept - 1) * size, bytes + i * size) == 0)
			continue;
		if (kept != i)
			memcpy(bytes + kept * size, bytes + i * size, size);
		kept++;
	}
	return kept;
}

// The first of count items whose key is at least `key`.
static size_t lower_bound(const void *items, size_t count, uint64_t key,
			  uint64_t (*key_of)(const void *items, size_t index))
{
	size_t first = 0;
	size_t end = count;

	while (first < end) {
		const size_t middle = first + (end - first) / 2;

		if (key_of(items, middle) < key)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

static uint64_t placement_key(const void *items, size_t index)
{
	return ((const struct lh_placement_info *)items)[index].offset;
}

static uint64_t lease_key(const void *items, size_t index)
{
	return ((const struct lh_lease_info *)items)[index].id;
}

static uint64_t hold_key(const void *items, size_t index)
{
	return ((const struct lh_hold_info *)items)[index].lease;
}

static uint64_t object_key(const void *items, size_t index)
{
	return ((const struct lh_hold_info *const *)items)[index]->offset;
}

static uint64_t waiter_key(const void *items, size_t index)
{
	return ((const struct lh_lease_info *const *)items)[index]->waits_for;
}

// ---- taking the picture -------------------------------------------------------------------------

// What overlaps with another, and begins no earlier, is told of without who holds what in it: else
// one holder in an arena that somebody damaged were told of with each of its placements.
static void mark_overlaps(struct view *view)
{
	uint64_t end = 0;

	view->overlaps = (bool *)inspector_need(calloc(view->placement_count + 1, sizeof(bool)));
	for (size_t i = 0; i < view->placement_count; i++) {
		const struct lh_placement_info *place = &view->placements[i];

		view->overlaps[i] = place->offset < end;
		if (place->offset + place->size > end)
			end = place->offset + place->size;
	}
}

bool view_overlaps(const struct view *view, const struct lh_placement_info *placement)
{
	return view->overlaps[placement - view->placements];
}

static int load_placements(struct view *view)
{
	struct lh_placement_info info;
	uint64_t cursor = 0;
	size_t capacity = 0;
	int error;

	while ((error = lh_next_placement(view->arena, &cursor, &info)) == 0) {
		view->placements = (struct lh_placement_info *)inspector_room(
			view->placements, view->placement_count, 1, &capacity, sizeof(info));
		view->placements[view->placement_count++] = info;
	}
	sort(view->placements, view->placement_count, sizeof(info), order_placements);
	mark_overlaps(view);
	return error;
}

static int load_leases(struct view *view)
{
	struct lh_lease_info info;
	uint64_t cursor = 0;
	size_t capacity = 0;
	int error;

	while ((error = lh_next_lease(view->arena, &cursor, &info)) == 0) {
		view->leases = (struct lh_lease_info *)inspector_room(
			view->leases, view->lease_count, 1, &capacity, sizeof(info));
		view->leases[view->lease_count++] = info;
	}
	sort(view->leases, view->lease_count, sizeof(info), order_leases);
	view->lease_count = keep_one_of_each(view->leases, view->lease_count, sizeof(info),
					     order_leases);
	return error;
}

static int load_holds(struct view *view)
{
	struct lh_hold_info info;
	uint64_t cursor = 0;
	size_t capacity = 0;
	int error;

	while ((error = lh_next_hold(view->arena, &cursor, &info)) == 0) {
		view->holds = (struct lh_hold_info *)inspector_room(view->holds, view->hold_count,
								    1, &capacity, sizeof(info));
		view->holds[view->hold_count++] = info;
	}
	sort(view->holds, view->hold_count, sizeof(info), order_holds);
	view->hold_count = keep_one_of_each(view->holds, view->hold_count, sizeof(info),
					    order_holds);
	return error;
}

static void make_indexes(struct view *view)
{
	view->by_object = (const struct lh_hold_info **)inspector_need(
		calloc(view->hold_count + 1, sizeof(void *)));
	for (size_t i = 0; i < view->hold_count; i++)
		view->by_object[i] = &view->holds[i];
	sort(view->by_object, view->hold_count, sizeof(void *), order_by_object);

	view->waiters = (const struct lh_lease_info **)inspector_need(
		calloc(view->lease_count + 1, sizeof(void *)));
	for (size_t i = 0; i < view->lease_count; i++)
		if (view->leases[i].waits_for)
			view->waiters[view->waiter_count++] = &view->leases[i];
	sort(view->waiters, view->waiter_count, sizeof(void *), order_waiters);
}

int view_load(struct view *view, lh_arena *arena, const char *name)
{
	int error;

	*view = (struct view){ .name = name, .arena = arena, .now_ns = lh_now() };
	error = load_placements(view);
	if (error == -ENOENT)
		error = load_holds(view);
	if (error == -ENOENT)
		error = load_leases(view);
	if (guarded_check(arena))
		error = -EBADMSG;
	if (error != -ENOENT) {
		view_forget(view);
		return error;
	}
	make_indexes(view);
	return 0;
}

// Opens the arena, and says which file it was: the name means the same one before and after, or the
// look is taken again. 0 for the inode: the name would not stay.
static int open_known(const char *name, int flags, lh_arena **ret_arena, uint64_t *ret_inode)
{
	enum { TRIES = 100 };

	for (int i = 0;; i++) {
		const uint64_t before = inspector_inode(name);
		const int error = guarded_open(name, flags, ret_arena);

		if (error)
			return error;
		*ret_inode = inspector_inode(name) == before ? before : 0;
		if (*ret_inode || i == TRIES)
			return 0;
		guarded_close(*ret_arena);
	}
}

int view_open(struct view *view, const struct options *options, const char *name)
{
	lh_arena *arena;
	uint64_t inode;
	int error = open_known(name, options->open_flags, &arena, &inode);

	if (error)
		return error;
	error = view_load(view, arena, name);
	if (error)
		guarded_close(arena);
	else
		view->inode = inode;
	return error;
}

void view_forget(struct view *view)
{
	free(view->placements);
	free(view->overlaps);
	free(view->leases);
	free(view->holds);
	free(view->by_object);
	free(view->waiters);
	*view = (struct view){ .arena = view->arena };
}

void view_release(struct view *view)
{
	guarded_close(view->arena);
	view->arena = NULL;
}

void view_close(struct view *view)
{
	view_forget(view);
	guarded_close(view->arena);
}

int view_end(struct view *view)
{
	const int error = guarded_check(view->arena);

	if (error)
		inspector_complain(view->name, error);
	view_close(view);
	return error ? EXIT_ERROR : EXIT_FINE;
}

// ---- questions ----------------------------------------------------------------------------------

const struct lh_lease_info *view_lease(const struct view *view, uint64_t id)
{
	const size_t index = lower_bound(view->leases, view->lease_count, id, lease_key);

	return index < view->lease_count && view->leases[index].id == id ? &view->leases[index]
									 : NULL;
}

struct span view_holds_of(const struct view *view, uint64_t lease)
{
	const size_t first = lower_bound(view->holds, view->hold_count, lease, hold_key);
	size_t end = first;

	while (end < view->hold_count && view->holds[end].lease == lease)
		end++;
	return (struct span){ first, end };
}

struct span view_holders_within(const struct view *view, uint64_t offset, uint64_t end)
{
	return (struct span){ lower_bound(view->by_object, view->hold_count, offset, object_key),
			      lower_bound(view->by_object, view->hold_count, end, object_key) };
}

struct span view_waiters_within(const struct view *view, uint64_t offset, uint64_t end)
{
	return (struct span){ lower_bound(view->waiters, view->waiter_count, offset, waiter_key),
			      lower_bound(view->waiters, view->waiter_count, end, waiter_key) };
}

struct span view_holders(const struct view *view, uint64_t offset)
{
	return view_holders_within(view, offset, offset + 1);
}

struct span view_waiters(const struct view *view, uint64_t offset)
{
	return view_waiters_within(view, offset, offset + 1);
}

uint64_t view_remaining(const struct view *view, const struct lh_lease_info *lease)
{
	if (lease->expires_ns == UINT64_MAX)
		return UINT64_MAX;
	return lease->expires_ns > view->now_ns ? lease->expires_ns - view->now_ns : 0;
}

uint64_t view_since(const struct view *view, uint64_t moment_ns)
{
	return view->now_ns > moment_ns ? view->now_ns - moment_ns : 0;
}

bool view_is_lost(const struct lh_lease_info *lease)
{
	return lease->state == LH_LEASE_DEAD || lease->state == LH_LEASE_EXPIRED;
}

bool view_is_held(const struct lh_hold_info *hold)
{
	return hold->mode != LH_HOLD_INTENT;
}

const struct lh_placement_info *view_placement(const struct view *view, uint64_t offset)
{
	size_t index = lower_bound(view->placements, view->placement_count, offset, placement_key);

	if (index < view->placement_count && view->placements[index].offset == offset)
		return &view->placements[index];
	if (index == 0)
		return NULL;
	const struct lh_placement_info *before = &view->placements[index - 1];
	return offset - before->offset < before->size ? before : NULL;
}

bool view_has_arrived(const struct view *view, const struct lh_hold_info *hold)
{
	const struct lh_lease_info *lease = view_lease(view, hold->lease);

	return hold->kind == LH_KIND_BARRIER && lease && lease->waits_for == hold->offset;
}

size_t view_held_by(const struct view *view, uint64_t lease)
{
	const struct span holds = view_holds_of(view, lease);
	size_t count = 0;

	for (size_t i = holds.first; i < holds.end; i++)
		count += view_is_held(&view->holds[i]);
	return count;
}

bool view_is_placed(const struct view *view, uint64_t offset)
{
	return view_placement(view, offset) != NULL;
}

uint64_t view_stride(const struct view *view, const struct lh_placement_info *placement)
{
	struct lh_object_info second;
	const int error = lh_inspect_object(view->arena, placement, 1, &second);

	if (error == 0)
		return second.offset - placement->offset;
	// One that is no element of anything: what is placed there is of no kind that there is.
	if (error == -ENOENT || !view->arena || placement->count < 2 ||
	    lh_inspect_object(view->arena, placement, UINT32_MAX, &second) != -ENOENT)
		return 0;
	return placement->size / placement->count; // the second is damaged: all are of one size
}

const char *view_place_name(const struct lh_placement_info *placement,
			    char buffer[VIEW_OBJECT_NAME])
{
	if (placement->name[0])
		snprintf(buffer, VIEW_OBJECT_NAME, "%s", placement->name);
	else
		snprintf(buffer, VIEW_OBJECT_NAME, "%s@%" PRIu64, lh_kind_name(placement->kind),
			 placement->offset);
	return buffer;
}

const char *view_object_name(const struct view *view, uint64_t offset,
			     char buffer[VIEW_OBJECT_NAME])
{
	const struct lh_placement_info *placement = view_placement(view, offset);

	if (!placement) {
		snprintf(buffer, VIEW_OBJECT_NAME, "@%" PRIu64, offset);
		return buffer;
	}
	const size_t used = strlen(view_place_name(placement, buffer));
	const uint64_t inside = offset - placement->offset;
	const uint64_t step = view_stride(view, placement);
	if (step && inside % step == 0)
		snprintf(buffer + used, VIEW_OBJECT_NAME - used, "[%" PRIu64 "]", inside / step);
	else if (inside)
		snprintf(buffer + used, VIEW_OBJECT_NAME - used, "+%" PRIu64, inside);
	return buffer;
}
