// SPDX-License-Identifier: Apache-2.0
//
// inspector.h: what the parts of lease-inspector share.
//
// inspector.c reads the command line and calls one of verbs.c's; each has a file of its own. guard.c
// opens an arena, view.c takes a picture of it, object.c says what stands in it, cycles.c who waits
// for whom, process.c what /proc knows of processes; table.c, json.c and text.c print what a verb
// says. Of Leasehold
// nothing but the public headers is used.
#ifndef LEASE_INSPECTOR_INSPECTOR_H
#define LEASE_INSPECTOR_INSPECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>
#include <leasehold/leasehold.h>
#include <libsmartcols/libsmartcols.h>

// The check's findings exit as their enum lh_check.
enum exit_code { EXIT_FINE = 0, EXIT_NO_MATCH = 1, EXIT_ERROR = 2 };

struct options {
	bool all;      /* more than usually, as the verb says */
	bool bytes;    /* sizes exact */
	bool exact_ns; /* times and durations exact */
	bool json;
	bool no_headings;
	int open_flags; /* for lh_arena_open */
	bool raw;
	bool colour;
	double watch;        /* seconds between two looks; 0: look once */
	const char *output;  /* -o: columns, or the file of metrics */
	const char *columns; /* the same where it means columns; NULL: the usual ones */
	const char *object;  /* NAME or OFFSET behind ARENA */
	double delay;        /* top, watch: seconds between two looks; 0: as usual */
	uint64_t count;      /* top, watch: how many frames or events; 0: without end */
	bool force;
	bool dry_run;
	double timeout; /* break, rm: seconds to wait for an owner's end */
};

// A verb shows what `arena` holds and returns the exit code; arena is NULL only where verbs.c says
// so.
int verb_list(const struct options *options, const char *arena);
int verb_show(const struct options *options, const char *arena);
int verb_leases(const struct options *options, const char *arena);
int verb_procs(const struct options *options, const char *arena);
int verb_tree(const struct options *options, const char *arena);
int verb_dot(const struct options *options, const char *arena);
int verb_top(const struct options *options, const char *arena);
int verb_watch(const struct options *options, const char *arena);
int verb_history(const struct options *options, const char *arena);
int verb_arenas(const struct options *options, const char *arena);
int verb_check(const struct options *options, const char *arena);
int verb_metrics(const struct options *options, const char *arena);
int verb_break(const struct options *options, const char *arena);
int verb_gc(const struct options *options, const char *arena);
int verb_rm(const struct options *options, const char *arena);

// The columns that verbs have, for -o.
struct column {
	const char *heading; /* NULL: shown in JSON only */
	const char *key;     /* NULL: shown in the table only */
	int flags;           /* SCOLS_FL_…, COLUMN_EXTRA */
};
enum { COLUMN_EXTRA = 1 << 20, COLUMN_SCOLS = COLUMN_EXTRA - 1 }; /* shown if -o asks for it */

struct columns {
	const struct column *columns;
	size_t count;
};
extern const struct columns list_columns, leases_columns, procs_columns, tree_columns,
	history_columns, arenas_columns, check_columns;

// ---- verbs.c ------------------------------------------------------------------------------------
struct verb {
	const char *name;
	const char *usage;
	bool arena_optional;
	enum { OBJECT_NONE, OBJECT_OPTIONAL, OBJECT_NEEDED } object;
	const char *takes; /* its own options: letters of note_given in inspector.c */
	const struct columns *columns;
	int (*run)(const struct options *options, const char *arena);
	const char *summary; /* one line for each form: usage, then what it does */
	const char *help;
};
const struct verb *find_verb(const char *name);
// The i-th, NULL behind the last.
const struct verb *nth_verb(size_t i);

// The word for an enum lh_check.
const char *check_name(int severity);

// ---- inspector.c --------------------------------------------------------------------------------
// Prints to stderr what went wrong with the arena and what to do next. Returns EXIT_ERROR, or
// EXIT_NO_MATCH if there is no such arena.
int inspector_complain(const char *arena, int error);

// Says that the arena has no such object. Returns EXIT_NO_MATCH.
int inspector_no_object(const char *arena, const char *object);

// Of the file behind the arena's name; 0: there is none.
uint64_t inspector_inode(const char *arena);

// Whether all that was printed was written; else it says why not.
bool inspector_flush(void);

// What the library's last error of this thread was, and about what. To be freed.
char *inspector_reason(int error);

// Prints "lease-inspector: " and the text to stderr.
void inspector_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The pointer, or the end of the program if it is NULL: no verb can do anything without memory.
void *inspector_need(void *pointer);

// ---- text.c -------------------------------------------------------------------------------------
// Room for `more` items of `size` behind the `count` there are.
void *inspector_room(void *items, size_t count, size_t more, size_t *capacity, size_t size);

