// SPDX-License-Identifier: Apache-2.0
//
// error.h: the thread's last failure in words.
#ifndef ARENA_ERROR_H
#define ARENA_ERROR_H

#include <leasehold/error.h>

// Notes what the failure was about and returns `error`, so that callers can
// `return error_detail(-ENOSPC, "…", …)`. Not async-signal-safe.
int error_detail(int error, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

#endif
