// SPDX-License-Identifier: Apache-2.0
//
// One thread per process, one mutex. What it has to do stands in a table of duties, one for each
// lease that asked; a duty refers to the lease's slot and incarnation, never to the handle.
#include "arena/keeper.h"

#include "arena/error.h"
#include "arena/object.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/sys/futex.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DETACHED_POLL_NS CLOCK_NS_PER_MS
#define WATCH_POLL_NS (250 * CLOCK_NS_PER_MS)

struct keeper_duty {
	struct cds_lfht_node node;
	bool (*lost)(void *subject); // NULL: of a lease, which is what follows
	uint64_t (*when)(const void *subject);
	void *subject;
	struct lh_arena *arena;
	uint32_t slot;
	uint64_t incarnation, owner;
	uint64_t generation; // of the process that made it
	bool detached;       // the owning thread is ending
	bool orphaned;       // and its handle is gone: the keeper frees the duty, and no other
	bool told;           // loss was told
	uint64_t ttl_ns;
	uint64_t renew_every_ns; // 0: no renewal
	uint64_t renew_at_ns;
	uint32_t renewals_left; // UINT32_MAX: no limit
	void (*callback)(void *context);
	void *context;
	int fd; // -1: none
};

struct keeper_call {
	int (*function)(void *argument);
	void *argument;
	int result;
	char detail[ERROR_DETAIL_SIZE]; // of its failure
	bool done;
	struct keeper_call *next;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t progress; // a call is done, a callback has returned
	uint64_t started;        // the process_generation() in which it was; 0: not yet
	pthread_t thread;
	struct cds_lfht *duties; // changed and walked under `lock`
	struct keeper_call *calls;
	struct keeper_duty *running; // its callback runs, without the lock
	_Atomic uint32_t kicks;      // the futex that the keeper sleeps on
	_Atomic uint64_t runs;       // the process_generation() in which it does, said by itself
	_Atomic bool called_back;    // somebody asked for a callback, ever: it runs the user's code
} keeper = { .lock = PTHREAD_MUTEX_INITIALIZER, .progress = PTHREAD_COND_INITIALIZER };

void keeper_kick(void)
{
	atomic_fetch_add(&keeper.kicks, 1);
	futex_wake_private(&keeper.kicks, 1);
}

static struct keeper_duty *duty_at(struct cds_lfht_node *entry)
{
	return caa_container_of(entry, struct keeper_duty, node);
}

// The process's generation, in the keeper's thread.
static __thread uint64_t kept_generation __attribute__((tls_model("initial-exec")));

bool keeper_is_caller(void)
{
	return kept_generation && kept_generation == process_generation();
}

// ---------------------------------------------------------------------------------------------
// The thread

// When this duty wants to be looked at next.
static uint64_t next_look(const struct keeper_duty *duty)
{
	uint64_t next;

	if (duty->told) // its arena may be closed by now
		return UINT64_MAX;
	if (duty->lost)
		return duty->when ? duty->when(duty->subject) : clock_now() + WATCH_POLL_NS;
	if (duty->detached)
		return clock_now() + DETACHED_POLL_NS;
	next = lease_word_expiry(atomic_load(&duty->arena->leases[duty->slot].state));
	if (duty->renew_every_ns && duty->renewals_left && duty->renew_at_ns < next)
		next = duty->renew_at_ns;
	return next;
}

static void renew(struct keeper_duty *duty)
{
	if (!duty->renew_every_ns || !duty->renewals_left || clock_now() < duty->renew_at_ns)
		return;
	duty->renew_at_ns = clock_now() + duty->renew_every_ns;
	// The user may have renewed it for longer.
	if (lease_word_expiry(atomic_load(&duty->arena->leases[duty->slot].state)) >=
	    clock_now() + duty->ttl_ns)
		return;
	if (lease_slot_renew(duty->arena, duty->slot, duty->incarnation, duty->ttl_ns))
		return;
	if (duty->renewals_left != UINT32_MAX)
		duty->renewals_left--;
}

static bool is_lost(const struct keeper_duty *duty)
{
	if (duty->lost)
		return duty->lost(duty->subject);
	return lease_slot_remaining(duty->arena, duty->slot, duty->incarnation) == 0 ||
	       owner_ended(duty->arena, duty->owner);
}

