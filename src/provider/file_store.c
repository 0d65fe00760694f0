// SPDX-License-Identifier: Apache-2.0
//
// What a lock file has in it. Numbers are little-endian, as hosts of a network file system may
// differ.
//
//	0	head: what kind of file it is, and the key's size
//	512	records: two, of which the newer one counts; each in a sector of its own, so that
//	1024	a write that the host's crash tears leaves the other
//	2048	the key
//
// The head is written last: without it nothing counts, and whoever comes next begins again.
#include "src/provider/file.h"

#include "arena/error.h"
#include "arena/process.h"
#include "src/hash.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECTOR ((size_t)512)
#define RECORDS 2u
#define RECORDS_AT SECTOR
#define KEY_AT (4 * SECTOR)
#define FILE_SIZE (KEY_AT + LH_KEY_MAX)
#define READ_TRIES 100u /* a record may be written meanwhile */

static const char magic[8] = "LHlock1\n";

struct stored_head {
	char magic[8];
	uint64_t key_size;
	uint64_t key_hash;
	uint64_t check; // of what precedes it
};

struct stored_record {
	uint64_t serial, token, ceiling;
	uint8_t boot_id[16];
	uint32_t flags, max_holders;
	uint64_t check; // of what precedes it
};

_Static_assert(sizeof(struct stored_head) == 32 && sizeof(struct stored_record) == 56,
	       "the file's format has no holes");

static uint64_t check_of(const void *stored, size_t size)
{
	return htole64(hash_bytes(stored, size - sizeof(uint64_t)));
}

static struct stored_record to_store(const struct file_record *record)
{
	struct stored_record stored = {
		.serial = htole64(record->serial),
		.token = htole64(record->token),
		.ceiling = htole64(record->ceiling),
		.flags = htole32(record->flags),
		.max_holders = htole32(record->max_holders),
	};

	memcpy(stored.boot_id, record->boot_id, sizeof(stored.boot_id));
	stored.check = check_of(&stored, sizeof(stored));
	return stored;
}

// Whether it is a record that somebody wrote.
static bool from_stored(const struct stored_record *stored, struct file_record *ret_record)
{
	struct file_record record = {
		.serial = le64toh(stored->serial),
		.token = le64toh(stored->token),
		.ceiling = le64toh(stored->ceiling),
		.flags = le32toh(stored->flags),
		.max_holders = le32toh(stored->max_holders),
	};

	if (stored->check != check_of(stored, sizeof(*stored)) || record.token > record.ceiling ||
	    record.ceiling > FILE_TOKEN_MOST || (record.flags & ~(FILE_HELD | FILE_DIED)))
		return false;
	memcpy(record.boot_id, stored->boot_id, sizeof(record.boot_id));
	*ret_record = record;
	return true;
}

// ---------------------------------------------------------------------------------------------
// Reading

static int damaged(const struct lock_file *file, const char *what)
{
	return error_detail(-EBADMSG, "%.150s: %s", file->path, what);
}

