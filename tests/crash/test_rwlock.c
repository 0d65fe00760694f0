// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies, or is stopped past its expiry, after each instruction of what one can do with a
// reader-writer lock; alone, with others asleep, while it waits, and while it clears up behind the dead.
//
// The oracle: damage is told exactly if the lock's word named a lease whose own record said EXCLUSIVE,
// or said DIED already. Those who wait sleep without a backstop (patience.h).
#include "tests/crash/crash.h"

#include "arena/hold.h"
#include "src/rwlock.h"

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

static lh_rwlock lock; // the director's handle; its children inherit it

static struct rwlock_object *object(const struct crash_scene *scene)
{
	return rwlock_object(scene->arena, (uint32_t)(lh_rwlock_offset(&lock) / LAYOUT_LINE));
}

static uint32_t mode_of(const struct crash_scene *scene, uint32_t slot)
{
	const struct hold_record *record = hold_find_of(
		scene->arena, slot, LH_KIND_RWLOCK,
		(uint32_t)(lh_rwlock_offset(&lock) / LAYOUT_LINE));

	return record ? hold_word_mode(atomic_load(&record->object)) : LH_HOLD_INTENT;
}

// ---- stages --------------------------------------------------------------------------------------

static int read_by(lh_lease *lease, lh_deadline deadline)
{
	lh_grant grant;

	return lh_rwlock_read_lock(&lock, lease, deadline, &grant);
}

static int write_by(lh_lease *lease, lh_deadline deadline)
{
	lh_grant grant;

	return lh_rwlock_write_lock(&lock, lease, deadline, &grant);
}

static void stage_biased(struct crash_scene *scene)
{
	const struct lh_rwlock_options options = { .data_size = CRASH_DATA, .name = "rates" };

	crash_stage(scene);
	scene->placements = 2;
	crash_must(scene, lh_rwlock_at(scene->arena, LH_ANYWHERE, &options, &lock), "rwlock");
}

static void stage_fenced(struct crash_scene *scene)
{
	stage_biased(scene);
	crash_must(scene, write_by(scene->lease, LH_NOW), "write");
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
}

static void stage_read(struct crash_scene *scene)
{
	stage_biased(scene);
	crash_must(scene, read_by(scene->lease, LH_NOW), "read");
}

static void stage_written(struct crash_scene *scene)
{
	stage_biased(scene);
	crash_must(scene, write_by(scene->lease, LH_NOW), "write");
}

// Somebody has died with the lock.
static void stage_dead(struct crash_scene *scene, bool wrote)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene, wrote ? write_by(lease, LH_NOW) : read_by(lease, LH_NOW), "lock");
		scene->shared->slot = lease->index;
		scene->shared->lease = lh_lease_id(lease);
		raise(SIGKILL);
	}
	crash_bury(scene, pid);
	scene->dead_slot = scene->shared->slot + 1;
	scene->dead_lease = scene->shared->lease;
	scene->shared->lease = 0;
}

static void stage_dead_writer(struct crash_scene *scene)
{
	stage_biased(scene);
	stage_dead(scene, true);
}

static void stage_dead_reader(struct crash_scene *scene)
{
	stage_biased(scene);
	stage_dead(scene, false);
}

static void stage_damaged(struct crash_scene *scene)
{
	stage_dead_writer(scene);
	crash_must(scene, write_by(scene->lease, LH_NOW), "write");
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
}

// ---- the victim ----------------------------------------------------------------------------------

static void has_read(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, read_by(scene->mine, LH_NOW), "read");
	crash_must(scene, lh_rwlock_unlock(&lock, scene->mine), "unlock");
}

static void reads(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, read_by(scene->mine, LH_NOW), "read");
}

static void reads_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, read_by(scene->mine, LH_NOW), "read");
}

static void writes(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, write_by(scene->mine, LH_NOW), "write");
}

static void writes_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, write_by(scene->mine, LH_NOW), "write");
}

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

static int act_read(struct crash_scene *scene)
{
	return read_by(scene->mine, LH_FOREVER);
}

static int act_write(struct crash_scene *scene)
{
	return write_by(scene->mine, LH_FOREVER);
}

static int act_upgrade(struct crash_scene *scene)
{
	lh_grant grant;

	return lh_rwlock_upgrade(&lock, scene->mine, LH_FOREVER, &grant);
}

