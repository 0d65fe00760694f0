// SPDX-License-Identifier: Apache-2.0
//
// lease-bench: Leasehold's primitives against the system's own. bench.h says how it measures.
#include <errno.h>
#include <getopt.h>
#include <leasehold/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "peer.h"
#include "pin.h"
#include "plot.h"
#include "process.h"
#include "progress.h"
#include "report.h"
#include "system.h"

#define SECONDS 120.0
#define QUICK_SECONDS 6.0
#define CASES 32

static const struct subcommand *const subcommands[] = {
	&mutex_subcommand,   &rwlock_subcommand,  &semaphore_subcommand,
	&barrier_subcommand, &condvar_subcommand, &once_subcommand,
	&watch_subcommand,   &cell_subcommand,    &locks_subcommand,
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

struct choice {
	enum { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV } format;
	bool percentiles;
	enum pin pin;
	bool only[CASES]; // by index in the sub-command's cases; all false: all
	bool any_only;
};

static void print_help(void)
{
	printf("Usage: lease-bench SUBCOMMAND [OPTION...]\n"
	       "       lease-bench plot FILE [--case NAME...] [--output BASE]\n"
	       "Compares Leasehold's primitives with the system's, in one run, as ratios.\n"
	       "\n"
	       "  --case NAME      only this case; more than one may be given\n"
	       "  --seconds N      time to measure, shared by all cases (default %.0f, quick "
	       "%.0f)\n"
	       "  --quick          a few rounds of everything, to see that it works\n"
	       "  --seed N         of the order of peers and the pauses (default: the clock)\n"
	       "  --hold NS, --think NS  mean time of a hold and a pause, in contended cases\n"
	       "  --processes N[,N...]   how many contend there, from 2 to 64\n"
	       "  --pin near|far|none    keep each process on a CPU, by hwloc's distances (none)\n"
	       "  --percentiles    a second table, of latencies: p50, p90, p99, p99.9, maximum\n"
	       "  --json, --csv    JSON or CSV instead of a table\n"
	       "  --handicap PEER=NS  for tests: mutex's and semaphore's PEER is held so much "
	       "longer\n"
	       "                   by each grant, which has to show in its ratios\n"
	       "  --help, --version\n"
	       "\n"
	       "Exit status: 0 whatever the ratios; 1 if a lock let two in, lost a death, or "
	       "anything\n"
	       "failed; 2 if it was called wrongly.\n",
	       SECONDS, QUICK_SECONDS);
	for (size_t i = 0; i < SUBCOMMANDS; i++) {
		printf("\n%s: %s\n", subcommands[i]->name, subcommands[i]->summary);
		for (const struct bench_case *one = subcommands[i]->cases; one->name; one++)
			printf("  %-16s %s\n", one->name, one->summary);
	}
	printf("\nplot: BASE.png and BASE.svg of the ratios in FILE, the JSON or CSV of a run, by "
	       "gnuplot\n");
	printf("\nA ratio is the median over rounds of peer's / other's figure (of throughputs, "
	       "where\n"
	       "the target is >=); the columns after it are its 95 %% interval, the number of "
	       "rounds,\n"
	       "and both figures' medians and extremes.\n");
}

_Noreturn static void usage(const char *problem, const char *what)
{
	fprintf(stderr, "lease-bench: %s%s (see lease-bench --help)\n", problem, what);
	exit(2);
}

static const struct subcommand *find_subcommand(const char *name)
{
	for (size_t i = 0; i < SUBCOMMANDS; i++) {
		if (strcmp(subcommands[i]->name, name) == 0)
			return subcommands[i];
	}
	usage("no such sub-command: ", name);
}

static void choose_case(struct choice *choice, const struct subcommand *subcommand,
			const char *name)
{
	for (size_t i = 0; subcommand->cases[i].name; i++) {
		if (strcmp(subcommand->cases[i].name, name) == 0) {
			choice->only[i] = choice->any_only = true;
			return;
		}
	}
	usage("no such case: ", name);
}

static double parse_seconds(const char *text)
{
	char *end;
	const double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0 && seconds <= 1e6))
		usage("not a number of seconds: ", text);
	return seconds;
}

static uint64_t parse_seed(const char *text)
{
	char *end;

	errno = 0;
	const unsigned long long seed = strtoull(text, &end, 0);
	// JSON's integers have 63 bits.
	if (end == text || *end || *text == '-' || errno || seed > INT64_MAX)
		usage("not a seed: ", text);
	return seed;
}

static double parse_ns(const char *text)
{
	char *end;
	const double ns = strtod(text, &end);

	if (end == text || *end || !(ns >= 0 && ns <= 1e9))
		usage("not a number of ns: ", text);
	return ns;
}

