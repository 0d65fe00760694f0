// SPDX-License-Identifier: Apache-2.0
//
// Named locks of a provider with LH_CAP_DEADLOCK: "of each cycle one gets -EDEADLK", and nobody without
// a cycle. Runs on any provider (tests/contract/locks.h).
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

static void be_called_back(void *context)
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

static void *release_when_told(void *handle)
{
	while (!atomic_load(later))
		usleep(1000);
	if (handle)
		need_equal(lh_handle_release(handle), 0);
	return NULL;
}

static int start_thread(lh_handle *handle)
{
	pthread_t thread;

	need_equal(pthread_create(&thread, NULL, release_when_told, handle), 0);
	return -pthread_detach(thread);
}

static int carry_out(lh_locks *locks, enum order order, uint32_t number, lh_handle *handles[KEYS])
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

static void obey(const struct line *line, lh_locks *locks)
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

static void be_process(const struct line *line, void *context)
{
	(void)context;
	need_equal(lh_locks_open(locks_scene.url, &locks_scene.locks), 0);
	obey(line, locks_scene.locks);
}

static void *be_thread(void *context)
{
	struct member *member = context;

	line_say(&member->theirs, 0);
	obey(&member->theirs, member->locks);
	return NULL;
}

static void start(struct member *member, bool is_thread)
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
	// Until it stands still. The next member may be a fork, and what a thread has locked meanwhile
	// of what only a sanitizer's run time has, as while it starts, nobody unlocks in the child.
	need_equal(line_hear(&member->line), 0);
}

static void finish(struct member *member)
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

static void tell(struct member *member, enum order order, uint32_t number)
{
	line_say(&member->line, (int64_t)order * KEYS + (int64_t)(number % KEYS));
	member->waits = true;
}

static int hear(struct member *member)
{
	member->waits = false;
	return (int)line_hear(&member->line);
}

static int have(struct member *member, enum order order, uint32_t number)
{
	tell(member, order, number);
	return hear(member);
}

// Of those that have been told something, one that has an answer.
static int await_any(struct member members[], int count)
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
static bool nobody_answers(struct member members[], int count)
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

static bool is_refused(void)
{
	if (lh_locks_capabilities(locks_scene.locks) & LH_CAP_DEADLOCK)
		return false;
	printf("SKIP: the provider finds no deadlocks\n");
	return true;
}

// ---- cycles --------------------------------------------------------------------------------------

// Member i has key i and asks for the next one's. One is told, gives way, and all others are granted
// theirs one after the other. How many were told. The first `unsaid` do not say who will release what they hold.
static int close_cycle(struct member members[], int count, int first, int unsaid)
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

static void each_cycle_has_one_victim(int count, int threads, int unsaid)
{
	const uint64_t rounds = tier_pick(15, 40, 60); // each lasts up to the backstop
	struct member members[MOST];

	if (is_refused())
		return;
	for (int i = 0; i < count; i++)
		start(&members[i], i < threads);
	for (uint64_t round = 0; round < rounds; round++)
		assert_int_equal(close_cycle(members, count, (int)(round % (uint64_t)count), unsaid), 1);
	for (int i = 0; i < count; i++)
		finish(&members[i]);
	close_all();
}

static void of_two_processes_in_opposite_orders_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(2, 0, 0);
}

static void of_three_processes_in_a_ring_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(3, 0, 0);
}

static void of_eight_processes_in_a_ring_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(8, 0, 0);
}

static void of_two_threads_in_opposite_orders_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(2, 2, 0);
}

static void of_threads_and_processes_in_a_ring_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(5, 3, 0);
}

// "because there is no other thread in the process"
static void of_processes_of_one_thread_one_is_told_whatever_they_said(void **state)
{
	(void)state;
	each_cycle_has_one_victim(4, 0, 4);
}

static void of_some_that_said_and_some_that_did_not_one_is_told(void **state)
{
	(void)state;
	each_cycle_has_one_victim(4, 0, 2);
}

