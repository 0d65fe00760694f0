// SPDX-License-Identifier: Apache-2.0
#include <leasehold/error.h>
#include <libsmartcols.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "process.h"
#include "report_rows.h"

struct column {
	const char *name;
	int flags;
};

enum { TEXT = 96 };

void report_print_head(const struct report_head *head)
{
	const struct system_info *system = head->system;

	printf("lease-bench %s, leasehold %s (layout %u), seed %llu%s\n", head->subcommand,
	       lh_version(), (unsigned)lh_layout_version(), (unsigned long long)head->run->seed,
	       head->run->quick ? ", quick: too few rounds to judge by" : "");
	printf("%s: %s, %s; membarrier %s, futex_waitv %s; load average %.2f\n", system->host,
	       system->kernel, system->libc, system->membarrier ? "works" : "missing",
	       system->futex_waitv ? "works" : "missing", system->load_average);
	printf("%d CPUs, %s, governor %s; pinning: %s%s\n", system->cpus, system->cpu_model,
	       system->governor, system->pinning, system->awake ? "; kept awake" : "");
}

static struct libscols_table *new_table(const struct column *columns, size_t count)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		process_die("out of memory");
	for (size_t i = 0; i < count; i++) {
		if (!scols_table_new_column(table, columns[i].name, 0, columns[i].flags))
			process_die("out of memory");
	}
	return table;
}

static struct libscols_line *new_line(struct libscols_table *table)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);

	if (!line)
		process_die("out of memory");
	return line;
}

static void print_table(struct libscols_table *table)
{
	putchar('\n');
	scols_print_table(table);
	scols_unref_table(table);
}

// A figure with as many digits as it deserves.
static const char *figure(char buffer[static 32], double value)
{
	if (isnan(value))
		return "-";
	snprintf(buffer, 32, "%.*f", fabs(value) >= 1000 ? 0 : fabs(value) < 10 ? 2 : 1, value);
	return buffer;
}

static size_t fill_ratio(struct libscols_line *line, size_t column, const struct row *row)
{
	char text[TEXT] = "-";

	if (row->ratio.count)
		snprintf(text, sizeof(text), "%.3f", row->ratio.median);
	scols_line_set_data(line, column++, text);
	if (row->ratio.count)
		snprintf(text, sizeof(text), "%.3f-%.3f", row->ratio.low, row->ratio.high);
	scols_line_set_data(line, column++, text);
	snprintf(text, sizeof(text), "%zu", row->ratio.count);
	scols_line_set_data(line, column++, text);
	return column;
}

static void fill_line(const struct report *report, struct libscols_line *line,
		      const struct row *row)
{
	const struct comparison *comparison = &row->comparison;
	const struct target *target = &comparison->target;
	char text[TEXT], a[32], b[32];
	size_t column = 0;

	scols_line_set_data(line, column++, comparison->case_name);
	scols_line_set_data(line, column++, comparison->what);
	scols_line_set_data(line, column++, comparison->peer);
	scols_line_set_data(line, column++, comparison->reference);
	column = fill_ratio(line, column, row);
	for (int i = 0; i < 2; i++) {
		const struct estimate *side = i == 0 ? &row->peer : &row->reference;

		scols_line_set_data(line, column++, figure(a, side->median));
		snprintf(text, sizeof(text), "%s-%s", figure(a, side->min), figure(b, side->max));
		scols_line_set_data(line, column++, side->count ? text : "-");
	}
	scols_line_set_data(line, column++, comparison->unit);
	if (report->recovery_count)
		scols_line_set_data(line, column++, report_recovery_of(report, comparison->peer));
	if (target->kind == TARGET_NONE)
		return;
	snprintf(text, sizeof(text), "%s %g%s%s", report_target_sign(target->kind), target->value,
		 target->kind == TARGET_ABSOLUTE_AT_MOST ? " " : "",
		 target->kind == TARGET_ABSOLUTE_AT_MOST ? comparison->unit : "");
	scols_line_set_data(line, column++, text);
	scols_line_set_data(line, column++, row->verdict);
}

