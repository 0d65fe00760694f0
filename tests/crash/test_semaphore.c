// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A process dies, or is stopped and loses its lease, after each instruction of acquire and release:
// as holder, collector, waiter and reaper. Whatever it had collected or held comes back at once,
// all of it and once only; whoever waits is told (G1, G2, G3, G4, G6, G8).
#include "tests/crash/crash.h"

#include "arena/lease.h"
#include "src/word.h"

#include <errno.h>
#include <leasehold/inline.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PERMITS = 3, WAITERS = 2, LAST_MS = 2, RESULTS = 4 };

// The running director's.
static lh_semaphore semaphore;
static pid_t waiters[WAITERS];
static uint32_t waiter_count;
static uint32_t all; // permits that there are

// What all processes share beside the arena; the oracle among it.
static struct shared {
	_Atomic uint32_t inside; // permits that waiters and the director believe to have
	_Atomic uint32_t intrusions;
	_Atomic uint32_t done;
	_Atomic int32_t failure;
	int results[RESULTS];
} * shared;

static int acquire(lh_lease *lease, uint32_t permits)
{
	return lh_semaphore_acquire(&semaphore, lease, permits, LH_FOREVER);
}

static void enter(uint32_t permits)
{
	if (atomic_fetch_add(&shared->inside, permits) + permits > all)
		atomic_fetch_add(&shared->intrusions, 1);
}

static void leave(uint32_t permits)
{
	atomic_fetch_sub(&shared->inside, permits);
}

// ---- stages --------------------------------------------------------------------------------------

static void stage_with(struct crash_scene *scene, uint32_t permits)
{
	const struct lh_semaphore_options options = { .permits = permits, .name = "pool" };

	crash_stage(scene);
	all = permits;
	scene->placements = 2;
	crash_must(scene, lh_semaphore_at(scene->arena, LH_ANYWHERE, &options, &semaphore),
		   "semaphore");
	*shared = (struct shared){ .inside = 0 };
	waiter_count = 0;
}

static void stage(struct crash_scene *scene)
{
	stage_with(scene, PERMITS);
}

// Who has waited for it keeps the baton as well.
static void stage_only_one(struct crash_scene *scene)
{
	stage_with(scene, 1);
}

static void stage_only_one_taken(struct crash_scene *scene)
{
	stage_only_one(scene);
	crash_must(scene, acquire(scene->lease, 1), "acquire");
}

static void stage_one_taken(struct crash_scene *scene)
{
	stage(scene);
	crash_must(scene, acquire(scene->lease, 1), "acquire");
}

// Both of the places where searches begin.
static void stage_two_taken(struct crash_scene *scene)
{
	stage(scene);
	crash_must(scene, acquire(scene->lease, 2), "acquire");
}

static void dies_with_two(struct crash_scene *scene)
{
	crash_must(scene, acquire(scene->mine, 2), "acquire");
}

static void stage_holder(struct crash_scene *scene)
{
	stage(scene);
	crash_start_holder(scene, dies_with_two);
}

static void stage_shrunk(struct crash_scene *scene)
{
	stage(scene);
	crash_must(scene, lh_semaphore_resize(&semaphore, 2), "resize");
}

// The limit is what the director holds.
static void stage_used_up(struct crash_scene *scene)
{
	stage_shrunk(scene);
	crash_must(scene, acquire(scene->lease, 2), "acquire");
}

// ---- others who want permits ---------------------------------------------------------------------

static void add_waiter(struct crash_scene *scene, uint32_t permits)
{
	const pid_t pid = crash_fork(scene);
	lh_lease *lease;
	int error;

	if (pid == 0) {
		patience_begin(&scene->shared->patience);
		crash_must(scene, lh_lease_acquire(scene->arena, NULL, &lease), "lease");
		error = acquire(lease, permits);
		if (!error) {
			enter(permits);
			sched_yield();
			leave(permits);
			error = lh_semaphore_release(&semaphore, lease, permits);
		}
		atomic_fetch_add(&shared->failure, error);
		crash_must(scene, lh_lease_release(lease), "waiter's release");
		atomic_fetch_add(&shared->done, 1);
		_exit(0);
	}
	waiters[waiter_count++] = pid;
	crash_await_asleep(scene, pid);
}

