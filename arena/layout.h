// SPDX-License-Identifier: Apache-2.0
//
// layout.h: every byte that stands in shared memory.
//
// An arena is one object:
//
//	header | owner entries | lease slots | hold tables | directory | event ring | user's space
//
// Nothing here is a pointer that the library follows. Places are *granules* (64 bytes): a 32-bit
// granule number names an offset, 0 names none (granule 0 is the header). Whoever opens the arena
// checks the header once and keeps a private copy of its geometry; every index or granule read
// later is checked against that copy before it is used. The one exception is the list link inside
// a live liveness mutex, which libc follows (see owner.c).
//
// Each field says who writes it, who reads it and what protects it.
#ifndef ARENA_LAYOUT_H
#define ARENA_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_MAGIC 0x646c6f686573656cULL /* "leasehld" in a little-endian dump */
#define LAYOUT_VERSION 3u
#define LAYOUT_LINE 64u /* cache line and granule */
#define LAYOUT_PAGE 4096u
#define LAYOUT_MAX_LEASES 8192u
#define LAYOUT_EXTRA_OWNERS 256u /* for threads that place and have no lease */
#define LAYOUT_MAX_HOLDS 1024u
#define LAYOUT_MAX_ENTRIES 65536u
#define LAYOUT_NAME_SIZE 48u
#define LAYOUT_LABEL_SIZE 32u
#define LAYOUT_COMMAND_SIZE 16u
#define LAYOUT_EVENTS 256u
#define LAYOUT_MAX_PERMITS 65535u
#define LAYOUT_MAX_PARTIES 8192u
#define LAYOUT_MAX_SIZE (UINT64_C(1) << 38) /* what 32-bit granules reach */

typedef _Atomic uint64_t shared_u64;
typedef _Atomic uint32_t shared_u32;

// ---------------------------------------------------------------------------------------------
// Header. Written by the creator before the object has a name; constant afterwards, save the
// last three fields.
struct arena_header {
	uint64_t magic;
	uint32_t version;
	uint32_t shape;       /* hash of word size, byte order, line and struct sizes */
	uint64_t total_size;  /* of the object */
	uint64_t user_offset; /* the user's space: [user_offset, user_offset + user_size) */
	uint64_t user_size;
	uint32_t max_leases; /* lease slots */
	uint32_t max_holds;  /* records of each hold table, a multiple of HOLDS_PER_LINE */
	uint32_t owners;     /* owner entries */
	uint32_t entries;    /* directory entries */
	uint32_t flags;      /* LH_ARENA_… as created */
	uint32_t events;     /* records of the event ring */
	uint64_t owners_offset;
	uint64_t leases_offset;
	uint64_t holds_offset;
	uint64_t entries_offset;
	uint64_t events_offset;
	uint8_t boot_id[16]; /* CLOCK_MONOTONIC starts again at boot */
	uint64_t
		time_namespace; /* inode of /proc/self/ns/time: its offset shifts CLOCK_MONOTONIC */
	uint64_t created_ns;
	uint32_t creator_uid;
	shared_u32 name_doubtful; /* not 0: somebody was about to unlink the arena; grows only */
	// directory entries from here on were never used; grows only, before an entry beyond it is
	// used
	_Alignas(64) shared_u32 entry_bound;
	_Alignas(64) shared_u64 event_head; /* number of event records ever claimed; fetch_add */
};

// ---------------------------------------------------------------------------------------------
// Owner entry: a thread (or a process, through its keeper thread) that has leases here.
//
// Alive means: the generation is the one asked for and `liveness` is locked by a living thread.
// The kernel writes FUTEX_OWNER_DIED into the mutex's futex word when its holder ends (robust
// futexes, Documentation/locking/robust-futexes.rst); whoever finds the word unlocked or so marked
// may claim the entry, after reaping what its generation left (owner.c).
struct owner_entry {
	pthread_mutex_t
		liveness; /* locked by the owner, freed by the kernel; process-shared, robust */
	_Alignas(64) shared_u64 generation; /* written by who has locked `liveness`, read by all */
	shared_u32 pid; /* of the owner, in its own pid namespace; these fields are written */
	shared_u32 tid; /* after the generation and before any lease names the owner */
	shared_u64 start_time;        /* of the process, clock ticks since boot */
	shared_u64 thread_start_time; /* of the thread */
	shared_u64 pid_namespace;     /* inode of /proc/self/ns/pid */
	shared_u32 attach;            /* which byte of the attach range its process has locked */
	shared_u32 kind;              /* enum owner_kind */
	uint8_t command
		[LAYOUT_COMMAND_SIZE]; /* written like pid; bytes, so a torn one does no harm */
};

