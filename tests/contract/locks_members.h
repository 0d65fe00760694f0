// SPDX-License-Identifier: Apache-2.0
//
// locks_members.h: threads and processes that acquire named locks as they are told, for tests of
// who waits for whom; and cycles of them.
#ifndef TESTS_CONTRACT_LOCKS_MEMBERS_H
#define TESTS_CONTRACT_LOCKS_MEMBERS_H

#include "tests/contract/locks.h"

#include <pthread.h>

#include "tests/support/tier.h"

enum { MOST = 8, KEYS = 8 };

static const struct lh_acquire_options shared = { .mode = LH_SHARED,
						  .flags = LH_ACQUIRE_THIS_THREAD };
static const struct lh_acquire_options this_thread = { .flags = LH_ACQUIRE_THIS_THREAD };
static const struct lh_acquire_options in_order = { .flags = LH_ACQUIRE_IN_ORDER };
static const struct lh_acquire_options brief = { .ttl_ns = LH_MS(60),
						 .flags = LH_ACQUIRE_THIS_THREAD };

static inline void be_called_back(void *context)
{
	(void)context;
}

static const struct lh_acquire_options called_back = { .on_loss = be_called_back };

// ---- members: threads and processes that do what they are told -----------------------------------

enum order {
	ACQUIRE,
	ACQUIRE_UNSAID,      // and does not say who will release it
	ACQUIRE_CALLED_BACK, // nor that, and wants to be called back if it is lost
	ACQUIRE_BRIEF,
	ACQUIRE_SHARED,
	ACQUIRE_TWO,      // and the next one, in this order
	ACQUIRE_TWO_BACK, // in the other
	RELEASE,
	RELEASE_LATER, // by another thread, once `later` says so
	END_LATER,     // a thread that ends then and does nothing else
	END
};

static _Atomic int *later; // shared by all

struct member {
	struct peer peer; // of a process
	struct line line; // ours
	struct line theirs;
	pthread_t thread;
	bool is_thread, waits;
	lh_locks *locks;
};

static const struct lh_acquire_options *options_of(enum order order)
{
	switch (order) {
	case ACQUIRE_UNSAID:
		return NULL;
	case ACQUIRE_CALLED_BACK:
		return &called_back;
	case ACQUIRE_BRIEF:
		return &brief;
	case ACQUIRE_SHARED:
		return &shared;
	default:
		return &this_thread;
	}
}

static const char *name_of(uint32_t number)
{
	static const char *const names[KEYS] = { "a", "b", "c", "d", "e", "f", "g", "h" };

	return names[number % KEYS];
}

static inline void *release_when_told(void *handle)
{
	while (!atomic_load(later))
		usleep(1000);
	if (handle)
		need_equal(lh_handle_release(handle), 0);
	return NULL;
}

static inline int start_thread(lh_handle *handle)
{
	pthread_t thread;

	need_equal(pthread_create(&thread, NULL, release_when_told, handle), 0);
	return -pthread_detach(thread);
}

static inline int carry_out(lh_locks *locks, enum order order, uint32_t number,
			    lh_handle *handles[KEYS])
{
	const bool back = order == ACQUIRE_TWO_BACK;
	const char *const two[2] = { name_of(number + back), name_of(number + !back) };
	int result;

	switch (order) {
	case RELEASE:
		result = lh_handle_release(handles[number]);
		handles[number] = NULL;
		return result;
	case RELEASE_LATER:
	case END_LATER:
		return start_thread(order == RELEASE_LATER ? handles[number] : NULL);
	case ACQUIRE_TWO:
	case ACQUIRE_TWO_BACK:
		return lh_acquire_all(locks, two, 2, LH_FOREVER, &in_order, &handles[number]);
	default:
		return lh_acquire(locks, name_of(number), LH_FOREVER, options_of(order),
				  &handles[number]);
	}
}

static inline void obey(const struct line *line, lh_locks *locks)
{
	lh_handle *handles[KEYS] = { NULL };

	for (;;) {
		const int64_t told = line_hear(line);

		if (told / KEYS == END)
			break;
		line_say(line, carry_out(locks, (enum order)(told / KEYS), (uint32_t)(told % KEYS),
					 handles));
	}
}

static inline void be_process(const struct line *line, void *context)
{
	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	obey(line, locks_scene.locks);
}

static inline void *be_thread(void *context)
{
	struct member *member = context;

	line_say(&member->theirs, 0);
	obey(&member->theirs, member->locks);
	return NULL;
}

