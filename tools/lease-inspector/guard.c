// SPDX-License-Identifier: Apache-2.0
//
// guard.c: opens arenas so that one that somebody shortens while it is looked at ends neither the
// program nor its look at the others.
//
// The pages behind a shortened object's end are SIGBUS to whoever touches them, and no look at its
// length beforehand can keep it from being shortened after that. So the signal is caught, and the
// lost pages are replaced by zero bytes: damage like any other, which the library finds its way
// through. Whoever has looked asks guarded_check whether that happened before it trusts what it saw.

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inspector.h"

// Where an arena is mapped: from its first byte, as offsets are counted, to the page in which the
// user's space ends.
struct guarded {
	struct guarded *next;
	const lh_arena *arena;
	uintptr_t base;
	size_t size;
	int protection;
	volatile sig_atomic_t shortened;
};

// Of the main thread alone, which is in none of these functions when it touches an arena.
static struct guarded *all;
static uintptr_t page_size;
static bool told; // the last answer of guarded_check was that it was shortened

// Whether the page at the address was an arena's and is readable again. Twice the same arena, by two
// names, is mapped once.
static bool replace_pages(uintptr_t address)
{
	const uintptr_t page = address & ~(page_size - 1);
	bool replaced = false;

	for (struct guarded *guarded = all; guarded; guarded = guarded->next) {
		if (address - guarded->base >= guarded->size)
			continue;
		if (!replaced &&
		    mmap((void *)page, guarded->base + guarded->size - page, guarded->protection,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			 0) == MAP_FAILED)
			return false;
		replaced = true;
		guarded->shortened = 1;
	}
	return replaced;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	const int before = errno;

	(void)context;
	// Anything else is what it was without us: the access is tried again and ends the program.
	if (info->si_code != BUS_ADRERR || !replace_pages((uintptr_t)info->si_addr))
		signal(number, SIG_DFL);
	errno = before;
}

static void guard_begin(void)
{
	const struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

	page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigaction(SIGBUS, &action, NULL);
}

int guarded_open(const char *name, int flags, lh_arena **ret_arena)
{
	told = false;
	if (!page_size)
		guard_begin();
	const int error = lh_arena_open(name, flags, NULL, ret_arena);

	if (error)
		return error;
	const uint64_t first = lh_arena_first_offset(*ret_arena);
	struct guarded *guarded = (struct guarded *)inspector_need(calloc(1, sizeof(*guarded)));

	*guarded = (struct guarded){
		.next = all,
		.arena = *ret_arena,
		.base = (uintptr_t)lh_arena_range(*ret_arena, first, 0) - first,
		.size = (lh_arena_end_offset(*ret_arena) + page_size - 1) & ~(page_size - 1),
		.protection = flags & LH_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE,
	};
	all = guarded;
	return 0;
}

static struct guarded **find(const lh_arena *arena)
{
	struct guarded **guarded = &all;

	while (*guarded && (*guarded)->arena != arena)
		guarded = &(*guarded)->next;
	return guarded;
}

int guarded_check(const lh_arena *arena)
{
	const struct guarded *guarded = *find(arena);

	told = guarded && guarded->shortened;
	return told ? -EBADMSG : 0;
}

void guarded_close(lh_arena *arena)
{
	struct guarded **link = find(arena);
	struct guarded *guarded = *link;

	lh_arena_close(arena);
	if (!guarded)
		return;
	*link = guarded->next;
	free(guarded);
}

const char *inspector_detail(void)
{
	return told ? "it was shortened while it was looked at" : lh_error_detail();
}
