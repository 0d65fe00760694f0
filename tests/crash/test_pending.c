// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A helper thread that waits for a key on behalf of others dies, or is stopped, after each
// instruction of its look at the lock, its falling asleep and its grant; and so does whoever lets
// go of a key that a helper waits for. The helper is that of src/pending.c without its queues: one
// thread, one lease.
#include "tests/crash/crash.h"

#include "src/provider/shm_pending.h"
#include "src/rwlock_modes.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { ENTRIES = 4, SPACE = 16384 };

static struct keys keys;
static struct hold_record *held; // the director's or the victim's hold of the key

// ---- acts ----------------------------------------------------------------------------------------

static int take(lh_lease *lease, bool reads, uint32_t heir, lh_grant *grant,
		struct hold_record **ret_record)
{
	struct rwlock_attempt attempt = { .arena = keys.arena,
					  .lease = lease,
					  .deadline = LH_NOW,
					  .grant = grant,
					  .heir = heir };
	int error = keys_refer(&keys, lease, "key", 3, 0, LH_FOREVER, &attempt.record);

	if (error)
		return error;
	attempt.granule = hold_word_granule(atomic_load(&attempt.record->object));
	attempt.object = rwlock_object(keys.arena, attempt.granule);
	error = rwlock_acquire_mode(&attempt, reads ? LH_HOLD_SHARED : LH_HOLD_EXCLUSIVE);
	if (error)
		hold_clear(attempt.record);
	else
		*ret_record = attempt.record;
	return error;
}

static struct rwlock_object *object_of(const struct hold_record *record)
{
	return rwlock_object(keys.arena, hold_word_granule(atomic_load(&record->object)));
}

static int drop(lh_lease *lease, struct hold_record *record)
{
	return rwlock_release_mode(lease, object_of(record), record);
}

// As the helper does it for one that waits; its lease is the grant's, too.
static int wait_for_key(lh_lease *lease, bool reads, lh_grant *grant,
			struct hold_record **ret_record)
{
	const struct lh_acquire_options options = { .mode = reads ? LH_SHARED : LH_EXCLUSIVE };
	struct provider_queue queue = { .key = { .bytes = "key", .size = 3 },
					.options = &options,
					.since_ns = lh_now() };
	struct shm_pending pending = { .lease = lease };
	struct wait wait;
	int error;

	patience_stop_clock(true); // until it has slept: a reader is waited for by a time limit
	wait_begin(&wait, keys.arena, NULL, LH_FOREVER);
	do {
		wait_round(&wait);
		error = shm_pending_ready(&pending, keys.arena);
		if (!error)
			error = shm_pending_listen(&pending, keys.arena, &wait, &(uint64_t){ 0 });
		if (error)
			break;
		if (shm_pending_is_free(&pending, &keys, &queue, &wait)) {
			error = take(lease, reads, shm_pending_heir(&queue), grant, ret_record);
			queue.refused = error == -EBUSY;
		} else {
			error = wait_sleep(&wait);
			patience_stop_clock(false);
			if (!error)
				error = -EBUSY;
		}
	} while (error == -EBUSY);
	patience_stop_clock(false);
	shm_pending_leave(&pending, &queue);
	return error;
}

static int wait_and_drop(struct crash_scene *scene)
{
	struct hold_record *record = NULL;
	lh_grant grant;
	const int error = wait_for_key(scene->mine, scene->kept, &grant, &record);

	if (!error)
		held = record;
	return error ? error : drop(scene->mine, record);
}

static int drop_held(struct crash_scene *scene)
{
	return drop(scene->mine, held);
}

// ---- stages --------------------------------------------------------------------------------------

static void stage(struct crash_scene *scene)
{
	struct hold_record *record = NULL;
	lh_grant grant;

	crash_stage(scene);
	crash_must(scene, keys_open(scene->arena, &keys), "keys");
	keys.entry_count = ENTRIES;
	keys.block_count = 1;
	scene->placements = 3;
	scene->kept = false; // whether what waits only wants to read
	crash_must(scene, take(scene->lease, false, 0, &grant, &record), "key");
	crash_must(scene, drop(scene->lease, record), "key");
}

static void hold_by_director(struct crash_scene *scene, bool reads)
{
	lh_grant grant;

	stage(scene);
	crash_must(scene, take(scene->lease, reads, 0, &grant, &held), "hold");
}

static void stage_written(struct crash_scene *scene)
{
	hold_by_director(scene, false);
}

static void stage_written_reads(struct crash_scene *scene)
{
	hold_by_director(scene, false);
	scene->kept = true;
}

static void stage_read(struct crash_scene *scene)
{
	hold_by_director(scene, true);
}

static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	crash_with_lease(scene);
}

static void writes(struct crash_scene *scene)
{
	lh_grant grant;

	crash_with_lease(scene);
	crash_must(scene, take(scene->mine, false, 0, &grant, &held), "write");
}

static void reads(struct crash_scene *scene)
{
	lh_grant grant;

	crash_with_lease(scene);
	crash_must(scene, take(scene->mine, true, 0, &grant, &held), "read");
}

// A helper that waits, once it sleeps.
static bool begin_one_pending(struct crash_scene *scene)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count];
	const pid_t pid = crash_fork(scene);
	struct hold_record *record = NULL;
	lh_lease *lease;

	if (pid == 0) {
		patience_begin(&scene->shared->patience);
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
		waiter->result = wait_for_key(lease, false, &waiter->grant, &record);
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
	return true;
}

// ---- what must come of it ------------------------------------------------------------------------

