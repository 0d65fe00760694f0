// SPDX-License-Identifier: Apache-2.0
//
// metrics.c: the verb metrics, which prints counts in OpenMetrics' text format. A family's samples
// stand together, so all arenas are looked at first.

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inspector.h"

// What is counted of an object that has a name.
enum {
	OBJECT_GRANTS,
	OBJECT_HOLDERS,
	OBJECT_WAITERS,
	OBJECT_DAMAGED,
	OBJECT_USED,
	OBJECT_LIMIT,
	OBJECT_COUNTS
};

// An arena, closed again: what is printed was all seen before the first of it is.
struct look {
	struct view view;
	char *name;
	uint64_t bytes, check, events;
	uint64_t (*objects)[OBJECT_COUNTS]; /* per placement */
};

struct looks {
	struct look *looks;
	size_t count;
	char **unreadable; /* names of what cannot be opened */
	size_t unreadable_count;
	struct attachments attachments;
	FILE *out;
};

// ---- samples ------------------------------------------------------------------------------------

static void family(const struct looks *looks, const char *name, const char *type, const char *help)
{
	fprintf(looks->out, "# TYPE leasehold_%s %s\n# HELP leasehold_%s %s\n", name, type, name,
		help);
}

static void print_label(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s=\"", key);
	print_quoted(out, value);
	fputc('"', out);
}

// NULL for `key`: the arena's alone.
static void sample(const struct looks *looks, const char *name, const struct look *look,
		   const char *key, const char *value, uint64_t number)
{
	fprintf(looks->out, "leasehold_%s{", name);
	print_label(looks->out, "arena", look->name);
	if (key) {
		fputc(',', looks->out);
		print_label(looks->out, key, value);
	}
	fprintf(looks->out, "} %" PRIu64 "\n", number);
}

static void sample_seconds(const struct looks *looks, const char *name, const struct look *look,
			   uint64_t ns)
{
	fprintf(looks->out, "leasehold_%s{", name);
	print_label(looks->out, "arena", look->name);
	fprintf(looks->out, "} %" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static void sample_object(const struct looks *looks, const char *name, const struct look *look,
			  const struct lh_placement_info *place, uint64_t number)
{
	fprintf(looks->out, "leasehold_%s{", name);
	print_label(looks->out, "arena", look->name);
	fputc(',', looks->out);
	print_label(looks->out, "object", place->name);
	// Names that differ in what cannot be shown would be one series.
	fprintf(looks->out, ",offset=\"%" PRIu64 "\"} %" PRIu64 "\n", place->offset, number);
}

// ---- what is counted ----------------------------------------------------------------------------

static uint64_t count_leases(const struct view *view, uint32_t state)
{
	uint64_t count = 0;

	for (size_t i = 0; i < view->lease_count; i++)
		count += view->leases[i].state == state;
	return count;
}

static uint64_t count_holds(const struct view *view)
{
	uint64_t count = 0;

	for (size_t i = 0; i < view->hold_count; i++)
		count += view_is_held(&view->holds[i]);
	return count;
}

static uint64_t longest_wait(const struct view *view)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < view->waiter_count; i++)
		if (view_since(view, view->waiters[i]->waits_since_ns) > longest)
			longest = view_since(view, view->waiters[i]->waits_since_ns);
	return longest;
}

static uint64_t count_open(const struct looks *looks, const struct look *look)
{
	const struct span open = attachments_of(&looks->attachments, look->name);

	return open.end - open.first;
}

