// SPDX-License-Identifier: Apache-2.0
//
// lock_server.h: a server of named locks for tests of what src/remote*.c do, in a peer of its own.
// Its provider is tests/support/provider. It keeps everything in memory: exclusive and shared locks,
// granted in the order in which they are asked for, tokens, TTLs, and whether a holder was lost.
#ifndef TESTS_SUPPORT_LOCK_SERVER_H
#define TESTS_SUPPORT_LOCK_SERVER_H

#include "tests/support/peer.h"
#include "tests/support/provider/packets.h"

// Starts one that listens at `path`.
struct peer lock_server_start(const char *path);

// What it has counted since it began.
struct packet_counts lock_server_counts(const char *path);
// From now on it does what it is asked to, but keeps to itself what it would answer to these ops, as
// bits; with 0 it says all of it.
void lock_server_hold_back(const char *path, uint32_t ops);

#define LOCK_SERVER_OP(op) (UINT32_C(1) << (op))

#endif
