// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <leasehold/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"
#include "recovers.h"

#define SECONDS 120.0
#define QUICK_SECONDS 2.0

static const struct subcommand *const subcommands[] = {
	&mutex_subcommand,   &rwlock_subcommand,  &semaphore_subcommand,
	&barrier_subcommand, &condvar_subcommand, &once_subcommand,
	&watch_subcommand,   &cell_subcommand,    &locks_subcommand,
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void print_help(void)
{
	printf("Usage: lease-bench SUBCOMMAND [OPTION...]\n"
	       "       lease-bench plot FILE [--case NAME...] [--output BASE]\n"
	       "Compares Leasehold's primitives with the system's, in one run, as ratios.\n"
	       "\n"
	       "  --case NAME          only this case; more than one may be given\n"
	       "  --seconds N          time to measure, shared by all cases (default %.0f, quick "
	       "%.0f)\n"
	       "  --quick              a few rounds of everything, to see that it works\n"
	       "  --seed N             of the order of peers and the pauses (default: the clock)\n"
	       "  --processes N[,N...] how many contend, from 2 to 64, where a case is about that\n"
	       "  --hold NS            mean time that they keep each grant\n"
	       "  --think NS           mean pause after each\n"
	       "  --pin near|far|none  keep each process on a CPU, by hwloc's distances (none)\n"
	       "  --awake              keep the CPUs from idling, by processes at SCHED_IDLE\n"
	       "  --percentiles        a second table, of latencies: p50, p90, p99, p99.9, max\n"
	       "  --json               JSON instead of tables\n"
	       "  --csv                CSV instead of tables\n"
	       "  --handicap PEER=NS   for tests: mutex's and semaphore's PEER is held so much "
	       "longer\n"
	       "                       by each grant, which has to show in its ratios\n"
	       "  --patient PEER       for tests: recovers waits a minute for PEER, not a second, "
	       "before "
	       "it\n"
	       "                       says that PEER hangs; more than one may be given\n"
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

static void choose_case(struct choice *choice, const char *name)
{
	const struct subcommand *subcommand = choice->subcommand;

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

// Returns the name.
static const char *parse_handicap(char *text)
{
	char *equals = strchr(text, '='), *end = NULL;
	const double ns = equals ? strtod(equals + 1, &end) : 0;

	if (!equals || equals == text || end == equals + 1 || *end || !(ns >= 1 && ns <= 1e9))
		usage("not PEER=NS: ", text);
	*equals = '\0';
	peer_set_handicap(text, (uint64_t)ns);
	return text;
}

enum {
	CASE = 256,
	SECONDS_OPTION,
	QUICK,
	SEED,
	HOLD,
	THINK,
	PROCESSES,
	PIN,
	AWAKE,
	JSON,
	CSV,
	PERCENTILES,
	HANDICAP,
	PATIENT,
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
	{ "awake", no_argument, NULL, AWAKE },
	{ "json", no_argument, NULL, JSON },
	{ "csv", no_argument, NULL, CSV },
	{ "percentiles", no_argument, NULL, PERCENTILES },
	{ "handicap", required_argument, NULL, HANDICAP },
	{ "patient", required_argument, NULL, PATIENT },
	{ "help", no_argument, NULL, HELP },
	{ "version", no_argument, NULL, VERSION },
	{ 0 },
};

static bool is_chosen(const struct choice *choice, const char *case_name)
{
	const struct bench_case *cases = choice->subcommand->cases;

	for (size_t i = 0; cases[i].name; i++) {
		if (strcmp(cases[i].name, case_name) == 0)
			return !choice->any_only || choice->only[i];
	}
	return false;
}

// What would be ignored is refused.
static void check_terms(const struct run *run, const struct choice *choice)
{
	const struct subcommand *subcommand = choice->subcommand;

	if (!run->process_count && run->hold_ns < 0 && run->think_ns < 0)
		return;
	for (const char *const *name = subcommand->contests; name && *name; name++) {
		if (is_chosen(choice, *name))
			return;
	}
	usage("--processes, --hold and --think are for no case that was chosen of ",
	      subcommand->name);
}

static bool has_peer(const struct peer_set *set, const char *name)
{
	for (size_t i = 0; i < set->count; i++) {
		if (strcmp(set->peers[i]->name, name) == 0)
			return true;
	}
	return false;
}

// What would slow nothing down is refused.
static void check_handicap(const struct choice *choice)
{
	const struct slowed_case *slowed = choice->subcommand->slowed;

	for (; slowed && slowed->case_name; slowed++) {
		if (is_chosen(choice, slowed->case_name) &&
		    has_peer(slowed->set, choice->handicapped))
			return;
	}
	usage("--handicap: no case that was chosen can slow down ", choice->handicapped);
}

static void apply(int option, struct run *run, struct choice *choice)
{
	switch (option) {
	case CASE:
		if (!choice->subcommand)
			usage("--case wants a sub-command before it", "");
		choose_case(choice, optarg);
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
	case AWAKE:
		choice->awake = true;
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
		choice->handicapped = parse_handicap(optarg);
		break;
	case PATIENT:
		if (!recovers_be_patient(optarg))
			usage("too many --patient", "");
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

void options_parse(int argc, char **argv, struct run *run, struct choice *choice)
{
	int option;

	if (argc > 1 && argv[1][0] != '-') {
		choice->subcommand = find_subcommand(argv[1]);
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		apply(option, run, choice);
	if (optind < argc)
		usage("unexpected argument: ", argv[optind]);
	if (!choice->subcommand)
		usage("which sub-command?", "");
	check_terms(run, choice);
	if (choice->handicapped)
		check_handicap(choice);
	if (!(run->seconds > 0))
		run->seconds = run->quick ? QUICK_SECONDS : SECONDS;
}
