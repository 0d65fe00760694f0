// SPDX-License-Identifier: Apache-2.0
//
// plot.c: the ratios of a run, with their intervals, as PNG and SVG. What is drawn is read from the
// JSON or CSV that the run wrote; gnuplot draws it, run as a program with its commands on standard
// input.
#include "plot.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASES 32
#define CSV_COLUMNS 64

struct bar {
	double ratio, low, high;
	char *label;
};

struct plot {
	const char *file, *base;
	const char *cases[CASES]; // drawn alone; none: all
	size_t case_count;
	struct bar *bars;
	size_t count;
	char title[256];
};

__attribute__((format(printf, 1, 2))) _Noreturn static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "lease-bench plot: ");
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static bool wanted(const struct plot *plot, const char *name)
{
	for (size_t i = 0; i < plot->case_count; i++) {
		if (strcmp(plot->cases[i], name) == 0)
			return true;
	}
	return plot->case_count == 0;
}

// A row without a ratio, such as that of a lock that hangs, has no bar.
static void add_bar(struct plot *plot, const char *const texts[5], double ratio, double low,
		    double high)
{
	if (!wanted(plot, texts[0]) || !(ratio > 0) || !(low > 0) || !isfinite(ratio) ||
	    !isfinite(high))
		return;
	plot->bars = reallocarray(plot->bars, plot->count + 1, sizeof(*plot->bars));
	if (!plot->bars)
		fail("out of memory");
	struct bar *bar = &plot->bars[plot->count++];
	*bar = (struct bar){ ratio, low, high, NULL };
	if (asprintf(&bar->label, "%s, %s: %s / %s%s", texts[0], texts[1], texts[2], texts[3],
		     strcmp(texts[4], "throughput") == 0 ? " (throughput)" : "") < 0)
		fail("out of memory");
	for (char *at = bar->label; *at; at++) {
		if (strchr("\"\\`", *at) || (unsigned char)*at < ' ')
			*at = '\'';
	}
}

// ---- reading -------------------------------------------------------------------------------------
static void read_json(struct plot *plot, FILE *file)
{
	json_error_t error;
	json_t *root = json_loadf(file, 0, &error), *row;
	const char *benchmark = "?", *host = "?";
	size_t i;

	if (!root)
		fail("%s:%d: %s", plot->file, error.line, error.text);
	if (json_unpack(root, "{s:s, s:{s:s}}", "benchmark", &benchmark, "system", "host", &host) !=
	    0)
		fail("%s is JSON, but not of lease-bench", plot->file);
	snprintf(plot->title, sizeof(plot->title), "lease-bench %s on %s", benchmark, host);
	json_array_foreach(json_object_get(root, "rows"), i, row)
	{
		const char *texts[5];
		double ratio, low, high;

		if (json_unpack(row, "{s:s, s:s, s:s, s:s, s:s, s:{s:F, s:F, s:F}}", "case",
				&texts[0], "what", &texts[1], "peer", &texts[2], "reference",
				&texts[3], "ratio_of", &texts[4], "ratio", "median", &ratio, "low",
				&low, "high", &high) == 0)
			add_bar(plot, texts, ratio, low, high);
	}
	json_decref(root);
}

// Splits a line of RFC 4180 where it stands; how many fields it has.
static size_t split(char *line, char *fields[CSV_COLUMNS])
{
	size_t count = 0;
	char *from = line;

	while (count < CSV_COLUMNS) {
		const bool quoted = *from == '"';
		char *to = from += quoted;

		fields[count++] = from;
		while (*from && (quoted || !strchr(",\r\n", *from))) {
			if (quoted && *from == '"' && *++from != '"')
				break;
			*to++ = *from++;
		}
		const bool more = *from == ',';
		*to = '\0';
		if (!more)
			break;
		from++;
	}
	return count;
}

static void read_csv(struct plot *plot, FILE *file)
{
	static const char *const wanted_columns[] = {
		"case", "what", "peer", "reference", "ratio_of", "ratio", "ratio_low", "ratio_high"
	};
	enum { WANTED = sizeof(wanted_columns) / sizeof(wanted_columns[0]) };
	size_t at[WANTED], size = 0, columns = 0;
	char *line = NULL, *fields[CSV_COLUMNS];

	snprintf(plot->title, sizeof(plot->title), "%s", plot->file);
	while (getline(&line, &size, file) > 0) {
		if (line[0] == '#') {
			if (sscanf(line, "# benchmark: %64[^\n]", plot->title + 12) == 1)
				memcpy(plot->title, "lease-bench ", 12);
			continue;
		}
		const size_t count = split(line, fields);
		if (columns == 0) {
			columns = count;
			for (size_t i = 0; i < WANTED; i++) {
				for (at[i] = 0; at[i] < count; at[i]++) {
					if (strcmp(fields[at[i]], wanted_columns[i]) == 0)
						break;
				}
				if (at[i] == count)
					fail("%s has no column %s", plot->file, wanted_columns[i]);
			}
			continue;
		}
		if (count != columns)
			fail("%s: a line has %zu fields, not %zu", plot->file, count, columns);
		const char *const texts[5] = { fields[at[0]], fields[at[1]], fields[at[2]],
					       fields[at[3]], fields[at[4]] };
		add_bar(plot, texts, strtod(fields[at[5]], NULL), strtod(fields[at[6]], NULL),
			strtod(fields[at[7]], NULL));
	}
	free(line);
}

