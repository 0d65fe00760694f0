// SPDX-License-Identifier: Apache-2.0
//
// keeper.h: the library's own thread, started when first needed: it renews leases, tells their
// loss, and is the owner of process leases.
#ifndef ARENA_KEEPER_H
#define ARENA_KEEPER_H

#include "arena/lease.h"

// Renews the lease every renew_every_ns, at most max_renewals times (0: no limit).
int keeper_renew(struct lh_lease *lease, uint64_t renew_every_ns, uint32_t max_renewals);
int keeper_on_loss(struct lh_lease *lease, void (*callback)(void *context), void *context);
// The lease's eventfd, or a negative errno.
int keeper_loss_fd(struct lh_lease *lease);
// Ends all that, waiting for a callback that runs. -EDEADLK inside it.
int keeper_drop(struct lh_lease *lease);
// The lease's thread ends: tell its loss as soon as the kernel does. `orphaned`: its handle goes,
// so nobody will call keeper_drop; what is readable stays so until keeper_forget.
void keeper_detach(struct lh_lease *lease, bool orphaned);
// Frees what a lease inherited over fork has, in the child.
void keeper_free_inherited(struct lh_lease *lease);
// Before an arena is unmapped.
void keeper_forget(struct lh_arena *arena);

// What is lost without a lease that tells: the keeper asks `lost` several times a second. `lost`
// must not call the library. Or from the moment on that `when` tells, which may come later each time.
// If it is to come earlier: keeper_kick. The rest is as with leases: keeper_on_loss, keeper_loss_fd,
// keeper_drop.
struct keeper_watch {
	bool (*lost)(void *subject);
	uint64_t (*when)(const void *subject); // NULL: it cannot be told
	void *subject;
	struct keeper_duty *duty; // NULL: none yet
};

int keeper_watch(struct keeper_watch *watch, void (*callback)(void *context), void *context);
int keeper_watch_fd(struct keeper_watch *watch);
// In a forked child, too.
int keeper_unwatch(struct keeper_watch *watch);

// A lease's expiry was changed. Async-signal-safe.
void keeper_kick(void);

// Runs function(argument) on the keeper and returns its result.
int keeper_run(int (*function)(void *argument), void *argument);

// Whether the caller is the keeper's thread: a callback runs.
bool keeper_is_caller(void);

// On the keeper's thread, in a callback that waits for somebody who may be waiting for it: runs what
// others want to have run (keeper_run).
void keeper_serve_calls(void);

// Whether no other thread runs the program's code in this process, nor will until the caller starts
// one: there are none but the caller and the keeper, which has no callback to call. False where it
// cannot be told.
bool keeper_caller_is_alone(void);

void keeper_before_fork(void);
void keeper_after_fork_in_parent(void);
void keeper_after_fork(void);

#endif
