// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies, or is stopped past its expiry, after each instruction of what one can do with a
// reader-writer lock; alone, with others asleep, while it waits, and while it clears up behind the
// dead.
#include "tests/crash/rwlock_scene.h"

#include "arena/hold.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static void stage_fenced_read(struct crash_scene *scene)
{
	rwlock_stage_fenced(scene);
	crash_must(scene, rwlock_scene_read(scene->lease, LH_NOW), "read");
}

// ---- the victim ----------------------------------------------------------------------------------

static void reads(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, rwlock_scene_read(scene->mine, LH_NOW), "read");
}

static void reads_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, rwlock_scene_read(scene->mine, LH_NOW), "read");
}

static void writes(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, rwlock_scene_write(scene->mine, LH_NOW), "write");
}

static void writes_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, rwlock_scene_write(scene->mine, LH_NOW), "write");
}

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

static void reads_patiently(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	reads(scene);
}

static int act_read(struct crash_scene *scene)
{
	return rwlock_scene_read(scene->mine, LH_FOREVER);
}

static int act_write(struct crash_scene *scene)
{
	return rwlock_scene_write(scene->mine, LH_FOREVER);
}

static int act_upgrade(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_rwlock_upgrade(&rwlock_scene_lock, scene->mine, LH_FOREVER, &grant);
}

static int act_downgrade(struct crash_scene *scene)
{
	return lh_rwlock_downgrade(&rwlock_scene_lock, scene->mine);
}

static int act_unlock(struct crash_scene *scene)
{
	return lh_rwlock_unlock(&rwlock_scene_lock, scene->mine);
}

static int act_consistent(struct crash_scene *scene)
{
	return lh_rwlock_consistent(&rwlock_scene_lock, scene->mine);
}

// ---- others --------------------------------------------------------------------------------------

// Two writers are woken too, but go on only once the victim has been killed: whoever comes first
// gets the lock, and the victim's way is to be the same each time. So the heir has been passed
// over, and it is the first writer, not a reader who waited for long.
static bool begin_woken(struct crash_scene *scene)
{
	uint64_t asleep_ns;

	if (!crash_victim_asleep(scene))
		return false;
	for (int i = 0; i < 2; i++) {
		rwlock_scene_add(scene, true);
		kill(scene->shared->waiters[i].pid, SIGSTOP);
		waitpid(scene->shared->waiters[i].pid, NULL, WUNTRACED);
	}
	asleep_ns = lh_now();
	while (lh_now() - asleep_ns < WORD_PASSED_OVER_NS)
		;
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
	return stepper_leave_call(&scene->stepper);
}

static void kill_before_the_others(struct crash_scene *scene)
{
	rwlock_scene_kill(scene);
	for (size_t i = 0; i < scene->waiter_count; i++)
		kill(scene->shared->waiters[i].pid, SIGCONT);
}

// The victim holds the lock in one way or the other all the time.
static void kill_after_a_try(struct crash_scene *scene)
{
	int error;

	rwlock_scene_observe(scene);
	error = rwlock_scene_write(scene->lease, LH_NOW);
	CRASH_CHECK(scene, error == -EBUSY, "G1: another got %d", error);
	kill(scene->victim, SIGKILL);
}

// The director reads, so nobody has written.
static void kill_while_read(struct crash_scene *scene)
{
	rwlock_scene_kill(scene);
	CRASH_CHECK(scene, !scene->damage, "G12: who only waits counts as a writer");
}

static void kill_before_a_reader(struct crash_scene *scene)
{
	rwlock_scene_add(scene, false); // it is in already, or waits behind the victim
	rwlock_scene_kill(scene);
}

// ---- afterwards ----------------------------------------------------------------------------------

static void unlock_and_verify(struct crash_scene *scene)
{
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
	rwlock_scene_verify(scene);
}

// The queued reader gets in while the director still reads.
static void collect_unlock_and_verify(struct crash_scene *scene)
{
	rwlock_scene_collect(scene);
	unlock_and_verify(scene);
}

// ---- stopped past its expiry ---------------------------------------------------------------------

enum { RESULTS = 6 };
static const char *const calls[RESULTS] = { "read",      "write",  "upgrade",
					    "downgrade", "unlock", "consistent" };

