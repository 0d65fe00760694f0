// SPDX-License-Identifier: Apache-2.0
//
// Opening what is no arena, or not this library's: G9 and
//
//	lh_arena_open  -EBADMSG          no arena, damaged, shorter than it claims
//	               -EPROTONOSUPPORT  another layout, machine, boot or clock
#include "tests/support/scene.h"

#include "arena/layout.h"

#include <fcntl.h>
#include <sys/stat.h>

struct file {
	const struct scene *scene;
	int fd;
	off_t size;
};

// A valid arena's file, which this process has not open as an arena.
static struct file valid_file(struct scene *scene)
{
	const struct lh_arena_options options = { .size = 8192, .max_leases = 4, .max_holds = 4 };
	struct file file = { .scene = scene };
	struct stat status;
	char path[128];

	scene_open(scene, &options);
	assert_int_equal(lh_arena_close(scene->arena), 0);
	scene->arena = NULL;
	snprintf(path, sizeof(path), "/dev/shm/%s", scene->name);
	file.fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(file.fd >= 0);
	assert_int_equal(fstat(file.fd, &status), 0);
	file.size = status.st_size;
	return file;
}

// What opening it gives, read-only and read-write alike.
static int open_result(const struct file *file)
{
	const int flags[] = { LH_READ_ONLY, 0, LH_CREATE };
	int results[3];

	for (int i = 0; i < 3; i++) {
		lh_arena *arena = NULL;

		results[i] = lh_arena_open(file->scene->name, flags[i], NULL, &arena);
		if (results[i] == 0)
			assert_int_equal(lh_arena_close(arena), 0);
		else
			assert_null(arena);
	}
	assert_int_equal(results[0], results[1]);
	assert_int_equal(results[0], results[2]);
	return results[0];
}

static void write_at(const struct file *file, off_t at, const void *bytes, size_t size)
{
	assert_int_equal(pwrite(file->fd, bytes, size, at), (ssize_t)size);
}

static void a_truncated_or_lengthened_arena_is_ebadmsg(void **state)
{
	struct file file = valid_file(*state);
	const off_t sizes[] = { 0,
				1,
				8,
				63,
				64,
				(off_t)sizeof(struct arena_header) - 1,
				(off_t)sizeof(struct arena_header),
				4095,
				4096,
				file.size / 2,
				file.size - 4096,
				file.size - 1,
				file.size + 1,
				file.size + 4096 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(ftruncate(file.fd, sizes[i]), 0);
		assert_int_equal(open_result(&file), -EBADMSG);
		close(file.fd); // what was cut off is lost: a new one
		assert_int_equal(lh_arena_unlink(file.scene->name), 0);
		file = valid_file(*state);
		assert_int_equal(open_result(&file), 0);
	}
	close(file.fd);
}

static void a_zeroed_arena_is_ebadmsg(void **state)
{
	const struct file file = valid_file(*state);

	assert_int_equal(ftruncate(file.fd, 0), 0);
	assert_int_equal(ftruncate(file.fd, file.size), 0);
	assert_int_equal(open_result(&file), -EBADMSG);
	close(file.fd);
}

static void a_foreign_file_is_ebadmsg(void **state)
{
	const struct file file = valid_file(*state);
	char bytes[4096];
	FILE *program = fopen("/proc/self/exe", "re");
	size_t size;
	off_t at = 0;

	assert_non_null(program);
	assert_int_equal(ftruncate(file.fd, 0), 0);
	while ((size = fread(bytes, 1, sizeof(bytes), program)) > 0 && at < 1 << 20) {
		write_at(&file, at, bytes, size);
		at += (off_t)size;
	}
	fclose(program);
	assert_int_equal(open_result(&file), -EBADMSG);
	assert_int_equal(ftruncate(file.fd, 0), 0);
	for (at = 0; at < 65536; at += 16)
		write_at(&file, at, "plain text here\n", 16);
	assert_int_equal(open_result(&file), -EBADMSG);
	close(file.fd);
}

#define FIELD(name, result)                                                                        \
	{                                                                                          \
#name, offsetof(struct arena_header, name),                                        \
			sizeof(((struct arena_header *)0)->name), result                           \
	}

