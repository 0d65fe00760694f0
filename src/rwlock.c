// SPDX-License-Identifier: Apache-2.0
#include "src/rwlock.h"

#include "arena/error.h"
#include "arena/sys/fence.h"
#include "arena/sys/futex.h"

#include <assert.h>
#include <string.h>

#define LOOKS_BEFORE_CLOCK 16 // reads without bias between two looks at the clock

// ---------------------------------------------------------------------------------------------
// The handle's own word, [3]: no-repair bit | bytes to its line of hold tables (hold_line, less the
// mask) | whether it has data

#define HANDLE_NO_REPAIR (UINT64_C(1) << 63)
#define HANDLE_HAS_DATA UINT64_C(1)

static inline struct lh_arena *arena_of(const lh_rwlock *rwlock)
{
	return primitive_arena(rwlock->private_);
}

static inline struct rwlock_object *object_of(const lh_rwlock *rwlock)
{
	return (struct rwlock_object *)primitive_header(rwlock->private_);
}

// The first record in the line for it: where the hot paths look, and nowhere else.
static inline struct hold_record *first_record(const lh_rwlock *rwlock, const lh_lease *lease)
{
	const uint32_t line = (uint32_t)(rwlock->private_[3] >> RWLOCK_HANDLE_LINE_SHIFT);

	return (struct hold_record *)((uintptr_t)lease->holds + (line & lease->line_mask));
}

// A handle's record is that of a reader.
static inline uint64_t record_of(const lh_rwlock *rwlock, uint32_t mode)
{
	return rwlock->private_[2] - (((uint64_t)LH_HOLD_SHARED - mode) << HOLD_MODE_SHIFT);
}

uint64_t rwlock_stride(uint64_t data_size)
{
	return sizeof(struct rwlock_object) + primitive_lines(data_size);
}

static int check_options(const struct lh_rwlock_options *options, uint64_t *ret_size)
{
	if (primitive_check_options(LH_KIND_RWLOCK, options->reserved, options->flags, LH_NO_REPAIR,
				    options->name))
		return -EINVAL;
	if (options->data_size > LAYOUT_MAX_SIZE || rwlock_stride(options->data_size) > SIZE_MAX)
		return error_detail(-EINVAL, "rwlock options: %zu bytes", options->data_size);
	*ret_size = rwlock_stride(options->data_size);
	return 0;
}

size_t lh_rwlock_footprint(const struct lh_rwlock_options *options)
{
	static const struct lh_rwlock_options defaults;
	uint64_t size;

	return check_options(options ? options : &defaults, &size) ? 0 : (size_t)size;
}

int lh_rwlock_at(lh_arena *arena, uint64_t offset, const struct lh_rwlock_options *options,
		 lh_rwlock *ret_rwlock)
{
	static const struct lh_rwlock_options defaults;
	const struct lh_rwlock_options *chosen = options ? options : &defaults;
	struct placement wanted = { .offset = offset,
				    .data_size = chosen->data_size,
				    .kind = LH_KIND_RWLOCK,
				    .flags = chosen->flags,
				    .name = chosen->name };
	lh_rwlock rwlock;
	int error;

	if (!arena || !ret_rwlock)
		return error_detail(-EINVAL, "arena or ret_rwlock is NULL");
	error = check_options(chosen, &wanted.size);
	if (!error)
		error = primitive_at(arena, &wanted, NULL, rwlock.private_);
	if (error)
		return error;
	rwlock.private_[2] = rwlock_record(primitive_granule(rwlock.private_), LH_HOLD_SHARED, 1);
	rwlock.private_[3] = (chosen->flags & LH_NO_REPAIR ? HANDLE_NO_REPAIR : 0) |
			     (uint64_t)hold_line(primitive_granule(rwlock.private_), UINT32_MAX)
				     << RWLOCK_HANDLE_LINE_SHIFT |
			     (chosen->data_size ? HANDLE_HAS_DATA : 0);
	*ret_rwlock = rwlock;
	return 0;
}

uint64_t lh_rwlock_offset(const lh_rwlock *rwlock)
{
	return rwlock ? primitive_offset(rwlock->private_) : 0;
}