static void read_run(struct plot *plot)
{
	FILE *file = fopen(plot->file, "re");

	if (!file)
		fail("%s: %s", plot->file, strerror(errno));
	int first = getc(file);
	while (first == ' ' || first == '\n' || first == '\t')
		first = getc(file);
	ungetc(first, file);
	if (first == '{')
		read_json(plot, file);
	else
		read_csv(plot, file);
	fclose(file);
	if (plot->count == 0)
		fail("%s: no ratio to draw", plot->file);
}

// ---- drawing -------------------------------------------------------------------------------------
// A run file may come from anybody. gnuplot expands nothing in single quotes, whereas in double ones it
// would run what stands between backquotes; only a line's end could leave them.
static void write_quoted(FILE *to, const char *text)
{
	putc('\'', to);
	for (; *text; text++) {
		if (*text == '\'')
			putc('\'', to);
		putc((unsigned char)*text < ' ' ? ' ' : *text, to);
	}
	putc('\'', to);
}

static void write_commands(const struct plot *plot, FILE *to)
{
	const size_t height = 120 + 20 * plot->count;
	double least = 1, most = 1;

	for (size_t i = 0; i < plot->count; i++) {
		least = fmin(least, plot->bars[i].low);
		most = fmax(most, plot->bars[i].high);
	}

	fprintf(to, "$ratios << END\n");
	for (size_t i = 0; i < plot->count; i++)
		fprintf(to, "%zu %.9g %.9g %.9g \"%s\"\n", i, plot->bars[i].ratio,
			plot->bars[i].low, plot->bars[i].high, plot->bars[i].label);
	fprintf(to,
		"END\n"
		"set xlabel 'ratio, with its 95 %% interval'\n"
		"set logscale x\nset grid x\nunset key\n"
		"set ytics noenhanced\n"
		"set xrange [%.9g:%.9g]\nset yrange [%zu:-1]\n"
		"set arrow from 1, graph 0 to 1, graph 1 nohead dashtype 2\n",
		least / 1.3, most * 1.3, plot->count);
	fprintf(to, "set title ");
	write_quoted(to, plot->title);
	fprintf(to, " noenhanced\n");
	for (int i = 0; i < 2; i++) {
		fprintf(to, "set terminal %s size 1200,%zu\nset output ",
			i == 0 ? "pngcairo" : "svg", height);
		write_quoted(to, plot->base);
		fprintf(to,
			".'.%s'\n"
			"plot $ratios using 2:1:3:4:ytic(5) with xerrorbars pointtype 7\n",
			i == 0 ? "png" : "svg");
	}
	fprintf(to, "unset output\n");
}

static void run_gnuplot(const struct plot *plot)
{
	char name[] = "gnuplot", *arguments[] = { name, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		fail("pipe2: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
	const int error = posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ);
	if (error)
		fail("gnuplot cannot be run: %s; Debian's package is gnuplot-nox", strerror(error));
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN); // it may end early; its status says so
	FILE *to = fdopen(ends[1], "w");
	if (!to)
		fail("fdopen: %s", strerror(errno));
	write_commands(plot, to);
	fclose(to);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail("gnuplot failed");
}

// BASE, which gnuplot must not take for more than a name: as "|command" it would be one.
static char *base_of(const char *output, const char *file)
{
	char *base = strdup(output ? output : file);

	if (!base)
		fail("out of memory");
	char *dot = strrchr(base, '.');
	if (!output && dot && (strcmp(dot, ".json") == 0 || strcmp(dot, ".csv") == 0))
		*dot = '\0';
	if (base[0] == '|' || strpbrk(base, "`\"\\\n"))
		fail("a name that begins with | or has `, \", \\ or a new line: %s", base);
	return base;
}

int plot_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "case", required_argument, NULL, 'c' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct plot plot = { 0 };
	const char *output = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h') {
			printf("Usage: lease-bench plot FILE [--case NAME...] [--output BASE]\n"
			       "Draws the ratios in FILE, the JSON or CSV of a run, to BASE.png "
			       "and "
			       "BASE.svg.\n");
			return 0;
		}
		if (option == 'o')
			output = optarg;
		else if (option == 'c' && plot.case_count < CASES)
			plot.cases[plot.case_count++] = optarg;
		else
			return 2;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "lease-bench: plot wants one FILE (see lease-bench --help)\n");
		return 2;
	}
	plot.file = argv[optind];
	char *base = base_of(output, plot.file);
	plot.base = base;
	read_run(&plot);
	run_gnuplot(&plot);
	for (size_t i = 0; i < plot.count; i++)
		free(plot.bars[i].label);
	free(plot.bars);
	free(base);
	return 0;
}
