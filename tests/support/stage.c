// SPDX-License-Identifier: Apache-2.0
#include "tests/support/stage.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "arena/reap.h"

const char *stage_name(void)
{
	static char name[64];

	if (!name[0])
		snprintf(name, sizeof(name), "leasehold-test-%d-%llx", (int)getpid(),
			 (unsigned long long)lh_now());
	return name;
}

struct stage stage_open(const char *path, unsigned flags)
{
	const struct lh_arena_options arena = { .flags = flags };
	const struct lh_mutex_options table = { .name = "stage",
						.count = STAGE_MUTEXES,
						.data_size = sizeof(struct stage_data) };
	struct stage stage = { .lease = NULL };

	need_equal(lh_arena_open(path ? path : stage_name(), LH_CREATE, &arena, &stage.arena), 0);
	need_equal(lh_mutex_at(stage.arena, LH_ANYWHERE, &table, &stage.mutexes[0]), 0);
	for (uint32_t i = 1; i < STAGE_MUTEXES; i++)
		need_equal(lh_mutex_element(&stage.mutexes[0], i, &stage.mutexes[i]), 0);
	return stage;
}

void stage_lease(struct stage *stage, const struct lh_lease_options *options)
{
	need_equal(lh_lease_acquire(stage->arena, options, &stage->lease), 0);
}

unsigned stage_lock(struct stage *stage, int index)
{
	lh_grant grant;

	need_equal(lh_mutex_lock(&stage->mutexes[index], stage->lease, LH_FOREVER, &grant), 0);
	return grant.flags;
}

void stage_unlock(struct stage *stage, int index)
{
	need_equal(lh_mutex_unlock(&stage->mutexes[index], stage->lease), 0);
}

struct stage_data *stage_data(const struct stage *stage, int index)
{
	return (struct stage_data *)lh_mutex_data(&stage->mutexes[index]);
}

void stage_await_waiters(const struct stage *stage, int index, unsigned count)
{
	const uint64_t offset = lh_mutex_offset(&stage->mutexes[index]);
	struct lh_lease_info lease;
	unsigned waiting;

	do {
		uint64_t cursor = 0;

		sched_yield();
		waiting = 0;
		while (lh_next_lease(stage->arena, &cursor, &lease) == 0)
			waiting += lease.state == LH_LEASE_LIVE && lease.waits_for == offset;
	} while (waiting < count);
}

static void print_finding(void *context, int severity, uint64_t offset, const char *text)
{
	(void)context;
	fprintf(stderr, "check: %d at %llu: %s\n", severity, (unsigned long long)offset, text);
}

static void print_damage(void *context, int severity, uint64_t offset, const char *text)
{
	if (severity >= LH_CHECK_DEADLOCK)
		print_finding(context, severity, offset, text);
}

void stage_is_sound(const struct stage *stage)
{
	need(lh_arena_check(stage->arena, print_damage, NULL) < LH_CHECK_DEADLOCK);
}

void stage_is_clean(const struct stage *stage)
{
	struct lh_lease_info lease;
	struct lh_hold_info hold;
	struct lh_placement_info placement;
	uint64_t cursor = 0;

	need_equal(reap_all(stage->arena).left, 0);
	need_equal(lh_arena_check(stage->arena, print_finding, NULL), LH_CHECK_CLEAN);
	while (lh_next_lease(stage->arena, &cursor, &lease) == 0) {
		need_equal(lease.state, LH_LEASE_LIVE);
		need_equal(lease.pid, getpid());
	}
	cursor = 0;
	while (lh_next_hold(stage->arena, &cursor, &hold) == 0)
		need(stage->lease != NULL);
	cursor = 0;
	while (lh_next_placement(stage->arena, &cursor, &placement) == 0) {
		need_equal(placement.state, 0);
		need_equal(placement.lease, 0);
	}
}

void stage_close(struct stage *stage)
{
	if (stage->lease)
		need_equal(lh_lease_release(stage->lease), 0);
	stage->lease = NULL;
	need_equal(lh_arena_close(stage->arena), 0);
	stage->arena = NULL;
}

void stage_unlink(void)
{
	need_equal(lh_arena_unlink(stage_name()), 0);
}

int stage_end(void **state)
{
	lh_arena_unlink(stage_name());
	return watch_end(state);
}
