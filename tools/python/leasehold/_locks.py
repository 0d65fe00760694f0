# SPDX-License-Identifier: Apache-2.0
"""Named locks: a lock by key, and by URL where it is kept."""

import asyncio
import ctypes
import errno
import math
import select
from contextlib import asynccontextmanager, contextmanager

from . import _library as c
from ._interrupt import HeldBack, taking
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
        self._pointer = c_void_p()
        if b"\0" in key:
            raise ValueError("a key with a zero byte can be tried (timeout=0), not waited for")
        check(c.lh_acquire_start(locks._pointer, key, c.deadline_after(timeout), byref(options),
                                 byref(self._pointer)))

    @property
    def fd(self):
        return check(c.lh_pending_fd(self._pointer))

    def finish(self):
        """None while it waits."""

        def take(_):
            handle = c_void_p()
            result = c.lh_pending_finish(self._pointer, byref(handle))
            if result == -errno.EINPROGRESS:
                return None
            self._pointer = None
            check(result)
            return Handle(handle)

        return taking(take, Handle.release)

    def give_up(self):
        """What it may have been granted meanwhile is released. A second Ctrl-C waits for the end of it."""
        with HeldBack():
            pointer, self._pointer = self._pointer, None
            if pointer:
                handle = c_void_p()
                c.lh_pending_cancel(pointer)  # it is finished then
                c.lh_pending_finish(pointer, byref(handle))
                c.lh_handle_release(handle)

    def __del__(self):
        self.give_up()


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
                 max_renewals=0, max_holders=0, label=None, this_thread=False, in_order=False):
        return c.AcquireOptions(mode=mode, ttl_ns=c.nanoseconds(ttl),
                                flags=(c.LEASE_AUTO_RENEW * auto_renew
                                       | c.LEASE_KILL_ON_EXPIRY * kill_on_expiry
                                       | c.ACQUIRE_IN_ORDER * in_order
                                       | c.ACQUIRE_THIS_THREAD * this_thread),
                                max_renewals=max_renewals, max_holders=max_holders,
                                label=c.name_bytes(label))

    def acquire(self, key, timeout=None, **options):
        """A Handle; raises Timeout. timeout 0 tries once; keys are str or bytes.

        Options: mode (EXCLUSIVE, SHARED, …), ttl in seconds, auto_renew, kill_on_expiry,
        max_renewals, max_holders, label, this_thread (no other thread will release it).
        """
        key = c.name_bytes(key)
        wanted = self._options(**options)

        def try_once(_):
            handle = c_void_p()
            result = c.lh_acquire_key(self._pointer, key, len(key), c.Deadline(c.NOW),
                                      byref(wanted), byref(handle))
            if result == 0:
                return Handle(handle)
            if result != -errno.EBUSY or timeout == 0:
                check_wait(result)
            return None

        handle = taking(try_once, Handle.release)
        if handle:
            return handle
        pending = taking(lambda _: _Pending(self, key, timeout, wanted), _Pending.give_up)
        try:
            # Waiting in poll lets Python run its signal handlers.
            poll = select.poll()
            poll.register(pending.fd, select.POLLIN)
            while not handle:
                poll.poll()
                handle = pending.finish()
        except BaseException:
            pending.give_up()
            raise
        return handle

    def _acquire_in_steps(self, call, timeout, options):
        # It cannot be interrupted in C: it looks up now and then, and is in line anew.
        wanted = self._options(**options)
        deadline = c.deadline_after(timeout)

        def take(held_back):
            handle = c_void_p()
            while True:
                step = c.lh_deadline_after(100_000_000)
                last = deadline.ns <= step.ns
                result = call(deadline if last else step, byref(wanted), byref(handle))
                if result == 0:
                    return Handle(handle)
                if result != -errno.ETIMEDOUT or last:
                    check_wait(result)
                held_back.let_through()

        return taking(take, Handle.release)

    def acquire_all(self, keys, timeout=None, **options):
        """One Handle for several keys without zero bytes, all or nothing, in an order that cannot deadlock.

        Options as acquire's, and in_order: the caller's order, not the canonical one.
        """
        keys = [c.name_bytes(key) for key in keys]
        names = (ctypes.c_char_p * len(keys))(*keys)
        return self._acquire_in_steps(
            lambda *rest: c.lh_acquire_all(self._pointer, names, len(keys), *rest), timeout, options)

    def acquire_path(self, path, timeout=None, **options):
        """A Handle for "bucket/dir/object" under intention locks on "bucket" and "bucket/dir"."""
        path = c.name_bytes(path)
        return self._acquire_in_steps(
            lambda *rest: c.lh_acquire_path(self._pointer, path, *rest), timeout, options)

    def version(self, key):
        """Changes with every exclusive grant and release of the key; odd while it is held so."""
        version = ctypes.c_uint64()
        check(c.lh_key_version(self._pointer, c.name_bytes(key), byref(version)))
        return version.value

    @contextmanager
    def held(self, key, timeout=None, **options):
        handle = self.acquire(key, timeout, **options)
        try:
            yield handle
        finally:
            handle.__exit__()

    async def acquire_async(self, key, timeout=None, **options):
        """acquire for asyncio."""
        wanted = self._options(**options)
        loop = asyncio.get_running_loop()
        pending = taking(lambda _: _Pending(self, c.name_bytes(key), timeout, wanted),
                         _Pending.give_up)
        handle = None
        try:
            fd = pending.fd
            while not handle:
                ready = loop.create_future()
                loop.add_reader(fd, lambda: ready.done() or ready.set_result(None))
                try:
                    await ready
                finally:
                    loop.remove_reader(fd)
                handle = pending.finish()
        except BaseException:
            pending.give_up()
            raise
        return handle

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
