// SPDX-License-Identifier: Apache-2.0
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "process.h"
#include "measure.h"

#define EVERY_NS UINT64_C(500000000)
#define QUIET_NS UINT64_C(1000000000) // a run that ends sooner needs none

// Shared with the measuring processes, each of which may be the one to speak.
static struct {
	_Atomic uint64_t next;
	_Atomic bool said;
} * shared;

static const char *case_name;
static size_t case_number, case_count;
static uint64_t start, length;

void progress_begin(double seconds)
{
	if (!isatty(STDERR_FILENO))
		return;
	shared = process_shared_memory(sizeof(*shared));
	start = measure_now();
	length = (uint64_t)(seconds * 1e9);
	atomic_store(&shared->next, start + QUIET_NS);
}

void progress_case(const char *name, size_t number, size_t count)
{
	case_name = name;
	case_number = number;
	case_count = count;
	progress_tick();
}

void progress_tick(void)
{
	if (!shared)
		return;
	const uint64_t now = measure_now();
	uint64_t next = atomic_load(&shared->next);

	if (now < next || !atomic_compare_exchange_strong(&shared->next, &next, now + EVERY_NS))
		return;
	// Cases with a least number of rounds may take longer than their share.
	const unsigned percent = now - start >= length ? 99
						       : (unsigned)((now - start) * 100 / length);
	atomic_store(&shared->said, true);
	fprintf(stderr, "\r\033[Klease-bench: %s (case %zu of %zu), %u %%", case_name, case_number,
		case_count, percent);
	fflush(stderr);
}

void progress_end(void)
{
	if (shared && atomic_load(&shared->said))
		fprintf(stderr, "\r\033[K");
}
