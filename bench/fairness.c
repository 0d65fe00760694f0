// SPDX-License-Identifier: Apache-2.0
#include "fairness.h"

#include <math.h>
#include <stdio.h>

static const char *const names[FAIRNESS_FIGURES] = {
	[FAIRNESS_SPREAD] = "grants each: stddev/mean",
	[FAIRNESS_LEAST_OF_MOST] = "grants each: (min + 1)/(max + 1)",
};

struct fairness fairness_create(size_t columns)
{
	struct fairness fairness;

	for (int i = 0; i < FAIRNESS_FIGURES; i++)
		fairness.samples[i] = samples_create(columns);
	return fairness;
}

void fairness_destroy(struct fairness *fairness)
{
	for (int i = 0; i < FAIRNESS_FIGURES; i++)
		samples_destroy(fairness->samples[i]);
}

// Grants are whole numbers, so a standard deviation below a half is not told from none; and one more
// than was counted where that may be none.
void fairness_set(struct fairness *fairness, size_t round, size_t column, const uint64_t *grants,
		  uint32_t processes)
{
	double sum = 0, squares = 0, least = INFINITY, most = 0;

	for (uint32_t i = 0; i < processes; i++) {
		const double share = (double)grants[i];

		sum += share;
		squares += share * share;
		least = fmin(least, share);
		most = fmax(most, share);
	}
	const double mean = sum / processes;
	if (!(mean > 0))
		return;
	samples_set(fairness->samples[FAIRNESS_SPREAD], round, column,
		    fmax(sqrt(fmax(squares / processes - mean * mean, 0)), 0.5) / mean);
	samples_set(fairness->samples[FAIRNESS_LEAST_OF_MOST], round, column,
		    (least + 1) / (most + 1));
}

void fairness_report(const struct fairness *fairness, struct report *report,
		     const struct comparison *comparison, size_t peer, size_t reference)
{
	for (int i = 0; i < FAIRNESS_FIGURES; i++) {
		struct comparison row = *comparison;
		char what[96];

		snprintf(what, sizeof(what), "%s, %s", comparison->what, names[i]);
		row.what = what;
		row.unit = "";
		row.throughput = false;
		row.target = (struct target){ TARGET_NONE, 0 };
		report_compare(report, &row, fairness->samples[i], peer, reference);
	}
}
