// SPDX-License-Identifier: Apache-2.0
//
// arena.c: where and how large an arena's pages are is settled before they are reserved, or else
// LH_ARENA_NUMA_INTERLEAVE and LH_ARENA_HUGE_PAGES ask in vain. The stop stands in for fallocate
// (CMakeLists.txt: --wrap), which reserves them.
// ctest: NOT_UNDER valgrind mappings are its own
#include "tests/support/scene.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

static char policy[512]; // of the unnamed file's mapping, when its pages were reserved

// The line of `file` in a list of this process's mappings, or the one after it that begins with `key`.
static bool find_line(const char *list, const char *file, const char *key, char line[512])
{
	FILE *stream = fopen(list, "re");
	bool in_mapping = false, found = false;

	while (stream && !found && fgets(line, 512, stream)) {
		in_mapping |= strstr(line, file) != NULL;
		found = in_mapping && (!key || strncmp(line, key, strlen(key)) == 0);
	}
	if (stream)
		fclose(stream);
	return found;
}

int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
	if (!find_line("/proc/self/numa_maps", "/dev/shm/#", NULL, policy))
		policy[0] = '\0';
	return __real_fallocate(fd, mode, offset, size);
}

static bool hwloc_is_loaded(void)
{
	char line[512];

	return find_line("/proc/self/maps", "/libhwloc.so", NULL, line);
}

// "LH_ARENA_NUMA_INTERLEAVE: spread its pages over all NUMA nodes; loads hwloc", which nothing else does.
static void pages_are_reserved_interleaved(void **state)
{
	const struct lh_arena_options options = { .flags = LH_ARENA_NUMA_INTERLEAVE };
	struct scene *scene = *state;

	if (access("/proc/self/numa_maps", R_OK) != 0) {
		print_message("SKIP: unit.pages: no /proc/self/numa_maps\n");
		skip();
	}
	scene_open(scene, NULL);
	assert_false(hwloc_is_loaded());
	assert_int_equal(lh_arena_close(scene->arena), 0);
	assert_int_equal(lh_arena_unlink(scene->name), 0);
	scene->arena = NULL;
	if (lh_arena_open(scene->name, LH_CREATE, &options, &scene->arena) == -ENOTSUP) {
		print_message("SKIP: unit.pages: no NUMA placement here\n");
		skip();
	}
	assert_non_null(scene->arena);
	assert_non_null(strstr(policy, " interleave:"));
	assert_true(hwloc_is_loaded());
}

static bool is_huge(const char *file)
{
	char line[512];

	return find_line("/proc/self/smaps", file, "ShmemPmdMapped:", line) &&
	       strtoul(line + strlen("ShmemPmdMapped:"), NULL, 10) > 0;
}

// Whether the kernel gives such pages to whoever asks in the right order.
static bool huge_pages_are_given(void)
{
	const int fd = open("/dev/shm/probe", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	bool given = false;

	if (fd >= 0 && ftruncate(fd, 8 << 20) == 0) {
		char *bytes = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (bytes != MAP_FAILED && madvise(bytes, 8 << 20, MADV_HUGEPAGE) == 0) {
			for (size_t i = 0; i < 8 << 20; i += 4096)
				bytes[i] = 1;
			given = is_huge("/dev/shm/probe");
		}
		if (bytes != MAP_FAILED)
			munmap(bytes, 8 << 20);
	}
	if (fd >= 0)
		close(fd);
	unlink("/dev/shm/probe");
	return given;
}

enum { NONE_GIVEN = 77 };

static int create_with_huge_pages(void *unused)
{
	const struct lh_arena_options options = { .size = 8 << 20, .flags = LH_ARENA_HUGE_PAGES };
	lh_arena *arena = NULL;

	(void)unused;
	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/dev/shm", "none", MS_PRIVATE | MS_REC, NULL) != 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64m,huge=advise") != 0 ||
	    !huge_pages_are_given())
		return NONE_GIVEN;
	if (lh_arena_open("huge", LH_CREATE, &options, &arena) != 0)
		return 1;
	memset(lh_arena_range(arena, lh_arena_first_offset(arena), 8 << 20), 1, 8 << 20);
	return is_huge("/dev/shm/#") ? 0 : 2;
}

// "LH_ARENA_HUGE_PAGES: ask for transparent huge pages": and given them where others are.
static void pages_are_huge_where_the_file_system_gives_such(void **state)
{
	const int status = scene_child(create_with_huge_pages, *state);

	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NONE_GIVEN) {
		print_message("SKIP: unit.pages: no huge pages for shared memory here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST_CLOSED(pages_are_reserved_interleaved),
		SCENE_TEST_CLOSED(pages_are_huge_where_the_file_system_gives_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
