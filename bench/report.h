// SPDX-License-Identifier: Apache-2.0
//
// report.h: comparisons, as a table for people, as JSON or as CSV.
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "bench.h"
#include "measure.h"
#include "system.h"

struct report;

enum target_kind {
	TARGET_NONE,
	TARGET_RATIO_AT_MOST,
	TARGET_RATIO_AT_LEAST,
	TARGET_ABSOLUTE_AT_MOST
};

struct target {
	enum target_kind kind;
	double value;
};

struct comparison {
	const char *case_name;
	const char *what; // within the case
	const char *peer, *reference;
	const char *unit; // of both absolute figures; a smaller figure is the better one
	bool latency;     // its percentiles are worth a look
	bool throughput;  // the ratio is that of rates: reference / peer, a greater one the better
	size_t group;     // rounds whose median counts as one figure in the ratio; 0: 1
	struct target target;
};

struct report *report_create(void);
void report_destroy(struct report *report);

// Adds a row: column `peer` of the samples against column `reference`, round by round. A round
// counts if it has both.
void report_compare(struct report *report, const struct comparison *comparison,
		    const struct samples *samples, size_t peer, size_t reference);
// What the peer of that name did when its holders were killed; told in each of its rows.
void report_recovery(struct report *report, const char *peer, const char *what);
// Adds a line that is printed below the table. Equal ones are printed once.
void report_note(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

// What was asked of the run, as it is recorded with its figures.
struct report_head {
	const struct run *run;
	const char *subcommand;
	const struct system_info *system;
	double others; // system_others()
};

void report_print_head(const struct report_head *head);
void report_print_table(const struct report *report, const struct report_head *head,
			bool percentiles);
void report_print_json(const struct report *report, const struct report_head *head);
void report_print_csv(const struct report *report, const struct report_head *head);

#endif
