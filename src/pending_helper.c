// SPDX-License-Identifier: Apache-2.0
//
// The helper thread of a set, and its queues: of each key those who wait for it, the oldest first.
// It tries on behalf of the first of each when the provider says that it is worth while.
#include "src/pending.h"

#include "arena/cancel.h"
#include "arena/object.h"
#include "arena/process.h"
#include "arena/wait.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define INTERVAL_NS (10 * CLOCK_NS_PER_MS) // between tries where nobody tells; for what has no room

// ---------------------------------------------------------------------------------------------
// Under the mutex

void pending_kick(struct pending_helper *helper)
{
	const uint64_t one = 1;

	atomic_fetch_add(&helper->kicks, 1);
	futex_wake_private(&helper->kicks, 1);
	if (helper->event >= 0 && write(helper->event, &one, sizeof(one)) < 0)
		return; // it is full, so readable all the same
}

static int by_key(const void *left, const void *right)
{
	const struct provider_key *one = &((const struct queue *)left)->shared.key;
	const struct provider_key *other = &((const struct queue *)right)->shared.key;

	if (one->size != other->size)
		return one->size < other->size ? -1 : 1;
	return memcmp(one->bytes, other->bytes, one->size);
}

struct queue *pending_find_queue(const struct pending_helper *helper,
				 const struct provider_key *key)
{
	const struct queue wanted = { .shared = { .key = *key } };
	struct queue **found = tfind(&wanted, &helper->tree, by_key);

	return found ? *found : NULL;
}

static struct queue *make_queue(struct pending_helper *helper, const struct provider_key *key)
{
	struct queue *queue = calloc(1, sizeof(*queue) + key->size);

	if (!queue)
		return NULL;
	memcpy(queue->bytes, key->bytes, key->size);
	queue->shared.key = (struct provider_key){ .bytes = queue->bytes, .size = key->size };
	CDS_INIT_LIST_HEAD(&queue->waiting);
	if (!tsearch(queue, &helper->tree, by_key)) {
		free(queue);
		return NULL;
	}
	queue->place = queue->shared.place = PROVIDER_NO_PLACE;
	cds_list_add_tail(&queue->node, &helper->queues[PROVIDER_NO_PLACE]);
	helper->queue_count++;
	return queue;
}

static void end_queue(struct pending_helper *helper, struct queue *queue)
{
	if (helper->locks->provider->leave)
		helper->locks->provider->leave(helper->locks, &queue->shared);
	tdelete(queue, &helper->tree, by_key);
	cds_list_del(&queue->node);
	helper->queue_count--;
	free(queue);
	pthread_cond_broadcast(&helper->progress);
}

static struct lh_pending *first_of(const struct queue *queue)
{
	return cds_list_entry(queue->waiting.next, struct lh_pending, node);
}

void pending_finish(struct lh_pending *pending, int result)
{
	const uint64_t one = 1;

	pending->result = result;
	pending->state = PENDING_FINISHED;
	atomic_store_explicit(&pending->finished, 1, memory_order_release);
	if (pending->in_call)
		futex_wake_private(&pending->finished, 1);
	if (pending->fd >= 0 && write(pending->fd, &one, sizeof(one)) != sizeof(one))
		pending->result = -EBADF; // cannot be: the counter is 0, unless the user closed it
}

void pending_leave_queue(struct lh_pending *pending, int result)
{
	cds_list_del(&pending->node);
	if (pending->options.cancel && !pending->in_call)
		pending->helper->token_is_left = true;
	pending_finish(pending, result);
}

// ---------------------------------------------------------------------------------------------
// Trying

int pending_try(struct lh_pending *pending, struct provider_queue *queue)
{
	const struct provider_request request = { .keys = &pending->key,
						  .count = 1,
						  .deadline = LH_NOW,
						  .options = &pending->options,
						  .queue = queue };
	const int error = locks_acquire(pending->locks, &request, &pending->handle);

	if (error)
		snprintf(pending->detail, sizeof(pending->detail), "%s", lh_error_detail());
	pending->was_tried = true;
	return error;
}

