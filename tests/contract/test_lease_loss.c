// SPDX-License-Identifier: Apache-2.0
//
// How a lease is lost, who is told, and what keeps it: G2, G3, G4, and the errors of
//
//	lh_lease_on_loss  -EPERM, -EINVAL, -EAGAIN   test_lease.c
//	                  -ESTALE                    test_fork.c
//	lh_lease_loss_fd  -EPERM, -EINVAL, -EAGAIN   test_lease.c
//	                  -EMFILE                    without_descriptors_…
//	                  -ESTALE                    test_fork.c
//	                  -ENFILE, -ENOMEM           not provoked: the host's, some bytes
//	lh_lease_release  -EDEADLK                   a_callback_cannot_release_its_lease
#include "tests/support/scene.h"
#include "tests/support/worker.h"

#include <stdio.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

static const struct lh_lease_options brief = { .ttl_ns = LH_MS(2) };

struct told {
	_Atomic int times;
	_Atomic uintptr_t thread;
};

static void tell(void *context)
{
	struct told *told = context;

	atomic_store(&told->thread, (uintptr_t)pthread_self());
	atomic_fetch_add(&told->times, 1);
}

static void count_wrongly(void *context)
{
	atomic_fetch_add((_Atomic int *)context, 1);
}

static bool is_readable(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLIN };

	return poll(&look, 1, 0) == 1;
}

// ---- expiry: who observes it ---------------------------------------------------------------------

// G3: "loses its holdings to whoever asks"; G5; G12
static void a_taker_gets_what_an_expired_lease_held_and_is_told(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease_for(scene->arena, LH_SEC(1000));
	lh_lease *taker = scene_lease(scene->arena);
	const uint64_t token = scene_lock(&mutex, holder).token;
	lh_grant grant;

	assert_int_equal(lh_lease_renew(holder, LH_MS(2)), 0);
	grant = scene_lock(&mutex, taker);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.previous, lh_lease_id(holder));
	assert_true(grant.token > token);
	assert_false(lh_mutex_held(&mutex, holder));
	assert_int_equal(lh_mutex_unlock(&mutex, holder), -ESTALE);
	assert_int_equal(lh_mutex_consistent(&mutex, holder), -ESTALE);
	assert_int_equal(lh_mutex_lock(&mutex, holder, LH_NOW, NULL), -ESTALE);
	assert_int_equal(lh_lease_release(holder), -ESTALE);
	assert_true(lh_mutex_held(&mutex, taker));
	assert_int_equal(scene_events(scene->arena, LH_EVENT_EXPIRED, grant.previous), 2);
	assert_int_equal(lh_lease_release(taker), 0);
}

// "Locking and unlocking without waiting reads no clock."; G3: nobody asked, so nothing is lost.
static void an_expiry_that_nobody_observed_is_no_loss(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *lease = scene_lease_for(scene->arena, LH_SEC(1000));
	struct lh_lease_info info;

	scene_lock(&mutex, lease);
	assert_int_equal(lh_lease_renew(lease, LH_MS(1)), 0);
	do { // looking latches nothing
		assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	} while (info.state != LH_LEASE_EXPIRED);
	assert_int_equal(lh_mutex_unlock(&mutex, lease), 0);
	scene_lock(&mutex, lease);
	assert_true(lh_mutex_held(&mutex, lease));
	assert_false(lh_lease_valid(lease));
	assert_false(lh_mutex_held(&mutex, lease));
	assert_int_equal(lh_mutex_unlock(&mutex, lease), -ESTALE);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
}

