// SPDX-License-Identifier: Apache-2.0
#include "tests/support/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_FINDINGS = 5 };

struct history *history_create(void)
{
	struct history *history = mmap(NULL, sizeof(*history), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return history == MAP_FAILED ? NULL : history;
}

void history_destroy(struct history *history)
{
	munmap(history, sizeof(*history));
}

void history_clear(struct history *history)
{
	for (int i = 0; i < HISTORY_WORKERS; i++)
		atomic_store(&history->workers[i].count, 0);
}

struct history_entry *history_add(struct history *history, int worker, struct history_entry entry)
{
	const uint32_t count = atomic_load(&history->workers[worker].count);
	struct history_entry *place = &history->workers[worker].entries[count];

	if (count == HISTORY_ENTRIES)
		return NULL;
	if (!entry.end_ns)
		entry.end_ns = entry.begin_ns;
	*place = entry;
	atomic_store(&history->workers[worker].count, count + 1); // whole before it counts
	return place;
}

// ---- one object's entries, as beginnings and ends in the order of time ---------------------------

struct moment {
	uint64_t ns;
	const struct history_entry *entry;
	bool is_end;
};

struct object_log {
	const char *name;
	uint64_t units;
	struct moment *moments;
	size_t count;
	int findings;
};

// At one time ends come first: what touches does not overlap.
static int by_time(const void *left, const void *right)
{
	const struct moment *one = left, *other = right;

	if (one->ns != other->ns)
		return one->ns < other->ns ? -1 : 1;
	return other->is_end - one->is_end;
}

static void find(struct object_log *log, const struct history_entry *entry, const char *what,
		 uint64_t number)
{
	if (++log->findings <= MOST_FINDINGS)
		fprintf(stderr,
			"%s, %s %" PRIu64 " (%" PRIu64 ") from %" PRIu64 " to %" PRIu64
			": %s %" PRIu64 "\n",
			log->name, entry->writes ? "writing" : "reading", entry->value,
			entry->amount, entry->begin_ns, entry->end_ns, what, number);
}

static void gather(const struct history *history, uint32_t object, struct object_log *log)
{
	log->count = 0;
	for (int worker = 0; worker < HISTORY_WORKERS; worker++) {
		const uint32_t count = atomic_load(&history->workers[worker].count);

		for (uint32_t i = 0; i < count; i++) {
			const struct history_entry *entry = &history->workers[worker].entries[i];

			if (entry->object != object)
				continue;
			log->moments[log->count++] = (struct moment){ entry->begin_ns, entry,
								      false };
			log->moments[log->count++] = (struct moment){ entry->end_ns, entry, true };
		}
	}
	qsort(log->moments, log->count, sizeof(*log->moments), by_time);
}

// ---- the rules -----------------------------------------------------------------------------------

static void check_holds(struct object_log *log)
{
	uint64_t held = 0, token = 0;

	for (size_t i = 0; i < log->count; i++) {
		const struct history_entry *entry = log->moments[i].entry;

		if (entry->begin_ns == entry->end_ns)
			continue; // it vouched for nothing but its grant
		if (log->moments[i].is_end) {
			held -= entry->amount;
			continue;
		}
		held += entry->amount;
		if (held > log->units)
			find(log, entry, "units held then:", held);
		if (entry->writes && entry->value <= token)
			find(log, entry, "not above the token before:", token);
		if (entry->writes)
			token = entry->value;
	}
}

// The newest version that a call which has returned is about, at each beginning.
static void check_versions(struct object_log *log)
{
	const struct history_entry *newest = NULL;

	for (size_t i = 0; i < log->count; i++) {
		const struct history_entry *entry = log->moments[i].entry;

		if (log->moments[i].is_end) {
			if (!newest || entry->value > newest->value)
				newest = entry;
			else if (entry->value == newest->value && entry->amount != newest->amount)
				find(log, entry, "other contents:", newest->amount);
		} else if (newest && (entry->writes ? entry->value <= newest->value
						    : entry->value < newest->value)) {
			find(log, entry, "there was already:", newest->value);
		}
	}
}

static int by_value(const void *left, const void *right)
{
	const struct moment *one = left, *other = right;

	return (one->entry->value > other->entry->value) -
	       (one->entry->value < other->entry->value);
}

static void check_phases(struct object_log *log)
{
	qsort(log->moments, log->count, sizeof(*log->moments), by_value);
	for (size_t from = 0, to; from < log->count; from = to) {
		const struct history_entry *last = log->moments[from].entry;

		for (to = from; to < log->count && log->moments[to].entry->value == last->value;
		     to++)
			;
		for (size_t i = from; i < to; i++) {
			if (log->moments[i].entry->begin_ns > last->begin_ns)
				last = log->moments[i].entry;
		}
		for (size_t i = from; i < to; i++) {
			const struct history_entry *entry = log->moments[i].entry;

			if (log->moments[i].is_end && entry->end_ns < last->begin_ns)
				find(log, entry, "another arrived at", last->begin_ns);
		}
	}
}

bool history_check(const struct history *history, size_t *ret_count)
{
	struct object_log log;
	bool sound = true;

	*ret_count = 0;
	log.moments = malloc(2 * sizeof(*log.moments) * HISTORY_WORKERS * HISTORY_ENTRIES);
	if (!log.moments)
		return false;
	for (uint32_t i = 0; i < HISTORY_OBJECTS; i++) {
		log.name = history->objects[i].name;
		log.units = history->objects[i].units;
		log.findings = 0;
		if (history->objects[i].rule == HISTORY_NOTHING)
			continue;
		gather(history, i, &log);
		if (history->objects[i].rule == HISTORY_HOLDS)
			check_holds(&log);
		else if (history->objects[i].rule == HISTORY_VERSIONS)
			check_versions(&log);
		else
			check_phases(&log);
		*ret_count += log.count / 2;
		sound = sound && !log.findings;
	}
	free(log.moments);
	return sound;
}
