// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_LEASEHOLD_HPP
#define LEASEHOLD_LEASEHOLD_HPP

/*
 * Leasehold in C++17: the same library, header only, with types that the standard's guards take.
 *
 * mutex meets Lockable and TimedLockable, shared_mutex also SharedLockable and SharedTimedLockable;
 * so std::unique_lock, std::scoped_lock, std::lock and std::shared_lock work. They lock by the
 * calling thread's own lease (lh_thread_lease), or by the one given to with(). Where the standard's
 * guards have no way to tell that the holder before was lost, lock() throws owner_died and holds
 * nothing; guard, shared_guard and the like of this header carry the grant and tell it instead.
 *
 * Errors are exceptions: error, a std::system_error whose code() is the errno and whose what() says
 * what it means and what it was about; owner_died (-EOWNERDEAD) and lease_lost (-ESTALE) are kinds
 * of it. What only waits says so by its result: try_… and …_until are false for -EBUSY and
 * -ETIMEDOUT. Destructors never throw; where it matters whether the lease was still good, call
 * unlock or release and look.
 *
 * What a call guarantees, its memory order, what a crash leaves: the C headers say it, each
 * function here being one call of theirs. get() is the C handle. Handles of primitives are values:
 * copy them.
 *
 * Example: a balance that survives the death of its writers.
 *
 *	#include <leasehold/leasehold.hpp>
 *
 *	struct balance { long amount, shadow; };
 *
 *	void deposit(leasehold::arena &arena, long amount)
 *	{
 *		leasehold::mutex mutex(arena, "balance", sizeof(balance));
 *		leasehold::guard held(mutex);
 *		balance &money = *mutex.data<balance>();
 *
 *		if (held.owner_died()) {
 *			money.shadow = money.amount;
 *			held.consistent();
 *		}
 *		money.shadow += amount;
 *		money.amount = money.shadow;
 *	}
 */

#include <leasehold/cxx/arena.hpp>
#include <leasehold/cxx/error.hpp>
#include <leasehold/cxx/locks.hpp>
#include <leasehold/cxx/mutex.hpp>
#include <leasehold/cxx/semaphore.hpp>
#include <leasehold/cxx/value.hpp>
#include <leasehold/leasehold.h>

#endif
