// SPDX-License-Identifier: Apache-2.0
//
// An owner's life is told by a robust pthread mutex. Locking it is public API, so it lives in the
// one robust list that the C library keeps for the thread. Two things are not: that the futex word
// can be found, and that FUTEX_WAITERS may be set in it beforehand, so that the kernel wakes a
// sleeper at the owner's end. owner_probe_mutex checks both before the first arena is opened.
#include "arena/owner.h"

#include "arena/error.h"
#include "arena/reap.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ENDING_LOOKS 50 // once a millisecond
#define MUTEX_SIZE sizeof(pthread_mutex_t)
#define FIELD sizeof(uint64_t) // of which a byte changes, all may
_Static_assert(MUTEX_SIZE % FIELD == 0, "fields fill it");
_Static_assert(MUTEX_SIZE <= sizeof(((struct thread_arena *)0)->liveness_copy), "a copy fits");

static size_t word_offset;           // of the futex word in a pthread_mutex_t
static uint8_t pristine[MUTEX_SIZE]; // a mutex that was never locked
static bool constant[MUTEX_SIZE];    // in fields that locking does not change

int owner_entry_init(struct owner_entry *entry)
{
	pthread_mutexattr_t attributes;
	int error = pthread_mutexattr_init(&attributes);

	if (error)
		return -error;
	error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (!error)
		error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	if (!error)
		error = pthread_mutex_init(&entry->liveness, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return -error;
}

static _Atomic uint32_t *liveness_word(const struct owner_entry *entry)
{
	return (_Atomic uint32_t *)((uintptr_t)&entry->liveness + word_offset);
}

static bool find_word(const struct owner_entry *entry, uint32_t tid)
{
	for (word_offset = 0; word_offset + sizeof(uint32_t) <= MUTEX_SIZE;
	     word_offset += sizeof(uint32_t)) {
		if ((atomic_load(liveness_word(entry)) & FUTEX_TID_MASK) == tid)
			return true;
	}
	return false;
}

int owner_probe_mutex(void)
{
	struct owner_entry *entry = calloc(1, sizeof(*entry) + LAYOUT_LINE);
	const uint32_t tid = (uint32_t)gettid();
	const uint8_t *bytes;
	bool works;

	if (!entry)
		return error_detail(-ENOMEM, "no memory");
	bytes = (const uint8_t *)&entry->liveness;
	works = owner_entry_init(entry) == 0;
	memcpy(pristine, bytes, MUTEX_SIZE);
	works = works && pthread_mutex_trylock(&entry->liveness) == 0 && find_word(entry, tid);
	for (size_t i = 0; i < MUTEX_SIZE; i++)
		constant[i] = memcmp(bytes + i / FIELD * FIELD, pristine + i / FIELD * FIELD,
				     FIELD) == 0;
	if (works) {
		_Atomic uint32_t *word = liveness_word(entry);

		atomic_fetch_or(word, FUTEX_WAITERS);
		works = atomic_load(word) == (tid | FUTEX_WAITERS) &&
			pthread_mutex_unlock(&entry->liveness) == 0 && atomic_load(word) == 0 &&
			pthread_mutex_trylock(&entry->liveness) == 0 &&
			pthread_mutex_unlock(&entry->liveness) == 0;
	}
	free(entry);
	return works ? 0 : error_detail(-ENOTSUP, "this C library's robust mutexes are unknown");
}

// ---------------------------------------------------------------------------------------------
// Judging others

static const struct owner_entry *entry_of(const struct lh_arena *arena, uint64_t ref)
{
	const uint32_t index = owner_ref_index(ref);

	if (!ref || index >= arena->owner_count)
		return NULL;
	return &arena->owners[index];
}

static bool word_is_dead(uint32_t word)
{
	return (word & FUTEX_TID_MASK) == 0 || (word & FUTEX_OWNER_DIED);
}

// Alive: the generation is the one asked for, and the word says that the thread which wrote its TID
// under that generation holds the mutex. The TID matters: a claimer holds the mutex a moment before
// it counts the generation up, and must not be taken for the owner before it
// (tests/model/lease.pml).
static bool thread_alive(const struct owner_entry *entry, uint64_t ref, uint32_t *ret_word)
{
	const uint64_t generation = owner_ref_generation(ref);
	uint32_t word, tid;

	if (atomic_load_explicit(&entry->generation, memory_order_acquire) != generation)
		return false;
	word = atomic_load_explicit(liveness_word(entry), memory_order_acquire);
	tid = atomic_load_explicit(&entry->tid, memory_order_acquire);
	if (word_is_dead(word) || ((word ^ tid) & FUTEX_TID_MASK) ||
	    atomic_load_explicit(&entry->generation, memory_order_acquire) != generation)
		return false;
	*ret_word = word;
	return true;
}

static bool thread_ended(const struct owner_entry *entry, uint64_t ref)
{
	uint32_t word;

	return !thread_alive(entry, ref, &word);
}

bool owner_identity(const struct lh_arena *arena, uint64_t ref, struct identity *ret_identity)
{
	const struct owner_entry *entry = entry_of(arena, ref);
	struct identity identity;

	if (!entry || atomic_load(&entry->generation) != owner_ref_generation(ref))
		return false;
	identity = (struct identity){
		.pid = (pid_t)atomic_load(&entry->pid),
		.tid = (pid_t)atomic_load(&entry->tid),
		.start_time = atomic_load(&entry->start_time),
		.thread_start_time = atomic_load(&entry->thread_start_time),
		.pid_namespace = atomic_load(&entry->pid_namespace),
	};
	memcpy(identity.command, entry->command, sizeof(identity.command));
	identity.command[sizeof(identity.command) - 1] = '\0';
	if (atomic_load(&entry->generation) != owner_ref_generation(ref))
		return false;
	*ret_identity = identity;
	return true;
}

// A keeper's word is dead. Its process ends with it, but other threads may run a little longer. The
// process is gone when the kernel has closed its attach lock, which exec does too, or when its
// pidfd says so: a child that was cloned past the C library would keep the lock.
static bool process_is_gone(const struct lh_arena *arena, const struct owner_entry *entry,
			    uint64_t ref)
{
	PROCESS_NO_CANCEL;
	struct identity identity;
	int pidfd;
	bool gone;

	if (!owner_identity(arena, ref, &identity) ||
	    !arena_attached(arena, atomic_load(&entry->attach)))
		return true;
	pidfd = identity_open(&identity);
	if (pidfd < 0)
		return pidfd == -ESRCH; // another pid namespace, or no /proc: the lock decides
	gone = identity_gone(pidfd);
	close(pidfd);
	return gone;
}

// A process's, of this generation.
static bool is_of_process(const struct owner_entry *entry, uint64_t ref)
{
	return atomic_load_explicit(&entry->generation, memory_order_acquire) ==
		       owner_ref_generation(ref) &&
	       atomic_load_explicit(&entry->kind, memory_order_relaxed) == OWNER_PROCESS;
}

// Of an owner whose thread has ended.
static bool is_over(const struct lh_arena *arena, const struct owner_entry *entry, uint64_t ref)
{
	return !is_of_process(entry, ref) || process_is_gone(arena, entry, ref);
}

enum owner_life owner_life(const struct lh_arena *arena, uint64_t ref)
{
	const struct owner_entry *entry = entry_of(arena, ref);

	if (!entry)
		return OWNER_HAS_ENDED;
	if (!thread_ended(entry, ref))
		return OWNER_LIVES;
	return is_over(arena, entry, ref) ? OWNER_HAS_ENDED : OWNER_ENDS;
}

bool owner_may_be_ending(const struct lh_arena *arena, uint64_t ref)
{
	const struct owner_entry *entry = entry_of(arena, ref);

	return entry && thread_ended(entry, ref) && is_of_process(entry, ref);
}

static bool are_as_expected(const struct futex_word *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (atomic_load_explicit(words[i].address, memory_order_acquire) !=
		    words[i].expected)
			return false;
	}
	return true;
}

