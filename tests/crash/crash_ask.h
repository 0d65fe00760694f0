// SPDX-License-Identifier: Apache-2.0
//
// crash_ask.h: what the environment asks of a crash test, and whether it can be had.
#ifndef TESTS_CRASH_CRASH_ASK_H
#define TESTS_CRASH_CRASH_ASK_H

#include "tests/crash/crash.h"

bool crash_can_run(void); /* prints why not */
// CRASH=all: each point of each operation, however long that takes.
bool crash_wants_all(void);
// Of a program's operations, LEASEHOLD_OPERATION (NULL: not set) and the seed.
struct crash_choice {
	const struct crash_operation *operations;
	size_t count;
	const char *only;
	unsigned seed;
};
// Whether the operation is to be tried: because `only` asks for it, by its name or, if none has that
// name, by a part of it; or because the tier does.
bool crash_wants(const struct crash_choice *choice, size_t operation);

// CRASH=where: nothing is killed; each operation's name, and below it the addresses that it steps
// through, as a debugger gives them for the program's file. test_rows.sh makes names of them.
bool crash_wants_where(void);
// In the director: steps to the end of the operation.
void crash_walk(struct stepper *stepper, uint64_t load_address);
// In the test: what the last director walked through.
void crash_print_where(const char *name);

#endif
