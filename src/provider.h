// SPDX-License-Identifier: Apache-2.0
//
// provider.h: what a provider of named locks on a server has to do. This header is all of the
// library that it sees: it is a shared object, leasehold-provider-SCHEME.so, loaded when a URL of
// its scheme is opened, with one symbol, `leasehold_provider`, and it is not linked with the
// library. docs/providers/writing.md tells how to write one.
//
// What the library does itself (src/remote*.c): queues, deadlines and cancel tokens of those who
// wait, of whom one for each key asks; handles; renewing; validity by the local clock and the
// telling of loss. A provider asks a server, and says what it has answered.
#ifndef SRC_PROVIDER_H
#define SRC_PROVIDER_H

#include <leasehold/locks.h>

#define PROVIDER_ABI 1u
#define PROVIDER_SYMBOL "leasehold_provider"

struct provider_key {
	const void *bytes; // any; may be NULL if size is 0
	size_t size;       // at most LH_KEY_MAX
	size_t place;      // in the caller's list
	enum lh_mode mode; // wanted for this key: of a path, the keys above the last have others
			   // than the options say
};

// One key as it is wanted and then held.
struct provider_hold {
	struct provider_key key;
	uint32_t max_holders; // 0: a lock, in key.mode
	uint64_t ttl_ns;
	// Of the grant, written by the provider:
	uint64_t since_ns; // no later than the moment at which the server's TTL began
			   // (CLOCK_MONOTONIC): the start of the request that it has answered
	uint64_t token;    // 0 without LH_CAP_FENCING
	unsigned flags;    // LH_GRANT_OWNER_DIED
	uint32_t permit;   // of max_holders
	uint64_t own[2];   // the provider's: by what the server knows it
};

// A request for a key. The library's memory: up to its answer, and if that is a grant until it was
// taken or withdrawn.
struct provider_ask {
	struct provider_hold hold;
	const char *label; // NULL: none
	bool may_wait;     // else it is answered at once, with -EBUSY if it would have to
	int result;        // of the answer: 0: granted; a negative errno
	void *own;         // the provider's
};

struct provider_renewal {
	const struct provider_hold *hold;
	uint64_t ttl_ns; // to be good for from now on; never to be shortened
	int result;      // 0; -ESTALE: it is held no more. Written by the provider
};

// What the library does for a provider.
struct provider_host {
	// Says what a failure was about, for lh_error_detail: of the calling thread's next one.
	void (*note)(const char *format, ...) __attribute__((format(printf, 1, 2)));
};

#define PROVIDER_OTHERS 64u

struct remote_provider {
	uint32_t abi;  // PROVIDER_ABI
	uint32_t size; // of this struct
	const char *scheme;
	unsigned capabilities; // LH_CAP_…

	// Of the URL, `rest` is what follows "://". 0, or lh_locks_open's error. In a forked child
	// it is called again.
	int (*open)(const struct provider_host *host, const char *rest, void **ret_server);
	// Nothing is asked or held any more. Frees it.
	void (*close)(void *server);
	// In a forked child, of its parent's: closes the descriptors, which are the parent's too,
	// says nothing to the server, and frees nothing. Async-signal-safe.
	void (*forget)(void *server);

	// ---- requests: called by one thread at a time, and never waiting for the server

	// Begins a request. An error: it has not begun; the ask is answered by that.
	int (*ask)(void *server, struct provider_ask *ask);
	// The next of those that have been answered, which is returned once; NULL: no more for now.
	// When the server cannot be reached, all are: -ENOTCONN. Of the detail that was noted last
	// the library takes a copy.
	struct provider_ask *(*next_answer)(void *server);
	// Renews what was granted to the ask; answered like a request, with hold.since_ns the start
	// of the renewal. -ESTALE: it had ended; the ask is over. NULL: the grant's own since_ns is
	// always as good.
	int (*confirm)(void *server, struct provider_ask *ask);
	// Ends an ask that is under way, or granted: whatever the server makes of it, now or later,
	// nothing stays held. The ask's memory is the library's again when it returns.
	void (*withdraw)(void *server, struct provider_ask *ask);
	// Sleeps until there may be an answer, one of the other descriptors (at most
	// PROVIDER_OTHERS; negative ones never are) is readable, or until_ns has come. 1: something
	// happened; 0: the time. May be spurious.
	int (*sleep)(void *server, const int *others, size_t count, uint64_t until_ns);

	// ---- what is held: called by any threads at once, and may wait for the server, but not for
	// ever. -ENOTCONN: the outcome is unknown

	// Renews all in one message, or as few as the server takes, and says of each what came of
	// it.
	int (*renew)(void *server, struct provider_renewal *renewals, size_t count);
	// lost: the library has counted it as lost, so if the server has not yet, it does now, and
	// the next exclusive holder is told. -ESTALE: it was held no more.
	int (*release)(void *server, const struct provider_hold *hold, bool lost);
	// lh_handle_consistent; of an exclusive hold. NULL: the server keeps no such thing.
	int (*consistent)(void *server, const struct provider_hold *hold);
	// lh_key_version; the key's mode counts for nothing. NULL: it has none.
	int (*version)(void *server, const struct provider_key *key, uint64_t *ret_version);
};

extern const struct remote_provider leasehold_provider;

#endif
