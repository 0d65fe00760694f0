// SPDX-License-Identifier: Apache-2.0
//
// The line of a key: the one request by which a process asks a server for it, on behalf of whoever
// is first of those who wait here. It belongs to the queue and not to the first, so that who leaves
// has nothing to wait for, and what is granted then is the next one's. All of this runs in the set's
// helper thread; nothing waits for the server.
#include "src/remote.h"

#include "arena/error.h"
#include "arena/process.h"
#include "arena/sys/notify.h"
#include "arena/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_NS (10 * CLOCK_NS_PER_S) // for what is answered without waiting for others
#define FRESH_PART 8u                   // of a TTL, that may have gone by at the grant

enum line_state { LINE_IDLE, LINE_ASKED, LINE_CONFIRMING, LINE_ANSWERED };

struct line {
	struct provider_ask ask;
	enum line_state state;
	int error;         // of the answer
	uint64_t begun_ns; // the last request
	uint32_t place;
	char label[32];
	char detail[ERROR_DETAIL_SIZE]; // of the error
};

static struct line *line_of(struct provider_ask *ask)
{
	return caa_container_of(ask, struct line, ask);
}

static void answer(struct line *line, int error)
{
	line->state = LINE_ANSWERED;
	line->error = error;
	line->detail[0] = '\0';
	if (error)
		snprintf(line->detail, sizeof(line->detail), "%s", lh_error_detail());
}

static bool has_grant(const struct line *line)
{
	return line->state == LINE_CONFIRMING || (line->state == LINE_ANSWERED && !line->error);
}

static void withdraw(const struct remote_session *session, struct line *line)
{
	if (line->state == LINE_ASKED || has_grant(line))
		session->remote->withdraw(session->server, &line->ask);
	line->state = LINE_IDLE;
}

// ---------------------------------------------------------------------------------------------
// Asking

static uint64_t ttl_of(const struct lh_acquire_options *options)
{
	return options->ttl_ns ? options->ttl_ns : LOCKS_TTL_NS;
}

static const char *label_of(const struct lh_acquire_options *options)
{
	return options->label ? options->label : "";
}

// Whether what is asked for is what the first wants.
static bool is_wanted(const struct line *line, const struct provider_queue *queue)
{
	const struct provider_hold *hold = &line->ask.hold;

	return hold->key.mode == queue->options->mode &&
	       hold->max_holders == queue->options->max_holders &&
	       hold->ttl_ns == ttl_of(queue->options) && line->ask.may_wait == !queue->once &&
	       strcmp(line->label, label_of(queue->options)) == 0;
}

static void ask(const struct remote_session *session, struct line *line,
		const struct provider_queue *queue)
{
	int error;

	snprintf(line->label, sizeof(line->label), "%s", label_of(queue->options));
	line->ask = (struct provider_ask){ .label = line->label[0] ? line->label : NULL,
					   .may_wait = !queue->once };
	line->ask.hold = (struct provider_hold){ .key = queue->key,
						 .max_holders = queue->options->max_holders,
						 .ttl_ns = ttl_of(queue->options) };
	line->ask.hold.key.mode = queue->options->mode;
	line->begun_ns = clock_now();
	error_note_nothing();
	error = session->remote->ask(session->server, &line->ask);
	line->state = LINE_ASKED;
	if (error)
		answer(line, error);
}

static uint64_t end_of(const struct line *line)
{
	return line->ask.hold.since_ns + line->ask.hold.ttl_ns;
}

// Whether the grant's TTL has begun a moment ago, as far as is known here.
static bool is_fresh(const struct line *line)
{
	return end_of(line) >=
	       clock_now() + line->ask.hold.ttl_ns - line->ask.hold.ttl_ns / FRESH_PART;
}

// The server has answered.
static void take_answer(const struct remote_session *session, struct line *line)
{
	const int result = line->ask.result;
	int error;

	if (result == -ESTALE && line->state == LINE_CONFIRMING) {
		line->state = LINE_IDLE; // it is asked for anew
		return;
	}
	if (result || line->state == LINE_CONFIRMING || !session->remote->confirm ||
	    is_fresh(line)) {
		answer(line, result);
		return;
	}
	line->state = LINE_CONFIRMING;
	line->begun_ns = clock_now();
	error = session->remote->confirm(session->server, &line->ask);
	if (!error)
		return;
	withdraw(session, line);
	answer(line, error);
}

