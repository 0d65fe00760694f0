# SPDX-License-Identifier: Apache-2.0
"""Arenas and the primitives in them."""

import ctypes
import errno
import os
import threading
import weakref
from contextlib import contextmanager

from . import _library as c
from ._interrupt import taking
from ._library import byref, c_void_p, check, check_wait

_arenas = weakref.WeakSet()


def _forget_leases():
    # A forked child's copies of its parent's leases are void, and releasing them frees the copy.
    for arena in _arenas:
        arena._leases = threading.local()


os.register_at_fork(after_in_child=_forget_leases)


class _Lease:
    """One thread's own. It is interruptible, so that a signal's handler (Ctrl-C) gets to run."""

    def __init__(self, arena):
        self.pointer = c_void_p()
        self.holdings = 0
        self.parties = set()  # barriers that it is a party of, by offset
        options = c.LeaseOptions(flags=c.LEASE_INTERRUPTIBLE, label=b"python")
        check(c.lh_lease_acquire(arena._pointer, byref(options), byref(self.pointer)))

    def valid(self):
        return c.lh_lease_valid(self.pointer)

    def release(self):
        pointer, self.pointer = self.pointer, None
        c.lh_lease_release(pointer)

    def __del__(self):
        # What it still holds when its thread ends counts as held by one that died.
        if self.pointer and not self.holdings and not self.parties:
            self.release()


