// SPDX-License-Identifier: Apache-2.0
//
// Named locks of a provider with LH_CAP_DEADLOCK: "of each cycle one gets -EDEADLK", and nobody
// without a cycle. Runs on any provider (tests/contract/locks.h).
#include "tests/contract/locks_members.h"

// ---- cycles -----------------------------------------------------------------------------------

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

// How often the process's first thread has gone to sleep so far; 0: it does not sleep now.
static unsigned long sleeps_of_who_sleeps(void)
{
	static const char counted[] = "\nvoluntary_ctxt_switches:";
	char text[8192];
	FILE *const file = fopen("/proc/self/status", "r");

	need(file != NULL);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	need_equal(fclose(file), 0);
	const char *const state = strstr(text, "\nState:\t"), *const sleeps = strstr(text, counted);

	need(state && sleeps);
	return state[strlen("\nState:\t")] == 'S' ? strtoul(sleeps + strlen(counted), NULL, 10) : 0;
}

// Once the first thread waits and has looked for cycles some times: between two sleeps it does.
// Where it leaves that to a server, it sleeps only once.
static void *release_later(void *handle)
{
	const unsigned long looks = locks_scene.is_remote ? 0 : 4;
	unsigned long first = 0, now;

	do {
		usleep(1000);
		now = sleeps_of_who_sleeps();
		if (first == 0)
			first = now;
	} while (now == 0 || now - first < looks);
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
		LOCKS_TEST(of_two_readers_that_want_to_write_what_the_other_reads_one_is_told),
		LOCKS_TEST(who_is_told_holds_nothing_of_what_it_asked_for),
		LOCKS_TEST(of_two_ordered_acquisitions_in_opposite_orders_one_is_told),
		LOCKS_TEST(what_any_thread_may_release_is_no_cycle),
		LOCKS_TEST(what_expires_by_itself_is_no_cycle),
		LOCKS_TEST(a_childs_wait_is_not_its_parents),
		LOCKS_TEST(a_thread_that_has_ended_waits_for_nobody),
		LOCKS_TEST(a_thread_that_would_wait_for_itself_for_ever_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
