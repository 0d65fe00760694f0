// SPDX-License-Identifier: Apache-2.0
//
// Acquires of named locks that wait without a thread of their own. One thread for each set that has
// ever had one, the helper, tries on their behalf: by LH_NOW, in the order in which they came for
// each key, when the provider says that it is worth while. A handle comes to be only by such a try; so
// what is cancelled in time never had one, and what was granted is finished with it.
//
// All is under the helper's mutex but the tries: whoever wants to cancel what is being tried waits
// until it has been.
#include "src/provider.h"

#include "arena/cancel.h"
#include "arena/error.h"
#include "arena/process.h"
#include "arena/wait.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <urcu/list.h>

#define INTERVAL_NS (10 * CLOCK_NS_PER_MS) // between tries where nobody tells; for what has no room

enum pending_state { PENDING_WAITS, PENDING_TRIED, PENDING_FINISHED };

struct lh_pending {
	struct cds_list_head node; // in its queue, while it waits
	struct lh_locks *locks;
	struct pending_helper *helper;
	uint64_t generation; // of the process that started it
	struct provider_key key;
	struct lh_acquire_options options;
	lh_deadline deadline;
	uint64_t since_ns;
	enum pending_state state;
	bool cancelled; // while it was tried
	bool was_tried;
	int fd; // -1: nobody has asked
	int result;
	lh_handle *handle;
	char detail[ERROR_DETAIL_SIZE]; // of its failure
	char *label;                    // the options', a copy
	char bytes[];                   // of the key
};

// Of one key.
struct queue {
	struct provider_queue shared;
	struct cds_list_head node, waiting; // never empty while the mutex is free, but for cancels
	char bytes[];
};

struct pending_helper {
	pthread_mutex_t lock;
	pthread_cond_t progress; // what was tried is so no more; a queue was ended, or filled
	struct lh_locks *locks;
	uint64_t generation; // of the process whose thread it is
	pthread_t thread;
	bool started, ending;
	_Atomic uint32_t kicks; // the futex that the helper sleeps on, too
	// For a provider with a sleep of its own: an eventfd that tells of kicks, and what else ends the
	// helper's sleep. -1: none is to be had.
	int event;
	int others[PROVIDER_OTHERS];
	size_t other_count;
	bool told_by_other; // the last sleep may have been ended by one of them
	struct cds_list_head queues;
	void *tree; // of the queues, by key: tsearch
};

// ---------------------------------------------------------------------------------------------
// Under the mutex

static void kick(struct pending_helper *helper)
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

static struct queue *find_queue(const struct pending_helper *helper, const struct provider_key *key)
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
	cds_list_add_tail(&queue->node, &helper->queues);
	return queue;
}

static void end_queue(struct pending_helper *helper, struct queue *queue)
{
	if (helper->locks->provider->leave)
		helper->locks->provider->leave(helper->locks, &queue->shared);
	tdelete(queue, &helper->tree, by_key);
	cds_list_del(&queue->node);
	free(queue);
	pthread_cond_broadcast(&helper->progress);
}

static struct lh_pending *first_of(const struct queue *queue)
{
	return cds_list_entry(queue->waiting.next, struct lh_pending, node);
}

static void finish(struct lh_pending *pending, int result)
{
	const uint64_t one = 1;

	pending->result = result;
	pending->state = PENDING_FINISHED;
	if (pending->fd >= 0 && write(pending->fd, &one, sizeof(one)) != sizeof(one))
		pending->result = -EBADF; // cannot be: the counter is 0, unless the user closed it
}

// One that waits in a queue.
static void leave_queue(struct lh_pending *pending, int result)
{
	cds_list_del(&pending->node);
	finish(pending, result);
}

// ---------------------------------------------------------------------------------------------
// Trying

