// SPDX-License-Identifier: Apache-2.0
//
// table.c: rows of cells to a table (libsmartcols) or to JSON.

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "inspector.h"

#define NS_PER_SECOND UINT64_C(1000000000)

// ---- formats ------------------------------------------------------------------------------------

const char *format_duration(const struct options *options, uint64_t ns, char buffer[DURATION_TEXT])
{
	const uint64_t seconds = ns / NS_PER_SECOND;
	const double value = (double)ns;

	if (options->exact_ns || ns < 1000)
		snprintf(buffer, DURATION_TEXT, "%" PRIu64 "%s", ns, options->exact_ns ? "" : "ns");
	else if (ns < 1000000)
		snprintf(buffer, DURATION_TEXT, "%.1fus", value / 1e3);
	else if (ns < NS_PER_SECOND)
		snprintf(buffer, DURATION_TEXT, "%.1fms", value / 1e6);
	else if (seconds < 60)
		snprintf(buffer, DURATION_TEXT, "%.1fs", value / 1e9);
	else if (seconds < 3600)
		snprintf(buffer, DURATION_TEXT, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60,
			 seconds % 60);
	else if (seconds < 86400)
		snprintf(buffer, DURATION_TEXT, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600,
			 seconds / 60 % 60);
	else
		snprintf(buffer, DURATION_TEXT, "%" PRIu64 "d%02" PRIu64 "h", seconds / 86400,
			 seconds / 3600 % 24);
	return buffer;
}

// Local time of a CLOCK_MONOTONIC moment, reckoned from now: what a log of that moment would say
// unless the clock was set or the machine suspended since.
static void format_moment(uint64_t ns, char *buffer, size_t size)
{
	struct timespec wall;
	struct tm parts;

	clock_gettime(CLOCK_REALTIME, &wall);
	const int64_t since = (int64_t)(lh_now() - ns);
	const int64_t moment = (int64_t)wall.tv_sec * (int64_t)NS_PER_SECOND + wall.tv_nsec - since;
	const time_t seconds = (time_t)(moment / (int64_t)NS_PER_SECOND);

	if (moment < 0 || !localtime_r(&seconds, &parts)) {
		snprintf(buffer, size, "?");
		return;
	}
	const size_t used = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(buffer + used, size - used, ".%03d",
		 (int)(moment % (int64_t)NS_PER_SECOND / 1000000));
}

static void format_size(uint64_t bytes, char *buffer, size_t size)
{
	static const char units[] = "KMGTPE";
	uint64_t scaled = bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(buffer, size, "%" PRIu64, bytes);
		return;
	}
	for (; scaled >= UINT64_C(1024) * 1024; scaled /= 1024)
		unit++;
	snprintf(buffer, size, "%.1f%c", (double)scaled / 1024, units[unit]);
}

// ---- columns ------------------------------------------------------------------------------------

// The column with that heading, or -1. `size` bytes of it count.
static int find_column(const struct column *columns, size_t count, const char *name, size_t size)
{
	for (size_t i = 0; i < count; i++)
		if (columns[i].heading && strlen(columns[i].heading) == size &&
		    strncasecmp(columns[i].heading, name, size) == 0)
			return (int)i;
	return -1;
}

// The columns that `list` asks for, in order: how many; -1: it names one that there is not.
static int choose_columns(const struct column *columns, size_t count, const char *list,
			  int ret_chosen[TABLE_COLUMNS])
{
	int used = 0;

	if (!list || *list == '+')
		for (size_t i = 0; i < count; i++)
			if (columns[i].heading && !(columns[i].flags & COLUMN_EXTRA))
				ret_chosen[used++] = (int)i;
	if (!list)
		return used;
	for (const char *name = list + (*list == '+'); *name;) {
		const size_t size = strcspn(name, ",");
		const int column = find_column(columns, count, name, size);

		if (column < 0)
			return -1;
		for (int i = 0; i < used; i++) // named again: once, where it was named first
			if (ret_chosen[i] == column)
				goto next;
		ret_chosen[used++] = column;
next:
		name += size + (name[size] == ',');
	}
	return used > 0 ? used : -1;
}

