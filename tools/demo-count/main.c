// SPDX-License-Identifier: Apache-2.0
//
// demo-count: the acceptance program. Worker processes count the lines, words and bytes of all
// files below a directory, one mutex for each file, while a saboteur (this process) kills them. The
// totals must come out as wc's. count.h tells how the work is laid out.
#include "demo.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static void usage(FILE *stream)
{
	fputs("usage: demo-count [OPTION...] [DIRECTORY]\n"
	      "Counts the files below DIRECTORY (default: /usr/share/doc) with worker processes "
	      "that\n"
	      "are killed at random, again and again until there were enough kills and recoveries, "
	      "and\n"
	      "compares the totals of each pass with `find | wc`. Exits 1 if anything was not as "
	      "it\n"
	      "should be.\n"
	      "  --workers N      at a time (default: 4)\n"
	      "  --kills N        at least so many SIGKILLs (default: 200)\n"
	      "  --recoveries N   at least so many times that a killed worker held a file "
	      "(default: 50);\n"
	      "                   once there were enough kills, only holders are killed\n"
	      "  --kill-every MS  on average; each time between nothing and twice that (default: "
	      "5)\n"
	      "  --seed N         of the saboteur's choices (default: a random one, which is "
	      "printed)\n"
	      "  --give-up S      seconds after which the run fails (default: 600)\n",
	      stream);
}

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	const unsigned long long number = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || number < least || number > most) {
		fprintf(stderr,
			"demo-count: \"%s\" is not a number from %" PRIu64 " to %" PRIu64 "\n",
			text, least, most);
		return false;
	}
	*ret_number = number;
	return true;
}

struct option_value {
	uint64_t least, most, value;
};

enum { WORKERS, KILLS, RECOVERIES, KILL_EVERY, GIVE_UP, SEED, HELP, OPTIONS = HELP };

// Returns false, with ret_status set, if the program is to end at once.
static bool parse_options(int argc, char **argv, struct option_value *values, int *ret_status)
{
	static const struct option options[] = {
		{ "workers", required_argument, NULL, WORKERS },
		{ "kills", required_argument, NULL, KILLS },
		{ "recoveries", required_argument, NULL, RECOVERIES },
		{ "kill-every", required_argument, NULL, KILL_EVERY },
		{ "give-up", required_argument, NULL, GIVE_UP },
		{ "seed", required_argument, NULL, SEED },
		{ "help", no_argument, NULL, HELP },
		{ 0 },
	};
	int option;

	*ret_status = 2;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == HELP) {
			usage(stdout);
			*ret_status = 0;
			return false;
		}
		if (option == '?') {
			usage(stderr);
			return false;
		}
		struct option_value *const value = &values[option];
		if (!parse_number(optarg, value->least, value->most, &value->value))
			return false;
	}
	if (argc - optind > 1) {
		usage(stderr);
		return false;
	}
	return true;
}

// Signals that end the run are blocked and asked for, so that whatever runs is ended in order and
// the arena's name does not stay. One that was ignored at the start stays ignored.
static void block_signals(struct demo *demo)
{
	static const int stops[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action;

	sigemptyset(&demo->stop);
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
		if (sigaction(stops[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&demo->stop, stops[i]);
	demo->wake = demo->stop;
	sigaddset(&demo->wake, SIGCHLD);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &demo->wake, NULL);
}

static bool count_until_enough(struct demo *demo)
{
	const uint64_t start = lh_now();
	struct sum ours, theirs;
	bool equal;

	do {
		if (!run_pass(demo) || !sum_results(demo, &ours))
			return false;
		show_progress(demo, ", find | wc");
		const bool known = reference_counts(demo->directory, &theirs.totals, &theirs.files);
		end_progress(demo);
		notice_signal(demo);
		if (!known)
			return false;
		equal = equal_sums(&ours, &theirs);
	} while (equal && !enough_kills(demo) && !demo->signal);
	if (demo->signal)
		return false;
	print_report(demo, &ours, &theirs, lh_now() - start);
	return check_arena(demo) && equal;
}

static bool run_demo(struct demo *demo, uint64_t seed)
{
	struct file_list list;
	bool good = list_files(demo->directory, &list);

	if (good) {
		printf("%" PRIu32 " files, %.1f MB, below %s; workers: %" PRIu32 "; seed: %" PRIu64
		       "\n",
		       list.files, (double)list.bytes / 1e6, demo->directory, demo->workers, seed);
		fflush(stdout);
		good = create_table(demo->arena_name, &list, demo->workers, &demo->table);
	}
	free_list(&list);
	if (good)
		good = count_until_enough(demo);
	if (!demo->table.arena)
		return false;
	const int unlinked = lh_arena_unlink(demo->arena_name);
	if (unlinked)
		good = complain("unlink", unlinked);
	const int closed = lh_arena_close(demo->table.arena);
	return closed ? complain("close", closed) : good;
}

int main(int argc, char **argv)
{
	struct option_value values[OPTIONS] = {
		[WORKERS] = { 1, WORKERS_MAX, 4 },   [KILLS] = { 0, LIVES_MAX, 200 },
		[RECOVERIES] = { 0, LIVES_MAX, 50 }, [KILL_EVERY] = { 1, 60000, 5 },
		[GIVE_UP] = { 1, 86400, 600 },       [SEED] = { 0, UINT64_MAX, 0 },
	};
	struct demo demo = { .terminal = isatty(STDOUT_FILENO) };
	uint64_t *const seed = &values[SEED].value;
	char directory[PATH_MAX];
	int status;

	if (argc == 4 && strcmp(argv[1], "--worker") == 0)
		return worker_main(argv[2], argv[3]);
	*seed = lh_now();
	if (!parse_options(argc, argv, values, &status))
		return status;
	const char *const wanted = optind < argc ? argv[optind] : "/usr/share/doc";
	if (!realpath(wanted, directory)) {
		fprintf(stderr, "demo-count: %s: %s\n", wanted, strerror(errno));
		return 1;
	}
	demo.directory = directory;
	demo.workers = (uint32_t)values[WORKERS].value;
	demo.kills_wanted = (uint32_t)values[KILLS].value;
	demo.recoveries_wanted = (uint32_t)values[RECOVERIES].value;
	demo.kill_every_ns = LH_MS(values[KILL_EVERY].value);
	demo.give_up_ns = lh_deadline_after(LH_SEC(values[GIVE_UP].value)).ns;
	for (int i = 0; i < 3; i++)
		demo.random[i] = (unsigned short)(*seed >> 16 * i);
	snprintf(demo.arena_name, sizeof(demo.arena_name), "demo-count-%d-%" PRIu64, (int)getpid(),
		 lh_now());
	block_signals(&demo);
	const bool good = run_demo(&demo, *seed);
	if (demo.signal) {
		signal(demo.signal, SIG_DFL);
		sigprocmask(SIG_UNBLOCK, &demo.stop, NULL);
		raise(demo.signal);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "demo-count: cannot write the report\n");
		return 1;
	}
	return good ? 0 : 1;
}