static inline void start(struct member *member, bool is_thread)
{
	int there[2], back[2];

	*member = (struct member){ .is_thread = is_thread, .locks = locks_scene.locks };
	if (!is_thread) {
		member->peer = peer_start(be_process, NULL);
		member->line = member->peer.line;
		return;
	}
	need_equal(pipe(there), 0);
	need_equal(pipe(back), 0);
	member->line = (struct line){ .out = there[1], .in = back[0] };
	member->theirs = (struct line){ .out = back[1], .in = there[0] };
	need_equal(pthread_create(&member->thread, NULL, be_thread, member), 0);
	// Until it stands still. The next member may be a fork, and what a thread has locked
	// meanwhile of what only a sanitizer's run time has, as while it starts, nobody unlocks in
	// the child.
	need_equal(line_hear(&member->line), 0);
}

static inline void finish(struct member *member)
{
	line_say(&member->line, (int64_t)END * KEYS);
	if (!member->is_thread) {
		peer_join(&member->peer);
		return;
	}
	pthread_join(member->thread, NULL);
	close(member->line.in);
	close(member->line.out);
	close(member->theirs.in);
	close(member->theirs.out);
}

static inline void tell(struct member *member, enum order order, uint32_t number)
{
	line_say(&member->line, (int64_t)order * KEYS + (int64_t)(number % KEYS));
	member->waits = true;
}

static inline int hear(struct member *member)
{
	member->waits = false;
	return (int)line_hear(&member->line);
}

static inline int have(struct member *member, enum order order, uint32_t number)
{
	tell(member, order, number);
	return hear(member);
}

// Of those that have been told something, one that has an answer.
static inline int await_any(struct member members[], int count)
{
	struct pollfd looks[MOST];

	for (int i = 0; i < count; i++)
		looks[i] = (struct pollfd){ .fd = members[i].waits ? members[i].line.in : -1,
					    .events = POLLIN };
	need(poll(looks, (nfds_t)count, -1) >= 1);
	for (int i = 0; i < count; i++) {
		if (looks[i].revents)
			return i;
	}
	need(false);
	return -1;
}

// Time enough for who would be told of a cycle to be told of it, several times over.
static inline bool nobody_answers(struct member members[], int count)
{
	const uint64_t until = lh_now() + LH_MS(80);

	while (lh_now() < until) {
		for (int i = 0; i < count; i++) {
			if (members[i].waits && line_can_hear(&members[i].line))
				return false;
		}
		usleep(1000);
	}
	return true;
}

static inline bool is_refused(void)
{
	if (lh_locks_capabilities(locks_scene.locks) & LH_CAP_DEADLOCK)
		return false;
	printf("SKIP: the provider finds no deadlocks\n");
	return true;
}

// ---- cycles --------------------------------------------------------------------------------------

// Member i has key i and asks for the next one's. One is told, gives way, and all others are
// granted theirs one after the other. How many were told. The first `unsaid` do not say who will
// release what they hold.
static inline int close_cycle(struct member members[], int count, int first, int unsaid)
{
	int victims = 0;

	for (int i = 0; i < count; i++)
		need_equal(have(&members[i], i < unsaid ? ACQUIRE_UNSAID : ACQUIRE, (uint32_t)i),
			   0);
	for (int i = 0; i < count; i++) {
		const int turn = (i + first) % count, next = (turn + 1) % count;

		tell(&members[turn], turn < unsaid ? ACQUIRE_UNSAID : ACQUIRE, (uint32_t)next);
	}
	for (int left = count; left; left--) {
		const int i = await_any(members, count);
		const int next = (i + 1) % count, result = hear(&members[i]);

		need(result == 0 || result == -EDEADLK);
		need(result == -EDEADLK || victims > 0);
		victims += result == -EDEADLK;
		if (result == 0)
			need_equal(have(&members[i], RELEASE, (uint32_t)next), 0);
		need_equal(have(&members[i], RELEASE, (uint32_t)i), 0);
	}
	return victims;
}

static inline void each_cycle_has_one_victim(int count, int threads, int unsaid)
{
	const uint64_t rounds = tier_pick(15, 40, 60); // each lasts up to the backstop
	struct member members[MOST];

	if (is_refused())
		return;
	for (int i = 0; i < count; i++)
		start(&members[i], i < threads);
	for (uint64_t round = 0; round < rounds; round++)
		assert_int_equal(
			close_cycle(members, count, (int)(round % (uint64_t)count), unsaid), 1);
	for (int i = 0; i < count; i++)
		finish(&members[i]);
	close_all();
}

#endif
