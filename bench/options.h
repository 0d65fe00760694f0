// SPDX-License-Identifier: Apache-2.0
//
// options.h: what the command line asks for.
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "bench.h"
#include "pin.h"

#define OPTIONS_CASES 32 // a sub-command has at most so many

struct choice {
	const struct subcommand *subcommand;
	enum { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV } format;
	bool percentiles;
	enum pin pin;
	bool awake;
	bool only[OPTIONS_CASES]; // by index in the sub-command's cases; all false: all
	bool any_only;
	const char *handicapped; // a peer's name; NULL: none
};

// Ends the program after --help and --version, and with status 2 if it was called wrongly.
void options_parse(int argc, char **argv, struct run *run, struct choice *choice);

#endif