// Tries the first of a queue. Whether it waits on.
static bool try_first(struct pending_helper *helper, struct queue *queue)
{
	struct lh_pending *pending = first_of(queue);
	int error;

	pending->state = PENDING_TRIED;
	pthread_mutex_unlock(&helper->lock);
	error = pending_try(pending, &queue->shared);
	pthread_mutex_lock(&helper->lock);
	pending->state = PENDING_WAITS;
	if (error != -EBUSY)
		pending_leave_queue(pending, error);
	else if (pending->cancelled)
		pending_leave_queue(pending, -ECANCELED);
	if (pending->cancelled || pending->in_call)
		pthread_cond_broadcast(&helper->progress);
	queue->shared.refused = error == -EBUSY;
	return queue->shared.refused;
}

static bool has_passed(const struct lh_pending *pending, uint64_t now)
{
	return pending->deadline.ns != UINT64_MAX && now >= pending->deadline.ns;
}

// Nobody is before it, and it has not been tried: it is, whenever its deadline was. On a server what
// had time to wait leaves at its deadline; what had none waits for an answer, also behind others
// like it, who have none yet.
static bool is_tried_anyway(const struct queue *queue, const struct lh_pending *pending)
{
	const struct lh_pending *before;

	if (pending->was_tried)
		return false;
	if (pending->locks->provider->is_local)
		return pending == first_of(queue);
	cds_list_for_each_entry(before, &queue->waiting, node) {
		if (before == pending || !pending_is_once(before))
			break;
	}
	return before == pending && pending_is_once(pending);
}

// Whether it is tried without a look whether that is worth while.
static bool is_tried_blindly(const struct lh_pending *pending, bool told)
{
	return !told || (pending->locks->provider->is_local && !pending->was_tried &&
			 has_passed(pending, clock_now()));
}

static bool has_fired(struct pending_helper *helper, const struct lh_cancel *cancel)
{
	// A forked process that has fired its own made it readable: before the look, or a shot is
	// lost.
	if (helper->told_by_other && cancel)
		cancel_consume(cancel);
	return cancel_fired(cancel);
}

// In a round of some places alone it may be there from the round before.
static bool is_added(const struct pending_helper *helper, const struct lh_cancel *cancel,
		     const struct wait *wait)
{
	const int event = atomic_load_explicit(&cancel->event, memory_order_relaxed) - 1;

	for (size_t i = 0; i < wait->count; i++) {
		if (wait->words[i].address == &cancel->fired)
			return true;
	}
	for (size_t i = 0; i < helper->other_count; i++) {
		if (helper->others[i] == event)
			return true;
	}
	return false;
}

// Has the token end the wait.
static void add_cancel(struct pending_helper *helper, struct lh_cancel *cancel, struct wait *wait)
{
	int event;

	if (is_added(helper, cancel, wait))
		return;
	if (helper->event < 0) {
		if (!wait_has_room(wait))
			wait_not_after(wait, clock_now() + INTERVAL_NS);
		wait_on_private(wait, &cancel->fired, 0);
		return;
	}
	event = helper->other_count < PROVIDER_OTHERS ? cancel_descriptor(cancel) : -1;
	if (event >= 0)
		helper->others[helper->other_count++] = event;
	else
		wait_not_after(wait, clock_now() + INTERVAL_NS);
}

// Ends what need not wait for a grant any more, and has the wait end when there is more of that.
static void end_waits(struct pending_helper *helper, struct queue *queue, struct wait *wait)
{
	const struct lh_cancel *added = NULL;
	const uint64_t now = clock_now();
	struct lh_pending *pending, *next;

	cds_list_for_each_entry_safe(pending, next, &queue->waiting, node) {
		struct lh_cancel *cancel = pending->options.cancel;

		if (has_fired(helper, cancel)) {
			pending_leave_queue(pending, -ECANCELED);
			continue;
		}
		if (has_passed(pending, now)) {
			if (!is_tried_anyway(queue, pending))
				pending_leave_queue(pending,
						    pending->deadline.ns ? -ETIMEDOUT : -EBUSY);
			continue;
		}
		wait_not_after(wait, pending->deadline.ns);
		if (cancel && cancel != added && !pending->in_call)
			add_cancel(helper, cancel, wait);
		added = cancel;
	}
}

static void move_queue(struct pending_helper *helper, struct queue *queue)
{
	queue->place = queue->shared.place;
	cds_list_move(&queue->node, &helper->queues[queue->place]);
}

