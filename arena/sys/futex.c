// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/futex.h"

#include "arena/sys/clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

// As in linux/futex.h since 5.16; written out because older headers lack it.
struct waitv_word {
	uint64_t value;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};
#define WAITV_32 2u
#define WAITV_PRIVATE 128u

enum { MANY_UNKNOWN, MANY_WORKS, MANY_MISSING };
static _Atomic int many_state = MANY_UNKNOWN;

bool futex_many_available(void)
{
	int state = atomic_load_explicit(&many_state, memory_order_relaxed);

	if (state == MANY_UNKNOWN) {
		// No words: EINVAL from a kernel that knows the call.
		syscall(SYS_futex_waitv, NULL, 0, 0, NULL, CLOCK_MONOTONIC);
		state = errno == EINVAL ? MANY_WORKS : MANY_MISSING;
		atomic_store_explicit(&many_state, state, memory_order_relaxed);
	}
	return state == MANY_WORKS;
}

static int wait_slice(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	const uint64_t slice = clock_now() + FUTEX_SLICE_NS;
	const bool ends = until_ns < slice;
	const struct timespec until = clock_timespec(ends ? until_ns : slice);
	const int private_flag = words[0].private_memory ? FUTEX_PRIVATE_FLAG : 0;

	for (size_t i = 1; i < count; i++) {
		if (atomic_load_explicit(words[i].address, memory_order_acquire) !=
		    words[i].expected)
			return -EAGAIN;
	}
	// WAIT_BITSET takes an absolute time.
	if (syscall(SYS_futex, words[0].address, FUTEX_WAIT_BITSET | private_flag,
		    words[0].expected, &until, NULL, FUTEX_BITSET_MATCH_ANY) == 0)
		return 0;
	if (errno == ETIMEDOUT)
		return ends ? -ETIMEDOUT : 0;
	return -errno;
}

int futex_wait_many(const struct futex_word *words, size_t count, uint64_t until_ns)
{
	struct waitv_word list[FUTEX_WORDS];
	const struct timespec until = clock_timespec(until_ns);
	long woken;

	if (!futex_many_available())
		return wait_slice(words, count, until_ns);
	for (size_t i = 0; i < count; i++)
		list[i] = (struct waitv_word){
			.value = words[i].expected,
			.address = (uintptr_t)words[i].address,
			.flags = WAITV_32 | (words[i].private_memory ? WAITV_PRIVATE : 0),
		};
	woken = syscall(SYS_futex_waitv, list, (unsigned)count, 0,
			until_ns == FUTEX_NEVER ? NULL : &until, CLOCK_MONOTONIC);
	if (woken >= 0)
		return (int)woken;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	// Refused from some moment on: the process has shut itself in since.
	atomic_store_explicit(&many_state, MANY_MISSING, memory_order_relaxed);
	return wait_slice(words, count, until_ns);
}

static int wake(const _Atomic uint32_t *address, int count, int flags)
{
	const int saved = errno;
	const long woken = syscall(SYS_futex, address, FUTEX_WAKE | flags, count, NULL, NULL, 0);

	errno = saved;
	return woken < 0 ? 0
			 : (int)woken; // EFAULT: truncated under us; its users are told on access
}

int futex_wake(const _Atomic uint32_t *address, int count)
{
	return wake(address, count, 0);
}

int futex_wake_private(const _Atomic uint32_t *address, int count)
{
	return wake(address, count, FUTEX_PRIVATE_FLAG);
}
