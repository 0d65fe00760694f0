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
#define EMPTY_CELL "-"

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

// What a terminal shows in which colour: its sequence (ECMA-48, SGR); NULL: as it is.
static const char *colour_of(const char *text)
{
	static const char red[] = "\033[31m", green[] = "\033[32m", yellow[] = "\033[33m";
	static const struct {
		const char *word, *colour;
	} words[] = {
		{ "live", green },     { "clean", green },    { "expired", yellow },
		{ "stale", yellow },   { "stopped", yellow }, { "damaged", yellow },
		{ "lost", red },       { "dead", red },       { "gone", red },
		{ "zombie", red },     { "deadlock", red },   { "DEADLOCK", red },
		{ "corrupt", red },    { "broken", red },     { "abandoned", yellow },
		{ "placing", yellow },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(text, words[i].word, strlen(words[i].word)) == 0)
			return words[i].colour;
	return NULL;
}

// ---- rows ---------------------------------------------------------------------------------------

// Which columns there will be: in a table, in their order; in JSON, which of the members.
static void start_columns(struct table *table)
{
	const char *list = table->options->columns;
	int chosen[TABLE_COLUMNS];
	const int used = choose_columns(table->columns, table->count, list, chosen);
	const bool all = table->options->json && (!list || *list == '+');

	for (size_t i = 0; i < table->count; i++)
		table->index[i] = all ? 0 : -1;
	for (int i = 0; i < used; i++) {
		table->index[chosen[i]] = i;
		table->chosen[i] = &table->columns[chosen[i]];
		table->is_tree |= table->chosen[i]->flags & SCOLS_FL_TREE;
	}
	table->shown = (size_t)used;
}

static void start_scols(struct table *table)
{
	const struct options *options = table->options;

	table->scols = (struct libscols_table *)inspector_need(scols_new_table());
	scols_table_enable_noheadings(table->scols, options->no_headings);
	scols_table_enable_raw(table->scols, options->raw);
	scols_table_enable_colors(table->scols, options->colour);
	// Our own escapes are stricter, and the library would escape them again.
	scols_table_enable_noencoding(table->scols, 1);
	for (size_t c = 0; c < table->shown; c++)
		inspector_need(scols_table_new_column(table->scols, table->chosen[c]->heading, 0,
						      table->chosen[c]->flags & COLUMN_SCOLS));
}

void table_start(struct table *table, const struct options *options, const struct column *columns,
		 size_t count)
{
	*table = (struct table){ .options = options, .columns = columns, .count = count };
	start_columns(table);
	if (options->json)
		return;
	start_scols(table);
	for (size_t c = 0; c < table->shown; c++)
		table->width[c] = strlen(table->chosen[c]->heading);
	text_add(&table->texts, EMPTY_CELL, sizeof(EMPTY_CELL)); // at 0, where cells begin
}

// The row of JSON that has been filled, if there is one, is written out: a value of each member is
// all that is kept of it.
static void end_row(struct table *table)
{
	if (!table->options->json || table->rows == 0)
		return;
	rows_begin(&table->texts, table->options);
	for (size_t i = 0; i < table->count; i++) {
		if (table->index[i] < 0 || !table->columns[i].key)
			continue;
		rows_member(&table->texts, table->options, table->columns[i].key, table->values[i]);
		json_decref(table->values[i]);
		table->values[i] = NULL;
	}
	rows_end(&table->texts);
}

struct row table_row(struct table *table, const struct row *parent)
{
	struct row row = { .table = table, .json = table->options->json };

	end_row(table);
	if (table->is_tree) {
		row.line = (struct libscols_line *)inspector_need(
			scols_table_new_line(table->scols, parent ? parent->line : NULL));
	} else if (!row.json) {
		const size_t used = table->rows * table->shown;

		table->cells = (size_t *)inspector_room(table->cells, used, table->shown,
							&table->cell_capacity, sizeof(size_t));
		memset(table->cells + used, 0, table->shown * sizeof(size_t));
	}
	table->rows++;
	return row;
}

