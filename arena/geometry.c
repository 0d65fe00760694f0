// SPDX-License-Identifier: Apache-2.0
#include "arena/geometry.h"

#include "arena/error.h"
#include "arena/process.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

// A number that differs when the structs of layout.h, as this compiler lays them out, do (FNV-1a).
static uint32_t shape(void)
{
	const uint32_t facts[] = {
		0x01020304u, // byte order, by the bytes hashed
		sizeof(void *),
		sizeof(pthread_mutex_t),
		LAYOUT_LINE,
		sizeof(struct arena_header),
		sizeof(struct owner_entry),
		sizeof(struct lease_slot),
		sizeof(struct hold_record),
		sizeof(struct directory_entry),
		sizeof(struct event_record),
		sizeof(struct object_header),
		sizeof(struct rwlock_object),
	};
	const unsigned char *bytes = (const unsigned char *)facts;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof(facts); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

// Hold tables are a power of two of lines, so that a hash picks one by a shift.
static uint32_t hold_lines(uint32_t max_holds)
{
	uint32_t lines = 1;

	while (lines * HOLDS_PER_LINE < max_holds)
		lines *= 2;
	return lines;
}

// Counts chosen by the creator → offsets and total. The user's size is a multiple of LAYOUT_LINE.
static void place_tables(struct arena_header *header)
{
	const uint64_t holds = hold_lines(header->max_holds) * (uint64_t)LAYOUT_LINE;
	uint64_t offset = LAYOUT_PAGE;

	header->owners_offset = offset;
	offset += (uint64_t)header->owners * sizeof(struct owner_entry);
	header->leases_offset = offset;
	offset += (uint64_t)header->max_leases * sizeof(struct lease_slot);
	header->holds_offset = offset;
	offset += (uint64_t)header->max_leases * holds;
	header->entries_offset = offset;
	offset += (uint64_t)header->entries * sizeof(struct directory_entry);
	header->events_offset = offset;
	offset += (uint64_t)header->events * sizeof(struct event_record);
	offset = (offset + LAYOUT_PAGE - 1) / LAYOUT_PAGE * LAYOUT_PAGE;
	header->user_offset = offset;
	offset += header->user_size;
	header->total_size = (offset + LAYOUT_PAGE - 1) / LAYOUT_PAGE * LAYOUT_PAGE;
}

static uint32_t entries_for(uint64_t user_size)
{
	const uint64_t wanted = user_size / 1024;

	if (wanted < 128)
		return 128;
	return wanted > LAYOUT_MAX_ENTRIES ? LAYOUT_MAX_ENTRIES : (uint32_t)wanted;
}

int geometry_plan(const struct lh_arena_options *options, struct arena_header *ret_header)
{
	const struct clock_identity *clock = process_clock();
	struct arena_header header = {
		.magic = LAYOUT_MAGIC,
		.version = LAYOUT_VERSION,
		.shape = shape(),
		.max_leases = options->max_leases,
		.max_holds = options->max_holds,
		.owners = options->max_leases + LAYOUT_EXTRA_OWNERS,
		.flags = options->flags,
		.events = LAYOUT_EVENTS,
		.time_namespace = clock->time_namespace,
		.created_ns = clock_now(),
	};

	if (options->size > LAYOUT_MAX_SIZE / 2)
		return error_detail(-EINVAL, "size %zu: at most %llu", options->size,
				    (unsigned long long)(LAYOUT_MAX_SIZE / 2));
	header.user_size = (options->size + LAYOUT_LINE - 1) / LAYOUT_LINE * LAYOUT_LINE;
	header.entries = entries_for(header.user_size);
	memcpy(header.boot_id, clock->boot_id, sizeof(header.boot_id));
	place_tables(&header);
	*ret_header = header;
	return 0;
}

int geometry_check(const struct arena_header *header, uint64_t size)
{
	const struct clock_identity *clock = process_clock();
	struct arena_header expected = *header;

	if (header->magic != LAYOUT_MAGIC)
		return error_detail(-EBADMSG, "no arena: the magic number is missing");
	if (header->version != LAYOUT_VERSION)
		return error_detail(-EPROTONOSUPPORT, "layout version %u, this library has %u",
				    header->version, LAYOUT_VERSION);
	if (header->shape != shape())
		return error_detail(-EPROTONOSUPPORT, "made for another word size, byte order or "
						      "C library");
	if (memcmp(header->boot_id, clock->boot_id, sizeof(clock->boot_id)) != 0)
		return error_detail(-EPROTONOSUPPORT, "made before the last boot");
	if (header->time_namespace != clock->time_namespace)
		return error_detail(-EPROTONOSUPPORT, "made in time namespace %llu, this is %llu",
				    (unsigned long long)header->time_namespace,
				    (unsigned long long)clock->time_namespace);
	if (header->max_leases == 0 || header->max_leases > LAYOUT_MAX_LEASES ||
	    header->max_holds == 0 || header->max_holds > LAYOUT_MAX_HOLDS ||
	    header->owners != header->max_leases + LAYOUT_EXTRA_OWNERS ||
	    header->events != LAYOUT_EVENTS || header->user_size == 0 ||
	    header->user_size > LAYOUT_MAX_SIZE / 2 || header->user_size % LAYOUT_LINE ||
	    header->entries != entries_for(header->user_size) ||
	    (header->flags & ~(uint32_t)GEOMETRY_FLAGS))
		return error_detail(-EBADMSG, "the header's counts or flags are out of range");
	place_tables(&expected);
	if (memcmp(&expected, header, offsetof(struct arena_header, entry_bound)) != 0)
		return error_detail(-EBADMSG, "the header's offsets do not follow from its counts");
	if (header->total_size != size)
		return error_detail(-EBADMSG, "the object has %llu bytes instead of %llu",
				    (unsigned long long)size,
				    (unsigned long long)header->total_size);
	return 0;
}

int geometry_read(int fd, uint64_t size, struct arena_header *ret_header)
{
	memset(ret_header, 0, sizeof(*ret_header));
	if (size < sizeof(*ret_header) ||
	    pread(fd, ret_header, sizeof(*ret_header), 0) != (ssize_t)sizeof(*ret_header))
		return error_detail(-EBADMSG, "no arena: the object has %llu bytes",
				    (unsigned long long)size);
	return geometry_check(ret_header, size);
}

void geometry_apply(struct lh_arena *arena, const struct arena_header *header)
{
	const uint32_t lines = hold_lines(header->max_holds);

	arena->header = (struct arena_header *)arena->base;
	arena->size = header->total_size;
	arena->owners = (struct owner_entry *)(arena->base + header->owners_offset);
	arena->leases = (struct lease_slot *)(arena->base + header->leases_offset);
	arena->holds = (struct hold_record *)(arena->base + header->holds_offset);
	arena->entries = (struct directory_entry *)(arena->base + header->entries_offset);
	arena->events = (struct event_record *)(arena->base + header->events_offset);
	arena->user_offset = header->user_offset;
	arena->user_end = header->user_offset + header->user_size;
	arena->owner_count = header->owners;
	arena->lease_count = header->max_leases;
	arena->max_holds = header->max_holds;
	arena->holds_per_lease = (uint32_t)(lines * HOLDS_PER_LINE);
	arena->hold_lines = lines;
	arena->entry_count = header->entries;
	arena->event_count = header->events;
	arena->plain_fences = (header->flags & LH_ARENA_PLAIN_FENCES) != 0;
}
