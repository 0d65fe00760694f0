// SPDX-License-Identifier: Apache-2.0
//
// A process at its limits: no descriptors left, no standard ones, and files that may not be as large as an arena.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/stage.h"

// ---- no descriptors ------------------------------------------------------------------------------

static void leave_descriptors(unsigned count)
{
	struct rlimit limit;
	int lowest;

	need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	lowest = dup(STDIN_FILENO); // of those that are free
	need(lowest >= 0);
	close(lowest);
	limit.rlim_cur = (rlim_t)lowest + count;
	need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

// Opening needs some; with too few, however many those are, it is an error that is not remembered.
static void open_with_few_descriptors(const struct line *line, void *unused)
{
	lh_arena *arena = NULL;

	(void)line;
	(void)unused;
	for (unsigned left = 0; !arena; left++) {
		int error;

		need(left < 8);
		leave_descriptors(left);
		error = lh_arena_open(stage_name(), LH_CREATE, NULL, &arena);
		need(error == 0 ? arena != NULL : error == -EMFILE && arena == NULL);
	}
	need_equal(lh_arena_close(arena), 0);
}

static void hold_as(const struct line *line, void *options)
{
	const struct lh_lease_options *kind = options;
	struct stage stage = stage_open(NULL, 0);
	int flags;

	stage_lease(&stage, kind);
	flags = stage_lock(&stage, 0);
	if (kind->ttl_ns)
		need_equal(lh_lease_renew(stage.lease, LH_MS(5)), 0);
	line_say(line, flags);
	line_hear(line);
}

// Sleeping, being granted and judging the dead go on with none left.
static void recover_without_descriptors(const struct line *line, void *unused)
{
	static struct lh_lease_options kinds[] = {
		{ .label = "thread" },
		{ .label = "process", .flags = LH_LEASE_PROCESS },
		{ .label = "ttl", .ttl_ns = LH_SEC(1000) },
	};
	struct stage stage = stage_open(NULL, 0);

	(void)line;
	(void)unused;
	stage_lease(&stage, NULL);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct peer holder;
		lh_lease *another = NULL;
		int error;

		leave_descriptors(100);
		holder = peer_start(hold_as, &kinds[i]);
		need_equal(line_hear(&holder.line), 0);
		leave_descriptors(0);
		if (!kinds[i].ttl_ns)
			kill(holder.pid, SIGKILL);
		need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
		need_equal(lh_mutex_consistent(&stage.mutexes[0], stage.lease), 0);
		stage_unlock(&stage, 0);
		error = lh_lease_acquire(stage.arena, &kinds[1], &another);
		need(error == 0 || error == -EMFILE);
		if (!error)
			need_equal(lh_lease_release(another), 0);
		leave_descriptors(100);
		peer_kill(&holder);
	}
	leave_descriptors(0);
	need_equal(lh_lease_loss_fd(stage.lease), -EMFILE);
	leave_descriptors(100);
	need(lh_lease_loss_fd(stage.lease) >= 0);
	stage_is_clean(&stage);
	stage_close(&stage);
}

static void without_descriptors_errors_are_told_and_pass(void **state)
{
	struct peer peer;

	(void)state;
	stage_name();
	peer = peer_start(open_with_few_descriptors, NULL);
	peer_join(&peer);
	stage_unlink();
	peer = peer_start(recover_without_descriptors, NULL);
	peer_join(&peer);
	stage_unlink();
}

// ---- no standard output --------------------------------------------------------------------------

static void speak_without_standard_descriptors(const struct line *line, void *unused)
{
	static const char words[] = "what a program has to say\n";
	struct stage stage;
	int fd;

	(void)line;
	(void)unused;
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		close(fd);
	stage = stage_open(NULL, 0);
	stage_lease(&stage, NULL);
	need(lh_lease_loss_fd(stage.lease) > STDERR_FILENO);
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		need(write(fd, words, sizeof(words)) == -1);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage = stage_open(NULL, 0); // one that is there
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		need(write(fd, words, sizeof(words)) == -1);
	stage_close(&stage);
}

// G9: "accidental damage". A daemon's cron job, say, has none: its messages would go into the arena.
static void what_is_printed_without_standard_output_is_not_written_into_the_arena(void **state)
{
	struct peer peer;

	(void)state;
	stage_name();
	peer = peer_start(speak_without_standard_descriptors, NULL);
	peer_join(&peer);
	stage_unlink();
}

// ---- a limit on files ----------------------------------------------------------------------------

static void create_beyond_the_limit(const struct line *line, void *unused)
{
	const struct rlimit limit = { 4096, 4096 };
	lh_arena *arena;

	(void)line;
	(void)unused;
	need(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	need_equal(lh_arena_open(stage_name(), LH_CREATE, NULL, &arena), -ENOSPC);
	need(strstr(lh_error_detail(), "RLIMIT_FSIZE") != NULL);
}

// The kernel would send SIGXFSZ.
static void a_limit_on_the_size_of_files_is_enospc(void **state)
{
	struct peer peer = peer_start(create_beyond_the_limit, NULL);

	(void)state;
	peer_join(&peer);
	need_equal(lh_arena_unlink(stage_name()), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(without_descriptors_errors_are_told_and_pass), // first: nothing is started yet
		STAGED(what_is_printed_without_standard_output_is_not_written_into_the_arena),
		STAGED(a_limit_on_the_size_of_files_is_enospc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