// Text that is escaped already.
static void set_cell(const struct table *table, struct libscols_line *line, size_t column,
		     const char *text)
{
	if (scols_line_set_data(line, column, text) != 0)
		inspector_need(NULL);
	if (table->options->colour && colour_of(text))
		scols_cell_set_color(scols_line_get_cell(line, column), colour_of(text));
}

bool row_shows(const struct row *row, size_t column)
{
	return row->table->index[column] >= 0;
}

// What begins there among the texts is one of the row that is being filled, the last one, or of a
// line of the tree.
static void end_cell(const struct row *row, size_t column, size_t begin)
{
	struct table *table = row->table;

	text_add(&table->texts, "", 1);
	if (row->line) {
		set_cell(table, row->line, column, table->texts.bytes + begin);
		table->texts.size = begin;
		return;
	}
	table->cells[(table->rows - 1) * table->shown + column] = begin;
	if (table->width[column] < table->texts.size - begin - 1)
		table->width[column] = table->texts.size - begin - 1;
}

void row_cell(const struct row *row, size_t column, const char *shown, json_t *value)
{
	struct table *table = row->table;
	const size_t begin = table->texts.size;

	if (row->json) {
		json_decref(table->values[column]);
		table->values[column] = value;
		return;
	}
	json_decref(value);
	if (!row_shows(row, column) || !shown || !*shown)
		return;
	text_add_escaped(&table->texts, shown);
	end_cell(row, (size_t)table->index[column], begin);
}