static void try_everything(struct crash_scene *scene)
{
	int *results = scene->shared->results;
	lh_grant grant;

	results[0] = lh_rwlock_read_lock(&rwlock_scene_lock, scene->mine, LH_NOW, &grant);
	results[1] = lh_rwlock_write_lock(&rwlock_scene_lock, scene->mine, LH_NOW, &grant);
	results[2] = lh_rwlock_upgrade(&rwlock_scene_lock, scene->mine, LH_NOW, &grant);
	results[3] = lh_rwlock_downgrade(&rwlock_scene_lock, scene->mine);
	results[4] = lh_rwlock_unlock(&rwlock_scene_lock, scene->mine);
	results[5] = lh_rwlock_consistent(&rwlock_scene_lock, scene->mine);
	lh_lease_release(scene->mine);
}

// Whether what the victim was called for had not yet happened when it was stopped: then it cannot
// happen any more, and has to be refused.
static bool has_yet_to_act(const struct crash_scene *scene, bool blocks)
{
	int (*const act)(struct crash_scene * scene) = scene->operation->act;
	const bool owns = word_owner(scene->word) == scene->shared->slot + 1;

	if (act == act_read || act == act_write)
		return !blocks;
	if (act == act_upgrade)
		return !owns;
	if (act == act_downgrade)
		return owns;
	return act == act_unlock ? blocks : (scene->word & WORD_DIED) != 0;
}

static void stop_and_succeed(struct crash_scene *scene)
{
	_Atomic uint64_t *data = lh_rwlock_data(&rwlock_scene_lock);
	const bool held = !(scene->variant & CRASH_LEFT_FREE);
	struct lease_slot *slot = &scene->arena->leases[scene->shared->slot];
	const uint64_t incarnation = lease_id_incarnation(scene->shared->lease);
	lh_grant grant = { .token = 0 };
	bool blocks;
	uint64_t expiry, word;
	int status, error;

	rwlock_scene_observe(scene);
	blocks = word_owner(scene->word) == scene->shared->slot + 1 ||
		 rwlock_scene_mode(scene, scene->shared->slot) == LH_HOLD_SHARED;
	stepper_detach(&scene->stepper, SIGSTOP);
	waitpid(scene->victim, &status, WUNTRACED);
	lease_slot_renew(scene->arena, scene->shared->slot, incarnation, LH_MS(2));
	expiry = lease_word_expiry(atomic_load(&slot->state));
	error = lh_rwlock_write_lock(&rwlock_scene_lock, scene->lease, LH_NOW, &grant);
	CRASH_CHECK(scene, error == (blocks ? -EBUSY : 0) || lh_now() >= expiry,
		    "G3: before its expiry: %d", error);
	if (error)
		error = lh_rwlock_write_lock(&rwlock_scene_lock, scene->lease,
					     lh_deadline_after(CRASH_DEADLINE_NS), &grant);
	CRASH_CHECK(scene, error == 0, "the successor got %d", error);
	CRASH_CHECK(scene, !blocks || lh_now() >= expiry, "G3: granted before the expiry");
	CRASH_CHECK(scene, (grant.flags != 0) == scene->damage, "G12: flags %u, the word was %#llx",
		    grant.flags, (unsigned long long)scene->word);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	while (lease_slot_remaining(scene->arena, scene->shared->slot, incarnation))
		;
	atomic_store(data, 4711);
	if (!held) {
		lh_rwlock_consistent(&rwlock_scene_lock, scene->lease);
		crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
		scene->damage = false;
	}
	word = atomic_load(&rwlock_scene_object(scene)->header.word);
	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, 0);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == 0 || scene->shared->result == -ESTALE,
		    "G4: its operation said %d", scene->shared->result);
	CRASH_CHECK(scene, scene->shared->result || !has_yet_to_act(scene, blocks),
		    "G1, G4: it did what it lost the right to before");
	for (int i = 0; i < RESULTS; i++)
		CRASH_CHECK(scene, scene->shared->results[i] == -ESTALE, "G4: then %s said %d",
			    calls[i], scene->shared->results[i]);
	CRASH_CHECK(scene, atomic_load(data) == 4711, "G4: the successor's data was changed");
	if (scene->shared->result == 0)
		crash_count(scene, "answers older than the loss");
	scene->token = grant.token;
	scene->lost_lease = scene->held ? scene->shared->lease : scene->lost_lease;
	if (!held)
		return;
	CRASH_CHECK(scene,
		    ((atomic_load(&rwlock_scene_object(scene)->header.word) ^ word) &
		     ~(WORD_MARK | RWLOCK_FENCED)) == 0,
		    "G4: the successor's word was changed from %#llx to %#llx",
		    (unsigned long long)word,
		    (unsigned long long)atomic_load(&rwlock_scene_object(scene)->header.word));
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease),
		   "the successor's unlock");
}

