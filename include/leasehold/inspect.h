// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_INSPECT_H
#define LEASEHOLD_INSPECT_H

/*
 * Looking into an arena: what is placed, who has leases, who holds and waits for what, what was
 * recovered.
 *
 * These calls take no lock, write nothing and work on a read-only arena, be it busy, deserted or
 * damaged. In return what they tell is a series of glimpses: each entry is consistent in itself,
 * two entries need not be of the same moment. An entry that changes too fast to be copied whole, or
 * that is not what the library writes, is passed over; lh_arena_check tells of the damage. Only if
 * somebody shortens the object while it is open, who touches what is gone gets SIGBUS.
 *
 * Walks: start a cursor at 0 and call until -ENOENT. A cursor is a plain number with no meaning to
 * the caller and nothing to free. What comes or goes during a walk may be seen or not; nothing
 * is seen twice in the same walk, unless it went and came again.
 *
 * Units: times are CLOCK_MONOTONIC nanoseconds (lh_now), offsets are the arena's. The char arrays
 * end in a NUL and hold nothing but printable ASCII before it: other bytes are shown as '?'.
 *
 * Example: who holds what?
 *
 *	#include <inttypes.h>
 *	#include <leasehold/inspect.h>
 *	#include <stdio.h>
 *
 *	void print_holds(const lh_arena *arena)
 *	{
 *		struct lh_hold_info hold;
 *		uint64_t cursor = 0;
 *
 *		while (lh_next_hold(arena, &cursor, &hold) == 0)
 *			printf("lease %" PRIu64 ": %s at %" PRIu64 ", %s\n", hold.lease,
 *			       lh_kind_name(hold.kind), hold.offset, lh_hold_mode_name(hold.mode));
 *	}
 */

#include <stdint.h>

#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/lease.h>

LH_BEGIN_DECLS

/* What a placement is. */
enum lh_kind {
	LH_KIND_NONE,
	LH_KIND_REGION,
	LH_KIND_MUTEX,
	LH_KIND_RWLOCK,
	LH_KIND_SEMAPHORE,
	LH_KIND_BARRIER,
	LH_KIND_CONDVAR,
	LH_KIND_ONCE,
	LH_KIND_WATCH,
	LH_KIND_CELL
};

/* How far a placement is. */
enum lh_placement_state {
	LH_PLACEMENT_READY,
	LH_PLACEMENT_PLACING,  /* somebody is at it */
	LH_PLACEMENT_ABANDONED /* left half-placed by the dead */
};

/* What a lease is at this moment, whether or not somebody has latched it yet. */
enum lh_lease_state {
	LH_LEASE_LIVE = 1, /* good */
	LH_LEASE_EXPIRED,  /* its expiry has passed; the owner may still run */
	LH_LEASE_DEAD,     /* its owner has ended; what it held is free or about to be */
	LH_LEASE_STARTING  /* its slot is being set up or torn down */
};

/* How an object is held. */
enum lh_hold_mode {
	LH_HOLD_INTENT,        /* not yet or no more: its record precedes and outlasts a holding */
	LH_HOLD_EXCLUSIVE,     /* mutexes, writers, and all else that has one owner */
	LH_HOLD_SHARED,        /* readers */
	LH_HOLD_REGION,        /* leased memory */
	LH_HOLD_INTENT_SHARED, /* named locks: LH_INTENT_SHARED, */
	LH_HOLD_INTENT_EXCLUSIVE, /* LH_INTENT_EXCLUSIVE, */
	LH_HOLD_PERMIT            /* and one of max_holders */
};

/* What lh_object_info.flags say. */
enum {
	LH_OBJECT_DAMAGED = 1, /* a holder was lost, and nobody has declared it consistent since */
	LH_OBJECT_BROKEN = 2,  /* a barrier: a party was lost; until lh_barrier_reset */
	LH_OBJECT_DONE = 4     /* a once: its value is there */
};

/* What happened. */
enum lh_event_kind {
	LH_EVENT_OWNER_DIED = 1,  /* an owner had ended: its lease, or an object it held, freed */
	LH_EVENT_EXPIRED,         /* a lease had expired: it, or an object it held, was taken */
	LH_EVENT_REGION_RETURNED, /* leased memory of a lost lease was given back */
	LH_EVENT_DEADLOCK,        /* a lease was told -EDEADLK to break a cycle */
	LH_EVENT_KILLED,          /* an owner was killed by LH_LEASE_KILL_ON_EXPIRY */
	LH_EVENT_CORRUPT,         /* damage was met */
	LH_EVENT_BROKEN,          /* by hand, see repair.h: a lease was ended, */
	LH_EVENT_SWEPT,           /* what lost leases left was cleared up behind, */
	LH_EVENT_REMOVED          /* a placement (offset), or the arena's name (0), was removed */
};

