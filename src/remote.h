// SPDX-License-Identifier: Apache-2.0
//
// remote.h: named locks on a server, whatever the server: what src/remote*.c know of each other.
// The steps: docs/protocol/remote.md.
#ifndef SRC_REMOTE_H
#define SRC_REMOTE_H

#include "src/locks.h"

#include "arena/keeper.h"

#include <pthread.h>

#include <urcu/list.h>

// The set as one process has it. A forked child makes its own; its parent's stays allocated there,
// as it may have been changing.
struct remote_session {
	struct cds_list_head node; // in the process's list
	const struct remote_provider *remote;
	void *server;
	uint64_t generation; // of the process
	struct remote_session *parents;
	// Renewing: remote_renew.c
	pthread_mutex_t lock;
	struct cds_list_head renewed; // handles
	pthread_t thread;
	bool started, ending;
	_Atomic uint32_t kicks; // the futex that the thread sleeps on
};

struct remote_locks {
	struct lh_locks base;
	const struct remote_provider *remote;
	_Atomic(struct remote_session *) session;
	char rest[]; // of the URL
};

// One key that is held. What lh_acquire_all has acquired is a list of these; the first is the
// user's handle.
struct remote_handle {
	struct lh_handle base;
	struct remote_session *session;
	struct provider_hold hold;
	_Atomic uint64_t until_ns;   // when it is lost; 0: it is
	struct remote_handle *whole; // the user's; changed under the session's lock
	struct cds_list_head parts;  // of the user's: all, in the order in which they were acquired
	struct cds_list_head part;   // in that list
	struct keeper_watch watch;
	// Under the session's lock:
	struct cds_list_head node; // in the session's list of what is renewed, if it is listed
	bool listed;
	bool renewing; // its renewal is out
	bool released; // meanwhile: whoever renews it frees it
	uint64_t renew_every_ns, renew_at_ns;
	uint32_t renewals_left; // UINT32_MAX: no limit
	char bytes[];           // of the key
};

static inline struct remote_locks *remote_locks_of(struct lh_locks *locks)
{
	return (struct remote_locks *)locks;
}

// ---- loading: remote_load.c

// The provider of a scheme, which is loaded if it has not been. 0; -ENOTSUP: there is none; -EINVAL:
// no scheme; -ELIBBAD: it cannot be used; -ENOMEM.
int remote_load(const char *scheme, size_t length, const struct provider **ret_provider);

// ---- sessions and handles: remote.c

// What a provider that was loaded is to src/locks.c.
void remote_describe(const struct remote_provider *remote, struct provider *ret_provider);
// The set's, of this process. 0 or what opening the URL says.
int remote_session_of(struct remote_locks *locks, struct remote_session **ret_session);
// A handle of what was granted. 0, or a negative errno: `hold` is the caller's still.
int remote_make_handle(struct remote_session *session, const struct provider_hold *hold,
		       const struct lh_acquire_options *options, struct remote_handle **ret_handle);

// ---- validity and renewing: remote_renew.c

// Of the handle and all its parts; 0: one is lost, or it is the parent's. Async-signal-safe.
uint64_t remote_remaining(const struct remote_handle *whole);
// When the first part of a handle is lost, as far as is known now.
uint64_t remote_until(const void *subject);
bool remote_is_inherited(const struct remote_handle *handle);
// Has it renewed as the options want, from now on. Starts the thread. 0 or a negative errno.
int remote_renew_as(struct remote_handle *handle, const struct lh_acquire_options *options);
// Renews all parts at once, in the caller's thread. 0, -ESTALE, or another negative errno.
int remote_renew_now(struct remote_handle *whole, uint64_t ttl_ns);
// Frees it with all its parts, which are renewed no more; those whose renewal is out when that has
// been answered.
void remote_free_all(struct remote_handle *whole);
// Ends the thread. No handle is out.
void remote_renew_end(struct remote_session *session);

// ---- the line of a key: remote_line.c; src/locks.h says what each does

int remote_listen(struct lh_locks *locks, struct wait *wait, uint64_t *ret_news);
bool remote_is_free(struct lh_locks *locks, struct provider_queue *queue, struct wait *wait);
void remote_leave(struct lh_locks *locks, struct provider_queue *queue);
int remote_sleep(struct lh_locks *locks, const int *others, size_t count, uint64_t until_ns);
// The answer to the queue's ask: its handle, or its error; -EBUSY: it is not there.
int remote_take(struct lh_locks *locks, const struct provider_request *request,
		struct lh_handle **ret_handle);

#endif
