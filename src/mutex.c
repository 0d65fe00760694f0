// SPDX-License-Identifier: Apache-2.0
#include "src/mutex.h"

#include "arena/error.h"
#include "arena/event.h"
#include "arena/sys/fence.h"
#include "arena/sys/futex.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// The handle's own word, [3]: no-repair bit | count << 32 | granules from one element to the next

#define HANDLE_NO_REPAIR (UINT64_C(1) << 63)
#define HANDLE_COUNT_MASK UINT64_C(0x7fffffff)

static uint64_t stride_of(uint64_t data_size)
{
	return LAYOUT_LINE + primitive_lines(data_size);
}

static uint32_t count_of(const lh_mutex *mutex)
{
	return (uint32_t)((mutex->private_[3] >> 32) & HANDLE_COUNT_MASK);
}

static uint32_t stride_granules(const lh_mutex *mutex)
{
	return (uint32_t)mutex->private_[3];
}

static bool is_no_repair(const lh_mutex *mutex)
{
	return (mutex->private_[3] & HANDLE_NO_REPAIR) != 0;
}

static int check_options(const struct lh_mutex_options *options, uint64_t *ret_size)
{
	const uint64_t count = options->count ? options->count : 1;

	if (primitive_check_options(LH_KIND_MUTEX, options->reserved, options->flags, LH_NO_REPAIR,
				    options->name))
		return -EINVAL;
	if (count > HANDLE_COUNT_MASK || options->data_size > LAYOUT_MAX_SIZE ||
	    stride_of(options->data_size) > UINT64_MAX / count ||
	    stride_of(options->data_size) * count > SIZE_MAX)
		return error_detail(-EINVAL, "mutex options: %llu elements of %zu bytes",
				    (unsigned long long)count, options->data_size);
	*ret_size = stride_of(options->data_size) * count;
	return 0;
}

size_t lh_mutex_footprint(const struct lh_mutex_options *options)
{
	static const struct lh_mutex_options defaults;
	uint64_t size;

	return check_options(options ? options : &defaults, &size) ? 0 : (size_t)size;
}

static void prepare(void *bytes, const struct placement *placement)
{
	const uint64_t stride = stride_of(placement->data_size);
	const uint32_t count = placement->count ? placement->count : 1;

	for (uint32_t i = 0; i < count; i++) {
		struct object_header *header = (struct object_header *)((uint8_t *)bytes +
									i * stride);

		primitive_prepare_header(header, placement);
		header->index = i;
	}
}

int lh_mutex_at(lh_arena *arena, uint64_t offset, const struct lh_mutex_options *options,
		lh_mutex *ret_mutex)
{
	static const struct lh_mutex_options defaults;
	const struct lh_mutex_options *chosen = options ? options : &defaults;
	struct placement wanted = { .offset = offset,
				    .data_size = chosen->data_size,
				    .kind = LH_KIND_MUTEX,
				    // A single one is what an array of one is.
				    .count = chosen->count > 1 ? chosen->count : 0,
				    .flags = chosen->flags,
				    .name = chosen->name };
	lh_mutex mutex;
	int error;

	if (!arena || !ret_mutex)
		return error_detail(-EINVAL, "arena or ret_mutex is NULL");
	error = check_options(chosen, &wanted.size);
	if (!error)
		error = primitive_at(arena, &wanted, prepare, mutex.private_);
	if (error)
		return error;
	mutex.private_[3] = (chosen->flags & LH_NO_REPAIR ? HANDLE_NO_REPAIR : 0) |
			    (uint64_t)(chosen->count ? chosen->count : 1) << 32 |
			    stride_of(chosen->data_size) / LAYOUT_LINE;
	*ret_mutex = mutex;
	return 0;
}

int lh_mutex_element(const lh_mutex *array, uint32_t index, lh_mutex *ret_mutex)
{
	const struct lh_arena *arena;
	uint64_t granule;
	lh_mutex mutex;
	uint32_t own;

	error_note_nothing();
	if (!array || !ret_mutex)
		return error_text(-EINVAL, "array or ret_mutex is NULL");
	if (!array->private_[0])
		return error_text(-EINVAL, "the handle is all-zero: it was never placed");
	if (index >= count_of(array))
		return error_text(-EINVAL, "index is beyond the array's last element");
	arena = mutex_arena(array);
	own = mutex_header(array)->index;
	if (own >= count_of(array))
		return -EBADMSG;
	granule = mutex_granule(array) + ((uint64_t)index - own) * stride_granules(array);
	if (granule > UINT32_MAX || !arena_object(arena, (uint32_t)granule))
		return -EBADMSG;
	mutex.private_[3] = array->private_[3];
	primitive_handle(arena, LH_KIND_MUTEX, (uint32_t)granule, mutex.private_);
	*ret_mutex = mutex;
	return 0;
}