// Tells a loss; true if the lock was given up meanwhile, so that the table may have changed.
static bool tell(struct keeper_duty *duty)
{
	void (*callback)(void *) = duty->callback;
	const uint64_t one = 1;

	duty->told = true;
	if (!duty->lost)
		probe_loss(duty->arena, duty->slot, lease_id(duty->incarnation, duty->slot));
	if (duty->fd >= 0 && write(duty->fd, &one, sizeof(one)) != sizeof(one))
		duty->told = false; // cannot be: the counter is far from full
	if (!callback)
		return false;
	duty->callback = NULL;
	keeper.running = duty;
	pthread_mutex_unlock(&keeper.lock);
	callback(duty->context);
	pthread_mutex_lock(&keeper.lock);
	keeper.running = NULL;
	pthread_cond_broadcast(&keeper.progress);
	return true;
}

// Called with the lock held, which excludes every walker: the node may be freed at once.
static void free_duty(struct keeper_duty *duty)
{
	cds_lfht_del(keeper.duties, &duty->node);
	if (duty->fd >= 0)
		close(duty->fd);
	free(duty);
}

// Looks at every duty once; when to look again.
static uint64_t serve(void)
{
	struct cds_lfht_iter position;
	struct cds_lfht_node *entry;
	uint64_t next;
	bool changed;

	do {
		next = UINT64_MAX;
		changed = false;
		cds_lfht_for_each(keeper.duties, &position, entry)
		{
			struct keeper_duty *duty = duty_at(entry);

			if (!duty->told)
				renew(duty);
			if ((!duty->told || duty->callback) && is_lost(duty)) {
				// The walk ends here: outside the lock the node may go.
				changed = tell(duty);
				if (changed)
					break;
			}
			if (duty->orphaned && duty->told && duty->fd < 0) {
				free_duty(duty);
				continue;
			}
			if (next_look(duty) < next)
				next = next_look(duty);
		}
	} while (changed);
	return next;
}

static void run_calls(void)
{
	while (keeper.calls) {
		struct keeper_call *call = keeper.calls;

		keeper.calls = call->next;
		pthread_mutex_unlock(&keeper.lock);
		call->result = call->function(call->argument);
		if (call->result < 0)
			snprintf(call->detail, sizeof(call->detail), "%s", lh_error_detail());
		pthread_mutex_lock(&keeper.lock);
		call->done = true;
		pthread_cond_broadcast(&keeper.progress);
	}
}

static void *keep(void *unused)
{
	(void)unused;
	atomic_store(&keeper.runs, process_generation());
	pthread_setname_np(pthread_self(), "lh-keeper");
	kept_generation = process_generation();
	pthread_mutex_lock(&keeper.lock);
	for (;;) {
		const uint32_t kicks = atomic_load(&keeper.kicks);
		uint64_t next;

		run_calls();
		next = serve();
		if (keeper.calls)
			continue;
		pthread_mutex_unlock(&keeper.lock);
		futex_wait_many(&(struct futex_word){ &keeper.kicks, kicks, true }, 1, next);
		pthread_mutex_lock(&keeper.lock);
	}
	return NULL;
}

// In a child: it has no keeper, and its parent's duties are the parent's. They leave the table, but
// stay allocated: they belong to leases that the child may still release (keeper_free_inherited).
static void forget_parent(void)
{
	struct cds_lfht_iter position;
	struct cds_lfht_node *entry;

	keeper.progress = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
	keeper.started = 0;
	keeper.calls = NULL;
	keeper.running = NULL;
	if (!keeper.duties)
		return;
	cds_lfht_for_each(keeper.duties, &position, entry)
	{
		if (duty_at(entry)->orphaned)
			free_duty(duty_at(entry));
		else
			cds_lfht_del(keeper.duties, entry);
	}
}

// Called with the lock held.
static int start(void)
{
	int error;

	if (keeper.started == process_generation())
		return 0;
	if (keeper.started) // a child whose fork handlers were not called, as _Fork(3) does
		forget_parent();
	if (!keeper.duties)
		keeper.duties = process_make_table(256);
	if (!keeper.duties)
		return error_detail(-ENOMEM, "no memory");
	error = process_start_thread(&keeper.thread, keep, NULL);
	if (error)
		return error_detail(error, "the library's thread cannot be started");
	pthread_detach(keeper.thread);
	keeper.started = process_generation();
	return 0;
}