// "any call of its own that waits"
static void a_lease_that_expires_in_the_queue_gets_estale(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	lh_lease *holder = scene_lease(scene->arena);
	lh_lease *waiter = scene_lease_with(scene->arena, &brief);
	lh_grant grant = { .token = 77 };

	scene_lock(&mutex, holder);
	assert_int_equal(lh_mutex_lock(&mutex, waiter, LH_FOREVER, &grant), -ESTALE);
	assert_int_equal(grant.token, 77);
	assert_int_equal(lh_lease_release(waiter), -ESTALE);
	assert_true(lh_mutex_held(&mutex, holder));
	assert_int_equal(lh_lease_release(holder), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

// ---- being told ----------------------------------------------------------------------------------

// "called once when the lease is lost: on a thread of the library"
static void the_callback_is_called_once_on_another_thread(void **state)
{
	const struct scene *scene = *state;
	struct told told = { 0 };
	lh_lease *lease = scene_lease_with(scene->arena, &brief);
	const int fd = lh_lease_loss_fd(lease);

	assert_int_equal(lh_lease_on_loss(lease, tell, &told), 0);
	assert_int_equal(lh_lease_loss_fd(lease), fd);
	while (!atomic_load(&told.times) || !is_readable(fd))
		scene_pause();
	assert_int_not_equal(atomic_load(&told.thread), (uintptr_t)pthread_self());
	assert_false(lh_lease_valid(lease));
	assert_int_equal(lh_lease_on_loss(lease, NULL, NULL), 0);
	assert_int_equal(lh_lease_release(lease), -ESTALE);
	assert_int_equal(atomic_load(&told.times), 1);
}

// "at once if already lost"
static void a_callback_after_the_loss_is_called_too(void **state)
{
	const struct scene *scene = *state;
	struct told told = { 0 }, more = { 0 };
	lh_lease *lease = scene_lease_with(scene->arena, &brief);

	while (lh_lease_valid(lease))
		scene_pause();
	assert_int_equal(lh_lease_on_loss(lease, tell, &told), 0);
	while (!atomic_load(&told.times))
		scene_pause();
	assert_int_equal(lh_lease_on_loss(lease, tell, &more), 0);
	while (!atomic_load(&more.times))
		scene_pause();
	const int fd = lh_lease_loss_fd(lease);

	while (!is_readable(fd))
		scene_pause();
	assert_int_equal(lh_lease_release(lease), -ESTALE);
	assert_int_equal(atomic_load(&told.times), 1);
	assert_int_equal(atomic_load(&more.times), 1);
}

static void a_further_callback_replaces_the_one_before(void **state)
{
	const struct scene *scene = *state;
	_Atomic int wrongly = 0;
	struct told told = { 0 };
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);

	assert_int_equal(lh_lease_on_loss(lease, count_wrongly, &wrongly), 0);
	assert_int_equal(lh_lease_on_loss(lease, tell, &told), 0);
	assert_int_equal(lh_lease_renew(lease, 1), 0);
	while (!atomic_load(&told.times))
		scene_pause();
	assert_int_equal(lh_lease_release(lease), -ESTALE);
	assert_int_equal(atomic_load(&wrongly), 0);
}

// "Never because of a release, and never after lh_lease_release returned."
static void a_release_calls_no_callback_and_nothing_comes_after_it(void **state)
{
	const struct scene *scene = *state;

	for (int round = 0; round < 200; round++) {
		const struct lh_lease_options options = { .ttl_ns = LH_MS(1) +
								    UINT64_C(10007) * round };
		struct told told = { 0 };
		lh_lease *lease = scene_lease_with(scene->arena, &options);

		assert_int_equal(lh_lease_on_loss(lease, tell, &told), 0);
		if (round % 3)
			while (lh_lease_remaining(lease) > UINT64_C(1007) * (unsigned)round)
				;
		const int result = lh_lease_release(lease);
		const int times = atomic_load(&told.times);

		assert_true(result == 0 || result == -ESTALE);
		assert_true(times <= (result == -ESTALE));
		// A later loss of another lease shows that the thread has been round again.
		if (round % 20 == 0) {
			struct told later = { 0 };
			lh_lease *other = scene_lease_with(scene->arena, &brief);

			assert_int_equal(lh_lease_on_loss(other, tell, &later), 0);
			while (!atomic_load(&later.times))
				scene_pause();
			assert_int_equal(lh_lease_release(other), -ESTALE);
		}
		assert_int_equal(atomic_load(&told.times), times);
	}
}

struct releasing {
	lh_lease *lease;
	_Atomic int result;
};

static void release_in_callback(void *context)
{
	struct releasing *releasing = context;

	atomic_store(&releasing->result, lh_lease_release(releasing->lease));
}

static void a_callback_cannot_release_its_lease(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_MS(2), .flags = LH_LEASE_PROCESS };
	struct releasing releasing = { scene_lease_with(scene->arena, &options), 1 };

	assert_int_equal(lh_lease_on_loss(releasing.lease, release_in_callback, &releasing), 0);
	while (atomic_load(&releasing.result) == 1)
		scene_pause();
	assert_int_equal(atomic_load(&releasing.result), -EDEADLK);
	assert_int_equal(lh_lease_release(releasing.lease), -ESTALE);
}

