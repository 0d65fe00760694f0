// SPDX-License-Identifier: Apache-2.0
//
// The watch: one sends, any number of receivers see the newest value and sleep until it changes.
// The words and the slots are in slots.h.
#include "arena/cancel.h"
#include "arena/error.h"
#include "arena/owner.h"
#include "arena/sys/futex.h"
#include "arena/wait.h"
#include "src/kinds.h"
#include "src/slots.h"

#include <leasehold/watch.h>

#include <errno.h>

#define MAX_ROUNDS                                                                                 \
	10000 // of a call that finds the word changed each time though its lease is not lost

// ---------------------------------------------------------------------------------------------
// The handles. A receiver begins like a handle; then:

enum { SEEN = 4, CANCEL = 5 };

static struct slots_options options_of(const struct lh_watch_options *options)
{
	static const struct lh_watch_options defaults;
	const struct lh_watch_options *chosen = options ? options : &defaults;

	return (struct slots_options){ .kind = LH_KIND_WATCH,
				       .slots = chosen->slots,
				       .size = chosen->max_size,
				       .name = chosen->name,
				       .reserved = chosen->reserved };
}

size_t lh_watch_footprint(const struct lh_watch_options *options)
{
	const struct slots_options wanted = options_of(options);

	return (size_t)slots_footprint(&wanted);
}

int lh_watch_at(lh_arena *arena, uint64_t offset, const struct lh_watch_options *options,
		lh_watch *ret_watch)
{
	const struct slots_options wanted = options_of(options);

	return slots_at(arena, offset, &wanted, ret_watch ? ret_watch->private_ : NULL);
}

uint64_t lh_watch_offset(const lh_watch *watch)
{
	return watch ? primitive_offset(watch->private_) : 0;
}

// ---------------------------------------------------------------------------------------------
// Sending

// 0, or why the call cannot go on; latches an expiry that has passed.
static int check_call(const lh_watch *watch, const struct lh_lease *lease)
{
	const int error = watch ? primitive_check_call(watch->private_, LH_KIND_WATCH, lease)
				: error_text(-EINVAL, "the handle is NULL");

	return error ? error : lease_check(lease);
}

// One try to become the sender. -EAGAIN: the word has changed, look again.
static int try_claim(const struct slots *slots, struct lh_lease *lease, uint64_t word,
		     struct primitive_stuck *stuck)
{
	uint64_t taken, until = UINT64_MAX;
	int error;

	if (slots_word_owner(word)) {
		error = slots_judge(slots, word, false, stuck, &until);
		return error ? error : -EBUSY;
	}
	error = slots_take(slots, lease, word, &taken);
	if (!error)
		slots_wake(slots); // receivers arm on the new sender's life
	return error;
}

// Makes the lease the sender. 0: it is; *ret_word says so.
static int claim(const struct slots *slots, struct lh_lease *lease, struct primitive_stuck *stuck,
		 uint64_t *ret_word)
{
	int error;

	for (int i = 0; i < MAX_ROUNDS; i++) {
		*ret_word = atomic_load_explicit(&slots->header->word, memory_order_acquire);
		if (slots_word_owner(*ret_word) == lease->name)
			return 0;
		error = try_claim(slots, lease, *ret_word, stuck);
		if (error == -EBUSY && lease_check(lease))
			return -ESTALE; // the other may have succeeded this one
		if (error && error != -EAGAIN)
			return error;
	}
	return -EBADMSG;
}

int lh_watch_claim(const lh_watch *watch, lh_lease *lease)
{
	struct slots slots;
	uint64_t word;
	struct primitive_stuck stuck = { 0 };
	int error = check_call(watch, lease);

	if (error)
		return error;
	slots = slots_of(watch->private_);
	return claim(&slots, lease, &stuck, &word);
}

// -EAGAIN: the word was not the lease's any more; nothing was published.
static int publish(const struct slots *slots, struct lh_lease *lease, uint64_t word,
		   const void *value, size_t size)
{
	uint64_t next;
	uint32_t slot;
	int error;

	if (slots_word_slot(word) >= slots->count)
		return -EBADMSG;
	if (slots_word_token(word) == SLOTS_TOKEN_MAX)
		return -EOVERFLOW;
	error = slots_tag(slots, lease, word, &slot);
	if (error)
		return error;
	next = slots_word_with_slot(word + SLOTS_TOKEN_ONE, slot);
	slots_write(slots, word, slot, slots_word_token(next), value, size);
	// It may have been stopped for long in the middle: an expiry that has passed is latched.
	error = lease_check(lease);
	if (error)
		return error;
	// {me, t, old slot} → {me, t + 1, new slot}. Release: who sees the word sees the value. A
	// crash before: nothing was sent; after: it was, and receivers are armed on our life.
	if (!atomic_compare_exchange_strong(&slots->header->word, &word, next))
		return -EAGAIN;
	slots_wake(slots);
	return 0;
}