// Grants what can be granted. Whether anything was.
static bool serve(struct pending_helper *helper, struct queue *queue, bool told, struct wait *wait)
{
	struct lh_locks *locks = helper->locks;
	bool any = false;

	end_waits(helper, queue, wait);
	while (!cds_list_empty(&queue->waiting)) {
		struct lh_pending *pending = first_of(queue);

		queue->shared.options = &pending->options;
		queue->shared.since_ns = pending->since_ns;
		queue->shared.once = pending_is_once(pending);
		if (!is_tried_blindly(pending, told) &&
		    !locks->provider->is_free(locks, &queue->shared, wait))
			break;
		if (!try_first(helper, queue)) {
			any = true;
			continue;
		}
		end_waits(helper, queue, wait);
		if (!told) {
			wait_not_after(wait, clock_now() + INTERVAL_NS);
			break;
		}
	}
	if (cds_list_empty(&queue->waiting))
		end_queue(helper, queue);
	else if (queue->place != queue->shared.place)
		move_queue(helper, queue);
	return any;
}

// ---------------------------------------------------------------------------------------------
// The thread

static void fail_all(struct pending_helper *helper, int error)
{
	struct queue *queue;
	struct lh_pending *pending, *next;

	for (uint32_t place = 0; place <= PROVIDER_NO_PLACE; place++) {
		cds_list_for_each_entry(queue, &helper->queues[place], node) {
			cds_list_for_each_entry_safe(pending, next, &queue->waiting, node)
				pending_leave_queue(pending, error);
		}
	}
	helper->until_ns = 0;
}

// Until somebody kicks or there is news of a key.
static void sleep_until_news(struct pending_helper *helper, struct wait *wait, uint32_t kicks)
{
	const struct provider *provider = helper->locks->provider;
	int error = 0;

	pthread_mutex_unlock(&helper->lock);
	if (wait && helper->event >= 0)
		helper->told_by_other = provider->sleep(helper->locks, helper->others,
							helper->other_count, wait->until_ns);
	else if (wait)
		error = wait_sleep(wait);
	else
		futex_wait_many(&(struct futex_word){ &helper->kicks, kicks, true }, 1,
				FUTEX_NEVER);
	pthread_mutex_lock(&helper->lock);
	if (error == -EBADMSG)
		fail_all(helper, error);
}

// Before the kicks are read, or one is lost.
static void consume_kicks(const struct pending_helper *helper)
{
	uint64_t count;

	if (helper->told_by_other && read(helper->event, &count, sizeof(count)) < 0)
		return; // there were none
}

// Serves the queues of a place. Whether anything was granted.
static bool serve_place(struct pending_helper *helper, uint32_t place, bool told, struct wait *wait)
{
	struct queue *queue, *next;
	bool any = false;

	// What is added meanwhile comes with a kick; what is taken out or moved is so by this
	// thread.
	cds_list_for_each_entry_safe(queue, next, &helper->queues[place], node)
		any |= serve(helper, queue, told, wait);
	return any;
}

// Whether those of whom there is no news need no look yet: theirs may have come to nothing.
static bool is_in_time(const struct pending_helper *helper)
{
	const uint64_t now = clock_now();

	return !helper->token_is_left && now < helper->until_ns &&
	       now - helper->full_ns < WAIT_BACKSTOP_LAST_NS;
}

// Looks at what there may be news of, and has the wait end when there is more. If nothing but news
// of some places can have ended the last sleep, the others are waited for as before; else all are
// looked at.
static void look_around(struct pending_helper *helper, uint32_t kicks, struct wait *wait)
{
	const struct provider *provider = helper->locks->provider;
	const size_t words = wait->count;
	bool told = provider->listen && (!provider->sleep || helper->event >= 0), any = false;
	uint64_t news = 0;

	wait->count = 0; // kicks and the provider's own come first, each time
	wait_on_private(wait, &helper->kicks, kicks);
	told = told && provider->listen(helper->locks, wait, &news) == 0;
	if (told && news && kicks == helper->kicks_seen && is_in_time(helper)) {
		wait->count = words;
		wait->until_ns = helper->until_ns;
	} else {
		const size_t first = wait->count;

		wait_round(wait);
		wait->count = first;
		helper->other_count = 0;
		helper->full_ns = clock_now();
		helper->token_is_left = false;
		pthread_cond_broadcast(&helper->progress);
		if (helper->event >= 0)
			helper->others[helper->other_count++] = helper->event;
		news = UINT64_MAX;
	}
	for (uint64_t left = news; left; left &= left - 1)
		any |= serve_place(helper, (uint32_t)__builtin_ctzll(left), told, wait);
	any |= serve_place(helper, PROVIDER_NO_PLACE, told, wait);
	helper->kicks_seen = kicks;
	helper->until_ns = told ? wait->until_ns : 0;
	if (any)
		wait->backstop_ns = WAIT_BACKSTOP_FIRST_NS;
}