enum { CANNOT_LIMIT = 77 };

static int ask_for_descriptor(void *context)
{
	const struct scene *scene = context;
	lh_lease *lease = scene_lease(scene->arena);
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_NOFILE, &none) != 0)
		return CANNOT_LIMIT;
	need(lh_lease_loss_fd(lease) == -EMFILE);
	need(lh_lease_valid(lease));
	need(lh_lease_release(lease) == 0);
	return 0;
}

static void without_descriptors_the_loss_descriptor_is_emfile(void **state)
{
	const int status = scene_child(ask_for_descriptor, *state);

	if (WIFEXITED(status) &&
	    WEXITSTATUS(status) == CANNOT_LIMIT) { // valgrind wants some itself
		print_message("SKIP: test_lease_loss: RLIMIT_NOFILE cannot be 0 here\n");
		skip();
	}
	assert_exited(status, 0);
}

static void the_loss_descriptor_is_closed_by_the_release(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	const int fd = lh_lease_loss_fd(lease);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_false(is_readable(fd));
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

// ---- automatic renewal ---------------------------------------------------------------------------

// Whether a lease is kept beyond its TTL, which only the library renews. Not, if the library's
// thread was not run for a whole TTL.
static bool is_kept(const struct scene *scene, uint64_t ttl_ns)
{
	const struct lh_lease_options options = { .ttl_ns = ttl_ns,
						  .flags = LH_LEASE_AUTO_RENEW,
						  .renew_every_ns = LH_MS(5) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	struct lh_lease_info first, info;

	assert_true(scene_look(scene->arena, lh_lease_id(lease), &first));
	do {
		scene_pause();
		assert_true(scene_look(scene->arena, lh_lease_id(lease), &info));
	} while (info.state == LH_LEASE_LIVE &&
		 info.expires_ns < first.expires_ns + ttl_ns / 4 * 5);
	return lh_lease_release(lease) == 0;
}

static void auto_renew_keeps_a_lease(void **state)
{
	uint64_t ttl_ns = LH_MS(400);

	while (!is_kept(*state, ttl_ns))
		ttl_ns *= 2;
}

// "keeps a lease for a process that lives … max_renewals bounds that"
static void max_renewals_ends_automatic_renewal(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_MS(30),
						  .flags = LH_LEASE_AUTO_RENEW,
						  .renew_every_ns = LH_MS(10),
						  .max_renewals = 3 };
	const uint64_t begin = lh_now();
	lh_lease *lease = scene_lease_with(scene->arena, &options);
	struct told told = { 0 };

	assert_int_equal(lh_lease_on_loss(lease, tell, &told), 0);
	while (!atomic_load(&told.times))
		scene_pause();
	// The third renewal was not before 30 ms, and nothing ends before its TTL.
	assert_true(lh_now() - begin >= LH_MS(30));
	assert_int_equal(lh_lease_release(lease), -ESTALE);
}

// An explicit renewal goes on beside the automatic one, and a lost one is not revived by it: G4.
static void auto_renew_does_not_revive(void **state)
{
	const struct scene *scene = *state;
	const struct lh_lease_options options = { .ttl_ns = LH_SEC(1000),
						  .flags = LH_LEASE_AUTO_RENEW,
						  .renew_every_ns = LH_SEC(900) };
	lh_lease *lease = scene_lease_with(scene->arena, &options);

	assert_int_equal(lh_lease_renew(lease, 1), 0);
	while (lh_lease_valid(lease))
		;
	assert_int_equal(lh_lease_renew(lease, LH_SEC(1)), -ESTALE);
	assert_false(lh_lease_valid(lease));
	assert_int_equal(lh_lease_release(lease), -ESTALE);
}

// ---- kill on expiry ------------------------------------------------------------------------------

// A worker that holds the mutex under a lease that will expire. On a busy machine it may expire
// before.
static struct worker *start_locking(const struct scene *scene, const lh_mutex *mutex,
				    const struct lh_lease_options *options)
{
	for (;;) {
		struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, options);

		if (worker_do(worker, worker_lock, lh_mutex_offset(mutex)) == 0)
			return worker;
		worker_kill(worker);
	}
}

