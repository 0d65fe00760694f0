// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_ARENA_H
#define LEASEHOLD_ARENA_H

/*
 * Arenas: named pieces of shared memory in which everything else lives.
 *
 * An arena is created once with a fixed size, mapped by every process that opens it, wherever its
 * address space has room. So places are given as offsets from the arena's start, never as pointers.
 * Offsets are multiples of 64. The user's space runs from lh_arena_first_offset to
 * lh_arena_end_offset; the library's tables lie outside it and come on top of the size asked for.
 * All pages are reserved at creation: later use cannot fail for lack of memory.
 *
 * Placements divide the user's space: a region (raw memory for the user) or a primitive. All
 * cooperating processes run the same line, lh_…_at: the first one creates, the others attach to
 * an equal one. Equal means the same kind, name and options as created, after defaults were filled
 * in; a different one there, or one that overlaps, is -EEXIST. With LH_ANYWHERE the library picks
 * the place: a placement of that name, if there is one, is attached to; without a name each call
 * makes a new one. Names are at most 47 bytes and unique in the arena.
 *
 * Who may write an arena is trusted not to be malicious (it can deny service and spoil data), but
 * whatever bytes it holds, opening and inspecting it neither crashes nor hangs.
 *
 * Example: a counter table that all processes share.
 *
 *	#include <leasehold/arena.h>
 *
 *	int open_counters(lh_arena **ret_arena, uint64_t **ret_counters)
 *	{
 *		const struct lh_arena_options options = { .size = 1 << 20, .mode = 0660 };
 *		const size_t size = 1024 * sizeof(uint64_t);
 *		lh_arena *arena;
 *		uint64_t offset;
 *		int error = lh_arena_open("counters", LH_CREATE, &options, &arena);
 *
 *		if (error)
 *			return error;
 *		error = lh_region_at(arena, LH_ANYWHERE, size, "table", &offset);
 *		if (error) {
 *			lh_arena_close(arena);
 *			return error;
 *		}
 *		*ret_arena = arena;
 *		*ret_counters = (uint64_t *)lh_arena_range(arena, offset, size);
 *		return 0;
 *	}
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <leasehold/api.h>

LH_BEGIN_DECLS

typedef struct lh_arena lh_arena;

/* lh_arena_open */
enum {
	LH_CREATE = 1,    /* create it if there is none */
	LH_EXCL = 2,      /* with LH_CREATE: -EEXIST if there is one */
	LH_READ_ONLY = 4, /* map for reading: inspect, and read what needs no lease */
	LH_ANY_OWNER = 8  /* accept an object that belongs to neither the caller nor root */
};

/* An offset: the library's choice. */
#define LH_ANYWHERE UINT64_MAX

/* lh_arena_options.flags; what the kernel refuses makes lh_arena_open fail with -ENOTSUP. */
enum {
	LH_ARENA_HUGE_PAGES = 1,      /* ask for transparent huge pages */
	LH_ARENA_LOCKED = 2,          /* lock it in memory (mlock) */
	LH_ARENA_NUMA_INTERLEAVE = 4, /* spread its pages over all NUMA nodes; loads hwloc */
	LH_ARENA_PLAIN_FENCES = 8     /* for users that cannot have membarrier(2): slower locks */
};

/* For creation; all zero is the default. An arena that is there already is opened as it is. */
struct lh_arena_options {
	size_t size;          /* bytes for the user; 0: 1 MiB. Arenas never grow. */
	uint32_t max_leases;  /* at a time; 0: 512; at most 8192 */
	uint32_t max_holds;   /* objects one lease can hold or wait for; 0: 64; at most 1024 */
	mode_t mode;          /* permission bits, set exactly, whatever the umask; 0: 0600 */
	gid_t group;          /* group of the object; 0: the creator's */
	unsigned flags;       /* LH_ARENA_… */
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_arena_options) == 64,
		 "lh_arena_options is part of the ABI");

/*
 * Opens the arena called name. "name" and "/name" are POSIX shared memory (shm_open(3)); a name
 * with a further slash is the path of a file, which must lie on tmpfs. A user's POSIX shared memory
 * may be deleted at logout (RemoveIPC in logind.conf(5)); a path is not.
 * flags: LH_CREATE, LH_EXCL, LH_READ_ONLY, LH_ANY_OWNER or 0. options (NULL: default) matter only
 * if this call creates. A new arena is built without a name and named last, so that nobody finds a
 * half-made one. Each open wants its own lh_arena_close. The arena may be used by all threads and
 * stays usable in a forked child; exec drops it.
 * LH_READ_ONLY never creates: with LH_CREATE and nothing there, or with LH_EXCL, it is -EROFS.
 * Errors:
 *   -EINVAL           name empty, too long or unusable; unknown flag; LH_EXCL without LH_CREATE; an
 *                     option out of range; reserved not 0
 *   -ENOENT, -EEXIST  none there and no LH_CREATE; one there and LH_CREATE | LH_EXCL
 *   -EACCES           no permission, or an unexpected owner without LH_ANY_OWNER
 *   -EROFS            see above
 *   -EBUSY            another process has been removing a placement for ten seconds: it is stopped
 *   -EBADMSG          the object is no arena, is damaged, or is shorter than it claims
 *   -EPROTONOSUPPORT  it was made by another layout version, word size or byte order, in another
 *                     boot, or in a time namespace whose clock differs
 *   -ENOTSUP          a flag, a needed system call or a file system that this system does not have
 *   -ENOSPC, -ENOMEM, -EMFILE, -ENFILE   no room for it, or for another mapping or descriptor
 *   -EUSERS           as many processes have it open as it has entries for
 * Order: all that its creator wrote before naming it is visible (acquire).
 * Crash: nothing, or a complete arena; an attached process that dies is detached by the kernel.
 * Signal: unsafe.
 */
