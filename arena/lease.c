// SPDX-License-Identifier: Apache-2.0
#include "arena/lease.h"

#include "arena/cancel.h"
#include "arena/error.h"
#include "arena/hold.h"
#include "arena/keeper.h"
#include "arena/owner.h"
#include "arena/probe.h"
#include "arena/reap.h"
#include "arena/sys/futex.h"
#include "arena/sys/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// What a lease is now

int lease_check_caller(const struct lh_lease *lease)
{
	error_note_nothing();
	if (!lease)
		return error_text(-EINVAL, "lease is NULL");
	if (lease->fork_generation == 0 ||
	    lease->fork_generation != atomic_load_explicit(process_mark, memory_order_relaxed))
		return -ESTALE;
	if (lease->owner_thread && lease->owner_thread != process_thread_name())
		return -EPERM;
	return 0;
}

static bool is_live(uint64_t incarnation, uint64_t word)
{
	return lease_word_state(word) == LEASE_LIVE && lease_word_is(word, incarnation);
}

bool lease_is_live(const struct lh_lease *lease)
{
	return is_live(lease->incarnation,
		       atomic_load_explicit(&lease->slot->state, memory_order_acquire));
}

uint64_t lease_expiry(const struct lh_lease *lease)
{
	return lease_word_expiry(atomic_load_explicit(&lease->slot->state, memory_order_relaxed));
}

int lease_check_cancel(const struct lh_lease *lease)
{
	return lease->cancel && atomic_load_explicit(&lease->cancel->fired, memory_order_acquire)
		       ? -ECANCELED
		       : 0;
}

uint64_t lease_slot_remaining(const struct lh_arena *arena, uint32_t slot, uint64_t incarnation)
{
	shared_u64 *state = &arena->leases[slot].state;
	uint64_t word = atomic_load_explicit(state, memory_order_acquire);

	while (is_live(incarnation, word)) {
		const uint64_t expiry = lease_word_expiry(word);
		const uint64_t now = expiry == UINT64_MAX ? 0 : clock_now();

		if (expiry == UINT64_MAX)
			return UINT64_MAX;
		if (now < expiry)
			return expiry - now;
		// LIVE → EXPIRED: from here on its holdings are anyone's. A renewal that was first
		// makes the CAS fail.
		if (atomic_compare_exchange_strong(state, &word,
						   lease_word_with(word, LEASE_EXPIRED))) {
			probe_expiry(arena, slot, word);
			return 0;
		}
	}
	return 0;
}

static uint64_t remaining(const struct lh_lease *lease)
{
	return lease_slot_remaining(lease->arena, lease->index, lease->incarnation);
}

int lease_check(const struct lh_lease *lease)
{
	const int error = lease_check_caller(lease);

	if (error)
		return error;
	if (remaining(lease))
		return 0;
	probe_loss(lease->arena, lease->index, lease->id);
	return -ESTALE;
}

static bool is_inherited(const struct lh_lease *lease)
{
	return lease->fork_generation == 0 ||
	       lease->fork_generation != atomic_load_explicit(process_mark, memory_order_relaxed);
}

bool lh_lease_valid(const lh_lease *lease)
{
	return lh_lease_remaining(lease) != 0;
}

uint64_t lh_lease_remaining(const lh_lease *lease)
{
	return !lease || is_inherited(lease) ? 0 : remaining(lease);
}

uint64_t lh_lease_id(const lh_lease *lease)
{
	return lease ? lease->id : 0;
}

// ---------------------------------------------------------------------------------------------
// The handle's memory

static void free_handle(struct lh_lease *lease)
{
	while (lease->memory)
		lease_memory_drop(lease, lease->memory);
	free(lease);
}

// ---------------------------------------------------------------------------------------------
// Acquiring