static bool is_blank(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static int check_head(const struct lock_file *file, const uint8_t *bytes, size_t size,
		      const struct provider_key *key)
{
	struct stored_head head;

	if (is_blank(bytes, size < SECTOR ? size : SECTOR))
		return -ENODATA;
	if (size < KEY_AT)
		return damaged(file, "it was truncated, or is no lock file");
	memcpy(&head, bytes, sizeof(head));
	if (memcmp(head.magic, magic, sizeof(magic)) != 0)
		return damaged(file, "it is no lock file");
	if (head.check != check_of(&head, sizeof(head)) || le64toh(head.key_size) > LH_KEY_MAX ||
	    size - KEY_AT < le64toh(head.key_size) ||
	    le64toh(head.key_hash) != hash_bytes(bytes + KEY_AT, le64toh(head.key_size)))
		return damaged(file, "its head is damaged");
	if (le64toh(head.key_size) != key->size ||
	    (key->size && memcmp(bytes + KEY_AT, key->bytes, key->size) != 0))
		return damaged(file, "it is another key's");
	return 0;
}

// The newer one. How many could be read.
static unsigned choose(const uint8_t *bytes, struct file_record *ret_record)
{
	unsigned readable = 0;

	for (unsigned i = 0; i < RECORDS; i++) {
		struct stored_record stored;
		struct file_record record;

		memcpy(&stored, bytes + RECORDS_AT + i * SECTOR, sizeof(stored));
		if (!from_stored(&stored, &record) || record.serial % RECORDS != i)
			continue;
		if (readable++ == 0 || record.serial > ret_record->serial)
			*ret_record = record;
	}
	return readable;
}

int file_read(const struct lock_file *file, const struct provider_key *key,
	      struct file_record *ret_record)
{
	uint8_t bytes[FILE_SIZE];
	unsigned readable = 0;

	for (unsigned i = 0; i < READ_TRIES && readable < RECORDS; i++) {
		const ssize_t size = pread(file->open.fd, bytes, sizeof(bytes), 0);
		int error;

		if (size < 0)
			return lock_file_error(file, errno, "cannot be read");
		error = check_head(file, bytes, (size_t)size, key);
		if (error)
			return error;
		readable = choose(bytes, ret_record);
	}
	if (!readable)
		return damaged(file, "both of its records are");
	ret_record->suspect = readable < RECORDS;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Writing

// In one call, and within a page: no death of the process leaves a half of it.
static int put(const struct lock_file *file, const void *bytes, size_t size, off_t at)
{
	const ssize_t written = pwrite(file->open.fd, bytes, size, at);

	if (written < 0)
		return lock_file_error(file, errno, "cannot be written");
	return (size_t)written == size ? 0 : lock_file_error(file, ENOSPC, "cannot be written");
}

void file_settle(struct file_record *record)
{
	if (!record->suspect)
		return;
	record->token = record->ceiling;
	record->flags |= FILE_DIED;
	record->suspect = false;
}

int file_write(const struct lock_file *file, struct file_record *record)
{
	struct stored_record stored;

	file_settle(record);
	record->serial++;
	stored = to_store(record);
	return put(file, &stored, sizeof(stored),
		   (off_t)(RECORDS_AT + record->serial % RECORDS * SECTOR));
}

int file_prepare(const struct lock_file *file, const struct provider_key *key,
		 struct file_record *ret_record)
{
	uint8_t bytes[FILE_SIZE - SECTOR] = { 0 };
	struct stored_head head = { .key_size = htole64(key->size),
				    .key_hash = htole64(hash_bytes(key->bytes, key->size)) };
	struct file_record record = { .serial = 0 };
	struct rlimit limit;
	int error;

	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < FILE_SIZE) // else SIGXFSZ
		return error_detail(-ENOSPC, "%.150s: RLIMIT_FSIZE is below %zu bytes", file->path,
				    FILE_SIZE);
	for (unsigned i = 0; i < RECORDS; i++) {
		record.serial = i;
		const struct stored_record stored = to_store(&record);

		memcpy(bytes + RECORDS_AT - SECTOR + i * SECTOR, &stored, sizeof(stored));
	}
	if (key->size)
		memcpy(bytes + KEY_AT - SECTOR, key->bytes, key->size);
	error = put(file, bytes, sizeof(bytes), SECTOR);
	// The head must not be durable before the rest.
	if (!error && fdatasync(file->open.fd) != 0 && errno != EINVAL)
		error = lock_file_error(file, errno, "cannot be made durable");
	if (error)
		return error;
	memcpy(head.magic, magic, sizeof(magic));
	head.check = check_of(&head, sizeof(head));
	error = put(file, &head, sizeof(head), 0);
	if (!error)
		*ret_record = record;
	return error;
}

int file_sync(const struct lock_file *file)
{
	PROCESS_NO_CANCEL;
	int error = 0, directory;

	if (fsync(file->open.fd) != 0 && errno != EINVAL)
		return lock_file_error(file, errno, "cannot be made durable");
	directory = open(file->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 && errno == EACCES)
		return 0; // it may be searched and not read: who may read it has it synced
	if (directory < 0)
		return error_detail(-errno, "%.150s: cannot be opened", file->directory);
	if (fsync(directory) != 0 && errno != EINVAL)
		error = error_detail(-errno, "%.150s: cannot be made durable", file->directory);
	close(directory);
	return error;
}

// Whether the tokens of the last one are known to be all that were granted.
static bool is_of_this_boot(const struct file_record *record)
{
	return memcmp(record->boot_id, process_clock()->boot_id, sizeof(record->boot_id)) == 0;
}

// A token is granted only below a ceiling that is durable, so that a crash of the host, which may
// take back what was written since, takes no token back that somebody has seen. Until it is, the
// record is of no boot: who dies here leaves the next to do it again.
static int reserve_tokens(const struct lock_file *file, struct file_record *record)
{
	int error;

	if (record->token > FILE_TOKEN_MOST - FILE_TOKENS_RESERVED)
		return error_detail(-EOVERFLOW, "%.150s: its tokens are used up", file->path);
	record->ceiling = record->token + FILE_TOKENS_RESERVED;
	memset(record->boot_id, 0, sizeof(record->boot_id));
	error = file_write(file, record);
	if (!error)
		error = file_sync(file);
	if (!error)
		memcpy(record->boot_id, process_clock()->boot_id, sizeof(record->boot_id));
	return error;
}

int file_next_token(const struct lock_file *file, struct file_record *record)
{
	int error = 0;

	file_settle(record);
	if (!is_of_this_boot(record))
		record->token = record->ceiling;
	if (record->token >= record->ceiling)
		error = reserve_tokens(file, record);
	if (!error)
		record->token++;
	return error;
}
