// SPDX-License-Identifier: Apache-2.0
#include "src/semaphore.h"

#include "arena/error.h"
#include "arena/sys/fence.h"
#include "arena/sys/futex.h"
#include "src/mutex.h"

#include <errno.h>

#define likely(condition) __builtin_expect(!!(condition), 1)

// ---------------------------------------------------------------------------------------------
// The handle; its own word, [3], is how many permits were created

static uint32_t permits_of(const lh_semaphore *semaphore)
{
	return (uint32_t)semaphore->private_[3];
}

static struct semaphore *body_of(const lh_semaphore *semaphore)
{
	return (struct semaphore *)primitive_header(semaphore->private_);
}

static int check_options(const struct lh_semaphore_options *options)
{
	if (!options)
		return error_detail(-EINVAL, "semaphore options: how many permits?");
	if (primitive_check_options(LH_KIND_SEMAPHORE, options->reserved, 0, 0))
		return -EINVAL;
	if (options->permits < 1 || options->permits > LAYOUT_MAX_PERMITS)
		return error_detail(-EINVAL, "semaphore options: %u permits, not 1 to %u",
				    options->permits, LAYOUT_MAX_PERMITS);
	return 0;
}

size_t lh_semaphore_footprint(const struct lh_semaphore_options *options)
{
	return check_options(options) ? 0 : (size_t)semaphore_size(options->permits);
}

static void prepare(void *bytes, const struct placement *placement)
{
	struct semaphore *semaphore = bytes;

	primitive_prepare_header(&semaphore->header, placement);
	atomic_init(&semaphore->permits, placement->parameter);
	atomic_init(&semaphore->limit, placement->parameter);
}

int lh_semaphore_at(lh_arena *arena, uint64_t offset, const struct lh_semaphore_options *options,
		    lh_semaphore *ret_semaphore)
{
	struct placement wanted = { .offset = offset, .kind = LH_KIND_SEMAPHORE };
	lh_semaphore semaphore;
	int error;

	if (!arena || !ret_semaphore)
		return error_detail(-EINVAL, "arena or ret_semaphore is NULL");
	error = check_options(options);
	if (error)
		return error;
	wanted.size = semaphore_size(options->permits);
	wanted.parameter = options->permits;
	wanted.name = options->name;
	error = primitive_at(arena, &wanted, prepare, semaphore.private_);
	if (error)
		return error;
	semaphore.private_[3] = options->permits;
	*ret_semaphore = semaphore;
	return 0;
}

uint64_t lh_semaphore_offset(const lh_semaphore *semaphore)
{
	return semaphore ? primitive_offset(semaphore->private_) : 0;
}

static int check_call(const lh_semaphore *semaphore, const lh_lease *lease)
{
	return semaphore ? primitive_check_call(semaphore->private_, LH_KIND_SEMAPHORE, lease)
			 : -EINVAL;
}

// src/mutex.c has the same.
static inline bool is_simple(const lh_semaphore *semaphore, const lh_lease *lease)
{
	return process_thread_is(atomic_load_explicit(lease->guard, memory_order_relaxed)) &&
	       (uintptr_t)lease->arena == semaphore->private_[0];
}

// ---------------------------------------------------------------------------------------------
// Acquire

bool semaphore_within(const struct semaphore *semaphore, uint32_t permits, uint32_t limit)
{
	uint32_t held = 0;

	// After our CAS: of us and of whoever lowers the limit, one sees the other.
	if (atomic_load(&semaphore->limit) != limit)
		return false;
	// Words are taken below the limit only: unless some beyond it are owned, all is well.
	for (uint32_t i = limit; i < permits; i++)
		held += atomic_load(&semaphore->owners[i]) != 0;
	for (uint32_t i = 0; held && i < limit; i++)
		held += atomic_load(&semaphore->owners[i]) != 0;
	return held <= limit;
}

static int acquire_recorded(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits,
			    lh_deadline deadline, struct hold_record *record, uint32_t held)
{
	const struct semaphore_attempt attempt = { .arena = primitive_arena(semaphore->private_),
						   .semaphore = body_of(semaphore),
						   .granule = primitive_granule(
							   semaphore->private_),
						   .permits = permits_of(semaphore),
						   .wanted = permits,
						   .lease = lease,
						   .id = semaphore_id(lease),
						   .record = record,
						   .own_record = semaphore->private_[2],
						   .deadline = deadline };
	const int error = semaphore_acquire(&attempt);

	if (!error)
		hold_write(record, hold_word(LH_KIND_SEMAPHORE, LH_HOLD_EXCLUSIVE, held + permits,
					     attempt.granule));
	else if (!held)
		hold_clear(record);
	return error;
}

