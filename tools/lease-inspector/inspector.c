// SPDX-License-Identifier: Apache-2.0
//
// lease-inspector: looks into Leasehold's arenas, be they live, deserted or damaged. But for break,
// gc and rm it opens them for reading only.

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

// ---- saying -------------------------------------------------------------------------------------

void inspector_say(const char *format, ...)
{
	va_list arguments;

	fflush(stdout); // what was printed before stands before it, in a terminal too
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
	const char *detail = inspector_detail();
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
		return "`" PROGRAM " arenas` shows those there are.";
	case -EACCES:
		return "Look as the user it belongs to; or, if you have permission and only its "
		       "owner is "
		       "unexpected, say --any-owner.";
	case -EBADMSG:
		return "If it is meant to be an arena: end the processes that use it, and remove "
		       "it "
		       "with `" PROGRAM " rm --force`; they make a new one.";
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

	inspector_say("%s: %s", name, text);
	if (advice(error))
		inspector_say("%s", advice(error));
	free(reason);
	free(name);
	free(text);
	return error == -ENOENT ? EXIT_NO_MATCH : EXIT_ERROR;
}

int inspector_no_object(const char *arena, const char *object)
{
	char *name = escape_text(object);
	char *in = escape_text(arena);

	inspector_say("%s: nothing is placed there that is called %s", in, name);
	inspector_say("`" PROGRAM " list %s` shows what is.", in);
	free(name);
	free(in);
	return EXIT_NO_MATCH;
}

bool inspector_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	inspector_say("cannot write the output: %s", strerror(errno));
	return false;
}

static int complain_usage(const char *text, const char *what)
{
	char *escaped = escape_text(what);

	inspector_say("%s%s", text, escaped);
	inspector_say("`" PROGRAM " --help` shows how it is used.");
	free(escaped);
	return EXIT_ERROR;
}

// An option and the letter of `takes` that a verb has which takes it; 0: all do.
static const struct {
	char letter;
	const char *text;
} options_help[] = {
	{ 0, "      --any-owner      look into arenas that belong to neither you nor root\n" },
	{ 0, "  -b, --bytes          sizes in bytes\n" },
	{ 0, "      --color[=WHEN]   colours: auto (the default), always, never; NO_COLOR is "
	     "heeded\n" },
	{ 0, "      --ns             times in nanoseconds, moments as CLOCK_MONOTONIC\n" },
	{ 'j', "  -j, --json           JSON, with exact numbers\n" },
	{ 0, "  -n, --noheadings     no line of headings\n" },
	{ 'o', "  -o, --output LIST    these columns, A,B; or +A,B: these too\n" },
	{ 0, "  -r, --raw            one blank between columns, no padding\n" },
	{ 'w', "  -w, --watch SECONDS  look again and again, with so many seconds in between\n" },
	{ 0, "  -h, --help           with a verb: what it shows\n" },
	{ 0, "  -V, --version\n" },
};

// NULL: of any verb.
static void print_options(const struct verb *verb)
{
	for (size_t i = 0; i < sizeof(options_help) / sizeof(options_help[0]); i++) {
		const char letter = options_help[i].letter;

		// An -o that is not for columns is among the verb's own.
		if (verb && letter &&
		    (!strchr(verb->takes, letter) || (letter == 'o' && !verb->columns)))
			continue;
		fputs(options_help[i].text, stdout);
	}
}

static void print_columns(const struct columns *columns, int extra)
{
	for (size_t i = 0; i < columns->count; i++)
		if (columns->columns[i].heading &&
		    (columns->columns[i].flags & COLUMN_EXTRA) == extra)
			printf(" %s", columns->columns[i].heading);
}

static void print_verb_help(const struct verb *verb)
{
	bool extra = false;

	printf("usage: " PROGRAM " %s [OPTION...]\n\n%s", verb->usage, verb->help);
	if (verb->columns) {
		fputs("\nColumns:", stdout);
		print_columns(verb->columns, 0);
		for (size_t i = 0; i < verb->columns->count; i++)
			extra |= verb->columns->columns[i].flags & COLUMN_EXTRA;
		if (extra)
			fputs("\nand, if asked for:", stdout);
		print_columns(verb->columns, COLUMN_EXTRA);
		putchar('\n');
	}
	puts("\nOther options:");
	print_options(verb);
}

