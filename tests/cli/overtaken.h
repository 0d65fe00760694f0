// SPDX-License-Identifier: Apache-2.0
//
// overtaken.h: has something happen at one moment in the middle of what lease-inspector does.
// For programs that valgrind does not run: it does not let one be stopped at its system calls.
#ifndef TESTS_CLI_OVERTAKEN_H
#define TESTS_CLI_OVERTAKEN_H

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/cli/inspector_test.h"

typedef struct __ptrace_syscall_info system_call;

// Whether argument `index` of the call that begins is a path that ends with the arena's name.
static inline bool call_names(pid_t pid, const system_call *call, unsigned index, const char *arena)
{
	char path[256] = "";
	struct iovec here = { path, sizeof(path) - 1 };
	struct iovec there = { (void *)(uintptr_t)call->entry.args[index], sizeof(path) - 1 };

	if (process_vm_readv(pid, &here, 1, &there, 1, 0) <= 0)
		return false;
	const size_t size = strlen(path), name = strlen(arena);

	return size > name && strcmp(path + size - name, arena) == 0;
}

// Starts lease-inspector, stops it before the first system call that is `wanted`, calls `act`, and
// lets it go on.
static inline struct output inspector_overtaken(const char *arguments,
						bool (*wanted)(pid_t pid, const system_call *call),
						void (*act)(const void *context),
						const void *context)
{
	system_call call = { .op = PTRACE_SYSCALL_INFO_NONE };
	int status;
	const struct program program = program_start(inspector_path(), arguments, true);
	const pid_t pid = program.pid;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		puts("SKIP: nothing may be traced here");
		skip();
	}
	assert_true(WIFSTOPPED(status));
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL,
				(void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)),
			 0);
	while (call.op != PTRACE_SYSCALL_INFO_ENTRY || !wanted(pid, &call)) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status))
			fail_msg("%s: it has ended and did not act: %#x", arguments, status);
		assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(call), &call) > 0);
	}
	act(context);
	assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	return program_finish(&program);
}

#endif
