// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A drafter dies, or is stopped, succeeded and continued, after each instruction of begin, commit,
// abort and lease release; so does who succeeds a dead one, or waits. What is read is whole and the
// last committed value, versions count commits, tokens rise, a commit after loss changes nothing,
// and who waits gets in without a backstop.
#include "tests/crash/crash.h"
#include "tests/crash/values.h"

#include "arena/lease.h"
#include "src/slots.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AFTER = 4 };

static lh_cell cell; // the director's, inherited by those it forks
static uint64_t version, number, token;

static int write_number(lh_lease *lease, uint64_t which, lh_deadline deadline)
{
	lh_grant grant;
	void *draft;
	int error = lh_cell_begin(&cell, lease, deadline, &draft, &grant);

	if (error)
		return error;
	*(struct value *)draft = value_of(which);
	return lh_cell_commit(&cell, lease);
}

static struct object_header *header_of(void)
{
	return slots_of(cell.private_).header;
}

// ---- the stage -----------------------------------------------------------------------------------

static void stage(struct crash_scene *scene)
{
	const struct lh_cell_options options = { .size = VALUE_SIZE, .name = "cell" };

	crash_stage(scene);
	scene->placements = 2;
	crash_must(scene, lh_cell_at(scene->arena, LH_ANYWHERE, &options, &cell), "cell");
	crash_must(scene, write_number(scene->lease, 1, LH_NOW), "write");
	version = number = token = 1;
}

// Another drafter has died in the middle of its commit.
static void stage_dead_drafter(struct crash_scene *scene)
{
	pid_t pid;

	stage(scene);
	pid = crash_fork(scene);
	if (pid == 0) {
		struct slots slots = slots_of(cell.private_);
		lh_lease *lease;
		uint32_t slot;
		void *draft;

		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), "begin");
		crash_must(scene, slots_tag(&slots, lease, atomic_load(&slots.header->word), &slot),
			   "tag");
		raise(SIGKILL);
	}
	crash_bury(scene, pid);
	token++;
}

// The director drafts: the victim will have to wait.
static void stage_held(struct crash_scene *scene)
{
	void *draft;

	stage(scene);
	crash_must(scene, lh_cell_begin(&cell, scene->lease, LH_NOW, &draft, NULL), "begin");
	token++;
}

// Another process drafts, and stays.
static void stage_drafter(struct crash_scene *scene)
{
	lh_lease *lease;
	void *draft;

	stage(scene);
	scene->holder = crash_fork(scene);
	if (scene->holder == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_cell_begin(&cell, lease, LH_NOW, &draft, NULL), "begin");
		atomic_store(&scene->shared->go, 1);
		for (;;)
			pause();
	}
	while (!atomic_exchange(&scene->shared->go, 0))
		sched_yield();
	token++;
}

static void draft_two(struct crash_scene *scene)
{
	void *draft;

	crash_must(scene, lh_cell_begin(&cell, scene->mine, LH_NOW, &draft, NULL), "begin");
	*(struct value *)draft = value_of(2);
}

static void drafting(struct crash_scene *scene)
{
	crash_with_lease(scene);
	draft_two(scene);
}

static void drafting_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	draft_two(scene);
}

// Writes 50 as soon as it gets in.
static bool writer_waits(struct crash_scene *scene)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count++];
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		patience_begin(&scene->shared->patience);
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
		waiter->result = write_number(lease, 50, LH_FOREVER);
		waiter->granted_ns = lh_now();
		crash_must(scene, lh_lease_release(lease), "waiter's release");
		atomic_store(&waiter->done, 1);
		_exit(0);
	}
	waiter->pid = pid;
	crash_await_asleep(scene, pid);
	return true;
}

static int act_begin(struct crash_scene *scene)
{
	void *draft;
	const int error = lh_cell_begin(&cell, scene->mine, LH_FOREVER, &draft, NULL);

	if (!error && value_number(draft) != 1)
		return -EILSEQ;
	return error;
}

