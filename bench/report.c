// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <jansson.h>
#include <leasehold/error.h>
#include <libsmartcols.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

struct row {
	struct comparison comparison;
	char *what; // comparison.what, copied
	struct estimate ratio, peer, reference;
	const char *verdict;
};

struct report {
	struct row *rows;
	size_t row_count;
	char **notes;
	size_t note_count;
};

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
	double *peers = calloc(2 * rounds + 1, sizeof(*peers));
	double *references = peers + rounds;

	report->rows = grown(report->rows, report->row_count, sizeof(*report->rows));
	struct row *row = &report->rows[report->row_count++];
	*row = (struct row){ .comparison = *comparison, .what = strdup(comparison->what) };
	if (!peers || !row->what)
		process_die("out of memory");
	row->comparison.what = row->what;
	for (size_t i = 0; i < rounds; i++) {
		peers[i] = samples_get(samples, i, peer);
		references[i] = samples_get(samples, i, reference);
	}
	row->peer = measure_estimate(peers, rounds);
	row->reference = measure_estimate(references, rounds);
	const size_t groups = condense(peers, rounds, group);
	(void)condense(references, rounds, group);
	for (size_t i = 0; i < groups; i++)
		peers[i] = comparison->throughput ? references[i] / peers[i]
						  : peers[i] / references[i];
	row->ratio = measure_estimate(peers, groups);
	row->verdict = verdict(row);
	free(peers);
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

// ---- the table -----------------------------------------------------------------------------------
void report_print_head(const struct run *run, const char *subcommand,
		       const struct system_info *system)
{
	printf("lease-bench %s, leasehold %s (layout %u), seed %llu%s\n", subcommand, lh_version(),
	       (unsigned)lh_layout_version(), (unsigned long long)run->seed,
	       run->quick ? ", quick: too few rounds to judge by" : "");
	printf("%s, %s, %d CPUs; membarrier %s, futex_waitv %s; load average %.2f\n",
	       system->kernel, system->libc, system->cpus, system->membarrier ? "works" : "missing",
	       system->futex_waitv ? "works" : "missing", system->load_average);
}

static const char *target_sign(enum target_kind kind)
{
	return kind == TARGET_RATIO_AT_LEAST ? ">=" : "<=";
}

// A figure with as many digits as it deserves.
static const char *figure(char buffer[static 32], double value)
{
	snprintf(buffer, 32, "%.*f", isnan(value) || fabs(value) >= 1000 ? 0 : 1, value);
	return buffer;
}

static void fill_line(struct libscols_line *line, const struct row *row)
{
	const struct comparison *comparison = &row->comparison;
	const struct target *target = &comparison->target;
	char text[96], a[32], b[32];
	size_t column = 0;

	scols_line_set_data(line, column++, comparison->case_name);
	scols_line_set_data(line, column++, comparison->what);
	scols_line_set_data(line, column++, comparison->peer);
	scols_line_set_data(line, column++, comparison->reference);
	snprintf(text, sizeof(text), "%.3f", row->ratio.median);
	scols_line_set_data(line, column++, text);
	snprintf(text, sizeof(text), "%.3f-%.3f", row->ratio.low, row->ratio.high);
	scols_line_set_data(line, column++, text);
	snprintf(text, sizeof(text), "%zu", row->ratio.count);
	scols_line_set_data(line, column++, text);
	for (int i = 0; i < 2; i++) {
		const struct estimate *side = i == 0 ? &row->peer : &row->reference;

		scols_line_set_data(line, column++, figure(a, side->median));
		snprintf(text, sizeof(text), "%s-%s", figure(a, side->min), figure(b, side->max));
		scols_line_set_data(line, column++, text);
	}
	scols_line_set_data(line, column++, comparison->unit);
	if (target->kind == TARGET_NONE)
		return;
	snprintf(text, sizeof(text), "%s %g%s%s", target_sign(target->kind), target->value,
		 target->kind == TARGET_ABSOLUTE_AT_MOST ? " " : "",
		 target->kind == TARGET_ABSOLUTE_AT_MOST ? comparison->unit : "");
	scols_line_set_data(line, column++, text);
	scols_line_set_data(line, column++, row->verdict);
}