// The victim is before a reader, or behind it; that one has gone by the time that it is succeeded.
static void stop_before_a_reader(struct crash_scene *scene)
{
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
	stop_and_succeed(scene);
}

// ---- all of them ---------------------------------------------------------------------------------

#define KILLED(shown, staged, prepared, called)                                                    \
	.name = (shown), .shows = "G1 G2 G5 G12", .every = true, .stage = (staged),                \
	.prepare = (prepared), .act = (called), .strike = rwlock_scene_kill

#define STOPPED(shown, staged, prepared, called)                                                   \
	.name = (shown), .shows = "G1 G3 G4 G5", .every = true, .stage = (staged),                 \
	.prepare = (prepared), .act = (called), .after = try_everything,                           \
	.strike = stop_and_succeed, .verify = rwlock_scene_verify

#define WOKEN(shown, called)                                                                       \
	.name = (shown), .shows = "G1 G2 G5 G12", .every = true, .stage = rwlock_stage_written,    \
	.prepare = patient, .act = (called), .begin = begin_woken,                                 \
	.strike = kill_before_the_others, .verify = rwlock_scene_verify, .thin = { 120, 18, 2 }

// At each point another tries to write, in vain.
#define WATCHED(shown, prepared, called)                                                           \
	.name = (shown), .shows = "G1", .every = true, .stage = rwlock_stage_biased,               \
	.prepare = (prepared), .act = (called), .strike = kill_after_a_try,                        \
	.verify = rwlock_scene_verify, .thin = { 160, 24, 2 }

#define BEFORE_READER(shown, staged, prepared, called)                                             \
	.name = (shown), .shows = "G1 G2 G5 G12", .every = true, .stage = (staged),                \
	.prepare = (prepared), .act = (called), .sleeps = true, .strike = kill_while_read,         \
	.verify = unlock_and_verify, .thin = { 240, 45, 4 }

