// SPDX-License-Identifier: Apache-2.0
//
// packets.h: what the tests' lock server (tests/support/lock_server.c) and its provider (provider.c,
// here) say to each other: packets over a SOCK_SEQPACKET socket, and queues of those that the socket
// has no room for yet.
#ifndef TESTS_SUPPORT_PROVIDER_PACKETS_H
#define TESTS_SUPPORT_PROVIDER_PACKETS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum packet_op {
	PACKET_HELLO, // this connection is of that session
	PACKET_ASK,   // the key is behind it
	PACKET_WITHDRAW,
	PACKET_CONFIRM,
	PACKET_RENEW, // items are behind it
	PACKET_RELEASE,
	PACKET_CONSISTENT,
	PACKET_COUNTS,    // answered with struct packet_counts behind it
	PACKET_HOLD_BACK, // until told otherwise no answers to the ops in `mask`
	PACKET_OPS
};

struct packet {
	uint32_t op;
	int32_t result;
	uint64_t number; // of an ask, or a call: the answer has the same
	uint64_t session;
	uint64_t hold; // the server's name for it
	uint64_t ttl_ns;
	uint64_t token;
	uint32_t mode;
	uint32_t may_wait;
	uint32_t lost;
	uint32_t flags;
	uint32_t mask;
	uint32_t size; // of what is behind it
};

struct packet_item {
	uint64_t hold;
	uint64_t ttl_ns;
	int64_t result;
};

struct packet_counts {
	uint64_t asked, asked_at_once; // the most that were out for one key at a time
	uint64_t withdrawn, granted, released;
	uint64_t renew_packets, renewed_items;
	uint64_t renewed_ns; // when the last of these packets came
	uint64_t held, waiting;
};

#define PACKET_MOST (64u * 1024)
#define PACKET_ITEMS_MOST 2000u

struct queued {
	struct queued *next;
	struct packet packet;
	char behind[];
};

struct outbox {
	struct queued *first, **last;
};

static inline void outbox_begin(struct outbox *outbox)
{
	outbox->first = NULL;
	outbox->last = &outbox->first;
}

// 0, or -ENOMEM.
static inline int outbox_add(struct outbox *outbox, const struct packet *packet, const void *behind)
{
	struct queued *queued = malloc(sizeof(*queued) + packet->size);

	if (!queued)
		return -ENOMEM;
	queued->next = NULL;
	queued->packet = *packet;
	if (packet->size)
		memcpy(queued->behind, behind, packet->size);
	*outbox->last = queued;
	outbox->last = &queued->next;
	return 0;
}

static inline void outbox_drop_first(struct outbox *outbox)
{
	struct queued *first = outbox->first;

	outbox->first = first->next;
	if (!outbox->first)
		outbox->last = &outbox->first;
	free(first);
}

static inline void outbox_clear(struct outbox *outbox)
{
	while (outbox->first)
		outbox_drop_first(outbox);
}

static inline ssize_t packet_send(int fd, struct packet *packet, const void *behind, int flags)
{
	struct iovec parts[2] = { { packet, sizeof(*packet) },
				  { (void *)(uintptr_t)behind, packet->size } };
	const struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent;

	do {
		sent = sendmsg(fd, &message, flags | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent;
}

// Sends what the socket has room for. False: the other has gone.
static inline bool outbox_flush(struct outbox *outbox, int fd)
{
	while (outbox->first) {
		if (packet_send(fd, &outbox->first->packet, outbox->first->behind, MSG_DONTWAIT) <
		    0)
			return errno == EAGAIN || errno == ENOBUFS;
		outbox_drop_first(outbox);
	}
	return true;
}

// 1: a packet; 0: none now; -1: the other has gone, or what came is none.
static inline int packet_receive(int fd, struct packet *packet, void *behind, size_t capacity,
				 int flags)
{
	struct iovec parts[2] = { { packet, sizeof(*packet) }, { behind, capacity } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t size;

	do {
		size = recvmsg(fd, &message, flags);
	} while (size < 0 && errno == EINTR);
	if (size < 0)
		return errno == EAGAIN ? 0 : -1;
	if (size < (ssize_t)sizeof(*packet) || (size_t)size != sizeof(*packet) + packet->size)
		return -1;
	return 1;
}

#endif