uint64_t lh_mutex_offset(const lh_mutex *mutex)
{
	return mutex ? primitive_offset(mutex->private_) : 0;
}

void *lh_mutex_data(const lh_mutex *mutex)
{
	if (!mutex || stride_granules(mutex) < 2)
		return NULL;
	return mutex_header(mutex) + 1;
}

// ---------------------------------------------------------------------------------------------
// Lock

static int check_call(const lh_mutex *mutex, const lh_lease *lease)
{
	return mutex ? primitive_check_call(mutex->private_, LH_KIND_MUTEX, lease)
		     : error_text(-EINVAL, "the handle is NULL");
}

static __attribute__((noinline)) int lock_slow(const lh_mutex *mutex, lh_lease *lease,
					       lh_deadline deadline, lh_grant *grant,
					       struct hold_record *record)
{
	struct mutex_attempt attempt;
	uint64_t word;
	int error = check_call(mutex, lease);

	if (error && record)
		hold_clear(record);
	if (error)
		return error;
	assert(lease); // check_call has looked
	if (!record) {
		error = lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE;
		if (error)
			return error;
		word = atomic_load_explicit(&mutex_header(mutex)->word, memory_order_relaxed);
		if (word_owner(word) == lease->name)
			return -EDEADLK;
		record = hold_insert(lease, mutex->private_[2]);
		if (!record)
			return -ENOLCK;
	}
	attempt = (struct mutex_attempt){ .arena = mutex_arena(mutex),
					  .header = mutex_header(mutex),
					  .granule = mutex_granule(mutex),
					  .no_repair = is_no_repair(mutex),
					  .lease = lease,
					  .record = record,
					  .own_record = mutex->private_[2],
					  .deadline = deadline,
					  .grant = grant };
	return mutex_acquire(&attempt);
}

int mutex_retake(const lh_mutex *mutex, struct lh_lease *lease, struct hold_record *record,
		 lh_grant *ret_grant)
{
	const struct mutex_attempt attempt = { .arena = mutex_arena(mutex),
					       .header = mutex_header(mutex),
					       .granule = mutex_granule(mutex),
					       .no_repair = is_no_repair(mutex),
					       .lease = lease,
					       .record = record,
					       .own_record = mutex->private_[2],
					       .deadline = LH_FOREVER,
					       .grant = ret_grant,
					       .steadfast = true,
					       .no_plain = true };

	return mutex_acquire(&attempt);
}

