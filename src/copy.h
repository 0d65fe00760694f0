// SPDX-License-Identifier: Apache-2.0
//
// copy.h: copying values that others may be writing, or reading, at that moment.
//
// A reader that is overtaken by a writer copies bytes of two values and then throws them away, as
// it finds that the slot has changed. In C11 that is a data race all the same if either side copies
// by memcpy or by plain loads. So on x86-64 both copy in assembly, which the C11 model does not
// reach into, and the compiler may not move other memory accesses across it ("memory"): MOVDQU for
// the short, REP MOVSB for the long where the processor says that it is fast (ERMS). The processor
// does not reorder loads with loads, nor stores with stores; the stores inside one REP MOVSB are
// unordered among themselves, not against those after it (Intel SDM 3A, 9.2.4); its loads are
// fenced by LFENCE, which no manual asks for and none forbids doing without.
//
// Elsewhere, and under sanitizers, which do not see into assembly either, it is relaxed atomics of
// 8 bytes: right on every processor, and about 0.75 of memcpy's rate.
//
// Shared addresses are multiples of 64 with room for whole lines; private ones are any.
#ifndef SRC_COPY_H
#define SRC_COPY_H

#include "arena/layout.h"

#include <string.h>

#ifdef __has_feature
#define COPY_HAS(feature) __has_feature(feature)
#else
#define COPY_HAS(feature) 0
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&      \
	!COPY_HAS(address_sanitizer) && !COPY_HAS(thread_sanitizer) && !COPY_HAS(memory_sanitizer)
#define COPY_ASSEMBLY 1
#else
#define COPY_ASSEMBLY 0
#endif

void copy_to_shared(void *shared, const void *value, size_t size);
void copy_from_shared_any(void *value, const void *shared, size_t size);

// What most values are is copied in place, by moves that overlap where the size is none of theirs.
static inline void copy_from_shared(void *value, const void *shared, size_t size)
{
#if COPY_ASSEMBLY
	if (size >= 32 && size <= 64) {
		__asm__ volatile("movdqu (%1), %%xmm0\n\t"
				 "movdqu 16(%1), %%xmm1\n\t"
				 "movdqu -32(%1,%2), %%xmm2\n\t"
				 "movdqu -16(%1,%2), %%xmm3\n\t"
				 "movdqu %%xmm0, (%0)\n\t"
				 "movdqu %%xmm1, 16(%0)\n\t"
				 "movdqu %%xmm2, -32(%0,%2)\n\t"
				 "movdqu %%xmm3, -16(%0,%2)"
				 :
				 : "r"(value), "r"(shared), "r"(size)
				 : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
		return;
	}
#endif
	copy_from_shared_any(value, shared, size);
}

#endif
