// SPDX-License-Identifier: Apache-2.0
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "further.h"
#include "peer_loops.h"

#define AREA_SIZE ((size_t)1 << 20)

static struct {
	const char *name;
	uint64_t ns;
	bool applied;
} handicap;

void peer_check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

void peer_create(struct lock *lock, const struct peer *peer)
{
	memset(lock, 0, sizeof(*lock));
	lock->peer = peer;
	if (handicap.name && strcmp(peer->name, handicap.name) == 0) {
		lock->handicap_ns = handicap.ns;
		handicap.applied = true;
	}
	peer->create(lock);
}

void peer_set_handicap(const char *name, uint64_t ns)
{
	handicap.name = name;
	handicap.ns = ns;
}

bool peer_handicap_applied(void)
{
	return !handicap.name || handicap.applied;
}

// ---- areas ---------------------------------------------------------------------------------------
// Maps the object as lh_arena_open maps an arena.
static struct peer_area *map(struct lock *lock, int flags)
{
	const int file = shm_open(lock->object_name, O_RDWR | O_CLOEXEC | flags, 0600);

	if (file < 0 || (flags && ftruncate(file, AREA_SIZE) != 0))
		process_die_errno(errno, lock->object_name);
	void *memory = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		process_die_errno(errno, "mmap");
	close(file);
	return memory;
}

struct peer_area *peer_area_create(struct lock *lock)
{
	scratch_name(lock->object_name);
	return map(lock, O_CREAT | O_EXCL);
}

void peer_area_unmap(struct peer_area *area)
{
	munmap(area, AREA_SIZE);
}

void peer_area_destroy(struct lock *lock)
{
	scratch_unlink(lock->object_name);
}

void peer_area_attach(struct lock *lock)
{
	lock->area = map(lock, 0);
	lock->words = lock->area->words;
}

void peer_area_detach(struct lock *lock)
{
	peer_area_unmap(lock->area);
}

// ---- arenas --------------------------------------------------------------------------------------
static void make_arena(void *context)
{
	struct lock *lock = context;

	peer_check(lh_arena_open(lock->object_name, LH_CREATE | LH_EXCL, NULL, &lock->arena),
		   "lh_arena_open");
	lock->peer->place(lock);
	peer_check(lh_arena_close(lock->arena), "lh_arena_close");
}

void peer_arena_create(struct lock *lock)
{
	scratch_name(lock->object_name);
	process_run(make_arena, lock);
	if (lock->peer->crowded)
		lock->further = further_start(lock->object_name);
}

void peer_arena_destroy(struct lock *lock)
{
	if (lock->further)
		further_end(lock->further);
	scratch_unlink(lock->object_name);
}

void peer_arena_attach(struct lock *lock)
{
	const struct lh_lease_options options = { .ttl_ns = lock->peer->ttl_ns };

	peer_check(lh_arena_open(lock->object_name, 0, NULL, &lock->arena), "lh_arena_open");
	lock->peer->place(lock);
	peer_check(lh_lease_acquire(lock->arena, &options, &lock->lease), "lh_lease_acquire");
}

void peer_arena_detach(struct lock *lock)
{
	peer_check(lh_lease_release(lock->lease), "lh_lease_release");
	peer_check(lh_arena_close(lock->arena), "lh_arena_close");
}

// ---- pauses --------------------------------------------------------------------------------------

uint64_t peer_steps(double ns_wanted)
{
	const int repeats = 2000;
	const uint64_t steps = 1000;
	struct contender contender = { 0 };
	static double best; // ns for so many steps, measured once
	const bool known = best > 0;

	if (ns_wanted <= 0)
		return 0;
	// The fastest of several: the slower ones were interrupted.
	for (int i = known ? 9 : 0; i < 9; i++) {
		contender.random = random_stream(1, "think");
		const uint64_t start = measure_now();

		for (int j = 0; j < repeats; j++)
			loop_work(&contender, steps);
		const double ns = (double)(measure_now() - start) / repeats;
		if (i == 0 || ns < best)
			best = ns;
	}
	return (uint64_t)((double)steps * ns_wanted / best) + 1;
}
