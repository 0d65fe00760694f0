// SPDX-License-Identifier: Apache-2.0
//
// layouts.h: loops without contention, in several processes one after the other. How fast so short
// a loop runs depends by some percent on where its data and stack happen to lie (Mytkowicz et al.,
// "Producing wrong data without doing anything obviously wrong!", 2009). So each process has what
// it locks anew and a stack moved at random, and gives one ratio: rows of the samples have .group =
// group.
#ifndef BENCH_LAYOUTS_H
#define BENCH_LAYOUTS_H

#include "measure.h"

struct layouts {
	const struct run *run;
	const char *purpose;
	double seconds; // for all of it
	size_t columns;
	size_t count;   // of processes
	uint64_t calls; // of each loop, in each round
	void *context;
	void (*create)(void *context); // in the program, before each process
	void (*destroy)(void *context);
	void (*attach)(void *context); // in the process, before the rounds
	void (*detach)(void *context); // may be NULL
	void (*loop)(void *context, size_t column, uint64_t calls);

	struct samples *samples; // filled in: ns for a call; to be destroyed by the caller
	size_t group;            // rounds of a process, set or not
	size_t at;               // the present process
	struct random random;
};

void layouts_measure(struct layouts *layouts);

#endif