enum owner_kind { OWNER_THREAD = 0, OWNER_PROCESS = 1 };

// {entry index, generation}: names one owner for ever. 0 names none: generations start at 1.
#define OWNER_INDEX_BITS 16
static inline uint64_t owner_ref(uint32_t index, uint64_t generation)
{
	return generation << OWNER_INDEX_BITS | index;
}
static inline uint32_t owner_ref_index(uint64_t ref)
{
	return (uint32_t)(ref & ((1u << OWNER_INDEX_BITS) - 1));
}
static inline uint64_t owner_ref_generation(uint64_t ref)
{
	return ref >> OWNER_INDEX_BITS;
}

// ---------------------------------------------------------------------------------------------
// Lease slot.
//
// A slot belongs to whoever CASed its reference into `owner` (0 → ref); `state` then goes
// FREE → LIVE → (EXPIRED →) (DEAD →) FREE and `owner` back to 0, each by CAS of an exact value.
//
//	63..62  state
//	61      TTL: the lease has an expiry
//	        without it:  60..0   incarnation
//	        with it:     60..21  expiry, ms of CLOCK_MONOTONIC, rounded up;  20..0 incarnation
//
// A wrong state would be fatal (a living owner's locks are taken, or a dead one's never), a wrong
// incarnation too (a stalled reaper would take the next tenant for the lost one).
struct lease_slot {
	shared_u64 state;
	shared_u64 owner; /* owner_ref; 0: the slot is nobody's */
	shared_u64 id;    /* incarnation << 14 | slot; written by the claimer before LIVE */
	shared_u64 edge; /* what it waits for: EDGE_…; the low half is the futex it is poked by */
	shared_u64 waiting_since; /* ns; written by the owner before `edge` */
	shared_u32 turn;        /* counts what it queued for and left: who waits behind it sleeps on
				 * this; never reset, whoever has the slot (src/mutex_wait.c) */
	shared_u32 probe_lines; /* lines of the hold table that an insertion may have needed */
	shared_u32 departures; /* DEPARTURES_…: counts what it let go, for those who wait for that;
				 * by its user and by reapers; never reset */
	shared_u32 flags;      /* LH_LEASE_…; written like id */
	shared_u64 acquired_ns; /* written like id */
	// second line: seldom read
	shared_u64 ttl_ns;
	uint8_t label[LAYOUT_LABEL_SIZE]; /* written like id */
	shared_u64
		condition; /* CONDITION_…: the condvar it waits for; the low half is the futex its
			       * user sleeps on; written by its user, marked by who signals,
			       * cleared by its user or who clears up behind it */
	shared_u32 ticket; /* its place among those who wait there; written by its user, read by
			    * all once CONDITION_QUEUED is set */
	shared_u32
		granted; /* hold_grant_key of the exclusive grant that it waited for last; 0 while
			     * `granted_ns` is written; both by its user, for those who look */
	shared_u64 granted_ns;
	// third line: read by who looks for a cycle
	shared_u64
		session; /* a number that one thread has (process_session): while the lease waits, of
			      * the thread that does; else of the one that will let go of what it
			      * holds, 0: any may, or nobody need. Stored by its user before it
			      * holds anything and before `edge`; read by who looks for a cycle.
			      * Wrongly 0: a cycle is not seen. Wrongly another's: fatal, one
			      * without a cycle is told
			      * of one. SESSION_… are its lowest bits */
	// Which locks were let go, of those that the lease waits for on behalf of others: bits set
	// by who pokes it, before `departures`; taken by its user after DEPARTURES_AWAITED was set.
	// Wrongly set: a look for nothing. Wrongly clear: that one is looked at late (at the
	// backstop).
	shared_u64 poked;
	uint64_t reserved[6];
};

// session of what is held: nobody said that its thread will let go of it, so another may while
// there is one. Wrongly not set: fatal, as above; wrongly set: a cycle is not seen.
#define SESSION_UNSAID UINT64_C(1)
// session of a wait: its thread is the only one of its process, until it has ended. Wrongly set:
// fatal; wrongly not set: a cycle is not seen.
#define SESSION_ALONE UINT64_C(2)
#define SESSION_FLAGS (SESSION_UNSAID | SESSION_ALONE)

