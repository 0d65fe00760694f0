// SPDX-License-Identifier: Apache-2.0
//
// file.h: named locks in a directory: one file for each key, which stays.
//
// Who holds what is said by locks of open files alone (fcntl(2), F_OFD_SETLK), on bytes far behind
// the file's end, each handle with open files of its own: the kernel drops them with the
// descriptor, so with whatever end of the process. The file's content is what outlives holders: the
// key, the token and whether the last exclusive holder let go. The steps, and what a crash leaves
// at each: docs/protocol/files.md.
#ifndef SRC_PROVIDER_FILE_H
#define SRC_PROVIDER_FILE_H

#include "src/locks.h"

#include <stdbool.h>
#include <sys/types.h>
#include <urcu/list.h>

// ---- names: file_name.c

#define FILE_NAME_KEY_MOST 200u /* bytes of an encoded key; longer ones are hashed */
#define FILE_NAME_SIZE 256u

// The name of a key's file. 0, or -ENOTSUP: it is to be hashed and cannot be.
int file_name(const struct provider_key *key, char name[FILE_NAME_SIZE]);

// `text` with its percent-encoding undone; NULL-terminated, to be freed. 0, -EINVAL or -ENOMEM.
int file_decode(const char *text, size_t length, char **ret_text);

// ---- open files: file_open.c

// A descriptor that a forked child closes before anything else runs in it.
struct listed_fd {
	int fd;                    // -1: none
	struct cds_list_head node; // in the process's list
};

struct lock_file {
	struct listed_fd open;
	dev_t device;
	ino_t inode;
	const char *directory; // of the locks that it belongs to
	char *path;
};

// Opens the key's file, made if there is none, as an open file that nobody else has. 0 or a
// negative errno; then there is nothing to close.
int lock_file_open(struct lock_file *file, const char *directory, mode_t mode,
		   const struct provider_key *key);
// Does nothing if it is not open.
void lock_file_close(struct lock_file *file);
// `from` is not open then.
void lock_file_move(struct lock_file *to, struct lock_file *from);
// Whether its name still leads to it. Async-signal-safe.
bool lock_file_is_there(const struct lock_file *file);
// Opens it for reading alone, and makes none: -ENOENT.
int lock_file_open_to_read(struct lock_file *file, const char *directory,
			   const struct provider_key *key);
// A negative errno for `number`, the errno of what was done to it; detail set.
int lock_file_error(const struct lock_file *file, int number, const char *what);

struct notifier {
	struct listed_fd open; // arena/sys/notify.h
	uint64_t generation;   // of the process that opened it
};

// NULL: none is to be had.
struct notifier *notifier_open(void);
// Whether it is of this process, and open.
bool notifier_is_own(const struct notifier *notifier);
// Frees it; NULL does nothing.
void notifier_close(struct notifier *notifier);

// ---- content: file_store.c

#define FILE_TOKENS_RESERVED (UINT64_C(1) << 20)
#define FILE_TOKEN_MOST (UINT64_MAX >> 2)

enum {
	FILE_HELD = 1, // exclusively; still there when the lock is not: the holder was lost
	FILE_DIED = 2, // one was lost before, and nobody has declared it consistent
};

// What the file keeps.
struct file_record {
	uint64_t serial; // of records
	uint64_t token;  // of the last exclusive grant
	// No token above it was granted before it was durable; what a crash of the host takes back,
	// of this boot, lies below.
	uint64_t ceiling;
	uint8_t boot_id[16];
	uint32_t flags;
	uint32_t max_holders; // that the users of the key agree on
	bool suspect;         // a part of it was not readable; not stored
};

// The newest record, once the file was seen to be the key's. 0; -ENODATA: nothing was ever written;
// -EBADMSG; another negative errno.
int file_read(const struct lock_file *file, const struct provider_key *key,
	      struct file_record *ret_record);
// Writes what a new file has. By one at a time, and never once somebody was granted something.
int file_prepare(const struct lock_file *file, const struct provider_key *key,
		 struct file_record *ret_record);
// Of a suspect record: the one that is lost may have said anything that its ceiling allows.
void file_settle(struct file_record *record);
// Writes a record in place of the older of the two; its serial is counted up.
int file_write(const struct lock_file *file, struct file_record *record);
// The next token, not written yet, of a record that is settled then. By one at a time: who has the
// key for itself, or ENTRY. 0; -EOVERFLOW; another negative errno.
int file_next_token(const struct lock_file *file, struct file_record *record);
// Makes what was written, and the file's name, durable.
int file_sync(const struct lock_file *file);

