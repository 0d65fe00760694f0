// SPDX-License-Identifier: Apache-2.0
//
// pin.h: which CPU each measuring process is kept on, by the distances that hwloc tells. hwloc is
// loaded when first asked for, as the library does (arena/sys/topology.h).
#ifndef BENCH_PIN_H
#define BENCH_PIN_H

#include <stddef.h>
#include <stdint.h>

enum pin { PIN_NONE, PIN_NEAR, PIN_FAR };

// Chooses an order of CPUs: each next one as near to (far from) those before it as there is. Says
// in `text` what came of it. A topology that is not this machine's (HWLOC_SYNTHETIC) gives an order
// too, which is shown and not applied.
void pin_choose(enum pin pin, char *text, size_t size);
// Keeps the calling process on the CPU of that place in the order, if one was chosen.
void pin_apply(size_t place);

#endif