// The expiry stamp for a TTL from now, rounded up to ms; -EINVAL beyond what the word can say.
static int expiry_ms(uint64_t ttl_ns, uint64_t *ret_ms)
{
	const uint64_t now = clock_now();
	const uint64_t ms = (now + ttl_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;

	if (ttl_ns > UINT64_MAX - now - CLOCK_NS_PER_MS || ms > LEASE_EXPIRY_MAX)
		return error_text(-EINVAL, "ttl_ns is longer than an arena can say");
	*ret_ms = ms;
	return 0;
}

static int check_options(const struct lh_lease_options *options)
{
	const unsigned known = LH_LEASE_AUTO_RENEW | LH_LEASE_PROCESS | LH_LEASE_KILL_ON_EXPIRY |
			       LH_LEASE_INTERRUPTIBLE;
	uint64_t ms;

	for (size_t i = 0; i < 4; i++) {
		if (options->reserved[i])
			return error_detail(-EINVAL, "lease options: reserved is not 0");
	}
	if (options->flags & ~known)
		return error_detail(-EINVAL, "lease options: unknown flags 0x%x",
				    options->flags & ~known);
	if (options->label && strlen(options->label) >= LAYOUT_LABEL_SIZE)
		return error_detail(-EINVAL, "lease label: at most %u bytes",
				    LAYOUT_LABEL_SIZE - 1);
	if (options->ttl_ns == 0 &&
	    ((options->flags & (LH_LEASE_AUTO_RENEW | LH_LEASE_KILL_ON_EXPIRY)) ||
	     options->renew_every_ns || options->max_renewals))
		return error_detail(-EINVAL, "lease options: renewal and expiry want a TTL");
	if (options->ttl_ns && expiry_ms(options->ttl_ns, &ms) != 0)
		return error_detail(-EINVAL, "lease TTL: beyond 34 years of uptime");
	if (options->ttl_ns && options->renew_every_ns >= options->ttl_ns)
		return error_detail(-EINVAL, "lease options: renew_every_ns is not below the TTL");
	return 0;
}

// Takes a slot that is nobody's, and reaps for one if there is none; or -ENOLCK.
static int claim_slot(struct lh_arena *arena, uint64_t ref, uint32_t *ret_slot)
{
	const uint32_t hint = atomic_load_explicit(&arena->lease_hint, memory_order_relaxed);

	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < arena->lease_count; i++) {
			const uint32_t slot = (hint + i) % arena->lease_count;
			uint64_t none = 0;

			if (pass && !reap_slot(arena, slot))
				continue;
			if (atomic_load_explicit(&arena->leases[slot].owner,
						 memory_order_relaxed) != 0)
				continue;
			if (atomic_compare_exchange_strong(&arena->leases[slot].owner, &none,
							   ref)) {
				*ret_slot = slot;
				return 0;
			}
		}
	}
	return error_detail(-ENOLCK, "all %u leases are in use", arena->lease_count);
}

static void write_label(struct lease_slot *slot, const char *label)
{
	memset(slot->label, 0, sizeof(slot->label));
	if (label)
		memcpy(slot->label, label, strlen(label));
}

struct acquisition {
	struct lh_arena *arena;
	const struct lh_lease_options *options;
	struct lh_lease *lease;
};

// What a dead tenant left: reapers do not touch records, and the slot is ours alone by now.
static void wipe_records(const struct lh_lease *lease)
{
	for (uint32_t i = 0; i < lease->arena->holds_per_lease; i++) {
		if (atomic_load_explicit(&lease->holds[i].object, memory_order_relaxed))
			atomic_store_explicit(&lease->holds[i].object, 0, memory_order_relaxed);
	}
}