static void print_help(const struct verb *verb)
{
	if (verb) {
		print_verb_help(verb);
		return;
	}
	puts("usage: " PROGRAM " VERB [ARENA] [OPTION...]\n"
	     "\n"
	     "Looks into Leasehold's arenas, be they live, deserted or damaged. Only break, gc and "
	     "rm change\n"
	     "anything. ARENA is a name in /dev/shm, or a path.\n");
	for (size_t i = 0; nth_verb(i); i++)
		fputs(nth_verb(i)->summary, stdout);
	putchar('\n');
	print_options(NULL);
	puts("\nExits 0; 1 if there is no such arena or object, or nobody holds what break is to "
	     "free; "
	     "2 on errors;\ncheck also as above.");
}

// ---- command line -------------------------------------------------------------------------------

enum { OPTION_ANY_OWNER = 256, OPTION_NS, OPTION_COLOUR, OPTION_DRY_RUN };

static const struct option long_options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "any-owner", no_argument, NULL, OPTION_ANY_OWNER },
	{ "bytes", no_argument, NULL, 'b' },
	{ "count", required_argument, NULL, 'c' },
	{ "color", optional_argument, NULL, OPTION_COLOUR },
	{ "delay", required_argument, NULL, 'd' },
	{ "dry-run", no_argument, NULL, OPTION_DRY_RUN },
	{ "force", no_argument, NULL, 'f' },
	{ "ns", no_argument, NULL, OPTION_NS },
	{ "json", no_argument, NULL, 'j' },
	{ "noheadings", no_argument, NULL, 'n' },
	{ "output", required_argument, NULL, 'o' },
	{ "raw", no_argument, NULL, 'r' },
	{ "timeout", required_argument, NULL, 't' },
	{ "watch", required_argument, NULL, 'w' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

struct command {
	struct options options;
	bool help;
	bool version;
	char given[16]; /* of the options that not all verbs have, those there were */
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

static bool read_count(const char *text, uint64_t *ret_count)
{
	char *end;

	errno = 0;
	*ret_count = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !errno && !*end && *ret_count > 0;
}

// no-color.org: any value but an empty one.
static bool read_colour(const char *when, bool *ret_colour)
{
	const char *no_colour = getenv("NO_COLOR");

	if (!when || strcmp(when, "always") == 0)
		*ret_colour = true;
	else if (strcmp(when, "never") == 0)
		*ret_colour = false;
	else if (strcmp(when, "auto") == 0)
		*ret_colour = isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
	else
		return false;
	return true;
}

// EXIT_ERROR when it has said why.
static int read_value(struct options *options, int option, const char *text)
{
	double *seconds = option == 'd'   ? &options->delay
			  : option == 't' ? &options->timeout
					  : &options->watch;

	if (option == 'c')
		return read_count(text, &options->count)
			       ? EXIT_FINE
			       : complain_usage("--count wants a number, not ", text);
	if (option == OPTION_COLOUR)
		return read_colour(text, &options->colour)
			       ? EXIT_FINE
			       : complain_usage("--color wants auto, always or never, not ", text);
	if (option == 'o') {
		options->output = text;
		return EXIT_FINE;
	}
	if (read_seconds(text, seconds))
		return EXIT_FINE;
	return complain_usage(option == 'd'   ? "--delay wants seconds, 0.001 to 86400, not "
			      : option == 't' ? "--timeout wants seconds, 0.001 to 86400, not "
					      : "--watch wants seconds, 0.001 to 86400, not ",
			      text);
}

static void read_flag(struct command *command, int option)
{
	switch (option) {
	case 'a':
		command->options.all = true;
		break;
	case OPTION_ANY_OWNER:
		command->options.open_flags |= LH_ANY_OWNER;
		break;
	case 'b':
		command->options.bytes = true;
		break;
	case 'f':
		command->options.force = true;
		break;
	case OPTION_DRY_RUN:
		command->options.dry_run = true;
		break;
	case OPTION_NS:
		command->options.exact_ns = true;
		break;
	case 'j':
		command->options.json = true;
		break;
	case 'n':
		command->options.no_headings = true;
		break;
	case 'r':
		command->options.raw = true;
		break;
	case 'h':
		command->help = true;
		break;
	default: /* V */
		command->version = true;
		break;
	}
}

// Notes an option that not all verbs take.
static void note_given(struct command *command, int option)
{
	const char letter = option == OPTION_DRY_RUN ? 'y' : (char)option;

	if (option < 128 || option == OPTION_DRY_RUN)
		if (strchr("acdfjotwy", letter) && !strchr(command->given, letter))
			command->given[strlen(command->given)] = letter;
}

// Returns EXIT_FINE, or EXIT_ERROR when it has said why.
static int read_options(int argc, char **argv, struct command *ret_command)
{
	struct command command = { .options = { .open_flags = LH_READ_ONLY, .timeout = 5 } };
	int option;

	read_colour("auto", &command.options.colour);
	while ((option = getopt_long(argc, argv, "abc:d:fjno:rt:w:hV", long_options, NULL)) != -1) {
		if (option == '?') { /* getopt_long has said what is wrong */
			inspector_say("`" PROGRAM " --help` shows how it is used.");
			return EXIT_ERROR;
		}
		note_given(&command, option);
		if (option == OPTION_COLOUR || (option < 128 && strchr("cdotw", option))) {
			if (read_value(&command.options, option, optarg) != EXIT_FINE)
				return EXIT_ERROR;
		} else {
			read_flag(&command, option);
		}
	}
	*ret_command = command;
	return EXIT_FINE;
}

static const char *option_name(char letter)
{
	for (const struct option *option = long_options; option->name; option++)
		if (option->val == letter || (letter == 'y' && option->val == OPTION_DRY_RUN))
			return option->name;
	return "?";
}

// Whether the verb takes the words and options there are.
static int check_command(const struct verb *verb, struct command *command, int words)
{
	const int most = verb->object != OBJECT_NONE ? 3 : verb->run == verb_arenas ? 1 : 2;
	char text[96];

	if (words < 2 && !verb->arena_optional)
		return complain_usage("an arena is missing: " PROGRAM " ", verb->usage);
	if (words < 3 && verb->object == OBJECT_NEEDED)
		return complain_usage("an object is missing: " PROGRAM " ", verb->usage);
	if (words > most)
		return complain_usage("that is a word too many: " PROGRAM " ", verb->usage);
	for (const char *letter = command->given; *letter; letter++) {
		if (strchr(verb->takes, *letter))
			continue;
		snprintf(text, sizeof(text), "--%s does not go with ", option_name(*letter));
		return complain_usage(text, verb->name);
	}
	// JSON has the tree's leases flat, with all their members.
	if (verb->run == verb_tree && command->options.json && command->options.output)
		return complain_usage("--output and --json do not go together with ", verb->name);
	const struct columns *columns = verb->run == verb_list && words < 2 ? &arenas_columns
									    : verb->columns;

	if (!columns || !command->options.output)
		return EXIT_FINE;
	command->options.columns = command->options.output;
	if (columns_are_known(columns->columns, columns->count, command->options.columns))
		return EXIT_FINE;
	snprintf(text, sizeof(text),
		 "`" PROGRAM " %s --help` names the columns; not all there are ", verb->name);
	return complain_usage(text, command->options.columns);
}

// ---- running ------------------------------------------------------------------------------------

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
		if (!inspector_flush())
			return EXIT_ERROR;
		if (options->watch == 0 || result == EXIT_ERROR || result == EXIT_NO_MATCH)
			return result;
		pause_between(options->watch);
		if (!clear && !options->json)
			putchar('\n');
	}
}

int main(int argc, char **argv)
{
	static char output[1 << 16]; // a terminal, too, is not written to line by line
	struct command command;
	const struct verb *verb = NULL;

	setvbuf(stdout, output, _IOFBF, sizeof(output));
	// Characters, for the tree's lines; not numbers, which scripts read.
	setlocale(LC_CTYPE, "");
	if (read_options(argc, argv, &command) != EXIT_FINE)
		return EXIT_ERROR;
	const int words = argc - optind;

	if (command.version) {
		printf(PROGRAM " %s, layout %u\n", lh_version(), (unsigned)lh_layout_version());
		return inspector_flush() ? EXIT_FINE : EXIT_ERROR;
	}
	if (words > 0 && !(verb = find_verb(argv[optind])))
		return complain_usage("there is no verb ", argv[optind]);
	if (command.help) {
		print_help(verb);
		return inspector_flush() ? EXIT_FINE : EXIT_ERROR;
	}
	if (!verb)
		return complain_usage("a verb is missing", "");
	if (check_command(verb, &command, words) != EXIT_FINE)
		return EXIT_ERROR;
	command.options.object = words == 3 ? argv[optind + 2] : NULL;
	return run(verb, &command.options, words > 1 ? argv[optind + 1] : NULL);
}
