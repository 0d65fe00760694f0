// SPDX-License-Identifier: Apache-2.0
//
// Named locks in files: the URL, handles, and what becomes of the record when an exclusive lock is
// granted and let go.
#include "src/provider/file.h"

#include "arena/cancel.h"
#include "arena/error.h"
#include "arena/keeper.h"
#include "arena/object.h"
#include "arena/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MODE 0600
#define LABEL_MOST 31u // as leases have them

struct file_hold {
	struct lock_file file;
	struct file_claim claim;
	struct file_record record; // as it is there, if the claim is exclusive
	bool damaged;              // and not declared consistent
};

struct file_handle {
	struct lh_handle base;
	uint64_t generation; // of the process that acquired it
	_Atomic bool lost;   // a name was seen to lead elsewhere
	struct keeper_watch watch;
	size_t count;
	struct file_hold holds[]; // in the order in which they were acquired
};

static struct file_locks *locks_of(struct lh_locks *locks)
{
	return (struct file_locks *)locks;
}

static struct file_handle *handle_of(const struct lh_handle *handle)
{
	return (struct file_handle *)(uintptr_t)handle;
}

// ---------------------------------------------------------------------------------------------
// The URL: [localhost]/directory[?mode=OCTAL]

static int parse_mode(const char *query, mode_t *ret_mode)
{
	static const char name[] = "mode=";
	const char *digits = query + sizeof(name) - 1;
	char *end = NULL;
	unsigned long mode = 0;

	if (strncmp(query, name, sizeof(name) - 1) == 0 && *digits >= '0' && *digits <= '7')
		mode = strtoul(digits, &end, 8);
	if (!end || *end || mode == 0 || mode > 0777)
		return error_detail(-EINVAL, "file URL: not understood: \"%.60s\"", query);
	*ret_mode = (mode_t)mode;
	return 0;
}

static int parse(const char *rest, struct file_locks *locks)
{
	const char *path = strchr(rest, '/');
	const char *query = strchr(rest, '?');
	const size_t host = path ? (size_t)(path - rest) : 0;
	int error = 0;

	if (!path || (query && query < path))
		return error_detail(-EINVAL, "file URL: \"%.60s\" is no absolute path", rest);
	if (host && !(host == 9 && memcmp(rest, "localhost", host) == 0))
		return error_detail(-EINVAL, "file URL: \"%.*s\" is another host",
				    (int)(host < 60 ? host : 60), rest);
	locks->mode = DEFAULT_MODE;
	if (query)
		error = parse_mode(query + 1, &locks->mode);
	return error ? error
		     : file_decode(path, query ? (size_t)(query - path) : strlen(path),
				   &locks->directory);
}

static int check_directory(const char *path)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return error_detail(object_error(errno), "%.150s: %s", path, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return error_detail(-ENOENT, "%.150s: not a directory", path);
	if (access(path, X_OK) != 0)
		return error_detail(object_error(errno), "%.150s: %s", path, strerror(errno));
	// Files that are there can be locked in a directory that takes no more.
	if (access(path, W_OK) != 0 && errno == EROFS)
		return error_detail(-EROFS, "%.150s: %s", path, strerror(errno));
	return 0;
}

static int close_locks(struct lh_locks *base)
{
	PROCESS_NO_CANCEL;
	struct file_locks *locks = locks_of(base);

	file_pending_close(locks);
	file_close_notifiers(locks);
	free(locks->directory);
	free(locks);
	return 0;
}

static int open_locks(const struct provider *provider, const char *rest,
		      struct lh_locks **ret_locks)
{
	struct file_locks *locks = calloc(1, sizeof(*locks));
	int error;