bool owner_await_end(const struct lh_arena *arena, uint64_t ref, uint64_t until_ns,
		     const struct futex_word *words, size_t count)
{
	PROCESS_NO_CANCEL;
	const struct owner_entry *entry = entry_of(arena, ref);
	struct identity identity;
	uint64_t now;
	int pidfd;

	if (!entry || !owner_identity(arena, ref, &identity))
		return true; // it is over: the entry is another's
	pidfd = identity_open(&identity);
	if (pidfd < 0)
		return pidfd == -ESRCH;
	while (are_as_expected(words, count) && (now = clock_now()) < until_ns) {
		const uint64_t slice = now + CLOCK_NS_PER_MS;

		// An exec closes the attach lock, and the pidfd does not tell.
		if (identity_await(pidfd, until_ns < slice ? until_ns : slice) ||
		    !arena_attached(arena, atomic_load(&entry->attach)))
			break;
	}
	close(pidfd);
	return true;
}

const _Atomic uint32_t *owner_word(const struct lh_arena *arena, uint64_t ref,
				   uint32_t *ret_expected)
{
	const struct owner_entry *entry = entry_of(arena, ref);

	if (!entry || !thread_alive(entry, ref, ret_expected))
		return NULL;
	return liveness_word(entry);
}

void owner_wake_all(const struct lh_arena *arena, uint64_t ref)
{
	const struct owner_entry *entry = entry_of(arena, ref);

	if (entry)
		futex_wake(liveness_word(entry), FUTEX_ALL);
}