// The slot's life: owner 0 → ref (ours); FREE{n}: fields are written; LIVE{n + 1}. A claimer that
// dies before LIVE leaves FREE with a dead owner's reference, which reap_slot clears.
static int occupy_slot(struct lh_lease *lease, const struct lh_lease_options *options)
{
	struct lh_arena *arena = lease->arena;
	struct lease_slot *slot;
	uint64_t free_word, ms = 0;
	int error = claim_slot(arena, lease->owner, &lease->index);

	if (error)
		return error;
	slot = &arena->leases[lease->index];
	free_word = atomic_load(&slot->state);
	lease->incarnation = free_word + 1;
	if (lease_word_state(free_word) != LEASE_FREE || (free_word & LEASE_TTL_BIT) ||
	    lease->incarnation >> (64 - LEASE_SLOT_BITS)) {
		atomic_store(&slot->owner, 0);
		return error_detail(-EBADMSG, "lease slot %u is damaged", lease->index);
	}
	lease->slot = slot;
	lease->name = lease->index + 1;
	lease->id = lease_id(lease->incarnation, lease->index);
	lease->scatter = lease->index * FIBONACCI;
	lease->holds = arena_hold_table(arena, lease->index);
	lease->line_mask = (arena->hold_lines - 1) * LAYOUT_LINE;
	lease->readers_bit = UINT64_C(1) << lease->index % 64;
	lease->readers_offset = lease->index % RWLOCK_MAP_BITS / 64 * sizeof(uint64_t);
	wipe_records(lease);
	atomic_store_explicit(&slot->id, lease->id, memory_order_relaxed);
	atomic_fetch_and_explicit(&slot->edge, EDGE_SEQUENCE_MASK, memory_order_relaxed);
	atomic_fetch_and_explicit(&slot->condition, CONDITION_SEQUENCE_MASK, memory_order_relaxed);
	lease_set_session(lease, 0);
	atomic_store_explicit(&slot->waiting_since, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->granted, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->probe_lines, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->flags, options->flags, memory_order_release);
	atomic_store_explicit(&slot->acquired_ns, clock_now(), memory_order_relaxed);
	atomic_store_explicit(&slot->ttl_ns, options->ttl_ns, memory_order_relaxed);
	write_label(slot, options->label);
	error = options->ttl_ns ? expiry_ms(options->ttl_ns, &ms) : 0;
	if (error) {
		atomic_store(&slot->owner, 0);
		return error;
	}
	atomic_store_explicit(&slot->state,
			      options->ttl_ns ? lease_word_live_until(lease->incarnation, ms)
					      : lease_word_live(lease->incarnation),
			      memory_order_release);
	return 0;
}

static int acquire_as_owner(void *argument)
{
	struct acquisition *acquisition = argument;
	struct lh_lease *lease = acquisition->lease;
	const bool process = (acquisition->options->flags & LH_LEASE_PROCESS) != 0;
	int error = owner_acquire(lease->arena, process ? OWNER_PROCESS : OWNER_THREAD,
				  &lease->share);

	if (error)
		return error;
	lease->owner = owner_of_share(lease->share);
	error = occupy_slot(lease, acquisition->options);
	if (error)
		owner_release(lease->share);
	return error;
}

static int release_owner(void *share)
{
	return owner_release(share);
}

static void link_to_thread(struct lh_lease *lease)
{
	struct lh_lease **head = &process_thread_state.leases;

	lease->owner_thread = process_thread_name();
	lease->thread_next = *head;
	lease->thread_link = head;
	if (*head)
		(*head)->thread_link = &lease->thread_next;
	*head = lease;
}

static void unlink_from_thread(struct lh_lease *lease)
{
	if (!lease->thread_link)
		return;
	*lease->thread_link = lease->thread_next;
	if (lease->thread_next)
		lease->thread_next->thread_link = lease->thread_link;
	lease->thread_link = NULL;
}

// Hot paths ask for nothing else than this.
static void choose_path(struct lh_lease *lease)
{
	const struct lh_arena *arena = lease->arena;
	const bool simple = lease->owner_thread && process_thread_state.guard && !lease->ttl_ns &&
			    !lease->cancel && !arena->plain_fences &&
			    arena->max_holds == arena->holds_per_lease;

	lease->guard = simple ? process_thread_state.guard : &process_guard_none;
}

static int check_arena_for_lease(struct lh_arena *arena)
{
	if (arena->read_only)
		return error_detail(-EROFS, "the arena was opened read-only: no leases on it");
	return arena_check_clock(arena) ? -EPROTONOSUPPORT : arena_check_name(arena, clock_now());
}

