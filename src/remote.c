// SPDX-License-Identifier: Apache-2.0
//
// Named locks on a server: sessions, handles, and what the table of an engine has to have. What is
// asked of the server goes through src/provider.h.
#include "src/remote.h"

#include "src/pending.h"

#include "arena/error.h"
#include "arena/layout.h"
#include "arena/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MOST 31u // as leases have them
#define TTL_MOST_NS (LEASE_EXPIRY_MAX * CLOCK_NS_PER_MS)

static struct remote_handle *handle_of(struct lh_handle *handle)
{
	return (struct remote_handle *)handle;
}

static const struct remote_handle *const_handle_of(const struct lh_handle *handle)
{
	return (const struct remote_handle *)handle;
}

// ---------------------------------------------------------------------------------------------
// Sessions. Their list is for forks: a child's copies of its parent's connections would keep them
// open beyond the parent's end, by which servers notice that.

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static CDS_LIST_HEAD(list);
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int hooks_error;

static const struct provider_host host = { .note = error_note };

static void before_fork(void)
{
	pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&list_lock);
}

static void after_fork_in_child(void)
{
	struct remote_session *session;

	list_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	cds_list_for_each_entry(session, &list, node)
		session->remote->forget(session->server);
	CDS_INIT_LIST_HEAD(&list);
}

