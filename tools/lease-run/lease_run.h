// SPDX-License-Identifier: Apache-2.0
//
// lease_run.h: what the parts of lease-run share.
//
// Two processes stand around the command, so that it ends before the lock does, whichever of the
// two is killed:
//
//	front    what the caller started. It passes signals on and waits for the result. (front.c)
//	guard    the front's child, in a session of its own. It acquires the lock, and kills the
//	         command if the front ends; only when that is done does it end, and with it the lock.
//	         (guard.c; the lock: lock.c)
//	command  the guard's child, in the front's session and process group. If the guard ends, the
//	         kernel kills the command: PR_SET_PDEATHSIG. (command.c)
//
// With --no-fork the front becomes the command, so it cannot be anybody's child any more:
//
//	guard    as above, but orphaned at once, for the command must not find a child
//	leash    the guard's child. It holds the reading end of a pipe whose writing end is the guard's,
//	         and which has the command for its owner and SIGKILL for its signal (F_SETSIG): so
//	         when the guard ends, the kernel kills the command here, too. If the leash ends, the
//	         guard kills the command. (leash.c)
//
// Of Leasehold nothing but the public headers is used.
#ifndef LEASE_RUN_LEASE_RUN_H
#define LEASE_RUN_LEASE_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#include <leasehold/leasehold.h>

#define PROGRAM "lease-run"

// The values of sysexits.h(3head) where it has one that fits; what is lost comes after them.
enum exit_code {
	EXIT_USAGE = 64,
	EXIT_LOCK = 69,   // no conflict, but an error of the lock itself
	EXIT_SYSTEM = 71, // no process, no memory, …
	EXIT_CONFLICT = 75,
	EXIT_LOST = 79,
	EXIT_CANNOT_EXECUTE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128 // + the signal
};

enum on_lost { ON_LOST_TERM, ON_LOST_KILL, ON_LOST_IGNORE };

struct options {
	const char *name;
	char **command; // NULL at its end
	char *url;
	char *shown_url; // without password
	enum lh_mode mode;
	lh_deadline deadline;
	uint32_t slots;  // 0: no semaphore
	uint64_t ttl_ns; // 0: the library's, renewed
	uint64_t kill_after_ns;
	enum on_lost on_lost;
	int conflict_code;
	bool no_fork;
	bool verbose;
	// What the front found, and the command is to find.
	sigset_t mask;
	struct sigaction child_action;
};

// What the command is told of the lock.
struct lock_facts {
	uint64_t token;
	int slot; // -1: none
	bool owner_died;
};

// From the guard to the front. Signals go the other way, as an int each.
enum report_kind {
	REPORT_COMMAND, // the command waits to be let go; a pidfd of it comes along
	REPORT_HELD,    // the lock is held: facts
	REPORT_EXIT,    // all is over: value is the exit code
	REPORT_SIGNAL   // while the lock was waited for the signal `value` came: die of it
};

struct report {
	enum report_kind kind;
	int value;
	struct lock_facts facts;
};

// ---- main.c -------------------------------------------------------------------------------------
// Prints "lease-run: " and the text to stderr, as one line.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Says that `what` failed, and why by errno. Returns EXIT_SYSTEM.
int say_system(const char *what);

// The text with every byte that is not printable ASCII as '?', for messages, cut after 60 bytes.
enum { SHOWN_TEXT = 64 };
const char *shown(const char *text, char buffer[SHOWN_TEXT]);

// ---- front.c ------------------------------------------------------------------------------------
// Acquires the lock and runs the command. Returns the exit code.
int front_run(struct options *options);

// The same without a process between: returns only if the command could not be executed.
int front_become(struct options *options);

// ---- guard.c ------------------------------------------------------------------------------------
struct front {
	pid_t pid;
	int pidfd;
	int socket; // SOCK_SEQPACKET to it
};

// The rest of the guard's life.
noreturn void guard_main(const struct options *options, const struct front *front);

// ---- command.c ----------------------------------------------------------------------------------
// The rest of the command's life; `go`: where the facts come from once the lock is held. Its end
// comes from there, too, if the guard ends before.
noreturn void command_main(const struct options *options, pid_t guard, int go);

// Executes the command in this process. Returns the exit code if that cannot be done.
int command_execute(const struct options *options, const struct lock_facts *facts);

// Kills all children of this process and, as they become its children, theirs; and waits for
// their end. Those who belong to somebody else are waited for only.
void command_kill_rest(void);

// ---- leash.c ------------------------------------------------------------------------------------
struct leash {
	int fd;    // the guard's end: POLLERR says that the leash has ended. -1: there is none
	pid_t pid; // of the process that holds the other
};

// Puts the front on a leash of the calling process: 0, or EXIT_SYSTEM when it has said why.
int leash_put(struct leash *leash, const struct front *front);

// Takes it off: from now on the front lives on without the caller.
void leash_take_off(struct leash *leash);

// ---- lock.c -------------------------------------------------------------------------------------
struct lock;

// Begins to acquire the lock, on a thread. NULL when it has said why it cannot.
struct lock *lock_start(const struct options *options, pid_t front);

// A descriptor that is readable once lock_result does not wait.
int lock_fd(const struct lock *lock);

// Ends the acquisition, unless it is just over.
void lock_cancel(struct lock *lock);

// Waits for the acquisition's end. Whether the lock is held, and *ret_facts says how; else
// *ret_code is the exit code, and what there is to say has been said. Once.
bool lock_result(struct lock *lock, struct lock_facts *ret_facts, int *ret_code);

// A descriptor that becomes readable once the lock is lost; -1: such locks are not told of it.
int lock_loss_fd(struct lock *lock);

// Whether it is still held.
bool lock_is_held(const struct lock *lock);

// Whether it was still held; then it is not any more. `repaired`: what it protects is consistent.
bool lock_release(struct lock *lock, bool repaired);

// ---- holder.c -----------------------------------------------------------------------------------
// Says who holds what this process waits for. Whether that is done, or cannot be: else its wait has not
// begun yet. Only an arena shows it.
bool holder_say(const struct options *options);

#endif
