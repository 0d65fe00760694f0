// SPDX-License-Identifier: Apache-2.0
//
// demo.h: the parent of demo-count, which starts the workers and kills them.
#ifndef DEMO_COUNT_DEMO_H
#define DEMO_COUNT_DEMO_H

#include "count.h"

#include <signal.h>

enum { WORKERS_MAX = 64 };

struct worker {
	pid_t pid; // 0: none
	uint32_t life;
};

// What workers and `find | wc` are compared by.
struct sum {
	uint32_t files;
	struct totals totals;
};

struct demo {
	// The options.
	const char *directory; // its real path
	uint32_t workers, kills_wanted, recoveries_wanted;
	uint64_t kill_every_ns; // on average
	uint64_t give_up_ns;    // when
	unsigned short random[3];

	char arena_name[64];
	struct table table;
	struct worker worker[WORKERS_MAX];
	uint32_t running;
	uint32_t kills;
	uint64_t next_kill_ns, next_show_ns;
	bool terminal;       // stdout is one
	sigset_t stop, wake; // blocked: signals that end the run; and SIGCHLD besides
	int signal;          // the one that did, 0: none
};

// pass.c
bool run_pass(struct demo *demo); // every file counted once more, amid kills
// The sums of all results, with a last visit to each: no worker runs, so no mutex may be held.
bool sum_results(const struct demo *demo, struct sum *ret_sum);
bool enough_kills(const struct demo *demo); // and recoveries
void show_progress(struct demo *demo, const char *what);
void end_progress(const struct demo *demo);
void notice_signal(struct demo *demo); // one that is pending

// report.c
bool equal_sums(const struct sum *left, const struct sum *right);
void print_report(const struct demo *demo, const struct sum *ours, const struct sum *theirs,
		  uint64_t elapsed_ns);
bool check_arena(const struct demo *demo);
// How many killed workers held a file that somebody then was granted, was told so, and counted
// again; and the times from the kill to that grant. ret_times: NULL, or room for run->lives.
uint32_t count_recoveries(const struct run *run, uint64_t *ret_times);

#endif
