// SPDX-License-Identifier: Apache-2.0
//
// locks_file.h: a directory of the test's own, and what is in it.
#ifndef TESTS_CONTRACT_LOCKS_FILE_H
#define TESTS_CONTRACT_LOCKS_FILE_H

#include "tests/contract/locks.h"

static inline int file_begin(void **state)
{
	const int result = watch_begin(state);

	locks_scene.arena[0] = '\0';
	locks_make_directory("/tmp", "");
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	return result;
}

#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, file_begin, locks_teardown)

static inline const char *path_of(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", locks_scene.directory, name);
	return path;
}

static inline int refusal(const char *key)
{
	lh_handle *handle;
	const int error = lh_acquire(locks_scene.locks, key, LH_NOW, NULL, &handle);

	need(error < 0);
	return error;
}

#endif
