// SPDX-License-Identifier: Apache-2.0
// ctest: TIMEOUT 900
//
// G9 on bytes that were never an arena's: random throughout, random under a valid header, random in
// one table. LEASEHOLD_SEED repeats a run.
#include "tests/fuzz/exercise.h"
#include "tests/support/tier.h"

#include "arena/layout.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static uint64_t seed;

struct bytes {
	char path[128];
	uint8_t *base;
	size_t size;
	struct arena_header header;
};

// A valid arena without any process on it, mapped as bytes.
static struct bytes valid_bytes(struct scene *scene)
{
	struct bytes bytes;
	struct stat status;
	int fd;

	exercise_place(scene_open(scene, &exercise_options));
	assert_int_equal(lh_arena_close(scene->arena), 0);
	scene->arena = NULL;
	snprintf(bytes.path, sizeof(bytes.path), "/dev/shm/%s", scene->name);
	fd = open(bytes.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	bytes.size = (size_t)status.st_size;
	bytes.base = mmap(NULL, bytes.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(bytes.base, MAP_FAILED);
	close(fd);
	memcpy(&bytes.header, bytes.base, sizeof(bytes.header));
	return bytes;
}

static void randomise(const struct bytes *bytes, uint64_t begin, uint64_t end, uint64_t *random)
{
	for (uint64_t at = begin; at + 8 <= end; at += 8) {
		const uint64_t value = exercise_random(random);

		memcpy(bytes->base + at, &value, 8);
	}
}

static void random_bytes_are_no_arena(void **state)
{
	const uint64_t rounds = tier_pick(20, 60, 200);
	const struct bytes bytes = valid_bytes(*state);
	uint64_t random = seed;

	for (uint64_t round = 0; round < rounds; round++) {
		const uint64_t keep = round % 4 == 0 ? 0 : round % 4 == 1 ? 8 : 16;

		randomise(&bytes, keep, bytes.size, &random);
		exercise_in_child(bytes.path, seed);
	}
	munmap(bytes.base, bytes.size);
}

static void random_tables_under_a_valid_header_do_no_harm(void **state)
{
	const uint64_t rounds = tier_pick(50, 150, 800);
	const struct bytes bytes = valid_bytes(*state);
	uint8_t *copy = malloc(bytes.size);
	const uint64_t begins[] = { bytes.header.owners_offset,
				    bytes.header.leases_offset,
				    bytes.header.holds_offset,
				    bytes.header.entries_offset,
				    bytes.header.events_offset,
				    bytes.header.user_offset,
				    bytes.size };
	uint64_t random = seed;

	assert_non_null(copy);
	memcpy(copy, bytes.base, bytes.size);
	for (uint64_t round = 0; round < rounds; round++) {
		memcpy(bytes.base, copy, bytes.size);
		for (size_t table = 0; table < 6; table++) {
			if (round % 8 != 7 && round % 8 != table)
				continue;
			randomise(&bytes, begins[table], begins[table + 1], &random);
		}
		if (round % 8 >= 6) // how many entries and events there are
			randomise(&bytes, offsetof(struct arena_header, entry_bound), LAYOUT_PAGE,
				  &random);
		exercise_in_child(bytes.path, seed);
	}
	free(copy);
	munmap(bytes.base, bytes.size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST_CLOSED(random_bytes_are_no_arena),
		SCENE_TEST_CLOSED(random_tables_under_a_valid_header_do_no_harm),
	};

	seed = exercise_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
