// SPDX-License-Identifier: Apache-2.0
//
// rwlock_scene.h: what the crash tests of the reader-writer lock share: stages, those who wait, and
// the oracle.
//
// The oracle: damage is told exactly if the lock's word named a lease whose own record said
// EXCLUSIVE, or said DIED already. Those who wait sleep without a backstop (patience.h).
#ifndef TESTS_CRASH_RWLOCK_SCENE_H
#define TESTS_CRASH_RWLOCK_SCENE_H

#include "tests/crash/crash.h"

#include "src/rwlock.h"

extern lh_rwlock rwlock_scene_lock; // the director's handle; its children inherit it

struct rwlock_object *rwlock_scene_object(const struct crash_scene *scene);
// What a lease's own record says of the lock; INTENT also if it has none.
uint32_t rwlock_scene_mode(const struct crash_scene *scene, uint32_t slot);
// Calls that listen to news of damage.
int rwlock_scene_read(lh_lease *lease, lh_deadline deadline);
int rwlock_scene_write(lh_lease *lease, lh_deadline deadline);

// ---- stages

void rwlock_stage_biased(struct crash_scene *scene);
void rwlock_stage_fenced(struct crash_scene *scene);
void rwlock_stage_read(struct crash_scene *scene);    /* by the director */
void rwlock_stage_written(struct crash_scene *scene); /* by the director */
void rwlock_stage_dead_writer(struct crash_scene *scene);
void rwlock_stage_dead_reader(struct crash_scene *scene);
void rwlock_stage_damaged(struct crash_scene *scene);

// ---- others

// A waiter, once it sleeps or is done; and for `begin`: a writer, and a reader behind it.
void rwlock_scene_add(struct crash_scene *scene, bool writer);
bool rwlock_scene_add_both(struct crash_scene *scene);

// ---- strikes

void rwlock_scene_observe(struct crash_scene *scene);
void rwlock_scene_kill(struct crash_scene *scene);
// Nobody dies: what the victim wakes is not woken by its end, which comes later.
void rwlock_scene_let_go_on(struct crash_scene *scene);

// ---- afterwards

// All waiters got through, each told what it had to be.
void rwlock_scene_collect(struct crash_scene *scene);
// The lock is to be had at once, with damage told exactly if there was any, and higher token.
void rwlock_scene_check(struct crash_scene *scene);
// Both, and crash_check_empty.
void rwlock_scene_verify(struct crash_scene *scene);

#endif