// Text that grows, without a NUL at its end. Starts as { 0 }; `bytes` is to be freed.
struct text {
	char *bytes;
	size_t size, capacity;
};
void text_add(struct text *text, const char *bytes, size_t size);

// The string with every byte that is not printable ASCII, and every backslash, written as \xHH, so
// that no foreign byte reaches a terminal.
void text_add_escaped(struct text *text, const char *string);
char *escape_text(const char *string); /* to be freed */
// The same for blanks, too.
void text_add_word(struct text *text, const char *string);
// In digits. A long list has several hundred thousand, for each of which printf takes as long as for
// all else that is done with it.
void text_add_number(struct text *text, uint64_t number);

// The same between double quotes, for Graphviz and OpenMetrics: a quote or a backslash has a
// backslash before it. The quotes around it are the caller's.
void print_quoted(FILE *out, const char *string);

// ---- guard.c ------------------------------------------------------------------------------------
// lh_arena_open and lh_arena_close of an arena that somebody may shorten while it is looked at:
// then what is missing of it reads as zero bytes, and what is written there is lost.
int guarded_open(const char *name, int flags, lh_arena **ret_arena);
void guarded_close(lh_arena *arena);
// 0; or -EBADMSG if that has happened: what was seen of it since it was opened means nothing.
int guarded_check(const lh_arena *arena);
// lh_error_detail, or what guarded_check found if it was asked last.
const char *inspector_detail(void);

