// SPDX-License-Identifier: Apache-2.0
//
// pass.c: starts the workers, kills them, and sums up what those that lived on have counted.
#include "demo.h"

#include <inttypes.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// ---- workers -------------------------------------------------------------------------------------

static bool start_worker(struct demo *demo, struct worker *worker)
{
	struct run *const run = demo->table.run;
	char life[16];
	const char *const arguments[] = { "demo-count", "--worker", demo->arena_name, life, NULL };
	posix_spawnattr_t attributes;
	sigset_t of_terminal;
	int error;

	if (run->lives == LIVES_MAX) {
		fprintf(stderr, "demo-count: gave up after %u workers\n", (unsigned)LIVES_MAX);
		return false;
	}
	worker->life = run->lives++;
	snprintf(life, sizeof(life), "%" PRIu32, worker->life);
	// What a terminal sends to all of its foreground processes is for the parent, which then kills its
	// workers: it stays blocked in them from their first instruction on.
	sigemptyset(&of_terminal);
	sigaddset(&of_terminal, SIGINT);
	sigaddset(&of_terminal, SIGHUP);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &of_terminal);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	error = posix_spawn(&worker->pid, "/proc/self/exe", NULL, &attributes, (char **)arguments,
			    environ);
	posix_spawnattr_destroy(&attributes);
	if (error) {
		worker->pid = 0;
		fprintf(stderr, "demo-count: cannot start a worker: %s\n", strerror(error));
		return false;
	}
	demo->running++;
	return true;
}

// A worker that was waited for. Returns false if it ended otherwise than it should.
static bool worker_ended(struct demo *demo, struct worker *worker, int status)
{
	const pid_t pid = worker->pid;

	worker->pid = 0;
	demo->running--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status))
		fprintf(stderr,
			"demo-count: worker %d was ended by signal %d, not sent from here\n",
			(int)pid, WTERMSIG(status));
	else
		fprintf(stderr, "demo-count: worker %d failed (see above)\n", (int)pid);
	return false;
}

static bool collect_workers(struct demo *demo)
{
	bool good = true;

	for (uint32_t i = 0; i < demo->workers; i++) {
		struct worker *const worker = &demo->worker[i];
		int status;

		if (worker->pid && waitpid(worker->pid, &status, WNOHANG) == worker->pid)
			good = worker_ended(demo, worker, status) && good;
	}
	return good;
}

// Ends a run that has failed or was stopped. Those that are killed later may still be told of the
// death of those killed earlier, so these are noted like any.
static void kill_all_workers(struct demo *demo)
{
	for (uint32_t i = 0; i < demo->workers; i++) {
		const struct worker *const worker = &demo->worker[i];

		if (worker->pid) {
			demo->table.run->life[worker->life].killed_ns = lh_now();
			kill(worker->pid, SIGKILL);
		}
	}
	for (uint32_t i = 0; i < demo->workers; i++) {
		if (demo->worker[i].pid)
			waitpid(demo->worker[i].pid, NULL, 0);
		demo->worker[i].pid = 0;
	}
	demo->running = 0;
}

// ---- the saboteur --------------------------------------------------------------------------------

static void plan_next_kill(struct demo *demo)
{
	const double share = 2 * erand48(demo->random);

	demo->next_kill_ns = lh_now() + (uint64_t)(share * (double)demo->kill_every_ns);
}

static struct worker *any_worker(struct demo *demo)
{
	uint32_t choice = (uint32_t)(erand48(demo->random) * demo->running);
	struct worker *worker = demo->worker;

	while (!worker->pid || choice-- > 0)
		worker++;
	return worker;
}

// A worker that holds a file, as soon as there is one; NULL if none comes for a while. Small files are
// held so shortly that whoever is killed at any moment hardly ever holds one.
static struct worker *worker_that_holds(struct demo *demo)
{
	struct run *const run = demo->table.run;
	const uint64_t until = lh_now() + LH_MS(10);

	while (run->cursor < run->files && lh_now() < until) {
		for (uint32_t i = 0; i < demo->workers; i++) {
			if (demo->worker[i].pid && run->life[demo->worker[i].life].holds)
				return &demo->worker[i];
		}
		sched_yield(); // to them, if there is but one processor
	}
	return NULL;
}

// Kills a worker and starts another. After as many kills as were wanted, only recoveries are missing.
static bool sabotage(struct demo *demo)
{
	struct worker *const worker = demo->kills < demo->kills_wanted ? any_worker(demo)
								       : worker_that_holds(demo);
	struct life *life;
	int status;

	if (!worker) { // a look at signals and at those that have ended, and again
		demo->next_kill_ns = lh_now() + LH_MS(1) / 4;
		return true;
	}
	life = &demo->table.run->life[worker->life];
	life->killed_ns = lh_now();
	kill(worker->pid, SIGKILL);
	if (waitpid(worker->pid, &status, 0) != worker->pid) {
		perror("demo-count: waitpid");
		return false;
	}
	plan_next_kill(demo);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		life->killed_ns = 0; // it had ended by itself just before
		return worker_ended(demo, worker, status);
	}
	worker->pid = 0;
	demo->running--;
	demo->kills++;
	return start_worker(demo, worker);
}