static int act_downgrade(struct crash_scene *scene)
{
	return lh_rwlock_downgrade(&lock, scene->mine);
}

static int act_unlock(struct crash_scene *scene)
{
	return lh_rwlock_unlock(&lock, scene->mine);
}

static int act_consistent(struct crash_scene *scene)
{
	return lh_rwlock_consistent(&lock, scene->mine);
}

// ---- others --------------------------------------------------------------------------------------

static void wait_for_lock(struct crash_scene *scene, struct crash_waiter *waiter, bool writer)
{
	_Atomic uint64_t *data = lh_rwlock_data(&lock);
	uint64_t before;
	lh_lease *lease;

	patience_begin(&scene->shared->patience);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
	waiter->result = writer ? lh_rwlock_write_lock(&lock, lease, LH_FOREVER, &waiter->grant)
				: lh_rwlock_read_lock(&lock, lease, LH_FOREVER, &waiter->grant);
	waiter->granted_ns = lh_now();
	before = atomic_load(data);
	if (writer)
		atomic_store(data, before + 1);
	sched_yield();
	waiter->intruded = atomic_load(data) != before + writer;
	if (writer && !waiter->result)
		waiter->result = lh_rwlock_consistent(&lock, lease);
	if (!waiter->result)
		waiter->result = lh_rwlock_unlock(&lock, lease);
	if (!waiter->result)
		waiter->result = lh_lease_release(lease);
	waiter->other = writer;
	atomic_store(&waiter->done, 1);
	_exit(0);
}

static void add_waiter(struct crash_scene *scene, bool writer)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count];
	const pid_t pid = crash_fork(scene);

	if (pid == 0)
		wait_for_lock(scene, waiter, writer);
	waiter->pid = pid;
	scene->waiter_count++;
	crash_await_asleep(scene, pid);
}

static bool begin_both(struct crash_scene *scene)
{
	add_waiter(scene, true);
	add_waiter(scene, false);
	return true;
}

// Two writers are woken too, but go on only once the victim has been killed: whoever comes first gets the
// lock, and the victim's way is to be the same each time. So the heir has been passed over, and it is
// the first writer, not a reader who waited for long.
static bool begin_woken(struct crash_scene *scene)
{
	uint64_t asleep_ns;

	if (!crash_victim_asleep(scene))
		return false;
	for (int i = 0; i < 2; i++) {
		add_waiter(scene, true);
		kill(scene->shared->waiters[i].pid, SIGSTOP);
		waitpid(scene->shared->waiters[i].pid, NULL, WUNTRACED);
	}
	asleep_ns = lh_now();
	while (lh_now() - asleep_ns < WORD_PASSED_OVER_NS)
		;
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
	return stepper_leave_call(&scene->stepper);
}

static void observe(struct crash_scene *scene)
{
	// Another living one that owns the word may well be waiting for the victim.
	const uint64_t word = atomic_load(&object(scene)->header.word);
	const uint32_t owner = word_owner(word);

	scene->word = word;
	scene->held = scene->shared->lease && owner == scene->shared->slot + 1 &&
		      mode_of(scene, owner - 1) == LH_HOLD_EXCLUSIVE;
	scene->damage = scene->held || (word & WORD_DIED) ||
			(owner && owner == scene->dead_slot &&
			 mode_of(scene, owner - 1) == LH_HOLD_EXCLUSIVE);
	scene->lost_lease = scene->held ? scene->shared->lease : scene->dead_lease;
	scene->token = word_token(word);
}

static void kill_it(struct crash_scene *scene)
{
	observe(scene);
	scene->killed_ns = lh_now();
	kill(scene->victim, SIGKILL);
}

static void kill_before_the_others(struct crash_scene *scene)
{
	kill_it(scene);
	for (size_t i = 0; i < scene->waiter_count; i++)
		kill(scene->shared->waiters[i].pid, SIGCONT);
}

static void kill_before_a_reader(struct crash_scene *scene)
{
	add_waiter(scene, false); // it is in already, or waits behind the victim
	kill_it(scene);
}

// ---- afterwards ----------------------------------------------------------------------------------

