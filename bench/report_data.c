// SPDX-License-Identifier: Apache-2.0
//
// report_data.c: a report for programs: JSON, and CSV of the same rows.
#include <jansson.h>
#include <leasehold/error.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "process.h"
#include "report_rows.h"

// ---- JSON ----------------------------------------------------------------------------------------
static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *estimate_json(const struct estimate *estimate, bool percentiles)
{
	json_t *json = json_pack("{s:o, s:o, s:o, s:o, s:o, s:I}", "median",
				 number(estimate->median), "low", number(estimate->low), "high",
				 number(estimate->high), "min", number(estimate->min), "max",
				 number(estimate->max), "rounds", (json_int_t)estimate->count);

	if (json && percentiles) {
		json_object_set_new(json, "p50", number(estimate->median));
		json_object_set_new(json, "p90", number(estimate->p90));
		json_object_set_new(json, "p99", number(estimate->p99));
		json_object_set_new(json, "p99.9", number(estimate->p999));
	}
	return json;
}

static json_t *row_json(const struct report *report, const struct row *row)
{
	const struct comparison *comparison = &row->comparison;
	const struct target *target = &comparison->target;
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s?, s:s?}", "case",
		comparison->case_name, "what", comparison->what, "peer", comparison->peer,
		"reference", comparison->reference, "unit", comparison->unit, "ratio_of",
		comparison->throughput ? "throughput" : "figures", "ratio",
		estimate_json(&row->ratio, false), "peer_figure",
		estimate_json(&row->peer, comparison->latency), "reference_figure",
		estimate_json(&row->reference, comparison->latency), "peer_recovers",
		report_recovery_of(report, comparison->peer), "reference_recovers",
		report_recovery_of(report, comparison->reference));

	if (json && row->loop.count)
		json_object_set_new(json, "empty_loop", estimate_json(&row->loop, false));
	if (json && target->kind != TARGET_NONE)
		json_object_set_new(
			json, "target",
			json_pack("{s:s, s:s, s:f, s:s}", "of",
				  target->kind == TARGET_ABSOLUTE_AT_MOST ? "peer_figure" : "ratio",
				  "relation", report_target_sign(target->kind), "value",
				  target->value, "verdict", row->verdict));
	return json;
}

static json_t *system_json(const struct report_head *head)
{
	const struct system_info *system = head->system;
	json_t *json = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o}",
				 "host", system->host, "kernel", system->kernel, "libc",
				 system->libc, "cpus", system->cpus, "cpu_model", system->cpu_model,
				 "governor", system->governor, "pinning", system->pinning, "awake",
				 system->awake, "membarrier", system->membarrier, "futex_waitv",
				 system->futex_waitv, "load_average", number(system->load_average),
				 "others_cpu_share", number(head->others));

	return json ? json : json_null();
}

void report_print_json(const struct report *report, const struct report_head *head)
{
	const struct run *run = head->run;
	json_t *rows = json_array();
	json_t *notes = json_array();

	for (size_t i = 0; i < report->row_count; i++)
		json_array_append_new(rows, row_json(report, &report->rows[i]));
	for (size_t i = 0; i < report->note_count; i++)
		json_array_append_new(notes, json_string(report->notes[i]));
	json_t *json = json_pack("{s:s, s:s, s:i, s:I, s:b, s:f, s:b, s:o, s:o, s:o}", "benchmark",
				 head->subcommand, "version", lh_version(), "layout",
				 (int)lh_layout_version(), "seed", (json_int_t)run->seed, "quick",
				 run->quick, "seconds", run->seconds, "failed", run->failed,
				 "system", system_json(head), "rows", rows, "notes", notes);

	if (!json || json_dumpf(json, stdout, JSON_INDENT(2)) != 0)
		process_die("cannot write the JSON");
	putchar('\n');
	json_decref(json);
}

// ---- CSV: RFC 4180, after lines that begin with # ------------------------------------------------
static void print_text(const char *text)
{
	putchar('"');
	for (; text && *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

// Nothing where there is no figure.
static void print_number(double value)
{
	putchar(',');
	if (isfinite(value))
		printf("%.6g", value);
}

static void print_estimate(const struct estimate *estimate, bool percentiles)
{
	print_number(estimate->median);
	print_number(estimate->min);
	print_number(estimate->max);
	print_number(percentiles ? estimate->p90 : NAN);
	print_number(percentiles ? estimate->p99 : NAN);
	print_number(percentiles ? estimate->p999 : NAN);
}

static void print_row(const struct report *report, const struct row *row)
{
	const struct comparison *comparison = &row->comparison;
	const char *const texts[] = { comparison->case_name,
				      comparison->what,
				      comparison->peer,
				      comparison->reference,
				      comparison->unit,
				      comparison->throughput ? "throughput" : "figures",
				      report_recovery_of(report, comparison->peer),
				      report_recovery_of(report, comparison->reference),
				      row->verdict };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (i)
			putchar(',');
		print_text(texts[i]);
	}
	print_number(row->ratio.median);
	print_number(row->ratio.low);
	print_number(row->ratio.high);
	printf(",%zu", row->ratio.count);
	print_estimate(&row->peer, comparison->latency);
	print_estimate(&row->reference, comparison->latency);
	print_number(row->loop.median);
	putchar('\n');
}

void report_print_csv(const struct report *report, const struct report_head *head)
{
	const struct system_info *system = head->system;

	printf("# benchmark: %s\n# version: %s\n# seed: %llu\n# seconds: %g%s\n# host: %s\n"
	       "# kernel: %s\n# libc: %s\n# cpus: %d\n# cpu_model: %s\n# governor: %s\n"
	       "# pinning: %s\n# awake: %s\n# load_average: %.2f\n# others_cpu_share: %.3f\n",
	       head->subcommand, lh_version(), (unsigned long long)head->run->seed,
	       head->run->seconds, head->run->quick ? " (quick)" : "", system->host, system->kernel,
	       system->libc, system->cpus, system->cpu_model, system->governor, system->pinning,
	       system->awake ? "yes" : "no", system->load_average, head->others);
	printf("case,what,peer,reference,unit,ratio_of,peer_recovers,reference_recovers,verdict,"
	       "ratio,ratio_low,ratio_high,rounds,peer_p50,peer_min,peer_max,peer_p90,peer_p99,"
	       "peer_p99.9,reference_p50,reference_min,reference_max,reference_p90,reference_p99,"
	       "reference_p99.9,empty_loop\n");
	for (size_t i = 0; i < report->row_count; i++)
		print_row(report, &report->rows[i]);
}
