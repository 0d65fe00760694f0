// SPDX-License-Identifier: Apache-2.0
//
// Who holds what this process waits for, as the arena shows it to any inspector.

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lease_run.h"

// The arena of a shm:// URL, or NULL.
static lh_arena *open_arena(const char *url)
{
	static const char scheme[] = "shm://";
	char name[256];
	lh_arena *arena;
	size_t length;

	if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
		return NULL;
	url += sizeof(scheme) - 1;
	length = strcspn(url, "?");
	if (length >= sizeof(name))
		return NULL;
	memcpy(name, url, length);
	name[length] = '\0';
	return lh_arena_open(name, LH_READ_ONLY | LH_ANY_OWNER, NULL, &arena) == 0 ? arena : NULL;
}

// What our own lease waits for; 0: nothing yet.
static uint64_t awaited(const lh_arena *arena)
{
	struct lh_lease_info lease;
	uint64_t cursor = 0;

	while (lh_next_lease(arena, &cursor, &lease) == 0) {
		if (lease.pid == getpid() && lease.waits_for)
			return lease.waits_for;
	}
	return 0;
}

static bool find_lease(const lh_arena *arena, uint64_t id, struct lh_lease_info *ret_lease)
{
	uint64_t cursor = 0;

	while (lh_next_lease(arena, &cursor, ret_lease) == 0) {
		if (ret_lease->id == id)
			return true;
	}
	return false;
}

// Prints "NAME is held by COMMAND (lease-run PID)" of another lease-run, whose label says so
// (lock.c); of any other program its label and its pid.
static void say_lease(const struct options *options, const struct lh_lease_info *lease)
{
	const char *label = *lease->label ? lease->label : lease->command;
	char name[SHOWN_TEXT];
	int pid, length = 0;

	if (sscanf(label, PROGRAM " %d %n", &pid, &length) == 1 && length > 0)
		say("%s is held by %s (" PROGRAM " %d)", shown(options->name, name), label + length,
		    pid);
	else
		say("%s is held by %s (pid %d)", shown(options->name, name), label,
		    (int)lease->pid);
}

bool holder_say(const struct options *options)
{
	lh_arena *arena = open_arena(options->url);
	struct lh_lease_info lease;
	struct lh_hold_info hold;
	uint64_t cursor = 0, object;
	bool found = false;

	if (!arena)
		return true;
	object = awaited(arena);
	while (object && lh_next_hold(arena, &cursor, &hold) == 0) {
		if (hold.offset != object || hold.mode == LH_HOLD_INTENT ||
		    !find_lease(arena, hold.lease, &lease))
			continue;
		say_lease(options, &lease);
		found = true;
	}
	lh_arena_close(arena);
	return found;
}
