// SPDX-License-Identifier: Apache-2.0
//
// fairness.h: how the grants of a slice were shared out among the processes that wanted them.
#ifndef BENCH_FAIRNESS_H
#define BENCH_FAIRNESS_H

#include "measure.h"
#include "report.h"

enum {
	FAIRNESS_SPREAD,        // standard deviation over mean: 0 if all had as many
	FAIRNESS_LEAST_OF_MOST, // the least over the greatest: 1 if all had as many
	FAIRNESS_FIGURES
};

struct fairness {
	struct samples *samples[FAIRNESS_FIGURES];
};

struct fairness fairness_create(size_t columns);
void fairness_destroy(struct fairness *fairness);

// The grants of each in a slice. Nothing is set if there was none at all.
void fairness_set(struct fairness *fairness, size_t round, size_t column, const uint64_t *grants,
		  uint32_t processes);

// A row for each figure: the comparison with what it is about behind its `what`.
void fairness_report(const struct fairness *fairness, struct report *report,
		     const struct comparison *comparison, size_t peer, size_t reference);

#endif
