// SPDX-License-Identifier: Apache-2.0
//
// Named locks in an arena. A handle holds reader-writer locks of the key table (keys.h) under a
// lease of the process; so the end of that process, an expiry and what comes after are those of any
// lease.
//
// A lease costs some hundred times what a lock does. So those of the default TTL, which the keeper
// renews, are kept when their handle is released: a few, for the next to acquire.
#include "src/locks.h"
#include "src/provider/shm_pending.h"

#include "arena/error.h"
#include "arena/keeper.h"
#include "src/deadlock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TTL_NS (30 * CLOCK_NS_PER_S)
#define DEFAULT_SIZE (UINT64_C(4) << 20)
#define DEFAULT_LEASES 1024u
#define POOL_LEASES 8
#define LABEL "named locks"

struct shm_locks {
	struct lh_locks base;
	lh_arena *arena;
	struct keys keys;
	_Atomic(struct lh_lease *) pool[POOL_LEASES]; // NULL: none; taken and put by exchange
	struct shm_pending pending;
};

struct shm_hold {
	struct hold_record *record; // of an entry that is held
};

struct shm_handle {
	struct lh_handle base;
	struct lh_lease *lease;
	bool returns; // to the pool, with the handle's release
	size_t count;
	struct shm_hold holds[]; // in the order in which they were acquired
};

static struct shm_locks *locks_of(struct lh_locks *locks)
{
	return (struct shm_locks *)locks;
}

static struct shm_handle *handle_of(struct lh_handle *handle)
{
	return (struct shm_handle *)handle;
}

static const struct shm_handle *const_handle_of(const struct lh_handle *handle)
{
	return (const struct shm_handle *)handle;
}

// ---------------------------------------------------------------------------------------------
// The URL: name[?size=…&leases=…&mode=…&owner=any]

#define NAME_MOST 255u

static int parse_number(const char *text, size_t length, int base, uint64_t *ret_number)
{
	static const char *const units = "KMG";
	char digits[24], *end;
	const char *unit;

	if (length == 0 || length >= sizeof(digits) || text[0] < '0' || text[0] > '9')
		return -EINVAL;
	memcpy(digits, text, length);
	digits[length] = '\0';
	errno = 0;
	*ret_number = strtoull(digits, &end, base);
	if (errno)
		return -EINVAL;
	if (!*end)
		return 0;
	unit = strchr(units, *end);
	if (!unit || end[1] || base != 10 || *ret_number >> 30)
		return -EINVAL;
	*ret_number <<= 10 * (unit - units + 1);
	return 0;
}

struct shm_url {
	char name[NAME_MOST + 1];
	int flags; // lh_arena_open's
	struct lh_arena_options options;
};

// One `name=value` of the query.
static int parse_parameter(const char *text, size_t length, struct shm_url *url)
{
	struct lh_arena_options *options = &url->options;
	const char *equals = memchr(text, '=', length);
	const size_t name = equals ? (size_t)(equals - text) : length;
	const size_t rest = equals ? length - name - 1 : 0;
	uint64_t number = 0;
	int error = -EINVAL;

	if (name == 4 && memcmp(text, "size", name) == 0) {
		error = parse_number(text + name + 1, rest, 10, &number);
		options->size = number;
	} else if (name == 6 && memcmp(text, "leases", name) == 0) {
		error = parse_number(text + name + 1, rest, 10, &number);
		options->max_leases = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
	} else if (name == 4 && memcmp(text, "mode", name) == 0) {
		error = parse_number(text + name + 1, rest, 8, &number);
		options->mode = (mode_t)number;
		if (number > 0777)
			error = -EINVAL;
	} else if (name == 5 && memcmp(text, "owner", name) == 0) {
		error = rest == 3 && memcmp(text + name + 1, "any", rest) == 0 ? 0 : -EINVAL;
		url->flags |= LH_ANY_OWNER;
	}
	return error ? error_detail(-EINVAL, "shm URL: not understood: \"%.*s\"", (int)length, text)
		     : 0;
}

static int parse(const char *rest, struct shm_url *url)
{
	const char *query = strchr(rest, '?');
	const size_t length = query ? (size_t)(query - rest) : strlen(rest);
	int error = 0;

	if (length == 0 || length > NAME_MOST)
		return error_detail(-EINVAL, "shm URL: a name has 1 to %u bytes", NAME_MOST);
	memcpy(url->name, rest, length);
	url->name[length] = '\0';
	while (query && !error) {
		const char *text = query + 1;
		const size_t size = strcspn(text, "&");

		error = parse_parameter(text, size, url);
		query = text[size] ? text + size : NULL;
	}
	return error;
}

static int open_locks(const struct provider *provider, const char *rest,
		      struct lh_locks **ret_locks)
{
	struct shm_url url = { .flags = LH_CREATE,
			       .options = { .size = DEFAULT_SIZE, .max_leases = DEFAULT_LEASES } };
	struct shm_locks *shm;
	int error = parse(rest, &url);

