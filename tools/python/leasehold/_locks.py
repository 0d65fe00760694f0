# SPDX-License-Identifier: Apache-2.0
"""Named locks: a lock by key, and by URL where it is kept."""

import asyncio
import ctypes
import errno
import math
import select
from contextlib import asynccontextmanager, contextmanager

from . import _library as c
from ._library import byref, c_void_p, check, check_wait

EXCLUSIVE, SHARED, INTENT_SHARED, INTENT_EXCLUSIVE = range(4)


class Handle:
    """What was acquired. It is released by release(), or at the end of the `with` that gave it."""

    def __init__(self, pointer):
        self._pointer = pointer

    @property
    def valid(self):
        return c.lh_handle_valid(self._pointer)

    @property
    def token(self):
        return c.lh_handle_token(self._pointer)

    @property
    def owner_died(self):
        return bool(c.lh_handle_flags(self._pointer) & c.GRANT_OWNER_DIED)

    @property
    def slot(self):
        return check(c.lh_handle_slot(self._pointer))

    @property
    def remaining(self):
        """Seconds; 0 once lost."""
        left = c.lh_handle_remaining(self._pointer)
        return math.inf if left == c.FOREVER else left / 1e9

    def extend(self, seconds):
        check(c.lh_handle_extend(self._pointer, c.nanoseconds(seconds)))

    def consistent(self):
        check(c.lh_handle_consistent(self._pointer))

    def loss_fd(self):
        return check(c.lh_handle_loss_fd(self._pointer))

    def release(self):
        """LeaseLost if it had been lost; it is gone all the same."""
        pointer, self._pointer = self._pointer, None
        check(c.lh_handle_release(pointer))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._pointer:
            self.release()

    def __del__(self):
        c.lh_handle_release(self._pointer)  # None does nothing


class _Pending:
    """An acquire under way; its descriptor is readable when it is finished."""

    def __init__(self, locks, key, timeout, options):
        if b"\0" in key:
            raise ValueError("a key with a zero byte can be tried (timeout=0), not waited for")
        self._pointer = c_void_p()
        check(c.lh_acquire_start(locks._pointer, key, c.deadline_after(timeout), byref(options),
                                 byref(self._pointer)))
        self.fd = check(c.lh_pending_fd(self._pointer))

    def finish(self):
        """None while it waits."""
        handle = c_void_p()
        result = c.lh_pending_finish(self._pointer, byref(handle))
        if result == -errno.EINPROGRESS:
            return None
        self._pointer = None
        check(result)
        return Handle(handle)

    def give_up(self):
        """What it may have been granted meanwhile is released."""
        if not self._pointer:
            return
        c.lh_pending_cancel(self._pointer)
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        try:
            while True:
                poll.poll()
                handle = self.finish()
                if handle:
                    handle.release()
                    return
        except c.Error:
            return  # ECANCELED, or what else ended it


class Locks:
    """A set of named locks: Locks("shm://jobs"), Locks("file:///var/lock/jobs").

    `with locks.held("key", timeout=2) as handle:` in threads, `async with locks.holding("key"):` in
    asyncio. Both give way to Ctrl-C, and to cancelling the task, without leaving the lock taken.
    """

    def __init__(self, url):
        self.url = url
        self._pointer = c_void_p()
        check(c.lh_locks_open(c.name_bytes(url), byref(self._pointer)))

    def close(self):
        check(c.lh_locks_close(self._pointer))
        self._pointer = c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def capabilities(self):
        return c.lh_locks_capabilities(self._pointer)

    @staticmethod
    def _options(mode=EXCLUSIVE, ttl=None, auto_renew=False, kill_on_expiry=False,
                 max_renewals=0, max_holders=0, label=None):
        return c.AcquireOptions(mode=mode, ttl_ns=c.nanoseconds(ttl),
                                flags=(c.LEASE_AUTO_RENEW * auto_renew
                                       | c.LEASE_KILL_ON_EXPIRY * kill_on_expiry),
                                max_renewals=max_renewals, max_holders=max_holders,
                                label=c.name_bytes(label))

    def acquire(self, key, timeout=None, **options):
        """A Handle; raises Timeout. timeout 0 tries once; keys are str or bytes.

        Options: mode (EXCLUSIVE, SHARED, …), ttl in seconds, auto_renew, kill_on_expiry,
        max_renewals, max_holders, label.
        """
        key = c.name_bytes(key)
        wanted = self._options(**options)
        handle = c_void_p()
        result = c.lh_acquire_key(self._pointer, key, len(key), c.Deadline(c.NOW), byref(wanted),
                                  byref(handle))
        if result == 0:
            return Handle(handle)
        if result != -errno.EBUSY or timeout == 0:
            check_wait(result)
        # Waiting in poll lets Python run its signal handlers.
        pending = _Pending(self, key, timeout, wanted)
        poll = select.poll()
        poll.register(pending.fd, select.POLLIN)
        try:
            while True:
                poll.poll()
                granted = pending.finish()
                if granted:
                    return granted
        finally:
            pending.give_up()

    @contextmanager
    def held(self, key, timeout=None, **options):
        handle = self.acquire(key, timeout, **options)
        try:
            yield handle
        finally:
            handle.__exit__()

    async def acquire_async(self, key, timeout=None, **options):
        """acquire for asyncio."""
        pending = _Pending(self, c.name_bytes(key), timeout, self._options(**options))
        loop = asyncio.get_running_loop()
        try:
            while True:
                ready = loop.create_future()
                loop.add_reader(pending.fd, lambda: ready.done() or ready.set_result(None))
                try:
                    await ready
                finally:
                    loop.remove_reader(pending.fd)
                granted = pending.finish()
                if granted:
                    return granted
        finally:
            pending.give_up()

    @asynccontextmanager
    async def holding(self, key, timeout=None, **options):
        handle = await self.acquire_async(key, timeout, **options)
        try:
            yield handle
        finally:
            handle.__exit__()


def key_join(*parts):
    """One key that no other parts give."""
    names = (ctypes.c_char_p * len(parts))(*map(c.name_bytes, parts))
    room = sum(len(c.name_bytes(part)) + 24 for part in parts) + 1
    buffer = ctypes.create_string_buffer(room)
    size = check(c.lh_key_join(buffer, room, names, len(parts)))
    return buffer.raw[:size]
