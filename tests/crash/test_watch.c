// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A sender dies, or is stopped, succeeded and continued, after each instruction of send, claim,
// close and release; so does who succeeds a dead one. What is read meanwhile and afterwards is
// whole and the newest that was published, versions count on, a stopped one that goes on changes
// nothing, and receivers that sleep are told without a backstop.
//
// A receiver that sleeps before the first sender's claim is armed on nobody's life: should that one
// die between its claim and its wake, the receiver looks at its backstop. So none sleeps there
// here.
#include "tests/crash/crash.h"
#include "tests/crash/values.h"

#include "arena/lease.h"
#include "src/slots.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECEIVERS = 2, AFTER = 4 };

// The director's, inherited by those it forks.
static lh_watch watch;
static lh_watch_receiver receiver;
static uint64_t version, number; // of the newest value that is known to be published

static int send_number(lh_lease *lease, uint64_t which)
{
	const struct value value = value_of(which);

	return lh_watch_send(&watch, lease, &value, sizeof(value));
}

static uint64_t sender_slot(void)
{
	return slots_word_owner(atomic_load(&slots_of(watch.private_).header->word));
}

// ---- the stage -----------------------------------------------------------------------------------

static void stage(struct crash_scene *scene)
{
	const struct lh_watch_options options = { .max_size = VALUE_SIZE, .name = "watch" };

	crash_stage(scene);
	scene->placements = 2;
	crash_must(scene, lh_watch_at(scene->arena, LH_ANYWHERE, &options, &watch), "watch");
	crash_must(scene, send_number(scene->lease, 1), "send");
	crash_must(scene, lh_watch_close(&watch, scene->lease), "close");
	version = number = 1;
}

static void stage_sending(struct crash_scene *scene)
{
	stage(scene);
	crash_must(scene, lh_watch_claim(&watch, scene->lease), "claim");
}

// The sender before has died in the middle of the next value.
static void stage_dead_sender(struct crash_scene *scene)
{
	pid_t pid;

	stage(scene);
	pid = crash_fork(scene);
	if (pid == 0) {
		struct slots slots = slots_of(watch.private_);
		lh_lease *lease;
		uint32_t slot;

		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_watch_claim(&watch, lease), "claim");
		crash_must(scene, slots_tag(&slots, lease, atomic_load(&slots.header->word), &slot),
			   "tag");
		raise(SIGKILL);
	}
	crash_bury(scene, pid);
}

// Another process sends, and stays.
static void stage_sender(struct crash_scene *scene)
{
	lh_lease *lease;

	stage(scene);
	scene->holder = crash_fork(scene);
	if (scene->holder == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, lh_watch_claim(&watch, lease), "claim");
		atomic_store(&scene->shared->go, 1);
		for (;;)
			pause();
	}
	while (!atomic_exchange(&scene->shared->go, 0))
		sched_yield();
}

static void sending(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, lh_watch_claim(&watch, scene->mine), "claim");
}

static void sending_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, lh_watch_claim(&watch, scene->mine), "claim");
}

static void subscribe(struct crash_scene *scene)
{
	crash_must(scene, lh_watch_subscribe(&watch, &receiver), "subscribe");
}

// It has waited in vain once, so it sleeps without giving the processor away first (arena/wait.c).
static void subscribe_and_wait(struct crash_scene *scene)
{
	subscribe(scene);
	CRASH_CHECK(scene, lh_watch_changed(&receiver, lh_deadline_after(1)) == -ETIMEDOUT,
		    "not in vain");
}

static bool nobody_sleeps(struct crash_scene *scene)
{
	subscribe(scene);
	return true;
}

static bool receivers_sleep(struct crash_scene *scene)
{
	subscribe(scene);
	for (int i = 0; i < RECEIVERS; i++) {
		struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count++];
		const pid_t pid = crash_fork(scene);

		if (pid == 0) {
			patience_begin(&scene->shared->patience);
			waiter->result = lh_watch_changed(&receiver, LH_FOREVER);
			waiter->granted_ns = lh_now();
			atomic_store(&waiter->done, 1);
			_exit(0);
		}
		waiter->pid = pid;
		crash_await_asleep(scene, pid);
	}
	return true;
}