	(void)provider;
	if (error)
		return error;
	shm = calloc(1, sizeof(*shm));
	if (!shm)
		return error_detail(-ENOMEM, "no memory");
	error = lh_arena_open(url.name, url.flags, &url.options, &shm->arena);
	if (error) {
		free(shm);
		return error;
	}
	error = keys_open(shm->arena, &shm->keys);
	if (error) {
		lh_arena_close(shm->arena);
		free(shm);
		return error;
	}
	*ret_locks = &shm->base;
	return 0;
}

static int close_locks(struct lh_locks *locks)
{
	struct shm_locks *shm = locks_of(locks);
	int error;

	for (size_t i = 0; i < POOL_LEASES; i++)
		lh_lease_release(atomic_exchange(&shm->pool[i], NULL));
	shm_pending_close(&shm->pending);
	error = lh_arena_close(shm->arena);
	if (!error)
		free(shm);
	return error;
}

// ---------------------------------------------------------------------------------------------
// Leases

// Whether a lease of the pool is as good as a new one. Not in a forked child, whose copies are
// void.
static bool is_good(struct lh_lease *lease, uint64_t now)
{
	const uint64_t expiry = lease_expiry(lease);

	if (lease_check_caller(lease) != 0 || !lease_is_live(lease) || now >= expiry)
		return false;
	// The keeper renews it after each third of its TTL, if it can.
	return expiry - now >= DEFAULT_TTL_NS / 2 || lh_lease_renew(lease, DEFAULT_TTL_NS) == 0;
}

// A lease of the pool; NULL: there is none.
static struct lh_lease *take_pooled(struct shm_locks *shm, uint64_t now)
{
	for (size_t i = 0; i < POOL_LEASES; i++) {
		struct lh_lease *lease;

		if (!atomic_load_explicit(&shm->pool[i], memory_order_relaxed))
			continue;
		lease = atomic_exchange(&shm->pool[i], NULL);
		if (lease && is_good(lease, now))
			return lease;
		lh_lease_release(lease);
	}
	return NULL;
}

// Whether there was room for it.
static bool put_pooled(struct shm_locks *shm, struct lh_lease *lease)
{
	for (size_t i = 0; i < POOL_LEASES; i++) {
		struct lh_lease *none = NULL;

		if (!atomic_load_explicit(&shm->pool[i], memory_order_relaxed) &&
		    atomic_compare_exchange_strong(&shm->pool[i], &none, lease))
			return true;
	}
	return false;
}

// By whom the handle will be let go of, if it will only end so: struct lease_slot.
static uint64_t session_of(const struct lh_acquire_options *options)
{
	const bool ends = options->max_renewals ||
			  (options->ttl_ns && !(options->flags & LH_LEASE_AUTO_RENEW));

	return ends ? 0 : deadlock_session(options->flags & LH_ACQUIRE_THIS_THREAD);
}

static bool is_plain(const struct lh_acquire_options *options)
{
	return !options->ttl_ns && !(options->flags & LH_LEASE_KILL_ON_EXPIRY) &&
	       !options->renew_every_ns && !options->max_renewals && !options->label;
}

static uint64_t ttl_of(const struct lh_acquire_options *options)
{
	return options->ttl_ns ? options->ttl_ns : DEFAULT_TTL_NS;
}

// The TTL that was asked for is the grant's, and may be brief (settle): while the call waits its
// lease has no less than the default, and is renewed.
static int make_lease(struct shm_locks *shm, const struct lh_acquire_options *options,
		      struct lh_lease **ret_lease)
{
	const bool plain = is_plain(options);
	const struct lh_lease_options wanted = {
		.ttl_ns = options->ttl_ns > DEFAULT_TTL_NS ? options->ttl_ns : DEFAULT_TTL_NS,
		.flags = LH_LEASE_PROCESS | LH_LEASE_AUTO_RENEW |
			 (options->flags & LH_LEASE_KILL_ON_EXPIRY),
		.label = plain || !options->label ? LABEL : options->label,
	};

	return lh_lease_acquire(shm->arena, &wanted, ret_lease);
}

static int get_lease(struct shm_locks *shm, const struct lh_acquire_options *options,
		     struct shm_handle *handle)
{
	const bool plain = is_plain(options);
	const uint64_t now = clock_now();
	// A second arena of that name must not be another place for the same keys: as new leases,
	// kept ones are refused.
	int error = arena_check_name(shm->arena, now);

	if (error)
		return error;
	handle->lease = plain ? take_pooled(shm, now) : NULL;
	handle->returns = plain;
	return handle->lease ? 0 : make_lease(shm, options, &handle->lease);
}