void report_print_table(const struct report *report, double others)
{
	static const struct {
		const char *name;
		int flags;
	} columns[] = {
		{ "CASE", 0 },
		{ "WHAT", 0 },
		{ "PEER", 0 },
		{ "AGAINST", 0 },
		{ "RATIO", SCOLS_FL_RIGHT },
		{ "95 %", SCOLS_FL_RIGHT },
		{ "ROUNDS", SCOLS_FL_RIGHT },
		{ "PEER'S", SCOLS_FL_RIGHT },
		{ "MIN-MAX", SCOLS_FL_RIGHT },
		{ "OTHER'S", SCOLS_FL_RIGHT },
		{ "MIN-MAX", SCOLS_FL_RIGHT },
		{ "UNIT", 0 },
		{ "TARGET", 0 },
		{ "", 0 },
	};
	struct libscols_table *table = scols_new_table();

	if (!table)
		process_die("out of memory");
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		scols_table_new_column(table, columns[i].name, 0, columns[i].flags);
	for (size_t i = 0; i < report->row_count; i++) {
		struct libscols_line *line = scols_table_new_line(table, NULL);

		if (!line)
			process_die("out of memory");
		fill_line(line, &report->rows[i]);
	}
	putchar('\n');
	scols_print_table(table);
	scols_unref_table(table);
	putchar('\n');
	for (size_t i = 0; i < report->note_count; i++)
		printf("%s\n", report->notes[i]);
	if (others >= 0)
		printf("Other programs used %.0f %% of the CPU time meanwhile.\n", others * 100);
}

// ---- JSON ----------------------------------------------------------------------------------------
static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *estimate_json(const struct estimate *estimate)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I}", "median", number(estimate->median),
			 "low", number(estimate->low), "high", number(estimate->high), "min",
			 number(estimate->min), "max", number(estimate->max), "rounds",
			 (json_int_t)estimate->count);
}

static json_t *row_json(const struct row *row)
{
	const struct comparison *comparison = &row->comparison;
	const struct target *target = &comparison->target;
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "case", comparison->case_name,
		"what", comparison->what, "peer", comparison->peer, "reference",
		comparison->reference, "unit", comparison->unit, "ratio_of",
		comparison->throughput ? "throughput" : "figures", "ratio",
		estimate_json(&row->ratio), "peer_figure", estimate_json(&row->peer),
		"reference_figure", estimate_json(&row->reference));

	if (json && target->kind != TARGET_NONE)
		json_object_set_new(
			json, "target",
			json_pack("{s:s, s:s, s:f, s:s}", "of",
				  target->kind == TARGET_ABSOLUTE_AT_MOST ? "peer_figure" : "ratio",
				  "relation", target_sign(target->kind), "value", target->value,
				  "verdict", row->verdict));
	return json;
}

void report_print_json(const struct report *report, const struct run *run, const char *subcommand,
		       const struct system_info *system, double others)
{
	json_t *rows = json_array();
	json_t *notes = json_array();

	for (size_t i = 0; i < report->row_count; i++)
		json_array_append_new(rows, row_json(&report->rows[i]));
	for (size_t i = 0; i < report->note_count; i++)
		json_array_append_new(notes, json_string(report->notes[i]));
	json_t *json = json_pack("{s:s, s:s, s:i, s:I, s:b, s:f, s:b, s:{s:s, s:s, s:i, s:b, s:b, "
				 "s:o, s:o}, s:o, s:o}",
				 "benchmark", subcommand, "version", lh_version(), "layout",
				 (int)lh_layout_version(), "seed", (json_int_t)run->seed, "quick",
				 run->quick, "seconds", run->seconds, "failed", run->failed,
				 "system", "kernel", system->kernel, "libc", system->libc, "cpus",
				 system->cpus, "membarrier", system->membarrier, "futex_waitv",
				 system->futex_waitv, "load_average", number(system->load_average),
				 "others_cpu_share", number(others), "rows", rows, "notes", notes);

	if (!json || json_dumpf(json, stdout, JSON_INDENT(2)) != 0)
		process_die("cannot write the JSON");
	putchar('\n');
	json_decref(json);
}
