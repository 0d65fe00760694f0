// SPDX-License-Identifier: Apache-2.0
//
// mutex_table.h: pthread mutexes found by the bytes of a key, as named locks are and with nothing
// else to them: what the memory of so many locks costs, whoever's they are. Nothing is made or
// removed while it is in use, no death is survived, and who has locked one keeps no note of it. A
// mutex and its key are in one cache line, and these lie side by side.
#ifndef BENCH_MUTEX_TABLE_H
#define BENCH_MUTEX_TABLE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define MUTEX_TABLE_KEY 16 // bytes of a key, its end included

struct mutex_table;

// In memory that is shared, of process-shared mutexes; ended with the process. Key i is keys[i].
struct mutex_table *mutex_table_create(const char (*keys)[MUTEX_TABLE_KEY], uint32_t count);

// The key must be one of them.
pthread_mutex_t *mutex_table_find(const struct mutex_table *table, const char *key);

#endif
