// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_LOCKS_H
#define LEASEHOLD_LOCKS_H

/*
 * Named locks: a lock by key, and by URL where it is kept.
 *
 * Nothing is declared or placed beforehand: a key of any bytes is a lock as soon as somebody
 * acquires it. What was acquired is a handle, good until it is released, lost with its holder's
 * end, or expired; a handle may be used by any thread, by one at a time. The TTL of a handle is
 * renewed by the library's own thread unless the caller sets one; so by default a lock is lost only
 * by the process's end, or if it is stopped for longer than 30 s.
 *
 * Loss is told by lh_handle_valid, by a callback and by a descriptor; each handle has a token that
 * is higher than any before it for the same key (grant.h: resources elsewhere want it). After a
 * holder was lost, handles of that key say LH_GRANT_OWNER_DIED until one of them declares what the
 * lock protects consistent.
 *
 * Providers, by the URL's scheme:
 *
 *   shm://name[?size=BYTES&leases=COUNT&mode=OCTAL&owner=any]
 *	   An arena (arena.h) on this host, made if there is none: of 4 MiB (size may end in K, M or G),
 *	   1024 leases and mode 0600, unless said otherwise. name is an arena's: POSIX shared memory,
 *	   or a path on tmpfs. One that another user made, and not root, is opened only with owner=any
 *	   (LH_ANY_OWNER: that user is trusted); else -EACCES. Three quarters of its space are for keys, some
 *	   400 bytes for each that is in use; a key that nobody holds or waits for gives its room to others. All modes,
 *	   semaphores, fencing tokens, versions, TTLs; the end of the holder's process releases. Writers come
 *	   before readers, but who was passed over for a millisecond is next. A handle is a lease of
 *	   the process, and up to eight are kept for the next to acquire. Once the arena was
 *	   unlinked nothing more is acquired, but for a tenth of a second.
 *
 *   file:///directory[?mode=OCTAL]
 *	   A directory that is there, on any file system with locks of open files; its path may be
 *	   percent-encoded, and "localhost" may stand before it. Each key has a file in it, made with
 *	   mode 0600 unless said otherwise, which stays: with its users gone it may be removed, and
 *	   then the key's tokens begin again. All modes, semaphores, fencing tokens, versions; the end of
 *	   the holder's process releases. There is no TTL: a holder that is stopped keeps its keys; lh_handle_remaining is UINT64_MAX and lh_handle_extend does
 *	   nothing. A handle is lost when a file of its was removed or replaced; on_loss and the
 *	   loss descriptor tell that within a quarter of a second. With LH_NOW, -EBUSY also where another
 *	   process stays in the middle of its own look at the key (it is stopped, has no processor, or makes
 *	   the file). Further errors: -ENOENT: the directory is gone;
 *	   -EACCES, -EROFS, -ENOSPC, -EMFILE of the file; -EBADMSG: it is no regular file, another
 *	   key's, or damaged; -ENOTSUP: no such locks there, or a key of more than 200 bytes
 *	   and no libcrypto.
 *
 *   SCHEME://…
 *	   A server, by a provider that is a shared object, leasehold-provider-SCHEME.so. It is loaded,
 *	   and stays so, from leasehold/providers beside the library's file, or that of the installation;
 *	   the environment variable LEASEHOLD_PROVIDERS names another directory, but not to programs
 *	   with privileges that their user lacks. None comes with the library yet. Of the threads of one
 *	   process that want a key one asks the server, in the order in which they came; two threads of
 *	   the set's do that and the renewing. LH_NOW, or a deadline that has passed, waits for the
 *	   answer, at most 10 s; it is -EBUSY also while another thread of the process has asked for the
 *	   key, may wait, and has no answer yet. A handle is good up to a moment by the local clock that
 *	   is no later than the server's: so the TTL is at first up to an eighth shorter than was asked
 *	   for. -ENOTCONN: the server cannot be reached; what was asked of it or is held it gives up by
 *	   itself, at the TTL at the latest. LH_LEASE_KILL_ON_EXPIRY is -ENOTSUP.
 *
 * Deadlock: where the provider has LH_CAP_DEADLOCK, those that wait for each other are told: of
 * each cycle one gets -EDEADLK. A call that waits while it holds other keys (lh_acquire_all with
 * LH_ACQUIRE_IN_ORDER, lh_acquire_path) is in one by itself. A handle that was acquired before
 * counts, across processes, if the thread that acquired it waits, with whatever handle, and no
 * other can release it: because there is no other thread in the process (the one of the library's
 * that renews leases does not matter while nobody has asked for an on_loss callback; the one of
 * lh_acquire_start does), or because LH_ACQUIRE_THIS_THREAD has said so. Else any thread may
 * release it, also while that one waits. A handle with a TTL that nobody renews, or not without
 * end, counts in no case: it ends by itself; nor does one for which lh_acquire_start has waited.
 * (No handle can be released in a signal handler, and in one that interrupts a wait no thread may
 * be started.) A thread that waits for a handle of its own alone is told if it would wait for ever;
 * with a deadline or a cancel token it waits, and the time-out or the cancel is what it gets; with
 * LH_NOW it is -EBUSY. A cycle is found some milliseconds after it has closed.
 *
 * Example: one of many processes does the work.
 *
 *	#include <errno.h>
 *	#include <leasehold/locks.h>
 *
 *	int once_at_a_time(const char *job, int (*work)(uint64_t token))
 *	{
 *		lh_locks *locks;
 *		lh_handle *handle;
 *		int result, error = lh_locks_open("shm://jobs", &locks);
 *
 *		if (error)
 *			return error;
 *		result = lh_acquire(locks, job, LH_NOW, NULL, &handle);
 *		if (!result) {
 *			result = work(lh_handle_token(handle));
 *			if (!result)
 *				lh_handle_consistent(handle);
 *			error = lh_handle_release(handle);
 *		}
 *		lh_locks_close(locks);
 *		return result ? result : error;
 *	}
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <leasehold/api.h>
#include <leasehold/cancel.h>
#include <leasehold/grant.h>
#include <leasehold/lease.h>
#include <leasehold/time.h>

LH_BEGIN_DECLS

typedef struct lh_locks lh_locks;
typedef struct lh_handle lh_handle;
typedef struct lh_pending lh_pending;

#define LH_KEY_MAX 1024u /* bytes of a key */