class Arena:
    """An arena in shared memory, made if there is none.

    name is one of POSIX shared memory, or a path on tmpfs. Arenas can be used in forked children,
    multiprocessing's among them; what the parent holds is the parent's.
    """

    def __init__(self, name, *, create=True, exclusive=False, read_only=False, any_owner=False,
                 size=0, max_leases=0, max_holds=0, mode=0):
        flags = (c.CREATE * create | c.EXCL * exclusive | c.READ_ONLY * read_only
                 | c.ANY_OWNER * any_owner)
        options = c.ArenaOptions(size=size, max_leases=max_leases, max_holds=max_holds, mode=mode)
        self.name = name
        self._pointer = c_void_p()
        self._leases = threading.local()
        # By id, as they have no hash: memory that views look at, slices of them too, and those views.
        self._memory = weakref.WeakValueDictionary()
        self._views = weakref.WeakValueDictionary()
        check(c.lh_arena_open(c.name_bytes(name), flags, byref(options), byref(self._pointer)))
        _arenas.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes it, and ends the calling thread's lease. Error (EBUSY) while other threads have one.

        The memoryviews of its memory are released; BufferError, and it is open still, while there are
        others, made of them by slicing and the like.
        """
        for view in list(self._views.values()):
            view.release()
        if self._memory:
            raise BufferError(f"memory of arena {self.name!r} is in use")
        lease = getattr(self._leases, "lease", None)
        if lease:
            lease.release()
        self._leases = threading.local()
        check(c.lh_arena_close(self._pointer))
        self._pointer = c_void_p()

    @staticmethod
    def unlink(name):
        """Takes the name away; those who have the arena open go on releasing."""
        check(c.lh_arena_unlink(c.name_bytes(name)))

    def _open(self):
        if not self._pointer:
            raise ValueError(f"arena {self.name!r} is closed")
        return self._pointer

    def _view(self, address, size):
        memory = (ctypes.c_ubyte * size).from_address(address)
        view = memoryview(memory).cast("B")
        self._memory[id(memory)] = memory
        self._views[id(view)] = view
        return view

    def _lease(self):
        lease = getattr(self._leases, "lease", None)
        if lease is None or not lease.valid():
            self._open()
            lease = self._leases.lease = _Lease(self)
        return lease

    def _place(self, kind, offset, options):
        handle = c.Primitive()
        place = getattr(c, f"lh_{kind}_at")
        check(place(self._open(), c.ANYWHERE if offset is None else offset,
                    ctypes.cast(byref(options), c_void_p), byref(handle)))
        return handle

    def region(self, name, size):
        """Plain memory placed under a name: a writable memoryview of it."""
        offset = ctypes.c_uint64()
        check(c.lh_region_at(self._open(), c.ANYWHERE, size, c.name_bytes(name), byref(offset)))
        return self._view(c.lh_arena_range(self._pointer, offset, size), size)

    @contextmanager
    def memory(self, size):
        """A zeroed memoryview that this thread has within `with`; its end gives it back, too."""
        offset = ctypes.c_uint64()
        lease = self._lease()
        check(c.lh_region_acquire(lease.pointer, size, byref(offset)))
        view = self._view(c.lh_arena_range(self._pointer, offset, size), size)
        try:
            yield view
        finally:
            view.release()
            check(c.lh_region_release(lease.pointer, offset))

    def mutex(self, name, *, data_size=0, no_repair=False, offset=None):
        return Mutex(self, name, data_size, no_repair, offset)

    def mutexes(self, name, count, *, data_size=0, no_repair=False, offset=None):
        """A list of mutexes in one array under one name, data_size for each."""
        first = Mutex(self, name, data_size, no_repair, offset, count)
        return [first, *(first.element(index) for index in range(1, count))]

    def rwlock(self, name, *, data_size=0, no_repair=False, offset=None):
        return RWLock(self, name, data_size, no_repair, offset)

    def semaphore(self, name, permits, *, offset=None):
        return Semaphore(self, name, permits, offset)

    def barrier(self, name, parties, *, shrink=False, offset=None):
        return Barrier(self, name, parties, shrink, offset)

    def condition(self, name, mutex, *, offset=None):
        return Condition(self, name, mutex, offset)

    def once(self, name, data_size, *, offset=None):
        return Once(self, name, data_size, offset)

    def watch(self, name, max_size, *, slots=0, offset=None):
        return Watch(self, name, max_size, slots, offset)

    def cell(self, name, size, *, slots=0, offset=None):
        return Cell(self, name, size, slots, offset)


class Held:
    """What `with` gives: the grant. owner_died: the holder before was lost; repair, then consistent()."""

    def __init__(self, lock, lease, grant):
        self._lock = lock
        self._lease = lease
        self._tell(grant)

    def _tell(self, grant):
        self.token = grant.token
        self.previous = grant.previous
        self.owner_died = bool(grant.flags & c.GRANT_OWNER_DIED)

    def consistent(self):
        check(self._lock._consistent(self._lock._at, self._lease.pointer))
        self.owner_died = False


class HeldRW(Held):
    """The same of an RWLock, to change between reading and writing; the `with` ends either."""

    def upgrade(self, timeout=None):
        """From reading to writing. It reads still if that raises, unless LeaseLost."""
        grant = c.Grant()
        self._lock._wait(lambda own, deadline: c.lh_rwlock_upgrade(
            self._lock._at, own, deadline, byref(grant)), timeout)
        self._tell(grant)

    def downgrade(self):
        """From writing to reading, letting no writer in between."""
        check(c.lh_rwlock_downgrade(self._lock._at, self._lease.pointer))


class _Primitive:
    def __init__(self, arena, kind, offset, options):
        self._arena = arena
        self._handle = arena._place(kind, offset, options)

    @property
    def _at(self):
        self._arena._open()
        return byref(self._handle)

    def _wait(self, call, timeout):
        """call(lease, deadline), again after each interruption; Python runs its handlers in between."""
        lease = self._arena._lease()
        deadline = c.deadline_after(timeout)
        while (result := call(lease.pointer, deadline)) == -errno.EINTR:
            pass
        check_wait(result)
        return lease

    def _take(self, call, timeout, undo):
        """The same of what is then held; undo(lease), if Ctrl-C came when it had just been granted."""
        lease = self._arena._lease()
        deadline = c.deadline_after(timeout)

        def take(held_back):
            while (result := call(lease.pointer, deadline)) == -errno.EINTR:
                held_back.let_through()
            check_wait(result)
            lease.holdings += 1
            return lease

        def give_back(lease):
            lease.holdings -= 1
            undo(lease.pointer)

        return taking(take, give_back)

    def _let_go(self, call):
        lease = self._arena._lease()
        check(call(lease.pointer))
        lease.holdings -= 1


class _Lock(_Primitive):
    """What a mutex and an rwlock have in common; `damaged` says whether to take a damaged one."""

    def _acquire(self, lock, timeout, damaged=True, held=Held):
        grant = c.Grant()
        told = byref(grant) if damaged else None
        at = self._at
        lease = self._take(lambda own, deadline: lock(at, own, deadline, told), timeout,
                           lambda own: self._unlock(at, own))
        return held(self, lease, grant)

    def _release(self):
        self._let_go(lambda own: self._unlock(self._at, own))


class Mutex(_Lock):
    """A mutex. `with mutex as held:` waits for ever; mutex.held(timeout=2) at most two seconds.

    acquire and release are those of threading.Lock, but that acquire raises OwnerDied, with nothing
    held, where `with` tells it by held.owner_died.
    """

    _unlock = c.lh_mutex_unlock
    _consistent = c.lh_mutex_consistent

    def __init__(self, arena, name, data_size, no_repair, offset, count=0):
        super().__init__(arena, "mutex", offset, c.MutexOptions(
            data_size=data_size, name=c.name_bytes(name), count=count, flags=int(no_repair)))
        self._begin(data_size)

    def _begin(self, data_size):
        self._data_size = data_size
        self.data = self._arena._view(c.lh_mutex_data(self._at), data_size) if data_size else None
        self._now = threading.local()  # its holding: what a wait for a condition tells anew

    def element(self, index):
        """One of those that were placed with this, the first of an array."""
        one = Mutex.__new__(Mutex)
        one._arena = self._arena
        one._handle = c.Primitive()
        check(c.lh_mutex_element(self._at, index, byref(one._handle)))
        one._begin(self._data_size)
        return one

    def _lock(self, timeout, damaged=True):
        self._now.held = self._acquire(c.lh_mutex_lock, timeout, damaged)
        return self._now.held

    def acquire(self, blocking=True, timeout=-1):
        if not blocking:
            timeout = 0
        try:
            self._lock(None if timeout == -1 else timeout, damaged=False)
        except c.Timeout:
            return False
        return True

    def release(self):
        self._release()

    @property
    def mine(self):
        """Whether the calling thread holds it."""
        return c.lh_mutex_held(self._at, self._arena._lease().pointer)

    @contextmanager
    def held(self, timeout=None):
        """Holds it within `with`; raises Timeout."""
        grant = self._lock(timeout)
        try:
            yield grant
        finally:
            self.release()

    def __enter__(self):
        return self._lock(None)

    def __exit__(self, *_):
        self.release()


class RWLock(_Lock):
    """A reader-writer lock: `with lock.reading():`, `with lock.writing(timeout=2) as held:`."""

    _unlock = c.lh_rwlock_unlock
    _consistent = c.lh_rwlock_consistent

    def __init__(self, arena, name, data_size, no_repair, offset):
        super().__init__(arena, "rwlock", offset, c.RwlockOptions(
            data_size=data_size, name=c.name_bytes(name), flags=int(no_repair)))
        self.data = arena._view(c.lh_rwlock_data(self._at), data_size) if data_size else None

    @contextmanager
    def _holding(self, lock, timeout):
        grant = self._acquire(lock, timeout, held=HeldRW)
        try:
            yield grant
        finally:
            self._release()

    def reading(self, timeout=None):
        return self._holding(c.lh_rwlock_read_lock, timeout)

    def writing(self, timeout=None):
        return self._holding(c.lh_rwlock_write_lock, timeout)


class Semaphore(_Primitive):
    """Owned permits: whoever acquired releases, and the permits of the dead come back."""

    def __init__(self, arena, name, permits, offset):
        super().__init__(arena, "semaphore", offset, c.SemaphoreOptions(
            permits=permits, name=c.name_bytes(name)))
        self._permits = permits

    def acquire(self, permits=1, timeout=None):
        at = self._at
        self._take(lambda own, deadline: c.lh_semaphore_acquire(at, own, permits, deadline), timeout,
                   lambda own: c.lh_semaphore_release(at, own, permits))

    def release(self, permits=1):
        self._let_go(lambda own: c.lh_semaphore_release(self._at, own, permits))

    @contextmanager
    def held(self, permits=1, timeout=None):
        self.acquire(permits, timeout)
        try:
            yield
        finally:
            self.release(permits)

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()

    @property
    def available(self):
        """Negative after a resize below what is held."""
        return c.lh_semaphore_available(self._at)

    @property
    def slots(self):
        """Which permits the calling thread holds, by their numbers from 0."""
        numbers = (ctypes.c_uint32 * self._permits)()
        count = check(c.lh_semaphore_slots(self._at, self._arena._lease().pointer, numbers,
                                           self._permits))
        return numbers[:count]

    def resize(self, permits):
        """At most as many as it was made with; what is held stays."""
        check(c.lh_semaphore_resize(self._at, permits))


class Barrier(_Primitive):
    def __init__(self, arena, name, parties, shrink, offset):
        super().__init__(arena, "barrier", offset, c.BarrierOptions(
            parties=parties, on_death=int(shrink), name=c.name_bytes(name)))

    def wait(self, timeout=None):
        """The phase, from 1, and whether this party is its leader. OwnerDied while it is broken."""
        grant = c.Grant()
        at = self._at
        lease = self._wait(lambda own, deadline: c.lh_barrier_wait(
            at, own, deadline, byref(grant)), timeout)
        lease.parties.add(c.lh_barrier_offset(at))
        return grant.token, bool(grant.flags & c.GRANT_LEADER)

    def join(self):
        """Becomes a party before its first wait, for which the others then wait."""
        lease = self._arena._lease()
        check(c.lh_barrier_join(self._at, lease.pointer))
        lease.parties.add(c.lh_barrier_offset(self._at))

    def leave(self):
        lease = self._arena._lease()
        check(c.lh_barrier_leave(self._at, lease.pointer))
        lease.parties.discard(c.lh_barrier_offset(self._at))

    def reset(self):
        """Mends a broken one, and evicts parties that are lost."""
        check(c.lh_barrier_reset(self._at))


class Condition(_Primitive):
    """A condition variable with its mutex, which is to be held: threading.Condition's ways."""

    def __init__(self, arena, name, mutex, offset):
        super().__init__(arena, "condvar", offset, c.CondvarOptions(name=c.name_bytes(name)))
        self.mutex = mutex

    def wait(self, timeout=None):
        """False: the time was up. May return early; the mutex is held again in either case.

        What `with mutex as held` gave is told anew: held.owner_died, if a holder was lost meanwhile.
        """
        return self._wait_until(c.deadline_after(timeout))

    def _wait_until(self, deadline):
        grant = c.Grant()
        result = c.lh_condvar_wait(self._at, self.mutex._at, self._arena._lease().pointer,
                                   deadline, byref(grant))
        held = getattr(self.mutex._now, "held", None)
        if held and grant.token:
            held._tell(grant)
        if result in (-errno.ETIMEDOUT, -errno.EBUSY):
            return False
        if result != -errno.EINTR:  # else as if woken, and Python runs its handlers
            check(result)
        return True

    def wait_for(self, predicate, timeout=None):
        """The predicate's last result, once it is true or the time is up."""
        deadline = c.deadline_after(timeout)
        while not (result := predicate()):
            if not self._wait_until(deadline):
                return predicate()
        return result

    def notify(self):
        check(c.lh_condvar_signal(self._at))

    def notify_all(self):
        check(c.lh_condvar_broadcast(self._at))