enum lease_state { LEASE_FREE = 0, LEASE_LIVE = 1, LEASE_EXPIRED = 2, LEASE_DEAD = 3 };

#define LEASE_STATE_SHIFT 62
#define LEASE_TTL_BIT (UINT64_C(1) << 61)
#define LEASE_EXPIRY_SHIFT 21
#define LEASE_EXPIRY_MAX ((UINT64_C(1) << 40) - 1)
#define LEASE_SHORT_MASK ((UINT64_C(1) << LEASE_EXPIRY_SHIFT) - 1)
#define LEASE_LONG_MASK (LEASE_TTL_BIT - 1)
#define LEASE_SLOT_BITS 14

// {count, whether a writer sleeps on it}: set by who is about to, cleared by the next count.
// Wrongly set: a needless system call. Wrongly clear: fatal, a writer sleeps on (until its
// backstop). Who adds 1 and then wakes all, as src/condvar_wait.c does, may turn the flag: whom it
// was for is awake.
#define DEPARTURES_AWAITED 1u
#define DEPARTURES_ONE 2u

// {poked, sequence, wanted granule}: the low half changes with every publication and every poke.
#define EDGE_POKED UINT64_C(1)
#define EDGE_SEQUENCE_STEP UINT64_C(2)
#define EDGE_SEQUENCE_MASK UINT64_C(0xfffffffe)
#define EDGE_WANTED_SHIFT 32

// {condvar's granule, sequence, queued, awake, mark}. The sequence is fresh with every wait,
// whoever has the slot, so a CAS of the exact word is a CAS of that one wait. src/condvar.h has the
// protocol.
//	MARK    a signal is for this waiter. Wrongly set: a spurious wake. Wrongly clear: fatal, the
//		signal is lost.
//	AWAKE   its user has stopped sleeping, and watches nobody any more. Wrongly set: needless
//		looks. Wrongly clear: fatal when two die, as nobody watches the one before it.
//	QUEUED  `ticket` is that of this wait. Wrongly clear: fatal, it gets no signal.
#define CONDITION_MARK UINT64_C(1)
#define CONDITION_AWAKE UINT64_C(2)
#define CONDITION_QUEUED UINT64_C(4)
#define CONDITION_SEQUENCE_STEP UINT64_C(8)
#define CONDITION_SEQUENCE_MASK UINT64_C(0xfffffff8)
#define CONDITION_WANTED_SHIFT 32

// ---------------------------------------------------------------------------------------------
// Hold table: what one lease holds or is about to acquire. Written by the lease's user alone; what a
// lost one leaves is wiped by the next one to claim the slot (docs/decisions/0004-hold-records.md).
struct hold_record {
	shared_u64 object; /* HOLD_…; 0: empty */
};
#define HOLDS_PER_LINE (LAYOUT_LINE / sizeof(struct hold_record))

//	63..60 kind (enum lh_kind)   59..56 mode (enum lh_hold_mode)
//	55..32 count or, of a region, its directory entry            31..0 granule
#define HOLD_KIND_SHIFT 60
#define HOLD_MODE_SHIFT 56
#define HOLD_COUNT_SHIFT 32
#define HOLD_COUNT_MASK UINT64_C(0xffffff)

// ---------------------------------------------------------------------------------------------
// Directory entry: what stands where in the user's space (placement.c has the protocol).
//
//	63..61  phase   60..46  owner entry of who is placing   45..32  low bits of its generation
//	31..0   sequence, + 1 whenever the entry becomes FREE
struct directory_entry {
	shared_u64 state;
	shared_u64
		offset; /* these are written in DRAFT by the placer alone and read from CLAIM on */
	shared_u64 size;
	shared_u64 lease;     /* id of the lease that a leased region belongs to, else 0 */
	shared_u64 data_size; /* geometry: data bytes, or an option of that rank */
	shared_u32 kind;      /* enum lh_kind */
	shared_u32 count;     /* elements of an array, 0: a single one */
	shared_u32 flags;     /* of the options */
	shared_u32 parameter; /* geometry: slots, permits, parties */
	shared_u64 reserved;
	shared_u64 name[LAYOUT_NAME_SIZE / 8]; /* bytes, padded with zeroes */
	uint64_t pad[2];
};

