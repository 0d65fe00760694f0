// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
// ctest: NOT_UNDER address steps through single instructions
// ctest: NOT_UNDER undefined steps through single instructions
// ctest: NOT_UNDER thread steps through single instructions
// ctest: NOT_UNDER valgrind ptrace of its own
//
// A party that has slept at the barrier dies after each instruction of what it does once it is
// woken: by a completion, by the end of one who had completed the phase and did not come to its
// wake, by the end of one who had not arrived. Another sleeps behind it, that watches its life
// alone: the news must get there (G2, G8), by its hand if it lives on, and by its death if not.
#include "tests/crash/parties.h"

enum { SLEEPER, OTHER };

// The victim's place is before the other's, and the sleeper's is after it: so the victim watches
// the other, and the sleeper the victim.
static void patient(struct crash_scene *scene)
{
	patience_begin(&scene->shared->patience);
	parties_joined(scene);
}

static bool both_sleep(struct crash_scene *scene)
{
	parties_add(scene, SLEEPER);
	if (!crash_victim_asleep(scene))
		return false;
	parties_put_to_sleep(scene, SLEEPER);
	return true;
}

static bool woken_by_completion(struct crash_scene *scene)
{
	lh_grant grant = { .flags = 0 };

	if (!both_sleep(scene))
		return false;
	crash_must(scene, lh_barrier_wait(&parties.barrier, scene->lease, LH_FOREVER, &grant),
		   "the last one's wait");
	parties.sleeper_leads = !(grant.flags & LH_GRANT_LEADER);
	return stepper_leave_call(&scene->stepper);
}

static bool told_of_end(struct crash_scene *scene, bool by_itself)
{
	parties_add(scene, OTHER);
	if (!both_sleep(scene))
		return false;
	parties_end(scene, OTHER, by_itself);
	return stepper_leave_call(&scene->stepper);
}

static bool told_of_completer(struct crash_scene *scene)
{
	return told_of_end(scene, true);
}

static bool told_of_death(struct crash_scene *scene)
{
	return told_of_end(scene, false);
}

#define KILLED(shown, staged)                                                                      \
	.name = (shown), .shows = "G2 G6 G8", .every = true, .stage = (staged),                    \
	.prepare = patient, .act = parties_wait, .strike = parties_kill, .verify = parties_verify
#define SURVIVED(shown, staged)                                                                    \
	CRASH_SURVIVED(shown, staged, patient, parties_wait), .strike = parties_let_go,            \
							      .verify = parties_verify_alone

static const struct crash_operation operations[] = {
	{ KILLED("woken by a completion, another behind it", parties_break_three),
	  .begin = woken_by_completion, .thin = { 20, 4, 1 } },
	{ KILLED("told of one who completed and died, another behind it, break",
		 parties_break_three),
	  .begin = told_of_completer, .thin = { 40, 8, 2 } },
	{ KILLED("told of one who completed and died, another behind it, shrink",
		 parties_shrink_three),
	  .begin = told_of_completer, .not_quick = true, .thin = { 40, 8, 2 } },
	{ KILLED("told of a death after its sleep, another behind it, break", parties_break_four),
	  .begin = told_of_death, .thin = { 60, 10, 2 } },
	{ KILLED("told of a death after its sleep, another behind it, shrink", parties_shrink_four),
	  .begin = told_of_death, .sleeps = true, .thin = { 60, 10, 2 } },
	{ SURVIVED("told of one who completed and died, and stay", parties_break_three),
	  .begin = told_of_completer },
	{ SURVIVED("told of a death after its sleep, and stay", parties_break_three),
	  .begin = told_of_death },
};

int main(void)
{
	return parties_run(operations, sizeof(operations) / sizeof(operations[0]));
}