static bool has_memory(pid_t pid)
{
	char path[64];
	unsigned long pages = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	if (file && fscanf(file, "%lu", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages != 0;
}

// "seen dead before anyone is granted what it held"
// Of a thread lease that thread's end counts, of a process lease the whole process's: its memory has
// gone before its files are closed, by which its end is seen; its parent is told a moment later.
static void kill_on_expiry(const struct scene *scene, unsigned flags)
{
	const struct lh_lease_options options = { .ttl_ns = LH_MS(20),
						  .flags = LH_LEASE_KILL_ON_EXPIRY | flags };
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker;
	lh_lease *lease;
	siginfo_t end = { .si_pid = 0 };
	lh_grant grant;

	scene_wants_kill_on_expiry();
	lease = scene_lease(scene->arena);
	worker = start_locking(scene, &mutex, &options);
	kill(worker_pid(worker), SIGSTOP);
	grant = scene_lock(&mutex, lease);
	assert_int_equal(grant.flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(grant.previous, worker_lease(worker));
	if (flags & LH_LEASE_PROCESS)
		assert_false(has_memory(worker_pid(worker)));
	assert_int_equal(waitid(P_PID, (id_t)worker_pid(worker), &end, WEXITED | WNOWAIT), 0);
	assert_int_equal(end.si_pid, worker_pid(worker));
	assert_int_equal(end.si_code, CLD_KILLED);
	assert_int_equal(end.si_status, SIGKILL);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_KILLED, grant.previous), 1);
	worker_kill(worker);
	assert_int_equal(lh_lease_release(lease), 0);
	assert_int_equal(scene_check(scene->arena, LH_CHECK_CLEAN), LH_CHECK_CLEAN);
}

static void a_taker_kills_the_owner_that_consented_and_sees_it_dead(void **state)
{
	kill_on_expiry(*state, 0);
}

static void a_taker_kills_the_process_that_consented_and_sees_it_dead(void **state)
{
	kill_on_expiry(*state, LH_LEASE_PROCESS);
}

static void nobody_is_killed_who_did_not_consent(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, &brief);
	lh_lease *lease = scene_lease(scene->arena);

	worker_do(worker, worker_lock, lh_mutex_offset(&mutex));
	scene_await_state(scene->arena, worker_lease(worker), LH_LEASE_EXPIRED);
	scene_lock(&mutex, lease);
	assert_int_equal(worker_do(worker, worker_unlock, lh_mutex_offset(&mutex)), -ESTALE);
	assert_int_equal(worker_end(worker), -ESTALE);
	assert_int_equal(scene_events(scene->arena, LH_EVENT_KILLED, 0), 0);
	assert_int_equal(lh_lease_release(lease), 0);
}

static int expire_and_remove(void *context)
{
	const struct lh_lease_options options = { .ttl_ns = LH_MS(1),
						  .flags = LH_LEASE_KILL_ON_EXPIRY };
	const struct scene *scene = context;
	lh_arena *arena = NULL;
	lh_lease *lease = NULL;
	uint64_t offset;

	need(lh_arena_open(scene->name, LH_CREATE, NULL, &arena) == 0);
	need(lh_region_at(arena, LH_ANYWHERE, 64, NULL, &offset) == 0);
	need(lh_lease_acquire(arena, &options, &lease) == 0);
	while (lh_lease_valid(lease))
		;
	need(lh_remove(arena, offset) == 0);
	need(lh_lease_release(lease) == -ESTALE);
	return 0;
}

// "whoever wants what it holds kills the process": it holds nothing that is wanted here.
static void removing_something_else_kills_nobody(void **state)
{
	scene_wants_kill_on_expiry();
	assert_exited(scene_child(expire_and_remove, *state), 0);
}