class Once(_Primitive):
    """A value that one process makes."""

    def __init__(self, arena, name, data_size, offset):
        super().__init__(arena, "once", offset, c.OnceOptions(
            data_size=data_size, name=c.name_bytes(name)))
        self._size = data_size

    def call(self, make, timeout=None):
        """The value; make() gives it as bytes if nobody has. What it raises goes to its caller."""
        raised = []

        def init(data, _):
            try:
                value = make()
                if len(value) > self._size:
                    raise ValueError(f"{len(value)} bytes, room for {self._size}")
                ctypes.memmove(data, value, len(value))
                return 0
            except BaseException as error:  # pylint: disable=broad-except
                raised.append(error)
                return -errno.ECANCELED

        callback = c.INIT(init)
        at = self._at
        try:
            self._wait(lambda own, deadline: c.lh_once_call(
                at, own, callback, None, deadline), timeout)
        except c.Error:
            if raised:
                raise raised[0] from None
            raise
        return self.value

    @property
    def value(self):
        """None until it is done."""
        address = c.lh_once_data(self._at)
        return ctypes.string_at(address, self._size) if address else None


class Watch(_Primitive):
    """The newest of values that one sender publishes."""

    def __init__(self, arena, name, max_size, slots, offset):
        super().__init__(arena, "watch", offset, c.WatchOptions(
            max_size=max_size, slots=slots, name=c.name_bytes(name)))
        self._size = max_size

    def claim(self):
        """Becomes the sender, without a value. Error (EBUSY) while another lives."""
        check(c.lh_watch_claim(self._at, self._arena._lease().pointer))

    def send(self, value):
        lease = self._arena._lease()
        check(c.lh_watch_send(self._at, lease.pointer, bytes(value), len(value)))

    def close(self):
        check(c.lh_watch_close(self._at, self._arena._lease().pointer))

    def subscribe(self):
        return WatchReceiver(self)


