// SPDX-License-Identifier: Apache-2.0
//
// Leases, one by one: each error that lease.h lists, and what it promises.
//
//	lh_lease_acquire  -EINVAL   options out of range, NULL      bad_options_…, null_…
//	                  -ENOLCK   max_leases                      a_full_lease_table_…
//	                  -ESTALE, -EROFS                           test_arena.c, test_placement.c
//	                  -ENOTSUP  no pidfd_send_signal            kill_on_expiry_wants_…
//	                  -EAGAIN   no thread                       without_threads_…
//	                  -EBADMSG                                  test_arena_damage.c
//	                  -ENOMEM                                   not provoked: some hundred bytes
//	lh_lease_renew    -ESTALE, -EINVAL, -EPERM                  renewing_…
//	lh_lease_valid, _remaining, _id                             what_is_asked_of_…
//	lh_lease_release  -ESTALE, -EPERM                           releasing_…
//	                  -EDEADLK                                  test_lease_loss.c
//	                  -EBADMSG                                  test_arena_damage.c
//	lh_thread_lease   as lh_lease_acquire; the same pointer     a_threads_own_lease_…
//	lh_lease_set_cancel -EPERM, -ESTALE, -EINVAL                tying_a_cancel_token_…
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define YEAR (LH_SEC(86400) * 365)

// ---- lh_lease_acquire ----------------------------------------------------------------------------

static void bad_options_are_invalid_and_take_no_slot(void **state)
{
	const struct scene *scene = *state;
	char label[33];
	struct lh_lease_options bad[24] = { { .ttl_ns = 0 } };
	lh_lease *lease = NULL;
	struct lh_lease_info info;
	uint64_t cursor = 0;
	size_t count = 0;

	memset(label, 'l', 32);
	label[32] = '\0';
	for (size_t i = 0; i < 4; i++)
		bad[count++].reserved[i] = UINT64_C(1) << (i * 20);
	for (unsigned bit = 16; bit; bit <<= 9)
		bad[count++].flags = bit;
	bad[count++].label = label;
	bad[count++].ttl_ns = UINT64_MAX;
	bad[count++].ttl_ns = 36 * YEAR;
	bad[count++].flags = LH_LEASE_AUTO_RENEW;
	bad[count++].flags = LH_LEASE_KILL_ON_EXPIRY;
	bad[count++].renew_every_ns = 1;
	bad[count++].max_renewals = 1;
	bad[count++] = (struct lh_lease_options){ .ttl_ns = 5,
						  .flags = LH_LEASE_AUTO_RENEW,
						  .renew_every_ns = 5 };
	bad[count++] = (struct lh_lease_options){ .ttl_ns = 5,
						  .flags = LH_LEASE_AUTO_RENEW,
						  .renew_every_ns = UINT64_MAX };
	for (size_t i = 0; i < count; i++)
		assert_int_equal(lh_lease_acquire(scene->arena, &bad[i], &lease), -EINVAL);
	assert_null(lease);
	assert_int_equal(lh_next_lease(scene->arena, &cursor, &info), -ENOENT);
}

