// SPDX-License-Identifier: Apache-2.0
//
// How a key is taken, and waited for. Who waits sleeps until something happens to the file, and looks
// at it again now and then, since it is not told of everything: not of what hosts do that share the file
// system, and of a dying holder just before its locks are dropped.
#include "src/provider/file.h"

#include "arena/cancel.h"
#include "arena/error.h"
#include "arena/process.h"
#include "arena/sys/clock.h"
#include "arena/sys/notify.h"

#include <errno.h>
#include <unistd.h>

#define BACKSTOP_FIRST_NS (1 * CLOCK_NS_PER_MS)
#define BACKSTOP_BEHIND_NS (16 * CLOCK_NS_PER_MS) // first, of those not first in line
#define BACKSTOP_LAST_NS (50 * CLOCK_NS_PER_MS)
#define PASS_NS (100 * CLOCK_NS_PER_MS)

enum { MOVED = 1 }; // the name leads to another file by now

struct wait {
	struct file_locks *locks;
	const struct provider_request *request;
	const struct provider_key *key;
	struct file_claim *claim;
	struct lock_file *file;
	struct file_record record;
	bool waits; // has slept, or is about to
	bool turn;  // first in line
	int notifier, watch;
	uint64_t backstop_ns;
	uint64_t pass_ns; // when to look whether the first in line sleeps too deep
	bool idle;        // nobody was in the way then
};

// ---------------------------------------------------------------------------------------------
// Notifiers: closing one takes the kernel milliseconds, so a few are kept.

static uint64_t notifier_word(int notifier)
{
	return process_generation() << 32 | (uint32_t)(notifier + 1);
}

// A parent's: its events are not for this process.
static int own_notifier(uint64_t word)
{
	const int notifier = (int)(uint32_t)word - 1;

	if (word == notifier_word(notifier))
		return notifier;
	close(notifier);
	return NOTIFY_NONE;
}

static int get_notifier(struct file_locks *locks)
{
	for (size_t i = 0; i < FILE_NOTIFIERS; i++) {
		const uint64_t word = atomic_exchange(&locks->notifiers[i], 0);
		const int notifier = word ? own_notifier(word) : NOTIFY_NONE;

		if (notifier != NOTIFY_NONE)
			return notifier;
	}
	return notify_open();
}

static void put_notifier(struct file_locks *locks, int notifier)
{
	for (size_t i = 0; i < FILE_NOTIFIERS; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&locks->notifiers[i], &none,
						   notifier_word(notifier)))
			return;
	}
	close(notifier);
}

void file_close_notifiers(struct file_locks *locks)
{
	for (size_t i = 0; i < FILE_NOTIFIERS; i++) {
		const uint64_t word = atomic_exchange(&locks->notifiers[i], 0);

		if (word)
			close((int)(uint32_t)word - 1);
	}
}

// Without any the backstop is all there is.
static void start_watch(struct wait *wait)
{
	wait->notifier = get_notifier(wait->locks);
	if (wait->notifier < 0)
		return;
	wait->watch = notify_watch(wait->notifier, wait->file->fd);
	if (wait->watch >= 0)
		return;
	put_notifier(wait->locks, wait->notifier);
	wait->notifier = NOTIFY_NONE;
}

static void stop_watch(struct wait *wait)
{
	if (wait->notifier < 0)
		return;
	notify_unwatch(wait->notifier, wait->watch);
	put_notifier(wait->locks, wait->notifier);
	wait->notifier = NOTIFY_NONE;
}

// ---------------------------------------------------------------------------------------------
// Looking

// All users of a key say the same of its permits; when there is none, the next one says.
static int agree(struct wait *wait)
{
	struct file_record *record = &wait->record;
	int error;

	if (record->max_holders == wait->claim->max_holders)
		return 0;
	error = bytes_see_users(wait->file);
	if (error == -EAGAIN)
		return error_detail(-EINVAL, "%.150s: it is in use with max_holders %u, not %u",
				    wait->file->path, record->max_holders,
				    wait->claim->max_holders);
	if (error)
		return error;
	record->max_holders = wait->claim->max_holders;
	return file_write(wait->file, record);
}

// The record is read after the lock was taken: before that, its holder may still change it.
static int take(struct wait *wait, bool in_turn)
{
	int error = in_turn ? 0 : bytes_see_turn(wait->file), failure;

	if (!error)
		error = bytes_take(wait->file, wait->claim);
	if (error && error != -EAGAIN)
		return error;
	failure = file_read(wait->file, wait->key, &wait->record);
	if (failure == -ENODATA)
		failure = file_prepare(wait->file, wait->key, &wait->record);
	if (!failure)
		failure = agree(wait);
	if (failure && !error)
		bytes_give_back(wait->file, wait->claim);
	return failure ? failure : error;
}

