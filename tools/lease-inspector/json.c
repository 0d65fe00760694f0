// SPDX-License-Identifier: Apache-2.0
//
// json.c: values and documents of JSON (jansson). docs/lease-inspector.schema.json describes what verbs
// print; JSON_VERSION is counted up when a member goes or changes its meaning, not for new ones.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspector.h"

// ---- values -------------------------------------------------------------------------------------

char *escape_text(const char *text)
{
	static const char digits[] = "0123456789abcdef";
	const size_t most = 4 * strlen(text) + 1;
	size_t plain = 0;

	while (text[plain] >= ' ' && text[plain] <= '~' && text[plain] != '\\')
		plain++;
	if (!text[plain])
		return (char *)inspector_need(strdup(text));
	char *const escaped = (char *)inspector_need(malloc(most));
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

void print_quoted(FILE *out, const char *text)
{
	char *escaped = escape_text(text);

	for (const char *at = escaped; *at; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', out);
		fputc(*at, out);
	}
	free(escaped);
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

// ---- documents ----------------------------------------------------------------------------------

json_t *document_start(const struct options *options, const char *arena, uint64_t now_ns)
{
	json_t *document;

	if (!options->json)
		return NULL;
	document = (json_t *)inspector_need(json_object());
	value_set(document, "version", json_integer(JSON_VERSION));
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
