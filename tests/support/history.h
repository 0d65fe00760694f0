// SPDX-License-Identifier: Apache-2.0
//
// history.h: what processes did to shared objects and when, kept outside of the arena, and whether
// that can have happened.
//
// Each worker logs its own operations, one entry each, in memory that all processes share; an
// entry is begun before what it tells of and ended after, so whoever is killed in between leaves
// one whose end is only the last moment that it vouched for. Times are CLOCK_MONOTONIC, ns.
//
//	holds      an entry's time is one at which its author surely held `amount` units: granted before,
//	           not yet let go after. At no moment may more than the object's units be held. One
//	           unit is a mutex; as many as anybody can hold, and readers with one each, a
//	           reader-writer lock; permits are a semaphore's. Tokens rise from one exclusive hold
//	           to the next.
//	versions   an entry's time is that of the call: reading version `value`, or writing it (a write that
//	           did not succeed is not logged). No call finds an older version than one that was
//	           read or written by a call that had returned before it began; no write makes one that
//	           was there. As versions are in one order, that is linearizability (Herlihy and Wing,
//	           TOPLAS 1990) of a register. The contents, `amount`, go with the version.
//	phases     an entry's time is that of a wait that returned phase `value`: nobody returns from a phase
//	           before all have arrived in it.
#ifndef TESTS_SUPPORT_HISTORY_H
#define TESTS_SUPPORT_HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HISTORY_WORKERS = 8, HISTORY_ENTRIES = 1 << 16, HISTORY_OBJECTS = 16 };

enum history_rule { HISTORY_NOTHING, HISTORY_HOLDS, HISTORY_VERSIONS, HISTORY_PHASES };

struct history_entry {
	uint64_t begin_ns, end_ns;
	uint64_t value;  /* token, version or phase; 0: a hold without token */
	uint64_t amount; /* units held; or what the version's contents were */
	uint32_t object;
	bool writes;
};

struct history {
	struct {
		enum history_rule rule;
		uint64_t units; /* of what is held */
		const char *name;
	} objects[HISTORY_OBJECTS];
	struct {
		_Atomic uint32_t count;
		struct history_entry entries[HISTORY_ENTRIES];
	} workers[HISTORY_WORKERS];
};

// In memory that children share; NULL: none left.
struct history *history_create(void);
void history_destroy(struct history *history);
// For another round.
void history_clear(struct history *history);

// A worker's next entry, a copy of `entry`; NULL: its log is full. What is known when it is added
// is to be in it: its author may be killed right after. An end of 0, of a hold that lasts, is its
// beginning until the author writes a later one.
struct history_entry *history_add(struct history *history, int worker, struct history_entry entry);

// Whether all of it can have happened; what cannot is printed (a few of it). The number of entries
// that were looked at goes to *ret_count.
bool history_check(const struct history *history, size_t *ret_count);

#endif
