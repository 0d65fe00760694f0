// SPDX-License-Identifier: Apache-2.0
//
// exercise.h: what a program might do with an arena of any bytes, all of it; and the children in
// which the fuzz tests do so.
//
// G9: "Any bytes may be opened, attached and inspected: no crash, hang or access outside the
// mapping, -EBADMSG." Excepted are the robust-list links of live liveness words, which libc
// follows, and the length of the object.
#ifndef TESTS_FUZZ_EXERCISE_H
#define TESTS_FUZZ_EXERCISE_H

#include "tests/support/scene.h"

enum { EXERCISE_MUTEXES = 6, EXERCISE_MAX_LEASES = 16, EXERCISE_MAX_HOLDS = 12 };
#define EXERCISE_ARRAY "array"
#define EXERCISE_REGION "region"

// The options of all arenas here: small, so that random bytes meet something.
extern const struct lh_arena_options exercise_options;

// Opens the arena at `path` for reading, and for writing, and does with it what there is to do. Any
// result is accepted that the contract has words for.
void exercise(const char *path);

// The same in a child with a time limit; fails the test, naming `seed`, unless the child ends well.
void exercise_in_child(const char *path, uint64_t seed);

// The placements that exercise looks for, made in a valid arena.
void exercise_place(lh_arena *arena);
// The handle of one of the array's elements; false: it cannot be had.
bool exercise_element(lh_arena *arena, uint32_t index, lh_mutex *ret_mutex);

// The seed of this run: LEASEHOLD_SEED, or the clock's. Printed.
uint64_t exercise_seed(void);
// The next of a sequence of random numbers (splitmix64).
uint64_t exercise_random(uint64_t *state);

#endif
