// SPDX-License-Identifier: Apache-2.0
//
// crash_ask.h: what the environment asks of a crash test, and whether it can be had.
#ifndef TESTS_CRASH_CRASH_ASK_H
#define TESTS_CRASH_CRASH_ASK_H

#include "tests/crash/crash.h"

bool crash_can_run(void); /* prints why not */
// CRASH=all: each point of each operation, however long that takes.
bool crash_wants_all(void);
// Whether `only` asks for the operation: by its name or, if none has that name, by a part of it.
bool crash_wants(const struct crash_operation *operations, size_t count, size_t operation,
		 const char *only);

// CRASH=where: nothing is killed; each operation's name, and below it the addresses that it steps
// through, as a debugger gives them for the program's file. test_rows.sh makes names of them.
bool crash_wants_where(void);
// In the director: steps to the end of the operation.
void crash_walk(struct stepper *stepper, uint64_t load_address);
// In the test: what the last director walked through.
void crash_print_where(const char *name);

#endif
