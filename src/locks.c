// SPDX-License-Identifier: Apache-2.0
//
// Named locks: what is the same whatever the engine.
#include "src/remote.h"

#include "arena/error.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct provider *const providers[] = { &provider_shm, &provider_file };

#define PROVIDERS (sizeof(providers) / sizeof(providers[0]))

// ---------------------------------------------------------------------------------------------
// Opening

// Built in, or loaded.
static int find_provider(const char *scheme, size_t length, const struct provider **ret_provider)
{
	for (size_t i = 0; i < PROVIDERS; i++) {
		if (strlen(providers[i]->scheme) != length ||
		    memcmp(providers[i]->scheme, scheme, length) != 0)
			continue;
		*ret_provider = providers[i];
		return 0;
	}
	return remote_load(scheme, length, ret_provider);
}

int lh_locks_open(const char *url, lh_locks **ret_locks)
{
	const char *end = url ? strstr(url, "://") : NULL;
	const struct provider *provider;
	struct lh_locks *locks;
	int error;

	if (!url || !ret_locks)
		return error_detail(-EINVAL, "url or ret_locks is NULL");
	if (!end)
		return error_detail(-EINVAL, "\"%.100s\" is no URL: it has no \"://\"", url);
	error = find_provider(url, (size_t)(end - url), &provider);
	if (!error)
		error = provider->open(provider, end + 3, &locks);
	if (error)
		return error;
	locks->provider = provider;
	atomic_init(&locks->handles, 0);
	atomic_init(&locks->helper, NULL);
	*ret_locks = locks;
	return 0;
}

int lh_locks_close(lh_locks *locks)
{
	uint64_t handles;

	if (!locks)
		return 0;
	handles = atomic_load(&locks->handles);
	if (handles)
		return error_detail(-EBUSY, "%llu handles or pending acquires are out",
				    (unsigned long long)handles);
	pending_close(locks);
	return locks->provider->close(locks);
}

unsigned lh_locks_capabilities(const lh_locks *locks)
{
	return locks ? locks->provider->capabilities : 0;
}

// ---------------------------------------------------------------------------------------------
// Acquiring

// The capabilities that the options need.
static unsigned wanted_of(const struct lh_acquire_options *options)
{
	unsigned wanted = 0;

	if (options->mode == LH_SHARED)
		wanted |= LH_CAP_SHARED;
	if (options->mode == LH_INTENT_SHARED || options->mode == LH_INTENT_EXCLUSIVE)
		wanted |= LH_CAP_INTENT;
	if (options->max_holders)
		wanted |= LH_CAP_SEMAPHORE;
	if (options->ttl_ns || (options->flags & LH_LEASE_KILL_ON_EXPIRY) ||
	    options->renew_every_ns || options->max_renewals)
		wanted |= LH_CAP_TTL;
	return wanted;
}

int locks_check_options(const lh_locks *locks, const struct lh_acquire_options *options,
			unsigned known)
{
	for (size_t i = 0; i < 4; i++) {
		if (options->reserved[i])
			return error_detail(-EINVAL, "acquire options: reserved is not 0");
	}
	if (options->flags & ~known)
		return error_detail(-EINVAL, "acquire options: unknown flags 0x%x",
				    options->flags & ~known);
	if ((unsigned)options->mode > LH_INTENT_EXCLUSIVE)
		return error_detail(-EINVAL, "acquire options: unknown mode %u",
				    (unsigned)options->mode);
	if ((wanted_of(options) & ~lh_locks_capabilities(locks)) == LH_CAP_TTL)
		return error_detail(-ENOTSUP,
				    "%s:// has no TTLs: no ttl_ns, renew_every_ns, max_renewals "
				    "or LH_LEASE_KILL_ON_EXPIRY",
				    locks->provider->scheme);
	if (wanted_of(options) & ~lh_locks_capabilities(locks))
		return error_detail(
			-ENOTSUP, "%s:// has no such locks (capabilities 0x%x, wanted 0x%x)",
			locks->provider->scheme, lh_locks_capabilities(locks), wanted_of(options));
	if (options->max_holders > INT_MAX) // lh_handle_slot returns an int
		return error_detail(-EINVAL, "acquire options: max_holders %u is above %d",
				    options->max_holders, INT_MAX);
	if (options->max_holders && options->mode != LH_EXCLUSIVE)
		return error_detail(-EINVAL, "acquire options: permits (max_holders) have no mode");
	if (options->ttl_ns && !(options->flags & LH_LEASE_AUTO_RENEW) &&
	    (options->renew_every_ns || options->max_renewals))
		return error_detail(-EINVAL,
				    "acquire options: an explicit TTL is renewed only with "
				    "LH_LEASE_AUTO_RENEW");
	if (options->renew_every_ns >= (options->ttl_ns ? options->ttl_ns : LOCKS_TTL_NS))
		return error_detail(-EINVAL,
				    "acquire options: renew_every_ns is not below the TTL");
	return locks->provider->check ? locks->provider->check(options) : 0;
}

