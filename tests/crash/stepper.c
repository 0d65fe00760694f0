// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/stepper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CODE_MARK 0xcc
#define CALL_STOP (SIGTRAP | 0x80)

// ---- the traced one ------------------------------------------------------------------------------

static void ignore(int signal)
{
	(void)signal;
}

void stepper_trace_me(void)
{
	// For marks that are passed when nobody traces any more.
	signal(SIGTRAP, ignore);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(99);
}

// ---- reading it ----------------------------------------------------------------------------------

static bool read_memory(const struct stepper *stepper, uint64_t address, void *bytes, size_t size)
{
	const struct iovec local = { bytes, size };
	const struct iovec remote = { (void *)(uintptr_t)address, size };

	return process_vm_readv(stepper->thread, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

static uint64_t read_register(const struct stepper *stepper, size_t offset)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, stepper->thread, (void *)offset, NULL);
}
#define READ(stepper, name) read_register(stepper, offsetof(struct user_regs_struct, name))

enum next { NEXT_OTHER, NEXT_CALL, NEXT_MARK };

// Its code is read in our own memory: it is a fork of ours, and maps no code of its own.
static enum next next_instruction(const struct stepper *stepper)
{
	const uint8_t *code = (const uint8_t *)(uintptr_t)stepper->at.address;

	if (code[0] == CODE_MARK)
		return NEXT_MARK;
	return code[0] == 0x0f && code[1] == 0x05 ? NEXT_CALL : NEXT_OTHER;
}

static void find_vdso(struct stepper *stepper)
{
	char path[64], line[512];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", stepper->thread);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long begin, end;

		if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &begin, &end) == 2) {
			stepper->vdso_begin = begin;
			stepper->vdso_end = end;
		}
	}
	if (maps)
		fclose(maps);
}

// ---- running it ----------------------------------------------------------------------------------

// Runs on until it stops again. The stop's signal, or 0 if it has ended.
static int resume(struct stepper *stepper, enum __ptrace_request how)
{
	int status;

	if (ptrace(how, stepper->thread, NULL, (void *)(intptr_t)stepper->signal) != 0)
		return 0;
	stepper->signal = 0;
	if (waitpid(stepper->thread, &status, __WALL) != stepper->thread || !WIFSTOPPED(status))
		return 0;
	stepper->at.address = READ(stepper, rip);
	return WSTOPSIG(status);
}

static bool in_vdso(const struct stepper *stepper)
{
	return stepper->at.address >= stepper->vdso_begin &&
	       stepper->at.address < stepper->vdso_end;
}

bool stepper_begin(struct stepper *stepper, pid_t thread)
{
	size_t size;
	int status;

	*stepper = (struct stepper){ .thread = thread };
	if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != SIGTRAP)
		return false;
	if (ptrace(PTRACE_SETOPTIONS, thread, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD))
		return false;
	find_vdso(stepper);
	syscall(SYS_get_robust_list, thread, &stepper->robust_head, &size);
	stepper->at.address = READ(stepper, rip);
	return true;
}

enum stepper_result stepper_step(struct stepper *stepper)
{
	do {
		const enum next next = next_instruction(stepper);
		int stop;

		if (next == NEXT_MARK)
			return STEPPER_END;
		stop = resume(stepper, PTRACE_SINGLESTEP);
		if (!stop)
			return STEPPER_GONE;
		if (stop != SIGTRAP)
			stepper->signal = stop;
		if (next == NEXT_CALL) {
			stepper->at.calls++;
			stepper->at.instructions = 0;
			return STEPPER_MORE;
		}
	} while (in_vdso(stepper));
	stepper->at.instructions++;
	return STEPPER_MORE;
}

bool stepper_go(struct stepper *stepper, const struct stepper_point *point)
{
	while (stepper->at.calls < point->calls) {
		if (resume(stepper, PTRACE_SYSCALL) != CALL_STOP)
			return false;
		if (resume(stepper, PTRACE_SYSCALL) != CALL_STOP)
			return false;
		stepper->at.calls++;
		stepper->at.instructions = 0;
	}
	while (stepper->at.instructions < point->instructions) {
		if (stepper_step(stepper) != STEPPER_MORE || stepper->at.calls != point->calls)
			return false;
	}
	return stepper->at.address == point->address;
}