static void print_ratios(const struct report *report)
{
	static const struct column columns[] = {
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
	};
	struct libscols_table *table = new_table(columns, sizeof(columns) / sizeof(columns[0]));

	if (report->recovery_count)
		scols_table_new_column(table, "RECOVERS?", 0, 0);
	scols_table_new_column(table, "TARGET", 0, 0);
	scols_table_new_column(table, "", 0, 0);
	for (size_t i = 0; i < report->row_count; i++)
		fill_line(report, new_line(table), &report->rows[i]);
	print_table(table);
}

// One line for each side of each row; a side that other rows share comes once.
static bool printed_before(const struct report *report, size_t row, int side, const char *name)
{
	const struct comparison *comparison = &report->rows[row].comparison;

	for (size_t i = 0; i <= row; i++) {
		const struct comparison *other = &report->rows[i].comparison;

		if (strcmp(other->case_name, comparison->case_name) != 0 ||
		    strcmp(other->what, comparison->what) != 0)
			continue;
		if (i == row)
			return side == 1 && strcmp(other->peer, name) == 0;
		if (strcmp(other->peer, name) == 0 || strcmp(other->reference, name) == 0)
			return true;
	}
	return false;
}

static void print_percentiles(const struct report *report)
{
	static const struct column columns[] = {
		{ "CASE", 0 },
		{ "WHAT", 0 },
		{ "WHOSE", 0 },
		{ "P50", SCOLS_FL_RIGHT },
		{ "P90", SCOLS_FL_RIGHT },
		{ "P99", SCOLS_FL_RIGHT },
		{ "P99.9", SCOLS_FL_RIGHT },
		{ "MAX", SCOLS_FL_RIGHT },
		{ "OF", SCOLS_FL_RIGHT },
		{ "UNIT", 0 },
	};
	struct libscols_table *table = new_table(columns, sizeof(columns) / sizeof(columns[0]));
	char text[32];

	for (size_t i = 0; i < report->row_count; i++) {
		const struct row *row = &report->rows[i];

		for (int side = 0; side < 2 && row->comparison.latency; side++) {
			const struct estimate *one = side == 0 ? &row->peer : &row->reference;
			const char *name = side == 0 ? row->comparison.peer
						     : row->comparison.reference;
			const double values[] = { one->median, one->p90, one->p99, one->p999,
						  one->max };
			size_t column = 0;

			if (one->count == 0 || printed_before(report, i, side, name))
				continue;
			struct libscols_line *line = new_line(table);
			scols_line_set_data(line, column++, row->comparison.case_name);
			scols_line_set_data(line, column++, row->comparison.what);
			scols_line_set_data(line, column++, name);
			for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++)
				scols_line_set_data(line, column++, figure(text, values[j]));
			snprintf(text, sizeof(text), "%zu", one->count);
			scols_line_set_data(line, column++, text);
			scols_line_set_data(line, column++, row->comparison.unit);
		}
	}
	print_table(table);
}

static void print_empty_loop(const struct report *report)
{
	double least = INFINITY, most = 0;

	for (size_t i = 0; i < report->row_count; i++) {
		if (report->rows[i].loop.count) {
			least = fmin(least, report->rows[i].loop.median);
			most = fmax(most, report->rows[i].loop.median);
		}
	}
	if (most > 0)
		printf("An empty body took %.2f-%.2f ns for each turn of the loops, which is "
		       "subtracted from all figures alike.\n",
		       least, most);
}

void report_print_table(const struct report *report, const struct report_head *head,
			bool percentiles)
{
	print_ratios(report);
	if (percentiles)
		print_percentiles(report);
	putchar('\n');
	for (size_t i = 0; i < report->note_count; i++)
		printf("%s\n", report->notes[i]);
	print_empty_loop(report);
	if (head->others >= 0)
		printf("Other programs used %.0f %% of the CPU time meanwhile.\n",
		       head->others * 100);
}