void locks_explain(const struct provider_key *key)
{
	char name[48];
	size_t length = 0;

	if (lh_error_detail()[0])
		return;
	for (; length < key->size && length + 1 < sizeof(name); length++) {
		const char byte = ((const char *)key->bytes)[length];

		name[length] = byte >= ' ' && byte <= '~' ? byte : '?';
	}
	name[length] = '\0';
	error_note("key \"%s\"%s", name, length < key->size ? "…" : "");
}

int locks_acquire(lh_locks *locks, const struct provider_request *request, lh_handle **ret_handle)
{
	struct lh_handle *handle;
	int error;

	error_note_nothing();
	error = locks->provider->acquire(locks, request, &handle);
	if (error) {
		locks_explain(&request->keys[0]);
		return error;
	}
	handle->locks = locks;
	atomic_fetch_add_explicit(&locks->handles, 1, memory_order_relaxed);
	*ret_handle = handle;
	return 0;
}

static const struct lh_acquire_options defaults;

int lh_acquire_key(lh_locks *locks, const void *key, size_t key_size, lh_deadline deadline,
		   const struct lh_acquire_options *options, lh_handle **ret_handle)
{
	struct provider_key wanted = { key, key_size, 0, LH_EXCLUSIVE };
	const struct provider_request request = { .keys = &wanted,
						  .count = 1,
						  .deadline = deadline,
						  .options = options ? options : &defaults };
	int error;

	if (!locks || !ret_handle || (!key && key_size))
		return error_detail(-EINVAL, "locks, key or ret_handle is NULL");
	if (key_size > LH_KEY_MAX)
		return error_detail(-EMSGSIZE, "a key of %zu bytes: at most %u", key_size,
				    LH_KEY_MAX);
	error = locks_check_options(locks, request.options, LOCKS_KNOWN_FLAGS);
	if (error)
		return error;
	wanted.mode = request.options->mode;
	return locks_acquire(locks, &request, ret_handle);
}

int lh_acquire(lh_locks *locks, const char *key, lh_deadline deadline,
	       const struct lh_acquire_options *options, lh_handle **ret_handle)
{
	if (!key)
		return error_detail(-EINVAL, "key is NULL");
	return lh_acquire_key(locks, key, strlen(key), deadline, options, ret_handle);
}

// ---------------------------------------------------------------------------------------------
// Several keys

static int by_bytes(const void *left, const void *right)
{
	const struct provider_key *one = left, *other = right;
	const int order = memcmp(one->bytes, other->bytes,
				 one->size < other->size ? one->size : other->size);

	return order ? order : (one->size > other->size) - (one->size < other->size);
}

static int by_place(const void *left, const void *right)
{
	const struct provider_key *one = left, *other = right;

	return (one->place > other->place) - (one->place < other->place);
}

// All processes that use the canonical order take any two keys in the same one.
static int arrange(const char *const keys[], size_t count, const struct lh_acquire_options *options,
		   struct provider_key *wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (!keys[i])
			return error_detail(-EINVAL, "key %zu is NULL", i);
		wanted[i] = (struct provider_key){ keys[i], strlen(keys[i]), i, options->mode };
		if (wanted[i].size > LH_KEY_MAX)
			return error_detail(-EMSGSIZE, "a key of %zu bytes: at most %u",
					    wanted[i].size, LH_KEY_MAX);
	}
	qsort(wanted, count, sizeof(*wanted), by_bytes);
	for (size_t i = 1; i < count; i++) {
		if (by_bytes(&wanted[i - 1], &wanted[i]) == 0)
			return error_detail(-EINVAL, "twice the same key: \"%.100s\"",
					    (const char *)wanted[i].bytes);
	}
	if (options->flags & LH_ACQUIRE_IN_ORDER)
		qsort(wanted, count, sizeof(*wanted), by_place);
	return 0;
}

