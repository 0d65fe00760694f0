// SPDX-License-Identifier: Apache-2.0
//
// report_rows.h: what a report has collected, for the files that print it.
#ifndef BENCH_REPORT_ROWS_H
#define BENCH_REPORT_ROWS_H

#include "report.h"

struct row {
	struct comparison comparison;
	char *what; // comparison.what, copied
	struct estimate ratio, peer, reference;
	struct estimate
		loop; // what an empty body took, and was subtracted of both; count 0: nothing
	const char *verdict;
};

struct recovery {
	const char *peer, *what;
};

struct report {
	struct row *rows;
	size_t row_count;
	struct recovery *recoveries;
	size_t recovery_count;
	char **notes;
	size_t note_count;
};

// NULL if no holder of it was killed.
const char *report_recovery_of(const struct report *report, const char *peer);
const char *report_target_sign(enum target_kind kind);

#endif