// ---- locks of bytes: file_bytes.c

enum { FILE_PERMITS = -1 }; // beside enum lh_mode: one of max_holders permits

// What one wants of a key, and then has.
struct file_claim {
	int mode; // enum lh_mode or FILE_PERMITS
	uint32_t max_holders;
	uint32_t permit;
};

// Each: 0; -EAGAIN: another open file has a lock in the way; another negative errno.
int bytes_enter(const struct lock_file *file, lh_deadline deadline); // waits for its moment
void bytes_leave(const struct lock_file *file);
int bytes_take(const struct lock_file *file, struct file_claim *claim);
void bytes_give_back(const struct lock_file *file, const struct file_claim *claim);
int bytes_take_turn(const struct lock_file *file);
int bytes_see_turn(const struct lock_file *file);
int bytes_begin_waiting(const struct lock_file *file);
void bytes_end_waiting(const struct lock_file *file); // gives the turn back, too
int bytes_see_waiting(const struct lock_file *file);
// Whether any other holds the key or waits for it, and whether nobody holds it so that the claim is
// kept out.
int bytes_see_users(const struct lock_file *file);
int bytes_see_holders(const struct lock_file *file, const struct file_claim *claim);
// Whether another holds it exclusively; by an open file for reading, too.
int bytes_see_exclusive(const struct lock_file *file);
void bytes_give_all_back(const struct lock_file *file);

// ---- waiting: file_wait.c

#define FILE_NOTIFIERS 8

struct file_locks {
	struct lh_locks base;
	char *directory;
	mode_t mode; // of new files
	_Atomic(struct notifier *)
		notifiers[FILE_NOTIFIERS]; // kept for the next to wait; NULL: none
	// Of the set's helper thread alone: file_pending.c
	struct notifier *pending_notifier;
	void *watches;   // of the queues that have one, by watch: tsearch
	uint64_t losses; // how often its notifier has lost news, which may have been any queue's
};

// Where one who waits for a key stands, from one look at it to the next.
struct file_place {
	struct lock_file file;
	bool waits;                // has WAITING: has slept, or is about to
	bool turn;                 // first in line
	struct notifier *notifier; // NULL: the backstop is all there is
	int watch;
	uint64_t backstop_ns;
	uint64_t pass_ns; // when to look whether the first in line sleeps too deep
	bool idle;        // nobody was in the way then
};

// The first of a queue of pending acquires.
struct file_queue {
	struct file_place place;
	bool told;          // something has happened to the file
	uint64_t losses;    // struct file_locks: those that it knows of
	uint64_t looked_ns; // when it was looked at
};

// Takes the key for `claim`, with the record as it was before: the file is open and locked then. 0
// or lh_acquire's error, then it is not open. On behalf of a queue: from the place that it has,
// which it keeps with -EBUSY.
int file_take(struct file_locks *locks, const struct provider_request *request,
	      const struct provider_key *key, struct file_claim *claim, struct lock_file *file,
	      struct file_record *ret_record);
void file_close_notifiers(struct file_locks *locks);
// Takes a place for a queue that has none; then look. 0 or a negative errno.
int file_begin_place(struct file_locks *locks, struct file_queue *queue,
		     const struct provider_key *key);
// Of the wait for news until the next look.
void file_next_backstop(struct file_place *place, bool told, uint64_t most_ns);

// ---- acquires that wait without a thread: file_pending.c; provider.h says what each does

int file_pending_listen(struct file_locks *locks, uint64_t *ret_news);
bool file_pending_is_free(struct file_locks *locks, struct provider_queue *queue,
			  struct wait *wait);
void file_pending_leave(struct file_locks *locks, struct provider_queue *queue);
int file_pending_sleep(struct file_locks *locks, const int *others, size_t count,
		       uint64_t until_ns);
void file_pending_close(struct file_locks *locks);
// A queue's file is told of, from now on; or is so no more.
void file_pending_watch(struct file_locks *locks, struct file_queue *queue);
void file_pending_unwatch(struct file_locks *locks, struct file_queue *queue);

#endif
