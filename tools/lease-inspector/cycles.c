// SPDX-License-Identifier: Apache-2.0
//
// cycles.c: leases that wait for each other, so that none of them can go on.

#include <stdlib.h>
#include <string.h>

#include "inspector.h"

// Of leases that do not wait: the lease with which the thread waits that is to let go of what they
// hold.
static size_t *find_threads(const struct view *view)
{
	size_t *waits_with = (size_t *)inspector_need(
		calloc(view->lease_count + 1, sizeof(size_t)));

	for (size_t i = 0; i < view->lease_count; i++) {
		const struct lh_lease_info *lease = &view->leases[i];

		waits_with[i] = CYCLES_NONE;
		if (!lease->session || lease->waits_for || lease->state != LH_LEASE_LIVE)
			continue;
		for (size_t j = 0; j < view->waiter_count; j++) {
			if (view->waiters[j]->session == lease->session &&
			    view->waiters[j]->state == LH_LEASE_LIVE)
				waits_with[i] = (size_t)(view->waiters[j] - view->leases);
		}
	}
	return waits_with;
}

// ---- who can go on ------------------------------------------------------------------------------
// What is no deadlock is found by letting everybody go on who can, and let go of everything, until
// nobody is left who can (Holt, "Some deadlock properties of computer systems", ACM Computing Surveys
// 1972). How much of what somebody waits for must be let go of is not the same for all:
//
//	permits		enough of those that there may be for what is asked for
//	keys' permits	any of them; how many there are is not seen
//	all else	what everybody has who is in the way
//
// Where it is not seen what somebody waits for, it is taken to be the least that it can be: one
// permit, and an intention mode that goes with other intentions. So a deadlock may be missed, and
// none is made up.

// One thing that somebody waits for.
struct wanted {
	uint64_t offset;
	struct span waiters;
	bool permits;      /* of a semaphore, */
	bool any;          /* of a key */
	bool past_intents; /* those who intend to share are not surely in the way */
	uint64_t limit;    /* permits there may be */
	uint64_t all;      /* holders in the way, or permits that they have; */
	uint64_t stuck;    /* of those who cannot go on as yet */
};

struct reduction {
	const struct view *view;
	const bool *waits; /* per lease: its wait counts */
	const size_t *waits_with;
	bool *stuck;  /* per lease: cannot go on as yet */
	size_t *free; /* who can: a queue */
	size_t free_first, free_end;
	struct wanted *wanted; /* by offset */
	size_t wanted_count;
};

static bool is_in_the_way(const struct view *view, const struct wanted *wanted,
			  const struct lh_hold_info *hold)
{
	const struct lh_lease_info *lease = view_lease(view, hold->lease);

	return lease && lease->state == LH_LEASE_LIVE && view_is_held(hold) &&
	       !view_has_arrived(view, hold) &&
	       !(wanted->past_intents && hold->mode == LH_HOLD_INTENT_SHARED);
}

static uint64_t weight(const struct wanted *wanted, const struct lh_hold_info *hold)
{
	return wanted->permits ? hold->count : 1;
}

static const struct lh_hold_info *own_hold(const struct view *view, const struct wanted *wanted,
					   size_t lease)
{
	const struct span holds = view_holds_of(view, view->leases[lease].id);

	for (size_t i = holds.first; i < holds.end; i++)
		if (view->holds[i].offset == wanted->offset)
			return &view->holds[i];
	return NULL;
}

static bool can_go_on(const struct view *view, const struct wanted *wanted, size_t lease)
{
	const struct lh_hold_info *own = own_hold(view, wanted, lease);
	const uint64_t has = own && is_in_the_way(view, wanted, own) ? weight(wanted, own) : 0;

	if (wanted->permits) {
		const uint64_t asks = own && own->mode == LH_HOLD_INTENT ? own->count : 1;

		return asks > wanted->limit || wanted->stuck + asks <= wanted->limit;
	}
	if (wanted->any)
		return wanted->stuck < wanted->all || wanted->all == has;
	return wanted->stuck == has;
}

static struct wanted *find_wanted(const struct reduction *reduction, uint64_t offset)
{
	size_t first = 0, end = reduction->wanted_count;

	while (first < end) {
		const size_t middle = first + (end - first) / 2;

		if (reduction->wanted[middle].offset < offset)
			first = middle + 1;
		else
			end = middle;
	}
	return first < reduction->wanted_count && reduction->wanted[first].offset == offset
		       ? &reduction->wanted[first]
		       : NULL;
}

static void let_go_on(struct reduction *reduction, size_t lease)
{
	reduction->stuck[lease] = false;
	reduction->free[reduction->free_end++] = lease;
}

static void look_at_waiters(struct reduction *reduction, const struct wanted *wanted)
{
	const struct view *view = reduction->view;

	for (size_t i = wanted->waiters.first; i < wanted->waiters.end; i++) {
		const size_t lease = (size_t)(view->waiters[i] - view->leases);

		if (reduction->stuck[lease] && reduction->waits[lease] &&
		    can_go_on(view, wanted, lease))
			let_go_on(reduction, lease);
	}
}