/*
 * Which of two handles of a key go together: LH_EXCLUSIVE with none; LH_SHARED with LH_SHARED and
 * LH_INTENT_SHARED; LH_INTENT_EXCLUSIVE with both intentions; LH_INTENT_SHARED with all but
 * LH_EXCLUSIVE. The intentions say of a key that what is below it is read or written, under locks
 * of its own (lh_acquire_path). They are for providers with LH_CAP_INTENT.
 */
enum lh_mode { LH_EXCLUSIVE, LH_SHARED, LH_INTENT_SHARED, LH_INTENT_EXCLUSIVE };

/* What a provider can do. What it cannot it refuses with -ENOTSUP. */
enum {
	LH_CAP_SHARED = 1,          /* LH_SHARED */
	LH_CAP_SEMAPHORE = 2,       /* max_holders */
	LH_CAP_FENCING = 4,         /* tokens */
	LH_CAP_TTL = 8,             /* a handle that is not renewed is lost */
	LH_CAP_INTENT = 16,         /* LH_INTENT_SHARED, LH_INTENT_EXCLUSIVE */
	LH_CAP_DEADLOCK = 32,       /* -EDEADLK to one of those that wait for each other */
	LH_CAP_DEATH_RELEASES = 64, /* the end of the holder's process releases at once */
	LH_CAP_SURVIVES_HOST =
		128 /* the end of the holder's host releases, and loses nothing else */
};

