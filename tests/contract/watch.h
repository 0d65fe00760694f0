// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the watch's contract share.
#ifndef TESTS_CONTRACT_WATCH_H
#define TESTS_CONTRACT_WATCH_H

#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/arena.h"
#include "src/slots.h"

enum { SIZE = 200 };

static inline lh_watch place_with(lh_arena *arena, size_t max_size, uint32_t slots,
				  const char *name)
{
	const struct lh_watch_options options = { .max_size = max_size,
						  .slots = slots,
						  .name = name };
	lh_watch watch = { { 0 } };

	assert_int_equal(lh_watch_at(arena, LH_ANYWHERE, &options, &watch), 0);
	return watch;
}

static inline lh_watch place(lh_arena *arena)
{
	return place_with(arena, SIZE, 0, NULL);
}

static inline lh_watch_receiver subscribe(const lh_watch *watch)
{
	lh_watch_receiver receiver;

	assert_int_equal(lh_watch_subscribe(watch, &receiver), 0);
	return receiver;
}

static inline void send(const lh_watch *watch, lh_lease *lease, uint64_t value)
{
	assert_int_equal(lh_watch_send(watch, lease, &value, sizeof(value)), 0);
}

static inline void reads(lh_watch_receiver *receiver, uint64_t value, uint64_t version)
{
	uint64_t seen = 0, seen_version = 0;
	size_t size = 0;

	assert_int_equal(lh_watch_read(receiver, &seen, sizeof(seen), &size, &seen_version), 0);
	assert_int_equal(size, sizeof(seen));
	assert_int_equal(seen, value);
	assert_int_equal(seen_version, version);
}

// In a fork, or a thread, the handle is the test's own.
static inline int send_and_stay(struct worker_stage *stage, uint64_t watch)
{
	const uint64_t value = 4711;

	return lh_watch_send((const lh_watch *)(uintptr_t)watch, stage->lease, &value,
			     sizeof(value));
}

static inline struct value_slot *slot_of(const lh_watch *watch, uint32_t index)
{
	const struct slots slots = slots_of(watch->private_);
	const size_t stride = (lh_watch_footprint(&(struct lh_watch_options){
				       .max_size = slots.max_size, .slots = slots.count }) -
			       64) /
			      slots.count;

	return (struct value_slot *)((uint8_t *)(slots.header + 1) + index * stride);
}

#endif