static void take_in(struct reduction *reduction, struct wanted *wanted)
{
	const struct view *view = reduction->view;
	const struct span holders = view_holders(view, wanted->offset);
	const struct lh_placement_info *place = view_placement(view, wanted->offset);
	struct lh_object_info info;

	if (place && place->kind == LH_KIND_SEMAPHORE &&
	    lh_inspect_object(view->arena, place, 0, &info) == 0) {
		wanted->permits = true;
		wanted->limit = info.limit;
	}
	for (size_t i = holders.first; i < holders.end; i++) {
		const struct lh_hold_info *hold = view->by_object[i];

		wanted->any |= hold->mode == LH_HOLD_PERMIT;
		wanted->past_intents |= view_is_held(hold) && hold->mode != LH_HOLD_INTENT_SHARED;
	}
	for (size_t i = holders.first; i < holders.end; i++) {
		const struct lh_hold_info *hold = view->by_object[i];

		if (!is_in_the_way(view, wanted, hold))
			continue;
		wanted->all += weight(wanted, hold);
		if (reduction->stuck[view_lease(view, hold->lease) - view->leases])
			wanted->stuck += weight(wanted, hold);
	}
}

// The lease goes on and lets go of what it has.
static void release(struct reduction *reduction, size_t lease)
{
	const struct view *view = reduction->view;
	const struct span holds = view_holds_of(view, view->leases[lease].id);

	for (size_t i = holds.first; i < holds.end; i++) {
		struct wanted *wanted = find_wanted(reduction, view->holds[i].offset);

		if (!wanted || !is_in_the_way(view, wanted, &view->holds[i]))
			continue;
		wanted->stuck -= weight(wanted, &view->holds[i]);
		// With more than one left, nobody who needs all of them can go on.
		if (wanted->permits || wanted->any || wanted->stuck <= 1)
			look_at_waiters(reduction, wanted);
	}
	for (size_t i = 0; view->leases[lease].session && i < view->lease_count; i++)
		if (reduction->waits_with[i] == lease && reduction->stuck[i])
			let_go_on(reduction, i);
}

// Leaves true in `stuck` for those who cannot go on whatever the others do.
static void reduce(struct reduction *reduction)
{
	const struct view *view = reduction->view;

	for (size_t i = 0; i < view->lease_count; i++) {
		reduction->stuck[i] = reduction->waits[i] ||
				      reduction->waits_with[i] != CYCLES_NONE;
		if (!reduction->stuck[i])
			let_go_on(reduction, i);
	}
	for (size_t i = 0; i < view->waiter_count;
	     i = view_waiters(view, view->waiters[i]->waits_for).end)
		reduction->wanted[reduction->wanted_count++] = (struct wanted){
			.offset = view->waiters[i]->waits_for,
			.waiters = view_waiters(view, view->waiters[i]->waits_for),
		};
	for (size_t i = 0; i < reduction->wanted_count; i++)
		take_in(reduction, &reduction->wanted[i]);
	// Those who can go on at once have not been taken in as stuck: nothing of theirs is let go
	// of again.
	const size_t at_once = reduction->free_end;

	for (size_t i = 0; i < at_once; i++)
		for (size_t j = 0;
		     view->leases[reduction->free[i]].session && j < view->lease_count; j++)
			if (reduction->waits_with[j] == reduction->free[i] && reduction->stuck[j])
				let_go_on(reduction, j);
	for (size_t i = 0; i < reduction->wanted_count; i++)
		look_at_waiters(reduction, &reduction->wanted[i]);
	for (reduction->free_first = at_once; reduction->free_first < reduction->free_end;)
		release(reduction, reduction->free[reduction->free_first++]);
}

// ---- cycles -------------------------------------------------------------------------------------
// Of those who are stuck, some only wait behind the others. These others are the strongly connected
// components of the graph waiter → holder → what its thread waits with, by Tarjan's algorithm
// ("Depth-first search and linear graph algorithms", SIAM J. Comput. 1972).
struct search {
	const struct reduction *reduction;
	bool *deadlocked; /* per lease: found in a cycle */
	bool *open;
	size_t *number; /* in order of discovery; 0: not discovered */
	size_t *lowest;
	size_t *stack;
	size_t depth, discovered;
	bool any;
};

static void close_component(struct search *search, size_t lease)
{
	const bool single = search->stack[search->depth - 1] == lease;
	size_t member;

	do {
		member = search->stack[--search->depth];
		search->open[member] = false;
		if (!single)
			search->deadlocked[member] = true;
	} while (member != lease);
	search->any |= !single;
}

static void visit(struct search *search, size_t lease);

static void visit_next(struct search *search, size_t lease, size_t next)
{
	if (!search->reduction->stuck[next])
		return;
	if (search->number[next] == 0)
		visit(search, next);
	if (search->open[next] && search->lowest[next] < search->lowest[lease])
		search->lowest[lease] = search->lowest[next];
}

