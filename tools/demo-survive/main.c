// SPDX-License-Identifier: Apache-2.0
//
// demo-survive: four locks side by side. With each, a few processes take turns; then the process
// that holds the lock is killed, and we see who goes on and who stands still for ever. Exits 1 if
// Leasehold does not go on. The rates are no benchmark: between two turns each process sleeps.
#include "survive.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const uint64_t before_ns = LH_SEC(2), tick_ns = LH_MS(100), patience_ns = LH_SEC(30),
		      pause_ns = LH_MS(1) / 2;
enum { USUAL_SECONDS = 3, MOST_SECONDS = 86400 }; // to watch after the kills

static bool complain(const char *what, int error)
{
	fprintf(stderr, "demo-survive: %s: %s (%s)\n", what, lh_strerror(error), lh_error_detail());
	return false;
}

static void pause_for(uint64_t ns)
{
	const struct timespec duration = { .tv_nsec = (long)ns };

	nanosleep(&duration, NULL);
}

// ---- a process that takes turns ------------------------------------------------------------------

// Called holding the lock.
static void take_turn(struct lane *lane, bool owner_died)
{
	if (lane->killed_ns != 0 && lane->next_grant_ns == 0) {
		lane->told = owner_died;
		lane->next_grant_ns = lh_now();
	}
	if (lane->kill_wanted && lane->victim == 0) {
		lane->victim = getpid();
		for (;;)
			pause(); // holding, until SIGKILL
	}
	lane->turns++;
}

static void contend(struct contender *contender, unsigned index)
{
	const struct lock_kind *const kind = &lock_kinds[index];
	struct lane *const lane = &contender->shared->lane[index];
	int error = 0;

	if (index == LEASEHOLD_LANE)
		error = lh_lease_acquire(contender->arena, NULL, &contender->lease);
	contender->shared->ready++;
	while (!error) {
		bool owner_died;

		error = kind->lock(contender, &owner_died);
		if (error)
			break;
		take_turn(lane, owner_died);
		error = kind->unlock(contender);
		pause_for(pause_ns);
	}
	if (index == LEASEHOLD_LANE)
		complain(kind->name, error);
	else
		fprintf(stderr, "demo-survive: %s: %s\n", kind->name, strerror(error));
}

static bool start_process(struct contender *contender, unsigned index, pid_t *ret_pid)
{
	sigset_t none;

	*ret_pid = fork();
	if (*ret_pid < 0) {
		perror("demo-survive: fork");
		*ret_pid = 0;
		return false;
	}
	if (*ret_pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == contender->shared->parent)
			contend(contender, index);
		_exit(1);
	}
	return true;
}

// ---- the parent ----------------------------------------------------------------------------------

static pid_t processes[LANES][PROCESSES];

static void kill_everybody(void)
{
	for (unsigned i = 0; i < LANES * PROCESSES; i++) {
		pid_t *const pid = &processes[i / PROCESSES][i % PROCESSES];

		if (*pid) {
			kill(*pid, SIGKILL);
			waitpid(*pid, NULL, 0);
			*pid = 0;
		}
	}
}

// Whether all processes that should run do.
static bool nobody_ended(void)
{
	int status;

	for (unsigned i = 0; i < LANES * PROCESSES; i++) {
		const pid_t pid = processes[i / PROCESSES][i % PROCESSES];

		if (pid && waitpid(pid, &status, WNOHANG) != 0) {
			fprintf(stderr, "demo-survive: a process of %s ended by itself\n",
				lock_kinds[i / PROCESSES].name);
			return false;
		}
	}
	return true;
}

static bool all_ready(const struct shared *shared)
{
	return shared->ready == LANES * PROCESSES;
}

static bool all_holding(const struct shared *shared)
{
	for (unsigned i = 0; i < LANES; i++)
		if (shared->lane[i].victim == 0)
			return false;
	return true;
}

static bool wait_until(bool (*condition)(const struct shared *shared), const struct shared *shared,
		       const char *what)
{
	const uint64_t give_up_ns = lh_deadline_after(patience_ns).ns;

	while (!condition(shared)) {
		if (!nobody_ended())
			return false;
		if (lh_now() > give_up_ns) {
			fprintf(stderr, "demo-survive: gave up waiting for %s\n", what);
			return false;
		}
		pause_for(LH_MS(1));
	}
	return true;
}

static bool watch(const struct shared *shared, uint64_t duration_ns)
{
	const uint64_t end_ns = lh_now() + duration_ns;

	while (lh_now() < end_ns) {
		pause_for(tick_ns);
		if (!nobody_ended())
			return false;
		display(shared);
	}
	return true;
}

