// SPDX-License-Identifier: Apache-2.0
//
// leasehold-provider-test.so: test://PATH is the lock server (tests/support/lock_server.c) whose
// socket has that path. What a provider has to do, with as little around it as there can be.
//
// A process has three connections to the server: one for requests, one for renewals, and one for all
// else, so that none waits for another. The server knows by a number that they are of one process,
// and takes their end as its end. None is opened a second time.
#include "src/provider.h"

#include "tests/support/provider/packets.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 20000 /* how long a call waits for the server */

struct channel {
	int fd;
	pthread_mutex_t lock;
	uint64_t last_number;
};

struct asked {
	struct asked *next;
	struct provider_ask *ask;
	uint64_t number;
};

struct server {
	const struct provider_host *host;
	struct channel renewals, calls;
	int line;            // requests; -1: the server has gone
	struct asked *asked; // that have no answer yet
	struct outbox outbox;
	uint64_t last_number;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// ---- opening -------------------------------------------------------------------------------------

static int connect_to(const char *path, uint64_t session)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct packet hello = { .op = PACKET_HELLO, .session = session };
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    packet_send(fd, &hello, NULL, 0) > 0)
		return fd;
	close(fd);
	return -ENOTCONN;
}

static void close_server(void *context)
{
	struct server *server = context;

	if (server->line >= 0)
		close(server->line);
	if (server->renewals.fd >= 0)
		close(server->renewals.fd);
	if (server->calls.fd >= 0)
		close(server->calls.fd);
	outbox_clear(&server->outbox);
	free(server);
}

static int open_server(const struct provider_host *host, const char *rest, void **ret_server)
{
	struct server *server = calloc(1, sizeof(*server));
	uint64_t session;

	if (!server || getrandom(&session, sizeof(session), 0) != sizeof(session)) {
		free(server);
		return -ENOMEM;
	}
	server->host = host;
	outbox_begin(&server->outbox);
	server->renewals.lock = server->calls.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	server->line = connect_to(rest, session);
	server->renewals.fd = connect_to(rest, session);
	server->calls.fd = connect_to(rest, session);
	if (server->line >= 0 && server->renewals.fd >= 0 && server->calls.fd >= 0) {
		*ret_server = server;
		return 0;
	}
	host->note("%.100s: no lock server listens there", rest);
	close_server(server);
	return -ENOTCONN;
}

static void forget(void *context)
{
	const struct server *server = context;

	if (server->line >= 0)
		close(server->line);
	close(server->renewals.fd);
	close(server->calls.fd);
}

// ---- requests ------------------------------------------------------------------------------------

static void flush(struct server *server)
{
	if (server->line < 0 || outbox_flush(&server->outbox, server->line))
		return;
	close(server->line);
	server->line = -1;
}

static int request(struct server *server, const struct packet *packet, const void *behind)
{
	if (server->line < 0) {
		server->host->note("the lock server has gone");
		return -ENOTCONN;
	}
	if (outbox_add(&server->outbox, packet, behind))
		return -ENOMEM;
	flush(server);
	return 0;
}

static struct asked **find_asked(struct server *server, const struct provider_ask *ask,
				 uint64_t number)
{
	struct asked **place = &server->asked;

	while (*place && (*place)->ask != ask && (*place)->number != number)
		place = &(*place)->next;
	return place;
}

static void forget_asked(struct asked **place)
{
	struct asked *asked = *place;

	*place = asked->next;
	free(asked);
}

// Sends it, and has the answer be the ask's.
static int begin(struct server *server, struct provider_ask *ask, struct packet *packet,
		 const void *behind)
{
	struct asked *asked = malloc(sizeof(*asked));
	int error;

	if (!asked)
		return -ENOMEM;
	ask->hold.since_ns = now();
	error = request(server, packet, behind);
	if (error) {
		free(asked);
		return error;
	}
	*asked = (struct asked){ server->asked, ask, packet->number };
	server->asked = asked;
	return 0;
}

static int ask(void *context, struct provider_ask *ask)
{
	struct server *server = context;
	struct packet packet = { .op = PACKET_ASK,
				 .number = ++server->last_number,
				 .ttl_ns = ask->hold.ttl_ns,
				 .mode = ask->hold.key.mode,
				 .may_wait = ask->may_wait,
				 .size = (uint32_t)ask->hold.key.size };

	ask->hold.own[1] = packet.number;
	return begin(server, ask, &packet, ask->hold.key.bytes);
}

static int confirm(void *context, struct provider_ask *ask)
{
	struct server *server = context;
	struct packet packet = { .op = PACKET_CONFIRM,
				 .number = ask->hold.own[1],
				 .hold = ask->hold.own[0],
				 .ttl_ns = ask->hold.ttl_ns };

	return begin(server, ask, &packet, NULL);
}

static void withdraw(void *context, struct provider_ask *ask)
{
	struct server *server = context;
	const struct packet packet = { .op = PACKET_WITHDRAW, .number = ask->hold.own[1] };
	struct asked **place = find_asked(server, ask, 0);

	if (*place)
		forget_asked(place);
	(void)request(server, &packet, NULL); // a server that has gone holds nothing
}