static int act_send(struct crash_scene *scene)
{
	return send_number(scene->mine, 2);
}

static int act_claim(struct crash_scene *scene)
{
	return lh_watch_claim(&watch, scene->mine);
}

static int act_close(struct crash_scene *scene)
{
	return lh_watch_close(&watch, scene->mine);
}

static int act_changed(struct crash_scene *scene)
{
	(void)scene;
	return lh_watch_changed(&receiver, LH_FOREVER);
}

// ---- what must be true ---------------------------------------------------------------------------

// G7. The newest value, by one who reads now.
static void check_value(struct crash_scene *scene, const char *when)
{
	lh_watch_receiver reader;
	struct value value;
	uint64_t seen = 0;
	size_t size = 0;
	int error;

	lh_watch_subscribe(&watch, &reader);
	error = lh_watch_read(&reader, &value, sizeof(value), &size, &seen);
	CRASH_CHECK(scene, error == 0 && size == VALUE_SIZE, "%s: read said %d", when, error);
	CRASH_CHECK(scene, value_number(&value) == number && seen == version,
		    "G7: %s: value %llu of version %llu instead of %llu of %llu", when,
		    (unsigned long long)value_number(&value), (unsigned long long)seen,
		    (unsigned long long)number, (unsigned long long)version);
}

// Whether the victim's value was published; from now on it has to stay.
static bool look_whether_published(struct crash_scene *scene)
{
	struct value value;
	uint64_t seen = 0;
	lh_watch_receiver reader;

	lh_watch_subscribe(&watch, &reader);
	CRASH_CHECK(scene, lh_watch_read(&reader, &value, sizeof(value), NULL, &seen) == 0, "read");
	if (seen == version)
		return false;
	version++;
	number = 2;
	return true;
}

// Each slot comes round; the last is the one that the victim would write to, or wrote to.
enum { ROUND = 5 };

static void send_some(struct crash_scene *scene, uint64_t first)
{
	for (uint64_t i = first; i < first + ROUND; i++) {
		const int error = send_number(scene->lease, i);

		CRASH_CHECK(scene, error == 0, "send by the successor: %d", error);
		version++;
		number = i;
		check_value(scene, "sent by the successor");
	}
}

static void check_receivers(struct crash_scene *scene, bool published)
{
	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done), "receiver %zu died", i);
		CRASH_CHECK(scene, waiter->result == (published ? 0 : -EPIPE),
			    "receiver %zu was told %d, published %d", i, waiter->result, published);
		crash_note_recovery(scene, waiter->granted_ns);
	}
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: %u times nobody woke a receiver",
		    atomic_load(&scene->shared->patience.lost_wakes));
}

static void check_end(struct crash_scene *scene)
{
	int error = lh_watch_close(&watch, scene->lease);

	CRASH_CHECK(scene, error == 0, "close by the successor: %d", error);
	crash_check_values(scene, watch.private_);
	crash_check_empty(scene);
	check_value(scene, "afterwards");
}

static void verify_death(struct crash_scene *scene)
{
	const bool published = look_whether_published(scene);
	int error;

	check_receivers(scene, published);
	crash_reap_children(scene);
	error = lh_watch_changed(&receiver, lh_deadline_after(CRASH_DEADLINE_NS));
	CRASH_CHECK(scene, error == (published ? 0 : -EPIPE), "changed: %d, published %d", error,
		    published);
	check_value(scene, "after the death");
	send_some(scene, 100);
	check_end(scene);
}

// A receiver dies: nobody is the worse for it.
static void verify_receivers_death(struct crash_scene *scene)
{
	crash_reap_children(scene);
	send_some(scene, 100);
	check_end(scene);
}

// ---- woken ---------------------------------------------------------------------------------------

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	subscribe(scene);
}