/* lh_acquire_options.flags, beside LH_LEASE_AUTO_RENEW and LH_LEASE_KILL_ON_EXPIRY */
enum {
	LH_ACQUIRE_IN_ORDER = 16,   /* lh_acquire_all: the caller's order, not the canonical one */
	LH_ACQUIRE_THIS_THREAD = 32 /* the calling thread will release the handle, no other: its
				     * waits are looked at for deadlocks (above) though there are others */
};

struct lh_acquire_options {
	enum lh_mode mode;
	uint64_t ttl_ns;         /* from the grant on; 0: 30 s, renewed by the library */
	unsigned flags;          /* LH_LEASE_AUTO_RENEW: an explicit TTL is renewed, too;
			  * LH_LEASE_KILL_ON_EXPIRY: as lease.h says; LH_ACQUIRE_… */
	uint64_t renew_every_ns; /* where it is renewed; 0: a third of the TTL */
	uint32_t max_renewals;   /* where it is renewed; 0: no limit */
	uint32_t
		max_holders; /* > 0: a semaphore of so many permits, mode LH_EXCLUSIVE; for providers
				    * with LH_CAP_SEMAPHORE */
	const char *label;   /* at most 31 bytes, copied, for the inspector; NULL: none */
	lh_cancel *cancel;   /* ends the wait; NULL: none */
	void (*on_loss)(void *context); /* called once when the handle is lost: lh_lease_on_loss */
	void *context;
	uint64_t reserved[4]; /* 0 */
};

LH_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(struct lh_acquire_options) == 104,
		 "lh_acquire_options is part of the ABI");

/*
 * Opens a set of named locks. It may be used by all threads, and by forked children, who acquire
 * handles of their own; those of the parent are lost to them.
 * Errors:
 *   -EINVAL   no URL, or not understood
 *   -ENOTSUP  no such provider; the detail says which file was looked for
 *   -ELIBBAD  the file is there, and no provider, or another version's
 *   -ENOTCONN its server cannot be reached
 *   -ENOMEM   no memory
 *   shm: those of lh_arena_open, and -ENOSPC: the arena has no room for a table of keys
 *   file: -ENOENT: no such directory; -EACCES: it may not be searched; -EROFS
 * Crash: the arena and its table are there, whole, or not.
 * Signal: unsafe.
 */
LH_API int lh_locks_open(const char *url, lh_locks **ret_locks);

/*
 * Closes it, and ends the thread that lh_acquire_start has started; NULL does nothing.
 * Errors: -EBUSY: handles are out, or pending acquires that were not finished.
 * Crash: as any end of the process.
 * Signal: unsafe.
 */
LH_API int lh_locks_close(lh_locks *locks);

/* LH_CAP_… of its provider; 0 for NULL. Signal: safe. */
LH_API unsigned lh_locks_capabilities(const lh_locks *locks);

