// SPDX-License-Identifier: Apache-2.0
//
// process.h: child processes that measure, and gates that start and stop them together.
//
// The program itself never takes a lock that it measures and has one thread. Whatever measures is
// forked from it and ends with it. Any failure ends the whole run with exit status 1, since a
// figure from half a measurement is worth nothing.
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Before any other call here.
void process_init(void);

// Prints the text after the program's name and ends the run, from a child too.
_Noreturn void process_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The same for a failed call: the text and what `error`, an errno or its negative, means.
_Noreturn void process_die_errno(int error, const char *what);

// Zeroed, shared with all children forked later.
void *process_shared_memory(size_t size);

// Forks a child that runs body(context) and exits 0. It is killed when the program ends.
pid_t process_start(void (*body)(void *context), void *context);
// The same for one that measures nothing: it has no place among those that are pinned.
pid_t process_start_aside(void (*body)(void *context), void *context);
// Waits for the child to exit 0; anything else ends the run.
void process_finish(pid_t pid);
// Both: for what must not happen in the program itself.
void process_run(void (*body)(void *context), void *context);
// Waits for a child that was sent SIGKILL.
void process_bury(pid_t pid);
// The same for one that may have ended by itself just before.
void process_bury_if_killed(pid_t pid);

// Returns once the process sleeps in the kernel; `who`, if it does not, is named as the run ends.
void process_await_asleep(pid_t pid, const char *who);

// Gates: words in shared memory that processes wait on (futex). Waiting looks every now and then
// whether the run goes on, and ends it if nothing has moved for half a minute.
typedef _Atomic uint32_t gate;

void gate_set(gate *word, uint32_t value);              // and wakes all who wait
void gate_add(gate *word, uint32_t value);              // and wakes all who wait
void gate_await(gate *word, uint32_t value);            // until it has the value
uint32_t gate_await_change(gate *word, uint32_t value); // until it has another; that
// Until it has another, or the time has come; whether it has.
bool gate_await_until(gate *word, uint32_t value, uint64_t ns);
uint32_t gate_await_order(gate *word, uint32_t value); // the same, as long as it takes

#endif