	(void)provider;
	if (!locks)
		return error_detail(-ENOMEM, "no memory");
	error = process_start();
	if (!error)
		error = parse(rest, locks);
	if (!error)
		error = check_directory(locks->directory);
	if (error) {
		close_locks(&locks->base);
		return error;
	}
	*ret_locks = &locks->base;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Exclusive locks: the record

// Written before the grant is returned: who finds HELD and the lock free knows that its holder is
// lost.
static int enter_grant(struct file_hold *hold)
{
	struct file_record *record = &hold->record;
	int error;

	// First: a grant that fails puts the damage back.
	file_settle(record);
	hold->damaged = (record->flags & (FILE_HELD | FILE_DIED)) != 0;
	error = file_next_token(&hold->file, record);
	if (error)
		return error;
	record->flags = FILE_HELD | (hold->damaged ? FILE_DIED : 0);
	return file_write(&hold->file, record);
}

static int leave_grant(struct file_hold *hold)
{
	hold->record.flags = hold->damaged ? FILE_DIED : 0;
	return file_write(&hold->file, &hold->record);
}

// ---------------------------------------------------------------------------------------------
// Loss

static bool is_inherited(const struct file_handle *handle)
{
	return handle->generation != process_generation();
}

// A handle is lost when the name of one of its files leads elsewhere: the next to acquire the key
// takes another.
static bool is_lost(void *subject)
{
	struct file_handle *handle = subject;

	if (is_inherited(handle) || atomic_load(&handle->lost))
		return true;
	for (size_t i = 0; i < handle->count; i++) {
		if (lock_file_is_there(&handle->holds[i].file))
			continue;
		atomic_store(&handle->lost, true);
		return true;
	}
	return false;
}

static int check(struct file_handle *handle)
{
	if (!is_lost(handle))
		return 0;
	return error_detail(-ESTALE, is_inherited(handle) ? "the handle was inherited over fork"
							  : "a lock file was removed or replaced");
}

// ---------------------------------------------------------------------------------------------
// Acquiring

static int let_go(struct file_hold *hold, bool is_ours)
{
	int error = 0;

	if (is_ours && hold->claim.mode == LH_EXCLUSIVE)
		error = leave_grant(hold);
	// Before the descriptor is closed, which is what wakes those who wait.
	if (is_ours)
		bytes_give_all_back(&hold->file);
	lock_file_close(&hold->file);
	return error;
}

// In reverse. 0, or the first error.
static int let_go_of_all(struct file_handle *handle, bool are_ours)
{
	int result = 0;

	while (handle->count) {
		const int error = let_go(&handle->holds[--handle->count], are_ours);

		if (!result)
			result = error;
	}
	return result;
}

static int take_key(struct file_locks *locks, const struct provider_request *request,
		    const struct provider_key *key, struct file_handle *handle)
{
	struct file_hold *hold = &handle->holds[handle->count];
	const uint32_t max_holders = request->options->max_holders;
	int error;

	*hold = (struct file_hold){ .claim = { .mode = max_holders ? FILE_PERMITS : (int)key->mode,
					       .max_holders = max_holders } };
	error = file_take(locks, request, key, &hold->claim, &hold->file, &hold->record);
	if (error)
		return error;
	if (hold->claim.mode == LH_EXCLUSIVE) {
		error = enter_grant(hold);
		if (error) {
			let_go(hold, true);
			return error;
		}
	}
	handle->count++;
	if (key->place + 1 == request->count)
		handle->base.token = hold->record.token;
	if (hold->claim.mode == FILE_PERMITS) {
		if (key->place + 1 == request->count)
			handle->base.slot = (int)hold->claim.permit;
		return 0;
	}
	if (hold->record.suspect || (hold->record.flags & FILE_DIED) ||
	    ((hold->record.flags & FILE_HELD) && hold->claim.mode != LH_EXCLUSIVE))
		handle->base.flags |= LH_GRANT_OWNER_DIED;
	return 0;
}

static int acquire(struct lh_locks *base, const struct provider_request *request,
		   struct lh_handle **ret_handle)
{
	PROCESS_NO_CANCEL;
	struct file_locks *locks = locks_of(base);
	char detail[ERROR_DETAIL_SIZE];
	struct file_handle *handle;
	int error = 0;