// The keeper never ends. So if it is seen to run, it is among the threads that are counted then; if
// it is not, it may be, and there is one too many. The caller, asleep for all that others know,
// starts none.
bool keeper_caller_is_alone(void)
{
	PROCESS_NO_CANCEL;
	const uint32_t keepers = atomic_load(&keeper.runs) == process_generation();

	return !atomic_load(&keeper.called_back) && identity_thread_count() == keepers + 1;
}

void keeper_serve_calls(void)
{
	pthread_mutex_lock(&keeper.lock);
	run_calls();
	pthread_mutex_unlock(&keeper.lock);
}

int keeper_run(int (*function)(void *argument), void *argument)
{
	PROCESS_NO_CANCEL;
	struct keeper_call call = { .function = function, .argument = argument };
	int error;

	pthread_mutex_lock(&keeper.lock);
	if (keeper_is_caller()) {
		pthread_mutex_unlock(&keeper.lock);
		return function(argument);
	}
	error = start();
	if (!error) {
		struct keeper_call **last = &keeper.calls;

		while (*last)
			last = &(*last)->next;
		*last = &call;
		keeper_kick();
		while (!call.done)
			pthread_cond_wait(&keeper.progress, &keeper.lock);
		error = call.result;
		if (error < 0)
			error_note("%s", call.detail);
	}
	pthread_mutex_unlock(&keeper.lock);
	return error;
}

// ---------------------------------------------------------------------------------------------
// Duties

static unsigned long hash(const struct keeper_duty *duty)
{
	return (unsigned long)((uintptr_t)duty / sizeof(*duty));
}

// The duty at *place, made as `made` is if there is none; NULL with *ret_error set. Called with the
// lock held.
static struct keeper_duty *duty_in(struct keeper_duty **place, const struct keeper_duty *made,
				   int *ret_error)
{
	struct keeper_duty *duty = *place;

	*ret_error = duty ? 0 : start();
	if (*ret_error || duty)
		return duty;
	duty = calloc(1, sizeof(*duty));
	if (!duty) {
		*ret_error = error_detail(-ENOMEM, "no memory");
		return NULL;
	}
	*duty = *made;
	duty->generation = process_generation();
	duty->fd = -1;
	cds_lfht_node_init(&duty->node);
	cds_lfht_add(keeper.duties, hash(duty), &duty->node);
	*place = duty;
	return duty;
}

static struct keeper_duty *duty_of(struct lh_lease *lease, int *ret_error)
{
	const struct keeper_duty made = { .arena = lease->arena,
					  .slot = lease->index,
					  .incarnation = lease->incarnation,
					  .owner = lease->owner,
					  .ttl_ns = lease->ttl_ns };

	return duty_in(&lease->duty, &made, ret_error);
}

int keeper_renew(struct lh_lease *lease, uint64_t renew_every_ns, uint32_t max_renewals)
{
	PROCESS_NO_CANCEL;
	struct keeper_duty *duty;
	int error;

	pthread_mutex_lock(&keeper.lock);
	duty = duty_of(lease, &error);
	if (duty) {
		duty->renew_every_ns = renew_every_ns ? renew_every_ns : lease->ttl_ns / 3;
		if (!duty->renew_every_ns)
			duty->renew_every_ns = 1;
		duty->renew_at_ns = clock_now() + duty->renew_every_ns;
		duty->renewals_left = max_renewals ? max_renewals : UINT32_MAX;
	}
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
	return error;
}

int keeper_on_loss(struct lh_lease *lease, void (*callback)(void *context), void *context)
{
	PROCESS_NO_CANCEL;
	struct keeper_duty *duty;
	int error = 0;

	pthread_mutex_lock(&keeper.lock);
	if (callback)
		atomic_store(&keeper.called_back, true);
	duty = callback ? duty_of(lease, &error) : lease->duty;
	if (duty) {
		duty->callback = callback;
		duty->context = context;
	}
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
	return error;
}

// Called with the lock held.
static int event_of(struct keeper_duty *duty)
{
	if (duty->fd < 0) // one that was told already begins readable
		duty->fd = object_above_stdio(eventfd(duty->told, EFD_CLOEXEC | EFD_NONBLOCK));
	return duty->fd < 0 ? error_detail(-errno, "eventfd") : duty->fd;
}

int keeper_loss_fd(struct lh_lease *lease)
{
	PROCESS_NO_CANCEL;
	struct keeper_duty *duty;
	int result;

	pthread_mutex_lock(&keeper.lock);
	duty = duty_of(lease, &result);
	if (duty)
		result = event_of(duty);
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
	return result;
}

