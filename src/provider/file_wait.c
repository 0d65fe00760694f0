// SPDX-License-Identifier: Apache-2.0
//
// How a key is taken, and waited for. Who waits sleeps until something happens to the file, and
// looks at it again now and then, since it is not told of everything: not of what hosts do that
// share the file system, and of a dying holder just before its locks are dropped.
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
	struct file_place *place;
	struct file_queue *queue; // whose place it is; NULL: the caller's
	struct file_record record;
};

// ---------------------------------------------------------------------------------------------
// Notifiers: closing one takes the kernel milliseconds, so a few are kept.

static struct notifier *get_notifier(struct file_locks *locks)
{
	for (size_t i = 0; i < FILE_NOTIFIERS; i++) {
		struct notifier *notifier = atomic_exchange(&locks->notifiers[i], NULL);

		if (notifier && notifier_is_own(notifier))
			return notifier;
		notifier_close(notifier); // a parent's
	}
	return notifier_open();
}

static void put_notifier(struct file_locks *locks, struct notifier *notifier)
{
	for (size_t i = 0; i < FILE_NOTIFIERS; i++) {
		struct notifier *none = NULL;

		if (atomic_compare_exchange_strong(&locks->notifiers[i], &none, notifier))
			return;
	}
	notifier_close(notifier);
}

void file_close_notifiers(struct file_locks *locks)
{
	for (size_t i = 0; i < FILE_NOTIFIERS; i++)
		notifier_close(atomic_exchange(&locks->notifiers[i], NULL));
}

// Without any the backstop is all there is.
static void start_watch(struct wait *wait)
{
	struct file_place *place = wait->place;

	if (wait->queue) {
		file_pending_watch(wait->locks, wait->queue);
		return;
	}
	place->notifier = get_notifier(wait->locks);
	if (!place->notifier)
		return;
	place->watch = notify_watch(place->notifier->open.fd, place->file.open.fd);
	if (place->watch >= 0)
		return;
	put_notifier(wait->locks, place->notifier);
	place->notifier = NULL;
}

static void stop_watch(struct wait *wait)
{
	struct file_place *place = wait->place;

	if (wait->queue)
		file_pending_unwatch(wait->locks, wait->queue);
	if (!place->notifier)
		return;
	notify_unwatch(place->notifier->open.fd, place->watch);
	put_notifier(wait->locks, place->notifier);
	place->notifier = NULL;
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
	error = bytes_see_users(&wait->place->file);
	if (error == -EAGAIN)
		return error_detail(-EINVAL, "%.150s: it is in use with max_holders %u, not %u",
				    wait->place->file.path, record->max_holders,
				    wait->claim->max_holders);
	if (error)
		return error;
	record->max_holders = wait->claim->max_holders;
	return file_write(&wait->place->file, record);
}

// A permit's token, written while nobody else takes one. Of what an exclusive holder has left it
// keeps the damage.
static int enter_permit(struct wait *wait)
{
	struct file_record *record = &wait->record;
	const int error = file_next_token(&wait->place->file, record);

	if (error)
		return error;
	record->flags = record->flags & (FILE_HELD | FILE_DIED) ? FILE_DIED : 0;
	return file_write(&wait->place->file, record);
}

// The record is read after the lock was taken: before that, its holder may still change it.
static int take(struct wait *wait, bool in_turn)
{
	int error = in_turn ? 0 : bytes_see_turn(&wait->place->file), failure;

	if (!error)
		error = bytes_take(&wait->place->file, wait->claim);
	if (error && error != -EAGAIN)
		return error;
	failure = file_read(&wait->place->file, wait->key, &wait->record);
	if (failure == -ENODATA)
		failure = file_prepare(&wait->place->file, wait->key, &wait->record);
	if (!failure)
		failure = agree(wait);
	if (!failure && !error && wait->claim->mode == FILE_PERMITS)
		failure = enter_permit(wait);
	if (failure && !error)
		bytes_give_back(&wait->place->file, wait->claim);
	return failure ? failure : error;
}

// Another is the first in line. If nobody holds the key now, nor did a while ago, it is not
// running: stopped, perhaps, and nobody is to wait for that.
static bool may_pass(struct wait *wait)
{
	const uint64_t now = clock_now();
	const bool before = wait->place->idle;

	if (now < wait->place->pass_ns)
		return false;
	wait->place->pass_ns = now + PASS_NS;
	wait->place->idle = bytes_see_holders(&wait->place->file, wait->claim) == 0;
	return before && wait->place->idle;
}

static int look(struct wait *wait)
{
	int error = wait->place->waits ? bytes_take_turn(&wait->place->file) : 0;

	if (wait->place->waits && !error && !wait->place->turn) {
		wait->place->turn = true;
		wait->place->backstop_ns = BACKSTOP_FIRST_NS;
	}
	if (error == -EAGAIN && may_pass(wait))
		error = 0;
	if (!error)
		error = bytes_enter(&wait->place->file, wait->request->deadline);
	if (!error) {
		error = take(wait, wait->place->waits);
		bytes_leave(&wait->place->file);
	}
	if ((error && error != -EAGAIN) || lock_file_is_there(&wait->place->file))
		return error;
	return MOVED;
}