void *lh_rwlock_data(const lh_rwlock *rwlock)
{
	if (!rwlock || !(rwlock->private_[3] & HANDLE_HAS_DATA))
		return NULL;
	return object_of(rwlock) + 1;
}

// ---------------------------------------------------------------------------------------------
// What both kinds of lock calls share

static int check_call(const lh_rwlock *rwlock, const lh_lease *lease)
{
	return rwlock ? primitive_check_call(rwlock->private_, LH_KIND_RWLOCK, lease)
		      : error_text(-EINVAL, "the handle is NULL");
}

// For calls that take a deadline.
static int check_attempt(const lh_rwlock *rwlock, const lh_lease *lease)
{
	const int error = check_call(rwlock, lease);

	if (error)
		return error;
	return lease_is_live(lease) ? lease_check_cancel(lease) : -ESTALE;
}

static struct rwlock_attempt attempt_of(const lh_rwlock *rwlock, lh_lease *lease,
					struct hold_record *record, lh_deadline deadline,
					lh_grant *grant)
{
	return (struct rwlock_attempt){
		.arena = arena_of(rwlock),
		.object = object_of(rwlock),
		.granule = primitive_granule(rwlock->private_),
		.no_repair = (rwlock->private_[3] & HANDLE_NO_REPAIR) != 0,
		.lease = lease,
		.record = record,
		.deadline = deadline,
		.grant = grant,
	};
}

static struct hold_record *find_record(const lh_rwlock *rwlock, const lh_lease *lease)
{
	assert(lease); // check_call has looked
	return hold_find(lease, LH_KIND_RWLOCK, primitive_granule(rwlock->private_));
}

void rwlock_enter_map(struct rwlock_object *object, uint32_t slot)
{
	shared_u64 *map = rwlock_map_word(object, slot);
	const uint64_t bit = rwlock_map_bit(slot);

	// Before the record: a writer that does not see the bit put its name into the word before,
	// and the reader, who looks there after its record, sees that.
	if (atomic_load_explicit(map, memory_order_relaxed) & bit)
		return;
	// likewise before the bit
	atomic_fetch_or(rwlock_reader_words(object), 1u << slot % RWLOCK_MAP_BITS / 64);
	atomic_fetch_or(map, bit);
}

// ---------------------------------------------------------------------------------------------
// Reading

void rwlock_depart(struct lh_arena *arena, struct rwlock_object *object, uint32_t slot)
{
	uint64_t word;

	if (arena->plain_fences)
		atomic_thread_fence(memory_order_seq_cst); // pairs with that of a writer's claim
	else
		fence_light(); // pairs with fence_heavy in sleep_on_reader and rwlock_pend
	word = atomic_load_explicit(&object->header.word, memory_order_acquire);
	if (word_owner(word))
		rwlock_bump(&arena->leases[slot].departures);
	if (word & WORD_MARK)
		rwlock_poke(arena, object);
}

void rwlock_consider_bias(const struct lh_arena *arena, struct rwlock_object *object, uint64_t word)
{
	static __thread unsigned looks __attribute__((tls_model("initial-exec")));

	if (!(word & RWLOCK_FENCED) || word_owner(word) || arena->plain_fences ||
	    ++looks % LOOKS_BEFORE_CLOCK ||
	    clock_now() < atomic_load_explicit(&object->bias_off_until, memory_order_relaxed))
		return;
	// {none, FENCED} → {none, biased}: the next writer revokes it. A crash: either of them.
	if (atomic_compare_exchange_strong(&object->header.word, &word, word & ~RWLOCK_FENCED))
		atomic_store_explicit(&object->bias_since, clock_now(), memory_order_relaxed);
}

// What a revocation costs, the writer pays and everybody whom it interrupts. A bias that did not
// even last for as long as it had been off was not worth it: then it stays off for twice as long.
void rwlock_bias_off(struct rwlock_object *object, uint64_t revoked_from, uint64_t revoked_at)
{
	const uint64_t since = atomic_load_explicit(&object->bias_since, memory_order_relaxed);
	const uint64_t last = atomic_load_explicit(&object->bias_off_ns, memory_order_relaxed);
	uint64_t off = RWLOCK_BIAS_OFF * (revoked_at - revoked_from);

	if (revoked_from - since < last && off < 2 * last)
		off = 2 * last;
	if (off > RWLOCK_BIAS_OFF_MAX_NS) // so long, too, if others ran while it was revoked
		off = RWLOCK_BIAS_OFF_MAX_NS;
	atomic_store_explicit(&object->bias_off_ns, off, memory_order_relaxed);
	atomic_store_explicit(&object->bias_off_until, revoked_at + off, memory_order_relaxed);
}

