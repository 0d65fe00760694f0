// SPDX-License-Identifier: Apache-2.0
#include "tests/support/lock_server.h"

#include <poll.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include <leasehold/grant.h>
#include <leasehold/locks.h>
#include <leasehold/time.h>
#include <urcu/list.h>

enum { CONNECTIONS = 600 };

struct connection {
	int fd; // -1: none
	uint64_t session;
	struct outbox outbox, kept;
};

struct key {
	struct cds_list_head node, holds, asks; // the asks in their order
	uint64_t token, asked;
	bool damaged;
	size_t size;
	char bytes[];
};

struct hold {
	struct cds_list_head node;
	uint64_t name, session, number, until_ns;
	enum lh_mode mode;
};

struct ask {
	struct cds_list_head node;
	struct connection *from;
	struct packet packet;
};

static struct connection connections[CONNECTIONS];
static CDS_LIST_HEAD(keys);
static struct packet_counts counts;
static uint64_t last_hold;
static uint32_t held_back; // ops, as bits

static void say(struct connection *to, const struct packet *packet, const void *behind)
{
	const bool keep = (held_back & LOCK_SERVER_OP(packet->op)) != 0;

	need_equal(outbox_add(keep ? &to->kept : &to->outbox, packet, behind), 0);
}

static void answer(struct connection *to, const struct packet *question, int result)
{
	const struct packet packet = { .op = question->op,
				       .number = question->number,
				       .result = result };

	say(to, &packet, NULL);
}

// ---- keys ----------------------------------------------------------------------------------------

static struct key *key_of(const char *bytes, size_t size)
{
	struct key *key;

	cds_list_for_each_entry(key, &keys, node) {
		if (key->size == size && memcmp(key->bytes, bytes, size) == 0)
			return key;
	}
	key = calloc(1, sizeof(*key) + size);
	need(key != NULL);
	key->size = size;
	memcpy(key->bytes, bytes, size);
	CDS_INIT_LIST_HEAD(&key->holds);
	CDS_INIT_LIST_HEAD(&key->asks);
	cds_list_add(&key->node, &keys);
	return key;
}

static bool is_free_for(const struct key *key, enum lh_mode mode)
{
	const struct hold *hold;

	cds_list_for_each_entry(hold, &key->holds, node) {
		if (mode != LH_SHARED || hold->mode != LH_SHARED)
			return false;
	}
	return true;
}

static void grant(struct key *key, const struct ask *ask)
{
	struct packet packet = { .op = PACKET_ASK, .number = ask->packet.number };
	struct hold *hold = calloc(1, sizeof(*hold));

	need(hold != NULL);
	hold->name = packet.hold = ++last_hold;
	hold->session = ask->from->session;
	hold->number = ask->packet.number;
	hold->mode = (enum lh_mode)ask->packet.mode;
	hold->until_ns = lh_now() + ask->packet.ttl_ns;
	cds_list_add(&hold->node, &key->holds);
	if (hold->mode == LH_EXCLUSIVE)
		key->token++;
	packet.token = key->token;
	packet.flags = key->damaged ? LH_GRANT_OWNER_DIED : 0;
	counts.granted++;
	counts.held++;
	say(ask->from, &packet, NULL);
}

static void drop_ask(struct key *key, struct ask *ask)
{
	cds_list_del(&ask->node);
#ifndef __clang_analyzer__ // it takes an element that was unlinked for one still in the list
	free(ask);
#endif
	key->asked--;
	counts.waiting--;
}

static void serve_asks(struct key *key)
{
	while (!cds_list_empty(&key->asks)) {
		struct ask *first = cds_list_first_entry(&key->asks, struct ask, node);

		if (!is_free_for(key, (enum lh_mode)first->packet.mode))
			return;
		grant(key, first);
		drop_ask(key, first);
	}
}

static void drop_hold(struct key *key, struct hold *hold, bool lost)
{
	if (lost && hold->mode == LH_EXCLUSIVE)
		key->damaged = true;
	cds_list_del(&hold->node);
#ifndef __clang_analyzer__ // it takes an element that was unlinked for one still in the list
	free(hold);
#endif
	counts.held--;
}

static struct hold *find_hold(uint64_t name, struct key **ret_key)
{
	struct hold *hold;
	struct key *key;

	cds_list_for_each_entry(key, &keys, node) {
		cds_list_for_each_entry(hold, &key->holds, node) {
			if (hold->name != name)
				continue;
			*ret_key = key;
			return hold;
		}
	}
	return NULL;
}

