// SPDX-License-Identifier: Apache-2.0
// Passes each probe once at least: waits in vain, is granted what a killed process held, loses a
// lease to its TTL. Prints the arena's inode, for whoever watches.
#include "../check.h"

#include <leasehold/leasehold.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start_holder(lh_arena *arena, const lh_mutex *mutex)
{
	int told[2];
	lh_lease *lease;
	char byte;
	pid_t holder;

	CHECK(pipe(told) == 0);
	holder = fork();
	CHECK(holder >= 0);
	if (holder == 0) {
		CHECK(lh_thread_lease(arena, &lease) == 0);
		CHECK(lh_mutex_lock(mutex, lease, LH_FOREVER, NULL) == 0);
		CHECK(write(told[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	CHECK(read(told[0], &byte, 1) == 1);
	return holder;
}

// A child that kills the holder once the caller sleeps, so that it is known to have waited.
static pid_t kill_once_asleep(pid_t holder)
{
	char path[32], text[256], *end = NULL;
	const pid_t killer = fork();

	CHECK(killer >= 0);
	if (killer > 0)
		return killer;
	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)getppid());
	while (!end || end[2] != 'S') {
		FILE *file = fopen(path, "r");

		CHECK(file && fgets(text, sizeof(text), file));
		fclose(file);
		end = strrchr(text, ')'); // proc(5): "pid (command) state ..."
		CHECK(end);
	}
	CHECK(kill(holder, SIGKILL) == 0);
	_exit(0);
}

static void be_late(lh_arena *arena)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(2), .label = "brief" };
	lh_lease *lease;

	CHECK(lh_lease_acquire(arena, &brief, &lease) == 0);
	while (lh_lease_valid(lease))
		;
	CHECK(lh_lease_release(lease) == -ESTALE);
}

int main(int argc, char **argv)
{
	const struct lh_mutex_options options = { .name = "one" };
	struct stat status;
	lh_arena *arena;
	lh_lease *lease;
	lh_mutex mutex;
	lh_grant grant;
	char path[64];
	pid_t holder, killer;

	CHECK(argc == 2);
	snprintf(path, sizeof(path), "/dev/shm/%s", argv[1]);
	CHECK(lh_arena_open(argv[1], LH_CREATE | LH_EXCL, NULL, &arena) == 0);
	CHECK(stat(path, &status) == 0);
	CHECK(lh_mutex_at(arena, LH_ANYWHERE, &options, &mutex) == 0);
	printf("%llu %llu\n", (unsigned long long)status.st_ino,
	       (unsigned long long)lh_mutex_offset(&mutex));
	holder = start_holder(arena, &mutex);
	CHECK(lh_thread_lease(arena, &lease) == 0);
	CHECK(lh_mutex_lock(&mutex, lease, lh_deadline_after(LH_MS(5)), &grant) == -ETIMEDOUT);
	killer = kill_once_asleep(holder);
	CHECK(lh_mutex_lock(&mutex, lease, LH_FOREVER, &grant) == 0);
	CHECK(waitpid(holder, NULL, 0) == holder);
	CHECK(waitpid(killer, NULL, 0) == killer);
	CHECK(lh_mutex_consistent(&mutex, lease) == 0);
	CHECK(lh_mutex_unlock(&mutex, lease) == 0);
	be_late(arena);
	CHECK(lh_lease_release(lease) == 0);
	CHECK(lh_arena_close(arena) == 0);
	return lh_arena_unlink(argv[1]) != 0;
}
