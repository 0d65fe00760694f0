// SPDX-License-Identifier: Apache-2.0
//
// What the tests of once's contract share.
#ifndef TESTS_CONTRACT_ONCE_H
#define TESTS_CONTRACT_ONCE_H

#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include "arena/layout.h"

#include <stdatomic.h>
#include <sys/mman.h>

struct value {
	uint64_t words[40]; /* more than a line */
};

// What processes forked from the test share.
static struct shared {
	_Atomic uint32_t runs;
	_Atomic uint32_t inside;
	_Atomic uint32_t go;
} * shared;

static const struct lh_once_options with_value = { .data_size = sizeof(struct value) };
static lh_once once; /* the test's: workers are forked later, or are its threads */

static inline void place(const struct scene *scene)
{
	assert_int_equal(lh_once_at(scene->arena, LH_ANYWHERE, &with_value, &once), 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_ptr_not_equal(shared, MAP_FAILED);
}

static inline struct once_object *object(void)
{
	return (struct once_object *)(uintptr_t)once.private_[1];
}

// ---- initialisers: the context says what to fill in ----------------------------------------------

static inline int fill(void *data, void *context)
{
	struct value *value = data;

	for (size_t i = 0; i < 40; i++) {
		need(value->words[i] == 0);
		value->words[i] = (uintptr_t)context;
	}
	need((uintptr_t)data % 64 == 0);
	atomic_fetch_add(&shared->runs, 1);
	return 0;
}

static inline int hang(void *data, void *context)
{
	atomic_fetch_add(&shared->inside, 1);
	while (!atomic_load(&shared->go))
		scene_pause();
	return fill(data, context);
}

static inline int call(struct worker_stage *stage, uint64_t number)
{
	return lh_once_call(&once, stage->lease, fill, (void *)(uintptr_t)number, LH_FOREVER);
}

static inline int call_and_hang(struct worker_stage *stage, uint64_t number)
{
	return lh_once_call(&once, stage->lease, hang, (void *)(uintptr_t)number, LH_FOREVER);
}

static inline void assert_value(uint64_t number)
{
	const struct value *value = lh_once_data(&once);

	assert_true(lh_once_done(&once));
	assert_non_null(value);
	assert_int_equal((uintptr_t)value % 64, 0);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(value->words[i], number);
}

static inline void await_inside(uint32_t count)
{
	while (atomic_load(&shared->inside) < count)
		scene_pause();
}

#endif