static void visit(struct search *search, size_t lease)
{
	const struct reduction *reduction = search->reduction;
	const struct view *view = reduction->view;
	const struct wanted *wanted = reduction->waits[lease]
					      ? find_wanted(reduction,
							    view->leases[lease].waits_for)
					      : NULL;
	const struct span holders = wanted ? view_holders(view, wanted->offset)
					   : (struct span){ 0, 0 };

	search->number[lease] = search->lowest[lease] = ++search->discovered;
	search->stack[search->depth++] = lease;
	search->open[lease] = true;
	for (size_t i = holders.first; i < holders.end; i++)
		if (is_in_the_way(view, wanted, view->by_object[i]))
			visit_next(search, lease,
				   (size_t)(view_lease(view, view->by_object[i]->lease) -
					    view->leases));
	if (reduction->waits_with[lease] != CYCLES_NONE)
		visit_next(search, lease, reduction->waits_with[lease]);
	if (search->lowest[lease] == search->number[lease])
		close_component(search, lease);
}

// Marks the leases that wait for each other and cannot go on, going by the waits in `waits` alone.
// Returns whether there are any. Lost leases are left out: what they hold is free and what they wait
// for they do not get.
static bool find_cycles(const struct view *view, const bool *waits, const size_t *waits_with,
			bool *deadlocked)
{
	const size_t count = view->lease_count + 1;
	struct reduction reduction = { .view = view, .waits = waits, .waits_with = waits_with };
	struct search search = { .reduction = &reduction, .deadlocked = deadlocked };

	memset(deadlocked, 0, view->lease_count);
	reduction.stuck = (bool *)inspector_need(calloc(count, sizeof(bool)));
	reduction.free = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	reduction.wanted = (struct wanted *)inspector_need(calloc(count, sizeof(struct wanted)));
	search.open = (bool *)inspector_need(calloc(count, sizeof(bool)));
	search.number = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	search.lowest = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	search.stack = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	reduce(&reduction);
	for (size_t i = 0; i < view->lease_count; i++)
		if (reduction.stuck[i] && search.number[i] == 0)
			visit(&search, i);
	free(reduction.stuck);
	free(reduction.free);
	free(reduction.wanted);
	free(search.open);
	free(search.number);
	free(search.lowest);
	free(search.stack);
	return search.any;
}

static bool same_holders(const struct view *view, const struct view *later, uint64_t offset)
{
	const struct span a = view_holders(view, offset);
	const struct span b = view_holders(later, offset);

	if (a.end - a.first != b.end - b.first)
		return false;
	for (size_t i = 0; i < a.end - a.first; i++) {
		const struct lh_hold_info *x = view->by_object[a.first + i];
		const struct lh_hold_info *y = later->by_object[b.first + i];

		if (x->lease != y->lease || x->mode != y->mode || x->token != y->token ||
		    x->count != y->count)
			return false;
	}
	return true;
}

// The parts of one picture are not of one moment, so it can show a cycle where there never was one.
// A second picture settles it: of the waits that did not change in between all were there at once.
static void find_deadlocks(const struct view *view, size_t *waits_with, bool *deadlocked)
{
	bool *waits = (bool *)inspector_need(calloc(view->lease_count + 1, sizeof(bool)));
	struct view later;

	for (size_t i = 0; i < view->lease_count; i++)
		waits[i] = view->leases[i].waits_for && view->leases[i].state == LH_LEASE_LIVE;
	if (find_cycles(view, waits, waits_with, deadlocked)) {
		const bool again = view_load(&later, view->arena, view->name) == 0;

		for (size_t i = 0; i < view->lease_count; i++) {
			const struct lh_lease_info *was = &view->leases[i];
			const struct lh_lease_info *is = again ? view_lease(&later, was->id) : NULL;

			waits[i] = waits[i] && is && is->state == LH_LEASE_LIVE &&
				   is->waits_for == was->waits_for &&
				   is->waits_since_ns == was->waits_since_ns &&
				   same_holders(view, &later, was->waits_for);
			if (!is || is->session != was->session)
				waits_with[i] = CYCLES_NONE;
		}
		find_cycles(view, waits, waits_with, deadlocked);
		if (again)
			view_forget(&later);
	}
	free(waits);
}

void cycles_find(const struct view *view, struct cycles *ret_cycles)
{
	ret_cycles->waits_with = find_threads(view);
	ret_cycles->deadlocked = (bool *)inspector_need(
		calloc(view->lease_count + 1, sizeof(bool)));
	find_deadlocks(view, ret_cycles->waits_with, ret_cycles->deadlocked);
}

void cycles_free(struct cycles *cycles)
{
	free(cycles->waits_with);
	free(cycles->deadlocked);
}

bool cycles_is_unwatched(const struct view *view, uint64_t offset)
{
	const struct lh_placement_info *place = view_placement(view, offset);
	const struct span holders = view_holders(view, offset);

	for (size_t i = holders.first; i < holders.end; i++)
		if (view->by_object[i]->mode == LH_HOLD_PERMIT)
			return true;
	return place && (place->kind == LH_KIND_SEMAPHORE || place->kind == LH_KIND_BARRIER);
}
