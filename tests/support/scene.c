// SPDX-License-Identifier: Apache-2.0
#include "tests/support/scene.h"

#include "arena/sys/identity.h"

#include "arena/lease.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

enum { TIME_LIMIT_S = 120 };

static struct scene scene;

int scene_begin_closed(void **state)
{
	static unsigned number;

	alarm(TIME_LIMIT_S);
	scene.arena = NULL;
	snprintf(scene.name, sizeof(scene.name), "lh-test-%d-%u", (int)getpid(), number++);
	lh_arena_unlink(scene.name); // a test with our pid may have been killed once
	*state = &scene;
	return 0;
}

int scene_begin(void **state)
{
	int error;

	scene_begin_closed(state);
	error = lh_arena_open(scene.name, LH_CREATE | LH_EXCL, NULL, &scene.arena);
	if (error)
		print_error("open: %s (%s)\n", lh_strerror(error), lh_error_detail());
	return error;
}

lh_arena *scene_open(struct scene *opened, const struct lh_arena_options *options)
{
	const int error = lh_arena_open(opened->name, LH_CREATE | LH_EXCL, options, &opened->arena);

	if (error)
		fail_msg("open: %s (%s)", lh_strerror(error), lh_error_detail());
	return opened->arena;
}

int scene_end(void **state)
{
	struct scene *ended = *state;
	const int error = ended->arena ? lh_arena_close(ended->arena) : 0;

	lh_arena_unlink(ended->name);
	alarm(0);
	if (error)
		print_error("the arena could not be closed: %s\n", lh_strerror(error));
	return error;
}

int scene_child(int (*body)(void *context), void *context)
{
	const pid_t parent = getpid();
	int status = 0;

	fflush(NULL);
	const pid_t pid = fork();

	if (pid < 0)
		fail_msg("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(98);
		alarm(TIME_LIMIT_S);
		_exit(body(context));
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail_msg("waitpid: %s", strerror(errno));
	return status;
}

struct errand {
	int (*body)(void *context);
	void *context;
	int result;
};

static void *run_errand(void *argument)
{
	struct errand *errand = argument;

	errand->result = errand->body(errand->context);
	return NULL;
}

int scene_thread(int (*body)(void *context), void *context)
{
	struct errand errand = { body, context, 0 };
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_errand, &errand))
		fail_msg("no thread");
	pthread_join(thread, NULL);
	return errand.result;
}

void scene_need_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not so: %s (%s)\n", file, line, condition, lh_error_detail());
	fflush(stderr);
	_exit(99);
}

lh_lease *scene_lease_with(lh_arena *arena, const struct lh_lease_options *options)
{
	lh_lease *lease = NULL;
	const int error = lh_lease_acquire(arena, options, &lease);

	if (error)
		fail_msg("acquire: %s (%s)", lh_strerror(error), lh_error_detail());
	return lease;
}

lh_lease *scene_lease(lh_arena *arena)
{
	return scene_lease_with(arena, NULL);
}

lh_lease *scene_lease_for(lh_arena *arena, uint64_t ttl_ns)
{
	const struct lh_lease_options options = { .ttl_ns = ttl_ns };

	return scene_lease_with(arena, &options);
}

void scene_let_expire(lh_lease *lease)
{
	const int error = lh_lease_renew(lease, LH_MS(1));

	if (error)
		fail_msg("renew: %s", lh_strerror(error));
	while (lh_now() < lease_expiry(lease))
		scene_pause();
}

lh_mutex scene_mutex(lh_arena *arena)
{
	lh_mutex mutex = { { 0 } };
	const int error = lh_mutex_at(arena, LH_ANYWHERE, NULL, &mutex);

	if (error)
		fail_msg("place: %s (%s)", lh_strerror(error), lh_error_detail());
	return mutex;
}

lh_grant scene_lock(const lh_mutex *mutex, lh_lease *lease)
{
	lh_grant grant = { .token = 0 };
	const int error = lh_mutex_lock(mutex, lease, LH_FOREVER, &grant);

	if (error)
		fail_msg("lock: %s (%s)", lh_strerror(error), lh_error_detail());
	return grant;
}

bool scene_look(const lh_arena *arena, uint64_t lease, struct lh_lease_info *ret_info)
{
	uint64_t cursor = 0;

	while (lh_next_lease(arena, &cursor, ret_info) == 0) {
		if (ret_info->id == lease)
			return true;
	}
	return false;
}

void scene_pause(void)
{
	const struct timespec pause = { .tv_nsec = 200000 };

	nanosleep(&pause, NULL);
}

void scene_await_wait(const lh_arena *arena, uint64_t lease, bool waits)
{
	struct lh_lease_info info;

	while (!scene_look(arena, lease, &info) || (info.waits_for != 0) != waits)
		scene_pause();
}

void scene_await_state(const lh_arena *arena, uint64_t lease, uint32_t state)
{
	struct lh_lease_info info;

	while (!scene_look(arena, lease, &info) || info.state != state)
		scene_pause();
}

unsigned scene_events(const lh_arena *arena, uint32_t kind, uint64_t lease)
{
	struct lh_event_info event;
	uint64_t cursor = 0;
	unsigned count = 0;

	while (lh_next_event(arena, &cursor, &event) == 0)
		count += event.kind == kind && (!lease || event.lease == lease);
	return count;
}

static void report(void *context, int severity, uint64_t offset, const char *text)
{
	const int *expected = context;

	if (severity != *expected)
		print_message("check: %d at %llu: %s\n", severity, (unsigned long long)offset,
			      text);
}

int scene_check(const lh_arena *arena, int expected)
{
	return lh_arena_check(arena, report, &expected);
}

void scene_wants_kill_on_expiry(void)
{
	if (identity_can_kill())
		return;
	print_message("SKIP: %s: pidfd_send_signal(2) is refused here\n",
		      program_invocation_short_name);
	skip();
}