static bool victim_writes(const struct crash_scene *scene)
{
	for (uint32_t i = 0; i < ENTRIES; i++) {
		const uint32_t granule = keys_granule(&keys, &keys.entries[i]);
		const struct hold_record *record = hold_find_of(keys.arena, scene->shared->slot,
								LH_KIND_RWLOCK, granule);

		if (record && hold_word_mode(atomic_load(&record->object)) == LH_HOLD_EXCLUSIVE &&
		    word_owner(atomic_load(&keys.entries[i].lock.header.word)) ==
			    scene->shared->slot + 1)
			return true;
	}
	return false;
}

static void kill_victim(struct crash_scene *scene)
{
	const bool wrote = victim_writes(scene);

	crash_kill(scene);
	scene->damage = wrote;
}

static void collect(struct crash_scene *scene)
{
	patience_due(&scene->shared->patience);
	for (size_t i = 0; i < scene->waiter_count; i++) {
		const struct crash_waiter *waiter = &scene->shared->waiters[i];

		waitpid(waiter->pid, NULL, 0);
		CRASH_CHECK(scene, atomic_load(&waiter->done) && waiter->result == 0,
			    "G2: what waits without a thread got %d", waiter->result);
		CRASH_CHECK(scene, (waiter->grant.flags != 0) == scene->damage,
			    "G12: it was %s of damage", waiter->grant.flags ? "told" : "not told");
		crash_note_recovery(scene, waiter->granted_ns);
	}
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: nobody woke it");
}

// Who does not wait is refused by nobody who is not there any more, be it by an heir.
static void check_key(struct crash_scene *scene)
{
	const bool reads_first = scene->variant & CRASH_SLOTS_FIRST;
	struct hold_record *record = NULL;

	for (int i = 0; i < 2; i++) {
		lh_grant grant;
		const int result = take(scene->lease, reads_first == !i, 0, &grant, &record);

		CRASH_CHECK(scene, result == 0, "G2, G8: the next user got %d", result);
		if (result)
			return;
		CRASH_CHECK(scene, (grant.flags != 0) == scene->damage, "G12: %s of damage",
			    grant.flags ? "told" : "not told");
		CRASH_CHECK(scene, drop(scene->lease, record) == 0, "unlock");
	}
}

static void verify(struct crash_scene *scene)
{
	collect(scene);
	crash_reap_children(scene);
	check_key(scene);
	crash_check_empty(scene);
}

static void drop_and_verify(struct crash_scene *scene)
{
	crash_reap_children(scene);
	CRASH_CHECK(scene, drop(scene->lease, held) == 0, "unlock");
	verify(scene);
}

static void let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	scene->damage = false;
	collect(scene);
	kill(scene->victim, SIGKILL);
}

// The lock is let go while the helper stands there: it must not sleep over that.
static void stop_and_drop(struct crash_scene *scene)
{
	crash_stop(scene);
	CRASH_CHECK(scene, drop(scene->lease, held) == 0, "unlock");
	patience_due(&scene->shared->patience);
	crash_resume(scene);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == 0, "G2: it got %d", scene->shared->result);
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: it sleeps though the lock was let go");
	scene->damage = false;
}

static void after_stop(struct crash_scene *scene)
{
	scene->shared->results[0] = lh_lease_release(scene->mine);
}

static void verify_stopped(struct crash_scene *scene)
{
	check_key(scene);
	crash_check_empty(scene);
}

#define KILLED(shown, staged, ready, called)                                                       \
	.name = (shown), .shows = "G2 G8 G12", .every = true, .space = SPACE, .stage = (staged),   \
	.prepare = (ready), .act = (called), .strike = kill_victim
#define STOPPED(shown, staged)                                                                     \
	.name = (shown), .shows = "G2 G8", .every = true, .space = SPACE, .stage = (staged),       \
	.prepare = patient, .act = wait_and_drop, .after = after_stop, .sleeps = true,             \
	.strike = stop_and_drop, .verify = verify_stopped

static const struct crash_operation operations[] = {
	{ KILLED("wait, up to its sleep behind a writer", stage_written, patient, wait_and_drop),
	  .sleeps = true, .verify = drop_and_verify, .thin = { 300, 40, 10 } },
	{ KILLED("wait, up to its sleep behind a reader", stage_read, patient, wait_and_drop),
	  .sleeps = true, .verify = drop_and_verify, .thin = { 300, 40, 10 } },
	{ KILLED("grant", stage, crash_with_lease, wait_and_drop), .verify = verify,
	  .thin = { 300, 50, 12 } },
	{ KILLED("end of writing, one is pending", stage, writes, drop_held),
	  .begin = begin_one_pending, .verify = verify, .thin = { 48, 9, 2 } },
	{ KILLED("end of reading, one is pending", stage, reads, drop_held),
	  .begin = begin_one_pending, .verify = verify, .thin = { 48, 9, 2 } },
	{ CRASH_SURVIVED("end of writing, nobody dies, one is pending", stage, writes, drop_held),
	  .space = SPACE, .begin = begin_one_pending, .strike = let_go_on, .verify = verify },
	{ CRASH_SURVIVED("end of reading, nobody dies, one is pending", stage, reads, drop_held),
	  .space = SPACE, .begin = begin_one_pending, .strike = let_go_on, .verify = verify },
	{ STOPPED("stopped in the wait behind a writer", stage_written), .thin = { 300, 40, 10 } },
	{ STOPPED("stopped in the wait of a reader", stage_written_reads),
	  .thin = { 300, 40, 10 } },
	{ STOPPED("stopped in the wait behind a reader", stage_read), .thin = { 300, 40, 10 } },
};

int main(void)
{
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