// Whether a server that does not make anybody wait for others has made this one wait.
static bool is_overdue(const struct line *line, struct wait *wait)
{
	const uint64_t until = line->begun_ns + ANSWER_NS;

	if (line->state != LINE_CONFIRMING && (line->state != LINE_ASKED || line->ask.may_wait))
		return false;
	wait_not_after(wait, until);
	return clock_now() >= until;
}

// ---------------------------------------------------------------------------------------------
// What the helper thread asks: src/locks.h

int remote_listen(struct lh_locks *locks, struct wait *wait, uint64_t *ret_news)
{
	struct remote_session *session;
	struct provider_ask *answered;
	const int error = remote_session_of(remote_locks_of(locks), &session);

	(void)wait;
	*ret_news = 0;
	if (error)
		return error;
	error_note_nothing();
	while ((answered = session->remote->next_answer(session->server)) != NULL) {
		struct line *line = line_of(answered);

		take_answer(session, line);
		*ret_news |= UINT64_C(1) << line->place;
		error_note_nothing();
	}
	return 0;
}

static struct line *line_in(struct provider_queue *queue)
{
	static _Atomic uint32_t last_place;
	struct line *line = queue->own;

	if (line)
		return line;
	line = queue->own = calloc(1, sizeof(*line));
	if (line)
		line->place = atomic_fetch_add_explicit(&last_place, 1, memory_order_relaxed) %
			      PROVIDER_PLACES;
	return line;
}

bool remote_is_free(struct lh_locks *locks, struct provider_queue *queue, struct wait *wait)
{
	struct line *line = line_in(queue);
	struct remote_session *session;

	// What fails here, taking tells.
	if (!line || remote_session_of(remote_locks_of(locks), &session))
		return true;
	queue->refused = false;
	queue->place = line->place;
	if (line->state != LINE_IDLE && !is_wanted(line, queue))
		withdraw(session, line);
	if (line->state == LINE_ANSWERED && !line->error && clock_now() >= end_of(line))
		withdraw(session, line);
	if (line->state == LINE_IDLE)
		ask(session, line, queue);
	if (is_overdue(line, wait)) {
		withdraw(session, line);
		error_note("the server has not answered within %u s",
			   (unsigned)(ANSWER_NS / CLOCK_NS_PER_S));
		answer(line, -ENOTCONN);
	}
	return line->state == LINE_ANSWERED;
}

void remote_leave(struct lh_locks *locks, struct provider_queue *queue)
{
	struct remote_session *session;

	if (!queue->own)
		return;
	if (!remote_session_of(remote_locks_of(locks), &session))
		withdraw(session, queue->own);
	free(queue->own);
	queue->own = NULL;
}

int remote_sleep(struct lh_locks *locks, const int *others, size_t count, uint64_t until_ns)
{
	struct remote_session *session;

	if (remote_session_of(remote_locks_of(locks), &session))
		return notify_sleep(NOTIFY_NONE, others, count, until_ns);
	return session->remote->sleep(session->server, others, count, until_ns);
}

int remote_take(struct lh_locks *locks, const struct provider_request *request,
		struct lh_handle **ret_handle)
{
	struct line *line = request->queue->own;
	struct remote_session *session;
	struct remote_handle *handle;
	int error = remote_session_of(remote_locks_of(locks), &session);

	if (error)
		return error;
	if (!line)
		return error_detail(-ENOMEM, "no memory");
	if (line->state != LINE_ANSWERED)
		return -EBUSY;
	if (line->error) {
		line->state = LINE_IDLE;
		error_note("%s", line->detail);
		return line->error;
	}
	error = remote_make_handle(session, &line->ask.hold, request->options, &handle);
	if (error) {
		withdraw(session, line);
		return error;
	}
	line->state = LINE_IDLE;
	*ret_handle = &handle->base;
	return 0;
}