LH_API int lh_arena_open(const char *name, int flags, const struct lh_arena_options *options,
			 lh_arena **ret_arena);

/*
 * Gives one open back; with the last one of this process the memory is unmapped, and pointers into
 * it and handles made from it are void. The arena itself stays until lh_arena_unlink.
 * Errors: -EBUSY: this process still has leases on it, thread leases and lost ones that were not
 * released included, save those of ended threads; nothing is changed. -EINVAL.
 * Crash: as if closed.
 * Signal: unsafe.
 */
LH_API int lh_arena_close(lh_arena *arena);

/*
 * Takes the arena's name away; the memory goes when the last process has closed it. Those who have
 * it open go on using and releasing what they have, but get no new lease on it (-ESTALE), so that
 * they cannot meet those who create a new arena of that name: none from the return of this call on,
 * or, if the caller may not write to the arena, it lies on hugetlbfs, or the name goes by another
 * way (unlink(2), rm(1)), a millisecond later. Errors: -ENOENT; -EACCES; -EINVAL: as in
 * lh_arena_open. Crash: unlinked or not. Signal: unsafe.
 */
LH_API int lh_arena_unlink(const char *name);

/* Offset of the first byte of the user's space; 0 for NULL. Signal: safe. */
LH_API uint64_t lh_arena_first_offset(const lh_arena *arena);

/* Offset just after the last byte of the user's space; 0 for NULL. Signal: safe. */
LH_API uint64_t lh_arena_end_offset(const lh_arena *arena);

/*
 * Where offset is mapped in this process, or NULL unless all size bytes from there lie in the
 * user's space. Any offset and size may be asked, those read from untrusted bytes too. It says
 * nothing about what is placed there. In a read-only arena writing through the pointer is a fault.
 * Signal: safe.
 */
LH_API void *lh_arena_range(const lh_arena *arena, uint64_t offset, size_t size);

/*
 * Places a region of size bytes, zeroed when created, at offset (or LH_ANYWHERE), or attaches to
 * the equal one there. name may be NULL. Nobody owns a region: it stays until lh_remove. (Memory
 * that dies with its holder: lh_region_acquire.) In a read-only arena it only attaches.
 * Errors:
 *   -EINVAL   offset not a multiple of 64 or outside the user's space; size 0; name empty or beyond
 *             47 bytes
 *   -EEXIST   a different or overlapping placement is there, or the name is taken by another
 *   -ENOSPC   no gap, or no directory entry, is left for it
 *   -EROFS    the arena is read-only and there is nothing to attach to
 *   -EBUSY    the arena is read-only, and the placement is only just being made
 *   -ETIMEDOUT  another process is stopped in the middle of making this placement, or one in its
 *             way
 *   -ENOLCK   too many threads without a lease are placing at this moment
 *   -ENOMEM   no memory
 *   -EBADMSG  the directory is damaged
 * Order: the creator's zeroes are visible to all who attach (acquire).
 * Crash: placed, or not; a half-made placement is finished or undone by the next call that meets
 * it.
 * Signal: unsafe.
 */
LH_API int lh_region_at(lh_arena *arena, uint64_t offset, size_t size, const char *name,
			uint64_t *ret_offset);

/*
 * The offset of the placement called name, of whatever kind.
 * Errors: -ENOENT: none, or it is only just being placed; -EINVAL: name NULL, empty or beyond 47
 * bytes; -EBADMSG: the directory is damaged.
 * Order: what was written before the placement was made is visible (acquire).
 * Signal: unsafe.
 */
LH_API int lh_find(const lh_arena *arena, const char *name, uint64_t *ret_offset);

/*
 * Removes the placement that begins at offset, a region or a primitive; its space may be placed
 * anew. Handles and pointers to it must not be used any more, in this process either.
 * Errors: -ENOENT: none begins there; -EBUSY: another process, or this one read-only, has the arena
 * open or is opening it, or another thread is in lh_remove with this arena, or somebody holds it or
 * waits for it (leased memory counts as held); -EROFS; -EBADMSG; -EINVAL. Crash: removed or not.
 * Signal: unsafe.
 */
LH_API int lh_remove(lh_arena *arena, uint64_t offset);

LH_END_DECLS

#endif