void owner_wake_if_ended(const struct lh_arena *arena, uint64_t ref)
{
	const struct owner_entry *entry = entry_of(arena, ref);

	if (entry && thread_ended(entry, ref))
		futex_wake(liveness_word(entry), FUTEX_ALL);
}

// ---------------------------------------------------------------------------------------------
// One's own entry

// Bytes that locking never changes are those of a fresh mutex: libc may be given it.
static bool is_sound(const struct owner_entry *entry)
{
	const uint8_t *bytes = (const uint8_t *)&entry->liveness;

	for (size_t i = 0; i < MUTEX_SIZE; i++) {
		if (constant[i] && bytes[i] != pristine[i])
			return false;
	}
	return true;
}

#ifdef __GLIBC__
static bool read_own(uintptr_t address, uintptr_t *ret_value)
{
	const struct iovec here = { ret_value, sizeof(*ret_value) };
	const struct iovec there = { (void *)address, sizeof(*ret_value) };

	return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof(*ret_value);
}

// The links have changed since the mutex was locked, as they do when a neighbour in the thread's
// robust list comes or goes. Sound links are those whose targets point back.
static bool links_are_mutual(const struct owner_entry *entry)
{
	const __pthread_list_t *list = &entry->liveness.__data.__list;
	const uintptr_t self = (uintptr_t)&list->__next;
	const uintptr_t next = (uintptr_t)list->__next & ~(uintptr_t)1;
	const uintptr_t prev = (uintptr_t)list->__prev & ~(uintptr_t)1;
	uintptr_t back, forth;

	return read_own(prev, &forth) && (forth & ~(uintptr_t)1) == self &&
	       read_own(next - sizeof(void *), &back) && (back & ~(uintptr_t)1) == self;
}
#else
static bool links_are_mutual(const struct owner_entry *entry)
{
	(void)entry;
	return true; // unknown list: the bytes that are constant here were compared
}
#endif

static bool may_unlock(const struct owner_entry *entry, const struct thread_arena *share)
{
	const uint32_t word = atomic_load(liveness_word(entry));
	const uint8_t *bytes = (const uint8_t *)&entry->liveness;

	if (memcmp(bytes, share->liveness_copy, MUTEX_SIZE) == 0)
		return true;
	if (!is_sound(entry) ||
	    (word & FUTEX_TID_MASK) != (process_thread_state.identity.tid & FUTEX_TID_MASK))
		return false;
#ifdef __GLIBC__
	if (entry->liveness.__data.__owner != process_thread_state.identity.tid)
		return false;
#endif
	return links_are_mutual(entry);
}