// What is longer than the terminal is wide is cut off: a line that goes on in the next would not be
// drawn over.
#define NO_WRAP "\033[?7l"
#define WRAP "\033[?7h"

// ---- a pass --------------------------------------------------------------------------------------

void show_progress(struct demo *demo, const char *what)
{
	const struct run *const run = demo->table.run;

	if (!demo->terminal)
		return;
	demo->next_show_ns = lh_now() + LH_MS(100);
	printf("\r\033[K" NO_WRAP "pass %" PRIu32 ": %" PRIu32 " of %" PRIu32 " files, %" PRIu32
	       " kills, %" PRIu32 " recoveries%s" WRAP,
	       run->pass, run->cursor, run->files, demo->kills, count_recoveries(run, NULL), what);
	fflush(stdout);
}

void end_progress(const struct demo *demo)
{
	if (demo->terminal)
		fputs("\r\033[K", stdout);
	fflush(stdout);
}

// Sleeps until a worker ends, a signal says to stop, or the given time has come.
static void await(struct demo *demo, uint64_t until_ns)
{
	const uint64_t now = lh_now();
	const uint64_t left = until_ns > now ? until_ns - now : 0;
	const struct timespec timeout = { .tv_sec = (time_t)(left / LH_SEC(1)),
					  .tv_nsec = (long)(left % LH_SEC(1)) };
	const int caught = sigtimedwait(&demo->wake, NULL, &timeout);

	if (caught > 0 && caught != SIGCHLD)
		demo->signal = caught;
}

void notice_signal(struct demo *demo)
{
	const struct timespec none = { 0 };
	const int caught = sigtimedwait(&demo->stop, NULL, &none);

	if (caught > 0)
		demo->signal = caught;
}

bool enough_kills(const struct demo *demo)
{
	return demo->kills >= demo->kills_wanted &&
	       count_recoveries(demo->table.run, NULL) >= demo->recoveries_wanted;
}

// Until all workers have found that all files are done.
bool run_pass(struct demo *demo)
{
	bool good = true;

	demo->table.run->cursor = 0;
	demo->table.run->pass++;
	plan_next_kill(demo);
	if (demo->kills >= demo->kills_wanted)
		demo->next_kill_ns = 0; // a pass may be over by then
	for (uint32_t i = 0; i < demo->workers && good; i++)
		good = start_worker(demo, &demo->worker[i]);
	while (good && demo->running > 0 && !demo->signal) {
		const uint64_t now = lh_now();
		const bool resting = enough_kills(demo);
		uint64_t wake = now + LH_MS(100);

		if (now > demo->give_up_ns) {
			end_progress(demo);
			fprintf(stderr,
				"demo-count: gave up after %" PRIu32 " kills and %" PRIu32
				" recoveries; see --give-up\n",
				demo->kills, count_recoveries(demo->table.run, NULL));
			good = false;
		} else if (!resting && now >= demo->next_kill_ns) {
			good = sabotage(demo);
		} else {
			if (now >= demo->next_show_ns)
				show_progress(demo, "");
			if (!resting && demo->next_kill_ns < wake)
				wake = demo->next_kill_ns;
			await(demo, wake);
			good = collect_workers(demo);
		}
	}
	kill_all_workers(demo);
	end_progress(demo);
	return good && !demo->signal;
}

// What the last kill has left is recovered here.
bool sum_results(const struct demo *demo, struct sum *ret_sum)
{
	const struct table *const table = &demo->table;
	bool good = true;
	lh_lease *lease;
	int error = lh_lease_acquire(table->arena, NULL, &lease);

	*ret_sum = (struct sum){ .files = table->run->files };
	if (error)
		return complain("lease", error);
	for (uint32_t file = 0; file < table->run->files; file++) {
		const struct result *const result = &table->results[file];

		error = visit(table, lease, file, LH_NOW);
		if (error < 0)
			good = complain(file_name(table->run, file), error);
		if (result->error) {
			fprintf(stderr, "demo-count: %s: %s\n", file_name(table->run, file),
				strerror(result->error));
			good = false;
		}
		ret_sum->totals.lines += result->totals.lines;
		ret_sum->totals.words += result->totals.words;
		ret_sum->totals.bytes += result->totals.bytes;
	}
	error = lh_lease_release(lease);
	return error ? complain("release", error) : good;
}
