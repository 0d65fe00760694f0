// SPDX-License-Identifier: Apache-2.0
//
// copy.h: copying values that others may be writing, or reading, at that moment.
//
// A reader that is overtaken by a writer copies bytes of two values and then throws them away, as it
// finds that the slot has changed. In C11 that is a data race all the same if either side copies by
// memcpy or by plain loads. So on x86-64 both copy in assembly, which the C11 model does not reach
// into, and the compiler may not move other memory accesses across it ("memory"): MOVDQU for the
// short, REP MOVSB for the long where the processor says that it is fast (ERMS). The processor does
// not reorder loads with loads, nor stores with stores; the stores inside one REP MOVSB are
// unordered among themselves, not against those after it (Intel SDM 3A, 9.2.4); its loads are fenced
// by LFENCE, which no manual asks for and none forbids doing without.
//
// Elsewhere, and under sanitizers, which do not see into assembly either, it is relaxed atomics of 8
// bytes: right on every processor, and about 0.75 of memcpy's rate.
//
// Shared addresses are multiples of 64 with room for whole lines; private ones are any.
#ifndef SRC_COPY_H
#define SRC_COPY_H

#include <stddef.h>

void copy_to_shared(void *shared, const void *value, size_t size);
void copy_from_shared(void *value, const void *shared, size_t size);

#endif