static bool one_wants_all(struct crash_scene *scene)
{
	add_waiter(scene, all);
	return true;
}

static void one_wants_two(struct crash_scene *scene)
{
	add_waiter(scene, 2);
}

static void one_wants_one(struct crash_scene *scene)
{
	add_waiter(scene, 1);
}

static bool two_want_one(struct crash_scene *scene)
{
	add_waiter(scene, 1);
	add_waiter(scene, 1);
	return true;
}

// One with the baton; one aside, who wants more than the limit.
static bool two_want_more_than_the_limit(struct crash_scene *scene)
{
	add_waiter(scene, 1);
	add_waiter(scene, all);
	return true;
}

// It sleeps for the only one; one behind it; then it is told.
static bool woken_for_one(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene, 1);
	crash_must(scene, lh_semaphore_release(&semaphore, scene->lease, 1), "release");
	return stepper_leave_call(&scene->stepper);
}

// It sleeps with what it has collected; one behind it; then it is told.
static bool woken_collector(struct crash_scene *scene)
{
	if (!crash_victim_asleep(scene))
		return false;
	add_waiter(scene, 2);
	crash_must(scene, lh_semaphore_release(&semaphore, scene->lease, 1), "release");
	return stepper_leave_call(&scene->stepper);
}

// ---- the victim ----------------------------------------------------------------------------------

static void hold_one(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, acquire(scene->mine, 1), "acquire");
}

static struct semaphore *words_of(void)
{
	return (struct semaphore *)(uintptr_t)semaphore.private_[1];
}

// The gate is closed, as by one that was lost: in turn, so that the baton stays with the only
// permit.
static void hold_in_turn(struct crash_scene *scene)
{
	atomic_store(&words_of()->gate, scene->mine->id - 1);
	crash_must(scene, acquire(scene->mine, 1), "acquire");
	CRASH_CHECK(scene, word_owner(atomic_load(&words_of()->header.word)) == scene->mine->name,
		    "the baton was not kept");
}

static void keep_only_one(struct crash_scene *scene)
{
	crash_with_lease(scene);
	hold_in_turn(scene);
}

static void keep_only_one_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	hold_in_turn(scene);
}

static void hold_two(struct crash_scene *scene)
{
	crash_with_lease(scene);
	crash_must(scene, acquire(scene->mine, 2), "acquire");
}

static void hold_two_with_ttl(struct crash_scene *scene)
{
	crash_with_ttl(scene);
	crash_must(scene, acquire(scene->mine, 2), "acquire");
}

static int acquire_one(struct crash_scene *scene)
{
	return acquire(scene->mine, 1);
}

static int acquire_one_inlined(struct crash_scene *scene)
{
	return lh_inline_semaphore_acquire(&semaphore, scene->mine, 1, LH_FOREVER);
}

static int acquire_two(struct crash_scene *scene)
{
	return acquire(scene->mine, 2);
}

static int try_for_one(struct crash_scene *scene)
{
	return lh_semaphore_acquire(&semaphore, scene->mine, 1, LH_NOW);
}

static int try_for_two(struct crash_scene *scene)
{
	return lh_semaphore_acquire(&semaphore, scene->mine, 2, LH_NOW);
}

static int acquire_all(struct crash_scene *scene)
{
	return acquire(scene->mine, all);
}

// By a deadline that has passed: it collects what there is, and gives it back.
static int acquire_all_too_late(struct crash_scene *scene)
{
	return lh_semaphore_acquire(&semaphore, scene->mine, PERMITS, (lh_deadline){ 1 });
}

