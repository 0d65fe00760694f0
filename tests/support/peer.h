// SPDX-License-Identifier: Apache-2.0
//
// peer.h: a child process that runs a function of the test and talks with it.
//
// Two processes do one thing after the other by telling: line_say and line_hear pass a number over
// a pipe, in both directions. So nothing is ordered by sleeping, and whoever listens to one that
// has ended learns it instead of waiting.
//
// need() is for code that may run in a peer, where cmocka's asserts are of no use: there it prints
// and ends the peer with PEER_FAILED, in the test itself it is cmocka's fail.
#ifndef TESTS_SUPPORT_PEER_H
#define TESTS_SUPPORT_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct line {
	int out;
	int in;
};

struct peer {
	pid_t pid; /* 0: ended and waited for */
	struct line line;
};

typedef void peer_body(const struct line *line, void *context);

enum { PEER_FAILED = 99 };

// Forks. The peer runs body(line, context) and exits with 0; it dies with its parent.
struct peer peer_start(peer_body *body, void *context);
// The same in a pid namespace of its own: the peer is its process 1.
struct peer peer_start_in_pid_namespace(peer_body *body, void *context);

void line_say(const struct line *line, int64_t number);
int64_t line_hear(const struct line *line);
// Whether there is something to hear (or the other has ended).
bool line_can_hear(const struct line *line);

// SIGKILL, and the whole process's end.
void peer_kill(struct peer *peer);
// Waits for its end and requires that it was an orderly one.
void peer_join(struct peer *peer);
// Waits for its end, whatever that was; as waitpid gives it.
int peer_wait(struct peer *peer);

#define need(condition) ((condition) ? (void)0 : need_failed(#condition, __FILE__, __LINE__))
#define need_equal(value, expected) need_equal_from((value), (expected), #value, __FILE__, __LINE__)
__attribute__((noreturn)) void need_failed(const char *text, const char *file, int line);
void need_equal_from(int64_t value, int64_t expected, const char *text, const char *file, int line);

// Says why this cannot run here and ends the program with 77.
__attribute__((noreturn, format(printf, 1, 2))) void skip_all(const char *format, ...);

// cmocka's setup and teardown for each test: a watchdog of two minutes that names the test, and the
// end of all peers that are left.
int watch_begin(void **state);
int watch_end(void **state);
// Names the running test, for the watchdog, and gives it another time limit.
void watch(const char *what, unsigned seconds);

#endif
