// SPDX-License-Identifier: Apache-2.0
//
// mutex.h: what mutex.c (the handle, the fast paths, release and reaping) and mutex_wait.c (how a
// lock call waits) know of each other.
#ifndef SRC_MUTEX_H
#define SRC_MUTEX_H

#include "arena/reap.h"
#include "src/primitive.h"

#include <leasehold/mutex.h>

// A lock call under way.
struct mutex_attempt {
	struct lh_arena *arena;
	struct object_header *header;
	uint32_t granule;
	bool no_repair;
	struct lh_lease *lease;
	struct hold_record *record;
	uint64_t own_record; // what it says
	lh_deadline deadline;
	lh_grant *grant;  // NULL: who wants no news of damage is not granted it
	bool no_plain;    // its owner never frees it by a plain store
	bool keep_record; // the caller clears the record of a call that failed
	bool steadfast;   // neither the cancel token nor a signal handler ends it
};

static inline struct lh_arena *mutex_arena(const lh_mutex *mutex)
{
	return primitive_arena(mutex->private_);
}

static inline struct object_header *mutex_header(const lh_mutex *mutex)
{
	return primitive_header(mutex->private_);
}

static inline uint32_t mutex_granule(const lh_mutex *mutex)
{
	return primitive_granule(mutex->private_);
}

// The lock call whose record is written: waits as its deadline allows. 0: granted. On any error the
// record is cleared and nothing is left behind.
int mutex_acquire(const struct mutex_attempt *attempt);

// Frees the word of a lock that the lease holds by other than a plain store, and wakes who is to be
// woken. 0; -ESTALE if the word is not its own any more.
int mutex_free(struct lh_arena *arena, struct object_header *header, struct lh_lease *lease);

// For a condvar's wait. Whether the lease holds it: 0, -EPERM or -ESTALE.
int mutex_check_held(const lh_mutex *mutex, const struct lh_lease *lease);
// Unlocks it and leaves the record, as that of an intent. 0; -ESTALE or -EPERM: not held.
int mutex_let_go(struct lh_lease *lease, struct object_header *header);
// Locks it again under that record, whatever the cancel token, signal handlers and damage say. On
// any error the record is cleared.
int mutex_retake(const lh_mutex *mutex, struct lh_lease *lease, struct hold_record *record,
		 lh_grant *ret_grant);

// The rest of a plain release that others may sleep on: the record goes only when they have been
// woken. 0.
int mutex_finish_plain(struct object_header *header, struct hold_record *record);

// kind.h says what it does.
bool mutex_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record);

// Frees the word from the lost lease, leaving `mark` in it. False: it is not (or no more) that
// lease's, and all who sleep on it were woken. *ret_word: what it was.
bool mutex_reap_word(struct lh_arena *arena, struct object_header *header,
		     const struct lost_lease *lost, uint64_t mark, uint64_t *ret_word);

// Counts the lease's turn up and wakes who queued behind it.
void mutex_pass_turn(struct lh_arena *arena, struct object_header *header, uint32_t slot);

#endif