static int release_one(struct crash_scene *scene)
{
	return lh_semaphore_release(&semaphore, scene->mine, 1);
}

static int release_one_inlined(struct crash_scene *scene)
{
	return lh_inline_semaphore_release(&semaphore, scene->mine, 1);
}

static int release_two(struct crash_scene *scene)
{
	return lh_semaphore_release(&semaphore, scene->mine, 2);
}

static int resize(struct crash_scene *scene)
{
	(void)scene;
	return lh_semaphore_resize(&semaphore, PERMITS);
}

// ---- afterwards ----------------------------------------------------------------------------------

static void take_all_and_release(struct crash_scene *scene)
{
	const int already = lh_semaphore_slots(&semaphore, scene->lease, NULL, 0);
	int result = 0;

	if (already > 0)
		result = lh_semaphore_release(&semaphore, scene->lease, (uint32_t)already);
	CRASH_CHECK(scene, result == 0, "the director's release: %d", result);
	patience_begin(&scene->shared->patience);
	result = lh_semaphore_acquire(&semaphore, scene->lease, all,
				      lh_deadline_after(CRASH_DEADLINE_NS));
	crash_note_recovery(scene, lh_now());
	CRASH_CHECK(scene, result == 0, "G6: all permits, for the next user: %d", result);
	enter(all);
	leave(all);
	result = lh_semaphore_release(&semaphore, scene->lease, all);
	CRASH_CHECK(scene, result == 0, "release: %d", result);
	patience_begin(NULL);
}

// The director gives back only when the waiters cannot go on otherwise: those who wait for less
// than all need nothing of it.
static int held_by_victim(const struct crash_scene *scene)
{
	int count = 0;

	for (uint32_t i = 0; i < all; i++)
		count += atomic_load(&words_of()->owners[i]) == scene->shared->lease;
	return count;
}

// Nobody waits, who would find the lost one at the semaphore: it has no permit when its slot is
// another's.
static void use_its_slot(struct crash_scene *scene)
{
	crash_reap_children(scene);
	crash_use_all_slots(scene, 1);
	CRASH_CHECK(scene, held_by_victim(scene) == 0, "G6: a lease that is no more has %d permits",
		    held_by_victim(scene));
}

static void verify(struct crash_scene *scene)
{
	int64_t available;

	if (!waiter_count && (scene->variant & CRASH_SLOTS_FIRST))
		use_its_slot(scene);
	patience_due(&scene->shared->patience);
	if (scene->operation->act !=
	    acquire_all) // else one waits behind the victim for two, which are free
		take_all_and_release(scene);
	for (uint32_t i = 0; i < waiter_count; i++)
		waitpid(waiters[i], NULL, 0);
	CRASH_CHECK(scene, atomic_load(&shared->done) == waiter_count, "a waiter died");
	CRASH_CHECK(scene, atomic_load(&shared->failure) == 0, "a waiter's calls add up to %d",
		    atomic_load(&shared->failure));
	take_all_and_release(scene);
	CRASH_CHECK(scene, !atomic_load(&shared->intrusions), "G1: more than %u permits were held",
		    all);
	CRASH_CHECK(scene, !atomic_load(&scene->shared->patience.lost_wakes),
		    "G2, G8: %u times nobody woke a sleeper",
		    atomic_load(&scene->shared->patience.lost_wakes));
	crash_reap_children(scene);
	available = lh_semaphore_available(&semaphore);
	CRASH_CHECK(scene, available == all, "G6: %lld permits are left", (long long)available);
	crash_check_empty(scene);
}

// The limit is the old or the new one, or one permit of the old is held.
static void verify_resize(struct crash_scene *scene)
{
	const int64_t available = lh_semaphore_available(&semaphore);

	CRASH_CHECK(scene,
		    available == 2 || available == (scene->operation->act == resize ? PERMITS : 1),
		    "%lld are available", (long long)available);
	crash_must(scene, lh_semaphore_resize(&semaphore, PERMITS), "resize");
	verify(scene);
}

