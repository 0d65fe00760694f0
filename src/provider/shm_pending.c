// SPDX-License-Identifier: Apache-2.0
#include "src/provider/shm_pending.h"

#include "arena/owner.h"
#include "src/deadlock.h"
#include "src/rwlock_modes.h"

#include <stdlib.h>

#define LABEL "named locks: pending"

// What the helper thread knows of a queue's lock from one look to the next.
struct shm_queue {
	struct rwlock_pending lock;
	struct key_entry *entry; // NULL: has not waited for one yet
	uint64_t tenancy;        // under which the entry was the key's
};

// ---------------------------------------------------------------------------------------------
// The helper's lease

int shm_pending_ready(struct shm_pending *pending, struct lh_arena *arena)
{
	// Without a TTL: it holds nothing, and who pokes it while its process is stopped does no
	// harm.
	static const struct lh_lease_options options = { .flags = LH_LEASE_PROCESS,
							 .label = LABEL };

	if (pending->lease && lease_check_caller(pending->lease) == 0)
		return 0;
	lh_lease_release(pending->lease); // a forked child's copy
	pending->lease = NULL;
	return lh_lease_acquire(arena, &options, &pending->lease);
}

void shm_pending_close(struct shm_pending *pending)
{
	lh_lease_release(pending->lease);
	pending->lease = NULL;
}

int shm_pending_listen(struct shm_pending *pending, struct lh_arena *arena, struct wait *wait,
		       uint64_t *ret_news)
{
	shared_u32 *departures;

	if (!pending->lease || lease_check_caller(pending->lease))
		return -EAGAIN; // it could not be had
	// Who pokes changes it. Said before the first look at a lock: who lets go of it after that
	// look finds it said.
	departures = &pending->lease->slot->departures;
	wait->arena = arena;
	wait_on(wait, departures,
		atomic_fetch_or(departures, DEPARTURES_AWAITED) | DEPARTURES_AWAITED);
	// After that: who sets a bit later changes departures later. A crash: nobody waits for
	// them.
	*ret_news = atomic_exchange(&pending->lease->slot->poked, 0);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Looking

static uint64_t tenancy_of(const struct key_entry *entry)
{
	return atomic_load(&entry->state) & KEY_TENANCY_MASK;
}

// Nothing is left of it in the entry, if that is still the key's. Nobody but the helper thread
// enters the name; so if the entry becomes another key's meanwhile, the name is not there.
static void forget(struct shm_pending *pending, struct shm_queue *own)
{
	const uint64_t edge = atomic_load_explicit(&pending->lease->slot->edge,
						   memory_order_relaxed);

	if (!own->entry)
		return;
	if (edge >> EDGE_WANTED_SHIFT == own->lock.attempt.granule)
		deadlock_clear(pending->lease);
	if (tenancy_of(own->entry) == own->tenancy)
		rwlock_pend_end(&own->lock);
	own->entry = NULL;
}

// Under a record of the helper's lease the entry is the key's. Whether somebody is in the way.
static bool look_under(struct shm_pending *pending, const struct keys *keys,
		       const struct hold_record *record, struct provider_queue *queue)
{
	struct shm_queue *own = queue->own;
	const uint32_t granule = hold_word_granule(
		atomic_load_explicit(&record->object, memory_order_relaxed));
	struct rwlock_object *object = rwlock_object(keys->arena, granule);
	const uint32_t mode = queue->options->max_holders ? LH_HOLD_PERMIT
							  : shm_hold_mode(queue->options->mode);
	const bool reads = mode != LH_HOLD_EXCLUSIVE && mode != LH_HOLD_PERMIT;
	struct key_entry *entry = (struct key_entry *)object;

	if (!object)
		return false; // damage: the try says so
	if (own->entry != entry || own->tenancy != tenancy_of(entry) || own->lock.reads != reads)
		forget(pending, own);
	own->entry = entry;
	own->tenancy = tenancy_of(entry);
	queue->place = rwlock_poked_place(granule);
	own->lock = (struct rwlock_pending){
		.attempt = { .arena = keys->arena,
			     .object = object,
			     .granule = granule,
			     .lease = pending->lease,
			     .heir = rwlock_pending_heir(pending->lease, reads) },
		.reads = reads,
		.passes = mode == LH_HOLD_INTENT_SHARED,
		// Others' permits exclude it only if they are all of them: that a try finds out.
		.modes = mode == LH_HOLD_PERMIT ? 0 : rwlock_conflicts(mode),
		.since_ns = queue->since_ns,
	};
	return rwlock_pend(&own->lock, queue->refused) == 0;
}

static bool look(struct shm_pending *pending, const struct keys *keys, struct provider_queue *queue)
{
	struct hold_record *record;
	bool blocked;

	if (keys_refer(keys, pending->lease, queue->key.bytes, queue->key.size,
		       queue->options->max_holders, LH_NOW, &record))
		return false; // the try says why
	blocked = look_under(pending, keys, record, queue);
	hold_clear(record);
	return blocked;
}

// For the inspector: what the helper waits for. One of all.
static void show(const struct shm_pending *pending, const struct shm_queue *own)
{
	if (!(atomic_load_explicit(&pending->lease->slot->edge, memory_order_relaxed) >>
	      EDGE_WANTED_SHIFT))
		deadlock_publish(pending->lease, own->lock.attempt.granule);
}

bool shm_pending_is_free(struct shm_pending *pending, const struct keys *keys,
			 struct provider_queue *queue, struct wait *wait)
{
	struct shm_queue *own = queue->own;
	const struct lease_slot *slot;
	uint64_t owner;

	if (!own) {
		own = queue->own = calloc(1, sizeof(*own));
		if (!own)
			return true;
	}
	if (queue->refused || !own->entry || own->lock.since_ns != queue->since_ns ||
	    !rwlock_pend_stands(&own->lock)) {
		const bool blocked = look(pending, keys, queue);

		queue->refused = false;
		if (!blocked) {
			own->lock.until_ns = 0;
			return true;
		}
	}
	show(pending, own);
	wait_not_after(wait, own->lock.until_ns);
	if (!own->lock.blocker)
		return false;
	slot = &keys->arena->leases[own->lock.blocker - 1];
	owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
	if (wait_is_on_owner(wait, owner))
		return false;
	if (!wait_has_room(wait))
		wait_not_after(wait, clock_now() + WAIT_BACKSTOP_FIRST_NS);
	// A look that still stands was not taken anew, so nobody has judged it in this round.
	if (!owner_ended(keys->arena, owner) && wait_on_owner(wait, owner))
		return false;
	own->lock.until_ns = 0; // it has ended
	return true;
}

void shm_pending_leave(struct shm_pending *pending, struct provider_queue *queue)
{
	if (queue->own && pending->lease)
		forget(pending, queue->own);
	free(queue->own);
	queue->own = NULL;
}

uint32_t shm_pending_heir(const struct provider_queue *queue)
{
	const struct shm_queue *own = queue ? queue->own : NULL;

	return own && own->entry ? own->lock.attempt.heir : 0;
}