/*
 * Acquires the lock of a key: 0 means held. Waits until deadline (time.h), for others of this
 * process as for those of any. The TTL begins with the grant. lh_acquire takes the bytes of a
 * string without its NUL; the empty key is a key. Errors; nothing is held then:
 *   -EBUSY      deadline is LH_NOW, and some handle is in the way
 *   -ETIMEDOUT  the deadline passed
 *   -ECANCELED  options->cancel was fired, before this call or during it
 *   -EDEADLK    this wait closed a cycle of waits for each other, above; told to one of them
 *   -ESTALE     the lease of the wait was lost (the process was stopped for longer than the TTL), or
 *               the arena was unlinked
 *   -ENOLCK     no lease is left, or a lease has no more holds
 *   -ENOSPC     the provider has no room for another key: each that it has is in use
 *   -EMSGSIZE   the key is longer than LH_KEY_MAX
 *   -ENOTSUP    what the options want is none of the provider's capabilities
 *   -EOVERFLOW  the tokens of the key are used up
 *   -EINVAL     the key is in use with another max_holders, or with none and options have one, or the
 *               other way round; NULL; reserved not 0; a mode with max_holders; unknown mode or flag; renew_every_ns not below the TTL; an
 *               explicit TTL with renewal fields but without LH_LEASE_AUTO_RENEW; label too long
 *   -ENOMEM, -EAGAIN   no memory; the library's thread cannot be started
 *   -EBADMSG    what the provider keeps is damaged
 *   -ENOTCONN   the server cannot be reached, or does not answer: nothing is held here
 * Order: acquire; it pairs with the release before it, and what a lost holder wrote up to its end
 * is visible as well. Crash: a caller that dies before the grant leaves nothing and strands nobody;
 * after it, it is a lost holder. Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_acquire(lh_locks *locks, const char *key, lh_deadline deadline,
				   const struct lh_acquire_options *options,
				   lh_handle **ret_handle);
LH_API LH_NODISCARD int lh_acquire_key(lh_locks *locks, const void *key, size_t key_size,
				       lh_deadline deadline,
				       const struct lh_acquire_options *options,
				       lh_handle **ret_handle);

/*
 * Acquires several keys under one handle, all or nothing, by one deadline: in the order of their
 * bytes, so that two such calls never wait for each other, or with LH_ACQUIRE_IN_ORDER in the
 * caller's. They are released in reverse, and lost together. shm: they are holds of one lease, so
 * no more than the arena's max_holds.
 * Errors, order, crash: as lh_acquire; -EINVAL also: no keys, or the same key twice. On any error
 * none of them is held.
 * Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_acquire_all(lh_locks *locks, const char *const keys[], size_t count,
				       lh_deadline deadline,
				       const struct lh_acquire_options *options,
				       lh_handle **ret_handle);

/*
 * Acquires a path: "bucket/dir/object" is the keys "bucket", "bucket/dir" and "bucket/dir/object",
 * top down under one handle, all or nothing, by one deadline. The last is taken in options->mode,
 * those above it in an intention mode: LH_INTENT_SHARED if that is LH_SHARED or LH_INTENT_SHARED,
 * else LH_INTENT_EXCLUSIVE. So objects of one bucket are locked side by side, and who locks the
 * bucket itself waits for all who are in it. They are the plain keys of the same bytes. Released in
 * reverse, and lost together; the token is the last one's. Errors, order, crash: as lh_acquire;
 * -EINVAL also: a component is empty, or options->max_holders is set; -EMSGSIZE: the path is longer
 * than LH_KEY_MAX; -ENOTSUP: no LH_CAP_INTENT, and the path has more than one component. Signal:
 * unsafe.
 */
LH_API LH_NODISCARD int lh_acquire_path(lh_locks *locks, const char *path, lh_deadline deadline,
					const struct lh_acquire_options *options,
					lh_handle **ret_handle);

/*
 * Makes the handle good for at least ttl_ns from now; it never shortens, and never revives.
 * Errors: -ESTALE: lost; -EINVAL: NULL, or a TTL of 0 or beyond 34 years of uptime; -ENOTCONN: it may
 * be good for longer now or not.
 * Crash: extended or not.
 * Signal: unsafe.
 */
LH_API int lh_handle_extend(lh_handle *handle, uint64_t ttl_ns);

/*
 * Whether the handle is not lost, and the time that is left of its TTL; false and 0 once it is
 * lost, from the moment of its expiry on, and for NULL. Both may be asked by any thread until the
 * release. Signal: safe.
 */
LH_API bool lh_handle_valid(const lh_handle *handle);
LH_API uint64_t lh_handle_remaining(const lh_handle *handle);

/*
 * The fencing token of the grant: of exclusive ones of a key, and of permits, strictly rising, also
 * over crashes; a shared one's is no lower than the last exclusive one's and below the next. Of
 * several keys that of the last in the caller's list. 0 without LH_CAP_FENCING, and for NULL.
 * Signal: safe.
 */
LH_API uint64_t lh_handle_token(const lh_handle *handle);