bool stepper_go_to_call(struct stepper *stepper, long number)
{
	while (resume(stepper, PTRACE_SYSCALL) == CALL_STOP) {
		if ((long)READ(stepper, orig_rax) == number)
			return true;
		if (resume(stepper, PTRACE_SYSCALL) != CALL_STOP)
			return false;
		stepper->at.calls++;
	}
	return false;
}

void stepper_enter_call(struct stepper *stepper)
{
	ptrace(PTRACE_SYSCALL, stepper->thread, NULL, NULL);
}

bool stepper_leave_call(struct stepper *stepper)
{
	int status;

	if (waitpid(stepper->thread, &status, __WALL) != stepper->thread || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != CALL_STOP)
		return false;
	stepper->at = (struct stepper_point){ 0, 0, READ(stepper, rip) };
	return true;
}

void stepper_detach(struct stepper *stepper, int signal)
{
	ptrace(PTRACE_DETACH, stepper->thread, NULL, (void *)(intptr_t)signal);
}

// ---- recording -----------------------------------------------------------------------------------

struct state {
	uint64_t robust[3];
	uint64_t changes; // of the watched bytes
	uint64_t calls;   // (no padding: compared as bytes)
	long call;        // about to be made, or -1
};

struct recorder {
	struct stepper *stepper;
	struct stepper_watch watch;
	bool mapped;   // by follow_mapping
	uint8_t *copy; // of the watched bytes as they last were
	struct state state;
};

static void start_watch(struct recorder *recorder)
{
	recorder->copy = malloc(recorder->watch.size);
	if (recorder->copy)
		memcpy(recorder->copy, recorder->watch.bytes, recorder->watch.size);
}

// The traced one has returned from mmap: the first file that it maps shared is to be watched.
static void follow_mapping(struct recorder *recorder)
{
	const uint64_t flags = READ(recorder->stepper, r10);
	const uint64_t size = READ(recorder->stepper, rsi);
	char path[64];
	void *bytes;
	int fd;

	if (recorder->watch.bytes || !(flags & MAP_SHARED) || (flags & MAP_ANONYMOUS))
		return;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", recorder->stepper->thread,
		 (int)READ(recorder->stepper, r8));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return;
	recorder->mapped = true;
	recorder->watch = (struct stepper_watch){ bytes, size };
	start_watch(recorder);
}

static bool bytes_changed(struct recorder *recorder)
{
	if (!recorder->copy ||
	    memcmp(recorder->copy, recorder->watch.bytes, recorder->watch.size) == 0)
		return false;
	memcpy(recorder->copy, recorder->watch.bytes, recorder->watch.size);
	return true;
}

static struct state look(struct recorder *recorder)
{
	struct stepper *stepper = recorder->stepper;
	struct state state = { .calls = stepper->at.calls, .call = -1 };

	if (stepper->robust_head)
		read_memory(stepper, stepper->robust_head, state.robust, sizeof(state.robust));
	if (next_instruction(stepper) == NEXT_CALL)
		state.call = (long)READ(stepper, rax);
	state.changes = recorder->state.changes + bytes_changed(recorder);
	return state;
}

size_t stepper_record(struct stepper *stepper, struct stepper_watch watch, bool every, long last,
		      struct stepper_point *points, size_t capacity, uint64_t *ret_instructions)
{
	struct recorder recorder = { .stepper = stepper, .watch = watch };
	size_t count = 0;

	if (watch.bytes)
		start_watch(&recorder);
	*ret_instructions = 0;
	recorder.state = look(&recorder);
	points[count++] = stepper->at;
	while (count < capacity && (last < 0 || recorder.state.call != last) &&
	       stepper_step(stepper) == STEPPER_MORE) {
		struct state state;

		++*ret_instructions;
		if (recorder.state.call == SYS_mmap)
			follow_mapping(&recorder);
		state = look(&recorder);
		if (every || memcmp(&state, &recorder.state, sizeof(state)) != 0)
			points[count++] = stepper->at;
		recorder.state = state;
	}
	free(recorder.copy);
	if (recorder.mapped)
		munmap((void *)(uintptr_t)recorder.watch.bytes, recorder.watch.size);
	return count < capacity ? count : 0;
}

// ---- asleep? -------------------------------------------------------------------------------------

bool stepper_sleeps_in(pid_t thread, long number)
{
	char path[64], text[64] = "";
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	return size > 0 && text[0] >= '0' && text[0] <= '9' && strtol(text, NULL, 10) == number;
}