/* How bad a finding of lh_arena_check is; the worse, the higher. */
enum lh_check {
	LH_CHECK_CLEAN = 0,    /* nothing */
	LH_CHECK_STALE = 3,    /* a lost lease stands in the tables: the next user clears it */
	LH_CHECK_DEADLOCK = 4, /* leases wait for each other in a cycle, each for the one owner of
				* what it wants: what the library breaks by -EDEADLK */
	LH_CHECK_CORRUPT = 5   /* bytes that the library does not write */
};

struct lh_placement_info {
	uint64_t offset;      /* where it begins */
	uint64_t size;        /* bytes it takes */
	uint32_t kind;        /* enum lh_kind */
	uint32_t count;       /* elements, permits, parties or slots, by kind; 0: a single thing */
	uint64_t data_size;   /* bytes of data of each element */
	uint64_t lease;       /* leased memory: id of the lease that holds it; else 0 */
	uint32_t flags;       /* as created, LH_NO_REPAIR for one */
	uint32_t state;       /* enum lh_placement_state */
	char name[48];        /* "" without name */
	uint64_t reserved[8]; /* 0 */
};

struct lh_lease_info {
	uint64_t id;             /* lh_lease_id */
	uint32_t slot;           /* its place in the lease table; used again after it */
	uint32_t state;          /* enum lh_lease_state */
	uint32_t flags;          /* LH_LEASE_AUTO_RENEW and the other flags of lease.h */
	int32_t pid;             /* of the owner, as in its own pid namespace */
	int32_t tid;             /* the owning thread; equal to pid for a process lease */
	uint32_t holds;          /* how many records lh_next_hold shows of it */
	uint64_t pid_namespace;  /* inode of the owner's pid namespace, see namespaces(7) */
	uint64_t start_time;     /* of the owner, in clock ticks since boot, see proc(5) */
	uint64_t acquired_ns;    /* when it was acquired */
	uint64_t expires_ns;     /* when it expires or did; UINT64_MAX without TTL */
	uint64_t waits_for;      /* offset of the object that it waits for; 0: none */
	uint64_t waits_since_ns; /* when that wait began; 0: it does not wait */
	char command[16];        /* the owner's comm when the lease was acquired */
	char label[32];          /* the options' label; "" without */
	uint64_t
		session; /* different for each thread: which one waits with the lease, or else which
				 * is to let go of what it holds, for lack of others maybe; 0: any,
				 * or none */
	uint64_t reserved[8]; /* 0 */
};

struct lh_hold_info {
	uint64_t lease;       /* id of the lease that holds */
	uint32_t slot;        /* and its slot */
	uint32_t kind;        /* enum lh_kind, of the object */
	uint32_t mode;        /* enum lh_hold_mode */
	uint32_t count;       /* how often (nested reads) or how many (permits; of an intent: how
			       * many are wanted); else 1 */
	uint64_t offset;      /* of the object; in an array: of the element */
	uint64_t placement;   /* offset of the placement that the object belongs to */
	uint64_t token;       /* the object's present token; 0 where it has none */
	uint64_t since_ns;    /* when it was granted, of what its lease waited for last, a mutex or
			       * to write; else 0: no clock was read */
	uint32_t damaged;     /* 1: the object waits to be declared consistent */
	uint32_t index;       /* of the element in its array, from 0 */
	uint64_t reserved[8]; /* 0 */
};

/* One object, held or not. */
struct lh_object_info {
	uint64_t offset;  /* of the object; in an array: of the element */
	uint32_t kind;    /* enum lh_kind */
	uint32_t index;   /* of the element in its array, from 0 */
	uint64_t token;   /* of the newest grant; barrier: phases completed; 0 where it has none */
	uint64_t version; /* watch, cell: of the newest value; else 0 */
	uint64_t
		data_offset; /* where its data stands: of watch, cell and once the newest value; 0: none */
	uint64_t data_size; /* bytes of that */
	uint64_t owner;     /* id of the lease that has it alone, or of a watch's sender; 0: none */
	uint64_t lost;      /* id of the last holder that was lost; 0: none */
	uint32_t limit;     /* semaphore: permits that may be held; barrier: parties; else 0 */
	uint32_t used;      /* how many of them are held, or have joined */
	uint32_t flags;     /* LH_OBJECT_… */
	uint32_t pad;       /* 0 */
	uint64_t reserved[8]; /* 0 */
};