enum entry_phase {
	ENTRY_FREE = 0,
	ENTRY_DRAFT = 1, /* its placer writes the fields; nobody else reads them */
	ENTRY_CLAIM = 2, /* fields valid; a rival for the same bytes or name may revoke it */
	ENTRY_INIT = 3,  /* the bytes are the placer's alone, being made ready (or cleared) */
	ENTRY_READY = 4,
};
#define ENTRY_PHASE_SHIFT 61
#define ENTRY_OWNER_SHIFT 46
#define ENTRY_OWNER_MASK UINT64_C(0x7fff)
#define ENTRY_GENERATION_SHIFT 32
#define ENTRY_GENERATION_MASK UINT64_C(0x3fff)
#define ENTRY_SEQUENCE_MASK UINT64_C(0xffffffff)

// ---------------------------------------------------------------------------------------------
// Event ring: recoveries, for the inspector. A record is written by whoever claimed its number
// with event_head; `sequence` is 0 while it is being written, number + 1 when it is whole. A
// writer that dies half-way leaves 0: the reader skips it.
struct event_record {
	shared_u64 sequence;
	shared_u64 time_ns;
	shared_u64 lease;
	shared_u64 offset;
	shared_u64 token;
	shared_u32 kind;
	shared_u32 pid, tid;
	shared_u32 by_pid;
	shared_u64 command[2];
	shared_u64 reserved[7];
};

// ---------------------------------------------------------------------------------------------
// Every primitive starts with this line. `word` is the primitive's truth (who holds it); the rest
// serves those who wait. src/word.h says what the bits of these words mean.
struct object_header {
	shared_u64 word;
	union {
		shared_u64 waiters; /* WAITERS_…; raised by waiters, never lowered */
		shared_u64 permits; /* of an entry of named locks, which has no such waiters
				     * (src/rwlock_modes.h): 0: a lock; else a semaphore of so
				     * many. Written by who drafts the entry, read by all:
				     * constant while it is that key's. Here, as whoever takes
				     * the key wants this line anyway */
	};
	shared_u32
		last_waiter; /* QUEUE_…: who queued last and its turn then; exchanged by waiters */
	shared_u32 heir;     /* lease slot + 1 of whom a free lock is left to; CASed by waiters */
	shared_u64 lost_lease; /* id of the last lost owner; CASed by who reaps it */
	shared_u64
		reserved_ns; /* when an heir was last named or, rwlock, left a free lock; by who did */
	uint32_t kind;       /* enum lh_kind; constant while placed, like the rest */
	uint32_t index;      /* of the element in its array */
	uint64_t data_size;
	uint32_t flags;
	uint32_t parameter; /* slots of a watch or cell */
};

// ---------------------------------------------------------------------------------------------
// Reader-writer lock (src/rwlock.h says what the bits of its words mean). Readers write none of
// these lines, save once the second. Of the header it does not use `waiters` (but for `permits`); `last_waiter` has bit w set once
// a bit of the map's word w may be: by fetch_or before that bit, read by writers. Wrongly clear: fatal.
#define RWLOCK_MAP_WORDS (LAYOUT_LINE / sizeof(uint64_t))
#define RWLOCK_MAP_BITS (LAYOUT_LINE * 8)
struct rwlock_object {
	struct object_header header;
	// Bit b: a lease whose slot is b modulo RWLOCK_MAP_BITS has read here. Set by such a lease
	// before its first read, by fetch_or; read by writers; never cleared. Wrongly set: a slot
	// is looked at for nothing. Wrongly clear: fatal, a writer does not see that reader.
	shared_u64 readers[RWLOCK_MAP_WORDS];
	// third line: seldom read
	shared_u64 bias_off_until; /* ns; written by who revoked the bias, read by fenced readers */
	shared_u64 bias_since;     /* ns; written by who gave it back, read by who revokes it */
	shared_u64 bias_off_ns;    /* for how long it was off last; by who revoked it */
	// Of entries of named locks alone (src/rwlock_modes.h).
	shared_u32 departures; /* DEPARTURES_…: counts permits that were given back, for who waits
				* for one; by who had them and by reapers; never reset */
	uint32_t pad;
	// of named locks, for acquires that wait without a thread of their own
	// (src/rwlock_pending.c)
	shared_u64
		pending; /* PENDING_…: leases of helper threads to be poked by who lets go; CASed by
			     * them; 0 again with a key's new tenancy. Wrongly set: a needless poke.
			     * Wrongly clear: fatal, the helper sleeps on (until its backstop) */
	shared_u64 pending_since; /* ns; since when the heir waits if it is a pending one */
	shared_u64 pending_until; /* ns; until when the lock is left to it */
	shared_u64 pending_heir;  /* id of its lease; these three are written by it */
};

