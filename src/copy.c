// SPDX-License-Identifier: Apache-2.0
#include "src/copy.h"

#if COPY_ASSEMBLY
#include <cpuid.h>

#define STRING_MIN 2048 // bytes from which REP MOVSB pays for its start
#define ERMS (1u << 9)  // CPUID 7, EBX

static bool has_fast_strings(void)
{
	static _Atomic int known; // 0: not asked yet
	int answer = atomic_load_explicit(&known, memory_order_relaxed);
	unsigned a, b = 0, c, d;

	if (!answer) {
		answer = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & ERMS) ? 1 : 2;
		atomic_store_explicit(&known, answer, memory_order_relaxed);
	}
	return answer == 1;
}

static inline void copy_line(void *to, const void *from)
{
	__asm__ volatile("movdqu (%1), %%xmm0\n\t"
			 "movdqu 16(%1), %%xmm1\n\t"
			 "movdqu 32(%1), %%xmm2\n\t"
			 "movdqu 48(%1), %%xmm3\n\t"
			 "movdqu %%xmm0, (%0)\n\t"
			 "movdqu %%xmm1, 16(%0)\n\t"
			 "movdqu %%xmm2, 32(%0)\n\t"
			 "movdqu %%xmm3, 48(%0)"
			 :
			 : "r"(to), "r"(from)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
}

// As many whole lines as there are; how many bytes that was.
static size_t copy_lines(void *to, const void *from, size_t size)
{
	const size_t whole = size / LAYOUT_LINE * LAYOUT_LINE;

	if (whole >= STRING_MIN && has_fast_strings()) {
		size_t left = whole;

		__asm__ volatile("rep movsb\n\tlfence"
				 : "+D"(to), "+S"(from), "+c"(left)
				 :
				 : "memory");
		return whole;
	}
	for (size_t at = 0; at < whole; at += LAYOUT_LINE)
		copy_line((uint8_t *)to + at, (const uint8_t *)from + at);
	return whole;
}
#else
static size_t copy_lines(void *to, const void *from, size_t size)
{
	(void)to;
	(void)from;
	(void)size;
	return 0;
}
#endif

void copy_to_shared(void *shared, const void *value, size_t size)
{
	const uint8_t *from = value;
	size_t at = copy_lines(shared, value, size);
	uint64_t word = 0;

	for (; at + sizeof(word) <= size; at += sizeof(word)) {
		memcpy(&word, from + at, sizeof(word));
		atomic_store_explicit((shared_u64 *)((uintptr_t)shared + at), word,
				      memory_order_relaxed);
	}
	if (at == size)
		return;
	word = 0;
	memcpy(&word, from + at, size - at);
	atomic_store_explicit((shared_u64 *)((uintptr_t)shared + at), word, memory_order_relaxed);
}

void copy_from_shared_any(void *value, const void *shared, size_t size)
{
	uint8_t *to = value;
	size_t at = copy_lines(value, shared, size);
	uint64_t word;

	for (; at + sizeof(word) <= size; at += sizeof(word)) {
		word = atomic_load_explicit((const shared_u64 *)((uintptr_t)shared + at),
					    memory_order_relaxed);
		memcpy(to + at, &word, sizeof(word));
	}
	if (at == size)
		return;
	word = atomic_load_explicit((const shared_u64 *)((uintptr_t)shared + at),
				    memory_order_relaxed);
	memcpy(to + at, &word, size - at);
}