// ---- process leases ------------------------------------------------------------------------------

struct hand_over {
	lh_lease *lease;
	lh_mutex mutex;
};

static int acquire_process_lease(struct worker_stage *stage, uint64_t offset)
{
	static const struct lh_lease_options options = { .flags = LH_LEASE_PROCESS };
	static struct hand_over kept;
	int error = lh_lease_acquire(stage->arena, &options, &kept.lease);

	if (!error)
		error = lh_mutex_at(stage->arena, offset, NULL, &kept.mutex);
	if (!error)
		error = lh_mutex_lock(&kept.mutex, kept.lease, LH_FOREVER, &stage->grant);
	stage->value = (uintptr_t)&kept;
	return error;
}

static int start_in_thread(void *context)
{
	return acquire_process_lease(context, ((struct worker_stage *)context)->value);
}

static int acquire_in_passing_thread(struct worker_stage *stage, uint64_t offset)
{
	stage->value = offset;
	return scene_thread(start_in_thread, stage);
}

static int unlock_kept(struct worker_stage *stage, uint64_t kept)
{
	struct hand_over *hand_over = (struct hand_over *)(uintptr_t)kept;

	(void)stage;
	return lh_mutex_unlock(&hand_over->mutex, hand_over->lease);
}

// G2: "the whole process gone"; "any thread"
static void a_process_lease_outlives_the_thread_that_acquired_it(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(worker_do(worker, acquire_in_passing_thread, lh_mutex_offset(&mutex)), 0);
	assert_int_equal(lh_mutex_lock(&mutex, lease, LH_NOW, NULL), -EBUSY);
	assert_int_equal(lh_mutex_lock(&mutex, lease, lh_deadline_after(LH_MS(20)), NULL),
			 -ETIMEDOUT);
	assert_int_equal(worker_do(worker, unlock_kept, worker_value(worker)), 0);
	assert_int_equal(scene_lock(&mutex, lease).flags, 0);
	worker_kill(worker);
	assert_int_equal(lh_lease_release(lease), 0);
}

static void a_process_lease_ends_with_its_process(void **state)
{
	const struct scene *scene = *state;
	const lh_mutex mutex = scene_mutex(scene->arena);
	struct worker *worker = worker_start(WORKER_PROCESS, scene->arena, NULL);
	lh_lease *lease = scene_lease(scene->arena);

	assert_int_equal(worker_do(worker, acquire_in_passing_thread, lh_mutex_offset(&mutex)), 0);
	worker_kill(worker);
	assert_int_equal(scene_lock(&mutex, lease).flags, LH_GRANT_OWNER_DIED);
	assert_int_equal(lh_lease_release(lease), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_taker_gets_what_an_expired_lease_held_and_is_told),
		SCENE_TEST(an_expiry_that_nobody_observed_is_no_loss),
		SCENE_TEST(a_lease_that_expires_in_the_queue_gets_estale),
		SCENE_TEST(the_callback_is_called_once_on_another_thread),
		SCENE_TEST(a_callback_after_the_loss_is_called_too),
		SCENE_TEST(a_further_callback_replaces_the_one_before),
		SCENE_TEST(a_release_calls_no_callback_and_nothing_comes_after_it),
		SCENE_TEST(a_callback_cannot_release_its_lease),
		SCENE_TEST(without_descriptors_the_loss_descriptor_is_emfile),
		SCENE_TEST(the_loss_descriptor_is_closed_by_the_release),
		SCENE_TEST(auto_renew_keeps_a_lease),
		SCENE_TEST(max_renewals_ends_automatic_renewal),
		SCENE_TEST(auto_renew_does_not_revive),
		SCENE_TEST(a_taker_kills_the_owner_that_consented_and_sees_it_dead),
		SCENE_TEST(a_taker_kills_the_process_that_consented_and_sees_it_dead),
		SCENE_TEST(nobody_is_killed_who_did_not_consent),
		SCENE_TEST_CLOSED(removing_something_else_kills_nobody),
		SCENE_TEST(a_process_lease_outlives_the_thread_that_acquired_it),
		SCENE_TEST(a_process_lease_ends_with_its_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