static void null_arguments_are_invalid(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = NULL;
	uint64_t offset;

	assert_int_equal(lh_lease_acquire(NULL, NULL, &lease), -EINVAL);
	assert_int_equal(lh_lease_acquire(scene->arena, NULL, NULL), -EINVAL);
	assert_int_equal(lh_thread_lease(NULL, &lease), -EINVAL);
	assert_int_equal(lh_thread_lease(scene->arena, NULL), -EINVAL);
	assert_int_equal(lh_lease_renew(NULL, 1), -EINVAL);
	assert_int_equal(lh_lease_set_cancel(NULL, NULL), -EINVAL);
	assert_int_equal(lh_lease_on_loss(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(lh_lease_loss_fd(NULL), -EINVAL);
	assert_int_equal(lh_region_acquire(NULL, 64, &offset), -EINVAL);
	assert_int_equal(lh_region_release(NULL, 4096), -EINVAL);
	assert_int_equal(lh_cancel_create(NULL), -EINVAL);
	assert_null(lease);
	assert_false(lh_lease_valid(NULL));
	assert_int_equal(lh_lease_remaining(NULL), 0);
	assert_int_equal(lh_lease_id(NULL), 0);
	assert_int_equal(lh_lease_release(NULL), 0);
	lh_cancel_fire(NULL);
	lh_cancel_destroy(NULL);
}

static void the_longest_label_and_ttl_work(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = 30 * YEAR,
						  .label = "1234567890123456789012345678901" };
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	struct lh_lease_info info;

	assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	assert_string_equal(info.label, options.label);
	assert_true(lh_lease_remaining(lease) > 29 * YEAR);
	assert_int_equal(lh_lease_renew(lease, 33 * YEAR), 0);
	assert_true(lh_lease_remaining(lease) > 32 * YEAR);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_full_lease_table_is_enolck_until_one_is_released(void **state)
{
	const struct lh_arena_options options = { .max_leases = 7 };
	lh_arena *arena = scene_open(*state, &options);
	lh_lease *leases[7];
	lh_lease *more = NULL;

	for (int i = 0; i < 7; i++)
		leases[i] = scene_lease(arena);
	assert_int_equal(lh_lease_acquire(arena, NULL, &more), -ENOLCK);
	assert_int_equal(lh_thread_lease(arena, &more), -ENOLCK);
	assert_null(more);
	assert_int_equal(lh_lease_release(leases[3]), 0);
	leases[3] = scene_lease(arena);
	assert_int_equal(lh_lease_acquire(arena, NULL, &more), -ENOLCK);
	for (int i = 0; i < 7; i++)
		assert_int_equal(lh_lease_release(leases[i]), 0);
}

// G2: "what the lease held is released": its slot too.
static void the_slots_of_the_dead_are_used_again(void **state)
{
	const struct lh_arena_options options = { .max_leases = 4 };
	lh_arena *arena = scene_open(*state, &options);

	for (int round = 0; round < 3; round++) {
		struct worker *workers[4];
		lh_lease *more = NULL;

		for (int i = 0; i < 4; i++)
			workers[i] = worker_start(i % 2 ? WORKER_THREAD : WORKER_PROCESS, arena,
						  NULL);
		assert_int_equal(lh_lease_acquire(arena, NULL, &more), -ENOLCK);
		for (int i = 0; i < 4; i++)
			worker_kill(workers[i]);
	}
	assert_int_equal(lh_lease_release(scene_lease(arena)), 0);
}

static void all_8192_leases_and_their_numbers_differ(void **state)
{
	const struct lh_arena_options options = { .max_leases = 8192, .max_holds = 1 };
	lh_arena *arena = scene_open(*state, &options);
	lh_lease **leases = calloc(8192, sizeof(lh_lease *));
	lh_lease *more = NULL;
	uint64_t sum = 0, again = 0;

	assert_non_null(leases);
	for (int i = 0; i < 8192; i++) {
		leases[i] = scene_lease(arena);
		assert_true(lh_lease_id(leases[i]) >= 1);
		sum ^= lh_lease_id(leases[i]);
	}
	assert_int_equal(lh_lease_acquire(arena, NULL, &more), -ENOLCK);
	for (int i = 0; i < 8192; i++) {
		again ^= lh_lease_id(leases[i]);
		assert_int_equal(lh_lease_release(leases[i]), 0);
	}
	assert_int_equal(sum, again);
	free(leases);
}

// "The lease's number … which no other lease of this arena ever has"
static void a_number_is_never_used_again(void **state)
{
	const struct lh_arena_options options = { .max_leases = 2 };
	lh_arena *arena = scene_open(*state, &options);
	uint64_t numbers[64];

	for (int i = 0; i < 64; i++) {
		lh_lease *lease = scene_lease(arena);

		numbers[i] = lh_lease_id(lease);
		assert_true(numbers[i] >= 1);
		assert_int_equal(lh_lease_release(lease), 0);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(numbers[i], numbers[j]);
	}
}

static int forbid(long number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { 4, filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int acquire_without_pidfd(void *context)
{
	const struct lh_lease_options kill_options = { .ttl_ns = LH_SEC(100),
						       .flags = LH_LEASE_KILL_ON_EXPIRY };
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(100) };
	const struct scene *scene = context;
	lh_lease *lease = NULL;

	need(forbid(SYS_pidfd_send_signal) == 0);
	need(lh_lease_acquire(scene->arena, &kill_options, &lease) == -ENOTSUP);
	need(!lease);
	need(lh_lease_acquire(scene->arena, &options, &lease) == 0);
	need(lh_lease_release(lease) == 0);
	return 0;
}

static void kill_on_expiry_wants_pidfd_send_signal(void **state)
{
	assert_exited(scene_child(acquire_without_pidfd, *state), 0);
}

static void nothing(void *context)
{
	(void)context;
}

static int acquire_without_threads(void *context)
{
	const struct lh_lease_options renewed = { .ttl_ns = LH_SEC(100),
						  .flags = LH_LEASE_AUTO_RENEW };
	const struct lh_lease_options process = { .flags = LH_LEASE_PROCESS };
	const struct rlimit none = { 0, 0 };
	const struct scene *scene = context;
	lh_lease *lease = NULL;

	need(setrlimit(RLIMIT_NPROC, &none) == 0);
	need(setgid(54321) == 0 && setuid(54321) == 0);
	need(lh_lease_acquire(scene->arena, &renewed, &lease) == -EAGAIN);
	need(lh_lease_acquire(scene->arena, &process, &lease) == -EAGAIN);
	need(!lease);
	need(lh_lease_acquire(scene->arena, NULL, &lease) == 0);
	need(lh_lease_on_loss(lease, nothing, NULL) == -EAGAIN);
	need(lh_lease_loss_fd(lease) == -EAGAIN);
	need(lh_lease_valid(lease));
	need(lh_lease_release(lease) == 0);
	return 0;
}

static void without_threads_what_needs_the_librarys_thread_is_eagain(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_exited(scene_child(acquire_without_threads, *state), 0);
}

// ---- renewing, asking, releasing -----------------------------------------------------------------

static void what_is_asked_of_a_lease_without_ttl(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);

	assert_true(lh_lease_valid(lease));
	assert_true(lh_lease_remaining(lease) == UINT64_MAX);
	is_invalid(lh_lease_renew(lease, LH_SEC(1)));
	assert_non_null(strstr(lh_error_detail(), "TTL"));
	is_invalid(lh_lease_renew(NULL, LH_SEC(1)));
	assert_non_null(strstr(lh_error_detail(), "NULL"));
	assert_true(lh_lease_remaining(lease) == UINT64_MAX);
	assert_int_equal(lh_lease_release(lease), 0);
}

// G3: "not one nanosecond earlier"
static void an_expiry_is_not_one_nanosecond_early(void **state)
{
	const struct scene *scene = *state;

	for (uint64_t ttl = 1; ttl < LH_MS(6); ttl = ttl * 7 + 12345) {
		const struct lh_lease_options options = { .ttl_ns = ttl };
		const uint64_t begin = lh_now();
		lh_lease *lease = scene_lease_with(scene->arena, &options);

		while (lh_lease_valid(lease))
			;
		assert_true(lh_now() >= begin + ttl);
		assert_int_equal(lh_lease_remaining(lease), 0);
		assert_int_equal(lh_lease_release(lease), -ESTALE);
	}
}

static void renewing_counts_from_now_be_it_later_or_earlier(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);

	assert_true(lh_lease_remaining(lease) <= LH_SEC(1000) + LH_MS(1));
	assert_int_equal(lh_lease_renew(lease, LH_SEC(5000)), 0);
	assert_true(lh_lease_remaining(lease) > LH_SEC(1001));
	assert_int_equal(lh_lease_renew(lease, LH_SEC(500)), 0);
	assert_true(lh_lease_remaining(lease) <= LH_SEC(500) + LH_MS(1));
	assert_int_equal(lh_lease_renew(lease, 0), -EINVAL);
	assert_int_equal(lh_lease_renew(lease, UINT64_MAX), -EINVAL);
	assert_int_equal(lh_lease_renew(lease, 36 * YEAR), -EINVAL);
	assert_true(lh_lease_remaining(lease) > LH_SEC(1));
	assert_int_equal(lh_lease_release(lease), 0);
}

// G4: "loss latches and is never undone by a later renewal"
static void renewing_never_revives(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_MS(1) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	const uint64_t number = lh_lease_id(lease);

	while (lh_lease_renew(lease, LH_MS(1)) == 0) // until the test was interrupted for so long
		while (lh_now() % LH_MS(3) > 1000)
			;
	assert_int_equal(lh_lease_renew(lease, LH_SEC(100)), -ESTALE);
	assert_false(lh_lease_valid(lease));
	assert_int_equal(lh_lease_remaining(lease), 0);
	assert_int_equal(lh_lease_id(lease), number);
	assert_int_equal(lh_lease_set_cancel(lease, NULL), -ESTALE);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static int misuse(void *context)
{
	lh_lease *lease = context;
	uint64_t offset;

	need(lh_lease_renew(lease, LH_SEC(5)) == -EPERM);
	need(lh_lease_set_cancel(lease, NULL) == -EPERM);
	need(lh_lease_on_loss(lease, nothing, NULL) == -EPERM);
	need(lh_lease_loss_fd(lease) == -EPERM);
	need(lh_region_acquire(lease, 64, &offset) == -EPERM);
	need(lh_region_release(lease, 4096) == -EPERM);
	need(lh_lease_valid(lease));
	need(lh_lease_remaining(lease) > 0);
	need(lh_lease_id(lease) > 0);
	return lh_lease_release(lease);
}

// "A thread lease is used and released only by the thread that acquired it (another gets -EPERM)."
static void another_threads_lease_can_be_asked_not_used_nor_released(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);

	assert_int_equal(scene_thread(misuse, lease), -EPERM);
	assert_true(lh_lease_valid(lease));
	assert_int_equal(lh_lease_release(lease), 0);
}

static int use(void *context)
{
	lh_lease *lease = context;
	uint64_t offset;

	need(lh_lease_renew(lease, LH_SEC(5)) == 0);
	need(lh_lease_set_cancel(lease, NULL) == 0);
	need(lh_lease_on_loss(lease, nothing, NULL) == 0);
	need(lh_lease_loss_fd(lease) >= 0);
	need(lh_region_acquire(lease, 64, &offset) == 0);
	need(lh_region_release(lease, offset) == 0);
	return lh_lease_release(lease);
}

static void a_process_lease_is_used_and_released_by_any_thread(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000),
						  .flags = LH_LEASE_PROCESS };

	assert_int_equal(scene_thread(use, scene_lease_with(scene->arena, &options)), 0);
}

