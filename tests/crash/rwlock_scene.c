// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/rwlock_scene.h"

#include "arena/hold.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

lh_rwlock rwlock_scene_lock; // the director's handle; its children inherit it

struct rwlock_object *rwlock_scene_object(const struct crash_scene *scene)
{
	return rwlock_object(scene->arena,
			     (uint32_t)(lh_rwlock_offset(&rwlock_scene_lock) / LAYOUT_LINE));
}

uint32_t rwlock_scene_mode(const struct crash_scene *scene, uint32_t slot)
{
	const struct hold_record *record = hold_find_of(
		scene->arena, slot, LH_KIND_RWLOCK,
		(uint32_t)(lh_rwlock_offset(&rwlock_scene_lock) / LAYOUT_LINE));

	return record ? hold_word_mode(atomic_load(&record->object)) : LH_HOLD_INTENT;
}

// ---- stages --------------------------------------------------------------------------------------

int rwlock_scene_read(lh_lease *lease, lh_deadline deadline)
{
	lh_grant grant;

	return lh_rwlock_read_lock(&rwlock_scene_lock, lease, deadline, &grant);
}

int rwlock_scene_write(lh_lease *lease, lh_deadline deadline)
{
	lh_grant grant;

	return lh_rwlock_write_lock(&rwlock_scene_lock, lease, deadline, &grant);
}

void rwlock_stage_biased(struct crash_scene *scene)
{
	const struct lh_rwlock_options options = { .data_size = CRASH_DATA, .name = "rates" };

	crash_stage(scene);
	scene->placements = 2;
	crash_must(scene, lh_rwlock_at(scene->arena, LH_ANYWHERE, &options, &rwlock_scene_lock),
		   "rwlock");
}

void rwlock_stage_fenced(struct crash_scene *scene)
{
	rwlock_stage_biased(scene);
	crash_must(scene, rwlock_scene_write(scene->lease, LH_NOW), "write");
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
}

void rwlock_stage_read(struct crash_scene *scene)
{
	rwlock_stage_biased(scene);
	crash_must(scene, rwlock_scene_read(scene->lease, LH_NOW), "read");
}

void rwlock_stage_written(struct crash_scene *scene)
{
	rwlock_stage_biased(scene);
	crash_must(scene, rwlock_scene_write(scene->lease, LH_NOW), "write");
}

// Somebody has died with the lock.
static void stage_dead(struct crash_scene *scene, bool wrote)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;

	if (pid == 0) {
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		crash_must(scene,
			   wrote ? rwlock_scene_write(lease, LH_NOW)
				 : rwlock_scene_read(lease, LH_NOW),
			   "lock");
		scene->shared->slot = lease->index;
		scene->shared->lease = lh_lease_id(lease);
		raise(SIGKILL);
	}
	crash_bury(scene, pid);
	scene->dead_slot = scene->shared->slot + 1;
	scene->dead_lease = scene->shared->lease;
	scene->shared->lease = 0;
}

void rwlock_stage_dead_writer(struct crash_scene *scene)
{
	rwlock_stage_biased(scene);
	stage_dead(scene, true);
}

void rwlock_stage_dead_reader(struct crash_scene *scene)
{
	rwlock_stage_biased(scene);
	stage_dead(scene, false);
}

void rwlock_stage_damaged(struct crash_scene *scene)
{
	rwlock_stage_dead_writer(scene);
	crash_must(scene, rwlock_scene_write(scene->lease, LH_NOW), "write");
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
}

// ---- others --------------------------------------------------------------------------------------

static void wait_for_lock(struct crash_scene *scene, struct crash_waiter *waiter, bool writer)
{
	_Atomic uint64_t *data = lh_rwlock_data(&rwlock_scene_lock);
	uint64_t before;
	lh_lease *lease;

	patience_begin(&scene->shared->patience);
	crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "waiter's lease");
	waiter->result = writer ? lh_rwlock_write_lock(&rwlock_scene_lock, lease, LH_FOREVER,
						       &waiter->grant)
				: lh_rwlock_read_lock(&rwlock_scene_lock, lease, LH_FOREVER,
						      &waiter->grant);
	waiter->granted_ns = lh_now();
	before = atomic_load(data);
	if (writer)
		atomic_store(data, before + 1);
	sched_yield();
	waiter->intruded = atomic_load(data) != before + writer;
	if (writer && !waiter->result)
		waiter->result = lh_rwlock_consistent(&rwlock_scene_lock, lease);
	if (!waiter->result)
		waiter->result = lh_rwlock_unlock(&rwlock_scene_lock, lease);
	if (!waiter->result)
		waiter->result = lh_lease_release(lease);
	waiter->other = writer;
	atomic_store(&waiter->done, 1);
	_exit(0);
}