static int claim_and_publish(const struct slots *slots, struct lh_lease *lease, const void *value,
			     size_t size)
{
	struct primitive_stuck stuck = { 0 };
	uint64_t word;
	int error;

	for (int i = 0; i < MAX_ROUNDS; i++) {
		error = claim(slots, lease, &stuck, &word);
		if (!error)
			error = publish(slots, lease, word, value, size);
		if (error != -EAGAIN)
			return error;
		error = lease_check(lease); // a word that is not ours any more: lost
		if (error)
			return error;
	}
	return -EBADMSG;
}

int lh_watch_send(const lh_watch *watch, lh_lease *lease, const void *value, size_t size)
{
	struct slots slots;
	bool was_sender;
	int error = check_call(watch, lease);

	if (error)
		return error;
	slots = slots_of(watch->private_);
	if (size > slots.max_size)
		return error_detail(-EMSGSIZE, "%zu bytes, the watch takes %llu", size,
				    (unsigned long long)slots.max_size);
	if (size && !value)
		return error_text(-EINVAL, "value is NULL, and size is not 0");
	was_sender = slots_word_owner(atomic_load_explicit(&slots.header->word,
							   memory_order_relaxed)) == lease->name;
	error = claim_and_publish(&slots, lease, value, size);
	// What failed leaves the lease with what it held before.
	if (error && error != -ESTALE && !was_sender)
		slots_let_go(&slots, lease, hold_find(lease, LH_KIND_WATCH, slots.granule));
	return error;
}

int lh_watch_close(const lh_watch *watch, lh_lease *lease)
{
	struct slots slots;
	const int error = check_call(watch, lease);

	if (error)
		return error;
	slots = slots_of(watch->private_);
	return slots_let_go(&slots, lease, hold_find(lease, LH_KIND_WATCH, slots.granule));
}

// ---------------------------------------------------------------------------------------------
// Receiving

int lh_watch_subscribe(const lh_watch *watch, lh_watch_receiver *ret_receiver)
{
	lh_watch_receiver receiver = { { 0 } };
	struct slots slots;
	int error;

	if (!watch || !ret_receiver)
		return error_text(-EINVAL, "watch or ret_receiver is NULL");
	error = slots_check(watch->private_, LH_KIND_WATCH);
	if (error)
		return error;
	slots = slots_of(watch->private_);
	error = slots_version(&slots, &receiver.private_[SEEN]);
	if (error)
		return error;
	for (size_t i = 0; i < 4; i++)
		receiver.private_[i] = watch->private_[i];
	*ret_receiver = receiver;
	return 0;
}

static int check_receiver(const lh_watch_receiver *receiver)
{
	return receiver ? slots_check(receiver->private_, LH_KIND_WATCH)
			: error_text(-EINVAL, "the handle is NULL");
}

int lh_watch_set_cancel(lh_watch_receiver *receiver, lh_cancel *cancel)
{
	const int error = check_receiver(receiver);

	if (!error)
		receiver->private_[CANCEL] = (uintptr_t)cancel;
	return error;
}

static inline int seen(lh_watch_receiver *receiver, const struct slots_look *look, size_t *ret_size,
		       uint64_t *ret_version)
{
	receiver->private_[SEEN] = look->version;
	if (ret_size)
		*ret_size = look->size;
	if (ret_version)
		*ret_version = look->version;
	return 0;
}

static __attribute__((cold)) int note_unread(int error)
{
	if (error == -EMSGSIZE)
		return error_text(error, "the newest value is larger than capacity");
	error_note_nothing();
	return error;
}

// Apart, so that the usual way needs no memory of its own.
static __attribute__((noinline)) int read_again(lh_watch_receiver *receiver, void *buffer,
						size_t capacity, size_t *ret_size,
						uint64_t *ret_version)
{
	const struct slots slots = slots_of(receiver->private_);
	struct slots_look look;
	const int error = slots_read(&slots, false, buffer, capacity, &look);

	return error ? note_unread(error) : seen(receiver, &look, ret_size, ret_version);
}