int lh_lease_acquire(lh_arena *arena, const struct lh_lease_options *options, lh_lease **ret_lease)
{
	static const struct lh_lease_options defaults;
	struct acquisition acquisition = { arena, options ? options : &defaults, NULL };
	struct lh_lease *lease;
	int error;

	if (!arena || !ret_lease)
		return error_detail(-EINVAL, "arena or ret_lease is NULL");
	error = check_options(acquisition.options);
	if (!error)
		error = check_arena_for_lease(arena);
	if (!error && (acquisition.options->flags & LH_LEASE_KILL_ON_EXPIRY) &&
	    !identity_can_kill())
		error = error_detail(-ENOTSUP, "pidfd_send_signal(2) is refused here");
	if (error)
		return error;
	lease = calloc(1, sizeof(*lease));
	if (!lease)
		return error_detail(-ENOMEM, "no memory");
	acquisition.lease = lease;
	lease->arena = arena;
	lease->flags = acquisition.options->flags;
	lease->ttl_ns = acquisition.options->ttl_ns;
	error = lease->flags & LH_LEASE_PROCESS ? keeper_run(acquire_as_owner, &acquisition)
						: acquire_as_owner(&acquisition);
	if (error) {
		free_handle(lease);
		return error;
	}
	lease->fork_generation = process_generation();
	if (!(lease->flags & LH_LEASE_PROCESS))
		link_to_thread(lease);
	choose_path(lease);
	atomic_store(&arena->process_leases[lease->index], lease->owner);
	if (lease->flags & LH_LEASE_AUTO_RENEW)
		error = keeper_renew(lease, acquisition.options->renew_every_ns,
				     acquisition.options->max_renewals);
	if (error) {
		lh_lease_release(lease);
		return error_detail(error, "its renewal cannot be set up");
	}
	*ret_lease = lease;
	return 0;
}