bool columns_are_known(const struct column *columns, size_t count, const char *list)
{
	int chosen[TABLE_COLUMNS];

	return choose_columns(columns, count, list, chosen) > 0;
}

// What a terminal shows in which colour; NULL: as it is.
static const char *colour_of(const char *text)
{
	static const struct {
		const char *word, *colour;
	} words[] = {
		{ "live", "green" },     { "clean", "green" },    { "expired", "yellow" },
		{ "stale", "yellow" },   { "stopped", "yellow" }, { "damaged", "yellow" },
		{ "lost", "red" },       { "dead", "red" },       { "gone", "red" },
		{ "zombie", "red" },     { "deadlock", "red" },   { "DEADLOCK", "red" },
		{ "corrupt", "red" },    { "broken", "red" },     { "abandoned", "yellow" },
		{ "placing", "yellow" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(text, words[i].word, strlen(words[i].word)) == 0)
			return words[i].colour;
	return NULL;
}

// ---- tables -------------------------------------------------------------------------------------

void table_start(struct table *table, const struct options *options, const struct column *columns,
		 size_t count)
{
	*table = (struct table){ .options = options, .columns = columns, .count = count };
	if (options->json) {
		table->rows = (json_t *)inspector_need(json_array());
		return;
	}
	table->scols = (struct libscols_table *)inspector_need(scols_new_table());
	scols_table_enable_noheadings(table->scols, options->no_headings);
	scols_table_enable_raw(table->scols, options->raw);
	scols_table_enable_colors(table->scols, options->colour);
	// Our own escapes are stricter, and the library would escape them again.
	scols_table_enable_noencoding(table->scols, 1);
	for (size_t i = 0; i < count; i++)
		table->index[i] = -1;
	int chosen[TABLE_COLUMNS];
	const int used = choose_columns(columns, count, options->columns, chosen);

	for (int i = 0; i < used; i++) {
		const struct column *column = &columns[chosen[i]];

		table->index[chosen[i]] = i;
		inspector_need(scols_table_new_column(table->scols, column->heading, 0,
						      column->flags & COLUMN_SCOLS));
	}
}

struct row table_row(struct table *table, const struct row *parent)
{
	struct row row = { .table = table };

	if (table->rows) {
		row.object = (json_t *)inspector_need(json_object());
		for (size_t i = 0; i < table->count; i++)
			if (table->columns[i].key)
				value_set(row.object, table->columns[i].key, json_null());
		value_append(table->rows, row.object);
		return row;
	}
	row.line = (struct libscols_line *)inspector_need(
		scols_table_new_line(table->scols, parent ? parent->line : NULL));
	return row;
}

void row_cell(const struct row *row, size_t column, const char *shown, json_t *value)
{
	const struct table *table = row->table;

	if (row->object && table->columns[column].key && value)
		value_set(row->object, table->columns[column].key, value);
	else
		json_decref(value);
	if (row->line && table->index[column] >= 0 && shown && *shown) {
		char *escaped = escape_text(shown);

		if (scols_line_refer_data(row->line, (size_t)table->index[column], escaped) != 0)
			inspector_need(NULL);
		if (table->options->colour && colour_of(shown))
			scols_cell_set_color(
				scols_line_get_cell(row->line, (size_t)table->index[column]),
				colour_of(shown));
	}
}

bool row_shows(const struct row *row, size_t column)
{
	return row->object || row->table->index[column] >= 0;
}

void words_start(struct words *words, const struct row *row)
{
	*words = (struct words){ .row = row,
				 .values = row->object ? (json_t *)inspector_need(json_array())
						       : NULL };
}

void words_add(void *context, const char *word)
{
	struct words *words = (struct words *)context;

	if (words->values)
		value_append(words->values, value_text(word));
	words->used += (size_t)snprintf(words->text + words->used,
					sizeof(words->text) - words->used, "%s%s",
					words->used ? "," : "", word);
	if (words->used >= sizeof(words->text))
		words->used = sizeof(words->text) - 1;
}

void words_end(struct words *words, size_t column)
{
	row_cell(words->row, column, words->text, words->values);
}

void row_text(const struct row *row, size_t column, const char *text)
{
	row_cell(row, column, text, row->object ? value_text(text) : NULL);
}

void row_number(const struct row *row, size_t column, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	row_cell(row, column, text, row->object ? value_number(number) : NULL);
}

void row_size(const struct row *row, size_t column, uint64_t bytes)
{
	char text[24];

	if (row->table->options->bytes)
		snprintf(text, sizeof(text), "%" PRIu64, bytes);
	else
		format_size(bytes, text, sizeof(text));
	row_cell(row, column, text, row->object ? value_number(bytes) : NULL);
}

void row_duration(const struct row *row, size_t column, uint64_t ns)
{
	char text[DURATION_TEXT];

	if (ns == UINT64_MAX)
		row_cell(row, column, "never", row->object ? json_null() : NULL);
	else
		row_cell(row, column, format_duration(row->table->options, ns, text),
			 row->object ? value_number(ns) : NULL);
}

void row_moment(const struct row *row, size_t column, uint64_t ns)
{
	char text[64];

	if (row->table->options->exact_ns)
		snprintf(text, sizeof(text), "%" PRIu64, ns);
	else
		format_moment(ns, text, sizeof(text));
	row_cell(row, column, text, row->object ? value_number(ns) : NULL);
}

// With `-o LIST` the rows have the members of those columns alone, as the table would.
static void keep_chosen(const struct table *table)
{
	const char *list = table->options->columns;
	int chosen[TABLE_COLUMNS];
	json_t *row;
	size_t i;

	if (!list || *list == '+')
		return;
	const int used = choose_columns(table->columns, table->count, list, chosen);

	json_array_foreach(table->rows, i, row)
	{
		json_t *kept = (json_t *)inspector_need(json_object());

		for (int c = 0; c < used; c++) {
			const char *key = table->columns[chosen[c]].key;

			if (key)
				value_set(kept, key, json_incref(json_object_get(row, key)));
		}
		if (json_object_clear(row) != 0 || json_object_update(row, kept) != 0)
			inspector_need(NULL);
		json_decref(kept);
	}
}

// Cells that nothing was put into.
static void fill_empty(const struct table *table)
{
	const size_t columns = scols_table_get_ncols(table->scols);
	struct libscols_iter *at = (struct libscols_iter *)inspector_need(
		scols_new_iter(SCOLS_ITER_FORWARD));
	struct libscols_line *line;

	while (scols_table_next_line(table->scols, at, &line) == 0) {
		for (size_t c = 0; c < columns; c++) {
			struct libscols_cell *cell = scols_line_get_cell(line, c);

			if (!scols_cell_get_data(cell) && scols_cell_set_data(cell, "-") != 0)
				inspector_need(NULL);
		}
	}
	scols_free_iter(at);
}

void table_finish(struct table *table, const char *key, json_t *document, const char *nothing)
{
	if (table->rows) {
		keep_chosen(table);
		value_set(document, key, table->rows);
		return;
	}
	if (scols_table_is_empty(table->scols)) {
		if (nothing && isatty(STDOUT_FILENO))
			inspector_say("%s", nothing);
	} else {
		fill_empty(table);
		if (scols_print_table(table->scols) != 0)
			inspector_need(NULL);
	}
	scols_unref_table(table->scols);
}

void table_print(struct table *table, const char *key, json_t *document, const char *nothing)
{
	table_finish(table, key, document, nothing);
	if (document)
		document_print(table->options, document);
}