static void *help(void *argument)
{
	struct pending_helper *helper = argument;
	struct wait wait;

	pthread_setname_np(pthread_self(), "lh-pending");
	wait_begin(&wait, NULL, NULL, LH_FOREVER);
	pthread_mutex_lock(&helper->lock);
	while (!helper->ending) {
		uint32_t kicks;

		if (helper->queue_count && helper->locks->provider->ready) {
			pthread_mutex_unlock(&helper->lock);
			helper->locks->provider->ready(helper->locks);
			pthread_mutex_lock(&helper->lock);
		}
		consume_kicks(helper);
		kicks = atomic_load(&helper->kicks);
		if (helper->queue_count)
			look_around(helper, kicks, &wait);
		if (helper->token_is_left && helper->queue_count)
			continue; // it is among what would be slept on
		sleep_until_news(helper, helper->queue_count ? &wait : NULL, kicks);
	}
	pthread_mutex_unlock(&helper->lock);
	return NULL;
}

// Those whose last was cancelled a moment ago.
static void end_all_queues(struct pending_helper *helper)
{
	struct queue *queue, *next;

	for (uint32_t place = 0; place <= PROVIDER_NO_PLACE; place++) {
		cds_list_for_each_entry_safe(queue, next, &helper->queues[place], node)
			end_queue(helper, queue);
	}
}

static int start_thread(struct pending_helper *helper)
{
	int error;

	if (helper->started)
		return 0;
	if (helper->locks->provider->sleep && helper->event < 0)
		helper->event = object_above_stdio(
			eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); // else tries at intervals
	if (helper->event < 0 && !helper->locks->provider->is_local)
		return error_detail(-errno, "eventfd");
	error = process_start_thread(&helper->thread, help, helper);
	if (error)
		return error_detail(error, "the thread for pending acquires cannot be started");
	helper->started = true;
	return 0;
}

int pending_enqueue(struct pending_helper *helper, struct lh_pending *pending)
{
	struct queue *queue = pending_find_queue(helper, &pending->key);
	const int error = start_thread(helper);

	if (error)
		return error;
	if (!queue)
		queue = make_queue(helper, &pending->key);
	if (!queue)
		return error_detail(-ENOMEM, "no memory");
	cds_list_add_tail(&pending->node, &queue->waiting);
	pthread_cond_broadcast(&helper->progress);
	pending_kick(helper);
	return 0;
}

struct pending_helper *pending_helper_of(struct lh_locks *locks)
{
	struct pending_helper *before = atomic_load(&locks->helper), *made;

	if (before && before->generation == process_generation())
		return before;
	made = calloc(1, sizeof(*made));
	if (!made)
		return NULL;
	*made = (struct pending_helper){ .lock = PTHREAD_MUTEX_INITIALIZER,
					 .progress = PTHREAD_COND_INITIALIZER,
					 .locks = locks,
					 .event = -1,
					 .generation = process_generation() };
	for (uint32_t place = 0; place <= PROVIDER_NO_PLACE; place++)
		CDS_INIT_LIST_HEAD(&made->queues[place]);
	// None, or that of the parent of a fork, which stays allocated: it may have been changing.
	if (atomic_compare_exchange_strong(&locks->helper, &before, made))
		return made;
	free(made);
	return before;
}

void pending_close(struct lh_locks *locks)
{
	struct pending_helper *helper = atomic_load(&locks->helper);

	if (!helper || helper->generation != process_generation())
		return;
	pthread_mutex_lock(&helper->lock);
	helper->ending = true;
	pthread_mutex_unlock(&helper->lock);
	if (helper->started) {
		pending_kick(helper);
		pthread_join(helper->thread, NULL);
	}
	end_all_queues(helper);
	if (helper->event >= 0)
		close(helper->event);
	pthread_mutex_destroy(&helper->lock);
	pthread_cond_destroy(&helper->progress);
	free(helper);
	atomic_store(&locks->helper, NULL);
}
