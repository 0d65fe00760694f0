// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "report_rows.h"

static void *grown(void *array, size_t count, size_t size)
{
	void *larger = reallocarray(array, count + 1, size);

	if (!larger)
		process_die("out of memory");
	return larger;
}

struct report *report_create(void)
{
	struct report *report = calloc(1, sizeof(*report));

	if (!report)
		process_die("out of memory");
	return report;
}

void report_destroy(struct report *report)
{
	for (size_t i = 0; i < report->row_count; i++)
		free(report->rows[i].what);
	for (size_t i = 0; i < report->note_count; i++)
		free(report->notes[i]);
	free(report->recoveries);
	free(report->rows);
	free(report->notes);
	free(report);
}

// A throughput is "at least the reference's" when the interval reaches it. Elsewhere the median
// decides, and what only one end of the interval meets is called unclear.
static const char *verdict(const struct row *row)
{
	const double value = row->comparison.target.value;

	switch (row->comparison.target.kind) {
	case TARGET_NONE:
		break;
	case TARGET_RATIO_AT_MOST:
		return row->ratio.median <= value ? "met"
		       : row->ratio.low <= value  ? "unclear"
						  : "missed";
	case TARGET_RATIO_AT_LEAST:
		return row->ratio.median >= value ? "met"
		       : row->ratio.high >= value ? "met (interval)"
						  : "missed";
	case TARGET_ABSOLUTE_AT_MOST:
		return row->peer.median <= value ? "met"
		       : row->peer.low <= value  ? "unclear"
						 : "missed";
	}
	return NULL;
}

// The median of each group of a column, written over the column; how many groups.
static size_t condense(double *values, size_t count, size_t group)
{
	size_t groups = 0;

	for (size_t i = 0; i < count; i += group, groups++)
		values[groups] = measure_estimate(values + i, i + group < count ? group : count - i)
					 .median;
	return groups;
}

void report_compare(struct report *report, const struct comparison *comparison,
		    const struct samples *samples, size_t peer, size_t reference)
{
	const size_t rounds = samples_rounds(samples);
	const size_t group = comparison->group ? comparison->group : 1;
	double *peers = calloc(3 * rounds + 1, sizeof(*peers));
	double *references = peers + rounds, *loops = references + rounds;

	report->rows = grown(report->rows, report->row_count, sizeof(*report->rows));
	struct row *row = &report->rows[report->row_count++];
	*row = (struct row){ .comparison = *comparison, .what = strdup(comparison->what) };
	if (!peers || !row->what)
		process_die("out of memory");
	row->comparison.what = row->what;
	for (size_t i = 0; i < rounds; i++) {
		peers[i] = samples_get(samples, i, peer);
		references[i] = samples_get(samples, i, reference);
		loops[i] = samples_loop(samples, i);
	}
	row->peer = measure_estimate(peers, rounds);
	row->reference = measure_estimate(references, rounds);
	row->loop = measure_estimate(loops, rounds);
	const size_t groups = condense(peers, rounds, group);
	(void)condense(references, rounds, group);
	for (size_t i = 0; i < groups; i++)
		peers[i] = comparison->throughput ? references[i] / peers[i]
						  : peers[i] / references[i];
	row->ratio = measure_estimate(peers, groups);
	row->verdict = verdict(row);
	free(peers);
}

void report_recovery(struct report *report, const char *peer, const char *what)
{
	report->recoveries = grown(report->recoveries, report->recovery_count,
				   sizeof(*report->recoveries));
	report->recoveries[report->recovery_count++] = (struct recovery){ peer, what };
}

const char *report_recovery_of(const struct report *report, const char *peer)
{
	for (size_t i = 0; i < report->recovery_count; i++) {
		if (strcmp(report->recoveries[i].peer, peer) == 0)
			return report->recoveries[i].what;
	}
	return NULL;
}

void report_note(struct report *report, const char *format, ...)
{
	char *text;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		process_die("out of memory");
	va_end(arguments);
	for (size_t i = 0; i < report->note_count; i++) {
		if (strcmp(report->notes[i], text) == 0) {
			free(text);
			return;
		}
	}
	report->notes = grown(report->notes, report->note_count, sizeof(*report->notes));
	report->notes[report->note_count++] = text;
}

const char *report_target_sign(enum target_kind kind)
{
	return kind == TARGET_RATIO_AT_LEAST ? ">=" : "<=";
}