int lh_thread_lease(lh_arena *arena, lh_lease **ret_lease)
{
	struct thread_state *thread;
	struct thread_arena *share;
	lh_lease *lease;
	int error;

	if (!arena || !ret_lease)
		return error_detail(-EINVAL, "arena or ret_lease is NULL");
	error = process_thread(&thread);
	if (error)
		return error;
	share = owner_share(thread, arena, OWNER_THREAD, false);
	if (share && share->thread_lease && lease_check(share->thread_lease) == 0) {
		*ret_lease = share->thread_lease;
		return 0;
	}
	error = lh_lease_acquire(arena, NULL, &lease);
	if (error)
		return error;
	lease->is_thread_lease = true;
	lease->share->thread_lease = lease;
	*ret_lease = lease;
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Renewing

int lease_slot_renew(const struct lh_arena *arena, uint32_t slot, uint64_t incarnation,
		     uint64_t ttl_ns)
{
	shared_u64 *state = &arena->leases[slot].state;
	uint64_t word, ms;

	if (ttl_ns == 0)
		return error_text(-EINVAL, "ttl_ns is 0");
	if (expiry_ms(ttl_ns, &ms) != 0)
		return -EINVAL;
	// LIVE{old expiry} → LIVE{new}, before the old one has passed; a theft CASes the same word.
	do {
		word = atomic_load_explicit(state, memory_order_acquire);
		if (lease_slot_remaining(arena, slot, incarnation) == 0)
			return -ESTALE;
	} while (!is_live(incarnation, word) ||
		 !atomic_compare_exchange_strong(state, &word,
						 lease_word_live_until(incarnation, ms)));
	return 0;
}

int lh_lease_renew(lh_lease *lease, uint64_t ttl_ns)
{
	int error = lease_check_caller(lease);

	if (error)
		return error;
	if (lease->ttl_ns == 0)
		return error_text(-EINVAL, "the lease has no TTL");
	error = lease_slot_renew(lease->arena, lease->index, lease->incarnation, ttl_ns);
	if (error == -ESTALE)
		probe_loss(lease->arena, lease->index, lease->id);
	if (!error && lease->duty)
		keeper_kick();
	return error;
}

int lh_lease_set_cancel(lh_lease *lease, lh_cancel *cancel)
{
	const int error = lease_check(lease);

	if (error)
		return error;
	lease->cancel = cancel;
	choose_path(lease);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Releasing

// Unlocks all that the records name. 0; -ESTALE: lost on the way; -EBADMSG: damage.
static int release_holds(struct lh_lease *lease)
{
	int result = 0;

	for (uint32_t i = 0; i < lease->arena->holds_per_lease; i++) {
		struct hold_record *record = &lease->holds[i];
		const uint64_t word = atomic_load_explicit(&record->object, memory_order_acquire);
		const struct kind_ops *ops;
		int error;

		if (word == 0)
			continue;
		ops = kind_ops(hold_word_kind(word));
		error = ops ? ops->release(lease, record) : -EBADMSG;
		if (error == -ESTALE)
			return error;
		if (error)
			result = error;
	}
	return result;
}

// The lease is lost, its owner is here and does nothing else any more: what a reaper may do only
// of the DEAD, its owner may do itself. It latches DEAD, so that all is one case.
static void bury(struct lh_lease *lease)
{
	uint64_t word = atomic_load(&lease->slot->state);
	struct lost_lease lost = { .slot = lease->index,
				   .id = lh_lease_id(lease),
				   .owner = lease->owner };

	while (lease_word_is(word, lease->incarnation) && lease_word_state(word) != LEASE_FREE) {
		if (lease_word_state(word) != LEASE_DEAD &&
		    !atomic_compare_exchange_strong(&lease->slot->state, &word,
						    lease_word_with(word, LEASE_DEAD)))
			continue;
		lost.state = lease_word_with(word, LEASE_DEAD);
		reap_lease(lease->arena, &lost);
		break;
	}
	// FREE by whichever reaper: as its owner lives, none but this call clears the reference.
	if (atomic_load(&lease->slot->state) == lease->incarnation)
		atomic_compare_exchange_strong(&lease->slot->owner, &lost.owner, 0);
}

static void free_private(struct lh_lease *lease)
{
	if (lease->share && lease->share->thread_lease == lease)
		lease->share->thread_lease = NULL;
	unlink_from_thread(lease);
	free_handle(lease);
}

// LIVE → FREE, then the slot is nobody's. -ESTALE: it was lost; then it is buried.
static int vacate_slot(struct lh_lease *lease)
{
	uint64_t word = atomic_load(&lease->slot->state);
	uint64_t owner = lease->owner;

	while (is_live(lease->incarnation, word)) {
		if (!atomic_compare_exchange_strong(&lease->slot->state, &word, lease->incarnation))
			continue; // latched meanwhile, or renewed by the keeper
		atomic_compare_exchange_strong(&lease->slot->owner, &owner, 0);
		return 0;
	}
	bury(lease);
	return -ESTALE;
}

int lh_lease_release(lh_lease *lease)
{
	int error = lease ? lease_check_caller(lease) : 0;
	int result;

	if (!lease || error == -EPERM)
		return error;
	if (error) { // inherited over fork, or its thread has ended
		keeper_free_inherited(lease);
		unlink_from_thread(lease);
		free_handle(lease);
		return error;
	}
	error = keeper_drop(lease);
	if (error)
		return error;
	result = remaining(lease) ? release_holds(lease) : -ESTALE;
	if (result == -ESTALE)
		probe_loss(lease->arena, lease->index, lease->id);
	// While the slot is its own: afterwards this may be the note of another thread's next lease.
	atomic_store(&lease->arena->process_leases[lease->index], 0);
	if (result == -EBADMSG) {
		// What cannot be unlocked stays named by the table, and the slot with it, until the
		// owner's end lets a reaper look at it.
	} else {
		error = vacate_slot(lease);
		if (error)
			result = error;
		atomic_store_explicit(&lease->arena->lease_hint, lease->index,
				      memory_order_relaxed);
	}
	error = lease->flags & LH_LEASE_PROCESS ? keeper_run(release_owner, lease->share)
						: owner_release(lease->share);
	if (result == -EBADMSG) // who sleeps on what could not be unlocked looks again
		owner_wake_all(lease->arena, lease->owner);
	if (error && !result)
		result = error;
	free_private(lease);
	return result;
}

// ---------------------------------------------------------------------------------------------
// The end of its thread

// The thread ends with leases: the kernel tells their end. Handles that lh_lease_acquire made stay
// allocated, since their user may still release them; those of lh_thread_lease go.
void lease_thread_exits(struct thread_state *thread)
{
	struct lh_lease *lease = thread->leases;

	thread->leases = NULL;
	while (lease) {
		struct lh_lease *next = lease->thread_next;

		keeper_detach(lease, lease->is_thread_lease);
		lease->fork_generation = 0;
		lease->guard = &process_guard_none;
		lease->share = NULL;
		lease->thread_link = NULL;
		if (lease->is_thread_lease)
			free_handle(lease);
		lease = next;
	}
}

void lease_thread_forked(struct thread_state *thread)
{
	for (struct lh_lease *lease = thread->leases; lease; lease = lease->thread_next) {
		lease->fork_generation = 0;
		lease->guard = &process_guard_none;
		lease->share = NULL;
	}
}