static int act_commit(struct crash_scene *scene)
{
	return lh_cell_commit(&cell, scene->mine);
}

static int act_abort(struct crash_scene *scene)
{
	return lh_cell_abort(&cell, scene->mine);
}

// ---- what must be true ---------------------------------------------------------------------------

// G7
static void check_value(struct crash_scene *scene, const char *when)
{
	struct value value;
	uint64_t seen = 0;
	const int error = lh_cell_read(&cell, &value, &seen);

	CRASH_CHECK(scene, error == 0, "%s: read said %d", when, error);
	CRASH_CHECK(scene, value_number(&value) == number && seen == version,
		    "G7: %s: value %llu of version %llu instead of %llu of %llu", when,
		    (unsigned long long)value_number(&value), (unsigned long long)seen,
		    (unsigned long long)number, (unsigned long long)version);
}

// Whether the victim's draft was committed; from now on it has to stay.
static bool look_whether_committed(struct crash_scene *scene)
{
	struct value value;
	uint64_t seen = 0;

	CRASH_CHECK(scene, lh_cell_read(&cell, &value, &seen) == 0, "read");
	if (seen == version)
		return false;
	version++;
	number = 2;
	return true;
}

// Each slot comes round; the last is the one that the victim would write to, or wrote to.
enum { ROUND = 5 };

static void write_some(struct crash_scene *scene, uint64_t first)
{
	for (uint64_t i = first; i < first + ROUND; i++) {
		lh_grant grant = { .token = 0 };
		void *draft = NULL;
		int error = lh_cell_begin(&cell, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
					  &draft, &grant);

		CRASH_CHECK(scene, error == 0, "begin by the successor: %d", error);
		if (error)
			return;
		CRASH_CHECK(scene, grant.token > token, "G5: token %llu after %llu",
			    (unsigned long long)grant.token, (unsigned long long)token);
		CRASH_CHECK(scene, grant.flags == 0 && grant.previous == 0, "flags %u",
			    grant.flags);
		CRASH_CHECK(scene, value_number(draft) == number, "a draft of %llu, not %llu",
			    (unsigned long long)value_number(draft), (unsigned long long)number);
		token = grant.token;
		*(struct value *)draft = value_of(i);
		check_value(scene, "drafted by the successor");
		error = lh_cell_commit(&cell, scene->lease);
		CRASH_CHECK(scene, error == 0, "commit by the successor: %d", error);
		version++;
		number = i;
		check_value(scene, "committed by the successor");
	}
}

static void check_waiters(struct crash_scene *scene)
{
	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done) && waiter->result == 0,
			    "a waiting drafter got %d", waiter->result);
		crash_note_recovery(scene, waiter->granted_ns);
		version++;
		number = 50;
	}
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: %u times nobody woke a drafter",
		    atomic_load(&scene->shared->patience.lost_wakes));
}

// With a writer that waits nobody can look in between: it may have been first.
static void look_behind_waiters(struct crash_scene *scene)
{
	struct value value;
	uint64_t seen = 0;

	check_waiters(scene);
	CRASH_CHECK(scene, lh_cell_read(&cell, &value, &seen) == 0, "read");
	if (seen == version + 1)
		version++; // the victim's commit came before
}

static void verify_death(struct crash_scene *scene)
{
	if (scene->waiter_count)
		look_behind_waiters(scene);
	else
		look_whether_committed(scene);
	crash_reap_children(scene);
	check_value(scene, "after the death");
	write_some(scene, 100);
	crash_check_values(scene, cell.private_);
	crash_check_empty(scene);
	check_value(scene, "afterwards");
}

// The director drafts still; the victim that waited is no more.
static void verify_waiters_death(struct crash_scene *scene)
{
	crash_reap_children(scene);
	check_value(scene, "after the death");
	crash_must(scene, lh_cell_abort(&cell, scene->lease), "abort");
	write_some(scene, 100);
	crash_check_empty(scene);
}

