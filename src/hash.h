// SPDX-License-Identifier: Apache-2.0
//
// hash.h: the hash by which processes find keys, and notice bytes that nobody wrote. No defence
// against malice.
#ifndef SRC_HASH_H
#define SRC_HASH_H

#include <stddef.h>
#include <stdint.h>

// FNV-1a, and its bits mixed by the finaliser of MurmurHash3. All processes have to agree on it.
static inline uint64_t hash_bytes(const void *bytes, size_t size)
{
	const uint8_t *at = (const uint8_t *)bytes;
	uint64_t hash = 14695981039346656037u ^ size;

	for (size_t i = 0; i < size; i++) {
		// The analyzer knows only the first byte of a number that was stored whole.
		// NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
		hash = (hash ^ at[i]) * 1099511628211u;
	}
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdu;
	hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53u;
	return hash ^ hash >> 33;
}

#endif