int lh_mutex_lock(const lh_mutex *mutex, lh_lease *lease, lh_deadline deadline, lh_grant *ret_grant)
{
	struct object_header *header;
	struct hold_record *record;
	uint64_t word, taken;

	if (!likely(mutex) || !likely(lease) || !primitive_is_simple(mutex->private_, lease))
		return lock_slow(mutex, lease, deadline, ret_grant, NULL);
	header = mutex_header(mutex);
	record = hold_first(lease, mutex_granule(mutex));
	word = atomic_load_explicit(&header->word, memory_order_relaxed);
	taken = word + WORD_TOKEN_ONE + WORD_PLAIN + lease->name;
	if (!likely(!(word & (WORD_OWNER_MASK | WORD_MARK | WORD_DIED))) ||
	    !likely(word_may_be_plain(
		    word, atomic_load_explicit(&header->waiters, memory_order_relaxed))) ||
	    !likely(!atomic_load_explicit(&record->object, memory_order_relaxed)))
		return lock_slow(mutex, lease, deadline, ret_grant, NULL);
	hold_write(record, mutex->private_[2]);
	// free → ours (PLAIN), token + 1. A crash before: our record is an intent; after: we held
	// it. Acquire pairs with the release of whoever freed it.
	if (!likely(atomic_compare_exchange_strong_explicit(
		    &header->word, &word, taken, memory_order_acq_rel, memory_order_relaxed)))
		return lock_slow(mutex, lease, deadline, ret_grant, record);
	if (ret_grant)
		*ret_grant = (lh_grant){ .token = word_token(taken) };
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Unlock

void mutex_pass_turn(struct lh_arena *arena, struct object_header *header, uint32_t slot)
{
	shared_u32 *turn = &arena->leases[slot].turn;
	const uint32_t before = atomic_fetch_add(turn, 1);

	// Who exchanges itself in from here on finds the turn passed; who did before is there.
	if (atomic_load(&header->last_waiter) != queue_entry(slot, before))
		futex_wake(turn, FUTEX_ALL);
}

int mutex_free(struct lh_arena *arena, struct object_header *header, struct lh_lease *lease)
{
	uint64_t word = atomic_load_explicit(&header->word, memory_order_relaxed);

	// ours → free, the token and damage kept. Others only add MARK, or reap us.
	do {
		if (word_owner(word) != lease->name)
			return -ESTALE;
	} while (!atomic_compare_exchange_weak_explicit(&header->word, &word, word_freed(word),
							memory_order_acq_rel,
							memory_order_relaxed));
	if (word & WORD_MARK)
		futex_wake(futex_low_half(&header->word), FUTEX_ALL);
	if (word & WORD_QUEUED)
		mutex_pass_turn(arena, header, lease->index);
	return 0;
}

// A PLAIN owner is not lost while it runs: nobody else writes the word.
// Whether somebody may sleep on it.
static inline bool free_plain(struct object_header *header, uint64_t word)
{
	const uint64_t freed = word_freed(word);

	atomic_store_explicit(&header->word, freed, memory_order_release);
	fence_light(); // pairs with fence_heavy in mutex_wait.c
	return word_has_sleepers(freed,
				 atomic_load_explicit(&header->waiters, memory_order_relaxed));
}

__attribute__((noinline)) int mutex_finish_plain(struct object_header *header,
						 struct hold_record *record)
{
	futex_wake(futex_low_half(&header->word), FUTEX_ALL);
	hold_clear(record);
	return 0;
}

int mutex_let_go(struct lh_lease *lease, struct object_header *header)
{
	const uint64_t word = atomic_load_explicit(&header->word, memory_order_relaxed);

	if (word_owner(word) != lease->name)
		return primitive_not_held(lease);
	if (!(word & WORD_PLAIN))
		return lease_is_live(lease) ? mutex_free(lease->arena, header, lease) : -ESTALE;
	if (free_plain(header, word))
		futex_wake(futex_low_half(&header->word), FUTEX_ALL);
	return 0;
}

static int unlock(struct lh_lease *lease, struct object_header *header, struct hold_record *record)
{
	const uint64_t word = atomic_load_explicit(&header->word, memory_order_relaxed);
	int error;

	if (word_owner(word) != lease->name)
		return primitive_not_held(lease);
	if (!record)
		return -EBADMSG;
	error = mutex_let_go(lease, header);
	if (!error)
		hold_clear(record);
	return error;
}

static __attribute__((noinline)) int unlock_slow(const lh_mutex *mutex, lh_lease *lease)
{
	const int error = check_call(mutex, lease);

	if (error)
		return error;
	assert(lease); // check_call has looked
	return unlock(lease, mutex_header(mutex),
		      hold_find(lease, LH_KIND_MUTEX, mutex_granule(mutex)));
}

int lh_mutex_unlock(const lh_mutex *mutex, lh_lease *lease)
{
	struct object_header *header;
	struct hold_record *record;
	uint64_t word;

	if (!likely(mutex) || !likely(lease) || !primitive_is_simple(mutex->private_, lease))
		return unlock_slow(mutex, lease);
	header = mutex_header(mutex);
	record = hold_first(lease, mutex_granule(mutex));
	word = atomic_load_explicit(&header->word, memory_order_relaxed);
	// Owned by a lease that is not lost and in the first place of its table: the short way.
	if (!likely((word & (WORD_OWNER_MASK | WORD_PLAIN)) == (lease->name | WORD_PLAIN)) ||
	    !likely(atomic_load_explicit(&record->object, memory_order_relaxed) ==
		    mutex->private_[2]))
		return unlock_slow(mutex, lease);
	if (!likely(!free_plain(header, word)))
		return mutex_finish_plain(header, record);
	hold_clear(record);
	return 0;
}

int mutex_check_held(const lh_mutex *mutex, const struct lh_lease *lease)
{
	const uint64_t word = atomic_load_explicit(&mutex_header(mutex)->word,
						   memory_order_relaxed);

	return word_owner(word) == lease->name && lease_is_live(lease) ? 0
								       : primitive_not_held(lease);
}

int lh_mutex_consistent(const lh_mutex *mutex, lh_lease *lease)
{
	const int error = check_call(mutex, lease);
	uint64_t word;

	if (error)
		return error;
	word = atomic_load_explicit(&mutex_header(mutex)->word, memory_order_relaxed);
	// ours{DIED} → ours. Before it a crash leaves the damage told; after it, the crash is told.
	do {
		if (word_owner(word) != lease->name || !lease_is_live(lease))
			return primitive_not_held(lease);
	} while ((word & WORD_DIED) && !atomic_compare_exchange_weak_explicit(
					       &mutex_header(mutex)->word, &word, word & ~WORD_DIED,
					       memory_order_acq_rel, memory_order_relaxed));
	return 0;
}

bool lh_mutex_held(const lh_mutex *mutex, const lh_lease *lease)
{
	if (check_call(mutex, lease))
		return false;
	return word_owner(atomic_load_explicit(&mutex_header(mutex)->word, memory_order_relaxed)) ==
		       lease->name &&
	       lease_is_live(lease);
}

// ---------------------------------------------------------------------------------------------
// What the arena asks (kind.h)

bool mutex_reap_word(struct lh_arena *arena, struct object_header *header,
		     const struct lost_lease *lost, uint64_t mark, uint64_t *ret_word)
{
	uint64_t previous, word;

	do {
		// Order: lost_lease, the word, that the lease is still lost; then both by CAS of
		// what was read. So lost_lease never goes back to an earlier loss.
		previous = atomic_load(&header->lost_lease);
		word = atomic_load(&header->word);
		if (word_owner(word) != lost->slot + 1 || !lease_still_lost(arena, lost)) {
			// Wanted only, or freed by it or by another reaper that may have died
			// since.
			futex_wake(futex_low_half(&header->word), FUTEX_ALL);
			return false;
		}
		atomic_compare_exchange_strong(&header->lost_lease, &previous, lost->id);
		// theirs → free, DIED. Heads need no wake: they are armed on the lost owner's life
		// and expiry, and whoever was told of these first has woken the others.
	} while (!atomic_compare_exchange_strong(&header->word, &word, word_freed(word) | mark));
	*ret_word = word;
	return true;
}

bool mutex_reap(struct lh_arena *arena, const struct lost_lease *lost, uint64_t record)
{
	const uint32_t granule = hold_word_granule(record);
	const bool died = lease_word_state(lost->state) == LEASE_DEAD;
	struct object_header *header = arena_object(arena, granule);
	uint64_t word;

	if (!header || header->kind != LH_KIND_MUTEX) {
		event_record(arena, LH_EVENT_CORRUPT, lost, (uint64_t)granule * LAYOUT_LINE,
			     record);
		return true;
	}
	if (!mutex_reap_word(arena, header, lost, header->flags & LH_NO_REPAIR ? 0 : WORD_DIED,
			     &word))
		return true;
	event_record(arena, died ? LH_EVENT_OWNER_DIED : LH_EVENT_EXPIRED, lost,
		     (uint64_t)granule * LAYOUT_LINE, word_token(word));
	return (word & WORD_QUEUED) != 0;
}

// For lh_lease_release: what the record names is unlocked as by its user; an intent is forgotten.
static int release(struct lh_lease *lease, struct hold_record *record)
{
	const uint64_t word = atomic_load_explicit(&record->object, memory_order_relaxed);
	struct object_header *header = arena_object(lease->arena, hold_word_granule(word));
	int error;

	if (!header || header->kind != LH_KIND_MUTEX)
		return -EBADMSG;
	error = unlock(lease, header, record);
	if (error == -EPERM) {
		hold_clear(record);
		return 0;
	}
	return error;
}

static int64_t owner(const struct lh_arena *arena, uint32_t granule)
{
	const struct object_header *header = arena_object(arena, granule);

	return header ? (int64_t)word_owner(atomic_load(&header->word)) - 1 : -1;
}

static void view(const struct lh_arena *arena, uint32_t slot, uint64_t record,
		 struct hold_view *ret_view)
{
	const struct object_header *header = arena_object(arena, hold_word_granule(record));
	const uint64_t word = header ? atomic_load(&header->word) : 0;

	*ret_view = (struct hold_view){
		.token = word_token(word),
		.mode = word_owner(word) == slot + 1 ? LH_HOLD_EXCLUSIVE : LH_HOLD_INTENT,
		.damaged = (word & WORD_DIED) != 0,
	};
}

static bool look(const struct lh_arena *arena, uint32_t granule, struct lh_object_info *info)
{
	primitive_look(arena, granule, sizeof(struct object_header), info);
	return true;
}

static bool busy(const struct lh_arena *arena, uint32_t granule)
{
	return owner(arena, granule) >= 0;
}

const struct kind_ops mutex_ops = {
	.reap = mutex_reap,
	.release = release,
	.owner = owner,
	.view = view,
	.look = look,
	.busy = busy,
	.stride = stride_of,
};
