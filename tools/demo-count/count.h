// SPDX-License-Identifier: Apache-2.0
//
// count.h: what the files of demo-count share.
//
// The parent lists the files below a directory and creates an arena with three placements:
//	"files"		an array of mutexes, one for each file
//	"results"	a region, one struct result for each file, each guarded by the file's mutex
//	"run"		a region: struct run, one struct life for each worker ever started, the names
// Workers are this program again (--worker), so each opens the arena for itself.
#ifndef DEMO_COUNT_COUNT_H
#define DEMO_COUNT_COUNT_H

#include <leasehold/leasehold.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

// What wc counts.
struct totals {
	uint64_t lines, words, bytes;
};

// Written and read by whoever holds the file's mutex. The totals grow while the file is read, so a
// worker that is killed leaves a half-counted file behind.
struct result {
	struct totals totals;
	uint32_t
		pass; // the last pass in which the file was counted, from 1; stored when it is done
	int32_t error; // errno of that count, 0: none
};

// One worker's life, from its start to its end. Fields are written once, but for `holds` and
// for killed_ns, which is cleared if the worker turned out to have finished first.
struct life {
	_Atomic uint64_t lease;     // its lease's id; by the worker, before it locks anything
	_Atomic bool holds;         // a file's mutex; by the worker, each time
	_Atomic uint64_t killed_ns; // just before the kill; by the parent
	_Atomic uint64_t
		granted_ns; // the grant that told of its death; by who was granted it, once
			    // the file is counted anew
};

enum { LIVES_MAX = 65536 };

struct run {
	uint32_t files; // these are constant once workers are started
	uint32_t workers;
	pid_t parent;
	uint64_t names_offset; // from the start of this struct: NUL-terminated names
	_Atomic uint32_t pass; // by the parent, while no worker runs
	_Atomic uint32_t
		cursor;         // all files before it are done in this pass; only ever raised in it
	_Atomic uint32_t lives; // how many there are; by the parent
	struct life life[LIVES_MAX];
	uint64_t name_offset[]; // of each file's name
};

// A process's view of the arena.
struct table {
	lh_arena *arena;
	lh_mutex mutexes; // element 0
	struct result *results;
	struct run *run;
	struct life *life; // this worker's; NULL in the parent
};

// table.c: these say on stderr what went wrong, and return whether nothing did.
struct file_list {
	char *names; // one after the other, each with its NUL
	size_t names_size;
	uint64_t *offset; // where each begins in names
	uint32_t files;
	uint64_t bytes; // size of them all
};

bool list_files(const char *directory, struct file_list *list);
void free_list(struct file_list *list);
bool create_table(const char *arena_name, const struct file_list *list, uint32_t workers,
		  struct table *table);
bool open_table(const char *arena_name, struct table *table);
bool complain(const char *what, int error); // a library call failed: prints why, returns false

static inline const char *file_name(const struct run *run, uint32_t file)
{
	return (const char *)run + run->names_offset + run->name_offset[file];
}

// file.c
int count_file(const char *name, struct totals *totals); // 0 or an errno; adds as it goes
// What `find directory -type f -print0 | LC_ALL=C wc --files0-from=-` says. Returns whether both
// programs succeeded; what they complain about is on stderr.
bool reference_counts(const char *directory, struct totals *ret_totals, uint32_t *ret_files);

// worker.c
enum visit { VISIT_DONE = 0, VISIT_COUNTED = 1 }; // else a negative errno of the lock
// Takes one file's mutex; counts the file unless that was done in this pass by one who lived on.
int visit(const struct table *table, lh_lease *lease, uint32_t file, lh_deadline deadline);
int worker_main(const char *arena_name, const char *life_text);

#endif
