// SPDX-License-Identifier: Apache-2.0
//
// table.c: rows of cells to a table (libsmartcols) or to JSON (jansson).

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "inspector.h"

#define NS_PER_SECOND UINT64_C(1000000000)

// ---- values -------------------------------------------------------------------------------------

char *escape_text(const char *text)
{
	static const char digits[] = "0123456789abcdef";
	char *const escaped = (char *)inspector_need(malloc(4 * strlen(text) + 1));
	char *out = escaped;

	for (const char *in = text; *in; in++) {
		const unsigned char byte = (unsigned char)*in;

		if (byte >= ' ' && byte <= '~' && byte != '\\') {
			*out++ = *in;
			continue;
		}
		*out++ = '\\';
		*out++ = 'x';
		*out++ = digits[byte >> 4];
		*out++ = digits[byte & 15];
	}
	*out = '\0';
	return escaped;
}

json_t *value_text(const char *text)
{
	json_t *value = json_string(text);

	// jansson takes UTF-8 only; a file name may be anything.
	if (!value) {
		char *escaped = escape_text(text);

		value = json_string(escaped);
		free(escaped);
	}
	return (json_t *)inspector_need(value);
}

json_t *value_number(uint64_t number)
{
	char digits[24];

	if (number <= INT64_MAX)
		return (json_t *)inspector_need(json_integer((json_int_t)number));
	snprintf(digits, sizeof(digits), "%" PRIu64, number);
	return value_text(digits);
}

void value_set(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) != 0)
		inspector_need(NULL);
}

void value_append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) != 0)
		inspector_need(NULL);
}

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
	// Our own escapes are stricter, and the library would escape them again.
	scols_table_enable_noencoding(table->scols, 1);
	for (size_t i = 0; i < count; i++) {
		table->index[i] = -1;
		if (!columns[i].heading)
			continue;
		table->index[i] = (int)scols_table_get_ncols(table->scols);
		inspector_need(scols_table_new_column(table->scols, columns[i].heading, 0,
						      columns[i].flags));
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
	for (size_t i = 0; i < scols_table_get_ncols(table->scols); i++)
		if (scols_line_set_data(row.line, i, "-") != 0)
			inspector_need(NULL);
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
	}
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

void table_print(struct table *table, const char *key, json_t *document, const char *nothing)
{
	if (table->rows) {
		value_set(document, key, table->rows);
		document_print(table->options, document);
		return;
	}
	if (scols_table_is_empty(table->scols)) {
		if (nothing && isatty(STDOUT_FILENO))
			inspector_say("%s", nothing);
	} else if (scols_print_table(table->scols) != 0) {
		inspector_need(NULL);
	}
	scols_unref_table(table->scols);
}

// ---- documents ----------------------------------------------------------------------------------

json_t *document_start(const struct options *options, const char *arena, uint64_t now_ns)
{
	json_t *document;

	if (!options->json)
		return NULL;
	document = (json_t *)inspector_need(json_object());
	if (arena)
		value_set(document, "arena", value_text(arena));
	value_set(document, "now_ns", value_number(now_ns));
	return document;
}

void document_print(const struct options *options, json_t *document)
{
	// Watched, each look is one line. Escapes keep all but ASCII from a terminal.
	const size_t flags = JSON_ENSURE_ASCII |
			     (options->watch > 0 ? JSON_COMPACT : (size_t)JSON_INDENT(2));

	// A failed write shows in ferror(stdout), which main looks at.
	if (json_dumpf(document, stdout, flags) == 0)
		putchar('\n');
	json_decref(document);
}