// ---- nobody dies ---------------------------------------------------------------------------------

// The limit is lowered so that there is no room for the victim beside the director. Who takes a
// permit after that has to see it.
static void lower_and_let_go_on(struct crash_scene *scene)
{
	const int wanted = scene->operation->act == try_for_two ? 2 : 1;
	const int had = held_by_victim(scene);
	const int taken = lh_semaphore_slots(&semaphore, scene->lease, NULL, 0);

	crash_must(scene, lh_semaphore_resize(&semaphore, taken > wanted ? taken : wanted),
		   "resize");
	crash_let_go_on(scene);
	CRASH_CHECK(scene,
		    scene->shared->result == -EBUSY || (!scene->shared->result && had == wanted),
		    "it held %d and then got %d", had, scene->shared->result);
	CRASH_CHECK(scene, held_by_victim(scene) == (scene->shared->result ? 0 : wanted),
		    "G10: its call said %d, it holds %d", scene->shared->result,
		    held_by_victim(scene));
	crash_must(scene, lh_semaphore_resize(&semaphore, PERMITS), "resize");
	kill(scene->victim, SIGKILL);
}

// The one with the baton needs no more than the new limit.
static void raise_and_let_go_on(struct crash_scene *scene)
{
	crash_let_go_on(scene);
	patience_due(&scene->shared->patience);
	while (!atomic_load(&shared->done))
		sched_yield();
	kill(scene->victim, SIGKILL);
}

// ---- stopped -------------------------------------------------------------------------------------

static void try_everything(struct crash_scene *scene)
{
	shared->results[0] = lh_semaphore_acquire(&semaphore, scene->mine, 1, LH_NOW);
	shared->results[1] = lh_semaphore_release(&semaphore, scene->mine, 1);
	shared->results[2] = lh_semaphore_slots(&semaphore, scene->mine, NULL, 0);
	shared->results[3] = lh_lease_release(scene->mine);
}

// It is stopped, its lease runs out, the director takes all there is, perhaps gives it back, and it
// goes on: told by each call, and changing nothing. `had`: permits when it was stopped.
static bool may_succeed(const struct crash_scene *scene, int had)
{
	if (scene->operation->act == release_one || scene->operation->act == release_two)
		return had == 0;
	return had == (scene->operation->act == acquire_two ? 2 : 1);
}

static void stop_and_succeed(struct crash_scene *scene)
{
	struct lease_slot *slot = &scene->arena->leases[scene->shared->slot];
	const uint64_t incarnation = lease_id_incarnation(scene->shared->lease);
	const int had = held_by_victim(scene);
	const bool left_free = scene->variant & CRASH_LEFT_FREE;
	uint64_t expiry;
	int status, result;

	stepper_detach(&scene->stepper, SIGSTOP);
	waitpid(scene->victim, &status, WUNTRACED);
	CRASH_CHECK(scene, WIFSTOPPED(status), "it did not stop");
	lease_slot_renew(scene->arena, scene->shared->slot, incarnation, LH_MS(LAST_MS));
	expiry = lease_word_expiry(atomic_load(&slot->state));
	result = lh_semaphore_acquire(&semaphore, scene->lease, all,
				      lh_deadline_after(CRASH_DEADLINE_NS));
	CRASH_CHECK(scene, result == 0, "the successor got %d", result);
	CRASH_CHECK(scene, !had || lh_now() >= expiry, "G3: granted before the expiry");
	while (lease_slot_remaining(scene->arena, scene->shared->slot, incarnation))
		;
	if (left_free)
		crash_must(scene, lh_semaphore_release(&semaphore, scene->lease, all), "give");
	kill(scene->victim, SIGCONT);
	waitpid(scene->victim, &status, 0);
	CRASH_CHECK(scene, atomic_load(&scene->shared->finished), "the resumed one died");
	CRASH_CHECK(scene, scene->shared->result == 0 || scene->shared->result == -ESTALE,
		    "G4: its operation said %d", scene->shared->result);
	CRASH_CHECK(scene, scene->shared->result || may_succeed(scene, had),
		    "G4: it held %d and then was told that it succeeded", had);
	for (int i = 0; i < RESULTS; i++)
		CRASH_CHECK(scene, shared->results[i] == -ESTALE, "G4: then call %d said %d", i,
			    shared->results[i]);
	if (scene->shared->result == 0)
		crash_count(scene, "answers older than the loss");
	CRASH_CHECK(scene, held_by_victim(scene) == 0, "G4: it is left with %d",
		    held_by_victim(scene));
	if (left_free)
		return;
	result = lh_semaphore_slots(&semaphore, scene->lease, NULL, 0);
	CRASH_CHECK(scene, result == (int)all, "G1: the successor has %d permits left", result);
}

