// SPDX-License-Identifier: Apache-2.0
//
// G9: whoever writes the bytes of an arena does not decide for how long looking at it takes. Each
// arena here is made so that what it says, taken at its word, is work for minutes to years: counts
// of everything as high as they go, each naming the same things. Nothing here compares times: before
// these looks were bounded, any one of them would have outlived this test's limit.
// ctest: TIMEOUT 300
// ctest: TIER full only a change of lease-inspector or of the audit would change it

#include <inttypes.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "arena/layout.h"
#include "tests/cli/inspector_test.h"

// Nothing of these is printed but its size.
static const char *const verbs[] = {
	"check",       "list --json", "list --all", "leases",        "tree",
	"tree --json", "dot",         "metrics",    "top --count 1",
};
enum { VERBS = sizeof(verbs) / sizeof(verbs[0]), LEASES = 512, HOLDS = 64, SIZE = 1 << 20 };

static char name[64];
static lh_arena *arena;
static lh_lease *lease;
static uint8_t *base;
static struct arena_header *header;
static struct lease_slot *slots;
static struct hold_record *records;
static struct directory_entry *entries;

static int begin(void **state)
{
	static unsigned number;
	const struct lh_arena_options options = { .size = SIZE,
						  .max_leases = LEASES,
						  .max_holds = HOLDS };

	(void)state;
	snprintf(name, sizeof(name), "lh-crafted-%d-%u", (int)getpid(), number++);
	assert_int_equal(lh_arena_open(name, LH_CREATE | LH_EXCL, &options, &arena), 0);
	assert_int_equal(lh_lease_acquire(arena, NULL, &lease), 0);
	const uint64_t first = lh_arena_first_offset(arena);

	base = (uint8_t *)lh_arena_range(arena, first, 64) - first;
	header = (struct arena_header *)base;
	slots = (struct lease_slot *)(base + header->leases_offset);
	records = (struct hold_record *)(base + header->holds_offset);
	entries = (struct directory_entry *)(base + header->entries_offset);
	return 0;
}

// The lease's slot is overwritten: neither it nor the arena can be given back.
static int end(void **state)
{
	(void)state;
	lh_arena_unlink(name);
	return 0;
}

// What each directory entry says from now on: `kind` at `offset` with `count` elements.
static void place_everywhere(uint32_t kind, uint64_t offset, uint64_t size, uint32_t count,
			     uint64_t step)
{
	const uint64_t state = (uint64_t)ENTRY_READY << ENTRY_PHASE_SHIFT;

	for (uint32_t i = 0; i < header->entries; i++) {
		atomic_store(&entries[i].offset, offset + i * step);
		atomic_store(&entries[i].size, size - i * step);
		atomic_store(&entries[i].data_size, 0);
		atomic_store(&entries[i].kind, kind);
		atomic_store(&entries[i].count, count);
		atomic_store(&entries[i].name[0], 'a' + i % 26);
		atomic_store(&entries[i].state, state);
	}
	atomic_store(&header->entry_bound, header->entries);
}

// Every slot is a living lease of this thread.
static void lease_everywhere(void)
{
	const uint32_t own = (uint32_t)(lh_lease_id(lease) & ((1u << LEASE_SLOT_BITS) - 1));
	const uint64_t state = atomic_load(&slots[own].state),
		       owner = atomic_load(&slots[own].owner);

	for (uint32_t i = 0; i < LEASES; i++) {
		atomic_store(&slots[i].id, UINT64_C(7) << LEASE_SLOT_BITS | i);
		atomic_store(&slots[i].owner, owner);
		atomic_store(&slots[i].probe_lines, UINT32_MAX);
		atomic_store(&slots[i].state, state);
	}
}

// Every record of every lease names something of `kind`, record i that at offset + i * step.
static void hold_everywhere(uint32_t kind, uint64_t mode, uint64_t offset, uint64_t step)
{
	for (uint32_t i = 0; i < LEASES * HOLDS; i++)
		atomic_store(&records[i].object, (uint64_t)kind << HOLD_KIND_SHIFT |
							 mode << HOLD_MODE_SHIFT |
							 UINT64_C(1) << HOLD_COUNT_SHIFT |
							 (offset + i % HOLDS * step) / LAYOUT_LINE);
}

