// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <leasehold/leasehold.h>

#include "tests/support/actor.h"

enum { MAX_ACTORS = 64 };

struct actor {
	pid_t pid; /* 0: no such actor */
	int tell;  /* the parent's ends of two pipes */
	int hear;
	uint64_t lease;
};

struct message {
	uint64_t verb;
	uint64_t argument;
};

struct answer {
	int64_t result;
	uint64_t value;
};

static struct actor actors[MAX_ACTORS];

// ---- the child ----------------------------------------------------------------------------------

struct stage {
	lh_arena *arena;
	lh_lease *lease;
	lh_mutex table;
};

static int set_up(struct stage *stage, const char *arena, const struct actor_options *options)
{
	const struct lh_mutex_options table = { .name = ACTOR_TABLE,
						.count = ACTOR_MUTEXES,
						.data_size = ACTOR_DATA_SIZE };
	const struct lh_lease_options lease = { .label = options->label,
						.ttl_ns = options->ttl_ns,
						.flags = options->flags };
	int error;

	if (options->command)
		prctl(PR_SET_NAME, options->command);
	error = lh_arena_open(arena, LH_CREATE, NULL, &stage->arena);
	if (!error)
		error = lh_mutex_at(stage->arena, LH_ANYWHERE, &table, &stage->table);
	if (!error)
		error = lh_lease_acquire(stage->arena, &lease, &stage->lease);
	return error;
}

static int obey(struct stage *stage, const struct message *message)
{
	lh_mutex mutex;
	lh_grant grant;
	uint64_t offset;
	int error;

	if (message->verb == ACTOR_REGION)
		return lh_region_acquire(stage->lease, message->argument, &offset);
	if (message->verb == ACTOR_RELEASE)
		return lh_lease_release(stage->lease);
	error = lh_mutex_element(&stage->table, (uint32_t)message->argument, &mutex);
	if (error)
		return error;
	switch (message->verb) {
	case ACTOR_LOCK:
		return lh_mutex_lock(&mutex, stage->lease, LH_FOREVER, &grant);
	case ACTOR_UNLOCK:
		return lh_mutex_unlock(&mutex, stage->lease);
	case ACTOR_CONSISTENT:
		return lh_mutex_consistent(&mutex, stage->lease);
	default:
		return -EINVAL;
	}
}

static void answer(int pipe_end, int result, uint64_t value)
{
	const struct answer text = { result, value };

	if (write(pipe_end, &text, sizeof(text)) != (ssize_t)sizeof(text))
		_exit(1);
}

__attribute__((noreturn)) static void act(const char *arena, const struct actor_options *options,
					  int hear, int tell)
{
	struct stage stage = { .arena = NULL };
	struct message message;
	const int error = set_up(&stage, arena, options);

	answer(tell, error, error ? 0 : lh_lease_id(stage.lease));
	while (read(hear, &message, sizeof(message)) == (ssize_t)sizeof(message))
		answer(tell, obey(&stage, &message), 0);
	_exit(0);
}

// ---- the parent ---------------------------------------------------------------------------------

static struct answer hear(const struct actor *actor)
{
	struct answer text;

	if (read(actor->hear, &text, sizeof(text)) != (ssize_t)sizeof(text))
		fail_msg("actor %d ended instead of answering", (int)actor->pid);
	return text;
}

struct actor *actor_start(const char *arena, const struct actor_options *options)
{
	static const struct actor_options nothing = { .label = NULL };
	const pid_t parent = getpid();
	struct actor *actor = actors;
	int down[2] = { -1, -1 };
	int up[2] = { -1, -1 };

	while (actor < actors + MAX_ACTORS && actor->pid)
		actor++;
	if (actor == actors + MAX_ACTORS || pipe(down) || pipe(up))
		fail_msg("no room for another actor");
	fflush(NULL);
	const pid_t pid = fork();

	if (pid < 0)
		fail_msg("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		act(arena, options ? options : &nothing, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	*actor = (struct actor){ .pid = pid, .tell = down[1], .hear = up[0] };
	const struct answer first = hear(actor);

	if (first.result)
		fail_msg("actor %d: %s", (int)pid, lh_strerror((int)first.result));
	actor->lease = first.value;
	return actor;
}

pid_t actor_pid(const struct actor *actor)
{
	return actor->pid;
}

uint64_t actor_lease(const struct actor *actor)
{
	return actor->lease;
}

void actor_tell(struct actor *actor, enum actor_verb verb, uint64_t argument)
{
	const struct message message = { verb, argument };

	if (write(actor->tell, &message, sizeof(message)) != (ssize_t)sizeof(message))
		fail_msg("actor %d does not listen", (int)actor->pid);
}

int actor_result(struct actor *actor)
{
	return (int)hear(actor).result;
}

int actor_do(struct actor *actor, enum actor_verb verb, uint64_t argument)
{
	actor_tell(actor, verb, argument);
	return actor_result(actor);
}

void actor_kill(struct actor *actor)
{
	kill(actor->pid, SIGKILL);
	waitpid(actor->pid, NULL, 0);
	close(actor->tell);
	close(actor->hear);
	*actor = (struct actor){ .pid = 0 };
}

int actors_end(void **state)
{
	(void)state;
	for (struct actor *actor = actors; actor < actors + MAX_ACTORS; actor++)
		if (actor->pid)
			actor_kill(actor);
	return 0;
}
