// SPDX-License-Identifier: Apache-2.0
//
// top.h: what the parts of the verb top share: top_model.c looks at the arena and reckons rates,
// top_frame.c puts what it found into lines, top.c shows these in a terminal or prints them.
#ifndef LEASE_INSPECTOR_TOP_H
#define LEASE_INSPECTOR_TOP_H

#include "inspector.h"

enum { TOP_HISTORY = 60, TOP_LINE = 512 };

// The last looks' values, newest last.
struct series {
	double values[TOP_HISTORY];
	size_t count;
};

// An object from look to look.
struct track {
	uint64_t offset;
	uint32_t kind;
	uint64_t token; /* arrays: the sum of all */
	struct series rates;
};

// A line of each table.
struct top_object {
	char name[VIEW_OBJECT_NAME];
	const char *kind, *state;
	int32_t pid; /* of the first holder; 0: nobody */
	char command[16];
	uint64_t held_ns, waited_ns; /* 0: unknown, none */
	size_t holders, waiters;
	bool damaged;
	double rate; /* grants in a second */
	const struct series *rates;
};

struct top_lease {
	uint64_t id;
	int32_t pid;
	const char *state, *process;
	char command[16], label[32];
	size_t holds;
	char waits_for[VIEW_OBJECT_NAME]; /* "": nothing */
	uint64_t waited_ns;
};

struct top_model {
	const struct options *options;
	const char *arena;
	uint64_t inode, looked_ns, newest_event;
	struct track *tracks; /* by offset */
	size_t track_count;
	// What the last look found.
	struct top_object *objects;
	struct top_lease *leases; /* those that wait, are lost, or whose process does not run */
	size_t object_count, lease_count;
	size_t processes, leases_live, leases_expired, leases_dead, holds, waiters;
	uint64_t longest_wait;
	struct series grants, waiting, recoveries;
};

// Looks. 0, or the library's error.
int top_look(struct top_model *model);
void top_forget(struct top_model *model);

enum top_order { TOP_BY_RATE, TOP_BY_WAITERS, TOP_BY_WAIT, TOP_BY_NAME, TOP_ORDERS };

// Lines of one frame, each a NUL-terminated string no wider than asked for.
struct top_frame {
	char (*lines)[TOP_LINE];
	size_t count, capacity;
	size_t headings[2]; /* which lines are the tables' headings */
};
// height 0: as many lines as there are things to show.
void top_compose(struct top_model *model, enum top_order order, size_t width, size_t height,
		 struct top_frame *frame);
void top_frame_free(struct top_frame *frame);

#endif
