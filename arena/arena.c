// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing. The process keeps one lh_arena for each object and access, however often it
// is opened: the registry finds it by device and inode.
#include "arena/arena.h"

#include "arena/error.h"
#include "arena/geometry.h"
#include "arena/keeper.h"
#include "arena/object.h"
#include "arena/owner.h"
#include "arena/placement_index.h"
#include "arena/process.h"
#include "arena/sys/fence.h"
#include "arena/sys/topology.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME_LASTS_NS CLOCK_NS_PER_MS // how long an answer of the kernel's is good for

// One mutex for the registry; the hash table's readers are its holders.
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cds_lfht *registry;
static uint64_t last_serial;

struct registry_key {
	dev_t device;
	ino_t inode;
	bool read_only;
};

static int matches(struct cds_lfht_node *node, const void *key_pointer)
{
	const struct lh_arena *arena = caa_container_of(node, struct lh_arena, node);
	const struct registry_key *key = key_pointer;

	return arena->device == key->device && arena->inode == key->inode &&
	       arena->read_only == key->read_only;
}

static unsigned long key_hash(const struct registry_key *key)
{
	return (unsigned long)(key->inode * 2654435761u + key->read_only);
}

static struct lh_arena *registry_find(const struct registry_key *key)
{
	struct cds_lfht_iter position;
	struct cds_lfht_node *node;

	cds_lfht_lookup(registry, key_hash(key), matches, key, &position);
	node = cds_lfht_iter_get_node(&position);
	return node ? caa_container_of(node, struct lh_arena, node) : NULL;
}

static void registry_add(struct lh_arena *arena)
{
	const struct registry_key key = { arena->device, arena->inode, arena->read_only };

	arena->serial = ++last_serial;
	cds_lfht_add(registry, key_hash(&key), &arena->node);
}

static int start_library(void)
{
	int error = process_start();

	if (error)
		return error;
	pthread_mutex_lock(&registry_lock);
	if (!registry)
		registry = process_make_table(64);
	pthread_mutex_unlock(&registry_lock);
	return registry ? 0 : error_detail(-ENOMEM, "no memory");
}

// ---------------------------------------------------------------------------------------------
// Mapping

static int map(struct lh_arena *arena, const struct arena_header *header)
{
	const int protection = arena->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *base = mmap(NULL, header->total_size, protection, MAP_SHARED, arena->fd, 0);

	if (base == MAP_FAILED)
		return error_detail(-errno, "cannot map %llu bytes",
				    (unsigned long long)header->total_size);
	arena->base = base;
	geometry_apply(arena, header);
	return 0;
}

// What each process asks for itself; what the kernel refuses is -ENOTSUP.
static int apply_flags(struct lh_arena *arena, uint32_t flags)
{
	if ((flags & LH_ARENA_HUGE_PAGES) && madvise(arena->base, arena->size, MADV_HUGEPAGE) != 0)
		return error_detail(-ENOTSUP, "no transparent huge pages for shared memory");
	if ((flags & LH_ARENA_LOCKED) && mlock(arena->base, arena->size) != 0)
		return error_detail(-ENOTSUP, "cannot lock %llu bytes: raise RLIMIT_MEMLOCK",
				    (unsigned long long)arena->size);
	return 0;
}

static int register_fences(const struct arena_header *header)
{
	if (header->flags & LH_ARENA_PLAIN_FENCES)
		return 0;
	return fence_register() == 0
		       ? 0
		       : error_detail(-ENOTSUP, "membarrier(2) is refused here: the arena must be "
						"created with LH_ARENA_PLAIN_FENCES");
}

static void destroy(struct lh_arena *arena)
{
	if (arena->base && !atomic_load(&arena->pinned))
		munmap(arena->base, arena->size);
	if (arena->fd >= 0)
		close(arena->fd);
	placement_index_free(arena->index);
	free(arena->process_leases);
	free(arena);
}

static struct lh_arena *make(int fd, const struct stat *status, bool read_only)
{
	struct lh_arena *arena = calloc(1, sizeof(*arena));

	if (!arena)
		return NULL;
	arena->fd = fd;
	arena->child_fd = -1;
	arena->read_only = read_only;
	arena->device = status->st_dev;
	arena->inode = status->st_ino;
	arena->references = 1;
	cds_lfht_node_init(&arena->node);
	return arena;
}

static int own_file(struct lh_arena *arena)
{
	const int own = object_reopen(arena->fd, arena->read_only);

	if (own < 0)
		return own;
	close(arena->fd);
	arena->fd = own;
	return 0;
}