// Of each lock the one that holds it.
static bool kill_holders(struct shared *shared)
{
	for (unsigned i = 0; i < LANES; i++)
		shared->lane[i].kill_wanted = true;
	if (!wait_until(all_holding, shared, "the victims to hold their locks"))
		return false;
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *const lane = &shared->lane[i];

		lane->killed_ns = lh_now();
		kill(lane->victim, SIGKILL);
		waitpid(lane->victim, NULL, 0);
		for (unsigned process = 0; process < PROCESSES; process++)
			if (processes[i][process] == lane->victim)
				processes[i][process] = 0;
	}
	return true;
}

static bool summarise(const struct shared *shared, const double before[LANES])
{
	printf("\n%-21s%15s%11s%18s  %s\n", "", "turns/s before", "and after", "next grant after",
	       "told of it");
	for (unsigned i = 0; i < LANES; i++) {
		const struct lane *const lane = &shared->lane[i];

		printf("%-21s%15.0f%11.0f", lock_kinds[i].name, before[i], display_rate(i));
		if (lane->next_grant_ns != 0)
			printf("%15.2f ms  %s\n",
			       (double)(lane->next_grant_ns - lane->killed_ns) / 1e6,
			       lane->told ? "yes" : "no");
		else
			printf("%18s  no\n", "never");
	}
	const struct lane *const ours = &shared->lane[LEASEHOLD_LANE];
	const bool survived = ours->next_grant_ns != 0 && ours->told &&
			      display_rate(LEASEHOLD_LANE) > 0;
	printf("%s\n", survived ? "Leasehold went on, and said what had happened."
				: "Leasehold did NOT go on as it should.");
	return survived;
}

static bool run(struct contender *contender, unsigned seconds)
{
	struct shared *const shared = contender->shared;
	double before[LANES];

	printf("%d processes take turns with each lock; after %d s its holder is killed.\n",
	       (int)PROCESSES, (int)(before_ns / LH_SEC(1)));
	display_start();
	if (!watch(shared, before_ns))
		return false;
	for (unsigned i = 0; i < LANES; i++)
		before[i] = display_rate(i);
	if (!kill_holders(shared) || !watch(shared, LH_SEC(seconds)))
		return false;
	return summarise(shared, before);
}

static bool start_everybody(struct contender *contender)
{
	fflush(stdout);
	for (unsigned i = 0; i < LANES * PROCESSES; i++)
		if (!start_process(contender, i / PROCESSES,
				   &processes[i / PROCESSES][i % PROCESSES]))
			return false;
	return wait_until(all_ready, contender->shared, "all processes to start");
}

static bool create_everything(const char *arena_name, struct contender *contender)
{
	const struct lh_mutex_options options = { .name = "turn" };
	struct shared *const shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int error;

	if (shared == MAP_FAILED) {
		perror("demo-survive: mmap");
		return false;
	}
	shared->parent = getpid();
	contender->shared = shared;
	if (!create_locks(shared))
		return false;
	error = lh_arena_open(arena_name, LH_CREATE | LH_EXCL, NULL, &contender->arena);
	if (error)
		return complain("arena", error);
	error = lh_mutex_at(contender->arena, LH_ANYWHERE, &options, &contender->mutex);
	return error ? complain("mutex", error) : true;
}

// What the program is called with: how long to watch.
static bool parse_arguments(int argc, char **argv, unsigned *ret_seconds)
{
	char *end = NULL;

	*ret_seconds = USUAL_SECONDS;
	if (argc < 2)
		return true;
	const unsigned long seconds = strtoul(argv[1], &end, 10);
	if (argc == 2 && argv[1][0] >= '0' && argv[1][0] <= '9' && !*end && seconds >= 1 &&
	    seconds <= MOST_SECONDS) {
		*ret_seconds = (unsigned)seconds;
		return true;
	}
	fprintf(stderr,
		"usage: demo-survive [SECONDS]\n"
		"SECONDS: to watch after the holders are killed, 1 to %d (default: %d)\n",
		(int)MOST_SECONDS, (int)USUAL_SECONDS);
	return false;
}

int main(int argc, char **argv)
{
	struct contender contender = { 0 };
	unsigned seconds;
	char arena_name[64];
	sigset_t all, before;

	if (!parse_arguments(argc, argv, &seconds))
		return 2;
	// The name goes as soon as every process has its lease, so no end of this one leaves it
	// there.
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	snprintf(arena_name, sizeof(arena_name), "demo-survive-%d-%" PRIu64, (int)getpid(),
		 lh_now());
	bool good = create_everything(arena_name, &contender) && start_everybody(&contender);
	if (contender.arena && lh_arena_unlink(arena_name) != 0) {
		fprintf(stderr, "demo-survive: cannot unlink %s\n", arena_name);
		good = false;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (good)
		good = run(&contender, seconds);
	kill_everybody();
	if (contender.arena)
		lh_arena_close(contender.arena);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "demo-survive: cannot write what was seen\n");
		good = false;
	}
	return good ? 0 : 1;
}