/*
 * LH_GRANT_OWNER_DIED if, at the grant, a holder of the key (of several: of any) had been lost and
 * nobody had declared it consistent since. A provider that has forgotten which key it was, as it
 * had to make room, says it of others rather than of none. 0 for NULL. Signal: safe.
 */
LH_API unsigned lh_handle_flags(const lh_handle *handle);

/*
 * Declares what the keys of the handle protect consistent that it holds exclusively (of a path: the
 * last): later grants do not tell the loss any more. Does nothing if there is none to tell.
 * Errors: -EPERM: it holds none exclusively; -ESTALE: lost; -EINVAL: NULL; -EBADMSG.
 * Order: what was written before is visible to all who are not told any more (release).
 * Crash: the next grant tells the loss, for the caller died holding.
 * Signal: unsafe.
 */
LH_API int lh_handle_consistent(lh_handle *handle);

/*
 * Which of the key's permits the handle has: 0 to max_holders - 1, no other handle's of that key as
 * long as it is not lost. Of several keys that of the last in the caller's list.
 * Errors: -ENOTSUP: it was acquired without max_holders; -EINVAL: NULL.
 * Signal: safe.
 */
LH_API int lh_handle_slot(const lh_handle *handle);

/*
 * A descriptor that becomes readable once the handle is lost; it is the handle's: lh_lease_loss_fd.
 * Returns the descriptor, or its errors; -EINVAL: NULL.
 * Signal: unsafe.
 */
LH_API int lh_handle_loss_fd(lh_handle *handle);

/*
 * Releases and frees the handle; NULL does nothing. When it returns, on_loss is not running and
 * never will. Errors:
 *   -ESTALE   it had been lost; freed all the same, and whoever holds the lock now is left alone
 *   -EDEADLK  called in its own on_loss callback; not freed
 *   -EBADMSG  what the provider keeps is damaged; freed
 *   -ENOTCONN the server did not answer; released and freed, and the server gives it up at its TTL
 *   -EIO, -ENOSPC, …  file: the release could not be written down; released and freed, and the next holder is
 *             told LH_GRANT_OWNER_DIED
 * Order: release.
 * Crash: held by the dead, or free with the waiters woken by whoever clears up behind the dead.
 * Signal: unsafe.
 */
LH_API int lh_handle_release(lh_handle *handle);

/*
 * Acquires, runs body, releases. Returns lh_acquire's error; else -ESTALE if the lock was lost
 * while body ran; else the release's error, if there is one; else body's result. body must not
 * release the handle. Signal: unsafe.
 */
LH_API int lh_with(lh_locks *locks, const char *key, lh_deadline deadline,
		   const struct lh_acquire_options *options,
		   int (*body)(lh_handle *handle, void *context), void *context);

/*
 * A number that changes with every exclusive grant of the key and with its release, also over
 * crashes; it never comes back, and is odd while the key is held exclusively. So what a lock protects can be
 * read without taking it: get an even version, read, and get the version again; if it is the same, nobody
 * has held the key exclusively meanwhile. It may change without that, too. Of damage that a lost holder left
 * it says nothing: lh_handle_flags does.
 * Errors: -ENOTSUP: the provider has none; -EINVAL: NULL; -EMSGSIZE: the key is longer than LH_KEY_MAX;
 * -EBADMSG, -ENOTCONN: as lh_acquire.
 * Order: acquire, and what was read before the call is not read later than it. Read what is
 * written meanwhile by atomic loads, as a race with the writer is undone only after it was had.
 * Crash: none.
 * Signal: unsafe.
 */
LH_API int lh_key_version(lh_locks *locks, const char *key, uint64_t *ret_version);

/*
 * Writes one key that no other list of parts gives into buffer, with a NUL behind it ("1:a,2:bc,").
 * Returns its size without the NUL; -EMSGSIZE: it does not fit; -EINVAL: NULL.
 * Signal: unsafe.
 */
