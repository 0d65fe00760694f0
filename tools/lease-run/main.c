// SPDX-License-Identifier: Apache-2.0
//
// lease-run: runs a command while it holds a named lock.

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lease_run.h"

#define DEFAULT_KILL_AFTER_NS LH_SEC(10)
#define SLOTS_MOST 65535

// ---- saying -------------------------------------------------------------------------------------

void say(const char *format, ...)
{
	va_list arguments;
	char text[1024];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	// One call, so that the lines of many at once stay whole.
	fprintf(stderr, PROGRAM ": %s\n", text);
}

int say_system(const char *what)
{
	say("%s: %s", what, strerror(errno));
	return EXIT_SYSTEM;
}

const char *shown(const char *text, char buffer[SHOWN_TEXT])
{
	size_t length = 0;

	for (; text[length] && length < SHOWN_TEXT - 4; length++)
		buffer[length] = (char)(text[length] >= ' ' && text[length] <= '~' ? text[length]
										   : '?');
	memcpy(buffer + length, text[length] ? "..." : "", text[length] ? 4 : 1);
	return buffer;
}

static int complain_usage(const char *text, const char *what)
{
	char buffer[SHOWN_TEXT];

	say("%s%s", text, shown(what, buffer));
	say("`" PROGRAM " --help` shows how it is used.");
	return EXIT_USAGE;
}

static void print_help(void)
{
	puts("usage: " PROGRAM " [OPTION...] NAME [--] COMMAND [ARGUMENT...]\n"
	     "\n"
	     "Runs COMMAND while it holds the lock NAME. The lock is free again when COMMAND or\n"
	     "" PROGRAM " ends in any way; COMMAND never goes on without it.\n"
	     "\n"
	     "  -n, --nonblock          do not wait for the lock\n"
	     "  -w, --wait DURATION     wait for so long at most\n"
	     "  -x, --exclusive         nobody else holds it meanwhile (the default)\n"
	     "  -s, --shared            others may hold it shared, too\n"
	     "  -j, --slots COUNT       up to COUNT may hold it; all say the same COUNT\n"
	     "  -E, --conflict-exit-code CODE\n"
	     "                          exit code when the lock was not to be had (75)\n"
	     "  -F, --no-fork           become COMMAND instead of waiting for it\n"
	     "      --ttl DURATION      the lock is lost when it is not renewed for so long (30s)\n"
	     "      --on-lost=term|kill|ignore\n"
	     "                          what becomes of COMMAND when the lock is lost (term)\n"
	     "  -k, --kill-after DURATION\n"
	     "                          from SIGTERM to SIGKILL, with --on-lost=term (10s)\n"
	     "      --url URL           where the lock is kept ($LEASE_URL, else your own arena,\n"
	     "                          shm://lease-run-UID)\n"
	     "  -v, --verbose           say what is waited for, and who holds it\n"
	     "  -h, --help\n"
	     "  -V, --version\n"
	     "\n"
	     "A DURATION is seconds, fractions allowed, or has a unit: ms, s, m, h, d.\n"
	     "\n"
	     "COMMAND finds LEASE_NAME, LEASE_TOKEN, LEASE_SLOT, LEASE_URL and LEASE_OWNER_DIED "
	     "in\n"
	     "its environment.\n"
	     "\n"
	     "Exits as COMMAND does; 128 + N if the signal N killed it; 75 if the lock was not to "
	     "be\n"
	     "had, 79 if it was lost while COMMAND ran, 69 on other errors of the lock, 71 of the\n"
	     "system, 64 if it is used wrongly, 126 if COMMAND cannot be executed, 127 if there "
	     "is\n"
	     "none.");
}

// ---- command line -------------------------------------------------------------------------------

enum { OPTION_TTL = 256, OPTION_ON_LOST, OPTION_URL };