int lh_watch_read(lh_watch_receiver *receiver, void *buffer, size_t capacity, size_t *ret_size,
		  uint64_t *ret_version)
{
	struct slots_look look;
	struct slots slots;
	int error = check_receiver(receiver);

	if (error)
		return error;
	if (capacity && !buffer)
		return error_text(-EINVAL, "buffer is NULL, and capacity is not 0");
	slots = slots_of(receiver->private_);
	error = slots_try_read(&slots, false, buffer, capacity, &look);
	if (error == -EAGAIN)
		return read_again(receiver, buffer, capacity, ret_size, ret_version);
	if (error)
		return note_unread(error);
	return seen(receiver, &look, ret_size, ret_version);
}

// Whether a sender that the word names will send no more. Nothing is taken from it, so nobody is
// killed for it; where the arena may be written to, what is lost is cleared up.
static int judge_sender(const struct slots *slots, uint64_t word, bool *ret_lost)
{
	struct lh_arena *arena = slots->arena;
	const uint32_t slot = slots_word_owner(word) - 1;
	uint32_t state;

	if (slot >= arena->lease_count)
		return -EBADMSG;
	state = lease_state_seen(arena, slot, clock_now());
	*ret_lost = lease_seen_lost(state);
	if (*ret_lost && !arena->read_only) {
		owner_wake_if_ended(arena, atomic_load_explicit(&arena->leases[slot].owner,
								memory_order_acquire));
		reap_slot(arena, slot);
	}
	// What was judged was the sender's lease if the word names it still.
	if (state == 0 || state == LH_LEASE_STARTING || atomic_load(&slots->header->word) != word)
		return -EAGAIN;
	return 0;
}

// One look. 0: an unseen value; -EPIPE; -EAGAIN: look again; -EINPROGRESS: sleep, while the word is
// *ret_word.
static int look(const struct slots *slots, uint64_t seen, uint64_t *ret_word)
{
	const uint64_t word = atomic_load_explicit(&slots->header->word, memory_order_acquire);
	uint64_t version;
	bool lost;
	int error = slots_version(slots, &version);

	if (error)
		return error;
	if (version != seen)
		return 0;
	*ret_word = word;
	if (!slots_word_owner(word)) // never claimed: token 0
		return slots_word_token(word) ? -EPIPE : -EINPROGRESS;
	error = judge_sender(slots, word, &lost);
	if (error)
		return error;
	return lost ? -EPIPE : -EINPROGRESS;
}

// Sleeps until the word is another or its sender is lost. 0: look again.
static int sleep_on(const struct slots *slots, struct wait *wait, uint64_t word)
{
	const uint32_t owner = slots_word_owner(word);
	wait_round(wait);
	wait_on(wait, futex_low_half(&slots->header->word), (uint32_t)word);
	return owner && !wait_on_lease(wait, owner - 1) ? 0 : wait_sleep(wait);
}

int lh_watch_changed(lh_watch_receiver *receiver, lh_deadline deadline)
{
	struct lh_cancel *cancel;
	struct slots slots;
	struct wait wait;
	bool waits = false;
	uint64_t word = 0;
	int error = check_receiver(receiver), unchanged = 0;

	if (error)
		return error;
	cancel = (struct lh_cancel *)(uintptr_t)receiver->private_[CANCEL];
	if (cancel && atomic_load_explicit(&cancel->fired, memory_order_acquire)) {
		error_note_nothing();
		return -ECANCELED;
	}
	slots = slots_of(receiver->private_);
	for (;;) {
		error = look(&slots, receiver->private_[SEEN], &word);
		if (!error)
			return 0;
		error_note_nothing();
		if (error == -EAGAIN && ++unchanged < MAX_ROUNDS)
			continue;
		if (error == -EAGAIN)
			return -EBADMSG;
		if (error != -EINPROGRESS)
			return error;
		if (deadline.ns == 0)
			return -EBUSY;
		if (!waits) {
			wait_begin(&wait, slots.arena, NULL, deadline);
			wait.cancel = cancel;
			waits = true;
			if (wait_patiently(NULL, futex_low_half(&slots.header->word),
					   (uint32_t)word, false))
				continue;
		}
		unchanged = 0;
		error = sleep_on(&slots, &wait, word);
		if (error)
			return error;
	}
}

const struct kind_ops watch_ops = {
	.reap = slots_reap,
	.release = slots_release,
	.owner = slots_owner,
	.view = slots_view,
	.look = slots_show,
	.busy = slots_busy,
};
