// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// Who takes or lets go of a key in one of its modes, or of a permit, dies after each instruction,
// alone, with others asleep, and woken as the owner of the word; or is stopped past its expiry
// while others take what excludes it, and goes on; or is overtaken just before or after it says
// that it holds, and backs out. Those who wait sleep without a backstop (patience.h).
#include "tests/crash/crash.h"
#include "tests/crash/crash_ask.h"

#include "src/provider/keys.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SPACE = 16384,
	SHARED = LH_HOLD_SHARED,
	READS_BELOW = LH_HOLD_INTENT_SHARED,
	WRITES_BELOW = LH_HOLD_INTENT_EXCLUSIVE,
	EXCLUSIVE = LH_HOLD_EXCLUSIVE,
	PERMIT = LH_HOLD_PERMIT,
};

static struct keys keys;
static uint32_t victims_mode;       // in each scene
static struct hold_record *victims; // record, in the victim

static uint32_t permits_of(uint32_t mode)
{
	return mode == PERMIT ? 1 : 0;
}

// ---- acts ----------------------------------------------------------------------------------------

static int take(lh_lease *lease, uint32_t mode, lh_deadline deadline, lh_grant *grant,
		struct hold_record **ret_record)
{
	struct rwlock_attempt attempt = {
		.arena = keys.arena, .lease = lease, .deadline = deadline, .grant = grant
	};
	uint32_t permit;
	int error = keys_refer(&keys, lease, "key", 3, permits_of(mode), LH_FOREVER,
			       &attempt.record);

	if (error)
		return error;
	attempt.granule = hold_word_granule(atomic_load(&attempt.record->object));
	attempt.object = rwlock_object(keys.arena, attempt.granule);
	error = mode == PERMIT ? rwlock_acquire_permit(&attempt, &permit)
			       : rwlock_acquire_mode(&attempt, mode);
	if (error)
		hold_clear(attempt.record);
	else
		*ret_record = attempt.record;
	return error;
}

static int drop(lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load(&record->object);

	return rwlock_release_mode(lease, rwlock_object(keys.arena, hold_word_granule(word)),
				   record);
}

static int act(struct crash_scene *scene)
{
	lh_grant grant;
	const int error = take(scene->mine, victims_mode, LH_NOW, &grant, &victims);

	if (error)
		return error;
	scene->shared->results[1] = 1;
	return drop(scene->mine, victims);
}

static int act_wait(struct crash_scene *scene)
{
	lh_grant grant;
	const int error = take(scene->mine, victims_mode, LH_FOREVER, &grant, &victims);

	return error ? error : drop(scene->mine, victims);
}

static int act_drop(struct crash_scene *scene)
{
	return drop(scene->mine, victims);
}

static void holding(struct crash_scene *scene)
{
	lh_grant grant;

	crash_with_lease(scene);
	crash_must(scene, take(scene->mine, victims_mode, LH_NOW, &grant, &victims), "take");
}

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

// ---- stages --------------------------------------------------------------------------------------

static void use(struct crash_scene *scene, uint32_t mode)
{
	struct hold_record *record = NULL;
	lh_grant grant;

	crash_must(scene, take(scene->lease, mode, LH_NOW, &grant, &record), "use");
	crash_must(scene, drop(scene->lease, record), "drop");
}

// The key has an entry, and the group of `last` may enter.
static void stage(struct crash_scene *scene, uint32_t mode, uint32_t last)
{
	crash_stage(scene);
	crash_must(scene, keys_open(scene->arena, &keys), "keys");
	scene->placements = 3;
	victims_mode = mode;
	if (mode != PERMIT)
		use(scene, EXCLUSIVE);
	use(scene, last);
}

#define STAGE(name, mode, last)                                                                    \
	static void name(struct crash_scene *scene)                                                \
	{                                                                                          \
		stage(scene, (mode), (last));                                                      \
	}

STAGE(shared_among_shared, SHARED, SHARED)
STAGE(shared_after_intents, SHARED, WRITES_BELOW)
STAGE(intent_after_shared, WRITES_BELOW, SHARED)
STAGE(intent_among_intents, WRITES_BELOW, WRITES_BELOW)
STAGE(intent_to_read, READS_BELOW, WRITES_BELOW)
STAGE(exclusive_after_intents, EXCLUSIVE, WRITES_BELOW)
STAGE(a_permit, PERMIT, PERMIT)

// ---- others --------------------------------------------------------------------------------------