// "All it holds is unlocked as by its own calls, so nobody sees LH_GRANT_OWNER_DIED for it."
static void releasing_gives_back_all_that_is_held(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);
	struct lh_placement_info place;
	lh_mutex mutexes[20];
	uint64_t offset, cursor = 0;

	for (int i = 0; i < 20; i++) {
		mutexes[i] = scene_mutex(scene->arena);
		scene_lock(&mutexes[i], lease);
		assert_int_equal(lh_region_acquire(lease, 100, &offset), 0);
	}
	assert_int_equal(lh_lease_release(lease), 0);
	for (int i = 0; i < 20; i++) {
		const lh_grant grant = scene_lock(&mutexes[i], other);

		assert_int_equal(grant.flags, 0);
		assert_int_equal(grant.token, 2);
		assert_int_equal(grant.previous, 0);
	}
	while (lh_next_placement(scene->arena, &cursor, &place) == 0)
		assert_int_equal(place.kind, LH_KIND_MUTEX);
	assert_int_equal(lh_lease_release(other), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_OWNER_DIED, 0), 0);
}

// "damage that was there before stays told"
static void releasing_keeps_damage_that_was_told_before(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);
	lh_lease *other = scene_lease(scene->arena);

	assert_int_equal(worker_do(worker, worker_lock, lh_mutex_offset(&mutex)), 0);
	worker_kill(worker);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_lock(&mutex, other).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(other), 0);
}