void rwlock_scene_add(struct crash_scene *scene, bool writer)
{
	struct crash_waiter *waiter = &scene->shared->waiters[scene->waiter_count];
	const pid_t pid = crash_fork(scene);

	if (pid == 0)
		wait_for_lock(scene, waiter, writer);
	waiter->pid = pid;
	scene->waiter_count++;
	crash_await_asleep(scene, pid);
}

bool rwlock_scene_add_both(struct crash_scene *scene)
{
	rwlock_scene_add(scene, true);
	rwlock_scene_add(scene, false);
	return true;
}

void rwlock_scene_observe(struct crash_scene *scene)
{
	// Another living one that owns the word may well be waiting for the victim.
	const uint64_t word = atomic_load(&rwlock_scene_object(scene)->header.word);
	const uint32_t owner = word_owner(word);

	scene->word = word;
	scene->held = scene->shared->lease && owner == scene->shared->slot + 1 &&
		      rwlock_scene_mode(scene, owner - 1) == LH_HOLD_EXCLUSIVE;
	scene->damage = scene->held || (word & WORD_DIED) ||
			(owner && owner == scene->dead_slot &&
			 rwlock_scene_mode(scene, owner - 1) == LH_HOLD_EXCLUSIVE);
	scene->lost_lease = scene->held ? scene->shared->lease : scene->dead_lease;
	scene->token = word_token(word);
}

void rwlock_scene_kill(struct crash_scene *scene)
{
	rwlock_scene_observe(scene);
	scene->killed_ns = lh_now();
	kill(scene->victim, SIGKILL);
}

// ---- afterwards ----------------------------------------------------------------------------------

// Those who were granted the lock after the victim, until one of them has repaired: told.
void rwlock_scene_collect(struct crash_scene *scene)
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

void rwlock_scene_let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	rwlock_scene_observe(scene);
	rwlock_scene_collect(scene);
	kill(scene->victim, SIGKILL);
}

void rwlock_scene_check(struct crash_scene *scene)
{
	lh_grant grant = { .token = 0 };
	int result;

	patience_due(&scene->shared->patience);
	patience_begin(&scene->shared->patience);
	if (scene->damage && (scene->variant & CRASH_DEAF_FIRST)) {
		result = lh_rwlock_read_lock(&rwlock_scene_lock, scene->lease,
					     lh_deadline_after(CRASH_DEADLINE_NS), NULL);
		CRASH_CHECK(scene, result == -EOWNERDEAD, "G12: who does not listen got %d",
			    result);
	}
	result = lh_rwlock_write_lock(&rwlock_scene_lock, scene->lease,
				      lh_deadline_after(CRASH_DEADLINE_NS), &grant);
	if (!scene->waiter_count)
		crash_note_recovery(scene, lh_now());
	CRASH_CHECK(scene, result == 0, "the next user was not granted the lock: %d, word %#llx",
		    result,
		    (unsigned long long)atomic_load(&rwlock_scene_object(scene)->header.word));
	CRASH_CHECK(scene, (grant.flags != 0) == scene->damage,
		    "G12: the next user was %s of damage, the word was %#llx",
		    grant.flags ? "told" : "not told", (unsigned long long)scene->word);
	CRASH_CHECK(scene, !grant.flags || grant.previous == scene->lost_lease,
		    "the lost lease is called %llu instead of %llu",
		    (unsigned long long)grant.previous, (unsigned long long)scene->lost_lease);
	CRASH_CHECK(scene, grant.token > scene->token, "G5: token %llu after %llu",
		    (unsigned long long)grant.token, (unsigned long long)scene->token);
	crash_reap_children(scene); // or the heir may be alive still
	crash_must(scene, lh_rwlock_consistent(&rwlock_scene_lock, scene->lease), "consistent");
	crash_must(scene, lh_rwlock_downgrade(&rwlock_scene_lock, scene->lease), "downgrade");
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
	crash_must(scene, lh_rwlock_read_lock(&rwlock_scene_lock, scene->lease, LH_NOW, NULL),
		   "read");
	crash_must(scene, lh_rwlock_unlock(&rwlock_scene_lock, scene->lease), "unlock");
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2: nobody woke the next user");
	CRASH_CHECK(scene, !atomic_load(&rwlock_scene_object(scene)->header.heir),
		    "G8: an heir is left");
	patience_begin(NULL);
}

void rwlock_scene_verify(struct crash_scene *scene)
{
	rwlock_scene_collect(scene);
	rwlock_scene_check(scene);
	crash_check_empty(scene);
}