int lh_acquire_all(lh_locks *locks, const char *const keys[], size_t count, lh_deadline deadline,
		   const struct lh_acquire_options *options, lh_handle **ret_handle)
{
	struct provider_request request = { .count = count,
					    .deadline = deadline,
					    .options = options ? options : &defaults };
	struct provider_key *wanted;
	int error;

	if (!locks || !ret_handle || !keys || !count)
		return error_detail(-EINVAL, "locks, keys or ret_handle is NULL, or no keys");
	error = locks_check_options(locks, request.options,
				    LOCKS_KNOWN_FLAGS | LH_ACQUIRE_IN_ORDER);
	if (error)
		return error;
	wanted = calloc(count, sizeof(*wanted));
	if (!wanted)
		return error_detail(-ENOMEM, "no memory");
	request.keys = wanted;
	error = arrange(keys, count, request.options, wanted);
	if (!error)
		error = locks_acquire(locks, &request, ret_handle);
	free(wanted);
	return error;
}

// ---------------------------------------------------------------------------------------------
// A path

// The components up to each '/' are keys, and the whole. Counts them: 0: one is empty.
static size_t count_components(const char *path)
{
	size_t count = 1;

	for (const char *at = path; *at; at++) {
		if (*at != '/')
			continue;
		if (at == path || at[-1] == '/')
			return 0;
		count++;
	}
	return *path && path[strlen(path) - 1] != '/' ? count : 0;
}

// What is wanted of all that is above what `mode` is wanted of.
static enum lh_mode intent_of(enum lh_mode mode)
{
	return mode == LH_SHARED || mode == LH_INTENT_SHARED ? LH_INTENT_SHARED
							     : LH_INTENT_EXCLUSIVE;
}

// Top down: two paths take what they have in common in the same order.
static void arrange_path(const char *path, size_t count, enum lh_mode mode,
			 struct provider_key *wanted)
{
	size_t size = 0;

	for (size_t i = 0; i < count; i++) {
		if (i)
			size++; // the '/'
		size += strcspn(path + size, "/");
		wanted[i] = (struct provider_key){ path, size, i,
						   i + 1 < count ? intent_of(mode) : mode };
	}
}

static int check_path(const lh_locks *locks, const char *path, size_t count,
		      const struct lh_acquire_options *options)
{
	const int error = locks_check_options(locks, options, LOCKS_KNOWN_FLAGS);

	if (error)
		return error;
	if (strlen(path) > LH_KEY_MAX)
		return error_detail(-EMSGSIZE, "a path of %zu bytes: at most %u", strlen(path),
				    LH_KEY_MAX);
	if (options->max_holders)
		return error_detail(-EINVAL, "a path has no permits (max_holders)");
	if (count > 1 && !(lh_locks_capabilities(locks) & LH_CAP_INTENT))
		return error_detail(-ENOTSUP, "%s:// has no intention locks",
				    locks->provider->scheme);
	return 0;
}

int lh_acquire_path(lh_locks *locks, const char *path, lh_deadline deadline,
		    const struct lh_acquire_options *options, lh_handle **ret_handle)
{
	struct provider_request request = { .deadline = deadline,
					    .options = options ? options : &defaults };
	struct provider_key *wanted;
	int error;

	if (!locks || !ret_handle || !path)
		return error_detail(-EINVAL, "locks, path or ret_handle is NULL");
	request.count = count_components(path);
	if (!request.count)
		return error_detail(-EINVAL, "\"%.100s\" is no path: it has an empty component",
				    path);
	error = check_path(locks, path, request.count, request.options);
	if (error)
		return error;
	wanted = calloc(request.count, sizeof(*wanted));
	if (!wanted)
		return error_detail(-ENOMEM, "no memory");
	arrange_path(path, request.count, request.options->mode, wanted);
	request.keys = wanted;
	error = locks_acquire(locks, &request, ret_handle);
	free(wanted);
	return error;
}

// ---------------------------------------------------------------------------------------------
// Handles

int lh_handle_extend(lh_handle *handle, uint64_t ttl_ns)
{
	if (!handle || !ttl_ns)
		return error_detail(-EINVAL, "handle is NULL, or the TTL 0");
	return handle->locks->provider->extend(handle, ttl_ns);
}