static void wait_everywhere(uint64_t offset, uint64_t step)
{
	for (uint32_t i = 0; i < LEASES; i++) {
		atomic_store(&slots[i].waiting_since, 1);
		atomic_store(&slots[i].edge, ((offset + i * step) / LAYOUT_LINE)
						     << EDGE_WANTED_SHIFT);
	}
}

// Elements of an array that begins at `offset`: the word of each names the lease in slot `owner(i)`.
static void own_everywhere(uint32_t kind, uint64_t offset, uint64_t step, uint32_t count,
			   uint32_t (*owner)(uint32_t index))
{
	for (uint32_t i = 0; i < count; i++) {
		struct object_header *object = (struct object_header *)(base + offset + i * step);

		object->kind = kind;
		atomic_store(&object->word, owner(i) + 1);
	}
}

static void look_with_every_verb(int expected)
{
	for (size_t i = 0; i < VERBS; i++) {
		char verb[32];
		int code;
		const size_t word = strcspn(verbs[i], " ");

		snprintf(verb, sizeof(verb), "%.*s", (int)word, verbs[i]);
		const uint64_t from = lh_now();
		struct output output = inspector(&code, "%s %s%s", verb, name, verbs[i] + word);

		print_message("%8.3f s %9zu bytes  %s\n", (double)(lh_now() - from) / 1e9,
			      strlen(output.out), verbs[i]);
		assert_int_equal(code, strcmp(verb, "check") == 0 ? expected : 0);
		output_free(&output);
	}
}

static uint32_t the_next(uint32_t index)
{
	return (index + 1) % LEASES;
}

static uint32_t the_first(uint32_t index)
{
	(void)index;
	return 0;
}

// A permit for every word there is, of leases that record nothing of it, and every lease and entry
// names that semaphore.
static void permits_of_whoever_does_not_record_them(void **state)
{
	const struct lh_semaphore_options options = { .permits = 65535 };
	lh_semaphore semaphore;

	(void)state;
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &semaphore), 0);
	const uint64_t offset = lh_semaphore_offset(&semaphore);
	struct semaphore *object = (struct semaphore *)(base + offset);

	lease_everywhere();
	for (uint32_t i = 0; i < 65535; i++)
		atomic_store(&object->owners[i], UINT64_C(7) << LEASE_SLOT_BITS | i % LEASES);
	place_everywhere(LH_KIND_SEMAPHORE, offset, lh_semaphore_footprint(&options), 0, 0);
	hold_everywhere(LH_KIND_MUTEX, LH_HOLD_EXCLUSIVE, offset, 0);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// The same, but all say that they hold it, and wait for it.