// Another read of a lease that reads already: a writer waits for its last unlock in any case.
static int read_again(const struct rwlock_attempt *attempt)
{
	const uint64_t record = atomic_load_explicit(&attempt->record->object,
						     memory_order_relaxed);
	const uint64_t word = atomic_load_explicit(&attempt->object->header.word,
						   memory_order_acquire);

	if (hold_word_count(record) == HOLD_COUNT_MASK)
		return -EOVERFLOW;
	if ((word & WORD_DIED) && !attempt->grant && !attempt->no_repair)
		return -EOWNERDEAD;
	hold_write(attempt->record, record + (UINT64_C(1) << HOLD_COUNT_SHIFT));
	primitive_fill_grant(attempt->grant, &attempt->object->header, word);
	return 0;
}

static __attribute__((noinline)) int read_slow(const lh_rwlock *rwlock, lh_lease *lease,
					       lh_deadline deadline, lh_grant *grant)
{
	struct rwlock_attempt attempt;
	struct hold_record *record;
	int error = check_attempt(rwlock, lease);

	if (error)
		return error;
	record = find_record(rwlock, lease);
	attempt = attempt_of(rwlock, lease, record, deadline, grant);
	if (record)
		return hold_word_mode(atomic_load_explicit(&record->object,
							   memory_order_relaxed)) == LH_HOLD_SHARED
			       ? read_again(&attempt)
			       : -EDEADLK;
	attempt.record = hold_insert(lease, record_of(rwlock, LH_HOLD_INTENT));
	if (!attempt.record)
		return -ENOLCK;
	rwlock_enter_map(attempt.object, lease->index);
	error = rwlock_acquire_read(&attempt);
	if (error)
		hold_clear(attempt.record);
	return error;
}

// Whether it is to be looked at more closely if a writer waits, for a reader that will not.
static inline bool is_refused_now(const struct rwlock_object *object, lh_deadline deadline)
{
	return deadline.ns == 0 &&
	       atomic_load_explicit(&object->header.heir, memory_order_relaxed) != 0;
}

static __attribute__((noinline)) int read_again_from_intent(const lh_rwlock *rwlock,
							    lh_lease *lease, lh_deadline deadline,
							    lh_grant *grant,
							    struct hold_record *record)
{
	struct rwlock_attempt attempt = attempt_of(rwlock, lease, record, deadline, grant);
	int error;

	hold_write(record, record_of(rwlock, LH_HOLD_INTENT));
	rwlock_depart(attempt.arena, attempt.object, lease->index);
	error = rwlock_acquire_read(&attempt);
	if (error)
		hold_clear(record);
	return error;
}

__attribute__((noinline)) int rwlock_read_fenced(const lh_rwlock *rwlock, lh_lease *lease,
						 lh_deadline deadline, lh_grant *grant)
{
	struct hold_record *record = first_record(rwlock, lease);
	struct rwlock_object *object = object_of(rwlock);
	uint64_t word;

	if (object->header.kind != LH_KIND_RWLOCK) {
		hold_clear(record);
		return -EBADMSG;
	}
	atomic_thread_fence(memory_order_seq_cst); // pairs with the CAS of a writer's claim
	word = atomic_load_explicit(&object->header.word, memory_order_acquire);
	if (!likely(!(word & (WORD_OWNER_MASK | WORD_DIED | RWLOCK_WANTED)) &&
		    !is_refused_now(object, deadline)))
		return read_again_from_intent(rwlock, lease, deadline, grant, record);
	if (grant)
		*grant = (lh_grant){ .token = word_token(word) };
	rwlock_consider_bias(arena_of(rwlock), object, word);
	return 0;
}