static void print_arenas(const struct looks *looks)
{
	enum { SIZE, PLACEMENTS, HOLDS, WAITERS, CHECK, GAUGES };
	static const char *const gauges[GAUGES][2] = {
		[SIZE] = { "size_bytes", "The user's space." },
		[PLACEMENTS] = { "placements", "Objects and regions." },
		[HOLDS] = { "holds", "What is held." },
		[WAITERS] = { "waiters", "Leases that wait." },
		[CHECK] = { "check_result", "0 clean, 3 stale, 4 deadlock, 5 corrupt." },
	};

	for (size_t i = 0; i < GAUGES; i++) {
		family(looks, gauges[i][0], "gauge", gauges[i][1]);
		for (size_t a = 0; a < looks->count; a++) {
			const struct look *look = &looks->looks[a];
			const uint64_t counts[GAUGES] = {
				[SIZE] = look->bytes,
				[PLACEMENTS] = look->view.placement_count,
				[HOLDS] = count_holds(&look->view),
				[WAITERS] = look->view.waiter_count,
				[CHECK] = look->check,
			};

			sample(looks, gauges[i][0], look, NULL, NULL, counts[i]);
		}
	}
	family(looks, "leases", "gauge", "Leases by state.");
	for (size_t a = 0; a < looks->count; a++)
		for (uint32_t state = LH_LEASE_LIVE; state <= LH_LEASE_STARTING; state++)
			sample(looks, "leases", &looks->looks[a], "state",
			       lh_lease_state_name(state),
			       count_leases(&looks->looks[a].view, state));
	family(looks, "processes", "gauge", "Processes that have it open, as far as is seen.");
	for (size_t a = 0; a < looks->count; a++)
		sample(looks, "processes", &looks->looks[a], NULL, NULL,
		       count_open(looks, &looks->looks[a]));
	family(looks, "longest_wait_seconds", "gauge", "How long the longest wait has lasted.");
	for (size_t a = 0; a < looks->count; a++)
		sample_seconds(looks, "longest_wait_seconds", &looks->looks[a],
			       longest_wait(&looks->looks[a].view));
	family(looks, "events", "counter", "Recoveries since the arena was made.");
	for (size_t a = 0; a < looks->count; a++)
		sample(looks, "events_total", &looks->looks[a], NULL, NULL, looks->looks[a].events);
}

// ---- objects that have a name -------------------------------------------------------------------

static const struct {
	const char *name, *suffix, *type, *help;
	bool limited; /* only of what has a limit: semaphores and barriers */
} object_counts[OBJECT_COUNTS] = {
	[OBJECT_GRANTS] = { "object_grants", "_total", "counter",
			    "Tokens given: exclusive grants, phases, publications.", false },
	[OBJECT_HOLDERS] = { "object_holders", "", "gauge", "Who holds it.", false },
	[OBJECT_WAITERS] = { "object_waiters", "", "gauge", "Who waits for it.", false },
	[OBJECT_DAMAGED] = { "object_damaged", "", "gauge", "1: not declared consistent.", false },
	[OBJECT_USED] = { "object_used", "", "gauge", "Permits held, parties that have joined.",
			  true },
	[OBJECT_LIMIT] = { "object_limit", "", "gauge",
			   "Permits that may be held, parties there are to be.", true },
};

static bool is_counted(const struct look *look, size_t index)
{
	const struct lh_placement_info *place = &look->view.placements[index];

	// Else it came while it was looked for.
	return place->name[0] && place->kind != LH_KIND_REGION &&
	       (!index || place->offset != place[-1].offset);
}

static void count_objects(struct look *look)
{
	const struct view *view = &look->view;

	look->objects = (uint64_t(*)[OBJECT_COUNTS])inspector_need(
		calloc(view->placement_count + 1, sizeof(*look->objects)));
	for (size_t i = 0; i < view->placement_count; i++) {
		if (!is_counted(look, i))
			continue;
		const struct object object = object_of(view, &view->placements[i]);
		uint64_t *counts = look->objects[i];

		counts[OBJECT_GRANTS] = object_token(view, &object);
		counts[OBJECT_HOLDERS] = object_holder_count(view, &object);
		counts[OBJECT_WAITERS] = object.waiters.end - object.waiters.first;
		counts[OBJECT_DAMAGED] = object_is_damaged(view, &object);
		counts[OBJECT_USED] = object.info.used;
		counts[OBJECT_LIMIT] = object.info.limit;
	}
}

static void print_objects(const struct looks *looks)
{
	for (size_t i = 0; i < OBJECT_COUNTS; i++) {
		char name[64];

		family(looks, object_counts[i].name, object_counts[i].type, object_counts[i].help);
		snprintf(name, sizeof(name), "%s%s", object_counts[i].name,
			 object_counts[i].suffix);
		for (size_t a = 0; a < looks->count; a++) {
			const struct look *look = &looks->looks[a];

			for (size_t p = 0; p < look->view.placement_count; p++)
				if (is_counted(look, p) &&
				    (!object_counts[i].limited || look->objects[p][OBJECT_LIMIT]))
					sample_object(looks, name, look, &look->view.placements[p],
						      look->objects[p][i]);
		}
	}
}

// ---- where to -----------------------------------------------------------------------------------

