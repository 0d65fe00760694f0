// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/stepper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
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

	alarm(STEPPER_WATCHDOG_S);
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

bool stepper_begin(struct stepper *stepper, pid_t thread, long last)
{
	size_t size;
	int status;

	*stepper = (struct stepper){ .thread = thread, .last = last };
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

		if (next == NEXT_MARK ||
		    (next == NEXT_CALL && (long)READ(stepper, rax) == stepper->last))
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

static bool go_to_call_end(struct stepper *stepper, uint32_t calls)
{
	while (stepper->at.calls < calls) {
		if (resume(stepper, PTRACE_SYSCALL) != CALL_STOP ||
		    (long)READ(stepper, orig_rax) == stepper->last ||
		    resume(stepper, PTRACE_SYSCALL) != CALL_STOP)
			return false;
		stepper->at.calls++;
		stepper->at.instructions = 0;
	}
	return true;
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
	stepper->at = (struct stepper_point){ .address = READ(stepper, rip) };
	return true;
}

// ---- running to an address -----------------------------------------------------------------------

// In its copy of the code, which is as ours but for this.
static void put_mark(const struct stepper *stepper, uint64_t address, bool marked)
{
	const uint64_t word = address & ~UINT64_C(7);
	uint64_t code;

	memcpy(&code, (const void *)(uintptr_t)word, sizeof(code));
	if (marked)
		((uint8_t *)&code)[address - word] = CODE_MARK;
	ptrace(PTRACE_POKETEXT, stepper->thread, (void *)(uintptr_t)word, (void *)code);
}

// Runs to a mark at the address. False: it made a call, or ended, before it was there.
static bool run_to_mark(struct stepper *stepper, uint64_t address)
{
	put_mark(stepper, address, true);
	if (resume(stepper, PTRACE_SYSCALL) != SIGTRAP || stepper->at.address != address + 1)
		return false;
	put_mark(stepper, address, false);
	ptrace(PTRACE_POKEUSER, stepper->thread, (void *)offsetof(struct user_regs_struct, rip),
	       (void *)address);
	stepper->at.address = address;
	return true;
}

// From just after a call to where it has come to the point's address as often as it had there.
static bool run_to(struct stepper *stepper, const struct stepper_point *point)
{
	for (uint32_t arrivals = 0; arrivals < point->arrivals; arrivals++) {
		// Off from where it stands.
		if (stepper_step(stepper) != STEPPER_MORE || stepper->at.calls != point->calls)
			return false;
		if (stepper->at.address != point->address && !run_to_mark(stepper, point->address))
			return false;
	}
	stepper->at.instructions = point->instructions;
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

enum { PLACES = 1 << 13, PLACES_LOOKED_AT = 64 };

// An address, and how often it was arrived at since the last call.
struct place {
	uint64_t address;
	uint64_t calls; // + 1, made when it was: nobody's, if there was another since
	uint32_t arrivals;
	bool repeats; // one instruction that is stepped through several times
};

static struct place places[PLACES];

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

// The traced one creates it: an object without a name, until it has one.
static void find_object(struct recorder *recorder)
{
	const pid_t pid = recorder->stepper->thread;
	struct stat status;
	char path[64], target[64];
	void *bytes;
	int fd;

	for (int number = 3; number < 16 && !recorder->watch.bytes; number++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, number);
		if (readlink(path, target, sizeof(target)) < 9 ||
		    memcmp(target, "/dev/shm/", 9) != 0)
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (fstat(fd, &status) == 0 && status.st_size > 0) {
			bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
			if (bytes != MAP_FAILED) {
				recorder->mapped = true;
				recorder->watch = (struct stepper_watch){ bytes,
									  (size_t)status.st_size };
				start_watch(recorder);
			}
		}
		close(fd);
	}
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

static void begin_watch(struct recorder *recorder)
{
	if (recorder->watch.bytes)
		start_watch(recorder);
	else
		find_object(recorder);
	recorder->state = look(recorder);
}

// After a step. Whether it changed the state.
static bool note_step(struct recorder *recorder)
{
	struct stepper_point *at = &recorder->stepper->at;
	struct state state;

	if (recorder->state.call >= 0 && !recorder->watch.bytes)
		find_object(recorder);
	state = look(recorder);
	at->turning = memcmp(&state, &recorder->state, sizeof(state)) != 0;
	at->changes = state.calls != recorder->state.calls ? 0 : at->changes + at->turning;
	recorder->state = state;
	return at->turning;
}

static struct place *place_of(const struct stepper_point *at)
{
	const size_t first = (size_t)(at->address * UINT64_C(0x9e3779b97f4a7c15) >> 32);

	for (size_t i = first; i < first + PLACES_LOOKED_AT; i++) {
		struct place *place = &places[i % PLACES];

		if (place->calls != at->calls + UINT64_C(1))
			*place = (struct place){ at->address, at->calls + UINT64_C(1), 0, false };
		if (place->address == at->address)
			return place;
	}
	return NULL;
}

// After a step from the address `from`.
static void count_arrival(struct stepper_point *at, uint64_t from)
{
	struct place *place;

	at->arrivals = 0;
	if (!at->instructions)
		return; // just after a call
	place = place_of(at);
	if (!place)
		return;
	// What repeats itself (rep movs) steps more often than a breakpoint stops at it.
	place->repeats |= at->address == from;
	place->arrivals++;
	if (!place->repeats)
		at->arrivals = place->arrivals;
}

static void end_watch(struct recorder *recorder)
{
	free(recorder->copy);
	if (recorder->mapped)
		munmap((void *)(uintptr_t)recorder->watch.bytes, recorder->watch.size);
}

size_t stepper_record(struct stepper *stepper, struct stepper_watch watch, bool every,
		      struct stepper_point *points, size_t capacity, uint64_t *ret_instructions)
{
	struct recorder recorder = { .stepper = stepper, .watch = watch };
	size_t count = 0;

	*ret_instructions = 0;
	begin_watch(&recorder);
	stepper->at.turning = true;
	points[count++] = stepper->at;
	for (;;) {
		const uint64_t from = stepper->at.address;

		if (count == capacity || stepper_step(stepper) != STEPPER_MORE)
			break;
		++*ret_instructions;
		count_arrival(&stepper->at, from);
		if (note_step(&recorder) || every)
			points[count++] = stepper->at;
	}
	end_watch(&recorder);
	return count < capacity ? count : 0;
}

bool stepper_go(struct stepper *stepper, const struct stepper_point *point,
		struct stepper_watch watch, enum stepper_way way)
{
	struct recorder recorder = { .stepper = stepper, .watch = watch };
	const bool by_changes = way == STEPPER_BY_CHANGES;
	bool there = go_to_call_end(stepper, point->calls);

	// Each arrival takes as long as some steps.
	if (there && way == STEPPER_BY_RUNNING && point->arrivals &&
	    point->arrivals < point->instructions / 4)
		there = run_to(stepper, point);
	if (there && by_changes)
		begin_watch(&recorder);
	while (there && (by_changes ? stepper->at.changes < point->changes
				    : stepper->at.instructions < point->instructions)) {
		there = stepper_step(stepper) == STEPPER_MORE && stepper->at.calls == point->calls;
		if (there && by_changes)
			note_step(&recorder);
	}
	end_watch(&recorder);
	return there && (!point->address || stepper->at.address == point->address);
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