hot_path int lh_rwlock_read_lock(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
				 lh_grant *ret_grant)
{
	struct rwlock_object *object;
	struct hold_record *record;
	uint64_t word;

	if (!likely(rwlock) || !likely(lease) || !primitive_is_simple(rwlock->private_, lease))
		return read_slow(rwlock, lease, deadline, ret_grant);
	object = object_of(rwlock);
	record = first_record(rwlock, lease);
	if (!likely(!atomic_load_explicit(&record->object, memory_order_relaxed)) ||
	    !likely(atomic_load_explicit(
			    (shared_u64 *)((uintptr_t)object->readers + lease->readers_offset),
			    memory_order_relaxed) &
		    lease->readers_bit))
		return read_slow(rwlock, lease, deadline, ret_grant);
	hold_write(record, record_of(rwlock, LH_HOLD_SHARED));
	fence_light(); // pairs with fence_heavy in rwlock_wait.c
	// Acquire pairs with the release of the writer that let go last. A crash before: nothing is
	// held but a record of the dead, which no writer minds; after: the same.
	word = atomic_load_explicit(&object->header.word, memory_order_acquire);
	if (!likely(!(word & WORD_BELOW_TOKEN) && !is_refused_now(object, deadline)))
		return rwlock_read_fenced(rwlock, lease, deadline, ret_grant);
	if (ret_grant)
		*ret_grant = (lh_grant){ .token = word_token(word) };
	return 0;
}

// ---------------------------------------------------------------------------------------------
// Writing

static __attribute__((noinline)) int write_slow(const lh_rwlock *rwlock, lh_lease *lease,
						lh_deadline deadline, lh_grant *grant)
{
	struct rwlock_attempt attempt;
	int error = check_attempt(rwlock, lease);

	if (error)
		return error;
	if (find_record(rwlock, lease))
		return -EDEADLK;
	attempt = attempt_of(rwlock, lease, hold_insert(lease, record_of(rwlock, LH_HOLD_INTENT)),
			     deadline, grant);
	if (!attempt.record)
		return -ENOLCK;
	error = rwlock_acquire_write(&attempt);
	if (error)
		hold_clear(attempt.record);
	return error;
}

// 0. From here on a crash is damage.
static inline int granted_to_write(const lh_rwlock *rwlock, struct hold_record *record,
				   lh_grant *grant, uint64_t word)
{
	hold_write(record, record_of(rwlock, LH_HOLD_EXCLUSIVE));
	if (grant)
		*grant = (lh_grant){ .token = word_token(word) };
	return 0;
}

// The word names the lease, but others may be reading.
static __attribute__((noinline)) int write_after_readers(const lh_rwlock *rwlock, lh_lease *lease,
							 lh_deadline deadline, lh_grant *grant,
							 struct hold_record *record, uint64_t word)
{
	const struct rwlock_attempt attempt = attempt_of(rwlock, lease, record, deadline, grant);
	int error;

	if (likely(!rwlock_is_read(attempt.arena, attempt.object, attempt.granule, lease->index)))
		return granted_to_write(rwlock, record, grant, word);
	error = rwlock_complete_write(&attempt, word);
	if (error)
		hold_clear(record);
	return error;
}

static __attribute__((noinline)) int write_anew(const lh_rwlock *rwlock, lh_lease *lease,
						lh_deadline deadline, lh_grant *grant,
						struct hold_record *record)
{
	hold_clear(record);
	return write_slow(rwlock, lease, deadline, grant);
}

hot_path int lh_rwlock_write_lock(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
				  lh_grant *ret_grant)
{
	struct rwlock_object *object;
	struct hold_record *record;
	uint64_t word, taken;

	if (!likely(rwlock) || !likely(lease) || !primitive_is_simple(rwlock->private_, lease))
		return write_slow(rwlock, lease, deadline, ret_grant);
	object = object_of(rwlock);
	record = first_record(rwlock, lease);
	word = atomic_load_explicit(&object->header.word, memory_order_relaxed);
	taken = word + WORD_TOKEN_ONE + lease->name;
	if (!likely((word & WORD_BELOW_TOKEN) == RWLOCK_FENCED) || !likely(taken > word) ||
	    !likely(!atomic_load_explicit(&record->object, memory_order_relaxed)))
		return write_slow(rwlock, lease, deadline, ret_grant);
	hold_write(record, record_of(rwlock, LH_HOLD_INTENT));
	// free → ours, token + 1. A crash before: our record is an intent; after: a writer that
	// waited.
	if (!likely(atomic_compare_exchange_strong(&object->header.word, &word, taken)))
		return write_anew(rwlock, lease, deadline, ret_grant, record);
	if (!likely(!atomic_load(rwlock_reader_words(object))))
		return write_after_readers(rwlock, lease, deadline, ret_grant, record, taken);
	return granted_to_write(rwlock, record, ret_grant, taken);
}

