// SPDX-License-Identifier: Apache-2.0
//
// worker.c: one worker, from its start until all files are done or it is killed.
#include "count.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

// The file's totals, from the start: whatever half a count a dead worker has left is overwritten.
static void count_anew(const struct table *table, uint32_t file)
{
	struct result *const result = &table->results[file];

	result->totals = (struct totals){ 0 };
	result->error = count_file(file_name(table->run, file), &result->totals);
	result->pass = table->run->pass;
}

// Who was killed holding the mutex is found by its lease. A death that nobody caused is an error of
// the library, not a recovery.
static int note_recovery(const struct run *run, struct life *lives, uint64_t lease,
			 uint64_t granted)
{
	for (uint32_t i = run->lives; i-- > 0;) {
		if (lives[i].lease != lease)
			continue;
		if (lives[i].killed_ns == 0)
			break;
		lives[i].granted_ns = granted;
		return 0;
	}
	fprintf(stderr, "demo-count: told that lease %ju died; nobody killed it\n",
		(uintmax_t)lease);
	return -EPROTO;
}

int visit(const struct table *table, lh_lease *lease, uint32_t file, lh_deadline deadline)
{
	struct run *const run = table->run;
	enum visit outcome = VISIT_DONE;
	lh_mutex mutex;
	lh_grant grant;
	int error = lh_mutex_element(&table->mutexes, file, &mutex);

	if (!error)
		error = lh_mutex_lock(&mutex, lease, deadline, &grant);
	if (error)
		return error;
	if (table->life)
		table->life->holds = true;
	const bool owner_died = grant.flags & LH_GRANT_OWNER_DIED;
	const uint64_t granted = owner_died ? lh_now() : 0;

	if (owner_died || table->results[file].pass != run->pass) {
		count_anew(table, file);
		outcome = VISIT_COUNTED;
	}
	if (owner_died) {
		error = note_recovery(run, run->life, grant.previous, granted);
		if (!error)
			error = lh_mutex_consistent(&mutex, lease);
	}
	// Nobody else raises the cursor from here: that takes this mutex.
	if (run->cursor == file)
		run->cursor = file + 1;
	if (table->life)
		table->life->holds = false;
	const int unlocked = lh_mutex_unlock(&mutex, lease);
	return error ? error : unlocked ? unlocked : (int)outcome;
}

// Counts the first file that is neither done nor held. Only so many files at a time are held that
// about every second worker finds none; it waits for the first one that is held. So there is
// somebody to be told when a holder is killed.
static int work_once(const struct table *table, lh_lease *lease)
{
	const uint32_t most_held = (table->run->workers + 1) / 2;
	const uint32_t start = table->run->cursor;
	uint32_t held = 0, first_held = start;
	int outcome = VISIT_DONE;

	for (uint32_t file = start; file < table->run->files && held < most_held; file++) {
		outcome = visit(table, lease, file, LH_NOW);
		if (outcome == -EBUSY) {
			if (held++ == 0)
				first_held = file;
		} else if (outcome != VISIT_DONE) {
			return outcome;
		}
	}
	if (held == 0)
		return VISIT_DONE;
	outcome = visit(table, lease, first_held, lh_deadline_after(LH_MS(100)));
	return outcome == -ETIMEDOUT ? VISIT_DONE : outcome;
}

int worker_main(const char *arena_name, const char *life_text)
{
	const struct lh_lease_options options = { .label = "demo-count" };
	const unsigned long life = strtoul(life_text, NULL, 10);
	struct table table = { 0 };
	lh_lease *lease;
	int error;

	// The parent's end kills its workers.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || !open_table(arena_name, &table) ||
	    getppid() != table.run->parent || life >= table.run->lives)
		return 1;
	error = lh_lease_acquire(table.arena, &options, &lease);
	if (error) {
		complain("lease", error);
		return 1;
	}
	table.life = &table.run->life[life];
	table.life->lease = lh_lease_id(lease);
	while (error >= 0 && table.run->cursor < table.run->files)
		error = work_once(&table, lease);
	if (error < 0)
		complain("worker", error);
	const int released = lh_lease_release(lease);
	if (released)
		complain("release", released);
	const int closed = lh_arena_close(table.arena);
	if (closed)
		complain("close", closed);
	return error < 0 || released || closed;
}
