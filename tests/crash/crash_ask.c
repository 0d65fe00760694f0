// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/crash_ask.h"

#include "arena/sys/futex.h"
#include "tests/support/tier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_TEXT = 1 << 20 }; // of a test's program, in bytes

bool crash_can_run(void)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		stepper_trace_me();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		printf("SKIP: ptrace(2) is refused here\n");
	else if (!futex_many_available())
		printf("SKIP: futex_waitv(2) is missing here\n");
	else
		return true;
	return false;
}

static bool asks_for(const char *what)
{
	const char *crash = getenv("CRASH");

	return crash && strcmp(crash, what) == 0;
}

bool crash_wants_all(void)
{
	return asks_for("all");
}

// The quick tier tries a fourth, others with each seed; of those that are not left out in it.
static bool quick_tier_wants(const struct crash_choice *choice, size_t operation)
{
	unsigned number = choice->seed;

	for (size_t i = 0; i < operation; i++)
		number += !choice->operations[i].not_quick;
	return !choice->operations[operation].not_quick && number % 4 == 0;
}

bool crash_wants(const struct crash_choice *choice, size_t operation)
{
	const char *only = choice->only;

	if (!only)
		return crash_wants_all() || tier_pick(0, 1, 1) ||
		       quick_tier_wants(choice, operation);
	if (strcmp(choice->operations[operation].name, only) == 0)
		return true;
	for (size_t i = 0; i < choice->count; i++) {
		if (strcmp(choice->operations[i].name, only) == 0)
			return false;
	}
	return strstr(choice->operations[operation].name, only);
}

// Shared by the test and its directors: which addresses.
static bool *map_of_steps(void)
{
	static bool *map;

	if (!map)
		map = mmap(NULL, MAX_TEXT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			   0);
	if (map == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return map;
}

bool crash_wants_where(void)
{
	return asks_for("where") && map_of_steps(); // before there is a director
}

void crash_walk(struct stepper *stepper, uint64_t load_address)
{
	bool *map = map_of_steps();

	do {
		if (stepper->at.address - load_address < MAX_TEXT)
			map[stepper->at.address - load_address] = true;
	} while (stepper_step(stepper) == STEPPER_MORE);
}

void crash_print_where(const char *name)
{
	bool *map = map_of_steps();

	printf("operation %s\n", name);
	for (unsigned address = 0; address < MAX_TEXT; address++) {
		if (map[address])
			printf("0x%x\n", address);
	}
	memset(map, 0, MAX_TEXT);
}
