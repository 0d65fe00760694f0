// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector: looks into Leasehold's arenas, be they live, deserted or damaged, and changes
// nothing in them.

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "inspector.h"

#define PROGRAM "lease-inspector"

struct verb {
	const char *name;
	const char *usage;
	bool arena_optional;
	bool takes_all;
	int (*run)(const struct options *options, const char *arena);
	const char *help;
};

static const struct verb verbs[] = {
	{
		.name = "list",
		.usage = "list [ARENA]",
		.arena_optional = true,
		.takes_all = true,
		.run = verb_list,
		.help = "Without ARENA: the arenas in /dev/shm, with the user's space of each "
			"(SIZE), how many\n"
			"placements, leases, lost leases, holds and waiting leases it has, and "
			"what check says.\n"
			"With ARENA: what is placed in it, where, and the leases that hold it. "
			"COUNT is given\n"
			"for arrays; DATA is the size of each element's data.\n"
			"\n"
			"  -a, --all   name the objects in /dev/shm that cannot be opened as "
			"arenas too, and\n"
			"              why not\n",
	},
	{
		.name = "leases",
		.usage = "leases ARENA",
		.run = verb_leases,
		.help = "The leases: who owns them, how long they have left (EXPIRES), how many "
			"things they\n"
			"hold, what they wait for and how long they have. STATE is live; expired: "
			"its time is\n"
			"up, but the owner may still run; dead: the owner has ended, and what it "
			"held is free;\n"
			"or starting. PID and TID are numbers of the owner's own pid namespace, "
			"which is\n"
			"another one than yours if FLAGS say other-pidns.\n",
	},
	{
		.name = "tree",
		.usage = "tree ARENA",
		.takes_all = true,
		.run = verb_tree,
		.help = "Who waits for whom. Below each lease stands what it holds, below that who "
			"waits for\n"
			"it, and so on: those at the left margin wait for nobody. FOR is how long "
			"something has\n"
			"been held (where a clock was read) or waited for. A cycle of leases that "
			"wait for each\n"
			"other is marked DEADLOCK; \"damaged\" is what a lost holder left and "
			"nobody has\n"
			"declared consistent yet.\n"
			"\n"
			"  -a, --all   show leases that neither hold nor wait too\n",
	},
	{
		.name = "history",
		.usage = "history ARENA",
		.run = verb_history,
		.help = "What had to be recovered, oldest first: owners that died, leases that "
			"expired, leased\n"
			"memory given back, deadlocks broken, owners killed, damage met. LEASE, "
			"PID, TID and\n"
			"COMMAND are those of the lost owner, BY is the process that noticed. TIME "
			"is reckoned\n"
			"back from now and wrong by as much as the clock was set since. The arena "
			"keeps the\n"
			"newest events only.\n",
	},
	{
		.name = "check",
		.usage = "check ARENA",
		.run = verb_check,
		.help = "Audits the whole arena, prints what it finds, and exits with the worst of "
			"it:\n"
			"  0  clean\n"
			"  3  stale: a lost lease that nobody has cleared away yet; harmless\n"
			"  4  deadlock: leases wait for each other in a cycle\n"
			"  5  corrupt: it is no arena, or something but the library wrote to it\n"
			"and with 1 if it cannot be opened for another reason.\n",
	},
};

enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

// ---- saying -------------------------------------------------------------------------------------