static __attribute__((noinline)) int acquire_slow(const lh_semaphore *semaphore, lh_lease *lease,
						  uint32_t permits, lh_deadline deadline)
{
	struct hold_record *record;
	uint32_t held = 0;
	int error = check_call(semaphore, lease);

	if (error)
		return error;
	if (permits > permits_of(semaphore))
		return -EINVAL;
	error = lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE;
	if (error || !permits)
		return error;
	record = hold_find(lease, LH_KIND_SEMAPHORE, primitive_granule(semaphore->private_));
	if (record)
		held = hold_word_count(atomic_load_explicit(&record->object, memory_order_relaxed));
	else
		record = hold_insert(lease, semaphore->private_[2]);
	if (!record)
		return -ENOLCK;
	return acquire_recorded(semaphore, lease, permits, deadline, record, held);
}

// Another lease has its own place: the first free word after it, taken. 0; or the long way.
static __attribute__((noinline)) int acquire_elsewhere(const lh_semaphore *semaphore,
						       lh_lease *lease, lh_deadline deadline,
						       struct hold_record *record)
{
	struct semaphore *body = body_of(semaphore);
	const uint32_t limit = permits_of(semaphore);
	const uint32_t place = semaphore_place(lease->index, limit);
	const uint64_t id = semaphore_id(lease);

	for (uint32_t i = 1; i < limit; i++) {
		const uint32_t index = place + i < limit ? place + i : place + i - limit;

		if (atomic_load_explicit(&body->owners[index], memory_order_relaxed) ||
		    !semaphore_take(body, index, id))
			continue;
		if (atomic_load(&body->limit) == limit)
			return 0;
		semaphore_give_back(body, index, id);
		semaphore_wake(body);
		break;
	}
	hold_clear(record);
	return acquire_slow(semaphore, lease, 1, deadline);
}

int lh_semaphore_acquire(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits,
			 lh_deadline deadline)
{
	struct semaphore *body;
	struct hold_record *record;
	uint32_t limit, place;

	if (!likely(permits == 1 && semaphore && lease && is_simple(semaphore, lease)))
		return acquire_slow(semaphore, lease, permits, deadline);
	body = body_of(semaphore);
	record = hold_first(lease, primitive_granule(semaphore->private_));
	limit = permits_of(semaphore);
	if (!likely(atomic_load_explicit(&body->limit, memory_order_relaxed) == limit &&
		    !atomic_load_explicit(&body->gate, memory_order_relaxed) &&
		    !atomic_load_explicit(&record->object, memory_order_relaxed)))
		return acquire_slow(semaphore, lease, 1, deadline);
	hold_write(record, semaphore->private_[2]);
	place = semaphore_place(lease->index, limit);
	if (!likely(semaphore_take(body, place, semaphore_id(lease))))
		return acquire_elsewhere(semaphore, lease, deadline, record);
	if (likely(atomic_load(&body->limit) == limit))
		return 0;
	semaphore_give_back(body, place, semaphore_id(lease));
	semaphore_wake(body);
	hold_clear(record);
	return acquire_slow(semaphore, lease, 1, deadline);
}

// ---------------------------------------------------------------------------------------------
// Release

void semaphore_wake(struct semaphore *semaphore)
{
	if (!word_owner(atomic_load(&semaphore->header.word)))
		return;
	atomic_fetch_add(&semaphore->signal, 1);
	futex_wake(&semaphore->signal, FUTEX_ALL);
}

// Why a lease does not hold what it says: lost, or never.
static int not_held(const struct lh_lease *lease)
{
	return lease_is_live(lease) ? -EPERM : -ESTALE;
}

int semaphore_give_back_some(struct semaphore *semaphore, uint32_t permits, uint32_t slot,
			     uint64_t id, uint32_t count)
{
	const uint32_t place = semaphore_place(slot, permits);

	for (uint32_t i = 0; i < permits && count; i++) {
		const uint32_t index = (place + i) % permits;

		if (atomic_load_explicit(&semaphore->owners[index], memory_order_relaxed) != id)
			continue;
		if (!semaphore_give_back(semaphore, index, id))
			return -ESTALE;
		count--;
	}
	return 0;
}

static __attribute__((noinline)) int release_slow(const lh_semaphore *semaphore, lh_lease *lease,
						  uint32_t permits)
{
	struct hold_record *record;
	struct semaphore *body;
	uint32_t held;
	int error = check_call(semaphore, lease);

	if (error)
		return error;
	if (!lease_is_live(lease))
		return -ESTALE;
	body = body_of(semaphore);
	held = semaphore_count(body, permits_of(semaphore), semaphore_id(lease));
	if (permits > held)
		return not_held(lease);
	if (!permits)
		return 0;
	record = hold_find(lease, LH_KIND_SEMAPHORE, primitive_granule(semaphore->private_));
	if (!record)
		return -EBADMSG;
	error = semaphore_give_back_some(body, permits_of(semaphore), lease->index,
					 semaphore_id(lease), permits);
	semaphore_wake(body);
	if (error)
		return error;
	if (held == permits)
		hold_clear(record);
	else
		hold_write(record, hold_word(LH_KIND_SEMAPHORE, LH_HOLD_EXCLUSIVE, held - permits,
					     primitive_granule(semaphore->private_)));
	return 0;
}