static void add_waiter(struct crash_scene *scene, uint32_t mode)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count];
	const pid_t pid = crash_fork(scene);
	struct hold_record *record;
	lh_lease *lease;

	if (pid == 0) {
		patience_begin(&scene->shared->patience);
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
		waiter->result = take(lease, mode, LH_FOREVER, &waiter->grant, &record);
		waiter->granted_ns = lh_now();
		if (!waiter->result)
			waiter->result = drop(lease, record);
		if (!waiter->result)
			waiter->result = lh_lease_release(lease);
		atomic_store(&waiter->done, 1);
		_exit(0);
	}
	waiter->pid = pid;
	scene->waiter_count++;
	crash_await_asleep(scene, pid);
}

// What excludes the victim's mode.
static uint32_t opposite(void)
{
	switch (victims_mode) {
	case SHARED:
		return WRITES_BELOW;
	case WRITES_BELOW:
		return SHARED;
	case PERMIT:
		return PERMIT;
	default:
		return EXCLUSIVE;
	}
}

// The victim holds: somebody owns the word and waits for it, and somebody else behind that one.
static bool begin_awaited(struct crash_scene *scene)
{
	add_waiter(scene, opposite());
	add_waiter(scene, victims_mode);
	return true;
}

// The victim owns the word and sleeps, and somebody else behind it, when what it waits for ends.
static bool begin_woken(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene, victims_mode == PERMIT ? PERMIT : EXCLUSIVE);
	kill(scene->shared->waiters[0].pid, SIGSTOP);
	waitpid(scene->shared->waiters[0].pid, NULL, WUNTRACED);
	crash_must(scene, drop(scene->lease, victims), "drop");
	return stepper_leave_call(&scene->stepper);
}

// Whether the victim's record says that it holds, or is about to look whether it does.
static bool has_published(const struct crash_scene *scene)
{
	for (uint32_t i = 0; i < keys.entry_count; i++) {
		if (rwlock_mode_seen(keys.arena, scene->shared->slot,
				     keys_granule(&keys, &keys.entries[i])) == victims_mode)
			return true;
	}
	return false;
}

// The victim has said that it holds and has not looked again whether it may: then somebody owns the
// word and waits for it.
static bool begin_outrun(struct crash_scene *scene)
{
	while (!has_published(scene)) {
		if (stepper_step(&scene->stepper) != STEPPER_MORE)
			return false;
	}
	add_waiter(scene, opposite());
	return true;
}

// The same, and that one stands still until the victim is dead.
static bool begin_outrun_by_one_who_stops(struct crash_scene *scene)
{
	if (!begin_outrun(scene))
		return false;
	kill(scene->shared->waiters[0].pid, SIGSTOP);
	waitpid(scene->shared->waiters[0].pid, NULL, WUNTRACED);
	return true;
}

// By mode, how many steps lead to where the victim says that it holds: shared by all directors. 0:
// none has counted them yet.
static uint32_t *steps_to_publish;

static void count_steps(struct crash_scene *scene)
{
	uint32_t steps = 0;

	while (!has_published(scene) && stepper_step(&scene->stepper) == STEPPER_MORE)
		steps++;
	steps_to_publish[victims_mode] = steps;
}

static void director_holds(struct crash_scene *scene)
{
	lh_grant grant;

	crash_must(scene, take(scene->lease, opposite(), LH_NOW, &grant, &victims), "hold");
}

// The victim has looked at the word and is about to say that it holds: then another is granted what
// excludes it. The first director of an operation only counts.
static bool begin_overtaken(struct crash_scene *scene)
{
	if (!steps_to_publish[victims_mode]) {
		count_steps(scene);
		return crash_wants_where();
	}
	for (uint32_t i = 0; i + 1 < steps_to_publish[victims_mode]; i++) {
		if (stepper_step(&scene->stepper) != STEPPER_MORE)
			return false;
	}
	if (has_published(scene))
		return false;
	director_holds(scene);
	return true;
}

static void shared_behind_intent(struct crash_scene *scene)
{
	shared_after_intents(scene);
	director_holds(scene);
}

static void intent_behind_shared(struct crash_scene *scene)
{
	intent_after_shared(scene);
	director_holds(scene);
}

static void permit_behind_another(struct crash_scene *scene)
{
	a_permit(scene);
	director_holds(scene);
}

// ---- what must come of it ------------------------------------------------------------------------

static bool wrote(const struct crash_scene *scene)
{
	const uint32_t slot = scene->shared->slot;

	for (uint32_t i = 0; i < keys.entry_count; i++) {
		const struct key_entry *entry = &keys.entries[i];

		if (word_owner(atomic_load(&entry->lock.header.word)) == slot + 1)
			return rwlock_mode_seen(keys.arena, slot, keys_granule(&keys, entry)) ==
			       EXCLUSIVE;
	}
	return false;
}

