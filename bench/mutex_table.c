// SPDX-License-Identifier: Apache-2.0
#include "mutex_table.h"

#include <stdlib.h>
#include <string.h>

#include "process.h"

#define LINE 64
#define NONE UINT32_MAX

struct entry {
	_Alignas(LINE) pthread_mutex_t mutex;
	uint32_t next; // of its bucket, or NONE
	char key[MUTEX_TABLE_KEY];
};

struct mutex_table {
	struct entry *entries;
	uint32_t *buckets; // the first entry, or NONE
	uint32_t bucket_count;
};

// FNV-1a and a mixing step, as named locks are found.
static uint64_t hash_key(const char *key)
{
	uint64_t hash = 14695981039346656037u;

	for (; *key; key++)
		hash = (hash ^ (uint8_t)*key) * 1099511628211u;
	return (hash ^ hash >> 33) * 0xff51afd7ed558ccdu;
}

static uint32_t *bucket_of(const struct mutex_table *table, const char *key)
{
	return &table->buckets[(hash_key(key) >> 32) * table->bucket_count >> 32];
}

struct mutex_table *mutex_table_create(const char (*keys)[MUTEX_TABLE_KEY], uint32_t count)
{
	struct mutex_table *table = malloc(sizeof(*table));
	pthread_mutexattr_t attributes;

	if (!table)
		process_die("no memory");
	table->bucket_count = count / 4 * 5 + 1; // a fourth more than keys, as named locks have
	table->entries = process_shared_memory(sizeof(*table->entries) * count);
	table->buckets = process_shared_memory(sizeof(*table->buckets) * table->bucket_count);
	memset(table->buckets, 0xff, sizeof(*table->buckets) * table->bucket_count);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	for (uint32_t i = 0; i < count; i++) {
		struct entry *entry = &table->entries[i];
		uint32_t *bucket = bucket_of(table, keys[i]);
		const int error = pthread_mutex_init(&entry->mutex, &attributes);

		if (error)
			process_die_errno(error, "pthread_mutex_init");
		memcpy(entry->key, keys[i], MUTEX_TABLE_KEY);
		entry->next = *bucket;
		*bucket = i;
	}
	pthread_mutexattr_destroy(&attributes);
	return table;
}

pthread_mutex_t *mutex_table_find(const struct mutex_table *table, const char *key)
{
	uint32_t at = *bucket_of(table, key);

	for (; at != NONE; at = table->entries[at].next) {
		if (strcmp(table->entries[at].key, key) == 0)
			return &table->entries[at].mutex;
	}
	process_die("no mutex for %s", key);
}
