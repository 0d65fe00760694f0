// SPDX-License-Identifier: Apache-2.0
//
// values.h: values of a watch or cell whose every byte depends on their number, so that a torn one
// is known. Their size is no multiple of anything: each way of copying has its part in it.
#ifndef TESTS_CRASH_VALUES_H
#define TESTS_CRASH_VALUES_H

#include <stdint.h>
#include <string.h>

enum { VALUE_SIZE = 77 };

struct value {
	uint8_t bytes[VALUE_SIZE];
};

static inline struct value value_of(uint64_t number)
{
	struct value value;

	memcpy(value.bytes, &number, sizeof(number));
	for (uint64_t i = sizeof(number); i < VALUE_SIZE; i++)
		value.bytes[i] = (uint8_t)((number + 1) * (i * 2 + 1));
	return value;
}

// The number of a whole value; UINT64_MAX: it is torn. Zero bytes are number 0's.
static inline uint64_t value_number(const struct value *value)
{
	static const struct value zero;
	struct value whole;
	uint64_t number;

	if (memcmp(value, &zero, sizeof(zero)) == 0)
		return 0;
	memcpy(&number, value->bytes, sizeof(number));
	whole = value_of(number);
	return memcmp(value, &whole, sizeof(whole)) == 0 ? number : UINT64_MAX;
}

#endif
