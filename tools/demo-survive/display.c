// SPDX-License-Identifier: Apache-2.0
//
// display.c: on a terminal, bars that are drawn again ten times a second; else a line now and then.
#include "survive.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

// A line of the display fits into 80 columns; where there are fewer, its bar is shorter. What is
// too long even so is cut off at the edge: a line that goes on in the next would not be drawn over.
enum { GLIMPSES = 5, BAR_WIDTH = 22, WITHOUT_BAR = 57, USUAL_COLUMNS = 80 };
#define NO_WRAP "\033[?7l"
#define WRAP "\033[?7h"
#define CLEAR_SCREEN "\033[2J\033[H"

struct glimpse {
	uint64_t time_ns;
	uint64_t turns[LANES];
};

static struct glimpse glimpses[GLIMPSES]; // the latest, in a ring
static uint64_t glimpse_count;
static uint64_t start_ns, next_line_ns;
static double best_rate;
static bool terminal;
static int drawn_columns; // of the terminal when it was drawn last; 0: never

void display_start(void)
{
	terminal = isatty(STDOUT_FILENO);
	start_ns = lh_now();
	next_line_ns = start_ns + LH_SEC(1);
}

double display_rate(unsigned lane)
{
	if (glimpse_count < 2)
		return 0;
	const uint64_t first = glimpse_count > GLIMPSES ? glimpse_count - GLIMPSES : 0;
	const struct glimpse *const oldest = &glimpses[first % GLIMPSES];
	const struct glimpse *const newest = &glimpses[(glimpse_count - 1) % GLIMPSES];

	return (double)(newest->turns[lane] - oldest->turns[lane]) * 1e9 /
	       (double)(newest->time_ns - oldest->time_ns);
}

// What became of the lane: nothing yet, on it goes, or it stands still.
static void print_fate(const struct lane *lane)
{
	const uint64_t killed = lane->killed_ns, granted = lane->next_grant_ns;
	const char *const red = terminal ? "\033[31m" : "";
	const char *const green = terminal ? "\033[32m" : "";
	const char *const plain = terminal ? "\033[0m" : "";

	if (killed == 0)
		return;
	if (granted != 0)
		printf("  %sgoes on, %.2f ms later%s", green, (double)(granted - killed) / 1e6,
		       plain);
	else
		printf("  %sstands still for %.1f s%s", red, (double)(lh_now() - killed) / 1e9,
		       plain);
}

static int columns_now(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
									       : USUAL_COLUMNS;
}

static void draw(const struct shared *shared)
{
	char bar[BAR_WIDTH + 1];
	const int columns = columns_now(), room = columns - 1 - WITHOUT_BAR;
	const int most = room < 0 ? 0 : room < BAR_WIDTH ? room : BAR_WIDTH;

	if (drawn_columns && drawn_columns != columns)
		fputs(CLEAR_SCREEN, stdout); // some terminals have wrapped the lines anew
	else if (drawn_columns)
		printf("\033[%dA", (int)LANES);
	drawn_columns = columns;
	for (unsigned i = 0; i < LANES; i++) {
		const double rate = display_rate(i);
		const int width = best_rate > 0 ? (int)(rate / best_rate * most) : 0;

		for (int column = 0; column < most; column++)
			bar[column] = column < width ? '=' : ' ';
		bar[most] = '\0';
		printf("\r\033[K" NO_WRAP "%-21s|%s|%7.0f/s", lock_kinds[i].name, bar, rate);
		print_fate(&shared->lane[i]);
		puts(WRAP);
	}
}

static void print_lines(const struct shared *shared, uint64_t now)
{
	for (unsigned i = 0; i < LANES; i++) {
		printf("%4.1f s  %-21s%7.0f turns/s", (double)(now - start_ns) / 1e9,
		       lock_kinds[i].name, display_rate(i));
		print_fate(&shared->lane[i]);
		putchar('\n');
	}
}

void display(const struct shared *shared)
{
	struct glimpse *const glimpse = &glimpses[glimpse_count++ % GLIMPSES];

	glimpse->time_ns = lh_now();
	for (unsigned i = 0; i < LANES; i++)
		glimpse->turns[i] = shared->lane[i].turns;
	for (unsigned i = 0; i < LANES; i++)
		if (display_rate(i) > best_rate)
			best_rate = display_rate(i);
	if (terminal) {
		draw(shared);
	} else if (glimpse->time_ns >= next_line_ns) {
		next_line_ns += LH_SEC(1);
		print_lines(shared, glimpse->time_ns);
	}
	fflush(stdout);
}
