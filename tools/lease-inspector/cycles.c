// SPDX-License-Identifier: Apache-2.0
//
// cycles.c: leases that wait for each other in cycles.

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

// ---- cycles -------------------------------------------------------------------------------------
// Strongly connected components of the graph waiter → holder → what its thread waits with, by
// Tarjan's algorithm ("Depth-first search and linear graph algorithms", SIAM J. Comput. 1972). Lost leases are left out: what they
// hold is free and what they wait for they do not get.
struct search {
	const struct view *view;
	const bool *waits; /* per lease: follow its edge */
	const size_t *waits_with;
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
	if (search->number[next] == 0)
		visit(search, next);
	if (search->open[next] && search->lowest[next] < search->lowest[lease])
		search->lowest[lease] = search->lowest[next];
}

static void visit(struct search *search, size_t lease)
{
	const struct view *view = search->view;
	const struct span holders = search->waits[lease]
					    ? view_holders(view, view->leases[lease].waits_for)
					    : (struct span){ 0, 0 };

	search->number[lease] = search->lowest[lease] = ++search->discovered;
	search->stack[search->depth++] = lease;
	search->open[lease] = true;
	for (size_t i = holders.first; i < holders.end; i++) {
		const struct lh_lease_info *holder = view_lease(view, view->by_object[i]->lease);

		if (!holder || holder->state != LH_LEASE_LIVE ||
		    !view_is_held(view->by_object[i]) || view_has_arrived(view, view->by_object[i]))
			continue;
		visit_next(search, lease, (size_t)(holder - view->leases));
	}
	if (search->waits_with[lease] != CYCLES_NONE)
		visit_next(search, lease, search->waits_with[lease]);
	if (search->lowest[lease] == search->number[lease])
		close_component(search, lease);
}

// Marks the leases that wait for each other in cycles, going by the waits in `waits` alone. Returns
// whether there are any.
static bool find_cycles(const struct view *view, const bool *waits, const size_t *waits_with,
			bool *deadlocked)
{
	const size_t count = view->lease_count + 1;
	struct search search = {
		.view = view, .waits = waits, .waits_with = waits_with, .deadlocked = deadlocked
	};

	memset(deadlocked, 0, view->lease_count);
	search.open = (bool *)inspector_need(calloc(count, sizeof(bool)));
	search.number = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	search.lowest = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	search.stack = (size_t *)inspector_need(calloc(count, sizeof(size_t)));
	for (size_t i = 0; i < view->lease_count; i++)
		if (waits[i] && search.number[i] == 0)
			visit(&search, i);
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

		if (x->lease != y->lease || x->mode != y->mode || x->token != y->token)
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