static bool asleep_before_others(struct crash_scene *scene)
{
	return crash_victim_asleep(scene) && receivers_sleep(scene);
}

static bool woken_by_send(struct crash_scene *scene)
{
	if (!asleep_before_others(scene))
		return false;
	crash_must(scene, send_number(scene->lease, 2), "send");
	return stepper_leave_call(&scene->stepper);
}

static bool woken_by_close(struct crash_scene *scene)
{
	if (!asleep_before_others(scene))
		return false;
	crash_must(scene, lh_watch_close(&watch, scene->lease), "close");
	return stepper_leave_call(&scene->stepper);
}

// The others stand still until the victim stands at the point: of a death the kernel tells one.
// (Should that one die before it has told the others, they look at their backstop:
// docs/decisions/0005-two-deaths-at-once.md.)
static bool woken_by_death(struct crash_scene *scene)
{
	if (!asleep_before_others(scene))
		return false;
	for (size_t i = 0; i < scene->waiter_count; i++) {
		kill(scene->shared->waiters[i].pid, SIGSTOP);
		waitpid(scene->shared->waiters[i].pid, NULL, WUNTRACED);
	}
	kill(scene->holder, SIGKILL);
	crash_bury(scene, scene->holder);
	scene->holder = 0;
	return stepper_leave_call(&scene->stepper);
}

static void kill_before_others(struct crash_scene *scene)
{
	for (size_t i = 0; i < scene->waiter_count; i++)
		kill(scene->shared->waiters[i].pid, SIGCONT);
	crash_kill(scene);
}

// The victim is told, and lives: the others are told by it.
static bool told_of_death(struct crash_scene *scene)
{
	if (!asleep_before_others(scene))
		return false;
	kill(scene->holder, SIGKILL);
	crash_bury(scene, scene->holder);
	scene->holder = 0;
	return stepper_leave_call(&scene->stepper);
}

static void let_it_tell(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	check_receivers(scene, false);
	kill(scene->victim, SIGKILL);
	crash_reap_children(scene);
}

// ---- a reader that is overtaken while it stands still -----------------------------------------------

static struct value read_value;
static uint64_t read_version;

static int act_read(struct crash_scene *scene)
{
	(void)scene;
	return lh_watch_read(&receiver, &read_value, sizeof(read_value), NULL, &read_version);
}

static void tell_what_it_read(struct crash_scene *scene)
{
	scene->shared->results[0] = (int)value_number(&read_value);
	scene->shared->results[1] = (int)read_version;
}

// Each slot is written to meanwhile; the one that it reads has a value at last that is not published.
static void overtake(struct crash_scene *scene)
{
	const int *results = scene->shared->results;
	const struct slots slots = slots_of(watch.private_);
	const uint32_t named = slots_word_slot(atomic_load(&slots.header->word));
	const struct value next = value_of(200);

	send_some(scene, 100);
	slots_write(&slots, atomic_load(&slots.header->word), named, 100, &next, sizeof(next));
	stepper_detach(&scene->stepper, 0);
	waitpid(scene->victim, NULL, __WALL);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished) && scene->shared->result == 0,
		    "the overtaken one's read said %d", scene->shared->result);
	CRASH_CHECK(scene, results[0] == (results[1] == 1 ? 1 : 98 + results[1]),
		    "G7: the overtaken one read value %d as version %d", results[0], results[1]);
}

// ---- nobody dies: what it wakes is not woken by its death ----------------------------------------

static void let_go_on(struct crash_scene *scene)
{
	const bool sends = scene->operation->act == act_send;

	crash_let_go_on(scene);
	CRASH_CHECK(scene, look_whether_published(scene) == sends, "published");
	check_receivers(scene, sends);
	kill(scene->victim, SIGKILL);
	crash_reap_children(scene);
}

static void verify_end(struct crash_scene *scene)
{
	send_some(scene, 100);
	check_end(scene);
}

// ---- stopped, succeeded, continued ---------------------------------------------------------------

