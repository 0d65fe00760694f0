// SPDX-License-Identifier: Apache-2.0
//
// lease-bench: Leasehold's primitives against the system's own. bench.h says how it measures.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "awake.h"
#include "options.h"
#include "peer.h"
#include "plot.h"
#include "process.h"
#include "progress.h"
#include "report.h"
#include "system.h"

static void measure(struct run *run, const struct choice *choice)
{
	const struct subcommand *subcommand = choice->subcommand;
	double weight = 0;
	size_t number = 0, count = 0;

	for (size_t i = 0; subcommand->cases[i].name; i++) {
		if (!choice->any_only || choice->only[i])
			weight += subcommand->cases[i].weight, count++;
	}
	progress_begin(run->seconds);
	for (size_t i = 0; subcommand->cases[i].name; i++) {
		const struct bench_case *one = &subcommand->cases[i];

		if (choice->any_only && !choice->only[i])
			continue;
		progress_case(one->name, ++number, count);
		one->measure(run, one, run->seconds * one->weight / weight);
	}
	progress_end();
}

int main(int argc, char **argv)
{
	struct run run = { .seed = (uint64_t)time(NULL), .hold_ns = -1, .think_ns = -1 };
	struct choice choice = { 0 };

	if (argc > 1 && strcmp(argv[1], "plot") == 0)
		return plot_main(argc - 1, argv + 1);
	options_parse(argc, argv, &run, &choice);

	struct system_info system = system_look();

	run.cpus = system.cpus;
	process_init();
	pin_choose(choice.pin, system.pinning, sizeof(system.pinning));
	if (choice.awake)
		awake_begin();
	system.awake = choice.awake;
	// The program, too: it sends the kills, and from where must not differ between peers.
	pin_apply(1);
	run.report = report_create();
	struct report_head head = { .run = &run,
				    .subcommand = choice.subcommand->name,
				    .system = &system };
	if (choice.format == FORMAT_TABLE)
		report_print_head(&head);
	system_watch_others();
	measure(&run, &choice);
	if (!peer_handicap_applied())
		process_die("--handicap: nothing was locked by a case that was to be slowed down");
	awake_end();
	head.others = system_others();
	switch (choice.format) {
	case FORMAT_TABLE:
		report_print_table(run.report, &head, choice.percentiles);
		break;
	case FORMAT_JSON:
		report_print_json(run.report, &head);
		break;
	case FORMAT_CSV:
		report_print_csv(run.report, &head);
		break;
	}
	report_destroy(run.report);
	if (fflush(stdout) != 0 || ferror(stdout))
		process_die("the report could not be written");
	return run.failed ? 1 : 0;
}
