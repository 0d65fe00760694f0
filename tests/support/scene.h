// SPDX-License-Identifier: Apache-2.0
//
// scene.h: what a test of the contract stands on: an arena of its own, a time limit, child
// processes, and looks at what others do.
//
// Nothing here waits for a time to pass in order to order things: who has to wait for an event
// looks until it is there, and the time limit ends what never comes.
#ifndef TESTS_SUPPORT_SCENE_H
#define TESTS_SUPPORT_SCENE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/sanitized.h"

struct scene {
	char name[64]; /* of the arena, never used before */
	lh_arena *arena;
};

// cmocka's setup and teardown: a new arena of the default options, open in this process; *state is
// the struct scene. The time limit of the test begins. scene_begin_closed: only the name.
int scene_begin(void **state);
int scene_begin_closed(void **state);
int scene_end(void **state);

// For arenas with options of their own: scene_begin_closed, then this.
lh_arena *scene_open(struct scene *opened, const struct lh_arena_options *options);

#define SCENE_TEST(function) cmocka_unit_test_setup_teardown(function, scene_begin, scene_end)
#define SCENE_TEST_CLOSED(function)                                                                \
	cmocka_unit_test_setup_teardown(function, scene_begin_closed, scene_end)

// The call is -EINVAL, and lh_error_detail is of this failure, not of the one before.
#define is_invalid(call)                                                                           \
	do {                                                                                       \
		assert_int_equal(lh_cancel_create(NULL), -EINVAL);                                 \
		assert_int_equal((call), -EINVAL);                                                 \
		assert_string_not_equal(lh_error_detail(), "");                                    \
		assert_null(strstr(lh_error_detail(), "ret_cancel"));                              \
	} while (0)

// Runs body in a child process and returns its wait status; it ends with body's result as exit
// code.
int scene_child(int (*body)(void *context), void *context);

// Skips the test where an owner that consented cannot be killed: valgrind knows no
// pidfd_send_signal(2).
void scene_wants_kill_on_expiry(void);

// Runs body in another thread of this process: its result.
int scene_thread(int (*body)(void *context), void *context);

// In a child or a thread, where cmocka's assertions cannot be used: says what is not so and ends
// the process with exit code 99.
#define need(condition) ((condition) ? (void)0 : scene_need_failed(#condition, __FILE__, __LINE__))
__attribute__((noreturn)) void scene_need_failed(const char *condition, const char *file, int line);

// What a child returned by scene_child or run as a worker has to end with.
#define assert_exited(status, code)                                                                \
	do {                                                                                       \
		const int status_ = (status);                                                      \
		assert_true(WIFEXITED(status_));                                                   \
		assert_int_equal(WEXITSTATUS(status_), (code));                                    \
	} while (0)

// A lease without TTL of the calling thread, and one with options.
lh_lease *scene_lease(lh_arena *arena);
lh_lease *scene_lease_with(lh_arena *arena, const struct lh_lease_options *options);

// One with a TTL; and until it has expired, by a renewal for a millisecond. That latches nothing.
lh_lease *scene_lease_for(lh_arena *arena, uint64_t ttl_ns);
void scene_let_expire(lh_lease *lease);

// A mutex anywhere, without data and name.
lh_mutex scene_mutex(lh_arena *arena);

// lh_mutex_lock that has to succeed: its grant.
lh_grant scene_lock(const lh_mutex *mutex, lh_lease *lease);

// What the inspector's calls say of the lease; false: it is not there.
bool scene_look(const lh_arena *arena, uint64_t lease, struct lh_lease_info *ret_info);

// Looks until the lease waits for something (or, with waits false, for nothing any more).
void scene_await_wait(const lh_arena *arena, uint64_t lease, bool waits);

// Looks until the lease is in that state (enum lh_lease_state).
void scene_await_state(const lh_arena *arena, uint64_t lease, uint32_t state);

// How many of the events have this kind and are about this lease (0: any).
unsigned scene_events(const lh_arena *arena, uint32_t kind, uint64_t lease);

// Lets other processes run between two looks.
void scene_pause(void);

// lh_arena_check: the worst finding; findings other than expected are printed.
int scene_check(const lh_arena *arena, int expected);

#endif