// Outside the mutex: may start a thread, or ask another machine.
static int try_now(struct lh_pending *pending, struct provider_queue *queue)
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
	error = try_now(pending, &queue->shared);
	pthread_mutex_lock(&helper->lock);
	pending->state = PENDING_WAITS;
	if (error != -EBUSY)
		leave_queue(pending, error);
	else if (pending->cancelled)
		leave_queue(pending, -ECANCELED);
	if (pending->cancelled)
		pthread_cond_broadcast(&helper->progress);
	queue->shared.refused = error == -EBUSY;
	return queue->shared.refused;
}

static bool has_passed(const struct lh_pending *pending, uint64_t now)
{
	return pending->deadline.ns != UINT64_MAX && now >= pending->deadline.ns;
}

// Nobody is before it, and it has not been tried: it is, whenever its deadline was.
static bool is_tried_anyway(const struct queue *queue, const struct lh_pending *pending)
{
	return pending == first_of(queue) && !pending->was_tried;
}

static bool has_fired(struct pending_helper *helper, const struct lh_cancel *cancel)
{
	// A forked process that has fired its own made it readable: before the look, or a shot is lost.
	if (helper->told_by_other && cancel)
		cancel_consume(cancel);
	return cancel_fired(cancel);
}

// Has the token end the wait.
static void add_cancel(struct pending_helper *helper, struct lh_cancel *cancel, struct wait *wait)
{
	int event;

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
			leave_queue(pending, -ECANCELED);
			continue;
		}
		if (has_passed(pending, now)) {
			if (!is_tried_anyway(queue, pending))
				leave_queue(pending, pending->deadline.ns ? -ETIMEDOUT : -EBUSY);
			continue;
		}
		wait_not_after(wait, pending->deadline.ns);
		if (!cancel || cancel == added)
			continue;
		add_cancel(helper, cancel, wait);
		added = cancel;
	}
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
		if (told && !(has_passed(pending, clock_now()) && !pending->was_tried) &&
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
	return any;
}

// ---------------------------------------------------------------------------------------------
// The thread

static void fail_all(struct pending_helper *helper, int error)
{
	struct queue *queue;
	struct lh_pending *pending, *next;

	cds_list_for_each_entry(queue, &helper->queues, node) {
		cds_list_for_each_entry_safe(pending, next, &queue->waiting, node)
			leave_queue(pending, error);
	}
}

// Until somebody kicks or there is news of a key.
static void sleep_until_news(struct pending_helper *helper, struct wait *wait, uint32_t kicks)
{
	int error = 0;

	const struct provider *provider = helper->locks->provider;

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

// What the helper waits for in any case.
static void begin_round(struct pending_helper *helper, struct wait *wait, uint32_t kicks)
{
	wait_round(wait);
	wait_on_private(wait, &helper->kicks, kicks);
	helper->other_count = 0;
	if (helper->event >= 0)
		helper->others[helper->other_count++] = helper->event;
}

// Before the kicks are read, or one is lost.
static void consume_kicks(const struct pending_helper *helper)
{
	uint64_t count;

	if (helper->told_by_other && read(helper->event, &count, sizeof(count)) < 0)
		return; // there were none
}

static void *help(void *argument)
{
	struct pending_helper *helper = argument;
	const struct provider *provider = helper->locks->provider;
	struct queue *queue, *next;
	struct wait wait;

	pthread_setname_np(pthread_self(), "lh-pending");
	wait_begin(&wait, NULL, NULL, LH_FOREVER);
	pthread_mutex_lock(&helper->lock);
	while (!helper->ending) {
		bool told = provider->listen && (!provider->sleep || helper->event >= 0),
		     any = false;
		uint32_t kicks;

		consume_kicks(helper);
		kicks = atomic_load(&helper->kicks);
		if (cds_list_empty(&helper->queues)) {
			sleep_until_news(helper, NULL, kicks);
			continue;
		}
		begin_round(helper, &wait, kicks);
		told = told && provider->listen(helper->locks, &wait) == 0;
		// What is added meanwhile comes with a kick; what is taken out is so by this thread.
		cds_list_for_each_entry_safe(queue, next, &helper->queues, node)
			any |= serve(helper, queue, told, &wait);
		if (any)
			wait_begin(&wait, wait.arena, NULL, LH_FOREVER);
		else
			sleep_until_news(helper, &wait, kicks);
	}
	pthread_mutex_unlock(&helper->lock);
	return NULL;
}

static int start_thread(struct pending_helper *helper)
{
	int error;

	if (helper->started)
		return 0;
	if (helper->locks->provider->sleep && helper->event < 0)
		helper->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); // else tries at intervals
	error = process_start_thread(&helper->thread, help, helper);
	if (error)
		return error_detail(error, "the thread for pending acquires cannot be started");
	helper->started = true;
	return 0;
}