int lh_rwlock_upgrade(const lh_rwlock *rwlock, lh_lease *lease, lh_deadline deadline,
		      lh_grant *ret_grant)
{
	struct rwlock_attempt attempt;
	struct hold_record *record;
	uint64_t word;
	int error = check_attempt(rwlock, lease);

	if (error)
		return error;
	record = find_record(rwlock, lease);
	word = record ? atomic_load_explicit(&record->object, memory_order_relaxed) : 0;
	if (hold_word_mode(word) != LH_HOLD_SHARED)
		return primitive_not_held(lease);
	if (hold_word_count(word) > 1)
		return -EDEADLK; // the outer read would go on around the write
	attempt = attempt_of(rwlock, lease, record, deadline, ret_grant);
	attempt.upgrade = true;
	error = rwlock_acquire_write(&attempt);
	return error;
}

// ---------------------------------------------------------------------------------------------
// Letting go

// Whether the lock is to be left to its heir: who has waited for a millisecond, but one such in
// each millisecond, or all locking would go at the pace of sleepers.
static bool is_heir_passed_over(const struct lh_arena *arena, struct rwlock_object *object)
{
	struct object_header *header = &object->header;
	const uint32_t heir = atomic_load(&header->heir);
	const uint32_t name = heir & (uint32_t)WORD_OWNER_MASK;
	uint64_t now, last, since;

	if (!name || name > arena->lease_count)
		return false;
	now = clock_now();
	last = atomic_load_explicit(&header->reserved_ns, memory_order_relaxed);
	since = rwlock_heir_since(arena, object, heir);
	if (now - since < WORD_PASSED_OVER_NS || (last <= now && now - last < WORD_PASSED_OVER_NS))
		return false;
	atomic_store_explicit(&header->reserved_ns, now, memory_order_relaxed);
	return true;
}

int rwlock_free_with(struct rwlock_object *object, const struct lh_lease *lease, uint64_t off,
		     uint64_t on)
{
	struct object_header *header = &object->header;
	uint64_t word = atomic_load_explicit(&header->word, memory_order_relaxed);
	uint64_t freed;

	// ours → none, the token, the mode and damage kept. Others only add MARK, or reap us.
	do {
		if (word_owner(word) != lease->name)
			return -ESTALE;
		freed = (word & ~(WORD_OWNER_MASK | WORD_MARK | RWLOCK_WANTED | off)) | on;
		if ((word & WORD_MARK) && is_heir_passed_over(lease->arena, object))
			freed |= RWLOCK_WANTED;
	} while (!atomic_compare_exchange_weak_explicit(
		&header->word, &word, freed, memory_order_acq_rel, memory_order_relaxed));
	if (word & WORD_MARK) {
		futex_wake(futex_low_half(&header->word), FUTEX_ALL);
		rwlock_poke(lease->arena, object);
	}
	return 0;
}

int rwlock_unlock(struct lh_lease *lease, struct rwlock_object *object, struct hold_record *record)
{
	const uint64_t word = record ? atomic_load_explicit(&record->object, memory_order_relaxed)
				     : 0;
	int error = 0;

	switch (hold_word_mode(word)) {
	case LH_HOLD_EXCLUSIVE:
		error = lease_is_live(lease) ? rwlock_free(object, lease) : -ESTALE;
		if (!error)
			hold_clear(record);
		return error;
	case LH_HOLD_SHARED:
		if (hold_word_count(word) > 1) {
			hold_write(record, word - (UINT64_C(1) << HOLD_COUNT_SHIFT));
		} else {
			hold_clear(record);
			rwlock_depart(lease->arena, object, lease->index);
		}
		return lease_is_live(lease) ? 0 : -ESTALE;
	default:
		return primitive_not_held(lease);
	}
}

