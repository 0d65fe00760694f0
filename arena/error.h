// SPDX-License-Identifier: Apache-2.0
//
// error.h: the thread's last failure in words.
#ifndef ARENA_ERROR_H
#define ARENA_ERROR_H

#include <leasehold/error.h>

#define ERROR_DETAIL_SIZE 256

// Notes what the failure was about; errno stays. Not async-signal-safe.
void error_note(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

// A text that needs no formatting. Async-signal-safe.
void error_note_text(const char *text) __attribute__((cold));

// The failure has no more to say. Async-signal-safe.
void error_note_nothing(void);

// The same, and is `error`: `return error_detail(-ENOSPC, "…", …)`. A macro, so that compilers and
// analysers see that it is not 0.
#define error_detail(error, ...) (error_note(__VA_ARGS__), (error))
// For what may be called in a signal's handler.
#define error_text(error, text) (error_note_text(text), (error))

#endif
