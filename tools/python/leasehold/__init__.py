# SPDX-License-Identifier: Apache-2.0
"""Crash-safe locks between the processes of one host: Leasehold, from Python.

    import leasehold

    arena = leasehold.Arena("bank")
    balance = arena.mutex("balance", data_size=8)

    with balance as held:                 # or balance.held(timeout=2)
        if held.owner_died:               # whoever had it before was killed: repair, then
            held.consistent()
        balance.data[0] += 1

    with leasehold.Locks("shm://jobs") as locks, locks.held("nightly", timeout=60) as handle:
        work(handle.token)

When a process ends, in whatever way, what it held is released, and the next holder is told. Waits give
way to Ctrl-C, and leave nothing taken or pending. Errors are leasehold.Error, an OSError; Timeout,
OwnerDied, LeaseLost and Deadlock are kinds of it. A time-out is None (for ever), 0 (try once) or seconds.
"""

from ._arena import Arena, Barrier, Cell, Condition, Held, HeldRW, Mutex, Once, RWLock, Semaphore
from ._arena import Watch, WatchReceiver
from ._library import Deadlock, Error, LeaseLost, OwnerDied, Timeout, lh_version
from ._locks import EXCLUSIVE, INTENT_EXCLUSIVE, INTENT_SHARED, SHARED, Handle, Locks, key_join

__version__ = lh_version().decode()

__all__ = [
    "Arena", "Barrier", "Cell", "Condition", "Deadlock", "EXCLUSIVE", "Error", "Handle", "Held",
    "HeldRW", "INTENT_EXCLUSIVE", "INTENT_SHARED", "LeaseLost", "Locks", "Mutex", "Once", "OwnerDied",
    "RWLock", "SHARED", "Semaphore", "Timeout", "Watch", "WatchReceiver", "key_join",
]
