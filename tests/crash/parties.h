// SPDX-License-Identifier: Apache-2.0
//
// parties.h: what the crash tests of the barrier share: stages, other parties, and the oracle.
//
// The oracle: what must come of it follows from the words as the victim left them. The phase was
// complete, or the barrier breaks or shrinks, or somebody is missing, whom the director then is.
// Those who sleep must be woken in each case, without a backstop (patience.h).
#ifndef TESTS_CRASH_PARTIES_H
#define TESTS_CRASH_PARTIES_H

#include "tests/crash/crash.h"

#include "src/barrier.h"

enum { MOST_PARTIES = 4 };

// What another party does once it has joined.
enum { PARTY_WAITS = 1, PARTY_COMPLETES_AND_DIES };

struct party {
	pid_t pid;
	uint32_t slot; /* of its lease */
	bool sleeps;   /* and stands still when its wait is over, until it is asked for */
	_Atomic uint32_t joined, go, done;
	int result;
	lh_grant grant;
};

struct parties_outlook {
	bool complete, broken, lost;
	uint32_t missing; /* places that somebody has to join */
};

struct parties {
	lh_barrier barrier; /* the director's handle; its children inherit it */
	struct party *list; /* shared; the first of them sleep */
	uint32_t sleepers;
	uint32_t count; /* of places */
	bool shrinks;
	bool sleeper_leads; // a sleeper completed the phase: any waiter may that happens to look
	struct parties_outlook outlook;
};

extern struct parties parties;

struct barrier_object *parties_object(void);
// For main, before all: crash_run with memory for the list.
int parties_run(const struct crash_operation *operations, size_t count);

// ---- stages: for two, three, four, with either policy

void parties_break(struct crash_scene *scene);
void parties_shrink(struct crash_scene *scene);
void parties_break_three(struct crash_scene *scene);
void parties_shrink_three(struct crash_scene *scene);
void parties_break_four(struct crash_scene *scene);
void parties_shrink_four(struct crash_scene *scene);

// ---- others

// One that has joined and does nothing yet. It is told what to do; once it sleeps.
void parties_add(struct crash_scene *scene, uint32_t number);
void parties_put_to_sleep(struct crash_scene *scene, uint32_t number);
// It ends, by itself or killed; the oracle knows of it.
void parties_end(struct crash_scene *scene, uint32_t number, bool by_itself);
// For `begin`: another party sleeps.
bool parties_one_sleeps(struct crash_scene *scene);

// ---- the victim

void parties_joined(struct crash_scene *scene);
int parties_wait(struct crash_scene *scene);

// ---- what must come of it

// As it stands, while nobody has cleared up behind the victim.
struct parties_outlook parties_look(const struct crash_scene *scene);
void parties_kill(struct crash_scene *scene);
// The victim lives on, and the waits of those who sleep must end.
void parties_let_go(struct crash_scene *scene);
// The director joins and waits, without a backstop.
void parties_arrive(struct crash_scene *scene, int expected);
void parties_check_sleepers(struct crash_scene *scene, int expected);
// G6: it works for as many as it was made for.
void parties_check_whole(struct crash_scene *scene);
// What the outlook says; and all that.
void parties_verify(struct crash_scene *scene);
// The barrier is whole and nothing is left.
void parties_verify_alone(struct crash_scene *scene);

#endif