static const struct crash_operation operations[] = {
	{ KILLED("read, lease with a TTL", rwlock_stage_biased, crash_with_ttl, act_read),
	  .verify = rwlock_scene_verify, .thin = { 120, 18, 2 } },
	{ KILLED("end of reading, lease with a TTL", rwlock_stage_fenced, reads_with_ttl,
		 act_unlock),
	  .begin = rwlock_scene_add_both, .verify = rwlock_scene_verify, .thin = { 120, 18, 2 } },
	{ KILLED("write, biased", rwlock_stage_biased, crash_with_lease, act_write),
	  .verify = rwlock_scene_verify, .thin = { 120, 18, 2 } },
	{ KILLED("write, fenced", rwlock_stage_fenced, crash_with_lease, act_write),
	  .verify = rwlock_scene_verify, .thin = { 16, 3, 2 } },
	{ KILLED("write, lease with a TTL", rwlock_stage_fenced, crash_with_ttl, act_write),
	  .verify = rwlock_scene_verify, .thin = { 120, 18, 2 } },
	{ KILLED("end of writing, a writer and a reader wait", rwlock_stage_fenced, writes,
		 act_unlock),
	  .begin = rwlock_scene_add_both, .verify = rwlock_scene_verify, .thin = { 48, 9, 2 } },
	{ KILLED("end of writing, lease with a TTL", rwlock_stage_biased, writes_with_ttl,
		 act_unlock),
	  .begin = rwlock_scene_add_both, .verify = rwlock_scene_verify, .thin = { 80, 15, 2 } },
	{ KILLED("upgrade", rwlock_stage_biased, reads, act_upgrade), .verify = rwlock_scene_verify,
	  .thin = { 160, 24, 2 } },
	{ WATCHED("upgrade, another tries to write", reads, act_upgrade) },
	{ WATCHED("downgrade, another tries to write", writes, act_downgrade) },
	{ KILLED("downgrade, a writer and a reader wait", rwlock_stage_biased, writes,
		 act_downgrade),
	  .begin = rwlock_scene_add_both, .verify = rwlock_scene_verify, .thin = { 80, 15, 2 } },
	{ KILLED("consistent", rwlock_stage_damaged, writes, act_consistent),
	  .verify = rwlock_scene_verify, .thin = { 48, 9, 2 } },
	{ BEFORE_READER("write, up to its sleep before a reader", rwlock_stage_read, patient,
			act_write) },
	{ BEFORE_READER("write, fenced, up to its sleep before a reader", stage_fenced_read,
			patient, act_write) },
	{ BEFORE_READER("upgrade, up to its sleep before a reader", rwlock_stage_read,
			reads_patiently, act_upgrade) },
	{ KILLED("lease release of a writer, a writer and a reader wait", rwlock_stage_fenced,
		 writes, crash_release),
	  .begin = rwlock_scene_add_both, .verify = rwlock_scene_verify, .thin = { 160, 24, 2 } },
	{ .name = "write, up to its sleep before a reader, another reads behind it",
	  .shows = "G2 G8",
	  .every = true,
	  .stage = rwlock_stage_read,
	  .prepare = patient,
	  .act = act_write,
	  .sleeps = true,
	  .strike = kill_before_a_reader,
	  .verify = collect_unlock_and_verify,
	  .thin = { 240, 45, 4 } },
	{ KILLED("read, up to its sleep before a writer", rwlock_stage_written, patient, act_read),
	  .sleeps = true, .verify = unlock_and_verify, .thin = { 240, 45, 4 } },
	{ WOKEN("read, woken among others", act_read) },
	{ WOKEN("write, woken among others", act_write) },
	{ KILLED("write after a dead writer", rwlock_stage_dead_writer, crash_with_lease,
		 act_write),
	  .verify = rwlock_scene_verify, .thin = { 240, 45, 4 } },
	{ KILLED("read after a dead writer", rwlock_stage_dead_writer, crash_with_lease, act_read),
	  .verify = rwlock_scene_verify, .thin = { 240, 45, 4 } },
	{ KILLED("write after a dead reader", rwlock_stage_dead_reader, crash_with_lease,
		 act_write),
	  .verify = rwlock_scene_verify, .thin = { 240, 45, 4 } },
	{ CRASH_SURVIVED("end of writing, nobody dies, two wait", rwlock_stage_biased, writes,
			 act_unlock),
	  .begin = rwlock_scene_add_both, .strike = rwlock_scene_let_go_on,
	  .verify = rwlock_scene_verify },
	{ STOPPED("stopped in read", rwlock_stage_biased, crash_with_ttl, act_read),
	  .thin = { 120, 18, 2 } },
	{ STOPPED("stopped in read, fenced", rwlock_stage_fenced, crash_with_ttl, act_read),
	  .thin = { 160, 24, 2 } },
	{ STOPPED("stopped in the end of reading", rwlock_stage_fenced, reads_with_ttl, act_unlock),
	  .thin = { 80, 12, 2 } },
	{ STOPPED("stopped in write", rwlock_stage_biased, crash_with_ttl, act_write),
	  .thin = { 160, 24, 2 } },
	{ .name = "stopped in write that waits for a reader, up to its sleep",
	  .shows = "G1 G3 G4 G5",
	  .every = true,
	  .stage = rwlock_stage_read,
	  .prepare = crash_with_ttl,
	  .act = act_write,
	  .after = try_everything,
	  .sleeps = true,
	  .strike = stop_before_a_reader,
	  .verify = rwlock_scene_verify,
	  .thin = { 240, 45, 4 } },
	{ STOPPED("stopped in the end of writing", rwlock_stage_fenced, writes_with_ttl,
		  act_unlock),
	  .thin = { 48, 9, 2 } },
	{ STOPPED("stopped in upgrade", rwlock_stage_biased, reads_with_ttl, act_upgrade),
	  .thin = { 160, 24, 2 } },
	{ STOPPED("stopped in downgrade", rwlock_stage_biased, writes_with_ttl, act_downgrade),
	  .thin = { 80, 12, 2 } },
	{ STOPPED("stopped in consistent", rwlock_stage_damaged, writes_with_ttl, act_consistent),
	  .thin = { 48, 9, 2 } },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