static const struct {
	const char *name;
	size_t offset, size;
	int result;
} fields[] = {
	FIELD(magic, -EBADMSG),         FIELD(version, -EPROTONOSUPPORT),
	FIELD(shape, -EPROTONOSUPPORT), FIELD(total_size, -EBADMSG),
	FIELD(user_offset, -EBADMSG),   FIELD(user_size, -EBADMSG),
	FIELD(max_leases, -EBADMSG),    FIELD(owners, -EBADMSG),
	FIELD(entries, -EBADMSG),       FIELD(events, -EBADMSG),
	FIELD(owners_offset, -EBADMSG), FIELD(leases_offset, -EBADMSG),
	FIELD(holds_offset, -EBADMSG),  FIELD(entries_offset, -EBADMSG),
	FIELD(events_offset, -EBADMSG), FIELD(boot_id, -EPROTONOSUPPORT),
};

// Every bit of every field that says what the rest means.
static void each_header_field_damaged_alone_is_refused(void **state)
{
	const struct file file = valid_file(*state);

	assert_int_equal(open_result(&file), 0);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		for (size_t byte = 0; byte < fields[i].size; byte++) {
			const off_t at = (off_t)(fields[i].offset + byte);
			uint8_t before, after;

			assert_int_equal(pread(file.fd, &before, 1, at), 1);
			for (int bit = 0; bit < 8; bit++) {
				after = before ^ (uint8_t)(1u << bit);
				write_at(&file, at, &after, 1);
				const int result = open_result(&file);

				if (result != fields[i].result)
					fail_msg("%s, byte %d, bit %d: %d", fields[i].name,
						 (int)byte, bit, result);
			}
			write_at(&file, at, &before, 1);
		}
		assert_int_equal(open_result(&file), 0);
	}
	close(file.fd);
}

// max_holds is rounded up to lines: other counts within the same line are as good.
static void a_header_with_other_counts_is_refused_or_as_good(void **state)
{
	const struct file file = valid_file(*state);
	const off_t at = (off_t)offsetof(struct arena_header, max_holds);
	const uint32_t counts[] = { 0, 9, 16, 64, 1024, 1025, UINT32_MAX };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		write_at(&file, at, &counts[i], sizeof(counts[i]));
		assert_int_equal(open_result(&file), -EBADMSG);
	}
	close(file.fd);
}

static void flags_that_do_not_exist_are_ebadmsg(void **state)
{
	const struct file file = valid_file(*state);

	for (uint32_t flags = 16; flags; flags <<= 1) {
		write_at(&file, (off_t)offsetof(struct arena_header, flags), &flags, sizeof(flags));
		assert_int_equal(open_result(&file), -EBADMSG);
	}
	close(file.fd);
}

static void another_clock_is_not_supported(void **state)
{
	const struct file file = valid_file(*state);
	uint64_t number;
	const off_t at = (off_t)offsetof(struct arena_header, time_namespace);

	assert_int_equal(pread(file.fd, &number, sizeof(number), at), sizeof(number));
	number++;
	write_at(&file, at, &number, sizeof(number));
	const int result = open_result(&file);

	assert_int_equal(result, -EPROTONOSUPPORT);
	close(file.fd);
}

// The damage of one opening leaves the object and its name alone.
static void what_is_refused_stays_as_it_was(void **state)
{
	const struct file file = valid_file(*state);
	uint8_t before[4096], after[4096];
	const uint64_t magic = 1;
	lh_arena *arena = NULL;

	write_at(&file, 0, &magic, sizeof(magic));
	assert_int_equal(pread(file.fd, before, sizeof(before), 0), sizeof(before));
	assert_int_equal(lh_arena_open(file.scene->name, LH_CREATE, NULL, &arena), -EBADMSG);
	assert_int_equal(pread(file.fd, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(lh_arena_unlink(file.scene->name), 0);
	assert_int_equal(lh_arena_open(file.scene->name, LH_CREATE, NULL, &arena), 0);
	assert_int_equal(lh_arena_close(arena), 0);
	close(file.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST_CLOSED(a_truncated_or_lengthened_arena_is_ebadmsg),
		SCENE_TEST_CLOSED(a_zeroed_arena_is_ebadmsg),
		SCENE_TEST_CLOSED(a_foreign_file_is_ebadmsg),
		SCENE_TEST_CLOSED(each_header_field_damaged_alone_is_refused),
		SCENE_TEST_CLOSED(a_header_with_other_counts_is_refused_or_as_good),
		SCENE_TEST_CLOSED(flags_that_do_not_exist_are_ebadmsg),
		SCENE_TEST_CLOSED(another_clock_is_not_supported),
		SCENE_TEST_CLOSED(what_is_refused_stays_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