static void kill_victim(struct crash_scene *scene)
{
	scene->damage = wrote(scene);
	scene->killed_ns = lh_now();
	kill(scene->victim, SIGKILL);
	for (size_t i = 0; i < scene->waiter_count; i++)
		kill(scene->shared->waiters[i].pid, SIGCONT);
}

static void check_mode(struct crash_scene *scene, uint32_t mode)
{
	struct hold_record *record;
	lh_grant grant;
	int result = take(scene->lease, mode, LH_NOW, &grant, &record);

	CRASH_CHECK(scene, result == 0, "G2: %s: the next user got %d (%s)",
		    lh_hold_mode_name(mode), result, lh_error_detail());
	if (result)
		return;
	CRASH_CHECK(scene, ((grant.flags & LH_GRANT_OWNER_DIED) != 0) == scene->damage,
		    "G12: %s of damage", grant.flags ? "told" : "not told");
	CRASH_CHECK(scene, grant.token >= scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	scene->token = grant.token;
	result = drop(scene->lease, record);
	CRASH_CHECK(scene, result == 0, "%s: drop: %d", lh_hold_mode_name(mode), result);
}

// Every mode is to be had; the first one by whose group may not enter, too.
static void check_all(struct crash_scene *scene)
{
	if (victims_mode == PERMIT) {
		check_mode(scene, PERMIT);
		return;
	}
	check_mode(scene, opposite());
	for (int round = 0; round < 2; round++) {
		check_mode(scene, SHARED);
		check_mode(scene, WRITES_BELOW);
		check_mode(scene, READS_BELOW);
		check_mode(scene, EXCLUSIVE);
	}
}

static void collect(struct crash_scene *scene)
{
	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done), "waiter %zu died", i);
		CRASH_CHECK(scene, waiter->result == 0, "G8: waiter %zu got %d", i, waiter->result);
		crash_note_recovery(scene, waiter->granted_ns);
	}
	CRASH_CHECK(scene, atomic_load(&scene->shared->patience.lost_wakes) == 0,
		    "G8: somebody was not woken");
	scene->waiter_count = 0;
}

static void verify(struct crash_scene *scene)
{
	collect(scene);
	crash_reap_children(scene);
	if (scene->variant & CRASH_SLOTS_FIRST)
		crash_use_all_slots(scene, 1);
	check_all(scene);
	crash_check_empty(scene);
}

// Another has had what excludes it all the time.
static void verify_overtaken(struct crash_scene *scene)
{
	CRASH_CHECK(scene, !scene->shared->results[1], "G1: two hold what excludes each other");
	crash_reap_children(scene);
	crash_must(scene, drop(scene->lease, victims), "drop");
	verify(scene);
}

// It lives, and who owns the word is told that it has backed out.
static void back_out_and_stay(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	CRASH_CHECK(scene, scene->shared->result == -EBUSY || scene->shared->results[1],
		    "it got %d", scene->shared->result);
	collect(scene);
	kill(scene->victim, SIGKILL);
}

// ---- stopped -------------------------------------------------------------------------------------

// It was lost while it stood there, and another has what excludes it. It goes on and changes
// nothing.
static void expire_and_go_on(struct crash_scene *scene)
{
	struct hold_record *record, *other;
	bool held;
	lh_grant grant;
	lh_lease *lease;
	int result;

	crash_stop(scene);
	held = scene->shared->results[1] || has_published(scene);
	crash_shorten(scene);
	crash_await_loss(scene);
	result = take(scene->lease, opposite(), LH_NOW, &grant, &record);
	CRASH_CHECK(scene, result == 0, "G3: beside the lost one: %d (%s)", result,
		    lh_error_detail());
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, held || !scene->shared->results[1], "G1: granted to the lost");
	CRASH_CHECK(scene, scene->shared->result == -ESTALE || scene->shared->results[1],
		    "G4: the lost one got %d", scene->shared->result);
	if (result)
		return;
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
	result = take(lease, victims_mode, LH_NOW, &grant, &other);
	CRASH_CHECK(scene, result == -EBUSY, "G1: after that one, another got %d", result);
	result = drop(scene->lease, record);
	CRASH_CHECK(scene, result == 0, "drop: %d", result);
	crash_must(scene, lh_lease_release(lease), "lease");
}

static void after_stop(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_lease_release(scene->mine);
}

static void verify_stopped(struct crash_scene *scene)
{
	check_all(scene);
	crash_check_empty(scene);
}