// Those who were granted the lock after the victim, until one of them has repaired: told.
static void collect(struct crash_scene *scene)
{
	uint64_t repaired = UINT64_MAX, last = scene->token;

	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done), "waiter %zu died", i);
		CRASH_CHECK(scene, waiter->result == 0, "waiter %zu got %d", i, waiter->result);
		CRASH_CHECK(scene, !waiter->intruded, "G1: waiter %zu was not alone", i);
		crash_note_recovery(scene, waiter->granted_ns);
		if (!waiter->other || waiter->grant.token <= scene->token)
			continue;
		if (waiter->grant.token < repaired)
			repaired = waiter->grant.token; // by the first writer
		if (waiter->grant.token > last)
			last = waiter->grant.token;
	}
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];
		const bool told = waiter->grant.flags != 0;

		CRASH_CHECK(scene, !told || scene->damage,
			    "G12: waiter %zu was told of damage, the word was %#llx", i,
			    (unsigned long long)scene->word);
		// The writer that repairs is told itself; a reader may come before or after it.
		CRASH_CHECK(scene,
			    told || !scene->damage || waiter->grant.token != repaired ||
				    !waiter->other,
			    "G12: waiter %zu was not told of damage", i);
	}
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: nobody woke a sleeper (the word was %#llx)",
		    (unsigned long long)scene->word);
	scene->damage = scene->damage && repaired == UINT64_MAX;
	scene->token = last;
}

// Nobody dies: what the victim wakes is not woken by its end, which comes later.
static void let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	observe(scene);
	collect(scene);
	kill(scene->victim, SIGKILL);
}

static void check_lock(struct crash_scene *scene)
{
	lh_grant grant = { .token = 0 };
	int result;

	patience_due(&scene->shared->patience);
	patience_begin(&scene->shared->patience);
	if (scene->damage && (scene->variant & CRASH_DEAF_FIRST)) {
		result = lh_rwlock_read_lock(&lock, scene->lease,
					     lh_deadline_after(CRASH_DEADLINE_NS), NULL);
		CRASH_CHECK(scene, result == -EOWNERDEAD, "G12: who does not listen got %d",
			    result);
	}
	result = lh_rwlock_write_lock(&lock, scene->lease, lh_deadline_after(CRASH_DEADLINE_NS),
				      &grant);
	if (!scene->waiter_count)
		crash_note_recovery(scene, lh_now());
	CRASH_CHECK(scene, result == 0, "the next user was not granted the lock: %d, word %#llx",
		    result, (unsigned long long)atomic_load(&object(scene)->header.word));
	CRASH_CHECK(scene, (grant.flags != 0) == scene->damage,
		    "G12: the next user was %s of damage, the word was %#llx",
		    grant.flags ? "told" : "not told", (unsigned long long)scene->word);
	CRASH_CHECK(scene, !grant.flags || grant.previous == scene->lost_lease,
		    "the lost lease is called %llu instead of %llu",
		    (unsigned long long)grant.previous, (unsigned long long)scene->lost_lease);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	crash_reap_children(scene); // or the heir may be alive still
	crash_must(scene, lh_rwlock_consistent(&lock, scene->lease), "consistent");
	crash_must(scene, lh_rwlock_downgrade(&lock, scene->lease), "downgrade");
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
	crash_must(scene, lh_rwlock_read_lock(&lock, scene->lease, LH_NOW, NULL), "read");
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2: nobody woke the next user");
	CRASH_CHECK(scene, !atomic_load(&object(scene)->header.heir), "G8: an heir is left");
	patience_begin(NULL);
}

static void verify(struct crash_scene *scene)
{
	collect(scene);
	check_lock(scene);
	crash_check_empty(scene);
}

static void unlock_and_verify(struct crash_scene *scene)
{
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
	verify(scene);
}

// The queued reader gets in while the director still reads.
static void collect_unlock_and_verify(struct crash_scene *scene)
{
	collect(scene);
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

	results[0] = lh_rwlock_read_lock(&lock, scene->mine, LH_NOW, &grant);
	results[1] = lh_rwlock_write_lock(&lock, scene->mine, LH_NOW, &grant);
	results[2] = lh_rwlock_upgrade(&lock, scene->mine, LH_NOW, &grant);
	results[3] = lh_rwlock_downgrade(&lock, scene->mine);
	results[4] = lh_rwlock_unlock(&lock, scene->mine);
	results[5] = lh_rwlock_consistent(&lock, scene->mine);
	lh_lease_release(scene->mine);
}