static __attribute__((noinline)) int unlock_slow(const lh_rwlock *rwlock, lh_lease *lease)
{
	const int error = check_call(rwlock, lease);

	return error ? error : rwlock_unlock(lease, object_of(rwlock), find_record(rwlock, lease));
}

int rwlock_tell_writer(const lh_lease *lease)
{
	rwlock_bump(&lease->slot->departures);
	return 0;
}

// A writer that nobody sleeps for; its lease can be lost only by its owner's end.
static int unlock_write(const lh_rwlock *rwlock, lh_lease *lease, struct hold_record *record)
{
	struct object_header *header = &object_of(rwlock)->header;
	uint64_t word = atomic_load_explicit(&header->word, memory_order_relaxed);

	if (!likely((word & (WORD_OWNER_MASK | WORD_MARK | RWLOCK_WANTED)) == lease->name &&
		    atomic_compare_exchange_strong_explicit(
			    &header->word, &word, word & ~WORD_OWNER_MASK, memory_order_acq_rel,
			    memory_order_relaxed)))
		return unlock_slow(rwlock, lease);
	hold_clear(record);
	return 0;
}

hot_path int lh_rwlock_unlock(const lh_rwlock *rwlock, lh_lease *lease)
{
	struct rwlock_object *object;
	struct hold_record *record;
	uint64_t held;

	if (!likely(rwlock) || !likely(lease) || !primitive_is_simple(rwlock->private_, lease))
		return unlock_slow(rwlock, lease);
	object = object_of(rwlock);
	record = first_record(rwlock, lease);
	held = atomic_load_explicit(&record->object, memory_order_relaxed);
	if (!likely(held == record_of(rwlock, LH_HOLD_SHARED)))
		return held == record_of(rwlock, LH_HOLD_EXCLUSIVE)
			       ? unlock_write(rwlock, lease, record)
			       : unlock_slow(rwlock, lease);
	hold_clear(record);
	fence_light(); // pairs with fence_heavy in sleep_on_reader
	if (!likely(!(atomic_load_explicit(&object->header.word, memory_order_relaxed) &
		      WORD_OWNER_MASK)))
		return rwlock_tell_writer(lease);
	return 0;
}

int lh_rwlock_downgrade(const lh_rwlock *rwlock, lh_lease *lease)
{
	struct rwlock_object *object;
	struct hold_record *record;
	int error = check_call(rwlock, lease);

	if (error)
		return error;
	object = object_of(rwlock);
	record = find_record(rwlock, lease);
	if (!record || hold_word_mode(atomic_load_explicit(
			       &record->object, memory_order_relaxed)) != LH_HOLD_EXCLUSIVE)
		return primitive_not_held(lease);
	if (!lease_is_live(lease))
		return -ESTALE;
	// First a reader as well, then no writer any more: nobody writes between the two.
	rwlock_enter_map(object, lease->index);
	hold_write(record, record_of(rwlock, LH_HOLD_SHARED));
	error = rwlock_free(object, lease);
	return !error && !lease_is_live(lease) ? -ESTALE : error;
}

int lh_rwlock_consistent(const lh_rwlock *rwlock, lh_lease *lease)
{
	const int error = check_call(rwlock, lease);
	const struct hold_record *record;
	struct object_header *header;
	uint64_t word;

	if (error)
		return error;
	header = &object_of(rwlock)->header;
	record = find_record(rwlock, lease);
	if (!record || hold_word_mode(atomic_load_explicit(
			       &record->object, memory_order_relaxed)) != LH_HOLD_EXCLUSIVE)
		return primitive_not_held(lease);
	word = atomic_load_explicit(&header->word, memory_order_relaxed);
	// ours{DIED} → ours. Before it a crash leaves the damage told; after it, the crash is told.
	do {
		if (word_owner(word) != lease->name || !lease_is_live(lease))
			return -ESTALE;
	} while ((word & WORD_DIED) && !atomic_compare_exchange_weak_explicit(
					       &header->word, &word, word & ~WORD_DIED,
					       memory_order_acq_rel, memory_order_relaxed));
	return 0;
}