static void parse_processes(struct run *run, const char *text)
{
	for (const char *at = text;; at++) {
		char *end;
		const unsigned long count = strtoul(at, &end, 10);

		if (end == at || (*end && *end != ',') || count < 2 || count > 64 ||
		    run->process_count == RUN_PROCESSES)
			usage("not numbers from 2 to 64: ", text);
		run->processes[run->process_count++] = (uint32_t)count;
		if (!*end)
			return;
		at = end;
	}
}

static enum pin parse_pin(const char *text)
{
	static const char *const names[] = {
		[PIN_NONE] = "none", [PIN_NEAR] = "near", [PIN_FAR] = "far"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], text) == 0)
			return (enum pin)i;
	}
	usage("not near, far or none: ", text);
}

static void parse_handicap(char *text)
{
	char *equals = strchr(text, '='), *end = NULL;
	const double ns = equals ? strtod(equals + 1, &end) : 0;

	if (!equals || equals == text || end == equals + 1 || *end || !(ns >= 1 && ns <= 1e9))
		usage("not PEER=NS: ", text);
	*equals = '\0';
	peer_set_handicap(text, (uint64_t)ns);
}

static void parse_options(int argc, char **argv, const struct subcommand *subcommand,
			  struct run *run, struct choice *choice)
{
	enum {
		CASE = 256,
		SECONDS_OPTION,
		QUICK,
		SEED,
		HOLD,
		THINK,
		PROCESSES,
		PIN,
		JSON,
		CSV,
		PERCENTILES,
		HANDICAP,
		HELP,
		VERSION
	};
	static const struct option options[] = {
		{ "case", required_argument, NULL, CASE },
		{ "seconds", required_argument, NULL, SECONDS_OPTION },
		{ "quick", no_argument, NULL, QUICK },
		{ "seed", required_argument, NULL, SEED },
		{ "hold", required_argument, NULL, HOLD },
		{ "think", required_argument, NULL, THINK },
		{ "processes", required_argument, NULL, PROCESSES },
		{ "pin", required_argument, NULL, PIN },
		{ "json", no_argument, NULL, JSON },
		{ "csv", no_argument, NULL, CSV },
		{ "percentiles", no_argument, NULL, PERCENTILES },
		{ "handicap", required_argument, NULL, HANDICAP },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case CASE:
			if (!subcommand)
				usage("--case wants a sub-command before it", "");
			choose_case(choice, subcommand, optarg);
			break;
		case SECONDS_OPTION:
			run->seconds = parse_seconds(optarg);
			break;
		case QUICK:
			run->quick = true;
			break;
		case SEED:
			run->seed = parse_seed(optarg);
			break;
		case HOLD:
			run->hold_ns = parse_ns(optarg);
			break;
		case THINK:
			run->think_ns = parse_ns(optarg);
			break;
		case PROCESSES:
			parse_processes(run, optarg);
			break;
		case PIN:
			choice->pin = parse_pin(optarg);
			break;
		case JSON:
			choice->format = FORMAT_JSON;
			break;
		case CSV:
			choice->format = FORMAT_CSV;
			break;
		case PERCENTILES:
			choice->percentiles = true;
			break;
		case HANDICAP:
			parse_handicap(optarg);
			break;
		case HELP:
		case 'h':
			print_help();
			exit(0);
		case VERSION:
			printf("lease-bench %s\n", lh_version());
			exit(0);
		default:
			exit(2); // getopt has said why
		}
	}
	if (optind < argc)
		usage("unexpected argument: ", argv[optind]);
}

static void measure(const struct subcommand *subcommand, struct run *run,
		    const struct choice *choice)
{
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
	const struct subcommand *subcommand = NULL;
	struct run run = { .seed = (uint64_t)time(NULL), .hold_ns = -1, .think_ns = -1 };
	struct choice choice = { 0 };

	if (argc > 1 && strcmp(argv[1], "plot") == 0)
		return plot_main(argc - 1, argv + 1);
	if (argc > 1 && argv[1][0] != '-') {
		subcommand = find_subcommand(argv[1]);
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	parse_options(argc, argv, subcommand, &run, &choice);
	if (!subcommand)
		usage("which sub-command?", "");
	if (!(run.seconds > 0))
		run.seconds = run.quick ? QUICK_SECONDS : SECONDS;

	struct system_info system = system_look();

	run.cpus = system.cpus;
	process_init();
	pin_choose(choice.pin, system.pinning, sizeof(system.pinning));
	run.report = report_create();
	struct report_head head = { .run = &run,
				    .subcommand = subcommand->name,
				    .system = &system };
	if (choice.format == FORMAT_TABLE)
		report_print_head(&head);
	system_watch_others();
	measure(subcommand, &run, &choice);
	if (!peer_handicap_applied())
		process_die("--handicap: nothing of that name was locked");
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
	return run.failed ? 1 : 0;
}
