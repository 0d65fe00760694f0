// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_LEASEHOLD_H
#define LEASEHOLD_LEASEHOLD_H

/*
 * Everything. What the library is, and a complete example: api.h. Each header stands on its own as
 * well, and begins with its concept and an example.
 */

#include <leasehold/annotate.h>
#include <leasehold/api.h>
#include <leasehold/arena.h>
#include <leasehold/barrier.h>
#include <leasehold/cancel.h>
#include <leasehold/cell.h>
#include <leasehold/condvar.h>
#include <leasehold/error.h>
#include <leasehold/grant.h>
#include <leasehold/guard.h>
#include <leasehold/inspect.h>
#include <leasehold/lease.h>
#include <leasehold/locks.h>
#include <leasehold/mutex.h>
#include <leasehold/once.h>
#include <leasehold/repair.h>
#include <leasehold/rwlock.h>
#include <leasehold/semaphore.h>
#include <leasehold/time.h>
#include <leasehold/watch.h>

#endif
