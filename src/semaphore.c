// SPDX-License-Identifier: Apache-2.0
#include "src/semaphore.h"

#include "arena/error.h"
#include "arena/sys/fence.h"
#include "arena/sys/futex.h"
#include "src/mutex.h"

#include <assert.h>
#include <errno.h>

// ---------------------------------------------------------------------------------------------
// The handle; its own word, [3]: semaphore_mask << 32 | how many permits were created

static uint32_t permits_of(const lh_semaphore *semaphore)
{
	return (uint32_t)semaphore->private_[3];
}

// semaphore_place among all of them.
static uint32_t place_of(const lh_semaphore *semaphore, const lh_lease *lease)
{
	return lease->scatter & (uint32_t)(semaphore->private_[3] >> 32);
}

static struct semaphore *body_of(const lh_semaphore *semaphore)
{
	return (struct semaphore *)primitive_header(semaphore->private_);
}

static int check_options(const struct lh_semaphore_options *options)
{
	if (!options)
		return error_detail(-EINVAL, "semaphore options: how many permits?");
	if (primitive_check_options(LH_KIND_SEMAPHORE, options->reserved, 0, 0, options->name))
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
	semaphore.private_[3] = (uint64_t)semaphore_mask(options->permits) << 32 | options->permits;
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
			 : error_text(-EINVAL, "the handle is NULL");
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
	assert(lease); // check_call has looked
	if (permits > permits_of(semaphore))
		return error_text(-EINVAL, "more permits than the semaphore was made with");
	error = lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE;
	if (error || !permits)
		return error;
	record = hold_find(lease, LH_KIND_SEMAPHORE, primitive_granule(semaphore->private_));
	if (record)
		held = hold_word_count(atomic_load_explicit(&record->object, memory_order_relaxed));
	else
		record = hold_insert(lease, hold_word(LH_KIND_SEMAPHORE, LH_HOLD_EXCLUSIVE, permits,
						      primitive_granule(semaphore->private_)));
	if (!record)
		return -ENOLCK;
	return acquire_recorded(semaphore, lease, permits, deadline, record, held);
}

// The slow parts have the parameters of the call itself where those are, so that the short way
// needs no stack.

__attribute__((noinline)) int semaphore_acquire_again(const lh_semaphore *semaphore,
						      lh_lease *lease, uint32_t permits,
						      lh_deadline deadline,
						      struct hold_record *record)
{
	(void)semaphore_give_back_some(body_of(semaphore), permits_of(semaphore), lease, 1);
	semaphore_wake(body_of(semaphore));
	hold_clear(record);
	return acquire_slow(semaphore, lease, permits, deadline);
}

__attribute__((noinline)) int semaphore_acquire_elsewhere(const lh_semaphore *semaphore,
							  lh_lease *lease, uint32_t permits,
							  lh_deadline deadline,
							  struct hold_record *record)
{
	struct semaphore *body = body_of(semaphore);
	const uint32_t limit = permits_of(semaphore);
	const uint32_t place = place_of(semaphore, lease);

	for (uint32_t i = 1; i < limit; i++) {
		const uint32_t index = place + i < limit ? place + i : place + i - limit;

		if (atomic_load_explicit(&body->owners[index], memory_order_relaxed) ||
		    !semaphore_take(body, index, lease->id))
			continue;
		if (atomic_load(&body->limit) == limit)
			return 0;
		return semaphore_acquire_again(semaphore, lease, permits, deadline, record);
	}
	hold_clear(record);
	return acquire_slow(semaphore, lease, permits, deadline);
}

