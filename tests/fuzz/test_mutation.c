// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// G9 on arenas that are in use: processes hold, wait, have died or expired; then bits flip, words
// are swapped or set, anywhere but in the mutexes that tell who lives. LEASEHOLD_SEED repeats a
// run.
#include "tests/fuzz/exercise.h"
#include "tests/support/tier.h"
#include "tests/support/worker.h"

#include "arena/layout.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

static uint64_t seed;

static int hold(struct worker_stage *stage, uint64_t index)
{
	lh_mutex mutex;

	if (!exercise_element(stage->arena, (uint32_t)index, &mutex))
		return -ENOENT;
	return lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, &stage->grant);
}

// Two hold and one waits for a third's, who is dead; one has expired.
struct busy {
	struct worker *workers[4];
};

static struct busy make_busy(lh_arena *arena)
{
	const struct lh_lease_options brief = { .ttl_ns = LH_MS(1), .label = "brief" };
	struct busy busy;
	struct worker *dead = worker_start(WORKER_PROCESS, arena, NULL);

	for (int i = 0; i < 4; i++)
		busy.workers[i] = worker_start(WORKER_PROCESS, arena, i == 3 ? &brief : NULL);
	assert_int_equal(worker_do(busy.workers[0], hold, 0), 0);
	assert_int_equal(worker_do(busy.workers[0], worker_region, 300), 0);
	assert_int_equal(worker_do(busy.workers[1], hold, 1), 0);
	worker_tell(busy.workers[2], hold, 0);
	scene_await_wait(arena, worker_lease(busy.workers[2]), true);
	worker_do(busy.workers[3], hold, 3);
	assert_int_equal(worker_do(dead, hold, 4), 0);
	assert_int_equal(worker_do(dead, worker_region, 200), 0);
	worker_kill(dead);
	// From here on they do nothing that could meet the damage: that is for the test's child.
	for (int i = 0; i < 4; i++)
		kill(worker_pid(busy.workers[i]), SIGSTOP);
	return busy;
}

static void end_busy(const struct busy *busy)
{
	for (int i = 0; i < 4; i++)
		worker_kill(busy->workers[i]);
}

// Not the liveness mutexes: their links are libc's to follow (G9's exception).
static bool may_change(const struct arena_header *header, uint64_t at)
{
	const uint64_t in_owners = at - header->owners_offset;

	return at < header->owners_offset || at >= header->leases_offset ||
	       in_owners % sizeof(struct owner_entry) >= offsetof(struct owner_entry, generation);
}

// Places where something stands: random ones would mostly hit empty slots.
static uint64_t pick_place(const uint8_t *base, const struct arena_header *header, uint64_t *random)
{
	for (;;) {
		const uint64_t at = exercise_random(random) % (header->user_offset + 4096) / 8 * 8;
		uint64_t word;

		memcpy(&word, base + at, 8);
		if (may_change(header, at) && (word || exercise_random(random) % 64 == 0))
			return at;
	}
}

static void mutate(uint8_t *base, const struct arena_header *header, uint64_t *random)
{
	const uint64_t changes = 1 + exercise_random(random) % 8;

	for (uint64_t i = 0; i < changes; i++) {
		const uint64_t at = pick_place(base, header, random);
		const uint64_t other = pick_place(base, header, random);
		uint64_t word;

		// The header is nearly always refused: seldom.
		if (at < sizeof(*header) && exercise_random(random) % 16)
			continue;
		memcpy(&word, base + at, 8);
		switch (exercise_random(random) % 5) {
		case 0:
			word ^= UINT64_C(1) << (exercise_random(random) % 64);
			break;
		case 1:
			memcpy(&word, base + other, 8);
			break;
		case 2:
			word += exercise_random(random) % 5 - 2;
			break;
		case 3:
			word = exercise_random(random) >> (exercise_random(random) % 64);
			break;
		default:
			word = exercise_random(random) % 2 ? UINT64_MAX : 0;
		}
		memcpy(base + at, &word, 8);
	}
}

static void mutations_of_an_arena_in_use_do_no_harm(void **state)
{
	const uint64_t rounds = tier_pick(50, 200, 500);
	struct scene *scene = *state;
	uint64_t random = seed;

	for (uint64_t round = 0; round < rounds; round++) {
		lh_arena *arena = scene_open(scene, &exercise_options);
		struct arena_header header;
		char path[128];
		struct stat status;

		exercise_place(arena);
		const struct busy busy = make_busy(arena);

		assert_int_equal(lh_arena_close(arena), 0);
		scene->arena = NULL;
		snprintf(path, sizeof(path), "/dev/shm/%s", scene->name);
		const int fd = open(path, O_RDWR | O_CLOEXEC);

		assert_int_equal(fstat(fd, &status), 0);
		uint8_t *base = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE,
				     MAP_SHARED, fd, 0);

		assert_ptr_not_equal(base, MAP_FAILED);
		close(fd);
		memcpy(&header, base, sizeof(header));
		mutate(base, &header, &random);
		exercise_in_child(path, seed);
		munmap(base, (size_t)status.st_size);
		end_busy(&busy);
		assert_int_equal(lh_arena_unlink(scene->name), 0);
		alarm(120);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST_CLOSED(mutations_of_an_arena_in_use_do_no_harm),
	};

	seed = exercise_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