// ---- woken ---------------------------------------------------------------------------------------

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

// The victim sleeps, another behind it, when the draft ends. The other stands still until the
// victim stands at the point: of two who are awake either may be first, and of a death the kernel
// tells one. (Should that one die before it has told the others, they look at their backstop:
// docs/decisions/0005-two-deaths-at-once.md.)
static bool asleep_before_another(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	writer_waits(scene);
	kill(scene->shared->waiters[0].pid, SIGSTOP);
	waitpid(scene->shared->waiters[0].pid, NULL, WUNTRACED);
	return true;
}

static bool woken_by_abort(struct crash_scene *scene)
{
	if (!asleep_before_another(scene))
		return false;
	crash_must(scene, lh_cell_abort(&cell, scene->lease), "abort");
	return stepper_leave_call(&scene->stepper);
}

static bool woken_by_death(struct crash_scene *scene)
{
	if (!asleep_before_another(scene))
		return false;
	kill(scene->holder, SIGKILL);
	crash_bury(scene, scene->holder);
	scene->holder = 0;
	return stepper_leave_call(&scene->stepper);
}

// Where the victim drafts by now the other sleeps on its life; else it is through.
static void kill_before_woken(struct crash_scene *scene)
{
	kill(scene->shared->waiters[0].pid, SIGCONT);
	crash_await_asleep(scene, scene->shared->waiters[0].pid);
	crash_kill(scene);
}

static void verify_woken(struct crash_scene *scene)
{
	check_waiters(scene);
	crash_reap_children(scene);
	check_value(scene, "after the death");
	write_some(scene, 100);
	crash_check_values(scene, cell.private_);
	crash_check_empty(scene);
	check_value(scene, "afterwards");
}

// ---- nobody dies: what it wakes is not woken by its death ----------------------------------------

static void let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	version += scene->operation->act == act_commit;
	check_waiters(scene);
	kill(scene->victim, SIGKILL);
	crash_reap_children(scene);
}

// ---- stopped, succeeded, continued ---------------------------------------------------------------

static void try_everything(struct crash_scene *scene)
{
	int *results = scene->shared->results;
	void *draft;

	results[0] = lh_cell_commit(&cell, scene->mine);
	results[1] = lh_cell_begin(&cell, scene->mine, LH_NOW, &draft, NULL);
	results[2] = lh_cell_abort(&cell, scene->mine);
	results[3] = lh_lease_release(scene->mine);
}

static void released(struct crash_scene *scene)
{
	for (int i = 0; i < AFTER; i++)
		scene->shared->results[i] = -ESTALE;
}

// What the stopped call may say when it goes on.
static bool may_say(const struct crash_scene *scene, int result, bool was_drafter, bool committed)
{
	if (scene->operation->act == act_commit)
		return result == (committed ? 0 : -ESTALE);
	if (scene->operation->act == act_begin) // stopped after its last look: older than the loss
		return result == -ESTALE || (result == 0 && was_drafter) ||
		       // it was granted, and copies what is the value by now
		       (result == -EILSEQ && was_drafter);
	return result == -ESTALE || (result == 0 && !was_drafter);
}