struct lh_event_info {
	uint64_t sequence;    /* counts the arena's events from 1; gaps: overwritten */
	uint64_t time_ns;     /* when it was recorded */
	uint32_t kind;        /* enum lh_event_kind */
	int32_t pid;          /* of the lost owner, as in its own pid namespace */
	int32_t tid;          /* and its thread */
	int32_t by_pid;       /* who recorded it, as in that one's own pid namespace */
	uint64_t lease;       /* id of the lost lease */
	uint64_t offset;      /* of the object; 0: the lease itself */
	uint64_t token;       /* of the lost grant; 0 where there is none */
	char command[16];     /* the lost owner's comm */
	uint64_t reserved[8]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(struct lh_placement_info) == 160, "lh_placement_info is part of the ABI");
LH_STATIC_ASSERT(sizeof(struct lh_lease_info) == 200, "lh_lease_info is part of the ABI");
LH_STATIC_ASSERT(sizeof(struct lh_hold_info) == 128, "lh_hold_info is part of the ABI");
LH_STATIC_ASSERT(sizeof(struct lh_object_info) == 144, "lh_object_info is part of the ABI");
LH_STATIC_ASSERT(sizeof(struct lh_event_info) == 136, "lh_event_info is part of the ABI");

/*
 * The next placement, regions and leased memory included, in no promised order.
 * Errors: -ENOENT: no more; -EINVAL: NULL.
 * Order: a placement shown as ready was complete before (acquire). Signal: unsafe.
 */
LH_API int lh_next_placement(const lh_arena *arena, uint64_t *cursor,
			     struct lh_placement_info *ret_info);

/*
 * What the object number index of a placement says at this moment, whether or not anybody holds it:
 * placement as lh_next_placement gave it, index 0 for what is no array. Readers are told by
 * lh_next_hold alone. A region says no more than its place.
 * Errors: -ENOENT: the placement is not ready, or has no such element; -EBADMSG: what stands there
 * is not what the placement says, or does not lie in the user's space; -EINVAL: NULL. Order: none;
 * what is read of data found so may be written at the same time. Signal: unsafe.
 */
LH_API int lh_inspect_object(const lh_arena *arena, const struct lh_placement_info *placement,
			     uint32_t index, struct lh_object_info *ret_info);

/*
 * The next lease, lost ones whose slot is not yet cleared included. Whether an owner lives is
 * judged by its futex and the state by the clock; nothing is latched.
 * Errors: -ENOENT: no more; -EINVAL: NULL.
 * Signal: unsafe.
 */
LH_API int lh_next_lease(const lh_arena *arena, uint64_t *cursor, struct lh_lease_info *ret_info);

/*
 * The next record of something held, lease by lease. A record goes by the object: LH_HOLD_EXCLUSIVE
 * only if the object names that lease as its owner.
 * Errors: -ENOENT: no more; -EINVAL: NULL.
 * Signal: unsafe.
 */
LH_API int lh_next_hold(const lh_arena *arena, uint64_t *cursor, struct lh_hold_info *ret_info);

/*
 * The next event, oldest first. The arena keeps a fixed number of the newest. A cursor at its end
 * may be kept and asked again later: it goes on with what has come since.
 * Errors: -ENOENT: no more for now; -EINVAL: NULL.
 * Signal: unsafe.
 */
LH_API int lh_next_event(const lh_arena *arena, uint64_t *cursor, struct lh_event_info *ret_info);

/*
 * Audits the whole arena: header, placements, leases, holdings against the objects they name, and
 * who waits for whom. What it takes is bounded by the arena's size, whatever stands in there: after a
 * thousand findings of LH_CHECK_CORRUPT no more of these are looked for. Waits for permits and at
 * barriers are no part of the cycles that it looks for (lease-inspector's check looks for those,
 * too). Calls report (may be NULL) for each finding, on the calling thread: context
 * as given, severity one of enum lh_check, the offset in the arena that it is about, and a line of
 * text that is valid during the call. Repairs nothing. In a busy arena a lease that is just being
 * lost may show as LH_CHECK_STALE.
 * Returns the highest severity found, or -EINVAL: arena is NULL.
 * Signal: unsafe.
 */
LH_API int lh_arena_check(const lh_arena *arena,
			  void (*report)(void *context, int severity, uint64_t offset,
					 const char *text),
			  void *context);

/*
 * The lower-case word for a value of enum lh_kind, enum lh_lease_state, enum lh_hold_mode or enum
 * lh_event_kind; "?" for any other number, never NULL, constant. Signal: safe.
 */
LH_API const char *lh_kind_name(uint32_t kind);
LH_API const char *lh_lease_state_name(uint32_t state);
LH_API const char *lh_hold_mode_name(uint32_t mode);
LH_API const char *lh_event_kind_name(uint32_t kind);

LH_END_DECLS

#endif