	if (request->options->label && strlen(request->options->label) > LABEL_MOST)
		return error_detail(-EINVAL, "acquire options: label too long");
	if (cancel_fired(request->options->cancel))
		return error_detail(-ECANCELED, "the cancel token has fired");
	handle = calloc(1, sizeof(*handle) + request->count * sizeof(handle->holds[0]));
	if (!handle)
		return error_detail(-ENOMEM, "no memory");
	handle->generation = process_generation();
	handle->base.slot = -ENOTSUP;
	handle->watch = (struct keeper_watch){ .lost = is_lost, .subject = handle };
	for (size_t i = 0; i < request->count && !error; i++)
		error = take_key(locks, request, &request->keys[i], handle);
	if (!error && request->options->on_loss)
		error = keeper_watch(&handle->watch, request->options->on_loss,
				     request->options->context);
	if (!error) {
		*ret_handle = &handle->base;
		return 0;
	}
	snprintf(detail, sizeof(detail), "%s", lh_error_detail());
	let_go_of_all(handle, true);
	free(handle);
	return error_detail(error, "%s", detail);
}

// ---------------------------------------------------------------------------------------------
// Handles

static int extend(struct lh_handle *base, uint64_t ttl_ns)
{
	(void)ttl_ns; // it lasts for longer anyway
	return check(handle_of(base));
}

static uint64_t remaining(const struct lh_handle *base)
{
	return is_lost(handle_of(base)) ? 0 : UINT64_MAX;
}

static int repair(struct file_hold *hold)
{
	struct file_record record = hold->record;
	int error;

	if (!hold->damaged)
		return 0;
	record.flags = FILE_HELD;
	error = file_write(&hold->file, &record);
	if (error)
		return error;
	hold->record = record;
	hold->damaged = false;
	return 0;
}

static int consistent(struct lh_handle *base)
{
	PROCESS_NO_CANCEL;
	struct file_handle *handle = handle_of(base);
	int error = check(handle);
	bool any = false;

	for (size_t i = 0; i < handle->count && !error; i++) {
		if (handle->holds[i].claim.mode != LH_EXCLUSIVE)
			continue;
		any = true;
		error = repair(&handle->holds[i]);
	}
	return error || any ? error : error_detail(-EPERM, "no key of the handle is exclusive");
}

static int loss_fd(struct lh_handle *base)
{
	struct file_handle *handle = handle_of(base);

	return is_inherited(handle) ? check(handle) : keeper_watch_fd(&handle->watch);
}

static int release(struct lh_handle *base)
{
	PROCESS_NO_CANCEL;
	struct file_handle *handle = handle_of(base);
	int error = keeper_unwatch(&handle->watch);
	bool lost;

	if (error)
		return error;
	lost = is_lost(handle);
	error = let_go_of_all(handle, !is_inherited(handle));
	free(handle);
	return lost ? -ESTALE : error;
}

static int version(struct lh_locks *base, const struct provider_key *key, uint64_t *ret_version)
{
	PROCESS_NO_CANCEL;
	struct file_record record;
	struct lock_file file;
	int error = lock_file_open_to_read(&file, locks_of(base)->directory, key);

	if (error == -ENOENT) {
		*ret_version = 0; // it was never held
		return 0;
	}
	if (error)
		return error;
	error = file_read(&file, key, &record);
	if (error == -ENODATA)
		record = (struct file_record){ .token = 0 };
	else if (!error && (record.flags & FILE_HELD))
		error = bytes_see_exclusive(&file); // -EAGAIN: its holder lives
	lock_file_close(&file);
	if (error && error != -ENODATA && error != -EAGAIN)
		return error;
	*ret_version = 2 * record.token - (error == -EAGAIN ? 1 : 0);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Acquires that wait without a thread

static int listen(struct lh_locks *locks, struct wait *wait, uint64_t *ret_news)
{
	(void)wait;
	return file_pending_listen(locks_of(locks), ret_news);
}

static bool is_free(struct lh_locks *locks, struct provider_queue *queue, struct wait *wait)
{
	return file_pending_is_free(locks_of(locks), queue, wait);
}

static void leave(struct lh_locks *locks, struct provider_queue *queue)
{
	file_pending_leave(locks_of(locks), queue);
}

static int sleep_until(struct lh_locks *locks, const int *others, size_t count, uint64_t until_ns)
{
	return file_pending_sleep(locks_of(locks), others, count, until_ns);
}

const struct provider provider_file = {
	.scheme = "file",
	.capabilities = LH_CAP_SHARED | LH_CAP_SEMAPHORE | LH_CAP_FENCING | LH_CAP_INTENT |
			LH_CAP_DEATH_RELEASES,
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
	.listen = listen,
	.is_free = is_free,
	.leave = leave,
	.sleep = sleep_until,
};