static void of_two_readers_that_want_to_write_what_the_other_reads_one_is_told(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	for (int i = 0; i < 2; i++) {
		start(&members[i], false);
		assert_int_equal(have(&members[i], ACQUIRE_SHARED, (uint32_t)i), 0);
	}
	for (int i = 0; i < 2; i++)
		tell(&members[i], ACQUIRE, (uint32_t)!i);
	const int victim = await_any(members, 2);

	assert_int_equal(hear(&members[victim]), -EDEADLK);
	assert_int_equal(have(&members[victim], RELEASE, (uint32_t)victim), 0);
	assert_int_equal(hear(&members[!victim]), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

// LH_ACQUIRE_IN_ORDER against the other order: "on any error none of them is held".
static void who_is_told_holds_nothing_of_what_it_asked_for(void **state)
{
	struct member members[3];

	(void)state;
	if (is_refused())
		return;
	for (uint64_t round = tier_pick(10, 30, 200); round; round--) {
		for (int i = 0; i < 3; i++)
			start(&members[i], false);
		assert_int_equal(have(&members[2], ACQUIRE, 1), 0); // "b" holds both up
		tell(&members[0], ACQUIRE_TWO, 0);                  // "a", then "b"
		while (attempt("a", NULL) == 0)
			sched_yield();
		assert_int_equal(have(&members[2], ACQUIRE, 2), 0); // "c"
		tell(&members[1], ACQUIRE_TWO, 2);                  // "c", then "d": waits
		tell(&members[2], ACQUIRE, 0);                      // "a": the cycle
		const int first = await_any(members, 3);

		assert_int_equal(hear(&members[first]), -EDEADLK);
		assert_in_set(first, ((uintmax_t[]){ 0, 2 }), 2);
		if (first == 0) {
			assert_int_equal(hear(&members[2]), 0); // so "a" had been let go of
			assert_int_equal(have(&members[2], RELEASE, 0), 0);
		}
		assert_int_equal(have(&members[2], RELEASE, 1), 0);
		assert_int_equal(have(&members[2], RELEASE, 2), 0);
		if (first == 2)
			assert_int_equal(hear(&members[0]), 0);
		assert_int_equal(hear(&members[1]), 0);
		if (first == 2)
			assert_int_equal(have(&members[0], RELEASE, 0), 0);
		assert_int_equal(have(&members[1], RELEASE, 2), 0);
		for (int i = 0; i < 3; i++)
			finish(&members[i]);
	}
	close_all();
}

static void of_two_ordered_acquisitions_in_opposite_orders_one_is_told(void **state)
{
	const enum order orders[2] = { ACQUIRE_TWO, ACQUIRE_TWO_BACK };
	struct member members[2];
	uint64_t told = 0;

	(void)state;
	if (is_refused())
		return;
	for (int i = 0; i < 2; i++)
		start(&members[i], false);
	while (told < tier_pick(3, 10, 100)) {
		lh_handle *handle = hold("b", NULL); // both wait for it, one of them has "a"
		int victims = 0;

		tell(&members[0], orders[0], 0);
		while (attempt("a", NULL) == 0)
			sched_yield();
		tell(&members[1], orders[1], 0);
		let_go(handle);
		while (members[0].waits || members[1].waits) {
			const int i = await_any(members, 2);
			const int result = hear(&members[i]);

			need(result == 0 || result == -EDEADLK);
			victims += result == -EDEADLK;
			if (result == 0)
				need_equal(have(&members[i], RELEASE, 0), 0);
		}
		assert_in_range(victims, 0, 1);
		told += (uint64_t)victims;
	}
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

// ---- no cycles -----------------------------------------------------------------------------------

static void *release_later(void *handle)
{
	usleep(50000); // a while in which the waiter looks for cycles
	need_equal(lh_handle_release(handle), 0);
	return NULL;
}

// without LH_ACQUIRE_THIS_THREAD "another thread may release it"
static void what_any_thread_may_release_is_no_cycle(void **state)
{
	struct member other;
	lh_handle *handle, *wanted;
	pthread_t thread;

	(void)state;
	if (is_refused())
		return;
	start(&other, false);
	// Alone: we wait for our own handle, and another thread lets go of it.
	handle = hold("a", NULL);
	assert_int_equal(pthread_create(&thread, NULL, release_later, handle), 0);
	wanted = hold("a", NULL);
	pthread_join(thread, NULL);
	let_go(wanted);
	// With another process in between.
	assert_int_equal(have(&other, ACQUIRE, 1), 0);
	handle = hold("a", NULL);
	tell(&other, ACQUIRE, 0);
	assert_int_equal(pthread_create(&thread, NULL, release_later, handle), 0);
	tell(&other, RELEASE, 1); // once it has "a"
	wanted = hold("b", NULL);
	pthread_join(thread, NULL);
	assert_int_equal(line_hear(&other.line), 0);
	assert_int_equal(line_hear(&other.line), 0);
	let_go(wanted);
	assert_int_equal(have(&other, RELEASE, 0), 0);
	finish(&other);
	close_all();
}

// Two processes, each with one key and in want of the other's; the first of them has another thread.
static void start_crossed(struct member members[2], enum order of_thread)
{
	later = locks_share(sizeof(*later));
	for (int i = 0; i < 2; i++) {
		start(&members[i], false);
		assert_int_equal(have(&members[i], ACQUIRE_UNSAID, (uint32_t)i), 0);
	}
	assert_int_equal(have(&members[0], of_thread, 0), 0);
	for (int i = 0; i < 2; i++)
		tell(&members[i], ACQUIRE_UNSAID, (uint32_t)!i);
	assert_true(nobody_answers(members, 2));
}

// "Else any thread may release it, also while that one waits."
static void what_a_second_thread_may_release_is_no_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	start_crossed(members, RELEASE_LATER);
	atomic_store(later, 1);
	assert_int_equal(hear(&members[1]), 0);
	assert_int_equal(have(&members[1], RELEASE, 1), 0);
	assert_int_equal(hear(&members[0]), 0);
	assert_int_equal(have(&members[1], RELEASE, 0), 0);
	assert_int_equal(have(&members[0], RELEASE, 1), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

static void once_the_second_thread_has_ended_it_is_a_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	start_crossed(members, END_LATER);
	atomic_store(later, 1);
	const int victim = await_any(members, 2);

	assert_int_equal(hear(&members[victim]), -EDEADLK);
	assert_int_equal(have(&members[victim], RELEASE, (uint32_t)victim), 0);
	assert_int_equal(hear(&members[!victim]), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

// "while nobody has asked for an on_loss callback"
static void what_a_callback_may_release_is_no_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	for (int i = 0; i < 2; i++) {
		start(&members[i], false);
		assert_int_equal(have(&members[i], ACQUIRE_UNSAID, (uint32_t)i), 0);
	}
	assert_int_equal(have(&members[0], ACQUIRE_CALLED_BACK, 2), 0);
	for (int i = 0; i < 2; i++)
		tell(&members[i], ACQUIRE_UNSAID, (uint32_t)!i);
	assert_true(nobody_answers(members, 2));
	peer_kill(&members[1].peer);
	assert_int_equal(hear(&members[0]), 0);
	finish(&members[0]);
	close_all();
}

// "nor is one with a TTL that nobody renews: it ends by itself"
static void what_expires_by_itself_is_no_cycle(void **state)
{
	struct member members[2];

	(void)state;
	if (is_refused())
		return;
	for (int i = 0; i < 2; i++)
		start(&members[i], false);
	assert_int_equal(have(&members[1], ACQUIRE, 1), 0);
	assert_int_equal(have(&members[0], ACQUIRE_BRIEF, 0), 0);
	tell(&members[0], ACQUIRE, 1);
	assert_int_equal(have(&members[1], ACQUIRE, 0), 0); // when it has expired
	assert_int_equal(have(&members[1], RELEASE, 1), 0);
	assert_int_equal(hear(&members[0]), 0);
	assert_int_equal(have(&members[0], RELEASE, 0), -ESTALE);
	assert_int_equal(have(&members[0], RELEASE, 1), 0);
	assert_int_equal(have(&members[1], RELEASE, 0), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

// A forked child is another thread, though it began as a copy of its parent's.
static void a_childs_wait_is_not_its_parents(void **state)
{
	struct member members[2];
	lh_handle *handle;

	(void)state;
	if (is_refused())
		return;
	handle = hold("a", &this_thread); // before the fork
	for (int i = 0; i < 2; i++)
		start(&members[i], false);
	assert_int_equal(have(&members[1], ACQUIRE, 1), 0);
	tell(&members[0], ACQUIRE, 1);
	tell(&members[1], ACQUIRE, 0);
	assert_true(nobody_answers(members, 2));
	let_go(handle);
	assert_int_equal(hear(&members[1]), 0);
	assert_int_equal(have(&members[1], RELEASE, 1), 0);
	assert_int_equal(hear(&members[0]), 0);
	assert_int_equal(have(&members[0], RELEASE, 1), 0);
	assert_int_equal(have(&members[1], RELEASE, 0), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

static lh_handle *left_behind;

static void *acquire_and_end(void *context)
{
	(void)context;
	left_behind = hold("a", &this_thread);
	return NULL;
}

// Its handle is the process's; no thread that comes after it takes its place.
static void a_thread_that_has_ended_waits_for_nobody(void **state)
{
	struct member members[2];
	pthread_t thread;

	(void)state;
	if (is_refused())
		return;
	assert_int_equal(pthread_create(&thread, NULL, acquire_and_end, NULL), 0);
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++)
		start(&members[i], i == 0);
	assert_int_equal(have(&members[1], ACQUIRE, 1), 0);
	tell(&members[0], ACQUIRE, 1); // a new thread, maybe where the old one was
	tell(&members[1], ACQUIRE, 0);
	assert_true(nobody_answers(members, 2));
	let_go(left_behind);
	assert_int_equal(hear(&members[1]), 0);
	assert_int_equal(have(&members[1], RELEASE, 1), 0);
	assert_int_equal(hear(&members[0]), 0);
	assert_int_equal(have(&members[0], RELEASE, 1), 0);
	assert_int_equal(have(&members[1], RELEASE, 0), 0);
	for (int i = 0; i < 2; i++)
		finish(&members[i]);
	close_all();
}

// ---- a thread and its own handle -----------------------------------------------------------------

static void a_thread_that_would_wait_for_itself_for_ever_is_told(void **state)
{
	struct lh_acquire_options cancelled = { .mode = LH_EXCLUSIVE };
	lh_handle *handle, *other;

	(void)state;
	if (is_refused())
		return;
	for (int i = 0; i < 3; i++) {
		handle = hold("a", i == 0 ? NULL : i == 1 ? &shared : &this_thread);
		assert_int_equal(lh_acquire(locks_scene.locks, "a", LH_FOREVER, NULL, &other),
				 -EDEADLK);
		// It ends by itself: then by what the caller said.
		assert_int_equal(attempt("a", NULL), -EBUSY);
		assert_int_equal(lh_acquire(locks_scene.locks, "a", lh_deadline_after(LH_MS(20)),
					    NULL, &other),
				 -ETIMEDOUT);
		assert_int_equal(attempt("b", NULL), 0);
		let_go(handle);
		assert_int_equal(attempt("a", NULL), 0);
	}
	assert_int_equal(lh_cancel_create(&cancelled.cancel), 0);
	lh_cancel_fire(cancelled.cancel);
	handle = hold("a", &this_thread);
	assert_int_equal(lh_acquire(locks_scene.locks, "a", LH_FOREVER, &cancelled, &other),
			 -ECANCELED);
	assert_int_equal(lh_acquire(locks_scene.locks, "a", LH_FOREVER, &shared, &other), -EDEADLK);
	let_go(handle);
	lh_cancel_destroy(cancelled.cancel);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKS_TEST(of_two_processes_in_opposite_orders_one_is_told),
		LOCKS_TEST(of_three_processes_in_a_ring_one_is_told),
		LOCKS_TEST(of_eight_processes_in_a_ring_one_is_told),
		LOCKS_TEST(of_two_threads_in_opposite_orders_one_is_told),
		LOCKS_TEST(of_threads_and_processes_in_a_ring_one_is_told),
		LOCKS_TEST(of_processes_of_one_thread_one_is_told_whatever_they_said),
		LOCKS_TEST(of_some_that_said_and_some_that_did_not_one_is_told),
		LOCKS_TEST(of_two_readers_that_want_to_write_what_the_other_reads_one_is_told),
		LOCKS_TEST(who_is_told_holds_nothing_of_what_it_asked_for),
		LOCKS_TEST(of_two_ordered_acquisitions_in_opposite_orders_one_is_told),
		LOCKS_TEST(what_any_thread_may_release_is_no_cycle),
		LOCKS_TEST(what_a_second_thread_may_release_is_no_cycle),
		LOCKS_TEST(once_the_second_thread_has_ended_it_is_a_cycle),
		LOCKS_TEST(what_a_callback_may_release_is_no_cycle),
		LOCKS_TEST(what_expires_by_itself_is_no_cycle),
		LOCKS_TEST(a_childs_wait_is_not_its_parents),
		LOCKS_TEST(a_thread_that_has_ended_waits_for_nobody),
		LOCKS_TEST(a_thread_that_would_wait_for_itself_for_ever_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