static void every_lease_holds_all_permits_in_every_record(void **state)
{
	const struct lh_semaphore_options options = { .permits = 65535 };
	lh_semaphore semaphore;

	(void)state;
	assert_int_equal(lh_semaphore_at(arena, LH_ANYWHERE, &options, &semaphore), 0);
	const uint64_t offset = lh_semaphore_offset(&semaphore);
	struct semaphore *object = (struct semaphore *)(base + offset);

	lease_everywhere();
	for (uint32_t i = 0; i < 65535; i++)
		atomic_store(&object->owners[i], UINT64_C(7) << LEASE_SLOT_BITS | i % LEASES);
	place_everywhere(LH_KIND_SEMAPHORE, offset, lh_semaphore_footprint(&options), 0, 0);
	hold_everywhere(LH_KIND_SEMAPHORE, LH_HOLD_EXCLUSIVE, offset, 0);
	wait_everywhere(offset, 0);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// Every entry is an array of four thousand million mutexes all over the arena, held by one lease
// that records each in the last place.
static void arrays_of_everything_in_every_entry(void **state)
{
	const uint64_t offset = lh_arena_first_offset(arena);

	(void)state;
	lease_everywhere();
	place_everywhere(LH_KIND_MUTEX, offset, SIZE, UINT32_MAX, 64);
	own_everywhere(LH_KIND_MUTEX, offset, LAYOUT_LINE, SIZE / LAYOUT_LINE, the_first);
	hold_everywhere(LH_KIND_MUTEX, LH_HOLD_EXCLUSIVE, offset, LAYOUT_LINE);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// One ring of all leases.
static void all_wait_for_each_other(void **state)
{
	const struct lh_mutex_options options = { .count = LEASES };
	lh_mutex array;

	(void)state;
	assert_int_equal(lh_mutex_at(arena, LH_ANYWHERE, &options, &array), 0);
	const uint64_t offset = lh_mutex_offset(&array);

	lease_everywhere();
	own_everywhere(LH_KIND_MUTEX, offset, LAYOUT_LINE, LEASES, the_next);
	hold_everywhere(LH_KIND_MUTEX, LH_HOLD_EXCLUSIVE, offset, LAYOUT_LINE);
	wait_everywhere(offset, LAYOUT_LINE);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// Every lease waits for readers of a lock of its own, and every bit of the map is set, and for who
// has the same thread.
static void all_look_for_readers_and_threads(void **state)
{
	const uint64_t step = 4ul * LAYOUT_LINE, offset = lh_arena_first_offset(arena);

	(void)state;
	lease_everywhere();
	place_everywhere(LH_KIND_RWLOCK, offset, SIZE, UINT32_MAX, 0);
	for (uint32_t i = 0; i < LEASES; i++) {
		struct rwlock_object *object = (struct rwlock_object *)(base + offset + i * step);

		object->header.kind = LH_KIND_RWLOCK;
		object->header.data_size = LAYOUT_LINE;
		atomic_store(&object->header.word, i + 1);
		atomic_store(&object->header.last_waiter, UINT32_MAX);
		memset((void *)object->readers, 0xff, sizeof(object->readers));
		atomic_store(&slots[i].session, UINT64_C(1000) + 4ul * i + SESSION_UNSAID);
	}
	hold_everywhere(LH_KIND_RWLOCK, LH_HOLD_INTENT, offset, 0);
	wait_everywhere(offset, step);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// All hold all of the same, to read, and wait for it.
static void all_read_what_all_wait_for(void **state)
{
	const uint64_t offset = lh_arena_first_offset(arena);

	(void)state;
	lease_everywhere();
	place_everywhere(LH_KIND_RWLOCK, offset, SIZE, UINT32_MAX, 0);
	own_everywhere(LH_KIND_RWLOCK, offset, 3ul * LAYOUT_LINE, 1, the_first);
	hold_everywhere(LH_KIND_RWLOCK, LH_HOLD_SHARED, offset, 0);
	wait_everywhere(offset, 0);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// All slots have one id.
static void all_leases_are_one(void **state)
{
	const uint64_t offset = lh_arena_first_offset(arena);

	(void)state;
	lease_everywhere();
	place_everywhere(LH_KIND_MUTEX, offset, SIZE, UINT32_MAX, 0);
	own_everywhere(LH_KIND_MUTEX, offset, LAYOUT_LINE, SIZE / LAYOUT_LINE, the_next);
	hold_everywhere(LH_KIND_MUTEX, LH_HOLD_EXCLUSIVE, offset, LAYOUT_LINE);
	wait_everywhere(offset, 0);
	for (uint32_t i = 0; i < LEASES; i++)
		atomic_store(&slots[i].id, UINT64_C(7) << LEASE_SLOT_BITS);
	look_with_every_verb(LH_CHECK_CORRUPT);
}

// More events than there ever were.
static void history_without_end(void **state)
{
	(void)state;
	atomic_store(&header->event_head, UINT64_MAX);
	look_with_every_verb(LH_CHECK_CLEAN);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(permits_of_whoever_does_not_record_them, begin,
						end),
		cmocka_unit_test_setup_teardown(every_lease_holds_all_permits_in_every_record,
						begin, end),
		cmocka_unit_test_setup_teardown(arrays_of_everything_in_every_entry, begin, end),
		cmocka_unit_test_setup_teardown(all_wait_for_each_other, begin, end),
		cmocka_unit_test_setup_teardown(all_look_for_readers_and_threads, begin, end),
		cmocka_unit_test_setup_teardown(all_read_what_all_wait_for, begin, end),
		cmocka_unit_test_setup_teardown(all_leases_are_one, begin, end),
		cmocka_unit_test_setup_teardown(history_without_end, begin, end),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("crafted arenas", tests, NULL, NULL);
}