// Ends what has expired; when to look again.
static uint64_t expire(void)
{
	const uint64_t now = lh_now();
	struct hold *hold, *next;
	uint64_t first = now + LH_SEC(1);
	struct key *key;

	cds_list_for_each_entry(key, &keys, node) {
		cds_list_for_each_entry_safe(hold, next, &key->holds, node) {
			if (hold->until_ns <= now)
				drop_hold(key, hold, true);
			else if (hold->until_ns < first)
				first = hold->until_ns;
		}
		serve_asks(key);
	}
	return first;
}

// ---- what is asked -------------------------------------------------------------------------------

static void ask(struct connection *from, const struct packet *packet, const char *bytes)
{
	struct key *key = key_of(bytes, packet->size);
	struct ask *made;

	counts.asked++;
	if (!packet->may_wait &&
	    (!cds_list_empty(&key->asks) || !is_free_for(key, (enum lh_mode)packet->mode))) {
		answer(from, packet, -EBUSY);
		return;
	}
	made = calloc(1, sizeof(*made));
	need(made != NULL);
	*made = (struct ask){ .from = from, .packet = *packet };
	cds_list_add_tail(&made->node, &key->asks);
	counts.waiting++;
	key->asked++;
	if (key->asked > counts.asked_at_once)
		counts.asked_at_once = key->asked;
	serve_asks(key);
}

static void withdraw(const struct connection *from, const struct packet *packet)
{
	struct hold *hold, *next_hold;
	struct ask *ask, *next_ask;
	struct key *key;

	counts.withdrawn++;
	cds_list_for_each_entry(key, &keys, node) {
		cds_list_for_each_entry_safe(ask, next_ask, &key->asks, node) {
			if (ask->from == from && ask->packet.number == packet->number)
				drop_ask(key, ask);
		}
		cds_list_for_each_entry_safe(hold, next_hold, &key->holds, node) {
			if (hold->session == from->session && hold->number == packet->number)
				drop_hold(key, hold, false);
		}
		serve_asks(key);
	}
}

static int renew(uint64_t name, uint64_t ttl_ns)
{
	struct key *key;
	struct hold *hold = find_hold(name, &key);

	if (!hold)
		return -ESTALE;
	if (hold->until_ns < lh_now() + ttl_ns)
		hold->until_ns = lh_now() + ttl_ns;
	return 0;
}

static void renew_all(struct connection *from, struct packet *packet, struct packet_item *items)
{
	counts.renew_packets++;
	counts.renewed_ns = lh_now();
	for (size_t i = 0; i < packet->size / sizeof(*items); i++) {
		items[i].result = renew(items[i].hold, items[i].ttl_ns);
		counts.renewed_items++;
	}
	say(from, packet, items);
}

static int release(const struct packet *packet)
{
	struct key *key;
	struct hold *hold = find_hold(packet->hold, &key);

	if (!hold)
		return -ESTALE;
	counts.released++;
	drop_hold(key, hold, packet->lost);
	serve_asks(key);
	return 0;
}

static int repair(const struct packet *packet)
{
	struct key *key;

	if (!find_hold(packet->hold, &key))
		return -ESTALE;
	key->damaged = false;
	return 0;
}

static void hold_back(struct connection *from, const struct packet *packet)
{
	held_back = packet->mask;
	for (size_t i = 0; i < CONNECTIONS && !held_back; i++) {
		struct connection *to = &connections[i];

		for (; to->fd >= 0 && to->kept.first; outbox_drop_first(&to->kept))
			say(to, &to->kept.first->packet, to->kept.first->behind);
	}
	answer(from, packet, 0);
}

static void obey(struct connection *from, struct packet *packet, void *behind)
{
	switch ((enum packet_op)packet->op) {
	case PACKET_HELLO:
		from->session = packet->session;
		break;
	case PACKET_ASK:
		ask(from, packet, behind);
		break;
	case PACKET_WITHDRAW:
		withdraw(from, packet);
		break;
	case PACKET_CONFIRM:
		answer(from, packet, renew(packet->hold, packet->ttl_ns));
		break;
	case PACKET_RENEW:
		renew_all(from, packet, behind);
		break;
	case PACKET_RELEASE:
		answer(from, packet, release(packet));
		break;
	case PACKET_CONSISTENT:
		answer(from, packet, repair(packet));
		break;
	case PACKET_COUNTS:
		packet->size = sizeof(counts);
		say(from, packet, &counts);
		break;
	case PACKET_HOLD_BACK:
		hold_back(from, packet);
		break;
	default:
		need(false);
	}
}

