// SPDX-License-Identifier: Apache-2.0
//
// Acquires of named locks that wait without a thread of their own. One thread for each set that has
// ever had one, the helper, tries on their behalf: by LH_NOW, in the order in which they came for
// each key, when the provider says that it is worth while. A handle comes to be only by such a try;
// so what is cancelled in time never had one, and what was granted is finished with it.
#include "src/pending.h"

#include "arena/cancel.h"
#include "arena/error.h"
#include "arena/keeper.h"
#include "arena/object.h"
#include "arena/process.h"
#include "arena/sys/clock.h"
#include "arena/sys/futex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void free_pending(struct lh_pending *pending)
{
	if (pending->fd >= 0)
		close(pending->fd);
	free(pending->label);
	free(pending);
}

static struct lh_pending *make(struct lh_locks *locks, const struct provider_key *key,
			       lh_deadline deadline, const struct lh_acquire_options *options)
{
	struct lh_pending *pending = calloc(1, sizeof(*pending) + key->size);

	if (!pending)
		return NULL;
	pending->helper = pending_helper_of(locks);
	pending->locks = locks;
	pending->generation = process_generation();
	if (key->size)
		memcpy(pending->bytes, key->bytes, key->size);
	pending->key = (struct provider_key){ .bytes = pending->bytes, .size = key->size };
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

int lh_acquire_start(lh_locks *locks, const char *key, lh_deadline deadline,
		     const struct lh_acquire_options *options, lh_pending **ret_pending)
{
	PROCESS_NO_CANCEL;
	static const struct lh_acquire_options defaults;
	const struct provider_key wanted = { .bytes = key, .size = key ? strlen(key) : 0 };
	struct pending_helper *helper;
	struct lh_pending *pending;
	bool first;
	int error;

	if (!locks || !key || !ret_pending)
		return error_detail(-EINVAL, "locks, key or ret_pending is NULL");
	if (wanted.size > LH_KEY_MAX)
		return error_detail(-EMSGSIZE, "a key of %zu bytes: at most %u", wanted.size,
				    LH_KEY_MAX);
	error = locks_check_options(locks, options ? options : &defaults, LOCKS_KNOWN_FLAGS);
	if (!error)
		error = process_start();
	if (error)
		return error;
	pending = make(locks, &wanted, deadline, options);
	if (!pending)
		return error_detail(-ENOMEM, "no memory");
	helper = pending->helper;
	pthread_mutex_lock(&helper->lock);
	first = !pending_find_queue(helper, &pending->key);
	pthread_mutex_unlock(&helper->lock);
	if (first && locks->provider->is_local)
		error = pending_try(pending, NULL);
	else if (!first && deadline.ns == 0 && locks->provider->is_local)
		error = -EBUSY;
	else
		error = -EAGAIN; // not tried
	if (error != -EAGAIN && (error != -EBUSY || deadline.ns == 0))
		pending_finish(pending, error);
	error = 0;
	pthread_mutex_lock(&helper->lock);
	if (pending->state != PENDING_FINISHED)
		error = pending_enqueue(helper, pending);
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
		own->fd = object_above_stdio(
			eventfd(own->state == PENDING_FINISHED, EFD_CLOEXEC | EFD_NONBLOCK));
	result = own->fd < 0 ? error_detail(-errno, "eventfd") : own->fd;
	pthread_mutex_unlock(&own->helper->lock);
	return result;
}

static void tell(const struct lh_pending *pending)
{
	error_note("%s", pending->detail);
	locks_explain(&pending->key);
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
	if (state != PENDING_FINISHED) {
		error_note_nothing();
		return -EINPROGRESS;
	}
	result = pending->result;
	if (result)
		tell(pending);
	else
		*ret_handle = pending->handle;
	end_pending(pending);
	return result;
}

// The queue that it has left may have a place in line until the helper ends it: others who do not
// wait would be refused for that. Only where it takes the helper no other machine's time.
static bool is_in_the_way(const struct lh_pending *pending)
{
	struct queue *queue = pending_find_queue(pending->helper, &pending->key);

	return pending->locks->provider->is_local && queue && cds_list_empty(&queue->waiting);
}

// Once this call has returned its user may destroy the token: not while the helper sleeps on it.
static bool is_slept_on(const struct lh_pending *pending)
{
	return pending->options.cancel && pending->helper->token_is_left &&
	       pending->helper->queue_count;
}

// Under the helper's lock: until it has come on.
static void await_progress(struct pending_helper *helper)
{
	struct timespec soon;

	if (!keeper_is_caller()) {
		pthread_cond_wait(&helper->progress, &helper->lock);
		return;
	}
	// It may be waiting for this very thread, to get a lease or to give one back.
	pthread_mutex_unlock(&helper->lock);
	keeper_serve_calls();
	soon = clock_timespec(clock_now() + CLOCK_NS_PER_MS);
	pthread_mutex_lock(&helper->lock);
	pthread_cond_clockwait(&helper->progress, &helper->lock, CLOCK_MONOTONIC, &soon);
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
		pending_leave_queue(pending, -ECANCELED);
		pending_kick(pending->helper);
	}
	pending->cancelled = true;
	while (pending->state == PENDING_TRIED || is_in_the_way(pending) || is_slept_on(pending))
		await_progress(pending->helper);
	pthread_mutex_unlock(&pending->helper->lock);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// In a call

static bool is_finished(struct lh_pending *pending)
{
	return atomic_load_explicit(&pending->finished, memory_order_acquire);
}

// Leaves the queue, unless what it waits for is there, or is being given to it at this moment.
static void give_up(struct lh_pending *pending, int error)
{
	struct pending_helper *helper = pending->helper;

	pthread_mutex_lock(&helper->lock);
	while (pending->state == PENDING_TRIED)
		pthread_cond_wait(&helper->progress, &helper->lock);
	if (pending->state == PENDING_WAITS) {
		pending_leave_queue(pending, error);
		pending_kick(helper);
	}
	pthread_mutex_unlock(&helper->lock);
}

static void await_finish(struct lh_pending *pending)
{
	struct lh_cancel *cancel = pending->options.cancel;
	const uint64_t until = pending_is_once(pending) ? FUTEX_NEVER : pending->deadline.ns;
	const struct futex_word words[] = { { &pending->finished, 0, true },
					    { cancel ? &cancel->fired : NULL, 0, true } };

	while (!is_finished(pending)) {
		futex_wait_many(words, cancel ? 2 : 1, until);
		if (is_finished(pending))
			break;
		if (cancel_fired(cancel))
			give_up(pending, -ECANCELED);
		else if (clock_now() >= until)
			give_up(pending, -ETIMEDOUT);
	}
	pthread_mutex_lock(&pending->helper->lock); // who has finished it has let go of it then
	pthread_mutex_unlock(&pending->helper->lock);
}

int pending_wait(struct lh_locks *locks, const struct provider_key *key, lh_deadline deadline,
		 const struct lh_acquire_options *options, struct lh_handle **ret_handle)
{
	struct lh_pending *pending;
	int result;

	if (cancel_fired(options->cancel))
		return error_detail(-ECANCELED, "the cancel token has fired");
	pending = make(locks, key, deadline, options);
	if (!pending)
		return error_detail(-ENOMEM, "no memory");
	pending->in_call = true;
	pthread_mutex_lock(&pending->helper->lock);
	result = pending_enqueue(pending->helper, pending);
	pthread_mutex_unlock(&pending->helper->lock);
	if (!result) {
		await_finish(pending);
		result = pending->result;
		if (result)
			tell(pending);
		else
			*ret_handle = pending->handle;
	}
	free_pending(pending);
	return result;
}