static void tying_a_cancel_token_replaces_the_one_before(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);
	lh_cancel *fired = NULL, *quiet = NULL;

	assert_int_equal(lh_cancel_create(&fired), 0);
	assert_int_equal(lh_cancel_create(&quiet), 0);
	lh_cancel_fire(fired);
	assert_int_equal(lh_lease_set_cancel(lease, fired), 0);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_FOREVER, NULL), -ECANCELED);
	assert_int_equal(lh_lease_set_cancel(lease, quiet), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_lease_set_cancel(lease, fired), 0);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -ECANCELED);
	assert_int_equal(lh_lease_set_cancel(lease, NULL), 0);
	scene_lock(&mutex, lease);
	assert_int_equal(lh_lease_release(lease), 0);
	lh_cancel_destroy(fired);
	lh_cancel_destroy(quiet);
}

// ---- lh_thread_lease -----------------------------------------------------------------------------

static void a_threads_own_lease_is_the_same_at_each_call(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = NULL, *again = NULL;
	uint64_t number;

	assert_int_equal(lh_thread_lease(scene->arena, &lease), 0);
	assert_int_equal(lh_thread_lease(scene->arena, &again), 0);
	assert_ptr_equal(lease, again);
	assert_true(lh_lease_remaining(lease) == UINT64_MAX);
	number = lh_lease_id(lease);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(lh_thread_lease(scene->arena, &again), 0);
	assert_int_not_equal(lh_lease_id(again), number);
	assert_int_equal(lh_lease_release(again), 0);
}