// ---- connections ---------------------------------------------------------------------------------

static void accept_one(int listener)
{
	const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (size_t i = 0; i < CONNECTIONS && fd >= 0; i++) {
		struct connection *connection = &connections[i];

		if (connection->fd >= 0)
			continue;
		*connection = (struct connection){ .fd = fd };
		outbox_begin(&connection->outbox);
		outbox_begin(&connection->kept);
		return;
	}
	need(fd < 0);
}

static bool has_connection(uint64_t session)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		if (connections[i].fd >= 0 && connections[i].session == session)
			return true;
	}
	return false;
}

static void end(struct connection *connection)
{
	struct hold *hold, *next_hold;
	struct ask *ask, *next_ask;
	struct key *key;
	bool ended;

	close(connection->fd);
	connection->fd = -1;
	outbox_clear(&connection->outbox);
	outbox_clear(&connection->kept);
	ended = !has_connection(connection->session);
	cds_list_for_each_entry(key, &keys, node) {
		cds_list_for_each_entry_safe(ask, next_ask, &key->asks, node) {
			if (ask->from == connection)
				drop_ask(key, ask);
		}
		cds_list_for_each_entry_safe(hold, next_hold, &key->holds, node) {
			if (ended && hold->session == connection->session)
				drop_hold(key, hold, true);
		}
		serve_asks(key);
	}
}

static void attend(struct connection *connection, short events)
{
	static char behind[PACKET_MOST];
	struct packet packet;
	int got = 1;

	while (got == 1 && (events & (POLLIN | POLLHUP | POLLERR))) {
		got = packet_receive(connection->fd, &packet, behind, sizeof(behind), 0);
		if (got == 1)
			obey(connection, &packet, behind);
	}
	if (got < 0)
		end(connection);
}

static void flush_all(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		if (connections[i].fd >= 0 &&
		    !outbox_flush(&connections[i].outbox, connections[i].fd))
			end(&connections[i]);
	}
}

static void serve(const struct line *line, void *context)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	static struct pollfd entries[1 + CONNECTIONS];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", (const char *)context);
	need(listener >= 0);
	need(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0);
	need(listen(listener, CONNECTIONS) == 0);
	for (size_t i = 0; i < CONNECTIONS; i++)
		connections[i].fd = -1;
	line_say(line, 1);
	for (;;) {
		const uint64_t until = expire(), from = lh_now();
		const struct timespec left = { .tv_nsec = (long)(until > from ? until - from : 0) %
							  1000000000 };

		flush_all();
		entries[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
		for (size_t i = 0; i < CONNECTIONS; i++)
			entries[1 + i] = (struct pollfd){
				.fd = connections[i].fd,
				.events = (short)(POLLIN |
						  (connections[i].fd >= 0 &&
								   connections[i].outbox.first
							   ? POLLOUT
							   : 0))
			};
		ppoll(entries, 1 + CONNECTIONS, &left, NULL);
		if (entries[0].revents)
			accept_one(listener);
		for (size_t i = 0; i < CONNECTIONS; i++) {
			if (connections[i].fd >= 0 && entries[1 + i].fd == connections[i].fd &&
			    entries[1 + i].revents)
				attend(&connections[i], entries[1 + i].revents);
		}
	}
}

struct peer lock_server_start(const char *path)
{
	struct peer peer = peer_start(serve, (void *)(uintptr_t)path);

	need_equal(line_hear(&peer.line), 1);
	return peer;
}

// ---- asking the server itself --------------------------------------------------------------------

static void tell_server(const char *path, struct packet *packet, void *behind, size_t capacity)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	need(fd >= 0);
	need(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	need(packet_send(fd, packet, NULL, 0) > 0);
	need_equal(packet_receive(fd, packet, behind, capacity, 0), 1);
	close(fd);
}

struct packet_counts lock_server_counts(const char *path)
{
	struct packet packet = { .op = PACKET_COUNTS };
	struct packet_counts result = { .asked = 0 };

	tell_server(path, &packet, &result, sizeof(result));
	return result;
}

void lock_server_hold_back(const char *path, uint32_t ops)
{
	struct packet packet = { .op = PACKET_HOLD_BACK, .mask = ops };

	tell_server(path, &packet, NULL, 0);
}
