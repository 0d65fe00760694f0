// SPDX-License-Identifier: Apache-2.0
//
// For how long a handle on a server is good, and renewing: one thread for each session, which has
// the provider renew whatever is due in one go.
#include "src/remote.h"

#include "arena/error.h"
#include "arena/process.h"
#include "arena/sys/futex.h"

#include <errno.h>
#include <stdlib.h>

#define NO_MEMORY_NS (10 * CLOCK_NS_PER_MS) // until the next try

// ---------------------------------------------------------------------------------------------
// Validity

bool remote_is_inherited(const struct remote_handle *handle)
{
	return handle->session->generation != process_generation();
}

// Who has seen the end of it makes it the end: a renewal that is answered later finds 0.
static uint64_t part_remaining(const struct remote_handle *part)
{
	_Atomic uint64_t *until_ns = &((struct remote_handle *)(uintptr_t)part)->until_ns;
	uint64_t until = atomic_load(until_ns);

	for (;;) {
		const uint64_t now = clock_now();

		if (!until || now < until)
			return until ? until - now : 0;
		if (atomic_compare_exchange_weak(until_ns, &until, 0))
			return 0;
	}
}

uint64_t remote_remaining(const struct remote_handle *whole)
{
	uint64_t least = UINT64_MAX;
	const struct remote_handle *part;

	if (remote_is_inherited(whole))
		return 0;
	cds_list_for_each_entry(part, &whole->parts, part) {
		const uint64_t remaining = part_remaining(part);

		if (remaining < least)
			least = remaining;
	}
	return least;
}

uint64_t remote_until(const void *subject)
{
	const struct remote_handle *whole = subject, *part;
	uint64_t first = UINT64_MAX;

	cds_list_for_each_entry(part, &whole->parts, part) {
		const uint64_t until = atomic_load(&part->until_ns);

		if (until < first)
			first = until;
	}
	return first;
}

// The server has said yes to a renewal that began at start_ns. Whether it was still wanted.
static bool raise_until(struct remote_handle *part, uint64_t start_ns, uint64_t ttl_ns)
{
	uint64_t until = atomic_load(&part->until_ns);

	while (part_remaining(part)) {
		if (until >= start_ns + ttl_ns)
			return true;
		if (until &&
		    atomic_compare_exchange_weak(&part->until_ns, &until, start_ns + ttl_ns))
			return true;
		until = atomic_load(&part->until_ns);
	}
	return false;
}

// The server has said no.
static void lose(struct remote_handle *part)
{
	atomic_store(&part->until_ns, 0);
	keeper_kick();
}

// ---------------------------------------------------------------------------------------------
// Under the session's lock

static void kick(struct remote_session *session)
{
	atomic_fetch_add(&session->kicks, 1);
	futex_wake_private(&session->kicks, 1);
}

static void unlist(struct remote_handle *handle)
{
	if (handle->listed)
		cds_list_del(&handle->node);
	handle->listed = false;
}

// Whether the handle's renewal may be out together with one that is due now.
static bool is_due(const struct remote_handle *handle, uint64_t now)
{
	// Where renewals are counted each is worth a whole period.
	const uint64_t early = handle->renewals_left == UINT32_MAX ? handle->renew_every_ns / 4 : 0;

	return now + early >= handle->renew_at_ns;
}

// What is to be renewed now, if anything has to be: how many. *ret_next: when to look again.
static size_t gather(struct remote_session *session, struct provider_renewal *renewals, size_t room,
		     uint64_t *ret_next)
{
	struct remote_handle *handle, *next;
	const uint64_t now = clock_now();
	size_t count = 0;

	*ret_next = UINT64_MAX;
	cds_list_for_each_entry_safe(handle, next, &session->renewed, node) {
		if (!handle->renewals_left || !remote_remaining(handle->whole)) {
			unlist(handle); // lost: what it holds beside that ends by itself, too
			continue;
		}
		// The user may have extended it for longer.
		if (handle->renew_at_ns <= now &&
		    atomic_load(&handle->until_ns) >= now + handle->hold.ttl_ns)
			handle->renew_at_ns = now + handle->renew_every_ns;
		if (handle->renew_at_ns < *ret_next)
			*ret_next = handle->renew_at_ns;
	}
	if (*ret_next > now)
		return 0;
	cds_list_for_each_entry(handle, &session->renewed, node) {
		if (count == room || !is_due(handle, now))
			continue;
		handle->renewing = true;
		renewals[count++] = (struct provider_renewal){ .hold = &handle->hold,
							       .ttl_ns = handle->hold.ttl_ns };
	}
	return count;
}

static struct remote_handle *handle_of(const struct provider_hold *hold)
{
	return caa_container_of((struct provider_hold *)(uintptr_t)hold, struct remote_handle,
				hold);
}

static void settle(struct remote_handle *handle, uint64_t start_ns, uint64_t ttl_ns, int result)
{
	handle->renewing = false;
	if (handle->released) {
		free(handle);
		return;
	}
	if (result && result != -ESTALE) {
		handle->renew_at_ns = clock_now() + handle->renew_every_ns / 4 + 1;
		return;
	}
	handle->renew_at_ns = start_ns + handle->renew_every_ns;
	if (result)
		lose(handle);
	else if (raise_until(handle, start_ns, ttl_ns) && handle->renewals_left != UINT32_MAX)
		handle->renewals_left--;
}

