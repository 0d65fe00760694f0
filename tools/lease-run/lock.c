// SPDX-License-Identifier: Apache-2.0
//
// The lock: acquired on a thread of its own, so that the guard sees to its processes meanwhile.

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lease_run.h"

struct lock {
	const struct options *options;
	char label[32]; // for the inspector, and for holder.c of others
	lh_cancel *cancel;
	pthread_t thread;
	int done; // eventfd
	// Written by the thread up to its end:
	lh_locks *locks;
	lh_handle *handle; // NULL: not held, and
	int exit_code;     // says why
};

// ---- acquiring, on the thread -------------------------------------------------------------------

static const char *advice(int error)
{
	switch (error) {
	case -EACCES:
		return "Another user's locks are elsewhere: --url tells where, LEASE_URL is the "
		       "default.";
	case -EINVAL:
		return "`man " PROGRAM "` tells which URLs there are.";
	case -ENOTSUP:
		return "Leave out the option that locks there do not know, or choose another "
		       "--url.";
	case -EBADMSG:
		return "`lease-inspector check` says what to do about a damaged arena.";
	case -ENOLCK:
	case -ENOSPC:
		return "`lease-inspector leases` shows who uses the arena; a new one may be made "
		       "larger: shm://NAME?size=64M&leases=4096";
	default:
		return NULL;
	}
}

// What removes the arena of a shm:// URL, as a user types it.
static void say_how_to_remove(const char *url)
{
	static const char scheme[] = "shm://";
	const char *name = url + sizeof(scheme) - 1;
	char path[SHOWN_TEXT * 2], file[SHOWN_TEXT];

	snprintf(path, sizeof(path), "%s%.*s", *name == '/' ? "" : "/dev/shm/",
		 (int)strcspn(name, "?"), name);
	shown(path, file);
	say("Once nobody uses it any more (`fuser %s` names them), `rm %s` removes it, and the "
	    "next "
	    "makes a new one. Or choose another --url.",
	    file, file);
}

static int complain(const struct options *options, int error)
{
	const char *detail = lh_error_detail();
	char name[SHOWN_TEXT], url[SHOWN_TEXT];

	say("%s at %s: %s%s%s%s", shown(options->name, name), shown(options->shown_url, url),
	    lh_strerror(error), *detail ? " (" : "", detail, *detail ? ")" : "");
	if (advice(error))
		say("%s", advice(error));
	else if (error == -EPROTONOSUPPORT) // of arenas alone
		say_how_to_remove(options->shown_url);
	return EXIT_LOCK;
}

static int acquire(struct lock *lock, lh_deadline deadline, struct lh_acquire_options *wanted)
{
	return lh_acquire_key(lock->locks, lock->options->name, strlen(lock->options->name),
			      deadline, wanted, &lock->handle);
}

// Where the end of the holder releases, one that has not renewed can be made to end: then the
// command that it guards has ended, too, before anybody else is granted the lock.
static bool can_kill_on_expiry(const lh_locks *locks)
{
	const unsigned needed = LH_CAP_TTL | LH_CAP_DEATH_RELEASES;

	return (lh_locks_capabilities(locks) & needed) == needed;
}

static int wait_for(struct lock *lock)
{
	const struct options *options = lock->options;
	struct lh_acquire_options wanted = {
		.mode = options->mode,
		.ttl_ns = options->ttl_ns,
		.flags = options->ttl_ns ? LH_LEASE_AUTO_RENEW : 0,
		.max_holders = options->slots,
		.label = lock->label,
		.cancel = lock->cancel,
	};
	char name[SHOWN_TEXT];
	int error;

	if (options->on_lost == ON_LOST_KILL && can_kill_on_expiry(lock->locks))
		wanted.flags |= LH_LEASE_KILL_ON_EXPIRY;
	if (!options->verbose || options->deadline.ns == LH_NOW.ns)
		return acquire(lock, options->deadline, &wanted);
	error = acquire(lock, LH_NOW, &wanted);
	if (error != -EBUSY)
		return error;
	say("waiting for %s", shown(options->name, name));
	return acquire(lock, options->deadline, &wanted);
}