// ---------------------------------------------------------------------------------------------
// Semaphore (src/semaphore.h). The header's word is its *baton*, a mutex in all but name: whoever
// wants several permits, or must wait for one, holds it meanwhile.
//
// An owner word is 0, or the id of the lease that holds the permit (lease_id). Ids never come back,
// so whoever finds a lost one's may free it by CAS at any later time. A wrong owner would be fatal.
//
// The signal, which the baton's holder sleeps on: what it said last, and a number that counts up
// with each change for a wake. Only ASLEEP needs a wake; and WAKING, as who said that may have died
// before its wake.
#define SEMAPHORE_SIGNAL_AWAKE 0u
#define SEMAPHORE_SIGNAL_ASLEEP 1u // or about to: it looks at the permits once more after that
#define SEMAPHORE_SIGNAL_WAKING 2u
#define SEMAPHORE_SIGNAL_SAYS 3u // mask
#define SEMAPHORE_SIGNAL_ONE 4u
struct semaphore {
	struct object_header header;
	shared_u32 permits; /* owner words that follow; constant while placed */
	shared_u32 limit;   /* how many may be held; stored by lh_semaphore_resize; those who want
			    * more than it sleep on it, and so does the baton's holder */
	shared_u32 signal; /* changed by whoever gave permits back while somebody had the baton, who
			    * sleeps on it: SEMAPHORE_SIGNAL_…, above. Wrongly AWAKE:
			    * who sleeps is not told (until its backstop) */
	uint32_t pad;
	shared_u64 gate; /* 0, or id of the baton's holder whom nobody may pass any more; CASed by
			  * it, and to 0 by its reapers. A hint: wrongly set, others go the long
			  * way, which mends it; wrongly clear, somebody waits for longer */
	uint64_t reserved[5];
	shared_u64 owners[]; /* 0 → id by who takes, id → 0 by its owner or reapers */
};

// ---------------------------------------------------------------------------------------------
// Barrier (src/barrier.h says what the bits of its words mean). Its first line is an object_header
// that has no waiters' fields.
struct barrier_object {
	shared_u64 word; /* phases completed, epoch, BROKEN; CASed by parties, reapers, resetters */
	shared_u64
		slept; /* the highest phase that somebody has slept for; raised by who is about to.
			   * Wrongly high: needless system calls. Wrongly low: fatal, who sleeps is
			   * not told of the completion (until its backstop) */
	shared_u64 woken; /* the highest phase whose sleepers have all been woken; raised by who has
			   * woken them. Wrongly low: needless system calls. Wrongly high: as slept,
			   * wrongly low */
	uint64_t unused[2];
	uint32_t kind, index; /* as in object_header; constant while placed, like the rest */
	uint64_t data_size;
	uint32_t flags;      /* LH_BARRIER_… */
	uint32_t parties;    /* words that follow */
	shared_u64 places[]; /* one for each party: CASed by who joins, by its owner, and by those
			      * who clear up behind it */
};

// ---------------------------------------------------------------------------------------------
// Once (src/once.c says what the bits of its word mean). Four slots for the value follow.
#define ONCE_SLOTS 4u
struct once_object {
	shared_u64 word; /* absent, running or done; CASed by initialisers and reapers */
	shared_u64
		tags[ONCE_SLOTS]; /* id of the lease that may write the slot (if it has data), 0 at
				      * first; CASed by an initialiser from one whose lease is over.
				      * A wrong one would be fatal: two write one slot */
	uint32_t kind, index;     /* as in object_header; constant while placed, like the rest */
	uint64_t data_size;
	uint32_t flags, pad;
};

// ---------------------------------------------------------------------------------------------
// Watch and cell: behind the header stand `parameter` slots, each a line of its own and, where values
// may be larger than 8 bytes, the value's bytes rounded up to lines. `word` of the header names who
// may publish and the slot that has the newest value (src/slots.h has its bits). What a slot says is
// written by who has tagged it, and never while the word names it.
struct value_slot {
	shared_u64 sequence; /* odd: {lease id, 1} of who is writing, or was when it ended; even:
			      * the token it was written under, times 2; CASed to tag it */
	shared_u64 version;  /* of the value: counts what was published, from 1 */
	shared_u64 size;     /* of the value in bytes */
	shared_u64 small;    /* the value, where all are at most 8 bytes */
	uint64_t reserved[4];
};