void inspector_say(const char *format, ...)
{
	va_list arguments;

	fputs(PROGRAM ": ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void *inspector_need(void *pointer)
{
	if (!pointer) {
		inspector_say("out of memory; try again when there is more");
		exit(EXIT_ERROR);
	}
	return pointer;
}

char *inspector_reason(int error)
{
	const char *detail = lh_error_detail();
	char *reason;

	if (asprintf(&reason, "%s%s%s%s", lh_strerror(error), *detail ? " (" : "", detail,
		     *detail ? ")" : "") < 0)
		inspector_need(NULL);
	return reason;
}

static const char *advice(int error)
{
	switch (error) {
	case -ENOENT:
		return "`" PROGRAM " list` shows the arenas there are.";
	case -EACCES:
		return "Look as the user it belongs to; or, if you have permission and only its "
		       "owner is "
		       "unexpected, say --any-owner.";
	case -EBADMSG:
		return "`" PROGRAM " check` says what to do about a damaged arena.";
	case -EPROTONOSUPPORT:
		return "Look with the " PROGRAM
		       " of the version that made it, on the machine and since "
		       "the boot it was made in. If no process uses it any more, remove it.";
	case -EINVAL:
		return "ARENA is the name that programs give to lh_arena_open, or the path of a "
		       "file on "
		       "tmpfs.";
	default:
		return NULL;
	}
}

int inspector_complain(const char *arena, int error)
{
	char *reason = inspector_reason(error);
	char *name = escape_text(arena);
	char *text = escape_text(reason);

	fflush(stdout);
	inspector_say("%s: %s", name, text);
	if (advice(error))
		inspector_say("%s", advice(error));
	free(reason);
	free(name);
	free(text);
	return EXIT_ERROR;
}

static int complain_usage(const char *text, const char *what)
{
	char *escaped = escape_text(what);

	inspector_say("%s%s", text, escaped);
	inspector_say("`" PROGRAM " --help` shows how it is used.");
	free(escaped);
	return EXIT_USAGE;
}

static const char options_help
	[] = "      --any-owner      look into arenas that belong to neither you nor root\n"
	     "  -b, --bytes          sizes in bytes\n"
	     "      --ns             times in nanoseconds, moments as CLOCK_MONOTONIC\n"
	     "  -j, --json           JSON, with exact numbers\n"
	     "  -n, --no-headings    no line of headings\n"
	     "  -w, --watch SECONDS  look again and again, with so many seconds in between\n"
	     "  -h, --help           with a verb: what it shows\n"
	     "  -V, --version\n";

static void print_help(const struct verb *verb)
{
	if (verb) {
		printf("usage: " PROGRAM " %s [OPTION...]\n\n%s", verb->usage, verb->help);
		printf("\nOptions of all verbs:\n%s", options_help);
		return;
	}
	puts("usage: " PROGRAM " VERB [ARENA] [OPTION...]\n"
	     "\n"
	     "Looks into Leasehold's arenas, be they live, deserted or damaged, and changes "
	     "nothing.\n"
	     "ARENA is a name in /dev/shm, or a path.\n"
	     "\n"
	     "  list            the arenas there are\n"
	     "  list ARENA      what is placed in it, and who holds it\n"
	     "  leases ARENA    who has leases, until when, and what they wait for\n"
	     "  tree ARENA      who waits for whom\n"
	     "  history ARENA   what had to be recovered\n"
	     "  check ARENA     audit; exits 0: clean, 3: stale, 4: deadlock, 5: corrupt\n");
	printf("%s", options_help);
	puts("\nExits 0; 1 on errors; 2 if it is used wrongly; check also as above.");
}

// ---- command line -------------------------------------------------------------------------------

enum { OPTION_ANY_OWNER = 256, OPTION_NS };

static const struct option long_options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "any-owner", no_argument, NULL, OPTION_ANY_OWNER },
	{ "bytes", no_argument, NULL, 'b' },
	{ "ns", no_argument, NULL, OPTION_NS },
	{ "json", no_argument, NULL, 'j' },
	{ "no-headings", no_argument, NULL, 'n' },
	{ "watch", required_argument, NULL, 'w' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

struct command {
	struct options options;
	bool help;
	bool version;
};

static bool read_seconds(const char *text, double *ret_seconds)
{
	char *end;
	const double seconds = strtod(text, &end);

	// A millisecond to a day.
	if (end == text || *end || !isfinite(seconds) || seconds < 0.001 || seconds > 86400)
		return false;
	*ret_seconds = seconds;
	return true;
}

// Returns EXIT_FINE, or EXIT_USAGE when it has said why.
static int read_options(int argc, char **argv, struct command *ret_command)
{
	struct command command = { .options.open_flags = LH_READ_ONLY };
	int option;

	while ((option = getopt_long(argc, argv, "abjnw:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'a':
			command.options.all = true;
			break;
		case OPTION_ANY_OWNER:
			command.options.open_flags |= LH_ANY_OWNER;
			break;
		case 'b':
			command.options.bytes = true;
			break;
		case OPTION_NS:
			command.options.exact_ns = true;
			break;
		case 'j':
			command.options.json = true;
			break;
		case 'n':
			command.options.no_headings = true;
			break;
		case 'w':
			if (!read_seconds(optarg, &command.options.watch))
				return complain_usage("--watch wants seconds, 0.001 to 86400, not ",
						      optarg);
			break;
		case 'h':
			command.help = true;
			break;
		case 'V':
			command.version = true;
			break;
		default: /* getopt_long has said what is wrong */
			inspector_say("`" PROGRAM " --help` shows how it is used.");
			return EXIT_USAGE;
		}
	}
	*ret_command = command;
	return EXIT_FINE;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

// ---- running ------------------------------------------------------------------------------------

static bool flush_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	inspector_say("cannot write the output: %s", strerror(errno));
	return false;
}

static void pause_between(double seconds)
{
	struct timespec rest = { .tv_sec = (time_t)seconds };

	rest.tv_nsec = (long)((seconds - (double)rest.tv_sec) * 1e9);
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR)
		;
}

static int run(const struct verb *verb, const struct options *options, const char *arena)
{
	const bool clear = options->watch > 0 && !options->json && isatty(STDOUT_FILENO);
	int result;

	for (;;) {
		if (clear)
			fputs("\033[H\033[2J", stdout);
		// Opened anew each time, so that a successor of the same name is seen.
		result = verb->run(options, arena);
		if (!flush_output())
			return EXIT_ERROR;
		if (options->watch == 0 || result == EXIT_ERROR)
			return result;
		pause_between(options->watch);
		if (!clear && !options->json)
			putchar('\n');
	}
}

int main(int argc, char **argv)
{
	struct command command;
	const struct verb *verb = NULL;

	// Characters, for the tree's lines; not numbers, which scripts read.
	setlocale(LC_CTYPE, "");
	if (read_options(argc, argv, &command) != EXIT_FINE)
		return EXIT_USAGE;
	const int words = argc - optind;

	if (command.version) {
		printf(PROGRAM " %s, layout %u\n", lh_version(), (unsigned)lh_layout_version());
		return flush_output() ? EXIT_FINE : EXIT_ERROR;
	}
	if (words > 0 && !(verb = find_verb(argv[optind])))
		return complain_usage("there is no verb ", argv[optind]);
	if (command.help) {
		print_help(verb);
		return flush_output() ? EXIT_FINE : EXIT_ERROR;
	}
	if (!verb)
		return complain_usage("a verb is missing: list, leases, tree, history or check",
				      "");
	if (words < 2 && !verb->arena_optional)
		return complain_usage("an arena is missing: " PROGRAM " ", verb->usage);
	if (words > 2)
		return complain_usage("one arena at a time, so not also ", argv[optind + 2]);
	if (command.options.all && !verb->takes_all)
		return complain_usage("--all goes with list and tree, not with ", verb->name);
	return run(verb, &command.options, words == 2 ? argv[optind + 1] : NULL);
}