int lh_semaphore_acquire(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits,
			 lh_deadline deadline)
{
	struct semaphore *body;
	struct hold_record *record;

	if (!likely(semaphore) || !likely(lease) || !likely(permits == 1) ||
	    !primitive_is_simple(semaphore->private_, lease))
		return acquire_slow(semaphore, lease, permits, deadline);
	body = body_of(semaphore);
	record = hold_first(lease, primitive_granule(semaphore->private_));
	if (!likely(atomic_load_explicit(&body->limit, memory_order_relaxed) ==
		    permits_of(semaphore)) ||
	    !likely(!atomic_load_explicit(&body->gate, memory_order_relaxed)) ||
	    !likely(!atomic_load_explicit(&record->object, memory_order_relaxed)))
		return acquire_slow(semaphore, lease, permits, deadline);
	hold_write(record, semaphore->private_[2]);
	if (!likely(semaphore_take(body, place_of(semaphore, lease), lease->id)))
		return semaphore_acquire_elsewhere(semaphore, lease, permits, deadline, record);
	if (!likely(atomic_load(&body->limit) == permits_of(semaphore)))
		return semaphore_acquire_again(semaphore, lease, permits, deadline, record);
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Release

void semaphore_wake_again(struct semaphore *semaphore)
{
	if (!word_owner(atomic_load(&semaphore->header.word)))
		return;
	atomic_fetch_add(&semaphore->signal, SEMAPHORE_SIGNAL_ONE);
	futex_wake(&semaphore->signal, FUTEX_ALL);
}

// ASLEEP → WAKING, wake, WAKING → AWAKE: while somebody comes to, nobody else need wake him.
void semaphore_wake(struct semaphore *semaphore)
{
	uint32_t seen, waking;

	if (!word_owner(atomic_load(&semaphore->header.word)))
		return;
	// Of a plain release: pairs with fall_asleep, after which the permits are looked at.
	atomic_thread_fence(memory_order_seq_cst);
	seen = atomic_load(&semaphore->signal);
	do {
		if ((seen & SEMAPHORE_SIGNAL_SAYS) == SEMAPHORE_SIGNAL_AWAKE)
			return;
		waking = seen;
		if ((seen & SEMAPHORE_SIGNAL_SAYS) == SEMAPHORE_SIGNAL_ASLEEP)
			waking = (seen & ~SEMAPHORE_SIGNAL_SAYS) + SEMAPHORE_SIGNAL_ONE +
				 SEMAPHORE_SIGNAL_WAKING;
	} while (waking != seen &&
		 !atomic_compare_exchange_weak(&semaphore->signal, &seen, waking));
	futex_wake(&semaphore->signal, FUTEX_ALL);
	atomic_compare_exchange_strong(&semaphore->signal, &waking,
				       waking & ~SEMAPHORE_SIGNAL_SAYS);
}

void semaphore_tell(struct semaphore *semaphore, struct lh_lease *lease)
{
	if (mutex_free(lease->arena, &semaphore->header, lease) != 0)
		semaphore_wake(semaphore);
}

int semaphore_give_back_some(struct semaphore *semaphore, uint32_t permits,
			     const struct lh_lease *lease, uint32_t count)
{
	const uint32_t place = semaphore_place(lease, permits);

	for (uint32_t i = 0; i < permits && count; i++) {
		const uint32_t index = (place + i) % permits;

		if (atomic_load_explicit(&semaphore->owners[index], memory_order_relaxed) !=
		    lease->id)
			continue;
		if (!semaphore_give_back(semaphore, index, lease->id))
			return -ESTALE;
		count--;
	}
	return count ? -ESTALE : 0; // it had them: others have freed them since
}

// Of the first one found, and of a second: the short way to acquire looks at the record's first
// place alone, which was another object's when the first was written.
static void clear_records(const lh_semaphore *semaphore, lh_lease *lease,
			  struct hold_record *record)
{
	for (uint32_t i = 0; record && i < lease->arena->max_holds; i++) {
		hold_clear(record);
		record = hold_find(lease, LH_KIND_SEMAPHORE,
				   primitive_granule(semaphore->private_));
	}
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
	assert(lease); // check_call has looked
	if (!lease_is_live(lease))
		return -ESTALE;
	body = body_of(semaphore);
	held = semaphore_count(body, permits_of(semaphore), lease->id);
	if (permits > held)
		return primitive_not_held(lease);
	if (!permits)
		return 0;
	record = hold_find(lease, LH_KIND_SEMAPHORE, primitive_granule(semaphore->private_));
	if (!record)
		return -EBADMSG;
	error = semaphore_give_back_some(body, permits_of(semaphore), lease, permits);
	semaphore_tell(body, lease);
	if (error)
		return error;
	if (held == permits)
		clear_records(semaphore, lease, record);
	else
		hold_write(record, hold_word(LH_KIND_SEMAPHORE, LH_HOLD_EXCLUSIVE, held - permits,
					     primitive_granule(semaphore->private_)));
	return 0;
}

__attribute__((noinline)) int semaphore_finish_plain(struct semaphore *semaphore, lh_lease *lease,
						     struct hold_record *record)
{
	semaphore_tell(semaphore, lease);
	hold_clear(record);
	return 0;
}

// Its owner is not lost while it runs: nobody else writes the word.
static inline int give_back_plain(struct semaphore *semaphore, lh_lease *lease,
				  struct hold_record *record, uint32_t index)
{
	atomic_store_explicit(&semaphore->owners[index], 0, memory_order_release);
	fence_light(); // pairs with fence_heavy in semaphore_wait.c
	if (!likely(!word_owner(
		    atomic_load_explicit(&semaphore->header.word, memory_order_relaxed))))
		return semaphore_finish_plain(semaphore, lease, record);
	hold_clear(record);
	return 0;
}

// The lease's one permit is not in its own place.
static __attribute__((noinline)) int release_elsewhere(const lh_semaphore *semaphore,
						       lh_lease *lease, uint32_t permits,
						       struct hold_record *record)
{
	struct semaphore *body = body_of(semaphore);
	const uint32_t created = permits_of(semaphore);
	const uint32_t place = place_of(semaphore, lease);

	for (uint32_t i = 1; i < created; i++) {
		const uint32_t index = place + i < created ? place + i : place + i - created;

		if (atomic_load_explicit(&body->owners[index], memory_order_relaxed) == lease->id)
			return give_back_plain(body, lease, record, index);
	}
	return release_slow(semaphore, lease, permits);
}

int lh_semaphore_release(const lh_semaphore *semaphore, lh_lease *lease, uint32_t permits)
{
	struct semaphore *body;
	struct hold_record *record;
	uint32_t index;

	if (!likely(semaphore) || !likely(lease) || !likely(permits == 1) ||
	    !primitive_is_simple(semaphore->private_, lease))
		return release_slow(semaphore, lease, permits);
	body = body_of(semaphore);
	record = hold_first(lease, primitive_granule(semaphore->private_));
	// One permit, recorded in the first place of the table: the short way.
	if (!likely(atomic_load_explicit(&record->object, memory_order_relaxed) ==
		    semaphore->private_[2]))
		return release_slow(semaphore, lease, permits);
	index = place_of(semaphore, lease);
	if (!likely(atomic_load_explicit(&body->owners[index], memory_order_relaxed) == lease->id))
		return release_elsewhere(semaphore, lease, permits, record);
	return give_back_plain(body, lease, record, index);
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
		return error_text(-EINVAL, "slots is NULL, and capacity is not 0");
	for (uint32_t i = 0; i < permits_of(semaphore); i++) {
		if (atomic_load_explicit(&body_of(semaphore)->owners[i], memory_order_acquire) !=
		    lease->id)
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
				    : error_text(-EINVAL, "the handle is NULL");
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
				    : error_text(-EINVAL, "the handle is NULL");

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
