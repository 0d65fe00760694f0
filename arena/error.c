// SPDX-License-Identifier: Apache-2.0
#include "arena/error.h"

#include "arena/layout.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static __thread char detail[ERROR_DETAIL_SIZE];

void error_note(const char *format, ...)
{
	const int before = errno;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	errno = before;
}

void error_note_text(const char *text)
{
	size_t length = 0;

	for (; text[length] && length < sizeof(detail) - 1; length++)
		detail[length] = text[length];
	detail[length] = 0;
}

void error_note_nothing(void)
{
	detail[0] = 0;
}

const char *lh_error_detail(void)
{
	return detail;
}

const char *lh_version(void)
{
	return LEASEHOLD_VERSION;
}

uint32_t lh_layout_version(void)
{
	return LAYOUT_VERSION;
}

static const struct {
	int error;
	const char *text;
} texts[] = {
	{ 0, "success" },
	{ EBUSY, "in use by another: wait with a deadline, or try again later" },
	{ ETIMEDOUT, "the deadline passed: lease-inspector tree shows who holds it" },
	{ ECANCELED, "the lease's cancel token fired: set another before further calls" },
	{ EINTR, "a signal came and the lease is interruptible: call again to go on" },
	{ ESTALE,
	  "the lease or arena is lost: release the handle, acquire a new lease, begin again" },
	{ EOWNERDEAD,
	  "the last holder was lost: pass ret_grant, repair the data, declare it consistent" },
	{ EPERM, "this lease does not hold it, or another thread's lease was used" },
	{ EDEADLK,
	  "the lease holds it already, or waiting would close a cycle: release and retry" },
	{ ENOLCK,
	  "no room for another lease or hold: create the arena with more max_leases or max_holds" },
	{ EBADMSG,
	  "the arena's content is damaged: lease-inspector check says where; create it anew" },
	{ EPROTONOSUPPORT,
	  "the arena was made by another layout, boot, clock or machine word: create it anew" },
	{ EEXIST, "something different stands there already: use equal options or another place" },
	{ ENOENT, "no such arena, name or placement: create it first" },
	{ ENOSPC, "no room: create a larger arena, or free memory in /dev/shm" },
	{ EACCES, "no permission, or another user's object: check its mode, or pass LH_ANY_OWNER" },
	{ EROFS, "the arena was opened read-only: open it without LH_READ_ONLY" },
	{ ENOTCONN, "the provider cannot be reached: whether the request took effect is unknown" },
	{ EINVAL, "an argument is not valid: the detail says which" },
	{ ENOTSUP, "this kernel, arena or provider cannot do that" },
	{ ENOMEM, "out of memory" },
	{ EOVERFLOW, "a counter is used up: place the primitive anew" },
	{ EMSGSIZE, "the buffer is too small" },
	{ ELIBBAD, "the provider's shared object cannot be used: the detail says which, and why" },
	{ ENODATA, "nothing was ever sent" },
	{ EUSERS, "no place is left: all parties have joined, or too many processes have it open" },
	{ EPIPE, "the sender closed, died or was lost" },
	{ EINPROGRESS, "not finished yet" },
	{ EMFILE, "too many open files in this process: raise its limit" },
	{ ENFILE, "too many open files on this host" },
	{ EAGAIN, "the kernel is short of threads or memory: try again" },
};

const char *lh_strerror(int error)
{
	const unsigned number = error < 0 ? -(unsigned)error : (unsigned)error;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if ((unsigned)texts[i].error == number)
			return texts[i].text;
	}
	return "an error of the operating system: errno(3) names it";
}
