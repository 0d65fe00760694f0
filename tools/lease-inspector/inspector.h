// SPDX-License-Identifier: Apache-2.0
//
// inspector.h: what the parts of lease-inspector share.
//
// inspector.c reads the command line and calls a verb: list.c, leases.c, tree.c, history.c, check.c.
// view.c takes a picture of an arena, table.c prints what a verb says as a table or as JSON. Of
// Leasehold nothing but the public headers is used.
#ifndef LEASE_INSPECTOR_INSPECTOR_H
#define LEASE_INSPECTOR_INSPECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <leasehold/leasehold.h>
#include <libsmartcols/libsmartcols.h>

// The check's findings exit as their enum lh_check.
enum exit_code { EXIT_FINE = 0, EXIT_ERROR = 1, EXIT_USAGE = 2 };

struct options {
	bool all;      /* list: objects that are no arenas too; tree: idle leases too */
	bool bytes;    /* sizes exact */
	bool exact_ns; /* times and durations exact */
	bool json;
	bool no_headings;
	int open_flags; /* for lh_arena_open */
	double watch;   /* seconds between two looks; 0: look once */
};

// A verb shows what `arena` holds and returns the exit code. Only list can do without an arena.
int verb_list(const struct options *options, const char *arena);
int verb_leases(const struct options *options, const char *arena);
int verb_tree(const struct options *options, const char *arena);
int verb_history(const struct options *options, const char *arena);
int verb_check(const struct options *options, const char *arena);

// The word for an enum lh_check.
const char *check_name(int severity);

// ---- inspector.c --------------------------------------------------------------------------------
// Prints to stderr what went wrong with the arena and what to do next. Returns EXIT_ERROR.
int inspector_complain(const char *arena, int error);

// What the library's last error of this thread was, and about what. To be freed.
char *inspector_reason(int error);

// Prints "lease-inspector: " and the text to stderr.
void inspector_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The pointer, or the end of the program if it is NULL: no verb can do anything without memory.
void *inspector_need(void *pointer);

// ---- view.c -------------------------------------------------------------------------------------
// A picture of an arena. Its parts are read one after the other while the arena is in use, so a
// lease that a hold names need not be among the leases.
struct view {
	const char *name;
	lh_arena *arena;
	uint64_t now_ns;
	struct lh_placement_info *placements;  /* by offset */
	struct lh_lease_info *leases;          /* by id */
	struct lh_hold_info *holds;            /* by lease, then offset */
	const struct lh_hold_info **by_object; /* the holds by offset, then lease */
	const struct lh_lease_info *
		*waiters; /* the leases that wait, by what for, then since when */
	size_t placement_count, lease_count, hold_count, waiter_count;
};

// A run of neighbours in one of the view's arrays.
struct span {
	size_t first, end;
};

// Opens the arena and takes a picture. Returns 0, or the library's error: nothing is open then.
// Either way nothing is printed.
int view_open(struct view *view, const struct options *options, const char *name);
// The same picture of an arena that is open already; to be given to view_forget, not view_close.
int view_load(struct view *view, lh_arena *arena, const char *name);
void view_forget(struct view *view);
void view_close(struct view *view);

const struct lh_lease_info *view_lease(const struct view *view, uint64_t id);
struct span view_holds_of(const struct view *view, uint64_t lease); /* in holds */
struct span view_holders(const struct view *view, uint64_t offset); /* in by_object */
struct span view_waiters(const struct view *view, uint64_t offset); /* in waiters */
// The holders and waiters of anything in [offset, end).
struct span view_holders_within(const struct view *view, uint64_t offset, uint64_t end);
struct span view_waiters_within(const struct view *view, uint64_t offset, uint64_t end);

// Nanoseconds that the lease has left (UINT64_MAX: for ever), and that have passed since a moment;
// of the picture, not of now.
uint64_t view_remaining(const struct view *view, const struct lh_lease_info *lease);
uint64_t view_since(const struct view *view, uint64_t moment_ns);

// Whether the record is a holding, not what precedes or outlasts one.
bool view_is_held(const struct lh_hold_info *hold);

// Whether offset lies in a placement, not between them or in the library's tables.
bool view_is_placed(const struct view *view, uint64_t offset);

// What to call the object at offset: "table[3]", "mutex@4096", "@4160".
enum { VIEW_OBJECT_NAME = 96 };
const char *view_object_name(const struct view *view, uint64_t offset,
			     char buffer[VIEW_OBJECT_NAME]);

// ---- table.c ------------------------------------------------------------------------------------
// Rows of cells, printed as a table or collected as JSON objects, whichever the options ask for.
struct column {
	const char *heading; /* NULL: shown in JSON only */
	const char *key;     /* NULL: shown in the table only */
	int flags;           /* SCOLS_FL_… */
};

enum { TABLE_COLUMNS = 16 };

struct table {
	const struct options *options;
	const struct column *columns;
	size_t count;
	struct libscols_table *scols; /* NULL with --json */
	json_t *rows;                 /* NULL without */
	int index[TABLE_COLUMNS];     /* a column's number in scols, or -1 */
};

struct row {
	struct table *table;
	struct libscols_line *line;
	json_t *object;
};

void table_start(struct table *table, const struct options *options, const struct column *columns,
		 size_t count);
// The new row stands below `parent` in a tree, NULL: at its top or in a plain table.
struct row table_row(struct table *table, const struct row *parent);

// One cell each; a cell that is not set is empty ("-", null). A duration of UINT64_MAX is endless.
void row_text(const struct row *row, size_t column, const char *text);
void row_number(const struct row *row, size_t column, uint64_t number);
void row_size(const struct row *row, size_t column, uint64_t bytes);
void row_duration(const struct row *row, size_t column, uint64_t ns);
void row_moment(const struct row *row, size_t column, uint64_t ns); /* CLOCK_MONOTONIC */
// The cell as given: `shown` in the table, `value` (which is taken over; may be NULL) in JSON.
void row_cell(const struct row *row, size_t column, const char *shown, json_t *value);

// Prints the rows and frees the table. In JSON they are the member `key` of `document`, which is
// printed and taken over; else document is NULL. `nothing` is what a terminal is told if there are
// no rows; NULL: nothing.
void table_print(struct table *table, const char *key, json_t *document, const char *nothing);

// A new {"arena": name, "now_ns": …} with --json, else NULL.
json_t *document_start(const struct options *options, const char *arena, uint64_t now_ns);
void document_print(const struct options *options, json_t *document);

// JSON values. Numbers beyond 2^63 - 1, which JSON readers cannot be trusted with and only damage
// can show, become strings of digits.
json_t *value_text(const char *text);
json_t *value_number(uint64_t number);
// Adds the value, taking it over, to a JSON object or array.
void value_set(json_t *object, const char *key, json_t *value);
void value_append(json_t *array, json_t *value);

// The text with every byte that is not printable ASCII, and every backslash, written as \xHH, so
// that no foreign byte reaches a terminal. To be freed.
char *escape_text(const char *text);

// "12.3ms", or all nanoseconds with --ns.
enum { DURATION_TEXT = 32 };
const char *format_duration(const struct options *options, uint64_t ns, char buffer[DURATION_TEXT]);

#endif