// ---------------------------------------------------------------------------------------------
// Sleeping

static int begin_waiting(struct wait *wait)
{
	struct file_place *place = wait->place;
	const int error = bytes_begin_waiting(&place->file);

	if (error)
		return error;
	if (!place->waits)
		place->pass_ns = clock_now() + PASS_NS;
	place->waits = true;
	place->turn = false;
	place->backstop_ns = BACKSTOP_BEHIND_NS;
	start_watch(wait);
	return 0;
}

void file_next_backstop(struct file_place *place, bool told, uint64_t most_ns)
{
	place->backstop_ns *= 2;
	if (place->backstop_ns > most_ns)
		place->backstop_ns = most_ns;
	// A holder that dies is told of before it has let go: look again soon, but not all at once.
	if (told && place->turn)
		place->backstop_ns = BACKSTOP_FIRST_NS;
}

// Nothing that was told of before the next look matters after it.
static void forget_news(const struct notifier *notifier)
{
	int watches[NOTIFY_WATCHES];

	for (int reads = 0; notifier && reads < NOTIFY_READS; reads++) {
		if (!notify_read(notifier->open.fd, watches))
			return;
	}
}

static int sleep_on(struct wait *wait)
{
	struct file_place *place = wait->place;
	struct lh_cancel *cancel = wait->request->options->cancel;
	const int event = cancel ? cancel_descriptor(cancel) : NOTIFY_NONE;
	const uint64_t now = clock_now(), deadline = wait->request->deadline.ns;
	int happened;

	if (now >= deadline)
		return error_detail(-ETIMEDOUT, "%.150s", place->file.path);
	happened = notify_sleep(place->notifier ? place->notifier->open.fd : NOTIFY_NONE, &event, 1,
				deadline - now < place->backstop_ns ? deadline
								    : now + place->backstop_ns);
	if (cancel_fired(cancel))
		return -ECANCELED;
	if (happened && event >= 0)
		cancel_consume(cancel);
	if (happened)
		forget_news(place->notifier);
	file_next_backstop(place, happened, BACKSTOP_LAST_NS);
	return 0;
}

// The next in line may be let in beside this one: it looks now, and not when this one lets go.
static void end_waiting(struct wait *wait, int error)
{
	const struct lock_file *file = &wait->place->file;

	if (!wait->place->waits)
		return;
	stop_watch(wait);
	wait->place->waits = false;
	if (error)
		return; // closing the file tells them
	bytes_end_waiting(file);
	if (wait->claim->mode != LH_EXCLUSIVE && bytes_see_waiting(file) == -EAGAIN)
		notify_ring(file->open.fd);
}

static int reopen(struct wait *wait)
{
	struct file_place *place = wait->place;
	int error;

	stop_watch(wait);
	lock_file_close(&place->file);
	error = lock_file_open(&place->file, wait->locks->directory, wait->locks->mode, wait->key);
	if (!error && place->waits)
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
		else if (!wait->place->waits)
			error = begin_waiting(wait); // and look again: it may be free since
		else
			error = sleep_on(wait);
		if (error)
			return error;
	}
}

int file_begin_place(struct file_locks *locks, struct file_queue *queue,
		     const struct provider_key *key)
{
	struct wait wait = { .locks = locks, .key = key, .place = &queue->place, .queue = queue };
	int error;

	queue->place = (struct file_place){ .notifier = NULL };
	error = lock_file_open(&queue->place.file, locks->directory, locks->mode, key);
	if (!error)
		error = begin_waiting(&wait);
	if (error)
		lock_file_close(&queue->place.file);
	return error;
}

// The queue's, if it has a place.
static struct file_queue *queue_of(const struct provider_request *request)
{
	struct file_queue *queue = request->queue ? request->queue->own : NULL;

	return queue && queue->place.waits ? queue : NULL;
}

int file_take(struct file_locks *locks, const struct provider_request *request,
	      const struct provider_key *key, struct file_claim *claim, struct lock_file *file,
	      struct file_record *ret_record)
{
	struct file_place own = { .notifier = NULL };
	struct file_queue *queue = queue_of(request);
	struct wait wait = { .locks = locks,
			     .request = request,
			     .key = key,
			     .claim = claim,
			     .place = queue ? &queue->place : &own,
			     .queue = queue };
	int error = 0;

	if (!queue)
		error = lock_file_open(&own.file, locks->directory, locks->mode, key);
	if (error)
		return error;
	error = wait_for(&wait);
	if (queue && error == -EBUSY)
		return error;
	end_waiting(&wait, error);
	if (error)
		lock_file_close(&wait.place->file);
	else
		lock_file_move(file, &wait.place->file);
	*ret_record = wait.record;
	return error;
}
