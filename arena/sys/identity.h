// SPDX-License-Identifier: Apache-2.0
//
// identity.h: who a thread or process is, so that a later one with the same numbers is not taken
// for it; and what can be done to it from outside.
#ifndef ARENA_SYS_IDENTITY_H
#define ARENA_SYS_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct identity {
	pid_t pid, tid;
	uint64_t start_time;        // of the process, clock ticks since boot (proc(5), field 22)
	uint64_t thread_start_time; // of the thread
	uint64_t pid_namespace;     // inode of /proc/self/ns/pid
	char command[16];
};

// The calling thread's. Reads /proc; 0 or a negative errno.
int identity_of_self(struct identity *ret_identity);

// The name of the calling thread's process, 16 bytes; if that cannot be had, they stay as they are.
void identity_process_command(char command[16]);

// Whether the kernel knows a robust list of the calling thread. True where it cannot be asked.
bool identity_has_robust_list(void);

// How many threads the calling process has, those included that are about to end; 0: /proc does not
// tell.
uint32_t identity_thread_count(void);

// 64 random bits; where the kernel has none to give, bits of the calling thread and this moment.
uint64_t identity_draw(void);

// Start time of process `pid` in this namespace; 0 or a negative errno (-ESRCH: no such process).
int identity_start_time(pid_t pid, uint64_t *ret_start_time);

// A descriptor of exactly the process that `identity` names, or -ESRCH when it is gone, -EXDEV when
// it lives in another pid namespace, or another negative errno.
int identity_open(const struct identity *identity);
// 0, -EPERM, or -ESRCH when it is dead already.
int identity_kill(int pidfd);
// Waits for that until the moment (ns of CLOCK_MONOTONIC); whether it came.
bool identity_await(int pidfd, uint64_t deadline_ns);
// Whether the kernel has what identity_kill needs.
bool identity_can_kill(void);
// Whether the whole process is gone.
bool identity_gone(int pidfd);

#endif
