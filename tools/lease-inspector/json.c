// SPDX-License-Identifier: Apache-2.0
//
// json.c: values and documents of JSON (jansson). docs/lease-inspector.schema.json describes what
// verbs print; JSON_VERSION is counted up when a member goes or changes its meaning, not for new
// ones. Each row is written out when it is full: there may be many.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspector.h"

// ---- values -------------------------------------------------------------------------------------

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

// ---- documents ----------------------------------------------------------------------------------

// Watched, each look is one line. Escapes keep all but ASCII from a terminal.
static bool is_one_line(const struct options *options)
{
	return options->watch > 0;
}

static int add_dumped(const char *bytes, size_t size, void *text)
{
	text_add((struct text *)text, bytes, size);
	return 0;
}

static void dump(struct text *text, const json_t *value, size_t flags)
{
	if (json_dump_callback(value, add_dumped, text, JSON_ENSURE_ASCII | flags) != 0)
		inspector_need(NULL);
}

static void add_string(struct text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

static void next_row(struct text *rows, const struct options *options)
{
	if (rows->size)
		text_add(rows, ",", 1);
	if (!is_one_line(options))
		add_string(rows, "\n    ");
}

void rows_begin(struct text *rows, const struct options *options)
{
	next_row(rows, options);
	text_add(rows, "{", 1);
}

// Keys are our own words, which need no escapes.
void rows_member(struct text *rows, const struct options *options, const char *key,
		 const json_t *value)
{
	const bool one_line = is_one_line(options);

	if (rows->bytes[rows->size - 1] != '{')
		add_string(rows, one_line ? "," : ", ");
	text_add(rows, "\"", 1);
	add_string(rows, key);
	add_string(rows, one_line ? "\":" : "\": ");
	if (!value)
		add_string(rows, "null");
	else if (json_is_integer(value) && json_integer_value(value) >= 0)
		text_add_number(rows, (uint64_t)json_integer_value(value));
	else
		dump(rows, value, JSON_ENCODE_ANY | (one_line ? JSON_COMPACT : 0));
}

void rows_end(struct text *rows)
{
	text_add(rows, "}", 1);
}

void rows_add(struct text *rows, const struct options *options, const json_t *row)
{
	next_row(rows, options);
	dump(rows, row, is_one_line(options) ? JSON_COMPACT : 0);
}

struct document *document_start(const struct options *options, const char *arena, uint64_t now_ns)
{
	struct document *document;

	if (!options->json)
		return NULL;
	document = (struct document *)inspector_need(calloc(1, sizeof(*document)));
	document->options = options;
	document->members = (json_t *)inspector_need(json_object());
	value_set(document->members, "version", json_integer(JSON_VERSION));
	if (arena)
		value_set(document->members, "arena", value_text(arena));
	value_set(document->members, "now_ns", value_number(now_ns));
	return document;
}

void document_array(struct document *document, const char *key, struct text *rows)
{
	if (document->array_count == DOCUMENT_ARRAYS)
		abort(); // no verb has so many
	document->keys[document->array_count] = key;
	document->arrays[document->array_count++] = *rows;
}

static void print_array(const struct options *options, const char *key, const struct text *rows)
{
	const bool one_line = is_one_line(options);

	printf(one_line ? ",\"%s\":[" : ",\n  \"%s\": [", key);
	if (rows->size)
		fwrite(rows->bytes, 1, rows->size, stdout);
	fputs(rows->size && !one_line ? "\n  ]" : "]", stdout);
}

void document_print(struct document *document)
{
	const bool one_line = is_one_line(document->options);
	struct text head = { .size = 0 };

	dump(&head, document->members, one_line ? JSON_COMPACT : JSON_INDENT(2));
	head.size -= one_line ? strlen("}") : strlen("\n}"); // the arrays are members, too
	// A failed write shows in ferror(stdout), which main looks at.
	fwrite(head.bytes, 1, head.size, stdout);
	for (size_t i = 0; i < document->array_count; i++) {
		print_array(document->options, document->keys[i], &document->arrays[i]);
		free(document->arrays[i].bytes);
	}
	fputs(one_line ? "}\n" : "\n}\n", stdout);
	free(head.bytes);
	json_decref(document->members);
	free(document);
}