// The lease's one permit, which is not in its own place; `permits`: it has none.
static __attribute__((noinline)) uint32_t find_own(const struct semaphore *semaphore,
						   uint32_t permits, uint32_t place, uint64_t id)
{
	for (uint32_t i = 1; i < permits; i++) {
		const uint32_t index = place + i < permits ? place + i : place + i - permits;

		if (atomic_load_explicit(&semaphore->owners[index], memory_order_relaxed) == id)
			return index;
	}
	return permits;
}

static __attribute__((noinline)) int finish_plain(struct semaphore *semaphore,
						  struct hold_record *record)
{
	semaphore_wake(semaphore);
	hold_clear(record);
	return 0;
}

int lh_semaphore_release(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits)
{
	struct semaphore *body;
	struct hold_record *record;
	uint32_t index;

	if (!likely(permits == 1 && semaphore && lease && is_simple(semaphore, lease)))
		return release_slow(semaphore, lease, permits);
	body = body_of(semaphore);
	record = hold_first(lease, primitive_granule(semaphore->private_));
	// One permit, recorded in the first place of the table: the short way.
	if (!likely(atomic_load_explicit(&record->object, memory_order_relaxed) ==
		    semaphore->private_[2]))
		return release_slow(semaphore, lease, permits);
	index = semaphore_place(lease->index, permits_of(semaphore));
	if (!likely(atomic_load_explicit(&body->owners[index], memory_order_relaxed) ==
		    semaphore_id(lease)))
		index = find_own(body, permits_of(semaphore), index, semaphore_id(lease));
	if (!likely(index < permits_of(semaphore)))
		return release_slow(semaphore, lease, permits);
	// Its owner is not lost while it runs: nobody else writes the word.
	atomic_store_explicit(&body->owners[index], 0, memory_order_release);
	fence_light(); // pairs with fence_heavy in semaphore_wait.c
	if (!likely(!word_owner(atomic_load_explicit(&body->header.word, memory_order_relaxed))))
		return finish_plain(body, record);
	hold_clear(record);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Looking, and resizing

int lh_semaphore_slots(const lh_semaphore *semaphore, const lh_lease *lease, uint32_t *slots,
		       size_t capacity)
{
	const int error = check_call(semaphore, lease);
	int count = 0;

	if (error)
		return error;
	if (!slots && capacity)
		return -EINVAL;
	for (uint32_t i = 0; i < permits_of(semaphore); i++) {
		if (atomic_load_explicit(&body_of(semaphore)->owners[i], memory_order_acquire) !=
		    semaphore_id(lease))
			continue;
		if ((size_t)count < capacity)
			slots[count] = i;
		count++;
	}
	// After the words: whoever frees those of a lost lease has latched the loss before.
	return lease_is_live(lease) ? count : -ESTALE;
}

// Whether an owner word keeps its permit from others, as far as looking tells.
static bool is_held(const struct lh_arena *arena, uint64_t owner, uint64_t now)
{
	const uint32_t slot = semaphore_slot_of(owner);

	return owner && slot < arena->lease_count &&
	       atomic_load_explicit(&arena->leases[slot].id, memory_order_acquire) == owner &&
	       lease_state_seen(arena, slot, now) == LH_LEASE_LIVE;
}

int64_t lh_semaphore_available(const lh_semaphore *semaphore)
{
	const int error = semaphore ? primitive_check_handle(semaphore->private_, LH_KIND_SEMAPHORE)
				    : -EINVAL;
	const uint64_t now = clock_now();
	const struct semaphore *body;
	uint64_t last = 0;
	int64_t held = 0;
	bool last_held = false;

	if (error)
		return error;
	body = body_of(semaphore);
	for (uint32_t i = 0; i < permits_of(semaphore); i++) {
		const uint64_t owner = atomic_load_explicit(&body->owners[i], memory_order_acquire);

		if (owner != last)
			last_held = is_held(primitive_arena(semaphore->private_), owner, now);
		last = owner;
		held += last_held;
	}
	return (int64_t)atomic_load(&body->limit) - held;
}

int lh_semaphore_resize(const lh_semaphore *semaphore, uint32_t permits)
{
	const int error = semaphore ? primitive_check_handle(semaphore->private_, LH_KIND_SEMAPHORE)
				    : -EINVAL;

	if (error)
		return error;
	if (permits > permits_of(semaphore))
		return error_detail(-EINVAL, "a semaphore made with %u permits cannot have %u",
				    permits_of(semaphore), permits);
	if (primitive_arena(semaphore->private_)->read_only)
		return error_detail(-EROFS, "the arena was opened read-only");
	atomic_store(&body_of(semaphore)->limit, permits);
	futex_wake(&body_of(semaphore)->limit, FUTEX_ALL);
	return 0;
}
