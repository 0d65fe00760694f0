// SPDX-License-Identifier: Apache-2.0
//
// inspector_test.h: what the tests of lease-inspector share.
#ifndef TESTS_CLI_INSPECTOR_TEST_H
#define TESTS_CLI_INSPECTOR_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <leasehold/leasehold.h>

#include "tests/support/run_program.h"

// Where it is.
static inline const char *inspector_path(void)
{
	static char path[512];
	const char *programs = getenv("LEASEHOLD_BIN");

	snprintf(path, sizeof(path), "%s/lease-inspector", programs ? programs : ".");
	return path;
}

// lease-inspector's output and exit code; the test fails if it ended otherwise than by exiting.
// Under a sanitizer a finding is an exit with another code than its own.
__attribute__((format(printf, 2, 3))) static inline struct output inspector(int *ret_exit,
									    const char *format, ...)
{
	char arguments[512];
	va_list list;

	va_start(list, format);
	vsnprintf(arguments, sizeof(arguments), format, list);
	va_end(list);
	const struct output output = run_program(inspector_path(), arguments);

	if (!WIFEXITED(output.status) || WEXITSTATUS(output.status) > 5)
		fail_msg("lease-inspector %s: status %#x: %s", arguments, output.status,
			 output.error);
	*ret_exit = WEXITSTATUS(output.status);
	return output;
}

// What `lease-inspector VERB ARENA --json` says; the test fails unless it exits as expected.
static inline json_t *inspect(int expected, const char *verb, const char *arena)
{
	json_error_t where;
	int code;
	struct output output = inspector(&code, "%s %s --json", verb, arena);
	json_t *document = json_loads(output.out, JSON_REJECT_DUPLICATES, &where);

	if (code != expected || !document)
		fail_msg("%s %s: exit %d, not %d: %s%s%s", verb, arena, code, expected, output.out,
			 output.error, document ? "" : where.text);
	output_free(&output);
	return document;
}

static inline int exit_of(const char *verb, const char *arena)
{
	int code;
	struct output output = inspector(&code, "%s %s", verb, arena);

	output_free(&output);
	return code;
}

// The member of the array document[list] whose `key` is the number or the text; NULL if none is.
static inline json_t *entry_numbered(const json_t *document, const char *list, const char *key,
				     uint64_t number)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(document, list), i,
			   entry) if (json_integer_value(json_object_get(entry, key)) ==
				      (json_int_t)number) return entry;
	return NULL;
}

static inline json_t *entry_named(const json_t *document, const char *list, const char *key,
				  const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(document, list), i, entry)
	{
		const char *text = json_string_value(json_object_get(entry, key));

		if (text && strcmp(text, name) == 0)
			return entry;
	}
	return NULL;
}

static inline const char *text_of(const json_t *entry, const char *key)
{
	const char *text = json_string_value(json_object_get(entry, key));

	return text ? text : "";
}

static inline json_int_t number_of(const json_t *entry, const char *key)
{
	const json_t *value = json_object_get(entry, key);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

static inline json_int_t first_number(const json_t *entry, const char *list)
{
	return json_integer_value(json_array_get(json_object_get(entry, list), 0));
}

#endif