static void stop_and_succeed(struct crash_scene *scene)
{
	_Atomic uint64_t *data = lh_rwlock_data(&lock);
	const bool held = !(scene->variant & CRASH_LEFT_FREE);
	struct lease_slot *slot = &scene->arena->leases[scene->shared->slot];
	const uint64_t incarnation = lease_id_incarnation(scene->shared->lease);
	lh_grant grant = { .token = 0 };
	bool blocks;
	uint64_t expiry, word;
	int status, error;

	observe(scene);
	blocks = word_owner(scene->word) == scene->shared->slot + 1 ||
		 mode_of(scene, scene->shared->slot) == LH_HOLD_SHARED;
	stepper_detach(&scene->stepper, SIGSTOP);
	waitpid(scene->victim, &status, WUNTRACED);
	lease_slot_renew(slot, incarnation, LH_MS(2));
	expiry = lease_word_expiry(atomic_load(&slot->state));
	error = lh_rwlock_write_lock(&lock, scene->lease, LH_NOW, &grant);
	CRASH_CHECK(scene, error == (blocks ? -EBUSY : 0) || lh_now() >= expiry,
		    "G3: before its expiry: %d", error);
	if (error)
		error = lh_rwlock_write_lock(&lock, scene->lease,
					     lh_deadline_after(CRASH_DEADLINE_NS), &grant);
	CRASH_CHECK(scene, error == 0, "the successor got %d", error);
	CRASH_CHECK(scene, !blocks || lh_now() >= expiry, "G3: granted before the expiry");
	CRASH_CHECK(scene, (grant.flags != 0) == scene->damage, "G12: flags %u, the word was %#llx",
		    grant.flags, (unsigned long long)scene->word);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	while (lease_slot_remaining(slot, incarnation))
		;
	atomic_store(data, 4711);
	if (!held) {
		lh_rwlock_consistent(&lock, scene->lease);
		crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "unlock");
		scene->damage = false;
	}
	word = atomic_load(&object(scene)->header.word);
	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, 0);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == 0 || scene->shared->result == -ESTALE,
		    "G4: its operation said %d", scene->shared->result);
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
		    ((atomic_load(&object(scene)->header.word) ^ word) &
		     ~(WORD_MARK | RWLOCK_FENCED)) == 0,
		    "G4: the successor's word was changed from %#llx to %#llx",
		    (unsigned long long)word,
		    (unsigned long long)atomic_load(&object(scene)->header.word));
	crash_must(scene, lh_rwlock_unlock(&lock, scene->lease), "the successor's unlock");
}

// ---- all of them ---------------------------------------------------------------------------------

#define KILLED(shown, staged, prepared, called)                                                    \
	.name = (shown), .shows = "G1 G2 G5 G12", .every = true, .stage = (staged),                \
	.prepare = (prepared), .act = (called), .strike = kill_it

#define STOPPED(shown, staged, prepared, called)                                                   \
	.name = (shown), .shows = "G1 G3 G4 G5", .every = true, .stage = (staged),                 \
	.prepare = (prepared), .act = (called), .after = try_everything,                           \
	.strike = stop_and_succeed, .verify = verify

#define WOKEN(shown, called)                                                                       \
	.name = (shown), .shows = "G1 G2 G5 G12", .every = true, .stage = stage_written,           \
	.prepare = patient, .act = (called), .begin = begin_woken,                                 \
	.strike = kill_before_the_others, .verify = verify, .thin = { 120, 18, 2 }