static void stop_and_succeed(struct crash_scene *scene)
{
	const uint32_t victim = scene->shared->slot + 1;
	bool was_drafter, committed;
	uint64_t expiry;
	void *draft;
	int error;

	crash_stop(scene);
	was_drafter = slots_word_owner(atomic_load(&header_of()->word)) == victim;
	committed = look_whether_committed(scene);
	expiry = crash_shorten(scene);
	error = lh_cell_begin(&cell, scene->lease, LH_NOW, &draft, NULL);
	CRASH_CHECK(scene, error == (was_drafter ? -EBUSY : 0) || lh_now() >= expiry,
		    "G3: before the expiry begin said %d", error);
	while (error == -EBUSY && (scene->variant & CRASH_IMPATIENTLY))
		error = lh_cell_begin(&cell, scene->lease, LH_NOW, &draft, NULL);
	if (error == -EBUSY)
		error = lh_cell_begin(&cell, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
				      &draft, NULL);
	CRASH_CHECK(scene, error == 0, "the successor got %d", error);
	CRASH_CHECK(scene, !was_drafter || lh_now() >= expiry, "G3: begun before the expiry");
	lh_cell_abort(&cell, scene->lease);
	check_value(scene, "succeeded");
	write_some(scene, 10);
	if (!(scene->variant & CRASH_LEFT_FREE))
		crash_must(scene, lh_cell_begin(&cell, scene->lease, LH_NOW, &draft, NULL),
			   "begin");
	crash_await_loss(scene);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, may_say(scene, scene->shared->result, was_drafter, committed),
		    "G4: its call said %d, committed %d", scene->shared->result, committed);
	for (int i = 0; i < AFTER; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: call %d then said %d",
			    i, scene->shared->results[i]);
	check_value(scene, "G4: when the stopped one had gone on");
	if (scene->variant & CRASH_LEFT_FREE)
		return;
	*(struct value *)draft = value_of(30);
	error = lh_cell_commit(&cell, scene->lease);
	CRASH_CHECK(scene, error == 0, "G1: the successor's commit: %d", error);
	version++;
	number = 30;
}

// While it waits, with another behind it: who is through then has never heard of it.
static void stop_waiting(struct crash_scene *scene)
{
	void *draft;
	int error;

	crash_stop(scene);
	writer_waits(scene);
	crash_shorten(scene);
	crash_await_loss(scene);
	crash_must(scene, lh_cell_abort(&cell, scene->lease), "abort");
	check_waiters(scene);
	check_value(scene, "succeeded");
	write_some(scene, 10);
	if (!(scene->variant & CRASH_LEFT_FREE))
		crash_must(scene, lh_cell_begin(&cell, scene->lease, LH_NOW, &draft, NULL),
			   "begin");
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == -ESTALE, "G4: its call said %d",
		    scene->shared->result);
	for (int i = 0; i < AFTER; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: call %d then said %d",
			    i, scene->shared->results[i]);
	check_value(scene, "G4: when the stopped one had gone on");
	if (scene->variant & CRASH_LEFT_FREE)
		return;
	error = lh_cell_abort(&cell, scene->lease);
	CRASH_CHECK(scene, error == 0, "G1: the successor's abort: %d", error);
	token++;
}

static void verify_stop(struct crash_scene *scene)
{
	check_value(scene, "in the end");
	write_some(scene, 40);
	crash_check_values(scene, cell.private_);
	crash_check_empty(scene);
}

// ---- a reader that is overtaken while it stands still -----------------------------------------------

static struct value read_value;
static uint64_t read_version;

static int act_read(struct crash_scene *scene)
{
	(void)scene;
	return lh_cell_read(&cell, &read_value, &read_version);
}

static void tell_what_it_read(struct crash_scene *scene)
{
	scene->shared->results[0] = (int)value_number(&read_value);
	scene->shared->results[1] = (int)read_version;
}

// Each slot is written to meanwhile, also the one that it reads.
static void overtake(struct crash_scene *scene)
{
	const int *results = scene->shared->results;

	write_some(scene, 100);
	stepper_detach(&scene->stepper, 0);
	waitpid(scene->victim, NULL, __WALL);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished) && scene->shared->result == 0,
		    "the overtaken one's read said %d", scene->shared->result);
	CRASH_CHECK(scene, results[0] == (results[1] == 1 ? 1 : 98 + results[1]),
		    "G7: the overtaken one read value %d as version %d", results[0], results[1]);
}

