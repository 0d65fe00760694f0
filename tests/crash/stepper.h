// SPDX-License-Identifier: Apache-2.0
//
// stepper.h: runs another thread one instruction at a time (ptrace(2), x86-64).
//
// The traced one calls stepper_trace_me, then stepper_mark just before and just after the
// operation. Its parent, of whom it is a fork, is the tracer. A place in the operation is named by
// {system calls made since the first mark, instructions since the last of them}, or instead of the
// latter how often it has come to the address there: so a fresh process, forked from the same
// parent, gets there at full speed, but for a stop at each of these arrivals (by a mark in its code),
// and where it arrived is confirmed by the instruction pointer. What runs in the vdso
// (clock_gettime) counts as part of the instruction that called it: it reads a sequence counter of
// the kernel's and may have to repeat itself.
#ifndef TESTS_CRASH_STEPPER_H
#define TESTS_CRASH_STEPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STEPPER_WATCHDOG_S 20 /* SIGALRM, if one step takes longer */

struct stepper_point {
	uint32_t calls;
	uint32_t instructions;
	uint32_t changes;  /* of the state, since the last call too */
	uint32_t arrivals; /* at this address, since the last call too; 0: not to be counted */
	uint64_t address;  /* to go to: 0: whatever it is there */
	bool turning;      /* something of the state changed just before */
};

struct stepper {
	pid_t thread;
	struct stepper_point at;
	int signal; /* to be delivered when it runs on */
	long last;  /* system call that stepping ends before, as it may sleep for ever; -1: none */
	uint64_t vdso_begin, vdso_end;
	uint64_t robust_head; /* struct robust_list_head, in the traced one's memory */
};

enum stepper_result {
	STEPPER_MORE,
	STEPPER_END, /* at the second mark, or before its last call */
	STEPPER_GONE /* it has ended */
};

// For the traced one.
void stepper_trace_me(void);
static inline void stepper_mark(void)
{
	__asm__ volatile("int3" ::: "memory");
}

// Waits until the thread is at its first mark. Whether it got there. Stepping will end before the
// system call `last` (-1: none).
bool stepper_begin(struct stepper *stepper, pid_t thread, long last);

// One instruction; a system call is one.
enum stepper_result stepper_step(struct stepper *stepper);

// Runs until it is about to make system call `number`. Whether it is.
bool stepper_go_to_call(struct stepper *stepper, long number);
// Lets the call it is about to make begin; it may sleep. Then waits until it has returned from it.
void stepper_enter_call(struct stepper *stepper);
bool stepper_leave_call(struct stepper *stepper);

// Lets it run untraced, by a signal that it gets first; 0: none.
void stepper_detach(struct stepper *stepper, int signal);

// What is watched for changes beside the robust list: shared memory that the caller has mapped, or
// (bytes NULL) the first file that the traced one maps shared.
struct stepper_watch {
	const void *bytes;
	size_t size;
};

// Steps to the second mark, the last call or the end and lists the points: the mark itself, and
// after every instruction or, if not `every`, after each that changed {watched bytes, robust list,
// system call made or about to be made}. Returns how many points (at most `capacity`; more are an
// error: 0).
size_t stepper_record(struct stepper *stepper, struct stepper_watch watch, bool every,
		      struct stepper_point *points, size_t capacity, uint64_t *ret_instructions);

// How to get to a point.
enum stepper_way {
	STEPPER_BY_RUNNING, /* at full speed, if its arrivals were counted and can be stopped at */
	STEPPER_BY_STEPS,
	// Where the state has changed as often, however many instructions that takes (reading /proc
	// takes more or less, by what it says).
	STEPPER_BY_CHANGES,
};

// Goes to a point that was recorded with the same watch. False: it did not come by there; it may
// have ended.
bool stepper_go(struct stepper *stepper, const struct stepper_point *point,
		struct stepper_watch watch, enum stepper_way way);

// Whether a thread sleeps in system call `number`.
bool stepper_sleeps_in(pid_t thread, long number);

#endif