void words_start(struct words *words, const struct row *row)
{
	*words = (struct words){ .row = row,
				 .values = row->json ? (json_t *)inspector_need(json_array())
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
	row_cell(row, column, text, row->json ? value_text(text) : NULL);
}

// Whether the number needs no text: nobody sees it, or it is told as JSON now.
static bool is_told(const struct row *row, size_t column, uint64_t number)
{
	if (row->json && row_shows(row, column))
		row_cell(row, column, NULL, value_number(number));
	return row->json || !row_shows(row, column);
}

void row_number(const struct row *row, size_t column, uint64_t number)
{
	struct text *texts = &row->table->texts;
	const size_t begin = texts->size;

	if (is_told(row, column, number))
		return;
	text_add_number(texts, number);
	end_cell(row, (size_t)row->table->index[column], begin);
}

void row_size(const struct row *row, size_t column, uint64_t bytes)
{
	char text[24];

	if (is_told(row, column, bytes))
		return;
	if (row->table->options->bytes)
		snprintf(text, sizeof(text), "%" PRIu64, bytes);
	else
		format_size(bytes, text, sizeof(text));
	row_cell(row, column, text, NULL);
}

void row_duration(const struct row *row, size_t column, uint64_t ns)
{
	char text[DURATION_TEXT];

	if (ns == UINT64_MAX)
		row_cell(row, column, "never", NULL);
	else if (!is_told(row, column, ns))
		row_cell(row, column, format_duration(row->table->options, ns, text), NULL);
}

void row_moment(const struct row *row, size_t column, uint64_t ns)
{
	char text[64];

	if (is_told(row, column, ns))
		return;
	if (row->table->options->exact_ns)
		snprintf(text, sizeof(text), "%" PRIu64, ns);
	else
		format_moment(ns, text, sizeof(text));
	row_cell(row, column, text, NULL);
}

// ---- tables -------------------------------------------------------------------------------------

// libsmartcols fits a table into a terminal, which is worth while for what somebody reads there. It
// takes about 7 us for each row of `list`, so more rows than these are laid out here as it would,
// but for a terminal's width. (docs/benchmarks.md has figures.)
enum { MOST_FITTED = 500 };

// Cells of a tree that nothing was put into.
static void fill_empty(const struct table *table)
{
	struct libscols_iter *at = (struct libscols_iter *)inspector_need(
		scols_new_iter(SCOLS_ITER_FORWARD));
	struct libscols_line *line;

	while (scols_table_next_line(table->scols, at, &line) == 0) {
		for (size_t c = 0; c < table->shown; c++)
			if (!scols_line_get_column_data(line,
							scols_table_get_column(table->scols, c)))
				set_cell(table, line, c, EMPTY_CELL);
	}
	scols_free_iter(at);
}

static void print_lines(const struct table *table)
{
	if (scols_print_table(table->scols) != 0)
		inspector_need(NULL);
}

static void print_fitted(const struct table *table)
{
	const size_t *cell = table->cells;

	for (size_t row = 0; row < table->rows; row++) {
		struct libscols_line *line = (struct libscols_line *)inspector_need(
			scols_table_new_line(table->scols, NULL));

		for (size_t c = 0; c < table->shown; c++)
			set_cell(table, line, c, table->texts.bytes + *cell++);
	}
	print_lines(table);
}

static void add_blanks(struct text *line, size_t count)
{
	for (size_t i = 0; i < count; i++)
		text_add(line, " ", 1);
}

static void add_cell(struct text *line, const struct table *table, size_t column, const char *text,
		     const char *colour)
{
	const size_t size = strlen(text), blanks = table->width[column] - size;
	const bool right = table->chosen[column]->flags & SCOLS_FL_RIGHT;

	if (table->options->raw) {
		text_add(line, " ", column > 0);
		text_add_word(line, text);
		return;
	}
	add_blanks(line, right ? blanks : 0);
	if (colour)
		text_add(line, colour, strlen(colour));
	text_add(line, text, size);
	if (colour)
		text_add(line, "\033[0m", strlen("\033[0m"));
	if (column + 1 < table->shown)
		add_blanks(line, right ? 1 : blanks + 1);
}

static void end_line(struct text *line)
{
	text_add(line, "\n", 1);
	fwrite(line->bytes, 1, line->size, stdout);
	line->size = 0;
}

static void print_long(const struct table *table)
{
	const size_t *cell = table->cells;
	struct text line = { .size = 0 };

	for (size_t c = 0; c < table->shown; c++)
		add_cell(&line, table, c, table->chosen[c]->heading, NULL);
	if (table->options->no_headings)
		line.size = 0;
	else
		end_line(&line);
	for (size_t row = 0; row < table->rows; row++) {
		for (size_t c = 0; c < table->shown; c++) {
			const char *text = table->texts.bytes + *cell++;

			add_cell(&line, table, c, text,
				 table->options->colour ? colour_of(text) : NULL);
		}
		end_line(&line);
	}
	free(line.bytes);
}

static void table_free(struct table *table)
{
	scols_unref_table(table->scols);
	free(table->cells);
	free(table->texts.bytes);
}

static void print_table(struct table *table, const char *nothing)
{
	if (table->rows == 0) {
		if (nothing && isatty(STDOUT_FILENO))
			inspector_say("%s", nothing);
	} else if (table->is_tree) {
		fill_empty(table);
		print_lines(table);
	} else if (table->rows > MOST_FITTED) {
		print_long(table);
	} else {
		print_fitted(table);
	}
	table_free(table);
}

void table_finish(struct table *table, const char *key, struct document *document,
		  const char *nothing)
{
	end_row(table);
	if (document)
		document_array(document, key, &table->texts);
	else
		print_table(table, nothing);
}

void table_print(struct table *table, const char *key, struct document *document,
		 const char *nothing)
{
	table_finish(table, key, document, nothing);
	if (document)
		document_print(document);
}

void table_show(struct table *table, const struct view *view, const char *key, const char *nothing)
{
	if (guarded_check(view->arena) == 0) {
		table_print(table, key,
			    key ? document_start(table->options, view->name, view->now_ns) : NULL,
			    nothing);
		return;
	}
	end_row(table);
	table_free(table);
}
