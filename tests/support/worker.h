// SPDX-License-Identifier: Apache-2.0
//
// worker.h: threads and processes with a lease of their own that do what a test tells them.
//
// A worker runs one step after the other and answers each with the step's result. A step is a
// function of the test program: a worker process is a fork of it, and uses the test's own open
// arena, as forked children may.
#ifndef TESTS_SUPPORT_WORKER_H
#define TESTS_SUPPORT_WORKER_H

#include <leasehold/leasehold.h>
#include <stdint.h>
#include <sys/types.h>

enum worker_kind { WORKER_THREAD, WORKER_PROCESS };

// What a step works with. `grant` and `value` come back with the answer.
struct worker_stage {
	lh_arena *arena;
	lh_lease *lease;
	lh_grant grant;
	uint64_t value;
	uint64_t locked; /* offset of the mutex that worker_lock locked last */
};

typedef int (*worker_step)(struct worker_stage *stage, uint64_t argument);

struct worker;

// A new worker, once it has its lease. options may be NULL. Failures end in cmocka's fail.
struct worker *worker_start(enum worker_kind kind, lh_arena *arena,
			    const struct lh_lease_options *options);

pid_t worker_pid(const struct worker *worker); /* of a process */
uint64_t worker_lease(const struct worker *worker);

// Tells it what to do; worker_hear waits for the result. worker_do does both. Of the last answer:
// worker_grant, worker_value.
void worker_tell(struct worker *worker, worker_step step, uint64_t argument);
int worker_hear(struct worker *worker);
int worker_do(struct worker *worker, worker_step step, uint64_t argument);
lh_grant worker_grant(const struct worker *worker);
uint64_t worker_value(const struct worker *worker);
// Whether an answer is there to be heard.
int worker_answered(const struct worker *worker);
// Descriptor that becomes readable with an answer, or with the worker's end.
int worker_descriptor(const struct worker *worker);

// Renews its lease, as the library's own thread may at any moment: to end very soon.
void worker_shorten(const struct worker *worker);
// Ends it: a process by SIGKILL, a thread by pthread_exit once it has answered; its lease is not
// released.
void worker_kill(struct worker *worker);
// Ends it after releasing its lease: the result of that.
int worker_end(struct worker *worker);

// The steps that most tests want; the argument is the offset of a mutex of the default options, or
// the size of leased memory.
int worker_lock(struct worker_stage *stage, uint64_t offset);
int worker_lock_blindly(struct worker_stage *stage, uint64_t offset); /* ret_grant NULL */
int worker_try(struct worker_stage *stage, uint64_t offset);
int worker_unlock(struct worker_stage *stage, uint64_t offset);
// Unlocks the mutex locked last once the lease of that number waits.
int worker_unlock_when_waited(struct worker_stage *stage, uint64_t lease);
int worker_consistent(struct worker_stage *stage, uint64_t offset);
int worker_region(struct worker_stage *stage, uint64_t size); /* value: its offset */
int worker_renew(struct worker_stage *stage, uint64_t ttl_ns);

#endif