int lh_lease_on_loss(lh_lease *lease, void (*callback)(void *context), void *context)
{
	const int error = lease_check_caller(lease);

	return error ? error : keeper_on_loss(lease, callback, context);
}

int lh_lease_loss_fd(lh_lease *lease)
{
	const int error = lease_check_caller(lease);

	return error ? error : keeper_loss_fd(lease);
}

static int drop(struct keeper_duty **place)
{
	PROCESS_NO_CANCEL;
	struct keeper_duty *duty = *place;
	int error = 0;

	if (!duty)
		return 0;
	pthread_mutex_lock(&keeper.lock);
	if (keeper.running == duty && keeper_is_caller())
		error = error_detail(-EDEADLK, "released in its own on_loss callback");
	while (!error && keeper.running == duty)
		pthread_cond_wait(&keeper.progress, &keeper.lock);
	if (!error) {
		free_duty(duty);
		*place = NULL;
	}
	pthread_mutex_unlock(&keeper.lock);
	return error;
}

int keeper_drop(struct lh_lease *lease)
{
	return drop(&lease->duty);
}

void keeper_detach(struct lh_lease *lease, bool orphaned)
{
	struct keeper_duty *duty = lease->duty;

	if (!duty)
		return;
	pthread_mutex_lock(&keeper.lock);
	duty->detached = true;
	duty->orphaned = orphaned;
	duty->renew_every_ns = 0;
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
}

// In a forked child the duty is in no table: forget_parent.
static int drop_or_free(struct keeper_duty **place)
{
	struct keeper_duty *duty = *place;

	if (!duty || duty->generation == process_generation())
		return drop(place);
	if (duty->fd >= 0)
		close(duty->fd);
	free(duty);
	*place = NULL;
	return 0;
}

void keeper_free_inherited(struct lh_lease *lease)
{
	drop_or_free(
		&lease->duty); // its own, too: its thread may have ended, and the handle remained
}

// ---------------------------------------------------------------------------------------------
// Watches

int keeper_watch(struct keeper_watch *watch, void (*callback)(void *context), void *context)
{
	PROCESS_NO_CANCEL;
	const struct keeper_duty made = { .lost = watch->lost,
					  .when = watch->when,
					  .subject = watch->subject };
	struct keeper_duty *duty;
	int error;

	pthread_mutex_lock(&keeper.lock);
	if (callback)
		atomic_store(&keeper.called_back, true);
	duty = duty_in(&watch->duty, &made, &error);
	if (duty) {
		duty->callback = callback;
		duty->context = context;
	}
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
	return error;
}

int keeper_watch_fd(struct keeper_watch *watch)
{
	PROCESS_NO_CANCEL;
	const struct keeper_duty made = { .lost = watch->lost,
					  .when = watch->when,
					  .subject = watch->subject };
	struct keeper_duty *duty;
	int result;

	pthread_mutex_lock(&keeper.lock);
	duty = duty_in(&watch->duty, &made, &result);
	if (duty)
		result = event_of(duty);
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
	return result;
}

int keeper_unwatch(struct keeper_watch *watch)
{
	return drop_or_free(&watch->duty);
}

// ---------------------------------------------------------------------------------------------

void keeper_forget(struct lh_arena *arena)
{
	struct cds_lfht_iter position;
	struct cds_lfht_node *entry;

	pthread_mutex_lock(&keeper.lock);
	if (keeper.duties) {
		cds_lfht_for_each(keeper.duties, &position, entry)
		{
			struct keeper_duty *duty = duty_at(entry);

			// What the end of a thread left. Its handle may still be released: the duty
			// stays allocated, with nothing left to look at.
			if (duty->arena == arena) {
				duty->told = true;
				duty->callback = NULL;
				duty->detached = true;
				if (duty->orphaned && duty->fd >= 0) {
					close(duty->fd);
					duty->fd = -1;
				}
			}
		}
	}
	pthread_mutex_unlock(&keeper.lock);
	keeper_kick();
}

// ---------------------------------------------------------------------------------------------
// Fork

void keeper_before_fork(void)
{
	pthread_mutex_lock(&keeper.lock);
}

void keeper_after_fork_in_parent(void)
{
	pthread_mutex_unlock(&keeper.lock);
}

void keeper_after_fork(void)
{
	keeper.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	forget_parent();
}
