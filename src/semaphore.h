// SPDX-License-Identifier: Apache-2.0
//
// semaphore.h: what semaphore.c (the handle, the fast paths, release and reaping) and
// semaphore_wait.c (how an acquire waits) know of each other.
//
// Each permit is a word with its holder's name. Whoever finds a free one takes it by one CAS.
// Whoever wants several, or finds none, takes the *baton* first: the header's word, owned, waited
// for and reaped as a mutex is (src/mutex.h). Its holder alone collects permits bit by bit, so no
// two collectors can wait for what the other has; and it alone sleeps for permits, so whoever gives
// one back looks whether somebody has the baton, and wakes one.
#ifndef SRC_SEMAPHORE_H
#define SRC_SEMAPHORE_H

#include "arena/reap.h"
#include "src/primitive.h"

#include <leasehold/semaphore.h>

// An acquire call under way.
struct semaphore_attempt {
	struct lh_arena *arena;
	struct semaphore *semaphore;
	uint32_t granule;
	uint32_t permits; // there are
	uint32_t wanted;  // 1..permits
	struct lh_lease *lease;
	struct hold_record *record;
	uint64_t own_record; // what a record of the semaphore says, without its count
	lh_deadline deadline;
};

// The acquire call whose record is written: waits as its deadline allows. 0: granted. On any error but
// -ESTALE the lease holds what it held before; the record is the caller's.
int semaphore_acquire(const struct semaphore_attempt *attempt);

// Tells the baton's holder, if it sleeps, after permits were given back. They were so by a
// read-modify-write, or else fence_light stands between.
void semaphore_wake(struct semaphore *semaphore);

// The same where somebody may have died before he had told: whether it sleeps or not.
void semaphore_wake_again(struct semaphore *semaphore);

// The same after the lease has given permits back; it passes the baton on, if it has kept that.
void semaphore_tell(struct semaphore *semaphore, struct lh_lease *lease);

// Whether the semaphore may hold so much as it does: `limit` is still the limit and no more words
// are owned. Who has taken words and then hears yes was granted them at this moment.
bool semaphore_within(const struct semaphore *semaphore, uint32_t permits, uint32_t limit);

// How an acquire of one permit goes on whose record is written, but whose place another lease has:
// it takes the first free word after it, or goes the long way; and one that took it below a limit
// that has moved since. Any result of lh_semaphore_acquire.
int semaphore_acquire_elsewhere(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits,
				lh_deadline deadline, struct hold_record *record);
int semaphore_acquire_again(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits,
			    lh_deadline deadline, struct hold_record *record);
// The rest of a plain release that somebody may wait for: the record goes only when it has been
// woken. 0.
int semaphore_finish_plain(struct semaphore *semaphore, struct lh_lease *lease,
			   struct hold_record *record);

// kind.h says what it does.
bool semaphore_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);

// Where searches begin among so many words: at those that this mask leaves, the first half of them
// at least. A mask, as the place is on the way to the lock's one read-modify-write.
static inline uint32_t semaphore_mask(uint32_t permits)
{
	return permits ? UINT32_MAX >> 1 >> __builtin_clz(permits) : 0;
}

// Where a lease's search begins: different leases begin at different words.
static inline uint32_t semaphore_place(const struct lh_lease *lease, uint32_t permits)
{
	return lease->scatter & semaphore_mask(permits);
}

static inline uint32_t semaphore_slot_of(uint64_t owner)
{
	return (uint32_t)(owner & ((1u << LEASE_SLOT_BITS) - 1));
}

// free → ours. A crash before: our record is an intent; after: the permit names us. Acquire pairs
// with the release of whoever freed it; sc with the load of the limit that follows.
static inline bool semaphore_take(struct semaphore *semaphore, uint32_t index, uint64_t id)
{
	uint64_t none = 0;

	return atomic_compare_exchange_strong(&semaphore->owners[index], &none, id);
}

// ours → free. False: it is not ours any more.
static inline bool semaphore_give_back(struct semaphore *semaphore, uint32_t index, uint64_t id)
{
	return atomic_compare_exchange_strong(&semaphore->owners[index], &id, 0);
}

// Bytes of one with so many permits.
static inline uint64_t semaphore_size(uint32_t permits)
{
	return primitive_lines(sizeof(struct semaphore) + permits * sizeof(shared_u64));
}

// How many of them a lease of this id holds; 0: how many are free.
static inline uint32_t semaphore_count(const struct semaphore *semaphore, uint32_t permits,
				       uint64_t id)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < permits; i++)
		count += atomic_load_explicit(&semaphore->owners[i], memory_order_acquire) == id;
	return count;
}

// Gives `count` of the lease's own permits back. 0; -ESTALE: it was lost meanwhile.
int semaphore_give_back_some(struct semaphore *semaphore, uint32_t permits,
			     const struct lh_lease *lease, uint32_t count);

#endif
