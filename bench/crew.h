// SPDX-License-Identifier: Apache-2.0
//
// crew.h: a set of processes that share one lock and do what the program orders, one step at a
// time.
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include "peer.h"

#define CREW_SEATS 18

enum order {
	ORDER_NONE,
	ORDER_LOCK_AND_HOLD,
	ORDER_LOCK_AND_PASS, // unlock at once, unless the crew wants an heir: then hold
	ORDER_UNLOCK,
	ORDER_UNLOCK_AND_KILL, // then SIGKILL to crew->target
	ORDER_QUIT,
};

enum state { STATE_IDLE = 1, STATE_LOCKING, STATE_HOLDING };

struct member {
	gate orders; // counts them; `order` is the present one
	gate state;
	enum order order;
	bool told;         // the last grant said that the holder had died
	uint64_t granted;  // when
	uint64_t unlocked; // when ORDER_UNLOCK was about to
} __attribute__((aligned(64)));

struct crew_shared {
	struct member members[CREW_SEATS];
	_Atomic uint32_t heirs_wanted;
	gate heir; // member + 1 that became one
	pid_t target;
	uint64_t killed; // when ORDER_UNLOCK_AND_KILL was about to kill
};

struct crew {
	struct lock lock;
	struct crew_shared *shared;
	uint32_t size, next; // members; the one that is being forked
	pid_t pids[CREW_SEATS];
};

// So many members, idle.
void crew_start(struct crew *crew, const struct peer *peer, uint32_t size);
// A new process in the place of a dead member.
void crew_hire(struct crew *crew, uint32_t member);
void crew_order(struct crew *crew, uint32_t member, enum order order);
// Until it sleeps in the lock call or, where nobody who waits sleeps, is about to call.
void crew_await_asleep(struct crew *crew, uint32_t member);
// Member 0 holds, the others sleep in the lock call, in the order of their numbers.
void crew_queue_up(struct crew *crew, uint32_t members, enum order second);
void crew_end(struct crew *crew);

#endif