static void write_identity(const struct lh_arena *arena, struct owner_entry *entry,
			   enum owner_kind kind)
{
	const struct identity *self = &process_thread_state.identity;

	atomic_store_explicit(&entry->pid, (uint32_t)self->pid, memory_order_relaxed);
	atomic_store_explicit(&entry->tid, (uint32_t)self->tid, memory_order_relaxed);
	atomic_store_explicit(&entry->start_time, self->start_time, memory_order_relaxed);
	atomic_store_explicit(&entry->thread_start_time, self->thread_start_time,
			      memory_order_relaxed);
	atomic_store_explicit(&entry->pid_namespace, self->pid_namespace, memory_order_relaxed);
	atomic_store_explicit(&entry->attach, arena->attach, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, kind, memory_order_relaxed);
	memcpy(entry->command, self->command, sizeof(entry->command));
	if (kind == OWNER_PROCESS) // the keeper's own name tells nobody anything
		identity_process_command((char *)entry->command);
}

// Whether the kernel walks the list that libc put the mutex on, at this thread's end. Not in a
// child that the C library knows nothing of: there libc goes by the parent's TID and list.
static bool death_is_told(uint32_t word)
{
	struct thread_state *thread = &process_thread_state;

	if (!thread->robust)
		thread->robust = (word & FUTEX_TID_MASK) == (uint32_t)thread->identity.tid &&
				 identity_has_robust_list();
	return thread->robust;
}

// Whether the owner that died with the mutex, which the caller has now, is over. A keeper dies a moment
// before the last thread of its process, which may still write to what the process holds. The word says
// nothing of it any more; and the caller may have the dead one's number, as those of a container that is
// started again have.
static bool ends_soon(const struct lh_arena *arena, const struct owner_entry *entry, uint64_t ref)
{
	PROCESS_NO_CANCEL; // nanosleep(2) is a cancellation point

	for (int look = 0; !is_over(arena, entry, ref); look++) {
		if (look == ENDING_LOOKS)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = CLOCK_NS_PER_MS }, NULL);
	}
	return true;
}

// Claims one entry. 0; -EBUSY: another's; -EBADMSG: damaged; -ENOTSUP: its end would go untold.
//
// A dead owner's leases are reaped before its mutex is locked, as locking erases the evidence. The
// generation is counted up under the lock; from then on nothing of an earlier owner is taken for
// ours. A claimer that dies in between leaves a dead mutex again.
static int claim(struct lh_arena *arena, uint32_t index, enum owner_kind kind,
		 struct thread_arena *share)
{
	struct owner_entry *entry = &arena->owners[index];
	_Atomic uint32_t *word = liveness_word(entry);
	const uint32_t seen = atomic_load(word);
	uint64_t generation;
	int error;

	if (!word_is_dead(seen))
		return -EBUSY;
	if (!is_sound(entry))
		return -EBADMSG;
	if (seen & FUTEX_OWNER_DIED) {
		const uint64_t ref = owner_ref(index, atomic_load(&entry->generation));

		if (!owner_ended(arena, ref))
			return -EBUSY; // a process that is still ending
		owner_wake_all(arena, ref);
		reap_owner(arena, ref);
	}
	// an element of a mapped table; NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
	error = pthread_mutex_trylock(&entry->liveness);
	if (error == EOWNERDEAD) {
		pthread_mutex_consistent(&entry->liveness);
		futex_wake(word, FUTEX_ALL);
		// Another may have claimed it since `seen`, and died. A process that goes on without its
		// keeper has it until its end: the mutex stays locked with the generation as it is, and
		// at this thread's end it is a dead one's again.
		if (!ends_soon(arena, entry, owner_ref(index, atomic_load(&entry->generation)))) {
			atomic_store(&arena->pinned, true);
			return -EBUSY;
		}
	} else if (error) {
		return error == EBUSY ? -EBUSY : -EBADMSG;
	}
	if (!death_is_told(atomic_load(word))) {
		pthread_mutex_unlock(&entry->liveness);
		return -ENOTSUP;
	}
	atomic_fetch_or(word, FUTEX_WAITERS);
	generation = atomic_load(&entry->generation) + 1;
	if (generation >> (64 - OWNER_INDEX_BITS))
		generation = 1; // 2^48 claims later
	atomic_store(&entry->generation, generation);
	write_identity(arena, entry, kind);
	share->owner = index;
	share->generation = generation;
	memcpy(share->liveness_copy, &entry->liveness, MUTEX_SIZE);
	return 0;
}