static void try_everything(struct crash_scene *scene)
{
	int *results = scene->shared->results;

	results[0] = send_number(scene->mine, 3);
	results[1] = lh_watch_claim(&watch, scene->mine);
	results[2] = lh_watch_close(&watch, scene->mine);
	results[3] = lh_lease_release(scene->mine);
}

static void released(struct crash_scene *scene)
{
	for (int i = 0; i < AFTER; i++)
		scene->shared->results[i] = -ESTALE;
}

// What the stopped call may say when it goes on.
static bool may_say(const struct crash_scene *scene, int result, bool was_sender, bool published)
{
	if (scene->operation->act == act_send)
		return result == (published ? 0 : -ESTALE);
	if (scene->operation->act == act_claim) // stopped after its last look: older than the loss
		return result == -ESTALE || (result == 0 && was_sender);
	return result == -ESTALE || (result == 0 && !was_sender);
}

static void stop_and_succeed(struct crash_scene *scene)
{
	const uint32_t victim = scene->shared->slot + 1;
	bool was_sender, published;
	uint64_t expiry;
	int error;

	crash_stop(scene);
	was_sender = sender_slot() == victim;
	published = look_whether_published(scene);
	expiry = crash_shorten(scene);
	error = lh_watch_claim(&watch, scene->lease);
	CRASH_CHECK(scene, error == (was_sender ? -EBUSY : 0) || lh_now() >= expiry,
		    "G3: before the expiry a claim said %d", error);
	while (error == -EBUSY)
		error = lh_watch_claim(&watch, scene->lease);
	CRASH_CHECK(scene, error == 0, "the successor got %d", error);
	CRASH_CHECK(scene, !was_sender || lh_now() >= expiry, "G3: claimed before the expiry");
	check_value(scene, "claimed");
	send_some(scene, 10);
	if (scene->variant & CRASH_LEFT_FREE)
		lh_watch_close(&watch, scene->lease);
	crash_await_loss(scene);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, may_say(scene, scene->shared->result, was_sender, published),
		    "G4: its call said %d, published %d", scene->shared->result, published);
	for (int i = 0; i < AFTER; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: call %d then said %d",
			    i, scene->shared->results[i]);
	check_value(scene, "G4: when the stopped one had gone on");
}

static bool is_writing(const struct crash_scene *scene)
{
	const struct slots slots = slots_of(watch.private_);

	for (uint32_t i = 0; i < slots.count; i++) {
		if (atomic_load(&slots_slot(&slots, i)->sequence) ==
		    slots_tag_of(scene->shared->lease))
			return true;
	}
	return false;
}

// Nobody wants what it has, so nobody has latched its loss when it goes on. Only one who was
// stopped after its last look at the clock, its value written, publishes still.
static void stop_and_let_expire(struct crash_scene *scene)
{
	bool published, writing;
	uint64_t expiry;

	crash_stop(scene);
	published = look_whether_published(scene);
	writing = is_writing(scene);
	expiry = crash_shorten(scene);
	while (lh_now() < expiry)
		sched_yield();
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	if (look_whether_published(scene)) {
		CRASH_CHECK(scene, !writing && !published, "G4: published after its expiry");
		crash_count(scene, "looked before and published after the expiry");
		published = true;
	}
	CRASH_CHECK(scene, scene->shared->result == (published ? 0 : -ESTALE),
		    "G4: its call said %d, published %d", scene->shared->result, published);
	check_value(scene, "G4: when the stopped one had gone on");
}

static void verify_stop(struct crash_scene *scene)
{
	send_some(scene, 20);
	check_end(scene);
}

#define KILLED(shown, ready, called)                                                               \
	.name = (shown), .shows = "G2 G7", .every = true, .prepare = (ready), .act = (called),     \
	.verify = verify_death
#define STOPPED(shown, ready, called)                                                              \
	.name = (shown), .shows = "G1 G3 G4 G7", .every = true, .prepare = (ready),                \
	.act = (called), .stage = stage, .begin = nobody_sleeps, .strike = stop_and_succeed,       \
	.verify = verify_stop