#define KILLED(shown, staged)                                                                      \
	.name = (shown), .shows = "G1 G2 G5 G6 G12", .every = true, .space = SPACE,                \
	.stage = (staged), .prepare = crash_with_lease, .act = act, .strike = kill_victim,         \
	.verify = verify, .thin = { 300, 30, 8 }
#define AWAITED(shown, staged)                                                                     \
	.name = (shown), .shows = "G2 G6 G8", .every = true, .space = SPACE, .stage = (staged),    \
	.prepare = holding, .act = act_drop, .begin = begin_awaited, .strike = kill_victim,        \
	.verify = verify, .thin = { 100, 8, 1 }
#define WOKEN(shown, staged)                                                                       \
	.name = (shown), .shows = "G2 G8", .every = true, .space = SPACE, .stage = (staged),       \
	.prepare = patient, .act = act_wait, .begin = begin_woken, .strike = kill_victim,          \
	.verify = verify, .thin = { 300, 30, 8 }
#define BACKS_OUT(shown, staged) KILLED(shown, staged), .begin = begin_outrun_by_one_who_stops
#define OVERTAKEN(shown, staged)                                                                   \
	.name = (shown), .shows = "G1 G2 G6", .every = true, .space = SPACE, .stage = (staged),    \
	.prepare = crash_with_lease, .act = act, .begin = begin_overtaken, .strike = kill_victim,  \
	.verify = verify_overtaken, .thin = { 300, 30, 8 }
#define BACKS_OUT_AND_STAYS(shown, staged)                                                         \
	CRASH_SURVIVED(shown, staged, crash_with_lease, act),                                      \
		.space = SPACE, .begin = begin_outrun, .strike = back_out_and_stay,                \
		.verify = verify
#define STOPPED(shown, staged)                                                                     \
	.name = (shown), .shows = "G1 G3 G4 G6", .every = true, .space = SPACE, .stage = (staged), \
	.prepare = crash_with_ttl, .act = act, .after = after_stop, .strike = expire_and_go_on,    \
	.verify = verify_stopped, .thin = { 300, 30, 8 }

static const struct crash_operation operations[] = {
	{ KILLED("shared", shared_among_shared) },
	{ KILLED("shared after intentions", shared_after_intents) },
	{ KILLED("intention to write after shared", intent_after_shared) },
	{ KILLED("intention to write", intent_among_intents), .not_quick = true },
	{ KILLED("intention to read", intent_to_read) },
	{ KILLED("exclusive after intentions", exclusive_after_intents), .not_quick = true },
	{ KILLED("a permit", a_permit) },
	{ AWAITED("end of shared, awaited", shared_among_shared) },
	{ AWAITED("end of an intention to write, awaited", intent_among_intents) },
	{ AWAITED("end of an intention to read, awaited", intent_to_read) },
	{ AWAITED("end of a permit, awaited", a_permit) },
	{ WOKEN("shared, woken", shared_behind_intent) },
	{ WOKEN("intention to write, woken", intent_behind_shared) },
	{ WOKEN("a permit, woken", permit_behind_another) },
	{ BACKS_OUT("shared, backs out", shared_among_shared) },
	{ BACKS_OUT("intention to write, backs out", intent_among_intents), .not_quick = true },
	{ BACKS_OUT("intention to read, backs out", intent_to_read), .not_quick = true },
	{ BACKS_OUT_AND_STAYS("shared, backs out, nobody dies", shared_among_shared) },
	{ BACKS_OUT_AND_STAYS("intention to write, backs out, nobody dies", intent_among_intents) },
	{ BACKS_OUT_AND_STAYS("intention to read, backs out, nobody dies", intent_to_read) },
	{ OVERTAKEN("shared, overtaken before it says so", shared_among_shared) },
	{ OVERTAKEN("intention to write, overtaken before it says so", intent_among_intents) },
	{ OVERTAKEN("intention to read, overtaken before it says so", intent_to_read) },
	{ STOPPED("stopped before shared", shared_among_shared), .not_quick = true },
	{ STOPPED("stopped before shared after intentions", shared_after_intents) },
	{ STOPPED("stopped before an intention to write", intent_after_shared) },
	{ STOPPED("stopped before an intention to read", intent_to_read), .not_quick = true },
	{ STOPPED("stopped before a permit", a_permit) },
};

int main(void)
{
	steps_to_publish = mmap(NULL, (PERMIT + 1) * sizeof(*steps_to_publish),
				PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (steps_to_publish == MAP_FAILED) {
		perror("mmap");
		return EXIT_FAILURE;
	}
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
