// SPDX-License-Identifier: Apache-2.0
//
// The object that an arena is: where it may lie, whose it may be, and what becomes of it when there
// is no room, no name or no creator any more. No descriptor: test_os_limits.c.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/stage.h"
#include "tests/support/tier.h"

enum { SMALL = 1 << 20 };
static const struct lh_arena_options small = { .size = SMALL, .max_leases = 8, .max_holds = 8 };

// A private tmpfs on /dev/shm for this process and its children.
static void own_shm(const char *options)
{
	need(unshare(CLONE_NEWNS) == 0);
	need(mount("none", "/dev/shm", "none", MS_PRIVATE, NULL) == 0); // works in a chroot too
	need(mount("tmpfs", "/dev/shm", "tmpfs", 0, options) == 0);
}

static uint64_t free_blocks(void)
{
	struct statvfs status;

	need(statvfs("/dev/shm", &status) == 0);
	return status.f_bfree;
}

static int count_files(const char *directory)
{
	DIR *entries = opendir(directory);
	int count = -2; // "." and ".."

	need(entries != NULL);
	while (readdir(entries))
		count++;
	closedir(entries);
	return count;
}

// ---- no room -------------------------------------------------------------------------------------

static void fill_up(void)
{
	static const char block[4096];
	const int fd = open("/dev/shm/filler", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	need(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	need_equal(errno, ENOSPC);
	need_equal(free_blocks(), 0);
	close(fd);
}

// All that can be written in an arena; a page that was not reserved would be SIGBUS.
static void use_it_all(lh_arena *arena)
{
	const uint64_t first = lh_arena_first_offset(arena), end = lh_arena_end_offset(arena);
	const struct lh_mutex_options table = { .count = (uint32_t)((end - first) / 2 / 64) };
	lh_lease *leases[8];
	lh_mutex mutex, element;
	uint64_t region;
	void *bytes;

	need_equal(lh_mutex_at(arena, LH_ANYWHERE, &table, &mutex), 0);
	need_equal(
		lh_region_at(arena, LH_ANYWHERE, (size_t)(end - first) / 2 - 4096, NULL, &region),
		0);
	bytes = lh_arena_range(arena, region, (size_t)(end - first) / 2 - 4096);
	need(bytes != NULL);
	memset(bytes, 0xa5, (size_t)(end - first) / 2 - 4096);
	for (uint32_t i = 0; i < 8; i++) {
		need_equal(lh_lease_acquire(arena, NULL, &leases[i]), 0);
		for (uint32_t j = i; j < table.count; j += table.count / 8) {
			need_equal(lh_mutex_element(&mutex, j, &element), 0);
			need_equal(lh_mutex_lock(&element, leases[i], LH_NOW, NULL), 0);
		}
	}
	for (int i = 0; i < 8; i++)
		need_equal(lh_lease_release(leases[i]), 0);
}

static void meet_a_full_shm(const struct line *line, void *unused)
{
	lh_arena *arena = NULL;
	uint64_t before;

	(void)line;
	(void)unused;
	own_shm("size=4m");
	before = free_blocks();
	// Too large for what is there, before anything is in it and after.
	need_equal(lh_arena_open("big", LH_CREATE, &(struct lh_arena_options){ .size = 64 << 20 },
				 &arena),
		   -ENOSPC);
	need(arena == NULL && strlen(lh_error_detail()) > 0);
	need_equal(count_files("/dev/shm"), 0);
	need_equal(free_blocks(), before);

	need_equal(lh_arena_open("fits", LH_CREATE, &small, &arena), 0);
	fill_up();
	use_it_all(arena);
	need_equal(lh_arena_check(arena, NULL, NULL), LH_CHECK_CLEAN);

	lh_arena *other = NULL;

	need_equal(lh_arena_open("second", LH_CREATE, &small, &other), -ENOSPC);
	need(other == NULL);
	need_equal(count_files("/dev/shm"), 2); // "fits" and the filler
	need_equal(lh_arena_close(arena), 0);
	need_equal(lh_arena_open("fits", LH_CREATE, NULL, &arena), 0);
	need_equal(lh_arena_close(arena), 0);
	need_equal(lh_arena_unlink("fits"), 0);
	need(unlink("/dev/shm/filler") == 0);
	need_equal(free_blocks(), before);
}

// "Pages are reserved at creation": -ENOSPC then, nothing left behind, and never a SIGBUS later.
static void a_full_dev_shm_is_enospc_at_creation_and_never_a_fault_later(void **state)
{
	struct peer peer = peer_start(meet_a_full_shm, NULL);

	(void)state;
	peer_join(&peer);
}

static void meet_no_inodes(const struct line *line, void *unused)
{
	lh_arena *arena = NULL;

	(void)line;
	(void)unused;
	own_shm("size=64m,nr_inodes=2");
	need_equal(lh_arena_open("first", LH_CREATE, &small, &arena), 0);
	lh_arena *other = NULL;

	need_equal(lh_arena_open("second", LH_CREATE, &small, &other), -ENOSPC);
	need(other == NULL);
	need_equal(count_files("/dev/shm"), 1);
	need_equal(lh_arena_close(arena), 0);
}

static void a_dev_shm_without_inodes_is_enospc(void **state)
{
	struct peer peer = peer_start(meet_no_inodes, NULL);

	(void)state;
	peer_join(&peer);
}

// ---- paths ---------------------------------------------------------------------------------------

static void lock_by_path(const struct line *line, void *path)
{
	struct stage stage = stage_open((const char *)path, 0);

	stage_lease(&stage, NULL);
	line_say(line, stage_lock(&stage, 0));
	line_hear(line);
}

// "a file on tmpfs", and shared like a name.
static void an_arena_lies_at_a_path_on_tmpfs(void **state)
{
	char directory[] = "/dev/shm/leasehold-test-XXXXXX", path[100];
	struct stage stage;
	struct peer peer;

	(void)state;
	need(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/arena", directory);
	stage = stage_open(path, 0);
	stage_lease(&stage, NULL);
	peer = peer_start(lock_by_path, path);
	need_equal(line_hear(&peer.line), 0);
	need_equal(lh_mutex_lock(&stage.mutexes[0], stage.lease, LH_NOW, NULL), -EBUSY);
	peer_kill(&peer);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED);
	stage_close(&stage);
	need_equal(lh_arena_unlink(path), 0);
	need_equal(lh_arena_unlink(path), -ENOENT);
	need(rmdir(directory) == 0);
}

static void a_path_that_is_not_on_tmpfs_is_refused(void **state)
{
	char directory[] = "/var/tmp/leasehold-test-XXXXXX", path[100];
	struct statvfs status;
	lh_arena *arena = NULL;
	int fd;

	(void)state;
	need(mkdtemp(directory) != NULL);
	need(statvfs(directory, &status) == 0);
	snprintf(path, sizeof(path), "%s/arena", directory);
	need_equal(lh_arena_open(path, LH_CREATE, NULL, &arena), -ENOTSUP);
	need_equal(count_files(directory), 0);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	need(fd >= 0 && ftruncate(fd, SMALL) == 0);
	close(fd);
	need_equal(lh_arena_open(path, 0, NULL, &arena), -ENOTSUP);
	need(arena == NULL);
	need(unlink(path) == 0 && rmdir(directory) == 0);
}

// ---- no name -------------------------------------------------------------------------------------

static void hold(const struct line *line, void *stage_pointer)
{
	struct stage *stage = (struct stage *)stage_pointer;

	stage_lease(stage, NULL);
	line_say(line, stage_lock(stage, 0));
	line_hear(line);
}

// Those inside go on and release; nobody new comes in; a new arena of that name is another one.
static void an_unlinked_arena_is_used_up_and_takes_no_new_leases(void **state)
{
	struct stage stage = stage_open(NULL, 0), successor;
	lh_lease *second = NULL;
	struct peer holder;

	(void)state;
	stage_lease(&stage, NULL);
	holder = peer_start(hold, &stage);
	need_equal(line_hear(&holder.line), 0);
	stage_unlink();
	need_equal(lh_lease_acquire(stage.arena, NULL, &second), -ESTALE);
	need_equal(lh_lease_acquire(stage.arena,
				    &(struct lh_lease_options){ .flags = LH_LEASE_PROCESS },
				    &second),
		   -ESTALE);
	need_equal(lh_thread_lease(stage.arena, &second), -ESTALE);
	need(second == NULL);
	need_equal(lh_mutex_lock(&stage.mutexes[0], stage.lease, LH_NOW, NULL), -EBUSY);

	successor = stage_open(NULL, 0);
	need(successor.arena != stage.arena);
	stage_lease(&successor, NULL);
	need_equal(stage_lock(&successor, 0), 0);

	peer_kill(&holder);
	need_equal(stage_lock(&stage, 0), LH_GRANT_OWNER_DIED); // G2, in the old one still
	stage_unlock(&stage, 0);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlock(&successor, 0);
	stage_is_clean(&successor);
	stage_close(&successor);
	stage_unlink();
}

// ---- somebody else's -----------------------------------------------------------------------------

static void become(uid_t user)
{
	need(setresgid(user, user, user) == 0);
	need(setresuid(user, user, user) == 0);
}

static void create_as_1000(const struct line *line, void *unused)
{
	const struct lh_arena_options open_to_all = { .mode = 0666 };
	lh_arena *arena;

	(void)line;
	(void)unused;
	become(1000);
	need_equal(lh_arena_open(stage_name(), LH_CREATE, &open_to_all, &arena), 0);
}

static void open_as_1001(const struct line *line, void *unused)
{
	lh_arena *arena = NULL;
	lh_lease *lease;

	(void)line;
	(void)unused;
	become(1001);
	need_equal(lh_arena_open(stage_name(), 0, NULL, &arena), -EACCES);
	need_equal(lh_arena_open(stage_name(), LH_CREATE, NULL, &arena), -EACCES);
	need_equal(lh_arena_open(stage_name(), LH_READ_ONLY, NULL, &arena), -EACCES);
	need_equal(lh_arena_open(stage_name(), LH_CREATE | LH_EXCL, NULL, &arena), -EEXIST);
	need(arena == NULL);
	need_equal(lh_arena_unlink(stage_name()), -EACCES); // /dev/shm is sticky
	need_equal(lh_arena_open(stage_name(), LH_ANY_OWNER, NULL, &arena), 0);
	need_equal(lh_lease_acquire(arena, NULL, &lease), 0);
	need_equal(lh_lease_release(lease), 0);
	need_equal(lh_arena_close(arena), 0);
}

static void make_private(const struct line *line, void *unused)
{
	lh_arena *arena;

	(void)line;
	(void)unused;
	need_equal(lh_arena_open(stage_name(), LH_CREATE, NULL, &arena), 0); // root's, 0600
}

static void open_without_permission(const struct line *line, void *unused)
{
	lh_arena *arena = NULL;

	(void)line;
	(void)unused;
	become(1001);
	need_equal(lh_arena_open(stage_name(), 0, NULL, &arena), -EACCES);
	// An owner that is asked for is no permission.
	need_equal(lh_arena_open(stage_name(), LH_ANY_OWNER, NULL, &arena), -EACCES);
	need_equal(lh_arena_open(stage_name(), LH_ANY_OWNER | LH_CREATE, NULL, &arena), -EACCES);
	need(arena == NULL);
}

// Somebody who made an arena first could lie in wait there for those who open it by its name.
static void an_object_of_somebody_else_is_refused_unless_asked_for(void **state)
{
	lh_arena *arena = NULL;
	struct peer peer;

	(void)state;
	stage_name();
	peer = peer_start(create_as_1000, NULL);
	peer_join(&peer);
	peer = peer_start(open_as_1001, NULL);
	peer_join(&peer);
	need_equal(lh_arena_open(stage_name(), 0, NULL, &arena), -EACCES); // root is no exception
	need_equal(lh_arena_open(stage_name(), LH_ANY_OWNER, NULL, &arena), 0);
	need_equal(lh_arena_close(arena), 0);
	stage_unlink();

	peer = peer_start(make_private, NULL);
	peer_join(&peer);
	peer = peer_start(open_without_permission, NULL);
	peer_join(&peer);
	stage_unlink();
}

// Holders and takers of different users, in one arena: what the kernel forbids (signals, /proc of
// others below hidepid) is not needed to see a death.
static void share(const struct line *line, void *stage_pointer)
{
	struct stage *stage = (struct stage *)stage_pointer;
	static const struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };

	become(1001);
	stage_lease(stage, &process);
	line_say(line, stage_lock(stage, 0));
	line_say(line, 0);
}

static void a_death_is_seen_across_users(void **state)
{
	struct stage stage = stage_open(NULL, 0);
	struct peer holder, taker;

	(void)state;
	holder = peer_start(hold, &stage);
	need_equal(line_hear(&holder.line), 0);
	taker = peer_start(share, &stage);
	stage_await_waiters(&stage, 0, 1);
	peer_kill(&holder);
	need_equal(line_hear(&taker.line), LH_GRANT_OWNER_DIED);
	line_hear(&taker.line);
	peer_join(&taker);
	stage_is_clean(&stage);
	stage_close(&stage);
	stage_unlink();
}

// ---- no creator ----------------------------------------------------------------------------------

static void create_when_told(const struct line *line, void *unused)
{
	lh_arena *arena;

	(void)unused;
	line_say(line, 0);
	line_hear(line);
	need_equal(lh_arena_open("made", LH_CREATE, &small, &arena), 0);
	line_hear(line);
}

static void spin(uint64_t ns)
{
	const uint64_t until = lh_now() + ns;

	while (lh_now() < until)
		;
}

static void kill_creators(const struct line *line, void *seed_pointer)
{
	unsigned seed = *(unsigned *)seed_pointer;
	uint64_t before, whole = 0, none = 0, span = LH_MS(1);

	own_shm("size=64m");
	before = free_blocks();
	for (uint64_t round = tier_pick(80, 300, 3000); round; round--) {
		struct peer creator = peer_start(create_when_told, NULL);
		lh_arena *arena = NULL;
		int error;

		line_hear(&creator.line);
		line_say(&creator.line, 0);
		spin((uint64_t)rand_r(&seed) % span);
		peer_kill(&creator);
		// Either it is whole, or there is nothing.
		error = lh_arena_open("made", 0, NULL, &arena);
		if (error) {
			need_equal(error, -ENOENT);
			need_equal(count_files("/dev/shm"), 0);
			need_equal(free_blocks(), before);
			none++;
			span += span / 8; // look for the moment at which half of them get through
			continue;
		}
		whole++;
		span -= span / 8;
		need_equal(lh_arena_check(arena, NULL, NULL), LH_CHECK_CLEAN);
		if (whole % 16 == 1)
			use_it_all(arena);
		need_equal(lh_arena_close(arena), 0);
		need_equal(lh_arena_unlink("made"), 0);
		need_equal(free_blocks(), before);
	}
	printf("creators killed: %llu before the name, %llu after\n", (unsigned long long)none,
	       (unsigned long long)whole);
	line_say(line, (int64_t)none);
	line_say(line, (int64_t)whole);
}

// "a creator that dies half-way leaves nothing behind"
static void a_creator_killed_at_any_moment_leaves_all_or_nothing(void **state)
{
	const char *text = getenv("LEASEHOLD_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)lh_now();
	struct peer peer;

	(void)state;
	watch("killing creators", 600);
	printf("LEASEHOLD_SEED=%u\n", seed);
	peer = peer_start(kill_creators, &seed);
	need(line_hear(&peer.line) > 0);
	need(line_hear(&peer.line) > 0);
	peer_join(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(a_full_dev_shm_is_enospc_at_creation_and_never_a_fault_later),
		STAGED(a_dev_shm_without_inodes_is_enospc),
		STAGED(an_arena_lies_at_a_path_on_tmpfs),
		STAGED(a_path_that_is_not_on_tmpfs_is_refused),
		STAGED(an_unlinked_arena_is_used_up_and_takes_no_new_leases),
		STAGED(an_object_of_somebody_else_is_refused_unless_asked_for),
		STAGED(a_death_is_seen_across_users),
		STAGED(a_creator_killed_at_any_moment_leaves_all_or_nothing),
	};

	if (geteuid() != 0)
		skip_all("test_os_memory: mounting and changing the user want root");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