static void set_hooks(void)
{
	hooks_error = -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

// With the lock over opening and entering it, a fork comes before both or after both.
static int open_session(const struct remote_locks *locks, struct remote_session *parents,
			struct remote_session **ret_session)
{
	struct remote_session *session = calloc(1, sizeof(*session));
	int error;

	if (!session)
		return error_detail(-ENOMEM, "no memory");
	session->remote = locks->remote;
	session->generation = process_generation();
	session->parents = parents;
	session->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	CDS_INIT_LIST_HEAD(&session->renewed);
	pthread_mutex_lock(&list_lock);
	error = locks->remote->open(&host, locks->rest, &session->server);
	if (!error)
		cds_list_add(&session->node, &list);
	pthread_mutex_unlock(&list_lock);
	if (error)
		free(session);
	else
		*ret_session = session;
	return error;
}

static void close_session(struct remote_session *session)
{
	remote_renew_end(session);
	pthread_mutex_lock(&list_lock);
	cds_list_del(&session->node);
	session->remote->close(session->server);
	pthread_mutex_unlock(&list_lock);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

static bool is_own(const struct remote_session *session)
{
	return session && session->generation == process_generation();
}

int remote_session_of(struct remote_locks *locks, struct remote_session **ret_session)
{
	struct remote_session *seen = atomic_load(&locks->session), *made;
	int error;

	if (!is_own(seen)) {
		error = open_session(locks, seen, &made);
		if (error)
			return error;
		if (atomic_compare_exchange_strong(&locks->session, &seen, made))
			seen = made;
		else
			close_session(made);
	}
	*ret_session = seen;
	return 0;
}

static int close_locks(struct lh_locks *base)
{
	PROCESS_NO_CANCEL;
	struct remote_locks *locks = remote_locks_of(base);
	struct remote_session *session = atomic_load(&locks->session);

	if (is_own(session))
		close_session(session);
	free(locks);
	return 0;
}

static int open_locks(const struct provider *provider, const char *rest,
		      struct lh_locks **ret_locks)
{
	PROCESS_NO_CANCEL;
	struct remote_locks *locks = calloc(1, sizeof(*locks) + strlen(rest) + 1);
	struct remote_session *session;
	int error;

	if (!locks)
		return error_detail(-ENOMEM, "no memory");
	locks->remote = provider->remote;
	memcpy(locks->rest, rest, strlen(rest) + 1);
	atomic_init(&locks->session, NULL);
	pthread_once(&once, set_hooks);
	error = hooks_error ? error_detail(hooks_error, "no room for fork handlers")
			    : process_start();
	if (!error)
		error = remote_session_of(locks, &session);
	if (error)
		free(locks);
	else
		*ret_locks = &locks->base;
	return error;
}

// ---------------------------------------------------------------------------------------------
// Acquiring

static int check_options(const struct lh_acquire_options *options)
{
	if (options->label && strlen(options->label) > LABEL_MOST)
		return error_detail(-EINVAL, "acquire options: label too long");
	if (options->ttl_ns > TTL_MOST_NS)
		return error_detail(-EINVAL, "acquire options: TTL beyond 34 years");
	if (options->flags & LH_LEASE_KILL_ON_EXPIRY)
		return error_detail(-ENOTSUP, "LH_LEASE_KILL_ON_EXPIRY: who takes the key may be "
					      "on another host, and kills nobody here");
	return 0;
}

static bool is_lost(void *subject)
{
	return remote_remaining(subject) == 0;
}

int remote_make_handle(struct remote_session *session, const struct provider_hold *hold,
		       const struct lh_acquire_options *options, struct remote_handle **ret_handle)
{
	struct remote_handle *handle = calloc(1, sizeof(*handle) + hold->key.size);
	int error;

	if (!handle)
		return error_detail(-ENOMEM, "no memory");
	handle->session = session;
	handle->hold = *hold;
	handle->hold.key.bytes = handle->bytes;
	if (hold->key.size)
		memcpy(handle->bytes, hold->key.bytes, hold->key.size);
	atomic_init(&handle->until_ns, hold->since_ns + hold->ttl_ns);
	handle->whole = handle;
	CDS_INIT_LIST_HEAD(&handle->parts);
	cds_list_add(&handle->part, &handle->parts);
	handle->watch = (struct keeper_watch){ .lost = is_lost,
					       .when = remote_until,
					       .subject = handle };
	handle->base.token = hold->token;
	handle->base.flags = hold->flags;
	handle->base.slot = hold->max_holders ? (int)hold->permit : -ENOTSUP;
	error = remote_renew_as(handle, options);
	if (!error && options->on_loss)
		error = keeper_watch(&handle->watch, options->on_loss, options->context);
	if (error)
		remote_free_all(handle);
	else
		*ret_handle = handle;
	return error;
}

// On the server, in reverse. 0, or the first error.
static int let_go(struct remote_handle *whole, bool lost)
{
	const struct remote_session *session = whole->session;
	const struct remote_handle *part;
	int result = 0;

	cds_list_for_each_entry_reverse(part, &whole->parts, part)
	{
		const int error = session->remote->release(session->server, &part->hold, lost);

		if (!result)
			result = error;
	}
	return result;
}

static int acquire_part(struct lh_locks *base, const struct provider_request *request, size_t i,
			struct remote_handle **ret_part)
{
	struct lh_acquire_options options = *request->options;
	struct lh_handle *handle;
	int error;

	options.mode = request->keys[i].mode;
	if (request->count > 1) { // until all is held: settle
		options.flags |= LH_LEASE_AUTO_RENEW;
		options.max_renewals = 0;
		options.on_loss = NULL;
	}
	error = pending_wait(base, &request->keys[i], request->deadline, &options, &handle);
	if (error)
		return error;
	// Of what this call acquires the caller counts one.
	atomic_fetch_sub_explicit(&base->handles, 1, memory_order_relaxed);
	*ret_part = handle_of(handle);
	return 0;
}

static void join(struct remote_handle *whole, struct remote_handle *part)
{
	if (part == whole)
		return;
	pthread_mutex_lock(&whole->session->lock);
	cds_list_del(&part->part); // from its own
	cds_list_add_tail(&part->part, &whole->parts);
	part->whole = whole;
	pthread_mutex_unlock(&whole->session->lock);
	whole->base.flags |= part->base.flags;
}

// All is held: from here on it is as the caller wants it.
static int settle(struct remote_handle *whole, const struct lh_acquire_options *options)
{
	struct remote_handle *part;
	int error = remote_renew_now(whole, whole->hold.ttl_ns);

	cds_list_for_each_entry(part, &whole->parts, part) {
		if (!error)
			error = remote_renew_as(part, options);
	}
	if (!error && options->on_loss)
		error = keeper_watch(&whole->watch, options->on_loss, options->context);
	return error;
}

static int acquire(struct lh_locks *base, const struct provider_request *request,
		   struct lh_handle **ret_handle)
{
	PROCESS_NO_CANCEL;
	struct remote_handle *whole = NULL, *part;
	char detail[ERROR_DETAIL_SIZE];
	int error = 0;

	if (request->queue)
		return remote_take(base, request, ret_handle);
	for (size_t i = 0; i < request->count && !error; i++) {
		error = acquire_part(base, request, i, &part);
		if (error)
			break;
		whole = whole ? whole : part;
		join(whole, part);
		if (request->keys[i].place + 1 == request->count) {
			whole->base.token = part->hold.token;
			whole->base.slot = part->base.slot;
		}
	}
	if (!error && request->count > 1)
		error = settle(whole, request->options);
	if (!error) {
		*ret_handle = &whole->base;
		return 0;
	}
	if (whole) {
		snprintf(detail, sizeof(detail), "%s", lh_error_detail());
		let_go(whole, false);
		remote_free_all(whole);
		error_note("%s", detail);
	}
	return error;
}

// ---------------------------------------------------------------------------------------------
// Handles

static int check(const struct remote_handle *handle)
{
	if (remote_remaining(handle))
		return 0;
	return error_detail(-ESTALE, remote_is_inherited(handle)
					     ? "the handle was inherited over fork"
					     : "the handle was not renewed in time, or the server "
					       "holds it no more");
}

static int extend(struct lh_handle *base, uint64_t ttl_ns)
{
	PROCESS_NO_CANCEL;
	struct remote_handle *handle = handle_of(base);
	const int error = check(handle);

	if (error)
		return error;
	if (ttl_ns > TTL_MOST_NS)
		return error_detail(-EINVAL, "a TTL beyond 34 years");
	return remote_remaining(handle) >= ttl_ns ? 0 : remote_renew_now(handle, ttl_ns);
}

static uint64_t remaining(const struct lh_handle *handle)
{
	return remote_remaining(const_handle_of(handle));
}

static int consistent(struct lh_handle *base)
{
	PROCESS_NO_CANCEL;
	struct remote_handle *handle = handle_of(base);
	const struct remote_session *session = handle->session;
	const struct remote_handle *part;
	int error = check(handle);
	bool any = false;

	cds_list_for_each_entry(part, &handle->parts, part) {
		if (error || part->hold.key.mode != LH_EXCLUSIVE || part->hold.max_holders)
			continue;
		any = true;
		if (session->remote->consistent)
			error = session->remote->consistent(session->server, &part->hold);
	}
	return error || any ? error : error_detail(-EPERM, "no key of the handle is exclusive");
}

static int loss_fd(struct lh_handle *base)
{
	struct remote_handle *handle = handle_of(base);

	return remote_is_inherited(handle) ? check(handle) : keeper_watch_fd(&handle->watch);
}

// Of a forked child's copies: the parent's list of what is renewed is none of the child's.
static void free_inherited(struct remote_handle *whole)
{
	struct remote_handle *part, *next;
	CDS_LIST_HEAD(parts);

	cds_list_splice(&whole->parts, &parts);
	cds_list_for_each_entry_safe(part, next, &parts, part)
		free(part);
}

static int release(struct lh_handle *base)
{
	PROCESS_NO_CANCEL;
	struct remote_handle *handle = handle_of(base);
	int error = keeper_unwatch(&handle->watch);
	bool lost;

	if (error)
		return error;
	if (remote_is_inherited(handle)) {
		free_inherited(handle);
		return error_detail(-ESTALE, "the handle was inherited over fork");
	}
	lost = remote_remaining(handle) == 0;
	error = let_go(handle, lost);
	remote_free_all(handle);
	return lost ? -ESTALE : error;
}

static int version(struct lh_locks *base, const struct provider_key *key, uint64_t *ret_version)
{
	PROCESS_NO_CANCEL;
	struct remote_session *session;
	const int error = remote_session_of(remote_locks_of(base), &session);

	return error ? error : session->remote->version(session->server, key, ret_version);
}

void remote_describe(const struct remote_provider *remote, struct provider *ret_provider)
{
	*ret_provider = (struct provider){
		.scheme = remote->scheme,
		.capabilities = remote->capabilities,
		.remote = remote,
		.check = check_options,
		.open = open_locks,
		.close = close_locks,
		.acquire = acquire,
		.extend = extend,
		.remaining = remaining,
		.consistent = consistent,
		.loss_fd = loss_fd,
		.release = release,
		.version = remote->version ? version : NULL,
		.listen = remote_listen,
		.is_free = remote_is_free,
		.leave = remote_leave,
		.sleep = remote_sleep,
	};
}
