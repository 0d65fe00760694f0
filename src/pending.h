// SPDX-License-Identifier: Apache-2.0
//
// pending.h: what the calls of asynchronous acquire (pending.c) and the helper thread of a set
// (pending_helper.c) know of each other. All is under the helper's mutex but the tries: whoever
// wants to cancel what is being tried waits until it has been.
#ifndef SRC_PENDING_H
#define SRC_PENDING_H

#include "src/locks.h"

#include "arena/error.h"

#include <pthread.h>

#include <urcu/list.h>

enum pending_state { PENDING_WAITS, PENDING_TRIED, PENDING_FINISHED };

struct lh_pending {
	struct cds_list_head node; // in its queue, while it waits
	struct lh_locks *locks;
	struct pending_helper *helper;
	uint64_t generation; // of the process that started it
	struct provider_key key;
	struct lh_acquire_options options;
	lh_deadline deadline;
	uint64_t since_ns;
	enum pending_state state;
	_Atomic uint32_t finished; // 1: it is; the futex that who waits in a call sleeps on
	bool in_call;              // its own thread looks after deadline and token, and frees it
	bool cancelled;            // while it was tried
	bool was_tried;
	int fd; // -1: nobody has asked
	int result;
	lh_handle *handle;
	char detail[ERROR_DETAIL_SIZE]; // of its failure
	char *label;                    // the options', a copy
	char bytes[];                   // of the key
};

// Of one key.
struct queue {
	struct provider_queue shared;
	uint32_t place;                     // in whose list it is
	struct cds_list_head node, waiting; // never empty while the mutex is free, but for cancels
	char bytes[];
};

struct pending_helper {
	pthread_mutex_t lock;
	pthread_cond_t progress; // what was tried is so no more; a queue was ended, or filled
	struct lh_locks *locks;
	uint64_t generation; // of the process whose thread it is
	pthread_t thread;
	bool started, ending;
	_Atomic uint32_t kicks; // the futex that the helper sleeps on, too
	// For a provider with a sleep of its own: an eventfd that tells of kicks, and what else
	// ends the helper's sleep. -1: none is to be had.
	int event;
	int others[PROVIDER_OTHERS];
	size_t other_count;
	bool told_by_other; // the last sleep may have been ended by one of them
	// By the place of their news: what a round that is told of some places alone looks at.
	struct cds_list_head queues[PROVIDER_PLACES + 1];
	size_t queue_count;
	uint32_t kicks_seen; // before the last round
	uint64_t until_ns;   // when the next has to look at all; 0: in any case
	uint64_t full_ns;    // when one has looked at all
	bool token_is_left; // by one that is finished: its user may destroy it, so it is slept on no more
	void *tree;         // of the queues, by key: tsearch
};

// Acquires a key of a provider that is not local: in the key's queue, and in the caller's thread.
// Errors as lh_acquire.
int pending_wait(struct lh_locks *locks, const struct provider_key *key, lh_deadline deadline,
		 const struct lh_acquire_options *options, struct lh_handle **ret_handle);

// The set's helper, of this process; NULL: no memory.
struct pending_helper *pending_helper_of(struct lh_locks *locks);
// One try. Outside the mutex: may start a thread, or ask another machine.
int pending_try(struct lh_pending *pending, struct provider_queue *queue);

// Under the mutex:

// Whether it may not wait: what it gets is the first answer.
static inline bool pending_is_once(const struct lh_pending *pending)
{
	return pending->deadline.ns <= pending->since_ns;
}

// Has the helper look.
void pending_kick(struct pending_helper *helper);
// NULL: nobody waits for the key.
struct queue *pending_find_queue(const struct pending_helper *helper,
				 const struct provider_key *key);
void pending_finish(struct lh_pending *pending, int result);
// Finishes one that waits in a queue.
void pending_leave_queue(struct lh_pending *pending, int result);
// Puts it into its key's queue, and starts the thread if it is the first. 0 or a negative errno.
int pending_enqueue(struct pending_helper *helper, struct lh_pending *pending);

#endif