// The set's helper, of this process; NULL: no memory.
static struct pending_helper *helper_of(struct lh_locks *locks)
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
	CDS_INIT_LIST_HEAD(&made->queues);
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
		kick(helper);
		pthread_join(helper->thread, NULL);
	}
	while (!cds_list_empty(&helper->queues)) // whose last was cancelled a moment ago
		end_queue(helper, cds_list_entry(helper->queues.next, struct queue, node));
	if (helper->event >= 0)
		close(helper->event);
	pthread_mutex_destroy(&helper->lock);
	pthread_cond_destroy(&helper->progress);
	free(helper);
	atomic_store(&locks->helper, NULL);
}

// ---------------------------------------------------------------------------------------------
// The calls

static void free_pending(struct lh_pending *pending)
{
	if (pending->fd >= 0)
		close(pending->fd);
	free(pending->label);
	free(pending);
}

static struct lh_pending *make(struct lh_locks *locks, const char *key, lh_deadline deadline,
			       const struct lh_acquire_options *options)
{
	const size_t size = strlen(key);
	struct lh_pending *pending = calloc(1, sizeof(*pending) + size);

	if (!pending)
		return NULL;
	pending->helper = helper_of(locks);
	pending->locks = locks;
	pending->generation = process_generation();
	memcpy(pending->bytes, key, size); // NOLINT(bugprone-not-null-terminated-result)
	pending->key = (struct provider_key){ .bytes = pending->bytes, .size = size };
	pending->deadline = deadline;
	pending->since_ns = clock_now();
	pending->fd = -1;
	if (options)
		pending->options = *options;
	pending->options.flags &= ~(
		unsigned)LH_ACQUIRE_THIS_THREAD; // who acquires is not who asked
	pending->key.mode = pending->options.mode;
	if (pending->options.label)
		pending->options.label = pending->label = strdup(pending->options.label);
	if (pending->helper && (pending->label || !options || !options->label))
		return pending;
	free_pending(pending);
	return NULL;
}

// Puts it into its key's queue, and starts the thread if it is the first. Under the mutex.
static int enqueue(struct pending_helper *helper, struct lh_pending *pending)
{
	struct queue *queue = find_queue(helper, &pending->key);
	const int error = start_thread(helper);

	if (error)
		return error;
	if (!queue)
		queue = make_queue(helper, &pending->key);
	if (!queue)
		return error_detail(-ENOMEM, "no memory");
	cds_list_add_tail(&pending->node, &queue->waiting);
	pthread_cond_broadcast(&helper->progress);
	kick(helper);
	return 0;
}

