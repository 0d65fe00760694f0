// SPDX-License-Identifier: Apache-2.0
//
// procs.c: the verb procs, which shows the processes that use an arena: those that have it open, as
// /proc tells, and those that own leases in it, whether or not they are still there.

#include <stdio.h>
#include <stdlib.h>

#include "inspector.h"

enum {
	PROC_PID,
	PROC_COMMAND,
	PROC_STATE,
	PROC_OPEN,
	PROC_LEASES,
	PROC_LOST,
	PROC_HOLDS,
	PROC_WAITS,
	PROC_WAITED,
	PROC_KEEPER,
	PROC_THREADS,
	PROC_OTHER,
	PROC_COLUMNS
};

static const struct column columns[PROC_COLUMNS] = {
	[PROC_PID] = { "PID", "pid", SCOLS_FL_RIGHT },
	[PROC_COMMAND] = { "COMMAND", "command", 0 },
	[PROC_STATE] = { "STATE", "state", 0 },
	[PROC_OPEN] = { "OPEN", "open", 0 },
	[PROC_LEASES] = { "LEASES", "leases", SCOLS_FL_RIGHT },
	[PROC_LOST] = { "LOST", "lost", SCOLS_FL_RIGHT },
	[PROC_HOLDS] = { "HOLDS", "holds", SCOLS_FL_RIGHT },
	[PROC_WAITS] = { "WAITS", "waits", SCOLS_FL_RIGHT },
	[PROC_WAITED] = { "WAITED", "longest_wait_ns", SCOLS_FL_RIGHT },
	[PROC_KEEPER] = { "KEEPER", "keeper", 0 },
	[PROC_THREADS] = { "THREADS", "threads", SCOLS_FL_RIGHT | COLUMN_EXTRA },
	[PROC_OTHER] = { NULL, "other_pid_namespace", 0 },
};

const struct columns procs_columns = { columns, PROC_COLUMNS };

// A process: by its number and start time, since numbers come again; 0: it owns no lease.
struct user {
	pid_t pid;
	uint64_t start_time, pid_namespace;
	const struct lh_lease_info *lease; /* one of its leases; NULL: it has none */
	bool open;
	size_t leases, lost, holds, waits;
	uint64_t longest_wait;
};

struct users {
	struct user *items;
	size_t count;
};

static struct user *user_of(struct users *users, const struct lh_lease_info *lease)
{
	for (size_t i = 0; i < users->count; i++)
		if (users->items[i].pid == lease->pid &&
		    users->items[i].start_time == lease->start_time &&
		    users->items[i].pid_namespace == lease->pid_namespace)
			return &users->items[i];
	users->items[users->count] = (struct user){ .pid = lease->pid,
						    .start_time = lease->start_time,
						    .pid_namespace = lease->pid_namespace,
						    .lease = lease };
	return &users->items[users->count++];
}

static void count_leases(struct users *users, const struct view *view)
{
	for (size_t i = 0; i < view->lease_count; i++) {
		const struct lh_lease_info *lease = &view->leases[i];
		struct user *user = user_of(users, lease);

		user->leases++;
		user->lost += view_is_lost(lease);
		user->holds += view_held_by(view, lease->id);
		user->waits += lease->waits_for != 0;
		if (lease->waits_for &&
		    view_since(view, lease->waits_since_ns) > user->longest_wait)
			user->longest_wait = view_since(view, lease->waits_since_ns);
	}
}

static void mark_open(struct users *users, pid_t pid)
{
	struct process process;

	for (size_t i = 0; i < users->count; i++) {
		if (users->items[i].pid == pid && users->items[i].lease &&
		    !process_is_elsewhere(users->items[i].lease) &&
		    process_read(pid, users->items[i].start_time, &process)) {
			users->items[i].open = true;
			return;
		}
	}
	users->items[users->count++] = (struct user){ .pid = pid, .open = true };
}

static int order_users(const void *a, const void *b)
{
	const pid_t x = ((const struct user *)a)->pid, y = ((const struct user *)b)->pid;

	return (x > y) - (x < y); // an arena's bytes may say any number
}

static void show_user(struct table *table, const struct user *user, bool partial)
{
	const struct row row = table_row(table, NULL);
	const bool elsewhere = user->lease && process_is_elsewhere(user->lease);
	struct process process = { .state = 0 };
	const bool there = !elsewhere && process_read(user->pid, user->start_time, &process);
	const bool open_known = user->open || !(elsewhere || (partial && there));

	row_number(&row, PROC_PID, (uint32_t)user->pid);
	row_text(&row, PROC_COMMAND,
		 there || !user->lease ? process.command : user->lease->command);
	row_text(&row, PROC_STATE, elsewhere ? "?" : process_state(&process));
	row_cell(&row, PROC_OPEN,
		 !open_known  ? "?"
		 : user->open ? "yes"
			      : "no",
		 row.json && open_known ? json_boolean(user->open) : NULL);
	row_number(&row, PROC_LEASES, user->leases);
	row_number(&row, PROC_LOST, user->lost);
	row_number(&row, PROC_HOLDS, user->holds);
	row_number(&row, PROC_WAITS, user->waits);
	if (user->waits)
		row_duration(&row, PROC_WAITED, user->longest_wait);
	if (there) {
		const bool keeper = row_shows(&row, PROC_KEEPER) && process_has_keeper(user->pid);

		row_cell(&row, PROC_KEEPER, keeper ? "yes" : "no",
			 row.json ? json_boolean(keeper) : NULL);
		row_number(&row, PROC_THREADS, process.threads);
	}
	row_cell(&row, PROC_OTHER, NULL, row.json ? json_boolean(elsewhere) : NULL);
}

int verb_procs(const struct options *options, const char *arena)
{
	struct attachments attachments;
	struct table table;
	struct view view;
	const int error = view_open(&view, options, arena);

	if (error)
		return inspector_complain(arena, error);
	attachments_load(&attachments);
	const struct span open = attachments_of(&attachments, arena);
	struct users users = { .items = (struct user *)inspector_need(
				       calloc(view.lease_count + open.end - open.first + 1,
					      sizeof(struct user))) };

	count_leases(&users, &view);
	for (size_t i = open.first; i < open.end; i++)
		mark_open(&users, attachments.items[i].pid);
	if (users.count > 1)
		qsort(users.items, users.count, sizeof(struct user), order_users);
	table_start(&table, options, columns, PROC_COLUMNS);
	for (size_t i = 0; i < users.count; i++)
		show_user(&table, &users.items[i], attachments.partial);
	table_show(&table, &view, "processes", "no process uses it");
	free(users.items);
	attachments_free(&attachments);
	return view_end(&view);
}
