// SPDX-License-Identifier: Apache-2.0
//
// futex.h: sleeping on several words at once, and waking.
//
// futex_waitv(2) (Linux 5.16) is the one way to sleep. Where it is missing (ENOSYS, or EPERM from a
// seccomp filter) futex_wait_many sleeps on the first word alone, in slices of FUTEX_SLICE_NS: a
// change of another word is then noticed that much later.
#ifndef ARENA_SYS_FUTEX_H
#define ARENA_SYS_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUTEX_WORDS 16
#define FUTEX_SLICE_NS UINT64_C(2000000)
#define FUTEX_NEVER UINT64_MAX

struct futex_word {
	const _Atomic uint32_t *address;
	uint32_t expected;
	bool private_memory; // process-local: both wait and wake must say so
};

// Sleeps while every word has its expected value, at most until `until_ns` (CLOCK_MONOTONIC).
// Returns >= 0: woken by that word; -EAGAIN: a word had changed already; -ETIMEDOUT; -EINTR: a
// signal; -EFAULT: a word lies beyond the end of a truncated object. All but the last two may be
// spurious. The fallback returns 0 after a slice.
int futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns);

// Wakes at most `count` sleepers on a shared word; how many. Async-signal-safe.
int futex_wake(const _Atomic uint32_t *address, int count);
// The same for a word that only this process sleeps on.
int futex_wake_private(const _Atomic uint32_t *address, int count);

#define FUTEX_ALL INT32_MAX

// Whether futex_waitv works here (asks the kernel once).
bool futex_many_available(void);

// The half of a 64-bit word that holds its bits 31..0.
static inline _Atomic uint32_t *futex_low_half(const _Atomic uint64_t *word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (_Atomic uint32_t *)(uintptr_t)word;
#else
	return (_Atomic uint32_t *)(uintptr_t)word + 1;
#endif
}

#endif