// After mapping: what lets this process use it. Closes nothing on failure.
static int attach(struct lh_arena *arena)
{
	int error;

	arena->process_leases = calloc(arena->lease_count + 1u, sizeof(*arena->process_leases));
	arena->index = placement_index_make();
	if (!arena->process_leases || !arena->index)
		return error_detail(-ENOMEM, "no memory");
	error = own_file(arena);
	// A mode that keeps its own creator out: its forked children count as it, then.
	if (!error || error == -EACCES)
		error = object_enter_gate(arena->fd, false);
	if (error)
		return error;
	error = object_attach(arena->fd, arena->read_only, &arena->attach);
	object_leave_gate(arena->fd);
	if (error)
		return error;
	atomic_store(&arena->lease_hint, (uint32_t)getpid() % arena->lease_count);
	atomic_store(&arena->owner_hint, (uint32_t)getpid() % arena->owner_count);
	return 0;
}

// Opens what `path` names. The descriptor is consumed or closed.
static int open_existing(const char *path, int flags, lh_arena **ret_arena)
{
	const bool read_only = (flags & LH_READ_ONLY) != 0;
	struct arena_header header;
	struct stat status;
	struct lh_arena *arena;
	int fd = object_open(path, flags, &status);
	int error;

	if (fd < 0)
		return fd;
	arena = registry_find(&(struct registry_key){ status.st_dev, status.st_ino, read_only });
	if (arena) {
		close(fd);
		error = arena_check_clock(arena);
		if (error)
			return error;
		arena->references++;
		*ret_arena = arena;
		return 0;
	}
	error = geometry_read(fd, (uint64_t)status.st_size, &header);
	if (!error && !read_only)
		error = register_fences(&header);
	arena = error ? NULL : make(fd, &status, read_only);
	if (!arena) {
		close(fd);
		return error ? error : error_detail(-ENOMEM, "no memory");
	}
	error = map(arena, &header);
	if (!error)
		error = attach(arena);
	if (!error && !read_only)
		error = apply_flags(arena, header.flags);
	if (error) {
		destroy(arena);
		return error;
	}
	registry_add(arena);
	*ret_arena = arena;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Creating

static int check_options(const struct lh_arena_options *options)
{
	const unsigned known = GEOMETRY_FLAGS;

	for (size_t i = 0; i < 4; i++) {
		if (options->reserved[i])
			return error_detail(-EINVAL, "arena options: reserved is not 0");
	}
	if (options->flags & ~known)
		return error_detail(-EINVAL, "arena options: unknown flags 0x%x",
				    options->flags & ~known);
	if (options->max_leases > LAYOUT_MAX_LEASES)
		return error_detail(-EINVAL, "max_leases %u: at most %u", options->max_leases,
				    LAYOUT_MAX_LEASES);
	if (options->max_holds > LAYOUT_MAX_HOLDS)
		return error_detail(-EINVAL, "max_holds %u: at most %u", options->max_holds,
				    LAYOUT_MAX_HOLDS);
	if (options->mode & ~(mode_t)0777)
		return error_detail(-EINVAL, "mode 0%o: permission bits only", options->mode);
	return 0;
}

static int initialise(struct lh_arena *arena, const struct arena_header *plan)
{
	struct arena_header *header = arena->header;

	*header = *plan;
	header->creator_uid = geteuid();
	for (uint32_t i = 0; i < arena->owner_count; i++) {
		const int error = owner_entry_init(&arena->owners[i]);

		if (error)
			return error_detail(error, "no robust mutexes here");
	}
	return 0;
}

// Where and how large a page is, is settled when it is reserved, so what asks for that comes before. A page
// of a huge mapping is huge only if it is touched through it: reserving is by the file, which knows no
// mapping. What the touching could not get is reserved after it, or is the error.
static int place_pages(struct lh_arena *arena, const char *path, unsigned flags)
{
	int error = 0;

	if (flags & LH_ARENA_NUMA_INTERLEAVE) {
		error = topology_interleave(arena->base, arena->size);
		if (error)
			error_note("cannot interleave: libhwloc.so.15 or the kernel "
				   "refuses");
	}
	if (!error && (flags & LH_ARENA_HUGE_PAGES) &&
	    madvise(arena->base, arena->size, MADV_HUGEPAGE) == 0 &&
	    ftruncate(arena->fd, (off_t)arena->size) == 0)
		(void)madvise(arena->base, arena->size, MADV_POPULATE_WRITE);
	return error ? error : object_reserve(arena->fd, path, arena->size);
}

static int create(const char *path, const struct lh_arena_options *options, lh_arena **ret_arena)
{
	const bool placed = options->flags & (LH_ARENA_HUGE_PAGES | LH_ARENA_NUMA_INTERLEAVE);
	struct arena_header plan;
	struct stat status;
	struct lh_arena *arena;
	int error = geometry_plan(options, &plan);
	int fd;

	if (!error)
		error = register_fences(&plan);
	if (error)
		return error;
	fd = object_create(path, plan.total_size, options);
	if (fd < 0)
		return fd;
	arena = fstat(fd, &status) == 0 ? make(fd, &status, false) : NULL;
	if (!arena) {
		close(fd);
		return error_detail(-ENOMEM, "no memory");
	}
	error = placed ? 0 : object_reserve(fd, path, plan.total_size);
	if (!error)
		error = map(arena, &plan);
	if (!error && placed)
		error = place_pages(arena, path, options->flags);
	if (!error)
		error = apply_flags(arena, plan.flags);
	if (!error)
		error = initialise(arena, &plan);
	if (!error)
		error = attach(arena);
	if (!error)
		error = object_link(arena->fd, path);
	if (error) {
		destroy(arena);
		return error;
	}
	registry_add(arena);
	*ret_arena = arena;
	return 0;
}

static struct lh_arena_options with_defaults(const struct lh_arena_options *options)
{
	struct lh_arena_options full = options ? *options : (struct lh_arena_options){ .size = 0 };

	if (full.size == 0)
		full.size = 1 << 20;
	if (full.max_leases == 0)
		full.max_leases = 512;
	if (full.max_holds == 0)
		full.max_holds = 64;
	return full;
}

// Opens or creates; another may create or unlink between the two, so it tries again.
static int open_or_create(const char *path, int flags, const struct lh_arena_options *options,
			  lh_arena **ret_arena)
{
	for (;;) {
		int error = flags & LH_EXCL ? -ENOENT : open_existing(path, flags, ret_arena);

		if (error != -ENOENT || !(flags & LH_CREATE))
			return error;
		if (flags & LH_READ_ONLY)
			return error_detail(-EROFS, "%s: a read-only opener creates nothing", path);
		error = create(path, options, ret_arena);
		if (error != -EEXIST || (flags & LH_EXCL))
			return error;
	}
}

int lh_arena_open(const char *name, int flags, const struct lh_arena_options *options,
		  lh_arena **ret_arena)
{
	PROCESS_NO_CANCEL;
	const struct lh_arena_options full = with_defaults(options);
	char path[PATH_MAX];
	int error;

	if (!ret_arena)
		return error_detail(-EINVAL, "ret_arena is NULL");
	if (flags & ~(LH_CREATE | LH_EXCL | LH_READ_ONLY | LH_ANY_OWNER))
		return error_detail(-EINVAL, "unknown flags 0x%x", (unsigned)flags);
	if ((flags & LH_EXCL) && !(flags & LH_CREATE))
		return error_detail(-EINVAL, "LH_EXCL without LH_CREATE");
	error = object_path(name, path);
	if (!error)
		error = check_options(&full);
	if (!error)
		error = start_library();
	if (error)
		return error;
	pthread_mutex_lock(&registry_lock);
	error = open_or_create(path, flags, &full, ret_arena);
	pthread_mutex_unlock(&registry_lock);
	return error;
}

// ---------------------------------------------------------------------------------------------
// Closing, unlinking

// Leases of this process whose owner still lives. Those of ended threads are left to reapers.
static bool has_leases(const struct lh_arena *arena)
{
	for (uint32_t slot = 0; slot < arena->lease_count; slot++) {
		const uint64_t owner = atomic_load(&arena->process_leases[slot]);

		if (owner && atomic_load(&arena->leases[slot].owner) == owner &&
		    !owner_ended(arena, owner))
			return true;
	}
	return false;
}

int lh_arena_close(lh_arena *arena)
{
	PROCESS_NO_CANCEL;
	int error = 0;

	if (!arena)
		return error_detail(-EINVAL, "arena is NULL");
	pthread_mutex_lock(&registry_lock);
	if (arena->references > 1) {
		arena->references--;
	} else if (has_leases(arena)) {
		error = error_detail(-EBUSY, "this process still has leases on the arena");
	} else {
		keeper_forget(arena);
		cds_lfht_del(registry, &arena->node);
		destroy(arena);
	}
	pthread_mutex_unlock(&registry_lock);
	return error;
}

// Has those who have the arena open ask the kernel for its name from now on. Of an object that we
// may not write to they find out later, by themselves; what is no arena is nobody's.
static void cast_doubt_on_name(const char *path)
{
	const uint32_t doubtful = 1;
	struct arena_header header;
	struct stat status;
	const int fd = object_open(path, LH_ANY_OWNER, &status);

	if (fd < 0)
		return;
	if (!geometry_read(fd, (uint64_t)status.st_size, &header)) {
		const ssize_t written = pwrite(fd, &doubtful, sizeof(doubtful),
					       offsetof(struct arena_header, name_doubtful));

		(void)written; // as above
	}
	close(fd);
}

int lh_arena_unlink(const char *name)
{
	PROCESS_NO_CANCEL;
	char path[PATH_MAX];
	const int error = object_path(name, path);

	if (error)
		return error;
	cast_doubt_on_name(path);
	if (unlink(path) == 0) {
		error_note_nothing();
		return 0;
	}
	return error_detail(errno == EISDIR ? -EACCES : object_error(errno), "%s: %s", path,
			    strerror(errno));
}

int arena_check_name(struct lh_arena *arena, uint64_t now)
{
	struct stat status;

	if (now - atomic_load_explicit(&arena->named_ns, memory_order_relaxed) < NAME_LASTS_NS &&
	    !atomic_load_explicit(&arena->header->name_doubtful, memory_order_acquire))
		return 0;
	if (fstat(arena->fd, &status) != 0)
		return error_detail(-errno, "the arena's descriptor was closed by somebody");
	if (!status.st_nlink)
		return error_detail(-ESTALE, "the arena was unlinked: open it anew");
	atomic_store_explicit(&arena->named_ns, now, memory_order_relaxed);
	return 0;
}

int arena_check_clock(const struct lh_arena *arena)
{
	if (arena->header->time_namespace == process_clock()->time_namespace)
		return 0;
	return error_detail(-EPROTONOSUPPORT,
			    "the arena was opened in another time namespace than this process's");
}

bool arena_attached(const struct lh_arena *arena, uint32_t attach_byte)
{
	return attach_byte == arena->attach || object_attached(arena->fd, attach_byte);
}

bool arena_shared(const struct lh_arena *arena)
{
	return object_shared(arena->fd);
}

// ---------------------------------------------------------------------------------------------
// What the user's space is

uint64_t lh_arena_first_offset(const lh_arena *arena)
{
	return arena ? arena->user_offset : 0;
}

uint64_t lh_arena_end_offset(const lh_arena *arena)
{
	return arena ? arena->user_end : 0;
}

void *lh_arena_range(const lh_arena *arena, uint64_t offset, size_t size)
{
	if (!arena || offset < arena->user_offset || offset > arena->user_end ||
	    arena->user_end - offset < size)
		return NULL;
	return arena->base + offset;
}

// ---------------------------------------------------------------------------------------------
// Fork

static void forget_child(struct lh_arena *arena)
{
	if (arena->child_fd >= 0)
		close(arena->child_fd);
	arena->child_fd = -1;
}

// The child gets an open file of its own, so that its parent's attach lock ends with the parent;
// from before the fork, so that there is no moment at which the child is not seen. Without /proc or
// descriptors it shares the parent's: then the parent counts as attached for as long as the child
// lives, and what waits for the parent's end waits for both.
static void prepare_child(struct lh_arena *arena)
{
	arena->child_fd = object_reopen(arena->fd, arena->read_only);
	if (arena->child_fd >= 0 &&
	    object_attach(arena->child_fd, arena->read_only, &arena->child_attach) != 0)
		forget_child(arena);
}

static void become_child(struct lh_arena *arena)
{
	struct stat status;

	for (uint32_t slot = 0; slot < arena->lease_count; slot++)
		atomic_store_explicit(&arena->process_leases[slot], 0, memory_order_relaxed);
	if (arena->child_fd < 0)
		return;
	// Unless the program has closed our descriptor by mistake, and the number is another
	// file's.
	if (fstat(arena->fd, &status) == 0 && status.st_dev == arena->device &&
	    status.st_ino == arena->inode)
		close(arena->fd);
	arena->fd = arena->child_fd;
	arena->attach = arena->child_attach;
	arena->child_fd = -1;
}

static void for_each_arena(void (*function)(struct lh_arena *arena))
{
	struct cds_lfht_iter position;
	struct cds_lfht_node *entry;

	if (!registry)
		return;
	cds_lfht_for_each(registry, &position, entry)
	{
		function(caa_container_of(entry, struct lh_arena, node));
	}
}

void arena_before_fork(void)
{
	const int before = errno;

	pthread_mutex_lock(&registry_lock);
	for_each_arena(prepare_child);
	errno = before;
}

void arena_after_fork_in_parent(void)
{
	for_each_arena(forget_child);
	pthread_mutex_unlock(&registry_lock);
}

void arena_after_fork(void)
{
	registry_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	fence_register();
	for_each_arena(become_child);
}