// From now on the lease has this TTL, and nobody renews it.
static int restart(struct lh_lease *lease, uint64_t ttl_ns)
{
	const int error = keeper_drop(lease);

	if (error)
		return error;
	lease->ttl_ns = ttl_ns;
	atomic_store_explicit(&lease->slot->ttl_ns, ttl_ns, memory_order_relaxed);
	return lh_lease_renew(lease, ttl_ns);
}

// All is held: from here on the lease is as the caller wants it.
static int settle(struct shm_handle *handle, const struct lh_acquire_options *options)
{
	const bool renews = !options->ttl_ns || (options->flags & LH_LEASE_AUTO_RENEW);
	struct lh_lease *lease = handle->lease;
	int error = 0;

	if (options->cancel)
		error = lh_lease_set_cancel(lease, NULL);
	if (!error && !is_plain(options)) {
		error = restart(lease, ttl_of(options));
		if (!error && renews)
			error = keeper_renew(lease, options->renew_every_ns, options->max_renewals);
	}
	if (!error && options->on_loss) {
		handle->returns = false;
		error = lh_lease_on_loss(lease, options->on_loss, options->context);
	}
	return error;
}

// ---------------------------------------------------------------------------------------------
// Acquiring

static struct key_wanted wanted_of(const struct provider_request *request, size_t index)
{
	const struct provider_key *key = &request->keys[index];

	return (struct key_wanted){ key->bytes, key->size, hash_bytes(key->bytes, key->size),
				    request->options->max_holders };
}

static int take_key(struct shm_locks *shm, const struct provider_request *request,
		    const struct provider_key *key, const struct key_wanted *wanted,
		    struct shm_handle *handle)
{
	const uint32_t permits = wanted->permits;
	lh_grant grant = { .token = 0 };
	struct rwlock_attempt attempt = { .arena = shm->arena,
					  .lease = handle->lease,
					  .deadline = request->deadline,
					  .grant = &grant,
					  .heir = shm_pending_heir(request->queue) };
	uint32_t permit = 0;
	int error = keys_refer_wanted(&shm->keys, handle->lease, wanted, request->deadline,
				      &attempt.record);

	if (error)
		return error;
	attempt.granule = hold_word_granule(
		atomic_load_explicit(&attempt.record->object, memory_order_relaxed));
	attempt.object = rwlock_object(shm->arena, attempt.granule);
	if (!attempt.object)
		error = error_detail(-EBADMSG, "the table of named locks is damaged");
	else if (permits)
		error = rwlock_acquire_permit(&attempt, &permit);
	else
		error = rwlock_acquire_mode(&attempt, shm_hold_mode(key->mode));
	if (error) {
		hold_clear(attempt.record);
		return error;
	}
	handle->holds[handle->count++].record = attempt.record;
	if (!permits) // what was lost of a key that was a lock before is no matter of its permits'
		handle->base.flags |= grant.flags;
	if (key->place + 1 == request->count) {
		handle->base.token = grant.token;
		handle->base.slot = permits ? (int)permit : -ENOTSUP;
	}
	return 0;
}

// In reverse. 0, or the first error.
static int let_go(struct shm_handle *handle)
{
	struct lh_arena *arena = handle->lease->arena;
	int result = 0;

	while (handle->count) {
		struct hold_record *record = handle->holds[--handle->count].record;
		const uint64_t word = atomic_load_explicit(&record->object, memory_order_relaxed);
		struct rwlock_object *object = rwlock_object(arena, hold_word_granule(word));
		const int error = object ? rwlock_release_mode(handle->lease, object, record)
					 : -EBADMSG;

		if (!result)
			result = error;
	}
	return result;
}

// Lets go of all and of the lease. -EDEADLK: of all but the lease, and not finally.
static int let_go_of_all(struct shm_locks *shm, struct shm_handle *handle)
{
	// Of a forked child's copy nothing must be let go: it is the parent's.
	int result = lease_check_caller(handle->lease);
	int error;

	if (!result)
		result = let_go(handle);
	if (!result && handle->returns) {
		lease_set_session(handle->lease, 0); // the next one says its own
		if (put_pooled(shm, handle->lease))
			return 0;
	}
	error = lh_lease_release(handle->lease);
	return error == -EDEADLK || !result ? error : result;
}

static int acquire(struct lh_locks *locks, const struct provider_request *request,
		   struct lh_handle **ret_handle)
{
	struct shm_locks *shm = locks_of(locks);
	const struct lh_acquire_options *options = request->options;
	struct key_wanted wanted = wanted_of(request, 0);
	char detail[ERROR_DETAIL_SIZE];
	struct shm_handle *handle;
	int error;