static size_t count_renewed(const struct remote_session *session)
{
	const struct remote_handle *handle;
	size_t count = 0;

	cds_list_for_each_entry(handle, &session->renewed, node)
		count++;
	return count;
}

// Renews what is due; when to look again. Gives the lock up meanwhile.
static uint64_t renew_due(struct remote_session *session)
{
	const size_t room = count_renewed(session);
	struct provider_renewal *renewals = calloc(room ? room : 1, sizeof(*renewals));
	uint64_t next = clock_now() + NO_MEMORY_NS;
	const size_t count = renewals ? gather(session, renewals, room, &next) : 0;
	uint64_t start_ns;
	int error;

	if (count) {
		pthread_mutex_unlock(&session->lock);
		start_ns = clock_now();
		error = session->remote->renew(session->server, renewals, count);
		pthread_mutex_lock(&session->lock);
		for (size_t i = 0; i < count; i++)
			settle(handle_of(renewals[i].hold), start_ns, renewals[i].ttl_ns,
			       error ? error : renewals[i].result);
		next = 0;
	}
	free(renewals);
	return next;
}

static void *keep_renewing(void *argument)
{
	struct remote_session *session = argument;

	pthread_setname_np(pthread_self(), "lh-renew");
	pthread_mutex_lock(&session->lock);
	while (!session->ending) {
		const uint32_t kicks = atomic_load(&session->kicks);
		const uint64_t next = renew_due(session);

		if (!next)
			continue;
		pthread_mutex_unlock(&session->lock);
		futex_wait_many(&(struct futex_word){ &session->kicks, kicks, true }, 1, next);
		pthread_mutex_lock(&session->lock);
	}
	pthread_mutex_unlock(&session->lock);
	return NULL;
}

// ---------------------------------------------------------------------------------------------

static int start(struct remote_session *session)
{
	int error;

	if (session->started)
		return 0;
	error = process_start_thread(&session->thread, keep_renewing, session);
	if (error)
		return error_detail(error, "the thread that renews cannot be started");
	session->started = true;
	return 0;
}

int remote_renew_as(struct remote_handle *handle, const struct lh_acquire_options *options)
{
	const bool renews = !options->ttl_ns || (options->flags & LH_LEASE_AUTO_RENEW);
	struct remote_session *session = handle->session;
	int error = 0;

	pthread_mutex_lock(&session->lock);
	unlist(handle);
	if (renews)
		error = start(session);
	if (renews && !error) {
		handle->renew_every_ns = options->renew_every_ns;
		if (!handle->renew_every_ns)
			handle->renew_every_ns = handle->hold.ttl_ns / 3;
		if (!handle->renew_every_ns)
			handle->renew_every_ns = 1;
		// From the start of the request on that has granted it. If it is lost: gather.
		handle->renew_at_ns = atomic_load(&handle->until_ns) - handle->hold.ttl_ns +
				      handle->renew_every_ns;
		handle->renewals_left = options->max_renewals ? options->max_renewals : UINT32_MAX;
		handle->listed = true;
		cds_list_add_tail(&handle->node, &session->renewed);
		kick(session);
	}
	pthread_mutex_unlock(&session->lock);
	return error;
}

int remote_renew_now(struct remote_handle *whole, uint64_t ttl_ns)
{
	struct provider_renewal *renewals;
	const uint64_t start_ns = clock_now();
	struct remote_handle *part;
	size_t count = 0;
	int error;

	cds_list_for_each_entry(part, &whole->parts, part)
		count++;
	renewals = calloc(count ? count : 1, sizeof(*renewals));
	if (!renewals)
		return error_detail(-ENOMEM, "no memory");
	count = 0;
	cds_list_for_each_entry(part, &whole->parts, part)
		renewals[count++] = (struct provider_renewal){ .hold = &part->hold,
							       .ttl_ns = ttl_ns };
	error = whole->session->remote->renew(whole->session->server, renewals, count);
	for (size_t i = 0; i < count && !error; i++) {
		if (renewals[i].result == -ESTALE)
			lose(handle_of(renewals[i].hold));
		if (!renewals[i].result &&
		    !raise_until(handle_of(renewals[i].hold), start_ns, ttl_ns))
			renewals[i].result = -ESTALE;
		error = renewals[i].result;
	}
	free(renewals);
	return error;
}

void remote_free_all(struct remote_handle *whole)
{
	struct remote_session *session = whole->session;
	struct remote_handle *part, *next;
	CDS_LIST_HEAD(parts);

	pthread_mutex_lock(&session->lock);
	cds_list_splice(&whole->parts, &parts); // whole is one of them
	cds_list_for_each_entry_safe(part, next, &parts, part) {
		unlist(part);
		part->released = part->renewing;
		if (!part->renewing)
			free(part);
	}
	pthread_mutex_unlock(&session->lock);
}

void remote_renew_end(struct remote_session *session)
{
	if (!session->started)
		return;
	pthread_mutex_lock(&session->lock);
	session->ending = true;
	kick(session);
	pthread_mutex_unlock(&session->lock);
	pthread_join(session->thread, NULL);
}
