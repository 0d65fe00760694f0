// SPDX-License-Identifier: Apache-2.0
//
// peer_memory.c: locks of other libraries that are no more than memory, as far as those were there
// when this was built: Boost.Interprocess's interprocess_mutex (peer_boost.cpp) and Concurrency
// Kit's fetch-and-store spinlock. And a peer that locks nothing.
#include "peer_loops.h"

// What is measured when nothing is: the loop with an empty body, taken as the peers are. Without
// what is subtracted from all figures alike it comes to nothing.
static void nothing_for_lock(struct lock *lock)
{
	(void)lock;
}

static inline int enter_nothing(struct lock *lock)
{
	(void)lock;
	__asm__ volatile("" : : : "memory");
	return 0;
}

static inline void leave_nothing(struct lock *lock)
{
	(void)lock;
}

PEER_LOOPS(nothing, enter_nothing, leave_nothing)

const struct peer peer_nothing = {
	.name = "nothing",
	.about = "an empty body",
	.silent = true,
	.create = nothing_for_lock,
	.destroy = nothing_for_lock,
	.attach = nothing_for_lock,
	.detach = nothing_for_lock,
	.lock = enter_nothing,
	.unlock = leave_nothing,
	.pairs = nothing_pairs,
	.contend = nothing_contend,
	.contend_timed = nothing_contend_timed,
};

#ifdef LEASE_BENCH_BOOST
void boost_mutex_create(void *at, size_t size);
void boost_mutex_lock(void *at);
void boost_mutex_unlock(void *at);

static void create_boost(struct lock *lock)
{
	struct peer_area *area = peer_area_create(lock);

	boost_mutex_create(area->lock, sizeof(area->lock));
	peer_area_unmap(area);
}

static inline int enter_boost(struct lock *lock)
{
	boost_mutex_lock(lock->area->lock);
	return 0;
}

static inline void leave_boost(struct lock *lock)
{
	boost_mutex_unlock(lock->area->lock);
}

PEER_LOOPS(boost, enter_boost, leave_boost)

const struct peer peer_boost = {
	.name = "boost-mutex",
	.about = "boost::interprocess::interprocess_mutex",
	.silent = true,
	.create = create_boost,
	.destroy = peer_area_destroy,
	.attach = peer_area_attach,
	.detach = peer_area_detach,
	.lock = enter_boost,
	.unlock = leave_boost,
	.pairs = boost_pairs,
	.contend = boost_contend,
	.contend_timed = boost_contend_timed,
};
#endif

#ifdef LEASE_BENCH_CK
#include <ck_spinlock.h>

static inline ck_spinlock_fas_t *spinlock_in(struct peer_area *area)
{
	return (ck_spinlock_fas_t *)area->lock;
}

static void create_ck(struct lock *lock)
{
	struct peer_area *area = peer_area_create(lock);

	ck_spinlock_fas_init(spinlock_in(area));
	peer_area_unmap(area);
}

static inline int enter_ck(struct lock *lock)
{
	ck_spinlock_fas_lock(spinlock_in(lock->area));
	return 0;
}

static inline void leave_ck(struct lock *lock)
{
	ck_spinlock_fas_unlock(spinlock_in(lock->area));
}

PEER_LOOPS(ck, enter_ck, leave_ck)

const struct peer peer_ck = {
	.name = "ck-spinlock",
	.about = "Concurrency Kit's ck_spinlock_fas_t",
	.silent = true,
	.spins = true,
	.create = create_ck,
	.destroy = peer_area_destroy,
	.attach = peer_area_attach,
	.detach = peer_area_detach,
	.lock = enter_ck,
	.unlock = leave_ck,
	.pairs = ck_pairs,
	.contend = ck_contend,
	.contend_timed = ck_contend_timed,
};
#endif