	keys_expect(&shm->keys, wanted.hash);
	handle = malloc(sizeof(*handle) + request->count * sizeof(handle->holds[0]));
	if (!handle)
		return error_detail(-ENOMEM, "no memory");
	*handle = (struct shm_handle){ .count = 0 };
	error = get_lease(shm, options, handle);
	if (error) {
		free(handle);
		return error;
	}
	keys_expect_entry(&shm->keys, wanted.hash);
	lease_set_session(handle->lease, session_of(options));
	if (options->cancel)
		error = lh_lease_set_cancel(handle->lease, options->cancel);
	if (!error)
		error = lease_check_cancel(handle->lease);
	for (size_t i = 0; i < request->count && !error; i++) {
		if (i)
			wanted = wanted_of(request, i);
		error = take_key(shm, request, &request->keys[i], &wanted, handle);
	}
	if (!error)
		error = settle(handle, options);
	if (!error) {
		*ret_handle = &handle->base;
		return 0;
	}
	snprintf(detail, sizeof(detail), "%s", lh_error_detail());
	if (options->cancel)
		lh_lease_set_cancel(handle->lease, NULL);
	let_go_of_all(shm, handle);
	free(handle);
	return error_detail(error, "%s", detail);
}

// ---------------------------------------------------------------------------------------------
// Handles

// No shorter than it is: the keeper may be renewing it for longer.
static int extend(struct lh_handle *handle, uint64_t ttl_ns)
{
	struct lh_lease *lease = handle_of(handle)->lease;
	const int error = lease_check(lease);

	if (error)
		return error;
	if (ttl_ns > DEFAULT_TTL_NS)
		handle_of(handle)->returns = false; // or a later handle had what is left of it
	return lh_lease_remaining(lease) >= ttl_ns ? 0 : lh_lease_renew(lease, ttl_ns);
}

static uint64_t remaining(const struct lh_handle *handle)
{
	return lh_lease_remaining(const_handle_of(handle)->lease);
}

// All that it holds exclusively: of a path that is the last key at most.
static int consistent(struct lh_handle *handle)
{
	struct shm_handle *shm = handle_of(handle);
	int result = -EPERM;

	for (size_t i = 0; i < shm->count; i++) {
		const uint64_t word = atomic_load_explicit(&shm->holds[i].record->object,
							   memory_order_relaxed);
		lh_rwlock rwlock = { { 0 } };

		if (hold_word_mode(word) != LH_HOLD_EXCLUSIVE)
			continue;
		primitive_handle(shm->lease->arena, LH_KIND_RWLOCK, hold_word_granule(word),
				 rwlock.private_);
		result = lh_rwlock_consistent(&rwlock, shm->lease);
		if (result)
			return result;
	}
	return result == -EPERM && !lease_is_live(shm->lease) ? -ESTALE : result;
}

static int loss_fd(struct lh_handle *handle)
{
	struct shm_handle *shm = handle_of(handle);

	shm->returns = false; // it is closed with the lease
	return lh_lease_loss_fd(shm->lease);
}

static int release(struct lh_handle *handle)
{
	const int error = let_go_of_all(locks_of(handle->locks), handle_of(handle));

	if (error != -EDEADLK)
		free(handle_of(handle));
	return error;
}

static int version(struct lh_locks *locks, const struct provider_key *key, uint64_t *ret_version)
{
	return keys_version(&locks_of(locks)->keys, key->bytes, key->size, ret_version);
}

// ---------------------------------------------------------------------------------------------
// Acquires that wait without a thread

static void ready(struct lh_locks *locks)
{
	struct shm_locks *shm = locks_of(locks);

	(void)shm_pending_ready(&shm->pending, shm->arena); // listen says if there is none
}

static int listen(struct lh_locks *locks, struct wait *wait, uint64_t *ret_news)
{
	struct shm_locks *shm = locks_of(locks);

	return shm_pending_listen(&shm->pending, shm->arena, wait, ret_news);
}

static bool is_free(struct lh_locks *locks, struct provider_queue *queue, struct wait *wait)
{
	struct shm_locks *shm = locks_of(locks);

	return shm_pending_is_free(&shm->pending, &shm->keys, queue, wait);
}

static void leave(struct lh_locks *locks, struct provider_queue *queue)
{
	struct shm_locks *shm = locks_of(locks);

	shm_pending_leave(&shm->pending, queue);
}

const struct provider provider_shm = {
	.scheme = "shm",
	.capabilities = LH_CAP_SHARED | LH_CAP_SEMAPHORE | LH_CAP_INTENT | LH_CAP_FENCING |
			LH_CAP_TTL | LH_CAP_DEADLOCK | LH_CAP_DEATH_RELEASES,
	.open = open_locks,
	.close = close_locks,
	.acquire = acquire,
	.extend = extend,
	.remaining = remaining,
	.consistent = consistent,
	.loss_fd = loss_fd,
	.release = release,
	.version = version,
	.is_local = true,
	.ready = ready,
	.listen = listen,
	.is_free = is_free,
	.leave = leave,
};