// ---- view.c -------------------------------------------------------------------------------------
// A picture of an arena. Its parts are read one after the other while the arena is in use, so a
// lease that a hold names need not be among the leases.
struct view {
	const char *name;
	lh_arena *arena;
	uint64_t inode; /* of the arena, if view_open opened it; 0: the name did not stay its */
	uint64_t now_ns;
	struct lh_placement_info *placements;  /* by offset */
	bool *overlaps;                        /* per placement: with one before it; damage */
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
// The same for a verb that has shown the picture. Returns EXIT_FINE; or EXIT_ERROR when it has said
// that the arena was shortened meanwhile.
int view_end(struct view *view);
// Closes the arena and keeps the picture, in which elements of arrays have no numbers any more; to
// be given to view_forget.
void view_release(struct view *view);

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

// Whether its owner has ended or its time is up.
bool view_is_lost(const struct lh_lease_info *lease);

// Whether the record is a holding, not what precedes or outlasts one.
bool view_is_held(const struct lh_hold_info *hold);

// Whether it is of a party that waits at its barrier: that keeps nobody else waiting there.
bool view_has_arrived(const struct view *view, const struct lh_hold_info *hold);

// How many things the lease holds.
size_t view_held_by(const struct view *view, uint64_t lease);

// Whether offset lies in a placement, not between them or in the library's tables.
bool view_is_placed(const struct view *view, uint64_t offset);

// The placement that offset lies in, or NULL.
const struct lh_placement_info *view_placement(const struct view *view, uint64_t offset);

// Whether it lies, at least in part, where another does, as none does but in a damaged arena, or
// because it came there while the picture was taken.
bool view_overlaps(const struct view *view, const struct lh_placement_info *placement);

// From one element of an array to the next; 0: it is no array.
uint64_t view_stride(const struct view *view, const struct lh_placement_info *placement);

// What to call the object at offset: "table[3]", "mutex@4096", "@4160".
enum { VIEW_OBJECT_NAME = 96 };
// A whole placement: "table", "mutex@4096".
const char *view_place_name(const struct lh_placement_info *placement,
			    char buffer[VIEW_OBJECT_NAME]);
const char *view_object_name(const struct view *view, uint64_t offset,
			     char buffer[VIEW_OBJECT_NAME]);

// ---- object.c -----------------------------------------------------------------------------------
// One object of the picture, or a whole array.
struct object {
	const struct lh_placement_info *place;
	bool whole;                 /* an array: `info` has its place alone */
	bool part;                  /* found by an index or an offset inside of `place` */
	struct lh_object_info info; /* what it says of itself */
	int error;                  /* lh_inspect_object's: `info` has its place alone */
	struct span holders;        /* in by_object, records of those who only want it included */
	struct span waiters;        /* in waiters */
};
bool object_is_array(const struct view *view, const struct lh_placement_info *place);
// The whole placement.
struct object object_of(const struct view *view, const struct lh_placement_info *place);
// One element, 0 for what is no array; a damaged one with its error. False: there is no such one.
bool object_element(const struct view *view, const struct lh_placement_info *place, uint32_t index,
		    struct object *ret_object);
// What NAME or OFFSET on the command line means: "jobs", "table[3]", "mutex@4096", "4096",
// "0x1000". An array's name means the array. False: nothing here.
bool object_find(const struct view *view, const char *text, struct object *ret_object);

// How it is held: lh_hold_mode_name's word, but "permit" for a semaphore's and "party" for a
// barrier's.
const char *hold_mode(const struct lh_hold_info *hold);
// One word: free, held, shared, full, joined, idle, awaited, running, lost, done, open, closed,
// broken, placed, placing, abandoned, corrupt.
const char *object_state(const struct view *view, const struct object *object);
// The first of those who hold it, or NULL.
const struct lh_hold_info *object_holder(const struct view *view, const struct object *object);
size_t object_holder_count(const struct view *view, const struct object *object);
uint64_t object_token(const struct view *view,
		      const struct object *object); /* an array's: the sum of all */
uint64_t object_longest_wait(const struct view *view,
			     const struct object *object); /* ns; 0: none */
bool object_is_damaged(const struct view *view, const struct object *object);
// "damaged", "no-repair", … : calls add for each.
void object_flags(const struct view *view, const struct object *object,
		  void (*add)(void *context, const char *word), void *context);

// A holder as list and show tell it in JSON (list.c); and the words of object_flags in a cell.
json_t *holder_value(const struct view *view, const struct lh_hold_info *hold);
struct row;
void show_flag_words(const struct row *row, size_t column, const struct view *view,
		     const struct object *object);

// ---- process.c ----------------------------------------------------------------------------------
// What /proc says of a process.
struct process {
	pid_t pid;
	char state; /* as in proc(5): R S D T t Z …; 0: it is gone */
	uint64_t start_time;
	unsigned threads;
	char command[16];
};
// False: there is none, or (start_time not 0) another has its number.
bool process_read(pid_t pid, uint64_t start_time, struct process *ret_process);
// Whether it has the library's thread: looks at all its threads.
bool process_has_keeper(pid_t pid);
// "running", "sleeping", "stopped", …
const char *process_state(const struct process *process);
// Of a lease's owner; "gone", or "?" if it lives in another pid namespace.
const char *process_state_of(const struct lh_lease_info *lease);
// Whether the lease's pid is a number of another pid namespace than ours.
bool process_is_elsewhere(const struct lh_lease_info *lease);

// Who has which objects open, as far as /proc lets us see.
struct attachment {
	uint64_t device, inode;
	pid_t pid;
};
struct attachments {
	struct attachment *items; /* by object, then pid; without this process */
	size_t count;
	bool partial; /* some processes would not be looked into */
};
void attachments_load(struct attachments *attachments);
void attachments_free(struct attachments *attachments);
struct span attachments_of(const struct attachments *attachments, const char *arena);

// ---- cycles.c -----------------------------------------------------------------------------------
// Leases that wait for each other, directly or by way of their threads, so that none of them can go
// on whatever all the others let go of.
#define CYCLES_NONE SIZE_MAX
struct cycles {
	size_t *waits_with; /* per lease: which one its thread waits with, or CYCLES_NONE */
	bool *deadlocked;
};
void cycles_find(const struct view *view, struct cycles *ret_cycles);
void cycles_free(struct cycles *cycles);
// Whether those who wait there are not told of a deadlock by the library: permits, barriers.
bool cycles_is_unwatched(const struct view *view, uint64_t offset);

// ---- table.c ------------------------------------------------------------------------------------
// Rows of cells, printed as a table or collected as JSON objects, whichever the options ask for.
enum { TABLE_COLUMNS = 32 };

struct document;

struct table {
	const struct options *options;
	const struct column *columns;
	size_t count;
	struct libscols_table *scols; /* NULL with --json */
	bool is_tree;
	size_t rows;
	size_t shown;             /* columns in the table */
	int index[TABLE_COLUMNS]; /* a column's number there; -1: nobody sees it */
	const struct column *chosen[TABLE_COLUMNS]; /* in their order */
	size_t width[TABLE_COLUMNS];                /* of the longest text in each of them */
	json_t *values
		[TABLE_COLUMNS]; /* with --json, of the row that is being filled; NULL: null */
	struct text texts;       /* of cells, each with a NUL behind it; or rows of JSON */
	size_t *cells;           /* row by row, `shown` in each: where their texts begin */
	size_t cell_capacity;
};

struct row {
	struct table *table;
	struct libscols_line *line; /* of a tree */
	bool json;
};

void table_start(struct table *table, const struct options *options, const struct column *columns,
		 size_t count);
// The new row stands below `parent` in a tree, NULL: at its top or in a plain table. But in a tree
// it ends the one before: nothing more can be set there.
struct row table_row(struct table *table, const struct row *parent);

// One cell each; a cell that is not set is empty ("-", null). A duration of UINT64_MAX is endless.
void row_text(const struct row *row, size_t column, const char *text);
void row_number(const struct row *row, size_t column, uint64_t number);
void row_size(const struct row *row, size_t column, uint64_t bytes);
void row_duration(const struct row *row, size_t column, uint64_t ns);
void row_moment(const struct row *row, size_t column, uint64_t ns); /* CLOCK_MONOTONIC */
// The cell as given: `shown` in the table, `value` (which is taken over; may be NULL) in JSON.
void row_cell(const struct row *row, size_t column, const char *shown, json_t *value);

// Whether anything set there is shown: for what takes a while to find out.
bool row_shows(const struct row *row, size_t column);

// A cell of words: "damaged,array"; in JSON an array.
struct words {
	const struct row *row;
	json_t *values;
	char text[128];
	size_t used;
};
void words_start(struct words *words, const struct row *row);
void words_add(void *context, const char *word);
void words_end(struct words *words, size_t column);

// Prints the rows, as a verb's whole output, and frees the table; of an arena that was shortened
// meanwhile it prints nothing.
void table_show(struct table *table, const struct view *view, const char *key, const char *nothing);

// Prints the rows and frees the table. In JSON they are the member `key` of `document`, which is
// printed and taken over; else document is NULL. `nothing` is what a terminal is told if there are
// no rows; NULL: nothing.
void table_print(struct table *table, const char *key, struct document *document,
		 const char *nothing);

// The same without printing the document: other tables follow.
void table_finish(struct table *table, const char *key, struct document *document,
		  const char *nothing);

// Whether each name in `list` ("A,B" or "+A,B") is one of the columns' headings.
bool columns_are_known(const struct column *columns, size_t count, const char *list);

// ---- arenas.c -----------------------------------------------------------------------------------
// The entries of /dev/shm that may be arenas, sorted; to be freed, as scandir(3) says. How many, or -1
// when it has said why it cannot look.
struct dirent;
int arenas_scan(struct dirent ***ret_entries);

// ---- history.c ----------------------------------------------------------------------------------
// A table of events, and a row of it.
void history_start(struct table *table, const struct options *options);
void history_row(struct table *table, const struct view *view, const struct lh_event_info *event);

// ---- watch.c ------------------------------------------------------------------------------------
// Looking again and again. From pace_begin on SIGINT and SIGTERM come in only while
// pace_wait sleeps and while something is printed, so that none is missed.
void pace_begin(void);
// False: it is time to end: a signal came, or nobody reads the output any more. It wakes early if
// there is something to read from `input` (-1: none).
bool pace_wait(double seconds, int input);
// Around all that is printed: in between SIGINT and SIGTERM come in, too, and end a write that
// sleeps.
void pace_print_begin(void);
// Writes all of it. False: that failed, or a signal came.
bool pace_print_end(void);
// In between, after each piece: whether it was written, which may go wrong long before the end.
bool pace_printed(bool written);
// EXIT_FINE, also if nobody reads any more or a signal came; or EXIT_ERROR when it has said why.
int pace_end(void);

// ---- json.c -------------------------------------------------------------------------------------
enum { JSON_VERSION = 1 };

// What a verb prints: {"version": 1, "arena": name, "now_ns": …}, what else is put into `members`,
// and after these the arrays.
enum { DOCUMENT_ARRAYS = 3 }; /* at most */
struct document {
	const struct options *options;
	json_t *members;
	const char *keys[DOCUMENT_ARRAYS];
	struct text arrays[DOCUMENT_ARRAYS]; /* their rows */
	size_t array_count;
};
// NULL without --json.
struct document *document_start(const struct options *options, const char *arena, uint64_t now_ns);
// Prints and frees it.
void document_print(struct document *document);
// One row more of an array, written out: an object with these members, NULL for null; or as it is.
void rows_begin(struct text *rows, const struct options *options);
void rows_member(struct text *rows, const struct options *options, const char *key,
		 const json_t *value);
void rows_end(struct text *rows);
void rows_add(struct text *rows, const struct options *options, const json_t *row);
// Takes the rows over, as the member `key`.
void document_array(struct document *document, const char *key, struct text *rows);

// JSON values. Numbers beyond 2^63 - 1, which JSON readers cannot be trusted with and only damage
// can show, become strings of digits.
json_t *value_text(const char *text);
json_t *value_number(uint64_t number);
// Adds the value, taking it over, to a JSON object or array.
void value_set(json_t *object, const char *key, json_t *value);
void value_append(json_t *array, json_t *value);

// "12.3ms", or all nanoseconds with --ns.
enum { DURATION_TEXT = 32 };
const char *format_duration(const struct options *options, uint64_t ns, char buffer[DURATION_TEXT]);

#endif