#define KILLED(shown, called)                                                                      \
	.name = (shown), .shows = "G1 G2 G6 G8", .every = true, .act = (called)
#define LOWERED(shown, staged, prepared, called)                                                   \
	.name = (shown), .shows = "G1 G6 G10", .every = true, .act = (called), .stage = (staged),  \
	.prepare = (prepared), .after = crash_say_and_stay, .strike = lower_and_let_go_on,         \
	.verify = verify
#define STOPPED(shown, called)                                                                     \
	.name = (shown), .shows = "G1 G3 G4 G6", .every = true, .act = (called),                   \
	.after = try_everything, .strike = stop_and_succeed, .verify = verify

static const struct crash_operation operations[] = {
	{ KILLED("acquire one", acquire_one), .thin = { 12, 2, 1 }, .at_most = 150, .stage = stage,
	  .prepare = crash_with_lease, .verify = verify },
	{ KILLED("acquire one, inlined", acquire_one_inlined), .thin = { 8, 2, 1 }, .at_most = 60,
	  .stage = stage, .prepare = crash_with_lease, .verify = verify },
	{ KILLED("acquire one, inlined, its place is taken", acquire_one_inlined),
	  .thin = { 12, 2, 1 }, .at_most = 150, .stage = stage_two_taken,
	  .prepare = crash_with_lease, .verify = verify },
	{ KILLED("acquire two", acquire_two), .thin = { 120, 15, 4 }, .stage = stage,
	  .prepare = crash_with_lease, .verify = verify },
	{ KILLED("acquire one below a lowered limit", acquire_one), .thin = { 120, 15, 4 },
	  .stage = stage_shrunk, .prepare = crash_with_lease, .verify = verify_resize },
	{ KILLED("release one", release_one), .thin = { 12, 2, 1 }, .at_most = 150, .stage = stage,
	  .prepare = hold_one, .verify = verify },
	{ KILLED("release one, inlined", release_one_inlined), .thin = { 8, 2, 1 }, .at_most = 60,
	  .stage = stage, .prepare = hold_one, .verify = verify },
	{ KILLED("release one, inlined, another waits for all", release_one_inlined),
	  .thin = { 16, 3, 1 }, .stage = stage, .prepare = hold_one, .begin = one_wants_all,
	  .verify = verify },
	{ KILLED("release one, another waits for all", release_one), .thin = { 16, 3, 1 },
	  .stage = stage, .prepare = hold_one, .begin = one_wants_all, .verify = verify },
	{ KILLED("release two, another waits for all", release_two), .thin = { 80, 10, 3 },
	  .stage = stage, .prepare = hold_two, .begin = one_wants_all, .verify = verify },
	{ KILLED("release two of a lease with a TTL, another waits for all", release_two),
	  .thin = { 80, 10, 3 }, .stage = stage, .prepare = hold_two_with_ttl,
	  .begin = one_wants_all, .verify = verify },
	{ KILLED("acquire all up to its sleep, another behind it", acquire_all),
	  .thin = { 300, 40, 10 }, .sleeps = true, .stage = stage_one_taken,
	  .prepare = crash_with_lease, .at_point = one_wants_two, .verify = verify },
	{ KILLED("acquire all, woken, another behind it", acquire_all), .thin = { 120, 15, 4 },
	  .stage = stage_one_taken, .prepare = crash_with_lease, .begin = woken_collector,
	  .verify = verify },
	{ KILLED("acquire all, too late", acquire_all_too_late), .thin = { 120, 15, 4 },
	  .stage = stage_one_taken, .prepare = crash_with_lease, .verify = verify },
	{ KILLED("acquire all, a holder of two has died", acquire_all), .thin = { 300, 40, 10 },
	  .stage = stage_holder, .prepare = crash_with_lease, .begin = crash_holder_dies,
	  .verify = verify },
	{ KILLED("acquire the only one up to its sleep, another behind it", acquire_one),
	  .thin = { 300, 40, 10 }, .sleeps = true, .stage = stage_only_one_taken,
	  .prepare = crash_with_lease, .at_point = one_wants_one, .verify = verify },
	{ KILLED("acquire the only one, woken, another behind it", acquire_one),
	  .thin = { 40, 6, 2 }, .stage = stage_only_one_taken, .prepare = crash_with_lease,
	  .begin = woken_for_one, .verify = verify },
	{ KILLED("release the only one, two wait in turn", release_one), .thin = { 40, 6, 2 },
	  .stage = stage_only_one, .prepare = keep_only_one, .begin = two_want_one,
	  .verify = verify },
	{ KILLED("release the only one of a lease with a TTL, two wait in turn", release_one),
	  .thin = { 80, 10, 3 }, .stage = stage_only_one, .prepare = keep_only_one_with_ttl,
	  .begin = two_want_one, .verify = verify },
	{ KILLED("lease release with two permits, another waits for all", crash_release),
	  .thin = { 120, 15, 4 }, .stage = stage, .prepare = hold_two, .begin = one_wants_all,
	  .verify = verify },
	{ KILLED("resize", resize), .thin = { 8, 1, 1 }, .stage = stage_shrunk,
	  .prepare = crash_with_lease, .verify = verify_resize },
	{ CRASH_SURVIVED("resize, nobody dies, one waits in turn and one aside", stage_used_up,
			 crash_with_lease, resize),
	  .begin = two_want_more_than_the_limit, .strike = raise_and_let_go_on, .verify = verify },
	{ LOWERED("try for one, the limit is lowered meanwhile", stage_one_taken, crash_with_lease,
		  try_for_one),
	  .thin = { 8, 2, 1 } },
	{ LOWERED("try for the last one, the limit is lowered meanwhile", stage_two_taken,
		  crash_with_lease, try_for_one),
	  .thin = { 8, 2, 1 } },
	{ LOWERED("try for one, lease with a TTL, the limit is lowered meanwhile", stage_two_taken,
		  crash_with_ttl, try_for_one),
	  .thin = { 40, 8, 2 } },
	{ LOWERED("try for two, the limit is lowered meanwhile", stage_one_taken, crash_with_lease,
		  try_for_two),
	  .thin = { 60, 12, 3 } },
	{ STOPPED("stopped in acquire one", acquire_one), .stage = stage, .thin = { 80, 10, 3 },
	  .prepare = crash_with_ttl },
	{ STOPPED("stopped in acquire two", acquire_two), .stage = stage, .thin = { 120, 15, 4 },
	  .prepare = crash_with_ttl },
	{ STOPPED("stopped in release of the only one", release_one), .stage = stage_only_one,
	  .thin = { 80, 10, 3 }, .prepare = keep_only_one_with_ttl },
	{ STOPPED("stopped in release two", release_two), .stage = stage, .thin = { 80, 10, 3 },
	  .prepare = hold_two_with_ttl },
};

int main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	return crash_run(operations, sizeof(operations) / sizeof(operations[0]));
}
