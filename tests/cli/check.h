// SPDX-License-Identifier: Apache-2.0
//
// check.h: for small programs that scripts compile: a condition that does not hold ends them.
#ifndef TESTS_CLI_CHECK_H
#define TESTS_CLI_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s: line %d\n", __FILE__, __LINE__);                      \
			exit(2);                                                                   \
		}                                                                                  \
	} while (0)

#endif