class WatchReceiver:
    """Iterating gives each newest value that was not seen, until the sender closes or is lost."""

    def __init__(self, watch):
        self._arena = watch._arena
        self._size = watch._size
        self._receiver = c.Receiver()
        check(c.lh_watch_subscribe(watch._at, byref(self._receiver)))

    @property
    def _at(self):
        self._arena._open()
        return byref(self._receiver)

    def read(self):
        """The newest value; None if none was ever sent."""
        buffer = ctypes.create_string_buffer(self._size)
        size = ctypes.c_size_t()
        result = c.lh_watch_read(self._at, buffer, self._size, byref(size), None)
        if result == -errno.ENODATA:
            return None
        check(result)
        return buffer.raw[:size.value]

    def changed(self, timeout=None):
        """True: there is a value that this receiver has not seen; False: there will be none."""
        # A receiver has no lease that could be interruptible: it looks up now and then.
        deadline = c.deadline_after(timeout)
        while True:
            step = c.lh_deadline_after(100_000_000)
            last = deadline.ns <= step.ns
            result = c.lh_watch_changed(self._at, deadline if last else step)
            if result == -errno.EPIPE:
                return False
            if result == -errno.ETIMEDOUT and not last:
                continue
            check_wait(result)
            return True

    def __iter__(self):
        while self.changed():
            yield self.read()