static const struct option long_options[] = {
	{ "nonblock", no_argument, NULL, 'n' },
	{ "wait", required_argument, NULL, 'w' },
	{ "exclusive", no_argument, NULL, 'x' },
	{ "shared", no_argument, NULL, 's' },
	{ "slots", required_argument, NULL, 'j' },
	{ "conflict-exit-code", required_argument, NULL, 'E' },
	{ "no-fork", no_argument, NULL, 'F' },
	{ "ttl", required_argument, NULL, OPTION_TTL },
	{ "on-lost", required_argument, NULL, OPTION_ON_LOST },
	{ "kill-after", required_argument, NULL, 'k' },
	{ "url", required_argument, NULL, OPTION_URL },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static bool read_duration(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = { { "", 1e9 },   { "ms", 1e6 },   { "s", 1e9 },
		      { "m", 60e9 }, { "h", 3600e9 }, { "d", 86400e9 } };
	char *end;
	double number;

	// strtod would take blanks, signs, "inf" and hexadecimal digits, too.
	if (!isdigit((unsigned char)text[0]) && text[0] != '.')
		return false;
	if (tolower((unsigned char)text[strspn(text, "0123456789.")]) == 'x')
		return false;
	number = strtod(text, &end);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (end == text || strcmp(end, units[i].name) != 0)
			continue;
		number *= units[i].ns;
		if (!isfinite(number) || number > 1e18)
			return false;
		*ret_ns = (uint64_t)ceil(number);
		return true;
	}
	return false;
}

static bool read_number(const char *text, unsigned long least, unsigned long most,
			unsigned long *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*ret_number = strtoul(text, &end, 10);
	return !errno && !*end && *ret_number >= least && *ret_number <= most;
}

static bool read_on_lost(const char *text, enum on_lost *ret_on_lost)
{
	static const char *const names[] = {
		[ON_LOST_TERM] = "term", [ON_LOST_KILL] = "kill", [ON_LOST_IGNORE] = "ignore"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret_on_lost = (enum on_lost)i;
			return true;
		}
	}
	return false;
}

// An option with an argument. 0, or EXIT_USAGE when it has said why.
static int read_argument(int option, const char *text, struct options *options)
{
	unsigned long number;
	uint64_t ns;

	switch (option) {
	case 'w':
		if (!read_duration(text, &ns))
			return complain_usage("--wait wants a duration, as 10, 0.5 or 3m, not ",
					      text);
		options->deadline = ns ? lh_deadline_after(ns) : LH_NOW;
		return 0;
	case 'j':
		if (!read_number(text, 1, SLOTS_MOST, &number))
			return complain_usage("--slots wants a number, 1 to 65535, not ", text);
		options->slots = (uint32_t)number;
		return 0;
	case 'E':
		if (!read_number(text, 0, 255, &number))
			return complain_usage("--conflict-exit-code wants a number, 0 to 255, not ",
					      text);
		options->conflict_code = (int)number;
		return 0;
	case OPTION_TTL:
		if (!read_duration(text, &options->ttl_ns) || !options->ttl_ns)
			return complain_usage("--ttl wants a duration, as 500ms, 30s or 5m, not ",
					      text);
		return 0;
	case 'k':
		if (!read_duration(text, &options->kill_after_ns))
			return complain_usage("--kill-after wants a duration, as 10 or 1m, not ",
					      text);
		return 0;
	default: // OPTION_ON_LOST
		if (!read_on_lost(text, &options->on_lost))
			return complain_usage("--on-lost wants term, kill or ignore, not ", text);
		return 0;
	}
}

struct command_line {
	const char *url;
	bool shared, exclusive;
	bool help, version;
};

// Options end at the first word that is none: what follows belongs to the command. 0, or
// EXIT_USAGE when it has said why.
static int read_options(int argc, char **argv, struct options *options, struct command_line *line)
{
	int option, error = 0;

	while (!error &&
	       (option = getopt_long(argc, argv, "+nw:xesj:E:Fk:vhV", long_options, NULL)) != -1) {
		switch (option) {
		case 'n':
			options->deadline = LH_NOW;
			break;
		case 'x':
		case 'e': // as flock(1) has it
			line->exclusive = true;
			break;
		case 's':
			line->shared = true;
			break;
		case 'F':
			options->no_fork = true;
			break;
		case OPTION_URL:
			line->url = optarg;
			break;
		case 'v':
			options->verbose = true;
			break;
		case 'h':
			line->help = true;
			break;
		case 'V':
			line->version = true;
			break;
		case '?': // getopt_long has said what is wrong
			say("`" PROGRAM " --help` shows how it is used.");
			return EXIT_USAGE;
		default:
			error = read_argument(option, optarg, options);
		}
	}
	return error;
}

