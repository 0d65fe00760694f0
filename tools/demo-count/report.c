// SPDX-License-Identifier: Apache-2.0
//
// report.c: what came out.
#include "demo.h"

#include <inttypes.h>
#include <stdlib.h>

uint32_t count_recoveries(const struct run *run, uint64_t *ret_times)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < run->lives; i++) {
		const uint64_t granted = run->life[i].granted_ns;

		if (granted == 0)
			continue;
		if (ret_times)
			ret_times[count] = granted - run->life[i].killed_ns;
		count++;
	}
	return count;
}

static int compare_times(const void *left, const void *right)
{
	const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

// The smallest of the times, which are sorted, that `percent` of them do not exceed.
static double percentile_ms(const uint64_t *times, uint32_t count, uint32_t percent)
{
	const uint64_t rank = ((uint64_t)count * percent + 99) / 100;

	return (double)times[rank - 1] / 1e6;
}

static void print_recoveries(const struct run *run)
{
	uint64_t *const times = malloc((run->lives + 1u) * sizeof(uint64_t));
	const uint32_t count = count_recoveries(run, times);

	printf("recoveries     %" PRIu32 " (told that a file's holder had died; counted anew)\n",
	       count);
	if (times && count > 0) {
		qsort(times, count, sizeof(uint64_t), compare_times);
		printf("recovery time  from SIGKILL to that grant: median %.2f ms, p99 %.2f ms\n",
		       percentile_ms(times, count, 50), percentile_ms(times, count, 99));
	}
	free(times);
}

bool equal_sums(const struct sum *left, const struct sum *right)
{
	return left->files == right->files && left->totals.lines == right->totals.lines &&
	       left->totals.words == right->totals.words &&
	       left->totals.bytes == right->totals.bytes;
}

static void print_sum(const char *whose, const struct sum *sum)
{
	printf("%-13s%10" PRIu32 "%14" PRIu64 "%14" PRIu64 "%16" PRIu64 "\n", whose, sum->files,
	       sum->totals.lines, sum->totals.words, sum->totals.bytes);
}

void print_report(const struct demo *demo, const struct sum *ours, const struct sum *theirs,
		  uint64_t elapsed_ns)
{
	const struct run *const run = demo->table.run;

	printf("passes         %" PRIu32 " over all files, in %.1f s\n", run->pass,
	       (double)elapsed_ns / 1e9);
	printf("kills          %" PRIu32 "\n", demo->kills);
	print_recoveries(run);
	printf("%-13s%10s%14s%14s%16s\n", "", "files", "lines", "words", "bytes");
	print_sum("workers", ours);
	print_sum("find | wc", theirs);
	if (equal_sums(ours, theirs))
		printf("equal          in every pass\n");
	else
		printf("NOT equal      in pass %" PRIu32 "\n", run->pass);
}

// Prints what is worse than the severity that `context` points to.
static void report_finding(void *context, int severity, uint64_t offset, const char *text)
{
	const int *const tolerated = context;

	if (severity > *tolerated)
		printf("arena          at %" PRIu64 ": %s\n", offset, text);
}

// A worker that was killed while it held nothing may have left its lease, which the next one that
// wants its slot would clear; lh_remove does so too, and refuses if a file is still held or waited
// for. After it nothing may be left.
bool check_arena(const struct demo *demo)
{
	int tolerated = LH_CHECK_STALE;
	const int before = lh_arena_check(demo->table.arena, report_finding, &tolerated);
	const int error = lh_remove(demo->table.arena, lh_mutex_offset(&demo->table.mutexes));

	tolerated = LH_CHECK_CLEAN;
	const int after = lh_arena_check(demo->table.arena, report_finding, &tolerated);
	const bool clean = !error && before <= LH_CHECK_STALE && after == LH_CHECK_CLEAN;

	if (error)
		complain("mutexes", error);
	printf("arena          %s\n",
	       clean ? "clean: no lease, held file or wait is left over" : "NOT clean");
	return clean;
}
