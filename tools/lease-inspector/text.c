// SPDX-License-Identifier: Apache-2.0
//
// text.c: text that grows, and bytes that nobody vouches for made fit to be seen.

#include <stdlib.h>
#include <string.h>

#include "inspector.h"

void *inspector_room(void *items, size_t count, size_t more, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity : 64;

	if (more <= *capacity - count)
		return items;
	while (wanted - count < more)
		wanted *= 2;
	*capacity = wanted;
	return inspector_need(reallocarray(items, wanted, size));
}

void text_add(struct text *text, const char *bytes, size_t size)
{
	if (size == 0)
		return;
	text->bytes = (char *)inspector_room(text->bytes, text->size, size, &text->capacity, 1);
	memcpy(text->bytes + text->size, bytes, size);
	text->size += size;
}

static bool is_plain(char byte)
{
	return byte >= ' ' && byte <= '~' && byte != '\\';
}

static bool is_plain_and_no_blank(char byte)
{
	return is_plain(byte) && byte != ' ';
}

static void add_escaped(struct text *text, const char *string, bool (*stays)(char byte))
{
	static const char digits[] = "0123456789abcdef";

	while (*string) {
		size_t plain = 0;

		while (stays(string[plain]))
			plain++;
		text_add(text, string, plain);
		string += plain;
		if (*string) {
			const unsigned char byte = (unsigned char)*string++;
			const char escape[] = { '\\', 'x', digits[byte >> 4], digits[byte & 15] };

			text_add(text, escape, sizeof(escape));
		}
	}
}

void text_add_escaped(struct text *text, const char *string)
{
	add_escaped(text, string, is_plain);
}

void text_add_word(struct text *text, const char *string)
{
	add_escaped(text, string, is_plain_and_no_blank);
}

void text_add_number(struct text *text, uint64_t number)
{
	char digits[20];
	size_t first = sizeof(digits);

	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	text_add(text, digits + first, sizeof(digits) - first);
}

char *escape_text(const char *string)
{
	struct text text = { .size = 0 };

	text_add_escaped(&text, string);
	text_add(&text, "", 1);
	return text.bytes;
}

void print_quoted(FILE *out, const char *string)
{
	char *escaped = escape_text(string);

	for (const char *at = escaped; *at; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', out);
		fputc(*at, out);
	}
	free(escaped);
}