// NAME [--] COMMAND [ARGUMENT...]
static int read_words(char **words, struct options *options)
{
	if (!words[0])
		return complain_usage("the lock's NAME is missing, and the COMMAND", "");
	options->name = words[0];
	if (strlen(options->name) > LH_KEY_MAX)
		return complain_usage("the NAME has more than 1024 bytes: ", options->name);
	words++;
	if (words[0] && strcmp(words[0], "--") == 0)
		words++;
	else if (words[0] && words[0][0] == '-')
		return complain_usage("options come before the NAME, and `--` before a COMMAND "
				      "that begins with `-`, as ",
				      words[0]);
	if (!words[0])
		return complain_usage("the COMMAND is missing, to be run with ", options->name);
	options->command = words;
	return 0;
}

static int check_options(const struct options *options, const struct command_line *line)
{
	if (line->shared && line->exclusive)
		return complain_usage("--shared or --exclusive, not both", "");
	if (options->slots && (line->shared || line->exclusive))
		return complain_usage("--slots is neither --shared nor --exclusive", "");
	return 0;
}

// ---- the URL ------------------------------------------------------------------------------------

// Cuts `size` bytes out of the text.
static void cut(char *from, size_t size)
{
	memmove(from, from + size, strlen(from + size) + 1);
}

// Takes passwords out, be they before an '@' or a parameter. A password may hold any byte: better
// too much is taken out than too little.
static void remove_passwords(char *url)
{
	static const char parameter[] = "password=";
	char *rest = strstr(url, "://");
	char *query, *at, *colon;

	if (!rest || strncmp(url, "shm:", 4) == 0 || strncmp(url, "file:", 5) == 0)
		return;
	rest += 3;
	at = strrchr(rest, '@');
	colon = strchr(rest, ':');
	if (at && colon && colon < at)
		cut(colon, (size_t)(at - colon));
	query = strchr(rest, '?');
	while (query && (query = strcasestr(query, parameter)) != NULL) {
		query += sizeof(parameter) - 1;
		cut(query, strcspn(query, "&"));
	}
}

static int set_url(struct options *options, const char *given)
{
	const char *inherited = getenv("LEASE_URL");

	if (!given && inherited && *inherited)
		given = inherited;
	if (given)
		options->url = strdup(given);
	else if (asprintf(&options->url, "shm://lease-run-%u", (unsigned)geteuid()) < 0)
		options->url = NULL;
	options->shown_url = options->url ? strdup(options->url) : NULL;
	if (!options->shown_url)
		return say_system("no memory");
	remove_passwords(options->shown_url);
	return 0;
}

// ---- running ------------------------------------------------------------------------------------

// None of our own descriptors is to take the place of one that the command expects to be closed.
static int reserve_standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
			return say_system("/dev/null");
	}
	return 0;
}

static int flush_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return say_system("cannot write the output");
}

// Runs what the words and options say. Returns the exit code.
static int run(char **words, struct options *options, const struct command_line *line)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	int error = read_words(words, options);

	if (!error)
		error = check_options(options, line);
	if (!error)
		error = set_url(options, line->url);
	if (error)
		return error;
	options->mode = line->shared ? LH_SHARED : LH_EXCLUSIVE;
	// Where SIGCHLD is ignored nobody can wait for his children.
	sigaction(SIGCHLD, &plain, &options->child_action);
	sigprocmask(SIG_SETMASK, NULL, &options->mask);
	return options->no_fork ? front_become(options) : front_run(options);
}

int main(int argc, char **argv)
{
	struct options options = { .deadline = LH_FOREVER,
				   .conflict_code = EXIT_CONFLICT,
				   .kill_after_ns = DEFAULT_KILL_AFTER_NS };
	struct command_line line = { .url = NULL };
	int code = reserve_standard_descriptors();

	if (!code)
		code = read_options(argc, argv, &options, &line);
	if (code)
		return code;
	if (line.version) {
		printf(PROGRAM " %s\n", lh_version());
		return flush_output();
	}
	if (line.help) {
		print_help();
		return flush_output();
	}
	code = run(argv + optind, &options, &line);
	free(options.url);
	free(options.shown_url);
	return code;
}