// ---------------------------------------------------------------------------------------------
// Named locks (src/provider/keys.h says what the bits of these words mean): two placements. One is an
// array of reader-writer locks whose data is the rest of struct key_entry; what it is to leases,
// reapers and the inspector is that array. The other has struct key_table, KEY_BUCKETS_PER_ENTRY heads
// and one floor for each entry, and blocks; each kind begins on a line. Every call reads a head and
// hardly any a floor: so heads stand by themselves, in as few lines as may be.
//
//	head   KEY_LINK_…: the first entry of a bucket; CASed by who links an entry, or takes the first
//	       one out
//	floor  of as many buckets: token and DIED of an rwlock's word, no lower than that of any entry
//	       that was ever taken out of these; raised by CAS before that
#define KEY_INLINE_WORDS 11u
#define KEY_BLOCK_WORDS 128u
#define KEY_BUCKETS_PER_ENTRY 2u
struct key_entry {
	struct rwlock_object lock; /* word: its token never goes back, whoever has the entry */
	shared_u64 state;          /* KEY_…: free, or whose; CASed by who takes it or gives it up,
				    * and by those who find it out of use */
	shared_u64 next;  /* KEY_LINK_…: the next entry of its bucket; stored by who drafts the
			   * entry, CASed by those who take the next one, or this one, out */
	shared_u64 users; /* bit b: a lease whose slot is b modulo 64 has referred to it. Set before
			   * its record; reset by who drafts. Wrongly set: a look for nothing.
			   * Wrongly clear: fatal, the entry is taken from one who refers to it */
	shared_u64 hash;  /* of the key; like the rest written by who drafts the entry, before it
			   * is linked */
	shared_u32 size;  /* of the key in bytes */
	shared_u32 block; /* + 1: which has the key; 0: it is in `bytes` */
	shared_u64 bytes[KEY_INLINE_WORDS]; /* padded with zeroes */
};
struct key_block { /* of a key that is too long for its entry */
	shared_u64
		owner; /* KEY_BLOCK_…: the entry, and under which tenancy; free once that is over */
	uint64_t pad[7];
	shared_u64 bytes[KEY_BLOCK_WORDS];
};
struct key_table {
	shared_u64 hand; /* counts entries that were looked at for one that can be taken: where to
			  * look next */
	uint64_t pad[7];
};

_Static_assert(sizeof(struct value_slot) == LAYOUT_LINE, "a value begins on a cache line");
_Static_assert(sizeof(struct object_header) == LAYOUT_LINE, "a header takes one cache line");
_Static_assert(sizeof(struct semaphore) == 2ul * LAYOUT_LINE, "owner words begin on a line");
_Static_assert(sizeof(struct rwlock_object) == 3ul * LAYOUT_LINE, "an rwlock takes three lines");
_Static_assert(sizeof(struct key_entry) == 5ul * LAYOUT_LINE, "an entry is an rwlock with data");
_Static_assert(sizeof(struct key_table) == LAYOUT_LINE, "heads begin on a line");
_Static_assert(sizeof(struct key_block) % LAYOUT_LINE == 0, "blocks are lines");
_Static_assert(sizeof(struct barrier_object) == LAYOUT_LINE, "places begin on a line");
_Static_assert(sizeof(struct once_object) == LAYOUT_LINE, "slots begin on a line");
_Static_assert(offsetof(struct barrier_object, kind) == offsetof(struct object_header, kind) &&
		       offsetof(struct once_object, kind) == offsetof(struct object_header, kind),
	       "every primitive says its kind in the same place");
_Static_assert(sizeof(struct lease_slot) == 3ul * LAYOUT_LINE, "lease slots take three lines");
_Static_assert(offsetof(struct lease_slot, ttl_ns) == LAYOUT_LINE, "the hot fields fill a line");
_Static_assert(sizeof(struct owner_entry) % LAYOUT_LINE == 0, "owner entries are lines");
_Static_assert(offsetof(struct owner_entry, generation) == LAYOUT_LINE, "liveness has a line");
_Static_assert(sizeof(struct hold_record) * HOLDS_PER_LINE == LAYOUT_LINE, "records fill lines");
_Static_assert(sizeof(struct directory_entry) == 2ul * LAYOUT_LINE, "entries take two lines");
_Static_assert(sizeof(struct event_record) % LAYOUT_LINE == 0, "events are lines");
_Static_assert(sizeof(struct arena_header) <= LAYOUT_PAGE, "the header takes one page");
_Static_assert(LAYOUT_MAX_LEASES + LAYOUT_EXTRA_OWNERS < (1u << LEASE_SLOT_BITS), "slots fit");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "atomics are words");

#endif
