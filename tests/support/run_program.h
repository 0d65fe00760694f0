// SPDX-License-Identifier: Apache-2.0
//
// run_program.h: run a program and look at all it says.
#ifndef TESTS_SUPPORT_RUN_PROGRAM_H
#define TESTS_SUPPORT_RUN_PROGRAM_H

#include <stdbool.h>

struct output {
	int status; /* as waitpid gives it */
	char *out;  /* what it wrote to standard output and to standard error, NUL-terminated */
	char *error;
};

// Runs path with the words of `arguments`, which blanks part, and waits for its end. Failures to do
// so end in cmocka's fail. To be freed by output_free.
struct output run_program(const char *path, const char *arguments);

// The same in two parts. Stopped at its beginning, with the caller as its tracer (ptrace(2)), if
// `traced`; it is to be let go before the second part.
struct program {
	int pid, out, error;
};
struct program program_start(const char *path, const char *arguments, bool traced);
struct output program_finish(const struct program *program);
void output_free(struct output *output);

#endif