#define KILLED(shown, ready, called)                                                               \
	.name = (shown), .shows = "G2 G5 G7", .every = true, .prepare = (ready), .act = (called),  \
	.verify = verify_death
#define WOKEN(shown, staged)                                                                       \
	.name = (shown), .shows = "G2 G5 G7 G8", .every = true, .stage = (staged),                 \
	.prepare = patient, .act = act_begin, .strike = kill_before_woken, .verify = verify_woken
#define STOPPED(shown, ready, called)                                                              \
	.name = (shown), .shows = "G1 G3 G4 G5 G7", .every = true, .prepare = (ready),             \
	.act = (called), .stage = stage, .strike = stop_and_succeed, .verify = verify_stop
#define SURVIVED(shown, called)                                                                    \
	CRASH_SURVIVED(shown, stage, drafting, called), .begin = writer_waits,                     \
							.strike = let_go_on, .verify = verify_stop

static const struct crash_operation operations[] = {
	{ KILLED("commit", drafting, act_commit), .not_quick = true, .thin = { 80, 15, 4 },
	  .stage = stage },
	{ KILLED("commit, another waits", drafting, act_commit), .thin = { 80, 15, 4 },
	  .stage = stage, .begin = writer_waits },
	{ KILLED("begin", crash_with_lease, act_begin), .thin = { 80, 15, 4 }, .stage = stage },
	{ KILLED("begin that succeeds a dead drafter", crash_with_lease, act_begin),
	  .not_quick = true, .thin = { 120, 25, 6 }, .stage = stage_dead_drafter },
	{ KILLED("abort, another waits", drafting, act_abort), .thin = { 40, 8, 2 }, .stage = stage,
	  .begin = writer_waits },
	{ KILLED("lease release with a draft, another waits", drafting, crash_release),
	  .not_quick = true, .thin = { 120, 25, 6 }, .stage = stage, .begin = writer_waits },
	{ .name = "begin, up to its sleep",
	  .shows = "G8",
	  .every = true,
	  .sleeps = true,
	  .not_quick = true,
	  .thin = { 80, 20, 5 },
	  .stage = stage_held,
	  .prepare = crash_with_lease,
	  .act = act_begin,
	  .verify = verify_waiters_death },
	{ WOKEN("begin, woken by an abort, another behind it", stage_held), .begin = woken_by_abort,
	  .thin = { 60, 12, 3 } },
	{ WOKEN("begin, woken by a death, another behind it", stage_drafter),
	  .begin = woken_by_death, .thin = { 100, 20, 5 } },
	{ .name = "read, overtaken",
	  .shows = "G7",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .stage = stage,
	  .act = act_read,
	  .after = tell_what_it_read,
	  .strike = overtake,
	  .verify = verify_stop },
	{ SURVIVED("commit, nobody dies, another waits", act_commit) },
	{ SURVIVED("abort, nobody dies, another waits", act_abort) },
	{ STOPPED("stopped in begin", crash_with_ttl, act_begin), .not_quick = true,
	  .thin = { 80, 15, 4 }, .after = try_everything },
	{ .name = "stopped in begin that waits, up to its sleep, another behind it",
	  .shows = "G3 G4 G7 G8",
	  .every = true,
	  .sleeps = true,
	  .thin = { 100, 20, 5 },
	  .stage = stage_held,
	  .prepare = crash_with_ttl,
	  .act = act_begin,
	  .after = try_everything,
	  .strike = stop_waiting,
	  .verify = verify_stop },
	{ STOPPED("stopped in commit", drafting_with_ttl, act_commit), .thin = { 60, 12, 3 },
	  .after = try_everything },
	{ STOPPED("stopped in abort", drafting_with_ttl, act_abort), .not_quick = true,
	  .thin = { 60, 12, 3 }, .after = try_everything },
	{ STOPPED("stopped in lease release", drafting_with_ttl, crash_release), .not_quick = true,
	  .thin = { 120, 25, 6 }, .after = released },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
