// SPDX-License-Identifier: Apache-2.0
//
// table.c: the list of files, and the arena that workers share.
#include "count.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool complain(const char *what, int error)
{
	const char *const detail = lh_error_detail();

	fprintf(stderr, "demo-count: %s: %s%s%s%s\n", what, lh_strerror(error), *detail ? " (" : "",
		detail, *detail ? ")" : "");
	return false;
}

static bool out_of_memory(void)
{
	fprintf(stderr, "demo-count: out of memory\n");
	return false;
}

// Doubles *block, of elements of `size` bytes, until it holds `wanted` of them.
static bool grow(void **block, size_t *capacity, size_t wanted, size_t size)
{
	size_t larger = *capacity ? *capacity : 1024;
	void *moved;

	if (wanted <= *capacity)
		return true;
	while (larger < wanted)
		larger *= 2;
	moved = reallocarray(*block, larger, size);
	if (!moved)
		return out_of_memory();
	*block = moved;
	*capacity = larger;
	return true;
}

static bool add_file(struct file_list *list, size_t capacity[2], const FTSENT *entry)
{
	const size_t size = strlen(entry->fts_path) + 1;

	if (list->files == UINT32_MAX ||
	    !grow((void **)&list->names, &capacity[0], list->names_size + size, 1) ||
	    !grow((void **)&list->offset, &capacity[1], (size_t)list->files + 1, sizeof(uint64_t)))
		return false;
	memcpy(list->names + list->names_size, entry->fts_path, size);
	list->offset[list->files++] = list->names_size;
	list->names_size += size;
	list->bytes += (uint64_t)entry->fts_statp->st_size;
	return true;
}

// As find does by default, follows no symbolic link.
bool list_files(const char *directory, struct file_list *list)
{
	char *const roots[] = { (char *)directory, NULL };
	FTS *const tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	size_t capacity[2] = { 0, 0 };
	FTSENT *entry = NULL;
	bool good = tree != NULL;

	*list = (struct file_list){ 0 };
	while (good && (errno = 0, entry = fts_read(tree)) != NULL) {
		switch (entry->fts_info) {
		case FTS_F:
			good = add_file(list, capacity, entry);
			break;
		case FTS_DNR:
		case FTS_ERR:
		case FTS_NS:
			fprintf(stderr, "demo-count: %s: %s\n", entry->fts_path,
				strerror(entry->fts_errno));
			good = false;
			break;
		default:
			break;
		}
	}
	if (good && errno) {
		perror("demo-count: fts_read");
		good = false;
	}
	if (tree)
		fts_close(tree);
	else
		perror("demo-count: fts_open");
	if (good && list->files == 0) {
		fprintf(stderr, "demo-count: no files below %s\n", directory);
		good = false;
	}
	return good;
}

void free_list(struct file_list *list)
{
	free(list->names);
	free(list->offset);
	*list = (struct file_list){ 0 };
}

static size_t results_size(uint32_t files)
{
	return files * sizeof(struct result);
}

static size_t names_offset(uint32_t files)
{
	return sizeof(struct run) + files * sizeof(uint64_t);
}

static size_t round_up(size_t size)
{
	return (size + 63) / 64 * 64;
}

// Everybody runs these lines: the first one creates the two placements, the others attach to them.
static bool place(struct table *table, uint32_t files)
{
	const struct lh_mutex_options options = { .name = "files", .count = files };
	uint64_t offset;
	int error = lh_mutex_at(table->arena, LH_ANYWHERE, &options, &table->mutexes);

	if (error)
		return complain("mutexes", error);
	error = lh_region_at(table->arena, LH_ANYWHERE, results_size(files), "results", &offset);
	if (error)
		return complain("region \"results\"", error);
	table->results = lh_arena_range(table->arena, offset, results_size(files));
	return true;
}

static bool create_run(struct table *table, const struct file_list *list, uint32_t workers)
{
	const size_t names = names_offset(list->files);
	const size_t size = names + list->names_size;
	uint64_t offset;
	const int error = lh_region_at(table->arena, LH_ANYWHERE, size, "run", &offset);

	if (error)
		return complain("region \"run\"", error);
	table->run = lh_arena_range(table->arena, offset, size);
	table->run->files = list->files;
	table->run->workers = workers;
	table->run->parent = getpid();
	table->run->names_offset = names;
	memcpy(table->run->name_offset, list->offset, list->files * sizeof(uint64_t));
	memcpy((char *)table->run + names, list->names, list->names_size);
	return true;
}

bool create_table(const char *arena_name, const struct file_list *list, uint32_t workers,
		  struct table *table)
{
	const struct lh_mutex_options mutexes = { .name = "files", .count = list->files };
	const struct lh_arena_options options = {
		.size = lh_mutex_footprint(&mutexes) + round_up(results_size(list->files)) +
			round_up(names_offset(list->files) + list->names_size),
	};
	const int error = lh_arena_open(arena_name, LH_CREATE | LH_EXCL, &options, &table->arena);

	if (error)
		return complain("arena", error);
	return create_run(table, list, workers) && place(table, list->files);
}

bool open_table(const char *arena_name, struct table *table)
{
	uint64_t offset;
	int error = lh_arena_open(arena_name, 0, NULL, &table->arena);

	if (error)
		return complain("arena", error);
	error = lh_find(table->arena, "run", &offset);
	if (error)
		return complain("region \"run\"", error);
	table->run = lh_arena_range(table->arena, offset, sizeof(struct run));
	return place(table, table->run->files);
}