#define SURVIVED(shown, called)                                                                    \
	CRASH_SURVIVED(shown, stage, sending, called), .begin = receivers_sleep,                   \
						       .strike = let_go_on, .verify = verify_end

#define WOKEN(shown, staged)                                                                       \
	.name = (shown), .shows = "G2 G7 G8", .every = true, .stage = (staged),                    \
	.prepare = patient, .act = act_changed, .verify = verify_death

static const struct crash_operation operations[] = {
	{ KILLED("send, receivers asleep", sending, act_send), .thin = { 40, 8, 2 }, .stage = stage,
	  .begin = receivers_sleep },
	{ KILLED("send that claims", crash_with_lease, act_send), .not_quick = true,
	  .thin = { 60, 10, 3 }, .stage = stage, .begin = nobody_sleeps },
	{ KILLED("send that succeeds a dead sender", crash_with_lease, act_send), .not_quick = true,
	  .thin = { 120, 25, 6 }, .stage = stage_dead_sender, .begin = nobody_sleeps },
	{ KILLED("close, receivers asleep", sending, act_close), .thin = { 30, 6, 2 },
	  .stage = stage, .begin = receivers_sleep },
	{ KILLED("lease release of a sender", sending, crash_release), .not_quick = true,
	  .thin = { 80, 15, 4 }, .stage = stage, .begin = receivers_sleep },
	{ .name = "a receiver, up to its sleep",
	  .shows = "G8",
	  .every = true,
	  .sleeps = true,
	  .thin = { 80, 20, 5 },
	  .stage = stage_sending,
	  .prepare = subscribe_and_wait,
	  .act = act_changed,
	  .begin = nobody_sleeps,
	  .verify = verify_receivers_death },
	{ WOKEN("a receiver, woken by a send, others asleep", stage_sending),
	  .begin = woken_by_send, .thin = { 16, 4, 1 } },
	{ WOKEN("a receiver, woken by a close, others asleep", stage_sending),
	  .begin = woken_by_close, .not_quick = true, .thin = { 16, 4, 1 } },
	{ WOKEN("a receiver, woken by a death, others asleep", stage_sender),
	  .begin = woken_by_death, .strike = kill_before_others, .thin = { 40, 8, 2 } },
	{ CRASH_SURVIVED("a receiver, told of a death, others asleep, and stays", stage_sender,
			 patient, act_changed),
	  .begin = told_of_death, .strike = let_it_tell, .verify = verify_end },
	{ .name = "read, overtaken",
	  .shows = "G7",
	  .every = true,
	  .thin = { 4, 1, 1 },
	  .stage = stage,
	  .prepare = subscribe,
	  .act = act_read,
	  .after = tell_what_it_read,
	  .strike = overtake,
	  .verify = check_end },
	{ SURVIVED("send, nobody dies", act_send) },
	{ SURVIVED("close, nobody dies", act_close) },
	{ .name = "stopped in send, nobody succeeds",
	  .shows = "G4 G7",
	  .every = true,
	  .not_quick = true,
	  .thin = { 100, 20, 5 },
	  .stage = stage,
	  .prepare = sending_with_ttl,
	  .act = act_send,
	  .after = try_everything,
	  .begin = nobody_sleeps,
	  .strike = stop_and_let_expire,
	  .verify = verify_stop },
	{ STOPPED("stopped in send", sending_with_ttl, act_send), .thin = { 40, 8, 2 },
	  .after = try_everything },
	{ STOPPED("stopped in send that claims", crash_with_ttl, act_send), .not_quick = true,
	  .thin = { 60, 12, 3 }, .after = try_everything },
	{ STOPPED("stopped in claim", crash_with_ttl, act_claim), .not_quick = true,
	  .thin = { 60, 12, 3 }, .after = try_everything },
	{ STOPPED("stopped in close", sending_with_ttl, act_close), .thin = { 40, 8, 2 },
	  .after = try_everything },
	{ STOPPED("stopped in lease release", sending_with_ttl, crash_release), .not_quick = true,
	  .thin = { 80, 15, 4 }, .after = released },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