int owner_acquire(struct lh_arena *arena, enum owner_kind kind, struct thread_arena **ret_share)
{
	struct thread_state *thread;
	struct thread_arena *share;
	uint32_t first;
	int error = process_thread(&thread);

	if (error)
		return error;
	share = owner_share(thread, arena, kind, true);
	if (!share)
		return error_detail(-ENOMEM, "no memory");
	if (share->references) {
		share->references++;
		*ret_share = share;
		return 0;
	}
	error = -ENOLCK;
	first = share->generation ? share->owner
				  : atomic_fetch_add(&arena->owner_hint, 1) % arena->owner_count;
	for (uint32_t i = 0; i < arena->owner_count; i++) {
		const int result = claim(arena, (first + i) % arena->owner_count, kind, share);

		if (result == 0) {
			share->references = 1;
			*ret_share = share;
			return 0;
		}
		if (result == -ENOTSUP)
			return error_detail(result, "this process was made by clone(2) without the "
						    "C library: its end would not be told");
		if (result == -EBADMSG)
			error = -EBADMSG;
	}
	return error_detail(error,
			    error == -ENOLCK ? "all %u owner entries are in use"
					     : "damage among %u owner entries",
			    arena->owner_count);
}

int owner_release(struct thread_arena *share)
{
	struct owner_entry *entry = &share->arena->owners[share->owner];

	if (--share->references)
		return 0;
	if (!may_unlock(entry, share)) {
		atomic_store(&share->arena->pinned, true);
		return error_detail(-EBADMSG, "owner entry %u: its liveness mutex was overwritten",
				    share->owner);
	}
	// Its leases are gone, and with them whatever a sleeper wanted: nobody is left to be woken
	// by this word, and without the mark the unlock needs no system call.
	atomic_fetch_and(liveness_word(entry), ~FUTEX_WAITERS);
	pthread_mutex_unlock(&entry->liveness);
	return 0;
}

struct thread_arena *owner_share(struct thread_state *thread, struct lh_arena *arena,
				 enum owner_kind kind, bool create)
{
	struct thread_arena *share;

	for (share = thread->arenas; share; share = share->next) {
		if (share->arena != arena || share->kind != kind)
			continue;
		if (share->serial != arena->serial) // the one that had this address was closed
			*share = (struct thread_arena){ .arena = arena,
							.serial = arena->serial,
							.kind = kind,
							.next = share->next };
		return share;
	}
	if (!create)
		return NULL;
	share = calloc(1, sizeof(*share));
	if (!share)
		return NULL;
	share->arena = arena;
	share->serial = arena->serial;
	share->kind = kind;
	share->next = thread->arenas;
	thread->arenas = share;
	return share;
}

void owner_thread_forked(struct thread_state *thread)
{
	// The entries are locked by the parent's thread; the child's robust list is its own and
	// empty.
	for (struct thread_arena *share = thread->arenas; share; share = share->next)
		*share = (struct thread_arena){ .arena = share->arena,
						.serial = share->serial,
						.kind = share->kind,
						.next = share->next };
}

void owner_thread_exits(struct thread_state *thread)
{
	struct thread_arena *share = thread->arenas;

	thread->arenas = NULL;
	while (share) {
		struct thread_arena *next = share->next;

		free(share);
		share = next;
	}
	// The mutexes stay locked: the kernel tells the end when the thread really ends.
}