static struct provider_ask *next_answer(void *context)
{
	struct server *server = context;
	struct provider_ask *answered;
	struct packet packet;
	struct asked **place;

	flush(server);
	while (server->line >= 0) {
		const int got = packet_receive(server->line, &packet, NULL, 0, MSG_DONTWAIT);

		if (!got)
			return NULL;
		if (got < 0) {
			close(server->line);
			server->line = -1;
			break;
		}
		place = find_asked(server, NULL, packet.number);
		if (!*place)
			continue; // it was withdrawn
		answered = (*place)->ask;
		forget_asked(place);
		answered->result = packet.result;
		if (packet.result || packet.op == PACKET_CONFIRM)
			return answered;
		answered->hold.own[0] = packet.hold;
		answered->hold.token = packet.token;
		answered->hold.flags = packet.flags;
		return answered;
	}
	if (!server->asked)
		return NULL;
	server->host->note("the lock server has gone");
	answered = server->asked->ask;
	forget_asked(&server->asked);
	answered->result = -ENOTCONN;
	return answered;
}

static int sleep_until(void *context, const int *others, size_t count, uint64_t until_ns)
{
	struct server *server = context;
	struct pollfd entries[1 + PROVIDER_OTHERS];
	const uint64_t from = now(), left = until_ns > from ? until_ns - from : 0;
	const struct timespec time = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };

	entries[0] = (struct pollfd){
		.fd = server->line, .events = (short)(POLLIN | (server->outbox.first ? POLLOUT : 0))
	};
	for (size_t i = 0; i < count; i++)
		entries[1 + i] = (struct pollfd){ .fd = others[i], .events = POLLIN };
	return ppoll(entries, 1 + count, &time, NULL) > 0;
}

// ---- calls ---------------------------------------------------------------------------------------

static int await_answer(const struct channel *channel, struct packet *packet, void *behind,
			size_t capacity)
{
	struct pollfd entry = { .fd = channel->fd, .events = POLLIN };
	struct packet answer;

	for (;;) {
		if (poll(&entry, 1, ANSWER_MS) != 1 ||
		    packet_receive(channel->fd, &answer, behind, capacity, 0) != 1)
			return -ENOTCONN;
		if (answer.number == packet->number) // else of a call that has given up
			break;
	}
	*packet = answer;
	return 0;
}

// The packet is the answer's then, and so is what is behind it.
static int call(struct server *server, struct channel *channel, struct packet *packet, void *behind)
{
	int error = -ENOTCONN;

	pthread_mutex_lock(&channel->lock);
	packet->number = ++channel->last_number;
	if (packet_send(channel->fd, packet, behind, 0) > 0)
		error = await_answer(channel, packet, behind, packet->size);
	pthread_mutex_unlock(&channel->lock);
	if (error)
		server->host->note("the lock server does not answer");
	return error ? error : packet->result;
}

static int renew_some(struct server *server, struct provider_renewal *renewals, size_t count)
{
	struct packet_item *items = calloc(count, sizeof(*items));
	struct packet packet = { .op = PACKET_RENEW, .size = (uint32_t)(count * sizeof(*items)) };
	int error;

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		items[i] = (struct packet_item){ renewals[i].hold->own[0], renewals[i].ttl_ns, 0 };
	error = call(server, &server->renewals, &packet, items);
	for (size_t i = 0; i < count && !error; i++)
		renewals[i].result = (int)items[i].result;
	free(items);
	return error;
}

static int renew(void *server, struct provider_renewal *renewals, size_t count)
{
	int error = 0;

	for (size_t done = 0; done < count && !error; done += PACKET_ITEMS_MOST)
		error = renew_some(server, renewals + done,
				   count - done < PACKET_ITEMS_MOST ? count - done
								    : PACKET_ITEMS_MOST);
	return error;
}

static int release(void *context, const struct provider_hold *hold, bool lost)
{
	struct server *server = context;
	struct packet packet = { .op = PACKET_RELEASE, .hold = hold->own[0], .lost = lost };

	return call(server, &server->calls, &packet, NULL);
}

static int consistent(void *context, const struct provider_hold *hold)
{
	struct server *server = context;
	struct packet packet = { .op = PACKET_CONSISTENT, .hold = hold->own[0] };

	return call(server, &server->calls, &packet, NULL);
}

__attribute__((visibility("default"))) const struct remote_provider leasehold_provider = {
	.abi = PROVIDER_ABI,
	.size = sizeof(leasehold_provider),
	.scheme = "test",
	.capabilities = LH_CAP_SHARED | LH_CAP_FENCING | LH_CAP_TTL | LH_CAP_DEATH_RELEASES,
	.open = open_server,
	.close = close_server,
	.forget = forget,
	.ask = ask,
	.next_answer = next_answer,
	.confirm = confirm,
	.withdraw = withdraw,
	.sleep = sleep_until,
	.renew = renew,
	.release = release,
	.consistent = consistent,
};