static const struct crash_operation operations[] = {
	{ KILLED("first read", stage_biased, crash_with_lease, act_read), .verify = verify,
	  .thin = { 120, 18, 2 } },
	{ KILLED("read, biased", stage_biased, has_read, act_read), .verify = verify,
	  .thin = { 16, 3, 2 }, .at_most = 120 },
	{ KILLED("read, fenced", stage_fenced, has_read, act_read), .verify = verify,
	  .thin = { 32, 6, 2 } },
	{ KILLED("read, lease with a TTL", stage_biased, crash_with_ttl, act_read),
	  .verify = verify, .thin = { 120, 18, 2 } },
	{ KILLED("end of reading, biased", stage_biased, reads, act_unlock), .verify = verify,
	  .thin = { 16, 3, 2 }, .at_most = 120 },
	{ KILLED("end of reading, a writer and a reader wait", stage_biased, reads, act_unlock),
	  .begin = begin_both, .verify = verify, .thin = { 48, 9, 2 } },
	{ KILLED("end of reading, lease with a TTL", stage_fenced, reads_with_ttl, act_unlock),
	  .begin = begin_both, .verify = verify, .thin = { 120, 18, 2 } },
	{ KILLED("write, biased", stage_biased, crash_with_lease, act_write), .verify = verify,
	  .thin = { 120, 18, 2 } },
	{ KILLED("write, fenced", stage_fenced, crash_with_lease, act_write), .verify = verify,
	  .thin = { 16, 3, 2 } },
	{ KILLED("write, lease with a TTL", stage_fenced, crash_with_ttl, act_write),
	  .verify = verify, .thin = { 120, 18, 2 } },
	{ KILLED("end of writing, a writer and a reader wait", stage_fenced, writes, act_unlock),
	  .begin = begin_both, .verify = verify, .thin = { 48, 9, 2 } },
	{ KILLED("end of writing, lease with a TTL", stage_biased, writes_with_ttl, act_unlock),
	  .begin = begin_both, .verify = verify, .thin = { 80, 15, 2 } },
	{ KILLED("upgrade", stage_biased, reads, act_upgrade), .verify = verify,
	  .thin = { 160, 24, 2 } },
	{ KILLED("downgrade, a writer and a reader wait", stage_biased, writes, act_downgrade),
	  .begin = begin_both, .verify = verify, .thin = { 80, 15, 2 } },
	{ KILLED("consistent", stage_damaged, writes, act_consistent), .verify = verify,
	  .thin = { 48, 9, 2 } },
	{ KILLED("write, up to its sleep before a reader", stage_read, patient, act_write),
	  .sleeps = true, .verify = unlock_and_verify, .thin = { 240, 45, 4 } },
	{ .name = "write, up to its sleep before a reader, another reads behind it",
	  .shows = "G2 G8",
	  .every = true,
	  .stage = stage_read,
	  .prepare = patient,
	  .act = act_write,
	  .sleeps = true,
	  .strike = kill_before_a_reader,
	  .verify = collect_unlock_and_verify,
	  .thin = { 240, 45, 4 } },
	{ KILLED("read, up to its sleep before a writer", stage_written, patient, act_read),
	  .sleeps = true, .verify = unlock_and_verify, .thin = { 240, 45, 4 } },
	{ WOKEN("read, woken among others", act_read) },
	{ WOKEN("write, woken among others", act_write) },
	{ KILLED("write after a dead writer", stage_dead_writer, crash_with_lease, act_write),
	  .verify = verify, .thin = { 240, 45, 4 } },
	{ KILLED("read after a dead writer", stage_dead_writer, crash_with_lease, act_read),
	  .verify = verify, .thin = { 240, 45, 4 } },
	{ KILLED("write after a dead reader", stage_dead_reader, crash_with_lease, act_write),
	  .verify = verify, .thin = { 240, 45, 4 } },
	{ CRASH_SURVIVED("end of reading, nobody dies, two wait", stage_biased, reads, act_unlock),
	  .begin = begin_both, .strike = let_go_on, .verify = verify },
	{ CRASH_SURVIVED("end of writing, nobody dies, two wait", stage_biased, writes, act_unlock),
	  .begin = begin_both, .strike = let_go_on, .verify = verify },
	{ STOPPED("stopped in read", stage_biased, crash_with_ttl, act_read),
	  .thin = { 120, 18, 2 } },
	{ STOPPED("stopped in read, fenced", stage_fenced, crash_with_ttl, act_read),
	  .thin = { 160, 24, 2 } },
	{ STOPPED("stopped in the end of reading", stage_fenced, reads_with_ttl, act_unlock),
	  .thin = { 80, 12, 2 } },
	{ STOPPED("stopped in write", stage_biased, crash_with_ttl, act_write),
	  .thin = { 160, 24, 2 } },
	{ STOPPED("stopped in the end of writing", stage_fenced, writes_with_ttl, act_unlock),
	  .thin = { 48, 9, 2 } },
	{ STOPPED("stopped in upgrade", stage_biased, reads_with_ttl, act_upgrade),
	  .thin = { 160, 24, 2 } },
	{ STOPPED("stopped in downgrade", stage_biased, writes_with_ttl, act_downgrade),
	  .thin = { 80, 12, 2 } },
	{ STOPPED("stopped in consistent", stage_damaged, writes_with_ttl, act_consistent),
	  .thin = { 48, 9, 2 } },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
