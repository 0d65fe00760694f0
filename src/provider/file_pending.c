// SPDX-License-Identifier: Apache-2.0
//
// Acquires of keys in files that wait without a thread. The first of each queue has a place in line
// as one that waits in a call has: an open file of its own, with WAITING, and TURN when it is its
// turn. One notifier tells the helper thread of all these files; where it does not, each is looked
// at now and then.
#include "src/provider/file.h"

#include "arena/process.h"
#include "arena/sys/notify.h"
#include "arena/wait.h"

#include <search.h>
#include <stdlib.h>

#define BACKSTOP_LAST_NS                                                                           \
	(250 * CLOCK_NS_PER_MS) // there may be a thousand, and each look is some 15 µs

static int by_watch(const void *left, const void *right)
{
	const int one = ((const struct file_queue *)left)->place.watch;
	const int other = ((const struct file_queue *)right)->place.watch;

	return (one > other) - (one < other);
}

static struct file_queue *find(struct file_locks *locks, int watch)
{
	const struct file_queue wanted = { .place.watch = watch };
	struct file_queue **found = tfind(&wanted, &locks->watches, by_watch);

	return found ? *found : NULL;
}

// Of a file with several names another queue may have the watch already: then the backstop is all.
void file_pending_watch(struct file_locks *locks, struct file_queue *queue)
{
	struct file_place *place = &queue->place;
	struct file_queue **entered;

	if (!locks->pending_notifier)
		return;
	place->watch = notify_watch(locks->pending_notifier->open.fd, place->file.open.fd);
	if (place->watch < 0)
		return;
	entered = tsearch(queue, &locks->watches, by_watch);
	if (entered && *entered == queue)
		place->notifier = locks->pending_notifier;
	else if (!entered)
		notify_unwatch(locks->pending_notifier->open.fd, place->watch);
}

void file_pending_unwatch(struct file_locks *locks, struct file_queue *queue)
{
	struct file_place *place = &queue->place;

	if (!place->notifier)
		return;
	notify_unwatch(place->notifier->open.fd, place->watch);
	tdelete(queue, &locks->watches, by_watch);
	place->notifier = NULL;
}

// ---------------------------------------------------------------------------------------------

static uint32_t place_of(int watch)
{
	return (uint32_t)watch % PROVIDER_PLACES;
}

// The news of it, as bits.
static uint64_t tell(struct file_locks *locks, int watch)
{
	struct file_queue *queue;

	if (watch == NOTIFY_NONE) {
		locks->losses++;
		return UINT64_MAX;
	}
	queue = find(locks, watch); // NULL: of one that has ended
	if (queue)
		queue->told = true;
	return queue ? UINT64_C(1) << place_of(watch) : 0;
}

// A forked child's helper begins without what its parent's had, whose descriptors are closed there.
int file_pending_listen(struct file_locks *locks, uint64_t *ret_news)
{
	int watches[NOTIFY_WATCHES];
	size_t count;

	*ret_news = 0;
	if (locks->pending_notifier && !notifier_is_own(locks->pending_notifier)) {
		notifier_close(locks->pending_notifier);
		locks->pending_notifier = NULL;
		locks->watches = NULL;
	}
	if (!locks->pending_notifier)
		locks->pending_notifier = notifier_open();
	if (!locks->pending_notifier)
		return 0; // the backstops are all there is
	for (int reads = 0; reads < NOTIFY_READS; reads++) {
		count = notify_read(locks->pending_notifier->open.fd, watches);
		if (!count)
			break;
		for (size_t i = 0; i < count; i++)
			*ret_news |= tell(locks, watches[i]);
	}
	return 0;
}

int file_pending_sleep(struct file_locks *locks, const int *others, size_t count, uint64_t until_ns)
{
	const struct notifier *notifier = locks->pending_notifier;

	return notify_sleep(notifier ? notifier->open.fd : NOTIFY_NONE, others, count, until_ns);
}

// Whether something has happened to its file, or may have, since this was last asked.
static bool take_news(const struct file_locks *locks, struct file_queue *queue)
{
	const bool news = queue->told || queue->losses != locks->losses;

	queue->told = false;
	queue->losses = locks->losses;
	return news;
}

bool file_pending_is_free(struct file_locks *locks, struct provider_queue *queue, struct wait *wait)
{
	struct file_queue *own = queue->own;
	const uint64_t now = clock_now();
	bool told;

	queue->refused = false;
	if (!own)
		own = queue->own = calloc(1, sizeof(*own));
	if (!own)
		return true; // a newcomer each time
	told = take_news(locks, own);
	if (!own->place.waits) {
		own->looked_ns = now;
		// What was let go before is seen by a try now; and what fails here it says.
		(void)file_begin_place(locks, own, &queue->key);
		return true;
	}
	queue->place = own->place.notifier ? place_of(own->place.watch) : PROVIDER_NO_PLACE;
	if (!told && now < own->looked_ns + own->place.backstop_ns) {
		wait_not_after(wait, own->looked_ns + own->place.backstop_ns);
		return false;
	}
	file_next_backstop(&own->place, told, BACKSTOP_LAST_NS);
	own->looked_ns = now;
	return true;
}

void file_pending_leave(struct file_locks *locks, struct provider_queue *queue)
{
	struct file_queue *own = queue->own;

	if (!own)
		return;
	if (own->place.waits) {
		file_pending_unwatch(locks, own);
		lock_file_close(&own->place.file);
	}
	free(own);
	queue->own = NULL;
}

void file_pending_close(struct file_locks *locks)
{
	notifier_close(locks->pending_notifier);
}