static int lock_up(struct lock *lock)
{
	const struct options *options = lock->options;
	const uint64_t begun = lh_now();
	char name[SHOWN_TEXT];
	int error = lh_locks_open(options->url, &lock->locks);

	if (!error)
		error = wait_for(lock);
	switch (error) {
	case 0:
		if (options->verbose)
			say("acquired %s after %.3f s%s", shown(options->name, name),
			    (double)(lh_now() - begun) / 1e9,
			    lh_handle_flags(lock->handle) & LH_GRANT_OWNER_DIED
				    ? "; a holder before was lost"
				    : "");
		return 0;
	case -EBUSY:
	case -ETIMEDOUT:
		if (options->verbose)
			say("%s is held by somebody else", shown(options->name, name));
		return options->conflict_code;
	case -ECANCELED: // by the guard, who knows why
		return EXIT_LOCK;
	default:
		return complain(options, error);
	}
}

static void *thread_main(void *context)
{
	struct lock *lock = context;

	lock->exit_code = lock_up(lock);
	eventfd_write(lock->done, 1);
	return NULL;
}

// ---- for the guard ------------------------------------------------------------------------------

static void set_label(struct lock *lock, pid_t front)
{
	const char *command = strrchr(lock->options->command[0], '/');

	command = command ? command + 1 : lock->options->command[0];
	snprintf(lock->label, sizeof(lock->label), PROGRAM " %d %s", (int)front, command);
}

struct lock *lock_start(const struct options *options, pid_t front)
{
	struct lock *lock = calloc(1, sizeof(*lock));
	int error;

	if (!lock) {
		say_system("no memory");
		return NULL;
	}
	lock->options = options;
	set_label(lock, front);
	lock->done = eventfd(0, EFD_CLOEXEC);
	if (lock->done < 0) {
		say_system("eventfd");
		goto failed;
	}
	error = lh_cancel_create(&lock->cancel);
	if (!error)
		error = -pthread_create(&lock->thread, NULL, thread_main, lock);
	if (error) {
		complain(options, error);
		goto failed;
	}
	return lock;
failed:
	free(lock); // the process ends soon
	return NULL;
}

int lock_fd(const struct lock *lock)
{
	return lock->done;
}

void lock_cancel(struct lock *lock)
{
	lh_cancel_fire(lock->cancel);
}

bool lock_result(struct lock *lock, struct lock_facts *ret_facts, int *ret_code)
{
	pthread_join(lock->thread, NULL);
	if (!lock->handle) {
		*ret_code = lock->exit_code;
		return false;
	}
	*ret_facts = (struct lock_facts){
		.token = lh_handle_token(lock->handle),
		.slot = lock->options->slots ? lh_handle_slot(lock->handle) : -1,
		.owner_died = lh_handle_flags(lock->handle) & LH_GRANT_OWNER_DIED,
	};
	return true;
}

bool lock_is_held(const struct lock *lock)
{
	return lh_handle_valid(lock->handle);
}

int lock_loss_fd(struct lock *lock)
{
	const int fd = lh_handle_loss_fd(lock->handle);
	char name[SHOWN_TEXT];

	if (fd < 0 && fd != -ENOTSUP)
		say("%s: a loss will be noticed late: %s", shown(lock->options->name, name),
		    lh_strerror(fd));
	return fd < 0 ? -1 : fd;
}

bool lock_release(struct lock *lock, bool repaired)
{
	const bool held = lock_is_held(lock); // an expiry that nobody has noticed yet
	char name[SHOWN_TEXT];
	int error = 0;

	if (held && repaired && (lh_handle_flags(lock->handle) & LH_GRANT_OWNER_DIED))
		error = lh_handle_consistent(lock->handle);
	if (error && error != -EPERM) // of a shared one
		complain(lock->options, error);
	error = lh_handle_release(lock->handle);
	if (error && error != -ESTALE)
		complain(lock->options, error);
	else if (lock->options->verbose)
		say("released %s", shown(lock->options->name, name));
	return held && error != -ESTALE;
}
