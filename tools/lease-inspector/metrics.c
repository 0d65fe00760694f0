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

struct looks {
	struct view *views;
	char **names;
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
static void sample(const struct looks *looks, const char *name, const struct view *view,
		   const char *key, const char *value, uint64_t number)
{
	fprintf(looks->out, "leasehold_%s{", name);
	print_label(looks->out, "arena", view->name);
	if (key) {
		fputc(',', looks->out);
		print_label(looks->out, key, value);
	}
	fprintf(looks->out, "} %" PRIu64 "\n", number);
}

static void sample_seconds(const struct looks *looks, const char *name, const struct view *view,
			   uint64_t ns)
{
	fprintf(looks->out, "leasehold_%s{", name);
	print_label(looks->out, "arena", view->name);
	fprintf(looks->out, "} %" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static void sample_object(const struct looks *looks, const char *name, const struct view *view,
			  const struct lh_placement_info *place, uint64_t number)
{
	fprintf(looks->out, "leasehold_%s{", name);
	print_label(looks->out, "arena", view->name);
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

static uint64_t newest_event(const struct view *view)
{
	struct lh_event_info event;
	uint64_t cursor = 0, newest = 0;

	while (lh_next_event(view->arena, &cursor, &event) == 0)
		newest = event.sequence;
	return newest;
}

static uint64_t open_by(const struct looks *looks, const struct view *view)
{
	const struct span open = attachments_of(&looks->attachments, view->name);

	return open.end - open.first;
}

static uint64_t count_placements(const struct view *view)
{
	return view->placement_count;
}

static uint64_t count_waiters(const struct view *view)
{
	return view->waiter_count;
}

static uint64_t user_bytes(const struct view *view)
{
	return lh_arena_end_offset(view->arena) - lh_arena_first_offset(view->arena);
}

static uint64_t check_result(const struct view *view)
{
	return (uint64_t)lh_arena_check(view->arena, NULL, NULL);
}

static void print_arenas(const struct looks *looks)
{
	static const struct {
		const char *name, *help;
		uint64_t (*count)(const struct view *view);
	} gauges[] = {
		{ "size_bytes", "The user's space.", user_bytes },
		{ "placements", "Objects and regions.", count_placements },
		{ "holds", "What is held.", count_holds },
		{ "waiters", "Leases that wait.", count_waiters },
		{ "check_result", "0 clean, 3 stale, 4 deadlock, 5 corrupt.", check_result },
	};

	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
		family(looks, gauges[i].name, "gauge", gauges[i].help);
		for (size_t a = 0; a < looks->count; a++)
			sample(looks, gauges[i].name, &looks->views[a], NULL, NULL,
			       gauges[i].count(&looks->views[a]));
	}
	family(looks, "leases", "gauge", "Leases by state.");
	for (size_t a = 0; a < looks->count; a++)
		for (uint32_t state = LH_LEASE_LIVE; state <= LH_LEASE_STARTING; state++)
			sample(looks, "leases", &looks->views[a], "state",
			       lh_lease_state_name(state), count_leases(&looks->views[a], state));
	family(looks, "processes", "gauge", "Processes that have it open, as far as is seen.");
	for (size_t a = 0; a < looks->count; a++)
		sample(looks, "processes", &looks->views[a], NULL, NULL,
		       open_by(looks, &looks->views[a]));
	family(looks, "longest_wait_seconds", "gauge", "How long the longest wait has lasted.");
	for (size_t a = 0; a < looks->count; a++)
		sample_seconds(looks, "longest_wait_seconds", &looks->views[a],
			       longest_wait(&looks->views[a]));
	family(looks, "events", "counter", "Recoveries since the arena was made.");
	for (size_t a = 0; a < looks->count; a++)
		sample(looks, "events_total", &looks->views[a], NULL, NULL,
		       newest_event(&looks->views[a]));
}

// ---- objects that have a name -------------------------------------------------------------------

static uint64_t object_held(const struct view *view, const struct object *object)
{
	return object_holder_count(view, object);
}

static uint64_t object_waiting(const struct view *view, const struct object *object)
{
	(void)view;
	return object->waiters.end - object->waiters.first;
}

static uint64_t object_damage(const struct view *view, const struct object *object)
{
	return object_is_damaged(view, object);
}

static uint64_t object_used(const struct view *view, const struct object *object)
{
	(void)view;
	return object->info.used;
}

static uint64_t object_limit(const struct view *view, const struct object *object)
{
	(void)view;
	return object->info.limit;
}

static void print_objects(const struct looks *looks)
{
	static const struct {
		const char *name, *suffix, *type, *help;
		uint64_t (*count)(const struct view *view, const struct object *object);
		bool limited; /* only of what has a limit: semaphores and barriers */
	} kinds[] = {
		{ "object_grants", "_total", "counter",
		  "Tokens given: exclusive grants, phases, publications.", object_token, false },
		{ "object_holders", "", "gauge", "Who holds it.", object_held, false },
		{ "object_waiters", "", "gauge", "Who waits for it.", object_waiting, false },
		{ "object_damaged", "", "gauge", "1: not declared consistent.", object_damage,
		  false },
		{ "object_used", "", "gauge", "Permits held, parties that have joined.",
		  object_used, true },
		{ "object_limit", "", "gauge", "Permits that may be held, parties there are to be.",
		  object_limit, true },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char name[64];

		family(looks, kinds[i].name, kinds[i].type, kinds[i].help);
		snprintf(name, sizeof(name), "%s%s", kinds[i].name, kinds[i].suffix);
		for (size_t a = 0; a < looks->count; a++) {
			const struct view *view = &looks->views[a];

			for (size_t p = 0; p < view->placement_count; p++) {
				const struct lh_placement_info *place = &view->placements[p];
				const struct object object = object_of(view, place);

				if (p && place->offset == place[-1].offset)
					continue; // it came while it was looked for
				if (place->name[0] && place->kind != LH_KIND_REGION &&
				    (!kinds[i].limited || object.info.limit))
					sample_object(looks, name, view, place,
						      kinds[i].count(view, &object));
			}
		}
	}
}

// ---- where to -----------------------------------------------------------------------------------

static int look_at(struct looks *looks, const struct options *options, const char *name)
{
	struct view view;
	const int error = view_open(&view, options, name);

	if (error)
		return error;
	looks->views = (struct view *)inspector_need(
		reallocarray(looks->views, looks->count + 1, sizeof(view)));
	looks->names = (char **)inspector_need(
		reallocarray(looks->names, looks->count + 1, sizeof(char *)));
	looks->names[looks->count] = (char *)inspector_need(strdup(name));
	view.name = looks->names[looks->count];
	looks->views[looks->count++] = view;
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
	for (size_t i = 0; i < looks.count; i++) {
		view_close(&looks.views[i]);
		free(looks.names[i]);
	}
	for (size_t i = 0; i < looks.unreadable_count; i++)
		free(looks.unreadable[i]);
	free(looks.unreadable);
	free(looks.views);
	free(looks.names);
	attachments_free(&looks.attachments);
	return result;
}