static int own_number(void *context)
{
	lh_lease *lease = NULL;

	need(lh_thread_lease(((struct scene *)context)->arena, &lease) == 0);
	return (int)lh_lease_id(lease);
}

static void each_threads_own_lease_is_another_and_ends_with_it(void **state)
{
	const struct scene *scene = *state;
	lh_lease *lease = NULL;
	struct lh_lease_info info;
	uint64_t cursor = 0;
	int count = 0;

	assert_int_equal(lh_thread_lease(scene->arena, &lease), 0);
	assert_int_not_equal(scene_thread(own_number, *state), (int)lh_lease_id(lease));
	lh_lease *more = scene_lease(scene->arena);

	while (lh_next_lease(scene->arena, &cursor, &info) == 0)
		count += info.state == LH_LEASE_LIVE;
	assert_int_equal(count, 2);
	assert_int_equal(lh_lease_release(more), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int lock_and_exit(void *context)
{
	const lh_mutex *mutex = context;
	lh_lease *lease = NULL;
	lh_grant grant;

	need(lh_thread_lease((lh_arena *)(uintptr_t)mutex->private_[0], &lease) == 0);
	return lh_mutex_lock(mutex, lease, LH_FOREVER, &grant);
}

// "exclusive holdings left at thread exit count as died"
static void what_a_thread_leaves_held_counts_as_held_by_the_dead(void **state)
{
	const struct scene *scene = *state;
	lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(scene_thread(lock_and_exit, &mutex), 0);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(bad_options_are_invalid_and_take_no_slot),
		SCENE_TEST(null_arguments_are_invalid),
		SCENE_TEST(the_longest_label_and_ttl_work),
		SCENE_TEST_CLOSED(a_full_lease_table_is_enolck_until_one_is_released),
		SCENE_TEST_CLOSED(the_slots_of_the_dead_are_used_again),
		SCENE_TEST_CLOSED(all_8192_leases_and_their_numbers_differ),
		SCENE_TEST_CLOSED(a_number_is_never_used_again),
		SCENE_TEST(kill_on_expiry_wants_pidfd_send_signal),
		SCENE_TEST(without_threads_what_needs_the_librarys_thread_is_eagain),
		SCENE_TEST(what_is_asked_of_a_lease_without_ttl),
		SCENE_TEST(an_expiry_is_not_one_nanosecond_early),
		SCENE_TEST(renewing_counts_from_now_be_it_later_or_earlier),
		SCENE_TEST(renewing_never_revives),
		SCENE_TEST(another_threads_lease_can_be_asked_not_used_nor_released),
		SCENE_TEST(a_process_lease_is_used_and_released_by_any_thread),
		SCENE_TEST(releasing_gives_back_all_that_is_held),
		SCENE_TEST(releasing_keeps_damage_that_was_told_before),
		SCENE_TEST(tying_a_cancel_token_replaces_the_one_before),
		SCENE_TEST(a_threads_own_lease_is_the_same_at_each_call),
		SCENE_TEST(each_threads_own_lease_is_another_and_ends_with_it),
		SCENE_TEST(what_a_thread_leaves_held_counts_as_held_by_the_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
