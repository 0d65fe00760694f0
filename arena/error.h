// SPDX-License-Identifier: Apache-2.0
//
// error.h: the thread's last failure in words.
#ifndef ARENA_ERROR_H
#define ARENA_ERROR_H

#include <leasehold/error.h>

// Notes what the failure was about; errno stays. Not async-signal-safe.
void error_note(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

// The same, and is `error`: `return error_detail(-ENOSPC, "…", …)`. A macro, so that compilers and
// analysers see that it is not 0.
#define error_detail(error, ...) (error_note(__VA_ARGS__), (error))

#endif