int lh_acquire_start(lh_locks *locks, const char *key, lh_deadline deadline,
		     const struct lh_acquire_options *options, lh_pending **ret_pending)
{
	PROCESS_NO_CANCEL;
	static const struct lh_acquire_options defaults;
	struct pending_helper *helper;
	struct lh_pending *pending;
	bool first;
	int error;

	if (!locks || !key || !ret_pending)
		return error_detail(-EINVAL, "locks, key or ret_pending is NULL");
	if (strlen(key) > LH_KEY_MAX)
		return error_detail(-EMSGSIZE, "a key of %zu bytes: at most %u", strlen(key),
				    LH_KEY_MAX);
	error = locks_check_options(locks, options ? options : &defaults, LOCKS_KNOWN_FLAGS);
	if (!error)
		error = process_start();
	if (error)
		return error;
	pending = make(locks, key, deadline, options);
	if (!pending)
		return error_detail(-ENOMEM, "no memory");
	helper = pending->helper;
	pthread_mutex_lock(&helper->lock);
	first = !find_queue(helper, &pending->key);
	pthread_mutex_unlock(&helper->lock);
	if (first && locks->provider->is_local)
		error = try_now(pending, NULL);
	else if (!first && deadline.ns == 0)
		error = -EBUSY;
	else
		error = -EAGAIN; // not tried
	if (error != -EAGAIN && (error != -EBUSY || deadline.ns == 0))
		finish(pending, error);
	error = 0;
	pthread_mutex_lock(&helper->lock);
	if (pending->state != PENDING_FINISHED)
		error = enqueue(helper, pending);
	pthread_mutex_unlock(&helper->lock);
	if (error) {
		free_pending(pending);
		return error;
	}
	atomic_fetch_add_explicit(&locks->handles, 1, memory_order_relaxed);
	*ret_pending = pending;
	return 0;
}

static bool is_inherited(const lh_pending *pending)
{
	return pending->generation != process_generation();
}

int lh_pending_fd(const lh_pending *pending)
{
	PROCESS_NO_CANCEL;
	struct lh_pending *own = (struct lh_pending *)(uintptr_t)pending;
	int result;

	if (!pending)
		return error_detail(-EINVAL, "pending is NULL");
	if (is_inherited(pending))
		return -ESTALE;
	pthread_mutex_lock(&own->helper->lock);
	if (own->fd < 0)
		own->fd = eventfd(own->state == PENDING_FINISHED, EFD_CLOEXEC | EFD_NONBLOCK);
	result = own->fd < 0 ? error_detail(-errno, "eventfd") : own->fd;
	pthread_mutex_unlock(&own->helper->lock);
	return result;
}

// Frees it, and counts it as not out any more.
static void end_pending(struct lh_pending *pending)
{
	struct lh_locks *locks = pending->locks;

	free_pending(pending);
	atomic_fetch_sub_explicit(&locks->handles, 1, memory_order_release);
}

int lh_pending_finish(lh_pending *pending, lh_handle **ret_handle)
{
	PROCESS_NO_CANCEL;
	enum pending_state state;
	int result;

	if (!pending || !ret_handle)
		return error_detail(-EINVAL, "pending or ret_handle is NULL");
	if (is_inherited(pending)) {
		if (pending->state == PENDING_FINISHED && !pending->result)
			lh_handle_release(pending->handle);
		end_pending(pending);
		return error_detail(-ESTALE, "the parent's, before a fork");
	}
	pthread_mutex_lock(&pending->helper->lock);
	state = pending->state;
	pthread_mutex_unlock(&pending->helper->lock);
	if (state != PENDING_FINISHED)
		return -EINPROGRESS;
	result = pending->result;
	if (result)
		error_note("%s", pending->detail);
	else
		*ret_handle = pending->handle;
	end_pending(pending);
	return result;
}

// The queue that it has left may have a place in line until the helper ends it: others who do not wait
// would be refused for that. Only where it takes the helper no other machine's time.
static bool is_in_the_way(const struct lh_pending *pending)
{
	struct queue *queue = find_queue(pending->helper, &pending->key);

	return pending->locks->provider->is_local && queue && cds_list_empty(&queue->waiting);
}

int lh_pending_cancel(lh_pending *pending)
{
	PROCESS_NO_CANCEL;

	if (!pending)
		return error_detail(-EINVAL, "pending is NULL");
	if (is_inherited(pending))
		return error_detail(-ESTALE, "the parent's, before a fork");
	pthread_mutex_lock(&pending->helper->lock);
	if (pending->state == PENDING_WAITS) {
		leave_queue(pending, -ECANCELED);
		kick(pending->helper);
	}
	pending->cancelled = true;
	while (pending->state == PENDING_TRIED || is_in_the_way(pending))
		pthread_cond_wait(&pending->helper->progress, &pending->helper->lock);
	pthread_mutex_unlock(&pending->helper->lock);
	return 0;
}