// Another is the first in line. If nobody holds the key now, nor did a while ago, it is not running:
// stopped, perhaps, and nobody is to wait for that.
static bool may_pass(struct wait *wait)
{
	const uint64_t now = clock_now();
	const bool before = wait->idle;

	if (now < wait->pass_ns)
		return false;
	wait->pass_ns = now + PASS_NS;
	wait->idle = bytes_see_holders(wait->file, wait->claim) == 0;
	return before && wait->idle;
}

static int look(struct wait *wait)
{
	int error = wait->waits ? bytes_take_turn(wait->file) : 0;

	if (wait->waits && !error && !wait->turn) {
		wait->turn = true;
		wait->backstop_ns = BACKSTOP_FIRST_NS;
	}
	if (error == -EAGAIN && may_pass(wait))
		error = 0;
	if (!error)
		error = bytes_enter(wait->file);
	if (!error) {
		error = take(wait, wait->waits);
		bytes_leave(wait->file);
	}
	if ((error && error != -EAGAIN) || lock_file_is_there(wait->file))
		return error;
	return MOVED;
}

// ---------------------------------------------------------------------------------------------
// Sleeping

static int begin_waiting(struct wait *wait)
{
	const int error = bytes_begin_waiting(wait->file);

	if (error)
		return error;
	if (!wait->waits)
		wait->pass_ns = clock_now() + PASS_NS;
	wait->waits = true;
	wait->turn = false;
	wait->backstop_ns = BACKSTOP_BEHIND_NS;
	start_watch(wait);
	return 0;
}

static int sleep_on(struct wait *wait)
{
	struct lh_cancel *cancel = wait->request->options->cancel;
	const int event = cancel ? cancel_descriptor(cancel) : NOTIFY_NONE;
	const uint64_t now = clock_now(), deadline = wait->request->deadline.ns;
	int happened;

	if (now >= deadline)
		return error_detail(-ETIMEDOUT, "%.150s", wait->file->path);
	happened = notify_sleep(wait->notifier, event,
				deadline - now < wait->backstop_ns ? deadline
								   : now + wait->backstop_ns);
	if (cancel_fired(cancel))
		return -ECANCELED;
	if (happened && event >= 0)
		cancel_consume(cancel);
	wait->backstop_ns *= 2;
	if (wait->backstop_ns > BACKSTOP_LAST_NS)
		wait->backstop_ns = BACKSTOP_LAST_NS;
	// A holder that dies is told of before it has let go: look again soon, but not all at once.
	if (happened && wait->turn)
		wait->backstop_ns = BACKSTOP_FIRST_NS;
	return 0;
}

// The next in line may be let in beside this one: it looks now, and not when this one lets go.
static void end_waiting(struct wait *wait, int error)
{
	if (!wait->waits)
		return;
	stop_watch(wait);
	if (error)
		return; // closing the file tells them
	bytes_end_waiting(wait->file);
	if (wait->claim->mode != LH_EXCLUSIVE && bytes_see_waiting(wait->file) == -EAGAIN)
		notify_ring(wait->file->fd);
}

static int reopen(struct wait *wait)
{
	int error;

	stop_watch(wait);
	lock_file_close(wait->file);
	error = lock_file_open(wait->file, wait->locks->directory, wait->locks->mode, wait->key);
	if (!error && wait->waits)
		error = begin_waiting(wait);
	return error;
}

static int wait_for(struct wait *wait)
{
	for (;;) {
		int error = look(wait);

		if (error == MOVED)
			error = reopen(wait);
		else if (error != -EAGAIN)
			return error;
		else if (wait->request->deadline.ns == LH_NOW.ns)
			return -EBUSY;
		else if (!wait->waits)
			error = begin_waiting(wait); // and look again: it may be free since
		else
			error = sleep_on(wait);
		if (error)
			return error;
	}
}

int file_take(struct file_locks *locks, const struct provider_request *request,
	      const struct provider_key *key, struct file_claim *claim, struct lock_file *file,
	      struct file_record *ret_record)
{
	struct wait wait = { .locks = locks,
			     .request = request,
			     .key = key,
			     .claim = claim,
			     .file = file,
			     .notifier = NOTIFY_NONE };
	int error = lock_file_open(file, locks->directory, locks->mode, key);

	if (error)
		return error;
	error = wait_for(&wait);
	end_waiting(&wait, error);
	if (error)
		lock_file_close(file);
	else
		*ret_record = wait.record;
	return error;
}