uint64_t lh_handle_remaining(const lh_handle *handle)
{
	return handle ? handle->locks->provider->remaining(handle) : 0;
}

bool lh_handle_valid(const lh_handle *handle)
{
	return lh_handle_remaining(handle) != 0;
}

uint64_t lh_handle_token(const lh_handle *handle)
{
	return handle ? handle->token : 0;
}

unsigned lh_handle_flags(const lh_handle *handle)
{
	return handle ? handle->flags : 0;
}

int lh_handle_consistent(lh_handle *handle)
{
	if (!handle)
		return error_detail(-EINVAL, "handle is NULL");
	return handle->locks->provider->consistent(handle);
}

int lh_handle_slot(const lh_handle *handle)
{
	if (!handle)
		return error_text(-EINVAL, "handle is NULL");
	return handle->slot == -ENOTSUP ? error_text(-ENOTSUP, "the handle holds no permit")
					: handle->slot;
}

int lh_handle_loss_fd(lh_handle *handle)
{
	if (!handle)
		return error_detail(-EINVAL, "handle is NULL");
	return handle->locks->provider->loss_fd(handle);
}

int lh_handle_release(lh_handle *handle)
{
	struct lh_locks *locks;
	int error;

	if (!handle)
		return 0;
	locks = handle->locks;
	error = locks->provider->release(handle);
	if (error != -EDEADLK)
		atomic_fetch_sub_explicit(&locks->handles, 1, memory_order_release);
	return error;
}

int lh_with(lh_locks *locks, const char *key, lh_deadline deadline,
	    const struct lh_acquire_options *options, int (*body)(lh_handle *handle, void *context),
	    void *context)
{
	lh_handle *handle = NULL;
	int result, error;
	bool lost;

	if (!body)
		return error_detail(-EINVAL, "body is NULL");
	error = lh_acquire(locks, key, deadline, options, &handle);
	if (error)
		return error;
	result = body(handle, context);
	lost = !lh_handle_valid(handle); // an expiry that nobody has noticed yet
	error = lh_handle_release(handle);
	return lost ? -ESTALE : error ? error : result;
}

// ---------------------------------------------------------------------------------------------
// Keys

int lh_key_version(lh_locks *locks, const char *key, uint64_t *ret_version)
{
	const struct provider_key wanted = { key, key ? strlen(key) : 0, 0, LH_EXCLUSIVE };
	int error;

	if (!locks || !key || !ret_version)
		return error_detail(-EINVAL, "locks, key or ret_version is NULL");
	if (wanted.size > LH_KEY_MAX)
		return error_detail(-EMSGSIZE, "a key of %zu bytes: at most %u", wanted.size,
				    LH_KEY_MAX);
	if (!locks->provider->version)
		return error_detail(-ENOTSUP, "%s:// has no versions of keys",
				    locks->provider->scheme);
	error_note_nothing();
	error = locks->provider->version(locks, &wanted, ret_version);
	if (error)
		locks_explain(&wanted);
	return error;
}

ssize_t lh_key_join(void *buffer, size_t capacity, const char *const parts[], size_t count)
{
	char *to = buffer;
	size_t size = 0;

	if ((!buffer && capacity) || (!parts && count))
		return error_detail(-EINVAL, "buffer or parts is NULL");
	// Netstrings (Bernstein, 1997): "3:abc,". Where a part ends follows from what precedes it.
	for (size_t i = 0; i < count; i++) {
		char length[24];
		size_t digits, bytes;

		if (!parts[i])
			return error_detail(-EINVAL, "part %zu is NULL", i);
		bytes = strlen(parts[i]);
		digits = (size_t)snprintf(length, sizeof(length), "%zu:", bytes);
		if (bytes >= capacity || capacity - size <= digits + bytes + 1)
			return error_detail(-EMSGSIZE, "the key does not fit into %zu bytes",
					    capacity);
		memcpy(to + size, length, digits);
		memcpy(to + size + digits, parts[i], bytes);
		size += digits + bytes;
		to[size++] = ',';
	}
	if (size >= capacity)
		return error_detail(-EMSGSIZE, "the key does not fit into %zu bytes", capacity);
	to[size] = '\0';
	return (ssize_t)size;
}