class Cell(_Primitive):
    """A value that changes as a whole or not at all."""

    def __init__(self, arena, name, size, slots, offset):
        super().__init__(arena, "cell", offset, c.CellOptions(
            size=size, slots=slots, name=c.name_bytes(name)))
        self._size = size

    def read(self):
        buffer = ctypes.create_string_buffer(self._size)
        check(c.lh_cell_read(self._at, buffer, None))
        return buffer.raw

    @property
    def version(self):
        """How many drafts have become the value so far."""
        version = ctypes.c_uint64()
        buffer = ctypes.create_string_buffer(self._size)
        check(c.lh_cell_read(self._at, buffer, byref(version)))
        return version.value

    @contextmanager
    def draft(self, timeout=None):
        """A memoryview to change; it becomes the value unless something raises."""
        draft = c_void_p()
        at = self._at
        lease = self._take(lambda own, deadline: c.lh_cell_begin(
            at, own, deadline, byref(draft), None), timeout, lambda own: c.lh_cell_abort(at, own))
        view = memoryview((ctypes.c_ubyte * self._size).from_address(draft.value)).cast("B")
        try:
            try:
                yield view
            finally:
                view.release()  # its memory goes with the draft
            check(c.lh_cell_commit(at, lease.pointer))
        except BaseException:
            c.lh_cell_abort(at, lease.pointer)
            raise
        finally:
            lease.holdings -= 1