static uint64_t newest_event(const struct view *view)
{
	struct lh_event_info event;
	uint64_t cursor = 0, newest = 0;

	while (lh_next_event(view->arena, &cursor, &event) == 0)
		newest = event.sequence;
	return newest;
}

static void forget(struct look *look)
{
	view_forget(&look->view);
	free(look->objects);
	free(look->name);
}

static int look_at(struct looks *looks, const struct options *options, const char *name)
{
	struct look look = { .name = (char *)inspector_need(strdup(name)) };
	int error = view_open(&look.view, options, look.name);

	if (error) {
		free(look.name);
		return error;
	}
	const lh_arena *arena = look.view.arena;

	look.bytes = lh_arena_end_offset(arena) - lh_arena_first_offset(arena);
	look.check = (uint64_t)lh_arena_check(arena, NULL, NULL);
	look.events = newest_event(&look.view);
	count_objects(&look);
	error = guarded_check(arena);
	view_release(&look.view);
	if (error) {
		forget(&look);
		return error;
	}
	looks->looks = (struct look *)inspector_need(
		reallocarray(looks->looks, looks->count + 1, sizeof(look)));
	looks->looks[looks->count++] = look;
	return 0;
}

// EXIT_ERROR when it has said why.
static int look_at_all(struct looks *looks, const struct options *options)
{
	struct dirent **entries;
	const int count = arenas_scan(&entries);

	if (count < 0)
		return EXIT_ERROR;
	looks->unreadable = (char **)inspector_need(calloc((size_t)count + 1, sizeof(char *)));
	for (int i = 0; i < count; i++) {
		const int error = look_at(looks, options, entries[i]->d_name);

		if (error && error != -ENOENT)
			looks->unreadable[looks->unreadable_count++] = (char *)inspector_need(
				strdup(entries[i]->d_name));
		free(entries[i]);
	}
	free(entries);
	return EXIT_FINE;
}

static void print_unreadable(const struct looks *looks)
{
	family(looks, "unreadable", "gauge",
	       "1: an object in /dev/shm, of whichever program, that cannot be opened as an "
	       "arena.");
	for (size_t i = 0; i < looks->unreadable_count; i++) {
		fputs("leasehold_unreadable{", looks->out);
		print_label(looks->out, "arena", looks->unreadable[i]);
		fputs("} 1\n", looks->out);
	}
}

static bool print_all(const struct looks *looks)
{
	print_arenas(looks);
	print_objects(looks);
	print_unreadable(looks);
	fputs("# EOF\n", looks->out);
	return fflush(looks->out) == 0 && !ferror(looks->out);
}

// A reader of `path` finds the old file or the new one, whole.
static int print_to_file(struct looks *looks, const char *path)
{
	char temporary[PATH_MAX];
	int descriptor = -1;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) < sizeof(temporary))
		descriptor = mkstemp(temporary);
	else
		errno = ENAMETOOLONG;
	looks->out = descriptor < 0 ? NULL : fdopen(descriptor, "w");
	bool good = looks->out && fchmod(descriptor, 0644) == 0 && print_all(looks);
	int error = good ? 0 : errno;

	if (looks->out ? fclose(looks->out) != 0 : descriptor >= 0 && close(descriptor) != 0)
		good = false;
	if (good && rename(temporary, path) != 0)
		good = false;
	if (good)
		return EXIT_FINE;
	error = error ? error : errno;
	if (descriptor >= 0)
		unlink(temporary);
	inspector_say("cannot write %s: %s", path, strerror(error));
	return EXIT_ERROR;
}

int verb_metrics(const struct options *options, const char *arena)
{
	struct looks looks = { .out = stdout };
	int result = EXIT_FINE;

	attachments_load(&looks.attachments);
	if (arena) {
		const int error = look_at(&looks, options, arena);

		if (error)
			result = inspector_complain(arena, error);
	} else {
		result = look_at_all(&looks, options);
	}
	if (result == EXIT_FINE && options->output)
		result = print_to_file(&looks, options->output);
	else if (result == EXIT_FINE)
		print_all(&looks);
	for (size_t i = 0; i < looks.count; i++)
		forget(&looks.looks[i]);
	for (size_t i = 0; i < looks.unreadable_count; i++)
		free(looks.unreadable[i]);
	free(looks.unreadable);
	free(looks.looks);
	attachments_free(&looks.attachments);
	return result;
}
