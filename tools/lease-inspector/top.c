// SPDX-License-Identifier: Apache-2.0
//
// top.c: the verb top: the screen, the keys, and the frames into a pipe.

#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "top.h"

struct screen {
	SCREEN *terminal; /* NULL: a plain stream */
	enum top_order order;
	struct top_frame frame;
};

// ---- frames -------------------------------------------------------------------------------------

// False: that failed, or a signal came.
static bool draw_terminal(struct screen *screen, struct top_model *model)
{
	const size_t width = COLS > 0 ? (size_t)COLS : 80, height = LINES > 0 ? (size_t)LINES : 24;

	top_compose(model, screen->order, width, height, &screen->frame);
	pace_print_begin();
	erase();
	for (size_t i = 0; i < screen->frame.count && i < height; i++) {
		const bool heading = i == screen->frame.headings[0] ||
				     i == screen->frame.headings[1];

		if (heading)
			attron(A_REVERSE);
		mvaddstr((int)i, 0, screen->frame.lines[i]);
		if (heading)
			attroff(A_REVERSE);
	}
	refresh();
	return pace_print_end();
}

static bool print_frame(struct screen *screen, struct top_model *model, bool first)
{
	const char *columns = getenv("COLUMNS");
	const long width = columns ? strtol(columns, NULL, 10) : 0;

	top_compose(model, screen->order, width > 0 ? (size_t)width : 160, 0, &screen->frame);
	bool good = true;

	pace_print_begin();
	if (!first)
		good = pace_printed(putchar('\n') != EOF);
	for (size_t i = 0; good && i < screen->frame.count; i++)
		good = pace_printed(puts(screen->frame.lines[i]) != EOF);
	return pace_print_end();
}

// ---- keys ---------------------------------------------------------------------------------------

enum asked { ASKED_NOTHING, ASKED_DRAW, ASKED_LOOK, ASKED_END };

static enum asked read_keys(struct screen *screen)
{
	enum asked asked = ASKED_NOTHING;
	int key;

	while ((key = getch()) != ERR) {
		switch (key) {
		case 'q':
			return ASKED_END;
		case ' ':
			asked = ASKED_LOOK;
			break;
		case 's':
			screen->order = (enum top_order)((screen->order + 1) % TOP_ORDERS);
			if (asked == ASKED_NOTHING)
				asked = ASKED_DRAW;
			break;
		case KEY_RESIZE: // the screen is as large as it is now: erase and draw
			if (asked == ASKED_NOTHING)
				asked = ASKED_DRAW;
			break;
		default:
			break;
		}
	}
	return asked;
}

// Until it is time for another look; false: it is time to end.
static bool rest(struct screen *screen, struct top_model *model, double seconds)
{
	const uint64_t until = lh_now() + (uint64_t)(seconds * 1e9);

	for (uint64_t now = lh_now(); now < until; now = lh_now()) {
		if (!pace_wait((double)(until - now) / 1e9, screen->terminal ? STDIN_FILENO : -1))
			return false;
		const enum asked asked = screen->terminal ? read_keys(screen) : ASKED_NOTHING;

		if (asked == ASKED_END)
			return false;
		if (asked == ASKED_LOOK)
			return true;
		if (asked == ASKED_DRAW && !draw_terminal(screen, model))
			return false;
	}
	return true;
}

// ---- the verb -----------------------------------------------------------------------------------

static void screen_start(struct screen *screen)
{
	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return;
	screen->terminal = newterm(NULL, stdout, stdin); // NULL: TERM says nothing that it knows
	if (!screen->terminal)
		return;
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	curs_set(0);
}

static void screen_end(struct screen *screen)
{
	top_frame_free(&screen->frame);
	if (!screen->terminal)
		return;
	endwin();
	delscreen(screen->terminal);
}

int verb_top(const struct options *options, const char *arena)
{
	struct top_model model = { .options = options, .arena = arena };
	struct screen screen = { .order = TOP_BY_RATE };
	int error = top_look(&model);
	uint64_t left = options->count ? options->count : UINT64_MAX;

	if (error) { // told before the screen is taken
		top_forget(&model);
		return inspector_complain(arena, error);
	}
	pace_begin();
	screen_start(&screen);
	for (bool first = true;; first = false) {
		if (!(screen.terminal ? draw_terminal(&screen, &model)
				      : print_frame(&screen, &model, first)))
			break;
		if (left != UINT64_MAX && --left == 0)
			break;
		if (!rest(&screen, &model, options->delay > 0 ? options->delay : 1))
			break;
		error = top_look(&model);
		if (error)
			break;
	}
	screen_end(&screen);
	top_forget(&model);
	return error ? inspector_complain(arena, error) : pace_end();
}