LH_API ssize_t lh_key_join(void *buffer, size_t capacity, const char *const parts[], size_t count);

/*
 * Asynchronous acquire, for event loops: begins what lh_acquire does, and does not wait. The result
 * is there when lh_pending_fd becomes readable, and is had by lh_pending_finish, which every
 * pending acquire wants. A key that is free is granted before this returns, on this host.
 *
 * The first that has to wait starts a thread of the library's ("lh-pending", all signals blocked),
 * one for all pending acquires of a set. It acquires on their behalf, for each key in the order in
 * which they began: as a handle's, so that a granted one's TTL runs, is renewed, and can be lost
 * before it is finished. Until the grant a pending acquire has no lease; among those who wait, here
 * and in lh_acquire, it counts like any other (file: with an open file for each key that is waited
 * for). The key and the label are copied; options->cancel has to stay until the pending acquire is
 * finished, and on_loss may be called before that.
 *
 *	int wait_in_poll(lh_locks *locks, const char *key, lh_handle **ret_handle)
 *	{
 *		lh_pending *pending;
 *		struct pollfd poll_fd = { .events = POLLIN };
 *		int error = lh_acquire_start(locks, key, LH_FOREVER, NULL, &pending);
 *
 *		if (error)
 *			return error;
 *		poll_fd.fd = lh_pending_fd(pending);
 *		if (poll_fd.fd < 0 || poll(&poll_fd, 1, -1) < 0)
 *			lh_pending_cancel(pending);
 *		return lh_pending_finish(pending, ret_handle);
 *	}
 *
 * Errors; there is nothing to finish then:
 *   -EINVAL, -EMSGSIZE, -ENOTSUP   as lh_acquire says, of what can be told without acquiring
 *   -ENOMEM, -EAGAIN   no memory; the thread cannot be started
 * All else is what lh_pending_finish returns.
 * Crash: what waits is gone without a trace that anybody waits for; what was granted is a lost
 * holder's. Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_acquire_start(lh_locks *locks, const char *key, lh_deadline deadline,
					 const struct lh_acquire_options *options,
					 lh_pending **ret_pending);

/*
 * A descriptor that is readable once the acquire is finished, granted or not; always the same one,
 * and the pending acquire's: lh_pending_finish closes it. It is made when first asked for. Errors:
 * -EINVAL: NULL; -ESTALE: the parent's, in a forked child; those of eventfd(2), as -EMFILE. Signal:
 * unsafe.
 */
LH_API int lh_pending_fd(const lh_pending *pending);

/*
 * The result: what lh_acquire would have returned (-EBUSY with LH_NOW, -ETIMEDOUT, -ECANCELED, …),
 * and with 0 the handle. Frees the pending acquire, but for -EINPROGRESS. Never waits. Errors
 * beside those of lh_acquire:
 *   -EINPROGRESS  it waits still: not freed
 *   -ESTALE       also: the parent's, in a forked child; freed there, and the parent's is left alone
 *   -EINVAL       NULL
 * Order: acquire, as lh_acquire.
 * Crash: as lh_acquire_start.
 * Signal: unsafe.
 */
LH_API LH_NODISCARD int lh_pending_finish(lh_pending *pending, lh_handle **ret_handle);

/*
 * Ends the wait: when it returns, the acquire is finished, with -ECANCELED, or with what came
 * first, be it the grant, which lh_pending_finish hands over all the same. Waits for no more than
 * the tries that are under way; in an on_loss callback for the one of this acquire alone, so that
 * options->cancel has to stay for a moment longer if the callback destroys it. Of calls on one
 * pending acquire, one at a time may run. Errors: -EINVAL: NULL; -ESTALE: the parent's, in a forked
 * child. Crash: as lh_acquire_start. Signal: unsafe; options->cancel is for handlers.
 */
LH_API int lh_pending_cancel(lh_pending *pending);

LH_END_DECLS

#endif
