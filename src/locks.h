// SPDX-License-Identifier: Apache-2.0
//
// locks.h: what src/locks.c, which is the same for all named locks, asks of an engine: a const
// table. Those of this host are in src/provider/; of a provider that is loaded (src/provider.h)
// src/remote.c makes one.
#ifndef SRC_LOCKS_H
#define SRC_LOCKS_H

#include "src/provider.h"

#include <stdatomic.h>

#define LOCKS_TTL_NS LH_SEC(30) /* where the caller says none */

// Begins a provider's own struct of an opened URL.
struct lh_locks {
	const struct provider *provider;
	_Atomic uint64_t handles;                // that are out, and pending acquires
	_Atomic(struct pending_helper *) helper; // src/pending.c; NULL: not needed yet
};

// Begins a provider's own struct of what one call acquired. Written by the provider, but for `locks`;
// constant while the user has it.
struct lh_handle {
	struct lh_locks *locks;
	uint64_t token; // of several keys the last's
	unsigned flags; // LH_GRANT_…, of any of them
	int slot;       // the 0-based permit of the last key; -ENOTSUP: it is no permit
};

// A key of a set that acquires wait for without a thread of their own (src/pending.c), the oldest
// first. Used by the set's helper thread alone.
struct provider_queue {
	struct provider_key key;
	const struct lh_acquire_options *options; // of the first
	uint64_t since_ns;                        // since when it waits
	bool once;      // the first may not wait: what it gets is the first answer
	bool refused;   // it was tried though is_free had said so, and busy; cleared by is_free
	uint32_t place; // whose news are for it: is_free sets it; PROVIDER_NO_PLACE: all are
	void *own;      // the provider's; NULL at first
};

#define PROVIDER_PLACES 64u
#define PROVIDER_NO_PLACE PROVIDER_PLACES

struct provider_request {
	const struct provider_key *keys; // in the order in which they are to be acquired
	size_t count;                    // at least 1
	lh_deadline deadline;
	const struct lh_acquire_options
		*options; // checked; the keys' modes and the flags are within the capabilities
	struct provider_queue *queue; // on behalf of its first; NULL: the caller's own
};

struct wait;

struct provider {
	const char *scheme; // before "://"
	unsigned capabilities;
	const struct remote_provider *remote; // that was loaded; NULL: it is built in
	// What options it cannot do beside those of the capabilities. NULL: none.
	int (*check)(const struct lh_acquire_options *options);
	// `rest` is what follows "://". The fields of *ret_locks are written by the caller.
	int (*open)(const struct provider *provider, const char *rest, struct lh_locks **ret_locks);
	// No handle is out. 0: freed.
	int (*close)(struct lh_locks *locks);
	// All or nothing. *ret_handle: its `locks` is written by the caller.
	int (*acquire)(struct lh_locks *locks, const struct provider_request *request,
		       struct lh_handle **ret_handle);
	int (*extend)(struct lh_handle *handle, uint64_t ttl_ns);
	uint64_t (*remaining)(const struct lh_handle *handle);
	int (*consistent)(struct lh_handle *handle);
	int (*loss_fd)(struct lh_handle *handle);
	// -EDEADLK, in its own on_loss callback: it is not freed. Else it is, whatever the result.
	int (*release)(struct lh_handle *handle);
	// lh_key_version; the key's mode counts for nothing. NULL: the provider has none.
	int (*version)(struct lh_locks *locks, const struct provider_key *key,
		       uint64_t *ret_version);
	// An acquire with LH_NOW waits for no other machine: lh_acquire_start may do one itself.
	// Else all who want a key stand in its queue, and `acquire` with a queue takes what is_free
	// has said is there.
	bool is_local;
	// The helper thread calls it before `listen`, without its lock, which on_loss callbacks may
	// want meanwhile: here it may wait for the thread that calls those back. NULL: nothing to do.
	void (*ready)(struct lh_locks *locks);
	// How pending acquires are told that a try is worth while. All NULL: they are tried at
	// intervals. The helper thread calls listen when it begins to look; then is_free for each
	// queue: if not, what may change that wakes the wait; and leave when nobody waits in a
	// queue any more. listen: 0, or an error: at intervals for now, without is_free. *ret_news:
	// of which places there are news since the last time, as bits: if nothing else has ended
	// the wait, the others need no look. It adds as many words to the wait each time.
	int (*listen)(struct lh_locks *locks, struct wait *wait, uint64_t *ret_news);
	bool (*is_free)(struct lh_locks *locks, struct provider_queue *queue, struct wait *wait);
	void (*leave)(struct lh_locks *locks, struct provider_queue *queue);
	// For a provider whose news come by descriptors: sleeps until there are any, one of at most
	// PROVIDER_OTHERS other descriptors is readable, or until_ns has come. 1: something
	// happened. NULL: the wait sleeps, on what was added to it.
	int (*sleep)(struct lh_locks *locks, const int *others, size_t count, uint64_t until_ns);
};

// What src/pending.c and src/remote.c need of src/locks.c.
#define LOCKS_KNOWN_FLAGS (LH_LEASE_AUTO_RENEW | LH_LEASE_KILL_ON_EXPIRY | LH_ACQUIRE_THIS_THREAD)
int locks_check_options(const lh_locks *locks, const struct lh_acquire_options *options,
			unsigned known);
int locks_acquire(lh_locks *locks, const struct provider_request *request, lh_handle **ret_handle);
// Notes which key a failure was about, if nobody below has said more.
void locks_explain(const struct provider_key *key);
// And the other way round. No pending acquire is out.
void pending_close(struct lh_locks *locks);

extern const struct provider provider_shm;  // src/provider/shm.c
extern const struct provider provider_file; // src/provider/file.c

#endif
